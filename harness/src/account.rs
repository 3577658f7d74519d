//! The account of a run: where every event went.

mod text;

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Events that a producer had and could not push, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// The bounded queue, or a record's lane, was full.
    pub full: u64,
    /// The node pool was empty.
    pub nomem: u64,
    /// The retries were spent; of records, all lanes of the processor were taken: by those that the producer has interrupted.
    pub busy: u64,
}

impl Dropped {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.full + self.nomem + self.busy
    }
}

/// The nodes of the pool when a run ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Nodes {
    /// For how many elements there are nodes.
    pub nodes: u64,
    /// How many of them BPF programs have made since the start.
    pub by_programs: u64,
    /// How many of them userspace has made since the start.
    pub by_userspace: u64,
}

/// Times from push to pop, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// The median.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The 99.9th percentile.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

impl Latency {
    /// The median, in microseconds.
    pub(crate) fn median(&self) -> String {
        micros(self.p50)
    }

    /// What the median is, and the rest.
    pub(crate) fn beside_the_median(&self) -> String {
        let Latency { p99, p999, max, .. } = *self;
        format!(
            "µs from push to pop (median); 99% {}, 99.9% {}, longest {}",
            micros(p99),
            micros(p999),
            micros(max)
        )
    }
}

fn micros(ns: u64) -> String {
    format!("{:.1}", ns as f64 / 1000.0)
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  latency    {:>12}   {}", self.median(), self.beside_the_median())
    }
}

impl From<&Histogram<u64>> for Latency {
    fn from(histogram: &Histogram<u64>) -> Latency {
        Latency {
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            max: histogram.max(),
        }
    }
}

impl Nodes {
    fn have_grown(&self) -> bool {
        self.by_programs + self.by_userspace > 0
    }
}

/// What a run ends with.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// `mpsc`, `mpmc` or `records`.
    pub queue: &'static str,
    /// `kernel` or `threads`.
    pub backend: &'static str,
    /// Where the events came from; `threads` for that backend.
    pub hook: &'static str,
    /// Which object ran in the kernel; nothing for threads.
    pub instructions: Option<&'static str>,
    /// The number of elements that the queue holds; at the start, if it may grow. Of records, the bytes of each processor.
    pub capacity: u64,
    /// The nodes of the MPSC queue.
    pub pool: Option<Nodes>,
    /// The number of consumers.
    pub consumers: u32,
    /// Events that producers had.
    pub produced: u64,
    /// Events that were popped.
    pub consumed: u64,
    /// Events that could not be pushed.
    pub dropped: Dropped,
    /// Events that were pushed and are in the queue still.
    pub left: u64,
    /// Looks that found a producer in the middle of its push, or others faster.
    pub busy_seen: u64,
    /// For how long they did at most, one pop after another.
    pub longest_stall_ms: u64,
    /// Events that came after a later one of the same task; of records, of the same lane.
    pub fifo_violations: u64,
    /// What `verify` says of the resting queue: `SUCCESS`, or what is wrong.
    pub verify: String,
    /// How often a task was forgotten for want of room, so that its next event was not compared with its last.
    pub fifo_forgotten: u64,
    /// From push to pop; nothing if this process does not know the kernel's time, or nothing came.
    pub latency_ns: Option<Latency>,
    /// How long producers were running.
    pub seconds: f64,
    /// How many operations the built-in workload says that it did; nothing for a command, or if a worker was
    /// killed.
    pub operations: Option<u64>,
    /// How the command ended: its exit code, or 128 and the signal that ended it.
    pub command_status: Option<i32>,
    /// Whether the command has ended because the run did: at a limit, or because somebody ended the run.
    pub command_cut_short: bool,
    /// How many processes that the command had started were alive at the end of the run. It has ended them, unless
    /// it was not to wait for them.
    pub alive: u64,
    /// Whatever does not add up. Empty is what it should be.
    pub problems: Vec<String>,
}

impl Summary {
    /// Whether every event is accounted for, and everything was done that was asked for.
    pub fn is_accounted(&self) -> bool {
        self.problems.is_empty()
    }
}
