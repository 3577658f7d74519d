//! The loom models: building, listing and running them, and what became of a run.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use duct::cmd;
use weaken::record::CHANGES;

use crate::command::{cargo, root};

/// Many times what the slowest model takes.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// A compiled test program of loom models.
#[derive(Clone, Debug)]
pub(crate) struct Binary(PathBuf);

/// How a model failed.
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
    /// Compiles the models of the workspace.
    pub(crate) fn build() -> anyhow::Result<Binary> {
        Binary::build_with(&root(), &target(), "full")
    }

    /// Compiles the models of a copy of the workspace, without what only a debugger needs. It needs a target folder of its
    /// own: cargo takes the copy for the workspace itself, and would overwrite what it compiled from that.
    pub(crate) fn build_copy(tree: &Path, target: &Path) -> anyhow::Result<Binary> {
        Binary::build_with(tree, target, "none")
    }

    fn build_with(tree: &Path, target: &Path, debug: &str) -> anyhow::Result<Binary> {
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
        let output = cargo(arguments)
            .env("CARGO_TARGET_DIR", target)
            .env("CARGO_PROFILE_TEST_DEBUG", debug)
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
            .env_remove(CHANGES)
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
        let command = cmd!(&self.0, "--exact", model, "--test-threads=1", "--nocapture");
        let mut command = match site {
            Some(site) => command.env(CHANGES, site),
            None => command.env_remove(CHANGES),
        }
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
        let text = String::from_utf8_lossy(&output.stdout);
        let message = first_panic(&text);
        let failure = match output.status.code() {
            Some(0) => None,
            // The platform refuses the change before the model begins.
            Some(2) => bail!("{}", text.trim_end()),
            _ => Some(classify(&message)),
        };
        Ok(Run { failure, permutations: permutations(&text), message, took })
    }
}

/// The tests of what is shown when a model fails choose their own orderings.
fn is_model(name: &&str) -> bool {
    !name.starts_with("explained::")
}

/// Where cargo puts what it makes.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |place| root().join(place))
}

/// The message of the first panic; what follows it may be its consequence.
fn first_panic(output: &str) -> String {
    let mut lines = output.lines().skip_while(|line| !line.contains("panicked at "));
    if lines.next().is_none() {
        // loom's threads have small stacks of their own.
        let overflow = output.lines().find(|line| line.contains("overflowed its stack"));
        return overflow.unwrap_or_default().to_owned();
    }
    let ends = |line: &str| {
        ["note: ", "stack backtrace:", "loom: ", "thread '", "test "]
            .iter()
            .any(|start| line.starts_with(start))
    };
    lines.take_while(|line| !ends(line)).collect::<Vec<_>>().join("\n").trim().to_owned()
}

fn classify(message: &str) -> Failure {
    let says = |words: &str| message.contains(words);
    if says("Causality violation") {
        Failure::Race
    } else if says("exceeded maximum number of branches") || says("deadlock") {
        Failure::Livelock
    } else if says("leaked") {
        Failure::Leak
    } else if says("did loom stop exploring") || says("which it does not declare") || says(" and never [") {
        Failure::Outcomes
    } else if says("is not in arenaq::paths") || says("are the most: ") {
        Failure::Path
    } else if message.is_empty() || says("overflowed its stack") {
        Failure::Crash
    } else {
        Failure::Wrong
    }
}

/// `loom: name: 12 permutations, ...` or `loom: name: failed after 12 permutations`.
fn permutations(output: &str) -> Option<u64> {
    let line = output.lines().find_map(|line| line.split_once("loom: ").map(|(_, rest)| rest))?;
    let (before, _) = line.split_once(" permutation")?;
    before.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Failure, classify, first_panic, permutations};

    #[test]
    fn the_first_panic_is_the_reason() {
        let output = "\nrunning 1 test\nthread 'model' (7) panicked at src/rt/location.rs:115:9:\n\
                      Causality violation: Concurrent read and write accesses.\n     created: here\n\
                      note: run with `RUST_BACKTRACE=1`\nthread 'model' (7) panicked at x.rs:1:1:\nlost";
        let message = first_panic(output);
        assert_eq!(message, "Causality violation: Concurrent read and write accesses.\n     created: here");
        assert_eq!(classify(&message), Failure::Race);
        assert_eq!(first_panic("test result: ok"), "");
    }

    #[test]
    fn failures_are_told_apart() {
        for (message, failure) in [
            ("Model exceeded maximum number of branches. This is often caused by ...", Failure::Livelock),
            ("deadlock; threads = [...]", Failure::Livelock),
            ("Arc leaked.", Failure::Leak),
            ("assertion `left == right` failed: lost, or seen twice", Failure::Wrong),
            ("m: saw {\"full\": 1} and never [\"empty\"]", Failure::Outcomes),
            ("m: saw [\"empty\"], which it does not declare", Failure::Outcomes),
            ("m: 3 permutations, expected at least 5: did loom stop exploring?", Failure::Outcomes),
            ("mpsc.push took a path to `pushed` that is not in arenaq::paths: swap_head", Failure::Path),
            ("coroutine in thread 'm' has overflowed its stack", Failure::Crash),
            ("", Failure::Crash),
        ] {
            assert_eq!(classify(message), failure, "{message}");
        }
    }

    #[test]
    fn permutations_are_read_from_both_lines() {
        let passed = "test m ... loom: mpsc, 2 producers x 1: 1200 permutations, unbounded, 0.1 s, {}";
        assert_eq!(permutations(passed), Some(1200));
        assert_eq!(permutations("loom: mpsc, 2 producers: failed after 17 permutations"), Some(17));
        assert_eq!(permutations("test result: ok"), None);
    }
}
