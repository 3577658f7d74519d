//! One access: which site it is, what ordering it has, and what loom says to it.

use std::any::Any;
use std::cell::Cell;
use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::string::String;

use crate::operation::{Operation, Order, Orders};
use crate::record::Ending;

use super::execution::{self, Number, Step, Word};
use super::site::SiteId;
use super::value::Shape;

/// The ordering of one outcome of an access.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strength {
    /// In this run.
    pub(super) now: Order,
    /// In the source.
    source: Order,
}

impl Strength {
    /// Of plain memory, which has none: this one is never shown.
    pub(super) const PLAIN: Strength = Strength { now: Order::Relaxed, source: Order::Relaxed };
}

/// An access that is going on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    site: SiteId,
    /// Those that it has in this run.
    orders: Orders,
    /// Those of the source.
    source: Orders,
    operation: Operation,
    /// None for a fence.
    address: Option<usize>,
    shape: Shape,
}

impl Access {
    #[track_caller]
    pub(super) fn begin(
        location: &'static Location<'static>,
        operation: Operation,
        orders: Orders,
        address: Option<usize>,
        shape: Shape,
    ) -> Access {
        let source = orders;
        let (site, orders) = execution::with(|execution| {
            let (site, orders) = execution.sites.find(location, operation, source);
            execution.sites.made(site);
            if let Some(address) = address {
                execution.touches(site, address);
            }
            (site, orders)
        });
        Access { site, orders, source, operation, address, shape }
    }

    /// The ordering that it has if it succeeds, or if it cannot fail.
    pub(super) fn success(&self) -> Strength {
        Strength { now: self.orders.success, source: self.source.success }
    }

    /// The one that it has if it fails.
    pub(super) fn failure(&self) -> Strength {
        let failure = |orders: Orders| orders.failure.unwrap_or(Order::Relaxed);
        Strength { now: failure(self.orders), source: failure(self.source) }
    }

    /// Lets loom do it. If loom ends the execution in it, that is the last step of this thread.
    pub(super) fn run<R>(&self, strength: Strength, body: impl FnOnce() -> R) -> R {
        self.enter(strength, |_| body())
    }

    /// The same where loom calls the user's code inside of the access, once it has let it pass: what panics
    /// after `has_passed` is set is the user's.
    pub(super) fn enter<R>(&self, strength: Strength, body: impl FnOnce(&Cell<bool>) -> R) -> R {
        let has_passed = Cell::new(false);
        match catch_unwind(AssertUnwindSafe(|| body(&has_passed))) {
            Ok(result) => result,
            Err(payload) => {
                if !has_passed.get() {
                    self.refused(strength, &*payload);
                }
                resume_unwind(payload)
            }
        }
    }

    /// loom has ended the execution in this access, if it was the first to panic.
    fn refused(&self, strength: Strength, payload: &(dyn Any + Send)) {
        // The threads that loom takes down afterwards unwind with something else than a text.
        let says_why = payload.is::<String>() || payload.is::<&'static str>();
        let is_first = execution::try_with(|execution| {
            execution.panic.as_mut().is_some_and(|panic| panic.count == 1 && !panic.is_placed)
        });
        if !says_why || is_first != Some(true) {
            return;
        }
        let step = self.step(strength, None, None, Ending::Refused);
        execution::try_with(|execution| {
            if let Some(panic) = &mut execution.panic {
                panic.is_placed = true;
            }
            execution.push_refused(step);
        });
    }

    /// An access of an atomic that was made.
    pub(super) fn done(&self, word: Word, strength: Strength, read: Option<Number>, wrote: Option<Number>) {
        let step = self.step(strength, read, wrote, Ending::Done);
        execution::with(|execution| execution.push_atomic(word, step));
    }

    /// A compare-exchange that found this instead.
    pub(super) fn failed(&self, word: Word, read: Number) {
        let step = self.step(self.failure(), Some(read), None, Ending::Failed);
        execution::with(|execution| {
            execution.sites.failed(self.site);
            execution.push_atomic(word, step);
        });
    }

    /// The load of `fetch_update`, which has the ordering of a failure.
    pub(super) fn looked(&self, word: Word, read: Number) {
        execution::with(|execution| execution.sites.failed(self.site));
        self.done(word, self.failure(), Some(read), None);
    }

    /// A fence or an access of plain memory that was made.
    pub(super) fn passed(&self) {
        let step = self.step(self.success(), None, None, Ending::Done);
        execution::with(|execution| execution.push(step));
    }

    fn step(&self, strength: Strength, read: Option<Number>, wrote: Option<Number>, ending: Ending) -> Step {
        let Strength { now, source } = strength;
        let is_atomic = !self.operation.is_plain();
        Step {
            thread: thread(),
            site: self.site,
            order: is_atomic.then_some(now),
            source: (is_atomic && now != source).then_some(source),
            address: self.address,
            shape: self.shape,
            read,
            wrote,
            newest: None,
            ending,
        }
    }
}

loom::thread_local! {
    /// The number of this thread of the model.
    static THREAD: u32 = number_of_this_thread();
}

/// The number of the thread that runs: 0 is the model itself.
fn thread() -> u32 {
    // While a thread takes its locals down, loom no longer says which one it is: whoever made the last access
    // is still running. The same goes for an execution that loom has ended.
    if std::thread::panicking() {
        return execution::try_with(|execution| execution.last_thread()).unwrap_or(0);
    }
    THREAD.try_with(|number| *number).unwrap_or_else(|_| execution::with(|execution| execution.last_thread()))
}

/// loom does not give the number out except as text: `ThreadId(2)`.
fn number_of_this_thread() -> u32 {
    struct Digits(u32);
    impl Write for Digits {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for digit in text.bytes().filter(u8::is_ascii_digit) {
                self.0 = self.0 * 10 + u32::from(digit - b'0');
            }
            Ok(())
        }
    }
    let mut digits = Digits(0);
    // Writing to a number cannot fail.
    let _ = write!(digits, "{:?}", loom::thread::current().id());
    digits.0
}
