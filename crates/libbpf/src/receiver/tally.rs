//! The tally: what consumers have been handed, in a map, so that it outlives them. [`Table`] says how they count.

use std::io;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};

use libbpf_rs::{MapCore, MapHandle, MapType};
use rustix::mm::{MapFlags as MmapFlags, ProtFlags, mmap, munmap};

pub use super::table::Count;
use super::table::SLOTS;
pub(crate) use super::table::{Table, Teller};
use crate::error::Error;
use crate::folder::Folder;

/// The map, mapped: a table for each queue.
#[derive(Debug)]
pub(crate) struct Tally {
    map: MapHandle,
    tables: NonNull<[Table]>,
}

// SAFETY: the tables are atomic words, mapped for as long as this lives.
unsafe impl Send for Tally {}
// SAFETY: as above.
unsafe impl Sync for Tally {}

impl Tally {
    /// A tally for so many queues.
    pub(crate) fn new(queues: usize) -> Result<Tally, Error> {
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as _,
            map_flags: libbpf_sys::BPF_F_MMAPABLE,
            ..Default::default()
        };
        let (name, size) = (Some("arenaq_tally"), size_of::<Table>() as u32);
        // An arena has fewer queues than there are numbers.
        let map = MapHandle::create(MapType::Array, name, 4, size, queues as u32, &options)
            .map_err(Error::bpf("making the tally of what was consumed"))?;
        Self::map(map)
    }

    /// The tally that is pinned, of so many queues.
    pub(crate) fn open(folder: &Folder, map: MapHandle, queues: usize) -> Result<Tally, Error> {
        if map.value_size() as usize != size_of::<Table>() || map.max_entries() as usize != queues {
            return Err(
                folder.refusal("its tally is not one of this version of arenaq: build both with the same")
            );
        }
        Self::map(map)
    }

    fn map(map: MapHandle) -> Result<Tally, Error> {
        // The kernel keeps the values of an array one behind the other, each a whole number of words.
        let tables = map.max_entries() as usize;
        let (access, length) = (ProtFlags::READ | ProtFlags::WRITE, tables * size_of::<Table>());
        // SAFETY: a new mapping, anywhere.
        let memory = unsafe { mmap(ptr::null_mut(), length, access, MmapFlags::SHARED, map.as_fd(), 0) };
        let memory = memory.map_err(Error::system("mapping the tally of what was consumed"))?;
        let first = NonNull::new(memory.cast::<Table>())
            .ok_or_else(|| Error::Usage("a mapping at no address".to_owned()))?;
        Ok(Tally { map, tables: NonNull::slice_from_raw_parts(first, tables) })
    }

    pub(crate) fn handle(&self) -> &MapHandle {
        &self.map
    }

    fn tables(&self) -> &[Table] {
        // SAFETY: mapped with this size until `self` is dropped; any bytes are valid tables.
        unsafe { self.tables.as_ref() }
    }

    /// The part of the queue, or of the records, of this number.
    pub(crate) fn of(&self, number: usize) -> Result<&Table, Error> {
        let table = self.tables().get(number);
        table.ok_or_else(|| Error::Usage(format!("the tally has no part for the queue of number {number}")))
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        // SAFETY: mapped with this size, and who counts borrows `self`.
        let _ = unsafe { munmap(self.tables.as_ptr().cast(), size_of_val(self.tables())) };
    }
}

/// The part of one more consumer.
pub(super) fn teller(table: &Table) -> Result<Teller<'_>, Error> {
    table.teller().ok_or_else(|| Error::System {
        what: "taking part in the tally".to_owned(),
        source: io::Error::other(format!(
            "{SLOTS} consumers have this queue already, or have died: end all of them, and begin with one"
        )),
    })
}

/// The part of the consumer with the slot of this number.
pub(super) fn teller_at(table: &Table, slot: usize) -> Result<Teller<'_>, Error> {
    table.teller_at(slot).ok_or_else(|| Error::Usage(format!("no slot {slot} in the tally")))
}
