//! Producers: a lane, room in it, the record, and its publication.

use core::mem;
use core::num::NonZero;
use core::{fmt, ptr, slice};

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
    /// - [`PushError::Contended`] if producers have all lanes of the shard: they have been interrupted, or died.
    /// - [`PushError::Invalid`] if records cannot be so large.
    /// - [`PushError::Full`] if the lane has not so much room.
    #[inline(always)]
    pub fn reserve(&self, size: u64) -> Result<Reservation<'a, P>, PushError> {
        self.lane()?.reserve(size)
    }

    /// Takes a lane of this processor's shard, for a record whose size is not known yet.
    ///
    /// # Errors
    ///
    /// [`PushError::Contended`] if producers have all lanes of the shard.
    #[inline(always)]
    pub fn lane(&self) -> Result<OwnedLane<'a, P>, PushError> {
        let shard = self.shard.unwrap_or_else(|| self.geometry.shard_of(P::processor()));
        // A constant bound, so that the kernel need not end the loop.
        for number in (0..LANES).take_while(|number| *number < self.geometry.lanes_each()) {
            let lane = self.lane_of(shard, number);
            if lane.claim(self.owner) {
                let ring = if P::IS_CONFINED {
                    // SAFETY: no address leads out of the shared memory.
                    unsafe { lane.said_ring() }
                } else {
                    self.ring(shard, number)
                };
                return Ok(OwnedLane { ring });
            }
        }
        Err(PushError::Contended)
    }

    /// Pushes a record of words: [`reserve`](Self::reserve), and [commits](Reservation::commit) what `data` has.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve).
    #[inline(always)]
    pub fn push_words(&self, data: &[u64], stamp: u64) -> Result<(), PushError> {
        let mut reservation = self.reserve(size_of_val(data) as u64)?;
        reservation.write_words(data);
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
        reservation.write_bytes(data);
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
    /// Whether a record can be so large.
    ///
    /// # Errors
    ///
    /// [`PushError::Invalid`].
    #[inline(always)]
    pub(super) fn admit(&self, size: u64) -> Result<(), PushError> {
        if size > self.largest { Err(PushError::Invalid) } else { Ok(()) }
    }

    /// The position at which a record of `size` bytes has room, behind padding if it must; `None` if there is no room. `has_room`
    /// says whether so many words from the owner's `position` on are free.
    ///
    /// The caller is the lane's owner.
    #[inline(always)]
    pub(super) fn room(&self, position: u64, size: u64, has_room: impl FnOnce(u64) -> bool) -> Option<u64> {
        let need = words(size);
        let before_end = self.before_end(position);
        let padding = if need > before_end { before_end } else { 0 };
        if !has_room(padding + need) {
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
    pub(super) ring: LaneRing<'a, P>,
}

impl<'a, P: Platform> OwnedLane<'a, P> {
    /// The lane stays the caller's, who remembers its address; see [`from_raw`](Self::from_raw).
    #[inline(always)]
    pub fn into_raw(self) -> *const Lane<P> {
        ptr::from_ref(self.into_ring().lane)
    }

    /// The lane of that address, for a platform that no address leads out of the shared memory.
    ///
    /// # Safety
    ///
    /// The caller owns it, by [`into_raw`](Self::into_raw), and asks for it once.
    #[inline(always)]
    pub unsafe fn from_raw(lane: *const Lane<P>) -> Self {
        const { assert!(P::IS_CONFINED, "only the kernel may believe what stands in shared memory") };
        // SAFETY: there is such a lane, by the caller's promise, and no address leads out of the shared memory.
        OwnedLane { ring: unsafe { (*lane).said_ring() } }
    }

    /// Which of all lanes this one is: [`LANES`] times the number of its shard, and the lane's among those of the shard. What is
    /// kept for a lane's owner can be found by it. It stands in shared memory, where [`Records::say`] has written it.
    #[inline(always)]
    pub fn number(&self) -> u64 {
        self.ring.lane.number()
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
        self.ring.admit(size)?;
        let LaneRing { lane, .. } = self.ring;
        let first = lane.position();
        // SAFETY: the lane is ours.
        let (seen, see) = unsafe { (lane.last_seen(), |consumed| lane.keep_seen(consumed)) };
        let has_room = |need| lane.has_room(seen, see, first, need, self.ring.capacity());
        let position = self.ring.room(first, size, has_room).ok_or(PushError::Full)?;
        Ok(Reservation { ring: self.into_ring(), position, size })
    }

    #[inline(always)]
    fn into_ring(self) -> LaneRing<'a, P> {
        let ring = self.ring;
        mem::forget(self);
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
        f.debug_struct("OwnedLane").finish_non_exhaustive()
    }
}

/// Room for a record, in a lane that is ours. Nothing of it can be seen before it is [committed](Self::commit); dropping it
/// discards it.
#[must_use = "a reservation that is dropped discards its record"]
pub struct Reservation<'a, P: Platform> {
    pub(super) ring: LaneRing<'a, P>,
    /// Where the record's header will be.
    pub(super) position: u64,
    pub(super) size: u64,
}

