//! What a receiver asks of the end that it consumes from.

use arenaq::{KeyValue, PopError};

/// What a consumer looks at before it sleeps.
pub trait Watched {
    /// Whether a consumer keeps producers of an MPMC queue from pushing: maybe one that is dead.
    fn is_held_up(&self) -> bool;
    /// Whether nothing is there, and nothing on its way; see [`arenaq::eventcount`].
    fn may_sleep(&self) -> bool;
}

/// The consuming end of a queue.
pub trait End: Watched {
    /// What is handed over.
    type Handed<'e>;
    /// Dequeues the oldest element, which leaves the queue after `hand_over` has returned.
    fn pop_with<R>(&mut self, hand_over: impl FnOnce(Self::Handed<'_>) -> R) -> Result<R, PopError>;
    /// Dequeues up to `limit` elements.
    fn drain(&mut self, limit: u64, hand_over: impl FnMut(Self::Handed<'_>)) -> Result<u64, PopError>;
    /// The pair by which the tally knows an element.
    fn fingerprint(element: &Self::Handed<'_>) -> KeyValue;
    /// The number of the slot of a consumer that has one.
    fn slot(&self) -> Option<usize>;
}
