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
//! blocks. Where the memory comes page by page, the claim comes first ([`Pool::reserve`]): then nobody else
//! asks for the same nodes' pages, and a page that two reservations share may be asked for by both.
//!
//! # Layout
//!
//! `top` 0x00 (block number in the low half, 0 for none; tag in the high half), `created` 0x40, `limit` 0x48,
//! `nodes` 0x50, `links` 0x58, `block_shift` 0x60, 8 `magazines` from 0x80 on, each on a line of its own; 640
//! bytes. Links are 64-bit words: on the list the number of the next block, else 2^62 and the number of spent
//! nodes. All zero is a pool that was never initialised.

use core::num::NonZero;
use core::ops::Range;

use thiserror::Error;

use crate::layout::CacheLine;
use crate::platform::{Plain, Platform, Word};
use crate::status::{Corruption, PushError, Status};

/// The sites of the pool.
pub mod site {
    use crate::ordering::Ordering::{AcqRel, Acquire, Relaxed, Release};
    use crate::ordering::{Field, Site, sites};

    sites! {
        /// Where the nodes are; null in a pool that was never initialised.
        NODES: Read = Site::read("pool.any.read_nodes")
            .of(Field::Room)
            .why("written once, before the pool is handed out");
        /// Where the links of the free list are.
        LINKS: Read = Site::read("pool.any.read_links")
            .of(Field::Room)
            .why("written once, before the pool is handed out");
        /// How many nodes there is room for.
        LIMIT: Read = Site::read("pool.any.read_limit")
            .of(Field::Room)
            .why("written once, before the pool is handed out");

        /// How many nodes a block has.
        BLOCK_SHIFT: Read = Site::read("pool.any.read_block_shift")
            .of(Field::Room)
            .why("written once, before the pool is handed out");

        /// The next node of the magazine.
        ALLOC_MAGAZINE: Load = Site::load(Relaxed, "pool.alloc.load_magazine")
            .of(Field::Magazine)
            .why("a number, through which nothing is read before the claim");
        /// The claim of nodes of the magazine.
        ALLOC_TAKE: CompareExchange = Site::compare_exchange(Acquire, Relaxed, "pool.alloc.take_node")
            .of(Field::Magazine)
            .pairs_with(&["pool.alloc.fill_magazine"])
            .why("success: whoever filled the magazine has acquired what the last owners did to the nodes; the number alone \
                  does not say which filling it is of; failure: as the first load");
        /// The first free block.
        ALLOC_TOP: Load = Site::load(Acquire, "pool.alloc.load_top")
            .of(Field::Top)
            .pairs_with(&["pool.free.push_chain"])
            .why("what the last owners did to the nodes happens before the next owner writes them, and the link is there");
        /// The free block after it.
        ALLOC_LINK: Load = Site::load(Relaxed, "pool.alloc.load_link")
            .of(Field::Link)
            .why("may be anything if the block was taken meanwhile: then the tag has moved, and the claim fails");
        /// The claim of the first free block.
        ALLOC_CLAIM: CompareExchange = Site::compare_exchange(Relaxed, Acquire, "pool.alloc.claim_block")
            .of(Field::Top)
            .pairs_with(&["pool.free.push_chain"])
            .why("success: a read-modify-write continues the release sequences of the frees below, and the top was acquired \
                  when it was read; failure: this is the load of the next attempt");
        /// No node of the block is spent.
        ALLOC_RESET: Store = Site::store(Relaxed, "pool.alloc.reset_spent")
            .of(Field::Link)
            .why("the block is its owner's alone; who counts a spent node has it from us, or through the magazine that we fill");
        /// The rest of the block becomes anybody's who comes to the magazine.
        ALLOC_FILL: CompareExchange = Site::compare_exchange(Release, Relaxed, "pool.alloc.fill_magazine")
            .of(Field::Magazine)
            .pairs_with(&["pool.alloc.take_node", "pool.steal.take_node"])
            .why("what the last owners did to the nodes has been acquired, and happens before whoever takes one; failure: \
                  nothing is read");
        /// The rest of the block, if the magazine is full.
        ALLOC_SPEND: Add = Site::add(Relaxed, "pool.alloc.spend_rest")
            .of(Field::Link)
            .why("nobody has touched these nodes since the block was claimed, and the count of the one that is kept comes after");

        /// The next node of somebody else's magazine.
        STEAL_MAGAZINE: Load = Site::load(Relaxed, "pool.steal.load_magazine")
            .of(Field::Magazine)
            .why("as of the own magazine");
        /// The claim of nodes of somebody else's magazine.
        STEAL_TAKE: CompareExchange = Site::compare_exchange(Acquire, Relaxed, "pool.steal.take_node")
            .of(Field::Magazine)
            .pairs_with(&["pool.alloc.fill_magazine"])
            .why("success: as from the own magazine; failure: nothing is read");

        /// So many nodes of a block are spent.
        FREE_SPEND: FetchAdd = Site::fetch_add(AcqRel, "pool.free.spend_nodes")
            .of(Field::Link)
            .pairs_with(&["pool.free.spend_nodes"])
            .why("release: what the owner did to the nodes happens before the block is pushed, by whoever spends the last of it; \
                  acquire: that one has what all the others did");
        /// The top onto which a chain will be pushed.
        FREE_TOP: Load = Site::load(Relaxed, "pool.free.load_top")
            .of(Field::Top)
            .why("only its value goes into the last link: nothing is read through it");
        /// A link inside a chain, or from its last block to the list below.
        FREE_LINK: Store = Site::store(Relaxed, "pool.free.store_link")
            .of(Field::Link)
            .why("released by the push of the chain; atomic because a late alloc may still look at it");
        /// The chain becomes anybody's.
        FREE_PUSH: CompareExchange = Site::compare_exchange(Release, Relaxed, "pool.free.push_chain")
            .of(Field::Top)
            .pairs_with(&["pool.alloc.load_top", "pool.alloc.claim_block", "pool.inspect.load_top"])
            .why("the links, and what the owners did to the nodes, happen before whoever takes them; failure: as the first load");

        /// The number of nodes made so far.
        GROW_CREATED: Load = Site::load(Relaxed, "pool.grow.load_created")
            .of(Field::Created)
            .why("only a guess: the claim fails if it is old");
        /// The claim of numbers for new nodes.
        GROW_CLAIM: CompareExchange = Site::compare_exchange(Acquire, Relaxed, "pool.grow.claim_numbers")
            .of(Field::Created)
            .pairs_with(&["pool.cancel.return_numbers"])
            .why("success: what somebody did to the memory of numbers that he gave back happens before it is ours; the nodes are \
                  published by the push of their chain; failure: as the first load");

        /// The numbers of a reservation can be claimed again, if nobody has claimed others after them.
        CANCEL_RETURN: CompareExchange = Site::compare_exchange(Release, Relaxed, "pool.cancel.return_numbers")
            .of(Field::Created)
            .pairs_with(&["pool.grow.claim_numbers"])
            .why("what was done to the memory happens before the next claim of it; failure: nothing is read");

        /// The number of nodes made so far, as an observer reads it.
        INSPECT_CREATED: Load = Site::load(Relaxed, "pool.inspect.load_created")
            .of(Field::Created)
            .why("the result is old by the time that it is returned, whatever the ordering");
        /// The free list, as an observer of a resting pool follows it.
        INSPECT_TOP: Load = Site::load(Acquire, "pool.inspect.load_top")
            .of(Field::Top)
            .pairs_with(&["pool.free.push_chain"])
            .why("the links of the chain are there");
        /// A link, as an observer of a resting pool follows it.
        INSPECT_LINK: Load = Site::load(Relaxed, "pool.inspect.load_link")
            .of(Field::Link)
            .why("released with the top that leads to it");
        /// A magazine, as an observer of a resting pool reads it.
        INSPECT_MAGAZINE: Load = Site::load(Relaxed, "pool.inspect.load_magazine")
            .of(Field::Magazine)
            .why("a number, through which nothing is read");

        /// Everything that is written before the pool is handed out.
        INIT: Write = Site::write("pool.init.write")
            .of(Field::Several)
            .why("nobody else knows of the pool yet");
    }
}

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

