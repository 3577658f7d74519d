//! The queues at work in this machine's kernel.

mod support;

use arenaq::count::Counted;
use arenaq_libbpf::{MPMC, MPSC};
use std::collections::HashMap;
use std::ops::Range;
use std::thread;

use arenaq::arena::Owner;
use arenaq::platform::Native;
use arenaq::records::Record;
use arenaq::{KeyValue, PopError, Status};
use arenaq_harness::{Config, Hook, Instructions, Kernel, QueueKind};
use arenaq_libbpf::load_object;
use crossbeam_utils::Backoff;
use libbpf_rs::{ObjectBuilder, ProgramInput};
use support::{ALL_KINDS, QUEUES, kernel, kernel_with, objects};

/// For so many elements, and, of records, on whichever CPU they come.
fn config(queue: QueueKind, capacity: u64) -> Config {
    let capacity = if queue == QueueKind::Records { capacity << 11 } else { capacity };
    Config { queue, capacity, hook: Hook::Drive, ..Config::default() }
}

/// Pops everything that is there, whatever the queue.
fn drain(loaded: &Kernel, queue: QueueKind) -> Vec<KeyValue> {
    let arena = loaded.arena().expect("the arena is ours");
    let mut events = Vec::new();
    match queue {
        QueueKind::Mpmc => {
            let queue = arena.mpmc::<KeyValue, Counted>(MPMC).expect("the queue was made");
            while let Ok(event) = queue.pop() {
                events.push(event);
            }
        }
        QueueKind::Mpsc => {
            let mut consumer = arena.mpsc_consumer::<KeyValue, Counted>(MPSC).expect("nobody else consumes");
            while let Ok(event) = consumer.pop() {
                events.push(event);
            }
        }
        QueueKind::Records => {
            let mut records = loaded.records("records").expect("nobody else consumes");
            let drained = records.drain(u64::MAX, |record| events.push(event_of(&record)));
            drained.expect("it is not damaged");
        }
    }
    events
}

/// What a record is of: `struct arenaq_event` in programs.h.
fn event_of(record: &Record<'_, Native>) -> KeyValue {
    let [_lane, time, task, _number] = record.read().expect("an event");
    KeyValue { key: task, value: time }
}

/// Drives until `count` events were tried.
fn drive(loaded: &Kernel, key: u64, count: u64) {
    let mut done = 0;
    while done < count {
        done += loaded.drive(key, count - done).expect("the program runs");
    }
}

fn assert_verified(loaded: &Kernel, queue: QueueKind) {
    let arena = loaded.arena().expect("the arena is ours");
    match queue {
        QueueKind::Mpmc => {
            arena
                .mpmc::<KeyValue, Counted>(MPMC)
                .expect("the queue was made")
                .verify_quiesced()
                .expect("the queue is whole");
        }
        QueueKind::Mpsc => {
            arena
                .mpsc_consumer::<KeyValue, Counted>(MPSC)
                .expect("nobody else consumes")
                .verify_quiesced()
                .expect("the queue is whole");
        }
        QueueKind::Records => {
            return arena
                .records("records", Owner::ANONYMOUS)
                .expect("they were made")
                .verify()
                .expect("they are whole");
        }
    }
    assert_eq!(loaded.verify().expect("the program runs"), Status::Success, "the kernel's own verification");
}

#[test]
fn a_c_program_written_to_the_seeds_gets_the_statuses_that_they_promise() {
    let Some(_guard) = kernel("seeds") else { return };
    for instructions in objects() {
        run_checks(instructions, seeds(instructions), &["check_vyukhov"]);
        run_checks(instructions, seeds(instructions), &["check_mpsc"]);
    }
}

#[test]
fn a_c_program_grows_a_pool_of_its_own() {
    let Some(_guard) = kernel("growth from C") else { return };
    for instructions in objects() {
        let checks = [
            "check_growth_that_cannot_be",
            "check_pool_that_can_grow",
            "check_inserts_that_grow",
            "check_growth_to_the_end",
        ];
        run_checks(instructions, seeds(instructions), &checks);
    }
}

