//! One page of HTML that needs nothing beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use weaken::picture::{self, Orderings};

use crate::error::Error;
use crate::question::Question;
use crate::report::{Changed, Mutation, Report, Summary};
use crate::verdict::{Kill, Verdict};

/// The lines of a file that have accesses, with the changes of each: the number, what changed, the verdict.
type Lines<'a> = BTreeMap<usize, Vec<(usize, &'a Changed, &'static str)>>;

/// How many lines around an access are shown.
const CONTEXT: usize = 4;

/// Writes the page.
pub(crate) fn write(file: &Path, report: &Report, root: &Path) -> Result<(), Error> {
    put(file, &page(report, root))
}

/// Writes a page of a model that fails with the orderings of the source.
pub(crate) fn write_unchanged(file: &Path, failure: &Kill) -> Result<(), Error> {
    let body = html! {
        p {
            "A model fails with the orderings as they are in the source, so there is nothing yet to make "
            "weaker. This is an execution in which it fails: what each thread does stands below its name, in "
            "the order of the steps."
        }
        (reason(failure))
        @if let Some(execution) = &failure.execution { (PreEscaped(picture::html(execution, Orderings::Source))) }
    };
    put(file, &document(&body))
}

fn put(file: &Path, page: &Markup) -> Result<(), Error> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(Error::file(folder))?;
    }
    std::fs::write(file, &page.0).map_err(Error::file(file))
}

fn page(report: &Report, root: &Path) -> Markup {
    document(&html! {
        (intro(report))
        @match report.question {
            Question::Strengthen => {},
            Question::Weaken | Question::Site => (meaning()),
        }
        @for warning in &report.warnings { p.warning { "Warning: " (warning) } }
        h2 { "Source" }
        (sources(report, root))
        h2 { "Changes" }
        @for (number, mutation) in report.mutations.iter().enumerate() {
            (details(number, mutation, report.question))
        }
        h2 { "Models" }
        table {
            tr { th { "test" } th { "program" } th { "executions" } th { "seconds" } }
            @for test in &report.tests {
                tr {
                    td { (test.name) } td { (test.program) }
                    td.number { (test.permutations) } td.number { (format!("{:.2}", test.seconds)) }
                }
            }
        }
    })
}

fn document(body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "cargo weaken" }
                style { (PreEscaped(picture::STYLE)) (PreEscaped(include_str!("page.css"))) }
            }
            body {
                h1 { "cargo weaken" }
                (body)
            }
        }
    }
}

/// What was asked, and the answer in numbers.
fn intro(report: &Report) -> Markup {
    let Summary { killed, survived, unreached, timeout, skipped } = report.summary;
    html! {
        p {
            @match report.question {
                Question::Weaken => {
                    "Each ordering below was made weaker, alone, and the models that reach it ran again: "
                },
                Question::Strengthen => {
                    "Each ordering below was made stronger by one step, alone, and the models that reach it "
                    "ran again. A stronger ordering allows no execution that the source does not: a model "
                    "that fails is wrong, or loom is. "
                },
                Question::Site => "The orderings below were changed, and the models that reach them ran again: ",
            }
            @if report.question == Question::Strengthen {
                b.fails { (killed) " fail" } ", " b.passes { (survived) " pass" } ", "
            } @else {
                b.killed { (killed) " killed" } ", " b.survived { (survived) " survived" } ", "
            }
            b.timeout { (timeout) " timeout" } ", " b.unreached { (unreached) " unreached" }
            @if skipped > 0 { ", " b.skipped { (skipped) " skipped" } " (--fail-fast)" } "."
        }
    }
}

/// What the verdicts say, and what they do not.
fn meaning() -> Markup {
    html! {
        dl {
            dt.killed { "killed" }
            dd { "A model fails with the weaker ordering. The execution that fails is shown." }
            dt.survived { "survived" }
            dd {
                "No model needs the ordering. That is not to say that nothing needs it: the models may be too "
                "small, and there is what loom cannot see."
                ul {
                    li { "loom has no load buffering: a load never reads what is stored only later. An acquire "
                         "load or a release store that forbids just that is never missed." }
                    li { "loom takes SeqCst loads, stores and read-modify-writes for AcqRel or less: only SeqCst "
                         "fences are told apart, so SeqCst made AcqRel always survives." }
                    li { "compare_exchange_weak never fails without a reason in loom, and a failed "
                         "compare-exchange reads the newest store only." }
                    li { "An atomic remembers its last 7 stores; a model has at most 5 threads; a bound on "
                         "preemptions hides every execution that needs more." }
                    li { "A model that loads a word and then changes it can hide orders (loom #392)." }
                }
            }
            dt.timeout { "timeout" }
            dd { "A model did not end in time with the weaker ordering, and no other failed: not known." }
            dt.unreached { "unreached" }
            dd { "No model uses the ordering: no compare-exchange fails, or nothing gets there." }
        }
    }
}

