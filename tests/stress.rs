//! Real threads on real memory, with an account of every element.

mod support;

use std::num::NonZero;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use arenaq::arena::Arena;
use arenaq::count::{Counted, Uncounted};
use arenaq::mpsc;
use arenaq::platform::{Native, Platform, Word};
use arenaq::pool::{self, AllocError, Chain, GrowError, MAGAZINES, Pool, Start};
use arenaq::{KeyValue, PopError, PushError};
use crossbeam_utils::Backoff;
use support::queue::{Consumer, List, Producer, Queue, Ring, Side};
use support::{LIST, Memory, times};

const PRODUCERS: u64 = 4;

/// How often operations had nothing to do or had to try again.
#[derive(Debug, Default)]
struct Refusals {
    full: AtomicU64,
    exhausted: AtomicU64,
    empty: AtomicU64,
    busy: AtomicU64,
    contended: AtomicU64,
    /// A thread has panicked: the others must not wait for it.
    abandoned: AtomicBool,
}

/// Tells the other threads when one panics, so that the test fails and does not hang.
struct Abandons<'a>(&'a AtomicBool);

impl Drop for Abandons<'_> {
    fn drop(&mut self) {
        self.0.fetch_or(thread::panicking(), Ordering::Relaxed);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Refusals {
    fn of_push(&self, error: PushError) {
        add(match error {
            PushError::Full => &self.full,
            PushError::Exhausted => &self.exhausted,
            PushError::Contended => &self.contended,
            PushError::Invalid | PushError::Corrupt => panic!("{error}"),
        });
    }

    fn of_pop(&self, error: PopError) {
        add(match error {
            PopError::Empty => &self.empty,
            PopError::Busy => &self.busy,
            PopError::Contended => &self.contended,
            PopError::Invalid | PopError::Corrupt => panic!("{error}"),
        });
    }
}

/// How many elements the threads of a test push and pop at once.
#[derive(Clone, Copy, Debug)]
enum Batch {
    One,
    Several,
}

impl Batch {
    /// The next size: all from 1 to 7, one after another.
    fn next(self, last: usize) -> usize {
        match self {
            Batch::One => 1,
            Batch::Several => last % 7 + 1,
        }
    }
}

/// A queue as the tests drive it: `push` says how many of the elements it has taken, from the first on.
/// Producers do not give up, so consumers know how many elements come.
fn push_all(
    producer: u64,
    elements: u64,
    batch: Batch,
    refusals: &Refusals,
    mut push: impl FnMut(&[KeyValue]) -> Result<usize, PushError>,
) {
    let _abandons = Abandons(&refusals.abandoned);
    let (mut pushed, mut size) = (0, 0);
    let backoff = Backoff::new();
    while pushed < elements {
        size = batch.next(size);
        let end = elements.min(pushed + size as u64);
        let values: Vec<_> = (pushed..end).map(|value| KeyValue { key: producer, value }).collect();
        match push(&values) {
            Ok(taken) => {
                assert!(taken > 0 && taken <= values.len(), "{taken} of {}", values.len());
                pushed += taken as u64;
                backoff.reset();
            }
            Err(error) => {
                refusals.of_push(error);
                if refusals.abandoned.load(Ordering::Relaxed) {
                    return;
                }
                backoff.snooze();
            }
        }
    }
}

/// What one consumer has popped.
#[derive(Default)]
struct Popped {
    elements: Vec<KeyValue>,
    newest: [Option<u64>; PRODUCERS as usize],
}

impl Popped {
    /// Checks that each producer's elements come in its order.
    fn take(&mut self, element: KeyValue) {
        let KeyValue { key, value } = element;
        let newest = &mut self.newest[key as usize];
        assert!(newest.is_none_or(|newest| newest < value), "producer {key}: {value} after {newest:?}");
        *newest = Some(value);
        self.elements.push(element);
    }
}

/// Pops until all consumers together have `total`. `pop` says how many elements it has handed over, of so many
/// at most.
fn pop_all(
    popped: &AtomicU64,
    total: u64,
    batch: Batch,
    refusals: &Refusals,
    mut pop: impl FnMut(usize, &mut Popped) -> Result<u64, PopError>,
) -> Vec<KeyValue> {
    let _abandons = Abandons(&refusals.abandoned);
    let mut mine = Popped::default();
    let mut size = 0;
    let backoff = Backoff::new();
    while popped.load(Ordering::Relaxed) < total && !refusals.abandoned.load(Ordering::Relaxed) {
        size = batch.next(size);
        let before = mine.elements.len();
        match pop(size, &mut mine) {
            Ok(count) => {
                assert!(count > 0 && count <= size as u64, "{count} of {size}");
                assert_eq!(mine.elements.len() - before, count as usize);
                popped.fetch_add(count, Ordering::Relaxed);
                backoff.reset();
            }
            Err(error) => {
                refusals.of_pop(error);
                backoff.snooze();
            }
        }
    }
    mine.elements
}

/// Every (producer, number) is there once.
fn all_once(consumed: impl IntoIterator<Item = KeyValue>, producers: u64, elements: u64) {
    let mut seen = vec![false; (producers * elements) as usize];
    let mut count = 0;
    for KeyValue { key, value } in consumed {
        assert!(key < producers && value < elements, "{key}/{value} was never pushed");
        let slot = &mut seen[(key * elements + value) as usize];
        assert!(!*slot, "{key}/{value} came twice");
        *slot = true;
        count += 1;
    }
    assert_eq!(count, producers * elements, "elements are lost");
}

/// Four producers and three consumers, or a single one on either side.
#[derive(Clone, Copy, Debug)]
struct Load {
    producers: Side,
    consumers: Side,
    capacity: u64,
    /// Where the queue's numbers begin.
    start: u64,
    /// Of all producers together.
    elements: u64,
    batch: Batch,
}

fn loses_nothing<Q: Queue>(load: Load) {
    const CONSUMERS: usize = 3;
    let Load { capacity, start, elements: total, batch, .. } = load;
    let producers = if load.producers == Side::Single { 1 } else { PRODUCERS };
    let consumers = if load.consumers == Side::Single { 1 } else { CONSUMERS };
    let elements = total / producers;
    let memory = Memory::new(128 * 1024);
    let mut arena: Arena<'_> = memory.format();
    arena.create(&Q::spec(capacity, capacity, start)).expect("it fits");
    let refusals = Refusals::default();
    let popped = AtomicU64::new(0);

    let consumed: Vec<_> = thread::scope(|scope| {
        for number in 0..producers {
            let refusals = &refusals;
            // SAFETY: if it is single it is the only one, and gone when its thread is.
            let mut producer = unsafe { Q::producer(&arena, load.producers) };
            scope.spawn(move || {
                push_all(number, elements, batch, refusals, |values| match batch {
                    Batch::One => producer.push(values[0]).map(|()| 1),
                    Batch::Several => producer.push_many(values),
                });
            });
        }
        let consumers: Vec<_> = (0..consumers)
            .map(|_| {
                let (refusals, popped) = (&refusals, &popped);
                // SAFETY: if it is single it is the only one, and gone when its thread is.
                let mut consumer = unsafe { Q::consumer(&arena, load.consumers) };
                scope.spawn(move || {
                    pop_all(popped, total, batch, refusals, |limit, mine| {
                        let popped = match batch {
                            Batch::One => consumer.pop_with(|element| mine.take(element)).map(|()| 1),
                            Batch::Several => consumer.drain(limit as u64, |element| mine.take(element)),
                        };
                        // Whatever the others do, these stay within what they promise.
                        if popped.is_err() {
                            assert!(consumer.len() <= Q::room(capacity));
                            assert_eq!(consumer.verify(), Ok(()));
                        }
                        popped
                    })
                })
            })
            .collect();
        consumers.into_iter().flat_map(|consumer| consumer.join().expect("a consumer")).collect()
    });

    println!("{load:?}: {refusals:?}");
    all_once(consumed, producers, elements);
    // SAFETY: all other ends are gone.
    let mut consumer = unsafe { Q::consumer(&arena, load.consumers) };
    assert_eq!(consumer.pop(), Err(PopError::Empty));
    assert_eq!(consumer.verify_quiesced(), Ok(()));
    assert_eq!(consumer.count(), 0);
    // A consumer that could not give a node back keeps it until then.
    drop(consumer);
    Q::is_whole(&arena, 0, capacity);
}

/// Many producers and as many consumers as the queue can have.
fn of_many<Q: Queue>(capacity: u64, start: u64, elements: u64, batch: Batch) {
    loses_nothing::<Q>(Load {
        producers: Side::Many,
        consumers: Q::CONSUMERS,
        capacity,
        start,
        elements: PRODUCERS * elements,
        batch,
    });
}

#[test]
fn mpmc_of_2_cells_loses_nothing_across_the_wrap_around() {
    of_many::<Ring<Counted>>(2, u64::MAX - times(40_000, 80), times(20_000, 40), Batch::One);
}

#[test]
fn mpmc_of_4_cells_loses_nothing_without_a_counter() {
    of_many::<Ring<Uncounted>>(4, u64::MAX - times(40_000, 80), times(20_000, 40), Batch::One);
}

#[test]
fn mpmc_of_1024_cells_loses_nothing() {
    of_many::<Ring<Counted>>(times(1024, 16), u64::MAX - times(100_000, 80), times(50_000, 40), Batch::One);
}

#[test]
fn mpmc_of_4_cells_loses_nothing_in_batches_that_do_not_fit() {
    of_many::<Ring<Counted>>(4, u64::MAX - times(40_000, 80), times(20_000, 40), Batch::Several);
}

#[test]
fn mpmc_of_64_cells_loses_nothing_in_batches() {
    of_many::<Ring<Counted>>(64, u64::MAX - times(100_000, 80), times(50_000, 40), Batch::Several);
}

/// A single producer with a single consumer.
const SINGLE_ENDS: Load = Load {
    producers: Side::Single,
    consumers: Side::Single,
    capacity: 2,
    start: u64::MAX - times(20_000, 80),
    elements: times(40_000, 160),
    batch: Batch::One,
};

const SINGLE_PRODUCER: Load = Load { consumers: Side::Many, ..SINGLE_ENDS };
const SINGLE_CONSUMER: Load = Load { producers: Side::Many, ..SINGLE_ENDS };

#[test]
fn mpmc_of_2_cells_loses_nothing_between_single_ends() {
    loses_nothing::<Ring<Counted>>(SINGLE_ENDS);
}

#[test]
fn mpmc_of_4_cells_loses_nothing_between_single_ends_in_batches_that_do_not_fit() {
    loses_nothing::<Ring<Uncounted>>(Load { capacity: 4, batch: Batch::Several, ..SINGLE_ENDS });
}

#[test]
fn mpmc_of_64_cells_loses_nothing_between_single_ends_in_batches() {
    loses_nothing::<Ring<Counted>>(Load {
        capacity: 64,
        elements: times(200_000, 160),
        batch: Batch::Several,
        ..SINGLE_ENDS
    });
}

#[test]
fn mpmc_of_2_cells_loses_nothing_between_many_producers_and_a_single_consumer() {
    loses_nothing::<Ring<Counted>>(SINGLE_CONSUMER);
}

#[test]
fn mpmc_of_4_cells_loses_nothing_between_many_producers_and_a_single_consumer_in_batches_that_do_not_fit() {
    loses_nothing::<Ring<Counted>>(Load { capacity: 4, batch: Batch::Several, ..SINGLE_CONSUMER });
}

#[test]
fn mpmc_of_64_cells_loses_nothing_between_many_producers_and_a_single_consumer_in_batches() {
    loses_nothing::<Ring<Uncounted>>(Load {
        capacity: 64,
        elements: times(200_000, 160),
        batch: Batch::Several,
        ..SINGLE_CONSUMER
    });
}

#[test]
fn mpmc_of_2_cells_loses_nothing_between_a_single_producer_and_many_consumers() {
    loses_nothing::<Ring<Uncounted>>(SINGLE_PRODUCER);
}

#[test]
fn mpmc_of_4_cells_loses_nothing_between_a_single_producer_and_many_consumers_in_batches_that_do_not_fit() {
    loses_nothing::<Ring<Counted>>(Load { capacity: 4, batch: Batch::Several, ..SINGLE_PRODUCER });
}

#[test]
fn mpmc_of_64_cells_loses_nothing_between_a_single_producer_and_many_consumers_in_batches() {
    loses_nothing::<Ring<Counted>>(Load {
        capacity: 64,
        elements: times(200_000, 160),
        batch: Batch::Several,
        ..SINGLE_PRODUCER
    });
}

/// An ABA tag that wraps around soon.
const TAG: u64 = u32::MAX as u64 - times(1000, 20);

#[test]
fn mpsc_of_1_node_loses_nothing() {
    of_many::<List<Counted>>(1, TAG, times(10_000, 40), Batch::One);
}

#[test]
fn mpsc_of_3_nodes_loses_nothing_without_a_counter() {
    of_many::<List<Uncounted>>(3, TAG, times(20_000, 40), Batch::One);
}

#[test]
fn mpsc_of_1023_nodes_loses_nothing() {
    of_many::<List<Counted>>(times(1023, 15), TAG, times(50_000, 40), Batch::One);
}

#[test]
fn mpsc_of_3_nodes_loses_nothing_in_batches_that_do_not_fit() {
    of_many::<List<Counted>>(3, TAG, times(20_000, 40), Batch::Several);
}

#[test]
fn mpsc_of_63_nodes_loses_nothing_in_batches() {
    of_many::<List<Counted>>(63, TAG, times(50_000, 40), Batch::Several);
}

/// A queue whose pool has a few blocks, so that they are refilled, stolen from and waited for all the time.
fn mpsc_of_few_blocks(nodes: u64, block: u32, elements: u64) {
    type Node = mpsc::Node<Native, KeyValue>;
    let mut memory: Vec<_> = (0..nodes).map(|_| Node::empty()).collect();
    let mut links: Vec<_> = (0..nodes).map(|_| <Native as Platform>::Word::new(0)).collect();
    let pool = Pool::<Native, Node>::empty();
    let head = mpsc::Head::<Native, KeyValue>::empty();
    let start = Start { tag: TAG as u32, block: NonZero::new(block) };
    // SAFETY: room for so many of both, which live as long as the pool and are its alone; nobody else is here
    // yet.
    unsafe { pool.init_at(memory.as_mut_ptr(), links.as_mut_ptr(), nodes, start) };
    let pool = pool.nodes().expect("a pool");
    // SAFETY: as above.
    unsafe {
        let chain = pool.grow(nodes).expect("room");
        pool.free_chain(chain).expect("nobody else");
        head.init(pool).expect("a stub");
    }
    let list = head.list(pool).expect("a queue");
    // SAFETY: the only consumer.
    let mut consumer = unsafe { mpsc::Consumer::new(list) }.expect("a stub");
    let refusals = Refusals::default();
    let popped = AtomicU64::new(0);

    let consumed = thread::scope(|scope| {
        for number in 0..PRODUCERS {
            let refusals = &refusals;
            scope.spawn(move || {
                push_all(number, elements, Batch::Several, refusals, |values| match values {
                    [value] => list.push(*value).map(|()| 1),
                    values => list.push_many(values),
                });
            });
        }
        pop_all(&popped, PRODUCERS * elements, Batch::Several, &refusals, |limit, mine| match limit {
            1 => consumer.pop_with(|element| mine.take(element)).map(|()| 1),
            limit => consumer.drain(limit as u64, |element| mine.take(element)),
        })
    });

    println!("{nodes} nodes in blocks of {block}: {refusals:?}");
    all_once(consumed, PRODUCERS, elements);
    assert_eq!(consumer.pop(), Err(PopError::Empty));
    assert_eq!(consumer.verify_quiesced(), Ok(()));
    assert_eq!(head.count(), 0);
    drop(consumer);
    assert_eq!(pool.free_nodes(), Ok(nodes - 1), "a node is lost");
    // What magazines have left of blocks that are partly spent is used up, and then every block is whole but
    // that of the stub.
    let all = || std::iter::from_fn(|| pool.alloc().ok()).collect::<Vec<_>>();
    for node in all() {
        // SAFETY: just allocated and not used.
        unsafe { pool.free(node) }.expect("nobody else");
    }
    let again = all().len() as u64;
    assert!(again >= nodes - u64::from(block) && again < nodes, "{again} of {nodes}");
}

#[test]
fn mpsc_of_3_blocks_of_2_nodes_loses_nothing() {
    mpsc_of_few_blocks(6, 2, times(20_000, 40));
}

#[test]
fn mpsc_of_8_blocks_of_4_nodes_and_a_short_one_loses_nothing() {
    mpsc_of_few_blocks(33, 4, times(20_000, 40));
}

#[test]
fn mpsc_of_3_blocks_of_64_nodes_loses_nothing() {
    mpsc_of_few_blocks(192, 64, times(50_000, 100));
}

/// Producers drop what does not fit, as a program in the kernel does. Returns how many were accepted and how
/// many refused.
fn overload<P: Producer>(producer: impl Fn() -> P, elements: u64) -> (u64, u64) {
    let (accepted, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for key in 0..PRODUCERS {
            let (accepted, refused) = (&accepted, &refused);
            let mut producer = producer();
            scope.spawn(move || {
                for value in 0..elements {
                    match producer.push(KeyValue { key, value }) {
                        Ok(()) => add(accepted),
                        Err(error @ (PushError::Invalid | PushError::Corrupt)) => panic!("{error}"),
                        Err(_) => {
                            add(refused);
                            // Lets a consumer in, where there is one.
                            thread::yield_now();
                        }
                    }
                }
            });
        }
    });
    (accepted.into_inner(), refused.into_inner())
}

