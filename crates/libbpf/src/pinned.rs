//! Queues that outlive the process that made them: pinned in a folder of a BPF file system.
//!
//! | file | what it is |
//! |---|---|
//! | `record` | an array with one entry: where the arena must be mapped, where its header is, and the ids of all that follows |
//! | `arena` | the memory |
//! | others | whatever else of the object was to be pinned |
//! | `doorbell` | what wakes a consumer that sleeps |
//! | `tally` | what consumers have been handed |
//! | `link_*` | the attached programs, which push for as long as these files are there |
//!
//! A process that consumes holds a lock on the folder, which the kernel gives up when the process ends, however
//! it ends. So who gets the lock and finds that somebody has the right to consume knows that this somebody is
//! dead, and takes over ([`arenaq::recovery`] says what is lost then: no event). That is so for all ways to it:
//! [`Pinned::consumer`], [`Loaded::receiver`](crate::Loaded::receiver) before and after [`Loaded::pin`](crate::Loaded::pin), and `arenaq consume`.
//!
//! The record is pinned first and removed last, so that [`unpin()`] can tell what is ours also if `pin` was killed.

mod consumer;
pub(crate) mod pin;
pub(crate) mod record;
mod unpin;

use std::os::fd::AsFd;
use std::path::Path;

use arenaq::KeyValue;
use arenaq::arena::Arena;
use libbpf_rs::{MapCore, MapHandle, MapType};
use rustix::io::Errno;

pub use self::consumer::{Alone, Consumer, Contents, Share};
use self::record::{ARENA, DOORBELL, Record, TALLY};
pub use self::unpin::{Unpinned, unpin};
use crate::arena::{Mapping, PAGE};
use crate::error::Error;
use crate::folder::Folder;
use crate::queue::QueueKind;
use crate::receiver::Receiver;
use crate::receiver::doorbell::Doorbell;
pub use crate::receiver::lock::Wait;
use crate::receiver::right;
pub use crate::receiver::tally::Count;
use crate::receiver::tally::Tally;

/// A pinned arena, mapped by this process.
#[derive(Debug)]
pub struct Pinned {
    folder: Folder,
    record: Record,
    doorbell: MapHandle,
    tally: Tally,
    mapping: Mapping,
}

impl Pinned {
    /// Maps the arena that is pinned in `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Pinned`] if nothing, or something else, is pinned there, or if the addresses of the arena are
    /// in use in this process; [`Error::Privileges`] or [`Error::UserNamespace`] if it may not use BPF.
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
        let doorbell = open(&folder, DOORBELL, MapType::RingBuf)?;
        let tally = Tally::open(&folder, open(&folder, TALLY, MapType::Array)?)?;
        let mapping = map(&folder, &record, &arena)?;
        let pinned = Pinned { folder, record, doorbell, tally, mapping };
        pinned.arena()?;
        Ok(pinned)
    }

    /// The queue that was pinned.
    pub fn queue(&self) -> QueueKind {
        self.record.queue()
    }

    /// The queues. Consume with [`consumer`](Self::consumer), which excludes other processes.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a fork of the process that attached, [`Error::Arena`] if the header is not what
    /// it should be.
    pub fn arena(&self) -> Result<Arena<'_>, Error> {
        self.mapping.arena()
    }

    /// Another map that was pinned with the queue.
    ///
    /// # Errors
    ///
    /// [`Error::Pinned`] if there is none of this name and of this type.
    pub fn map(&self, name: &str, kind: MapType) -> Result<MapHandle, Error> {
        open(&self.folder, name, kind)
    }

    /// What all consumers have been handed since the queue was made.
    pub fn total(&self) -> Count {
        self.tally.total()
    }

    /// Whether nothing pushes any more, because the folder or a pinned program in it was removed.
    pub fn is_removed(&self) -> bool {
        self.folder.is_gone() || self.record.links().any(|link| matches!(self.folder.has(&link), Ok(false)))
    }

    /// The right to consume. For MPSC there is one; for MPMC several processes can have it.
    ///
    /// What a dead consumer of the MPMC queue has claimed and may not have handed over goes to `recovered`. What those leave
    /// who die later, [`Consumer::take_over`] hands over.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] if another process has the right, [`Error::Pinned`] if the folder is gone, or as
    /// [`arena`](Self::arena).
    pub fn consumer(&self, recovered: impl FnMut(KeyValue)) -> Result<Consumer<'_>, Error> {
        self.wait_for_consumer(Wait::none(), recovered)
    }

    /// As [`consumer`](Self::consumer), and waits if another process has the right.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Pinned`] if the wait was interrupted.
    pub fn wait_for_consumer(
        &self,
        wait: Wait<'_>,
        mut recovered: impl FnMut(KeyValue),
    ) -> Result<Consumer<'_>, Error> {
        let arena = self.arena()?;
        let (events, doorbell) = (arena.event_count()?, Doorbell::new(&self.doorbell)?);
        let (source, teller, right) =
            right::acquire(&self.folder, arena, self.queue(), &self.tally, wait, Some(&mut recovered))?;
        let receiver = Receiver::new(source, events, doorbell).counted(teller, right);
        Ok(Consumer::new(receiver, &self.folder, self.queue()))
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
