//! The consuming end of either queue, and who may have it.

use std::num::NonZero;

use arenaq::arena::{Arena, ArenaError, Mpmc, MpmcConsumer, MpscConsumer, Name, Owner};
use arenaq::count::Counted;
use arenaq::mpmc::{SLOTS, SlotError, Slotted, TakenOver};
use arenaq::platform::Native;
use arenaq::{Corruption, KeyValue, PopError};

use crate::error::Error;
use crate::queue::{MPMC, MPSC, QueueKind};

/// The consuming end of either queue.
#[derive(Debug)]
pub enum Source<'a> {
    /// One of many.
    Mpmc(Mpmc<'a, KeyValue>),
    /// One of many, from which another one can take over.
    Slotted(MpmcConsumer<'a, KeyValue>),
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
            QueueKind::Mpmc => Source::Slotted(arena.mpmc_consumer_as(MPMC, this_process())?),
            QueueKind::Mpsc => Source::Mpsc(arena.mpsc_consumer_as(MPSC, this_process())?),
        })
    }

    /// The consumer of an MPSC queue, in the place of one that has died.
    ///
    /// # Safety
    ///
    /// Whoever the header says consumes has ended, and this process knows that it has; see
    /// [`Arena::mpsc_consumer_after_death`].
    pub(super) unsafe fn after_death(arena: &Arena<'a>) -> Result<Source<'a>, Error> {
        // SAFETY: as the caller has promised.
        Ok(Source::Mpsc(unsafe { arena.mpsc_consumer_after_death(MPSC, this_process()) }?))
    }

    /// A consumer of an MPMC queue with a slot of its own. `announce` is called before the slot is taken, and says that its
    /// owner lives; `withdraw` if somebody else has it.
    pub(super) fn with_slot(
        arena: &Arena<'a>,
        announce: impl Fn(usize) -> Result<(), Error>,
        withdraw: impl Fn(usize),
    ) -> Result<Source<'a>, Error> {
        let queue = slotted(arena)?;
        for slot in 0..SLOTS {
            announce(slot)?;
            match queue.consumer_at(slot, this_process().get()) {
                Ok(consumer) => return Ok(Source::Slotted(consumer)),
                Err(_) => withdraw(slot),
            }
        }
        let reason = SlotError::AllTaken(SLOTS);
        Err(ArenaError::NoSlot { queue: Name::new(MPMC)?, reason }.into())
    }

    /// The number of the slot of a consumer that has one.
    pub(crate) fn slot(&self) -> Option<usize> {
        match self {
            Source::Slotted(consumer) => Some(consumer.number()),
            Source::Mpmc(_) | Source::Mpsc(_) => None,
        }
    }

    /// Dequeues the oldest element, which leaves the queue after `hand_over` has returned.
    ///
    /// # Errors
    ///
    /// As [`arenaq::mpsc::Consumer::pop`] and [`arenaq::mpmc::Ring::pop`].
    pub fn pop_with<R>(&mut self, hand_over: impl FnOnce(KeyValue) -> R) -> Result<R, PopError> {
        match self {
            Source::Mpmc(queue) => queue.pop_with(hand_over),
            Source::Slotted(consumer) => consumer.pop_with(hand_over),
            Source::Mpsc(consumer) => consumer.pop_with(hand_over),
        }
    }

    /// Dequeues up to `limit` elements, and returns how many.
    ///
    /// # Errors
    ///
    /// As [`arenaq::mpsc::Consumer::drain`] and [`arenaq::mpmc::Ring::drain`].
    pub fn drain(&mut self, limit: u64, hand_over: impl FnMut(KeyValue)) -> Result<u64, PopError> {
        match self {
            Source::Mpmc(queue) => queue.drain(limit, hand_over),
            Source::Slotted(consumer) => consumer.drain(limit, hand_over),
            Source::Mpsc(consumer) => consumer.drain(limit, hand_over),
        }
    }

    /// Whether a consumer keeps producers of an MPMC queue from pushing: maybe one that is dead.
    pub(super) fn is_held_up(&self) -> bool {
        match self {
            Source::Slotted(consumer) => consumer.queue().is_held_up(),
            Source::Mpmc(_) | Source::Mpsc(_) => false,
        }
    }

    /// Whether nothing is there, and nothing on its way; see [`arenaq::eventcount`].
    pub(super) fn may_sleep(&self) -> bool {
        match self {
            Source::Mpmc(queue) => queue.is_empty(),
            Source::Slotted(consumer) => consumer.queue().is_empty(),
            Source::Mpsc(consumer) => consumer.is_drained(),
        }
    }

    /// Whether a consumer of an MPMC queue has died, of whom nobody has taken over yet.
    pub(crate) fn has_dead(&self, is_dead: impl Fn(usize) -> bool) -> bool {
        let Source::Slotted(consumer) = self else { return false };
        let mut owners = consumer.slotted().owners().enumerate();
        owners.any(|(slot, owner)| slot != consumer.number() && owner.is_some() && is_dead(slot))
    }

    /// Takes over from the consumers of an MPMC queue that have died, and hands over what they had claimed. `None` if
    /// another one takes over at the moment.
    ///
    /// # Safety
    ///
    /// See [`arenaq::mpmc::Consumer::take_over`].
    pub(crate) unsafe fn take_over(
        &mut self,
        mut is_dead: impl FnMut(usize) -> bool,
        hand_over: impl FnMut(KeyValue),
    ) -> Option<TakenOver> {
        match self {
            // SAFETY: as the caller has promised.
            Source::Slotted(consumer) => unsafe { consumer.take_over(|slot, _| is_dead(slot), hand_over) },
            Source::Mpmc(_) | Source::Mpsc(_) => Some(TakenOver::default()),
        }
    }

    /// Looks at each element, from the oldest on, and says whether the queue is as it should be while it rests.
    ///
    /// # Safety
    ///
    /// Nobody pops meanwhile.
    pub unsafe fn inspect(&mut self, mut see: impl FnMut(&KeyValue)) -> Result<(), Corruption> {
        let mut see_all = |event: &KeyValue| {
            see(event);
            false
        };
        let mut inspect = |queue: &Mpmc<'_, KeyValue>| {
            let verify = queue.verify_quiesced();
            // SAFETY: as the caller has promised.
            let searched = unsafe { queue.search(&mut see_all) };
            verify.and(searched.map(|_| ()))
        };
        match self {
            Source::Mpmc(queue) => inspect(queue),
            Source::Slotted(consumer) => inspect(&consumer.queue()),
            Source::Mpsc(consumer) => {
                let verify = consumer.verify_quiesced();
                consumer.search(see_all);
                verify
            }
        }
    }
}

/// The MPMC queue, and the slots of its consumers.
pub(super) fn slotted<'a>(arena: &Arena<'a>) -> Result<Slotted<'a, Native, KeyValue, Counted>, Error> {
    Ok(arena.mpmc_with_slots::<KeyValue, Counted>(MPMC)?)
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
