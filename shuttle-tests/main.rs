//! The queues under shuttle: more threads and operations than loom can exhaust, in random schedules. Its
//! atomics are sequentially consistent, so this says nothing about orderings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use arenaq::mpmc::{self, Capacity};
use arenaq::mpsc;
use arenaq::platform::{Platform, Shuttle, Word};
use arenaq::pool::Pool;
use arenaq::{KeyValue, PopError, PushError};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Runner, thread};

const PRODUCERS: u64 = 3;
const PUSHES: u64 = 3;
/// How often a producer tries to push one element before it drops it.
const ATTEMPTS: u64 = 8;
/// Pops of one consumer: more than elements, because a pop that finds nothing takes fewer steps than a push.
const POPS: u64 = 60;

const RANDOM_ITERATIONS: usize = 10_000;
const PCT_ITERATIONS: usize = 5_000;
/// How many priority changes PCT places: bugs that need no more than so many are found with a known
/// probability.
const PCT_DEPTH: usize = 3;

/// What happened, over all schedules. It lives outside of shuttle, so writing to it changes no schedule.
#[derive(Clone, Default)]
struct Outcomes(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Outcomes {
    fn saw(&self, outcome: &'static str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *seen.entry(outcome).or_default() += 1;
    }
}

/// Runs `body` under `scheduler` and checks that exactly the `expected` outcomes were seen.
fn check(
    scheduler: impl Scheduler + 'static,
    expected: &[&str],
    body: impl Fn(&Outcomes) + Send + Sync + 'static,
) {
    let outcomes = Outcomes::default();
    let iterations = Runner::new(scheduler, shuttle::Config::default()).run({
        let outcomes = outcomes.clone();
        move || body(&outcomes)
    });
    let seen = outcomes.0.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{iterations} schedules: {seen:?}");
    let seen: BTreeSet<_> = seen.keys().copied().collect();
    let expected: BTreeSet<_> = expected.iter().copied().collect();
    assert_eq!(seen, expected, "the outcomes that were seen, and those that should be");
}

/// Pushes what it can, and returns it.
fn push(
    producer: u64,
    outcomes: &Outcomes,
    push: impl Fn(KeyValue) -> Result<(), PushError>,
) -> Vec<KeyValue> {
    let attempt = |element| match push(element) {
        Ok(()) => {
            outcomes.saw("pushed");
            true
        }
        Err(PushError::Full) => {
            outcomes.saw("full");
            false
        }
        Err(PushError::Exhausted) => {
            outcomes.saw("exhausted");
            false
        }
        Err(error) => panic!("{error}"),
    };
    (0..PUSHES)
        .map(|value| KeyValue { key: producer, value })
        .filter(|element| (0..ATTEMPTS).any(|_| attempt(*element)))
        .collect()
}

fn pop(
    times: u64,
    outcomes: &Outcomes,
    mut pop: impl FnMut() -> Result<KeyValue, PopError>,
) -> Vec<KeyValue> {
    (0..times)
        .filter_map(|_| match pop() {
            Ok(element) => {
                outcomes.saw("popped");
                Some(element)
            }
            Err(PopError::Empty) => {
                outcomes.saw("empty");
                None
            }
            Err(PopError::Busy) => {
                outcomes.saw("busy");
                None
            }
            Err(error) => panic!("{error}"),
        })
        .collect()
}

/// What one consumer saw is in each producer's order.
fn in_order(consumed: &[KeyValue]) {
    for producer in 0..PRODUCERS {
        let values = consumed.iter().filter(|e| e.key == producer).map(|e| e.value);
        assert!(values.is_sorted_by(|a, b| a < b), "{consumed:?}");
    }
}

/// What was pushed was consumed, once.
fn exactly_once(mut pushed: Vec<KeyValue>, mut consumed: Vec<KeyValue>) {
    let by_name = |e: &KeyValue| (e.key, e.value);
    pushed.sort_by_key(by_name);
    consumed.sort_by_key(by_name);
    assert_eq!(pushed, consumed, "lost, or seen twice");
}

struct Ring {
    head: mpmc::Head<Shuttle, KeyValue>,
    _cells: Vec<mpmc::Cell<Shuttle, KeyValue>>,
}

// SAFETY: the cells are touched only through the head, which is `Sync`.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

/// Three producers and two consumers on two cells, across the wrap-around of the positions.
fn mpmc(outcomes: &Outcomes) {
    let mut cells: Vec<_> = (0..2).map(|_| mpmc::Cell::empty()).collect();
    let head = mpmc::Head::empty();
    // SAFETY: two cells, which live beside the head and are its alone; nobody else is here yet.
    unsafe { head.init_at(cells.as_mut_ptr(), Capacity::MIN, u64::MAX - 2) }.expect("two cells");
    let ring = Arc::new(Ring { head, _cells: cells });

    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let (ring, outcomes) = (ring.clone(), outcomes.clone());
            thread::spawn(move || push(producer, &outcomes, |element| ring.head.push(element)))
        })
        .collect();
    let consumers: Vec<_> = (0..2)
        .map(|_| {
            let (ring, outcomes) = (ring.clone(), outcomes.clone());
            thread::spawn(move || pop(POPS, &outcomes, || ring.head.pop()))
        })
        .collect();
    let pushed =
        producers.into_iter().flat_map(|thread| thread.join().expect("a producer")).collect::<Vec<_>>();
    if pushed.len() > 2 {
        outcomes.saw("second lap");
    }
    let mut consumed = Vec::new();
    for consumer in consumers {
        let one = consumer.join().expect("a consumer");
        in_order(&one);
        consumed.extend(one);
    }
    ring.head.verify_quiesced().expect("a sound ring");
    let rest: Vec<_> = std::iter::from_fn(|| ring.head.pop().ok()).collect();
    in_order(&rest);
    consumed.extend(rest);
    exactly_once(pushed, consumed);
}

