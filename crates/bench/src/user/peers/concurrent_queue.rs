//! `concurrent-queue`.

use concurrent_queue::ConcurrentQueue;

use crate::user::queue::{Element, Ends, Pop, Push, Queue, copies};

/// A ring.
pub(crate) struct Bounded;

/// A list of blocks.
pub(crate) struct Unbounded;

impl<T: Element> Queue<T> for Bounded {
    type Producer<'q> = &'q ConcurrentQueue<T>;
    type Consumer<'q> = &'q ConcurrentQueue<T>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<&'q ConcurrentQueue<T>>, Vec<&'q ConcurrentQueue<T>>) -> R,
    ) -> anyhow::Result<R> {
        let queue = ConcurrentQueue::bounded(ends.capacity);
        Ok(body(copies(&&queue, ends.producers), copies(&&queue, ends.consumers)))
    }
}

impl<T: Element> Queue<T> for Unbounded {
    type Producer<'q> = &'q ConcurrentQueue<T>;
    type Consumer<'q> = &'q ConcurrentQueue<T>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<&'q ConcurrentQueue<T>>, Vec<&'q ConcurrentQueue<T>>) -> R,
    ) -> anyhow::Result<R> {
        let queue = ConcurrentQueue::unbounded();
        Ok(body(copies(&&queue, ends.producers), copies(&&queue, ends.consumers)))
    }
}

impl<T: Element> Push<T> for &ConcurrentQueue<T> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        ConcurrentQueue::push(self, value).is_ok()
    }
}

impl<T: Element> Pop<T> for &ConcurrentQueue<T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        ConcurrentQueue::pop(self).ok()
    }

    #[inline]
    fn pop_many(&mut self, limit: usize, mut take: impl FnMut(T)) -> usize {
        let mut taken = 0;
        for value in self.try_iter().take(limit) {
            take(value);
            taken += 1;
        }
        taken
    }
}
