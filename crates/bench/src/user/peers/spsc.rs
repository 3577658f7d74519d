//! `arenaq::spsc`: the ring of two threads, with the positions of a lane of the records, and one such lane for each producer.

use anyhow::ensure;
use arenaq::spsc::{Consumer, FanIn, Producer, fan_in, ring};

use crate::user::queue::{Element, Ends, Pop, Push, Queue};

/// The ring.
pub(crate) struct Spsc;

impl<T: Element> Queue<T> for Spsc {
    type Producer<'q> = Producer<T>;
    type Consumer<'q> = Consumer<T>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<Producer<T>>, Vec<Consumer<T>>) -> R,
    ) -> anyhow::Result<R> {
        ensure!((ends.producers, ends.consumers) == (1, 1), "it has one producer and one consumer");
        let (producer, consumer) = ring(ends.capacity);
        Ok(body(vec![producer], vec![consumer]))
    }
}

/// A ring for each producer.
pub(crate) struct Rings;

impl<T: Element> Queue<T> for Rings {
    type Producer<'q> = Producer<T>;
    type Consumer<'q> = FanIn<T>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<Producer<T>>, Vec<FanIn<T>>) -> R,
    ) -> anyhow::Result<R> {
        ensure!(ends.consumers == 1, "it has one consumer");
        let (producers, consumer) = fan_in(ends.producers, ends.capacity);
        Ok(body(producers, vec![consumer]))
    }
}

impl<T: Element> Push<T> for Producer<T> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        Producer::push(self, value).is_ok()
    }

    #[inline]
    fn push_many(&mut self, values: &[T]) -> usize {
        self.push_slice(values)
    }
}

impl<T: Element> Pop<T> for Consumer<T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        Consumer::pop(self)
    }

    #[inline]
    fn pop_many(&mut self, limit: usize, take: impl FnMut(T)) -> usize {
        self.drain(limit, take)
    }
}

impl<T: Element> Pop<T> for FanIn<T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        FanIn::pop(self)
    }

    #[inline]
    fn pop_many(&mut self, limit: usize, take: impl FnMut(T)) -> usize {
        self.drain(limit, take)
    }
}
