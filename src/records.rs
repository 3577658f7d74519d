//! Records of any size: shards of lanes, each lane a ring of bytes with one producer at a time.
//!
//! What the BPF ring buffer is used for, without its lock. A lane is the single-producer, single-consumer ring of
//! Lamport, with the cached positions of FastForward and of Le, Guatto, Cohen and Pop ("Correct and Efficient Bounded
//! FIFO Queues", 2013), and an *owner word* in front of it.
//!
//! # How it works
//!
//! There is a *shard* for each processor, or for as many of them as share one, and it has up to [`LANES`] lanes.
//!
//! ```text
//! push(record):
//!     lane := the first lane of this processor's shard whose owner word we swap from 0 to our own    else BUSY
//!     if there is no room between published and the consumer's position, as it was seen last:
//!         look at the consumer's position once more                                                  else FULL
//!     write the record behind published, or padding to the end of the ring and the record at its front
//!     published := behind the record            (release: who sees it sees the record)
//!     owner word := 0                           (release: the next owner goes on from there)
//! ```
//!
//! Whoever interrupts a producer, at any instant, finds the lane taken and takes the next one, so nobody waits: a push is
//! as many steps as there are lanes, and the copy of the record. One compare-exchange on a line that other processors
//! leave alone is all that is locked in it. The processor is a hint: any producer may take any lane.
//!
//! A record lies in one piece, so that it is read and written in place. Where the ring has too few words before its end,
//! *padding* fills them.
//!
//! Nothing of a record can be seen before it is published. A producer that gives up, or dies, leaves nothing behind but
//! the owner word: a lane that is lost to producers until it is [repaired](Records::repair), and hides nothing that was
//! published. So nothing is ever stuck behind a stalled producer.
//!
//! A consumer has a shard of its own, see [`Consumer`]: it loads `published` (acquire), reads the records in place, and
//! says with one store (release) for all of them that their words are free.
//!
//! # Order
//!
//! The records of a lane come out as they were published. A shard's lanes are used from the first on, so that the
//! records of a processor nearly always come in order; one that was pushed while another one was being written is in
//! another lane, and may come before it or behind it. Who needs more gives each record a *stamp*.
//!
//! # The memory
//!
//! A lane's ring is an array of 64-bit words, a power of two of them. A record takes two words, its size and kind, and
//! its stamp, and as many as its bytes need. Positions count words, and wrap around at 2^64. See [`Geometry`] for how a
//! shard's words are divided.
//!
//! # Whom it trusts
//!
//! Nobody. The geometry and the consumer's position are each side's own; what a position leads to goes through the ring's
//! mask; each header is read once, and must fit what is published, the end of the ring, and the largest record. Whatever
//! is written there, a consumer gets wrong bytes or a [`Corruption`](crate::Corruption), and a producer never leaves its ring.

mod consumer;
mod control;
mod geometry;
mod inspection;
mod kept;
mod lane;
mod log;
mod merge;
mod producer;
mod repair;
pub mod site;

use core::fmt;
use core::marker::PhantomData;
use core::num::NonZero;
use core::slice;

pub use self::consumer::{Consumer, ConsumerTaken, Record};
pub use self::control::Control;
pub use self::geometry::{Geometry, GeometryError};
pub use self::lane::Lane;
pub use self::log::{Log, LogConsumer, LogProducer};
pub use self::merge::Merge;
pub use self::producer::{OwnedLane, Reservation, commit_at, discard_at};
use crate::layout::layouts;
use crate::platform::{Native, Platform, Stride};

/// The most lanes of a shard: a task, and three that interrupt it and each other.
pub const LANES: usize = 4;

/// By which BPF programs call themselves as owners of a lane. None of them dies in the middle: the kernel lets each run to its
/// end.
pub const PROGRAM: NonZero<u64> = NonZero::new(u64::MAX - 2).unwrap();

/// The words in front of a record's bytes: size and kind, and the stamp.
const HEADER: u64 = 2;

