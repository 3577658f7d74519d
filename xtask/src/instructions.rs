//! `cargo xtask instructions`: what noise hides.
//!
//! `crates/bench/cost` counts the instructions of each operation under callgrind. The counts are compared with
//! those of its `instructions.toml`, which is kept.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use duct::cmd;
use serde::{Deserialize, Serialize};

use crate::command::{cargo, root};
use crate::cross::Name;
use crate::machine;

/// What to do with the counts.
#[derive(Args)]
pub(crate) struct InstructionsArgs {
    /// Writes the file instead of comparing with it.
    #[arg(long)]
    write: bool,
    /// Compares the ordered instructions of another architecture, arm64, with what the sites claim; nothing is counted or run.
    #[arg(long, value_enum, conflicts_with = "write")]
    arch: Option<Name>,
}

/// Where the counts are kept, in the workspace.
const FILE: &str = "crates/bench/cost/instructions.toml";

const INTRODUCTION: &str = "\
# Instructions of a call in userspace, without unconditional jumps, under callgrind: the mean of 4096 calls. A call
# succeeds, or is refused because the queue is full, exhausted or empty (a push is refused after 512 that succeed).
# `cargo xtask instructions` fails if a count grows; `cargo xtask instructions --write` makes this file.
";

/// The counts of one operation, by outcome.
type Operation = BTreeMap<String, f64>;

/// What is kept.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// Another compiler may count otherwise.
    rustc: String,
    architecture: String,
    operations: BTreeMap<String, Operation>,
}

/// How a count differs from what is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Same,
    Grown,
    Shrunk,
    /// Nothing is kept.
    New,
    /// It is kept and not counted any more.
    Gone,
}

/// One count.
#[derive(Debug, PartialEq)]
struct Row {
    operation: String,
    outcome: String,
    was: Option<f64>,
    is: Option<f64>,
}

impl Row {
    fn change(&self) -> Change {
        match (self.was, self.is) {
            (None, _) => Change::New,
            (_, None) => Change::Gone,
            // Both have three digits behind the point.
            (Some(was), Some(is)) if (is - was).abs() < 0.000_5 => Change::Same,
            (Some(was), Some(is)) if is > was => Change::Grown,
            _ => Change::Shrunk,
        }
    }
}

pub(crate) fn run(arguments: &InstructionsArgs) -> anyhow::Result<()> {
    match arguments.arch {
        Some(arch) => machine::check(arch.into()),
        None if arguments.write => write(),
        None => check(),
    }
}

fn write() -> anyhow::Result<()> {
    let text = format!("{INTRODUCTION}{}", toml::to_string(&count()?)?);
    std::fs::write(file(), text).with_context(|| file().display().to_string())
}

pub(crate) fn check() -> anyhow::Result<()> {
    let counted = count()?;
    let text = std::fs::read_to_string(file()).with_context(|| file().display().to_string())?;
    let kept: Kept = toml::from_str(&text).with_context(|| file().display().to_string())?;
    let rows = compare(&kept, &counted);
    print(&rows);
    verdict(&rows, &kept, &counted)
}

fn file() -> PathBuf {
    root().join(FILE)
}

fn count() -> anyhow::Result<Kept> {
    let words = "bench --locked --quiet --package arenaq-cost --bench native_cost -- counts";
    let counts = cargo(words.split(' ')).read().context("nothing was counted")?;
    let operations = toml::from_str(&counts).context("what native_cost printed")?;
    let rustc = cmd!(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()), "-V").read()?;
    Ok(Kept { rustc, architecture: std::env::consts::ARCH.to_owned(), operations })
}

/// Everything that is kept or counted.
fn compare(kept: &Kept, counted: &Kept) -> Vec<Row> {
    let mut rows: BTreeMap<(String, String), Row> = BTreeMap::new();
    for (side, all) in [(0, &kept.operations), (1, &counted.operations)] {
        for (operation, outcomes) in all {
            for (outcome, count) in outcomes {
                let row = rows.entry((operation.clone(), outcome.clone())).or_insert_with(|| Row {
                    operation: operation.clone(),
                    outcome: outcome.clone(),
                    was: None,
                    is: None,
                });
                *(if side == 0 { &mut row.was } else { &mut row.is }) = Some(*count);
            }
        }
    }
    rows.into_values().collect()
}

