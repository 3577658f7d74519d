//! Safe handles over raw shared memory.
//!
//! The memory is described twice: by a [`Region`], what this process has mapped, and by an [`ArenaHeader`]
//! inside it, what the program that made the queues says. Saying that a region is what it claims to be is the
//! only unsafe step ([`Region::new`]). Everything after it checks: [`Arena::attach`] compares magic, version,
//! layout and place, and every pointer that leads from the header to a queue, and from a queue to its cells
//! or nodes, is looked at before it is followed.

use core::marker::PhantomData;
use core::num::NonZero;
use core::ops::Range;
use core::ptr::NonNull;
use thiserror::Error;

use crate::count::{CountPolicy, Counted};
use crate::eventcount::EventCount;
use crate::layout;
use crate::mpmc::{self, Capacity};
use crate::mpsc::{self, List};
use crate::payload::{KeyValue, Payload};
use crate::platform::{Link, Native, Plain, Platform, SizeOf, Word};
use crate::pool::{Chain, GrowError, MAX_ELEMENTS, Nodes, Pool, Repaired, Start, nodes_for};
use crate::single::{SingleConsumer, SingleProducer};
use crate::status::{Corruption, PopError, PushError};

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
pub const VERSION: u64 = 4;

/// What the program that made the queues says about them.
///
/// Layout: twelve 64-bit words, in the order of the fields; 96 bytes. All zero is memory in which nothing has
/// been made yet.
#[repr(C)]
#[derive(Debug)]
pub struct ArenaHeader<P: Platform> {
    pub(crate) magic: P::Word,
    pub(crate) version: P::Plain<u64>,
    pub(crate) payload_size: P::Plain<u64>,
    pub(crate) layout_hash: P::Plain<u64>,
    /// The address of the region in the process that made it. The queues' pointers are absolute.
    pub(crate) base: P::Plain<u64>,
    pub(crate) length: P::Plain<u64>,
    /// The addresses of the heads; 0 for a queue that was not made.
    pub(crate) mpmc: P::Plain<u64>,
    pub(crate) mpsc: P::Plain<u64>,
    pub(crate) pool: P::Plain<u64>,
    /// Who is the consumer of the MPSC queue; 0 for nobody.
    pub(crate) consumer: P::Word,
    /// The address of the event count on which consumers sleep; 0 if there is none.
    pub(crate) event_count: P::Plain<u64>,
    /// Whether the queues maintain their counters: 1 if they do, 0 if not.
    pub(crate) counted: P::Plain<u64>,
}

// SAFETY: the magic and the claim are atomic words. The rest is written only through the `Arena` that
// formats, exclusively borrowed, before the magic releases it to those who attach, and from then on only
// read.
unsafe impl<P: Platform> Sync for ArenaHeader<P> {}

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
    /// The arena was made for a payload of another size.
    #[error("the arena carries payloads of {found} bytes, this program expects {expected}")]
    PayloadSize {
        /// The size that the arena was made for.
        found: u64,
        /// The size of this program's payload.
        expected: u64,
    },
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
    /// The arena's queues maintain their counters and this program's do not, or the other way round.
    #[error(
        "the arena's queues are {}, this program's are {}: build both with the same count policy",
        policy(*found), policy(!found)
    )]
    CountPolicy {
        /// Whether the arena's queues maintain their counters.
        found: bool,
    },
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
    #[error("the arena has no {0} queue")]
    Absent(&'static str),
    /// The arena has no event count.
    #[error("the arena has no event count: it was made for consumers that do not sleep")]
    NoEventCount,
    /// The arena has such a queue already.
    #[error("the arena has an {0} queue already")]
    Exists(&'static str),
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
    /// A number of nodes that no pool can have.
    #[error("an MPSC queue of {0} elements is not possible: it has from 1 to {MAX_ELEMENTS}")]
    Nodes(u64),
    /// The queue has a consumer.
    #[error("the queue has a consumer already, {owner}, and a queue of this kind can have only one")]
    ConsumerTaken {
        /// Who, as the consumer called itself.
        owner: Owner,
    },
    /// The queue's head is damaged.
    #[error("the queue's head is damaged: {0}")]
    Corrupt(#[from] Corruption),
}

fn policy(counted: bool) -> &'static str {
    if counted { "counted" } else { "uncounted" }
}

/// Shared memory that this process has mapped, for one [`Arena`] to be made of or found in.
///
/// It is neither `Clone` nor `Copy`: memory with live handles cannot be formatted again.
#[derive(Debug)]
pub struct Region<'m>(Span<'m>);

