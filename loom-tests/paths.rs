//! In every execution every operation takes one of the paths that [`arenaq::paths`] lists, and makes no more
//! accesses than its bound. A push on the MPSC queue is wait-free behind its allocation because its path
//! there has no repetition.

use std::fmt::Write;
use std::sync::OnceLock;

use arenaq::paths::{BOUNDS, PATHS, Path};
use arenaq::platform::{Loom, Platform};
use regex_lite::Regex;
use weaken::trace::{Effect, Trace};

struct Known {
    path: &'static Path,
    expression: Regex,
}

fn known() -> &'static [Known] {
    static KNOWN: OnceLock<Vec<Known>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let budget = format!("{{{}}}", Loom::retry_budget());
        let compile = |path: &'static Path| {
            let sites = expand(path.sites).replace("{budget}", &budget);
            let expression = format!("^(?:{sites})$");
            Known { path, expression: Regex::new(&expression).expect("the table's expressions are ones") }
        };
        PATHS.iter().map(compile).collect()
    })
}

/// Puts the paths of another operation where a path names it.
fn expand(sites: &str) -> String {
    let mut sites = sites.to_owned();
    for Path { operation, outcome, .. } in PATHS {
        let name = format!("{{{operation} {outcome}}}");
        if sites.contains(&name) {
            let ends_so = |path: &&Path| (path.operation, path.outcome) == (*operation, *outcome);
            let paths: Vec<_> = PATHS.iter().filter(ends_so).map(|path| path.sites).collect();
            sites = sites.replace(&name, &format!("(?:{})", paths.join("|")));
        }
    }
    sites
}

/// Compiles the expressions: not in a thread of loom's, whose stack is small.
pub(crate) fn prepare() {
    known();
}

/// Checks every operation of an execution. Returns what is wrong with the first that is not as it should be.
pub(crate) fn check(trace: &Trace) -> Option<String> {
    let mut taken = String::new();
    for (index, scope) in trace.scopes.iter().enumerate() {
        let Some(outcome) = scope.outcome else { continue };
        taken.clear();
        let mut accesses = 0;
        for event in trace.events_of(index) {
            let name = event.site.named().name;
            if name.contains(".any.") {
                continue;
            }
            let last = name.rsplit('.').next().unwrap_or_default();
            let mark = if matches!(event.effect, Effect::Refused { .. }) { "!" } else { "" };
            write!(taken, "{last}{mark} ").expect("a string takes everything");
            accesses += 1;
        }
        let mut listed = known()
            .iter()
            .filter(|known| known.path.operation == scope.name && known.path.outcome == outcome);
        let name = scope.name;
        if !listed.any(|known| known.expression.is_match(&taken)) {
            return Some(format!("{name} took a path to `{outcome}` that is not in arenaq::paths: {taken}"));
        }
        let bound = BOUNDS.iter().find(|(bounded, _, _)| *bounded == name);
        let (_, fixed, each) = bound.expect("every operation of the table has a bound");
        let most = fixed + each * Loom::retry_budget();
        if accesses > most {
            return Some(format!("{name} made {accesses} accesses, and {most} are the most: {taken}"));
        }
    }
    None
}
