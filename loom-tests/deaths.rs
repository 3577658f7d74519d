//! Consumers that are killed before any of their accesses, and those that take over from them.
//!
//! That a consumer is dead, a survivor learns from a flag that the consumer's thread sets last of all: what a lock is
//! that the operating system gives up.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::num::NonZero;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use arenaq::count::Uncounted;
use arenaq::mpmc::slots::site;
use arenaq::mpmc::{self, Capacity, Cell, Head, Slots, Slotted, TakenOver};
use arenaq::platform::{self, Plain};
use arenaq::{PopError, PushError};
use loom::sync::atomic::AtomicBool;

use crate::model::{self, Model, Outcomes, Turn, join, spawn};
use crate::mortal::{Mortal, MortalPlain, dying};

type Loom = Mortal<platform::Loom>;
type Consumer<'q> = mpmc::Consumer<'q, Loom, u64, Uncounted>;

/// As many slots as a model has consumers.
const CONSUMERS: usize = 3;

/// The first accesses of a pop: two loads, the announcement, the claim. Then come the read, the free, and the end of the
/// announcement.
const BEFORE_THE_CLAIM: u64 = 4;
const BEFORE_THE_READ: u64 = 5;
const BEFORE_THE_FREE: u64 = 6;
const AFTER_THE_END: u64 = 8;

/// What came out of the queue.
#[derive(Default)]
struct Seen {
    /// Handed over by those who live, or lived until the operation had ended.
    living: Vec<u64>,
    /// Handed over by those who were killed in the operation: whether it is still in the queue, nobody knows.
    dead: Vec<u64>,
}

impl Seen {
    fn by_living(living: Vec<u64>) -> Seen {
        Seen { living, dead: Vec::new() }
    }

    /// What an operation has handed over that ended, or did not.
    fn by_mortal(seen: RefCell<Vec<u64>>, ended: bool) -> Seen {
        let seen = seen.into_inner();
        if ended { Seen::by_living(seen) } else { Seen { living: Vec::new(), dead: seen } }
    }

    fn and(mut self, others: impl IntoIterator<Item = Seen>) -> Seen {
        for other in others {
            self.living.extend(other.living);
            self.dead.extend(other.dead);
        }
        self
    }
}

struct Ring {
    head: Head<Loom, u64, Uncounted>,
    slots: Slots<Loom, CONSUMERS>,
    /// What only the owner of each slot may touch.
    guarded: [MortalPlain<platform::Loom, u64>; CONSUMERS],
    dead: [AtomicBool; CONSUMERS],
    turn: Turn,
    _cells: Vec<Cell<Loom, u64>>,
}

impl Ring {
    /// A ring of two cells with these elements, with positions that wrap around after the first.
    fn with(elements: &[u64]) -> Rc<Ring> {
        let mut cells: Vec<_> = (0..Capacity::MIN.get()).map(|_| Cell::empty()).collect();
        let head = Head::empty();
        // SAFETY: as many cells as the capacity says, which live beside the head and are its alone; nobody
        // else is here yet.
        unsafe { head.init_at(cells.as_mut_ptr(), Capacity::MIN, u64::MAX) }.expect("the cells");
        for element in elements {
            head.ring().expect("a ring").push(*element).expect("room");
        }
        Rc::new(Ring {
            head,
            slots: Slots::new(),
            guarded: [(); CONSUMERS].map(|()| Plain::new(0)),
            dead: [(); CONSUMERS].map(|()| AtomicBool::new(false)),
            turn: Turn::new(),
            _cells: cells,
        })
    }

