//! `arenaq load --pin`, and `consume` and `stat` of what it has pinned.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::load::{EVERYTHING, load, place, plant_tree, truth};
use super::place::{OPENSNOOP, Place};
use super::records::{HEAD, OPENS};
use crate::support::bpffs::Bpffs;
use crate::support::{Outcome, kernel, number, wait_for};

/// How many elements the queue is made for.
const CAPACITY: u64 = 64;
/// How many bytes records have for each processor.
const RECORD_BYTES: u64 = 1 << 19;

/// An object that is pinned, and a command that waits until it may list a tree. Its opens go into the queue.
struct Pinned {
    place: Place,
    folder: PathBuf,
    lister: Child,
    /// How many files it opens.
    opens: u64,
    _bpffs: Bpffs,
}

impl Pinned {
    fn new(test: &str) -> Option<Pinned> {
        Pinned::of(OPENSNOOP, (CAPACITY, 400), test)
    }

    /// Of the program with records, which have room for all.
    fn records(test: &str) -> Option<Pinned> {
        // More lines than a pipe has room for.
        Pinned::of(OPENS, (RECORD_BYTES, 1200), test)
    }

    /// Of the program with a ring instead of a list.
    fn ring(test: &str) -> Option<Pinned> {
        let program = OPENSNOOP.replace("ARENAQ_MPSC(", "ARENAQ_MPMC(");
        assert_ne!(program, OPENSNOOP);
        Pinned::of(&program, (CAPACITY, 400), test)
    }

    fn of(program: &str, (capacity, folders): (u64, usize), test: &str) -> Option<Pinned> {
        let place = place(program);
        plant_tree(&place, folders);
        let opens = truth(&place, &["ls", "-R", "tree"], test)?.len() as u64;
        let bpffs = Bpffs::mount();
        let folder = bpffs.path("opens");
        let mut lister = place.program("/bin/sh");
        lister.args(["-c", "read go; exec ls -R tree"]).env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
        let lister = lister.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
        let (set, capacity) = (format!("tgid={}", lister.id()), format!("opens={capacity}"));
        let arguments = ["--set", &set, "--capacity", &capacity, "--json", "--pin", text(&folder)];
        let outcome = Outcome::of(&mut load(&place, &arguments));
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert_eq!(outcome.json()["queues"], serde_json::json!(["opens"]));
        Some(Pinned { place, folder, lister, opens, _bpffs: bpffs })
    }

    fn list(&mut self) {
        let mut stdin = self.lister.stdin.take().expect("it is asked once");
        stdin.write_all(b"go\n").expect("it waits");
        assert!(self.lister.wait().expect("it ends").success());
    }

    fn arenaq(&self, command: &str, arguments: &[&str]) -> Command {
        self.place.arenaq(&[&[command, text(&self.folder)], arguments].concat())
    }

    fn run(&self, command: &str, arguments: &[&str]) -> Outcome {
        Outcome::within(Duration::from_secs(60), &mut self.arenaq(command, arguments))
    }

