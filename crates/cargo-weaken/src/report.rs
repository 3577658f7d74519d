//! What was found, as one object.

use serde::Serialize;
use weaken::operation::{Operation, Orders};
use weaken::record::Place;

use crate::access::Access;
use crate::error::Error;
use crate::json;
use crate::judge::Judged;
use crate::plan::{Part, Plan};
use crate::question::Question;
use crate::suite::Suite;
use crate::verdict::Verdict;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    version: u32,
    pub(crate) question: Question,
    pub(crate) summary: Summary,
    pub(crate) warnings: Vec<String>,
    pub(crate) tests: Vec<Test>,
    pub(crate) accesses: Vec<Access>,
    pub(crate) mutations: Vec<Mutation>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) killed: usize,
    pub(crate) survived: usize,
    pub(crate) unreached: usize,
    pub(crate) timeout: usize,
    pub(crate) skipped: usize,
}

/// A test, as it is unchanged.
#[derive(Debug, Serialize)]
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) program: String,
    /// How many executions its models have.
    pub(crate) permutations: u64,
    pub(crate) seconds: f64,
}

/// An access with another ordering.
#[derive(Debug, Serialize)]
pub(crate) struct Changed {
    #[serde(flatten)]
    pub(crate) place: Place,
    pub(crate) operation: Operation,
    #[serde(serialize_with = "json::as_text")]
    pub(crate) from: Orders,
    #[serde(serialize_with = "json::as_text")]
    pub(crate) to: Orders,
}

/// A change, and what became of it.
#[derive(Debug, Serialize)]
pub(crate) struct Mutation {
    #[serde(flatten)]
    pub(crate) access: Changed,
    /// Those that changed at the same time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) with: Vec<Changed>,
    /// What the environment variable WEAKEN says to try it again.
    pub(crate) change: String,
    #[serde(flatten)]
    pub(crate) verdict: Verdict,
}

impl Changed {
    pub(crate) fn new(accesses: &[Access], part: Part) -> Changed {
        let (number, to) = part;
        let access = &accesses[number];
        let (place, operation) = (access.place.clone(), access.operation);
        Changed { place, operation, from: access.ordering, to }
    }
}

impl Mutation {
    /// All that changed.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Changed> {
        [&self.access].into_iter().chain(&self.with)
    }
}

impl Report {
    pub(crate) fn new(suite: &Suite, plan: Plan, judged: Vec<Judged>) -> Report {
        let Plan { question, sites: accesses, .. } = plan;
        let mut summary = Summary::default();
        for judged in &judged {
            match judged.verdict {
                Verdict::Killed(_) => summary.killed += 1,
                Verdict::Survived { .. } => summary.survived += 1,
                Verdict::Unreached => summary.unreached += 1,
                Verdict::Timeout { .. } => summary.timeout += 1,
                Verdict::Skipped => summary.skipped += 1,
            }
        }
        let tests = suite.tests.iter().map(|test| Test {
            name: test.name.clone(),
            program: test.program.name.clone(),
            permutations: test.models.iter().map(|model| model.permutations).sum(),
            seconds: test.took.as_secs_f64(),
        });
        let mutations = judged.into_iter().map(|Judged { mutation, verdict }| {
            let changed = |part| Changed::new(&accesses, part);
            let with = mutation.with.iter().copied().map(changed).collect();
            Mutation { access: changed(mutation.part), with, change: mutation.change, verdict }
        });
        let mutations = mutations.collect();
        Report {
            version: json::VERSION,
            question,
            summary,
            warnings: suite.warnings.clone(),
            tests: tests.collect(),
            accesses,
            mutations,
        }
    }

    pub(crate) fn has_kills(&self) -> bool {
        self.summary.killed > 0
    }

    pub(crate) fn survivors(&self) -> impl Iterator<Item = &Mutation> {
        self.mutations.iter().filter(|mutation| matches!(mutation.verdict, Verdict::Survived { .. }))
    }

    /// In one line, and the warnings.
    pub(crate) fn summary(&self) -> String {
        let Summary { killed, survived, unreached, timeout, skipped } = self.summary;
        let mut text: String = self.warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
        let (kills, survivors) = match self.question {
            Question::Strengthen => ("fail", "pass"),
            Question::Weaken | Question::Site => ("killed", "survived"),
        };
        text += &format!(
            "{} {} orderings tried: {killed} {kills}, {survived} {survivors}, {unreached} unreached, \
             {timeout} timeout",
            self.mutations.len() - skipped,
            self.question.kind()
        );
        if skipped > 0 {
            text += &format!("; {skipped} skipped");
        }
        text
    }

    pub(crate) fn print_json(&self) -> Result<(), Error> {
        json::print(self)
    }
}
