//! Who comes first: an operation that began after another had returned comes after it in the queue.

use std::rc::Rc;
use std::sync::atomic::Ordering::{Acquire, Release};

use arenaq::count::Uncounted;
use loom::sync::atomic::AtomicBool;

use crate::list::List;
use crate::model::{Model, exactly_once, join, spawn};
use crate::ring::Ring;

/// A queue, and whether the first push has returned.
struct Timed<Q> {
    queue: Rc<Q>,
    returned: AtomicBool,
}

impl<Q> Timed<Q> {
    fn new(queue: Rc<Q>) -> Rc<Self> {
        Rc::new(Timed { queue, returned: AtomicBool::new(false) })
    }
}

/// The second pushes this if the first had returned,
const LATER: u64 = 2;
/// and this if it may still have been running.
const AT_ONCE: u64 = 3;

/// What was pushed, each once, and `LATER` not before 1.
fn in_order(pushed: impl IntoIterator<Item = Option<u64>>, out: &[u64]) {
    assert!(!out.starts_with(&[LATER, 1]), "a later push overtook an earlier one");
    exactly_once(pushed.into_iter().flatten(), out.iter().copied());
}

#[test]
fn an_mpmc_push_that_began_after_another_returned_comes_later() {
    Model {
        name: "mpmc, 2 producers x 1, perhaps one after the other, 1 consumer x 1, capacity 2",
        preemption_bound: Some(3),
        at_least: 2_700,
        outcomes: &["pushed", "popped", "empty", "later", "at once"],
    }
    .check(|outcomes| {
        let timed = Timed::new(Ring::<Uncounted>::with(&[]));
        let first = spawn(&timed, outcomes, |timed, outcomes| {
            let pushed = timed.queue.push(1, outcomes);
            timed.returned.store(true, Release);
            pushed
        });
        let second = spawn(&timed, outcomes, |timed, outcomes| {
            let later = timed.returned.load(Acquire);
            outcomes.saw(if later { "later" } else { "at once" });
            timed.queue.push(if later { LATER } else { AT_ONCE }, outcomes)
        });
        let consumer = spawn(&timed, outcomes, |timed, outcomes| timed.queue.pop(outcomes));
        let pushed = join([first, second]);
        let [popped] = join([consumer]);
        in_order(pushed, &popped.into_iter().chain(timed.queue.drain()).collect::<Vec<_>>());
    });
}

#[test]
fn an_mpsc_push_that_began_after_another_returned_comes_later() {
    Model {
        name: "mpsc, 2 producers x 1, perhaps one after the other, 1 consumer x 1, room for 2",
        preemption_bound: Some(2),
        at_least: 2_000,
        outcomes: &["pushed", "push contended", "popped", "empty", "busy", "later", "at once"],
    }
    .check(|outcomes| {
        let timed = Timed::new(List::<Uncounted>::with(&[], 2));
        let first = spawn(&timed, outcomes, |timed, outcomes| {
            let pushed = timed.queue.push(1, outcomes);
            timed.returned.store(true, Release);
            pushed
        });
        let second = spawn(&timed, outcomes, |timed, outcomes| {
            let later = timed.returned.load(Acquire);
            outcomes.saw(if later { "later" } else { "at once" });
            timed.queue.push(if later { LATER } else { AT_ONCE }, outcomes)
        });
        let consumer = spawn(&timed, outcomes, |timed, outcomes| timed.queue.consume(1, outcomes));
        let pushed = join([first, second]);
        let [popped] = join([consumer]);
        in_order(pushed, &popped.into_iter().chain(timed.queue.drain()).collect::<Vec<_>>());
    });
}

#[test]
fn an_mpmc_pop_that_began_after_a_push_returned_finds_the_element() {
    Model {
        name: "mpmc, 1 producer x 1, 1 consumer x 1, perhaps after it, capacity 2",
        preemption_bound: None,
        at_least: 45,
        outcomes: &["pushed", "popped", "empty", "later", "at once"],
    }
    .check(|outcomes| {
        let timed = Timed::new(Ring::<Uncounted>::with(&[]));
        let producer = spawn(&timed, outcomes, |timed, outcomes| {
            timed.queue.push(1, outcomes);
            timed.returned.store(true, Release);
            None
        });
        let consumer = spawn(&timed, outcomes, |timed, outcomes| {
            let later = timed.returned.load(Acquire);
            outcomes.saw(if later { "later" } else { "at once" });
            let popped = timed.queue.pop(outcomes);
            assert!(popped == Some(1) || !later, "the push had returned");
            popped
        });
        let popped = join([producer, consumer]);
        timed.queue.account([1], popped.into_iter().flatten());
    });
}

#[test]
fn an_mpsc_pop_that_began_after_a_push_returned_finds_the_element() {
    Model {
        name: "mpsc, 1 producer x 1, 1 consumer x 1, perhaps after it, room for 1",
        preemption_bound: None,
        at_least: 130,
        outcomes: &["pushed", "popped", "empty", "busy", "later", "at once"],
    }
    .check(|outcomes| {
        let timed = Timed::new(List::<Uncounted>::with(&[], 1));
        let producer = spawn(&timed, outcomes, |timed, outcomes| {
            timed.queue.push(1, outcomes);
            timed.returned.store(true, Release);
            Vec::new()
        });
        let consumer = spawn(&timed, outcomes, |timed, outcomes| {
            let later = timed.returned.load(Acquire);
            outcomes.saw(if later { "later" } else { "at once" });
            let popped = timed.queue.consume(1, outcomes);
            assert!(popped == [1] || !later, "the push had returned");
            popped
        });
        let popped = join([producer, consumer]);
        timed.queue.account([1], popped.into_iter().flatten());
    });
}
