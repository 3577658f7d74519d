//! The one consumer of a shard.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::num::NonZero;

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

impl<P: Platform> Consumer<'_, P> {
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
                let mut batch = Batch::begin(reader);
                while left > 0 {
                    let Some(next) = batch.look_past(&mut damaged) else { break };
                    // SAFETY: it was seen just now.
                    let record = unsafe { batch.record(next) };
                    let end = record.end();
                    hand_over(record);
                    batch.taken_to(end);
                    left -= 1;
                }
                self.in_a_row += before - left;
                if left == 0 && self.in_a_row < ROW {
                    break;
                }
            }
            self.next = (self.next + 1) % LANES;
            self.in_a_row = 0;
            if left == 0 {
                break;
            }
        }
        damaged.map_or(Ok(limit - left), Err)
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
            while let Some(next) = ahead.look()? {
                // SAFETY: it was seen just now.
                ahead.position = unsafe { ahead.record(next) }.end();
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
    /// What it has given back up to.
    freed: u64,
    /// How many words it may have taken, and not given back, while there are more to be taken.
    slack: u64,
}

impl<'a, P: Platform> LaneReader<'a, P> {
    fn resume(ring: LaneRing<'a, P>) -> Self {
        let position = ring.lane.back.consumed.load(&site::RESUME);
        LaneReader { ring, position, published: position, freed: position, slack: 0 }
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

    fn is_drained(&self) -> bool {
        self.position == self.published && self.ring.lane.published() == self.position
    }

    /// Looks at what is published, when all is taken that was. Whether there is more.
    #[inline(always)]
    fn look_again(&mut self) -> Result<bool, Corruption> {
        let published = self.ring.lane.published();
        let available = published.wrapping_sub(self.position);
        if available == 0 {
            return Ok(false);
        }
        if available > self.ring.capacity() {
            return Err(Corruption::Positions { enqueue: published, dequeue: self.position });
        }
        self.published = published;
        Ok(true)
    }

    /// The header of the next record, if there is one. It stays the next one until the position is moved behind it.
    #[inline(always)]
    fn look(&mut self) -> Result<Option<Header>, Corruption> {
        loop {
            if self.position == self.published && !self.look_again()? {
                return Ok(None);
            }
            let available = self.published.wrapping_sub(self.position);
            let before_end = self.ring.before_end(self.position);
            // SAFETY: it was published, and its producer's writes happen before the load that has told us so; until we free
            // it nobody writes there.
            let header = unsafe { self.ring.word(self.position).read(&site::READ_HEADER) };
            let size = header ^ RECORD;
            // The first comparison keeps the sum from overflowing.
            if size <= self.ring.largest && words_of_record(size) <= available.min(before_end) {
                // SAFETY: as above, and before the end of the ring.
                let stamp = unsafe { self.ring.word(self.position.wrapping_add(1)).read(&site::READ_HEADER) };
                return Ok(Some(Header { size, stamp }));
            }
            // Something is published behind padding.
            if header != PADDING || before_end >= available {
                return Err(Corruption::Header { position: self.position, header });
            }
            self.position = self.position.wrapping_add(before_end);
        }
    }

    /// The record that begins at the position.
    ///
    /// # Safety
    ///
    /// [`look`](Self::look) has seen that header there, and the position has not moved since.
    #[inline(always)]
    unsafe fn record(&self, Header { size, stamp }: Header) -> Record<'a, P> {
        Record { ring: self.ring, position: self.position, size, stamp, borrowed: PhantomData }
    }
}

/// The two words of a record before its data.
#[derive(Clone, Copy)]
pub(super) struct Header {
    size: u64,
    pub(super) stamp: u64,
}

/// What an operation takes of a lane. What is given back of it is given back with one store.
pub(super) struct Batch<'r, 'a, P: Platform>(&'r mut LaneReader<'a, P>);

impl<'r, 'a, P: Platform> Batch<'r, 'a, P> {
    #[inline(always)]
    pub(super) fn begin(reader: &'r mut LaneReader<'a, P>) -> Self {
        Batch(reader)
    }

    /// The header of the lane's next record. There is none behind what is damaged.
    #[inline(always)]
    pub(super) fn look_past(&mut self, damaged: &mut Option<Corruption>) -> Option<Header> {
        self.0.look().unwrap_or_else(|corruption| {
            *damaged = Some(corruption);
            None
        })
    }