impl<'m> Region<'m> {
    /// The `length` bytes at `base`.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] if `base` is null or `length` is more than any mapping can have.
    ///
    /// # Safety
    ///
    /// For all of `'m` the memory is mapped, readable and writable, and nothing in it is changed but by this
    /// crate's algorithms, in whatever process or program. If the region is given to [`Arena::format`],
    /// nobody else uses the memory until that arena is published or has handed out its first queue.
    pub const unsafe fn new(base: *mut u8, length: usize) -> Result<Self, ArenaError> {
        match NonNull::new(base) {
            Some(base) if length <= isize::MAX as usize => {
                Ok(Region(Span { base, length, memory: PhantomData }))
            }
            _ => Err(ArenaError::OutOfBounds { what: "the region", address: 0, size: length, region: 0..0 }),
        }
    }

    /// The addresses of the region.
    pub fn addresses(&self) -> Range<usize> {
        self.0.addresses()
    }
}

/// A region, as all handles to one arena share it.
#[derive(Clone, Copy, Debug)]
struct Span<'m> {
    base: NonNull<u8>,
    length: usize,
    memory: PhantomData<&'m ()>,
}

// SAFETY: a span is an address and a length. What may be done with the memory from which thread is up to the
// types that are made from it.
unsafe impl Send for Span<'_> {}
// SAFETY: as above.
unsafe impl Sync for Span<'_> {}

impl<'m> Span<'m> {
    fn addresses(&self) -> Range<usize> {
        let start = self.base.addr().get();
        start..start + self.length
    }

    /// `count` values of type `S` at `address`, if they lie in the region.
    fn place<S>(&self, what: &'static str, address: usize, count: usize) -> Result<NonNull<S>, ArenaError> {
        let region = self.addresses();
        let size = size_of::<S>().saturating_mul(count);
        let end = address.saturating_add(size);
        if address < region.start || end > region.end {
            return Err(ArenaError::OutOfBounds { what, address, size, region });
        }
        if !address.is_multiple_of(align_of::<S>()) {
            return Err(ArenaError::Misaligned { what, address, align: align_of::<S>() });
        }
        // SAFETY: the address lies in the region, so the offset is within the mapping.
        Ok(unsafe { self.base.add(address - region.start) }.cast())
    }

    /// [`place`](Self::place), as a shared reference.
    ///
    /// # Safety
    ///
    /// An `S` has been made there, or is valid as the zeroed memory that is there, and changes only through
    /// shared references.
    unsafe fn reference<S>(&self, what: &'static str, address: usize) -> Result<&'m S, ArenaError> {
        let place = self.place::<S>(what, address, 1)?;
        // SAFETY: in bounds and aligned by `place`, mapped for 'm by the promise of `new`, and an `S` by the
        // caller's.
        Ok(unsafe { place.as_ref() })
    }
}

/// Where the control blocks of an arena lie: addresses. In a BPF arena they are variables of the BPF
/// programs, which have to find them; in other memory anywhere.
#[derive(Clone, Debug)]
pub struct Places {
    /// The [`ArenaHeader`].
    pub header: usize,
    /// The [`mpmc::Head`].
    pub mpmc: usize,
    /// The [`mpsc::Head`].
    pub mpsc: usize,
    /// The [`Pool`].
    pub pool: usize,
    /// The [`EventCount`], if consumers may sleep.
    pub event_count: Option<usize>,
    /// What is free for cells, nodes and links.
    pub free: Range<usize>,
}

impl Places {
    /// All control blocks one after another at the start of the region.
    ///
    /// # Errors
    ///
    /// [`ArenaError::NoSpace`] if they do not fit.
    pub fn in_plain_memory(region: &Region<'_>) -> Result<Places, ArenaError> {
        let mut space = Space(region.addresses());
        Ok(Places {
            header: space.take::<layout::CacheLine<ArenaHeader<Native>>>("the header", 1)?,
            mpmc: space.take::<mpmc::Head<Native, KeyValue>>("the MPMC head", 1)?,
            mpsc: space.take::<layout::CacheLine<mpsc::Head<Native, KeyValue>>>("the MPSC head", 1)?,
            pool: space.take::<Pool<Native, u64>>("the node pool", 1)?,
            event_count: Some(space.take::<EventCount<Native>>("the event count", 1)?),
            free: space.0,
        })
    }
}

/// The unit in which an arena is populated.
const PAGE: usize = 4096;

/// Addresses that nothing lies at yet.
#[derive(Clone, Debug)]
struct Space(Range<usize>);

impl Space {
    /// Takes room for `count` values of type `S`, on cache lines of their own.
    fn take<S>(&mut self, what: &'static str, count: usize) -> Result<usize, ArenaError> {
        let start = self.0.start.next_multiple_of(align_of::<S>().max(64));
        let needed = size_of::<S>().saturating_mul(count);
        let left = self.0.end.saturating_sub(start);
        if needed > left {
            return Err(ArenaError::NoSpace { what, needed, left });
        }
        self.0.start = start + needed;
        Ok(start)
    }

