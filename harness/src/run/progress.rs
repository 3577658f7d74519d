//! The live display.

use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

use super::options::Options;
use crate::object::Counters;

/// The live display; nothing where standard error is no terminal.
pub(super) struct Progress {
    bar: ProgressBar,
    last_drop: AtomicU64,
}

impl Progress {
    pub(super) fn new(options: &Options) -> Progress {
        let total = options.events.or(options.operations).filter(|_| options.command.is_empty());
        let bar = match total {
            Some(total) => ProgressBar::new(total).with_style(style("{bar:30} {pos}/{len} consumed  {msg}")),
            None => ProgressBar::new_spinner().with_style(style("{spinner} {pos} consumed  {msg}")),
        };
        Progress { bar, last_drop: AtomicU64::new(0) }
    }

    pub(super) fn show(&self, counters: &Counters, consumed: u64) {
        let dropped = counters.nomem + counters.busy;
        let falling =
            if self.last_drop.swap(dropped, Ordering::Relaxed) < dropped { " and rising" } else { "" };
        self.bar.set_message(format!("produced {}  dropped {dropped}{falling}", counters.produced));
        self.bar.set_position(consumed);
        self.bar.tick();
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is one of the two above")
}
