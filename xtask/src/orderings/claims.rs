//! What the seed documents claim, and what this project found.

use std::fmt;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde::Deserialize;

use crate::command::root;
use crate::orderings::change::Change;
use crate::orderings::mutants::Mutant;
use crate::step::Step;

/// Where the claims are, in the workspace.
pub(crate) const FILE: &str = "docs/seed-claims.toml";

/// One claim.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Claim {
    /// Where it stands: document and section.
    pub(crate) place: String,
    /// The document's words, shortened.
    pub(crate) claim: String,
    pub(crate) verdict: Finding,
    pub(crate) because: String,
    /// What shows it.
    pub(crate) command: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Finding {
    Confirmed,
    /// True if something holds that the claim does not say.
    Conditional,
    /// True in the memory model of the kernel, not in that of C11 and Rust.
    KernelModel,
    Refuted,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Finding::Confirmed => "confirmed",
            Finding::Conditional => "true with a condition",
            Finding::KernelModel => "true only under the kernel's model",
            Finding::Refuted => "refuted",
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    claim: Vec<Claim>,
}

pub(crate) fn read() -> anyhow::Result<Vec<Claim>> {
    Ok(super::read_toml::<Table>(FILE)?.claim)
}

/// Every command names something that exists.
pub(crate) fn check(claims: &[Claim], mutants: &[Mutant], models: &[String]) -> anyhow::Result<()> {
    for claim in claims {
        command_exists(&claim.command, mutants, models)
            .with_context(|| format!("{FILE}: {}: {}", claim.place, claim.command))?;
    }
    Ok(())
}

fn command_exists(command: &str, mutants: &[Mutant], models: &[String]) -> anyhow::Result<()> {
    let words: Vec<_> = command.split_whitespace().map(|word| word.trim_matches('\'')).collect();
    match words.as_slice() {
        ["cargo", "xtask", "orderings", "--site", super::change::STRONGEST] => Ok(()),
        ["cargo", "xtask", "orderings", "--site", change] => change.parse::<Change>().map(|_| ()),
        ["cargo", "xtask", "orderings", "--mutant", name] => {
            ensure!(mutants.iter().any(|mutant| mutant.name == *name), "there is no mutant {name}");
            Ok(())
        }
        ["cargo", "xtask", "orderings", "--model", name] => {
            ensure!(models.iter().any(|model| model == name), "there is no model {name}");
            Ok(())
        }
        ["cargo", "xtask", "test", "--only", step] => {
            ensure!(Step::from_str(step, false).is_ok(), "there is no step {step}");
            Ok(())
        }
        ["cargo", "xtask", "layouts", "--check"] | ["cargo", "xtask", "orderings", "--list"] => Ok(()),
        ["cargo", "test", "--test", target, name] => {
            let file = root().join("tests").join(target).with_extension("rs");
            has_function(&file, name)
        }
        ["cargo", "test", "--lib", name] => {
            let (module, function) =
                name.split_once("::tests::").context("not of the form MODULE::tests::NAME")?;
            has_function(&root().join("src").join(module).with_extension("rs"), function)
        }
        _ => anyhow::bail!("a command of an unknown form: nothing checks that it exists"),
    }
}

fn has_function(file: &std::path::Path, name: &str) -> anyhow::Result<()> {
    let code = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    ensure!(code.contains(&format!("fn {name}(")), "{} has no function {name}", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::command_exists;

    #[test]
    fn a_command_must_name_something_that_exists() {
        let models = ["mpsc_a".to_owned()];
        let exists = |command| command_exists(command, &[], &models);
        for command in [
            "cargo xtask orderings --site mpsc.push.swap_head=Release",
            "cargo xtask orderings --site '*=SeqCst'",
            "cargo xtask orderings --model mpsc_a",
            "cargo xtask test --only loom",
            "cargo test --lib count::tests::a_counter_below_zero_reads_as_none",
        ] {
            assert!(exists(command).is_ok(), "{command}");
        }
        for command in [
            "cargo xtask orderings --site mpsc.push.swop_head=Release",
            "cargo xtask orderings --model mpsc_b",
            "cargo xtask orderings --mutant none",
            "cargo xtask test --only lom",
            "cargo test --test stalls no_such_test",
            "cargo test --test no_such_file x",
            "rm -r /",
        ] {
            assert!(exists(command).is_err(), "{command}");
        }
    }
}
