//! `nexus-logbuf`: rings of bytes, whose records are as long as they are used.

use anyhow::ensure;
use bytemuck::{bytes_of, pod_read_unaligned};
use nexus_logbuf::queue::{mpsc, spsc};

use crate::user::queue::{Element, Ends, Pop, Push, Queue, copies};

/// Several producers.
pub(crate) struct Several;

/// One producer, and no locked instruction.
pub(crate) struct Single;

/// A record has a header of one word.
fn bytes<T>(capacity: usize) -> usize {
    capacity * (size_of::<T>() + 8)
}

impl<T: Element> Queue<T> for Several {
    type Producer<'q> = mpsc::Producer;
    type Consumer<'q> = mpsc::Consumer;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<mpsc::Producer>, Vec<mpsc::Consumer>) -> R,
    ) -> anyhow::Result<R> {
        ensure!(ends.consumers == 1, "it has one consumer");
        let (producer, consumer) = mpsc::new(bytes::<T>(ends.capacity));
        Ok(body(copies(&producer, ends.producers), vec![consumer]))
    }
}

impl<T: Element> Push<T> for mpsc::Producer {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        self.try_claim(size_of::<T>()).is_ok_and(|mut record| {
            record.copy_from_slice(bytes_of(&value));
            record.commit();
            true
        })
    }
}

impl<T: Element> Pop<T> for mpsc::Consumer {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.try_claim().map(|record| pod_read_unaligned(&record))
    }
}

impl<T: Element> Queue<T> for Single {
    type Producer<'q> = spsc::Producer;
    type Consumer<'q> = spsc::Consumer;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<spsc::Producer>, Vec<spsc::Consumer>) -> R,
    ) -> anyhow::Result<R> {
        ensure!((ends.producers, ends.consumers) == (1, 1), "it has one producer and one consumer");
        let (producer, consumer) = spsc::new(bytes::<T>(ends.capacity));
        Ok(body(vec![producer], vec![consumer]))
    }
}

impl<T: Element> Push<T> for spsc::Producer {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        self.try_claim(size_of::<T>()).is_ok_and(|mut record| {
            record.copy_from_slice(bytes_of(&value));
            record.commit();
            true
        })
    }
}

impl<T: Element> Pop<T> for spsc::Consumer {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.try_claim().map(|record| pod_read_unaligned(&record))
    }
}
