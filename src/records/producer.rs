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

impl<'a, P: Platform> LaneRing<'a, P> {
    /// Room for a record of `size` bytes, behind padding if it must.
    ///
    /// The caller is the lane's owner, and goes on from `position`; `seen` is what `consumed` was when an owner looked last, and
    /// `see` is handed what it is if this one must look too.
    ///
    /// # Errors
    ///
    /// As [`OwnedLane::reserve`].
    #[inline(always)]
    pub(super) fn reserve(
        &self,
        position: u64,
        seen: u64,
        see: impl FnOnce(u64),
        size: u64,
    ) -> Result<Reservation<'a, P>, PushError> {
        if size > self.largest {
            return Err(PushError::Invalid);
        }
        let need = words(size);
        let LaneRing { lane, mask, stride, .. } = *self;
        let at = |position: u64| Reservation {
            lane,
            header: self.place(position),
            end: position.wrapping_add(need),
            size,
            stride,
        };
        // The last word tells: whether it is free, and whether it lies behind the first one in the ring.
        let is_free =
            |position: u64, consumed| position.wrapping_add(need - 1).wrapping_sub(consumed) <= mask;
        let is_in_one_piece = (position & mask) + (need - 1) <= mask;
        if is_in_one_piece && is_free(position, seen) {
            return Ok(at(position));
        }
        let padding = if is_in_one_piece { 0 } else { self.before_end(position) };
        let consumed = lane.consumed();
        see(consumed);
        if !is_free(position.wrapping_add(padding), consumed) {
            return Err(PushError::Full);
        }
        if padding > 0 {
            // SAFETY: the word is free, so that no consumer reads it, and ours as long as the lane is.
            unsafe { self.word(position).write(PADDING, &site::WRITE_PADDING) };
        }
        Ok(at(position.wrapping_add(padding)))
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
        let LaneRing { lane, .. } = self.ring;
        mem::forget(self);
        ptr::from_ref(lane)
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
        let LaneRing { lane, .. } = self.ring;
        let position = lane.position();
        // SAFETY: the lane is ours.
        let (seen, see) = unsafe { (lane.last_seen(), |consumed| lane.keep_seen(consumed)) };
        let reservation = self.ring.reserve(position, seen, see, size)?;
        mem::forget(self);
        Ok(reservation)
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
    lane: &'a Lane<P>,
    /// Where the record's header will be.
    header: *mut P::Plain<u64>,
    /// The position of the next record.
    pub(super) end: u64,
    size: u64,
    stride: P::Stride,
}

// SAFETY: the words are the reservation's alone until they are published, as its lane is, and nothing of either is tied to a thread.
unsafe impl<P: Platform> Send for Reservation<'_, P> {}

impl<P: Platform> Reservation<'_, P> {
    /// A word of the record, of which the header is the first.
    ///
    /// # Safety
    ///
    /// It has one of that index, or that is its end.
    #[inline(always)]
    unsafe fn word(&self, index: u64) -> *mut P::Plain<u64> {
        // SAFETY: a record lies in one piece before the end of the ring.
        unsafe { self.stride.element(self.header, index as usize) }
    }

    /// Where the record's bytes begin: as many as it has, and those that fill the last word, in a row.
    #[inline(always)]
    pub fn place(&self) -> *mut P::Plain<u64> {
        // SAFETY: each record has a header.
        unsafe { self.word(HEADER) }
    }

    /// The reservation stays the caller's, who remembers the place; see [`commit_at`]. Meanwhile the position of the next record
    /// and the lane's address stand before the record, where its header will be, and its size in the lane.
    #[inline(always)]
    pub fn into_place(self) -> *mut P::Plain<u64> {
        const { assert!(P::IS_CONFINED, "only the kernel may believe what stands in shared memory") };
        let lane = ptr::from_ref(self.lane).expose_provenance() as u64;
        // The header's words last: a compiler that sees the commit too, and no store in between that may go there, need not read them.
        // SAFETY: the words from the position on were free, and are ours until they are published, and so is the lane.
        unsafe {
            self.lane.reserved.write(self.size, &site::WRITE_RESERVED);
            (*self.word(0)).write(self.end, &site::WRITE_HEADER);
            (*self.word(1)).write(lane, &site::WRITE_HEADER);
        }
        let place = self.place();
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
            write_header::<P>([&*self.word(0), &*self.word(1)], self.size, stamp);
            self.lane.publish(self.end);
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
}

impl<P: Platform> Drop for Reservation<'_, P> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the lane is ours, and nobody uses the reservation any more.
        unsafe { self.lane.give_up() };
    }
}

impl<P: Platform> fmt::Debug for Reservation<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("size", &self.size).finish_non_exhaustive()
    }
}

/// The words before a record's bytes.
type Header<'a, P> = [&'a <P as Platform>::Plain<u64>; 2];

/// What stands before a record's bytes: its size and kind, and its stamp.
///
/// # Safety
///
/// The words are the caller's, of a record that is not published.
#[inline(always)]
unsafe fn write_header<P: Platform>([first, second]: Header<'_, P>, size: u64, stamp: u64) {
    // SAFETY: they were free, and are the caller's until they are published.
    unsafe {
        first.write(RECORD | size, &site::WRITE_HEADER);
        second.write(stamp, &site::WRITE_HEADER);
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
    let Some((lane, header)) = (unsafe { reserved_at::<P>(place, owner) }) else { return false };
    // SAFETY: the record is the caller's, its header is written, and the lane is ours until it is given up.
    unsafe {
        let end = header[0].read(&site::READ_LANE);
        write_header::<P>(header, lane.reserved.read(&site::READ_RESERVED), stamp);
        lane.publish(end);
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

/// The lane of a reservation that was left at its place, and the words before the record.
///
/// # Safety
///
/// As [`commit_at`].
#[inline(always)]
unsafe fn reserved_at<'a, P: Platform>(
    place: *mut P::Plain<u64>,
    owner: NonZero<u64>,
) -> Option<(&'a Lane<P>, Header<'a, P>)> {
    const { assert!(P::IS_CONFINED, "only the kernel may believe what stands in shared memory") };
    let stride = P::Stride::of::<P::Plain<u64>>();
    // SAFETY: the header lies before the record's bytes, in the same ring, and is the caller's until it is published.
    let header = [2, 1].map(|words| unsafe { &*place.byte_sub(words * stride.bytes::<P::Plain<u64>>()) });
    // SAFETY: as above.
    let address = unsafe { header[1].read(&site::READ_LANE) };
    // SAFETY: the address is that of the lane, or of something else in the shared memory, out of which none leads.
    let lane = unsafe { &*ptr::with_exposed_provenance::<Lane<P>>(address as usize) };
    lane.is_owned_by(owner).then_some((lane, header))
}
