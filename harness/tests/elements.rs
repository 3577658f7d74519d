//! Queues of elements of any type, found in an object's BTF: bpf/tests/elements.bpf.c.

mod support;

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use arenaq::arena::{Arena, ArenaError, CreateError, QueueInfo};
use arenaq::bytemuck::{Pod, Zeroable, bytes_of};
use arenaq::payload::Element;
use arenaq::structures::Kind;
use arenaq::{PopError, PushError};
use arenaq_harness::{Instructions, verifier};
use arenaq_libbpf::{Error, Queues, program};
use libbpf_rs::{Object, ObjectBuilder, OpenObject};
use support::{kernel, objects};

/// An element of `elements.bpf.c`: an array of words, with what C leaves as padding behind it.
trait Sample: Element + Debug + PartialEq {
    /// Its name there is `e` and this size.
    const SIZE: usize;
    const WORD: usize;
    const ON_STACK: bool;

    /// The element of that number.
    fn numbered(number: u64) -> Self {
        let mut element = Self::zeroed();
        let bytes = arenaq::bytemuck::bytes_of_mut(&mut element);
        for (i, place) in (0u64..).zip(bytes[..Self::SIZE].chunks_exact_mut(Self::WORD)) {
            let word = match Self::WORD {
                1 => (number >> (8 * (i & 3))) ^ (i & !3),
                _ => number.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            };
            place.copy_from_slice(&word.to_le_bytes()[..Self::WORD]);
        }
        element
    }

    /// Fails if it is not the element of that number, and says where.
    fn assert_is(&self, number: u64, what: &str) {
        let expected = Self::numbered(number);
        let differs = bytes_of(self).iter().zip(bytes_of(&expected)).position(|(is, should)| is != should);
        assert_eq!(differs, None, "{what}: the first byte of element {number} that is not as it was pushed");
    }

    /// Its number.
    fn number(&self) -> u64 {
        let bytes = bytes_of(self);
        u64::from(u32::from_le_bytes(*bytes.first_chunk().expect("each has 4 bytes")))
    }
}

macro_rules! samples {
    ($($name:ident: $word:ty, $words:literal, $padding:literal, $on_stack:literal;)*) => {$(
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
        struct $name {
            words: [$word; $words],
            _padding: [$word; $padding],
        }
        arenaq::element!($name { words, _padding });
        impl Sample for $name {
            const SIZE: usize = $words * size_of::<$word>();
            const WORD: usize = size_of::<$word>();
            const ON_STACK: bool = $on_stack;
        }
    )*};
}

samples! {
    E8: u64, 1, 0, true;
    E16: u64, 2, 0, true;
    E24: u64, 3, 0, true;
    E304: u64, 38, 0, true;
    E1024: u64, 128, 0, false;
    E4096: u64, 512, 0, false;
    E12: u32, 3, 1, true;
    E20: u32, 5, 1, true;
    E13: u8, 13, 3, true;
}

