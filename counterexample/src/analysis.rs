//! Which write each read read from, what happens before what, and what races.

use std::collections::{BTreeMap, BTreeSet};

use arenaq::ordering::{Access, Ordering};
use arenaq::trace::{Effect, Event, Trace};

/// Where the value of a read comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The access reads nothing.
    None,
    /// From before the trace: what the memory was made with.
    Initial,
    /// From this step.
    Step(usize),
}

/// One access, and what is known of it.
#[derive(Clone, Debug)]
pub struct Step {
    /// The access.
    pub event: Event,
    /// The write that it read from.
    pub source: Source,
    /// Whether a newer write was there already: what a weak memory model allows, and an interleaving does
    /// not.
    pub is_stale: bool,
    /// Whether the read synchronises with the write that it read from.
    pub synchronises: bool,
    /// For each thread, how many of its accesses happen before this one, or are it.
    clock: Vec<usize>,
    /// What somebody learns who synchronises with this write.
    released: Option<Vec<usize>>,
}

/// Two accesses to the same memory, one of them plain and one a write, of which neither happens before the
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Race {
    /// The one that was executed first.
    pub first: usize,
    /// The other.
    pub second: usize,
    /// The read through which the first would happen before the second, if it synchronised: its step.
    pub missing: Option<usize>,
}

/// An execution.
#[derive(Debug)]
pub struct Analysis {
    /// The operations and threads.
    pub trace: Trace,
    /// The accesses, in the order of execution.
    pub steps: Vec<Step>,
}

fn join(clock: &mut [usize], other: &[usize]) {
    for (mine, theirs) in clock.iter_mut().zip(other) {
        *mine = (*mine).max(*theirs);
    }
}

fn acquires(order: Ordering) -> bool {
    matches!(order, Ordering::Acquire | Ordering::AcqRel | Ordering::SeqCst)
}

fn releases(order: Ordering) -> bool {
    matches!(order, Ordering::Release | Ordering::AcqRel | Ordering::SeqCst)
}

/// Whether an access is not atomic.
pub(crate) fn is_plain(event: &Event) -> bool {
    matches!(event.site.access, Access::Read | Access::Write)
}

/// Whether an access writes, or would have.
pub(crate) fn is_write(event: &Event) -> bool {
    match event.effect {
        Effect::Put(_) | Effect::Changed { .. } | Effect::Added(_) => true,
        Effect::Got(_) | Effect::Refused { .. } | Effect::Fenced => false,
        Effect::Unfinished => !matches!(event.site.access, Access::Read | Access::Load | Access::Fence),
    }
}

/// The word that an access found.
fn found(event: &Event) -> Option<u64> {
    match &event.effect {
        Effect::Got(value) => value.words().first().copied(),
        Effect::Changed { from, .. } => Some(*from),
        Effect::Refused { found, .. } => Some(*found),
        Effect::Put(_) | Effect::Added(_) | Effect::Fenced | Effect::Unfinished => None,
    }
}

/// The word that an access left.
fn left(event: &Event) -> Option<u64> {
    match &event.effect {
        Effect::Put(value) => value.words().first().copied(),
        Effect::Changed { to, .. } => Some(*to),
        Effect::Got(_) | Effect::Refused { .. } | Effect::Added(_) | Effect::Fenced | Effect::Unfinished => {
            None
        }
    }
}

impl Analysis {
    /// Follows the events in their order, with a vector clock for each thread.
    pub(crate) fn new(mut trace: Trace) -> Analysis {
        let events = std::mem::take(&mut trace.events);
        let threads = events.iter().map(|event| event.thread + 1).max().unwrap_or(1);
        let mut clocks: Vec<Vec<usize>> = vec![vec![0; threads]; threads];
        let mut has_begun = vec![false; threads];
        // The writes to each address, in modification order: a write goes behind all before it.
        let mut writes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut steps: Vec<Step> = Vec::new();

        for (index, event) in events.into_iter().enumerate() {
            let thread = event.thread;
            if thread == 0 {
                // The main thread spawns all and then joins all: once it goes on after the others, it knows
                // everything.
                if has_begun.iter().skip(1).any(|begun| *begun) {
                    for other in 1..threads {
                        let other = clocks[other].clone();
                        join(&mut clocks[0], &other);
                    }
                }
            } else if !has_begun[thread] {
                let main = clocks[0].clone();
                join(&mut clocks[thread], &main);
            }
            has_begun[thread] = true;
            clocks[thread][thread] += 1;

            let history = writes.entry(event.address).or_default();
            let newest = history.last().copied();
            let mut source = Source::None;
            if let Some(value) = found(&event) {
                let of =
                    history.iter().rev().copied().find(|write| left(&steps[*write].event) == Some(value));
                source = of.map_or(Source::Initial, Source::Step);
            }
            let released_by_source = match source {
                Source::Step(write) => steps[write].released.clone(),
                Source::None | Source::Initial => None,
            };
            let mut synchronises = false;
            if let Some(released) =
                released_by_source.as_ref().filter(|_| acquires(event.order) && !is_plain(&event))
            {
                join(&mut clocks[thread], released);
                synchronises = true;
            }
            let is_stale = match (source, newest) {
                (Source::Step(write), Some(newest)) => write != newest,
                (Source::Initial, Some(_)) => true,
                _ => false,
            };

            let mut released = None;
            if is_write(&event) && event.effect != Effect::Unfinished {
                if releases(event.order) && !is_plain(&event) {
                    released = Some(clocks[thread].clone());
                }
                // A read-modify-write goes on with the release sequence that it found.
                if matches!(event.effect, Effect::Changed { .. } | Effect::Added(_)) {
                    let before = newest.and_then(|write| steps[write].released.clone());
                    released = match (released, before) {
                        (Some(mut mine), Some(before)) => {
                            join(&mut mine, &before);
                            Some(mine)
                        }
                        (mine, before) => mine.or(before),
                    };
                }
                history.push(index);
            }
            let clock = clocks[thread].clone();
            steps.push(Step { event, source, is_stale, synchronises, clock, released });
        }
        Analysis { trace, steps }
    }

