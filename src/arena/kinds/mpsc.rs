//! What an arena has to know of MPSC queues: a list of nodes from a pool, and the right to be its one consumer.

use core::mem::offset_of;
use core::num::NonZero;
use core::ptr;

use super::structure::{Consume, Elements, Ground, Place, Produce, Seat, Structure, has_no_slots, stride};
use crate::arena::consumer::Claimed;
use crate::arena::error::{ArenaError, CreateError};
use crate::arena::look::{Front, Look};
use crate::arena::places::Occupied;
use crate::arena::region::{CACHE_LINE, PAGE, Span};
use crate::arena::said::{Said, block_at};
use crate::arena::spec::{Placed, Spec};
use crate::count::{CountPolicy, Uncounted};
use crate::mpsc::{self, Control, List, site};
use crate::ordering::{Read, Site, Write};
use crate::payload::Payload;
use crate::platform::{self, Opaque, Platform, Stride, Untyped};
use crate::pool::{Geometry, MAX_ELEMENTS, Nodes, Pool, Start, nodes_for};
use crate::status::{Corruption, PopError, PushError};
use crate::structures::{Consumers, Kind};

type Node = mpsc::Node<Untyped, Opaque>;
type Head = mpsc::Head<Untyped, Opaque>;
type NodePool = Pool<Untyped, Node>;
type Link = <Untyped as Platform>::Word;

/// The parts of an MPSC queue.
#[derive(Clone, Copy, Debug)]
pub(in crate::arena) struct Mpscs<'m> {
    head: &'m Head,
    nodes: Nodes<'m, Untyped, Node>,
}

impl<'m> Mpscs<'m> {
    /// A list whose nodes lie where the geometry says.
    fn at(
        region: &Span<'m>,
        (head, pool): (&'m Head, &'m NodePool),
        geometry: &Geometry<Untyped, Node>,
        size: u64,
        occupied: &mut Occupied,
    ) -> Result<Self, ArenaError> {
        const NODES: &str = "the nodes";
        const LINKS: &str = "the links of the node pool";
        // Null is no address of the region, and would be reported as one that lies outside.
        if geometry.nodes.is_null() || geometry.links.is_null() {
            return Err(Corruption::NotInitialised.into());
        }
        let limit = geometry.limit as usize;
        let bytes = limit.saturating_mul(stride(size).bytes::<Node>());
        let nodes = region.place_bytes::<Node>(NODES, geometry.nodes.addr(), bytes)?;
        let links = region.place::<Link>(LINKS, geometry.links.addr(), limit)?;
        occupied.add(NODES, geometry.nodes.addr(), bytes);
        occupied.add(LINKS, geometry.links.addr(), limit * size_of::<Link>());
        let geometry = Geometry { nodes: nodes.as_ptr(), links: links.as_ptr(), ..*geometry };
        // SAFETY: nodes and links lie in the region, which is mapped for 'm. Whoever hands the list out has checked that
        // nothing else of the arena lies there.
        let nodes = unsafe { Nodes::checked(pool, geometry, stride(size)) }?;
        Ok(Mpscs { head, nodes })
    }
}

/// For how many elements the pool has room.
fn limit(spec: &Spec<'_>) -> Result<u64, ArenaError> {
    let limit = spec.limit.max(spec.capacity);
    if spec.capacity == 0 || limit > MAX_ELEMENTS { Err(ArenaError::Nodes(limit)) } else { Ok(limit) }
}

