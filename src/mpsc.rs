//! The unbounded queue: many producers, one consumer, a list of nodes.
//!
//! Dmitry Vyukov, [Intrusive MPSC node-based
//! queue](https://www.1024cores.net/home/lock-free-algorithms/queues/intrusive-mpsc-node-based-queue); the
//! seeds' `ds_mpsc`.
//!
//! # How it works
//!
//! The list always has at least one node, the *stub*, whose payload is spent. `tail` points to it, `head` to
//! the last node. A producer makes a node, *swaps* it into `head`, and *links* the node that was there to its
//! own. The consumer follows the link of the stub; the node that it finds gives up its payload and is the
//! next stub.
//!
//! ```text
//! tail           head             tail                        head
//!  |              |                |                           |
//!  v              v                v                           v
//! stub --> a --> b --> null       stub --> a --> b --> null   c --> null
//! ```
//!
//! On the right a producer has swapped `c` in and not linked it yet. A push is two steps, and between them
//! the list is in two pieces. Nothing is broken: the consumer takes `a` and `b`, then finds that its stub has
//! no next node although it is not the head, and says [`PopError::Busy`](crate::PopError::Busy). When the
//! producer goes on, the pieces join. If it never does, everything behind stays there: a stalled producer
//! blocks the consumer, and never another producer.
//!
//! # Who owns a node
//!
//! From [`Nodes::alloc`] to the swap, the producer. From the link to the pop, the queue: a node that is linked
//! is only read. The node that the consumer moves off was the stub; its next is set, so no producer will ever
//! look at it again, and it goes back to the pool. The one node that several may reach is the head: the
//! producer that swaps it out is the only one that links it, and the consumer does not free it before it is
//! linked.
//!
//! # Whom it trusts
//!
//! Nobody. The consumer knows its stub by itself; the tail in the head is written for whoever comes after it,
//! and read once. Every link, and the head that a producer has swapped out, is checked to be one of the pool's
//! nodes before it is followed or written through, and no walk is longer than there are nodes. So whatever
//! somebody writes over the list, an operation returns an error, or a wrong element.

mod consumer;
mod inspection;
mod list;
pub mod queue;
mod repair;
pub mod site;

use core::marker::PhantomData;

use crate::count::{CountPolicy, Counted};
use crate::drops::Drops;
use crate::eventcount::EventCount;
use crate::layout::CacheLine;
use crate::payload::Payload;
use crate::platform::{Link, Plain, Platform, Word};
use crate::pool::{Nodes, Pool};
use crate::status::{Corruption, PushError};

pub use self::consumer::Consumer;
pub use self::list::List;
pub use self::queue::{queue, queue_on};

/// One node of the list.
///
/// Layout for [`KeyValue`](crate::KeyValue): `next` 0, `key` 8, `value` 16; 24 bytes.
#[repr(C)]
#[derive(Debug)]
pub struct Node<P: Platform, T> {
    pub(crate) next: P::Link<Node<P, T>>,
    pub(crate) data: P::Plain<T>,
}

impl<P: Platform, T> Node<P, T> {
    /// A node that belongs to no queue yet, and holds nothing.
    pub fn unused() -> Self {
        Node { next: P::Link::new(core::ptr::null_mut()), data: P::Plain::uninit() }
    }
}

impl<P: Platform, T: Payload> Node<P, T> {
    /// A node that belongs to no queue yet, all zero.
    pub fn empty() -> Self {
        Node { next: P::Link::new(core::ptr::null_mut()), data: P::Plain::new(T::zeroed()) }
    }
}

// SAFETY: a node is an element and a pointer that is followed only as the queue allows; the pointer is not tied
// to a thread.
unsafe impl<P: Platform, T: Send> Send for Node<P, T> {}

/// The shared control block of a queue. Producers use it through a [`List`], the consumer through its
/// [`Consumer`].
///
/// Layout: `head` 0, `tail` 8, `count` 16; 24 bytes. All zero is a queue that was never initialised.
#[repr(C)]
pub struct Head<P: Platform, T, C: CountPolicy = Counted> {
    /// The back of the queue, where producers add.
    pub(crate) head: P::Link<Node<P, T>>,
    /// The front of the queue, the stub. The consumer's alone: it writes it for whoever comes after it.
    pub(crate) tail: P::Plain<*mut Node<P, T>>,
    pub(crate) count: P::Word,
    policy: PhantomData<C>,
}

