//! A push that is interrupted on its own CPU by another push: a clock's interrupt runs a program that pushes while the
//! interrupted program is in the middle of its own.

mod support;

use arenaq::count::Counted;
use arenaq_libbpf::{MPMC, MPSC};
use std::collections::{HashMap, HashSet};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arenaq::arena::Owner;
use arenaq::{KeyValue, PopError, Status};
use arenaq_harness::{CLOCK_KEY, Config, Counters, Hook, Kernel, QueueKind};
use arenaq_libbpf::checksum;
use crossbeam_utils::Backoff;
use support::{ALL_KINDS, kernel, kernel_with};

/// How many interrupted pushes are enough.
const ENOUGH: u64 = 500;
/// How many of the pushes that interrupted them come out at least: the others find the queue full.
const INTERRUPTS: u64 = ENOUGH / 10;
/// How many tasks are interrupted.
const TASKS: usize = 2;
/// How long to wait for all that.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came out.
#[derive(Default)]
struct Seen {
    events: u64,
    interrupts: u64,
    /// Those that were interrupted.
    tasks: HashSet<u64>,
    checksum: u64,
    last: HashMap<u64, u64>,
}

impl Seen {
    fn take(&mut self, event: KeyValue) {
        self.take_of(event.key, event);
    }

    /// An event of a task, which is counted as that pair.
    fn take_of(&mut self, task: u64, event: KeyValue) {
        self.events += 1;
        if task & CLOCK_KEY == 0 {
            self.tasks.insert(task);
        } else {
            self.interrupts += 1;
        }
        self.checksum = self.checksum.wrapping_add(checksum(event.key, event.value));
        let last = self.last.insert(event.key, event.value).unwrap_or(0);
        assert!(last <= event.value, "key {:#x}: {} after {last}", event.key, event.value);
    }

    /// Whether both sides of an interrupt came out: a scheduler may run one task alone for a while, and a full queue refuses the clock.
    fn is_enough(&self) -> bool {
        self.interrupts >= INTERRUPTS && self.tasks.len() >= TASKS
    }
}

/// What the consumer and the producers tell each other.
#[derive(Default)]
struct Progress {
    /// What came out is enough.
    seen: AtomicBool,
    /// No producer runs.
    ended: AtomicBool,
}

/// The records of `struct arenaq_event` in programs.h.
fn consume_records(loaded: &Kernel, progress: &Progress) -> Seen {
    let mut records = loaded.records("records").expect("nobody else consumes");
    let mut seen = Seen::default();
    loop {
        let no_more = progress.ended.load(Ordering::Acquire);
        let drained = records.wait(Duration::from_millis(10), |record| {
            let [lane, time, task, _number] = record.read().expect("an event");
            seen.take_of(task, KeyValue { key: lane, value: time });
        });
        progress.seen.store(seen.is_enough(), Ordering::Relaxed);
        if drained.expect("they are not damaged") == 0 && no_more {
            assert!(records.is_quiet(), "every lane was given back");
            return seen;
        }
    }
}

/// Consumes until the producers have ended and nothing is left.
fn consume(loaded: &Kernel, queue: QueueKind, progress: &Progress) -> Seen {
    if queue == QueueKind::Records {
        return consume_records(loaded, progress);
    }
    let arena = loaded.arena().expect("the arena is ours");
    let mut mpsc = (queue == QueueKind::Mpsc)
        .then(|| arena.mpsc_consumer::<KeyValue, Counted>(MPSC).expect("nobody else consumes"));
    let mut pop = || match &mut mpsc {
        Some(consumer) => consumer.pop(),
        None => arena.mpmc::<KeyValue, Counted>(MPMC).expect("the queue was made").pop(),
    };
    let mut seen = Seen::default();
    let backoff = Backoff::new();
    loop {
        // Before the pop: what was there when the producers ended is found by a pop after that.
        let no_more = progress.ended.load(Ordering::Acquire);
        match pop() {
            Ok(event) => {
                seen.take(event);
                progress.seen.store(seen.is_enough(), Ordering::Relaxed);
                backoff.reset();
            }
            Err(PopError::Empty) if no_more => return seen,
            Err(PopError::Empty | PopError::Busy | PopError::Contended) => backoff.snooze(),
            Err(error) => panic!("{queue:?}: {error}"),
        }
    }
}

/// Runs `produce` on two threads until enough pushes were interrupted and came out; the queue is drained meanwhile.
fn interrupt(loaded: &Kernel, queue: QueueKind, produce: impl Fn(u64) + Sync) -> (Seen, Counters) {
    let begin = Instant::now();
    let progress = Progress::default();
    let enough = || {
        let nested = loaded.nested().expect("the map is there");
        nested >= ENOUGH && progress.seen.load(Ordering::Relaxed) || begin.elapsed() > PATIENCE
    };
    let seen = thread::scope(|scope| {
        let consumer = scope.spawn(|| consume(loaded, queue, &progress));
        let producers = [0, 1].map(|key| {
            let (produce, enough) = (&produce, &enough);
            scope.spawn(move || {
                while !enough() {
                    produce(key);
                }
            })
        });
        producers.into_iter().for_each(|producer| producer.join().expect("the producer ends"));
        loaded.detach().expect("the counters are there");
        progress.ended.store(true, Ordering::Release);
        consumer.join().expect("the consumer ends")
    });
    (seen, loaded.counters().expect("the map is there"))
}

