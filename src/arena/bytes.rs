//! The ends of a queue whose elements this process does not know: they move their bytes.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::num::NonZero;
use core::ptr;

use super::Arena;
use super::consumer::ConsumerClaim;
use super::error::ArenaError;
use super::owner::Owner;
use super::queues::{Found, Parts, stride};
use crate::count::{CountPolicy, Counted, Uncounted};
use crate::drops::Drops;
use crate::mpmc::{self, Ring, SlotError, Slots, Slotted, TakenOver};
use crate::mpsc;
use crate::payload::ElementType;
use crate::platform::{Native, Opaque, Untyped};
use crate::status::{PopError, PushError};
use crate::structures::Kind;

type ByteRing<'m, C> = Ring<'m, Untyped, Opaque, C>;
type ByteSlotted<'m, C> = Slotted<'m, Untyped, Opaque, C>;
type ByteList<'m, C> = mpsc::List<'m, Untyped, Opaque, C>;

/// The consuming end of a queue, for a process that does not know the type of its elements, or passes them on.
///
/// Of an MPMC queue it has a slot, as a [`Consumer`](super::Consumer) has: another one can take over from it when it dies.
#[derive(Debug)]
pub struct ByteConsumer<'m> {
    ends: Ends<'m>,
    buffer: Buffer,
}

