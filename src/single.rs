//! The bounded queue for a thread that is alone on its side: the only producer, or the only consumer.
//!
//! Positions are claimed one after another by one thread, so that a store claims what otherwise takes a
//! compare-exchange; everything else is the queue's own code. On x86 no instruction of such a side is a locked
//! one, but for the counter's ([`count`](crate::count)). The other side neither knows nor cares: one consumer
//! in userspace can face any number of producers in BPF.
//!
//! ```
//! use arenaq::{KeyValue, arena::{Arena, Places, Region, Spec}, count::Uncounted};
//!
//! # let mut memory = vec![0u64; 4096];
//! # // SAFETY: the vector is writable, outlives every handle below, and is touched only through them.
//! # let region = unsafe { Region::new(memory.as_mut_ptr().cast(), memory.len() * 8) }?;
//! # let places = Places::in_plain_memory(&region)?;
//! # let mut arena = Arena::format(region, places)?;
//! # arena.create(&Spec::mpmc::<KeyValue>("jobs", 64))?;
//! let producers = arena.mpmc::<KeyValue, Uncounted>("jobs")?;
//! // SAFETY: everybody else has a handle that is only pushed with.
//! let mut consumer = unsafe { producers.single_consumer() };
//!
//! producers.push(KeyValue { key: 1, value: 2 })?;
//! assert_eq!(consumer.pop()?, KeyValue { key: 1, value: 2 });
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! A consumer that sleeps on an [event count](crate::eventcount) cannot rely on an only producer: a store is not what it looks for.
//!
//! What a death leaves behind is what [`recovery`](crate::recovery) says of the queue.

use crate::claim::{OneConsumer, OneProducer};
use crate::count::CountPolicy;
use crate::mpmc::Ring;
use crate::payload::Payload;
use crate::platform::Platform;
use crate::status::{PopError, PushError};

/// The only producer of a bounded queue.
#[derive(Debug)]
pub struct SingleProducer<'q, P: Platform, T, C: CountPolicy>(Ring<'q, P, T, C>);

/// The only consumer of a bounded queue.
#[derive(Debug)]
pub struct SingleConsumer<'q, P: Platform, T, C: CountPolicy>(Ring<'q, P, T, C>);

impl<'q, P: Platform, T, C: CountPolicy> Ring<'q, P, T, C> {
    /// The only producer.
    ///
    /// # Safety
    ///
    /// Nobody else pushes, in this process or in another or in BPF, from this call until the handle is gone.
    /// What earlier producers did happens before this call, and what the handle does happens before what
    /// later ones do.
    #[inline]
    pub unsafe fn single_producer(&self) -> SingleProducer<'q, P, T, C> {
        SingleProducer(*self)
    }

    /// The only consumer.
    ///
    /// # Safety
    ///
    /// Nobody but the holder pops, drains or reclaims from this call until the handle is gone; the holder may
    /// reclaim what it has left claimed in a panic. What earlier consumers did happens before this call, and
    /// what the handle does happens before what later ones do.
    #[inline]
    pub unsafe fn single_consumer(&self) -> SingleConsumer<'q, P, T, C> {
        SingleConsumer(*self)
    }
}

impl<'q, P: Platform, T: Payload, C: CountPolicy> SingleProducer<'q, P, T, C> {
    /// Enqueues `value`; see [`Ring::push`]. Wait-free.
    ///
    /// # Errors
    ///
    /// As there, but for [`PushError::Contended`].
    #[inline(always)]
    pub fn push(&mut self, value: T) -> Result<(), PushError> {
        self.0.push_as::<OneProducer>(value)
    }

    /// Enqueues several values; see [`Ring::push_many`]. Wait-free.
    ///
    /// # Errors
    ///
    /// As there, but for [`PushError::Contended`].
    #[inline]
    pub fn push_many(&mut self, values: &[T]) -> Result<usize, PushError> {
        self.0.push_many_as::<OneProducer>(values)
    }

    /// The queue.
    pub fn queue(&self) -> Ring<'q, P, T, C> {
        self.0
    }
}

impl<'q, P: Platform, T: Payload, C: CountPolicy> SingleConsumer<'q, P, T, C> {
    /// Dequeues the oldest element; see [`Ring::pop`]. Wait-free.
    ///
    /// # Errors
    ///
    /// As there, but for [`PopError::Contended`].
    #[inline(always)]
    pub fn pop(&mut self) -> Result<T, PopError> {
        self.pop_with(|value| value)
    }

    /// Dequeues the oldest element for a consumer that may be killed; see [`Ring::pop_with`]. Wait-free.
    ///
    /// # Errors
    ///
    /// As there, but for [`PopError::Contended`].
    ///
    /// # Panics
    ///
    /// As there.
    #[inline(always)]
    pub fn pop_with<R>(&mut self, hand_over: impl FnOnce(T) -> R) -> Result<R, PopError> {
        self.0.pop_with_as::<OneConsumer, R>(hand_over)
    }

    /// Dequeues several elements; see [`Ring::drain`]. Wait-free.
    ///
    /// # Errors
    ///
    /// As there, but for [`PopError::Contended`].
    ///
    /// # Panics
    ///
    /// As there.
    #[inline]
    pub fn drain(&mut self, limit: u64, hand_over: impl FnMut(T)) -> Result<u64, PopError> {
        self.0.drain_as::<OneConsumer>(limit, hand_over)
    }

    /// The queue.
    pub fn queue(&self) -> Ring<'q, P, T, C> {
        self.0
    }
}