/// A partly spent block for each magazine, and one more.
const fn spare(shift: u32) -> u64 {
    (MAGAZINES as u64 + 1) * ((1 << shift) - 1)
}

/// What marks a link as a count of spent nodes: the block is not on the list.
pub(crate) const TAKEN: u64 = 1 << 62;
/// What a repair writes into the link of a block that is on the list, beside the number of the next one. If
/// the repair dies, the pool still works: a claim takes the number only.
pub(crate) const MARK: u64 = 1 << 63;

/// Why no node was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum AllocError {
    /// No node is free.
    #[error("no node is free")]
    Exhausted,
    /// Others won every attempt of the retry budget.
    #[error("the retry budget is spent: others were faster every time")]
    Contended,
    /// The pool was never initialised, or its list is damaged.
    #[error("the pool is not initialised")]
    Invalid,
}

impl From<AllocError> for PushError {
    #[inline]
    fn from(error: AllocError) -> PushError {
        match error {
            AllocError::Exhausted => PushError::Exhausted,
            AllocError::Contended => PushError::Contended,
            AllocError::Invalid => PushError::Invalid,
        }
    }
}

/// Why the pool did not grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum GrowError {
    /// There is no room for so many nodes.
    #[error("{asked} more nodes do not fit: {room} is the most")]
    Limit {
        /// How many were asked for.
        asked: u64,
        /// How many there is room for.
        room: u64,
    },
    /// Others won every attempt of the retry budget.
    #[error("the retry budget is spent: others grew the pool every time")]
    Contended,
    /// The pool was never initialised.
    #[error("the pool is not initialised")]
    Invalid,
}

