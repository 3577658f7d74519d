//! Slots: what each consumer announces that it will claim, so that others can take over if it dies.
//!
//! A consumer that is killed between the claim of a position and the free of its cell leaves a cell that is nobody's,
//! and that the ring cannot pass a lap later. A [`Consumer`] has a slot and writes into it, before each claim, which
//! positions it will try to claim; whoever survives it reads there where to look ([`Slotted::take_over`]).
//!
//! # Who held a position
//!
//! That a position was announced says not that it was claimed: the claim may have failed, and another consumer may have
//! the position. Let `p` be a position that a dead consumer has announced, and let the dequeue position be beyond it,
//! so that somebody has claimed it. One who lives and has a slot does not hold `p` if its slot
//!
//! - announces nothing: it has freed whatever it had claimed, or has claimed nothing yet;
//! - announces a position ahead of `p`: a consumer announces again only when it has freed what it had, and what it
//!   claims from then on is ahead of `p` too.
//!
//! Both words are stored with release and loaded with acquire, so the free of `p` is visible with them. And none of them
//! is too old: whoever claims announces *before* it does, the claim releases the announcement, and as all claims are
//! read-modify-writes of one word, whoever acquires a dequeue position beyond `p` sees what the claimer of `p`
//! announced. So if nobody who lives can hold `p` and its cell was not freed, a dead consumer held it. Where that cannot
//! be said yet, the living one will free its cell or move on, and a later call decides.
//!
//! One survivor at a time takes over: the word `recoverer` says who. Should it die in turn, so does its slot, and the
//! next one goes on; at most one element more is handed over a second time.
//!
//! # Who needs a slot
//!
//! Everybody who pops the queue, if somebody takes over: what a consumer without a slot holds looks as if a dead one
//! did. That is the promise of [`Slotted::take_over`]. Those who push need none.

use core::fmt;
use core::num::NonZero;

use thiserror::Error;

use super::{Consumer, Ring, distance};
use crate::claim::Claim;
use crate::count::CountPolicy;
use crate::layout::CacheLine;
use crate::ordering::{CompareExchange, Site};
use crate::platform::{Platform, Word};

/// How many slots a queue in an arena has, and so how many consumers at a time.
pub const SLOTS: usize = 16;

/// The sites of the slots.
pub mod site {
    use crate::ordering::Ordering::{Acquire, Relaxed, Release};
    use crate::ordering::{Field, Site, sites};

