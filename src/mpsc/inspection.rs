//! What an observer sees of a queue: the consumer, or whoever knows that it rests.

use core::convert::Infallible;

use super::{Consumer, List, Node, site};
use crate::count::CountPolicy;
use crate::payload::Payload;
use crate::platform::{Link, Plain, Platform, Word};
use crate::status::Corruption;

impl<P: Platform, T, C: CountPolicy> List<'_, P, T, C> {
    /// The stub, as the shared head says: whether it is one has still to be checked.
    ///
    /// # Errors
    ///
    /// [`Corruption::NotInitialised`] if there is none.
    ///
    /// # Safety
    ///
    /// The caller is the consumer, or knows that it rests.
    #[inline(always)]
    pub(super) unsafe fn tail(&self) -> Result<*mut Node<P, T>, Corruption> {
        // SAFETY: only the consumer writes the tail.
        let tail = unsafe { self.head.tail.read(&site::POP_TAIL) };
        if tail.is_null() { Err(Corruption::NotInitialised) } else { Ok(tail) }
    }

    /// [`Consumer::verify`] without a consumer. Returns the last node that can be reached and the number of those
    /// behind the stub.
    ///
    /// # Errors
    ///
    /// What is wrong.
    ///
    /// # Safety
    ///
    /// The consumer rests as long as this runs.
    #[inline]
    pub unsafe fn verify(&self) -> Result<(*mut Node<P, T>, u64), Corruption> {
        // SAFETY: passed on to the caller.
        let stub = unsafe { self.tail() }?;
        self.verify_from(stub)
    }

    /// [`verify`](Self::verify) from what may be the stub.
    #[inline(always)]
    pub(super) fn verify_from(&self, stub: *mut Node<P, T>) -> Result<(*mut Node<P, T>, u64), Corruption> {
        let last = self.head.head.load(&site::INSPECT_HEAD);
        if last.is_null() {
            return Err(Corruption::NotInitialised);
        }
        if !self.nodes.owns(last) {
            return Err(Corruption::Link(last.addr() as u64));
        }
        match self.walk(stub, |_| None::<Infallible>)? {
            End::Reached(last, length) => Ok((last, length)),
        }
    }

    /// Follows the list and shows the nodes behind the stub to `found` until it finds something.
    #[inline(always)]
    fn walk<R>(
        &self,
        stub: *mut Node<P, T>,
        mut found: impl FnMut(&Node<P, T>) -> Option<R>,
    ) -> Result<End<Node<P, T>, R>, Corruption> {
        let nodes = self.nodes.limit();
        let mut node = stub;
        // Not `length > 0`: a kernel that has compared the counter knows what it is from then on, and walks every pass.
        let mut is_stub = true;
        let mut done = 0;
        for length in P::steps(nodes) {
            if !self.nodes.owns(node) {
                return Err(Corruption::Link(node.addr() as u64));
            }
            // SAFETY: the node is the pool's, and linked: the consumer rests, so it is not freed.
            let current = unsafe { &*self.nodes.own(node) };
            // The elements begin behind the stub.
            if !is_stub {
                if let Some(found) = found(current) {
                    return Ok(End::Found(found));
                }
            }
            is_stub = false;
            let next = current.next.load(&site::SEARCH_NEXT);
            if next.is_null() {
                return Ok(End::Reached(node, length));
            }
            node = next;
            done = length + 1;
        }
        Err(if done == nodes { Corruption::Cycle(nodes) } else { Corruption::Unfinished })
    }
}

/// How a walk along the list has ended.
enum End<N, R> {
    /// Something was found.
    Found(R),
    /// The last node that can be reached, and how many are behind the stub.
    Reached(*mut N, u64),
}

impl<P: Platform, T: Payload, C: CountPolicy> List<'_, P, T, C> {
    /// [`Consumer::search`] without a consumer.
    ///
    /// # Errors
    ///
    /// [`Corruption`] if there is no list, or it leads out of the pool or in a circle before an element was found;
    /// [`Corruption::Unfinished`] if the platform ended the loop before.
    ///
    /// # Safety
    ///
    /// The consumer rests as long as this runs.
    #[inline]
    pub unsafe fn search(&self, found: impl FnMut(&T) -> bool) -> Result<Option<T>, Corruption> {
        // SAFETY: passed on to the caller.
        let stub = unsafe { self.tail() }?;
        self.search_from(stub, found)
    }

    /// [`search`](Self::search) from what may be the stub.
    #[inline(always)]
    fn search_from(
        &self,
        stub: *mut Node<P, T>,
        mut found: impl FnMut(&T) -> bool,
    ) -> Result<Option<T>, Corruption> {
        let end = self.walk(stub, |node| {
            // SAFETY: the data was written before the link through which we came, and a linked node is only
            // read; and a payload is any bits.
            let value = unsafe { node.data.read(&site::SEARCH_DATA) };
            found(&value).then_some(value)
        })?;
        Ok(match end {
            End::Found(value) => Some(value),
            End::Reached(..) => None,
        })
    }
}

impl<P: Platform, T, C: CountPolicy> Consumer<'_, P, T, C> {
    /// The number of elements that are linked, by counting them.
    #[inline]
    pub fn len(&self) -> u64 {
        self.len_up_to(u64::MAX)
    }

    /// [`len`](Self::len), or `limit` if there are more: it counts no further.
    #[inline]
    pub fn len_up_to(&self, limit: u64) -> u64 {
        if limit == 0 {
            return 0;
        }
        let mut length = 0;
        // Elements behind a damaged link are not seen, so it does not matter how the walk has ended.
        let _ = self.list.walk(self.stub.node, |_| {
            length += 1;
            (length == limit).then_some(())
        });
        length
    }

    /// Whether no element is linked.
    #[inline]
    pub fn is_empty(&self) -> bool {
        // SAFETY: the stub is a node of the pool.
        unsafe { &*self.stub.node }.next.load(&site::SEARCH_NEXT).is_null()
    }

    /// Checks the list while producers go on: every link leads to a node of the pool, and it ends.
    ///
    /// # Errors
    ///
    /// What is wrong.
    #[inline]
    pub fn verify(&self) -> Result<(), Corruption> {
        self.list.verify_from(self.stub.node).map(|_| ())
    }

    /// Checks a queue on which no operation runs: the list ends at the head, and the counter is its length. A
    /// producer that is, or died, between swap and link is reported.
    ///
    /// # Errors
    ///
    /// What is wrong.
    #[inline]
    pub fn verify_quiesced(&self) -> Result<(), Corruption> {
        let (last, length) = self.list.verify_from(self.stub.node)?;
        if last != self.list.head.head.load(&site::INSPECT_HEAD) {
            return Err(Corruption::Unlinked(last.addr() as u64));
        }
        let count = self.list.head.count.load(&site::INSPECT_COUNT) as i64;
        if C::COUNTED && count != length as i64 {
            return Err(Corruption::Count { count, length });
        }
        Ok(())
    }
}

impl<P: Platform, T: Payload, C: CountPolicy> Consumer<'_, P, T, C> {
    /// The first element, in queue order, for which `found` is true. It stays in the queue. Producers may go
    /// on; elements that are not linked yet, or behind a damaged link, are not seen.
    #[inline]
    pub fn search(&self, found: impl FnMut(&T) -> bool) -> Option<T> {
        self.list.search_from(self.stub.node, found).unwrap_or(None)
    }
}
