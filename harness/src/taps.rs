//! The queues of an object, each with its one consumer, whatever they carry.

mod supply;

use std::collections::HashMap;
use std::fmt;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use arenaq::PopError;
use arenaq::arena::{Arena, QueueInfo};
use arenaq::drops::Dropped;
use arenaq::structures::Kind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;

pub(crate) use self::supply::Supply;
use crate::error::Error;
use crate::printer::{Printer, Stream};

/// How many elements of a queue in a row: others have something to say as well.
const IN_A_ROW: u64 = 256;
/// How long to wait, when nothing pushes any more, for a push that has begun.
const PATIENCE: Duration = Duration::from_secs(2);

/// The consumer of a queue.
pub(crate) struct Tap {
    supply: Supply,
    stream: Stream,
    capacity: u64,
    is_shown: bool,
    consumed: u64,
    left: u64,
    /// Whether a producer has not ended its push, when nothing pushed any more.
    is_stuck: bool,
}

/// What became of the elements of a queue.
#[derive(Clone, Debug, Serialize)]
pub struct Account {
    /// The queue.
    pub queue: String,
    /// `MPMC`, `MPSC` or `records`.
    pub kind: &'static str,
    /// How many elements it was made for; of records, how many bytes each processor has.
    pub capacity: u64,
    /// What the programs have pushed, or tried to. Of an MPSC queue and of records, which have no count of their pushes, this is
    /// the sum of what follows.
    pub produced: u64,
    /// What they have pushed, as an MPMC queue counts it itself; `null` for others.
    pub pushed: Option<u64>,
    /// What was handed over.
    pub consumed: u64,
    /// What was still in the queue.
    pub left: u64,
    /// What found no room, by the reason.
    pub dropped: Drops,
    /// Whether a program has begun a push and not ended it: what came behind it in a queue is not counted.
    pub stuck: bool,
    /// Whether what was pushed is not what was consumed and left.
    pub inexact: bool,
    /// What came after something with a later stamp, if it was merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late: Option<u64>,
}

/// Elements that were not enqueued, by the reason.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Drops {
    /// The queue was full.
    pub full: u64,
    /// Others were faster, every time.
    pub contended: u64,
    /// The queue was not there yet.
    pub invalid: u64,
    /// The queue was damaged.
    pub corrupt: u64,
}

impl From<Dropped> for Drops {
    fn from(Dropped { full, contended, invalid, corrupt }: Dropped) -> Drops {
        Drops { full, contended, invalid, corrupt }
    }
}

impl Drops {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.full.wrapping_add(self.contended).wrapping_add(self.invalid).wrapping_add(self.corrupt)
    }
}

impl fmt::Display for Drops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            ("full", self.full),
            ("contended", self.contended),
            ("invalid", self.invalid),
            ("corrupt", self.corrupt),
        ];
        let said: Vec<_> = all
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        f.write_str(&said.join(", "))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account {
            queue,
            kind,
            capacity,
            produced,
            pushed: _,
            consumed,
            left,
            dropped,
            stuck,
            inexact,
            late,
        } = self;
        let of_records = *kind == Kind::Records.name();
        let (what, unit) = if of_records { ("", " bytes a processor") } else { (" queue", "") };
        let equals = if *inexact || *stuck { "produced," } else { "produced =" };
        write!(
            f,
            "{kind}{what} {queue} of {capacity}{unit}: {produced} {equals} {consumed} consumed + {} dropped",
            dropped.total()
        )?;
        if dropped.total() > 0 {
            write!(f, " ({dropped})")?;
        }
        write!(f, " + {left} left")?;
        if let Some(late) = late {
            write!(f, "; {late} came late")?;
        }
        if *stuck && of_records {
            f.write_str("; a program has begun a record and not ended it, and its lane is lost")?;
        } else if *stuck {
            f.write_str("; a producer has not ended its push, and what came behind it is not counted")?;
        }
        if *inexact {
            f.write_str(
                "; INEXACT: the queue's own count of pushes says otherwise, so something else consumes from it or has written \
                 to the arena",
            )?;
        }
        Ok(())
    }
}

