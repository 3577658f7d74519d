//! Making an arena, and queues in it.

use alloc::vec::Vec;

use super::Arena;
use super::directory::NativeEntry;
use super::error::{ArenaError, CreateError};
use super::header::{ArenaHeader, MAGIC, VERSION, site};
use super::kinds::structure::Ground;
use super::kinds::{Parts, take_control};
use super::name::Name;
use super::places::{Occupied, Places, check_number};
use super::queues::Found;
use super::region::{Region, Space};
use super::said::{check_size, drops_at, events_at};
use super::spec::Spec;
use crate::eventcount::EventCount;
use crate::platform::{Native, Plain, Word};
use crate::structures::LAYOUT_HASH;

/// What is left to make queues in.
#[derive(Clone, Debug)]
pub(super) struct Making {
    free: Space,
    entries: usize,
    room: usize,
    occupied: Occupied,
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
        let control = match spec.control {
            Some(control) => control,
            None => take_control(spec.kind, &mut space)?,
        };
        let drops = match control.drops {
            Some(address) => Some(drops_at(&region, address, &mut occupied)?),
            None => None,
        };
        let events = match control.events {
            Some(address) => Some(events_at(&region, address, &mut occupied)?),
            None => None,
        };
        let mut ground = Ground { region: &region, space: &mut space, occupied: &mut occupied };
        let (parts, slots) = Parts::make(&mut ground, spec, control)?;
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
