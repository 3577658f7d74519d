//! Pins queues.

use std::os::fd::AsFd;

use libbpf_rs::{Link, MapCore, MapHandle};

use super::record::{RECORD, Record, link_name};
use crate::arena::Mapping;
use crate::error::Error;
use crate::folder::Folder;

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

/// Pins an arena of so many queues, the maps that belong to it, and the attached programs.
pub(crate) fn pin(
    folder: &Folder,
    mapping: &Mapping,
    queues: usize,
    maps: &[(&str, MapHandle)],
    links: &mut [Link],
) -> Result<(), Error> {
    let mut map_ids = Vec::new();
    for (name, map) in maps {
        let info = map.info().map_err(Error::bpf(format!("looking at the map {name}")))?;
        map_ids.push((*name, info.info.id));
    }
    let mut link_ids = Vec::new();
    for link in links.iter() {
        link_ids.push(link.info().map_err(Error::bpf("looking at an attached program"))?.id);
    }
    let place = (mapping.base(), mapping.length(), mapping.header());
    let record = Record::new(place, queues, &map_ids, &link_ids)?;

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
    for link in links {
        // Else libbpf would disable the event of a uprobe when the link is dropped, pinned or not.
        link.disconnect();
    }
    Ok(())
}
