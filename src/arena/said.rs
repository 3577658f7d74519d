//! What an entry of the directory says, copied out of shared memory once, and the places that it names.

use super::directory::Entry;
use super::error::ArenaError;
use super::header::site;
use super::name::{Name, WORDS};
use super::places::Occupied;
use super::region::Span;
use crate::drops::Drops;
use crate::eventcount::EventCount;
use crate::payload::{ElementType, MAX_SIZE};
use crate::platform::{Native, Plain, Platform};

/// Whether a queue can carry elements of that size.
pub(super) fn check_size(size: u64) -> Result<(), ArenaError> {
    let is_element = size > 0 && size <= MAX_SIZE as u64 && size % 8 == 0;
    if is_element { Ok(()) } else { Err(ArenaError::NotAnElement(size)) }
}

/// What an entry of the directory says. Of one that was read nothing is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// The queue's name, if it is one.
    pub name: Option<Name>,
    /// The number of its [`Kind`](crate::structures::Kind).
    pub kind: u64,
    /// What it carries.
    pub element: ElementType,
    /// Whether it maintains its counter: 1 if it does, 0 if not.
    pub counted: u64,
    /// The address of its head.
    pub head: usize,
    /// The address of its pool; 0 if it has none.
    pub pool: usize,
    /// The address of the counters of what was dropped; 0 if nobody counts.
    pub drops: usize,
    /// The address of its consumers' slots; 0 if they have none.
    pub slots: usize,
    /// The address of the event count on which its consumers sleep; 0 if they sleep on the arena's.
    pub events: usize,
}

impl Said {
    /// Writes it into an entry, all but who consumes.
    ///
    /// # Safety
    ///
    /// The entry is the caller's alone.
    pub(super) unsafe fn write<P: Platform>(&self, entry: &Entry<P>) {
        let name = self.name.map_or([0; WORDS], |name| name.words());
        // SAFETY: passed on to the caller.
        unsafe {
            for (place, word) in entry.name.iter().zip(name) {
                place.write(word, &site::FORMAT);
            }
            entry.kind.write(self.kind, &site::FORMAT);
            entry.element_size.write(self.element.size, &site::FORMAT);
            entry.element_hash.write(self.element.hash, &site::FORMAT);
            entry.counted.write(self.counted, &site::FORMAT);
            entry.head.write(self.head as u64, &site::FORMAT);
            entry.pool.write(self.pool as u64, &site::FORMAT);
            entry.drops.write(self.drops as u64, &site::FORMAT);
            entry.slots.write(self.slots as u64, &site::FORMAT);
            entry.events.write(self.events as u64, &site::FORMAT);
        }
    }

    /// What an entry of an arena says, each word of which is read once.
    ///
    /// # Safety
    ///
    /// The arena's [heading](super::ArenaHeader::heading) was read before.
    pub unsafe fn read<P: Platform>(entry: &Entry<P>) -> Said {
        // SAFETY: written before the magic that the reader of the heading has acquired. If somebody writes there all the same,
        // the value is anything, which is what it is taken for.
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
