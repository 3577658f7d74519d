//! The header's protocol, on words of loom: `arena` itself is made of `Native` memory. The sites are its own,
//! so their orderings are the ones that are checked.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use arenaq::arena::{MAGIC, site};
use arenaq::count::Uncounted;
use arenaq::mpmc::{Capacity, Cell, Head};
use arenaq::platform::{Plain, Platform, Word};

use crate::list::List;
use crate::model::{Loom, Model, Outcomes, Turn, join, spawn};
use crate::ring::Ring;

/// The fields of [`ArenaHeader`](arenaq::arena::ArenaHeader) on which somebody waits, and one of those that
/// are written before.
struct Header {
    magic: <Loom as Platform>::Word,
    version: <Loom as Platform>::Plain<u64>,
    consumer: <Loom as Platform>::Word,
    turn: Turn,
}

impl Header {
    fn new() -> Self {
        Header { magic: Word::new(0), version: Plain::new(0), consumer: Word::new(0), turn: Turn::new() }
    }

    /// As `ConsumerClaim::new`.
    fn claim(&self, outcomes: &Outcomes) -> bool {
        self.turn.take();
        let claimed = self.consumer.compare_exchange(0, 1, &site::CONSUMER_CLAIM).is_ok();
        outcomes.saw(if claimed { "claimed" } else { "taken" });
        claimed
    }

    /// As `ConsumerClaim::take_over`: `dead` died with the claim.
    fn take_over(&self, dead: u64, owner: u64, outcomes: &Outcomes) -> bool {
        self.turn.take();
        let claimed = match self.consumer.load(&site::CONSUMER_OWNER) {
            0 => self.consumer.compare_exchange(0, owner, &site::CONSUMER_CLAIM),
            // Somebody has taken it over before, and is alive: the promise of the caller ends here.
            found if found != dead => Err(found),
            found => self.consumer.compare_exchange(found, owner, &site::CONSUMER_TAKE_OVER),
        };
        outcomes.saw(if claimed.is_ok() { "taken over" } else { "taken" });
        claimed.is_ok()
    }

    /// As the drop of a `ConsumerClaim`.
    fn release(&self) {
        self.consumer.store(0, &site::CONSUMER_RELEASE);
    }
}

/// An arena that one thread makes while others try to attach.
struct Unmade {
    header: Header,
    head: Head<Loom, u64, Uncounted>,
    cells: Vec<Cell<Loom, u64>>,
}

impl Unmade {
    /// As `Arena::format`, `create_mpmc` and `publish`.
    fn make(&self) {
        // SAFETY: the cells live beside the head and are its alone: nobody else touches either before the
        // magic is there. A cell is changed through shared references only, so the cast takes nothing away.
        unsafe {
            self.header.version.write(1, &site::FORMAT);
            self.head.init(self.cells.as_ptr().cast_mut(), Capacity::MIN).expect("two cells");
        }
        self.header.turn.take();
        self.header.magic.store(MAGIC, &site::FORMAT_PUBLISH);
    }

    /// As `Arena::attach`, and a push.
    fn attach(&self, value: u64, outcomes: &Outcomes) -> Option<u64> {
        self.header.turn.take();
        if self.header.magic.load(&site::ATTACH_MAGIC) != MAGIC {
            outcomes.saw("no header");
            return None;
        }
        // SAFETY: written before the magic that we have acquired, and never again.
        assert_eq!(unsafe { self.header.version.read(&site::ATTACH) }, 1);
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
            header: Header::new(),
            head: Head::empty(),
            cells: (0..2).map(|_| Cell::empty()).collect(),
        });
        let maker = spawn(&unmade, outcomes, |unmade, _| {
            unmade.make();
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

/// A list with the claim to be its consumer.
struct Claimed {
    header: Header,
    list: Rc<List<Uncounted>>,
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
        let claimed = Rc::new(Claimed { header: Header::new(), list: List::with(&[1, 2], 2) });
        let consumers = [(); 2].map(|()| {
            spawn(&claimed, outcomes, |claimed, outcomes| {
                if !claimed.header.claim(outcomes) {
                    return Vec::new();
                }
                let popped = claimed.list.consume(1, outcomes);
                claimed.header.release();
                popped
            })
        });
        let producer = spawn(&claimed, outcomes, |claimed, outcomes| {
            claimed.list.push(3, outcomes);
        });
        let popped = join(consumers);
        join([producer]);
        let mut popped: Vec<_> = popped.into_iter().flatten().collect();
        popped.sort_unstable();
        popped.extend(claimed.list.drain());
        assert!(popped == [1, 2] || popped == [1, 2, 3], "{popped:?}");
    });
}

#[test]
fn one_of_two_heirs_of_a_dead_consumer_goes_on_and_then_maybe_the_other() {
    Model {
        name: "arena, 2 left, the consumer is dead: 2 threads x (take over, pop, release), 1 producer x 1, room for 2",
        preemption_bound: Some(3),
        at_least: 4_000,
        outcomes: &["taken over", "taken", "popped", "pushed", "exhausted"],
    }
    .check(|outcomes| {
        let claimed = Rc::new(Claimed { header: Header::new(), list: List::with(&[1, 2], 2) });
        // A consumer that never releases.
        assert!(claimed.header.consumer.compare_exchange(0, 1, &site::CONSUMER_CLAIM).is_ok());
        let heirs = [2, 3].map(|owner| {
            spawn(&claimed, outcomes, move |claimed, outcomes| {
                if !claimed.header.take_over(1, owner, outcomes) {
                    return Vec::new();
                }
                let popped = claimed.list.consume(1, outcomes);
                claimed.header.release();
                popped
            })
        });
        let producer = spawn(&claimed, outcomes, |claimed, outcomes| {
            claimed.list.push(3, outcomes);
        });
        let popped = join(heirs);
        join([producer]);
        let mut popped: Vec<_> = popped.into_iter().flatten().collect();
        assert!(!popped.is_empty(), "nobody has taken over");
        popped.sort_unstable();
        popped.extend(claimed.list.drain());
        assert!(popped == [1, 2] || popped == [1, 2, 3], "{popped:?}");
    });
}
