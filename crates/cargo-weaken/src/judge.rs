//! Tries every change, and sees which test notices.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use weaken::record::{Bounds, Execution};

use crate::arguments::Arguments;
use crate::child::Ending;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::plan::{Access, Mutation, Plan};
use crate::suite::{Run, Suite};

/// What the models say about a change.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// A test fails.
    Killed(Box<Kill>),
    /// Every test that reaches the access passes.
    Survived {
        /// What limited their exploration, where something did.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        bounds: Vec<String>,
    },
    /// No test uses the ordering.
    Unreached,
    /// A test did not end in time, and no other fails.
    Timeout {
        /// Which.
        test: String,
    },
    /// It was not tried, or not to the end: with --fail-fast another has answered.
    Skipped,
}

/// How a change was noticed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Kill {
    pub(crate) test: String,
    /// The kind of failure.
    pub(crate) reason: String,
    pub(crate) message: String,
    /// After how many executions of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) permutations: Option<u64>,
    pub(crate) seconds: f64,
    /// The execution that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) execution: Option<Execution>,
}

#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) mutation: Mutation,
    pub(crate) verdict: Verdict,
}

/// Tries all, until `is_last` says that a verdict is enough.
pub(crate) fn judge(
    arguments: &Arguments,
    suite: &Suite,
    plan: &Plan,
    is_last: impl Fn(&Mutation, &Verdict) -> bool + Sync,
    interrupt: &Interrupt,
) -> Result<Vec<Judged>, Error> {
    let part = interrupt.part();
    in_parallel(arguments.jobs, plan.mutations.clone(), plan.question.kind(), |mutation, bar| {
        bar.set_message(mutation.change.clone());
        let verdict = match try_one(suite, &plan.sites, &mutation, &part) {
            Err(Error::Interrupted) if part.is_stopped() => Verdict::Skipped,
            verdict => verdict?,
        };
        if let Verdict::Killed(kill) = &verdict {
            let word = plan.question.word(&verdict);
            let after = kill.permutations.map(|n| format!(" after {n} executions")).unwrap_or_default();
            let line = format!("{word}  {}  by {}: {}{after}", mutation.change, kill.test, kill.reason);
            bar.suspend(|| eprintln!("{line}"));
        }
        bar.inc(1);
        if is_last(&mutation, &verdict) {
            part.stop();
        }
        Ok(Judged { mutation, verdict })
    })
}

/// Runs the tests that reach the access, the quickest first, until one notices.
fn try_one(
    suite: &Suite,
    sites: &[Access],
    mutation: &Mutation,
    interrupt: &Interrupt,
) -> Result<Verdict, Error> {
    if interrupt.is_set() {
        return Err(Error::Interrupted);
    }
    if !mutation.is_reached {
        return Ok(Verdict::Unreached);
    }
    // Their numbers are in the order of their times.
    let tests: BTreeSet<usize> =
        mutation.parts().flat_map(|(site, _)| sites[site].numbers.iter().copied()).collect();
    let mut timed_out = None;
    let mut was_applied = false;
    let mut bounds = Vec::new();
    for number in tests {
        let test = &suite.tests[number];
        let limit = suite.changed_limit(test);
        let run = suite.run(&test.program, &test.name, Some(&mutation.change), limit, interrupt)?;
        if matches!(run.ending, Ending::TimedOut) {
            timed_out = Some(test.name.clone());
            continue;
        }
        if !run.passed() {
            return Ok(Verdict::Killed(Box::new(kill(&test.name, &run))));
        }
        was_applied |= run.ends().any(|end| end.applied);
        bounds.extend(run.ends().filter_map(|end| Some(format!("{}: {}", test.name, bound(&end.bounds)?))));
    }
    Ok(match timed_out {
        Some(test) => Verdict::Timeout { test },
        None if was_applied => Verdict::Survived { bounds },
        None => Verdict::Unreached,
    })
}

/// How a test that does not pass fails.
pub(crate) fn kill(test: &str, run: &Run) -> Kill {
    let end = run.failed();
    let failure = end.and_then(|end| end.failure.as_ref());
    let reason = match (failure, run.ends().next()) {
        (Some(failure), _) => failure.reason.to_string(),
        // The models passed, and what the test says about them does not hold.
        (None, Some(_)) => "panic".to_owned(),
        (None, None) => "crash".to_owned(),
    };
    Kill {
        test: test.to_owned(),
        reason,
        message: run.message(),
        permutations: end.map(|end| end.permutations),
        seconds: run.took.as_secs_f64(),
        execution: failure.map(|failure| failure.execution.clone()),
    }
}

/// What limited a model.
fn bound(bounds: &Bounds) -> Option<String> {
    let mut all = Vec::new();
    if let Some(preemptions) = bounds.preemptions {
        all.push(format!("at most {preemptions} preemptions"));
    }
    if let Some(permutations) = bounds.permutations {
        all.push(format!("at most {permutations} executions"));
    }
    if let Some(seconds) = bounds.seconds {
        all.push(format!("at most {seconds} s"));
    }
    (!all.is_empty()).then(|| all.join(", "))
}

/// Does all the work on so many threads; the results are in the order of the work. The first error ends it.
pub(crate) fn in_parallel<T: Send, R: Send>(
    jobs: Option<NonZeroUsize>,
    work: Vec<T>,
    what: &'static str,
    perform: impl Fn(T, &ProgressBar) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let jobs = jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let bar = ProgressBar::new(work.len() as u64).with_style(style()).with_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    let threads = jobs.min(work.len());
    let queue = Mutex::new(work.into_iter().enumerate());
    let results = Mutex::new(Vec::new());
    let failed = Mutex::new(None);
    let next = || {
        let has_failed = failed.lock().is_ok_and(|error| error.is_some());
        if has_failed { None } else { queue.lock().ok()?.next() }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((number, item)) = next() {
                    match perform(item, &bar) {
                        Ok(result) => {
                            if let Ok(mut results) = results.lock() {
                                results.push((number, result));
                            }
                        }
                        Err(error) => {
                            if let Ok(mut failed) = failed.lock() {
                                failed.get_or_insert(error);
                            }
                        }
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    if let Ok(Some(error)) = failed.into_inner() {
        return Err(error);
    }
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_unstable_by_key(|(number, _)| *number);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len} {elapsed} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