fn print(rows: &[Row]) {
    println!("{:<12} {:<8} {:>9} {:>9}", "operation", "outcome", "was", "is");
    let number = |count: Option<f64>| count.map_or("-".to_owned(), |count| format!("{count:.3}"));
    for row in rows {
        let change = match row.change() {
            Change::Same => String::new(),
            change => format!("  {change:?}").to_lowercase(),
        };
        println!(
            "{:<12} {:<8} {:>9} {:>9}{change}",
            row.operation,
            row.outcome,
            number(row.was),
            number(row.is)
        );
    }
}

/// An error if a count has grown, or is not kept.
fn verdict(rows: &[Row], kept: &Kept, counted: &Kept) -> anyhow::Result<()> {
    let any = |wanted: Change| rows.iter().any(|row| row.change() == wanted);
    let write = "`cargo xtask instructions --write`";
    let other = (&kept.rustc, &kept.architecture) != (&counted.rustc, &counted.architecture);
    let note = if other {
        format!(
            "\nnote: the file was made with {} on {}, this is {} on {}",
            kept.rustc, kept.architecture, counted.rustc, counted.architecture
        )
    } else {
        String::new()
    };
    if any(Change::Grown) {
        bail!("operations have grown. If they must, {write} keeps the new counts{note}");
    }
    if any(Change::New) || any(Change::Gone) {
        bail!("{FILE} has other operations than are counted: {write}{note}");
    }
    if any(Change::Shrunk) {
        println!("\noperations have shrunk: {write} keeps it so{note}");
    } else {
        println!("\nno operation has grown{note}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Change, Kept, compare, verdict};

    fn counts(text: &str) -> Kept {
        let operations = toml::from_str(text).expect("a table for each operation");
        Kept { rustc: "1".to_owned(), architecture: "x".to_owned(), operations }
    }

    fn change(was: &str, is: &str) -> (Vec<Change>, bool) {
        let (was, is) = (counts(was), counts(is));
        let rows = compare(&was, &is);
        (rows.iter().map(super::Row::change).collect(), verdict(&rows, &was, &is).is_ok())
    }

    #[test]
    fn growth_fails_and_the_same_and_less_do_not() {
        let was = "[push]\nsuccess = 20.0\nrefusal = 10.047\n";
        assert_eq!(change(was, was), (vec![Change::Same; 2], true));
        let grown = "[push]\nsuccess = 20.0\nrefusal = 10.048\n";
        assert_eq!(change(was, grown), (vec![Change::Grown, Change::Same], false));
        assert_eq!(change(grown, was), (vec![Change::Shrunk, Change::Same], true));
    }

    #[test]
    fn shrinking_in_one_place_does_not_pay_for_growth_in_another() {
        let was = "[pop]\nsuccess = 20.0\n[push]\nsuccess = 20.0\n";
        let is = "[pop]\nsuccess = 10.0\n[push]\nsuccess = 21.0\n";
        assert_eq!(change(was, is), (vec![Change::Shrunk, Change::Grown], false));
    }

    #[test]
    fn an_operation_that_is_not_kept_or_not_counted_fails() {
        let one = "[push]\nsuccess = 20.0\n";
        let two = "[pop]\nsuccess = 9.0\n[push]\nsuccess = 20.0\n";
        assert_eq!(change(one, two), (vec![Change::New, Change::Same], false));
        assert_eq!(change(two, one), (vec![Change::Gone, Change::Same], false));
    }

    #[test]
    fn what_is_kept_survives_the_way_through_its_file() {
        let kept = counts("[push]\nsuccess = 20.0\n");
        let text = format!("{}{}", super::INTRODUCTION, toml::to_string(&kept).expect("plain data"));
        assert_eq!(toml::from_str::<Kept>(&text).expect("what was written"), kept);
    }
}
