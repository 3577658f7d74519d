//! Why there is no object.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::ToolchainError;

/// Why there is no object.
///
/// `Debug` is the text of `Display`: it is what a build script shows whose `main` returns the error, and the text has
/// several lines.
#[derive(thiserror::Error)]
pub enum Error {
    /// The tools are missing or too old.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// A tool could not be started.
    #[error("cannot run {tool}: {source}")]
    Start {
        /// The tool.
        tool: String,
        /// Why.
        source: std::io::Error,
    },
    /// A tool failed.
    #[error("{tool} failed ({status}):\n{stderr}")]
    Failed {
        /// The tool.
        tool: String,
        /// Its exit status.
        status: ExitStatus,
        /// What it said.
        stderr: String,
    },
    /// clang does not compile the program.
    #[error("{} does not compile: {}", program.display(), said(stderr))]
    Program {
        /// The program.
        program: PathBuf,
        /// What clang said; nothing if that went to standard error already
        /// ([`Pipeline::show_diagnostics`](crate::Pipeline::show_diagnostics)).
        stderr: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The sources of arenaq are not where they were when this crate was compiled.
    #[error(
        "the sources of {package} are not in {folder} any more, where they were when arenaq-bpf-build was compiled: run \
         `cargo clean -p {package}` and build again"
    )]
    NoSources {
        /// The package.
        package: &'static str,
        /// Where they were looked for.
        folder: PathBuf,
    },
    /// Something that the code calls is neither in the program, nor in the shim, nor in arenaq.
    #[error(
        "unresolved after the link: {}\n(a function of core::panicking here means that arenaq's code can panic in the kernel)",
        symbols.join(", ")
    )]
    Unresolved {
        /// The symbols.
        symbols: Vec<String>,
    },
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { "see what clang says above".to_owned() } else { format!("clang says\n{stderr}") }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Error;
    use crate::ToolchainError;

    #[test]
    fn a_build_script_that_returns_the_error_shows_its_lines_and_not_their_escapes() {
        let missing = || ToolchainError::Missing {
            missing: "clang".to_owned(),
            needed: 22,
            why: "it is so".to_owned(),
            older: None,
            packages: "clang-22".to_owned(),
        };
        let error: Box<dyn std::error::Error> = Box::new(missing());
        assert!(format!("{error:?}").contains("\n    apt-get install clang-22"), "{error:?}");
        let error: Box<dyn std::error::Error> = Box::new(Error::from(missing()));
        assert!(format!("{error:?}").contains("\n    apt-get install clang-22"), "{error:?}");
    }
}
