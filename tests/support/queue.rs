//! One trait over the queues of an arena: what all of them promise is tested by one suite. A new queue implements it here,
//! and names its tests in `stress.rs` and `sequential.rs`.

use arenaq::arena::{Arena, Mpmc, MpscConsumer, MpscProducer, Spec};
use arenaq::count::CountPolicy;
use arenaq::platform::Native;
use arenaq::pool::{GrowError, nodes_for};
use arenaq::single::{SingleConsumer, SingleProducer};
use arenaq::{Corruption, KeyValue, PopError, PushError};

use super::{LIST, RING};

/// Who is on one side of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Any number of threads, with the queue's own operations.
    Many,
    /// One thread, with a single end.
    Single,
}

pub(crate) const SIDES: [Side; 2] = [Side::Many, Side::Single];

/// A queue of pairs in an arena.
pub(crate) trait Queue {
    /// What a push says when there is no room.
    const NO_ROOM: PushError;
    /// Whether it keeps a counter.
    const COUNTED: bool;
    /// Who can be on the consuming side.
    const CONSUMERS: Side;

    type Producer<'m>: Producer;
    type Consumer<'m>: Consumer;

    /// How many elements a queue for `capacity` of them can hold at most.
    fn room(capacity: u64) -> u64;

    /// A queue for `capacity` elements, whose numbers (positions, or the ABA tag) begin at `start`; it may grow to `limit`, if
    /// it can grow at all.
    fn spec(capacity: u64, limit: u64, start: u64) -> Spec<'static>;

    /// # Safety
    ///
    /// If it is single, as [`Mpmc::single_producer`] says.
    unsafe fn producer<'m>(arena: &Arena<'m>, side: Side) -> Self::Producer<'m>;

    /// # Safety
    ///
    /// If it is single, as [`Mpmc::single_consumer`] says.
    unsafe fn consumer<'m>(arena: &Arena<'m>, side: Side) -> Self::Consumer<'m>;

    /// Makes room for `count` elements more, or says that this queue cannot.
    fn grow(producer: &Self::Producer<'_>, count: u64) -> Option<Result<(), GrowError>>;

    /// Checks what is not seen from an end, while no operation runs: `length` elements of `capacity` are in the queue, and
    /// nothing that could carry one is lost.
    fn is_whole(arena: &Arena<'_>, length: u64, capacity: u64);
}

/// A producing end.
pub(crate) trait Producer: Send {
    fn push(&mut self, value: KeyValue) -> Result<(), PushError>;
    fn push_many(&mut self, values: &[KeyValue]) -> Result<usize, PushError>;
}

/// A consuming end, and what can be seen from there.
pub(crate) trait Consumer: Send {
    fn pop(&mut self) -> Result<KeyValue, PopError>;
    fn pop_with<R>(&mut self, hand_over: impl FnOnce(KeyValue) -> R) -> Result<R, PopError>;
    fn drain(&mut self, limit: u64, hand_over: impl FnMut(KeyValue)) -> Result<u64, PopError>;
    fn len(&self) -> u64;
    fn is_empty(&self) -> bool;
    fn count(&self) -> u64;
    fn verify(&self) -> Result<(), Corruption>;
    fn verify_quiesced(&self) -> Result<(), Corruption>;
    /// The first element for which `found` is true, of those that are there while no operation runs.
    fn search(&self, found: impl FnMut(&KeyValue) -> bool) -> Option<KeyValue>;
}

/// The MPMC queue, with ends for many threads or for one.
pub(crate) struct Ring<C>(C);

/// What pushes on it.
pub(crate) enum RingProducer<'m, C: CountPolicy> {
    OfMany(Mpmc<'m, KeyValue, C>),
    Single(SingleProducer<'m, Native, KeyValue, C>),
}

/// What pops from it.
pub(crate) enum RingConsumer<'m, C: CountPolicy> {
    OfMany(Mpmc<'m, KeyValue, C>),
    Single(SingleConsumer<'m, Native, KeyValue, C>),
}

impl<C: CountPolicy> Queue for Ring<C> {
    const NO_ROOM: PushError = PushError::Full;
    const COUNTED: bool = C::COUNTED;
    const CONSUMERS: Side = Side::Many;

    type Producer<'m> = RingProducer<'m, C>;
    type Consumer<'m> = RingConsumer<'m, C>;

    fn room(capacity: u64) -> u64 {
        capacity
    }

    fn spec(capacity: u64, _limit: u64, start: u64) -> Spec<'static> {
        super::ring::<KeyValue, C>(capacity).start(start)
    }

    unsafe fn producer<'m>(arena: &Arena<'m>, side: Side) -> RingProducer<'m, C> {
        let queue = arena.mpmc(RING).expect("made");
        match side {
            Side::Many => RingProducer::OfMany(queue),
            // SAFETY: passed on to the caller.
            Side::Single => RingProducer::Single(unsafe { queue.single_producer() }),
        }
    }

    unsafe fn consumer<'m>(arena: &Arena<'m>, side: Side) -> RingConsumer<'m, C> {
        let queue = arena.mpmc(RING).expect("made");
        match side {
            Side::Many => RingConsumer::OfMany(queue),
            // SAFETY: passed on to the caller.
            Side::Single => RingConsumer::Single(unsafe { queue.single_consumer() }),
        }
    }

    fn grow(_producer: &RingProducer<'_, C>, _count: u64) -> Option<Result<(), GrowError>> {
        None
    }

    fn is_whole(arena: &Arena<'_>, length: u64, capacity: u64) {
        let queue: Mpmc<'_, KeyValue, C> = arena.mpmc(RING).expect("made");
        assert_eq!((queue.len(), queue.capacity()), (length, capacity));
    }
}

