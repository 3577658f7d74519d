//! The ends of a queue: what an arena gives to those who push and pop.

use core::num::NonZero;
use core::ops::Range;

use super::Arena;
use super::consumer::ConsumerClaim;
use super::directory::NativeEntry;
use super::error::ArenaError;
use super::header::site;
use super::name::Name;
use super::owner::Owner;
use super::queues::{Found, Parts};
use crate::count::{CountPolicy, Counted, Uncounted};
use crate::drops::{Dropped, Drops};
use crate::eventcount::EventCount;
use crate::mpmc::{self, Ring, Slotted};
use crate::mpsc;
use crate::payload::{Element, ElementType, UNKNOWN};
use crate::platform::{Native, SizeOf, Word};
use crate::pool::GrowError;
use crate::records::Records;
use crate::recovery::Repaired;
use crate::status::{Corruption, PopError, PushError};
use crate::structures::Kind;

/// An MPMC queue in an arena: any number of producers and consumers, each with a copy of this handle.
pub type Mpmc<'m, T, C = Counted> = Ring<'m, Native, T, C>;

/// A consumer of an MPMC queue in an arena, from which another one can take over when it dies.
pub type MpmcConsumer<'m, T, C = Counted> = mpmc::Consumer<'m, Native, T, C>;

/// The producing end of an MPSC queue in an arena; any number of copies. It is a [`List`](mpsc::List) whose memory is
/// known to be mapped.
#[derive(Debug)]
pub struct MpscProducer<'m, T, C: CountPolicy = Counted>(mpsc::List<'m, Native, T, C>);

impl<T, C: CountPolicy> Clone for MpscProducer<'_, T, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, C: CountPolicy> Copy for MpscProducer<'_, T, C> {}

impl<'m, T, C: CountPolicy> core::ops::Deref for MpscProducer<'m, T, C> {
    type Target = mpsc::List<'m, Native, T, C>;

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

/// Records in an arena; any number of copies. They are [`Records`] whose pushes count what they drop.
#[derive(Clone, Copy, Debug)]
pub struct ArenaRecords<'m> {
    records: Records<'m, Native>,
    drops: Option<&'m Drops<Native>>,
}

impl<'m> core::ops::Deref for ArenaRecords<'m> {
    type Target = Records<'m, Native>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.records
    }
}

