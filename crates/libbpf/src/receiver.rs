//! A consumer that can sleep.

pub(crate) mod doorbell;
pub(crate) mod lock;
pub(crate) mod right;
pub(crate) mod source;
pub(crate) mod tally;

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use arenaq::eventcount::{EventCount, Ticket};
use arenaq::platform::Native;
use arenaq::{KeyValue, PopError};
use crossbeam_utils::Backoff;

use self::doorbell::Doorbell;
use self::right::Right;
use self::source::Source;
use self::tally::Teller;
use crate::error::Error;

/// How long to sleep at most while another consumer, which may be dead, holds a cell that producers need.
const GLANCE: Duration = Duration::from_millis(1);

/// The consuming end of a queue whose producers wake it. While nothing comes it uses no CPU, and producers pay
/// one load for that.
///
/// In an event loop, such as epoll's or tokio's, [`AsFd`] gives what becomes readable: [`arm`](Self::arm) first,
/// and wait only if it is true; [`disarm`](Self::disarm) when the wait has ended.
#[derive(Debug)]
pub struct Receiver<'a> {
    source: Source<'a>,
    events: &'a EventCount<Native>,
    doorbell: Doorbell,
    ticket: Option<Ticket>,
    // Behind the source: the right to consume is given up last.
    teller: Option<Teller<'a>>,
    right: Option<Right<'a>>,
}

impl<'a> Receiver<'a> {
    /// A consumer that nobody counts. `events` and `doorbell` are what its queue's producers look at and ring.
    pub fn new(source: Source<'a>, events: &'a EventCount<Native>, doorbell: Doorbell) -> Receiver<'a> {
        Receiver { source, events, doorbell, ticket: None, teller: None, right: None }
    }

    /// With what others see of this consumer.
    pub(crate) fn counted(mut self, teller: Teller<'a>, right: Right<'a>) -> Receiver<'a> {
        (self.teller, self.right) = (Some(teller), Some(right));
        self
    }

    /// What else belongs to this consumer, if it is counted.
    pub(crate) fn parts(&mut self) -> (&mut Source<'a>, Option<&mut Teller<'a>>, Option<&Right<'a>>) {
        (&mut self.source, self.teller.as_mut(), self.right.as_ref())
    }

    /// Dequeues the oldest element, if there is one.
    ///
    /// # Errors
    ///
    /// As [`arenaq::mpsc::Consumer::pop`] and [`arenaq::mpmc::Ring::pop`].
    pub fn try_recv(&mut self) -> Result<KeyValue, PopError> {
        self.pop_with(|event| event)
    }

    /// Waits for an element.
    ///
    /// # Errors
    ///
    /// [`Error::Queue`] if the queue is damaged, [`Error::System`] if the kernel does not let this thread wait.
    pub fn recv(&mut self) -> Result<KeyValue, Error> {
        loop {
            if let Some(event) = self.recv_timeout(Duration::MAX)? {
                return Ok(event);
            }
        }
    }

    /// Waits for an element, and not longer than `timeout`.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<KeyValue>, Error> {
        let start = Instant::now();
        let backoff = Backoff::new();
        loop {
            match self.try_recv() {
                Ok(event) => return Ok(Some(event)),
                Err(PopError::Empty | PopError::Busy | PopError::Contended) => {}
                Err(error @ (PopError::Corrupt | PopError::Invalid)) => return Err(Error::Queue(error)),
            }
            let Some(left) = timeout.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else {
                return Ok(None);
            };
            if !backoff.is_completed() {
                backoff.snooze();
            } else {
                self.sleep(left)?;
            }
        }
    }

    /// Dequeues the oldest element, which leaves the queue after `hand_over` has returned; see
    /// [`arenaq::recovery`].
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv).
    pub fn pop_with<R>(&mut self, hand_over: impl FnOnce(KeyValue) -> R) -> Result<R, PopError> {
        let Receiver { source, teller, .. } = self;
        source.pop_with(|event| {
            let result = hand_over(event);
            if let Some(teller) = teller {
                teller.count(event);
            }
            result
        })
    }

    /// Dequeues up to `limit` elements; see [`arenaq::mpsc::Consumer::drain`] and [`arenaq::mpmc::Ring::drain`].
    ///
    /// A consumer whose place another may take, as that of a queue which is pinned, dequeues them one by one: its
    /// death hands one element over twice, and not a batch.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn drain(&mut self, limit: u64, mut hand_over: impl FnMut(KeyValue)) -> Result<u64, PopError> {
        if self.teller.is_none() {
            return self.source.drain(limit, hand_over);
        }
        let mut drained = 0;
        while drained < limit {
            match self.pop_with(&mut hand_over) {
                Ok(()) => drained += 1,
                Err(error) if drained == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(drained)
    }

    /// Blocks until a producer rings, or for a while, if the queue is empty.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if the kernel does not let this thread wait.
    pub fn sleep(&mut self, longest: Duration) -> Result<(), Error> {
        if self.arm() {
            // What holds up the producers keeps them from ringing too.
            let longest = if self.source.is_held_up() { longest.min(GLANCE) } else { longest };
            let slept = self.doorbell.wait(longest);
            self.disarm();
            return slept;
        }
        // An element is on its way: its producer is in the middle of a push.
        std::thread::yield_now();
        Ok(())
    }

    /// Announces a sleep. If it is true, the queue is empty, and the file descriptor becomes readable with the
    /// next push. If it is false, an element is there, or on its way: try again.
    pub fn arm(&mut self) -> bool {
        self.doorbell.clear();
        self.ticket = self.ticket.take().filter(|ticket| !self.events.is_notified(ticket));
        if self.ticket.is_none() {
            self.ticket = self.events.prepare();
        }
        // Announced, then looked at: a push that this does not see sees the announcement.
        let asleep = self.ticket.is_some() && self.source.may_sleep();
        if !asleep {
            self.disarm();
        }
        asleep
    }

    /// Withdraws the announcement.
    pub fn disarm(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.events.cancel(ticket);
        }
    }
}

impl AsFd for Receiver<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.doorbell.as_fd()
    }
}

impl Drop for Receiver<'_> {
    fn drop(&mut self) {
        self.disarm();
    }
}
