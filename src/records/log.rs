//! Records in plain Rust: they own their memory.

use core::fmt;
use core::num::NonZero;
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::slice;

use super::kept::KeptLane;
use super::{Consumer, ConsumerTaken, Geometry, Lane, Records, Reservation};
use crate::owned::Array;
use crate::platform::{Heap, Native, Plain};
use crate::status::{Corruption, PushError};

/// Records of any size between threads: any number of producers, and a consumer for each shard.
///
/// ```
/// use arenaq::records::{Geometry, Log};
///
/// // One shard of 64 KiB, for records of 256 bytes at most.
/// let log = Log::new(Geometry::new(1, 1 << 16, 256)?);
/// std::thread::scope(|scope| {
///     for name in ["x", "yy", "zzz"] {
///         let log = &log;
///         scope.spawn(move || log.push(name.as_bytes(), 0).expect("room"));
///     }
/// });
///
/// let mut lengths = Vec::new();
/// let mut consumer = log.consumer(0)?;
/// consumer.drain(10, |record, _stamp| lengths.push(record.len()));
/// lengths.sort();
/// assert_eq!(lengths, [1, 2, 3]);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
pub struct Log<P: Heap = Native> {
    lanes: Array<Lane<P>>,
    words: Array<P::Plain<u64>>,
    geometry: Geometry,
}

// SAFETY: it owns its memory, which threads use as `Records` has it.
unsafe impl<P: Heap> Send for Log<P> {}
// SAFETY: as above.
unsafe impl<P: Heap> Sync for Log<P> {}

// No code of the user's runs in the middle of a push, and a panic in a drain leaves the record where it is.
impl<P: Heap> UnwindSafe for Log<P> {}
impl<P: Heap> RefUnwindSafe for Log<P> {}

impl Log {
    /// Makes room for records.
    pub fn new(geometry: Geometry) -> Self {
        Log::new_on(geometry, 0)
    }

    /// Pushes a record, into a shard by where the stack of this thread is: threads mostly have different ones.
    ///
    /// # Errors
    ///
    /// As [`Records::reserve`].
    #[inline]
    pub fn push(&self, data: &[u8], stamp: u64) -> Result<(), PushError> {
        self.records().push(data, stamp)
    }
}

impl<P: Heap> Log<P> {
    /// [`new`](Log::new) on another platform, with the positions of all lanes at `start`.
    pub fn new_on(geometry: Geometry, start: u64) -> Self {
        let lanes = Array::new(geometry.lanes() as u64, || Lane::starting_at(start));
        let words = Array::new(geometry.words(), || P::Plain::new(0));
        let log = Log { lanes, words, geometry };
        // SAFETY: nobody else has it yet.
        unsafe { log.records().say() };
        log
    }

    /// The records, for all that can be done with them.
    pub fn records(&self) -> Records<'_, P> {
        // SAFETY: the lanes live as long as the log, and change through shared references only.
        let lanes = unsafe { slice::from_raw_parts(self.lanes.first(), self.geometry.lanes()) };
        // SAFETY: as many lanes and words as the geometry says, which are the log's alone and live as long as it.
        unsafe { Records::new(lanes, self.words.first(), self.geometry, NonZero::<u64>::MIN) }
    }

    /// Reserves room for a record.
    ///
    /// # Errors
    ///
    /// As [`Records::reserve`].
    #[inline]
    pub fn reserve(&self, size: u64) -> Result<Reservation<'_, P>, PushError> {
        self.records().reserve(size)
    }

    /// A producer that has a lane of the shard for itself until it is dropped: a thread that pushes often, for no push of it has a
    /// locked instruction. Others push into the lanes that are left, and a consumer's shard is not
    /// [quiet](Consumer::is_quiet) meanwhile.
    ///
    /// # Errors
    ///
    /// [`PushError::Contended`] if producers have all lanes of the shard.
    ///
    /// # Panics
    ///
    /// If there is no such shard.
    pub fn producer(&self, shard: usize) -> Result<LogProducer<'_, P>, PushError> {
        let lane = self.records().in_shard(shard).lane()?;
        Ok(LogProducer(KeptLane::new(lane)))
    }

    /// The consumer of a shard, which nobody else is.
    ///
    /// # Errors
    ///
    /// [`ConsumerTaken`] if somebody is.
    ///
    /// # Panics
    ///
    /// If there is no such shard.
    pub fn consumer(&self, shard: usize) -> Result<LogConsumer<'_, P>, ConsumerTaken> {
        self.records().consumer(shard).map(|consumer| LogConsumer(consumer.giving_back_late()))
    }
}