impl ArenaRecords<'_> {
    /// Pushes a record of bytes, or counts it as dropped; see [`Records::push`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub fn push(&self, data: &[u8], stamp: u64) -> Result<(), PushError> {
        self.records.push(data, stamp).inspect_err(|error| {
            if let Some(drops) = self.drops {
                drops.count(*error, 1);
            }
        })
    }

    /// What was dropped until now, if that is counted.
    pub fn dropped(&self) -> Option<Dropped> {
        self.drops.map(Drops::read)
    }
}

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
        let ends = match (found.kind(), found.counted) {
            (Kind::Mpmc, false) => Producing::Mpmc(self.mpmc(name)?),
            (Kind::Mpmc, true) => Producing::MpmcCounted(self.mpmc(name)?),
            (Kind::Mpsc, false) => Producing::Mpsc(self.mpsc_producer(name)?),
            (Kind::Mpsc, true) => Producing::MpscCounted(self.mpsc_producer(name)?),
            (Kind::Records, _) => return Err(found.is_records()),
        };
        Ok(Queue { ends, drops: found.drops })
    }

    /// The consuming end of the queue of that name, if it carries elements of type `T`. Of an MPSC queue there is one at
    /// a time, of an MPMC queue as many as there are [`SLOTS`](mpmc::SLOTS).
    ///
    /// # Errors
    ///
    /// As [`queue`](Self::queue), and [`ArenaError::ConsumerTaken`] or [`ArenaError::NoSlot`].
    pub fn consumer<T: Element>(&self, name: &str) -> Result<Consumer<'m, T>, ArenaError> {
        let found = self.typed::<T>(name)?;
        Ok(Consumer(match (found.kind(), found.counted) {
            (Kind::Mpmc, false) => Consuming::Mpmc(self.mpmc_consumer(name)?),
            (Kind::Mpmc, true) => Consuming::MpmcCounted(self.mpmc_consumer(name)?),
            (Kind::Mpsc, false) => Consuming::Mpsc(self.mpsc_consumer(name)?),
            (Kind::Mpsc, true) => Consuming::MpscCounted(self.mpsc_consumer(name)?),
            (Kind::Records, _) => return Err(found.is_records()),
        }))
    }

    /// The MPMC queue of that name, with its count policy known to the compiler.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] if there is none, or it is another kind, carries something else, or has the other policy.
    pub fn mpmc<T: Element, C: CountPolicy>(&self, name: &str) -> Result<Mpmc<'m, T, C>, ArenaError> {
        self.mpmc_with_slots(name).map(|queue| queue.queue())
    }

    /// The MPMC queue of that name with the slots of its consumers, of whom others take over when they die. Whoever
    /// takes over has every consumer of the queue come from here: see [`Slotted::take_over`].
    ///
    /// # Errors
    ///
    /// As [`mpmc`](Self::mpmc).
    pub fn mpmc_with_slots<T: Element, C: CountPolicy>(
        &self,
        name: &str,
    ) -> Result<Slotted<'m, Native, T, C>, ArenaError> {
        let found = self.typed::<T>(name)?;
        found.check_policy::<C>()?;
        match found.parts {
            Parts::Mpmc { ring, slots } => {
                // SAFETY: `Native` has the words of `Untyped`, and an element is plain old data of the size that the
                // queue was checked for. Heads do not depend on the policy.
                let ring: Ring<'m, Native, T, C> = unsafe { ring.cast(SizeOf) };
                Ok(ring.with_slots(slots))
            }
            Parts::Mpsc { .. } | Parts::Records(_) => Err(found.is_not(Kind::Mpmc)),
        }
    }

    /// A consumer of the MPMC queue of that name, with the first slot that is free. It calls itself
    /// [`Owner::ANONYMOUS`].
    ///
    /// # Errors
    ///
    /// As [`mpmc`](Self::mpmc), and [`ArenaError::NoSlot`].
    pub fn mpmc_consumer<T: Element, C: CountPolicy>(
        &self,
        name: &str,
    ) -> Result<MpmcConsumer<'m, T, C>, ArenaError> {
        self.mpmc_consumer_as(name, Owner::ANONYMOUS)
    }

    /// [`mpmc_consumer`](Self::mpmc_consumer) for a consumer that calls itself `owner`.
    ///
    /// # Errors
    ///
    /// As [`mpmc_consumer`](Self::mpmc_consumer).
    pub fn mpmc_consumer_as<T: Element, C: CountPolicy>(
        &self,
        name: &str,
        Owner(owner): Owner,
    ) -> Result<MpmcConsumer<'m, T, C>, ArenaError> {
        let queue = self.find(name)?.name;
        self.mpmc_with_slots(name)?.consumer(owner).map_err(|reason| ArenaError::NoSlot { queue, reason })
    }

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
        match found.parts {
            Parts::Mpmc { .. } | Parts::Records(_) => Err(found.is_not(Kind::Mpsc)),
            Parts::Mpsc { head, nodes } => {
                // SAFETY: as in `mpmc`.
                let list: mpsc::List<'m, Native, T, C> =
                    unsafe { mpsc::List::cast_from(head, nodes, SizeOf) };
                list.check_head()?;
                Ok(MpscProducer(list))
            }
        }
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
        self.consumer_with(name, |entry| ConsumerClaim::new(&entry.consumer, owner))
    }

    /// The consuming end of the MPSC queue, whose consumer has died without dropping it. What it has left is
    /// put right by [`mpsc::Consumer::repair`]. If nobody has the right any more, this is
    /// [`mpsc_consumer_as`](Self::mpsc_consumer_as).
    ///
    /// # Errors
    ///
    /// As [`mpsc_consumer`](Self::mpsc_consumer).
    ///
    /// # Safety
    ///
    /// Whoever holds the right, if anybody, will never use its consumer again, and everything that it did
    /// happens before this call. A lock that the operating system gives up when its holder dies shows that.
    pub unsafe fn mpsc_consumer_after_death<T: Element, C: CountPolicy>(
        &self,
        name: &str,
        owner: Owner,
    ) -> Result<MpscConsumer<'m, T, C>, ArenaError> {
        self.consumer_with(name, |entry| ConsumerClaim::take_over(&entry.consumer, owner))
    }

    /// The records of that name, for those who push and those who consume; each calls itself `owner`.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] if there are none, or it is a queue.
    pub fn records(&self, name: &str, Owner(owner): Owner) -> Result<ArenaRecords<'m>, ArenaError> {
        let found = self.find(name)?;
        let Parts::Records(records) = found.parts else {
            return Err(found.is_not(Kind::Records));
        };
        Ok(ArenaRecords { records: records.with_owner(owner), drops: found.drops })
    }

    /// The event count on which the consumers of the queue of that name sleep: its own, or the arena's.
    ///
    /// # Errors
    ///
    /// [`ArenaError::Absent`] if there is no such queue, [`ArenaError::NoEventCount`] if there is neither.
    pub fn event_count_of(&self, name: &str) -> Result<&'m EventCount<Native>, ArenaError> {
        self.find(name)?.events.map_or_else(|| self.event_count(), Ok)
    }

    /// Who has the right to consume from the queue of that name, which is an MPSC queue.
    pub fn mpsc_owner(&self, name: &str) -> Option<Owner> {
        self.find(name).ok().and_then(Found::owner)
    }

    fn consumer_with<T: Element, C: CountPolicy>(
        &self,
        name: &str,
        claim: impl FnOnce(&'m NativeEntry) -> Result<ConsumerClaim<'m>, ArenaError>,
    ) -> Result<MpscConsumer<'m, T, C>, ArenaError> {
        let MpscProducer(list) = self.mpsc_producer::<T, C>(name)?;
        let claim = claim(self.find(name)?.entry)?;
        // SAFETY: the claim makes us the only consumer, and is given up after the consumer is gone.
        let consumer = unsafe { mpsc::Consumer::new(list) }?;
        Ok(MpscConsumer { consumer, _claim: claim })
    }

    pub(super) fn find(&self, name: &str) -> Result<&Found<'m>, ArenaError> {
        self.queues.iter().find(|queue| queue.name.as_str() == name).ok_or_else(|| ArenaError::Absent {
            name: name.into(),
            has: self.queues.iter().map(|queue| queue.name).collect(),
        })
    }

    fn typed<T: Element>(&self, name: &str) -> Result<&Found<'m>, ArenaError> {
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
            capacity: match self.parts {
                Parts::Mpmc { ring, .. } => ring.capacity(),
                Parts::Mpsc { nodes, .. } => nodes.limit(),
                Parts::Records(records) => records.geometry().words() * 8,
            },
            counted: self.counted,
            owner: self.owner(),
            dropped: self.drops.map(Drops::read),
        }
    }

    fn owner(&self) -> Option<Owner> {
        NonZero::new(self.entry.consumer.load(&site::CONSUMER_OWNER)).map(Owner)
    }

    fn check_policy<C: CountPolicy>(&self) -> Result<(), ArenaError> {
        if self.counted == C::COUNTED {
            Ok(())
        } else {
            Err(ArenaError::CountPolicy { queue: self.name, found: self.counted })
        }
    }

    pub(super) fn is_records(&self) -> ArenaError {
        ArenaError::IsRecords { name: self.name }
    }

    pub(super) fn is_not(&self, expected: Kind) -> ArenaError {
        ArenaError::Kind { queue: self.name, found: self.kind(), expected }
    }
}

