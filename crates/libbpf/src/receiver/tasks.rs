//! Receivers in tokio's tasks.

use std::os::fd::AsFd;

use arenaq::PopError;
use arenaq::payload::Element;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Receiver;
use super::carried::Carried;
use crate::error::Error;

impl<T: Element, K> Receiver<T, K> {
    /// Waits for an element, in a task. If the future is dropped, nothing is lost.
    ///
    /// What a consumer of a pinned MPMC queue has left that died comes as well, as in [`recv`](Self::recv).
    ///
    /// # Errors
    ///
    /// [`Error::Queue`] if the queue is damaged, [`Error::System`] if the kernel does not let this task wait.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, or in one without I/O (`enable_io`).
    pub async fn recv_async(&mut self) -> Result<T, Error> {
        loop {
            // Other tasks have their turn even if there is always one more element.
            tokio::task::consume_budget().await;
            match self.try_recv() {
                Ok(element) => return Ok(element),
                Err(PopError::Empty | PopError::Busy | PopError::Contended) => {}
                Err(error @ (PopError::Corrupt | PopError::Invalid)) => return Err(Error::Queue(error)),
            }
            if let Some(element) = self.take_over_one(|element| element) {
                return Ok(element);
            }
            match Armed::new(self) {
                Some(mut armed) => armed.readable().await?,
                // An element is on its way: its producer is in the middle of a push.
                None => tokio::task::yield_now().await,
            }
        }
    }
}

/// A receiver that has announced a sleep, and withdraws it, also if the task goes away in it.
struct Armed<'r, T: Carried + ?Sized, K>(&'r mut Receiver<T, K>);

impl<'r, T: Carried + ?Sized, K> Armed<'r, T, K> {
    fn new(receiver: &'r mut Receiver<T, K>) -> Option<Self> {
        receiver.arm().then(|| Armed(receiver))
    }

    // Exclusively, for a receiver is nothing that several threads may look at.
    async fn readable(&mut self) -> Result<(), Error> {
        let failed = || Error::system::<std::io::Error>("waiting for the doorbell");
        // Each time anew: the receiver may be in another runtime than the last time.
        //
        // SAFETY: the descriptor is the receiver's, which is borrowed for longer than this lives and has it open.
        let bell = unsafe { AsyncFd::register_with_interest(self.0.as_fd(), Interest::READABLE) };
        let bell = bell.map_err(|error| failed()(error.into()))?;
        bell.readable().await.map_err(failed())?.retain_ready();
        Ok(())
    }
}

impl<T: Carried + ?Sized, K> Drop for Armed<'_, T, K> {
    fn drop(&mut self) {
        self.0.disarm();
    }
}
