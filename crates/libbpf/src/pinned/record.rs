//! The record: what a process must know before it can map a pinned arena, and which objects belong to it.

use std::os::fd::AsFd;

use bytemuck::{Pod, Zeroable, bytes_of, pod_read_unaligned};
use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};

use crate::error::Error;
use crate::folder::{Folder, Pin, lock_number};

/// The file that holds the record.
pub(super) const RECORD: &str = "record";
/// The name of the map that it is.
const MAP: &str = "arenaq_record";
/// The files of the attached programs begin with that; a number follows.
const LINK: &str = "link_";
/// `arenaqp` and the version of this structure.
const MAGIC: u64 = u64::from_le_bytes(*b"arenaqp4");

/// The files of the maps without which a queue cannot be consumed.
pub(crate) const ARENA: &str = "arena";
pub(crate) const DOORBELL: &str = "doorbell";
pub(crate) const TALLY: &str = "tally";

/// How many maps and links there is room for.
const MOST_MAPS: usize = 16;
const MOST_LINKS: usize = 64;
/// As the kernel has it, with a null byte at the end.
const LONGEST_NAME: usize = 16;

/// A map that is pinned.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
struct PinnedMap {
    name: [u8; LONGEST_NAME],
    id: u32,
}

impl PinnedMap {
    fn new(name: &str, id: u32) -> Option<PinnedMap> {
        let mut map = PinnedMap { name: [0; LONGEST_NAME], id };
        map.name[..LONGEST_NAME - 1].get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        Some(map)
    }

    fn is_named(&self, name: &str) -> bool {
        PinnedMap::new(name, self.id).is_some_and(|named| named.id != 0 && named == *self)
    }
}

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
    /// How many queues there are. What they are, the arena's directory says.
    pub(super) queues: u64,
    maps: [PinnedMap; MOST_MAPS],
    links: [u32; MOST_LINKS],
}

impl Record {
    pub(super) fn new(
        (base, length, header): (usize, usize, usize),
        queues: usize,
        map_ids: &[(&str, u32)],
        link_ids: &[u32],
    ) -> Result<Record, Error> {
        let mut maps = [PinnedMap::default(); MOST_MAPS];
        if map_ids.len() > MOST_MAPS {
            return Err(Error::Usage(format!(
                "{} maps cannot be pinned, at most {MOST_MAPS}",
                map_ids.len()
            )));
        }
        for (number, (room, &(name, id))) in maps.iter_mut().zip(map_ids).enumerate() {
            let is_free = name != RECORD
                && lock_number(name).is_none()
                && !name.starts_with(LINK)
                && map_ids[..number].iter().all(|&(other, _)| other != name);
            *room = PinnedMap::new(name, id).filter(|_| is_free).ok_or_else(|| {
                Error::Usage(format!(
                    "the map {name} cannot be pinned: its name is too long, or belongs to something else that is pinned"
                ))
            })?;
        }
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
            queues: queues as u64,
            maps,
            links,
        })
    }

    /// The files of the attached programs.
    pub(super) fn links(&self) -> impl Iterator<Item = String> {
        self.links.iter().take_while(|&&id| id != 0).enumerate().map(|(number, _)| link_name(number))
    }

    /// Whether a map was pinned under this name.
    pub(super) fn is_map(&self, name: &str) -> bool {
        self.maps.iter().any(|map| map.is_named(name))
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
        let listed = |id: u32, number: usize| id != 0 && self.links.get(number) == Some(&id);
        match found {
            Pin::Map(_) if name == RECORD => true,
            Pin::Map(id) => self.maps.iter().any(|map| map.id == id && map.is_named(name)),
            Pin::Link(id) => {
                let number = (0..MOST_LINKS).find(|&number| link_name(number) == name);
                number.is_some_and(|number| listed(id, number))
            }
            Pin::Folder => lock_number(name).is_some_and(|number| (number as u64) < self.queues),
            Pin::Other => false,
        }
    }
}

/// The file of the attached program of a number.
pub(super) fn link_name(number: usize) -> String {
    format!("{LINK}{number}")
}

#[cfg(test)]
mod tests {
    use super::{MOST_LINKS, MOST_MAPS, Pin, RECORD, Record};
    use crate::error::Error;

    fn record(maps: &[(&str, u32)], links: &[u32]) -> Result<Record, Error> {
        Record::new((4096, 4096, 4096), 3, maps, links)
    }

    #[test]
    fn what_was_pinned_is_known_by_its_name_and_its_id() {
        let record = record(&[("arena", 7), ("fifteen_letters", 8)], &[9, 10]).expect("there is room");
        for (name, found, is_ours) in [
            ("arena", Pin::Map(7), true),
            ("arena", Pin::Map(8), false),
            ("fifteen_letters", Pin::Map(8), true),
            ("fifteen_letter", Pin::Map(8), false),
            ("", Pin::Map(0), false),
            ("link_1", Pin::Link(10), true),
            ("link_0", Pin::Link(10), false),
            ("link_2", Pin::Link(0), false),
            ("arena", Pin::Other, false),
            ("queue_2", Pin::Folder, true),
            ("queue_2", Pin::Map(7), false),
            ("queue_0", Pin::Folder, false),
            ("queue_3", Pin::Folder, false),
            ("queue_02", Pin::Folder, false),
            ("arena", Pin::Folder, false),
        ] {
            assert_eq!(record.has(name, found), is_ours, "{name} {found:?}");
        }
        assert!(record.is_map("arena") && !record.is_map("") && !record.is_map("link_0"));
    }

    #[test]
    fn what_could_be_mistaken_or_has_no_room_is_not_pinned() {
        let names: Vec<String> = (0..=MOST_MAPS).map(|number| number.to_string()).collect();
        let many: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        record(&many[1..], &[1; MOST_LINKS]).expect("there is room");
        for maps in [
            &many[..],
            &[(RECORD, 1)],
            &[("link_0", 1)],
            &[("queue_1", 1)],
            &[("arena", 1), ("arena", 2)],
            &[("a_name_too_long_", 1)],
        ] {
            let refused = record(maps, &[]).expect_err("no room, or no name").to_string();
            assert!(refused.contains("cannot be pinned"), "{refused}");
        }
        record(&[], &[1; MOST_LINKS + 1]).expect_err("no room");
    }
}
