//! The `arenaq` command, as somebody uses it.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use arenaq_harness::{Hook, QueueKind, called};
use support::{
    ALL_KINDS, Outcome, arenaq, assert_accounted, exists, kernel, kernel_objects, kernel_with, number, skip,
    wait_for,
};

/// A folder on the file system of the build, which is ext4 where the ext4 hook is of use.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is writable")
}

#[test]
fn a_hundred_thousand_real_files_of_four_processes_are_all_accounted_for() {
    let folder = folder();
    for hook in [Hook::ExtCreate, Hook::InodeCreate] {
        let name = format!("100,000 files through {hook}");
        // One hook that sees files is enough: some hosts refuse LSM programs, and no machine can be told to
        // allow them.
        if hook == Hook::InodeCreate && hook.allowed().is_err() && Hook::ExtCreate.allowed().is_ok() {
            continue;
        }
        let Some(_guard) = kernel_with(hook, &name) else { continue };
        if !hook.sees_files_in(folder.path()) {
            skip(&name, "the target folder is not on ext4");
            continue;
        }
        for queue in ALL_KINDS {
            let path = folder.path().display().to_string();
            let arguments =
                ["run", "--queue", called(queue), "--hook", hook.name(), "--folder", &path, "--json"];
            // Of records it is bytes: what 100,000 have.
            let capacity = if queue == QueueKind::Records { "33554432" } else { "262144" };
            let outcome = Outcome::of(arenaq(&arguments).args(["--capacity", capacity]));
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            let summary = outcome.json();
            assert_accounted(&summary);
            assert_eq!(number(&summary, "produced"), 100_000);
            assert_eq!(
                number(&summary, "consumed"),
                100_000,
                "with capacity for all nothing is dropped: {summary}"
            );
            assert_eq!(summary["backend"], "kernel");
            assert_eq!(summary["hook"], hook.name());
            assert!(number(&summary, "latency_ns.p50") <= number(&summary, "latency_ns.p999"));
        }
    }
    assert!(is_empty(folder.path()), "the workload removes what it made");
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).expect("the folder is there").next().is_none()
}

#[test]
fn every_other_hook_sees_its_events_exactly() {
    for (hook, operations) in [(Hook::Exec, 300), (Hook::Uprobe, 20_000), (Hook::Drive, 200_000)] {
        let Some(_guard) = kernel_with(hook, hook.name()) else { continue };
        for queue in ALL_KINDS {
            let count = operations.to_string();
            let arguments =
                ["run", "--queue", called(queue), "--hook", hook.name(), "--operations", &count, "--json"];
            let outcome = Outcome::of(&mut arenaq(&arguments));
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            let summary = outcome.json();
            assert_accounted(&summary);
            assert_eq!(number(&summary, "produced"), operations, "{summary}");
        }
    }
    let Some(_guard) = kernel_with(Hook::SysEnter, "sys-enter") else { return };
    let summary =
        Outcome::of(&mut arenaq(&["run", "--hook", "sys-enter", "--operations", "5000", "--json"])).json();
    assert_accounted(&summary);
    assert!(number(&summary, "produced") >= 5000, "each creation is an openat: {summary}");
    let mut named = arenaq(&["run", "--hook", "sys-enter", "--operations", "500", "--json"]);
    let summary = Outcome::of(named.args(["--syscall", "unlink"])).json();
    assert_accounted(&summary);
    assert!(number(&summary, "produced") >= 500, "each file is removed: {summary}");
}

#[test]
fn an_archive_that_is_unpacked_makes_an_event_for_each_file() {
    let Some(_guard) = kernel_with(Hook::ExtCreate, "archive") else { return };
    let folder = folder();
    if !Hook::ExtCreate.sees_files_in(folder.path()) {
        return skip("archive", "the target folder is not on ext4");
    }
    let source = folder.path().join("source");
    for number in 0..20 {
        let own = source.join(number.to_string());
        fs::create_dir_all(&own).expect("the folder is writable");
        for file in 0..50 {
            fs::write(own.join(file.to_string()), b"contents").expect("the folder is writable");
        }
    }
    let archive = folder.path().join("archive.tar");
    let tar =
        |arguments: &[&str]| Command::new("tar").args(arguments).status().expect("tar is there").success();
    let (archive, source) = (archive.display().to_string(), source.display().to_string());
    assert!(tar(&["-cf", &archive, "-C", &source, "."]));
    for queue in ALL_KINDS {
        let target = folder.path().join(called(queue));
        fs::create_dir(&target).expect("the folder is writable");
        let target = target.display().to_string();
        // A shell in between: the children of the command are traced too.
        let script = format!("tar -xf {archive} -C {target}");
        let mut command = arenaq(&["run", "--queue", called(queue), "--hook", "ext4-create", "--json", "--"]);
        let outcome = Outcome::of(command.args(["sh", "-c", &script]));
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let summary = outcome.json();
        assert_accounted(&summary);
        assert_eq!(number(&summary, "produced"), 1020, "1000 files and 20 folders");
        assert_eq!(summary["command_status"], 0);
    }
}

