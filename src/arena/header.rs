//! What the program that made the arena says about it.

use core::fmt;

use super::directory::Entry;
use super::said::Said;
use crate::platform::{Plain, Platform, Word};

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
            .why("only a look: whoever takes the right over does so with a compare-exchange");
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

/// What a header says, but for its magic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heading {
    /// The version of the layout, [`VERSION`].
    pub version: u64,
    /// What tells layouts of one version apart.
    pub layout_hash: u64,
    /// Where the region was mapped.
    pub base: u64,
    /// How long it is.
    pub length: u64,
    /// The address of the event count; 0 if there is none.
    pub event_count: u64,
    /// The address of the directory.
    pub directory: u64,
    /// How many entries the directory has.
    pub queues: u64,
}

impl<P: Platform> ArenaHeader<P> {
    /// A header of no arena, as zeroed memory is one.
    pub fn empty() -> Self {
        let word = || P::Plain::new(0);
        ArenaHeader {
            magic: P::Word::new(0),
            version: word(),
            layout_hash: word(),
            base: word(),
            length: word(),
            event_count: word(),
            directory: word(),
            queues: word(),
        }
    }

    /// Begins an arena of which the header says that; nobody who looks finds it before it is
    /// [published](Draft::publish).
    ///
    /// # Safety
    ///
    /// Nobody else looks at the header before this returns, nor at the entries that are [entered](Draft::enter) before they are
    /// published; in between, others only ask for the [heading](Self::heading). Nobody else writes there.
    pub unsafe fn draft(&self, heading: Heading) -> Draft<'_, P> {
        // SAFETY: nobody else touches the header by the caller's promise.
        unsafe { self.magic.init(0, &site::FORMAT) };
        Draft { header: self, heading }
    }

    /// What the header says of an arena that somebody has published.
    ///
    /// # Errors
    ///
    /// What is there in place of the magic.
    pub fn heading(&self) -> Result<Heading, u64> {
        let found = self.magic.load(&site::ATTACH_MAGIC);
        if found != MAGIC {
            return Err(found);
        }
        // SAFETY: written before the magic that we have acquired, and never again. Each is read once, so whoever writes
        // there all the same has nothing of it.
        unsafe {
            Ok(Heading {
                version: self.version.read(&site::ATTACH),
                layout_hash: self.layout_hash.read(&site::ATTACH),
                base: self.base.read(&site::ATTACH),
                length: self.length.read(&site::ATTACH),
                event_count: self.event_count.read(&site::ATTACH),
                directory: self.directory.read(&site::ATTACH),
                queues: self.queues.read(&site::ATTACH),
            })
        }
    }
}

/// An arena that is being made. Header and directory are written through it alone, and it is gone when they are published.
pub struct Draft<'m, P: Platform> {
    header: &'m ArenaHeader<P>,
    heading: Heading,
}

impl<P: Platform> Draft<'_, P> {
    /// Writes what the next entry of the directory says of a queue; nobody consumes from that yet.
    pub fn enter(&mut self, entry: &Entry<P>, said: &Said) {
        // SAFETY: the entry is ours until the arena is published, by the promise of `ArenaHeader::draft`.
        unsafe {
            said.write(entry);
            entry.consumer.reset();
        }
        self.heading.queues += 1;
    }

    /// How many queues the directory has.
    pub fn queues(&self) -> u64 {
        self.heading.queues
    }

    /// Lets others attach.
    pub fn publish(self) {
        let Draft { header, heading } = self;
        // SAFETY: the header is ours until the magic is there, by the promise of `ArenaHeader::draft`.
        unsafe {
            header.version.write(heading.version, &site::FORMAT);
            header.layout_hash.write(heading.layout_hash, &site::FORMAT);
            header.base.write(heading.base, &site::FORMAT);
            header.length.write(heading.length, &site::FORMAT);
            header.event_count.write(heading.event_count, &site::FORMAT);
            header.directory.write(heading.directory, &site::FORMAT);
            header.queues.write(heading.queues, &site::FORMAT);
        }
        header.magic.store(MAGIC, &site::FORMAT_PUBLISH);
    }
}

impl<P: Platform> fmt::Debug for Draft<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft").field("heading", &self.heading).finish_non_exhaustive()
    }
}