type Node = mpsc::Node<Shuttle, KeyValue>;

struct List {
    head: mpsc::Head<Shuttle, KeyValue>,
    pool: Pool<Shuttle, Node>,
    _nodes: Vec<Node>,
    _links: Vec<<Shuttle as Platform>::Word>,
}

// SAFETY: nodes and links are touched only through the head and the pool, which are `Sync`.
unsafe impl Send for List {}
// SAFETY: as above.
unsafe impl Sync for List {}

/// Three producers and one consumer with two nodes and the stub, across the wrap-around of the tag.
fn mpsc(outcomes: &Outcomes) {
    const NODES: u64 = 3;
    let mut nodes: Vec<_> = (0..NODES).map(|_| mpsc::Node::empty()).collect();
    let mut links: Vec<_> = (0..NODES).map(|_| Word::new(0)).collect();
    let pool = Pool::empty();
    let head = mpsc::Head::empty();
    // SAFETY: room for all of both, which live beside the pool and are its alone; nobody else is here yet.
    unsafe {
        pool.init_at(nodes.as_mut_ptr(), links.as_mut_ptr(), NODES, u32::MAX - 2);
        let chain = pool.grow(NODES).expect("within the limit");
        pool.free_chain(chain).expect("nobody else");
        head.init(&pool).expect("a stub");
    }
    let list = Arc::new(List { head, pool, _nodes: nodes, _links: links });

    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let (list, outcomes) = (list.clone(), outcomes.clone());
            thread::spawn(move || push(producer, &outcomes, |element| list.head.push(&list.pool, element)))
        })
        .collect();
    let consumer = {
        let (list, outcomes) = (list.clone(), outcomes.clone());
        thread::spawn(move || {
            // SAFETY: the only consumer until the main thread's.
            let mut consumer =
                unsafe { mpsc::Consumer::new(&list.head, &list.pool) }.expect("a queue with a stub");
            pop(POPS, &outcomes, || consumer.pop())
        })
    };
    let pushed =
        producers.into_iter().flat_map(|thread| thread.join().expect("a producer")).collect::<Vec<_>>();
    if pushed.len() as u64 >= NODES {
        outcomes.saw("node reused");
    }
    let mut consumed = consumer.join().expect("the consumer");
    // SAFETY: the other consumer is gone.
    let mut consumer = unsafe { mpsc::Consumer::new(&list.head, &list.pool) }.expect("a queue with a stub");
    consumer.verify_quiesced().expect("a sound list");
    consumed.extend(std::iter::from_fn(|| consumer.pop().ok()));
    // One consumer after the other is one consumer.
    in_order(&consumed);
    drop(consumer);
    assert_eq!(list.pool.free_nodes(), Ok(NODES - 1), "a node is lost");
    exactly_once(pushed, consumed);
}

const MPMC_OUTCOMES: &[&str] = &["pushed", "second lap", "full", "popped", "empty"];
const MPSC_OUTCOMES: &[&str] = &["pushed", "node reused", "exhausted", "popped", "empty", "busy"];

#[test]
fn mpmc_accounts_for_every_element_in_random_schedules() {
    check(RandomScheduler::new(RANDOM_ITERATIONS), MPMC_OUTCOMES, mpmc);
}

#[test]
fn mpmc_accounts_for_every_element_in_schedules_with_few_preemptions() {
    check(PctScheduler::new(PCT_DEPTH, PCT_ITERATIONS), MPMC_OUTCOMES, mpmc);
}

#[test]
fn mpsc_accounts_for_every_element_in_random_schedules() {
    check(RandomScheduler::new(RANDOM_ITERATIONS), MPSC_OUTCOMES, mpsc);
}

#[test]
fn mpsc_accounts_for_every_element_in_schedules_with_few_preemptions() {
    check(PctScheduler::new(PCT_DEPTH, PCT_ITERATIONS), MPSC_OUTCOMES, mpsc);
}
