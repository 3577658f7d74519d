//! A task whose program is in the middle of a record loses its processor to another task, whose program pushes a record too:
//! bpf/tests/preempted.bpf.c.

mod support;

use std::collections::HashSet;
use std::hint::black_box;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arenaq::bytemuck::{Pod, Zeroable, bytes_of, pod_read_unaligned};
use arenaq_harness::Instructions;
use arenaq_libbpf::program::{self, UprobeTarget};
use arenaq_libbpf::{Loaded, RecordReceiver};
use libbpf_rs::{MapCore, MapFlags, ObjectBuilder};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use support::held::Held;
use support::{kernel, objects, skip};

/// How often one task is to find the other in the middle of a record, and how long to wait for it.
const ENOUGH: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(60);

const WORDS: usize = 30;

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
struct Producer {
    count: u64,
    pushed: u64,
    nomem: u64,
    busy: u64,
    other: u64,
    inside: u64,
}

/// `struct shared` of preempted.bpf.c.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
struct Shared {
    owner: u64,
    producers: [Producer; 2],
    from: u64,
}

/// What the uprobe is on. The programs are told who calls.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_preempted_target(producer: u64) -> u64 {
    black_box(producer)
}

fn load(instructions: Instructions) -> Loaded {
    let object: &[u8] = match instructions {
        Instructions::AcquireRelease => include_bytes!(env!("ARENAQ_PREEMPTED_ACQUIRE_RELEASE")),
        Instructions::Tso => include_bytes!(env!("ARENAQ_PREEMPTED_TSO")),
        Instructions::FullBarrier => include_bytes!(env!("ARENAQ_PREEMPTED_FULL_BARRIER")),
    };
    let open = ObjectBuilder::default().open_memory(object).expect("it was compiled");
    Loaded::load(open).unwrap_or_else(|error| panic!("{}: {error}", instructions.name()))
}

fn attach(loaded: &Loaded, program: &str) -> libbpf_rs::Link {
    let function = "arenaq_preempted_target".to_owned();
    let target = UprobeTarget { binary: "/proc/self/exe".into(), function };
    program::attach(loaded.object(), program, &target).unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn with_shared<R>(loaded: &Loaded, look: impl FnOnce(&dyn Fn() -> Shared, &dyn Fn(&Shared)) -> R) -> R {
    let map = loaded.object().maps().find(|map| map.name() == "shared").expect("it is declared");
    let key = 0u32.to_ne_bytes();
    let get = || {
        let bytes = map.lookup(&key, MapFlags::ANY).expect("it can be read").expect("a value");
        pod_read_unaligned(&bytes)
    };
    let set = |shared: &Shared| map.update(&key, bytes_of(shared), MapFlags::ANY).expect("it can be written");
    look(&get, &set)
}

fn shared(loaded: &Loaded) -> Shared {
    with_shared(loaded, |get, _| get())
}

/// The first processor of those that this process may use, and this thread on it.
fn stay_on_one() {
    let all = sched_getaffinity(None).expect("it is known");
    let first = (0..CpuSet::MAX_CPU).find(|processor| all.is_set(*processor)).expect("there is one");
    let mut only = CpuSet::new();
    only.set(first);
    sched_setaffinity(None, &only).expect("it may be used");
}

/// Gives this thread the processor whenever it wants it.
fn goes_first() -> std::io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 10 };
    // SAFETY: the parameters are those of this thread, and are read only during the call.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Whether this kernel must take the processor from a task that is in the kernel, and how it says so: where the model is chosen at
/// boot, the chosen one is in brackets. Of a kernel that was built for one model alone nothing is demanded.
fn model() -> (bool, String) {
    match std::fs::read_to_string("/sys/kernel/debug/sched/preempt") {
        Ok(models) => {
            let preempts = ["(full)", "(lazy)"].iter().any(|model| models.contains(model));
            (preempts, models.trim().to_owned())
        }
        Err(_) => (false, rustix::system::uname().version().to_string_lossy().into_owned()),
    }
}

/// What came, by producer.
#[derive(Default)]
struct Came([HashSet<u64>; 2]);

fn drain(records: &mut RecordReceiver, came: &mut Came, first_word: Option<u64>) -> u64 {
    let take = |record: arenaq::records::Record<'_, arenaq::platform::Native>| {
        let words: Vec<u64> = record.words().collect();
        let [producer, number] = [words[0], words[1]];
        assert_eq!(words.len(), 2 + WORDS);
        for (place, word) in (0u64..).zip(&words[2..]) {
            let written = number.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let read = first_word.filter(|_| place == 0 && producer == 0);
            assert_eq!(*word, read.unwrap_or(written), "word {place} of {number} of {producer}");
        }
        let is_new = came.0[producer as usize].insert(number);
        assert!(is_new, "{number} of {producer} comes again");
    };
    records.drain(u64::MAX, take).expect("it is not damaged")
}

