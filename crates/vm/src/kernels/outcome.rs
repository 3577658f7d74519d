//! What became of a test program in a guest, read from what libtest writes.

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::machine::Ended;

/// The tests write a line with this when the kernel cannot run them.
const SKIPPED: &str = "SKIPPED";
/// Before what an operation costs the verifier, as JSON: the test that measures it writes a line for each.
const COST: &str = "COST ";
/// Before what the accesses of an object became in the processor's own instructions, as JSON, likewise.
const MACHINE: &str = "MACHINE ";

/// What one operation on elements of one size costs the verifier.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct OperationCost {
    /// The object.
    pub(crate) instructions: String,
    pub(crate) queue: String,
    pub(crate) operation: String,
    /// The element's size.
    pub(crate) bytes: u64,
    pub(crate) verified_instructions: u64,
    pub(crate) states: u64,
}

/// What one kind of access became.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct MachineAccess {
    /// The object.
    pub(crate) instructions: String,
    /// What the site is, such as an acquire load.
    pub(crate) access: String,
    /// What it is in this object's BPF.
    pub(crate) bpf: String,
    /// What the kernel has made of it.
    pub(crate) machine: String,
    /// How often.
    pub(crate) times: u64,
}

/// What became of one test program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Outcome {
    /// How many tests passed.
    pub(crate) passed: u64,
    /// The tests that failed.
    pub(crate) failed: Vec<String>,
    /// Where they failed and why.
    pub(crate) panics: Vec<String>,
    /// The lines on what the kernel cannot run.
    pub(crate) skipped: Vec<String>,
    /// What the tests have measured.
    pub(crate) costs: Vec<OperationCost>,
    /// What the tests have seen in the kernel's compiled programs.
    pub(crate) machine: Vec<MachineAccess>,
}

impl Outcome {
    /// Reads what libtest and the tests have written.
    ///
    /// There is no result, and an error, if the program crashed.
    pub(crate) fn read(ended: &Ended) -> anyhow::Result<Outcome> {
        let Some(passed) = ended.stdout.lines().find_map(passed) else {
            bail!("the tests ended with exit code {} and no result: {}", ended.code, ended.stderr.trim());
        };
        let lines = ended.stdout.lines().chain(ended.stderr.lines());
        let skipped = lines.filter(|line| line.contains(SKIPPED)).map(str::to_owned).collect();
        Ok(Outcome {
            passed,
            failed: failures(&ended.stdout),
            panics: panics(&ended.stderr),
            skipped,
            costs: told(&ended.stdout, COST)?,
            machine: told(&ended.stdout, MACHINE)?,
        })
    }
}

/// What the tests tell behind a word.
fn told<T: DeserializeOwned>(stdout: &str, word: &str) -> anyhow::Result<Vec<T>> {
    // With one thread libtest begins the line.
    let lines = stdout.lines().filter_map(|line| Some(line.split_once(word)?.1));
    lines
        .map(|line| serde_json::from_str(line).with_context(|| format!("a line of the tests: {word}{line}")))
        .collect()
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
    use super::{OperationCost, Outcome};
    use crate::machine::Ended;

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
            ..Outcome::default()
        };
        assert_eq!(outcome, expected);
        let error = Outcome::read(&ended("running 1 test\n", "killed")).expect_err("no result").to_string();
        assert!(error.contains("killed"), "{error}");
    }

    #[test]
    fn costs_are_read_from_the_lines_of_the_test_that_measures_them() {
        let stdout = "running 1 test\ntest costs ... COST {\"instructions\":\"tso\",\"queue\":\"mpmc\",\"operation\":\"push\",\
                      \"bytes\":16,\"verified_instructions\":120,\"states\":9}\nok\n\n\
                      test result: ok. 1 passed; 0 failed\n";
        let cost = OperationCost {
            instructions: "tso".to_owned(),
            queue: "mpmc".to_owned(),
            operation: "push".to_owned(),
            bytes: 16,
            verified_instructions: 120,
            states: 9,
        };
        let outcome = Outcome::read(&ended(stdout, "")).expect("a result");
        assert_eq!(outcome, Outcome { passed: 1, costs: vec![cost], ..Outcome::default() });
        let stdout = "COST 120\ntest result: ok. 1 passed; 0 failed\n";
        let error = Outcome::read(&ended(stdout, "")).expect_err("no cost");
        assert!(format!("{error:#}").contains("COST 120"), "{error:#}");
    }
}
