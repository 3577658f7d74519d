//! The free list: a Treiber stack of the numbers of blocks.

use thiserror::Error;

use super::{MAX_NODES, Nodes, site};
use crate::platform::{Platform, Word};
use crate::status::PushError;

/// What marks a link as a count of spent nodes: the block is not on the list.
pub(super) const TAKEN: u64 = 1 << 62;
/// What a repair writes into the link of a block that is on the list, beside the number of the next one. If
/// the repair dies, the pool still works: a claim takes the number only.
pub(super) const MARK: u64 = 1 << 63;

/// How often a retry budget is spent before a chain is lost: no number of producers does that, but somebody who
/// writes over the top all the time.
const PATIENCE: u64 = 1 << 16;

/// Why no node was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum AllocError {
    /// No node is free.
    #[error("no node is free")]
    Exhausted,
    /// Others won every attempt of the retry budget.
    #[error("the retry budget is spent: others were faster every time")]
    Contended,
    /// The list or a magazine is damaged.
    #[error("the pool is damaged")]
    Corrupt,
}

impl From<AllocError> for PushError {
    #[inline]
    fn from(error: AllocError) -> PushError {
        match error {
            AllocError::Exhausted => PushError::Exhausted,
            AllocError::Contended => PushError::Contended,
            AllocError::Corrupt => PushError::Corrupt,
        }
    }
}

/// Blocks that one owner is about to give back, linked to each other. A chain that is dropped is lost to the
/// pool.
///
/// That it is given to the pool it came from is the caller's promise:
///
/// ```compile_fail,E0133
/// use arenaq::{platform::Native, pool::{Chain, Nodes}};
///
/// fn free(nodes: Nodes<'_, Native, u64>, chain_of_another_pool: Chain) {
///     let _ = nodes.free_chain(chain_of_another_pool);
/// }
/// ```
#[must_use = "a chain that is dropped is lost to the pool"]
#[derive(Debug)]
pub struct Chain {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Chain {
    /// A chain of one block.
    pub(super) fn of(block: u64) -> Chain {
        Chain { first: block, last: block }
    }
}

/// The top of the free list: the first block's number, or 0, and the ABA tag.
#[derive(Clone, Copy)]
pub(super) struct Top {
    pub(super) tag: u32,
    pub(super) first: u64,
}

impl Top {
    #[inline(always)]
    pub(super) fn unpack(word: u64) -> Top {
        Top { tag: (word >> 32) as u32, first: word & MAX_NODES }
    }

    /// A number that a wild write has made too large is cut; `link` refuses it when it is used.
    #[inline(always)]
    pub(super) fn pack(self) -> u64 {
        u64::from(self.tag) << 32 | self.first & MAX_NODES
    }
}

impl<P: Platform, N> Nodes<'_, P, N> {
    /// Takes a block off the free list.
    #[inline(always)]
    pub(super) fn take_block(&self) -> Result<u64, AllocError> {
        let mut seen = self.pool.top.0.load(&site::ALLOC_TOP);

        for _ in P::steps(P::retry_budget()) {
            let top = Top::unpack(seen);
            if top.first == 0 {
                return Err(AllocError::Exhausted);
            }
            let second = self.link(top.first).ok_or(AllocError::Corrupt)?.load(&site::ALLOC_LINK);
            let below = Top { tag: top.tag.wrapping_add(1), first: second };

            match self.pool.top.0.compare_exchange(seen, below.pack(), &site::ALLOC_CLAIM) {
                Ok(_) => return Ok(top.first),
                Err(now) => seen = now,
            }
            P::relax();
        }
        Err(AllocError::Contended)
    }

    /// Gives one node back.
    ///
    /// # Errors
    ///
    /// The block of which it was the last, as a chain, if the retry budget is spent; try
    /// [`free_chain`](Self::free_chain) again later.
    ///
    /// # Safety
    ///
    /// `node` came from this pool's [`alloc`](Self::alloc), and nobody uses it any more.
    #[inline]
    pub unsafe fn free(&self, node: *mut N) -> Result<(), Chain> {
        let number = self.number(node);
        debug_assert!(number.is_some(), "a node of another pool");
        let Some(number) = number else { return Ok(()) };
        // SAFETY: the node's block is this pool's, and so is the chain of it.
        unsafe {
            match self.spend(self.blocks.of(number), 1, None) {
                Some(spent) => self.free_chain(spent),
                None => Ok(()),
            }
        }
    }

