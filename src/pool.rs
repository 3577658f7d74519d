//! The node pool: the nodes of an intrusive queue, kept in blocks on a lock-free free list.
//!
//! # Blocks and magazines
//!
//! A *block* is 1, 2, 4, … or 64 nodes that lie side by side. Blocks are what the free list holds. A producer
//! takes a whole one and puts it into its processor's *magazine*, where it and the others there take node
//! after node; so a shared line is touched once for each block, and what one processor writes lies together
//! (J. Bonwick and J. Adams, *Magazines and vmem*, USENIX 2001, whose magazines hold pointers to objects from
//! anywhere). A node that is given back is counted as *spent* in its block, and the block goes back to the
//! list when all of its nodes are.
//!
//! ```text
//! top --> [ 5 6 7 8 ] --> [ 13 14 15 16 ]         free blocks
//! magazines:  processor 0: 3, processor 1: none   3 and 4 are next
//! [ 1 2 | 3 4 ]   [ 9 10 11 12 ]                  1, 2 and 9 to 12 are in the queue, or spent
//! ```
//!
//! The order matters as much as the lines. Were nodes given back one by one, each batch would cut the list
//! somewhere else, and soon a producer would find every node on a line of its own, far from the last.
//!
//! The price is that a spent node is not free before its block is. Of each magazine's blocks one may be partly
//! spent, and one more for each producer that stalls with a node of its own; what is left in a magazine
//! is not lost to the others, who take from it when no block is free. So a pool of less than 256 nodes has
//! blocks of one, and a larger one blocks of no more than a 128th of it.
//!
//! # The free list
//!
//! A Treiber stack of the numbers of blocks (R. K. Treiber, *Systems programming: coping with parallelism*,
//! IBM RJ 5118, 1986). Two things keep it right where blocks are reused at once:
//!
//! - **An ABA tag.** The top of the list is one word, a block's number and a tag. Every claim advances the
//!   tag, so a thread that has read a top, and slept while the block left and came back, fails its
//!   compare-exchange. Between two advances of the tag blocks are only added, each a different one; so equal
//!   words mean the same moment, unless exactly 2^32 claims fit between a load and its compare-exchange.
//! - **Links of their own.** The free list runs through an array beside the nodes, never through the nodes.
//!   From the claim until a node is published a producer is the only one that touches it, so a late reader of
//!   the list never reads a payload. While a block is not on the list, its link counts its spent nodes.
//!
//! All writes to the top are read-modify-writes, so each continues the release sequences of those before it:
//! a claim that reads the top synchronises with every push whose block is still on the list, whoever
//! changed the top in between. That is why the compare-exchange of the claim can be relaxed on success.
//!
//! A magazine needs no tag. It is one word, the number of the node that is next, and to take that node is to
//! write the number behind it: nothing else is read, so nothing can have become old. If the same number is
//! there again, after the whole block came back, it is as free as it was before. But it is the second filling
//! then that has released what its last owner did to it; so it is the claim that acquires, not the load.
//!
//! # Growth
//!
//! A pool has room for `limit` nodes, at addresses that are fixed from the start; `created` of them are made.
//! To grow is to claim the next numbers, to see that their memory is there, and to free them as one chain of
//! blocks. Where the memory comes page by page, the claim comes first ([`Nodes::reserve`]): then nobody else
//! asks for the same nodes' pages, and a page that two reservations share may be asked for by both.
//!
//! # Whom it trusts
//!
//! Nobody. Whoever uses a pool holds [`Nodes`]: where the nodes and the links lie, how many there are, and how
//! they are divided into blocks, copied once and never read again. Every other word of shared memory is read
//! once, and checked against that copy before it becomes an address or a bound; and no walk is longer than
//! there are nodes. So whatever somebody writes over the pool, what comes out of it are nodes of the pool, or
//! an error.
//!
//! # Layout
//!
//! `top` 0x00 (block number in the low half, 0 for none; tag in the high half), `created` 0x40, `limit` 0x48,
//! `nodes` 0x50, `links` 0x58, `block_shift` 0x60, 8 `magazines` from 0x80 on, each on a line of its own; 640
//! bytes. Links are 64-bit words: on the list the number of the next block, else 2^62 and the number of spent
//! nodes. All zero is a pool that was never initialised.
mod blocks;
mod divisor;
mod free_list;
mod growth;
mod inspection;
mod magazines;
mod nodes;
mod repair;
pub mod site;

