//! The first panic of an execution is the reason why it failed; what follows is its consequence.

use std::boxed::Box;
use std::panic::{self, PanicHookInfo};
use std::string::{String, ToString};
use std::sync::Once;

use crate::record::{Place, Reason};

use super::{execution, report};

/// A panic, and those that it led to.
#[derive(Clone, Debug)]
pub(super) struct FirstPanic {
    pub(super) reason: Reason,
    pub(super) message: String,
    pub(super) place: Option<Place>,
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
        let panic = execution.panic.get_or_insert_with(|| FirstPanic {
            reason: info.location().map_or(Reason::Wrong, |location| reason(location.file())),
            message: info.payload_as_str().unwrap_or("a panic without a text").trim().to_string(),
            place: info.location().map(Place::from),
            count: 0,
            is_placed: false,
        });
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