/// What a header is of, above its 32 bits for the size.
const RECORD: u64 = 1 << 32;
/// Words up to the end of the ring that hold nothing.
const PADDING: u64 = 2 << 32;

/// How many words a record takes.
#[inline(always)]
const fn words(size: u64) -> u64 {
    HEADER + size.div_ceil(8)
}

/// [`words`] of a size that a record can have: nothing overflows, which is ten instructions less for each record that is consumed.
#[inline(always)]
const fn words_of_record(size: u64) -> u64 {
    HEADER + ((size + 7) >> 3)
}

/// The records, as one process or program uses them: the shared lanes and words, and the geometry, which is its own.
///
/// Any number of copies; each can push, from any thread.
pub struct Records<'a, P: Platform> {
    /// As many as the geometry says. A pointer, for in the kernel nothing can be loaded through a reference to them, such as by a
    /// check of a slice's bounds.
    lanes: *const Lane<P>,
    words: *mut P::Plain<u64>,
    borrowed: PhantomData<&'a [Lane<P>]>,
    stride: P::Stride,
    geometry: Geometry,
    /// What stands in the owner word of a lane while we have it.
    owner: NonZero<u64>,
    /// Where this handle pushes, if not by the processor.
    shard: Option<usize>,
}

impl<P: Platform> Clone for Records<'_, P> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for Records<'_, P> {}

// SAFETY: the lanes are atomic words, but for what their owner word guards, see `Lane`. A word of a ring is written by the
// lane's owner alone, between the consumer's position and the end of the ring's room, and read by the shard's consumer
// alone, between its position and `published`: `published` (release and acquire) and `consumed` (release and acquire)
// order the one after the other.
unsafe impl<P: Platform> Send for Records<'_, P> {}
// SAFETY: as above.
unsafe impl<P: Platform> Sync for Records<'_, P> {}

impl<'a, P: Platform> Records<'a, P> {
    /// The records in these lanes and words.
    ///
    /// `owner` tells others, for as long as this handle has a lane, who has it: a process id, or any other number by which
    /// [`repair`](Self::repair) knows the dead.
    ///
    /// # Safety
    ///
    /// There are as many lanes as the geometry [says](Geometry::lanes), and as many [words](Geometry::words) at `words`, in
    /// a row, for all of `'a`. They are those of these records alone, and whoever uses them has the same geometry. Both were
    /// zero, or [`Lane::empty`], when they were used first.
    #[inline(always)]
    pub unsafe fn new(
        lanes: &'a [Lane<P>],
        words: *mut P::Plain<u64>,
        geometry: Geometry,
        owner: NonZero<u64>,
    ) -> Self {
        debug_assert!(lanes.len() >= geometry.lanes());
        // SAFETY: passed on to the caller.
        unsafe { Self::at(lanes.as_ptr(), words, geometry, owner) }
    }

    /// [`new`](Self::new) with the lanes by their address.
    ///
    /// # Safety
    ///
    /// As there.
    #[inline(always)]
    pub(crate) unsafe fn at(
        lanes: *const Lane<P>,
        words: *mut P::Plain<u64>,
        geometry: Geometry,
        owner: NonZero<u64>,
    ) -> Self {
        let stride = P::Stride::of::<P::Plain<u64>>();
        Records { lanes, words, borrowed: PhantomData, stride, geometry, owner, shard: None }
    }

    /// The same records, of which this handle calls itself so.
    #[must_use]
    pub fn with_owner(self, owner: NonZero<u64>) -> Self {
        Records { owner, ..self }
    }

    /// The same records, of which this handle pushes into one shard, whatever the processor. Threads of userspace that have a
    /// shard each are in nobody's way; else they find one by where their stacks are, and may find the same.
    ///
    /// # Panics
    ///
    /// If there is no such shard.
    #[must_use]
    pub fn in_shard(self, shard: usize) -> Self {
        assert!(shard < self.geometry.shards(), "there is no shard {shard} of {}", self.geometry.shards());
        Records { shard: Some(shard), ..self }
    }

