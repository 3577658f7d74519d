//! Tools of crates.io, which are compiled where they are not.

use std::path::PathBuf;

use anyhow::Context;
use duct::cmd;

use crate::command::{cargo, check, root};

/// Where the tools are installed, in the workspace.
const TOOLS: &str = "target/tools";

/// A tool of this version, which is compiled where there is none.
pub(crate) fn tool((name, version): (&str, &str)) -> anyhow::Result<PathBuf> {
    let folder = root().join(TOOLS);
    let program = folder.join("bin").join(name);
    let is_there = cmd!(&program, "--version").stderr_null().unchecked().read();
    if !is_there.is_ok_and(|said| said.split_whitespace().any(|word| word == version)) {
        let install = ["install", "--locked", name, "--version", version, "--root"].map(Into::into);
        check(&cargo(install.into_iter().chain([folder.into_os_string()])))
            .with_context(|| format!("{name} {version} cannot be installed"))?;
    }
    Ok(program)
}