impl<'m> Structure<'m> for Mpscs<'m> {
    const KIND: Kind = Kind::Mpsc;
    type Control = Control<Untyped, Opaque, Uncounted>;
    const CONTROL: &'static str = "arenaq_mpsc";
    const CONSUMERS: Consumers = Consumers::One;

    fn placed(start: usize) -> Placed {
        Placed {
            head: start + offset_of!(Self::Control, head),
            pool: start + offset_of!(Self::Control, pool),
            drops: Some(start + offset_of!(Self::Control, drops)),
            events: Some(start + offset_of!(Self::Control, events)),
        }
    }

    fn room(spec: &Spec<'_>) -> Result<u64, CreateError> {
        let limit = limit(spec)?;
        let pages = if limit > spec.capacity { 3 * PAGE } else { 0 };
        let each = size_of::<Link>() + stride(spec.element.size).bytes::<Node>();
        Ok(nodes_for(limit).0 * each as u64 + (2 * CACHE_LINE + pages) as u64)
    }

    fn make(
        ground: &mut Ground<'_, 'm>,
        spec: &Spec<'_>,
        control: Placed,
    ) -> Result<(Self, usize), CreateError> {
        let Ground { region, space, occupied } = ground;
        let limit = limit(spec)?;
        let ((limit, block), more) = (nodes_for(limit), limit - spec.capacity);
        let nodes = limit - more;
        let can_grow = limit > nodes;
        let stride = stride(spec.element.size);
        let room = limit as usize;
        if can_grow {
            space.begin_page();
        }
        let links = space.take::<Link>("the links of the node pool", room)?;
        if can_grow {
            space.begin_page();
        }
        let first = space.take_bytes("the nodes", stride.bytes::<Node>(), room)?;
        if can_grow {
            space.begin_page();
        }
        let (head, pool) = heads_at(region, (control.head, control.pool), occupied)?;
        let geometry = Geometry {
            nodes: region.place_bytes::<Node>("the nodes", first, room * stride.bytes::<Node>())?.as_ptr(),
            links: region.place::<Link>("the links of the node pool", links, room)?.as_ptr(),
            limit,
            block_shift: u64::from(block.ilog2()),
        };
        let start = Start { tag: spec.start as u32, block: NonZero::new(block) };
        let (all, words) = (geometry.nodes, geometry.links);
        let parts = Mpscs::at(region, (head, pool), &geometry, spec.element.size, occupied)?;
        occupied.check()?;
        // SAFETY: nodes and links were taken from the free space, so they are the pool's alone; the region is mapped, so
        // their memory is there; and nobody knows of the queue before it is in the directory.
        unsafe {
            pool.init_at(all, words, limit, start);
            parts.nodes.grow_zeroed(nodes)?;
            head.init(parts.nodes)?;
        }
        Ok((parts, 0))
    }

    fn attach(region: &Span<'m>, said: &Said, occupied: &mut Occupied) -> Result<Self, ArenaError> {
        let (head, pool) = heads_at(region, (said.head, said.pool), occupied)?;
        Mpscs::at(region, (head, pool), &pool.geometry(), said.element.size, occupied)
    }

    fn capacity(&self) -> u64 {
        self.nodes.limit()
    }

    fn look(&self) -> Look {
        let Mpscs { head, nodes } = self;
        // What is neither free nor the stub is an element. Each of the two is at least one of those that were made.
        let free = nodes.free_nodes().ok();
        let len = free.map(|free| nodes.created().saturating_sub(free).saturating_sub(1));
        let capacity = nodes.limit().saturating_sub(nodes.spare()).saturating_sub(1);
        // SAFETY: a pointer's place in the head. A consumer of another process may write there at the same time, and whatever
        // is read, it is checked.
        let stub = unsafe { ptr::read_volatile((&raw const head.tail).cast::<*mut Node>()) };
        let back = platform::Link::load(&head.head, &site::INSPECT_HEAD);
        let front = if stub == back || !nodes.owns(stub) {
            Front::Empty
        } else {
            // SAFETY: it is a node of the pool, which is valid whatever the bytes.
            let next = platform::Link::load(unsafe { &(*nodes.own(stub)).next }, &site::SEARCH_NEXT);
            if next.is_null() { Front::Pushing(stub.addr() as u64) } else { Front::Ready }
        };
        Look { capacity, len, front }
    }
}

