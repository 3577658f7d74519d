//! The ring of one producer and one consumer, in plain Rust: the two positions of a lane of the [records](crate::records),
//! which nobody has to claim here, and elements of one type.
//!
//! No instruction of it is a locked one, and no element has a sequence: each side has its own position, and looks at that
//! of the other only when it finds no room, or nothing, up to where it saw that last.
//!
//! ```
//! let (mut producer, mut consumer) = arenaq::spsc::ring(2);
//! assert_eq!(producer.push("a".to_owned()), Ok(()));
//! assert_eq!(producer.push("b".to_owned()), Ok(()));
//! assert_eq!(producer.push("c".to_owned()), Err("c".to_owned()));
//! assert_eq!(consumer.pop().as_deref(), Some("a"));
//!
//! std::thread::spawn(move || producer.push("d".to_owned()).expect("room")).join().unwrap();
//! assert_eq!(consumer.pop().as_deref(), Some("b"));
//! assert_eq!(consumer.pop().as_deref(), Some("d"));
//! assert_eq!(consumer.pop(), None);
//! ```
//!
//! Where there are several producers, each can have such a ring: [`fan_in()`].

mod fan_in;

use core::fmt;
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::slice;

pub use self::fan_in::{FanIn, fan_in};
use crate::mpmc::Capacity;
use crate::owned::Array;
use crate::platform::{Heap, Native, Plain, Word};
use crate::records::site;

/// A ring for `capacity` elements, or for as many more as make a power of two, and for 2 at least: its ends.
///
/// # Panics
///
/// If `capacity` is more than 2^31.
pub fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    ring_on(capacity, 0)
}

/// [`ring()`] on another platform, with the positions at `start`.
///
/// # Panics
///
/// As there.
pub fn ring_on<T, P: Heap>(capacity: usize, start: u64) -> (Producer<T, P>, Consumer<T, P>) {
    let capacity = match Capacity::at_least(capacity as u64) {
        Ok(capacity) => capacity.get(),
        Err(error) => panic!("{error}"),
    };
    let cells = Array::new(capacity, P::Plain::uninit);
    let ring = P::share(Ring {
        published: Apart(P::Word::new(start)),
        consumed: Apart(P::Word::new(start)),
        mask: capacity - 1,
        cells,
    });
    let cells = Cells { first: ring.cells.first(), mask: ring.mask };
    (
        Producer { ring: ring.clone(), cells, position: start, limit: start.wrapping_add(capacity) },
        Consumer { ring, cells, position: start, published: start },
    )
}

/// A value on two cache lines of its own: processors fetch lines of 64 bytes in pairs.
#[repr(align(128))]
struct Apart<T>(T);

/// What the ends share.
struct Ring<T, P: Heap> {
    /// How many elements were published since the beginning.
    published: Apart<P::Word>,
    /// How many elements the consumer has given back.
    consumed: Apart<P::Word>,
    cells: Array<P::Plain<T>>,
    mask: u64,
}

// SAFETY: a cell is touched by the producer alone from when the consumer has freed it to its publication, and by the
// consumer alone from there until it frees it; the positions order the one after the other. Elements change threads, so
// they must be `Send`; nobody gets a reference to one.
unsafe impl<T: Send, P: Heap> Send for Ring<T, P> {}
// SAFETY: as above.
unsafe impl<T: Send, P: Heap> Sync for Ring<T, P> {}

impl<T, P: Heap> Ring<T, P> {
    /// The cells before that position can be read.
    ///
    /// # Safety
    ///
    /// The caller is the producer, and has written them.
    #[inline(always)]
    unsafe fn publish(&self, end: u64) {
        self.published.0.store(end, &site::PUBLISH);
    }

    /// The cells before that position can be written again.
    ///
    /// # Safety
    ///
    /// The caller is the consumer, and has moved their elements out.
    #[inline(always)]
    unsafe fn free(&self, position: u64) {
        self.consumed.0.store(position, &site::FREE_WORDS);
    }
}

impl<T, P: Heap> Drop for Ring<T, P> {
    /// Both ends are gone, and what they did happens before this. What was not popped is dropped.
    fn drop(&mut self) {
        let cells = Cells::<T, P> { first: self.cells.first(), mask: self.mask };
        let mut position = self.consumed.0.load(&site::INSPECT_POSITION);
        let end = self.published.0.load(&site::INSPECT_POSITION);
        while position != end {
            // SAFETY: the array is still here; the cells between the positions are published, so a `T` is there, and each is passed
            // once.
            drop(unsafe { cells.at(position).read(&site::READ_DATA) });
            position = position.wrapping_add(1);
        }
    }
}

