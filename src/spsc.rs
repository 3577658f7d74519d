//! The ring of one producer and one consumer, in plain Rust: a lane of the [records](crate::records) without its owner
//! word, whose elements are values of one type.
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

use core::fmt;
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::slice;

use crate::mpmc::Capacity;
use crate::owned::Array;
use crate::platform::{Heap, Native, Plain};
use crate::records::Lane;
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
    let ring = P::share(Ring { lane: Lane::starting_at(start), cells, mask: capacity - 1 });
    (
        Producer { ring: ring.clone(), position: start, seen: start },
        Consumer { ring, position: start, published: start },
    )
}

/// What the ends share.
struct Ring<T, P: Heap> {
    lane: Lane<P>,
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
    #[inline(always)]
    fn cell(&self, position: u64) -> &P::Plain<T> {
        // SAFETY: the array has mask + 1 cells, 2^31 at most, which change through shared references only.
        unsafe { &*self.cells.first().add((position & self.mask) as usize) }
    }

    /// So many cells from a position on: those up to the end of the array, and those from its beginning.
    #[inline(always)]
    fn rows(&self, position: u64, length: u64) -> [&[P::Plain<T>]; 2] {
        let first = position & self.mask;
        let before_end = length.min(self.capacity() - first);
        // SAFETY: the array has mask + 1 cells, 2^31 at most, which change through shared references only.
        let row = |first: u64, length: u64| unsafe {
            slice::from_raw_parts(self.cells.first().add(first as usize), length as usize)
        };
        [row(first, before_end), row(0, length - before_end)]
    }

    #[inline(always)]
    fn capacity(&self) -> u64 {
        self.mask + 1
    }
}

impl<T, P: Heap> Drop for Ring<T, P> {
    /// Both ends are gone, and what they did happens before this. What was not popped is dropped.
    fn drop(&mut self) {
        let (mut position, end) = self.lane.between();
        while position != end {
            // SAFETY: the cells between the positions are published, so a `T` is there, and each is passed once.
            drop(unsafe { self.cell(position).read(&site::READ_DATA) });
            position = position.wrapping_add(1);
        }
    }
}

/// The producing end.
pub struct Producer<T, P: Heap = Native> {
    ring: P::Shared<Ring<T, P>>,
    position: u64,
    /// What the consumer had given back when it looked last.
    seen: u64,
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
        self.ring.capacity() as usize
    }

    /// Enqueues `value`. Wait-free.
    ///
    /// # Errors
    ///
    /// The value, if the ring is full.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        let Ring { lane, mask, .. } = &*self.ring;
        if lane.room(&mut self.seen, self.position, 1, mask + 1) == 0 {
            return Err(value);
        }
        // SAFETY: the cell is free, so that the consumer does not read it, and nobody else pushes.
        unsafe { self.ring.cell(self.position).write(value, &site::WRITE_DATA) };
        self.position = self.position.wrapping_add(1);
        // SAFETY: without an owner word the only producer is the owner, and the cell is written.
        unsafe { lane.publish(self.position) };
        Ok(())
    }

    /// Enqueues elements until there is no room, or no element, and publishes all of them with one store. Returns how
    /// many; those that `values` gives are not asked for when there is no room for them.
    ///
    /// If `values` panics, those before are leaked, and none is dropped twice.
    #[inline]
    pub fn push_from(&mut self, values: &mut impl Iterator<Item = T>) -> usize {
        let first = self.position;
        let wanted = (values.size_hint().0 as u64).clamp(1, self.ring.capacity());
        let room = self.ring.lane.room(&mut self.seen, first, wanted, self.ring.capacity());
        let limit = first.wrapping_add(room);
        let mut end = first;
        while end != limit {
            let Some(value) = values.next() else { break };
            // SAFETY: as in `push`.
            unsafe { self.ring.cell(end).write(value, &site::WRITE_DATA) };
            end = end.wrapping_add(1);
        }
        if end != first {
            self.position = end;
            // SAFETY: as in `push`, and all cells up to there are written.
            unsafe { self.ring.lane.publish(end) };
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
        let (ring, capacity) = (&*self.ring, self.ring.capacity());
        let wanted = capacity.min(values.len() as u64);
        let room = ring.lane.room(&mut self.seen, self.position, wanted, capacity).min(wanted);
        let mut left = values;
        for cells in ring.rows(self.position, room) {
            let (these, others) = left.split_at(cells.len());
            // SAFETY: as in `push`.
            unsafe { P::Plain::write_row(cells, these, &site::WRITE_DATA) };
            left = others;
        }
        if room > 0 {
            self.position = self.position.wrapping_add(room);
            // SAFETY: as in `push`, and all cells up to there are written.
            unsafe { ring.lane.publish(self.position) };
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
        self.ring.capacity() as usize
    }

    /// How many elements can be popped at least.
    #[inline]
    pub fn len(&mut self) -> usize {
        self.published = self.ring.lane.published();
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
            self.published = self.ring.lane.published();
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
        let value = unsafe { self.ring.cell(self.position).read(&site::READ_DATA) };
        self.position = self.position.wrapping_add(1);
        // SAFETY: we are the consumer, and have moved the element out.
        unsafe { self.ring.lane.free(self.position) };
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
        let Consumer { ring, position, .. } = self;
        let mut batch = Batch { ring: &**ring, position, moved: 0 };
        for cells in batch.ring.rows(*batch.position, length) {
            for cell in cells {
                batch.moved += 1;
                // SAFETY: as in `pop`; there are so many.
                hand_over(unsafe { cell.read(&site::READ_DATA) });
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

impl<T, P: Heap> Batch<'_, T, P> {
    /// The position behind those that were moved.
    #[inline(always)]
    fn end(&self) -> u64 {
        self.position.wrapping_add(self.moved)
    }
}

impl<T, P: Heap> Drop for Batch<'_, T, P> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.moved > 0 {
            *self.position = self.end();
            // SAFETY: the batch has the consumer, and has moved the elements out.
            unsafe { self.ring.lane.free(*self.position) };
        }
    }
}
