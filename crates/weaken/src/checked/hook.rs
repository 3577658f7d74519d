//! Notes the panics of models before they are shown.

use std::boxed::Box;
use std::panic::{self, PanicHookInfo};
use std::sync::Once;

use super::panic::first;
use super::{execution, expected, report};

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
            expected::tell_early();
            false
        }
    }
}
