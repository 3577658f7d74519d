//! The counter: approximate while operations run, never absurd, exact in the end.

use arenaq::count::Counted;

use crate::list::List;
use crate::model::{Model, Outcomes, join, spawn};
use crate::ring::Ring;

/// A reading of the counter of a queue that never has more than two elements.
fn read(count: u64, outcomes: &Outcomes) {
    outcomes.saw(match count {
        0 => "count 0",
        1 => "count 1",
        2 => "count 2",
        more => panic!("a count of {more}, and there were never more than 2"),
    });
}

#[test]
fn the_mpmc_counter_is_never_absurd_and_ends_exact() {
    Model {
        name: "mpmc, counted, 1 left: 1 producer x 1, 1 consumer x 2, 1 reader, capacity 2",
        preemption_bound: Some(3),
        at_least: 5_300,
        outcomes: &["pushed", "popped", "empty", "count 0", "count 1", "count 2"],
    }
    .check(|outcomes| {
        let ring = Ring::<Counted>::with(&[1]);
        let producer =
            spawn(&ring, outcomes, |ring, outcomes| ring.push(2, outcomes).into_iter().collect::<Vec<_>>());
        let consumer = spawn(&ring, outcomes, |ring, outcomes| {
            (0..2).filter_map(|_| ring.pop(outcomes)).collect::<Vec<_>>()
        });
        let reader = spawn(&ring, outcomes, |ring, outcomes| {
            ring.turn.take();
            read(ring.queue().count(), outcomes);
            Vec::new()
        });
        let [pushed, popped, _] = join([producer, consumer, reader]);
        assert_eq!(ring.queue().count(), 1 + pushed.len() as u64 - popped.len() as u64, "exact in the end");
        ring.account([1].into_iter().chain(pushed), popped);
        assert_eq!(ring.queue().count(), 0);
    });
}

#[test]
fn the_mpsc_counter_is_never_absurd_and_ends_exact() {
    Model {
        name: "mpsc, counted, 1 left: 1 producer x 1, 1 consumer x 2, 1 reader, room for 2",
        preemption_bound: Some(3),
        at_least: 22_000,
        outcomes: &["pushed", "popped", "empty", "busy", "count 0", "count 1", "count 2"],
    }
    .check(|outcomes| {
        let list = List::<Counted>::with(&[1], 2);
        let producer =
            spawn(&list, outcomes, |list, outcomes| list.push(2, outcomes).into_iter().collect::<Vec<_>>());
        let consumer = spawn(&list, outcomes, |list, outcomes| list.consume(2, outcomes));
        let reader = spawn(&list, outcomes, |list, outcomes| {
            list.turn.take();
            read(list.head.count(), outcomes);
            Vec::new()
        });
        let [pushed, popped, _] = join([producer, consumer, reader]);
        assert_eq!(list.head.count(), 1 + pushed.len() as u64 - popped.len() as u64, "exact in the end");
        list.account([1].into_iter().chain(pushed), popped);
        assert_eq!(list.head.count(), 0);
    });
}

#[test]
fn a_batch_leaves_the_mpsc_counter_exact() {
    Model {
        name: "mpsc, counted, 1 left: 1 producer x 1, 1 consumer drains 2, room for 2",
        preemption_bound: None,
        at_least: 180,
        outcomes: &["pushed", "1 drained", "2 drained"],
    }
    .check(|outcomes| {
        let list = List::<Counted>::with(&[1], 2);
        let producer = spawn(&list, outcomes, |list, outcomes| list.push(2, outcomes));
        let consumer = spawn(&list, outcomes, |list, outcomes| list.consume_batches([2], outcomes));
        let [pushed] = join([producer]);
        let [drained] = join([consumer]);
        assert_eq!(list.head.count(), 2 - drained.len() as u64, "exact in the end");
        list.account([1].into_iter().chain(pushed), drained);
        assert_eq!(list.head.count(), 0);
    });
}

#[test]
fn batches_leave_the_mpmc_counter_exact() {
    Model {
        name: "mpmc, counted, 1 left: 1 producer x 2 at once, 1 consumer drains 2, capacity 2",
        preemption_bound: None,
        at_least: 67,
        outcomes: &["1 pushed", "2 pushed", "1 drained", "2 drained"],
    }
    .check(|outcomes| {
        let ring = Ring::<Counted>::with(&[1]);
        let producer = spawn(&ring, outcomes, |ring, outcomes| ring.push_many(&[2, 3], outcomes));
        let consumer = spawn(&ring, outcomes, |ring, outcomes| ring.pop_many(2, outcomes));
        let [pushed, drained] = join([producer, consumer]);
        assert_eq!(ring.queue().count(), 1 + pushed.len() as u64 - drained.len() as u64, "exact in the end");
        ring.account([1].into_iter().chain(pushed), drained);
    });
}