use core::num::NonZero;

use crate::layout::{CacheLine, layouts};
use crate::platform::{Plain, Platform, Stride, Word};

use self::blocks::Blocks;
use self::free_list::Top;

pub use self::free_list::{AllocError, Chain};
pub use self::growth::{GrowError, Reservation};
pub use self::magazines::Run;
pub(crate) use self::nodes::Geometry;
pub use self::nodes::Nodes;
pub use self::repair::Repaired;

/// The largest number of nodes: their numbers are 32 bits wide, and 0 means none.
pub const MAX_NODES: u64 = u32::MAX as u64;

/// How many magazines a pool has. Where there are more processors, several share one.
pub const MAGAZINES: usize = 8;

/// The binary logarithm of the largest block.
const MAX_BLOCK_SHIFT: u32 = 6;
/// How many blocks a pool has at least, if they have more than one node.
const LEAST_BLOCKS: u64 = 128;

/// The largest number of elements for which [`nodes_for`] is no more than [`MAX_NODES`].
pub const MAX_ELEMENTS: u64 = MAX_NODES - 1 - spare(MAX_BLOCK_SHIFT);

/// How many nodes a queue of so many elements needs, and how many of them a block has: one for each element,
/// one for the stub, and as many as may be spent while their block is not free, if no producer stalls.
///
/// # Panics
///
/// If there are more than [`MAX_ELEMENTS`].
#[must_use]
pub const fn nodes_for(elements: u64) -> (u64, u32) {
    assert!(elements <= MAX_ELEMENTS, "more elements than nodes have numbers");
    let shift = block_shift(elements);
    (elements + 1 + spare(shift), 1 << shift)
}

/// The binary logarithm of the number of nodes of a block: 0 below 256 nodes, 6 from 8192 on.
#[inline(always)]
const fn block_shift(nodes: u64) -> u32 {
    match (nodes / LEAST_BLOCKS).checked_ilog2() {
        None => 0,
        Some(shift) if shift > MAX_BLOCK_SHIFT => MAX_BLOCK_SHIFT,
        Some(shift) => shift,
    }
}

/// A partly spent block for each magazine, and one more.
const fn spare(shift: u32) -> u64 {
    (MAGAZINES as u64 + 1) * ((1 << shift) - 1)
}

/// The shared control block of a pool of nodes of type `N`. Everything that is done with a pool is done through
/// its [`Nodes`].
#[repr(C)]
pub struct Pool<P: Platform, N> {
    pub(crate) top: CacheLine<P::Word>,
    pub(crate) created: P::Word,
    pub(crate) limit: P::Plain<u64>,
    pub(crate) nodes: P::Plain<*mut N>,
    pub(crate) links: P::Plain<*mut P::Word>,
    pub(crate) block_shift: P::Plain<u64>,
    pub(crate) magazines: [CacheLine<P::Word>; MAGAZINES],
}

// SAFETY: the pool itself is atomic words and four values that never change after initialisation. It hands
// each node to one owner at a time, and a node's way from one owner to the next is an acquire of what the
// other released (FREE_SPEND; FREE_PUSH, ALLOC_TOP; ALLOC_FILL, ALLOC_TAKE or STEAL_TAKE).
unsafe impl<P: Platform, N: Send> Sync for Pool<P, N> {}
// SAFETY: as above; the raw pointers are not tied to a thread.
unsafe impl<P: Platform, N: Send> Send for Pool<P, N> {}

