//! The harness and its tests, for a guest.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::command::cargo;
use crate::kernels::List;
use crate::vm::ARENAQ;
use crate::vm::initramfs::Root;
use crate::vm::machine::Ended;

/// The tests write a line with this when the kernel cannot run them.
const SKIPPED: &str = "SKIPPED";

/// What a guest is given.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) root: Root,
    /// The names of the test programs.
    pub(crate) tests: Vec<String>,
    /// The tests that are left out.
    pub(crate) skips: Vec<String>,
}

/// What became of one test program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) passed: u64,
    pub(crate) failed: Vec<String>,
    /// Where they failed and why.
    pub(crate) panics: Vec<String>,
    /// The lines on what the kernel cannot run.
    pub(crate) skipped: Vec<String>,
}

impl Programs {
    /// Compiles everything once.
    pub(crate) fn build(list: &List) -> anyhow::Result<Programs> {
        let arguments = [
            "test",
            "--locked",
            "--no-run",
            "--package=arenaq-harness",
            "--message-format=json-render-diagnostics",
        ];
        let messages = cargo(arguments).read().context(
            "the harness does not compile; if the reason above is a missing tool, run `cargo xtask setup`",
        )?;
        let messages: Vec<Value> =
            messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let arenaq = executable(&messages, "bin", "arenaq")?;

        let mut root = Root::new()?;
        root.program(&arenaq, ARENAQ)?;
        // The tests know the command, and a folder for their files, by what cargo said at compile time.
        root.program(&arenaq, text(&arenaq)?)?;
        let target = arenaq.ancestors().nth(2).context("the command arenaq is in no target folder")?;
        root.folder(text(&target.join("tmp"))?);
        for test in &list.tests {
            root.program(&executable(&messages, "test", test)?, &place(test))?;
        }
        let skips = list.skips.iter().map(|skip| skip.test.clone()).collect();
        Ok(Programs { root, tests: list.tests.clone(), skips })
    }
}

/// Where the guest has a test program.
pub(crate) fn place(test: &str) -> String {
    format!("/tests/{test}")
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}

/// The program of a target, from cargo's messages.
fn executable(messages: &[Value], kind: &str, name: &str) -> anyhow::Result<PathBuf> {
    let is_wanted = |message: &&Value| {
        message["target"]["name"] == name
            && message["target"]["kind"][0] == kind
            // The unit tests of a program have its name.
            && message["profile"]["test"] == (kind == "test")
    };
    let path = messages.iter().filter(is_wanted).find_map(|message| message["executable"].as_str());
    path.map(PathBuf::from).with_context(|| format!("cargo did not say where the {kind} {name} is"))
}

impl Outcome {
    /// Reads what libtest and the tests have written.
    pub(crate) fn read(ended: &Ended) -> anyhow::Result<Outcome> {
        let Some(passed) = ended.stdout.lines().find_map(passed) else {
            bail!("the tests ended with exit code {} and no result: {}", ended.code, ended.stderr.trim());
        };
        let lines = ended.stdout.lines().chain(ended.stderr.lines());
        let skipped = lines.filter(|line| line.contains(SKIPPED)).map(str::to_owned).collect();
        Ok(Outcome { passed, failed: failures(&ended.stdout), panics: panics(&ended.stderr), skipped })
    }
}

/// `test result: ok. 11 passed; 0 failed; ...`
fn passed(line: &str) -> Option<u64> {
    let (_, rest) = line.strip_prefix("test result: ")?.split_once(". ")?;
    rest.split(' ').next()?.parse().ok()
}

/// The names below the last `failures:`.
fn failures(stdout: &str) -> Vec<String> {
    let Some((_, list)) = stdout.rsplit_once("\nfailures:\n") else {
        return Vec::new();
    };
    list.lines().take_while(|line| line.starts_with("    ")).map(|line| line.trim().to_owned()).collect()
}

/// Each panic's place, and what of its message is on the next lines.
fn panics(stderr: &str) -> Vec<String> {
    const LINES: usize = 4;
    let lines: Vec<_> = stderr.lines().collect();
    let places = (0..lines.len()).filter(|&number| lines[number].contains(" panicked at "));
    let is_message = |line: &&&str| !line.is_empty() && !line.starts_with("note: ");
    places
        .map(|first| {
            lines[first..].iter().take(LINES).take_while(is_message).copied().collect::<Vec<_>>().join("\n")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Outcome, executable};
    use crate::vm::machine::Ended;

    fn ended(stdout: &str, stderr: &str) -> Ended {
        Ended { code: 101, stdout: stdout.into(), stderr: stderr.into(), console: String::new() }
    }

    #[test]
    fn results_are_read_from_what_libtest_says() {
        let stdout = "\nrunning 3 tests\ntest a ... ok\ntest b ... FAILED\n\nfailures:\n\nfailures:\n    b\n    c::d\n\n\
                      test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";
        let stderr = "SKIPPED archive: no ext4\nthread 'b' (7) panicked at b.rs:1:2:\nlost\nnote: run with\n";
        let outcome = Outcome::read(&ended(stdout, stderr)).expect("a result");
        let expected = Outcome {
            passed: 1,
            failed: ["b", "c::d"].map(str::to_owned).into(),
            panics: vec!["thread 'b' (7) panicked at b.rs:1:2:\nlost".to_owned()],
            skipped: vec!["SKIPPED archive: no ext4".to_owned()],
        };
        assert_eq!(outcome, expected);
        let error = Outcome::read(&ended("running 1 test\n", "killed")).expect_err("no result").to_string();
        assert!(error.contains("killed"), "{error}");
    }

    #[test]
    fn a_program_is_told_from_its_unit_tests() {
        let message = |kind: &str, test: bool, path: &str| json!({"target": {"name": "arenaq", "kind": [kind]}, "profile": {"test": test}, "executable": path});
        let messages = [message("bin", true, "/unit"), message("bin", false, "/program")];
        let path = executable(&messages, "bin", "arenaq").expect("it is there");
        assert_eq!(path.to_str(), Some("/program"));
        assert!(executable(&messages, "test", "arenaq").is_err());
    }
}
