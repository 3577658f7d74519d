//! The consuming end of a queue, and who may have it.

use std::num::NonZero;

use arenaq::arena::{Arena, ArenaError, Consumer, Mpmc, Owner};
use arenaq::count::Counted;
use arenaq::mpmc::{SLOTS, SlotError, TakenOver};
use arenaq::payload::Element;
use arenaq::{Corruption, KeyValue, PopError};

use super::end::{End, Watched};
use crate::checksum::fingerprint;
use crate::error::Error;
use crate::queue::{Named, QueueKind};

/// The consuming end of a queue of elements.
#[derive(Debug)]
pub struct Source<'a, T: Element = KeyValue>(Way<'a, T>);

#[derive(Debug)]
enum Way<'a, T: Element> {
    /// One of many that do not say what they have claimed: nobody takes over from them.
    Shared(Mpmc<'a, T, Counted>),
    /// A consumer that the arena knows.
    Known(Consumer<'a, T>),
}

impl<'a> Source<'a> {
    /// The queue of pairs of an arena, for a consumer whose process nobody needs to know.
    ///
    /// # Errors
    ///
    /// [`Error::Arena`] if the arena has no such queue, or the MPSC queue has a consumer.
    pub fn of(arena: &Arena<'a>, queue: QueueKind) -> Result<Source<'a>, Error> {
        let name = queue.of_pairs();
        Ok(Source(match queue {
            QueueKind::Mpmc => Way::Shared(arena.mpmc(name)?),
            QueueKind::Mpsc => Way::Known(arena.consumer(name)?),
        }))
    }
}

impl<'a, T: Element> Source<'a, T> {
    /// The consuming end of a queue, for a consumer that is known to be of this process.
    pub(crate) fn of_this_process(arena: &Arena<'a>, queue: &Named) -> Result<Source<'a, T>, Error> {
        Ok(Source(Way::Known(arena.consumer_as(queue.as_str(), this_process())?)))
    }

    /// The consumer of an MPSC queue, in the place of one that has died.
    ///
    /// # Safety
    ///
    /// Whoever the directory says consumes has ended, and this process knows that it has; see
    /// [`Arena::mpsc_consumer_after_death`].
    pub(super) unsafe fn after_death(arena: &Arena<'a>, queue: &Named) -> Result<Source<'a, T>, Error> {
        let dead = arena.mpsc_owner(queue.as_str());
        // SAFETY: as the caller has promised.
        let consumer = unsafe { arena.consumer_after_death(queue.as_str(), dead, this_process()) }?;
        Ok(Source(Way::Known(consumer)))
    }

    /// A consumer of an MPMC queue with a slot of its own. `announce` is called before the slot is taken, and says that its
    /// owner lives; `withdraw` if somebody else has it.
    pub(super) fn with_slot(
        arena: &Arena<'a>,
        queue: &Named,
        announce: impl Fn(usize) -> Result<(), Error>,
        withdraw: impl Fn(usize),
    ) -> Result<Source<'a, T>, Error> {
        let occupy = |slot| unless_taken(arena.consumer_at(queue.as_str(), slot, this_process()));
        Ok(Source(Way::Known(first_slot(queue, announce, withdraw, occupy)?)))
    }

    /// Dequeues the oldest element, which leaves the queue after `hand_over` has returned.
    ///
    /// # Errors
    ///
    /// As [`arenaq::mpsc::Consumer::pop`] and [`arenaq::mpmc::Ring::pop`].
    pub fn pop_with<R>(&mut self, hand_over: impl FnOnce(T) -> R) -> Result<R, PopError> {
        match &mut self.0 {
            Way::Shared(ring) => ring.pop_with(hand_over),
            Way::Known(consumer) => consumer.pop_with(hand_over),
        }
    }

    /// Dequeues up to `limit` elements, and returns how many.
    ///
    /// # Errors
    ///
    /// As [`arenaq::mpsc::Consumer::drain`] and [`arenaq::mpmc::Ring::drain`].
    pub fn drain(&mut self, limit: u64, hand_over: impl FnMut(T)) -> Result<u64, PopError> {
        match &mut self.0 {
            Way::Shared(ring) => ring.drain(limit, hand_over),
            Way::Known(consumer) => consumer.drain(limit, hand_over),
        }
    }

    /// Whether a consumer of an MPMC queue has died, of whom nobody has taken over yet.
    pub(crate) fn has_dead(&self, is_dead: impl Fn(usize) -> bool) -> bool {
        self.known().is_some_and(|consumer| consumer.has_dead(|slot, _| is_dead(slot)))
    }

    /// Takes over from the consumers of an MPMC queue that have died, and hands over up to `limit` elements that they had
    /// claimed. `None` if another one takes over at the moment.
    ///
    /// # Safety
    ///
    /// See [`arenaq::mpmc::Consumer::take_over`].
    pub(crate) unsafe fn take_over(
        &mut self,
        limit: u64,
        mut is_dead: impl FnMut(usize) -> bool,
        hand_over: impl FnMut(T),
    ) -> Option<TakenOver> {
        match &mut self.0 {
            Way::Shared(_) => Some(TakenOver::default()),
            // SAFETY: as the caller has promised.
            Way::Known(consumer) => unsafe { consumer.take_over(limit, |slot, _| is_dead(slot), hand_over) },
        }
    }

    /// Looks at each element, from the oldest on, and says whether the queue is as it should be while it rests.
    ///
    /// # Safety
    ///
    /// Nobody pops meanwhile.
    pub unsafe fn inspect(&mut self, mut see: impl FnMut(&T)) -> Result<(), Corruption> {
        match &mut self.0 {
            // SAFETY: as the caller has promised.
            Way::Shared(ring) => unsafe {
                let verify = ring.verify_quiesced();
                let searched = ring.search(|event| {
                    see(event);
                    false
                });
                verify.and(searched.map(|_| ()))
            },
            // SAFETY: as above.
            Way::Known(consumer) => unsafe { consumer.inspect(see) },
        }
    }

    fn known(&self) -> Option<&Consumer<'a, T>> {
        match &self.0 {
            Way::Shared(_) => None,
            Way::Known(consumer) => Some(consumer),
        }
    }
}

impl<T: Element> End for Source<'_, T> {
    type Handed<'e> = T;

    fn pop_with<R>(&mut self, hand_over: impl FnOnce(T) -> R) -> Result<R, PopError> {
        Source::pop_with(self, hand_over)
    }

    fn drain(&mut self, limit: u64, hand_over: impl FnMut(T)) -> Result<u64, PopError> {
        Source::drain(self, limit, hand_over)
    }

    fn fingerprint(element: &T) -> KeyValue {
        fingerprint(arenaq::bytemuck::bytes_of(element))
    }

    fn slot(&self) -> Option<usize> {
        self.known().and_then(Consumer::slot)
    }
}

impl<T: Element> Watched for Source<'_, T> {
    fn is_held_up(&self) -> bool {
        self.known().is_some_and(Consumer::is_held_up)
    }

    fn may_sleep(&self) -> bool {
        match &self.0 {
            Way::Shared(ring) => ring.is_empty(),
            Way::Known(consumer) => consumer.is_drained(),
        }
    }
}