#[derive(Debug)]
enum Ends<'m> {
    Mpmc(mpmc::Consumer<'m, Untyped, Opaque, Uncounted>),
    MpmcCounted(mpmc::Consumer<'m, Untyped, Opaque, Counted>),
    Mpsc(Claimed<'m, Uncounted>),
    MpscCounted(Claimed<'m, Counted>),
}

/// The one consumer of an MPSC queue, and the right to be it.
#[derive(Debug)]
struct Claimed<'m, C: CountPolicy> {
    // Dropped in this order: the right to consume is given up last.
    consumer: mpsc::Consumer<'m, Untyped, Opaque, C>,
    _claim: ConsumerClaim<'m>,
}

/// The producing end of a queue, for a process that knows the size of its elements and not their type, as one in C does. Any
/// thread may push. Elements that find no room are counted.
#[derive(Debug)]
pub struct ByteProducer<'m> {
    ends: Producing<'m>,
    element: ElementType,
    drops: Option<&'m Drops<Native>>,
}

#[derive(Debug)]
enum Producing<'m> {
    Mpmc(ByteRing<'m, Uncounted>),
    MpmcCounted(ByteRing<'m, Counted>),
    Mpsc(ByteList<'m, Uncounted>),
    MpscCounted(ByteList<'m, Counted>),
}

impl ByteProducer<'_> {
    /// What the queue carries.
    pub fn element(&self) -> ElementType {
        self.element
    }

    /// Enqueues an element, or counts it as dropped. What its size lacks to whole words is zero.
    ///
    /// # Errors
    ///
    /// As [`Queue::push`](super::Queue::push), and [`PushError::Invalid`] if the queue carries elements of another size:
    /// that is counted nowhere.
    pub fn push(&self, element: &[u8]) -> Result<(), PushError> {
        if element.len().next_multiple_of(size_of::<u64>()) as u64 != self.element.size {
            return Err(PushError::Invalid);
        }
        let copy = |place: *const u8| {
            let place = place.cast_mut();
            let padding = self.element.size as usize - element.len();
            // SAFETY: the cell or node is this push's alone, and has room for an element of the queue's size.
            unsafe {
                place.copy_from_nonoverlapping(element.as_ptr(), element.len());
                place.add(element.len()).write_bytes(0, padding);
            }
        };
        macro_rules! push {
            ($($kind:ident),*) => {
                match &self.ends {
                    $(Producing::$kind(end) => {
                        // SAFETY: the element is copied whole.
                        unsafe { end.push_in_place(|place, _| copy(ptr::from_ref(place).cast())) }
                    })*
                }
            };
        }
        let pushed = push!(Mpmc, MpmcCounted, Mpsc, MpscCounted);
        if let (Err(error), Some(drops)) = (&pushed, self.drops) {
            drops.count(*error, 1);
        }
        pushed
    }
}

impl<'m> Arena<'m> {
    /// The producing end of the queue of that name, whatever it carries.
    ///
    /// # Errors
    ///
    /// [`ArenaError::Absent`] if there is no such queue, [`ArenaError::Corrupt`] if it is damaged.
    pub fn byte_producer(&self, name: &str) -> Result<ByteProducer<'m>, ArenaError> {
        let found = self.find(name)?;
        let stride = stride(found.element.size);
        let ends = match (found.parts, found.counted) {
            (Parts::Mpmc { ring, .. }, true) => Producing::MpmcCounted(ring),
            (Parts::Mpmc { ring, .. }, false) => {
                // SAFETY: the platform and the element are the same, and heads do not depend on the policy.
                Producing::Mpmc(unsafe { ring.cast(stride) })
            }
            (Parts::Mpsc { head, nodes }, true) => {
                // SAFETY: as above.
                let list: ByteList<'m, Counted> = unsafe { mpsc::List::cast_from(head, nodes, stride) };
                list.check_head()?;
                Producing::MpscCounted(list)
            }
            (Parts::Mpsc { head, nodes }, false) => {
                // SAFETY: as above.
                let list: ByteList<'m, Uncounted> = unsafe { mpsc::List::cast_from(head, nodes, stride) };
                list.check_head()?;
                Producing::Mpsc(list)
            }
            (Parts::Records(_), _) => return Err(found.is_records()),
        };
        Ok(ByteProducer { ends, element: found.element, drops: found.drops })
    }

    /// The consuming end of the queue of that name, whatever it carries. It calls itself `owner`. Of an MPMC queue it gets
    /// the first slot that is free.
    ///
    /// # Errors
    ///
    /// [`ArenaError::Absent`] if there is no such queue, [`ArenaError::ConsumerTaken`] if it is an MPSC queue and has its
    /// consumer, [`ArenaError::NoSlot`] if it is an MPMC queue and has as many as it can, [`ArenaError::Corrupt`] if the
    /// queue is damaged.
    pub fn byte_consumer(&self, name: &str, owner: Owner) -> Result<ByteConsumer<'m>, ArenaError> {
        let claim = |found: &Found<'m>| ConsumerClaim::new(&found.entry.consumer, owner);
        self.byte_consumer_with(name, (None, owner), claim)
    }

    /// The same in the place of a consumer of an MPSC queue that has died; see
    /// [`mpsc_consumer_after_death`](Self::mpsc_consumer_after_death).
    ///
    /// # Errors
    ///
    /// As [`byte_consumer`](Self::byte_consumer).
    ///
    /// # Safety
    ///
    /// As [`mpsc_consumer_after_death`](Self::mpsc_consumer_after_death).
    pub unsafe fn byte_consumer_after_death(
        &self,
        name: &str,
        owner: Owner,
    ) -> Result<ByteConsumer<'m>, ArenaError> {
        let claim = |found: &Found<'m>| ConsumerClaim::take_over(&found.entry.consumer, owner);
        self.byte_consumer_with(name, (None, owner), claim)
    }

    /// A consumer of an MPMC queue with the slot of that number.
    ///
    /// # Errors
    ///
    /// As [`byte_consumer`](Self::byte_consumer), [`ArenaError::NoSlot`] if the slot is taken, and [`ArenaError::Kind`] if it is
    /// another kind of queue.
    pub fn byte_consumer_at(
        &self,
        name: &str,
        slot: usize,
        owner: Owner,
    ) -> Result<ByteConsumer<'m>, ArenaError> {
        let claim = |found: &Found<'m>| Err(found.is_not(Kind::Mpmc));
        self.byte_consumer_with(name, (Some(slot), owner), claim)
    }

    /// Takes over from consumers of an MPMC queue that died, whatever it carries, in the name of `slot`: hands up to `limit`
    /// elements over, and leaves the others to a later call. See [`Slotted::take_over`].
    ///
    /// # Errors
    ///
    /// [`ArenaError::Absent`] if there is no such queue, [`ArenaError::Kind`] if it is another kind.
    ///
    /// # Panics
    ///
    /// As [`Slotted::take_over`].
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn take_over_bytes(
        &self,
        name: &str,
        slot: usize,
        limit: u64,
        is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
        mut hand_over: impl FnMut(&[u8]),
    ) -> Result<Option<TakenOver>, ArenaError> {
        let found = self.find(name)?;
        let Parts::Mpmc { ring, slots } = found.parts else { return Err(found.is_not(Kind::Mpmc)) };
        let mut buffer = Buffer::new(found.element);
        let mut hand_over = |place: *const u8| hand_over(buffer.fill(place));
        // SAFETY: passed on to the caller; bytes are any bits.
        Ok(unsafe {
            if found.counted {
                let queue = slotted::<Counted>(ring, slots, found.element);
                queue
                    .take_over_in_place(slot, limit, is_dead, |data, _| hand_over(ptr::from_ref(data).cast()))
            } else {
                let queue = slotted::<Uncounted>(ring, slots, found.element);
                queue
                    .take_over_in_place(slot, limit, is_dead, |data, _| hand_over(ptr::from_ref(data).cast()))
            }
        })
    }

    /// Who has each slot of an MPMC queue, by its number.
    ///
    /// # Errors
    ///
    /// [`ArenaError::Absent`] if there is no such queue, [`ArenaError::Kind`] if it is another kind.
    pub fn mpmc_owners(&self, name: &str) -> Result<Vec<Option<Owner>>, ArenaError> {
        let found = self.find(name)?;
        let Parts::Mpmc { ring, slots } = found.parts else { return Err(found.is_not(Kind::Mpmc)) };
        let slotted: ByteSlotted<'m, Counted> = slotted(ring, slots, found.element);
        Ok(slotted.owners().map(|owner| owner.map(Owner)).collect())
    }

    fn byte_consumer_with(
        &self,
        name: &str,
        (slot, owner): (Option<usize>, Owner),
        claim: impl FnOnce(&Found<'m>) -> Result<ConsumerClaim<'m>, ArenaError>,
    ) -> Result<ByteConsumer<'m>, ArenaError> {
        let found = self.find(name)?;
        let element = found.element;
        let no_slot = |reason| ArenaError::NoSlot { queue: found.name, reason };
        let ends = match (found.parts, found.counted) {
            (Parts::Mpmc { ring, slots }, true) => {
                let queue = slotted(ring, slots, element);
                Ends::MpmcCounted(occupy(queue, slot, owner).map_err(no_slot)?)
            }
            (Parts::Mpmc { ring, slots }, false) => {
                let queue = slotted(ring, slots, element);
                Ends::Mpmc(occupy(queue, slot, owner).map_err(no_slot)?)
            }
            (Parts::Mpsc { head, nodes }, true) => {
                // SAFETY: the platform and the element are the same, and heads do not depend on the policy.
                let list: ByteList<'m, Counted> =
                    unsafe { mpsc::List::cast_from(head, nodes, stride(element.size)) };
                Ends::MpscCounted(Claimed::new(list, || claim(found))?)
            }
            (Parts::Mpsc { head, nodes }, false) => {
                // SAFETY: as above.
                let list: ByteList<'m, Uncounted> =
                    unsafe { mpsc::List::cast_from(head, nodes, stride(element.size)) };
                Ends::Mpsc(Claimed::new(list, || claim(found))?)
            }
            (Parts::Records(_), _) => return Err(found.is_records()),
        };
        Ok(ByteConsumer { ends, buffer: Buffer::new(element) })
    }
}

