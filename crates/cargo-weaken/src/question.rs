//! What is asked of the models.

use serde::Serialize;
use weaken::operation::{Operation, Orders};

use crate::arguments::Arguments;
use crate::verdict::Verdict;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Question {
    /// Which weaker ordering does a model notice?
    Weaken,
    /// Does a model fail with a stronger one? None may.
    Strengthen,
    /// Do the models pass with these orderings?
    Site,
}

impl Question {
    pub(crate) fn of(arguments: &Arguments) -> Question {
        if !arguments.site.is_empty() {
            Question::Site
        } else if arguments.strengthen {
            Question::Strengthen
        } else {
            Question::Weaken
        }
    }

    /// What the orderings are that it tries.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Question::Weaken => "weaker",
            Question::Strengthen => "stronger",
            Question::Site => "other",
        }
    }

    /// Those that it tries of an access.
    pub(crate) fn tries(self, operation: Operation, orders: Orders) -> Vec<Orders> {
        match self {
            Question::Weaken => operation.weaker(orders),
            Question::Strengthen => operation.stronger(orders),
            Question::Site => Vec::new(),
        }
    }

    /// A verdict in a word, which is also its class in the style sheet. A stronger ordering has nothing to
    /// survive.
    pub(crate) fn word(self, verdict: &Verdict) -> &'static str {
        match (verdict, self) {
            (Verdict::Killed(_), Question::Strengthen) => "fails",
            (Verdict::Killed(_), _) => "killed",
            (Verdict::Survived { .. }, Question::Strengthen) => "passes",
            (Verdict::Survived { .. }, _) => "survived",
            (Verdict::Unreached, _) => "unreached",
            (Verdict::Timeout { .. }, _) => "timeout",
            (Verdict::Skipped, _) => "skipped",
        }
    }
}
