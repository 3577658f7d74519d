//! What a process that arenaq has started says to it: a pipe that nobody else sees, and that an exec closes.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// The end that arenaq reads.
#[derive(Debug)]
pub(crate) struct Reports(PipeReader);

/// The other end, until the process is started.
#[derive(Debug)]
pub(crate) struct Reporter(PipeWriter);

/// Makes a pipe.
pub(crate) fn pipe() -> io::Result<(Reports, Reporter)> {
    let (reader, writer) = io::pipe()?;
    Ok((Reports(reader), Reporter(writer)))
}

impl Reporter {
    /// What tells the process which descriptor is its end.
    pub(crate) fn argument(&self) -> OsString {
        self.0.as_raw_fd().to_string().into()
    }

    /// Lets the process that `command` starts have the end. It must be started before this is dropped.
    pub(crate) fn hand_to(&self, command: &mut Command) {
        let number = self.0.as_raw_fd();
        let inherit = move || {
            // SAFETY: a copy of the descriptor is open in the child, as it is here.
            let end = unsafe { BorrowedFd::borrow_raw(number) };
            Ok(fcntl_setfd(end, FdFlags::empty())?)
        };
        // SAFETY: it makes one system call, and allocates nothing.
        unsafe { command.pre_exec(inherit) };
    }
}

impl Reports {
    /// Everything that the process has said. It must have ended, or become another program.
    pub(crate) fn read(&mut self) -> String {
        let mut said = Vec::new();
        let _ = self.0.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// The end of the process that reports.
#[derive(Debug)]
pub struct Report(File);

impl Report {
    /// The descriptor that was handed down. Programs that this process starts, or becomes, do not have it.
    ///
    /// # Errors
    ///
    /// If there is no such descriptor.
    pub fn inherited(number: RawFd) -> io::Result<Report> {
        if number <= libc::STDERR_FILENO {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        // SAFETY: only for the two calls that follow, of which the first fails if it is not open.
        let end = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl_getfd(end)?;
        fcntl_setfd(end, FdFlags::CLOEXEC)?;
        // SAFETY: it is open, and this process has just begun: nothing in it has opened a file before.
        Ok(Report(File::from(unsafe { OwnedFd::from_raw_fd(number) })))
    }

    /// Whether the one who has started this process is there: the pipe has a reader.
    ///
    /// # Errors
    ///
    /// The system call's.
    pub(crate) fn is_heard(&self) -> io::Result<bool> {
        let mut ends = [PollFd::new(&self.0, PollFlags::empty())];
        poll(&mut ends, Some(&Timespec::default()))?;
        Ok(!ends[0].revents().contains(PollFlags::ERR))
    }

    /// Says something. Nobody to hear it is no error of ours.
    pub fn say(&mut self, text: &str) {
        let _ = self.0.write_all(text.as_bytes());
    }
}
