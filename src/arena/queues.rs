//! The parts of a queue, found in an arena and checked: they are copied out of shared memory once, and the copy is what
//! everybody uses from then on.

use super::directory::NativeEntry;
use super::error::ArenaError;
use super::header::site;
use super::kinds::Parts;
use super::name::Name;
use super::places::Occupied;
use super::region::Span;
use crate::drops::Drops;
use crate::eventcount::EventCount;
use crate::payload::{ElementType, MAX_SIZE};
use crate::platform::{Native, Plain};
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

/// Whether a queue can carry elements of that size.
pub(super) fn check_size(size: u64) -> Result<(), ArenaError> {
    let is_element = size > 0 && size <= MAX_SIZE as u64 && size % 8 == 0;
    if is_element { Ok(()) } else { Err(ArenaError::NotAnElement(size)) }
}

/// What an entry of the directory says, read once.
pub(super) struct Said {
    name: Option<Name>,
    kind: u64,
    pub(super) element: ElementType,
    counted: u64,
    pub(super) head: usize,
    pub(super) pool: usize,
    drops: usize,
    pub(super) slots: usize,
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
        let parts = Parts::attach(kind, region, &said, occupied)?;
        Ok(Found { name, element: said.element, counted: said.counted == 1, entry, drops, events, parts })
    }

    pub(super) fn kind(&self) -> Kind {
        self.parts.kind()
    }
}

/// Counters of what is dropped.
pub(super) fn drops_at<'m>(
    region: &Span<'m>,
    address: usize,
    occupied: &mut Occupied,
) -> Result<&'m Drops<Native>, ArenaError> {
    // SAFETY: counters are words, valid whatever the bytes.
    unsafe { block_at(region, "the counters of drops", address, occupied) }
}

/// What the consumers of one queue sleep on.
pub(super) fn events_at<'m>(
    region: &Span<'m>,
    address: usize,
    occupied: &mut Occupied,
) -> Result<&'m EventCount<Native>, ArenaError> {
    // SAFETY: an event count is a word, valid whatever the bytes.
    unsafe { block_at(region, "the event count of a queue", address, occupied) }
}

/// A control block, or a part of one.
///
/// # Safety
///
/// A `B` is valid whatever the bytes, and changes only through shared references.
pub(super) unsafe fn block_at<'m, B>(
    region: &Span<'m>,
    what: &'static str,
    address: usize,
    occupied: &mut Occupied,
) -> Result<&'m B, ArenaError> {
    occupied.add(what, address, size_of::<B>());
    // SAFETY: passed on to the caller.
    unsafe { region.reference::<B>(what, address) }
}
