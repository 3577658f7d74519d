//! What a history must look like, in two versions of each queue, and the checker that decides.
//!
//! # The checker
//!
//! `todc-utils`: the search of Wing and Gong with Lowe's memory of the states that it has been in. It takes a
//! history of calls and responses and a specification that is one pure function of operation and state, which
//! is all that is needed here, and depends on no other crate. The others that were looked at:
//!
//! - `porcupine-rs` 0.3: the same search on a faster list, but at run time it depends on `criterion`, `rand`,
//!   `regex`, `serde_json` and the unmaintained `paste`.
//! - `stateright` 0.31: its `LinearizabilityTester` remembers no states, so a history that is not
//!   linearizable costs exponential time; and a web server comes along.
//! - `lincheck` 0.2: generates and runs its own scenarios, under its own version of loom.
//!
//! Its list costs linear time per step: the histories that it gets are those of small programs.
//!
//! # Operations that are several steps
//!
//! A checker of linearizability wants one moment between call and response at which an operation happens. The
//! relaxed specifications want several, in order: a push claims and then publishes. So each step is handed to
//! the checker as an operation of its own, with the interval of the whole, and the state makes *publish* wait
//! for *claim*. What the steps leave open is what the queue leaves open: between claim and publish anything
//! may happen, and nothing before the call or after the response.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;

use todc_utils::{Action, Specification, WGLChecker};

use crate::history::{Call, History, Item, Operation, Outcome};

/// A specification of histories.
pub(crate) trait Promise: 'static {
    type Step: Clone + Debug + 'static;
    type State: Clone + Debug + Eq + Hash + 'static;

    /// A new queue.
    fn start(capacity: u64) -> Self::State;

    /// What an operation does, in any order that the state allows.
    fn steps(operation: &Operation) -> Vec<Self::Step>;

    /// Takes a step, if it is possible.
    fn step(state: &mut Self::State, step: &Self::Step) -> Option<()>;
}

/// Whether there is an order of all steps that `P` allows.
pub(crate) fn satisfies<P: Promise>(history: &History) -> bool {
    let mut events = vec![(0, 0, Action::Call(First::Start(history.capacity)))];
    events.push((0, 0, Action::Response(First::Start(history.capacity))));
    for operation in &history.operations {
        for step in P::steps(operation) {
            // A process may do one thing at a time, so each step is a process.
            let process = events.len();
            events.push((operation.invoked, process, Action::Call(First::Then(step.clone()))));
            events.push((operation.returned, process, Action::Response(First::Then(step))));
        }
    }
    events.sort_by_key(|(time, ..)| *time);
    let actions = events.into_iter().map(|(_, process, action)| (process, action)).collect();
    WGLChecker::<Adapter<P>>::is_linearizable(todc_utils::History::from_actions(actions))
}

/// The checker's initial state has no parameters: the capacity comes with a first step.
#[derive(Clone, Debug)]
enum First<S> {
    Start(u64),
    Then(S),
}

struct Adapter<P>(PhantomData<P>);

impl<P: Promise> Specification for Adapter<P> {
    type State = Option<P::State>;
    type Operation = First<P::Step>;

    fn init() -> Self::State {
        None
    }

    fn apply(operation: &Self::Operation, state: &Self::State) -> (bool, Self::State) {
        match (operation, state) {
            (First::Start(capacity), None) => (true, Some(P::start(*capacity))),
            (First::Then(step), Some(state)) => {
                let mut state = state.clone();
                (P::step(&mut state, step).is_some(), Some(state))
            }
            _ => (false, None),
        }
    }
}

pub(crate) fn when(condition: bool) -> Option<()> {
    condition.then_some(())
}

/// The bounded queue of a textbook: every operation happens at one moment, *full* and *empty* are true at it.
/// *Exhausted* counts as full and *busy* as empty, the kindest reading.
pub(crate) enum StrictFifo {}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fifo {
    capacity: usize,
    items: VecDeque<Item>,
}

impl Promise for StrictFifo {
    type Step = (Call, Outcome);
    type State = Fifo;

    fn start(capacity: u64) -> Fifo {
        Fifo { capacity: capacity as usize, items: VecDeque::new() }
    }

    fn steps(operation: &Operation) -> Vec<Self::Step> {
        vec![(operation.call, operation.outcome)]
    }

    fn step(state: &mut Fifo, (call, outcome): &Self::Step) -> Option<()> {
        match (call, outcome) {
            (Call::Push(item), Outcome::Pushed) => {
                state.items.push_back(*item);
                when(state.items.len() <= state.capacity)
            }
            (Call::Push(_), Outcome::Full | Outcome::Exhausted) => when(state.items.len() == state.capacity),
            (Call::Pop, Outcome::Popped(item)) => when(state.items.pop_front()? == *item),
            (Call::Pop, Outcome::Empty | Outcome::Busy) => when(state.items.is_empty()),
            _ => None,
        }
    }
}

