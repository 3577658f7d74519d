//! The sites of the queue.
//!
//! Five operations claim positions, and do so in the same way: the loop is written once, over the sites of the
//! operation that runs it. Each has its own, so that one ordering of one operation can be weakened alone.

use super::slots;
use crate::ordering::Ordering::{Acquire, Relaxed, Release};
use crate::ordering::{Add, CompareExchange, Field, Load, Read, Site, SiteInfo, Store, Write, sites};

/// The sites with which an operation claims positions.
#[derive(Clone, Copy, Debug)]
pub struct Claiming {
    /// The position that will be claimed, unless somebody is faster.
    pub load_position: Site<Load>,
    /// Whose turn a cell is.
    pub load_sequence: Site<Load>,
    /// The claim of the position, or of several.
    pub claim_position: Site<CompareExchange>,
    /// The position again, after somebody else was faster.
    pub reload_position: Site<Load>,
}

/// The sites of an operation that enqueues.
#[derive(Clone, Copy, Debug)]
pub struct Enqueue {
    /// Those of the claim.
    pub claiming: Claiming,
    /// An element, in a cell that nobody else may touch.
    pub write_data: Site<Write>,
    /// A cell becomes a consumer's.
    pub publish_cell: Site<Store>,
    /// So many elements more.
    pub increment_count: Site<Add>,
}

/// The sites of an operation that dequeues.
#[derive(Clone, Copy, Debug)]
pub struct Dequeue {
    /// Those of the claim.
    pub claiming: Claiming,
    /// An element, in a cell that nobody else may touch.
    pub read_data: Site<Read>,
    /// A cell becomes the next lap's producer's.
    pub free_cell: Site<Store>,
    /// So many elements less.
    pub decrement_count: Site<Add>,
}

/// Names of one operation's sites, and the labels that the seeds have for them.
macro_rules! named {
    ($operation:literal, $access:literal) => {
        concat!("mpmc.", $operation, ".", $access)
    };
}

/// The sites of an operation that enqueues, with the seeds' labels.
macro_rules! enqueue {
    ($operation:literal, $position:literal, $sequence:literal, $claim:literal, $data:literal, $publish:literal,
     $count:literal, $reload:literal) => {
        Enqueue {
            claiming: Claiming {
                load_position: Site::load(Relaxed, named!($operation, "load_position"))
                    .of(Field::EnqueuePosition)
                    .why("only a guess: the claim fails if it is old")
                    .seed($position),
                load_sequence: Site::load(Acquire, named!($operation, "load_sequence"))
                    .of(Field::Sequence)
                    .pairs_with(&[
                        "mpmc.pop.free_cell",
                        "mpmc.drain.free_cell",
                        "mpmc.take.free_cell",
                        "mpmc.reclaim.free_cell",
                        "slots.take_over.free_cell",
                    ])
                    .why("the last consumer's read of the data happens before this push overwrites it")
                    .lkmm("READ_ONCE is enough: a cmpxchg that succeeds is a full barrier, and stands between this load and \
                           the data; with an only producer, whose claim is a store, the control dependency orders the writes")
                    .seed($sequence),
                claim_position: Site::compare_exchange(
                    Relaxed,
                    Relaxed,
                    named!($operation, "claim_position"),
                )
                .of(Field::EnqueuePosition)
                .why("decides who owns the cell and carries no data: the sequence does that")
                .seed($claim),
                reload_position: Site::load(Relaxed, named!($operation, "reload_position"))
                    .of(Field::EnqueuePosition)
                    .why("only a guess, as the first")
                    .seed($reload),
            },
            write_data: Site::write(named!($operation, "write_data"))
                .of(Field::Data)
                .why("the cell is the claimer's until it publishes")
                .seed($data),
            publish_cell: Site::store(Release, named!($operation, "publish_cell"))
                .of(Field::Sequence)
                .pairs_with(&[
                    "mpmc.pop.load_sequence",
                    "mpmc.drain.load_sequence",
                    "mpmc.take.load_sequence",
                    "mpmc.search.load_sequence",
                ])
                .why("the data is written before whoever sees this sequence reads it")
                .seed($publish),
            increment_count: Site::add(Relaxed, named!($operation, "increment_count"))
                .of(Field::Count)
                .why("a statistic: nothing is decided by it")
                .seed($count),
        }
    };
    ($operation:literal) => {
        enqueue!($operation, "", "", "", "", "", "", "")
    };
}

