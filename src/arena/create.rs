//! Making an arena, and queues in it.

use alloc::vec::Vec;
use core::num::NonZero;

use super::Arena;
use super::directory::NativeEntry;
use super::error::{ArenaError, CreateError};
use super::header::{ArenaHeader, MAGIC, VERSION, site};
use super::name::Name;
use super::places::{Occupied, Places, check_number};
use super::queues::{
    Cell, Control, Found, Link, MpmcHead, MpscHead, Node, NodePool, Parts, Word as RecordWord, check_size,
    drops_at, events_at, head_at, slots_at, stride,
};
use super::region::{Region, Space, Span};
use super::spec::{Placed, Spec};
use crate::drops::Drops;
use crate::eventcount::EventCount;
use crate::mpmc::{Capacity, Slots};
use crate::platform::{Native, Plain, Stride, Word};
use crate::pool::{Geometry, Start, nodes_for};
use crate::records::Lane;
use crate::structures::{Kind, LAYOUT_HASH};

/// What is left to make queues in.
#[derive(Clone, Debug)]
pub(super) struct Making {
    free: Space,
    entries: usize,
    room: usize,
    occupied: Occupied,
}

impl Making {
    /// The control blocks of a queue: those that are there, or room for new ones.
    fn control(&self, spec: &Spec<'_>, space: &mut Space) -> Result<Placed, ArenaError> {
        if let Some(control) = spec.control {
            return Ok(control);
        }
        let (head, pool) = match spec.kind {
            Kind::Mpmc => (space.take::<MpmcHead>("the MPMC head", 1)?, 0),
            Kind::Mpsc => {
                (space.take::<MpscHead>("the MPSC head", 1)?, space.take::<NodePool>("the node pool", 1)?)
            }
            Kind::Records => return Ok(Placed::records(space.take::<Control>("the records", 1)?)),
        };
        let drops = space.take::<Drops<Native>>("the counters of drops", 1)?;
        Ok(Placed { head, pool, drops: Some(drops), events: None })
    }
}

impl<'m> Arena<'m> {
    /// Makes an arena without queues in memory that is all zero, or of no more use. Queues come with
    /// [`create`](Self::create), and other processes can [`attach`](Self::attach) after [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// [`ArenaError`] if a place is outside of the region, on another one or not aligned, or the directory does not fit.
    #[expect(clippy::needless_pass_by_value, reason = "the right to make an arena of the memory is given up")]
    pub fn format(region: Region<'m>, places: Places) -> Result<Self, ArenaError> {
        let region = region.0;
        // SAFETY: a header is words and plain numbers, for which any bytes are valid, and changes only as
        // atomics or before it is published.
        let header = unsafe { region.reference::<ArenaHeader<Native>>("the header", places.header) }?;
        let events = match places.event_count {
            // SAFETY: an event count is a word, valid whatever the bytes.
            Some(place) => Some(unsafe { region.reference::<EventCount<Native>>("the event count", place) }?),
            None => None,
        };
        check_number(places.queues)?;
        region.place_bytes::<u8>("what is free", places.free.start, places.free.len())?;
        let mut free = Space(places.free.clone());
        let entries = free.take::<NativeEntry>("the directory", places.queues)?;
        region.place::<NativeEntry>("the directory", entries, places.queues)?;
        let mut occupied = Occupied::by_arena(places.header, places.event_count, (entries, places.queues));
        occupied.add("what is free", free.0.start, free.0.len());
        occupied.check()?;

        let addresses = region.addresses();
        // SAFETY: the region is this process's to write. Who has attached to an arena that was there before has copied what is
        // written here.
        unsafe {
            header.magic.init(0, &site::FORMAT);
            header.version.write(VERSION, &site::FORMAT);
            header.layout_hash.write(LAYOUT_HASH, &site::FORMAT);
            header.base.write(addresses.start as u64, &site::FORMAT);
            header.length.write(addresses.len() as u64, &site::FORMAT);
            header.event_count.write(places.event_count.unwrap_or(0) as u64, &site::FORMAT);
            header.directory.write(entries as u64, &site::FORMAT);
            header.queues.write(0, &site::FORMAT);
            if let Some(events) = events {
                events.state.0.init(0, &site::FORMAT);
            }
        }
        let occupied = Occupied::by_arena(places.header, places.event_count, (entries, places.queues));
        let making = Making { free, entries, room: places.queues, occupied };
        Ok(Arena { region, header, events, making: Some(making), queues: Vec::new() })
    }

