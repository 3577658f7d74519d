//! Tries every change, and sees which test notices.

use std::collections::BTreeSet;

use weaken::record::Bounds;

use crate::access::Access;
use crate::arguments::Arguments;
use crate::child::Ending;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::parallel::in_parallel;
use crate::plan::{Mutation, Plan};
use crate::suite::Suite;
use crate::verdict::Verdict;

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
            return Ok(Verdict::Killed(Box::new(run.kill(&test.name))));
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
