//! The right to consume pinned records: as `RecordRight` in `arenaq-libbpf` is, so that both exclude each other and are counted
//! together.

use std::num::NonZero;
use std::ops::Range;

use queues::Corruption;
use queues::arena::{Arena, ArenaRecords, Owner};
use queues::platform::Native;
use queues::records::{ConsumerTaken, Record};
use queues::structures::Consumers;

use super::Pinned;
use super::folder::Folder;
use super::lock::Lock;
use super::right::Queue;
use crate::checksum::fingerprint_of_record;
use crate::error::Failure;
use crate::records::ShardConsumer;
use crate::table::Teller;

/// Held by whoever consumes; dropped after the consumers.
#[derive(Debug)]
pub(crate) struct RecordsRight {
    // Dropped in this order: nobody else counts in this part while the lock is held.
    teller: Teller<'static>,
    records: ArenaRecords<'static>,
    shards: Range<usize>,
    _lock: Lock,
}

impl Pinned {
    /// The right to consume records, which one has for all shards, and the consumers of the shards that are asked for.
    ///
    /// # Safety
    ///
    /// Neither is used any more when this or the arena is dropped, and `arena` is the one that is pinned here, and has the records.
    pub(crate) unsafe fn acquire_records(
        &self,
        arena: &'static Arena<'static>,
        records: ArenaRecords<'static>,
        name: &str,
        shards: Range<usize>,
    ) -> Result<(Vec<ShardConsumer>, RecordsRight), Failure> {
        let number = Queue::find(arena, name)?.number;
        let folder = self.folder_of(number, name)?;
        // SAFETY: passed on to the caller.
        let table =
            unsafe { self.table(number) }.ok_or_else(|| folder.refusal("the tally has no such part"))?;
        let (lock, _) = Lock::to_consume(folder, Consumers::OfShards)?;
        let mut teller = table.teller().ok_or_else(|| {
            folder.refusal("as many consumers as the tally has room for live, or have died: end all of them")
        })?;
        // A dead consumer's last record need not come first: another lane's may.
        teller.find_dead(false);
        let right = RecordsRight { teller, records, shards: shards.clone(), _lock: lock };
        let consumers = shards.map(|shard| succeed(folder, &records, shard)).collect::<Result<_, _>>()?;
        Ok((consumers, right))
    }
}

/// The consumer of a shard, for the process that has locked the folder.
fn succeed(folder: &Folder, records: &ArenaRecords<'static>, shard: usize) -> Result<ShardConsumer, Failure> {
    let dead = match records.consumer(shard) {
        Ok(consumer) => return Ok(consumer),
        Err(ConsumerTaken { owner }) => owner,
    };
    let refused = |why: &str| {
        folder.refusal(format_args!(
            "{why}, and nobody knows whether that process lives: `arenaq unpin`, and pin it anew"
        ))
    };
    let dead = NonZero::new(dead).filter(|dead| *dead != Owner::ANONYMOUS.get());
    let dead = dead.ok_or_else(|| refused("somebody consumes from it without a lock on the folder"))?;
    // SAFETY: every consumer of the records that names its process, and the reservation, belong to the lock on the folder,
    // which we hold alone, so whoever had it has ended; the kernel orders its end before the lock.
    let consumer = unsafe { records.consumer_after_death(shard, dead) };
    consumer.map_err(|_| refused("somebody has begun to consume from it without a lock on the folder"))
}

impl RecordsRight {
    /// Hands over up to `limit` records of a shard, and counts each before its words are a program's again. One by one: the death
    /// of a consumer whose place another may take hands one record over twice, and not a batch.
    pub(crate) fn drain(
        &mut self,
        consumer: &mut ShardConsumer,
        limit: u64,
        mut hand_over: impl FnMut(&Record<'_, Native>),
    ) -> Result<u64, Corruption> {
        let mut drained = 0;
        while drained < limit {
            let handed_over = consumer.pop_in_place(|record| {
                let known_by = fingerprint_of_record(record.stamp(), record.size(), record.words());
                hand_over(&record);
                self.teller.count(known_by);
            })?;
            if handed_over.is_none() {
                break;
            }
            drained += 1;
        }
        Ok(drained)
    }

    /// Everything that the dead have left was handed over.
    pub(crate) fn bury(&mut self) {
        self.teller.bury();
    }
}

impl Drop for RecordsRight {
    fn drop(&mut self) {
        for shard in self.shards.clone() {
            // Not given back: who holds the lock takes over whatever a shard says.
            std::mem::forget(self.records.with_owner(Owner::LOCK.get()).consumer(shard));
        }
    }
}