impl<P: Heap> fmt::Debug for Log<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}

/// A producer that has a lane of a [`Log`] for itself: what it pushes comes out in order.
///
/// ```
/// use arenaq::records::{Geometry, Log};
///
/// // A shard of one lane for each of two threads: 64 KiB each, for records of 256 bytes at most.
/// let log = Log::new(Geometry::with_lanes(2, 1, 1 << 16, 256)?);
/// std::thread::scope(|scope| {
///     for shard in 0..2 {
///         let mut producer = log.producer(shard).expect("nobody else has the lane");
///         scope.spawn(move || (0..100).for_each(|number| producer.push(b"tick", number).expect("room")));
///     }
/// });
/// for shard in 0..2 {
///     let mut stamps = 0..100;
///     log.consumer(shard)?.drain(100, |_tick, stamp| assert_eq!(stamps.next(), Some(stamp)));
///     assert!(stamps.is_empty());
/// }
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LogProducer<'a, P: Heap = Native>(KeptLane<'a, P>);

impl<P: Heap> LogProducer<'_, P> {
    /// Pushes a record of bytes.
    ///
    /// # Errors
    ///
    /// - [`PushError::Invalid`] if records cannot be so large.
    /// - [`PushError::Full`] if the lane has not so much room.
    #[inline]
    pub fn push(&mut self, data: &[u8], stamp: u64) -> Result<(), PushError> {
        self.0.push(data, stamp)
    }

    /// Pushes a record of words.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    #[inline]
    pub fn push_words(&mut self, data: &[u64], stamp: u64) -> Result<(), PushError> {
        self.0.push_words(data, stamp)
    }
}

/// The consumer of a shard of a [`Log`].
///
/// What it has handed over of a lane is free for producers when an operation has handed over all that there was, or more than a
/// quarter of the lane since then, and when it is dropped: to say so for each record would hold up the producers that wait for it.
#[derive(Debug)]
pub struct LogConsumer<'a, P: Heap = Native>(Consumer<'a, P>);

impl LogConsumer<'_> {
    /// Hands over up to `limit` records, each with its stamp, in place. Returns how many.
    ///
    /// # Panics
    ///
    /// If `hand_over` does. That record is handed over again by the next operation then.
    #[inline]
    pub fn drain(&mut self, limit: u64, mut hand_over: impl FnMut(&[u8], u64)) -> u64 {
        let drained = self.0.drain_in_place(limit, |record| {
            // SAFETY: the log's memory is its own, and safe code reaches it through its algorithm only.
            hand_over(unsafe { record.bytes() }, record.stamp());
        });
        intact(drained)
    }

    /// Hands over the next record, with its stamp, in place, and returns what comes of it, or `None` if there is none.
    ///
    /// ```
    /// use arenaq::records::{Geometry, Log};
    ///
    /// let log = Log::new(Geometry::new(1, 1 << 16, 256)?);
    /// let mut consumer = log.consumer(0)?;
    /// log.push(b"tick", 7).expect("room");
    /// assert_eq!(consumer.pop(|tick, stamp| (tick.to_vec(), stamp)), Some((b"tick".to_vec(), 7)));
    /// assert_eq!(consumer.pop(|_, _| ()), None);
    /// # Ok::<(), Box<dyn core::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If `hand_over` does. That record is handed over again by the next operation then.
    #[inline]
    pub fn pop<R>(&mut self, hand_over: impl FnOnce(&[u8], u64) -> R) -> Option<R> {
        let popped = self.0.pop_in_place(|record| {
            // SAFETY: as in `drain`.
            hand_over(unsafe { record.bytes() }, record.stamp())
        });
        intact(popped)
    }
}

impl<'a, P: Heap> LogConsumer<'a, P> {
    /// The consumer, with records as any memory has them: to read them word by word, or to merge it with others.
    pub fn into_inner(self) -> Consumer<'a, P> {
        self.0
    }
}

/// Memory that is the log's own is not damaged.
fn intact<T>(taken: Result<T, Corruption>) -> T {
    match taken {
        Ok(taken) => taken,
        Err(corruption) => unreachable!("{corruption}"),
    }
}
