//! The loom models: building, listing and running them, and what became of a run.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use duct::cmd;
use weaken::record::{self, Line, Reason};

use crate::command::{cargo, root};

/// Many times what the slowest model takes.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// A compiled test program of loom models.
#[derive(Clone, Debug)]
pub(crate) struct Binary(PathBuf);

/// How a model failed: what its record says, or how its process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Race,
    Wrong,
    Leak,
    Livelock,
    Crash,
    /// The model saw other outcomes than it expects, none of which is wrong by itself.
    Outcomes,
    /// An operation made other accesses than those of the documented paths.
    Path,
}

impl Failure {
    /// What it means for a user of the queue.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Failure::Race => "two threads touch the same memory with nothing that orders them",
            Failure::Wrong => "an element or a node is lost, comes twice, or comes in the wrong order",
            Failure::Leak => "memory is lost",
            Failure::Livelock => "a thread waits for something that never comes",
            Failure::Crash => "the program crashes",
            Failure::Path => "an operation takes a path that is not in src/paths.rs",
            Failure::Outcomes => "an outcome that must be possible never comes, or one that must not does",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::Race => "race",
            Failure::Wrong => "wrong result",
            Failure::Leak => "leak",
            Failure::Livelock => "livelock",
            Failure::Crash => "crash",
            Failure::Outcomes => "other outcomes",
            Failure::Path => "other path",
        })
    }
}

/// What became of one model.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) failure: Option<Failure>,
    /// How many permutations it took, where the model says so.
    pub(crate) permutations: Option<u64>,
    /// The first panic's message; empty if there was none.
    pub(crate) message: String,
    pub(crate) took: Duration,
}

impl Binary {
    /// Compiles the models of the workspace, as `cargo test` does: what that has compiled is not compiled again.
    pub(crate) fn build() -> anyhow::Result<Binary> {
        Binary::build_with(&root(), &target(), &[], None)
    }

    /// Compiles the models of a copy of the workspace, without what only a debugger needs. It needs a target folder of its own:
    /// cargo takes the copy for the workspace itself, and would overwrite what it compiled from that.
    ///
    /// To optimise takes six times as long, and models that run to their end take two thirds of the time then: the rest goes into
    /// loom.
    pub(crate) fn build_copy(tree: &Path, target: &Path, optimised: bool) -> anyhow::Result<Binary> {
        let config = ["--config", "profile.test.package.arenaq.opt-level=0"];
        Binary::build_with(tree, target, if optimised { &[] } else { &config }, Some("none"))
    }

