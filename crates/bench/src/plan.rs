//! What is measured, and for how long.

use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;

use crate::child::Job;
use crate::kernel::back::{Back, WayBack};
use crate::kernel::deliver::{self, Refused};
use crate::kernel::{Channel, Via, Waiting, object, push};
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
    /// How cost grows with producers and with capacity.
    Growth,
}

impl Part {
    /// All.
    pub const ALL: [Part; 4] = [Part::Limits, Part::User, Part::Kernel, Part::Growth];
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
}

impl Effort {
    const FULL: Effort = Effort {
        rounds: 15,
        user: Duration::from_millis(40),
        deliver: Duration::from_millis(150),
        latency: Duration::from_secs(1),
        batches: 40,
    };
    const QUICK: Effort = Effort {
        rounds: 3,
        user: Duration::from_millis(10),
        deliver: Duration::from_millis(40),
        latency: Duration::from_millis(200),
        batches: 10,
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
/// Bytes of an element on the way from BPF.
const KERNEL_PAYLOADS: [usize; 4] = [8, 16, 64, 256];
/// How many elements a way from BPF holds where somebody reads.
const KERNEL_CAPACITY: u32 = 1 << 16;
/// Producing threads, for one consumer.
pub const PRODUCERS: [usize; 8] = [1, 2, 3, 4, 6, 8, 12, 16];
/// Elements that a queue of userspace holds.
pub const CAPACITIES: [usize; 9] = [16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576];
/// Who takes part where cost grows.
const GROWING: [&str; 7] = [
    "mpmc",
    "mpmc-uncounted",
    "mpsc",
    "crossbeam-array",
    "crossbeam-seg",
    "concurrent-queue-bounded",
    "std-mpsc",
];

/// The flag of ring buffers.
const NO_WAKEUP: u32 = libbpf_sys::BPF_RB_NO_WAKEUP;
const FORCE_WAKEUP: u32 = libbpf_sys::BPF_RB_FORCE_WAKEUP;

const NS: &[Metric] = &[Metric { suffix: None, unit: Unit::Nanoseconds }];

/// Measures parts of the whole, all of it in turns.
pub fn run(parts: &[Part], quick: bool) -> Results {
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    let machine = Machine::here();
    let groups = parts.iter().map(|part| part.groups()).sum();
    let mut session = Session {
        effort,
        progress: Progress::new(groups, effort.rounds),
        groups: Vec::new(),
        skipped: Vec::new(),
    };
    for part in parts {
        match part {
            Part::Limits => session.limits(),
            Part::User => session.user(),
            Part::Kernel => session.kernel(),
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
            Part::Kernel => KERNEL_PAYLOADS.len() + 7,
            Part::Growth => 2 * PRODUCERS.len() + CAPACITIES.len(),
        }
    }
}

struct Session {
    effort: Effort,
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
        self.groups.extend(measure(name, limit, metrics, candidates, &self.progress));
    }

    fn skip(&mut self, what: &str, why: &anyhow::Error, groups: usize) {
        self.progress.say(&format!("!! SKIPPED: {what}: {why:#}"));
        self.skipped.push(Skipped { what: what.to_owned(), why: format!("{why:#}") });
        (0..groups).for_each(|_| self.progress.skip());
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
            self.throughput(&format!("growth.bpf-producers.{producers}"), producers, Refused::Wait);
        }
    }

    fn kernel(&mut self) {
        if let Err(why) = object::probe() {
            self.skip("everything in the kernel", &why, Part::Kernel.groups());
            return;
        }
        for payload in KERNEL_PAYLOADS {
            self.pushes_alone(payload);
        }
        self.pushes_contended();
        self.throughput("kernel.flood.1-1", 1, Refused::Lose);
        self.throughput("kernel.lossless.1-1", 1, Refused::Wait);
        self.throughput("kernel.lossless.2-1", 2, Refused::Wait);
        self.latency();
        self.idle();
        self.way_back();
    }

    /// Loads channels, of which each may fail by itself.
    fn channels(&mut self, group: &str, wanted: Vec<Wanted>, capacity: u32) -> Vec<(Wanted, Channel)> {
        let mut channels = Vec::new();
        for wanted in wanted {
            match Channel::load(wanted.via, wanted.payload, capacity) {
                Ok(channel) => channels.push((wanted, channel.with_flags(wanted.flags))),
                Err(why) => self.skip(&format!("{group}.{}", wanted.name()), &why, 0),
            }
        }
        channels
    }