    sites! {
        /// A consumer takes a free slot.
        OCCUPY: CompareExchange = Site::compare_exchange(Acquire, Relaxed, "slots.occupy.claim_owner")
            .of(Field::Owner)
            .pairs_with(&["slots.vacate.free_owner", "slots.take_over.free_owner"])
            .why("what was written into the slot before is older than what its new owner writes; failure: nothing is read");
        /// Where it will claim. What it claimed before, it has freed.
        ANNOUNCE_FIRST: Store = Site::store(Release, "slots.announce.store_first")
            .of(Field::Announcement)
            .pairs_with(&["slots.take_over.load_first"])
            .why("who sees a position ahead of another one sees that the cell of that was freed");
        /// How many positions.
        ANNOUNCE_LENGTH: Store = Site::store(Relaxed, "slots.announce.store_length")
            .of(Field::Announcement)
            .why("the claim releases it; whoever finds it has to look at the position, whatever it knows");
        /// The operation has ended: no cell is held.
        CLEAR_LENGTH: Store = Site::store(Release, "slots.end.clear_length")
            .of(Field::Announcement)
            .pairs_with(&["slots.take_over.load_length"])
            .why("who sees that nothing is announced sees that the cells were freed");
        /// The slot is given up.
        VACATE: Store = Site::store(Release, "slots.vacate.free_owner")
            .of(Field::Owner)
            .pairs_with(&["slots.occupy.claim_owner"])
            .why("what this owner wrote into the slot is older than what the next one writes");

        /// Who takes over at the moment.
        LOAD_TURN: Load = Site::load(Relaxed, "slots.take_over.load_turn")
            .of(Field::Turn)
            .why("only a guess: the claim of the turn fails if it is old");
        /// The right to take over, of which there is one.
        TAKE_TURN: CompareExchange = Site::compare_exchange(Acquire, Relaxed, "slots.take_over.claim_turn")
            .of(Field::Turn)
            .pairs_with(&["slots.take_over.end_turn"])
            .why("the cells and slots that the last one has freed are not freed again; failure: nothing is read");
        /// The right is given up.
        END_TURN: Store = Site::store(Release, "slots.take_over.end_turn")
            .of(Field::Turn)
            .pairs_with(&["slots.take_over.claim_turn"])
            .why("the next one sees the cells and slots that were freed");
        /// Whose a slot is.
        LOAD_OWNER: Load = Site::load(Relaxed, "slots.take_over.load_owner")
            .of(Field::Owner)
            .why("the dead wrote it before they died, and all others are asked for their announcement");
        /// How far consumers have claimed.
        LOAD_POSITION: Load = Site::load(Acquire, "slots.take_over.load_position")
            .of(Field::DequeuePosition)
            .pairs_with(&["mpmc.take.claim_position"])
            .why("the announcements of all that have claimed before that are visible");
        /// Whether somebody announces anything.
        LOAD_LENGTH: Load = Site::load(Acquire, "slots.take_over.load_length")
            .of(Field::Announcement)
            .pairs_with(&["slots.end.clear_length"])
            .why("of one that announces nothing, what it held was freed before");
        /// What it announces.
        LOAD_FIRST: Load = Site::load(Acquire, "slots.take_over.load_first")
            .of(Field::Announcement)
            .pairs_with(&["slots.announce.store_first"])
            .why("of one that has moved on, what it held was freed before");
        /// Whether a cell that was claimed was freed.
        LOAD_SEQUENCE: Load = Site::load(Relaxed, "slots.take_over.load_sequence")
            .of(Field::Sequence)
            .why("the frees of the living come with their announcements, those of the dead with their deaths");
        /// The element of a consumer that died.
        READ_DATA: Read = Site::read("slots.take_over.read_data")
            .of(Field::Data)
            .why("a dead consumer held the cell, and had acquired its data; no producer writes it before it is freed");
        /// The cell becomes the next lap's producer's.
        FREE_CELL: Store = Site::store(Release, "slots.take_over.free_cell")
            .of(Field::Sequence)
            .pairs_with(&["mpmc.push.load_sequence", "mpmc.push_many.load_sequence"])
            .why("the data is read before the producer that sees this sequence overwrites it");
        /// One element less.
        DECREMENT_COUNT: Add = Site::add(Relaxed, "slots.take_over.decrement_count")
            .of(Field::Count)
            .why("a statistic: nothing is decided by it");
        /// The dead consumer announces nothing any more.
        RESET_LENGTH: Store = Site::store(Relaxed, "slots.take_over.reset_length")
            .of(Field::Announcement)
            .why("the slot's next owner sees it with the slot, and the next who takes over with the turn");
        /// The slot is free.
        FREE_OWNER: Store = Site::store(Release, "slots.take_over.free_owner")
            .of(Field::Owner)
            .pairs_with(&["slots.occupy.claim_owner"])
            .why("what was written into the slot is older than what its next owner writes");

        /// Everything that is written before the slots are handed out.
        INIT: Write = Site::write("slots.init.write")
            .of(Field::Several)
            .why("nobody else knows of the slots yet");
    }
}

/// What one consumer announces.
///
/// Layout: `owner` 0, `first` 8, `length` 16; 64 bytes, a line. All zero is a slot that is free.
#[repr(C, align(64))]
pub struct Slot<P: Platform> {
    /// Who has the slot; 0 for nobody.
    pub(crate) owner: P::Word,
    /// The first position that it tries to claim, or has claimed.
    pub(crate) first: P::Word,
    /// How many positions that are; 0 if it is in no operation.
    pub(crate) length: P::Word,
}

/// The slots of a queue.
///
/// Layout: `recoverer` 0x00, `slots` 0x40; 1088 bytes, in lines of 64. All zero is slots that are free.
#[repr(C)]
pub struct Slots<P: Platform, const N: usize = SLOTS> {
    /// Who takes over from a dead consumer: the number of a slot and 1 in the low byte, 0 for nobody, and above that how
    /// often somebody has, so that no two turns look alike.
    pub(crate) recoverer: CacheLine<P::Word>,
    pub(crate) slots: [Slot<P>; N],
}

// SAFETY: atomic words.
unsafe impl<P: Platform, const N: usize> Sync for Slots<P, N> {}
// SAFETY: as above.
unsafe impl<P: Platform, const N: usize> Send for Slots<P, N> {}

