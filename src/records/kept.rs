//! A producer that keeps its lane, from record to record.

use core::fmt;
use core::mem::ManuallyDrop;

use super::{LaneRing, OwnedLane, Reservation};
use crate::platform::Platform;
use crate::status::PushError;

/// A lane for many records of one producer, which has its position and its view of the consumer to itself.
///
/// The next owner takes the position from what was published, and the view from what the lane says, which is older than this one:
/// it looks once more.
pub(super) struct KeptLane<'a, P: Platform> {
    owned: OwnedLane<'a, P>,
    /// What we have published up to.
    position: u64,
    /// What the consumer had given back when we looked last.
    seen: u64,
}

impl<'a, P: Platform> KeptLane<'a, P> {
    pub(super) fn new(owned: OwnedLane<'a, P>) -> Self {
        let LaneRing { lane, .. } = owned.ring;
        // SAFETY: the lane is ours.
        let seen = unsafe { lane.last_seen() };
        KeptLane { position: lane.position(), seen, owned }
    }

    /// Pushes a record of words.
    ///
    /// # Errors
    ///
    /// As [`OwnedLane::reserve`]; but the lane stays ours.
    #[inline(always)]
    pub(super) fn push_words(&mut self, data: &[u64], stamp: u64) -> Result<(), PushError> {
        self.push_with(size_of_val(data) as u64, stamp, |record| record.write_words(data))
    }

    /// Pushes a record of bytes.
    ///
    /// # Errors
    ///
    /// As [`OwnedLane::reserve`]; but the lane stays ours.
    #[inline(always)]
    pub(super) fn push(&mut self, data: &[u8], stamp: u64) -> Result<(), PushError> {
        self.push_with(data.len() as u64, stamp, |record| record.write_bytes(data))
    }

    #[inline(always)]
    fn push_with(
        &mut self,
        size: u64,
        stamp: u64,
        write: impl FnOnce(&mut Reservation<'a, P>),
    ) -> Result<(), PushError> {
        let KeptLane { owned: OwnedLane { ring }, position: first, seen } = self;
        let reservation = ring.reserve(*first, *seen, |consumed| *seen = consumed, size)?;
        // Dropping it would give up the lane, which is ours for the next record.
        let mut reservation = ManuallyDrop::new(reservation);
        write(&mut reservation);
        reservation.publish(stamp);
        *first = reservation.end;
        Ok(())
    }
}

impl<P: Platform> fmt::Debug for KeptLane<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptLane").field("position", &self.position).finish_non_exhaustive()
    }
}
