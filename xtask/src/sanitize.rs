//! `cargo xtask sanitize`: the core's tests with threads and with damaged memory, under the compiler's sanitizers.

use std::time::Instant;

use anyhow::bail;
use clap::{Args, ValueEnum};

use crate::command::{check, root};
use crate::nightly::{cargo, passed, require};

#[derive(Args)]
pub(crate) struct SanitizeArgs {
    /// Runs only this sanitizer.
    #[arg(long, value_enum)]
    only: Option<Sanitizer>,
    /// How many damaged arenas a process attaches to, and how many operations it makes while somebody damages them.
    #[arg(long, default_value_t = 20_000)]
    hostile: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sanitizer {
    /// Two accesses of which one writes, and nothing orders them.
    Thread,
    /// Accesses to memory that is not there, or not there any more; memory that nobody frees.
    Address,
}

impl Sanitizer {
    fn name(self) -> &'static str {
        match self {
            Sanitizer::Thread => "thread",
            Sanitizer::Address => "address",
        }
    }

    /// The test programs. Those who damage an arena write where others read: between processes, which the tests play, that is
    /// allowed and checked for; in one process it is a race, and nothing to ask ThreadSanitizer about.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Sanitizer::Thread => &["stress", "owned", "records", "recovery", "corruption"],
            Sanitizer::Address => {
                &["stress", "owned", "records", "recovery", "corruption", "attach", "hostile"]
            }
        }
    }

    /// A test that is left out, for the reason above.
    fn skip(self) -> &'static [&'static str] {
        match self {
            Sanitizer::Thread => &["--skip", "whatever_another_process_writes_meanwhile"],
            Sanitizer::Address => &[],
        }
    }
}

pub(crate) fn run(arguments: &SanitizeArgs) -> anyhow::Result<()> {
    require("rust-src")?;
    let mut table = Vec::new();
    for sanitizer in [Sanitizer::Thread, Sanitizer::Address] {
        if arguments.only.is_some_and(|only| only != sanitizer) {
            continue;
        }
        let name = sanitizer.name();
        for &program in sanitizer.programs() {
            println!("== {program}, -Zsanitizer={name}");
            let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
            let mut words =
                vec!["test", "--locked", "--package", "arenaq", "--target", &host, "--test", program];
            // ThreadSanitizer knows the accesses and the locks that it has compiled, so it compiles the standard library too.
            if sanitizer == Sanitizer::Thread {
                words.insert(1, "-Zbuild-std");
            }
            if !sanitizer.skip().is_empty() && program == "corruption" {
                words.push("--");
                words.extend(sanitizer.skip());
            }
            let command = cargo(words)
                .env("RUSTFLAGS", format!("-Zsanitizer={name}"))
                .env("CARGO_TARGET_DIR", root().join("target/sanitize").join(name))
                .env("ARENAQ_HOSTILE_ARENAS", arguments.hostile.to_string())
                .env("ARENAQ_HOSTILE_OPERATIONS", arguments.hostile.to_string());
            let begin = Instant::now();
            let said = check(&command)?;
            // A report of a thread that has gone on does not fail the test that runs it.
            if let Some(report) =
                said.iter().find(|line| line.contains("Sanitizer: ") && line.contains("SUMMARY"))
            {
                bail!("{program}: {report}");
            }
            let seconds = begin.elapsed().as_secs_f64();
            table.push(format!("{name:<10} {program:<12} {:>6} {seconds:>8.0}", passed(&said)));
        }
    }
    println!("\n{:<10} {:<12} {:>6} {:>8}", "sanitizer", "program", "passed", "seconds");
    table.iter().for_each(|line| println!("{line}"));
    Ok(())
}
