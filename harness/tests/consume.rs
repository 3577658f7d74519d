//! `arenaq consume`: the account since the queue was pinned, and the one right to consume.

mod support;

use arenaq::KeyValue;
use arenaq::count::Counted;
use arenaq_libbpf::{MPMC, MPSC};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use arenaq_harness::pinned::unpin;
use arenaq_harness::{Config, Hook, Kernel, QueueKind};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use support::bpffs::{Bpffs, text};
use support::{Outcome, QUEUES, arenaq, kernel, kernel_with, number, skip};

fn loaded(queue: QueueKind, capacity: u64) -> Kernel {
    Kernel::load(&Config { queue, capacity, ..Config::default() }).expect("the kernel can run it")
}

fn consume(folder: &Path, extra: &[&str]) -> Outcome {
    Outcome::of(arenaq(&["consume", text(folder), "--json"]).args(extra))
}

/// A consumer that goes on until it is ended.
fn start(folder: &Path, extra: &[&str]) -> Child {
    arenaq(&["consume", text(folder), "--json"])
        .args(extra)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts")
}

/// Waits for a child to end by itself, and not for ever.
fn outcome(mut child: Child) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(30);
    while child.try_wait().expect("it is ours").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("it is ours");
            panic!("it does not end: {:?}", child.wait_with_output());
        }
        thread::sleep(Duration::from_millis(10));
    }
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().expect("a pipe").read_to_string(&mut stdout).expect("plain characters");
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("plain characters");
    Outcome { code: child.wait().expect("it has ended").code(), stdout, stderr }
}

/// Asserts that everything adds up, and what was consumed, by the last one and by others.
#[track_caller]
fn assert_account(outcome: &Outcome, consumed: u64, by_others: u64) {
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let summary = outcome.json();
    assert_eq!(number(&summary, "consumed"), consumed, "{summary}");
    assert_eq!(number(&summary, "consumed_by_others"), by_others, "{summary}");
    let dropped = number(&summary, "dropped.full")
        + number(&summary, "dropped.nomem")
        + number(&summary, "dropped.busy");
    let accounted = consumed + by_others + dropped + number(&summary, "left");
    assert_eq!(number(&summary, "produced"), accounted, "{summary}");
    assert_eq!(summary["verify"], "SUCCESS", "{summary}");
}