#[test]
fn a_c_program_without_counters_never_touches_them() {
    let Some(_guard) = kernel("queues without counters") else { return };
    for instructions in objects() {
        let object: &[u8] = match instructions {
            Instructions::AcquireRelease => include_bytes!(env!("ARENAQ_UNCOUNTED_ACQUIRE_RELEASE")),
            Instructions::Tso => include_bytes!(env!("ARENAQ_UNCOUNTED_TSO")),
            Instructions::FullBarrier => include_bytes!(env!("ARENAQ_UNCOUNTED_FULL_BARRIER")),
        };
        run_checks(instructions, object, &["check_uncounted"]);
    }
}

/// bpf/tests/seeds.bpf.c.
fn seeds(instructions: Instructions) -> &'static [u8] {
    match instructions {
        Instructions::AcquireRelease => include_bytes!(env!("ARENAQ_SEEDS_ACQUIRE_RELEASE")),
        Instructions::Tso => include_bytes!(env!("ARENAQ_SEEDS_TSO")),
        Instructions::FullBarrier => include_bytes!(env!("ARENAQ_SEEDS_FULL_BARRIER")),
    }
}

/// Runs programs of bpf/tests one after another in one arena, without the others of their object.
fn run_checks(instructions: Instructions, object: &[u8], checks: &[&str]) {
    let name = instructions.name();
    let open = || {
        let mut open = ObjectBuilder::default().open_memory(object)?;
        for mut program in open.progs_mut() {
            let wanted = checks.iter().any(|check| program.name() == *check);
            program.set_autoload(wanted);
        }
        Ok(open)
    };
    let loaded = load_object(&format!("{name}: {checks:?}"), open).unwrap_or_else(|error| panic!("{error}"));
    for check in checks {
        let program =
            loaded.progs_mut().find(|program| program.name() == *check).expect("the check is there");
        let mut result = [0u8; 16];
        let input = ProgramInput { context_in: Some(&mut result), ..ProgramInput::default() };
        program.test_run(input).expect("the program runs");
        let line = u64::from_ne_bytes(result[..8].try_into().expect("eight bytes"));
        let status = i64::from_ne_bytes(result[8..].try_into().expect("eight bytes"));
        assert_eq!(line, 0, "{name}: line {line} of the file of {check} got {status}");
    }
}

#[test]
fn what_the_kernel_pushes_userspace_pops_in_order_and_all_of_it() {
    let Some(_guard) = kernel("push in the kernel") else { return };
    for instructions in objects() {
        for queue in ALL_KINDS {
            let config = Config { instructions: Some(instructions), ..config(queue, 1 << 14) };
            let loaded = Kernel::load(&config).expect("the kernel can run it");
            assert_eq!(loaded.instructions(), instructions);
            // Several laps and much reuse of nodes.
            for round in 0..5 {
                drive(&loaded, round, 10_000);
                let events = drain(&loaded, queue);
                assert_eq!(events.len(), 10_000, "{queue:?} {instructions:?}");
                assert!(events.iter().all(|event| event.key == round));
                assert!(events.is_sorted_by_key(|event| event.value), "times in the order of the pushes");
                assert_verified(&loaded, queue);
            }
            let counters = loaded.counters().expect("the map is there");
            assert_eq!((counters.produced, counters.pushed), (50_000, 50_000));
        }
    }
}

