//! `rtrb`: one producer, one consumer, and so no locked instruction at all.

use anyhow::ensure;
use rtrb::{Consumer, Producer, RingBuffer};

use crate::user::queue::{Element, Ends, Pop, Push, Queue};

/// The ring.
pub(crate) struct Rtrb;

impl<T: Element> Queue<T> for Rtrb {
    type Producer<'q> = Producer<T>;
    type Consumer<'q> = Consumer<T>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<Producer<T>>, Vec<Consumer<T>>) -> R,
    ) -> anyhow::Result<R> {
        ensure!((ends.producers, ends.consumers) == (1, 1), "it has one producer and one consumer");
        let (producer, consumer) = RingBuffer::new(ends.capacity);
        Ok(body(vec![producer], vec![consumer]))
    }
}

impl<T: Element> Push<T> for Producer<T> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        Producer::push(self, value).is_ok()
    }

    #[inline]
    fn push_many(&mut self, values: &[T]) -> usize {
        self.push_partial_slice(values).0.len()
    }
}

impl<T: Element> Pop<T> for Consumer<T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        Consumer::pop(self).ok()
    }

    #[inline]
    fn pop_many(&mut self, limit: usize, take: impl FnMut(T)) -> usize {
        let there = self.slots().min(limit);
        self.read_chunk(there).map_or(0, |chunk| {
            chunk.into_iter().for_each(take);
            there
        })
    }
}
