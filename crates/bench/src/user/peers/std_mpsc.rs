//! `std::sync::mpsc`.

use std::sync::mpsc::{self, Receiver, Sender, SyncSender};

use anyhow::ensure;

use crate::user::queue::{Element, Ends, Pop, Push, Queue, copies};

/// `channel`, a list of blocks.
pub(crate) struct Unbounded;

/// `sync_channel`, a ring.
pub(crate) struct Bounded;

impl<T: Element> Queue<T> for Unbounded {
    type Producer<'q> = Sender<T>;
    type Consumer<'q> = Receiver<T>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<Sender<T>>, Vec<Receiver<T>>) -> R,
    ) -> anyhow::Result<R> {
        ensure!(ends.consumers == 1, "it has one consumer");
        let (sender, receiver) = mpsc::channel();
        Ok(body(copies(&sender, ends.producers), vec![receiver]))
    }
}

impl<T: Element> Queue<T> for Bounded {
    type Producer<'q> = SyncSender<T>;
    type Consumer<'q> = Receiver<T>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<SyncSender<T>>, Vec<Receiver<T>>) -> R,
    ) -> anyhow::Result<R> {
        ensure!(ends.consumers == 1, "it has one consumer");
        let (sender, receiver) = mpsc::sync_channel(ends.capacity);
        Ok(body(copies(&sender, ends.producers), vec![receiver]))
    }
}

impl<T: Element> Push<T> for Sender<T> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        self.send(value).is_ok()
    }
}

impl<T: Element> Push<T> for SyncSender<T> {
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