impl<P: Platform, const N: usize> Slots<P, N> {
    /// Slots that are free.
    pub fn new() -> Self {
        let word = || P::Word::new(0);
        Slots {
            recoverer: CacheLine(word()),
            slots: core::array::from_fn(|_| Slot { owner: word(), first: word(), length: word() }),
        }
    }

    /// All slots are free.
    ///
    /// # Safety
    ///
    /// Nobody else knows of the slots yet.
    pub(crate) unsafe fn reset(&self) {
        let words = self.slots.iter().flat_map(|slot| [&slot.owner, &slot.first, &slot.length]);
        for word in words.chain([&self.recoverer.0]) {
            // SAFETY: nobody else can reach the words by the caller's promise.
            unsafe { word.init(0, &site::INIT) };
        }
    }

    pub(super) fn as_ref(&self) -> SlotsRef<'_, P> {
        SlotsRef { recoverer: &self.recoverer.0, slots: &self.slots }
    }
}

impl<P: Platform, const N: usize> Default for Slots<P, N> {
    fn default() -> Self {
        Slots::new()
    }
}

impl<P: Platform, const N: usize> fmt::Debug for Slots<P, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").finish_non_exhaustive()
    }
}

impl<P: Platform> fmt::Debug for Slot<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}

/// Slots, however many.
pub(super) struct SlotsRef<'a, P: Platform> {
    recoverer: &'a P::Word,
    pub(super) slots: &'a [Slot<P>],
}

impl<P: Platform> Clone for SlotsRef<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for SlotsRef<'_, P> {}

/// Why a consumer got no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SlotError {
    /// Each has an owner.
    #[error("all {0} slots for its consumers are taken: end one, or let one take over from those that died")]
    AllTaken(usize),
    /// This one has.
    #[error("slot {slot} for a consumer is taken")]
    Taken {
        /// The number of the slot.
        slot: usize,
        /// Who has it.
        owner: NonZero<u64>,
    },
    /// There is no such slot.
    #[error("there is no slot {slot} for a consumer: there are {slots}, from 0 on")]
    Absent {
        /// The number that is none.
        slot: usize,
        /// How many slots there are.
        slots: usize,
    },
}

impl<P: Platform> Slot<P> {
    pub(super) fn occupy(&self, owner: NonZero<u64>) -> Result<(), u64> {
        self.owner.compare_exchange(0, owner.get(), &site::OCCUPY).map(|_| ())
    }

    pub(super) fn vacate(&self) {
        self.owner.store(0, &site::VACATE);
    }

    pub(super) fn owner(&self) -> Option<NonZero<u64>> {
        NonZero::new(self.owner.load(&site::LOAD_OWNER))
    }

    #[inline(always)]
    fn announce(&self, first: u64, length: u64) {
        self.first.store(first, &site::ANNOUNCE_FIRST);
        self.length.store(length, &site::ANNOUNCE_LENGTH);
    }

    /// Announces nothing any more.
    #[inline(always)]
    pub(super) fn end(&self) {
        self.length.store(0, &site::CLEAR_LENGTH);
    }

    /// The first position that is announced, and how many, if there are any.
    ///
    /// The length comes first: if it is that of an operation that has ended since, the position is one of that operation
    /// or of a later one.
    pub(super) fn announced(&self) -> Option<(u64, NonZero<u64>)> {
        let length = NonZero::new(self.length.load(&site::LOAD_LENGTH))?;
        Some((self.first.load(&site::LOAD_FIRST), length))
    }

    /// Lets a dead owner go.
    pub(super) fn free(&self) {
        self.length.store(0, &site::RESET_LENGTH);
        self.owner.store(0, &site::FREE_OWNER);
    }
}

/// Any number of threads, of which this one announces what it claims.
pub(super) struct Announcing<'a, P: Platform>(pub(super) &'a Slot<P>);

impl<P: Platform> Claim for Announcing<'_, P> {
    #[inline(always)]
    fn claim(
        &self,
        position: &impl Word,
        first: u64,
        end: u64,
        exchange: &'static Site<CompareExchange>,
    ) -> bool {
        self.0.announce(first, end.wrapping_sub(first));
        position.compare_exchange(first, end, exchange).is_ok()
    }
}

/// The right to take over from the dead, which one has at a time.
pub(super) struct Turn<'a, P: Platform> {
    recoverer: &'a P::Word,
    claimed: u64,
}

