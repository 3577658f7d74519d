//! One consumer of a pinned queue, in a process of its own.

mod account;
pub mod elements;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arenaq::KeyValue;
use arenaq::arena::ArenaError;

pub use self::account::Consumed;
use self::account::{Course, add_up};
use crate::consume::{Control, drain};
use crate::error::Error;
use crate::pinned::{Pinned, Wait};
use crate::tell::tell;

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
    /// Wait so long for the right to consume, if another process has it.
    pub wait: Duration,
}

/// Consumes until a limit is reached, or `interrupted` becomes true, or the queue is not pinned any more and empty.
/// What is in the queue otherwise stays there. Each event leaves the queue when `hand_over` has returned.
///
/// # Errors
///
/// [`Error`] if there is no such queue, or somebody else consumes from it.
pub fn consume(
    options: &Options,
    interrupted: &AtomicBool,
    hand_over: impl Fn(KeyValue) + Sync,
) -> Result<Consumed, Error> {
    let pinned =
        Pinned::attach(&options.folder).map_err(|error| without_its_queue(error, &options.folder))?;
    let mut course = Course::default();
    let wait = Wait { longest: options.wait, interrupted };
    let consumer = pinned.wait_for_consumer(wait, |event| {
        course.recovered += 1;
        hand_over(event);
    });
    let mut consumer = consumer.map_err(|error| without_its_queue(error, &options.folder))?;

    let control = Control::new(options.events);
    control.no_more.store(options.until_empty, Ordering::Relaxed);
    let begin = Instant::now();
    let is_over = || {
        interrupted.load(Ordering::Relaxed)
            || options.duration.is_some_and(|duration| begin.elapsed() >= duration)
    };
    let seen = thread::scope(|scope| {
        let (control, hand_over, consumer) = (&control, &hand_over, &mut consumer);
        let consumer = thread::Builder::new()
            .spawn_scoped(scope, move || drain(consumer, control, begin, ONE, hand_over))
            .map_err(Error::system("starting the thread that consumes"))?;
        while !consumer.is_finished() {
            if is_over() {
                control.abandon.store(true, Ordering::Relaxed);
            } else if control.no_more.load(Ordering::Relaxed) && has_more_than_was_pushed(&pinned) {
                course.is_endless = true;
                control.abandon.store(true, Ordering::Relaxed);
            } else if !course.is_removed && pinned.is_removed() {
                course.is_removed = true;
                tell(format_args!("{} was removed: this consumes what is left", options.folder.display()));
                control.no_more.store(true, Ordering::Relaxed);
            }
            thread::sleep(LOOK);
        }
        consumer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    course.recovered += seen.recovered;
    course.has_ended_early = !control.is_limit_reached() && options.events.is_some();
    course.is_drained = !control.is_limit_reached() && !control.abandon.load(Ordering::Relaxed);
    add_up(&pinned, &mut consumer, course, &seen, hand_over)
}

/// Whether more events came out than can have gone in: in a damaged arena the last node can be linked to the first, and there is
/// no end of them. The counts lie in maps, where nobody writes who may write to the arena.
fn has_more_than_was_pushed(pinned: &Pinned) -> bool {
    // In this order: what has come out by now was counted, or is in flight, when the counters are read.
    let Ok(total) = pinned.total() else { return false };
    pinned.counters().is_ok_and(|counters| total.consumed > counters.pushed + counters.in_flight())
}

/// Nobody has named the queue that is missing: it was there when the arena was pinned, and somebody has written over its name.
fn without_its_queue(error: Error, folder: &Path) -> Error {
    use arenaq_libbpf::Error as Library;
    match error {
        Error::Library(Library::Arena(absent @ ArenaError::Absent { .. })) => {
            Error::Library(Library::Pinned {
                folder: folder.to_owned(),
                reason: format!(
                    "{absent}: somebody has written over it. `arenaq unpin` the folder, and pin it anew"
                ),
            })
        }
        other => other,
    }
}