/// The consuming end of an MPSC queue in an arena. There is one.
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
pub struct MpscConsumer<'m, T: Element, C: CountPolicy = Counted> {
    // Dropped in this order: the right to consume is given up last.
    consumer: mpsc::Consumer<'m, Native, T, C>,
    _claim: ConsumerClaim<'m>,
}

/// What only looks is [`mpsc::Consumer`]'s own. The rest is forwarded: were the consumer itself lent out, two could be
/// swapped, and leave their rights behind.
impl<'m, T: Element, C: CountPolicy> core::ops::Deref for MpscConsumer<'m, T, C> {
    type Target = mpsc::Consumer<'m, Native, T, C>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.consumer
    }
}

impl<T: Element, C: CountPolicy> MpscConsumer<'_, T, C> {
    /// Dequeues the oldest element; see [`mpsc::Consumer::pop`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn pop(&mut self) -> Result<T, PopError> {
        self.consumer.pop()
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
        self.consumer.pop_with(hand_over)
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
        self.consumer.drain(limit, hand_over)
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
        unsafe { self.consumer.repair() }
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
        unsafe { self.consumer.repair_with(populate) }
    }
}

/// A queue for those who push: any number of copies, in any thread. Elements that find no room are counted.
#[derive(Debug)]
pub struct Queue<'m, T: Element> {
    ends: Producing<'m, T>,
    drops: Option<&'m Drops<Native>>,
}

