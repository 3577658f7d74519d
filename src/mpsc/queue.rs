//! The queue in plain Rust: it owns its nodes, and carries anything that may change threads.
//!
//! ```
//! use std::thread;
//!
//! let (producer, mut consumer) = arenaq::mpsc::queue(100);
//! let pushing = thread::spawn(move || producer.push("a".to_string()));
//! assert_eq!(pushing.join().unwrap(), Ok(()));
//! assert_eq!(consumer.pop().as_deref(), Some("a"));
//! assert_eq!(consumer.pop(), None);
//! ```

use alloc::boxed::Box;
use alloc::vec::{self, Vec};
use core::fmt;
use core::iter::FusedIterator;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;

use super::consumer::{self, Numbered};
use super::{Head, List, Node};
use crate::count::Uncounted;
use crate::platform::{Heap, Native, Plain, Word};
use crate::pool::{Chain, MAX_ELEMENTS, Nodes, Pool, Start, nodes_for};
use core::num::NonZero;

/// A queue for `capacity` elements, at least one: many producers, one consumer, in one process.
///
/// It is Vyukov's queue as it lies in an arena, in memory of its own. Each element is dropped once, whoever has it last:
/// the consumer that popped it, or the queue.
///
/// # Panics
///
/// If `capacity` is more than [`MAX_ELEMENTS`].
pub fn queue<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    queue_on(capacity)
}

/// [`queue`] on another platform than the default: for one's own models under loom or shuttle.
///
/// # Panics
///
/// As [`queue`].
pub fn queue_on<T, P: Heap>(capacity: usize) -> (Producer<T, P>, Consumer<T, P>) {
    let capacity = (capacity as u64).max(1);
    assert!(capacity <= MAX_ELEMENTS, "a queue has at most {MAX_ELEMENTS} elements");
    let shared = P::share(Shared::new(capacity));
    let consumer =
        Consumer { stub: shared.stub, unreturned: None, one_thread: PhantomData, shared: shared.clone() };
    (Producer { shared }, consumer)
}

/// What the ends of a queue share.
struct Shared<T, P: Heap> {
    head: Head<P, T, Uncounted>,
    pool: Pool<P, Node<P, T>>,
    /// The first stub.
    stub: Numbered<Node<P, T>>,
    capacity: usize,
    _nodes: Box<[Node<P, T>]>,
    _links: Box<[P::Word]>,
}

// SAFETY: nodes and links change only as the algorithms of head and pool let them; see those. The first stub is an
// address.
unsafe impl<T: Send, P: Heap> Send for Shared<T, P> {}
// SAFETY: as above. The ends give out elements, never references to them, so `T` needs not be `Sync`.
unsafe impl<T: Send, P: Heap> Sync for Shared<T, P> {}

impl<T, P: Heap> Shared<T, P> {
    fn new(capacity: u64) -> Self {
        let (limit, block) = nodes_for(capacity);
        let mut nodes: Box<[_]> = (0..limit).map(|_| Node::unused()).collect();
        let mut links: Box<[_]> = (0..limit).map(|_| P::Word::new(0)).collect();
        let (pool, head) = (Pool::empty(), Head::empty());
        // SAFETY: so many nodes and links, which live beside the pool and are its alone.
        unsafe {
            let start = Start { tag: 0, block: NonZero::new(block) };
            pool.init_at(nodes.as_mut_ptr(), links.as_mut_ptr(), limit, start);
        }
        let stub = {
            let room: Nodes<'_, P, Node<P, T>> = pool.nodes().expect("a pool that was just initialised");
            // SAFETY: the memory of all nodes is there, and nobody else is here yet.
            let stub = unsafe {
                let mut chain = room.grow(limit).expect("room for as many nodes as there are");
                while let Err(again) = room.free_chain(chain) {
                    chain = again;
                }
                head.init(room).expect("a free node");
                consumer::Consumer::new(List { head: &head, nodes: room })
            };
            stub.expect("a queue that was just initialised").suspend().0
        };
        Shared { head, pool, stub, capacity: capacity as usize, _nodes: nodes, _links: links }
    }

    #[inline(always)]
    fn list(&self) -> List<'_, P, T, Uncounted> {
        // SAFETY: the pool was initialised when it was made, with nodes that live as long.
        let nodes = unsafe { self.pool.nodes().unwrap_unchecked() };
        List { head: &self.head, nodes }
    }
}

/// The producing end of a queue; any number of clones.
pub struct Producer<T, P: Heap = Native> {
    shared: P::Shared<Shared<T, P>>,
}

impl<T, P: Heap> Clone for Producer<T, P> {
    fn clone(&self) -> Self {
        Producer { shared: self.shared.clone() }
    }
}

// SAFETY: an `Arc` of what is `Send` and `Sync` if `T` is `Send`.
unsafe impl<T: Send, P: Heap> Send for Producer<T, P> {}
// SAFETY: as above.
unsafe impl<T: Send, P: Heap> Sync for Producer<T, P> {}

impl<T, P: Heap> Producer<T, P> {
    /// Enqueues `value`.
    ///
    /// # Errors
    ///
    /// The value, if there is no room.
    #[inline]
    pub fn push(&self, value: T) -> Result<(), T> {
        let list = self.shared.list();
        let mut value = ManuallyDrop::new(value);
        loop {
            let write = |data: &P::Plain<T>, site| {
                // SAFETY: the value is moved into the node, and not touched again: in memory that nobody damages, a push
                // that calls this succeeds.
                unsafe { data.write(ManuallyDrop::take(&mut value), site) };
            };
            // SAFETY: an element is written.
            match unsafe { list.push_in_place(write) } {
                Ok(()) => return Ok(()),
                // Others have allocated meanwhile, so somebody gets on.
                Err(crate::PushError::Contended) => P::relax(),
                Err(_) => return Err(ManuallyDrop::into_inner(value)),
            }
        }
    }

