//! An arena that is pinned in a folder, and the right to consume from its queues: what `Pinned` in `arenaq-libbpf` is, with the
//! kernel's calls alone. A libbpf in this library would be a second one beside the program's own.

mod folder;
mod lock;
mod records;
mod right;

use std::path::Path;
use std::ptr::{self, NonNull};

use queues::Status;
use queues::arena::{Arena, Region};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::param::page_size;

use self::folder::{Folder, Map};
pub(crate) use self::records::RecordsRight;
pub(crate) use self::right::Right;
use crate::error::Failure;
use crate::table::Table;

/// The types of maps.
const ARRAY: u32 = 2;
const ARENA: u32 = 33;
/// With which the record begins: as `arenaq-libbpf` writes it.
const MAGIC: u64 = u64::from_le_bytes(*b"arenaqp4");

/// The beginning of the record, in words: the file `record` in the folder has more, for those who unpin.
#[derive(Clone, Copy)]
struct Record {
    base: usize,
    length: usize,
    header: usize,
    queues: usize,
}

/// What an arena that is attached by its folder's path keeps.
#[derive(Debug)]
pub(crate) struct Pinned {
    _arena: Mapping,
    tally: Mapping,
    folder: Folder,
    /// Where the lock of each queue is.
    locks: Vec<Folder>,
}

/// Maps the arena that is pinned in a folder. Returns the address of its header as well.
///
/// # Safety
///
/// The arena is not used any more when what is returned beside it is dropped.
pub(crate) unsafe fn attach(path: &Path) -> Result<(Arena<'static>, usize, Pinned), Failure> {
    let folder = Folder::open(path)?;
    let record = read(&folder)?;
    let map = folder.map("arena", ARENA)?;
    if record.base == 0 || u64::from(map.max_entries) * page_size() as u64 != record.length as u64 {
        return Err(folder.refusal("the arena and its record do not belong together"));
    }
    let mapped = Mapping::new(&map, record.base, record.length).map_err(|error| match error {
        Errno::EXIST => folder.refusal(format_args!(
            "the arena must be mapped at {:#x}, where this process has something else, or the arena already: attach once, and in \
             a process of its own",
            record.base
        )),
        error => folder.refusal(format_args!("mapping the arena: {error}")),
    })?;
    // SAFETY: mapped above, until the mapping is dropped, which by the caller's promise is after the arena's last use.
    let region = unsafe { Region::new(mapped.start.as_ptr(), mapped.length) }?;
    let arena = Arena::attach(region, record.header)?;
    let queues = arena.queues().count();
    if queues != record.queues {
        return Err(folder.refusal("the queues and their record do not belong together"));
    }
    let map = folder.map("tally", ARRAY)?;
    if map.value_size as usize != size_of::<Table>() || map.max_entries as usize != queues {
        return Err(
            folder.refusal("its tally is not one of this version of arenaq: build both with the same")
        );
    }
    let tally = Mapping::new(&map, 0, queues * size_of::<Table>())
        .map_err(|error| folder.refusal(format_args!("mapping the tally: {error}")))?;
    let locks = (0..queues).map(|number| folder.lock(number)).collect::<Result<_, _>>()?;
    Ok((arena, record.header, Pinned { _arena: mapped, tally, folder, locks }))
}

fn read(folder: &Folder) -> Result<Record, Failure> {
    let map = folder.map("record", ARRAY)?;
    let words = folder.first_value(&map)?;
    let &[MAGIC, complete, base, length, header, queues, ..] = &*words else {
        return Err(
            folder.refusal("its record is not one of this version of arenaq: build both with the same")
        );
    };
    if complete == 0 {
        return Err(folder.refusal(
            "`arenaq pin` has not pinned everything: it is still at work, or was killed; then `arenaq unpin` it, and pin it anew",
        ));
    }
    let [base, length, header, queues] = [base, length, header, queues].map(|word| word as usize);
    Ok(Record { base, length, header, queues })
}

impl Pinned {
    /// The part of the tally that belongs to a queue.
    ///
    /// # Safety
    ///
    /// It is not used any more when this is dropped.
    unsafe fn table(&self, number: usize) -> Option<&'static Table> {
        let tables = self.tally.length / size_of::<Table>();
        // SAFETY: so many lie there, any bits are a table of atomic words, and the caller keeps the mapping.
        (number < tables).then(|| unsafe { &*self.tally.start.cast::<Table>().as_ptr().add(number) })
    }

    fn folder_of(&self, number: usize, name: &str) -> Result<&Folder, Failure> {
        let missing = || {
            Failure::new(
                Status::NotFound,
                format_args!("{}: no queue `{name}`", self.folder.path().display()),
            )
        };
        self.locks.get(number).ok_or_else(missing)
    }
}

/// A map that is mapped into this process.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: it is only an address range; what lies there is atomic words.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// At that address, or anywhere if it is 0.
    fn new(map: &Map, base: usize, length: usize) -> Result<Mapping, Errno> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let place = if base == 0 { MapFlags::empty() } else { MapFlags::FIXED_NOREPLACE };
        let base = ptr::with_exposed_provenance_mut(base);
        // SAFETY: a new mapping: with FIXED_NOREPLACE nothing that is mapped already is replaced.
        let start = unsafe { mmap(base, length, access, MapFlags::SHARED | place, &map.file, 0) }?;
        Ok(Mapping { start: NonNull::new(start.cast()).ok_or(Errno::INVAL)?, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped with this length by `new`, and not used any more, as who made it has promised.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}
