//! A loom model that proves that it explored something: it counts its permutations and what happened in them.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arenaq::eventcount::{EventCount, Ticket};
use arenaq::platform::{Identify, Platform, Traced};
use arenaq::trace::{self, Trace};
use arenaq::{PopError, PushError};
use loom::thread::{self, JoinHandle};
use weaken::named;
use weaken::picture::Orderings;

use crate::edges::Edges;
use crate::{counterexample, paths};

/// loom, with a trace of every access.
pub(crate) type Loom = Traced<arenaq::platform::Loom>;

/// What is known of a model before it runs.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    /// How often the scheduler may preempt a thread in one permutation; `None` is exhaustive. Lifted by
    /// `ARENAQ_LOOM_DEEP=1`.
    pub(crate) preemption_bound: Option<usize>,
    /// The fewest permutations with which the model still means something: half of what was measured. A model
    /// in which exploration was switched off has a handful.
    pub(crate) at_least: u64,
    /// Exactly what must have been seen in some permutation.
    pub(crate) outcomes: &'static [&'static str],
}

/// What happened, over all permutations. It lives outside of loom, so writing to it changes no schedule.
#[derive(Clone, Default)]
pub(crate) struct Outcomes(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Outcomes {
    pub(crate) fn saw(&self, outcome: &'static str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *seen.entry(outcome).or_default() += 1;
    }
}

/// Makes loom explore the operations of a model in every order.
///
/// loom remembers only the last access to a word: when a thread loads a word and then changes it, its own
/// load hides an earlier load by somebody else, and the order in which the change comes first is never tried
/// (loom #166, #392). Every operation of these queues begins so. A read-modify-write of one common word
/// before each operation has no load to hide behind; it is relaxed, so it orders nothing in the memory model.
pub(crate) struct Turn(loom::sync::atomic::AtomicUsize);

impl Turn {
    pub(crate) fn new() -> Self {
        Turn(loom::sync::atomic::AtomicUsize::new(0))
    }

    pub(crate) fn take(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

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
    trace::operation(identity(), name, body, |result| match result {
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
    trace::operation(identity(), name, body, |result| match result {
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
    trace::operation(identity(), name, body, |result| match result {
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
    trace::operation(identity(), name, body, |result| match result {
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
    trace::operation(
        identity(),
        "eventcount.prepare",
        || events.prepare(),
        |ticket| if ticket.is_some() { "prepared" } else { "contended" },
    )
}

/// The end of an announcement, in the same way.
pub(crate) fn cancel<P: Platform>(events: &EventCount<P>, ticket: Ticket) -> bool {
    let body = || events.cancel(ticket);
    trace::operation(
        identity(),
        "eventcount.cancel",
        body,
        |done| if *done { "withdrawn" } else { "too late" },
    )
}

/// A producer's question, in the same way.
pub(crate) fn must_notify<P: Platform>(events: &EventCount<P>) -> bool {
    let body = || events.must_notify();
    trace::operation(
        identity(),
        "eventcount.notify",
        body,
        |must| if *must { "must ring" } else { "need not" },
    )
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

/// Whether `ARENAQ_LOOM_DEEP` asks for a run without bounds.
fn deep() -> bool {
    std::env::var_os("ARENAQ_LOOM_DEEP").is_some_and(|value| value != "0")
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text").to_owned()
}

/// Says that a permutation went wrong, why, and shows it.
fn report_failure(model: &Model, permutations: u64, why: &str, trace: &Trace) {
    let orderings = if named::is_changed() { Orderings::Changed } else { Orderings::Source };
    let shown = counterexample::show(model.name, why, &trace.execution(), orderings);
    // Past the capture of the test harness, as a model's result.
    let _ = writeln!(
        std::io::stderr(),
        "loom: {}: failed after {permutations} permutations\n{shown}\n",
        model.name
    );
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
        let outcomes = Outcomes::default();
        let permutations = Arc::new(AtomicU64::new(0));
        let bound = self.preemption_bound.filter(|_| !deep());
        let mut builder = weaken::model::Builder::new();
        builder.preemption_bound = bound;

        let strayed: Arc<Mutex<Option<(String, Trace)>>> = Arc::default();
        let edges: Arc<Mutex<Edges>> = Arc::default();
        paths::prepare();
        let start = Instant::now();
        let body = Arc::new(body);
        for case in cases {
            let result: Result<(), Box<dyn Any + Send>> = catch_unwind(AssertUnwindSafe(|| {
                builder.check({
                    let (outcomes, permutations) = (outcomes.clone(), permutations.clone());
                    let (strayed, edges, body) = (strayed.clone(), edges.clone(), body.clone());
                    move || {
                        permutations.fetch_add(1, Ordering::Relaxed);
                        trace::begin_execution(identity());
                        // What the last model of this thread has set.
                        one_processor_each();
                        body(case, &outcomes);
                        // A wrong path is told when nothing worse is found: what it leads to says more.
                        let mut edges = edges.lock().unwrap_or_else(PoisonError::into_inner);
                        if let Some(wrong) =
                            trace::inspect(|trace| paths::check(trace).or_else(|| edges.add(trace)))
                        {
                            let mut strayed = strayed.lock().unwrap_or_else(PoisonError::into_inner);
                            strayed.get_or_insert_with(|| (wrong, trace::current()));
                        }
                    }
                });
            }));
            if let Err(panic) = result {
                let why = format!("{}\nin the case {case:?}", text_of(&*panic));
                report_failure(&self, permutations.load(Ordering::Relaxed), &why, &trace::current());
                resume_unwind(panic);
            }
        }
        let permutations = permutations.load(Ordering::Relaxed);
        edges.lock().unwrap_or_else(PoisonError::into_inner).tell().expect("the file for edges");
        let strayed = strayed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((wrong, trace)) = strayed.filter(|_| !named::is_changed()) {
            report_failure(&self, permutations, &wrong, &trace);
            panic!("{wrong}");
        }

        let seen = outcomes.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bound = bound.map_or_else(|| "unbounded".to_owned(), |bound| format!("preemption bound {bound}"));
        // Past the capture of the test harness: a model's size is part of its result.
        let _ = writeln!(
            std::io::stderr(),
            "loom: {}: {permutations} permutations, {bound}, {:.1} s, {seen:?}",
            self.name,
            start.elapsed().as_secs_f64(),
        );
        // With another ordering only what goes wrong counts, and not how much was seen.
        if named::is_changed() {
            return;
        }
        assert!(
            permutations >= self.at_least,
            "{}: {permutations} permutations, expected at least {}: did loom stop exploring?",
            self.name,
            self.at_least
        );
        let missed: Vec<_> = self.outcomes.iter().filter(|outcome| !seen.contains_key(**outcome)).collect();
        assert!(missed.is_empty(), "{}: saw {seen:?} and never {missed:?}", self.name);
        let new: Vec<_> = seen.keys().filter(|outcome| !self.outcomes.contains(outcome)).collect();
        // Without its bound a model may see what is out of reach with it.
        assert!(new.is_empty() || deep(), "{}: saw {new:?}, which it does not declare", self.name);
    }
}
