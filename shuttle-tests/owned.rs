//! The queues in plain Rust: more threads, elements and laps than loom can exhaust. Each element is dropped once, also if an
//! end leaves early and if half of a batch is not taken.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU8, Ordering};

use arenaq::platform::Traced;
use arenaq::{mpmc, mpsc, spsc};
use shuttle::sync::Arc;
use shuttle::thread;

use crate::runner::{MAIN, Run, Schedules, check, test_name};

type Shuttle = Traced<arenaq::platform::Shuttle>;
type Queue = mpmc::Queue<Box<Element>, Shuttle>;
type Producer = mpsc::queue::Producer<Box<Element>, Shuttle>;
type Consumer = mpsc::queue::Consumer<Box<Element>, Shuttle>;

const PRODUCERS: usize = 3;
/// Elements of one producer.
const PUSHES: usize = 6;
/// What one consumer does, one operation after another.
const POPS: usize = 12;

/// How often each element was dropped. These are no atomics of shuttle's: to count changes no schedule.
#[derive(Clone, Default)]
struct Tally(std::sync::Arc<[AtomicU8; PRODUCERS * PUSHES]>);

/// An element on the heap.
struct Element {
    number: usize,
    tally: Tally,
}

impl Drop for Element {
    fn drop(&mut self) {
        let before = self.tally.0[self.number].fetch_add(1, Ordering::Relaxed);
        assert_eq!(before, 0, "element {} is dropped twice", self.number);
    }
}

impl Tally {
    fn element(&self, number: usize) -> Box<Element> {
        Box::new(Element { number, tally: self.clone() })
    }

    /// Everybody is gone.
    fn account(&self) {
        self.account_of(PRODUCERS);
    }

    /// The same with so many producers.
    fn account_of(&self, producers: usize) {
        for (number, dropped) in self.0.iter().take(producers * PUSHES).enumerate() {
            assert_eq!(dropped.load(Ordering::Relaxed), 1, "element {number} is leaked");
        }
    }
}

/// One element at a time, and the rest in batches; what finds no room is dropped.
#[expect(clippy::vec_box, reason = "a box is what the queues carry")]
fn produce(
    run: &Run,
    mut elements: Vec<Box<Element>>,
    push: impl Fn(Box<Element>) -> Result<(), Box<Element>>,
    push_from: impl Fn(&mut Vec<Box<Element>>) -> usize,
) {
    for _ in 0..PUSHES / 2 {
        let pushed = push(elements.remove(0));
        run.saw(if pushed.is_ok() { "pushed" } else { "full" });
    }
    while !elements.is_empty() {
        match push_from(&mut elements) {
            0 => break,
            1 => run.saw("1 at once"),
            _ => run.saw("more at once"),
        }
    }
}

/// Single elements and batches of up to three, of which one is taken.
fn consume<D: IntoIterator<Item = Box<Element>>>(
    run: &Run,
    mut pop: impl FnMut() -> Option<Box<Element>>,
    mut drain: impl FnMut(usize) -> D,
) where
    D::IntoIter: ExactSizeIterator,
{
    let mut last = [None; PRODUCERS];
    for step in 0..POPS {
        let popped = if step % 3 < 2 {
            pop()
        } else {
            let mut drained = drain(3).into_iter();
            let first = drained.next();
            if drained.len() > 0 {
                run.saw("half taken");
            }
            first
        };
        let Some(element) = popped else {
            run.saw("nothing");
            continue;
        };
        run.saw("popped");
        let (producer, serial) = (element.number / PUSHES, element.number % PUSHES);
        assert!(last[producer] < Some(serial), "element {} is late", element.number);
        last[producer] = Some(serial);
    }
}

const EXPECTED: [&str; 7] =
    ["pushed", "full", "1 at once", "more at once", "popped", "nothing", "half taken"];

#[expect(clippy::vec_box, reason = "a box is what the queues carry")]
fn elements(tally: &Tally, producer: usize) -> Vec<Box<Element>> {
    (0..PUSHES).map(|serial| tally.element(producer * PUSHES + serial)).collect()
}

fn mpmc(test: &str, schedules: Schedules) {
    check(test, schedules, MAIN / 4, &EXPECTED, |run| {
        let tally = Tally::default();
        let queue = Arc::new(Queue::new_on(4));
        let producers = (0..PRODUCERS).map(|producer| {
            let (run, queue, elements) = (run.clone(), queue.clone(), elements(&tally, producer));
            thread::spawn(move || {
                produce(&run, elements, |one| queue.push(one), |many| queue.push_from(many));
            })
        });
        let consumers = (0..2).map(|_| {
            let (run, queue) = (run.clone(), queue.clone());
            thread::spawn(move || consume(&run, || queue.pop(), |limit| queue.drain(limit)))
        });
        let threads: Vec<_> = producers.chain(consumers).collect();
        drop(queue);
        threads.into_iter().for_each(|thread| thread.join().expect("a thread of the model"));
        tally.account();
    });
}

