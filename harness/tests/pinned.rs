//! Queues that outlive a process: pinned, consumed by others, by one after another when they are killed.

mod support;

use arenaq::count::Counted;
use arenaq::mpmc::SLOTS;
use arenaq_libbpf::{MPMC, MPSC};
use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use arenaq::arena::Owner;
use arenaq::{KeyValue, PopError, Status};
use arenaq_harness::pinned::{Pinned, unpin};
use arenaq_harness::{Config, Counters, Hook, Kernel, QueueKind};
use arenaq_libbpf::{Error, checksum};
use libbpf_rs::{MapHandle, MapType};
use support::bpffs::{Bpffs, text};
use support::{Outcome, QUEUES, arenaq, kernel, kernel_with, number};

fn drive_config(queue: QueueKind) -> Config {
    Config { queue, hook: Hook::Drive, capacity: 1 << 16, ..Config::default() }
}

/// How many elements wait, as the counter says.
fn waiting(kernel: &Kernel) -> u64 {
    let counters = kernel.counters().expect("the map is there");
    counters.pushed
}

/// An `arenaq consume --print` and what it has printed.
struct Consumer {
    child: Child,
    /// How many events it has printed.
    printed: Arc<AtomicU64>,
    reader: thread::JoinHandle<Vec<KeyValue>>,
}

impl Consumer {
    fn start(folder: &Path, extra: &[&str], seen: &'static AtomicU64) -> Consumer {
        let mut child = arenaq(&["consume", text(folder), "--print"])
            .args(extra)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let printed = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&printed);
        let reader = thread::spawn(move || {
            let parse = |line: String| {
                let (key, value) = line.split_once(' ').unwrap_or_else(|| panic!("half an event: {line:?}"));
                seen.fetch_add(1, Ordering::Relaxed);
                count.fetch_add(1, Ordering::Relaxed);
                let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("no number: {line:?}"));
                KeyValue { key: number(key), value: number(value) }
            };
            output.lines().map(|line| parse(line.expect("plain characters"))).collect()
        });
        Consumer { child, printed, reader }
    }

    /// Waits until it has printed something.
    fn wait_for_events(&self) {
        support::wait_for("the consumer to consume", || self.printed.load(Ordering::Relaxed) > 0);
    }

    /// Ends it with SIGKILL.
    fn kill(mut self) -> Vec<KeyValue> {
        self.child.kill().expect("it is there");
        self.child.wait().expect("it was started here");
        self.reader.join().expect("whole events")
    }

    /// Waits until it ends by itself.
    fn wait(mut self) -> Vec<KeyValue> {
        let status = self.child.wait().expect("it was started here");
        let mut errors = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut errors).expect("plain characters");
        assert!(status.success(), "{errors}");
        self.reader.join().expect("whole events")
    }
}

/// Ends the producers also if the test panics.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the lives of consumers have seen together, checked against what the kernel says that it has pushed.
/// Returns how many events came twice.
fn account(lives: &[Vec<KeyValue>], counters: &Counters) -> usize {
    let mut twice = 0;
    let mut last_of_life: Option<KeyValue> = None;
    let mut newest: HashMap<u64, u64> = HashMap::new();
    let (mut events, mut sum) = (0u64, 0u64);
    for life in lives {
        let again = last_of_life.is_some() && life.first() == last_of_life.as_ref();
        twice += usize::from(again);
        for event in &life[usize::from(again)..] {
            let before = newest.insert(event.key, event.value).unwrap_or(0);
            assert!(before < event.value, "an event twice or out of order, in the middle of a life");
            events += 1;
            sum = sum.wrapping_add(checksum(event.key, event.value));
        }
        last_of_life = life.last().copied().or(last_of_life);
    }
    assert_eq!(counters.pushed, events, "an event is lost");
    assert_eq!(counters.checksum, sum, "the events that came out are not those that went in");
    twice
}