    fn build_with(
        tree: &Path,
        target: &Path,
        config: &[&str],
        debug: Option<&str>,
    ) -> anyhow::Result<Binary> {
        let manifest = tree.join("Cargo.toml");
        let arguments = [
            "test",
            "--manifest-path",
            manifest.to_str().context("a path that is no text")?,
            "--locked",
            "--package=arenaq",
            "--features=loom",
            "--test=loom",
            "--no-run",
            "--message-format=json-render-diagnostics",
        ];
        let mut cargo = cargo(arguments.iter().chain(config).copied()).env("CARGO_TARGET_DIR", target);
        if let Some(debug) = debug {
            cargo = cargo.env("CARGO_PROFILE_TEST_DEBUG", debug);
        }
        let output = cargo
            .stdout_capture()
            .stderr_capture()
            .unchecked()
            .run()
            .with_context(|| format!("cannot start cargo in {}", tree.display()))?;
        if !output.status.success() {
            bail!("the models do not compile:\n{}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["target"]["name"] == "loom")
            .find_map(|message| message["executable"].as_str().map(|path| Binary(path.into())))
            .context("cargo did not say where the models are")
    }

    /// A copy that stays when the next variant is compiled.
    pub(crate) fn keep(&self, place: PathBuf) -> anyhow::Result<Binary> {
        std::fs::copy(&self.0, &place).with_context(|| format!("cannot write {}", place.display()))?;
        Ok(Binary(place))
    }

    /// Gives the copy's room back.
    pub(crate) fn discard(self) {
        // What stays is overwritten by the next run.
        let _ = std::fs::remove_file(self.0);
    }

    /// The names of the models.
    pub(crate) fn list(&self) -> anyhow::Result<Vec<String>> {
        let text = cmd!(&self.0, "--list")
            .env_remove(record::CHANGES)
            .stderr_null()
            .read()
            .with_context(|| format!("cannot list the models of {}", self.0.display()))?;
        let names: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_suffix(": test"))
            .filter(is_model)
            .map(str::to_owned)
            .collect();
        if names.is_empty() {
            bail!("{} has no models", self.0.display());
        }
        Ok(names)
    }

    /// Runs one model in a process of its own, to its end or for so many permutations.
    pub(crate) fn run(&self, model: &str, site: Option<&str>, limit: Option<u64>) -> anyhow::Result<Run> {
        let folder = tempfile::tempdir().context("no folder for the record of a model")?;
        let record = folder.path().join("record");
        let command = cmd!(&self.0, "--exact", model, "--test-threads=1", "--nocapture");
        let mut command = match site {
            Some(site) => command.env(record::CHANGES, site),
            None => command.env_remove(record::CHANGES),
        }
        .env(record::FILE, &record)
        .env("RUST_BACKTRACE", "0")
        .stdin_null()
        .stderr_to_stdout()
        .stdout_capture()
        .unchecked();
        if let Some(limit) = limit {
            // loom looks whether it has enough only where it would save its state.
            for variable in ["LOOM_MAX_PERMUTATIONS", "LOOM_CHECKPOINT_INTERVAL"] {
                command = command.env(variable, limit.to_string());
            }
        }
        let start = Instant::now();
        let handle = command.start().with_context(|| format!("cannot start {}", self.0.display()))?;
        let Some(output) = handle.wait_timeout(TIME_LIMIT)? else {
            handle.kill()?;
            bail!("the model {model} did not end within {} s", TIME_LIMIT.as_secs());
        };
        let took = start.elapsed();
        let lines = read(&record).with_context(|| format!("the record of the model {model}"))?;
        let mut run = judge(&lines, output.status.success(), &String::from_utf8_lossy(&output.stdout))?;
        run.took = took;
        Ok(run)
    }
}

/// What a run wrote down.
fn read(record: &Path) -> anyhow::Result<Vec<Line>> {
    let text = match std::fs::read_to_string(record) {
        Ok(text) => text,
        // The process ended before a model began.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    text.lines().map(|line| serde_json::from_str(line).context("a line that is none")).collect()
}

/// What became of a run, by its record; and by its output where the models passed, and what the test says about them does
/// not hold.
fn judge(lines: &[Line], passed: bool, output: &str) -> anyhow::Result<Run> {
    let ends = || lines.iter().filter_map(|line| if let Line::End(end) = line { Some(end) } else { None });
    if let Some(Line::Refused { reason }) = lines.iter().find(|line| matches!(line, Line::Refused { .. })) {
        bail!("{reason}");
    }
    let begun = lines.iter().filter(|line| matches!(line, Line::Begin(_))).count();
    let permutations = (begun > 0).then(|| ends().map(|end| end.permutations).sum());
    let (failure, message) = match ends().find_map(|end| end.failure.as_ref()) {
        _ if passed => (None, String::new()),
        Some(failed) => (Some(failed.reason.into()), failed.message.clone()),
        None if ends().count() < begun => (Some(Failure::Crash), last_lines(output)),
        None => (Some(beside_the_models(output)), last_lines(output)),
    };
    Ok(Run { failure, permutations, message, took: Duration::ZERO })
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Failure {
        match reason {
            Reason::Race => Failure::Race,
            Reason::Deadlock | Reason::Endless => Failure::Livelock,
            Reason::Leak => Failure::Leak,
            Reason::Wrong => Failure::Wrong,
        }
    }
}

/// The tests of what is shown when a model fails choose their own orderings, and models of structures that are not this crate's say
/// nothing about its sites.
fn is_model(name: &&str) -> bool {
    !["explained::", "own::"].iter().any(|module| name.starts_with(module))
}

/// Where cargo puts what it makes.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |place| root().join(place))
}

/// Every permutation was right, and what was seen over all of them is not what the test expects: in the words of
/// loom-tests/model.rs.
fn beside_the_models(output: &str) -> Failure {
    let says = |words: &str| output.contains(words);
    if says("is not in arenaq::paths") || says("are the most: ") {
        Failure::Path
    } else if says("did loom stop exploring") || says("which it does not declare") || says(" and never [") {
        Failure::Outcomes
    } else {
        Failure::Wrong
    }
}

fn last_lines(output: &str) -> String {
    let lines: Vec<_> = output.trim_end().lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Failure, judge};
    use serde_json::json;
    use weaken::record::Line;