impl Tap {
    /// A queue that was made for `capacity` elements, of which so many were printed already.
    pub(crate) fn new(stream: Stream, capacity: u64, supply: impl Into<Supply>, consumed: u64) -> Tap {
        let supply = supply.into();
        Tap { supply, stream, capacity, is_shown: true, consumed, left: 0, is_stuck: false }
    }

    /// One whose elements are counted only, if they are not wanted.
    pub(crate) fn shown_if(self, is_shown: bool) -> Tap {
        Tap { is_shown, ..self }
    }

    pub(crate) fn name(&self) -> &str {
        self.stream.name()
    }

    /// Hands up to `limit` elements to the printer. Returns how many, and why not more.
    fn take(&mut self, limit: u64, printer: &mut Printer) -> Result<(u64, Option<PopError>), Error> {
        let Tap { supply, stream, .. } = self;
        let mut taken = 0;
        let end = loop {
            if taken == limit || printer.is_gone() {
                break None;
            }
            match supply.pop_with(|element| printer.print(stream, element))? {
                Ok(printed) => {
                    taken += 1;
                    printed?;
                }
                Err(error) => break Some(error),
            }
        };
        if end.is_some() && taken == 0 {
            // What the consumers of a pinned queue have left that died.
            let mut printed = Ok(());
            taken = supply.take_over(|element| printed = printer.print(stream, element));
            printed?;
        }
        self.consumed += taken;
        match end {
            Some(error @ (PopError::Corrupt | PopError::Invalid)) => {
                Err(arenaq_libbpf::Error::Queue(error).into())
            }
            end => Ok((taken, end)),
        }
    }
}

/// All of them.
pub(crate) struct Taps(Vec<Tap>);

impl Taps {
    pub(crate) fn new(taps: Vec<Tap>) -> Taps {
        Taps(taps)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.iter().map(|tap| tap.stream.name().to_owned()).collect()
    }

    /// How much was handed over of each.
    pub(crate) fn consumed_by_queue(&self) -> Vec<(String, u64)> {
        self.0.iter().map(|tap| (tap.name().to_owned(), tap.consumed)).collect()
    }

    /// How many came late of those that are merged.
    pub(crate) fn late_by_queue(&self) -> HashMap<String, u64> {
        self.0.iter().filter_map(|tap| Some((tap.name().to_owned(), tap.supply.late()?))).collect()
    }

    /// Whether something is there that is kept back, for what may come with an earlier stamp.
    pub(crate) fn are_kept_back(&self) -> bool {
        self.0.iter().any(|tap| tap.supply.is_kept_back())
    }

    /// Whether there is what is to be merged.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if there are no records.
    pub(crate) fn check_merged(&self, lateness: Option<Duration>) -> Result<(), Error> {
        if lateness.is_none() || self.0.iter().any(|tap| tap.supply.late().is_some()) {
            return Ok(());
        }
        Err(Error::Usage("--merged: there are no records here, and a queue has one order".to_owned()))
    }

    fn consumed(&self) -> u64 {
        self.0.iter().map(|tap| tap.consumed).sum()
    }

    pub(crate) fn has_reached(&self, limit: Option<u64>) -> bool {
        limit.is_some_and(|limit| self.consumed() >= limit)
    }

