//! The parts of a queue, found in an arena and checked: they are copied out of shared memory once, and the copy is what
//! everybody uses from then on.

use core::{ptr, slice};

use super::directory::NativeEntry;
use super::error::ArenaError;
use super::header::site;
use super::name::Name;
use super::owner::Owner;
use super::places::Occupied;
use super::region::Span;
use crate::drops::Drops;
use crate::eventcount::EventCount;
use crate::mpmc::{self, Capacity, Ring, Slots};
use crate::mpsc;
use crate::payload::{ElementType, MAX_SIZE};
use crate::platform::{Bytes, Native, Opaque, Plain, Platform, Stride, Untyped};
use crate::pool::{Geometry, Nodes, Pool};
use crate::records::{self, Lane, Records};
use crate::status::Corruption;
use crate::structures::Kind;

pub(super) type Cell = mpmc::Cell<Untyped, Opaque>;
pub(super) type Node = mpsc::Node<Untyped, Opaque>;
pub(super) type MpmcHead = mpmc::Head<Untyped, Opaque>;
pub(super) type MpscHead = mpsc::Head<Untyped, Opaque>;
pub(super) type NodePool = Pool<Untyped, Node>;
pub(super) type Link = <Untyped as Platform>::Word;
pub(super) type Control = records::Control<Native>;
/// A word of a lane's ring.
pub(super) type Word = <Native as Platform>::Plain<u64>;

/// A queue of an arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'m> {
    pub(super) name: Name,
    pub(super) element: ElementType,
    pub(super) counted: bool,
    pub(super) entry: &'m NativeEntry,
    pub(super) drops: Option<&'m Drops<Native>>,
    /// Its own, if it has one.
    pub(super) events: Option<&'m EventCount<Native>>,
    pub(super) parts: Parts<'m>,
}

/// The parts of a queue, by its kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Parts<'m> {
    Mpmc { ring: Ring<'m, Untyped, Opaque>, slots: &'m Slots<Native> },
    Mpsc { head: &'m MpscHead, nodes: Nodes<'m, Untyped, Node> },
    Records(Records<'m, Native>),
}

/// How far apart cells or nodes lie that carry elements of `size` bytes: each has one word more.
pub(super) fn stride(size: u64) -> Bytes {
    Bytes::new(size + 8)
}

/// Whether a queue can carry elements of that size.
pub(super) fn check_size(size: u64) -> Result<(), ArenaError> {
    let is_element = size > 0 && size <= MAX_SIZE as u64 && size % 8 == 0;
    if is_element { Ok(()) } else { Err(ArenaError::NotAnElement(size)) }
}

/// What an entry of the directory says, read once.
struct Said {
    name: Option<Name>,
    kind: u64,
    element: ElementType,
    counted: u64,
    head: usize,
    pool: usize,
    drops: usize,
    slots: usize,
    events: usize,
}

impl Said {
    fn read(entry: &NativeEntry) -> Said {
        // SAFETY: written before the magic that we have acquired. If somebody writes there all the same, the value
        // is anything, which is what it is taken for.
        unsafe {
            Said {
                name: Name::from_words(entry.name.each_ref().map(|word| word.read(&site::ATTACH))),
                kind: entry.kind.read(&site::ATTACH),
                element: ElementType {
                    size: entry.element_size.read(&site::ATTACH),
                    hash: entry.element_hash.read(&site::ATTACH),
                },
                counted: entry.counted.read(&site::ATTACH),
                head: entry.head.read(&site::ATTACH) as usize,
                pool: entry.pool.read(&site::ATTACH) as usize,
                drops: entry.drops.read(&site::ATTACH) as usize,
                slots: entry.slots.read(&site::ATTACH) as usize,
                events: entry.events.read(&site::ATTACH) as usize,
            }
        }
    }
}

