//! What happened in one execution, for structures whose accesses are generic over a platform: every access to shared memory, in
//! the order in which it was executed.
//!
//! Atomics of weaken's record by themselves. A structure that is written over a trait of its own has its accesses recorded here,
//! by an implementation of that trait that calls [`Access::begin`] before each access and [`Access::done`] behind it; its sites
//! have names, and what they access is described by [`Site`]. Below it may be any checker that runs all threads of an execution in
//! one thread of the system, as loom and shuttle do: the trace is a list of that thread. It is kept for one execution and read only
//! if somebody asks: when an execution fails ([`Trace::execution`], which [`picture`](crate::picture) shows), or when every
//! execution is checked for the path that it took ([`Trace::events_of`]) and for what synchronised in it ([`Trace::edges`]).
//!
//! ```
//! use weaken::named;
//! use weaken::operation::{Operation, Order, Orders};
//! use weaken::trace::{self, Access, Effect, Memory, Site, Value};
//!
//! #[derive(Debug)]
//! struct Flag(Operation, Order);
//!
//! impl Site for Flag {
//!     fn named(&self) -> named::Site<'static> {
//!         named::Site { name: "flag", operation: self.0, orders: Orders::one(self.1) }
//!     }
//!
//!     fn memory(&self) -> Memory {
//!         Memory::number("flag")
//!     }
//! }
//!
//! static RAISE: Flag = Flag(Operation::Store, Order::Release);
//! static LOOK: Flag = Flag(Operation::Load, Order::Acquire);
//!
//! // A platform does this in each access: which thread, which site, which memory; then what it did.
//! trace::begin_execution(0);
//! Access::begin(1, &RAISE, 0x1000).done(Order::Release, Effect::Put(Value::of([1])));
//! Access::begin(2, &LOOK, 0x1000).done(Order::Acquire, Effect::Got(Value::of([1])));
//!
//! let seen = trace::current();
//! assert_eq!(seen.edges().len(), 1, "the load has acquired what the store released");
//! assert_eq!(seen.execution().steps[1].read.as_ref().map(|read| read.from), Some(Some(0)));
//! ```

use std::cell::RefCell;
use std::fmt::Debug;
use std::string::String;
use std::vec::Vec;

use crate::named;
use crate::operation::{Operation, Order};

mod edges;
mod execution;
mod names;
mod race;

/// A place in an algorithm that accesses shared memory.
pub trait Site: Debug + Sync {
    /// Its name, that of no other one; what it does, and the orderings in the source.
    fn named(&self) -> named::Site<'static>;

    /// Why its ordering is right; empty if nobody says so.
    fn why(&self) -> &'static str {
        ""
    }

    /// What it accesses.
    fn memory(&self) -> Memory;
}

/// What a site accesses, as a reader sees it.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// What it is called: `head`. Where several words of an execution have one name, they are numbered.
    pub name: &'static str,
    /// Whether it is part of an object of which there are several, which get letters: `A.next`.
    pub part: Part,
    /// How its words are read.
    pub show: Show,
}

impl Memory {
    /// A word that is no part of an object, and holds a number.
    pub const fn number(name: &'static str) -> Memory {
        Memory { name, part: Part::None, show: Show::Number }
    }
}

/// Whether memory is part of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It is not.
    None,
    /// An object begins with it.
    First,
    /// It lies in the object that begins at or before it, and nearest.
    Inside,
}

/// How a word is read.
#[derive(Clone, Copy, Debug)]
pub enum Show {
    /// As a number; as a negative one close below the wrap-around, where positions are easier to read so.
    Number,
    /// As a pointer to an object, by its letter.
    Pointer,
    /// As this says.
    Text(fn(u64) -> String),
}

/// The first words of a value: enough to tell values apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Value {
    words: [u64; 2],
    length: u8,
}

impl Value {
    /// The value that is these words.
    pub fn of(all: impl IntoIterator<Item = u64>) -> Value {
        let mut value = Value::default();
        for (place, word) in value.words.iter_mut().zip(all) {
            *place = word;
            value.length += 1;
        }
        value
    }

    /// The words.
    pub fn words(&self) -> &[u64] {
        &self.words[..usize::from(self.length)]
    }
}

/// What an access did. Pointers and payloads are given as their words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The access was announced and did not end: the model checker ended the execution in it.
    Unfinished,
    /// A read or load of this value.
    Got(Value),
    /// A write or store of this value.
    Put(Value),
    /// A read-modify-write that found one value and left another.
    Changed {
        /// What was there.
        from: u64,
        /// What is there now.
        to: u64,
    },
    /// A compare-exchange that found something else than it expected.
    Refused {
        /// What it expected.
        expected: u64,
        /// What it found.
        found: u64,
    },
    /// An addition that does not say what it found.
    Added(u64),
    /// A fence, which accesses nothing.
    Fenced,
}

/// One access.
#[derive(Clone, Debug)]
pub struct Event {
    /// The thread: 0 is the main thread, the others in the order of their first access.
    pub thread: usize,
    /// The scope in which it happened: an index into [`Trace::scopes`].
    pub scope: Option<usize>,
    /// Where in the algorithm.
    pub site: &'static dyn Site,
    /// The ordering that it had; for a compare-exchange, the one that its outcome chose.
    pub order: Order,
    /// The address of the word or of the first word; 0 for a fence.
    pub address: usize,
    /// What it did.
    pub effect: Effect,
    /// Which event wrote what it read.
    pub read_from: ReadFrom,
}

/// Which event wrote what another read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// Whoever recorded it does not know. Then it is inferred: from equal values.
    Unknown,
    /// None: it read what memory was made with, or nothing.
    Nothing,
    /// This, by its index.
    Event(usize),
}

