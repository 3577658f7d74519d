//! Consumers with slots that are killed anywhere, one after another, beside others that pop and take over: nothing is lost,
//! and the living see nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::{self, ManuallyDrop};
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError};

use arenaq::count::Counted;
use arenaq::mpmc::{self, Capacity, Cell, Head, SlotError, Slots, Slotted};
use arenaq::platform::{self, Traced};
use arenaq::{PopError, PushError};
use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use shuttle::thread;

use crate::mortal::{Mortal, dying};
use crate::runner::{MAIN, Run, Schedules, check, test_name};

type Shuttle = Mortal<Traced<platform::Shuttle>>;
type Consumer<'q> = mpmc::Consumer<'q, Shuttle, u64, Counted>;

const CAPACITY: u64 = 4;
/// How many are killed; the slots of the others come after theirs.
const MORTALS: u64 = 3;
const SLOTS: usize = 5;
const PRODUCERS: u64 = 2;
const PUSHES: u64 = 6;
/// More accesses than a life has in which everything is popped.
const LONGEST_LIFE: u64 = 60;

struct Ring {
    head: Head<Shuttle, u64, Counted>,
    slots: Slots<Shuttle, SLOTS>,
    dead: [AtomicBool; SLOTS],
    _cells: Vec<Cell<Shuttle, u64>>,
}

// SAFETY: the cells are touched only through the head, which is `Send` and `Sync`.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

/// What came out, by those who live and by those who were killed while they popped.
#[derive(Default)]
struct Seen {
    living: Vec<u64>,
    /// The last one may be in the queue still.
    dead: Vec<u64>,
}

impl Ring {
    fn new() -> Arc<Ring> {
        let mut cells: Vec<_> = (0..CAPACITY).map(|_| Cell::empty()).collect();
        let head = Head::empty();
        let capacity = Capacity::new(CAPACITY).expect("a capacity");
        // SAFETY: so many cells, which live beside the head and are its alone; nobody else is here yet.
        unsafe { head.init_at(cells.as_mut_ptr(), capacity, u64::MAX - 5) }.expect("nothing ends the loop");
        let dead = [(); SLOTS].map(|()| AtomicBool::new(false));
        Arc::new(Ring { head, slots: Slots::new(), dead, _cells: cells })
    }

