//! What is measured, and for how long.

mod kernel;
mod opens;
mod way;

use std::time::Duration;

use clap::ValueEnum;

use self::way::Way;
use crate::child::Job;
use crate::kernel::deliver::Refused;
use crate::kernel::{Size, object};
use crate::limits::Limit;
use crate::machine::Machine;
use crate::results::{Group, Results, Role, Skipped, Unit};
use crate::rounds::{Candidate, Metric, Progress, measure};
use crate::user::{Shape, Work, contenders};

/// A part of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// What the machine allows.
    Limits,
    /// The queues of userspace.
    User,
    /// From BPF to userspace, and back.
    Kernel,
    /// Every file that is opened, told by a program behind the system call.
    Opens,
    /// How cost grows with producers and with capacity.
    Growth,
}

impl Part {
    /// All.
    pub const ALL: [Part; 5] = [Part::Limits, Part::User, Part::Kernel, Part::Opens, Part::Growth];
}

/// How long everything takes.
#[derive(Clone, Copy, Debug)]
struct Effort {
    rounds: usize,
    /// One run of a queue of userspace.
    user: Duration,
    /// One run with a consumer.
    deliver: Duration,
    /// One run at one event a millisecond.
    latency: Duration,
    /// How many batches one run of pushes alone has.
    batches: usize,
    /// How many files one run opens.
    opens: u64,
    /// The rounds of opens. The call takes a hundred times as long as what is measured, and differs more from one moment to the next:
    /// a small difference is not seen by few long runs, but by many short ones that follow each other.
    opens_rounds: usize,
}

impl Effort {
    const FULL: Effort = Effort {
        rounds: 15,
        user: Duration::from_millis(40),
        deliver: Duration::from_millis(150),
        latency: Duration::from_secs(1),
        batches: 40,
        opens: 20_000,
        opens_rounds: 150,
    };
    const QUICK: Effort = Effort {
        rounds: 3,
        user: Duration::from_millis(10),
        deliver: Duration::from_millis(40),
        latency: Duration::from_millis(200),
        batches: 10,
        opens: 20_000,
        opens_rounds: 3,
    };
}

/// The threads of userspace.
const SHAPES: [Shape; 8] = [
    Shape::Uncontended,
    Shape::Bursts,
    Shape::transfer(1, 1),
    Shape::Transfer { producers: 1, consumers: 1, bursts: true },
    Shape::transfer(2, 1),
    Shape::transfer(2, 2),
    Shape::transfer(4, 1),
    Shape::transfer(4, 4),
];
/// How many elements a queue of userspace holds.
const CAPACITY: usize = 1024;
/// Producing threads, for one consumer.
pub const PRODUCERS: [usize; 8] = [1, 2, 3, 4, 6, 8, 12, 16];
/// Elements that a queue of userspace holds.
pub const CAPACITIES: [usize; 9] = [16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576];
/// Who takes part where cost grows.
const GROWING: [&str; 8] = [
    "mpmc",
    "mpmc-uncounted",
    "mpsc",
    "records",
    "crossbeam-array",
    "crossbeam-seg",
    "concurrent-queue-bounded",
    "std-mpsc",
];

const NS: &[Metric] = &[Metric { suffix: None, unit: Unit::Nanoseconds }];

/// Measures parts of the whole, all of it in turns.
pub fn run(parts: &[Part], quick: bool) -> Results {
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    let machine = Machine::here();
    let rounds = parts.iter().map(|part| part.groups() * part.rounds(effort)).sum();
    let mut session = Session {
        effort,
        rounds: effort.rounds,
        progress: Progress::new(rounds),
        groups: Vec::new(),
        skipped: Vec::new(),
    };
    for part in parts {
        session.rounds = part.rounds(effort);
        match part {
            Part::Limits => session.limits(),
            Part::User => session.user(),
            Part::Kernel => session.kernel(),
            Part::Opens => session.opens(),
            Part::Growth => session.growth(),
        }
    }
    Results { machine, quick, groups: session.groups, skipped: session.skipped }
}

