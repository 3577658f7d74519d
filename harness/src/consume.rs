//! Draining a queue, and everything that can be seen on the way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arenaq::arena::{Mpmc, MpscConsumer};
use arenaq::{KeyValue, PopError};
use crossbeam_utils::Backoff;
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

use crate::object::checksum;

/// How long an idle consumer sleeps once spinning and yielding have not helped.
const NAP: Duration = Duration::from_micros(100);
/// How long a consumer waits for a producer that has not linked its node when no producer runs any more.
const PATIENCE: Duration = Duration::from_secs(2);

/// The consuming end of either queue.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    Mpmc(Mpmc<'a, KeyValue>),
    Mpsc(MpscConsumer<'a, KeyValue>),
}

/// What can be drained.
pub(crate) trait PopWith {
    /// Dequeues the oldest element, which leaves the queue after `hand_over` has returned.
    fn pop_with<R>(&mut self, hand_over: impl FnOnce(KeyValue) -> R) -> Result<R, PopError>;
}

impl PopWith for Source<'_> {
    fn pop_with<R>(&mut self, hand_over: impl FnOnce(KeyValue) -> R) -> Result<R, PopError> {
        match self {
            Source::Mpmc(queue) => queue.pop_with(hand_over),
            Source::Mpsc(consumer) => consumer.pop_with(hand_over),
        }
    }
}

/// What consumers and the one who runs them say to each other.
#[derive(Debug)]
pub(crate) struct Control {
    /// Producers have ended: what is in the queue is all that there will be.
    pub(crate) no_more: AtomicBool,
    /// Do not drain: end now.
    pub(crate) abandon: AtomicBool,
    /// How many events may still be consumed.
    budget: AtomicI64,
    consumed: AtomicU64,
}

impl Control {
    pub(crate) fn new(limit: Option<u64>) -> Control {
        let budget = limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(i64::MAX);
        Control {
            no_more: AtomicBool::new(false),
            abandon: AtomicBool::new(false),
            budget: AtomicI64::new(budget),
            consumed: AtomicU64::new(0),
        }
    }

    pub(crate) fn consumed(&self) -> u64 {
        self.consumed.load(Ordering::Relaxed)
    }

    pub(crate) fn is_limit_reached(&self) -> bool {
        self.budget.load(Ordering::Relaxed) <= 0
    }

    /// The right to consume one event, to be given back if there is none.
    fn take_ticket(&self) -> bool {
        let had = self.budget.fetch_sub(1, Ordering::Relaxed);
        if had <= 0 {
            self.return_ticket();
        }
        had > 0
    }

    fn return_ticket(&self) {
        self.budget.fetch_add(1, Ordering::Relaxed);
    }
}

/// What one consumer has seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) consumed: u64,
    pub(crate) checksum: u64,
    /// Pops that found a producer in the middle of its push, or others faster.
    pub(crate) busy: u64,
    /// For how long they did at most, one pop after another.
    pub(crate) longest_stall: Duration,
    /// Events that came after a later one of the same task.
    pub(crate) fifo_violations: u64,
    /// A producer that never linked its node, or a link out of the pool.
    pub(crate) stuck: Option<PopError>,
    pub(crate) latency: Histogram<u64>,
    last: HashMap<u64, u64>,
}

impl Seen {
    pub(crate) fn nothing() -> Seen {
        // Three digits up to one hour, in nanoseconds; a longer latency counts as one hour.
        let latency = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("these bounds are allowed");
        Seen {
            consumed: 0,
            checksum: 0,
            busy: 0,
            longest_stall: Duration::ZERO,
            fifo_violations: 0,
            stuck: None,
            latency,
            last: HashMap::new(),
        }
    }

    pub(crate) fn longest_stall_ms(&self) -> u64 {
        u64::try_from(self.longest_stall.as_millis()).unwrap_or(u64::MAX)
    }

