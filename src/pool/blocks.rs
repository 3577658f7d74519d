//! How the numbers of nodes are divided into blocks.

use super::magazines::Run;

/// How the numbers of nodes are divided into blocks: block 1 has those from 1 on. The last block ends at the
/// limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    /// The binary logarithm of the number of nodes of a block.
    pub(crate) shift: u32,
    /// How many nodes there is room for.
    pub(crate) limit: u64,
}

impl Blocks {
    /// The block of a node.
    #[inline(always)]
    pub(crate) fn of(self, number: u64) -> u64 {
        ((number - 1) >> self.shift) + 1
    }

    /// The first node of a block.
    #[inline(always)]
    pub(super) fn first(self, block: u64) -> u64 {
        ((block - 1) << self.shift) + 1
    }

    /// The last node of a block.
    #[inline(always)]
    pub(super) fn last(self, block: u64) -> u64 {
        (block << self.shift).min(self.limit)
    }

    /// How many nodes a block has.
    #[inline(always)]
    pub(crate) fn len(self, block: u64) -> u64 {
        self.last(block).wrapping_sub(self.first(block)).wrapping_add(1)
    }

    /// How many blocks there are.
    #[inline(always)]
    pub(super) fn count(self) -> u64 {
        self.limit.wrapping_add((1 << self.shift) - 1) >> self.shift
    }

    /// How many blocks so many nodes are.
    pub(crate) fn made(self, created: u64) -> u64 {
        created.min(self.limit).div_ceil(1 << self.shift)
    }

    /// At least so many nodes, in whole blocks.
    #[inline(always)]
    pub(super) fn fill(self, nodes: u64) -> u64 {
        let short = nodes.wrapping_neg() & ((1 << self.shift) - 1);
        nodes.saturating_add(short)
    }

    /// Up to `most` nodes from `first` on, all of one block. `None` if there is no such node.
    #[inline(always)]
    pub(super) fn run(self, first: u64, most: u64) -> Option<Run> {
        if first.wrapping_sub(1) >= self.limit {
            return None;
        }
        // In this form nothing is left to compute for one node.
        let more = self.last(self.of(first)).wrapping_sub(first);
        Some(Run { first, count: 1 + more.min(most - 1) })
    }

    /// The node behind a run, or 0 if the block ends with it.
    #[inline(always)]
    pub(super) fn behind(self, run: &Run) -> u64 {
        let next = run.first + run.count;
        if next > self.last(self.of(run.first)) { 0 } else { next }
    }
}