#[test]
fn producers_on_every_cpu_lose_nothing_while_userspace_consumes() {
    const PRODUCERS: u64 = 4;
    const EACH: u64 = 50_000;
    let Some(_guard) = kernel("several producers") else { return };
    for queue in QUEUES {
        let loaded = Kernel::load(&config(queue, 1 << 18)).expect("the kernel can run it");
        let seen = thread::scope(|scope| {
            for key in 0..PRODUCERS {
                let loaded = &loaded;
                scope.spawn(move || drive(loaded, key, EACH));
            }
            let arena = loaded.arena().expect("the arena is ours");
            let mut consumer = (queue == QueueKind::Mpsc)
                .then(|| arena.mpsc_consumer::<KeyValue, Counted>(MPSC).expect("nobody else consumes"));
            let mpmc = (queue == QueueKind::Mpmc)
                .then(|| arena.mpmc::<KeyValue, Counted>(MPMC).expect("the queue was made"));
            let mut seen: HashMap<u64, Vec<u64>> = HashMap::new();
            let mut count = 0;
            let backoff = Backoff::new();
            while count < PRODUCERS * EACH {
                let popped = match (&mut consumer, &mpmc) {
                    (Some(consumer), _) => consumer.pop(),
                    (None, Some(queue)) => queue.pop(),
                    (None, None) => Err(PopError::Invalid),
                };
                match popped {
                    Ok(event) => {
                        seen.entry(event.key).or_default().push(event.value);
                        count += 1;
                        backoff.reset();
                    }
                    Err(PopError::Empty | PopError::Busy | PopError::Contended) => backoff.snooze(),
                    Err(error) => panic!("{queue:?}: {error}"),
                }
            }
            seen
        });
        assert_eq!(seen.len() as u64, PRODUCERS);
        for (key, times) in seen {
            assert_eq!(times.len() as u64, EACH, "producer {key} of {queue:?}");
            assert!(times.is_sorted(), "producer {key} of {queue:?}: in its own order");
        }
        assert_verified(&loaded, queue);
    }
}

#[test]
fn a_full_queue_and_an_empty_pool_drop_exactly_what_does_not_fit() {
    let Some(_guard) = kernel("overload") else { return };
    for queue in QUEUES {
        let loaded = Kernel::load(&config(queue, 64)).expect("the kernel can run it");
        for round in 1..=3 {
            drive(&loaded, round, 1000);
            let counters = loaded.counters().expect("the map is there");
            assert_eq!(counters.produced, 1000 * round);
            assert_eq!(counters.pushed, 64 * round, "{queue:?}");
            assert_eq!(counters.nomem, 936 * round, "{queue:?}");
            assert_eq!(counters.busy + counters.invalid, 0);
            assert_verified(&loaded, queue);
            let events = drain(&loaded, queue);
            assert_eq!(events.len(), 64);
            assert!(events.is_sorted_by_key(|event| event.value), "order holds after the overload");
            assert!(events.iter().all(|event| event.key == round), "nothing of an earlier round is left");
        }
    }
}

#[test]
fn a_pool_of_any_size_is_used_to_its_last_node() {
    let Some(_guard) = kernel("odd capacities") else { return };
    for capacity in [1, 3, 7, 1021] {
        let loaded = Kernel::load(&config(QueueKind::Mpsc, capacity)).expect("the kernel can run it");
        let nodes = arenaq::pool::nodes_for(capacity).0 - 1;
        drive(&loaded, 1, nodes + 5);
        assert_eq!(drain(&loaded, QueueKind::Mpsc).len() as u64, nodes);
        for round in 0..20 {
            drive(&loaded, 2, nodes + 5);
            let came_back = drain(&loaded, QueueKind::Mpsc).len() as u64;
            assert!(
                (capacity..=nodes).contains(&came_back),
                "{came_back} of {capacity} came back in round {round}"
            );
        }
    }
}

#[test]
fn a_pool_that_userspace_grows_serves_the_kernel_at_once() {
    let Some(_guard) = kernel("growth") else { return };
    let config = Config { limit: 5000, ..config(QueueKind::Mpsc, 100) };
    let loaded = Kernel::load(&config).expect("the kernel can run it");
    let producer = loaded
        .arena()
        .expect("the arena is ours")
        .mpsc_producer::<KeyValue, Counted>(MPSC)
        .expect("the queue was made");
    let (limit, block) = arenaq::pool::nodes_for(5000);
    let at_first = (100 + limit - 5000).next_multiple_of(block.into()) - 1;
    drive(&loaded, 1, at_first + 50);
    assert_eq!(loaded.counters().expect("the map is there").pushed, at_first);
    producer.grow(limit - 1 - at_first).expect("there is room for 5000");
    drive(&loaded, 2, limit);
    assert_eq!(loaded.counters().expect("the map is there").pushed, limit - 1);
    assert!(producer.grow(1).is_err(), "the limit is reached");
    let events = drain(&loaded, QueueKind::Mpsc);
    assert_eq!(events.len() as u64, limit - 1);
    assert!(
        events.iter().all(|event| event.value != 0),
        "every node's page was there when the kernel wrote it"
    );
    assert_verified(&loaded, QueueKind::Mpsc);
}