/// Where the cells are, for an end that has a share of the ring: it finds them without the ring.
struct Cells<T, P: Heap> {
    first: *mut P::Plain<T>,
    mask: u64,
}

impl<T, P: Heap> Clone for Cells<T, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, P: Heap> Copy for Cells<T, P> {}

impl<T, P: Heap> Cells<T, P> {
    /// The cell of a position.
    ///
    /// # Safety
    ///
    /// The ring lives as long as the reference.
    #[inline(always)]
    unsafe fn at<'a>(self, position: u64) -> &'a P::Plain<T> {
        // SAFETY: the array has mask + 1 cells, 2^31 at most, which change through shared references only, and is the ring's.
        unsafe { &*self.first.add((position & self.mask) as usize) }
    }

    /// So many cells from a position on: those up to the end of the array, and those from its beginning.
    ///
    /// # Safety
    ///
    /// As for one; and there are so many.
    #[inline(always)]
    unsafe fn rows<'a>(self, position: u64, length: u64) -> [&'a [P::Plain<T>]; 2] {
        let first = position & self.mask;
        let before_end = length.min(self.capacity() - first);
        // SAFETY: as for one.
        let row = |first: u64, length: u64| unsafe {
            slice::from_raw_parts(self.first.add(first as usize), length as usize)
        };
        [row(first, before_end), row(0, length - before_end)]
    }

    #[inline(always)]
    fn capacity(self) -> u64 {
        self.mask + 1
    }
}

/// The producing end.
pub struct Producer<T, P: Heap = Native> {
    ring: P::Shared<Ring<T, P>>,
    cells: Cells<T, P>,
    position: u64,
    /// Up to where there is room, by what the consumer had given back when we looked last.
    ///
    /// Not in the ring: it would lie in a line that the consumer takes when it polls, where a store waits in the store buffer, and a
    /// load holds up the push.
    limit: u64,
}

// SAFETY: the ring is made for two threads, and elements that are `Send` may be dropped by any.
unsafe impl<T: Send, P: Heap> Send for Producer<T, P> {}
// SAFETY: a shared reference to it can do nothing to an element.
unsafe impl<T: Send, P: Heap> Sync for Producer<T, P> {}
impl<T, P: Heap> UnwindSafe for Producer<T, P> {}
impl<T, P: Heap> RefUnwindSafe for Producer<T, P> {}

impl<T, P: Heap> Producer<T, P> {
    /// For how many elements there is room.
    pub fn capacity(&self) -> usize {
        // 2^31 at most.
        self.cells.capacity() as usize
    }

    /// Enqueues `value`. Wait-free.
    ///
    /// # Errors
    ///
    /// The value, if the ring is full.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        if self.room(1) == 0 {
            return Err(value);
        }
        // SAFETY: the cell is free, so that the consumer does not read it, and nobody else pushes.
        unsafe { self.cells.at(self.position).write(value, &site::WRITE_DATA) };
        self.position = self.position.wrapping_add(1);
        // SAFETY: we are the only producer, and the cell is written.
        unsafe { self.ring.publish(self.position) };
        Ok(())
    }

    /// How many cells are free as far as we know, after a look if we know of less than are wanted.
    #[inline(always)]
    fn room(&mut self, wanted: u64) -> u64 {
        if self.limit.wrapping_sub(self.position) < wanted {
            let consumed = self.ring.consumed.0.load(&site::LOAD_CONSUMED);
            self.limit = consumed.wrapping_add(self.cells.capacity());
        }
        self.limit.wrapping_sub(self.position)
    }

    /// Enqueues elements until there is no room, or no element, and publishes all of them with one store. Returns how
    /// many; those that `values` gives are not asked for when there is no room for them.
    ///
    /// If `values` panics, those before are leaked, and none is dropped twice.
    #[inline]
    pub fn push_from(&mut self, values: &mut impl Iterator<Item = T>) -> usize {
        let first = self.position;
        let room = self.room((values.size_hint().0 as u64).clamp(1, self.cells.capacity()));
        let limit = first.wrapping_add(room);
        let mut end = first;
        while end != limit {
            let Some(value) = values.next() else { break };
            // SAFETY: as in `push`.
            unsafe { self.cells.at(end).write(value, &site::WRITE_DATA) };
            end = end.wrapping_add(1);
        }
        if end != first {
            self.position = end;
            // SAFETY: as in `push`, and all cells up to there are written.
            unsafe { self.ring.publish(end) };
        }
        // No more than the capacity.
        end.wrapping_sub(first) as usize
    }

    /// Enqueues as many of these elements as there is room for, from the first on, and publishes them with one store. Returns how
    /// many.
    ///
    /// ```
    /// let (mut producer, mut consumer) = arenaq::spsc::ring(4);
    /// assert_eq!(producer.push_slice(&[1, 2, 3, 4, 5]), 4);
    /// assert_eq!((consumer.pop(), producer.push_slice(&[5])), (Some(1), 1));
    /// ```
    #[inline]
    pub fn push_slice(&mut self, values: &[T]) -> usize
    where
        T: Copy,
    {
        let wanted = self.cells.capacity().min(values.len() as u64);
        let room = self.room(wanted).min(wanted);
        let mut left = values;
        // SAFETY: we have a share of the ring, which has so many cells.
        for cells in unsafe { self.cells.rows(self.position, room) } {
            let (these, others) = left.split_at(cells.len());
            // SAFETY: as in `push`.
            unsafe { P::Plain::write_row(cells, these, &site::WRITE_DATA) };
            left = others;
        }
        if room > 0 {
            self.position = self.position.wrapping_add(room);
            // SAFETY: as in `push`, and all cells up to there are written.
            unsafe { self.ring.publish(self.position) };
        }
        // No more than the capacity.
        room as usize
    }
}

