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

impl Source<'_> {
    fn pop(&mut self) -> Result<KeyValue, PopError> {
        match self {
            Source::Mpmc(queue) => queue.pop(),
            Source::Mpsc(consumer) => consumer.pop(),
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
            fifo_violations: 0,
            stuck: None,
            latency,
            last: HashMap::new(),
        }
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

/// Pops until there is nothing more to come. Waits for `start` first.
pub(crate) fn drain(mut source: Source<'_>, control: &Control, start: Instant) -> Seen {
    let mut seen = Seen::nothing();
    while Instant::now() < start
        && !control.abandon.load(Ordering::Relaxed)
        && !control.no_more.load(Ordering::Relaxed)
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    let backoff = Backoff::new();
    let mut stalled_since: Option<Instant> = None;
    loop {
        // Read before the pop: an event that was there when producers ended is found by a pop after that.
        let no_more = control.no_more.load(Ordering::Acquire);
        if control.abandon.load(Ordering::Relaxed) || !control.take_ticket() {
            return seen;
        }
        match source.pop() {
            Ok(event) => {
                seen.take(event, now());
                control.consumed.fetch_add(1, Ordering::Relaxed);
                stalled_since = None;
                backoff.reset();
                continue;
            }
            Err(PopError::Empty) if no_more => {
                control.return_ticket();
                return seen;
            }
            Err(PopError::Empty) => stalled_since = None,
            Err(error @ (PopError::Busy | PopError::Contended)) => {
                seen.busy += 1;
                let since = *stalled_since.get_or_insert_with(Instant::now);
                if no_more && since.elapsed() > PATIENCE {
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
