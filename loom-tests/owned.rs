//! The queues in plain Rust: elements that own something are dropped once, whoever has them last, after everything that was
//! done to them.
//!
//! Every thread drops its end when it is done, so that each of them is the last in some permutation, and drops what is
//! left.

use std::cell::Cell;
use std::rc::Rc;

use arenaq::platform::Identify;
use arenaq::{mpmc, mpsc};
use loom::alloc::Track;
use loom::cell::UnsafeCell;
use loom::sync::Arc;

use crate::model::{Loom, Model, Outcomes, Turn, join, spawn};

type Queue = mpmc::Queue<Box<Element>, Loom>;
type Producer = mpsc::queue::Producer<Box<Element>, Loom>;
type Consumer = mpsc::queue::Consumer<Box<Element>, Loom>;

/// The most elements of a model.
const MOST: usize = 4;

/// What the threads of a model share beside the queue.
struct World {
    turn: Turn,
    outcomes: Outcomes,
    /// How often each element was made, and dropped.
    made: [Cell<u8>; MOST],
    dropped: [Cell<u8>; MOST],
    /// How often it came out of the queue, or was not let in.
    given: [Cell<u8>; MOST],
    /// The thread of the consumer.
    consumer: Cell<Option<u64>>,
}

fn one_more(count: &Cell<u8>) {
    count.set(count.get() + 1);
}

fn thread_here() -> u64 {
    <arenaq::platform::Loom as Identify>::identity()
}

impl World {
    fn new(outcomes: &Outcomes) -> Rc<World> {
        Rc::new(World {
            turn: Turn::new(),
            outcomes: outcomes.clone(),
            made: Default::default(),
            dropped: Default::default(),
            given: Default::default(),
            consumer: Cell::new(None),
        })
    }

    fn element(self: &Rc<Self>, number: usize) -> Box<Element> {
        one_more(&self.made[number]);
        Box::new(Element { number: UnsafeCell::new(number), _tracked: Track::new(()), world: self.clone() })
    }

    /// Somebody has the element, and drops it.
    #[expect(
        clippy::boxed_local,
        clippy::needless_pass_by_value,
        reason = "a box is what the queues carry, and it is dropped"
    )]
    fn given(&self, element: Box<Element>) -> usize {
        let number = element.number();
        assert_eq!(self.dropped[number].get(), 0, "given after it was dropped");
        one_more(&self.given[number]);
        number
    }

    /// What a producer gets for a push.
    fn pushed(&self, result: Result<(), Box<Element>>) {
        self.outcomes.saw(match result {
            Ok(()) => "pushed",
            Err(element) => {
                self.given(element);
                "full"
            }
        });
    }

    /// Pops so many times, and says which came.
    fn pop(&self, times: usize, mut pop: impl FnMut() -> Option<Box<Element>>) -> Vec<usize> {
        self.consumer.set(Some(thread_here()));
        let pop = |()| {
            self.turn.take();
            let popped = pop();
            self.outcomes.saw(if popped.is_some() { "popped" } else { "nothing" });
            popped.map(|element| self.given(element))
        };
        std::iter::repeat_n((), times).filter_map(pop).collect()
    }

    /// Everything that was made is gone, once. Everybody else is gone too.
    fn account(&self) {
        for number in 0..MOST {
            let [made, dropped, given] =
                [&self.made, &self.dropped, &self.given].map(|counts| counts[number].get());
            assert_eq!(dropped, made, "element {number}: leaked, or dropped twice");
            assert!(given <= made, "element {number} was seen twice");
        }
    }
}

/// An element on the heap, which loom reports if it is leaked.
struct Element {
    /// In a cell of loom's: a read that is not ordered behind its making is a race, and so is a drop that is not ordered
    /// behind a read.
    number: UnsafeCell<usize>,
    _tracked: Track<()>,
    world: Rc<World>,
}

impl Element {
    fn number(&self) -> usize {
        // SAFETY: loom says whether nobody writes it meanwhile.
        self.number.with(|number| unsafe { *number })
    }
}

impl Drop for Element {
    fn drop(&mut self) {
        // SAFETY: loom says whether nobody has it any more.
        let number = self.number.with_mut(|number| unsafe { *number });
        let world = &self.world;
        one_more(&world.dropped[number]);
        if world.given[number].get() == 0 {
            let is_consumer = world.consumer.get() == Some(thread_here());
            world.outcomes.saw(if is_consumer { "left to the consumer" } else { "left to a producer" });
        }
    }
}

fn saw_batch(elements: usize, outcomes: &Outcomes) {
    outcomes.saw(match elements {
        0 => "full",
        1 => "1 pushed",
        2 => "2 pushed",
        other => panic!("a batch of {other}"),
    });
}

#[test]
fn the_last_who_has_an_mpmc_queue_drops_what_is_left() {
    Model {
        name: "mpmc in plain Rust, 2 producers x 1, 1 consumer x 1, capacity 2",
        preemption_bound: Some(2),
        at_least: 1_100,
        outcomes: &["pushed", "popped", "nothing", "left to a producer", "left to the consumer"],
    }
    .check(|outcomes| {
        let world = World::new(outcomes);
        let queue = Arc::new(Queue::new_on(2));
        let producers = [0, 1].map(|number| {
            let (queue, elements) = (queue.clone(), world.clone());
            spawn(&world, outcomes, move |world, _| {
                world.turn.take();
                world.pushed(queue.push(elements.element(number)));
            })
        });
        let consumer = spawn(&world, outcomes, move |world, _| {
            world.pop(1, || queue.pop());
        });
        join(producers);
        join([consumer]);
        world.account();
    });
}

