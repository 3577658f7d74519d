//! The event count: how a consumer sleeps, and a producer knows that it must be woken.
//!
//! An *eventcount* (D. P. Reed, R. K. Kanodia, *Synchronization with eventcounts and sequencers*, CACM 22 (2),
//! 1979; with tickets as in D. Vyukov's and folly's) separates the decision to sleep from the sleep. What a
//! sleeper blocks on is not here: that is the platform's business, such as an epoll-able ring buffer, an
//! eventfd or a futex, the *doorbell*.
//!
//! ```text
//! consumer                                  producer
//!   ticket = prepare()                        push
//!   if the queue is empty:                    if must_notify():
//!       until is_notified(ticket):                ring the doorbell
//!           block on the doorbell
//!   else: cancel(ticket)
//! ```
//!
//! # No wakeup is lost
//!
//! Each side changes one word and then reads the other's: the consumer announces that it sleeps and reads
//! the queue, the producer changes the queue and reads the announcement. Either may read an old value, but not
//! both: between its read-modify-write and its load each has a fence ([`Platform::fence_after_rmw`]), the fences
//! have one order, and the load behind the second sees what the first thread changed before the first. So
//! either the consumer sees the push and does not sleep, or the producer sees the announcement and rings.
//!
//! That holds for what a push changes with a *read-modify-write*, before which nothing says that the element
//! is there and behind which it may not be published yet. By that, and by nothing else, the consumer
//! decides:
//!
//! | queue | the read-modify-write of a push | the consumer may sleep if, after `prepare`, |
//! |---|---|---|
//! | MPSC | the swap of the head | a pop or drain says [`PopError::Empty`], or [`mpsc::Consumer::is_drained`] is true: the stub is the head. `Busy` is an element on its way |
//! | MPMC | the claim of the enqueue position | [`mpmc::Ring::is_empty`] says so: the positions are equal. A pop's `Empty` is *not enough*: the cell may be claimed and not published |
//! | records | the claim of a lane's owner word | [`records::Consumer::is_quiet`](crate::records::Consumer::is_quiet) says so: nobody has a lane, and nothing is published |
//!
//! An [only producer](crate::single) claims with a store, which no fence orders here: those who sleep are not told of its pushes
//! unless it makes a read-modify-write of its own in between.
//!
//! A consumer that sees an element on its way does not sleep but tries again, so a producer that stalls there
//! keeps it awake and loses nothing.
//!
//! A consumer that was woken may still find nothing, if another was faster or if it woke by itself. It prepares
//! again.
//!
//! # What it costs
//!
//! A producer loads one word, on a cache line that nobody writes while nobody falls asleep, and branches. The
//! fence is an instruction only where a read-modify-write does not order what follows it anyway: not on x86,
//! and not in BPF. Of all producers that find sleepers, one rings: it takes them all off the word, in the
//! compare-exchange that begins the next epoch, and wakes them all.
//!
//! # Layout
//!
//! One word on a cache line of its own: the number of sleepers in the low half, the epoch in the high half; 64
//! bytes. All zero is an event count on which nobody sleeps. The epoch wraps around at 2^32: a sleeper is
//! overlooked only if it does not look at it for exactly so many notifications.
//!
//! [`PopError::Empty`]: crate::PopError::Empty
//! [`mpmc::Ring::is_empty`]: crate::mpmc::Ring::is_empty
//! [`mpsc::Consumer::is_drained`]: crate::mpsc::Consumer::is_drained

use crate::layout::CacheLine;
use crate::platform::{Platform, Word};

/// The sites of the event count.
pub mod site {
    use crate::ordering::Ordering::{Relaxed, SeqCst};
    use crate::ordering::{Field, Site, sites};