/// A ring with the slots of its consumers, for a process that does not know the elements.
fn slotted<'m, C: CountPolicy>(
    ring: ByteRing<'m, Counted>,
    slots: &'m Slots<Native>,
    element: ElementType,
) -> ByteSlotted<'m, C> {
    // SAFETY: the platform and the element are the same, and heads do not depend on the policy.
    let ring: ByteRing<'m, C> = unsafe { ring.cast(stride(element.size)) };
    // SAFETY: slots are words, and `Untyped` has those of `Native`.
    let slots: &'m Slots<Untyped> = unsafe { &*ptr::from_ref(slots).cast() };
    ring.with_slots(slots)
}

/// A consumer with that slot, or the first that is free.
fn occupy<'m, C: CountPolicy>(
    queue: ByteSlotted<'m, C>,
    slot: Option<usize>,
    Owner(owner): Owner,
) -> Result<mpmc::Consumer<'m, Untyped, Opaque, C>, SlotError> {
    match slot {
        Some(slot) => queue.consumer_at(slot, owner),
        None => queue.consumer(owner),
    }
}

impl<'m, C: CountPolicy> Claimed<'m, C> {
    fn new(
        list: ByteList<'m, C>,
        claim: impl FnOnce() -> Result<ConsumerClaim<'m>, ArenaError>,
    ) -> Result<Self, ArenaError> {
        list.check_head()?;
        let claim = claim()?;
        // SAFETY: the claim makes us the only consumer, and is given up after the consumer is gone.
        let consumer = unsafe { mpsc::Consumer::new(list) }?;
        Ok(Claimed { consumer, _claim: claim })
    }
}

/// Where an element is copied to that is handed over.
#[derive(Debug)]
struct Buffer {
    element: ElementType,
    /// Whole words, and none before the first element.
    words: Box<[u64]>,
}

impl Buffer {
    fn new(element: ElementType) -> Buffer {
        Buffer { element, words: Box::default() }
    }

