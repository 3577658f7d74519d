//! The node pool: the nodes of an intrusive queue, kept on a lock-free free list.
//!
//! A Treiber stack of node numbers (R. K. Treiber, *Systems programming: coping with parallelism*, IBM RJ
//! 5118, 1986). Two things keep it right where nodes are reused at once:
//!
//! - **An ABA tag.** The top of the list is one word, a node number and a tag. Every `alloc` advances the
//!   tag, so a thread that has read a top, and slept while the node left and came back, fails its
//!   compare-exchange. Between two advances of the tag nodes are only added, each a different one; so equal
//!   words mean the same moment, unless exactly 2^32 allocations fit between a load and its compare-exchange.
//! - **Links of their own.** The free list runs through an array beside the nodes, never through the nodes.
//!   From `alloc` until its node is published a producer is the only one that touches it, so a late reader of
//!   the list never reads a payload.
//!
//! All writes to the top are read-modify-writes, so each continues the release sequences of those before it:
//! an `alloc` that reads the top synchronises with every `free` whose node is still on the list, whoever
//! changed the top in between. That is why the compare-exchange of `alloc` can be relaxed on success.
//!
//! # Growth
//!
//! A pool has room for `limit` nodes, at addresses that are fixed from the start; `created` of them are made.
//! To grow is to claim the next numbers, to see that their memory is there, and to free them as one chain.
//! Where the memory comes page by page, the claim comes first ([`Pool::reserve`]): then nobody else asks for
//! the same nodes' pages, and a page that two reservations share may be asked for by both.
//!
//! # Layout
//!
//! `top` 0x00 (node number in the low half, 0 for none; tag in the high half), `created` 0x40, `limit` 0x48,
//! `nodes` 0x50, `links` 0x58; 128 bytes. Links are 64-bit words. All zero is a pool that was never
//! initialised.

use core::ops::Range;

use thiserror::Error;

use crate::layout::CacheLine;
use crate::platform::{Plain, Platform, Word};
use crate::status::{Corruption, PushError, Status};

/// The sites of the pool.
pub mod site {
    use crate::ordering::Ordering::{Acquire, Relaxed, Release};
    use crate::ordering::{Site, sites};

