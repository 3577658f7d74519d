//! Runs other programs.

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use arenaq_vm::arch::Arch;
use duct::{Expression, cmd};
use rustix::process::{Pid, Signal, getpid, kill_process};
use serde_json::Value;

use crate::cross::compiling;

/// What to do where the harness does not compile.
const HINT: &str =
    "the harness does not compile; if the reason above is a missing tool, run `cargo xtask setup`";

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Cargo, in the folder of the workspace.
pub(crate) fn cargo<A: Into<OsString>>(arguments: impl IntoIterator<Item = A>) -> Expression {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let command = cmd(cargo, arguments).dir(root());
    // Its output goes through a pipe, where it would not colour it.
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        command.env("CARGO_TERM_COLOR", "always")
    } else {
        command
    }
}

/// What a program wrote, and how it ended.
pub(crate) struct Ended {
    /// The lines of its standard output and its standard error.
    pub(crate) lines: Vec<String>,
    /// Its exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
}

/// Runs a program, shows what it writes, and keeps it.
pub(crate) fn run(expression: &Expression) -> anyhow::Result<Ended> {
    let reader = expression
        .stdin_null()
        .stderr_to_stdout()
        .unchecked()
        .reader()
        .with_context(|| format!("cannot start {}", describe(expression)))?;
    let mut output = BufReader::new(&reader);
    let mut lines = Vec::new();
    let mut line = Vec::new();
    let mut shown = std::io::stdout();
    while output.read_until(b'\n', &mut line)? > 0 {
        shown.write_all(&line)?;
        shown.flush()?;
        lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
    let status = reader.try_wait()?.context("it closed its output and did not end")?;
    Ok(Ended { lines, code: status.status.code() })
}

/// A program that has failed.
#[derive(Debug)]
pub(crate) struct Failed {
    how: String,
    /// What it wrote.
    pub(crate) lines: Vec<String>,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.how)
    }
}

impl std::error::Error for Failed {}

/// [`run`], and the error [`Failed`] if the program fails.
pub(crate) fn check(expression: &Expression) -> anyhow::Result<Vec<String>> {
    let ended = run(expression)?;
    let command = describe(expression);
    let how = match ended.code {
        Some(0) => return Ok(ended.lines),
        Some(code) => format!("{command} ended with exit code {code}"),
        None => format!("{command} was ended by a signal"),
    };
    bail!(Failed { how, lines: ended.lines })
}

/// Ends all that this process has started, and what that has started, as far as /proc shows it.
pub(crate) fn end_descendants() {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for process in procfs::process::all_processes().into_iter().flatten().flatten() {
        if let Ok(stat) = process.stat() {
            children.entry(stat.ppid).or_default().push(process.pid());
        }
    }
    let mut found = children.remove(&getpid().as_raw_pid()).unwrap_or_default();
    while let Some(process) = found.pop() {
        found.extend(children.remove(&process).unwrap_or_default());
        if let Some(process) = Pid::from_raw(process) {
            let _ = kill_process(process, Signal::KILL);
        }
    }
}

/// The command line, for messages.
fn describe(expression: &Expression) -> String {
    // duct shows commands in its Debug form only: Dir(Cmd(["/bin/cargo", "test"]), ...).
    let text = format!("{expression:?}");
    let words = text
        .split_once("Cmd([")
        .and_then(|(_, rest)| rest.split_once("])"))
        .map_or(text.as_str(), |(words, _)| words);
    let words = words.replace("\", \"", " ").replace('"', "");
    let (program, arguments) = words.split_once(' ').unwrap_or((&words, ""));
    let name = program.rsplit('/').next().unwrap_or(program);
    format!("`{name} {arguments}`")
}

/// Compiles the harness and returns the path of its command `arenaq`.
pub(crate) fn build_harness(release: bool) -> anyhow::Result<PathBuf> {
    build("arenaq-harness", "arenaq", release).context(HINT)
}

/// [`build_harness`], for an architecture.
pub(crate) fn build_harness_for(arch: Arch, release: bool) -> anyhow::Result<PathBuf> {
    let (package, program) = ("arenaq-harness", "arenaq");
    let command = compiling(cargo(arguments(package, program, release)), arch)?;
    Compiled::from(&command, package).context(HINT)?.executable("bin", program)
}

/// Compiles a program of a package and returns its path.
pub(crate) fn build(package: &str, program: &str, release: bool) -> anyhow::Result<PathBuf> {
    Compiled::by(&arguments(package, program, release), package)?.executable("bin", program)
}