/// The low byte of the turn's word: whose turn it is.
const WHOSE: u64 = 0xff;

impl<'a, P: Platform> Turn<'a, P> {
    /// The turn of the slot with this number, unless it is somebody's who lives.
    pub(super) fn take(
        slots: SlotsRef<'a, P>,
        number: usize,
        mut is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
    ) -> Option<Self> {
        let found = slots.recoverer.load(&site::LOAD_TURN);
        let whose = (found & WHOSE).checked_sub(1).map(|slot| slot as usize);
        // A number that is no slot's is nobody's: somebody has written over it. And our own is that of a dead one who had
        // this slot before.
        let others = whose.filter(|slot| *slot != number);
        let lives = |other| slots.slots.get(other).is_some_and(|slot| !is_dead(other, slot.owner()));
        if others.is_some_and(lives) {
            return None;
        }
        let claimed = (found | WHOSE).wrapping_add(1) | (number as u64 + 1);
        let claim = slots.recoverer.compare_exchange(found, claimed, &site::TAKE_TURN);
        // Made only then: who drops a turn ends it.
        claim.is_ok().then(|| Turn { recoverer: slots.recoverer, claimed })
    }
}

impl<P: Platform> Drop for Turn<'_, P> {
    fn drop(&mut self) {
        self.recoverer.store(self.claimed & !WHOSE, &site::END_TURN);
    }
}

/// A queue whose consumers have slots.
pub struct Slotted<'a, P: Platform, T, C: CountPolicy> {
    pub(super) ring: Ring<'a, P, T, C>,
    pub(super) slots: SlotsRef<'a, P>,
}

impl<P: Platform, T, C: CountPolicy> Clone for Slotted<'_, P, T, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform, T, C: CountPolicy> Copy for Slotted<'_, P, T, C> {}

impl<P: Platform, T, C: CountPolicy> fmt::Debug for Slotted<'_, P, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slotted").field("ring", &self.ring).finish_non_exhaustive()
    }
}

impl<'a, P: Platform, T, C: CountPolicy> Ring<'a, P, T, C> {
    /// The queue with slots for those who consume from it. They are made once, with the queue.
    pub fn with_slots<const N: usize>(self, slots: &'a Slots<P, N>) -> Slotted<'a, P, T, C> {
        const { assert!(N < WHOSE as usize, "the number of a slot has a byte") };
        Slotted { ring: self, slots: slots.as_ref() }
    }
}

impl<'a, P: Platform, T, C: CountPolicy> Slotted<'a, P, T, C> {
    /// A consumer with the first slot that is free. It calls itself `owner`.
    ///
    /// # Errors
    ///
    /// [`SlotError::AllTaken`] if none is.
    pub fn consumer(&self, owner: NonZero<u64>) -> Result<Consumer<'a, P, T, C>, SlotError> {
        let free = self.slots.slots.iter().position(|slot| slot.occupy(owner).is_ok());
        let slot = free.ok_or(SlotError::AllTaken(self.slots.slots.len()))?;
        Ok(Consumer::new(*self, slot))
    }

    /// A consumer with the slot of that number, if it is free. It calls itself `owner`.
    ///
    /// # Errors
    ///
    /// [`SlotError::Taken`] if it is not, [`SlotError::Absent`] if there is no such slot.
    pub fn consumer_at(&self, slot: usize, owner: NonZero<u64>) -> Result<Consumer<'a, P, T, C>, SlotError> {
        let slots = self.slots.slots;
        let place = slots.get(slot).ok_or(SlotError::Absent { slot, slots: slots.len() })?;
        match place.occupy(owner).map_err(NonZero::new) {
            Ok(()) => Ok(Consumer::new(*self, slot)),
            Err(found) => Err(SlotError::Taken { slot, owner: found.unwrap_or(owner) }),
        }
    }

    /// Who has each slot.
    pub fn owners(&self) -> impl Iterator<Item = Option<NonZero<u64>>> + 'a {
        self.slots.slots.iter().map(Slot::owner)
    }

    /// The queue.
    pub fn queue(&self) -> Ring<'a, P, T, C> {
        self.ring
    }
}

/// Whether `position` is `first` or behind it, across the wrap-around.
pub(super) fn reaches(position: u64, first: u64) -> bool {
    distance(position, first) >= 0
}