/// How many consumers of each queue are killed: these, or as many as the environment variable `ARENAQ_KILLS` says.
fn kills(few: usize) -> usize {
    std::env::var("ARENAQ_KILLS").map_or(few, |kills| kills.parse().expect("ARENAQ_KILLS is a number"))
}

/// Fills the queue and empties it again. Returns what was in it.
fn fill(loaded: &Kernel) -> Vec<KeyValue> {
    let dropped = || loaded.counters().expect("the map is there").nomem;
    let before = dropped();
    while dropped() == before {
        loaded.drive(9, 64).expect("the program runs");
    }
    let mut receiver = loaded.receiver().expect("nobody consumes");
    std::iter::from_fn(|| receiver.try_recv().ok()).collect()
}

#[test]
fn consumers_are_killed_and_no_event_is_lost() {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    const CAPACITY: u64 = 1 << 12;
    /// Of the nodes of a pool of this capacity.
    const BLOCK: u64 = 32;
    let Some(_guard) = kernel("kill -9") else { return };
    let kills = kills(40);
    for queue in QUEUES {
        SEEN.store(0, Ordering::Relaxed);
        let bpffs = Bpffs::mount();
        let folder = bpffs.path("queue");
        let loaded = Kernel::load(&Config { capacity: CAPACITY, ..drive_config(queue) })
            .expect("the kernel can run it");
        loaded.pin(&folder).expect("the folder is new");
        let mut lives = vec![fill(&loaded)];
        let room = lives[0].len();
        let dropped = |counters: &Counters| counters.produced - counters.pushed;
        let dropped_at_first = dropped(&loaded.counters().expect("the map is there"));
        SEEN.store(room as u64, Ordering::Relaxed);

        let mut in_vain = 0;
        while_programs_push(&loaded, CAPACITY / 4, &SEEN, || {
            let mut consumer = Consumer::start(&folder, &[], &SEEN);
            for _ in 0..kills {
                consumer.wait_for_events();
                // Of the MPSC queue a second one waits for the death of the first, and is killed in that now and then.
                let mut second = None;
                if queue == QueueKind::Mpsc {
                    let mut waiting = Consumer::start(&folder, &["--wait", "1h"], &SEEN);
                    if fastrand::u8(0..4) == 0 {
                        thread::sleep(Duration::from_micros(fastrand::u64(0..50_000)));
                        assert!(waiting.kill().is_empty(), "two consume at once");
                        in_vain += 1;
                        waiting = Consumer::start(&folder, &["--wait", "1h"], &SEEN);
                    }
                    second = Some(waiting);
                }
                // Anywhere in what it does, and whether the second has come to its wait or not.
                thread::sleep(Duration::from_micros(fastrand::u64(0..40_000)));
                lives.push(consumer.kill());
                consumer = second.unwrap_or_else(|| Consumer::start(&folder, &[], &SEEN));
            }
            consumer.wait_for_events();
            lives.push(consumer.kill());
        });
        lives.push(Consumer::start(&folder, &["--until-empty"], &SEEN).wait());

        let counters = loaded.counters().expect("the map is there");
        assert_eq!(dropped(&counters), dropped_at_first, "nothing was dropped but to fill the queue");
        let twice = account(&lives, &counters);
        assert!(twice <= kills + 1, "{twice} events came twice");
        let consumed = Outcome::of(&mut arenaq(&["consume", text(&folder), "--until-empty", "--json"]));
        assert_eq!(consumed.code, Some(0), "{consumed:?}");
        let summary = consumed.json();
        assert_eq!(number(&summary, "consumed_by_others"), counters.pushed, "{summary}");
        assert_eq!(number(&summary, "deaths"), kills as u64 + 1, "{summary}");
        let missing = number(&summary, "nodes_missing");
        let room_after = fill(&loaded).len();
        // A node that is missing keeps the others of its block from producers.
        assert!(
            room_after as u64 + missing * BLOCK >= CAPACITY,
            "room for {room} and then for {room_after}: {summary}"
        );
        // Past the capture of the test harness: these numbers are its result.
        let _ = writeln!(
            io::stderr(),
            "{}: {} consumers killed while they consumed and {in_vain} while they waited, {} events, {twice} of them twice, \
             none lost; room for {room} before and {room_after} after, {summary}",
            queue.name(),
            kills + 1,
            counters.pushed
        );
        assert_repaired(&loaded, queue, kills as u64 + 1, missing);

        unpin(&folder).expect("it is pinned");
        assert!(!folder.exists());
        let objects = support::kernel_objects(std::process::id());
        assert!(!objects.is_empty());
        drop(loaded);
        support::wait_for("the kernel to free everything", || !objects.iter().any(support::exists));
    }
}

