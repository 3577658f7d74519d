//! A consumer of records that can sleep.

pub(crate) mod right;

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use arenaq::Corruption;
use arenaq::arena::ArenaRecords;
use arenaq::drops::Dropped;
use arenaq::eventcount::EventCount;
use arenaq::platform::Native;
use arenaq::records::{Consumer, Merge, Record};
use crossbeam_utils::Backoff;

use self::right::RecordRight;
use super::Keeper;
use super::doorbell::Doorbell;
use super::end::Watched;
use super::sleeper::{Sleeper, Wake};
use super::tally::Teller;
use crate::checksum::fingerprint_of_record;
use crate::error::Error;

/// The consuming end of records, or of some shards of them. It can go to another thread, and while nothing comes it uses no
/// CPU.
///
/// A record is handed over in place, and its words are a program's again when the call that has handed it over returns: at the
/// latest then it must have been read.
///
/// ```no_run
/// use std::time::Duration;
///
/// use arenaq_libbpf::Loaded;
/// use libbpf_rs::ObjectBuilder;
///
/// // ARENAQ_RECORDS(log, 1 << 20, 4096);
/// let loaded = Loaded::load(ObjectBuilder::default().open_file("my.bpf.o")?)?;
/// let mut log = loaded.records("log")?;
/// loaded.attach()?;
/// loop {
///     log.wait(Duration::from_secs(1), |record| {
///         println!("{} bytes, from process {:?}", record.size(), record.read::<u32>());
///     })?;
/// }
/// # #[allow(unreachable_code)]
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RecordReceiver<K = Keeper> {
    // Dropped in this order: last what all of it lies in.
    shards: Shards,
    sleeper: Sleeper,
    /// What others see of the consumer, if it is counted.
    teller: Option<Teller<'static>>,
    right: Option<RecordRight<'static>>,
    keeper: K,
}

/// So many in a row, and the caller may look whether it is time to end.
pub(super) const BATCH: u64 = 1 << 16;

/// How its records are handed over.
enum Shards {
    /// Those of one shard after those of another; the first that is looked at is another one each time.
    Each { consumers: Vec<Consumer<'static, Native>>, records: ArenaRecords<'static> },
    /// In the order of their stamps.
    Merged { merge: Merge<'static, Native>, records: ArenaRecords<'static> },
}

impl Shards {
    fn records(&self) -> &ArenaRecords<'static> {
        match self {
            Shards::Each { records, .. } | Shards::Merged { records, .. } => records,
        }
    }

    fn drain_to(
        &mut self,
        horizon: u64,
        limit: u64,
        mut hand_over: impl FnMut(Record<'_, Native>),
    ) -> Result<u64, Error> {
        match self {
            Shards::Merged { merge, .. } => Ok(merge.drain_in_place(horizon, limit, hand_over)?),
            Shards::Each { consumers, .. } => {
                let mut left = limit;
                let mut damaged: Option<Corruption> = None;
                for consumer in consumers.iter_mut() {
                    match consumer.drain_in_place(left, &mut hand_over) {
                        Ok(drained) => left -= drained,
                        Err(corruption) => damaged = Some(corruption),
                    }
                }
                // The limit is not always used up by the same shard.
                consumers.rotate_left(1);
                damaged.map_or(Ok(limit - left), |corruption| Err(corruption.into()))
            }
        }
    }
}

impl Watched for Shards {
    /// A record is on its way: it is looked for soon, for its producer may not have seen that somebody sleeps. One that has died
    /// has its lane for ever, so there is no waiting for it.
    fn is_held_up(&self) -> bool {
        match self {
            Shards::Each { consumers, .. } => !consumers.iter().all(Consumer::is_quiet),
            Shards::Merged { merge, .. } => !merge.is_quiet(),
        }
    }

    fn may_sleep(&self) -> bool {
        match self {
            Shards::Each { consumers, .. } => consumers.iter().all(Consumer::is_drained),
            Shards::Merged { merge, .. } => merge.is_drained(),
        }
    }
}

/// What a receiver of records is made of. All of it lies where it is for as long as the receiver's keeper lives.
pub(crate) struct Parts {
    pub(crate) records: ArenaRecords<'static>,
    pub(crate) consumers: Vec<Consumer<'static, Native>>,
    pub(crate) events: Option<&'static EventCount<Native>>,
    pub(crate) doorbell: Doorbell,
    /// What others see of the consumer, if it is counted.
    pub(crate) known: Option<(Teller<'static>, RecordRight<'static>)>,
}

impl<K> RecordReceiver<K> {
    pub(crate) fn of(parts: Parts, keeper: K) -> RecordReceiver<K> {
        let Parts { records, consumers, events, doorbell, known } = parts;
        let (teller, right) = known.unzip();
        let sleeper = Sleeper::new(events, doorbell);
        RecordReceiver { shards: Shards::Each { consumers, records }, sleeper, teller, right, keeper }
    }

    /// Hands records over in the order of their stamps from now on. Which stamps, the [horizon](Self::drain_to) says.
    #[must_use]
    pub fn merged(self) -> RecordReceiver<K> {
        let RecordReceiver { shards, sleeper, teller, right, keeper } = self;
        let shards = match shards {
            Shards::Each { consumers, records } => Shards::Merged { merge: Merge::new(consumers), records },
            merged @ Shards::Merged { .. } => merged,
        };
        RecordReceiver { shards, sleeper, teller, right, keeper }
    }

