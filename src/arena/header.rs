//! What the program that made the arena says about it.

use crate::platform::Platform;

/// The sites of the header.
pub mod site {
    use crate::ordering::Ordering::{Acquire, Relaxed, Release};
    use crate::ordering::{Field, Site, sites};

    sites! {
        /// Everything in the header but the magic, while it is made.
        FORMAT: Write = Site::write("arena.format.write")
            .of(Field::Header)
            .why("nobody attaches before the magic is there");
        /// The header is complete.
        FORMAT_PUBLISH: Store = Site::store(Release, "arena.format.store_magic")
            .of(Field::Header)
            .pairs_with(&["arena.attach.load_magic"])
            .why("the header and the queues are there before somebody who sees the magic looks");
        /// Whether there is a header.
        ATTACH_MAGIC: Load = Site::load(Acquire, "arena.attach.load_magic")
            .of(Field::Header)
            .pairs_with(&["arena.format.store_magic"])
            .why("the header and the queues were made before they are looked at");
        /// The rest of the header.
        ATTACH: Read = Site::read("arena.attach.read")
            .of(Field::Header)
            .why("written before the magic, and never again");
        /// The right to be the one consumer.
        CONSUMER_CLAIM: CompareExchange = Site::compare_exchange(Acquire, Relaxed, "arena.consumer.claim")
            .of(Field::Owner)
            .pairs_with(&["arena.consumer.release"])
            .why("the last consumer's tail is written before this one reads it; failure: nothing is read");
        /// The right passes from a consumer that died.
        CONSUMER_TAKE_OVER: CompareExchange = Site::compare_exchange(Relaxed, Relaxed, "arena.consumer.take_over")
            .of(Field::Owner)
            .why("decides between those who take over; what the dead one wrote happens before, by the caller's promise");
        /// Who has the right.
        CONSUMER_OWNER: Load = Site::load(Relaxed, "arena.consumer.load_owner")
            .of(Field::Owner)
            .why("only a guess: the claim fails if it is old");
        /// The right is given up.
        CONSUMER_RELEASE: Store = Site::store(Release, "arena.consumer.release")
            .of(Field::Owner)
            .pairs_with(&["arena.consumer.claim"])
            .why("this consumer's tail is written before the next one reads it");
    }
}

/// What the first word of an arena's header says: `arenaq` and two zero bytes, read as a little-endian
/// number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"arenaq\0\0");

/// The version of the shared layout.
pub const VERSION: u64 = 8;

/// The largest number of queues in an arena. Whoever attaches looks at them all.
pub const MAX_QUEUES: usize = 1 << 16;

/// What the program that made the arena says about it.
///
/// Layout: eight 64-bit words, in the order of the fields; 64 bytes. All zero is memory in which nothing has
/// been made yet.
#[repr(C)]
#[derive(Debug)]
pub struct ArenaHeader<P: Platform> {
    pub(crate) magic: P::Word,
    pub(crate) version: P::Plain<u64>,
    pub(crate) layout_hash: P::Plain<u64>,
    /// The address of the region in the process that made it. The queues' pointers are absolute.
    pub(crate) base: P::Plain<u64>,
    pub(crate) length: P::Plain<u64>,
    /// The address of the event count on which consumers sleep; 0 if there is none.
    pub(crate) event_count: P::Plain<u64>,
    /// The address of the directory's entries, and how many there are.
    pub(crate) directory: P::Plain<u64>,
    pub(crate) queues: P::Plain<u64>,
}

// SAFETY: the magic is an atomic word. The rest is written only through the `Arena` that formats, exclusively
// borrowed, before the magic releases it to those who attach, and from then on only read.
unsafe impl<P: Platform> Sync for ArenaHeader<P> {}
