//! The account of a consumer: where every event went since the queue was pinned.

use arenaq::count::Counted;
use arenaq_libbpf::MPSC;
use std::fmt;
use std::thread;
use std::time::Duration;

use arenaq::{Corruption, KeyValue};
use arenaq_libbpf::QueueKind;
use arenaq_libbpf::pinned::Count;
use serde::Serialize;

use crate::account::{Dropped, Latency};
use crate::consume::Seen;
use crate::error::Error;
use crate::object::Counters;
use crate::pinned::{Alone, Consumer, Contents, Pinned, Share};

/// How often the queue is looked at, in the hope that it rests.
const LOOKS: u32 = 50;
/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// The account of one consumer, and of the queue since it was pinned.
#[derive(Clone, Debug, Serialize)]
pub struct Consumed {
    /// `mpsc` or `mpmc`.
    pub queue: &'static str,
    /// Events that the pinned programs had.
    pub produced: u64,
    /// Events that they have pushed.
    pub pushed: u64,
    /// Events that they could not push.
    pub dropped: Dropped,
    /// Events that left the queue through this consumer.
    pub consumed: u64,
    /// Events that left it through others.
    pub consumed_by_others: u64,
    /// Events that dead consumers of an MPMC queue had claimed, and maybe handed over.
    pub recovered: u64,
    /// Events that this consumer was handed although a dead one had handed them over, and said so. They do not count as
    /// consumed here.
    pub again: u64,
    /// How many consumers have died before they could end. Each may have handed over one event that came again.
    pub deaths: u64,
    /// How many nodes of an MPSC queue's pool are in no list: a consumer that died between the pop of an element and the
    /// return of its node has left it so. The room for elements is smaller by up to a block for each, for a block is free
    /// when all of its nodes are. Nothing if that is not known.
    pub nodes_missing: Option<u64>,
    /// Events that are in the queue still; nothing if that is not known.
    pub left: Option<u64>,
    /// Why the account cannot be added up: it can while the queue rests.
    pub inexact: Option<String>,
    /// Whether the queue is not pinned any more.
    pub removed: bool,
    /// Pops that found a producer between its swap and its link, or others faster.
    pub busy_seen: u64,
    /// For how long they did at most, one pop after another.
    pub longest_stall_ms: u64,
    /// Events that came after a later one of the same task.
    pub fifo_violations: u64,
    /// How often a task was forgotten for want of room, so that its next event was not compared with its last.
    pub fifo_forgotten: u64,
    /// What `verify` says of the resting queue: `SUCCESS`, or what is wrong; nothing if it does not rest.
    pub verify: Option<String>,
    /// From push to pop; nothing if this process does not know the kernel's time, or nothing came.
    pub latency_ns: Option<Latency>,
    /// Whatever does not add up. Empty is what it should be.
    pub problems: Vec<String>,
}

/// How the consumption went, beside what was seen of the events.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Course {
    /// Events that dead consumers had claimed.
    pub(super) recovered: u64,
    /// The queue is not pinned any more.
    pub(super) is_removed: bool,
    /// There was to be a number of events, which was not reached.
    pub(super) has_ended_early: bool,
    /// The queue was found empty.
    pub(super) is_drained: bool,
    /// More events came than were pushed, and there was no end of them.
    pub(super) is_endless: bool,
}

/// What is known of a queue that rests.
struct Rest {
    counters: Counters,
    total: Count,
    contents: Contents,
    nodes_missing: Option<u64>,
}

/// Looks at the queue until nothing changes while it is looked at. If the counters are the same before and after,
/// and every push that was begun had ended, then no program pushed in between; and nobody else pops.
fn rest(pinned: &Pinned, consumer: &mut Alone<'_, '_>) -> Result<Option<Rest>, Error> {
    for _ in 0..LOOKS {
        let counters = pinned.counters()?;
        if counters.in_flight() == 0 {
            let (contents, total) = (consumer.contents(), pinned.total()?);
            let nodes_missing = nodes_missing(pinned, contents.length)?;
            if pinned.counters()? == counters {
                return Ok(Some(Rest { counters, total, contents, nodes_missing }));
            }
        }
        thread::sleep(PAUSE);
    }
    Ok(None)
}

/// How many nodes are neither in the queue nor its stub nor free; nothing if the pool is damaged.
fn nodes_missing(pinned: &Pinned, length: u64) -> Result<Option<u64>, Error> {
    match pinned.queue() {
        QueueKind::Mpmc => Ok(Some(0)),
        QueueKind::Mpsc => {
            let arena = pinned.arena()?;
            let pool = arena.mpsc_producer::<KeyValue, Counted>(MPSC)?.nodes();
            let known = pool.free_nodes().map(|free| free + length + 1);
            Ok(known.ok().map(|known| pool.created().saturating_sub(known)))
        }
    }
}

