//! The ring: what producers and consumers do to each other.

use std::rc::Rc;

use arenaq::count::Uncounted;
use arenaq::mpmc::Capacity;

use crate::model::{Model, exactly_once, join, spawn};
use crate::ring::Ring;

type Plain = Ring<Uncounted>;

#[test]
fn two_producers_and_a_consumer_lose_nothing() {
    Model {
        name: "mpmc, 2 producers x 1, 1 consumer x 2, capacity 2",
        preemption_bound: None,
        at_least: 130_000,
        outcomes: &["pushed", "popped", "empty"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[]);
        let producers =
            [1, 2].map(|value| spawn(&ring, outcomes, move |ring, outcomes| ring.push(value, outcomes)));
        let consumer = spawn(&ring, outcomes, |ring, outcomes| [ring.pop(outcomes), ring.pop(outcomes)]);
        let pushed = join(producers);
        let [popped] = join([consumer]);
        ring.account(pushed.into_iter().flatten(), popped.into_iter().flatten());
    });
}

#[test]
fn two_producers_and_two_consumers_lose_nothing() {
    Model {
        name: "mpmc, 2 producers x 1, 2 consumers x 1, capacity 2",
        preemption_bound: Some(2),
        at_least: 10_000,
        outcomes: &["pushed", "popped", "empty"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[]);
        let producers =
            [1, 2].map(|value| spawn(&ring, outcomes, move |ring, outcomes| ring.push(value, outcomes)));
        let consumers = [(); 2].map(|()| spawn(&ring, outcomes, Plain::pop));
        let pushed = join(producers);
        let popped = join(consumers);
        ring.account(pushed.into_iter().flatten(), popped.into_iter().flatten());
    });
}

#[test]
fn a_cell_is_not_overwritten_before_it_is_read() {
    Model {
        name: "mpmc, full: 1 producer x 2, 1 consumer x 2, capacity 2",
        preemption_bound: None,
        at_least: 93,
        outcomes: &["pushed", "full", "popped"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[1, 2]);
        let producer =
            spawn(&ring, outcomes, |ring, outcomes| [ring.push(3, outcomes), ring.push(4, outcomes)]);
        let consumer = spawn(&ring, outcomes, |ring, outcomes| [ring.pop(outcomes), ring.pop(outcomes)]);
        let [pushed] = join([producer]);
        let [popped] = join([consumer]);
        assert_eq!(popped, [Some(1), Some(2)], "first in, first out");
        ring.account([1, 2].into_iter().chain(pushed.into_iter().flatten()), popped.into_iter().flatten());
    });
}

#[test]
fn two_producers_race_for_the_cell_that_the_consumer_frees() {
    Model {
        name: "mpmc, full: 2 producers x 1, 1 consumer x 1, capacity 2",
        preemption_bound: None,
        at_least: 6_800,
        outcomes: &["pushed", "full", "popped"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[1, 2]);
        let producers =
            [3, 4].map(|value| spawn(&ring, outcomes, move |ring, outcomes| ring.push(value, outcomes)));
        let consumer = spawn(&ring, outcomes, Plain::pop);
        let pushed = join(producers);
        let [popped] = join([consumer]);
        assert_eq!(popped, Some(1), "nobody else pops");
        assert!(pushed.iter().flatten().count() <= 1, "one cell, two owners");
        ring.account([1, 2].into_iter().chain(pushed.into_iter().flatten()), popped);
    });
}

#[test]
fn two_consumers_never_get_the_same_element() {
    Model {
        name: "mpmc, 1 left: 1 producer x 1, 2 consumers x 1, capacity 2",
        preemption_bound: None,
        at_least: 26_000,
        outcomes: &["pushed", "popped", "empty"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[1]);
        let consumers = [(); 2].map(|()| spawn(&ring, outcomes, Plain::pop));
        let producer = spawn(&ring, outcomes, |ring, outcomes| ring.push(2, outcomes));
        let popped = join(consumers);
        let [pushed] = join([producer]);
        ring.account([1].into_iter().chain(pushed), popped.into_iter().flatten());
    });
}

#[test]
fn elements_keep_their_order_for_several_laps() {
    Model {
        name: "mpmc, 1 producer x 4, 1 consumer x 4, capacity 2",
        preemption_bound: Some(4),
        at_least: 5_900,
        outcomes: &["pushed", "full", "popped", "empty"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[]);
        let producer = spawn(&ring, outcomes, |ring, outcomes| {
            (1..=4).filter_map(|value| ring.push(value, outcomes)).collect::<Vec<_>>()
        });
        let consumer = spawn(&ring, outcomes, |ring, outcomes| {
            (0..4).filter_map(|_| ring.pop(outcomes)).collect::<Vec<_>>()
        });
        let [pushed, mut popped] = join([producer, consumer]);
        popped.extend(ring.drain());
        assert_eq!(pushed, popped, "first in, first out");
    });
}

