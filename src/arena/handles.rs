//! The ends of a queue: what an arena gives to those who push and pop.

use core::fmt;
use core::num::NonZero;

use super::Arena;
use super::error::ArenaError;
use super::kinds::structure::{Consume, Produce, Seat};
use super::kinds::{Consuming, Producing};
use super::look::Look;
use super::name::Name;
use super::owner::Owner;
use super::queues::Found;
use crate::count::CountPolicy;
use crate::drops::{Dropped, Drops};
use crate::eventcount::EventCount;
use crate::mpmc::TakenOver;
use crate::payload::{Element, ElementType, UNKNOWN};
use crate::platform::{Native, Plain, SizeOf};
use crate::status::{Corruption, PopError, PushError};
use crate::structures::Kind;

/// What an arena says of one of its queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueInfo {
    /// Its name.
    pub name: Name,
    /// Its kind.
    pub kind: Kind,
    /// What it carries; for records, the size of the largest.
    pub element: ElementType,
    /// How many cells an MPMC queue has, for how many nodes the pool of an MPSC queue has room, and how many bytes records
    /// have in all their lanes.
    pub capacity: u64,
    /// Whether it maintains the seeds' counter.
    pub counted: bool,
    /// Who has the right to consume from an MPSC queue.
    pub owner: Option<Owner>,
    /// What was dropped, if that is counted.
    pub dropped: Option<Dropped>,
}

impl<'m> Arena<'m> {
    /// The queues, in the order in which they were made.
    pub fn queues(&self) -> impl Iterator<Item = QueueInfo> {
        self.queues.iter().map(Found::info)
    }

