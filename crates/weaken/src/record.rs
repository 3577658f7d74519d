//! What a run of models writes to the file that [`FILE`] names: a JSON object on each line.
//!
//! A line [`Line::Begin`] and a line [`Line::End`] for each model. A process that dies in between leaves the
//! first alone. The verdict on a run is in [`End::outcome`] and in the exit status of the process; no text
//! has to be searched for words.

use std::fmt;
use std::string::String;
use std::vec::Vec;
use std::write;

use serde::{Deserialize, Serialize};

use crate::operation::{Operation, Order, Orders};

/// The environment variable with the changes that a run tries; see [`change`](crate::change).
pub const CHANGES: &str = "WEAKEN";
/// The environment variable with the path of the file to which a run appends its lines.
pub const FILE: &str = "WEAKEN_RECORD";
/// The number that every [`Begin`] carries. It grows when a line changes its meaning.
pub const VERSION: u32 = 1;
/// The exit status of a process that was told a change that it cannot try.
pub const REFUSED: i32 = 2;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// A model begins.
    Begin(Begin),
    /// It has ended.
    End(End),
    /// The change cannot be tried, and the process ends with [`REFUSED`].
    Refused {
        /// Why.
        reason: String,
    },
}

/// A model begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// [`VERSION`].
    pub version: u32,
    /// The name of the thread that runs it, which is the test's where a test program runs several at once.
    pub test: Option<String>,
    /// Where the model is called.
    pub model: Place,
}

/// A model has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// As in [`Begin::test`].
    pub test: Option<String>,
    /// Where the model is called.
    pub model: Place,
    /// How it ended.
    pub outcome: Outcome,
    /// How many executions there were; the last is the one that failed.
    pub permutations: u64,
    /// What limits the exploration.
    pub bounds: Bounds,
    /// Whether an access had another ordering than in the source.
    pub applied: bool,
    /// The accesses, in the order in which they were first made.
    pub sites: Vec<Site>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// How a model ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// No execution failed.
    Passed,
    /// One did.
    Failed,
}

/// What limits loom, where something does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// How often a thread may be preempted in one execution.
    pub preemptions: Option<usize>,
    /// How many branches an execution may have.
    pub branches: usize,
    /// How many executions are tried.
    pub permutations: Option<usize>,
    /// How many seconds are spent.
    pub seconds: Option<u64>,
}

/// A place in the source, as the compiler names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The file: relative to the workspace for its own members.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The column, counted from 1.
    pub column: u32,
}

impl From<&core::panic::Location<'_>> for Place {
    fn from(location: &core::panic::Location<'_>) -> Place {
        Place { file: location.file().into(), line: location.line(), column: location.column() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// An access in the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Where.
    pub place: Place,
    /// What it does.
    pub operation: Operation,
    /// The orderings in the source.
    pub orders: Orders,
    /// How often it was made, in all executions.
    pub count: u64,
    /// How often it failed: a compare-exchange that found something else. For `fetch_update` how often its
    /// load or a compare-exchange had the second ordering.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: u64,
    /// The orderings that it had instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Orders>,
    /// The names that the model gave to the memory, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Why a model failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure.
    pub reason: Reason,
    /// The message of the first panic; what follows it is its consequence.
    pub message: String,
    /// Where it panicked.
    pub place: Option<Place>,
    /// The execution in which it did.
    pub execution: Execution,
}

/// The kind of a failure, by the place of the panic: loom checks each thing in a file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Two threads touch plain memory with nothing that orders them.
    Race,
    /// Every thread waits.
    Deadlock,
    /// An execution has more branches than the model allows: somebody waits for what never comes.
    Endless,
    /// Something was not given back.
    Leak,
    /// The model or the code under it panicked: a result is wrong.
    Wrong,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Race => "data race",
            Reason::Deadlock => "deadlock",
            Reason::Endless => "endless loop",
            Reason::Leak => "leak",
            Reason::Wrong => "panic",
        })
    }
}

/// One execution: what every thread did, in the order in which loom executed it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// The accesses.
    pub steps: Vec<Step>,
    /// In a data race: the step, counted from 0, that nothing orders before the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unordered: Option<usize>,
}

/// One access of an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The thread: 0 is the model itself, the others in the order in which they were spawned.
    pub thread: u32,
    /// Where in the source; none of a [site](Step::site) that has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The name of its site, if it [has one](crate::named).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// What the user calls the operation of which the access is a part: `push`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Why the ordering of the source is right, where the site says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What it does.
    pub operation: Operation,
    /// The ordering that it had; of a failed compare-exchange the one of failure. None if it is not atomic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// The ordering in the source, if it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Order>,
    /// The name of the memory: as given to [`name`](crate::name()), else `A`, `B`, …; none for a fence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub word: Option<String>,
    /// What it read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Read>,
    /// What it wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrote: Option<String>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Ending::is_done")]
    pub ending: Ending,
}

/// What an access read, and from where: exactly, for each write has a number that the read finds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// The value.
    pub value: String,
    /// The step that wrote it, counted from 0; `None` is the value with which the memory was made.
    pub from: Option<usize>,
    /// The step that had written last, in the order of the execution, if it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<usize>,
}

/// How an access ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It was made.
    #[default]
    Done,
    /// A compare-exchange that found something else than it expected.
    Failed,
    /// loom ended the execution in it.
    Refused,
}

impl Ending {
    fn is_done(&self) -> bool {
        *self == Ending::Done
    }
}
