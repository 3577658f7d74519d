//! A run that meets a limit, or a system call that fails, ends: soon, with one message, and with nothing left of
//! what it had started.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use arenaq_harness::Hook;
use support::{Group, Outcome, arenaq, assert_accounted, kernel, kernel_with, skip, wait_for};

const ARENAQ: &str = env!("CARGO_BIN_EXE_arenaq");

/// Runs a command in a folder for temporary files of its own, in a session of its own, and for a minute at most.
/// Asserts that no file and no process is left of it.
fn run(command: &mut Command) -> Outcome {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is writable");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    command.env("TMPDIR", folder.path()).stdin(Stdio::null());
    let outcome = Outcome::within(Duration::from_secs(60), command);
    let files: Vec<_> = fs::read_dir(folder.path()).expect("it is there").flatten().collect();
    assert!(files.is_empty(), "{files:?} after {outcome:?}");
    // Whoever was started in it has its name in the environment.
    let left = || processes_with(folder.path());
    wait_for(&format!("the end of {:?} after {outcome:?}", left()), || left().is_empty());
    outcome
}

/// The processes in whose environment a path is, without those that have ended.
fn processes_with(path: &Path) -> Vec<String> {
    let path = path.as_os_str().as_encoded_bytes();
    let processes = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let with = processes.filter(|process| {
        let environment = fs::read(process.path().join("environ")).unwrap_or_default();
        environment.windows(path.len()).any(|window| window == path)
    });
    with.map(|process| fs::read_to_string(process.path().join("cmdline")).unwrap_or_default()).collect()
}

/// A shell that runs `arenaq` after it has limited itself.
fn limited(limit: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{limit} && exec \"$@\""), "bash", ARENAQ]).args(arguments);
    command
}

/// Asserts that there was one message, with these words, and the exit code of what the machine refuses.
fn assert_refused(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(outcome.stdout.is_empty(), "{outcome:?}");
    assert!(outcome.stderr.starts_with("arenaq: "), "{outcome:?}");
    assert_eq!(outcome.stderr.matches("arenaq: ").count(), 1, "{outcome:?}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "{word} in {outcome:?}");
    }
}

/// With so many kilobytes the program starts at all: its loader has room for it, and so has the runtime of Rust.
fn least_address_space() -> u32 {
    let starts = |kilobytes: &u32| {
        run(&mut limited(&format!("ulimit -v {kilobytes}"), &["--version"])).code == Some(0)
    };
    (5_000..100_000).step_by(500).find(starts).expect("it starts with 100 MB") + 500
}

#[test]
fn too_few_open_files_for_the_consumers_end_the_drivers_that_run_already() {
    let Some(_guard) = kernel("open files") else { return };
    for hook in ["drive", "sys-enter"] {
        let arguments = ["run", "--hook", hook, "--queue", "mpmc", "--consumers", "40", "--duration", "1"];
        assert_refused(&run(&mut limited("ulimit -n 40", &arguments)), &["os error 24", "ulimit -n"]);
    }
}

#[test]
fn too_few_threads_end_the_producers_that_run_already() {
    if !rustix::process::geteuid().is_root() {
        return skip("ulimit -u", "only root can become another user, and root has no such limit");
    }
    let folder = tempfile::tempdir().expect("the folder for temporary files is writable");
    let everybody =
        |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    everybody(folder.path());
    let binary = folder.path().join("arenaq");
    fs::copy(ARENAQ, &binary).expect("it can be copied");
    everybody(&binary);
    let mut command = Command::new("bash");
    let script = "ulimit -u 20 && exec \"$0\" run --backend threads --processes 64 --duration 1";
    // A user of nobody else's, for the limit is one of all processes of a user.
    command.args(["-c", script]).arg(&binary).uid(61_234).gid(61_234).current_dir("/");
    assert_refused(&run(&mut command), &["starting a producer", "os error 11", "ulimit -u"]);
}

/// Whether strace can be used here.
fn has_strace(test: &str) -> bool {
    let works = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        skip(test, "strace is not there, or may not trace");
        return false;
    }
    true
}

/// `arenaq` under strace, where one of its system calls fails.
fn faulty(fault: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command.args(["-qq", "-o", "/dev/null", "-e", &format!("inject={fault}"), ARENAQ]).args(arguments);
    command
}

