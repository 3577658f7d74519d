//! The queues as the models see them, and queues that are broken on purpose.

use std::num::NonZero;

use arenaq::count::Counted;
use arenaq::mpmc::{self, Capacity};
use arenaq::mpsc;
use arenaq::platform::{Identify, Platform, Traced, Word};
use arenaq::pool::{self, Pool, Start};
use arenaq::single::{SingleConsumer, SingleProducer};
use arenaq::{PopError, PushError};
use shuttle::sync::atomic::{AtomicU64, Ordering};
use weaken::trace;

use crate::history::{Item, Outcome};
use crate::specification::{Promise, RelaxedMpmc, RelaxedMpsc};

/// shuttle, with a trace of every access.
pub(crate) type Shuttle = Traced<arenaq::platform::Shuttle>;

/// Begins the trace of an execution; in its main thread.
pub(crate) fn begin_execution() {
    trace::begin_execution(<arenaq::platform::Shuttle as Identify>::identity());
}

/// An operation whose accesses are known as its own.
pub(crate) fn operation<R>(name: &'static str, body: impl FnOnce() -> R) -> R {
    trace::scope(<arenaq::platform::Shuttle as Identify>::identity(), name, body, |_| "ended")
}

/// A queue that threads share.
pub(crate) trait Queue: Send + Sync + 'static {
    /// What its documentation promises.
    type Promise: Promise;

    fn push(&self, item: Item) -> Outcome;

    /// A consuming end. Of an MPSC queue there is one at a time.
    fn consumer(&self) -> Box<dyn FnMut() -> Outcome + '_>;

    /// Checks a queue that is empty and on which no operation runs.
    fn verify_drained(&self);
}

/// A queue that takes and gives batches.
pub(crate) trait Batches: Queue {
    /// How many of the items were pushed.
    fn push_many(&self, items: &[Item]) -> usize;

    /// A consuming end that gives up to so many items at once.
    fn drainer(&self) -> Box<dyn FnMut(u64) -> Vec<Item> + '_>;
}

/// The bounded queue.
pub(crate) struct Ring {
    head: mpmc::Head<Shuttle, arenaq::KeyValue>,
    /// Which sides are single ends.
    single: Single,
    _cells: Vec<mpmc::Cell<Shuttle, arenaq::KeyValue>>,
}

// SAFETY: the cells are touched only through the head, which is `Send` and `Sync`.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

#[derive(Clone, Copy, Debug)]
struct Single {
    producer: bool,
    consumer: bool,
}

impl Ring {
    /// For any number of producers and consumers, with its positions at `start`.
    pub(crate) fn new(capacity: u64, start: u64) -> Ring {
        Ring::with_ends(capacity, start, Single { producer: false, consumer: false })
    }

    /// The same for one thread that pushes, and any number of consumers.
    pub(crate) fn with_single_producer(capacity: u64, start: u64) -> Ring {
        Ring::with_ends(capacity, start, Single { producer: true, consumer: false })
    }

    /// The same for any number of producers, and one consumer at a time.
    pub(crate) fn with_single_consumer(capacity: u64, start: u64) -> Ring {
        Ring::with_ends(capacity, start, Single { producer: false, consumer: true })
    }

    /// The same for one thread that pushes, and one consumer at a time.
    pub(crate) fn with_single_ends(capacity: u64, start: u64) -> Ring {
        Ring::with_ends(capacity, start, Single { producer: true, consumer: true })
    }

    fn with_ends(capacity: u64, start: u64, single: Single) -> Ring {
        let mut cells: Vec<_> = (0..capacity).map(|_| mpmc::Cell::empty()).collect();
        let head = mpmc::Head::empty();
        let capacity = Capacity::new(capacity).expect("a capacity");
        // SAFETY: so many cells, which live beside the head and are its alone; nobody else is here yet.
        unsafe { head.init_at(cells.as_mut_ptr(), capacity, start) }.expect("nothing ends the loop");
        Ring { head, single, _cells: cells }
    }

    fn queue(&self) -> mpmc::Ring<'_, Shuttle, arenaq::KeyValue> {
        self.head.ring().expect("an initialised queue")
    }

    /// The single end for one operation, if there is one.
    fn only_producer(&self) -> Option<SingleProducer<'_, Shuttle, arenaq::KeyValue, Counted>> {
        // SAFETY: every model with a single producer pushes in one thread, which has one end at a time.
        self.single.producer.then(|| unsafe { self.queue().single_producer() })
    }

    fn only_consumer(&self) -> Option<SingleConsumer<'_, Shuttle, arenaq::KeyValue, Counted>> {
        // SAFETY: every model with a single consumer pops in one thread, and in the main thread when that one
        // is gone.
        self.single.consumer.then(|| unsafe { self.queue().single_consumer() })
    }
}

