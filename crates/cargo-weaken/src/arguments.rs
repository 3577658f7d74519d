//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser};

#[derive(Debug, Parser)]
#[command(name = "cargo", bin_name = "cargo")]
pub(crate) enum Cargo {
    Weaken(Arguments),
}

/// Makes each memory ordering weaker, runs the loom models again, and says which one notices
#[derive(Args, Debug)]
#[command(version, after_help = AFTER)]
#[command(group(ArgGroup::new("answer").multiple(true).args(["site", "strengthen", "baseline"])))]
pub(crate) struct Arguments {
    /// Only tests with this in their name
    #[arg(value_name = "TESTNAME")]
    pub(crate) filter: Option<String>,

    /// Lists the accesses and what would be tried, and tries nothing
    #[arg(long)]
    pub(crate) list: bool,
    /// Tries this ordering: FILE:LINE[:COLUMN][#OPERATION]=ORDERING[/FAILURE]; can be repeated, and several
    /// with commas between them are tried together
    #[arg(long, value_name = "FILE:LINE=ORDERING", conflicts_with_all = ["list", "baseline", "only"])]
    pub(crate) site: Vec<String>,
    /// Only these accesses: FILE:LINE, FILE or the name of the memory, with * and ?, and #OPERATION; can be
    /// repeated
    #[arg(long, value_name = "GLOB", conflicts_with = "baseline")]
    pub(crate) only: Vec<String>,
    /// Makes each ordering stronger instead, by one step: no model may fail
    #[arg(long, conflicts_with_all = ["site", "baseline"])]
    pub(crate) strengthen: bool,
    /// Stops at the first answer that fails the run: with --site and --strengthen a model that fails, with
    /// --baseline a new survivor
    #[arg(long, requires = "answer", conflicts_with_all = ["list", "write_baseline"])]
    pub(crate) fail_fast: bool,
    /// Fails if an ordering survives that is not in this file
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    pub(crate) baseline: Option<PathBuf>,
    /// Writes the survivors to the file of --baseline instead
    #[arg(long, requires = "baseline")]
    pub(crate) write_baseline: bool,

    /// How many models run at once; all processors if not given
    #[arg(long, short, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// How many seconds a run of one test may take; if not given, 600 unchanged, and 30 more than ten times
    /// that with an ordering changed
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) time_limit: Option<u64>,
    /// How often loom may preempt a thread in one execution, where a model does not say (LOOM_MAX_PREEMPTIONS)
    #[arg(long, value_name = "N")]
    pub(crate) bound: Option<usize>,

    /// Prints one JSON object instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    /// Where the page goes; target/weaken/index.html if not given
    #[arg(long, value_name = "FILE", conflicts_with = "list")]
    pub(crate) html: Option<PathBuf>,

    /// Package to test, as in cargo test
    #[arg(long, short, value_name = "PACKAGE", help_heading = "Cargo")]
    pub(crate) package: Option<String>,
    /// Only the tests in the library
    #[arg(long, help_heading = "Cargo")]
    pub(crate) lib: bool,
    /// Only this test target; can be repeated
    #[arg(long, value_name = "NAME", help_heading = "Cargo")]
    pub(crate) test: Vec<String>,
    /// Only this example; can be repeated
    #[arg(long, value_name = "NAME", help_heading = "Cargo")]
    pub(crate) example: Vec<String>,
    /// Features, as in cargo test
    #[arg(long, short = 'F', value_name = "FEATURES", help_heading = "Cargo")]
    pub(crate) features: Vec<String>,
    /// All features
    #[arg(long, help_heading = "Cargo")]
    pub(crate) all_features: bool,
    /// Without the default features
    #[arg(long, help_heading = "Cargo")]
    pub(crate) no_default_features: bool,
    /// With the release profile
    #[arg(long, short, help_heading = "Cargo")]
    pub(crate) release: bool,
    /// The Cargo.toml of the crate
    #[arg(long, value_name = "PATH", help_heading = "Cargo")]
    pub(crate) manifest_path: Option<PathBuf>,
    /// Cargo.lock stays as it is
    #[arg(long, help_heading = "Cargo")]
    pub(crate) locked: bool,
    /// No network
    #[arg(long, help_heading = "Cargo")]
    pub(crate) offline: bool,
    /// What is added to RUSTFLAGS as --cfg; can be repeated
    #[arg(long, value_name = "CFG", default_value = "loom", help_heading = "Cargo")]
    pub(crate) cfg: Vec<String>,
    /// Leaves RUSTFLAGS as it is: for models that a feature turns on
    #[arg(long, conflicts_with = "cfg", help_heading = "Cargo")]
    pub(crate) no_cfg: bool,

    /// For the test program: names, --skip, --ignored, ...
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) rest: Vec<String>,
}

/// After the options.
const AFTER: &str = "\
Exit status:
    0  done; with --baseline, nothing new survives; with --site and --strengthen, no model fails
    1  with --baseline, a new survivor; with --site and --strengthen, a model fails
    2  wrong usage            3  the build fails         4  no test runs a model
    5  a test fails unchanged 6  nothing is explored     7  a test does not end unchanged
    8  a file or process      130  interrupted";
