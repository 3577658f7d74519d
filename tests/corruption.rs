//! Damaged memory is reported, and never crashes who looks at it.

mod support;

use arenaq::arena::{Arena, ArenaError};
use arenaq::count::Counted;
use arenaq::pool::{AllocError, MAGAZINES, nodes_for};
use arenaq::{Corruption, KeyValue, PopError, PushError};
use proptest::prelude::*;
use support::{ENTRY, LIST, Memory, RING, offset, times};

const BYTES: usize = 16 * 1024;
const CAPACITY: u64 = 8;
const CELL: u64 = 24;
const NODE: u64 = 24;

fn item(serial: u64) -> KeyValue {
    KeyValue { key: serial, value: !serial }
}

/// So many that the pool has blocks of several nodes and the last one is short.
const ELEMENTS: u64 = 598;
const NODES: u64 = nodes_for(ELEMENTS).0;
const BLOCK: u64 = nodes_for(ELEMENTS).1 as u64;
/// The nodes of such an arena and their links need more room.
const BYTES_WITH_BLOCKS: usize = 32 * 1024;

/// A published arena whose MPMC queue has gone a lap and holds 3 elements, and whose MPSC queue holds 3 of
/// its 7.
fn used() -> Memory {
    used_with(BYTES, 7)
}

/// The same with a pool whose blocks have several nodes: one is partly spent, and the rest of another is in a
/// magazine.
fn used_with_blocks() -> Memory {
    let memory = used_with(BYTES_WITH_BLOCKS, ELEMENTS);
    const { assert!(BLOCK > 1 && NODES % BLOCK != 0) };
    memory
}

fn used_with(bytes: usize, elements: u64) -> Memory {
    let memory = Memory::new(bytes);
    let mut arena: Arena<'_> = memory.format();
    arena.create(&support::ring::<KeyValue, Counted>(CAPACITY)).expect("it fits");
    arena.create(&support::list::<KeyValue, Counted>(elements, elements)).expect("it fits");
    arena.publish();
    let ring = arena.mpmc::<KeyValue, Counted>(RING).expect("made");
    let producer = arena.mpsc_producer::<KeyValue, Counted>(LIST).expect("made");
    let mut consumer = arena.mpsc_consumer::<KeyValue, Counted>(LIST).expect("nobody has it");
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

fn attach(memory: &Memory) -> Arena<'_> {
    try_attach(memory).expect("a sound arena")
}

fn try_attach(memory: &Memory) -> Result<Arena<'_>, ArenaError> {
    Arena::attach(memory.region(), memory.places().header)
}

/// The address of a field of the MPMC head, the MPSC head or the pool.
fn field(memory: &Memory, structure: &str, name: &str) -> usize {
    let (queue, part) = match structure {
        "ds_vyukhov_head" => (RING, "head"),
        "ds_mpsc_head" => (LIST, "head"),
        "ds_pool" => (LIST, "pool"),
        other => panic!("no place for {other}"),
    };
    let start = memory.peek(memory.entry(queue, part)) as usize;
    start + offset(structure, name)
}

fn ring(name: &str, memory: &Memory) -> usize {
    field(memory, "ds_vyukhov_head", name)
}

fn sequence_of(memory: &Memory, cell: u64) -> usize {
    (memory.peek(ring("buffer", memory)) + cell * CELL) as usize
}

/// Where the event count, the directory and the queues begin.
fn behind_the_header(memory: &Memory) -> usize {
    memory.places().header + 64
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
    let ring = arena.mpmc::<KeyValue, Counted>(RING).expect("sound");
    assert_eq!((ring.verify(), ring.verify_quiesced()), (Ok(()), Ok(())));
    assert_eq!((ring.len(), ring.count()), (3, 3));
    let consumer = arena.mpsc_consumer::<KeyValue, Counted>(LIST).expect("sound");
    assert_eq!((consumer.verify(), consumer.verify_quiesced()), (Ok(()), Ok(())));
    assert_eq!(consumer.len(), 3);
    assert_eq!(list(&memory).len(), 4);
    assert_eq!(
        arena.mpsc_producer::<KeyValue, Counted>(LIST).expect("sound").nodes().free_nodes(),
        Ok(8 - 4)
    );
}