impl Part {
    /// How many groups of candidates the progress counts.
    fn groups(self) -> usize {
        match self {
            Part::Limits => 1,
            Part::User => SHAPES.len() * contenders::PAYLOADS.len(),
            Part::Kernel => kernel::GROUPS,
            Part::Opens => opens::THREADS.len(),
            Part::Growth => 2 * PRODUCERS.len() + CAPACITIES.len(),
        }
    }

    /// How many rounds each of them has.
    fn rounds(self, effort: Effort) -> usize {
        if self == Part::Opens { effort.opens_rounds } else { effort.rounds }
    }
}

struct Session {
    effort: Effort,
    /// Of each group of the part that is measured.
    rounds: usize,
    progress: Progress,
    groups: Vec<Group>,
    skipped: Vec<Skipped>,
}

impl Session {
    fn measure(
        &mut self,
        name: &str,
        limit: Option<&str>,
        metrics: &[Metric],
        candidates: Vec<Candidate<'_>>,
    ) {
        self.groups.extend(measure(name, limit, metrics, candidates, self.rounds, || None, &self.progress));
    }

    /// [`measure`](Self::measure), for threads on several CPUs.
    fn measure_across(
        &mut self,
        name: &str,
        limit: Option<&str>,
        metrics: &[Metric],
        candidates: Vec<Candidate<'_>>,
    ) {
        let transfer = || Limit::LineTransfer.run(Duration::from_millis(3)).ok();
        self.groups.extend(measure(name, limit, metrics, candidates, self.rounds, transfer, &self.progress));
    }

    fn skip(&mut self, what: &str, why: &anyhow::Error, groups: usize) {
        self.progress.say(&format!("!! SKIPPED: {what}: {why:#}"));
        self.skipped.push(Skipped { what: what.to_owned(), why: format!("{why:#}") });
        self.progress.skip(groups * self.rounds);
    }

    fn limits(&mut self) {
        let candidates = Limit::ALL.map(|limit| limit_candidate(limit, self.effort));
        self.measure("limits", None, NS, candidates.into());
    }

    fn user(&mut self) {
        for shape in SHAPES {
            for payload in contenders::PAYLOADS {
                let work = Work { shape, capacity: CAPACITY, duration: self.effort.user };
                self.user_group(&format!("user.{shape}.{payload}"), payload, work, |_| true);
            }
        }
    }

    fn user_group(&mut self, name: &str, payload: usize, work: Work, wanted: impl Fn(&str) -> bool) {
        let limit = if work.shape.crosses() { Limit::LineTransfer } else { Limit::LockedRmw };
        let mut candidates = vec![limit_candidate(limit, self.effort)];
        for contender in contenders::ALL {
            if contender.can(work.shape, work.capacity) && wanted(contender.name) {
                let job = Job::contender(contender.name, payload, work);
                candidates.push(Candidate::new(contender.name, contender.role, move || {
                    Ok(vec![job.run_in_child()?])
                }));
            }
        }
        self.measure(name, Some(limit.name()), NS, candidates);
    }

    fn growth(&mut self) {
        for producers in PRODUCERS {
            let shape = Shape::transfer(producers, 1);
            let work = Work { shape, capacity: CAPACITY, duration: self.effort.user };
            self.user_group(&format!("growth.producers.{producers}"), 16, work, |name| {
                GROWING.contains(&name)
            });
        }
        for capacity in CAPACITIES {
            let work = Work { shape: Shape::Fill, capacity, duration: self.effort.user };
            self.user_group(&format!("growth.capacity.{capacity}"), 16, work, |name| GROWING.contains(&name));
        }
        if let Err(why) = object::probe() {
            self.skip("growth over producers in BPF", &why, PRODUCERS.len());
            return;
        }
        for producers in PRODUCERS {
            let name = format!("growth.bpf-producers.{producers}");
            self.throughput(&name, Size::Bytes(16), Way::growing(), producers, Refused::Wait);
        }
    }
}

fn limit_candidate(limit: Limit, effort: Effort) -> Candidate<'static> {
    let job = Job::limit(limit, effort.user / 2);
    Candidate::new(limit.name(), Role::Limit, move || Ok(vec![job.run_in_child()?]))
}
