//! Queues that outlive the process that made them: pinned in a folder of a BPF file system.
//!
//! | file | what it is |
//! |---|---|
//! | `record` | an array with one entry: where the arena must be mapped, where its header is, and the ids of all that follows |
//! | `arena` | the memory |
//! | others | whatever else of the object was to be pinned |
//! | `doorbell` | what wakes a consumer that sleeps |
//! | `tally` | what consumers have been handed, for each queue |
//! | `queue_1` and on | folders of which nothing but the lock matters: that of each queue after the first |
//! | `link_*` | the attached programs, which push for as long as these files are there |
//!
//! A process that consumes holds a lock, which the kernel gives up when the process ends, however it ends: from the first queue
//! a lock on the folder itself, from each further one on a folder in it. So who gets the lock and finds that somebody has the right to consume knows that this somebody is
//! dead, and takes over ([`arenaq::recovery`] says what is lost then: no event). That is so for all ways to it:
//! [`Pinned::receiver`], [`Loaded::receiver`](crate::Loaded::receiver) before and after [`Loaded::pin`](crate::Loaded::pin), and `arenaq consume`.
//!
//! The record is pinned first and removed last, so that [`unpin()`] can tell what is ours also if `pin` was killed.

mod consumer;
pub(crate) mod pin;
pub(crate) mod record;
mod unpin;

use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use arenaq::KeyValue;
use arenaq::arena::Arena;
use arenaq::payload::Element;
use libbpf_rs::{MapCore, MapHandle, MapType};
use rustix::io::Errno;

pub use self::consumer::{Alone, Consumer, Contents, Share};
use self::record::{ARENA, DOORBELL, Record, TALLY};
pub use self::unpin::{Unpinned, unpin};
use crate::arena::{Mapping, PAGE};
use crate::error::Error;
use crate::folder::Folder;
use crate::queue::Named;
use crate::receiver::carried::{Carried, Recovered};
use crate::receiver::doorbell::Doorbell;
pub use crate::receiver::lock::Wait;
use crate::receiver::lock::holder_ids;
use crate::receiver::records::right::{NamedRecords, acquire as right_to_records};
use crate::receiver::records::{self, RecordReceiver};
use crate::receiver::right;
use crate::receiver::source::this_process;
pub use crate::receiver::tally::Count;
use crate::receiver::tally::Tally;
use crate::receiver::{Keeper, Parts, Receiver};

/// A pinned arena, mapped by this process: for as long as this, its clones, and the receivers that it has handed out live.
#[derive(Clone, Debug)]
pub struct Pinned(Arc<Attached>);

#[derive(Debug)]
struct Attached {
    folder: Folder,
    record: Record,
    /// What wakes consumers, if the object has it.
    doorbell: Option<MapHandle>,
    tally: Tally,
    mapping: Mapping,
    queues: Vec<Named>,
    records: Vec<NamedRecords>,
    /// Where the locks of the queues and of the records are, by their number in the arena.
    locks: Vec<Folder>,
}

impl Pinned {
    /// Maps the arena that is pinned in `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Pinned`] if nothing, or something else, is pinned there, if the folder belongs to another user, or if the
    /// addresses of the arena are in use in this process; [`Error::Privileges`] or [`Error::UserNamespace`] if it may not use
    /// BPF.
    pub fn attach(folder: &Path) -> Result<Pinned, Error> {
        crate::require::privileges()?;
        let folder = Folder::open_followed(folder)?;
        let record = Record::read(&folder)?;
        if record.complete == 0 {
            return Err(folder.refusal(
                "`arenaq pin` has not pinned everything: it is still at work, or was killed; then `arenaq unpin` it, and \
                 pin it anew",
            ));
        }
        let arena = open(&folder, ARENA, MapType::Arena)?;
        let length = u64::from(arena.max_entries()) * PAGE;
        if record.base == 0 || record.length != length {
            return Err(folder.refusal(format!(
                "the arena has {length} bytes and its record says {}: they do not belong together",
                record.length
            )));
        }
        let has_doorbell = record.is_map(DOORBELL);
        let doorbell = has_doorbell.then(|| open(&folder, DOORBELL, MapType::RingBuf)).transpose()?;
        let mapping = map(&folder, &record, &arena)?;
        let arena = mapping.arena()?;
        let queues = Named::all(&arena);
        let records = NamedRecords::all(&arena);
        drop(arena);
        let all = queues.len() + records.len();
        if record.queues != all as u64 {
            return Err(folder.refusal(format!(
                "the arena has {all} queues and its record says {}: they do not belong together",
                record.queues
            )));
        }
        let tally = Tally::open(&folder, open(&folder, TALLY, MapType::Array)?, all)?;
        let locks = (0..all).map(|number| folder.lock(number)).collect::<Result<_, _>>()?;
        Ok(Pinned(Arc::new(Attached { folder, record, doorbell, tally, mapping, queues, records, locks })))
    }

