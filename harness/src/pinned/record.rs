//! The record: what a process must know before it can map a pinned arena, and which objects belong to it.

use std::os::fd::AsFd;

use bytemuck::{Pod, Zeroable, bytes_of, pod_read_unaligned};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};

use crate::error::Error;
use crate::folder::{Folder, Pin};
use crate::queue::QueueKind;

/// The file that holds the record.
pub(super) const RECORD: &str = "record";
/// The name of the map that it is.
const MAP: &str = "arenaq_record";
/// The files of the attached programs begin with that; a number follows.
const LINK: &str = "link_";
/// `arenaqp` and the version of this structure.
const MAGIC: u64 = u64::from_le_bytes(*b"arenaqp2");

/// Names of maps, in the order in which the record has their ids.
pub(crate) const ARENA: &str = "arena";
pub(crate) const COUNTERS: &str = "counters";
pub(crate) const TRACED: &str = "traced";
pub(crate) const DOORBELL: &str = "doorbell";
pub(crate) const TALLY: &str = "tally";
pub(crate) const MAPS: [&str; 5] = [ARENA, COUNTERS, TRACED, DOORBELL, TALLY];

/// How many ids there is room for.
const MOST_MAPS: usize = 8;
const MOST_LINKS: usize = 64;
const _: () = assert!(MAPS.len() <= MOST_MAPS, "the record has room for every map");

/// The ids say which objects `pin` has pinned: it writes them before it pins any, and whoever removes them
/// compares.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Record {
    magic: u64,
    /// 1 when everything is pinned.
    pub(super) complete: u64,
    /// The address of the mapping, the same in every process: the queues' pointers are absolute.
    pub(super) base: u64,
    /// Its length in bytes.
    pub(super) length: u64,
    /// The address of the arena's header.
    pub(super) header: u64,
    /// 0 for MPSC, 1 for MPMC.
    queue: u64,
    maps: [u32; MOST_MAPS],
    links: [u32; MOST_LINKS],
}

impl Record {
    pub(super) fn new(
        (base, length, header): (usize, usize, usize),
        queue: QueueKind,
        map_ids: [u32; MAPS.len()],
        link_ids: &[u32],
    ) -> Result<Record, Error> {
        let mut maps = [0; MOST_MAPS];
        maps[..MAPS.len()].copy_from_slice(&map_ids);
        let mut links = [0; MOST_LINKS];
        let Some(room) = links.get_mut(..link_ids.len()) else {
            return Err(Error::Usage(format!(
                "{} attached programs cannot be pinned, at most {MOST_LINKS}",
                link_ids.len()
            )));
        };
        room.copy_from_slice(link_ids);
        Ok(Record {
            magic: MAGIC,
            complete: 0,
            base: base as u64,
            length: length as u64,
            header: header as u64,
            queue: u64::from(queue == QueueKind::Mpmc),
            maps,
            links,
        })
    }

    pub(super) fn queue(&self) -> QueueKind {
        if self.queue == 0 { QueueKind::Mpsc } else { QueueKind::Mpmc }
    }

    /// The files of the attached programs.
    pub(super) fn links(&self) -> impl Iterator<Item = String> {
        self.links.iter().take_while(|&&id| id != 0).enumerate().map(|(number, _)| link_name(number))
    }

    /// Pins it, as not complete.
    pub(super) fn pin(&self, folder: &Folder) -> Result<MapHandle, Error> {
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as _,
            ..Default::default()
        };
        let map = MapHandle::create(MapType::Array, Some(MAP), 4, size_of::<Record>() as u32, 1, &options)
            .map_err(Error::bpf("making the record of what is pinned"))?;
        self.write(&map)?;
        folder.pin(map.as_fd(), RECORD)?;
        Ok(map)
    }

    /// Says that everything is pinned.
    pub(super) fn completed(mut self, map: &MapHandle) -> Result<(), Error> {
        self.complete = 1;
        self.write(map)
    }

    fn write(&self, map: &MapHandle) -> Result<(), Error> {
        map.update(&0u32.to_ne_bytes(), bytes_of(self), MapFlags::ANY)
            .map_err(Error::bpf("writing the record of what is pinned"))
    }

    /// Reads it.
    pub(super) fn read(folder: &Folder) -> Result<Record, Error> {
        let map = folder.map(RECORD)?;
        let other =
            || folder.refusal("its record is not one of this version of arenaq: build both with the same");
        // A map has no name if libbpf takes the kernel for one that knows none. The content decides then.
        let has_name = map.name() == MAP || map.name().is_empty();
        if !has_name || map.map_type() != MapType::Array {
            return Err(folder.refusal("its record was not made by `arenaq pin`"));
        }
        if map.value_size() as usize != size_of::<Record>() {
            return Err(other());
        }
        let record = map
            .lookup(&0u32.to_ne_bytes(), MapFlags::ANY)
            .map_err(Error::bpf("reading the record of what is pinned"))?
            .map(|bytes| pod_read_unaligned::<Record>(&bytes));
        record.filter(|record| record.magic == MAGIC).ok_or_else(other)
    }

    /// Whether `found`, which has this name, is what was pinned under it.
    pub(super) fn has(&self, name: &str, found: Pin) -> bool {
        let listed = |id: u32, ids: &[u32], number: usize| id != 0 && ids.get(number) == Some(&id);
        match found {
            Pin::Map(_) if name == RECORD => true,
            Pin::Map(id) => {
                MAPS.iter().position(|map| *map == name).is_some_and(|number| listed(id, &self.maps, number))
            }
            Pin::Link(id) => {
                let number = (0..MOST_LINKS).find(|&number| link_name(number) == name);
                number.is_some_and(|number| listed(id, &self.links, number))
            }
            Pin::Other => false,
        }
    }
}

/// The file of the attached program of a number.
pub(super) fn link_name(number: usize) -> String {
    format!("{LINK}{number}")
}
