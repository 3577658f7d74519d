//! docs/orderings.md.

use std::fmt::Write;

use anyhow::Context;
use arenaq::ordering::SiteInfo;
use arenaq::paths::{BOUNDS, PATHS};
use arenaq::structures::{self, SITES};

use crate::orderings::change::{Change, is_atomic, source};
use crate::orderings::claims::{self, Claim};
use crate::orderings::matrix::{Matrix, Verdict};
use crate::orderings::mutants;
use crate::orderings::survivors::Survivor;

const INTRODUCTION: &str = "# Orderings

Every access to shared memory has a name: a *site* ([`src/ordering.rs`](../src/ordering.rs)). This page lists the sites, what
happens to the [loom models](../loom-tests/main.rs) if an ordering is weaker or the code is wrong, and what became of the seed
documents' claims.

`cargo xtask orderings` measures all of it and writes this file; `cargo xtask orderings --check` fails if it is old. Where a row
names a model, that model is tried first, and others only if it does not notice as the row says; `--afresh` tries all on all. To
try one change: `cargo xtask orderings --site mpsc.push.swap_head=Release`.
";

const THE_SITES: &str = "## Sites

A plain access has no ordering; a site without a partner makes no happens-before edge.

*LKMM* says what is enough in the memory model of the Linux kernel, where that is less than C11 needs, which the code keeps
to: [kernel-model.md](kernel-model.md) has the arguments. *Not seen* is what no model can show, as loom has no load buffering.";

const MATRIX: &str = "## Weaker orderings

Each site with each weaker ordering that it could have, one at a time; for a compare-exchange (success/failure) one side at a
time. The models are tried until one fails; a *race* is two accesses to plain memory that nothing orders. Sites that
are relaxed have nothing weaker, and are not here: that they are enough is what the models show.
";

const STRENGTH: &str =
    "With every site `SeqCst` at once, all models pass: no result depends on an ordering that is weak. loom \
treats `SeqCst` accesses as `AcqRel`.
";

const MUTANTS: &str = "## Mutants

The code with one mistake each ([`loom-tests/mutants.toml`](../loom-tests/mutants.toml)). `cargo xtask orderings --mutant NAME`
shows how the models notice.
";

const CLAIMS: &str = "## The seeds' claims

What the three documents claim, shortened, and what shows whether it is so. A command with `--site` or `--mutant` *fails* where
the change breaks something.

*Insert* is the list of memory operations of the bounded insert, *analysis* the analysis of the bounded queue, *spec* the
specification of the MPSC queue.
";

pub(crate) fn generate(matrix: &Matrix, survivors: &[Survivor], claims: &[Claim]) -> String {
    let mut text = String::from(INTRODUCTION);
    sites(&mut text);
    weaker(&mut text, matrix, survivors);
    mutants(&mut text, matrix);
    paths(&mut text);
    seeds(&mut text, claims);
    text
}

/// The file with what needs no model as the code has it, and what was measured as it was.
pub(crate) fn render(is: &str, claims: &[Claim]) -> anyhow::Result<String> {
    let mut parts: [String; 3] = Default::default();
    let [sites_now, paths_now, seeds_now] = &mut parts;
    sites(sites_now);
    paths(paths_now);
    seeds(seeds_now, claims);
    let mut text = is.to_owned();
    for part in parts {
        let part = part.trim();
        let title = part.lines().next().unwrap_or_default();
        let start = text.find(&format!("\n{title}\n")).with_context(|| format!("there is no `{title}`"))? + 1;
        let end = text[start..].find("\n\n## ").map_or(text.trim_end().len(), |length| start + length);
        text.replace_range(start..end, part);
    }
    Ok(text)
}

/// Writing to a string cannot fail.
macro_rules! line {
    ($text:expr, $($arg:tt)*) => {{ let _ = writeln!($text, $($arg)*); }};
}