    /// Leaves the rest of a page that has been begun. If that is all that is left, nothing is left.
    fn begin_page(&mut self) {
        self.0.start = self.0.start.next_multiple_of(PAGE).min(self.0.end);
    }
}

/// An arena with queues of payload `T`.
#[derive(Debug)]
pub struct Arena<'m, T: Payload = KeyValue, C: CountPolicy = Counted> {
    region: Span<'m>,
    header: &'m ArenaHeader<Native>,
    places: Option<Places>,
    queues: PhantomData<fn() -> (T, C)>,
}

type Node<T> = mpsc::Node<Native, T>;

impl<'m, T: Payload, C: CountPolicy> Arena<'m, T, C> {
    /// Makes the header in memory that is all zero, or of no more use. The queues come with
    /// [`create_mpmc`](Self::create_mpmc) and [`create_mpsc`](Self::create_mpsc), and other processes can
    /// [`attach`](Self::attach) after [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// [`ArenaError`] if a place is outside of the region or not aligned.
    #[expect(clippy::needless_pass_by_value, reason = "the right to make an arena of the memory is given up")]
    pub fn format(region: Region<'m>, places: Places) -> Result<Self, ArenaError> {
        const { T::IS_WORDS }
        let region = region.0;
        // SAFETY: a header is words and plain numbers, for which any bytes are valid, and changes only as
        // atomics or before it is published.
        let header = unsafe { region.reference::<ArenaHeader<Native>>("the header", places.header) }?;
        let events = match places.event_count {
            // SAFETY: an event count is a word, valid whatever the bytes.
            Some(place) => Some(unsafe { region.reference::<EventCount<Native>>("the event count", place) }?),
            None => None,
        };
        let addresses = region.addresses();
        // SAFETY: the magic is not there yet, so nobody has attached, and the region is ours by the promise
        // of `Region::new`.
        unsafe {
            header.magic.init(0, &site::FORMAT);
            header.version.write(VERSION, &site::FORMAT);
            header.payload_size.write(size_of::<T>() as u64, &site::FORMAT);
            header.layout_hash.write(layout::hash::<T>(), &site::FORMAT);
            header.base.write(addresses.start as u64, &site::FORMAT);
            header.length.write(addresses.len() as u64, &site::FORMAT);
            header.mpmc.write(0, &site::FORMAT);
            header.mpsc.write(0, &site::FORMAT);
            header.pool.write(0, &site::FORMAT);
            header.consumer.init(0, &site::FORMAT);
            header.event_count.write(places.event_count.unwrap_or(0) as u64, &site::FORMAT);
            header.counted.write(C::COUNTED.into(), &site::FORMAT);
            if let Some(events) = events {
                events.state.0.init(0, &site::FORMAT);
            }
        }
        Ok(Arena { region, header, places: Some(places), queues: PhantomData })
    }

    /// Makes an empty MPMC queue.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] if there is one, or the cells do not fit.
    pub fn create_mpmc(&mut self, capacity: u64) -> Result<(), CreateError> {
        self.create_mpmc_at(capacity, 0)
    }

    /// [`create_mpmc`](Self::create_mpmc) with positions that begin at `start`; see [`mpmc::Head::init_at`].
    ///
    /// # Errors
    ///
    /// As [`create_mpmc`](Self::create_mpmc).
    pub fn create_mpmc_at(&mut self, capacity: u64, start: u64) -> Result<(), CreateError> {
        let capacity = Capacity::new(capacity)?;
        let (region, header) = (self.region, self.header);
        // SAFETY: written only in `format` and here, with `self` borrowed exclusively, before the header is
        // published.
        if unsafe { header.mpmc.read(&site::ATTACH) } != 0 {
            return Err(ArenaError::Exists("MPMC").into());
        }
        let places = self.places.as_mut().ok_or(ArenaError::Absent("unpublished MPMC"))?;
        let cells = to_usize(capacity.get());
        let mut space = Space(places.free.clone());
        let buffer = space.take::<mpmc::Cell<Native, T>>("the ring of cells", cells)?;
        let buffer = region.place::<mpmc::Cell<Native, T>>("the ring of cells", buffer, cells)?;
        // SAFETY: a head is words and plain numbers, valid whatever the bytes.
        let head = unsafe { region.reference::<mpmc::Head<Native, T, C>>("the MPMC head", places.mpmc) }?;
        // SAFETY: the cells were taken from the free space, so they are this queue's alone, and nobody knows
        // of the queue before its address is in the header.
        unsafe {
            head.init_at(buffer.as_ptr(), capacity, start).map_err(ArenaError::from)?;
            header.mpmc.write(places.mpmc as u64, &site::FORMAT);
        }
        places.free = space.0;
        Ok(())
    }

