//! What has happened in this execution of the model.
//!
//! loom runs all threads of a model in one thread of the system, one at a time, so an execution is a list of
//! that thread.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::operation::Order;
use crate::record::{self, Ending, Failure};
use crate::trace::{self, ReadFrom};

use super::letters::Letters;
use super::panic::FirstPanic;
use super::show::Show;
use super::site::{SiteId, Sites};
use super::value::Shape;

/// The number of a write: an index into [`Execution::writes`]. It is what loom's atomic holds.
pub(super) type Number = usize;
/// The number of no write.
pub(super) const NOTHING: Number = usize::MAX;

/// An atomic, by the order in which they were made.
pub(super) type Word = usize;

/// A write, or the value with which an atomic was made.
#[derive(Clone, Copy, Debug)]
struct Write {
    value: u64,
    /// None if it has not been executed, or belongs to no step.
    step: Option<usize>,
    /// The event of the trace that it is, if it was made at a site that has a name.
    event: Option<usize>,
}

/// What an access did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) thread: u32,
    pub(super) site: SiteId,
    pub(super) order: Option<Order>,
    /// The ordering in the source, if it is another.
    pub(super) source: Option<Order>,
    /// None for a fence.
    pub(super) address: Option<usize>,
    pub(super) shape: Shape,
    pub(super) read: Option<Number>,
    pub(super) wrote: Option<Number>,
    /// The step that had written last, if it read another.
    pub(super) newest: Option<usize>,
    pub(super) ending: Ending,
}

#[derive(Clone, Debug)]
struct Named {
    address: usize,
    size: usize,
    name: String,
}

/// The execution that runs, and what the model keeps from one to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Execution {
    pub(super) sites: Sites,
    /// How many have begun.
    pub(super) permutations: u64,
    writes: Vec<Write>,
    /// The write that was executed last, of each atomic.
    newest: Vec<Number>,
    steps: Vec<Step>,
    names: Vec<Named>,
    shows: HashMap<usize, Show>,
    /// Which site has touched which address in this execution.
    touched: HashSet<(SiteId, usize)>,
    /// The thread that made the last access.
    last: u32,
    pub(super) panic: Option<FirstPanic>,
}

std::thread_local! {
    /// None: this thread runs no model.
    static EXECUTION: RefCell<Option<Execution>> = const { RefCell::new(None) };
}

/// Looks at the execution, or changes it. loom must not be called inside: it may switch to another thread.
///
/// # Panics
///
/// If none runs.
#[track_caller]
pub(super) fn with<R>(look: impl FnOnce(&mut Execution) -> R) -> R {
    let result = EXECUTION.with_borrow_mut(|execution| execution.as_mut().map(look));
    match result {
        Some(result) => result,
        None => panic!(
            "an atomic, a cell or a name of weaken is used outside of a model of weaken: begin the model with \
             `weaken::model` or `weaken::model::Builder` instead of loom's"
        ),
    }
}

/// The same for the panic hook, which may run at any time: None if no model runs or somebody looks already.
pub(super) fn try_with<R>(look: impl FnOnce(&mut Execution) -> R) -> Option<R> {
    // The thread may be ending and its locals be gone.
    let result = EXECUTION.try_with(|execution| {
        let mut execution = execution.try_borrow_mut().ok()?;
        execution.as_mut().map(look)
    });
    result.ok().flatten()
}

/// Begins a model; false if one runs in this thread already.
pub(super) fn begin_model() -> bool {
    EXECUTION.with_borrow_mut(|execution| {
        let is_new = execution.is_none();
        execution.get_or_insert_default();
        is_new
    })
}

/// Ends it, and gives what it leaves.
pub(super) fn end_model() -> Option<Execution> {
    EXECUTION.take()
}

impl Execution {
    /// Forgets what happened: the next begins.
    pub(super) fn begin(&mut self) {
        self.keep_names();
        self.permutations += 1;
        self.writes.clear();
        self.newest.clear();
        self.steps.clear();
        self.names.clear();
        self.shows.clear();
        self.touched.clear();
        self.last = 0;
        self.panic = None;
        trace::begin_execution(0);
    }

    pub(super) fn name(&mut self, address: usize, size: usize, name: &str) {
        self.names.retain(|named| named.address != address || named.size != size);
        self.names.push(Named { address, size, name: name.to_string() });
    }

    /// An access of this memory begins.
    pub(super) fn touches(&mut self, site: SiteId, address: usize) {
        self.touched.insert((site, address));
    }

    /// The sites keep the names of what they touched: addresses are those of one execution.
    pub(super) fn keep_names(&mut self) {
        if self.names.is_empty() {
            return;
        }
        for (site, address) in std::mem::take(&mut self.touched) {
            if let Some(name) = self.name_of(address) {
                self.sites.is_called(site, name);
            }
        }
    }

    pub(super) fn show(&mut self, address: usize, show: Show) {
        self.shows.insert(address, show);
    }

    /// An atomic that begins with this value.
    pub(super) fn new_word(&mut self, value: u64) -> (Word, Number) {
        let number = self.new_write(value);
        self.newest.push(number);
        (self.newest.len() - 1, number)
    }

    /// A number for a write that is going to be executed.
    pub(super) fn new_write(&mut self, value: u64) -> Number {
        self.writes.push(Write { value, step: None, event: None });
        self.writes.len() - 1
    }

    /// A read-modify-write knows what it writes only after it has read.
    pub(super) fn set_value(&mut self, number: Number, value: u64) {
        self.writes[number].value = value;
    }

    /// The value that a write wrote; none if there was no such write.
    pub(super) fn value(&self, number: Number) -> Option<u64> {
        self.writes.get(number).map(|write| write.value)
    }