#[test]
fn an_overload_drops_by_reason_and_loses_nothing_else() {
    let Some(_guard) = kernel("overload") else { return };
    for (queue, capacity, reason) in [
        ("mpmc", "64", "dropped.full"),
        ("mpsc", "64", "dropped.nomem"),
        ("records", "65536", "dropped.full"),
    ] {
        let arguments = [
            "run",
            "--queue",
            queue,
            "--hook",
            "drive",
            "--capacity",
            capacity,
            "--hold-back",
            "0.2",
            "--json",
        ];
        let outcome = Outcome::of(arenaq(&arguments).args(["--operations", "500000"]));
        assert_eq!(outcome.code, Some(0), "drops are no failure: {outcome:?}");
        let summary = outcome.json();
        assert_accounted(&summary);
        assert_eq!(number(&summary, "produced"), 500_000);
        assert!(number(&summary, reason) > 0, "{summary}");
        assert!(number(&summary, "consumed") >= 64, "{summary}");
    }
}

#[test]
fn several_consumers_share_the_mpmc_queue_and_the_shards_of_records() {
    let Some(_guard) = kernel("several consumers") else { return };
    let backends = [&["--backend", "threads"][..], &["--hook", "drive"][..]];
    for (queue, consumers) in [("mpmc", "3"), ("records", "2")] {
        for backend in backends {
            let arguments = ["run", "--queue", queue, "--consumers", consumers, "--json"];
            let outcome = Outcome::of(arenaq(&arguments).args(backend));
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            assert_accounted(&outcome.json());
        }
    }
    for backend in backends {
        let arguments = ["run", "--queue", "records", "--consumers", "1000"];
        let outcome = Outcome::of(arenaq(&arguments).args(backend));
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(outcome.stderr.contains("one for each processor"), "{outcome:?}");
    }
}

#[test]
fn a_run_ends_after_so_many_events_and_says_what_is_left() {
    for backend in [&["--backend", "threads"][..], &["--hook", "drive"][..]] {
        let Some(_guard) = kernel("events") else { return };
        for queue in ALL_KINDS {
            let mut command = arenaq(&["run", "--queue", called(queue), "--events", "1000", "--json"]);
            let outcome = Outcome::of(command.args(backend));
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            let summary = outcome.json();
            assert_accounted(&summary);
            assert_eq!(number(&summary, "consumed"), 1000, "{summary}");
        }
    }
}

#[test]
fn threads_take_the_place_of_the_kernel() {
    for queue in ALL_KINDS {
        let capacities =
            if queue == QueueKind::Records { ["16384", "65536", "1048576"] } else { ["2", "1024", "262144"] };
        for capacity in capacities {
            let arguments =
                ["run", "--backend", "threads", "--queue", called(queue), "--capacity", capacity, "--json"];
            let outcome = Outcome::of(&mut arenaq(&arguments));
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            let summary = outcome.json();
            assert_accounted(&summary);
            assert_eq!(number(&summary, "produced"), 100_000);
            assert_eq!(summary["backend"], "threads");
        }
    }
}

#[test]
fn a_signal_ends_a_run_with_its_summary() {
    let Some(_guard) = kernel("signals") else { return };
    let folder = folder();
    let path = folder.path().display().to_string();
    for signal in ["-INT", "-TERM"] {
        for backend in [&["--backend", "threads"][..], &["--hook", "sys-enter"][..]] {
            let mut command = arenaq(&["run", "--duration", "60", "--folder", &path, "--json"]);
            let child = command.args(backend).stdout(Stdio::piped()).spawn().expect("the command starts");
            wait_for("the run to begin", || is_traced_or_busy(child.id()));
            let kill = Command::new("/bin/kill").args([signal, &child.id().to_string()]).status();
            assert!(kill.expect("kill runs").success());
            let output = child.wait_with_output().expect("it ends");
            assert_eq!(output.status.code(), Some(0), "{signal} {backend:?}");
            let summary = serde_json::from_slice(&output.stdout).expect("one JSON object");
            assert_accounted(&summary);
            assert!(number(&summary, "produced") > 0, "{summary}");
        }
    }
    assert!(is_empty(folder.path()), "the workload removes what it made");
}