/// Runs `meanwhile` while two threads let programs push, never so far ahead of what was `seen` that something has to be
/// dropped.
fn while_programs_push(loaded: &Kernel, ahead: u64, seen: &AtomicU64, meanwhile: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        for key in 1..=2 {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if waiting(loaded) < seen.load(Ordering::Relaxed) + ahead {
                        loaded.drive(key, 100).expect("the program runs");
                    } else {
                        thread::sleep(Duration::from_micros(200));
                    }
                }
            });
        }
        meanwhile();
    });
}

/// What consumers beside each other have seen, checked against what the kernel says that it has pushed. Returns how many
/// events came twice.
fn account_for_all(lives: &[Vec<KeyValue>], counters: &Counters) -> usize {
    let mut times: HashMap<(u64, u64), usize> = HashMap::new();
    for event in lives.iter().flatten() {
        *times.entry((event.key, event.value)).or_default() += 1;
    }
    let sum = times.keys().fold(0u64, |sum, (key, value)| sum.wrapping_add(checksum(*key, *value)));
    assert_eq!(counters.pushed, times.len() as u64, "an event is lost");
    assert_eq!(counters.checksum, sum, "the events that came out are not those that went in");
    times.values().map(|times| times - 1).sum()
}

#[test]
fn consumers_of_an_mpmc_queue_are_killed_in_turn_and_those_who_live_take_over() {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    const CAPACITY: u64 = 1 << 12;
    const CONSUMERS: usize = 3;
    let Some(_guard) = kernel("kill -9 beside others") else { return };
    let kills = kills(30);
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("queue");
    let loaded = Kernel::load(&Config { capacity: CAPACITY, ..drive_config(QueueKind::Mpmc) })
        .expect("the kernel can run it");
    loaded.pin(&folder).expect("the folder is new");
    let mut lives = Vec::new();
    while_programs_push(&loaded, CAPACITY / 4, &SEEN, || {
        let start = || Consumer::start(&folder, &[], &SEEN);
        let mut consumers = [(); CONSUMERS].map(|()| start());
        for kill in 0..kills {
            let consumer = &mut consumers[kill % CONSUMERS];
            consumer.wait_for_events();
            thread::sleep(Duration::from_micros(fastrand::u64(0..20_000)));
            // Only the others are there for what it leaves.
            lives.push(std::mem::replace(consumer, start()).kill());
            let seen = SEEN.load(Ordering::Relaxed);
            support::wait_for("the others to go on", || SEEN.load(Ordering::Relaxed) > seen + CAPACITY);
        }
        lives.extend(consumers.map(|consumer| {
            // One that has just been started may be no consumer yet: its death would not be counted.
            consumer.wait_for_events();
            consumer.kill()
        }));
    });
    lives.push(Consumer::start(&folder, &["--until-empty"], &SEEN).wait());

    let counters = loaded.counters().expect("the map is there");
    let twice = account_for_all(&lives, &counters);
    let deaths = kills + CONSUMERS;
    assert!(twice <= deaths, "{twice} events came twice");
    let consumed = Outcome::of(&mut arenaq(&["consume", text(&folder), "--until-empty", "--json"]));
    assert_eq!(consumed.code, Some(0), "{consumed:?}");
    let summary = consumed.json();
    assert_eq!(number(&summary, "consumed_by_others"), counters.pushed, "{summary}");
    assert_eq!(number(&summary, "deaths"), deaths as u64, "{summary}");
    assert_eq!(fill(&loaded).len() as u64, CAPACITY, "a cell is claimed by somebody dead");
    // Past the capture of the test harness: these numbers are its result.
    let _ = writeln!(
        io::stderr(),
        "{deaths} of {CONSUMERS} MPMC consumers killed in turn, {} events, {twice} of them twice, {} dropped, none lost",
        counters.pushed,
        counters.nomem,
    );
    assert_repaired(&loaded, QueueKind::Mpmc, deaths as u64, 0);
    unpin(&folder).expect("it is pinned");
}

