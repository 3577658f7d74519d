//! A loaded object, and the queue in its arena.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use arenaq::arena::Arena;
use libbpf_rs::{Link, Map, MapCore, MapHandle, Object};

use crate::arena::{Globals, Mapping};
use crate::error::Error;
use crate::folder::Folder;
use crate::pinned::pin::pin;
use crate::pinned::record::{ARENA, DOORBELL, TALLY};
use crate::queue::QueueKind;
use crate::receiver::Receiver;
use crate::receiver::doorbell::Doorbell;
use crate::receiver::right::Ends;
use crate::receiver::tally::Tally;

/// A loaded object with a queue in its arena. The kernel objects live as long as this.
#[derive(Debug)]
pub struct Loaded {
    // Dropped in this order: first nothing pushes any more, then the maps go.
    links: Mutex<Vec<Link>>,
    object: Object,
    mapping: Mapping,
    queue: QueueKind,
    /// Who consumes, and what was consumed.
    ends: Ends,
    tally: OnceLock<Tally>,
}

impl Loaded {
    /// Makes a queue for `capacity` elements, which may be grown to `limit`, in the arena of an object. Nothing is
    /// attached yet.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if the arena is not found, [`Error::Create`] or [`Error::Arena`] if the queue does not fit.
    ///
    /// # Safety
    ///
    /// `globals` are the addresses of variables of these types in the arena of `object`, and no program has used them
    /// yet.
    pub unsafe fn create(
        object: Object,
        globals: &Globals,
        queue: QueueKind,
        capacity: u64,
        limit: u64,
    ) -> Result<Loaded, Error> {
        // SAFETY: libbpf has mapped the arena for as long as the object lives, which is kept beside the mapping.
        let mapping = unsafe { Mapping::around(globals.header) }?;
        mapping.create(globals, queue, capacity, limit)?;
        Ok(Loaded {
            links: Mutex::default(),
            object,
            mapping,
            queue,
            ends: Ends::default(),
            tally: OnceLock::new(),
        })
    }

    /// The object.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// Which queue it has.
    pub fn queue(&self) -> QueueKind {
        self.queue
    }

    /// The queues, for as long as the object is loaded.
    ///
    /// Consume from a queue that is pinned, or will be, with [`receiver`](Self::receiver): what a consumer pops that
    /// is made of this arena is missing in the tally of what was consumed. Of an MPSC queue that is pinned there is
    /// none; one of an MPMC queue is not known to those who take over from dead consumers.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a fork of the process that loaded, [`Error::Arena`] if the header is not what it should
    /// be.
    pub fn arena(&self) -> Result<Arena<'_>, Error> {
        self.mapping.arena()
    }

    /// The consuming end of the queue, for a consumer that sleeps while nothing comes.
    ///
    /// If the queue is pinned, or is pinned later, this holds the right to consume from it: the lock on the folder.
    ///
    /// # Errors
    ///
    /// As [`arena`](Self::arena), and [`Error::Arena`] or [`Error::Held`] if somebody else has the right: the MPSC
    /// queue has one consumer.
    pub fn receiver(&self) -> Result<Receiver<'_>, Error> {
        let arena = self.arena()?;
        let (events, doorbell) = (arena.event_count()?, self.doorbell()?);
        let (source, teller, right) = self.ends.acquire(arena, self.queue, self.tally()?)?;
        Ok(Receiver::new(source, events, doorbell).counted(teller, right))
    }

    /// What wakes consumers: the map `doorbell`, a ring buffer.
    ///
    /// # Errors
    ///
    /// [`Error`] if there is no such map, or it cannot be mapped.
    pub fn doorbell(&self) -> Result<Doorbell, Error> {
        Doorbell::new(&self.map(DOORBELL)?)
    }

    /// What consumers that outlive this process, or take over from it, have counted.
    fn tally(&self) -> Result<&Tally, Error> {
        if let Some(tally) = self.tally.get() {
            return Ok(tally);
        }
        let new = Tally::new()?;
        Ok(self.tally.get_or_init(|| new))
    }

    /// The attached programs: what is put here stays attached until it is taken out, or this is dropped.
    pub fn links(&self) -> MutexGuard<'_, Vec<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A map of the object.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if it has none of this name.
    pub fn map(&self, name: &str) -> Result<Map<'_>, Error> {
        self.object
            .maps()
            .find(|map| map.name() == name)
            .ok_or_else(|| Error::Usage(format!("the BPF object has no map {name}")))
    }

    /// Pins the arena and the attached programs ([`links`](Self::links)) in `folder`, which is made, for its owner only.
    /// They go on when this process has ended, until [`unpin`](crate::pinned::unpin()), and are attached until both.
    /// `further` are names of other maps of the object that are pinned with them, and found again with
    /// [`Pinned::map`](crate::pinned::Pinned::map).
    ///
    /// From now on the right to consume is the lock on the folder: a [`Receiver`] that exists gets it, and
    /// `arena().mpsc_consumer::<KeyValue, Counted>(MPSC)` is refused.
    ///
    /// # Errors
    ///
    /// [`Error::Pinned`] if `folder` exists or is not on a BPF file system, if the queue is pinned already or has a
    /// consumer that is no [`Receiver`]; [`Error::Usage`] if the object has no such map; [`Error::Bpf`] or [`Error::System`] if the kernel refuses. Nothing stays
    /// pinned then.
    pub fn pin(&self, folder: &Path, further: &[&str]) -> Result<(), Error> {
        let arena = self.arena()?;
        let mut maps = Vec::new();
        for &name in [ARENA].iter().chain(further).chain(&[DOORBELL]) {
            maps.push((name, MapHandle::try_from(&self.map(name)?).map_err(using(name))?));
        }
        maps.push((TALLY, MapHandle::try_from(self.tally()?.handle()).map_err(using(TALLY))?));
        let folder = Folder::make(folder)?;
        self.ends.pin(folder, &arena, self.queue, |folder| {
            pin(folder, &self.mapping, self.queue, &maps, &mut self.links())
        })
    }
}

fn using(map: &str) -> impl FnOnce(libbpf_rs::Error) -> Error {
    Error::bpf(format!("using the map {map}"))
}