impl<T, P: Heap> fmt::Debug for Producer<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("spsc::Producer").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

/// The consuming end.
pub struct Consumer<T, P: Heap = Native> {
    ring: P::Shared<Ring<T, P>>,
    cells: Cells<T, P>,
    position: u64,
    /// What was published when it looked last.
    published: u64,
}

// SAFETY: as for the producer.
unsafe impl<T: Send, P: Heap> Send for Consumer<T, P> {}
// SAFETY: as for the producer.
unsafe impl<T: Send, P: Heap> Sync for Consumer<T, P> {}
impl<T, P: Heap> UnwindSafe for Consumer<T, P> {}
impl<T, P: Heap> RefUnwindSafe for Consumer<T, P> {}

impl<T, P: Heap> Consumer<T, P> {
    /// For how many elements there is room.
    pub fn capacity(&self) -> usize {
        // 2^31 at most.
        self.cells.capacity() as usize
    }

    /// How many elements can be popped at least.
    #[inline]
    pub fn len(&mut self) -> usize {
        self.published = self.ring.published.0.load(&site::LOAD_PUBLISHED);
        self.published.wrapping_sub(self.position) as usize
    }

    /// Whether nothing can be popped.
    #[inline]
    pub fn is_empty(&mut self) -> bool {
        self.available() == 0
    }

    /// How many elements are there as far as we know, after a look if we know of none.
    #[inline(always)]
    fn available(&mut self) -> u64 {
        if self.position == self.published {
            self.published = self.ring.published.0.load(&site::LOAD_PUBLISHED);
        }
        self.published.wrapping_sub(self.position)
    }

    /// Dequeues the oldest element, or returns `None` if there is none. Wait-free.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.available() == 0 {
            return None;
        }
        // SAFETY: the cell is published, so a `T` is there, and its write happens before the load that has told us so;
        // nobody else pops.
        let value = unsafe { self.cells.at(self.position).read(&site::READ_DATA) };
        self.position = self.position.wrapping_add(1);
        // SAFETY: we are the consumer, and have moved the element out.
        unsafe { self.ring.free(self.position) };
        Some(value)
    }

    /// Dequeues up to `limit` elements, hands them over in their order, and frees their cells with one store. Returns how
    /// many.
    ///
    /// # Panics
    ///
    /// If `hand_over` does. It has that element; those behind it stay in the ring.
    #[inline]
    pub fn drain(&mut self, limit: usize, mut hand_over: impl FnMut(T)) -> usize {
        let length = self.available().min(limit as u64);
        let Consumer { ring, cells, position, .. } = self;
        // SAFETY: we have a share of the ring, which has so many cells.
        let rows = unsafe { cells.rows(*position, length) };
        let mut batch = Batch { ring: &**ring, position, moved: 0 };
        for cells in rows {
            for cell in cells {
                batch.moved += 1;
                // SAFETY: as in `pop`; there are so many.
                hand_over(unsafe { cell.read_of_many(&site::READ_DATA) });
            }
        }
        // No more than the limit.
        length as usize
    }
}

impl<T, P: Heap> fmt::Debug for Consumer<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("spsc::Consumer").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

/// Elements that leave the ring together, also if somebody to whom one is handed over panics.
struct Batch<'a, T, P: Heap> {
    ring: &'a Ring<T, P>,
    /// The consumer's.
    position: &'a mut u64,
    moved: u64,
}

impl<T, P: Heap> Drop for Batch<'_, T, P> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.moved > 0 {
            *self.position = self.position.wrapping_add(self.moved);
            // SAFETY: the batch has the consumer, and has moved the elements out.
            unsafe { self.ring.free(*self.position) };
        }
    }
}
