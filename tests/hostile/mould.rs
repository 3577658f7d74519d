//! Sound arenas, before somebody damages them.

use arenaq::arena::{Arena, Owner, Places, Spec};
use arenaq::payload::Element;
use arenaq::records::LANES;
use arenaq::structures::Kind;

use super::guarded::Guarded;
use super::support::{ENTRY, offset};

/// An arena, its sound contents, and where in it the words are that matter.
pub(crate) struct Mould {
    pub(crate) memory: Guarded,
    pub(crate) sound: Vec<u64>,
    /// Words by what they are, as indexes.
    pub(crate) targets: [Vec<usize>; 5],
    /// The addresses of all parts, and of their ends.
    pub(crate) landmarks: Vec<u64>,
}

/// Header and directory, of which nothing is read after the attach.
pub(crate) const DIRECTORY: usize = 0;
/// The geometry: likewise.
pub(crate) const GEOMETRY: usize = 1;
/// Positions, heads, tails, tops, magazines, counters.
pub(crate) const CONTROL: usize = 2;
/// Sequences of cells and links of nodes and blocks.
pub(crate) const LINKS: usize = 3;
/// Everything.
pub(crate) const ANYWHERE: usize = 4;

/// 256 bytes.
pub(crate) type Event = [u64; 32];
/// 4,096 bytes.
pub(crate) type Page = [u64; 512];