impl From<GrowError> for Status {
    #[inline]
    fn from(error: GrowError) -> Status {
        match error {
            GrowError::Limit { .. } => Status::NoMemory,
            GrowError::Contended => Status::Busy,
            GrowError::Invalid => Status::Invalid,
        }
    }
}

/// Numbers of new nodes that one owner has claimed, and whose memory is the owner's alone. They are no nodes
/// before [`Pool::link_up`]. A reservation that is dropped is lost to the pool.
#[must_use = "a reservation that is dropped is lost to the pool"]
#[repr(C)]
#[derive(Debug)]
pub struct Reservation {
    first: u64,
    count: u64,
}

impl Reservation {
    /// How many nodes it is for: at least 1.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    #[inline]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// The largest of its numbers.
    #[inline(always)]
    fn last(&self) -> u64 {
        self.first + (self.count - 1)
    }
}

/// Nodes that one owner has and that lie side by side. A run that is dropped is lost to the pool.
#[must_use = "a run that is dropped is lost to the pool"]
#[derive(Debug)]
pub struct Run {
    first: u64,
    count: u64,
}

impl Run {
    /// How many nodes it has: at least 1.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    #[inline]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// The smallest of their numbers.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }
}

/// Blocks that one owner is about to give back, linked to each other. A chain that is dropped is lost to the
/// pool.
#[must_use = "a chain that is dropped is lost to the pool"]
#[derive(Debug)]
pub struct Chain {
    first: u64,
    last: u64,
}

impl Chain {
    /// A chain of one block.
    pub(crate) fn of(block: u64) -> Chain {
        Chain { first: block, last: block }
    }
}