#[test]
fn a_mask_that_is_no_capacity_less_one_is_refused_and_not_read_again() {
    let memory = used();
    let queue = attach(&memory).mpmc::<KeyValue, Counted>(RING).expect("sound");
    for mask in [0, 2, 6, 8, 1 << 31, u64::MAX, u64::MAX - 1] {
        memory.poke(ring("buffer_mask", &memory), mask);
        assert_eq!(try_attach(&memory).err(), Some(ArenaError::Corrupt(Corruption::Mask(mask))));
        assert_eq!((queue.verify(), queue.verify_quiesced()), (Ok(()), Ok(())), "who attached before");
        assert_eq!((queue.capacity(), queue.len()), (CAPACITY, 3));
    }
}

#[test]
fn a_ring_that_leads_out_of_the_arena_is_refused_and_not_read_again() {
    let memory = used();
    let queue = attach(&memory).mpmc::<KeyValue, Counted>(RING).expect("sound");
    let buffer = memory.peek(ring("buffer", &memory));
    let refused = |memory| {
        let error = try_attach(memory).expect_err("not a ring");
        assert_eq!((queue.verify(), queue.verify_quiesced()), (Ok(()), Ok(())), "who attached before");
        assert_eq!(queue.push(item(0)).and(queue.push(item(0))), Ok(()));
        assert_eq!(queue.drain(2, |_| ()), Ok(2));
        error
    };
    let what = "the ring of cells";
    for place in [8, u64::MAX - 7, buffer + BYTES as u64] {
        memory.poke(ring("buffer", &memory), place);
        let error = refused(&memory);
        assert!(matches!(error, ArenaError::OutOfBounds { what: w, .. } if w == what), "{error:?}");
    }
    for place in [buffer + 4, buffer + 1] {
        memory.poke(ring("buffer", &memory), place);
        let error = refused(&memory);
        assert!(matches!(error, ArenaError::Misaligned { what: w, .. } if w == what), "{error:?}");
    }
    memory.poke(ring("buffer", &memory), 0);
    assert_eq!(refused(&memory), Corruption::NotInitialised.into());

    memory.poke(ring("buffer", &memory), buffer);
    memory.poke(ring("buffer_mask", &memory), (1 << 31) - 1);
    let error = refused(&memory);
    assert!(matches!(error, ArenaError::OutOfBounds { what: w, .. } if w == what), "{error:?}");
}

#[test]
fn a_sequence_that_no_lap_gives_a_cell_is_reported_at_any_moment() {
    let memory = used();
    let queue = attach(&memory).mpmc::<KeyValue, Counted>(RING).expect("sound");
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
    let queue = attach(&memory).mpmc::<KeyValue, Counted>(RING).expect("sound");
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
    let queue = attach(&memory).mpmc::<KeyValue, Counted>(RING).expect("sound");
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
        let impossible = Err(Corruption::Positions { enqueue, dequeue });
        // SAFETY: this thread is the only one.
        assert_eq!(unsafe { queue.search(|_| false) }, impossible);
        assert_eq!(queue.verify(), Err(Corruption::Positions { enqueue, dequeue }));
        // These are bounded by the mask and the retry budget whatever the positions.
        let _ = (queue.push(item(0)), queue.pop());
        memory.poke(ring("enqueue_pos", &memory), 13);
        memory.poke(ring("dequeue_pos", &memory), 10);
    }
}

#[test]
fn positions_that_the_cells_contradict_are_reported() {
    let memory = used();
    let queue = attach(&memory).mpmc::<KeyValue, Counted>(RING).expect("sound");
    memory.poke(ring("enqueue_pos", &memory), 12);
    assert_eq!(queue.verify_quiesced(), Err(Corruption::Sequence { cell: 4, sequence: 13 }));
    memory.poke(ring("enqueue_pos", &memory), 14);
    assert_eq!(queue.verify_quiesced(), Err(Corruption::Sequence { cell: 5, sequence: 13 }));
}

