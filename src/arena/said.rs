//! What an entry of the directory says, copied out of shared memory once, and the places that it names.

use super::directory::NativeEntry;
use super::error::ArenaError;
use super::header::site;
use super::name::Name;
use super::places::Occupied;
use super::region::Span;
use crate::drops::Drops;
use crate::eventcount::EventCount;
use crate::payload::{ElementType, MAX_SIZE};
use crate::platform::{Native, Plain};

/// Whether a queue can carry elements of that size.
pub(super) fn check_size(size: u64) -> Result<(), ArenaError> {
    let is_element = size > 0 && size <= MAX_SIZE as u64 && size % 8 == 0;
    if is_element { Ok(()) } else { Err(ArenaError::NotAnElement(size)) }
}

/// What an entry of the directory says, read once.
pub(super) struct Said {
    pub(super) name: Option<Name>,
    pub(super) kind: u64,
    pub(super) element: ElementType,
    pub(super) counted: u64,
    pub(super) head: usize,
    pub(super) pool: usize,
    pub(super) drops: usize,
    pub(super) slots: usize,
    pub(super) events: usize,
}

impl Said {
    pub(super) fn read(entry: &NativeEntry) -> Said {
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