    /// Prints some of what is there, of each queue that is shown. Whether there was something.
    pub(crate) fn take(&mut self, limit: Option<u64>, printer: &mut Printer) -> Result<bool, Error> {
        let mut found = false;
        for i in 0..self.0.len() {
            let left = limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.consumed()));
            let tap = &mut self.0[i];
            if tap.is_shown {
                found |= tap.take(left.min(IN_A_ROW), printer)?.0 > 0;
            }
        }
        Ok(found)
    }

    /// Sleeps until something comes, for `longest` at most.
    pub(crate) fn sleep(&mut self, longest: Duration) -> Result<(), Error> {
        let mut all_sleep = true;
        for tap in self.0.iter_mut().filter(|tap| tap.is_shown) {
            all_sleep &= tap.supply.arm();
        }
        let slept = if all_sleep {
            let mut fds: Vec<_> = self
                .0
                .iter()
                .filter(|tap| tap.is_shown)
                .map(|tap| PollFd::from_borrowed_fd(tap.supply.as_fd(), PollFlags::IN))
                .collect();
            let longest = Timespec::try_from(longest).ok();
            poll(&mut fds, longest.as_ref()).map(drop)
        } else {
            // A producer is in the middle of a push, or what is there is kept back.
            thread::sleep(Duration::from_millis(1));
            Ok(())
        };
        self.0.iter_mut().for_each(|tap| tap.supply.disarm());
        match slept {
            Err(error) if error != Errno::INTR => Err(Error::system("waiting for an element")(error)),
            _ => Ok(()),
        }
    }

    /// Nothing pushes any more: prints what is left, or counts it if it is not to be printed.
    pub(crate) fn finish(&mut self, limit: Option<u64>, printer: &mut Printer) -> Result<(), Error> {
        self.0.iter_mut().for_each(|tap| tap.supply.release());
        while self.take(limit, printer)? && !printer.is_gone() {}
        let deadline = Instant::now() + PATIENCE;
        for i in 0..self.0.len() {
            loop {
                let left = limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.consumed()));
                let tap = &mut self.0[i];
                let is_printed = tap.is_shown && left > 0 && !printer.is_gone();
                let end = if is_printed { tap.take(left, printer)?.1 } else { tap.count()? };
                match end {
                    None => {}
                    Some(PopError::Empty) => break,
                    Some(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
                    Some(_) => {
                        tap.is_stuck = true;
                        break;
                    }
                }
            }
        }
        printer.flush()
    }

    /// What became of each queue's elements.
    pub(crate) fn account(&self, arena: &Arena<'_>) -> Vec<Account> {
        let infos: Vec<QueueInfo> = arena.queues().collect();
        let of = |tap: &Tap| {
            let info = infos.iter().find(|info| info.name.as_str() == tap.stream.name())?;
            let dropped = Drops::from(info.dropped.unwrap_or_default());
            let found = tap.consumed + tap.left;
            let pushed = arena.pushed(tap.stream.name()).ok().flatten();
            Some(Account {
                queue: tap.stream.name().to_owned(),
                kind: info.kind.name(),
                capacity: tap.capacity,
                produced: pushed.unwrap_or(found).wrapping_add(dropped.total()),
                pushed,
                consumed: tap.consumed,
                left: tap.left,
                dropped,
                stuck: tap.is_stuck,
                inexact: is_inexact(pushed, found, tap.is_stuck),
                late: tap.supply.late(),
            })
        };
        self.0.iter().filter_map(of).collect()
    }
}

/// Whether a queue counts other pushes than elements were found; those behind a push that has not ended are not found.
fn is_inexact(pushed: Option<u64>, found: u64, is_stuck: bool) -> bool {
    pushed.is_some_and(|pushed| if is_stuck { pushed < found } else { pushed != found })
}

impl Tap {
    /// Counts what is there, and throws it away.
    fn count(&mut self) -> Result<Option<PopError>, Error> {
        loop {
            match self.supply.pop_with(|_| ())? {
                Ok(()) => self.left += 1,
                Err(error) => return Ok(Some(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Account, Drops, is_inexact};

    #[test]
    fn an_account_that_the_queues_own_count_contradicts_says_so() {
        assert!(!is_inexact(None, 7, false), "nothing to compare with");
        assert!(!is_inexact(Some(7), 7, false));
        assert!(is_inexact(Some(8), 7, false) && is_inexact(Some(6), 7, false));
        assert!(
            !is_inexact(Some(8), 7, true) && is_inexact(Some(6), 7, true),
            "some are behind a push that is stuck"
        );
        let account = Account {
            queue: "jobs".to_owned(),
            kind: "MPMC",
            capacity: 16,
            produced: 8,
            pushed: Some(8),
            consumed: 7,
            left: 0,
            dropped: Drops::default(),
            stuck: false,
            inexact: true,
            late: None,
        };
        let said = account.to_string();
        assert!(said.contains("8 produced, 7 consumed") && said.contains("INEXACT"), "{said}");
    }
}
