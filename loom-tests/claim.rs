//! The ring with an only producer, an only consumer, or both: positions that are claimed with a store, beside
//! those that are claimed with a compare-exchange.

use std::rc::Rc;
use std::sync::atomic::Ordering::{Acquire, Release};

use arenaq::count::Uncounted;
use loom::sync::atomic::AtomicBool;

use crate::model::{Model, Outcomes, join, spawn};
use crate::ring::Ring;

type Plain = Ring<Uncounted>;

#[test]
fn elements_of_the_only_producer_reach_the_only_consumer_in_order() {
    Model {
        name: "mpmc, the only producer x 4, the only consumer x 4, capacity 2",
        preemption_bound: Some(4),
        at_least: 5_900,
        outcomes: &["pushed", "full", "popped", "empty"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[]);
        let producer = spawn(&ring, outcomes, |ring, outcomes| {
            // SAFETY: only this thread pushes, after the main thread has made the ring.
            let mut producer = unsafe { ring.queue().single_producer() };
            (1..=4).filter_map(|value| ring.push_by(&mut producer, value, outcomes)).collect::<Vec<_>>()
        });
        let consumer = spawn(&ring, outcomes, |ring, outcomes| {
            // SAFETY: only this thread pops; the main thread does when it has joined it.
            let mut consumer = unsafe { ring.queue().single_consumer() };
            (0..4).filter_map(|_| ring.pop_by(&mut consumer, outcomes)).collect::<Vec<_>>()
        });
        let [pushed, mut popped] = join([producer, consumer]);
        popped.extend(ring.drain());
        assert_eq!(pushed, popped, "first in, first out");
    });
}

#[test]
fn batches_of_the_only_producer_reach_the_only_consumer_in_order() {
    Model {
        name: "mpmc, the only producer x 3 at once and 2 at once, the only consumer drains 2, three times, capacity 2",
        preemption_bound: None,
        at_least: 1_900,
        outcomes: &["1 pushed", "2 pushed", "full", "1 drained", "2 drained", "empty"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[]);
        let producer = spawn(&ring, outcomes, |ring, outcomes| {
            // SAFETY: only this thread pushes, after the main thread has made the ring.
            let mut producer = unsafe { ring.queue().single_producer() };
            let batches: [&[u64]; 2] = [&[1, 2, 3], &[4, 5]];
            batches.map(|values| ring.push_many_by(&mut producer, values, outcomes)).concat()
        });
        let consumer = spawn(&ring, outcomes, |ring, outcomes| {
            // SAFETY: only this thread pops; the main thread does when it has joined it.
            let mut consumer = unsafe { ring.queue().single_consumer() };
            [(); 3].map(|()| ring.pop_many_by(&mut consumer, 2, outcomes)).concat()
        });
        let [pushed, mut popped] = join([producer, consumer]);
        popped.extend(ring.drain());
        assert_eq!(pushed, popped, "first in, first out");
    });
}

#[test]
fn two_producers_and_the_only_consumer_lose_nothing() {
    Model {
        name: "mpmc, 1 left: 2 producers x 1, the only consumer x 2, capacity 2",
        preemption_bound: Some(3),
        at_least: 11_800,
        outcomes: &["pushed", "full", "popped", "empty"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[1]);
        let producers =
            [2, 3].map(|value| spawn(&ring, outcomes, move |ring, outcomes| ring.push(value, outcomes)));
        let consumer = spawn(&ring, outcomes, |ring, outcomes| {
            // SAFETY: only this thread pops; the main thread does when it has joined it.
            let mut consumer = unsafe { ring.queue().single_consumer() };
            [(); 2].map(|()| ring.pop_by(&mut consumer, outcomes))
        });
        let pushed = join(producers);
        let [popped] = join([consumer]);
        assert_eq!(popped[0], Some(1), "nobody else pops");
        ring.account([1].into_iter().chain(pushed.into_iter().flatten()), popped.into_iter().flatten());
    });
}

