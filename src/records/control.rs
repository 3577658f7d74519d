//! What is shared of records but for their lanes and words, and where those are.

use core::fmt;
use core::num::NonZero;

use super::{Geometry, LANES, Lane, Records, site};
use crate::drops::Drops;
use crate::eventcount::EventCount;
use crate::platform::{Plain, Platform};

/// The control block: what a variable of a BPF program is made of, `struct arenaq_records`.
///
/// Layout: `lanes` 0x00, `words` 0x08, `shards` 0x10, `shard_words` 0x18, `largest` 0x20, `drops` 0x40, `events` 0x80; 192 bytes.
/// Each shard has [`LANES`] lanes. All zero are records that were never initialised, and for which nobody waits.
#[repr(C, align(64))]
pub struct Control<P: Platform> {
    pub(crate) lanes: P::Plain<*mut Lane<P>>,
    pub(crate) words: P::Plain<*mut P::Plain<u64>>,
    /// How many shards there are, and how many words the lanes of each have.
    pub(crate) shards: P::Plain<u64>,
    pub(crate) shard_words: P::Plain<u64>,
    /// How many bytes the largest record has.
    pub(crate) largest: P::Plain<u64>,
    /// What was dropped.
    pub drops: Drops<P>,
    /// What their consumers sleep on.
    pub events: EventCount<P>,
}

// SAFETY: the counters and the event count are atomic words. The rest is written before anybody else knows of the control
// block, and from then on only read.
unsafe impl<P: Platform> Sync for Control<P> {}
// SAFETY: as above; nothing in it is tied to a thread.
unsafe impl<P: Platform> Send for Control<P> {}

/// What a control block says of the place and the size of its records.
#[derive(Clone, Copy)]
pub(crate) struct Said<P: Platform> {
    pub(crate) lanes: *mut Lane<P>,
    pub(crate) words: *mut P::Plain<u64>,
    shards: u64,
    shard_words: u64,
    largest: u64,
}

impl<P: Platform> Said<P> {
    /// How large they are, if there can be such records.
    pub(crate) fn geometry(&self) -> Option<Geometry> {
        Geometry::new(self.shards, self.shard_words.checked_mul(8)?, self.largest).ok()
    }
}

impl<P: Platform> Control<P> {
    /// Makes it the control block of empty records.
    ///
    /// # Safety
    ///
    /// Nobody else knows of the control block, or of the records, yet. Each shard has [`LANES`] lanes.
    pub(crate) unsafe fn init(&self, records: &Records<'_, P>) {
        // SAFETY: nobody else knows of them, by the caller's promise.
        unsafe { records.say() };
        let geometry = records.geometry();
        debug_assert_eq!(geometry.lanes_each(), LANES);
        let write = |to: &P::Plain<u64>, value| {
            // SAFETY: nobody else can reach it, by the caller's promise.
            unsafe { to.write(value, &site::INIT) }
        };
        write(&self.shards, geometry.shards() as u64);
        write(&self.shard_words, geometry.words() / geometry.shards() as u64);
        write(&self.largest, geometry.largest());
        // SAFETY: as above.
        unsafe {
            self.words.write(records.words, &site::INIT);
            self.lanes.write(records.lanes.cast_mut(), &site::INIT);
        }
    }

    /// What it says, each word read once.
    #[inline(always)]
    pub(crate) fn said(&self) -> Said<P> {
        // SAFETY: written before anybody else knew of it. Who writes there all the same makes it anything, which is what it is
        // taken for.
        unsafe {
            Said {
                lanes: self.lanes.read(&site::GEOMETRY),
                words: self.words.read(&site::GEOMETRY),
                shards: self.shards.read(&site::GEOMETRY),
                shard_words: self.shard_words.read(&site::GEOMETRY),
                largest: self.largest.read(&site::GEOMETRY),
            }
        }
    }

    /// The records, if they were initialised, for a program in the kernel, which believes the control block: no address leads it
    /// out of the arena. Whoever else writes there gets what it has asked for.
    #[inline(always)]
    pub fn records<'a>(&self, owner: NonZero<u64>) -> Option<Records<'a, P>> {
        const { assert!(P::IS_CONFINED, "only the kernel may believe what stands in shared memory") };
        let said = self.said();
        if said.lanes.is_null() {
            return None;
        }
        let geometry = Geometry::unchecked(said.shards, said.shard_words, said.largest);
        // SAFETY: the lanes and words are those of these records, or somebody has damaged the control block: then they are
        // any words of the arena, which no address leaves.
        Some(unsafe { Records::at(said.lanes, said.words, geometry, owner) })
    }
}

impl<P: Platform> fmt::Debug for Control<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("drops", &self.drops).finish_non_exhaustive()
    }
}