/// Calls a function with each of them.
macro_rules! for_each_sample {
    ($function:ident($($argument:expr),*)) => {{
        $function::<E8>($($argument),*);
        $function::<E16>($($argument),*);
        $function::<E24>($($argument),*);
        $function::<E304>($($argument),*);
        $function::<E1024>($($argument),*);
        $function::<E4096>($($argument),*);
        $function::<E12>($($argument),*);
        $function::<E20>($($argument),*);
        $function::<E13>($($argument),*);
    }};
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
struct Tally {
    success: u64,
    nomem: u64,
    busy: u64,
    invalid: u64,
    other: u64,
    wrong: u64,
}

impl Tally {
    fn total(&self) -> u64 {
        self.success + self.nomem + self.busy + self.invalid + self.other
    }

    fn plus(self, more: Tally) -> Tally {
        Tally {
            success: self.success + more.success,
            nomem: self.nomem + more.nomem,
            busy: self.busy + more.busy,
            invalid: self.invalid + more.invalid,
            other: self.other + more.other,
            wrong: self.wrong + more.wrong,
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
struct Drive {
    producer: u64,
    first: u64,
    count: u64,
    done: u64,
    cpu: u64,
    tallies: [Tally; 3],
}

/// How many elements each of the queues of one size holds.
const CAPACITY: u64 = 64;

fn open(instructions: Instructions) -> OpenObject {
    let object: &[u8] = match instructions {
        Instructions::AcquireRelease => include_bytes!(env!("ARENAQ_ELEMENTS_ACQUIRE_RELEASE")),
        Instructions::Tso => include_bytes!(env!("ARENAQ_ELEMENTS_TSO")),
        Instructions::FullBarrier => include_bytes!(env!("ARENAQ_ELEMENTS_FULL_BARRIER")),
    };
    ObjectBuilder::default().open_memory(object).expect("it was compiled")
}

/// The loaded object; only those programs that are asked for.
fn load(instructions: Instructions, wanted: impl Fn(&str) -> bool) -> (Queues, Object) {
    let mut open = open(instructions);
    for mut program in open.progs_mut() {
        let load = wanted(program.name().to_str().expect("a name in C"));
        program.set_autoload(load);
    }
    let queues = Queues::of(&open).expect("it has queues");
    let object = queues.load(open).unwrap_or_else(|error| panic!("{}: {error}", instructions.name()));
    (queues, object)
}

/// Runs a program until it has done all, and adds up what it counted.
fn drive(object: &Object, name: &str, (producer, first, count): (u64, u64, u64)) -> [Tally; 3] {
    let (mut done, mut tallies) = (0, [Tally::default(); 3]);
    while done < count {
        let mut context = Drive { producer, first: first + done, count: count - done, ..Drive::default() };
        program::run(object, name, &mut context).expect("the program runs");
        done += context.done;
        for (sum, tally) in tallies.iter_mut().zip(context.tallies) {
            *sum = sum.plus(tally);
        }
    }
    tallies
}

fn info(arena: &Arena<'_>, name: &str) -> QueueInfo {
    arena.queues().find(|queue| queue.name.as_str() == name).expect("it was made")
}

/// What was dropped of a queue: full, contended, invalid, corrupt.
fn dropped(arena: &Arena<'_>, name: &str) -> [u64; 4] {
    let dropped = info(arena, name).dropped.expect("pushes count");
    [dropped.full, dropped.contended, dropped.invalid, dropped.corrupt]
}

#[test]
fn every_byte_of_an_element_of_any_size_comes_from_the_kernel_and_what_finds_no_room_is_counted() {
    let Some(_guard) = kernel("elements from the kernel") else { return };
    for instructions in objects() {
        let (queues, object) = load(instructions, |name| name.contains("_from_"));
        let arena = queues.create(&object).expect("the queues fit");
        for_each_sample!(push_and_check(&object, &arena));
    }
}

/// More elements than fit, from the stack and from a map, pop by pop.
fn push_and_check<T: Sample>(object: &Object, arena: &Arena<'_>) {
    for (kind, places) in [("mpmc", ["stack", "map"]), ("mpsc", ["stack", "map"])] {
        let queue = format!("{kind}_{}", T::SIZE);
        let mut consumer = arena.consumer::<T>(&queue).unwrap_or_else(|error| panic!("{error}"));
        let mut full = 0;
        for place in places.into_iter().filter(|place| *place == "map" || T::ON_STACK) {
            // Three laps, and some that do not fit.
            for lap in 0..3u64 {
                let (first, count) = (1000 * lap + 7, CAPACITY + 20);
                let [tally, ..] = drive(object, &format!("{queue}_from_{place}"), (0, first, count));
                // The pool of an MPSC queue has a few nodes more than elements.
                assert!((CAPACITY..count).contains(&tally.success), "{queue} {tally:?}");
                assert_eq!(tally.success + tally.nomem, count, "{queue} {tally:?}");
                full += tally.nomem;
                assert_eq!(dropped(arena, &queue), [full, 0, 0, 0], "{queue} counts as the program did");
                for number in first..first + tally.success {
                    consumer
                        .pop()
                        .expect("it was pushed")
                        .assert_is(number, &format!("{queue} from the {place}"));
                }
                assert_eq!(consumer.pop().err(), Some(PopError::Empty), "{queue}");
            }
        }
        assert!(full > 0, "{queue} was full");
    }
}

#[test]
fn every_byte_of_an_element_of_any_size_comes_to_the_kernel() {
    let Some(_guard) = kernel("elements to the kernel") else { return };
    for instructions in objects() {
        let (queues, object) = load(instructions, |name| name.contains("_to_"));
        let arena = queues.create(&object).expect("the queues fit");
        for_each_sample!(pop_in_the_kernel(&object, &arena));
    }
}

fn pop_in_the_kernel<T: Sample>(object: &Object, arena: &Arena<'_>) {
    let name = format!("mpmc_{}", T::SIZE);
    let queue = arena.queue::<T>(&name).unwrap_or_else(|error| panic!("{error}"));
    for place in ["stack", "map"].into_iter().filter(|place| *place == "map" || T::ON_STACK) {
        for lap in 0..3u64 {
            let first = 1000 * lap + 7;
            for number in first..first + CAPACITY {
                queue.push(T::numbered(number)).expect("there is room");
            }
            assert_eq!(queue.push(T::numbered(0)), Err(PushError::Full));
            let [tally, ..] = drive(object, &format!("{name}_to_{place}"), (0, first, CAPACITY + 5));
            let popped = Tally { success: CAPACITY, other: 5, ..Tally::default() };
            assert_eq!(
                tally, popped,
                "{name} to the {place}: each is what was pushed, then nothing is there"
            );
        }
    }
}

#[test]
fn a_push_into_a_queue_that_nobody_has_made_is_invalid_and_counted() {
    let Some(_guard) = kernel("queues that nobody has made") else { return };
    for instructions in objects() {
        let wanted = ["mpmc_16_from_stack", "mpsc_16_from_map", "mpmc_16_to_stack", "dropped"];
        let (queues, object) = load(instructions, |name| wanted.contains(&name));
        for program in &wanted[..2] {
            let [tally, ..] = drive(&object, program, (0, 0, 10));
            assert_eq!(tally, Tally { invalid: 10, ..Tally::default() }, "{program}");
        }
        let [tally, ..] = drive(&object, "mpmc_16_to_stack", (0, 0, 1));
        assert_eq!(tally, Tally { invalid: 1, ..Tally::default() }, "a pop is no drop");
        let mut counted = Drive::default();
        program::run(&object, "dropped", &mut counted).expect("it runs");
        assert_eq!(counted.tallies.map(|tally| tally.invalid), [10, 10, 0]);

        let arena = queues.create(&object).expect("the queues fit");
        let [tally, ..] = drive(&object, "mpmc_16_from_stack", (0, 0, 10));
        assert_eq!(tally, Tally { success: 10, ..Tally::default() }, "now it is made");
        assert_eq!(dropped(&arena, "mpmc_16"), [0; 4], "the account begins with the queue");
    }
}

/// How many threads overload three queues, and with how many elements each.
const PRODUCERS: u64 = 4;
const EACH: u64 = 5000;

#[test]
fn the_accounts_of_three_queues_of_different_types_and_capacities_are_exact_under_overload() {
    let Some(_guard) = kernel("three overloaded queues") else { return };
    for instructions in objects() {
        let (queues, object) = load(instructions, |name| name == "overload");
        let arena = queues.create(&object).expect("the queues fit");
        let capacities = ["small", "middle", "large"].map(|name| info(&arena, name).capacity);
        assert!(capacities[0] >= 60 && capacities[1] == 32 && capacities[2] >= 10, "{capacities:?}");

        let ended = AtomicBool::new(false);
        let (pushed, popped) = thread::scope(|scope| {
            let consumers = (
                scope.spawn(|| consume::<E12>(&arena, "small", &ended)),
                scope.spawn(|| consume::<E304>(&arena, "middle", &ended)),
                scope.spawn(|| consume::<E4096>(&arena, "large", &ended)),
            );
            let producers: Vec<_> = (0..PRODUCERS)
                .map(|producer| {
                    let object = &object;
                    scope.spawn(move || drive(object, "overload", (producer, producer << 24, EACH)))
                })
                .collect();
            let mut pushed = [Tally::default(); 3];
            for producer in producers {
                let tallies = producer.join().expect("it ends");
                pushed = std::array::from_fn(|i| pushed[i].plus(tallies[i]));
            }
            ended.store(true, Ordering::Release);
            let (small, middle, large) = consumers;
            (pushed, [small, middle, large].map(|consumer| consumer.join().expect("each was whole")))
        });
        for (i, name) in ["small", "middle", "large"].into_iter().enumerate() {
            let [full, contended, invalid, corrupt] = dropped(&arena, name);
            assert_eq!(pushed[i].total(), PRODUCERS * EACH, "{name}");
            assert_eq!(popped[i] + full + contended, PRODUCERS * EACH, "{name}: nothing is lost or doubled");
            assert_eq!(
                (popped[i], full, contended),
                (pushed[i].success, pushed[i].nomem, pushed[i].busy),
                "{name}"
            );
            assert_eq!((invalid, corrupt), (0, 0), "{name}");
        }
        assert!(dropped(&arena, "large")[0] > 0, "it was overloaded");
    }
}

/// Pops until all has ended; each element must be whole, and in its producer's order.
fn consume<T: Sample>(arena: &Arena<'_>, name: &str, ended: &AtomicBool) -> u64 {
    let mut consumer = arena.consumer::<T>(name).unwrap_or_else(|error| panic!("{error}"));
    let (mut popped, mut last) = (0, [None; PRODUCERS as usize]);
    loop {
        let all_pushed = ended.load(Ordering::Acquire);
        match consumer.pop() {
            Ok(element) => {
                let number = element.number();
                element.assert_is(number, name);
                let last = &mut last[(number >> 24) as usize];
                assert!(last.is_none_or(|last| last < number), "{name}: {number} after {last:?}");
                *last = Some(number);
                popped += 1;
            }
            Err(PopError::Empty) if all_pushed => return popped,
            Err(PopError::Empty | PopError::Busy | PopError::Contended) => thread::yield_now(),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn an_array_has_a_queue_for_each_cpu() {
    let Some(_guard) = kernel("queues in an array") else { return };
    for instructions in objects() {
        let (queues, object) = load(instructions, |name| name == "push_here");
        let arena = queues.create(&object).expect("the queues fit");
        let mut consumers: Vec<_> =
            (0..8).map(|i| arena.consumer::<E16>(&format!("per_cpu[{i}]")).expect("it was made")).collect();
        for number in 0..50 {
            let mut context = Drive { first: number, ..Drive::default() };
            program::run(&object, "push_here", &mut context).expect("it runs");
            assert_eq!(context.tallies[0].success, 1);
            for (i, consumer) in (0u64..).zip(&mut consumers) {
                let expected =
                    if i == context.cpu { Ok(E16::numbered(number)) } else { Err(PopError::Empty) };
                assert_eq!(consumer.pop(), expected, "queue {i}, pushed on {}", context.cpu);
            }
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Renamed {
    word: [u64; 2],
}
arenaq::element!(Renamed { word });

#[test]
fn a_queue_is_refused_for_elements_of_another_type_or_size() {
    let Some(_guard) = kernel("elements of another type") else { return };
    for instructions in objects() {
        let (queues, object) = load(instructions, |name| name == "push_here");
        let arena = queues.create(&object).expect("the queues fit");
        let type_error = arena.queue::<Renamed>("mpsc_16").expect_err("a field has another name");
        assert!(matches!(type_error, ArenaError::ElementType { .. }), "{type_error}");
        let size_error = arena.consumer::<E24>("mpmc_16").expect_err("an element is larger");
        assert!(
            matches!(size_error, ArenaError::ElementSize { found: 16, expected: 24, .. }),
            "{size_error}"
        );
        arena.queue::<E16>("mpmc_16").expect("this is its type");
        arena.queue::<[u64; 2]>("mpmc_16").expect("of this type nothing is known");
    }
}

#[test]
fn the_queues_of_an_object_are_found_before_it_is_loaded() {
    for instructions in Instructions::ALL {
        let open = open(instructions);
        let queues = Queues::of(&open).expect("it has queues");
        for_each_sample!(assert_declared(&queues));
        let array: Vec<_> =
            queues.iter().filter(|queue| queue.name.as_str().starts_with("per_cpu[")).collect();
        let names: Vec<_> = array.iter().map(|queue| queue.name.as_str()).collect();
        assert_eq!(names, (0..8).map(|i| format!("per_cpu[{i}]")).collect::<Vec<_>>());
        assert!(array.iter().all(|queue| queue.kind == Kind::Mpsc && queue.capacity == 100));
        assert_eq!(queues.iter().count(), 2 * 9 + 3 + 8);
    }
}

fn assert_declared<T: Sample>(queues: &Queues) {
    for (kind, name) in [(Kind::Mpmc, "mpmc"), (Kind::Mpsc, "mpsc")] {
        let name = format!("{name}_{}", T::SIZE);
        let queue = queues.iter().find(|queue| queue.name.as_str() == name).expect("it is declared");
        assert_eq!((queue.kind, queue.capacity), (kind, CAPACITY), "{name}");
        assert_eq!(queue.element, arenaq::payload::ElementType::of::<T>(), "{name}: as Rust has it");
    }
}

#[test]
fn a_capacity_that_cannot_be_is_refused_before_the_load_with_what_would_do() {
    let open = open(Instructions::Tso);
    let mut queues = Queues::of(&open).expect("it has queues");
    let pages = queues.pages().expect("they fit");
    let error = queues.set_capacity("mpmc_16", 100).expect_err("not a power of two").to_string();
    assert_eq!(error, "the queue `mpmc_16`: a capacity of 100 is not a power of two: the next is 128");
    let error = queues.set_capacity("mpsc_16", 0).expect_err("no queue").to_string();
    assert!(error.starts_with("the queue `mpsc_16`: an MPSC queue of 0 elements is not possible"), "{error}");
    let error = queues.set_capacity("mpsc_17", 1).expect_err("no such queue").to_string();
    assert!(error.contains("no queue `mpsc_17`; it has ") && error.contains("`mpsc_16`"), "{error}");
    let error = queues.set_capacity("per_cpu[8]", 1).expect_err("there are 8").to_string();
    assert!(error.contains("`per_cpu[7]`"), "{error}");
    assert_eq!(queues.pages().expect("nothing has changed"), pages);

    queues.set_capacity("per_cpu", 5000).expect("all eight");
    assert_eq!(queues.iter().filter(|queue| queue.capacity == 5000).count(), 8);
    assert!(queues.pages().expect("they fit") > pages + 8 * 5000 * 32 / 4096);
    queues.set_capacity("mpmc_4096", 1 << 20).expect("one alone would fit a larger arena");
    let error = queues.pages().expect_err("4 GiB and a little").to_string();
    assert!(error.contains("4294967296") && error.contains("smaller"), "{error}");
}

#[test]
fn a_capacity_set_before_the_load_is_the_one_that_the_kernel_has() {
    let Some(_guard) = kernel("capacities set before the load") else { return };
    for instructions in objects() {
        let mut open = open(instructions);
        for mut program in open.progs_mut() {
            let load = program.name() == "mpmc_4096_from_map" || program.name() == "mpsc_4096_from_map";
            program.set_autoload(load);
        }
        let mut queues = Queues::of(&open).expect("it has queues");
        // Between the beginnings of two of so many cells or nodes, each 8 bytes longer than a page, lies a whole page.
        for name in ["mpmc_4096", "mpsc_4096"] {
            queues.set_capacity(name, 1024).expect("a power of two");
        }
        let object = queues.load(open).expect("it loads");
        let arena = queues.create(&object).expect("the queues fit");
        for name in ["mpmc_4096", "mpsc_4096"] {
            let [tally, ..] = drive(&object, &format!("{name}_from_map"), (0, 0, 2000));
            assert!((1024..1700).contains(&tally.success), "{tally:?}");
            assert_eq!(tally.success + tally.nomem, 2000);
            let mut consumer = arena.consumer::<E4096>(name).expect("it was made");
            for number in 0..tally.success {
                consumer.pop().expect("it was pushed").assert_is(number, name);
            }
            assert_eq!(consumer.pop().err(), Some(PopError::Empty));
        }
    }
}

#[test]
fn the_queues_of_an_object_are_made_once_and_only_if_it_was_made_ready() {
    let Some(_guard) = kernel("queues made once") else { return };
    let instructions = objects()[0];
    let (queues, object) = load(instructions, |name| name == "push_here");
    assert!(matches!(queues.attach(&object), Err(Error::NotMade)));
    let arena = queues.create(&object).expect("the queues fit");
    assert!(matches!(queues.create(&object), Err(Error::Made)));
    let again = queues.attach(&object).expect("they are made");
    arena.queue::<E16>("mpmc_16").expect("made").push(E16::numbered(1)).expect("room");
    assert_eq!(again.consumer::<E16>("mpmc_16").expect("made").pop(), Ok(E16::numbered(1)));

    let mut open = open(instructions);
    for mut program in open.progs_mut() {
        program.set_autoload(false);
    }
    let queues = Queues::of(&open).expect("it has queues");
    let object = open.load().expect("it loads");
    assert!(matches!(queues.create(&object), Err(Error::NotPrepared)));
}

#[test]
fn an_object_without_an_arena_or_without_queues_says_what_is_missing() {
    let open = |object: &[u8]| ObjectBuilder::default().open_memory(object).expect("it was compiled");
    let error = Queues::of(&open(include_bytes!(env!("ARENAQ_REFUSED")))).expect_err("no arena");
    assert!(matches!(error, Error::NoArena), "{error}");
    let error = Queues::of(&open(include_bytes!(env!("ARENAQ_SEEDS_TSO")))).expect_err("no queue");
    assert!(matches!(error, Error::NoQueues), "{error}");
    assert!(error.to_string().contains("ARENAQ_MPMC"), "{error}");
}

#[test]
fn queues_of_other_capacities_than_the_object_was_loaded_with_do_not_fit() {
    let Some(_guard) = kernel("queues that do not fit") else { return };
    let (mut queues, object) = load(objects()[0], |name| name == "push_here");
    queues.set_capacity("mpsc_4096", 1 << 16).expect("a capacity");
    let error = queues.create(&object).expect_err("it does not fit");
    assert!(matches!(error, Error::Create(CreateError::Arena(ArenaError::NoSpace { .. }))), "{error}");
}

#[test]
fn what_an_operation_costs_the_verifier_grows_with_the_words_that_are_copied_and_stays_far_from_its_limit() {
    let Some(_guard) = kernel("costs of an operation") else { return };
    for instructions in objects() {
        for (queue, operation) in [("mpmc", "push"), ("mpmc", "pop"), ("mpsc", "push")] {
            let costs = [8, 16, 24, 304, 1024, 4096]
                .map(|bytes| (bytes / 8, verified_instructions(instructions, queue, operation, bytes)));
            let [(_, one_word), ..] = costs;
            for (words, cost) in costs {
                // A word is a load and a store, on the one path that leads to the copy; more than 512 bytes are copied in a loop,
                // which has instructions of its own.
                assert!(
                    cost <= one_word + 6 * (words - 1),
                    "{} {queue} {operation}: {costs:?}",
                    instructions.name()
                );
            }
            // The limit is a million.
            assert!(
                costs.iter().all(|(_, cost)| *cost < 10_000),
                "{} {queue} {operation} {costs:?}",
                instructions.name()
            );
        }
    }
}

/// How many instructions the verifier follows in a program with one operation. `cargo xtask kernels` reads the line that this
/// writes.
fn verified_instructions(instructions: Instructions, queue: &str, operation: &str, bytes: u64) -> u64 {
    let program = format!("one_{queue}_{operation}_{bytes}");
    match verifier::load_alone(|| Ok(open(instructions)), &program) {
        verifier::Outcome::Accepted { verified_instructions, states } => {
            let cost = serde_json::json!({
                "instructions": instructions.name(),
                "queue": queue,
                "operation": operation,
                "bytes": bytes,
                "verified_instructions": verified_instructions,
                "states": states,
            });
            println!("COST {cost}");
            verified_instructions
        }
        verifier::Outcome::Refused { error } => panic!("{} {program}: {error}", instructions.name()),
    }
}
