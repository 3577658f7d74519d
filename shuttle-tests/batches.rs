//! Batches and single operations on the same queue: nothing is lost or seen twice, each producer's elements
//! keep their order.

use std::sync::Arc;

use shuttle::thread;

use crate::history::{Item, Outcome};
use crate::queues::{Batches, List, Ring};
use crate::runner::{MAIN, Run, Schedules, check, test_name};

const PRODUCERS: u64 = 3;
/// Elements of one producer, in batches of up to three; the first producer has two left for the last batch.
const PUSHES: u64 = 7;
const ATTEMPTS: u64 = 12;
const DRAINS: u64 = 40;

/// What one producer pushes: every second time one element, and otherwise all that are left of a batch.
fn produce(run: &Run, queue: &impl Batches, producer: u64) -> u64 {
    let items: Vec<_> = (0..PUSHES).map(|serial| Item { producer, serial }).collect();
    let mut left = &items[..];
    for attempt in 0..ATTEMPTS {
        let pushed = match left {
            [] => break,
            [first, ..] if (attempt + producer) % 2 == 0 => {
                usize::from(queue.push(*first) == Outcome::Pushed)
            }
            some => queue.push_many(&some[..some.len().min(3)]),
        };
        run.saw(["none pushed", "1 pushed", "2 pushed", "3 pushed"][pushed]);
        left = &left[pushed..];
    }
    PUSHES - left.len() as u64
}

fn account(run: &Run, producers: u64, consumers: u64, queue: impl Batches) {
    let queue = Arc::new(queue);
    let producers: Vec<_> = (0..producers)
        .map(|producer| {
            let (queue, run) = (queue.clone(), run.clone());
            thread::spawn(move || produce(&run, &*queue, producer))
        })
        .collect();
    let consumers: Vec<_> = (0..consumers)
        .map(|_| {
            let (queue, run) = (queue.clone(), run.clone());
            thread::spawn(move || {
                let mut drain = queue.drainer();
                let mut consumed = Vec::new();
                for limit in (0..DRAINS).map(|round| 1 + round % 3) {
                    let drained = drain(limit);
                    run.saw(["none drained", "1 drained", "2 drained", "3 drained"][drained.len()]);
                    consumed.extend(drained);
                }
                consumed
            })
        })
        .collect();
    let pushed: Vec<_> = producers.into_iter().map(|thread| thread.join().expect("a producer")).collect();
    let mut seen: Vec<_> = consumers.into_iter().map(|thread| thread.join().expect("a consumer")).collect();
    let mut rest = queue.drainer();
    seen.push(
        std::iter::from_fn(|| Some(rest(u64::MAX)).filter(|drained| !drained.is_empty())).flatten().collect(),
    );
    drop(rest);
    queue.verify_drained();

    for (producer, pushed) in (0..).zip(pushed) {
        let of_this = |consumed: &Vec<Item>| {
            let serials: Vec<_> =
                consumed.iter().filter(|item| item.producer == producer).map(|item| item.serial).collect();
            assert!(serials.is_sorted(), "one consumer sees the order of each producer: {serials:?}");
            serials
        };
        let mut serials: Vec<_> = seen.iter().flat_map(of_this).collect();
        serials.sort_unstable();
        assert!(serials.into_iter().eq(0..pushed), "lost, or seen twice");
    }
}

const OUTCOMES: &[&str] = &[
    "none pushed",
    "1 pushed",
    "2 pushed",
    "3 pushed",
    "none drained",
    "1 drained",
    "2 drained",
    "3 drained",
];

#[test]
fn mpmc_batches_account_for_every_element_in_random_schedules() {
    check(test_name!(), Schedules::Random, MAIN, OUTCOMES, |run| {
        account(run, PRODUCERS, 2, Ring::new(4, u64::MAX - 2));
    });
}

#[test]
fn mpmc_batches_account_for_every_element_with_few_preemptions() {
    check(test_name!(), Schedules::Pct, MAIN, OUTCOMES, |run| {
        account(run, PRODUCERS, 2, Ring::new(4, u64::MAX - 2));
    });
}

#[test]
fn mpmc_batches_between_single_ends_account_for_every_element_in_random_schedules() {
    check(test_name!(), Schedules::Random, MAIN, OUTCOMES, |run| {
        account(run, 1, 1, Ring::with_single_ends(4, u64::MAX - 2));
    });
}

#[test]
fn mpmc_batches_between_single_ends_account_for_every_element_with_few_preemptions() {
    check(test_name!(), Schedules::Pct, MAIN, OUTCOMES, |run| {
        account(run, 1, 1, Ring::with_single_ends(4, u64::MAX - 2));
    });
}

#[test]
fn mpmc_batches_of_a_single_producer_account_for_every_element_in_random_schedules() {
    check(test_name!(), Schedules::Random, MAIN, OUTCOMES, |run| {
        account(run, 1, 2, Ring::with_single_producer(4, u64::MAX - 2));
    });
}

