//! Where an arena is mapped in this process, and how queues are made in it. All that has to do with addresses is here.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::{fs, io, process, ptr};

use arenaq::KeyValue;
use arenaq::arena::{Arena, CreateError, Placed, Places, Region, Spec};
use arenaq::mpmc::{Capacity, Cell};
use arenaq::mpsc::Node;
use arenaq::platform::Native;
use arenaq::pool::{MAX_ELEMENTS, nodes_for};
use bytemuck::{Pod, Zeroable};
use procfs::FromBufRead;
use procfs::process::MemoryMaps;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::error::Error;
use crate::queue::{MPMC, MPSC, QueueKind};

/// The size of an arena's pages.
pub const PAGE: u64 = 4096;
/// How many queues the directory has room for.
const QUEUES: usize = 16;
/// The largest arena: pointers into it differ in their low 32 bits only.
pub(crate) const LARGEST: u64 = 1 << 32;

/// The addresses of the programs' variables in the arena, as a program tells them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Globals {
    /// The header.
    pub header: u64,
    /// The head of the MPMC queue.
    pub mpmc: u64,
    /// The head of the MPSC queue.
    pub mpsc: u64,
    /// The pool of the MPSC queue's nodes.
    pub pool: u64,
    /// What consumers sleep on.
    pub events: u64,
}

/// An arena in the memory of this process.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: usize,
    length: usize,
    header: usize,
    /// Whether it is unmapped with this.
    is_ours: bool,
    /// A fork has no arena.
    process: u32,
}

impl Mapping {
    /// The mapping in which a header lies.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if `/proc/self/maps` shows none.
    ///
    /// # Safety
    ///
    /// It is the mapping of an arena, which stays for as long as the value lives.
    pub(crate) unsafe fn around(header: u64) -> Result<Mapping, Error> {
        let header = header as usize;
        let found = mapping_around(header)?;
        Ok(Mapping { base: found.start, length: found.len(), header, is_ours: false, process: process::id() })
    }

    /// That of an arena which is known to be there.
    ///
    /// # Safety
    ///
    /// It is mapped for as long as the value lives.
    pub(crate) unsafe fn of(all: Range<usize>, header: usize) -> Mapping {
        Mapping { base: all.start, length: all.len(), header, is_ours: false, process: process::id() }
    }

    /// Maps an arena where other processes have it, until the value is dropped.
    ///
    /// # Errors
    ///
    /// The kernel's: `EXIST` if something else is mapped there.
    pub(crate) fn at(arena: BorrowedFd<'_>, base: u64, length: u64, header: u64) -> Result<Mapping, Errno> {
        let (base, length) = (base as usize, length as usize);
        let (access, flags) =
            (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED | MapFlags::FIXED_NOREPLACE);
        // SAFETY: with FIXED_NOREPLACE nothing that is mapped already is replaced.
        unsafe { mmap(ptr::with_exposed_provenance_mut(base), length, access, flags, arena, 0) }?;
        Ok(Mapping { base, length, header: header as usize, is_ours: true, process: process::id() })
    }

    pub(crate) fn base(&self) -> usize {
        self.base
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    pub(crate) fn header(&self) -> usize {
        self.header
    }

    fn region(&self) -> Result<Region<'_>, Error> {
        // SAFETY: the arena is mapped for as long as `self` lives, which the region borrows: by libbpf, or by `at`.
        // In this process it is written only by arenaq's algorithms.
        Ok(unsafe { Region::new(ptr::with_exposed_provenance_mut(self.base), self.length) }?)
    }

