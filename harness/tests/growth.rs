//! The pool of the MPSC queue grows while events arrive: made by the programs that push where they may allocate, by
//! userspace where they may not.

mod support;

use arenaq::count::Counted;
use arenaq_libbpf::MPSC;
use std::os::fd::AsFd;
use std::{ptr, thread};

use arenaq::pool::GrowError;
use arenaq::recovery::Repaired;
use arenaq::{KeyValue, Status};
use arenaq_harness::{Config, Hook, Kernel};
use arenaq_libbpf::populate;
use libbpf_rs::{MapHandle, MapType};
use rustix::mm::{MapFlags as MmapFlags, ProtFlags, mmap, munmap};
use serde_json::Value;
use support::{Outcome, arenaq, assert_accounted, kernel, kernel_with, number};

/// A million events, for a consumer that begins when all of them have arrived.
fn run_held_back(hook: Hook, capacity: u64, grow_to: u64, operations: u64) -> Value {
    let [capacity, grow_to, operations] = [capacity, grow_to, operations].map(|number| number.to_string());
    let outcome =
        Outcome::of(arenaq(&["run", "--hook", hook.name(), "--hold-back", "600", "--json"]).args([
            "--capacity",
            &capacity,
            "--grow-to",
            &grow_to,
            "--operations",
            &operations,
        ]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let summary = outcome.json();
    assert_accounted(&summary);
    assert_eq!(number(&summary, "produced").to_string(), operations, "{summary}");
    summary
}

const MILLION: u64 = 1_000_000;

/// A pool of 1000 elements has grown by as many nodes as this one of the two has made. It has blocks of 64.
fn assert_grown(summary: &Value, by: &str) {
    let at_first = number(summary, "pool.nodes") - number(summary, by);
    let (nodes, block) = arenaq::pool::nodes_for(MILLION);
    assert_eq!(at_first, (1000 + nodes - MILLION).next_multiple_of(block.into()) - 1, "{summary}");
}

#[test]
fn programs_that_may_allocate_grow_the_pool_by_a_million_and_lose_nothing() {
    for hook in [Hook::Drive, Hook::UprobeSleepable] {
        let Some(_guard) = kernel_with(hook, "growth in the kernel") else { continue };
        let summary = run_held_back(hook, 1000, MILLION + 100_000, MILLION);
        assert_eq!(number(&summary, "consumed"), MILLION, "{summary}");
        assert_eq!(number(&summary, "pool.by_userspace"), 0, "{summary}");
        assert_grown(&summary, "pool.by_programs");
        assert!(number(&summary, "pool.nodes") >= MILLION, "{summary}");
    }
}

#[test]
fn userspace_grows_the_pool_in_time_for_programs_that_may_not_allocate() {
    let hook = Hook::Uprobe;
    let Some(_guard) = kernel_with(hook, "growth by userspace") else { return };
    if hook.may_allocate().is_ok() {
        // Linux 7.0: every program may.
        let summary = run_held_back(hook, 1000, MILLION + 300_000, MILLION);
        assert_eq!(number(&summary, "pool.by_userspace"), 0, "{summary}");
        return;
    }
    // Room for the reserve too.
    let summary = run_held_back(hook, 1000, MILLION + 300_000, MILLION);
    assert_eq!(number(&summary, "consumed"), MILLION, "{summary}");
    assert_eq!(number(&summary, "pool.by_programs"), 0, "{summary}");
    assert_grown(&summary, "pool.by_userspace");
}

#[test]
fn a_pool_that_has_no_room_left_holds_what_it_was_made_for_and_counts_the_rest() {
    for (hook, limit) in [(Hook::Drive, 10_007), (Hook::UprobeSleepable, 10_007), (Hook::Uprobe, 20_011)] {
        let Some(_guard) = kernel_with(hook, "growth to the limit") else { continue };
        let summary = run_held_back(hook, 1000, limit, 50_000);
        let nodes = number(&summary, "pool.nodes");
        assert_eq!(nodes, arenaq::pool::nodes_for(limit).0 - 1, "{summary}");
        // A program that takes a block while another one fills the same magazine leaves the rest of it to be freed with the node
        // that it has: for that there are nodes to spare beyond the limit.
        let consumed = number(&summary, "consumed");
        assert!((limit..=nodes).contains(&consumed), "{limit} to {nodes}: {summary}");
        assert_eq!(number(&summary, "dropped.nomem"), 50_000 - consumed, "{summary}");
    }
}

fn growing(capacity: u64, limit: u64) -> Kernel {
    let config = Config { capacity, limit, grow: 512, ..Config::default() };
    Kernel::load(&config).expect("the kernel can run it")
}

/// Pushes `count` events of one key.
fn drive(loaded: &Kernel, key: u64, count: u64) {
    const AT_ONCE: u64 = 4096;
    let mut done = 0;
    while done < count {
        done += loaded.drive(key, AT_ONCE.min(count - done)).expect("the program runs");
    }
}

fn drain(loaded: &Kernel) -> Vec<KeyValue> {
    let mut consumer = loaded
        .arena()
        .expect("the arena is ours")
        .mpsc_consumer::<KeyValue, Counted>(MPSC)
        .expect("nobody else consumes");
    std::iter::from_fn(|| consumer.pop().ok()).collect()
}

fn assert_whole(loaded: &Kernel) {
    let arena = loaded.arena().expect("the arena is ours");
    let consumer = arena.mpsc_consumer::<KeyValue, Counted>(MPSC).expect("nobody else consumes");
    consumer.verify_quiesced().expect("the queue is whole");
    // The kernel may end the loop over a long list.
    let verified = loaded.verify().expect("the program runs");
    assert!(matches!(verified, Status::Success | Status::Busy), "{verified:?}");
}

#[test]
fn the_kernel_and_userspace_grow_one_pool_at_the_same_time_on_every_cpu() {
    const EACH: u64 = 250_000;
    const DRIVERS: u64 = 3;
    let Some(_guard) = kernel("growth by both") else { return };
    // Numbers and steps of which none is a multiple of another, so that reservations share pages.
    let loaded = growing(101, EACH * DRIVERS + 50_000);
    let producer = loaded
        .arena()
        .expect("the arena is ours")
        .mpsc_producer::<KeyValue, Counted>(MPSC)
        .expect("the queue was made");
    thread::scope(|scope| {
        for key in 0..DRIVERS {
            let loaded = &loaded;
            scope.spawn(move || drive(loaded, key, EACH));
        }
        scope.spawn(|| {
            for _ in 0..200 {
                match producer.grow(77) {
                    Ok(()) | Err(GrowError::Contended) => {}
                    Err(error) => panic!("{error}"),
                }
                thread::yield_now();
            }
        });
    });
    let counters = loaded.counters().expect("the map is there");
    assert_eq!((counters.pushed, counters.nomem), (EACH * DRIVERS, 0), "{counters:?}");
    assert_whole(&loaded);
    let events = drain(&loaded);
    for key in 0..DRIVERS {
        let times: Vec<_> = events.iter().filter(|event| event.key == key).map(|event| event.value).collect();
        assert_eq!(times.len() as u64, EACH, "driver {key}");
        assert!(times.is_sorted(), "driver {key}: in its own order");
    }
    assert_eq!(
        producer.nodes().free_nodes().expect("the list is whole"),
        producer.nodes().created() - 1,
        "every node but the stub is free again"
    );
}

#[test]
fn a_page_that_userspace_has_touched_before_is_no_obstacle() {
    let Some(_guard) = kernel("growth over touched pages") else { return };
    let loaded = growing(10, 5000);
    let producer = loaded
        .arena()
        .expect("the arena is ours")
        .mpsc_producer::<KeyValue, Counted>(MPSC)
        .expect("the queue was made");
    // As if userspace died in the middle of growing the pool: numbers are claimed and pages are there.
    let reservation = producer.nodes().reserve(1000, 1000).expect("there is room");
    for address in producer.nodes().node_addresses(&reservation).step_by(4096) {
        // SAFETY: the memory of a reservation is its owner's, and the arena is mapped.
        unsafe { (address as *mut u64).write_volatile(7) };
    }
    // SAFETY: of this pool.
    unsafe { producer.nodes().cancel(reservation) }.expect("nobody has claimed others after them");
    drive(&loaded, 1, 5000);
    let counters = loaded.counters().expect("the map is there");
    assert_eq!((counters.pushed, counters.nomem), (5000, 0), "{counters:?}");
    assert_eq!(drain(&loaded).len(), 5000);
    assert_whole(&loaded);
}

/// Numbers are claimed, and whoever claimed them is dead: no page, or pages of the links only.
#[test]
fn nodes_of_a_growth_that_died_lose_no_event_once_they_are_repaired() {
    const CLAIMED: u64 = 1000;
    let Some(_guard) = kernel("the repair of a growth that died") else { return };
    for touches_links in [false, true] {
        let config = Config { capacity: 10, limit: 5000, ..Config::default() };
        let loaded = Kernel::load(&config).expect("the kernel can run it");
        let arena = loaded.arena().expect("the arena is ours");
        let pool = arena.mpsc_producer::<KeyValue, Counted>(MPSC).expect("the queue was made").nodes();
        let reservation = pool.reserve(CLAIMED, CLAIMED).expect("there is room");
        if touches_links {
            for address in pool.link_addresses(&reservation).step_by(8) {
                // SAFETY: the memory of a reservation is its owner's, and the arena is mapped.
                unsafe { (address as *mut u64).write_volatile(0) };
            }
        }
        let claimed = reservation.len();
        drop(reservation);

        let mut consumer = arena.mpsc_consumer::<KeyValue, Counted>(MPSC).expect("nobody else consumes");
        // SAFETY: nothing is driven yet, and no other process is there.
        let repaired = unsafe { consumer.repair_with(populate) }.expect("a sound queue");
        assert_eq!(repaired, Repaired { returned: claimed, missing: 0 });
        drop(consumer);
        drive(&loaded, 1, CLAIMED);
        let counters = loaded.counters().expect("the map is there");
        assert_eq!((counters.pushed, counters.nomem), (CLAIMED, 0), "{counters:?}");
        assert_eq!(drain(&loaded).len() as u64, CLAIMED, "an event was lost: its node has no page");
        assert_whole(&loaded);
    }
}

/// An arena whose pages only programs can allocate is one in which the kernel has none for userspace.
#[test]
fn memory_that_the_kernel_does_not_have_is_refused_without_a_signal() {
    let Some(_guard) = kernel("memory that is not there") else { return };
    let arena = |flags: u32| {
        let options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as _,
            map_flags: flags,
            ..Default::default()
        };
        MapHandle::create(MapType::Arena, Some("populated"), 0, 0, 4, &options)
            .expect("the kernel has arenas")
    };
    for (flags, is_there) in [
        (libbpf_sys::BPF_F_MMAPABLE, true),
        (libbpf_sys::BPF_F_MMAPABLE | libbpf_sys::BPF_F_SEGV_ON_FAULT, false),
    ] {
        let map = arena(flags);
        // SAFETY: the kernel chooses an address at which nothing is.
        let memory = unsafe {
            mmap(
                ptr::null_mut(),
                4 * 4096,
                ProtFlags::READ | ProtFlags::WRITE,
                MmapFlags::SHARED,
                map.as_fd(),
                0,
            )
        }
        .expect("an arena can be mapped");
        let start = memory.addr();
        assert_eq!(populate(start + 4000..start + 4200), is_there, "two pages");
        if is_there {
            // SAFETY: mapped, and populated.
            unsafe {
                memory.cast::<u64>().write_volatile(7);
                assert!(populate(start..start + 8));
                assert_eq!(memory.cast::<u64>().read_volatile(), 7, "what is there stays");
            }
        }
        // SAFETY: nobody has a pointer into it.
        unsafe { munmap(memory, 4 * 4096) }.expect("just mapped");
    }
}

#[test]
fn growth_that_cannot_be_is_refused_with_what_to_do() {
    let cases: [(&[&str], &str); 3] = [
        (&["--queue", "mpmc", "--grow-to", "1024"], "--queue mpsc"),
        (&["--backend", "threads", "--grow-to", "1000000"], "larger --capacity"),
        (&["--capacity", "100", "--grow-to", "99"], "larger"),
    ];
    for (arguments, text) in cases {
        let outcome = Outcome::of(arenaq(&["run"]).args(arguments));
        assert_eq!(outcome.code, Some(2), "{arguments:?}: {outcome:?}");
        assert!(outcome.stderr.contains(text), "{arguments:?}: {outcome:?}");
    }
}
