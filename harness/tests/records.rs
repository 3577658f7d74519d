//! Records of any size that programs push: bpf/tests/records.bpf.c.

mod support;

use std::ffi::CString;
use std::thread;
use std::time::Duration;

use arenaq::arena::Owner;
use arenaq::bytemuck::{Pod, Zeroable};
use arenaq::platform::Native;
use arenaq::records::Record;
use arenaq_harness::{Instructions, verifier};
use arenaq_libbpf::{Loaded, Queues, program};
use libbpf_rs::{ObjectBuilder, OpenObject};
use serde_json::Value;
use support::bpffs::Bpffs;
use support::{Outcome, arenaq, kernel, number, objects};

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

fn load(instructions: Instructions) -> Loaded {
    let open = open(instructions).expect("it was compiled");
    Loaded::load(open).unwrap_or_else(|error| panic!("{}: {error}", instructions.name()))
}

/// The size of the record of that number, where each has another one.
fn size_of(number: u64) -> u64 {
    number.wrapping_mul(2_654_435_761) % 4097
}

/// Fails if it is not the record of that number, of that size.
fn assert_is(record: &Record<'_, Native>, number: u64, size: u64) {
    assert_eq!(record.size() as u64, size, "record {number}");
    let mut bytes = Vec::new();
    record.copy_to(&mut bytes);
    let words = (0..).map(|index: u64| number.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
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
fn every_byte_of_a_record_of_any_size_comes_from_the_kernel() {
    let Some(_guard) = kernel("records from the kernel") else { return };
    for instructions in objects() {
        let loaded = load(instructions);
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
        let loaded = load(instructions);
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
        let loaded = load(instructions);
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
        let loaded = load(instructions);
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
    let loaded = load(objects()[0]);
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
fn each_shard_has_one_consumer() {
    let Some(_guard) = kernel("consumers of shards") else { return };
    let loaded = load(objects()[0]);
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
fn a_receiver_from_before_the_pin_has_the_right_to_consume_until_it_is_dropped() {
    let Some(_guard) = kernel("records that are pinned while they are consumed") else { return };
    let loaded = load(objects()[0]);
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
    assert!(refused.stderr.contains("has one consumer, as pinned records have"), "{refused:?}");
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
    let loaded = load(objects()[0]);
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
