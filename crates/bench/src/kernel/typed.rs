//! Queues with names, of elements of any type: as whoever uses `arenaq-libbpf` makes them and takes from them.

use anyhow::{Context, bail};
use arenaq::PopError;
use arenaq::arena::Consumer;
use arenaq_bpf_build::Instructions;
use arenaq_libbpf::{Queues, RecordReceiver};
use libbpf_rs::{ObjectBuilder, OpenObject};

use super::object::Loaded;
use super::seen::Seen;
use super::size::Size;
use crate::user::queue::Element;

/// A loaded object, and the one of its queues that is used.
#[derive(Debug)]
pub(super) struct Typed {
    queues: Queues,
    queue: String,
    size: Size,
    is_records: bool,
}

/// Records that are built in place.
pub(super) const RECORDS: &str = "records";
/// The same, built in scratch memory and copied.
pub(super) const SCRATCH: &str = "scratch";

/// No queue: one locked instruction, which gives a place, and the writing of as many words as a record has.
pub(super) const WRITTEN: &str = "add_and_write";
/// The same, with words that are built elsewhere and copied.
pub(super) const COPIED: &str = "add_and_copy";

/// How large a shard is whose first lane, which has half of it, has room for so many records.
pub(super) fn shard_bytes(size: Size, records: u64) -> u64 {
    const HEADER: u64 = 16;
    2 * size.bytes_with(HEADER, records).next_power_of_two()
}

impl Typed {
    /// Loads the program that pushes elements of this size to the queue of this kind, and makes room for so many.
    ///
    /// # Errors
    ///
    /// If the kernel refuses, or there is no such queue.
    pub(super) fn load(kind: &str, size: Size, capacity: u64) -> anyhow::Result<(Loaded, Typed)> {
        // Those that are built in scratch memory go to the same records, and what only writes does so in their memory.
        let is_records = matches!(kind, RECORDS | SCRATCH | WRITTEN | COPIED);
        let queue = format!("{}_{size}", if is_records { RECORDS } else { kind });
        let program = Typed::program(kind, size);
        let mut queues = Queues::of(&open(Instructions::AcquireRelease, &program)?)?;
        queues.set_capacity(&queue, if is_records { shard_bytes(size, capacity) } else { capacity })?;
        let loaded = Loaded::by(&program, |instructions| Ok(queues.load(open(instructions, &program)?)?))?;
        queues.create(loaded.object())?;
        Ok((loaded, Typed { queues, queue, size, is_records }))
    }

    /// The name of the program.
    pub(super) fn program(kind: &str, size: Size) -> String {
        format!("push_{kind}_{size}")
    }

    /// The consuming end of the queue, which is in that object.
    ///
    /// # Errors
    ///
    /// If somebody else has it.
    pub(super) fn consumer<'a>(&self, loaded: &'a Loaded) -> anyhow::Result<Box<dyn Drain + 'a>> {
        if self.is_records {
            return Ok(Box::new(self.queues.records(loaded.object(), &self.queue, None)?));
        }
        let arena = self.queues.attach(loaded.object()).context("the arena of the queues with names")?;
        Ok(match self.size.fixed() {
            Some(8) => Box::new(arena.consumer::<[u64; 1]>(&self.queue)?),
            Some(16) => Box::new(arena.consumer::<[u64; 2]>(&self.queue)?),
            Some(64) => Box::new(arena.consumer::<[u64; 8]>(&self.queue)?),
            Some(256) => Box::new(arena.consumer::<[u64; 32]>(&self.queue)?),
            Some(1024) => Box::new(arena.consumer::<[u64; 128]>(&self.queue)?),
            _ => bail!("no queue is declared for elements of {} bytes", self.size),
        })
    }
}

/// A consuming end, whatever it takes.
pub(super) trait Drain {
    /// Takes up to so many elements.
    fn drain(&mut self, limit: u64, seen: &Seen) -> Result<u64, PopError>;
}

impl<T: Element> Drain for Consumer<'_, T> {
    fn drain(&mut self, limit: u64, seen: &Seen) -> Result<u64, PopError> {
        Consumer::drain(self, limit, |element| seen.take(element.serial()))
    }
}

impl<K> Drain for RecordReceiver<K> {
    fn drain(&mut self, limit: u64, seen: &Seen) -> Result<u64, PopError> {
        let drained = RecordReceiver::drain(self, limit, |record| {
            seen.take(record.words().next().unwrap_or_default());
        });
        match drained {
            Ok(0) => Err(PopError::Empty),
            Ok(drained) => Ok(drained),
            Err(_) => Err(PopError::Corrupt),
        }
    }
}

fn open(instructions: Instructions, wanted: &str) -> anyhow::Result<OpenObject> {
    let object: &[u8] = match instructions {
        Instructions::AcquireRelease => include_bytes!(env!("ARENAQ_TYPED_ACQUIRE_RELEASE")),
        Instructions::Tso => include_bytes!(env!("ARENAQ_TYPED_TSO")),
        Instructions::FullBarrier => include_bytes!(env!("ARENAQ_TYPED_FULL_BARRIER")),
    };
    let mut open = ObjectBuilder::default().name("arenaq_typed")?.open_memory(object)?;
    for mut program in open.progs_mut() {
        let load = program.name() == wanted;
        program.set_autoload(load);
    }
    Ok(open)
}
