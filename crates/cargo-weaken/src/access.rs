//! The accesses that the models make.

use serde::Serialize;
use weaken::operation::{Operation, Orders};
use weaken::record::Place;

use crate::json;

/// An access, and who makes it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Access {
    #[serde(flatten)]
    pub(crate) place: Place,
    pub(crate) operation: Operation,
    #[serde(serialize_with = "json::as_text")]
    pub(crate) ordering: Orders,
    /// How often, in all executions of all models.
    pub(crate) count: u64,
    /// How often it failed.
    pub(crate) failed: u64,
    /// The names that models give to the memory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) names: Vec<String>,
    /// The tests that reach it, the quickest first.
    pub(crate) tests: Vec<String>,
    /// The same, as numbers in the suite.
    #[serde(skip)]
    pub(crate) numbers: Vec<usize>,
}

impl Access {
    /// As a person calls it.
    pub(crate) fn label(&self) -> String {
        let names = if self.names.is_empty() { "" } else { ", " };
        format!("{}#{}={}{names}{}", self.place, self.operation, self.ordering, self.names.join(", "))
    }
}
