//! Small programs: written by hand for the other modules, and generated here. A generated program whose
//! history is not what the queue promises shrinks until nothing can be left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use shuttle::thread;

use crate::history::{Call, History, Item, Outcome, Recorder};
use crate::queues::{Broken, Fault, List, Queue, Ring};
use crate::runner::{Run, Schedules, Settings, explore, test_name};
use crate::specification::satisfies;

/// Programs that a test generates.
const CASES: u32 = 64;
/// Schedules in which each is run.
const SCHEDULES: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Push,
    Pop,
}

/// What each thread does, and with what queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) capacity: u64,
    /// Where the positions, or the tag, start.
    pub(crate) start: u64,
    pub(crate) threads: Vec<Vec<Op>>,
}

impl Program {
    /// One word per thread: `+` pushes, `-` pops.
    pub(crate) fn new(capacity: u64, start: u64, threads: &str) -> Program {
        let op = |letter| if letter == '+' { Op::Push } else { Op::Pop };
        let threads = threads.split_whitespace().map(|word| word.chars().map(op).collect()).collect();
        Program { capacity, start, threads }
    }

    pub(crate) fn operations(&self) -> usize {
        self.threads.iter().map(Vec::len).sum()
    }

    /// All programs with one thread less, of two at least, or one operation less, or without the start.
    fn simpler(&self) -> impl Iterator<Item = Program> {
        let threads = 0..if self.threads.len() > 2 { self.threads.len() } else { 0 };
        let without_thread = threads.map(|thread| {
            let mut program = self.clone();
            program.threads.remove(thread);
            program
        });
        let longer = (0..self.threads.len()).filter(|thread| self.threads[*thread].len() > 1);
        let places = longer.flat_map(|thread| (0..self.threads[thread].len()).map(move |op| (thread, op)));
        let without_op = places.map(|(thread, op)| {
            let mut program = self.clone();
            program.threads[thread].remove(op);
            program
        });
        let without_start = (self.start != 0).then(|| Program { start: 0, ..self.clone() });
        without_thread.chain(without_op).chain(without_start)
    }

