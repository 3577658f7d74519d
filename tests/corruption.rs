//! Damaged memory is reported, and never crashes who looks at it.

mod support;

use arenaq::arena::{Arena, ArenaError};
use arenaq::{Corruption, KeyValue, PopError, PushError};
use proptest::prelude::*;
use support::{Memory, offset};

const BYTES: usize = 16 * 1024;
const CAPACITY: u64 = 8;
const CELL: u64 = 24;
const NODE: u64 = 24;

fn item(serial: u64) -> KeyValue {
    KeyValue { key: serial, value: !serial }
}

/// A published arena whose MPMC queue has gone a lap and holds 3 elements, and whose MPSC queue holds 3 of
/// its 7.
fn used() -> Memory {
    let memory = Memory::new(BYTES);
    let mut arena: Arena<'_, KeyValue> = memory.format();
    arena.create_mpmc(CAPACITY).expect("it fits");
    arena.create_mpsc(7, 7).expect("it fits");
    arena.publish();
    let ring = arena.mpmc().expect("made");
    let producer = arena.mpsc_producer().expect("made");
    let mut consumer = arena.mpsc_consumer().expect("nobody has it");
    for serial in 0..13 {
        ring.push(item(serial)).expect("room");
        producer.push(item(serial)).expect("room");
        if serial < 10 {
            ring.pop().expect("just pushed");
            consumer.pop().expect("just pushed");
        }
    }
    drop(consumer);
    memory
}

fn attach(memory: &Memory) -> Arena<'_, KeyValue> {
    Arena::attach(memory.region(), memory.places().header).expect("a sound header")
}

/// The address of a field of the MPMC head, the MPSC head or the pool.
fn field(memory: &Memory, structure: &str, name: &str) -> usize {
    let places = memory.places();
    let start = match structure {
        "ds_vyukhov_head" => places.mpmc,
        "ds_mpsc_head" => places.mpsc,
        "ds_pool" => places.pool,
        other => panic!("no place for {other}"),
    };
    start + offset(structure, name)
}

fn ring(name: &str, memory: &Memory) -> usize {
    field(memory, "ds_vyukhov_head", name)
}

fn sequence_of(memory: &Memory, cell: u64) -> usize {
    (memory.peek(ring("buffer", memory)) + cell * CELL) as usize
}

/// The addresses of the nodes of the list, the stub first.
fn list(memory: &Memory) -> Vec<u64> {
    let mut nodes = vec![memory.peek(field(memory, "ds_mpsc_head", "tail"))];
    loop {
        let next = memory.peek(nodes[nodes.len() - 1] as usize);
        if next == 0 {
            return nodes;
        }
        nodes.push(next);
    }
}

#[test]
fn the_undamaged_arena_is_sound() {
    let memory = used();
    let arena = attach(&memory);
    let ring = arena.mpmc().expect("sound");
    assert_eq!((ring.verify(), ring.verify_quiesced()), (Ok(()), Ok(())));
    assert_eq!((ring.len(), ring.count()), (3, 3));
    let consumer = arena.mpsc_consumer().expect("sound");
    assert_eq!((consumer.verify(), consumer.verify_quiesced()), (Ok(()), Ok(())));
    assert_eq!(consumer.len(), 3);
    assert_eq!(list(&memory).len(), 4);
    assert_eq!(arena.mpsc_producer().expect("sound").pool().free_nodes(), Ok(8 - 4));
}

#[test]
fn a_mask_that_is_no_capacity_less_one_is_reported_before_the_ring_is_used() {
    let memory = used();
    let arena = attach(&memory);
    let queue = arena.mpmc().expect("sound");
    for mask in [0, 2, 6, 8, 1 << 31, u64::MAX, u64::MAX - 1] {
        memory.poke(ring("buffer_mask", &memory), mask);
        assert_eq!(queue.verify(), Err(Corruption::Mask(mask)));
        assert_eq!(queue.verify_quiesced(), Err(Corruption::Mask(mask)));
        assert_eq!(arena.mpmc().err(), Some(ArenaError::Corrupt(Corruption::Mask(mask))));
        assert_eq!(queue.capacity(), 0);
        // SAFETY: this thread is the only one.
        assert_eq!(unsafe { queue.search(|_| true) }, None);
        let _ = (queue.len(), queue.is_empty());
    }
}

