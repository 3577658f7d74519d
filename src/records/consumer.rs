//! The one consumer of a shard.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::num::NonZero;
use core::ptr::NonNull;
use core::slice;

use bytemuck::AnyBitPattern;
use thiserror::Error;

use super::{HEADER, LANES, LaneRing, PADDING, RECORD, Records, site, words_of_record};
use crate::payload::MAX_SIZE;
use crate::platform::{Native, Plain, Platform, Word};
use crate::status::Corruption;

/// The consumer of a shard. Several of them share the shards between them.
///
/// What it has handed over is free for producers when an operation ends, but for that of a [`LogConsumer`](super::LogConsumer). If
/// its process dies before, whoever consumes the shard next gets those records again: each comes at least once, and exactly once if
/// nobody dies.
pub struct Consumer<'a, P: Platform> {
    shard: usize,
    right: &'a P::Word,
    pub(super) lanes: [Option<LaneReader<'a, P>>; LANES],
    /// The lane to begin with.
    next: usize,
    /// How many records in a row have come from it.
    in_a_row: u64,
}

/// How many records come from one lane in a row, over calls that end at their limits, before the next one has its turn.
const ROW: u64 = 64;

/// Somebody else consumes the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("another one, {owner}, consumes the shard")]
pub struct ConsumerTaken {
    /// What it has said who it is.
    pub owner: u64,
}

impl<'a, P: Platform> Records<'a, P> {
    /// The consumer of a shard, which nobody else is.
    ///
    /// # Errors
    ///
    /// [`ConsumerTaken`] says who is.
    ///
    /// # Panics
    ///
    /// If there is no such shard.
    pub fn consumer(&self, shard: usize) -> Result<Consumer<'a, P>, ConsumerTaken> {
        let right = self.right(shard);
        match right.compare_exchange(0, self.owner.get(), &site::CLAIM_CONSUMER) {
            Ok(_) => Ok(self.resume(shard, right)),
            Err(owner) => Err(ConsumerTaken { owner }),
        }
    }

    /// The consumer of a shard whose consumer, `dead`, has died.
    ///
    /// # Errors
    ///
    /// [`ConsumerTaken`] if that is not, or not any more, the shard's consumer.
    ///
    /// # Panics
    ///
    /// If there is no such shard.
    ///
    /// # Safety
    ///
    /// The consumer that calls itself `dead` will never go on, and all that it did happens before this call.
    pub unsafe fn consumer_after_death(
        &self,
        shard: usize,
        dead: NonZero<u64>,
    ) -> Result<Consumer<'a, P>, ConsumerTaken> {
        let right = self.right(shard);
        match right.compare_exchange(dead.get(), self.owner.get(), &site::TAKE_OVER) {
            Ok(_) => Ok(self.resume(shard, right)),
            Err(owner) => Err(ConsumerTaken { owner }),
        }
    }

    fn right(&self, shard: usize) -> &'a P::Word {
        assert!(shard < self.geometry.shards(), "there is no shard {shard} of {}", self.geometry.shards());
        &self.lanes()[shard * self.geometry.lanes_each()].back.consumer
    }

    /// Goes on where the last consumer has stopped.
    fn resume(&self, shard: usize, right: &'a P::Word) -> Consumer<'a, P> {
        let mut rings = self.shard(shard);
        let lanes = core::array::from_fn(|_| rings.next().map(LaneReader::resume));
        Consumer { shard, right, lanes, next: 0, in_a_row: 0 }
    }
}

impl<'a, P: Platform> Consumer<'a, P> {
    /// The same, which gives words back when it has taken all that there is, or more than a quarter of the lane.
    ///
    /// Producers that wait for room take the line of `consumed`, so that a store for each record takes it from them each time.
    #[must_use]
    pub(super) fn giving_back_late(mut self) -> Self {
        for reader in self.lanes.iter_mut().flatten() {
            reader.slack = reader.ring.capacity() / 4;
        }
        self
    }