impl Queue for Ring {
    type Promise = RelaxedMpmc;

    fn push(&self, item: Item) -> Outcome {
        let value = item.into();
        let pushed = operation("mpmc.push", || match self.only_producer() {
            Some(mut producer) => producer.push(value),
            None => self.queue().push(value),
        });
        pushed.into()
    }

    fn consumer(&self) -> Box<dyn FnMut() -> Outcome + '_> {
        match self.only_consumer() {
            Some(mut consumer) => Box::new(move || operation("mpmc.pop", || consumer.pop()).into()),
            None => Box::new(|| operation("mpmc.pop", || self.queue().pop()).into()),
        }
    }

    fn verify_drained(&self) {
        self.queue().verify_quiesced().expect("a sound ring");
        assert_eq!((self.queue().len(), self.queue().count()), (0, 0));
    }
}

impl Batches for Ring {
    fn push_many(&self, items: &[Item]) -> usize {
        let values: Vec<_> = items.iter().map(|item| (*item).into()).collect();
        let pushed = operation("mpmc.push_many", || match self.only_producer() {
            Some(mut producer) => producer.push_many(&values),
            None => self.queue().push_many(&values),
        });
        match pushed {
            Err(PushError::Full) => 0,
            pushed => pushed.unwrap_or_else(|error| panic!("{error}")),
        }
    }

    fn drainer(&self) -> Box<dyn FnMut(u64) -> Vec<Item> + '_> {
        let mut only = self.only_consumer();
        Box::new(move |limit| {
            let mut drained = Vec::new();
            let hand_over = |element: arenaq::KeyValue| drained.push(element.into());
            let result = operation("mpmc.drain", || match &mut only {
                Some(consumer) => consumer.drain(limit, hand_over),
                None => self.queue().drain(limit, hand_over),
            });
            let expected = if drained.is_empty() { Err(PopError::Empty) } else { Ok(drained.len() as u64) };
            assert_eq!(result, expected);
            drained
        })
    }
}

pub(crate) type Node = mpsc::Node<Shuttle, arenaq::KeyValue>;

/// A pool and its memory.
pub(crate) struct Nodes {
    pool: Pool<Shuttle, Node>,
    _nodes: Vec<Node>,
    _links: Vec<<Shuttle as Platform>::Word>,
}

// SAFETY: nodes and links are touched only through the pool, which is `Send` and `Sync`, and by the owners
// that it hands them to.
unsafe impl Send for Nodes {}
// SAFETY: as above.
unsafe impl Sync for Nodes {}

impl Nodes {
    /// `limit` free nodes in blocks of `block`, with the tag at `tag`.
    pub(crate) fn new(limit: u64, block: u32, tag: u32) -> Nodes {
        let mut nodes: Vec<_> = (0..limit).map(|_| mpsc::Node::empty()).collect();
        let mut links: Vec<_> = (0..limit).map(|_| Word::new(0)).collect();
        let pool = Pool::empty();
        // SAFETY: room for all of both, which live beside the pool and are its alone; nobody else is here
        // yet.
        unsafe {
            pool.init_at(
                nodes.as_mut_ptr(),
                links.as_mut_ptr(),
                limit,
                Start { tag, block: NonZero::new(block) },
            );
            let nodes = pool.nodes().expect("a pool");
            let chain = nodes.grow(limit).expect("within the limit");
            nodes.free_chain(chain).expect("nobody else");
        }
        Nodes { pool, _nodes: nodes, _links: links }
    }

    /// What is done with the pool.
    pub(crate) fn pool(&self) -> pool::Nodes<'_, Shuttle, Node> {
        self.pool.nodes().expect("a pool")
    }
}

/// The unbounded queue, with nodes for so many elements.
pub(crate) struct List {
    head: mpsc::Head<Shuttle, arenaq::KeyValue>,
    nodes: Nodes,
    elements: u64,
}

impl List {
    /// With the pool's tag at the low half of `start`; every node is a block of its own.
    pub(crate) fn new(elements: u64, start: u64) -> List {
        List::with_blocks(elements, 1, start)
    }

