//! What queue to make.

use crate::payload::{Element, ElementType};
use crate::structures::Kind;

/// What queue to make: its kind, its name, what it carries, and how much.
///
/// ```
/// use arenaq::{KeyValue, arena::Spec};
///
/// let jobs = Spec::mpmc::<KeyValue>("jobs", 1024);
/// let events = Spec::mpsc::<KeyValue>("events", 4096).limit(65_536);
/// # let _ = (jobs, events);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Spec<'n> {
    pub(super) kind: Kind,
    pub(super) name: &'n str,
    pub(super) element: ElementType,
    pub(super) capacity: u64,
    pub(super) limit: u64,
    pub(super) counted: bool,
    pub(super) start: u64,
    pub(super) shards: u64,
    pub(super) control: Option<Placed>,
}

/// Addresses of control blocks that are there already: variables of BPF programs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Placed {
    /// The head of the queue.
    pub head: usize,
    /// The pool, for an MPSC queue.
    pub pool: usize,
    /// The counters of what is dropped, if there are some.
    pub drops: Option<usize>,
    /// What the queue's consumers sleep on, if that is not the arena's.
    pub events: Option<usize>,
}

impl<'n> Spec<'n> {
    /// An MPMC queue of `capacity` cells, a power of two.
    pub const fn mpmc<T: Element>(name: &'n str, capacity: u64) -> Self {
        Spec::of(Kind::Mpmc, name, ElementType::of::<T>(), capacity)
    }

    /// An MPSC queue with a pool of [`nodes_for`](crate::pool::nodes_for) `elements`, so that as many find room at any
    /// time, and a few more at most times.
    pub const fn mpsc<T: Element>(name: &'n str, elements: u64) -> Self {
        Spec::of(Kind::Mpsc, name, ElementType::of::<T>(), elements)
    }

    /// Records have so many shards: one for each processor at best.
    #[must_use]
    pub const fn shards(mut self, shards: u64) -> Self {
        self.shards = shards;
        self
    }

    /// A queue of elements whose type only the other side knows.
    pub const fn of(kind: Kind, name: &'n str, element: ElementType, capacity: u64) -> Self {
        Spec { kind, name, element, capacity, limit: 0, counted: false, start: 0, shards: 1, control: None }
    }

    /// Its kind.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The pool of an MPSC queue can grow to the nodes for so many elements. It has pages of its own for its nodes and
    /// for its links then, so that those of which nothing is made yet need not be populated.
    #[must_use]
    pub const fn limit(mut self, elements: u64) -> Self {
        self.limit = elements;
        self
    }

    /// The queue maintains the seeds' counter: one locked instruction more in each operation, on a line that all sides
    /// share.
    #[must_use]
    pub const fn counted(mut self) -> Self {
        self.counted = true;
        self
    }

    /// The control blocks lie there, and not where room is free.
    #[must_use]
    pub const fn at(mut self, control: Placed) -> Self {
        self.control = Some(control);
        self
    }

    /// The positions of an MPMC queue, or the ABA tag of an MPSC queue's pool, begin there instead of at 0: what happens
    /// when they wrap around would be long to wait for.
    #[must_use]
    pub const fn start(mut self, start: u64) -> Self {
        self.start = start;
        self
    }
}