/// The lines of source that have accesses, and those around them.
fn sources(report: &Report, root: &Path) -> Markup {
    let mut files: BTreeMap<&str, Lines<'_>> = BTreeMap::new();
    for access in &report.accesses {
        files.entry(&access.place.file).or_default().entry(access.place.line as usize).or_default();
    }
    for (number, mutation) in report.mutations.iter().enumerate() {
        for changed in mutation.all() {
            let lines = files.entry(&changed.place.file).or_default();
            let word = report.question.word(&mutation.verdict);
            lines.entry(changed.place.line as usize).or_default().push((number, changed, word));
        }
    }
    html! {
        @for (file, accesses) in files {
            h3 { (file) }
            @match std::fs::read_to_string(root.join(file)) {
                Ok(text) => (source(&text, &accesses)),
                Err(error) => p.warning { "It cannot be read: " (error) },
            }
        }
    }
}

fn source(text: &str, accesses: &Lines<'_>) -> Markup {
    let lines: Vec<_> = text.lines().collect();
    let shown: BTreeSet<usize> = accesses
        .keys()
        .flat_map(|line| line.saturating_sub(CONTEXT)..=line + CONTEXT)
        .filter(|line| (1..=lines.len()).contains(line))
        .collect();
    let starts = |line: &usize| *line > 1 && !shown.contains(&(line - 1));
    html! {
        table.source {
            @for line in &shown {
                @if starts(line) { tr { td.gap colspan="3" { "⋯" } } }
                tr.access[accesses.contains_key(line)] {
                    td.line { (line) }
                    td { code { (lines[line - 1]) } }
                    td {
                        @for (number, changed, word) in accesses.get(line).into_iter().flatten() {
                            a class=(word) href=(format!("#change-{number}")) { (changed.to) " " (word) }
                            " "
                        }
                    }
                }
            }
        }
    }
}

fn details(number: usize, mutation: &Mutation, question: Question) -> Markup {
    let word = question.word(&mutation.verdict);
    html! {
        details id=(format!("change-{number}")) open[!matches!(mutation.verdict, Verdict::Killed(_))] {
            summary {
                @for (number, Changed { place, operation, from, to }) in mutation.all().enumerate() {
                    @if number > 0 { "and " }
                    code { (place) } " " (operation) " " b { (from) " → " (to) } " "
                }
                span class=(word) { (word) }
            }
            @match &mutation.verdict {
                Verdict::Killed(kill) => (killed(kill)),
                Verdict::Survived { bounds } => {
                    @match question {
                        Question::Strengthen => p { "Every model passes." },
                        Question::Weaken | Question::Site => {
                            p { "No model notices, as far as loom can see (above): none needs what the "
                                "source has." }
                        },
                    }
                    @for bound in bounds { p { "Its exploration was bounded: " (bound) "." } }
                },
                Verdict::Unreached => {
                    p { "No model uses this ordering: add one in which the access is made"
                        @if mutation.access.operation.can_fail() { ", and one in which it fails" } "." }
                },
                Verdict::Timeout { test } => {
                    p { (test) " did not end in time: try --time-limit or --bound." }
                },
                Verdict::Skipped => p { "It was not tried: --fail-fast." },
            }
            p.again { "Again: " code { "cargo weaken --site '" (mutation.change) "'" } }
        }
    }
}

fn killed(kill: &Kill) -> Markup {
    html! {
        (reason(kill))
        @if let Some(execution) = &kill.execution { (PreEscaped(picture::html(execution, Orderings::Changed))) }
    }
}

fn reason(kill: &Kill) -> Markup {
    html! {
        p {
            (kill.test) ": " b { (kill.reason) }
            @if let Some(permutations) = kill.permutations { ", in execution " (permutations) }
            "."
        }
        pre { (kill.message) }
    }
}
