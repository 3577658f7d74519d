//! The structures that the harness's programs push to, by name.

use arenaq::structures::Kind;
use arenaq_libbpf::{MPMC, MPSC};

use crate::event::RECORDS;

/// What the options and the accounts call it.
pub const fn called(queue: Kind) -> &'static str {
    match queue {
        Kind::Mpsc => "mpsc",
        Kind::Mpmc => "mpmc",
        other => other.name(),
    }
}

/// What it is called in the arena.
pub(crate) const fn variable(queue: Kind) -> &'static str {
    match queue {
        Kind::Mpsc => MPSC,
        Kind::Mpmc => MPMC,
        _ => RECORDS,
    }
}
