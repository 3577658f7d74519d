//! Everything that CI runs, step by step.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use duct::Expression;

use crate::command::{Failed, cargo, check, end_descendants};
use crate::orderings::edges;
use crate::step::Step;
use crate::{faults, instructions, layouts, links, orderings, servers, setup, vm};

/// The tests write a line with this when the kernel cannot run them.
const SKIPPED: &str = "SKIPPED";
/// Lets those tests fail instead.
const REQUIRE_KERNEL: &str = "ARENAQ_REQUIRE_KERNEL";
/// No step takes as long, on the slowest machine; CI as a whole has twice as long.
const HANGS: Duration = Duration::from_secs(45 * 60);
/// What makes the model checkers go further: loom without bounds, shuttle with twenty times the schedules.
const DEEP: [(&str, &str); 2] = [("WEAKEN_DEEP", "1"), ("ARENAQ_SHUTTLE_ITERATIONS", "200000")];

/// The packages that are published.
const PUBLISHED: &[&str] =
    &["arenaq", "arenaq-bpf", "arenaq-bpf-build", "arenaq-libbpf", "weaken", "cargo-weaken"];

/// How the steps are run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// What the kernel refuses is a failure.
    pub(crate) require_kernel: bool,
    /// The model checkers take hours.
    pub(crate) deep: bool,
}

/// Returns the lines on skipped tests.
fn run_step(step: Step, options: &Options) -> anyhow::Result<Vec<String>> {
    let lines = match step {
        Step::Setup => setup::setup().map(|()| Vec::new()),
        Step::Links => links::check().map(|()| Vec::new()),
        Step::Servers => servers::check().map(|()| Vec::new()),
        Step::Layouts => layouts::check().map(|()| Vec::new()),
        Step::Faults => faults::check(),
        Step::Vm => vm::check().map(|()| Vec::new()),
        Step::Instructions => instructions::check().map(|()| Vec::new()),
        Step::Orderings => orderings::check().map(|()| Vec::new()),
        _ => {
            if step == Step::Packages {
                forget_packages()?;
            }
            let mut command = command_of(step);
            let seen = (step == Step::Loom).then(tempfile::NamedTempFile::new).transpose()?;
            if let Some(seen) = &seen {
                command = command.env(edges::FILE, seen.path());
            }
            if options.require_kernel {
                command = command.env(REQUIRE_KERNEL, "1");
            }
            if options.deep {
                command = DEEP.into_iter().fold(command, |command, (name, value)| command.env(name, value));
            }
            let lines = check(&command)?;
            if let Some(seen) = seen {
                edges::check(seen.path())?;
            }
            Ok(lines)
        }
    }?;
    Ok(lines.into_iter().filter(|line| line.contains(SKIPPED)).collect())
}

fn command_of(step: Step) -> Expression {
    let words = |words: &str| cargo(words.split(' '));
    match step {
        Step::Fmt => words("fmt --all --check"),
        Step::Clippy => words("clippy --locked --workspace --all-targets --all-features -- -D warnings"),
        Step::Doc => {
            // arenaq-capi's library has the name of arenaq's, and its header is its documentation.
            words("doc --locked --workspace --exclude arenaq-capi --no-deps --lib --all-features --document-private-items")
                .env("RUSTDOCFLAGS", "-D warnings")
        }
        Step::Packages => cargo(PUBLISHED.iter().fold(
            vec!["package", "--locked", "--offline", "--allow-dirty"],
            |mut words, package| {
                words.extend(["--package", package]);
                words
            },
        ))
        .env("CARGO_PROFILE_DEV_DEBUG", "0"),
        Step::Test => words("test --locked --workspace --no-fail-fast"),
        Step::Loom => words(
            "test --locked --package arenaq --package weaken --features arenaq/loom,weaken/loom --test loom",
        ),
        Step::Shuttle => {
            words("test --locked --package arenaq --features shuttle --test shuttle -- --show-output")
        }
        Step::NativeCost => words("bench --locked --package arenaq-cost --bench native_cost"),
        _ => words("build --locked --workspace --all-targets"),
    }
}