/// The shared control block of a pool of nodes of type `N`.
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

    /// Makes a pool with room for `limit` nodes and none made yet: [`grow`](Self::grow) makes them.
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

    /// Takes a node. Its contents are whatever the last owner left, or nothing if it is new.
    ///
    /// Lock-free: an attempt fails only because another alloc or free succeeded.
    ///
    /// # Errors
    ///
    /// [`AllocError`] says why there is none.
    #[inline(always)]
    pub fn alloc(&self) -> Result<*mut N, AllocError> {
        let run = self.alloc_run(1)?;
        // SAFETY: a run is of nodes inside the room.
        Ok(unsafe { self.nodes().add(slot(run.first)) })
    }

    /// Takes up to `most` nodes that lie side by side, with one compare-exchange on the magazine of this
    /// processor, or one on the free list and another on the magazine if it is empty. There are less than
    /// `most` if the block ends, and at least one.
    ///
    /// Lock-free: an attempt fails only because another alloc or free succeeded.
    ///
    /// # Errors
    ///
    /// [`AllocError`] says why there is not one; `Exhausted` also if `most` is 0.
    #[inline(always)]
    pub fn alloc_run(&self, most: u64) -> Result<Run, AllocError> {
        if self.nodes().is_null() {
            return Err(AllocError::Invalid);
        }
        if most == 0 {
            return Err(AllocError::Exhausted);
        }
        let blocks = self.blocks();
        let magazine = &self.magazines[P::processor() % MAGAZINES].0;
        // Of a block of one node nothing is ever left for a magazine.
        if blocks.shift > 0 {
            let mut next = magazine.load(&site::ALLOC_MAGAZINE);
            for _ in P::steps(P::retry_budget()) {
                if next == 0 {
                    break;
                }
                let run = blocks.run(next, most).ok_or(AllocError::Invalid)?;
                match magazine.compare_exchange(next, blocks.behind(&run), &site::ALLOC_TAKE) {
                    Ok(_) => return Ok(run),
                    Err(now) => next = now,
                }
                P::relax();
            }
        }
        let block = match self.take_block() {
            Err(AllocError::Exhausted) if blocks.shift > 0 => return self.steal(most),
            taken => taken?,
        };
        let run = blocks.run(blocks.first(block), most).ok_or(AllocError::Invalid)?;
        let rest = blocks.behind(&run);
        if blocks.shift > 0 {
            self.link(block).ok_or(AllocError::Invalid)?.store(TAKEN, &site::ALLOC_RESET);
        }
        if rest != 0 && magazine.compare_exchange(0, rest, &site::ALLOC_FILL).is_err() {
            // Somebody else has filled it meanwhile. The rest goes where it goes when it is spent: back to the
            // list, with the last of our nodes.
            if let Some(spent) = self.link(block) {
                spent.add(blocks.len(block) - run.count, &site::ALLOC_SPEND);
            }
        }
        Ok(run)
    }

    /// Takes a block off the free list.
    #[inline(always)]
    fn take_block(&self) -> Result<u64, AllocError> {
        let mut seen = self.top.0.load(&site::ALLOC_TOP);

        for _ in P::steps(P::retry_budget()) {
            let top = Top::unpack(seen);
            if top.first == 0 {
                return Err(AllocError::Exhausted);
            }
            let second = self.link(top.first).ok_or(AllocError::Invalid)?.load(&site::ALLOC_LINK);
            let below = Top { tag: top.tag.wrapping_add(1), first: second };

            match self.top.0.compare_exchange(seen, below.pack(), &site::ALLOC_CLAIM) {
                Ok(_) => return Ok(top.first),
                Err(now) => seen = now,
            }
            P::relax();
        }
        Err(AllocError::Contended)
    }

    /// Takes nodes out of anybody's magazine: no block is free.
    #[inline(always)]
    fn steal(&self, most: u64) -> Result<Run, AllocError> {
        let blocks = self.blocks();
        let mut empty = 0;
        for step in P::steps(MAGAZINES as u64 + P::retry_budget()) {
            let magazine = &self.magazines[step as usize % MAGAZINES].0;
            let next = magazine.load(&site::STEAL_MAGAZINE);
            if next != 0 {
                let run = blocks.run(next, most).ok_or(AllocError::Invalid)?;
                if magazine.compare_exchange(next, blocks.behind(&run), &site::STEAL_TAKE).is_ok() {
                    return Ok(run);
                }
                // Somebody was faster, and there may be more: all of them are asked once more.
                empty = 0;
            } else if empty + 1 == MAGAZINES {
                return Err(AllocError::Exhausted);
            } else {
                empty += 1;
            }
        }
        Err(AllocError::Contended)
    }

    /// The nodes of a run, which are its owner's to do with as it likes.
    #[inline]
    pub fn nodes_of_run(&self, run: &Run) -> impl Iterator<Item = *mut N> + use<P, N> {
        let nodes = self.nodes();
        // SAFETY: a run is of nodes inside the room.
        (run.first..run.first + run.count).map(move |number| unsafe { nodes.add(slot(number)) })
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
        match self.spend(self.blocks().of(number), 1, None) {
            Some(spent) => self.free_chain(spent),
            None => Ok(()),
        }
    }

    /// Counts so many nodes of a block as spent, and puts the block behind `chain` if they are its last.
    #[inline(always)]
    pub(crate) fn spend(&self, block: u64, nodes: u64, chain: Option<Chain>) -> Option<Chain> {
        let blocks = self.blocks();
        let all = blocks.len(block);
        // A whole block was nobody else's, so nothing has to be counted.
        let is_spent = nodes == all
            || self
                .link(block)
                .is_some_and(|link| (link.fetch_add(nodes, &site::FREE_SPEND) & MAX_NODES) + nodes == all);
        match chain {
            chain if !is_spent => chain,
            None => Some(Chain::of(block)),
            Some(chain) => Some(self.join(chain, Chain::of(block))),
        }
    }

    /// Puts the blocks of `front` before those of `back`.
    #[inline(always)]
    #[expect(clippy::needless_pass_by_value, reason = "both chains are given up for the longer one")]
    pub(crate) fn join(&self, front: Chain, back: Chain) -> Chain {
        self.set_link(front.last, back.first);
        Chain { first: front.first, last: back.last }
    }

    /// Gives a whole chain back, with one compare-exchange however long it is.
    ///
    /// Lock-free: an attempt fails only because another alloc or free succeeded.
    ///
    /// # Errors
    ///
    /// The chain, if the retry budget is spent.
    #[inline]
    pub fn free_chain(&self, chain: Chain) -> Result<(), Chain> {
        let mut seen = self.top.0.load(&site::FREE_TOP);

        for _ in P::steps(P::retry_budget()) {
            let top = Top::unpack(seen);
            self.set_link(chain.last, top.first);
            let above = Top { tag: top.tag, first: chain.first };

            match self.top.0.compare_exchange(seen, above.pack(), &site::FREE_PUSH) {
                Ok(_) => return Ok(()),
                Err(now) => seen = now,
            }
            P::relax();
        }
        Err(chain)
    }

    /// Makes `count` new nodes, or as many more as fill the last block, linked to a chain that
    /// [`free_chain`](Self::free_chain) puts on the free list: [`reserve`](Self::reserve) and
    /// [`link_up`](Self::link_up) at once. Any number of threads may grow a pool at once.
    ///
    /// # Errors
    ///
    /// [`GrowError`] says why the pool stays as it is.
    ///
    /// # Safety
    ///
    /// The memory of the next `count` nodes and links is there, and of those that fill the last block. Where the
    /// arena is populated page by page, that is known in a process that has mapped it, for it faults the pages
    /// in; elsewhere reserve first.
    #[inline]
    pub unsafe fn grow(&self, count: u64) -> Result<Chain, GrowError> {
        let reservation = self.reserve(count, count)?;
        // SAFETY: passed on to the caller; the reservation is this pool's.
        Ok(unsafe { self.link_up(reservation) })
    }

    /// Claims the numbers of `most` new nodes, or of as many more as fill the last block; of fewer if there is
    /// not so much room, but not of fewer than `least`. Their memory, at [`node_addresses`](Self::node_addresses) and
    /// [`link_addresses`](Self::link_addresses), is the caller's from now on, and needs not be there yet.
    ///
    /// # Errors
    ///
    /// [`GrowError`] says why the pool stays as it is.
    #[inline]
    pub fn reserve(&self, least: u64, most: u64) -> Result<Reservation, GrowError> {
        if self.nodes().is_null() {
            return Err(GrowError::Invalid);
        }
        let most = self.blocks().fill(most);
        let mut created = self.created.load(&site::GROW_CREATED);
        for _ in P::steps(P::retry_budget()) {
            let room = self.limit().saturating_sub(created);
            let count = most.min(room);
            if count == 0 || count < least {
                return Err(GrowError::Limit { asked: least, room });
            }
            match self.created.compare_exchange(created, created + count, &site::GROW_CLAIM) {
                Ok(_) => return Ok(Reservation { first: created + 1, count }),
                Err(now) => created = now,
            }
            P::relax();
        }
        Err(GrowError::Contended)
    }

    /// The nodes of a reservation, whose memory is its owner's.
    #[inline]
    pub fn reserved_nodes(&self, reservation: &Reservation) -> impl Iterator<Item = *mut N> + use<P, N> {
        let nodes = self.nodes();
        // Not `add`: their memory may not be there yet.
        (reservation.first..=reservation.last()).map(move |number| nodes.wrapping_add(slot(number)))
    }

    /// Where the nodes of a reservation will be.
    #[inline]
    pub fn node_addresses(&self, reservation: &Reservation) -> Range<usize> {
        addresses(self.nodes(), reservation.first, reservation.last())
    }

    /// Where the links of a reservation will be: one for each block.
    #[inline]
    pub fn link_addresses(&self, reservation: &Reservation) -> Range<usize> {
        let blocks = self.blocks();
        addresses(self.links(), blocks.of(reservation.first), blocks.of(reservation.last()))
    }

    /// Makes the nodes of a reservation, linked to a chain that [`free_chain`](Self::free_chain) puts on the
    /// free list.
    ///
    /// # Safety
    ///
    /// The reservation came from this pool's [`reserve`](Self::reserve), and the memory of its nodes and
    /// links is there.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "the reservation is given up for the chain")]
    pub unsafe fn link_up(&self, reservation: Reservation) -> Chain {
        let blocks = self.blocks();
        let (first, last) = (blocks.of(reservation.first), blocks.of(reservation.last()));
        let mut linked = first;
        for step in P::steps(last - first) {
            self.set_link(first + step, first + step + 1);
            linked = first + step + 1;
        }
        // A platform that ends the loop early has made fewer nodes; the numbers of the others are lost, which
        // costs room, not safety.
        debug_assert!(linked <= last, "a chain within its claim");
        Chain { first, last: linked }
    }

    /// Gives the numbers of a reservation back, as somebody does who could not get the memory.
    ///
    /// # Errors
    ///
    /// The reservation, if somebody has claimed the numbers after it. To drop it then costs the pool room
    /// and nothing else.
    #[inline]
    pub fn cancel(&self, reservation: Reservation) -> Result<(), Reservation> {
        // `created` is the largest number that is claimed. If it is our last, whatever happened to it
        // meanwhile, all numbers after ours are free, and so are ours from now on.
        match self.created.compare_exchange(reservation.last(), reservation.first - 1, &site::CANCEL_RETURN) {
            Ok(_) => Ok(()),
            Err(_) => Err(reservation),
        }
    }

    /// The number of nodes made so far.
    #[inline]
    pub fn created(&self) -> u64 {
        self.created.load(&site::INSPECT_CREATED)
    }

    /// The number of nodes that there is room for.
    #[inline]
    pub fn limit(&self) -> u64 {
        // SAFETY: written before the pool was handed out, and never again.
        unsafe { self.limit.read(&site::LIMIT) }
    }

    /// How many nodes a block has; the last one may have less.
    #[inline]
    pub fn block(&self) -> u64 {
        1 << self.blocks().shift
    }

    /// How many nodes may be spent while their block is not free, if no producer stalls.
    #[inline]
    pub fn spare(&self) -> u64 {
        spare(self.blocks().shift)
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
        let blocks = self.blocks();
        if blocks.shift > 0 {
            for block in 1..=blocks.made(self.created()) {
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
        if self.nodes().is_null() {
            return Err(Corruption::NotInitialised);
        }
        let blocks = self.blocks();
        let (mut free, mut length) = (0, 0);
        let mut block = self.first_free();
        while block != 0 {
            let link = self.link(block).ok_or(Corruption::Link(block))?;
            if length == blocks.count() {
                return Err(Corruption::Cycle(self.limit()));
            }
            length += 1;
            free += blocks.len(block);
            block = link.load(&site::INSPECT_LINK) & !MARK;
        }
        if blocks.shift > 0 {
            for rest in self.rests() {
                free += rest?.count;
            }
        }
        Ok(free)
    }

    /// The nodes of a block.
    pub(crate) fn nodes_of_block(&self, block: u64) -> impl Iterator<Item = *mut N> + use<P, N> {
        let (nodes, blocks) = (self.nodes(), self.blocks());
        // Not `add`: their memory may not be there yet.
        (blocks.first(block)..=blocks.last(block)).map(move |number| nodes.wrapping_add(slot(number)))
    }

    /// Where the nodes of a block lie.
    pub(crate) fn block_addresses(&self, block: u64) -> Range<usize> {
        let blocks = self.blocks();
        addresses(self.nodes(), blocks.first(block), blocks.last(block))
    }

    /// Where the links of the blocks from `first` to `last` lie.
    pub(crate) fn links_addresses(&self, first: u64, last: u64) -> Range<usize> {
        addresses(self.links(), first, last)
    }

    /// What is left in each magazine that is not empty, of a resting pool.
    pub(crate) fn rests(&self) -> impl Iterator<Item = Result<Run, Corruption>> {
        let blocks = self.blocks();
        self.magazines.iter().filter_map(move |magazine| match magazine.0.load(&site::INSPECT_MAGAZINE) {
            0 => None,
            next => Some(blocks.run(next, MAX_NODES).ok_or(Corruption::Link(next))),
        })
    }

    /// The number of the first block on the free list, or 0.
    pub(crate) fn first_free(&self) -> u64 {
        Top::unpack(self.top.0.load(&site::INSPECT_TOP)).first
    }

    /// Whether `node` is a node of this pool.
    #[inline]
    pub fn owns(&self, node: *mut N) -> bool {
        self.number(node).is_some()
    }

    #[inline(always)]
    fn nodes(&self) -> *mut N {
        // SAFETY: written before the pool was handed out, and never again.
        unsafe { self.nodes.read(&site::NODES) }
    }

    #[inline(always)]
    fn links(&self) -> *mut P::Word {
        // SAFETY: written before the pool was handed out, and never again.
        unsafe { self.links.read(&site::LINKS) }
    }

    /// The number of a node: from 1 to the limit.
    #[inline(always)]
    pub(crate) fn number(&self, node: *mut N) -> Option<u64> {
        let offset = node.addr().wrapping_sub(self.nodes().addr()) as u64;
        let slot = Self::SIZE.quotient(offset);
        (slot < self.limit()).then(|| slot + 1)
    }

    const SIZE: ExactDivisor = ExactDivisor::new(size_of::<N>() as u64);

    /// How the numbers are divided into blocks.
    #[inline(always)]
    pub(crate) fn blocks(&self) -> Blocks {
        // SAFETY: written before the pool was handed out, and never again.
        let shift = unsafe { self.block_shift.read(&site::BLOCK_SHIFT) };
        // A wild write may have changed it; a number out of range is refused where it is used.
        Blocks { shift: shift as u32 % 32, limit: self.limit() }
    }

    /// The link of a block, if there is such a number.
    #[inline(always)]
    pub(crate) fn link(&self, block: u64) -> Option<&P::Word> {
        if block.wrapping_sub(1) >= self.blocks().count() {
            return None;
        }
        // SAFETY: the number is that of a block, and there is a link for each.
        Some(unsafe { &*self.links().add(slot(block)) })
    }

    /// Sets the link of a block of which this thread is the owner.
    #[inline(always)]
    fn set_link(&self, block: u64, next: u64) {
        // It is a number that the pool has checked, unless somebody has written over the chain.
        if block.wrapping_sub(1) < self.limit() {
            // SAFETY: the number is from 1 to the limit, and there is room for so many links.
            unsafe { &*self.links().add(slot(block)) }.store(next, &site::FREE_LINK);
        }
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

/// The binary logarithm of the number of nodes of a block: 0 below 256 nodes, 6 from 8192 on.
#[inline(always)]
const fn block_shift(nodes: u64) -> u32 {
    match (nodes / LEAST_BLOCKS).checked_ilog2() {
        None => 0,
        Some(shift) if shift > MAX_BLOCK_SHIFT => MAX_BLOCK_SHIFT,
        Some(shift) => shift,
    }
}

/// How the numbers of nodes are divided into blocks: block 1 has those from 1 on. The last block ends at the
/// limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    pub(crate) shift: u32,
    limit: u64,
}

impl Blocks {
    /// The block of a node.
    #[inline(always)]
    pub(crate) fn of(self, number: u64) -> u64 {
        ((number - 1) >> self.shift) + 1
    }

    /// The first node of a block.
    #[inline(always)]
    fn first(self, block: u64) -> u64 {
        ((block - 1) << self.shift) + 1
    }

    /// The last node of a block.
    #[inline(always)]
    fn last(self, block: u64) -> u64 {
        (block << self.shift).min(self.limit)
    }

    /// How many nodes a block has.
    #[inline(always)]
    pub(crate) fn len(self, block: u64) -> u64 {
        self.last(block).wrapping_sub(self.first(block)).wrapping_add(1)
    }

    /// How many blocks there are.
    #[inline(always)]
    fn count(self) -> u64 {
        self.limit.wrapping_add((1 << self.shift) - 1) >> self.shift
    }

    /// How many blocks so many nodes are.
    pub(crate) fn made(self, created: u64) -> u64 {
        created.min(self.limit).div_ceil(1 << self.shift)
    }

    /// At least so many nodes, in whole blocks.
    #[inline(always)]
    fn fill(self, nodes: u64) -> u64 {
        let short = nodes.wrapping_neg() & ((1 << self.shift) - 1);
        nodes.saturating_add(short)
    }

    /// Up to `most` nodes from `first` on, all of one block. `None` if there is no such node.
    #[inline(always)]
    fn run(self, first: u64, most: u64) -> Option<Run> {
        if first.wrapping_sub(1) >= self.limit {
            return None;
        }
        // In this form nothing is left to compute for one node.
        let more = self.last(self.of(first)).wrapping_sub(first);
        Some(Run { first, count: 1 + more.min(most - 1) })
    }

    /// The node behind a run, or 0 if the block ends with it.
    #[inline(always)]
    fn behind(self, run: &Run) -> u64 {
        let next = run.first + run.count;
        if next > self.last(self.of(run.first)) { 0 } else { next }
    }
}

/// Divides what is a multiple, and shows what is not, with one multiplication (H. S. Warren, *Hacker's
/// Delight*, 2nd edition, 10-17).
///
/// The divisor is `odd << shift`. Multiplication by the inverse of `odd` modulo 2^64 permutes the numbers, and
/// takes each multiple of `odd` to its quotient; the rotation does the same for the power of two. So the
/// quotients up to `u64::MAX / divisor` are taken by the multiples, and everything else is sent above them.
#[derive(Clone, Copy)]
struct ExactDivisor {
    inverse: u64,
    shift: u32,
}

impl ExactDivisor {
    const fn new(divisor: u64) -> Self {
        assert!(divisor != 0 && divisor <= u64::MAX / MAX_NODES, "above every number of a node");
        let shift = divisor.trailing_zeros();
        let odd = divisor >> shift;
        // An odd number is its own inverse modulo 8; each of Newton's steps doubles the 3 bits that are right.
        let mut inverse = odd;
        while inverse.wrapping_mul(odd) != 1 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(inverse.wrapping_mul(odd)));
        }
        ExactDivisor { inverse, shift }
    }

    /// The quotient if `number` is a multiple of the divisor, and at least [`MAX_NODES`] if it is not.
    #[inline(always)]
    const fn quotient(self, number: u64) -> u64 {
        number.wrapping_mul(self.inverse).rotate_right(self.shift)
    }
}