    /// What `arenaq stat` says of the queue.
    fn stat(&self) -> Value {
        let outcome = self.run("stat", &["--json", "--interval", "200ms"]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        outcome.json()["queues"][0].clone()
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = self.lister.kill();
        let _ = self.lister.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("it is text")
}

fn account(outcome: &Outcome) -> Value {
    let last = outcome.stdout.lines().last().unwrap_or_else(|| panic!("{outcome:?}"));
    let last: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last}"));
    last["account"][0].clone()
}

#[test]
fn what_one_consumer_of_a_pinned_object_leaves_the_next_one_prints() {
    let test = "a pinned object";
    let Some(_guard) = kernel(test) else { return };
    let Some(mut pinned) = Pinned::new(test) else { return };
    pinned.list();
    let first = pinned.run("consume", &["--json", "--events", "3"]);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert_eq!(first.stdout.lines().count(), 4, "{first:?}");
    assert!(first.stdout.starts_with("{\"queue\":\"opens\",\"element\":{\"time\":"), "{first:?}");
    assert_eq!(number(&account(&first), "consumed"), 3);

    let table = pinned.run("consume", &["--events", "2", "--queue", "opens"]);
    let lines: Vec<_> = table.stdout.lines().collect();
    assert_eq!((table.code, lines[0]), (Some(0), "opens:"), "{table:?}");
    assert!(
        lines[1].ends_with("comm  file") && lines[4].starts_with("MPSC queue opens: 2 consumed, 5 by all, "),
        "{table:?}"
    );

    let last = pinned.run("consume", &["--json", "--until-empty"]);
    let account = account(&last);
    assert_eq!(number(&account, "consumed") + 5, number(&account, "consumed_by_all"), "{account}");
    assert_eq!(number(&account, "left"), 0, "{account}");
    let dropped = number(&account, "dropped.full");
    assert!(dropped > 0, "{account}");
    assert_eq!(number(&account, "consumed_by_all") + dropped, pinned.opens, "{account}");

    let unknown = pinned.run("consume", &["--queue", "none"]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("there is no such queue. There is: opens"), "{unknown:?}");

    // One that waits ends with what it consumes from.
    let mut waiting = pinned.arenaq("consume", &["--json"]);
    let waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    crate::support::wait_for("the consumer", || {
        !pinned.stat()["consumers"].as_array().is_some_and(Vec::is_empty)
    });
    assert_eq!(pinned.run("unpin", &[]).code, Some(0));
    let ended = Outcome::from(&waiting.wait_with_output().expect("it ends"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("was removed: this consumes what is left"), "{ended:?}");
}

#[test]
fn a_full_queue_nobody_who_consumes_and_a_consumer_that_is_stopped_are_seen_at_a_glance() {
    let test = "a glance";
    let Some(_guard) = kernel(test) else { return };
    let Some(mut pinned) = Pinned::new(test) else { return };
    let empty = pinned.stat();
    assert_eq!(
        (empty["type"].as_str(), number(&empty, "capacity")),
        (Some("struct event"), CAPACITY),
        "{empty}"
    );
    assert_eq!((number(&empty, "len"), empty["full"].as_bool()), (0, Some(false)), "{empty}");

    pinned.list();
    let full = pinned.stat();
    let (len, dropped) = (number(&full, "len"), number(&full, "dropped.full"));
    assert!(len >= CAPACITY && dropped > 0 && full["full"] == true, "{full}");
    assert_eq!(len + dropped, pinned.opens, "{full}");
    assert_eq!(full["consumers"], serde_json::json!([]), "{full}");
    assert_eq!(full["stuck"], Value::Null, "{full}");
    for width in ["80", "40"] {
        let shown = pinned.run("stat", &["--once", "--interval", "50ms", "--width", width]).stdout;
        for seen in [" FULL", "dropped (full ", "nobody consumes", "struct event", "/s"] {
            assert!(shown.contains(seen), "{seen}, {width}:\n{shown}");
        }
        let width: usize = width.parse().expect("a number");
        // A path is one word.
        let lines = shown.lines().skip_while(|line| !line.starts_with("MPSC"));
        let longest = lines.map(|line| line.chars().count()).max();
        assert!(longest.is_some_and(|longest| longest <= width), "{width}:\n{shown}");
    }

    let mut consumer = pinned.arenaq("consume", &["--json"]);
    let mut consumer = consumer.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(consumer.stdout.take().expect("a pipe")).read_line(&mut line).expect("an element");
    kill_process(Pid::from_child(&consumer), Signal::STOP).expect("it runs");
    let status = format!("/proc/{}/stat", consumer.id());
    wait_for("the consumer to stop", || std::fs::read_to_string(&status).expect("it lives").contains(") T "));
    let stopped = pinned.stat();
    let who = &stopped["consumers"][0];
    assert_eq!(
        (who["pid"].as_u64(), who["name"].as_str()),
        (Some(consumer.id().into()), Some("arenaq")),
        "{stopped}"
    );
    assert!(who["stopped_seconds"].as_f64().is_some_and(|seconds| seconds >= 0.0), "{stopped}");
    let shown = pinned.run("stat", &["--once", "--interval", "200ms"]).stdout;
    assert!(shown.contains(&format!("consumer {} (arenaq) is STOPPED, ", consumer.id())), "{shown}");
    consumer.kill().expect("it is ours");
    consumer.wait().expect("it is ours");
    assert_eq!(pinned.stat()["consumers"], serde_json::json!([]));
}

#[test]
fn an_object_with_queues_of_both_kinds_is_pinned_and_consumed() {
    let Some(_guard) = kernel("both kinds") else { return };
    let place = place(EVERYTHING);
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("everything");
    let pinned = Outcome::of(&mut load(&place, &["--json", "--set", "tgid=0", "--pin", text(&folder)]));
    assert_eq!(pinned.code, Some(0), "{pinned:?}");
    let mut queues: Vec<Value> = pinned.json()["queues"].as_array().expect("names").clone();
    queues.sort_by_key(Value::to_string);
    assert_eq!(queues, ["all[0]", "all[1]", "numbers"]);

    let stat =
        Outcome::of(&mut place.arenaq(&["stat", text(&folder), "--json", "--interval", "50ms"])).json();
    let mut types: Vec<_> = stat["queues"]
        .as_array()
        .expect("queues")
        .iter()
        .map(|queue| {
            (queue["queue"].as_str(), queue["kind"].as_str(), queue["type"].as_str(), queue["len"].as_u64())
        })
        .collect();
    types.sort_unstable();
    let ring = (Some("MPMC"), Some("struct everything"), Some(0));
    assert_eq!(
        types,
        [
            (Some("all[0]"), ring.0, ring.1, ring.2),
            (Some("all[1]"), ring.0, ring.1, ring.2),
            (Some("numbers"), Some("MPSC"), Some("__u32"), Some(0)),
        ]
    );
    let consume = |arguments: &[&str]| {
        let mut command = place.arenaq(&[&["consume", text(&folder), "--until-empty"], arguments].concat());
        Outcome::within(Duration::from_secs(60), &mut command)
    };
    assert_eq!(consume(&["--queue", "numbers"]).code, Some(0));
    let all = consume(&["--json"]);
    assert_eq!(all.code, Some(0), "{all:?}");
    let accounts: Value = serde_json::from_str(all.stdout.trim_end()).expect("the account");
    let kinds = accounts["account"].as_array().expect("one for each queue");
    let mut kinds: Vec<_> = kinds.iter().map(|queue| queue["kind"].as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, [Some("MPMC"), Some("MPMC"), Some("MPSC")], "{all:?}");
}

/// A socket that takes nothing more, and the end of it that nobody reads.
fn full_socket() -> (UnixStream, UnixStream) {
    let (reader, mut writer) = UnixStream::pair().expect("two sockets");
    writer.set_nonblocking(true).expect("it is ours");
    for size in [4096, 1] {
        while writer.write(&vec![b'\n'; size]).is_ok() {}
    }
    writer.set_nonblocking(false).expect("it is ours");
    (reader, writer)
}

#[test]
fn what_killed_consumers_of_a_ring_hold_the_next_one_prints_even_if_they_have_all_places() {
    const PLACES: u64 = arenaq::mpmc::SLOTS as u64;
    let test = "a ring whose consumers are killed";
    let Some(_guard) = kernel(test) else { return };
    let Some(mut pinned) = Pinned::ring(test) else { return };
    pinned.list();
    assert_eq!(number(&pinned.stat(), "len"), CAPACITY);

    // Each claims an element and waits until it can print it.
    let (_reader, writer) = full_socket();
    let mut consumers: Vec<Child> = (0..PLACES)
        .map(|_| {
            let mut consumer = pinned.arenaq("consume", &["--json"]);
            let stdout = OwnedFd::from(writer.try_clone().expect("a descriptor"));
            consumer.stdout(stdout).stderr(Stdio::null()).spawn().expect("it starts")
        })
        .collect();
    crate::support::wait_for("each has an element", || number(&pinned.stat(), "len") == CAPACITY - PLACES);
    assert_eq!(pinned.stat()["consumers"].as_array().map(Vec::len), Some(PLACES as usize));
    let one_more = pinned.run("consume", &["--json", "--until-empty"]);
    assert_eq!((one_more.code, one_more.stdout.as_str()), (Some(3), ""), "{one_more:?}");
    assert!(one_more.stderr.contains("all 16 slots for its consumers are taken: end one"), "{one_more:?}");

    for consumer in &mut consumers {
        consumer.kill().expect("it is ours");
        consumer.wait().expect("it is ours");
    }
    let next = pinned.run("consume", &["--json", "--until-empty"]);
    assert_eq!(next.code, Some(0), "{next:?}");
    let account = account(&next);
    assert_eq!(number(&account, "consumed"), CAPACITY, "{account}");
    assert_eq!((number(&account, "consumed_by_all"), number(&account, "left")), (CAPACITY, 0), "{account}");
    assert_eq!(CAPACITY + number(&account, "dropped.full"), pinned.opens, "{account}");
    let times = next.stdout.lines().take(CAPACITY as usize).map(|line| {
        let line: Value = serde_json::from_str(line).expect("an element");
        (number(&line, "element.time"), line["element"]["file"].to_string())
    });
    let different: std::collections::BTreeSet<_> = times.collect();
    assert_eq!(different.len() as u64, CAPACITY, "each once: {next:?}");
    assert_eq!(pinned.stat()["consumers"], serde_json::json!([]));
}

/// A consumer of pinned records that writes into a pipe which nobody reads, until it has no more room; it is killed then.
/// Returns what it has written.
fn killed_with_a_full_pipe(pinned: &Pinned) -> Vec<String> {
    let mut consumer = pinned.arenaq("consume", &["--json"]);
    let mut consumer = consumer.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let consumed = || number(&pinned.stat(), "consumed");
    let (mut before, mut now) = (0, consumed());
    crate::support::wait_for("a full pipe", || {
        (before, now) = (now, consumed());
        now > 0 && now == before
    });
    consumer.kill().expect("it is ours");
    let written = BufReader::new(consumer.stdout.take().expect("a pipe"));
    let written = written.lines().map(|line| line.expect("text")).collect();
    consumer.wait().expect("it is ours");
    written
}

#[test]
fn what_a_killed_consumer_of_records_has_left_the_next_one_prints_and_nothing_is_lost() {
    let test = "records whose consumers are killed";
    let Some(_guard) = kernel(test) else { return };
    let Some(mut pinned) = Pinned::records(test) else { return };
    let empty = pinned.stat();
    assert_eq!(
        (empty["kind"].as_str(), empty["type"].as_str()),
        (Some("records"), Some("struct event")),
        "{empty}"
    );
    assert_eq!((number(&empty, "len"), number(&empty, "capacity") % RECORD_BYTES), (0, 0), "{empty}");
    pinned.list();
    let full = pinned.stat();
    assert!(number(&full, "len") > 64 * pinned.opens, "{full}");
    assert_eq!((number(&full, "dropped.full"), &full["lanes"]), (0, &serde_json::json!([])), "{full}");

    // One has the right at a time, and /proc/locks says who.
    let (_reader, writer) = full_socket();
    let mut stalled = pinned.arenaq("consume", &["--json"]);
    let mut stalled = stalled.stdout(OwnedFd::from(writer)).stderr(Stdio::null()).spawn().expect("it starts");
    crate::support::wait_for("the consumer", || {
        pinned.stat()["consumers"][0]["pid"].as_u64() == Some(stalled.id().into())
    });
    let refused = pinned.run("consume", &["--json", "--until-empty"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(3), ""), "{refused:?}");
    assert!(refused.stderr.contains("pinned records have one consumer"), "{refused:?}");
    stalled.kill().expect("it is ours");
    stalled.wait().expect("it is ours");

    let mut printed = killed_with_a_full_pipe(&pinned);
    let some = pinned.run("consume", &["--json", "--events", "3"]);
    assert_eq!((some.code, some.stdout.lines().count()), (Some(0), 4), "{some:?}");
    printed.extend(some.stdout.lines().take(3).map(str::to_owned));
    let last = pinned.run("consume", &["--json", "--until-empty"]);
    assert_eq!(last.code, Some(0), "{last:?}");
    let account = account(&last);
    let count = last.stdout.lines().count() - 1;
    printed.extend(last.stdout.lines().take(count).map(str::to_owned));
    assert_eq!(number(&account, "left"), 0, "{account}");
    assert_eq!(number(&account, "consumed_by_all"), pinned.opens, "each once: {account}");

    let different: std::collections::BTreeSet<_> = printed.iter().collect();
    assert_eq!(different.len() as u64, pinned.opens, "each at least once");
    let again = printed.len() - different.len();
    assert!(again <= 2, "{again} came again after two deaths");
    let table = pinned.run("consume", &["--until-empty"]);
    let says = format!("records opens: 0 consumed, {} by all, 0 bytes left, 0 dropped", pinned.opens);
    assert_eq!(table.stdout.trim_end(), says, "{table:?}");
}

/// Records that are begun and never ended, for each exec.
const LOST: &str = r#"
ARENAQ_RECORDS(lost, 1 << 14, 64);
SEC("raw_tp/sched_process_exec")
int on_exec(void *context)
{
	__u64 *e;

	if (bpf_get_current_pid_tgid() >> 32 != tgid)
		return 0;
	e = arenaq_begin(&lost);
	if (e)
		*e = 1;
	return 0;
}
"#;

#[test]
fn a_lane_whose_program_has_not_ended_its_record_is_seen() {
    let Some(_guard) = kernel("a lost lane") else { return };
    let place = place(&[HEAD, LOST].concat());
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("lost");
    let mut waiting = place.program("/bin/sh");
    waiting.args(["-c", "read go; exec true"]).env("PATH", "/usr/bin:/bin");
    let mut waiting = waiting.stdin(Stdio::piped()).spawn().expect("it starts");
    let set = format!("tgid={}", waiting.id());
    let pinned = Outcome::of(&mut load(&place, &["--json", "--set", &set, "--pin", text(&folder)]));
    waiting.stdin.take().expect("a pipe").write_all(b"go\n").expect("it waits");
    assert!(waiting.wait().expect("it ends").success());
    assert_eq!(pinned.code, Some(0), "{pinned:?}");
    let stat = |arguments: &[&str]| {
        let all = [&["stat", text(&folder), "--interval", "200ms"], arguments].concat();
        Outcome::within(Duration::from_secs(60), &mut place.arenaq(&all))
    };
    let seen = stat(&["--json"]).json();
    let lane = &seen["queues"][0]["lanes"][0];
    assert_eq!((number(lane, "lane"), &lane["pid"]), (0, &Value::Null), "{seen}");
    assert!(lane["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.1), "{seen}");
    let shown = stat(&["--once"]).stdout;
    assert!(shown.contains("a program has had lane 0 of processor "), "{shown}");

    let loaded = Outcome::within(
        Duration::from_secs(60),
        &mut load(&place, &["--json", "--set", "tgid={pid}", "--", "true"]),
    );
    let account = account(&loaded);
    assert_eq!(number(&account, "produced"), 0, "nothing of it is there: {account}");
    assert_eq!((loaded.code, &account["stuck"]), (Some(0), &Value::Bool(true)), "{loaded:?}");
}

#[test]
fn what_is_not_pinned_cannot_be_looked_at() {
    let Some(_guard) = kernel("nothing pinned") else { return };
    let place = Place::new();
    let bpffs = Bpffs::mount();
    for (folder, says) in
        [(bpffs.path("none"), "there is no such folder"), (place.path(""), "not on a BPF file system")]
    {
        let outcome = Outcome::of(&mut place.arenaq(&["stat", text(&folder)]));
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(3), ""), "{outcome:?}");
        assert!(outcome.stderr.contains(says), "{outcome:?}");
    }
}