    /// The shard.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// Hands over up to `limit` records, in place: those of one lane, then those of the next, each lane's in their order. Returns
    /// how many; their words are free then, with one store for each lane.
    ///
    /// It begins with the first lane; or, if the last call has ended at its limit, with the lane that it ended in, or with the next
    /// one if that has had many records. So no lane waits for ever, however small the limit and however fast the producers.
    ///
    /// # Errors
    ///
    /// [`Corruption`] if a lane has what no producer writes. Nothing comes out of it any more; what was before it, and in
    /// other lanes, was handed over.
    ///
    /// # Panics
    ///
    /// If `hand_over` does. That record is handed over again by the next operation then.
    #[inline]
    pub fn drain_in_place(
        &mut self,
        limit: u64,
        mut hand_over: impl FnMut(Record<'_, P>),
    ) -> Result<u64, Corruption> {
        let mut left = limit;
        let mut damaged = None;
        for _ in 0..LANES {
            // The remainder changes nothing, and tells the compiler so.
            if let Some(reader) = &mut self.lanes[self.next % LANES] {
                let before = left;
                let batch = Batch(reader);
                while left > 0 {
                    let Some(record) = batch.0.look_past(&mut damaged) else { break };
                    batch.0.take(record, &mut hand_over);
                    left -= 1;
                }
                self.in_a_row += before - left;
                if left == 0 && self.in_a_row < ROW {
                    break;
                }
            }
            self.turn();
            if left == 0 {
                break;
            }
        }
        damaged.map_or(Ok(limit - left), Err)
    }

    /// Hands over the next record, in place, and returns what comes of it, or `None` if there is none. Its words are free then.
    ///
    /// It takes from the lanes by turns, as [`drain_in_place`](Self::drain_in_place) does.
    ///
    /// # Errors
    ///
    /// [`Corruption`] if a lane has what no producer writes, and no other one has a record.
    ///
    /// # Panics
    ///
    /// If `hand_over` does. That record is handed over again by the next operation then.
    // Inlined: who gets a value in memory that was stored there by parts, and loads it as a whole, waits for all of the stores.
    #[inline(always)]
    pub fn pop_in_place<R>(
        &mut self,
        hand_over: impl FnOnce(Record<'_, P>) -> R,
    ) -> Result<Option<R>, Corruption> {
        let mut damaged = None;
        let Some(record) = self.look().or_else(|| self.turn_to_a_record(&mut damaged)) else {
            return damaged.map_or(Ok(None), Err);
        };
        // The record is of the lane that has its turn.
        let Some(reader) = &mut self.lanes[self.next % LANES] else { return Ok(None) };
        let handed_over = Batch(reader).0.take(record, hand_over);
        self.in_a_row += 1;
        if self.in_a_row >= ROW {
            self.turn();
        }
        Ok(Some(handed_over))
    }

    /// The next record of the lane that has its turn, if it can be had without more ado.
    #[inline(always)]
    fn look(&mut self) -> Option<Record<'a, P>> {
        // The remainder changes nothing, and tells the compiler so.
        self.lanes[self.next % LANES].as_mut().and_then(LaneReader::look_once)
    }

    /// The next record of the lane that has its turn, behind padding if there is some, or of the first one after it that has one, whose
    /// turn it is then.
    #[cold]
    #[inline(never)]
    fn turn_to_a_record(&mut self, damaged: &mut Option<Corruption>) -> Option<Record<'a, P>> {
        for _ in 0..LANES {
            // A batch, for it gives back padding that has no record behind it yet.
            let reader = self.lanes[self.next % LANES].as_mut();
            let record = reader.and_then(|reader| Batch(reader).0.look_past(damaged));
            if record.is_some() {
                return record;
            }
            self.turn();
        }
        None
    }

    /// The next lane has its turn.
    #[inline(always)]
    fn turn(&mut self) {
        self.next = (self.next + 1) % LANES;
        self.in_a_row = 0;
    }

    /// Whether nothing is published that was not handed over.
    pub fn is_drained(&self) -> bool {
        self.lanes.iter().flatten().all(LaneReader::is_drained)
    }

    /// Whether nothing is published, and nobody has a lane: what a consumer looks at before it sleeps, see
    /// [`eventcount`](crate::eventcount). A lane whose owner has died is never quiet again before it is
    /// [repaired](Records::repair).
    pub fn is_quiet(&self) -> bool {
        // In this order: a producer that has given its lane up has published before.
        self.lanes.iter().flatten().all(|reader| !reader.ring.lane.is_owned() && reader.is_drained())
    }

    /// Walks over everything that is published: each header is one that a producer writes.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn verify(&mut self) -> Result<(), Corruption> {
        for reader in self.lanes.iter_mut().flatten() {
            let mut ahead = LaneReader { ..*reader };
            while let Some(record) = ahead.look()? {
                ahead.position = ahead.behind(&record);
            }
        }
        Ok(())
    }
}

impl<P: Platform> Drop for Consumer<'_, P> {
    fn drop(&mut self) {
        self.lanes.iter_mut().flatten().for_each(LaneReader::give_back);
        self.right.store(0, &site::RELEASE_CONSUMER);
    }
}

impl<P: Platform> fmt::Debug for Consumer<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("records::Consumer").field("shard", &self.shard).finish_non_exhaustive()
    }
}

