//! What a consumer has seen, and how late.

use std::cell::{Cell, RefCell};

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

/// What a consumer has seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) events: Cell<u64>,
    pub(super) latency: Option<RefCell<Histogram<u64>>>,
}

impl Seen {
    pub(super) fn new(timed: bool) -> Seen {
        // Three digits up to one minute; a longer latency counts as one minute.
        let histogram = || Histogram::new_with_bounds(1, 60_000_000_000, 3).ok().map(RefCell::new);
        Seen { events: Cell::new(0), latency: if timed { histogram() } else { None } }
    }

    /// An element that carries this.
    #[inline(always)]
    pub(super) fn take(&self, value: u64) {
        self.events.set(self.events.get() + 1);
        if let Some(latency) = &self.latency {
            latency.borrow_mut().saturating_record(now().saturating_sub(value).max(1));
        }
    }
}

/// The kernel's `bpf_ktime_get_ns`.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