/// Nobody is there to take over, and no slot is free for the one who comes.
#[test]
fn when_the_dead_have_all_slots_the_next_consumer_takes_over_from_all_of_them() {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let Some(_guard) = kernel("no slot") else { return };
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("queue");
    let loaded = Kernel::load(&drive_config(QueueKind::Mpmc)).expect("the kernel can run it");
    loaded.pin(&folder).expect("the folder is new");
    let consumers: Vec<_> = (0..SLOTS).map(|_| Consumer::start(&folder, &[], &SEEN)).collect();
    support::wait_for("all to be there", || {
        let arena = loaded.arena().expect("the arena is ours");
        let queue = arena.mpmc_with_slots::<KeyValue, Counted>(MPMC).expect("the queue was made");
        queue.owners().all(|owner| owner.is_some())
    });
    let one_more = Outcome::of(&mut arenaq(&["consume", text(&folder), "--until-empty"]));
    assert_eq!(one_more.code, Some(3), "{}", one_more.stdout);
    assert!(one_more.stderr.contains("all 16 slots"), "{}", one_more.stderr);

    loaded.drive(1, 100).expect("the program runs");
    support::wait_for("the events to be consumed", || SEEN.load(Ordering::Relaxed) == 100);
    consumers.into_iter().for_each(|consumer| drop(consumer.kill()));
    loaded.drive(1, 100).expect("the program runs");
    let next = Outcome::of(&mut arenaq(&["consume", text(&folder), "--until-empty", "--json"]));
    assert_eq!(next.code, Some(0), "{}", next.stderr);
    assert_eq!(number(&next.json(), "deaths"), SLOTS as u64, "{}", next.json());
    assert_eq!(number(&next.json(), "consumed"), 100, "{}", next.json());
}

/// What the dead have left is as much as was said, and is little; then the queue is whole.
fn assert_repaired(loaded: &Kernel, queue: QueueKind, deaths: u64, missing: u64) {
    let arena = loaded.arena().expect("the arena is ours");
    match queue {
        QueueKind::Mpsc => {
            // SAFETY: the last consumer has ended.
            let consumer = unsafe {
                arena.mpsc_consumer_after_death::<KeyValue, Counted>(
                    MPSC,
                    arena.mpsc_owner(MPSC),
                    Owner::LOCK,
                )
            };
            let mut consumer = consumer.expect("a sound queue");
            // SAFETY: nothing is driven any more, and no other process is there.
            let nodes = unsafe { consumer.repair() }.expect("a sound queue");
            assert!(nodes <= deaths, "{nodes} nodes were lost");
            assert_eq!(nodes, missing, "the account knows how many");
            consumer.verify_quiesced().expect("the queue is whole");
        }
        QueueKind::Records => unreachable!("it is a queue of pairs"),
        QueueKind::Mpmc => {
            let mpmc = arena.mpmc::<KeyValue, Counted>(MPMC).expect("the queue was made");
            // SAFETY: as above.
            unsafe { mpmc.recount() };
            mpmc.verify_quiesced().expect("the queue is whole");
        }
    }
    assert_eq!(loaded.verify().expect("the program runs"), Status::Success);
}

