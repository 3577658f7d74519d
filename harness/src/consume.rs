//! Draining a queue, and everything that can be seen on the way.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arenaq::{KeyValue, PopError};
use arenaq_libbpf::{Receiver, Source, checksum};
use crossbeam_utils::Backoff;
use hdrhistogram::Histogram;
use lru::LruCache;

use crate::account::Latency;
use crate::error::Error;
use crate::pinned::Consumer;
use crate::tell::tell;
use crate::time::{self, now};

/// How long an idle consumer of threads sleeps once spinning and yielding have not helped: nobody wakes it.
pub(crate) const NAP: Duration = Duration::from_micros(100);
/// How long a consumer that is woken sleeps at most: it looks by itself long before.
pub(crate) const LONGEST_SLEEP: Duration = Duration::MAX;
/// How long a consumer waits for a producer that has not ended its push when no producer runs any more.
const PATIENCE: Duration = Duration::from_secs(2);

/// What can be drained, and waited for.
pub(crate) trait Drain {
    /// Dequeues up to `limit` elements.
    fn drain(&mut self, limit: u64, hand_over: impl FnMut(KeyValue)) -> Result<u64, PopError>;
    /// Waits a moment for more.
    fn idle(&mut self) -> Result<(), Error>;
    /// Takes over from other consumers that have died. Returns how many elements that were.
    fn take_over(&mut self, hand_over: impl FnMut(KeyValue)) -> u64 {
        let _ = hand_over;
        0
    }
    /// How many elements were not as they were pushed, as far as that can be seen.
    fn damaged(&self) -> u64 {
        0
    }
}

impl<D: Drain> Drain for &mut D {
    fn drain(&mut self, limit: u64, hand_over: impl FnMut(KeyValue)) -> Result<u64, PopError> {
        D::drain(self, limit, hand_over)
    }

    fn idle(&mut self) -> Result<(), Error> {
        D::idle(self)
    }

    fn take_over(&mut self, hand_over: impl FnMut(KeyValue)) -> u64 {
        D::take_over(self, hand_over)
    }
}

impl Drain for Source<'_> {
    fn drain(&mut self, limit: u64, hand_over: impl FnMut(KeyValue)) -> Result<u64, PopError> {
        Source::drain(self, limit, hand_over)
    }

    fn idle(&mut self) -> Result<(), Error> {
        std::thread::sleep(NAP);
        Ok(())
    }
}

impl<K> Drain for Receiver<KeyValue, K> {
    fn drain(&mut self, limit: u64, hand_over: impl FnMut(KeyValue)) -> Result<u64, PopError> {
        Receiver::drain(self, limit, hand_over)
    }

    fn idle(&mut self) -> Result<(), Error> {
        Ok(self.sleep(LONGEST_SLEEP)?)
    }
}

impl Drain for Consumer<'_> {
    fn drain(&mut self, limit: u64, hand_over: impl FnMut(KeyValue)) -> Result<u64, PopError> {
        Receiver::drain(self, limit, hand_over)
    }

    fn take_over(&mut self, hand_over: impl FnMut(KeyValue)) -> u64 {
        Consumer::take_over(self, hand_over)
    }

    fn idle(&mut self) -> Result<(), Error> {
        Ok(self.sleep(LONGEST_SLEEP)?)
    }
}

/// What consumers and the one who runs them say to each other.
#[derive(Debug)]
pub(crate) struct Control {
    /// Producers have ended: what is in the queue is all that there will be.
    pub(crate) no_more: AtomicBool,
    /// Do not drain: end now.
    pub(crate) abandon: AtomicBool,
    limit: Option<u64>,
    /// How many events may still be consumed, without those that a consumer is about to.
    budget: AtomicI64,
    consumed: AtomicU64,
}

impl Control {
    pub(crate) fn new(limit: Option<u64>) -> Control {
        let budget = limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(i64::MAX);
        Control {
            no_more: AtomicBool::new(false),
            abandon: AtomicBool::new(false),
            limit,
            budget: AtomicI64::new(budget),
            consumed: AtomicU64::new(0),
        }
    }

    pub(crate) fn consumed(&self) -> u64 {
        self.consumed.load(Ordering::Relaxed)
    }

    /// Whether so many events are consumed: not only spoken for, for who finds none gives the right back.
    pub(crate) fn is_limit_reached(&self) -> bool {
        self.limit.is_some_and(|limit| self.consumed() >= limit)
    }