/// Whether a run has come so far that it has threads: the consumer is there.
fn is_traced_or_busy(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).map_or(0, Iterator::count);
    let processor_ticks = fs::read_to_string(format!("/proc/{process}/stat")).map_or(0, |stat| {
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        fields.get(11).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0)
    });
    threads > 1 && processor_ticks > 5
}

#[test]
fn after_a_sigkill_nothing_of_it_is_left_in_the_kernel_nor_on_the_disk() {
    let Some(_guard) = kernel_with(Hook::SysEnter, "SIGKILL") else { return };
    let folder = folder();
    let path = folder.path().display().to_string();
    let mut command = arenaq(&["run", "--hook", "sys-enter", "--duration", "60", "--folder", &path]);
    let mut child = command.stdout(Stdio::null()).spawn().expect("the command starts");
    wait_for("the run to begin", || is_traced_or_busy(child.id()) && kernel_objects(child.id()).len() > 5);
    let objects = kernel_objects(child.id());
    for kind in ["prog_id", "map_id", "link_id"] {
        assert!(objects.iter().any(|object| object.0 == kind && exists(object)), "{kind} among {objects:?}");
    }
    child.kill().expect("it is there");
    child.wait().expect("it ends");
    // The kernel frees them when the last program that runs has ended.
    wait_for("the kernel to free everything", || !objects.iter().any(exists));
    wait_for("the workers to clean up", || is_empty(folder.path()));
}

#[test]
fn what_cannot_work_gets_one_clear_message_and_an_exit_code_of_its_own() {
    let cases: [(&[&str], i32, &str); 18] = [
        (&["run", "--queue", "mpmc", "--capacity", "100"], 2, "the next is 128"),
        (&["run", "--queue", "mpmc", "--capacity", "1", "--backend", "threads"], 2, "at least 2"),
        (&["run", "--queue", "mpmc", "--capacity", "4294967296"], 2, "at most 2147483648"),
        (&["run", "--queue", "mpsc", "--capacity", "0", "--backend", "threads"], 2, "from 1 to"),
        (&["run", "--queue", "mpsc", "--capacity", "4000000000"], 2, "smaller --capacity"),
        (&["run", "--hook", "keyboard"], 2, "possible values"),
        (&["run", "--consumers", "2"], 2, "--queue mpmc"),
        (&["run", "--folder", "/no/such/folder"], 2, "no such folder"),
        (&["run", "--hook", "drive", "--", "true"], 2, "sees no command"),
        (&["run", "--duration", "soon"], 2, "--duration"),
        (&["run", "--hook", "sys-enter", "--syscall", "opnat"], 2, "its number"),
        (&["run", "--syscall", "openat"], 2, "--hook sys-enter"),
        (&["run", "--hook", "exec", "--uprobe", "/bin/sh:main"], 2, "choose one with --hook"),
        (&["pin", "/sys/fs/bpf/arenaq-test-none", "--syscall", "openat"], 2, "--hook sys-enter"),
        (&["pin", "/sys/fs/bpf/arenaq-test-none", "--hook", "uprobe"], 2, "needs --uprobe"),
        (&["pin", "/sys/fs/bpf/arenaq-test-none", "--hook", "drive"], 2, "another hook"),
        (&["run", "--", "no-such-program-here"], 4, "no such program was found"),
        (&["run", "--hook", "uprobe", "--uprobe", "/bin/sh:no_such_function"], 3, "no_such_function"),
    ];
    let Some(_guard) = kernel_with(Hook::Uprobe, "errors") else { return };
    for (arguments, code, text) in cases {
        let outcome = Outcome::of(&mut arenaq(arguments));
        assert_eq!(outcome.code, Some(code), "{arguments:?}: {outcome:?}");
        assert!(outcome.stderr.contains(text), "{arguments:?}: {outcome:?}");
        assert!(outcome.stdout.is_empty(), "{arguments:?}: {outcome:?}");
        assert!(!outcome.stderr.contains("panicked"), "{arguments:?}: {outcome:?}");
    }
}