#[test]
fn programs_go_on_when_the_process_that_attached_them_has_ended() {
    let Some(_guard) = kernel_with(Hook::Exec, "pinned programs") else { return };
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("queue");
    let mut shell = Command::new("sh")
        .args(["-c", "read line; for i in 1 2 3 4 5; do /bin/true; done"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell");
    let id = shell.id().to_string();
    let pin = ["pin", text(&folder), "--hook", "exec", "--trace", &id];
    let pinned = Outcome::of(&mut arenaq(&pin));
    assert_eq!(pinned.code, Some(0), "{}", pinned.stderr);

    // Nobody has the programs open now but the folder.
    drop(shell.stdin.take());
    assert!(shell.wait().expect("our child").success());
    let consumed = Outcome::of(&mut arenaq(&["consume", text(&folder), "--until-empty", "--json"]));
    assert_eq!(consumed.code, Some(0), "{}", consumed.stderr);
    assert_eq!(
        number(&consumed.json(), "consumed"),
        5,
        "one for each program that the shell's children became"
    );

    let again = Outcome::of(&mut arenaq(&pin[..4]));
    assert_eq!(again.code, Some(3), "{}", again.stdout);
    assert!(again.stderr.contains("exists already; `arenaq unpin"), "{}", again.stderr);
    let removed = Outcome::of(&mut arenaq(&["unpin", text(&folder)]));
    assert_eq!(removed.code, Some(0), "{}", removed.stderr);
    assert!(!folder.exists());
}

#[test]
fn a_second_consumer_is_told_who_the_first_is() {
    static SEEN: AtomicU64 = AtomicU64::new(0);
    let Some(_guard) = kernel("two consumers") else { return };
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("queue");
    let loaded = Kernel::load(&drive_config(QueueKind::Mpsc)).expect("the kernel can run it");
    loaded.pin(&folder).expect("the folder is new");
    loaded.drive(1, 10).expect("the program runs");
    let first = Consumer::start(&folder, &[], &SEEN);
    support::wait_for("the first to consume", || SEEN.load(Ordering::Relaxed) == 10);

    let second = Outcome::of(&mut arenaq(&["consume", text(&folder), "--until-empty"]));
    assert_eq!(second.code, Some(3), "{}", second.stdout);
    let expected = format!("process {} (arenaq) consumes from it", first.child.id());
    assert!(second.stderr.contains(&expected), "{}", second.stderr);
    first.kill();

    loaded.drive(1, 5).expect("the program runs");
    let third = Outcome::of(&mut arenaq(&["consume", text(&folder), "--until-empty", "--json"]));
    assert_eq!(third.code, Some(0), "{}", third.stderr);
    assert_eq!(number(&third.json(), "consumed"), 5, "after the death of the first the way is free");
}

/// Waits for a child, which must end by itself.
fn reap(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: a child of ours, and room for its status.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status), "the child ended with status {status:#x}");
    libc::WEXITSTATUS(status)
}

#[test]
fn a_fork_is_told_that_it_has_no_arena_instead_of_crashing() {
    let Some(_guard) = kernel("fork") else { return };
    let loaded = Kernel::load(&drive_config(QueueKind::Mpsc)).expect("the kernel can run it");
    // SAFETY: the child looks at one number and one allocation, and ends without any cleaning up.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let told = matches!(loaded.arena(), Err(Error::Forked { parent }) if parent != std::process::id());
        // SAFETY: ends the process.
        unsafe { libc::_exit(i32::from(!told)) };
    }
    assert_eq!(reap(child), 0, "the child was not told");
    let parent = Error::Forked { parent: 7 }.to_string();
    assert!(parent.contains("fork of process 7") && parent.contains("attach there"), "{parent}");
    loaded.arena().expect("the parent has it still");
}

