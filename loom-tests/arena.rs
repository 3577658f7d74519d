//! The arena's header, its directory and the right to be the one consumer: what other processes wait on.

use std::mem::{self, ManuallyDrop};
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use arenaq::arena::{ArenaError, ArenaHeader, Draft, Entry, Heading, MpscConsumer, Name, Owner, Right, Said};
use arenaq::count::Uncounted;
use arenaq::mpmc::{Capacity, Cell, Head};
use arenaq::payload::ElementType;
use loom::sync::atomic::AtomicBool;

use crate::list::{self, List};
use crate::model::{Loom, Model, Outcomes, Turn, join, spawn};
use crate::ring::Ring;

/// No two words of a heading or of an entry are the same.
const HEADING: Heading =
    Heading { version: 1, layout_hash: 2, base: 3, length: 4, event_count: 5, directory: 6, queues: 0 };

fn said() -> Said {
    Said {
        name: Name::new("a name of more than one word"),
        kind: 1,
        element: ElementType { size: 2, hash: 3 },
        counted: 4,
        head: 5,
        pool: 6,
        drops: 7,
        slots: 8,
        events: 9,
    }
}

/// An arena that one thread makes while others try to attach.
struct Unmade {
    header: ArenaHeader<Loom>,
    entry: Entry<Loom>,
    head: Head<Loom, u64, Uncounted>,
    cells: Vec<Cell<Loom, u64>>,
    turn: Turn,
}

impl Unmade {
    /// As `Arena::create` and `publish`.
    fn make(&self, mut draft: Draft<'_, Loom>) {
        // SAFETY: the cells live beside the head and are its alone: nobody else touches either before the
        // magic is there. A cell is changed through shared references only, so the cast takes nothing away.
        unsafe { self.head.init(self.cells.as_ptr().cast_mut(), Capacity::MIN) }.expect("two cells");
        draft.enter(&self.entry, &said());
        self.turn.take();
        draft.publish();
    }

    /// As `Arena::attach`, and a push.
    fn attach(&self, value: u64, outcomes: &Outcomes) -> Option<u64> {
        self.turn.take();
        let heading = match self.header.heading() {
            Ok(heading) => heading,
            Err(found) => {
                assert_eq!(found, 0);
                outcomes.saw("no header");
                return None;
            }
        };
        assert_eq!(heading, Heading { queues: 1, ..HEADING });
        // SAFETY: the heading was read.
        assert_eq!(unsafe { Said::read(&self.entry) }, said());
        self.head.ring().expect("a ring").push(value).expect("room for two");
        outcomes.saw("attached");
        Some(value)
    }
}

#[test]
fn who_sees_the_magic_finds_the_queues_complete() {
    Model {
        name: "arena, 1 thread formats and publishes, 2 attach and push",
        preemption_bound: None,
        at_least: 20_000,
        outcomes: &["no header", "attached"],
    }
    .check(|outcomes| {
        let unmade = Rc::new(Unmade {
            header: ArenaHeader::empty(),
            entry: Entry::empty(),
            head: Head::empty(),
            cells: (0..2).map(|_| Cell::empty()).collect(),
            turn: Turn::new(),
        });
        // SAFETY: nobody else looks yet, and when they do, they look for the heading first. The thread that has the draft has a
        // share of the header as well.
        let draft =
            unsafe { mem::transmute::<Draft<'_, Loom>, Draft<'static, Loom>>(unmade.header.draft(HEADING)) };
        let maker = spawn(&unmade, outcomes, move |unmade, _| {
            unmade.make(draft);
            None
        });
        let [one, two] = [1, 2]
            .map(|value| spawn(&unmade, outcomes, move |unmade, outcomes| unmade.attach(value, outcomes)));
        let pushed = join([maker, one, two]);
        let queue = unmade.head.ring().expect("a ring");
        queue.verify_quiesced().expect("a sound ring");
        assert_eq!(queue.len(), pushed.iter().flatten().count() as u64);
    });
}

