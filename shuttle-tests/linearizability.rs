//! Histories of small programs, held against both specifications.
//!
//! The relaxed ones hold in every schedule. The strict one does not, and the witnesses show where: it is
//! always a refusal (*empty*, *full*, *busy*, *exhausted*) that breaks it. Pushes and pops that succeed are
//! those of a FIFO queue, in every schedule.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::history::{History, Outcome};
use crate::queues::{Broken, Fault, List, Queue, Ring};
use crate::runner::{MAIN, Schedules, Settings, check, explore, test_name};
use crate::scenarios::Program;
use crate::specification::{StrictFifo, satisfies};

/// Checks that every history is what the queue promises, and that what is left without `refusals` is
/// linearizable.
pub(crate) fn as_promised<Q: Queue>(
    test: &str,
    schedules: Schedules,
    iterations: usize,
    program: Program,
    queue: fn(&Program) -> Q,
    refusals: &'static [Outcome],
    expected: &[&str],
) {
    /// All histories, and how many of them are not linearizable.
    #[derive(Default)]
    struct Histories(HashSet<History>, usize);
    let histories = Arc::new(Mutex::new(Histories::default()));
    check(test, schedules, iterations, expected, {
        let histories = histories.clone();
        move |run| {
            let history = program.run(run, queue(&program));
            let mut histories = histories.lock().unwrap_or_else(PoisonError::into_inner);
            if !histories.0.insert(history.clone()) {
                return;
            }
            assert!(satisfies::<Q::Promise>(&history), "not what the queue promises:\n{history}");
            histories.1 += usize::from(!satisfies::<StrictFifo>(&history));
            let successes = refusals.iter().fold(history, |history, refusal| history.without(*refusal));
            assert!(satisfies::<StrictFifo>(&successes), "no FIFO queue did this:\n{successes}");
        }
    });
    let histories = histories.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{test}: {} different histories, {} not linearizable", histories.0.len(), histories.1);
}

const MPMC_REFUSALS: &[Outcome] = &[Outcome::Full, Outcome::Empty];
/// *Empty* is exact: it is not among them.
const MPSC_REFUSALS: &[Outcome] = &[Outcome::Exhausted, Outcome::Busy];
const MPMC_OUTCOMES: &[&str] = &["pushed", "full", "popped", "empty"];
const MPSC_OUTCOMES: &[&str] = &["pushed", "exhausted", "popped", "empty", "busy"];

fn ring(program: &Program) -> Ring {
    Ring::new(program.capacity, program.start)
}

fn single_ends(program: &Program) -> Ring {
    Ring::with_single_ends(program.capacity, program.start)
}

fn single_producer(program: &Program) -> Ring {
    Ring::with_single_producer(program.capacity, program.start)
}

fn single_consumer(program: &Program) -> Ring {
    Ring::with_single_consumer(program.capacity, program.start)
}

fn list(program: &Program) -> List {
    List::new(program.capacity, program.start)
}

fn mpmc(test: &str, schedules: Schedules, iterations: usize, program: Program) {
    mpmc_on(test, schedules, iterations, program, ring);
}

fn mpmc_on(
    test: &str,
    schedules: Schedules,
    iterations: usize,
    program: Program,
    queue: fn(&Program) -> Ring,
) {
    as_promised(test, schedules, iterations, program, queue, MPMC_REFUSALS, MPMC_OUTCOMES);
}

fn mpsc(test: &str, schedules: Schedules, iterations: usize, program: Program) {
    as_promised(test, schedules, iterations, program, list, MPSC_REFUSALS, MPSC_OUTCOMES);
}

#[test]
fn mpmc_histories_of_four_threads_on_two_cells_are_as_promised_in_random_schedules() {
    mpmc(test_name!(), Schedules::Random, MAIN, Program::new(2, u64::MAX - 2, "+++ ++ --- --"));
}

#[test]
fn mpmc_histories_of_four_threads_on_two_cells_are_as_promised_with_few_preemptions() {
    mpmc(test_name!(), Schedules::Pct, MAIN, Program::new(2, u64::MAX - 2, "+++ ++ --- --"));
}

#[test]
fn mpmc_histories_of_five_threads_on_four_cells_are_as_promised_in_random_schedules() {
    mpmc(test_name!(), Schedules::Random, MAIN / 10, Program::new(4, 0, "+++ +++ ++ -- --"));
}

#[test]
fn mpmc_histories_of_five_threads_on_four_cells_are_as_promised_with_few_preemptions() {
    mpmc(test_name!(), Schedules::Pct, MAIN / 10, Program::new(4, 0, "+++ +++ ++ -- --"));
}

#[test]
fn mpmc_histories_between_single_ends_are_as_promised_in_random_schedules() {
    mpmc_on(test_name!(), Schedules::Random, MAIN, Program::new(2, u64::MAX - 2, "+++++ -----"), single_ends);
}

#[test]
fn mpmc_histories_between_single_ends_are_as_promised_with_few_preemptions() {
    mpmc_on(test_name!(), Schedules::Pct, MAIN, Program::new(2, u64::MAX - 2, "+++++ -----"), single_ends);
}

#[test]
fn mpmc_histories_of_a_single_producer_and_three_consumers_are_as_promised_in_random_schedules() {
    mpmc_on(
        test_name!(),
        Schedules::Random,
        MAIN,
        Program::new(2, u64::MAX - 2, "+++++ -- -- --"),
        single_producer,
    );
}

#[test]
fn mpmc_histories_of_a_single_producer_and_three_consumers_are_as_promised_with_few_preemptions() {
    mpmc_on(
        test_name!(),
        Schedules::Pct,
        MAIN,
        Program::new(2, u64::MAX - 2, "+++++ -- -- --"),
        single_producer,
    );
}