    /// Counts so many nodes of a block as spent, and puts the block behind `chain` if they are its last.
    ///
    /// # Safety
    ///
    /// The nodes and the chain are this pool's and the caller's, who gives them up.
    #[inline(always)]
    pub(crate) unsafe fn spend(&self, block: u64, nodes: u64, chain: Option<Chain>) -> Option<Chain> {
        let all = self.blocks.len(block);
        // A whole block was nobody else's, so nothing has to be counted.
        let is_spent = nodes == all
            || self
                .link(block)
                .is_some_and(|link| (link.fetch_add(nodes, &site::FREE_SPEND) & MAX_NODES) + nodes == all);
        match chain {
            chain if !is_spent => chain,
            None => Some(Chain::of(block)),
            // SAFETY: the chain is this pool's by the caller's promise, and the block's link is ours.
            Some(chain) => Some(unsafe { self.join(chain, Chain::of(block)) }),
        }
    }

    /// Puts the blocks of `front` before those of `back`.
    ///
    /// # Safety
    ///
    /// Both are this pool's.
    #[inline(always)]
    #[expect(clippy::needless_pass_by_value, reason = "both chains are given up for the longer one")]
    pub(super) unsafe fn join(&self, front: Chain, back: Chain) -> Chain {
        // SAFETY: the last block of a chain of this pool.
        unsafe { self.set_link(front.last, back.first) };
        Chain { first: front.first, last: back.last }
    }

    /// Gives a whole chain back, with one compare-exchange however long it is.
    ///
    /// Lock-free: an attempt fails only because another alloc or free succeeded.
    ///
    /// # Errors
    ///
    /// The chain, if the retry budget is spent.
    ///
    /// # Safety
    ///
    /// The chain is this pool's.
    #[inline]
    pub unsafe fn free_chain(&self, chain: Chain) -> Result<(), Chain> {
        let mut seen = self.pool.top.0.load(&site::FREE_TOP);

        for _ in P::steps(P::retry_budget()) {
            let top = Top::unpack(seen);
            // SAFETY: the last block of a chain of this pool.
            unsafe { self.set_link(chain.last, top.first) };
            let above = Top { tag: top.tag, first: chain.first };

            match self.pool.top.0.compare_exchange(seen, above.pack(), &site::FREE_PUSH) {
                Ok(_) => return Ok(()),
                Err(now) => seen = now,
            }
            P::relax();
        }
        Err(chain)
    }

    /// Gives a whole chain back, however often others are faster.
    ///
    /// # Safety
    ///
    /// The chain is this pool's.
    pub unsafe fn free_chain_at_last(&self, mut chain: Chain) {
        for _ in 0..PATIENCE {
            // SAFETY: passed on to the caller.
            match unsafe { self.free_chain(chain) } {
                Ok(()) => return,
                Err(same) => chain = same,
            }
            P::relax();
        }
    }
}

#[cfg(test)]
mod tests {
    use core::num::NonZero;

    use super::Top;
    use crate::platform::{Native, Word};
    use crate::pool::{MAX_NODES, Pool, Start, site};

    #[test]
    fn every_bit_of_tag_and_number_comes_back_from_the_word_that_holds_both() {
        for (tag, first) in
            (0..32).map(|bit| (1 << bit, MAX_NODES)).chain((0..31).map(|bit| (u32::MAX, 1 << bit)))
        {
            let top = Top::unpack(Top { tag, first }.pack());
            assert_eq!((top.tag, top.first), (tag, first));
        }
    }

    #[test]
    fn every_claim_of_a_block_makes_the_next_tag_and_the_last_one_wraps_around() {
        for tag in (1..=32).map(|bits| u32::MAX >> (32 - bits)) {
            let mut nodes = [0u64; 2];
            let mut links = [(); 2].map(|()| Word::new(0));
            let pool = Pool::<Native, u64>::empty();
            let start = Start { tag, block: NonZero::new(1) };
            // SAFETY: room for two of both, which outlive the pool; nobody else is here.
            let nodes = unsafe {
                pool.init_at(nodes.as_mut_ptr(), links.as_mut_ptr(), 2, start);
                let nodes = pool.nodes().expect("a pool");
                nodes.free_chain(nodes.grow(2).expect("room")).expect("nobody else");
                nodes
            };
            let now = || Top::unpack(pool.top.0.load(&site::ALLOC_TOP)).tag;
            assert_eq!(now(), tag, "a free leaves it");
            let node = nodes.alloc().expect("a node");
            assert_eq!(now(), tag.wrapping_add(1));
            // SAFETY: just allocated.
            unsafe { nodes.free(node) }.expect("nobody else");
            assert_eq!(now(), tag.wrapping_add(1), "a free leaves it");
        }
    }
}