#[test]
fn mpmc_batches_of_a_single_producer_account_for_every_element_with_few_preemptions() {
    check(test_name!(), Schedules::Pct, MAIN, OUTCOMES, |run| {
        account(run, 1, 2, Ring::with_single_producer(4, u64::MAX - 2));
    });
}

#[test]
fn mpmc_batches_for_a_single_consumer_account_for_every_element_in_random_schedules() {
    check(test_name!(), Schedules::Random, MAIN, OUTCOMES, |run| {
        account(run, PRODUCERS, 1, Ring::with_single_consumer(4, u64::MAX - 2));
    });
}

#[test]
fn mpmc_batches_for_a_single_consumer_account_for_every_element_with_few_preemptions() {
    check(test_name!(), Schedules::Pct, MAIN, OUTCOMES, |run| {
        account(run, PRODUCERS, 1, Ring::with_single_consumer(4, u64::MAX - 2));
    });
}

/// Producers push batches of up to three and nothing else, and consumers drain as much as there is.
fn batches_are_drained_whole(run: &Run, producers: u64, consumers: u64, queue: impl Batches) {
    const BATCHES: u64 = 3;
    let queue = Arc::new(queue);
    let producers: Vec<_> = (0..producers)
        .map(|producer| {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut next = 0;
                let mut push = |_| {
                    let items: Vec<_> = (next..next + 3).map(|serial| Item { producer, serial }).collect();
                    let pushed = queue.push_many(&items);
                    next += pushed as u64;
                    items[..pushed].to_vec()
                };
                (0..BATCHES).map(&mut push).collect::<Vec<_>>()
            })
        })
        .collect();
    let consumers: Vec<_> = (0..consumers)
        .map(|_| {
            let queue = queue.clone();
            thread::spawn(move || {
                let mut drain = queue.drainer();
                (0..DRAINS).map(|_| drain(u64::MAX)).collect::<Vec<_>>()
            })
        })
        .collect();
    let batches: Vec<_> =
        producers.into_iter().flat_map(|thread| thread.join().expect("a producer")).collect();
    let mut drained: Vec<_> =
        consumers.into_iter().flat_map(|thread| thread.join().expect("a consumer")).collect();
    drained.push(queue.drainer()(u64::MAX));
    for batch in batches.into_iter().filter(|batch| !batch.is_empty()) {
        run.saw(["a batch of 1", "a batch of 2", "a batch of 3"][batch.len() - 1]);
        let whole = drained.iter().any(|drained| drained.windows(batch.len()).any(|part| part == batch));
        assert!(whole, "{batch:?} came in pieces: {drained:?}");
    }
}

const SIZES: &[&str] = &["a batch of 1", "a batch of 2", "a batch of 3"];

#[test]
fn mpmc_a_consumer_that_finds_the_first_of_a_batch_finds_all_in_random_schedules() {
    check(test_name!(), Schedules::Random, MAIN, SIZES, |run| {
        batches_are_drained_whole(run, PRODUCERS, 2, Ring::new(8, u64::MAX - 2));
    });
}

#[test]
fn mpmc_a_single_consumer_that_finds_the_first_of_a_batch_of_a_single_producer_finds_all_in_random_schedules()
{
    check(test_name!(), Schedules::Random, MAIN, SIZES, |run| {
        batches_are_drained_whole(run, 1, 1, Ring::with_single_ends(4, u64::MAX - 2));
    });
}

#[test]
fn mpsc_batches_account_for_every_element_in_random_schedules() {
    check(test_name!(), Schedules::Random, MAIN, OUTCOMES, |run| {
        account(run, PRODUCERS, 1, List::new(4, u32::MAX as u64 - 2));
    });
}

#[test]
fn mpsc_batches_account_for_every_element_with_few_preemptions() {
    check(test_name!(), Schedules::Pct, MAIN, OUTCOMES, |run| {
        account(run, PRODUCERS, 1, List::new(4, u32::MAX as u64 - 2));
    });
}

#[test]
fn mpsc_batches_from_blocks_account_for_every_element_in_random_schedules() {
    for block in [2, 4] {
        check(test_name!(), Schedules::Random, MAIN / 2, OUTCOMES, move |run| {
            account(run, PRODUCERS, 1, List::with_blocks(8, block, u32::MAX as u64 - 2));
        });
    }
}

#[test]
fn mpsc_batches_from_blocks_account_for_every_element_with_few_preemptions() {
    for block in [2, 4] {
        check(test_name!(), Schedules::Pct, MAIN / 2, OUTCOMES, move |run| {
            account(run, PRODUCERS, 1, List::with_blocks(8, block, u32::MAX as u64 - 2));
        });
    }
}
