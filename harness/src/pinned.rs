//! Queues that outlive the process that made them: pinned in a folder of a BPF file system.
//!
//! | file | what it is |
//! |---|---|
//! | `arena` | the memory |
//! | `record` | an array with one entry: where the arena must be mapped, and where its header is |
//! | `counters`, `traced` | the programs' counts, and the tasks that are traced |
//! | `doorbell` | what wakes a consumer that sleeps |
//! | `link_*` | the attached programs, which push for as long as these files are there |
//!
//! A process that consumes holds a lock on the folder, which the kernel gives up when the process ends, however
//! it ends. So who gets the lock and finds that somebody has the right to consume knows that this somebody is
//! dead, and takes over ([`arenaq::recovery`] says what is lost then: no event).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::num::NonZero;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::ptr;

use arenaq::arena::{Arena, ArenaError, MpscConsumer, Owner, Region};
use arenaq::{KeyValue, PopError};
use bytemuck::{Pod, Zeroable, bytes_of, pod_read_unaligned};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::mm::{MapFlags as MmapFlags, ProtFlags, mmap, munmap};

use crate::consume::{Drain, Source};
use crate::doorbell::Doorbell;
use crate::error::Error;
use crate::kernel::{Kernel, PAGE, QueueKind, counters};
use crate::log;
use crate::object::Counters;
use crate::receiver::Receiver;
use crate::trace::trace;

/// What a process must know before it can map the arena.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
struct Record {
    /// The address of the mapping, the same in every process: the queues' pointers are absolute.
    base: u64,
    /// Its length in bytes.
    length: u64,
    /// The address of the arena's header.
    header: u64,
    /// 0 for MPSC, 1 for MPMC.
    queue: u64,
}

const ARENA: &str = "arena";
const RECORD: &str = "record";
const COUNTERS: &str = "counters";
const TRACED: &str = "traced";
const DOORBELL: &str = "doorbell";
const LINK: &str = "link_";

fn refusal(folder: &Path, reason: impl Into<String>) -> Error {
    Error::Pinned { folder: folder.to_owned(), reason: reason.into() }
}

/// Removes what was pinned, unless it is complete.
struct Incomplete<'a> {
    folder: &'a Path,
    complete: bool,
}

impl Drop for Incomplete<'_> {
    fn drop(&mut self) {
        if !self.complete {
            // What was pinned so far is known to nobody.
            let _ = unpin(self.folder);
        }
    }
}

impl Kernel {
    /// Pins the arena and the attached programs in `folder`, which is made. They go on when this process has
    /// ended, until [`unpin`], and are attached until both.
    ///
    /// # Errors
    ///
    /// [`Error::Pinned`] if `folder` exists or is not on a BPF file system, [`Error::Bpf`] if the kernel
    /// refuses. Nothing stays pinned then.
    pub fn pin(&self, folder: &Path) -> Result<(), Error> {
        check_file_system(folder)?;
        fs::create_dir(folder).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => refusal(
                folder,
                format!(
                    "it exists already; `arenaq unpin {}` takes away what is pinned there",
                    folder.display()
                ),
            ),
            _ => Error::System { what: format!("making {}", folder.display()), source: error },
        })?;
        let mut incomplete = Incomplete { folder, complete: false };
        for name in [ARENA, COUNTERS, TRACED, DOORBELL] {
            let map =
                MapHandle::try_from(&self.map(name)?).map_err(Error::bpf(format!("using the map {name}")))?;
            pin_map(map, &folder.join(name))?;
        }
        pin_map(self.record()?, &folder.join(RECORD))?;
        for (number, link) in self.links().iter_mut().enumerate() {
            link.pin(folder.join(format!("{LINK}{number}")))
                .map_err(Error::bpf("pinning an attached program"))?;
            // Else libbpf would disable the event of a uprobe when the link is dropped, pinned or not.
            link.disconnect();
        }
        incomplete.complete = true;
        Ok(())
    }

    fn record(&self) -> Result<MapHandle, Error> {
        let record = Record {
            base: self.base as u64,
            length: self.length as u64,
            header: self.header as u64,
            queue: u64::from(self.queue == QueueKind::Mpmc),
        };
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as _,
            ..Default::default()
        };
        let map = MapHandle::create(
            MapType::Array,
            Some("arenaq_record"),
            4,
            size_of::<Record>() as u32,
            1,
            &options,
        )
        .map_err(Error::bpf("making the record of where the arena is"))?;
        map.update(&0u32.to_ne_bytes(), bytes_of(&record), MapFlags::ANY)
            .map_err(Error::bpf("writing where the arena is"))?;
        Ok(map)
    }
}