    /// The queue of that name, if it carries elements of type `T`, for those who push.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] if there is none, or it carries something else.
    pub fn queue<T: Element>(&self, name: &str) -> Result<Queue<'m, T>, ArenaError> {
        let found = self.typed::<T>(name)?;
        // SAFETY: an element is plain old data of the size that the queue was checked for.
        let ends = unsafe { found.producing(SizeOf) }?;
        Ok(Queue { ends, drops: found.drops })
    }

    /// The consuming end of the queue of that name, if it carries elements of type `T`. Of an MPSC queue there is one at
    /// a time, of an MPMC queue as many as there are [`SLOTS`](crate::mpmc::SLOTS).
    ///
    /// # Errors
    ///
    /// As [`queue`](Self::queue), and [`ArenaError::ConsumerTaken`] or [`ArenaError::NoSlot`].
    pub fn consumer<T: Element>(&self, name: &str) -> Result<Consumer<'m, T>, ArenaError> {
        self.consumer_as(name, Owner::ANONYMOUS)
    }

    /// [`consumer`](Self::consumer) for a consumer that calls itself `owner`.
    ///
    /// # Errors
    ///
    /// As [`consumer`](Self::consumer).
    pub fn consumer_as<T: Element>(&self, name: &str, owner: Owner) -> Result<Consumer<'m, T>, ArenaError> {
        // SAFETY: nobody's place is taken.
        unsafe { self.consumer_with(name, Seat::Free(owner)) }
    }

    /// A consumer with the slot of that number, of a queue whose consumers have slots.
    ///
    /// # Errors
    ///
    /// As [`consumer`](Self::consumer), [`ArenaError::NoSlot`] if the slot is taken, and [`ArenaError::Kind`] if there are none.
    pub fn consumer_at<T: Element>(
        &self,
        name: &str,
        slot: usize,
        owner: Owner,
    ) -> Result<Consumer<'m, T>, ArenaError> {
        // SAFETY: nobody's place is taken.
        unsafe { self.consumer_with(name, Seat::Slot(slot, owner)) }
    }

    /// The only consumer of a queue, in the place of `dead`, which has died without dropping it. If nobody has the right any more,
    /// or the queue has several consumers, this is [`consumer_as`](Self::consumer_as).
    ///
    /// # Errors
    ///
    /// As [`consumer`](Self::consumer).
    ///
    /// # Safety
    ///
    /// As [`mpsc_consumer_after_death`](Self::mpsc_consumer_after_death).
    pub unsafe fn consumer_after_death<T: Element>(
        &self,
        name: &str,
        dead: Option<Owner>,
        owner: Owner,
    ) -> Result<Consumer<'m, T>, ArenaError> {
        // SAFETY: passed on to the caller.
        unsafe { self.consumer_with(name, Seat::OfTheDead { dead, owner }) }
    }

    /// Takes over from consumers that died, in the name of `slot`: hands up to `limit` elements over, and leaves the others to a
    /// later call. See [`Slotted::take_over`](crate::mpmc::Slotted::take_over).
    ///
    /// # Errors
    ///
    /// As [`queue`](Self::queue), and [`ArenaError::Kind`] if the consumers of that kind of queue have no slots.
    ///
    /// # Panics
    ///
    /// As [`Slotted::take_over`](crate::mpmc::Slotted::take_over).
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn take_over<T: Element>(
        &self,
        name: &str,
        slot: usize,
        limit: u64,
        is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
        mut hand_over: impl FnMut(T),
    ) -> Result<Option<TakenOver>, ArenaError> {
        let found = self.typed::<T>(name)?;
        // SAFETY: an element is plain old data of the size that the queue was checked for, and a cell that is handed over has
        // one. The rest is passed on to the caller.
        unsafe {
            found.take_over_in_place::<Native, T>(SizeOf, (slot, limit), is_dead, |data, site| {
                hand_over(data.read(site));
            })
        }
    }

    /// # Safety
    ///
    /// As the seat says.
    unsafe fn consumer_with<T: Element>(
        &self,
        name: &str,
        seat: Seat,
    ) -> Result<Consumer<'m, T>, ArenaError> {
        let found = self.typed::<T>(name)?;
        // SAFETY: an element is plain old data of the size that the queue was checked for; the rest is passed on to the caller.
        Ok(Consumer(unsafe { found.consuming(SizeOf, seat) }?))
    }

    /// The event count on which the consumers of the queue of that name sleep: its own, or the arena's.
    ///
    /// # Errors
    ///
    /// [`ArenaError::Absent`] if there is no such queue, [`ArenaError::NoEventCount`] if there is neither.
    pub fn event_count_of(&self, name: &str) -> Result<&'m EventCount<Native>, ArenaError> {
        self.find(name)?.events.map_or_else(|| self.event_count(), Ok)
    }

    /// Looks at the queue of that name. It changes nothing, and whatever others write there at the same time, it returns.
    ///
    /// # Errors
    ///
    /// [`ArenaError::Absent`] if there is no such queue.
    ///
    /// # Safety
    ///
    /// No consumer of this process pops from the queue at the same time. Those of other processes may.
    pub unsafe fn look(&self, name: &str) -> Result<Look, ArenaError> {
        Ok(self.find(name)?.parts.look())
    }

    /// How many elements were pushed into the queue of that name since it was made: the enqueue position of an MPMC queue. Those
    /// count that are in the middle of their push. `None` for an MPSC queue, which counts nothing that it does not have, and for
    /// records, which count bytes.
    ///
    /// # Errors
    ///
    /// [`ArenaError::Absent`] if there is no such queue.
    pub fn pushed(&self, name: &str) -> Result<Option<u64>, ArenaError> {
        Ok(self.find(name)?.parts.pushed())
    }

    pub(super) fn find(&self, name: &str) -> Result<&Found<'m>, ArenaError> {
        self.queues.iter().find(|queue| queue.name.as_str() == name).ok_or_else(|| ArenaError::Absent {
            name: name.into(),
            has: self.queues.iter().map(|queue| queue.name).collect(),
        })
    }

    pub(super) fn typed<T: Element>(&self, name: &str) -> Result<&Found<'m>, ArenaError> {
        let (found, expected) = (self.find(name)?, ElementType::of::<T>());
        let ElementType { size, hash } = found.element;
        if size != expected.size {
            return Err(ArenaError::ElementSize { queue: found.name, found: size, expected: expected.size });
        }
        if hash != expected.hash && hash != UNKNOWN && expected.hash != UNKNOWN {
            return Err(ArenaError::ElementType { queue: found.name, found: hash, expected: expected.hash });
        }
        Ok(found)
    }
}

impl Found<'_> {
    fn info(&self) -> QueueInfo {
        QueueInfo {
            name: self.name,
            kind: self.kind(),
            element: self.element,
            capacity: self.parts.capacity(),
            counted: self.counted,
            owner: self.owner(),
            dropped: self.drops.map(Drops::read),
        }
    }

    pub(super) fn owner(&self) -> Option<Owner> {
        self.entry.consumer.owner()
    }

    pub(super) fn check_policy<C: CountPolicy>(&self) -> Result<(), ArenaError> {
        if self.counted == C::COUNTED {
            Ok(())
        } else {
            Err(ArenaError::CountPolicy { queue: self.name, found: self.counted })
        }
    }

    pub(super) fn is_not(&self, expected: Kind) -> ArenaError {
        ArenaError::Kind { queue: self.name, found: self.kind(), expected }
    }
}

/// A queue for those who push: any number of copies, in any thread. Elements that find no room are counted.
pub struct Queue<'m, T: Element> {
    ends: Producing<'m, Native, T>,
    drops: Option<&'m Drops<Native>>,
}

impl<T: Element> Clone for Queue<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Element> Copy for Queue<'_, T> {}

impl<T: Element> fmt::Debug for Queue<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