    /// Makes an empty MPSC queue with a pool of [`nodes_for`] `elements`, so that as many find room at any
    /// time, and a few more at most times; the pool can [`grow`](MpscProducer::grow) to those for `limit`
    /// elements. A pool that can grow has pages of its own for its nodes and for its links, so that those of
    /// which nothing is made yet need not be populated.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] if there is one, or the nodes do not fit.
    pub fn create_mpsc(&mut self, elements: u64, limit: u64) -> Result<(), CreateError> {
        self.create_mpsc_at(elements, limit, 0)
    }

    /// [`create_mpsc`](Self::create_mpsc) with a pool whose ABA tag begins at `tag`; see [`Pool::init_at`].
    ///
    /// # Errors
    ///
    /// As [`create_mpsc`](Self::create_mpsc).
    pub fn create_mpsc_at(&mut self, elements: u64, limit: u64, tag: u32) -> Result<(), CreateError> {
        let limit = limit.max(elements);
        if elements == 0 || limit > MAX_ELEMENTS {
            return Err(ArenaError::Nodes(limit).into());
        }
        let ((limit, block), more) = (nodes_for(limit), limit - elements);
        let nodes = limit - more;
        let (region, header) = (self.region, self.header);
        // SAFETY: as in `create_mpmc_at`.
        if unsafe { header.mpsc.read(&site::ATTACH) } != 0 {
            return Err(ArenaError::Exists("MPSC").into());
        }
        let places = self.places.as_mut().ok_or(ArenaError::Absent("unpublished MPSC"))?;
        let room = to_usize(limit);
        let mut space = Space(places.free.clone());
        let can_grow = limit > nodes;
        if can_grow {
            space.begin_page();
        }
        let links = space.take::<<Native as Platform>::Word>("the links of the node pool", room)?;
        let links = region.place::<<Native as Platform>::Word>("the links of the node pool", links, room)?;
        if can_grow {
            space.begin_page();
        }
        let first = space.take::<Node<T>>("the nodes", room)?;
        let first = region.place::<Node<T>>("the nodes", first, room)?;
        // SAFETY: a pool is words and plain numbers, valid whatever the bytes.
        let pool = unsafe { region.reference::<Pool<Native, Node<T>>>("the node pool", places.pool) }?;
        // SAFETY: as the pool.
        let head = unsafe { region.reference::<mpsc::Head<Native, T, C>>("the MPSC head", places.mpsc) }?;
        if can_grow {
            space.begin_page();
        }
        // SAFETY: nodes and links were taken from the free space, so they are the pool's alone; the region is
        // mapped, so their memory is there; and nobody knows of the queue before its address is in the
        // header.
        unsafe {
            pool.init_at(first.as_ptr(), links.as_ptr(), limit, Start { tag, block: NonZero::new(block) });
            let room = pool.nodes().ok_or(GrowError::Invalid)?;
            grow(room, nodes)?;
            head.init(room)?;
            header.pool.write(places.pool as u64, &site::FORMAT);
            header.mpsc.write(places.mpsc as u64, &site::FORMAT);
        }
        places.free = space.0;
        Ok(())
    }

    /// Lets others attach. No queue can be created any more.
    pub fn publish(&mut self) {
        self.places = None;
        self.header.magic.store(MAGIC, &site::FORMAT_PUBLISH);
    }

