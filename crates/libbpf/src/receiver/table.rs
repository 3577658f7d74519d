//! The part of the tally that belongs to one queue, and how a consumer counts in it.
//!
//! A consumer counts an event after it has handed it over and before the event leaves the queue. So an event that has
//! left is counted, and one that is handed over again, because its consumer died in between, is counted already or
//! not: the tally has the last event that was counted, and the next consumer compares. So the sum is exact, however
//! consumers end.
//!
//! `arenaq-capi` compiles this file as well: consumers in C count in the same tables, without libbpf-rs.

use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use arenaq::KeyValue;

use crate::checksum::checksum;

/// How many consumers can count at once.
pub(crate) const SLOTS: usize = 255;

/// The part of one queue. All zero is one in which nothing has been counted.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Table {
    /// How many consumers have ended without giving up their slot.
    deaths: AtomicU64,
    slots: [Slot; SLOTS],
}

/// One consumer at a time counts here.
#[repr(C)]
#[derive(Debug)]
struct Slot {
    /// The consumer's process, or 0.
    owner: AtomicU64,
    /// Which of the states counts: that of its lowest bit. The other is being written.
    turn: AtomicU64,
    states: [State; 2],
}

#[repr(C)]
#[derive(Debug)]
struct State {
    consumed: AtomicU64,
    checksum: AtomicU64,
    key: AtomicU64,
    value: AtomicU64,
}

/// A sum over events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many events.
    pub consumed: u64,
    /// The sum of their [`checksum`]s.
    pub checksum: u64,
}

impl Slot {
    fn state(&self, turn: u64) -> &State {
        let [even, odd] = &self.states;
        if turn & 1 == 0 { even } else { odd }
    }

    /// What is counted, and the event that was counted last.
    fn read(&self) -> (Count, KeyValue) {
        loop {
            let turn = self.turn.load(Ordering::Acquire);
            let state = self.state(turn);
            let load = |word: &AtomicU64| word.load(Ordering::Acquire);
            let count = Count { consumed: load(&state.consumed), checksum: load(&state.checksum) };
            let last = KeyValue { key: load(&state.key), value: load(&state.value) };
            // Its consumer has not come round to this state again.
            if self.turn.load(Ordering::Relaxed) == turn {
                return (count, last);
            }
        }
    }

    /// Counts an event: at one instant, by the store of the turn.
    fn count(&self, event: KeyValue) {
        let turn = self.turn.load(Ordering::Relaxed);
        let (now, next) = (self.state(turn), self.state(turn.wrapping_add(1)));
        let sum = now.checksum.load(Ordering::Relaxed).wrapping_add(checksum(event.key, event.value));
        // Released one by one, for a reader that compares turns.
        next.consumed.store(now.consumed.load(Ordering::Relaxed) + 1, Ordering::Release);
        next.checksum.store(sum, Ordering::Release);
        next.key.store(event.key, Ordering::Release);
        next.value.store(event.value, Ordering::Release);
        self.turn.store(turn.wrapping_add(1), Ordering::Release);
    }
}

impl Table {
    /// What all consumers have counted.
    pub(crate) fn total(&self) -> Count {
        self.slots.iter().fold(Count::default(), |sum, slot| {
            let (count, _) = slot.read();
            Count {
                consumed: sum.consumed + count.consumed,
                checksum: sum.checksum.wrapping_add(count.checksum),
            }
        })
    }

    /// The part of one more consumer.
    ///
    /// `None` if all are in use, by consumers that live or have died.
    pub(crate) fn teller(&self) -> Option<Teller<'_>> {
        let us = u64::from(std::process::id());
        let claim =
            |slot: &&Slot| slot.owner.compare_exchange(0, us, Ordering::Acquire, Ordering::Relaxed).is_ok();
        self.slots.iter().find(claim).map(|slot| Teller::new(self, slot))
    }

    /// The part of the consumer of an MPMC queue that has the slot of this number: so whoever takes over from it knows which
    /// part was its own. `None` if a tally has no part of that number.
    pub(crate) fn teller_at(&self, slot: usize) -> Option<Teller<'_>> {
        let slot = self.slots.get(slot)?;
        let mut teller = Teller::new(self, slot);
        // Somebody may have died after its slot of the queue was free, or while it took over without one.
        if slot.owner.swap(u64::from(std::process::id()), Ordering::Acquire) != 0 {
            self.deaths.fetch_add(1, Ordering::Relaxed);
            teller.doubtful.extend((slot.turn.load(Ordering::Relaxed) != 0).then(|| slot.read().1));
        }
        Some(teller)
    }
}

