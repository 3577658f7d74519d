//! Arenas that another program made, or that are none: each is refused with its reason.

mod support;

use std::num::NonZero;

use arenaq::arena::{Arena, ArenaError, CreateError, MAGIC, Owner, Places, Region, VERSION};
use arenaq::count::Uncounted;
use arenaq::layout;
use arenaq::pool::MAX_ELEMENTS;
use arenaq::{Corruption, KeyValue};
use support::{Memory, offset};

const BYTES: usize = 64 * 1024;

/// A published arena with both queues.
fn published() -> Memory {
    let memory = Memory::new(BYTES);
    let mut arena: Arena<'_, KeyValue> = memory.format();
    arena.create_mpmc(8).expect("it fits");
    arena.create_mpsc(7, 13).expect("it fits");
    arena.publish();
    memory
}

fn attach(memory: &Memory) -> Result<Arena<'_, KeyValue>, ArenaError> {
    Arena::attach(memory.region(), memory.places().header)
}

fn header_field(memory: &Memory, field: &str) -> usize {
    memory.places().header + offset("arenaq_header", field)
}

#[test]
fn what_one_program_pushes_another_that_attaches_pops() {
    let memory = Memory::new(BYTES);
    let mut maker: Arena<'_, KeyValue> = memory.format();
    maker.create_mpmc(8).expect("it fits");
    maker.create_mpsc(7, 13).expect("it fits");
    maker.publish();
    let here = KeyValue { key: 1, value: 2 };
    maker.mpmc().expect("made").push(here).expect("room");
    maker.mpsc_producer().expect("made").push(here).expect("room");

    let other = attach(&memory).expect("a published arena");
    assert_eq!(other.mpmc().expect("made").pop(), Ok(here));
    assert_eq!(other.mpsc_consumer().expect("free").pop(), Ok(here));
}

#[test]
fn an_arena_that_is_not_published_has_no_header_yet() {
    let memory = Memory::new(BYTES);
    assert_eq!(attach(&memory).err(), Some(ArenaError::NoHeader { found: 0 }));
    let _arena: Arena<'_, KeyValue> = memory.format();
    assert_eq!(attach(&memory).err(), Some(ArenaError::NoHeader { found: 0 }));
}

#[test]
fn another_magic_is_refused() {
    let memory = published();
    memory.poke(header_field(&memory, "magic"), MAGIC ^ 1);
    let error = attach(&memory).expect_err("not the magic");
    assert_eq!(error, ArenaError::NoHeader { found: MAGIC ^ 1 });
    assert!(error.to_string().contains("was the arena formatted?"), "{error}");
}

#[test]
fn another_version_is_refused() {
    let memory = published();
    memory.poke(header_field(&memory, "version"), VERSION + 1);
    let error = attach(&memory).expect_err("not the version");
    assert_eq!(error, ArenaError::Version { found: VERSION + 1 });
    assert!(error.to_string().contains("build both with the same arenaq"), "{error}");
}

#[test]
fn a_payload_of_another_size_is_refused() {
    let memory = published();
    let error =
        Arena::<'_, u64>::attach(memory.region(), memory.places().header).expect_err("not the payload");
    assert_eq!(error, ArenaError::PayloadSize { found: 16, expected: 8 });
    memory.poke(header_field(&memory, "payload_size"), 24);
    let error = attach(&memory).expect_err("not the payload");
    assert_eq!(error, ArenaError::PayloadSize { found: 24, expected: 16 });
}

#[test]
fn another_layout_is_refused() {
    let memory = published();
    let here = layout::hash::<KeyValue>();
    memory.poke(header_field(&memory, "layout_hash"), !here);
    assert_eq!(attach(&memory).err(), Some(ArenaError::Layout { found: !here, expected: here }));
}