/// One lane, as its consumer sees it.
pub(super) struct LaneReader<'a, P: Platform> {
    ring: LaneRing<'a, P>,
    /// The next word to be read: the consumer's own, which nobody else can change.
    position: u64,
    /// What was published when it looked last.
    published: u64,
    /// Up to where words can be read in a row: that, or the end of the ring if it comes before.
    row_end: u64,
    /// What it has given back up to.
    freed: u64,
    /// How many words it may have taken, and not given back, while there are more to be taken.
    slack: u64,
}

impl<'a, P: Platform> LaneReader<'a, P> {
    fn resume(ring: LaneRing<'a, P>) -> Self {
        let position = ring.lane.back.consumed.load(&site::RESUME);
        LaneReader { ring, position, published: position, row_end: position, freed: position, slack: 0 }
    }

    /// Gives back what was taken.
    #[inline(always)]
    fn give_back(&mut self) {
        if self.freed != self.position {
            self.freed = self.position;
            // SAFETY: we are the consumer, and the records before the position have been handed over, and are borrowed no longer
            // than that took.
            unsafe { self.ring.lane.free(self.position) };
        }
    }

    /// Gives back what was taken, if that is enough, or all that there is.
    #[inline(always)]
    pub(super) fn settle(&mut self) {
        let LaneReader { position, published, freed, slack, .. } = *self;
        let taken = position.wrapping_sub(freed);
        if taken > 0 && (taken > slack || position == published) {
            self.give_back();
        }
    }

    fn is_drained(&self) -> bool {
        self.position == self.published && self.ring.lane.published() == self.position
    }

    /// Goes on where no more words can be read in a row: at the beginning of the ring, or with what is published now. Whether there
    /// is more.
    #[inline(always)]
    fn look_again(&mut self) -> Result<bool, Corruption> {
        if self.position == self.published {
            let published = self.ring.lane.published();
            let available = published.wrapping_sub(self.position);
            if available == 0 {
                return Ok(false);
            }
            if available > self.ring.capacity() {
                return Err(Corruption::Positions { enqueue: published, dequeue: self.position });
            }
            self.published = published;
        }
        let available = self.published.wrapping_sub(self.position);
        self.row_end = self.position.wrapping_add(available.min(self.ring.before_end(self.position)));
        Ok(true)
    }

    /// The next record, if there is one. It stays the next one until the position is moved behind it, and is one no longer.
    #[inline(always)]
    fn look(&mut self) -> Result<Option<Record<'a, P>>, Corruption> {
        loop {
            if self.position == self.row_end && !self.look_again()? {
                return Ok(None);
            }
            match self.read() {
                Ok(record) => return Ok(Some(record)),
                // Something is published behind padding.
                Err(PADDING) if self.row_end != self.published => self.position = self.row_end,
                Err(header) => return Err(Corruption::Header { position: self.position, header }),
            }
        }
    }

    /// What [`look`](Self::look) finds, but for what lies behind padding, and for what is wrong.
    #[inline(always)]
    fn look_once(&mut self) -> Option<Record<'a, P>> {
        let is_more = self.position != self.row_end || self.look_again().is_ok_and(|is_more| is_more);
        if is_more { self.read().ok() } else { None }
    }

    /// The record at the position, or what stands there instead of its header. Some word is published there.
    #[inline(always)]
    fn read(&self) -> Result<Record<'a, P>, u64> {
        let available = self.row_end.wrapping_sub(self.position);
        let first = self.ring.place(self.position);
        // SAFETY: it was published, and its producer's writes happen before the load that has told us so; until we free
        // it nobody writes there.
        let header = unsafe { (*first).read(&site::READ_HEADER) };
        let size = header ^ RECORD;
        // The first comparison keeps the sum from overflowing.
        if size > self.ring.largest || words_of_record(size) > available {
            return Err(header);
        }
        // SAFETY: as many words lie there in a row, also before the end of the ring, and what is true of the first is of each.
        let words = unsafe { NonNull::new_unchecked(first.add(HEADER as usize)) };
        Ok(Record { words, size, borrowed: PhantomData })
    }

    /// The position behind the next record.
    #[inline(always)]
    fn behind(&self, record: &Record<'_, P>) -> u64 {
        self.position.wrapping_add(words_of_record(record.size))
    }

    /// [`look`](Self::look), where what is damaged is told later. There is nothing behind it.
    #[inline(always)]
    pub(super) fn look_past(&mut self, damaged: &mut Option<Corruption>) -> Option<Record<'a, P>> {
        self.look().unwrap_or_else(|corruption| {
            *damaged = Some(corruption);
            None
        })
    }

    /// Hands the next record over.
    #[inline(always)]
    pub(super) fn take<R>(&mut self, record: Record<'a, P>, hand_over: impl FnOnce(Record<'_, P>) -> R) -> R {
        let end = self.behind(&record);
        let handed_over = hand_over(record);
        self.position = end;
        handed_over
    }
}