impl<C: CountPolicy> Producer for RingProducer<'_, C> {
    fn push(&mut self, value: KeyValue) -> Result<(), PushError> {
        match self {
            RingProducer::OfMany(queue) => queue.push(value),
            RingProducer::Single(producer) => alone(producer.push(value), &PushError::Contended),
        }
    }

    fn push_many(&mut self, values: &[KeyValue]) -> Result<usize, PushError> {
        match self {
            RingProducer::OfMany(queue) => queue.push_many(values),
            RingProducer::Single(producer) => alone(producer.push_many(values), &PushError::Contended),
        }
    }
}

impl<'m, C: CountPolicy> RingConsumer<'m, C> {
    fn queue(&self) -> Mpmc<'m, KeyValue, C> {
        match self {
            RingConsumer::OfMany(queue) => *queue,
            RingConsumer::Single(consumer) => consumer.queue(),
        }
    }
}

impl<C: CountPolicy> Consumer for RingConsumer<'_, C> {
    fn pop(&mut self) -> Result<KeyValue, PopError> {
        match self {
            RingConsumer::OfMany(queue) => queue.pop(),
            RingConsumer::Single(consumer) => alone(consumer.pop(), &PopError::Contended),
        }
    }

    fn pop_with<R>(&mut self, hand_over: impl FnOnce(KeyValue) -> R) -> Result<R, PopError> {
        match self {
            RingConsumer::OfMany(queue) => queue.pop_with(hand_over),
            RingConsumer::Single(consumer) => alone(consumer.pop_with(hand_over), &PopError::Contended),
        }
    }

    fn drain(&mut self, limit: u64, hand_over: impl FnMut(KeyValue)) -> Result<u64, PopError> {
        match self {
            RingConsumer::OfMany(queue) => queue.drain(limit, hand_over),
            RingConsumer::Single(consumer) => alone(consumer.drain(limit, hand_over), &PopError::Contended),
        }
    }

    fn len(&self) -> u64 {
        self.queue().len()
    }

    fn is_empty(&self) -> bool {
        self.queue().is_empty()
    }

    fn count(&self) -> u64 {
        self.queue().count()
    }

    fn verify(&self) -> Result<(), Corruption> {
        self.queue().verify()
    }

    fn verify_quiesced(&self) -> Result<(), Corruption> {
        self.queue().verify_quiesced()
    }

    fn search(&self, found: impl FnMut(&KeyValue) -> bool) -> Option<KeyValue> {
        // SAFETY: no operation runs, as the trait says.
        unsafe { self.queue().search(found) }.expect("a sound ring")
    }
}