fn mpsc(test: &str, schedules: Schedules) {
    check(test, schedules, MAIN / 4, &EXPECTED, |run| {
        let tally = Tally::default();
        let (producer, mut consumer): (Producer, Consumer) = mpsc::queue_on(4);
        let producers = (0..PRODUCERS).map(|number| {
            let (run, producer, elements) = (run.clone(), producer.clone(), elements(&tally, number));
            thread::spawn(move || {
                produce(&run, elements, |one| producer.push(one), |many| producer.push_from(many));
            })
        });
        let threads: Vec<_> = producers.collect();
        drop(producer);
        let consumer = {
            let run = run.clone();
            thread::spawn(move || {
                let consumer = RefCell::new(&mut consumer);
                let pop = || consumer.borrow_mut().pop();
                consume(&run, pop, |limit| consumer.borrow_mut().drain(limit));
            })
        };
        threads
            .into_iter()
            .chain([consumer])
            .for_each(|thread| thread.join().expect("a thread of the model"));
        tally.account();
    });
}

#[test]
fn boxes_in_an_mpmc_queue_are_dropped_once_in_random_schedules() {
    mpmc(test_name!(), Schedules::Random);
}

#[test]
fn boxes_in_an_mpmc_queue_are_dropped_once_with_few_preemptions() {
    mpmc(test_name!(), Schedules::Pct);
}

#[test]
fn boxes_in_an_mpsc_queue_are_dropped_once_in_random_schedules() {
    mpsc(test_name!(), Schedules::Random);
}

#[test]
fn boxes_in_an_mpsc_queue_are_dropped_once_with_few_preemptions() {
    mpsc(test_name!(), Schedules::Pct);
}

#[expect(clippy::vec_box, reason = "a box is what the queues carry")]
fn produce_into(
    run: &Run,
    elements: Vec<Box<Element>>,
    producer: &mut spsc::Producer<Box<Element>, Shuttle>,
) {
    let producer = RefCell::new(producer);
    produce(
        run,
        elements,
        |one| producer.borrow_mut().push(one),
        |many| {
            let room = producer.borrow().capacity().min(many.len());
            let mut batch = many.drain(..room);
            let pushed = producer.borrow_mut().push_from(&mut batch);
            // What was not asked for stays.
            let rest: Vec<_> = batch.collect();
            many.splice(0..0, rest);
            pushed
        },
    );
}

fn spsc(test: &str, schedules: Schedules) {
    check(test, schedules, MAIN / 4, &EXPECTED, |run| {
        let tally = Tally::default();
        let (mut producer, mut consumer) = spsc::ring_on::<Box<Element>, Shuttle>(2, u64::MAX - 2);
        let producing = {
            let (run, elements) = (run.clone(), elements(&tally, 0));
            thread::spawn(move || produce_into(&run, elements, &mut producer))
        };
        let consuming = {
            let run = run.clone();
            thread::spawn(move || {
                let consumer = RefCell::new(&mut consumer);
                consume(
                    &run,
                    || consumer.borrow_mut().pop(),
                    |limit| {
                        let mut drained = Vec::new();
                        consumer.borrow_mut().drain(limit, |element| drained.push(element));
                        drained
                    },
                );
            })
        };
        [producing, consuming].into_iter().for_each(|thread| thread.join().expect("a thread of the model"));
        tally.account_of(1);
    });
}

fn fan_in(test: &str, schedules: Schedules) {
    check(test, schedules, MAIN / 4, &EXPECTED, |run| {
        let tally = Tally::default();
        let mut consumer = spsc::FanIn::new();
        let producing: Vec<_> = (0..PRODUCERS)
            .map(|number| {
                let (mut producer, ring) = spsc::ring_on::<Box<Element>, Shuttle>(2, u64::MAX - 2);
                consumer.add(ring);
                let (run, elements) = (run.clone(), elements(&tally, number));
                thread::spawn(move || produce_into(&run, elements, &mut producer))
            })
            .collect();
        let consuming = {
            let run = run.clone();
            thread::spawn(move || {
                let consumer = RefCell::new(consumer);
                consume(
                    &run,
                    || consumer.borrow_mut().pop(),
                    |limit| {
                        let mut drained = Vec::new();
                        consumer.borrow_mut().drain(limit, |element| drained.push(element));
                        drained
                    },
                );
            })
        };
        for thread in producing.into_iter().chain([consuming]) {
            thread.join().expect("a thread of the model");
        }
        tally.account();
    });
}

#[test]
fn boxes_in_a_ring_for_each_producer_are_dropped_once_in_random_schedules() {
    fan_in(test_name!(), Schedules::Random);
}

#[test]
fn boxes_in_a_ring_for_each_producer_are_dropped_once_with_few_preemptions() {
    fan_in(test_name!(), Schedules::Pct);
}

#[test]
fn boxes_in_the_ring_of_two_threads_are_dropped_once_in_random_schedules() {
    spsc(test_name!(), Schedules::Random);
}

#[test]
fn boxes_in_the_ring_of_two_threads_are_dropped_once_with_few_preemptions() {
    spsc(test_name!(), Schedules::Pct);
}