    /// How large they are.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Says in each lane where its words are, for [programs](Reservation::into_place) that believe it.
    ///
    /// # Safety
    ///
    /// Nobody else knows of the records yet.
    pub unsafe fn say(&self) {
        for shard in 0..self.geometry.shards() {
            for (number, ring) in self.shard(shard).enumerate() {
                // SAFETY: the caller's promise.
                unsafe { ring.lane.say(&ring, shard * LANES + number) };
            }
        }
    }

    /// Every lane, a shard's beside each other.
    pub(crate) fn lanes(&self) -> &'a [Lane<P>] {
        // SAFETY: there are so many, for all of 'a, by the promise of who made the records.
        unsafe { slice::from_raw_parts(self.lanes, self.geometry.lanes()) }
    }

    /// The lanes of a shard.
    #[inline(always)]
    fn shard(&self, shard: usize) -> impl Iterator<Item = LaneRing<'a, P>> + use<'a, P> {
        let records = *self;
        P::steps(self.geometry.lanes_each() as u64).map(move |number| records.ring(shard, number as usize))
    }

    /// Where the words begin.
    pub(crate) fn first_word(&self) -> *mut P::Plain<u64> {
        self.words
    }

    /// A lane of a shard. There are such a shard and such a lane.
    #[inline(always)]
    fn lane_of(&self, shard: usize, number: usize) -> &'a Lane<P> {
        // SAFETY: the geometry has as many lanes in each of its shards, and so many are there for all of 'a.
        unsafe { &*self.lanes.add(shard * self.geometry.lanes_each() + number) }
    }

    /// A lane of a shard with its words. There are such a shard and such a lane.
    #[inline(always)]
    fn ring(&self, shard: usize, number: usize) -> LaneRing<'a, P> {
        let Records { words, stride, geometry, .. } = *self;
        let lane = self.lane_of(shard, number);
        let (start, length) = geometry.lane(shard, number);
        // SAFETY: a lane's words are among those of the geometry, by its arithmetic.
        let first = unsafe { stride.element(words, start as usize) };
        LaneRing { lane, first, mask: length - 1, stride, largest: geometry.largest() }
    }
}

impl<P: Platform> fmt::Debug for Records<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}

/// A lane with its ring of words.
struct LaneRing<'a, P: Platform> {
    lane: &'a Lane<P>,
    first: *mut P::Plain<u64>,
    mask: u64,
    stride: P::Stride,
    largest: u64,
}

impl<P: Platform> Clone for LaneRing<'_, P> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for LaneRing<'_, P> {}

// SAFETY: as for `Records`, of which it is a part.
unsafe impl<P: Platform> Send for LaneRing<'_, P> {}

impl<'a, P: Platform> LaneRing<'a, P> {
    /// The word of a position.
    #[inline(always)]
    fn word(&self, position: u64) -> &'a P::Plain<u64> {
        // SAFETY: they change through shared references only.
        unsafe { &*self.place(position) }
    }

    /// Where the word of a position lies.
    #[inline(always)]
    fn place(&self, position: u64) -> *mut P::Plain<u64> {
        // SAFETY: the ring has mask + 1 words for all of 'a.
        unsafe { self.stride.element(self.first, (position & self.mask) as usize) }
    }

    /// How many words the ring has.
    #[inline(always)]
    fn capacity(&self) -> u64 {
        self.mask + 1
    }

    /// How many words are left from a position to the end of the ring: at least one.
    #[inline(always)]
    fn before_end(&self, position: u64) -> u64 {
        self.capacity() - (position & self.mask)
    }
}

layouts! {
    "arenaq_lane", Lane<Native>, {
        "owner": owner,
        "published": published,
        "seen": seen,
        "reserved": reserved,
        "words": ring.words,
        "mask": ring.mask,
        "largest": ring.largest,
        "number": ring.number,
        "consumed": back.consumed,
        "consumer": back.consumer,
    }
    "arenaq_records", Control<Native>, {
        "lanes": lanes,
        "words": words,
        "shards": shards,
        "shard_words": shard_words,
        "largest": largest,
        "drops": drops,
        "events": events,
    }
}
