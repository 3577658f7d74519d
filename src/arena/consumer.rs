//! The right to be the one consumer of an MPSC queue.

use core::num::NonZero;

use super::error::ArenaError;
use super::header::site;
use super::owner::Owner;
use crate::platform::{Native, Platform, Word};

type Right = <Native as Platform>::Word;

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
