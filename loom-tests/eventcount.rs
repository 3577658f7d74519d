//! Consumers that sleep: a wakeup that is lost leaves a thread that nobody wakes, which loom reports as a
//! deadlock.

use std::rc::Rc;

use arenaq::PopError;
use arenaq::count::Uncounted;
use arenaq::eventcount::{EventCount, Ticket};
use arenaq::mpsc::Consumer;
use arenaq::ordering::Ordering::Relaxed;
use arenaq::ordering::{CompareExchange, Field, Load, Site};
use arenaq::platform::{Platform, Word};
use loom::sync::Notify;

use crate::least::Least;
use crate::list::List;
use crate::model::{self, Loom, Model, Outcomes, Turn, join, spawn};
use crate::ring::Ring;

/// A queue, the event count on which its consumers sleep, and what they sleep on.
struct Waking<Q, P: Platform> {
    queue: Rc<Q>,
    events: EventCount<P>,
    /// One for each consumer. It stays rung until somebody has waited for it, as a record in a ring buffer
    /// stays, and it may end a wait without a reason.
    doorbells: Vec<Notify>,
    turn: Turn,
}

impl<Q, P: Platform> Waking<Q, P> {
    fn new(queue: Rc<Q>, sleepers: usize) -> Rc<Self> {
        let doorbells = (0..sleepers).map(|_| Notify::new()).collect();
        Rc::new(Waking { queue, events: EventCount::empty(), doorbells, turn: Turn::new() })
    }

    /// What a producer does after a push that has succeeded.
    fn ring(&self, outcomes: &Outcomes) {
        self.turn.take();
        if model::must_notify(&self.events) {
            outcomes.saw("rung");
            self.doorbells.iter().for_each(Notify::notify);
        } else {
            outcomes.saw("not rung");
        }
    }

    fn prepare(&self) -> Option<Ticket> {
        self.turn.take();
        model::prepare(&self.events)
    }

    fn cancel(&self, ticket: Ticket, outcomes: &Outcomes) {
        self.turn.take();
        let in_time = model::cancel(&self.events, ticket);
        outcomes.saw(if in_time { "withdrawn" } else { "withdrawn too late" });
    }

    fn sleep(&self, sleeper: usize, ticket: &Ticket, outcomes: &Outcomes) {
        while !self.events.is_notified(ticket) {
            outcomes.saw("slept");
            self.doorbells[sleeper].wait();
        }
    }
}

type Listing<P> = Waking<List<Uncounted, P>, P>;

impl<P: Platform> Listing<P> {
    fn push(&self, value: u64, outcomes: &Outcomes) {
        while self.queue.push(value, outcomes).is_none() {
            loom::thread::yield_now();
        }
        self.ring(outcomes);
    }

    /// Pops so many elements, and sleeps whenever there is none.
    fn consume(&self, elements: usize, outcomes: &Outcomes) -> Vec<u64> {
        let mut consumer = self.queue.consumer();
        let mut popped = Vec::new();
        while popped.len() < elements {
            match self.pop(&mut consumer, outcomes) {
                Ok(value) => popped.push(value),
                Err(PopError::Empty) => {
                    let Some(ticket) = self.prepare() else { continue };
                    match self.pop(&mut consumer, outcomes) {
                        Ok(value) => {
                            popped.push(value);
                            self.cancel(ticket, outcomes);
                        }
                        Err(PopError::Empty) => self.sleep(0, &ticket, outcomes),
                        Err(_) => {
                            self.cancel(ticket, outcomes);
                            loom::thread::yield_now();
                        }
                    }
                }
                Err(_) => loom::thread::yield_now(),
            }
        }
        popped
    }

    /// Pops one element, and sleeps when there is none, as a consumer that looks without a pop before it sleeps.
    fn look_and_consume(&self, outcomes: &Outcomes) -> u64 {
        let mut consumer = self.queue.consumer();
        loop {
            match self.pop(&mut consumer, outcomes) {
                Ok(value) => return value,
                Err(PopError::Empty) => {}
                Err(_) => {
                    loom::thread::yield_now();
                    continue;
                }
            }
            let Some(ticket) = self.prepare() else { continue };
            self.turn.take();
            if consumer.is_drained() {
                self.sleep(0, &ticket, outcomes);
            } else {
                self.cancel(ticket, outcomes);
                loom::thread::yield_now();
            }
        }
    }

    fn pop(
        &self,
        consumer: &mut Consumer<'_, P, u64, Uncounted>,
        outcomes: &Outcomes,
    ) -> Result<u64, PopError> {
        self.turn.take();
        let result = model::pop("mpsc.pop", || consumer.pop());
        outcomes.saw(match result {
            Ok(_) => "popped",
            Err(PopError::Empty) => "empty",
            Err(PopError::Busy) => "busy",
            Err(error) => panic!("{error}"),
        });
        result
    }
}

