//! The list: producers and the consumer, with a node for every push.

use std::rc::Rc;

use arenaq::PushError;
use arenaq::count::Uncounted;
use arenaq::mpsc::Head;

use crate::list::List;
use crate::model::{self, Loom, Model, exactly_once, join, spawn};

type Plain = List<Uncounted>;

#[test]
fn a_producer_and_the_consumer_keep_the_order() {
    Model {
        name: "mpsc, 1 producer x 2, 1 consumer x 2, room for 2",
        preemption_bound: None,
        at_least: 8_800,
        outcomes: &["pushed", "popped", "empty", "busy"],
    }
    .check(|outcomes| {
        let list = Plain::with(&[], 2);
        let producer =
            spawn(&list, outcomes, |list, outcomes| [list.push(1, outcomes), list.push(2, outcomes)]);
        let consumer = spawn(&list, outcomes, |list, outcomes| list.consume(2, outcomes));
        let [pushed] = join([producer]);
        let [mut popped] = join([consumer]);
        assert_eq!(pushed, [Some(1), Some(2)], "a node for each");
        popped.extend(list.drain());
        assert_eq!(popped, [1, 2], "first in, first out");
    });
}

#[test]
fn two_producers_link_each_other_s_nodes() {
    Model {
        name: "mpsc, 2 producers x 1, room for 2",
        preemption_bound: None,
        at_least: 57,
        outcomes: &["pushed"],
    }
    .check(|outcomes| {
        let list = Plain::with(&[], 2);
        let producers =
            [1, 2].map(|value| spawn(&list, outcomes, move |list, outcomes| list.push(value, outcomes)));
        let pushed = join(producers);
        list.account(pushed.into_iter().flatten(), []);
    });
}

#[test]
fn two_producers_and_one_pop_lose_nothing() {
    Model {
        name: "mpsc, 2 producers x 1, 1 consumer x 1, room for 2",
        preemption_bound: None,
        at_least: 64_000,
        outcomes: &["pushed", "push contended", "popped", "empty", "busy"],
    }
    .check(|outcomes| {
        let list = Plain::with(&[], 2);
        let producers =
            [1, 2].map(|value| spawn(&list, outcomes, move |list, outcomes| list.push(value, outcomes)));
        let consumer = spawn(&list, outcomes, Plain::consume_out_of_turn);
        let pushed = join(producers);
        let [popped] = join([consumer]);
        list.account(pushed.into_iter().flatten(), popped);
    });
}

#[test]
fn two_producers_and_a_consumer_lose_nothing() {
    Model {
        name: "mpsc, 2 producers x 1, 1 consumer x 2, room for 2",
        preemption_bound: Some(2),
        at_least: 5_500,
        outcomes: &["pushed", "push contended", "popped", "empty", "busy"],
    }
    .check(|outcomes| {
        let list = Plain::with(&[], 2);
        let producers =
            [1, 2].map(|value| spawn(&list, outcomes, move |list, outcomes| list.push(value, outcomes)));
        let consumer = spawn(&list, outcomes, |list, outcomes| list.consume(2, outcomes));
        let pushed = join(producers);
        let [popped] = join([consumer]);
        list.account(pushed.into_iter().flatten(), popped);
    });
}

#[test]
fn a_batch_keeps_the_order_and_ends_where_the_list_does() {
    Model {
        name: "mpsc, 1 producer x 3, 1 consumer drains 2, then 3, room for 3",
        preemption_bound: Some(3),
        at_least: 6_200,
        outcomes: &["pushed", "push contended", "1 drained", "2 drained", "3 drained", "empty", "busy"],
    }
    .check(|outcomes| {
        let list = Plain::with(&[], 3);
        let producer = spawn(&list, outcomes, |list, outcomes| {
            (1..=3).filter_map(|value| list.push(value, outcomes)).collect::<Vec<_>>()
        });
        let consumer = spawn(&list, outcomes, |list, outcomes| list.consume_batches([2, 3], outcomes));
        let [pushed, mut drained] = join([producer, consumer]);
        drained.extend(list.drain());
        assert_eq!(drained, pushed, "first in, first out");
    });
}

