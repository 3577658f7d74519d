//! Every process that comes of this one: its children, theirs, and those whose parents have ended.

use std::collections::{HashMap, HashSet};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use procfs::process::{Process, all_processes};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, child_subreaper, getpid, pidfd_open, pidfd_send_signal,
    set_child_subreaper, wait,
};

use crate::error::Error;

/// How long it takes at most until what was killed is gone, unless the kernel holds it.
const DEATH: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(10);

/// While there is one, this process becomes the parent of a descendant whose parent has ended, as init otherwise.
#[derive(Debug)]
pub(crate) struct Adoption {
    was_on: bool,
}

impl Adoption {
    pub(crate) fn begin() -> Result<Adoption, Error> {
        let what = "becoming the parent of orphans (PR_SET_CHILD_SUBREAPER)";
        let was_on = child_subreaper().map_err(Error::system(what))?.is_some();
        set_child_subreaper(Some(getpid())).map_err(Error::system(what))?;
        Ok(Adoption { was_on })
    }
}

impl Drop for Adoption {
    fn drop(&mut self) {
        if !self.was_on {
            let _ = set_child_subreaper(None);
        }
    }
}

/// Waits for each child of this process that has ended, and tells how. Returns whether there is another.
pub(crate) fn reap(mut ended: impl FnMut(Pid, ExitStatus)) -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((child, status))) => ended(child, ExitStatus::from_raw(status.as_raw())),
            Ok(None) => return true,
            Err(Errno::INTR) => {}
            // No child; or a kernel that does not let us wait, for ever.
            Err(_) => return false,
        }
    }
}

/// The descendants that have not ended, as far as /proc shows them.
pub(crate) fn alive() -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in all_processes().into_iter().flatten().flatten() {
        let Ok(stat) = process.stat() else { continue };
        if !matches!(stat.state, 'Z' | 'X' | 'x') {
            children.entry(stat.ppid).or_default().push(process);
        }
    }
    let mut found = children.remove(&getpid().as_raw_pid()).unwrap_or_default();
    let mut next = 0;
    while let Some(parent) = found.get(next).map(Process::pid) {
        found.extend(children.remove(&parent).unwrap_or_default());
        next += 1;
    }
    found
}

/// Asks all descendants to end, those too that they start meanwhile, and waits; ends those the hard way that do not
/// within `patience`. Returns how many the kernel keeps even then.
pub(crate) fn end(patience: Duration, mut ended: impl FnMut(Pid, ExitStatus)) -> usize {
    let mut asked = HashSet::new();
    let begin = Instant::now();
    while reap(&mut ended) {
        let passed = begin.elapsed();
        for process in alive() {
            if passed >= patience {
                send(&process, Signal::KILL);
            } else if asked.insert(process.pid()) {
                send(&process, Signal::TERM);
                send(&process, Signal::CONT);
            }
        }
        if passed >= patience + DEATH {
            return alive().len();
        }
        thread::sleep(LOOK);
    }
    0
}

/// Sends a signal to a process that may end meanwhile, and to no other that gets its number.
fn send(process: &Process, signal: Signal) {
    let Some(pid) = Pid::from_raw(process.pid()) else { return };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    // `process` is a folder of /proc, which belongs to one process for ever: if that is there, so it was when its
    // number was looked up.
    if process.stat().is_ok() {
        let _ = pidfd_send_signal(&pidfd, signal);
    }
}