#[test]
fn a_counter_that_is_not_the_length_is_reported_when_the_queue_rests() {
    let memory = used();
    let arena = attach(&memory);
    let queue = arena.mpmc::<KeyValue, Counted>(RING).expect("sound");
    let consumer = arena.mpsc_consumer::<KeyValue, Counted>(LIST).expect("sound");
    for (count, clamped) in [(2i64, 2), (4, 4), (-1, 0), (i64::MIN, 0)] {
        let error = Err(Corruption::Count { count, length: 3 });
        memory.poke(ring("count", &memory), count as u64);
        memory.poke(field(&memory, "ds_mpsc_head", "count"), count as u64);
        assert_eq!((queue.verify(), queue.verify_quiesced()), (Ok(()), error));
        assert_eq!((consumer.verify(), consumer.verify_quiesced()), (Ok(()), error));
        assert_eq!(queue.count(), clamped, "a counter below zero is none");
        assert_eq!(arena.mpsc_producer::<KeyValue, Counted>(LIST).expect("sound").count(), clamped);
    }
}

#[test]
fn a_link_that_leads_out_of_the_pool_is_reported_and_loses_nothing() {
    let memory = used();
    let arena = attach(&memory);
    let nodes = list(&memory);
    let first = memory.peek(field(&memory, "ds_pool", "nodes"));
    let mut consumer = arena.mpsc_consumer::<KeyValue, Counted>(LIST).expect("sound");
    let targets = [
        8,
        first - NODE,
        first - 1,
        first + 8 * NODE,
        nodes[1] + 1,
        nodes[1] + 8,
        field(&memory, "ds_mpsc_head", "head") as u64,
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
    let between = (first..end).filter(|address| (address - first) % NODE != 0);
    let wrong = (first - 3 * NODE..first).chain(between).chain(end..end + 3 * NODE);
    for wrong in wrong.step_by(times(1, 50) as usize) {
        memory.poke(tail, wrong);
        let refusal = attach(&memory).mpsc_consumer::<KeyValue, Counted>(LIST).expect_err("no node");
        assert!(matches!(refusal, ArenaError::Corrupt(Corruption::Link(link)) if link == wrong), "{refusal}");
    }
}

#[test]
fn elements_before_a_damaged_link_still_come_out() {
    let memory = used();
    let mut consumer = attach(&memory).mpsc_consumer::<KeyValue, Counted>(LIST).expect("sound");
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
    let consumer = attach(&memory).mpsc_consumer::<KeyValue, Counted>(LIST).expect("sound");
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
    let mut consumer = attach(&memory).mpsc_consumer::<KeyValue, Counted>(LIST).expect("sound");
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
    let producer = arena.mpsc_producer::<KeyValue, Counted>(LIST).expect("sound");
    let top = field(&memory, "ds_pool", "top");
    let sound = memory.peek(top);
    for number in [9, 100, u64::from(u32::MAX)] {
        memory.poke(top, sound & !u64::from(u32::MAX) | number);
        assert_eq!(producer.nodes().free_nodes(), Err(Corruption::Link(number)));
        assert_eq!(producer.push(item(0)), Err(PushError::Corrupt));
    }
    memory.poke(top, sound);

    let links = memory.peek(field(&memory, "ds_pool", "links"));
    let first = (links + ((sound & u64::from(u32::MAX)) - 1) * 8) as usize;
    let second = memory.peek(first);
    memory.poke(first, sound & u64::from(u32::MAX));
    assert_eq!(producer.nodes().free_nodes(), Err(Corruption::Cycle(8)));
    // The highest bit is a repair's.
    for number in [9, 1 << 32, u64::MAX >> 1] {
        memory.poke(first, number);
        assert_eq!(producer.nodes().free_nodes(), Err(Corruption::Link(number)));
        memory.poke(first, number | 1 << 63);
        assert_eq!(producer.nodes().free_nodes(), Err(Corruption::Link(number)));
    }
    memory.poke(first, second);
    assert_eq!(producer.nodes().free_nodes(), Ok(4));
    assert_eq!(producer.push(item(13)), Ok(()));
}

#[test]
fn a_number_beyond_the_pool_is_not_followed_when_it_comes_to_the_top() {
    let memory = used();
    let producer = attach(&memory).mpsc_producer::<KeyValue, Counted>(LIST).expect("sound");
    let top = memory.peek(field(&memory, "ds_pool", "top"));
    let links = memory.peek(field(&memory, "ds_pool", "links"));
    memory.poke((links + ((top & u64::from(u32::MAX)) - 1) * 8) as usize, 1000);
    assert_eq!(producer.push(item(13)), Ok(()), "the first node is still sound");
    assert_eq!(producer.push(item(14)), Err(PushError::Corrupt));
}

/// The addresses of the pool's magazines.
fn magazines(memory: &Memory) -> [usize; MAGAZINES] {
    let first = field(memory, "ds_pool", "magazines");
    std::array::from_fn(|magazine| first + magazine * 64)
}

/// The address of the link of a block.
fn link(memory: &Memory, block: u64) -> usize {
    (memory.peek(field(memory, "ds_pool", "links")) + (block - 1) * 8) as usize
}

/// Takes nodes and gives them back, pushes and pops, whatever the pool looks like. What comes out of the pool
/// is a node of the pool.
fn use_it(memory: &Memory) {
    let Ok(arena) = try_attach(memory) else {
        return;
    };
    let (Ok(producer), Ok(mut consumer)) =
        (arena.mpsc_producer::<KeyValue, Counted>(LIST), arena.mpsc_consumer::<KeyValue, Counted>(LIST))
    else {
        return;
    };
    let pool = producer.nodes();
    for serial in 0..40 {
        let _ = (producer.push(item(serial)), consumer.pop());
    }
    let _ = producer.push_many(&[3, 4, 5, 6, 7, 8, 9, 10, 11].map(item));
    let _ = consumer.drain(5, |_| ());
    let _ = (pool.free_nodes(), producer.grow(1));
    // A list that leads in a circle has no end.
    let mut taken = Vec::new();
    for round in 0..2 * NODES {
        let run = if round % 2 == 0 { 1 } else { 100 };
        match pool.alloc_run(run) {
            Ok(run) => {
                assert!(run.len() <= NODES, "{run:?}");
                // SAFETY: of this pool.
                taken.extend(unsafe { pool.nodes_of_run(&run) });
            }
            Err(error) => {
                assert!(matches!(error, AllocError::Exhausted | AllocError::Corrupt), "{error}");
                break;
            }
        }
    }
    for node in taken {
        assert!(pool.owns(node), "{node:?} is no node of the pool");
        // SAFETY: the pool has handed it out, and nobody uses it. If damage has made it hand out a node twice,
        // this damages its numbers further, which is the point.
        let _ = unsafe { pool.free(node) };
    }
    let _ = (pool.free_nodes(), producer.push(item(0)), consumer.pop());
    // SAFETY: no producer runs.
    let _ = (unsafe { consumer.repair() }, pool.free_nodes(), consumer.verify_quiesced());
}

/// Runs a test where its frames lie in one part of the stack. A thread takes nodes from the magazine that the address of
/// its frames says, and would take them from two if a part ended between these frames.
fn in_one_part_of_the_stack(test: &dyn Fn()) {
    const PART: usize = 1 << 16;
    let frame = std::hint::black_box([0u8; 4096]);
    if (PART / 2..PART).contains(&((&raw const frame).addr() % PART)) {
        test();
    } else {
        in_one_part_of_the_stack(test);
    }
    std::hint::black_box(&frame);
}

#[test]
fn the_undamaged_arena_with_blocks_is_sound() {
    in_one_part_of_the_stack(&|| {
        let memory = used_with_blocks();
        let arena = attach(&memory);
        let pool = arena.mpsc_producer::<KeyValue, Counted>(LIST).expect("sound").nodes();
        assert_eq!(pool.free_nodes(), Ok(NODES - 4));
        assert_eq!(magazines(&memory).into_iter().filter(|at| memory.peek(*at) != 0).count(), 1);
        let spent = |block| memory.peek(link(&memory, block)) & u64::from(u32::MAX);
        assert!((1..=NODES.div_ceil(BLOCK)).any(|block| spent(block) > 0));
        assert_eq!(arena.mpsc_consumer::<KeyValue, Counted>(LIST).expect("sound").verify_quiesced(), Ok(()));
        use_it(&memory);
        // What `use_it` has pushed is partly popped.
        let left = arena.mpsc_consumer::<KeyValue, Counted>(LIST).expect("sound").len();
        assert_eq!(pool.free_nodes(), Ok(NODES - 1 - left));
    });
}

#[test]
#[cfg_attr(miri, ignore = "its frames lie anywhere, and by them a thread chooses its magazine")]
fn a_magazine_that_leads_out_of_the_pool_is_reported_and_refused() {
    in_one_part_of_the_stack(&|| {
        for wild in [NODES + 1, 1000, u64::from(u32::MAX), 1 << 32, 1 << 63, u64::MAX - 1, u64::MAX] {
            let memory = used_with_blocks();
            let arena = attach(&memory);
            let producer = arena.mpsc_producer::<KeyValue, Counted>(LIST).expect("sound");
            let mut consumer = arena.mpsc_consumer::<KeyValue, Counted>(LIST).expect("sound");
            let (empty, full): (Vec<_>, Vec<_>) =
                magazines(&memory).into_iter().partition(|at| memory.peek(*at) == 0);
            let sound = memory.peek(full[0]);
            memory.poke(full[0], wild);
            assert_eq!(producer.nodes().free_nodes(), Err(Corruption::Link(wild)));
            // All of them, for a thread whose stack lies so may change its number.
            let all = magazines(&memory);
            let found = all.map(|at| memory.peek(at));
            all.iter().for_each(|at| memory.poke(*at, wild));
            assert_eq!(producer.push(item(0)), Err(PushError::Corrupt), "{wild:#x}");
            assert_eq!(producer.push_many(&[item(0); 5]), Err(PushError::Corrupt), "{wild:#x}");
            for serial in 10..13 {
                assert_eq!(consumer.pop(), Ok(item(serial)), "the queue is well");
            }
            all.iter().zip(found).for_each(|(at, found)| memory.poke(*at, found));
            memory.poke(full[0], sound);
            assert_eq!(producer.nodes().free_nodes(), Ok(NODES - 1));

            memory.poke(empty[0], wild);
            assert_eq!(producer.nodes().free_nodes(), Err(Corruption::Link(wild)));
            let pushed = (0..).map(|serial| producer.push(item(serial))).find(Result::is_err);
            assert_eq!(
                pushed,
                Some(Err(PushError::Corrupt)),
                "who steals from it finds out, and nobody else"
            );
            assert!(consumer.len() > NODES - 3 * BLOCK, "{}", consumer.len());
            assert_eq!(consumer.verify_quiesced(), Ok(()));
        }
    });
}

#[test]
fn a_magazine_that_leads_to_another_node_hands_out_nodes_of_the_pool() {
    for wrong in (1..=NODES).step_by(times(1, 200) as usize) {
        let memory = used_with_blocks();
        for magazine in magazines(&memory) {
            memory.poke(magazine, wrong);
        }
        use_it(&memory);
    }
}

#[test]
fn a_wrong_count_of_spent_nodes_costs_nodes_and_nothing_else() {
    const TAKEN: u64 = 1 << 62;
    let counts = [0, 1, 2, 3, 4, 5, u64::from(u32::MAX), u64::from(u32::MAX) - 1];
    let wild = [0, 1, 602, 1 << 32, 1 << 63, 3 << 62, u64::MAX, u64::MAX - 3];
    for value in counts.map(|count| TAKEN | count).into_iter().chain(wild).step_by(times(1, 8) as usize) {
        for block in 1..=6 {
            let memory = used_with_blocks();
            memory.poke(link(&memory, block), value);
            let mut consumer = attach(&memory).mpsc_consumer::<KeyValue, Counted>(LIST).expect("sound");
            for serial in 10..13 {
                assert_eq!(consumer.pop(), Ok(item(serial)), "block {block}: {value:#x}");
            }
            drop(consumer);
            use_it(&memory);
        }
    }
}

#[test]
fn a_wrong_size_of_blocks_leads_nowhere_out_of_the_pool() {
    for shift in (0..70).chain([1 << 31, 1 << 32, u64::MAX, u64::MAX - 1]).step_by(times(1, 30) as usize) {
        let memory = used_with_blocks();
        memory.poke(field(&memory, "ds_pool", "block_shift"), shift);
        look(&memory);
        use_it(&memory);
        let memory = used();
        memory.poke(field(&memory, "ds_pool", "block_shift"), shift);
        look(&memory);
        use_it(&memory);
    }
}

#[test]
fn a_number_between_that_of_the_last_block_and_that_of_the_last_node_is_no_block() {
    let last = NODES.div_ceil(BLOCK);
    for number in [last + 1, last + 2, NODES - 1, NODES] {
        let memory = used_with_blocks();
        let arena = attach(&memory);
        let producer = arena.mpsc_producer::<KeyValue, Counted>(LIST).expect("sound");
        let top = field(&memory, "ds_pool", "top");
        let sound = memory.peek(top);
        // The list goes on behind the number that is wrong.
        memory.poke(link(&memory, number), sound & u64::from(u32::MAX));
        memory.poke(top, sound & !u64::from(u32::MAX) | number);
        assert_eq!(producer.nodes().free_nodes(), Err(Corruption::Link(number)));
        memory.poke(top, sound);
        assert_eq!(producer.nodes().free_nodes(), Ok(NODES - 4));
        memory.poke(link(&memory, sound & u64::from(u32::MAX)), number);
        assert_eq!(producer.nodes().free_nodes(), Err(Corruption::Link(number)));
    }
}

/// Everything that a program does with an arena before it trusts it enough to push and pop.
fn look(memory: &Memory) {
    let Ok(arena) = try_attach(memory) else {
        return;
    };
    if let Ok(queue) = arena.mpmc::<KeyValue, Counted>(RING) {
        let _ = (queue.verify(), queue.verify_quiesced());
        assert!(queue.len() <= queue.capacity());
        let _ = (queue.is_empty(), queue.count(), format!("{queue:?}"));
        // SAFETY: this thread is the only one.
        let _ = unsafe { queue.search(|_| false) };
    }
    if let Ok(producer) = arena.mpsc_producer::<KeyValue, Counted>(LIST) {
        let _ = (producer.count(), producer.nodes().free_nodes(), format!("{producer:?}"));
    }
    if let Ok(consumer) = arena.mpsc_consumer::<KeyValue, Counted>(LIST) {
        let _ = (consumer.verify(), consumer.verify_quiesced());
        let _ = (consumer.len(), consumer.is_empty(), format!("{consumer:?}"));
        assert_eq!(consumer.search(|_| false), None);
    }
}

/// Values that are wrong in an interesting way: near the sound one, in the arena, or at an end.
fn word(memory: &Memory, sound: u64, kind: u8, random: u64) -> u64 {
    let room = memory.len() as u64 + 64;
    match kind {
        0 => sound.wrapping_add(random % 64).wrapping_sub(32),
        1 => memory.base() as u64 + random % room,
        2 => memory.base() as u64 + random % room / 8 * 8,
        3 => random % 64,
        4 => u64::MAX - random % 64,
        5 => 1 << (random % 64),
        6 => sound ^ (1 << (random % 64)),
        _ => random,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: times(2000, 3) as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_in_the_control_blocks_never_crash_who_attaches(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let memory = used();
        // The directory begins where the places say that room is free.
        let blocks = field(&memory, "ds_pool", "magazines") - memory.base();
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
        // All the words of the heads, the pool and the directory, and those of the header that say where these are.
        let mut words: Vec<_> = ["event_count", "directory", "queues"]
            .map(|name| header + offset("arenaq_header", name))
            .to_vec();
        for queue in [RING, LIST] {
            let entry = memory.entry(queue, "name");
            words.extend((0..ENTRY).step_by(8).map(|word| entry + word));
        }
        for (structure, names) in [
            ("ds_vyukhov_head", &["enqueue_pos", "dequeue_pos", "buffer_mask", "buffer", "count"][..]),
            ("ds_mpsc_head", &["head", "tail", "count"]),
            ("ds_pool", &["top", "created", "limit", "nodes", "links", "block_shift"]),
        ] {
            words.extend(names.iter().map(|name| field(&memory, structure, name)));
        }
        words.extend(magazines(&memory));
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
        let first = behind_the_header(&memory);
        for (index, kind, random) in damage {
            let place = first + index.index((memory.base() + 4096 - first) / 8) * 8;
            memory.poke(place, word(&memory, memory.peek(place), kind, random));
        }
        look(&memory);
    }

    #[test]
    fn wrong_words_in_a_pool_with_blocks_never_lead_out_of_it(
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8, any::<u64>()), 1..6),
    ) {
        let memory = used_with_blocks();
        let mut words = magazines(&memory).to_vec();
        words.extend(["top", "created", "block_shift"].map(|name| field(&memory, "ds_pool", name)));
        // The links of the blocks that are in use, and some of those that are not; and the short block's.
        words.extend((1..=8).chain([NODES.div_ceil(BLOCK), NODES]).map(|block| link(&memory, block)));
        for (index, kind, random) in damage {
            let place = words[index.index(words.len())];
            memory.poke(place, word(&memory, memory.peek(place), kind, random));
        }
        look(&memory);
        use_it(&memory);
        look(&memory);
    }

    #[test]
    fn wrong_words_anywhere_in_an_arena_with_blocks_never_crash_who_attaches(
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8, any::<u64>()), 1..40),
    ) {
        let memory = used_with_blocks();
        let first = behind_the_header(&memory);
        for (index, kind, random) in damage {
            let place = first + index.index((memory.base() + memory.len() - first) / 8) * 8;
            memory.poke(place, word(&memory, memory.peek(place), kind, random));
        }
        look(&memory);
    }
}

