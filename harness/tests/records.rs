//! Records of any size that programs push: bpf/tests/records.bpf.c.

#[path = "records/kills.rs"]
mod kills;
mod support;

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::io::Write;
use std::ops::Range;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arenaq::Status;

use arenaq::arena::Owner;
use arenaq::bytemuck::{Pod, Zeroable};
use arenaq::platform::Native;
use arenaq::records::Record;
use arenaq_harness::clock::{self, Interrupt};
use arenaq_harness::{Hook, Instructions, verifier};
use arenaq_libbpf::{Loaded, Queues, RecordReceiver, Wake, program};
use libbpf_rs::{MapCore, MapFlags, ObjectBuilder, OpenObject};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;
use support::bpffs::Bpffs;
use support::held::Held;
use support::{Outcome, arenaq, kernel, kernel_with, number, objects, skip};

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
struct Push {
    first: u64,
    count: u64,
    size: u64,
    pushed: u64,
    nomem: u64,
    busy: u64,
    other: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
struct Checked {
    line: u64,
    status: i64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
struct Strings {
    from: u64,
    times: u64,
    size: u64,
}

fn open(instructions: Instructions) -> libbpf_rs::Result<OpenObject> {
    let object: &[u8] = match instructions {
        Instructions::AcquireRelease => include_bytes!(env!("ARENAQ_RECORDS_ACQUIRE_RELEASE")),
        Instructions::Tso => include_bytes!(env!("ARENAQ_RECORDS_TSO")),
        Instructions::FullBarrier => include_bytes!(env!("ARENAQ_RECORDS_FULL_BARRIER")),
    };
    ObjectBuilder::default().open_memory(object)
}

/// The object with these programs only: the verifier follows some for a second, and in an emulated machine for many.
fn load(instructions: Instructions, programs: &[&str]) -> Loaded {
    let mut open = open(instructions).expect("it was compiled");
    let mut left = programs.len();
    for mut program in open.progs_mut() {
        let is_wanted = program.name().to_str().is_some_and(|name| programs.contains(&name));
        program.set_autoload(is_wanted);
        left -= usize::from(is_wanted);
    }
    assert_eq!(left, 0, "not all of {programs:?} are in the object");
    Loaded::load(open).unwrap_or_else(|error| panic!("{}: {error}", instructions.name()))
}

/// The size of the record of that number, where each has another one.
fn size_of(number: u64) -> u64 {
    number.wrapping_mul(2_654_435_761) % 4097
}

/// Its word of that index.
fn word_of(number: u64, index: u64) -> u64 {
    number.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Fails if it is not the record of that number, of that size.
fn assert_is(record: &Record<'_, Native>, number: u64, size: u64) {
    assert_eq!(record.size() as u64, size, "record {number}");
    let mut bytes = Vec::new();
    record.copy_to(&mut bytes);
    let words = (0..).map(|index| word_of(number, index));
    let expected: Vec<u8> = words.take(size.div_ceil(8) as usize).flat_map(u64::to_le_bytes).collect();
    let differs = bytes.iter().zip(&expected).position(|(is, should)| is != should);
    assert_eq!(differs, None, "the first byte of record {number} that is not as it was pushed");
}

fn push(loaded: &Loaded, name: &str, first: u64, count: u64, size: u64) -> Push {
    let mut context = Push { first, count, size, ..Push::default() };
    program::run(loaded.object(), name, &mut context).expect("the program runs");
    assert_eq!(context.pushed + context.nomem + context.busy + context.other, count, "{context:?}");
    context
}

#[test]
fn who_takes_records_for_a_queue_of_elements_is_told_what_they_are() {
    let Some(_guard) = kernel("records as elements") else { return };
    let loaded = load(objects()[0], &["submit"]);
    for error in [loaded.receiver::<u64>("log").err(), loaded.receiver_bytes("log").err()] {
        let error = error.expect("they are no elements").to_string();
        assert!(error.contains("`log` has records") && error.contains("`records`"), "{error}");
    }
    let error = loaded.receiver::<u64>("none").expect_err("there is none").to_string();
    assert!(error.contains("the arena has no queue `none`"), "{error}");
    loaded.records("log").expect("nobody has them");
}

#[test]
fn every_byte_of_a_record_of_any_size_comes_from_the_kernel() {
    let Some(_guard) = kernel("records from the kernel") else { return };
    for instructions in objects() {
        let loaded = load(instructions, &["submit", "commit"]);
        let mut log = loaded.records("log").expect("nobody else consumes");
        let mut first = 0;
        for how in ["submit", "commit"] {
            for size in [0, 8, 13, 24, 64, 65, 100, 304, 1024, 4089, 4096] {
                // Some laps of the first lane's 64 KiB, a few records at a time.
                for _ in 0..50 {
                    let account = push(&loaded, how, first, 7, size);
                    assert_eq!(account.pushed, 7, "{how} {account:?}");
                    let mut next = first;
                    let drained = log.drain(u64::MAX, |record| {
                        assert_eq!(record.stamp(), next);
                        assert_is(&record, next, if size == 0 { size_of(next) } else { size });
                        next += 1;
                    });
                    assert_eq!(drained.expect("it is not damaged"), 7);
                    first += 7;
                }
            }
        }
        assert_eq!(log.dropped().total(), 0);
    }
}

#[test]
fn what_finds_no_room_is_counted_and_what_found_some_comes() {
    let Some(_guard) = kernel("full records") else { return };
    for instructions in objects() {
        let loaded = load(instructions, &["submit", "commit"]);
        let mut log = loaded.records("log").expect("nobody else consumes");
        let mut full = 0;
        for how in ["submit", "commit"] {
            let account = push(&loaded, how, 0, 1000, 304);
            assert!(account.pushed >= 204 && account.nomem > 0 && account.other == 0, "{how} {account:?}");
            full += account.nomem;
            let mut next = 0;
            let drained = log.drain(u64::MAX, |record| {
                assert_is(&record, next, 304);
                next += 1;
            });
            assert_eq!(drained.expect("it is not damaged"), account.pushed);
        }
        let dropped = log.dropped();
        assert_eq!((dropped.full, dropped.total()), (full, full), "{dropped:?}");
    }
}

#[test]
fn records_that_are_discarded_are_not_seen_and_their_lanes_come_back() {
    let Some(_guard) = kernel("discarded records") else { return };
    for instructions in objects() {
        let loaded = load(instructions, &["checks", "nest"]);
        let mut small = loaded.records("small").expect("nobody else consumes");
        let mut result = Checked::default();
        program::run(loaded.object(), "checks", &mut result).expect("the program runs");
        assert_eq!(result, Checked::default(), "line {} of records.bpf.c", result.line);
        let mut numbers = Vec::new();
        let drained = small.drain(u64::MAX, |record| numbers.push(record.read::<u64>()));
        assert_eq!(drained.expect("it is not damaged"), 10);
        assert_eq!(numbers, (0..20).step_by(2).map(Some).collect::<Vec<_>>());
        let mut result = Checked::default();
        program::run(loaded.object(), "nest", &mut result).expect("the program runs");
        assert_eq!(result, Checked::default(), "line {} of records.bpf.c", result.line);
        let mut numbers = Vec::new();
        small.drain(u64::MAX, |record| numbers.push(record.read::<u64>())).expect("it is not damaged");
        numbers.sort_unstable();
        assert_eq!(numbers, [Some(1), Some(2), Some(3), Some(4)]);
    }
}

#[test]
fn strings_are_appended_and_cut_where_the_record_ends() {
    let Some(_guard) = kernel("records of strings") else { return };
    for instructions in objects() {
        let loaded = load(instructions, &["strings"]);
        let mut small = loaded.records("small").expect("nobody else consumes");
        let text = CString::new("0123456789").expect("no zero in it");
        for times in [0, 1, 3, 5, 6, 20] {
            let mut context = Strings { from: text.as_ptr() as u64, times, size: 0 };
            program::run(loaded.object(), "strings", &mut context).expect("the program runs");
            let expected = (8 + 11 * times).min(64);
            assert_eq!(context.size, expected);
            let mut bytes = Vec::new();
            small.drain(u64::MAX, |record| record.copy_to(&mut bytes)).expect("it is not damaged");
            let mut all: Vec<u8> = times.to_le_bytes().into();
            all.extend(b"0123456789\0".repeat(times as usize));
            all.truncate(64);
            if all.len() == 64 {
                // What is cut ends with a zero.
                all[63] = 0;
            }
            assert_eq!(bytes, all);
        }
    }
}

#[test]
fn a_consumer_that_sleeps_is_woken_by_a_record() {
    let Some(_guard) = kernel("a sleeping consumer of records") else { return };
    let loaded = load(objects()[0], &["strings"]);
    let mut small = loaded.records("small").expect("nobody else consumes");
    let waiter = thread::spawn(move || {
        let mut seen = 0;
        while seen < 50 {
            seen += small.wait(Duration::from_secs(60), |_| ()).expect("it is not damaged");
        }
        seen
    });
    let text = CString::new("x").expect("no zero in it");
    for _ in 0..50 {
        thread::sleep(Duration::from_millis(1));
        let mut context = Strings { from: text.as_ptr() as u64, times: 1, size: 0 };
        program::run(loaded.object(), "strings", &mut context).expect("the program runs");
    }
    assert_eq!(waiter.join().expect("each was counted"), 50);
}

#[test]
fn a_task_is_woken_by_a_record_and_one_that_goes_away_in_its_sleep_loses_none() {
    let Some(_guard) = kernel("tokio and records") else { return };
    let loaded = load(objects()[0], &["strings"]);
    let mut small = loaded.records("small").expect("nobody else consumes");
    small.set_wake(Wake::Notified { at_most: Duration::MAX });
    let text = CString::new("x").expect("no zero in it");
    let push = || {
        let mut context = Strings { from: text.as_ptr() as u64, times: 1, size: 0 };
        program::run(loaded.object(), "strings", &mut context).expect("the program runs");
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("threads and a reactor");
    let task = runtime.spawn(async move {
        let mut seen = 0;
        while seen < 50 {
            let more = tokio::time::timeout(Duration::from_secs(60), small.wait_async(|_| ())).await;
            seen += more.expect("it is woken").expect("it is not damaged");
        }
        (small, seen)
    });
    for _ in 0..50 {
        thread::sleep(Duration::from_millis(1));
        push();
    }
    let (mut small, seen) = runtime.block_on(task).expect("each was counted");
    assert_eq!(seen, 50);
    runtime.block_on(async {
        let nothing = tokio::time::timeout(Duration::from_millis(20), small.wait_async(|_| ())).await;
        assert!(nothing.is_err(), "nothing is there");
    });
    let events = loaded.arena().expect("ours").event_count_of("small").expect("it has one");
    assert!(!events.must_notify(), "who was dropped does not say that it sleeps");
    push();
    assert_eq!(small.drain(u64::MAX, |_| ()).expect("it is not damaged"), 1);
}

#[test]
fn each_shard_has_one_consumer() {
    let Some(_guard) = kernel("consumers of shards") else { return };
    let loaded = load(objects()[0], &[]);
    let all = libbpf_rs::num_possible_cpus().expect("it is known");
    let first = loaded.records_of_shards("log", 0..1).expect("nobody else consumes");
    let refused = loaded.records("log").expect_err("the first shard is taken").to_string();
    assert!(refused.contains("shard 0 of the records `log`"), "{refused}");
    drop(first);
    drop(loaded.records("log").expect("all are free again"));
    let none = loaded.records_of_shards("log", all..all + 1).expect_err("there is none").to_string();
    assert!(none.contains("have the shards 0 to"), "{none}");
    let other = loaded.records("logs").expect_err("there are none").to_string();
    assert!(other.contains("no queue `logs`"), "{other}");
    let queue = loaded.receiver::<u64>("log").expect_err("it is no queue").to_string();
    assert!(!queue.is_empty());
    let mut queues = Queues::of(&open(Instructions::Tso).expect("it was compiled")).expect("it has queues");
    let refused = queues.set_capacity("log", 1 << 12).expect_err("too small for its largest").to_string();
    assert!(refused.contains("131072 at least"), "{refused}");
}

/// The producer of what an interrupt pushes, with the number of the CPU.
const CLOCK: u64 = 1 << 63;
/// How many records are to be interrupted while their producer has a lane, and how long to wait for them.
const ENOUGH: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(60);

/// `struct interrupts` of records.bpf.c.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
struct Interrupts {
    task: u64,
    has_lane: u64,
    interrupted: u64,
    has_had_lane: u64,
    number: u64,
    account: Push,
}

/// `struct stop` of records.bpf.c.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
struct Stop {
    producer: u64,
    from: u64,
    in_place: u64,
    status: i64,
    processor: u64,
}

/// What the interrupts of all CPUs have done until now.
fn interrupts(loaded: &Loaded) -> Interrupts {
    let map = loaded.object().maps().find(|map| map.name() == "interrupts").expect("it is declared");
    let each =
        map.lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY).expect("it can be read").expect("a value");
    each.iter().map(|bytes| arenaq::bytemuck::pod_read_unaligned::<Interrupts>(bytes)).fold(
        Interrupts::default(),
        |mut sum, here| {
            sum.interrupted += here.interrupted;
            sum.has_had_lane += here.has_had_lane;
            sum.account.count += here.account.count;
            sum.account.pushed += here.account.pushed;
            sum.account.nomem += here.account.nomem;
            sum.account.busy += here.account.busy;
            sum.account.other += here.account.other;
            sum
        },
    )
}

/// The records of producers that call themselves by a number, and number what they push.
#[derive(Default)]
struct Came(HashMap<u64, HashSet<u64>>);

impl Came {
    /// Fails if it has other bytes than its producer has written, or came before.
    fn take(&mut self, record: &Record<'_, Native>) {
        let mut words = record.words();
        let producer = words.next().expect("its producer");
        let number = words.next().expect("its number");
        assert_eq!(record.size() as u64, 16 + 8 * (number % 31), "record {number} of {producer:#x}");
        let first = producer.wrapping_add(number);
        let written = (0..).map(|index: u64| first.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        assert!(
            words.zip(written).all(|(is, should)| is == should),
            "the bytes of {number} of {producer:#x}"
        );
        assert_eq!(record.stamp(), number);
        assert!(self.0.entry(producer).or_default().insert(number), "{number} of {producer:#x} comes again");
    }

    fn of(&self, is_meant: impl Fn(u64) -> bool) -> u64 {
        self.0
            .iter()
            .filter(|(producer, _)| is_meant(**producer))
            .map(|(_, numbers)| numbers.len() as u64)
            .sum()
    }
}

/// Two threads push until enough of their records were interrupted by programs that push too. Everything is accounted for.
fn assert_interrupts_lose_nothing(instructions: Instructions, interrupt: Interrupt) -> Result<(), String> {
    let loaded = load(instructions, &["interrupted", "on_clock"]);
    let mut nested = loaded.records("nested").expect("nobody else consumes");
    let links = clock::attach(loaded.object(), interrupt).map_err(|error| error.to_string())?;
    let begin = Instant::now();
    let enough = || interrupts(&loaded).has_had_lane >= ENOUGH || begin.elapsed() > PATIENCE;
    let ended = AtomicBool::new(false);
    let (came, pushed) = thread::scope(|scope| {
        let (loaded, enough, ended) = (&loaded, &enough, &ended);
        let consumer = scope.spawn(move || {
            let mut came = Came::default();
            loop {
                // Before the drain: what was there when the producers ended is drained after that.
                let no_more = ended.load(Ordering::Acquire);
                let drained = nested.drain(u64::MAX, |record| came.take(&record)).expect("it is not damaged");
                if no_more && drained == 0 {
                    return (came, nested.dropped());
                }
                thread::yield_now();
            }
        });
        let producers = [1, 2].map(|producer| {
            scope.spawn(move || {
                let mut sum = Push::default();
                while !enough() {
                    let mut context =
                        Push { first: producer, count: 2048, size: sum.count, ..Push::default() };
                    program::run(loaded.object(), "interrupted", &mut context).expect("the program runs");
                    let done = context.pushed + context.nomem + context.busy + context.other;
                    sum.count += done;
                    sum.pushed += context.pushed;
                    sum.nomem += context.nomem;
                    sum.busy += context.busy;
                    sum.other += context.other;
                }
                sum
            })
        });
        let pushed = producers.map(|producer| producer.join().expect("it has ended"));
        drop(links);
        ended.store(true, Ordering::Release);
        (consumer.join().expect("each record is as it was pushed"), pushed)
    });
    let (came, dropped) = came;
    let name = instructions.name();
    let clock = interrupts(&loaded);
    let is_clock = |producer: u64| producer & CLOCK != 0;
    assert!(clock.has_had_lane >= ENOUGH, "{name}: {clock:?} within {PATIENCE:?}");
    assert_eq!(clock.account.count, clock.interrupted, "{name}: {clock:?}");
    assert_eq!(came.of(is_clock), clock.account.pushed, "{name}: {clock:?}");
    assert!(
        clock.account.pushed > clock.interrupted / 10,
        "{name}: the others found the lane full: {clock:?}"
    );
    for (producer, account) in (1..).zip(&pushed) {
        assert_eq!(came.of(|came| came == producer), account.pushed, "{name}: {account:?}");
    }
    let all = || pushed.iter().chain([&clock.account]);
    let failed: u64 = all().map(|account| account.nomem + account.busy).sum();
    assert_eq!((dropped.total(), all().map(|account| account.other).sum::<u64>()), (failed, 0), "{name}");
    // Two tasks and an interrupt are three, and there are four lanes.
    assert_eq!(dropped.contended, 0, "{name}: {dropped:?}");
    let records = loaded.arena().expect("it is not damaged").records("nested", Owner::ANONYMOUS);
    let records = records.expect("they are there");
    assert_eq!(records.owners().count(), 0, "{name}: every lane was given back");
    records.verify().expect("it is whole");
    Ok(())
}

#[test]
fn a_record_that_interrupts_a_record_on_its_cpu_loses_nothing() {
    let Some(_guard) = kernel("interrupted records") else { return };
    for instructions in objects() {
        assert_interrupts_lose_nothing(instructions, Interrupt::Timer).expect("every kernel has a timer");
    }
}

#[test]
fn a_record_from_an_interrupt_that_nothing_keeps_away_loses_nothing() {
    let Some(_guard) = kernel("records from an NMI") else { return };
    for instructions in objects() {
        if let Err(why) = assert_interrupts_lose_nothing(instructions, Interrupt::Cycles) {
            // No reason to fail, also where tests must not be skipped: the machine has none.
            let note = "no counter of the processor's cycles, whose interrupts are NMIs on x86-64";
            let _ = writeln!(std::io::stderr().lock(), "NOT TRIED, records from an NMI: {note}: {why}");
            return;
        }
    }
}

/// The processors that this process may use.
fn processors() -> Vec<usize> {
    let all = sched_getaffinity(None).expect("it is known");
    (0..CpuSet::MAX_CPU).filter(|processor| all.is_set(*processor)).collect()
}

fn stay_on(processor: usize) {
    let mut only = CpuSet::new();
    only.set(processor);
    sched_setaffinity(None, &only).expect("it may be used");
}

/// On a thread that stays on a processor.
fn on<R: Send>(processor: usize, operation: impl FnOnce() -> R + Send) -> R {
    let pinned = || {
        stay_on(processor);
        operation()
    };
    thread::scope(|scope| scope.spawn(pinned).join().expect("it has ended"))
}

/// So many records of a producer, from a number on.
fn push_owned(loaded: &Loaded, producer: u64, first: u64, count: u64) -> Push {
    let mut context = Push { first: producer, count, size: first, ..Push::default() };
    program::run(loaded.object(), "interrupted", &mut context).expect("the program runs");
    context
}

/// Waits until something is as it will be.
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "{what} within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn producers_that_stop_inside_a_record_hold_up_nobody_but_their_own() {
    let Some(_guard) = kernel("stopped producers of records") else { return };
    let processors = processors();
    let here = processors[0];
    for instructions in objects() {
        let loaded = load(instructions, &["interrupted", "stopped"]);
        let held = match Held::new() {
            Ok(held) => held,
            Err(error) => return skip("stopped producers of records", &format!("userfaultfd: {error}")),
        };
        let mut nested = loaded.records("nested").expect("nobody else consumes");
        let records = loaded.arena().expect("it is not damaged").records("nested", Owner::ANONYMOUS);
        let records = records.expect("they are there");
        let drain = |nested: &mut RecordReceiver| {
            let mut came = Came::default();
            nested.drain(u64::MAX, |record| came.take(&record)).expect("it is not damaged");
            came.of(|_| true)
        };
        let stopped = thread::scope(|scope| {
            // Every second one in place.
            let stop = |producer: u64| {
                let (loaded, from) = (&loaded, held.address());
                scope.spawn(move || {
                    stay_on(here);
                    let mut context = Stop { producer, from, in_place: producer % 2, ..Stop::default() };
                    program::run(loaded.object(), "stopped", &mut context).expect("the program runs");
                    context
                })
            };
            let mut stopped: Vec<_> = (0..3).map(stop).collect();
            wait_for("three have lanes", || records.owners().count() == 3);
            // The fourth lane of the processor is enough for everybody who does not stop.
            let account = on(here, || push_owned(&loaded, 10, 0, 100));
            assert_eq!(account.pushed, 100, "{account:?}");
            assert_eq!(drain(&mut nested), 100);
            assert!(!nested.is_quiet());

            // Of three more one has the fourth lane, and two find all of them taken.
            stopped.extend((3..6).map(stop));
            wait_for("two are refused", || stopped.iter().filter(|thread| thread.is_finished()).count() == 2);
            assert_eq!(records.owners().map(|(shard, ..)| shard).collect::<Vec<_>>(), [here; 4]);
            let account = on(here, || push_owned(&loaded, 11, 0, 10));
            assert_eq!((account.pushed, account.nomem + account.busy), (0, 10), "{account:?}");
            assert_eq!(nested.dropped().contended, 2 + 10);
            for (producer, other) in (20..).zip(processors.iter().filter(|other| **other != here)) {
                let account = on(*other, || push_owned(&loaded, producer, 0, 100));
                assert_eq!(account.pushed, 100, "{account:?}");
            }
            assert_eq!(drain(&mut nested), 100 * (processors.len() as u64 - 1));

            held.give(0x5eed).expect("four wait for it");
            stopped.into_iter().map(|thread| thread.join().expect("it has ended")).collect::<Vec<_>>()
        });
        let of_status = |status: Status| {
            stopped
                .iter()
                .filter(move |stop| stop.status == i64::from(status.code()))
                .map(|stop| stop.producer)
        };
        assert_eq!(
            (of_status(Status::Success).count(), of_status(Status::Busy).count()),
            (4, 2),
            "{stopped:?}"
        );
        let mut came = Vec::new();
        let take = |record: Record<'_, Native>| came.push(record.words().collect::<Vec<_>>());
        nested.drain(u64::MAX, take).expect("it is not damaged");
        came.sort_unstable();
        let expected: Vec<_> = of_status(Status::Success).map(|producer| vec![producer, 1, 0x5eed]).collect();
        assert_eq!(came, expected);
        assert_eq!(on(here, || push_owned(&loaded, 12, 0, 100)).pushed, 100);
        assert_eq!(drain(&mut nested), 100);
        assert_eq!((nested.dropped().total(), records.owners().count()), (12, 0));
    }
}

/// The first of the producers that a migrating task is, one on each processor.
const MIGRATING: u64 = 1000;

#[test]
fn a_task_that_migrates_between_reserve_and_commit_keeps_its_lane() {
    let Some(_guard) = kernel("producers of records that migrate") else { return };
    let processors = processors();
    for instructions in objects() {
        let loaded = load(instructions, &["interrupted"]);
        let mut nested = loaded.records("nested").expect("nobody else consumes");
        let arena = loaded.arena().expect("it is not damaged");
        let records = arena.records("nested", Owner::ANONYMOUS).expect("they are there");
        let mut came = Came::default();
        let (rounds, each) = (50, processors.len() as u64);
        for round in 0..rounds {
            // A record of userspace, which is left open while its task moves over all processors, and pushes on each.
            let mut open = records.reserve(16).expect("there is room");
            on(processors[0], || {
                open.write(0, 100);
                for (index, processor) in (0..).zip(&processors) {
                    stay_on(*processor);
                    let account = push_owned(&loaded, MIGRATING + index, 10 * round, 10);
                    assert_eq!(account.pushed, 10, "{account:?}");
                    // Records of these numbers have no words behind them.
                    let number = 31 * (each * round + index);
                    let record = [200, number].map(u64::to_ne_bytes).concat();
                    records.push(&record, number).expect("another lane");
                }
                open.write(1, 31 * round);
                open.commit(31 * round);
            });
            nested.drain(u64::MAX, |record| came.take(&record)).expect("it is not damaged");
        }
        let of = |producers: Range<u64>| came.of(|producer| producers.contains(&producer));
        let migrating = of(MIGRATING..MIGRATING + each);
        assert_eq!((of(100..101), of(200..201), migrating), (rounds, rounds * each, 10 * rounds * each));
        assert_eq!((nested.dropped().total(), records.owners().count()), (0, 0));
    }
}

#[test]
fn one_record_costs_the_verifier_less_than_a_thousand_instructions() {
    let Some(_guard) = kernel("costs of a record") else { return };
    for instructions in objects() {
        for program in ["one_submit", "one_large_submit", "one_commit"] {
            match verifier::load_alone(|| open(instructions), program) {
                verifier::Outcome::Accepted { verified_instructions, .. } => {
                    println!("{} {program}: {verified_instructions}", instructions.name());
                    assert!(
                        verified_instructions < 1000,
                        "{} {program}: {verified_instructions}",
                        instructions.name()
                    );
                }
                verifier::Outcome::Refused { error } => panic!("{} {program}: {error}", instructions.name()),
            }
        }
    }
}

#[test]
fn what_arenaq_pin_has_pinned_as_records_is_consumed_as_those_of_any_program() {
    let Some(_guard) = kernel_with(Hook::Exec, "pinned records of the command") else { return };
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("records");
    let shown = folder.to_str().expect("it is text");
    let mut shell = Command::new("sh")
        .args(["-c", "read line; i=0; while [ $i -lt 20 ]; do /bin/true; i=$((i + 1)); done"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell");
    let pin = ["pin", shown, "--queue", "records", "--hook", "exec", "--trace", &shell.id().to_string()];
    let pinned = Outcome::of(&mut arenaq(&pin));
    assert_eq!(pinned.code, Some(0), "{pinned:?}");
    assert!(pinned.stdout.ends_with(": records of 1048576 bytes a processor, hook exec\n"), "{pinned:?}");
    drop(shell.stdin.take());
    assert!(shell.wait().expect("our child").success());

    let outcome = Outcome::of(&mut arenaq(&["consume", shown, "--json", "--until-empty"]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let mut lines: Vec<Value> =
        outcome.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let account = lines.pop().expect("the account");
    assert_eq!(lines.len(), 20, "{outcome:?}");
    assert!(lines.iter().all(|line| number(&line["element"], "task") > 0), "{outcome:?}");
    assert_eq!(number(&account["account"][0], "consumed"), 20, "{account}");
}

#[test]
fn a_receiver_from_before_the_pin_has_the_right_to_consume_until_it_is_dropped() {
    let Some(_guard) = kernel("records that are pinned while they are consumed") else { return };
    let loaded = load(objects()[0], &["submit"]);
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("records");
    let shown = folder.to_str().expect("it is text");
    let consume = |more: &[&str]| {
        let arguments = [&["consume", shown, "--json", "--queue", "log", "--until-empty"], more].concat();
        Outcome::within(Duration::from_secs(60), &mut arenaq(&arguments))
    };
    let mut log = loaded.records("log").expect("nobody else consumes");
    loaded.pin(&folder, &[]).expect("the receiver gets the lock");
    assert_eq!(push(&loaded, "submit", 0, 10, 64).pushed, 10);
    let refused = consume(&[]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(3), ""), "{refused:?}");
    assert!(refused.stderr.contains("pinned records have one consumer"), "{refused:?}");
    assert_eq!(log.drain(4, |_| ()).expect("it is not damaged"), 4);
    drop(log);

    let next = consume(&["--events", "3"]);
    assert_eq!((next.code, next.stdout.lines().count()), (Some(0), 4), "{next:?}");
    // This process takes part again, under the same lock.
    let mut log = loaded.records("log").expect("the other one has ended");
    assert_eq!(consume(&[]).code, Some(3));
    assert_eq!(log.drain(1, |_| ()).expect("it is not damaged"), 1);
    drop(log);
    let last = consume(&[]);
    assert_eq!(last.code, Some(0), "{last:?}");
    let account: Value =
        serde_json::from_str(last.stdout.lines().last().expect("the account")).expect("JSON");
    let account = &account["account"][0];
    assert_eq!((number(account, "consumed"), number(account, "consumed_by_all")), (2, 10), "{account}");
}

#[test]
fn records_that_somebody_consumes_without_the_lock_are_not_pinned_and_pinned_ones_are_not_consumed_so() {
    let Some(_guard) = kernel("records without the lock") else { return };
    let loaded = load(objects()[0], &[]);
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("records");
    let arena = loaded.arena().expect("it is not damaged");
    let log = arena.records("log", Owner::ANONYMOUS).expect("they are there");
    let consumer = log.consumer(0).expect("it is free");
    let refused = loaded.pin(&folder, &[]).expect_err("a consumer that has no lock").to_string();
    assert!(refused.contains("shard 0 of the records `log`: another one"), "{refused}");
    assert!(!folder.exists(), "nothing stays pinned");
    drop(consumer);
    drop(loaded.records("log").expect("nobody has it"));
    loaded.pin(&folder, &[]).expect("nobody consumes");
    let taken = log.consumer(0).expect_err("the lock has it").owner;
    assert_eq!(taken, Owner::LOCK.get().get());
}
