//! The consuming end of a queue, and who may have it.

use std::num::NonZero;

use arenaq::arena::{Arena, ArenaError, Mpmc, MpmcConsumer, MpscConsumer, Owner};
use arenaq::count::{CountPolicy, Counted, Uncounted};
use arenaq::mpmc::{SLOTS, SlotError, TakenOver};
use arenaq::payload::Element;
use arenaq::platform::Plain;
use arenaq::{Corruption, KeyValue, PopError};

use super::end::{End, Watched};
use crate::checksum::fingerprint;
use crate::error::Error;
use crate::queue::{Named, QueueKind};

/// The consuming end of either queue.
#[derive(Debug)]
pub struct Source<'a, T: Element = KeyValue>(Kind<'a, T>);

/// By the queue, and by whether that maintains the seeds' counter.
#[derive(Debug)]
enum Kind<'a, T: Element> {
    /// One of many.
    MpmcCounted(Mpmc<'a, T, Counted>),
    /// One of many, from which another one can take over.
    Slotted(MpmcConsumer<'a, T, Uncounted>),
    SlottedCounted(MpmcConsumer<'a, T, Counted>),
    /// The only one.
    Mpsc(MpscConsumer<'a, T, Uncounted>),
    MpscCounted(MpscConsumer<'a, T, Counted>),
}

/// Runs an operation that all ends have.
macro_rules! each {
    ($source:expr, $end:ident => $operation:expr) => {
        match $source {
            Kind::MpmcCounted($end) => $operation,
            Kind::Slotted($end) => $operation,
            Kind::SlottedCounted($end) => $operation,
            Kind::Mpsc($end) => $operation,
            Kind::MpscCounted($end) => $operation,
        }
    };
}

/// Runs one operation for each way to consume.
macro_rules! by_way {
    ($source:expr, shared $ring:ident => $shared:expr, slotted $consumer:ident => $slotted:expr, alone $only:ident => $alone:expr) => {
        match $source {
            Kind::MpmcCounted($ring) => $shared,
            Kind::Slotted($consumer) => $slotted,
            Kind::SlottedCounted($consumer) => $slotted,
            Kind::Mpsc($only) => $alone,
            Kind::MpscCounted($only) => $alone,
        }
    };
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
            QueueKind::Mpmc => Kind::MpmcCounted(arena.mpmc(name)?),
            QueueKind::Mpsc => Kind::MpscCounted(arena.mpsc_consumer(name)?),
        }))
    }
}

