//! The consuming end of either queue, and who may have it.

use std::num::NonZero;

use arenaq::arena::{Arena, ArenaError, Mpmc, MpscConsumer, Owner};
use arenaq::count::Counted;
use arenaq::{Corruption, KeyValue, PopError};

use crate::error::Error;
use crate::queue::{MPMC, MPSC, QueueKind};

/// The consuming end of either queue.
#[derive(Debug)]
pub enum Source<'a> {
    /// One of many.
    Mpmc(Mpmc<'a, KeyValue>),
    /// The only one.
    Mpsc(MpscConsumer<'a, KeyValue>),
}

impl<'a> Source<'a> {
    /// The queue of an arena, for a consumer whose process nobody needs to know.
    ///
    /// # Errors
    ///
    /// [`Error::Arena`] if the arena has no such queue, or the MPSC queue has a consumer.
    pub fn of(arena: &Arena<'a>, queue: QueueKind) -> Result<Source<'a>, Error> {
        Ok(match queue {
            QueueKind::Mpmc => Source::Mpmc(arena.mpmc::<KeyValue, Counted>(MPMC)?),
            QueueKind::Mpsc => Source::Mpsc(arena.mpsc_consumer::<KeyValue, Counted>(MPSC)?),
        })
    }

    /// The same, for a consumer that is known to be of this process.
    pub(super) fn of_this_process(arena: &Arena<'a>, queue: QueueKind) -> Result<Source<'a>, Error> {
        Ok(match queue {
            QueueKind::Mpmc => Source::Mpmc(arena.mpmc::<KeyValue, Counted>(MPMC)?),
            QueueKind::Mpsc => Source::Mpsc(arena.mpsc_consumer_as(MPSC, this_process())?),
        })
    }

    /// The same, in the place of a consumer that has died.
    ///
    /// # Safety
    ///
    /// For MPSC, whoever the header says consumes has ended, and this process knows that it has; see
    /// [`Arena::mpsc_consumer_after_death`].
    pub(super) unsafe fn after_death(arena: &Arena<'a>, queue: QueueKind) -> Result<Source<'a>, Error> {
        Ok(match queue {
            QueueKind::Mpmc => Source::Mpmc(arena.mpmc::<KeyValue, Counted>(MPMC)?),
            QueueKind::Mpsc => {
                // SAFETY: as the caller has promised.
                Source::Mpsc(unsafe { arena.mpsc_consumer_after_death(MPSC, this_process()) }?)
            }
        })
    }

    /// Dequeues the oldest element, which leaves the queue after `hand_over` has returned.
    ///
    /// # Errors
    ///
    /// As [`arenaq::mpsc::Consumer::pop`] and [`arenaq::mpmc::Head::pop`].
    pub fn pop_with<R>(&mut self, hand_over: impl FnOnce(KeyValue) -> R) -> Result<R, PopError> {
        match self {
            Source::Mpmc(queue) => queue.pop_with(hand_over),
            Source::Mpsc(consumer) => consumer.pop_with(hand_over),
        }
    }

    /// Dequeues up to `limit` elements, and returns how many.
    ///
    /// # Errors
    ///
    /// As [`arenaq::mpsc::Consumer::drain`] and [`arenaq::mpmc::Head::drain`].
    pub fn drain(&mut self, limit: u64, hand_over: impl FnMut(KeyValue)) -> Result<u64, PopError> {
        match self {
            Source::Mpmc(queue) => queue.drain(limit, hand_over),
            Source::Mpsc(consumer) => consumer.drain(limit, hand_over),
        }
    }

    /// Whether nothing is there, and nothing on its way; see [`arenaq::eventcount`].
    pub(super) fn may_sleep(&self) -> bool {
        match self {
            Source::Mpmc(queue) => queue.is_empty(),
            Source::Mpsc(consumer) => consumer.is_drained(),
        }
    }

    /// Hands over what the dead consumers of an MPMC queue have claimed. Of an MPSC queue nobody claims anything.
    ///
    /// # Safety
    ///
    /// No other consumer is alive; see [`arenaq::mpmc::Head::reclaim`].
    pub(crate) unsafe fn reclaim(&self, hand_over: impl FnMut(KeyValue)) -> Result<(), Error> {
        if let Source::Mpmc(queue) = self {
            // SAFETY: as the caller has promised.
            unsafe { queue.reclaim(hand_over) };
        }
        Ok(())
    }

    /// Looks at each element, from the oldest on, and says whether the queue is as it should be while it rests.
    ///
    /// # Safety
    ///
    /// Nobody pops meanwhile.
    pub unsafe fn inspect(&mut self, mut see: impl FnMut(&KeyValue)) -> Result<(), Corruption> {
        let see_all = |event: &KeyValue| {
            see(event);
            false
        };
        match self {
            Source::Mpmc(queue) => {
                let verify = queue.verify_quiesced();
                // SAFETY: as the caller has promised.
                let searched = unsafe { queue.search(see_all) };
                verify.and(searched.map(|_| ()))
            }
            Source::Mpsc(consumer) => {
                let verify = consumer.verify_quiesced();
                consumer.search(see_all);
                verify
            }
        }
    }
}

fn this_process() -> Owner {
    NonZero::new(std::process::id()).map_or(Owner::ANONYMOUS, Owner::process)
}

/// Whether somebody consumes from the MPSC queue whose process nobody knows.
pub(super) fn has_unknown_consumer(arena: &Arena<'_>) -> bool {
    arena.mpsc_owner(MPSC) == Some(Owner::ANONYMOUS)
}

/// Lets nobody consume from an MPSC queue who does not hold the lock.
pub(super) fn reserve(arena: &Arena<'_>) -> Result<(), ArenaError> {
    if arena.mpsc_owner(MPSC) != Some(Owner::LOCK) {
        // Not given back.
        std::mem::forget(arena.mpsc_consumer_as::<KeyValue, Counted>(MPSC, Owner::LOCK)?);
    }
    Ok(())
}

/// Takes the reservation back.
///
/// # Safety
///
/// It is the caller's: [`reserve`] has made it, and nobody uses its consumer.
pub(super) unsafe fn unreserve(arena: &Arena<'_>) {
    // SAFETY: as the caller has promised.
    drop(unsafe { arena.mpsc_consumer_after_death::<KeyValue, Counted>(MPSC, Owner::LOCK) });
}
