//! Ours in plain Rust: they own their memory and their elements.

use std::sync::Arc;

use anyhow::ensure;
use arenaq::mpmc;
use arenaq::mpsc::queue::{self, Consumer, Producer};

use crate::user::queue::{Element, Ends, Pop, Push, Queue};

/// The bounded queue.
pub(crate) struct Mpmc;

/// The unbounded queue, with a pool that does not grow.
pub(crate) struct Mpsc;

/// A producing end. What is pushed at once is moved out of a vector.
pub(crate) struct Batching<E, T> {
    end: E,
    batch: Vec<T>,
}

impl<E, T> Batching<E, T> {
    fn new(end: E) -> Self {
        Batching { end, batch: Vec::new() }
    }

    fn push_many(&mut self, values: &[T], push: impl FnOnce(&E, &mut Vec<T>) -> usize) -> usize
    where
        T: Copy,
    {
        self.batch.clear();
        self.batch.extend_from_slice(values);
        push(&self.end, &mut self.batch)
    }
}

impl<T: Element> Queue<T> for Mpmc {
    type Producer<'q> = Batching<Arc<mpmc::Queue<T>>, T>;
    type Consumer<'q> = Arc<mpmc::Queue<T>>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<Self::Producer<'q>>, Vec<Self::Consumer<'q>>) -> R,
    ) -> anyhow::Result<R> {
        let queue = Arc::new(mpmc::Queue::new(ends.capacity));
        let producers = (0..ends.producers).map(|_| Batching::new(Arc::clone(&queue))).collect();
        Ok(body(producers, vec![queue; ends.consumers]))
    }
}

impl<T: Element> Push<T> for Batching<Arc<mpmc::Queue<T>>, T> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        self.end.push(value).is_ok()
    }

    #[inline]
    fn push_many(&mut self, values: &[T]) -> usize {
        Batching::push_many(self, values, |queue, batch| mpmc::Queue::push_from(queue, batch))
    }
}

impl<T: Element> Pop<T> for Arc<mpmc::Queue<T>> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        mpmc::Queue::pop(self)
    }

    #[inline]
    fn pop_many(&mut self, limit: usize, take: impl FnMut(T)) -> usize {
        let drained = self.drain(limit);
        let length = drained.len();
        drained.for_each(take);
        length
    }
}

impl<T: Element> Queue<T> for Mpsc {
    type Producer<'q> = Batching<Producer<T>, T>;
    type Consumer<'q> = Consumer<T>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<Self::Producer<'q>>, Vec<Self::Consumer<'q>>) -> R,
    ) -> anyhow::Result<R> {
        ensure!(ends.consumers == 1, "it has one consumer");
        let (producer, consumer) = queue::queue(ends.capacity);
        let producers = (0..ends.producers).map(|_| Batching::new(producer.clone())).collect();
        Ok(body(producers, vec![consumer]))
    }
}

impl<T: Element> Push<T> for Batching<Producer<T>, T> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        self.end.push(value).is_ok()
    }

    #[inline]
    fn push_many(&mut self, values: &[T]) -> usize {
        Batching::push_many(self, values, Producer::push_from)
    }
}

impl<T: Element> Pop<T> for Consumer<T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        Consumer::pop(self)
    }

    #[inline]
    fn pop_many(&mut self, limit: usize, take: impl FnMut(T)) -> usize {
        let drained = self.drain(limit);
        let length = drained.len();
        drained.for_each(take);
        length
    }
}