impl<T: Element> Queue<'_, T> {
    /// Enqueues `value`, or counts it as dropped.
    ///
    /// # Errors
    ///
    /// [`PushError`] says why there is no room.
    #[inline]
    pub fn push(&self, value: T) -> Result<(), PushError> {
        let pushed = self.ends.push(value);
        if let (Err(error), Some(drops)) = (&pushed, self.drops) {
            drops.count(*error, 1);
        }
        pushed
    }

    /// Enqueues `values` from the first on, as many as there is room for, in one step. Returns how many; the others are
    /// still the caller's, and are not counted as dropped.
    ///
    /// # Errors
    ///
    /// [`PushError`] if there is no room for even one.
    #[inline]
    pub fn push_many(&self, values: &[T]) -> Result<usize, PushError> {
        self.ends.push_many(values)
    }

    /// How many elements were dropped until now, by all who push; `None` if nobody counts them.
    pub fn dropped(&self) -> Option<Dropped> {
        self.drops.map(Drops::read)
    }
}

/// The consuming end of a queue.
pub struct Consumer<'m, T: Element>(Consuming<'m, Native, T>);

impl<T: Element> fmt::Debug for Consumer<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("slot", &self.slot()).finish_non_exhaustive()
    }
}

impl<T: Element> Consumer<'_, T> {
    /// Dequeues the oldest element.
    ///
    /// # Errors
    ///
    /// [`PopError`] says why there is none.
    #[inline]
    pub fn pop(&mut self) -> Result<T, PopError> {
        self.pop_with(|value| value)
    }

    /// [`pop`](Self::pop) by a consumer that may be killed: the element leaves the queue after `hand_over` has returned.
    /// See [`recovery`](crate::recovery).
    ///
    /// # Errors
    ///
    /// As [`pop`](Self::pop).
    ///
    /// # Panics
    ///
    /// If `hand_over` does.
    #[inline]
    pub fn pop_with<R>(&mut self, hand_over: impl FnOnce(T) -> R) -> Result<R, PopError> {
        // SAFETY: an element is plain old data, of which any bits are one. What the end lets `read` look at was published, and
        // is not written before it has left the queue.
        unsafe { self.0.pop_in_place(|data, site| hand_over(data.read(site))) }
    }

    /// Dequeues up to `limit` of the oldest elements, and hands them over in their order. Returns how many: at least one,
    /// unless the limit is 0.
    ///
    /// # Errors
    ///
    /// As [`pop`](Self::pop), if there is not one.
    ///
    /// # Panics
    ///
    /// If `hand_over` does.
    #[inline]
    pub fn drain(&mut self, limit: u64, hand_over: impl FnMut(T)) -> Result<u64, PopError> {
        self.0.drain(limit, hand_over)
    }

    /// The elements that are there, and those that come while one looks: it ends at the first [`PopError`]. Whoever writes to the
    /// arena can see to it that there is always one more: [`take`](Iterator::take) as many as are wanted.
    pub fn try_iter(&mut self) -> impl Iterator<Item = T> + '_ {
        core::iter::from_fn(|| self.pop().ok())
    }

    /// The number of its slot, if the consumers of the queue have slots.
    pub fn slot(&self) -> Option<usize> {
        self.0.slot()
    }

    /// Whether nothing is there, and nothing on its way: a consumer may sleep. See [`eventcount`](crate::eventcount).
    pub fn is_drained(&self) -> bool {
        self.0.is_drained()
    }

    /// Whether a consumer, maybe one that is dead, keeps the producers from pushing; see
    /// [`Ring::is_held_up`](crate::mpmc::Ring::is_held_up).
    pub fn is_held_up(&self) -> bool {
        self.0.is_held_up()
    }

    /// Whether one of the other consumers is dead, as `is_dead` says of a slot's number and its owner.
    pub fn has_dead(&self, is_dead: impl FnMut(usize, NonZero<u64>) -> bool) -> bool {
        self.0.has_dead(is_dead)
    }

    /// Takes over from the consumers that died: hands up to `limit` elements over that they had claimed and not freed, and leaves
    /// the others to a later call. `is_dead` is asked about the owners of other slots. `None` if somebody else takes over at
    /// the moment. Without slots there is nothing to take over.
    ///
    /// # Panics
    ///
    /// As [`Slotted::take_over`](crate::mpmc::Slotted::take_over).
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn take_over(
        &mut self,
        limit: u64,
        is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
        mut hand_over: impl FnMut(T),
    ) -> Option<TakenOver> {
        // SAFETY: passed on to the caller; a cell that is handed over has a `T`.
        unsafe { self.0.take_over_in_place(limit, is_dead, |data, site| hand_over(data.read(site))) }
    }

    /// Looks at each element, from the oldest on, and says whether the queue is as it should be while it rests.
    ///
    /// # Errors
    ///
    /// What is wrong.
    ///
    /// # Safety
    ///
    /// Nobody pops meanwhile.
    pub unsafe fn inspect(&mut self, see: impl FnMut(&T)) -> Result<(), Corruption> {
        // SAFETY: passed on to the caller.
        unsafe { self.0.inspect(see) }
    }
}
