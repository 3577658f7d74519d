//! Lanes whose owner died.

use core::num::NonZero;

use super::{Records, site};
use crate::platform::{Platform, Word};

impl<P: Platform> Records<'_, P> {
    /// Gives the lanes of owners that died to other producers, and returns how many. What they had published can be
    /// consumed before and after; what they had not is nothing.
    ///
    /// Producers and consumers go on meanwhile.
    ///
    /// # Safety
    ///
    /// - Of whom `is_dead` says true will never go on, and all that it did happens before that.
    /// - Nobody else repairs at the same time: a lane that another one has repaired may have a living owner again that calls
    ///   itself as the dead one did.
    pub unsafe fn repair(&self, mut is_dead: impl FnMut(NonZero<u64>) -> bool) -> usize {
        let is_repaired = |lane: &&super::Lane<P>| {
            let owner = lane.owner.load(&site::REPAIR_LOAD);
            NonZero::new(owner).is_some_and(&mut is_dead)
                && lane.owner.compare_exchange(owner, 0, &site::REPAIR_OWNER).is_ok()
        };
        self.lanes().iter().filter(is_repaired).count()
    }
}
