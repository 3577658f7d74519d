//! Arenas that another program made, or that are none: each is refused with its reason.

mod support;

use std::num::NonZero;

use arenaq::arena::{Arena, ArenaError, CreateError, Front, Look, MAGIC, Owner, Places, Region, VERSION};
use arenaq::arena::{MAX_QUEUES, Placed, Spec};
use arenaq::bytemuck::{Pod, Zeroable};
use arenaq::count::{Counted, Uncounted};
use arenaq::drops::{Dropped, Drops};
use arenaq::mpmc::{SLOTS, SlotError, Slots};
use arenaq::payload::{Element, ElementType, UNKNOWN};
use arenaq::platform::Native;
use arenaq::pool::{MAX_ELEMENTS, nodes_for};
use arenaq::structures::{Kind, LAYOUT_HASH};
use arenaq::{Corruption, KeyValue, PushError};
use support::{ENTRY, LIST, Memory, RING, offset};

const BYTES: usize = 64 * 1024;

/// A published arena with both queues.
fn published() -> Memory {
    let memory = Memory::new(BYTES);
    let mut arena: Arena<'_> = memory.format();
    arena.create(&support::ring::<KeyValue, Counted>(8)).expect("it fits");
    arena.create(&support::list::<KeyValue, Counted>(7, 13)).expect("it fits");
    arena.publish();
    memory
}

fn attach(memory: &Memory) -> Result<Arena<'_>, ArenaError> {
    Arena::attach(memory.region(), memory.places().header)
}

fn header_field(memory: &Memory, field: &str) -> usize {
    memory.places().header + offset("arenaq_header", field)
}

#[test]
fn what_one_program_pushes_another_that_attaches_pops() {
    let memory = Memory::new(BYTES);
    let mut maker: Arena<'_> = memory.format();
    maker.create(&support::ring::<KeyValue, Counted>(8)).expect("it fits");
    maker.create(&support::list::<KeyValue, Counted>(7, 13)).expect("it fits");
    maker.publish();
    let here = KeyValue { key: 1, value: 2 };
    maker.mpmc::<KeyValue, Counted>(RING).expect("made").push(here).expect("room");
    maker.mpsc_producer::<KeyValue, Counted>(LIST).expect("made").push(here).expect("room");

    let other = attach(&memory).expect("a published arena");
    assert_eq!(other.mpmc::<KeyValue, Counted>(RING).expect("made").pop(), Ok(here));
    assert_eq!(other.mpsc_consumer::<KeyValue, Counted>(LIST).expect("free").pop(), Ok(here));
}

#[test]
fn an_arena_that_is_not_published_has_no_header_yet() {
    let memory = Memory::new(BYTES);
    assert_eq!(attach(&memory).err(), Some(ArenaError::NoHeader { found: 0 }));
    let _arena: Arena<'_> = memory.format();
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
    for version in [0, VERSION - 1, VERSION + 1, u64::MAX] {
        memory.poke(header_field(&memory, "version"), version);
        let error = attach(&memory).expect_err("not the version");
        assert_eq!(error, ArenaError::Version { found: version });
        assert!(error.to_string().contains("build both with the same arenaq"), "{error}");
    }
}

#[test]
fn a_queue_of_elements_of_another_size_is_refused_for_them_and_for_nobody_else() {
    let memory = published();
    let arena = attach(&memory).expect("published");
    for (refused, queue) in [
        (arena.queue::<u64>(RING).err(), RING),
        (arena.consumer::<u64>(LIST).err(), LIST),
        (arena.mpmc::<u64, Counted>(RING).err(), RING),
        (arena.mpsc_producer::<u64, Counted>(LIST).err(), LIST),
    ] {
        let Some(ArenaError::ElementSize { queue: name, found: 16, expected: 8 }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(name.as_str(), queue);
    }
    arena.queue::<KeyValue>(RING).expect("what it carries");
}

#[test]
fn a_size_that_no_element_has_is_refused() {
    for size in [0, 1, 7, 12, 4104, 1 << 32, u64::MAX, u64::MAX - 7] {
        for queue in [RING, LIST] {
            let memory = published();
            memory.poke(memory.entry(queue, "element_size"), size);
            assert_eq!(attach(&memory).err(), Some(ArenaError::NotAnElement(size)));
        }
        let memory = Memory::new(BYTES);
        let spec = Spec::of(Kind::Mpmc, RING, ElementType { size, hash: UNKNOWN }, 8);
        assert_eq!(memory.format().create(&spec), Err(ArenaError::NotAnElement(size).into()));
    }
}

#[test]
fn a_size_that_makes_the_cells_or_nodes_longer_than_their_room_is_refused() {
    for (queue, what) in [(RING, "the ring of cells"), (LIST, "the nodes")] {
        let memory = published();
        memory.poke(memory.entry(queue, "element_size"), 4096);
        let error = attach(&memory).expect_err("8 times 4104 is too much at the end of the arena");
        let overlap = matches!(error, ArenaError::Overlap { first, .. } if first == what);
        let outside = matches!(error, ArenaError::OutOfBounds { what: w, .. } if w == what);
        assert!(overlap || outside, "{queue}: {error:?}");
    }
}

/// As large as [`KeyValue`], and something else.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Span {
    start: u64,
    end: u64,
}

