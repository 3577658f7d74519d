//! libbpf's messages: kept while something is tried, shown only if it fails.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use libbpf_rs::{PrintLevel, set_print};

static MESSAGES: Mutex<String> = Mutex::new(String::new());
/// One attempt at a time, so that its messages are its own.
static ATTEMPT: Mutex<()> = Mutex::new(());

fn messages() -> MutexGuard<'static, String> {
    MESSAGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps warnings, and the verifier's log of a program that it accepts: for libbpf that is debugging.
#[expect(clippy::needless_pass_by_value, reason = "libbpf-rs wants a function of this type")]
fn keep(level: PrintLevel, message: String) {
    if level == PrintLevel::Warn || message.contains("-- BEGIN PROG LOAD LOG --") {
        messages().push_str(&message);
    }
}

/// Runs `attempt` and returns what libbpf complained of meanwhile, and the verifier's logs. For that it takes the place
/// of whatever was to print libbpf's messages ([`libbpf_rs::set_print`]), from now on.
pub fn capture<T>(attempt: impl FnOnce() -> T) -> (T, String) {
    static KEEP: Once = Once::new();
    KEEP.call_once(|| {
        set_print(Some((PrintLevel::Debug, keep)));
    });
    let _attempt = ATTEMPT.lock().unwrap_or_else(PoisonError::into_inner);
    messages().clear();
    let result = attempt();
    (result, std::mem::take(&mut messages()))
}

/// The last lines of a log.
pub(crate) fn tail(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Writes a log to a file that stays, if that works.
pub(crate) fn save(log: &str) -> Option<PathBuf> {
    let mut file = tempfile::Builder::new().prefix("arenaq-").suffix(".log").tempfile().ok()?;
    file.write_all(log.as_bytes()).ok()?;
    file.keep().ok().map(|(_, path)| path)
}