#[test]
fn what_userspace_pushes_the_kernel_pops() {
    let Some(_guard) = kernel("pop in the kernel") else { return };
    for instructions in objects() {
        let config = Config { instructions: Some(instructions), ..config(QueueKind::Mpmc, 256) };
        let loaded = Kernel::load(&config).expect("the kernel can run it");
        let queue = loaded
            .arena()
            .expect("the arena is ours")
            .mpmc::<KeyValue, Counted>(MPMC)
            .expect("the queue was made");
        assert_eq!(loaded.pop().expect("the program runs"), Err(Status::NotFound));
        thread::scope(|scope| {
            let producer = scope.spawn(move || {
                let backoff = Backoff::new();
                for number in 0..20_000 {
                    while queue.push(KeyValue { key: number, value: !number }).is_err() {
                        backoff.snooze();
                    }
                }
            });
            let mut expected = 0;
            while expected < 20_000 {
                match loaded.pop().expect("the program runs") {
                    Ok(event) => {
                        assert_eq!(event, KeyValue { key: expected, value: !expected });
                        expected += 1;
                    }
                    Err(Status::NotFound | Status::Busy) => thread::yield_now(),
                    Err(status) => panic!("{status:?}"),
                }
            }
            producer.join().expect("the producer ends");
        });
        assert_eq!(loaded.pop().expect("the program runs"), Err(Status::NotFound));
        assert_verified(&loaded, QueueKind::Mpmc);
    }
}

#[test]
fn only_traced_tasks_make_events_and_only_while_attached() {
    let Some(_guard) = kernel_with(Hook::SysEnter, "filter") else { return };
    let config =
        Config { hook: Hook::SysEnter, syscall: libc::SYS_getppid, ..config(QueueKind::Mpsc, 1 << 12) };
    let loaded = Kernel::load(&config).expect("the kernel can run it");
    let produced = || loaded.counters().expect("the map is there").produced;
    let call = || (0..100).map(|_| std::os::unix::process::parent_id()).max();

    loaded.attach().expect("the hook is allowed");
    assert!(call().is_some());
    assert_eq!(produced(), 0, "a thread that is not traced");
    loaded.detach().expect("the counters are there");

    // A traced process and its child, of which neither is this one.
    let script = "kill -STOP $$; : ; for i in 1 2 3; do (exec /bin/sh -c ':'); done";
    let mut shell =
        std::process::Command::new("/bin/sh").args(["-c", script]).spawn().expect("there is a shell");
    wait_until_stopped(shell.id());
    let config = Config { hook: Hook::Exec, ..config };
    let loaded = Kernel::load(&config).expect("the kernel can run it");
    loaded.trace(shell.id()).expect("it is there");
    loaded.attach().expect("the hook is allowed");
    let status = std::process::Command::new("/bin/kill").args(["-CONT", &shell.id().to_string()]).status();
    assert!(status.expect("kill runs").success());
    assert!(shell.wait().expect("it ends").success());
    loaded.detach().expect("the counters are there");
    let events = drain(&loaded, QueueKind::Mpsc);
    assert_eq!(
        events.len(),
        3,
        "the three programs that its children have started, and not the one that woke it"
    );
    assert!(events.iter().all(|event| event.key >> 32 != u64::from(shell.id())), "they are children");
}

fn wait_until_stopped(process: u32) {
    let path = format!("/proc/{process}/stat");
    for _ in 0..10_000 {
        let stat = std::fs::read_to_string(&path).expect("it is there");
        if stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')) {
            return;
        }
        thread::yield_now();
        thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("process {process} does not stop");
}

