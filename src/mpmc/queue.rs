//! The queue in plain Rust: it owns its cells, and carries anything that may change threads.

use alloc::vec::Vec;
use core::fmt;
use core::mem::ManuallyDrop;
use core::panic::{RefUnwindSafe, UnwindSafe};

use super::{Capacity, Cell, Head, Ring};
use crate::claim::Many;
use crate::count::Uncounted;
use crate::owned::{Array, Drain, take_from};
use crate::platform::{Heap, Native, Plain, Stride};
use crate::status::{PopError, PushError};

/// A bounded queue: many producers, many consumers, in one process.
///
/// It is the queue as it lies in an arena, in memory of its own: no `unsafe`, and elements of any type. Push and pop need
/// a shared reference, so an [`Arc`](alloc::sync::Arc) of the queue, or a scoped thread's reference, is all that another
/// thread needs. Each element is dropped once, by whoever has it last: the consumer that popped it, or the queue.
///
/// # Examples
///
/// ```
/// use arenaq::mpmc::Queue;
///
/// let queue = Queue::new(2);
///
/// assert_eq!(queue.push('a'), Ok(()));
/// assert_eq!(queue.push('b'), Ok(()));
/// assert_eq!(queue.push('c'), Err('c'));
/// assert_eq!(queue.pop(), Some('a'));
/// ```
///
/// Between threads, several elements at once:
///
/// ```
/// use std::thread;
///
/// use arenaq::mpmc::Queue;
///
/// let queue = Queue::new(1024);
/// thread::scope(|scope| {
///     for name in ["x", "y"] {
///         let queue = &queue;
///         scope.spawn(move || {
///             let mut lines: Vec<String> = (0..100).map(|line| format!("{name} {line}")).collect();
///             assert_eq!(queue.push_from(&mut lines), 100);
///         });
///     }
/// });
/// assert_eq!(queue.drain(150).len(), 150);
/// assert_eq!(queue.try_iter().count(), 50);
/// ```
///
/// # When somebody stalls
///
/// No operation waits for another thread. But a thread that is preempted in the middle of a push hides the elements behind
/// its own until it goes on, and one that is preempted in the middle of a pop keeps its cell: the queue may be found empty,
/// or full, a moment longer than it is.
///
/// # In your own models
///
/// `P` is where the queue runs. What is generic over it runs under loom (with the feature `loom`) or shuttle (`shuttle`) as
/// it is: every access of the queue is a step of the model, and an element is seen too early if the orderings allow it.
///
/// ```
/// use arenaq::mpmc::Queue;
/// use arenaq::platform::{Heap, Native};
///
/// struct Pool<P: Heap = Native> {
///     idle: Queue<Box<[u8]>, P>,
/// }
///
/// impl<P: Heap> Pool<P> {
///     fn new(buffers: usize) -> Self {
///         let idle = Queue::new_on(buffers);
///         (0..buffers).for_each(|_| idle.push(vec![0; 16].into()).expect("room for all of them"));
///         Pool { idle }
///     }
///
///     fn with_buffer<R>(&self, act: impl FnOnce(&mut [u8]) -> R) -> Option<R> {
///         let mut buffer = self.idle.pop()?;
///         let result = act(&mut buffer);
///         // There is room, but its cell may still be in the hands of another thread that is
///         // popping: without the loop the model below fails.
///         while let Err(back) = self.idle.push(buffer) {
///             buffer = back;
///             P::relax();
///         }
///         Some(result)
///     }
/// }
///
/// let pool = <Pool>::new(2);
/// assert_eq!(pool.with_buffer(|buffer| buffer.len()), Some(16));
///
/// # #[cfg(feature = "loom")]
/// weaken::model(|| {
///     use arenaq::platform::Loom;
///
///     let pool = loom::sync::Arc::new(Pool::<Loom>::new(2));
///     let threads = [(); 2].map(|()| {
///         let pool = pool.clone();
///         loom::thread::spawn(move || pool.with_buffer(|buffer| buffer[0] += 1))
///     });
///     for thread in threads {
///         assert!(thread.join().unwrap().is_some(), "a buffer for each");
///     }
/// });
/// ```
pub struct Queue<T, P: Heap = Native> {
    head: Head<P, T, Uncounted>,
    cells: Array<Cell<P, T>>,
    capacity: Capacity,
}

