//! What a consumer that died has left of a pool, put right.
//!
//! A mark and sweep over the blocks: those on the free list are marked, of each of the others it is counted how
//! many of its nodes somebody has, and all that nobody has are spent.

use core::ops::Range;

use super::free_list::{MARK, TAKEN};
use super::{Chain, MAX_NODES, Nodes, site};
use crate::platform::{Platform, Word};

/// What a repair has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Nodes that are free again.
    pub returned: u64,
    /// Nodes whose memory cannot be had: the pool is smaller by as many. A later repair asks for it again.
    pub missing: u64,
}

/// In the link of a block that is not free, above the number of its spent nodes, which has 32 bits: how many
/// of its nodes are in use. Who counts spent nodes looks at the lower half only.
const HELD: u64 = 1 << 32;
/// No block has more nodes than that.
const HELD_MASK: u64 = 0xff;

/// The unit in which memory is there or not. A larger page is a whole number of these.
const PAGE: usize = 4096;

impl<P: Platform, N> Nodes<'_, P, N> {
    /// Marks the free blocks, and lets the others hold nothing.
    pub(crate) fn mark_free(&self, populate: &mut impl FnMut(Range<usize>) -> bool) {
        // What a repair has left that died, and that the block may have carried with it since.
        self.for_each_link(populate, |_, link| {
            let unmarked = link.load(&site::INSPECT_LINK) & !MARK;
            link.store(unmarked, &site::MARK);
        });
        let mut block = self.first_free();
        // The list has been looked at and ends; but somebody may write over it now.
        for _ in 0..self.blocks.count() {
            let Some(link) = self.link(block) else { break };
            block = link.load(&site::INSPECT_LINK) & !MARK;
            link.store(block | MARK, &site::MARK);
        }
        self.for_each_link(populate, |_, link| {
            match link.load(&site::INSPECT_LINK) {
                free if free & MARK != 0 => {}
                spent if spent & TAKEN != 0 => link.store(TAKEN | spent & MAX_NODES, &site::MARK),
                // A block of one node, or one whose owner died before it could say that it had it.
                _ => link.store(TAKEN, &site::MARK),
            }
        });
        for rest in self.rests().flatten() {
            self.hold_in(self.blocks.of(rest.first), rest.count);
        }
    }

    /// Counts the node with this number as in use.
    pub(crate) fn hold(&self, number: u64) {
        self.hold_in(self.blocks.of(number), 1);
    }

    fn hold_in(&self, block: u64, nodes: u64) {
        if let Some(link) = self.link(block) {
            let held = link.load(&site::INSPECT_LINK).wrapping_add(nodes * HELD);
            link.store(held, &site::MARK);
        }
    }

    /// Lets every node be spent that is neither free nor held, and takes the marks away. Of a block that
    /// becomes free each node is written first.
    pub(crate) fn sweep(
        &self,
        populate: &mut impl FnMut(Range<usize>) -> bool,
        write: impl Fn(*mut N),
    ) -> Repaired {
        let blocks = self.blocks;
        let mut unused: Option<Chain> = None;
        let mut repaired = Repaired::default();
        let mut next = 1;
        while let Some((first, last)) = self.links_of_page(next) {
            next = last + 1;
            if !populate(self.link_places(first, last)) {
                // No link was ever written here, so none of these blocks was ever made.
                repaired.missing += (first..=last).map(|block| blocks.len(block)).sum::<u64>();
                continue;
            }
            for block in first..=last {
                let Some(link) = self.link(block) else { break };
                let value = link.load(&site::INSPECT_LINK);
                if value & MARK != 0 {
                    link.store(value & !MARK, &site::MARK);
                    continue;
                }
                let spent = blocks.len(block).saturating_sub((value / HELD) & HELD_MASK);
                let found = value & MAX_NODES;
                let is_unused = spent == blocks.len(block);
                let (first, last) = (blocks.first(block), blocks.last(block));
                if is_unused && !populate(self.places(first, last)) {
                    link.store(TAKEN | found, &site::MARK);
                    repaired.missing += spent.saturating_sub(found);
                    continue;
                }
                repaired.returned += spent.saturating_sub(found);
                link.store(TAKEN | spent, &site::MARK);
                if is_unused {
                    (first..=last).map(|number| self.place(number)).for_each(&write);
                    let chain = Chain::of(block);
                    unused = Some(match unused {
                        None => chain,
                        // SAFETY: of blocks of this pool, both of them.
                        Some(others) => unsafe { self.join(chain, others) },
                    });
                }
            }
        }
        if let Some(unused) = unused {
            // SAFETY: of blocks of this pool.
            unsafe { self.free_chain_at_last(unused) };
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
            if populate(self.link_places(first, last)) {
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
        let made = self.blocks.made(self.created());
        if first > made {
            return None;
        }
        let start = self.link_places(first, first).start;
        let left = (PAGE - start % PAGE).div_ceil(size_of::<P::Word>());
        Some((first, made.min(first + (left as u64 - 1))))
    }
}
