//! The records: owners of a lane that follow each other, laps with padding, a consumer that frees words, consumers that
//! follow each other, and owners that die. And the ring of one producer and one consumer, which has the positions of a lane.

use std::num::NonZero;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use arenaq::eventcount::EventCount;
use arenaq::platform::{self, Plain, Platform};
use arenaq::records::{Consumer, Geometry, Lane, OwnedLane, PROGRAM, Records, site};
use arenaq::{PopError, PushError, records, spsc};
use loom::alloc::Track;
use loom::sync::Notify;
use loom::sync::atomic::AtomicBool;

use crate::least::Least;
use crate::model::{self, Loom, Model, Outcomes, Turn, exactly_once, join, saw_drained, spawn};
use crate::mortal::{Mortal, dying};

/// Two words before the end of a ring of 8, where a record of one word, which takes three, does not fit: the first one
/// lies behind padding, and the positions have wrapped around.
const BEFORE_THE_END: u64 = u64::MAX - 1;

/// Words behind all rings, in which nothing is to be written: as many as a record takes.
const BEHIND: u64 = 3;

/// Records of one word, in one shard.
struct Log<P: Platform> {
    lanes: Vec<Lane<P>>,
    words: Vec<P::Plain<u64>>,
    geometry: Geometry,
    turn: Turn,
    is_dead: AtomicBool,
}

impl<P: Platform> Log<P> {
    /// With so many lanes, each of 8 words.
    fn new(lanes: usize) -> Rc<Self> {
        let geometry = Geometry::with_lanes(1, lanes, 64 << (lanes - 1), 8).expect("it can be");
        let log = Rc::new(Log {
            lanes: (0..geometry.lanes()).map(|_| Lane::starting_at(BEFORE_THE_END)).collect(),
            words: (0..geometry.words() + BEHIND).map(|_| Plain::new(0)).collect(),
            geometry,
            turn: Turn::new(),
            is_dead: AtomicBool::new(false),
        });
        // SAFETY: nobody else knows of the records yet.
        unsafe { log.records(1).say() };
        log
    }

    /// With one lane, in which these are.
    fn with(records: &[u64]) -> Rc<Self> {
        let log = Log::new(1);
        for record in records {
            log.records(1).push_words(&[*record], 0).expect("room");
        }
        log
    }

    /// With one lane, whose words were all written and read once, which no producer knows yet.
    fn used() -> Rc<Self> {
        let log = Log::with(&[1, 2]);
        assert_eq!(log.consume(1, 2, &Outcomes::default()), [1, 2]);
        log
    }

