//! The right to consume records that may be pinned.
//!
//! Of pinned records it is the lock on their folder, as of an MPSC queue, and it is one for all shards. While nobody has it,
//! each shard says that the lock has it, so that nobody consumes without it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arenaq::arena::{Arena, ArenaError, ArenaRecords, Name, Owner};
use arenaq::platform::Native;
use arenaq::records::{Consumer, ConsumerTaken};
use arenaq::structures::{self, Kind};

use crate::error::Error;
use crate::folder::Folder;
use crate::receiver::lock::{Hold, Lock, Wait};
use crate::receiver::source::this_process;
use crate::receiver::tally::{self, Table, Teller};

type Consumers<'a> = Vec<Consumer<'a, Native>>;

/// Records of an arena, by what their consumers have to know before they ask for an end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NamedRecords {
    name: Name,
    /// Their number among all queues of the arena: that of their lock, and of their part of the tally.
    pub(crate) number: usize,
}

impl NamedRecords {
    /// All records of an arena.
    pub(crate) fn all(arena: &Arena<'_>) -> Vec<NamedRecords> {
        let all = arena.queues().enumerate().filter(|(_, queue)| queue.kind == Kind::Records);
        all.map(|(number, queue)| NamedRecords { name: queue.name, number }).collect()
    }

    /// The ones of a name.
    pub(crate) fn find<'r>(all: &'r [NamedRecords], name: &str) -> Result<&'r NamedRecords, ArenaError> {
        all.iter().find(|records| records.name.as_str() == name).ok_or_else(|| ArenaError::Absent {
            name: name.into(),
            has: all.iter().map(|records| records.name).collect(),
        })
    }
}

/// Those of its shards that are asked for: all, if none are.
pub(crate) fn shards_of(
    records: &ArenaRecords<'_>,
    name: &str,
    shards: Option<Range<usize>>,
) -> Result<Range<usize>, Error> {
    let all = records.geometry().shards();
    let shards = shards.unwrap_or(0..all);
    if shards.is_empty() || shards.end > all {
        return Err(Error::Usage(format!(
            "the records `{name}` have the shards 0 to {}, and {shards:?} are none of them",
            all - 1
        )));
    }
    Ok(shards)
}

/// The consumers of shards that nobody else consumes.
pub(crate) fn consumers<'a>(
    records: &ArenaRecords<'a>,
    name: &str,
    shards: Range<usize>,
) -> Result<Consumers<'a>, Error> {
    let consumer = |shard| {
        let taken = |source| Error::ShardTaken { records: name.to_string(), shard, source };
        records.consumer(shard).map_err(taken)
    };
    shards.map(consumer).collect()
}

/// Held by whoever consumes; given up when it is dropped, after the consumers.
pub(crate) struct RecordRight<'a> {
    records: ArenaRecords<'a>,
    shards: Range<usize>,
    held: Held<'a>,
}

enum Held<'a> {
    /// Of pinned records.
    Locked(#[expect(dead_code, reason = "it is only kept")] Lock),
    /// Of records that were not pinned yet.
    Early(&'a RecordEnds),
}

impl RecordRight<'_> {
    /// Whether others see how much is consumed: of records that are pinned, which others may consume next.
    pub(crate) fn is_pinned(&self) -> bool {
        match self.held {
            Held::Locked(_) => true,
            Held::Early(ends) => ends.is_pinned.load(Ordering::Relaxed),
        }
    }
}

impl Drop for RecordRight<'_> {
    fn drop(&mut self) {
        match self.held {
            Held::Locked(_) => reserve_again(&self.records, self.shards.clone()),
            Held::Early(ends) => ends.early_ended(&self.records, &self.shards),
        }
    }
}

/// Lets nobody consume a shard who does not hold the lock.
fn reserve(records: &ArenaRecords<'_>, shard: usize) -> Result<(), ConsumerTaken> {
    match records.with_owner(Owner::LOCK.get()).consumer(shard) {
        Ok(consumer) => {
            // Not given back.
            std::mem::forget(consumer);
            Ok(())
        }
        Err(ConsumerTaken { owner }) if owner == Owner::LOCK.get().get() => Ok(()),
        Err(taken) => Err(taken),
    }
}

/// The same by one who has ended to consume. Who holds the lock takes over whatever a shard says.
fn reserve_again(records: &ArenaRecords<'_>, shards: Range<usize>) {
    for shard in shards {
        let _ = reserve(records, shard);
    }
}

/// The right to consume pinned records, and the consumers of the shards that are asked for.
pub(crate) fn acquire<'a>(
    folder: &Folder,
    records: ArenaRecords<'a>,
    name: &str,
    shards: Option<Range<usize>>,
    table: &'a Table,
    wait: Wait<'_>,
) -> Result<(Consumers<'a>, Teller<'a>, RecordRight<'a>), Error> {
    let shards = shards_of(&records, name, shards)?;
    let (lock, _) = Lock::to_consume(folder, structures::Consumers::OfShards, wait)?;
    let right = RecordRight { records, shards: shards.clone(), held: Held::Locked(lock) };
    let consumers = shards.map(|shard| succeed(folder, &records, shard)).collect::<Result<_, _>>()?;
    let mut teller = tally::teller(table)?;
    // A dead consumer's last record need not come first: another lane's may.
    teller.find_dead(false);
    Ok((consumers, teller, right))
}

