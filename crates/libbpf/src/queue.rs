//! Which queue.

use arenaq::arena::{Arena, ArenaError, Name, QueueInfo};
use arenaq::structures::{Consumers, Kind};

use crate::error::Error;

/// The name of the MPMC queue of pairs in an arena: that of the variable which is its head.
pub const MPMC: &str = "ds_vyukhov";
/// The name of the MPSC queue of pairs.
pub const MPSC: &str = "ds_mpsc";

/// Which of the two queues of pairs.
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

    /// The name of the queue of pairs of this kind.
    pub const fn of_pairs(self) -> &'static str {
        match self {
            QueueKind::Mpsc => MPSC,
            QueueKind::Mpmc => MPMC,
        }
    }
}

impl QueueKind {
    /// The kind of queue, if it is one of those two.
    pub const fn of(kind: Kind) -> Option<QueueKind> {
        match kind {
            Kind::Mpmc => Some(QueueKind::Mpmc),
            Kind::Mpsc => Some(QueueKind::Mpsc),
            _ => None,
        }
    }
}

/// A queue of an arena, by what its consumers have to know before they ask for an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    pub(crate) name: Name,
    /// Who may consume from it.
    pub(crate) consumers: Consumers,
    /// Its number among all queues of the arena.
    pub(crate) number: usize,
}

impl Named {
    /// All queues of elements in an arena.
    pub(crate) fn all(arena: &Arena<'_>) -> Vec<Named> {
        let all = arena.queues().enumerate();
        let named = all.map(|(number, QueueInfo { name, kind, .. })| Named {
            name,
            consumers: kind.consumers(),
            number,
        });
        named.filter(|queue| queue.consumers != Consumers::OfShards).collect()
    }

    /// The one of a name.
    pub(crate) fn find<'q>(queues: &'q [Named], name: &str) -> Result<&'q Named, ArenaError> {
        queues.iter().find(|queue| queue.name.as_str() == name).ok_or_else(|| ArenaError::Absent {
            name: name.into(),
            has: queues.iter().map(|queue| queue.name).collect(),
        })
    }

    /// The same, where somebody may take records for a queue.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if they are records, [`Error::Arena`] if the arena has nothing of that name.
    pub(crate) fn find_in<'q>(
        arena: &Arena<'_>,
        queues: &'q [Named],
        name: &str,
    ) -> Result<&'q Named, Error> {
        if arena.queues().any(|queue| queue.kind == Kind::Records && queue.name.as_str() == name) {
            return Err(Error::Usage(format!(
                "`{name}` has records, and no elements of one type: take them with `records`"
            )));
        }
        Ok(Named::find(queues, name)?)
    }

    pub(crate) fn as_str(&self) -> &str {
        self.name.as_str()
    }
}
