//! What to run, and which wishes contradict each other.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use arenaq::structures::Kind;
use arenaq_libbpf::Instructions;
use arenaq_libbpf::program::UprobeTarget;

use crate::error::Error;
use crate::hook::Hook;

/// Who produces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// BPF programs in the kernel.
    Kernel,
    /// Threads of this process, for machines without privileges.
    Threads,
}

/// How many consumers or producers a run has at most.
///
/// Each worker has a pipe to this process, and each consumer a file to sleep on: 1024 files are what a process may
/// usually open. Far below that they outnumber the processors, and do nothing but wait for each other.
pub const MOST_TASKS: u32 = 1024;

/// A number of consumers or producers, as on a command line.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse_tasks(text: &str) -> Result<u32, String> {
    let number = text.parse::<u64>().map_err(|error| error.to_string())?;
    check_tasks(number)
}

fn check_tasks(number: u64) -> Result<u32, String> {
    match u32::try_from(number) {
        Ok(0) => Err("there must be at least one consumer and one process".to_owned()),
        Ok(tasks @ 1..=MOST_TASKS) => Ok(tasks),
        _ => Err(format!(
            "at most {MOST_TASKS} consumers and as many processes: each needs an open file, and more than there are \
             processors only wait for each other"
        )),
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who produces.
    pub backend: Backend,
    /// The queue.
    pub queue: Kind,
    /// Where the events come from; `None` takes the first hook that works and sees files in `folder`.
    pub hook: Option<Hook>,
    /// How many elements the queue holds; of records, how many bytes each processor has.
    pub capacity: u64,
    /// How many elements the MPSC queue may grow to; `None` if it is not to grow.
    pub grow_to: Option<u64>,
    /// How many threads consume.
    pub consumers: u32,
    /// End after so long.
    pub duration: Option<Duration>,
    /// End after so many events are consumed.
    pub events: Option<u64>,
    /// How many processes or threads the built-in workload has.
    pub processes: u32,
    /// How many operations it does in all; `None` for as many as it can.
    pub operations: Option<u64>,
    /// How long consumers wait before they begin.
    pub hold_back: Duration,
    /// Where the built-in workload creates its files; `None` for the folder for temporary files.
    pub folder: Option<PathBuf>,
    /// Which object; `None` takes the one that this kernel can run.
    pub instructions: Option<Instructions>,
    /// The function of the hook `uprobe`.
    pub uprobe: Option<UprobeTarget>,
    /// The number of the system call of the hook `sys-enter`; `None` for that of `openat`.
    pub syscall: Option<i64>,
    /// The command to trace; empty for the built-in workload.
    pub command: Vec<OsString>,
    /// Whether the run goes on until everything has ended that the command has started.
    pub waits_for_all: bool,
    /// Whether the command writes to our standard error instead of our standard output.
    pub command_to_stderr: bool,
}

impl Options {
    pub(super) fn check(&self) -> Result<(), Error> {
        let usage = |text: &str| Err(Error::Usage(text.to_owned()));
        for tasks in [self.consumers, self.processes] {
            check_tasks(tasks.into()).map_err(Error::Usage)?;
        }
        if self.queue == Kind::Mpsc && self.consumers > 1 {
            return usage(
                "the MPSC queue has one consumer by definition: leave --consumers at 1, or take --queue mpmc",
            );
        }
        if self.backend == Backend::Threads && (self.hook.is_some() || !self.command.is_empty()) {
            return usage("--backend threads has its own producers: it takes neither --hook nor a command");
        }
        Hook::check_target(self.hook, self.uprobe.as_ref(), self.syscall)?;
        if !self.command.is_empty() {
            if self.hook == Some(Hook::Drive) {
                return usage("--hook drive runs in this process: it sees no command");
            }
            if let Some(hook) = self.hook.filter(|hook| hook.is_uprobe() && self.uprobe.is_none()) {
                return usage(&format!(
                    "--hook {hook} with a command needs --uprobe BINARY:FUNCTION, a function that the command calls"
                ));
            }
        }
        if self.operations == Some(0) || self.events == Some(0) || self.duration == Some(Duration::ZERO) {
            return usage("with --operations, --events or --duration 0 nothing is done: choose a larger one");
        }
        self.check_growth()?;
        self.check_folder()
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(std::env::temp_dir)
    }

    fn check_folder(&self) -> Result<(), Error> {
        let makes_files =
            self.backend == Backend::Kernel && self.hook != Some(Hook::Drive) && self.command.is_empty();
        if self.folder.is_none() && !makes_files {
            return Ok(());
        }
        let folder = self.folder();
        let found = fs::metadata(&folder);
        let folder = folder.display();
        match found {
            Ok(found) if found.is_dir() => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(Error::system(format!("looking at the folder {folder}"))(error)),
        }
        Err(Error::Usage(match (&self.folder, std::env::var_os("TMPDIR")) {
            (Some(_), _) => format!("--folder {folder}: there is no such folder"),
            (None, Some(_)) => format!(
                "TMPDIR is {folder}, where no folder is: correct it, or choose a --folder for the workload's files"
            ),
            (None, None) => format!(
                "there is no folder {folder} for temporary files: set TMPDIR, or choose a --folder for the \
                 workload's files"
            ),
        }))
    }

    fn check_growth(&self) -> Result<(), Error> {
        let usage = |text: String| Err(Error::Usage(text));
        match self.grow_to {
            Some(_) if self.queue != Kind::Mpsc => {
                let what =
                    if self.queue == Kind::Mpmc { "the MPMC queue is a ring" } else { "records are rings" };
                usage(format!("{what}, which cannot grow: take --queue mpsc, or a larger --capacity"))
            }
            Some(_) if self.backend == Backend::Threads => {
                usage("--grow-to is for --backend kernel: with threads take a larger --capacity".to_owned())
            }
            Some(limit) if limit < self.capacity => usage(format!(
                "--grow-to {limit} is less than the --capacity to begin with, {}: choose a larger or a smaller one",
                self.capacity
            )),
            _ => Ok(()),
        }
    }

    /// How many operations each process or thread does; `None` for as many as it can. The first ones do what
    /// cannot be divided.
    pub(super) fn shares(&self) -> impl Iterator<Item = Option<u64>> {
        let (all, tasks) = (self.operations, u64::from(self.processes));
        (0..tasks).map(move |task| all.map(|all| all / tasks + u64::from(task < all % tasks)))
    }
}
