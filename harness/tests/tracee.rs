//! The command that is traced: what it inherits, what it starts, how it ends, and what is said of that.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use arenaq_harness::Hook;
use support::{Outcome, arenaq, assert_accounted, kernel_with, number, wait_for};

/// What came of a command that must end by itself, within half a minute.
fn outcome_in_time(command: &mut Command) -> Outcome {
    struct Ended(Child);
    impl Drop for Ended {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let mut child = Ended(child);
    wait_for("the command to end", || child.0.try_wait().expect("our child").is_some());
    let read = |stream: &mut dyn Read| {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("a pipe");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Outcome {
        code: child.0.wait().expect("our child").code(),
        stdout: read(child.0.stdout.as_mut().expect("a pipe")),
        stderr: read(child.0.stderr.as_mut().expect("a pipe")),
    }
}

fn run_shell(options: &[&str], script: &str) -> Command {
    let mut command = arenaq(&["run", "--hook", "exec"]);
    command.args(options).args(["--", "sh", "-c", script]);
    command
}

fn is_alive(process: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// The process ids that a script has written to a file, one a line.
fn ids(file: &Path) -> Vec<String> {
    fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn what_outlives_the_command_is_waited_for_and_traced() {
    let Some(_guard) = kernel_with(Hook::Exec, "children that outlive") else { return };
    // One whose parent goes on without it, and one that has a session and no parent.
    let script = "(sleep 0.3; exec true) & (setsid sh -c 'sleep 0.8; exec true' &) ; exit 0";
    let outcome = outcome_in_time(&mut run_shell(&["--json"], script));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let summary = outcome.json();
    assert_accounted(&summary);
    assert_eq!(number(&summary, "produced"), 7, "sh, sleep, true; setsid, sh, sleep, true: {summary}");
    assert_eq!((number(&summary, "command_status"), number(&summary, "alive")), (0, 0));
}

#[test]
fn a_run_that_does_not_wait_says_how_many_it_leaves_behind_and_leaves_them_alone() {
    let Some(_guard) = kernel_with(Hook::Exec, "--no-wait") else { return };
    let folder = tempfile::tempdir().expect("the folder for temporary files is writable");
    let file = folder.path().join("ids");
    let script = format!("sleep 60 >/dev/null 2>&1 & echo $! >{}", file.display());
    for json in [&["--no-wait"][..], &["--no-wait", "--json"]] {
        let outcome = outcome_in_time(&mut run_shell(json, &script));
        let left = ids(&file);
        let alive = left.iter().filter(|id| is_alive(id)).count();
        Command::new("kill").args(&left).status().expect("kill runs");
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert_eq!(alive, 1, "{outcome:?}");
        if json.contains(&"--json") {
            assert_eq!(number(&outcome.json(), "alive"), 1);
        } else {
            let line = outcome.stderr.lines().find(|line| line.trim_start().starts_with("alive"));
            assert!(line.is_some_and(|line| line.contains(" 1 ")), "{outcome:?}");
        }
    }
}

#[test]
fn a_time_limit_or_a_signal_ends_the_command_with_all_that_it_has_started_and_that_is_no_failure() {
    let Some(_guard) = kernel_with(Hook::Exec, "the end of a command") else { return };
    let folder = tempfile::tempdir().expect("the folder for temporary files is writable");
    let file = folder.path().join("ids");
    let quiet = "</dev/null >/dev/null 2>&1";
    // A child, one without a parent, which may not listen, and the command itself, which waits or has ended.
    let starts = |trap: &str| {
        format!(
            "sleep 100 {quiet} & ({trap} setsid sleep 100 {quiet} & echo $! >>{0}); \
             echo $! $$ | tr ' ' '\\n' >>{0}",
            file.display()
        )
    };
    for (how, trap, ends, status) in [
        ("limit", "trap '' TERM;", "; wait", Some(143)),
        ("signal", "", "; wait", Some(143)),
        ("limit", "", "", Some(0)),
    ] {
        let _ = fs::remove_file(&file);
        let limit = if how == "limit" { "1" } else { "1000" };
        let mut command = run_shell(&["--json", "--duration", limit], &format!("{}{ends}", starts(trap)));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        wait_for("the script to have come to its end", || ids(&file).len() == 3);
        if how == "signal" {
            assert!(Command::new("kill").arg(child.id().to_string()).status().expect("kill runs").success());
        }
        let output = child.wait_with_output().expect("it ends");
        let outcome = Outcome {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        assert_eq!(outcome.code, Some(0), "{how}: {outcome:?}");
        assert!(!outcome.stderr.contains("ended with status"), "{how}: {outcome:?}");
        let summary = outcome.json();
        assert_accounted(&summary);
        assert_eq!(summary["command_status"].as_i64(), status, "{how}: {summary}");
        assert_eq!(summary["command_cut_short"], status == Some(143), "{how}: {summary}");
        assert_eq!(number(&summary, "alive"), 2, "{how}: {summary}");
        assert!(!ids(&file).iter().any(|id| is_alive(id)), "{how}: {summary}");
    }
}

#[test]
fn somebody_who_waits_is_told_for_what() {
    let Some(_guard) = kernel_with(Hook::Exec, "waiting") else { return };
    let outcome = outcome_in_time(&mut run_shell(&[], "sleep 2 >/dev/null 2>&1 & exit 0"));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let told = "the command has ended, and 1 process(es) that it has started have not";
    assert_eq!(outcome.stderr.matches(told).count(), 1, "{outcome:?}");
}

/// Lets a command start with signals that are blocked, and others that are ignored.
fn with_signals(command: &mut Command, blocked: &'static [i32], ignored: &'static [i32]) {
    let change = move || {
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: this makes a set of signals of `set`.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        for &signal in blocked {
            // SAFETY: `set` is a set of signals, and this the number of one.
            unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
        }
        // SAFETY: `set` is a set of signals, and the old mask is not asked for.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut()) };
        for &signal in ignored {
            // SAFETY: ignoring a signal runs nothing of ours.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
        io::Result::Ok(())
    };
    // SAFETY: it makes system calls, and allocates nothing.
    unsafe { command.pre_exec(change) };
}

const SIGNALS: [i32; 3] = [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT];

#[test]
fn a_run_ends_whatever_signals_were_ignored_or_blocked_when_it_began() {
    let Some(_guard) = kernel_with(Hook::Exec, "inherited signals") else { return };
    for (blocked, ignored) in [(&[][..], &SIGNALS[..]), (&SIGNALS[..], &[][..])] {
        for what in [&["--", "true"][..], &["--operations", "20"][..]] {
            let mut command = arenaq(&["run", "--hook", "exec", "--json"]);
            with_signals(command.args(what), blocked, ignored);
            let outcome = outcome_in_time(&mut command);
            assert_eq!(outcome.code, Some(0), "{what:?}: {outcome:?}");
            assert_accounted(&outcome.json());
        }
        // And it can be told to end.
        let mut command = arenaq(&["run", "--hook", "exec", "--json", "--", "sleep", "100"]);
        with_signals(&mut command, blocked, ignored);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        wait_for("the command to run", || {
            let command = fs::read_to_string(&children).unwrap_or_default();
            fs::read_to_string(format!("/proc/{}/comm", command.trim())).is_ok_and(|name| name == "sleep\n")
        });
        assert!(Command::new("kill").arg(child.id().to_string()).status().expect("kill runs").success());
        wait_for("the run to end", || child.try_wait().expect("our child").is_some());
    }
}

#[test]
fn the_command_has_the_signals_that_it_would_have_without_us() {
    let Some(_guard) = kernel_with(Hook::Exec, "the command's signals") else { return };
    let script = "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status";
    for (blocked, ignored) in [
        (&[][..], &[][..]),
        (&[], &SIGNALS),
        (&SIGNALS, &[]),
        (&[libc::SIGUSR1, libc::SIGHUP], &[libc::SIGHUP, libc::SIGINT]),
    ] {
        let mut plain = Command::new("sh");
        with_signals(plain.args(["-c", script]), blocked, ignored);
        let mut traced = run_shell(&[], script);
        with_signals(&mut traced, blocked, ignored);
        let (plain, traced) = (outcome_in_time(&mut plain), outcome_in_time(&mut traced));
        assert!(plain.stdout.contains("SigBlk"), "{plain:?}");
        assert_eq!(traced.stdout, plain.stdout, "blocked {blocked:?}, ignored {ignored:?}: {traced:?}");
    }
}

#[test]
fn a_command_that_the_kernel_does_not_start_is_told_once_with_the_reason() {
    let Some(_guard) = kernel_with(Hook::Exec, "commands that do not start") else { return };
    let folder = tempfile::tempdir().expect("the folder for temporary files is writable");
    let file = |name: &str, text: &[u8], mode: u32| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("it is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        path
    };
    let cases = [
        (file("interpreter", b"#!/no/such/interpreter\n", 0o755), "its interpreter is not"),
        (file("mode", b"#!/bin/sh\n", 0o644), "Permission denied"),
        (folder.path().to_owned(), "Permission denied"),
        (folder.path().join("missing"), "no such program was found"),
    ];
    for (path, reason) in cases {
        for json in [&[][..], &["--json"]] {
            let mut command = arenaq(&["run", "--hook", "exec"]);
            let outcome = outcome_in_time(command.args(json).arg("--").arg(&path));
            assert_eq!(outcome.code, Some(4), "{outcome:?}");
            let named = format!("cannot run `{}`", path.display());
            assert!(outcome.stderr.contains(&named) && outcome.stderr.contains(reason), "{outcome:?}");
            assert_eq!(outcome.stderr.matches("arenaq:").count(), 1, "{outcome:?}");
            assert!(outcome.stdout.is_empty(), "{outcome:?}");
        }
    }
    // What a shell cannot start is the shell's affair.
    let shell = outcome_in_time(&mut run_shell(&["--json"], "exec /no/such/program"));
    assert_eq!(shell.code, Some(5), "{shell:?}");
}

#[test]
fn a_commands_name_and_arguments_need_not_be_utf8() {
    let Some(_guard) = kernel_with(Hook::Exec, "arguments") else { return };
    let folder = tempfile::tempdir().expect("the folder for temporary files is writable");
    let program = folder.path().join(OsStr::from_bytes(b"\xff\xfe"));
    fs::write(&program, "#!/bin/sh\nprintf %s \"$1\" | od -An -tx1\n").expect("it is ours");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let mut command = arenaq(&["run", "--hook", "exec", "--"]);
    let outcome = outcome_in_time(command.arg(&program).arg(OsStr::from_bytes(b"a\xffb")));
    assert_eq!((outcome.code, outcome.stdout.trim()), (Some(0), "61 ff 62"), "{outcome:?}");
}

#[test]
fn the_commands_output_is_its_own_and_the_report_goes_to_standard_error() {
    let Some(_guard) = kernel_with(Hook::Exec, "output") else { return };
    let outcome = outcome_in_time(&mut run_shell(&[], "echo said"));
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "said\n"), "{outcome:?}");
    assert!(outcome.stderr.contains("every event is accounted for"), "{outcome:?}");
    let json = outcome_in_time(&mut run_shell(&["--json"], "echo said"));
    assert_eq!(json.stderr, "said\n");
    assert_accounted(&json.json());
}