    /// Makes an empty queue.
    ///
    /// # Errors
    ///
    /// [`CreateError`] if there is one of that name, what is asked for cannot be, or there is no room. Nothing has changed
    /// then.
    pub fn create(&mut self, spec: &Spec<'_>) -> Result<(), CreateError> {
        let name = Name::new(spec.name).ok_or_else(|| ArenaError::Name(spec.name.into()))?;
        check_size(spec.element.size)?;
        if self.queues.iter().any(|queue| queue.name == name) {
            return Err(ArenaError::Exists(name).into());
        }
        let (region, number) = (self.region, self.queues.len());
        let making = self.making.as_mut().ok_or(ArenaError::Published)?;
        if number == making.room {
            return Err(ArenaError::TooManyQueues(making.room as u64).into());
        }
        let (mut space, mut occupied) = (Space(making.free.0.clone()), making.occupied.clone());
        let control = making.control(spec, &mut space)?;
        let drops = match control.drops {
            Some(address) => Some(drops_at(&region, address, &mut occupied)?),
            None => None,
        };
        let events = match control.events {
            Some(address) => Some(events_at(&region, address, &mut occupied)?),
            None => None,
        };
        let (parts, slots) = match spec.kind {
            Kind::Mpmc => make_ring(&region, spec, control, &mut space, &mut occupied)?,
            Kind::Mpsc => (make_list(&region, spec, control, &mut space, &mut occupied)?, 0),
            Kind::Records => (make_records(&region, spec, control, &mut space, &mut occupied)?, 0),
        };
        let address = making.entries + number * size_of::<NativeEntry>();
        // SAFETY: an entry is words and plain numbers, valid whatever the bytes, and nobody attaches before the arena is
        // published.
        let entry = unsafe { region.reference::<NativeEntry>("the directory", address) }?;
        // SAFETY: as above.
        unsafe {
            if let Some(drops) = drops {
                drops.reset();
            }
            if let Some(events) = events {
                events.state.0.init(0, &site::FORMAT);
            }
            for (place, word) in entry.name.iter().zip(name.words()) {
                place.write(word, &site::FORMAT);
            }
            entry.kind.write(spec.kind.code(), &site::FORMAT);
            entry.element_size.write(spec.element.size, &site::FORMAT);
            entry.element_hash.write(spec.element.hash, &site::FORMAT);
            entry.counted.write(spec.counted.into(), &site::FORMAT);
            entry.head.write(control.head as u64, &site::FORMAT);
            entry.pool.write(control.pool as u64, &site::FORMAT);
            entry.drops.write(control.drops.unwrap_or(0) as u64, &site::FORMAT);
            entry.consumer.init(0, &site::FORMAT);
            entry.slots.write(slots as u64, &site::FORMAT);
            entry.events.write(control.events.unwrap_or(0) as u64, &site::FORMAT);
            self.header.queues.write(number as u64 + 1, &site::FORMAT);
        }
        making.free = space;
        making.occupied = occupied;
        self.queues.push(Found {
            name,
            element: spec.element,
            counted: spec.counted,
            entry,
            drops,
            events,
            parts,
        });
        Ok(())
    }

    /// Lets others attach. No queue can be created any more.
    pub fn publish(&mut self) {
        self.making = None;
        self.header.magic.store(MAGIC, &site::FORMAT_PUBLISH);
    }
}