/// Cargo compiles packages that depend on each other from a registry in the target folder, and unpacks what is there into
/// its home, once for each version: what an earlier run of this checkout has left there would be compiled again.
fn forget_packages() -> anyhow::Result<()> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo"))).context("there is no home")?;
    for registry in fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten() {
        // Only a registry in a folder has no host in its name.
        if !registry.file_name().as_encoded_bytes().starts_with(b"-") {
            continue;
        }
        for package in PUBLISHED {
            let unpacked = registry.path().join(format!("{package}-{}", env!("CARGO_PKG_VERSION")));
            if unpacked.exists() {
                fs::remove_dir_all(&unpacked).with_context(|| format!("removing {}", unpacked.display()))?;
            }
        }
    }
    Ok(())
}

enum Outcome {
    Passed,
    /// What it said of it.
    Failed(Vec<String>),
    /// What it needs has failed.
    NotRun(Step),
}

struct Report {
    step: Step,
    outcome: Outcome,
    skipped: Vec<String>,
    took: Duration,
}

/// Runs steps one after another; a failure ends only those that need the failed one.
pub(crate) fn run(steps: &[Step], options: Options) -> ExitCode {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let options = Options { require_kernel: options.require_kernel || ci, ..options };
    let mut reports: Vec<Report> = Vec::new();
    for (number, &step) in steps.iter().enumerate() {
        println!("\n== {} ({} of {})", step.name(), number + 1, steps.len());
        let start = Instant::now();
        let missing = step.needs().filter(|needed| {
            let failed =
                |report: &Report| report.step == *needed && !matches!(report.outcome, Outcome::Passed);
            reports.iter().any(failed)
        });
        let (outcome, skipped) = match missing {
            Some(needed) => {
                println!("not run: the step {} failed", needed.name());
                (Outcome::NotRun(needed), Vec::new())
            }
            None => attempt(step, &options, ci),
        };
        let took = start.elapsed();
        println!("== {}: {:.1} s", step.name(), took.as_secs_f64());
        reports.push(Report { step, outcome, skipped, took });
    }
    summarise(reports)
}

fn attempt(step: Step, options: &Options, ci: bool) -> (Outcome, Vec<String>) {
    let limit = (!options.deep).then_some(HANGS);
    let result = within(limit, || run_step(step, options));
    match result {
        Ok(skipped) if skipped.is_empty() || !ci => (Outcome::Passed, skipped),
        Ok(skipped) => {
            eprintln!("error: CI skips no test, and {} said {SKIPPED}", skipped.len());
            (Outcome::Failed(Vec::new()), skipped)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            let said = error.downcast_ref::<Failed>().map_or_else(Vec::new, |failed| excerpt(&failed.lines));
            (Outcome::Failed(said), Vec::new())
        }
    }
}

/// Runs a step. When it has not ended in time, what it has started is ended, and so it fails.
fn within<T>(limit: Option<Duration>, step: impl FnOnce() -> T) -> T {
    let Some(limit) = limit else { return step() };
    let (ended, end) = channel::<()>();
    let watch = thread::spawn(move || {
        let mut patience = limit;
        while end.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            eprintln!("error: the step has not ended within {limit:?}: ends all that it has started");
            end_descendants();
            // It may start something else.
            patience = Duration::from_secs(1);
        }
    });
    let result = step();
    drop(ended);
    let _ = watch.join();
    result
}

/// The lines by which one sees why a step has failed: those of the tests that did, or the last ones.
fn excerpt(lines: &[String]) -> Vec<String> {
    const MOST: usize = 60;
    let is_frame = |line: &&String| {
        let line = line.trim_start();
        line.starts_with("at ")
            || line.split_once(": ").is_some_and(|(number, _)| number.parse::<u16>().is_ok())
    };
    let mut failures = Vec::new();
    let mut is_inside = false;
    for line in lines {
        is_inside = (is_inside || line == "failures:") && !line.starts_with("test result:");
        if is_inside || line.starts_with("error: test failed") {
            failures.push(line);
        }
    }
    let wanted = if failures.is_empty() { lines.iter().collect() } else { failures };
    let mut wanted: Vec<String> = wanted.into_iter().filter(|line| !is_frame(line)).cloned().collect();
    wanted.drain(..wanted.len().saturating_sub(MOST));
    wanted
}

