//! What a consumer that dies leaves behind, and how the next one puts it right.
//!
//! A process can be killed between any two instructions. What it leaves depends on where it was:
//!
//! | it died | MPSC | MPMC |
//! |---|---|---|
//! | before it claimed the element | nothing has happened: the next consumer pops the element | the same |
//! | before the element was handed over, or in the middle of that | the same: nothing says that it was taken | the cell stays claimed, and a producer that arrives there a lap later finds the queue full. [`mpmc::Head::reclaim`] hands the element over and frees the cell |
//! | after it was handed over, before the tail moved or the cell was free | the element is handed over a second time | the same |
//! | after that | the old stub may be lost to the pool, and the counter one too high: [`mpsc::Consumer::repair`] | the counter may be one too high: [`mpmc::Head::recount`] |
//!
//! So no element is lost, and one for each death may be seen twice, if it is handed over inside of
//! [`mpsc::Consumer::pop_with`] or [`mpmc::Head::pop_with`].
//!
//! A batch is popped in one step at its end: if the consumer dies in [`mpsc::Consumer::drain`], all elements that
//! the batch has handed over are handed over a second time, and if it dies after the tail moved, all nodes of
//! the batch may be lost to the pool, and the counter be too high by as many. In [`mpmc::Head::drain`] each cell is
//! freed by itself, so one element at most is seen twice; the reclaim hands over the rest of the batch.
//!
//! Who dies while the pool grows ([`Pool::reserve`]) leaves numbers of nodes that nobody has made. Their memory
//! may not be there yet, so [`mpsc::Consumer::repair`] writes every node that it gives back; if there may be no
//! memory for it, [`mpsc::Consumer::repair_with`] asks first.
//!
//! What `pop` has returned is gone from the queue: if
//! the consumer dies before it has done something with it, that element is lost.
//!
//! A *producer* that dies between swap and link, or between claim and publish, cannot be helped: its element
//! may be half written, and nobody knows whether it will go on. BPF programs do not die there.

use core::ops::Range;

use crate::count::CountPolicy;
use crate::payload::Payload;
use crate::platform::{Link, Plain, Platform, Word};
use crate::pool::{Chain, MARK, MAX_NODES, Pool, TAKEN};
use crate::status::Corruption;
use crate::{mpmc, mpsc};

/// The sites of the recovery.
pub mod site {
    use crate::ordering::Ordering::{Relaxed, Release};
    use crate::ordering::{Field, Site, sites};

    sites! {
        /// Whether a cell behind the dequeue position was never freed.
        RECLAIM_SEQUENCE: Load = Site::load(Relaxed, "mpmc.reclaim.load_sequence")
            .of(Field::Sequence)
            .why("the consumer that claimed the cell has acquired its data, and its death happens before the reclaim");
        /// The element of a consumer that died.
        RECLAIM_DATA: Read = Site::read("mpmc.reclaim.read_data")
            .of(Field::Data)
            .why("no consumer is alive, and no producer writes the cell before it is freed");
        /// The cell becomes the next lap's producer's.
        RECLAIM_FREE: Store = Site::store(Release, "mpmc.reclaim.free_cell")
            .of(Field::Sequence)
            .pairs_with(&["mpmc.push.load_sequence", "mpmc.push_many.load_sequence"])
            .why("the data is read before the producer that sees this sequence overwrites it");
        /// The counter of a resting queue becomes its length.
        RECOUNT: Add = Site::add(Relaxed, "recovery.recount.correct_count")
            .of(Field::Count)
            .why("the queue rests");
        /// The link of a node that is not lost is marked, and later is as before.
        MARK: Store = Site::store(Relaxed, "recovery.repair.store_mark")
            .of(Field::Link)
            .why("pool and queue rest");
        /// A node that is given back, so that its page is there.
        REPAIR_NODE: Write = Site::write("recovery.repair.write_node")
            .of(Field::Several)
            .why("no list leads to the node; who takes it from the pool acquires what the repair did");
    }
}