/// What `arenaq::mpmc` promises: elements come out in the order of the claims; *empty* says that the first
/// element that no pop has claimed is not published, *full* that the cell of the next claim is not freed.
/// With no operation in the middle, both are exact.
pub(crate) enum RelaxedMpmc {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MpmcStep {
    Claim(Item),
    Publish(Item),
    Full,
    Take(Item),
    Free(Item),
    Empty,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cell {
    Claimed(Item),
    Published(Item),
    Taken(Item),
    Freed,
}

/// The positions from the oldest that is not freed to the youngest that is claimed. A claim needs the cell of
/// the position one capacity before, so there are never more than the capacity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    capacity: usize,
    cells: VecDeque<Cell>,
}

impl Window {
    fn change(&mut self, from: Cell, to: Cell) -> Option<()> {
        let cell = self.cells.iter_mut().find(|cell| **cell == from)?;
        *cell = to;
        Some(())
    }

    /// The cell of the dequeue position.
    fn next(&self) -> Option<Cell> {
        self.cells.iter().copied().find(|cell| matches!(cell, Cell::Claimed(_) | Cell::Published(_)))
    }
}

impl Promise for RelaxedMpmc {
    type Step = MpmcStep;
    type State = Window;

    fn start(capacity: u64) -> Window {
        Window { capacity: capacity as usize, cells: VecDeque::new() }
    }

    fn steps(operation: &Operation) -> Vec<MpmcStep> {
        match (operation.call, operation.outcome) {
            (Call::Push(item), Outcome::Pushed) => vec![MpmcStep::Claim(item), MpmcStep::Publish(item)],
            (Call::Push(_), Outcome::Full) => vec![MpmcStep::Full],
            (Call::Pop, Outcome::Popped(item)) => vec![MpmcStep::Take(item), MpmcStep::Free(item)],
            (Call::Pop, Outcome::Empty) => vec![MpmcStep::Empty],
            (call, outcome) => panic!("{call} {outcome}"),
        }
    }

    fn step(state: &mut Window, step: &MpmcStep) -> Option<()> {
        match *step {
            MpmcStep::Claim(item) => {
                state.cells.push_back(Cell::Claimed(item));
                when(state.cells.len() <= state.capacity)
            }
            MpmcStep::Publish(item) => state.change(Cell::Claimed(item), Cell::Published(item)),
            MpmcStep::Full => when(state.cells.len() == state.capacity),
            MpmcStep::Take(item) => {
                when(state.next()? == Cell::Published(item))?;
                state.change(Cell::Published(item), Cell::Taken(item))
            }
            MpmcStep::Free(item) => {
                state.change(Cell::Taken(item), Cell::Freed)?;
                while state.cells.front() == Some(&Cell::Freed) {
                    state.cells.pop_front();
                }
                Some(())
            }
            MpmcStep::Empty => when(!matches!(state.next(), Some(Cell::Published(_)))),
        }
    }
}

/// What `arenaq::mpsc` promises: elements come out in the order of the swaps; *empty* says that there was no
/// swap more, *busy* that the first element is swapped in and not linked, *exhausted* that no node is free.
pub(crate) enum RelaxedMpsc {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum MpscStep {
    Alloc(Item),
    Swap(Item),
    Link(Item),
    Exhausted,
    Take(Item),
    Recycle(Item),
    Empty,
    Busy,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Chain {
    free: u64,
    /// The elements of nodes that are allocated and not swapped in.
    private: BTreeSet<Item>,
    /// Those that are swapped in, and whether they are linked.
    list: VecDeque<(Item, bool)>,
    /// Those whose pop has still to give a node back.
    spent: BTreeSet<Item>,
}

impl Promise for RelaxedMpsc {
    type Step = MpscStep;
    type State = Chain;

    fn start(capacity: u64) -> Chain {
        Chain { free: capacity, private: BTreeSet::new(), list: VecDeque::new(), spent: BTreeSet::new() }
    }

    fn steps(operation: &Operation) -> Vec<MpscStep> {
        match (operation.call, operation.outcome) {
            (Call::Push(item), Outcome::Pushed) => {
                vec![MpscStep::Alloc(item), MpscStep::Swap(item), MpscStep::Link(item)]
            }
            (Call::Push(_), Outcome::Exhausted) => vec![MpscStep::Exhausted],
            (Call::Pop, Outcome::Popped(item)) => vec![MpscStep::Take(item), MpscStep::Recycle(item)],
            (Call::Pop, Outcome::Empty) => vec![MpscStep::Empty],
            (Call::Pop, Outcome::Busy) => vec![MpscStep::Busy],
            (call, outcome) => panic!("{call} {outcome}"),
        }
    }

    fn step(state: &mut Chain, step: &MpscStep) -> Option<()> {
        match *step {
            MpscStep::Alloc(item) => {
                state.free = state.free.checked_sub(1)?;
                when(state.private.insert(item))
            }
            MpscStep::Swap(item) => {
                state.list.push_back((item, false));
                when(state.private.remove(&item))
            }
            MpscStep::Link(item) => {
                let (_, linked) = state.list.iter_mut().find(|(other, linked)| *other == item && !linked)?;
                *linked = true;
                Some(())
            }
            MpscStep::Exhausted => when(state.free == 0),
            MpscStep::Take(item) => {
                when(state.list.pop_front()? == (item, true))?;
                when(state.spent.insert(item))
            }
            MpscStep::Recycle(item) => {
                state.free += 1;
                when(state.spent.remove(&item))
            }
            MpscStep::Empty => when(state.list.is_empty()),
            MpscStep::Busy => when(matches!(state.list.front(), Some((_, false)))),
        }
    }
}
