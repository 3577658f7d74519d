//! Which tasks are traced: the marks in the programs' map `traced`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use libbpf_rs::{ErrorKind, MapCore, MapFlags};
use procfs::ProcError;
use procfs::process::Process;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::Error;

/// How often the list of threads is read at most. One more reading is needed only if threads start meanwhile that
/// nobody marks, which happens only if `follow_fork` is not attached.
const READINGS: u32 = 64;

/// Marks every thread of the process to which `task` belongs, and returns that process's id.
///
/// Where `follow_fork` is attached no thread is missed. It marks what a marked process starts, so after the
/// leader's mark new threads come with one; those that were there before are in the list, which is read until it
/// has no thread without a mark.
pub(crate) fn trace(traced: &impl MapCore, task: u32) -> Result<u32, Error> {
    let gone = || Error::system(format!("finding process {task}"))(Errno::SRCH);
    let id = i32::try_from(task).ok().filter(|&id| id > 0);
    let id = id.ok_or_else(|| Error::Usage(format!("{task} is no process id")))?;
    open(id)?.ok_or_else(gone)?;
    let unreadable = |error: ProcError| Error::System {
        what: format!("finding the threads of process {task}"),
        source: io::Error::other(format!("{error}; it needs a /proc that shows the process")),
    };
    let leader = Process::new(id).and_then(|task| task.status()).map_err(unreadable)?.tgid;
    let process = Process::new(leader).map_err(unreadable)?;

    if !mark(traced, leader)? {
        return Err(gone());
    }
    for _ in 0..READINGS {
        let mut new = 0;
        // A thread that cannot be read has ended.
        for thread in process.tasks().map_err(unreadable)?.flatten() {
            new += u32::from(!is_marked(traced, thread.tid)? && mark(traced, thread.tid)?);
        }
        if new == 0 {
            break;
        }
    }
    Ok(leader.unsigned_abs())
}

/// How often a mark is tried again that met another one. Whoever wins is done, so few are enough.
const ATTEMPTS: u32 = 100;

/// Marks one thread. Returns whether it was there to be marked.
fn mark(traced: &impl MapCore, thread: i32) -> Result<bool, Error> {
    let Some(pidfd) = open(thread)? else { return Ok(false) };
    let mut attempts = 0;
    loop {
        match traced.update(&key(&pidfd), &1u32.to_ne_bytes(), MapFlags::ANY) {
            Ok(()) => return Ok(true),
            Err(_) if open(thread)?.is_none() => return Ok(false),
            // Somebody else gives the same thread its first storage at this moment.
            Err(error) if error.kind() == ErrorKind::WouldBlock && attempts < ATTEMPTS => attempts += 1,
            Err(error) => return Err(Error::bpf(format!("marking thread {thread} as traced"))(error)),
        }
    }
}

/// Whether a thread has a mark. One that has ended needs none.
fn is_marked(traced: &impl MapCore, thread: i32) -> Result<bool, Error> {
    let Some(pidfd) = open(thread)? else { return Ok(true) };
    match traced.lookup(&key(&pidfd), MapFlags::ANY) {
        Ok(value) => Ok(value.is_some()),
        Err(_) if open(thread)?.is_none() => Ok(true),
        Err(error) => Err(Error::bpf(format!("asking whether thread {thread} is traced"))(error)),
    }
}

/// A thread's file descriptor, by which the map knows it, if the thread is there.
fn open(thread: i32) -> Result<Option<OwnedFd>, Error> {
    // Of Linux 6.9, which is older than arenas with atomics.
    let any_thread = PidfdFlags::from_bits_retain(libc::PIDFD_THREAD);
    let Some(thread) = Pid::from_raw(thread) else { return Ok(None) };
    match pidfd_open(thread, any_thread) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(Errno::SRCH) => Ok(None),
        Err(error) => Err(Error::system(format!("opening thread {}", thread.as_raw_pid()))(error)),
    }
}

fn key(pidfd: &OwnedFd) -> [u8; 4] {
    pidfd.as_fd().as_raw_fd().to_ne_bytes()
}
