//! `cargo xtask churn`: records through kills, for as long as one wants.
//!
//! The test that it runs does it for a few seconds whenever tests run.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::command::{cargo, run as show};

/// The test.
const TEST: &str =
    "kills::every_record_comes_through_kills_of_producers_and_consumers_and_repair_gives_their_lanes_back";

#[derive(Args)]
pub(crate) struct ChurnArgs {
    /// For how many minutes programs and processes push, and processes consume.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
}

pub(crate) fn run(arguments: &ChurnArgs) -> anyhow::Result<ExitCode> {
    let duration = Duration::from_secs(60 * u64::from(arguments.minutes));
    let test = ["test", "--locked", "--package=arenaq-harness", "--test=records"];
    let command = cargo([&test[..], &["--", "--exact", TEST, "--nocapture"]].concat())
        .env("ARENAQ_REQUIRE_KERNEL", "1")
        .env("ARENAQ_CHURN_SECONDS", duration.as_secs().to_string());
    Ok(if show(&command)?.code == Some(0) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