    sites! {
        /// Where the nodes are; null in a pool that was never initialised.
        NODES: Read = Site::read("pool.any.read_nodes")
            .why("written once, before the pool is handed out");
        /// Where the links of the free list are.
        LINKS: Read = Site::read("pool.any.read_links")
            .why("written once, before the pool is handed out");
        /// How many nodes there is room for.
        LIMIT: Read = Site::read("pool.any.read_limit")
            .why("written once, before the pool is handed out");

        /// The first free node.
        ALLOC_TOP: Load = Site::load(Acquire, "pool.alloc.load_top")
            .pairs_with(&["pool.free.push_chain"])
            .why("what the last owner did to the node happens before the next owner writes it, and its link is there");
        /// The free node after it.
        ALLOC_LINK: Load = Site::load(Relaxed, "pool.alloc.load_link")
            .why("may be anything if the node was taken meanwhile: then the tag has moved, and the claim fails");
        /// The claim of the first free node.
        ALLOC_CLAIM: CompareExchange = Site::compare_exchange(Relaxed, Acquire, "pool.alloc.claim_node")
            .pairs_with(&["pool.free.push_chain"])
            .why("success: a read-modify-write continues the release sequences of the frees below, and the top was acquired \
                  when it was read; failure: this is the load of the next attempt");

        /// The first free node, of several to take.
        ALLOC_CHAIN_TOP: Load = Site::load(Acquire, "pool.alloc_chain.load_top")
            .pairs_with(&["pool.free.push_chain"])
            .why("what the last owners did to the nodes happens before the next owner writes them, and the links are there");
        /// The free node after one of those to take.
        ALLOC_CHAIN_LINK: Load = Site::load(Relaxed, "pool.alloc_chain.load_link")
            .why("may be anything if a node was taken meanwhile: then the tag has moved, and the claim fails");
        /// The claim of all of them.
        ALLOC_CHAIN_CLAIM: CompareExchange = Site::compare_exchange(Relaxed, Acquire, "pool.alloc_chain.claim_nodes")
            .pairs_with(&["pool.free.push_chain"])
            .why("as the claim of one node: the top has been acquired, and with it the frees of all nodes below");
        /// The next node of a chain.
        CHAIN_LINK: Load = Site::load(Relaxed, "pool.chain.load_link")
            .why("the chain is its owner's, and so are its links");

        /// The top onto which a chain will be pushed.
        FREE_TOP: Load = Site::load(Relaxed, "pool.free.load_top")
            .why("only its value goes into the last link: nothing is read through it");
        /// A link inside a chain, or from its last node to the list below.
        FREE_LINK: Store = Site::store(Relaxed, "pool.free.store_link")
            .why("released by the push of the chain; atomic because a late alloc may still look at it");
        /// The chain becomes anybody's.
        FREE_PUSH: CompareExchange = Site::compare_exchange(Release, Relaxed, "pool.free.push_chain")
            .pairs_with(&[
                "pool.alloc.load_top",
                "pool.alloc.claim_node",
                "pool.alloc_chain.load_top",
                "pool.alloc_chain.claim_nodes",
                "pool.inspect.load_top",
            ])
            .why("the links, and what the owner did to the nodes, happen before whoever takes them; failure: as the first load");

        /// The number of nodes made so far.
        GROW_CREATED: Load = Site::load(Relaxed, "pool.grow.load_created")
            .why("only a guess: the claim fails if it is old");
        /// The claim of numbers for new nodes.
        GROW_CLAIM: CompareExchange = Site::compare_exchange(Acquire, Relaxed, "pool.grow.claim_numbers")
            .pairs_with(&["pool.cancel.return_numbers"])
            .why("success: what somebody did to the memory of numbers that he gave back happens before it is ours; the nodes are \
                  published by the push of their chain; failure: as the first load");

        /// The numbers of a reservation can be claimed again, if nobody has claimed others after them.
        CANCEL_RETURN: CompareExchange = Site::compare_exchange(Release, Relaxed, "pool.cancel.return_numbers")
            .pairs_with(&["pool.grow.claim_numbers"])
            .why("what was done to the memory happens before the next claim of it; failure: nothing is read");

        /// The number of nodes made so far, as an observer reads it.
        INSPECT_CREATED: Load = Site::load(Relaxed, "pool.inspect.load_created")
            .why("the result is old by the time that it is returned, whatever the ordering");
        /// The free list, as an observer of a resting pool follows it.
        INSPECT_TOP: Load = Site::load(Acquire, "pool.inspect.load_top")
            .pairs_with(&["pool.free.push_chain"])
            .why("the links of the chain are there");
        /// A link, as an observer of a resting pool follows it.
        INSPECT_LINK: Load = Site::load(Relaxed, "pool.inspect.load_link")
            .why("released with the top that leads to it");

        /// Everything that is written before the pool is handed out.
        INIT: Write = Site::write("pool.init.write")
            .why("nobody else knows of the pool yet");
    }
}

/// The largest number of nodes: their numbers are 32 bits wide, and 0 means none.
pub const MAX_NODES: u64 = u32::MAX as u64;

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

/// Nodes that one owner is about to give back, linked to each other. A chain that is dropped is lost to the
/// pool.
#[must_use = "a chain that is dropped is lost to the pool"]
#[derive(Debug)]
pub struct Chain {
    first: u64,
    last: u64,
}

