//! Large programs. Nothing is lost or seen twice, each producer's elements keep their order, and every node
//! has one owner.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use arenaq::pool::{AllocError, site};
use shuttle::thread;
use weaken::trace::{self, Effect, Event};

use crate::history::{Item, Outcome};
use crate::queues::{List, Nodes, Queue, Ring};
use crate::runner::{MAIN, Run, Schedules, check, test_name};

/// How many threads do how much.
#[derive(Clone, Copy)]
struct Load {
    producers: u64,
    consumers: u64,
    /// Elements of one producer.
    pushes: u64,
    /// How often a producer tries to push one element before it drops it.
    attempts: u64,
    /// Pops of one consumer: more than elements, because a pop that finds nothing takes fewer steps than a
    /// push.
    pops: u64,
    capacity: u64,
    /// How many nodes a block has.
    block: u32,
    /// Where the positions, or the tag, start.
    start: u64,
    schedules: usize,
}

/// What one consumer saw is in each producer's order.
fn in_order(consumed: &[Item]) {
    let mut next = std::collections::BTreeMap::new();
    for item in consumed {
        let earliest = next.entry(item.producer).or_insert(0);
        assert!(item.serial >= *earliest, "{item} is late: {consumed:?}");
        *earliest = item.serial + 1;
    }
}

