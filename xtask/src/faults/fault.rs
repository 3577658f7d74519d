//! A call that is made to fail.

use crate::faults::calls::Error;
use crate::faults::traced::Who;

/// One call that is made to fail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    pub(crate) who: Who,
    pub(crate) call: String,
    /// The first one is 1.
    pub(crate) occurrence: u32,
    pub(crate) error: Error,
}

/// The options of strace that inject a fault.
pub(crate) fn injection(fault: &Fault) -> Vec<String> {
    let Fault { who, call, occurrence, error } = fault;
    let mut options: Vec<String> = who.follow().iter().map(|&option| option.to_owned()).collect();
    options.push("-e".to_owned());
    options.push(format!("inject={call}:error={}:when={occurrence}", error.name()));
    options
}
