//! Lanes of records: what one promises, and its histories held against that.

use std::collections::VecDeque;

use arenaq::PushError;
use arenaq::records::{self, Geometry};

use crate::history::{Call, Item, Operation, Outcome};
use crate::linearizability::{FAULTS, as_promised, rejected};
use crate::queues::{Fault, Queue, Shuttle, operation};
use crate::runner::{MAIN, Schedules, test_name};
use crate::scenarios::Program;
use crate::specification::{Promise, when};

/// Records of two words in one lane, which has room for `capacity` of them.
pub(crate) struct Lane(records::Log<Shuttle>);

impl Lane {
    pub(crate) fn new(capacity: u64, start: u64) -> Lane {
        // A record of two words takes four, so that padding is never needed.
        let geometry = Geometry::with_lanes(1, 1, 8 * 4 * capacity, 16).expect("a power of two");
        Lane(records::Log::new_on(geometry, start & !3))
    }
}

impl Queue for Lane {
    type Promise = LaneFifo;

    fn push(&self, item: Item) -> Outcome {
        let words = [item.producer, item.serial];
        match operation("records.push", || self.0.records().push_words(&words, 0)) {
            Err(PushError::Contended) => Outcome::Busy,
            pushed => pushed.into(),
        }
    }

    fn consumer(&self) -> Box<dyn FnMut() -> Outcome + '_> {
        let mut consumer = self.0.consumer(0).expect("every model consumes in one thread").into_inner();
        Box::new(move || {
            let pop = || {
                consumer.pop_in_place(|record| {
                    let [producer, serial] = record.read().expect("a record is an item");
                    Outcome::Popped(Item { producer, serial })
                })
            };
            operation("records.pop", pop).expect("a sound lane").unwrap_or(Outcome::Empty)
        })
    }

    fn verify_drained(&self) {
        let records = self.0.records();
        assert_eq!((records.verify(), records.is_empty()), (Ok(()), true));
        assert_eq!(records.owners().count(), 0);
    }
}

/// What a lane of `arenaq::records` promises: elements come out in the order in which they were published, *empty* is
/// exact, *full* says that the consumer has not given enough back, and *busy* that the lane has an owner.
pub(crate) enum LaneFifo {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LaneStep {
    Claim(Item),
    Publish(Item),
    /// Of the one who has claimed for this item.
    Full(Item),
    Release(Item),
    Busy,
    Take(Item),
    Free(Item),
    Empty,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LaneState {
    capacity: usize,
    owner: Option<Item>,
    published: VecDeque<Item>,
    taken: Option<Item>,
}

impl LaneState {
    fn used(&self) -> usize {
        self.published.len() + usize::from(self.taken.is_some())
    }
}

impl Promise for LaneFifo {
    type Step = LaneStep;
    type State = LaneState;

    fn start(capacity: u64) -> LaneState {
        LaneState { capacity: capacity as usize, owner: None, published: VecDeque::new(), taken: None }
    }

    fn steps(operation: &Operation) -> Vec<LaneStep> {
        use LaneStep::{Busy, Claim, Empty, Free, Full, Publish, Release, Take};
        match (operation.call, operation.outcome) {
            (Call::Push(item), Outcome::Pushed) => vec![Claim(item), Publish(item), Release(item)],
            (Call::Push(item), Outcome::Full) => vec![Claim(item), Full(item), Release(item)],
            (Call::Push(_), Outcome::Busy) => vec![Busy],
            (Call::Pop, Outcome::Popped(item)) => vec![Take(item), Free(item)],
            (Call::Pop, Outcome::Empty) => vec![Empty],
            (call, outcome) => panic!("{call} {outcome}"),
        }
    }

    fn step(state: &mut LaneState, step: &LaneStep) -> Option<()> {
        match *step {
            LaneStep::Claim(item) => when(state.owner.replace(item).is_none()),
            LaneStep::Publish(item) => {
                state.published.push_back(item);
                // Each item is pushed once, so whoever publishes it twice is seen.
                when(state.owner == Some(item) && state.used() <= state.capacity)
            }
            LaneStep::Full(item) => when(state.owner == Some(item) && state.used() == state.capacity),
            // Behind its other step: an owner that has published or given up has nothing else to do.
            LaneStep::Release(item) => when(state.owner.take() == Some(item)),
            LaneStep::Busy => when(state.owner.is_some()),
            LaneStep::Take(item) => {
                let first = state.published.pop_front()?;
                when(first == item && state.taken.replace(item).is_none())
            }
            LaneStep::Free(item) => when(state.taken.take() == Some(item)),
            LaneStep::Empty => when(state.published.is_empty()),
        }
    }
}

/// *Empty* is exact: it is not among them. *Busy* is said of a push.
const REFUSALS: &[Outcome] = &[Outcome::Full, Outcome::Busy];
const OUTCOMES: &[&str] = &["pushed", "full", "busy", "popped", "empty"];

fn lane(program: &Program) -> Lane {
    Lane::new(program.capacity, program.start)
}

fn held_against_its_promise(test: &str, schedules: Schedules, iterations: usize, program: Program) {
    as_promised(test, schedules, iterations, program, lane, REFUSALS, OUTCOMES);
}

#[test]
fn histories_of_three_producers_in_a_lane_for_two_are_as_promised_in_random_schedules() {
    held_against_its_promise(
        test_name!(),
        Schedules::Random,
        MAIN,
        Program::new(2, u64::MAX - 10, "------ ++ ++ ++"),
    );
}

#[test]
fn histories_of_three_producers_in_a_lane_for_two_are_as_promised_with_few_preemptions() {
    held_against_its_promise(
        test_name!(),
        Schedules::Pct,
        MAIN,
        Program::new(2, u64::MAX - 10, "------ ++ ++ ++"),
    );
}

#[test]
fn histories_of_two_producers_in_a_lane_for_four_are_as_promised_in_random_schedules() {
    held_against_its_promise(test_name!(), Schedules::Random, MAIN / 10, Program::new(4, 0, "-- +++++ ++"));
}

#[test]
fn histories_of_a_broken_lane_are_rejected() {
    for fault in FAULTS.into_iter().chain([Fault::Refuses(Outcome::Full)]) {
        rejected(test_name!(), lane, fault);
    }
}