fn keeps_what_it_has_room_for<Q: Queue>(capacity: u64) {
    let memory = Memory::new(64 * 1024);
    let mut arena: Arena<'_> = memory.format();
    arena.create(&Q::spec(capacity, capacity, 0)).expect("it fits");
    let elements = times(500, 30);
    for _ in 0..times(20, 2) {
        // SAFETY: no end is single.
        let (accepted, refused) = overload(|| unsafe { Q::producer(&arena, Side::Many) }, elements);
        assert_eq!(accepted + refused, PRODUCERS * elements);
        assert_eq!(accepted, capacity);
        Q::is_whole(&arena, capacity, capacity);
        // SAFETY: the only consumer at the time.
        let mut consumer = unsafe { Q::consumer(&arena, Q::CONSUMERS) };
        assert_eq!((consumer.len(), consumer.count()), (capacity, if Q::COUNTED { capacity } else { 0 }));
        assert_eq!(consumer.verify_quiesced(), Ok(()));
        let consumed = std::iter::from_fn(|| consumer.pop().ok()).count() as u64;
        assert_eq!(consumed, accepted);
    }
}

#[test]
fn an_mpmc_queue_without_a_consumer_keeps_its_capacity_and_refuses_the_rest() {
    keeps_what_it_has_room_for::<Ring<Counted>>(64);
}

