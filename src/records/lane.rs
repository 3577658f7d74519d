//! A lane: two positions, and who may move the first.

use core::fmt;
use core::num::NonZero;
use core::ptr;

use super::{LaneRing, site};
use crate::platform::{Plain, Platform, Stride, Word};

/// What is shared of a lane but for its words.
///
/// Layout: `owner` 0x00, `published` 0x08, `seen` 0x10, `reserved` 0x18, `words` 0x20, `mask` 0x28, `largest` 0x30, `number` 0x38,
/// `consumed` 0x40, `consumer` 0x48; 128 bytes, a line for the producers and one for the consumer. All zero is an empty lane that
/// nobody has, and whose words are not said.
#[repr(C, align(64))]
pub struct Lane<P: Platform> {
    /// Who has the lane: 0 for nobody.
    pub(crate) owner: P::Word,
    /// How many words were published since the beginning.
    pub(crate) published: P::Word,
    /// What `consumed` was when an owner looked last. The owner's alone.
    pub(crate) seen: P::Plain<u64>,
    /// How many bytes a record has that is reserved, where an owner keeps it that cannot keep a reservation. The owner's alone.
    pub(crate) reserved: P::Plain<u64>,
    pub(crate) ring: SaidRing<P>,
    pub(crate) back: Back<P>,
}

/// Where a lane's words are, for who believes what stands in shared memory: a program in the kernel finds in one line all that
/// it needs of a lane it has, and need not compute it for each record. Others have a [geometry](super::Geometry) of their own.
#[repr(C)]
pub(crate) struct SaidRing<P: Platform> {
    /// The first one.
    pub(crate) words: P::Plain<*mut P::Plain<u64>>,
    /// How many there are, less one.
    pub(crate) mask: P::Plain<u64>,
    /// How many bytes the largest record has.
    pub(crate) largest: P::Plain<u64>,
    /// Which of all lanes this is.
    pub(crate) number: P::Plain<u64>,
}

/// The consumer's line of a lane.
#[repr(C, align(64))]
pub(crate) struct Back<P: Platform> {
    /// How many words the consumer has given back.
    pub(crate) consumed: P::Word,
    /// In the first lane of a shard: who consumes; 0 for nobody.
    pub(crate) consumer: P::Word,
}

// SAFETY: atomic words, but for `seen` and `reserved`, which only the owner touches: the one thread that has swapped `owner` from 0
// (acquire) and has not stored 0 there (release); and for `ring`, which is written before anybody else knows of the lane, and from
// then on only read.
unsafe impl<P: Platform> Sync for Lane<P> {}
// SAFETY: as above; nothing in it is tied to a thread.
unsafe impl<P: Platform> Send for Lane<P> {}

impl<P: Platform> Lane<P> {
    /// An empty lane that nobody has, as zeroed memory is one.
    pub fn empty() -> Self {
        Lane::starting_at(0)
    }

    /// [`empty`](Self::empty), as if so many words had come and gone. Positions wrap around at 2^64, which nobody waits
    /// for; a start just below it shows what happens there.
    pub fn starting_at(position: u64) -> Self {
        Lane {
            owner: P::Word::new(0),
            published: P::Word::new(position),
            seen: P::Plain::new(position),
            reserved: P::Plain::new(0),
            ring: SaidRing {
                words: P::Plain::new(ptr::null_mut()),
                mask: P::Plain::new(0),
                largest: P::Plain::new(0),
                number: P::Plain::new(0),
            },
            back: Back { consumed: P::Word::new(position), consumer: P::Word::new(0) },
        }
    }

    /// Makes it [`empty`](Self::empty), whatever is in its memory.
    ///
    /// # Safety
    ///
    /// Nobody else knows of the lane yet.
    pub(crate) unsafe fn clear(&self) {
        let Lane { owner, published, seen, reserved, ring, back: Back { consumed, consumer } } = self;
        let SaidRing { words, mask, largest, number } = ring;
        // SAFETY: nobody else can reach it, by the caller's promise.
        unsafe {
            [owner, published, consumed, consumer].into_iter().for_each(|word| word.init(0, &site::INIT));
            [seen, reserved, mask, largest, number].into_iter().for_each(|word| word.write(0, &site::INIT));
            words.write(ptr::null_mut(), &site::INIT);
        }
    }

