//! The approximate element counter, as a compile-time policy.
//!
//! The seeds keep a counter in the head of each queue. It is one more locked instruction on every operation,
//! on a cache line that all sides share: in the MPMC queue that of the ring's address, which every operation
//! reads. Its field is part of the layout whatever the policy. All who use a queue must have the same one; the
//! arena's header says which, and C programs define `ARENAQ_UNCOUNTED`.

use crate::ordering::{Add, Site};
use crate::platform::Word;

/// Whether a queue maintains its counter.
pub trait CountPolicy: 'static {
    /// Whether the counter is maintained.
    const COUNTED: bool;

    /// Adds so many elements, at once.
    #[inline(always)]
    fn increment(count: &impl Word, elements: u64, site: &'static Site<Add>) {
        if Self::COUNTED {
            count.add(elements, site);
        }
    }

    /// Takes so many elements off, at once.
    #[inline(always)]
    fn decrement(count: &impl Word, elements: u64, site: &'static Site<Add>) {
        if Self::COUNTED {
            count.add(elements.wrapping_neg(), site);
        }
    }
}

/// The counter is maintained, as in the seeds.
#[derive(Clone, Copy, Debug)]
pub enum Counted {}

/// The counter is never touched and stays 0.
#[derive(Clone, Copy, Debug)]
pub enum Uncounted {}

impl CountPolicy for Counted {
    const COUNTED: bool = true;
}

impl CountPolicy for Uncounted {
    const COUNTED: bool = false;
}

/// What a reader may make of the counter. A producer counts its element after it has published it, so a
/// consumer may take it off first and the word is then below zero: as an unsigned number it would be huge, so
/// it is read as a signed one, and less than none is none.
#[inline]
pub fn clamp(count: u64) -> u64 {
    u64::try_from(count as i64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::clamp;

    #[test]
    fn a_counter_below_zero_reads_as_none() {
        assert_eq!(clamp(0), 0);
        assert_eq!(clamp(7), 7);
        assert_eq!(clamp(1u64.wrapping_neg()), 0);
        assert_eq!(clamp(u64::MAX - 4), 0);
    }
}
