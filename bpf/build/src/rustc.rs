//! Finds the Rust compiler.

use std::path::PathBuf;
use std::process::Command;

use crate::ToolchainError;
use crate::toolchain::major;

/// The Rust compiler, the one that the outer cargo uses, and what it says about itself.
#[derive(Clone, Debug)]
pub(crate) struct Rustc {
    pub(crate) path: PathBuf,
    /// The major version of its LLVM.
    pub(crate) llvm: u32,
    /// The target triple of the machine that compiles.
    pub(crate) host: String,
}

impl Rustc {
    pub(crate) fn find() -> Result<Rustc, ToolchainError> {
        let path = PathBuf::from(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        let fail =
            |reason: String| ToolchainError::Rustc { rustc: path.to_string_lossy().into_owned(), reason };
        let output = Command::new(&path).arg("-vV").output().map_err(|error| fail(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        match (value("LLVM version:").and_then(major), value("host:")) {
            (Some(llvm), Some(host)) => Ok(Rustc { llvm, host: host.to_owned(), path: path.clone() }),
            _ => Err(fail(format!("it printed\n{text}{}", String::from_utf8_lossy(&output.stderr)))),
        }
    }
}
