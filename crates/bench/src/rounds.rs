//! Candidates in turns.
//!
//! In each round every candidate runs once, in an order of its own. What changes on the machine from one
//! moment to the next then meets all candidates alike, and a ratio is taken within a round.

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use crate::results::{Entry, Group, Role, Unit};

/// What a candidate is measured by; each becomes a group of its own.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The last word of the group's name; none if it is the only metric.
    pub suffix: Option<&'static str>,
    /// What its numbers are.
    pub unit: Unit,
}

/// Runs once and returns a value for each metric.
type Run<'a> = Box<dyn FnMut() -> anyhow::Result<Vec<f64>> + 'a>;

/// Somebody who is measured.
pub struct Candidate<'a> {
    name: String,
    role: Role,
    run: Run<'a>,
}

impl std::fmt::Debug for Candidate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidate")
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl<'a> Candidate<'a> {
    /// A candidate that `run` measures once.
    pub fn new(
        name: impl Into<String>,
        role: Role,
        run: impl FnMut() -> anyhow::Result<Vec<f64>> + 'a,
    ) -> Candidate<'a> {
        Candidate { name: name.into(), role, run: Box::new(run) }
    }
}

/// How far a run is.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// For so many rounds, of all groups together.
    pub fn new(rounds: usize) -> Progress {
        let bar = ProgressBar::new(rounds as u64).with_finish(ProgressFinish::AndClear);
        let style = ProgressStyle::with_template("{elapsed:>4} of {duration} [{wide_bar}] {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Progress { bar }
    }

    /// Where there is no terminal, a line for each group takes the place of the bar.
    fn begin(&self, group: &str) {
        if self.bar.is_hidden() {
            eprintln!("{group}");
        }
    }

    /// A line that stays.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }

    /// Goes over rounds that cannot be measured.
    pub fn skip(&self, rounds: usize) {
        self.bar.inc(rounds as u64);
    }
}

/// What is not a number cannot be compared, nor be written as JSON.
fn finite(values: Vec<f64>) -> anyhow::Result<Vec<f64>> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => anyhow::bail!("measured {value}"),
        None => Ok(values),
    }
}

/// Measures the candidates in turns. Who fails once is not measured again, and says why. `transfer` looks at the beginning of each round
/// what a cache line takes from CPU to CPU, if that matters.
pub fn measure(
    name: &str,
    limit: Option<&str>,
    metrics: &[Metric],
    mut candidates: Vec<Candidate<'_>>,
    rounds: usize,
    transfer: impl Fn() -> Option<f64>,
    progress: &Progress,
) -> Vec<Group> {
    let mut samples: Vec<Vec<Vec<f64>>> = candidates.iter().map(|_| Vec::new()).collect();
    let mut failures: Vec<Option<String>> = candidates.iter().map(|_| None).collect();
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    let mut transfers = Vec::new();
    progress.begin(name);
    for _ in 0..rounds {
        transfers.extend(transfer());
        fastrand::shuffle(&mut order);
        for &turn in &order {
            let candidate = &mut candidates[turn];
            progress.bar.set_message(format!("{name}: {}", candidate.name));
            if failures[turn].is_none() {
                match (candidate.run)().and_then(finite) {
                    Ok(values) => samples[turn].push(values),
                    Err(error) => {
                        progress.say(&format!("{name}: {}: {error:#}", candidate.name));
                        failures[turn] = Some(format!("{error:#}"));
                    }
                }
            }
        }
        progress.bar.inc(1);
    }
    let group = |(number, metric): (usize, &Metric)| Group {
        name: metric.suffix.map_or_else(|| name.to_owned(), |suffix| format!("{name}.{suffix}")),
        unit: metric.unit,
        limit: limit.map(str::to_owned),
        transfers: transfers.clone(),
        entries: candidates
            .iter()
            .zip(samples.iter().zip(&failures))
            .map(|(candidate, (samples, failure))| Entry {
                candidate: candidate.name.clone(),
                role: candidate.role,
                rounds: samples.iter().filter_map(|values| values.get(number).copied()).collect(),
                failure: failure.clone(),
            })
            .collect(),
    };
    metrics.iter().enumerate().map(group).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::{Candidate, Metric, Progress, measure};
    use crate::results::{Role, Unit};

    const NS: Metric = Metric { suffix: None, unit: Unit::Nanoseconds };

    #[test]
    fn every_candidate_runs_once_in_each_round() {
        let ran = RefCell::new(Vec::new());
        let ran = &ran;
        let candidate = |name: &'static str| {
            Candidate::new(name, Role::Ours, move || {
                ran.borrow_mut().push(name);
                Ok(vec![1.0])
            })
        };
        let candidates = vec![candidate("a"), candidate("b"), candidate("c")];
        let groups = measure("g", None, &[NS], candidates, 5, || Some(2.0), &Progress::new(5));
        for round in ran.borrow().chunks(3) {
            let mut names = round.to_vec();
            names.sort_unstable();
            assert_eq!(names, ["a", "b", "c"]);
        }
        assert!(groups[0].entries.iter().all(|entry| entry.rounds.len() == 5));
        assert_eq!(groups[0].transfers, [2.0; 5]);
    }

    #[test]
    fn who_fails_is_not_asked_again_and_the_others_go_on() {
        let mut tries = 0;
        let failing = Candidate::new("failing", Role::Peer, || {
            tries += 1;
            anyhow::bail!("hung")
        });
        let fine = Candidate::new("fine", Role::Ours, || Ok(vec![1.0]));
        let groups = measure("g", None, &[NS], vec![failing, fine], 3, || None, &Progress::new(3));
        assert_eq!(groups[0].entries[0].failure.as_deref(), Some("hung"));
        assert_eq!(groups[0].entries[1].rounds, [1.0, 1.0, 1.0]);
        assert_eq!(tries, 1);
    }

    #[test]
    fn what_is_not_a_number_is_a_failure() {
        let endless = Candidate::new("endless", Role::Peer, || Ok(vec![1.0 / 0.0]));
        let groups = measure("g", None, &[NS], vec![endless], 3, || None, &Progress::new(3));
        assert_eq!(groups[0].entries[0].failure.as_deref(), Some("measured inf"));
        assert!(groups[0].entries[0].rounds.is_empty());
    }

    #[test]
    fn each_metric_is_a_group() {
        let metrics = [
            Metric { suffix: Some("p50"), unit: Unit::Microseconds },
            Metric { suffix: Some("p99"), unit: Unit::Microseconds },
        ];
        let candidate = Candidate::new("a", Role::Ours, || Ok(vec![1.0, 2.0]));
        let groups = measure("latency", None, &metrics, vec![candidate], 1, || None, &Progress::new(1));
        assert_eq!(groups[0].name, "latency.p50");
        assert_eq!(groups[1].name, "latency.p99");
        assert_eq!(groups[1].entries[0].rounds, [2.0]);
    }
}
