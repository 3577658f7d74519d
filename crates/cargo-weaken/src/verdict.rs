//! What the models say.

use serde::Serialize;
use weaken::record::Execution;

/// What the models say about a change.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// A test fails.
    Killed(Box<Kill>),
    /// Every test that reaches the access passes.
    Survived {
        /// What limited their exploration, where something did.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        bounds: Vec<String>,
    },
    /// No test uses the ordering.
    Unreached,
    /// A test did not end in time, and no other fails.
    Timeout {
        /// Which.
        test: String,
    },
    /// It was not tried, or not to the end: with --fail-fast another has answered.
    Skipped,
}

/// How a change was noticed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Kill {
    pub(crate) test: String,
    /// The kind of failure.
    pub(crate) reason: String,
    pub(crate) message: String,
    /// After how many executions of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) permutations: Option<u64>,
    pub(crate) seconds: f64,
    /// The execution that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) execution: Option<Execution>,
}
