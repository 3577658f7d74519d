//! What all queues have in common: one small implementation for each.

use bytemuck::Pod;

/// What goes through a queue.
pub trait Element: arenaq::payload::Element + Send + Sync + std::fmt::Debug {
    /// The element of a number. All of it is written.
    fn of(serial: u64) -> Self;

    /// Its number.
    fn serial(&self) -> u64;
}

impl<const WORDS: usize> Element for [u64; WORDS]
where
    [u64; WORDS]: Pod,
{
    #[inline(always)]
    fn of(serial: u64) -> Self {
        [serial; WORDS]
    }

    #[inline(always)]
    fn serial(&self) -> u64 {
        self[0]
    }
}

/// A producing end.
pub trait Push<T: Element>: Send {
    /// Whether there was room.
    fn push(&mut self, value: T) -> bool;

    /// How many of the values found room, from the first on. A queue that can do it at once says how.
    #[inline]
    fn push_many(&mut self, values: &[T]) -> usize {
        values.iter().take_while(|value| self.push(**value)).count()
    }
}

/// A consuming end.
pub trait Pop<T: Element>: Send {
    /// The next value, if there is one.
    fn pop(&mut self) -> Option<T>;

    /// Takes up to `limit` values. A queue that can do it at once says how.
    #[inline]
    fn pop_many(&mut self, limit: usize, mut take: impl FnMut(T)) -> usize {
        for taken in 0..limit {
            match self.pop() {
                Some(value) => take(value),
                None => return taken,
            }
        }
        limit
    }
}

/// How a queue is made.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// How many elements it must hold. An unbounded queue holds as many as come.
    pub capacity: usize,
    /// How many producing ends are needed.
    pub producers: usize,
    /// How many consuming ends are needed.
    pub consumers: usize,
}

/// A queue.
pub trait Queue<T: Element> {
    /// A producing end.
    type Producer<'q>: Push<T>;
    /// A consuming end.
    type Consumer<'q>: Pop<T>;

    /// Makes a queue and hands its ends to `body`; when that returns, the queue is gone.
    ///
    /// # Errors
    ///
    /// If the queue cannot be made.
    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<Self::Producer<'q>>, Vec<Self::Consumer<'q>>) -> R,
    ) -> anyhow::Result<R>;
}

/// As many copies of one end.
pub(crate) fn copies<E: Clone>(end: &E, count: usize) -> Vec<E> {
    vec![end.clone(); count]
}
