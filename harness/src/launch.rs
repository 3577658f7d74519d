//! Starts processes so that they are traced from their first instruction on.
//!
//! A process is started as this binary, stops itself, is marked as traced, and goes on: with the command that
//! was asked for, or with its part of the built-in workload.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_parent_process_death_signal, waitpid,
};

use crate::error::Error;
use crate::report::{Report, Reports, pipe};

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    With(ExitStatus),
    /// Nobody can say: somebody else has waited for it, or the kernel does not let us.
    Unseen,
}

impl Ended {
    /// Whether it has done what it was to do.
    pub fn is_success(self) -> bool {
        matches!(self, Ended::With(status) if status.success())
    }
}

/// A process that we have started. It is ended when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    ended: Option<Ended>,
    reports: Reports,
}

impl Process {
    /// Starts this binary as one of its hidden subcommands, and waits until it has stopped itself. The first
    /// argument of the subcommand is the descriptor for its [`Report`].
    ///
    /// # Errors
    ///
    /// [`Error::System`] if it does not start or ends before it stops.
    pub fn start_stopped(subcommand: &str, arguments: &[OsString], stdout: Stdio) -> Result<Process, Error> {
        let (reports, reporter) = pipe().map_err(Error::system("making a pipe"))?;
        // Not current_exe(): that path may have been replaced since, this link is always the file that runs.
        let mut command = Command::new("/proc/self/exe");
        command.arg(subcommand).arg(reporter.argument()).args(arguments).stdout(stdout);
        reporter.hand_to(&mut command);
        let child = command.spawn().map_err(Error::system("starting a process"))?;
        drop(reporter);

        let mut process = Process { child, ended: None, reports };
        loop {
            match waitpid(Some(process.pid()), WaitOptions::UNTRACED) {
                Ok(Some((_, status))) if status.stopped() => return Ok(process),
                Ok(Some((_, status))) => {
                    let status = ExitStatus::from_raw(status.as_raw());
                    process.ended = Some(Ended::With(status));
                    let said = process.report();
                    let reason = if said.is_empty() { format!("it ended with {status}") } else { said };
                    return Err(Error::system("starting a process")(io::Error::other(reason)));
                }
                Ok(None) | Err(Errno::INTR) => {}
                Err(error) => return Err(Error::system("waiting for a process")(error)),
            }
        }
    }

    /// Lets it go on.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if it is gone.
    pub fn go(&self) -> Result<(), Error> {
        kill_process(self.pid(), Signal::CONT).map_err(Error::system("continuing a process"))
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What it has said, once it has ended.
    pub(crate) fn report(&mut self) -> String {
        self.reports.read()
    }

    /// How it has ended, if it has.
    pub fn poll(&mut self) -> Option<Ended> {
        if self.ended.is_none() {
            self.ended = match self.child.try_wait() {
                Ok(status) => status.map(Ended::With),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => None,
                Err(error) => {
                    // If it is not our child any more its id may be another's. Else it lives, for all that we
                    // shall ever know.
                    if Errno::from_io_error(&error) != Some(Errno::CHILD) {
                        let _ = self.child.kill();
                    }
                    Some(Ended::Unseen)
                }
            };
        }
        self.ended
    }

    /// Keeps how it has ended, which somebody has seen who waits for every child of this process.
    pub(crate) fn was_seen_to_end(&mut self, status: ExitStatus) {
        self.ended = Some(Ended::With(status));
    }

    fn ask_to_end(&mut self) {
        if self.poll().is_none() {
            // Who cannot be asked would be waited for in vain.
            let asked = kill_process(self.pid(), Signal::TERM).and(kill_process(self.pid(), Signal::CONT));
            if asked.is_err() {
                let _ = self.child.kill();
            }
        }
    }

    /// Waits for its end, and ends it the hard way if that does not come before `deadline`.
    fn wait_until(&mut self, deadline: Instant) -> Option<Ended> {
        while self.poll().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.poll().is_none() {
            let _ = self.child.kill();
            self.ended = Some(self.child.wait().map_or(Ended::Unseen, Ended::With));
        }
        self.ended
    }

    /// Asks it to end, and waits; ends it the hard way if it does not within `patience`.
    pub fn end(&mut self, patience: Duration) -> Option<Ended> {
        self.ask_to_end();
        self.wait_until(Instant::now() + patience)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(Duration::from_secs(2));
    }
}

/// Processes that are ended together: all of them are asked before one is waited for. Those that still run take
/// the processor from the one that is to end, so one by one the end of hundreds takes minutes.
#[derive(Debug, Default)]
pub struct Processes(Vec<Process>);

impl Processes {
    /// One more.
    pub fn push(&mut self, process: Process) {
        self.0.push(process);
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Process> {
        self.0.iter()
    }

    /// Each of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        self.0.iter_mut()
    }

    /// Asks all to end, and waits; ends those the hard way that do not within `patience`.
    pub fn end(&mut self, patience: Duration) {
        self.0.iter_mut().for_each(Process::ask_to_end);
        let deadline = Instant::now() + patience;
        for process in &mut self.0 {
            process.wait_until(deadline);
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.end(Duration::from_secs(2));
    }
}

/// Stops this process until it is told to go on. If its parent ends meanwhile, so does this; if it ends
/// later, this is asked to end.
///
/// # Errors
///
/// The system call's, or that the parent has ended already: nobody would let this process go on.
pub(crate) fn wait_to_be_traced(report: &Report) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if !report.is_heard()? {
        return Err(io::Error::other("who has started this process has ended"));
    }
    kill_process(getpid(), Signal::STOP)?;
    set_parent_process_death_signal(Some(Signal::TERM))?;
    Ok(())
}
