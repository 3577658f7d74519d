//! The consumer.

use core::marker::PhantomData;

use super::{List, Node, site};
use crate::count::{CountPolicy, Counted};
use crate::ordering::{Read, Site};
use crate::payload::Payload;
use crate::platform::{Link, Plain, Platform};
use crate::pool::Chain;
use crate::status::{Corruption, PopError};

/// A node of the pool, and its number there.
pub(super) struct Numbered<N> {
    pub(super) node: *mut N,
    pub(super) number: u64,
}

impl<N> Clone for Numbered<N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<N> Copy for Numbered<N> {}

/// The consuming end of a queue. It is neither `Clone` nor `Sync`: that there is one consumer is a matter of
/// types.
pub struct Consumer<'a, P: Platform, T, C: CountPolicy = Counted> {
    pub(super) list: List<'a, P, T, C>,
    /// The stub: the tail in the shared head is for whoever comes after this consumer.
    pub(super) stub: Numbered<Node<P, T>>,
    /// Blocks that the pool did not take back because others were faster; given back with the next one.
    unreturned: Option<Chain>,
    /// Not `Sync`.
    one_thread: PhantomData<core::cell::Cell<()>>,
}

// SAFETY: the list is `Send`, and the stub is one of its nodes, which are not tied to a thread.
unsafe impl<P: Platform, T: Send, C: CountPolicy> Send for Consumer<'_, P, T, C> {}

impl<'a, P: Platform, T, C: CountPolicy> Consumer<'a, P, T, C> {
    /// The consumer of a queue.
    ///
    /// # Errors
    ///
    /// [`Corruption::NotInitialised`] if there is no stub, [`Corruption::Link`] if it is not one of the
    /// pool's nodes.
    ///
    /// # Safety
    ///
    /// The queue has no other consumer as long as this one lives, in any process.
    pub unsafe fn new(list: List<'a, P, T, C>) -> Result<Self, Corruption> {
        // SAFETY: we are the consumer.
        let node = unsafe { list.tail() }?;
        let number = list.nodes.number(node).ok_or(Corruption::Link(node.addr() as u64))?;
        let stub = Numbered { node: list.nodes.own(node), number };
        Ok(Consumer { list, stub, unreturned: None, one_thread: PhantomData })
    }

    /// The consumer again that was suspended.
    ///
    /// # Safety
    ///
    /// As [`new`](Self::new); stub and chain are what [`suspend`](Self::suspend) has returned the last time, or the stub
    /// with which the queue was initialised.
    #[inline(always)]
    pub(super) unsafe fn resume(
        list: List<'a, P, T, C>,
        stub: Numbered<Node<P, T>>,
        unreturned: Option<Chain>,
    ) -> Self {
        Consumer { list, stub, unreturned, one_thread: PhantomData }
    }

    /// What is the consumer's own, for [`resume`](Self::resume).
    #[inline(always)]
    pub(super) fn suspend(mut self) -> (Numbered<Node<P, T>>, Option<Chain>) {
        (self.stub, self.unreturned.take())
    }

