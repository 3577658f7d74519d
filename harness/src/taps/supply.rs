//! Where the elements of a tap come from: a queue, or records.

use std::os::fd::{AsFd, BorrowedFd};

use arenaq::PopError;
use arenaq_libbpf::{Receiver, RecordReceiver};

use crate::error::Error;

/// The consuming end.
pub(crate) enum Supply {
    /// Of a queue.
    Queue(Box<Receiver<[u8]>>),
    /// Of records, and room for the bytes of one.
    Records(Box<RecordReceiver>, Vec<u8>),
}

impl From<Receiver<[u8]>> for Supply {
    fn from(receiver: Receiver<[u8]>) -> Supply {
        Supply::Queue(Box::new(receiver))
    }
}

impl From<RecordReceiver> for Supply {
    fn from(receiver: RecordReceiver) -> Supply {
        Supply::Records(Box::new(receiver), Vec::new())
    }
}

impl Supply {
    /// Hands one element over before it leaves the queue. [`PopError::Busy`] says that one is on its way.
    pub(super) fn pop_with<R>(
        &mut self,
        hand_over: impl FnOnce(&[u8]) -> R,
    ) -> Result<Result<R, PopError>, Error> {
        let (receiver, bytes) = match self {
            Supply::Queue(receiver) => return Ok(receiver.pop_with(hand_over)),
            Supply::Records(receiver, bytes) => (receiver, bytes),
        };
        let (mut hand_over, mut result) = (Some(hand_over), None);
        receiver.drain(1, |record| {
            bytes.clear();
            record.copy_to(bytes);
            result = hand_over.take().map(|hand_over| hand_over(bytes));
        })?;
        Ok(result.ok_or_else(|| if receiver.is_quiet() { PopError::Empty } else { PopError::Busy }))
    }

    /// Hands over what the consumers of a pinned queue have left that died: one element at most, and returns how many.
    pub(super) fn take_over(&mut self, hand_over: impl FnMut(&[u8])) -> u64 {
        match self {
            Supply::Queue(receiver) => receiver.take_over(1, hand_over),
            // Nobody takes records out before they are handed over.
            Supply::Records(..) => 0,
        }
    }

    pub(super) fn arm(&mut self) -> bool {
        match self {
            Supply::Queue(receiver) => receiver.arm(),
            Supply::Records(receiver, _) => receiver.arm(),
        }
    }

    pub(super) fn disarm(&mut self) {
        match self {
            Supply::Queue(receiver) => receiver.disarm(),
            Supply::Records(receiver, _) => receiver.disarm(),
        }
    }
}

impl AsFd for Supply {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Supply::Queue(receiver) => receiver.as_fd(),
            Supply::Records(receiver, _) => receiver.as_fd(),
        }
    }
}