    /// The element of a cell or node of the queue, of which `place` is the first byte.
    fn fill(&mut self, place: *const u8) -> &[u8] {
        if self.words.is_empty() {
            self.words = vec![0; self.element.size as usize / size_of::<u64>()].into_boxed_slice();
        }
        for (word, from) in self.words.iter_mut().zip(0..) {
            // SAFETY: the queue was checked to have cells or nodes for elements of so many words, which lie in the
            // region. Nobody writes an element that is there; who does all the same makes it any words.
            *word = unsafe { ptr::read_volatile(place.cast::<u64>().add(from)) };
        }
        bytemuck::cast_slice(&self.words)
    }
}

/// Runs an operation of whichever end there is.
macro_rules! each {
    ($ends:expr, $end:ident => $operation:expr) => {
        match $ends {
            Ends::Mpmc($end) => $operation,
            Ends::MpmcCounted($end) => $operation,
            Ends::Mpsc(Claimed { consumer: $end, .. }) => $operation,
            Ends::MpscCounted(Claimed { consumer: $end, .. }) => $operation,
        }
    };
}

/// Runs one operation for each kind of queue.
macro_rules! by_kind {
    ($ends:expr, mpmc $many:ident => $mpmc:expr, mpsc $only:ident => $mpsc:expr) => {
        match $ends {
            Ends::Mpmc($many) => $mpmc,
            Ends::MpmcCounted($many) => $mpmc,
            Ends::Mpsc(Claimed { consumer: $only, .. }) => $mpsc,
            Ends::MpscCounted(Claimed { consumer: $only, .. }) => $mpsc,
        }
    };
}

impl ByteConsumer<'_> {
    /// What the queue carries.
    pub fn element(&self) -> ElementType {
        self.buffer.element
    }

    /// The number of its slot, if it consumes from an MPMC queue.
    pub fn slot(&self) -> Option<usize> {
        by_kind!(&self.ends, mpmc consumer => Some(consumer.number()), mpsc _consumer => None)
    }

    /// Dequeues the oldest element: it leaves the queue after `hand_over` has returned. The bytes are a copy, aligned to
    /// 8.
    ///
    /// # Errors
    ///
    /// As [`Consumer::pop`](super::Consumer::pop).
    ///
    /// # Panics
    ///
    /// If `hand_over` does.
    pub fn pop_with<R>(&mut self, hand_over: impl FnOnce(&[u8]) -> R) -> Result<R, PopError> {
        let ByteConsumer { ends, buffer } = self;
        // SAFETY: bytes are any bits.
        each!(ends, end => unsafe {
            end.pop_in_place(|place, _| hand_over(buffer.fill(ptr::from_ref(place).cast())))
        })
    }

    /// Takes over from the consumers of an MPMC queue that died: hands up to `limit` elements over that they had claimed and
    /// not freed, and leaves the others to a later call. `is_dead` is asked about the owners of other slots. `None` if
    /// somebody else takes over at the moment. From the consumer of an MPSC queue there is nothing to take over.
    ///
    /// # Panics
    ///
    /// As [`Slotted::take_over`].
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn take_over(
        &mut self,
        limit: u64,
        is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
        mut hand_over: impl FnMut(&[u8]),
    ) -> Option<TakenOver> {
        let ByteConsumer { ends, buffer } = self;
        by_kind!(ends,
            mpmc consumer => {
                // SAFETY: passed on to the caller; bytes are any bits.
                unsafe {
                    consumer.take_over_in_place(limit, is_dead, |place, _| {
                        hand_over(buffer.fill(ptr::from_ref(place).cast()));
                    })
                }
            },
            mpsc _consumer => Some(TakenOver::default()))
    }

    /// Whether one of the other consumers of an MPMC queue is dead, as `is_dead` says of a slot's number and its owner.
    pub fn has_dead(&self, mut is_dead: impl FnMut(usize, NonZero<u64>) -> bool) -> bool {
        by_kind!(&self.ends,
            mpmc consumer => {
                let mut others = consumer.slotted().owners().enumerate();
                others.any(|(slot, owner)| {
                    slot != consumer.number() && owner.is_some_and(|owner| is_dead(slot, owner))
                })
            },
            mpsc _consumer => false)
    }

    /// Whether a consumer keeps the producers of an MPMC queue from pushing; see [`Ring::is_held_up`].
    pub fn is_held_up(&self) -> bool {
        by_kind!(&self.ends, mpmc consumer => consumer.queue().is_held_up(), mpsc _consumer => false)
    }

    /// Whether nothing is there, and nothing on its way: a consumer may sleep. See [`eventcount`](crate::eventcount).
    pub fn is_drained(&self) -> bool {
        by_kind!(&self.ends, mpmc consumer => consumer.queue().is_empty(), mpsc consumer => consumer.is_drained())
    }
}
