//! One consumer of a pinned queue, in a process of its own.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arenaq::KeyValue;
use serde::Serialize;

use crate::account::Latency;
use crate::consume::{Control, Seen, drain};
use crate::error::Error;
use crate::pinned::Pinned;

/// In batches of one, so that a death hands only one event over twice.
const ONE: u64 = 1;
/// How often it is looked whether the end has come.
const LOOK: Duration = Duration::from_millis(10);

/// What to consume, and how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the queue is pinned.
    pub folder: PathBuf,
    /// End after so many events.
    pub events: Option<u64>,
    /// End after so long.
    pub duration: Option<Duration>,
    /// End when the queue is empty.
    pub until_empty: bool,
}

/// What this consumer has seen.
#[derive(Clone, Debug, Serialize)]
pub struct Consumed {
    /// `mpsc` or `mpmc`.
    pub queue: &'static str,
    /// Events that were popped.
    pub consumed: u64,
    /// Events that a dead consumer of an MPMC queue had claimed and maybe handed over.
    pub recovered: u64,
    /// Pops that found a producer between its swap and its link, or others faster.
    pub busy_seen: u64,
    /// For how long they did at most, one pop after another.
    pub longest_stall_ms: u64,
    /// Events that came after a later one of the same task.
    pub fifo_violations: u64,
    /// From push to pop.
    pub latency_ns: Latency,
    /// What is wrong.
    pub problems: Vec<String>,
}

/// Consumes until a limit is reached, or `interrupted` becomes true. What is in the queue then stays there. Each
/// event leaves the queue when `hand_over` has returned.
///
/// # Errors
///
/// [`Error`] if there is no such queue, or somebody else consumes from it.
pub fn consume(
    options: &Options,
    interrupted: &AtomicBool,
    hand_over: impl Fn(KeyValue) + Sync,
) -> Result<Consumed, Error> {
    let pinned = Pinned::attach(&options.folder)?;
    let mut recovered = 0;
    let consumer = pinned.consumer(|event| {
        recovered += 1;
        hand_over(event);
    })?;

    let control = Control::new(options.events);
    control.no_more.store(options.until_empty, Ordering::Relaxed);
    let begin = Instant::now();
    let is_over = || {
        interrupted.load(Ordering::Relaxed)
            || options.duration.is_some_and(|duration| begin.elapsed() >= duration)
    };
    let seen = thread::scope(|scope| {
        let (control, hand_over) = (&control, &hand_over);
        let consumer = scope.spawn(move || drain(consumer, control, begin, ONE, hand_over));
        while !consumer.is_finished() {
            if is_over() {
                control.abandon.store(true, Ordering::Relaxed);
            }
            thread::sleep(LOOK);
        }
        consumer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok(summarise(&pinned, recovered, &seen))
}

fn summarise(pinned: &Pinned, recovered: u64, seen: &Seen) -> Consumed {
    let mut problems = Vec::new();
    if let Some(error) = seen.stuck {
        problems.push(format!("the consumer could not go on: {error}"));
    }
    if seen.fifo_violations != 0 {
        problems.push(format!("{} events out of order", seen.fifo_violations));
    }
    Consumed {
        queue: pinned.queue().name(),
        consumed: seen.consumed,
        recovered,
        busy_seen: seen.busy,
        longest_stall_ms: seen.longest_stall_ms(),
        fifo_violations: seen.fifo_violations,
        latency_ns: Latency::from(&seen.latency),
        problems,
    }
}

impl fmt::Display for Consumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: consumed {}, of which recovered {}",
            self.queue,
            self.consumed + self.recovered,
            self.recovered
        )?;
        write!(f, "busy {} times, for {} ms at most", self.busy_seen, self.longest_stall_ms)?;
        self.problems.iter().try_for_each(|problem| write!(f, "\nPROBLEM: {problem}"))
    }
}