#[test]
fn an_mpsc_queue_without_a_consumer_keeps_its_nodes_and_refuses_the_rest() {
    keeps_what_it_has_room_for::<List<Counted>>(63);
}

fn accounts_for_an_overload<Q: Queue>(capacity: u64) {
    let elements = times(10_000, 40);
    let memory = Memory::new(64 * 1024);
    let mut arena: Arena<'_> = memory.format();
    arena.create(&Q::spec(capacity, capacity, 0)).expect("it fits");
    // SAFETY: the only consumer.
    let mut consumer = unsafe { Q::consumer(&arena, Q::CONSUMERS) };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let consumer = scope.spawn(|| {
            let (mut consumed, mut last_round) = (0, false);
            let backoff = Backoff::new();
            loop {
                while consumer.pop().is_ok() {
                    consumed += 1;
                }
                if last_round {
                    return consumed;
                }
                last_round = done.load(Ordering::Acquire);
                backoff.snooze();
            }
        });
        // SAFETY: no end is single.
        let (accepted, refused) = overload(|| unsafe { Q::producer(&arena, Side::Many) }, elements);
        done.store(true, Ordering::Release);
        let consumed: u64 = consumer.join().expect("the consumer");
        println!("accepted {accepted}, refused {refused}");
        assert_eq!((consumed, accepted + refused), (accepted, PRODUCERS * elements));
    });
}

