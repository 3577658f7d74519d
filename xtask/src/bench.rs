//! `cargo xtask bench`: compiles the crate `arenaq-bench` and runs it.

use anyhow::Context;
use clap::Args;
use duct::cmd;

use crate::command::{build_with, root};

/// How to measure.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Few short rounds, under 4 minutes. The results go to target/bench, not to docs.
    #[arg(long)]
    quick: bool,
    /// Measures only this part, and may be given several times: limits, user, kernel, opens, growth. The results
    /// go to target/bench, not to docs.
    #[arg(long, value_name = "PART", value_parser = ["limits", "user", "kernel", "opens", "growth"])]
    only: Vec<String>,
    /// Prints every figure and every ratio, by name.
    #[arg(long)]
    json: bool,
    /// Measures nothing, and makes docs/benchmarks.md and the pages of docs/benchmarks/ of the JSON there.
    #[arg(long, conflicts_with_all = ["quick", "only", "json"])]
    render: bool,
}

/// The loops of all candidates begin with a cache line. Where the linker puts a short loop else decides how fast it is: a drain whose
/// loop of 21 bytes lies across two lines takes 0.96 ns for each element where it takes 0.85 in one, and two threads that hand single
/// elements to each other fall into another step.
const FLAGS: &str = "-Cllvm-args=-align-loops=64";

pub(crate) fn run(arguments: &BenchArgs) -> anyhow::Result<()> {
    // Numbers of a part, or of few rounds, do not belong beside those of a whole run.
    let folder = if arguments.quick || !arguments.only.is_empty() { "target/bench" } else { "docs" };
    let folder = root().join(folder).display().to_string();
    let mut words = vec![if arguments.render { "render" } else { "measure" }, "--folder", &folder];
    if arguments.quick {
        words.push("--quick");
    }
    if arguments.json {
        words.push("--json");
    }
    for part in &arguments.only {
        words.extend(["--only", part]);
    }
    let program = build_with(FLAGS, "arenaq-bench", "arenaq-bench").context(
        "the benchmarks do not compile; if the reason above is a missing tool, run `cargo xtask setup`",
    )?;
    // Its progress is drawn on our terminal.
    cmd(program, words).stdin_null().run().context("the benchmarks failed")?;
    Ok(())
}
