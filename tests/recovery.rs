//! A consumer dies before each of its accesses, and the next one goes on.

mod support;

use std::cell::RefCell;
use std::mem::ManuallyDrop;

use arenaq::{Corruption, KeyValue, PopError, mpsc};
use support::queues::{List, Ring, item};
use support::scripted::{Scripted, dying, stalled};

/// A ring of four, in its second lap, with the elements 1, 2 and 3.
fn ring() -> Ring {
    let ring = Ring::new(4);
    for _ in 0..4 {
        ring.head.push(item(0)).expect("room");
        ring.head.pop().expect("an element");
    }
    for serial in 1..=3 {
        ring.head.push(item(serial)).expect("room");
    }
    ring
}

/// A list with the elements 1, 2 and 3 and one node to spare.
fn list() -> List {
    let list = List::new(4);
    for serial in 1..=3 {
        list.head.push(&list.pool, item(serial)).expect("room");
    }
    list
}

/// A consumer, which is never dropped if its process is killed.
fn mortal(list: &List) -> ManuallyDrop<mpsc::Consumer<'_, Scripted, KeyValue>> {
    ManuallyDrop::new(list.consumer())
}

/// What came out of a queue, in order, however often.
#[derive(Default)]
struct Seen(RefCell<Vec<u64>>);

impl Seen {
    fn take(&self, element: KeyValue) {
        assert_eq!(element, item(element.key), "an element in one piece");
        self.0.borrow_mut().push(element.key);
    }

    /// Everything came out, in order, and at most one element twice. Returns how often that was.
    fn check(&self, death: u64) -> usize {
        let mut seen = self.0.borrow().clone();
        let all = seen.len();
        assert!(seen.is_sorted(), "death before access {death}: {seen:?}");
        seen.dedup();
        assert_eq!(seen, [1, 2, 3], "death before access {death}");
        assert!(all <= 4, "death before access {death}: {all} elements came out of 3");
        all - seen.len()
    }
}

#[test]
fn mpsc_a_consumer_that_dies_anywhere_loses_nothing_and_at_most_one_element_is_seen_twice() {
    let (mut died, mut twice, mut nodes) = (0, 0, 0);
    for death in 0.. {
        let list = list();
        let seen = Seen::default();
        let mut first = mortal(&list);
        let ended = dying(death, || while first.pop_with(|element| seen.take(element)).is_ok() {});

        let mut second = mortal(&list);
        while second.pop_with(|element| seen.take(element)).is_ok() {}
        twice += seen.check(death);
        // SAFETY: no producer runs.
        let returned = unsafe { second.repair() }.expect("a sound queue");
        assert!(returned <= 1, "death before access {death}: {returned} nodes");
        nodes += returned;
        assert_eq!(second.verify_quiesced(), Ok(()), "death before access {death}");
        assert_eq!(list.pool.free_nodes(), Ok(4), "death before access {death}");
        for serial in 4..8 {
            list.head.push(&list.pool, item(serial)).expect("every node is there again");
        }
        let rest: Vec<_> = std::iter::from_fn(|| second.pop().ok()).map(|element| element.key).collect();
        assert_eq!(rest, [4, 5, 6, 7]);
        if ended.is_some() {
            break;
        }
        died += 1;
    }
    // Three pops of seven accesses and one that finds nothing.
    assert!(died >= 3 * 7 + 3, "{died}");
    // In each pop one death is between the handing over and the move of the tail.
    assert_eq!(twice, 3);
    assert!(nodes >= 3, "in each pop one at least is between the move of the tail and the free of the stub");
}

#[test]
fn mpmc_a_consumer_that_dies_anywhere_loses_nothing_and_at_most_one_element_is_seen_twice() {
    let (mut died, mut twice, mut reclaimed) = (0, 0, 0);
    for death in 0.. {
        let ring = ring();
        let seen = Seen::default();
        let ended = dying(death, || while ring.head.pop_with(|element| seen.take(element)).is_ok() {});

        // SAFETY: the only consumer is dead.
        reclaimed += unsafe { ring.head.reclaim(|element| seen.take(element)) }.expect("a ring");
        while ring.head.pop_with(|element| seen.take(element)).is_ok() {}
        twice += seen.check(death);
        // SAFETY: nothing runs.
        unsafe { ring.head.recount() };
        assert_eq!(ring.head.verify_quiesced(), Ok(()), "death before access {death}");
        for serial in 4..8 {
            ring.head.push(item(serial)).expect("every cell is free again");
        }
        let rest: Vec<_> = std::iter::from_fn(|| ring.head.pop().ok()).map(|element| element.key).collect();
        assert_eq!(rest, [4, 5, 6, 7]);
        if ended.is_some() {
            break;
        }
        died += 1;
    }
    assert!(died >= 3 * 8 + 4, "{died}");
    // Between claim and free are two deaths: before the data is read, and after it was handed over.
    assert_eq!((twice, reclaimed), (3, 3 * 2));
}

