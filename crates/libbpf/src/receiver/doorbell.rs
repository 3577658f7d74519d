//! What a consumer sleeps on: a ring buffer of which only that it is not empty matters.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use libbpf_rs::{MapCore, RingBuffer, RingBufferBuilder};

use crate::error::Error;

/// One reader of the doorbell. Programs ring it for those who have said that they sleep
/// ([`arenaq::eventcount`]), and for all of them at once.
pub struct Doorbell {
    ring: RingBuffer<'static>,
}

impl Doorbell {
    /// Opens the ring buffer.
    ///
    /// # Errors
    ///
    /// [`Error::Bpf`] if it cannot be mapped.
    pub fn new(map: &dyn MapCore) -> Result<Doorbell, Error> {
        let mut builder = RingBufferBuilder::new();
        builder.add(map, |_| 0).map_err(Error::bpf("mapping the doorbell"))?;
        let ring = builder.build().map_err(Error::bpf("mapping the doorbell"))?;
        Ok(Doorbell { ring })
    }

    /// Forgets what rang before. To be called before the sleep is announced: what rings after that counts.
    ///
    /// Another reader that was woken by the same ring may miss it then, and looks again when its [`SLICE`] is over.
    pub(crate) fn clear(&self) {
        // The number of records, or an error that the next wait would report.
        let _ = self.ring.consume_raw();
    }

    /// Blocks until it rings, for [`SLICE`] or `longest`.
    pub(crate) fn wait(&self, longest: Duration) -> Result<(), Error> {
        let timeout = rustix::event::Timespec::try_from(longest.min(SLICE)).unwrap_or_default();
        let mut bells = [rustix::event::PollFd::new(self, rustix::event::PollFlags::IN)];
        match rustix::event::poll(&mut bells, Some(&timeout)) {
            // A signal may be what the caller waits for.
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Error::system("waiting for the doorbell")(error)),
        }
    }
}

/// How long a sleeper sleeps at most before it looks whether it should go on: a ring that another sleeper has
/// answered, the end of a run, and an interruption all wait so long.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the epoll instance is the ring buffer's, which lives as long as `self` and keeps it open.
        unsafe { BorrowedFd::borrow_raw(self.ring.epoll_fd()) }
    }
}

impl std::fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doorbell").field("epoll", &self.ring.epoll_fd()).finish()
    }
}