    /// Finds the queues that somebody else has made and published.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] says what does not fit.
    #[expect(clippy::needless_pass_by_value, reason = "the right to make an arena of the memory is given up")]
    pub fn attach(region: Region<'m>, header: usize) -> Result<Self, ArenaError> {
        const { T::IS_WORDS }
        let region = region.0;
        // SAFETY: any bytes are a valid header, and it changes only as atomics once it is published.
        let header = unsafe { region.reference::<ArenaHeader<Native>>("the header", header) }?;
        let found = header.magic.load(&site::ATTACH_MAGIC);
        if found != MAGIC {
            return Err(ArenaError::NoHeader { found });
        }
        // SAFETY: written before the magic that we have acquired, and never again.
        let (version, size, hash, base, length, counted) = unsafe {
            (
                header.version.read(&site::ATTACH),
                header.payload_size.read(&site::ATTACH),
                header.layout_hash.read(&site::ATTACH),
                header.base.read(&site::ATTACH),
                header.length.read(&site::ATTACH),
                header.counted.read(&site::ATTACH) != 0,
            )
        };
        if version != VERSION {
            return Err(ArenaError::Version { found: version });
        }
        if size != size_of::<T>() as u64 {
            return Err(ArenaError::PayloadSize { found: size, expected: size_of::<T>() as u64 });
        }
        if hash != layout::hash::<T>() {
            return Err(ArenaError::Layout { found: hash, expected: layout::hash::<T>() });
        }
        if counted != C::COUNTED {
            return Err(ArenaError::CountPolicy { found: counted });
        }
        let mapped = region.addresses();
        if (base, length) != (mapped.start as u64, mapped.len() as u64) {
            return Err(ArenaError::Moved {
                base,
                length,
                mapped_base: mapped.start as u64,
                mapped_length: mapped.len() as u64,
            });
        }
        Ok(Arena { region, header, places: None, queues: PhantomData })
    }

    /// The MPMC queue.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] if there is none, or its head leads out of the region.
    pub fn mpmc(&self) -> Result<Mpmc<'m, T, C>, ArenaError> {
        // SAFETY: written before the header was published, or by us.
        let address = to_usize(unsafe { self.header.mpmc.read(&site::ATTACH) });
        if address == 0 {
            return Err(ArenaError::Absent("MPMC"));
        }
        // SAFETY: any bytes are a valid head; the ring is looked at before it is used.
        let head = unsafe { self.region.reference::<mpmc::Head<Native, T, C>>("the MPMC head", address) }?;
        let queue = Mpmc { head, region: self.region };
        queue.check_ring()?;
        Ok(queue)
    }

    /// The event count on which the consumers of the arena sleep: of both queues, if there are two.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] if there is none, or it lies outside of the region.
    pub fn event_count(&self) -> Result<&'m EventCount<Native>, ArenaError> {
        // SAFETY: written before the header was published, or by us.
        match to_usize(unsafe { self.header.event_count.read(&site::ATTACH) }) {
            0 => Err(ArenaError::NoEventCount),
            // SAFETY: any bytes are a valid event count.
            address => unsafe { self.region.reference("the event count", address) },
        }
    }

    /// The producing end of the MPSC queue.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] if there is none, or its pool leads out of the region.
    pub fn mpsc_producer(&self) -> Result<MpscProducer<'m, T, C>, ArenaError> {
        // SAFETY: written before the header was published, or by us.
        let (head, pool) =
            unsafe { (self.header.mpsc.read(&site::ATTACH), self.header.pool.read(&site::ATTACH)) };
        if head == 0 || pool == 0 {
            return Err(ArenaError::Absent("MPSC"));
        }
        // SAFETY: any bytes are a valid head and a valid pool; what they lead to is looked at before it is
        // used.
        let (head, pool) = unsafe {
            (
                self.region.reference::<mpsc::Head<Native, T, C>>("the MPSC head", to_usize(head))?,
                self.region.reference::<Pool<Native, Node<T>>>("the node pool", to_usize(pool))?,
            )
        };
        let geometry = pool.geometry();
        let limit = to_usize(geometry.limit);
        self.region.place::<Node<T>>("the nodes", geometry.nodes.addr(), limit)?;
        self.region.place::<<Native as Platform>::Word>(
            "the links of the node pool",
            geometry.links.addr(),
            limit,
        )?;
        // SAFETY: nodes and links lie in the region, aligned, and it is mapped for 'm.
        let nodes = unsafe { Nodes::checked(pool, geometry, SizeOf) }?;
        match head.head.load(&crate::mpsc::site::INSPECT_HEAD) {
            last if !last.is_null() && !nodes.owns(last) => Err(Corruption::Link(last.addr() as u64).into()),
            _ => Ok(MpscProducer { list: head.list(nodes).ok_or(Corruption::NotInitialised)? }),
        }
    }

    /// The consuming end of the MPSC queue, of which there is one at a time: the next can be had when this
    /// one is dropped. The consumer calls itself [`Owner::ANONYMOUS`].
    ///
    /// # Errors
    ///
    /// [`ArenaError::ConsumerTaken`] if it is held, or as [`mpsc_producer`](Self::mpsc_producer).
    pub fn mpsc_consumer(&self) -> Result<MpscConsumer<'m, T, C>, ArenaError> {
        self.mpsc_consumer_as(Owner::ANONYMOUS)
    }

    /// [`mpsc_consumer`](Self::mpsc_consumer) for a consumer that calls itself `owner`.
    ///
    /// # Errors
    ///
    /// As [`mpsc_consumer`](Self::mpsc_consumer).
    pub fn mpsc_consumer_as(&self, owner: Owner) -> Result<MpscConsumer<'m, T, C>, ArenaError> {
        self.consumer_with(|header| ConsumerClaim::new(header, owner))
    }

    /// The consuming end of the MPSC queue, whose consumer has died without dropping it. What it has left is
    /// put right by [`mpsc::Consumer::repair`]. If nobody has the right any more, this is
    /// [`mpsc_consumer_as`](Self::mpsc_consumer_as).
    ///
    /// # Errors
    ///
    /// As [`mpsc_consumer`](Self::mpsc_consumer).
    ///
    /// # Safety
    ///
    /// Whoever holds the right, if anybody, will never use its consumer again, and everything that it did
    /// happens before this call. A lock that the operating system gives up when its holder dies shows that.
    pub unsafe fn mpsc_consumer_after_death(
        &self,
        owner: Owner,
    ) -> Result<MpscConsumer<'m, T, C>, ArenaError> {
        self.consumer_with(|header| ConsumerClaim::take_over(header, owner))
    }

    /// Who has the right to consume from the MPSC queue.
    pub fn mpsc_owner(&self) -> Option<Owner> {
        NonZero::new(self.header.consumer.load(&site::CONSUMER_OWNER)).map(Owner)
    }

    fn consumer_with(
        &self,
        claim: impl FnOnce(&'m ArenaHeader<Native>) -> Result<ConsumerClaim<'m>, ArenaError>,
    ) -> Result<MpscConsumer<'m, T, C>, ArenaError> {
        let MpscProducer { list } = self.mpsc_producer()?;
        let claim = claim(self.header)?;
        // SAFETY: the claim makes us the only consumer, and is given up after the consumer is gone.
        let consumer = unsafe { mpsc::Consumer::new(list) }?;
        Ok(MpscConsumer { consumer, _claim: claim })
    }
}

