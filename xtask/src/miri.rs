//! `cargo xtask miri`: the core's tests under Miri, which says of each access whether Rust allows it.

use std::time::Instant;

use anyhow::ensure;
use clap::Args;

use crate::command::check;
use crate::nightly::{cargo, passed, require};

/// The models of what a pointer may do; a program should be right in both.
const MODELS: [(&str, &str); 2] = [("Stacked Borrows", ""), ("Tree Borrows", "-Zmiri-tree-borrows")];

/// No pointer is made from a number: what is in an arena is touched by the process's own pointer to it.
const STRICT: &str = "-Zmiri-strict-provenance";

/// Tests in which threads meet. Each seed is another order of theirs, and other old values that a weak load reads.
const THREADS: [(&str, &str); 3] = [("owned", ""), ("stress", ""), ("records", "threads")];
/// Tests of one thread. A seed only places memory elsewhere.
const ALONE: [(&str, &str); 7] = [
    ("", ""),
    ("attach", ""),
    ("corruption", ""),
    ("records", ""),
    ("recovery", ""),
    ("sequential", ""),
    ("stalls", ""),
];

#[derive(Args)]
pub(crate) struct MiriArgs {
    /// How many seeds the tests with threads have, each of which is another order of the threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    seeds: u32,
    /// Runs only this test program, or `lib` for the unit tests; may be given several times.
    #[arg(long, value_name = "PROGRAM")]
    test: Vec<String>,
    /// Runs only the tests whose names contain this.
    #[arg(long)]
    only: Option<String>,
    /// Runs only the tests with threads.
    #[arg(long)]
    threads: bool,
}

pub(crate) fn run(arguments: &MiriArgs) -> anyhow::Result<()> {
    require("miri")?;
    require("rust-src")?;
    let (mut table, mut total) = (Vec::new(), 0);
    for (model, flag) in MODELS {
        let alone = if arguments.threads { &[][..] } else { &ALONE[..] };
        let programs = THREADS.iter().map(|program| (program, arguments.seeds));
        for (&(test, part), seeds) in alone.iter().map(|program| (program, 1)).chain(programs) {
            let name = if test.is_empty() { "lib" } else { test };
            if !arguments.test.is_empty() && !arguments.test.iter().any(|wanted| wanted == name) {
                continue;
            }
            let flags = format!("{flag} {STRICT} -Zmiri-many-seeds=0..{seeds}");
            println!("== {name} {part}, MIRIFLAGS={flags:?}");
            let mut words = vec!["miri", "test", "--locked", "--package", "arenaq"];
            if test.is_empty() {
                words.push("--lib");
            } else {
                words.extend(["--test", test]);
            }
            words.push("--");
            words.extend(arguments.only.as_deref().or((!part.is_empty()).then_some(part)));
            let begin = Instant::now();
            let said = check(&cargo(words).env("MIRIFLAGS", flags.trim()))?;
            let seconds = begin.elapsed().as_secs_f64();
            let ran = passed(&said);
            total += ran;
            table.push(format!("{model:<16} {name:<12} {seeds:>5} {ran:>6} {seconds:>8.0}"));
        }
    }
    println!("\n{:<16} {:<12} {:>5} {:>6} {:>8}", "model", "program", "seeds", "passed", "seconds");
    table.iter().for_each(|line| println!("{line}"));
    ensure!(total > 0, "no test has run: --test and --only leave none");
    Ok(())
}
