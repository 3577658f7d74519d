//! Queues that outlive the process that made them: pinned in a folder of a BPF file system.
//!
//! | file | what it is |
//! |---|---|
//! | `record` | an array with one entry: where the arena must be mapped, where its header is, and the ids of all that follows |
//! | `arena` | the memory |
//! | `counters`, `traced` | the programs' counts, and the tasks that are traced |
//! | `doorbell` | what wakes a consumer that sleeps |
//! | `tally` | what consumers have been handed |
//! | `link_*` | the attached programs, which push for as long as these files are there |
//!
//! A process that consumes holds a lock on the folder, which the kernel gives up when the process ends, however
//! it ends. So who gets the lock and finds that somebody has the right to consume knows that this somebody is
//! dead, and takes over ([`arenaq::recovery`] says what is lost then: no event). That is so for all ways to it:
//! [`Pinned::consumer`], [`Kernel::receiver`] before and after [`Kernel::pin`], and `arenaq consume`.
//!
//! The record is pinned first and removed last, so that [`unpin()`] can tell what is ours also if `pin` was killed.

mod folder;
mod lock;
mod record;
mod right;
mod tally;
mod unpin;

use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::path::Path;
use std::ptr;

use arenaq::arena::{Arena, ArenaError, Region};
use arenaq::{Corruption, KeyValue, PopError};
use libbpf_rs::{MapCore, MapHandle, MapType};
use rustix::io::Errno;
use rustix::mm::{MapFlags as MmapFlags, ProtFlags, mmap, munmap};

use self::folder::Folder;
use self::lock::Hold;
pub use self::lock::Wait;
use self::record::{ARENA, COUNTERS, DOORBELL, MAPS, RECORD, Record, TALLY, TRACED, link_name};
pub(crate) use self::right::{Ends, Right};
pub(crate) use self::tally::{Count, Tally, Teller};
pub use self::unpin::{Unpinned, unpin};
use crate::consume::{Drain, Source};
use crate::doorbell::Doorbell;
use crate::error::Error;
use crate::kernel::{Kernel, PAGE, QueueKind, counters};
use crate::object::{Counters, checksum};
use crate::receiver::Receiver;
use crate::trace::trace;

/// Removes what was pinned, unless it is complete.
struct Incomplete<'a> {
    folder: &'a Folder,
    names: Vec<String>,
    complete: bool,
}

impl Drop for Incomplete<'_> {
    fn drop(&mut self) {
        if !self.complete {
            for name in self.names.drain(..).rev() {
                // The error that is reported is the one before.
                let _ = self.folder.remove(&name);
            }
        }
    }
}

impl Kernel {
    /// Pins the arena and the attached programs in `folder`, which is made, for its owner only. They go on when this
    /// process has ended, until [`unpin()`], and are attached until both.
    ///
    /// From now on the right to consume is the lock on the folder: a [`Receiver`] that exists gets it, and
    /// `arena().mpsc_consumer()` is refused.
    ///
    /// # Errors
    ///
    /// [`Error::Pinned`] if `folder` exists or is not on a BPF file system, if the queue is pinned already or has a
    /// consumer that is no [`Receiver`]; [`Error::Bpf`] or [`Error::System`] if the kernel refuses. Nothing stays
    /// pinned then.
    pub fn pin(&self, folder: &Path) -> Result<(), Error> {
        let arena = self.arena()?;
        let mut maps = Vec::new();
        for name in MAPS {
            let map = match name {
                TALLY => MapHandle::try_from(self.tally()?.handle()),
                name => MapHandle::try_from(&self.map(name)?),
            };
            maps.push((name, map.map_err(Error::bpf(format!("using the map {name}")))?));
        }
        let folder = Folder::make(folder)?;
        self.ends.pin(folder, &arena, self.queue, |folder| self.pin_all(folder, &maps))
    }

    fn pin_all(&self, folder: &Folder, maps: &[(&str, MapHandle)]) -> Result<(), Error> {
        let mut links = self.links();
        let mut map_ids = [0; MAPS.len()];
        for (id, (name, map)) in map_ids.iter_mut().zip(maps) {
            *id = map.info().map_err(Error::bpf(format!("looking at the map {name}")))?.info.id;
        }
        let mut link_ids = Vec::new();
        for link in links.iter() {
            link_ids.push(link.info().map_err(Error::bpf("looking at an attached program"))?.id);
        }
        let place = (self.base, self.length, self.header);
        let record = Record::new(place, self.queue, map_ids, &link_ids)?;

        let mut incomplete = Incomplete { folder, names: Vec::new(), complete: false };
        let record_map = record.pin(folder)?;
        incomplete.names.push(RECORD.to_owned());
        for (name, map) in maps {
            folder.pin(map.as_fd(), name)?;
            incomplete.names.push((*name).to_owned());
        }
        for (number, link) in links.iter().enumerate() {
            let name = link_name(number);
            folder.pin(link.as_fd(), &name)?;
            incomplete.names.push(name);
        }
        record.completed(&record_map)?;
        incomplete.complete = true;
        for link in links.iter_mut() {
            // Else libbpf would disable the event of a uprobe when the link is dropped, pinned or not.
            link.disconnect();
        }
        Ok(())
    }
}