    fn records(&self, owner: u64) -> Records<'_, P> {
        let owner = NonZero::new(owner).expect("somebody");
        // SAFETY: as many lanes and words as the geometry says, which live beside it and are its alone.
        unsafe { Records::new(&self.lanes, self.words.as_ptr().cast_mut(), self.geometry, owner) }
    }

    /// Pushes a record as this owner. Whether there is one more.
    fn push_as(&self, owner: u64, value: u64, outcomes: &Outcomes) -> Option<u64> {
        self.turn.take();
        match model::push("records.push", || self.records(owner).push_words(&[value], !value)) {
            Ok(()) => {
                outcomes.saw("pushed");
                Some(value)
            }
            Err(PushError::Full) => {
                outcomes.saw("full");
                None
            }
            Err(PushError::Contended) => {
                outcomes.saw("all lanes taken");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn push(&self, value: u64, outcomes: &Outcomes) -> Option<u64> {
        self.push_as(1, value, outcomes)
    }

    /// Consumes so often, up to `limit` records each time, if nobody else consumes.
    fn consume(&self, times: usize, limit: u64, outcomes: &Outcomes) -> Vec<u64> {
        self.turn.take();
        let mut seen = Vec::new();
        let Ok(mut consumer) = self.records(1).consumer(0) else {
            outcomes.saw("another consumes");
            return seen;
        };
        for _ in 0..times {
            self.turn.take();
            self.drain(&mut consumer, limit, &mut seen, outcomes);
        }
        seen
    }

    fn drain(&self, consumer: &mut Consumer<'_, P>, limit: u64, seen: &mut Vec<u64>, outcomes: &Outcomes) {
        let drained = model::drain("records.drain", || {
            let drained = consumer.drain_in_place(limit, |record| seen.extend(record.words()));
            match drained.expect("a sound lane") {
                0 => Err(PopError::Empty),
                records => Ok(records),
            }
        });
        match drained {
            Ok(records) => saw_drained(records as usize, outcomes),
            Err(_) => outcomes.saw("nothing"),
        }
    }

    /// Pops so often.
    fn pop(&self, times: usize, outcomes: &Outcomes) -> Vec<u64> {
        self.turn.take();
        let mut consumer = self.records(1).consumer(0).expect("nobody else consumes");
        let mut pop = || {
            self.turn.take();
            let popped = model::pop("records.pop", || {
                let popped =
                    consumer.pop_in_place(|record| record.words().next().expect("a record of one word"));
                popped.expect("a sound lane").ok_or(PopError::Empty)
            });
            outcomes.saw(if popped.is_ok() { "popped" } else { "nothing" });
            popped.ok()
        };
        (0..times).filter_map(|_| pop()).collect()
    }

    /// Everything that was pushed was seen or is still there, once; and each lane is as good as new.
    fn account(&self, pushed: impl IntoIterator<Item = u64>, seen: impl IntoIterator<Item = u64>) {
        self.records(1).verify().expect("sound lanes");
        let outcomes = Outcomes::default();
        let left = self.consume(1, 3, &outcomes);
        exactly_once(pushed, seen.into_iter().chain(left));
        assert!(self.records(1).is_empty());
        assert_eq!(self.records(1).owners().count(), 0, "a lane is lost");
        for word in &self.words[self.geometry.words() as usize..] {
            // SAFETY: nobody writes there.
            assert_eq!(unsafe { word.read(&site::READ_DATA) }, 0, "a record has left its ring");
        }
        for value in 0..2 {
            self.records(1).push_words(&[value], 0).expect("all words are free");
        }
    }
}

#[test]
fn owners_of_a_lane_go_on_where_the_last_one_was() {
    Model {
        name: "records, 1 lane: 2 producers x 1, 1 consumer x 2",
        preemption_bound: Some(3),
        at_least: 2_500,
        outcomes: &["pushed", "all lanes taken", "1 drained", "2 drained", "nothing"],
    }
    .check(|outcomes| {
        let log = Log::<Loom>::new(1);
        let producers =
            [1, 2].map(|value| spawn(&log, outcomes, move |log, outcomes| log.push(value, outcomes)));
        let consumer = spawn(&log, outcomes, |log, outcomes| log.consume(2, 2, outcomes));
        let [seen] = join([consumer]);
        log.account(join(producers).into_iter().flatten(), seen);
    });
}

#[test]
fn words_are_written_again_when_the_consumer_has_freed_them() {
    Model {
        name: "records, 1 lane, full: 2 producers x 1, 1 consumer x 2",
        preemption_bound: Some(3),
        at_least: 3_800,
        outcomes: &["pushed", "full", "all lanes taken", "1 drained", "2 drained", "nothing"],
    }
    .check(|outcomes| {
        let log = Log::<Loom>::with(&[1, 2]);
        let producers =
            [3, 4].map(|value| spawn(&log, outcomes, move |log, outcomes| log.push(value, outcomes)));
        let consumer = spawn(&log, outcomes, |log, outcomes| log.consume(2, 2, outcomes));
        let [seen] = join([consumer]);
        log.account([1, 2].into_iter().chain(join(producers).into_iter().flatten()), seen);
    });
}

#[test]
fn a_producer_laps_a_consumer_that_reads() {
    Model {
        name: "records, 1 lane, 1 left: 1 producer x 3, 1 consumer x 2",
        preemption_bound: None,
        at_least: 26_500,
        outcomes: &["pushed", "full", "1 drained", "2 drained", "nothing"],
    }
    .check(|outcomes| {
        let log = Log::<Loom>::with(&[1]);
        let producer =
            spawn(&log, outcomes, |log, outcomes| [2, 3, 4].map(|value| log.push(value, outcomes)));
        let consumer = spawn(&log, outcomes, |log, outcomes| log.consume(2, 3, outcomes));
        let ([pushed], [seen]) = (join([producer]), join([consumer]));
        assert!(seen.is_sorted(), "the order of the lane: {seen:?}");
        log.account([1].into_iter().chain(pushed.into_iter().flatten()), seen);
    });
}

/// Two words before the end of the ring, with four free ones: a record of three words has no room, for it would lie behind
/// padding of two, and its last word where one is still to be read.
#[test]
fn padding_needs_room_as_well() {
    Model {
        name: "records, 1 lane, half full, before the end: 1 producer x 1, 1 consumer x 1",
        preemption_bound: None,
        at_least: 16,
        outcomes: &["pushed", "full", "2 drained"],
    }
    .check(|outcomes| {
        let log = Log::<Loom>::new(1);
        for _ in 0..2 {
            assert!(log.consume(1, 2, &Outcomes::default()).is_empty());
            for _ in 0..2 {
                log.records(1).push_words(&[], 0).expect("room for two words");
            }
        }
        let producer = spawn(&log, outcomes, |log, outcomes| log.push(2, outcomes));
        let consumer = spawn(&log, outcomes, |log, outcomes| log.consume(1, 2, outcomes));
        let ([pushed], [seen]) = (join([producer]), join([consumer]));
        log.account(pushed, seen);
    });
}

#[test]
fn whoever_finds_a_lane_taken_takes_the_next() {
    Model {
        name: "records, 2 lanes: 2 producers x 1, 1 consumer x 1",
        preemption_bound: Some(3),
        at_least: 1_500,
        outcomes: &["pushed", "1 drained", "2 drained", "nothing"],
    }
    .check(|outcomes| {
        let log = Log::<Loom>::new(2);
        let producers =
            [1, 2].map(|value| spawn(&log, outcomes, move |log, outcomes| log.push(value, outcomes)));
        let consumer = spawn(&log, outcomes, |log, outcomes| log.consume(1, 2, outcomes));
        let [seen] = join([consumer]);
        log.account(join(producers).into_iter().flatten(), seen);
    });
}

#[test]
fn a_record_is_popped_whichever_lane_it_is_in() {
    Model {
        name: "records, 2 lanes: 2 producers x 1, 1 consumer x 2, one by one",
        preemption_bound: Some(3),
        at_least: 6_000,
        outcomes: &["pushed", "popped", "nothing"],
    }
    .check(|outcomes| {
        let log = Log::<Loom>::new(2);
        let producers =
            [1, 2].map(|value| spawn(&log, outcomes, move |log, outcomes| log.push(value, outcomes)));
        let consumer = spawn(&log, outcomes, |log, outcomes| log.pop(2, outcomes));
        let (pushed, [seen]) = (join(producers).into_iter().flatten(), join([consumer]));
        let left = log.pop(3, &Outcomes::default());
        assert!(log.records(1).is_empty());
        log.account(pushed, seen.into_iter().chain(left));
    });
}

#[test]
fn consumers_go_on_where_the_last_one_was() {
    Model {
        name: "records, 1 lane, full: 2 consumers x 1, 1 producer x 1",
        preemption_bound: Some(3),
        at_least: 2_900,
        outcomes: &["pushed", "full", "1 drained", "another consumes"],
    }
    .check(|outcomes| {
        let log = Log::<Loom>::with(&[1, 2]);
        let consumers = [(); 2].map(|()| spawn(&log, outcomes, |log, outcomes| log.consume(1, 1, outcomes)));
        let producer = spawn(&log, outcomes, |log, outcomes| log.push(3, outcomes));
        let seen = join(consumers).into_iter().flatten();
        let [pushed] = join([producer]);
        log.account([1, 2].into_iter().chain(pushed), seen);
    });
}

/// A program in the kernel cannot keep a reservation: it keeps the number of its lane, and then the place of its record.
#[test]
fn a_record_whose_lane_is_kept_by_its_address_is_committed_where_it_belongs() {
    Model {
        name: "records, 2 lanes, half full: 2 producers x 1 in place, 1 consumer x 2",
        preemption_bound: Some(2),
        at_least: 2_100,
        outcomes: &["pushed", "full", "discarded", "1 drained", "2 drained", "3 drained", "nothing"],
    }
    .check(|outcomes| {
        let log = Log::<Least>::new(2);
        let in_place = |log: &Log<Least>, value: u64, outcomes: &Outcomes| {
            log.turn.take();
            let Ok(lane) = log.records(PROGRAM.get()).lane() else { panic!("there are two") };
            let address = lane.into_raw();
            // SAFETY: it is the lane from above, which is asked for once.
            let lane = unsafe { OwnedLane::<Least>::from_raw(address) };
            let Ok(mut reservation) = lane.reserve(8) else {
                outcomes.saw("full");
                return None;
            };
            reservation.write(0, value);
            let place = reservation.into_place();
            if value == 2 {
                // SAFETY: it is the reservation from above, once.
                assert!(unsafe { records::discard_at::<Least>(place, PROGRAM) });
                outcomes.saw("discarded");
                return None;
            }
            // SAFETY: as above.
            assert!(unsafe { records::commit_at::<Least>(place, 0, PROGRAM) });
            outcomes.saw("pushed");
            Some(value)
        };
        let producers = [[1, 2], [3, 4]].map(|values| {
            spawn(&log, outcomes, move |log, outcomes| values.map(|value| in_place(log, value, outcomes)))
        });
        let consumer = spawn(&log, outcomes, |log, outcomes| log.consume(2, 3, outcomes));
        let [seen] = join([consumer]);
        log.account(join(producers).into_iter().flatten().flatten(), seen);
    });
}

#[test]
fn a_lane_that_a_producer_has_kept_goes_to_the_next_with_all_that_it_has_published() {
    Model {
        name: "records, 1 lane: 1 producer x 2 that keeps it, 1 that would have it x 1, 1 consumer x 2",
        preemption_bound: Some(2),
        at_least: 1_000,
        outcomes: &["pushed", "full", "the lane is kept", "1 drained", "2 drained", "nothing"],
    }
    .check(|outcomes| {
        let geometry = Geometry::with_lanes(1, 1, 64, 8).expect("it can be");
        let log = Rc::new(records::Log::<Loom>::new_on(geometry, BEFORE_THE_END));
        let turn = Rc::new(Turn::new());
        let producers = [&[1, 2][..], &[3]].map(|values| {
            let turn = Rc::clone(&turn);
            spawn(&log, outcomes, move |log, outcomes| {
                turn.take();
                let Ok(mut producer) = log.producer(0) else {
                    outcomes.saw("the lane is kept");
                    return Vec::new();
                };
                let mut push = |value: u64| {
                    turn.take();
                    let pushed = model::push("records.push_kept", || producer.push_words(&[value], 0));
                    outcomes.saw(if pushed.is_ok() { "pushed" } else { "full" });
                    pushed.is_ok()
                };
                values.iter().copied().filter(|value| push(*value)).collect()
            })
        });
        let consumer = spawn(&log, outcomes, move |log, outcomes| {
            let mut consumer = log.consumer(0).expect("nobody else consumes").into_inner();
            let mut seen = Vec::new();
            for _ in 0..2 {
                turn.take();
                let drained = consumer.drain_in_place(2, |record| seen.extend(record.words()));
                match drained.expect("a sound lane") {
                    0 => outcomes.saw("nothing"),
                    records => saw_drained(records as usize, outcomes),
                }
            }
            seen
        });
        let ([mut seen], pushed) = (join([consumer]), join(producers));
        let mut left = log.consumer(0).expect("nobody else consumes").into_inner();
        left.drain_in_place(3, |record| seen.extend(record.words())).expect("a sound lane");
        exactly_once(pushed.into_iter().flatten(), seen);
        assert_eq!(log.records().owners().count(), 0, "a lane is lost");
    });
}

/// The consumer of a log gives words back late: those that it has taken last when there are no more.
#[test]
fn a_consumer_that_gives_words_back_late_gives_all_of_them_back() {
    Model {
        name: "records, 1 lane: 1 producer x 3 that keeps it and waits for room, 1 consumer x 3 that gives back late",
        preemption_bound: Some(3),
        at_least: 2_500,
        outcomes: &["pushed", "full", "1 drained", "nothing"],
    }
    .check(|outcomes| {
        // 16 words. The first two records end 7 words before the end of the ring: the last one lies behind padding, and needs also the
        // words of the second one, which are too few to be given back as long as there is more.
        const SIZES: [usize; 3] = [4, 1, 6];
        let geometry = Geometry::with_lanes(1, 1, 128, 48).expect("it can be");
        let log = Rc::new(records::Log::<Loom>::new_on(geometry, 0));
        let producer = spawn(&log, outcomes, move |log, outcomes| {
            let mut producer = log.producer(0).expect("nobody else has it");
            for size in SIZES {
                let data = vec![size as u64; size];
                while producer.push_words(&data, 0).is_err() {
                    outcomes.saw("full");
                    loom::thread::yield_now();
                }
                outcomes.saw("pushed");
            }
        });
        let consumer = spawn(&log, outcomes, move |log, outcomes| {
            let mut consumer = log.consumer(0).expect("nobody else consumes").into_inner();
            let mut seen = Vec::new();
            while seen.len() < SIZES.len() {
                let popped = consumer.pop_in_place(|record| {
                    let words: Vec<_> = record.words().collect();
                    assert!(words.iter().all(|word| *word == words.len() as u64), "{words:?}");
                    words.len()
                });
                match popped.expect("a sound lane") {
                    None => {
                        outcomes.saw("nothing");
                        loom::thread::yield_now();
                    }
                    Some(size) => {
                        seen.push(size);
                        saw_drained(1, outcomes);
                    }
                }
            }
            seen
        });
        join([producer]);
        assert_eq!(join([consumer]), [SIZES]);
    });
}

/// Records, and on what their consumer sleeps.
struct Sleeping {
    log: Rc<Log<Least>>,
    events: EventCount<Least>,
    doorbell: Notify,
}

#[test]
fn a_consumer_that_sleeps_is_woken_by_a_record() {
    Model {
        name: "eventcount, records, 1 lane, 1 producer x 1, 1 consumer that sleeps",
        preemption_bound: None,
        at_least: 14_200,
        outcomes: &[
            "pushed",
            "1 drained",
            "nothing",
            "slept",
            "rung",
            "not rung",
            "withdrawn",
            "withdrawn too late",
        ],
    }
    .check(|outcomes| {
        let sleeping = Sleeping { log: Log::new(1), events: EventCount::empty(), doorbell: Notify::new() };
        let sleeping = Rc::new(sleeping);
        let producer = spawn(&sleeping, outcomes, |Sleeping { log, events, doorbell }, outcomes| {
            log.push(1, outcomes).expect("the lane is empty");
            log.turn.take();
            if model::must_notify(events) {
                outcomes.saw("rung");
                doorbell.notify();
            } else {
                outcomes.saw("not rung");
            }
        });
        let consumer = spawn(&sleeping, outcomes, |Sleeping { log, events, doorbell }, outcomes| {
            let records = log.records(1);
            let mut consumer = records.consumer(0).expect("nobody else consumes");
            let mut seen = Vec::new();
            loop {
                log.turn.take();
                log.drain(&mut consumer, 2, &mut seen, outcomes);
                if !seen.is_empty() {
                    return seen;
                }
                log.turn.take();
                let Some(ticket) = model::prepare(events) else { continue };
                log.turn.take();
                if consumer.is_quiet() {
                    while !events.is_notified(&ticket) {
                        outcomes.saw("slept");
                        doorbell.wait();
                    }
                } else {
                    log.turn.take();
                    let in_time = model::cancel(events, ticket);
                    outcomes.saw(if in_time { "withdrawn" } else { "withdrawn too late" });
                    loom::thread::yield_now();
                }
            }
        });
        join([producer]);
        let [seen] = join([consumer]);
        sleeping.log.account([1], seen);
    });
}

/// A push that finds room when it has looked at the consumer, behind padding, makes so many accesses. The death with a
/// number comes when so many have been made.
const LAST_DEATH: u64 = 11;
const DEAD: u64 = 2;

#[test]
fn the_lane_of_an_owner_that_died_is_repaired_beside_producers() {
    type Mortals = Mortal<platform::Loom>;
    Model {
        name: "records, 1 lane, used: 1 producer dies anywhere, 1 repairs, 1 producer x 1",
        preemption_bound: Some(2),
        at_least: 3_200,
        outcomes: &["pushed", "all lanes taken", "repaired", "nobody is dead", "nothing to repair"],
    }
    .check_each(1..=LAST_DEATH, |death, outcomes| {
        let log = Log::<Mortals>::used();
        let mortal = spawn(&log, outcomes, move |log, _| {
            let ended = dying::<platform::Loom, _>(death, || log.push_as(DEAD, 2, &Outcomes::default()));
            log.is_dead.store(true, Ordering::Release);
            ended.is_some()
        });
        let repair = |log: &Log<Mortals>, outcomes: &Outcomes| {
            log.turn.take();
            if !log.is_dead.load(Ordering::Acquire) {
                outcomes.saw("nobody is dead");
                return;
            }
            // SAFETY: the dead one has said so last of all, and nobody else repairs.
            let repaired = unsafe { log.records(1).repair(|owner| owner.get() == DEAD) };
            outcomes.saw(if repaired == 0 { "nothing to repair" } else { "repaired" });
        };
        let repairer = spawn(&log, outcomes, repair);
        let producer = spawn(&log, outcomes, |log, outcomes| log.push(3, outcomes));
        let [_ended] = join([mortal]);
        join([repairer]);
        let [pushed] = join([producer]);
        repair(&log, &Outcomes::default());

        // What the dead one has published is there, whether its push had ended or not.
        let seen = log.consume(1, 3, &Outcomes::default());
        let dead = seen.contains(&2).then_some(2);
        log.account(pushed.into_iter().chain(dead), seen);
    });
}

#[test]
fn the_lanes_of_the_living_stay_theirs_when_one_is_repaired() {
    type Mortals = Mortal<platform::Loom>;
    Model {
        name: "records, 2 lanes: 1 producer died with one, 1 repairs, 2 producers x 1",
        preemption_bound: Some(2),
        at_least: 800,
        outcomes: &["pushed", "all lanes taken", "repaired"],
    }
    .check(|outcomes| {
        let log = Log::<Mortals>::new(2);
        let ended = dying::<platform::Loom, _>(2, || log.push_as(DEAD, 9, &Outcomes::default()));
        assert!(ended.is_none(), "it has the first lane");
        let repairer = spawn(&log, outcomes, |log, outcomes| {
            log.turn.take();
            // SAFETY: it died before this thread began, and nobody else repairs.
            let repaired = unsafe { log.records(1).repair(|owner| owner.get() == DEAD) };
            assert_eq!(repaired, 1);
            outcomes.saw("repaired");
        });
        let producers =
            [1, 2].map(|value| spawn(&log, outcomes, move |log, outcomes| log.push(value, outcomes)));
        join([repairer]);
        log.account(join(producers).into_iter().flatten(), []);
    });
}

#[test]
fn what_a_dead_consumer_had_not_given_back_comes_again() {
    type Mortals = Mortal<platform::Loom>;
    /// The claim, two loads, two records behind padding, and the store behind them; then the right is given up.
    const LAST_DEATH: u64 = 12;
    Model {
        name: "records, 1 lane, full: 1 consumer dies anywhere, 1 takes over, 1 producer x 1",
        preemption_bound: Some(3),
        at_least: 6_500,
        outcomes: &["pushed", "full", "taken over", "nobody is dead", "not the consumer"],
    }
    .check_each(1..=LAST_DEATH, |death, outcomes| {
        let log = Log::<Mortals>::with(&[1, 2]);
        let mortal = spawn(&log, outcomes, move |log, _| {
            let mut seen = Vec::new();
            let ended = dying::<platform::Loom, _>(death, || {
                let mut consumer = log.records(DEAD).consumer(0).expect("nobody else consumes yet");
                consumer.drain_in_place(2, |record| seen.extend(record.words())).expect("a sound lane");
            });
            log.is_dead.store(true, Ordering::Release);
            (seen, ended.is_some())
        });
        let take_over = |log: &Log<Mortals>, outcomes: &Outcomes| {
            log.turn.take();
            let mut seen = Vec::new();
            if !log.is_dead.load(Ordering::Acquire) {
                outcomes.saw("nobody is dead");
                return seen;
            }
            // SAFETY: the dead one has said so last of all.
            let heir =
                unsafe { log.records(1).consumer_after_death(0, NonZero::new(DEAD).expect("a number")) };
            match heir {
                Ok(mut heir) => {
                    heir.drain_in_place(2, |record| seen.extend(record.words())).expect("a sound lane");
                    outcomes.saw("taken over");
                }
                Err(_) => outcomes.saw("not the consumer"),
            }
            seen
        };
        let heir = spawn(&log, outcomes, take_over);
        let producer = spawn(&log, outcomes, |log, outcomes| log.push(3, outcomes));
        let [(by_dead, _ended)] = join([mortal]);
        let [by_heir] = join([heir]);
        let [pushed] = join([producer]);
        let by_last = take_over(&log, &Outcomes::default());

        // The living have seen everything once, but for what the dead one had given back.
        let living: Vec<u64> = by_heir.into_iter().chain(by_last).collect();
        let mut left = log.consume(1, 3, &Outcomes::default());
        left.extend(&living);
        let only_dead = by_dead.into_iter().filter(|record| !left.contains(record)).collect::<Vec<_>>();
        log.account([1, 2].into_iter().chain(pushed), left.into_iter().chain(only_dead));
    });
}

#[test]
fn elements_of_the_ring_of_two_threads_come_once_and_in_order_and_are_dropped_once() {
    Model {
        name: "spsc: 1 producer x 3, 1 consumer x 2; capacity 2",
        preemption_bound: None,
        at_least: 25_800,
        outcomes: &["pushed", "full", "popped", "nothing"],
    }
    .check(|outcomes| {
        let (mut producer, mut consumer) = spsc::ring_on::<Track<u64>, Loom>(2, u64::MAX);
        let shared = Rc::new(Turn::new());
        let producing = spawn(&shared, outcomes, move |turn, outcomes| {
            [1, 2, 3].map(|value| {
                turn.take();
                let pushed = producer.push(Track::new(value)).is_ok();
                outcomes.saw(if pushed { "pushed" } else { "full" });
                pushed.then_some(value)
            })
        });
        let consuming = spawn(&shared, outcomes, move |turn, outcomes| {
            [(); 2].map(|()| {
                turn.take();
                let popped = consumer.pop().map(Track::into_inner);
                outcomes.saw(if popped.is_some() { "popped" } else { "nothing" });
                popped
            })
        });
        let ([pushed], [popped]) = (join([producing]), join([consuming]));
        let pushed: Vec<u64> = pushed.into_iter().flatten().collect();
        let popped: Vec<u64> = popped.into_iter().flatten().collect();
        assert_eq!(popped, pushed[..popped.len()], "in their order");
    });
}

#[test]
fn elements_of_two_producers_with_a_ring_each_come_once_and_in_their_order() {
    Model {
        name: "fan-in: 2 producers x 2, 1 consumer x 3, and what is left; capacity 2",
        preemption_bound: Some(2),
        at_least: 42_000,
        outcomes: &["popped", "nothing", "left"],
    }
    .check(|outcomes| {
        let mut consumer = spsc::FanIn::new();
        let shared = Rc::new(Turn::new());
        let producing = [0, 1].map(|number| {
            let (mut producer, ring) = spsc::ring_on::<Track<u64>, Loom>(2, u64::MAX);
            consumer.add(ring);
            spawn(&shared, outcomes, move |turn, _| {
                for serial in [1, 2] {
                    turn.take();
                    let pushed = producer.push(Track::new(10 * number + serial));
                    assert!(pushed.is_ok(), "there is room for two");
                }
            })
        });
        let consuming = spawn(&shared, outcomes, move |turn, outcomes| {
            let mut seen = Vec::new();
            for _ in 0..3 {
                turn.take();
                let popped = consumer.pop().map(Track::into_inner);
                outcomes.saw(if popped.is_some() { "popped" } else { "nothing" });
                seen.extend(popped);
            }
            (consumer, seen)
        });
        join(producing);
        let [(mut consumer, mut seen)] = join([consuming]);
        while seen.len() < 4 {
            outcomes.saw("left");
            seen.push(consumer.pop().expect("every ring was looked at").into_inner());
        }
        assert!(consumer.is_empty());
        for number in [0, 1] {
            let of_one: Vec<_> = seen.iter().copied().filter(|element| element / 10 == number).collect();
            assert_eq!(of_one, [10 * number + 1, 10 * number + 2]);
        }
    });
}

#[test]
fn a_slice_that_goes_around_the_end_of_the_ring_of_two_threads_is_published_with_one_store() {
    Model {
        name: "spsc: slices of 1 and 2, 2 drains of 2; capacity 2",
        preemption_bound: None,
        at_least: 4_400,
        outcomes: &["2 pushed", "1 pushed", "2 drained", "1 drained", "nothing"],
    }
    .check(|outcomes| {
        let (mut producer, mut consumer) = spsc::ring_on::<u64, Loom>(2, u64::MAX);
        let shared = Rc::new(Turn::new());
        let producing = spawn(&shared, outcomes, move |turn, outcomes| {
            let mut pushed = 0;
            for length in [1, 2] {
                turn.take();
                let values: Vec<u64> = (pushed + 1..).take(length).collect();
                let batch = producer.push_slice(&values);
                outcomes.saw(["full", "1 pushed", "2 pushed"][batch]);
                pushed += batch as u64;
            }
            pushed
        });
        let consuming = spawn(&shared, outcomes, move |turn, outcomes| {
            let mut seen = Vec::new();
            for _ in 0..2 {
                turn.take();
                let batch = consumer.drain(2, |value| seen.push(value));
                outcomes.saw(["nothing", "1 drained", "2 drained"][batch]);
            }
            seen
        });
        let ([pushed], [seen]) = (join([producing]), join([consuming]));
        assert!(seen.iter().copied().eq(1..=seen.len() as u64) && seen.len() as u64 <= pushed, "{seen:?}");
    });
}

#[test]
fn batches_of_the_ring_of_two_threads_are_published_and_freed_with_one_store() {
    Model {
        name: "spsc: batches of 1 and 2, 2 drains of 2; capacity 2",
        preemption_bound: None,
        at_least: 4_400,
        outcomes: &["2 pushed", "1 pushed", "2 drained", "1 drained", "nothing"],
    }
    .check(|outcomes| {
        let (mut producer, mut consumer) = spsc::ring_on::<Track<u64>, Loom>(2, u64::MAX);
        let shared = Rc::new(Turn::new());
        let producing = spawn(&shared, outcomes, move |turn, outcomes| {
            let mut values = (1..).map(Track::new);
            let mut pushed = 0;
            for most in [1, 2] {
                turn.take();
                let batch = producer.push_from(&mut values.by_ref().take(most));
                outcomes.saw(["full", "1 pushed", "2 pushed"][batch]);
                pushed += batch;
            }
            pushed
        });
        let consuming = spawn(&shared, outcomes, move |turn, outcomes| {
            let mut seen = Vec::new();
            for _ in 0..2 {
                turn.take();
                let batch = consumer.drain(2, |value| seen.push(value.into_inner()));
                outcomes.saw(["nothing", "1 drained", "2 drained"][batch]);
            }
            seen
        });
        let ([pushed], [seen]) = (join([producing]), join([consuming]));
        assert!(seen.len() <= pushed);
        assert!(seen.is_sorted() && seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    });
}