#[test]
fn under_overload_every_element_of_an_mpmc_queue_is_consumed_or_counted_as_refused() {
    accounts_for_an_overload::<Ring<Counted>>(8);
}

#[test]
fn under_overload_every_element_of_an_mpsc_queue_is_consumed_or_counted_as_refused() {
    accounts_for_an_overload::<List<Counted>>(7);
}

/// How many sizes of pools are tried.
const FEW: usize = times(u64::MAX, 1) as usize;

/// A node with room for its owner's stamp.
struct Slot {
    owner: AtomicU64,
}

struct Nodes {
    pool: Pool<Native, Slot>,
    nodes: Vec<Slot>,
    _links: Vec<<Native as Platform>::Word>,
}

impl Nodes {
    fn with_room(limit: u64, block: Option<u32>) -> Self {
        let mut nodes: Vec<_> = (0..limit).map(|_| Slot { owner: AtomicU64::new(0) }).collect();
        let mut links: Vec<_> = (0..limit).map(|_| Word::new(0)).collect();
        let pool = Pool::empty();
        let start = Start { tag: TAG as u32, block: block.and_then(NonZero::new) };
        // SAFETY: room for `limit` of both, which live beside the pool and are its alone; nobody else is here
        // yet.
        unsafe { pool.init_at(nodes.as_mut_ptr(), links.as_mut_ptr(), limit, start) };
        Nodes { pool, nodes, _links: links }
    }

