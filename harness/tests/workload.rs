//! The built-in workload: what it was to do and did not is a problem, with the reason.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use arenaq_harness::Hook;
use support::{Outcome, arenaq, assert_accounted, kernel_with, number, skip, wait_for};

fn problems(outcome: &Outcome) -> Vec<String> {
    let summary = outcome.json();
    let problems = summary["problems"].as_array().expect("an array");
    problems.iter().map(|problem| problem.as_str().expect("text").to_owned()).collect()
}

#[test]
fn a_file_system_that_is_full_fails_the_workers_with_its_reason() {
    let Some(_guard) = kernel_with(Hook::SysEnter, "a full file system") else { return };
    let folder = tempfile::tempdir().expect("the folder for temporary files is writable");
    let path = folder.path().display().to_string();
    // Room for the folders of the workload, and for nothing in them.
    let script = "mount -t tmpfs -o nr_inodes=6 none \"$1\" && shift && exec \"$@\"";
    let unshare = |command: &[&str]| {
        let arguments = ["--mount", "sh", "-c", script, "sh", &path];
        Outcome::of(Command::new("unshare").args(arguments).args(command))
    };
    let trial = unshare(&["true"]);
    if trial.code != Some(0) {
        return skip("a full file system", &trial.stderr);
    }
    let binary = env!("CARGO_BIN_EXE_arenaq");
    let run = [binary, "run", "--hook", "sys-enter", "--folder", &path, "--operations", "100", "--json"];
    let roomy = unshare(&[&run[..], &["--processes", "1"]].concat());
    assert_eq!(roomy.code, Some(0), "the room of three folders is left: {roomy:?}");
    let outcome = unshare(&[&run[..], &["--processes", "4"]].concat());
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let problems = problems(&outcome);
    assert!(!problems.is_empty(), "{outcome:?}");
    for problem in &problems {
        assert!(problem.contains("of 25 operations: creating "), "{problem}");
        assert!(problem.contains(&path) && problem.contains("No space left on device"), "{problem}");
    }
    assert!(outcome.stderr.is_empty(), "said once, in the summary: {outcome:?}");
}

/// The ids of the workers of a run, when all of them work.
fn workers(run: u32, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    wait_for("the workers to work", || {
        let children = fs::read_to_string(format!("/proc/{run}/task/{run}/children")).unwrap_or_default();
        ids = children.split_whitespace().map(str::to_owned).collect();
        let has_worked = |id: &String| {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            fields[0] != "T" && fields.get(11..13).is_some_and(|ticks| ticks != ["0", "0"])
        };
        ids.len() == count && ids.iter().all(has_worked)
    });
    ids
}

#[test]
fn a_worker_that_somebody_ends_is_missed() {
    let Some(_guard) = kernel_with(Hook::Uprobe, "a worker that is ended") else { return };
    for (signal, reason) in [("-KILL", "SIGKILL"), ("-TERM", "a signal of somebody else after ")] {
        let arguments =
            ["run", "--hook", "uprobe", "--processes", "2", "--operations", "1000000000", "--json"];
        let run = arenaq(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let run = run.expect("the command starts");
        let ids = workers(run.id(), 2);
        for id in &ids {
            assert!(Command::new("kill").args([signal, id]).status().expect("kill runs").success());
        }
        let output = run.wait_with_output().expect("it ends");
        let outcome = Outcome {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        let problems = problems(&outcome);
        assert_eq!(problems.len(), 2, "{problems:?}");
        for (problem, id) in problems.iter().zip(&ids) {
            assert!(problem.contains(&format!("(process {id})")) && problem.contains(reason), "{problem}");
        }
    }
}

#[test]
fn a_folder_need_not_have_a_name_in_utf8() {
    let Some(_guard) = kernel_with(Hook::SysEnter, "a folder's name") else { return };
    let parent = tempfile::tempdir().expect("the folder for temporary files is writable");
    let folder = parent.path().join(OsStr::from_bytes(b"\xff\xfe"));
    fs::create_dir(&folder).expect("it is ours");
    let arguments = ["run", "--hook", "sys-enter", "--operations", "200", "--json", "--folder"];
    let outcome = Outcome::of(arenaq(&arguments).arg(&folder));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_accounted(&outcome.json());
    assert_eq!(number(&outcome.json(), "operations"), 200);
    assert!(
        fs::read_dir(&folder).expect("it is there").next().is_none(),
        "the workload removes what it made"
    );
}

#[test]
fn what_would_do_nothing_is_refused() {
    for (arguments, text) in [
        (&["run", "--operations", "0"][..], "--operations"),
        (&["run", "--backend", "threads", "--operations", "0"], "--operations"),
        (&["run", "--events", "0"], "--events"),
        (&["run", "--duration", "0"], "--duration"),
        (&["run", "--hook", "uprobe", "--", "true"], "needs --uprobe"),
        (&["run", "--hook", "uprobe-sleepable", "--", "true"], "needs --uprobe"),
        (&["run", "--hook", "exec", "--uprobe", "/bin/sh:main"], "choose one with --hook"),
        (&["run", "--uprobe", "/bin/sh:main", "--", "true"], "choose one with --hook"),
        (&["run", "--no-wait"], "COMMAND"),
        (&["run", "--operations", "5", "--", "true"], "--operations"),
        (&["pin", "/sys/fs/bpf/arenaq-test-nothing", "--hook", "uprobe-sleepable"], "needs --uprobe"),
    ] {
        let outcome = Outcome::of(&mut arenaq(arguments));
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {outcome:?}");
        assert!(outcome.stderr.contains(text), "{arguments:?}: {outcome:?}");
        assert!(outcome.stdout.is_empty(), "{arguments:?}: {outcome:?}");
    }
}
