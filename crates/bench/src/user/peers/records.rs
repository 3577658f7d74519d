//! `arenaq::records`: producers that take a lane each, and records of any size.

use anyhow::ensure;
use arenaq::platform::Native;
use arenaq::records::{Geometry, Log, LogConsumer, Records};
use bytemuck::{cast_slice, pod_read_unaligned};

use crate::user::queue::{Element, Ends, Pop, Push, Queue};

/// A shard for each producer.
pub(crate) struct Lanes;

/// The consumer of all shards: it begins behind the shard from which it has taken last, so that none waits for ever.
pub(crate) struct Shards<'q> {
    shards: Vec<LogConsumer<'q>>,
    next: usize,
}

/// The first lane of a shard, which has half of it, has room for all elements.
fn geometry<T>(ends: Ends) -> anyhow::Result<Geometry> {
    const HEADER: usize = 16;
    let shards = ends.producers;
    let bytes = 2 * (ends.capacity * (size_of::<T>() + HEADER)).next_power_of_two();
    Ok(Geometry::new(shards as u64, bytes as u64, size_of::<T>() as u64)?)
}

impl<T: Element> Queue<T> for Lanes {
    type Producer<'q> = Records<'q, Native>;
    type Consumer<'q> = Shards<'q>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<Records<'q, Native>>, Vec<Shards<'q>>) -> R,
    ) -> anyhow::Result<R> {
        ensure!(ends.consumers == 1, "one consumer takes from all shards here");
        let geometry = geometry::<T>(ends)?;
        let log = Log::new(geometry);
        let shards = (0..geometry.shards()).map(|shard| log.consumer(shard)).collect::<Result<_, _>>()?;
        let shard_of = |producer: usize| log.records().in_shard(producer % geometry.shards());
        let producers = (0..ends.producers).map(shard_of).collect();
        Ok(body(producers, vec![Shards { shards, next: 0 }]))
    }
}

impl<T: Element> Push<T> for Records<'_, Native> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        self.push_words(cast_slice(&[value]), 0).is_ok()
    }
}

impl<T: Element> Pop<T> for Shards<'_> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        let mut value = None;
        self.pop_many(1, |taken| value = Some(taken));
        value
    }

    #[inline]
    fn pop_many(&mut self, limit: usize, mut take: impl FnMut(T)) -> usize {
        let mut left = limit as u64;
        for _ in 0..self.shards.len() {
            if left == 0 {
                break;
            }
            left -= self.shards[self.next].drain(left, |record, _| take(pod_read_unaligned(record)));
            self.next = if self.next + 1 == self.shards.len() { 0 } else { self.next + 1 };
        }
        limit - left as usize
    }
}