    /// What is done with the pool.
    fn pool(&self) -> pool::Nodes<'_, Native, Slot> {
        self.pool.nodes().expect("a pool")
    }

    fn give(&self, mut chain: Chain) {
        let backoff = Backoff::new();
        // SAFETY: of this pool.
        while let Err(again) = unsafe { self.pool().free_chain(chain) } {
            chain = again;
            backoff.snooze();
        }
    }

    fn grow(&self, count: u64) -> Result<(), GrowError> {
        let backoff = Backoff::new();
        loop {
            // SAFETY: the memory up to the limit is there.
            match unsafe { self.pool().grow(count) } {
                Err(GrowError::Contended) => backoff.snooze(),
                Err(error) => return Err(error),
                Ok(chain) => {
                    self.give(chain);
                    return Ok(());
                }
            }
        }
    }

    fn stamp(&self, node: *mut Slot, owner: u64) {
        // SAFETY: a node of the pool, which lives in `self`; it is only read, and its stamp is atomic.
        let last = unsafe { &*node }.owner.swap(owner, Ordering::Relaxed);
        assert_eq!(last, 0, "the node of owner {last} was given to {owner} too");
    }

    /// Takes up to `most` nodes, one by one or as many at once as there are, and stamps them.
    fn take(&self, most: usize, batch: Batch, owner: u64) -> Vec<*mut Slot> {
        let mut held = Vec::new();
        while held.len() < most {
            let left = (most - held.len()) as u64;
            let taken = match batch {
                Batch::One => self.pool().alloc().map(|node| held.push(node)),
                Batch::Several => self.pool().alloc_run(left).map(|run| {
                    assert!(run.len() >= 1 && run.len() <= left, "{} of {left}", run.len());
                    // SAFETY: of this pool.
                    held.extend(unsafe { self.pool().nodes_of_run(&run) });
                }),
            };
            match taken {
                Ok(()) | Err(AllocError::Contended) => {}
                Err(AllocError::Exhausted) => break,
                Err(AllocError::Corrupt) => panic!("a sound pool"),
            }
        }
        held.iter().for_each(|node| self.stamp(*node, owner));
        held
    }

    /// Wipes the stamps and gives the nodes back.
    fn give_back(&self, held: Vec<*mut Slot>, owner: u64) {
        for node in held {
            // SAFETY: as in `stamp`.
            let last = unsafe { &*node }.owner.swap(0, Ordering::Relaxed);
            assert_eq!(last, owner, "owner {last} has taken a node of {owner}");
            // SAFETY: allocated in `take`, and not used any more.
            if let Err(block) = unsafe { self.pool().free(node) } {
                self.give(block);
            }
        }
    }

    /// Nobody has a node, and every one can be had again, once. Magazines and spent nodes hide none.
    fn are_all_there(&self) {
        let created = self.pool().created();
        assert_eq!(self.pool().free_nodes(), Ok(created));
        assert!(self.nodes.iter().all(|node| node.owner.load(Ordering::Relaxed) == 0));
        // Of a block a part may be spent and the rest in a magazine. That rest is used up first, and then all
        // blocks become whole.
        let held = self.take(usize::MAX, Batch::One, 9);
        self.give_back(held, 9);
        let held = self.take(usize::MAX, Batch::Several, 9);
        assert_eq!(held.len() as u64, created);
        assert_eq!(self.pool().free_nodes(), Ok(0));
        self.give_back(held, 9);
        assert_eq!(self.pool().free_nodes(), Ok(created));
    }
}