/// A ring whose first element was claimed by a consumer that died.
fn ring_with_a_claimed_cell() -> Rc<Ring<Uncounted>> {
    let ring = Ring::with(&[1, 2]);
    let died = catch_unwind(AssertUnwindSafe(|| {
        // Past the panic hook, which would print.
        ring.queue().pop_with(|_| resume_unwind(Box::new("death")))
    }));
    assert!(died.is_err(), "the consumer claimed nothing");
    ring
}

#[test]
fn a_cell_is_read_before_the_producer_that_it_is_reclaimed_for_overwrites_it() {
    Model {
        name: "mpmc, 1 claimed by the dead, 1 left: reclaim, 2 producers x 1, capacity 2",
        preemption_bound: None,
        at_least: 16_000,
        outcomes: &["pushed", "full"],
    }
    .check(|outcomes| {
        let ring = ring_with_a_claimed_cell();
        let heir = spawn(&ring, outcomes, |ring, _| {
            let mut reclaimed = Vec::new();
            ring.turn.take();
            // SAFETY: the only consumer is dead, and its end happens before this thread.
            let cells = unsafe { ring.queue().reclaim(|value| reclaimed.push(value)) };
            assert_eq!(cells, 1);
            reclaimed
        });
        let producers =
            [3, 4].map(|value| spawn(&ring, outcomes, move |ring, outcomes| ring.push(value, outcomes)));
        let reclaimed = join([heir]);
        assert_eq!(reclaimed[0], [1]);
        let pushed = join(producers);
        ring.account([2].into_iter().chain(pushed.into_iter().flatten()), []);
    });
}

type Consumer<'m> = MpscConsumer<'m, u64, Uncounted, Loom>;

fn owner(id: u32) -> Owner {
    Owner::process(NonZero::new(id).expect("a number"))
}

/// A list with the right to be its consumer.
struct Claimed {
    right: Right<Loom>,
    list: Rc<List<Uncounted>>,
    /// The consumer that was here first is dead.
    is_dead: AtomicBool,
    turn: Turn,
}

impl Claimed {
    fn with(elements: &[u64], room: usize) -> Rc<Self> {
        Rc::new(Claimed {
            right: Right::free(),
            list: List::with(elements, room),
            is_dead: AtomicBool::new(false),
            turn: Turn::new(),
        })
    }

    fn claim(&self, id: u32, outcomes: &Outcomes) -> Option<Consumer<'_>> {
        self.turn.take();
        // SAFETY: whoever consumes in a model has this right.
        let consumer = unsafe { Consumer::claim(self.list.queue(), &self.right, owner(id)) };
        saw("claimed", consumer, outcomes)
    }

    /// Takes over from the consumer that calls itself 1, if that is dead.
    fn take_over(&self, id: u32, outcomes: &Outcomes) -> Option<Consumer<'_>> {
        self.turn.take();
        if !self.is_dead.load(Ordering::Acquire) {
            outcomes.saw("nobody is dead");
            return None;
        }
        // SAFETY: as above, and the dead one has said that it is last of all.
        let consumer =
            unsafe { Consumer::take_over(self.list.queue(), &self.right, Some(owner(1)), owner(id)) };
        saw("taken over", consumer, outcomes)
    }

    /// Claims the right as 1, pops once and dies.
    fn die(&self, outcomes: &Outcomes) -> Option<u64> {
        let mut consumer = ManuallyDrop::new(self.claim(1, outcomes)?);
        let popped = self.pop(&mut consumer, outcomes);
        self.is_dead.store(true, Ordering::Release);
        popped
    }

    fn pop(&self, consumer: &mut Consumer<'_>, outcomes: &Outcomes) -> Option<u64> {
        self.list.turn.take();
        list::popped(outcomes, || consumer.pop())
    }

    /// Pops once, if there is a consumer, and gives the right up.
    fn consume(&self, consumer: Option<Consumer<'_>>, outcomes: &Outcomes) -> Option<u64> {
        self.pop(&mut consumer?, outcomes)
    }
}

