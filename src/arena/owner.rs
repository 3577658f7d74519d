//! Who consumes.

use core::num::NonZero;

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
