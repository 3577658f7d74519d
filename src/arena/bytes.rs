//! The ends of a queue whose elements this process does not know: they move their bytes.

use alloc::boxed::Box;
use alloc::vec;
use core::ptr;

use super::Arena;
use super::consumer::ConsumerClaim;
use super::error::ArenaError;
use super::owner::Owner;
use super::queues::{Found, Parts, stride};
use crate::count::{CountPolicy, Counted, Uncounted};
use crate::drops::Drops;
use crate::mpmc::Ring;
use crate::mpsc;
use crate::payload::ElementType;
use crate::platform::{Native, Opaque, Untyped};
use crate::status::{PopError, PushError};

type ByteRing<'m, C> = Ring<'m, Untyped, Opaque, C>;
type ByteList<'m, C> = mpsc::List<'m, Untyped, Opaque, C>;

/// The consuming end of a queue, for a process that does not know the type of its elements, or passes them on.
///
/// Of an MPMC queue it has no slot: nobody can take over from it when it dies.
#[derive(Debug)]
pub struct ByteConsumer<'m> {
    ends: Ends<'m>,
    element: ElementType,
    /// The element that is handed over: whole words, and none before the first.
    words: Box<[u64]>,
}

#[derive(Debug)]
enum Ends<'m> {
    Mpmc(ByteRing<'m, Uncounted>),
    MpmcCounted(ByteRing<'m, Counted>),
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
        };
        Ok(ByteProducer { ends, element: found.element, drops: found.drops })
    }

    /// The consuming end of the queue of that name, whatever it carries. It calls itself `owner`.
    ///
    /// # Errors
    ///
    /// [`ArenaError::Absent`] if there is no such queue, [`ArenaError::ConsumerTaken`] if it is an MPSC queue and has its
    /// consumer, [`ArenaError::Corrupt`] if the queue is damaged.
    pub fn byte_consumer(&self, name: &str, owner: Owner) -> Result<ByteConsumer<'m>, ArenaError> {
        self.byte_consumer_with(name, |found| ConsumerClaim::new(&found.entry.consumer, owner))
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
        self.byte_consumer_with(name, |found| ConsumerClaim::take_over(&found.entry.consumer, owner))
    }

    fn byte_consumer_with(
        &self,
        name: &str,
        claim: impl FnOnce(&Found<'m>) -> Result<ConsumerClaim<'m>, ArenaError>,
    ) -> Result<ByteConsumer<'m>, ArenaError> {
        let found = self.find(name)?;
        let stride = stride(found.element.size);
        let ends = match (found.parts, found.counted) {
            (Parts::Mpmc { ring, .. }, true) => Ends::MpmcCounted(ring),
            (Parts::Mpmc { ring, .. }, false) => {
                // SAFETY: the platform and the element are the same, and heads do not depend on the policy.
                Ends::Mpmc(unsafe { ring.cast(stride) })
            }
            (Parts::Mpsc { head, nodes }, true) => {
                // SAFETY: as above.
                let list: ByteList<'m, Counted> = unsafe { mpsc::List::cast_from(head, nodes, stride) };
                Ends::MpscCounted(Claimed::new(list, || claim(found))?)
            }
            (Parts::Mpsc { head, nodes }, false) => {
                // SAFETY: as above.
                let list: ByteList<'m, Uncounted> = unsafe { mpsc::List::cast_from(head, nodes, stride) };
                Ends::Mpsc(Claimed::new(list, || claim(found))?)
            }
        };
        Ok(ByteConsumer { ends, element: found.element, words: Box::default() })
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

impl ByteConsumer<'_> {
    /// What the queue carries.
    pub fn element(&self) -> ElementType {
        self.element
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
        let ByteConsumer { ends, element, words } = self;
        if words.is_empty() {
            *words = vec![0; element.size as usize / size_of::<u64>()].into_boxed_slice();
        }
        let copy = |place: *const u8| {
            for (word, from) in words.iter_mut().zip(0..) {
                // SAFETY: the queue was checked to have cells or nodes for elements of so many words, which lie in the
                // region. Nobody writes an element that is there; who does all the same makes it any words.
                *word = unsafe { ptr::read_volatile(place.cast::<u64>().add(from)) };
            }
            hand_over(bytemuck::cast_slice(words))
        };
        // SAFETY: bytes are any bits.
        each!(ends, end => unsafe { end.pop_in_place(|place, _| copy(ptr::from_ref(place).cast())) })
    }

    /// Whether nothing is there, and nothing on its way: a consumer may sleep. See [`eventcount`](crate::eventcount).
    pub fn is_drained(&self) -> bool {
        match &self.ends {
            Ends::Mpmc(ring) => ring.is_empty(),
            Ends::MpmcCounted(ring) => ring.is_empty(),
            Ends::Mpsc(Claimed { consumer, .. }) => consumer.is_drained(),
            Ends::MpscCounted(Claimed { consumer, .. }) => consumer.is_drained(),
        }
    }
}
