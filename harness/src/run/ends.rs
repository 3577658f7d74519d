//! The consuming ends of a run: one is that of a queue, or of some shards of records.

use std::ops::Range;

use arenaq::arena::{Arena, Owner};
use arenaq::platform::Native;
use arenaq::records::{Consumer, Record};
use arenaq::structures::Kind;
use arenaq::{KeyValue, PopError};
use arenaq_libbpf::RecordReceiver;

use super::options::Options;
use crate::consume::{Drain, LONGEST_SLEEP, NAP};
use crate::error::Error;
use crate::event::{RECORDS, Reader};

/// Of either.
pub(super) enum End<Q, R> {
    Queue(Q),
    Records(Checked<R>),
}

impl<Q: Drain, R: Shards> Drain for End<Q, R> {
    fn drain(&mut self, limit: u64, hand_over: impl FnMut(KeyValue)) -> Result<u64, PopError> {
        match self {
            End::Queue(queue) => queue.drain(limit, hand_over),
            End::Records(records) => records.drain(limit, hand_over),
        }
    }

    fn idle(&mut self) -> Result<(), Error> {
        match self {
            End::Queue(queue) => queue.idle(),
            End::Records(Checked { shards, .. }) => shards.idle(),
        }
    }

    fn damaged(&self) -> u64 {
        match self {
            End::Queue(queue) => queue.damaged(),
            End::Records(Checked { reader, .. }) => reader.damaged,
        }
    }
}

/// What consumes some shards.
pub(super) trait Shards {
    /// Hands over up to `limit` records.
    fn drain(&mut self, limit: u64, hand_over: impl FnMut(Record<'_, Native>)) -> Result<u64, PopError>;
    /// Whether no producer has begun a record and not ended it.
    fn is_quiet(&self) -> bool;
    /// Waits a moment for more.
    fn idle(&mut self) -> Result<(), Error>;
}

impl Shards for RecordReceiver {
    fn drain(&mut self, limit: u64, hand_over: impl FnMut(Record<'_, Native>)) -> Result<u64, PopError> {
        RecordReceiver::drain(self, limit, hand_over).map_err(|_| PopError::Corrupt)
    }

    fn is_quiet(&self) -> bool {
        RecordReceiver::is_quiet(self)
    }

    fn idle(&mut self) -> Result<(), Error> {
        Ok(self.sleep(LONGEST_SLEEP)?)
    }
}

impl Shards for Vec<Consumer<'_, Native>> {
    fn drain(&mut self, limit: u64, mut hand_over: impl FnMut(Record<'_, Native>)) -> Result<u64, PopError> {
        let mut left = limit;
        for consumer in self.iter_mut() {
            left -= consumer.drain_in_place(left, &mut hand_over).map_err(|_| PopError::Corrupt)?;
        }
        // The limit is not always used up by the same shard.
        self.rotate_left(1);
        Ok(limit - left)
    }

    fn is_quiet(&self) -> bool {
        self.iter().all(Consumer::is_quiet)
    }

    fn idle(&mut self) -> Result<(), Error> {
        std::thread::sleep(NAP);
        Ok(())
    }
}

/// Records of which each byte is looked at.
pub(super) struct Checked<R> {
    shards: R,
    reader: Reader,
}

impl<R: Shards> Checked<R> {
    pub(super) fn new(shards: R) -> Checked<R> {
        Checked { shards, reader: Reader::default() }
    }

    fn drain(&mut self, limit: u64, mut hand_over: impl FnMut(KeyValue)) -> Result<u64, PopError> {
        let Checked { shards, reader } = self;
        match shards.drain(limit, |record| hand_over(reader.read(&record)))? {
            0 if shards.is_quiet() => Err(PopError::Empty),
            0 => Err(PopError::Busy),
            drained => Ok(drained),
        }
    }
}

/// Whether there is a shard for each consumer.
///
/// # Errors
///
/// [`Error::Usage`] if there are fewer.
pub(super) fn check_shards(options: &Options, arena: &Arena<'_>) -> Result<(), Error> {
    if options.queue != Kind::Records {
        return Ok(());
    }
    let shards = shards(arena)?;
    if options.consumers as usize <= shards {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "records have one consumer for each shard at most, and there are {shards} of them, one for each processor: take as many \
         --consumers, or fewer"
    )))
}

fn shards(arena: &Arena<'_>) -> Result<usize, Error> {
    Ok(arena.records(RECORDS, Owner::ANONYMOUS)?.geometry().shards())
}

/// The shards of the consumer of that number.
///
/// # Errors
///
/// [`Error::Library`] if the arena has no records.
pub(super) fn shards_of(options: &Options, arena: &Arena<'_>, number: u32) -> Result<Range<usize>, Error> {
    let (shards, all) = (shards(arena)?, options.consumers as usize);
    let first = |number: usize| number * shards / all;
    Ok(first(number as usize)..first(number as usize + 1))
}
