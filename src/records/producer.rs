//! Producers: a lane, room in it, the record, and its publication.

use core::fmt;

use super::{HEADER, LaneRing, PADDING, RECORD, Records, site, words};
use crate::platform::{Plain, Platform};
use crate::status::PushError;

impl<'a, P: Platform> Records<'a, P> {
    /// Reserves room for a record of `size` bytes, in a lane of this processor's shard, and takes the lane until the
    /// reservation is committed or dropped.
    ///
    /// Wait-free: a compare-exchange for each lane at most.
    ///
    /// # Errors
    ///
    /// - [`PushError::Invalid`] if records cannot be so large.
    /// - [`PushError::Contended`] if producers have all lanes of the shard: they have been interrupted, or died.
    /// - [`PushError::Full`] if the lane has not so much room.
    #[inline(always)]
    pub fn reserve(&self, size: u64) -> Result<Reservation<'a, P>, PushError> {
        if size > self.geometry.largest() {
            return Err(PushError::Invalid);
        }
        let shard = P::processor() % self.geometry.shards();
        let mut lanes = self.shard(shard);
        let ring = lanes.find(|ring| ring.lane.claim(self.owner)).ok_or(PushError::Contended)?;
        match ring.reserve(size) {
            Some(position) => Ok(Reservation { ring, position, size }),
            None => {
                // SAFETY: we have claimed it.
                unsafe { ring.lane.give_up() };
                Err(PushError::Full)
            }
        }
    }

    /// Pushes a record of words: [`reserve`](Self::reserve), and [commits](Reservation::commit) what `data` has.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve).
    #[inline(always)]
    pub fn push_words(&self, data: &[u64], stamp: u64) -> Result<(), PushError> {
        let mut reservation = self.reserve(size_of_val(data) as u64)?;
        for (index, word) in data.iter().enumerate() {
            reservation.write(index, *word);
        }
        reservation.commit(stamp);
        Ok(())
    }

    /// Pushes a record of bytes.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve).
    #[inline]
    pub fn push(&self, data: &[u8], stamp: u64) -> Result<(), PushError> {
        let mut reservation = self.reserve(data.len() as u64)?;
        for (index, word) in words_of(data).enumerate() {
            reservation.write(index, word);
        }
        reservation.commit(stamp);
        Ok(())
    }
}

/// Bytes as words; the last one ends with zeros if it must.
#[inline(always)]
fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let word = |chunk: &[u8]| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_ne_bytes(word)
    };
    let chunks = bytes.chunks_exact(8);
    let rest = chunks.remainder();
    chunks.map(word).chain((!rest.is_empty()).then(|| word(rest)))
}

impl<P: Platform> LaneRing<'_, P> {
    /// The position at which a record of `size` bytes has room, behind padding if it must. `None` if there is no room.
    ///
    /// The caller is the lane's owner.
    #[inline(always)]
    fn reserve(&self, size: u64) -> Option<u64> {
        let position = self.lane.position();
        let need = words(size);
        let before_end = self.before_end(position);
        let padding = if need > before_end { before_end } else { 0 };
        // SAFETY: the caller is the owner.
        if !unsafe { self.lane.has_room(position, padding + need, self.capacity()) } {
            return None;
        }
        if padding > 0 {
            // SAFETY: the word is free, so that no consumer reads it, and ours as long as the lane is.
            unsafe { self.word(position).write(PADDING, &site::WRITE_PADDING) };
        }
        Some(position.wrapping_add(padding))
    }
}

/// Room for a record, in a lane that is ours. Nothing of it can be seen before it is [committed](Self::commit); dropping it
/// discards it.
#[must_use = "a reservation that is dropped discards its record"]
pub struct Reservation<'a, P: Platform> {
    ring: LaneRing<'a, P>,
    /// Where the record's header will be.
    position: u64,
    size: u64,
}

impl<P: Platform> Reservation<'_, P> {
    /// The record's bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes the record's 64-bit word of that index. Words that are not written hold what an older record left.
    ///
    /// # Panics
    ///
    /// If the record has no such word.
    #[inline(always)]
    pub fn write(&mut self, index: usize, word: u64) {
        let index = index as u64;
        assert!(index < self.size.div_ceil(8), "a record of {} bytes has no word {index}", self.size);
        let position = self.position.wrapping_add(HEADER).wrapping_add(index);
        // SAFETY: the words from the position on were free, and are ours until they are published.
        unsafe { self.ring.word(position).write(word, &site::WRITE_DATA) };
    }

    /// Publishes the record, with its stamp, and gives the lane up.
    #[inline(always)]
    pub fn commit(self, stamp: u64) {
        let Reservation { ring, position, size } = self;
        // SAFETY: as for the other words. There is a second one before the end of the ring: a record lies in one piece.
        unsafe {
            ring.word(position).write(RECORD | size, &site::WRITE_HEADER);
            ring.word(position.wrapping_add(1)).write(stamp, &site::WRITE_HEADER);
        }
        // SAFETY: the lane is ours, and the padding and the record are written.
        unsafe { ring.lane.publish(position.wrapping_add(words(size))) };
        // Dropping it gives the lane up.
        drop(self);
    }
}

impl<P: Platform> Drop for Reservation<'_, P> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the lane is ours, and nobody uses the reservation any more.
        unsafe { self.ring.lane.give_up() };
    }
}

impl<P: Platform> fmt::Debug for Reservation<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("size", &self.size).finish_non_exhaustive()
    }
}