    /// The record with that header.
    ///
    /// # Safety
    ///
    /// It is what [`look_past`](Self::look_past) has returned last, and the record has not been taken since.
    #[inline(always)]
    pub(super) unsafe fn record(&self, header: Header) -> Record<'a, P> {
        // SAFETY: the position moves when something is taken, and when padding is passed, before a header is returned.
        unsafe { self.0.record(header) }
    }

    /// The records before that position have been handed over.
    #[inline(always)]
    pub(super) fn taken_to(&mut self, position: u64) {
        self.0.position = position;
    }
}

impl<P: Platform> Drop for Batch<'_, '_, P> {
    /// Also if somebody to whom a record is handed over panics.
    #[inline(always)]
    fn drop(&mut self) {
        let LaneReader { position, published, freed, slack, .. } = *self.0;
        let taken = position.wrapping_sub(freed);
        if taken > 0 && (taken > slack || position == published) {
            self.0.give_back();
        }
    }
}

/// A record, in place.
pub struct Record<'r, P: Platform = Native> {
    ring: LaneRing<'r, P>,
    position: u64,
    size: u64,
    stamp: u64,
    borrowed: PhantomData<&'r [u8]>,
}

impl<P: Platform> Record<'_, P> {
    /// Where the next one is.
    #[inline(always)]
    pub(super) fn end(&self) -> u64 {
        self.position.wrapping_add(words_of_record(self.size))
    }

    /// How many bytes it has.
    #[inline(always)]
    pub fn size(&self) -> usize {
        // 4096 at most.
        self.size as usize
    }

    /// What its producer has given it to be told from others, and put in order.
    #[inline(always)]
    pub fn stamp(&self) -> u64 {
        self.stamp
    }

    /// The record's 64-bit words, as they come. What is behind the record's last byte is anything.
    #[inline(always)]
    pub fn words(&self) -> impl Iterator<Item = u64> + use<'_, P> {
        // SAFETY: it has so many.
        (0..self.size.div_ceil(8)).map(|index| unsafe { self.word(index) })
    }

    /// The word of that index.
    ///
    /// # Safety
    ///
    /// The record has one.
    #[inline(always)]
    unsafe fn word(&self, index: u64) -> u64 {
        let position = self.position.wrapping_add(HEADER).wrapping_add(index);
        // SAFETY: the record is published, and not freed as long as it is borrowed; all its words are before the end of the ring.
        unsafe { self.ring.word(position).read(&site::READ_DATA) }
    }
}

impl Record<'_, Native> {
    /// Copies the record's bytes, behind what `to` has already.
    #[inline]
    pub fn copy_to(&self, to: &mut Vec<u8>) {
        let before = to.len();
        to.reserve(8 * self.size().div_ceil(8));
        self.words().for_each(|word| to.extend_from_slice(&word.to_ne_bytes()));
        to.truncate(before + self.size());
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
        let mut value = T::zeroed();
        let to = (&raw mut value).cast::<u64>();
        // What is known when this is compiled: so there is no loop of a small value, and no call for what is left of a word.
        let (whole, rest) = (size_of::<T>() / size_of::<u64>(), size_of::<T>() % size_of::<u64>());
        for index in 0..whole {
            // SAFETY: the value has so many whole words, and any bytes are one. The record has as many words.
            unsafe { to.add(index).write_unaligned(self.word(index as u64)) };
        }
        if rest > 0 {
            // SAFETY: as above, and the record has one word more, of which the value has room for that many bytes.
            unsafe {
                let word = self.word(whole as u64).to_ne_bytes();
                to.add(whole).cast::<u8>().copy_from_nonoverlapping(word.as_ptr(), rest);
            }
        }
        Some(value)
    }

    /// The record's bytes, in place.
    ///
    /// # Safety
    ///
    /// Nobody writes there as long as they are borrowed: no producer does, and nobody else who has the memory.
    #[inline(always)]
    pub unsafe fn bytes(&self) -> &[u8] {
        // Not by a reference to the first word, which would be to that word alone.
        let first = self.ring.place(self.position.wrapping_add(HEADER));
        // SAFETY: the record's words lie in a row before the end of the ring, and do not change by the caller's promise.
        unsafe { core::slice::from_raw_parts(first.cast_const().cast(), self.size()) }
    }
}

impl<P: Platform> fmt::Debug for Record<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { size, stamp, .. } = self;
        f.debug_struct("Record").field("size", size).field("stamp", stamp).finish_non_exhaustive()
    }
}