impl<P: Platform, T: Payload, C: CountPolicy> mpmc::Head<P, T, C> {
    /// Hands over the elements that consumers have claimed and never freed, the oldest first, and frees their
    /// cells. Returns how many there were: at most one, or one batch, for each consumer that died.
    ///
    /// # Errors
    ///
    /// [`Corruption`] if there is no ring.
    ///
    /// # Safety
    ///
    /// No consumer uses the queue from before this call to its end, and everything that the dead ones did
    /// happens before it. Producers may go on.
    pub unsafe fn reclaim(&self, mut hand_over: impl FnMut(T)) -> Result<u64, Corruption> {
        let (buffer, mask) = self.ring()?;
        let capacity = mask + 1;
        let dequeue = self.dequeue_pos.0.load(&mpmc::site::INSPECT_POSITION);
        let mut reclaimed = 0;
        for step in P::steps(capacity) {
            let position = dequeue.wrapping_sub(capacity).wrapping_add(step);
            // SAFETY: an initialised ring has `capacity` cells.
            let cell = unsafe { &*buffer.add((position & mask) as usize) };
            let published = position.wrapping_add(1);
            if cell.sequence.load(&site::RECLAIM_SEQUENCE) == published {
                // SAFETY: the cell is published and its position was claimed by a consumer. That consumer
                // never freed it and no other is alive, so the cell is ours; its data was acquired by the dead
                // consumer, whose end happens before this.
                hand_over(unsafe { cell.data.read(&site::RECLAIM_DATA) });
                cell.sequence.store(published.wrapping_add(mask), &site::RECLAIM_FREE);
                C::decrement(&self.count, 1, &site::RECOUNT);
                reclaimed += 1;
            }
        }
        Ok(reclaimed)
    }

    /// Sets the counter to the length.
    ///
    /// # Safety
    ///
    /// No operation runs.
    pub unsafe fn recount(&self) {
        correct::<C>(&self.count, self.len());
    }
}

/// What a repair has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Nodes that are free again.
    pub returned: u64,
    /// Nodes whose memory cannot be had: the pool is smaller by as many. A later repair asks for it again.
    pub missing: u64,
}

impl<P: Platform, T: Payload, C: CountPolicy> mpsc::Consumer<'_, P, T, C> {
    /// Gives the nodes back that are neither in the queue nor free, and sets the counter to the length.
    /// Returns how many nodes there were: at most those of one pop, or of one batch, for each consumer that
    /// died, and those that somebody claimed who died before they were made ([`Pool::reserve`]).
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
        // SAFETY: we are the consumer, and we rest.
        let (last, length) = unsafe { mpsc::verify(self.head, self.pool) }?;
        if last != self.head.head.load(&mpsc::site::INSPECT_HEAD) {
            return Err(Corruption::Unlinked(last.addr() as u64));
        }
        self.pool.listed_nodes()?;
        self.return_unreturned();

        self.pool.mark_free(&mut populate);
        // SAFETY: we are the consumer.
        let mut node = unsafe { self.head.tail() };
        for _ in P::steps(length + 1) {
            self.pool.hold(node);
            // SAFETY: `verify` has found this node in the list, and nothing has changed since.
            node = unsafe { &*node }.next.load(&mpsc::site::SEARCH_NEXT);
        }
        let repaired = self.pool.sweep(&mut populate, |node| {
            // SAFETY: the node lies in the room of the pool, its memory is there, and nobody has it: it is in
            // no list and in no magazine, and no producer runs.
            unsafe {
                (*node).next.init(core::ptr::null_mut(), &site::REPAIR_NODE);
                (*node).data.write(T::zeroed(), &site::REPAIR_NODE);
            }
        });
        correct::<C>(&self.head.count, length);
        Ok(repaired)
    }
}

/// Lets a counter be `length`.
fn correct<C: CountPolicy>(count: &impl Word, length: u64) {
    if C::COUNTED {
        let found = count.load(&mpmc::site::INSPECT_COUNT);
        count.add(length.wrapping_sub(found), &site::RECOUNT);
    }
}

/// In the link of a block that is not free, above the number of its spent nodes, which has 32 bits: how many
/// of its nodes are in use. Who counts spent nodes looks at the lower half only.
const HELD: u64 = 1 << 32;
/// No block has more nodes than that.
const HELD_MASK: u64 = 0xff;

/// The unit in which memory is there or not. A larger page is a whole number of these.
const PAGE: usize = 4096;

