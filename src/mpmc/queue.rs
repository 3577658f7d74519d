//! The queue in plain Rust: it owns its cells, and carries anything that may change threads.
//!
//! ```
//! use arenaq::mpmc::Queue;
//!
//! let queue = Queue::new(2);
//! assert_eq!(queue.push("a".to_string()), Ok(()));
//! assert_eq!(queue.push("b".to_string()), Ok(()));
//! assert_eq!(queue.push("c".to_string()), Err("c".to_string()), "full");
//! assert_eq!(queue.pop().as_deref(), Some("a"));
//! ```

use alloc::boxed::Box;
use alloc::vec::{self, Vec};
use core::fmt;
use core::iter::FusedIterator;
use core::mem::ManuallyDrop;

use super::{Capacity, Cell, Head, Ring};
use crate::claim::Many;
use crate::count::Uncounted;
use crate::platform::{Native, Plain, Platform, Stride};
use crate::status::{PopError, PushError};

/// A bounded queue: many producers, many consumers, in one process.
///
/// It is Vyukov's queue as it lies in an arena, in memory of its own. An [`Arc`](alloc::sync::Arc) of it, or a scoped
/// thread's reference, is all that another thread needs. Each element is dropped once, whoever has it last: the consumer
/// that popped it, or the queue.
///
/// `P` is where it runs: another [`Platform`] than the default is for one's own models under loom or shuttle.
pub struct Queue<T, P: Platform = Native> {
    head: Head<P, T, Uncounted>,
    cells: Box<[Cell<P, T>]>,
    capacity: Capacity,
}

// SAFETY: the cells change only as the head's algorithms let them; see the head.
unsafe impl<T: Send, P: Platform> Send for Queue<T, P> {}
// SAFETY: as above. A shared queue gives out elements, never references to them, so `T` needs not be `Sync`.
unsafe impl<T: Send, P: Platform> Sync for Queue<T, P> {}

impl<T> Queue<T> {
    /// A queue for `capacity` elements, or for as many more as make a power of two, and for 2 at least.
    ///
    /// # Panics
    ///
    /// If that is more than 2^31.
    pub fn new(capacity: usize) -> Self {
        Self::new_on(capacity)
    }
}

impl<T, P: Platform> Queue<T, P> {
    /// [`new`](Queue::new) on another platform than the default.
    ///
    /// # Panics
    ///
    /// As there.
    pub fn new_on(capacity: usize) -> Self {
        let cells = (capacity as u64).checked_next_power_of_two().unwrap_or(u64::MAX);
        match Capacity::new(cells.max(Capacity::MIN.get())) {
            Ok(capacity) => Self::with_capacity(capacity),
            Err(error) => panic!("{error}"),
        }
    }

    /// A queue of so many cells.
    pub fn with_capacity(capacity: Capacity) -> Self {
        let mut cells: Box<[_]> = (0..capacity.get()).map(|_| Cell::empty()).collect();
        let head = Head::empty();
        // SAFETY: so many cells, which live beside the head and are its alone; nobody else is here yet.
        let made = unsafe { head.init(cells.as_mut_ptr(), capacity) };
        debug_assert!(made.is_ok(), "no platform with memory of its own ends loops");
        Queue { head, cells, capacity }
    }

