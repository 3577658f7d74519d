//! What a receiver hands over: elements of a type, or bytes.

use arenaq::arena::{Arena, ByteConsumer};
use arenaq::mpmc::TakenOver;
use arenaq::payload::Element;
use arenaq::{KeyValue, PopError};

use super::end::{End, Watched};
use super::source::{self, Source, this_process};
use crate::checksum::fingerprint;
use crate::error::Error;
use crate::queue::Named;

/// What a [`Receiver`](crate::Receiver) hands over: elements of a type ([`Element`]), or, as `[u8]`, the bytes of
/// elements whose type this program does not know.
pub trait Carried: Sealed {}

impl<T: Sealed + ?Sized> Carried for T {}

/// Whether the consumer with a slot is dead.
pub(crate) type IsDead<'f> = &'f mut dyn FnMut(usize) -> bool;
/// To whom what dead consumers have left goes.
pub(crate) type Recovered<'f, T> = &'f mut dyn for<'e> FnMut(<T as Sealed>::Handed<'e>);

/// How to get at the ends of a queue.
pub trait Sealed: 'static {
    /// What is handed over.
    type Handed<'e>;
    /// The consuming one.
    type End<'a>: for<'e> End<Handed<'e> = Self::Handed<'e>>;

    /// A consuming end that is known to be of this process.
    fn of_this_process<'a>(arena: &Arena<'a>, queue: &Named) -> Result<Self::End<'a>, Error>;

    /// The consumer of an MPSC queue, in the place of one that has died.
    ///
    /// # Safety
    ///
    /// As [`Source::after_death`].
    unsafe fn after_death<'a>(arena: &Arena<'a>, queue: &Named) -> Result<Self::End<'a>, Error>;

    /// A consumer of an MPMC queue with a slot of its own; see [`Source::with_slot`].
    fn with_slot<'a>(
        arena: &Arena<'a>,
        queue: &Named,
        announce: impl Fn(usize) -> Result<(), Error>,
        withdraw: impl Fn(usize),
    ) -> Result<Self::End<'a>, Error>;

    /// Whether a consumer of an MPMC queue has died, of whom nobody has taken over yet.
    fn has_dead(end: &Self::End<'_>, is_dead: impl Fn(usize) -> bool) -> bool;

    /// Takes over from the consumers of an MPMC queue that have died; see [`Source::take_over`].
    ///
    /// # Safety
    ///
    /// As there.
    unsafe fn take_over(
        end: &mut Self::End<'_>,
        limit: u64,
        is_dead: IsDead<'_>,
        recovered: Recovered<'_, Self>,
    ) -> Option<TakenOver>;

    /// The same in the name of a dead consumer; see [`Arena::take_over`].
    ///
    /// # Safety
    ///
    /// As there.
    unsafe fn take_over_as(
        arena: &Arena<'_>,
        queue: &Named,
        slot: usize,
        limit: u64,
        is_dead: IsDead<'_>,
        recovered: Recovered<'_, Self>,
    ) -> Result<Option<TakenOver>, Error>;
}

impl<T: Element> Sealed for T {
    type Handed<'e> = T;
    type End<'a> = Source<'a, T>;

    fn of_this_process<'a>(arena: &Arena<'a>, queue: &Named) -> Result<Source<'a, T>, Error> {
        Source::of_this_process(arena, queue)
    }

    unsafe fn after_death<'a>(arena: &Arena<'a>, queue: &Named) -> Result<Source<'a, T>, Error> {
        // SAFETY: passed on to the caller.
        unsafe { Source::after_death(arena, queue) }
    }

    fn with_slot<'a>(
        arena: &Arena<'a>,
        queue: &Named,
        announce: impl Fn(usize) -> Result<(), Error>,
        withdraw: impl Fn(usize),
    ) -> Result<Source<'a, T>, Error> {
        Source::with_slot(arena, queue, announce, withdraw)
    }

    fn has_dead(end: &Source<'_, T>, is_dead: impl Fn(usize) -> bool) -> bool {
        end.has_dead(is_dead)
    }

    unsafe fn take_over(
        end: &mut Source<'_, T>,
        limit: u64,
        is_dead: IsDead<'_>,
        recovered: Recovered<'_, T>,
    ) -> Option<TakenOver> {
        // SAFETY: passed on to the caller.
        unsafe { end.take_over(limit, is_dead, recovered) }
    }

    unsafe fn take_over_as(
        arena: &Arena<'_>,
        queue: &Named,
        slot: usize,
        limit: u64,
        is_dead: IsDead<'_>,
        recovered: Recovered<'_, T>,
    ) -> Result<Option<TakenOver>, Error> {
        // SAFETY: passed on to the caller.
        Ok(unsafe { arena.take_over(queue.as_str(), slot, limit, |slot, _| is_dead(slot), recovered) }?)
    }
}

