//! One run of a scenario under strace, with one fault or with none.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::faults::judgement;
use crate::faults::place::{Own, Place};
use crate::faults::profile::Fault;
use crate::faults::scenarios::Scenario;

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
    fn follow(self) -> &'static [&'static str] {
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

/// What came of a trial.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) ended: Ended,
    /// The calls that failed, as strace writes them.
    pub(crate) injected: Vec<String>,
    pub(crate) wrong: Vec<String>,
}

/// The options of strace that inject a fault.
pub(crate) fn injection(fault: &Fault) -> Vec<String> {
    let Fault { who, call, occurrence, error } = fault;
    let mut options: Vec<String> = who.follow().iter().map(|&option| option.to_owned()).collect();
    options.push("-e".to_owned());
    options.push(format!("inject={call}:error={}:when={occurrence}", error.name()));
    options
}

/// The command line of a scenario in its place.
fn arguments(scenario: &Scenario, own: &Own) -> Vec<String> {
    let fill = |word: &str| match word {
        "PIN" => own.pin.display().to_string(),
        "FOLDER" => own.temporary.display().to_string(),
        "PID" => std::process::id().to_string(),
        other => other.to_owned(),
    };
    scenario.arguments.split(' ').map(fill).collect()
}

/// Runs a scenario without a fault.
pub(crate) fn observe(program: &Program, scenario: &Scenario, who: Who) -> anyhow::Result<Outcome> {
    let options: Vec<String> = who.follow().iter().map(|&option| option.to_owned()).collect();
    perform(program, scenario, &options, None)
}

/// Runs a scenario with a fault.
pub(crate) fn attempt(program: &Program, scenario: &Scenario, fault: &Fault) -> anyhow::Result<Outcome> {
    let mut options = injection(fault);
    // Of the other calls nobody wants to know, and what is not written costs no time.
    options.extend(["-e".to_owned(), format!("trace={}", fault.call)]);
    perform(program, scenario, &options, Some(fault))
}

fn perform(
    program: &Program,
    scenario: &Scenario,
    options: &[String],
    fault: Option<&Fault>,
) -> anyhow::Result<Outcome> {
    let own = program.place.own()?;
    if let Some(pinned) = scenario.pinned {
        prepare(program, &own, pinned)?;
    }
    let ended = run(program, &own, &arguments(scenario, &own), options)?;
    let injected: Vec<String> =
        ended.trace.lines().filter(|line| line.ends_with("(INJECTED)")).map(str::to_owned).collect();
    let mut wrong = judgement::judge(fault, &ended, &injected, &own.temporary, &own.files());
    wrong.extend(judge_pin(program, scenario, &own, &ended));
    own.remove()?;
    Ok(Outcome { ended, injected, wrong })
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
fn plainly(program: &Program, own: &Own, arguments: &[&str]) -> anyhow::Result<Output> {
    Command::new(&program.arenaq)
        .args(arguments)
        .env("TMPDIR", &own.temporary)
        .stdin(Stdio::null())
        .output()
        .context("starting arenaq")
}

/// Pins, with two events in the queue.
fn prepare(program: &Program, own: &Own, pinned: &str) -> anyhow::Result<()> {
    let mut shell = Command::new("sh")
        .args(["-c", "read go; /bin/true; /bin/true; exit"])
        .stdin(Stdio::piped())
        .spawn()
        .context("starting a shell")?;
    let (pin, traced) = (own.pin.display().to_string(), shell.id().to_string());
    let mut arguments = vec!["pin", &pin, "--trace", &traced];
    arguments.extend(pinned.split(' '));
    let pinned = plainly(program, own, &arguments)?;
    if let Some(mut stdin) = shell.stdin.take() {
        stdin.write_all(b"go\n")?;
    }
    shell.wait()?;
    if !pinned.status.success() {
        bail!("`arenaq {}` fails: {}", arguments.join(" "), String::from_utf8_lossy(&pinned.stderr));
    }
    Ok(())
}

/// Whether what is pinned is what the command says, and can be used and taken away. It is taken away then.
fn judge_pin(program: &Program, scenario: &Scenario, own: &Own, ended: &Ended) -> Vec<String> {
    let path = own.pin.display().to_string();
    let is_there = || own.pin.exists();
    // A result that could not be told changes nothing of what was taken away.
    let is_untold = ended.stderr.contains("writing the result");
    let lie = match (scenario.command(), ended.code == Some(0), is_there()) {
        ("pin", true, false) => Some("it says that it has pinned, and has not".to_owned()),
        ("pin", false, true) | ("unpin", true, true) => Some(format!("still pinned: {}", entries(&own.pin))),
        ("unpin", false, false) if !is_untold => {
            Some("it says that it failed, and nothing is left".to_owned())
        }
        _ => None,
    };
    let mut wrong: Vec<String> = lie.into_iter().collect();
    let mut next = |what: &str, arguments: &[&str]| match plainly(program, own, arguments) {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            wrong.push(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim_end()));
        }
        Err(error) => wrong.push(format!("{what}: {error:#}")),
    };
    if scenario.command() == "consume" {
        next("the next consumer fails", &["consume", &path, "--until-empty"]);
    }
    // An empty folder may be anybody's: `unpin` says that `rmdir` removes it.
    let is_emptied = scenario.command() == "unpin" && std::fs::remove_dir(&own.pin).is_ok();
    if !is_emptied && is_there() {
        next("it cannot be unpinned afterwards", &["unpin", &path]);
    }
    wrong
}

fn entries(folder: &Path) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    format!("{} with [{}]", folder.display(), names.join(" "))
}
