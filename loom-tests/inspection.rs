//! Those who only look, while others go on.

use arenaq::count::Uncounted;

use crate::list::List;
use crate::model::{Model, Outcomes, join, spawn};
use crate::ring::Ring;

#[test]
fn an_mpmc_ring_is_sound_at_every_moment() {
    Model {
        name: "mpmc, 1 left: 1 producer x 2, 1 consumer x 2, verify and len, capacity 2",
        preemption_bound: Some(2),
        at_least: 9_500,
        outcomes: &["pushed", "full", "popped", "empty", "length 0", "length 1", "length 2"],
    }
    .check(|outcomes| {
        let ring = Ring::<Uncounted>::with(&[1]);
        let producer = spawn(&ring, outcomes, |ring, outcomes| {
            [2, 3].into_iter().filter_map(|value| ring.push(value, outcomes)).collect::<Vec<_>>()
        });
        let consumer = spawn(&ring, outcomes, |ring, outcomes| {
            (0..2).filter_map(|_| ring.pop(outcomes)).collect::<Vec<_>>()
        });
        let observer = spawn(&ring, outcomes, |ring, outcomes| {
            ring.turn.take();
            ring.queue().verify().expect("a sound ring, whatever goes on");
            outcomes.saw(match ring.queue().len() {
                0 => "length 0",
                1 => "length 1",
                2 => "length 2",
                more => panic!("{more} elements in a ring of 2"),
            });
            Vec::new()
        });
        let [pushed, popped, _] = join([producer, consumer, observer]);
        let out: Vec<_> = popped.into_iter().chain(ring.drain()).collect();
        assert!([1].into_iter().chain(pushed).eq(out), "first in, first out");
    });
}

/// Says what a search saw, of which the last is the one that it was after.
fn saw(seen: &[u64], outcomes: &Outcomes) {
    outcomes.saw(match seen {
        [] => "none seen",
        [1] => "first seen",
        [2] => "second seen alone",
        [1, 2] => "both seen",
        other => panic!("{other:?}"),
    });
}

#[test]
fn an_mpmc_search_sees_published_elements_only() {
    Model {
        name: "mpmc, 1 producer x 2, search, capacity 2",
        preemption_bound: None,
        at_least: 370,
        outcomes: &["pushed", "none seen", "first seen", "both seen", "second seen alone"],
    }
    .check(|outcomes| {
        let ring = Ring::<Uncounted>::with(&[]);
        let producer = spawn(&ring, outcomes, |ring, outcomes| {
            ring.push(1, outcomes);
            ring.push(2, outcomes);
        });
        let searcher = spawn(&ring, outcomes, |ring, outcomes| {
            ring.turn.take();
            let mut seen = Vec::new();
            // SAFETY: no pop runs.
            let found = unsafe {
                ring.queue().search(|value| {
                    seen.push(*value);
                    *value == 2
                })
            }
            .expect("a sound ring");
            assert_eq!(found.is_some(), seen.contains(&2), "found what was seen");
            saw(&seen, outcomes);
        });
        join([producer, searcher]);
        assert_eq!(ring.drain(), [1, 2], "a search takes nothing");
    });
}

#[test]
fn an_mpmc_search_goes_on_beside_two_producers() {
    Model {
        name: "mpmc, 2 producers x 1, search, capacity 2",
        preemption_bound: Some(2),
        at_least: 500,
        outcomes: &["pushed", "found", "not found"],
    }
    .check(|outcomes| {
        let ring = Ring::<Uncounted>::with(&[]);
        let producers = [1, 2].map(|value| {
            spawn(&ring, outcomes, move |ring, outcomes| {
                ring.push(value, outcomes);
            })
        });
        let searcher = spawn(&ring, outcomes, |ring, outcomes| {
            ring.turn.take();
            // SAFETY: no pop runs.
            let found = unsafe { ring.queue().search(|value| *value == 2) }.expect("a sound ring");
            outcomes.saw(if found.is_some() { "found" } else { "not found" });
        });
        join(producers);
        join([searcher]);
        ring.account([1, 2], []);
    });
}

#[test]
fn an_mpsc_list_is_sound_while_a_producer_goes_on() {
    Model {
        name: "mpsc, 1 producer x 2, the consumer verifies, searches and counts, room for 2",
        preemption_bound: None,
        at_least: 12_500,
        outcomes: &["pushed", "none seen", "first seen", "both seen", "length 0", "length 1", "length 2"],
    }
    .check(|outcomes| {
        let list = List::<Uncounted>::with(&[], 2);
        let producer = spawn(&list, outcomes, |list, outcomes| {
            list.push(1, outcomes);
            list.push(2, outcomes);
        });
        let observer = spawn(&list, outcomes, |list, outcomes| {
            let consumer = list.consumer();
            list.turn.take();
            consumer.verify().expect("a sound list, whatever goes on");
            list.turn.take();
            let mut seen = Vec::new();
            let found = consumer.search(|value| {
                seen.push(*value);
                *value == 2
            });
            assert_eq!(found.is_some(), seen.contains(&2), "found what was seen");
            saw(&seen, outcomes);
            list.turn.take();
            let length = consumer.len();
            assert!(length >= seen.len() as u64, "what is linked stays so");
            outcomes.saw(match length {
                0 => "length 0",
                1 => "length 1",
                2 => "length 2",
                more => panic!("{more} elements of 2"),
            });
        });
        join([producer, observer]);
        assert_eq!(list.drain(), [1, 2], "a search takes nothing");
    });
}

#[test]
fn an_mpsc_search_goes_on_beside_two_producers() {
    Model {
        name: "mpsc, 2 producers x 1, the consumer searches and pops, room for 2",
        preemption_bound: Some(2),
        at_least: 2_400,
        outcomes: &["pushed", "push contended", "found", "not found", "popped", "empty", "busy"],
    }
    .check(|outcomes| {
        let list = List::<Uncounted>::with(&[], 2);
        let producers =
            [1, 2].map(|value| spawn(&list, outcomes, move |list, outcomes| list.push(value, outcomes)));
        let consumer = spawn(&list, outcomes, |list, outcomes| {
            list.turn.take();
            let first = list.consumer().search(|_| true);
            outcomes.saw(if first.is_some() { "found" } else { "not found" });
            let popped = list.consume(1, outcomes);
            assert!(first.is_none() || first == popped.first().copied(), "what was first stays first");
            popped
        });
        let pushed = join(producers);
        let [popped] = join([consumer]);
        list.account(pushed.into_iter().flatten(), popped);
    });
}
