//! The ends of an MPSC queue whose kind and count policy the compiler knows.

use core::ops::Range;

use super::Arena;
use super::consumer::{Claimed, Right};
use super::error::ArenaError;
use super::kinds::Parts;
use super::kinds::structure::{Elements, Seat};
use super::owner::Owner;
use super::queues::Found;
use crate::count::{CountPolicy, Counted};
use crate::mpsc::{self, List};
use crate::payload::Element;
use crate::platform::{Native, Platform, SizeOf};
use crate::pool::GrowError;
use crate::recovery::Repaired;
use crate::status::{Corruption, PopError};
use crate::structures::Kind;

/// The producing end of an MPSC queue in an arena; any number of copies. It is a [`List`] whose memory is
/// known to be mapped.
#[derive(Debug)]
pub struct MpscProducer<'m, T, C: CountPolicy = Counted>(List<'m, Native, T, C>);

impl<T, C: CountPolicy> Clone for MpscProducer<'_, T, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, C: CountPolicy> Copy for MpscProducer<'_, T, C> {}

impl<'m, T, C: CountPolicy> core::ops::Deref for MpscProducer<'m, T, C> {
    type Target = List<'m, Native, T, C>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T, C: CountPolicy> MpscProducer<'_, T, C> {
    /// Makes `count` more nodes, and those that fill the last block; see [`Nodes::grow_zeroed`](crate::pool::Nodes::grow_zeroed).
    ///
    /// # Errors
    ///
    /// [`GrowError`] if there is no room, or others were faster.
    pub fn grow(&self, count: u64) -> Result<(), GrowError> {
        // SAFETY: the arena has checked that the nodes up to the limit lie in the region, which is mapped.
        unsafe { self.0.nodes().grow_zeroed(count) }
    }
}

/// The consuming end of an MPSC queue in an arena, or in other memory that has a [`Right`]. There is one.
///
/// It stays with its right to consume: two can be swapped whole,
///
/// ```
/// # use arenaq::arena::MpscConsumer;
/// fn swap<'m>(one: &mut MpscConsumer<'m, u64>, other: &mut MpscConsumer<'m, u64>) {
///     core::mem::swap(one, other);
/// }
/// ```
///
/// and not without their rights:
///
/// ```compile_fail,E0596
/// # use arenaq::arena::MpscConsumer;
/// fn swap<'m>(one: &mut MpscConsumer<'m, u64>, other: &mut MpscConsumer<'m, u64>) {
///     core::mem::swap(&mut **one, &mut **other);
/// }
/// ```
#[derive(Debug)]
pub struct MpscConsumer<'m, T: Element, C: CountPolicy = Counted, P: Platform = Native>(Claimed<'m, P, T, C>);

/// What only looks is [`mpsc::Consumer`]'s own. The rest is forwarded: were the consumer itself lent out, two could be
/// swapped, and leave their rights behind.
impl<'m, T: Element, C: CountPolicy, P: Platform> core::ops::Deref for MpscConsumer<'m, T, C, P> {
    type Target = mpsc::Consumer<'m, P, T, C>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0.consumer
    }
}

impl<'m, T: Element, C: CountPolicy, P: Platform> MpscConsumer<'m, T, C, P> {
    /// The consumer of a list, with a right that is the list's: it becomes `owner`'s, if nobody has it.
    ///
    /// # Errors
    ///
    /// [`ArenaError::ConsumerTaken`] if somebody has the right, [`ArenaError::Corrupt`] if the list has no stub.
    ///
    /// # Safety
    ///
    /// Whoever consumes from the list has this right, in any process.
    pub unsafe fn claim(
        list: List<'m, P, T, C>,
        right: &'m Right<P>,
        owner: Owner,
    ) -> Result<Self, ArenaError> {
        // SAFETY: passed on to the caller.
        unsafe { Claimed::claim(list, right, owner) }.map(MpscConsumer)
    }

    /// The consumer of a list, in the place of `dead`, which has died and has the right still. If nobody has it any more, this is
    /// [`claim`](Self::claim), and so it is if the caller has found that nobody has it. If somebody has taken it over before,
    /// that one keeps it: of several heirs one gets the right.
    ///
    /// # Errors
    ///
    /// As [`claim`](Self::claim).
    ///
    /// # Safety
    ///
    /// As there; whoever has the right and calls itself `dead` will never use its consumer again, and everything that it did
    /// happens before this call. That is not so of one that lives and calls itself the same: among processes that do, as in
    /// containers where each is process 1, another lock decides who takes over.
    pub unsafe fn take_over(
        list: List<'m, P, T, C>,
        right: &'m Right<P>,
        dead: Option<Owner>,
        owner: Owner,
    ) -> Result<Self, ArenaError> {
        // SAFETY: passed on to the caller.
        unsafe { Claimed::take_over(list, right, dead, owner) }.map(MpscConsumer)
    }