    sites! {
        /// The word to which a sleeper will be added.
        PREPARE_STATE: Load = Site::load(Relaxed, "eventcount.prepare.load_state")
            .of(Field::Sleepers)
            .why("only a guess: the announcement fails if it is old");
        /// One sleeper more.
        PREPARE_ANNOUNCE: CompareExchange = Site::compare_exchange(Relaxed, Relaxed, "eventcount.prepare.announce_sleeper")
            .of(Field::Sleepers)
            .why("carries no data; its order with the reads of the queue is the fence's");
        /// Between the announcement and the reads of the queue.
        PREPARE_FENCE: Fence = Site::fence(SeqCst, "eventcount.prepare.fence")
            .of(Field::Nothing)
            .pairs_with(&["eventcount.notify.fence"])
            .why("if this fence is the first, the producer sees the announcement; if it is the second, this thread sees the push");
        /// The epoch, as a sleeper looks at it.
        WAIT_STATE: Load = Site::load(Relaxed, "eventcount.wait.load_state")
            .of(Field::Sleepers)
            .why("says that a notification came, not what for: the sleeper looks at the queue again");
        /// The word from which a sleeper will be taken.
        CANCEL_STATE: Load = Site::load(Relaxed, "eventcount.cancel.load_state")
            .of(Field::Sleepers)
            .why("only a guess: the withdrawal fails if it is old");
        /// One sleeper less.
        CANCEL_WITHDRAW: CompareExchange = Site::compare_exchange(Relaxed, Relaxed, "eventcount.cancel.withdraw_sleeper")
            .of(Field::Sleepers)
            .why("carries no data");
        /// Between the read-modify-write of the push and the load of the word.
        NOTIFY_FENCE: Fence = Site::fence(SeqCst, "eventcount.notify.fence")
            .of(Field::Nothing)
            .pairs_with(&["eventcount.prepare.fence"])
            .why("if this fence is the first, the consumer sees the push; if it is the second, this thread sees the announcement");
        /// Whether somebody sleeps.
        NOTIFY_STATE: Load = Site::load(Relaxed, "eventcount.notify.load_state")
            .of(Field::Sleepers)
            .why("its order with the push is the fence's");
        /// The next epoch, in which nobody sleeps.
        NOTIFY_CLAIM: CompareExchange = Site::compare_exchange(Relaxed, Relaxed, "eventcount.notify.claim_sleepers")
            .of(Field::Sleepers)
            .why("decides who rings, and carries no data: a sleeper that wakes looks at the queue through its next fence");
        /// The next epoch, with sleepers that nobody has counted off.
        NOTIFY_ADVANCE: Add = Site::add(Relaxed, "eventcount.notify.advance_epoch")
            .of(Field::Sleepers)
            .why("carries no data, as the claim");
    }
}

const SLEEPER: u64 = 1;
const SLEEPERS: u64 = u32::MAX as u64;
const EPOCH: u64 = 1 << 32;

/// The epoch of a word.
#[inline(always)]
const fn epoch(state: u64) -> u32 {
    (state >> 32) as u32
}

/// The word on which consumers say that they sleep.
#[repr(C)]
#[derive(Debug)]
pub struct EventCount<P: Platform> {
    pub(crate) state: CacheLine<P::Word>,
}

// SAFETY: an atomic word.
unsafe impl<P: Platform> Sync for EventCount<P> {}
// SAFETY: as above.
unsafe impl<P: Platform> Send for EventCount<P> {}

crate::layout::layouts! {
    "arenaq_event_count", EventCount<crate::platform::Native>, { "state": state }
}

/// The announcement of one sleeper. It is good for one sleep: [`EventCount::is_notified`] ends it, or
/// [`EventCount::cancel`]. A ticket that is dropped costs one notification that nobody needs.
#[must_use = "look at the queue again, and then sleep or cancel"]
#[derive(Debug)]
pub struct Ticket {
    epoch: u32,
}

impl<P: Platform> EventCount<P> {
    /// An event count on which nobody sleeps, as zeroed memory is one.
    pub fn empty() -> Self {
        EventCount { state: CacheLine(P::Word::new(0)) }
    }

    /// Announces that the caller is about to sleep. It looks at the queue *after* this, as the [module's
    /// table](self) says, and sleeps only if there is nothing.
    ///
    /// `None` if others changed the word at every attempt of the retry budget: the caller stays awake, and may
    /// try again.
    #[inline]
    pub fn prepare(&self) -> Option<Ticket> {
        let mut seen = self.state.0.load(&site::PREPARE_STATE);
        for _ in P::steps(P::retry_budget()) {
            let announced = seen.wrapping_add(SLEEPER);
            match self.state.0.compare_exchange(seen, announced, &site::PREPARE_ANNOUNCE) {
                Ok(_) => {
                    P::fence_after_rmw(&site::PREPARE_FENCE);
                    return Some(Ticket { epoch: epoch(seen) });
                }
                Err(now) => seen = now,
            }
            P::relax();
        }
        None
    }

    /// Whether a producer has notified the holder of the ticket. A sleeper blocks on the doorbell only while
    /// it is false.
    #[inline]
    pub fn is_notified(&self, ticket: &Ticket) -> bool {
        epoch(self.state.0.load(&site::WAIT_STATE)) != ticket.epoch
    }

