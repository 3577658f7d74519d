//! Real threads on real memory, with an account of every element.

mod support;

use std::num::NonZero;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use arenaq::arena::Arena;
use arenaq::count::{CountPolicy, Counted, Uncounted};
use arenaq::mpsc;
use arenaq::platform::{Native, Platform, Word};
use arenaq::pool::{self, AllocError, Chain, GrowError, MAGAZINES, Pool, Start};
use arenaq::{KeyValue, PopError, PushError};
use crossbeam_utils::Backoff;
use support::ends::{Consumer, Producer, Side};
use support::{LIST, Memory, RING};

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
struct Mpmc {
    producers: Side,
    consumers: Side,
    capacity: u64,
    start: u64,
    /// Of all producers together.
    elements: u64,
    batch: Batch,
}

fn mpmc<C: CountPolicy>(load: Mpmc) {
    const CONSUMERS: usize = 3;
    let Mpmc { producers: producing, consumers: consuming, capacity, start, elements: total, batch } = load;
    let producers = if producing == Side::Single { 1 } else { PRODUCERS };
    let consumers = if consuming == Side::Single { 1 } else { CONSUMERS };
    let elements = total / producers;
    let memory = Memory::new(64 * 1024);
    let mut arena: Arena<'_> = memory.format();
    arena.create(&support::ring::<KeyValue, C>(capacity).start(start)).expect("it fits");
    let queue = arena.mpmc::<KeyValue, C>(RING).expect("made");
    let refusals = Refusals::default();
    let popped = AtomicU64::new(0);

    let consumed: Vec<_> = thread::scope(|scope| {
        for number in 0..producers {
            let refusals = &refusals;
            // SAFETY: if it is single it is the only one, and gone when its thread is.
            let mut producer = unsafe { Producer::new(&queue, producing) };
            scope.spawn(move || {
                push_all(number, elements, batch, refusals, |values| {
                    let pushed = match batch {
                        Batch::One => producer.push(values[0]).map(|()| 1),
                        Batch::Several => producer.push_many(values),
                    };
                    let loses = producing == Side::Single && pushed == Err(PushError::Contended);
                    assert!(!loses, "nobody else claims positions");
                    pushed
                });
            });
        }
        let consumers: Vec<_> = (0..consumers)
            .map(|_| {
                let (refusals, popped) = (&refusals, &popped);
                // SAFETY: if it is single it is the only one, and gone when its thread is.
                let mut consumer = unsafe { Consumer::new(&queue, consuming) };
                scope.spawn(move || {
                    pop_all(popped, total, batch, refusals, |limit, mine| {
                        let popped = match batch {
                            Batch::One => consumer.pop_with(|element| mine.take(element)).map(|()| 1),
                            Batch::Several => consumer.drain(limit as u64, |element| mine.take(element)),
                        };
                        let loses = consuming == Side::Single && popped == Err(PopError::Contended);
                        assert!(!loses, "nobody else claims positions");
                        popped
                    })
                })
            })
            .collect();
        // Whatever the others do, these stay within what they promise.
        let mut looks = 0;
        while popped.load(Ordering::Relaxed) < total {
            assert!(queue.len() <= capacity);
            assert_eq!(queue.verify(), Ok(()));
            if refusals.abandoned.load(Ordering::Relaxed) {
                break;
            }
            looks += 1;
            thread::yield_now();
        }
        println!("looked {looks} times");
        consumers.into_iter().flat_map(|consumer| consumer.join().expect("a consumer")).collect()
    });

    println!("{load:?}: {refusals:?}");
    all_once(consumed, producers, elements);
    assert_eq!(queue.pop(), Err(PopError::Empty));
    assert_eq!(queue.verify_quiesced(), Ok(()));
    assert_eq!(queue.count(), 0);
}

fn mpmc_4x3<C: CountPolicy>(capacity: u64, start: u64, elements: u64, batch: Batch) {
    let (producers, consumers) = (Side::Many, Side::Many);
    mpmc::<C>(Mpmc { producers, consumers, capacity, start, elements: PRODUCERS * elements, batch });
}

#[test]
fn mpmc_of_2_cells_loses_nothing_across_the_wrap_around() {
    mpmc_4x3::<Counted>(2, u64::MAX - 40_000, 20_000, Batch::One);
}

#[test]
fn mpmc_of_4_cells_loses_nothing_without_a_counter() {
    mpmc_4x3::<Uncounted>(4, u64::MAX - 40_000, 20_000, Batch::One);
}

