//! Models that prove that they explored something: they count their executions and what happened in them.
//!
//! A model in which loom does not explore passes, whatever it is about. One that says which outcomes there are, all of which some
//! execution must have, and how many executions there are at least, does not.
//!
//! ```
//! use weaken::expected::{Expected, Outcomes, Turn};
//! use weaken::sync::Arc;
//! use weaken::sync::atomic::{AtomicUsize, Ordering::Relaxed};
//! use weaken::thread;
//!
//! let model = Expected { at_least: 2, outcomes: &["first", "second"], ..Expected::new("a counter: 2 threads x add") };
//! model.check(|outcomes: &Outcomes| {
//!     let shared = Arc::new((AtomicUsize::new(0), Turn::new()));
//!     let other = shared.clone();
//!     let thread = thread::spawn(move || {
//!         other.1.take();
//!         other.0.fetch_add(1, Relaxed);
//!     });
//!     shared.1.take();
//!     outcomes.saw(if shared.0.fetch_add(1, Relaxed) == 0 { "first" } else { "second" });
//!     thread.join().unwrap();
//! });
//! ```

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::string::{String, ToString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use std::vec::Vec;
use std::{format, writeln};

use super::execution;
use super::model::Builder;
use crate::{named, trace};

/// If it is set, and not to 0, no model has a bound on its preemptions: for a night.
pub const DEEP: &str = "WEAKEN_DEEP";

/// What is known of a model before it runs.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// What it is called in what is printed.
    pub name: &'static str,
    /// How often the scheduler may preempt a thread in one execution; `None` is exhaustive. Lifted by [`DEEP`].
    pub preemption_bound: Option<usize>,
    /// The fewest executions with which the model still means something: half of what was measured, for instance. A model in which
    /// exploration was switched off has a handful.
    pub at_least: u64,
    /// Exactly what must have been seen in some execution. Without its bound a model may see more.
    pub outcomes: &'static [&'static str],
}