#[test]
fn mpmc_histories_of_three_producers_and_a_single_consumer_are_as_promised_in_random_schedules() {
    mpmc_on(
        test_name!(),
        Schedules::Random,
        MAIN,
        Program::new(2, u64::MAX - 2, "----- ++ ++ ++"),
        single_consumer,
    );
}

#[test]
fn mpmc_histories_of_three_producers_and_a_single_consumer_are_as_promised_with_few_preemptions() {
    mpmc_on(
        test_name!(),
        Schedules::Pct,
        MAIN,
        Program::new(2, u64::MAX - 2, "----- ++ ++ ++"),
        single_consumer,
    );
}

#[test]
fn mpsc_histories_of_four_threads_with_two_nodes_are_as_promised_in_random_schedules() {
    mpsc(test_name!(), Schedules::Random, MAIN, Program::new(2, u64::from(u32::MAX) - 2, "------ ++ ++ ++"));
}

#[test]
fn mpsc_histories_of_four_threads_with_two_nodes_are_as_promised_with_few_preemptions() {
    mpsc(test_name!(), Schedules::Pct, MAIN, Program::new(2, u64::from(u32::MAX) - 2, "------ ++ ++ ++"));
}

#[test]
fn mpsc_histories_of_five_threads_with_four_nodes_are_as_promised_in_random_schedules() {
    mpsc(test_name!(), Schedules::Random, MAIN / 10, Program::new(4, 0, "----- ++ ++ ++ +"));
}

#[test]
fn mpsc_histories_of_five_threads_with_four_nodes_are_as_promised_with_few_preemptions() {
    mpsc(test_name!(), Schedules::Pct, MAIN / 10, Program::new(4, 0, "----- ++ ++ ++ +"));
}

/// Searches a history that is not linearizable, and is without the operations that ended in `refusal`.
/// *Busy*, which is read as *empty*, plays no part in it unless it is the refusal.
fn witness<Q: Queue>(test: &str, program: Program, queue: fn(&Program) -> Q, refusal: Outcome) {
    let settings = Settings { replay: None, ..Settings::from_env(Schedules::Pct, MAIN) };
    let found = Arc::new(Mutex::new(None));
    let report = explore(&settings, {
        let found = found.clone();
        move |run| {
            let history = program.run(run, queue(&program));
            assert!(satisfies::<Q::Promise>(&history), "not what the queue promises:\n{history}");
            let busy = history.operations.iter().any(|operation| operation.outcome == Outcome::Busy);
            if busy && refusal != Outcome::Busy {
                return;
            }
            if !satisfies::<StrictFifo>(&history) && satisfies::<StrictFifo>(&history.without(refusal)) {
                *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(history);
                run.saw("not linearizable");
                run.stop();
            }
        }
    });
    let report = report.unwrap_or_else(|failure| panic!("seed {}: {}", settings.seed, failure.message));
    let history: Option<History> = found.lock().unwrap_or_else(PoisonError::into_inner).take();
    let history = history.unwrap_or_else(|| panic!("seed {}: none in {report:?}", settings.seed));
    println!("{test}: seed {}, {} schedules:\n{history}", settings.seed, report.schedules);
    for outcome in ["not linearizable", "pushed", refusal.name()] {
        assert!(report.outcomes.contains_key(outcome), "{outcome}");
    }
}

#[test]
fn mpmc_empty_is_not_linearizable_while_an_earlier_producer_stalls() {
    witness(test_name!(), Program::new(4, 0, "+ + -"), ring, Outcome::Empty);
}

#[test]
fn mpmc_full_is_not_linearizable_while_an_earlier_consumer_stalls() {
    witness(test_name!(), Program::new(2, 0, "+++ - -"), ring, Outcome::Full);
}

#[test]
fn mpsc_a_finished_push_is_busy_while_an_earlier_producer_stalls() {
    witness(test_name!(), Program::new(4, 0, "- + +"), list, Outcome::Busy);
}

#[test]
fn mpsc_exhausted_is_not_linearizable_while_a_producer_holds_a_node() {
    witness(test_name!(), Program::new(1, 0, "- + +"), list, Outcome::Exhausted);
}

/// Checks that some history of a broken queue is not what the queue promises.
pub(crate) fn rejected<Q: Queue>(test: &str, queue: fn(&Program) -> Q, fault: Fault) {
    const SCHEDULES: usize = 200;
    let program = Program::new(4, u64::MAX - 1, "--- ++ +");
    let name = format!("{test} ({fault:?})");
    let settings = Settings { replay: None, ..Settings::from_env(Schedules::Random, SCHEDULES) };
    let report = explore(&settings, move |run| {
        let history = program.run(run, Broken::new(queue(&program), fault));
        run.saw(if satisfies::<Q::Promise>(&history) { "accepted" } else { "rejected" });
    })
    .unwrap_or_else(|failure| panic!("{name}: {}", failure.message));
    println!("{name}: {:?}", report.outcomes);
    assert!(report.outcomes.contains_key("rejected"), "{name}");
}

pub(crate) const FAULTS: [Fault; 5] =
    [Fault::Swaps, Fault::Loses, Fault::Duplicates, Fault::LosesWhenTwoPush, Fault::Hides(Outcome::Empty)];

#[test]
fn mpmc_histories_of_a_broken_queue_are_rejected() {
    for fault in FAULTS.into_iter().chain([Fault::Refuses(Outcome::Full)]) {
        rejected(test_name!(), ring, fault);
    }
}

#[test]
fn mpsc_histories_of_a_broken_queue_are_rejected() {
    let faults = [Fault::Hides(Outcome::Busy), Fault::Refuses(Outcome::Exhausted)];
    for fault in FAULTS.into_iter().chain(faults) {
        rejected(test_name!(), list, fault);
    }
}