    /// Whether one step happens before another, or is it.
    pub fn happens_before(&self, first: usize, second: usize) -> bool {
        let thread = self.steps[first].event.thread;
        self.steps[second].clock[thread] >= self.steps[first].clock[thread]
    }

    /// The first race, in the order of execution.
    pub fn race(&self) -> Option<Race> {
        // Only memory that somebody touches without an atomic access can be raced for.
        let mut touched: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for step in self.steps.iter().filter(|step| is_plain(&step.event)) {
            touched.entry(step.event.address).or_default();
        }
        for (second, step) in self.steps.iter().enumerate() {
            let Some(before) = touched.get_mut(&step.event.address) else { continue };
            let racing =
                |first: &&usize| self.conflict(**first, second) && !self.happens_before(**first, second);
            if let Some(&first) = before.iter().find(racing) {
                return Some(Race { first, second, missing: self.missing_edge(first, second) });
            }
            before.push(second);
        }
        None
    }

    fn conflict(&self, first: usize, second: usize) -> bool {
        let (first, second) = (&self.steps[first].event, &self.steps[second].event);
        first.address == second.address
            && first.thread != second.thread
            && (is_plain(first) || is_plain(second))
            && (is_write(first) || is_write(second))
    }

    /// The last read on the way from `first` to `second` that does not synchronise with what it read.
    fn missing_edge(&self, first: usize, second: usize) -> Option<usize> {
        (0..=second).rev().find(|&read| {
            let Source::Step(write) = self.steps[read].source else { return false };
            let crosses = self.steps[write].event.thread != self.steps[read].event.thread;
            crosses
                && !self.steps[read].synchronises
                && !is_plain(&self.steps[read].event)
                && self.happens_before(first, write)
                && self.happens_before(read, second)
        })
    }

    /// The steps that a reader needs: the operations that race or were cut short, and those from which they
    /// read.
    pub(crate) fn what_matters(&self) -> Vec<usize> {
        let mut operations: BTreeSet<Option<usize>> = BTreeSet::new();
        let mut marked: Vec<usize> = Vec::new();
        match self.race() {
            Some(race) => {
                marked.extend([Some(race.first), Some(race.second), race.missing].into_iter().flatten());
            }
            // Without a race: where each thread was last.
            None => {
                for thread in 1..=self.steps.iter().map(|step| step.event.thread).max().unwrap_or(0) {
                    marked.extend(self.steps.iter().rposition(|step| step.event.thread == thread));
                }
            }
        }
        for step in &marked {
            if let Source::Step(write) = self.steps[*step].source {
                operations.insert(self.steps[write].event.operation);
            }
            operations.insert(self.steps[*step].event.operation);
        }
        operations.remove(&None);
        let is_in = |step: &usize| operations.contains(&self.steps[*step].event.operation);
        let inside: Vec<usize> =
            (0..self.steps.len()).filter(|step| is_in(step) || marked.contains(step)).collect();
        // What nobody writes here, such as where the nodes lie, explains nothing; and in a race between two
        // nodes of a queue neither does the way in which the pool came by them.
        let written: BTreeSet<usize> = inside
            .iter()
            .filter(|step| is_write(&self.steps[**step].event))
            .map(|step| self.steps[*step].event.address)
            .collect();
        let structure = |step: usize| self.steps[step].event.site.name.split('.').next();
        let structures: BTreeSet<_> = marked.iter().map(|step| structure(*step)).collect();
        let of_interest = |step: &usize| {
            let event = &self.steps[*step].event;
            marked.contains(step)
                || structures.contains(&structure(*step))
                    && (!is_plain(event) || written.contains(&event.address))
        };
        inside.into_iter().filter(of_interest).collect()
    }
}
