//! What happens between the start of the producers and their end: consumers drain, and somebody looks whether it
//! is over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arenaq::arena::Arena;

use super::crew::Crew;
use super::options::Options;
use super::producers::{Finished, Producers};
use super::progress::Progress;
use crate::consume::{Control, Seen, drain};
use crate::error::Error;

/// How many events a consumer takes at once: enough that what a batch costs is shared by many, and few enough that
/// the nodes of a batch, which are free at its end, are not missed.
const BATCH: u64 = 64;
/// How often it is looked whether it is over.
const LOOK: Duration = Duration::from_millis(20);
/// How long consumers can be told to wait: an `Instant` has an end.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What was seen of a run.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) finished: Finished,
    /// For how long producers were running.
    pub(super) seconds: f64,
    /// By all consumers together.
    pub(super) seen: Seen,
}

/// Lets consumers drain until the producers have ended, or a limit is reached, or `interrupted` becomes true; then
/// ends the producers, and the consumers when they have drained the rest.
///
/// # Errors
///
/// [`Error`] if a consumer cannot be started or cannot go on, or the producers cannot be asked. They have all ended
/// then.
pub(super) fn observe<P: Producers>(
    options: &Options,
    interrupted: &AtomicBool,
    arena: &Arena<'_>,
    mut producers: P,
) -> Result<Observed, Error> {
    let control = Control::new(options.events);
    let has_failed = AtomicBool::new(false);
    let begin = Instant::now();
    thread::scope(|scope| {
        let mut consumers = Crew::new("a consumer", &control.abandon, scope);
        for number in 0..options.consumers {
            let consumer = producers.consumer(options, arena, number)?;
            let (control, has_failed) = (&control, &has_failed);
            let start = begin + options.hold_back.min(LONGEST_WAIT);
            consumers.spawn(move || {
                let drained = drain(consumer, control, start, BATCH, |_| ());
                if !drained.as_ref().is_ok_and(|seen| seen.stuck.is_none()) {
                    has_failed.store(true, Ordering::Relaxed);
                }
                drained
            })?;
        }

        let progress = Progress::new(options);
        let is_over = |producers: &mut P| {
            producers.is_done()
                || interrupted.load(Ordering::Relaxed)
                || has_failed.load(Ordering::Relaxed)
                || options.duration.is_some_and(|duration| begin.elapsed() >= duration)
                || control.is_limit_reached()
        };
        while !is_over(&mut producers) {
            progress.show(&producers.counters()?, control.consumed());
            thread::sleep(LOOK);
        }
        let finished = producers.finish()?;
        let seconds = begin.elapsed().as_secs_f64();
        progress.end();

        control.no_more.store(true, Ordering::Release);
        let mut seen = Seen::nothing();
        for part in consumers.join() {
            seen = seen.merge(&part?);
        }
        Ok(Observed { finished, seconds, seen })
    })
}