#[test]
fn mpmc_of_1024_cells_loses_nothing() {
    mpmc_4x3::<Counted>(1024, u64::MAX - 100_000, 50_000, Batch::One);
}

#[test]
fn mpmc_of_4_cells_loses_nothing_in_batches_that_do_not_fit() {
    mpmc_4x3::<Counted>(4, u64::MAX - 40_000, 20_000, Batch::Several);
}

#[test]
fn mpmc_of_64_cells_loses_nothing_in_batches() {
    mpmc_4x3::<Counted>(64, u64::MAX - 100_000, 50_000, Batch::Several);
}

/// A single producer with a single consumer.
const SINGLE_ENDS: Mpmc = Mpmc {
    producers: Side::Single,
    consumers: Side::Single,
    capacity: 2,
    start: u64::MAX - 20_000,
    elements: 40_000,
    batch: Batch::One,
};

const SINGLE_PRODUCER: Mpmc = Mpmc { consumers: Side::Many, ..SINGLE_ENDS };
const SINGLE_CONSUMER: Mpmc = Mpmc { producers: Side::Many, ..SINGLE_ENDS };

#[test]
fn mpmc_of_2_cells_loses_nothing_between_single_ends() {
    mpmc::<Counted>(SINGLE_ENDS);
}

#[test]
fn mpmc_of_4_cells_loses_nothing_between_single_ends_in_batches_that_do_not_fit() {
    mpmc::<Uncounted>(Mpmc { capacity: 4, batch: Batch::Several, ..SINGLE_ENDS });
}

#[test]
fn mpmc_of_64_cells_loses_nothing_between_single_ends_in_batches() {
    mpmc::<Counted>(Mpmc { capacity: 64, elements: 200_000, batch: Batch::Several, ..SINGLE_ENDS });
}

#[test]
fn mpmc_of_2_cells_loses_nothing_between_many_producers_and_a_single_consumer() {
    mpmc::<Counted>(SINGLE_CONSUMER);
}

#[test]
fn mpmc_of_4_cells_loses_nothing_between_many_producers_and_a_single_consumer_in_batches_that_do_not_fit() {
    mpmc::<Counted>(Mpmc { capacity: 4, batch: Batch::Several, ..SINGLE_CONSUMER });
}

#[test]
fn mpmc_of_64_cells_loses_nothing_between_many_producers_and_a_single_consumer_in_batches() {
    mpmc::<Uncounted>(Mpmc { capacity: 64, elements: 200_000, batch: Batch::Several, ..SINGLE_CONSUMER });
}

#[test]
fn mpmc_of_2_cells_loses_nothing_between_a_single_producer_and_many_consumers() {
    mpmc::<Uncounted>(SINGLE_PRODUCER);
}

#[test]
fn mpmc_of_4_cells_loses_nothing_between_a_single_producer_and_many_consumers_in_batches_that_do_not_fit() {
    mpmc::<Counted>(Mpmc { capacity: 4, batch: Batch::Several, ..SINGLE_PRODUCER });
}

#[test]
fn mpmc_of_64_cells_loses_nothing_between_a_single_producer_and_many_consumers_in_batches() {
    mpmc::<Counted>(Mpmc { capacity: 64, elements: 200_000, batch: Batch::Several, ..SINGLE_PRODUCER });
}

fn mpsc_4x1<C: CountPolicy>(nodes: u64, tag: u32, elements: u64, batch: Batch) {
    let memory = Memory::new(128 * 1024);
    let mut arena: Arena<'_> = memory.format();
    arena.create(&support::list::<KeyValue, C>(nodes, nodes).start(tag.into())).expect("it fits");
    let producer = arena.mpsc_producer::<KeyValue, C>(LIST).expect("made");
    let mut consumer = arena.mpsc_consumer::<KeyValue, C>(LIST).expect("nobody has it");
    let refusals = Refusals::default();
    let popped = AtomicU64::new(0);

    let consumed = thread::scope(|scope| {
        for number in 0..PRODUCERS {
            let refusals = &refusals;
            scope.spawn(move || {
                push_all(number, elements, batch, refusals, |values| match batch {
                    Batch::One => producer.push(values[0]).map(|()| 1),
                    Batch::Several => producer.push_many(values),
                });
            });
        }
        pop_all(&popped, PRODUCERS * elements, batch, &refusals, |limit, mine| {
            let popped = match batch {
                Batch::One => consumer.pop_with(|element| mine.take(element)).map(|()| 1),
                Batch::Several => consumer.drain(limit as u64, |element| mine.take(element)),
            };
            if popped.is_err() {
                assert_eq!(consumer.verify(), Ok(()));
            }
            popped
        })
    });

    println!("{nodes} nodes: {refusals:?}");
    all_once(consumed, PRODUCERS, elements);
    assert_eq!(consumer.pop(), Err(PopError::Empty));
    assert_eq!(consumer.verify_quiesced(), Ok(()));
    assert_eq!(producer.count(), 0);
    // A consumer that could not give a node back keeps it until then.
    drop(consumer);
    let free = producer.nodes().free_nodes();
    assert_eq!(free, Ok(producer.nodes().created() - 1), "a node is lost");
}