fn heads_at<'m>(
    region: &Span<'m>,
    (head, pool): (usize, usize),
    occupied: &mut Occupied,
) -> Result<(&'m Head, &'m NodePool), ArenaError> {
    // SAFETY: both are words and plain numbers and pointers, valid whatever the bytes.
    unsafe {
        Ok((
            block_at(region, "the MPSC head", head, occupied)?,
            block_at(region, "the node pool", pool, occupied)?,
        ))
    }
}

impl<'m> Elements<'m> for Mpscs<'m> {
    type Producer<P: Platform + 'm, T: 'm, C: CountPolicy + 'm> = List<'m, P, T, C>;
    type Consumer<P: Platform + 'm, T: 'm, C: CountPolicy + 'm> = Claimed<'m, P, T, C>;

    unsafe fn producer<P: Platform, T, C: CountPolicy>(
        &self,
        stride: P::Stride,
    ) -> Result<List<'m, P, T, C>, ArenaError> {
        // SAFETY: passed on to the caller; heads do not depend on the policy.
        let list: List<'m, P, T, C> = unsafe { List::cast_from(self.head, self.nodes, stride) };
        list.check_head()?;
        Ok(list)
    }

    unsafe fn consumer<P: Platform, T, C: CountPolicy>(
        &self,
        place: Place<'m>,
        stride: P::Stride,
        seat: Seat,
    ) -> Result<Claimed<'m, P, T, C>, ArenaError> {
        // SAFETY: passed on to the caller.
        let list = unsafe { self.producer(stride) }?;
        // SAFETY: `P` has the words of `Native` by the caller's promise.
        let right = unsafe { place.entry.consumer.cast() };
        match seat {
            // SAFETY: whoever consumes from the queue has the right in its entry.
            Seat::Free(owner) => unsafe { Claimed::claim(list, right, owner) },
            // SAFETY: as above; the rest is passed on to the caller.
            Seat::OfTheDead { dead, owner } => unsafe { Claimed::take_over(list, right, dead, owner) },
            Seat::Slot(..) => Err(has_no_slots::<Self>(place.name)),
        }
    }
}

impl<P: Platform, T, C: CountPolicy> Produce<P, T> for List<'_, P, T, C> {
    #[inline(always)]
    unsafe fn push_in_place(
        &self,
        write: impl FnOnce(&P::Plain<T>, &'static Site<Write>),
    ) -> Result<(), PushError> {
        // SAFETY: passed on to the caller.
        unsafe { List::push_in_place(self, write) }
    }

    #[inline(always)]
    fn push(&self, value: T) -> Result<(), PushError>
    where
        T: Payload,
    {
        List::push(self, value)
    }

    #[inline(always)]
    fn push_many(&self, values: &[T]) -> Result<usize, PushError>
    where
        T: Payload,
    {
        List::push_many(self, values)
    }
}

impl<P: Platform, T, C: CountPolicy> Consume<P, T> for Claimed<'_, P, T, C> {
    #[inline(always)]
    unsafe fn pop_in_place<R>(
        &mut self,
        read: impl FnOnce(&P::Plain<T>, &'static Site<Read>) -> R,
    ) -> Result<R, PopError> {
        // SAFETY: passed on to the caller.
        unsafe { self.consumer.pop_in_place(read) }
    }

    #[inline(always)]
    fn drain(&mut self, limit: u64, hand_over: impl FnMut(T)) -> Result<u64, PopError>
    where
        T: Payload,
    {
        self.consumer.drain(limit, hand_over)
    }

    fn is_drained(&self) -> bool {
        self.consumer.is_drained()
    }

    unsafe fn inspect(&mut self, mut see: impl FnMut(&T)) -> Result<(), Corruption>
    where
        T: Payload,
    {
        let verify = self.consumer.verify_quiesced();
        self.consumer.search(|element| {
            see(element);
            false
        });
        verify
    }
}
