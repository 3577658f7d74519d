//! The verdicts on a crate.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::recipe::folder;

/// A file NAME.json.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Record {
    /// How many accesses the models make.
    pub(crate) accesses: usize,
    pub(crate) tests: usize,
    /// How many executions all tests have unchanged.
    pub(crate) executions: u64,
    /// Of the whole run, compilation of the crate included; never compared.
    pub(crate) seconds: u64,
    /// Of each change, as `WEAKEN` has it.
    pub(crate) verdicts: BTreeMap<String, String>,
}

impl Record {
    /// What `cargo weaken --json` says.
    pub(crate) fn of(report: &Value, seconds: u64) -> anyhow::Result<Record> {
        let list = |name: &str| {
            report[name].as_array().with_context(|| format!("cargo weaken --json has no list {name:?}"))
        };
        let mut verdicts = BTreeMap::new();
        for mutation in list("mutations")? {
            let text = |name: &str| {
                let text = mutation[name].as_str();
                text.map(str::to_owned).with_context(|| format!("a mutation has no {name:?}"))
            };
            verdicts.insert(text("change")?, text("verdict")?);
        }
        let tests = list("tests")?;
        let executions = tests.iter().filter_map(|test| test["permutations"].as_u64()).sum();
        Ok(Record { accesses: list("accesses")?.len(), tests: tests.len(), executions, seconds, verdicts })
    }

    pub(crate) fn read(name: &str) -> anyhow::Result<Record> {
        let file = file(name);
        let text = fs::read_to_string(&file)
            .with_context(|| format!("{}: `cargo xtask peers --write {name}` makes it", file.display()))?;
        serde_json::from_str(&text).with_context(|| file.display().to_string())
    }

    pub(crate) fn write(&self, name: &str) -> anyhow::Result<()> {
        let file = file(name);
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&file, text).with_context(|| file.display().to_string())
    }

    pub(crate) fn count(&self, verdict: &str) -> usize {
        self.verdicts.values().filter(|found| *found == verdict).count()
    }

    /// The changes with this verdict.
    pub(crate) fn with(&self, verdict: &str) -> impl Iterator<Item = &str> {
        self.verdicts.iter().filter(move |(_, found)| *found == verdict).map(|(change, _)| change.as_str())
    }

    /// In what another run differs, a sentence each.
    pub(crate) fn differences(&self, found: &Record) -> Vec<String> {
        let mut differences = Vec::new();
        for (what, recorded, found) in [
            ("accesses", self.accesses as u64, found.accesses as u64),
            ("tests", self.tests as u64, found.tests as u64),
            ("executions", self.executions, found.executions),
        ] {
            if recorded != found {
                differences.push(format!("{found} {what}, and {recorded} are recorded"));
            }
        }
        let all: BTreeMap<_, _> = self.verdicts.iter().chain(&found.verdicts).collect();
        for change in all.into_keys() {
            let verdict = |record: &Record| record.verdicts.get(change).map_or("not tried", |v| v).to_owned();
            let (recorded, found) = (verdict(self), verdict(found));
            if recorded != found {
                differences.push(format!("{change}: {found}, and {recorded} is recorded"));
            }
        }
        differences
    }
}

fn file(name: &str) -> PathBuf {
    folder().join(format!("{name}.json"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Record;

    fn record(verdicts: &[(&str, &str)]) -> anyhow::Result<Record> {
        let mutations: Vec<_> = verdicts
            .iter()
            .map(|(change, verdict)| json!({ "change": change, "verdict": verdict }))
            .collect();
        let tests = json!([{ "permutations": 3 }, { "permutations": 4 }]);
        Record::of(&json!({ "accesses": [1, 2], "tests": tests, "mutations": mutations }), 9)
    }

    #[test]
    fn a_verdict_that_changes_comes_or_goes_is_a_difference() -> anyhow::Result<()> {
        let old = record(&[("a", "killed"), ("b", "killed"), ("c", "survived")])?;
        let new = record(&[("a", "killed"), ("b", "survived"), ("d", "killed")])?;
        assert!(old.differences(&old).is_empty());
        assert_eq!(
            old.differences(&new),
            [
                "b: survived, and killed is recorded",
                "c: not tried, and survived is recorded",
                "d: killed, and not tried is recorded",
            ]
        );
        Ok(())
    }

    #[test]
    fn a_record_counts_what_the_run_says() -> anyhow::Result<()> {
        let record = record(&[("a", "killed"), ("b", "survived")])?;
        assert_eq!((record.accesses, record.tests, record.executions), (2, 2, 7));
        assert_eq!(record.with("survived").collect::<Vec<_>>(), ["b"]);
        Ok(())
    }

    #[test]
    fn an_object_without_mutations_is_refused() {
        assert!(Record::of(&json!({ "accesses": [], "tests": [] }), 0).is_err());
    }
}
