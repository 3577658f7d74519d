//! A loom model that proves that it explored something: it counts its permutations and what happened in them.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What is known of a model before it runs.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    /// How often the scheduler may preempt a thread in one permutation; `None` is exhaustive.
    pub(crate) preemption_bound: Option<usize>,
    /// The fewest permutations with which the model still means something. A model in which exploration was
    /// switched off has a handful.
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

impl Model {
    /// Runs `body` in every permutation.
    pub(crate) fn check(self, body: impl Fn(&Outcomes) + Send + Sync + 'static) {
        let outcomes = Outcomes::default();
        let permutations = Arc::new(AtomicU64::new(0));
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = self.preemption_bound;

        let start = Instant::now();
        builder.check({
            let (outcomes, permutations) = (outcomes.clone(), permutations.clone());
            move || {
                permutations.fetch_add(1, Ordering::Relaxed);
                body(&outcomes);
            }
        });

        let permutations = permutations.load(Ordering::Relaxed);
        let seen = outcomes.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bound = self
            .preemption_bound
            .map_or_else(|| "unbounded".to_owned(), |bound| format!("preemption bound {bound}"));
        // Past the capture of the test harness: a model's size is part of its result.
        let _ = writeln!(
            std::io::stderr(),
            "loom: {}: {permutations} permutations, {bound}, {:.1} s, {seen:?}",
            self.name,
            start.elapsed().as_secs_f64(),
        );
        assert!(
            permutations >= self.at_least,
            "{}: {permutations} permutations, expected at least {}: did loom stop exploring?",
            self.name,
            self.at_least
        );
        let mut expected = self.outcomes.to_vec();
        expected.sort_unstable();
        assert!(
            seen.keys().eq(expected.iter()),
            "{}: saw {seen:?}, expected each of {expected:?} and nothing else",
            self.name
        );
    }
}