impl<P: Platform, N> Pool<P, N> {
    /// A pool without room, as zeroed memory is one.
    pub fn empty() -> Self {
        Pool {
            top: CacheLine(P::Word::new(0)),
            created: P::Word::new(0),
            limit: P::Plain::new(0),
            nodes: P::Plain::new(core::ptr::null_mut()),
            links: P::Plain::new(core::ptr::null_mut()),
            block_shift: P::Plain::new(0),
            magazines: core::array::from_fn(|_| CacheLine(P::Word::new(0))),
        }
    }

    /// Makes a pool with room for `limit` nodes and none made yet: [`Nodes::grow`] makes them.
    ///
    /// `limit` is cut to [`MAX_NODES`].
    ///
    /// # Safety
    ///
    /// `nodes` and `links` lead to room for `limit` nodes and words that is the pool's alone for as long as
    /// it is used, and nobody uses the pool before this function has returned. A node needs not be
    /// initialised before it is made by `grow`.
    #[inline]
    pub unsafe fn init(&self, nodes: *mut N, links: *mut P::Word, limit: u64) {
        // SAFETY: the caller's promise is the same.
        unsafe { self.init_at(nodes, links, limit, Start::default()) }
    }

    /// [`init`](Self::init) with more said of how the pool begins.
    ///
    /// # Safety
    ///
    /// As [`init`](Self::init).
    #[inline]
    pub unsafe fn init_at(&self, nodes: *mut N, links: *mut P::Word, limit: u64, start: Start) {
        let limit = limit.min(MAX_NODES);
        let shift =
            start.block.map_or_else(|| block_shift(limit), |block| block.ilog2().min(MAX_BLOCK_SHIFT));
        // SAFETY: nobody uses the pool before we return.
        unsafe {
            self.top.0.init(Top { tag: start.tag, first: 0 }.pack(), &site::INIT);
            self.created.init(0, &site::INIT);
            self.limit.write(limit, &site::INIT);
            self.block_shift.write(shift.into(), &site::INIT);
            for magazine in &self.magazines {
                magazine.0.init(0, &site::INIT);
            }
            self.links.write(links, &site::INIT);
            self.nodes.write(nodes, &site::INIT);
        }
    }

    /// Whether the pool was initialised.
    #[inline(always)]
    pub fn is_initialised(&self) -> bool {
        // SAFETY: written before the pool was handed out, and never again.
        !unsafe { self.nodes.read(&site::NODES) }.is_null()
    }

    /// The nodes of the pool. `None` if it was never initialised.
    ///
    /// The control block is believed here, as the kernel does. Where others may write to it, in an arena, a
    /// process copies what it says once, and checks the copy.
    #[inline(always)]
    pub fn nodes(&self) -> Option<Nodes<'_, P, N>> {
        self.nodes_with(P::Stride::of::<N>())
    }

    /// [`nodes`](Self::nodes) that lie so far apart.
    #[inline(always)]
    pub fn nodes_with(&self, stride: P::Stride) -> Option<Nodes<'_, P, N>> {
        // SAFETY: a pool that was initialised has so much room, by the promise of `init`.
        unsafe { Nodes::believed(self, stride) }
    }
}

/// How a pool begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    /// The ABA tag, as if there had been so many claims. It wraps around at 2^32.
    pub tag: u32,
    /// How many nodes a block has: cut to a power of two, and to 64. If it is not said, it depends on the
    /// number of nodes.
    pub block: Option<NonZero<u32>>,
}

impl<P: Platform, N> core::fmt::Debug for Pool<P, N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Pool")
            .field("created", &self.created.load(&site::INSPECT_CREATED))
            .finish_non_exhaustive()
    }
}

layouts! {
    "ds_pool", Pool<crate::platform::Native, u64>, {
        "top": top,
        "created": created,
        "limit": limit,
        "nodes": nodes,
        "links": links,
        "block_shift": block_shift,
        "magazines": magazines,
    }
}