#[test]
fn a_ring_that_leads_out_of_the_arena_is_reported_before_it_is_used() {
    let memory = used();
    let arena = attach(&memory);
    let queue = arena.mpmc().expect("sound");
    let buffer = memory.peek(ring("buffer", &memory));
    let outside = Err(Corruption::OutOfBounds("the ring of cells"));
    for place in [8, u64::MAX - 7, buffer + BYTES as u64, buffer + 4, buffer + 1] {
        memory.poke(ring("buffer", &memory), place);
        assert_eq!((queue.verify(), queue.verify_quiesced()), (outside, outside));
        assert!(matches!(arena.mpmc(), Err(ArenaError::Corrupt(Corruption::OutOfBounds(_)))));
    }
    memory.poke(ring("buffer", &memory), 0);
    assert_eq!(queue.verify(), Err(Corruption::NotInitialised));
    assert_eq!(queue.push(item(0)), Err(PushError::Invalid));
    assert_eq!(queue.pop(), Err(PopError::Invalid));

    memory.poke(ring("buffer", &memory), buffer);
    memory.poke(ring("buffer_mask", &memory), (1 << 31) - 1);
    assert_eq!((queue.verify(), queue.verify_quiesced()), (outside, outside));
}

#[test]
fn a_sequence_that_no_lap_gives_a_cell_is_reported_at_any_moment() {
    let memory = used();
    let queue = attach(&memory).mpmc().expect("sound");
    for cell in 0..CAPACITY {
        let place = sequence_of(&memory, cell);
        let sound = memory.peek(place);
        for wrong in 2..CAPACITY {
            let sequence = cell.wrapping_sub(1 << 20).wrapping_add(wrong);
            memory.poke(place, sequence);
            let error = Err(Corruption::Sequence { cell, sequence });
            assert_eq!((queue.verify(), queue.verify_quiesced()), (error, error));
        }
        memory.poke(place, sound);
    }
    assert_eq!(queue.verify_quiesced(), Ok(()));
}

#[test]
fn a_sequence_of_the_wrong_lap_is_reported_when_the_queue_rests() {
    let memory = used();
    let queue = attach(&memory).mpmc().expect("sound");
    for cell in 0..CAPACITY {
        let place = sequence_of(&memory, cell);
        let sound = memory.peek(place);
        let sequence = sound + CAPACITY;
        memory.poke(place, sequence);
        assert_eq!(queue.verify(), Ok(()));
        assert_eq!(queue.verify_quiesced(), Err(Corruption::Sequence { cell, sequence }));
        memory.poke(place, sound);
    }
}

#[test]
fn positions_further_apart_than_the_capacity_are_reported() {
    let memory = used();
    let queue = attach(&memory).mpmc().expect("sound");
    let (enqueue, dequeue) = (13, 10);
    for (enqueue, dequeue) in [
        (dequeue + CAPACITY + 1, dequeue),
        (dequeue - 1, dequeue),
        (enqueue, enqueue + 1),
        (0, u64::MAX / 2),
        (u64::MAX, 0),
    ] {
        memory.poke(ring("enqueue_pos", &memory), enqueue);
        memory.poke(ring("dequeue_pos", &memory), dequeue);
        assert_eq!(queue.verify_quiesced(), Err(Corruption::Positions { enqueue, dequeue }));
        assert!(queue.len() <= CAPACITY);
        // SAFETY: this thread is the only one.
        let _ = unsafe { queue.search(|_| false) };
        // These are bounded by the mask and the retry budget whatever the positions.
        let _ = (queue.push(item(0)), queue.pop());
        memory.poke(ring("enqueue_pos", &memory), 13);
        memory.poke(ring("dequeue_pos", &memory), 10);
    }
}

#[test]
fn positions_that_the_cells_contradict_are_reported() {
    let memory = used();
    let queue = attach(&memory).mpmc().expect("sound");
    memory.poke(ring("enqueue_pos", &memory), 12);
    assert_eq!(queue.verify_quiesced(), Err(Corruption::Sequence { cell: 4, sequence: 13 }));
    memory.poke(ring("enqueue_pos", &memory), 14);
    assert_eq!(queue.verify_quiesced(), Err(Corruption::Sequence { cell: 5, sequence: 13 }));
}

#[test]
fn a_counter_that_is_not_the_length_is_reported_when_the_queue_rests() {
    let memory = used();
    let arena = attach(&memory);
    let queue = arena.mpmc().expect("sound");
    let consumer = arena.mpsc_consumer().expect("sound");
    for (count, clamped) in [(2i64, 2), (4, 4), (-1, 0), (i64::MIN, 0)] {
        let error = Err(Corruption::Count { count, length: 3 });
        memory.poke(ring("count", &memory), count.cast_unsigned());
        memory.poke(field(&memory, "ds_mpsc_head", "count"), count.cast_unsigned());
        assert_eq!((queue.verify(), queue.verify_quiesced()), (Ok(()), error));
        assert_eq!((consumer.verify(), consumer.verify_quiesced()), (Ok(()), error));
        assert_eq!(queue.count(), clamped, "a counter below zero is none");
        assert_eq!(arena.mpsc_producer().expect("sound").count(), clamped);
    }
}

