//! Writes the record of this process.

use std::cell::RefCell;
use std::string::String;

use crate::out::write;
use crate::record::{self, Begin, Bounds, End, Line, Outcome, Place};

use super::execution::{self, Execution};

/// What is known of a model before it runs.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) model: Place,
    pub(super) bounds: Bounds,
}

std::thread_local! {
    /// The model that runs in this thread; none once its end is written.
    static RUNNING: RefCell<Option<Header>> = const { RefCell::new(None) };
}

/// Whether somebody asks for a record.
pub(super) fn is_wanted() -> bool {
    std::env::var_os(record::FILE).is_some()
}

/// A model begins in this thread.
pub(super) fn begin(header: &Header) {
    write(&Line::Begin(Begin { version: record::VERSION, test: test(), model: header.model.clone() }));
    RUNNING.set(Some(header.clone()));
}

/// The model of this thread has ended.
pub(super) fn end(failed: bool) {
    let execution = execution::end_model();
    if let (Some(header), Some(execution)) = (RUNNING.take(), execution) {
        write_end(&header, execution, failed);
    }
}

/// Writes that the model has failed while it is still unwinding.
pub(super) fn write_failure_early() {
    // What the model is in stays: others look at it while they unwind.
    let header = RUNNING.try_with(RefCell::take).ok().flatten();
    if let (Some(header), Some(execution)) = (header, execution::try_with(|execution| execution.clone())) {
        write_end(&header, execution, true);
    }
}

fn write_end(header: &Header, mut execution: Execution, failed: bool) {
    execution.keep_names();
    let failure = if failed { execution.failure() } else { None };
    let permutations = execution.permutations;
    let sites = execution.sites.into_atomic();
    write(&Line::End(End {
        test: test(),
        model: header.model.clone(),
        outcome: if failed { Outcome::Failed } else { Outcome::Passed },
        permutations,
        bounds: header.bounds.clone(),
        applied: sites.iter().any(|site| site.changed.is_some()),
        sites,
        failure,
    }));
}

fn test() -> Option<String> {
    std::thread::current().name().map(Into::into)
}
