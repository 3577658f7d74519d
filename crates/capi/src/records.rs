//! The ends of records.

use std::ffi::{c_char, c_int, c_void};
use std::ops::Range;
use std::ptr;
use std::slice;
use std::sync::Arc;

use queues::arena::{Arena, ArenaRecords};
use queues::platform::Native;
use queues::records::{self, ConsumerTaken};
use queues::{Corruption, Status};

use crate::alone::{Alone, MaySleep};
use crate::arena::{Attached, Shared};
use crate::ends::this_process;
use crate::error::{Failure, code};
use crate::memory::{exclusive, shared, text};
use crate::pinned::RecordsRight;

pub(crate) type ShardConsumer = records::Consumer<'static, Native>;

/// `struct arenaq_records_producer`.
#[derive(Debug)]
pub struct RecordsProducer {
    records: ArenaRecords<'static>,
    _arena: Arc<Shared>,
}

/// `struct arenaq_records_consumer`.
#[derive(Debug)]
pub struct RecordsConsumer {
    // Dropped in this order: the right to consume is given up while the memory is there.
    end: Alone<Shards>,
    _arena: Arc<Shared>,
}

/// What is drained.
#[derive(Debug)]
struct Shards {
    // Dropped in this order: the right to consume is given up last.
    consumers: Vec<ShardConsumer>,
    /// Of pinned records.
    right: Option<RecordsRight>,
}

/// `struct arenaq_record` in the header.
#[repr(C)]
#[derive(Debug)]
pub struct Record {
    data: *const c_void,
    size: usize,
    stamp: u64,
    shard: usize,
}

/// What a record is handed to.
type HandOver = unsafe extern "C" fn(record: *const Record, context: *mut c_void);

impl Shards {
    /// Hands over up to `limit` records, and says how many. What comes before a damage is handed over.
    fn drain(
        &mut self,
        limit: u64,
        mut hand_over: impl FnMut(usize, &records::Record<'_, Native>),
    ) -> (u64, Option<Corruption>) {
        let Shards { consumers, right } = self;
        let mut left = limit;
        let mut damaged = None;
        for consumer in consumers.iter_mut() {
            let shard = consumer.shard();
            let drained = match right {
                None => consumer.drain_in_place(left, |record| hand_over(shard, &record)),
                Some(right) => right.drain(consumer, left, |record| hand_over(shard, record)),
            };
            match drained {
                Ok(drained) => left -= drained,
                Err(corruption) => damaged = Some(corruption),
            }
        }
        if left == limit && damaged.is_none() {
            // So everything has come that the dead have left.
            right.iter_mut().for_each(RecordsRight::bury);
        }
        // The limit is not always used up by the same shard.
        consumers.rotate_left(1);
        (limit - left, damaged)
    }
}

impl MaySleep for Shards {
    fn may_sleep(&self) -> bool {
        self.consumers.iter().all(records::Consumer::is_drained)
    }
}

/// See the header.
///
/// # Safety
///
/// `arena` is open, `name` is a string and `producer` leads to a pointer, or they are null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_records_producer_open(
    arena: *const Attached,
    name: *const c_char,
    producer: *mut *mut RecordsProducer,
) -> c_int {
    code((|| {
        // SAFETY: the caller's promise.
        let (arena, place) = unsafe { (shared("arena", arena)?, exclusive("producer", producer)?) };
        // SAFETY: the caller's promise.
        let name = unsafe { text("the name of the records", name) }?;
        let records = arena.shared.arena.records(name, this_process())?;
        *place = Box::into_raw(Box::new(RecordsProducer { records, _arena: arena.shared.clone() }));
        Ok(())
    })())
}