/// A pinned arena, mapped by this process.
#[derive(Debug)]
pub struct Pinned {
    folder: Folder,
    record: Record,
    counters: MapHandle,
    traced: MapHandle,
    doorbell: MapHandle,
    tally: Tally,
    /// A fork has no arena.
    process: u32,
}

impl Pinned {
    /// Maps the arena that is pinned in `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Pinned`] if nothing, or something else, is pinned there, or if the addresses of the arena are
    /// in use in this process.
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
        let counters = open(&folder, COUNTERS, MapType::PercpuArray)?;
        let traced = open(&folder, TRACED, MapType::TaskStorage)?;
        let doorbell = open(&folder, DOORBELL, MapType::RingBuf)?;
        let tally = Tally::open(&folder, open(&folder, TALLY, MapType::Array)?)?;
        map(&folder, &record, &arena)?;
        let process = std::process::id();
        let pinned = Pinned { folder, record, counters, traced, doorbell, tally, process };
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
    pub fn arena(&self) -> Result<Arena<'_, KeyValue>, Error> {
        require_same_process(self.process)?;
        let (base, length) = (self.record.base as usize, self.record.length as usize);
        // SAFETY: `attach` has mapped these addresses, and they are unmapped when `self` is dropped, which the
        // region borrows. The arena is written only by arenaq's algorithms: that is what its header says, which
        // `Arena::attach` looks at.
        let region = unsafe { Region::new(ptr::with_exposed_provenance_mut(base), length) }?;
        Ok(Arena::attach(region, self.record.header as usize)?)
    }

    /// The sum of all CPUs' counters.
    ///
    /// # Errors
    ///
    /// [`Error`] if the map cannot be read.
    pub fn counters(&self) -> Result<Counters, Error> {
        counters(&self.counters)
    }

    /// Marks a process as traced, with all its threads; see [`Kernel::trace`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn trace(&self, task: u32) -> Result<u32, Error> {
        trace(&self.traced, task)
    }

    /// What all consumers have counted.
    pub(crate) fn total(&self) -> Count {
        self.tally.total()
    }

    /// Whether nothing pushes any more, because the folder or a pinned program in it was removed.
    pub fn is_removed(&self) -> bool {
        self.folder.is_gone() || self.record.links().any(|link| matches!(self.folder.has(&link), Ok(false)))
    }

    /// The right to consume. For MPSC there is one; for MPMC several processes can have it.
    ///
    /// What a dead consumer of the MPMC queue has claimed and may not have handed over goes to `recovered`,
    /// if no other consumer is alive.
    ///
    /// # Errors
    ///
    /// [`Error::Pinned`] if another process has the right, or as [`arena`](Self::arena).
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
        let begin = |source: &Source<'_>, hold| {
            let mut teller = self.tally.teller()?;
            if hold == Hold::Alone {
                teller.find_dead(self.queue());
                if let Source::Mpmc(_) = source {
                    reclaim(source, &mut teller, &mut recovered)?;
                }
            }
            Ok(teller)
        };
        let (source, teller, right) = right::acquire(&self.folder, arena, self.queue(), wait, begin)?;
        let receiver = Receiver::new(source, events, doorbell).counted(teller, right);
        Ok(Consumer { receiver, pinned: self })
    }
}

/// Hands over what the dead consumers of an MPMC queue have claimed. To be called with the lock held alone.
fn reclaim(
    source: &Source<'_>,
    teller: &mut Teller<'_>,
    mut recovered: impl FnMut(KeyValue),
) -> Result<(), Error> {
    if let Source::Mpmc(queue) = source {
        let hand_over = |event| {
            recovered(event);
            teller.count(event);
        };
        // SAFETY: every consumer holds the lock, and we hold it alone, so all that had it before have ended; the
        // kernel orders their end before the lock.
        unsafe { queue.reclaim(hand_over) }.map_err(ArenaError::from)?;
        teller.bury();
    }
    Ok(())
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            let base = ptr::with_exposed_provenance_mut(self.record.base as usize);
            // SAFETY: `attach` has mapped exactly this, and every handle to it has borrowed `self`. In a fork
            // something else may be there.
            let _ = unsafe { munmap(base, self.record.length as usize) };
        }
    }
}

