//! Compiles the tests as `cargo test` would.

use std::env;
use std::ffi::OsString;
use std::io::{BufReader, Seek};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use cargo_metadata::{Message, MetadataCommand};

use crate::arguments::Arguments;
use crate::child::{self, Ending};
use crate::error::Error;
use crate::interrupt::Interrupt;

/// A compiled test program.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// The target's name: that of the library, or of the file in `tests/`.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// The folder in which cargo would run it.
    pub(crate) folder: PathBuf,
}

/// What was compiled.
#[derive(Debug)]
pub(crate) struct Crates {
    pub(crate) programs: Vec<Program>,
    /// The workspace, to which the compiler's paths are relative.
    pub(crate) root: PathBuf,
    /// Where cargo puts what it makes.
    pub(crate) target: PathBuf,
}

/// The separator of `CARGO_ENCODED_RUSTFLAGS`.
const UNIT_SEPARATOR: &str = "\x1f";

pub(crate) fn compile(arguments: &Arguments, interrupt: &Interrupt) -> Result<Crates, Error> {
    let mut metadata = MetadataCommand::new();
    if let Some(manifest) = &arguments.manifest_path {
        metadata.manifest_path(manifest);
    }
    let metadata = metadata.no_deps().exec()?;

    let mut command = cargo(arguments);
    let shown = format!("{command:?}");
    let mut messages = tempfile::tempfile().map_err(Error::system("cannot make a temporary file"))?;
    let clone = messages.try_clone().map_err(Error::system("cannot use a temporary file"))?;
    command.stdin(Stdio::null()).stdout(clone);
    match child::run(command, None, interrupt)? {
        Ending::Exited(status) if status.success() => {}
        Ending::Exited(_) | Ending::TimedOut => return Err(Error::Build { command: shown }),
    }
    messages.rewind().map_err(Error::system("cannot read a temporary file"))?;
    let mut programs = Vec::new();
    for message in Message::parse_stream(BufReader::new(messages)) {
        let message = message.map_err(Error::system("cannot read what cargo says"))?;
        let Message::CompilerArtifact(artifact) = message else { continue };
        let Some(path) = artifact.executable.filter(|_| artifact.profile.test) else { continue };
        let folder = artifact.manifest_path.parent().map(PathBuf::from).unwrap_or_default();
        programs.push(Program { name: artifact.target.name, path: path.into(), folder });
    }
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Crates { programs, root: metadata.workspace_root.into(), target: metadata.target_directory.into() })
}

fn cargo(arguments: &Arguments) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["test", "--no-run", "--message-format=json-render-diagnostics"]);
    for (is_given, option) in [
        (arguments.lib, "--lib"),
        (arguments.all_features, "--all-features"),
        (arguments.no_default_features, "--no-default-features"),
        (arguments.release, "--release"),
        (arguments.locked, "--locked"),
        (arguments.offline, "--offline"),
    ] {
        command.args(is_given.then_some(option));
    }
    if let Some(package) = &arguments.package {
        command.args(["--package", package]);
    }
    for test in &arguments.test {
        command.args(["--test", test]);
    }
    for example in &arguments.example {
        command.args(["--example", example]);
    }
    for features in &arguments.features {
        command.args(["--features", features]);
    }
    if let Some(manifest) = &arguments.manifest_path {
        command.arg("--manifest-path").arg(manifest);
    }
    if !arguments.no_cfg {
        let cfgs: Vec<_> = arguments.cfg.iter().flat_map(|cfg| ["--cfg", cfg]).collect();
        // cargo looks at one of the two, and at this one first.
        let (variable, separator) = match env::var_os("CARGO_ENCODED_RUSTFLAGS") {
            Some(_) => ("CARGO_ENCODED_RUSTFLAGS", UNIT_SEPARATOR),
            None => ("RUSTFLAGS", " "),
        };
        let mut flags: OsString = env::var_os(variable).unwrap_or_default();
        if !flags.is_empty() {
            flags.push(separator);
        }
        flags.push(cfgs.join(separator));
        command.env(variable, flags);
    }
    command
}