    /// The queue, as its producers have it.
    #[inline]
    pub fn list(&self) -> List<'a, P, T, C> {
        self.list
    }

    /// Dequeues the oldest element, which `read` takes out of its node. If it returns, the element is gone from
    /// there.
    ///
    /// If the stub is linked, this does not read the producers' head: as long as elements are there, the
    /// consumer and the producers share only the nodes.
    ///
    /// # Errors
    ///
    /// As [`pop`](Self::pop).
    ///
    /// # Panics
    ///
    /// If `read` does. The element stays in the queue then.
    ///
    /// # Safety
    ///
    /// In memory that others write to, any bits are a `T`. If `read` panics, the element is there still.
    #[inline(always)]
    pub unsafe fn pop_in_place<R>(
        &mut self,
        read: impl FnOnce(&P::Plain<T>, &'static Site<Read>) -> R,
    ) -> Result<R, PopError> {
        let stub = self.stub;
        let next = self.follow(stub.node)?.ok_or_else(|| self.why_nothing_follows(stub.node))?;
        // SAFETY: the node is the pool's; its data was written before the link that we have acquired, and a
        // linked node is only read.
        let result = read(unsafe { &(*next.node).data }, &site::POP_DATA);
        self.advance(next, 1);
        Ok(result)
    }

    /// Dequeues up to `limit` of the oldest elements, each of which `read` takes out of its node; see
    /// [`drain`](Self::drain).
    ///
    /// # Errors
    ///
    /// As [`pop`](Self::pop), if there is not one element.
    ///
    /// # Panics
    ///
    /// If `read` does. All elements of the batch stay in the queue then, also those that were read.
    ///
    /// # Safety
    ///
    /// In memory that others write to, any bits are a `T`. If `read` panics, all elements of the batch are there
    /// still.
    #[inline]
    pub unsafe fn drain_in_place(
        &mut self,
        limit: u64,
        mut read: impl FnMut(&P::Plain<T>, &'static Site<Read>),
    ) -> Result<u64, PopError> {
        let mut stub = self.stub;
        let mut drained = 0;
        // No list has more nodes than the pool. One that has is a circle.
        for _ in P::steps(limit.min(self.list.nodes.limit())) {
            let next = match self.follow(stub.node) {
                Ok(Some(next)) => next,
                Ok(None) if drained == 0 => return Err(self.why_nothing_follows(stub.node)),
                Err(error) if drained == 0 => return Err(error),
                // What stopped us is there for the next batch.
                Ok(None) | Err(_) => break,
            };
            // SAFETY: as in a pop.
            read(unsafe { &(*next.node).data }, &site::POP_DATA);
            stub = next;
            drained += 1;
        }
        if drained > 0 {
            self.advance(stub, drained);
        }
        Ok(drained)
    }

    /// The node after `stub`, if `stub` is linked.
    #[inline(always)]
    fn follow(&self, stub: *mut Node<P, T>) -> Result<Option<Numbered<Node<P, T>>>, PopError> {
        // SAFETY: a stub is a node of the pool: that was checked in `new`, or here when it was the next one.
        let node = unsafe { &*stub }.next.load(&site::POP_NEXT);
        if node.is_null() {
            return Ok(None);
        }
        let number = self.list.nodes.number(node).ok_or(PopError::Corrupt)?;
        Ok(Some(Numbered { node: self.list.nodes.own(node), number }))
    }

    /// Why the stub leads nowhere.
    #[inline(always)]
    fn why_nothing_follows(&self, stub: *mut Node<P, T>) -> PopError {
        let is_last = self.list.head.head.load(&site::POP_HEAD) == stub;
        if is_last { PopError::Empty } else { PopError::Busy }
    }

    /// Makes the last node whose element was handed over the stub, and gives those before it back, from the
    /// old stub on. Their nexts are set, so no producer has a use for them.
    #[inline(always)]
    fn advance(&mut self, stub: Numbered<Node<P, T>>, elements: u64) {
        // SAFETY: we are the consumer.
        unsafe { self.list.head.tail.write(stub.node, &site::POP_ADVANCE) };
        let spent = core::mem::replace(&mut self.stub, stub);
        self.give_back(spent, elements);
        C::decrement(&self.list.head.count, elements, &site::POP_COUNT);
    }

    /// Gives so many nodes back, from this one on, in the order of the list.
    #[inline(always)]
    fn give_back(&mut self, Numbered { mut node, number }: Numbered<Node<P, T>>, count: u64) {
        let nodes = self.list.nodes;
        let mut chain = self.unreturned.take();
        let (mut block, mut run) = (nodes.blocks.of(number), 1);
        for _ in P::steps(count - 1) {
            // SAFETY: the node was the stub, or its element was handed over: it is linked, and nobody's but
            // ours before it is given back. That it is the pool's was checked, here or when it was the stub.
            node = unsafe { &*node }.next.load(&site::DRAIN_NEXT);
            // It is the one that was followed the first time, unless somebody has written over the link.
            let Some(number) = nodes.number(node) else { break };
            node = nodes.own(node);
            if nodes.blocks.of(number) == block {
                run += 1;
            } else {
                // SAFETY: the nodes and the chain are the pool's, and ours.
                chain = unsafe { nodes.spend(block, run, chain) };
                (block, run) = (nodes.blocks.of(number), 1);
            }
        }
        // SAFETY: as above.
        chain = unsafe { nodes.spend(block, run, chain) };
        // SAFETY: as above.
        self.unreturned = chain.and_then(|chain| unsafe { nodes.free_chain(chain) }.err());
    }

    /// Gives back what the pool has not taken yet.
    pub(super) fn return_unreturned(&mut self) {
        if let Some(chain) = self.unreturned.take() {
            // SAFETY: the chain is the pool's.
            unsafe { self.list.nodes.free_chain_at_last(chain) };
        }
    }

    /// Whether the stub is the last node: no element is there, and no producer has begun to link one. It is what
    /// [`PopError::Empty`] says, without a pop.
    #[inline]
    pub fn is_drained(&self) -> bool {
        self.list.head.head.load(&site::POP_HEAD) == self.stub.node
    }
}

impl<P: Platform, T: Payload, C: CountPolicy> Consumer<'_, P, T, C> {
    /// Dequeues the oldest element.
    ///
    /// If the stub is linked, this does not read the producers' head: as long as elements are there, the
    /// consumer and the producers share only the nodes.
    ///
    /// # Errors
    ///
    /// [`PopError::Empty`] if the stub is the head, [`PopError::Busy`] if it is not and a producer has still
    /// to link it, [`PopError::Corrupt`] if it is linked to something that is no node of the pool.
    // Always: a call in between would copy the element once more.
    #[inline(always)]
    pub fn pop(&mut self) -> Result<T, PopError> {
        self.pop_with(|value| value)
    }

    /// [`pop`](Self::pop) by a consumer that may be killed: the element leaves the queue after `hand_over` has
    /// returned. See [`recovery`](crate::recovery).
    ///
    /// # Errors
    ///
    /// As [`pop`](Self::pop).
    ///
    /// # Panics
    ///
    /// If `hand_over` does. The element stays in the queue then.
    #[inline(always)]
    pub fn pop_with<R>(&mut self, hand_over: impl FnOnce(T) -> R) -> Result<R, PopError> {
        // SAFETY: a payload is any bits, and is copied out. It was written before the link that leads to it, and
        // a linked node is only read.
        unsafe { self.pop_in_place(|place, site| hand_over(place.read(site))) }
    }

    /// Dequeues up to `limit` of the oldest elements, and hands them over in their order. Returns how many
    /// there were: fewer if the list ended before, or if a producer has still to link its node, and at least
    /// one, unless the limit is 0; and never more than the pool has nodes.
    ///
    /// What each element costs is a link to follow: the tail is written once for all of them, the counter
    /// is decremented once, and their nodes go back to the pool at the end, those of a block at once. They are
    /// not free before that: a batch ends for want of nodes if not before, and producers find the pool
    /// [exhausted] sooner than if the elements were popped one by one.
    ///
    /// [exhausted]: crate::PushError::Exhausted
    ///
    /// A consumer that is killed in a batch leaves all of its elements in the queue; see
    /// [`recovery`](crate::recovery).
    ///
    /// # Errors
    ///
    /// As [`pop`](Self::pop), if there is not one element.
    ///
    /// # Panics
    ///
    /// If `hand_over` does. All elements of the batch stay in the queue then, also those that were handed
    /// over: the next pop begins with the first of them.
    #[inline]
    pub fn drain(&mut self, limit: u64, mut hand_over: impl FnMut(T)) -> Result<u64, PopError> {
        // SAFETY: as in a pop.
        unsafe { self.drain_in_place(limit, |place, site| hand_over(place.read(site))) }
    }
}

impl<P: Platform, T, C: CountPolicy> Drop for Consumer<'_, P, T, C> {
    fn drop(&mut self) {
        self.return_unreturned();
    }
}

impl<P: Platform, T, C: CountPolicy> core::fmt::Debug for Consumer<'_, P, T, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("mpsc::Consumer").field("list", &self.list).finish_non_exhaustive()
    }
}
