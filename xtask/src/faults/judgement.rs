//! What is right after a fault.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::faults::calls::Error;
use crate::faults::fault::{Fault, injection};
use crate::faults::scenarios::Scenario;
use crate::faults::traced::Ended;

/// What a line of `arenaq` on standard error begins with.
const MESSAGE: &str = "arenaq: ";
/// What a summary says in which something does not add up.
const PROBLEMS: &[&str] = &["NOT AS IT SHOULD BE", "PROBLEM", "\"problems\":[\""];

/// What came of a trial.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) ended: Ended,
    /// The calls that failed, as strace writes them.
    pub(crate) injected: Vec<String>,
    pub(crate) wrong: Vec<String>,
}

/// Everything that is wrong, in words. `left` are the files in the folder for temporary files.
pub(crate) fn judge(
    fault: Option<&Fault>,
    ended: &Ended,
    injected: &[String],
    temporary: &Path,
    left: &[PathBuf],
) -> Vec<String> {
    let mut wrong = Vec::new();
    if ended.hung {
        wrong.push("it does not end".to_owned());
        return wrong;
    }
    if ended.stderr.contains("panicked at") {
        wrong.push("it panics".to_owned());
    }
    let messages = ended.stderr.lines().filter(|line| line.starts_with(MESSAGE)).count();
    let (least, most) = match ended.code {
        // The fault did not matter, or what the command had made for itself could not be put away, which it says.
        Some(0) => (0, left.len().min(1)),
        // The summary says what does not add up.
        Some(1) => {
            if !PROBLEMS
                .iter()
                .any(|problem| ended.stdout.contains(problem) || ended.stderr.contains(problem))
            {
                wrong.push("exit code 1, and no summary with a problem".to_owned());
            }
            (0, 1)
        }
        Some(2) => {
            wrong.push("exit code 2: a fault is no wrong usage".to_owned());
            (1, 1)
        }
        Some(3..=5) => (1, 1),
        Some(code) => {
            wrong.push(format!("exit code {code}, which is not documented"));
            (0, usize::MAX)
        }
        None => {
            wrong.push("a signal ended it".to_owned());
            (0, usize::MAX)
        }
    };
    // Nothing can be said where the message is what fails.
    let least = if injected.iter().any(|line| line.contains("write(2<")) { 0 } else { least };
    // Each of several that failed may say so.
    let failed: BTreeSet<_> =
        injected.iter().filter_map(|line| line.split_once(' ')).map(|(process, _)| process).collect();
    if messages < least || messages > most.saturating_add(failed.len().saturating_sub(1)) {
        wrong.push(format!("{messages} messages"));
    }
    if let Some(fault) = fault
        && matches!(ended.code, Some(2..=4))
        && !injected.is_empty()
        && !says_why(&ended.stderr, fault.error)
        && messages > 0
        && !is_hidden(injected)
    {
        wrong.push(format!("the message does not say {}", fault.error.text()));
    }
    wrong.extend(ended.survivors.iter().map(|line| format!("left running: {line}")));
    let untold = left.iter().filter(|file| !is_told(file, temporary, &ended.stderr));
    wrong.extend(untold.map(|file| format!("left behind: {}", file.display())));
    wrong
}

/// Whether the message has the reason, in words or as the name of the error.
fn says_why(message: &str, error: Error) -> bool {
    let translated = match error {
        // pthread_create() makes EAGAIN of it.
        Error::Enomem => message.contains("Resource temporarily unavailable"),
        // The crate procfs has words of its own.
        Error::Eperm => message.contains("Permission Denied: /proc"),
        Error::Emfile | Error::Eintr => false,
    };
    message.contains(error.text()) || message.contains(error.name()) || translated
}

/// Calls, by what strace shows of them, of which a library does not tell why they failed. What follows has another reason then.
const HIDDEN: &[&str] = &[
    // libbpf asks the kernel what it knows by loading programs that do nothing, and takes every failure for a no.
    "BPF_PROG_TYPE_SOCKET_FILTER",
    "BPF_PROG_TYPE_TRACEPOINT",
    "target_fd=-1, attach_type=BPF_PERF_EVENT",
    // The same with types that nobody needs.
    "btf_log_buf=NULL, btf_size=45,",
    // libbpf takes a file of the kernel's BTF that it cannot look at for one that is not there.
    ", \"/sys/kernel/btf/vmlinux\", F_OK, AT_EACCESS",
    // libbpf takes the old way to a uprobe, and says that there is none.
    "/sys/bus/event_source/devices/uprobe/type",
    "/sys/devices/uprobe/type",
    // libbpf-rs says of a link only that it cannot parse what it was told.
    "<anon_inode:bpf_link>, info_len=",
    // libelf takes a file that it cannot read for none of its kind.
    "pread64(",
];

fn is_hidden(injected: &[String]) -> bool {
    injected.iter().all(|line| HIDDEN.iter().any(|call| line.contains(call)))
}

/// Whether the message names a file, or a folder in which it lies: the log of a verifier, or what could not be removed.
fn is_told(file: &Path, temporary: &Path, message: &str) -> bool {
    file.ancestors()
        .take_while(|folder| *folder != temporary)
        .any(|folder| message.contains(&folder.display().to_string()))
}

/// How to repeat a trial, and what came of it.
pub(crate) fn describe(scenario: &Scenario, fault: &Fault, outcome: &Outcome) -> String {
    let Outcome { ended, injected, wrong } = outcome;
    let mut text = format!(
        "WRONG: {}\n  failed:  {}\n",
        command(scenario, fault),
        injected.iter().map(|line| shorten(line)).collect::<Vec<_>>().join("\n           ")
    );
    let code = ended.code.map_or_else(|| "none".to_owned(), |code| code.to_string());
    text.push_str(&format!("  exit:    {code} after {:.1} s\n", ended.took.as_secs_f64()));
    text.push_str(&format!("  wrong:   {}\n", wrong.join("\n           ")));
    let said: Vec<_> = ended.stderr.lines().take(4).collect();
    text.push_str(&format!("  stderr:  {}", said.join("\n           ")));
    text
}

/// The command line of a trial.
pub(crate) fn command(scenario: &Scenario, fault: &Fault) -> String {
    format!("strace {} arenaq {}", injection(fault).join(" "), scenario.arguments)
}

fn shorten(line: &str) -> String {
    const WIDTH: usize = 120;
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    let head: String = line.chars().take(WIDTH).collect();
    format!("{head}... (INJECTED)")
}