impl<T: Element> Clone for Queue<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Element> Copy for Queue<'_, T> {}

#[derive(Debug)]
enum Producing<'m, T: Element> {
    Mpmc(Mpmc<'m, T, Uncounted>),
    MpmcCounted(Mpmc<'m, T, Counted>),
    Mpsc(MpscProducer<'m, T, Uncounted>),
    MpscCounted(MpscProducer<'m, T, Counted>),
}

impl<T: Element> Clone for Producing<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Element> Copy for Producing<'_, T> {}

impl<T: Element> Queue<'_, T> {
    /// Enqueues `value`, or counts it as dropped.
    ///
    /// # Errors
    ///
    /// [`PushError`] says why there is no room.
    #[inline]
    pub fn push(&self, value: T) -> Result<(), PushError> {
        let pushed = match &self.ends {
            Producing::Mpmc(queue) => queue.push(value),
            Producing::MpmcCounted(queue) => queue.push(value),
            Producing::Mpsc(queue) => queue.push(value),
            Producing::MpscCounted(queue) => queue.push(value),
        };
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
        match &self.ends {
            Producing::Mpmc(queue) => queue.push_many(values),
            Producing::MpmcCounted(queue) => queue.push_many(values),
            Producing::Mpsc(queue) => queue.push_many(values),
            Producing::MpscCounted(queue) => queue.push_many(values),
        }
    }

    /// How many elements were dropped until now, by all who push; `None` if nobody counts them.
    pub fn dropped(&self) -> Option<Dropped> {
        self.drops.map(Drops::read)
    }
}

/// The consuming end of a queue.
#[derive(Debug)]
pub struct Consumer<'m, T: Element>(Consuming<'m, T>);

#[derive(Debug)]
enum Consuming<'m, T: Element> {
    Mpmc(MpmcConsumer<'m, T, Uncounted>),
    MpmcCounted(MpmcConsumer<'m, T, Counted>),
    Mpsc(MpscConsumer<'m, T, Uncounted>),
    MpscCounted(MpscConsumer<'m, T, Counted>),
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
        match &mut self.0 {
            Consuming::Mpmc(queue) => queue.pop_with(hand_over),
            Consuming::MpmcCounted(queue) => queue.pop_with(hand_over),
            Consuming::Mpsc(queue) => queue.pop_with(hand_over),
            Consuming::MpscCounted(queue) => queue.pop_with(hand_over),
        }
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
        match &mut self.0 {
            Consuming::Mpmc(queue) => queue.drain(limit, hand_over),
            Consuming::MpmcCounted(queue) => queue.drain(limit, hand_over),
            Consuming::Mpsc(queue) => queue.drain(limit, hand_over),
            Consuming::MpscCounted(queue) => queue.drain(limit, hand_over),
        }
    }

    /// The elements that are there, and those that come while one looks: it ends at the first [`PopError`]. Whoever writes to the
    /// arena can see to it that there is always one more: [`take`](Iterator::take) as many as are wanted.
    pub fn try_iter(&mut self) -> impl Iterator<Item = T> + '_ {
        core::iter::from_fn(|| self.pop().ok())
    }
}