    /// The queues.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a fork of the process that has mapped it, [`Error::Arena`] if the header is not what it
    /// should be.
    pub(crate) fn arena(&self) -> Result<Arena<'_>, Error> {
        if self.process != process::id() {
            return Err(Error::Forked { parent: self.process });
        }
        Ok(Arena::attach(self.region()?, self.header)?)
    }

    /// Makes a queue.
    ///
    /// It is made here rather than in the kernel: a page that userspace touches is there for the programs too, and no
    /// limit on a program's loops limits the capacity.
    ///
    /// # Errors
    ///
    /// [`Error::Arena`] and [`Error::Create`].
    pub(crate) fn create(
        &self,
        globals: &Globals,
        queue: QueueKind,
        capacity: u64,
        limit: u64,
    ) -> Result<(), Error> {
        let region = self.region()?;
        let all = region.addresses();
        let addresses = [globals.header, globals.mpmc, globals.mpsc, globals.pool, globals.events];
        let lowest = addresses.iter().min().copied().unwrap_or(0) & !(PAGE - 1);
        let highest = (addresses.iter().max().copied().unwrap_or(0) + PAGE).next_multiple_of(PAGE);
        // The programs' variables lie at one end of the arena; which one differs between kernels.
        let (before, after) = (all.start..lowest as usize, highest as usize..all.end);
        let free = if before.len() > after.len() { before } else { after };

        let places = Places {
            header: globals.header as usize,
            event_count: Some(globals.events as usize),
            queues: QUEUES,
            free,
        };
        let mut arena = Arena::format(region, places)?;
        let at =
            |head: u64, pool: u64| Placed { head: head as usize, pool: pool as usize, ..Placed::default() };
        let spec = match queue {
            QueueKind::Mpmc => Spec::mpmc::<KeyValue>(MPMC, capacity).at(at(globals.mpmc, 0)),
            QueueKind::Mpsc => {
                Spec::mpsc::<KeyValue>(MPSC, capacity).limit(limit).at(at(globals.mpsc, globals.pool))
            }
        };
        arena.create(&spec.counted())?;
        arena.publish();
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.is_ours && self.process == process::id() {
            // SAFETY: `at` has mapped exactly this, and every handle to it has borrowed `self`. In a fork something
            // else may be there.
            let _ = unsafe { munmap(ptr::with_exposed_provenance_mut(self.base), self.length) };
        }
    }
}

/// How many pages an arena needs: for a queue, for the directory, and for the variables of the programs.
///
/// `capacity` and `limit` are how many elements the queue holds, and how many it may be grown to.
///
/// # Errors
///
/// [`Error::Create`] if no queue has that capacity, [`Error::TooLarge`] if no arena has room for it.
pub fn pages_for(queue: QueueKind, capacity: u64, limit: u64) -> Result<u32, Error> {
    let element = match queue {
        QueueKind::Mpmc => size_of::<Cell<Native, KeyValue>>(),
        // A node, and its link in the pool.
        QueueKind::Mpsc => size_of::<Node<Native, KeyValue>>() + size_of::<u64>(),
    } as u64;
    if queue == QueueKind::Mpmc {
        Capacity::new(capacity).map_err(CreateError::from)?;
    }
    let elements = capacity.max(limit);
    let elements = match queue {
        QueueKind::Mpmc => elements,
        QueueKind::Mpsc => nodes_for(elements.min(MAX_ELEMENTS)).0,
    };
    let needed = elements.saturating_mul(element).saturating_add(5 * PAGE);
    if needed > LARGEST {
        return Err(Error::TooLarge { capacity, needed });
    }
    Ok(needed.div_ceil(PAGE) as u32)
}

/// The mapping of this process in which an address lies.
fn mapping_around(address: usize) -> Result<Range<usize>, Error> {
    let fail = |reason: String| Error::System {
        what: "finding the arena in /proc/self/maps".to_owned(),
        source: io::Error::other(reason),
    };
    // The names of the mapped files need not be UTF-8.
    let text = fs::read("/proc/self/maps").map_err(|error| fail(error.to_string()))?;
    let text = String::from_utf8_lossy(&text);
    let maps = MemoryMaps::from_buf_read(text.as_bytes()).map_err(|error| fail(error.to_string()))?;
    maps.iter()
        .map(|map| map.address.0 as usize..map.address.1 as usize)
        .find(|range| range.contains(&address))
        .ok_or_else(|| fail(format!("nothing is mapped at {address:#x}")))
}
