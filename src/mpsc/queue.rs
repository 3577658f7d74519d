//! The queue in plain Rust: it owns its nodes, and carries anything that may change threads.
//!
//! [`queue`](fn@queue) makes one, and gives out its two ends.
//!
//! # Examples
//!
//! ```
//! use arenaq::mpsc;
//!
//! let (producer, mut consumer) = mpsc::queue(2);
//!
//! producer.push('a')?;
//! producer.push('b')?;
//!
//! assert_eq!(consumer.pop(), Some('a'));
//! assert_eq!(consumer.pop(), Some('b'));
//! assert_eq!(consumer.pop(), None);
//! # Ok::<(), char>(())
//! ```
//!
//! Between threads; the ends can be kept in one's own types:
//!
//! ```
//! use std::thread::{self, JoinHandle};
//!
//! use arenaq::mpsc::queue::{self, Consumer, Producer};
//!
//! struct Log {
//!     lines: Consumer<String>,
//!     writers: Vec<JoinHandle<()>>,
//! }
//!
//! fn write(lines: &Producer<String>, name: &str) {
//!     for line in 0..100 {
//!         lines.push(format!("{name} {line}")).expect("room for all");
//!     }
//! }
//!
//! let (producer, lines) = queue::queue(200);
//! let writers = ["x", "y"].map(|name| {
//!     let producer = producer.clone();
//!     thread::spawn(move || write(&producer, name))
//! });
//! let mut log = Log { lines, writers: writers.into() };
//!
//! log.writers.drain(..).for_each(|writer| writer.join().unwrap());
//! assert_eq!(log.lines.drain(150).len(), 150);
//! assert_eq!(log.lines.try_iter().count(), 50);
//! ```
//!
//! # When somebody stalls, or leaves
//!
//! A producer that is preempted in the middle of a push hides the elements behind its own until it goes on: the consumer
//! gets `None` although later pushes have returned. It keeps a node, or a block of nodes, meanwhile, so another may find
//! less room than there is.
//!
//! Neither end knows whether the other is still there. What is pushed after the consumer is gone stays in the queue until
//! the last producer is gone too, and is dropped then.
//!
//! # In your own models
//!
//! `P` is where the queue runs; what is generic over it runs under loom or shuttle as it is, with
//! [`queue_on`]. See [`mpmc::Queue`](crate::mpmc::Queue#in-your-own-models).

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::num::NonZero;
use core::panic::{RefUnwindSafe, UnwindSafe};

use super::consumer::{self, Numbered};
use super::{Head, List, Node};
use crate::count::Uncounted;
use crate::owned::{Array, take_from};
use crate::platform::{Heap, Native, Plain, Word};
use crate::pool::{Chain, MAX_ELEMENTS, Nodes, Pool, Start, nodes_for};
use crate::status::PushError;

pub use crate::owned::Drain;

/// A queue for `capacity` elements, at least one: many producers, one consumer, in one process.
///
/// It is the queue as it lies in an arena, in memory of its own, all of which is there from the start: no `unsafe`, and
/// elements of any type. Each is dropped once, by whoever has it last: the consumer that popped it, or the queue.
///
/// # Panics
///
/// If `capacity` is more than [`MAX_ELEMENTS`].
pub fn queue<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    queue_on(capacity)
}

/// [`queue`](fn@queue) on another platform than the default.
///
/// # Panics
///
/// As there.
pub fn queue_on<T, P: Heap>(capacity: usize) -> (Producer<T, P>, Consumer<T, P>) {
    let shared = Shared::new(capacity.max(1));
    let stub = shared.stub();
    let shared = P::share(shared);
    let consumer = Consumer { shared: shared.clone(), stub, unreturned: None, one_thread: PhantomData };
    (Producer { shared }, consumer)
}

/// What the ends of a queue share.
struct Shared<T, P: Heap> {
    head: Head<P, T, Uncounted>,
    pool: Pool<P, Node<P, T>>,
    capacity: usize,
    _nodes: Array<Node<P, T>>,
    _links: Array<P::Word>,
}

// SAFETY: the queue owns its nodes and what is in them, and elements that are `Send` may be dropped by any thread.
unsafe impl<T: Send, P: Heap> Send for Shared<T, P> {}
// SAFETY: nodes and links change only as the algorithms let them, which are made for threads: see the head and the pool.
// The ends give out elements, never references to them, so `T` needs not be `Sync`.
unsafe impl<T: Send, P: Heap> Sync for Shared<T, P> {}