#[test]
fn a_command_that_fails_is_accounted_for_and_reported() {
    let Some(_guard) = kernel_with(Hook::SysEnter, "failing command") else { return };
    let arguments =
        ["run", "--hook", "sys-enter", "--json", "--", "sh", "-c", "cat /dev/null; echo said; exit 7"];
    let outcome = Outcome::of(&mut arenaq(&arguments));
    assert_eq!(outcome.code, Some(5), "{outcome:?}");
    let summary = outcome.json();
    assert_accounted(&summary);
    assert_eq!(summary["command_status"], 7);
    assert!(number(&summary, "produced") > 0, "sh and cat open files");
    assert!(outcome.stderr.contains("status 7"), "{outcome:?}");
    assert!(outcome.stderr.contains("said"), "with --json the command's output goes to standard error");
}

#[test]
fn a_hook_that_the_kernel_refuses_is_named_with_the_kernels_reason() {
    let Some(_guard) = kernel("refused hook") else { return };
    let Err(reason) = Hook::InodeCreate.allowed() else { return };
    let outcome = Outcome::of(&mut arenaq(&["run", "--hook", "inode-create"]));
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(
        outcome.stderr.contains("inode-create") && outcome.stderr.contains("doctor"),
        "{outcome:?} {reason}"
    );
}

#[test]
fn without_privileges_the_message_says_how_to_get_them_and_threads_still_work() {
    if !rustix::process::geteuid().is_root() {
        return skip("privileges", "only root can give its privileges up");
    }
    let folder = tempfile::tempdir().expect("the folder for temporary files is writable");
    let everybody =
        |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("it is ours");
    everybody(folder.path());
    let binary = folder.path().join("arenaq");
    fs::copy(env!("CARGO_BIN_EXE_arenaq"), &binary).expect("it can be copied");
    everybody(&binary);
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        Outcome::of(command.args(arguments).uid(65534).gid(65534).current_dir("/"))
    };

    let refused = as_nobody(&["run"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("CAP_BPF") && refused.stderr.contains("setcap"), "{refused:?}");
    assert!(refused.stderr.contains("--backend threads"), "{refused:?}");

    let pin = as_nobody(&["pin", "/sys/fs/bpf/arenaq-test-nobody"]);
    assert_eq!(pin.code, Some(3), "{pin:?}");
    assert!(pin.stderr.contains("CAP_BPF missing"), "the hooks are not to blame: {pin:?}");

    let doctor = as_nobody(&["doctor", "--json"]);
    assert_eq!(doctor.code, Some(3), "{doctor:?}");
    assert_eq!(doctor.json()["can_run"], false);

    let threads = as_nobody(&["run", "--backend", "threads", "--json"]);
    assert_eq!(threads.code, Some(0), "{threads:?}");
    assert_accounted(&threads.json());
}

#[test]
fn without_btf_the_message_says_what_is_missing() {
    let Some(_guard) = kernel("BTF") else { return };
    // A mount namespace of its own, in which an empty file system covers the BTF.
    let script = "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_arenaq")]);
    let outcome = Outcome::of(command.args(["run", "--hook", "drive"]));
    if outcome.stderr.contains("unshare") || outcome.stderr.contains("mount:") {
        return skip("BTF", &outcome.stderr);
    }
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(outcome.stderr.contains("CONFIG_DEBUG_INFO_BTF"), "{outcome:?}");
}

#[test]
fn doctor_says_what_follows_from_each_finding() {
    let outcome = Outcome::of(&mut arenaq(&["doctor"]));
    for line in ["kernel", "privileges", "BTF", "arena", "acquire/release", "LSM", "hook drive", "toolchain"]
    {
        assert!(outcome.stdout.contains(line), "{line} in {outcome:?}");
    }
    let json = Outcome::of(&mut arenaq(&["doctor", "--json"]));
    let report = json.json();
    assert_eq!(json.code == Some(0), report["can_run"] == true, "{report}");
    let checks = report["checks"].as_array().expect("checks");
    assert!(checks.len() >= 12);
    assert!(checks.iter().all(|check| check["consequence"].as_str().is_some_and(|text| !text.is_empty())));
}