/// Why a queue was not made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CreateError {
    /// The capacity is not one.
    #[error(transparent)]
    Capacity(#[from] mpmc::CapacityError),
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

/// An address or a number from shared memory, as this machine's. Arenas exist on 64-bit machines only, where
/// nothing is lost.
fn to_usize(value: u64) -> usize {
    value as usize
}

/// An MPMC queue in an arena: any number of producers and consumers, each with a copy of this handle.
#[derive(Debug)]
pub struct Mpmc<'m, T: Payload, C: CountPolicy = Counted> {
    head: &'m mpmc::Head<Native, T, C>,
    region: Span<'m>,
}

impl<T: Payload, C: CountPolicy> Clone for Mpmc<'_, T, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Payload, C: CountPolicy> Copy for Mpmc<'_, T, C> {}

impl<'m, T: Payload, C: CountPolicy> Mpmc<'m, T, C> {
    /// The only producer; see [`mpmc::Head::single_producer`].
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn single_producer(&self) -> SingleProducer<'m, Native, T, C> {
        // SAFETY: passed on to the caller.
        unsafe { self.head.single_producer() }
    }

    /// The only consumer; see [`mpmc::Head::single_consumer`].
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn single_consumer(&self) -> SingleConsumer<'m, Native, T, C> {
        // SAFETY: passed on to the caller.
        unsafe { self.head.single_consumer() }
    }

    /// Enqueues `value`; see [`mpmc::Head::push`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn push(&self, value: T) -> Result<(), PushError> {
        self.head.push(value)
    }

    /// Enqueues several values; see [`mpmc::Head::push_many`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub fn push_many(&self, values: &[T]) -> Result<usize, PushError> {
        self.head.push_many(values)
    }

    /// Dequeues several elements; see [`mpmc::Head::drain`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As there.
    #[inline]
    pub fn drain(&self, limit: u64, hand_over: impl FnMut(T)) -> Result<u64, PopError> {
        self.head.drain(limit, hand_over)
    }

    /// Dequeues the oldest element; see [`mpmc::Head::pop`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn pop(&self) -> Result<T, PopError> {
        self.head.pop()
    }

    /// Dequeues the oldest element for a consumer that may be killed; see [`mpmc::Head::pop_with`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As there.
    #[inline(always)]
    pub fn pop_with<R>(&self, hand_over: impl FnOnce(T) -> R) -> Result<R, PopError> {
        self.head.pop_with(hand_over)
    }

    /// Hands over what dead consumers have claimed; see [`mpmc::Head::reclaim`].
    ///
    /// # Errors
    ///
    /// [`Corruption`] if the ring is not one.
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn reclaim(&self, hand_over: impl FnMut(T)) -> Result<u64, Corruption> {
        self.check_ring()?;
        // SAFETY: passed on to the caller.
        unsafe { self.head.reclaim(hand_over) }
    }

    /// Sets the counter to the length; see [`mpmc::Head::recount`].
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn recount(&self) {
        // SAFETY: passed on to the caller.
        unsafe { self.head.recount() };
    }

    /// The number of elements; see [`mpmc::Head::len`].
    pub fn len(&self) -> u64 {
        self.head.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.head.is_empty()
    }

    /// The number of cells.
    pub fn capacity(&self) -> u64 {
        self.head.ring().map_or(0, |(_, mask)| mask + 1)
    }

    /// The seeds' counter; see [`mpmc::Head::count`].
    pub fn count(&self) -> u64 {
        self.head.count()
    }

    /// Looks for an element; see [`mpmc::Head::search`].
    ///
    /// # Errors
    ///
    /// What is wrong.
    ///
    /// # Safety
    ///
    /// No pop runs at the same time.
    pub unsafe fn search(&self, found: impl FnMut(&T) -> bool) -> Result<Option<T>, Corruption> {
        self.check_ring()?;
        // SAFETY: passed on to the caller.
        unsafe { self.head.search(found) }
    }

    /// Checks the queue at any moment; see [`mpmc::Head::verify`].
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn verify(&self) -> Result<(), Corruption> {
        self.check_ring()?;
        self.head.verify()
    }

    /// Checks the resting queue; see [`mpmc::Head::verify_quiesced`].
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub fn verify_quiesced(&self) -> Result<(), Corruption> {
        self.check_ring()?;
        self.head.verify_quiesced()
    }

    /// Whether the whole ring lies in the region.
    fn check_ring(&self) -> Result<(), Corruption> {
        let (buffer, mask) = self.head.ring()?;
        self.region
            .place::<mpmc::Cell<Native, T>>("the ring of cells", buffer.addr(), to_usize(mask + 1))
            .map(|_| ())
            .map_err(|_| Corruption::OutOfBounds("the ring of cells"))
    }
}