// SAFETY: the queue owns its cells and what is in them, and elements that are `Send` may be dropped by any thread.
unsafe impl<T: Send, P: Heap> Send for Queue<T, P> {}
// SAFETY: the cells change only as the algorithm lets them, which is made for threads: see the head. A shared queue gives
// out elements, never references to them, so `T` needs not be `Sync`.
unsafe impl<T: Send, P: Heap> Sync for Queue<T, P> {}

// No code of the user's runs in the middle of an operation, so a panic leaves none half done.
impl<T, P: Heap> UnwindSafe for Queue<T, P> {}
impl<T, P: Heap> RefUnwindSafe for Queue<T, P> {}

impl<T> Queue<T> {
    /// A queue for `capacity` elements, or for as many more as make a power of two, and for 2 at least;
    /// [`capacity`](Self::capacity) says how many.
    ///
    /// # Panics
    ///
    /// If `capacity` is more than 2^31. [`with_capacity`](Self::with_capacity) takes a number that was checked.
    ///
    /// ```
    /// assert_eq!(arenaq::mpmc::Queue::<String>::new(100).capacity(), 128);
    /// ```
    pub fn new(capacity: usize) -> Self {
        Self::new_on(capacity)
    }
}

impl<T, P: Heap> Queue<T, P> {
    /// [`new`](Queue::new) on another platform than the default.
    ///
    /// # Panics
    ///
    /// As there.
    pub fn new_on(capacity: usize) -> Self {
        match Capacity::at_least(capacity as u64) {
            Ok(capacity) => Self::with_capacity(capacity),
            Err(error) => panic!("{error}"),
        }
    }

    /// A queue of so many cells.
    ///
    /// ```
    /// use arenaq::mpmc::{Capacity, Queue};
    ///
    /// let queue: Queue<String> = Queue::with_capacity(Capacity::at_least(100)?);
    /// assert!(Capacity::at_least(1 << 40).is_err());
    /// # Ok::<(), arenaq::mpmc::CapacityError>(())
    /// ```
    pub fn with_capacity(capacity: Capacity) -> Self {
        let cells = Array::new(capacity.get(), Cell::empty);
        let head = Head::empty();
        // SAFETY: so many cells, which live beside the head and are its alone; nobody else is here yet.
        let made = unsafe { head.init(cells.first(), capacity) };
        debug_assert!(made.is_ok(), "no platform with a heap ends loops");
        Queue { head, cells, capacity }
    }

