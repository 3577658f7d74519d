//! Which access races with the last one.

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use super::{Effect, Event};
use crate::operation::{Operation, Order};

/// For each thread, how many of its accesses somebody knows of.
type Clock = Vec<usize>;

fn join(clock: &mut Clock, other: &Clock) {
    for (mine, theirs) in clock.iter_mut().zip(other) {
        *mine = (*mine).max(*theirs);
    }
}

fn conflict(first: &Event, second: &Event) -> bool {
    first.address == second.address
        && first.thread != second.thread
        && (first.is_plain() || second.is_plain())
        && (first.writes() || second.writes())
}

/// What one thread knows.
#[derive(Clone, Debug, Default)]
struct Thread {
    has_begun: bool,
    clock: Clock,
    /// What it knew at its last fence that releases.
    fenced: Option<Clock>,
    /// What it has read without an acquire, until a fence acquires it.
    pending: Clock,
}

/// The access that the last one races with, if the checker ended the execution in that: the first that nothing orders before
/// it. `sources` says for each access which write it read from.
pub(super) fn unordered(events: &[&Event], sources: &[Option<usize>]) -> Option<usize> {
    let last = events.last().filter(|last| last.effect == Effect::Unfinished)?;
    let count = events.iter().map(|event| event.thread + 1).max().unwrap_or(1);
    let start = Thread { clock: vec![0; count], pending: vec![0; count], ..Thread::default() };
    let mut threads = vec![start; count];
    // What somebody learns who synchronises with a write.
    let mut released: BTreeMap<usize, Clock> = BTreeMap::new();
    let mut clocks: Vec<Clock> = Vec::new();

    for (index, event) in events.iter().enumerate() {
        begin(&mut threads, event.thread);
        let thread = &mut threads[event.thread];
        thread.clock[event.thread] += 1;
        let order = if event.is_plain() { Order::Relaxed } else { event.order };
        let source = sources[index].and_then(|write| released.get(&write)).cloned();
        if let Some(source) = &source {
            join(if order.acquires() { &mut thread.clock } else { &mut thread.pending }, source);
        }
        if event.operation() == Operation::Fence {
            if order.acquires() {
                let pending = thread.pending.clone();
                join(&mut thread.clock, &pending);
            }
            if order.releases() {
                thread.fenced = Some(thread.clock.clone());
            }
        }
        if event.writes() && !event.is_plain() {
            let mine = if order.releases() { Some(&thread.clock) } else { thread.fenced.as_ref() };
            // A read-modify-write goes on with the release sequence that it found.
            let is_change = event.operation() != Operation::Store;
            let mut all = source.filter(|_| is_change).unwrap_or_else(|| vec![0; count]);
            if let Some(mine) = mine {
                join(&mut all, mine);
            }
            released.insert(index, all);
        }
        clocks.push(threads[event.thread].clock.clone());
    }
    let knows = clocks.last()?;
    let is_ordered = |first: usize| {
        let thread = events[first].thread;
        knows[thread] >= clocks[first][thread]
    };
    (0..events.len() - 1).find(|first| conflict(events[*first], last) && !is_ordered(*first))
}

/// The main thread spawns all and then joins all: who begins knows what it did, and once it goes on after the others, it
/// knows everything.
fn begin(threads: &mut [Thread], thread: usize) {
    if thread == 0 {
        for other in 1..threads.len() {
            let clock = threads[other].clock.clone();
            join(&mut threads[0].clock, &clock);
        }
    } else if !threads[thread].has_begun {
        let main = threads[0].clock.clone();
        join(&mut threads[thread].clock, &main);
    }
    threads[thread].has_begun = true;
}
