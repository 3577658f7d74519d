//! The places in the source that access shared memory: their orderings, and how often they were reached.

use std::collections::HashMap;
use std::panic::Location;
use std::string::String;
use std::vec::Vec;

use crate::operation::{Operation, Orders};
use crate::out::refuse;
use crate::record::{Place, Site};
use crate::running::changes;

/// A number for each site of a model.
pub(super) type SiteId = u32;

/// The sites that one model reached.
#[derive(Clone, Debug, Default)]
pub(super) struct Sites {
    all: Vec<Site>,
    /// The compiler may have several `Location`s of one place, so what decides is what is in them; this finds
    /// those that were seen.
    known: HashMap<(usize, Operation, Orders), SiteId>,
}

impl Sites {
    /// The site at this place, and the orderings that it has in this run.
    pub(super) fn find(
        &mut self,
        location: &'static Location<'static>,
        operation: Operation,
        orders: Orders,
    ) -> (SiteId, Orders) {
        let key = ((&raw const *location).addr(), operation, orders);
        let id = match self.known.get(&key) {
            Some(id) => *id,
            None => {
                let id = self.add(Place::from(location), operation, orders);
                self.known.insert(key, id);
                id
            }
        };
        let site = &self.all[id as usize];
        (id, site.changed.unwrap_or(site.orders))
    }

    fn add(&mut self, place: Place, operation: Operation, orders: Orders) -> SiteId {
        let is = |site: &Site| site.place == place && site.operation == operation && site.orders == orders;
        if let Some(known) = self.all.iter().position(is) {
            return known as SiteId;
        }
        let changed = changes().iter().find_map(|change| {
            change.apply(&place, operation, orders).unwrap_or_else(|reason| refuse(&reason))
        });
        let changed = changed.filter(|changed| *changed != orders);
        self.all.push(Site { place, operation, orders, count: 0, failed: 0, changed, names: Vec::new() });
        (self.all.len() - 1) as SiteId
    }

    pub(super) fn get(&self, id: SiteId) -> &Site {
        &self.all[id as usize]
    }

    pub(super) fn made(&mut self, id: SiteId) {
        self.all[id as usize].count += 1;
    }

    pub(super) fn failed(&mut self, id: SiteId) {
        self.all[id as usize].failed += 1;
    }

    pub(super) fn is_called(&mut self, id: SiteId, name: String) {
        let names = &mut self.all[id as usize].names;
        if let Err(place) = names.binary_search(&name) {
            names.insert(place, name);
        }
    }

    /// Those that have orderings.
    pub(super) fn into_atomic(self) -> Vec<Site> {
        self.all.into_iter().filter(|site| !site.operation.is_plain()).collect()
    }
}
