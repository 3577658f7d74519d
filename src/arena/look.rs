//! What somebody sees of a queue who neither pushes nor pops.

/// A queue at one moment, while others go on. Of records, capacity and length are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// For how many elements it was made.
    pub capacity: u64,
    /// How many elements are in it, or on their way; `None` if others were too fast to count the nodes of an MPSC queue.
    pub len: Option<u64>,
    /// What is next.
    pub front: Front,
}

/// What the next pop finds.
///
/// The numbers are places. An operation that is found at the same place twice has not ended in between, but for one chance:
/// the queue has come round to that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// Nothing.
    Empty,
    /// An element.
    Ready,
    /// The place of a push that has begun and not ended: what is behind it has to wait.
    Pushing(u64),
    /// The place of a pop that has begun a lap ago and not ended: nobody can push there, nor behind it.
    Popping(u64),
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::{Front, Look};
    use crate::arena::{Arena, Places, Region, Spec};
    use crate::count::Uncounted;
    use crate::platform::Word;

    fn look(arena: &Arena<'_>, name: &str) -> Look {
        // SAFETY: no other thread has the arena.
        unsafe { arena.look(name) }.expect("it is there")
    }

    #[test]
    fn a_queue_is_seen_to_fill_up_and_to_be_drained() {
        let mut memory = vec![0u64; 64 * 1024];
        // SAFETY: the vector is writable, outlives every handle below, and is touched only through them.
        let region =
            unsafe { Region::new(memory.as_mut_ptr().cast(), memory.len() * 8) }.expect("it is aligned");
        let places = Places::in_plain_memory(&region).expect("there is room");
        let mut arena = Arena::format(region, places).expect("it fits");
        for spec in [Spec::mpmc::<u64>("ring", 8), Spec::mpsc::<u64>("list", 1000)] {
            arena.create(&spec).expect("it fits");
        }
        for (name, capacity) in [("ring", 8), ("list", 1000)] {
            let seen = |len, front| assert_eq!(look(&arena, name), Look { capacity, len: Some(len), front });
            let queue = arena.queue::<u64>(name).expect("it is there");
            seen(0, Front::Empty);
            for i in 0..capacity {
                queue.push(i).expect("there is room");
            }
            seen(capacity, Front::Ready);
            let mut consumer = arena.consumer::<u64>(name).expect("it is free");
            for _ in 0..capacity - 1 {
                consumer.pop().expect("it is there");
            }
            seen(1, Front::Ready);
            consumer.pop().expect("it is there");
            seen(0, Front::Empty);
        }
    }

    #[test]
    fn a_push_that_has_not_ended_is_seen_with_what_waits_behind_it() {
        let mut memory = vec![0u64; 64 * 1024];
        // SAFETY: as above.
        let region =
            unsafe { Region::new(memory.as_mut_ptr().cast(), memory.len() * 8) }.expect("it is aligned");
        let places = Places::in_plain_memory(&region).expect("there is room");
        let mut arena = Arena::format(region, places).expect("it fits");
        arena.create(&Spec::mpmc::<u64>("ring", 8)).expect("it fits");
        let queue = arena.queue::<u64>("ring").expect("it is there");
        let ring = arena.mpmc::<u64, Uncounted>("ring").expect("it is a ring");
        // A producer claims a position and does no more.
        ring.head.enqueue_pos.0.fetch_add(1, &crate::mpmc::site::CONFIRM_POSITION);
        queue.push(1).expect("there is room");
        assert_eq!(look(&arena, "ring"), Look { capacity: 8, len: Some(2), front: Front::Pushing(0) });
    }
}
