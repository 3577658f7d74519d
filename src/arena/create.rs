//! Making an arena, and queues in it.

use alloc::vec::Vec;

use super::Arena;
use super::directory::NativeEntry;
use super::error::{ArenaError, CreateError};
use super::header::{ArenaHeader, Draft, Heading, VERSION, site};
use super::kinds::structure::Ground;
use super::kinds::{Parts, take_control};
use super::name::Name;
use super::places::{Occupied, Places, check_number};
use super::queues::Found;
use super::region::{Region, Space};
use super::said::{Said, check_size, drops_at, events_at};
use super::spec::Spec;
use crate::eventcount::EventCount;
use crate::platform::{Native, Word};
use crate::structures::LAYOUT_HASH;

/// What is left to make queues in.
#[derive(Debug)]
pub(super) struct Making<'m> {
    draft: Draft<'m, Native>,
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
        let heading = Heading {
            version: VERSION,
            layout_hash: LAYOUT_HASH,
            base: addresses.start as u64,
            length: addresses.len() as u64,
            event_count: places.event_count.unwrap_or(0) as u64,
            directory: entries as u64,
            queues: 0,
        };
        // SAFETY: the region is this process's to write, and the directory was taken from the free space. Who has attached to an
        // arena that was there before has copied what is written here.
        let draft = unsafe { header.draft(heading) };
        if let Some(events) = events {
            // SAFETY: as above.
            unsafe { events.state.0.init(0, &site::FORMAT) };
        }
        let occupied = Occupied::by_arena(places.header, places.event_count, (entries, places.queues));
        let making = Making { draft, free, entries, room: places.queues, occupied };
        Ok(Arena { region, events, making: Some(making), queues: Vec::new() })
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
        }
        let said = Said {
            name: Some(name),
            kind: spec.kind.code(),
            element: spec.element,
            counted: spec.counted.into(),
            head: control.head,
            pool: control.pool,
            drops: control.drops.unwrap_or(0),
            slots,
            events: control.events.unwrap_or(0),
        };
        making.draft.enter(entry, &said);
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
        if let Some(Making { draft, .. }) = self.making.take() {
            draft.publish();
        }
    }
}