/// What became of an attempt to be the consumer.
fn saw<'m>(
    how: &'static str,
    consumer: Result<Consumer<'m>, ArenaError>,
    outcomes: &Outcomes,
) -> Option<Consumer<'m>> {
    match consumer {
        Ok(consumer) => {
            outcomes.saw(how);
            Some(consumer)
        }
        Err(ArenaError::ConsumerTaken { .. }) => {
            outcomes.saw("taken");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_consumer_goes_on_where_the_last_one_stopped() {
    Model {
        name: "arena, 2 left: 2 threads x (claim, pop, release) and 1 producer x 1, room for 2",
        preemption_bound: Some(3),
        at_least: 2_200,
        outcomes: &["claimed", "taken", "popped", "pushed", "exhausted"],
    }
    .check(|outcomes| {
        let claimed = Claimed::with(&[1, 2], 2);
        let consumers = [1, 2].map(|id| {
            spawn(&claimed, outcomes, move |claimed, outcomes| {
                claimed.consume(claimed.claim(id, outcomes), outcomes)
            })
        });
        let producer = spawn(&claimed, outcomes, |claimed, outcomes| claimed.list.push(3, outcomes));
        let popped = join(consumers);
        let pushed = join([producer]);
        assert_eq!(claimed.right.owner(), None);
        let in_order = popped.into_iter().flatten().is_sorted() || popped == [Some(2), Some(1)];
        assert!(in_order, "{popped:?}");
        claimed
            .list
            .account([1, 2].into_iter().chain(pushed.into_iter().flatten()), popped.into_iter().flatten());
    });
}

#[test]
fn one_of_two_heirs_of_a_dead_consumer_goes_on_and_then_maybe_the_other() {
    Model {
        name: "arena, 2 left, the consumer is dead: 2 threads x (take over, pop, release), 1 producer x 1, room for 3",
        preemption_bound: Some(3),
        at_least: 7_000,
        outcomes: &["taken over", "taken", "popped", "pushed", "push contended"],
    }
    .check(|outcomes| {
        let claimed = Claimed::with(&[0, 1, 2], 3);
        assert_eq!(claimed.die(&Outcomes::default()), Some(0));
        let heirs = [2, 3].map(|id| {
            spawn(&claimed, outcomes, move |claimed, outcomes| {
                claimed.consume(claimed.take_over(id, outcomes), outcomes)
            })
        });
        let producer = spawn(&claimed, outcomes, |claimed, outcomes| claimed.list.push(3, outcomes));
        let popped = join(heirs);
        let pushed = join([producer]);
        assert!(popped.iter().any(Option::is_some), "nobody has taken over");
        assert_eq!(claimed.right.owner(), None);
        claimed.list.account([1, 2].into_iter().chain(pushed.into_iter().flatten()), popped.into_iter().flatten());
    });
}

#[test]
fn a_consumer_that_dies_has_heirs_and_not_before() {
    Model {
        name: "arena, 3 left: 1 thread claims, pops and dies; 1 takes over and 1 claims, each x (pop, release)",
        preemption_bound: Some(3),
        at_least: 1_400,
        outcomes: &["claimed", "taken over", "taken", "nobody is dead", "popped"],
    }
    .check(|outcomes| {
        let claimed = Claimed::with(&[1, 2, 3], 3);
        let mortal = spawn(&claimed, outcomes, Claimed::die);
        let heir = spawn(&claimed, outcomes, |claimed, outcomes| {
            claimed.consume(claimed.take_over(2, outcomes), outcomes)
        });
        let other = spawn(&claimed, outcomes, |claimed, outcomes| {
            claimed.consume(claimed.claim(3, outcomes), outcomes)
        });
        let popped = join([mortal, heir, other]);
        claimed.list.account([1, 2, 3], popped.into_iter().flatten());
    });
}
