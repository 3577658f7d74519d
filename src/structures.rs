//! The list of everything that lies in shared memory: a structure that stands here has its sites in the tables, its
//! fields in the layouts, and its name in the directory.

use core::fmt;

use crate::layout::StructLayout;
use crate::ordering::SiteInfo;

/// Takes modules that have `site::ALL`, and those that have `LAYOUTS`.
macro_rules! structures {
    (sites: $($sites:ident),*; layouts: $($layouts:ident),* $(,)?) => {
        /// Every site of the crate, a slice a module.
        pub const SITES: &[&[&SiteInfo]] = &[$(crate::$sites::site::ALL),*];

        /// Every shared structure, with the default payload, a slice a module.
        pub const LAYOUTS: &[&[StructLayout]] = &[$(crate::$layouts::LAYOUTS),*];
    };
}

structures! {
    sites: mpmc, claim, mpsc, pool, arena, recovery, eventcount, drops, records;
    layouts: payload, mpmc, mpsc, pool, eventcount, drops, arena, records,
}

/// What kind of queue an entry of the directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Kind {
    /// [`mpmc`](crate::mpmc).
    Mpmc = 1,
    /// [`mpsc`](crate::mpsc).
    Mpsc = 2,
    /// [`records`](crate::records).
    Records = 3,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 3] = [Kind::Mpmc, Kind::Mpsc, Kind::Records];

    /// The number in the directory.
    pub const fn code(self) -> u64 {
        self as u64
    }

    /// The kind with this number.
    pub fn from_code(code: u64) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The kind of which C calls the control block so, [`Kind::control`].
    pub fn of_control(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.control() == name)
    }

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Mpmc => "MPMC",
            Kind::Mpsc => "MPSC",
            Kind::Records => "records",
        }
    }
}

/// Who may consume from a queue at a time, and how one takes over from another that died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consumers {
    /// One, whose right the directory has: who knows that it died takes its place.
    One,
    /// Several, each of which has a [slot](crate::mpmc::Slots) that says what it has claimed.
    WithSlots,
    /// One for each shard. What a shard holds are records, and no elements.
    OfShards,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// All sites, one after another.
pub fn sites() -> impl Iterator<Item = &'static SiteInfo> + Clone {
    SITES.iter().copied().flatten().copied()
}

/// All layouts, one after another.
pub fn layouts() -> impl Iterator<Item = &'static StructLayout> {
    LAYOUTS.iter().copied().flatten()
}

/// A number that changes when any offset or size does: FNV-1a over all of them. It stands in the arena's header, so that
/// two programs that were built apart find out before they touch a queue.
pub const LAYOUT_HASH: u64 = {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut module = 0;
    while module < LAYOUTS.len() {
        let structures = LAYOUTS[module];
        let mut i = 0;
        while i < structures.len() {
            hash = fnv(fnv(hash, structures[i].size), structures[i].align);
            let mut j = 0;
            while j < structures[i].fields.len() {
                hash = fnv(hash, structures[i].fields[j].1);
                j += 1;
            }
            i += 1;
        }
        module += 1;
    }
    hash
};

const fn fnv(hash: u64, value: usize) -> u64 {
    (hash ^ value as u64).wrapping_mul(0x0000_0100_0000_01b3)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{layouts, sites};
    use crate::ordering::{Access, Field, Ordering};
    use std::collections::HashMap;

    fn offset(structure: &str, field: &str) -> usize {
        let structure = layouts().find(|s| s.name == structure).expect("a structure of the table");
        structure.fields.iter().find(|(name, _)| *name == field).expect("a field of the table").1
    }

    fn size(structure: &str) -> usize {
        layouts().find(|s| s.name == structure).expect("a structure of the table").size
    }

    #[test]
    fn offsets_are_those_of_the_compiled_seeds() {
        assert_eq!(offset("ds_vyukhov_head", "enqueue_pos"), 0x00);
        assert_eq!(offset("ds_vyukhov_head", "dequeue_pos"), 0x40);
        assert_eq!(offset("ds_vyukhov_head", "buffer_mask"), 0x80);
        assert_eq!(offset("ds_vyukhov_head", "buffer"), 0x88);
        assert_eq!(offset("ds_vyukhov_head", "count"), 0x90);
        assert_eq!(offset("ds_vyukhov_cell", "sequence"), 0);
        assert_eq!(offset("ds_vyukhov_cell", "data"), 8);
        assert_eq!(offset("ds_kv", "value"), 8);
        assert_eq!(size("ds_vyukhov_cell"), 24);

        assert_eq!(offset("ds_mpsc_head", "head"), 0);
        assert_eq!(offset("ds_mpsc_head", "tail"), 8);
        assert_eq!(offset("ds_mpsc_head", "count"), 16);
        assert_eq!(size("ds_mpsc_head"), 24);
        assert_eq!(offset("ds_mpsc_node", "next"), 0);
        assert_eq!(offset("ds_mpsc_node", "key"), 8);
        assert_eq!(size("ds_mpsc_node"), 24);
    }

    #[test]
    fn names_are_unique_and_say_where_the_site_is() {
        let mut seen = HashMap::new();
        for site in sites() {
            assert_eq!(site.name.split('.').count(), 3, "{}: structure.operation.access", site.name);
            assert!(seen.insert(site.name, site).is_none(), "{} is there twice", site.name);
        }
    }

    #[test]
    fn every_site_has_a_reason() {
        for site in sites() {
            assert!(!site.why.is_empty(), "{} says not why", site.name);
        }
    }

    #[test]
    fn every_site_says_what_it_accesses() {
        for site in sites() {
            assert_ne!(site.field, Field::Unknown, "{} does not say", site.name);
            assert_eq!(site.field == Field::Nothing, site.access == Access::Fence, "{}", site.name);
        }
    }

    #[test]
    fn every_edge_has_two_ends_and_each_names_the_other() {
        let by_name: HashMap<_, _> = sites().map(|site| (site.name, site)).collect();
        for site in sites() {
            for partner in site.pairs_with {
                let other =
                    by_name.get(partner).unwrap_or_else(|| panic!("{}: no site {partner}", site.name));
                assert!(other.pairs_with.contains(&site.name), "{} does not name {}", partner, site.name);
            }
            let synchronises =
                [Some(site.order), site.failure].into_iter().flatten().any(|o| o != Ordering::Relaxed);
            let plain = matches!(site.access, Access::Read | Access::Write);
            assert!(!plain || !synchronises, "{}: a plain access has no ordering", site.name);
            assert_eq!(
                synchronises,
                !site.pairs_with.is_empty(),
                "{}: an ordering has a partner, and a partner an ordering",
                site.name
            );
        }
    }
}
