//! Those who push records and those who consume them are killed, in the middle of one mostly.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::num::NonZero;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use arenaq::PushError;
use arenaq::arena::Owner;
use arenaq_libbpf::pinned::{Pinned, Wait};

use super::support::bpffs::{Bpffs, text};
use super::support::{Outcome, arenaq, churn, kernel, number, objects};
use super::{PATIENCE, Push, assert_is, load, push, size_of, word_of};

/// The environment variables by which a child knows where the records are pinned, which producer it is, and where to write.
const FOLDER: &str = "ARENAQ_TEST_FOLDER";
const PRODUCER: &str = "ARENAQ_TEST_PRODUCER";
const REPORT: &str = "ARENAQ_TEST_REPORT";
/// A record's number has that of its producer above these bits.
const PRODUCER_BITS: u32 = 40;

/// A process that runs one of the tests below, and is killed.
struct Victim {
    child: Child,
    report: PathBuf,
    producer: u64,
    dies: Instant,
}

impl Victim {
    fn start(test: &str, folder: &Path, reports: &Path, producer: u64, lives: Range<u64>) -> Victim {
        let report = reports.join(format!("{}-{producer}", test.replace(":", "-")));
        let child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", test, "--ignored", "--nocapture"])
            .env(FOLDER, folder)
            .env(PRODUCER, producer.to_string())
            .env(REPORT, &report)
            .stdout(Stdio::null())
            .spawn()
            .expect("the child starts");
        let dies = Instant::now() + Duration::from_millis(fastrand::u64(lives));
        Victim { child, report, producer, dies }
    }

    /// Kills it, and returns what it has reported.
    fn kill(mut self) -> Vec<u64> {
        self.child.kill().expect("it is ours");
        let status = self.child.wait().expect("it is ours");
        assert_eq!(status.signal(), Some(9), "it has ended by itself: {status}");
        let report = fs::read(&self.report).unwrap_or_default();
        let _ = fs::remove_file(&self.report);
        report.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word)).collect()
    }
}

/// Where and what a child is; `None` if it is none.
fn victim() -> Option<(PathBuf, u64, File)> {
    let folder = std::env::var_os(FOLDER)?;
    let producer = std::env::var(PRODUCER).ok()?.parse().expect("a number");
    let report = File::create(std::env::var_os(REPORT)?).expect("a file to report in");
    Some((folder.into(), producer, report))
}

/// Pushes until it is killed, most probably in the middle of a record. It reports how many it has pushed: those before that
/// number, and maybe that one.
#[test]
#[ignore = "run by the test after it"]
fn victim_that_pushes_records() {
    let Some((folder, producer, report)) = victim() else { return };
    let pinned = Pinned::attach(&folder).expect("it was pinned");
    let us = NonZero::new(std::process::id()).expect("a process has an id");
    let arena = pinned.arena().expect("it is not damaged");
    let records = arena.records("log", Owner::process(us)).expect("they are there");
    for pushed in 0.. {
        report.write_all_at(&u64::to_ne_bytes(pushed), 0).expect("it can be written");
        let number = producer << PRODUCER_BITS | pushed;
        let mut reservation = loop {
            // Who waits for room drops nothing.
            match records.lane().and_then(|lane| lane.reserve(size_of(number))) {
                Ok(reservation) => break reservation,
                Err(PushError::Full | PushError::Contended) => thread::sleep(Duration::from_micros(200)),
                Err(error) => panic!("{error}"),
            }
        };
        for index in 0..reservation.size().div_ceil(8) {
            reservation.write(index as usize, word_of(number, index));
        }
        if number.is_multiple_of(16) {
            thread::sleep(Duration::from_millis(2));
        }
        reservation.commit(number);
    }
}

/// Consumes until it is killed. It reports the number of each record, before the record leaves.
#[test]
#[ignore = "run by the test after it"]
fn victim_that_consumes_records() {
    let Some((folder, _, mut report)) = victim() else { return };
    let pinned = Pinned::attach(&folder).expect("it was pinned");
    let interrupted = AtomicBool::new(false);
    let wait = Wait { longest: Duration::from_secs(60), interrupted: &interrupted };
    let mut log = pinned.records_within("log", wait).expect("the last one has died");
    loop {
        let drained = log.wait(Duration::from_secs(60), |record| {
            assert_is(&record, record.stamp(), size_of(record.stamp()));
            report.write_all(&record.stamp().to_ne_bytes()).expect("it can be written");
        });
        drained.expect("they are not damaged");
    }
}

/// How often each record came, by its producer.
#[derive(Default)]
struct Census(HashMap<u64, Vec<u8>>);

impl Census {
    fn add(&mut self, numbers: &[u64]) {
        for number in numbers {
            let times = self.0.entry(number >> PRODUCER_BITS).or_default();
            let index = (number & ((1 << PRODUCER_BITS) - 1)) as usize;
            if times.len() <= index {
                times.resize(index + 1, 0);
            }
            times[index] += 1;
        }
    }

    /// How many different records of a producer came, and which number the last of them has.
    fn of(&self, producer: u64) -> (u64, Option<u64>) {
        let times = self.0.get(&producer).map_or(&[][..], |times| times.as_slice());
        (times.iter().filter(|times| **times > 0).count() as u64, (times.len() as u64).checked_sub(1))
    }

    fn again(&self) -> u64 {
        self.0.values().flatten().map(|times| u64::from(times.saturating_sub(1))).sum()
    }

    fn different(&self) -> u64 {
        self.0.values().flatten().filter(|times| **times > 0).count() as u64
    }
}