    fn queue(&self) -> mpmc::Ring<'_, Loom, u64, Uncounted> {
        self.head.ring().expect("an initialised queue")
    }

    fn slotted(&self) -> Slotted<'_, Loom, u64, Uncounted> {
        self.queue().with_slots(&self.slots)
    }

    fn consumer(&self, slot: usize) -> Consumer<'_> {
        self.slotted().consumer_at(slot, NonZero::<u64>::MIN).expect("its slot is free")
    }

    fn push(&self, value: u64, outcomes: &Outcomes) -> Option<u64> {
        self.turn.take();
        match model::push("mpmc.push", || self.queue().push(value)) {
            Ok(()) => {
                outcomes.saw("pushed");
                Some(value)
            }
            Err(PushError::Full) => {
                outcomes.saw("full");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn pop_with(&self, consumer: &mut Consumer<'_>, seen: &RefCell<Vec<u64>>, outcomes: &Outcomes) {
        self.turn.take();
        match model::pop("mpmc.take", || consumer.pop_with(|value| seen.borrow_mut().push(value))) {
            Ok(()) => outcomes.saw("popped"),
            Err(PopError::Empty) => outcomes.saw("empty"),
            Err(error) => panic!("{error}"),
        }
    }

    /// Pops so often, and gives the slot up.
    fn consume(&self, slot: usize, pops: usize, outcomes: &Outcomes) -> Seen {
        let mut consumer = self.consumer(slot);
        let seen = RefCell::default();
        for _ in 0..pops {
            self.pop_with(&mut consumer, &seen, outcomes);
        }
        Seen::by_living(seen.into_inner())
    }

    /// Pops once, and is killed before the access with this number, or after the last one.
    fn die(&self, slot: usize, death: u64, outcomes: &Outcomes) -> Seen {
        let mut consumer = ManuallyDrop::new(self.consumer(slot));
        let seen = RefCell::default();
        let ended = dying::<platform::Loom, _>(death, || self.pop_with(&mut consumer, &seen, outcomes));
        self.dead[slot].store(true, Ordering::Release);
        Seen::by_mortal(seen, ended.is_some())
    }

    fn is_dead(&self, slot: usize) -> bool {
        self.dead[slot].load(Ordering::Acquire)
    }

    /// Takes over from whoever is dead, in the name of this slot.
    fn take_over(&self, slot: usize, seen: &RefCell<Vec<u64>>) -> Option<TakenOver> {
        self.turn.take();
        // SAFETY: whoever is said to be dead has said so itself; everybody who consumes has a slot, and nobody else has this
        // one.
        unsafe {
            self.slotted().take_over(
                slot,
                |other, _| other != slot && self.is_dead(other),
                |value| seen.borrow_mut().push(value),
            )
        }
    }

    /// A survivor, which takes over once.
    fn succeed(&self, slot: usize, outcomes: &Outcomes) -> Seen {
        self.try_to_succeed(slot, 1, outcomes)
    }

    /// A survivor, which tries to take over so often.
    fn try_to_succeed(&self, slot: usize, tries: usize, outcomes: &Outcomes) -> Seen {
        let _consumer = self.consumer(slot);
        let seen = RefCell::default();
        for _ in 0..tries {
            outcomes.saw(match self.take_over(slot, &seen) {
                None => "another's turn",
                Some(TakenOver { undecided: 0, consumers: 0, .. }) => "nobody is dead",
                Some(TakenOver { undecided: 0, elements: 0, .. }) => "nothing to take over",
                Some(TakenOver { undecided: 0, .. }) => "taken over",
                Some(TakenOver { .. }) => "undecided",
            });
        }
        Seen::by_living(seen.into_inner())
    }

    /// When all are gone or dead, one takes over in the name of `slot` and pops the rest. The living have seen each element
    /// once, but for what only the dead have seen; and the queue is as good as new.
    fn account(&self, slot: usize, pushed: impl IntoIterator<Item = u64>, Seen { living, dead }: Seen) {
        let living = RefCell::new(living);
        let taken = self.take_over(slot, &living).expect("nobody else is there");
        assert_eq!(taken.undecided, 0, "everything is decided when nobody runs");
        assert!(self.slotted().owners().all(|owner| owner.is_none()), "a slot is lost");
        let outcomes = Outcomes::default();
        let mut consumer = self.consumer(slot);
        while !self.queue().is_empty() {
            self.pop_with(&mut consumer, &living, &outcomes);
        }
        self.queue().verify_quiesced().expect("a sound ring");

        let living = living.into_inner();
        let only_dead = dead.into_iter().filter(|element| !living.contains(element));
        model::exactly_once(pushed, living.iter().copied().chain(only_dead));

        for value in 0..Capacity::MIN.get() {
            self.queue().push(value).expect("every cell is free");
        }
    }
}

#[test]
fn a_survivor_takes_over_what_was_claimed_and_not_what_the_living_hold() {
    Model {
        name: "mpmc with slots, full: 1 consumer died anywhere; 1 x 2, 1 takes over; capacity 2",
        preemption_bound: Some(3),
        at_least: 22_000,
        outcomes: &["popped", "empty", "taken over", "nothing to take over", "undecided"],
    }
    .check_each(1..=AFTER_THE_END, |death, outcomes| {
        let ring = Ring::with(&[1, 2]);
        let seen = ring.die(0, death, &Outcomes::default());
        let consumer = spawn(&ring, outcomes, |ring, outcomes| ring.consume(1, 2, outcomes));
        let heir = spawn(&ring, outcomes, |ring, outcomes| ring.succeed(2, outcomes));
        ring.account(1, [1, 2], seen.and(join([consumer, heir])));
    });
}

#[test]
fn a_producer_gets_the_cell_that_was_taken_over_when_it_has_been_read() {
    Model {
        name: "mpmc with slots, full: 1 consumer died with a cell; 1 takes over, 2 producers x 1; capacity 2",
        preemption_bound: None,
        at_least: 32_000,
        outcomes: &["pushed", "full", "taken over"],
    }
    .check_each([BEFORE_THE_READ, BEFORE_THE_FREE], |death, outcomes| {
        let ring = Ring::with(&[1, 2]);
        let seen = ring.die(0, death, &Outcomes::default());
        let heir = spawn(&ring, outcomes, |ring, outcomes| ring.succeed(2, outcomes));
        let producers =
            [3, 4].map(|value| spawn(&ring, outcomes, move |ring, outcomes| ring.push(value, outcomes)));
        let seen = seen.and(join([heir]));
        let pushed = join(producers).into_iter().flatten();
        ring.account(1, [1, 2].into_iter().chain(pushed), seen);
    });
}

#[test]
fn a_consumer_with_a_slot_and_producers_lose_nothing() {
    Model {
        name: "mpmc with slots, 1 left: 1 x 2, 2 producers x 1; capacity 2",
        preemption_bound: Some(3),
        at_least: 11_000,
        outcomes: &["pushed", "full", "popped", "empty"],
    }
    .check(|outcomes| {
        let ring = Ring::with(&[1]);
        let consumer = spawn(&ring, outcomes, |ring, outcomes| ring.consume(1, 2, outcomes));
        let producers =
            [2, 3].map(|value| spawn(&ring, outcomes, move |ring, outcomes| ring.push(value, outcomes)));
        let seen = Seen::default().and(join([consumer]));
        let pushed = join(producers).into_iter().flatten();
        ring.account(1, [1].into_iter().chain(pushed), seen);
    });
}

#[test]
fn a_consumer_that_is_killed_while_others_pop_is_taken_over_from_when_it_is_dead() {
    Model {
        name: "mpmc with slots, full: 1 consumer dies anywhere beside 1 x 1, 1 takes over; capacity 2",
        preemption_bound: Some(2),
        at_least: 34_000,
        outcomes: &["popped", "taken over", "nothing to take over", "undecided", "nobody is dead"],
    }
    .check_each(BEFORE_THE_CLAIM..=AFTER_THE_END, |death, outcomes| {
        let ring = Ring::with(&[1, 2]);
        let mortal = spawn(&ring, outcomes, move |ring, outcomes| ring.die(0, death, outcomes));
        let consumer = spawn(&ring, outcomes, |ring, outcomes| ring.consume(1, 1, outcomes));
        let heir = spawn(&ring, outcomes, |ring, outcomes| ring.succeed(2, outcomes));
        ring.account(1, [1, 2], Seen::default().and(join([mortal, consumer, heir])));
    });
}

#[test]
fn two_survivors_take_over_from_two_dead_one_after_the_other() {
    let deaths = BEFORE_THE_CLAIM - 1..=BEFORE_THE_FREE + 1;
    Model {
        name: "mpmc with slots, full: 1 consumer died anywhere, 2 take over; capacity 2",
        preemption_bound: Some(3),
        at_least: 3_600,
        outcomes: &["another's turn", "taken over", "nothing to take over", "nobody is dead"],
    }
    .check_each(deaths, |death, outcomes| {
        let ring = Ring::with(&[1, 2]);
        let seen = ring.die(0, death, &Outcomes::default());
        let heirs =
            [1, 2].map(|slot| spawn(&ring, outcomes, move |ring, outcomes| ring.succeed(slot, outcomes)));
        ring.account(1, [1, 2], seen.and(join(heirs)));
    });
}

/// What the first try leaves of another's turn, the second one finds.
#[test]
fn who_does_not_get_the_turn_leaves_it_to_whose_it_is() {
    Model {
        name: "mpmc with slots, full: 1 consumer died with a cell, 1 takes over, 1 tries twice; capacity 2",
        preemption_bound: Some(2),
        at_least: 820,
        outcomes: &["another's turn", "taken over", "nobody is dead"],
    }
    .check(|outcomes| {
        let ring = Ring::with(&[1, 2]);
        let seen = ring.die(0, BEFORE_THE_READ, &Outcomes::default());
        let heirs = [(1, 1), (2, 2)].map(|(slot, tries)| {
            spawn(&ring, outcomes, move |ring, outcomes| ring.try_to_succeed(slot, tries, outcomes))
        });
        ring.account(1, [1, 2], seen.and(join(heirs)));
    });
}

#[test]
fn what_two_dead_have_announced_is_taken_over_once() {
    let deaths = || BEFORE_THE_CLAIM - 1..=BEFORE_THE_FREE + 1;
    Model {
        name: "mpmc with slots, full: 2 consumers died anywhere, 1 takes over, 1 producer x 1; capacity 2",
        preemption_bound: Some(3),
        at_least: 400,
        outcomes: &["pushed", "full", "taken over", "nothing to take over"],
    }
    .check_each(deaths().flat_map(|one| deaths().map(move |two| (one, two))), |(one, two), outcomes| {
        let ring = Ring::with(&[1, 2]);
        let seen = ring.die(0, one, &Outcomes::default());
        let seen = seen.and([ring.die(1, two, &Outcomes::default())]);
        let heir = spawn(&ring, outcomes, |ring, outcomes| ring.succeed(2, outcomes));
        let producer = spawn(&ring, outcomes, |ring, outcomes| ring.push(3, outcomes));
        let seen = seen.and(join([heir]));
        let [pushed] = join([producer]);
        ring.account(2, [1, 2].into_iter().chain(pushed), seen);
    });
}

#[test]
fn who_dies_while_it_takes_over_is_taken_over_from_in_turn() {
    // The turn is two accesses; then come three owners, the position, and the two announcements.
    let most = 20;
    Model {
        name: "mpmc with slots, full: 1 consumer died with a cell, 1 dies taking over, then 1 takes over; 1 x 1; capacity 2",
        preemption_bound: Some(2),
        at_least: 27_000,
        outcomes: &["popped", "another's turn", "taken over", "nothing to take over", "nobody is dead"],
    }
    .check_each(0..most, |death, outcomes| {
        let ring = Ring::with(&[1, 2]);
        let seen = ring.die(0, BEFORE_THE_READ, &Outcomes::default());
        let mortal = spawn(&ring, outcomes, move |ring, _| {
            let _consumer = ManuallyDrop::new(ring.consumer(2));
            let seen = RefCell::default();
            let ended = dying::<platform::Loom, _>(death, || ring.take_over(2, &seen));
            ring.dead[2].store(true, Ordering::Release);
            Seen::by_mortal(seen, ended.is_some())
        });
        let heir = spawn(&ring, outcomes, |ring, outcomes| {
            ring.consume(1, 1, outcomes).and([ring.succeed(1, outcomes)])
        });
        ring.account(1, [1, 2], seen.and(join([mortal, heir])));
    });
}

/// What a slot's owner alone may touch: what is in the slot itself are words, of which loom puts the stores in the order
/// in which it executes them.
#[test]
fn a_slot_has_one_owner_after_another() {
    Model {
        name: "mpmc with slots: 2 take and give up the slot of 1 that died, after 1 took over from it",
        preemption_bound: None,
        at_least: 8_500,
        outcomes: &["its slot", "no slot", "taken over"],
    }
    .check(|outcomes| {
        let ring = Ring::with(&[1, 2]);
        let write = |ring: &Ring, slot: usize| {
            // SAFETY: only the owner of the slot comes here, or who takes over from it.
            unsafe { ring.guarded[slot].write(slot as u64, &site::INIT) };
        };
        write(&ring, 0);
        ring.die(0, BEFORE_THE_READ, &Outcomes::default());
        let owner = move |ring: &Ring, outcomes: &Outcomes| {
            ring.turn.take();
            match ring.slotted().consumer_at(0, NonZero::<u64>::MIN) {
                Ok(_consumer) => {
                    outcomes.saw("its slot");
                    write(ring, 0);
                }
                Err(_) => outcomes.saw("no slot"),
            }
        };
        let owners = [(); 2].map(|()| spawn(&ring, outcomes, owner));
        let heir = spawn(&ring, outcomes, move |ring, outcomes| {
            let _consumer = ring.consumer(2);
            ring.turn.take();
            // SAFETY: the owner of slot 0 is dead until somebody else has it, which is after this.
            let taken = unsafe { ring.slotted().take_over(2, |slot, _| slot == 0, |_| write(ring, 0)) };
            assert_eq!(taken.expect("nobody else").elements, 1);
            outcomes.saw("taken over");
        });
        join(owners);
        join([heir]);
    });
}