#[test]
fn a_push_that_loses_every_race_gives_up_and_leaves_nothing() {
    Model {
        name: "mpmc, 1 producer x 1 against 1 x 2, capacity 2",
        preemption_bound: None,
        at_least: 540,
        outcomes: &["pushed", "full", "push contended"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[]);
        let one = spawn(&ring, outcomes, |ring, outcomes| vec![ring.push(1, outcomes)]);
        let two =
            spawn(&ring, outcomes, |ring, outcomes| vec![ring.push(2, outcomes), ring.push(3, outcomes)]);
        let pushed = join([one, two]);
        let left = ring.drain();
        let of_two: Vec<_> = left.iter().copied().filter(|value| *value != 1).collect();
        assert!(of_two.is_sorted(), "the elements of one producer in its order");
        assert_eq!(left.len(), 2, "three pushes, of which one finds no room or no chance");
        exactly_once(pushed.into_iter().flatten().flatten(), left);
    });
}

#[test]
fn a_pop_that_loses_every_race_gives_up_and_takes_nothing() {
    Model {
        name: "mpmc, full: 1 consumer x 1 against 1 x 2, capacity 2",
        preemption_bound: None,
        at_least: 540,
        outcomes: &["popped", "empty", "pop contended"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[1, 2]);
        let one = spawn(&ring, outcomes, |ring, outcomes| vec![ring.pop(outcomes)]);
        let two = spawn(&ring, outcomes, |ring, outcomes| vec![ring.pop(outcomes), ring.pop(outcomes)]);
        let popped = join([one, two]);
        assert!(popped[1].iter().flatten().is_sorted(), "first in, first out");
        ring.account([1, 2], popped.into_iter().flatten().flatten());
    });
}

#[test]
fn every_capacity_holds_what_it_says_and_not_one_element_more() {
    Model {
        name: "mpmc, every capacity up to 4, full: 1 producer x 1, 1 consumer x 1",
        preemption_bound: None,
        at_least: 97,
        outcomes: &["pushed", "full", "popped"],
    }
    .check(|outcomes| {
        let rings: Vec<_> = (1..=4)
            .filter_map(|cells| Capacity::new(cells).ok())
            .map(|capacity| {
                let elements: Vec<_> = (1..=capacity.get()).collect();
                let ring = Plain::of(capacity, &elements);
                assert_eq!(ring.push(capacity.get() + 1, outcomes), None, "more than {capacity:?}");
                assert_eq!(ring.queue().len(), capacity.get());
                (ring, elements)
            })
            .collect();
        let rings = Rc::new(rings);
        let producer = spawn(&rings, outcomes, |rings, outcomes| {
            rings.iter().map(|(ring, _)| ring.push(9, outcomes)).collect::<Vec<_>>()
        });
        let consumer = spawn(&rings, outcomes, |rings, outcomes| {
            rings.iter().map(|(ring, _)| ring.pop(outcomes)).collect::<Vec<_>>()
        });
        let [pushed, popped] = join([producer, consumer]);
        for (((ring, elements), pushed), popped) in rings.iter().zip(pushed).zip(popped) {
            let out: Vec<_> = popped.into_iter().chain(ring.drain()).collect();
            let expected: Vec<_> = elements.iter().copied().chain(pushed).collect();
            assert_eq!(out, expected, "first in, first out");
        }
    });
}

#[test]
fn batches_keep_the_order_for_several_laps() {
    Model {
        name: "mpmc, 1 producer x 3 at once and 2 at once, 1 consumer drains 2, three times, capacity 2",
        preemption_bound: None,
        at_least: 1_900,
        outcomes: &["1 pushed", "2 pushed", "full", "1 drained", "2 drained", "empty"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[]);
        let producer = spawn(&ring, outcomes, |ring, outcomes| {
            let first = ring.push_many(&[1, 2, 3], outcomes);
            [first, ring.push_many(&[4, 5], outcomes)].concat()
        });
        let consumer =
            spawn(&ring, outcomes, |ring, outcomes| [(); 3].map(|()| ring.pop_many(2, outcomes)).concat());
        let [pushed, mut popped] = join([producer, consumer]);
        popped.extend(ring.drain());
        assert_eq!(pushed, popped, "first in, first out");
    });
}