    fn pushes_alone(&mut self, payload: usize) {
        let ways = [
            Via::EmptyLoop,
            Via::LockedRmw,
            Via::Mpmc,
            Via::Mpsc,
            Via::MpmcUncounted,
            Via::MpscUncounted,
            Via::MpmcTyped,
            Via::MpscTyped,
            Via::Records,
            Via::RecordsScratch,
            Via::MpmcNotify,
            Via::MpscNotify,
            Via::RingbufReserve,
            Via::RingbufOutput,
            Via::PerfOutput,
            Via::QueueMap,
        ];
        let mut wanted: Vec<Wanted> =
            ways.into_iter().filter(|via| via.carries(payload)).map(|via| Wanted::of(via, payload)).collect();
        wanted.push(Wanted {
            flags: NO_WAKEUP,
            suffix: "-no-wakeup",
            ..Wanted::of(Via::RingbufReserve, payload)
        });
        wanted.push(Wanted {
            flags: FORCE_WAKEUP,
            suffix: "-wakeup",
            ..Wanted::of(Via::RingbufReserve, payload)
        });
        let name = format!("kernel.push.{payload}");
        let channels = self.channels(&name, wanted, 2 * push::BATCH);
        let batches = self.effort.batches;
        let candidates = candidates(&channels, |_, channel| Ok(vec![push::alone(channel, batches)?]));
        self.measure(&name, Some(Via::LockedRmw.name()), NS, candidates);
    }

    fn pushes_contended(&mut self) {
        let ways = [
            Via::LockedRmw,
            Via::Mpmc,
            Via::Mpsc,
            Via::MpmcUncounted,
            Via::MpscUncounted,
            Via::MpmcTyped,
            Via::MpscTyped,
            Via::Records,
            Via::RecordsScratch,
            Via::RingbufReserve,
            Via::RingbufOutput,
            Via::QueueMap,
        ];
        let wanted = ways.into_iter().map(|via| Wanted::of(via, 16)).collect();
        let channels = self.channels("kernel.push-contended.16", wanted, 2 * push::BATCH);
        let batches = self.effort.batches;
        let candidates = candidates(&channels, |_, channel| Ok(vec![push::contended(channel, batches)?]));
        self.measure("kernel.push-contended.16", Some(Via::LockedRmw.name()), NS, candidates);
    }

    fn throughput(&mut self, name: &str, producers: usize, refused: Refused) {
        let channels = self.channels(name, delivering(), KERNEL_CAPACITY);
        let duration = self.effort.deliver;
        let candidates = candidates(&channels, |wanted, channel| {
            let delivered = deliver::throughput(channel, producers, wanted.waiting, refused, duration)?;
            Ok(vec![delivered.per_second, delivered.lost])
        });
        let metrics = [
            Metric { suffix: Some("rate"), unit: Unit::EventsPerSecond },
            Metric { suffix: Some("lost"), unit: Unit::Percent },
        ];
        // Who waits for room loses nothing.
        let metrics = if refused == Refused::Lose { &metrics[..] } else { &metrics[..1] };
        self.measure(name, None, metrics, candidates);
    }

    fn latency(&mut self) {
        let channels = self.channels("kernel.latency", waiting(), 1 << 12);
        let duration = self.effort.latency;
        let candidates = candidates(&channels, |wanted, channel| {
            let latency = deliver::latency(channel, wanted.waiting, duration)?;
            Ok(vec![latency.median, latency.p999])
        });
        let metrics = [
            Metric { suffix: Some("median"), unit: Unit::Microseconds },
            Metric { suffix: Some("p99.9"), unit: Unit::Microseconds },
        ];
        self.measure("kernel.latency", None, &metrics, candidates);
    }

    fn idle(&mut self) {
        let channels = self.channels("kernel.idle", waiting(), 1 << 12);
        let duration = self.effort.latency;
        let candidates = candidates(&channels, |wanted, channel| {
            Ok(vec![deliver::idle(channel, wanted.waiting, duration)?])
        });
        self.measure("kernel.idle", None, &[Metric { suffix: None, unit: Unit::Percent }], candidates);
    }