impl Sealed for [u8] {
    type Handed<'e> = &'e [u8];
    type End<'a> = ByteConsumer<'a>;

    fn of_this_process<'a>(arena: &Arena<'a>, queue: &Named) -> Result<ByteConsumer<'a>, Error> {
        Ok(arena.byte_consumer(queue.as_str(), this_process())?)
    }

    unsafe fn after_death<'a>(arena: &Arena<'a>, queue: &Named) -> Result<ByteConsumer<'a>, Error> {
        let dead = arena.mpsc_owner(queue.as_str());
        // SAFETY: passed on to the caller.
        Ok(unsafe { arena.byte_consumer_after_death(queue.as_str(), dead, this_process()) }?)
    }

    fn with_slot<'a>(
        arena: &Arena<'a>,
        queue: &Named,
        announce: impl Fn(usize) -> Result<(), Error>,
        withdraw: impl Fn(usize),
    ) -> Result<ByteConsumer<'a>, Error> {
        let occupy =
            |slot| source::unless_taken(arena.byte_consumer_at(queue.as_str(), slot, this_process()));
        source::first_slot(queue, announce, withdraw, occupy)
    }

    fn has_dead(end: &ByteConsumer<'_>, is_dead: impl Fn(usize) -> bool) -> bool {
        end.has_dead(|slot, _| is_dead(slot))
    }

    unsafe fn take_over(
        end: &mut ByteConsumer<'_>,
        limit: u64,
        is_dead: IsDead<'_>,
        recovered: Recovered<'_, [u8]>,
    ) -> Option<TakenOver> {
        // SAFETY: passed on to the caller.
        unsafe { end.take_over(limit, |slot, _| is_dead(slot), recovered) }
    }

    unsafe fn take_over_as(
        arena: &Arena<'_>,
        queue: &Named,
        slot: usize,
        limit: u64,
        is_dead: IsDead<'_>,
        recovered: Recovered<'_, [u8]>,
    ) -> Result<Option<TakenOver>, Error> {
        // SAFETY: passed on to the caller.
        Ok(unsafe { arena.take_over_bytes(queue.as_str(), slot, limit, |slot, _| is_dead(slot), recovered) }?)
    }
}

impl End for ByteConsumer<'_> {
    type Handed<'e> = &'e [u8];

    fn pop_with<R>(&mut self, hand_over: impl FnOnce(&[u8]) -> R) -> Result<R, PopError> {
        ByteConsumer::pop_with(self, hand_over)
    }

    fn drain(&mut self, limit: u64, mut hand_over: impl FnMut(&[u8])) -> Result<u64, PopError> {
        let mut drained = 0;
        while drained < limit {
            match self.pop_with(&mut hand_over) {
                Ok(()) => drained += 1,
                Err(error) if drained == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(drained)
    }

    fn fingerprint(element: &&[u8]) -> KeyValue {
        fingerprint(element)
    }

    fn slot(&self) -> Option<usize> {
        ByteConsumer::slot(self)
    }
}

impl Watched for ByteConsumer<'_> {
    fn is_held_up(&self) -> bool {
        ByteConsumer::is_held_up(self)
    }

    fn may_sleep(&self) -> bool {
        self.is_drained()
    }
}
