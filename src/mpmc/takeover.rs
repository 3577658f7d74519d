//! Taking over from consumers that died.

use core::num::NonZero;

use super::slots::{Turn, reaches, site};
use super::{PUBLISHED, Slotted};
use crate::count::CountPolicy;
use crate::ordering::{Read, Site};
use crate::payload::Payload;
use crate::platform::{Plain, Platform, Word};

/// What somebody has taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenOver {
    /// Elements that dead consumers had claimed and not freed. They were handed over.
    pub elements: u64,
    /// Dead consumers from whom nothing is left to take over. Their slots are free.
    pub consumers: usize,
    /// Dead consumers that may have left something which a living one may hold as well, or which was more than the caller
    /// wanted: a later call decides.
    pub undecided: usize,
}

impl<P: Platform, T: Payload, C: CountPolicy> Slotted<'_, P, T, C> {
    /// Takes over from the consumers that died: hands over what they had claimed and not freed, the oldest of each
    /// first, frees the cells, and frees the slots. `None` if somebody else takes over at the moment.
    ///
    /// `is_dead` says of a slot's number and its owner whether that is dead; without an owner it is about somebody who
    /// took over in the name of that slot. `slot` is the one in whose name the caller takes over: its own, or that of a dead
    /// consumer which it alone may have.
    ///
    /// The queue goes on meanwhile, also for the caller's own handles.
    ///
    /// # Panics
    ///
    /// If `hand_over` does. The element stays where it is for the next one who takes over.
    ///
    /// # Safety
    ///
    /// - These are the queue's slots, and whoever consumes from it in the meantime has one: it is a
    ///   [`Consumer`](super::Consumer).
    /// - Of whom `is_dead` says true will never go on, in that slot, and everything that it did happens before that.
    /// - Nobody else who lives takes over in the name of `slot`.
    pub unsafe fn take_over(
        &self,
        slot: usize,
        is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
        mut hand_over: impl FnMut(T),
    ) -> Option<TakenOver> {
        // SAFETY: passed on to the caller. A cell that is handed over is published, so a `T` is there.
        unsafe { self.take_over_in_place(slot, u64::MAX, is_dead, |data, site| hand_over(data.read(site))) }
    }
}

impl<P: Platform, T, C: CountPolicy> Slotted<'_, P, T, C> {
    /// Takes over up to `limit` elements, which `read` takes out of their cells: what [`take_over`](Self::take_over) does,
    /// for elements of which the caller knows more than their type says. What is beyond the limit is left to a later call.
    ///
    /// # Panics
    ///
    /// If `read` does. The element stays where it is for the next one who takes over.
    ///
    /// # Safety
    ///
    /// As [`take_over`](Self::take_over), and `read` reads the element out of the cell, with that site.
    pub unsafe fn take_over_in_place(
        &self,
        slot: usize,
        limit: u64,
        mut is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
        mut read: impl FnMut(&P::Plain<T>, &'static Site<Read>),
    ) -> Option<TakenOver> {
        let _turn = Turn::take(self.slots, slot, &mut is_dead)?;
        let mut taken = TakenOver::default();
        let slots = self.slots.slots;
        // A set: slots are numbered by a byte.
        let mut dead = [false; u8::MAX as usize];
        for (number, slot) in slots.iter().enumerate() {
            let owner = slot.owner();
            dead[number] = owner.is_some() && is_dead(number, owner);
        }
        if !dead.contains(&true) {
            return Some(taken);
        }
        // From here on in this order: how far consumers have claimed, what those who live announce, and then the cells.
        let dequeue = self.ring.head.dequeue_pos.0.load(&site::LOAD_POSITION);
        let living = slots.iter().zip(dead).filter(|(_, dead)| !dead);
        let oldest = living
            .filter_map(|(slot, _)| slot.announced())
            .map(|(first, _)| first)
            .reduce(|one, other| if reaches(one, other) { other } else { one });
        for (slot, _) in slots.iter().zip(dead).filter(|(_, dead)| *dead) {
            let mut decided = true;
            let (first, length) = slot.announced().map_or((0, 0), |(first, length)| (first, length.get()));
            // No longer than the ring, whatever others write there.
            for step in 0..length.min(self.ring.capacity()) {
                let position = first.wrapping_add(step);
                if reaches(position, dequeue) {
                    // Nobody has claimed that.
                    break;
                }
                if oldest.is_some_and(|oldest| reaches(position, oldest)) || taken.elements == limit {
                    decided = false;
                    break;
                }
                taken.elements += u64::from(self.take_over_cell(position, &mut read));
            }
            if decided {
                slot.free();
                taken.consumers += 1;
            } else {
                taken.undecided += 1;
            }
        }
        Some(taken)
    }

    /// Takes over a cell that was claimed by nobody who lives. Whether it was not freed.
    fn take_over_cell(
        &self,
        position: u64,
        read: &mut impl FnMut(&P::Plain<T>, &'static Site<Read>),
    ) -> bool {
        let cell = self.ring.cell(position);
        if cell.sequence.load(&site::LOAD_SEQUENCE) != position.wrapping_add(PUBLISHED) {
            return false;
        }
        // The cell is published, and its position was claimed and not freed, by somebody dead: who lives and has claimed it
        // would announce it. So it is ours; nobody else takes over at the same time. The dead consumer had acquired the
        // data, and its end happens before this.
        read(&cell.data, &site::READ_DATA);
        cell.sequence.store(position.wrapping_add(self.ring.capacity()), &site::FREE_CELL);
        C::decrement(&self.ring.head.count, 1, &site::DECREMENT_COUNT);
        true
    }
}