/// Adds up, when the consumer has had its last event. What dead consumers have left goes to `hand_over`, if this one
/// was to empty the queue.
pub(super) fn add_up(
    pinned: &Pinned,
    consumer: &mut Consumer<'_>,
    mut course: Course,
    seen: &Seen,
    hand_over: impl Fn(KeyValue),
) -> Result<Consumed, Error> {
    let recover = course.is_drained.then_some(|event| {
        course.recovered += 1;
        hand_over(event);
    });
    let mut alone = consumer.alone(recover)?;
    let is_alone = alone.is_some();
    let rest = match &mut alone {
        Some(alone) => rest(pinned, alone)?,
        None => None,
    };
    let inexact = match &rest {
        Some(_) => None,
        None if is_alone => Some("events are being pushed"),
        None => Some("other consumers are at work, or died and nobody was there to take over"),
    };

    let mut problems = Vec::new();
    let total = pinned.total()?;
    let Share { consumed, again, deaths } = consumer.share();
    let counters = rest.as_ref().map_or_else(|| pinned.counters(), |rest| Ok(rest.counters))?;
    let dropped = match pinned.queue() {
        QueueKind::Mpmc => Dropped { full: counters.nomem, nomem: 0, busy: counters.busy },
        QueueKind::Mpsc => Dropped { full: 0, nomem: counters.nomem, busy: counters.busy },
    };
    if let Some(rest) = &rest {
        problems.extend(compare(rest, deaths));
    }
    let mut expect = |holds: bool, problem: String| {
        if !holds {
            problems.push(problem);
        }
    };
    expect(seen.fifo_violations == 0, format!("{} events out of order", seen.fifo_violations));
    expect(counters.invalid == 0, format!("{} pushes found no queue", counters.invalid));
    expect(counters.untraced == 0, format!("{} child processes were not traced", counters.untraced));
    expect(
        !(course.is_removed && course.has_ended_early),
        "the queue was removed before there were as many events as were asked for".to_owned(),
    );
    expect(
        !course.is_endless,
        "more events came than the pinned programs have pushed, and the queue was not empty yet: the arena is damaged, or others push \
         than they"
            .to_owned(),
    );
    if let Some(error) = seen.stuck {
        problems.push(format!("the consumer could not go on: {error}"));
    }
    Ok(Consumed {
        queue: pinned.queue().name(),
        produced: counters.produced,
        pushed: counters.pushed,
        dropped,
        consumed,
        consumed_by_others: total.consumed.saturating_sub(consumed),
        recovered: course.recovered,
        again,
        deaths,
        nodes_missing: rest.as_ref().and_then(|rest| rest.nodes_missing),
        left: rest.as_ref().map(|rest| rest.contents.length),
        inexact: inexact.map(str::to_owned),
        removed: course.is_removed,
        busy_seen: seen.busy,
        longest_stall_ms: seen.longest_stall_ms(),
        fifo_violations: seen.fifo_violations,
        fifo_forgotten: seen.forgotten,
        verify: rest.as_ref().map(|rest| match &rest.contents.verify {
            Ok(()) => "SUCCESS".to_owned(),
            Err(corruption) => corruption.to_string(),
        }),
        latency_ns: seen.latency(),
        problems,
    })
}

/// What does not add up in a queue that rests.
fn compare(rest: &Rest, deaths: u64) -> Vec<String> {
    let Rest { counters, total, contents, .. } = rest;
    let mut problems = Vec::new();
    let (pushed, gone, left) = (counters.pushed, total.consumed, contents.length);
    let here = gone + left;
    if here < pushed {
        problems.push(format!(
            "pushed {pushed} is more than consumed {gone} + left {left}: events are lost, or somebody pops without the \
             right to consume"
        ));
    } else if here > pushed {
        problems.push(format!(
            "pushed {pushed} is less than consumed {gone} + left {left}: events came twice, or others push than the \
             pinned programs"
        ));
    } else if counters.checksum != total.checksum.wrapping_add(contents.checksum) {
        problems.push("the elements that came out are not those that went in".to_owned());
    }
    match &contents.verify {
        Ok(()) => {}
        // The death of a consumer may leave the counter, which is only for show, too high by what it was popping.
        Err(Corruption::Count { .. }) if deaths > 0 => {}
        Err(corruption) => problems.push(format!("verify: {corruption}")),
    }
    problems
}

impl fmt::Display for Consumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let removed = if self.removed { ", not pinned any more" } else { "" };
        writeln!(f, "{} queue{removed}", self.queue.to_uppercase())?;
        writeln!(f, "  produced   {:>12}   since it was pinned", self.produced)?;
        let others = self.consumed_by_others;
        write!(f, "  consumed   {:>12}   here, and {others} by others", self.consumed)?;
        if self.deaths > 0 {
            write!(f, ", of which {} died: each may have handed one event over twice", self.deaths)?;
        }
        if let Some(nodes @ 1..) = self.nodes_missing {
            write!(f, ", and the pool misses {nodes} nodes, up to a block of room for each")?;
        }
        if self.recovered + self.again > 0 {
            write!(f, "; {} recovered, {} known to come again", self.recovered, self.again)?;
        }
        writeln!(f)?;
        let Dropped { full, nomem, busy } = self.dropped;
        let dropped = self.dropped.total();
        writeln!(f, "  dropped    {dropped:>12}   queue full {full}, no node {nomem}, retries spent {busy}")?;
        match self.left {
            Some(left) => writeln!(f, "  left       {left:>12}   in the queue")?,
            None => writeln!(f, "  left            unknown")?,
        }
        writeln!(
            f,
            "  busy seen  {:>12}   pops that met a push in progress, for {} ms at most",
            self.busy_seen, self.longest_stall_ms
        )?;
        write!(f, "  FIFO       {:>12}   events out of their task's order", self.fifo_violations)?;
        if self.fifo_forgotten > 0 {
            write!(f, "; {} times not looked at, for there are too many tasks", self.fifo_forgotten)?;
        }
        writeln!(f)?;
        writeln!(f, "  verify     {:>12}", self.verify.as_deref().unwrap_or("not at rest"))?;
        match self.latency_ns {
            Some(latency) => writeln!(f, "{latency}")?,
            None => writeln!(f, "  latency         unknown")?,
        }
        if !self.problems.is_empty() {
            write!(f, "  NOT ACCOUNTED FOR:")?;
            return self.problems.iter().try_for_each(|problem| write!(f, "\n    {problem}"));
        }
        match &self.inexact {
            None => write!(f, "  produced = consumed + dropped + left: every event is accounted for"),
            Some(why) => write!(f, "  the account cannot be added up now: {why}"),
        }
    }
}
