//! Producers: a lane, room in it, the record, and its publication.

use core::fmt;

use super::{HEADER, LANES, Lane, LaneRing, PADDING, RECORD, Records, site, words};
use crate::platform::{Plain, Platform, Stride};
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
        self.lane()?.reserve(size)
    }

    /// Takes a lane of this processor's shard, for a record whose size is not known yet.
    ///
    /// # Errors
    ///
    /// [`PushError::Contended`] if producers have all lanes of the shard.
    #[inline(always)]
    pub fn lane(&self) -> Result<OwnedLane<'a, P>, PushError> {
        let shard = self.geometry.shard_of(P::processor());
        for number in P::steps(self.geometry.lanes_each() as u64) {
            let ring = self.ring(shard, number as usize);
            if ring.lane.claim(self.owner) {
                return Ok(OwnedLane { ring, number: shard * LANES + number as usize });
            }
        }
        Err(PushError::Contended)
    }

    /// The lane of that [number](OwnedLane::number). `None` if there is none.
    ///
    /// # Safety
    ///
    /// The caller owns it, by [`OwnedLane::into_number`], and asks for it once.
    #[inline(always)]
    pub unsafe fn lane_of_number(&self, number: usize) -> Option<OwnedLane<'a, P>> {
        self.lane_at(number)?;
        Some(OwnedLane { ring: self.ring(number / LANES, number % LANES), number })
    }

    /// Publishes the record whose bytes begin there, with its stamp, and gives its lane up. False if the lane's number, which
    /// stands before the record, is damaged: its lane is lost then.
    ///
    /// # Safety
    ///
    /// `place` is what [`Reservation::into_place`] has returned, of these records, and is neither committed nor discarded yet.
    #[inline(always)]
    pub unsafe fn commit_at(&self, place: *mut P::Plain<u64>, stamp: u64) -> bool {
        // SAFETY: passed on to the caller.
        let Some((lane, before)) = (unsafe { self.reserved_at(place) }) else { return false };
        // SAFETY: the record is the caller's, its header is written, and the lane is ours until it is given up.
        unsafe {
            before.write(stamp, &site::WRITE_HEADER);
            lane.publish(lane.reserved.read(&site::READ_RESERVED));
            lane.give_up();
        }
        true
    }

    /// Gives the lane up of the record whose bytes begin there, of which nothing was seen. False as there.
    ///
    /// # Safety
    ///
    /// As [`commit_at`](Self::commit_at).
    #[inline(always)]
    pub unsafe fn discard_at(&self, place: *mut P::Plain<u64>) -> bool {
        // SAFETY: passed on to the caller.
        let Some((lane, _)) = (unsafe { self.reserved_at(place) }) else { return false };
        // SAFETY: the lane is ours by the caller's promise.
        unsafe { lane.give_up() };
        true
    }

    /// The lane of a reservation that was left at its place, and the word before the record.
    ///
    /// # Safety
    ///
    /// As [`commit_at`](Self::commit_at).
    #[inline(always)]
    unsafe fn reserved_at(&self, place: *mut P::Plain<u64>) -> Option<(&'a Lane<P>, &'a P::Plain<u64>)> {
        // SAFETY: the header lies before the record's bytes, in the same ring, and is the caller's until it is published.
        let before = unsafe { &*place.byte_sub(self.stride.bytes::<P::Plain<u64>>()) };
        // SAFETY: as above.
        let number = unsafe { before.read(&site::READ_LANE) };
        Some((self.lane_at(number as usize)?, before))
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

/// A lane that is ours until it is dropped.
#[must_use = "a lane that is dropped is given up"]
pub struct OwnedLane<'a, P: Platform> {
    ring: LaneRing<'a, P>,
    number: usize,
}

impl<'a, P: Platform> OwnedLane<'a, P> {
    /// [`LANES`] times the number of its shard, and the lane's among those of the shard. No other lane has it, so that what is
    /// kept for a lane's owner can be found by it.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The lane stays the caller's, who remembers the number; see [`Records::lane_of_number`].
    #[inline(always)]
    pub fn into_number(self) -> usize {
        let number = self.number;
        core::mem::forget(self);
        number
    }

    /// Reserves room for a record of `size` bytes.
    ///
    /// # Errors
    ///
    /// - [`PushError::Invalid`] if records cannot be so large.
    /// - [`PushError::Full`] if the lane has not so much room.
    ///
    /// The lane is given up then.
    #[inline(always)]
    pub fn reserve(self, size: u64) -> Result<Reservation<'a, P>, PushError> {
        if size > self.ring.largest {
            return Err(PushError::Invalid);
        }
        let position = self.ring.reserve(size).ok_or(PushError::Full)?;
        let number = self.number;
        Ok(Reservation { ring: self.into_ring(), position, size, number })
    }

    #[inline(always)]
    fn into_ring(self) -> LaneRing<'a, P> {
        let ring = self.ring;
        core::mem::forget(self);
        ring
    }
}

impl<P: Platform> Drop for OwnedLane<'_, P> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the lane is ours, and nobody uses it through this any more.
        unsafe { self.ring.lane.give_up() };
    }
}

impl<P: Platform> fmt::Debug for OwnedLane<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedLane").field("number", &self.number).finish_non_exhaustive()
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
    /// The lane's number.
    number: usize,
}

impl<P: Platform> Reservation<'_, P> {
    /// Where the record's bytes begin: as many as it has, and those that fill the last word, in a row.
    #[inline(always)]
    pub fn place(&self) -> *mut P::Plain<u64> {
        let LaneRing { first, mask, stride, .. } = self.ring;
        // Behind the last word of the header, which lies in the ring; an empty record may end where the ring does.
        let index = (self.position.wrapping_add(HEADER - 1) & mask) + 1;
        // SAFETY: the index is no more than the number of the ring's words.
        unsafe { stride.element(first, index as usize) }
    }

    /// The reservation stays the caller's, who remembers the place; see [`Records::commit_at`]. The lane's number stands before
    /// the record meanwhile.
    #[inline(always)]
    pub fn into_place(self) -> *mut P::Plain<u64> {
        let Reservation { ring, position, number, .. } = self;
        let place = self.place();
        // SAFETY: the words from the position on were free, and are ours until they are published, and so is the lane.
        unsafe {
            ring.word(position).write(RECORD | self.size, &site::WRITE_HEADER);
            ring.word(position.wrapping_add(1)).write(number as u64, &site::WRITE_HEADER);
            ring.lane.reserved.write(position.wrapping_add(words(self.size)), &site::WRITE_RESERVED);
        }
        core::mem::forget(self);
        place
    }

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
        let Reservation { ring, position, size, .. } = self;
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