fn summarise(mut reports: Vec<Report>) -> ExitCode {
    let skipped: Vec<_> = reports.iter().flat_map(|report| &report.skipped).collect();
    if !skipped.is_empty() {
        println!(
            "\n!! {} tests were {SKIPPED}: what they test was NOT tested on this machine",
            skipped.len()
        );
        for line in skipped {
            println!("!! {line}");
        }
    }

    // Once more where whoever reads the end of a long log finds it.
    for report in &reports {
        if let Outcome::Failed(said) = &report.outcome {
            println!("\n== {} FAILED", report.step.name());
            said.iter().for_each(|line| println!("{line}"));
        }
    }

    reports.sort_by_key(|report| std::cmp::Reverse(report.took));
    println!("\n{:<12} {:<28} {:>8}", "step", "result", "seconds");
    for report in &reports {
        let result = match (&report.outcome, report.skipped.len()) {
            (Outcome::Passed, 0) => "passed".to_owned(),
            (Outcome::Passed, skipped) => format!("passed, {skipped} tests SKIPPED"),
            (Outcome::Failed(_), _) => "FAILED".to_owned(),
            (Outcome::NotRun(needed), _) => format!("NOT RUN, needs {}", needed.name()),
        };
        println!("{:<12} {result:<28} {:>8.1}", report.step.name(), report.took.as_secs_f64());
    }
    let passed = reports.iter().filter(|report| matches!(report.outcome, Outcome::Passed)).count();
    // A step that was not run has not passed.
    let failed = reports.len() - passed;
    println!("\n{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use duct::cmd;

    use super::{excerpt, within};
    use crate::command::run;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_failed_is_told_by_the_lines_of_the_tests_that_did() {
        let said = "running 2 tests\ntest one ... ok\ntest two ... FAILED\n\nfailures:\n\n---- two stdout ----\nleft: 1\n\
                    stack backtrace:\n   0: one\n             at ./one.rs:1:2\n\nfailures:\n    two\n\ntest result: FAILED.\n\
                    running 1 test\ntest three ... ok\nerror: test failed, to rerun pass `--test t`";
        let expected = "failures:\n\n---- two stdout ----\nleft: 1\nstack backtrace:\n\nfailures:\n    two\n\n\
                        error: test failed, to rerun pass `--test t`";
        assert_eq!(excerpt(&lines(said)), lines(expected));
    }

    #[test]
    fn of_a_step_without_tests_the_end_is_told() {
        let said: Vec<String> = (0..100).map(|line| format!("line {line}")).collect();
        assert_eq!(excerpt(&said).first().map(String::as_str), Some("line 40"));
        assert_eq!(excerpt(&said).last(), said.last());
    }

    // A process of its own: it ends all that its process has started, other tests' commands too.
    #[test]
    #[ignore = "run by the test after it"]
    fn child_with_a_step_that_hangs() {
        // A child of a child, which keeps the pipe open.
        let hangs = cmd!("sh", "-c", "sleep 3600 & wait");
        let ended = within(Some(Duration::from_millis(300)), || run(&hangs)).expect("it started");
        assert_ne!(ended.code, Some(0));
        let limit = Some(Duration::from_secs(60));
        assert_eq!(within(limit, || run(&cmd!("true"))).expect("it started").code, Some(0));
    }

    #[test]
    fn a_step_that_hangs_is_ended_with_what_it_has_started_and_fails() {
        let this = std::env::current_exe().expect("this test");
        let child = cmd!(this, "--exact", "test::tests::child_with_a_step_that_hangs", "--ignored");
        let said = child.stderr_to_stdout().unchecked().read().expect("it starts");
        assert!(said.contains("1 passed; 0 failed"), "{said}");
    }
}
