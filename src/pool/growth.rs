//! Growth: nodes that are made.

use core::ops::Range;

use thiserror::Error;

use super::{Chain, Nodes, site};
use crate::platform::{Platform, Stride, Word};
use crate::status::Status;

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
/// before [`Nodes::link_up`]. A reservation that is dropped is lost to the pool.
///
/// That it is given to the pool it came from is the caller's promise:
///
/// ```compile_fail,E0133
/// use arenaq::{platform::Native, pool::{Nodes, Reservation}};
///
/// fn make(nodes: Nodes<'_, Native, u64>, reservation_of_another_pool: Reservation) {
///     let _ = nodes.link_up(reservation_of_another_pool);
/// }
/// ```
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

impl<'a, P: Platform, N> Nodes<'a, P, N> {
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

    /// Makes `count` more nodes, and those that fill the last block, and puts them on the free list. All their memory is
    /// written here, so that the arena has pages for them before a producer in the kernel gets one: it cannot fault
    /// them in, and what it wrote would be lost. Programs in the kernel that may allocate pages grow the pool in the
    /// same way, and at the same time if need be (`ds_pool_grow`).
    ///
    /// # Errors
    ///
    /// [`GrowError`] if there is no room, or others were faster. If somebody writes over the top of the free list all the
    /// time, the nodes are lost, and this ends all the same.
    ///
    /// # Safety
    ///
    /// The memory of all nodes that there is room for is mapped, and can be had.
    pub unsafe fn grow_zeroed(&self, count: u64) -> Result<(), GrowError> {
        let bytes = self.stride().bytes::<N>();
        // SAFETY: passed on to the caller. The nodes lie in the room of the pool, which is mapped, and are ours.
        unsafe { self.grow_with(count, |node| node.cast::<u8>().write_bytes(0, bytes)) }
    }

    /// [`grow_zeroed`](Self::grow_zeroed), with `write` to write each new node before anybody else has it.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// If `write` does. The nodes are lost then.
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn grow_with(&self, count: u64, write: impl FnMut(*mut N)) -> Result<(), GrowError> {
        let reservation = self.reserve(count, count)?;
        self.reserved_nodes(&reservation).for_each(write);
        // SAFETY: the reservation is this pool's; its nodes are written, and the links are mapped too.
        unsafe { self.free_chain_at_last(self.link_up(reservation)) };
        Ok(())
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
        let most = self.blocks.fill(most);
        let mut created = self.pool.created.load(&site::GROW_CREATED);
        for _ in P::steps(P::retry_budget()) {
            let room = self.blocks.limit.saturating_sub(created);
            let count = most.min(room);
            if count == 0 || count < least {
                return Err(GrowError::Limit { asked: least, room });
            }
            match self.pool.created.compare_exchange(created, created + count, &site::GROW_CLAIM) {
                Ok(_) => return Ok(Reservation { first: created + 1, count }),
                Err(now) => created = now,
            }
            P::relax();
        }
        Err(GrowError::Contended)
    }

    /// The nodes of a reservation, whose memory is its owner's.
    #[inline]
    pub fn reserved_nodes(&self, reservation: &Reservation) -> impl Iterator<Item = *mut N> + use<'a, P, N> {
        let nodes = *self;
        (reservation.first..=reservation.last()).map(move |number| nodes.place(number))
    }

    /// Where the nodes of a reservation will be.
    #[inline]
    pub fn node_addresses(&self, reservation: &Reservation) -> Range<usize> {
        self.places(reservation.first, reservation.last())
    }

    /// Where the links of a reservation will be: one for each block.
    #[inline]
    pub fn link_addresses(&self, reservation: &Reservation) -> Range<usize> {
        self.link_places(self.blocks.of(reservation.first), self.blocks.of(reservation.last()))
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
        let (first, last) = (self.blocks.of(reservation.first), self.blocks.of(reservation.last()));
        let mut linked = first;
        for step in P::steps(last - first) {
            // SAFETY: a block of the reservation, and so of this pool.
            unsafe { self.set_link(first + step, first + step + 1) };
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
    ///
    /// # Safety
    ///
    /// The reservation came from this pool's [`reserve`](Self::reserve).
    #[inline]
    pub unsafe fn cancel(&self, reservation: Reservation) -> Result<(), Reservation> {
        // `created` is the largest number that is claimed. If it is our last, whatever happened to it
        // meanwhile, all numbers after ours are free, and so are ours from now on.
        match self.pool.created.compare_exchange(
            reservation.last(),
            reservation.first - 1,
            &site::CANCEL_RETURN,
        ) {
            Ok(_) => Ok(()),
            Err(_) => Err(reservation),
        }
    }
}