#[test]
fn mpsc_of_1_node_loses_nothing() {
    mpsc_4x1::<Counted>(1, u32::MAX - 1000, 10_000, Batch::One);
}

#[test]
fn mpsc_of_3_nodes_loses_nothing_without_a_counter() {
    mpsc_4x1::<Uncounted>(3, u32::MAX - 1000, 20_000, Batch::One);
}

#[test]
fn mpsc_of_1023_nodes_loses_nothing() {
    mpsc_4x1::<Counted>(1023, u32::MAX - 1000, 50_000, Batch::One);
}

#[test]
fn mpsc_of_3_nodes_loses_nothing_in_batches_that_do_not_fit() {
    mpsc_4x1::<Counted>(3, u32::MAX - 1000, 20_000, Batch::Several);
}

#[test]
fn mpsc_of_63_nodes_loses_nothing_in_batches() {
    mpsc_4x1::<Counted>(63, u32::MAX - 1000, 50_000, Batch::Several);
}

/// A queue whose pool has a few blocks, so that they are refilled, stolen from and waited for all the time.
fn mpsc_of_few_blocks(nodes: u64, block: u32, elements: u64) {
    type Node = mpsc::Node<Native, KeyValue>;
    let mut memory: Vec<_> = (0..nodes).map(|_| Node::empty()).collect();
    let mut links: Vec<_> = (0..nodes).map(|_| <Native as Platform>::Word::new(0)).collect();
    let pool = Pool::<Native, Node>::empty();
    let head = mpsc::Head::<Native, KeyValue>::empty();
    let start = Start { tag: u32::MAX - 1000, block: NonZero::new(block) };
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
    mpsc_of_few_blocks(6, 2, 20_000);
}

#[test]
fn mpsc_of_8_blocks_of_4_nodes_and_a_short_one_loses_nothing() {
    mpsc_of_few_blocks(33, 4, 20_000);
}

#[test]
fn mpsc_of_3_blocks_of_64_nodes_loses_nothing() {
    mpsc_of_few_blocks(192, 64, 50_000);
}

