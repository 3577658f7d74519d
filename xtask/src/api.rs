//! `cargo xtask api`: the public interface of each crate that is published, as a text in docs/api. What a change adds, takes away or
//! alters for others is then a difference of that text.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use duct::cmd;

use crate::command::root;
use crate::nightly::require;
use crate::tool::tool;

/// Where the texts are, in the workspace.
const FOLDER: &str = "docs/api";
/// The tool's name, and the version that is asked for.
const PUBLIC_API: (&str, &str) = ("cargo-public-api", "0.52.0");
/// The crates, and the features with which they are looked at.
const CRATES: [(&str, &str); 4] = [
    ("arenaq", "loom,shuttle"),
    ("arenaq-libbpf", "tokio"),
    ("arenaq-bpf-build", ""),
    ("weaken", "loom,picture"),
];

#[derive(Args)]
pub(crate) struct ApiArgs {
    /// Fails if a text in docs/api is not what the crate says, and shows the difference, instead of writing it.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &ApiArgs) -> anyhow::Result<ExitCode> {
    // It reads what rustdoc writes as JSON, which only the nightly toolchain's does.
    require("rust-src")?;
    let program = tool(PUBLIC_API)?;
    let folder = root().join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let mut old = Vec::new();
    for (name, features) in CRATES {
        // Without what follows for every type: blanket, automatic and derived implementations.
        let words = ["run", "nightly"].map(Into::into).into_iter().chain([program.clone().into_os_string()]);
        let words =
            words.chain(["public-api", "-sss", "--color=never", "-p", name, "-F", features].map(Into::into));
        let text = cmd("rustup", words)
            .dir(root())
            .env("CARGO_TARGET_DIR", root().join("target/api"))
            .read()
            .with_context(|| format!("{} does not read {name}", PUBLIC_API.0))?;
        let text = text + "\n";
        let file = folder.join(format!("{name}.txt"));
        println!("{name}: {} items", text.lines().count());
        let is = fs::read_to_string(&file).unwrap_or_default();
        if !arguments.check {
            fs::write(&file, &text).with_context(|| file.display().to_string())?;
        } else if is != text {
            let (was, now): (Vec<_>, Vec<_>) = (is.lines().collect(), text.lines().collect());
            was.iter().filter(|line| !now.contains(line)).for_each(|line| println!("-{line}"));
            now.iter().filter(|line| !was.contains(line)).for_each(|line| println!("+{line}"));
            old.push(name);
        }
    }
    if old.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!(
        "{FOLDER} is old: run `cargo xtask api`, and look whether the change breaks others: {}",
        old.join(", ")
    )
}