/// Where a node, or the link of a block, lies in its array. Numbers are below 2^32, so the conversion loses
/// nothing on 64-bit machines.
#[inline(always)]
fn slot(number: u64) -> usize {
    (number - 1) as usize
}

/// The addresses of the elements from `first` to `last` in the array at `base`.
#[inline(always)]
fn addresses<S>(base: *mut S, first: u64, last: u64) -> Range<usize> {
    let at = |slot| base.addr() + slot * size_of::<S>();
    at(slot(first))..at(slot(last) + 1)
}

/// The top of the free list: the first block's number, or 0, and the ABA tag.
#[derive(Clone, Copy)]
struct Top {
    tag: u32,
    first: u64,
}

impl Top {
    #[inline(always)]
    fn unpack(word: u64) -> Top {
        Top { tag: (word >> 32) as u32, first: word & MAX_NODES }
    }

    /// A number that a wild write has made too large is cut; `link` refuses it when it is used.
    #[inline(always)]
    fn pack(self) -> u64 {
        u64::from(self.tag) << 32 | self.first & MAX_NODES
    }
}

impl<P: Platform, N> core::fmt::Debug for Pool<P, N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Pool")
            .field("created", &self.created())
            .field("limit", &self.limit())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{ExactDivisor, MAX_NODES};

    #[test]
    fn a_multiple_has_its_quotient_and_nothing_else_has_one_that_a_node_could_have() {
        for divisor in (1..=200).chain([1 << 20, (1 << 32) - 1, 1 << 32]) {
            let exact = ExactDivisor::new(divisor);
            for quotient in [0, 1, 2, 3, 1000, MAX_NODES - 1] {
                let multiple = quotient * divisor;
                assert_eq!(exact.quotient(multiple), quotient, "{multiple} / {divisor}");
                for off in [1, divisor / 2, divisor - 1] {
                    let number = multiple.wrapping_add(off);
                    if !number.is_multiple_of(divisor) {
                        assert!(exact.quotient(number) >= MAX_NODES, "{number} / {divisor}");
                    }
                }
            }
            // Before the first node, as an address of another pool may be.
            for below in 1..=1000u64 {
                let number = below.wrapping_neg();
                assert!(exact.quotient(number) >= MAX_NODES, "{number} / {divisor}");
            }
        }
    }
}
