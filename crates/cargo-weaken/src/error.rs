//! What can go wrong, and the exit status for each.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::verdict::Kill;

/// How the program ends. `README.md` documents the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Fine = 0,
    /// A survivor that the baseline does not have; with `--site` and `--strengthen`, a model that fails.
    Found = 1,
    Usage = 2,
    Build = 3,
    NoModels = 4,
    FailsUnchanged = 5,
    OneExecution = 6,
    TimeLimit = 7,
    System = 8,
    /// As a shell reports a program that SIGINT ended.
    Interrupted = 130,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(status as u8)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the tests do not compile (above is what cargo says); cargo was called with\n  {command}")]
    Build { command: String },
    #[error("cargo metadata: {0}")]
    Metadata(#[from] cargo_metadata::Error),
    #[error("no test is called {filter:?}; leave the name out to run all")]
    NoSuchTest { filter: String },
    #[error(
        "none of the {tests} tests runs a model of weaken. Begin models with `weaken::model` in place of \
         `loom::model`, and see that they compile: with `--cfg loom` (which cargo weaken sets), and with the \
         features that they need (`--features`)"
    )]
    NoModels { tests: usize },
    #[error("{test} fails although no ordering was changed; make it pass first:\n{message}")]
    FailsUnchanged {
        test: String,
        message: String,
        /// How, where a model failed.
        failure: Option<Box<Kill>>,
    },
    #[error(
        "every model explores one execution only, so it says nothing about orderings: let two threads touch \
         the same atomics, or try loom's bounds. A load that hides others (loom #392) is parted from them by a \
         read-modify-write of another atomic before it. Models: {models}"
    )]
    OneExecution { models: String },
    #[error(
        "{test} does not end within {seconds} s although no ordering was changed: give it more with \
         --time-limit, or bound it with --bound"
    )]
    TimeLimit { test: String, seconds: u64 },
    #[error("{0}")]
    Usage(String),
    #[error("the environment has {variable}, which would change this run: unset it")]
    Environment { variable: &'static str },
    #[error(
        "{test} wrote a record that cannot be read ({reason}): weaken and cargo-weaken differ in version"
    )]
    Record { test: String, reason: String },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("{path}: it is no baseline ({source}): write one with --write-baseline")]
    NoBaseline { path: PathBuf, source: serde_json::Error },
    #[error("{what}: {source}")]
    System { what: String, source: io::Error },
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        |source| Error::File { path, source }
    }

    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let what = what.into();
        |source| Error::System { what, source }
    }

    pub(crate) fn status(&self) -> Status {
        match self {
            Error::Build { .. } | Error::Metadata(_) => Status::Build,
            Error::NoModels { .. } => Status::NoModels,
            Error::FailsUnchanged { .. } => Status::FailsUnchanged,
            Error::OneExecution { .. } => Status::OneExecution,
            Error::TimeLimit { .. } => Status::TimeLimit,
            Error::Usage(_)
            | Error::NoSuchTest { .. }
            | Error::Environment { .. }
            | Error::NoBaseline { .. } => Status::Usage,
            Error::File { .. } | Error::System { .. } | Error::Record { .. } => Status::System,
            Error::Interrupted => Status::Interrupted,
        }
    }
}