/// See the header.
///
/// # Safety
///
/// `producer` is open or null, `data` leads to `size` bytes or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_records_producer_push(
    producer: *const RecordsProducer,
    data: *const c_void,
    size: usize,
    stamp: u64,
) -> c_int {
    // SAFETY: the caller's promise.
    let Some(producer) = (unsafe { producer.as_ref() }) else { return Status::Invalid.code() };
    let data = match (data.is_null(), size) {
        (false, _) => data.cast::<u8>(),
        (true, 0) => ptr::dangling(),
        (true, _) => return Status::Invalid.code(),
    };
    // SAFETY: the caller's promise.
    let bytes = unsafe { slice::from_raw_parts(data, size) };
    Status::from(producer.records.push(bytes, stamp)).code()
}

/// See the header.
///
/// # Safety
///
/// `producer` is open or null, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_records_producer_close(producer: *mut RecordsProducer) {
    if !producer.is_null() {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(producer) });
    }
}

/// See the header.
///
/// # Safety
///
/// `arena` is open, `name` is a string and `consumer` leads to a pointer, or they are null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_records_consumer_open(
    arena: *const Attached,
    name: *const c_char,
    consumer: *mut *mut RecordsConsumer,
) -> c_int {
    // SAFETY: the caller's promise.
    code(unsafe { open(arena, name, None, consumer, only) })
}

/// See the header.
///
/// # Safety
///
/// As [`arenaq_records_consumer_open`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_records_consumer_open_shards(
    arena: *const Attached,
    name: *const c_char,
    first: usize,
    count: usize,
    consumer: *mut *mut RecordsConsumer,
) -> c_int {
    let shards = first..first.saturating_add(count);
    // SAFETY: the caller's promise.
    code(unsafe { open(arena, name, Some(shards), consumer, only) })
}

/// See the header.
///
/// # Safety
///
/// As [`arenaq_records_consumer_open`]; whoever consumed of the records has died, and what it did happened before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_records_consumer_take_over(
    arena: *const Attached,
    name: *const c_char,
    consumer: *mut *mut RecordsConsumer,
) -> c_int {
    let next = |records: &ArenaRecords<'static>, shard| match records.consumer(shard) {
        Ok(consumer) => Ok(consumer),
        Err(ConsumerTaken { owner }) => match owner.try_into() {
            // SAFETY: the caller's promise.
            Ok(dead) => unsafe { records.consumer_after_death(shard, dead) },
            // It was given up meanwhile.
            Err(_) => records.consumer(shard),
        },
    };
    // SAFETY: the caller's promise.
    code(unsafe { open(arena, name, None, consumer, next) })
}

/// The consumer of a shard that has none.
fn only(records: &ArenaRecords<'static>, shard: usize) -> Result<ShardConsumer, ConsumerTaken> {
    records.consumer(shard)
}

/// Opens a consumer of all shards, or of these.
///
/// # Safety
///
/// As [`arenaq_records_consumer_open`].
unsafe fn open(
    arena: *const Attached,
    name: *const c_char,
    shards: Option<Range<usize>>,
    consumer: *mut *mut RecordsConsumer,
    of_shard: impl Fn(&ArenaRecords<'static>, usize) -> Result<ShardConsumer, ConsumerTaken>,
) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let (arena, place) = unsafe { (shared("arena", arena)?, exclusive("consumer", consumer)?) };
    // SAFETY: the caller's promise.
    let name = unsafe { text("the name of the records", name) }?;
    // SAFETY: the consumer keeps it, and drops it behind all that is made of it.
    let kept: &'static Arena<'static> = unsafe { &*ptr::from_ref(&arena.shared.arena) };
    let records = kept.records(name, this_process())?;
    let all = records.geometry().shards();
    let shards = shards.unwrap_or(0..all);
    if shards.is_empty() || shards.end > all {
        return Err(Failure::invalid(format_args!(
            "the records `{name}` have the shards 0 to {}, and {} to {} are none of them",
            all - 1,
            shards.start,
            shards.end.saturating_sub(1)
        )));
    }
    let shards = match &arena.shared.pinned {
        Some(pinned) => {
            // SAFETY: the arena is the one that is pinned there, and the consumer keeps both.
            let (consumers, right) = unsafe { pinned.acquire_records(kept, records, name, shards) }?;
            Shards { consumers, right: Some(right) }
        }
        None => {
            let taken = |shard, ConsumerTaken { owner }| {
                Failure::new(
                    Status::Busy,
                    format_args!(
                        "process {owner} consumes from shard {shard} of the records `{name}`: close its end, or take over from it if it has died"
                    ),
                )
            };
            let consumers =
                shards.map(|shard| of_shard(&records, shard).map_err(|error| taken(shard, error)));
            Shards { consumers: consumers.collect::<Result<_, _>>()?, right: None }
        }
    };
    let end = Alone::new(shards, kept.event_count_of(name).ok());
    *place = Box::into_raw(Box::new(RecordsConsumer { end, _arena: arena.shared.clone() }));
    Ok(())
}