#[test]
fn a_record_whose_program_is_preempted_is_whole_and_so_is_that_of_who_preempts_it() {
    let Some(_guard) = kernel("preempted uprobes") else { return };
    let (preempts, model) = model();
    for instructions in objects() {
        for program in ["on_call", "on_call_sleepable"] {
            let loaded = load(instructions);
            let mut records = loaded.records("owned").expect("nobody else consumes");
            let link = attach(&loaded, program);
            let begin = Instant::now();
            // Another kernel is watched for a moment.
            let patience = if preempts { PATIENCE } else { Duration::from_secs(1) };
            let enough = || shared(&loaded).producers[1].inside >= ENOUGH || begin.elapsed() > patience;
            let ended = AtomicBool::new(false);
            let mut came = Came::default();
            let first = thread::scope(|scope| {
                let ended = &ended;
                let calls = scope.spawn(move || {
                    stay_on_one();
                    while !ended.load(Ordering::Relaxed) {
                        arenaq_preempted_target(0);
                    }
                });
                let preempting = scope.spawn(move || {
                    stay_on_one();
                    goes_first()?;
                    while !ended.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_micros(200));
                        arenaq_preempted_target(1);
                    }
                    Ok::<(), std::io::Error>(())
                });
                while !enough() && !preempting.is_finished() {
                    drain(&mut records, &mut came, None);
                    thread::sleep(Duration::from_millis(1));
                }
                ended.store(true, Ordering::Relaxed);
                calls.join().expect("it has ended");
                preempting.join().expect("it has ended")
            });
            drop(link);
            if let Err(error) = first {
                return skip("preempted uprobes", &format!("no real-time priority for a thread: {error}"));
            }
            drain(&mut records, &mut came, None);
            let Shared { producers, .. } = shared(&loaded);
            let what = format!("{} {program}, {model}: {producers:?}", instructions.name());
            for (producer, came) in producers.iter().zip(&came.0) {
                assert_eq!(came.len() as u64, producer.pushed, "{what}");
                // Two tasks are two lanes of four.
                assert_eq!((producer.busy, producer.other), (0, 0), "{what}");
                assert_eq!(producer.count, producer.pushed + producer.nomem, "{what}");
            }
            let failed = producers.iter().map(|producer| producer.nomem).sum::<u64>();
            assert_eq!(records.dropped().total(), failed, "{what}");
            assert!(records.is_quiet(), "every lane was given back: {what}");
            assert!(!preempts || producers[1].inside >= ENOUGH, "within {PATIENCE:?}: {what}");
            println!("{what}");
            if producers[1].inside < ENOUGH {
                // No reason to fail, also where tests must not be skipped: not every kernel does it.
                let note = format!("{} times, and the kernel's model is {model}", producers[1].inside);
                let _ = writeln!(std::io::stderr().lock(), "NOT SEEN, preempted uprobes: {note}");
            }
        }
    }
}

#[test]
fn a_program_that_sleeps_in_the_middle_of_a_record_holds_up_no_other() {
    let Some(_guard) = kernel("uprobes that sleep") else { return };
    for instructions in objects() {
        let held = match Held::new() {
            Ok(held) => held,
            Err(error) => return skip("uprobes that sleep", &format!("userfaultfd: {error}")),
        };
        let loaded = load(instructions);
        let mut records = loaded.records("owned").expect("nobody else consumes");
        let _link = attach(&loaded, "on_call_sleepable");
        with_shared(&loaded, |get, set| set(&Shared { from: held.address(), ..get() }));
        let mut came = Came::default();
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                stay_on_one();
                arenaq_preempted_target(0)
            });
            let begin = Instant::now();
            while shared(&loaded).owner != 1 {
                assert!(begin.elapsed() < PATIENCE, "it does not come to its record");
                thread::sleep(Duration::from_millis(1));
            }
            scope.spawn(|| {
                stay_on_one();
                for _ in 0..100 {
                    arenaq_preempted_target(1);
                }
            });
            let begin = Instant::now();
            while came.0[1].len() < 100 {
                assert!(begin.elapsed() < PATIENCE, "{:?}", shared(&loaded));
                drain(&mut records, &mut came, Some(0x5eed));
            }
            assert!(came.0[0].is_empty() && !sleeper.is_finished(), "it sleeps in its record");
            assert_eq!(shared(&loaded).producers[1].inside, 100);
            held.give(0x5eed).expect("one waits for it");
            sleeper.join().expect("it has ended");
        });
        drain(&mut records, &mut came, Some(0x5eed));
        assert_eq!((came.0[0].len(), came.0[1].len()), (1, 100));
        assert!(records.is_quiet(), "every lane was given back");
    }
}