    /// Says in the lane where its words are.
    ///
    /// # Safety
    ///
    /// Nobody else knows of the lane yet.
    pub(super) unsafe fn say(&self, ring: &LaneRing<'_, P>, number: usize) {
        let SaidRing { words, mask, largest, number: said } = &self.ring;
        // SAFETY: nobody else can reach it, by the caller's promise.
        unsafe {
            words.write(ring.first, &site::INIT);
            mask.write(ring.mask, &site::INIT);
            largest.write(ring.largest, &site::INIT);
            said.write(number as u64, &site::INIT);
        }
    }

    /// The lane with its words, where it says that they are.
    ///
    /// # Safety
    ///
    /// They are there, or no address leads out of the shared memory, as in the kernel.
    #[inline(always)]
    pub(super) unsafe fn said_ring(&self) -> LaneRing<'_, P> {
        let SaidRing { words, mask, largest, .. } = &self.ring;
        // SAFETY: written before anybody else knew of the lane. Who writes there all the same makes it anything, which is what it
        // is taken for.
        let (first, mask, largest) = unsafe {
            (words.read(&site::READ_RING), mask.read(&site::READ_RING), largest.read(&site::READ_RING))
        };
        LaneRing { lane: self, first, mask, stride: P::Stride::of::<P::Plain<u64>>(), largest }
    }

    /// Which of all lanes this one says it is.
    #[inline(always)]
    pub(super) fn number(&self) -> u64 {
        // SAFETY: as for the ring.
        unsafe { self.ring.number.read(&site::READ_RING) }
    }

    /// Makes this thread the lane's owner, if nobody is. Whether it did.
    #[inline(always)]
    pub(super) fn claim(&self, owner: NonZero<u64>) -> bool {
        self.owner.compare_exchange(0, owner.get(), &site::CLAIM_OWNER).is_ok()
    }

    /// The owner gives the lane up.
    ///
    /// # Safety
    ///
    /// The caller is the owner.
    #[inline(always)]
    pub(super) unsafe fn give_up(&self) {
        self.owner.store(0, &site::RELEASE_OWNER);
    }

    /// Whether that is the lane's owner.
    #[inline(always)]
    pub(super) fn is_owned_by(&self, owner: NonZero<u64>) -> bool {
        self.owner.load(&site::CHECK_OWNER) == owner.get()
    }

    /// Whether somebody has the lane. If nobody has, what its owners have published until then is seen.
    #[inline(always)]
    pub(super) fn is_owned(&self) -> bool {
        self.owner.load(&site::SLEEP_OWNER) != 0
    }

    /// Where the owner goes on.
    #[inline(always)]
    pub(super) fn position(&self) -> u64 {
        self.published.load(&site::LOAD_POSITION)
    }

    /// What `consumed` was when an owner looked last.
    ///
    /// # Safety
    ///
    /// The caller is the owner.
    #[inline(always)]
    pub(super) unsafe fn last_seen(&self) -> u64 {
        // SAFETY: `seen` is the owner's alone.
        unsafe { self.seen.read(&site::READ_SEEN) }
    }

    /// Keeps that for the next owner.
    ///
    /// # Safety
    ///
    /// The caller is the owner.
    #[inline(always)]
    pub(super) unsafe fn keep_seen(&self, consumed: u64) {
        // SAFETY: `seen` is the owner's alone.
        unsafe { self.seen.write(consumed, &site::WRITE_SEEN) };
    }

    /// How far the consumer is. What it has read until then is the owner's again.
    #[inline(always)]
    pub(super) fn consumed(&self) -> u64 {
        self.back.consumed.load(&site::LOAD_CONSUMED)
    }

    /// Everything before that position can be consumed.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and has written whole records up to there.
    #[inline(always)]
    pub(super) unsafe fn publish(&self, end: u64) {
        self.published.store(end, &site::PUBLISH);
    }

    /// How far the consumer can read.
    #[inline(always)]
    pub(super) fn published(&self) -> u64 {
        self.published.load(&site::LOAD_PUBLISHED)
    }

    /// The words before that position are free.
    ///
    /// # Safety
    ///
    /// The caller is the consumer, and reads none of them any more.
    #[inline(always)]
    pub(super) unsafe fn free(&self, position: u64) {
        self.back.consumed.store(position, &site::FREE_WORDS);
    }

    /// Both positions, the consumer's first, for who looks at them, or is alone with them.
    pub(super) fn between(&self) -> (u64, u64) {
        let consumed = self.back.consumed.load(&site::INSPECT_POSITION);
        (consumed, self.published.load(&site::INSPECT_POSITION))
    }
}

impl<P: Platform> fmt::Debug for Lane<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}
