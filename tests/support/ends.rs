//! The two sides of an MPMC queue, each as one of many threads drives it or as the only one does.

use arenaq::arena::Mpmc;
use arenaq::count::CountPolicy;
use arenaq::platform::Native;
use arenaq::single::{SingleConsumer, SingleProducer};
use arenaq::{KeyValue, PopError, PushError};

/// Who is on one side of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Any number of threads, with the queue's own operations.
    Many,
    /// One thread, with a single end.
    Single,
}

pub(crate) const SIDES: [Side; 2] = [Side::Many, Side::Single];

/// What pushes.
pub(crate) enum Producer<'q, C: CountPolicy> {
    OfMany(Mpmc<'q, KeyValue, C>),
    Single(SingleProducer<'q, Native, KeyValue, C>),
}

impl<'q, C: CountPolicy> Producer<'q, C> {
    /// # Safety
    ///
    /// If it is single, as [`Mpmc::single_producer`] says.
    pub(crate) unsafe fn new(queue: &Mpmc<'q, KeyValue, C>, side: Side) -> Self {
        match side {
            Side::Many => Producer::OfMany(*queue),
            // SAFETY: passed on to the caller.
            Side::Single => Producer::Single(unsafe { queue.single_producer() }),
        }
    }

    pub(crate) fn push(&mut self, value: KeyValue) -> Result<(), PushError> {
        match self {
            Producer::OfMany(queue) => queue.push(value),
            Producer::Single(producer) => producer.push(value),
        }
    }

    pub(crate) fn push_many(&mut self, values: &[KeyValue]) -> Result<usize, PushError> {
        match self {
            Producer::OfMany(queue) => queue.push_many(values),
            Producer::Single(producer) => producer.push_many(values),
        }
    }
}

/// What pops.
pub(crate) enum Consumer<'q, C: CountPolicy> {
    OfMany(Mpmc<'q, KeyValue, C>),
    Single(SingleConsumer<'q, Native, KeyValue, C>),
}

impl<'q, C: CountPolicy> Consumer<'q, C> {
    /// # Safety
    ///
    /// If it is single, as [`Mpmc::single_consumer`] says.
    pub(crate) unsafe fn new(queue: &Mpmc<'q, KeyValue, C>, side: Side) -> Self {
        match side {
            Side::Many => Consumer::OfMany(*queue),
            // SAFETY: passed on to the caller.
            Side::Single => Consumer::Single(unsafe { queue.single_consumer() }),
        }
    }

    pub(crate) fn pop(&mut self) -> Result<KeyValue, PopError> {
        match self {
            Consumer::OfMany(queue) => queue.pop(),
            Consumer::Single(consumer) => consumer.pop(),
        }
    }

    pub(crate) fn pop_with<R>(&mut self, hand_over: impl FnOnce(KeyValue) -> R) -> Result<R, PopError> {
        match self {
            Consumer::OfMany(queue) => queue.pop_with(hand_over),
            Consumer::Single(consumer) => consumer.pop_with(hand_over),
        }
    }

    pub(crate) fn drain(&mut self, limit: u64, hand_over: impl FnMut(KeyValue)) -> Result<u64, PopError> {
        match self {
            Consumer::OfMany(queue) => queue.drain(limit, hand_over),
            Consumer::Single(consumer) => consumer.drain(limit, hand_over),
        }
    }
}