    /// Enqueues elements of `values` from the first on, as many as there is room for, in one step. Returns how many; the
    /// others stay where they are.
    pub fn push_from(&self, values: &mut Vec<T>) -> usize {
        let (list, length) = (self.shared.list(), values.len());
        let first = values.as_ptr();
        let mut next = 0;
        // SAFETY: the vector has so many elements, each of which is moved into its node, in their order. Those that were
        // are forgotten below, and nothing in between can panic.
        let pushed = unsafe {
            list.push_many_in_place(length, |data, site| {
                data.write(first.add(next).read(), site);
                next += 1;
            })
        };
        let pushed = pushed.unwrap_or(0);
        // SAFETY: the first elements are the queue's now. The others are moved to the front, where there is room for them,
        // and are all that the vector has.
        unsafe {
            values.set_len(0);
            let first = values.as_mut_ptr();
            first.copy_from(first.add(pushed), length - pushed);
            values.set_len(length - pushed);
        }
        pushed
    }

    /// How many elements there is room for at least.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }
}

/// The consuming end of a queue. There is one: it can go to another thread, and be used by one at a time.
pub struct Consumer<T, P: Heap = Native> {
    stub: Numbered<Node<P, T>>,
    unreturned: Option<Chain>,
    /// Not `Sync`.
    one_thread: PhantomData<core::cell::Cell<()>>,
    shared: P::Shared<Shared<T, P>>,
}

// SAFETY: as for the producer; the stub is the address of a node, which is not tied to a thread.
unsafe impl<T: Send, P: Heap> Send for Consumer<T, P> {}

impl<T, P: Heap> Consumer<T, P> {
    /// Lends the consumer of the algorithm out.
    #[inline(always)]
    fn with<R>(&mut self, act: impl FnOnce(&mut consumer::Consumer<'_, P, T, Uncounted>) -> R) -> R {
        let list = self.shared.list();
        // SAFETY: this is the only consumer, and stub and chain are its own from the last time.
        let mut consumer = unsafe { consumer::Consumer::resume(list, self.stub, self.unreturned.take()) };
        let result = act(&mut consumer);
        (self.stub, self.unreturned) = consumer.suspend();
        result
    }

    /// Dequeues the oldest element, if there is one whose push, and every push before it, has ended.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        // SAFETY: the element is moved out of its node, which the pop gives back.
        self.with(|consumer| unsafe { consumer.pop_in_place(|data, site| data.read(site)) }.ok())
    }

    /// Dequeues up to `limit` of the oldest elements in one step: as many as are linked to each other.
    ///
    /// They have left the queue when this returns, and those that are not taken from the iterator are dropped with it.
    pub fn drain(&mut self, limit: usize) -> Drain<T> {
        // Before the first element is moved: if there is no memory, nothing has happened.
        let mut drained = Vec::with_capacity(limit.min(self.len()));
        let limit = drained.capacity().min(limit) as u64;
        // SAFETY: each element is moved out of its node, which the drain gives back. The vector has room for all, so
        // nothing here can panic.
        let _ = self.with(|consumer| unsafe {
            consumer.drain_in_place(limit, |data, site| drained.push(data.read(site)))
        });
        Drain(drained.into_iter())
    }

    /// Dequeues until the queue is empty: what is there, and what comes meanwhile.
    pub fn try_iter(&mut self) -> TryIter<'_, T, P> {
        TryIter(self)
    }

    /// How many elements there are, by counting them.
    pub fn len(&mut self) -> usize {
        self.with(|consumer| consumer.len()) as usize
    }

    /// Whether no element is there.
    pub fn is_empty(&mut self) -> bool {
        self.with(|consumer| consumer.len()) == 0
    }

    /// How many elements there is room for at least.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }
}

impl<T, P: Heap> Drop for Consumer<T, P> {
    fn drop(&mut self) {
        // What the pool has not taken back yet goes back.
        #[expect(clippy::redundant_closure_for_method_calls, reason = "the method is one for each lifetime")]
        self.with(|consumer| consumer.return_unreturned());
    }
}

impl<T, P: Heap> Drop for Shared<T, P> {
    fn drop(&mut self) {
        /// Goes on where an element has panicked.
        struct Rest<'q, T, P: Heap>(consumer::Consumer<'q, P, T, Uncounted>);

        impl<T, P: Heap> Rest<'_, T, P> {
            fn pop_all(&mut self) {
                // SAFETY: each element is moved out of its node, which the pop gives back.
                while let Ok(element) = unsafe { self.0.pop_in_place(|data, site| data.read(site)) } {
                    drop(element);
                }
            }
        }

        impl<T, P: Heap> Drop for Rest<'_, T, P> {
            fn drop(&mut self) {
                self.pop_all();
            }
        }

        if core::mem::needs_drop::<T>() {
            // SAFETY: the consumer is gone, and so are all producers.
            if let Ok(consumer) = unsafe { consumer::Consumer::new(self.list()) } {
                Rest(consumer).pop_all();
            }
        }
    }
}

impl<T, P: Heap> fmt::Debug for Producer<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

impl<T, P: Heap> fmt::Debug for Consumer<T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

/// Elements that have left the queue; see [`Consumer::drain`].
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

/// Elements as they come; see [`Consumer::try_iter`].
#[derive(Debug)]
pub struct TryIter<'q, T, P: Heap>(&'q mut Consumer<T, P>);

impl<T, P: Heap> Iterator for TryIter<'_, T, P> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.pop()
    }
}