    /// The queues. Consume with [`receiver`](Self::receiver), which excludes other processes.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a fork of the process that attached, [`Error::Arena`] if the header is not what
    /// it should be.
    pub fn arena(&self) -> Result<Arena<'_>, Error> {
        self.0.mapping.arena()
    }

    /// Another map that was pinned with the queues.
    ///
    /// # Errors
    ///
    /// [`Error::Pinned`] if there is none of this name and of this type.
    pub fn map(&self, name: &str, kind: MapType) -> Result<MapHandle, Error> {
        open(&self.0.folder, name, kind)
    }

    /// What all consumers of a queue have been handed since it was made, or of records since they were pinned.
    ///
    /// # Errors
    ///
    /// [`Error::Arena`] if there is no queue of that name.
    pub fn total(&self, queue: &str) -> Result<Count, Error> {
        Ok(self.0.tally.of(self.0.number_of(queue)?)?.total())
    }

    /// The processes that consume from a queue, or records, or wait for the right to, as `/proc/locks` shows them.
    ///
    /// # Errors
    ///
    /// [`Error::Arena`] if there is no queue of that name, [`Error::System`] if the folder cannot be looked at.
    pub fn consumers(&self, queue: &str) -> Result<Vec<u32>, Error> {
        let ids = holder_ids(&self.0.locks[self.0.number_of(queue)?])?;
        Ok(ids.into_iter().filter_map(|id| u32::try_from(id).ok()).collect())
    }

    /// The ids of the programs that are attached. Their BTF says what the queues carry.
    ///
    /// # Errors
    ///
    /// [`Error::Pinned`] if one was removed.
    pub fn programs(&self) -> Result<Vec<u32>, Error> {
        let Attached { folder, record, .. } = &*self.0;
        record.links().map(|link| folder.program_of(&link)).collect()
    }

    /// Whether nothing pushes any more, because the folder or a pinned program in it was removed.
    pub fn is_removed(&self) -> bool {
        let Attached { folder, record, .. } = &*self.0;
        folder.is_gone() || record.links().any(|link| matches!(folder.has(&link), Ok(false)))
    }

    /// The consuming end of the queue of that name, if it carries elements of type `T`, with the right to consume: of an
    /// MPSC queue one process has it, of an MPMC queue several can. It keeps the arena mapped, so it may go to any thread or
    /// task.
    ///
    /// What dead consumers of an MPMC queue have left, now or later, [`recv`](Receiver::recv) hands over.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] if another process has the right, [`Error::Pinned`] if the folder is gone, [`Error::Arena`] if there is
    /// no such queue, or it carries something else; or as [`arena`](Self::arena).
    pub fn receiver<T: Element>(&self, name: &str) -> Result<Receiver<T>, Error> {
        self.receiver_within(name, Wait::none())
    }

    /// As [`receiver`](Self::receiver), and waits if another process has the right.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Pinned`] if the wait was interrupted.
    pub fn receiver_within<T: Element>(&self, name: &str, wait: Wait<'_>) -> Result<Receiver<T>, Error> {
        let parts = self.acquire(name, wait, 0, &mut |_| ())?;
        Ok(Receiver::of(parts, Keeper::new(Arc::clone(&self.0))))
    }

    /// As [`receiver_within`](Self::receiver_within) for whoever does not know the type of the elements: the receiver hands their bytes over.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn receiver_bytes(&self, name: &str, wait: Wait<'_>) -> Result<Receiver<[u8]>, Error> {
        let parts = self.acquire(name, wait, 0, &mut |_| ())?;
        Ok(Receiver::of(parts, Keeper::new(Arc::clone(&self.0))))
    }

    /// As [`receiver_within`](Self::receiver_within), or with `T` as `[u8]` [`receiver_bytes`](Self::receiver_bytes), and hands
    /// up to `limit` elements of what dead consumers of an MPMC queue have left to `recovered` at once. Whoever wants a
    /// place, however many have died, takes one at least: if the dead have all slots, and each has left something, there is
    /// room only when that is taken over.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn receiver_taking_over<T: Carried + ?Sized>(
        &self,
        name: &str,
        wait: Wait<'_>,
        limit: u64,
        mut recovered: impl for<'e> FnMut(T::Handed<'e>),
    ) -> Result<Receiver<T>, Error> {
        let parts = self.acquire(name, wait, limit, &mut recovered)?;
        Ok(Receiver::of(parts, Keeper::new(Arc::clone(&self.0))))
    }

    /// The consuming end of the records of that name: of all their shards, with the right to consume, which one has at a time. It
    /// keeps the arena mapped, so it may go to any thread.
    ///
    /// A record leaves its lane when it was handed over, so the records that a consumer has left that died come to the next one,
    /// and one of them, at most, for the second time.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] if another one has the right, [`Error::Pinned`] if the folder is gone, [`Error::Arena`] if there are no
    /// such records; or as [`arena`](Self::arena).
    pub fn records(&self, name: &str) -> Result<RecordReceiver, Error> {
        self.records_within(name, Wait::none())
    }

    /// As [`records`](Self::records), and waits if another one has the right.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Pinned`] if the wait was interrupted.
    pub fn records_within(&self, name: &str, wait: Wait<'_>) -> Result<RecordReceiver, Error> {
        // SAFETY: as in `acquire`.
        let attached: &'static Attached = unsafe { &*Arc::as_ptr(&self.0) };
        let arena = attached.mapping.arena()?;
        let records = arena.records(name, this_process())?;
        let number = NamedRecords::find(&attached.records, name)?.number;
        let (events, doorbell) = (arena.event_count_of(name).ok(), attached.doorbell()?);
        let (lock, tally) = (&attached.locks[number], attached.tally.of(number)?);
        let (consumers, teller, right) = right_to_records(lock, records, name, None, tally, wait)?;
        let parts = records::Parts { records, consumers, events, doorbell, known: Some((teller, right)) };
        Ok(RecordReceiver::of(parts, Keeper::new(Arc::clone(&self.0))))
    }

    /// What a receiver is made of that keeps this.
    fn acquire<T: Carried + ?Sized>(
        &self,
        name: &str,
        wait: Wait<'_>,
        limit: u64,
        recovered: Recovered<'_, T>,
    ) -> Result<Parts<T>, Error> {
        // SAFETY: it lies there until the last clone of the `Arc` is gone. The receiver keeps one, or a borrow of `self`,
        // drops it behind all that is made of this, and gives nothing of it away.
        let attached: &'static Attached = unsafe { &*Arc::as_ptr(&self.0) };
        let arena = attached.mapping.arena()?;
        let queue = Named::find_in(&arena, &attached.queues, name)?;
        let doorbell = attached.doorbell()?;
        let (events, tally) = (arena.event_count_of(name).ok(), attached.tally.of(queue.number)?);
        let lock = &attached.locks[queue.number];
        let (end, teller, right) = right::acquire::<T>(lock, arena, queue, tally, wait, limit, recovered)?;
        Ok(Parts { end, events, doorbell, known: Some((teller, right)) })
    }

    /// The right to consume pairs, and to account for them.
    ///
    /// What a dead consumer of an MPMC queue has claimed and may not have handed over goes to `recovered`. What those leave
    /// who die later, [`Consumer::take_over`] hands over.
    ///
    /// # Errors
    ///
    /// As [`receiver_within`](Self::receiver_within).
    pub fn wait_for_consumer(
        &self,
        queue: &str,
        wait: Wait<'_>,
        mut recovered: impl FnMut(KeyValue),
    ) -> Result<Consumer<'_>, Error> {
        let parts = self.acquire::<KeyValue>(queue, wait, u64::MAX, &mut recovered)?;
        let receiver = Receiver::of(parts, PhantomData);
        let consumers = Named::find(&self.0.queues, queue)?.consumers;
        Ok(Consumer::new(receiver, &self.0.folder, consumers))
    }
}

