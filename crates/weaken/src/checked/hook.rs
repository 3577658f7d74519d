//! The first panic of an execution is the reason why it failed; what follows is its consequence.

use std::any::Any;
use std::boxed::Box;
use std::panic::{self, PanicHookInfo};
use std::string::{String, ToString};
use std::sync::Once;
use std::vec::Vec;

use crate::record::{Place, Reason};

use super::{execution, report};

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

/// From now on panics of models are noted before they are shown, and only the first of an execution is shown.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if note(info) {
                previous(info);
            }
        }));
    });
}

/// Whether the panic should be shown.
fn note(info: &PanicHookInfo<'_>) -> bool {
    let number = execution::try_with(|execution| {
        let panic = execution.panic.get_or_insert_with(|| first(info));
        panic.count += 1;
        panic.count
    });
    match number {
        // No model runs here.
        None | Some(1) => true,
        Some(_) => {
            // A panic in a destructor while another unwinds ends the process: then nobody writes later.
            report::write_failure_early();
            false
        }
    }
}

/// What a panic says, if its payload is a text.
fn text(payload: &dyn Any) -> Option<&str> {
    payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

fn first(info: &PanicHookInfo<'_>) -> FirstPanic {
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
