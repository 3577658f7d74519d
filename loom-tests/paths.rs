//! In every execution every operation takes one of the paths that [`arenaq::paths`] lists, and makes no more
//! accesses than its bound. A push on the MPSC queue is wait-free behind its allocation because its path
//! there has no repetition.

use std::fmt::Write;
use std::sync::OnceLock;

use arenaq::paths::{BOUNDS, PATHS, Path};
use arenaq::platform::Platform;
use arenaq::trace::{Effect, Trace};
use regex_lite::Regex;

use crate::model::Loom;

struct Known {
    path: &'static Path,
    expression: Regex,
}

fn known() -> &'static [Known] {
    static KNOWN: OnceLock<Vec<Known>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let budget = format!("{{{}}}", Loom::retry_budget());
        let compile = |path: &'static Path| {
            let expression = format!("^(?:{})$", path.sites.replace("{budget}", &budget));
            Known { path, expression: Regex::new(&expression).expect("the table's expressions are ones") }
        };
        PATHS.iter().map(compile).collect()
    })
}

/// Compiles the expressions: not in a thread of loom's, whose stack is small.
pub(crate) fn prepare() {
    known();
}

/// Checks every operation of an execution.
pub(crate) fn check(trace: &Trace) {
    let mut taken = String::new();
    for (index, operation) in trace.operations.iter().enumerate() {
        let Some(outcome) = operation.outcome else { continue };
        taken.clear();
        let mut accesses = 0;
        for event in trace.events_of(index).filter(|event| !event.site.name.starts_with("pool.any.")) {
            let last = event.site.name.rsplit('.').next().unwrap_or_default();
            let mark = if matches!(event.effect, Effect::Refused { .. }) { "!" } else { "" };
            write!(taken, "{last}{mark} ").expect("a string takes everything");
            accesses += 1;
        }
        let listed = known().iter().filter(|known| known.path.operation == operation.name);
        let mut of_outcome = listed.filter(|known| known.path.outcome == outcome);
        assert!(
            of_outcome.any(|known| known.expression.is_match(&taken)),
            "{} took a path to `{outcome}` that is not in arenaq::paths: {taken}",
            operation.name
        );
        let bound = BOUNDS.iter().find(|(name, _, _)| *name == operation.name);
        let (_, fixed, each) = bound.expect("every operation of the table has a bound");
        let most = fixed + each * Loom::retry_budget();
        assert!(accesses <= most, "{}: {accesses} accesses, {most} are the most: {taken}", operation.name);
    }
}