fn account(run: &Run, schedules: Schedules, load: Load, queue: impl Queue) {
    let queue = Arc::new(queue);
    let producers: Vec<_> = (0..load.producers)
        .map(|producer| {
            let (queue, run) = (queue.clone(), run.clone());
            thread::spawn(move || {
                let pushed = |item: &Item| {
                    let outcome = queue.push(*item);
                    run.saw(outcome.name());
                    outcome == Outcome::Pushed
                };
                (0..load.pushes)
                    .map(|serial| Item { producer, serial })
                    .filter(|item| (0..load.attempts).any(|_| pushed(item)))
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let consumers: Vec<_> = (0..load.consumers)
        .map(|_| {
            let (queue, run) = (queue.clone(), run.clone());
            thread::spawn(move || {
                let mut pop = queue.consumer();
                let outcomes = (0..load.pops).map(|_| pop()).inspect(|outcome| run.saw(outcome.name()));
                outcomes.filter_map(popped).collect::<Vec<_>>()
            })
        })
        .collect();

    let mut pushed: Vec<_> =
        producers.into_iter().flat_map(|thread| thread.join().expect("a producer")).collect();
    if pushed.len() as u64 > load.capacity {
        run.saw("reused");
    }
    let consumed: Vec<_> = consumers.into_iter().map(|thread| thread.join().expect("a consumer")).collect();
    let mut pop = queue.consumer();
    let rest: Vec<_> = std::iter::from_fn(|| popped(pop())).collect();
    drop(pop);
    queue.verify_drained();
    saw_magazines(run, schedules);

    if load.consumers == 1 {
        // One consumer after the other is one consumer.
        in_order(&[&consumed[0][..], &rest].concat());
    }
    consumed.iter().for_each(|one| in_order(one));
    in_order(&rest);
    let mut consumed = [consumed.concat(), rest].concat();
    pushed.sort_unstable();
    consumed.sort_unstable();
    assert_eq!(pushed, consumed, "lost, or seen twice");
}

fn popped(outcome: Outcome) -> Option<Item> {
    match outcome {
        Outcome::Popped(item) => Some(item),
        _ => None,
    }
}

/// The positions wrap around.
const MPMC: Load = Load {
    producers: 3,
    consumers: 2,
    pushes: 5,
    attempts: 8,
    pops: 60,
    capacity: 2,
    block: 1,
    start: u64::MAX - 2,
    schedules: MAIN,
};

/// A thousand operations of eight threads.
const MPMC_LARGE: Load = Load {
    producers: 5,
    consumers: 3,
    pushes: 60,
    attempts: 16,
    pops: 200,
    capacity: 4,
    block: 1,
    start: u64::MAX - 100,
    schedules: MAIN / 50,
};

/// Two nodes and the stub; the tag wraps around.
const MPSC: Load = Load {
    producers: 3,
    consumers: 1,
    pushes: 5,
    attempts: 8,
    pops: 120,
    capacity: 2,
    block: 1,
    start: u32::MAX as u64 - 2,
    schedules: MAIN,
};

/// A thousand operations of eight threads.
const MPSC_LARGE: Load = Load {
    producers: 7,
    consumers: 1,
    pushes: 60,
    attempts: 16,
    pops: 1000,
    capacity: 4,
    block: 1,
    start: u32::MAX as u64 - 100,
    schedules: MAIN / 50,
};

/// Four blocks of two nodes, one of which is the stub. There are more producers than magazines, so that two
/// share one.
const MPSC_BLOCKS_OF_2: Load = Load { producers: 9, pushes: 2, capacity: 7, block: 2, ..MPSC };

/// Four blocks of four nodes.
const MPSC_LARGE_BLOCKS_OF_4: Load = Load { producers: 10, pushes: 40, capacity: 15, block: 4, ..MPSC_LARGE };

/// A single producer with a single consumer.
const MPMC_SINGLE_ENDS: Load = Load { producers: 1, consumers: 1, pushes: 10, ..MPMC };

const MPMC_SINGLE_PRODUCER: Load = Load { producers: 1, consumers: 2, pushes: 10, pops: 40, ..MPMC };

const MPMC_SINGLE_CONSUMER: Load = Load { consumers: 1, pops: 120, ..MPMC };

const MPMC_LARGE_SINGLE_ENDS: Load =
    Load { producers: 1, consumers: 1, pushes: 200, pops: 600, ..MPMC_LARGE };

const MPMC_LARGE_SINGLE_PRODUCER: Load =
    Load { producers: 1, consumers: 5, pushes: 200, pops: 120, ..MPMC_LARGE };

const MPMC_LARGE_SINGLE_CONSUMER: Load = Load { consumers: 1, pops: 600, ..MPMC_LARGE };

fn mpmc(test: &str, schedules: Schedules, load: Load) {
    mpmc_on(test, schedules, load, Ring::new);
}

fn mpmc_on(test: &str, schedules: Schedules, load: Load, ring: fn(u64, u64) -> Ring) {
    let expected = ["pushed", "full", "popped", "empty", "reused"];
    check(test, schedules, load.schedules, &expected, move |run| {
        account(run, schedules, load, ring(load.capacity, load.start));
    });
}

fn mpsc(test: &str, schedules: Schedules, load: Load) {
    let mut expected = vec!["pushed", "exhausted", "popped", "empty", "busy", "reused"];
    if load.block > 1 {
        expected.push("stolen");
        expected.extend((schedules == Schedules::Random).then_some(FILLED));
    }
    check(test, schedules, load.schedules, &expected, move |run| {
        account(run, schedules, load, List::with_blocks(load.capacity, load.block, load.start));
    });
}

#[test]
fn mpmc_accounts_for_every_element_in_random_schedules() {
    mpmc(test_name!(), Schedules::Random, MPMC);
}

#[test]
fn mpmc_accounts_for_every_element_with_few_preemptions() {
    mpmc(test_name!(), Schedules::Pct, MPMC);
}

#[test]
fn mpmc_accounts_for_a_large_load_in_random_schedules() {
    mpmc(test_name!(), Schedules::Random, MPMC_LARGE);
}

#[test]
fn mpmc_accounts_for_a_large_load_with_few_preemptions() {
    mpmc(test_name!(), Schedules::Pct, MPMC_LARGE);
}

#[test]
fn mpmc_with_single_ends_accounts_for_every_element_in_random_schedules() {
    mpmc_on(test_name!(), Schedules::Random, MPMC_SINGLE_ENDS, Ring::with_single_ends);
}

#[test]
fn mpmc_with_single_ends_accounts_for_every_element_with_few_preemptions() {
    mpmc_on(test_name!(), Schedules::Pct, MPMC_SINGLE_ENDS, Ring::with_single_ends);
}

#[test]
fn mpmc_with_single_ends_accounts_for_a_large_load_in_random_schedules() {
    mpmc_on(test_name!(), Schedules::Random, MPMC_LARGE_SINGLE_ENDS, Ring::with_single_ends);
}

#[test]
fn mpmc_with_single_ends_accounts_for_a_large_load_with_few_preemptions() {
    mpmc_on(test_name!(), Schedules::Pct, MPMC_LARGE_SINGLE_ENDS, Ring::with_single_ends);
}

#[test]
fn mpmc_with_a_single_producer_accounts_for_every_element_in_random_schedules() {
    mpmc_on(test_name!(), Schedules::Random, MPMC_SINGLE_PRODUCER, Ring::with_single_producer);
}

#[test]
fn mpmc_with_a_single_producer_accounts_for_every_element_with_few_preemptions() {
    mpmc_on(test_name!(), Schedules::Pct, MPMC_SINGLE_PRODUCER, Ring::with_single_producer);
}

#[test]
fn mpmc_with_a_single_producer_accounts_for_a_large_load_in_random_schedules() {
    mpmc_on(test_name!(), Schedules::Random, MPMC_LARGE_SINGLE_PRODUCER, Ring::with_single_producer);
}

#[test]
fn mpmc_with_a_single_producer_accounts_for_a_large_load_with_few_preemptions() {
    mpmc_on(test_name!(), Schedules::Pct, MPMC_LARGE_SINGLE_PRODUCER, Ring::with_single_producer);
}

#[test]
fn mpmc_with_a_single_consumer_accounts_for_every_element_in_random_schedules() {
    mpmc_on(test_name!(), Schedules::Random, MPMC_SINGLE_CONSUMER, Ring::with_single_consumer);
}

#[test]
fn mpmc_with_a_single_consumer_accounts_for_every_element_with_few_preemptions() {
    mpmc_on(test_name!(), Schedules::Pct, MPMC_SINGLE_CONSUMER, Ring::with_single_consumer);
}

#[test]
fn mpmc_with_a_single_consumer_accounts_for_a_large_load_in_random_schedules() {
    mpmc_on(test_name!(), Schedules::Random, MPMC_LARGE_SINGLE_CONSUMER, Ring::with_single_consumer);
}

#[test]
fn mpmc_with_a_single_consumer_accounts_for_a_large_load_with_few_preemptions() {
    mpmc_on(test_name!(), Schedules::Pct, MPMC_LARGE_SINGLE_CONSUMER, Ring::with_single_consumer);
}

#[test]
fn mpsc_accounts_for_every_element_in_random_schedules() {
    mpsc(test_name!(), Schedules::Random, MPSC);
}

#[test]
fn mpsc_accounts_for_every_element_with_few_preemptions() {
    mpsc(test_name!(), Schedules::Pct, MPSC);
}

#[test]
fn mpsc_accounts_for_a_large_load_in_random_schedules() {
    mpsc(test_name!(), Schedules::Random, MPSC_LARGE);
}

#[test]
fn mpsc_accounts_for_a_large_load_with_few_preemptions() {
    mpsc(test_name!(), Schedules::Pct, MPSC_LARGE);
}

#[test]
fn mpsc_with_blocks_of_two_accounts_for_every_element_in_random_schedules() {
    mpsc(test_name!(), Schedules::Random, MPSC_BLOCKS_OF_2);
}

#[test]
fn mpsc_with_blocks_of_two_accounts_for_every_element_with_few_preemptions() {
    mpsc(test_name!(), Schedules::Pct, MPSC_BLOCKS_OF_2);
}

#[test]
fn mpsc_with_blocks_of_four_accounts_for_a_large_load_in_random_schedules() {
    mpsc(test_name!(), Schedules::Random, MPSC_LARGE_BLOCKS_OF_4);
}

/// What threads want of a pool.
#[derive(Clone, Copy)]
struct Owners {
    limit: u64,
    block: u32,
    threads: u64,
    rounds: u64,
    /// The most nodes that one takes at once.
    run: u64,
}

/// Two have taken a block for one magazine, and the later one counts the rest of its block as spent.
const FILLED: &str = "magazine filled by another";

/// Says which of the ways were taken on which threads meet in magazines. With few preemptions one of them is so
/// rare that it is not asked for.
fn saw_magazines(run: &Run, schedules: Schedules) {
    let [rest, steal] = [site::ALLOC_SPEND.info(), site::STEAL_TAKE.info()].map(|site| site.name);
    let name = |event: &Event| event.site.named().name;
    trace::inspect(|trace| {
        let rare = schedules == Schedules::Pct;
        if !rare && trace.events.iter().any(|event| name(event) == rest) {
            run.saw(FILLED);
        }
        let stolen = |event: &Event| name(event) == steal && matches!(event.effect, Effect::Changed { .. });
        if trace.events.iter().any(stolen) {
            run.saw("stolen");
        }
    });
}

/// Each thread takes a run of nodes, and every second time another, and gives them back: again and again.
fn owners(run: &Run, schedules: Schedules, owners: Owners) {
    let Owners { limit, block, threads, rounds, run: most } = owners;
    let nodes = Arc::new(Nodes::new(limit, block, u32::MAX - 3));
    // By address: a raw pointer cannot cross to another thread.
    let owned = Arc::new(Mutex::new(BTreeSet::new()));
    let threads: Vec<_> = (0..threads)
        .map(|thread| {
            let (nodes, owned, run) = (nodes.clone(), owned.clone(), run.clone());
            thread::spawn(move || {
                let owned = || owned.lock().unwrap_or_else(PoisonError::into_inner);
                let alloc = |most| {
                    let taken: Vec<_> = match nodes.pool().alloc_run(most) {
                        // SAFETY: of this pool.
                        Ok(taken) => unsafe { nodes.pool().nodes_of_run(&taken) }.collect(),
                        Err(AllocError::Exhausted) => Vec::new(),
                        Err(error) => panic!("{error}"),
                    };
                    run.saw(["exhausted", "run of 1", "run of 2", "run of 3"][taken.len()]);
                    for node in &taken {
                        assert!(owned().insert(node.addr()), "two owners of one node");
                    }
                    taken
                };
                let mut allocated = 0;
                for round in 0..rounds {
                    let mut held = alloc(1 + (thread + round) / 2 % most);
                    if (thread + round) % 2 == 0 {
                        held.extend(alloc(most));
                    }
                    for node in held {
                        allocated += 1;
                        assert!(owned().remove(&node.addr()), "the node was ours");
                        // SAFETY: from the pool's `alloc_run`, and not used any more.
                        let mut unfreed = unsafe { nodes.pool().free(node) }.err();
                        while let Some(block) = unfreed {
                            // SAFETY: of this pool.
                            unfreed = unsafe { nodes.pool().free_chain(block) }.err();
                        }
                    }
                }
                allocated
            })
        })
        .collect();
    let allocated: u64 = threads.into_iter().map(|thread| thread.join().expect("an owner")).sum();
    if allocated > limit {
        run.saw("reused");
    }
    saw_magazines(run, schedules);
    let free = |expected| assert_eq!(nodes.pool().free_nodes(), Ok(expected), "a node is lost");
    free(limit);
    // What magazines have left is used up first, and then every block is whole and can be had.
    for round in 0..2 {
        let taken: Vec<_> = std::iter::from_fn(|| nodes.pool().alloc().ok()).collect();
        let count = taken.len() as u64;
        if count < limit {
            assert_eq!(round, 0, "{count} nodes of {limit} can be had");
            run.saw("spent beside a magazine");
        }
        free(limit - count);
        for node in taken {
            // SAFETY: just allocated, and not used.
            unsafe { nodes.pool().free(node) }.expect("nobody else");
        }
        free(limit);
    }
}

const TWO_NODES: Owners = Owners { limit: 2, block: 1, threads: 4, rounds: 6, run: 1 };
const FIVE_NODES: Owners = Owners { limit: 5, block: 1, threads: 8, rounds: 60, run: 1 };
/// More threads than there are magazines, so that two share one. The last block is short.
const BLOCKS_OF_2: Owners = Owners { limit: 9, block: 2, threads: 9, rounds: 3, run: 2 };
const BLOCKS_OF_4: Owners = Owners { limit: 14, block: 4, threads: 9, rounds: 3, run: 3 };
const FEW_BLOCKS_OF_2: Owners = Owners { limit: 5, block: 2, threads: 12, rounds: 40, run: 2 };
const FEW_BLOCKS_OF_4: Owners = Owners { limit: 9, block: 4, threads: 12, rounds: 40, run: 3 };

const ONE_NODE: &[&str] = &["exhausted", "run of 1", "reused"];
const UP_TO_2: &[&str] = &["exhausted", "run of 1", "run of 2", "reused"];
const UP_TO_3: &[&str] = &["exhausted", "run of 1", "run of 2", "run of 3", "reused"];

/// Runs the model, which must see these outcomes, and those of magazines if there are any.
fn pool(test: &str, schedules: Schedules, iterations: usize, load: Owners, outcomes: &[&str]) {
    let mut expected = outcomes.to_vec();
    if load.block > 1 {
        expected.extend(["stolen", "spent beside a magazine"]);
        expected.extend((schedules == Schedules::Random).then_some(FILLED));
    }
    check(test, schedules, iterations, &expected, move |run| owners(run, schedules, load));
}

#[test]
fn pool_gives_each_of_two_nodes_to_one_owner_in_random_schedules() {
    pool(test_name!(), Schedules::Random, MAIN, TWO_NODES, ONE_NODE);
}

#[test]
fn pool_gives_each_of_two_nodes_to_one_owner_with_few_preemptions() {
    pool(test_name!(), Schedules::Pct, MAIN, TWO_NODES, ONE_NODE);
}

#[test]
fn pool_gives_each_of_five_nodes_to_one_owner_under_a_large_load_in_random_schedules() {
    pool(test_name!(), Schedules::Random, MAIN / 50, FIVE_NODES, ONE_NODE);
}

#[test]
fn pool_gives_each_of_five_nodes_to_one_owner_under_a_large_load_with_few_preemptions() {
    // In some seeds few schedules exhaust the pool.
    pool(test_name!(), Schedules::Pct, MAIN / 20, FIVE_NODES, ONE_NODE);
}

#[test]
fn pool_gives_each_node_of_blocks_of_two_to_one_owner_in_random_schedules() {
    pool(test_name!(), Schedules::Random, MAIN, BLOCKS_OF_2, UP_TO_2);
}

#[test]
fn pool_gives_each_node_of_blocks_of_two_to_one_owner_with_few_preemptions() {
    pool(test_name!(), Schedules::Pct, MAIN, BLOCKS_OF_2, UP_TO_2);
}

#[test]
fn pool_gives_each_node_of_blocks_of_four_to_one_owner_in_random_schedules() {
    pool(test_name!(), Schedules::Random, MAIN, BLOCKS_OF_4, UP_TO_3);
}

#[test]
fn pool_gives_each_node_of_blocks_of_four_to_one_owner_with_few_preemptions() {
    pool(test_name!(), Schedules::Pct, MAIN, BLOCKS_OF_4, UP_TO_3);
}

#[test]
fn pool_gives_each_node_of_blocks_to_one_owner_under_a_large_load_in_random_schedules() {
    pool(test_name!(), Schedules::Random, MAIN / 20, FEW_BLOCKS_OF_2, UP_TO_2);
    pool(test_name!(), Schedules::Random, MAIN / 50, FEW_BLOCKS_OF_4, UP_TO_3);
}