#[test]
fn mpmc_a_claimed_cell_fills_the_queue_until_it_is_reclaimed() {
    let ring = ring();
    // Through all but the last two accesses of a pop: the store of the sequence, and the counter.
    assert_eq!(dying(6, || ring.head.pop_with(|_| ())), None);
    ring.head.push(item(4)).expect("the fourth cell");
    assert!(ring.head.push(item(5)).is_err(), "the dead consumer's cell is not free");
    for serial in 2..=4 {
        assert_eq!(ring.head.pop(), Ok(item(serial)), "the others go round it");
    }
    assert!(ring.head.push(item(5)).is_err(), "still, although the queue is empty");
    assert_eq!(ring.head.pop(), Err(PopError::Empty));

    let mut handed_over = Vec::new();
    // SAFETY: the only consumer is dead.
    assert_eq!(unsafe { ring.head.reclaim(|element| handed_over.push(element)) }, Ok(1));
    assert_eq!(handed_over, [item(1)]);
    // SAFETY: as above.
    assert_eq!(unsafe { ring.head.reclaim(|_| ()) }, Ok(0), "once");
    assert_eq!(ring.head.push(item(5)), Ok(()));
}

#[test]
fn mpsc_nothing_is_repaired_while_a_producer_is_between_swap_and_link() {
    let list = list();
    let mut consumer = mortal(&list);
    let (head, pool) = (&list.head, &list.pool);
    stalled(
        mpsc::site::PUSH_LINK.info(),
        || head.push(pool, item(4)),
        // SAFETY: the producer stands still.
        || assert!(matches!(unsafe { consumer.repair() }, Err(Corruption::Unlinked(_)))),
    )
    .expect("a spare node");
    // SAFETY: no producer runs.
    assert_eq!(unsafe { consumer.repair() }, Ok(0));
    assert_eq!(consumer.len(), 4);
}

#[test]
fn mpsc_a_consumer_that_dies_in_a_batch_loses_nothing() {
    let (mut died, mut nodes) = (0, 0);
    for death in 0.. {
        let list = list();
        let seen = Seen::default();
        let mut first = mortal(&list);
        let ended = dying(death, || first.drain(3, |element| seen.take(element)));
        let handed_over = seen.0.borrow().len();

        let again = Seen::default();
        let mut second = mortal(&list);
        let left = second.drain(3, |element| again.take(element)).unwrap_or(0) as usize;
        // All of the batch, or nothing: the tail is written once.
        assert!(left == 3 || left == 0 && handed_over == 3, "death before access {death}: {left} left");
        again.0.borrow_mut().splice(0..0, (1..=3 - left as u64).filter(|_| left == 0));
        again.check(death);
        // SAFETY: no producer runs.
        let returned = unsafe { second.repair() }.expect("a sound queue");
        assert!(returned == 0 || returned == 3 && left == 0, "death before access {death}: {returned} nodes");
        nodes += returned;
        assert_eq!(second.verify_quiesced(), Ok(()), "death before access {death}");
        assert_eq!(list.pool.free_nodes(), Ok(4), "death before access {death}");
        if ended.is_some() {
            break;
        }
        died += 1;
    }
    assert!(died >= 3 * 3 + 2, "{died}");
    assert!(nodes >= 3, "one death at least is between the move of the tail and the free of the nodes");
}

#[test]
fn mpmc_a_consumer_that_dies_in_a_batch_loses_nothing_and_at_most_one_element_is_seen_twice() {
    let (mut died, mut twice, mut reclaimed) = (0, 0, 0);
    for death in 0.. {
        let ring = ring();
        let seen = Seen::default();
        let ended = dying(death, || ring.head.drain(3, |element| seen.take(element)));

        // SAFETY: the only consumer is dead.
        reclaimed += unsafe { ring.head.reclaim(|element| seen.take(element)) }.expect("a ring");
        while ring.head.pop_with(|element| seen.take(element)).is_ok() {}
        twice += seen.check(death);
        // SAFETY: nothing runs.
        unsafe { ring.head.recount() };
        assert_eq!(ring.head.verify_quiesced(), Ok(()), "death before access {death}");
        if ended.is_some() {
            break;
        }
        died += 1;
    }
    assert!(died >= 3 + 3 + 1 + 3 * 2, "{died}");
    // Of three elements each can be read, and handed over, by a consumer that dies then: 3 + 3 + 2 + 2 + 1 + 1.
    assert_eq!((twice, reclaimed), (3, 12));
}

#[test]
fn a_panic_in_a_batch_leaves_what_a_death_leaves() {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    fn panics(times: &mut u64, element: KeyValue) {
        *times += 1;
        if element == item(2) {
            // Past the panic hook, which would print.
            resume_unwind(Box::new("the closure"));
        }
    }

    let list = list();
    let mut consumer = mortal(&list);
    let mut times = 0;
    let caught = catch_unwind(AssertUnwindSafe(|| consumer.drain(3, |element| panics(&mut times, element))));
    assert!(caught.is_err() && times == 2);
    let rest: Vec<_> = std::iter::from_fn(|| consumer.pop().ok()).map(|element| element.key).collect();
    assert_eq!(rest, [1, 2, 3], "the batch is there as a whole");
    assert_eq!(list.pool.free_nodes(), Ok(4));

    let ring = ring();
    let caught = catch_unwind(AssertUnwindSafe(|| ring.head.drain(3, |element| panics(&mut times, element))));
    assert!(caught.is_err());
    assert_eq!(ring.head.pop(), Err(PopError::Empty), "the batch is claimed as a whole");
    let mut left = Vec::new();
    // SAFETY: the only consumer will not go on.
    assert_eq!(unsafe { ring.head.reclaim(|element| left.push(element.key)) }, Ok(2));
    assert_eq!(left, [2, 3], "the first was handed over and freed");
}