#[test]
fn who_finds_the_first_of_a_batch_finds_all_of_it() {
    Model {
        name: "mpmc, 1 producer x 2 at once, 1 consumer drains 2, twice, capacity 2",
        preemption_bound: None,
        at_least: 36,
        outcomes: &["2 pushed", "2 drained", "empty"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[]);
        let producer = spawn(&ring, outcomes, |ring, outcomes| ring.push_many(&[1, 2], outcomes));
        let consumer = spawn(&ring, outcomes, |ring, outcomes| [(); 2].map(|()| ring.pop_many(2, outcomes)));
        let [pushed] = join([producer]);
        let [popped] = join([consumer]);
        for batch in &popped {
            assert!(batch.is_empty() || *batch == [1, 2], "all or nothing: {batch:?}");
        }
        ring.account(pushed, popped.concat());
    });
}

#[test]
fn a_cell_that_a_batch_frees_is_one_producer_s() {
    Model {
        name: "mpmc, full: 2 producers x 2 at once, 1 consumer drains 2, capacity 2",
        preemption_bound: Some(3),
        at_least: 4_900,
        outcomes: &["1 pushed", "2 pushed", "full", "2 drained"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[1, 2]);
        let producers = [[3, 4], [5, 6]]
            .map(|values| spawn(&ring, outcomes, move |ring, outcomes| ring.push_many(&values, outcomes)));
        let consumer = spawn(&ring, outcomes, |ring, outcomes| ring.pop_many(2, outcomes));
        let pushed = join(producers).concat();
        let [popped] = join([consumer]);
        assert_eq!(popped, [1, 2], "nobody else pops");
        ring.account([1, 2].into_iter().chain(pushed), popped);
    });
}

#[test]
fn a_batch_and_a_single_operation_share_no_cell() {
    Model {
        name: "mpmc, full: 1 consumer x 1, 1 drains 2; 1 producer x 1, capacity 2",
        preemption_bound: Some(3),
        at_least: 4_600,
        outcomes: &["pushed", "full", "popped", "empty", "1 drained", "2 drained"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[1, 2]);
        let single = spawn(&ring, outcomes, |ring, outcomes| ring.pop(outcomes).into_iter().collect());
        let batch = spawn(&ring, outcomes, |ring, outcomes| ring.pop_many(2, outcomes));
        let producer = spawn(&ring, outcomes, |ring, outcomes| ring.push(3, outcomes));
        let popped = join([single, batch]).concat();
        let [pushed] = join([producer]);
        ring.account([1, 2].into_iter().chain(pushed), popped);
    });
}

#[test]
fn a_batch_of_pushes_and_a_push_share_no_cell() {
    Model {
        name: "mpmc, 1 producer x 1, 1 x 2 at once; 1 consumer x 1, capacity 2",
        preemption_bound: Some(3),
        at_least: 2_500,
        outcomes: &["pushed", "full", "1 pushed", "2 pushed", "popped", "empty"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[]);
        let single = spawn(&ring, outcomes, |ring, outcomes| ring.push(1, outcomes).into_iter().collect());
        let batch = spawn(&ring, outcomes, |ring, outcomes| ring.push_many(&[2, 3], outcomes));
        let consumer = spawn(&ring, outcomes, Plain::pop);
        let pushed = join([single, batch]).concat();
        let [popped] = join([consumer]);
        let all: Vec<_> = popped.into_iter().chain(ring.drain()).collect();
        if pushed.contains(&3) {
            assert!(all.windows(2).any(|pair| pair == [2, 3]), "next to each other: {all:?}");
        }
        exactly_once(pushed, all);
    });
}

#[test]
fn a_batch_of_pushes_that_loses_every_race_gives_up_and_leaves_nothing() {
    Model {
        name: "mpmc, 1 producer x 1 at once against 1 x 2, capacity 2",
        preemption_bound: None,
        at_least: 540,
        outcomes: &["pushed", "1 pushed", "full", "push contended"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[]);
        let one = spawn(&ring, outcomes, |ring, outcomes| ring.push_many(&[1], outcomes));
        let two = spawn(&ring, outcomes, |ring, outcomes| {
            [2, 3].into_iter().filter_map(|value| ring.push(value, outcomes)).collect()
        });
        ring.account(join([one, two]).concat(), []);
    });
}

#[test]
fn a_drain_that_loses_every_race_gives_up_and_takes_nothing() {
    Model {
        name: "mpmc, full: 1 consumer drains 1 against 1 x 2, capacity 2",
        preemption_bound: None,
        at_least: 540,
        outcomes: &["popped", "1 drained", "empty", "pop contended"],
    }
    .check(|outcomes| {
        let ring = Plain::with(&[1, 2]);
        let one = spawn(&ring, outcomes, |ring, outcomes| ring.pop_many(1, outcomes));
        let two =
            spawn(&ring, outcomes, |ring, outcomes| (0..2).filter_map(|_| ring.pop(outcomes)).collect());
        ring.account([1, 2], join([one, two]).concat());
    });
}