/// The producing end of an MPSC queue in an arena; any number of copies.
#[derive(Debug)]
pub struct MpscProducer<'m, T: Payload, C: CountPolicy = Counted> {
    list: List<'m, Native, T, C>,
}

impl<T: Payload, C: CountPolicy> Clone for MpscProducer<'_, T, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Payload, C: CountPolicy> Copy for MpscProducer<'_, T, C> {}

impl<'m, T: Payload, C: CountPolicy> MpscProducer<'m, T, C> {
    /// Enqueues `value`; see [`List::push`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn push(&self, value: T) -> Result<(), PushError> {
        self.list.push(value)
    }

    /// Enqueues several values; see [`List::push_many`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub fn push_many(&self, values: &[T]) -> Result<usize, PushError> {
        self.list.push_many(values)
    }

    /// The seeds' counter; see [`mpsc::Head::count`].
    pub fn count(&self) -> u64 {
        self.list.count()
    }

    /// The pool from which the nodes come.
    pub fn pool(&self) -> Nodes<'m, Native, Node<T>> {
        self.list.nodes()
    }

    /// Makes `count` more nodes, and those that fill the last block. All their memory is written here, so that
    /// the arena has pages for them before a producer in the kernel gets one: it cannot fault them in, and what
    /// it wrote would be lost. Programs in the kernel that may allocate pages grow the pool in the same way, and
    /// at the same time if need be (`ds_pool_grow`).
    ///
    /// # Errors
    ///
    /// [`GrowError`] if there is no room, or others were faster.
    pub fn grow(&self, count: u64) -> Result<(), GrowError> {
        grow(self.list.nodes(), count)
    }
}

/// [`MpscProducer::grow`], of nodes that lie in the region, as their links do.
fn grow<T: Payload>(nodes: Nodes<'_, Native, Node<T>>, count: u64) -> Result<(), GrowError> {
    let reservation = nodes.reserve(count, count)?;
    for node in nodes.reserved_nodes(&reservation) {
        // SAFETY: the nodes up to the limit lie in the region, which is mapped, and those of a reservation are
        // its owner's.
        unsafe { node.write(Node::empty()) };
    }
    // SAFETY: the reservation is this pool's; its nodes are written, and the links lie in the region too.
    let mut chain: Chain = unsafe { nodes.link_up(reservation) };
    // SAFETY: the chain is this pool's.
    while let Err(again) = unsafe { nodes.free_chain(chain) } {
        chain = again;
        Native::relax();
    }
    Ok(())
}