    /// Dequeues the oldest element; see [`mpsc::Consumer::pop`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn pop(&mut self) -> Result<T, PopError> {
        self.0.consumer.pop()
    }

    /// Dequeues the oldest element for a consumer that may be killed; see [`mpsc::Consumer::pop_with`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As there.
    #[inline(always)]
    pub fn pop_with<R>(&mut self, hand_over: impl FnOnce(T) -> R) -> Result<R, PopError> {
        self.0.consumer.pop_with(hand_over)
    }

    /// Dequeues several elements; see [`mpsc::Consumer::drain`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As there.
    #[inline]
    pub fn drain(&mut self, limit: u64, hand_over: impl FnMut(T)) -> Result<u64, PopError> {
        self.0.consumer.drain(limit, hand_over)
    }

    /// Gives lost nodes back; see [`mpsc::Consumer::repair`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn repair(&mut self) -> Result<u64, Corruption> {
        // SAFETY: passed on to the caller.
        unsafe { self.0.consumer.repair() }
    }

    /// Gives lost nodes back, and asks for their memory first; see [`mpsc::Consumer::repair_with`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As there.
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn repair_with(
        &mut self,
        populate: impl FnMut(Range<usize>) -> bool,
    ) -> Result<Repaired, Corruption> {
        // SAFETY: passed on to the caller.
        unsafe { self.0.consumer.repair_with(populate) }
    }
}

impl<'m> Arena<'m> {
    /// The producing end of the MPSC queue of that name, with its count policy known to the compiler.
    ///
    /// # Errors
    ///
    /// As [`mpmc`](Self::mpmc), and [`ArenaError::Corrupt`] if the queue has no stub, or it is not a node of the pool.
    pub fn mpsc_producer<T: Element, C: CountPolicy>(
        &self,
        name: &str,
    ) -> Result<MpscProducer<'m, T, C>, ArenaError> {
        let found = self.typed::<T>(name)?;
        found.check_policy::<C>()?;
        let Parts::Mpsc(parts) = found.parts else { return Err(found.is_not(Kind::Mpsc)) };
        // SAFETY: an element is plain old data of the size that the queue was checked for.
        Ok(MpscProducer(unsafe { parts.producer(SizeOf) }?))
    }

    /// The consuming end of the MPSC queue of that name, of which there is one at a time: the next can be had when this
    /// one is dropped. The consumer calls itself [`Owner::ANONYMOUS`].
    ///
    /// # Errors
    ///
    /// [`ArenaError::ConsumerTaken`] if it is held, or as [`mpsc_producer`](Self::mpsc_producer).
    pub fn mpsc_consumer<T: Element, C: CountPolicy>(
        &self,
        name: &str,
    ) -> Result<MpscConsumer<'m, T, C>, ArenaError> {
        self.mpsc_consumer_as(name, Owner::ANONYMOUS)
    }

    /// [`mpsc_consumer`](Self::mpsc_consumer) for a consumer that calls itself `owner`.
    ///
    /// # Errors
    ///
    /// As [`mpsc_consumer`](Self::mpsc_consumer).
    pub fn mpsc_consumer_as<T: Element, C: CountPolicy>(
        &self,
        name: &str,
        owner: Owner,
    ) -> Result<MpscConsumer<'m, T, C>, ArenaError> {
        // SAFETY: nobody's place is taken.
        unsafe { self.mpsc_consumer_with(name, Seat::Free(owner)) }
    }

    /// The consuming end of the MPSC queue, whose consumer `dead` has died without dropping it. What it has left is
    /// put right by [`mpsc::Consumer::repair`]. If nobody has the right any more, this is
    /// [`mpsc_consumer_as`](Self::mpsc_consumer_as); if somebody else has taken it over, that one keeps it.
    ///
    /// Who holds a lock that only one consumer holds at a time knows that [whoever has the right](Self::mpsc_owner) is dead.
    ///
    /// # Errors
    ///
    /// As [`mpsc_consumer`](Self::mpsc_consumer).
    ///
    /// # Safety
    ///
    /// Whoever holds the right and calls itself `dead` will never use its consumer again, and everything that it did
    /// happens before this call. A lock that the operating system gives up when its holder dies shows that.
    pub unsafe fn mpsc_consumer_after_death<T: Element, C: CountPolicy>(
        &self,
        name: &str,
        dead: Option<Owner>,
        owner: Owner,
    ) -> Result<MpscConsumer<'m, T, C>, ArenaError> {
        // SAFETY: passed on to the caller.
        unsafe { self.mpsc_consumer_with(name, Seat::OfTheDead { dead, owner }) }
    }

    /// # Safety
    ///
    /// As the seat says.
    unsafe fn mpsc_consumer_with<T: Element, C: CountPolicy>(
        &self,
        name: &str,
        seat: Seat,
    ) -> Result<MpscConsumer<'m, T, C>, ArenaError> {
        let found = self.typed::<T>(name)?;
        found.check_policy::<C>()?;
        let Parts::Mpsc(parts) = found.parts else { return Err(found.is_not(Kind::Mpsc)) };
        // SAFETY: an element is plain old data of the size that the queue was checked for; the rest is passed on to the caller.
        Ok(MpscConsumer(unsafe { parts.consumer(found.place(), SizeOf, seat) }?))
    }

    /// Who has the right to consume from the queue of that name, which is an MPSC queue.
    pub fn mpsc_owner(&self, name: &str) -> Option<Owner> {
        self.find(name).ok().and_then(Found::owner)
    }
}