    /// What ends its sleep.
    pub fn set_wake(&mut self, wake: Wake) {
        self.sleeper.disarm();
        self.sleeper.wake = wake;
    }

    /// Hands over up to `limit` records. Returns how many; their words are free then.
    ///
    /// # Errors
    ///
    /// [`Error::Records`] if a lane is damaged. What comes before the damage, and in other lanes, is handed over.
    ///
    /// # Panics
    ///
    /// If `hand_over` does. That record is handed over again by the next call then.
    pub fn drain(&mut self, limit: u64, hand_over: impl FnMut(Record<'_, Native>)) -> Result<u64, Error> {
        self.drain_to(u64::MAX, limit, hand_over)
    }

    /// [`drain`](Self::drain), and of [merged](Self::merged) records those only whose stamps are `horizon` at most: what is
    /// pushed within the time that is kept back is put in order. What comes later than that is handed over when it comes, and
    /// counted ([`late`](Self::late)).
    ///
    /// # Errors
    ///
    /// As [`drain`](Self::drain).
    ///
    /// # Panics
    ///
    /// As [`drain`](Self::drain).
    pub fn drain_to(
        &mut self,
        horizon: u64,
        limit: u64,
        mut hand_over: impl FnMut(Record<'_, Native>),
    ) -> Result<u64, Error> {
        let RecordReceiver { shards, teller, right, .. } = self;
        let is_pinned = right.as_ref().is_some_and(RecordRight::is_pinned);
        let Some(teller) = teller.as_mut().filter(|_| is_pinned) else {
            return shards.drain_to(horizon, limit, hand_over);
        };
        // One by one: the death of a consumer whose place another may take hands one record over twice, and not a batch.
        let mut drained = 0;
        while drained < limit {
            let handed_over = shards.drain_to(horizon, 1, |record| {
                let known_by = fingerprint_of_record(record.stamp(), record.size(), record.words());
                hand_over(record);
                teller.count(known_by);
            })?;
            if handed_over == 0 {
                if horizon == u64::MAX || shards.may_sleep() {
                    // So everything has come that the dead have left.
                    teller.bury();
                }
                break;
            }
            drained += handed_over;
        }
        Ok(drained)
    }

    /// Hands over what is there; waits for the first record if there is none, and not longer than `timeout`. Returns how many
    /// records there were.
    ///
    /// # Errors
    ///
    /// As [`drain`](Self::drain), and [`Error::System`] if the kernel does not let this thread wait.
    ///
    /// # Panics
    ///
    /// As [`drain`](Self::drain).
    pub fn wait(
        &mut self,
        timeout: Duration,
        mut hand_over: impl FnMut(Record<'_, Native>),
    ) -> Result<u64, Error> {
        let start = Instant::now();
        let backoff = Backoff::new();
        loop {
            let drained = self.drain(BATCH, &mut hand_over)?;
            if drained > 0 {
                return Ok(drained);
            }
            let Some(left) = timeout.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else {
                return Ok(0);
            };
            if backoff.is_completed() {
                self.sleeper.sleep(&self.shards, left)?;
            } else {
                backoff.snooze();
            }
        }
    }

    /// Blocks until a producer rings, or for a while, if nothing is there.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if the kernel does not let this thread wait.
    pub fn sleep(&mut self, longest: Duration) -> Result<(), Error> {
        self.sleeper.sleep(&self.shards, longest)
    }

    /// Whether nothing is there that was not handed over: [merged](Self::merged) records may be, whose stamps are behind the
    /// horizon.
    pub fn is_drained(&self) -> bool {
        self.shards.may_sleep()
    }

    /// Whether nothing is there, and no program is at work on a record. One that has begun a record and never ends it has its
    /// lane for ever.
    pub fn is_quiet(&self) -> bool {
        !self.shards.is_held_up()
    }

    /// Announces a sleep. If it is true, nothing is there, and the file descriptor ([`AsFd`]) becomes readable with the next
    /// record whose program rings, or when it is time to look ([`Wake`]). If it is false, a record is there: try again.
    pub fn arm(&mut self) -> bool {
        self.sleeper.arm(&self.shards)
    }

    /// Withdraws the announcement.
    pub fn disarm(&mut self) {
        self.sleeper.disarm();
    }

    /// How many [merged](Self::merged) records came after one with a later stamp.
    pub fn late(&self) -> u64 {
        match &self.shards {
            Shards::Merged { merge, .. } => merge.late(),
            Shards::Each { .. } => 0,
        }
    }

    /// What programs have dropped until now, by the reason.
    pub fn dropped(&self) -> Dropped {
        self.shards.records().dropped().unwrap_or_default()
    }
}

impl<K> AsFd for RecordReceiver<K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sleeper.doorbell().as_fd()
    }
}

impl<K> AsRawFd for RecordReceiver<K> {
    fn as_raw_fd(&self) -> RawFd {
        self.sleeper.doorbell().as_raw_fd()
    }
}

impl<K: fmt::Debug> fmt::Debug for RecordReceiver<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordReceiver")
            .field("sleeper", &self.sleeper)
            .field("keeper", &self.keeper)
            .finish_non_exhaustive()
    }
}
