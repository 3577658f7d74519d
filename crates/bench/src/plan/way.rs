//! The ways from BPF that are measured against each other.

use crate::kernel::{Size, Via, Waiting};

/// The flag of ring buffers.
const NO_WAKEUP: u32 = libbpf_sys::BPF_RB_NO_WAKEUP;
const FORCE_WAKEUP: u32 = libbpf_sys::BPF_RB_FORCE_WAKEUP;

/// Those that are far behind with a consumer: one table of them is enough.
const SLOW: [Via; 2] = [Via::PerfOutput, Via::QueueMap];

/// A way, and how it is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) via: Via,
    pub(super) flags: u32,
    pub(super) waiting: Waiting,
    suffix: &'static str,
}

impl Way {
    const fn of(via: Via) -> Way {
        Way { via, flags: 0, waiting: Waiting::Spin, suffix: "" }
    }

    const fn backing_off(self) -> Way {
        Way { waiting: Waiting::BackOff, ..self }
    }

    const fn sleeping(self) -> Way {
        Way { waiting: Waiting::Sleep, ..self }
    }

    const fn with_flags(self, flags: u32) -> Way {
        Way { flags, ..self }
    }

    const fn called(self, suffix: &'static str) -> Way {
        Way { suffix, ..self }
    }

    const fn silent(via: Via) -> Way {
        Way::of(via).with_flags(NO_WAKEUP).called("-no-wakeup")
    }

    /// Its name in results.
    pub(super) fn name(self) -> String {
        format!("{}{}", self.via.name(), self.suffix)
    }

    /// Those that carry elements of this size.
    fn carrying(size: Size, ways: Vec<Way>) -> Vec<Way> {
        ways.into_iter().filter(|way| way.via.carries(size)).collect()
    }

    /// Pushes to which nobody listens.
    pub(super) fn pushing(size: Size) -> Vec<Way> {
        let ways = [
            Via::EmptyLoop,
            Via::LockedRmw,
            Via::AddAndWrite,
            Via::AddAndCopy,
            Via::Mpmc,
            Via::Mpsc,
            Via::MpmcUncounted,
            Via::MpscUncounted,
            Via::MpmcTyped,
            Via::MpscTyped,
            Via::Records,
            Via::RecordsScratch,
            Via::MpmcNotify,
            Via::MpscNotify,
            Via::RingbufReserve,
            Via::RingbufOutput,
            Via::PerfOutput,
            Via::QueueMap,
        ];
        let mut ways = ways.map(Way::of).to_vec();
        ways.push(Way::silent(Via::RingbufReserve));
        ways.push(Way::of(Via::RingbufReserve).with_flags(FORCE_WAKEUP).called("-wakeup"));
        Way::carrying(size, ways)
    }

    /// Pushes from all CPUs at once. The perf buffer is each CPU's own.
    pub(super) fn contending(size: Size) -> Vec<Way> {
        let ways = [
            Via::LockedRmw,
            Via::Mpmc,
            Via::Mpsc,
            Via::MpmcUncounted,
            Via::MpscUncounted,
            Via::MpmcTyped,
            Via::MpscTyped,
            Via::Records,
            Via::RecordsScratch,
            Via::RingbufReserve,
            Via::RingbufOutput,
            Via::QueueMap,
        ];
        Way::carrying(size, ways.map(Way::of).to_vec())
    }

    /// Consumers that work all the time. Ours back off when they find less than a batch; the ring buffer's looks again
    /// at once, as one written with libbpf does, and in a run of its own backs off like ours.
    pub(super) fn delivering(size: Size) -> Vec<Way> {
        let ways = vec![
            Way::of(Via::Mpmc).backing_off(),
            Way::of(Via::Mpsc).backing_off(),
            Way::of(Via::MpmcUncounted).backing_off(),
            Way::of(Via::MpscUncounted).backing_off(),
            Way::of(Via::MpmcTyped).backing_off(),
            Way::of(Via::MpscTyped).backing_off(),
            Way::of(Via::Records).backing_off(),
            Way::of(Via::RecordsScratch).backing_off(),
            Way::silent(Via::RingbufReserve),
            Way::silent(Via::RingbufReserve).backing_off().called("-no-wakeup-backoff"),
            Way::of(Via::RingbufReserve).sleeping(),
            Way::silent(Via::RingbufOutput),
            Way::silent(Via::RingbufOutput).backing_off().called("-no-wakeup-backoff"),
            Way::of(Via::PerfOutput).sleeping(),
            Way::of(Via::QueueMap),
        ];
        let mut ways = Way::carrying(size, ways);
        if size != Size::Bytes(16) {
            ways.retain(|way| !SLOW.contains(&way.via));
        }
        ways
    }

    /// Of those, the ones that are drawn over the number of producers.
    pub(super) fn growing() -> Vec<Way> {
        const COPIES: [Via; 2] = [Via::RecordsScratch, Via::RingbufOutput];
        let is_drawn = |way: &Way| {
            !SLOW.contains(&way.via) && !COPIES.contains(&way.via) && way.waiting != Waiting::Sleep
        };
        Way::delivering(Size::Bytes(16)).into_iter().filter(is_drawn).collect()
    }

    /// Consumers that have little to do: those that look again at once, and those that sleep.
    pub(super) fn waiting() -> Vec<Way> {
        let spinning = |via, flags| Way::of(via).with_flags(flags).called("-spin");
        let sleeping = |via| Way::of(via).sleeping().called("-sleep");
        vec![
            spinning(Via::Mpmc, 0),
            spinning(Via::Mpsc, 0),
            spinning(Via::RingbufReserve, NO_WAKEUP),
            sleeping(Via::MpmcNotify),
            sleeping(Via::MpscNotify),
            sleeping(Via::RingbufReserve),
            sleeping(Via::PerfOutput),
        ]
    }
}