#[test]
fn a_thread_that_is_refused_is_an_error_whichever_it_is() {
    let Some(_guard) = kernel_with(Hook::SysEnter, "refused threads") else { return };
    if !has_strace("refused threads") {
        return;
    }
    let threads = ["run", "--backend", "threads", "--processes", "2", "--duration", "20"];
    let drive = ["run", "--hook", "drive", "--processes", "2", "--duration", "20"];
    let files = ["run", "--hook", "sys-enter", "--processes", "1", "--duration", "20"];
    let refill =
        ["run", "--hook", "sys-enter", "--processes", "1", "--duration", "20", "--grow-to", "900000"];
    for (arguments, call, member) in [
        (&threads[..], 1, "a producer"),
        (&threads, 2, "a producer"),
        (&threads, 3, "a consumer"),
        (&drive, 1, "a thread that runs"),
        (&drive, 2, "a thread that runs"),
        (&drive, 3, "a consumer"),
        (&files, 1, "a consumer"),
        (&refill, 1, if Hook::SysEnter.may_allocate().is_ok() { "a consumer" } else { "makes nodes" }),
    ] {
        for error in ["EAGAIN", "ENOMEM"] {
            let fault = format!("clone3:error={error}:when={call}");
            let outcome = run(&mut faulty(&fault, arguments));
            assert_refused(&outcome, &[member, "(os error"]);
        }
    }
    for call in 1..=2 {
        let arguments = ["run", "--hook", "sys-enter", "--processes", "2", "--duration", "20"];
        let outcome = run(&mut faulty(&format!("clone,fork,vfork:error=EAGAIN:when={call}"), &arguments));
        assert_refused(&outcome, &["starting a process", "os error 11", "ulimit -u"]);
    }
}

#[test]
fn a_doorbell_that_is_refused_is_told_with_its_reason() {
    let Some(_guard) = kernel("refused doorbell") else { return };
    if !has_strace("refused doorbell") {
        return;
    }
    for (call, error, number) in [
        ("epoll_create1", "EMFILE", "os error 24"),
        ("epoll_ctl", "ENOMEM", "os error 12"),
        ("epoll_ctl", "EPERM", "os error 1"),
    ] {
        for hook in ["drive", "sys-enter"] {
            let arguments = ["run", "--hook", hook, "--duration", "20"];
            let outcome = run(&mut faulty(&format!("{call}:error={error}"), &arguments));
            assert_refused(&outcome, &["the doorbell", number]);
        }
    }
}

#[test]
fn a_consumer_that_cannot_sleep_ends_the_run() {
    let Some(_guard) = kernel("failing poll") else { return };
    if !has_strace("failing poll") {
        return;
    }
    let mut command = Command::new("strace");
    // The worker does nothing, so that the consumer sleeps.
    let arguments =
        ["run", "--hook", "drive", "--operations", "10", "--hold-back", "1ms", "--duration", "50"];
    let fault = "inject=poll,ppoll:error=ENOMEM:when=3+";
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", fault, ARENAQ]).args(arguments);
    let outcome = run(&mut command);
    // It may have ended before it had to sleep.
    if outcome.code != Some(0) {
        assert_refused(&outcome, &["waiting for the doorbell", "os error 12"]);
    }
}

#[test]
fn memory_that_the_control_group_does_not_have_is_refused_to_threads_too() {
    let group = match Group::with_limit(64 << 20) {
        Ok(group) => group,
        Err(error) => return skip("memory limit", &format!("no control group can be made: {error}")),
    };
    let run = |capacity: &str| {
        let arguments = ["run", "--backend", "threads", "--operations", "100", "--capacity", capacity];
        group.run(&arguments)
    };
    assert_refused(&run("4000000"), &["bytes", "leaves", "memory limit", "smaller --capacity"]);
    let fits = run("1000000");
    assert_eq!(fits.code, Some(0), "{fits:?}");
}

#[test]
fn workers_that_the_control_group_has_no_memory_for_are_not_started() {
    let Some(_guard) = kernel_with(Hook::SysEnter, "memory of workers") else { return };
    let group = match Group::with_limit(100 << 20) {
        Ok(group) => group,
        Err(error) => return skip("memory of workers", &format!("no control group can be made: {error}")),
    };
    let arguments = ["run", "--hook", "sys-enter", "--capacity", "64", "--processes", "1000"];
    assert_refused(&group.run(&arguments), &["bytes", "leaves", "fewer --processes"]);
}

#[test]
fn addresses_that_a_limit_does_not_leave_are_refused_with_how_many_there_are() {
    let threads = |capacity| {
        let arguments =
            ["run", "--backend", "threads", "--operations", "1000", "--capacity", capacity, "--json"];
        run(&mut limited("ulimit -v 100000", &arguments))
    };
    assert_refused(&threads("4000000"), &["bytes", "`ulimit -v` leaves", "smaller --capacity"]);
    assert_accounted(&threads("1000").json());
    // At no limit does the process abort: a step is less than what a consumer counts in.
    for kilobytes in (least_address_space()..).step_by(997).take(18) {
        let limit = format!("ulimit -v {kilobytes}");
        let arguments = ["run", "--backend", "threads", "--operations", "1000", "--capacity", "64"];
        let outcome = run(&mut limited(&limit, &arguments));
        if outcome.code != Some(0) {
            assert_refused(&outcome, &["`ulimit -v` leaves"]);
        }
    }
}

