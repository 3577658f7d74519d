//! Records of many lanes in one order: that of their stamps.

use alloc::vec::Vec;
use core::fmt;

use super::consumer::LaneReader;
use super::{Consumer, Record};
use crate::platform::Platform;
use crate::status::Corruption;

/// The consumers of some shards, or of all, who hand over their records in the order of the stamps.
///
/// A record can come late: it has got its stamp, and is pushed after one with a later stamp was handed over. How late is
/// for the caller to bound: it chooses a *horizon*, and no record with a later stamp is handed over. With stamps that are
/// times, a horizon of now less the time that the slowest push takes puts everything in order that is pushed within that
/// time; what comes later still is handed over when it comes, and counted.
pub struct Merge<'a, P: Platform> {
    consumers: Vec<Consumer<'a, P>>,
    /// The latest stamp that was handed over.
    last: u64,
    late: u64,
}

impl<'a, P: Platform> Merge<'a, P> {
    /// Merges what these consume.
    pub fn new(consumers: Vec<Consumer<'a, P>>) -> Self {
        Merge { consumers, last: 0, late: 0 }
    }

    /// Whether nothing was published that is not handed over; see [`Consumer::is_drained`].
    pub fn is_drained(&self) -> bool {
        self.consumers.iter().all(Consumer::is_drained)
    }

    /// Whether nothing is published, and nobody has a lane; see [`Consumer::is_quiet`].
    pub fn is_quiet(&self) -> bool {
        self.consumers.iter().all(Consumer::is_quiet)
    }

    /// How many records came after one with a later stamp.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Hands over up to `limit` records whose stamps are `horizon` at most, each time the one with the earliest stamp
    /// that there is. Returns how many.
    ///
    /// # Errors
    ///
    /// As [`Consumer::drain_in_place`].
    ///
    /// # Panics
    ///
    /// If `hand_over` does. That record is handed over again by the next operation then.
    pub fn drain_in_place(
        &mut self,
        horizon: u64,
        limit: u64,
        mut hand_over: impl FnMut(Record<'_, P>),
    ) -> Result<u64, Corruption> {
        let mut lanes = Lanes(&mut self.consumers);
        let mut damaged = None;
        let mut handed_over = 0;
        while handed_over < limit {
            let mut first: Option<(u64, usize, Record<'_, P>)> = None;
            for (number, reader) in lanes.readers().enumerate() {
                let Some(record) = reader.look_past(&mut damaged) else { continue };
                let stamp = record.stamp();
                if stamp <= horizon && first.as_ref().is_none_or(|(earliest, ..)| stamp < *earliest) {
                    first = Some((stamp, number, record));
                }
            }
            let Some((stamp, number, record)) = first else { break };
            let Some(reader) = lanes.readers().nth(number) else { break };
            reader.take(record, &mut hand_over);
            self.late += u64::from(stamp < self.last);
            self.last = self.last.max(stamp);
            handed_over += 1;
        }
        damaged.map_or(Ok(handed_over), Err)
    }

    /// The consumers, each for itself.
    pub fn into_consumers(self) -> Vec<Consumer<'a, P>> {
        self.consumers
    }
}

/// The lanes of all shards, of which an operation takes. What is given back of each is given back with one store, also if somebody to
/// whom a record is handed over panics.
struct Lanes<'r, 'a, P: Platform>(&'r mut [Consumer<'a, P>]);

impl<'a, P: Platform> Lanes<'_, 'a, P> {
    fn readers(&mut self) -> impl Iterator<Item = &mut LaneReader<'a, P>> {
        self.0.iter_mut().flat_map(|consumer| consumer.lanes.iter_mut().flatten())
    }
}

impl<P: Platform> Drop for Lanes<'_, '_, P> {
    fn drop(&mut self) {
        self.readers().for_each(LaneReader::settle);
    }
}

impl<P: Platform> fmt::Debug for Merge<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merge").field("consumers", &self.consumers).field("late", &self.late).finish()
    }
}
