//! The right to be the one consumer of an MPSC queue, and the consumer that has it.

use core::fmt;
use core::num::NonZero;

use super::error::ArenaError;
use super::header::site;
use super::owner::Owner;
use crate::count::CountPolicy;
use crate::mpsc::{Consumer, List};
use crate::platform::{Platform, Word};

/// The right to be the one consumer of an MPSC queue: who has it, or nobody.
///
/// Layout: one 64-bit word. All zero is a right that nobody has.
#[repr(transparent)]
pub struct Right<P: Platform>(P::Word);

// SAFETY: an atomic word.
unsafe impl<P: Platform> Sync for Right<P> {}
// SAFETY: as above.
unsafe impl<P: Platform> Send for Right<P> {}

impl<P: Platform> Right<P> {
    /// A right that nobody has, as zeroed memory is one.
    pub fn free() -> Self {
        Right(P::Word::new(0))
    }

    /// Nobody has it.
    ///
    /// # Safety
    ///
    /// Nobody else knows of it yet.
    pub(super) unsafe fn reset(&self) {
        // SAFETY: nobody else can reach the word by the caller's promise.
        unsafe { self.0.init(0, &site::FORMAT) };
    }

    /// The same right, for a platform with the same words.
    ///
    /// # Safety
    ///
    /// They are the same.
    pub(super) unsafe fn cast<Q: Platform>(&self) -> &Right<Q> {
        // SAFETY: a right is one word, and the words are the same by the caller's promise.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }

    /// Who has it.
    pub fn owner(&self) -> Option<Owner> {
        NonZero::new(self.0.load(&site::CONSUMER_OWNER)).map(Owner)
    }

    /// It becomes `owner`'s, if nobody has it.
    pub(super) fn claim(&self, Owner(owner): Owner) -> Result<Claim<'_, P>, ArenaError> {
        match self.0.compare_exchange(0, owner.get(), &site::CONSUMER_CLAIM) {
            Ok(_) => Ok(Claim(self)),
            Err(found) => Err(taken(found)),
        }
    }

    /// It becomes `owner`'s, if `dead` has it still, or nobody. Of several who take over from one, one gets it.
    ///
    /// # Safety
    ///
    /// As [`MpscConsumer::take_over`](super::MpscConsumer::take_over).
    pub(super) unsafe fn take_over(
        &self,
        dead: Option<Owner>,
        owner: Owner,
    ) -> Result<Claim<'_, P>, ArenaError> {
        let Some(Owner(dead)) = dead else { return self.claim(owner) };
        match self.0.compare_exchange(dead.get(), owner.get().get(), &site::CONSUMER_TAKE_OVER) {
            Ok(_) => Ok(Claim(self)),
            Err(0) => self.claim(owner),
            Err(found) => Err(taken(found)),
        }
    }
}

impl<P: Platform> fmt::Debug for Right<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Right").field("owner", &self.owner()).finish()
    }
}

fn taken(found: u64) -> ArenaError {
    ArenaError::ConsumerTaken { owner: NonZero::new(found).map_or(Owner::ANONYMOUS, Owner) }
}

/// That one has the right. Dropping it gives the right up.
#[derive(Debug)]
pub(super) struct Claim<'m, P: Platform>(&'m Right<P>);

impl<P: Platform> Drop for Claim<'_, P> {
    fn drop(&mut self) {
        self.0.0.store(0, &site::CONSUMER_RELEASE);
    }
}

/// The one consumer of an MPSC queue, and the right to be it.
#[derive(Debug)]
pub(super) struct Claimed<'m, P: Platform, T, C: CountPolicy> {
    // Dropped in this order: the right to consume is given up last.
    pub(super) consumer: Consumer<'m, P, T, C>,
    _claim: Claim<'m, P>,
}

impl<'m, P: Platform, T, C: CountPolicy> Claimed<'m, P, T, C> {
    /// Claims the right, and goes on where the last consumer has stopped.
    ///
    /// # Safety
    ///
    /// As [`MpscConsumer::claim`](super::MpscConsumer::claim).
    pub(super) unsafe fn claim(
        list: List<'m, P, T, C>,
        right: &'m Right<P>,
        owner: Owner,
    ) -> Result<Self, ArenaError> {
        let claim = right.claim(owner)?;
        // SAFETY: passed on to the caller.
        unsafe { Self::resume(list, claim) }
    }

    /// Takes the right over, and goes on where the dead consumer has stopped.
    ///
    /// # Safety
    ///
    /// As [`MpscConsumer::take_over`](super::MpscConsumer::take_over).
    pub(super) unsafe fn take_over(
        list: List<'m, P, T, C>,
        right: &'m Right<P>,
        dead: Option<Owner>,
        owner: Owner,
    ) -> Result<Self, ArenaError> {
        // SAFETY: passed on to the caller.
        let claim = unsafe { right.take_over(dead, owner) }?;
        // SAFETY: as above.
        unsafe { Self::resume(list, claim) }
    }

    /// # Safety
    ///
    /// Whoever consumes from the list has the right that was claimed.
    unsafe fn resume(list: List<'m, P, T, C>, claim: Claim<'m, P>) -> Result<Self, ArenaError> {
        // SAFETY: the claim makes us the only consumer, and is given up after the consumer is gone.
        let consumer = unsafe { Consumer::new(list) }?;
        Ok(Claimed { consumer, _claim: claim })
    }
}
