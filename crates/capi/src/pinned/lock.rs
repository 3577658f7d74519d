//! The lock on a pinned folder, as consumers in Rust hold it: who holds it may consume, and who consumes from an MPMC queue says
//! with a lock on the byte of its slot's number that it lives. The kernel gives all of it up when the process ends, however it ends.

use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use procfs::process::Process;
use procfs::{LockType, locks};
use queues::Status;
use queues::structures::Consumers;
use rustix::fs::{FlockOperation, flock, major, minor};
use rustix::io::{Errno, retry_on_intr};

use super::folder::Folder;
use crate::error::Failure;

/// How often a lock that somebody else holds is tried.
const TRY: Duration = Duration::from_millis(10);
/// Who takes over from the dead consumers of an MPMC queue keeps the others away, and does not need long.
const TAKE_OVER: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Lock(OwnedFd);

impl Lock {
    /// The lock with which one consumes, and whether it is held alone: it is if that can be had. It is shared if not, if the queue has
    /// several consumers.
    pub(super) fn to_consume(folder: &Folder, consumers: Consumers) -> Result<(Lock, bool), Failure> {
        let lock = Lock(folder.reopen()?);
        let start = Instant::now();
        loop {
            if lock.try_as(folder, FlockOperation::NonBlockingLockExclusive)? {
                return Ok((lock, true));
            }
            if consumers == Consumers::WithSlots
                && lock.try_as(folder, FlockOperation::NonBlockingLockShared)?
            {
                return Ok((lock, false));
            }
            if folder.is_gone() {
                return Err(folder.refusal("it was removed (`arenaq unpin`)"));
            }
            if consumers != Consumers::WithSlots || start.elapsed() >= TAKE_OVER {
                return Err(Failure::new(
                    Status::Busy,
                    format_args!(
                        "{}: {} consumes from it, or keeps others away: wait for its end, or end it",
                        folder.path().display(),
                        holders(folder)
                    ),
                ));
            }
            thread::sleep(TRY);
        }
    }

    /// Lets others in.
    pub(super) fn share(&self, folder: &Folder) -> Result<(), Failure> {
        let start = Instant::now();
        // In between somebody else may have held it alone.
        while !self.try_as(folder, FlockOperation::NonBlockingLockShared)? {
            if start.elapsed() >= TAKE_OVER {
                return Err(Failure::new(
                    Status::Busy,
                    format_args!("{}: {} keeps consumers away", folder.path().display(), holders(folder)),
                ));
            }
            thread::sleep(TRY);
        }
        Ok(())
    }

    fn try_as(&self, folder: &Folder, operation: FlockOperation) -> Result<bool, Failure> {
        match retry_on_intr(|| flock(&self.0, operation)) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(folder.refusal(format_args!("locking it: {error}"))),
        }
    }

    /// Says that the consumer with this slot lives, for as long as the lock does.
    pub(super) fn announce(&self, folder: &Folder, slot: usize) -> Result<(), Failure> {
        let locked = self.byte(libc::F_OFD_SETLK, libc::F_RDLCK, slot);
        locked.map(|_| ()).map_err(|error| folder.refusal(format_args!("locking a slot: {error}")))
    }

    /// Does not say so any more.
    pub(super) fn withdraw(&self, slot: usize) {
        // What is locked can be unlocked.
        let _ = self.byte(libc::F_OFD_SETLK, libc::F_UNLCK, slot);
    }

    /// Whether nobody else says that the consumer with this slot lives.
    pub(super) fn is_dead(&self, slot: usize) -> bool {
        // It asks who keeps somebody from writing.
        self.byte(libc::F_OFD_GETLK, libc::F_WRLCK, slot).is_ok_and(|kind| kind == libc::F_UNLCK)
    }

    fn byte(
        &self,
        command: libc::c_int,
        kind: libc::c_int,
        slot: usize,
    ) -> Result<libc::c_int, std::io::Error> {
        // The constants and a slot's number are small.
        let mut lock = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: slot as libc::off_t,
            l_len: 1,
            l_pid: 0,
        };
        // SAFETY: the file is open, and the structure is one that these commands read and write.
        if unsafe { libc::fcntl(self.0.as_raw_fd(), command, &raw mut lock) } == -1 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(lock.l_type.into())
    }
}

/// The processes that hold the lock, or wait for it.
fn holders(folder: &Folder) -> String {
    let Some((device, inode)) = folder.identity() else { return "somebody".to_owned() };
    let device = (major(device), minor(device));
    let mut ids: Vec<i32> = locks()
        .unwrap_or_default()
        .iter()
        .filter(|lock| matches!(lock.lock_type, LockType::FLock))
        .filter(|lock| (lock.devmaj, lock.devmin) == device && lock.inode == inode)
        .filter_map(|lock| lock.pid)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return "a process that /proc/locks does not show".to_owned();
    }
    let named = ids.into_iter().map(|id| {
        let name = Process::new(id).and_then(|process| process.stat()).map(|stat| stat.comm);
        name.map_or_else(|_| format!("process {id}"), |name| format!("process {id} ({name})"))
    });
    named.collect::<Vec<_>>().join(", ")
}
