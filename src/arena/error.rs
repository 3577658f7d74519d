//! What can be wrong with an arena.

use core::ops::Range;

use thiserror::Error;

use super::header::{MAGIC, MAX_QUEUES, VERSION};
use super::name::Name;
use super::owner::Owner;
use crate::mpmc;
use crate::payload::MAX_SIZE;
use crate::pool::{GrowError, MAX_ELEMENTS};
use crate::records::GeometryError;
use crate::status::{Corruption, PushError};
use crate::structures::Kind;

/// Why memory is not an arena with queues that this program can use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ArenaError {
    /// An address that must be aligned is not.
    #[error("{what} at {address:#x} is not aligned to {align} bytes")]
    Misaligned {
        /// What should be there.
        what: &'static str,
        /// Its address.
        address: usize,
        /// The alignment that it needs.
        align: usize,
    },
    /// A structure does not lie inside the region.
    #[error("{what} at {address:#x}, {size} bytes, lies outside of the region {region:#x?}")]
    OutOfBounds {
        /// What should be there.
        what: &'static str,
        /// Its address.
        address: usize,
        /// Its size in bytes.
        size: usize,
        /// The region's addresses.
        region: Range<usize>,
    },
    /// There is no header.
    #[error("no arenaq header: found {found:#x} instead of {MAGIC:#x}; was the arena formatted?")]
    NoHeader {
        /// What is there instead of the magic.
        found: u64,
    },
    /// The header is of another version.
    #[error(
        "the arena has layout version {found}, this program knows {VERSION}: build both with the same arenaq"
    )]
    Version {
        /// The header's version.
        found: u64,
    },
    /// The queue carries elements of another size.
    #[error("the queue `{queue}` carries elements of {found} bytes, this program expects {expected}")]
    ElementSize {
        /// The queue.
        queue: Name,
        /// The size of its elements in bytes.
        found: u64,
        /// The size of this program's element.
        expected: u64,
    },
    /// The queue carries elements of the same size and another type.
    #[error(
        "the queue `{queue}` carries elements of another type: its hash is {found:#x}, this program's {expected:#x}. Compare the \
         names, places and sizes of the fields"
    )]
    ElementType {
        /// The queue.
        queue: Name,
        /// The hash of the type of its elements.
        found: u64,
        /// The hash of this program's type.
        expected: u64,
    },
    /// Records are no queue of elements.
    #[error("`{name}` are records of any size: ask for them with `Arena::records`")]
    IsRecords {
        /// Their name.
        name: Name,
    },
    /// An element that no queue can carry.
    #[error(
        "an element of {0} bytes is not possible: it has from 8 to {MAX_SIZE} bytes, a whole number of words of 8"
    )]
    NotAnElement(u64),
    /// The arena was made by a program whose structures look different.
    #[error(
        "the arena's layout hash is {found:#x}, this program's {expected:#x}: build both with the same arenaq"
    )]
    Layout {
        /// The header's hash.
        found: u64,
        /// This program's hash.
        expected: u64,
    },
    /// The queue maintains its counter and this program does not, or the other way round.
    #[error(
        "the queue `{queue}` is {}, this program's handle {}: use the same count policy",
        policy(*found), policy(!found)
    )]
    CountPolicy {
        /// The queue.
        queue: Name,
        /// Whether it maintains its counter.
        found: bool,
    },
    /// Two parts of the arena lie on each other.
    #[error("{first} and {second} lie on each other at {address:#x}")]
    Overlap {
        /// One.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// Where.
        address: usize,
    },
    /// The directory is damaged.
    #[error("entry {entry} of the directory is damaged: {what} cannot be {found:#x}")]
    Directory {
        /// The number of the entry.
        entry: usize,
        /// What is wrong with it.
        what: &'static str,
        /// What it says.
        found: u64,
    },
    /// A name that no queue can have.
    #[error("{0:?} is no name for a queue: it has from 1 to 47 bytes, none of which is zero")]
    Name(alloc::string::String),
    /// The region is mapped at another address or with another length than when it was made.
    #[error(
        "the arena was made at {base:#x} with {length} bytes and is mapped here at {mapped_base:#x} with {mapped_length}: \
         its pointers are absolute, map it at the same address with the same length"
    )]
    Moved {
        /// Where it was made.
        base: u64,
        /// How long it was.
        length: u64,
        /// Where it is mapped now.
        mapped_base: u64,
        /// How long the mapping is.
        mapped_length: u64,
    },
    /// The arena has no such queue.
    #[error("the arena has no queue `{name}`; it has {}", list(has))]
    Absent {
        /// The name.
        name: alloc::string::String,
        /// The names of those that it has.
        has: alloc::vec::Vec<Name>,
    },
    /// The queue is of another kind.
    #[error("the queue `{queue}` is of the kind {found}, not {expected}")]
    Kind {
        /// The queue.
        queue: Name,
        /// What it is.
        found: Kind,
        /// What it should be.
        expected: Kind,
    },
    /// Others may use the arena already.
    #[error("the arena is published: no queue can be made in it any more")]
    Published,
    /// The arena has no event count.
    #[error("the arena has no event count: it was made for consumers that do not sleep")]
    NoEventCount,
    /// The arena has such a queue already.
    #[error("the arena has a queue `{0}` already")]
    Exists(Name),
    /// The directory is full.
    #[error("the directory has room for {0} queues: format the arena with room for more")]
    TooManyQueues(u64),
    /// A number of queues that no directory has room for.
    #[error("a directory of {0} queues is not possible: it has at most {MAX_QUEUES}")]
    Queues(u64),
    /// What was asked for does not fit.
    #[error("{what} needs {needed} bytes and {left} are left: make the arena larger or the queue smaller")]
    NoSpace {
        /// What does not fit.
        what: &'static str,
        /// How many bytes it needs.
        needed: usize,
        /// How many bytes are left.
        left: usize,
    },
    /// A number of elements that no pool can have.
    #[error("an MPSC queue of {0} elements is not possible: it has from 1 to {MAX_ELEMENTS}")]
    Nodes(u64),
    /// The queue has a consumer.
    #[error("the queue has a consumer already, {owner}, and a queue of this kind can have only one")]
    ConsumerTaken {
        /// Who, as the consumer called itself.
        owner: Owner,
    },
    /// An MPMC queue has no slot for another consumer.
    #[error("the queue `{queue}` takes no more consumers: {reason}")]
    NoSlot {
        /// The queue.
        queue: Name,
        /// Why.
        reason: mpmc::SlotError,
    },
    /// The queue's head is damaged.
    #[error("the queue's head is damaged: {0}")]
    Corrupt(#[from] Corruption),
}

fn list(names: &[Name]) -> alloc::string::String {
    if names.is_empty() {
        return "none".into();
    }
    let names: alloc::vec::Vec<_> = names.iter().map(|name| alloc::format!("`{name}`")).collect();
    names.join(", ")
}

fn policy(counted: bool) -> &'static str {
    if counted { "counted" } else { "uncounted" }
}

/// Why a queue was not made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CreateError {
    /// The capacity is not one.
    #[error(transparent)]
    Capacity(#[from] mpmc::CapacityError),
    /// Records cannot be so large.
    #[error(transparent)]
    Records(#[from] GeometryError),
    /// The arena refuses.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// The pool could not make its nodes.
    #[error("making the node pool: {0}")]
    Pool(#[from] GrowError),
    /// The stub could not be allocated.
    #[error("allocating the stub: {0}")]
    Stub(#[from] PushError),
}