// SAFETY: producers touch only the atomic head and counter. The tail is touched only through a `Consumer`, of
// which there is one (`Consumer::new`). Nodes pass from the producer to the consumer by a release and an
// acquire (PUSH_LINK, POP_NEXT).
unsafe impl<P: Platform, T: Send, C: CountPolicy> Sync for Head<P, T, C> {}
// SAFETY: as above; the raw pointers are not tied to a thread.
unsafe impl<P: Platform, T: Send, C: CountPolicy> Send for Head<P, T, C> {}

/// What is shared of a queue but for its nodes: what a variable of a BPF program is made of, `struct arenaq_mpsc`.
///
/// Layout: `pool` 0x000, `head` 0x280, `drops` 0x2c0, `events` 0x300; 832 bytes. All zero is a queue that was never
/// initialised, and on which nobody sleeps.
#[repr(C)]
pub struct Control<P: Platform, T, C: CountPolicy> {
    /// The pool of the nodes.
    pub pool: Pool<P, Node<P, T>>,
    /// The head.
    pub head: CacheLine<Head<P, T, C>>,
    /// What was dropped.
    pub drops: Drops<P>,
    /// What its consumer sleeps on.
    pub events: EventCount<P>,
}

impl<P: Platform, T, C: CountPolicy> core::fmt::Debug for Control<P, T, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Control")
            .field("head", &self.head)
            .field("drops", &self.drops)
            .finish_non_exhaustive()
    }
}

impl<P: Platform, T, C: CountPolicy> Head<P, T, C> {
    /// A head without a stub, as zeroed memory is one.
    pub fn empty() -> Self {
        Head {
            head: P::Link::new(core::ptr::null_mut()),
            tail: P::Plain::new(core::ptr::null_mut()),
            count: P::Word::new(0),
            policy: PhantomData,
        }
    }

    /// Makes an empty queue whose stub is one of `nodes`. What the stub holds, if anything, stays there: nobody
    /// ever reads it.
    ///
    /// # Errors
    ///
    /// Those of [`Nodes::alloc`]: the queue is not initialised then.
    ///
    /// # Safety
    ///
    /// Nobody uses the queue before this function has returned.
    #[inline]
    pub unsafe fn init(&self, nodes: Nodes<'_, P, Node<P, T>>) -> Result<(), PushError> {
        let stub = nodes.alloc()?;
        // SAFETY: the stub is ours from `alloc` on, and nobody uses the queue before we return.
        unsafe {
            (*stub).next.init(core::ptr::null_mut(), &site::INIT);
            self.head.init(stub, &site::INIT);
            self.tail.write(stub, &site::INIT);
            self.count.init(0, &site::INIT);
        }
        Ok(())
    }

    /// The list with these nodes, those with one of which it was initialised. `None` if it never was.
    ///
    /// The head is looked at before anything is changed: a swap into a queue that was never initialised could not
    /// be undone, for the next producer may have swapped the node out.
    #[inline(always)]
    pub fn list<'a>(&'a self, nodes: Nodes<'a, P, Node<P, T>>) -> Option<List<'a, P, T, C>> {
        if self.head.load(&site::PUSH_HEAD).is_null() { None } else { Some(List { head: self, nodes }) }
    }

    /// The consumer of the queue with these nodes. It looks at the tail only: the producers' head is no concern of
    /// a consumer that finds elements.
    ///
    /// # Errors
    ///
    /// As [`Consumer::new`].
    ///
    /// # Safety
    ///
    /// As [`Consumer::new`].
    pub unsafe fn consumer<'a>(
        &'a self,
        nodes: Nodes<'a, P, Node<P, T>>,
    ) -> Result<Consumer<'a, P, T, C>, Corruption> {
        // SAFETY: passed on to the caller. A queue that was never initialised has no tail either.
        unsafe { Consumer::new(List { head: self, nodes }) }
    }

    /// The seeds' counter, approximate while operations run. Always 0 under
    /// [`Uncounted`](crate::count::Uncounted).
    #[inline]
    pub fn count(&self) -> u64 {
        crate::count::clamp(self.count.load(&site::INSPECT_COUNT))
    }
}

impl<P: Platform, T, C: CountPolicy> core::fmt::Debug for Head<P, T, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("mpsc::Head").field("count", &self.count()).finish_non_exhaustive()
    }
}

crate::layout::layouts! {
    "ds_mpsc_node", Node<crate::platform::Native, crate::KeyValue>, { "next": next, "key": data }
    "ds_mpsc_head", Head<crate::platform::Native, crate::KeyValue>, { "head": head, "tail": tail, "count": count }
    "arenaq_mpsc", Control<crate::platform::Native, crate::KeyValue, Counted>, {
        "pool": pool,
        "head": head,
        "drops": drops,
        "events": events,
    }
}