/// Memory that is written over after somebody has attached.
mod in_use {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    const WILD: [u64; 6] = [1, 8, 1 << 47, u64::MAX - 7, u64::MAX, 0];

    #[test]
    fn the_geometry_and_the_tail_are_not_read_again() {
        let memory = used_with_blocks();
        let arena = attach(&memory);
        let (producer, mut consumer) = (
            arena.mpsc_producer::<KeyValue, Counted>(LIST).expect("sound"),
            arena.mpsc_consumer::<KeyValue, Counted>(LIST).expect("sound"),
        );
        for wild in WILD {
            for name in ["nodes", "links", "limit", "block_shift"] {
                memory.poke(field(&memory, "ds_pool", name), wild);
            }
            memory.poke(field(&memory, "ds_mpsc_head", "tail"), wild);
            for serial in 0..times(2 * NODES, 10) {
                producer.push(item(serial)).expect("a node");
                assert_eq!(consumer.drain(9, |_| ()), Ok(if wild == 1 && serial == 0 { 4 } else { 1 }));
            }
        }
        assert_eq!(consumer.verify_quiesced(), Ok(()));
    }

    #[test]
    fn a_push_does_not_write_where_a_damaged_head_leads() {
        for wrong in [8, 24, 0].map(|off| off + BYTES as u64 / 2).into_iter().chain(WILD) {
            let memory = used();
            let producer = attach(&memory).mpsc_producer::<KeyValue, Counted>(LIST).expect("sound");
            let head = field(&memory, "ds_mpsc_head", "head");
            let inside = wrong < BYTES as u64 && wrong >= 64;
            let wrong = if inside { memory.base() as u64 + wrong } else { wrong };
            let before = inside.then(|| memory.peek(wrong as usize));
            memory.poke(head, wrong);
            assert_eq!(producer.push(item(0)), Err(PushError::Corrupt), "{wrong:#x}");
            memory.poke(head, wrong);
            assert_eq!(producer.push_many(&[item(0); 2]), Err(PushError::Corrupt), "{wrong:#x}");
            assert_eq!(inside.then(|| memory.peek(wrong as usize)), before, "{wrong:#x}");
            assert_eq!(producer.count(), 3, "what is lost is not counted");
        }
    }