impl Event {
    fn operation(&self) -> Operation {
        self.site.named().operation
    }

    /// Whether it is an access of plain memory.
    fn is_plain(&self) -> bool {
        self.operation().is_plain()
    }

    /// Whether it writes, or would have.
    fn writes(&self) -> bool {
        match self.effect {
            Effect::Put(_) | Effect::Changed { .. } | Effect::Added(_) => true,
            Effect::Got(_) | Effect::Refused { .. } | Effect::Fenced => false,
            Effect::Unfinished => self.operation().writes(),
        }
    }
}

/// One call of an operation of the structure by one thread.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The thread that called it.
    pub thread: usize,
    /// Its name: `queue.push`.
    pub name: &'static str,
    /// How it ended; `None` if it did not.
    pub outcome: Option<&'static str>,
}

/// One execution.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Every access, in the order of execution.
    pub events: Vec<Event>,
    /// Every call of an operation, in the order in which they began.
    pub scopes: Vec<Scope>,
    /// The identities that the checker gives its threads, in the order of their first access.
    threads: Vec<u64>,
    /// The scope that each thread is in.
    inside: Vec<Option<usize>>,
    /// Whether a thread has failed in an access.
    failed: bool,
}

std::thread_local! {
    static TRACE: RefCell<Trace> = RefCell::new(Trace::default());
}

impl Trace {
    fn thread(&mut self, identity: u64) -> usize {
        if let Some(thread) = self.threads.iter().position(|known| *known == identity) {
            return thread;
        }
        self.threads.push(identity);
        self.inside.push(None);
        self.threads.len() - 1
    }

    /// The events of one scope, in order.
    pub fn events_of(&self, scope: usize) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.scope == Some(scope))
    }
}

/// Forgets everything: an execution begins, in the thread with this identity.
pub fn begin_execution(identity: u64) {
    TRACE.with_borrow_mut(|trace| {
        *trace = Trace::default();
        trace.thread(identity);
    });
}

/// What has happened since.
pub fn current() -> Trace {
    TRACE.with_borrow(Trace::clone)
}

/// Makes this the trace of this thread, in which nothing runs.
#[cfg(feature = "loom")]
pub(crate) fn adopt(trace: Trace) {
    TRACE.set(trace);
}

/// Lets `look` see what has happened since, without a copy.
///
/// # Panics
///
/// If `look` makes an access that is recorded.
pub fn inspect<R>(look: impl FnOnce(&Trace) -> R) -> R {
    TRACE.with_borrow(look)
}

/// An access that has begun. A checker may let others run before the access itself takes place, so its place in the trace is where
/// it ends; or, if the checker ends the execution in it by a panic, where that happens.
#[derive(Debug)]
#[must_use = "an access that is not done is in the trace only if it panics"]
pub struct Access {
    identity: u64,
    site: &'static dyn Site,
    address: usize,
}

impl Access {
    /// An access of the thread with this identity: a number that is equal in one thread of an execution, and different between
    /// two. A fence has the address 0.
    pub fn begin(identity: u64, site: &'static dyn Site, address: usize) -> Access {
        Access { identity, site, address }
    }

    /// It has taken place, with this ordering.
    pub fn done(self, order: Order, effect: Effect) {
        self.record(order, effect);
        core::mem::forget(self);
    }

    fn record(&self, order: Order, effect: Effect) {
        TRACE.with_borrow_mut(|trace| {
            let thread = trace.thread(self.identity);
            let scope = trace.inside[thread];
            let Access { site, address, .. } = *self;
            let read_from = ReadFrom::Unknown;
            trace.events.push(Event { thread, scope, site, order, address, effect, read_from });
        });
    }
}

/// An access that an atomic of weaken's has made: which event wrote what it read is known. Returns which event it is.
#[cfg(feature = "loom")]
pub(crate) fn record(
    identity: u64,
    site: &'static dyn Site,
    address: usize,
    order: Order,
    effect: Effect,
    read_from: ReadFrom,
) -> usize {
    TRACE.with_borrow_mut(|trace| {
        let thread = trace.thread(identity);
        let scope = trace.inside[thread];
        trace.events.push(Event { thread, scope, site, order, address, effect, read_from });
        trace.events.len() - 1
    })
}

/// An access in which the checker has ended the execution.
#[cfg(feature = "loom")]
pub(crate) fn fail(identity: u64, site: &'static dyn Site, address: usize, order: Order) {
    let first = TRACE.with_borrow_mut(|trace| !core::mem::replace(&mut trace.failed, true));
    if first {
        record(identity, site, address, order, Effect::Unfinished, ReadFrom::Nothing);
    }
}

impl Drop for Access {
    /// Not done: the checker unwinds. The first thread that does is the one that failed.
    fn drop(&mut self) {
        let first = std::thread::panicking()
            && TRACE.with_borrow_mut(|trace| !core::mem::replace(&mut trace.failed, true));
        if first {
            self.record(self.site.named().orders.success, Effect::Unfinished);
        }
    }
}

/// Runs an operation of the structure in the thread with this identity: the accesses inside it belong to it, and `outcome` says how
/// it ended.
pub fn scope<R>(
    identity: u64,
    name: &'static str,
    body: impl FnOnce() -> R,
    outcome: impl FnOnce(&R) -> &'static str,
) -> R {
    let index = TRACE.with_borrow_mut(|trace| {
        let thread = trace.thread(identity);
        trace.scopes.push(Scope { thread, name, outcome: None });
        let index = trace.scopes.len() - 1;
        trace.inside[thread] = Some(index);
        index
    });
    let result = body();
    let how = outcome(&result);
    TRACE.with_borrow_mut(|trace| {
        let thread = trace.thread(identity);
        trace.inside[thread] = None;
        trace.scopes[index].outcome = Some(how);
    });
    result
}