#[test]
fn drops_are_in_the_account_of_everyone_who_consumes() {
    let Some(_guard) = kernel_with(Hook::Exec, "drops") else { return };
    for queue in QUEUES {
        let bpffs = Bpffs::mount();
        let folder = bpffs.path("queue");
        let mut shell = Command::new("sh")
            .args(["-c", "read line; i=0; while [ $i -lt 51 ]; do /bin/true; i=$((i + 1)); done"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        let id = shell.id().to_string();
        let pin = ["pin", text(&folder), "--queue", queue.name(), "--hook", "exec", "--capacity", "16"];
        let pinned = Outcome::of(arenaq(&pin).args(["--trace", &id]));
        assert_eq!(pinned.code, Some(0), "{pinned:?}");
        drop(shell.stdin.take());
        assert!(shell.wait().expect("our child").success());

        let first = consume(&folder, &["--events", "10"]);
        let summary = first.json();
        assert_eq!(number(&summary, "produced"), 51, "{summary}");
        let dropped = number(&summary, "dropped.full") + number(&summary, "dropped.nomem");
        assert!(dropped > 0, "{summary}");
        assert_account(&first, 10, 0);
        let rest = 51 - dropped - 10;
        assert_eq!(number(&summary, "left"), rest, "{summary}");
        assert_account(&consume(&folder, &["--until-empty"]), rest, 10);
        assert_account(&consume(&folder, &["--until-empty"]), 0, 10 + rest);
        let told = Outcome::of(&mut arenaq(&["consume", text(&folder), "--until-empty"]));
        assert!(told.stdout.contains(&format!("dropped    {dropped:>12}")), "{told:?}");
        unpin(&folder).expect("it is pinned");
    }
}

#[test]
fn what_is_popped_without_the_right_to_consume_is_missed() {
    let Some(_guard) = kernel("stolen events") else { return };
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("queue");
    let loaded = loaded(QueueKind::Mpmc, 64);
    loaded.pin(&folder).expect("the folder is new");
    loaded.drive(1, 10).expect("the program runs");
    let thief = loaded.arena().expect("ours").mpmc::<KeyValue, Counted>(MPMC).expect("it was made");
    for _ in 0..3 {
        thief.pop().expect("an event");
    }
    let outcome = consume(&folder, &["--until-empty"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let expected = "pushed 10 is more than consumed 7 + left 0: events are lost, or somebody pops without the right to consume";
    assert_eq!(outcome.json()["problems"], serde_json::json!([expected]), "{outcome:?}");
}

#[test]
fn an_account_that_cannot_be_exact_does_not_claim_to_be() {
    let Some(_guard) = kernel("another consumer") else { return };
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("queue");
    let loaded = loaded(QueueKind::Mpmc, 64);
    loaded.pin(&folder).expect("the folder is new");
    loaded.drive(1, 10).expect("the program runs");
    let mut other = loaded.receiver().expect("any number may consume");
    other.try_recv().expect("an event");
    let outcome = consume(&folder, &["--until-empty"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let summary = outcome.json();
    assert!(summary["inexact"].as_str().is_some_and(|why| why.contains("other consumers")), "{summary}");
    assert!(summary["left"].is_null() && summary["verify"].is_null(), "{summary}");
    drop(other);
    assert_account(&consume(&folder, &["--until-empty"]), 0, 10);
}

#[test]
fn a_loader_and_a_consumer_exclude_each_other() {
    let Some(_guard) = kernel("a loader that consumes") else { return };
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("queue");
    let loaded = loaded(QueueKind::Mpsc, 64);
    let mut receiver = loaded.receiver().expect("free");
    loaded.drive(1, 4).expect("the program runs");
    receiver.try_recv().expect("an event");
    // It has the right before the queue is pinned, and after that.
    loaded.pin(&folder).expect("the folder is new");
    let us = format!("process {} ", std::process::id());
    let refused = consume(&folder, &["--until-empty"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains(&us) && refused.stderr.contains("consumes from it"), "{refused:?}");
    drop(receiver);
    assert_account(&consume(&folder, &["--events", "1"]), 1, 1);

    let mut receiver = loaded.receiver().expect("free");
    receiver.try_recv().expect("an event");
    let refused = consume(&folder, &["--until-empty"]);
    assert!(refused.stderr.contains(&us), "{refused:?}");
    assert!(loaded.receiver().is_err(), "a second one");
    drop(receiver);
    // Without the lock there is none, whether somebody consumes or not.
    assert!(loaded.arena().expect("ours").mpsc_consumer::<KeyValue, Counted>(MPSC).is_err());

    let mut other = start(&folder, &["--print"]);
    let mut first = String::new();
    BufReader::new(other.stdout.take().expect("a pipe")).read_line(&mut first).expect("an event");
    let refused = loaded.receiver().expect_err("the other consumes").to_string();
    assert!(refused.contains(&format!("process {} (arenaq) consumes from it", other.id())), "{refused}");
    assert!(loaded.arena().expect("ours").mpsc_consumer::<KeyValue, Counted>(MPSC).is_err());
    other.kill().expect("it is ours");
    other.wait().expect("it is ours");
    let mut receiver = loaded.receiver().expect("its consumer is dead");
    loaded.drive(1, 1).expect("the program runs");
    while receiver.try_recv().is_ok() {}
    drop(receiver);
    let account = consume(&folder, &["--until-empty"]);
    assert_account(&account, 0, 5);
    assert_eq!(number(&account.json(), "deaths"), 1, "{account:?}");
}

/// The environment variable by which a child of the next test knows what to do.
const FOLDER: &str = "ARENAQ_TEST_FOLDER";
const QUEUE: &str = "ARENAQ_TEST_QUEUE";

/// A loader that pins, and consumes until it is killed.
#[test]
#[ignore = "run by the test after it"]
fn child_that_pins_and_receives() {
    let (Some(folder), Some(queue)) = (std::env::var_os(FOLDER), std::env::var_os(QUEUE)) else { return };
    let queue = if queue == "mpmc" { QueueKind::Mpmc } else { QueueKind::Mpsc };
    let loaded = loaded(queue, 64);
    loaded.drive(1, 20).expect("the program runs");
    loaded.pin(Path::new(&folder)).expect("the folder is new");
    let mut receiver = loaded.receiver().expect("free");
    for _ in 0..5 {
        receiver.recv().expect("an event");
    }
    println!("received");
    thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_loader_that_pins_and_receives_and_is_killed_leaves_a_queue_to_take_over() {
    let Some(_guard) = kernel("a loader that is killed") else { return };
    for queue in QUEUES {
        let bpffs = Bpffs::mount();
        let folder = bpffs.path("queue");
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "child_that_pins_and_receives", "--ignored", "--nocapture"])
            .env(FOLDER, &folder)
            .env(QUEUE, queue.name())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let received = lines.map_while(Result::ok).any(|line| line.contains("received"));
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        assert!(received, "the child has ended before it had anything");

        let account = consume(&folder, &["--until-empty"]);
        assert_account(&account, 15, 5);
        assert_eq!(number(&account.json(), "deaths"), 1, "{account:?}");
        unpin(&folder).expect("it is pinned");
    }
}

/// A process of ours.
fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().expect("a process id")).expect("not 0")
}

#[test]
fn the_wait_for_the_right_ends_with_a_signal_a_time_limit_or_the_right() {
    let Some(_guard) = kernel("waiting consumers") else { return };
    for queue in QUEUES {
        let bpffs = Bpffs::mount();
        let folder = bpffs.path("queue");
        let loaded = loaded(queue, 64);
        loaded.pin(&folder).expect("the folder is new");
        loaded.drive(1, 3).expect("the program runs");
        // A stranger, who may open the folder.
        let stranger = File::open(&folder).expect("it is there");
        flock(&stranger, FlockOperation::LockExclusive).expect("free");
        let us = format!("process {} ", std::process::id());

        for signal in [Signal::TERM, Signal::INT] {
            let waiting = start(&folder, &["--until-empty", "--wait", "1h"]);
            thread::sleep(Duration::from_millis(500));
            kill_process(pid(&waiting), signal).expect("it is ours");
            let interrupted = outcome(waiting);
            assert_eq!(interrupted.code, Some(3), "{interrupted:?}");
            assert!(interrupted.stderr.contains("interrupted while this waited"), "{interrupted:?}");
            assert!(interrupted.stderr.contains(&us), "{interrupted:?}");
        }
        let refused = outcome(start(&folder, &["--until-empty"]));
        assert_eq!(refused.code, Some(3), "{refused:?}");
        assert!(refused.stderr.contains(&us), "{refused:?}");

        let waiting = start(&folder, &["--until-empty", "--wait", "1h"]);
        thread::sleep(Duration::from_millis(200));
        drop(stranger);
        assert_account(&outcome(waiting), 3, 0);

        // The folder goes away.
        let holder = File::open(&folder).expect("it is there");
        flock(&holder, FlockOperation::LockExclusive).expect("free");
        let waiting = start(&folder, &["--wait", "1h"]);
        thread::sleep(Duration::from_millis(200));
        unpin(&folder).expect("it is pinned");
        let gone = outcome(waiting);
        assert_eq!(gone.code, Some(3), "{gone:?}");
        assert!(gone.stderr.contains("was removed") || gone.stderr.contains("no such folder"), "{gone:?}");
    }
}

#[test]
fn a_consumer_whose_pin_is_removed_takes_what_is_left_says_so_and_ends() {
    let Some(_guard) = kernel("a pin that is removed") else { return };
    for queue in QUEUES {
        for (extra, code) in [(&[][..], 0), (&["--events", "100"], 1)] {
            let bpffs = Bpffs::mount();
            let folder = bpffs.path("queue");
            let loaded = loaded(queue, 64);
            loaded.pin(&folder).expect("the folder is new");
            loaded.drive(1, 3).expect("the program runs");
            let mut consumer = start(&folder, extra);
            support::wait_for("the consumer to begin", || {
                assert!(consumer.try_wait().expect("it is ours").is_none(), "it has ended");
                loaded.receiver().is_err() || queue == QueueKind::Mpmc && is_locked(&folder)
            });
            unpin(&folder).expect("it is pinned");
            let ended = outcome(consumer);
            assert_eq!(ended.code, Some(code), "{ended:?}");
            assert!(ended.stderr.contains("was removed: this consumes what is left"), "{ended:?}");
            let summary = ended.json();
            assert_eq!(number(&summary, "consumed"), 3, "{summary}");
            assert_eq!(summary["removed"], true, "{summary}");
            assert_eq!(
                summary["problems"].as_array().map(Vec::len),
                Some(usize::from(code == 1)),
                "{summary}"
            );
        }
    }
}

fn is_locked(folder: &Path) -> bool {
    let folder = File::open(folder).expect("it is there");
    flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err()
}

/// The command in a time namespace whose monotonic clock is ahead by so many seconds.
fn in_time_namespace(offset: &str, arguments: &[&str]) -> Outcome {
    let unshare = ["-T", "--monotonic", offset, "--", env!("CARGO_BIN_EXE_arenaq")];
    Outcome::of(Command::new("unshare").args(unshare).args(arguments))
}

#[test]
fn latencies_are_right_in_another_time_namespace() {
    const PAUSE: Duration = Duration::from_millis(300);
    let Some(_guard) = kernel("time namespaces") else { return };
    let plain = Outcome::of(Command::new("unshare").args(["-T", "--monotonic", "3600", "--", "true"]));
    if plain.code != Some(0) {
        return skip("time namespaces", &plain.stderr);
    }
    // An hour ahead, and behind.
    for offset in ["3600", "-20"] {
        for queue in QUEUES {
            let bpffs = Bpffs::mount();
            let folder = bpffs.path("queue");
            let loaded = loaded(queue, 64);
            loaded.pin(&folder).expect("the folder is new");
            let begin = Instant::now();
            loaded.drive(1, 3).expect("the program runs");
            thread::sleep(PAUSE);
            let outcome = in_time_namespace(offset, &["consume", text(&folder), "--until-empty", "--json"]);
            let longest = begin.elapsed();
            assert_account(&outcome, 3, 0);
            let latency = Duration::from_nanos(number(&outcome.json(), "latency_ns.p50"));
            // The histogram has three digits.
            assert!(latency >= PAUSE * 99 / 100 && latency <= longest * 101 / 100, "{offset}: {latency:?}");
        }
        let begin = Instant::now();
        let run = ["run", "--hook", "drive", "--operations", "1000", "--json"];
        let outcome = in_time_namespace(offset, &run);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let latency = Duration::from_nanos(number(&outcome.json(), "latency_ns.max"));
        assert!(latency > Duration::from_nanos(1) && latency <= begin.elapsed(), "{offset}: {latency:?}");
    }
}
