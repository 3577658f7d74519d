//! Models under loom, and what a run of them writes down.

mod models;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};

use weaken::operation::{Operation, Order, Orders};
use weaken::record::{CHANGES, End, Ending, Execution, FILE, Line, Outcome, REFUSED, Reason, Step};
use weaken::sync::atomic::AtomicBool;

/// What became of one model in a process of its own.
struct Run {
    output: Output,
    lines: Vec<Line>,
    /// Keeps the record's folder.
    _folder: tempfile::TempDir,
}

impl Run {
    fn end(&self) -> &End {
        match self.lines.as_slice() {
            [Line::Begin(_), Line::End(end)] => end,
            lines => panic!("{lines:?}\n{}", String::from_utf8_lossy(&self.output.stderr)),
        }
    }

    fn execution(&self) -> &Execution {
        &self.end().failure.as_ref().expect("the model fails").execution
    }

    fn reason(&self) -> Reason {
        self.end().failure.as_ref().expect("the model fails").reason
    }
}

/// Runs a model of [`models`], with these changes.
fn run(model: &str, changes: &str) -> Run {
    let folder = tempfile::tempdir().expect("a folder");
    let record: PathBuf = folder.path().join("record");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", &format!("models::{model}"), "--nocapture", "--test-threads=1"]);
    command.env(FILE, &record).env_remove(CHANGES);
    if !changes.is_empty() {
        command.env(CHANGES, changes);
    }
    let output = command.output().expect("it starts");
    let text = std::fs::read_to_string(&record).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    Run { output, lines, _folder: folder }
}

fn by(execution: &Execution, operation: Operation) -> Vec<&Step> {
    execution.steps.iter().filter(|step| step.operation == operation).collect()
}

#[test]
fn a_model_that_passes_lists_its_accesses_and_how_often_they_were_made() {
    let run = run("message", "");
    let end = run.end();
    assert!(run.output.status.success());
    assert_eq!((end.outcome, end.applied), (Outcome::Passed, false));
    assert!(end.permutations > 1, "{end:?}");
    assert!(end.model.file.ends_with("tests/models/mod.rs"), "{end:?}");
    assert_eq!(end.bounds.branches, 1000);
    assert!(end.sites.iter().all(|site| site.names == ["ready"]), "{end:?}");
    let sites: Vec<_> =
        end.sites.iter().map(|site| (site.operation, site.orders, site.count, site.changed)).collect();
    let n = end.permutations;
    assert_eq!(
        sites,
        [
            (Operation::Load, Orders::one(Order::Acquire), n, None),
            (Operation::Store, Orders::one(Order::Release), n, None),
        ]
    );
}

#[test]
fn a_store_that_no_longer_releases_is_a_race_and_the_execution_says_where() {
    let run = run("message", "models/mod.rs:*#store=Relaxed".replace(":*", &line("message: store")).as_str());
    let end = run.end();
    assert!(!run.output.status.success());
    assert_eq!((end.outcome, end.applied, run.reason()), (Outcome::Failed, true, Reason::Race));
    let changed: Vec<_> = end.sites.iter().filter_map(|site| site.changed).collect();
    assert_eq!(changed, [Orders::one(Order::Relaxed)]);

    let execution = run.execution();
    let shown: Vec<_> = execution
        .steps
        .iter()
        .map(|step| {
            let word = step.word.as_deref().unwrap_or_default();
            (step.thread, step.operation, step.order, word, step.source, step.ending)
        })
        .collect();
    assert_eq!(
        shown,
        [
            (1, Operation::Write, None, "data", None, Ending::Done),
            (1, Operation::Store, Some(Order::Relaxed), "ready", Some(Order::Release), Ending::Done),
            (0, Operation::Load, Some(Order::Acquire), "ready", None, Ending::Done),
            (0, Operation::Read, None, "data", None, Ending::Refused),
        ]
    );
    let load = execution.steps[2].read.as_ref().expect("a load reads");
    assert_eq!((load.value.as_str(), load.from, load.newest), ("true", Some(1), None));
    assert_eq!(execution.unordered, Some(0));
}

#[test]
fn equal_values_do_not_hide_which_write_was_read() {
    // Every store stores 7: by values, the last could be any.
    let run = run("same_values", "");
    let execution = run.execution();
    let sevens =
        by(execution, Operation::Store).into_iter().filter(|step| step.wrote.as_deref() == Some("7"));
    assert_eq!(sevens.count(), 2, "{execution:?}");
    let last = execution.steps.last().and_then(|step| step.read.as_ref()).expect("the load is last");
    assert_eq!((last.value.as_str(), last.from, last.newest), ("7", Some(0), Some(1)), "{execution:?}");
}

#[test]
fn both_sides_of_a_compare_exchange_change_alone() {
    let at = line("lock: compare_exchange");
    let site = |run: &Run| {
        run.end().sites.iter().find(|site| site.operation.can_fail()).expect("it was reached").clone()
    };
    let unchanged = site(&run("lock", ""));
    assert!(unchanged.failed > 0 && unchanged.failed < unchanged.count, "{unchanged:?}");

    let success = run("lock", &format!("models/mod.rs{at}=Relaxed"));
    assert_eq!(success.reason(), Reason::Race);
    assert_eq!(site(&success).changed, Some(Orders::two(Order::Relaxed, Order::Acquire)));

    let failure = run("lock", &format!("models/mod.rs{at}=_/Relaxed"));
    assert_eq!((failure.end().outcome, failure.end().applied), (Outcome::Passed, true));
}

