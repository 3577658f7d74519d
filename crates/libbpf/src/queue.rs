//! Which queue.

/// The name of the MPMC queue of pairs in an arena: that of the variable which is its head.
pub const MPMC: &str = "ds_vyukhov";
/// The name of the MPSC queue of pairs.
pub const MPSC: &str = "ds_mpsc";

/// Which of the two queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// A list of nodes from a pool: many producers, one consumer; it can grow.
    Mpsc,
    /// A ring: many producers, many consumers.
    Mpmc,
}

impl QueueKind {
    /// A short name, for output and command lines.
    pub const fn name(self) -> &'static str {
        match self {
            QueueKind::Mpsc => "mpsc",
            QueueKind::Mpmc => "mpmc",
        }
    }
}