fn sites(text: &mut String) {
    line!(text, "\n{THE_SITES}");
    for sites in SITES {
        let Some(structure) = sites.first().and_then(|site| site.name.split('.').next()) else {
            continue;
        };
        line!(text, "\n### {structure}\n\n| site | access | ordering | pairs with | why | seed |");
        line!(text, "|---|---|---|---|---|---|");
        for site in *sites {
            let order = if is_atomic(site) { source(site) } else { "plain".to_owned() };
            let partners: Vec<_> = site.pairs_with.iter().map(|name| format!("`{name}`")).collect();
            line!(
                text,
                "| `{}` | {:?} | {order} | {} | {} | {} |",
                site.name,
                site.access,
                partners.join(", "),
                cell(&reason(site)),
                cell(site.seed)
            );
        }
    }
}

/// Why the ordering is right, and what other models and hardware make of it.
fn reason(site: &SiteInfo) -> String {
    let notes = [("LKMM", site.lkmm), ("Not seen", site.unseen)];
    let notes = notes.into_iter().filter(|(_, note)| !note.is_empty());
    notes.fold(site.why.to_owned(), |why, (name, note)| format!("{why}. *{name}*: {note}"))
}

/// The paths of the operations, which every execution of every model is compared with.
fn paths(text: &mut String) {
    line!(text, "\n## Paths\n");
    line!(
        text,
        "The sites that an operation passes, in order, as a regular expression over the last parts of their names; `!` marks a"
    );
    line!(
        text,
        "compare-exchange that fails. [`loom-tests/paths.rs`](../loom-tests/paths.rs) compares every operation of every execution"
    );
    line!(text, "with them. The seeds' m00 and m03 are one access here, and so are m06 and m07.\n");
    line!(text, "| operation | outcome | sites | the seeds |\n|---|---|---|---|");
    for path in PATHS {
        let sites = path.sites.trim().replace('|', "\\|");
        line!(text, "| {} | {} | `{sites}` | {} |", path.operation, path.outcome, cell(path.seed));
    }
    line!(text, "\n| operation | accesses at most | more for each retry |\n|---|---|---|");
    for (operation, fixed, each) in BOUNDS {
        line!(text, "| {operation} | {fixed} | {each} |");
    }
    line!(
        text,
        "\nThe retry budget is 100. A push on the MPSC queue is wait-free once it has its node: behind the allocation its path has no"
    );
    line!(text, "repetition. The constants of a pool are not counted.");
}

fn weaker(text: &mut String, matrix: &Matrix, survivors: &[Survivor]) {
    let killed =
        matrix.weaker.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Killed { .. })).count();
    line!(text, "\n{MATRIX}");
    line!(text, "{killed} of {} are noticed. {STRENGTH}", matrix.weaker.len());
    line!(text, "| site | is | tried | result | model |\n|---|---|---|---|---|");
    for (change, verdict) in &matrix.weaker {
        let is = source(change.site);
        let (result, model) = result(verdict);
        line!(text, "| `{}` | {is} | {} | {result} | {model} |", change.site.name, change.orderings());
    }
    let relaxed =
        structures::sites().filter(|site| is_atomic(site) && Change::weaker(site).is_empty()).count();
    line!(text, "\n{relaxed} atomic sites are relaxed already.");
    let explained: Vec<_> = matrix
        .weaker
        .iter()
        .filter_map(|(change, _)| Some((change, survivors.iter().find(|survivor| survivor.is(change))?)))
        .collect();
    if !explained.is_empty() {
        line!(text, "\n### Survivors\n\n| change | why no model notices | what would |\n|---|---|---|");
        for (change, survivor) in explained {
            line!(text, "| `{change}` | {} | {} |", cell(&survivor.why), cell(&survivor.would));
        }
    }
}

fn mutants(text: &mut String, matrix: &Matrix) {
    line!(text, "\n{MUTANTS}\n| mutant | file | what it does | result | model |\n|---|---|---|---|---|");
    let (harmless, harmful): (Vec<_>, Vec<_>) =
        matrix.mutants.iter().partition(|(mutant, _)| mutant.harmless.is_some());
    for (mutant, verdict) in harmful {
        let (result, model) = result(verdict);
        line!(text, "| `{}` | {} | {} | {result} | {model} |", mutant.name, mutant.file, cell(&mutant.does));
    }
    if !harmless.is_empty() {
        line!(text, "\n### Harmless changes\n\nOther code that all models pass, as they should.\n");
        line!(text, "| mutant | file | what it does | why it is harmless |\n|---|---|---|---|");
        for (mutant, _) in harmless {
            let why = cell(mutant.harmless.as_deref().unwrap_or_default());
            line!(text, "| `{}` | {} | {} | {why} |", mutant.name, mutant.file, cell(&mutant.does));
        }
    }
    debug_assert!(mutants::FILE.starts_with("loom-tests/"), "the introduction links to it");
}