    #[inline(always)]
    fn ring(&self) -> Ring<'_, P, T, Uncounted> {
        // The ring changes cells through shared references only, so that the cast takes nothing away.
        let cells = self.cells.as_ptr().cast_mut();
        // SAFETY: the cells are this queue's, and live as long as `self`. They are all shared memory: their words are
        // atomic and their data is a platform's plain memory, both with interior mutability.
        unsafe { Ring::new(&self.head, cells, self.capacity, P::Stride::of::<Cell<P, T>>()) }
    }

    /// Enqueues `value`.
    ///
    /// # Errors
    ///
    /// The value, if the queue is full.
    #[inline]
    pub fn push(&self, value: T) -> Result<(), T> {
        let ring = self.ring();
        let mut value = ManuallyDrop::new(value);
        loop {
            let write = |data: &P::Plain<T>, site| {
                // SAFETY: the value is moved into the cell, and not touched again: a push that calls this succeeds.
                unsafe { data.write(ManuallyDrop::take(&mut value), site) };
            };
            // SAFETY: an element is written.
            match unsafe { ring.push_in_place(write) } {
                Ok(()) => return Ok(()),
                // Others have pushed meanwhile, so somebody gets on.
                Err(PushError::Contended) => P::relax(),
                Err(_) => return Err(ManuallyDrop::into_inner(value)),
            }
        }
    }

    /// Dequeues the oldest element, if there is one.
    #[inline]
    pub fn pop(&self) -> Option<T> {
        let ring = self.ring();
        loop {
            // SAFETY: the element is moved out, once.
            match unsafe { ring.pop_in_place(|data, site| data.read(site)) } {
                Ok(value) => return Some(value),
                Err(PopError::Contended) => P::relax(),
                Err(_) => return None,
            }
        }
    }

    /// Enqueues elements of `values` from the first on, as many as there are free cells in a row, in one step. Returns how
    /// many; the others stay where they are.
    pub fn push_from(&self, values: &mut Vec<T>) -> usize {
        let (ring, length) = (self.ring(), values.len());
        let first = values.as_ptr();
        loop {
            // SAFETY: the vector has so many elements, each of which is moved into its cell. Those that were are
            // forgotten below, and nothing in between can panic.
            let pushed = unsafe {
                ring.push_many_in_place_as::<Many>(length as u64, |step, data, site| {
                    data.write(first.add(step as usize).read(), site);
                })
            };
            match pushed {
                Err(PushError::Contended) => P::relax(),
                Err(_) => return 0,
                Ok(pushed) => {
                    let pushed = pushed as usize;
                    // SAFETY: the first elements are the queue's now. The others are moved to the front, where there
                    // is room for them, and are all that the vector has.
                    unsafe {
                        values.set_len(0);
                        let first = values.as_mut_ptr();
                        first.copy_from(first.add(pushed), length - pushed);
                        values.set_len(length - pushed);
                    }
                    return pushed;
                }
            }
        }
    }

    /// Dequeues up to `limit` of the oldest elements in one step: as many as are there in a row.
    ///
    /// They have left the queue when this returns, and those that are not taken from the iterator are dropped with it.
    pub fn drain(&self, limit: usize) -> Drain<T> {
        let ring = self.ring();
        let limit = limit.min(self.capacity());
        // Before the claim: if there is no memory, nothing has happened.
        let mut drained = Vec::with_capacity(limit.min(self.len()));
        let limit = drained.capacity().min(limit) as u64;
        loop {
            // SAFETY: each element is moved out once. The vector has room for all, so nothing here can panic.
            let popped =
                unsafe { ring.drain_in_place_as::<Many>(limit, |data, site| drained.push(data.read(site))) };
            match popped {
                Err(PopError::Contended) => P::relax(),
                _ => return Drain(drained.into_iter()),
            }
        }
    }

    /// Dequeues until the queue is empty: what is there, and what comes meanwhile.
    pub fn try_iter(&self) -> TryIter<'_, T, P> {
        TryIter(self)
    }

    /// How many elements there are, if nobody is in the middle of an operation.
    pub fn len(&self) -> usize {
        self.ring().len() as usize
    }

    /// Whether [`len`](Self::len) is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many elements there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity.get() as usize
    }
}

impl<T, P: Platform> Drop for Queue<T, P> {
    fn drop(&mut self) {
        /// Goes on where an element has panicked.
        struct Rest<'q, T, P: Platform>(&'q Queue<T, P>);

        impl<T, P: Platform> Rest<'_, T, P> {
            fn pop_all(&self) {
                while let Some(element) = self.0.pop() {
                    drop(element);
                }
            }
        }

        impl<T, P: Platform> Drop for Rest<'_, T, P> {
            fn drop(&mut self) {
                self.pop_all();
            }
        }

        if core::mem::needs_drop::<T>() {
            Rest(self).pop_all();
        }
    }
}

impl<T, P: Platform> fmt::Debug for Queue<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

/// Elements that have left the queue; see [`Queue::drain`].
#[derive(Debug)]
pub struct Drain<T>(vec::IntoIter<T>);

impl<T> Iterator for Drain<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<T> ExactSizeIterator for Drain<T> {}
impl<T> FusedIterator for Drain<T> {}

/// Elements as they come; see [`Queue::try_iter`].
#[derive(Debug)]
pub struct TryIter<'q, T, P: Platform>(&'q Queue<T, P>);

impl<T, P: Platform> Iterator for TryIter<'_, T, P> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.pop()
    }
}