impl<P: Platform> Reservation<'_, P> {
    /// A word of the record, of which the header is the first.
    ///
    /// # Safety
    ///
    /// It has one of that index, or that is its end.
    #[inline(always)]
    unsafe fn word(&self, index: u64) -> *mut P::Plain<u64> {
        // SAFETY: a record lies in one piece before the end of the ring.
        unsafe { self.ring.stride.element(self.ring.place(self.position), index as usize) }
    }

    /// Where the record's bytes begin: as many as it has, and those that fill the last word, in a row.
    #[inline(always)]
    pub fn place(&self) -> *mut P::Plain<u64> {
        // SAFETY: each record has a header.
        unsafe { self.word(HEADER) }
    }

    /// The reservation stays the caller's, who remembers the place; see [`commit_at`]. Meanwhile the lane's address stands before
    /// the record, where its stamp will be.
    #[inline(always)]
    pub fn into_place(self) -> *mut P::Plain<u64> {
        const { assert!(P::IS_CONFINED, "only the kernel may believe what stands in shared memory") };
        let lane = ptr::from_ref(self.ring.lane).expose_provenance() as u64;
        let place = self.place();
        // SAFETY: the words from the position on were free, and are ours until they are published, and so is the lane.
        unsafe {
            self.write_header(lane);
            self.ring.lane.reserved.write(self.end(), &site::WRITE_RESERVED);
        }
        mem::forget(self);
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
        // SAFETY: there is such a word. It was free, and is ours until it is published.
        unsafe { (*self.word(HEADER + index)).write(word, &site::WRITE_DATA) };
    }

    /// Publishes the record, with its stamp, and gives the lane up.
    #[inline(always)]
    pub fn commit(self, stamp: u64) {
        self.publish(stamp);
        // Dropping it gives the lane up.
        drop(self);
    }

    /// Publishes the record, once.
    #[inline(always)]
    pub(super) fn publish(&self, stamp: u64) {
        // SAFETY: the lane is ours. When the record can be seen, it and the padding before it are written.
        unsafe {
            self.write_header(stamp);
            self.ring.lane.publish(self.end());
        }
    }

    /// Writes words, from the record's first on, as many as it has room for.
    #[inline(always)]
    pub(super) fn write_words(&mut self, data: &[u64]) {
        // SAFETY: the record has so many words in a row, which change through shared references only.
        let row = unsafe { slice::from_raw_parts(self.place(), self.size.div_ceil(8) as usize) };
        // SAFETY: they were free, and are ours until they are published.
        unsafe { P::Plain::write_row(row, data, &site::WRITE_DATA) };
    }

    /// Writes bytes, from the record's first on.
    ///
    /// # Panics
    ///
    /// If there are more than it has room for.
    #[inline(always)]
    pub(super) fn write_bytes(&mut self, data: &[u8]) {
        for (index, word) in words_of(data).enumerate() {
            self.write(index, word);
        }
    }

    /// What stands before the record's bytes: its size and kind, and its stamp.
    ///
    /// # Safety
    ///
    /// The record is not published.
    #[inline(always)]
    unsafe fn write_header(&self, stamp: u64) {
        // SAFETY: each record has a header. Its words were free, and are ours until they are published.
        unsafe {
            (*self.word(0)).write(RECORD | self.size, &site::WRITE_HEADER);
            (*self.word(1)).write(stamp, &site::WRITE_HEADER);
        }
    }

    /// Where the next record will be.
    #[inline(always)]
    pub(super) fn end(&self) -> u64 {
        self.position.wrapping_add(words(self.size))
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

/// Publishes the record whose bytes begin there, with its stamp, and gives its lane up. False if what stands before the record is
/// damaged, so that it names no lane that `owner` has: the lane is lost then.
///
/// # Safety
///
/// `place` is what [`Reservation::into_place`] has returned of a lane that `owner` took, and is neither committed nor discarded yet.
#[inline(always)]
pub unsafe fn commit_at<P: Platform>(place: *mut P::Plain<u64>, stamp: u64, owner: NonZero<u64>) -> bool {
    // SAFETY: passed on to the caller.
    let Some((lane, before)) = (unsafe { reserved_at::<P>(place, owner) }) else { return false };
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
/// As [`commit_at`].
#[inline(always)]
pub unsafe fn discard_at<P: Platform>(place: *mut P::Plain<u64>, owner: NonZero<u64>) -> bool {
    // SAFETY: passed on to the caller.
    let Some((lane, _)) = (unsafe { reserved_at::<P>(place, owner) }) else { return false };
    // SAFETY: the lane is ours by the caller's promise.
    unsafe { lane.give_up() };
    true
}

/// The lane of a reservation that was left at its place, and the word before the record.
///
/// # Safety
///
/// As [`commit_at`].
#[inline(always)]
unsafe fn reserved_at<'a, P: Platform>(
    place: *mut P::Plain<u64>,
    owner: NonZero<u64>,
) -> Option<(&'a Lane<P>, &'a P::Plain<u64>)> {
    const { assert!(P::IS_CONFINED, "only the kernel may believe what stands in shared memory") };
    let stride = P::Stride::of::<P::Plain<u64>>();
    // SAFETY: the header lies before the record's bytes, in the same ring, and is the caller's until it is published.
    let before = unsafe { &*place.byte_sub(stride.bytes::<P::Plain<u64>>()) };
    // SAFETY: as above.
    let address = unsafe { before.read(&site::READ_LANE) };
    // SAFETY: the address is that of the lane, or of something else in the shared memory, out of which none leads.
    let lane = unsafe { &*ptr::with_exposed_provenance::<Lane<P>>(address as usize) };
    lane.is_owned_by(owner).then_some((lane, before))
}
