//! Ours, in ordinary memory.

use std::marker::PhantomData;

use anyhow::ensure;
use arenaq::arena::{Arena, Mpmc, MpscConsumer, MpscProducer, Places, Region, Spec};
use arenaq::count::CountPolicy;
use arenaq::platform::Native;
use arenaq::single::{SingleConsumer, SingleProducer};

use crate::user::queue::{Element, Ends, Pop, Push, Queue, copies};

/// The bounded queue.
pub(crate) struct ArenaqMpmc<C>(PhantomData<C>);

/// The bounded queue with one producer and one consumer, which know that they are alone.
pub(crate) struct ArenaqSingle<C>(PhantomData<C>);

/// The unbounded queue, with a pool that does not grow.
pub(crate) struct ArenaqMpsc<C>(PhantomData<C>);

/// More than cells, nodes and links take, and the control blocks.
fn memory<T>(capacity: usize) -> Vec<u64> {
    vec![0; (capacity + 1024) * (size_of::<T>() + 24) / 8 + 4096]
}

/// The name of the queue.
const QUEUE: &str = "queue";

fn with_policy<C: CountPolicy>(spec: Spec<'_>) -> Spec<'_> {
    if C::COUNTED { spec.counted() } else { spec }
}

/// Makes an arena of the memory.
fn format(memory: &mut [u64]) -> anyhow::Result<Arena<'_>> {
    let length = size_of_val(memory);
    // SAFETY: the memory is borrowed exclusively for as long as the region lives, so only this crate's
    // algorithms change it.
    let region = unsafe { Region::new(memory.as_mut_ptr().cast(), length) }?;
    let places = Places::in_plain_memory(&region)?;
    Ok(Arena::format(region, places)?)
}

impl<T: Element, C: CountPolicy> Queue<T> for ArenaqMpmc<C> {
    type Producer<'q> = Mpmc<'q, T, C>;
    type Consumer<'q> = Mpmc<'q, T, C>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<Mpmc<'q, T, C>>, Vec<Mpmc<'q, T, C>>) -> R,
    ) -> anyhow::Result<R> {
        let mut memory = memory::<T>(ends.capacity);
        let mut arena = format(&mut memory)?;
        arena.create(&with_policy::<C>(Spec::mpmc::<T>(QUEUE, ends.capacity as u64)))?;
        let queue = arena.mpmc::<T, C>(QUEUE)?;
        Ok(body(copies(&queue, ends.producers), copies(&queue, ends.consumers)))
    }
}

impl<T: Element, C: CountPolicy> Push<T> for Mpmc<'_, T, C> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        Mpmc::push(self, value).is_ok()
    }

    #[inline]
    fn push_many(&mut self, values: &[T]) -> usize {
        Mpmc::push_many(self, values).unwrap_or(0)
    }
}

impl<T: Element, C: CountPolicy> Pop<T> for Mpmc<'_, T, C> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        Mpmc::pop(self).ok()
    }

    #[inline]
    fn pop_many(&mut self, limit: usize, take: impl FnMut(T)) -> usize {
        Mpmc::drain(self, limit as u64, take).map_or(0, |taken| taken as usize)
    }
}

impl<T: Element, C: CountPolicy> Queue<T> for ArenaqSingle<C> {
    type Producer<'q> = SingleProducer<'q, Native, T, C>;
    type Consumer<'q> = SingleConsumer<'q, Native, T, C>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(
            Vec<SingleProducer<'q, Native, T, C>>,
            Vec<SingleConsumer<'q, Native, T, C>>,
        ) -> R,
    ) -> anyhow::Result<R> {
        ensure!((ends.producers, ends.consumers) == (1, 1), "it has one producer and one consumer");
        let mut memory = memory::<T>(ends.capacity);
        let mut arena = format(&mut memory)?;
        arena.create(&with_policy::<C>(Spec::mpmc::<T>(QUEUE, ends.capacity as u64)))?;
        let queue = arena.mpmc::<T, C>(QUEUE)?;
        // SAFETY: the queue was made here, and nobody else has a handle.
        let (producer, consumer) = unsafe { (queue.single_producer(), queue.single_consumer()) };
        Ok(body(vec![producer], vec![consumer]))
    }
}

impl<T: Element, C: CountPolicy> Push<T> for SingleProducer<'_, Native, T, C> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        SingleProducer::push(self, value).is_ok()
    }

    #[inline]
    fn push_many(&mut self, values: &[T]) -> usize {
        SingleProducer::push_many(self, values).unwrap_or(0)
    }
}

impl<T: Element, C: CountPolicy> Pop<T> for SingleConsumer<'_, Native, T, C> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        SingleConsumer::pop(self).ok()
    }

    #[inline]
    fn pop_many(&mut self, limit: usize, take: impl FnMut(T)) -> usize {
        SingleConsumer::drain(self, limit as u64, take).map_or(0, |taken| taken as usize)
    }
}

impl<T: Element, C: CountPolicy> Queue<T> for ArenaqMpsc<C> {
    type Producer<'q> = MpscProducer<'q, T, C>;
    type Consumer<'q> = OneThread<MpscConsumer<'q, T, C>>;

    fn with<R>(
        ends: Ends,
        body: impl for<'q> FnOnce(Vec<MpscProducer<'q, T, C>>, Vec<OneThread<MpscConsumer<'q, T, C>>>) -> R,
    ) -> anyhow::Result<R> {
        ensure!(ends.consumers == 1, "it has one consumer");
        let mut memory = memory::<T>(ends.capacity);
        let mut arena = format(&mut memory)?;
        arena.create(&with_policy::<C>(Spec::mpsc::<T>(QUEUE, ends.capacity as u64)))?;
        let producer = arena.mpsc_producer::<T, C>(QUEUE)?;
        let consumer = OneThread(arena.mpsc_consumer::<T, C>(QUEUE)?);
        Ok(body(copies(&producer, ends.producers), vec![consumer]))
    }
}

impl<T: Element, C: CountPolicy> Push<T> for MpscProducer<'_, T, C> {
    #[inline]
    fn push(&mut self, value: T) -> bool {
        (**self).push(value).is_ok()
    }

    #[inline]
    fn push_many(&mut self, values: &[T]) -> usize {
        (**self).push_many(values).unwrap_or(0)
    }
}

impl<T: Element, C: CountPolicy> Pop<T> for OneThread<MpscConsumer<'_, T, C>> {
    #[inline]
    fn pop(&mut self) -> Option<T> {
        self.0.pop().ok()
    }

    #[inline]
    fn pop_many(&mut self, limit: usize, take: impl FnMut(T)) -> usize {
        self.0.drain(limit as u64, take).map_or(0, |taken| taken as usize)
    }
}

/// The consumer, which is moved to the thread that consumes.
pub(crate) struct OneThread<C>(C);
