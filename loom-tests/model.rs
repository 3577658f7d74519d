//! A model of this crate: what it expects, the operations of which its executions are made, and what is looked at in each.

use std::fmt::Debug;
use std::io::Write;
use std::num::NonZero;
use std::rc::Rc;

use arenaq::eventcount::{EventCount, Ticket};
use arenaq::platform::{Identify, Platform};
use arenaq::{PopError, PushError};
use loom::thread::{self, JoinHandle};
use weaken::expected::{Expected, Watch};
use weaken::named;
use weaken::picture::Orderings;
use weaken::trace::{self, Trace};

use crate::edges::Edges;
use crate::{counterexample, paths};

pub(crate) use arenaq::platform::Loom;
pub(crate) use weaken::expected::{Outcomes, Turn};

fn identity() -> u64 {
    <arenaq::platform::Loom as Identify>::identity()
}

/// Every thread of the model is on a processor of its own, as it is if a model says nothing.
fn one_processor_each() {
    arenaq::platform::Loom::set_processors(None);
}

/// The threads of the model are on so many processors, in turn: the main thread on the first, and so on. Those
/// of one processor have one magazine.
pub(crate) fn processors(count: u64) {
    arenaq::platform::Loom::set_processors(Some(NonZero::new(count).expect("a processor")));
}

/// A push whose accesses are known as its own.
pub(crate) fn push(
    name: &'static str,
    body: impl FnOnce() -> Result<(), PushError>,
) -> Result<(), PushError> {
    trace::scope(identity(), name, body, |result| match result {
        Ok(()) => "pushed",
        Err(PushError::Full) => "full",
        Err(PushError::Exhausted) => "exhausted",
        Err(PushError::Contended) => "contended",
        Err(PushError::Invalid) => "invalid",
        Err(PushError::Corrupt) => "corrupt",
    })
}

/// A pop whose accesses are known as its own.
pub(crate) fn pop<T>(name: &'static str, body: impl FnOnce() -> Result<T, PopError>) -> Result<T, PopError> {
    trace::scope(identity(), name, body, |result| match result {
        Ok(_) => "popped",
        Err(PopError::Empty) => "empty",
        Err(PopError::Busy) => "busy",
        Err(PopError::Contended) => "contended",
        Err(PopError::Invalid) => "invalid",
        Err(PopError::Corrupt) => "corrupt",
    })
}

/// A drain whose accesses are known as its own.
pub(crate) fn drain(
    name: &'static str,
    body: impl FnOnce() -> Result<u64, PopError>,
) -> Result<u64, PopError> {
    trace::scope(identity(), name, body, |result| match result {
        Ok(_) => "drained",
        Err(PopError::Empty) => "empty",
        Err(PopError::Busy) => "busy",
        Err(PopError::Contended) => "contended",
        Err(PopError::Invalid) => "invalid",
        Err(PopError::Corrupt) => "corrupt",
    })
}

/// A push of a batch whose accesses are known as its own.
pub(crate) fn push_many(
    name: &'static str,
    body: impl FnOnce() -> Result<usize, PushError>,
) -> Result<usize, PushError> {
    trace::scope(identity(), name, body, |result| match result {
        Ok(_) => "pushed",
        Err(PushError::Full) => "full",
        Err(PushError::Exhausted) => "exhausted",
        Err(PushError::Contended) => "contended",
        Err(PushError::Invalid) => "invalid",
        Err(PushError::Corrupt) => "corrupt",
    })
}

/// How many elements were pushed at once.
pub(crate) fn saw_pushed(elements: usize, outcomes: &Outcomes) {
    outcomes.saw(match elements {
        1 => "1 pushed",
        2 => "2 pushed",
        3 => "3 pushed",
        other => panic!("a batch of {other}"),
    });
}

/// How many elements were drained at once.
pub(crate) fn saw_drained(elements: usize, outcomes: &Outcomes) {
    outcomes.saw(match elements {
        1 => "1 drained",
        2 => "2 drained",
        3 => "3 drained",
        other => panic!("a batch of {other}"),
    });
}

/// A sleeper's announcement whose accesses are known as its own.
pub(crate) fn prepare<P: Platform>(events: &EventCount<P>) -> Option<Ticket> {
    trace::scope(
        identity(),
        "eventcount.prepare",
        || events.prepare(),
        |ticket| if ticket.is_some() { "prepared" } else { "contended" },
    )
}