impl<T, P: Heap> Shared<T, P> {
    fn new(capacity: usize) -> Self {
        let elements = capacity as u64;
        assert!(
            elements <= MAX_ELEMENTS,
            "a capacity of {elements} is too large: it can be at most {MAX_ELEMENTS}"
        );
        let (limit, block) = nodes_for(elements);
        let shared = Shared {
            head: Head::empty(),
            pool: Pool::empty(),
            capacity,
            _nodes: Array::new(limit, Node::unused),
            _links: Array::new(limit, || P::Word::new(0)),
        };
        let Shared { head, pool, _nodes: nodes, _links: links, .. } = &shared;
        let start = Start { tag: 0, block: NonZero::new(block) };
        // SAFETY: so many nodes and links, which live as long as the pool and are its alone; nobody else is here yet.
        unsafe { pool.init_at(nodes.first(), links.first(), limit, start) };
        let nodes = shared.nodes();
        // SAFETY: the memory of all nodes is there.
        let chain = unsafe { nodes.grow(limit) }.expect("there is room for as many nodes as there are");
        // SAFETY: the chain is this pool's.
        unsafe { nodes.free_chain_at_last(chain) };
        // SAFETY: nobody else is here yet.
        unsafe { head.init(nodes) }.expect("one of the nodes is free");
        shared
    }

    #[inline(always)]
    fn nodes(&self) -> Nodes<'_, P, Node<P, T>> {
        // SAFETY: there are nodes in a pool that was initialised, which is the first that happens to it.
        unsafe { self.pool.nodes().unwrap_unchecked() }
    }

    #[inline(always)]
    fn list(&self) -> List<'_, P, T, Uncounted> {
        List { head: &self.head, nodes: self.nodes() }
    }

    /// The stub of a queue that rests.
    fn stub(&self) -> Numbered<Node<P, T>> {
        // SAFETY: the caller has the queue for itself, and the queue was initialised.
        unsafe { consumer::Consumer::new(self.list()) }.expect("the stub is one of the nodes").suspend().0
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

// No code of the user's runs in the middle of an operation, so a panic leaves none half done.
impl<T, P: Heap> UnwindSafe for Producer<T, P> {}
impl<T, P: Heap> RefUnwindSafe for Producer<T, P> {}

impl<T, P: Heap> Producer<T, P> {
    /// Enqueues `value`.
    ///
    /// To find a node is lock-free: an attempt fails only because another succeeded. The rest is wait-free.
    ///
    /// # Errors
    ///
    /// The value, if there is no room.
    #[inline]
    pub fn push(&self, value: T) -> Result<(), T> {
        let list = self.shared.list();
        let mut value = ManuallyDrop::new(value);
        loop {
            // SAFETY: the value is moved, and not touched again: if this is called, the push succeeds, for nobody damages
            // the memory of this queue.
            let write =
                |node: &P::Plain<T>, site| unsafe { node.write(ManuallyDrop::take(&mut value), site) };
            // SAFETY: the node gets an element.
            match unsafe { list.push_in_place(write) } {
                Ok(()) => return Ok(()),
                // Others have found nodes meanwhile, so somebody gets on.
                Err(PushError::Contended) => P::relax(),
                Err(_) => return Err(ManuallyDrop::into_inner(value)),
            }
        }
    }

    /// Enqueues elements of `values` from the first on, as many as there is room for, in one step: a swap, however many
    /// there are. Returns how many; the others stay in the vector. Nothing comes between the elements of one batch.
    ///
    /// ```
    /// let (producer, mut consumer) = arenaq::mpsc::queue(2);
    /// let mut values = vec!['a', 'b', 'c'];
    /// assert_eq!(producer.push_from(&mut values), 2);
    /// assert_eq!(values, ['c']);
    /// assert_eq!(consumer.drain(10).collect::<String>(), "ab");
    /// ```
    pub fn push_from(&self, values: &mut Vec<T>) -> usize {
        let list = self.shared.list();
        let push = |first: *const T, length: usize| loop {
            let mut next = 0;
            // SAFETY: there are no more calls than elements in the vector, which does not touch them again; and each is
            // moved once, into its own node.
            let pushed = unsafe {
                list.push_many_in_place(length, |node, site| {
                    node.write(first.add(next).read(), site);
                    next += 1;
                })
            };
            match pushed {
                Err(PushError::Contended) => P::relax(),
                pushed => return pushed.unwrap_or(0),
            }
        };
        // SAFETY: a batch is the first elements, as many as it says. If it fails it has moved none, for nobody damages the
        // memory of this queue.
        unsafe { take_from(values, push) }
    }

    /// How many elements there is room for, at least: nodes come in blocks.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }
}

/// The consuming end of a queue. There is one, which one thread has at a time: it is [`Send`], and neither [`Sync`] nor
/// [`Clone`].
///
/// ```compile_fail,E0277
/// # let (_producer, consumer) = arenaq::mpsc::queue::<u64>(2);
/// fn shared_between_threads<T: Sync>(_: &T) {}
/// shared_between_threads(&consumer);
/// ```
///
/// ```compile_fail,E0599
/// # let (_producer, consumer) = arenaq::mpsc::queue::<u64>(2);
/// let another = consumer.clone();
/// ```
pub struct Consumer<T, P: Heap = Native> {
    shared: P::Shared<Shared<T, P>>,
    /// What the consumer of the algorithm knows by itself.
    stub: Numbered<Node<P, T>>,
    unreturned: Option<Chain>,
    /// Not `Sync`.
    one_thread: PhantomData<core::cell::Cell<()>>,
}

// SAFETY: as for the producer; the stub is one of the nodes, which are not tied to a thread.
unsafe impl<T: Send, P: Heap> Send for Consumer<T, P> {}

// As for the producer.
impl<T, P: Heap> UnwindSafe for Consumer<T, P> {}
impl<T, P: Heap> RefUnwindSafe for Consumer<T, P> {}

impl<T, P: Heap> Consumer<T, P> {
    /// Lets the consumer of the algorithm act.
    #[inline(always)]
    fn with<R>(&mut self, act: impl FnOnce(&mut consumer::Consumer<'_, P, T, Uncounted>) -> R) -> R {
        // SAFETY: this is the only consumer, and it knows what it knew the last time.
        let mut consumer =
            unsafe { consumer::Consumer::resume(self.shared.list(), self.stub, self.unreturned.take()) };
        let result = act(&mut consumer);
        (self.stub, self.unreturned) = consumer.suspend();
        result
    }

    /// The consumer of the algorithm, to look at the queue with.
    fn observer(&self) -> consumer::Consumer<'_, P, T, Uncounted> {
        // SAFETY: this is the only consumer, no other thread has it, and to look changes nothing that it knows.
        unsafe { consumer::Consumer::resume(self.shared.list(), self.stub, None) }
    }

    /// Dequeues the oldest element, if there is one whose push, and every push before it, has ended.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        // SAFETY: a node that is linked holds an element, which is moved out; the pop gives the node back.
        self.with(|consumer| unsafe { consumer.pop_in_place(|node, site| node.read(site)) }.ok())
    }

    /// Dequeues up to `limit` of the oldest elements, as many as are linked to each other, in one step: their nodes are
    /// given back at once.
    ///
    /// They have left the queue when this returns. Those that are not taken from the iterator are dropped with it.
    pub fn drain(&mut self, limit: usize) -> Drain<T> {
        // Memory comes first: what has been moved cannot go back, and to move it must not fail.
        let room = self.observer().len_up_to(limit as u64) as usize;
        let mut drained = Vec::with_capacity(room);
        // SAFETY: nodes that are linked hold elements, which are moved out; the drain gives the nodes back. There is room
        // for all, so nothing here panics.
        let ended = self.with(|consumer| unsafe {
            consumer.drain_in_place(room as u64, |node, site| drained.push(node.read(site)))
        });
        debug_assert_eq!(ended, Ok(room as u64), "what was linked stays so");
        Drain::new(drained)
    }

    /// Dequeues one element after the other until there is none: those that are there, and those that come meanwhile.
    pub fn try_iter(&mut self) -> TryIter<'_, T, P> {
        TryIter(self)
    }

    /// How many elements could be popped. It counts them: that takes the longer the more there are.
    pub fn len(&self) -> usize {
        self.observer().len() as usize
    }

    /// Whether no element could be popped.
    pub fn is_empty(&self) -> bool {
        self.observer().is_empty()
    }

    /// How many elements there is room for, at least: nodes come in blocks.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }
}

