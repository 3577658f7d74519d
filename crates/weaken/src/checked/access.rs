//! One access: which site it is, what ordering it has, and what loom says to it.

use std::any::Any;
use std::cell::Cell;
use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::string::String;

use crate::named;
use crate::operation::{Operation, Order, Orders};
use crate::record::Ending;
use crate::trace::{self, Effect, Site, Value};

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

/// Where an access is made.
#[derive(Clone, Copy, Debug)]
enum At {
    /// In a line of the source.
    Line(SiteId),
    /// At a site that has a name: the trace has it, and not the list of steps.
    Named(&'static dyn Site),
}

/// An access that is going on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    at: At,
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
    pub(super) fn line(
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
        Access { at: At::Line(site), orders, source, operation, address, shape }
    }

    #[track_caller]
    pub(super) fn named(site: &'static dyn Site, address: Option<usize>, shape: Shape) -> Access {
        let named = site.named();
        let (operation, source) = (named.operation, named.orders);
        Access { at: At::Named(site), orders: named::orders(named), source, operation, address, shape }
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
        execution::try_with(|execution| {
            if let Some(panic) = &mut execution.panic {
                panic.is_placed = true;
            }
        });
        match self.at {
            At::Line(site) => {
                let step = self.step(site, strength, None, None, Ending::Refused);
                execution::try_with(|execution| execution.push_refused(step));
            }
            At::Named(site) => trace::fail(thread().into(), site, self.place(), strength.now),
        }
    }

    /// An access of an atomic that was made.
    pub(super) fn done(&self, word: Word, strength: Strength, read: Option<Number>, wrote: Option<Number>) {
        match self.at {
            At::Line(site) => {
                let step = self.step(site, strength, read, wrote, Ending::Done);
                execution::with(|execution| execution.push_atomic(word, step));
            }
            At::Named(site) => {
                let value =
                    |number: Number| execution::with(|execution| execution.value(number)).unwrap_or(0);
                let effect = match (read.map(value), wrote.map(value)) {
                    // What was there does not matter to who writes without reading.
                    (_, Some(to)) if self.operation.is_plain() => Effect::Put(Value::of([to])),
                    (Some(from), Some(to)) => Effect::Changed { from, to },
                    (None, Some(to)) => Effect::Put(Value::of([to])),
                    (from, None) => Effect::Got(Value::of(from)),
                };
                self.push_named(site, strength, effect, read, wrote.map(|number| (word, number)));
            }
        }
    }

    /// A compare-exchange that found this instead of what it expected.
    pub(super) fn failed(&self, word: Word, expected: u64, read: Number) {
        match self.at {
            At::Line(site) => {
                let step = self.step(site, self.failure(), Some(read), None, Ending::Failed);
                execution::with(|execution| {
                    execution.sites.failed(site);
                    execution.push_atomic(word, step);
                });
            }
            At::Named(site) => {
                let found = execution::with(|execution| execution.value(read)).unwrap_or(0);
                self.push_named(site, self.failure(), Effect::Refused { expected, found }, Some(read), None);
            }
        }
    }

    /// The load of `fetch_update`, which has the ordering of a failure.
    pub(super) fn looked(&self, word: Word, read: Number) {
        if let At::Line(site) = self.at {
            execution::with(|execution| execution.sites.failed(site));
        }
        self.done(word, self.failure(), Some(read), None);
    }

    /// A fence or an access of plain memory that was made.
    pub(super) fn passed(&self) {
        match self.at {
            At::Line(site) => {
                let step = self.step(site, self.success(), None, None, Ending::Done);
                execution::with(|execution| execution.push(step));
            }
            At::Named(site) => self.push_named(site, self.success(), Effect::Fenced, None, None),
        }
    }

    /// None for a fence.
    fn place(&self) -> usize {
        self.address.unwrap_or(0)
    }

    fn push_named(
        &self,
        site: &'static dyn Site,
        strength: Strength,
        effect: Effect,
        read: Option<Number>,
        wrote: Option<(Word, Number)>,
    ) {
        let thread = thread();
        let from = execution::with(|execution| execution.read_from(thread, read));
        let event =
            from.map(|from| trace::record(thread.into(), site, self.place(), strength.now, effect, from));
        if let Some((word, number)) = wrote {
            execution::with(|execution| execution.wrote_at(word, number, event));
        }
    }

    fn step(
        &self,
        site: SiteId,
        strength: Strength,
        read: Option<Number>,
        wrote: Option<Number>,
        ending: Ending,
    ) -> Step {
        let Strength { now, source } = strength;
        let is_atomic = !self.operation.is_plain();
        Step {
            thread: thread(),
            site,
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
pub(super) fn thread() -> u32 {
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
