//! Taking over from consumers that died.

use core::num::NonZero;

use super::slots::{Turn, reaches, site};
use super::{PUBLISHED, Slotted};
use crate::count::CountPolicy;
use crate::payload::Payload;
use crate::platform::{Plain, Platform, Word};

/// What somebody has taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenOver {
    /// Elements that dead consumers had claimed and not freed. They were handed over.
    pub elements: u64,
    /// Dead consumers from whom nothing is left to take over. Their slots are free.
    pub consumers: usize,
    /// Dead consumers that may have left something which a living one may hold as well: a later call decides.
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
        mut is_dead: impl FnMut(usize, Option<NonZero<u64>>) -> bool,
        mut hand_over: impl FnMut(T),
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
                if oldest.is_some_and(|oldest| reaches(position, oldest)) {
                    decided = false;
                    break;
                }
                taken.elements += u64::from(self.take_over_cell(position, &mut hand_over));
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
    fn take_over_cell(&self, position: u64, hand_over: &mut impl FnMut(T)) -> bool {
        let cell = self.ring.cell(position);
        if cell.sequence.load(&site::LOAD_SEQUENCE) != position.wrapping_add(PUBLISHED) {
            return false;
        }
        // SAFETY: the cell is published, and its position was claimed and not freed, by somebody dead: who lives and has
        // claimed it would announce it. So it is ours; nobody else takes over at the same time. The dead consumer had
        // acquired the data, and its end happens before this.
        hand_over(unsafe { cell.data.read(&site::READ_DATA) });
        cell.sequence.store(position.wrapping_add(self.ring.capacity()), &site::FREE_CELL);
        C::decrement(&self.ring.head.count, 1, &site::DECREMENT_COUNT);
        true
    }
}