#[test]
fn a_run_with_little_address_space_never_aborts() {
    let Some(_guard) = kernel("address space of threads") else { return };
    for kilobytes in (least_address_space()..).step_by(1499).take(15) {
        let limit = format!("ulimit -v {kilobytes}");
        let mut arguments = vec!["run", "--hook", "drive", "--queue", "mpmc", "--consumers", "3"];
        arguments.extend(["--capacity", "64", "--operations", "1000"]);
        let outcome = run(&mut limited(&limit, &arguments));
        if outcome.code != Some(0) {
            assert_refused(&outcome, &["ulimit -v"]);
        }
    }
}

#[test]
fn more_processes_or_consumers_than_can_be_of_use_are_refused_before_one_is_started() {
    for option in ["--processes", "--consumers"] {
        for number in ["0", "1025", "4294967295", "18446744073709551615"] {
            for backend in ["threads", "kernel"] {
                let arguments =
                    ["run", "--backend", backend, "--queue", "mpmc", "--duration", "1", option, number];
                let outcome = run(&mut arenaq(&arguments));
                assert_eq!(outcome.code, Some(2), "{outcome:?}");
                let reason = if number == "0" { "at least one" } else { "at most 1024" };
                assert!(outcome.stderr.contains(option), "{outcome:?}");
                assert!(outcome.stderr.contains(reason), "{outcome:?}");
            }
        }
    }
}

#[test]
fn a_hundred_workers_end_together() {
    let Some(_guard) = kernel_with(Hook::SysEnter, "a hundred workers") else { return };
    let arguments = ["run", "--hook", "sys-enter", "--processes", "100", "--duration", "0.2", "--json"];
    let outcome = run(&mut arenaq(&arguments));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_accounted(&outcome.json());
}

#[test]
fn consumers_that_are_held_back_for_longer_than_time_can_be_told_take_the_rest() {
    let arguments = ["run", "--backend", "threads", "--operations", "100", "--hold-back", "1e19", "--json"];
    let outcome = run(&mut arenaq(&arguments));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_accounted(&outcome.json());
}

/// Whether a process has come so far that it works.
fn is_busy(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |field: usize| fields.get(field).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
    ticks(11) + ticks(12) > 5
}

#[test]
fn the_second_signal_ends_a_run_at_once_and_its_workers_with_it() {
    let Some(_guard) = kernel_with(Hook::SysEnter, "two signals") else { return };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is writable");
    let mut command = arenaq(&["run", "--hook", "sys-enter", "--duration", "60"]);
    command.env("TMPDIR", folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let is_empty = || fs::read_dir(folder.path()).expect("it is there").next().is_none();
    let workers = || {
        let path = format!("/proc/{0}/task/{0}/children", child.id());
        let ids = fs::read_to_string(path).unwrap_or_default();
        ids.split_whitespace().map(|id| id.parse().expect("an id is a number")).collect::<Vec<u32>>()
    };
    wait_for("the workers to work", || workers().len() == 4 && workers().into_iter().all(is_busy));
    let pid = rustix::process::Pid::from_child(&child);
    // While it is stopped both arrive, so the first is not yet answered when the second comes.
    for signal in [rustix::process::Signal::STOP, rustix::process::Signal::TERM] {
        rustix::process::kill_process(pid, signal).expect("it is ours");
    }
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it is ours");
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("it is ours");
    let status = child.wait().expect("it ends");
    assert!([Some(130), Some(143)].contains(&status.code()), "{status:?}");
    wait_for("the workers' end", || processes_with(folder.path()).is_empty());
    wait_for("the workers to clean up", is_empty);
}

#[test]
fn a_signal_that_comes_before_the_producers_ends_the_run_with_a_summary() {
    let Some(_guard) = kernel_with(Hook::SysEnter, "early signal") else { return };
    for backend in [
        &["--backend", "threads", "--capacity", "60000000"][..],
        &["--hook", "drive"],
        &["--hook", "sys-enter", "--processes", "100"],
    ] {
        let mut command = arenaq(&["run", "--duration", "60", "--json"]);
        let child = command.args(backend).stdout(Stdio::piped()).spawn().expect("the command starts");
        // Two handlers, INT and TERM, and no thread yet.
        wait_for("the handlers", || {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
            caught & (1 << 14) != 0
        });
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is ours");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{backend:?}: {output:?}");
        assert_accounted(&serde_json::from_slice(&output.stdout).expect("one JSON object"));
    }
}