/// Programs push, and processes, which are killed, most often between reserve and commit; consumers take over from those that
/// are killed. `cargo xtask churn` does it for longer.
#[test]
fn every_record_comes_through_kills_of_producers_and_consumers_and_repair_gives_their_lanes_back() {
    const PROGRAMS: u64 = 2;
    let Some(_guard) = kernel("kills of those who push and consume records") else { return };
    let loaded = load(objects()[0], &["submit"]);
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("records");
    loaded.pin(&folder, &[]).expect("the folder is new");
    let reports = tempfile::tempdir().expect("a folder for a while");
    let start_producer =
        |number| Victim::start("kills::victim_that_pushes_records", &folder, reports.path(), number, 50..300);
    let start_consumer = |number| {
        Victim::start("kills::victim_that_consumes_records", &folder, reports.path(), number, 50..500)
    };

    let end = Instant::now() + churn::duration();
    let (mut census, mut pushed) = (Census::default(), HashMap::new());
    let (mut deaths, repaired, mut again_at_most) = (0, Cell::new(0), HashSet::new());
    let programs: Vec<Push> = thread::scope(|scope| {
        let programs: Vec<_> = (0..PROGRAMS)
            .map(|producer| {
                let loaded = &loaded;
                scope.spawn(move || {
                    let mut all = Push::default();
                    while Instant::now() < end {
                        let next = producer << PRODUCER_BITS | all.count;
                        let account = push(loaded, "submit", next, 16, 0);
                        all.count += 16;
                        all.pushed += account.pushed;
                        all.nomem += account.nomem;
                        all.busy += account.busy;
                        thread::sleep(Duration::from_micros(fastrand::u64(0..2000)));
                    }
                    all
                })
            })
            .collect();
        let arena = loaded.arena().expect("it is not damaged");
        let records = arena.records("log", Owner::ANONYMOUS).expect("they are there");
        let mut bury = |victim: Victim| {
            let (producer, dead) = (victim.producer, u64::from(victim.child.id()));
            let report = victim.kill();
            pushed.insert(producer, report.first().copied().unwrap_or(0));
            // SAFETY: it has ended, and of those who have lanes by the id of a process, our producers, none was started since.
            // Nobody else repairs.
            repaired.update(|lanes| lanes + unsafe { records.repair(|owner| owner.get() == dead) });
            assert!(records.owners().all(|(_, _, owner)| owner.get() != dead), "its lane is given back");
        };
        let mut take_over = |victim: Victim| {
            let report = victim.kill();
            census.add(&report);
            again_at_most.extend(report.last().copied());
            deaths += 1;
        };
        let mut next = PROGRAMS;
        let mut consumer = start_consumer(0);
        let mut producers: Vec<Victim> = Vec::new();
        // A producer has a lane for moments only: on a slow machine it takes longer until one is killed in them.
        while Instant::now() < end || (repaired.get() == 0 && Instant::now() < end + PATIENCE) {
            while producers.len() < 3 {
                producers.push(start_producer(next));
                next += 1;
            }
            thread::sleep(Duration::from_millis(5));
            let now = Instant::now();
            for victim in producers.extract_if(.., |victim| victim.dies <= now) {
                bury(victim);
            }
            if consumer.dies <= now {
                take_over(consumer);
                consumer = start_consumer(0);
            }
        }
        producers.into_iter().for_each(&mut bury);
        take_over(consumer);
        programs.into_iter().map(|program| program.join().expect("it ends")).collect()
    });

    let mut last = Vec::new();
    let mut log = loaded.records("log").expect("the last consumer has died");
    log.drain(u64::MAX, |record| {
        assert_is(&record, record.stamp(), size_of(record.stamp()));
        last.push(record.stamp());
    })
    .expect("they are not damaged");
    census.add(&last);
    assert!(log.is_quiet(), "every lane is free: {:?}", log.dropped());

    for (producer, program) in (0..).zip(&programs) {
        assert_eq!(census.of(producer).0, program.pushed, "of program {producer}: {program:?}");
    }
    for (&producer, &pushed) in &pushed {
        // The last one may have been published, and not yet reported, when its producer was killed.
        let (different, last) = census.of(producer);
        assert!(different == pushed || different == pushed + 1, "of {producer}: {different} of {pushed}");
        assert_eq!(last.map_or(0, |last| last + 1), different, "of {producer}: one is missing in between");
    }
    let dropped: u64 = programs.iter().map(|program| program.nomem + program.busy).sum();
    assert_eq!(log.dropped().total(), dropped, "{:?}", log.dropped());
    // What a consumer had in its hands when it was killed comes again, and nothing else does.
    let again = census.again();
    assert!(again <= again_at_most.len() as u64, "{again} came again, after {deaths} deaths");
    // As it has one itself, this process cannot map the pinned arena: another one says what all have counted.
    drop(log);
    let consume = ["consume", text(&folder), "--queue", "log", "--until-empty", "--json"];
    let account = Outcome::of(&mut arenaq(&consume)).json()["account"][0].clone();
    assert_eq!(number(&account, "consumed_by_all"), census.different(), "{account}");
    let repaired = repaired.get();
    assert!(repaired > 0 && deaths > 0, "{repaired} lanes were repaired, {deaths} consumers died");
    println!(
        "{} records of 0 to 4096 bytes: {} programs, {} processes that were killed, {repaired} of them with a lane; {dropped} \
         dropped; {deaths} consumers were killed, and {again} records came again",
        census.different(),
        programs.len(),
        pushed.len()
    );
}
