//! List and pool together, as in the arena: the consumer frees nodes, or somebody makes them, while producers
//! allocate.

use arenaq::count::Uncounted;

use crate::list::List;
use crate::model::{Model, Outcomes, join, processors, spawn};

type Plain = List<Uncounted>;

#[test]
fn a_node_that_the_consumer_frees_is_the_next_push_s_alone() {
    Model {
        name: "mpsc, 1 producer x 2, 1 consumer x 2, room for 1",
        preemption_bound: None,
        at_least: 1_800,
        outcomes: &["pushed", "exhausted", "popped", "empty", "busy"],
    }
    .check(|outcomes| {
        let list = Plain::with(&[], 1);
        let producer =
            spawn(&list, outcomes, |list, outcomes| [list.push(1, outcomes), list.push(2, outcomes)]);
        let consumer = spawn(&list, outcomes, |list, outcomes| list.consume(2, outcomes));
        let [pushed] = join([producer]);
        let [mut popped] = join([consumer]);
        popped.extend(list.drain());
        assert!(popped.is_sorted(), "first in, first out");
        assert!(popped.into_iter().eq(pushed.into_iter().flatten()), "lost, or seen twice");
    });
}

#[test]
fn two_nodes_carry_several_laps() {
    Model {
        name: "mpsc, 1 producer x 3, 1 consumer x 3, room for 1",
        preemption_bound: Some(4),
        at_least: 5_300,
        outcomes: &["pushed", "exhausted", "popped", "empty", "busy"],
    }
    .check(|outcomes| {
        let list = Plain::with(&[], 1);
        let producer = spawn(&list, outcomes, |list, outcomes| {
            (1..=3).filter_map(|value| list.push(value, outcomes)).collect::<Vec<_>>()
        });
        let consumer = spawn(&list, outcomes, |list, outcomes| list.consume(3, outcomes));
        let [pushed, mut popped] = join([producer, consumer]);
        popped.extend(list.drain());
        assert_eq!(pushed, popped, "first in, first out");
    });
}

#[test]
fn two_producers_race_for_the_node_that_the_consumer_frees() {
    Model {
        name: "mpsc, 1 left: 2 producers x 1, 1 consumer x 2, room for 1",
        preemption_bound: Some(3),
        at_least: 5_500,
        outcomes: &["pushed", "exhausted", "popped", "empty", "busy"],
    }
    .check(|outcomes| {
        let list = Plain::with(&[1], 1);
        let producers =
            [2, 3].map(|value| spawn(&list, outcomes, move |list, outcomes| list.push(value, outcomes)));
        let consumer = spawn(&list, outcomes, |list, outcomes| list.consume(2, outcomes));
        let pushed = join(producers);
        let [popped] = join([consumer]);
        list.account([1].into_iter().chain(pushed.into_iter().flatten()), popped);
    });
}

#[test]
fn the_nodes_of_a_batch_are_the_next_pushes_one_each() {
    Model {
        name: "mpsc, 2 left: 1 producer x 3, 1 consumer drains 2, then 3, room for 2",
        preemption_bound: Some(3),
        at_least: 600,
        outcomes: &["pushed", "exhausted", "1 drained", "2 drained", "empty", "busy"],
    }
    .check(|outcomes| {
        let list = Plain::with(&[1, 2], 2);
        let producer = spawn(&list, outcomes, |list, outcomes| {
            (3..=5).filter_map(|value| list.push(value, outcomes)).collect::<Vec<_>>()
        });
        let consumer = spawn(&list, outcomes, |list, outcomes| list.consume_batches([2, 3], outcomes));
        let [pushed, mut drained] = join([producer, consumer]);
        drained.extend(list.drain());
        assert!([1, 2].into_iter().chain(pushed).eq(drained), "first in, first out");
    });
}

#[test]
fn two_producers_race_for_the_nodes_of_a_batch() {
    Model {
        name: "mpsc, 2 left: 2 producers x 1, 1 consumer drains 2, room for 2",
        preemption_bound: Some(3),
        at_least: 1_050,
        outcomes: &["pushed", "exhausted", "2 drained"],
    }
    .check(|outcomes| {
        let list = Plain::with(&[1, 2], 2);
        let producers =
            [3, 4].map(|value| spawn(&list, outcomes, move |list, outcomes| list.push(value, outcomes)));
        let consumer = spawn(&list, outcomes, |list, outcomes| list.consume_batches([2], outcomes));
        let pushed = join(producers);
        let [drained] = join([consumer]);
        assert_eq!(drained, [1, 2], "nobody else consumes");
        list.account([1, 2].into_iter().chain(pushed.into_iter().flatten()), drained);
    });
}

#[test]
fn a_batch_takes_the_nodes_of_a_batch() {
    Model {
        name: "mpsc, 2 left: 1 producer x 2 at once, twice; 1 consumer drains 2, twice; room for 2",
        preemption_bound: Some(4),
        at_least: 400,
        outcomes: &["2 pushed", "exhausted", "2 drained", "empty", "busy"],
    }
    .check(|outcomes| {
        let list = Plain::with(&[1, 2], 2);
        let producer = spawn(&list, outcomes, |list, outcomes| {
            let first = list.push_many(&[3, 4], outcomes);
            [first, list.push_many(&[5, 6], outcomes)].concat()
        });
        let consumer = spawn(&list, outcomes, |list, outcomes| list.consume_batches([2, 2], outcomes));
        let [pushed, mut drained] = join([producer, consumer]);
        drained.extend(list.drain());
        assert!([1, 2].into_iter().chain(pushed).eq(drained), "first in, first out");
    });
}