impl Chain {
    /// A chain of one node.
    pub(crate) fn of(number: u64) -> Chain {
        Chain { first: number, last: number }
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
}

// SAFETY: the pool itself is atomic words and three values that never change after initialisation. It hands
// each node to one owner at a time, and a node's way from one owner to the next is an acquire of what the
// other released (ALLOC_TOP, FREE_PUSH).
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
        unsafe { self.init_at(nodes, links, limit, 0) }
    }

    /// [`init`](Self::init) with the tag at `tag` instead of 0, as if there had been so many allocations. The
    /// tag wraps around at 2^32.
    ///
    /// # Safety
    ///
    /// As [`init`](Self::init).
    #[inline]
    pub unsafe fn init_at(&self, nodes: *mut N, links: *mut P::Word, limit: u64, tag: u32) {
        // SAFETY: nobody uses the pool before we return.
        unsafe {
            self.top.0.init(Top { tag, first: 0 }.pack(), &site::INIT);
            self.created.init(0, &site::INIT);
            self.limit.write(limit.min(MAX_NODES), &site::INIT);
            self.links.write(links, &site::INIT);
            self.nodes.write(nodes, &site::INIT);
        }
    }

    /// Takes a node off the free list. Its contents are whatever the last owner left, or nothing if it is
    /// new.
    ///
    /// Lock-free: an attempt fails only because another alloc or free succeeded.
    ///
    /// # Errors
    ///
    /// [`AllocError`] says why there is none.
    #[inline]
    pub fn alloc(&self) -> Result<*mut N, AllocError> {
        let nodes = self.nodes();
        if nodes.is_null() {
            return Err(AllocError::Invalid);
        }
        let mut seen = self.top.0.load(&site::ALLOC_TOP);

        for _ in P::steps(P::retry_budget()) {
            let top = Top::unpack(seen);
            if top.first == 0 {
                return Err(AllocError::Exhausted);
            }
            let second = self.link(top.first).ok_or(AllocError::Invalid)?.load(&site::ALLOC_LINK);
            let below = Top { tag: top.tag.wrapping_add(1), first: second };

            match self.top.0.compare_exchange(seen, below.pack(), &site::ALLOC_CLAIM) {
                // SAFETY: `link` has checked the number: it is that of a node inside the room.
                Ok(_) => return Ok(unsafe { nodes.add(slot(top.first)) }),
                Err(now) => seen = now,
            }
            P::relax();
        }
        Err(AllocError::Contended)
    }

    /// Takes up to `most` nodes off the free list with one compare-exchange. Returns them as a chain, with
    /// their number, which is at least 1: what is free is taken if it is less than `most`.
    ///
    /// The links below the top are read one by one, while others may allocate and free. That is no more
    /// than [`alloc`](Self::alloc) does with the first of them: the nodes on the list are changed only by
    /// those who take them off, and every such step moves the tag. If the claim succeeds, the top is what it
    /// was when it was read, and so was every link below it.
    ///
    /// Lock-free: an attempt fails only because another alloc or free succeeded.
    ///
    /// # Errors
    ///
    /// [`AllocError`] says why there is not one; `Exhausted` also if `most` is 0.
    #[inline]
    pub fn alloc_chain(&self, most: u64) -> Result<(Chain, u64), AllocError> {
        if self.nodes().is_null() {
            return Err(AllocError::Invalid);
        }
        let mut seen = self.top.0.load(&site::ALLOC_CHAIN_TOP);

        for _ in P::steps(P::retry_budget()) {
            let top = Top::unpack(seen);
            if top.first == 0 || most == 0 {
                return Err(AllocError::Exhausted);
            }
            let mut chain = Chain::of(top.first);
            let mut below = top.first;
            let mut length = 0;
            for _ in P::steps(most) {
                // No number, or none of a node: the list ends here, or what we have read is old, and the
                // claim will fail.
                let Some(link) = self.link(below) else { break };
                chain.last = below;
                below = link.load(&site::ALLOC_CHAIN_LINK) & MAX_NODES;
                length += 1;
            }
            if length == 0 {
                return Err(AllocError::Invalid);
            }
            let below = Top { tag: top.tag.wrapping_add(1), first: below };
            match self.top.0.compare_exchange(seen, below.pack(), &site::ALLOC_CHAIN_CLAIM) {
                Ok(_) => return Ok((chain, length)),
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
    /// The node, as a chain, if the retry budget is spent; try [`free_chain`](Self::free_chain) again later.
    ///
    /// # Safety
    ///
    /// `node` came from this pool's [`alloc`](Self::alloc), and nobody uses it any more.
    #[inline]
    pub unsafe fn free(&self, node: *mut N) -> Result<(), Chain> {
        // SAFETY: the caller's promise is the same.
        self.free_chain(unsafe { self.chain(node) })
    }

    /// A chain of one node.
    ///
    /// # Safety
    ///
    /// `node` came from this pool's [`alloc`](Self::alloc), and nobody uses it any more.
    #[inline]
    pub unsafe fn chain(&self, node: *mut N) -> Chain {
        let number = self.number(node);
        debug_assert!(number.is_some(), "a node of another pool");
        Chain::of(number.unwrap_or(0))
    }

    /// Puts the nodes of `front` before those of `back`.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "both chains are given up for the longer one")]
    pub fn join(&self, front: Chain, back: Chain) -> Chain {
        self.set_link(front.last, back.first);
        Chain { first: front.first, last: back.last }
    }

    /// Puts a node behind those of `chain`.
    #[inline(always)]
    pub(crate) fn append(&self, chain: Option<Chain>, number: u64) -> Chain {
        match chain {
            None => Chain::of(number),
            Some(chain) => self.join(chain, Chain::of(number)),
        }
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

    /// Makes `count` new nodes, linked to a chain that [`free_chain`](Self::free_chain) puts on the free
    /// list: [`reserve`](Self::reserve) and [`link_up`](Self::link_up) at once. Any number of threads may
    /// grow a pool at once.
    ///
    /// # Errors
    ///
    /// [`GrowError`] says why the pool stays as it is.
    ///
    /// # Safety
    ///
    /// The memory of the next `count` nodes and links is there. Where the arena is populated page by page,
    /// that is known in a process that has mapped it, for it faults the pages in; elsewhere reserve first.
    #[inline]
    pub unsafe fn grow(&self, count: u64) -> Result<Chain, GrowError> {
        let reservation = self.reserve(count, count)?;
        // SAFETY: passed on to the caller; the reservation is this pool's.
        Ok(unsafe { self.link_up(reservation) })
    }

    /// Claims the numbers of `most` new nodes, or of fewer if there is not so much room, but not of fewer
    /// than `least`. Their memory, at [`node_addresses`](Self::node_addresses) and
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

    /// Where the nodes of a reservation will be.
    #[inline]
    pub fn node_addresses(&self, reservation: &Reservation) -> Range<usize> {
        addresses(self.nodes(), reservation)
    }

    /// Where the links of a reservation will be.
    #[inline]
    pub fn link_addresses(&self, reservation: &Reservation) -> Range<usize> {
        addresses(self.links(), reservation)
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
        let Reservation { first, count } = reservation;
        let mut linked = first;
        for step in P::steps(count - 1) {
            self.set_link(first + step, first + step + 1);
            linked = first + step + 1;
        }
        // A platform that ends the loop early has made fewer nodes; the numbers of the others are lost, which
        // costs room, not safety.
        debug_assert!(linked <= reservation.last(), "a chain within its claim");
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

    /// The nodes of a chain, which are its owner's to do with as it likes. The chain must not be given back,
    /// or joined with another, before the last node has been seen.
    #[inline]
    pub fn nodes_of(&self, chain: &Chain) -> impl Iterator<Item = *mut N> {
        let last = chain.last;
        let mut next = Some(chain.first);
        core::iter::from_fn(move || {
            let number = next?;
            let link = self.link(number)?;
            next = (number != last).then(|| link.load(&site::CHAIN_LINK) & MAX_NODES);
            // SAFETY: `link` has checked the number: it is that of a node inside the room.
            Some(unsafe { self.nodes().add(slot(number)) })
        })
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

    /// Counts the nodes on the free list of a resting pool. While others allocate or free, the result is
    /// anything, or an error.
    ///
    /// # Errors
    ///
    /// [`Corruption`] if the list leads out of the pool or in a circle.
    #[inline]
    pub fn free_nodes(&self) -> Result<u64, Corruption> {
        if self.nodes().is_null() {
            return Err(Corruption::NotInitialised);
        }
        let limit = self.limit();
        let mut number = self.first_free();
        for step in P::steps(limit + 1) {
            if number == 0 {
                return Ok(step);
            }
            number = self.link(number).ok_or(Corruption::Link(number))?.load(&site::INSPECT_LINK);
        }
        Err(Corruption::Cycle(limit))
    }

    /// The number of the first node on the free list, or 0.
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

    /// The link of a node that is on the free list, if there is such a number.
    #[inline(always)]
    pub(crate) fn link(&self, number: u64) -> Option<&P::Word> {
        if number.wrapping_sub(1) >= self.limit() {
            return None;
        }
        // SAFETY: the number is from 1 to the limit, and there is a link for each.
        Some(unsafe { &*self.links().add(slot(number)) })
    }

    /// Sets the link of a node of which this thread is the owner.
    #[inline(always)]
    fn set_link(&self, number: u64, next: u64) {
        if let Some(link) = self.link(number) {
            link.store(next, &site::FREE_LINK);
        }
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

/// Where a node lies in the arrays. Numbers are below 2^32, so the conversion loses nothing on 64-bit
/// machines.
#[inline(always)]
fn slot(number: u64) -> usize {
    (number - 1) as usize
}

/// The addresses of a reservation's elements in the array at `base`.
#[inline(always)]
fn addresses<S>(base: *mut S, reservation: &Reservation) -> Range<usize> {
    let start = base.addr() + slot(reservation.first) * size_of::<S>();
    start..start + reservation.count as usize * size_of::<S>()
}

/// The top of the free list: the first node's number, or 0, and the ABA tag.
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