/// Producers drop what does not fit, as a program in the kernel does. Returns how many were accepted and how
/// many refused.
fn overload(push: impl Fn(KeyValue) -> Result<(), PushError> + Sync, elements: u64) -> (u64, u64) {
    let (accepted, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for key in 0..PRODUCERS {
            let (push, accepted, refused) = (&push, &accepted, &refused);
            scope.spawn(move || {
                for value in 0..elements {
                    match push(KeyValue { key, value }) {
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

#[test]
fn an_mpmc_queue_without_a_consumer_keeps_its_capacity_and_refuses_the_rest() {
    let memory = Memory::new(64 * 1024);
    let mut arena: Arena<'_> = memory.format();
    arena.create(&support::ring::<KeyValue, Counted>(64)).expect("it fits");
    let queue = arena.mpmc::<KeyValue, Counted>(RING).expect("made");
    for _ in 0..20 {
        let (accepted, refused) = overload(|value| queue.push(value), 500);
        assert_eq!(accepted + refused, PRODUCERS * 500);
        assert_eq!(accepted, 64);
        assert_eq!((queue.len(), queue.count()), (64, 64));
        assert_eq!(queue.verify_quiesced(), Ok(()));
        let consumed = std::iter::from_fn(|| queue.pop().ok()).count() as u64;
        assert_eq!(consumed, accepted);
    }
}

#[test]
fn an_mpsc_queue_without_a_consumer_keeps_its_nodes_and_refuses_the_rest() {
    let memory = Memory::new(64 * 1024);
    let mut arena: Arena<'_> = memory.format();
    arena.create(&support::list::<KeyValue, Counted>(63, 63)).expect("it fits");
    let producer = arena.mpsc_producer::<KeyValue, Counted>(LIST).expect("made");
    for _ in 0..20 {
        let (accepted, refused) = overload(|value| producer.push(value), 500);
        assert_eq!(accepted + refused, PRODUCERS * 500);
        assert_eq!(accepted, 63);
        let mut consumer = arena.mpsc_consumer::<KeyValue, Counted>(LIST).expect("nobody has it");
        assert_eq!(consumer.verify_quiesced(), Ok(()));
        assert_eq!(consumer.len(), 63);
        let consumed = std::iter::from_fn(|| consumer.pop().ok()).count() as u64;
        assert_eq!(consumed, accepted);
    }
}

#[test]
fn under_overload_every_element_is_consumed_or_counted_as_refused() {
    let memory = Memory::new(64 * 1024);
    let mut arena: Arena<'_> = memory.format();
    arena.create(&support::list::<KeyValue, Counted>(7, 7)).expect("it fits");
    arena.create(&support::ring::<KeyValue, Counted>(8)).expect("it fits");
    let producer = arena.mpsc_producer::<KeyValue, Counted>(LIST).expect("made");
    let mut consumer = arena.mpsc_consumer::<KeyValue, Counted>(LIST).expect("nobody has it");
    let queue = arena.mpmc::<KeyValue, Counted>(RING).expect("made");
    let done = AtomicBool::new(false);
    let elements = 10_000;

    let (from_mpsc, from_mpmc) = thread::scope(|scope| {
        let consumers = scope.spawn(|| {
            let mut consumed = (0, 0);
            let mut last_round = false;
            loop {
                let backoff = Backoff::new();
                while consumer.pop().is_ok() {
                    consumed.0 += 1;
                }
                while queue.pop().is_ok() {
                    consumed.1 += 1;
                }
                if last_round {
                    return consumed;
                }
                last_round = done.load(Ordering::Acquire);
                backoff.snooze();
            }
        });
        let mpsc = overload(|value| producer.push(value), elements);
        let mpmc = overload(|value| queue.push(value), elements);
        done.store(true, Ordering::Release);
        let consumed = consumers.join().expect("the consumer");
        println!("mpsc (accepted, refused) {mpsc:?}, mpmc {mpmc:?}");
        assert_eq!(consumed.0 + mpsc.1, PRODUCERS * elements);
        assert_eq!(consumed.1 + mpmc.1, PRODUCERS * elements);
        ((consumed.0, mpsc.0), (consumed.1, mpmc.0))
    });
    assert_eq!(from_mpsc.0, from_mpsc.1);
    assert_eq!(from_mpmc.0, from_mpmc.1);
}

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
        let start = Start { tag: u32::MAX - 1000, block: block.and_then(NonZero::new) };
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
    let taken = AtomicU64::new(0);
    thread::scope(|scope| {
        for owner in 100..=100 + MAGAZINES as u64 {
            let (nodes, taken) = (&nodes, &taken);
            scope.spawn(move || {
                for round in 0..4_000 {
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
    for limit in [1, 2, 5, 40] {
        every_node_has_one_owner(limit, None, Batch::One, 3);
    }
}

#[test]
fn a_node_of_a_block_has_one_owner_at_a_time_however_many_threads_want_it() {
    for limit in [130, 200, 1000] {
        every_node_has_one_owner(limit, None, Batch::One, 60);
        every_node_has_one_owner(limit, Some(2), Batch::One, 60);
    }
}

#[test]
fn a_node_of_few_blocks_has_one_owner_at_a_time_however_many_threads_want_it() {
    // One block for all, less than one for each thread, and a short one at the end.
    for (limit, block) in [(2, 2), (4, 2), (5, 2), (6, 2), (64, 64), (130, 64), (200, 64)] {
        every_node_has_one_owner(limit, Some(block), Batch::One, 3);
        every_node_has_one_owner(limit, Some(block), Batch::One, limit as usize / 2);
    }
}

#[test]
fn a_run_of_nodes_has_one_owner_at_a_time_however_many_threads_want_it() {
    for (limit, block) in [(3, 1), (2, 2), (5, 2), (9, 4), (64, 64), (130, 64), (1000, 64)] {
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
    for round in 0..50 {
        threads_grow_a_pool(400 + round, Some(1));
    }
}

#[test]
fn threads_that_grow_a_pool_of_blocks_at_once_make_every_node_once() {
    for round in 0..20 {
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
    let elements = 20_000;
    let consumed = thread::scope(|scope| {
        for number in 0..PRODUCERS {
            let refusals = &refusals;
            scope.spawn(move || {
                push_all(number, elements, Batch::One, refusals, |values| {
                    let pushed = producer.push(values[0]);
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
