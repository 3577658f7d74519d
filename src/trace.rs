//! What happened in one execution: every access to shared memory, in the order in which it was executed.
//!
//! The platform [`Traced`](crate::platform::Traced) writes here. A model checker runs all threads of an
//! execution in one thread of the system, so the trace is a list of that thread. It is kept for one execution
//! and read only if somebody asks: when an execution fails, or when every execution is checked for the path
//! that it took.

extern crate std;

use std::cell::RefCell;
use std::vec::Vec;

use crate::ordering::{Ordering, SiteInfo};

mod edges;
mod names;
mod race;
mod record;

/// The first words of a value: enough to tell values apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Value {
    words: [u64; 2],
    length: u8,
}

impl Value {
    /// The value that is these words.
    pub(crate) fn of(all: impl IntoIterator<Item = u64>) -> Value {
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
    /// An addition.
    Added(u64),
    /// A fence, which accesses nothing.
    Fenced,
}

/// One access.
#[derive(Clone, Debug)]
pub struct Event {
    /// The thread: 0 is the main thread, the others in the order of their first access.
    pub thread: usize,
    /// The operation in which it happened: an index into [`Trace::operations`].
    pub operation: Option<usize>,
    /// Where in the algorithm.
    pub site: &'static SiteInfo,
    /// The ordering that it had; for a compare-exchange, the one that its outcome chose.
    pub order: Ordering,
    /// The address of the word or of the first word.
    pub address: usize,
    /// What it did.
    pub effect: Effect,
}

/// One call of an operation by one thread.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The thread that called it.
    pub thread: usize,
    /// Its name: `mpsc.push`.
    pub name: &'static str,
    /// How it ended; `None` if it did not.
    pub outcome: Option<&'static str>,
}

/// One execution.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Every access, in the order of execution.
    pub events: Vec<Event>,
    /// Every operation, in the order in which they began.
    pub operations: Vec<Operation>,
    /// The identities that the checker gives its threads, in the order of their first access.
    threads: Vec<u64>,
    /// The operation that each thread is in.
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

    /// The events of one operation, in order.
    pub fn events_of(&self, operation: usize) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.operation == Some(operation))
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

/// Lets `look` see what has happened since, without a copy.
pub fn inspect<R>(look: impl FnOnce(&Trace) -> R) -> R {
    TRACE.with_borrow(look)
}

/// An access that has begun. A checker may let others run before the access itself takes place, so its place
/// in the trace is where it ends; or, if the checker ends the execution in it, where that happens.
pub(crate) struct Pending {
    identity: u64,
    site: &'static SiteInfo,
    address: usize,
}

impl Pending {
    pub(crate) fn new(identity: u64, site: &'static SiteInfo, address: usize) -> Pending {
        Pending { identity, site, address }
    }

    pub(crate) fn done(self, order: Ordering, effect: Effect) {
        self.record(order, effect);
        core::mem::forget(self);
    }

    fn record(&self, order: Ordering, effect: Effect) {
        TRACE.with_borrow_mut(|trace| {
            let thread = trace.thread(self.identity);
            let operation = trace.inside[thread];
            trace.events.push(Event {
                thread,
                operation,
                site: self.site,
                order,
                address: self.address,
                effect,
            });
        });
    }
}

impl Drop for Pending {
    /// Not done: the checker unwinds. The first thread that does is the one that failed.
    fn drop(&mut self) {
        let first = std::thread::panicking()
            && TRACE.with_borrow_mut(|trace| !core::mem::replace(&mut trace.failed, true));
        if first {
            self.record(self.site.order, Effect::Unfinished);
        }
    }
}

/// Runs an operation of the thread with this identity: the accesses inside it belong to it, and `outcome`
/// says how it ended.
pub fn operation<R>(
    identity: u64,
    name: &'static str,
    body: impl FnOnce() -> R,
    outcome: impl FnOnce(&R) -> &'static str,
) -> R {
    let index = TRACE.with_borrow_mut(|trace| {
        let thread = trace.thread(identity);
        trace.operations.push(Operation { thread, name, outcome: None });
        let index = trace.operations.len() - 1;
        trace.inside[thread] = Some(index);
        index
    });
    let result = body();
    let how = outcome(&result);
    TRACE.with_borrow_mut(|trace| {
        let thread = trace.thread(identity);
        trace.inside[thread] = None;
        trace.operations[index].outcome = Some(how);
    });
    result
}