/// Threads take up to `most` nodes at a time, again and again. They are more than there are magazines, so that
/// some share one.
fn every_node_has_one_owner(limit: u64, block: Option<u32>, batch: Batch, most: usize) {
    let nodes = Nodes::with_room(limit, block);
    nodes.grow(limit).expect("room");
    let most = most.min(times(u64::MAX, 20) as usize);
    let taken = AtomicU64::new(0);
    thread::scope(|scope| {
        for owner in 100..=100 + MAGAZINES as u64 {
            let (nodes, taken) = (&nodes, &taken);
            scope.spawn(move || {
                for round in 0..times(4_000, 2) as usize {
                    let mut held = nodes.take(1 + round % most, batch, owner);
                    taken.fetch_add(held.len() as u64, Ordering::Relaxed);
                    // In another order than that of the blocks.
                    if round % 2 == 0 {
                        held.reverse();
                    }
                    nodes.give_back(held, owner);
                }
            });
        }
    });
    println!("{limit} nodes in blocks of {} were taken {taken:?} times", nodes.pool().block());
    nodes.are_all_there();
}

#[test]
fn a_node_has_one_owner_at_a_time_however_many_threads_want_it() {
    for limit in [5, 1, 2, 40].into_iter().take(FEW) {
        every_node_has_one_owner(limit, None, Batch::One, 3);
    }
}