#[test]
fn another_count_policy_is_refused_on_both_sides() {
    let counted = published();
    let error = Arena::<'_, KeyValue, Uncounted>::attach(counted.region(), counted.places().header)
        .expect_err("not the policy");
    assert_eq!(error, ArenaError::CountPolicy { found: true });
    assert!(error.to_string().contains("are counted, this program's are uncounted"), "{error}");

    let uncounted = Memory::new(BYTES);
    uncounted.format::<KeyValue, Uncounted>().publish();
    let error = attach(&uncounted).expect_err("not the policy");
    assert_eq!(error, ArenaError::CountPolicy { found: false });
    assert!(Arena::<'_, KeyValue, Uncounted>::attach(uncounted.region(), uncounted.places().header).is_ok());
}

#[test]
fn a_region_of_another_length_or_place_is_refused() {
    let memory = published();
    let header = memory.places().header;
    let shorter = memory.part(0, BYTES - 4096);
    let error = Arena::<'_, KeyValue>::attach(shorter, header).expect_err("shorter");
    assert_eq!(
        error,
        ArenaError::Moved {
            base: memory.base() as u64,
            length: BYTES as u64,
            mapped_base: memory.base() as u64,
            mapped_length: (BYTES - 4096) as u64,
        }
    );
    assert!(error.to_string().contains("map it at the same address with the same length"), "{error}");

    let moved = memory.base() as u64 + 4096;
    memory.poke(header_field(&memory, "base"), moved);
    assert!(matches!(
        attach(&memory),
        Err(ArenaError::Moved { base, .. }) if base == moved
    ));
}

#[test]
fn a_header_that_is_not_aligned_or_not_inside_is_refused() {
    let memory = published();
    let base = memory.base();
    for address in [base + 1, base + 4, base + BYTES - 97] {
        let result = Arena::<'_, KeyValue>::attach(memory.region(), address);
        assert!(
            matches!(result, Err(ArenaError::Misaligned { what: "the header", align: 8, address: a }) if a == address),
            "{result:?}"
        );
    }
    for address in [0, base - 8, base + BYTES - 72, base + BYTES, usize::MAX - 7] {
        let result = Arena::<'_, KeyValue>::attach(memory.region(), address);
        assert!(matches!(result, Err(ArenaError::OutOfBounds { what: "the header", .. })), "{result:?}");
    }
}

#[test]
fn a_region_at_null_or_larger_than_any_mapping_is_refused() {
    // SAFETY: refused, so nothing is ever touched.
    let null = unsafe { Region::new(core::ptr::null_mut(), 4096) };
    assert!(matches!(null, Err(ArenaError::OutOfBounds { .. })));
    let mut word = 0u64;
    // SAFETY: refused, so nothing is ever touched.
    let huge = unsafe { Region::new((&raw mut word).cast(), usize::MAX) };
    assert!(matches!(huge, Err(ArenaError::OutOfBounds { .. })));
}

#[test]
fn a_queue_that_was_not_made_is_absent() {
    let memory = Memory::new(BYTES);
    let mut arena: Arena<'_, KeyValue> = memory.format();
    arena.publish();
    let arena = attach(&memory).expect("an arena without queues");
    assert_eq!(arena.mpmc().err(), Some(ArenaError::Absent("MPMC")));
    assert_eq!(arena.mpsc_producer().err(), Some(ArenaError::Absent("MPSC")));
    assert_eq!(arena.mpsc_consumer().err(), Some(ArenaError::Absent("MPSC")));
}

#[test]
fn queues_are_made_once_and_only_before_the_arena_is_published() {
    let memory = Memory::new(BYTES);
    let mut arena: Arena<'_, KeyValue> = memory.format();
    arena.create_mpmc(8).expect("it fits");
    arena.create_mpsc(3, 3).expect("it fits");
    assert_eq!(arena.create_mpmc(8), Err(ArenaError::Exists("MPMC").into()));
    assert_eq!(arena.create_mpsc(3, 3), Err(ArenaError::Exists("MPSC").into()));

    let memory = Memory::new(BYTES);
    let mut arena: Arena<'_, KeyValue> = memory.format();
    arena.publish();
    assert!(matches!(arena.create_mpmc(8), Err(CreateError::Arena(ArenaError::Absent(_)))));
    assert!(matches!(arena.create_mpsc(3, 3), Err(CreateError::Arena(ArenaError::Absent(_)))));
}

#[test]
fn heads_that_lead_out_of_the_region_are_refused() {
    for outside in [8, BYTES as u64, u64::MAX, u64::MAX - 7, 1 << 63] {
        for (field, what) in [("mpmc", "the MPMC head"), ("mpsc", "the MPSC head"), ("pool", "the node pool")]
        {
            let memory = published();
            memory.poke(header_field(&memory, field), outside);
            let arena = attach(&memory).expect("the header itself is well");
            let error = if field == "mpmc" { arena.mpmc().err() } else { arena.mpsc_producer().err() };
            assert!(
                matches!(error, Some(ArenaError::OutOfBounds { what: w, .. }) if w == what),
                "{field} at {outside:#x}: {error:?}"
            );
        }
    }
}

#[test]
fn heads_that_are_not_aligned_are_refused() {
    for (field, align) in [("mpmc", 64), ("mpsc", 8), ("pool", 64)] {
        let memory = published();
        let place = header_field(&memory, field);
        memory.poke(place, memory.peek(place) + 4);
        let arena = attach(&memory).expect("the header itself is well");
        let error = if field == "mpmc" { arena.mpmc().err() } else { arena.mpsc_consumer().err() };
        assert!(
            matches!(error, Some(ArenaError::Misaligned { align: a, .. }) if a == align),
            "{field}: {error:?}"
        );
    }
}

#[test]
fn a_pool_whose_nodes_or_links_lead_out_of_the_region_is_refused() {
    let damage = [
        ("nodes", 0, "the nodes"),
        ("nodes", u64::MAX - 7, "the nodes"),
        ("links", 0, "the links of the node pool"),
        ("links", u64::MAX - 7, "the links of the node pool"),
        ("limit", 1 << 20, "the nodes"),
        ("limit", u64::MAX, "the nodes"),
    ];
    for (field, value, what) in damage {
        let memory = published();
        memory.poke(memory.places().pool + offset("ds_pool", field), value);
        let arena = attach(&memory).expect("the header itself is well");
        let error = arena.mpsc_producer().err();
        assert!(
            matches!(error, Some(ArenaError::OutOfBounds { what: w, .. }) if w == what),
            "{field} = {value:#x}: {error:?}"
        );
        assert!(arena.mpsc_consumer().is_err(), "{field} = {value:#x}");
    }
}

#[test]
fn a_consumer_is_refused_while_another_lives_and_granted_when_it_is_gone() {
    let memory = published();
    let here = attach(&memory).expect("published");
    let there = attach(&memory).expect("published");
    let first = here.mpsc_consumer().expect("nobody has it");
    assert_eq!(here.mpsc_consumer().err(), Some(ArenaError::ConsumerTaken { owner: Owner::ANONYMOUS }));
    assert_eq!(there.mpsc_consumer().err(), Some(ArenaError::ConsumerTaken { owner: Owner::ANONYMOUS }));
    there.mpsc_producer().expect("a producer is always welcome");
    drop(first);
    let second = there.mpsc_consumer().expect("the first is gone");
    assert_eq!(here.mpsc_consumer().err(), Some(ArenaError::ConsumerTaken { owner: Owner::ANONYMOUS }));
    drop(second);
    here.mpsc_consumer().expect("the second is gone");
}

#[test]
fn a_consumer_that_is_refused_for_a_damaged_queue_does_not_keep_the_claim() {
    let memory = published();
    let arena = attach(&memory).expect("published");
    let tail = memory.places().mpsc + offset("ds_mpsc_head", "tail");
    let stub = memory.peek(tail);
    memory.poke(tail, 0);
    assert_eq!(arena.mpsc_consumer().err(), Some(ArenaError::Corrupt(Corruption::NotInitialised)));
    memory.poke(tail, stub + 8);
    assert_eq!(arena.mpsc_consumer().err(), Some(ArenaError::Corrupt(Corruption::Link(stub + 8))));
    memory.poke(tail, stub);
    arena.mpsc_consumer().expect("well again, and free");
}

#[test]
fn what_does_not_fit_says_how_much_is_missing() {
    let tiny = Memory::new(256);
    assert!(matches!(Places::in_plain_memory(&tiny.region()), Err(ArenaError::NoSpace { .. })));

    let memory = Memory::new(4096);
    let mut arena: Arena<'_, KeyValue> = memory.format();
    let error = arena.create_mpmc(1024).expect_err("24 KiB into 4");
    let text = error.to_string();
    assert!(
        matches!(
            error,
            CreateError::Arena(ArenaError::NoSpace { what: "the ring of cells", needed: 24576, .. })
        ),
        "{error:?}"
    );
    assert!(text.contains("make the arena larger or the queue smaller"), "{text}");
    for (elements, limit) in [(1000, 0), (1, 1000), (1, MAX_ELEMENTS)] {
        let error = arena.create_mpsc(elements, limit).expect_err("too many");
        assert!(matches!(error, CreateError::Arena(ArenaError::NoSpace { .. })), "{error:?}");
    }
    arena.create_mpmc(16).expect("a refusal takes no space");
    arena.create_mpsc(16, 16).expect("a refusal takes no space");
}

#[test]
fn a_pool_of_no_elements_or_of_more_than_numbers_is_refused() {
    let memory = Memory::new(BYTES);
    let mut arena: Arena<'_, KeyValue> = memory.format();
    for (elements, limit) in
        [(0, 0), (0, 10), (1, MAX_ELEMENTS + 1), (1, u64::from(u32::MAX)), (u64::MAX, 0), (1, u64::MAX)]
    {
        let error = arena.create_mpsc(elements, limit).expect_err("no such pool");
        assert!(matches!(error, CreateError::Arena(ArenaError::Nodes(_))), "{elements} {limit}: {error:?}");
    }
}

#[test]
fn control_blocks_outside_of_the_region_are_refused() {
    let memory = Memory::new(BYTES);
    let other = Memory::new(BYTES);
    let places = memory.places();
    let result =
        Arena::<'_, KeyValue>::format(memory.region(), Places { header: other.base(), ..places.clone() });
    assert!(matches!(result, Err(ArenaError::OutOfBounds { .. })));

    let mut arena = Arena::<'_, KeyValue>::format(
        memory.region(),
        Places {
            mpmc: other.base(),
            mpsc: other.base(),
            free: places.free.start..places.free.end + 4096,
            ..places
        },
    )
    .expect("the header is inside");
    assert!(arena.create_mpmc(8).is_err());
    assert!(arena.create_mpsc(8, 8).is_err());
}