#[test]
fn two_consumers_of_the_only_producer_never_get_the_same_element() {
    Model {
        name: "mpmc, 1 left: the only producer x 2, 2 consumers x 1, capacity 2",
        preemption_bound: Some(3),
        at_least: 11_800,
        outcomes: &["pushed", "full", "popped", "empty"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[1]);
        let consumers = [(); 2].map(|()| spawn(&ring, outcomes, Plain::pop));
        let producer = spawn(&ring, outcomes, |ring, outcomes| {
            // SAFETY: only this thread pushes, after the main thread has made the ring.
            let mut producer = unsafe { ring.queue().single_producer() };
            [2, 3].map(|value| ring.push_by(&mut producer, value, outcomes))
        });
        let popped = join(consumers);
        let [pushed] = join([producer]);
        ring.account([1].into_iter().chain(pushed.into_iter().flatten()), popped.into_iter().flatten());
    });
}

/// A ring with a side that two threads have, one after the other.
struct Shift {
    ring: Rc<Plain>,
    /// The first has ended.
    over: AtomicBool,
}

impl Shift {
    fn with(elements: &[u64]) -> Rc<Self> {
        Rc::new(Shift { ring: Plain::with(elements), over: AtomicBool::new(false) })
    }

    fn end(&self) {
        self.over.store(true, Release);
    }

    fn is_over(&self, outcomes: &Outcomes) -> bool {
        let over = self.over.load(Acquire);
        outcomes.saw(if over { "handed over" } else { "too early" });
        over
    }
}

#[test]
fn the_next_only_consumer_goes_on_where_the_last_has_ended() {
    Model {
        name: "mpmc, full: the only consumer x 1 and the next x 2, 1 producer x 2, capacity 2",
        preemption_bound: None,
        at_least: 23_600,
        outcomes: &["pushed", "full", "popped", "empty", "handed over", "too early"],
    }
    .check(|outcomes| {
        let shift = Shift::with(&[1, 2]);
        let first = spawn(&shift, outcomes, |shift, outcomes| {
            // SAFETY: only this thread pops until it says that it has ended.
            let mut consumer = unsafe { shift.ring.queue().single_consumer() };
            let popped = shift.ring.pop_by(&mut consumer, outcomes);
            shift.end();
            popped.into_iter().collect()
        });
        let next = spawn(&shift, outcomes, |shift, outcomes| {
            if !shift.is_over(outcomes) {
                return Vec::new();
            }
            // SAFETY: the only other consumer has ended, which happens before this; the main thread pops when
            // it has joined this one.
            let mut consumer = unsafe { shift.ring.queue().single_consumer() };
            (0..2).filter_map(|_| shift.ring.pop_by(&mut consumer, outcomes)).collect()
        });
        let producer = spawn(&shift, outcomes, |shift, outcomes| {
            [3, 4].into_iter().filter_map(|value| shift.ring.push(value, outcomes)).collect::<Vec<_>>()
        });
        let mut popped: Vec<_> = join([first, next]).concat();
        let [pushed] = join([producer]);
        popped.extend(shift.ring.drain());
        assert_eq!(popped, [vec![1, 2], pushed].concat(), "first in, first out");
    });
}

#[test]
fn the_next_only_producer_goes_on_where_the_last_has_ended() {
    Model {
        name: "mpmc, 1 left: the only producer x 1 and the next x 2, 1 consumer x 2, capacity 2",
        preemption_bound: None,
        at_least: 20_600,
        outcomes: &["pushed", "full", "popped", "empty", "handed over", "too early"],
    }
    .check(|outcomes| {
        let shift = Shift::with(&[1]);
        let first = spawn(&shift, outcomes, |shift, outcomes| {
            // SAFETY: only this thread pushes until it says that it has ended.
            let mut producer = unsafe { shift.ring.queue().single_producer() };
            let pushed = shift.ring.push_by(&mut producer, 2, outcomes);
            shift.end();
            pushed.into_iter().collect()
        });
        let next = spawn(&shift, outcomes, |shift, outcomes| {
            if !shift.is_over(outcomes) {
                return Vec::new();
            }
            // SAFETY: the only other producer has ended, which happens before this.
            let mut producer = unsafe { shift.ring.queue().single_producer() };
            [3, 4]
                .into_iter()
                .filter_map(|value| shift.ring.push_by(&mut producer, value, outcomes))
                .collect()
        });
        let consumer = spawn(&shift, outcomes, |shift, outcomes| {
            (0..2).filter_map(|_| shift.ring.pop(outcomes)).collect::<Vec<_>>()
        });
        let pushed = join([first, next]).concat();
        let [mut popped] = join([consumer]);
        popped.extend(shift.ring.drain());
        assert_eq!(popped, [vec![1], pushed].concat(), "first in, first out");
    });
}