    #[test]
    fn a_batch_of_a_list_that_leads_in_a_circle_ends() {
        let memory = used();
        let nodes = list(&memory);
        for from in 1..nodes.len() {
            for to in 0..=from {
                let memory = used();
                let mut consumer = attach(&memory).mpsc_consumer::<KeyValue, Counted>(LIST).expect("sound");
                let nodes = list(&memory);
                memory.poke(nodes[from] as usize, nodes[to]);
                assert_eq!(consumer.drain(u64::MAX, |_| ()), Ok(8), "as many as there are nodes");
            }
        }
    }

    /// What somebody does to an arena before a repair is asked for memory for the `nth` time.
    fn repair_while(nth: usize, damage: impl Fn(&Memory)) -> Result<(), Corruption> {
        let memory = used_with_blocks();
        let mut consumer = attach(&memory).mpsc_consumer::<KeyValue, Counted>(LIST).expect("sound");
        let mut asked = 0;
        let populate = |_| {
            if asked == nth {
                damage(&memory);
            }
            asked += 1;
            true
        };
        // SAFETY: nobody else uses the arena but who damages it, which is the point.
        let repaired = unsafe { consumer.repair_with(populate) };
        assert!(asked > nth, "it was damaged");
        repaired.map(|_| ())
    }

    #[test]
    fn a_repair_of_a_free_list_that_leads_in_a_circle_by_now_ends() {
        for nth in 0..2 {
            repair_while(nth, |memory| {
                let first = memory.peek(field(memory, "ds_pool", "top")) & u64::from(u32::MAX);
                memory.poke(link(memory, first), first);
            })
            .expect("it has looked at the list before");
        }
    }