/// Nobody else claims positions, so a single end loses none.
fn alone<R, E: PartialEq + std::fmt::Debug>(result: Result<R, E>, lost: &E) -> Result<R, E> {
    assert!(!matches!(&result, Err(error) if error == lost), "a single end lost a claim: {lost:?}");
    result
}

/// The MPSC queue with its pool.
pub(crate) struct List<C>(C);

impl<C: CountPolicy> Queue for List<C> {
    const NO_ROOM: PushError = PushError::Exhausted;
    const COUNTED: bool = C::COUNTED;
    const CONSUMERS: Side = Side::Single;

    type Producer<'m> = MpscProducer<'m, KeyValue, C>;
    type Consumer<'m> = MpscConsumer<'m, KeyValue, C>;

    /// All nodes but the stub: where blocks have several, some are to spare.
    fn room(capacity: u64) -> u64 {
        nodes_for(capacity).0 - 1
    }

    fn spec(capacity: u64, limit: u64, start: u64) -> Spec<'static> {
        super::list::<KeyValue, C>(capacity, limit).start(start)
    }

    unsafe fn producer<'m>(arena: &Arena<'m>, _side: Side) -> MpscProducer<'m, KeyValue, C> {
        arena.mpsc_producer(LIST).expect("made")
    }

    unsafe fn consumer<'m>(arena: &Arena<'m>, _side: Side) -> MpscConsumer<'m, KeyValue, C> {
        arena.mpsc_consumer(LIST).expect("nobody has it")
    }

    fn grow(producer: &MpscProducer<'_, KeyValue, C>, count: u64) -> Option<Result<(), GrowError>> {
        Some(producer.grow(count))
    }

    fn is_whole(arena: &Arena<'_>, length: u64, capacity: u64) {
        let producer: MpscProducer<'_, KeyValue, C> = arena.mpsc_producer(LIST).expect("made");
        let nodes = producer.nodes();
        // One node is the stub, and blocks of several have some to spare.
        let made = nodes.created();
        assert!(made == capacity + 1 || nodes.block() > 1 && made > capacity, "{made} nodes for {capacity}");
        assert_eq!(nodes.free_nodes(), Ok(made - 1 - length), "a node is lost");
    }
}

impl<C: CountPolicy> Producer for MpscProducer<'_, KeyValue, C> {
    fn push(&mut self, value: KeyValue) -> Result<(), PushError> {
        (**self).push(value)
    }

    fn push_many(&mut self, values: &[KeyValue]) -> Result<usize, PushError> {
        (**self).push_many(values)
    }
}

impl<C: CountPolicy> Consumer for MpscConsumer<'_, KeyValue, C> {
    fn pop(&mut self) -> Result<KeyValue, PopError> {
        self.pop()
    }

    fn pop_with<R>(&mut self, hand_over: impl FnOnce(KeyValue) -> R) -> Result<R, PopError> {
        self.pop_with(hand_over)
    }

    fn drain(&mut self, limit: u64, hand_over: impl FnMut(KeyValue)) -> Result<u64, PopError> {
        self.drain(limit, hand_over)
    }

    fn len(&self) -> u64 {
        (**self).len()
    }

    fn is_empty(&self) -> bool {
        (**self).is_empty()
    }

    fn count(&self) -> u64 {
        self.list().count()
    }

    fn verify(&self) -> Result<(), Corruption> {
        (**self).verify()
    }

    fn verify_quiesced(&self) -> Result<(), Corruption> {
        (**self).verify_quiesced()
    }

    fn search(&self, found: impl FnMut(&KeyValue) -> bool) -> Option<KeyValue> {
        (**self).search(found)
    }
}
