//! Large programs. Nothing is lost or seen twice, each producer's elements keep their order, and every node
//! has one owner.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use shuttle::thread;

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

fn account(run: &Run, load: Load, queue: impl Queue) {
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
    start: u32::MAX as u64 - 100,
    schedules: MAIN / 50,
};

fn mpmc(test: &str, schedules: Schedules, load: Load) {
    let expected = ["pushed", "full", "popped", "empty", "reused"];
    check(test, schedules, load.schedules, &expected, move |run| {
        account(run, load, Ring::new(load.capacity, load.start));
    });
}

fn mpsc(test: &str, schedules: Schedules, load: Load) {
    let expected = ["pushed", "exhausted", "popped", "empty", "busy", "reused"];
    check(test, schedules, load.schedules, &expected, move |run| {
        account(run, load, List::new(load.capacity, load.start));
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

/// `threads` take one or two of `limit` nodes, `rounds` times, and give them back as one chain.
fn owners(run: &Run, limit: u64, threads: u64, rounds: u64) {
    let nodes = Arc::new(Nodes::new(limit, u32::MAX - 3));
    // By address: a raw pointer cannot cross to another thread.
    let owned = Arc::new(Mutex::new(BTreeSet::new()));
    let threads: Vec<_> = (0..threads)
        .map(|thread| {
            let (nodes, owned, run) = (nodes.clone(), owned.clone(), run.clone());
            thread::spawn(move || {
                let owned = || owned.lock().unwrap_or_else(PoisonError::into_inner);
                let alloc = || match nodes.pool.alloc() {
                    Ok(node) => {
                        assert!(owned().insert(node.addr()), "two owners of one node");
                        run.saw("allocated");
                        Some(node)
                    }
                    Err(arenaq::pool::AllocError::Exhausted) => {
                        run.saw("exhausted");
                        None
                    }
                    Err(error) => panic!("{error}"),
                };
                let mut allocated = 0;
                for round in 0..rounds {
                    let first = alloc();
                    let second = if (thread + round) % 2 == 0 { alloc() } else { None };
                    let mut chain = None;
                    for node in first.into_iter().chain(second) {
                        allocated += 1;
                        assert!(owned().remove(&node.addr()), "the node was ours");
                        // SAFETY: from the pool's `alloc`, and not used any more.
                        let one = unsafe { nodes.pool.chain(node) };
                        chain = Some(match chain {
                            None => one,
                            Some(other) => {
                                run.saw("chain of two");
                                nodes.pool.join(one, other)
                            }
                        });
                    }
                    while let Some(unfreed) = chain {
                        chain = nodes.pool.free_chain(unfreed).err();
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
    assert_eq!(nodes.pool.free_nodes(), Ok(limit), "a node is lost");
}

const POOL_OUTCOMES: &[&str] = &["allocated", "exhausted", "chain of two", "reused"];

#[test]
fn pool_gives_each_of_two_nodes_to_one_owner_in_random_schedules() {
    check(test_name!(), Schedules::Random, MAIN, POOL_OUTCOMES, |run| owners(run, 2, 4, 6));
}

#[test]
fn pool_gives_each_of_two_nodes_to_one_owner_with_few_preemptions() {
    check(test_name!(), Schedules::Pct, MAIN, POOL_OUTCOMES, |run| owners(run, 2, 4, 6));
}

#[test]
fn pool_gives_each_of_five_nodes_to_one_owner_under_a_large_load_in_random_schedules() {
    check(test_name!(), Schedules::Random, MAIN / 50, POOL_OUTCOMES, |run| owners(run, 5, 8, 60));
}

#[test]
fn pool_gives_each_of_five_nodes_to_one_owner_under_a_large_load_with_few_preemptions() {
    check(test_name!(), Schedules::Pct, MAIN / 50, POOL_OUTCOMES, |run| owners(run, 5, 8, 60));
}
