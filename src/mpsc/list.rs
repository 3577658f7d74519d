//! The producers.

use super::{Head, Node, site};
use crate::count::{CountPolicy, Counted};
use crate::ordering::{Site, Write};
use crate::payload::Payload;
use crate::platform::{Link, Plain, Platform};
use crate::pool::Nodes;
use crate::status::{Corruption, PushError};

/// An initialised queue and its nodes: what a producer has of it. Any number of copies.
pub struct List<'a, P: Platform, T, C: CountPolicy = Counted> {
    pub(super) head: &'a Head<P, T, C>,
    pub(super) nodes: Nodes<'a, P, Node<P, T>>,
}

impl<P: Platform, T, C: CountPolicy> Clone for List<'_, P, T, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform, T, C: CountPolicy> Copy for List<'_, P, T, C> {}

impl<'a, P: Platform, T, C: CountPolicy> List<'a, P, T, C> {
    /// A queue and its nodes, whose elements another process, or this one elsewhere, knows by another type. The queue
    /// must have been initialised: see [`check_head`](Self::check_head).
    ///
    /// # Safety
    ///
    /// Heads, pools and nodes of both types have the same layout: platforms of the same words, and elements of as many
    /// bytes as the stride says, for which any bytes are valid that are in the queue.
    pub(crate) unsafe fn cast_from<Q: Platform, U, D: CountPolicy>(
        head: &'a Head<Q, U, D>,
        nodes: Nodes<'a, Q, Node<Q, U>>,
        stride: P::Stride,
    ) -> Self {
        // SAFETY: the caller's promise.
        let head = unsafe { &*(&raw const *head).cast::<Head<P, T, C>>() };
        // SAFETY: as above.
        List { head, nodes: unsafe { nodes.cast(stride) } }
    }

    /// Whether the queue was initialised, and its head is a node.
    pub(crate) fn check_head(&self) -> Result<(), Corruption> {
        match self.head.head.load(&site::INSPECT_HEAD) {
            last if last.is_null() => Err(Corruption::NotInitialised),
            last if !self.nodes.owns(last) => Err(Corruption::Link(last.addr() as u64)),
            _ => Ok(()),
        }
    }

