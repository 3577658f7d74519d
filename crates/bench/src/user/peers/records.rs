//! `arenaq::records`: producers that take a lane each, and records of any size.

use anyhow::ensure;
use arenaq::platform::Native;
use arenaq::records::{Consumer, Geometry, LANES, Log, LogConsumer, LogProducer, Records};
use bytemuck::cast_slice;

use crate::user::queue::{Element, Ends, Pop, Push, Queue};
use crate::user::shape::BURST;

/// A shard for each producer, which takes a lane for each record, as a program in the kernel does.
pub(crate) struct Lanes;

/// A shard of one lane for each producer, which keeps it.
pub(crate) struct KeptLanes;

/// The consumer of all shards.
pub(crate) struct Shards<'q> {
    shards: Vec<Consumer<'q, Native>>,
    /// The one from which it takes next.
    next: usize,
    /// How many it has taken from it in a row.
    taken: usize,
}

impl<'q> Shards<'q> {
    fn of(log: &'q Log) -> anyhow::Result<Self> {
        let shards = log.records().geometry().shards();
        let shards = (0..shards)
            .map(|shard| log.consumer(shard).map(LogConsumer::into_inner))
            .collect::<Result<_, _>>()?;
        Ok(Shards { shards, next: 0, taken: 0 })
    }

    #[inline]
    fn go_on(&mut self) {
        self.next = if self.next + 1 == self.shards.len() { 0 } else { self.next + 1 };
        self.taken = 0;
    }
}

/// The first lane of each shard has room for all elements.
fn geometry<T>(ends: Ends, lanes: usize) -> anyhow::Result<Geometry> {
    const HEADER: usize = 16;
    ensure!(ends.consumers == 1, "one consumer takes from all shards here");
    let lane = (ends.capacity * (size_of::<T>() + HEADER)).next_power_of_two();
    let bytes = if lanes == 1 { lane } else { 2 * lane };
    Ok(Geometry::with_lanes(ends.producers as u64, lanes, bytes as u64, size_of::<T>() as u64)?)
}

impl<T: Element> Queue<T> for Lanes {
    type Producer<'q> = Records<'q, Native>;
    type Consumer<'q> = Shards<'q>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<Records<'q, Native>>, Vec<Shards<'q>>) -> R,
    ) -> anyhow::Result<R> {
        let log = Log::new(geometry::<T>(ends, LANES)?);
        let consumer = Shards::of(&log)?;
        let producers = (0..ends.producers).map(|shard| log.records().in_shard(shard)).collect();
        Ok(body(producers, vec![consumer]))
    }
}

impl<T: Element> Queue<T> for KeptLanes {
    type Producer<'q> = LogProducer<'q>;
    type Consumer<'q> = Shards<'q>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<LogProducer<'q>>, Vec<Shards<'q>>) -> R,
    ) -> anyhow::Result<R> {
        let log = Log::new(geometry::<T>(ends, 1)?);
        let consumer = Shards::of(&log)?;
        let producers = (0..ends.producers).map(|shard| log.producer(shard)).collect::<Result<_, _>>()?;
        Ok(body(producers, vec![consumer]))
    }
}

impl<T: Element> Push<T> for Records<'_, Native> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        self.push_words(cast_slice(&[value]), 0).is_ok()
    }
}

impl<T: Element> Push<T> for LogProducer<'_> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        self.push_words(cast_slice(&[value]), 0).is_ok()
    }
}

impl<T: Element> Pop<T> for Shards<'_> {
    /// Inlined, as the others are without being told, for they are smaller.
    #[inline(always)]
    fn pop(&mut self) -> Option<T> {
        for _ in 0..self.shards.len() {
            let popped =
                self.shards[self.next].pop_in_place(|record| record.read().expect("a record is an element"));
            if let Some(value) = popped.expect("the log's own memory is sound") {
                self.taken += 1;
                if self.taken == BURST {
                    self.go_on();
                }
                return Some(value);
            }
            self.go_on();
        }
        None
    }

    /// From one shard after the other, and no more than a burst from one while others wait.
    #[inline]
    fn pop_many(&mut self, limit: usize, mut take: impl FnMut(T)) -> usize {
        let mut left = limit;
        for _ in 0..self.shards.len() {
            let wanted = left.min(BURST - self.taken);
            let shard = &mut self.shards[self.next];
            let taken = shard.drain_in_place(wanted as u64, |record| {
                take(record.read().expect("a record is an element"));
            });
            let taken = taken.expect("the log's own memory is sound") as usize;
            left -= taken;
            self.taken += taken;
            if taken < wanted || self.taken == BURST {
                self.go_on();
            }
            if left == 0 {
                break;
            }
        }
        limit - left
    }
}
