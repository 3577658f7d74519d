//! An MPMC queue for the models.

use std::rc::Rc;

use arenaq::count::CountPolicy;
use arenaq::mpmc::{Capacity, Cell, Head};
use arenaq::{PopError, PushError};

use crate::model::{self, Loom, Outcomes, Turn, exactly_once};

/// An MPMC queue and the cells to which it points.
///
/// Mostly [`Uncounted`](arenaq::count::Uncounted): the counter is two accesses more for each element, which
/// decide nothing, and many times the permutations.
pub(crate) struct Ring<C: CountPolicy> {
    pub(crate) head: Head<Loom, u64, C>,
    pub(crate) turn: Turn,
    _cells: Vec<Cell<Loom, u64>>,
}

impl<C: CountPolicy> Ring<C> {
    /// A ring of the smallest capacity that holds `elements`, with positions that wrap around after the
    /// first.
    pub(crate) fn with(elements: &[u64]) -> Rc<Self> {
        Rc::new(Self::of(Capacity::MIN, elements))
    }

    pub(crate) fn of(capacity: Capacity, elements: &[u64]) -> Self {
        let mut cells: Vec<_> = (0..capacity.get()).map(|_| Cell::empty()).collect();
        let head = Head::empty();
        // SAFETY: as many cells as the capacity says, which live beside the head and are its alone; nobody
        // else is here yet.
        unsafe { head.init_at(cells.as_mut_ptr(), capacity, u64::MAX) }.expect("the cells");
        for element in elements {
            head.push(*element).expect("room");
        }
        Ring { head, turn: Turn::new(), _cells: cells }
    }

    pub(crate) fn push(&self, value: u64, outcomes: &Outcomes) -> Option<u64> {
        self.turn.take();
        match model::push("mpmc.push", || self.head.push(value)) {
            Ok(()) => {
                outcomes.saw("pushed");
                Some(value)
            }
            Err(PushError::Full) => {
                outcomes.saw("full");
                None
            }
            Err(PushError::Contended) => {
                outcomes.saw("push contended");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn pop(&self, outcomes: &Outcomes) -> Option<u64> {
        self.turn.take();
        match model::pop("mpmc.pop", || self.head.pop()) {
            Ok(value) => {
                outcomes.saw("popped");
                Some(value)
            }
            Err(PopError::Empty) => {
                outcomes.saw("empty");
                None
            }
            Err(PopError::Contended) => {
                outcomes.saw("pop contended");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Pushes values at once. Returns those that there was room for.
    pub(crate) fn push_many(&self, values: &[u64], outcomes: &Outcomes) -> Vec<u64> {
        self.turn.take();
        match model::push_many("mpmc.push_many", || self.head.push_many(values)) {
            Ok(elements) => {
                model::saw_pushed(elements, outcomes);
                values[..elements].to_vec()
            }
            Err(PushError::Full) => {
                outcomes.saw("full");
                Vec::new()
            }
            Err(PushError::Contended) => {
                outcomes.saw("push contended");
                Vec::new()
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Pops up to so many elements at once.
    pub(crate) fn pop_many(&self, limit: u64, outcomes: &Outcomes) -> Vec<u64> {
        self.turn.take();
        let mut drained = Vec::new();
        match model::drain("mpmc.drain", || self.head.drain(limit, |value| drained.push(value))) {
            Ok(elements) => {
                assert_eq!(elements, drained.len() as u64);
                model::saw_drained(drained.len(), outcomes);
            }
            Err(PopError::Empty) => outcomes.saw("empty"),
            Err(PopError::Contended) => outcomes.saw("pop contended"),
            Err(error) => panic!("{error}"),
        }
        drained
    }

    /// What is left when nobody else is here any more, in the order of the queue.
    pub(crate) fn drain(&self) -> Vec<u64> {
        self.head.verify_quiesced().expect("a sound ring");
        let left = std::iter::from_fn(|| model::pop("mpmc.pop", || self.head.pop()).ok()).collect();
        self.head.verify_quiesced().expect("a sound empty ring");
        left
    }

    /// Everything that was pushed was popped or is still there, once.
    pub(crate) fn account(
        &self,
        pushed: impl IntoIterator<Item = u64>,
        popped: impl IntoIterator<Item = u64>,
    ) {
        exactly_once(pushed, popped.into_iter().chain(self.drain()));
    }
}
