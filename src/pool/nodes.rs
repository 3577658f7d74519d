//! The nodes of a pool, as whoever uses it knows them: the geometry, copied once.

use core::ops::Range;

use super::divisor::ExactDivisor;
use super::{Blocks, MAX_BLOCK_SHIFT, MAX_NODES, Pool, site};
use crate::platform::{Plain, Platform, Stride, Word};
use crate::status::Corruption;

/// Where the nodes and the links of a pool lie, and how many there is room for, as its control block says:
/// nothing of it has been checked.
#[derive(Debug)]
pub(crate) struct Geometry<P: Platform, N> {
    /// Where the nodes are.
    pub(crate) nodes: *mut N,
    /// Where the links are: there is room for one for each node.
    pub(crate) links: *mut P::Word,
    /// How many nodes there is room for.
    pub(crate) limit: u64,
    /// The binary logarithm of the number of nodes of a block.
    pub(crate) block_shift: u64,
}

impl<P: Platform, N> Pool<P, N> {
    /// What the control block says, each word read once.
    #[inline(always)]
    pub(crate) fn geometry(&self) -> Geometry<P, N> {
        // SAFETY: written before the pool was handed out, and never again.
        unsafe {
            Geometry {
                nodes: self.nodes.read(&site::NODES),
                links: self.links.read(&site::LINKS),
                limit: self.limit.read(&site::LIMIT),
                block_shift: self.block_shift.read(&site::BLOCK_SHIFT),
            }
        }
    }
}

/// The nodes of a pool: all that is done with a pool is done here. Any number of copies, in any number of
/// threads and programs.
pub struct Nodes<'a, P: Platform, N> {
    pub(super) pool: &'a Pool<P, N>,
    pub(super) nodes: *mut N,
    pub(super) links: *mut P::Word,
    pub(crate) blocks: Blocks,
    stride: P::Stride,
}

impl<P: Platform, N> Clone for Nodes<'_, P, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform, N> Copy for Nodes<'_, P, N> {}

// SAFETY: a pool, which is `Sync`, and a copy of what never changes in it.
unsafe impl<P: Platform, N: Send> Sync for Nodes<'_, P, N> {}
// SAFETY: as above; the raw pointers are not tied to a thread.
unsafe impl<P: Platform, N: Send> Send for Nodes<'_, P, N> {}

impl<'a, P: Platform, N> Nodes<'a, P, N> {
    /// The nodes of a pool whose control block nobody damages. `None` if it was never initialised.
    ///
    /// # Safety
    ///
    /// If the pool was initialised, the memory that it says is its own.
    #[inline(always)]
    pub(super) unsafe fn believed(pool: &'a Pool<P, N>, stride: P::Stride) -> Option<Self> {
        let Geometry { nodes, links, limit, block_shift } = pool.geometry();
        if nodes.is_null() {
            return None;
        }
        Some(Nodes { pool, nodes, links, blocks: Blocks { shift: block_shift as u32 % 32, limit }, stride })
    }

    /// The nodes of a pool whose control block anybody may have written.
    ///
    /// # Errors
    ///
    /// [`Corruption`] if no pool has this geometry, wherever its memory is.
    ///
    /// # Safety
    ///
    /// At `geometry.nodes` and `geometry.links` there are, aligned, as many nodes, so far apart, and words as
    /// the limit says; they are the pool's alone, and mapped for all of `'a`.
    pub(crate) unsafe fn checked(
        pool: &'a Pool<P, N>,
        Geometry { nodes, links, limit, block_shift }: Geometry<P, N>,
        stride: P::Stride,
    ) -> Result<Self, Corruption> {
        if nodes.is_null() || links.is_null() || limit == 0 {
            return Err(Corruption::NotInitialised);
        }
        if limit > MAX_NODES {
            return Err(Corruption::OutOfBounds("the limit of the node pool"));
        }
        match u32::try_from(block_shift) {
            Ok(shift) if shift <= MAX_BLOCK_SHIFT => {
                Ok(Nodes { pool, nodes, links, blocks: Blocks { shift, limit }, stride })
            }
            _ => Err(Corruption::OutOfBounds("a block of the node pool")),
        }
    }

