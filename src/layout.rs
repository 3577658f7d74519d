//! Where every field lies: what C, the kernel and Rust must agree on.
//!
//! Offsets and sizes are in bytes. They hold for the platforms with 8-byte words and links, `Native` and
//! `Bpf`.

use core::mem::offset_of;

use crate::arena::ArenaHeader;
use crate::payload::{KeyValue, Payload};
use crate::platform::Native;
use crate::{eventcount, mpmc, mpsc, pool};

/// A value on a cache line of its own, 64 bytes: what the seeds' compiled code has. (crossbeam's
/// `CachePadded` is 128 bytes on x86-64, where it would move every field behind it.)
#[repr(C, align(64))]
#[derive(Debug)]
pub struct CacheLine<T>(pub T);

/// One structure of the shared memory.
#[derive(Clone, Copy, Debug)]
pub struct StructLayout {
    /// The name in C.
    pub name: &'static str,
    /// The size in bytes.
    pub size: usize,
    /// The alignment in bytes.
    pub align: usize,
    /// The fields by their names in C, and their offsets in bytes.
    pub fields: &'static [(&'static str, usize)],
}

macro_rules! layout {
    ($name:literal, $type:ty, { $($field:literal: $($path:ident).+),* $(,)? }) => {
        StructLayout {
            name: $name,
            size: size_of::<$type>(),
            align: align_of::<$type>(),
            fields: &[$(($field, offset_of!($type, $($path).+))),*],
        }
    };
}

type MpmcCell = mpmc::Cell<Native, KeyValue>;
type MpmcHead = mpmc::Head<Native, KeyValue>;
type MpscNode = mpsc::Node<Native, KeyValue>;
type MpscHead = mpsc::Head<Native, KeyValue>;
type NodePool = pool::Pool<Native, MpscNode>;
type EventCount = eventcount::EventCount<Native>;
type Header = ArenaHeader<Native>;

/// Every shared structure, with the default payload.
pub const STRUCTS: &[StructLayout] = &[
    layout!("ds_kv", KeyValue, { "key": key, "value": value }),
    // The payload is one field in Rust and two in C: `data` begins where `key` does.
    layout!("ds_vyukhov_cell", MpmcCell, { "sequence": sequence, "data": data }),
    layout!("ds_vyukhov_head", MpmcHead, {
        "enqueue_pos": enqueue_pos,
        "dequeue_pos": dequeue_pos,
        "buffer_mask": buffer_mask,
        "buffer": buffer,
        "count": count,
    }),
    layout!("ds_mpsc_node", MpscNode, { "next": next, "key": data }),
    layout!("ds_mpsc_head", MpscHead, { "head": head, "tail": tail, "count": count }),
    layout!("ds_pool", NodePool, {
        "top": top,
        "created": created,
        "limit": limit,
        "nodes": nodes,
        "links": links,
        "block_shift": block_shift,
        "magazines": magazines,
    }),
    layout!("arenaq_event_count", EventCount, { "state": state }),
    layout!("arenaq_header", Header, {
        "magic": magic,
        "version": version,
        "payload_size": payload_size,
        "layout_hash": layout_hash,
        "base": base,
        "length": length,
        "mpmc": mpmc,
        "mpsc": mpsc,
        "pool": pool,
        "consumer": consumer,
        "event_count": event_count,
        "counted": counted,
    }),
];

/// A number that changes when any offset or size does, or the size of the payload `T`: FNV-1a over all of
/// them. It stands in the arena's header, so that two programs that were built apart find out before they
/// touch a queue.
pub const fn hash<T: Payload>() -> u64 {
    let mut hash = fnv(0xcbf2_9ce4_8422_2325, size_of::<T>());
    let mut i = 0;
    while i < STRUCTS.len() {
        hash = fnv(fnv(hash, STRUCTS[i].size), STRUCTS[i].align);
        let mut j = 0;
        while j < STRUCTS[i].fields.len() {
            hash = fnv(hash, STRUCTS[i].fields[j].1);
            j += 1;
        }
        i += 1;
    }
    hash
}

const fn fnv(hash: u64, value: usize) -> u64 {
    (hash ^ value as u64).wrapping_mul(0x0000_0100_0000_01b3)
}

#[cfg(test)]
mod tests {
    use super::{STRUCTS, hash};
    use crate::KeyValue;

    fn offset(structure: &str, field: &str) -> usize {
        let structure = STRUCTS.iter().find(|s| s.name == structure).expect("a structure of the table");
        structure.fields.iter().find(|(name, _)| *name == field).expect("a field of the table").1
    }

    fn size(structure: &str) -> usize {
        STRUCTS.iter().find(|s| s.name == structure).expect("a structure of the table").size
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
    fn the_hash_tells_payloads_apart() {
        assert_ne!(hash::<KeyValue>(), hash::<u64>());
        assert_eq!(hash::<KeyValue>(), hash::<[u64; 2]>());
    }
}
