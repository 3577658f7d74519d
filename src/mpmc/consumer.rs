//! A consumer that may be killed, and whose place others can take.

use core::fmt;
use core::num::NonZero;

use super::slots::{Announcing, Slot};
use super::{PUBLISHED, Ring, Run, Slotted, TakenOver, site};
use crate::count::{CountPolicy, Counted};
use crate::ordering::{Read, Site};
use crate::payload::Payload;
use crate::platform::{Plain, Platform};
use crate::status::PopError;

/// A consumer of a bounded queue that announces what it claims, in a slot of its own. If it dies, another one
/// [takes over](Self::take_over).
///
/// That costs an operation three stores to a line that nobody else touches. Dropping it gives the slot up.
pub struct Consumer<'a, P: Platform, T, C: CountPolicy = Counted> {
    queue: Slotted<'a, P, T, C>,
    number: usize,
    /// Positions that are claimed and not freed. Between two operations there are some only after a panic.
    held: Run,
}

impl<'a, P: Platform, T, C: CountPolicy> Consumer<'a, P, T, C> {
    /// The owner of a slot.
    pub(super) fn new(queue: Slotted<'a, P, T, C>, number: usize) -> Self {
        Consumer { queue, number, held: Run { first: 0, length: 0 } }
    }

    fn slot(&self) -> &'a Slot<P> {
        &self.queue.slots.slots[self.number]
    }

    /// The number of its slot.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The queue.
    pub fn queue(&self) -> Ring<'a, P, T, C> {
        self.queue.ring
    }

    /// The queue with the slots of all its consumers.
    pub fn slotted(&self) -> Slotted<'a, P, T, C> {
        self.queue
    }

    /// Claims up to so many positions, unless some are held.
    #[inline(always)]
    fn claim(&mut self, limit: u64) -> Result<(), PopError> {
        if self.held.length > 0 {
            return Ok(());
        }
        let (ring, slot) = (self.queue.ring, self.slot());
        let position = &ring.head.dequeue_pos.0;
        match ring.claim_run(&Announcing(slot), position, PUBLISHED, limit, &site::TAKE.claiming) {
            Ok(run) => {
                self.held = run;
                Ok(())
            }
            Err(blocked) => {
                slot.end();
                Err(blocked.into())
            }
        }
    }

    /// Dequeues the oldest element, which `read` takes out of its cell: what [`pop_with`](Self::pop_with) does, for
    /// elements of which the caller knows more than their type says. The element leaves the queue after `read` has
    /// returned.
    ///
    /// # Errors
    ///
    /// As [`Ring::pop`]; `read` is not called then.
    ///
    /// # Panics
    ///
    /// If `read` does. The element is handed to the next operation again then.
    ///
    /// # Safety
    ///
    /// `read` reads the element out of the cell, with that site. It is a copy: the same element may be read again, by
    /// another consumer.
    #[inline(always)]
    pub unsafe fn pop_in_place<R>(
        &mut self,
        read: impl FnOnce(&P::Plain<T>, &'static Site<Read>) -> R,
    ) -> Result<R, PopError> {
        self.claim(1)?;
        let result = self.take(read);
        self.end(1);
        Ok(result)
    }

    /// Lets `read` take the first element that is held out of its cell, and frees that.
    #[inline(always)]
    fn take<R>(&mut self, read: impl FnOnce(&P::Plain<T>, &'static Site<Read>) -> R) -> R {
        let result = self.queue.ring.take(self.held.first, &site::TAKE, read);
        self.held.first = self.held.first.wrapping_add(1);
        self.held.length -= 1;
        result
    }

    /// So many elements were taken.
    #[inline(always)]
    fn end(&mut self, elements: u64) {
        if self.held.length == 0 {
            self.slot().end();
        }
        C::decrement(&self.queue.ring.head.count, elements, &site::TAKE.decrement_count);
    }

    /// Takes over from the consumers that died, as [`take_over`](Self::take_over) does, up to `limit` elements, which
    /// `read` takes out of their cells.
    ///
    /// # Panics
    ///
    /// As [`Slotted::take_over_in_place`].
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn take_over_in_place(
        &mut self,
        limit: u64,
        mut is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
        read: impl FnMut(&P::Plain<T>, &'static Site<Read>),
    ) -> Option<TakenOver> {
        let own = self.number;
        let is_dead = |slot, owner| slot != own && is_dead(slot, owner);
        // SAFETY: passed on to the caller, and the slot is ours: nobody else takes over in its name.
        unsafe { self.queue.take_over_in_place(own, limit, is_dead, read) }
    }
}

impl<P: Platform, T: Payload, C: CountPolicy> Consumer<'_, P, T, C> {
    /// Dequeues the oldest element; see [`Ring::pop`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn pop(&mut self) -> Result<T, PopError> {
        self.pop_with(|value| value)
    }

    /// Dequeues the oldest element: it leaves the queue after `hand_over` has returned. If this consumer dies before,
    /// whoever takes over hands the element over.
    ///
    /// # Errors
    ///
    /// As [`Ring::pop`].
    ///
    /// # Panics
    ///
    /// If `hand_over` does. The element is handed over again by the next operation then.
    #[inline(always)]
    pub fn pop_with<R>(&mut self, hand_over: impl FnOnce(T) -> R) -> Result<R, PopError> {
        // SAFETY: the sequence said that the cell is published, so a `T` is there, and the claim that it is ours: no
        // other consumer has this position, and no producer writes the cell before its sequence is a lap further.
        unsafe { self.pop_in_place(|data, site| hand_over(data.read(site))) }
    }

    /// Dequeues up to `limit` elements and hands them over in their order; see [`Ring::drain`]. Each leaves the queue
    /// when it has been handed over.
    ///
    /// # Errors
    ///
    /// As [`Ring::pop`], if there is not one element.
    ///
    /// # Panics
    ///
    /// If `hand_over` does. That element and those after it in the batch are handed over by the next operations then.
    #[inline]
    pub fn drain(&mut self, limit: u64, mut hand_over: impl FnMut(T)) -> Result<u64, PopError> {
        if limit == 0 {
            return Ok(0);
        }
        self.claim(limit)?;
        let length = self.held.length.min(limit);
        for _ in 0..length {
            // SAFETY: as in a pop.
            self.take(|data, site| hand_over(unsafe { data.read(site) }));
        }
        self.end(length);
        Ok(length)
    }

    /// Takes over from the consumers that died: hands over what they had claimed and not freed, and frees their slots.
    /// `is_dead` is asked about the owners of other slots. See [`Slotted::take_over`].
    ///
    /// # Panics
    ///
    /// As there.
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn take_over(
        &mut self,
        is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
        mut hand_over: impl FnMut(T),
    ) -> Option<TakenOver> {
        // SAFETY: passed on to the caller; and a cell that is handed over has a `T`, as in `Slotted::take_over`.
        unsafe { self.take_over_in_place(u64::MAX, is_dead, |data, site| hand_over(data.read(site))) }
    }
}

impl<P: Platform, T, C: CountPolicy> Drop for Consumer<'_, P, T, C> {
    /// What a panic has left stays announced, and so the slot: to others this consumer is one that died.
    fn drop(&mut self) {
        if self.held.length == 0 {
            self.slot().vacate();
        }
    }
}

impl<P: Platform, T, C: CountPolicy> fmt::Debug for Consumer<'_, P, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("mpmc::Consumer")
            .field("slot", &self.number)
            .field("queue", &self.queue.ring)
            .finish_non_exhaustive()
    }
}