    /// The newest write of an atomic; none if there is no such atomic.
    pub(super) fn newest(&self, word: Word) -> Option<Number> {
        self.newest.get(word).copied()
    }

    /// A write has been executed outside of any step.
    pub(super) fn wrote(&mut self, word: Word, number: Number) {
        if let Some(newest) = self.newest.get_mut(word) {
            *newest = number;
        }
    }

    /// An access of an atomic has been executed.
    pub(super) fn push_atomic(&mut self, word: Word, mut step: Step) {
        step.newest = step.read.and_then(|number| {
            let newest = self.newest(word).filter(|newest| *newest != number)?;
            self.writes.get(newest)?.step
        });
        if let Some(number) = step.wrote {
            self.writes[number].step = Some(self.steps.len());
            self.wrote(word, number);
        }
        self.push(step);
    }

    /// An access at a site that has a name has been executed. Which event of the trace wrote what it read; `None` if the trace is
    /// at its end, as what destructors do after a panic explains nothing.
    pub(super) fn read_from(&mut self, thread: u32, read: Option<Number>) -> Option<ReadFrom> {
        if self.panic.is_some() {
            return None;
        }
        self.last = thread;
        let event = read.and_then(|number| self.writes.get(number)?.event);
        Some(event.map_or(ReadFrom::Nothing, ReadFrom::Event))
    }

    /// It has written this, and is that event.
    pub(super) fn wrote_at(&mut self, word: Word, number: Number, event: Option<usize>) {
        self.writes[number].event = event;
        self.wrote(word, number);
    }

    /// An access of something else has been executed. What destructors do after a panic explains nothing.
    pub(super) fn push(&mut self, step: Step) {
        if self.panic.is_none() {
            self.last = step.thread;
            self.steps.push(step);
        }
    }

    /// loom has ended the execution in this access.
    pub(super) fn push_refused(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// The thread that made the last access.
    pub(super) fn last_thread(&self) -> u32 {
        self.last
    }

    fn name_of(&self, address: usize) -> Option<String> {
        let inside = |named: &&Named| (named.address..named.address + named.size.max(1)).contains(&address);
        // The smallest piece says most.
        let named = self.names.iter().filter(inside).min_by_key(|named| named.size)?;
        Some(match address - named.address {
            0 => named.name.clone(),
            distance => format!("{}+{distance}", named.name),
        })
    }

    /// Why it failed, and everything that led to it.
    pub(super) fn failure(&self) -> Option<Failure> {
        let panic = self.panic.as_ref()?;
        Some(Failure {
            reason: panic.reason,
            message: panic.message.clone(),
            place: panic.place.clone(),
            execution: self.named().unwrap_or_else(|| self.record()),
        })
    }

    /// That of a crate whose accesses are made at sites with names.
    fn named(&self) -> Option<record::Execution> {
        trace::inspect(|trace| {
            let is_named = self.steps.is_empty() && !trace.events.is_empty();
            is_named.then(|| trace.execution())
        })
    }

    /// The step with which the last one races. loom says in which thread it is: there it is the last one that
    /// touches the same memory and writes, unless the last one does.
    fn unordered(&self) -> Option<usize> {
        let (last, before) = self.steps.split_last()?;
        let other = self.panic.as_ref()?.threads.iter().copied().find(|thread| *thread != last.thread)?;
        let writes = |step: &Step| self.sites.get(step.site).operation.writes();
        before.iter().rposition(|step| {
            step.thread == other
                && step.address.is_some()
                && step.address == last.address
                && (writes(step) || writes(last))
        })
    }

    fn record(&self) -> record::Execution {
        let mut letters = Letters::default();
        let mut addresses: Vec<usize> = Vec::new();
        for address in self.steps.iter().filter_map(|step| step.address) {
            if !addresses.contains(&address) {
                addresses.push(address);
                if self.name_of(address).is_none() {
                    letters.of(address);
                }
            }
        }
        let mut word =
            |address: usize| self.name_of(address).unwrap_or_else(|| letters.of(address).to_string());
        let mut names: Vec<(usize, String)> = Vec::new();
        for address in addresses {
            let name = word(address);
            // A model may give one name to several: the nodes of a list.
            let others = (1..).map(|count| match count {
                1 => name.clone(),
                count => format!("{name} #{count}"),
            });
            let is_free = |name: &String| names.iter().all(|(_, taken)| taken != name);
            let name = others.into_iter().find(is_free).unwrap_or_default();
            names.push((address, name));
        }
        let known = |address: usize| names.iter().find(|(known, _)| *known == address).map(|(_, name)| name);
        let pointee = |address: usize| known(address).cloned().or_else(|| self.name_of(address));
        let value = |number: Number, step: &Step| {
            let Some(value) = self.value(number) else { return "?".to_string() };
            let show = step.address.and_then(|address| self.shows.get(&address));
            show.and_then(|show| show.text(value)).unwrap_or_else(|| step.shape.show(value, pointee))
        };
        let steps = self.steps.iter().map(|step| {
            let site = self.sites.get(step.site);
            record::Step {
                thread: step.thread,
                place: Some(site.place.clone()),
                site: None,
                scope: None,
                why: None,
                operation: site.operation,
                order: step.order,
                source: step.source,
                word: step.address.and_then(known).cloned(),
                read: step.read.map(|number| record::Read {
                    value: value(number, step),
                    from: self.writes.get(number).and_then(|write| write.step),
                    newest: step.newest,
                }),
                wrote: step.wrote.map(|number| value(number, step)),
                ending: step.ending,
            }
        });
        record::Execution { steps: steps.collect(), unordered: self.unordered() }
    }
}