#[test]
fn a_node_of_a_block_has_one_owner_at_a_time_however_many_threads_want_it() {
    for limit in [130, 200, 1000].into_iter().take(FEW) {
        every_node_has_one_owner(limit, None, Batch::One, 60);
        every_node_has_one_owner(limit, Some(2), Batch::One, 60);
    }
}

#[test]
fn a_node_of_few_blocks_has_one_owner_at_a_time_however_many_threads_want_it() {
    // One block for all, less than one for each thread, and a short one at the end.
    for (limit, block) in
        [(5, 2), (2, 2), (4, 2), (6, 2), (64, 64), (130, 64), (200, 64)].into_iter().take(FEW)
    {
        every_node_has_one_owner(limit, Some(block), Batch::One, 3);
        every_node_has_one_owner(limit, Some(block), Batch::One, limit as usize / 2);
    }
}

#[test]
fn a_run_of_nodes_has_one_owner_at_a_time_however_many_threads_want_it() {
    for (limit, block) in
        [(9, 4), (3, 1), (2, 2), (5, 2), (64, 64), (130, 64), (1000, 64)].into_iter().take(FEW)
    {
        every_node_has_one_owner(limit, Some(block), Batch::Several, 3);
        every_node_has_one_owner(limit, Some(block), Batch::Several, limit as usize / 2 + 1);
    }
}

