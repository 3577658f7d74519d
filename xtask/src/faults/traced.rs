//! The command `arenaq`, under strace and without.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::faults::place::{Own, Place};

/// Whoever has not ended by then never will. It is more than the five seconds that are asked for: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long whatever a command has started may take to end after it.
const AFTERWARDS: Duration = Duration::from_secs(2);
/// In the environment of every process of a trial, by which it is known.
const MARK: &str = "ARENAQ_FAULTS";

/// In which threads a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Who {
    /// In the main thread of the command.
    Main,
    /// In every other thread and process, once in each, and in the main thread if it makes so many calls.
    Others,
}

impl Who {
    /// The options of strace for that.
    pub(crate) fn follow(self) -> &'static [&'static str] {
        match self {
            Who::Main => &[],
            Who::Others => &["-f"],
        }
    }
}

/// The program that is tried.
pub(crate) struct Program {
    pub(crate) arenaq: PathBuf,
    pub(crate) place: Place,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Whether we ended it, because it did not.
    pub(crate) hung: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// What strace wrote.
    pub(crate) trace: String,
    pub(crate) took: Duration,
    /// The command lines of what it left running.
    pub(crate) survivors: Vec<String>,
}

/// Runs `arenaq` under strace, and waits for it and for whatever it has started.
pub(crate) fn run(
    program: &Program,
    own: &Own,
    arguments: &[String],
    options: &[String],
) -> anyhow::Result<Ended> {
    let note = |name: &str| own.notes.join(name);
    let create = |name: &str| File::create(note(name)).with_context(|| note(name).display().to_string());
    let mark = format!("{}-{}", std::process::id(), own.number);
    let start = Instant::now();
    // Files and no pipes: whatever is left running would keep those open.
    let mut strace = Command::new("strace")
        .arg("-o")
        .arg(note("trace"))
        // With the files that descriptors belong to.
        .arg("-y")
        .args(options)
        .arg(&program.arenaq)
        .args(arguments)
        .env(MARK, &mark)
        .env("TMPDIR", &own.temporary)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(create("stdout")?)
        .stderr(create("stderr")?)
        .spawn()
        .context("starting strace")?;
    let mut hung = false;
    let status = loop {
        if let Some(status) = strace.try_wait()? {
            break status;
        }
        if !hung && start.elapsed() > PATIENCE {
            hung = true;
            marked(&mark).into_iter().for_each(end);
        }
        thread::sleep(Duration::from_millis(2));
    };
    let took = start.elapsed();
    let survivors = survivors(&mark);
    let read = |name: &str| String::from_utf8_lossy(&fs::read(note(name)).unwrap_or_default()).into_owned();
    Ok(Ended {
        code: status.code(),
        hung,
        stdout: read("stdout"),
        stderr: read("stderr"),
        trace: read("trace"),
        took,
        survivors,
    })
}

/// Ends what a command has left running, and says what it was.
fn survivors(mark: &str) -> Vec<String> {
    let start = Instant::now();
    while !marked(mark).is_empty() && start.elapsed() < AFTERWARDS {
        thread::sleep(Duration::from_millis(10));
    }
    let survivors = marked(mark);
    let command_line = |process: &Pid| {
        let line = fs::read(format!("/proc/{}/cmdline", process.as_raw_nonzero())).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").trim_end().to_owned()
    };
    let lines = survivors.iter().map(command_line).collect();
    survivors.into_iter().for_each(end);
    lines
}

/// The processes with our mark, but for those that have ended and not been waited for, of which it cannot be read.
fn marked(mark: &str) -> Vec<Pid> {
    let mark = format!("{MARK}={mark}");
    let has_it = |process: &Pid| {
        let environment = fs::read(format!("/proc/{}/environ", process.as_raw_nonzero())).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == mark.as_bytes())
    };
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
        .filter(has_it)
        .collect()
}

fn end(process: Pid) {
    // It may have ended meanwhile.
    let _ = kill_process(process, Signal::KILL);
}

/// Runs `arenaq` without strace.
pub(crate) fn plainly(program: &Program, own: &Own, arguments: &[&str]) -> anyhow::Result<Output> {
    Command::new(&program.arenaq)
        .args(arguments)
        .env("TMPDIR", &own.temporary)
        .stdin(Stdio::null())
        .output()
        .context("starting arenaq")
}
