//! The right to consume from a pinned queue, and the account of what was consumed.

use queues::arena::{Arena, ArenaError, ByteConsumer, Owner};
use queues::mpmc::{SLOTS, SlotError, TakenOver};
use queues::structures::Consumers;
use queues::{PopError, Status};

use super::Pinned;
use super::lock::Lock;
use crate::checksum::fingerprint;
use crate::ends::this_process;
use crate::error::Failure;
use crate::table::Teller;

/// Held by whoever consumes; dropped after the consumer.
#[derive(Debug)]
pub(crate) struct Right {
    // Dropped in this order: nobody else counts in this part while the lock is held.
    teller: Teller<'static>,
    /// The arena, and the name of the queue if it is an MPSC queue: without its consumer it is reserved for the lock.
    reserved: Option<(&'static Arena<'static>, String)>,
    lock: Lock,
}

/// A queue, by what is known before it has a consumer.
pub(super) struct Queue<'a> {
    arena: &'a Arena<'static>,
    name: &'a str,
    pub(super) number: usize,
    consumers: Consumers,
}

impl<'a> Queue<'a> {
    pub(super) fn find(arena: &'a Arena<'static>, name: &'a str) -> Result<Queue<'a>, Failure> {
        let found = arena.queues().enumerate().find(|(_, info)| info.name.as_str() == name);
        match found {
            Some((number, info)) => Ok(Queue { arena, name, number, consumers: info.kind.consumers() }),
            None => Err(ArenaError::Absent {
                name: name.into(),
                has: arena.queues().map(|info| info.name).collect(),
            }
            .into()),
        }
    }
}

impl Pinned {
    /// The right to consume from a queue, and the end that it is the right to.
    ///
    /// # Safety
    ///
    /// Neither is used any more when this or the arena is dropped, and `arena` is the one that is pinned here.
    pub(crate) unsafe fn acquire(
        &self,
        arena: &'static Arena<'static>,
        name: &str,
    ) -> Result<(ByteConsumer<'static>, Right), Failure> {
        let queue = Queue::find(arena, name)?;
        let folder = self.folder_of(queue.number, name)?;
        // SAFETY: passed on to the caller.
        let table = unsafe { self.table(queue.number) }
            .ok_or_else(|| folder.refusal("the tally has no such part"))?;
        let full = || {
            folder.refusal("as many consumers as the tally has room for live, or have died: end all of them")
        };
        let (lock, is_alone) = Lock::to_consume(folder, queue.consumers)?;
        if queue.consumers == Consumers::One {
            let dead = arena.mpsc_owner(name);
            if dead == Some(Owner::ANONYMOUS) {
                return Err(folder.refusal(
                    "somebody consumes from it without a lock on the folder, and nobody knows whether that process lives: \
                     `arenaq unpin`, and pin it anew",
                ));
            }
            // SAFETY: every consumer of the MPSC queue that names its process, and the reservation, belong to the lock on the
            // folder, which we hold, so whoever had it has ended; the kernel orders its end before the lock.
            let end = unsafe { arena.byte_consumer_after_death(name, dead, this_process()) }?;
            let mut teller = table.teller().ok_or_else(full)?;
            teller.find_dead(true);
            return Ok((end, Right { teller, reserved: Some((arena, name.to_owned())), lock }));
        }
        let with_slot = || {
            for slot in 0..SLOTS {
                lock.announce(folder, slot)?;
                match arena.byte_consumer_at(name, slot, this_process()) {
                    Ok(end) => return Ok(Some(end)),
                    Err(ArenaError::NoSlot { .. }) => lock.withdraw(slot),
                    Err(error) => return Err(Failure::from(error)),
                }
            }
            Ok(None)
        };
        let mut end = with_slot()?;
        if end.is_none() && is_alone {
            // Those who have died and left nothing.
            self.recover(&queue, &lock, 0, |_| ())?;
            end = with_slot()?;
        }
        let end = end.ok_or_else(|| {
            let (live, left) = (
                "each of them lives",
                "each of them has died and left an element: arenaq_consumer_recover() first",
            );
            let reason = SlotError::AllTaken(SLOTS);
            Failure::new(Status::Busy, format_args!("{reason}; {}", if is_alone { left } else { live }))
        })?;
        let teller = table.teller_at(end.slot().unwrap_or(SLOTS)).ok_or_else(full)?;
        if is_alone {
            lock.share(folder)?;
        }
        Ok((end, Right { teller, reserved: None, lock }))
    }

