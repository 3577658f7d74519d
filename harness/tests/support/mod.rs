//! What the tests share.

#![allow(dead_code, reason = "every test file takes what it needs")]

pub(crate) mod bpffs;
pub(crate) mod churn;
pub(crate) mod held;

use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arenaq_harness::doctor::{Report, Verdict};
use arenaq_harness::{Hook, Instructions, QueueKind, doctor};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Tests of the kernel run one at a time: two cores are soon busy, and counters of the machine are compared.
static KERNEL: Mutex<()> = Mutex::new(());
/// No test takes as long, on the slowest machine.
const HANGS: Duration = Duration::from_secs(300);

/// The right to use the kernel. A test that keeps it for too long waits for what never comes: it is named, and what
/// it has started is ended with this process.
pub(crate) struct KernelGuard {
    _ends_the_watch: Sender<()>,
    _alone: MutexGuard<'static, ()>,
}

impl KernelGuard {
    fn new(test: &str) -> KernelGuard {
        let alone = KERNEL.lock().unwrap_or_else(PoisonError::into_inner);
        let (ends_the_watch, watch) = channel();
        let test = test.to_owned();
        std::thread::spawn(move || {
            let hangs = HANGS + churn::duration();
            if watch.recv_timeout(hangs) == Err(RecvTimeoutError::Timeout) {
                // Past the capture of the test harness.
                let _ = writeln!(io::stderr().lock(), "the test of {test} has not ended within {hangs:?}");
                end_children();
                std::process::exit(101);
            }
        });
        KernelGuard { _ends_the_watch: ends_the_watch, _alone: alone }
    }
}

/// Ends what this process has started, as far as /proc shows it.
fn end_children() {
    for process in procfs::process::all_processes().into_iter().flatten().flatten() {
        let is_ours = process.stat().is_ok_and(|stat| stat.ppid.cast_unsigned() == std::process::id());
        if let (true, Some(child)) = (is_ours, Pid::from_raw(process.pid())) {
            let _ = kill_process(child, Signal::KILL);
        }
    }
}

/// The right to use the kernel, or `None`, loudly, if this machine does not let us. With
/// `ARENAQ_REQUIRE_KERNEL=1` that is a failure.
pub(crate) fn kernel(test: &str) -> Option<KernelGuard> {
    let guard = KernelGuard::new(test);
    let report = examined();
    if report.can_run {
        return Some(guard);
    }
    skip(test, &report.to_string());
    None
}

/// What `arenaq doctor` finds, once for all tests: it loads a program for each thing that a kernel may refuse.
fn examined() -> &'static Report {
    static REPORT: OnceLock<Report> = OnceLock::new();
    REPORT.get_or_init(doctor::examine)
}

/// As [`kernel`], for a test that needs a hook.
pub(crate) fn kernel_with(hook: Hook, test: &str) -> Option<KernelGuard> {
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
    let _ = writeln!(io::stderr().lock(), "SKIPPED {test}: {why}");
}

/// A folder on the file system of the build, or `None`, loudly, if that is not ext4.
pub(crate) fn ext4_folder(test: &str) -> Option<tempfile::TempDir> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is writable");
    if Hook::ExtCreate.sees_files_in(folder.path()) {
        return Some(folder);
    }
    skip(test, "the target folder is not on ext4");
    None
}

/// The objects that can run here: right on this machine, and known to this kernel.
pub(crate) fn objects() -> Vec<Instructions> {
    let report = examined();
    let acquire = report.checks.iter().find(|check| check.name == "acquire/release").expect("a check of it");
    let known = |instructions: &Instructions| {
        *instructions != Instructions::AcquireRelease || acquire.verdict == Verdict::Good
    };
    let right = |instructions: &Instructions| instructions.is_right_on(std::env::consts::ARCH);
    Instructions::ALL.into_iter().filter(right).filter(known).collect()
}

/// Both queues, and records.
pub(crate) const ALL_KINDS: [QueueKind; 3] = [QueueKind::Mpsc, QueueKind::Mpmc, QueueKind::Records];

/// Both queues: those of pairs.
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
        Outcome::from(&command.output().expect("the command starts"))
    }

    /// As [`of`](Self::of), and fails if the command has not ended in time. It is killed then, and what it has
    /// started with it.
    pub(crate) fn within(limit: Duration, command: &mut Command) -> Outcome {
        let what = format!("{command:?}");
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let child = command.spawn().expect("the command starts");
        let group = Pid::from_child(&child);
        let (ended, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || ended.send(child.wait_with_output()));
        let Ok(output) = end.recv_timeout(limit) else {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
            panic!("{what} has not ended within {limit:?}");
        };
        Outcome::from(&output.expect("its output can be read"))
    }

    /// The one JSON object that the command printed.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

impl From<&Output> for Outcome {
    fn from(output: &Output) -> Outcome {
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
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

/// Waits until something has happened, for half a minute at most.
pub(crate) fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < Duration::from_secs(30), "waiting for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The ids of the BPF programs, maps and links to which a process has file descriptors.
pub(crate) fn kernel_objects(process: u32) -> Vec<(String, u32)> {
    let mut objects = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/fdinfo")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        for line in text.lines() {
            if let Some((kind @ ("prog_id" | "map_id" | "link_id"), id)) = line.split_once(":\t") {
                objects.push((kind.to_owned(), id.trim().parse().expect("an id is a number")));
            }
        }
    }
    objects.sort();
    objects.dedup();
    objects
}

/// Whether the kernel still has such an object.
pub(crate) fn exists((kind, id): &(String, u32)) -> bool {
    // SAFETY: these calls take a number and return a file descriptor or an error.
    let fd = unsafe {
        match kind.as_str() {
            "prog_id" => libbpf_sys::bpf_prog_get_fd_by_id(*id),
            "map_id" => libbpf_sys::bpf_map_get_fd_by_id(*id),
            _ => libbpf_sys::bpf_link_get_fd_by_id(*id),
        }
    };
    if fd >= 0 {
        // SAFETY: the descriptor was opened above and is used nowhere else.
        drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) });
    }
    fd >= 0
}

/// A control group below our own with a limit of memory; it is removed with this.
pub(crate) struct Group(PathBuf);

impl Group {
    pub(crate) fn with_limit(bytes: u64) -> io::Result<Group> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let path = |version: &str| {
            let line = own.lines().find_map(|line| line.split_once(version));
            line.map(|(_, path)| path.trim_start_matches('/').to_owned())
        };
        let (folder, limit) = match (path(":memory:"), path("0::")) {
            (Some(path), _) => (Path::new("/sys/fs/cgroup/memory").join(path), "memory.limit_in_bytes"),
            (None, Some(path)) => (Path::new("/sys/fs/cgroup").join(path), "memory.max"),
            (None, None) => return Err(io::Error::other("no control groups")),
        };
        let group = tempfile::Builder::new().prefix("arenaq-test-").tempdir_in(folder)?;
        let group = Group(group.keep());
        fs::write(group.0.join(limit), bytes.to_string())?;
        Ok(group)
    }

    /// Runs the command in it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.0.display());
        Outcome::of(
            Command::new("sh").args(["-c", &script, "sh", env!("CARGO_BIN_EXE_arenaq")]).args(arguments),
        )
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
