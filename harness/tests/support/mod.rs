//! What the tests share.

#![allow(dead_code, reason = "every test file takes what it needs")]

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use arenaq_harness::{Hook, QueueKind, doctor};
use serde_json::Value;

/// Tests of the kernel run one at a time: two cores are soon busy, and counters of the machine are compared.
static KERNEL: Mutex<()> = Mutex::new(());

/// The right to use the kernel, or `None`, loudly, if this machine does not let us. With
/// `ARENAQ_REQUIRE_KERNEL=1` that is a failure.
pub(crate) fn kernel(test: &str) -> Option<MutexGuard<'static, ()>> {
    let guard = KERNEL.lock().unwrap_or_else(PoisonError::into_inner);
    let report = doctor::examine();
    if report.can_run {
        return Some(guard);
    }
    skip(test, &report.to_string());
    None
}

/// As [`kernel`], for a test that needs a hook.
pub(crate) fn kernel_with(hook: Hook, test: &str) -> Option<MutexGuard<'static, ()>> {
    let guard = kernel(test)?;
    match hook.allowed() {
        Ok(()) => Some(guard),
        Err(reason) => {
            skip(test, &format!("hook {hook}: {reason}"));
            None
        }
    }
}

/// Says that a test did not run.
pub(crate) fn skip(test: &str, why: &str) {
    assert!(std::env::var_os("ARENAQ_REQUIRE_KERNEL").is_none(), "{test} must not be skipped here: {why}");
    // Past the capture of the test harness.
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "SKIPPED {test}: {why}");
}

/// Both queues.
pub(crate) const QUEUES: [QueueKind; 2] = [QueueKind::Mpsc, QueueKind::Mpmc];

/// The `arenaq` command.
pub(crate) fn arenaq(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_arenaq"));
    command.args(arguments);
    command
}

/// What a run of the command left.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn of(command: &mut Command) -> Outcome {
        let output = command.output().expect("the command starts");
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The one JSON object that the command printed.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

/// A number of a summary, by its path.
pub(crate) fn number(summary: &Value, path: &str) -> u64 {
    let value = path.split('.').fold(summary, |value, key| &value[key]);
    value.as_u64().unwrap_or_else(|| panic!("{path} in {summary}"))
}

/// Asserts what every run must keep.
pub(crate) fn assert_accounted(summary: &Value) {
    let dropped =
        number(summary, "dropped.full") + number(summary, "dropped.nomem") + number(summary, "dropped.busy");
    let accounted = number(summary, "consumed") + dropped + number(summary, "left");
    assert_eq!(number(summary, "produced"), accounted, "{summary}");
    assert_eq!(number(summary, "fifo_violations"), 0, "{summary}");
    assert_eq!(summary["verify"], "SUCCESS", "{summary}");
    assert_eq!(summary["problems"].as_array().map(Vec::len), Some(0), "{summary}");
}
