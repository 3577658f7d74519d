//! `cargo xtask miri`: the queues in plain Rust, and what userspace does to memory, under Miri.

use anyhow::bail;
use clap::Args;
use duct::cmd;

use crate::command::{check, root};

/// The models of what a pointer may do; a program should be right in both.
const MODELS: [&str; 2] = ["", "-Zmiri-tree-borrows"];

#[derive(Args)]
pub(crate) struct MiriArgs {
    /// How many seeds, each of which is another order of the threads.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    seeds: u32,
    /// Runs only the tests whose names contain this.
    #[arg(long)]
    only: Option<String>,
}

pub(crate) fn run(arguments: &MiriArgs) -> anyhow::Result<()> {
    let is_there =
        cmd!("rustup", "run", "nightly", "cargo", "miri", "--version").stdout_null().unchecked().run();
    if !is_there.is_ok_and(|output| output.status.success()) {
        bail!(
            "Miri is not there. Install it: rustup toolchain install nightly --component miri --component rust-src"
        );
    }
    for model in MODELS {
        let flags = format!("{model} -Zmiri-many-seeds=0..{}", arguments.seeds);
        println!("MIRIFLAGS={flags:?}");
        let mut miri =
            vec!["run", "nightly", "cargo", "miri", "test", "--package", "arenaq", "--test", "owned"];
        if let Some(only) = &arguments.only {
            miri.extend(["--", only]);
        }
        check(&cmd("rustup", miri).dir(root()).env("MIRIFLAGS", flags.trim()))?;
    }
    Ok(())
}
