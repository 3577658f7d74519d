//! A child process that ends in time, with everything that it started.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::Error;
use crate::interrupt::Interrupt;

/// How often is looked whether a child has ended: at first often, as most models take milliseconds.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(20);

/// How a child ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    Exited(ExitStatus),
    TimedOut,
}

/// A child that leads a process group, which ends with it.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // Not yet waited for, so the number is still this child's; a group that has ended is no error.
        if let Some(leader) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(leader, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

/// Runs a command to its end, or for so long.
///
/// # Errors
///
/// If it cannot be started, or [`Error::Interrupted`].
pub(crate) fn run(
    mut command: Command,
    limit: Option<Duration>,
    interrupt: &Interrupt,
) -> Result<Ending, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let cannot = || Error::system(format!("cannot run {program}"));
    let start = Instant::now();
    // A group of its own: Ctrl-C in a terminal reaches this program alone, which then ends the group.
    let mut group = Group(command.process_group(0).spawn().map_err(cannot())?);
    let mut pause = FIRST_LOOK;
    loop {
        if let Some(status) = group.0.try_wait().map_err(cannot())? {
            return Ok(Ending::Exited(status));
        }
        if interrupt.is_set() {
            return Err(Error::Interrupted);
        }
        if limit.is_some_and(|limit| start.elapsed() >= limit) {
            return Ok(Ending::TimedOut);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LAST_LOOK);
    }
}