/// The consuming end of a pinned queue. Others can have it when this is dropped, or its process has ended.
#[derive(Debug)]
pub struct Consumer<'a> {
    receiver: Receiver<'a>,
    pinned: &'a Pinned,
}

impl<'a> Deref for Consumer<'a> {
    type Target = Receiver<'a>;

    fn deref(&self) -> &Receiver<'a> {
        &self.receiver
    }
}

impl<'a> DerefMut for Consumer<'a> {
    fn deref_mut(&mut self) -> &mut Receiver<'a> {
        &mut self.receiver
    }
}

/// What lies in a queue from which nobody pops.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    pub(crate) length: u64,
    pub(crate) checksum: u64,
    pub(crate) verify: Result<(), Corruption>,
}

impl<'a> Consumer<'a> {
    /// This consumer's part of the tally.
    pub(crate) fn teller(&mut self) -> Option<&mut Teller<'a>> {
        let (_, teller, _) = self.receiver.parts();
        teller
    }

    /// Whether no other consumer lives, and none that died has left anything. For one who has ended to pop: the
    /// right may be gone then.
    ///
    /// What dead consumers of an MPMC queue have claimed goes to `recovered`, if there is somebody to take it.
    pub(crate) fn is_alone(&mut self, recovered: Option<impl FnMut(KeyValue)>) -> Result<bool, Error> {
        let (source, teller, right) = self.receiver.parts();
        let (Some(teller), Some(right)) = (teller, right) else { return Ok(false) };
        if !right.is_alone(&self.pinned.folder)? {
            // Without the lock it would be taken for dead.
            teller.retire();
            return Ok(false);
        }
        if matches!(source, Source::Mpmc(_)) && teller.find_dead(QueueKind::Mpmc) {
            let Some(recovered) = recovered else { return Ok(false) };
            reclaim(source, teller, recovered)?;
        }
        Ok(true)
    }

    /// What lies in the queue, for one who is [alone](Self::is_alone).
    pub(crate) fn contents(&mut self) -> Contents {
        let (mut length, mut sum) = (0, 0u64);
        let count = |event: &KeyValue| {
            sum = sum.wrapping_add(checksum(event.key, event.value));
            length += 1;
            false
        };
        let (source, ..) = self.receiver.parts();
        let verify = match source {
            Source::Mpmc(queue) => {
                let verify = queue.verify_quiesced();
                // SAFETY: the lock on the folder is held alone, so nobody pops.
                let searched = unsafe { queue.search(count) };
                verify.and(searched.map(|_| ()))
            }
            Source::Mpsc(consumer) => {
                let verify = consumer.verify_quiesced();
                consumer.search(count);
                verify
            }
        };
        Contents { length, checksum: sum, verify }
    }
}

impl Drain for Consumer<'_> {
    fn drain(&mut self, limit: u64, hand_over: impl FnMut(KeyValue)) -> Result<u64, PopError> {
        self.receiver.drain(limit, hand_over)
    }

    fn idle(&mut self) -> Result<(), Error> {
        self.receiver.idle()
    }
}

/// Fails in a process other than the one that has mapped an arena.
pub(crate) fn require_same_process(process: u32) -> Result<(), Error> {
    if process == std::process::id() { Ok(()) } else { Err(Error::Forked { parent: process }) }
}

/// One of the pinned maps.
fn open(folder: &Folder, name: &str, kind: MapType) -> Result<MapHandle, Error> {
    let map = folder.map(name)?;
    if map.map_type() != kind {
        return Err(folder.refusal(format!("{name} is a map of type {:?}, not {kind:?}", map.map_type())));
    }
    Ok(map)
}

fn map(folder: &Folder, record: &Record, arena: &MapHandle) -> Result<(), Error> {
    let base = ptr::with_exposed_provenance_mut(record.base as usize);
    let (access, flags) =
        (ProtFlags::READ | ProtFlags::WRITE, MmapFlags::SHARED | MmapFlags::FIXED_NOREPLACE);
    // SAFETY: with FIXED_NOREPLACE nothing that is mapped already is replaced.
    let mapped = unsafe { mmap(base, record.length as usize, access, flags, arena.as_fd(), 0) };
    let range = format!("{:#x} to {:#x}", record.base, record.base + record.length);
    match mapped {
        Ok(_) => Ok(()),
        Err(Errno::EXIST) => Err(folder.refusal(format!(
                "the arena must be mapped at {range}, where this process has something else, or the arena already: \
                 attach in a process of its own"
            ),
        )),
        Err(Errno::BUSY | Errno::INVAL | Errno::TOOBIG) => Err(folder.refusal(format!(
                "the kernel does not map the arena at {range}: another process has it elsewhere, so the record is wrong"
            ),
        )),
        Err(error) => Err(Error::system(format!("mapping the arena at {range}"))(error)),
    }
}