#[test]
fn a_batch_stops_at_a_link_that_is_missing() {
    Model {
        name: "mpsc, 1 left: 2 producers x 1, 1 consumer drains 3, room for 3",
        preemption_bound: Some(2),
        at_least: 2_100,
        outcomes: &["pushed", "push contended", "1 drained", "2 drained", "3 drained"],
    }
    .check(|outcomes| {
        let list = Plain::with(&[1], 3);
        let producers =
            [2, 3].map(|value| spawn(&list, outcomes, move |list, outcomes| list.push(value, outcomes)));
        let consumer = spawn(&list, outcomes, |list, outcomes| list.consume_batches([3], outcomes));
        let pushed = join(producers);
        let [drained] = join([consumer]);
        assert_eq!(drained[0], 1, "the oldest first");
        list.account([1].into_iter().chain(pushed.into_iter().flatten()), drained);
    });
}

#[test]
fn a_batch_stays_together() {
    Model {
        name: "mpsc, 1 producer x 2 at once, 1 producer x 1, 1 consumer x 1, room for 3",
        preemption_bound: Some(3),
        at_least: 9_000,
        outcomes: &["pushed", "push contended", "1 pushed", "2 pushed", "popped", "empty", "busy"],
    }
    .check(|outcomes| {
        let list = Plain::with(&[], 3);
        let batch = spawn(&list, outcomes, |list, outcomes| list.push_many(&[1, 2], outcomes));
        let single = spawn(&list, outcomes, |list, outcomes| list.push(3, outcomes).into_iter().collect());
        let consumer = spawn(&list, outcomes, Plain::consume_out_of_turn);
        let pushed = join([batch, single]).concat();
        let [popped] = join([consumer]);
        let all: Vec<_> = popped.into_iter().chain(list.drain()).collect();
        if pushed.contains(&2) {
            assert!(all.windows(2).any(|pair| pair == [1, 2]), "next to each other: {all:?}");
        }
        exactly_once(pushed, all);
    });
}

#[test]
fn two_batches_link_each_other_s_nodes() {
    Model {
        name: "mpsc, blocks of 2, 2 producers x 2 at once, room for 5",
        preemption_bound: None,
        at_least: 57,
        outcomes: &["2 pushed"],
    }
    .check(|outcomes| {
        // A block for each, so that neither has to do with less.
        let list = Plain::in_blocks(2, &[], 5, 5);
        let producers = [[1, 2], [3, 4]]
            .map(|values| spawn(&list, outcomes, move |list, outcomes| list.push_many(&values, outcomes)));
        let pushed = join(producers);
        let left = list.drain();
        assert!(left == [1, 2, 3, 4] || left == [3, 4, 1, 2], "each in one piece: {left:?}");
        exactly_once(pushed.concat(), left);
    });
}

#[test]
fn a_queue_that_was_never_made_refuses_every_push_and_changes_nothing() {
    Model {
        name: "mpsc, a queue that was never made: 2 producers x 1; the pool serves another one: 2 producers x 1",
        preemption_bound: None,
        at_least: 108,
        outcomes: &["invalid", "pushed"],
    }
    .check(|outcomes| {
        let list = Plain::with(&[], 2);
        let never = Rc::new(Head::<Loom, u64, Uncounted>::empty());
        let producers = [1, 2].map(|value| {
            let never = never.clone();
            spawn(&list, outcomes, move |list, outcomes| {
                let refused = model::push("mpsc.push", || {
                    never.list(list.pool()).ok_or(PushError::Invalid)?.push(value)
                });
                assert_eq!(refused, Err(PushError::Invalid), "it was never made");
                outcomes.saw("invalid");
                list.push(value, outcomes)
            })
        });
        let pushed = join(producers);
        list.account(pushed.into_iter().flatten(), []);
    });
}
