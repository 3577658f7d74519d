//! What an observer sees of a pool.

use super::free_list::{MARK, TAKEN, Top};
use super::magazines::Run;
use super::{MAX_NODES, Nodes, site, spare};
use crate::platform::{Platform, Word};
use crate::status::Corruption;

impl<P: Platform, N> Nodes<'_, P, N> {
    /// The number of nodes made so far.
    #[inline]
    pub fn created(&self) -> u64 {
        self.pool.created.load(&site::INSPECT_CREATED)
    }

    /// The number of nodes that there is room for.
    #[inline]
    pub fn limit(&self) -> u64 {
        self.blocks.limit
    }

    /// How many nodes a block has; the last one may have less.
    #[inline]
    pub fn block(&self) -> u64 {
        1 << self.blocks.shift
    }

    /// How many nodes may be spent while their block is not free, if no producer stalls.
    #[inline]
    pub fn spare(&self) -> u64 {
        spare(self.blocks.shift)
    }

    /// Whether `node` is a node of this pool.
    #[inline]
    pub fn owns(&self, node: *mut N) -> bool {
        self.number(node).is_some()
    }

    /// Counts the nodes of a resting pool that nobody has: on the free list, in magazines, and spent. While
    /// others allocate or free, the result is anything, or an error.
    ///
    /// # Errors
    ///
    /// [`Corruption`] if the list leads out of the pool or in a circle, or a magazine out of the pool.
    #[inline]
    pub fn free_nodes(&self) -> Result<u64, Corruption> {
        let mut free = self.listed_nodes()?;
        if self.blocks.shift > 0 {
            for block in 1..=self.blocks.made(self.created()) {
                let link = self.link(block).map_or(0, |link| link.load(&site::INSPECT_LINK));
                if link & TAKEN != 0 {
                    free += link & MAX_NODES;
                }
            }
        }
        Ok(free)
    }

    /// Counts the nodes of a resting pool that are on the free list or in magazines. It looks at no link but
    /// those on the list.
    pub(crate) fn listed_nodes(&self) -> Result<u64, Corruption> {
        let (mut free, mut length) = (0, 0);
        let mut block = self.first_free();
        while block != 0 {
            let link = self.link(block).ok_or(Corruption::Link(block))?;
            if length == self.blocks.count() {
                return Err(Corruption::Cycle(self.limit()));
            }
            length += 1;
            free += self.blocks.len(block);
            block = link.load(&site::INSPECT_LINK) & !MARK;
        }
        if self.blocks.shift > 0 {
            for rest in self.rests() {
                free += rest?.count;
            }
        }
        Ok(free)
    }

    /// What is left in each magazine that is not empty, of a resting pool.
    pub(super) fn rests(&self) -> impl Iterator<Item = Result<Run, Corruption>> {
        self.pool.magazines.iter().filter_map(move |magazine| {
            match magazine.0.load(&site::INSPECT_MAGAZINE) {
                0 => None,
                next => Some(self.blocks.run(next, MAX_NODES).ok_or(Corruption::Link(next))),
            }
        })
    }

    /// The number of the first block on the free list, or 0.
    pub(super) fn first_free(&self) -> u64 {
        Top::unpack(self.pool.top.0.load(&site::INSPECT_TOP)).first
    }
}
