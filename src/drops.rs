//! Elements that were not enqueued, counted by the push that gave up.
//!
//! A queue that is full drops what comes, and somebody must say how much. The counters lie in the shared memory beside
//! the queue, on a line of their own, and change only when a push fails, so a push that succeeds does not know them.

use core::fmt;

use crate::platform::{Platform, Word};
use crate::status::PushError;

/// The sites of the counters.
pub mod site {
    use crate::ordering::Ordering::Relaxed;
    use crate::ordering::{Field, Site, sites};

    sites! {
        /// One element was not enqueued.
        INCREMENT: Add = Site::add(Relaxed, "drops.push.increment")
            .of(Field::Drops)
            .why("a statistic: nothing is decided by it");
        /// None, before anybody knows of the counters.
        INIT: Write = Site::write("drops.init.write")
            .of(Field::Several)
            .why("nobody else knows of the counters yet");
        /// How many there were.
        INSPECT: Load = Site::load(Relaxed, "drops.inspect.load")
            .of(Field::Drops)
            .why("a statistic: nothing is decided by it");
    }
}

/// How many elements of a queue were dropped, by the reason.
///
/// Layout: `full` 0, `contended` 8, `invalid` 16, `corrupt` 24; 64 bytes, a line. All zero is that nothing was dropped.
#[repr(C, align(64))]
pub struct Drops<P: Platform> {
    full: P::Word,
    contended: P::Word,
    invalid: P::Word,
    corrupt: P::Word,
}

// SAFETY: atomic words.
unsafe impl<P: Platform> Sync for Drops<P> {}
// SAFETY: as above.
unsafe impl<P: Platform> Send for Drops<P> {}

impl<P: Platform> Drops<P> {
    /// Nothing was dropped.
    pub fn new() -> Self {
        Drops {
            full: P::Word::new(0),
            contended: P::Word::new(0),
            invalid: P::Word::new(0),
            corrupt: P::Word::new(0),
        }
    }

    /// Counts `elements` that a push did not enqueue.
    #[cold]
    pub fn count(&self, reason: PushError, elements: u64) {
        let counter = match reason {
            PushError::Full | PushError::Exhausted => &self.full,
            PushError::Contended => &self.contended,
            PushError::Invalid => &self.invalid,
            PushError::Corrupt => &self.corrupt,
        };
        counter.add(elements, &site::INCREMENT);
    }

    /// Nothing was dropped.
    ///
    /// # Safety
    ///
    /// Nobody else knows of the counters yet.
    pub(crate) unsafe fn reset(&self) {
        for counter in [&self.full, &self.contended, &self.invalid, &self.corrupt] {
            // SAFETY: nobody else can reach the words by the caller's promise.
            unsafe { counter.init(0, &site::INIT) };
        }
    }

    /// How many were dropped until now.
    pub fn read(&self) -> Dropped {
        let [full, contended, invalid, corrupt] = [&self.full, &self.contended, &self.invalid, &self.corrupt]
            .map(|counter| counter.load(&site::INSPECT));
        Dropped { full, contended, invalid, corrupt }
    }
}

impl<P: Platform> Default for Drops<P> {
    fn default() -> Self {
        Drops::new()
    }
}

impl<P: Platform> fmt::Debug for Drops<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.read(), f)
    }
}

/// Elements that were not enqueued, by the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// The queue was full, or its pool had no node left.
    pub full: u64,
    /// The retry budget was spent.
    pub contended: u64,
    /// The queue was not initialised.
    pub invalid: u64,
    /// The queue was damaged.
    pub corrupt: u64,
}

impl Dropped {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.full.wrapping_add(self.contended).wrapping_add(self.invalid).wrapping_add(self.corrupt)
    }
}

crate::layout::layouts! {
    "arenaq_drops", Drops<crate::platform::Native>, {
        "full": full,
        "contended": contended,
        "invalid": invalid,
        "corrupt": corrupt,
    }
}