/// Four threads make nodes and take some of them, until there is no room for more.
fn threads_grow_a_pool(limit: u64, block: Option<u32>) {
    let nodes = Nodes::with_room(limit, block);
    let block = nodes.pool().block();
    let (grown, short) = (AtomicU64::new(0), AtomicU64::new(0));
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for owner in 1..=4u64 {
            let (nodes, grown, short, start) = (&nodes, &grown, &short, &start);
            scope.spawn(move || {
                start.wait();
                let mut held = Vec::new();
                for count in (1..).map(|n| 1 + n % 7) {
                    // Whole blocks, unless the limit is nearer.
                    let filled: u64 = u64::next_multiple_of(count, block);
                    match nodes.grow(count) {
                        Ok(()) => {
                            grown.fetch_add(filled, Ordering::Relaxed);
                        }
                        Err(GrowError::Limit { asked, room }) => {
                            assert!(asked == count && room < count);
                            short.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                        Err(error) => panic!("{error}"),
                    }
                    held.extend(nodes.take(2, Batch::One, owner));
                }
                nodes.give_back(held, owner);
            });
        }
    });
    let (created, grown) = (nodes.pool().created(), grown.into_inner());
    assert_eq!(short.into_inner(), 4);
    assert!(created % block == 0 || created == limit, "{created} of {limit}");
    assert!(limit - created < 7, "room was left");
    // Only who comes to the limit gets less than whole blocks, and one at most does.
    assert!(grown == created || created == limit && grown < created + 7 + block, "{grown}, {created}");
    nodes.are_all_there();
}

#[test]
fn threads_that_grow_a_pool_at_once_make_every_node_once() {
    for round in 0..times(50, 1) {
        threads_grow_a_pool(400 + round, Some(1));
    }
}

#[test]
fn threads_that_grow_a_pool_of_blocks_at_once_make_every_node_once() {
    for round in 0..times(20, 1) {
        threads_grow_a_pool(130 + round, None);
        threads_grow_a_pool(1000 + round, None);
        threads_grow_a_pool(200 + round, Some(2));
        threads_grow_a_pool(400 + round, Some(64));
    }
}

#[test]
fn a_queue_whose_pool_grows_while_it_is_used_loses_nothing() {
    let memory = Memory::new(128 * 1024);
    let mut arena: Arena<'_> = memory.format();
    arena.create(&support::list::<KeyValue, Counted>(1, 501)).expect("it fits");
    let producer = arena.mpsc_producer::<KeyValue, Counted>(LIST).expect("made");
    let mut consumer = arena.mpsc_consumer::<KeyValue, Counted>(LIST).expect("nobody has it");
    let refusals = Refusals::default();
    let popped = AtomicU64::new(0);
    let elements = times(20_000, 40);
    let consumed = thread::scope(|scope| {
        for number in 0..PRODUCERS {
            let refusals = &refusals;
            scope.spawn(move || {
                push_all(number, elements, Batch::One, refusals, |values| {
                    let pushed = (*producer).push(values[0]);
                    if pushed == Err(PushError::Exhausted) {
                        match producer.grow(5) {
                            Ok(()) | Err(GrowError::Limit { .. } | GrowError::Contended) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                    pushed.map(|()| 1)
                });
            });
        }
        pop_all(&popped, PRODUCERS * elements, Batch::One, &refusals, |_, mine| {
            consumer.pop_with(|element| mine.take(element)).map(|()| 1)
        })
    });
    println!("{} nodes were made: {refusals:?}", producer.nodes().created());
    all_once(consumed, PRODUCERS, elements);
    drop(consumer);
    assert_eq!(producer.nodes().free_nodes(), Ok(producer.nodes().created() - 1));
}