    /// The nodes of the queue.
    #[inline]
    pub fn nodes(&self) -> Nodes<'a, P, Node<P, T>> {
        self.nodes
    }

    /// The seeds' counter; see [`Head::count`].
    #[inline]
    pub fn count(&self) -> u64 {
        self.head.count()
    }

    /// Enqueues what `write` writes. It is called once the node is there: if this succeeds, or fails with
    /// [`PushError::Corrupt`] after the node was swapped in, and never otherwise.
    ///
    /// After the allocation a push is wait-free: it never tries again.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    ///
    /// # Panics
    ///
    /// If `write` does. The node is lost then.
    ///
    /// # Safety
    ///
    /// When `write` returns, a `T` is there.
    #[inline(always)]
    pub unsafe fn push_in_place(
        &self,
        write: impl FnOnce(&P::Plain<T>, &'static Site<Write>),
    ) -> Result<(), PushError> {
        let node = self.nodes.alloc()?;
        // SAFETY: the node is ours from `alloc` on.
        unsafe {
            (*node).next.init(core::ptr::null_mut(), &site::PUSH_INIT);
            write(&(*node).data, &site::PUSH_DATA);
        }
        // SAFETY: the node is ours and leads nowhere.
        unsafe { self.append(node, node, 1) }
    }

    /// Enqueues up to `most` elements, each of which `write` writes, in the order of its calls: as many as the
    /// pool has free nodes. Returns how many. Nothing comes between the elements of one batch, and nothing
    /// changes their order.
    ///
    /// The nodes are linked to each other before anybody else can see them: however long the batch is, it
    /// costs one swap and one link, and a compare-exchange on the pool for each block.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), if there is not one node.
    ///
    /// # Panics
    ///
    /// If `write` does. The nodes of the batch are lost then.
    ///
    /// # Safety
    ///
    /// Each time when `write` returns, a `T` is there.
    #[inline]
    pub unsafe fn push_many_in_place(
        &self,
        most: usize,
        mut write: impl FnMut(&P::Plain<T>, &'static Site<Write>),
    ) -> Result<usize, PushError> {
        if most == 0 {
            return Ok(0);
        }
        let run = self.nodes.alloc_run(most as u64)?;
        // SAFETY: the run is of this pool.
        let mut nodes = unsafe { self.nodes.nodes_of_run(&run) };
        // A run has a first node.
        let Some(first) = nodes.next() else { return Ok(0) };
        // SAFETY: the nodes of a run are ours from `alloc_run` on.
        unsafe { write(&(*first).data, &site::PUSH_DATA) };
        let (mut last, mut length) = (first, 1);
        while length < most as u64 {
            let Some(node) = nodes.next() else {
                let Ok(more) = self.nodes.alloc_run(most as u64 - length) else { break };
                // SAFETY: as above.
                nodes = unsafe { self.nodes.nodes_of_run(&more) };
                continue;
            };
            // SAFETY: as above.
            unsafe {
                write(&(*node).data, &site::PUSH_DATA);
                (*last).next.init(node, &site::PUSH_INIT);
            }
            last = node;
            length += 1;
        }
        // SAFETY: as above.
        unsafe { (*last).next.init(core::ptr::null_mut(), &site::PUSH_INIT) };
        // SAFETY: the list is ours and its last node leads nowhere.
        unsafe { self.append(first, last, length) }?;
        Ok(length as usize)
    }

    /// Puts a list of so many nodes behind the head.
    ///
    /// # Safety
    ///
    /// The nodes are the caller's alone, and the last one leads nowhere.
    #[inline(always)]
    unsafe fn append(
        &self,
        first: *mut Node<P, T>,
        last: *mut Node<P, T>,
        elements: u64,
    ) -> Result<(), PushError> {
        // The serialization point: the order of the swaps is the order of the queue.
        let previous = self.head.head.swap(last, &site::PUSH_SWAP);
        if !P::IS_CONFINED && !self.nodes.owns(previous) {
            return Err(PushError::Corrupt);
        }
        // SAFETY: the node is the pool's, or some address in memory that none leads out of. It was the head until our swap,
        // so it is the stub or was pushed and is not linked, unless somebody has written over the head.
        // The consumer frees neither before its link is set, and only we, who swapped it out, will set it.
        unsafe { &*self.nodes.own(previous) }.next.store(first, &site::PUSH_LINK);
        C::increment(&self.head.count, elements, &site::PUSH_COUNT);
        Ok(())
    }
}

impl<P: Platform, T: Payload, C: CountPolicy> List<'_, P, T, C> {
    /// Enqueues `value`.
    ///
    /// After the allocation a push is wait-free: it never tries again.
    ///
    /// # Errors
    ///
    /// [`PushError::Exhausted`] if no node is free, [`PushError::Contended`] if the allocation spent its
    /// retry budget: nothing has changed then. [`PushError::Corrupt`] if the pool or the head is damaged; if it is
    /// the head, what is pushed from now on is lost.
    #[inline(always)]
    pub fn push(&self, value: T) -> Result<(), PushError> {
        // SAFETY: a `T` is written. The node is the caller's alone until it is swapped in, so nothing else
        // accesses its memory.
        unsafe { self.push_in_place(|place, site| place.write(value, site)) }
    }

    /// Enqueues `values` from the first on, as many as the pool has free nodes; see
    /// [`push_many_in_place`](Self::push_many_in_place). Returns how many; the others are still the caller's.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), if there is not one node.
    #[inline]
    pub fn push_many(&self, values: &[T]) -> Result<usize, PushError> {
        let mut rest = values.iter();
        // SAFETY: there are as many values as calls, so each writes a `T`, into a node that is the caller's
        // alone.
        unsafe {
            self.push_many_in_place(values.len(), |place, site| {
                if let Some(value) = rest.next() {
                    place.write(*value, site);
                }
            })
        }
    }
}

impl<P: Platform, T, C: CountPolicy> core::fmt::Debug for List<'_, P, T, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("mpsc::List").field("count", &self.count()).field("nodes", &self.nodes).finish()
    }
}