impl Mould {
    pub(crate) fn all() -> Vec<Mould> {
        let small: &[(Spec<'_>, Use)] = &[
            (Spec::mpmc::<[u64; 2]>("ring", 8).counted(), used::<[u64; 2]>),
            (Spec::mpsc::<[u64; 2]>("list", 7).counted(), used::<[u64; 2]>),
        ];
        let smallest: &[(Spec<'_>, Use)] = &[
            (Spec::mpmc::<u64>("ring", 2).start(u64::MAX), used::<u64>),
            (Spec::mpsc::<u64>("list", 1).start(u64::MAX), used::<u64>),
        ];
        let blocks: &[(Spec<'_>, Use)] = &[
            (Spec::mpsc::<[u64; 2]>("list", 598).counted(), used::<[u64; 2]>),
            (Spec::mpmc::<[u64; 2]>("ring", 64), used::<[u64; 2]>),
        ];
        let growing: &[(Spec<'_>, Use)] = &[(Spec::mpsc::<u64>("list", 10).limit(2000), used::<u64>)];
        let many: &[(Spec<'_>, Use)] = &[
            (Spec::mpmc::<u64>("one", 4).counted(), used::<u64>),
            (Spec::mpsc::<u64>("two", 4), used::<u64>),
            (Spec::mpmc::<Event>("three", 4), used::<Event>),
            (Spec::mpsc::<Event>("four", 3).counted(), used::<Event>),
            (Spec::mpmc::<Page>("five", 2), used::<Page>),
            (Spec::mpsc::<Page>("six", 1), used::<Page>),
        ];
        let records: &[(Spec<'_>, Use)] = &[
            (Spec::records("log", 2, 1 << 12, 64), logged),
            (Spec::mpmc::<u64>("ring", 2), used::<u64>),
            (Spec::records("large", 1, 1 << 17, 4096), logged),
        ];
        [small, smallest, blocks, growing, many, records]
            .into_iter()
            .enumerate()
            .map(|(number, queues)| Mould::new(number, queues))
            .collect()
    }

    /// An arena with these queues, in no more memory than they need.
    fn new(number: usize, queues: &[(Spec<'_>, Use)]) -> Mould {
        for pages in 1.. {
            let memory = Guarded::new(number, pages);
            if make(&memory, queues) {
                return Mould::of(memory);
            }
        }
        unreachable!("there is an end of what queues need");
    }

    fn of(memory: Guarded) -> Mould {
        let base = memory.base();
        let header = |field| memory.at(base + offset("arenaq_header", field) as u64);
        let (directory, queues) = (header("directory"), header("queues"));
        let mut mould = Mould {
            sound: memory.copy(),
            targets: Default::default(),
            landmarks: vec![base, base + 8 * memory.words() as u64, header("event_count"), directory],
            memory,
        };
        mould.add(DIRECTORY, base, 8);
        for entry in (0..queues).map(|number| directory + number * ENTRY as u64) {
            mould.add_queue(entry);
        }
        mould.targets[ANYWHERE] = (0..mould.memory.words()).collect();
        mould
    }

    fn add_queue(&mut self, entry: u64) {
        self.add(DIRECTORY, entry, ENTRY as u64 / 8);
        let entry = |field| entry + offset("arenaq_entry", field) as u64;
        let [kind, size, head, pool, drops] =
            ["kind", "element_size", "head", "pool", "drops"].map(|field| self.memory.at(entry(field)));
        let stride = size + 8;
        self.landmarks.extend([head, drops]);
        if kind == Kind::Mpmc.code() {
            let [mask, buffer, enqueue, dequeue, count] =
                ["buffer_mask", "buffer", "enqueue_pos", "dequeue_pos", "count"]
                    .map(|field| head + offset("ds_vyukhov_head", field) as u64);
            [mask, buffer].into_iter().for_each(|word| self.add(GEOMETRY, word, 1));
            [enqueue, dequeue, count].into_iter().for_each(|word| self.add(CONTROL, word, 1));
            let (cells, capacity) = (self.memory.at(buffer), self.memory.at(mask) + 1);
            self.landmarks.extend([cells, cells + stride, cells + capacity * stride]);
            (0..capacity).for_each(|cell| self.add(LINKS, cells + cell * stride, 1));
            // Who takes over, and of each consumer who it is and what it announces.
            let slots = self.memory.at(entry("slots"));
            self.landmarks.push(slots);
            self.add(CONTROL, slots, 1);
            (1..=4).for_each(|slot| self.add(CONTROL, slots + slot * 64, 3));
        } else if kind == Kind::Records.code() {
            self.add(GEOMETRY, head, 5);
            let field = |field| self.memory.at(head + offset("arenaq_records", field) as u64);
            let [lanes, words, shards, shard_words] = ["lanes", "words", "shards", "shard_words"].map(field);
            let all_lanes = shards * LANES as u64;
            self.landmarks.extend([lanes, lanes + 128 * all_lanes, words, words + 8 * shards * shard_words]);
            for lane in (0..all_lanes).map(|number| lanes + 128 * number) {
                self.add(CONTROL, lane, 4);
                self.add(GEOMETRY, lane + 32, 4);
                self.add(CONTROL, lane + 64, 2);
            }
            // Headers are among them.
            self.add(LINKS, words, 60);
            self.add(LINKS, words + 8 * shard_words / 2 - 80, 20);
        } else {
            self.add(CONTROL, head, 3);
            let field = |field| pool + offset("ds_pool", field) as u64;
            for word in ["limit", "nodes", "links", "block_shift"].map(field) {
                self.add(GEOMETRY, word, 1);
            }
            self.add(CONTROL, field("top"), 1);
            self.add(CONTROL, field("created"), 1);
            (0..8).for_each(|magazine| self.add(CONTROL, field("magazines") + magazine * 64, 1));
            let [nodes, links, limit] = ["nodes", "links", "limit"].map(|name| self.memory.at(field(name)));
            self.landmarks.extend([
                pool,
                nodes,
                nodes + stride,
                nodes + limit * stride,
                links,
                links + limit * 8,
            ]);
            self.add(LINKS, links, limit.min(40));
            (0..limit.min(40)).for_each(|node| self.add(LINKS, nodes + node * stride, 1));
        }
    }

    fn add(&mut self, class: usize, address: u64, words: u64) {
        let first = (address - self.memory.base()) as usize / 8;
        self.targets[class].extend(first..first + words as usize);
    }
}

/// What is done with a new queue.
type Use = fn(&Arena<'_>, &str);

/// Whether the queues fit.
fn make(memory: &Guarded, queues: &[(Spec<'_>, Use)]) -> bool {
    let region = memory.region();
    let Ok(places) = Places::in_plain_memory(&region) else { return false };
    let Ok(mut arena) = Arena::format(region, Places { queues: queues.len(), ..places }) else {
        return false;
    };
    if queues.iter().any(|(spec, _)| arena.create(spec).is_err()) {
        return false;
    }
    arena.publish();
    let names: Vec<_> = arena.queues().map(|queue| queue.name).collect();
    for ((_, used), name) in queues.iter().zip(names) {
        used(&arena, name.as_str());
    }
    true
}

/// Pushes and pops for a lap, and leaves something.
fn used<T: Element>(arena: &Arena<'_>, name: &str) {
    let queue = arena.queue::<T>(name).expect("just made");
    let mut consumer = arena.consumer::<T>(name).expect("nobody has it");
    for round in 0..13 {
        let _ = queue.push(T::zeroed());
        if round < 11 {
            consumer.pop().expect("just pushed");
        }
    }
}

/// The same with records, until the first lane has wrapped around.
fn logged(arena: &Arena<'_>, name: &str) {
    let records = arena.records(name, Owner::ANONYMOUS).expect("just made");
    let largest = records.geometry().largest() as usize;
    let shards = records.geometry().shards();
    let mut consumers: Vec<_> = (0..shards).map(|shard| records.consumer(shard).expect("free")).collect();
    let laps = records.geometry().words() as usize / (largest / 8);
    for round in 0..laps {
        let _ = records.push(&vec![round as u8; largest / (1 + round % 3)], round as u64);
        if round + 2 < laps {
            for consumer in &mut consumers {
                consumer.drain_in_place(u64::MAX, |_| ()).expect("they are sound");
            }
        }
    }
}
