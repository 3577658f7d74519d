//! The lock on a pinned folder: who holds it may consume. The kernel gives it up when the process ends, however it
//! ends.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arenaq::structures::Consumers;
use procfs::{LockType, locks, process::Process};
use rustix::fs::{FlockOperation, flock, major, minor};
use rustix::io::{Errno, retry_on_intr};

use crate::error::Error;
use crate::folder::Folder;

/// How often a lock that somebody else holds is tried.
const TRY: Duration = Duration::from_millis(10);
/// Who takes over from the dead consumers of an MPMC queue keeps the others away, and does not need long.
const TAKE_OVER: Duration = Duration::from_secs(3);

/// How long to wait for the right to consume while somebody else has it.
#[derive(Clone, Copy, Debug)]
pub struct Wait<'a> {
    /// So long at most.
    pub longest: Duration,
    /// Not longer than this is false.
    pub interrupted: &'a AtomicBool,
}

impl Wait<'static> {
    /// Not at all.
    pub fn none() -> Self {
        static NEVER: AtomicBool = AtomicBool::new(false);
        Wait { longest: Duration::ZERO, interrupted: &NEVER }
    }
}

/// A lock on the folder, held for as long as this lives.
#[derive(Debug)]
pub(super) struct Lock(OwnedFd);

/// How many may hold it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// One, and nobody who shares it.
    Alone,
    /// All who share it.
    Shared,
}

impl Lock {
    /// The lock, if it can be had now.
    pub(super) fn try_new(folder: &Folder, hold: Hold) -> Result<Option<Lock>, Error> {
        let lock = Lock(folder.reopen()?);
        Ok(lock.try_as(folder, hold)?.then_some(lock))
    }

    /// The lock with which one consumes: alone if that can be had, and else shared, if the queue has several
    /// consumers.
    pub(super) fn to_consume(
        folder: &Folder,
        consumers: Consumers,
        wait: Wait<'_>,
    ) -> Result<(Lock, Hold), Error> {
        let lock = Lock(folder.reopen()?);
        let hold = lock.wait(folder, consumers, wait, || {
            if lock.try_as(folder, Hold::Alone)? {
                return Ok(Some(Hold::Alone));
            }
            let shared = consumers == Consumers::WithSlots && lock.try_as(folder, Hold::Shared)?;
            Ok(shared.then_some(Hold::Shared))
        })?;
        Ok((lock, hold))
    }

    /// Lets others in. In between somebody else may have held it alone.
    pub(super) fn share(&self, folder: &Folder, wait: Wait<'_>) -> Result<(), Error> {
        self.wait(folder, Consumers::WithSlots, wait, || Ok(self.try_as(folder, Hold::Shared)?.then_some(())))
    }

    /// Changes how it is held, if that can be had now. If not, it is not held any more.
    pub(super) fn try_as(&self, folder: &Folder, hold: Hold) -> Result<bool, Error> {
        let operation = match hold {
            Hold::Alone => FlockOperation::NonBlockingLockExclusive,
            Hold::Shared => FlockOperation::NonBlockingLockShared,
        };
        match retry_on_intr(|| flock(&self.0, operation)) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(Error::system(format!("locking {}", folder.path().display()))(error)),
        }
    }

    /// Says that the consumer with this slot lives, for as long as the lock does: with a lock on the byte of that number,
    /// which belongs to the open file. A folder cannot be written, so it is one that several could have.
    pub(super) fn announce(&self, folder: &Folder, slot: usize) -> Result<(), Error> {
        self.byte(libc::F_OFD_SETLK, libc::F_RDLCK, slot)
            .map(|_| ())
            .map_err(Error::system(format!("locking the slot of a consumer of {}", folder.path().display())))
    }

    /// Does not say so any more.
    pub(super) fn withdraw(&self, slot: usize) {
        // What is locked can be unlocked.
        let _ = self.byte(libc::F_OFD_SETLK, libc::F_UNLCK, slot);
    }

    /// Whether nobody else says that the consumer with this slot lives.
    pub(super) fn is_dead(&self, slot: usize) -> bool {
        // It asks who keeps somebody from writing.
        let found = self.byte(libc::F_OFD_GETLK, libc::F_WRLCK, slot);
        found.is_ok_and(|kind| kind == libc::F_UNLCK)
    }

    fn byte(&self, command: libc::c_int, kind: libc::c_int, slot: usize) -> Result<libc::c_int, Errno> {
        let start = libc::off_t::try_from(slot).map_err(|_| Errno::INVAL)?;
        // A slot's number, and the constants, are small.
        let whence = libc::SEEK_SET as libc::c_short;
        let mut lock = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: whence,
            l_start: start,
            l_len: 1,
            l_pid: 0,
        };
        // SAFETY: the file is open, and the structure is one that these commands read and write.
        let done = unsafe { libc::fcntl(self.0.as_raw_fd(), command, &raw mut lock) };
        if done == -1 {
            let error = std::io::Error::last_os_error();
            return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
        }
        Ok(lock.l_type.into())
    }

    fn wait<T>(
        &self,
        folder: &Folder,
        consumers: Consumers,
        wait: Wait<'_>,
        mut attempt: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let start = Instant::now();
        let longest = match consumers {
            Consumers::WithSlots => wait.longest.max(TAKE_OVER),
            Consumers::One | Consumers::OfShards => wait.longest,
        };
        loop {
            if let Some(held) = attempt()? {
                return Ok(held);
            }
            let who = || holders(folder);
            if folder.is_gone() {
                return Err(folder
                    .refusal("it was removed (`arenaq unpin`) while this waited for the right to consume"));
            }
            if wait.interrupted.load(Ordering::Relaxed) {
                return Err(folder.refusal(format!(
                    "interrupted while this waited for the right to consume, which {} has",
                    who()
                )));
            }
            if start.elapsed() >= longest {
                return Err(Error::Held { folder: folder.path().to_owned(), consumers, holders: who() });
            }
            thread::sleep(TRY);
        }
    }
}

/// The processes that hold a lock on a folder, or wait for it.
pub(crate) fn holder_ids(folder: &Folder) -> Result<Vec<i32>, Error> {
    let status = folder.status()?;
    let device = (major(status.st_dev), minor(status.st_dev));
    let mut holders: Vec<i32> = locks()
        .unwrap_or_default()
        .iter()
        .filter(|lock| matches!(lock.lock_type, LockType::FLock))
        .filter(|lock| (lock.devmaj, lock.devmin) == device && lock.inode == status.st_ino)
        .filter_map(|lock| lock.pid)
        .collect();
    holders.sort_unstable();
    holders.dedup();
    Ok(holders)
}

fn holders(folder: &Folder) -> String {
    let Ok(holders) = holder_ids(folder) else { return "somebody".to_owned() };
    if holders.is_empty() {
        return "a process that /proc/locks does not show (of another PID namespace, or there is no /proc)"
            .to_owned();
    }
    let named = holders.into_iter().map(|id| {
        let name = Process::new(id).and_then(|process| process.stat()).map(|stat| stat.comm);
        name.map_or_else(|_| format!("process {id}"), |name| format!("process {id} ({name})"))
    });
    named.collect::<Vec<_>>().join(", ")
}