    /// The same, with so many nodes in each block.
    pub(crate) fn with_blocks(elements: u64, block: u32, start: u64) -> List {
        let nodes = Nodes::new(elements + 1, block, start as u32);
        let head = mpsc::Head::empty();
        // SAFETY: nobody else is here yet.
        unsafe { head.init(nodes.pool()) }.expect("a stub");
        List { head, nodes, elements }
    }

    fn list(&self) -> mpsc::List<'_, Shuttle, arenaq::KeyValue> {
        self.head.list(self.nodes.pool()).expect("a queue")
    }

    fn only_consumer(&self) -> mpsc::Consumer<'_, Shuttle, arenaq::KeyValue> {
        // SAFETY: every model consumes in one thread, and in the main thread when that one is gone.
        unsafe { self.head.consumer(self.nodes.pool()) }.expect("a queue with a stub")
    }
}

impl Queue for List {
    type Promise = RelaxedMpsc;

    fn push(&self, item: Item) -> Outcome {
        operation("mpsc.push", || self.list().push(item.into())).into()
    }

    fn consumer(&self) -> Box<dyn FnMut() -> Outcome + '_> {
        let mut consumer = self.only_consumer();
        Box::new(move || operation("mpsc.pop", || consumer.pop()).into())
    }

    fn verify_drained(&self) {
        self.only_consumer().verify_quiesced().expect("a sound list");
        assert_eq!(self.head.count(), 0);
        assert_eq!(self.nodes.pool().free_nodes(), Ok(self.elements), "a node is lost");
    }
}

impl Batches for List {
    fn push_many(&self, items: &[Item]) -> usize {
        let values: Vec<_> = items.iter().map(|item| (*item).into()).collect();
        operation("mpsc.push_many", || self.list().push_many(&values)).unwrap_or(0)
    }

    fn drainer(&self) -> Box<dyn FnMut(u64) -> Vec<Item> + '_> {
        let mut consumer = self.only_consumer();
        Box::new(move |limit| {
            let mut drained = Vec::new();
            let result =
                operation("mpsc.drain", || consumer.drain(limit, |element| drained.push(element.into())));
            assert_eq!(result.unwrap_or(0), drained.len() as u64);
            drained
        })
    }
}

/// What a [`Broken`] queue does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A producer's first two elements change places.
    Swaps,
    /// A producer's second element is not there.
    Loses,
    /// A producer's second element is there twice.
    Duplicates,
    /// The first pop of a consumer says this, whatever is there.
    Hides(Outcome),
    /// The first push of a producer says this, whatever is free.
    Refuses(Outcome),
    /// Of two pushes at the same time the later one leaves nothing: wrong in some schedules only.
    LosesWhenTwoPush,
}

/// A queue with a fault.
pub(crate) struct Broken<Q> {
    queue: Q,
    fault: Fault,
    pushing: AtomicU64,
}

impl<Q> Broken<Q> {
    pub(crate) fn new(queue: Q, fault: Fault) -> Self {
        Broken { queue, fault, pushing: AtomicU64::new(0) }
    }
}

impl<Q: Queue> Queue for Broken<Q> {
    type Promise = Q::Promise;

    fn push(&self, item: Item) -> Outcome {
        match (self.fault, item.serial) {
            (Fault::Swaps, 0 | 1) => self.queue.push(Item { serial: 1 - item.serial, ..item }),
            (Fault::Loses, 1) => Outcome::Pushed,
            (Fault::Duplicates, 1) => {
                self.queue.push(item);
                self.queue.push(item)
            }
            (Fault::Refuses(outcome), 0) => outcome,
            (Fault::LosesWhenTwoPush, _) => {
                let others = self.pushing.fetch_add(1, Ordering::SeqCst);
                let outcome = if others == 0 { self.queue.push(item) } else { Outcome::Pushed };
                self.pushing.fetch_sub(1, Ordering::SeqCst);
                outcome
            }
            _ => self.queue.push(item),
        }
    }

    fn consumer(&self) -> Box<dyn FnMut() -> Outcome + '_> {
        let mut consumer = self.queue.consumer();
        let mut first = match self.fault {
            Fault::Hides(outcome) => Some(outcome),
            _ => None,
        };
        Box::new(move || first.take().unwrap_or_else(&mut consumer))
    }

    fn verify_drained(&self) {}
}