/// One producer, one element, and a consumer that gets it in some way.
fn a_sleeper_is_woken<P: Platform>(
    name: &'static str,
    at_least: u64,
    consume: fn(&Listing<P>, &Outcomes) -> u64,
) {
    Model {
        name,
        preemption_bound: None,
        at_least,
        outcomes: &[
            "pushed",
            "popped",
            "empty",
            "busy",
            "slept",
            "rung",
            "not rung",
            "withdrawn",
            "withdrawn too late",
        ],
    }
    .check(move |outcomes| {
        let waking = Waking::new(List::with(&[], 1), 1);
        let producer = spawn(&waking, outcomes, |waking: &Listing<P>, outcomes| {
            waking.push(1, outcomes);
            1
        });
        let consumer = spawn(&waking, outcomes, consume);
        assert_eq!(join([producer, consumer]), [1, 1]);
    });
}

#[test]
fn an_mpsc_consumer_that_sleeps_is_woken() {
    a_sleeper_is_woken::<Loom>(
        "eventcount, mpsc, 1 producer x 1, 1 consumer that sleeps, room for 1",
        3_400,
        |waking, outcomes| waking.consume(1, outcomes)[0],
    );
}

#[test]
fn an_mpsc_consumer_that_sleeps_is_woken_with_the_least_fences() {
    a_sleeper_is_woken::<Least>(
        "eventcount, mpsc, least fences, 1 producer x 1, 1 consumer that sleeps, room for 1",
        2_800,
        |waking, outcomes| waking.consume(1, outcomes)[0],
    );
}

#[test]
fn an_mpsc_consumer_that_looks_without_a_pop_before_it_sleeps_is_woken() {
    a_sleeper_is_woken::<Loom>(
        "eventcount, mpsc, 1 producer x 1, 1 consumer that looks and sleeps, room for 1",
        1_500,
        Listing::look_and_consume,
    );
}

#[test]
fn an_mpsc_consumer_that_looks_without_a_pop_is_woken_with_the_least_fences() {
    a_sleeper_is_woken::<Least>(
        "eventcount, mpsc, least fences, 1 producer x 1, 1 consumer that looks and sleeps, room for 1",
        950,
        Listing::look_and_consume,
    );
}

/// Two producers, one element each, and a consumer that sleeps.
fn a_sleeper_is_woken_by_one_of_two<P: Platform>(name: &'static str, at_least: u64) {
    Model {
        name,
        preemption_bound: Some(1),
        at_least,
        outcomes: &[
            "push contended",
            "pushed",
            "popped",
            "empty",
            "busy",
            "slept",
            "rung",
            "not rung",
            "withdrawn",
            "withdrawn too late",
        ],
    }
    .check(|outcomes| {
        let waking = Waking::new(List::with(&[], 2), 1);
        let producers = [1, 2].map(|value| {
            spawn(&waking, outcomes, move |waking: &Listing<P>, outcomes| {
                waking.push(value, outcomes);
            })
        });
        let consumer = spawn(&waking, outcomes, |waking, outcomes| waking.consume(2, outcomes));
        join(producers);
        let [mut popped] = join([consumer]);
        popped.sort_unstable();
        assert_eq!(popped, [1, 2]);
    });
}

#[test]
fn an_mpsc_consumer_is_woken_by_one_of_two_producers() {
    a_sleeper_is_woken_by_one_of_two::<Loom>(
        "eventcount, mpsc, 2 producers x 1, 1 consumer that sleeps, room for 2",
        1_900,
    );
}

#[test]
fn an_mpsc_consumer_is_woken_by_one_of_two_producers_with_the_least_fences() {
    a_sleeper_is_woken_by_one_of_two::<Least>(
        "eventcount, mpsc, least fences, 2 producers x 1, 1 consumer that sleeps, room for 2",
        2_600,
    );
}

type Ringing<P> = Waking<Ring<Uncounted, P>, P>;

impl<P: Platform> Ringing<P> {
    fn push(&self, value: u64, outcomes: &Outcomes) {
        self.queue.push(value, outcomes).expect("room");
        self.ring(outcomes);
    }

    /// Pops one element, and sleeps whenever there is none.
    fn consume(&self, sleeper: usize, outcomes: &Outcomes) -> u64 {
        loop {
            if let Some(value) = self.queue.pop(outcomes) {
                return value;
            }
            let Some(ticket) = self.prepare() else { continue };
            self.turn.take();
            if self.queue.queue().is_empty() {
                self.sleep(sleeper, &ticket, outcomes);
            } else {
                self.cancel(ticket, outcomes);
                loom::thread::yield_now();
            }
        }
    }
}