/// One consumer's part of the tally.
#[derive(Debug)]
pub(crate) struct Teller<'a> {
    table: &'a Table,
    slot: &'a Slot,
    /// The slots of dead consumers, until what they have left was handed over.
    dead: Vec<(&'a Slot, u64)>,
    /// What the dead have counted last: it may be handed over again.
    doubtful: Vec<KeyValue>,
    /// What the dead have left comes first, so the first other event says that all of it has come.
    comes_first: bool,
    consumed: u64,
    again: u64,
}

impl<'a> Teller<'a> {
    fn new(table: &'a Table, slot: &'a Slot) -> Teller<'a> {
        Teller {
            table,
            slot,
            dead: Vec::new(),
            doubtful: Vec::new(),
            comes_first: false,
            consumed: 0,
            again: 0,
        }
    }

    /// What others are told of the consumer of an MPMC queue with the slot of this number: it is dead.
    pub(crate) fn has_died(&mut self, slot: usize) {
        let Some(slot) = self.table.slots.get(slot) else { return };
        let owner = slot.owner.load(Ordering::Relaxed);
        let is_known = ptr::eq(slot, self.slot) || self.dead.iter().any(|(known, _)| ptr::eq(slot, *known));
        if owner != 0 && !is_known {
            self.dead.push((slot, owner));
            if slot.turn.load(Ordering::Relaxed) != 0 {
                self.doubtful.push(slot.read().1);
            }
        }
    }

    /// What is known of the dead is to be found out again.
    pub(crate) fn forget_dead(&mut self) {
        self.dead.clear();
        self.doubtful.clear();
    }

    /// Finds those who have died: all others that have a slot. To be called by one who knows that no other
    /// consumer lives. Says whether there are any. Of an MPSC queue what they have left `comes_first`.
    pub(crate) fn find_dead(&mut self, comes_first: bool) -> bool {
        self.comes_first = comes_first;
        self.forget_dead();
        for slot in 0..SLOTS {
            self.has_died(slot);
        }
        !self.dead.is_empty()
    }

    /// Counts an event that was handed over and is still in the queue.
    pub(crate) fn count(&mut self, event: KeyValue) {
        if let Some(known) = self.doubtful.iter().position(|dead| *dead == event) {
            self.doubtful.swap_remove(known);
            self.again += 1;
            return;
        }
        self.slot.count(event);
        self.consumed += 1;
        if self.comes_first {
            self.bury();
        }
    }

    /// Everything that the dead have left was handed over.
    pub(crate) fn bury(&mut self) {
        for (slot, owner) in self.dead.drain(..) {
            // Somebody else may have the slot already, and has counted the death.
            if slot.owner.compare_exchange(owner, 0, Ordering::Release, Ordering::Relaxed).is_ok() {
                self.table.deaths.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.doubtful.clear();
    }

    /// Gives up the slot: this consumer has ended to count. Somebody else's it stays, if it was taken for dead.
    pub(crate) fn retire(&self) {
        let us = u64::from(std::process::id());
        let _ = self.slot.owner.compare_exchange(us, 0, Ordering::Release, Ordering::Relaxed);
    }

    /// How many consumers have died.
    pub(crate) fn deaths(&self) -> u64 {
        self.table.deaths.load(Ordering::Relaxed) + self.dead.len() as u64
    }

    /// How many events this consumer has counted.
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// How many were handed over that a dead consumer had handed over and counted.
    pub(crate) fn again(&self) -> u64 {
        self.again
    }
}

impl Drop for Teller<'_> {
    fn drop(&mut self) {
        self.retire();
    }
}