/// What an operation takes of a lane. What is given back of it is given back with one store, also if somebody to whom a record is
/// handed over panics.
struct Batch<'r, 'a, P: Platform>(&'r mut LaneReader<'a, P>);

impl<P: Platform> Drop for Batch<'_, '_, P> {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.settle();
    }
}

/// A value in whole words.
#[repr(C, align(8))]
struct InWords<T>(MaybeUninit<T>);

/// A record, in place.
pub struct Record<'r, P: Platform = Native> {
    /// Where its words lie, behind its header, in a row before the end of the ring. They are published, and not freed as long as they
    /// are borrowed.
    words: NonNull<P::Plain<u64>>,
    size: u64,
    borrowed: PhantomData<&'r [u8]>,
}

// SAFETY: any thread may read its words, which nobody writes as long as they are borrowed.
unsafe impl<P: Platform> Send for Record<'_, P> {}

impl<P: Platform> Record<'_, P> {
    /// How many bytes it has.
    #[inline(always)]
    pub fn size(&self) -> usize {
        // 4096 at most.
        self.size as usize
    }

    /// What its producer has given it to be told from others, and put in order. It is read where it is, each time.
    #[inline(always)]
    pub fn stamp(&self) -> u64 {
        // SAFETY: the header's second word lies before the record's first one; else as in `words`.
        unsafe { self.words.sub(1).as_ref().read(&site::READ_HEADER) }
    }

    /// The record's 64-bit words, as they come. What is behind the record's last byte is anything.
    #[inline(always)]
    pub fn words(&self) -> impl Iterator<Item = u64> + use<'_, P> {
        // SAFETY: the record is published, and not freed as long as it is borrowed.
        self.row().iter().map(|word| unsafe { word.read(&site::READ_DATA) })
    }

    /// Where they lie.
    #[inline(always)]
    fn row(&self) -> &[P::Plain<u64>] {
        // SAFETY: so many lie in a row before the end of the ring, for as long as they are borrowed. They change through shared
        // references only.
        unsafe { slice::from_raw_parts(self.words.as_ptr(), self.size().div_ceil(size_of::<u64>())) }
    }

    /// Copies the record's bytes, behind what `to` has already.
    #[inline]
    pub fn copy_to(&self, to: &mut Vec<u8>) {
        let row = self.row();
        to.reserve(row.len() * size_of::<u64>());
        let before = to.len();
        // SAFETY: as in `words`; there is room for all words, which have as many bytes and a few more, and are written then.
        unsafe {
            P::Plain::read_row(row, to.as_mut_ptr().add(before).cast(), &site::READ_DATA);
            to.set_len(before + self.size());
        }
    }

    /// The value at the beginning of the record, or `None` if the record is too small for one.
    ///
    /// It is copied, each word once, so what has been checked does not change.
    #[inline]
    pub fn read<T: AnyBitPattern>(&self) -> Option<T> {
        const { assert!(size_of::<T>() <= MAX_SIZE, "no record is so large") };
        if size_of::<T>() > self.size() {
            return None;
        }
        let mut value = InWords(MaybeUninit::<T>::uninit());
        // The record is no smaller than the value, and has no fewer words.
        let row = &self.row()[..size_of::<T>().div_ceil(size_of::<u64>())];
        // SAFETY: as in `words`; `InWords` has as many words. All of them are written then, and any bytes are a `T`.
        unsafe {
            P::Plain::read_row(row, (&raw mut value).cast(), &site::READ_DATA);
            Some(value.0.assume_init())
        }
    }
}

impl Record<'_, Native> {
    /// The record's bytes, in place.
    ///
    /// # Safety
    ///
    /// Nobody writes there as long as they are borrowed: no producer does, and nobody else who has the memory.
    #[inline(always)]
    pub unsafe fn bytes(&self) -> &[u8] {
        // SAFETY: the record's words lie in a row before the end of the ring, and do not change by the caller's promise.
        unsafe { slice::from_raw_parts(self.words.cast().as_ptr(), self.size()) }
    }
}

impl<P: Platform> fmt::Debug for Record<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("size", &self.size)
            .field("stamp", &self.stamp())
            .finish_non_exhaustive()
    }
}