#[test]
fn a_block_comes_back_when_its_nodes_are_spent() {
    Model {
        name: "mpsc, blocks of 2, 1 left: 1 producer x 3, 1 consumer x 3, room for 3",
        preemption_bound: Some(3),
        at_least: 1_800,
        outcomes: &["pushed", "exhausted", "popped", "empty", "busy"],
    }
    .check(|outcomes| {
        let list = Plain::in_blocks(2, &[1], 3, 3);
        let producer = spawn(&list, outcomes, |list, outcomes| {
            (2..=4).filter_map(|value| list.push(value, outcomes)).collect::<Vec<_>>()
        });
        let consumer = spawn(&list, outcomes, |list, outcomes| list.consume(3, outcomes));
        let [pushed, mut popped] = join([producer, consumer]);
        popped.extend(list.drain());
        assert!([1].into_iter().chain(pushed).eq(popped), "first in, first out");
    });
}

#[test]
fn two_producers_on_two_processors_share_the_last_block() {
    Model {
        name: "mpsc, blocks of 2, 1 left: 2 producers x 1, 1 consumer x 2, room for 3",
        preemption_bound: Some(2),
        at_least: 5_100,
        outcomes: &["pushed", "exhausted", "popped", "empty", "busy"],
    }
    .check(|outcomes| {
        let list = Plain::in_blocks(2, &[1], 3, 3);
        let producers =
            [2, 3].map(|value| spawn(&list, outcomes, move |list, outcomes| list.push(value, outcomes)));
        let consumer = spawn(&list, outcomes, |list, outcomes| list.consume(2, outcomes));
        let pushed = join(producers);
        let [popped] = join([consumer]);
        list.account([1].into_iter().chain(pushed.into_iter().flatten()), popped);
    });
}

#[test]
fn two_producers_of_a_processor_share_its_magazine() {
    Model {
        name: "mpsc, blocks of 2, 2 left, 1 processor: 2 producers x 1, 1 consumer x 2, room for 3",
        preemption_bound: Some(2),
        at_least: 690,
        outcomes: &["pushed", "exhausted", "popped"],
    }
    .check(|outcomes| {
        processors(1);
        let list = Plain::in_blocks(2, &[1, 2], 3, 3);
        let producers =
            [3, 4].map(|value| spawn(&list, outcomes, move |list, outcomes| list.push(value, outcomes)));
        let consumer = spawn(&list, outcomes, |list, outcomes| list.consume(2, outcomes));
        let pushed = join(producers);
        let [popped] = join([consumer]);
        list.account([1, 2].into_iter().chain(pushed.into_iter().flatten()), popped);
    });
}

#[test]
fn a_batch_of_blocks_takes_the_blocks_of_a_batch() {
    Model {
        name: "mpsc, blocks of 2, 2 left: 1 producer x 3 at once, twice; 1 consumer drains 3, twice; room for 3",
        preemption_bound: Some(3),
        at_least: 770,
        outcomes: &["1 pushed", "2 pushed", "3 pushed", "exhausted", "1 drained", "2 drained", "3 drained", "empty", "busy"],
    }
    .check(|outcomes| {
        let list = Plain::in_blocks(2, &[1, 2], 3, 3);
        let producer = spawn(&list, outcomes, |list, outcomes| {
            let first = list.push_many(&[3, 4, 5], outcomes);
            [first, list.push_many(&[6, 7, 8], outcomes)].concat()
        });
        let consumer = spawn(&list, outcomes, |list, outcomes| list.consume_batches([3, 3], outcomes));
        let [pushed, mut drained] = join([producer, consumer]);
        drained.extend(list.drain());
        assert!([1, 2].into_iter().chain(pushed).eq(drained), "first in, first out");
    });
}

/// Makes one node, and gives it to the pool at once.
fn grow(list: &Plain, outcomes: &Outcomes) {
    list.turn.take();
    // SAFETY: the memory of all nodes is there from the start.
    let mut chain = unsafe { list.pool().grow(1) }.expect("room, and no other grower");
    // SAFETY: of this pool.
    while let Err(same) = unsafe { list.pool().free_chain(chain) } {
        outcomes.saw("free contended");
        chain = same;
    }
    outcomes.saw("grown");
}

#[test]
fn a_push_uses_the_node_that_another_thread_has_just_made() {
    Model {
        name: "mpsc, 1 left: 1 producer x 2, grow, 1 consumer x 1, room for 1 of 2",
        preemption_bound: Some(3),
        at_least: 4_500,
        outcomes: &["pushed", "exhausted", "popped", "grown", "free contended"],
    }
    .check(|outcomes| {
        let list = Plain::that_grows(&[1], 1, 2);
        let producer = spawn(&list, outcomes, |list, outcomes| {
            [2, 3].into_iter().filter_map(|value| list.push(value, outcomes)).collect::<Vec<_>>()
        });
        let grower = spawn(&list, outcomes, |list, outcomes| {
            grow(list, outcomes);
            Vec::new()
        });
        let consumer = spawn(&list, outcomes, |list, outcomes| list.consume(1, outcomes));
        let [pushed, _, mut popped] = join([producer, grower, consumer]);
        popped.extend(list.drain());
        assert!([1].into_iter().chain(pushed).eq(popped), "first in, first out");
        assert_eq!(list.pool().created(), list.pool().limit());
    });
}