/// The sites of an operation that dequeues, with the seeds' labels.
macro_rules! dequeue {
    ($operation:literal, $position:literal, $sequence:literal, $claim:literal, $data:literal, $free:literal) => {
        Dequeue {
            claiming: Claiming {
                load_position: Site::load(Relaxed, named!($operation, "load_position"))
                    .of(Field::DequeuePosition)
                    .why("only a guess: the claim fails if it is old")
                    .seed($position),
                load_sequence: Site::load(Acquire, named!($operation, "load_sequence"))
                    .of(Field::Sequence)
                    .pairs_with(&["mpmc.push.publish_cell", "mpmc.push_many.publish_cell"])
                    .why("the producer's write of the data happens before this thread reads it")
                    .lkmm("READ_ONCE is enough where a cmpxchg claims: one that succeeds is a full barrier, and stands between \
                           this load and the data; not with an only consumer, whose claim is a store: a control dependency \
                           does not order reads")
                    .seed($sequence),
                claim_position: Site::compare_exchange(
                    Relaxed,
                    Relaxed,
                    named!($operation, "claim_position"),
                )
                .of(Field::DequeuePosition)
                .why("decides who owns the cell and carries no data: the sequence does that")
                .seed($claim),
                reload_position: Site::load(Relaxed, named!($operation, "reload_position"))
                    .of(Field::DequeuePosition)
                    .why("only a guess, as the first"),
            },
            read_data: Site::read(named!($operation, "read_data"))
                .of(Field::Data)
                .why("the cell is the claimer's until it frees it")
                .seed($data),
            free_cell: Site::store(Release, named!($operation, "free_cell"))
                .of(Field::Sequence)
                .pairs_with(&["mpmc.push.load_sequence", "mpmc.push_many.load_sequence"])
                .why("the data is read before the producer that sees this sequence overwrites it")
                .seed($free),
            decrement_count: Site::add(Relaxed, named!($operation, "decrement_count"))
                .of(Field::Count)
                .why("a statistic: nothing is decided by it"),
        }
    };
    ($operation:literal) => {
        dequeue!($operation, "", "", "", "", "")
    };
}

/// [`Ring::push`](super::Ring::push).
pub const PUSH: Enqueue = enqueue!(
    "push",
    "insert m01, analysis 1 m0",
    "insert m04, analysis 1 m1",
    "insert m05, analysis 1 m2",
    "insert m06 m07, analysis 1 m3",
    "insert m08, analysis 1 m4",
    "insert m09",
    "insert m10"
);
/// [`Ring::push_many`](super::Ring::push_many).
pub const PUSH_MANY: Enqueue = enqueue!("push_many");
/// [`Ring::pop`](super::Ring::pop).
pub const POP: Dequeue =
    dequeue!("pop", "analysis 2 m0", "analysis 2 m1", "analysis 2 m2", "analysis 2 m3", "analysis 2 m4");
/// [`Ring::drain`](super::Ring::drain).
pub const DRAIN: Dequeue = dequeue!("drain");
/// A pop or drain of a [`Consumer`](super::Consumer), which announces what it claims.
pub const TAKE: Dequeue = Dequeue {
    claiming: Claiming {
        claim_position: Site::compare_exchange(Release, Relaxed, "mpmc.take.claim_position")
            .of(Field::DequeuePosition)
            .pairs_with(&["slots.take_over.load_position"])
            .why("the announcement is visible to whoever sees that the position is claimed; failure: only a guess"),
        ..UNANNOUNCED.claiming
    },
    ..UNANNOUNCED
};
const UNANNOUNCED: Dequeue = dequeue!("take");

/// What is not part of a claim.
pub mod other {
    use super::{Acquire, Field, Relaxed, Site, sites};