arenaq::element!(Span { start, end });

#[test]
fn a_queue_of_elements_of_another_type_is_refused_and_one_of_which_nothing_is_known_is_not() {
    let memory = published();
    let arena = attach(&memory).expect("published");
    let refused = arena.queue::<Span>(RING).expect_err("not what it carries");
    assert!(
        matches!(refused, ArenaError::ElementType { found: KeyValue::HASH, expected: Span::HASH, .. }),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("Compare the names, places and sizes of the fields"), "{refused}");
    arena.queue::<[u64; 2]>(RING).expect("a type of which nothing is known fits");

    memory.poke(memory.entry(RING, "element_hash"), UNKNOWN);
    attach(&memory).expect("published").queue::<Span>(RING).expect("whoever made it did not say");
}

#[test]
fn another_layout_is_refused() {
    let memory = published();
    let here = LAYOUT_HASH;
    memory.poke(header_field(&memory, "layout_hash"), !here);
    assert_eq!(attach(&memory).err(), Some(ArenaError::Layout { found: !here, expected: here }));
}

#[test]
fn another_count_policy_is_refused_on_both_sides_and_a_queue_by_its_name_has_the_right_one() {
    let memory = Memory::new(BYTES);
    let mut arena = memory.format();
    for spec in [
        Spec::mpmc::<u64>("ring", 8),
        Spec::mpsc::<u64>("list", 8),
        Spec::mpmc::<u64>("ring.c", 8).counted(),
        Spec::mpsc::<u64>("list.c", 8).counted(),
    ] {
        arena.create(&spec).expect("it fits");
    }
    arena.publish();
    let arena = attach(&memory).expect("published");
    let policies = [
        (arena.mpmc::<u64, Uncounted>("ring.c").err(), true),
        (arena.mpsc_producer::<u64, Uncounted>("list.c").err(), true),
        (arena.mpsc_consumer::<u64, Uncounted>("list.c").err(), true),
        (arena.mpmc::<u64, Counted>("ring").err(), false),
        (arena.mpsc_producer::<u64, Counted>("list").err(), false),
        (arena.mpsc_consumer::<u64, Counted>("list").err(), false),
    ];
    for (refused, counted) in policies {
        let Some(error @ ArenaError::CountPolicy { found, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(found, counted);
        assert!(error.to_string().contains("use the same count policy"), "{error}");
    }
    for queue in arena.queues() {
        let name = queue.name.as_str();
        assert_eq!(queue.counted, name.ends_with(".c"));
        arena.queue::<u64>(name).expect("whatever its policy").push(7).expect("room");
        assert_eq!(arena.consumer::<u64>(name).expect("nobody has it").pop(), Ok(7));
    }
    for wrong in [2, u64::MAX] {
        memory.poke(memory.entry("ring.c", "counted"), wrong);
        let what = "the count policy";
        assert_eq!(attach(&memory).err(), Some(ArenaError::Directory { entry: 2, what, found: wrong }));
    }
}

#[test]
fn a_region_of_another_length_or_place_is_refused() {
    let memory = published();
    let header = memory.places().header;
    let shorter = memory.part(0, BYTES - 4096);
    let error = Arena::attach(shorter, header).expect_err("shorter");
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
        let result = Arena::attach(memory.region(), address);
        assert!(
            matches!(result, Err(ArenaError::Misaligned { what: "the header", align: 8, address: a }) if a == address),
            "{result:?}"
        );
    }
    for address in [0, base - 8, base + BYTES - 56, base + BYTES, usize::MAX - 7] {
        let result = Arena::attach(memory.region(), address);
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
fn a_queue_that_was_not_made_is_absent_and_those_that_were_are_listed() {
    let memory = Memory::new(BYTES);
    memory.format().publish();
    let arena = attach(&memory).expect("an arena without queues");
    assert_eq!(arena.queues().count(), 0);
    let absent = arena.queue::<KeyValue>(RING).expect_err("none");
    assert_eq!(absent.to_string(), "the arena has no queue `ring`; it has none");

    let memory = published();
    let arena = attach(&memory).expect("published");
    for absent in [
        arena.queue::<KeyValue>("rign").err(),
        arena.consumer::<KeyValue>("rign").err(),
        arena.mpmc::<KeyValue, Counted>("rign").err(),
        arena.mpsc_producer::<KeyValue, Counted>("rign").err(),
        arena.mpsc_consumer::<KeyValue, Counted>("rign").err(),
    ] {
        let text = absent.expect("no such queue").to_string();
        assert_eq!(text, "the arena has no queue `rign`; it has `ring`, `list`");
    }
    assert_eq!(arena.mpsc_owner("rign"), None);
}

#[test]
fn a_queue_of_the_other_kind_is_refused() {
    let memory = published();
    let arena = attach(&memory).expect("published");
    let error = arena.mpmc::<KeyValue, Counted>(LIST).expect_err("a list");
    assert_eq!(error.to_string(), "the queue `list` is of the kind MPSC, not MPMC");
    for error in [
        arena.mpsc_producer::<KeyValue, Counted>(RING).err(),
        arena.mpsc_consumer::<KeyValue, Counted>(RING).err(),
    ] {
        let expected =
            matches!(error, Some(ArenaError::Kind { found: Kind::Mpmc, expected: Kind::Mpsc, .. }));
        assert!(expected, "{error:?}");
    }
    // What calls itself records has none where a list's head is.
    memory.poke(memory.entry(LIST, "kind"), Kind::Records.code());
    assert!(attach(&memory).is_err());
    for code in [0, 4, u64::MAX] {
        memory.poke(memory.entry(LIST, "kind"), code);
        let what = "the kind";
        assert_eq!(attach(&memory).err(), Some(ArenaError::Directory { entry: 1, what, found: code }));
    }
}

#[test]
fn what_the_directory_says_of_each_queue_is_listed_in_their_order() {
    let memory = published();
    let arena = attach(&memory).expect("published");
    let kept = arena.consumer::<KeyValue>(LIST).expect("nobody has it");
    let queues: Vec<_> = arena.queues().collect();
    let element = ElementType { size: 16, hash: KeyValue::HASH };
    let [ring, list] = &queues[..] else { panic!("{queues:?}") };
    assert_eq!((ring.name.as_str(), ring.kind, ring.capacity), (RING, Kind::Mpmc, 8));
    assert_eq!((list.name.as_str(), list.kind, list.capacity), (LIST, Kind::Mpsc, nodes_for(13).0));
    for queue in &queues {
        assert_eq!((queue.element, queue.counted), (element, true));
        assert_eq!(queue.dropped, Some(Dropped::default()));
    }
    assert_eq!((ring.owner, list.owner), (None, Some(Owner::ANONYMOUS)));
    drop(kept);
    assert!(arena.queues().all(|queue| queue.owner.is_none()));
}

#[test]
fn what_finds_no_room_is_counted_where_everybody_sees_it() {
    let memory = published();
    let (here, there) = (attach(&memory).expect("published"), attach(&memory).expect("published"));
    for (name, room, error) in [(RING, 8, PushError::Full), (LIST, 7, PushError::Exhausted)] {
        let queue = here.queue::<KeyValue>(name).expect("made");
        let results: Vec<_> = (0..room + 3).map(|_| queue.push(KeyValue::default())).collect();
        assert_eq!(results.iter().filter(|result| **result == Ok(())).count(), room);
        assert_eq!(results[room..], [Err(error); 3]);
        let dropped = there.queue::<KeyValue>(name).expect("made").dropped();
        assert_eq!(dropped, Some(Dropped { full: 3, ..Dropped::default() }));
    }
}

#[test]
fn two_queues_of_one_name_are_refused_and_names_that_are_none() {
    let memory = published();
    let [ring, list] = [RING, LIST].map(|queue| memory.entry(queue, "name"));
    for word in 0..6 {
        memory.poke(list + word * 8, memory.peek(ring + word * 8));
    }
    let error = attach(&memory).expect_err("twice");
    assert!(matches!(error, ArenaError::Exists(name) if name.as_str() == RING), "{error:?}");
    for name in [0, 0xff] {
        memory.poke(ring, name);
        let refused = attach(&memory).err();
        assert!(
            matches!(refused, Some(ArenaError::Directory { entry: 0, what: "the name", .. })),
            "{refused:?}"
        );
    }

    let memory = Memory::new(BYTES);
    for name in ["", "with\0zero", &"x".repeat(48)] {
        let refused = memory.format().create(&Spec::mpmc::<u64>(name, 8));
        assert_eq!(refused, Err(CreateError::Arena(ArenaError::Name(name.into()))));
    }
    memory.format().create(&Spec::mpmc::<u64>(&"x".repeat(47), 8)).expect("the longest name");
}

#[test]
fn a_directory_that_is_full_says_so_and_one_that_does_not_fit_too() {
    let memory = Memory::new(BYTES);
    let places = Places { queues: 2, ..memory.places() };
    let mut arena = Arena::format(memory.region(), places).expect("room for the directory");
    for name in ["one", "two"] {
        arena.create(&Spec::mpmc::<u64>(name, 2)).expect("it fits");
    }
    let full = Err(ArenaError::TooManyQueues(2).into());
    assert_eq!(arena.create(&Spec::mpmc::<u64>("three", 2)), full);
    arena.publish();
    assert_eq!(attach(&memory).expect("published").queues().count(), 2);

    let what = "the directory";
    for queues in [BYTES / ENTRY, MAX_QUEUES] {
        let places = Places { queues, ..memory.places() };
        let refused = Arena::format(memory.region(), places).err();
        assert!(matches!(refused, Some(ArenaError::NoSpace { what: w, .. }) if w == what), "{refused:?}");
        memory.poke(header_field(&memory, "queues"), queues as u64);
        let refused = attach(&memory).err();
        assert!(matches!(refused, Some(ArenaError::OutOfBounds { what: w, .. }) if w == what), "{refused:?}");
    }
    for queues in [MAX_QUEUES + 1, 1 << 57, usize::MAX / ENTRY, usize::MAX] {
        let expected = Some(ArenaError::Queues(queues as u64));
        let places = Places { queues, ..memory.places() };
        assert_eq!(Arena::format(memory.region(), places).err(), expected);
        memory.poke(header_field(&memory, "queues"), queues as u64);
        assert_eq!(attach(&memory).err(), expected);
    }
}

#[test]
fn queues_are_made_once_and_only_before_the_arena_is_published() {
    let memory = Memory::new(BYTES);
    let mut arena: Arena<'_> = memory.format();
    let specs = [support::ring::<KeyValue, Counted>(8), support::list::<KeyValue, Counted>(3, 3)];
    for (spec, name) in specs.iter().zip([RING, LIST]) {
        arena.create(spec).expect("it fits");
        let again = arena.create(spec).expect_err("twice");
        assert!(matches!(again, CreateError::Arena(ArenaError::Exists(queue)) if queue.as_str() == name));
    }
    arena.publish();
    let late = arena.create(&Spec::mpmc::<u64>("late", 8));
    assert_eq!(late, Err(ArenaError::Published.into()));
    let late = attach(&memory).expect("published").create(&Spec::mpsc::<u64>("late", 8));
    assert_eq!(late, Err(ArenaError::Published.into()));
}

/// The words of the directory that say where something is, and what is there.
const PLACES: [(&str, &str, &str, usize); 6] = [
    (RING, "head", "the MPMC head", 64),
    (LIST, "head", "the MPSC head", 8),
    (LIST, "pool", "the node pool", 64),
    (RING, "slots", "the slots for consumers", 64),
    (RING, "drops", "the counters of drops", 64),
    (LIST, "drops", "the counters of drops", 64),
];

#[test]
fn parts_that_lie_outside_of_the_region_are_refused() {
    for outside in [8, BYTES as u64, u64::MAX, u64::MAX - 7, 1 << 63] {
        for (queue, field, what, _) in PLACES {
            let memory = published();
            memory.poke(memory.entry(queue, field), outside);
            let error = attach(&memory).err();
            assert!(
                matches!(error, Some(ArenaError::OutOfBounds { what: w, .. }) if w == what),
                "{field} at {outside:#x}: {error:?}"
            );
        }
    }
}

#[test]
fn parts_that_are_not_aligned_are_refused() {
    for (queue, field, what, align) in PLACES {
        let memory = published();
        let place = memory.entry(queue, field);
        memory.poke(place, memory.peek(place) + 4);
        let error = attach(&memory).err();
        assert!(
            matches!(error, Some(ArenaError::Misaligned { what: w, align: a, .. }) if w == what && a == align),
            "{field}: {error:?}"
        );
    }
    for (field, what, align) in [("event_count", "the event count", 64), ("directory", "the directory", 64)] {
        let memory = published();
        let place = header_field(&memory, field);
        memory.poke(place, memory.peek(place) + 8);
        let error = attach(&memory).err();
        assert!(
            matches!(error, Some(ArenaError::Misaligned { what: w, align: a, .. }) if w == what && a == align),
            "{field}: {error:?}"
        );
    }
}

/// The start of each part of the arena, and where an address of it stands.
fn parts(memory: &Memory) -> Vec<(&'static str, usize, usize)> {
    let head = |queue, field| memory.peek(memory.entry(queue, field)) as usize;
    let ring = head(RING, "head") + offset("ds_vyukhov_head", "buffer");
    let pool = head(LIST, "pool");
    let mut parts = vec![
        ("the event count", header_field(memory, "event_count")),
        ("the directory", header_field(memory, "directory")),
        ("the ring of cells", ring),
        ("the nodes", pool + offset("ds_pool", "nodes")),
        ("the links of the node pool", pool + offset("ds_pool", "links")),
    ];
    parts.extend(PLACES.map(|(queue, field, what, _)| (what, memory.entry(queue, field))));
    let mut parts: Vec<_> =
        parts.into_iter().map(|(what, at)| (what, at, memory.peek(at) as usize)).collect();
    parts.push(("the header", 0, memory.places().header));
    parts
}

#[test]
fn parts_that_lie_on_each_other_are_refused_whichever_two() {
    let (mut overlaps, whole) = (0, published());
    let parts = parts(&whole);
    for &(moved, at, _) in &parts {
        for &(other, _, start) in &parts {
            if moved == other || at == 0 {
                continue;
            }
            let memory = published();
            memory.poke(at - whole.base() + memory.base(), (start - whole.base() + memory.base()) as u64);
            // What is read from the wrong place may be refused before it is known that it is the wrong one.
            let error = attach(&memory).expect_err(moved);
            overlaps += usize::from(matches!(error, ArenaError::Overlap { .. }));
        }
    }
    assert!(overlaps > parts.len() * (parts.len() - 1) / 2, "{overlaps} of {}", parts.len());
}

#[test]
fn a_part_that_ends_on_the_next_is_refused_and_names_both() {
    let memory = published();
    let head = memory.peek(memory.entry(RING, "head")) as usize;
    let mask = head + offset("ds_vyukhov_head", "buffer_mask");
    let cells = memory.peek(head + offset("ds_vyukhov_head", "buffer"));
    memory.poke(mask, 15);
    let error = attach(&memory).expect_err("twice as long");
    let ArenaError::Overlap { first: "the ring of cells", second, address } = error else {
        panic!("{error:?}");
    };
    assert!(address as u64 >= cells + 8 * 24, "{second} at {address:#x}");
}

#[test]
fn places_that_lie_on_each_other_are_refused_when_an_arena_is_formatted_and_when_a_queue_is_made() {
    let memory = Memory::new(BYTES);
    let places = memory.places();
    let on_header = Places { event_count: Some(places.header), ..places.clone() };
    let on_free = Places { event_count: Some(places.free.start + 4096), ..places.clone() };
    let all_free = Places { free: memory.base()..memory.base() + BYTES, ..places.clone() };
    for wrong in [on_header, on_free, all_free] {
        let refused = Arena::format(memory.region(), wrong).err();
        assert!(matches!(refused, Some(ArenaError::Overlap { .. })), "{refused:?}");
    }

    let mut arena = memory.format();
    let free = places.free.start;
    let room = [Placed {
        head: free + 8192,
        pool: free + 12288,
        drops: Some(free + 16384),
        events: Some(free + 20480),
    }];
    let wrong = [
        Placed { head: places.header, ..room[0] },
        Placed { head: room[0].pool, ..room[0] },
        Placed { drops: Some(room[0].pool + 64), ..room[0] },
        Placed { drops: places.event_count, ..room[0] },
        Placed { events: places.event_count, ..room[0] },
        Placed { events: room[0].drops, ..room[0] },
    ];
    for placed in wrong {
        let refused = arena.create(&Spec::mpsc::<u64>("list", 100).at(placed));
        let expected = matches!(refused, Err(CreateError::Arena(ArenaError::Overlap { .. })));
        assert!(expected, "{placed:x?}: {refused:?}");
    }
    arena.create(&Spec::mpsc::<u64>("list", 10)).expect("a refusal takes no space");
}

#[test]
fn a_pool_whose_nodes_or_links_lead_out_of_the_region_is_refused() {
    // `None` for a pool that was never initialised.
    let damage = [
        ("nodes", 0, None),
        ("nodes", u64::MAX - 7, Some("the nodes")),
        ("links", 0, None),
        ("links", u64::MAX - 7, Some("the links of the node pool")),
        ("limit", 0, None),
        ("limit", 1 << 20, Some("the nodes")),
        ("limit", u64::MAX, Some("the nodes")),
    ];
    for (field, value, outside) in damage {
        let memory = published();
        let pool = memory.peek(memory.entry(LIST, "pool")) as usize;
        memory.poke(pool + offset("ds_pool", field), value);
        let error = attach(&memory).expect_err(field);
        match outside {
            Some(what) => {
                let expected = matches!(error, ArenaError::OutOfBounds { what: w, .. } if w == what);
                assert!(expected, "{field} = {value:#x}: {error:?}");
            }
            None => assert_eq!(error, Corruption::NotInitialised.into(), "{field} = {value:#x}"),
        }
    }
}

/// Who moves a part so that its last word lies behind the region has moved it out.
#[test]
fn a_part_whose_last_word_alone_lies_outside_of_the_region_is_refused() {
    const CELL: u64 = 24;
    let control = |memory: &Memory, entry: &str, structure: &str, field: &str| {
        memory.peek(memory.entry(if entry == "head" { RING } else { LIST }, entry)) as usize
            + offset(structure, field)
    };
    let memory = published();
    let cells = memory.peek(control(&memory, "head", "ds_vyukhov_head", "buffer_mask")) + 1;
    let nodes = memory.peek(control(&memory, "pool", "ds_pool", "limit"));
    let entries = memory.peek(header_field(&memory, "queues"));
    let parts = [
        (control(&memory, "head", "ds_vyukhov_head", "buffer"), cells * CELL, "the ring of cells"),
        (memory.entry(RING, "slots"), size_of::<Slots<Native>>() as u64, "the slots for consumers"),
        (control(&memory, "pool", "ds_pool", "nodes"), nodes * CELL, "the nodes"),
        (control(&memory, "pool", "ds_pool", "links"), nodes * 8, "the links of the node pool"),
        (header_field(&memory, "directory"), entries * ENTRY as u64, "the directory"),
        (memory.entry(LIST, "drops"), size_of::<Drops<Native>>() as u64, "the counters of drops"),
    ];
    let end = memory.region().addresses().end as u64;
    for (place, bytes, part) in parts {
        let sound = memory.peek(place);
        for (beyond, is_outside) in [(0, false), (64, true), (8, true)] {
            memory.poke(place, end - bytes + beyond);
            let error = attach(&memory).err();
            let outside = matches!(error, Some(ArenaError::OutOfBounds { what, .. }) if what == part);
            assert_eq!(outside, is_outside, "{part}, {beyond} bytes beyond: {error:?}");
        }
        memory.poke(place, sound);
        attach(&memory).expect("it is sound again");
    }
}

/// Uses all of a new arena with three queues, and leaves it as those do who are killed: with elements in the queues, nodes in
/// magazines, a consumer of each, and one that sleeps.
fn use_up(memory: &Memory) {
    let mut arena = memory.format();
    assert_eq!(attach(memory).err(), Some(ArenaError::NoHeader { found: 0 }), "nothing is there yet");
    for spec in [
        Spec::mpmc::<u64>("ring", 8),
        // Large enough for blocks of several nodes, and so for magazines.
        Spec::mpsc::<u64>("list", 500).limit(1000),
        Spec::records("log", 1, 1 << 12, 64),
    ] {
        arena.create(&spec).expect("it fits");
    }
    arena.publish();

    let arena = attach(memory).expect("published");
    let looked = |name| {
        // SAFETY: nobody pops.
        let Look { len, front, .. } = unsafe { arena.look(name) }.expect("it is there");
        assert_eq!((len, front), (Some(0), Front::Empty), "{name}");
    };
    ["ring", "list", "log"].into_iter().for_each(looked);
    assert!(arena.queues().all(|queue| queue.owner.is_none()), "nobody consumes");
    assert!(arena.queues().all(|queue| queue.dropped.is_none_or(|dropped| dropped == Dropped::default())));
    assert!(!arena.event_count().expect("one").must_notify(), "nobody sleeps");

    for (name, capacity) in [("ring", 8), ("list", 500)] {
        let queue = arena.queue::<u64>(name).expect("it is there");
        let mut consumer = arena.consumer::<u64>(name).expect("nobody has it");
        for _ in 0..2 {
            for value in 0..capacity {
                queue.push(value).expect("room");
            }
            for value in 0..capacity {
                assert_eq!(consumer.pop(), Ok(value), "{name}");
            }
        }
        let mut spare = 0;
        while queue.push(spare).is_ok() {
            spare += 1;
        }
        for value in 0..spare {
            assert_eq!(consumer.pop(), Ok(value), "{name}");
        }
        for value in 0..capacity / 2 {
            queue.push(value).expect("room");
        }
        std::mem::forget(consumer);
    }
    for _ in 1..SLOTS {
        std::mem::forget(arena.consumer::<u64>("ring").expect("a slot"));
    }
    let records = arena.records("log", Owner::ANONYMOUS).expect("they are there");
    while records.push(&[1; 64], 0).is_ok() {}
    let mut consumer = records.consumer(0).expect("nobody has it");
    assert!(
        consumer.drain_in_place(5, |record| assert_eq!(record.size(), 64)).is_ok_and(|drained| drained == 5)
    );
    std::mem::forget((consumer, records.reserve(8)));
    let _asleep = arena.event_count().expect("one").prepare();
}

#[test]
fn an_arena_in_memory_that_was_used_is_as_good_as_one_in_zeroed_memory() {
    let memory = Memory::new(4 * BYTES);
    // Miri takes minutes for each time.
    let times = if cfg!(miri) { 1 } else { 3 };
    for _ in 0..times {
        use_up(&memory);
    }
    for byte in [0xff, 0xa5, 0x01].into_iter().take(times) {
        (0..memory.len()).for_each(|offset| memory.poke_byte(offset, byte));
        use_up(&memory);
    }
}

#[test]
fn a_consumer_is_refused_while_another_lives_and_granted_when_it_is_gone() {
    let memory = published();
    let here = attach(&memory).expect("published");
    let there = attach(&memory).expect("published");
    let first = here.mpsc_consumer::<KeyValue, Counted>(LIST).expect("nobody has it");
    assert_eq!(
        here.mpsc_consumer::<KeyValue, Counted>(LIST).err(),
        Some(ArenaError::ConsumerTaken { owner: Owner::ANONYMOUS })
    );
    assert_eq!(
        there.mpsc_consumer::<KeyValue, Counted>(LIST).err(),
        Some(ArenaError::ConsumerTaken { owner: Owner::ANONYMOUS })
    );
    there.mpsc_producer::<KeyValue, Counted>(LIST).expect("a producer is always welcome");
    drop(first);
    let second = there.mpsc_consumer::<KeyValue, Counted>(LIST).expect("the first is gone");
    assert_eq!(
        here.mpsc_consumer::<KeyValue, Counted>(LIST).err(),
        Some(ArenaError::ConsumerTaken { owner: Owner::ANONYMOUS })
    );
    drop(second);
    here.mpsc_consumer::<KeyValue, Counted>(LIST).expect("the second is gone");
}

#[test]
fn a_consumer_that_is_refused_for_a_damaged_queue_does_not_keep_the_claim() {
    let memory = published();
    let arena = attach(&memory).expect("published");
    let tail = memory.peek(memory.entry(LIST, "head")) as usize + offset("ds_mpsc_head", "tail");
    let stub = memory.peek(tail);
    memory.poke(tail, 0);
    assert_eq!(
        arena.mpsc_consumer::<KeyValue, Counted>(LIST).err(),
        Some(ArenaError::Corrupt(Corruption::NotInitialised))
    );
    memory.poke(tail, stub + 8);
    assert_eq!(
        arena.mpsc_consumer::<KeyValue, Counted>(LIST).err(),
        Some(ArenaError::Corrupt(Corruption::Link(stub + 8)))
    );
    memory.poke(tail, stub);
    arena.mpsc_consumer::<KeyValue, Counted>(LIST).expect("well again, and free");
}

#[test]
fn what_does_not_fit_says_how_much_is_missing() {
    let tiny = Memory::new(120);
    assert!(matches!(Places::in_plain_memory(&tiny.region()), Err(ArenaError::NoSpace { .. })));

    let memory = Memory::new(8192);
    let mut arena: Arena<'_> = memory.format();
    let error = arena.create(&support::ring::<KeyValue, Counted>(1024)).expect_err("24 KiB into 8");
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
        let error = arena.create(&support::list::<KeyValue, Counted>(elements, limit)).expect_err("too many");
        assert!(matches!(error, CreateError::Arena(ArenaError::NoSpace { .. })), "{error:?}");
    }
    arena.create(&support::ring::<KeyValue, Counted>(16)).expect("a refusal takes no space");
    arena.create(&support::list::<KeyValue, Counted>(16, 16)).expect("a refusal takes no space");
}

#[test]
fn a_pool_of_no_elements_or_of_more_than_numbers_is_refused() {
    let memory = Memory::new(BYTES);
    let mut arena: Arena<'_> = memory.format();
    for (elements, limit) in
        [(0, 0), (0, 10), (1, MAX_ELEMENTS + 1), (1, u64::from(u32::MAX)), (u64::MAX, 0), (1, u64::MAX)]
    {
        let error =
            arena.create(&support::list::<KeyValue, Counted>(elements, limit)).expect_err("no such pool");
        assert!(matches!(error, CreateError::Arena(ArenaError::Nodes(_))), "{elements} {limit}: {error:?}");
    }
}

#[test]
fn places_outside_of_the_region_are_refused() {
    let (memory, other) = (Memory::new(BYTES), Memory::new(BYTES));
    let places = memory.places();
    let free = places.free.clone();
    let wrong = [
        Places { header: other.base(), ..places.clone() },
        Places { event_count: Some(other.base()), ..places.clone() },
        Places { free: other.base()..other.base() + BYTES, ..places.clone() },
        Places { free: free.start..free.end + 4096, ..places.clone() },
        Places { free: free.start - 8192..free.end, ..places.clone() },
    ];
    for places in wrong {
        let refused = Arena::format(memory.region(), places.clone()).err();
        assert!(matches!(refused, Some(ArenaError::OutOfBounds { .. })), "{places:x?}: {refused:?}");
    }
    let mut arena = memory.format();
    let placed = Placed { head: free.end - 256, pool: free.end - 1024, ..Placed::default() };
    for placed in [
        Placed { head: other.base(), ..placed },
        Placed { pool: other.base(), ..placed },
        Placed { drops: Some(other.base()), ..placed },
        Placed { events: Some(other.base()), ..placed },
    ] {
        let refused = arena.create(&Spec::mpsc::<u64>("list", 8).at(placed));
        let expected = matches!(refused, Err(CreateError::Arena(ArenaError::OutOfBounds { .. })));
        assert!(expected, "{placed:x?}: {refused:?}");
    }
}

#[test]
fn the_consumer_of_a_dead_process_is_replaced_by_one_of_those_who_try() {
    let memory = published();
    let [first, second, third] = [1, 2, 3].map(|id| Owner::process(NonZero::new(id).expect("not 0")));
    let arena = attach(&memory).expect("published");
    let mut dead = arena.mpsc_consumer_as::<KeyValue, Counted>(LIST, first).expect("nobody has it");
    let producer = arena.mpsc_producer::<KeyValue, Counted>(LIST).expect("a queue");
    for key in 1..=3 {
        producer.push(KeyValue { key, value: key }).expect("room");
    }
    assert_eq!(dead.pop().map(|element| element.key), Ok(1));
    // As a process does that is killed.
    std::mem::forget(dead);
    assert_eq!(arena.mpsc_owner(LIST), Some(first));
    let taken =
        arena.mpsc_consumer_as::<KeyValue, Counted>(LIST, second).expect_err("the dead one has it still");
    assert_eq!(taken, ArenaError::ConsumerTaken { owner: first });
    assert!(taken.to_string().contains("process 1"), "{taken}");

    // SAFETY: the first consumer is forgotten.
    let mut next = unsafe { arena.mpsc_consumer_after_death::<KeyValue, Counted>(LIST, Some(first), second) }
        .expect("taken over");
    assert_eq!(arena.mpsc_owner(LIST), Some(second));
    // SAFETY: as above.
    let late = unsafe { arena.mpsc_consumer_after_death::<KeyValue, Counted>(LIST, Some(first), third) };
    assert_eq!(late.expect_err("its heir lives"), ArenaError::ConsumerTaken { owner: second });
    assert_eq!(next.pop().map(|element| element.key), Ok(2), "it goes on where the dead one stopped");
    drop(next);
    assert_eq!(arena.mpsc_owner(LIST), None);
    // SAFETY: nobody has it.
    let mut last = unsafe { arena.mpsc_consumer_after_death::<KeyValue, Counted>(LIST, Some(first), third) }
        .expect("free");
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
    let arena = Arena::format(memory.region(), places).expect("the header is inside");
    assert!(matches!(arena.event_count(), Err(ArenaError::NoEventCount)));
}

#[test]
fn queues_fit_into_the_room_that_their_specs_say_and_little_of_it_is_left() {
    let types = [8, 16, 24, 304, 4096].map(|size| ElementType { size, hash: UNKNOWN });
    for element in types {
        for (ring, list) in [(2, 1), (8, 7), (256, 255), (1024, 1000)] {
            let specs = [
                Spec::of(Kind::Mpmc, "ring", element, ring),
                Spec::of(Kind::Mpsc, "list", element, list),
                Spec::of(Kind::Mpsc, "growing", element, list).limit(4 * list),
            ];
            let rooms = specs.map(|spec| spec.room().expect("a queue that can be"));
            let bytes = Places::room(specs.len()) + rooms.iter().sum::<u64>() as usize;
            // Whatever the address, it is at most a page and the lines that a beginning costs.
            for start in [0, 8, 64, 4088] {
                let made = make_in(start, bytes, &specs);
                assert_eq!(made, Ok(()), "{element:?} {ring} {list} at {start}");
            }
            let spared = 3 * 4096 + 64 * 16;
            assert!(
                make_in(0, bytes.saturating_sub(spared + 8), &specs).is_err(),
                "{bytes} is too much to ask for"
            );
        }
    }
    assert!(Spec::of(Kind::Mpmc, "ring", types[0], 3).room().is_err());
    assert!(Spec::of(Kind::Mpsc, "list", types[0], 0).room().is_err());
    assert!(Spec::of(Kind::Mpsc, "list", ElementType { size: 7, hash: UNKNOWN }, 1).room().is_err());
}

/// Makes queues in so many bytes, `start` bytes behind the beginning of a page.
fn make_in(start: usize, bytes: usize, specs: &[Spec<'_>]) -> Result<(), CreateError> {
    let mut memory = vec![0u64; (start + bytes + 4096) / 8 + 1];
    let page = memory.as_ptr().align_offset(4096);
    let free = memory[page + start / 8..][..bytes / 8].as_mut_ptr();
    // SAFETY: the vector is writable, outlives the arena, and is touched only through it.
    let region = unsafe { Region::new(free.cast(), bytes / 8 * 8) }?;
    let places = Places::in_free(region.addresses(), specs.len())?;
    let mut arena = Arena::format(region, places)?;
    specs.iter().try_for_each(|spec| arena.create(spec))
}

#[test]
fn every_page_of_a_queue_is_written_when_it_is_made_so_that_programs_in_the_kernel_find_it() {
    const PAGE: usize = 4096;
    const UNTOUCHED: u64 = u64::MAX;
    for kind in [Kind::Mpmc, Kind::Mpsc] {
        // From one cell or node to the next it is 8 bytes more than a page.
        let spec = Spec::of(kind, "queue", ElementType { size: 4096, hash: UNKNOWN }, 1024);
        let bytes = Places::room(1) + spec.room().expect("a queue that can be") as usize;
        let mut memory = vec![UNTOUCHED; bytes / 8];
        // SAFETY: the vector is writable, outlives the arena, and is touched only through it.
        let region = unsafe { Region::new(memory.as_mut_ptr().cast(), memory.len() * 8) }.expect("a region");
        let places = Places::in_free(region.addresses(), 1).expect("there is room");
        Arena::format(region, places).expect("there is room").create(&spec).expect("there is room");
        // A pool has more links than blocks need, and they come first.
        let links = if kind == Kind::Mpsc { 8 * nodes_for(1024).0 as usize } else { 0 };
        let pages: Vec<_> = memory.chunks(PAGE / 8).skip(links.div_ceil(PAGE)).collect();
        let (_last, pages) = pages.split_last().expect("there are some");
        let untouched = pages.iter().position(|page| page.iter().all(|&word| word == UNTOUCHED));
        assert_eq!(untouched, None, "a page of {kind} that nobody has written");
    }
}

#[test]
fn an_mpmc_queue_has_as_many_consumers_as_slots_and_another_when_one_is_gone() {
    let memory = Memory::new(1 << 16);
    let mut arena = memory.format();
    arena.create(&Spec::mpmc::<KeyValue>("jobs", 64)).expect("room");
    let mut consumers: Vec<_> =
        (0..SLOTS).map(|_| arena.consumer::<KeyValue>("jobs").expect("a slot")).collect();
    let refused = arena.consumer::<KeyValue>("jobs").expect_err("no slot is left");
    assert!(refused.to_string().contains("`jobs` takes no more consumers: all 16 slots"), "{refused}");
    consumers.pop();
    arena.consumer::<KeyValue>("jobs").expect("its slot");
    let taken = arena.mpmc_with_slots::<KeyValue, Uncounted>("jobs").expect("the queue");
    let owner = NonZero::<u64>::MIN;
    assert!(matches!(taken.consumer_at(3, owner), Err(SlotError::Taken { slot: 3, .. })));
    assert!(matches!(taken.consumer_at(SLOTS, owner), Err(SlotError::Absent { slot: SLOTS, slots: SLOTS })));
}