/// Makes a ring, and slots for its consumers. Their address is returned as well.
fn make_ring<'m>(
    region: &Span<'m>,
    spec: &Spec<'_>,
    control: Placed,
    space: &mut Space,
    occupied: &mut Occupied,
) -> Result<(Parts<'m>, usize), CreateError> {
    let capacity = Capacity::new(spec.capacity)?;
    let stride = stride(spec.element.size);
    let cells = capacity.get() as usize;
    let buffer = space.take_bytes("the ring of cells", stride.bytes::<Cell>(), cells)?;
    let address = space.take::<Slots<Native>>("the slots for consumers", 1)?;
    let slots = slots_at(region, address, occupied)?;
    let head = head_at::<MpmcHead>(region, "the MPMC head", control.head, occupied)?;
    let parts = Parts::ring_at(region, (head, slots), (buffer, capacity), spec.element.size, occupied)?;
    occupied.check()?;
    if let Parts::Mpmc { ring, .. } = parts {
        // Whole cells, not only what `init_with` writes of each: in an arena a page that nobody has touched swallows what
        // programs in the kernel write, and between the beginnings of two large cells there can be one.
        //
        // SAFETY: cells and slots were taken from the free space, so they are this queue's alone, and nobody knows of the
        // queue before it is in the directory. The region is mapped.
        unsafe {
            slots.reset();
            ring.cells().cast::<u8>().write_bytes(0, cells * stride.bytes::<Cell>());
            head.init_with(ring.cells(), capacity, spec.start, stride).map_err(ArenaError::from)?;
        }
    }
    Ok((parts, address))
}

fn make_list<'m>(
    region: &Span<'m>,
    spec: &Spec<'_>,
    control: Placed,
    space: &mut Space,
    occupied: &mut Occupied,
) -> Result<Parts<'m>, CreateError> {
    let elements = spec.capacity;
    let limit = spec.checked_limit()?;
    let ((limit, block), more) = (nodes_for(limit), limit - elements);
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
    let head = head_at::<MpscHead>(region, "the MPSC head", control.head, occupied)?;
    let pool = head_at::<NodePool>(region, "the node pool", control.pool, occupied)?;
    let geometry = Geometry {
        nodes: region.place_bytes::<Node>("the nodes", first, room * stride.bytes::<Node>())?.as_ptr(),
        links: region.place::<Link>("the links of the node pool", links, room)?.as_ptr(),
        limit,
        block_shift: u64::from(block.ilog2()),
    };
    let start = Start { tag: spec.start as u32, block: NonZero::new(block) };
    let (all, words) = (geometry.nodes, geometry.links);
    let parts = Parts::list_at(region, (head, pool), &geometry, spec.element.size, occupied)?;
    occupied.check()?;
    if let Parts::Mpsc { nodes: list, .. } = parts {
        // SAFETY: nodes and links were taken from the free space, so they are the pool's alone; the region is mapped, so
        // their memory is there; and nobody knows of the queue before it is in the directory.
        unsafe {
            pool.init_at(all, words, limit, start);
            list.grow_zeroed(nodes)?;
            head.init(list)?;
        }
    }
    Ok(parts)
}

/// Makes empty records.
fn make_records<'m>(
    region: &Span<'m>,
    spec: &Spec<'_>,
    control: Placed,
    space: &mut Space,
    occupied: &mut Occupied,
) -> Result<Parts<'m>, CreateError> {
    let geometry = spec.records_geometry()?;
    let lanes = space.take::<Lane<Native>>("the lanes of records", geometry.lanes())?;
    let words = space.take::<RecordWord>("the words of records", geometry.words() as usize)?;
    // SAFETY: a control block is words and plain numbers, valid whatever the bytes.
    let control = unsafe { region.reference::<Control>("the records", control.head) }?;
    let parts = Parts::records_at(region, control, (lanes, words), geometry, occupied)?;
    occupied.check()?;
    if let Parts::Records(records) = parts {
        let (lanes, words) = (records.lanes().as_ptr().cast_mut(), records.first_word());
        // All words, so that each page is there: in an arena one that nobody has touched swallows what programs in the kernel
        // write.
        //
        // SAFETY: lanes and words were taken from the free space, so they are these records' alone, and nobody knows of them
        // before they are in the directory. The region is mapped. A lane may change through the shared reference: it is words
        // and plain memory, all in cells.
        unsafe {
            words.write_bytes(0, geometry.words() as usize);
            lanes.cast::<u8>().write_bytes(0, geometry.lanes() * size_of::<Lane<Native>>());
            control.init(lanes, words, geometry);
        }
    }
    Ok(parts)
}