fn assert_all(loaded: &Kernel, queue: QueueKind, seen: &Seen, counters: &Counters) {
    let nested = loaded.nested().expect("the map is there");
    assert!(
        nested >= ENOUGH,
        "{queue:?}: {nested} pushes of {counters:?} were interrupted within {PATIENCE:?}, {} by a push",
        seen.interrupts
    );
    assert_eq!(seen.events, counters.pushed, "{queue:?} {counters:?}");
    assert_eq!(seen.checksum, counters.checksum, "{queue:?}: what came out is what went in");
    assert_eq!(counters.produced, counters.pushed + counters.nomem + counters.busy, "{queue:?} {counters:?}");
    // The others found the queue full.
    assert!(seen.interrupts >= INTERRUPTS, "{queue:?}: {} of {nested} interrupts pushed", seen.interrupts);
    assert_eq!(seen.tasks.len(), TASKS, "{queue:?}: the tasks that were interrupted");
    let arena = loaded.arena().expect("the arena is ours");
    match queue {
        QueueKind::Mpmc => arena
            .mpmc::<KeyValue, Counted>(MPMC)
            .expect("it was made")
            .verify_quiesced()
            .expect("it is whole"),
        QueueKind::Mpsc => {
            arena
                .mpsc_consumer::<KeyValue, Counted>(MPSC)
                .expect("nobody else")
                .verify_quiesced()
                .expect("it is whole");
            let producer = arena.mpsc_producer::<KeyValue, Counted>(MPSC).expect("it was made");
            let free = producer.nodes().free_nodes().expect("the list is whole");
            assert_eq!(free, producer.nodes().created() - 1, "every node but the stub is free");
        }
        QueueKind::Records => {
            return arena
                .records("records", Owner::ANONYMOUS)
                .expect("it was made")
                .verify()
                .expect("it is whole");
        }
    }
    assert_eq!(loaded.verify().expect("the program runs"), Status::Success);
}

#[test]
fn a_push_that_interrupts_a_push_on_its_cpu_loses_nothing() {
    let Some(_guard) = kernel("nested pushes") else { return };
    for queue in ALL_KINDS {
        let config = Config { queue, capacity: 1 << 16, nest: true, ..Config::default() };
        let loaded = Kernel::load(&config).expect("the kernel can run it");
        loaded.attach().expect("a clock on every CPU");
        let produce = |key| assert!(loaded.drive(key, 4096).expect("the program runs") > 0);
        let (seen, counters) = interrupt(&loaded, queue, produce);
        assert_all(&loaded, queue, &seen, &counters);
    }
}

#[test]
fn a_push_that_interrupts_a_hook_that_cannot_sleep_loses_nothing() {
    let Some(_guard) = kernel_with(Hook::SysEnter, "nested pushes in a tracepoint") else { return };
    for queue in ALL_KINDS {
        let syscall = libc::SYS_read;
        let config = Config {
            queue,
            hook: Hook::SysEnter,
            syscall,
            capacity: 1 << 16,
            nest: true,
            ..Config::default()
        };
        let loaded = Kernel::load(&config).expect("the kernel can run it");
        // Before anything reads: an emulator that translates the path of a system call while the kernel patches the hook into it may
        // go on with what it has translated, so that the hook never runs.
        loaded.attach().expect("the hook is allowed");
        let readers = [Reader::start(), Reader::start()];
        for reader in &readers {
            loaded.trace(reader.0.id()).expect("it is there");
        }
        let produce = |_| thread::sleep(Duration::from_millis(10));
        let (seen, counters) = interrupt(&loaded, queue, produce);
        drop(readers);
        assert_all(&loaded, queue, &seen, &counters);
    }
}

/// A process that reads as fast as it can. It ends with this.
struct Reader(Child);

impl Reader {
    fn start() -> Reader {
        let copy = ["if=/dev/zero", "of=/dev/null", "bs=1"];
        let mut command = Command::new("dd");
        Reader(command.args(copy).stderr(Stdio::null()).spawn().expect("there is a dd"))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_pool_that_grows_in_a_push_that_is_interrupted_stays_whole() {
    const LIMIT: u64 = 1 << 20;
    let Some(_guard) = kernel("nested growth") else { return };
    let config = Config { capacity: 16, limit: LIMIT, grow: 3, nest: true, ..Config::default() };
    let mut nested = 0;
    let begin = Instant::now();
    // Each pool grows once; steps that are small make it grow often.
    while nested < ENOUGH && begin.elapsed() < PATIENCE {
        let loaded = Kernel::load(&config).expect("the kernel can run it");
        loaded.attach().expect("a clock on every CPU");
        thread::scope(|scope| {
            for key in 0..2 {
                let loaded = &loaded;
                scope.spawn(move || {
                    let mut done = 0;
                    while done < 50_000 {
                        done += loaded.drive(key, 512).expect("the program runs");
                    }
                });
            }
        });
        loaded.detach().expect("the counters are there");
        let counters = loaded.counters().expect("the map is there");
        let ended = Progress { ended: AtomicBool::new(true), ..Progress::default() };
        let seen = consume(&loaded, QueueKind::Mpsc, &ended);
        assert_eq!(seen.events, counters.pushed, "{counters:?}");
        assert_eq!(seen.checksum, counters.checksum);
        let interrupts = loaded.nested().expect("the map is there");
        // Only the program of the interrupt may find no node: it cannot allocate.
        assert!(counters.nomem <= interrupts, "{interrupts} interrupts: {counters:?}");
        let producer = loaded
            .arena()
            .expect("the arena is ours")
            .mpsc_producer::<KeyValue, Counted>(MPSC)
            .expect("it was made");
        assert!(producer.nodes().created() > 90_000, "it has grown");
        producer.nodes().free_nodes().expect("the list is whole");
        assert_eq!(loaded.verify().expect("the program runs"), Status::Success);
        nested += interrupts;
    }
    assert!(nested >= ENOUGH, "{nested} pushes were interrupted within {PATIENCE:?}");
}