impl<'m> Found<'m> {
    /// The queue of an entry, if it is one.
    pub(super) fn attach(
        region: &Span<'m>,
        (number, entry): (usize, &'m NativeEntry),
        occupied: &mut Occupied,
    ) -> Result<Found<'m>, ArenaError> {
        let damaged = |what, found| ArenaError::Directory { entry: number, what, found };
        let said = Said::read(entry);
        let name = said.name.ok_or_else(|| damaged("the name", 0))?;
        let kind = Kind::from_code(said.kind).ok_or_else(|| damaged("the kind", said.kind))?;
        check_size(said.element.size)?;
        if said.counted > 1 {
            return Err(damaged("the count policy", said.counted));
        }
        let drops = match said.drops {
            0 => None,
            address => Some(drops_at(region, address, occupied)?),
        };
        let events = match said.events {
            0 => None,
            address => Some(events_at(region, address, occupied)?),
        };
        let size = said.element.size;
        let parts = match kind {
            Kind::Mpmc => Parts::ring(region, (said.head, said.slots), size, occupied)?,
            Kind::Mpsc => Parts::list(region, (said.head, said.pool), size, occupied)?,
            Kind::Records => Parts::records(region, said.head, size, occupied)?,
        };
        Ok(Found { name, element: said.element, counted: said.counted == 1, entry, drops, events, parts })
    }

    pub(super) fn kind(&self) -> Kind {
        match self.parts {
            Parts::Mpmc { .. } => Kind::Mpmc,
            Parts::Mpsc { .. } => Kind::Mpsc,
            Parts::Records(_) => Kind::Records,
        }
    }
}

/// Counters of what is dropped.
pub(super) fn drops_at<'m>(
    region: &Span<'m>,
    address: usize,
    occupied: &mut Occupied,
) -> Result<&'m Drops<Native>, ArenaError> {
    const WHAT: &str = "the counters of drops";
    occupied.add(WHAT, address, size_of::<Drops<Native>>());
    // SAFETY: counters are words, valid whatever the bytes.
    unsafe { region.reference::<Drops<Native>>(WHAT, address) }
}

/// What the consumers of one queue sleep on.
pub(super) fn events_at<'m>(
    region: &Span<'m>,
    address: usize,
    occupied: &mut Occupied,
) -> Result<&'m EventCount<Native>, ArenaError> {
    const WHAT: &str = "the event count of a queue";
    occupied.add(WHAT, address, size_of::<EventCount<Native>>());
    // SAFETY: an event count is a word, valid whatever the bytes.
    unsafe { region.reference::<EventCount<Native>>(WHAT, address) }
}

/// Slots for consumers.
pub(super) fn slots_at<'m>(
    region: &Span<'m>,
    address: usize,
    occupied: &mut Occupied,
) -> Result<&'m Slots<Native>, ArenaError> {
    const WHAT: &str = "the slots for consumers";
    occupied.add(WHAT, address, size_of::<Slots<Native>>());
    // SAFETY: slots are words, valid whatever the bytes.
    unsafe { region.reference::<Slots<Native>>(WHAT, address) }
}