#[test]
fn what_is_no_pinned_queue_is_refused_with_its_reason() {
    let Some(_guard) = kernel("foreign maps") else { return };
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("queue");
    let loaded = Kernel::load(&drive_config(QueueKind::Mpsc)).expect("the kernel can run it");
    loaded.pin(&folder).expect("the folder is new");
    let refused = |expected: &str| {
        let outcome = Outcome::of(&mut arenaq(&["consume", text(&folder), "--until-empty"]));
        assert_eq!(outcome.code, Some(3), "{}", outcome.stdout);
        assert!(outcome.stderr.contains(expected), "{expected:?} in {}", outcome.stderr);
    };

    // The same process a second time.
    let twice = Pinned::attach(&folder).expect_err("the addresses are in use here").to_string();
    assert!(twice.contains("attach in a process of its own"), "{twice}");

    // An arena of another length.
    fs::remove_file(folder.join("arena")).expect("it is there");
    arena_of_pages(3).pin(folder.join("arena")).expect("room for it");
    refused("the arena has 12288 bytes and its record says");

    // An arena of the same length in which nobody has made anything.
    fs::remove_file(folder.join("arena")).expect("it is there");
    let other = Kernel::load(&drive_config(QueueKind::Mpsc)).expect("the kernel can run it");
    other.pin(&bpffs.path("other")).expect("the folder is new");
    let pages = MapHandle::from_pinned_path(bpffs.path("other").join("arena")).expect("an arena");
    arena_of_pages(libbpf_rs::MapCore::max_entries(&pages)).pin(folder.join("arena")).expect("room for it");
    refused("no arenaq header: found 0x0");

    // An arena that another process has at other addresses.
    fs::remove_file(folder.join("arena")).expect("it is there");
    fs::hard_link(bpffs.path("other").join("arena"), folder.join("arena")).unwrap_or_else(|_| {
        let mut same = MapHandle::from_pinned_path(bpffs.path("other").join("arena")).expect("an arena");
        same.pin(folder.join("arena")).expect("room for it");
    });
    refused("another process has it elsewhere");

    // Another kind of map.
    fs::remove_file(folder.join("arena")).expect("it is there");
    let mut record = MapHandle::from_pinned_path(folder.join("record")).expect("a map");
    record.pin(folder.join("arena")).expect("room for it");
    refused("arena is a map of type Array, not Arena");

    // Nothing.
    fs::remove_file(folder.join("arena")).expect("it is there");
    refused("there is no arena: `arenaq pin` makes such a folder");
    unpin(&folder).expect("what is left is ours");
    unpin(&bpffs.path("other")).expect("it is pinned");

    // A place where nothing can be pinned.
    let elsewhere = tempfile::tempdir().expect("a folder for a moment");
    let error = loaded.pin(&elsewhere.path().join("queue")).expect_err("no BPF file system").to_string();
    assert!(error.contains("mount -t bpf bpf /sys/fs/bpf"), "{error}");
    for command in ["consume", "unpin"] {
        let nothing = Outcome::of(&mut arenaq(&[command, text(elsewhere.path())]));
        assert_eq!(nothing.code, Some(3), "{nothing:?}");
        assert!(nothing.stderr.contains("it is not on a BPF file system"), "{nothing:?}");
    }
}

fn arena_of_pages(pages: u32) -> MapHandle {
    const BPF_F_MMAPABLE: u32 = 1 << 10;
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as _,
        map_flags: BPF_F_MMAPABLE,
        ..Default::default()
    };
    MapHandle::create(MapType::Arena, Some("foreign"), 0, 0, pages, &options).expect("an arena")
}

/// The environment variable by which the child of the next test knows where the queue is.
const FOLDER: &str = "ARENAQ_TEST_FOLDER";