    #[inline(always)]
    fn ring(&self) -> Ring<'_, P, T, Uncounted> {
        // SAFETY: so many cells, which lie side by side, are the queue's and live as long as it.
        unsafe { Ring::new(&self.head, self.cells.first(), self.capacity, P::Stride::of::<Cell<P, T>>()) }
    }

    /// Enqueues `value`.
    ///
    /// Lock-free: an attempt fails only because another push succeeded.
    ///
    /// # Errors
    ///
    /// The value, if the queue is full.
    #[inline]
    pub fn push(&self, value: T) -> Result<(), T> {
        let ring = self.ring();
        let mut value = ManuallyDrop::new(value);
        loop {
            // SAFETY: the value is moved, and not touched again: if this is called, the push succeeds.
            let write =
                |cell: &P::Plain<T>, site| unsafe { cell.write(ManuallyDrop::take(&mut value), site) };
            // SAFETY: the cell gets an element.
            match unsafe { ring.push_in_place(write) } {
                Ok(()) => return Ok(()),
                // Others have pushed meanwhile, so somebody gets on.
                Err(PushError::Contended) => P::relax(),
                Err(_) => return Err(ManuallyDrop::into_inner(value)),
            }
        }
    }

    /// Dequeues the oldest element, if there is one.
    ///
    /// Lock-free: an attempt fails only because another pop succeeded.
    #[inline]
    pub fn pop(&self) -> Option<T> {
        let ring = self.ring();
        loop {
            // SAFETY: the cell is published, so there is an element, and it is moved out once.
            match unsafe { ring.pop_in_place(|cell, site| cell.read(site)) } {
                Ok(value) => return Some(value),
                Err(PopError::Contended) => P::relax(),
                Err(_) => return None,
            }
        }
    }

    /// Enqueues elements of `values` from the first on, as many as there are free cells in a row, with one claim. Returns
    /// how many; the others stay in the vector. Nothing comes between the elements of one batch.
    ///
    /// ```
    /// let queue = arenaq::mpmc::Queue::new(2);
    /// let mut values = vec!['a', 'b', 'c'];
    /// assert_eq!(queue.push_from(&mut values), 2);
    /// assert_eq!(values, ['c']);
    /// ```
    pub fn push_from(&self, values: &mut Vec<T>) -> usize {
        let ring = self.ring();
        let push = |first: *const T, length: usize| loop {
            // SAFETY: a batch is no longer than its limit, so each element is one of the vector, which does not touch it
            // again; and each is moved once.
            let pushed = unsafe {
                ring.push_many_in_place_as::<Many>(length as u64, |step, cell, site| {
                    cell.write(first.add(step as usize).read(), site);
                })
            };
            match pushed {
                Err(PushError::Contended) => P::relax(),
                pushed => return pushed.unwrap_or(0) as usize,
            }
        };
        // SAFETY: a batch is the first elements, as many as it says.
        unsafe { take_from(values, push) }
    }

    /// Dequeues up to `limit` of the oldest elements, as many as are published in a row, with one claim.
    ///
    /// They have left the queue when this returns. Those that are not taken from the iterator are dropped with it.
    ///
    /// ```
    /// let queue = arenaq::mpmc::Queue::new(4);
    /// queue.push_from(&mut vec!['a', 'b', 'c']);
    /// assert_eq!(queue.drain(2).collect::<String>(), "ab");
    /// assert_eq!(queue.drain(usize::MAX).collect::<String>(), "c");
    /// ```
    pub fn drain(&self, limit: usize) -> Drain<T> {
        let ring = self.ring();
        // Memory comes before the claim: what is claimed must be moved, and to move it must not fail.
        let room = limit.min(self.len());
        let mut drained = Vec::with_capacity(room);
        loop {
            // SAFETY: the cells are published, so there are elements, and each is moved out once. There is room for all,
            // so nothing here panics.
            let popped = unsafe {
                ring.drain_in_place_as::<Many>(room as u64, |cell, site| drained.push(cell.read(site)))
            };
            match popped {
                Err(PopError::Contended) => P::relax(),
                _ => return Drain::new(drained),
            }
        }
    }

    /// Dequeues one element after the other until there is none: those that are there, and those that come meanwhile.
    pub fn try_iter(&self) -> TryIter<'_, T, P> {
        TryIter(self)
    }

    /// How many elements there are, if nobody is in the middle of an operation; never more than the capacity.
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

impl<T, P: Heap> Drop for Queue<T, P> {
    fn drop(&mut self) {
        /// Drops what is left, also if one of the elements panics.
        struct Rest<'q, T, P: Heap>(&'q Queue<T, P>);

        impl<T, P: Heap> Drop for Rest<'_, T, P> {
            fn drop(&mut self) {
                self.0.try_iter().for_each(drop);
            }
        }

        if core::mem::needs_drop::<T>() {
            let rest = Rest(self);
            self.try_iter().for_each(drop);
            // Nothing is left: only a panic comes back to it.
            core::mem::forget(rest);
        }
    }
}

impl<T, P: Heap> fmt::Debug for Queue<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

/// Elements as they come; see [`Queue::try_iter`].
#[derive(Debug)]
pub struct TryIter<'q, T, P: Heap>(&'q Queue<T, P>);

impl<T, P: Heap> Iterator for TryIter<'_, T, P> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.0.pop()
    }
}
