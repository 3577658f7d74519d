//! The command that is traced, and everything that it starts.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, set_parent_process_death_signal};

use crate::descendants::{self, Adoption};
use crate::error::Error;
use crate::launch::{Ended, Process, wait_to_be_traced};
use crate::report::Report;
use crate::signals::{self, Inherited};
use crate::tell::tell;

/// The hidden subcommand that stops itself and then becomes another program.
pub const TRAMPOLINE: &str = "__trampoline";

/// How long processes have time to end when they are asked to.
const PATIENCE: Duration = Duration::from_secs(5);
/// After so long it is told what is waited for.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// A command that runs, and what it has started. Until this is dropped, this process waits for each of its
/// children.
#[derive(Debug)]
pub(crate) struct Tracee {
    name: String,
    command: Process,
    waits_for_all: bool,
    has_children: bool,
    /// Since when the command has ended and others go on; it is told once.
    waiting: Option<Instant>,
    told: bool,
    finished: bool,
    _adoption: Adoption,
}

/// How a command, and what it had started, have ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) ended: Option<Ended>,
    /// Whether the run has ended it.
    pub(crate) cut_short: bool,
    /// How many other processes there were still.
    pub(crate) alive: usize,
    /// How many of them could not be ended.
    pub(crate) kept: usize,
}

impl Outcome {
    /// As a shell reports it.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        match self.ended? {
            Ended::With(status) => status.code().or_else(|| Some(128 + status.signal()?)),
            Ended::Unseen => None,
        }
    }

    /// Whether a signal has ended the command, or, as a shell reports it, what the command was waiting for.
    pub(crate) fn was_ended_by_a_signal(&self) -> bool {
        self.exit_code().is_some_and(|code| code > 128)
    }
}

impl Tracee {
    /// Finds a command and makes ready to run it. With `waits_for_all` it is done when everything that it has
    /// started has ended.
    ///
    /// # Errors
    ///
    /// [`Error::Command`] if there is no such program, [`Error::System`] if no process can be started.
    pub(crate) fn start(command: &[OsString], stdout: Stdio, waits_for_all: bool) -> Result<Tracee, Error> {
        let program = find(command)?;
        let adoption = Adoption::begin()?;
        let mut arguments = vec![signals::inherited().to_string().into(), program.into_os_string()];
        arguments.extend_from_slice(command);
        let name = name(command);
        let started = Process::start_stopped(TRAMPOLINE, &arguments, stdout);
        let command = started.map_err(|error| match error {
            Error::System { source, .. } if source.kind() == io::ErrorKind::ArgumentListTooLong => {
                Error::Command { command: name.clone(), reason: source.to_string() }
            }
            error => error,
        })?;
        Ok(Tracee {
            name,
            command,
            waits_for_all,
            has_children: true,
            waiting: None,
            told: false,
            finished: false,
            _adoption: adoption,
        })
    }

    /// The id of the command.
    pub(crate) fn id(&self) -> u32 {
        self.command.id()
    }

    /// Lets the command go on.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if it is gone.
    pub(crate) fn go(&self) -> Result<(), Error> {
        self.command.go()
    }

    /// Whether there is nothing left to wait for.
    pub(crate) fn is_done(&mut self) -> bool {
        self.reap();
        if self.command.poll().is_none() {
            return false;
        }
        if !self.waits_for_all || !self.has_children {
            return true;
        }
        if self.waiting.get_or_insert_with(Instant::now).elapsed() >= WORTH_TELLING && !self.told {
            self.told = true;
            tell(format_args!(
                "the command has ended, and {} process(es) that it has started have not: waiting for them. \
                 Ctrl-C ends them and the run; --no-wait does not wait",
                descendants::alive().len()
            ));
        }
        false
    }

    /// Ends what has not ended. What was left behind goes on if it was not to be waited for.
    ///
    /// # Errors
    ///
    /// [`Error::Command`] if the command was never started: the program cannot be run.
    pub(crate) fn finish(&mut self) -> Result<Outcome, Error> {
        self.reap();
        let cut_short = self.command.poll().is_none();
        let id = i32::try_from(self.id()).unwrap_or(0);
        let alive = descendants::alive().iter().filter(|process| process.pid() != id).count();
        let kept = self.end(PATIENCE);
        let ended = self.command.poll();
        let refused = if ended.is_some() { self.command.report() } else { String::new() };
        if !refused.is_empty() {
            return Err(Error::Command { command: self.name.clone(), reason: refused });
        }
        Ok(Outcome { ended, cut_short, alive, kept })
    }

    fn end(&mut self, patience: Duration) -> usize {
        self.finished = true;
        if !self.waits_for_all {
            self.command.end(patience);
            return 0;
        }
        let command = &mut self.command;
        descendants::end(patience, |child, status| see(command, child, status))
    }

    fn reap(&mut self) {
        let command = &mut self.command;
        self.has_children = descendants::reap(|child, status| see(command, child, status));
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        if !self.finished {
            self.end(Duration::from_secs(2));
        }
    }
}

fn see(command: &mut Process, child: Pid, status: ExitStatus) {
    if child.as_raw_pid().unsigned_abs() == command.id() {
        command.was_seen_to_end(status);
    }
}

fn name(command: &[OsString]) -> String {
    command.first().map_or_else(String::new, |name| name.display().to_string())
}

/// The file of a command, as a shell would find it.
///
/// # Errors
///
/// [`Error::Command`] if there is none.
pub(crate) fn find(command: &[OsString]) -> Result<PathBuf, Error> {
    let Some(program) = command.first() else {
        return Err(Error::Command { command: String::new(), reason: "it is empty".to_owned() });
    };
    // A path is no name to look for: if the file cannot be run, whoever tries says why.
    if program.as_encoded_bytes().contains(&b'/') && Path::new(program).exists() {
        return Ok(PathBuf::from(program));
    }
    which::which(program).map_err(|_| Error::Command {
        command: name(command),
        reason: "no such program was found; check its name and PATH".to_owned(),
    })
}

/// What the hidden subcommand does: stops this process, and then becomes the command, or reports why it cannot.
pub fn trampoline(mut report: Report, signals: Inherited, program: &Path, command: &[OsString]) {
    let ready = wait_to_be_traced(&report).and_then(|()| Ok(set_parent_process_death_signal(None)?));
    if let Err(error) = ready {
        return report.say(&format!("it cannot be stopped to be traced: {error}"));
    }
    let mut next = Command::new(program);
    if let Some((name, arguments)) = command.split_first() {
        next.arg0(name).args(arguments);
    }
    // SAFETY: it makes system calls, and allocates nothing.
    unsafe { next.pre_exec(move || signals.restore()) };
    let error = next.exec();
    let interpreter = error.kind() == io::ErrorKind::NotFound && program.exists();
    report.say(&if interpreter {
        format!(
            "{error}: the file is there, so its interpreter is not (for a script, the program after `#!`)"
        )
    } else {
        error.to_string()
    });
}
