//! Where the elements of a tap come from: a queue, or records.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use arenaq::PopError;
use arenaq_libbpf::{Receiver, RecordReceiver};

use crate::error::Error;
use crate::time::{self, now};

/// The consuming end.
pub(crate) enum Supply {
    /// Of a queue.
    Queue(Box<Receiver<[u8]>>),
    /// Of records.
    Records(Box<Records>),
}

/// The consuming end of records.
pub(crate) struct Records {
    receiver: RecordReceiver,
    /// Room for the bytes of one.
    bytes: Vec<u8>,
    is_merged: bool,
    /// For how long they are kept back, if they are merged and more may come.
    kept_back: Option<Duration>,
}

impl Records {
    /// The latest stamp that is handed over.
    fn horizon(&self) -> u64 {
        let kept_back =
            |time: Duration| now().saturating_sub(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        self.kept_back.map_or(u64::MAX, kept_back)
    }
}

impl From<Receiver<[u8]>> for Supply {
    fn from(receiver: Receiver<[u8]>) -> Supply {
        Supply::Queue(Box::new(receiver))
    }
}

impl Supply {
    /// Of records; in the order of their stamps, if they are to be kept back for some time.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if nobody knows here what time the programs have.
    pub(crate) fn of_records(receiver: RecordReceiver, lateness: Option<Duration>) -> Result<Supply, Error> {
        let is_merged = lateness.is_some();
        if is_merged && !time::is_known() {
            return Err(Error::Usage(
                "--merged: this process has a time of its own (a time namespace, or no /proc), and cannot compare it with the \
                 stamps: run it outside, or leave --merged out"
                    .to_owned(),
            ));
        }
        let receiver = if is_merged { receiver.merged() } else { receiver };
        Ok(Supply::Records(Box::new(Records { receiver, bytes: Vec::new(), is_merged, kept_back: lateness })))
    }

    /// How many came after one with a later stamp, if they are merged.
    pub(super) fn late(&self) -> Option<u64> {
        match self {
            Supply::Records(records) if records.is_merged => Some(records.receiver.late()),
            Supply::Queue(_) | Supply::Records(_) => None,
        }
    }

    /// Whether something is there that is not handed over yet.
    pub(super) fn is_kept_back(&self) -> bool {
        match self {
            Supply::Queue(_) => false,
            Supply::Records(records) => records.kept_back.is_some() && !records.receiver.is_drained(),
        }
    }

    /// No more comes: nothing is kept back.
    pub(super) fn release(&mut self) {
        if let Supply::Records(records) = self {
            records.kept_back = None;
        }
    }

    /// Hands one element over before it leaves the queue. [`PopError::Busy`] says that one is on its way.
    pub(super) fn pop_with<R>(
        &mut self,
        hand_over: impl FnOnce(&[u8]) -> R,
    ) -> Result<Result<R, PopError>, Error> {
        let records = match self {
            Supply::Queue(receiver) => return Ok(receiver.pop_with(hand_over)),
            Supply::Records(records) => records,
        };
        let horizon = records.horizon();
        let Records { receiver, bytes, .. } = &mut **records;
        let (mut hand_over, mut result) = (Some(hand_over), None);
        receiver.drain_to(horizon, 1, |record| {
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
            Supply::Records(_) => 0,
        }
    }

    pub(super) fn arm(&mut self) -> bool {
        match self {
            Supply::Queue(receiver) => receiver.arm(),
            Supply::Records(records) => records.receiver.arm(),
        }
    }

    pub(super) fn disarm(&mut self) {
        match self {
            Supply::Queue(receiver) => receiver.disarm(),
            Supply::Records(records) => records.receiver.disarm(),
        }
    }
}

impl AsFd for Supply {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Supply::Queue(receiver) => receiver.as_fd(),
            Supply::Records(records) => records.receiver.as_fd(),
        }
    }
}
