//! How large the shards and their lanes are.

use thiserror::Error;

use super::{LANES, words};
use crate::payload::MAX_SIZE;

/// The number of shards, the size of each, and the largest record.
///
/// Nested producers are rare, so the first lane of a shard has half of its words, the next one half of what is left, and
/// so on; the last one has as many as the one before it.
///
/// ```
/// use arenaq::records::Geometry;
///
/// let geometry = Geometry::new(2, 1 << 20, 4096)?;
/// assert_eq!(geometry.words() * 8, 2 << 20);
/// # Ok::<(), arenaq::records::GeometryError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    shards: u64,
    lanes: u64,
    /// A power of two.
    shard_words: u64,
    largest: u64,
}

impl Geometry {
    /// The most bytes of a shard.
    pub const MAX_BYTES: u64 = 1 << 30;
    /// The most shards: more processors than a kernel can have.
    pub const MAX_SHARDS: u64 = 8192;

    /// Shards of [`LANES`] lanes, each of `bytes`, for records of `largest` bytes at most.
    ///
    /// # Errors
    ///
    /// [`GeometryError`] says what would do.
    pub const fn new(shards: u64, bytes: u64, largest: u64) -> Result<Geometry, GeometryError> {
        Geometry::with_lanes(shards, LANES, bytes, largest)
    }

    /// [`new`](Self::new) with fewer lanes in each shard: as many as producers interrupt each other on one processor.
    ///
    /// # Errors
    ///
    /// As there.
    pub const fn with_lanes(
        shards: u64,
        lanes: usize,
        bytes: u64,
        largest: u64,
    ) -> Result<Geometry, GeometryError> {
        if shards == 0 || shards > Self::MAX_SHARDS {
            return Err(GeometryError::Shards(shards));
        }
        if lanes == 0 || lanes > LANES {
            return Err(GeometryError::Lanes(lanes));
        }
        if largest > MAX_SIZE as u64 {
            return Err(GeometryError::Largest(largest));
        }
        // An empty lane has room for any record, wherever its positions are: for the record, and for less than as much
        // padding. The last lane is the smallest.
        let least = ((2 * words(largest)).next_power_of_two() * 8) << (lanes - 1);
        if bytes < least || bytes > Self::MAX_BYTES || !bytes.is_power_of_two() {
            return Err(GeometryError::Bytes { bytes, least });
        }
        Ok(Geometry { shards, lanes: lanes as u64, shard_words: bytes / 8, largest })
    }

    /// What somebody says who may be wrong.
    #[inline(always)]
    pub(super) const fn unchecked(shards: u64, shard_words: u64, largest: u64) -> Geometry {
        Geometry { shards, lanes: LANES as u64, shard_words, largest }
    }

    /// The number of shards.
    #[inline(always)]
    pub const fn shards(&self) -> usize {
        self.shards as usize
    }

    /// The lanes of each shard.
    #[inline(always)]
    pub const fn lanes_each(&self) -> usize {
        self.lanes as usize
    }

    /// The lanes of all shards: those of the first, then those of the second, and so on.
    pub const fn lanes(&self) -> usize {
        self.shards() * self.lanes_each()
    }

    /// The words of all lanes, in the same order.
    pub const fn words(&self) -> u64 {
        self.shards * self.shard_words
    }

    /// The largest record, in bytes.
    #[inline(always)]
    pub const fn largest(&self) -> u64 {
        self.largest
    }

    /// The shard of a processor.
    #[inline(always)]
    pub(super) fn shard_of(&self, processor: usize) -> usize {
        let shards = self.shards();
        // Mostly there is one for each, or a power of two; a division takes as long as a push.
        if processor < shards {
            processor
        } else if shards.is_power_of_two() {
            processor & (shards - 1)
        } else {
            processor.checked_rem(shards).unwrap_or(0)
        }
    }

    /// The first word of a lane, and how many it has: a power of two.
    #[inline(always)]
    pub(super) const fn lane(&self, shard: usize, lane: usize) -> (u64, u64) {
        let before = self.shard_words - (self.shard_words >> lane);
        let is_last = lane + 1 == self.lanes_each();
        let length = if is_last { self.shard_words >> lane } else { self.shard_words >> (lane + 1) };
        (shard as u64 * self.shard_words + before, length)
    }
}

/// Why there can be no such records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GeometryError {
    /// The number of shards.
    #[error("{0} shards: there must be 1 to 8192 of them, one for each processor at best")]
    Shards(u64),
    /// The number of lanes in a shard.
    #[error("{0} lanes in a shard: there must be 1 to 4 of them")]
    Lanes(usize),
    /// The largest record.
    #[error("records of {0} bytes are too large: 4096 is the most")]
    Largest(u64),
    /// The size of a shard.
    #[error(
        "{bytes} bytes for each shard, of which each processor has one: it must be a power of two, 1073741824 at most, and {least} at least for records of that size"
    )]
    Bytes {
        /// The size asked for.
        bytes: u64,
        /// The smallest that has room for the largest record in each lane.
        least: u64,
    },
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::{Geometry, GeometryError};

    #[test]
    fn lanes_lie_side_by_side_and_fill_their_shard() {
        for lanes in 1..=4 {
            for (shards, bytes) in [(1, 1 << 17), (3, 1 << 20)] {
                let geometry = Geometry::with_lanes(shards, lanes, bytes, 4096).expect("it can be");
                let all: Vec<_> = (0..geometry.shards())
                    .flat_map(|shard| (0..lanes).map(move |lane| geometry.lane(shard, lane)))
                    .collect();
                let mut end = 0;
                for (start, length) in all {
                    assert_eq!(start, end);
                    assert!(length.is_power_of_two() && length >= 2 * super::words(4096));
                    end = start + length;
                }
                assert_eq!(end, geometry.words());
            }
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_would_do() {
        assert_eq!(Geometry::new(0, 1 << 20, 64), Err(GeometryError::Shards(0)));
        assert_eq!(Geometry::new(1 << 40, 1 << 20, 64), Err(GeometryError::Shards(1 << 40)));
        assert_eq!(Geometry::with_lanes(1, 5, 1 << 20, 64), Err(GeometryError::Lanes(5)));
        assert_eq!(Geometry::new(1, 1 << 20, 4097), Err(GeometryError::Largest(4097)));
        for bytes in [0, 64, 3 << 20, 1 << 31, u64::MAX] {
            let refused = Geometry::new(1, bytes, 4096);
            assert_eq!(refused, Err(GeometryError::Bytes { bytes, least: 1 << 17 }), "{bytes}");
        }
        assert!(Geometry::new(1, 1 << 17, 4096).is_ok());
        assert!(Geometry::with_lanes(1, 1, 64, 8).is_ok());
    }
}