/// [`build`] for measuring, with flags for rustc behind those of the environment.
pub(crate) fn build_with(flags: &str, package: &str, program: &str) -> anyhow::Result<PathBuf> {
    let flags = env::var("RUSTFLAGS").map_or(flags.to_owned(), |theirs| format!("{theirs} {flags}"));
    let command = cargo(arguments(package, program, true)).env("RUSTFLAGS", flags);
    Compiled::from(&command, package)?.executable("bin", program)
}

fn arguments(package: &str, program: &str, release: bool) -> Vec<String> {
    let mut arguments = vec![
        "build".to_owned(),
        "--locked".to_owned(),
        format!("--package={package}"),
        format!("--bin={program}"),
        "--message-format=json-render-diagnostics".to_owned(),
    ];
    if release {
        arguments.push("--release".to_owned());
    }
    arguments
}

/// What cargo says of the programs that it has compiled.
pub(crate) struct Compiled(Vec<Value>);

impl Compiled {
    /// Runs a command of cargo that compiles the package and tells as JSON what it has done.
    pub(crate) fn by(arguments: &[String], package: &str) -> anyhow::Result<Compiled> {
        Compiled::from(&cargo(arguments), package)
    }

    /// [`by`](Self::by), for the whole command.
    pub(crate) fn from(command: &Expression, package: &str) -> anyhow::Result<Compiled> {
        let messages = command.read().with_context(|| format!("compiling {package}"))?;
        Ok(Compiled(messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()))
    }

    /// The program of a target: `bin`, `test` or `bench`.
    pub(crate) fn executable(&self, kind: &str, name: &str) -> anyhow::Result<PathBuf> {
        let is_wanted = |message: &&Value| {
            message["target"]["name"] == name
                && message["target"]["kind"][0] == kind
                // The unit tests of a program have its name.
                && message["profile"]["test"] == (kind != "bin")
        };
        let path = self.0.iter().filter(is_wanted).find_map(|message| message["executable"].as_str());
        path.map(PathBuf::from).with_context(|| format!("cargo did not say where the {kind} {name} is"))
    }

    /// The library of a package whose file name ends so.
    pub(crate) fn file(&self, package: &str, ends: &str) -> anyhow::Result<PathBuf> {
        let files =
            self.of(package, "compiler-artifact").filter_map(|message| message["filenames"].as_array());
        let path = files.flatten().filter_map(Value::as_str).find(|path| path.ends_with(ends));
        path.map(PathBuf::from).with_context(|| format!("cargo did not say where the {ends} of {package} is"))
    }

    /// A file of which the build script of a package has told the compiler.
    pub(crate) fn variable(&self, package: &str, name: &str) -> anyhow::Result<PathBuf> {
        let variables =
            self.of(package, "build-script-executed").filter_map(|message| message["env"].as_array());
        let value = variables.flatten().find(|pair| pair[0] == name).and_then(|pair| pair[1].as_str());
        value
            .map(PathBuf::from)
            .with_context(|| format!("the build script of {package} says nothing of {name}"))
    }

    fn of(&self, package: &str, reason: &str) -> impl Iterator<Item = &Value> {
        // .../crates/capi#arenaq-capi@0.1.0
        let mark = format!("#{package}@");
        self.0.iter().filter(move |message| {
            message["reason"] == reason && message["package_id"].as_str().is_some_and(|id| id.contains(&mark))
        })
    }
}

#[cfg(test)]
mod tests {
    use duct::cmd;
    use serde_json::json;

    use super::{Compiled, describe};

    #[test]
    fn a_command_is_described_as_one_would_type_it() {
        let command = cmd!("/usr/bin/cargo", "test", "--locked").dir("/").env("A", "b");
        assert_eq!(describe(&command), "`cargo test --locked`");
    }

    #[test]
    fn a_program_is_told_from_its_unit_tests() {
        let message = |kind: &str, test: bool, path: &str| json!({"target": {"name": "arenaq", "kind": [kind]}, "profile": {"test": test}, "executable": path});
        let compiled = Compiled(vec![message("bin", true, "/unit"), message("bin", false, "/program")]);
        let path = compiled.executable("bin", "arenaq").expect("it is there");
        assert_eq!(path.to_str(), Some("/program"));
        assert!(compiled.executable("test", "arenaq").is_err());
    }
}