fn a_sleeper_of_the_ring_is_woken<P: Platform>(name: &'static str, at_least: u64) {
    Model {
        name,
        preemption_bound: None,
        at_least,
        outcomes: &[
            "pushed",
            "popped",
            "empty",
            "slept",
            "rung",
            "not rung",
            "withdrawn",
            "withdrawn too late",
        ],
    }
    .check(|outcomes| {
        let waking = Waking::new(Ring::with(&[]), 1);
        let producer = spawn(&waking, outcomes, |waking: &Ringing<P>, outcomes| {
            waking.push(1, outcomes);
            1
        });
        let consumer = spawn(&waking, outcomes, |waking, outcomes| waking.consume(0, outcomes));
        assert_eq!(join([producer, consumer]), [1, 1]);
    });
}

#[test]
fn an_mpmc_consumer_that_sleeps_is_woken() {
    a_sleeper_of_the_ring_is_woken::<Loom>(
        "eventcount, mpmc, 1 producer x 1, 1 consumer that sleeps, capacity 2",
        3_300,
    );
}

#[test]
fn an_mpmc_consumer_that_sleeps_is_woken_with_the_least_fences() {
    a_sleeper_of_the_ring_is_woken::<Least>(
        "eventcount, mpmc, least fences, 1 producer x 1, 1 consumer that sleeps, capacity 2",
        2_400,
    );
}

/// The least that consumers can wait for: a word that a read-modify-write changes.
struct Flag(<Loom as Platform>::Word);

const RAISE: Site<CompareExchange> =
    Site::compare_exchange(Relaxed, Relaxed, "model.flag.raise").of(Field::Data).why("what is waited for");
const LOOK: Site<Load> =
    Site::load(Relaxed, "model.flag.load").of(Field::Data).why("behind the fence of the announcement");

type Flagging = Waking<Flag, Loom>;

impl Flagging {
    fn raise(&self, outcomes: &Outcomes) {
        self.turn.take();
        self.queue.0.compare_exchange(0, 1, &RAISE).expect("nobody else raises it");
        self.ring(outcomes);
    }

    fn wait(&self, sleeper: usize, outcomes: &Outcomes) {
        loop {
            let Some(ticket) = self.prepare() else {
                outcomes.saw("not prepared");
                loom::thread::yield_now();
                continue;
            };
            self.turn.take();
            if self.queue.0.load(&LOOK) == 1 {
                self.cancel(ticket, outcomes);
                return;
            }
            self.sleep(sleeper, &ticket, outcomes);
        }
    }
}

#[test]
fn all_who_sleep_are_woken_by_one() {
    Model {
        name: "eventcount, 1 raises a flag, 2 sleep until it is raised",
        preemption_bound: Some(2),
        at_least: 25_000,
        outcomes: &["not prepared", "slept", "rung", "not rung", "withdrawn", "withdrawn too late"],
    }
    .check(|outcomes| {
        let waking = Waking::new(Rc::new(Flag(Word::new(0))), 2);
        let sleepers = [0, 1].map(|sleeper| {
            spawn(&waking, outcomes, move |waking: &Flagging, outcomes| waking.wait(sleeper, outcomes))
        });
        let producer = spawn(&waking, outcomes, Flagging::raise);
        join([producer]);
        join(sleepers);
    });
}

/// Who withdraws when its epoch has ended leaves the announcement alone that belongs to the next one.
#[test]
fn a_sleeper_of_the_next_epoch_is_woken_by_the_next_notification() {
    Model {
        name: "eventcount, 1 asks whether it must notify, 1 withdraws; then a flag is raised, until which 1 sleeps",
        preemption_bound: Some(2),
        at_least: 12_500,
        outcomes: &["not prepared", "slept", "rung", "not rung", "withdrawn", "withdrawn too late"],
    }
    .check(|outcomes| {
        let waking = Waking::new(Rc::new(Flag(Word::new(0))), 1);
        let sleeper = spawn(&waking, outcomes, |waking: &Flagging, outcomes| waking.wait(0, outcomes));
        let other = spawn(&waking, outcomes, |waking, outcomes| {
            if let Some(ticket) = waking.prepare() {
                waking.cancel(ticket, outcomes);
            }
        });
        let producer = spawn(&waking, outcomes, Waking::ring);
        // Who tries again to withdraw yields before: the next notification comes behind that.
        join([producer, other]);
        waking.raise(outcomes);
        join([sleeper]);
    });
}

#[test]
fn one_of_two_who_find_the_same_sleeper_rings() {
    Model {
        name: "eventcount, 2 ask whether they must notify 1 that sleeps",
        preemption_bound: None,
        at_least: 21,
        outcomes: &["rung", "not rung"],
    }
    .check(|outcomes| {
        let waking = Waking::new(Rc::new(Flag(Word::new(0))), 1);
        let ticket = waking.prepare().expect("nobody else");
        let rung = [(); 2].map(|()| {
            spawn(&waking, outcomes, |waking: &Flagging, outcomes| {
                waking.turn.take();
                let must = model::must_notify(&waking.events);
                outcomes.saw(if must { "rung" } else { "not rung" });
                must
            })
        });
        let rung = join(rung);
        assert!(rung[0] != rung[1], "one, and not both");
        assert!(waking.events.is_notified(&ticket));
    });
}
