//! The queues of an arena by their names.

use super::consumer::Right;
use super::name::WORDS;
use crate::platform::{Native, Plain, Platform};

/// What the directory says of one queue, in shared memory.
///
/// Layout: `name` 0x00, 48 bytes with a zero behind the name; ten 64-bit words from 0x30 on, in the order of the fields;
/// 128 bytes, two lines.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Entry<P: Platform> {
    /// Words, each of which is read once; see [`Name`](super::Name).
    pub(crate) name: [P::Plain<u64>; WORDS],
    /// The number of a [`Kind`](crate::structures::Kind).
    pub(crate) kind: P::Plain<u64>,
    /// The size of an element in bytes, and the hash of its type.
    pub(crate) element_size: P::Plain<u64>,
    pub(crate) element_hash: P::Plain<u64>,
    /// Whether the queue maintains its counter: 1 if it does, 0 if not.
    pub(crate) counted: P::Plain<u64>,
    /// The address of the head.
    pub(crate) head: P::Plain<u64>,
    /// The address of the pool; 0 if the queue has none.
    pub(crate) pool: P::Plain<u64>,
    /// The address of the counters of what was dropped; 0 if nobody counts.
    pub(crate) drops: P::Plain<u64>,
    /// Who is the consumer of a queue that can have only one; 0 for nobody.
    pub(crate) consumer: Right<P>,
    /// The address of the slots for the consumers of an MPMC queue; 0 if the queue has none.
    pub(crate) slots: P::Plain<u64>,
    /// The address of the event count on which its consumers sleep; 0 if they sleep on the arena's.
    pub(crate) events: P::Plain<u64>,
}

// SAFETY: the consumer is an atomic word. The rest is written only through the `Arena` that formats, exclusively
// borrowed, before the header's magic releases it to those who attach, and from then on only read.
unsafe impl<P: Platform> Sync for Entry<P> {}

impl<P: Platform> Entry<P> {
    /// An entry of no queue.
    pub fn empty() -> Self {
        Entry {
            name: core::array::from_fn(|_| P::Plain::new(0)),
            kind: P::Plain::new(0),
            element_size: P::Plain::new(0),
            element_hash: P::Plain::new(0),
            counted: P::Plain::new(0),
            head: P::Plain::new(0),
            pool: P::Plain::new(0),
            drops: P::Plain::new(0),
            consumer: Right::free(),
            slots: P::Plain::new(0),
            events: P::Plain::new(0),
        }
    }
}

pub(super) type NativeEntry = Entry<Native>;