#[test]
fn a_cell_is_given_from_one_box_to_the_next() {
    Model {
        name: "mpmc in plain Rust, full: 1 producer x 2, 1 consumer x 2, capacity 2",
        preemption_bound: None,
        at_least: 270,
        outcomes: &["pushed", "full", "popped", "left to a producer", "left to the consumer"],
    }
    .check(|outcomes| {
        let world = World::new(outcomes);
        let queue = Arc::new(Queue::new_on(2));
        for number in [0, 1] {
            assert!(queue.push(world.element(number)).is_ok(), "room for 2");
        }
        let producer = {
            let (queue, elements) = (queue.clone(), world.clone());
            spawn(&world, outcomes, move |world, _| {
                for number in [2, 3] {
                    world.turn.take();
                    world.pushed(queue.push(elements.element(number)));
                }
            })
        };
        let consumer = spawn(&world, outcomes, move |world, _| {
            assert_eq!(world.pop(2, || queue.pop()), [0, 1], "first in, first out");
        });
        join([producer, consumer]);
        world.account();
    });
}

#[test]
fn what_is_not_taken_from_an_mpmc_batch_is_dropped() {
    Model {
        name: "mpmc in plain Rust, 1 producer x 3 at once, 1 consumer drains 2 and takes 1, capacity 2",
        preemption_bound: None,
        at_least: 650,
        outcomes: &[
            "1 pushed",
            "2 pushed",
            "popped",
            "nothing",
            "left to a producer",
            "left to the consumer",
        ],
    }
    .check(|outcomes| {
        let world = World::new(outcomes);
        let queue = Arc::new(Queue::new_on(2));
        assert!(queue.push(world.element(0)).is_ok(), "room for 2");
        let producer = {
            let (queue, elements) = (queue.clone(), world.clone());
            spawn(&world, outcomes, move |world, outcomes| {
                let mut values = vec![elements.element(1), elements.element(2), elements.element(3)];
                world.turn.take();
                saw_batch(queue.push_from(&mut values), outcomes);
            })
        };
        let consumer = spawn(&world, outcomes, move |world, _| {
            for _ in 0..2 {
                world.pop(1, || queue.drain(2).next());
            }
        });
        join([producer, consumer]);
        world.account();
    });
}

/// An end that pushes elements one by one.
fn produce(
    world: &Rc<World>,
    outcomes: &Outcomes,
    producer: Producer,
    numbers: &'static [usize],
) -> loom::thread::JoinHandle<()> {
    let elements = world.clone();
    spawn(world, outcomes, move |world, _| {
        for number in numbers {
            world.turn.take();
            world.pushed(producer.push(elements.element(*number)));
        }
        // Not before: a closure drops what it has not used after its last word.
        drop(producer);
    })
}

#[test]
fn the_last_who_has_an_end_of_an_mpsc_queue_drops_what_is_left() {
    Model {
        name: "mpsc in plain Rust, 2 producers x 1, 1 consumer x 1, room for 2",
        preemption_bound: Some(2),
        at_least: 2_100,
        outcomes: &["pushed", "popped", "nothing", "left to a producer", "left to the consumer"],
    }
    .check(|outcomes| {
        let world = World::new(outcomes);
        let (producer, mut consumer): (Producer, Consumer) = mpsc::queue_on(2);
        let producers =
            [produce(&world, outcomes, producer.clone(), &[0]), produce(&world, outcomes, producer, &[1])];
        let consumer = spawn(&world, outcomes, move |world, _| {
            world.pop(1, || consumer.pop());
        });
        join(producers);
        join([consumer]);
        world.account();
    });
}

#[test]
fn a_node_is_given_from_one_box_to_the_next() {
    Model {
        name: "mpsc in plain Rust, full: 1 producer x 2, 1 consumer x 2, room for 1",
        preemption_bound: None,
        at_least: 1_400,
        outcomes: &["pushed", "full", "popped", "nothing", "left to a producer", "left to the consumer"],
    }
    .check(|outcomes| {
        let world = World::new(outcomes);
        let (producer, mut consumer): (Producer, Consumer) = mpsc::queue_on(1);
        assert!(producer.push(world.element(0)).is_ok(), "room for 1");
        let producer = produce(&world, outcomes, producer, &[1, 2]);
        let consumer = spawn(&world, outcomes, move |world, _| {
            assert!(world.pop(2, || consumer.pop()).is_sorted(), "first in, first out");
        });
        join([producer, consumer]);
        world.account();
    });
}

#[test]
fn what_is_not_taken_from_an_mpsc_batch_is_dropped() {
    Model {
        name: "mpsc in plain Rust, 1 producer x 3 at once, 1 consumer drains 2 and takes 1, room for 2",
        preemption_bound: None,
        at_least: 490,
        outcomes: &[
            "1 pushed",
            "2 pushed",
            "popped",
            "nothing",
            "left to a producer",
            "left to the consumer",
        ],
    }
    .check(|outcomes| {
        let world = World::new(outcomes);
        let (producer, mut consumer): (Producer, Consumer) = mpsc::queue_on(2);
        assert!(producer.push(world.element(0)).is_ok(), "room for 2");
        let producer = {
            let elements = world.clone();
            spawn(&world, outcomes, move |world, outcomes| {
                let mut values = vec![elements.element(1), elements.element(2), elements.element(3)];
                world.turn.take();
                saw_batch(producer.push_from(&mut values), outcomes);
            })
        };
        let consumer = spawn(&world, outcomes, move |world, _| {
            for _ in 0..2 {
                world.pop(1, || consumer.drain(2).next());
            }
        });
        join([producer, consumer]);
        world.account();
    });
}