#[test]
fn a_link_that_leads_out_of_the_pool_is_reported_and_loses_nothing() {
    let memory = used();
    let arena = attach(&memory);
    let nodes = list(&memory);
    let first = memory.peek(field(&memory, "ds_pool", "nodes"));
    let mut consumer = arena.mpsc_consumer().expect("sound");
    let targets = [
        8,
        first - NODE,
        first - 1,
        first + 8 * NODE,
        nodes[1] + 1,
        nodes[1] + 8,
        memory.places().mpsc as u64,
        u64::MAX,
        u64::MAX - 7,
        1 << 63,
    ];
    for target in targets {
        memory.poke(nodes[0] as usize, target);
        assert_eq!(consumer.verify(), Err(Corruption::Link(target)));
        assert_eq!(consumer.verify_quiesced(), Err(Corruption::Link(target)));
        for _ in 0..3 {
            assert_eq!(consumer.pop(), Err(PopError::Corrupt), "{target:#x}");
        }
        assert_eq!((consumer.search(|_| true), consumer.len()), (None, 0));
    }
    memory.poke(nodes[0] as usize, nodes[1]);
    assert_eq!(consumer.verify_quiesced(), Ok(()));
    for serial in 10..13 {
        assert_eq!(consumer.pop(), Ok(item(serial)), "the damage has cost an element");
    }
    assert_eq!(consumer.pop(), Err(PopError::Empty));
}

#[test]
fn a_tail_that_points_beside_the_nodes_or_into_one_is_refused() {
    let memory = used();
    let tail = field(&memory, "ds_mpsc_head", "tail");
    let first = memory.peek(field(&memory, "ds_pool", "nodes"));
    let end = first + 8 * NODE;
    let between = (first..end).filter(|address| !(address - first).is_multiple_of(NODE));
    for wrong in (first - 3 * NODE..first).chain(between).chain(end..end + 3 * NODE) {
        memory.poke(tail, wrong);
        let refusal = attach(&memory).mpsc_consumer().expect_err("no node");
        assert!(matches!(refusal, ArenaError::Corrupt(Corruption::Link(link)) if link == wrong), "{refusal}");
    }
}

#[test]
fn elements_before_a_damaged_link_still_come_out() {
    let memory = used();
    let mut consumer = attach(&memory).mpsc_consumer().expect("sound");
    let nodes = list(&memory);
    memory.poke(nodes[2] as usize, 16);
    assert_eq!(consumer.verify(), Err(Corruption::Link(16)));
    assert_eq!(consumer.len(), 2);
    assert_eq!(consumer.pop(), Ok(item(10)));
    assert_eq!(consumer.pop(), Ok(item(11)));
    assert_eq!(consumer.pop(), Err(PopError::Corrupt));
}

#[test]
fn a_cycle_is_reported_and_every_walk_ends() {
    let memory = used();
    let consumer = attach(&memory).mpsc_consumer().expect("sound");
    let nodes = list(&memory);
    for from in 0..nodes.len() {
        for to in 0..=from {
            let sound = memory.peek(nodes[from] as usize);
            memory.poke(nodes[from] as usize, nodes[to]);
            assert_eq!(consumer.verify(), Err(Corruption::Cycle(8)));
            assert_eq!(consumer.verify_quiesced(), Err(Corruption::Cycle(8)));
            assert_eq!(consumer.search(|_| false), None);
            assert!(consumer.len() <= 8);
            memory.poke(nodes[from] as usize, sound);
        }
    }
    assert_eq!(consumer.verify_quiesced(), Ok(()));
}

#[test]
fn a_list_that_ends_before_the_head_is_busy_and_reported_when_it_rests() {
    let memory = used();
    let mut consumer = attach(&memory).mpsc_consumer().expect("sound");
    let nodes = list(&memory);
    memory.poke(nodes[1] as usize, 0);
    assert_eq!(consumer.verify(), Ok(()));
    assert_eq!(consumer.verify_quiesced(), Err(Corruption::Unlinked(nodes[1])));
    assert_eq!(consumer.pop(), Ok(item(10)));
    assert_eq!(consumer.pop(), Err(PopError::Busy));
    memory.poke(nodes[1] as usize, nodes[2]);
    assert_eq!(consumer.pop(), Ok(item(11)));
    assert_eq!(consumer.pop(), Ok(item(12)));
}