/// See the header.
///
/// # Safety
///
/// `consumer` is open or null, and `drained` leads to a number that nobody else uses, or is null. `hand_over` may be called with
/// `context`, and does not leave by an exception or a jump. Whoever can write to the memory of the arena leaves alone what it is
/// handed until it returns, as arenaq's producers do.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_records_consumer_drain(
    consumer: *const RecordsConsumer,
    limit: u64,
    hand_over: Option<HandOver>,
    context: *mut c_void,
    drained: *mut u64,
) -> c_int {
    // SAFETY: the caller's promise.
    let drained_place = unsafe { drained.as_mut() };
    // SAFETY: the caller's promise.
    let (Some(consumer), Some(hand_over)) = (unsafe { consumer.as_ref() }, hand_over) else {
        drained_place.into_iter().for_each(|place| *place = 0);
        return Status::Invalid.code();
    };
    let run = consumer.end.run(|shards| {
        shards.drain(limit, |shard, record| {
            // SAFETY: the caller's promise.
            let bytes = unsafe { record.bytes() };
            let record =
                Record { data: bytes.as_ptr().cast(), size: bytes.len(), stamp: record.stamp(), shard };
            // SAFETY: the caller's promise.
            unsafe { hand_over(&raw const record, context) };
        })
    });
    let (count, status) = match run {
        None => (0, Status::Invalid),
        Some((count, Some(_))) => (count, Status::Corrupt),
        Some((0, None)) => (0, Status::NotFound),
        Some((count, None)) => (count, Status::Success),
    };
    drained_place.into_iter().for_each(|place| *place = count);
    status.code()
}

/// See the header.
///
/// # Safety
///
/// `consumer` is open or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_records_consumer_is_quiet(consumer: *const RecordsConsumer) -> c_int {
    // SAFETY: the caller's promise.
    let Some(consumer) = (unsafe { consumer.as_ref() }) else { return 0 };
    let is_quiet = consumer.end.run(|shards| shards.consumers.iter().all(records::Consumer::is_quiet));
    is_quiet.unwrap_or(false).into()
}

/// See the header.
///
/// # Safety
///
/// `consumer` is open or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_records_consumer_sleep(consumer: *const RecordsConsumer) -> c_int {
    // SAFETY: the caller's promise.
    let Some(consumer) = (unsafe { consumer.as_ref() }) else { return Status::Invalid.code() };
    consumer.end.sleep().code()
}

/// See the header.
///
/// # Safety
///
/// `consumer` is open or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_records_consumer_wake(consumer: *const RecordsConsumer) {
    // SAFETY: the caller's promise.
    if let Some(consumer) = unsafe { consumer.as_ref() } {
        consumer.end.wake();
    }
}

/// See the header.
///
/// # Safety
///
/// `consumer` is open or null, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_records_consumer_close(consumer: *mut RecordsConsumer) {
    if !consumer.is_null() {
        // SAFETY: the caller's promise.
        let consumer = unsafe { Box::from_raw(consumer) };
        consumer.end.wake();
    }
}
