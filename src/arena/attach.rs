//! Finding the queues that somebody else has made.

use alloc::vec::Vec;

use super::Arena;
use super::directory::NativeEntry;
use super::error::ArenaError;
use super::header::{ArenaHeader, Heading, VERSION};
use super::places::{Occupied, check_number};
use super::queues::Found;
use super::region::Region;
use crate::eventcount::EventCount;
use crate::platform::Native;
use crate::structures::LAYOUT_HASH;

impl<'m> Arena<'m> {
    /// Finds the queues that somebody else has made and published.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] says what does not fit, or is damaged.
    #[expect(clippy::needless_pass_by_value, reason = "the right to make an arena of the memory is given up")]
    pub fn attach(region: Region<'m>, header: usize) -> Result<Self, ArenaError> {
        let region = region.0;
        let place = header;
        // SAFETY: any bytes are a valid header, and it changes only as atomics once it is published.
        let header = unsafe { region.reference::<ArenaHeader<Native>>("the header", place) }?;
        let heading = header.heading().map_err(|found| ArenaError::NoHeader { found })?;
        let Heading { version, layout_hash: hash, base, length, event_count, directory, queues } = heading;
        let (events, directory, entries) = (event_count as usize, directory as usize, queues as usize);
        if version != VERSION {
            return Err(ArenaError::Version { found: version });
        }
        if hash != LAYOUT_HASH {
            return Err(ArenaError::Layout { found: hash, expected: LAYOUT_HASH });
        }
        let mapped = region.addresses();
        if (base, length) != (mapped.start as u64, mapped.len() as u64) {
            return Err(ArenaError::Moved {
                base,
                length,
                mapped_base: mapped.start as u64,
                mapped_length: mapped.len() as u64,
            });
        }
        let (event_count, events) = match events {
            0 => (None, None),
            // SAFETY: any bytes are a valid event count.
            place => (Some(place), Some(unsafe { region.reference("the event count", place) }?)),
        };
        let events: Option<&'m EventCount<Native>> = events;
        check_number(entries)?;
        let first = region.place::<NativeEntry>("the directory", directory, entries)?;
        let mut occupied = Occupied::by_arena(place, event_count, (directory, entries));
        let mut queues: Vec<Found<'m>> = Vec::with_capacity(entries);
        for number in 0..entries {
            // SAFETY: so many entries lie in the region; an entry is valid whatever the bytes.
            let entry = unsafe { first.add(number).as_ref() };
            queues.push(Found::attach(&region, (number, entry), &mut occupied)?);
        }
        occupied.check()?;
        check_names(&queues)?;
        Ok(Arena { region, events, making: None, queues })
    }
}

/// # Errors
///
/// [`ArenaError::Exists`] if two queues have one name.
fn check_names(queues: &[Found<'_>]) -> Result<(), ArenaError> {
    let mut names: Vec<_> = queues.iter().map(|queue| queue.name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(ArenaError::Exists(pair[0])),
        None => Ok(()),
    }
}