/// A producer in a process of its own, which lets its parent trace it.
#[test]
#[ignore = "run by the test after it"]
fn child_that_pushes_when_it_is_let() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let pinned = Pinned::attach(Path::new(&folder)).expect("it was pinned");
    let producer =
        pinned.arena().expect("a header").mpsc_producer::<KeyValue, Counted>(MPSC).expect("a queue");
    producer.push(KeyValue { key: 7, value: 1 }).expect("room");
    // SAFETY: the parent traces this thread from here on, and the stop lets it begin.
    unsafe {
        libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
        libc::raise(libc::SIGSTOP);
    }
    producer.push(KeyValue { key: 7, value: 2 }).expect("room");
    producer.push(KeyValue { key: 7, value: 3 }).expect("room");
}

/// Waits until the traced thread of a child stops, or it ends.
fn wait_for_stop() -> (libc::pid_t, i32) {
    let mut status = 0;
    // SAFETY: room for a status.
    let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
    (thread, status)
}

#[test]
fn a_producer_frozen_between_swap_and_link_is_reported_until_it_goes_on() {
    let Some(_guard) = kernel("a frozen producer") else { return };
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("queue");
    let loaded = Kernel::load(&drive_config(QueueKind::Mpsc)).expect("the kernel can run it");
    loaded.pin(&folder).expect("the folder is new");
    let mut probe = loaded.receiver().expect("free");

    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "child_that_pushes_when_it_is_let", "--ignored"])
        .env(FOLDER, &folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("the child starts");
    let (thread, status) = wait_for_stop();
    assert!(libc::WIFSTOPPED(status), "the child ended with status {status:#x}");
    assert_eq!(probe.try_recv().map(|event| event.value), Ok(1));
    // One instruction after another, until the second event is swapped in and not linked.
    let mut steps = 0;
    while probe.try_recv() != Err(PopError::Busy) {
        steps += 1;
        assert!(steps < 1_000_000, "the child never comes to its push");
        // SAFETY: the thread is ours to trace, and has stopped.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, thread, 0, 0) }, 0);
        let (stopped, status) = wait_for_stop();
        assert!(stopped == thread && libc::WIFSTOPPED(status), "the child ended with status {status:#x}");
    }
    drop(probe);

    // While it stands still, the kernel goes on behind it.
    loaded.drive(8, 5).expect("the program runs");
    let seen = Outcome::of(&mut arenaq(&["stat", text(&folder), "--json", "--interval", "300ms"])).json();
    let queue = &seen["queues"][0];
    assert_eq!(queue["stuck"]["who"], "producer", "{seen}");
    assert!(queue["stuck"]["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.3), "{seen}");
    assert_eq!(number(queue, "len"), 6, "what it has swapped in, and what waits behind it: {seen}");
    let mut consumer = arenaq(&["consume", text(&folder), "--print", "--json", "--events", "7"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut told = BufReader::new(consumer.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    // It tells when the stall has lasted a second, and again when it has lasted twice as long as it told.
    for _ in 0..2 {
        let line = told.next().unwrap_or_default();
        assert!(line.contains("BUSY for ") && line.contains("in the middle of its push"), "{line}");
    }
    // SAFETY: the thread is ours to trace, and has stopped.
    assert_eq!(unsafe { libc::ptrace(libc::PTRACE_DETACH, thread, 0, 0) }, 0);
    assert!(child.wait().expect("our child").success());

    let told: Vec<_> = told.collect();
    let output = consumer.wait_with_output().expect("our child");
    let events = String::from_utf8_lossy(&output.stdout);
    assert!(told.iter().any(|line| line.contains("the producer went on after ")), "{told:?}");
    let summary: serde_json::Value =
        serde_json::from_str(told.last().map_or("", String::as_str)).expect("the summary comes last");
    assert!(number(&summary, "longest_stall_ms") >= 2_000, "{summary}");
    // The programs have not pushed what the child has pushed.
    let told = "pushed 5 is less than consumed 8 + left 0: events came twice, or others push than the pinned programs";
    assert_eq!(summary["problems"], serde_json::json!([told]), "{summary}");
    let keys: Vec<_> = events.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(keys, ["7", "8", "8", "8", "8", "8", "7"], "everything in the order of the swaps");
}
