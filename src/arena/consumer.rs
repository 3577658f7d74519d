//! The right to be the one consumer of an MPSC queue.

use core::num::NonZero;

use super::error::ArenaError;
use super::header::site;
use crate::platform::{Native, Platform, Word};

type Right = <Native as Platform>::Word;

/// Who a consumer is, for others to see: its process id, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner(pub(super) NonZero<u64>);

impl Owner {
    /// One that does not say.
    pub const ANONYMOUS: Owner = Owner(NonZero::<u64>::MAX);

    /// Nobody yet: the right to consume is a lock outside of the arena, and whoever holds that takes over
    /// ([`mpsc_consumer_after_death`](super::Arena::mpsc_consumer_after_death)).
    pub const LOCK: Owner = match NonZero::new(u64::MAX - 1) {
        Some(owner) => Owner(owner),
        None => Owner::ANONYMOUS,
    };

    /// The number that stands in the arena.
    pub const fn get(self) -> NonZero<u64> {
        self.0
    }

    /// A process.
    pub fn process(id: NonZero<u32>) -> Owner {
        Owner(id.into())
    }
}

impl core::fmt::Display for Owner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Owner::ANONYMOUS => f.write_str("which does not say who it is"),
            Owner::LOCK => f.write_str("whoever holds the lock that is the right to consume"),
            Owner(id) => write!(f, "process {id}"),
        }
    }
}

/// The right to be the one consumer.
#[derive(Debug)]
pub(super) struct ConsumerClaim<'m>(&'m Right);

impl<'m> ConsumerClaim<'m> {
    pub(super) fn new(right: &'m Right, Owner(owner): Owner) -> Result<Self, ArenaError> {
        let claim = right.compare_exchange(0, owner.get(), &site::CONSUMER_CLAIM);
        Self::won(right, claim)
    }

    /// Whoever holds the right is dead.
    pub(super) fn take_over(right: &'m Right, Owner(owner): Owner) -> Result<Self, ArenaError> {
        match right.load(&site::CONSUMER_OWNER) {
            0 => Self::new(right, Owner(owner)),
            dead => {
                let claim = right.compare_exchange(dead, owner.get(), &site::CONSUMER_TAKE_OVER);
                Self::won(right, claim)
            }
        }
    }

    fn won(right: &'m Right, claim: Result<u64, u64>) -> Result<Self, ArenaError> {
        match claim {
            Ok(_) => Ok(ConsumerClaim(right)),
            Err(found) => {
                Err(ArenaError::ConsumerTaken { owner: NonZero::new(found).map_or(Owner::ANONYMOUS, Owner) })
            }
        }
    }
}

impl Drop for ConsumerClaim<'_> {
    fn drop(&mut self) {
        self.0.store(0, &site::CONSUMER_RELEASE);
    }
}
