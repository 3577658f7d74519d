//! `flume`: a `VecDeque` behind a lock.

use flume::{Receiver, Sender};

use crate::user::queue::{Element, Ends, Pop, Push, Queue, copies};

/// A channel of fixed capacity.
pub(crate) struct Flume;

impl<T: Element> Queue<T> for Flume {
    type Producer<'q> = Sender<T>;
    type Consumer<'q> = Receiver<T>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<Sender<T>>, Vec<Receiver<T>>) -> R,
    ) -> anyhow::Result<R> {
        let (sender, receiver) = flume::bounded(ends.capacity);
        Ok(body(copies(&sender, ends.producers), copies(&receiver, ends.consumers)))
    }
}

impl<T: Element> Push<T> for Sender<T> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        self.try_send(value).is_ok()
    }
}

impl<T: Element> Pop<T> for Receiver<T> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.try_recv().ok()
    }

    /// All that there is: a drain that is dropped early loses the rest.
    #[inline]
    fn pop_many(&mut self, _limit: usize, take: impl FnMut(T)) -> usize {
        let drained = self.drain();
        let taken = drained.len();
        drained.for_each(take);
        taken
    }
}
