//! The queues of an arena as this process knows them: their parts are copied out of shared memory once and checked, and the copy
//! is what everybody uses from then on.

use core::num::NonZero;

use super::directory::NativeEntry;
use super::error::ArenaError;
use super::kinds::structure::{Place, Seat};
use super::kinds::{Consuming, Parts, Producing, take_over_in_place};
use super::name::Name;
use super::places::Occupied;
use super::region::Span;
use super::said::{Said, check_size, drops_at, events_at};
use crate::drops::Drops;
use crate::eventcount::EventCount;
use crate::mpmc::TakenOver;
use crate::ordering::{Read, Site};
use crate::payload::ElementType;
use crate::platform::{Native, Platform};
use crate::structures::Kind;

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

impl<'m> Found<'m> {
    /// The queue of an entry, if it is one.
    pub(super) fn attach(
        region: &Span<'m>,
        (number, entry): (usize, &'m NativeEntry),
        occupied: &mut Occupied,
    ) -> Result<Found<'m>, ArenaError> {
        let damaged = |what, found| ArenaError::Directory { entry: number, what, found };
        // SAFETY: whoever attaches to an arena has read its heading.
        let said = unsafe { Said::read(entry) };
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
        let parts = Parts::attach(kind, region, &said, occupied)?;
        Ok(Found { name, element: said.element, counted: said.counted == 1, entry, drops, events, parts })
    }

    pub(super) fn kind(&self) -> Kind {
        self.parts.kind()
    }

    pub(super) fn place(&self) -> Place<'m> {
        Place { name: self.name, entry: self.entry }
    }

    /// The producing end, of a queue of elements.
    ///
    /// # Safety
    ///
    /// As [`Elements::producer`](super::kinds::structure::Elements::producer).
    pub(super) unsafe fn producing<P: Platform, T>(
        &self,
        stride: P::Stride,
    ) -> Result<Producing<'m, P, T>, ArenaError> {
        // SAFETY: passed on to the caller.
        unsafe { Producing::of(&self.parts, self.place(), self.counted, stride) }
    }

    /// The consuming end, of a queue of elements.
    ///
    /// # Safety
    ///
    /// As [`Elements::consumer`](super::kinds::structure::Elements::consumer).
    pub(super) unsafe fn consuming<P: Platform, T>(
        &self,
        stride: P::Stride,
        seat: Seat,
    ) -> Result<Consuming<'m, P, T>, ArenaError> {
        // SAFETY: passed on to the caller.
        unsafe { Consuming::of(&self.parts, self.place(), self.counted, stride, seat) }
    }

    /// Takes over from the consumers that died, in the name of a slot.
    ///
    /// # Safety
    ///
    /// As [`Elements::take_over_in_place`](super::kinds::structure::Elements::take_over_in_place).
    pub(super) unsafe fn take_over_in_place<P: Platform, T: 'm>(
        &self,
        stride: P::Stride,
        slot: (usize, u64),
        is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
        read: impl FnMut(&P::Plain<T>, &'static Site<Read>),
    ) -> Result<Option<TakenOver>, ArenaError> {
        let (parts, place) = (&self.parts, self.place());
        // SAFETY: passed on to the caller.
        unsafe { take_over_in_place::<P, T>(parts, place, self.counted, stride, slot, is_dead, read) }
    }
}
