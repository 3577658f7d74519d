//! Which accesses of an execution synchronise with which.

use std::vec::Vec;

use super::{Effect, Event, ReadFrom, Site, Trace};

impl Trace {
    /// The sites of two threads between which there was an edge: the one that released, and the one that acquired what it wrote,
    /// or what read-modify-writes behind it made of that.
    ///
    /// Where it is not known which write a load read from, and several sites have written the value that it found, nothing is said.
    /// The edges of fences are not among them.
    pub fn edges(&self) -> Vec<(&'static dyn Site, &'static dyn Site)> {
        let mut edges = Vec::new();
        for (index, event) in self.events.iter().enumerate() {
            // A fence has no address.
            if event.address == 0 || !event.order.acquires() {
                continue;
            }
            if let Some(released) = self.read_by(index).and_then(|write| self.released(write)) {
                if released.thread != event.thread {
                    edges.push((released.site, event.site));
                }
            }
        }
        edges
    }

    /// The writes of the memory of the access with that index before it, the newest first.
    fn writes_before(&self, index: usize) -> impl Iterator<Item = (usize, &Event)> {
        let address = self.events[index].address;
        let before = self.events[..index].iter().enumerate().rev();
        before.filter(move |(_, event)| event.address == address && event.writes())
    }

    /// The write that an access read.
    fn read_by(&self, index: usize) -> Option<usize> {
        match self.events[index].read_from {
            ReadFrom::Event(write) => return Some(write),
            ReadFrom::Nothing => return None,
            ReadFrom::Unknown => {}
        }
        let mut before = self.writes_before(index);
        let Effect::Got(found) = &self.events[index].effect else {
            // A read-modify-write finds the newest, and so does under loom a compare-exchange that fails.
            return before.next().map(|(write, _)| write);
        };
        let found = *found.words().first()?;
        let mut read: Option<usize> = None;
        for (write, event) in before {
            let left = match &event.effect {
                Effect::Put(value) => *value.words().first()?,
                Effect::Changed { to, .. } => *to,
                // What it left is not known.
                _ => return None,
            };
            if left == found {
                let name = |event: &Event| event.site.named().name;
                let is_other = |known: usize| name(&self.events[known]) != name(event);
                if read.is_some_and(is_other) {
                    return None;
                }
                read.get_or_insert(write);
            }
        }
        read
    }

    /// The release to which a write belongs: its own, or that of the one to which read-modify-writes lead back.
    fn released(&self, write: usize) -> Option<&Event> {
        let mut write = write;
        loop {
            let event = &self.events[write];
            if event.order.releases() {
                return Some(event);
            }
            if !matches!(event.effect, Effect::Changed { .. } | Effect::Added(_)) {
                return None;
            }
            write = self.writes_before(write).next()?.0;
        }
    }
}