impl<'a, T: Element> Source<'a, T> {
    /// The consuming end of a queue, for a consumer that is known to be of this process.
    pub(crate) fn of_this_process(arena: &Arena<'a>, queue: &Named) -> Result<Source<'a, T>, Error> {
        let (name, us) = (queue.as_str(), this_process());
        Ok(Source(match (queue.kind, queue.counted) {
            (QueueKind::Mpmc, false) => Kind::Slotted(arena.mpmc_consumer_as(name, us)?),
            (QueueKind::Mpmc, true) => Kind::SlottedCounted(arena.mpmc_consumer_as(name, us)?),
            (QueueKind::Mpsc, false) => Kind::Mpsc(arena.mpsc_consumer_as(name, us)?),
            (QueueKind::Mpsc, true) => Kind::MpscCounted(arena.mpsc_consumer_as(name, us)?),
        }))
    }

    /// The consumer of an MPSC queue, in the place of one that has died.
    ///
    /// # Safety
    ///
    /// Whoever the directory says consumes has ended, and this process knows that it has; see
    /// [`Arena::mpsc_consumer_after_death`].
    pub(super) unsafe fn after_death(arena: &Arena<'a>, queue: &Named) -> Result<Source<'a, T>, Error> {
        let (name, us) = (queue.as_str(), this_process());
        // SAFETY: as the caller has promised.
        Ok(Source(unsafe {
            if queue.counted {
                Kind::MpscCounted(arena.mpsc_consumer_after_death(name, us)?)
            } else {
                Kind::Mpsc(arena.mpsc_consumer_after_death(name, us)?)
            }
        }))
    }

    /// A consumer of an MPMC queue with a slot of its own. `announce` is called before the slot is taken, and says that its
    /// owner lives; `withdraw` if somebody else has it.
    pub(super) fn with_slot(
        arena: &Arena<'a>,
        queue: &Named,
        announce: impl Fn(usize) -> Result<(), Error>,
        withdraw: impl Fn(usize),
    ) -> Result<Source<'a, T>, Error> {
        Ok(Source(if queue.counted {
            Kind::SlottedCounted(slot_of::<T, Counted>(arena, queue, announce, withdraw)?)
        } else {
            Kind::Slotted(slot_of::<T, Uncounted>(arena, queue, announce, withdraw)?)
        }))
    }

    /// Dequeues the oldest element, which leaves the queue after `hand_over` has returned.
    ///
    /// # Errors
    ///
    /// As [`arenaq::mpsc::Consumer::pop`] and [`arenaq::mpmc::Ring::pop`].
    pub fn pop_with<R>(&mut self, hand_over: impl FnOnce(T) -> R) -> Result<R, PopError> {
        each!(&mut self.0, end => end.pop_with(hand_over))
    }

    /// Dequeues up to `limit` elements, and returns how many.
    ///
    /// # Errors
    ///
    /// As [`arenaq::mpsc::Consumer::drain`] and [`arenaq::mpmc::Ring::drain`].
    pub fn drain(&mut self, limit: u64, hand_over: impl FnMut(T)) -> Result<u64, PopError> {
        each!(&mut self.0, end => end.drain(limit, hand_over))
    }

    /// Whether a consumer of an MPMC queue has died, of whom nobody has taken over yet.
    pub(crate) fn has_dead(&self, is_dead: impl Fn(usize) -> bool) -> bool {
        by_way!(&self.0,
            shared _queue => false,
            slotted consumer => {
                let mut owners = consumer.slotted().owners().enumerate();
                owners.any(|(slot, owner)| slot != consumer.number() && owner.is_some() && is_dead(slot))
            },
            alone _consumer => false)
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
        mut hand_over: impl FnMut(T),
    ) -> Option<TakenOver> {
        by_way!(&mut self.0,
            shared _queue => Some(TakenOver::default()),
            slotted consumer => {
                // SAFETY: as the caller has promised; a cell that is handed over has a `T`.
                unsafe {
                    consumer.take_over_in_place(limit, |slot, _| is_dead(slot), |data, site| hand_over(data.read(site)))
                }
            },
            alone _consumer => Some(TakenOver::default()))
    }

    /// Looks at each element, from the oldest on, and says whether the queue is as it should be while it rests.
    ///
    /// # Safety
    ///
    /// Nobody pops meanwhile.
    pub unsafe fn inspect(&mut self, mut see: impl FnMut(&T)) -> Result<(), Corruption> {
        let mut see_all = |event: &T| {
            see(event);
            false
        };
        by_way!(&mut self.0,
        // SAFETY: as the caller has promised.
        shared queue => unsafe { inspect(queue, &mut see_all) },
        // SAFETY: as above.
        slotted consumer => unsafe { inspect(&consumer.queue(), &mut see_all) },
        alone consumer => {
            let verify = consumer.verify_quiesced();
            consumer.search(see_all);
            verify
        })
    }
}

/// # Safety
///
/// As [`Source::inspect`].
unsafe fn inspect<T: Element, C: CountPolicy>(
    queue: &Mpmc<'_, T, C>,
    see: &mut impl FnMut(&T) -> bool,
) -> Result<(), Corruption> {
    let verify = queue.verify_quiesced();
    // SAFETY: as the caller has promised.
    let searched = unsafe { queue.search(see) };
    verify.and(searched.map(|_| ()))
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
        by_way!(&self.0,
            shared _queue => None,
            slotted consumer => Some(consumer.number()),
            alone _consumer => None)
    }
}

impl<T: Element> Watched for Source<'_, T> {
    fn is_held_up(&self) -> bool {
        by_way!(&self.0,
            shared _queue => false,
            slotted consumer => consumer.queue().is_held_up(),
            alone _consumer => false)
    }

    fn may_sleep(&self) -> bool {
        by_way!(&self.0,
            shared queue => queue.is_empty(),
            slotted consumer => consumer.queue().is_empty(),
            alone consumer => consumer.is_drained())
    }
}

fn slot_of<'a, T: Element, C: CountPolicy>(
    arena: &Arena<'a>,
    queue: &Named,
    announce: impl Fn(usize) -> Result<(), Error>,
    withdraw: impl Fn(usize),
) -> Result<MpmcConsumer<'a, T, C>, Error> {
    let slotted = arena.mpmc_with_slots::<T, C>(queue.as_str())?;
    first_slot(queue, announce, withdraw, |slot| Ok(slotted.consumer_at(slot, this_process().get()).ok()))
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

/// Takes over from dead consumers of an MPMC queue in the name of one of them; see
/// [`Slotted::take_over`](arenaq::mpmc::Slotted::take_over).
///
/// # Safety
///
/// As there.
pub(super) unsafe fn take_over_as<T: Element>(
    arena: &Arena<'_>,
    queue: &Named,
    slot: usize,
    limit: u64,
    mut is_dead: impl FnMut(usize) -> bool,
    mut hand_over: impl FnMut(T),
) -> Result<Option<TakenOver>, Error> {
    let name = queue.as_str();
    // SAFETY: as the caller has promised; a cell that is handed over has a `T`.
    Ok(unsafe {
        if queue.counted {
            let slotted = arena.mpmc_with_slots::<T, Counted>(name)?;
            slotted.take_over_in_place(
                slot,
                limit,
                |slot, _| is_dead(slot),
                |data, site| hand_over(data.read(site)),
            )
        } else {
            let slotted = arena.mpmc_with_slots::<T, Uncounted>(name)?;
            slotted.take_over_in_place(
                slot,
                limit,
                |slot, _| is_dead(slot),
                |data, site| hand_over(data.read(site)),
            )
        }
    })
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
    drop(unsafe { arena.byte_consumer_after_death(queue.as_str(), Owner::LOCK) });
}
