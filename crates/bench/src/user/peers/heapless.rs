//! `heapless`: Vyukov's ring without padding, with a capacity that is known to the compiler.
//!
//! Its authors call it deprecated: it is not lock-free, as ours is not in the same sense (README, *What they
//! do not promise*).
#![expect(deprecated, reason = "it is what heapless has")]

use heapless::mpmc;

use anyhow::ensure;

use crate::user::queue::{Element, Ends, Pop, Push, Queue, copies};

/// The one capacity with which it is measured.
pub(crate) const CAPACITY: usize = 1024;

type Ring<T> = mpmc::Queue<T, CAPACITY>;

/// The ring.
pub(crate) struct Heapless;

impl<T: Element> Queue<T> for Heapless {
    type Producer<'q> = &'q Ring<T>;
    type Consumer<'q> = &'q Ring<T>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<&'q Ring<T>>, Vec<&'q Ring<T>>) -> R,
    ) -> anyhow::Result<R> {
        ensure!(ends.capacity == CAPACITY, "its capacity is {CAPACITY} here");
        let queue = Box::new(Ring::new());
        Ok(body(copies(&&*queue, ends.producers), copies(&&*queue, ends.consumers)))
    }
}

impl<T: Element> Push<T> for &Ring<T> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        self.enqueue(value).is_ok()
    }
}

impl<T: Element> Pop<T> for &Ring<T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.dequeue()
    }
}
