//! The ends of an MPMC queue whose kind and count policy the compiler knows.

use alloc::vec::Vec;

use super::Arena;
use super::error::ArenaError;
use super::kinds::Parts;
use super::kinds::structure::stride;
use super::owner::Owner;
use crate::count::{CountPolicy, Counted};
use crate::mpmc::{self, Ring, Slotted};
use crate::payload::Element;
use crate::platform::{Native, Opaque, SizeOf, Untyped};
use crate::structures::Kind;

/// An MPMC queue in an arena: any number of producers and consumers, each with a copy of this handle.
pub type Mpmc<'m, T, C = Counted> = Ring<'m, Native, T, C>;

/// A consumer of an MPMC queue in an arena, from which another one can take over when it dies.
pub type MpmcConsumer<'m, T, C = Counted> = mpmc::Consumer<'m, Native, T, C>;

impl<'m> Arena<'m> {
    /// The MPMC queue of that name, with its count policy known to the compiler.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] if there is none, or it is another kind, carries something else, or has the other policy.
    pub fn mpmc<T: Element, C: CountPolicy>(&self, name: &str) -> Result<Mpmc<'m, T, C>, ArenaError> {
        self.mpmc_with_slots(name).map(|queue| queue.queue())
    }

    /// The MPMC queue of that name with the slots of its consumers, of whom others take over when they die. Whoever
    /// takes over has every consumer of the queue come from here: see [`Slotted::take_over`].
    ///
    /// # Errors
    ///
    /// As [`mpmc`](Self::mpmc).
    pub fn mpmc_with_slots<T: Element, C: CountPolicy>(
        &self,
        name: &str,
    ) -> Result<Slotted<'m, Native, T, C>, ArenaError> {
        let found = self.typed::<T>(name)?;
        found.check_policy::<C>()?;
        let Parts::Mpmc(parts) = found.parts else { return Err(found.is_not(Kind::Mpmc)) };
        // SAFETY: an element is plain old data of the size that the queue was checked for.
        Ok(unsafe { parts.slotted(SizeOf) })
    }

    /// A consumer of the MPMC queue of that name, with the first slot that is free. It calls itself
    /// [`Owner::ANONYMOUS`].
    ///
    /// # Errors
    ///
    /// As [`mpmc`](Self::mpmc), and [`ArenaError::NoSlot`].
    pub fn mpmc_consumer<T: Element, C: CountPolicy>(
        &self,
        name: &str,
    ) -> Result<MpmcConsumer<'m, T, C>, ArenaError> {
        self.mpmc_consumer_as(name, Owner::ANONYMOUS)
    }

    /// [`mpmc_consumer`](Self::mpmc_consumer) for a consumer that calls itself `owner`.
    ///
    /// # Errors
    ///
    /// As [`mpmc_consumer`](Self::mpmc_consumer).
    pub fn mpmc_consumer_as<T: Element, C: CountPolicy>(
        &self,
        name: &str,
        Owner(owner): Owner,
    ) -> Result<MpmcConsumer<'m, T, C>, ArenaError> {
        let queue = self.find(name)?.name;
        self.mpmc_with_slots(name)?.consumer(owner).map_err(|reason| ArenaError::NoSlot { queue, reason })
    }

    /// Who has each slot of an MPMC queue, by its number.
    ///
    /// # Errors
    ///
    /// [`ArenaError::Absent`] if there is no such queue, [`ArenaError::Kind`] if it is another kind.
    pub fn mpmc_owners(&self, name: &str) -> Result<Vec<Option<Owner>>, ArenaError> {
        let found = self.find(name)?;
        let Parts::Mpmc(parts) = found.parts else { return Err(found.is_not(Kind::Mpmc)) };
        // SAFETY: an opaque element is any bits, of the size that the queue was checked for.
        let slotted: Slotted<'m, Untyped, Opaque, Counted> =
            unsafe { parts.slotted(stride(found.element.size)) };
        Ok(slotted.owners().map(|owner| owner.map(Owner)).collect())
    }
}
