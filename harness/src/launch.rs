//! Starts processes so that they are traced from their first instruction on.
//!
//! A process is started as this binary, stops itself, is marked as traced, and goes on: with the command that
//! was asked for, or with its part of the built-in workload.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_parent_process_death_signal, waitpid,
};

use crate::error::Error;

/// The hidden subcommand that stops itself and then becomes another program.
pub const TRAMPOLINE: &str = "__trampoline";

/// A process that we have started. It is ended when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts this binary with hidden arguments, and waits until it has stopped itself.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if it does not start or ends before it stops.
    pub fn start_stopped(arguments: &[String], stdout: Stdio) -> Result<Process, Error> {
        // Not current_exe(): that path may have been replaced since, this link is always the file that runs.
        let child = Command::new("/proc/self/exe")
            .args(arguments)
            .stdout(stdout)
            .spawn()
            .map_err(Error::system("starting a process"))?;
        let mut process = Process { child, ended: None };
        loop {
            match waitpid(Some(process.pid()), WaitOptions::UNTRACED) {
                Ok(Some((_, status))) if status.stopped() => return Ok(process),
                Err(rustix::io::Errno::INTR) => {}
                Ok(_) => {
                    let status = process.child.wait().ok();
                    process.ended = status;
                    let text = status
                        .map_or_else(|| "it ended at once".to_owned(), |s| format!("it ended with {s}"));
                    return Err(Error::System {
                        what: "starting a process".to_owned(),
                        source: io::Error::other(text),
                    });
                }
                Err(error) => return Err(Error::system("waiting for a process")(error)),
            }
        }
    }

    /// Finds a command and makes ready to run it.
    ///
    /// # Errors
    ///
    /// [`Error::Command`] if there is no such program.
    pub fn start_command(command: &[String], stdout: Stdio) -> Result<Process, Error> {
        let program = find_command(command)?;
        let mut arguments = vec![TRAMPOLINE.to_owned(), program.display().to_string()];
        arguments.extend_from_slice(command);
        Process::start_stopped(&arguments, stdout)
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

    /// What it writes, if it was started with a pipe.
    pub fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Its exit status, if it has ended.
    pub fn poll(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    fn ask_to_end(&mut self) {
        if self.poll().is_none() {
            let _ = kill_process(self.pid(), Signal::TERM);
            let _ = kill_process(self.pid(), Signal::CONT);
        }
    }

    /// Waits for its end, and ends it the hard way if that does not come before `deadline`.
    fn wait_until(&mut self, deadline: Instant) -> Option<ExitStatus> {
        while self.poll().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.poll().is_none() {
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
        self.ended
    }

    /// Asks it to end, and waits; ends it the hard way if it does not within `patience`.
    pub fn end(&mut self, patience: Duration) -> Option<ExitStatus> {
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

/// The file of a command, as a shell would find it.
///
/// # Errors
///
/// [`Error::Command`] if there is none.
pub fn find_command(command: &[String]) -> Result<PathBuf, Error> {
    let Some(name) = command.first() else {
        return Err(Error::Command { command: String::new(), reason: "it is empty".to_owned() });
    };
    which::which(name).map_err(|_| Error::Command {
        command: name.clone(),
        reason: "no such program was found; check its name and PATH".to_owned(),
    })
}

/// Stops this process until it is told to go on. If its parent ends meanwhile, so does this; if it ends
/// later, this is asked to end.
///
/// # Errors
///
/// The system call's.
pub fn wait_to_be_traced() -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    kill_process(getpid(), Signal::STOP)?;
    set_parent_process_death_signal(Some(Signal::TERM))?;
    Ok(())
}

/// The other side of [`Process::start_command`]: becomes the command.
pub fn trampoline(program: &str, command: &[String]) -> io::Error {
    let ready = wait_to_be_traced().and_then(|()| Ok(set_parent_process_death_signal(None)?));
    if let Err(error) = ready {
        return error;
    }
    let mut next = Command::new(program);
    if let Some((name, arguments)) = command.split_first() {
        next.arg0(name).args(arguments);
    }
    next.exec()
}
