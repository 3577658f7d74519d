//! The first panic of an execution is the reason why it failed; what follows is its consequence.

use std::any::Any;
use std::panic::PanicHookInfo;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::record::{Place, Reason};

/// A panic, and those that it led to.
#[derive(Clone, Debug)]
pub(super) struct FirstPanic {
    pub(super) reason: Reason,
    pub(super) message: String,
    pub(super) place: Option<Place>,
    /// The threads that loom names, if it is a race.
    pub(super) threads: Vec<u32>,
    /// This one and those after it.
    pub(super) count: u64,
    /// The access in which it happened is in the list of steps.
    pub(super) is_placed: bool,
}

/// What a panic says, if its payload is a text.
fn text(payload: &dyn Any) -> Option<&str> {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

pub(super) fn first(info: &PanicHookInfo<'_>) -> FirstPanic {
    let text = text(info.payload()).unwrap_or("a panic without a text").trim();
    let reason = info.location().map_or(Reason::Wrong, |location| reason(location.file()));
    let (message, threads) = match reason {
        Reason::Race => race(text),
        _ => (text, Vec::new()),
    };
    let place = info.location().map(Place::from);
    FirstPanic { reason, message: message.to_string(), place, threads, count: 0, is_placed: false }
}

/// What loom says of a race, and the threads that it names in the lines below, `read: thread #1 @ FILE:LINE`,
/// where it keeps the places of accesses. The places are weaken's own.
fn race(text: &str) -> (&str, Vec<u32>) {
    let (message, accesses) = text.split_once('\n').unwrap_or((text, ""));
    let thread = |line: &str| line.split_once(": thread #")?.1.split_once(' ')?.0.parse().ok();
    (message, accesses.lines().filter_map(thread).collect())
}

/// loom checks each thing in a file of its own.
fn reason(file: &str) -> Reason {
    let is = |name: &str| {
        file.strip_suffix(name).is_some_and(|before| before.contains("loom") && before.ends_with("/src/rt/"))
    };
    if is("location.rs") {
        Reason::Race
    } else if is("execution.rs") {
        Reason::Deadlock
    } else if is("path.rs") {
        Reason::Endless
    } else if is("arc.rs") || is("alloc.rs") || is("mpsc.rs") || is("object.rs") {
        Reason::Leak
    } else {
        Reason::Wrong
    }
}