impl<T, P: Heap> Drop for Consumer<T, P> {
    fn drop(&mut self) {
        // What the pool has not taken back yet goes back, for the producers that are left.
        // SAFETY: as in `with`; nobody resumes it again.
        drop(unsafe { consumer::Consumer::resume(self.shared.list(), self.stub, self.unreturned.take()) });
    }
}

impl<T, P: Heap> Drop for Shared<T, P> {
    fn drop(&mut self) {
        /// Drops what is left, also if one of the elements panics.
        struct Rest<'q, T, P: Heap>(consumer::Consumer<'q, P, T, Uncounted>);

        impl<T, P: Heap> Rest<'_, T, P> {
            fn drop_all(&mut self) {
                // SAFETY: as in a consumer's pop.
                while let Ok(element) = unsafe { self.0.pop_in_place(|node, site| node.read(site)) } {
                    drop(element);
                }
            }
        }

        impl<T, P: Heap> Drop for Rest<'_, T, P> {
            fn drop(&mut self) {
                self.drop_all();
            }
        }

        if core::mem::needs_drop::<T>() {
            // SAFETY: the consumer is gone, and left the stub in the head; all producers are gone too.
            Rest(unsafe { consumer::Consumer::resume(self.list(), self.stub(), None) }).drop_all();
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
        f.debug_struct("Consumer")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

/// Elements as they come; see [`Consumer::try_iter`].
#[derive(Debug)]
pub struct TryIter<'q, T, P: Heap>(&'q mut Consumer<T, P>);

impl<T, P: Heap> Iterator for TryIter<'_, T, P> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.0.pop()
    }
}