/// The end of an announcement, in the same way.
pub(crate) fn cancel<P: Platform>(events: &EventCount<P>, ticket: Ticket) -> bool {
    let body = || events.cancel(ticket);
    trace::scope(identity(), "eventcount.cancel", body, |done| if *done { "withdrawn" } else { "too late" })
}

/// A producer's question, in the same way.
pub(crate) fn must_notify<P: Platform>(events: &EventCount<P>) -> bool {
    let body = || events.must_notify();
    trace::scope(identity(), "eventcount.notify", body, |must| if *must { "must ring" } else { "need not" })
}

/// A thread of the model with its share of what the model is about.
pub(crate) fn spawn<S: 'static, R: 'static>(
    shared: &Rc<S>,
    outcomes: &Outcomes,
    body: impl FnOnce(&S, &Outcomes) -> R + 'static,
) -> JoinHandle<R> {
    let (shared, outcomes) = (shared.clone(), outcomes.clone());
    thread::spawn(move || body(&shared, &outcomes))
}

/// The results of threads, in their order.
pub(crate) fn join<R, const N: usize>(threads: [JoinHandle<R>; N]) -> [R; N] {
    threads.map(|thread| thread.join().expect("a thread of the model"))
}

/// Nothing is lost, and nothing comes twice.
pub(crate) fn exactly_once(pushed: impl IntoIterator<Item = u64>, popped: impl IntoIterator<Item = u64>) {
    let [mut pushed, mut popped]: [Vec<u64>; 2] =
        [pushed.into_iter().collect(), popped.into_iter().collect()];
    pushed.sort_unstable();
    popped.sort_unstable();
    assert_eq!(pushed, popped, "lost, or seen twice");
}

/// Looks at each execution: at the paths of its operations, and at what synchronised in it.
#[derive(Default)]
struct Watched {
    edges: Edges,
    /// The first that was wrong: it is told when nothing worse is found, as what it leads to says more.
    strayed: Option<Trace>,
}

impl Watch for Watched {
    fn begin(&mut self) {
        // What the last model of this thread has set.
        one_processor_each();
    }

    fn ended(&mut self) -> Option<String> {
        let wrong = trace::inspect(|trace| paths::check(trace).or_else(|| self.edges.add(trace)))?;
        self.strayed.get_or_insert_with(trace::current);
        Some(wrong)
    }

    fn failed(&mut self, model: &Expected, permutations: u64, why: &str) {
        report(model, permutations, why, &trace::current());
    }

    fn strayed(&mut self, model: &Expected, permutations: u64, wrong: &str) {
        report(model, permutations, wrong, &self.strayed.take().unwrap_or_default());
    }

    fn finished(&mut self) {
        self.edges.tell().expect("the file for edges");
    }
}

/// Says that an execution went wrong, why, and shows it.
fn report(model: &Expected, permutations: u64, why: &str, trace: &Trace) {
    let orderings = if named::is_changed() { Orderings::Changed } else { Orderings::Source };
    let shown = counterexample::show(model.name, why, &trace.execution(), orderings);
    // Past the capture of the test harness, as a model's result.
    let _ = writeln!(
        std::io::stderr(),
        "loom: {}: failed after {permutations} permutations\n{shown}\n",
        model.name
    );
}

/// [`Expected`], of a model of this crate: every execution of it is looked at, which that does not do by itself.
#[derive(Clone, Copy)]
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) preemption_bound: Option<usize>,
    pub(crate) at_least: u64,
    pub(crate) outcomes: &'static [&'static str],
}

impl Model {
    /// Runs `body` in every permutation.
    pub(crate) fn check(self, body: impl Fn(&Outcomes) + Send + Sync + 'static) {
        self.check_each([()], move |(), outcomes| body(outcomes));
    }

    /// Runs `body` in every permutation, with each of the cases in turn. What is expected is expected of all together.
    pub(crate) fn check_each<K: Copy + Debug + Send + Sync + 'static>(
        self,
        cases: impl IntoIterator<Item = K>,
        body: impl Fn(K, &Outcomes) + Send + Sync + 'static,
    ) {
        let Model { name, preemption_bound, at_least, outcomes } = self;
        paths::prepare();
        Expected { name, preemption_bound, at_least, outcomes }.check_each(cases, Watched::default(), body);
    }
}