    /// Takes over one element from the dead consumers of an MPMC queue, without being one. BUSY if a consumer lives: that takes
    /// over.
    ///
    /// # Safety
    ///
    /// As [`acquire`](Self::acquire).
    pub(crate) unsafe fn recover_one(
        &self,
        arena: &Arena<'static>,
        name: &str,
        hand_over: impl FnMut(&[u8]),
    ) -> Result<bool, Failure> {
        let queue = Queue::find(arena, name)?;
        let (lock, is_alone) = Lock::to_consume(self.folder_of(queue.number, name)?, queue.consumers)?;
        if !is_alone {
            return Err(Failure::new(
                Status::Busy,
                "a consumer lives, and takes over from those who have died",
            ));
        }
        self.recover(&queue, &lock, 1, hand_over)
    }

    /// Takes over up to `limit` elements, and says whether there was one. The lock is held alone.
    fn recover(
        &self,
        queue: &Queue<'_>,
        lock: &Lock,
        limit: u64,
        hand_over: impl FnMut(&[u8]),
    ) -> Result<bool, Failure> {
        // SAFETY: it is used in this function only.
        let table = unsafe { self.table(queue.number) };
        // The part beyond those of consumers that have a slot.
        let Some(mut teller) = table.and_then(|table| table.teller_at(SLOTS)) else { return Ok(false) };
        let Some(slot) = (0..SLOTS).find(|slot| lock.is_dead(*slot)) else { return Ok(false) };
        let taken = counted(lock, &mut teller, hand_over, |is_dead, hand_over| {
            // SAFETY: see `Right::take_over`; and nobody else takes over in the name of a dead consumer's slot, for that is done
            // only by who holds the lock on the folder alone.
            unsafe {
                queue.arena.take_over_bytes(queue.name, slot, limit, |slot, _| is_dead(slot), hand_over)
            }
        })?;
        Ok(taken > 0)
    }
}

impl Right {
    /// Dequeues an element, and counts it before it leaves the queue. What a dead consumer of the queue has left comes when there
    /// is nothing else.
    pub(crate) fn pop(
        &mut self,
        end: &mut ByteConsumer<'static>,
        mut hand_over: impl FnMut(&[u8]),
    ) -> Result<(), PopError> {
        let popped = end.pop_with(|bytes| {
            hand_over(bytes);
            self.teller.count(fingerprint(bytes));
        });
        if popped.is_ok() || !self.has_dead(end) {
            return popped;
        }
        match self.take_over(end, hand_over) {
            0 => popped,
            _ => Ok(()),
        }
    }

    /// Whether a consumer of an MPMC queue has died from whom nobody has taken over yet.
    pub(crate) fn has_dead(&self, end: &ByteConsumer<'static>) -> bool {
        end.has_dead(|slot, _| self.lock.is_dead(slot))
    }

    /// Takes over one element.
    fn take_over(&mut self, end: &mut ByteConsumer<'static>, hand_over: impl FnMut(&[u8])) -> u64 {
        let taken = counted(&self.lock, &mut self.teller, hand_over, |is_dead, hand_over| {
            // SAFETY: every consumer of a pinned queue has a slot, and says with a lock that it lives, from before it takes the
            // slot until it is gone; the kernel orders its end before that of the lock. Who takes a slot says so first, so a
            // dead owner's is nobody else's.
            Ok(unsafe { end.take_over(1, |slot, _| is_dead(slot), hand_over) })
        });
        taken.unwrap_or(0)
    }
}

impl Drop for Right {
    fn drop(&mut self) {
        if let Some((arena, name)) = &self.reserved {
            // Not given back: who holds the lock takes over whatever the directory says.
            std::mem::forget(arena.byte_consumer(name, Owner::LOCK));
        }
    }
}

/// Counts what somebody takes over, and the deaths.
fn counted(
    lock: &Lock,
    teller: &mut Teller<'_>,
    mut hand_over: impl FnMut(&[u8]),
    take_over: impl FnOnce(
        &mut dyn FnMut(usize) -> bool,
        &mut dyn FnMut(&[u8]),
    ) -> Result<Option<TakenOver>, ArenaError>,
) -> Result<u64, Failure> {
    let shared = std::cell::RefCell::new(&mut *teller);
    let mut is_dead = |slot| {
        let is_dead = lock.is_dead(slot);
        if is_dead {
            shared.borrow_mut().has_died(slot);
        }
        is_dead
    };
    let mut counting = |bytes: &[u8]| {
        hand_over(bytes);
        shared.borrow_mut().count(fingerprint(bytes));
    };
    let taken = take_over(&mut is_dead, &mut counting)?;
    match taken {
        Some(TakenOver { undecided: 0, .. }) => teller.bury(),
        // The next time.
        _ => teller.forget_dead(),
    }
    Ok(taken.map_or(0, |taken| taken.elements))
}
