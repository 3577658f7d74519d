//! The ends of a queue whose elements this process does not know: they move their bytes.

use alloc::boxed::Box;
use alloc::vec;
use core::fmt;
use core::num::NonZero;
use core::ptr;

use super::Arena;
use super::error::ArenaError;
use super::kinds::structure::{Consume, Produce, Seat, stride};
use super::kinds::{Consuming, Producing};
use super::owner::Owner;
use crate::drops::Drops;
use crate::mpmc::TakenOver;
use crate::payload::ElementType;
use crate::platform::{Native, Opaque, Untyped};
use crate::status::{PopError, PushError};

/// The consuming end of a queue, for a process that does not know the type of its elements, or passes them on.
///
/// Of an MPMC queue it has a slot, as a [`Consumer`](super::Consumer) has: another one can take over from it when it dies.
pub struct ByteConsumer<'m> {
    end: Consuming<'m, Untyped, Opaque>,
    buffer: Buffer,
}

impl fmt::Debug for ByteConsumer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteConsumer").field("element", &self.element()).finish_non_exhaustive()
    }
}

/// The producing end of a queue, for a process that knows the size of its elements and not their type, as one in C does. Any
/// thread may push. Elements that find no room are counted.
pub struct ByteProducer<'m> {
    end: Producing<'m, Untyped, Opaque>,
    element: ElementType,
    drops: Option<&'m Drops<Native>>,
}

impl fmt::Debug for ByteProducer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteProducer").field("element", &self.element).finish_non_exhaustive()
    }
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
        // SAFETY: the element is copied whole.
        let pushed = unsafe { self.end.push_in_place(|place, _| copy(ptr::from_ref(place).cast())) };
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
        // SAFETY: cells and nodes were checked to have room for elements of that size.
        let end = unsafe { found.producing(stride(found.element.size)) }?;
        Ok(ByteProducer { end, element: found.element, drops: found.drops })
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
        // SAFETY: nobody's place is taken.
        unsafe { self.byte_consumer_with(name, Seat::Free(owner)) }
    }

    /// The same in the place of `dead`, a consumer of an MPSC queue that has died; see
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
        dead: Option<Owner>,
        owner: Owner,
    ) -> Result<ByteConsumer<'m>, ArenaError> {
        // SAFETY: passed on to the caller.
        unsafe { self.byte_consumer_with(name, Seat::OfTheDead { dead, owner }) }
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
        // SAFETY: nobody's place is taken.
        unsafe { self.byte_consumer_with(name, Seat::Slot(slot, owner)) }
    }

    /// Takes over from consumers of an MPMC queue that died, whatever it carries, in the name of `slot`: hands up to `limit`
    /// elements over, and leaves the others to a later call. See [`Slotted::take_over`](crate::mpmc::Slotted::take_over).
    ///
    /// # Errors
    ///
    /// [`ArenaError::Absent`] if there is no such queue, [`ArenaError::Kind`] if it is another kind.
    ///
    /// # Panics
    ///
    /// As [`Slotted::take_over`](crate::mpmc::Slotted::take_over).
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
        let mut buffer = Buffer::new(found.element);
        let mut hand_over = |place: *const u8| hand_over(buffer.fill(place));
        let stride = stride(found.element.size);
        // SAFETY: bytes are any bits, and cells were checked to have room for elements of that size; the rest is passed on to the
        // caller.
        unsafe {
            found.take_over_in_place::<Untyped, Opaque>(stride, (slot, limit), is_dead, |data, _| {
                hand_over(ptr::from_ref(data).cast());
            })
        }
    }

    /// # Safety
    ///
    /// As the seat says.
    unsafe fn byte_consumer_with(&self, name: &str, seat: Seat) -> Result<ByteConsumer<'m>, ArenaError> {
        let found = self.find(name)?;
        // SAFETY: bytes are any bits, and cells and nodes were checked to have room for elements of that size; the rest is passed
        // on to the caller.
        let end = unsafe { found.consuming(stride(found.element.size), seat) }?;
        Ok(ByteConsumer { end, buffer: Buffer::new(found.element) })
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

impl ByteConsumer<'_> {
    /// What the queue carries.
    pub fn element(&self) -> ElementType {
        self.buffer.element
    }

    /// The number of its slot, if the consumers of the queue have slots.
    pub fn slot(&self) -> Option<usize> {
        self.end.slot()
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
        let ByteConsumer { end, buffer } = self;
        // SAFETY: bytes are any bits.
        unsafe { end.pop_in_place(|place, _| hand_over(buffer.fill(ptr::from_ref(place).cast()))) }
    }

    /// Takes over from the consumers that died; see [`Consumer::take_over`](super::Consumer::take_over).
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
        limit: u64,
        is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
        mut hand_over: impl FnMut(&[u8]),
    ) -> Option<TakenOver> {
        let ByteConsumer { end, buffer } = self;
        // SAFETY: passed on to the caller; bytes are any bits.
        unsafe {
            end.take_over_in_place(limit, is_dead, |place, _| {
                hand_over(buffer.fill(ptr::from_ref(place).cast()));
            })
        }
    }

    /// Whether one of the other consumers is dead, as `is_dead` says of a slot's number and its owner.
    pub fn has_dead(&self, is_dead: impl FnMut(usize, NonZero<u64>) -> bool) -> bool {
        self.end.has_dead(is_dead)
    }

    /// Whether a consumer keeps the producers from pushing; see [`Ring::is_held_up`](crate::mpmc::Ring::is_held_up).
    pub fn is_held_up(&self) -> bool {
        self.end.is_held_up()
    }

    /// Whether nothing is there, and nothing on its way: a consumer may sleep. See [`eventcount`](crate::eventcount).
    pub fn is_drained(&self) -> bool {
        self.end.is_drained()
    }
}
