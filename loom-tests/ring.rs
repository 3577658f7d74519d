//! An MPMC queue for the models.

use std::rc::Rc;

use arenaq::count::CountPolicy;
use arenaq::mpmc::{self, Capacity, Cell, Head};
use arenaq::platform::Platform;
use arenaq::single::{SingleConsumer, SingleProducer};
use arenaq::{PopError, PushError};

use crate::model::{self, Loom, Outcomes, Turn, exactly_once};

/// The only producer of a ring.
pub(crate) type Producer<'r, C, P = Loom> = SingleProducer<'r, P, u64, C>;
/// The only consumer of a ring.
pub(crate) type Consumer<'r, C, P = Loom> = SingleConsumer<'r, P, u64, C>;

/// An MPMC queue and the cells to which it points.
///
/// Mostly [`Uncounted`](arenaq::count::Uncounted): the counter is two accesses more for each element, which
/// decide nothing, and many times the permutations.
pub(crate) struct Ring<C: CountPolicy, P: Platform = Loom> {
    head: Head<P, u64, C>,
    pub(crate) turn: Turn,
    _cells: Vec<Cell<P, u64>>,
}

impl<C: CountPolicy, P: Platform> Ring<C, P> {
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
            head.ring().expect("a ring").push(*element).expect("room");
        }
        Ring { head, turn: Turn::new(), _cells: cells }
    }

    /// The queue, its geometry read anew.
    pub(crate) fn queue(&self) -> mpmc::Ring<'_, P, u64, C> {
        self.head.ring().expect("an initialised queue")
    }

    pub(crate) fn push(&self, value: u64, outcomes: &Outcomes) -> Option<u64> {
        self.pushed(value, outcomes, || self.queue().push(value))
    }

    /// [`push`](Self::push) by the only producer.
    pub(crate) fn push_by(
        &self,
        producer: &mut Producer<'_, C, P>,
        value: u64,
        outcomes: &Outcomes,
    ) -> Option<u64> {
        self.pushed(value, outcomes, || producer.push(value))
    }

    fn pushed(
        &self,
        value: u64,
        outcomes: &Outcomes,
        push: impl FnOnce() -> Result<(), PushError>,
    ) -> Option<u64> {
        self.turn.take();
        match model::push("mpmc.push", push) {
            Ok(()) => {
                outcomes.saw("pushed");
                Some(value)
            }
            Err(error) => {
                saw_no_push(error, outcomes);
                None
            }
        }
    }

    pub(crate) fn pop(&self, outcomes: &Outcomes) -> Option<u64> {
        self.popped(outcomes, || self.queue().pop())
    }

    /// [`pop`](Self::pop) by the only consumer.
    pub(crate) fn pop_by(&self, consumer: &mut Consumer<'_, C, P>, outcomes: &Outcomes) -> Option<u64> {
        self.popped(outcomes, || consumer.pop())
    }

    fn popped(&self, outcomes: &Outcomes, pop: impl FnOnce() -> Result<u64, PopError>) -> Option<u64> {
        self.turn.take();
        match model::pop("mpmc.pop", pop) {
            Ok(value) => {
                outcomes.saw("popped");
                Some(value)
            }
            Err(error) => {
                saw_no_pop(error, outcomes);
                None
            }
        }
    }

    /// Pushes values at once. Returns those that there was room for.
    pub(crate) fn push_many(&self, values: &[u64], outcomes: &Outcomes) -> Vec<u64> {
        self.pushed_at_once(values, outcomes, || self.queue().push_many(values))
    }

    /// [`push_many`](Self::push_many) by the only producer.
    pub(crate) fn push_many_by(
        &self,
        producer: &mut Producer<'_, C, P>,
        values: &[u64],
        outcomes: &Outcomes,
    ) -> Vec<u64> {
        self.pushed_at_once(values, outcomes, || producer.push_many(values))
    }

    fn pushed_at_once(
        &self,
        values: &[u64],
        outcomes: &Outcomes,
        push: impl FnOnce() -> Result<usize, PushError>,
    ) -> Vec<u64> {
        self.turn.take();
        match model::push_many("mpmc.push_many", push) {
            Ok(elements) => {
                model::saw_pushed(elements, outcomes);
                values[..elements].to_vec()
            }
            Err(error) => {
                saw_no_push(error, outcomes);
                Vec::new()
            }
        }
    }

    /// Pops up to so many elements at once.
    pub(crate) fn pop_many(&self, limit: u64, outcomes: &Outcomes) -> Vec<u64> {
        self.popped_at_once(outcomes, |drained| self.queue().drain(limit, |value| drained.push(value)))
    }

    /// [`pop_many`](Self::pop_many) by the only consumer.
    pub(crate) fn pop_many_by(
        &self,
        consumer: &mut Consumer<'_, C, P>,
        limit: u64,
        outcomes: &Outcomes,
    ) -> Vec<u64> {
        self.popped_at_once(outcomes, |drained| consumer.drain(limit, |value| drained.push(value)))
    }

    fn popped_at_once(
        &self,
        outcomes: &Outcomes,
        drain: impl FnOnce(&mut Vec<u64>) -> Result<u64, PopError>,
    ) -> Vec<u64> {
        self.turn.take();
        let mut drained = Vec::new();
        match model::drain("mpmc.drain", || drain(&mut drained)) {
            Ok(elements) => {
                assert_eq!(elements, drained.len() as u64);
                model::saw_drained(drained.len(), outcomes);
            }
            Err(error) => saw_no_pop(error, outcomes),
        }
        drained
    }

    /// What is left when nobody else is here any more, in the order of the queue.
    pub(crate) fn drain(&self) -> Vec<u64> {
        self.queue().verify_quiesced().expect("a sound ring");
        let left = std::iter::from_fn(|| model::pop("mpmc.pop", || self.queue().pop()).ok()).collect();
        self.queue().verify_quiesced().expect("a sound empty ring");
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

/// What kept a producer from pushing.
fn saw_no_push(error: PushError, outcomes: &Outcomes) {
    outcomes.saw(match error {
        PushError::Full => "full",
        PushError::Contended => "push contended",
        error => panic!("{error}"),
    });
}

/// What kept a consumer from popping.
fn saw_no_pop(error: PopError, outcomes: &Outcomes) {
    outcomes.saw(match error {
        PopError::Empty => "empty",
        PopError::Contended => "pop contended",
        error => panic!("{error}"),
    });
}