/// The consumer, unless another one has its slot.
pub(super) fn unless_taken<C>(consumer: Result<C, ArenaError>) -> Result<Option<C>, Error> {
    match consumer {
        Ok(consumer) => Ok(Some(consumer)),
        Err(ArenaError::NoSlot { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The consumer with the first slot that `occupy` gets. `announce` is called before, and says that the slot's owner lives;
/// `withdraw` if somebody else has it.
pub(super) fn first_slot<C>(
    queue: &Named,
    announce: impl Fn(usize) -> Result<(), Error>,
    withdraw: impl Fn(usize),
    occupy: impl Fn(usize) -> Result<Option<C>, Error>,
) -> Result<C, Error> {
    for slot in 0..SLOTS {
        announce(slot)?;
        match occupy(slot) {
            Ok(Some(consumer)) => return Ok(consumer),
            Ok(None) => withdraw(slot),
            Err(error) => {
                withdraw(slot);
                return Err(error);
            }
        }
    }
    Err(ArenaError::NoSlot { queue: queue.name, reason: SlotError::AllTaken(SLOTS) }.into())
}

pub(crate) fn this_process() -> Owner {
    NonZero::new(std::process::id()).map_or(Owner::ANONYMOUS, Owner::process)
}

/// Whether somebody consumes from the MPSC queue whose process nobody knows.
pub(super) fn has_unknown_consumer(arena: &Arena<'_>, queue: &Named) -> bool {
    arena.mpsc_owner(queue.as_str()) == Some(Owner::ANONYMOUS)
}

/// Lets nobody consume from an MPSC queue who does not hold the lock.
pub(super) fn reserve(arena: &Arena<'_>, queue: &Named) -> Result<(), ArenaError> {
    if arena.mpsc_owner(queue.as_str()) != Some(Owner::LOCK) {
        // Not given back.
        std::mem::forget(arena.byte_consumer(queue.as_str(), Owner::LOCK)?);
    }
    Ok(())
}

/// Takes the reservation back.
///
/// # Safety
///
/// It is the caller's: [`reserve`] has made it, and nobody uses its consumer.
pub(super) unsafe fn unreserve(arena: &Arena<'_>, queue: &Named) {
    // SAFETY: as the caller has promised.
    drop(unsafe { arena.byte_consumer_after_death(queue.as_str(), Some(Owner::LOCK), Owner::LOCK) });
}