    /// The right to consume so many events, or fewer. What is not used is to be given back.
    fn take_tickets(&self, wanted: u64) -> u64 {
        let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
        let granted = |budget: i64| budget.clamp(0, wanted);
        let spend = |budget: i64| Some(budget - granted(budget));
        let before = self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend);
        granted(before.unwrap_or(0)).unsigned_abs()
    }

    fn return_tickets(&self, unused: u64) {
        self.budget.fetch_add(unused.cast_signed(), Ordering::Relaxed);
    }
}

/// What one consumer has seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) consumed: u64,
    pub(crate) checksum: u64,
    /// Events that dead consumers had claimed, which are not among the others.
    pub(crate) recovered: u64,
    /// Pops that found a producer in the middle of its push, or others faster.
    pub(crate) busy: u64,
    /// For how long they did at most, one pop after another.
    pub(crate) longest_stall: Duration,
    /// Events that came after a later one of the same task.
    pub(crate) fifo_violations: u64,
    /// Elements that were not as they were pushed.
    pub(crate) damaged: u64,
    /// A producer that never ended its push, or a damaged queue.
    pub(crate) stuck: Option<PopError>,
    pub(crate) latency: Histogram<u64>,
    /// The latest event of each task that was seen lately.
    last: LruCache<u64, u64>,
    /// How often a task's latest event was forgotten, for others that came since.
    pub(crate) forgotten: u64,
}

/// Of how many tasks the latest event is kept: its order is checked unless so many others came in between.
const TASKS: NonZero<usize> = NonZero::new(1 << 16).expect("more than none");

impl Seen {
    pub(crate) fn nothing() -> Seen {
        // Three digits up to one hour, in nanoseconds; a longer latency counts as one hour.
        let latency = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("these bounds are allowed");
        Seen {
            consumed: 0,
            checksum: 0,
            recovered: 0,
            busy: 0,
            longest_stall: Duration::ZERO,
            fifo_violations: 0,
            damaged: 0,
            stuck: None,
            latency,
            // Not at once as large as it may become.
            last: LruCache::unbounded(),
            forgotten: 0,
        }
    }

    /// From push to pop, if this process and the kernel have the same clock, and anything was timed.
    pub(crate) fn latency(&self) -> Option<Latency> {
        (time::is_known() && !self.latency.is_empty()).then(|| Latency::from(&self.latency))
    }

    pub(crate) fn longest_stall_ms(&self) -> u64 {
        u64::try_from(self.longest_stall.as_millis()).unwrap_or(u64::MAX)
    }

    fn take(&mut self, event: KeyValue, now: u64) {
        self.consumed += 1;
        self.checksum = self.checksum.wrapping_add(checksum(event.key, event.value));
        // What comes from the future does not have the time of its push in it.
        if let Some(latency) = now.checked_sub(event.value) {
            self.latency.saturating_record(latency.max(1));
        }
        if self.last.put(event.key, event.value).is_some_and(|last| event.value < last) {
            self.fifo_violations += 1;
        }
        if self.last.len() > TASKS.get() {
            self.last.pop_lru();
            self.forgotten += 1;
        }
    }

    /// What two consumers have seen together.
    pub(crate) fn merge(mut self, other: &Seen) -> Seen {
        self.consumed += other.consumed;
        self.checksum = self.checksum.wrapping_add(other.checksum);
        self.recovered += other.recovered;
        self.busy += other.busy;
        self.longest_stall = self.longest_stall.max(other.longest_stall);
        self.fifo_violations += other.fifo_violations;
        self.damaged += other.damaged;
        self.forgotten += other.forgotten;
        self.stuck = self.stuck.or(other.stuck);
        let _ = self.latency.add(&other.latency);
        self
    }
}

/// Drains until there is nothing more to come, in batches of `batch` at most, and gives each event to `hand_over`
/// before it leaves the queue. Waits for `start` first.
pub(crate) fn drain(
    mut source: impl Drain,
    control: &Control,
    start: Instant,
    batch: u64,
    hand_over: impl FnMut(KeyValue),
) -> Result<Seen, Error> {
    let mut seen = drain_to_the_end(&mut source, control, start, batch, hand_over)?;
    seen.damaged = source.damaged();
    Ok(seen)
}

