//! `cargo xtask hostile`: arenas that somebody damages, before the attach and while operations run.
//!
//! The test `hostile` tries some of each whenever tests run. This tries as many as are wanted, compiled as users compile it and
//! without optimisation, where a compiler leaves other accesses and other checks in the code.

use std::process::ExitCode;

use clap::Args;
use duct::Expression;

use crate::command::{cargo, root, run as show};

#[derive(Args)]
pub(crate) struct HostileArgs {
    /// How many arenas are damaged before the attach, at each optimisation.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    arenas: u64,
    /// How many operations run while another thread damages their arena, at each optimisation.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    operations: u64,
    /// Takes only this optimisation, and may be given several times: 3 is without the checks of debug builds, 1 and 0 with them.
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=3))]
    opt_level: Vec<u8>,
    /// Repeats the arena with this seed, which a failure names.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
}

/// As users compile it, and as they test it.
const OPT_LEVELS: [u8; 3] = [3, 1, 0];

pub(crate) fn run(arguments: &HostileArgs) -> anyhow::Result<ExitCode> {
    let levels = if arguments.opt_level.is_empty() { &OPT_LEVELS[..] } else { &arguments.opt_level };
    let mut failed = Vec::new();
    for level in levels {
        println!("== opt-level {level}");
        if show(&command(*level, arguments))?.code != Some(0) {
            failed.push(level);
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for level in failed {
        eprintln!(
            "opt-level {level} FAILED: `cargo xtask hostile --opt-level {level} --seed SEED` repeats it"
        );
    }
    Ok(ExitCode::FAILURE)
}

fn command(level: u8, arguments: &HostileArgs) -> Expression {
    // Each has a folder of its own, or everything would be compiled again each time.
    let folder = root().join("target/hostile").join(format!("opt-{level}"));
    let mut command = cargo(["test", "--locked", "--package=arenaq", "--test=hostile"])
        .env("CARGO_TARGET_DIR", folder)
        .env("ARENAQ_HOSTILE_ARENAS", arguments.arenas.to_string())
        .env("ARENAQ_HOSTILE_OPERATIONS", arguments.operations.to_string());
    if let Some(seed) = arguments.seed {
        command = command.env("ARENAQ_HOSTILE_SEED", seed.to_string());
    }
    let checks = (level < 3).to_string();
    for profile in ["DEV", "TEST"] {
        for (setting, value) in [
            ("OPT_LEVEL", level.to_string()),
            ("OVERFLOW_CHECKS", checks.clone()),
            ("DEBUG_ASSERTIONS", checks.clone()),
        ] {
            command = command.env(format!("CARGO_PROFILE_{profile}_{setting}"), value);
        }
    }
    command
}