    /// Withdraws an announcement: the caller has found something, or does not want to sleep any more. Returns
    /// whether that was in time: if not, the doorbell rings, or has rung, for nothing.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "the ticket is given up")]
    pub fn cancel(&self, ticket: Ticket) -> bool {
        let mut seen = self.state.0.load(&site::CANCEL_STATE);
        for _ in P::steps(P::retry_budget()) {
            if epoch(seen) != ticket.epoch || seen & SLEEPERS == 0 {
                return false;
            }
            let withdrawn = seen.wrapping_sub(SLEEPER);
            match self.state.0.compare_exchange(seen, withdrawn, &site::CANCEL_WITHDRAW) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
            P::relax();
        }
        false
    }

    /// Whether the caller, whose push has succeeded, must ring the doorbell, for all sleepers. Of several
    /// producers that find the same sleepers one must.
    ///
    /// Wait-free.
    #[inline]
    #[must_use = "if nobody rings, the consumer sleeps on"]
    pub fn must_notify(&self) -> bool {
        P::fence_after_rmw(&site::NOTIFY_FENCE);
        let mut seen = self.state.0.load(&site::NOTIFY_STATE);
        // Before the loop: what a loop costs in the kernel, those pay who find somebody.
        if seen & SLEEPERS == 0 {
            return false;
        }
        for _ in P::steps(P::retry_budget()) {
            let awake = (seen & !SLEEPERS).wrapping_add(EPOCH);
            match self.state.0.compare_exchange(seen, awake, &site::NOTIFY_CLAIM) {
                Ok(_) => return true,
                Err(now) if now & SLEEPERS == 0 => return false,
                Err(now) => seen = now,
            }
            P::relax();
        }
        // Sleepers come and go all the time. This cannot fail, and notifies every ticket; what stays behind
        // in the number of sleepers costs one notification that nobody needs.
        self.state.0.add(EPOCH, &site::NOTIFY_ADVANCE);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::EventCount;
    use crate::platform::{Native, Word};

    type Events = EventCount<Native>;

    #[test]
    fn a_producer_rings_if_somebody_sleeps_and_once() {
        let events = Events::empty();
        assert!(!events.must_notify(), "nobody sleeps");
        let [one, two] = [(); 2].map(|()| events.prepare().expect("nobody else"));
        assert!(!events.is_notified(&one) && !events.is_notified(&two));
        assert!(events.must_notify());
        assert!(events.is_notified(&one) && events.is_notified(&two), "all at once");
        assert!(!events.must_notify(), "they are awake");
        assert!(!events.cancel(one), "too late");
    }

    #[test]
    fn a_sleeper_that_withdraws_leaves_the_others_asleep() {
        let events = Events::empty();
        let [one, two] = [(); 2].map(|()| events.prepare().expect("nobody else"));
        assert!(events.cancel(one));
        assert!(!events.is_notified(&two));
        assert!(events.must_notify(), "the other sleeps");
        assert!(events.is_notified(&two));

        let three = events.prepare().expect("nobody else");
        assert!(events.cancel(three));
        assert!(!events.must_notify(), "nobody sleeps");
    }

    #[test]
    fn a_ticket_of_an_old_epoch_withdraws_nobody_else() {
        let events = Events::empty();
        let old = events.prepare().expect("nobody else");
        assert!(events.must_notify());
        let new = events.prepare().expect("nobody else");
        assert!(!events.cancel(old));
        assert!(!events.is_notified(&new) && events.must_notify());
    }

    #[test]
    fn every_bit_of_the_epoch_tells_it_from_others_and_none_of_the_sleepers_does() {
        for bit in 0..64 {
            let events = Events::empty();
            let ticket = events.prepare().expect("nobody else");
            events.state.0.add(1 << bit, &super::site::NOTIFY_ADVANCE);
            let is_later = bit >= 32;
            assert_eq!(events.is_notified(&ticket), is_later, "bit {bit}");
            assert_eq!(events.cancel(ticket), !is_later, "bit {bit}");
        }
    }

    #[test]
    fn the_epoch_wraps_around() {
        let events = EventCount::<Native> { state: crate::layout::CacheLine(Word::new(u64::MAX << 32)) };
        let ticket = events.prepare().expect("nobody else");
        assert!(events.must_notify() && events.is_notified(&ticket));
        assert!(!events.must_notify());
    }
}