    /// Runs all threads to their end and then, as one thread more, pops until the queue is empty.
    pub(crate) fn run(&self, run: &Run, queue: impl Queue) -> History {
        let queue = Arc::new(queue);
        let recorder = Recorder::default();
        let threads: Vec<_> = (0..)
            .zip(&self.threads)
            .map(|(number, ops)| {
                let (queue, recorder, ops) = (queue.clone(), recorder.clone(), ops.clone());
                let run = run.clone();
                thread::spawn(move || {
                    // Only a thread that pops is a consumer.
                    let mut consumer = ops.contains(&Op::Pop).then(|| queue.consumer());
                    let mut serials = 0..;
                    for op in ops {
                        let outcome = match (op, &mut consumer) {
                            (Op::Pop, Some(pop)) => recorder.record(number, Call::Pop, pop),
                            _ => {
                                let serial = serials.next().expect("a serial");
                                let item = Item { producer: number as u64, serial };
                                recorder.record(number, Call::Push(item), || queue.push(item))
                            }
                        };
                        run.saw(outcome.name());
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("a thread of the program");
        }
        let mut pop = queue.consumer();
        // A broken queue may never be empty.
        for _ in 0..self.operations() + 2 {
            let outcome = recorder.record(self.threads.len(), Call::Pop, &mut pop);
            if outcome == Outcome::Empty {
                break;
            }
        }
        drop(pop);
        queue.verify_drained();
        recorder.history(self.capacity)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "capacity {}, start {}", self.capacity, self.start)?;
        for (number, ops) in self.threads.iter().enumerate() {
            let ops: Vec<_> = ops.iter().map(|op| format!("{op:?}").to_lowercase()).collect();
            write!(f, "\nthread {number}: {}", ops.join(", "))?;
        }
        Ok(())
    }
}

/// Two to four threads with up to four operations each, around the wrap-around or far from it.
fn programs(capacity: impl Strategy<Value = u64>) -> impl Strategy<Value = Program> {
    let start = prop_oneof![Just(0), (0..6_u64).prop_map(|before| u64::MAX - before)];
    let op = prop_oneof![Just(Op::Push), Just(Op::Pop)];
    (capacity, start, vec(vec(op, 1..=4), 2..=4)).prop_map(|(capacity, start, threads)| Program {
        capacity,
        start,
        threads,
    })
}

fn mpmc_programs() -> impl Strategy<Value = Program> {
    programs(prop_oneof![Just(2), Just(4)])
}

/// All threads but the first do nothing but this.
fn all_others(op: Op, mut program: Program) -> Program {
    program.threads.iter_mut().skip(1).flatten().for_each(|other| *other = op);
    program
}

/// Only the first thread pops.
fn mpsc_programs() -> impl Strategy<Value = Program> {
    programs(1..=4_u64).prop_map(|program| all_others(Op::Push, program))
}

/// The same on a ring.
fn single_consumer_programs() -> impl Strategy<Value = Program> {
    mpmc_programs().prop_map(|program| all_others(Op::Push, program))
}

/// Only the first thread pushes.
fn single_producer_programs() -> impl Strategy<Value = Program> {
    mpmc_programs().prop_map(|program| all_others(Op::Pop, program))
}

/// The first history of `program` that is not what the queue promises.
fn wrong_history<Q: Queue>(
    settings: &Settings,
    program: &Program,
    queue: fn(&Program) -> Q,
    outcomes: &mut BTreeMap<&'static str, u64>,
) -> Option<History> {
    let wrong = Arc::new(Mutex::new(None));
    let report = explore(settings, {
        let (wrong, program) = (wrong.clone(), program.clone());
        move |run| {
            let history = program.run(run, queue(&program));
            if !satisfies::<Q::Promise>(&history) {
                *wrong.lock().unwrap_or_else(PoisonError::into_inner) = Some(history);
                run.stop();
            }
        }
    });
    let report = report.unwrap_or_else(|failure| panic!("{}\n{program}", failure.message));
    for (outcome, times) in report.outcomes {
        *outcomes.entry(outcome).or_default() += times;
    }
    wrong.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// What generated programs saw, and the smallest of them with a wrong history.
struct Search {
    outcomes: BTreeMap<&'static str, u64>,
    wrong: Option<(Program, History)>,
}

fn search<Q: Queue>(
    test: &str,
    programs: &impl Strategy<Value = Program>,
    queue: fn(&Program) -> Q,
) -> Search {
    let settings = Settings { replay: None, ..Settings::from_env(Schedules::Random, SCHEDULES) };
    let seed = settings.seed;
    println!("{test}: {CASES} programs in {} schedules each, seed {seed}", settings.iterations);
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));

    let outcomes = Mutex::new(BTreeMap::new());
    let result = runner.run(programs, |program| {
        let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        match wrong_history(&settings, &program, queue, &mut outcomes) {
            None => Ok(()),
            Some(_) => Err(TestCaseError::fail("not what the queue promises")),
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{test}: {outcomes:?}");
    let wrong = match result {
        Ok(()) => None,
        Err(TestError::Fail(_, program)) => {
            let mut wrong = |program: Program| {
                let history = wrong_history(&settings, &program, queue, &mut outcomes)?;
                Some((program, history))
            };
            let mut smallest = wrong(program).expect("the same seed has the same schedules");
            // Proptest tries each deletion once, and what was needed then may not be needed any more.
            loop {
                let smaller = smallest.0.simpler().find_map(&mut wrong);
                match smaller {
                    Some(smaller) => smallest = smaller,
                    None => break Some(smallest),
                }
            }
        }
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    };
    Search { outcomes, wrong }
}

/// Schedules of a program that is there to see every outcome.
const SCHEDULES_OF_A_WITNESS: usize = 2000;

/// No generated program has a history that is not promised, and none has an outcome that is not `expected`.
///
/// Which outcomes 64 generated programs see is chance: all of them may have too few pushes to fill a queue. So a
/// `witness` that can see every one is run too, often enough.
fn all_are_as_promised<Q: Queue>(
    test: &str,
    programs: &impl Strategy<Value = Program>,
    witness: &Program,
    queue: fn(&Program) -> Q,
    expected: &[&str],
) {
    let Search { outcomes, wrong } = search(test, programs, queue);
    if let Some((program, history)) = wrong {
        panic!("not what the queue promises:\n{program}\n\n{history}");
    }
    let seed = Settings::from_env(Schedules::Random, SCHEDULES).seed;
    let settings =
        Settings { replay: None, seed, ..Settings::from_env(Schedules::Random, SCHEDULES_OF_A_WITNESS) };
    let mut witnessed = BTreeMap::new();
    if let Some(history) = wrong_history(&settings, witness, queue, &mut witnessed) {
        panic!("not what the queue promises:\n{witness}\n\n{history}");
    }
    println!("{test}: the witness saw {witnessed:?}, seed {seed}");
    let seen: BTreeSet<_> = witnessed.keys().copied().collect();
    let expected: BTreeSet<_> = expected.iter().copied().collect();
    assert_eq!(seen, expected, "the outcomes of\n{witness}\nseed {seed}");
    let unexpected: Vec<_> = outcomes.keys().filter(|outcome| !expected.contains(**outcome)).collect();
    assert!(unexpected.is_empty(), "generated programs saw {unexpected:?}");
}

fn shrinks_to_two_pushes<Q: Queue>(
    test: &str,
    programs: &impl Strategy<Value = Program>,
    queue: fn(&Program) -> Q,
) {
    let (program, history) = search(test, programs, queue).wrong.expect("a wrong history");
    println!("{test}: the smallest program and its history:\n{program}\n\n{history}");
    assert_eq!(program.threads, [[Op::Push], [Op::Push]], "nothing less does two pushes at once");
    assert_eq!(program.start, 0, "the fault is everywhere");
}

#[test]
fn mpmc_generated_programs_have_only_histories_that_are_promised() {
    let expected = ["pushed", "full", "popped", "empty"];
    let witness = Program::new(2, 0, "+++ -- +-");
    let ring = |p: &Program| Ring::new(p.capacity, p.start);
    all_are_as_promised(test_name!(), &mpmc_programs(), &witness, ring, &expected);
}

#[test]
fn mpmc_generated_programs_with_a_single_producer_have_only_histories_that_are_promised() {
    let expected = ["pushed", "full", "popped", "empty"];
    let witness = Program::new(2, 0, "+++ -- -");
    let ring = |p: &Program| Ring::with_single_producer(p.capacity, p.start);
    all_are_as_promised(test_name!(), &single_producer_programs(), &witness, ring, &expected);
}

#[test]
fn mpmc_generated_programs_with_a_single_consumer_have_only_histories_that_are_promised() {
    let expected = ["pushed", "full", "popped", "empty"];
    let witness = Program::new(2, 0, "-- +++ +");
    let ring = |p: &Program| Ring::with_single_consumer(p.capacity, p.start);
    all_are_as_promised(test_name!(), &single_consumer_programs(), &witness, ring, &expected);
}

#[test]
fn mpsc_generated_programs_have_only_histories_that_are_promised() {
    let expected = ["pushed", "exhausted", "popped", "empty", "busy"];
    let witness = Program::new(2, 0, "--- ++ ++");
    let list = |p: &Program| List::new(p.capacity, p.start);
    all_are_as_promised(test_name!(), &mpsc_programs(), &witness, list, &expected);
}

#[test]
fn mpmc_a_program_that_finds_a_fault_shrinks_to_what_the_fault_needs() {
    shrinks_to_two_pushes(test_name!(), &mpmc_programs(), |p| {
        Broken::new(Ring::new(p.capacity, p.start), Fault::LosesWhenTwoPush)
    });
}

#[test]
fn mpsc_a_program_that_finds_a_fault_shrinks_to_what_the_fault_needs() {
    shrinks_to_two_pushes(test_name!(), &mpsc_programs(), |p| {
        Broken::new(List::new(p.capacity, p.start), Fault::LosesWhenTwoPush)
    });
}