#[test]
fn a_pool_whose_list_leads_out_of_it_or_in_a_circle_is_reported() {
    let memory = used();
    let arena = attach(&memory);
    let producer = arena.mpsc_producer().expect("sound");
    let top = field(&memory, "ds_pool", "top");
    let sound = memory.peek(top);
    for number in [9, 100, u64::from(u32::MAX)] {
        memory.poke(top, sound & !u64::from(u32::MAX) | number);
        assert_eq!(producer.pool().free_nodes(), Err(Corruption::Link(number)));
        assert_eq!(producer.push(item(0)), Err(PushError::Invalid));
    }
    memory.poke(top, sound);

    let links = memory.peek(field(&memory, "ds_pool", "links"));
    let first = (links + ((sound & u64::from(u32::MAX)) - 1) * 8) as usize;
    let second = memory.peek(first);
    memory.poke(first, sound & u64::from(u32::MAX));
    assert_eq!(producer.pool().free_nodes(), Err(Corruption::Cycle(8)));
    for number in [9, 1 << 32, u64::MAX] {
        memory.poke(first, number);
        assert_eq!(producer.pool().free_nodes(), Err(Corruption::Link(number)));
    }
    memory.poke(first, second);
    assert_eq!(producer.pool().free_nodes(), Ok(4));
    assert_eq!(producer.push(item(13)), Ok(()));
}

#[test]
fn a_number_beyond_the_pool_is_not_followed_when_it_comes_to_the_top() {
    let memory = used();
    let producer = attach(&memory).mpsc_producer().expect("sound");
    let top = memory.peek(field(&memory, "ds_pool", "top"));
    let links = memory.peek(field(&memory, "ds_pool", "links"));
    memory.poke((links + ((top & u64::from(u32::MAX)) - 1) * 8) as usize, 1000);
    assert_eq!(producer.push(item(13)), Ok(()), "the first node is still sound");
    assert_eq!(producer.push(item(14)), Err(PushError::Invalid));
}

/// Everything that a program does with an arena before it trusts it enough to push and pop.
fn look(memory: &Memory) {
    let Ok(arena) = Arena::<'_, KeyValue>::attach(memory.region(), memory.places().header) else {
        return;
    };
    if let Ok(queue) = arena.mpmc() {
        let _ = (queue.verify(), queue.verify_quiesced());
        assert!(queue.len() <= queue.capacity());
        let _ = (queue.is_empty(), queue.count(), format!("{queue:?}"));
        // SAFETY: this thread is the only one.
        assert_eq!(unsafe { queue.search(|_| false) }, None);
    }
    if let Ok(producer) = arena.mpsc_producer() {
        let _ = (producer.count(), producer.pool().free_nodes(), format!("{producer:?}"));
    }
    if let Ok(consumer) = arena.mpsc_consumer() {
        let _ = (consumer.verify(), consumer.verify_quiesced());
        let _ = (consumer.len(), consumer.is_empty(), format!("{consumer:?}"));
        assert_eq!(consumer.search(|_| false), None);
    }
}

/// Values that are wrong in an interesting way: near the sound one, in the arena, or at an end.
fn word(memory: &Memory, sound: u64, kind: u8, random: u64) -> u64 {
    match kind {
        0 => sound.wrapping_add(random % 64).wrapping_sub(32),
        1 => memory.base() as u64 + random % (BYTES as u64 + 64),
        2 => memory.base() as u64 + random % (BYTES as u64 + 64) / 8 * 8,
        3 => random % 64,
        4 => u64::MAX - random % 64,
        5 => 1 << (random % 64),
        6 => sound ^ (1 << (random % 64)),
        _ => random,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_in_the_control_blocks_never_crash_who_attaches(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let memory = used();
        let blocks = memory.places().free.start - memory.base();
        for (index, value) in damage {
            memory.poke_byte(index.index(blocks), value);
        }
        look(&memory);
    }

    #[test]
    fn wrong_words_in_the_control_blocks_never_crash_who_attaches(
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8, any::<u64>()), 1..4),
    ) {
        let memory = used();
        let header = memory.places().header;
        // All the words of the heads and the pool, and those of the header that say where these are.
        let mut words: Vec<_> = ["mpmc", "mpsc", "pool", "consumer"]
            .map(|name| header + offset("arenaq_header", name))
            .to_vec();
        for (structure, names) in [
            ("ds_vyukhov_head", &["enqueue_pos", "dequeue_pos", "buffer_mask", "buffer", "count"][..]),
            ("ds_mpsc_head", &["head", "tail", "count"]),
            ("ds_pool", &["top", "created", "limit", "nodes", "links"]),
        ] {
            words.extend(names.iter().map(|name| field(&memory, structure, name)));
        }
        for (index, kind, random) in damage {
            let place = words[index.index(words.len())];
            memory.poke(place, word(&memory, memory.peek(place), kind, random));
        }
        look(&memory);
    }

    #[test]
    fn wrong_words_anywhere_behind_the_header_never_crash_who_attaches(
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8, any::<u64>()), 1..40),
    ) {
        let memory = used();
        let first = memory.places().mpmc;
        for (index, kind, random) in damage {
            let place = first + index.index((memory.base() + 4096 - first) / 8) * 8;
            memory.poke(place, word(&memory, memory.peek(place), kind, random));
        }
        look(&memory);
    }
}