#[test]
fn the_consumer_of_a_dead_process_is_replaced_by_one_of_those_who_try() {
    let memory = published();
    let [first, second, third] = [1, 2, 3].map(|id| Owner::process(NonZero::new(id).expect("not 0")));
    let arena = attach(&memory).expect("published");
    let mut dead = arena.mpsc_consumer_as(first).expect("nobody has it");
    let producer = arena.mpsc_producer().expect("a queue");
    for key in 1..=3 {
        producer.push(KeyValue { key, value: key }).expect("room");
    }
    assert_eq!(dead.pop().map(|element| element.key), Ok(1));
    // As a process does that is killed.
    std::mem::forget(dead);
    assert_eq!(arena.mpsc_owner(), Some(first));
    let taken = arena.mpsc_consumer_as(second).expect_err("the dead one has it still");
    assert_eq!(taken, ArenaError::ConsumerTaken { owner: first });
    assert!(taken.to_string().contains("process 1"), "{taken}");

    // SAFETY: the first consumer is forgotten.
    let mut next = unsafe { arena.mpsc_consumer_after_death(second) }.expect("taken over");
    assert_eq!(arena.mpsc_owner(), Some(second));
    assert_eq!(next.pop().map(|element| element.key), Ok(2), "it goes on where the dead one stopped");
    drop(next);
    assert_eq!(arena.mpsc_owner(), None);
    // SAFETY: nobody has it.
    let mut last = unsafe { arena.mpsc_consumer_after_death(third) }.expect("free");
    assert_eq!(last.pop().map(|element| element.key), Ok(3));
}

#[test]
fn who_attaches_finds_the_event_count_on_which_others_sleep() {
    let memory = published();
    let (here, there) = (attach(&memory).expect("published"), attach(&memory).expect("published"));
    let (consumer, producer) = (here.event_count().expect("one"), there.event_count().expect("the same"));
    let ticket = consumer.prepare().expect("nobody else");
    assert!(producer.must_notify());
    assert!(consumer.is_notified(&ticket));

    let memory = Memory::new(BYTES);
    let places = Places { event_count: None, ..memory.places() };
    let arena = Arena::<'_, KeyValue>::format(memory.region(), places).expect("the header is inside");
    assert!(matches!(arena.event_count(), Err(ArenaError::NoEventCount)));
}
