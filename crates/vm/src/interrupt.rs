//! Whether the user wants all this to end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};

/// Keeps SIGINT and SIGTERM from ending this process, which then ends what it has started. A second signal ends it at
/// once.
pub fn watch() {
    flag();
}

/// Whether one of the signals has come since [`watch`].
pub fn is_interrupted() -> bool {
    flag().load(Ordering::Relaxed)
}

fn flag() -> &'static AtomicBool {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            let again = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag));
            let first = signal_hook::flag::register(signal, Arc::clone(&flag));
            // Without a handler the signal ends this process and, from a terminal, QEMU too.
            let _ = again.and(first);
        }
        flag
    })
}
