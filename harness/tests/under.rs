//! What `arenaq` does on a kernel that is configured, or booted, otherwise than usual. A guest of `cargo xtask kernels --under NAME`
//! says in `ARENAQ_UNDER` which one it is, and these are the tests for it. Anywhere else there is nothing to test.

mod support;

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use arenaq::structures::Kind;
use libbpf_rs::query::{LinkInfoIter, MapInfoIter, ProgInfoIter};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use support::{Group, Outcome, arenaq, assert_accounted, wait_for};

type Test = (&'static str, fn());

fn main() -> ExitCode {
    let under = env::var("ARENAQ_UNDER").unwrap_or_default();
    let tests: &[Test] = match &*under {
        "no-jit" => &[("without_the_jit_every_command_says_how_to_switch_it_on", no_jit)],
        "no-btf" => &[("without_btf_every_command_says_which_kernel_has_it", no_btf)],
        "unprivileged" => &[("a_user_without_capabilities_is_told_which_are_missing", unprivileged)],
        "lockdown-integrity" => &[("what_lockdown_for_integrity_allows_is_everything_here", integrity)],
        "lockdown-confidentiality" => {
            &[("what_lockdown_for_confidentiality_allows_is_everything_here", confidentiality)]
        }
        "memory-limit" => &[("a_queue_beyond_the_limit_of_a_control_group_is_refused", memory_limit)],
        "late-processors" => &[("what_processors_push_that_come_late_is_consumed", late_processors)],
        _ => &[],
    };
    let trial = |&(name, test): &Test| {
        Trial::test(name, move || {
            test();
            Ok::<(), Failed>(())
        })
    };
    libtest_mimic::run(&Arguments::from_args(), tests.iter().map(trial).collect()).exit_code()
}

/// How many programs, links and maps the kernel has.
fn loaded() -> (usize, usize, usize) {
    (ProgInfoIter::default().count(), LinkInfoIter::default().count(), MapInfoIter::default().count())
}

/// Runs a command, and asserts that nothing of it stays in the kernel.
fn leaving_nothing(run: impl FnOnce() -> Outcome) -> Outcome {
    let before = loaded();
    let outcome = run();
    // The kernel frees them a moment later.
    wait_for(&format!("{before:?} programs, links and maps after {outcome:?}"), || loaded() == before);
    let pinned = fs::read_dir("/sys/fs/bpf").expect("it is mounted").flatten();
    let pinned: Vec<_> = pinned.filter(|entry| entry.file_name() != "maps.debug").collect();
    assert!(
        pinned.iter().all(|entry| !entry.file_name().to_string_lossy().starts_with("arenaq")),
        "{pinned:?}"
    );
    outcome
}

/// One message, with these words, and the exit code of what the machine refuses.
fn assert_refused(outcome: &Outcome, words: &[&str]) {
    println!("refused: {}", outcome.stderr.trim());
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(outcome.stdout.is_empty(), "{outcome:?}");
    assert_eq!(outcome.stderr.matches("arenaq: ").count(), 1, "{outcome:?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "{word} in {outcome:?}");
    }
}

/// What `doctor --json` reports. It ends with 0 if it can run, and with 3 else.
fn doctor(outcome: &Outcome, can_run: bool) -> Value {
    let report = outcome.json();
    assert_eq!(
        (report["can_run"].as_bool(), outcome.code == Some(0)),
        (Some(can_run), can_run),
        "{outcome:?}"
    );
    report
}

/// What it says of one thing: the verdict, and what was found with what follows from it.
fn check(report: &Value, name: &str) -> (String, String) {
    let checks = report["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["name"] == name).expect(name);
    let text = |key: &str| check[key].as_str().expect("it is text").to_owned();
    println!("doctor: {name}: {}: {}; {}", text("verdict"), text("found"), text("consequence"));
    (text("verdict"), format!("{}; {}", text("found"), text("consequence")))
}

/// All that makes programs, as somebody runs them who has not asked `doctor`.
const COMMANDS: [&[&str]; 4] = [
    &["run"],
    &["run", "--hook", "drive", "--operations", "10"],
    &["run", "--hook", "exec", "--", "/bin/busybox", "true"],
    &["pin", "/sys/fs/bpf/arenaq-under"],
];

/// Every command is refused, with these words.
fn all_are_refused(words: &[&str], run: impl Fn(&[&str]) -> Outcome) {
    for arguments in COMMANDS {
        assert_refused(&leaving_nothing(|| run(arguments)), words);
    }
    let threads = run(&["run", "--backend", "threads", "--operations", "10"]);
    assert_eq!(threads.code, Some(0), "threads need nothing of the kernel: {threads:?}");
}

fn as_root(arguments: &[&str]) -> Outcome {
    Outcome::of(&mut arenaq(arguments))
}

fn no_jit() {
    let report = doctor(&as_root(&["doctor", "--json"]), false);
    let (verdict, found) = check(&report, "JIT");
    assert!(verdict == "bad" && found.contains("sysctl net.core.bpf_jit_enable=1"), "{verdict} {found}");
    all_are_refused(&["JIT", "sysctl net.core.bpf_jit_enable=1"], as_root);
}

fn no_btf() {
    let report = doctor(&as_root(&["doctor", "--json"]), false);
    let (verdict, found) = check(&report, "BTF");
    assert!(verdict == "bad" && found.contains("CONFIG_DEBUG_INFO_BTF=y"), "{verdict} {found}");
    all_are_refused(&["BTF", "CONFIG_DEBUG_INFO_BTF=y"], as_root);
}

fn unprivileged() {
    let as_nobody =
        |arguments: &[&str]| Outcome::of(arenaq(arguments).uid(65_534).gid(65_534).current_dir("/tmp"));
    let report = doctor(&as_nobody(&["doctor", "--json"]), false);
    let (verdict, found) = check(&report, "privileges");
    assert!(verdict == "bad" && found.contains("kernel.unprivileged_bpf_disabled = 1"), "{verdict} {found}");
    assert!(found.contains("CAP_PERFMON and CAP_BPF missing"), "{found}");
    all_are_refused(&["CAP_PERFMON and CAP_BPF missing", "sudo"], as_nobody);
}

fn integrity() {
    locked_down("integrity", "good");
}

fn confidentiality() {
    locked_down("confidentiality", "limited");
}

/// Every kind works by every way in which it makes programs.
fn locked_down(level: &str, verdict: &str) {
    let state = fs::read_to_string("/sys/kernel/security/lockdown").expect("securityfs is mounted");
    assert!(state.contains(&format!("[{level}]")), "{state}");
    let report = doctor(&as_root(&["doctor", "--json"]), true);
    assert_eq!(check(&report, "lockdown").0, verdict);
    for queue in Kind::ALL {
        let name = queue.name().to_lowercase();
        let run = |arguments: &[&str]| {
            let outcome =
                leaving_nothing(|| as_root(&[&["run", "--json", "--queue", &name], arguments].concat()));
            assert_eq!(outcome.code, Some(0), "{queue:?}: {outcome:?}");
            let summary = outcome.json();
            assert_accounted(&summary);
            let consumed = summary["consumed"].as_u64().expect("a number");
            println!("{name} {arguments:?}: {consumed} consumed");
            consumed
        };
        assert!(run(&["--hook", "drive", "--operations", "1000"]) > 0);
        for hook in ["exec", "sys-enter", "inode-create"] {
            let script = "for file in 1 2 3; do /bin/busybox touch /tmp/locked$file; /bin/busybox rm /tmp/locked$file; done";
            assert!(run(&["--hook", hook, "--", "/bin/sh", "-c", script]) > 0, "{hook}");
        }
    }
}

/// The group has less than a queue of the largest capacity, and enough for a small one.
fn memory_limit() {
    let group = Group::with_limit(24 << 20).expect("the guest's groups have limits of memory");
    for queue in Kind::ALL {
        let run = |capacity: &str| {
            let name = queue.name().to_lowercase();
            let arguments = ["run", "--hook", "drive", "--operations", "100", "--queue", &name];
            leaving_nothing(|| group.run(&[&arguments[..], &["--capacity", capacity, "--json"]].concat()))
        };
        let large = if queue == Kind::Records { "268435456" } else { "1048576" };
        assert_refused(&run(large), &["memory limit", "smaller --capacity"]);
        let small = run(if queue == Kind::Records { "65536" } else { "1024" });
        assert_eq!(small.code, Some(0), "{small:?}");
        assert_accounted(&small.json());
    }
    let report = doctor(&group.run(&["doctor", "--json"]), true);
    let (verdict, found) = check(&report, "memory");
    assert!(verdict == "good" && found.contains("leaves"), "{verdict} {found}");
}

/// The traced command itself brings one processor after another online, and starts programs there.
fn late_processors() {
    const EACH: u64 = 10;
    let online = || fs::read_to_string("/sys/devices/system/cpu/online").expect("sysfs is mounted");
    let script = format!(
        "for cpu in 1 2 3; do
           echo 1 >/sys/devices/system/cpu/cpu$cpu/online || exit 9
           for time in $(seq {EACH}); do /bin/busybox taskset -c $cpu /bin/busybox true || exit 8; done
         done"
    );
    for queue in Kind::ALL {
        for cpu in 1..4 {
            let place = format!("/sys/devices/system/cpu/cpu{cpu}/online");
            if fs::read_to_string(&place).is_ok_and(|state| state.trim() == "1") {
                fs::write(&place, "0").expect("a processor can be sent off again");
            }
        }
        assert_eq!(online().trim(), "0");
        let name = queue.name().to_lowercase();
        let arguments = ["run", "--hook", "exec", "--queue", &name, "--json", "--", "/bin/sh", "-c", &script];
        let outcome = leaving_nothing(|| as_root(&arguments));
        assert_eq!(outcome.code, Some(0), "{queue:?}: {outcome:?}");
        assert_eq!(online().trim(), "0-3");
        let summary = outcome.json();
        assert_accounted(&summary);
        // taskset and true, each time, and seq for each processor.
        let produced = summary["produced"].as_u64().expect("a number");
        println!("{}: {produced} produced, {} consumed", queue.name(), summary["consumed"]);
        assert!(produced >= 3 * 2 * EACH, "{queue:?}: {summary}");
        assert_eq!(summary["consumed"], summary["produced"], "{queue:?}: nothing is dropped: {summary}");
    }
}