    #[test]
    fn a_repair_does_not_follow_a_link_that_leads_out_of_the_pool_by_now() {
        for wild in WILD {
            let last = |memory: &Memory| list(memory)[2] as usize;
            let repaired = repair_while(1, |memory| memory.poke(last(memory), wild));
            assert_eq!(repaired, Err(Corruption::Link(wild)));
        }
    }

    /// Operations of a process, while another one writes anything anywhere behind the arena's header.
    #[test]
    #[cfg_attr(miri, ignore = "between threads it is a race, and between processes none that Rust knows of")]
    fn whatever_another_process_writes_meanwhile_no_operation_crashes_and_each_ends() {
        for bytes_and_elements in [(BYTES, 7), (BYTES_WITH_BLOCKS, ELEMENTS)] {
            let (bytes, elements) = bytes_and_elements;
            let memory = used_with(bytes, elements);
            let (first, end) = (behind_the_header(&memory), memory.base() + memory.len());
            let arena = attach(&memory);
            let producer = arena.mpsc_producer::<KeyValue, Counted>(LIST).expect("sound");
            let mut consumer = arena.mpsc_consumer::<KeyValue, Counted>(LIST).expect("sound");
            let done = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
                    while !done.load(Ordering::Relaxed) {
                        for _ in 0..3 {
                            random ^= random << 13;
                            random ^= random >> 7;
                            random ^= random << 17;
                        }
                        // Mostly the control blocks.
                        let room = if random % 4 == 0 { end - first } else { 1024 };
                        let place = first + (random >> 8) as usize % (room / 8) * 8;
                        memory
                            .poke(place, word(&memory, memory.peek(place), (random >> 3) as u8 % 8, random));
                    }
                });
                for round in 0..30_000u64 {
                    let _ = (producer.push(item(round)), consumer.pop());
                    match round % 64 {
                        0 => drop(producer.push_many(&[item(round); 20])),
                        16 => drop(consumer.drain(round, |_| ())),
                        32 => drop((producer.grow(1), producer.nodes().free_nodes())),
                        48 => {
                            let _ = (consumer.verify(), consumer.len(), consumer.is_drained());
                            // SAFETY: nobody else uses the arena but who damages it, which is the point.
                            let _ = unsafe { consumer.repair() };
                        }
                        _ => {}
                    }
                }
                done.store(true, Ordering::Relaxed);
            });
        }
    }
}