    fn way_back(&mut self) {
        let mut ways = Vec::new();
        for back in Back::ALL {
            match WayBack::load(back) {
                Ok(way) => ways.push((back, way)),
                Err(why) => self.skip(&format!("kernel.back.{}", back.name()), &why, 0),
            }
        }
        let batches = self.effort.batches;
        let candidates = ways
            .iter()
            .map(|(back, way)| {
                Candidate::new(back.name(), back.role(), move || {
                    let times = way.measure(batches).context("the way back")?;
                    Ok(vec![times.push, times.pop])
                })
            })
            .collect();
        let metrics = [
            Metric { suffix: Some("push"), unit: Unit::Nanoseconds },
            Metric { suffix: Some("pop"), unit: Unit::Nanoseconds },
        ];
        self.measure("kernel.back", None, &metrics, candidates);
    }
}

fn limit_candidate(limit: Limit, effort: Effort) -> Candidate<'static> {
    let job = Job::limit(limit, effort.user / 2);
    Candidate::new(limit.name(), Role::Limit, move || Ok(vec![job.run_in_child()?]))
}

/// A channel, and how it is used.
#[derive(Clone, Copy)]
struct Wanted {
    via: Via,
    payload: usize,
    flags: u32,
    waiting: Waiting,
    suffix: &'static str,
}

impl Wanted {
    fn of(via: Via, payload: usize) -> Wanted {
        Wanted { via, payload, flags: 0, waiting: Waiting::Spin, suffix: "" }
    }

    fn name(self) -> String {
        format!("{}{}", self.via.name(), self.suffix)
    }
}

/// Consumers that work all the time. Ours back off when they find less than a batch; the ring buffer's looks again
/// at once, as one written with libbpf does, and in a run of its own backs off like ours.
fn delivering() -> Vec<Wanted> {
    let backing_off = |via| Wanted { waiting: Waiting::BackOff, ..Wanted::of(via, 16) };
    let silent = |via| Wanted { flags: NO_WAKEUP, suffix: "-no-wakeup", ..Wanted::of(via, 16) };
    vec![
        backing_off(Via::Mpmc),
        backing_off(Via::Mpsc),
        backing_off(Via::MpmcUncounted),
        backing_off(Via::MpscUncounted),
        backing_off(Via::MpmcTyped),
        backing_off(Via::MpscTyped),
        backing_off(Via::Records),
        backing_off(Via::RecordsScratch),
        silent(Via::RingbufReserve),
        Wanted { waiting: Waiting::BackOff, suffix: "-no-wakeup-backoff", ..silent(Via::RingbufReserve) },
        Wanted { waiting: Waiting::Sleep, ..Wanted::of(Via::RingbufReserve, 16) },
        silent(Via::RingbufOutput),
        Wanted { waiting: Waiting::Sleep, ..Wanted::of(Via::PerfOutput, 16) },
        Wanted::of(Via::QueueMap, 16),
    ]
}

/// Consumers that have little to do: those that look again at once, and those that sleep.
fn waiting() -> Vec<Wanted> {
    let sleeping = |via| Wanted { waiting: Waiting::Sleep, suffix: "-sleep", ..Wanted::of(via, 16) };
    let spinning = |via, flags| Wanted { flags, suffix: "-spin", ..Wanted::of(via, 16) };
    vec![
        spinning(Via::Mpmc, 0),
        spinning(Via::Mpsc, 0),
        spinning(Via::RingbufReserve, NO_WAKEUP),
        sleeping(Via::MpmcNotify),
        sleeping(Via::MpscNotify),
        sleeping(Via::RingbufReserve),
        sleeping(Via::PerfOutput),
    ]
}

fn candidates<'a>(
    channels: &'a [(Wanted, Channel)],
    run: impl Fn(Wanted, &Channel) -> anyhow::Result<Vec<f64>> + Copy + 'a,
) -> Vec<Candidate<'a>> {
    channels
        .iter()
        .map(|(wanted, channel)| {
            Candidate::new(wanted.name(), channel.via.role(), move || run(*wanted, channel))
        })
        .collect()
}