    fn slotted(&self) -> Slotted<'_, Shuttle, u64, Counted> {
        self.head.ring().expect("an initialised queue").with_slots(&self.slots)
    }

    fn consumer(&self, slot: usize) -> Option<Consumer<'_>> {
        match self.slotted().consumer_at(slot, NonZero::<u64>::MIN) {
            Ok(consumer) => Some(consumer),
            Err(SlotError::Taken { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// One that is killed after so many accesses, if its slot is free.
    fn die(&self, slot: usize, life: u64, batch: u64, seen: &Mutex<Seen>, run: &Run) {
        let Some(mut consumer) = self.consumer(slot).map(ManuallyDrop::new) else { return };
        let mut taken = Vec::new();
        let ended = dying::<platform::Shuttle, _>(life, || {
            for _ in 0..PUSHES {
                let _ = consumer.drain(batch, |value| taken.push(value));
            }
        });
        run.saw(if ended.is_some() { "lived on" } else { "killed" });
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        // What it had before the last one, it had freed.
        let last = if ended.is_none() { taken.pop() } else { None };
        seen.living.extend(taken);
        seen.dead.extend(last);
        drop(seen);
        self.dead[slot].store(true, Ordering::SeqCst);
    }

    fn take_over(&self, consumer: &mut Consumer<'_>, seen: &Mutex<Seen>, run: &Run) -> usize {
        let is_dead = |slot: usize| self.dead[slot].load(Ordering::SeqCst);
        let mut taken = Vec::new();
        // SAFETY: whoever is said to be dead has said so itself, and its slot is used by nobody else; everybody who consumes
        // has a slot.
        let found = unsafe { consumer.take_over(|slot, _| is_dead(slot), |value| taken.push(value)) };
        let Some(found) = found else {
            run.saw("another's turn");
            return 0;
        };
        assert_eq!(found.elements, taken.len() as u64);
        run.saw(match (found.elements, found.undecided) {
            (0, 0) => "nothing to take over",
            (_, 0) => "taken over",
            _ => "undecided",
        });
        seen.lock().unwrap_or_else(PoisonError::into_inner).living.extend(taken);
        found.undecided
    }
}

fn deaths(run: &Run) {
    let ring = Ring::new();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let (ring, run) = (ring.clone(), run.clone());
            thread::spawn(move || {
                let push = |value: &u64| match ring.slotted().queue().push(*value) {
                    Ok(()) => true,
                    Err(PushError::Full | PushError::Contended) => {
                        run.saw("full");
                        false
                    }
                    Err(error) => panic!("{error}"),
                };
                let values = (0..PUSHES).map(|serial| producer * PUSHES + serial);
                values.filter(|value| (0..6).any(|_| push(value))).collect::<Vec<_>>()
            })
        })
        .collect();
    // How long they live is in the schedule, so that it comes back with it: what a race with this thread decides.
    let dice = Arc::new(AtomicU64::new(0));
    let roll = thread::spawn({
        let dice = dice.clone();
        move || (0..LONGEST_LIFE).for_each(|side| dice.store(side, Ordering::SeqCst))
    });
    let mortals: Vec<_> = (0..MORTALS)
        .map(|slot| {
            let (ring, seen, run, dice) = (ring.clone(), seen.clone(), run.clone(), dice.clone());
            thread::spawn(move || {
                let life = (dice.load(Ordering::SeqCst) + slot * LONGEST_LIFE / MORTALS) % LONGEST_LIFE;
                ring.die(slot as usize, life, 1 + slot, &seen, &run);
            })
        })
        .collect();
    let living: Vec<_> = [3, 4]
        .map(|slot| {
            let (ring, seen, run) = (ring.clone(), seen.clone(), run.clone());
            thread::spawn(move || {
                let mut consumer = ring.consumer(slot).expect("nobody else has it");
                for _ in 0..PUSHES {
                    let take = |value| seen.lock().unwrap_or_else(PoisonError::into_inner).living.push(value);
                    match consumer.pop_with(take) {
                        Ok(()) => run.saw("popped"),
                        Err(PopError::Empty | PopError::Contended) => run.saw("empty"),
                        Err(error) => panic!("{error}"),
                    }
                    ring.take_over(&mut consumer, &seen, &run);
                }
            })
        })
        .into_iter()
        .collect();

    let pushed: BTreeSet<_> =
        producers.into_iter().flat_map(|thread| thread.join().expect("a producer")).collect();
    mortals.into_iter().chain(living).chain([roll]).for_each(|thread| thread.join().expect("a consumer"));
    let mut consumer = ring.consumer(3).expect("its owner has given it up");
    assert_eq!(ring.take_over(&mut consumer, &seen, run), 0, "nobody runs");
    let free = ring.slotted().owners().filter(Option::is_none).count();
    assert_eq!(free, SLOTS - 1, "a slot is lost");
    let mut seen = mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    while let Ok(value) = consumer.pop() {
        seen.living.push(value);
    }
    drop(consumer);

    let mut times = BTreeMap::<u64, u64>::new();
    for value in &seen.living {
        *times.entry(*value).or_default() += 1;
    }
    assert!(times.values().all(|times| *times == 1), "seen twice by the living: {times:?}");
    let all: BTreeSet<_> = seen.living.iter().chain(&seen.dead).copied().collect();
    assert_eq!(all, pushed, "lost");
    if seen.dead.iter().any(|value| times.contains_key(value)) {
        run.saw("seen by the dead too");
    }
    let queue = ring.slotted().queue();
    // SAFETY: nothing runs.
    unsafe { queue.recount() };
    queue.verify_quiesced().expect("a sound ring");
    (0..CAPACITY).for_each(|value| queue.push(value).expect("every cell is free"));
}

fn check_deaths(test: &str, schedules: Schedules) {
    let expected = [
        "full",
        "killed",
        "lived on",
        "popped",
        "empty",
        "another's turn",
        "nothing to take over",
        "taken over",
        "undecided",
        "seen by the dead too",
    ];
    check(test, schedules, MAIN, &expected, deaths);
}

#[test]
fn mpmc_consumers_that_are_killed_lose_nothing_in_random_schedules() {
    check_deaths(test_name!(), Schedules::Random);
}

#[test]
fn mpmc_consumers_that_are_killed_lose_nothing_with_few_preemptions() {
    check_deaths(test_name!(), Schedules::Pct);
}
