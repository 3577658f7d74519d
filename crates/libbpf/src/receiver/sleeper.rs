//! How a consumer sleeps.

use std::time::Duration;

use arenaq::eventcount::{EventCount, Ticket};
use arenaq::platform::Native;

use super::doorbell::Doorbell;
use super::end::Watched;
use crate::error::Error;

/// How long a sleeper sleeps at most before it looks by itself, unless it is told otherwise.
pub(crate) const SLICE: Duration = Duration::from_millis(50);
/// The same if no program can ring.
const UNRUNG: Duration = Duration::from_millis(10);
/// How long to sleep at most while another consumer, which may be dead, holds a cell that producers need.
const GLANCE: Duration = Duration::from_millis(1);

/// What ends the sleep of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// A program that calls `arenaq_notify()` after its push, or one of whose pushes is the n-th that
    /// `arenaq_notify_every()` counts. After so long the receiver looks by itself, so no element lies longer in the queue
    /// than that: 50 ms, unless something else is said.
    Notified {
        /// So long it sleeps at most.
        at_most: Duration,
    },
    /// Nothing but the time: programs ring for nobody then, and what has come is handed over all at once.
    After(Duration),
}

impl Default for Wake {
    fn default() -> Wake {
        Wake::Notified { at_most: SLICE }
    }
}

/// What a receiver sleeps with.
#[derive(Debug)]
pub(crate) struct Sleeper {
    events: Option<&'static EventCount<Native>>,
    doorbell: Doorbell,
    ticket: Option<Ticket>,
    pub(super) wake: Wake,
}

impl Sleeper {
    /// `events` stay where they are for as long as this lives.
    pub(super) fn new(events: Option<&'static EventCount<Native>>, doorbell: Doorbell) -> Sleeper {
        Sleeper { events, doorbell, ticket: None, wake: Wake::default() }
    }

    pub(super) fn doorbell(&self) -> &Doorbell {
        &self.doorbell
    }

    /// Those who ring, if somebody does and is to.
    fn ringers(&self) -> Option<&'static EventCount<Native>> {
        self.events.filter(|_| self.doorbell.rings() && matches!(self.wake, Wake::Notified { .. }))
    }

    /// How long to sleep at most.
    fn longest(&self, end: &impl Watched) -> Duration {
        let longest = match (self.wake, self.ringers()) {
            (Wake::Notified { at_most }, Some(_)) => at_most,
            (Wake::Notified { at_most }, None) => at_most.min(UNRUNG),
            (Wake::After(time), _) => time,
        };
        // What holds up the producers keeps them from ringing too.
        if end.is_held_up() { longest.min(GLANCE) } else { longest }
    }

    /// Announces a sleep. If it is false, an element is there, or on its way.
    fn announce(&mut self, end: &impl Watched) -> bool {
        self.doorbell.clear();
        let Some(events) = self.ringers() else { return end.may_sleep() };
        self.ticket = self.ticket.take().filter(|ticket| !events.is_notified(ticket));
        if self.ticket.is_none() {
            self.ticket = events.prepare();
        }
        // Announced, then looked at: a push that this does not see sees the announcement.
        let asleep = self.ticket.is_some() && end.may_sleep();
        if !asleep {
            self.withdraw();
        }
        asleep
    }

    fn withdraw(&mut self) {
        if let (Some(ticket), Some(events)) = (self.ticket.take(), self.events) {
            events.cancel(ticket);
        }
    }

    /// Blocks until a producer rings, or for `longest`, if the queue is empty.
    pub(super) fn sleep(&mut self, end: &impl Watched, longest: Duration) -> Result<(), Error> {
        if self.announce(end) {
            let slept = self.doorbell.wait(longest.min(self.longest(end)));
            self.withdraw();
            return slept;
        }
        // An element is on its way: its producer is in the middle of a push.
        std::thread::yield_now();
        Ok(())
    }

    /// Lets the file descriptor say when to go on.
    pub(super) fn arm(&mut self, end: &impl Watched) -> bool {
        if !self.announce(end) {
            return false;
        }
        self.doorbell.set_timer(self.longest(end));
        true
    }

    pub(super) fn disarm(&mut self) {
        self.doorbell.stop_timer();
        self.withdraw();
    }
}