#[test]
fn a_success_that_is_too_weak_is_not_saved_by_the_acquire_of_a_failure() {
    // The compare-exchange meets another write of the value that it expects, and is tried again.
    let at = line("again: compare_exchange");
    assert_eq!(run("again", "").end().outcome, Outcome::Passed);
    assert_eq!(run("again", &format!("models/mod.rs{at}=Relaxed/Acquire")).reason(), Reason::Race);
}

#[test]
fn the_order_of_a_failure_matters_where_the_failure_is_used() {
    let at = line("failure: compare_exchange");
    assert_eq!(run("failure", "").end().outcome, Outcome::Passed);
    assert_eq!(run("failure", &format!("models/mod.rs{at}=_/Relaxed")).reason(), Reason::Race);
    assert_eq!(run("failure", &format!("models/mod.rs{at}=Relaxed/_")).end().outcome, Outcome::Passed);
}

#[test]
fn a_fence_can_be_made_weaker_and_relaxed_is_none() {
    assert_eq!(run("fences", "").end().outcome, Outcome::Passed);
    for fence in ["release", "acquire"] {
        let at = line(&format!("fences: {fence}"));
        let run = run("fences", &format!("models/mod.rs{at}=Relaxed"));
        assert_eq!(run.reason(), Reason::Race, "{fence}");
        assert_eq!(by(run.execution(), Operation::Fence).len(), 2, "{fence}");
    }
}

#[test]
fn a_change_that_no_access_meets_is_not_applied() {
    let run = run("message", "models/mod.rs:1=Relaxed");
    assert_eq!((run.end().outcome, run.end().applied), (Outcome::Passed, false));
}

#[test]
fn what_cannot_be_tried_ends_the_process_with_its_reason() {
    let store = format!("models/mod.rs{}=Acquire", line("message: store"));
    for (changes, reason) in [("nonsense", "no `=`"), (&store, "cannot be Acquire")] {
        let run = run("message", changes);
        assert_eq!(run.output.status.code(), Some(REFUSED), "{changes}");
        match run.lines.last() {
            Some(Line::Refused { reason: text }) => assert!(text.contains(reason), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_wrong_result_is_told_from_what_loom_finds() {
    let run = run("wrong", "");
    let failure = run.end().failure.as_ref().expect("it fails");
    assert_eq!(failure.reason, Reason::Wrong);
    assert!(failure.message.contains("a lost update"), "{failure:?}");
    assert!(failure.execution.steps.iter().all(|step| step.ending == Ending::Done), "{failure:?}");
}

#[test]
fn memory_is_called_and_shown_as_the_model_says_and_never_two_pieces_alike() {
    let run = run("names", "");
    let shown: Vec<_> = run
        .execution()
        .steps
        .iter()
        .map(|step| {
            let read = step.read.as_ref().map(|read| read.value.as_str());
            (step.word.as_deref().unwrap_or_default(), read.unwrap_or_default(), step.wrote.as_deref())
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("node", "tag 3, first 1", Some("tag 3, first 2")),
            ("node #2", "0", None),
            // A function that panics shows nothing.
            ("node #3", "1", None),
            ("A", "5", None),
        ]
    );
}

#[test]
fn a_panic_in_a_destructor_does_not_hide_the_first_one() {
    let run = run("destructor", "");
    assert!(!run.output.status.success());
    let failure = run.end().failure.as_ref().expect("it fails");
    assert!(failure.message.contains("the first"), "{failure:?}");
}

#[test]
fn an_atomic_outside_of_a_model_says_how_to_begin_one() {
    let outside = std::panic::catch_unwind(|| AtomicBool::new(false)).expect_err("no model runs");
    let text = outside.downcast_ref::<&str>().expect("a text");
    assert!(text.contains("begin the model with `weaken::model`"), "{text}");
}

#[test]
fn what_loom_finds_is_told_apart() {
    assert_eq!(run("leak", "").reason(), Reason::Leak);
    assert_eq!(run("deadlock", "").reason(), Reason::Deadlock);
    assert_eq!(run("endless", "").reason(), Reason::Endless);
}

#[test]
fn every_operation_has_the_result_that_it_has_without_loom() {
    let run = run("operations", "");
    assert!(run.output.status.success(), "{}", String::from_utf8_lossy(&run.output.stderr));
    let ends = run.lines.iter().filter_map(|line| if let Line::End(end) = line { Some(end) } else { None });
    let seen: BTreeSet<_> = ends.flat_map(|end| &end.sites).map(|site| site.operation.name()).collect();
    let all = [
        "load",
        "store",
        "swap",
        "compare_and_swap",
        "compare_exchange",
        "compare_exchange_weak",
        "fetch_update",
        "fetch_add",
        "fetch_sub",
        "fetch_and",
        "fetch_nand",
        "fetch_or",
        "fetch_xor",
        "fetch_max",
        "fetch_min",
        "fence",
    ];
    assert_eq!(seen, BTreeSet::from(all));
}

/// `:LINE` of the line in the models with this comment.
fn line(comment: &str) -> String {
    let models = include_str!("models/mod.rs");
    let comment = format!("// {comment}");
    let number = models.lines().position(|line| line.ends_with(&comment)).expect("the comment") + 1;
    format!(":{number}")
}
