//! What a consumer that died has left of a queue, put right.

use core::ops::Range;

use super::{Consumer, List, site};
use crate::count::CountPolicy;
use crate::payload::Payload;
use crate::platform::{Link, Plain, Platform};
use crate::pool::Repaired;
use crate::recovery::correct;
use crate::status::Corruption;

impl<P: Platform, T: Payload, C: CountPolicy> Consumer<'_, P, T, C> {
    /// Gives the nodes back that are neither in the queue nor free, and sets the counter to the length.
    /// Returns how many nodes there were: at most those of one pop, or of one batch, for each consumer that
    /// died, and those that somebody claimed who died before they were made ([`Nodes::reserve`](crate::pool::Nodes::reserve)).
    ///
    /// Each node is written before it is given back. Who has mapped an arena faults its page in so; programs in
    /// the kernel, which take the node next, cannot. If the kernel has no page, that is a signal
    /// (`SIGSEGV`): [`repair_with`](Self::repair_with) asks before it writes.
    ///
    /// # Errors
    ///
    /// [`Corruption`] if the queue or the pool is damaged, [`Corruption::Unlinked`] if a producer is, or died,
    /// between swap and link. Nothing is changed then.
    ///
    /// # Safety
    ///
    /// No producer runs, and nobody else uses the pool: no other queue takes its nodes from it.
    pub unsafe fn repair(&mut self) -> Result<u64, Corruption> {
        // SAFETY: passed on to the caller.
        unsafe { self.repair_with(|_| true) }.map(|repaired| repaired.returned)
    }

    /// [`repair`](Self::repair) that asks for memory before it touches what nobody may have touched before.
    ///
    /// `populate` sees to it that there is memory at these addresses, and that it can be written, or says
    /// `false`. On Linux that is `madvise(MADV_POPULATE_WRITE)`. What lies there keeps its contents. Nodes
    /// whose memory cannot be had stay out of the pool.
    ///
    /// # Errors
    ///
    /// As [`repair`](Self::repair).
    ///
    /// # Panics
    ///
    /// If `populate` does. What a repair leaves that dies is put right by the next one.
    ///
    /// # Safety
    ///
    /// As [`repair`](Self::repair).
    pub unsafe fn repair_with(
        &mut self,
        mut populate: impl FnMut(Range<usize>) -> bool,
    ) -> Result<Repaired, Corruption> {
        let List { head, nodes } = self.list;
        let (last, length) = self.list.verify_from(self.stub.node)?;
        if last != head.head.load(&site::INSPECT_HEAD) {
            return Err(Corruption::Unlinked(last.addr() as u64));
        }
        nodes.listed_nodes()?;
        self.return_unreturned();

        nodes.mark_free(&mut populate);
        let mut node = self.stub.node;
        for _ in P::steps(length + 1) {
            // `verify` has found this node in the list, but somebody may have written over it since.
            let number = nodes.number(node).ok_or(Corruption::Link(node.addr() as u64))?;
            nodes.hold(number);
            // SAFETY: the node is the pool's.
            node = unsafe { &*nodes.own(node) }.next.load(&site::SEARCH_NEXT);
        }
        let repaired = nodes.sweep(&mut populate, |node| {
            // SAFETY: the node lies in the room of the pool, its memory is there, and nobody has it: it is in
            // no list and in no magazine, and no producer runs.
            unsafe {
                (*node).next.init(core::ptr::null_mut(), &site::REPAIR_NODE);
                (*node).data.write(T::zeroed(), &site::REPAIR_NODE);
            }
        });
        correct::<C>(&head.count, length);
        Ok(repaired)
    }
}