    /// The same pool, for a process that knows more, or less, of its nodes.
    ///
    /// # Safety
    ///
    /// The control blocks of both have the same layout, and so have the nodes: platforms of the same words, and nodes of as
    /// many bytes as the stride says.
    pub(crate) unsafe fn cast<Q: Platform, M>(self, stride: Q::Stride) -> Nodes<'a, Q, M> {
        // SAFETY: the caller's promise.
        let pool = unsafe { &*(&raw const *self.pool).cast::<Pool<Q, M>>() };
        Nodes { pool, nodes: self.nodes.cast(), links: self.links.cast(), blocks: self.blocks, stride }
    }

    /// The node with this number.
    ///
    /// # Safety
    ///
    /// The number is from 1 to the limit.
    #[inline(always)]
    pub(super) unsafe fn node(&self, number: u64) -> *mut N {
        // SAFETY: there is room for so many nodes.
        unsafe { self.stride.element(self.nodes, slot(number)) }
    }

    /// How far apart the nodes lie.
    pub(super) fn stride(&self) -> P::Stride {
        self.stride
    }

    /// Where the node with this number is, or would be: not every number is one of a node whose memory is
    /// there.
    #[inline(always)]
    pub(super) fn place(&self, number: u64) -> *mut N {
        self.nodes.wrapping_byte_add(slot(number).wrapping_mul(self.stride.bytes::<N>()))
    }

    /// The number of a node: from 1 to the limit.
    #[inline(always)]
    pub(crate) fn number(&self, node: *mut N) -> Option<u64> {
        let offset = node.addr().wrapping_sub(self.nodes.addr()) as u64;
        let slot = ExactDivisor::new(self.stride.bytes::<N>() as u64).quotient(offset);
        (slot < self.blocks.limit).then(|| slot + 1)
    }

    /// A node of this pool that was found by its address. A pointer out of shared memory is what somebody else has written there,
    /// a program in the kernel for example: this process may touch what is there by its own pointer to the nodes alone. It costs no
    /// instruction.
    #[inline(always)]
    pub(crate) fn own(&self, node: *mut N) -> *mut N {
        if P::IS_CONFINED { node } else { self.nodes.with_addr(node.addr()) }
    }

    /// The link of a block, if there is such a number.
    #[inline(always)]
    pub(crate) fn link(&self, block: u64) -> Option<&'a P::Word> {
        if block.wrapping_sub(1) >= self.blocks.count() {
            return None;
        }
        // SAFETY: the number is that of a block, and there is a link for each.
        Some(unsafe { &*self.links.add(slot(block)) })
    }

    /// Sets the link of a block of which this thread is the owner.
    ///
    /// # Safety
    ///
    /// The block is one of this pool's.
    #[inline(always)]
    pub(super) unsafe fn set_link(&self, block: u64, next: u64) {
        debug_assert!(block.wrapping_sub(1) < self.blocks.count(), "a block of another pool");
        // SAFETY: the number is that of a block, and there is a link for each.
        unsafe { &*self.links.add(slot(block)) }.store(next, &site::FREE_LINK);
    }

    /// Where the nodes from `first` to `last` lie.
    #[inline(always)]
    pub(super) fn places(&self, first: u64, last: u64) -> Range<usize> {
        self.place(first).addr()..self.place(last + 1).addr()
    }

    /// Where the links of the blocks from `first` to `last` lie.
    #[inline(always)]
    pub(super) fn link_places(&self, first: u64, last: u64) -> Range<usize> {
        let at = |slot| self.links.wrapping_add(slot).addr();
        at(slot(first))..at(slot(last) + 1)
    }
}

/// Where a node, or the link of a block, lies in its array. Numbers are below 2^32, so the conversion loses
/// nothing on 64-bit machines.
#[inline(always)]
fn slot(number: u64) -> usize {
    (number - 1) as usize
}

impl<P: Platform, N> core::fmt::Debug for Nodes<'_, P, N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Nodes")
            .field("created", &self.created())
            .field("limit", &self.limit())
            .finish_non_exhaustive()
    }
}