    fn lines(lines: &[serde_json::Value]) -> Vec<Line> {
        lines.iter().map(|line| serde_json::from_value(line.clone()).expect("a line")).collect()
    }

    fn begin() -> serde_json::Value {
        json!({ "kind": "begin", "version": 1, "test": "m", "model": { "file": "m.rs", "line": 1, "column": 1 } })
    }

    /// A model that passes, or fails for this reason.
    fn end(reason: Option<&str>) -> serde_json::Value {
        let mut end = begin();
        end["kind"] = "end".into();
        end["outcome"] = if reason.is_some() { "failed" } else { "passed" }.into();
        end["permutations"] = 7.into();
        end["bounds"] =
            json!({ "preemptions": null, "branches": 1000, "permutations": null, "seconds": null });
        end["applied"] = false.into();
        end["sites"] = json!([]);
        if let Some(reason) = reason {
            let execution = json!({ "steps": [] });
            end["failure"] =
                json!({ "reason": reason, "message": "why", "place": null, "execution": execution });
        }
        end
    }

    #[test]
    fn a_failure_is_what_the_record_says() {
        for (reason, failure) in [
            ("race", Failure::Race),
            ("deadlock", Failure::Livelock),
            ("endless", Failure::Livelock),
            ("leak", Failure::Leak),
            ("wrong", Failure::Wrong),
        ] {
            let lines = lines(&[begin(), end(None), begin(), end(Some(reason))]);
            let run = judge(&lines, false, "Causality violation, leaked, deadlock").expect("a record");
            assert_eq!((run.failure, run.permutations), (Some(failure), Some(14)), "{reason}");
            assert_eq!(run.message, "why");
        }
        let passes = judge(&lines(&[begin(), end(None)]), true, "").expect("a record");
        assert_eq!((passes.failure, passes.permutations), (None, Some(7)));
    }

    #[test]
    fn a_process_that_ends_in_a_model_has_crashed() {
        let run = judge(&lines(&[begin()]), false, "overflowed its stack").expect("a record");
        assert_eq!((run.failure, run.message.as_str()), (Some(Failure::Crash), "overflowed its stack"));
    }

    #[test]
    fn what_a_test_finds_beside_its_models_is_told_apart() {
        for (output, failure) in [
            ("m: saw {\"full\": 1} and never [\"empty\"]", Failure::Outcomes),
            ("m: saw [\"empty\"], which it does not declare", Failure::Outcomes),
            ("m: 3 permutations, expected at least 5: did loom stop exploring?", Failure::Outcomes),
            ("mpsc.push took a path to `pushed` that is not in arenaq::paths: swap_head", Failure::Path),
            ("assertion failed", Failure::Wrong),
        ] {
            let run = judge(&lines(&[begin(), end(None)]), false, output).expect("a record");
            assert_eq!(run.failure, Some(failure), "{output}");
        }
    }

    #[test]
    fn a_change_that_cannot_be_tried_is_no_verdict() {
        let refused = lines(&[json!({ "kind": "refused", "reason": "no such site" })]);
        assert_eq!(judge(&refused, false, "").expect_err("refused").to_string(), "no such site");
    }
}
