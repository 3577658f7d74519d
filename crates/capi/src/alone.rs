//! A consuming end that one thread at a time uses, and what it sleeps on.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

use queues::Status;
use queues::eventcount::{EventCount, Ticket};
use queues::platform::Native;

/// An end, of which two threads at once are one too many: the second one is refused.
#[derive(Debug)]
pub(crate) struct Alone<E> {
    end: UnsafeCell<E>,
    is_used: AtomicBool,
    /// What it sleeps on, and that it has said so.
    events: Option<&'static EventCount<Native>>,
    ticket: UnsafeCell<Option<Ticket>>,
}

/// What can sleep until there is something to consume.
pub(crate) trait MaySleep {
    /// Whether nothing is there to be handed over.
    fn may_sleep(&self) -> bool;
}

impl<E: MaySleep> Alone<E> {
    /// `events` stay where they are for as long as this lives.
    pub(crate) fn new(end: E, events: Option<&'static EventCount<Native>>) -> Alone<E> {
        Alone {
            end: UnsafeCell::new(end),
            is_used: AtomicBool::new(false),
            events,
            ticket: UnsafeCell::default(),
        }
    }

    /// Runs an operation that one thread at a time may run.
    pub(crate) fn run<R>(&self, operation: impl FnOnce(&mut E) -> R) -> Option<R> {
        self.run_with_ticket(|end, _| operation(end))
    }

    fn run_with_ticket<R>(&self, operation: impl FnOnce(&mut E, &mut Option<Ticket>) -> R) -> Option<R> {
        if self.is_used.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: the flag is ours.
        let result = unsafe { operation(&mut *self.end.get(), &mut *self.ticket.get()) };
        self.is_used.store(false, Ordering::Release);
        Some(result)
    }

    fn withdraw(&self, ticket: &mut Option<Ticket>) {
        if let (Some(ticket), Some(events)) = (ticket.take(), self.events) {
            events.cancel(ticket);
        }
    }

    /// Announces a sleep, or is busy.
    pub(crate) fn sleep(&self) -> Status {
        let slept = self.run_with_ticket(|end, ticket| {
            if let Some(events) = self.events {
                *ticket = ticket.take().filter(|ticket| !events.is_notified(ticket));
                if ticket.is_none() {
                    *ticket = events.prepare();
                }
            }
            // Announced, then looked at: a push that this does not see sees the announcement.
            if end.may_sleep() {
                return Status::Success;
            }
            self.withdraw(ticket);
            Status::Busy
        });
        slept.unwrap_or(Status::Invalid)
    }

    /// After the sleep.
    pub(crate) fn wake(&self) {
        self.run_with_ticket(|_, ticket| self.withdraw(ticket));
    }
}