/// The consuming end of an MPSC queue in an arena. There is one.
#[derive(Debug)]
pub struct MpscConsumer<'m, T: Payload, C: CountPolicy = Counted> {
    // Dropped in this order: the right to consume is given up last.
    consumer: mpsc::Consumer<'m, Native, T, C>,
    _claim: ConsumerClaim<'m>,
}

/// Not `DerefMut`: of two consumers that can be borrowed mutably the queues could be swapped under their claims.
impl<'m, T: Payload, C: CountPolicy> core::ops::Deref for MpscConsumer<'m, T, C> {
    type Target = mpsc::Consumer<'m, Native, T, C>;

    fn deref(&self) -> &Self::Target {
        &self.consumer
    }
}

impl<T: Payload, C: CountPolicy> MpscConsumer<'_, T, C> {
    /// Dequeues the oldest element; see [`mpsc::Consumer::pop`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline(always)]
    pub fn pop(&mut self) -> Result<T, PopError> {
        self.consumer.pop()
    }

    /// Dequeues the oldest element for a consumer that may be killed; see [`mpsc::Consumer::pop_with`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As there.
    #[inline(always)]
    pub fn pop_with<R>(&mut self, hand_over: impl FnOnce(T) -> R) -> Result<R, PopError> {
        self.consumer.pop_with(hand_over)
    }

    /// Dequeues several elements; see [`mpsc::Consumer::drain`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As there.
    #[inline]
    pub fn drain(&mut self, limit: u64, hand_over: impl FnMut(T)) -> Result<u64, PopError> {
        self.consumer.drain(limit, hand_over)
    }

    /// Gives back what dead consumers have left; see [`mpsc::Consumer::repair`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn repair(&mut self) -> Result<u64, Corruption> {
        // SAFETY: passed on to the caller.
        unsafe { self.consumer.repair() }
    }

    /// Gives back what dead consumers have left, as far as there is memory; see
    /// [`mpsc::Consumer::repair_with`].
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// As there.
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn repair_with(
        &mut self,
        populate: impl FnMut(Range<usize>) -> bool,
    ) -> Result<Repaired, Corruption> {
        // SAFETY: passed on to the caller.
        unsafe { self.consumer.repair_with(populate) }
    }
}

/// Who a consumer is, for others to see: its process id, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner(NonZero<u64>);

impl Owner {
    /// One that does not say.
    pub const ANONYMOUS: Owner = Owner(NonZero::<u64>::MAX);

    /// Nobody yet: the right to consume is a lock outside of the arena, and whoever holds that takes over
    /// ([`Arena::mpsc_consumer_after_death`]).
    pub const LOCK: Owner = match NonZero::new(u64::MAX - 1) {
        Some(owner) => Owner(owner),
        None => Owner::ANONYMOUS,
    };

    /// A process.
    pub fn process(id: NonZero<u32>) -> Owner {
        Owner(id.into())
    }
}

impl core::fmt::Display for Owner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Owner::ANONYMOUS => f.write_str("which does not say who it is"),
            Owner::LOCK => f.write_str("whoever holds the lock that is the right to consume"),
            Owner(id) => write!(f, "process {id}"),
        }
    }
}

/// The right to be the one consumer.
#[derive(Debug)]
struct ConsumerClaim<'m>(&'m ArenaHeader<Native>);

impl<'m> ConsumerClaim<'m> {
    fn new(header: &'m ArenaHeader<Native>, Owner(owner): Owner) -> Result<Self, ArenaError> {
        let claim = header.consumer.compare_exchange(0, owner.get(), &site::CONSUMER_CLAIM);
        Self::won(header, claim)
    }

    /// Whoever holds the right is dead.
    fn take_over(header: &'m ArenaHeader<Native>, Owner(owner): Owner) -> Result<Self, ArenaError> {
        match header.consumer.load(&site::CONSUMER_OWNER) {
            0 => Self::new(header, Owner(owner)),
            dead => {
                let claim = header.consumer.compare_exchange(dead, owner.get(), &site::CONSUMER_TAKE_OVER);
                Self::won(header, claim)
            }
        }
    }

    fn won(header: &'m ArenaHeader<Native>, claim: Result<u64, u64>) -> Result<Self, ArenaError> {
        match claim {
            Ok(_) => Ok(ConsumerClaim(header)),
            Err(found) => {
                Err(ArenaError::ConsumerTaken { owner: NonZero::new(found).map_or(Owner::ANONYMOUS, Owner) })
            }
        }
    }
}

impl Drop for ConsumerClaim<'_> {
    fn drop(&mut self) {
        self.0.consumer.store(0, &site::CONSUMER_RELEASE);
    }
}
