//! Weaker orderings that no model can kill, and why.

use anyhow::{bail, ensure};
use arenaq::structures::sites;
use serde::Deserialize;

use crate::orderings::change::Change;
use crate::orderings::matrix::{Matrix, Verdict};

/// Where they are, in the workspace.
const FILE: &str = "loom-tests/survivors.toml";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Survivor {
    /// As `--site` takes it; `SITE=*` stands for every weaker ordering of a site.
    change: String,
    /// Why no model can notice.
    pub(crate) why: String,
    /// What would.
    pub(crate) would: String,
}

impl Survivor {
    pub(crate) fn is(&self, change: &Change) -> bool {
        match self.change.split_once("=*") {
            Some((site, "")) => site == change.site.name,
            _ => self.change == change.to_string(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    survivor: Vec<Survivor>,
}

pub(crate) fn read() -> anyhow::Result<Vec<Survivor>> {
    let survivors = super::read_toml::<Table>(FILE)?.survivor;
    check(&survivors)?;
    Ok(survivors)
}

/// Every explanation is about an ordering that is tried: known before anything is.
fn check(survivors: &[Survivor]) -> anyhow::Result<()> {
    let is_tried = |survivor: &&Survivor| sites().flat_map(Change::weaker).any(|change| survivor.is(&change));
    let stale: Vec<_> =
        survivors.iter().filter(|survivor| !is_tried(survivor)).map(|s| s.change.as_str()).collect();
    ensure!(stale.is_empty(), "{FILE}: no weaker ordering of a site: {}", stale.join(", "));
    Ok(())
}

/// What is wrong with the result: a survivor that nobody explains, an explanation that explains nothing, a
/// mutant with the wrong fate.
pub(crate) fn judge(matrix: &Matrix, survivors: &[Survivor]) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for (change, verdict) in &matrix.weaker {
        let explained = survivors.iter().any(|survivor| survivor.is(change));
        match (verdict, explained) {
            (Verdict::Survived, false) => wrong.push(format!(
                "{change} passes all models: write one that fails, weaken the site, or explain it in {FILE}"
            )),
            (Verdict::Killed { model, .. }, true) => {
                wrong.push(format!("{change} is explained in {FILE}, but {model} fails"));
            }
            _ => {}
        }
    }
    for (mutant, verdict) in &matrix.mutants {
        match (verdict, &mutant.harmless) {
            (Verdict::Survived, None) => wrong.push(format!(
                "the mutant {} passes all models, though {}: a model is missing",
                mutant.name, mutant.does
            )),
            (Verdict::Killed { model, failure, .. }, Some(_)) => {
                wrong.push(format!(
                    "the mutant {} should be harmless, but {model} fails ({failure})",
                    mutant.name
                ));
            }
            _ => {}
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("{}", wrong.join("\n       "))
}

#[cfg(test)]
mod tests {
    use super::{Survivor, check, judge};
    use crate::orderings::matrix::{Matrix, Verdict};
    use crate::orderings::models::Failure;

    fn survivor(change: &str) -> Survivor {
        Survivor { change: change.to_owned(), why: String::new(), would: String::new() }
    }

    fn matrix(verdict: Verdict) -> Matrix {
        let change = "mpsc.pop.load_next=Relaxed".parse().expect("a change");
        Matrix { models: Vec::new(), weaker: vec![(change, verdict)], mutants: Vec::new() }
    }

    #[test]
    fn every_survivor_is_explained_and_nothing_else_is() {
        let killed = || Verdict::Killed { model: "m".to_owned(), failure: Failure::Race, permutations: None };
        let explained = [survivor("mpsc.pop.load_next=Relaxed")];
        let any = [survivor("mpsc.pop.load_next=*")];

        assert!(judge(&matrix(killed()), &[]).is_ok());
        assert!(judge(&matrix(Verdict::Survived), &explained).is_ok());
        assert!(judge(&matrix(Verdict::Survived), &any).is_ok());
        for (verdict, survivors, reason) in
            [(Verdict::Survived, &[][..], "passes all models"), (killed(), &explained, "but m fails")]
        {
            let error = judge(&matrix(verdict), survivors).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn an_explanation_of_what_is_never_tried_is_refused() {
        assert!(check(&[survivor("mpsc.pop.load_next=Relaxed"), survivor("mpsc.push.swap_head=*")]).is_ok());
        for stale in ["mpsc.pop.load_next=SeqCst", "mpsc.pop.load_head=*", "mpsc.pop.no_such=Relaxed"] {
            let error = check(&[survivor(stale)]).expect_err(stale).to_string();
            assert!(error.contains("no weaker ordering") && error.contains(stale), "{error}");
        }
    }
}