#[test]
fn a_queue_can_be_attached_to_only_as_what_it_is() {
    let Some(_guard) = kernel("attach") else { return };
    let loaded = Kernel::load(&config(QueueKind::Mpsc, 16)).expect("the kernel can run it");
    let arena = loaded.arena().expect("the arena is ours");
    assert!(arena.mpmc::<KeyValue, Counted>(MPMC).is_err(), "no such queue was made");
    let consumer = arena.mpsc_consumer::<KeyValue, Counted>(MPSC).expect("the first");
    assert!(arena.mpsc_consumer::<KeyValue, Counted>(MPSC).is_err(), "a second consumer");
    drop(consumer);
    assert!(arena.mpsc_consumer::<KeyValue, Counted>(MPSC).is_ok(), "the next one");
}

#[test]
fn everything_is_gone_from_the_kernel_when_the_handle_is_dropped() {
    let Some(_guard) = kernel_with(Hook::SysEnter, "drop") else { return };
    let before = own_kernel_objects("self");
    let config = Config { hook: Hook::SysEnter, ..config(QueueKind::Mpsc, 16) };
    let loaded = Kernel::load(&config).expect("the kernel can run it");
    loaded.attach().expect("the hook is allowed");
    let during = own_kernel_objects("self");
    assert!(during.len() >= before.len() + 3, "an arena, counters, programs, links: {during:?}");
    drop(loaded);
    assert_eq!(own_kernel_objects("self"), before);
}

/// The BPF objects to which a process has file descriptors.
fn own_kernel_objects(process: &str) -> Vec<String> {
    let mut objects = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{process}/fdinfo")).expect("fdinfo is there").flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        objects.extend(
            text.lines()
                .filter(|line| line.contains("_id:\t") && !line.starts_with("mnt"))
                .map(str::to_owned),
        );
    }
    objects.sort();
    objects
}

#[test]
fn the_pool_of_a_kernel_queue_balances_after_use() {
    let Some(_guard) = kernel("pool balance") else { return };
    let loaded = Kernel::load(&config(QueueKind::Mpsc, 1000)).expect("the kernel can run it");
    let producer = loaded
        .arena()
        .expect("the arena is ours")
        .mpsc_producer::<KeyValue, Counted>(MPSC)
        .expect("the queue was made");
    // All but the stub.
    let nodes = arenaq::pool::nodes_for(1000).0 - 1;
    drive(&loaded, 1, 700);
    assert_eq!(producer.nodes().free_nodes().expect("the list is whole"), nodes - 700);
    drain(&loaded, QueueKind::Mpsc);
    assert_eq!(producer.nodes().free_nodes().expect("the list is whole"), nodes);
    assert!(loaded.counters().expect("the map is there").pushed == 700);
}

/// Where this process has mapped what BPF maps hold.
fn mapped() -> Vec<Range<u64>> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
    let range = |line: &str| {
        let (start, rest) = line.split_once('-').expect("addresses");
        let end = rest.split_once(' ').expect("addresses").0;
        let address = |text: &str| u64::from_str_radix(text, 16).expect("an address");
        address(start)..address(end)
    };
    maps.lines().filter(|line| line.ends_with("bpf-map")).map(range).collect()
}

#[test]
fn an_arena_lies_where_processes_have_nothing_that_they_did_not_ask_for() {
    let Some(_guard) = kernel("addresses of arenas") else { return };
    for queue in ALL_KINDS {
        let before = mapped();
        let loaded = Kernel::load(&config(queue, 4096)).expect("the kernel can run it");
        let new: Vec<_> = mapped().into_iter().filter(|range| !before.contains(range)).collect();
        // The other maps are variables.
        let arena = new.iter().max_by_key(|range| range.end - range.start).expect("it is mapped");
        assert!(arena.start >= 0x1100_0000_0000 && arena.end <= 0x5000_0000_0000, "{queue:?}: {new:x?}");
        drop(loaded);
    }
}