impl<P: Platform, N> Pool<P, N> {
    /// Marks the free blocks, and lets the others hold nothing.
    fn mark_free(&self, populate: &mut impl FnMut(Range<usize>) -> bool) {
        // What a repair has left that died, and that the block may have carried with it since.
        self.for_each_link(populate, |_, link| {
            let unmarked = link.load(&crate::pool::site::INSPECT_LINK) & !MARK;
            link.store(unmarked, &site::MARK);
        });
        let mut block = self.first_free();
        while let Some(link) = self.link(block) {
            block = link.load(&crate::pool::site::INSPECT_LINK) & !MARK;
            link.store(block | MARK, &site::MARK);
        }
        self.for_each_link(populate, |_, link| {
            match link.load(&crate::pool::site::INSPECT_LINK) {
                free if free & MARK != 0 => {}
                spent if spent & TAKEN != 0 => link.store(TAKEN | spent & MAX_NODES, &site::MARK),
                // A block of one node, or one whose owner died before it could say that it had it.
                _ => link.store(TAKEN, &site::MARK),
            }
        });
        for rest in self.rests().flatten() {
            self.hold_in(self.blocks().of(rest.first()), rest.len());
        }
    }

    /// Counts a node as in use.
    fn hold(&self, node: *mut N) {
        if let Some(number) = self.number(node) {
            self.hold_in(self.blocks().of(number), 1);
        }
    }

    fn hold_in(&self, block: u64, nodes: u64) {
        if let Some(link) = self.link(block) {
            let held = link.load(&crate::pool::site::INSPECT_LINK).wrapping_add(nodes * HELD);
            link.store(held, &site::MARK);
        }
    }

    /// Lets every node be spent that is neither free nor held, and takes the marks away. Of a block that
    /// becomes free each node is written first.
    fn sweep(&self, populate: &mut impl FnMut(Range<usize>) -> bool, write: impl Fn(*mut N)) -> Repaired {
        let blocks = self.blocks();
        let mut unused: Option<Chain> = None;
        let mut repaired = Repaired::default();
        let mut next = 1;
        while let Some((first, last)) = self.links_of_page(next) {
            next = last + 1;
            if !populate(self.links_addresses(first, last)) {
                // No link was ever written here, so none of these blocks was ever made.
                repaired.missing += (first..=last).map(|block| blocks.len(block)).sum::<u64>();
                continue;
            }
            for block in first..=last {
                let Some(link) = self.link(block) else { break };
                let value = link.load(&crate::pool::site::INSPECT_LINK);
                if value & MARK != 0 {
                    link.store(value & !MARK, &site::MARK);
                    continue;
                }
                let spent = blocks.len(block).saturating_sub((value / HELD) & HELD_MASK);
                let found = value & MAX_NODES;
                let is_unused = spent == blocks.len(block);
                if is_unused && !populate(self.block_addresses(block)) {
                    link.store(TAKEN | found, &site::MARK);
                    repaired.missing += spent.saturating_sub(found);
                    continue;
                }
                repaired.returned += spent.saturating_sub(found);
                link.store(TAKEN | spent, &site::MARK);
                if is_unused {
                    self.nodes_of_block(block).for_each(&write);
                    let chain = Chain::of(block);
                    unused = Some(match unused {
                        None => chain,
                        Some(others) => self.join(chain, others),
                    });
                }
            }
        }
        while let Some(chain) = unused.take() {
            unused = self.free_chain(chain).err();
        }
        repaired
    }

    /// The links of all blocks whose numbers are claimed, but for those that have no memory and can have none.
    fn for_each_link(
        &self,
        populate: &mut impl FnMut(Range<usize>) -> bool,
        mut each: impl FnMut(u64, &P::Word),
    ) {
        let mut next = 1;
        while let Some((first, last)) = self.links_of_page(next) {
            next = last + 1;
            if populate(self.links_addresses(first, last)) {
                for block in first..=last {
                    if let Some(link) = self.link(block) {
                        each(block, link);
                    }
                }
            }
        }
    }

    /// The blocks from `first` on whose links lie on one page with that of the first. `None` if no number of
    /// the first is claimed.
    fn links_of_page(&self, first: u64) -> Option<(u64, u64)> {
        let made = self.blocks().made(self.created());
        if first > made {
            return None;
        }
        let start = self.links_addresses(first, first).start;
        let left = (PAGE - start % PAGE).div_ceil(size_of::<P::Word>());
        Some((first, made.min(first + (left as u64 - 1))))
    }
}