/// What happened, over all executions. It lives outside of loom, so writing to it changes no schedule.
#[derive(Clone, Debug, Default)]
pub struct Outcomes(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Outcomes {
    /// This has happened.
    pub fn saw(&self, outcome: &'static str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *seen.entry(outcome).or_default() += 1;
    }
}

/// Makes loom explore the operations of a model in every order.
///
/// loom remembers only the last access to a word: when a thread loads a word and then changes it, its own load hides an earlier
/// load by somebody else, and the order in which the change comes first is never tried (loom #166, #392). Many operations of
/// lock-free structures begin so. A read-modify-write of one common word before each operation has no load to hide behind; it is
/// relaxed, so it orders nothing in the memory model.
#[derive(Debug)]
pub struct Turn(loom::sync::atomic::AtomicUsize);

impl Turn {
    /// One for each execution.
    #[expect(
        clippy::new_without_default,
        reason = "it belongs to an execution, and no value is made by default there"
    )]
    pub fn new() -> Turn {
        Turn(loom::sync::atomic::AtomicUsize::new(0))
    }

    /// To be called before each operation.
    pub fn take(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Who looks at every execution of a model.
pub trait Watch: Send {
    /// One begins.
    fn begin(&mut self) {}

    /// One has ended well. What is wrong with it all the same, such as that an operation took a path that it should not: of several
    /// the first is told, once no execution was found that fails. [`trace`] has what happened in it.
    fn ended(&mut self) -> Option<String> {
        None
    }

    /// One has failed, after so many, and is still in [`trace`].
    fn failed(&mut self, model: &Expected, executions: u64, why: &str) {
        let _ = writeln!(
            std::io::stderr(),
            "loom: {}: failed after {executions} permutations: {why}",
            model.name
        );
    }

    /// All have ended well, so many, and something was wrong with one.
    fn strayed(&mut self, model: &Expected, executions: u64, wrong: &str) {
        self.failed(model, executions, wrong);
    }

    /// All have ended well.
    fn finished(&mut self) {}
}

/// Nobody.
impl Watch for () {}

impl Expected {
    /// A model of this name without a bound, of which nothing is expected.
    pub const fn new(name: &'static str) -> Expected {
        Expected { name, preemption_bound: None, at_least: 1, outcomes: &[] }
    }

    /// Runs `body` in every execution.
    ///
    /// # Panics
    ///
    /// If an execution fails; and unless a run tries another ordering, if outcomes or the number of executions are not as
    /// expected.
    #[track_caller]
    pub fn check(self, body: impl Fn(&Outcomes) + Send + Sync + 'static) {
        self.check_each([()], (), move |(), outcomes| body(outcomes));
    }

    /// Runs `body` in every execution, with each of the cases in turn, under somebody's eyes. What is expected is expected of all
    /// together.
    ///
    /// # Panics
    ///
    /// As [`check`](Self::check).
    #[track_caller]
    pub fn check_each<K: Copy + Debug + Send + Sync + 'static>(
        self,
        cases: impl IntoIterator<Item = K>,
        watch: impl Watch + 'static,
        body: impl Fn(K, &Outcomes) + Send + Sync + 'static,
    ) {
        let is_deep = std::env::var_os(DEEP).is_some_and(|value| value != "0");
        let bound = self.preemption_bound.filter(|_| !is_deep);
        let mut builder = Builder::new();
        builder.preemption_bound = bound;

        let outcomes = Outcomes::default();
        let executions = Arc::new(AtomicU64::new(0));
        let watch = Arc::new(Mutex::new(watch));
        let wrong: Arc<Mutex<Option<String>>> = Arc::default();
        let body = Arc::new(body);
        let start = Instant::now();
        for case in cases {
            let run = {
                let (outcomes, executions, body) = (outcomes.clone(), executions.clone(), body.clone());
                let (watch, wrong) = (watch.clone(), wrong.clone());
                move || {
                    executions.fetch_add(1, Ordering::Relaxed);
                    lock(&watch).begin();
                    body(case, &outcomes);
                    if let Some(found) = lock(&watch).ended() {
                        lock(&wrong).get_or_insert(found);
                    }
                }
            };
            let (executions, watch) = (executions.clone(), watch.clone());
            RUNNING.set(Some(Running { model: self, case: format!("{case:?}"), executions, watch }));
            let result = catch_unwind(AssertUnwindSafe(|| builder.check(run)));
            let running = RUNNING.take();
            if let Err(panic) = result {
                if let Some(running) = running {
                    running.tell(text_of(&*panic));
                }
                resume_unwind(panic);
            }
        }
        let executions = executions.load(Ordering::Relaxed);
        lock(&watch).finished();
        // With another ordering only what goes wrong counts, and not how, or how much was seen.
        let is_changed = named::is_changed();
        if let Some(wrong) = lock(&wrong).take().filter(|_| !is_changed) {
            lock(&watch).strayed(&self, executions, &wrong);
            panic!("{wrong}");
        }
        let seen = lock(&outcomes.0);
        let bound =
            bound.map_or_else(|| "unbounded".to_string(), |bound| format!("preemption bound {bound}"));
        // Past the capture of the test harness: a model's size is part of its result.
        let _ = writeln!(
            std::io::stderr(),
            "loom: {}: {executions} permutations, {bound}, {:.1} s, {seen:?}",
            self.name,
            start.elapsed().as_secs_f64(),
        );
        if !is_changed {
            self.compare(executions, &seen, is_deep);
        }
    }

    #[track_caller]
    fn compare(&self, executions: u64, seen: &BTreeMap<&'static str, u64>, is_deep: bool) {
        let Expected { name, at_least, outcomes, .. } = self;
        assert!(
            executions >= *at_least,
            "{name}: {executions} permutations, expected at least {at_least}: did loom stop exploring?"
        );
        let missed: Vec<_> = outcomes.iter().filter(|outcome| !seen.contains_key(**outcome)).collect();
        assert!(missed.is_empty(), "{name}: saw {seen:?} and never {missed:?}");
        let new: Vec<_> = seen.keys().filter(|outcome| !outcomes.contains(outcome)).collect();
        assert!(new.is_empty() || is_deep, "{name}: saw {new:?}, which it does not declare");
    }
}

/// The model that runs in this thread, until it is told that it failed.
struct Running {
    model: Expected,
    case: String,
    executions: Arc<AtomicU64>,
    watch: Arc<Mutex<dyn Watch>>,
}

std::thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

impl Running {
    fn tell(self, message: &str) {
        let Running { model, case, executions, watch } = self;
        lock(&watch).failed(
            &model,
            executions.load(Ordering::Relaxed),
            &format!("{message}\nin the case {case}"),
        );
    }
}

/// Tells that the model has failed while it is still unwinding. loom finds a deadlock where nothing can unwind, and ends the process.
pub(super) fn tell_early() {
    let running = RUNNING.try_with(|running| running.try_borrow_mut().ok()?.take()).ok().flatten();
    let panic = execution::try_with(|execution| execution.panic.as_ref().map(|panic| panic.message.clone()));
    if let (Some(running), Some(message)) = (running, panic.flatten()) {
        let trace = trace::current();
        // The stack of a thread of loom's is small.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                trace::adopt(trace);
                running.tell(&message);
            });
        });
    }
}

fn lock<T: ?Sized>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text")
}