fn pin_map(mut map: MapHandle, path: &Path) -> Result<(), Error> {
    map.pin(path).map_err(Error::bpf(format!("pinning {}", path.display())))
}

fn check_file_system(folder: &Path) -> Result<(), Error> {
    const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let fs = rustix::fs::statfs(parent).map_err(Error::system(format!("looking at {}", parent.display())))?;
    if fs.f_type as u64 == BPF_FS_MAGIC {
        return Ok(());
    }
    Err(refusal(
        folder,
        format!(
            "{} is not on a BPF file system: choose a folder in /sys/fs/bpf, after `mount -t bpf bpf /sys/fs/bpf` if need be",
            parent.display()
        ),
    ))
}

/// Takes away what [`Kernel::pin`] has pinned. Programs are detached, and the memory is freed when the last
/// process that has mapped it has ended.
///
/// # Errors
///
/// [`Error::Pinned`] if `folder` holds anything else, and nothing is removed then; [`Error::System`] if
/// something cannot be removed.
pub fn unpin(folder: &Path) -> Result<(), Error> {
    let what = || format!("removing {}", folder.display());
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(Error::system(what()))?;
    let ours =
        |name: &str| [ARENA, RECORD, COUNTERS, TRACED, DOORBELL].contains(&name) || name.starts_with(LINK);
    if let Some(foreign) = entries.iter().find(|entry| !entry.file_name().to_str().is_some_and(ours)) {
        return Err(refusal(
            folder,
            format!("{} is not ours: nothing was removed", foreign.path().display()),
        ));
    }
    // Links first: nothing pushes into what is not there any more.
    let (links, others): (Vec<_>, Vec<_>) =
        entries.iter().partition(|entry| entry.file_name().as_encoded_bytes().starts_with(LINK.as_bytes()));
    for entry in links.into_iter().chain(others) {
        fs::remove_file(entry.path()).map_err(Error::system(what()))?;
    }
    fs::remove_dir(folder).map_err(Error::system(what()))
}

