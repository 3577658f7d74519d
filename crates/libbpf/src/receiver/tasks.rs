//! Receivers in tokio's tasks.

use std::os::fd::AsFd;

use arenaq::PopError;
use arenaq::payload::Element;
use arenaq::platform::Native;
use arenaq::records::Record;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Receiver;
use super::carried::Carried;
use super::records::{BATCH, RecordReceiver};
use crate::error::Error;

impl<K> RecordReceiver<K> {
    /// Hands over what is there, and waits for the first record if there is none, in a task. Returns how many records there were.
    /// If the future is dropped, nothing is lost.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait), if the kernel does not let this task wait.
    ///
    /// # Panics
    ///
    /// As [`drain`](Self::drain), and outside of a tokio runtime, or in one without I/O (`enable_io`).
    pub async fn wait_async(&mut self, mut hand_over: impl FnMut(Record<'_, Native>)) -> Result<u64, Error> {
        loop {
            // Other tasks have their turn even if there is always one more record.
            tokio::task::consume_budget().await;
            let drained = self.drain(BATCH, &mut hand_over)?;
            if drained > 0 {
                return Ok(drained);
            }
            wait_for(self).await?;
        }
    }
}

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
            wait_for(self).await?;
        }
    }
}

/// What can announce a sleep.
trait Sleeps: AsFd {
    fn arm(&mut self) -> bool;
    fn disarm(&mut self);
}

impl<T: Carried + ?Sized, K> Sleeps for Receiver<T, K> {
    fn arm(&mut self) -> bool {
        Receiver::arm(self)
    }

    fn disarm(&mut self) {
        Receiver::disarm(self);
    }
}

impl<K> Sleeps for RecordReceiver<K> {
    fn arm(&mut self) -> bool {
        RecordReceiver::arm(self)
    }

    fn disarm(&mut self) {
        RecordReceiver::disarm(self);
    }
}

/// Waits until it is time to look again.
async fn wait_for(receiver: &mut impl Sleeps) -> Result<(), Error> {
    match Armed::new(receiver) {
        Some(mut armed) => armed.readable().await,
        // One is on its way: its producer is in the middle of a push.
        None => {
            tokio::task::yield_now().await;
            Ok(())
        }
    }
}

/// A receiver that has announced a sleep, and withdraws it, also if the task goes away in it.
struct Armed<'r, R: Sleeps>(&'r mut R);

impl<'r, R: Sleeps> Armed<'r, R> {
    fn new(receiver: &'r mut R) -> Option<Self> {
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

impl<R: Sleeps> Drop for Armed<'_, R> {
    fn drop(&mut self) {
        self.0.disarm();
    }
}
