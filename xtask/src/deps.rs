//! `cargo xtask deps`: what arenaq depends on, looked at by cargo-deny.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use duct::cmd;

use crate::command::{Ended, root, run as show};
use crate::tool::tool;

/// What is asked of cargo-deny, in the workspace.
const CONFIG: &str = "deny.toml";
/// The tool's name, and the version that is asked for.
const DENY: (&str, &str) = ("cargo-deny", "0.20.2");
/// Where cargo-deny has the advisories from.
const DATABASE: &str = "https://github.com/RustSec/advisory-db";

#[derive(Args)]
pub(crate) struct DepsArgs {
    /// A copy of RustSec's advisory database, a git repository, where the database itself is out of reach.
    #[arg(long, value_name = "FOLDER")]
    advisories: Option<PathBuf>,
}

pub(crate) fn run(arguments: &DepsArgs) -> anyhow::Result<ExitCode> {
    let mut bad = Vec::new();
    let deny = tool(DENY)?;
    let ask = |config: &Path, what: &[&str]| -> anyhow::Result<Ended> {
        let words = ["--locked", "--workspace", "--config"].map(Into::into).into_iter();
        let words = words.chain([config.as_os_str().to_owned(), "check".into()]);
        let mut command = cmd(&deny, words.chain(what.iter().map(Into::into))).dir(root());
        if let Some(copy) = &arguments.advisories {
            // cargo-deny has git fetch the database, and takes no address without a domain.
            let copy = fs::canonicalize(copy).with_context(|| copy.display().to_string())?;
            command = command
                .env("GIT_CONFIG_COUNT", "1")
                .env("GIT_CONFIG_KEY_0", format!("url.file://{}.insteadOf", copy.display()))
                .env("GIT_CONFIG_VALUE_0", DATABASE);
        }
        show(&command)
    };
    println!("== licences, duplicates, sources");
    if ask(&root().join(CONFIG), &["licenses", "bans", "sources"])?.code != Some(0) {
        bad.push("licences, duplicates or sources");
    }
    println!("== advisories");
    let copy = arguments.advisories.as_deref().map(with_database).transpose()?;
    let config = copy.as_ref().map_or_else(|| root().join(CONFIG), |copy| copy.path().join(CONFIG));
    let ended = ask(&config, &["advisories"])?;
    if ended.lines.iter().any(|line| line.contains("failed to fetch advisory database")) {
        println!(
            "!! NOT CHECKED: the advisories: their database is out of reach; --advisories takes a copy of it"
        );
    } else if ended.code != Some(0) {
        bad.push("advisories");
    }
    if bad.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("not as it should be: {}", bad.join(", "))
}

/// What is asked of cargo-deny of a copy of the database, which it unpacks into a folder of its own.
fn with_database(database: &Path) -> anyhow::Result<tempfile::TempDir> {
    let age = cmd!("git", "-C", database, "log", "-1", "--format=%cs").read();
    let age = age.with_context(|| format!("{} is no git repository", database.display()))?;
    println!("!! the copy of the database is of {age}: what was found since is NOT CHECKED");
    let text = fs::read_to_string(root().join(CONFIG)).context(CONFIG)?;
    let mut config: toml::Table = toml::from_str(&text).context(CONFIG)?;
    let folder = tempfile::tempdir().context("no folder for the database")?;
    let Some(advisories) = config.get_mut("advisories").and_then(toml::Value::as_table_mut) else {
        bail!("{CONFIG} has no [advisories]");
    };
    let place = folder.path().join("databases").display().to_string();
    advisories.insert("db-path".to_owned(), place.into());
    // As old as it is: that was said.
    advisories.insert("maximum-db-staleness".to_owned(), "P100Y".into());
    fs::write(folder.path().join(CONFIG), toml::to_string(&config)?)?;
    Ok(folder)
}