fn drain_to_the_end(
    source: &mut impl Drain,
    control: &Control,
    start: Instant,
    batch: u64,
    mut hand_over: impl FnMut(KeyValue),
) -> Result<Seen, Error> {
    let mut seen = Seen::nothing();
    while Instant::now() < start
        && !control.abandon.load(Ordering::Relaxed)
        && !control.no_more.load(Ordering::Relaxed)
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    let backoff = Backoff::new();
    // After less than a batch the queue is left alone for a moment: what was pushed meanwhile comes at once, and its
    // lines are not taken from the producers one by one.
    let gathering = Backoff::new();
    let mut stall = Stall::default();
    loop {
        // Read before the pop: an event that was there when producers ended is found by a pop after that.
        let no_more = control.no_more.load(Ordering::Acquire);
        let tickets = control.take_tickets(batch);
        if control.abandon.load(Ordering::Relaxed) || control.is_limit_reached() {
            control.return_tickets(tickets);
            return Ok(seen);
        }
        if tickets == 0 {
            // Another consumer has the last of them, and gives back what it does not use.
            std::thread::yield_now();
            continue;
        }
        let drained = source.drain(tickets, |event| {
            hand_over(event);
            seen.take(event, now());
        });
        let events = drained.unwrap_or(0);
        control.return_tickets(tickets - events);
        control.consumed.fetch_add(events, Ordering::Relaxed);
        match drained {
            Ok(_) => {
                stall.ends();
                backoff.reset();
                if events == tickets {
                    gathering.reset();
                } else {
                    gathering.snooze();
                }
                continue;
            }
            Err(PopError::Empty) => {
                stall.ends();
                // Empty it also seems when somebody has died with an element, and nobody can push behind that.
                if no_more || backoff.is_completed() {
                    let taken_over = source.take_over(|event| {
                        hand_over(event);
                        // Not in its task's order, and pushed long ago.
                        seen.recovered += 1;
                    });
                    control.consumed.fetch_add(taken_over, Ordering::Relaxed);
                    if taken_over > 0 {
                        continue;
                    }
                }
                if no_more {
                    return Ok(seen);
                }
            }
            Err(error @ (PopError::Busy | PopError::Contended)) => {
                seen.busy += 1;
                let lasts = stall.lasts();
                seen.longest_stall = seen.longest_stall.max(lasts);
                if no_more && lasts > PATIENCE {
                    seen.stuck = Some(error);
                    return Ok(seen);
                }
            }
            Err(error @ (PopError::Corrupt | PopError::Invalid)) => {
                seen.stuck = Some(error);
                return Ok(seen);
            }
        }
        if backoff.is_completed() {
            source.idle()?;
        } else {
            backoff.snooze();
        }
    }
}

/// How long a producer has held up the consumer in the middle of its push.
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
            tell(format_args!("BUSY for {seconds:.1} s: a producer has stopped in the middle of its push"));
        }
        lasts
    }

    fn ends(&mut self) {
        if !self.told.is_zero() {
            let seconds = self.since.map_or(0.0, |since| since.elapsed().as_secs_f64());
            tell(format_args!("the producer went on after {seconds:.1} s"));
        }
        *self = Stall::default();
    }
}

#[cfg(test)]
mod tests {
    use arenaq::KeyValue;

    use super::{Seen, TASKS};

    #[test]
    fn order_is_checked_for_the_tasks_seen_lately_and_memory_is_bounded() {
        let mut seen = Seen::nothing();
        let tasks = TASKS.get() as u64;
        for task in 0..3 * tasks {
            seen.take(KeyValue { key: task, value: 2 }, 3);
        }
        assert_eq!(seen.last.len(), TASKS.get());
        assert_eq!(seen.forgotten, 2 * tasks);
        // The newest and the oldest that are remembered, and one that is not.
        for (task, violations) in [(3 * tasks - 1, 1), (2 * tasks, 2), (2 * tasks - 1, 2)] {
            seen.take(KeyValue { key: task, value: 1 }, 3);
            assert_eq!(seen.fifo_violations, violations, "task {task}");
        }
        assert_eq!(seen.consumed, 3 * tasks + 3);
    }

    #[test]
    fn an_event_from_the_future_has_no_latency() {
        let mut seen = Seen::nothing();
        seen.take(KeyValue { key: 1, value: 10 }, 9);
        assert_eq!(seen.latency(), None);
        seen.take(KeyValue { key: 1, value: 10 }, 15);
        assert_eq!(seen.latency().map(|latency| latency.max), Some(5));
    }
}
