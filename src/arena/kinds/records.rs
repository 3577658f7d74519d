//! What an arena has to know of records: lanes, and the words of their rings.

use core::mem::offset_of;
use core::{ptr, slice};

use super::structure::{Ground, Structure};
use crate::arena::error::{ArenaError, CreateError};
use crate::arena::look::{Front, Look};
use crate::arena::owner::Owner;
use crate::arena::places::Occupied;
use crate::arena::region::{CACHE_LINE, Span};
use crate::arena::said::Said;
use crate::arena::spec::{Placed, Spec};
use crate::payload::{ElementType, UNKNOWN};
use crate::platform::{Native, Platform};
use crate::records::{Control, Geometry, GeometryError, Lane, Records};
use crate::status::Corruption;
use crate::structures::{Consumers, Kind};

/// A word of a lane's ring.
type Word = <Native as Platform>::Plain<u64>;

/// The parts of records.
#[derive(Clone, Copy, Debug)]
pub(in crate::arena) struct Recordings<'m>(pub(in crate::arena) Records<'m, Native>);

impl<'m> Recordings<'m> {
    /// Records whose lanes and words lie there. The drops and the event count in the control block have their own places.
    fn at(
        region: &Span<'m>,
        control: &Control<Native>,
        (lanes, words): (usize, usize),
        geometry: Geometry,
        occupied: &mut Occupied,
    ) -> Result<Self, ArenaError> {
        const LANES: &str = "the lanes of records";
        const WORDS: &str = "the words of records";
        let first = region.place::<Lane<Native>>(LANES, lanes, geometry.lanes())?;
        // 2^43 at most.
        let bytes = geometry.words() as usize * size_of::<Word>();
        let place = region.place_bytes::<Word>(WORDS, words, bytes)?;
        occupied.add("the records", ptr::from_ref(control).addr(), offset_of!(Control<Native>, drops));
        occupied.add(LANES, lanes, geometry.lanes() * size_of::<Lane<Native>>());
        occupied.add(WORDS, words, bytes);
        // SAFETY: lanes and words lie in the region, which is mapped for 'm, and a lane is valid whatever the bytes. Whoever hands
        // the records out has checked that nothing else of the arena lies there, and who made them has begun with zeros. Whoever
        // else uses them has a geometry of his own, and what he does wrong by it is what anybody does who writes there.
        let records = unsafe {
            let lanes = slice::from_raw_parts(first.as_ptr(), geometry.lanes());
            Records::new(lanes, place.as_ptr(), geometry, Owner::ANONYMOUS.get())
        };
        Ok(Recordings(records))
    }
}

fn control_at<'m>(region: &Span<'m>, address: usize) -> Result<&'m Control<Native>, ArenaError> {
    // SAFETY: a control block is words and plain numbers, valid whatever the bytes.
    unsafe { region.reference("the records", address) }
}

fn geometry(spec: &Spec<'_>) -> Result<Geometry, GeometryError> {
    Geometry::new(spec.shards, spec.capacity, spec.element.size)
}

impl<'m> Structure<'m> for Recordings<'m> {
    const KIND: Kind = Kind::Records;
    type Control = Control<Native>;
    const CONTROL: &'static str = "arenaq_records";
    const CONSUMERS: Consumers = Consumers::OfShards;

    fn placed(start: usize) -> Placed {
        Placed {
            head: start,
            pool: 0,
            drops: Some(start + offset_of!(Self::Control, drops)),
            events: Some(start + offset_of!(Self::Control, events)),
        }
    }

    /// Whoever pushes looks for the event count in the control block.
    fn placed_by_arena(start: usize) -> Placed {
        Self::placed(start)
    }

    fn room(spec: &Spec<'_>) -> Result<u64, CreateError> {
        let geometry = geometry(spec)?;
        let lanes = geometry.lanes() * size_of::<Lane<Native>>();
        Ok(geometry.words() * size_of::<Word>() as u64 + (lanes + 2 * CACHE_LINE) as u64)
    }

    fn make(
        ground: &mut Ground<'_, 'm>,
        spec: &Spec<'_>,
        control: Placed,
    ) -> Result<(Self, usize), CreateError> {
        let Ground { region, space, occupied } = ground;
        let geometry = geometry(spec)?;
        let lanes = space.take::<Lane<Native>>("the lanes of records", geometry.lanes())?;
        let words = space.take::<Word>("the words of records", geometry.words() as usize)?;
        let control = control_at(region, control.head)?;
        let parts = Recordings::at(region, control, (lanes, words), geometry, occupied)?;
        occupied.check()?;
        // All words, so that each page is there: in an arena one that nobody has touched swallows what programs in the kernel
        // write.
        //
        // SAFETY: lanes and words were taken from the free space, so they are these records' alone, and nobody knows of them
        // before they are in the directory. The region is mapped.
        unsafe {
            parts.0.first_word().write_bytes(0, geometry.words() as usize);
            parts.0.lanes().iter().for_each(|lane| lane.clear());
            control.init(&parts.0);
        }
        Ok((parts, 0))
    }

    fn attach(region: &Span<'m>, found: &Said, occupied: &mut Occupied) -> Result<Self, ArenaError> {
        let control = control_at(region, found.head)?;
        let said = control.said();
        if said.lanes.is_null() || said.words.is_null() {
            return Err(Corruption::NotInitialised.into());
        }
        let geometry = said.geometry().filter(|geometry| geometry.largest() == found.element.size);
        let geometry = geometry.ok_or(Corruption::Geometry)?;
        Recordings::at(region, control, (said.lanes.addr(), said.words.addr()), geometry, occupied)
    }

    /// In bytes, as the length is.
    fn capacity(&self) -> u64 {
        self.0.geometry().words() * size_of::<Word>() as u64
    }

    fn look(&self) -> Look {
        let bytes = self.0.bytes();
        let front = if bytes == 0 { Front::Empty } else { Front::Ready };
        Look { capacity: self.capacity(), len: Some(bytes), front }
    }
}

impl<'n> Spec<'n> {
    /// Records of `largest` bytes at most, in so many shards of `bytes` each: see [`Geometry`].
    pub const fn records(name: &'n str, shards: u64, bytes: u64, largest: u64) -> Self {
        let records = ElementType { size: largest, hash: UNKNOWN };
        Spec::of(Kind::Records, name, records, bytes).shards(shards)
    }
}
