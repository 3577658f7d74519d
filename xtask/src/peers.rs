//! `cargo xtask peers`: applies a recipe to a clean download of somebody else's crate, makes its orderings
//! weaker, and compares the verdicts with those recorded.

mod document;
mod download;
mod recipe;
mod record;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use duct::cmd;
use serde_json::Value;

use crate::command::{build, root};
use recipe::Recipe;
use record::Record;

#[derive(Args)]
pub(crate) struct PeersArgs {
    /// The crates, each a recipe in crates/cargo-weaken/peers.
    #[arg(value_name = "NAME", required_unless_present_any = ["all", "render"], conflicts_with = "all")]
    names: Vec<String>,
    /// All that have a recipe.
    #[arg(long)]
    all: bool,
    /// Records the verdicts and writes docs/weaken-peers.md, instead of comparing.
    #[arg(long)]
    write: bool,
    /// Writes docs/weaken-peers.md from the recipes and what is recorded, and tries nothing.
    #[arg(long, conflicts_with_all = ["names", "all", "write"])]
    render: bool,
}

pub(crate) fn run(arguments: &PeersArgs) -> anyhow::Result<ExitCode> {
    let names = if arguments.all { recipe::names()? } else { arguments.names.clone() };
    let recipes = names.iter().map(|name| Recipe::read(name)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut has_changed = false;
    for recipe in &recipes {
        let name = &recipe.name;
        eprintln!("{name} {}", recipe.version);
        let found = weaken(recipe)?;
        if arguments.write {
            found.write(name)?;
            continue;
        }
        let recorded = Record::read(name)?;
        let differences = recorded.differences(&found);
        for difference in &differences {
            println!("{name}: {difference}");
        }
        if differences.is_empty() {
            println!("{name}: {} verdicts in {} s, all as recorded", found.verdicts.len(), found.seconds);
        }
        has_changed |= !differences.is_empty();
    }
    if arguments.write || arguments.render {
        document::write()?;
    }
    Ok(if has_changed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Downloads, changes, and asks.
fn weaken(recipe: &Recipe) -> anyhow::Result<Record> {
    let program = build("cargo-weaken", "cargo-weaken", false)?;
    let folder = download::download(recipe)?;
    recipe.apply(&folder)?;
    let begin = Instant::now();
    let page = folder.join("weaken.html");
    let mut arguments = vec!["weaken".into(), "--json".into(), "--html".into(), page.into_os_string()];
    arguments.extend(recipe.arguments.iter().map(Into::into));
    let output = cmd(program, arguments)
        .dir(&folder)
        // Its dependencies are compiled once for all.
        .env("CARGO_TARGET_DIR", root().join("target/peers/target"))
        .stdin_null()
        .stdout_capture()
        .unchecked()
        .run()
        .context("cannot start cargo-weaken")?;
    if !output.status.success() {
        bail!(
            "cargo weaken fails in {}: see above, and run it there to look closer ({})",
            folder.display(),
            output.status
        );
    }
    let report: Value = serde_json::from_slice(&output.stdout).context("cargo weaken --json")?;
    Record::of(&report, begin.elapsed().as_secs())
}
