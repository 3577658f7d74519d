//! What lies where in an arena, and that nothing lies on anything else.

use alloc::vec::Vec;
use core::ops::Range;

use super::directory::NativeEntry;
use super::error::ArenaError;
use super::header::{ArenaHeader, MAX_QUEUES};
use super::region::{CACHE_LINE, Region, Space};
use crate::eventcount::EventCount;
use crate::platform::Native;

/// How many queues the directory of an arena in plain memory has room for.
const QUEUES: usize = 16;

/// # Errors
///
/// [`ArenaError::Queues`] if no directory has room for so many queues.
pub(super) fn check_number(queues: usize) -> Result<(), ArenaError> {
    if queues <= MAX_QUEUES { Ok(()) } else { Err(ArenaError::Queues(queues as u64)) }
}

/// Where the parts of an arena lie that belong to no queue: addresses. In a BPF arena some are variables of the BPF
/// programs, which have to find them; in other memory they may be anywhere.
#[derive(Clone, Debug)]
pub struct Places {
    /// The [`ArenaHeader`].
    pub header: usize,
    /// The [`EventCount`], if consumers may sleep.
    pub event_count: Option<usize>,
    /// How many queues the directory has room for: [`MAX_QUEUES`] at most.
    pub queues: usize,
    /// What is free for the directory, for queues and for their elements.
    pub free: Range<usize>,
}

impl Places {
    /// Header and event count at the start of the region, and room for 16 queues.
    ///
    /// # Errors
    ///
    /// [`ArenaError::NoSpace`] if they do not fit.
    pub fn in_plain_memory(region: &Region<'_>) -> Result<Places, ArenaError> {
        Places::in_free(region.addresses(), QUEUES)
    }

    /// Header and event count where `free` begins, and room for so many queues.
    ///
    /// # Errors
    ///
    /// [`ArenaError::NoSpace`] if they do not fit.
    pub fn in_free(free: Range<usize>, queues: usize) -> Result<Places, ArenaError> {
        let mut space = Space(free);
        Ok(Places {
            header: space.take::<ArenaHeader<Native>>("the header", 1)?,
            event_count: Some(space.take::<EventCount<Native>>("the event count", 1)?),
            queues,
            free: space.0,
        })
    }

    /// How many bytes header, event count and a directory of so many queues take at most, wherever they begin. Each queue
    /// takes [`Spec::room`](super::Spec::room) besides.
    pub const fn room(queues: usize) -> usize {
        let parts = size_of::<ArenaHeader<Native>>() + size_of::<EventCount<Native>>();
        parts + queues.saturating_mul(size_of::<NativeEntry>()) + 3 * CACHE_LINE
    }
}

/// The parts that are known to be somewhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Occupied(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    start: usize,
    end: usize,
    what: &'static str,
}

impl Occupied {
    /// The parts that belong to no queue. The directory has so many entries.
    pub(super) fn by_arena(header: usize, event_count: Option<usize>, directory: (usize, usize)) -> Occupied {
        let mut occupied = Occupied::default();
        occupied.add("the header", header, size_of::<ArenaHeader<Native>>());
        if let Some(address) = event_count {
            occupied.add("the event count", address, size_of::<EventCount<Native>>());
        }
        let (address, entries) = directory;
        occupied.add("the directory", address, entries * size_of::<NativeEntry>());
        occupied
    }

    /// One part more, of so many bytes.
    pub(super) fn add(&mut self, what: &'static str, start: usize, bytes: usize) {
        self.0.push(Part { start, end: start.saturating_add(bytes), what });
    }

    /// # Errors
    ///
    /// [`ArenaError::Overlap`] names the first two parts that lie on each other.
    pub(super) fn check(&mut self) -> Result<(), ArenaError> {
        self.0.sort_unstable();
        for pair in self.0.windows(2) {
            if pair[0].end > pair[1].start {
                return Err(ArenaError::Overlap {
                    first: pair[0].what,
                    second: pair[1].what,
                    address: pair[1].start,
                });
            }
        }
        Ok(())
    }
}
