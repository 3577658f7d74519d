//! `kanal`: a `VecDeque` behind a lock.

use kanal::{Receiver, Sender};

use crate::user::queue::{Element, Ends, Pop, Push, Queue, copies};

/// A channel of fixed capacity.
pub(crate) struct Kanal;

/// The receiver, and where it drains to.
pub(crate) struct Draining<T> {
    receiver: Receiver<T>,
    drained: Vec<T>,
}

impl<T: Element> Queue<T> for Kanal {
    type Producer<'q> = Sender<T>;
    type Consumer<'q> = Draining<T>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<Sender<T>>, Vec<Draining<T>>) -> R,
    ) -> anyhow::Result<R> {
        let (sender, receiver) = kanal::bounded(ends.capacity);
        let consumers = (0..ends.consumers)
            .map(|_| Draining { receiver: receiver.clone(), drained: Vec::with_capacity(ends.capacity) });
        Ok(body(copies(&sender, ends.producers), consumers.collect()))
    }
}

impl<T: Element> Push<T> for Sender<T> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        self.try_send(value) == Ok(true)
    }
}

impl<T: Element> Pop<T> for Draining<T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.receiver.try_recv().ok().flatten()
    }

    /// All that there is: it knows no limit.
    #[inline]
    fn pop_many(&mut self, _limit: usize, take: impl FnMut(T)) -> usize {
        let taken = self.receiver.drain_into(&mut self.drained).unwrap_or(0);
        self.drained.drain(..).for_each(take);
        taken
    }
}