/// The consumer of a shard, for the process that has locked the folder.
fn succeed<'a>(
    folder: &Folder,
    records: &ArenaRecords<'a>,
    shard: usize,
) -> Result<Consumer<'a, Native>, Error> {
    let dead = match records.consumer(shard) {
        Ok(consumer) => return Ok(consumer),
        Err(ConsumerTaken { owner }) => owner,
    };
    let refused = |why: &str| {
        folder.refusal(format!(
            "{why}, and nobody knows whether that process lives: `arenaq unpin`, and pin it anew"
        ))
    };
    let dead = std::num::NonZero::new(dead).filter(|dead| *dead != Owner::ANONYMOUS.get());
    let dead = dead.ok_or_else(|| refused("somebody consumes from it without a lock on the folder"))?;
    // SAFETY: every consumer of the records that names its process, and the reservation, belong to the lock on the folder,
    // which we hold alone, so whoever had it has ended; the kernel orders its end before the lock.
    let consumer = unsafe { records.consumer_after_death(shard, dead) };
    consumer.map_err(|_| refused("somebody has begun to consume from it without a lock on the folder"))
}

/// What the process that has loaded the programs knows about the consumers of records.
#[derive(Debug, Default)]
pub(crate) struct RecordEnds {
    state: Mutex<State>,
    /// For consumers from before, who look at it with each batch.
    is_pinned: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Where the records are pinned.
    folder: Option<Folder>,
    /// The shards that have consumers from before.
    early: Vec<usize>,
    /// Their lock since.
    lock: Option<Lock>,
}

impl RecordEnds {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to consume, and the consumers of the shards that are asked for.
    pub(crate) fn acquire<'a>(
        &'a self,
        records: ArenaRecords<'a>,
        name: &str,
        shards: Option<Range<usize>>,
        table: &'a Table,
    ) -> Result<(Consumers<'a>, Teller<'a>, RecordRight<'a>), Error> {
        let mut state = self.state();
        if let Some(folder) = &state.folder {
            return acquire(folder, records, name, shards, table, Wait::none());
        }
        let shards = shards_of(&records, name, shards)?;
        let consumers = consumers(&records, name, shards.clone())?;
        let teller = tally::teller(table)?;
        state.early.extend(shards.clone());
        Ok((consumers, teller, RecordRight { records, shards, held: Held::Early(self) }))
    }

    fn early_ended(&self, records: &ArenaRecords<'_>, shards: &Range<usize>) {
        let mut state = self.state();
        state.early.retain(|shard| !shards.contains(shard));
        if state.lock.is_some() {
            reserve_again(records, shards.clone());
        }
        if state.early.is_empty() {
            state.lock = None;
        }
    }

    /// Pins all records: `pin` is given the folder. They have a lock each, which is held meanwhile, and afterwards for as long as
    /// a consumer from before lives.
    pub(crate) fn pin(
        all: &[RecordEnds],
        named: &[NamedRecords],
        folder: &Folder,
        arena: &Arena<'_>,
        pin: impl FnOnce(&Folder) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut states: Vec<_> = named.iter().map(|records| all[records.number].state()).collect();
        let mut locked = Vec::with_capacity(named.len());
        let pinned = states.iter().zip(named).try_for_each(|(state, named)| {
            locked.push(Locking::begin(state, folder, arena, named)?);
            Ok(())
        });
        if let Err(error) = pinned.and_then(|()| pin(folder)) {
            locked.into_iter().rev().for_each(Locking::undo);
            return Err(error);
        }
        named.iter().for_each(|records| all[records.number].is_pinned.store(true, Ordering::Relaxed));
        for (state, Locking { folder, lock, .. }) in states.iter_mut().zip(locked) {
            state.folder = Some(folder);
            state.lock = (!state.early.is_empty()).then_some(lock);
        }
        Ok(())
    }
}

/// Records that are about to be pinned.
struct Locking<'p, 'a> {
    whole: &'p Folder,
    number: usize,
    records: ArenaRecords<'a>,
    /// Where their lock is.
    folder: Folder,
    lock: Lock,
    /// The shards that are kept from those who do not hold the lock.
    reserved: Vec<usize>,
}

impl<'p, 'a> Locking<'p, 'a> {
    fn begin(
        state: &State,
        whole: &'p Folder,
        arena: &'p Arena<'a>,
        named: &NamedRecords,
    ) -> Result<Self, Error> {
        if let Some(before) = state.folder.as_ref().filter(|before| !before.is_gone()) {
            return Err(whole.refusal(format!(
                "the records are pinned in {} already, and the right to consume is the lock on one folder",
                before.path().display()
            )));
        }
        let number = named.number;
        let records = arena.records(named.name.as_str(), this_process())?;
        let folder = whole.make_lock(number)?;
        let lock = Lock::try_new(&folder, Hold::Alone)
            .and_then(|lock| lock.ok_or_else(|| whole.refusal("another process has locked it")))
            .inspect_err(|_| whole.remove_lock(number))?;
        let mut locking = Locking { whole, number, records, folder, lock, reserved: Vec::new() };
        for shard in (0..records.geometry().shards()).filter(|shard| !state.early.contains(shard)) {
            if let Err(taken) = reserve(&records, shard) {
                locking.undo();
                return Err(whole.refusal(format!(
                    "shard {shard} of the records `{}`: {taken}. End that consumer before they are pinned, or consume with \
                     `Loaded::records`, which holds the lock",
                    named.name
                )));
            }
            locking.reserved.push(shard);
        }
        Ok(locking)
    }

    fn undo(self) {
        for shard in self.reserved {
            // SAFETY: the reservation is ours, and nobody uses its consumer.
            drop(unsafe { self.records.consumer_after_death(shard, Owner::LOCK.get()) });
        }
        self.whole.remove_lock(self.number);
    }
}
