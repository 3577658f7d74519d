//! `crossbeam-queue`.

use crossbeam_queue::{ArrayQueue, SegQueue};

use crate::user::queue::{Element, Ends, Pop, Push, Queue, copies};

/// A ring: `ArrayQueue`.
pub(crate) struct Array;

/// A list of blocks: `SegQueue`.
pub(crate) struct Segments;

impl<T: Element> Queue<T> for Array {
    type Producer<'q> = &'q ArrayQueue<T>;
    type Consumer<'q> = &'q ArrayQueue<T>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<&'q ArrayQueue<T>>, Vec<&'q ArrayQueue<T>>) -> R,
    ) -> anyhow::Result<R> {
        let queue = ArrayQueue::new(ends.capacity);
        Ok(body(copies(&&queue, ends.producers), copies(&&queue, ends.consumers)))
    }
}

impl<T: Element> Push<T> for &ArrayQueue<T> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        ArrayQueue::push(self, value).is_ok()
    }
}

impl<T: Element> Pop<T> for &ArrayQueue<T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        ArrayQueue::pop(self)
    }
}

impl<T: Element> Queue<T> for Segments {
    type Producer<'q> = &'q SegQueue<T>;
    type Consumer<'q> = &'q SegQueue<T>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<&'q SegQueue<T>>, Vec<&'q SegQueue<T>>) -> R,
    ) -> anyhow::Result<R> {
        let queue = SegQueue::new();
        Ok(body(copies(&&queue, ends.producers), copies(&&queue, ends.consumers)))
    }
}

impl<T: Element> Push<T> for &SegQueue<T> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        SegQueue::push(self, value);
        true
    }
}

impl<T: Element> Pop<T> for &SegQueue<T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        SegQueue::pop(self)
    }
}