impl<'m> Parts<'m> {
    /// What an MPMC head says.
    fn ring(
        region: &Span<'m>,
        (head, slots): (usize, usize),
        size: u64,
        occupied: &mut Occupied,
    ) -> Result<Parts<'m>, ArenaError> {
        let slots = slots_at(region, slots, occupied)?;
        let head = head_at::<MpmcHead>(region, "the MPMC head", head, occupied)?;
        let (cells, mask) = head.geometry();
        if cells.is_null() {
            return Err(Corruption::NotInitialised.into());
        }
        let capacity = Capacity::new(mask.wrapping_add(1)).map_err(|_| Corruption::Mask(mask))?;
        Parts::ring_at(region, (head, slots), (cells.addr(), capacity), size, occupied)
    }

    /// A ring of so many cells at an address.
    pub(super) fn ring_at(
        region: &Span<'m>,
        (head, slots): (&'m MpmcHead, &'m Slots<Native>),
        (cells, capacity): (usize, Capacity),
        size: u64,
        occupied: &mut Occupied,
    ) -> Result<Parts<'m>, ArenaError> {
        const WHAT: &str = "the ring of cells";
        let bytes = (capacity.get() as usize).saturating_mul(stride(size).bytes::<Cell>());
        let place = region.place_bytes::<Cell>(WHAT, cells, bytes)?;
        occupied.add(WHAT, cells, bytes);
        // SAFETY: the cells lie in the region, which is mapped for 'm. Whoever hands the ring out has checked that
        // nothing else of the arena lies there.
        let ring = unsafe { Ring::new(head, place.as_ptr(), capacity, stride(size)) };
        Ok(Parts::Mpmc { ring, slots })
    }

    /// What an MPSC head and a pool say.
    fn list(
        region: &Span<'m>,
        (head, pool): (usize, usize),
        size: u64,
        occupied: &mut Occupied,
    ) -> Result<Parts<'m>, ArenaError> {
        let head = head_at::<MpscHead>(region, "the MPSC head", head, occupied)?;
        let pool = head_at::<NodePool>(region, "the node pool", pool, occupied)?;
        Parts::list_at(region, (head, pool), &pool.geometry(), size, occupied)
    }

    /// A list whose nodes lie where the geometry says.
    pub(super) fn list_at(
        region: &Span<'m>,
        (head, pool): (&'m MpscHead, &'m NodePool),
        geometry: &Geometry<Untyped, Node>,
        size: u64,
        occupied: &mut Occupied,
    ) -> Result<Parts<'m>, ArenaError> {
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
        // SAFETY: nodes and links lie in the region, which is mapped for 'm, as in `ring_at`.
        let nodes = unsafe { Nodes::checked(pool, geometry, stride(size)) }?;
        Ok(Parts::Mpsc { head, nodes })
    }

    /// What a control block of records says. The drops and the event count in it have their own places.
    fn records(
        region: &Span<'m>,
        control: usize,
        largest: u64,
        occupied: &mut Occupied,
    ) -> Result<Parts<'m>, ArenaError> {
        // SAFETY: a control block is words and plain numbers, valid whatever the bytes.
        let control = unsafe { region.reference::<Control>("the records", control) }?;
        let said = control.said();
        if said.lanes.is_null() || said.words.is_null() {
            return Err(Corruption::NotInitialised.into());
        }
        let geometry = said.geometry().filter(|geometry| geometry.largest() == largest);
        let geometry = geometry.ok_or(Corruption::Geometry)?;
        Parts::records_at(region, control, (said.lanes.addr(), said.words.addr()), geometry, occupied)
    }

    /// Records whose lanes and words lie there.
    pub(super) fn records_at(
        region: &Span<'m>,
        control: &Control,
        (lanes, words): (usize, usize),
        geometry: records::Geometry,
        occupied: &mut Occupied,
    ) -> Result<Parts<'m>, ArenaError> {
        const LANES: &str = "the lanes of records";
        const WORDS: &str = "the words of records";
        let first = region.place::<Lane<Native>>(LANES, lanes, geometry.lanes())?;
        // 2^43 at most.
        let bytes = geometry.words() as usize * size_of::<Word>();
        let place = region.place_bytes::<Word>(WORDS, words, bytes)?;
        occupied.add("the records", ptr::from_ref(control).addr(), core::mem::offset_of!(Control, drops));
        occupied.add(LANES, lanes, geometry.lanes() * size_of::<Lane<Native>>());
        occupied.add(WORDS, words, bytes);
        // SAFETY: lanes and words lie in the region, which is mapped for 'm, and a lane is valid whatever the bytes. Whoever hands
        // the records out has checked that nothing else of the arena lies there, and who made them has begun with zeros. Whoever
        // else uses them has a geometry of his own, and what he does wrong by it is what anybody does who writes there.
        let records = unsafe {
            let lanes = slice::from_raw_parts(first.as_ptr(), geometry.lanes());
            Records::new(lanes, place.as_ptr(), geometry, Owner::ANONYMOUS.get())
        };
        Ok(Parts::Records(records))
    }
}

/// A control block.
pub(super) fn head_at<'m, H: Block>(
    region: &Span<'m>,
    what: &'static str,
    address: usize,
    occupied: &mut Occupied,
) -> Result<&'m H, ArenaError> {
    occupied.add(what, address, size_of::<H>());
    // SAFETY: such a block is valid whatever the bytes.
    unsafe { region.reference::<H>(what, address) }
}

/// A control block of words and plain numbers and pointers, which is valid whatever the bytes.
pub(super) trait Block {}

impl Block for MpmcHead {}
impl Block for MpscHead {}
impl Block for NodePool {}