/// A pinned arena, mapped by this process.
#[derive(Debug)]
pub struct Pinned {
    folder: PathBuf,
    record: Record,
    queue: QueueKind,
    counters: MapHandle,
    traced: MapHandle,
    doorbell: MapHandle,
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
        let record = open(folder, RECORD, MapType::Array)?;
        if record.value_size() as usize != size_of::<Record>() {
            return Err(refusal(
                folder,
                "its record is not one of this version of arenaq: build both with the same",
            ));
        }
        let record = record
            .lookup(&0u32.to_ne_bytes(), MapFlags::ANY)
            .map_err(Error::bpf("reading where the arena is"))?
            .map(|bytes| pod_read_unaligned::<Record>(&bytes))
            .unwrap_or_default();
        let arena = open(folder, ARENA, MapType::Arena)?;
        let length = u64::from(arena.max_entries()) * PAGE;
        if record.base == 0 || record.length != length {
            return Err(refusal(
                folder,
                format!(
                    "the arena has {length} bytes and its record says {}: they do not belong together",
                    record.length
                ),
            ));
        }
        let queue = if record.queue == 0 { QueueKind::Mpsc } else { QueueKind::Mpmc };
        let (counters, traced) =
            (open(folder, COUNTERS, MapType::PercpuArray)?, open(folder, TRACED, MapType::TaskStorage)?);
        let doorbell = open(folder, DOORBELL, MapType::RingBuf)?;
        map(folder, &record, &arena)?;
        let pinned = Pinned {
            folder: folder.to_owned(),
            record,
            queue,
            counters,
            traced,
            doorbell,
            process: std::process::id(),
        };
        pinned.arena()?;
        Ok(pinned)
    }

    /// The queue that was pinned.
    pub fn queue(&self) -> QueueKind {
        self.queue
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

    /// The right to consume. For MPSC there is one; for MPMC several processes can have it.
    ///
    /// What a dead consumer of the MPMC queue has claimed and may not have handed over goes to `recovered`,
    /// if no other consumer is alive.
    ///
    /// # Errors
    ///
    /// [`Error::Pinned`] if another process has the right, or as [`arena`](Self::arena).
    pub fn consumer(&self, recovered: impl FnMut(KeyValue)) -> Result<Consumer<'_>, Error> {
        let arena = self.arena()?;
        let lock = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY)
            .open(&self.folder)
            .map_err(Error::system(format!("opening {}", self.folder.display())))?;
        let alone = flock(&lock, FlockOperation::NonBlockingLockExclusive);
        let source = match (self.queue, alone) {
            (QueueKind::Mpsc, Ok(())) => Source::Mpsc(self.take_over(&arena)?),
            (QueueKind::Mpsc, Err(Errno::WOULDBLOCK)) => {
                let who = arena
                    .mpsc_owner()
                    .map_or_else(|| "another process".to_owned(), |owner| owner.to_string());
                return Err(refusal(
                    &self.folder,
                    format!("{who} consumes from it, and an MPSC queue has one consumer"),
                ));
            }
            (QueueKind::Mpmc, Ok(())) => {
                let queue = arena.mpmc()?;
                // SAFETY: every consumer holds the lock, and we hold it alone, so all that had it before have
                // ended; the kernel orders their end before the lock.
                unsafe { queue.reclaim(recovered) }.map_err(ArenaError::from)?;
                self.share(&lock)?;
                Source::Mpmc(queue)
            }
            (QueueKind::Mpmc, Err(Errno::WOULDBLOCK)) => {
                self.share(&lock)?;
                Source::Mpmc(arena.mpmc()?)
            }
            (_, Err(error)) => return Err(self.lock_error(error)),
        };
        let receiver = Receiver::new(source, arena.event_count()?, Doorbell::new(&self.doorbell)?);
        Ok(Consumer { receiver, _lock: lock })
    }

    /// The consumer of the MPSC queue, by the process that has locked the folder.
    fn take_over<'a>(&'a self, arena: &Arena<'a, KeyValue>) -> Result<MpscConsumer<'a, KeyValue>, Error> {
        if arena.mpsc_owner() == Some(Owner::ANONYMOUS) {
            return Err(refusal(&self.folder, "somebody consumes from it without a lock on the folder"));
        }
        let owner = NonZero::new(self.process).map_or(Owner::ANONYMOUS, Owner::process);
        // SAFETY: every consumer that names its process holds the lock on the folder, which we hold, so it has
        // ended; the kernel orders its end before the lock.
        Ok(unsafe { arena.mpsc_consumer_after_death(owner) }?)
    }

    /// Waits for those who look for dead consumers, which does not take long.
    fn share(&self, lock: &File) -> Result<(), Error> {
        flock(lock, FlockOperation::LockShared).map_err(|error| self.lock_error(error))
    }

    fn lock_error(&self, error: Errno) -> Error {
        Error::system(format!("locking {}", self.folder.display()))(error)
    }
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
    // Dropped in this order: the lock says that the right is held.
    receiver: Receiver<'a>,
    _lock: File,
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
fn open(folder: &Path, name: &str, kind: MapType) -> Result<MapHandle, Error> {
    let path = folder.join(name);
    if !path.exists() {
        return Err(refusal(folder, format!("there is no {name}: `arenaq pin` makes such a folder")));
    }
    let (map, messages) = log::capture(|| MapHandle::from_pinned_path(&path));
    let map = map.map_err(|error| {
        refusal(folder, format!("{name} is no BPF map: {}", crate::hook::reason(&error, &messages)))
    })?;
    if map.map_type() != kind {
        return Err(refusal(folder, format!("{name} is a map of type {:?}, not {kind:?}", map.map_type())));
    }
    Ok(map)
}

fn map(folder: &Path, record: &Record, arena: &MapHandle) -> Result<(), Error> {
    let base = ptr::with_exposed_provenance_mut(record.base as usize);
    let (access, flags) =
        (ProtFlags::READ | ProtFlags::WRITE, MmapFlags::SHARED | MmapFlags::FIXED_NOREPLACE);
    // SAFETY: with FIXED_NOREPLACE nothing that is mapped already is replaced.
    let mapped = unsafe { mmap(base, record.length as usize, access, flags, arena.as_fd(), 0) };
    let range = format!("{:#x} to {:#x}", record.base, record.base + record.length);
    match mapped {
        Ok(_) => Ok(()),
        Err(Errno::EXIST) => Err(refusal(
            folder,
            format!(
                "the arena must be mapped at {range}, where this process has something else, or the arena already: \
                 attach in a process of its own"
            ),
        )),
        Err(Errno::BUSY | Errno::INVAL | Errno::TOOBIG) => Err(refusal(
            folder,
            format!(
                "the kernel does not map the arena at {range}: another process has it elsewhere, so the record is wrong"
            ),
        )),
        Err(error) => Err(Error::system(format!("mapping the arena at {range}"))(error)),
    }
}