fn seeds(text: &mut String, claims: &[Claim]) {
    debug_assert!(claims::FILE.ends_with(".toml"), "the claims are data");
    line!(text, "\n{CLAIMS}\n| where | claim | verdict | because | command |\n|---|---|---|---|---|");
    for claim in claims {
        line!(
            text,
            "| {} | {} | {} | {} | `{}` |",
            cell(&claim.place),
            cell(&claim.claim),
            claim.verdict,
            cell(&claim.because),
            claim.command
        );
    }
}

fn result(verdict: &Verdict) -> (String, String) {
    match verdict {
        Verdict::Killed { model, failure, .. } => (failure.to_string(), format!("`{model}`")),
        Verdict::Survived => ("**all pass**".to_owned(), String::new()),
    }
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first difference, for whoever has to understand it.
pub(crate) fn difference(is: &str, should: &str) -> Option<String> {
    let (mut old, mut new) = (is.lines(), should.lines());
    (1..)
        .map(|number| (number, old.next(), new.next()))
        .take_while(|(_, a, b)| a.is_some() || b.is_some())
        .find_map(|(number, a, b)| {
            let show = |line: Option<&str>| line.unwrap_or("(the end)").to_owned();
            (a != b).then(|| format!("line {number}:\n  is:     {}\n  should: {}", show(a), show(b)))
        })
}

#[cfg(test)]
mod tests {
    use super::{cell, difference, paths, reason, render, sites};

    #[test]
    fn a_cell_is_one_line_without_bars() {
        assert_eq!(cell("a |\n  b"), "a \\| b");
    }

    #[test]
    fn a_row_says_what_other_models_need_and_what_no_model_can_show() {
        let all = || arenaq::structures::sites();
        let site = |name: &str| all().find(|site| site.name == name).expect("a site");
        let swap = reason(site("mpsc.push.swap_head"));
        assert!(swap.contains("be lost. *LKMM*: xchg_release is enough") && swap.contains("swpal"), "{swap}");
        let check = reason(site("mpmc.verify.confirm_position"));
        assert!(check.contains("*Not seen*: ") && check.contains("load buffering"), "{check}");
        let count = site("mpsc.push.increment_count");
        assert_eq!(reason(count), count.why, "nothing else is to be said");
    }

    #[test]
    fn what_is_rendered_anew_leaves_what_was_measured() {
        let is = "# Orderings\n\n## Sites\n\nSTALE\n\n## Paths\n\nSTALE\n\n## Weaker orderings\n\nmeasured\n\n\
                  ## The seeds' claims\n\nSTALE\n";
        let text = render(is, &[]).expect("all parts are there");
        assert!(text.starts_with("# Orderings\n\n## Sites\n\nA plain access"), "{text}");
        assert!(
            text.contains("## Weaker orderings\n\nmeasured\n\n## The seeds' claims\n\nWhat the three"),
            "{text}"
        );
        assert!(!text.contains("STALE") && text.ends_with("|\n"), "{text}");
        assert_eq!(render(&text, &[]).expect("again"), text);
        assert!(render("# Orderings\n", &[]).expect_err("no part").to_string().contains("## Sites"));
    }

    #[test]
    fn what_needs_no_model_is_in_the_file_as_the_code_has_it() {
        let file =
            std::fs::read_to_string(crate::command::root().join("docs/orderings.md")).expect("the file");
        for part in [sites, paths] {
            let mut text = String::new();
            part(&mut text);
            assert!(file.contains(&text), "run `cargo xtask orderings`; this is not there:\n<<<{text}>>>");
        }
    }

    #[test]
    fn the_first_difference_is_found() {
        assert_eq!(difference("a\nb", "a\nb"), None);
        assert_eq!(difference("a\nb", "a\nc").as_deref(), Some("line 2:\n  is:     b\n  should: c"));
        assert_eq!(difference("a", "a\nc").as_deref(), Some("line 2:\n  is:     (the end)\n  should: c"));
    }
}
