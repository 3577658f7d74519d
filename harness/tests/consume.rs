//! `arenaq consume`: the account since the queue was pinned, and the one right to consume.

#[path = "support/damaged.rs"]
mod damaged;
mod support;

use arenaq::KeyValue;
use arenaq::count::Counted;
use arenaq_libbpf::{Globals, MPMC, MPSC, program};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arenaq_harness::pinned::unpin;
use arenaq_harness::{Config, Hook, Kernel, QueueKind, called};
use damaged::Damaged;
use fastrand::Rng;
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
        let pin = ["pin", text(&folder), "--queue", called(queue), "--hook", "exec", "--capacity", "16"];
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

#[test]
fn a_consumer_of_events_that_have_no_end_says_so_and_ends() {
    let Some(_guard) = kernel("events without end") else { return };
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("queue");
    let loaded = loaded(QueueKind::Mpsc, 16);
    loaded.pin(&folder).expect("the folder is new");
    loaded.drive(1, 3).expect("the program runs");
    let mut globals = Globals::default();
    program::run(loaded.object(), "locate", &mut globals).expect("the program runs");
    // The queue's first word leads to the last node, its second one to the stub, and a node's first word to the next.
    let damaged = Damaged::new(&loaded);
    let read = |address| damaged.at(address).load(Ordering::Relaxed);
    let (last, first) = (read(globals.mpsc), read(read(globals.mpsc + 8)));
    damaged.at(last).store(first, Ordering::Relaxed);

    let outcome = Outcome::within(LIMIT, &mut arenaq(&["consume", text(&folder), "--json", "--until-empty"]));
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let summary = outcome.json();
    assert!(number(&summary, "consumed") > 3, "{summary}");
    let problems = summary["problems"].to_string();
    assert!(problems.contains("more events came than the pinned programs have pushed"), "{summary}");
}

/// How many arenas are damaged: more than these with the environment variable `ARENAQ_HOSTILE_ARENAS`. `ARENAQ_HOSTILE_SEED` repeats
/// the one of a seed.
const ARENAS: u64 = 300;

/// How many consumers run at a time. Most of them wait.
const AT_A_TIME: usize = 4;

#[test]
fn who_consumes_from_a_damaged_arena_gets_an_error_or_wrong_events_and_does_not_crash_hang_or_panic() {
    let Some(_guard) = kernel("damaged arenas") else { return };
    let number = |variable| {
        std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
    };
    let (first, seeds) = match number("ARENAQ_HOSTILE_SEED") {
        Some(seed) => (seed, 1),
        None => (0, number("ARENAQ_HOSTILE_ARENAS").unwrap_or(ARENAS)),
    };
    let next = AtomicU64::new(first);
    let ends = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                let bpffs = Bpffs::mount();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let end = consume_damaged(&bpffs.path(&seed.to_string()), seed);
                    *ends.lock().expect("no test failed").entry(end).or_insert(0) += 1;
                }
            });
        }
    });
    let ends: BTreeMap<_, u64> = ends.into_inner().expect("no test failed");
    println!("consumers by exit code: {ends:?}");
    assert!(seeds < 100 || ends.len() > 2, "not all damage does the same: {ends:?}");
}

/// Returns the exit code of a consumer of a damaged queue.
fn consume_damaged(folder: &Path, seed: u64) -> Option<i32> {
    let mut random = Rng::with_seed(seed);
    let loaded = loaded(QUEUES[random.usize(..2)], 16);
    loaded.pin(folder).expect("the folder is new");
    // In the middle of a lap, with a free list that was used.
    loaded.drive(1, random.u64(..16)).expect("the program runs");
    if random.bool() {
        consume(folder, &["--events", "7", "--until-empty"]);
        loaded.drive(2, random.u64(..20)).expect("the program runs");
    }
    let damaged = Damaged::new(&loaded);
    let mut command = arenaq(&["consume", text(folder), "--json"]);
    command.args(random.bool().then_some("--print"));
    let outcome = if random.u8(..3) == 0 {
        consume_meanwhile(&mut command, &damaged, &loaded, random)
    } else {
        (0..1 + random.u32(..4)).for_each(|_| damaged.strike(&mut random));
        Outcome::within(LIMIT, command.arg("--until-empty"))
    };
    let is_told = !outcome.stderr.contains("panicked") && matches!(outcome.code, Some(0 | 1 | 3));
    assert!(is_told, "ARENAQ_HOSTILE_SEED={seed}: {outcome:?}");
    unpin(folder).expect("it is pinned");
    outcome.code
}

/// Whoever takes longer hangs.
const LIMIT: Duration = Duration::from_secs(30);

/// Programs push, and somebody strikes again and again, from a moment at which the consumer may have begun.
fn consume_meanwhile(
    command: &mut Command,
    damaged: &Damaged<'_>,
    loaded: &Kernel,
    mut random: Rng,
) -> Outcome {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = Ending(&ended);
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(random.u64(..60)));
            while !ended.load(Ordering::Relaxed) {
                damaged.strike(&mut random);
                thread::sleep(Duration::from_micros(random.u64(..2000)));
                loaded.drive(3, 5).expect("the kernel bounds the program, whatever it reads");
            }
        });
        Outcome::within(LIMIT, command.args(["--duration", "200ms"]))
    })
}

/// Ends the thread that strikes also if the test panics.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
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
            .env(QUEUE, called(queue))
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
