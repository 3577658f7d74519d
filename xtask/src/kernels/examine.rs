//! One kernel, step by step. What does not work is a result, not an error.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Context;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::kernels::programs::{Outcome, Programs, place};
use crate::vm::ARENAQ;
use crate::vm::console::complaints;
use crate::vm::machine::{Ended, Machine, Output};
use crate::vm::skeleton::{self, Summary};

/// What is done on every kernel. Each step has a guest of its own, so that a crash spoils only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Doctor,
    Verifier,
    Skeleton(&'static str),
    Test(String),
}

impl Step {
    pub(crate) fn all(programs: &Programs) -> Vec<Step> {
        let mut all = vec![Step::Doctor, Step::Verifier];
        all.extend(skeleton::QUEUES.map(Step::Skeleton));
        all.extend(programs.tests.iter().cloned().map(Step::Test));
        all
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Doctor => f.write_str("doctor"),
            Step::Verifier => f.write_str("verifier"),
            Step::Skeleton(queue) => write!(f, "files, {queue}"),
            Step::Test(name) => write!(f, "tests/{name}"),
        }
    }
}

/// What `arenaq doctor --json` prints.
#[derive(Debug, Deserialize)]
pub(crate) struct Doctor {
    pub(crate) can_run: bool,
    pub(crate) checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) verdict: String,
    pub(crate) found: String,
}

impl Check {
    pub(crate) fn is_good(&self) -> bool {
        self.verdict == "good"
    }
}

/// A row of `arenaq verifier --json`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Cost {
    pub(crate) program: String,
    pub(crate) hook: String,
    pub(crate) queue: String,
    pub(crate) instructions: String,
    pub(crate) verified_instructions: Option<u64>,
    pub(crate) states: Option<u64>,
    pub(crate) error: Option<String>,
}

/// A result, or why there is none.
pub(crate) type Tried<T> = Result<T, String>;

/// Everything on one kernel.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) release: String,
    pub(crate) doctor: Tried<Doctor>,
    pub(crate) verifier: Tried<Vec<Cost>>,
    pub(crate) skeleton: BTreeMap<&'static str, Tried<Summary>>,
    pub(crate) tests: Vec<(String, Tried<Outcome>)>,
    /// What the kernel itself complained of, with the step in which it did.
    pub(crate) complaints: Vec<String>,
}

impl Examined {
    pub(crate) fn new(release: String) -> Examined {
        let not_tried = || "not tried".to_owned();
        Examined {
            release,
            doctor: Err(not_tried()),
            verifier: Err(not_tried()),
            skeleton: BTreeMap::new(),
            tests: Vec::new(),
            complaints: Vec::new(),
        }
    }

    /// Does one step, and says in a few words how it ended.
    pub(crate) fn take(&mut self, step: &Step, machine: &Machine, skips: &[String]) -> String {
        match step {
            Step::Doctor => {
                self.doctor = self.json(step, machine, &[ARENAQ, "doctor", "--json"]);
                words(
                    &self.doctor,
                    |doctor| {
                        if doctor.can_run { "works".to_owned() } else { "CANNOT RUN".to_owned() }
                    },
                )
            }
            Step::Verifier => {
                self.verifier = self.json(step, machine, &[ARENAQ, "verifier", "--json"]);
                words(&self.verifier, |costs| format!("{} programs", costs.len()))
            }
            Step::Skeleton(queue) => {
                let summary = skeleton::run(machine, queue).map_err(|error| format!("{error:#}"));
                let said = words(&summary, Summary::to_string);
                self.skeleton.insert(queue, summary);
                said
            }
            Step::Test(name) => {
                let place = place(name);
                let mut command = vec![place.as_str(), "--nocapture"];
                command.extend(skips.iter().flat_map(|test| ["--skip", test]));
                let outcome = self
                    .command(step, machine, &command)
                    .and_then(|ended| Outcome::read(&ended).map_err(|error| format!("{error:#}")));
                let said = words(&outcome, |outcome| {
                    let [failed, skipped] = [outcome.failed.len(), outcome.skipped.len()];
                    format!("{} passed, {failed} failed, {skipped} SKIPPED", outcome.passed)
                });
                self.tests.push((name.clone(), outcome));
                said
            }
        }
    }

    fn command(&mut self, step: &Step, machine: &Machine, command: &[&str]) -> Tried<Ended> {
        let command: Vec<_> = command.iter().map(|&word| word.to_owned()).collect();
        let ended = machine.run(&command, Output::Kept).map_err(|error| format!("{error:#}"))?;
        let complaints = complaints(&ended.console);
        self.complaints.extend(complaints.into_iter().map(|line| format!("{step}: {line}")));
        Ok(ended)
    }

    fn json<T: DeserializeOwned>(&mut self, step: &Step, machine: &Machine, command: &[&str]) -> Tried<T> {
        let ended = self.command(step, machine, command)?;
        serde_json::from_str(&ended.stdout)
            .with_context(|| format!("exit code {}, {}{}", ended.code, ended.stderr, ended.stdout))
            .map_err(|error| format!("{error:#}"))
    }

    /// Whether one of these steps failed.
    pub(crate) fn failed(&self, steps: &[Step]) -> bool {
        steps.iter().any(|step| match step {
            Step::Doctor => !self.doctor.as_ref().is_ok_and(|doctor| doctor.can_run),
            Step::Verifier => self.verifier.is_err(),
            Step::Skeleton(queue) => self.skeleton.get(queue).is_none_or(Result::is_err),
            Step::Test(name) => {
                let outcome = self.tests.iter().find(|(is, _)| is == name);
                !outcome.is_some_and(|(_, outcome)| outcome.as_ref().is_ok_and(|it| it.failed.is_empty()))
            }
        })
    }

    /// Whether nothing failed. What a kernel cannot do, and says so, is no failure.
    pub(crate) fn works(&self) -> bool {
        self.doctor.as_ref().is_ok_and(|doctor| doctor.can_run)
            && self.verifier.is_ok()
            && self.skeleton.values().all(Result::is_ok)
            && self.tests.iter().all(|(_, outcome)| outcome.as_ref().is_ok_and(|o| o.failed.is_empty()))
    }
}

fn words<T>(tried: &Tried<T>, say: impl FnOnce(&T) -> String) -> String {
    match tried {
        Ok(result) => say(result),
        Err(error) => format!("FAILED: {}", error.lines().next().unwrap_or_default()),
    }
}