    sites! {
        /// Where the ring is, and its mask; null in a queue that was never initialised.
        RING: Read = Site::read("mpmc.any.read_ring")
            .of(Field::Ring)
            .why("written once, before the queue is handed out")
            .seed("insert m00 m02 m03");
        /// Positions, as an observer reads them.
        INSPECT_POSITION: Load = Site::load(Relaxed, "mpmc.inspect.load_position")
            .of(Field::Position)
            .why("the result is old by the time that it is returned, whatever the ordering");
        /// A position again, as nobody else has changed it in between.
        CONFIRM_POSITION: FetchAdd = Site::fetch_add(Relaxed, "mpmc.verify.confirm_position")
            .of(Field::Position)
            .why("adds nothing: a read-modify-write finds the newest value, where a load may find one that is old")
            .unseen("that the three of a check take effect in their order: with load buffering a relaxed read-modify-write may \
                     take effect before one of another word that stands before it. Those of x86 are barriers, and so are \
                     BPF's; on arm64 a check beside other operations may find positions that never were, and tries again");
        /// A cell's sequence, as an observer reads it.
        INSPECT_SEQUENCE: Load = Site::load(Relaxed, "mpmc.inspect.load_sequence")
            .of(Field::Sequence)
            .why("the sequence is judged by itself; no data is read behind it");
        /// The counter, as an observer reads it.
        INSPECT_COUNT: Load = Site::load(Relaxed, "mpmc.inspect.load_count")
            .of(Field::Count)
            .why("a statistic: nothing is decided by it");
        /// Whether a cell holds an element that may be looked at.
        SEARCH_SEQUENCE: Load = Site::load(Acquire, "mpmc.search.load_sequence")
            .of(Field::Sequence)
            .pairs_with(&["mpmc.push.publish_cell", "mpmc.push_many.publish_cell"])
            .why("the producer's write of the data happens before the search reads it");
        /// An element that stays in its cell.
        SEARCH_DATA: Read = Site::read("mpmc.search.read_data")
            .of(Field::Data)
            .why("no pop runs, so a published cell stays as it is");

        /// Everything that is written before the queue is handed out.
        INIT: Write = Site::write("mpmc.init.write")
            .of(Field::Several)
            .why("nobody else knows of the queue yet");
    }
}

const fn enqueue(sites: &'static Enqueue) -> [&'static SiteInfo; 7] {
    let Claiming { load_position, load_sequence, claim_position, reload_position } = &sites.claiming;
    [
        load_position.info(),
        load_sequence.info(),
        claim_position.info(),
        sites.write_data.info(),
        sites.publish_cell.info(),
        sites.increment_count.info(),
        reload_position.info(),
    ]
}

const fn dequeue(sites: &'static Dequeue) -> [&'static SiteInfo; 7] {
    let Claiming { load_position, load_sequence, claim_position, reload_position } = &sites.claiming;
    [
        load_position.info(),
        load_sequence.info(),
        claim_position.info(),
        sites.read_data.info(),
        sites.free_cell.info(),
        sites.decrement_count.info(),
        reload_position.info(),
    ]
}

const PARTS: [&[&SiteInfo]; 7] = [
    &enqueue(&PUSH),
    &dequeue(&POP),
    &enqueue(&PUSH_MANY),
    &dequeue(&DRAIN),
    &dequeue(&TAKE),
    other::ALL,
    slots::site::ALL,
];

/// Every site of the queue: those of each operation in the order of the algorithm, and then the others.
pub const ALL: &[&SiteInfo] = &{
    let mut all = [PARTS[0][0]; 5 * 7 + other::ALL.len() + slots::site::ALL.len()];
    let (mut part, mut i) = (0, 0);
    while part < PARTS.len() {
        let mut j = 0;
        while j < PARTS[part].len() {
            all[i] = PARTS[part][j];
            (i, j) = (i + 1, j + 1);
        }
        part += 1;
    }
    all
};

pub(crate) use other::{
    CONFIRM_POSITION, INIT, INSPECT_COUNT, INSPECT_POSITION, INSPECT_SEQUENCE, RING, SEARCH_DATA,
    SEARCH_SEQUENCE,
};