    fn take(&mut self, event: KeyValue, now: u64) {
        self.consumed += 1;
        self.checksum = self.checksum.wrapping_add(checksum(event.key, event.value));
        self.latency.saturating_record(now.saturating_sub(event.value).max(1));
        let last = self.last.entry(event.key).or_insert(0);
        if event.value < *last {
            self.fifo_violations += 1;
        }
        *last = event.value;
    }

    /// What two consumers have seen together.
    pub(crate) fn merge(mut self, other: &Seen) -> Seen {
        self.consumed += other.consumed;
        self.checksum = self.checksum.wrapping_add(other.checksum);
        self.busy += other.busy;
        self.longest_stall = self.longest_stall.max(other.longest_stall);
        self.fifo_violations += other.fifo_violations;
        self.stuck = self.stuck.or(other.stuck);
        let _ = self.latency.add(&other.latency);
        self
    }
}

/// The kernel's `bpf_ktime_get_ns`.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Pops until there is nothing more to come, and gives each event to `hand_over` before it leaves the queue.
/// Waits for `start` first.
pub(crate) fn drain(
    mut source: impl PopWith,
    control: &Control,
    start: Instant,
    mut hand_over: impl FnMut(KeyValue),
) -> Seen {
    let mut seen = Seen::nothing();
    while Instant::now() < start
        && !control.abandon.load(Ordering::Relaxed)
        && !control.no_more.load(Ordering::Relaxed)
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    let backoff = Backoff::new();
    let mut stall = Stall::default();
    loop {
        // Read before the pop: an event that was there when producers ended is found by a pop after that.
        let no_more = control.no_more.load(Ordering::Acquire);
        if control.abandon.load(Ordering::Relaxed) || !control.take_ticket() {
            return seen;
        }
        let popped = source.pop_with(|event| {
            hand_over(event);
            event
        });
        match popped {
            Ok(event) => {
                seen.take(event, now());
                control.consumed.fetch_add(1, Ordering::Relaxed);
                stall.ends();
                backoff.reset();
                continue;
            }
            Err(PopError::Empty) => {
                stall.ends();
                if no_more {
                    control.return_ticket();
                    return seen;
                }
            }
            Err(error @ (PopError::Busy | PopError::Contended)) => {
                seen.busy += 1;
                let lasts = stall.lasts();
                seen.longest_stall = seen.longest_stall.max(lasts);
                if no_more && lasts > PATIENCE {
                    seen.stuck = Some(error);
                    control.return_ticket();
                    return seen;
                }
            }
            Err(error @ (PopError::Corrupt | PopError::Invalid)) => {
                seen.stuck = Some(error);
                control.return_ticket();
                return seen;
            }
        }
        control.return_ticket();
        if backoff.is_completed() {
            std::thread::sleep(NAP);
        } else {
            backoff.snooze();
        }
    }
}

/// How long a producer has held up the consumer between its swap and its link.
#[derive(Debug, Default)]
struct Stall {
    since: Option<Instant>,
    /// How long it had lasted when it was last told.
    told: Duration,
}

impl Stall {
    /// From this time on it is told.
    const WORTH_TELLING: Duration = Duration::from_secs(1);

    /// How long it lasts. Tells it when that has become twice as long.
    fn lasts(&mut self) -> Duration {
        let lasts = self.since.get_or_insert_with(Instant::now).elapsed();
        if lasts >= Self::WORTH_TELLING.max(2 * self.told) {
            self.told = lasts;
            let seconds = lasts.as_secs_f64();
            eprintln!(
                "arenaq: BUSY for {seconds:.1} s: a producer has stopped between its swap and its link"
            );
        }
        lasts
    }

    fn ends(&mut self) {
        if !self.told.is_zero() {
            let seconds = self.since.map_or(0.0, |since| since.elapsed().as_secs_f64());
            eprintln!("arenaq: the producer went on after {seconds:.1} s");
        }
        *self = Stall::default();
    }
}