impl Attached {
    /// The number of the queue, or of the records, of a name.
    fn number_of(&self, name: &str) -> Result<usize, Error> {
        let records = NamedRecords::find(&self.records, name).map(|records| records.number);
        Ok(records.or_else(|_| Named::find(&self.queues, name).map(|queue| queue.number))?)
    }

    fn doorbell(&self) -> Result<Doorbell, Error> {
        self.doorbell.as_ref().map_or_else(Doorbell::silent, |map| Doorbell::new(map))
    }
}

/// One of the pinned maps.
fn open(folder: &Folder, name: &str, kind: MapType) -> Result<MapHandle, Error> {
    let map = folder.map(name)?;
    if map.map_type() != kind {
        return Err(folder.refusal(format!("{name} is a map of type {:?}, not {kind:?}", map.map_type())));
    }
    Ok(map)
}

/// Maps the arena where its record says that it must be.
fn map(folder: &Folder, record: &Record, arena: &MapHandle) -> Result<Mapping, Error> {
    let range = format!("{:#x} to {:#x}", record.base, record.base.saturating_add(record.length));
    Mapping::at(arena.as_fd(), record.base, record.length, record.header).map_err(|error| match error {
        Errno::EXIST => folder.refusal(format!(
            "the arena must be mapped at {range}, where this process has something else, or the arena already: attach \
             in a process of its own"
        )),
        Errno::BUSY | Errno::INVAL | Errno::TOOBIG => folder.refusal(format!(
            "the kernel does not map the arena at {range}: another process has it elsewhere, so the record is wrong"
        )),
        error => Error::system(format!("mapping the arena at {range}"))(error),
    })
}
