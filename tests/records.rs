//! Records: every size, laps, producers that interrupt each other at any access, threads, damage, and the order of stamps.

mod support;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use arenaq::platform::{Native, Plain, Platform};
use arenaq::records::{Consumer, ConsumerTaken, Geometry, LANES, Lane, Log, Merge, Record, Records};
use arenaq::{Corruption, PushError, spsc};
use bytemuck::{Pod, Zeroable};
use proptest::prelude::*;
use support::scripted::{Scripted, dying, interrupted, on_processor};
use support::times;

const ME: NonZero<u64> = NonZero::<u64>::MIN;

/// Lanes and words of a platform.
struct Memory<P: Platform> {
    lanes: Vec<Lane<P>>,
    words: Vec<P::Plain<u64>>,
    geometry: Geometry,
}

impl<P: Platform> Memory<P> {
    fn new(geometry: Geometry, start: u64) -> Self {
        Memory {
            lanes: (0..geometry.lanes()).map(|_| Lane::starting_at(start)).collect(),
            words: (0..geometry.words()).map(|_| Plain::new(0)).collect(),
            geometry,
        }
    }

    fn records(&self) -> Records<'_, P> {
        // SAFETY: as many lanes and words as the geometry says, which live beside it and are its alone.
        unsafe { Records::new(&self.lanes, self.words.as_ptr().cast_mut(), self.geometry, ME) }
    }
}

/// What a record has: its number, and its size is told by that.
fn text(number: u64, largest: usize) -> Vec<u8> {
    let size = (number as usize).wrapping_mul(37) % (largest + 1);
    number.to_le_bytes().into_iter().cycle().take(size).collect()
}

fn bytes<P: Platform>(record: &Record<'_, P>) -> Vec<u8> {
    let mut bytes: Vec<u8> = record.words().flat_map(u64::to_ne_bytes).collect();
    bytes.truncate(record.size());
    bytes
}

fn drain<P: Platform>(consumer: &mut Consumer<'_, P>, limit: u64) -> Vec<(u64, Vec<u8>)> {
    let mut seen = Vec::new();
    let drained = consumer.drain_in_place(limit, |record| seen.push((record.stamp(), bytes(&record))));
    assert_eq!(drained, Ok(seen.len() as u64));
    seen
}

#[test]
fn records_of_every_size_come_out_as_they_went_in_over_many_laps_and_around_the_end_of_all_positions() {
    for largest in [0, 8, 24, 304, 4096].into_iter().filter(|largest| !cfg!(miri) || *largest < 304) {
        let least = Geometry::new(1, 1, largest).map_err(|error| match error {
            arenaq::records::GeometryError::Bytes { least, .. } => least,
            error => panic!("{error}"),
        });
        let geometry = Geometry::new(1, least.expect_err("one byte is too few"), largest).expect("the least");
        let memory = Memory::<Native>::new(geometry, u64::MAX - times(1000, 30));
        let mut consumer = memory.records().consumer(0).expect("nobody else consumes");
        for number in 0..times(20_000, 30) {
            let record = text(number, largest as usize);
            memory.records().push(&record, number).expect("an empty lane has room for any record");
            let (mut copy, mut stamp) = (Vec::new(), 0);
            let drained = consumer.drain_in_place(1, |record| {
                record.copy_to(&mut copy);
                stamp = record.stamp();
                assert_eq!(bytes(&record), copy);
                // SAFETY: nobody writes in this test.
                assert_eq!(unsafe { record.bytes() }, copy);
            });
            assert_eq!((drained, stamp, copy), (Ok(1), number, record));
        }
        assert_eq!(memory.records().push(&vec![0; largest as usize + 1], 0), Err(PushError::Invalid));
        assert_eq!((memory.records().verify(), memory.records().is_empty()), (Ok(()), true));
    }
}

#[test]
fn a_record_is_read_as_a_type_and_its_tail_as_bytes() {
    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
    struct Exec {
        pid: u32,
        arguments: u16,
        _padding: [u8; 6],
    }
    let head = Exec { pid: 7, arguments: 2, _padding: [0; 6] };
    let log = Log::new(Geometry::new(1, 1 << 14, 256).expect("it can be"));
    let mut record = bytemuck::bytes_of(&head).to_vec();
    record.extend_from_slice(b"ls\0-l\0");
    log.push(&record, 9).expect("room");
    log.push(&[1, 2, 3], 10).expect("room");

    let mut consumer = log.consumer(0).expect("nobody else consumes").into_inner();
    let mut seen = Vec::new();
    consumer
        .drain_in_place(2, |record| {
            let mut tail = Vec::new();
            record.copy_to(&mut tail);
            seen.push((record.read::<Exec>(), record.read::<[u8; 3]>(), tail.split_off(tail.len().min(12))));
        })
        .expect("a sound lane");
    assert_eq!(seen[0], (Some(head), Some([7, 0, 0]), b"ls\0-l\0".to_vec()));
    assert_eq!(seen[1], (None, Some([1, 2, 3]), Vec::new()), "too small for the struct");
}

#[test]
fn a_value_of_any_size_is_read_whole_from_wherever_in_the_ring_its_record_begins() {
    #[repr(C, align(16))]
    #[derive(Clone, Copy, Pod, Zeroable)]
    struct Aligned([u8; 48]);

    fn reads<T: Pod>(log: &Log, consumer: &mut Consumer<'_, Native>) {
        for number in 0..times(300, 3) {
            let bytes: Vec<u8> =
                (0..size_of::<T>() as u64 + number % 40).map(|index| (number + 7 * index) as u8).collect();
            log.push(&bytes, number).expect("an empty lane has room for any record");
            let drained = consumer.drain_in_place(1, |record| {
                let value: T = record.read().expect("the record is large enough");
                assert_eq!(bytemuck::bytes_of(&value), &bytes[..size_of::<T>()]);
                let aligned = record.read().map(|Aligned(value)| value);
                assert_eq!(aligned.as_ref().map(<[u8; 48]>::as_slice), bytes.get(..48));
                let mut copy = b"behind".to_vec();
                record.copy_to(&mut copy);
                assert_eq!(copy.strip_prefix(b"behind"), Some(&*bytes));
            });
            assert_eq!(drained, Ok(1));
        }
    }

    let log = Log::new(Geometry::new(1, 1 << 17, 4096).expect("it can be"));
    let mut consumer = log.consumer(0).expect("nobody else consumes").into_inner();
    reads::<[u8; 0]>(&log, &mut consumer);
    reads::<[u8; 1]>(&log, &mut consumer);
    reads::<[u8; 7]>(&log, &mut consumer);
    reads::<[u8; 8]>(&log, &mut consumer);
    reads::<[u8; 9]>(&log, &mut consumer);
    reads::<[u8; 15]>(&log, &mut consumer);
    reads::<[u8; 16]>(&log, &mut consumer);
    reads::<[u8; 24]>(&log, &mut consumer);
    reads::<[u8; 31]>(&log, &mut consumer);
    reads::<[[u8; 19]; 16]>(&log, &mut consumer);
    reads::<[[u8; 31]; 128]>(&log, &mut consumer);
}

/// One producer interrupts another one before any of its accesses, and is interrupted itself, as deep as there are lanes.
#[test]
fn a_producer_that_interrupts_others_at_any_access_loses_nothing_and_the_next_one_is_counted_as_busy() {
    let geometry = Geometry::new(1, 1 << 12, 64).expect("it can be");
    let mut interruptions = 0;
    for at in 0.. {
        let memory = Memory::<Scripted>::new(geometry, u64::MAX - 3);
        let pushed = Cell::new(0);
        let refused = Cell::new(0);
        let push = |number: u64| match memory.records().push(&text(number, 64), number) {
            Ok(()) => pushed.set(pushed.get() + 1),
            Err(PushError::Contended) => refused.set(refused.get() + 1),
            Err(error) => panic!("{error}"),
        };
        let was_interrupted = interrupted(
            at,
            || push(10),
            || {
                interrupted(
                    at,
                    || push(20),
                    || {
                        interrupted(
                            at,
                            || push(30),
                            || {
                                interrupted(at, || push(40), || push(50));
                            },
                        );
                    },
                );
            },
        );
        let mut consumer = memory.records().consumer(0).expect("nobody else consumes");
        consumer.verify().expect("sound lanes");
        let mut seen: Vec<_> = drain(&mut consumer, 10);
        seen.sort_unstable();
        assert_eq!(seen.len(), pushed.get(), "interrupted at access {at}");
        assert!(seen.iter().all(|(number, bytes)| *bytes == text(*number, 64)), "{seen:?}");
        assert!(refused.get() <= 1 && memory.records().owners().count() == 0);
        interruptions += u64::from(refused.get() == 1);
        if !was_interrupted {
            break;
        }
    }
    assert!(interruptions > 5, "with all lanes taken, the fifth producer is refused: {interruptions}");
}

#[test]
fn what_a_producer_that_died_has_not_published_hides_nothing_and_its_lane_is_repaired() {
    let geometry = Geometry::with_lanes(1, 1, 1 << 10, 64).expect("it can be");
    let mut repairs = 0;
    for death in 0..40 {
        let memory = Memory::<Scripted>::new(geometry, 0);
        let records = memory.records();
        records.push(b"before", 0).expect("room");
        let ended = dying(death, || records.push(b"of the dead", 1)).is_some();
        let busy = records.push(b"meanwhile", 2) == Err(PushError::Contended);
        // SAFETY: it is dead, and nobody else repairs.
        assert_eq!(unsafe { records.repair(|owner| owner == ME) }, usize::from(busy));
        repairs += u64::from(busy);
        records.push(b"after", 3).expect("the lane is repaired");
        let seen = drain(&mut records.consumer(0).expect("nobody consumes"), 9);
        let stamps: Vec<_> = seen.iter().map(|(stamp, _)| *stamp).collect();
        let published = stamps.contains(&1);
        let expected = [Some(0), published.then_some(1), (!busy).then_some(2), Some(3)];
        assert_eq!(stamps, expected.into_iter().flatten().collect::<Vec<_>>(), "death {death}");
        assert!(!ended || published);
    }
    assert!(repairs > 5, "{repairs}");
}

#[test]
fn one_consumes_a_shard_and_who_comes_after_a_death_gets_what_was_not_given_back() {
    let memory = Memory::<Native>::new(Geometry::new(2, 1 << 12, 64).expect("it can be"), 0);
    let records = memory.records();
    let first = records.consumer(0).expect("nobody else consumes");
    assert_eq!(records.consumer(0).map(drop), Err(ConsumerTaken { owner: 1 }));
    drop(records.consumer(1).expect("another shard"));
    std::mem::forget(first);
    // SAFETY: it is gone.
    let heir = unsafe { records.consumer_after_death(0, ME) };
    assert_eq!(heir.expect("it has died").shard(), 0);
}

#[test]
fn a_panic_in_a_drain_or_a_pop_leaves_the_record_and_those_behind_it() {
    let log = Log::new(Geometry::new(1, 1 << 12, 64).expect("it can be"));
    for number in 0..4u8 {
        log.push(&[number], 0).expect("room");
    }
    let mut consumer = log.consumer(0).expect("nobody else consumes");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        consumer.drain(9, |bytes, _| assert_ne!(bytes, [2], "on purpose"));
    }));
    assert!(panicked.is_err());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        consumer.pop(|bytes, _| assert_ne!(bytes, [2], "on purpose"));
    }));
    assert!(panicked.is_err());
    let mut seen = Vec::new();
    assert_eq!(consumer.drain(9, |bytes, _| seen.extend_from_slice(bytes)), 2);
    assert_eq!(seen, [2, 3]);
}

#[test]
fn shards_are_merged_by_their_stamps_up_to_the_horizon_and_late_ones_are_counted() {
    let memory = Memory::<Scripted>::new(Geometry::new(3, 1 << 12, 64).expect("it can be"), 0);
    let records = memory.records();
    let push = |processor, stamp| on_processor(processor, || records.push(&[], stamp).expect("room"));
    for (processor, stamp) in [(0, 1), (1, 2), (2, 3), (2, 4), (1, 5), (0, 6), (1, 9)] {
        push(processor, stamp);
    }
    let consumers = (0..3).map(|shard| records.consumer(shard).expect("nobody else consumes")).collect();
    let mut merge = Merge::new(consumers);
    let mut seen = Vec::new();
    let mut drain = |merge: &mut Merge<'_, Scripted>, horizon, limit| {
        seen.clear();
        let drained = merge.drain_in_place(horizon, limit, |record| seen.push(record.stamp()));
        assert_eq!(drained, Ok(seen.len() as u64));
        seen.clone()
    };
    assert_eq!(drain(&mut merge, 6, 4), [1, 2, 3, 4]);
    assert_eq!(drain(&mut merge, 6, 9), [5, 6], "9 is beyond the horizon");
    push(2, 4);
    push(0, 7);
    assert_eq!(drain(&mut merge, 9, 9), [4, 7, 9]);
    assert_eq!(merge.late(), 1);
    assert_eq!(merge.into_consumers().len(), 3);
    assert!(records.is_empty());
}

/// Producers on all processors, a consumer for each shard; each producer's records of a lane in their order.
#[test]
fn threads_lose_nothing_and_every_record_is_whole() {
    const PRODUCERS: u64 = 4;
    const EACH: u64 = times(50_000, 15);
    const LARGEST: usize = times(304, 40) as usize;
    let log = Log::new(Geometry::new(2, times(1 << 15, 1 << 10), LARGEST as u64).expect("it can be"));
    let done = AtomicBool::new(false);
    let (pushed, seen) = thread::scope(|scope| {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let log = &log;
                scope.spawn(move || {
                    let (mut full, mut busy) = (0u64, 0u64);
                    for serial in 0..EACH {
                        let number = producer * EACH + serial;
                        while let Err(error) = log.push(&text(number, LARGEST), number) {
                            match error {
                                PushError::Full => full += 1,
                                PushError::Contended => busy += 1,
                                error => panic!("{error}"),
                            }
                            thread::yield_now();
                        }
                    }
                    (full, busy)
                })
            })
            .collect();
        let consumers: Vec<_> = (0..2)
            .map(|shard| {
                let (log, done) = (&log, &done);
                scope.spawn(move || {
                    let mut consumer = log.consumer(shard).expect("nobody else consumes");
                    let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
                    loop {
                        let is_last = done.load(Ordering::Acquire);
                        let drained = consumer.drain(64, |bytes, stamp| {
                            assert_eq!(bytes, text(stamp, LARGEST));
                            *seen.entry(stamp).or_default() += 1;
                        });
                        if drained == 0 {
                            if is_last {
                                return seen;
                            }
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let pushed: Vec<_> =
            producers.into_iter().map(|producer| producer.join().expect("a producer")).collect();
        done.store(true, Ordering::Release);
        let seen: Vec<_> =
            consumers.into_iter().map(|consumer| consumer.join().expect("a consumer")).collect();
        (pushed, seen)
    });
    println!("found no room, and no lane: {pushed:?}");
    let all: BTreeMap<u64, u32> = seen.into_iter().flatten().collect();
    assert_eq!(all.len() as u64, PRODUCERS * EACH);
    assert!(all.values().all(|times| *times == 1), "none comes twice");
    assert!(log.records().is_empty());
}

#[test]
fn the_ring_of_two_threads_keeps_order_and_drops_what_is_left() {
    let (mut producer, mut consumer) = spsc::ring::<Box<u64>>(100);
    assert_eq!((producer.capacity(), consumer.capacity()), (128, 128));
    let consuming = thread::spawn(move || {
        let mut expected = 0;
        while expected < times(100_000, 290) {
            if expected % 3 == 0 {
                expected += consumer.pop().map_or(0, |value| u64::from(*value == expected));
            } else {
                consumer.drain(7, |value| {
                    assert_eq!(*value, expected);
                    expected += 1;
                });
            }
            if consumer.is_empty() {
                thread::yield_now();
            }
        }
        consumer
    });
    let mut values = (0..times(100_010, 300)).map(Box::new).peekable();
    while values.peek().is_some() {
        if producer.push_from(&mut values.by_ref().take(50)) == 0 {
            thread::yield_now();
        }
        // The last ones stay in the ring when its consumer has gone.
        if consuming.is_finished() {
            break;
        }
    }
    let mut consumer = consuming.join().expect("the consumer");
    assert!(consumer.len() <= 128);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: times(256, 10) as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn slices_that_go_into_the_ring_come_out_as_they_are_also_around_its_end(
        start in prop_oneof![Just(0), Just(u64::MAX - 2)],
        steps in prop::collection::vec((0usize..12, 0usize..12), 1..30),
    ) {
        let (mut producer, mut consumer) = spsc::ring_on::<[u64; 3], Native>(8, start);
        let (mut pushed, mut expected) = (0u64, 0u64);
        for (push, drain) in steps {
            let values: Vec<_> = (pushed..).map(|number| [number, !number, 7]).take(push).collect();
            let room = 8 - (pushed - expected) as usize;
            prop_assert_eq!(producer.push_slice(&values), push.min(room));
            pushed += push.min(room) as u64;
            let there = (pushed - expected) as usize;
            let drained = consumer.drain(drain, |value| {
                assert_eq!(value, [expected, !expected, 7]);
                expected += 1;
            });
            prop_assert!(drained <= there.min(drain));
            prop_assert!(drained > 0 || drain == 0 || there == 0);
        }
    }

    #[test]
    fn several_rings_give_what_is_in_any_of_them_each_in_its_order(
        capacities in prop::collection::vec(1usize..9, 0..5),
        steps in prop::collection::vec((any::<prop::sample::Index>(), 0usize..9, 0usize..70), 1..60),
    ) {
        let (mut producers, rings): (Vec<_>, Vec<_>) =
            capacities.iter().map(|capacity| spsc::ring::<(usize, u64)>(*capacity)).unzip();
        let mut consumer: spsc::FanIn<_> = rings.into_iter().collect();
        let mut pushed = vec![0; producers.len()];
        let mut next = vec![0; producers.len()];
        for (producer, push, take) in steps {
            if !producers.is_empty() {
                let number = producer.index(producers.len());
                let serial = &mut pushed[number];
                for _ in 0..push {
                    *serial += u64::from(producers[number].push((number, *serial)).is_ok());
                }
            }
            let there = (pushed.iter().sum::<u64>() - next.iter().sum::<u64>()) as usize;
            prop_assert_eq!((consumer.len(), consumer.is_empty()), (there, there == 0));
            let mut comes = |(number, serial): (usize, u64)| {
                assert_eq!(serial, next[number]);
                next[number] += 1;
            };
            if take % 2 == 0 {
                for popped in 0..take {
                    let element = consumer.pop();
                    prop_assert_eq!(element.is_some(), popped < there);
                    element.into_iter().for_each(&mut comes);
                }
            } else {
                // All that is there: how much that is was just asked for.
                prop_assert_eq!(consumer.drain(take, &mut comes), take.min(there));
            }
        }
    }
}

/// Its serial number, and which producer has pushed it.
type Numbered = Box<(u64, usize)>;

#[test]
fn each_of_several_producers_with_a_ring_comes_in_its_order_and_whole() {
    const CAPACITIES: [usize; 3] = [1, 8, 100];
    let each = times(50_000, 200);
    let (producers, rings): (Vec<_>, Vec<_>) = CAPACITIES.into_iter().map(spsc::ring::<Numbered>).unzip();
    let mut consumer: spsc::FanIn<Numbered> = rings.into_iter().collect();
    let mut next = [0; CAPACITIES.len()];
    thread::scope(|scope| {
        for (number, mut producer) in producers.into_iter().enumerate() {
            scope.spawn(move || {
                for serial in 0..each {
                    let mut element = Box::new((serial, number));
                    while let Err(full) = producer.push(element) {
                        element = full;
                        thread::yield_now();
                    }
                }
            });
        }
        let mut take = |element: Numbered| {
            let (serial, producer) = *element;
            assert_eq!(serial, next[producer], "of producer {producer}");
            next[producer] += 1;
        };
        let mut left = each * CAPACITIES.len() as u64;
        while left > 0 {
            let taken = match left % 3 {
                0 => consumer.pop().map_or(0, |element| {
                    take(element);
                    1
                }),
                _ => consumer.drain(7, &mut take),
            };
            left -= taken as u64;
            if taken == 0 {
                thread::yield_now();
            }
        }
    });
    assert_eq!(next, [each; CAPACITIES.len()]);
    assert!(consumer.is_empty() && consumer.pop().is_none());
}

#[test]
fn no_ring_waits_for_ever_whatever_comes_from_another() {
    let (mut producers, mut consumer) = spsc::fan_in(3, 4);
    producers[2].push("waits").expect("room");
    let mut pop_with_more = || {
        producers[0].push("more").expect("room");
        consumer.pop().expect("there is more")
    };
    let until = (1..).find(|_| pop_with_more() == "waits").expect("it comes");
    assert!((2..=65).contains(&until), "it came as number {until}");

    while consumer.pop().is_some() {}
    producers[1].push("waits").expect("room");
    let mut seen = Vec::new();
    while seen.last() != Some(&"waits") {
        producers[2].push("more").expect("room");
        assert_eq!(consumer.drain(1, |element| seen.push(element)), 1);
    }
    assert!(seen.len() <= 3, "{seen:?}");
}

#[test]
fn what_is_in_rings_outlives_their_consumer_and_one_of_no_ring_has_nothing() {
    let (mut producers, mut consumer) = spsc::fan_in(2, 4);
    for (number, producer) in producers.iter_mut().enumerate() {
        assert_eq!(producer.push_slice(&[number, 10 + number]), 2);
    }
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        consumer.drain(9, |element| assert_ne!(element, 1, "it breaks on the second ring's first"));
    }));
    assert!(panicked.is_err());
    assert_eq!(consumer.len(), 1, "what was handed over is gone, and nothing else");
    let rest = consumer.into_rings().into_iter().map(|mut ring| ring.pop()).collect::<Vec<_>>();
    assert_eq!(rest, [None, Some(11)]);

    let (none, mut nobody) = spsc::fan_in::<u64>(0, 4);
    assert!(none.is_empty() && nobody.is_empty());
    assert_eq!((nobody.len(), nobody.pop(), nobody.drain(9, |element| panic!("{element}"))), (0, None, 0));
    let (mut late, ring) = spsc::ring(4);
    late.push(7).expect("room");
    nobody.add(ring);
    assert_eq!(nobody.pop(), Some(7));
}

#[test]
fn a_handle_that_has_a_shard_pushes_there_whatever_the_processor() {
    let geometry = Geometry::new(3, 1 << 12, 64).expect("it can be");
    let log = Log::new(geometry);
    for shard in [2, 0, 1, 2] {
        log.records().in_shard(shard).push(&[shard as u8], 0).expect("room");
    }
    for (shard, records) in [(0, 1), (1, 1), (2, 2)] {
        let mut consumer = log.consumer(shard).expect("nobody else consumes");
        assert_eq!(consumer.drain(9, |record, _| assert_eq!(record, [shard as u8])), records);
    }
    let nowhere = std::panic::catch_unwind(|| log.records().in_shard(3));
    assert!(nowhere.is_err(), "there are three");
}

#[test]
fn a_producer_that_keeps_its_lane_is_alone_in_it_until_it_is_dropped() {
    const RECORDS: u64 = 50_000;
    let log = Log::new(Geometry::with_lanes(1, 2, 1 << 12, 304).expect("it can be"));
    let mut first = log.producer(0).expect("nobody has a lane");
    assert_eq!(first.push(&[0; 305], 0), Err(PushError::Invalid));
    let second = log.producer(0).expect("there is another lane");
    assert_eq!(log.producer(0).map(drop), Err(PushError::Contended));
    assert_eq!(log.push(b"nobody hears me", 0), Err(PushError::Contended));
    drop(second);
    log.push(b"who takes a lane for each record takes what is left", 0).expect("a lane and room");
    let mut consumer = log.consumer(0).expect("nobody else consumes");
    assert_eq!(consumer.drain(9, |_, stamp| assert_eq!(stamp, 0)), 1);

    let full = thread::scope(|scope| {
        let producer = scope.spawn(move || {
            let mut full = 0;
            for number in 1..=RECORDS {
                while first.push(&text(number, 304), number) == Err(PushError::Full) {
                    full += 1;
                    thread::yield_now();
                }
            }
            full
        });
        let mut next = 1;
        while next <= RECORDS {
            consumer.drain(7, |record, stamp| {
                assert_eq!((stamp, record), (next, &*text(next, 304)));
                next += 1;
            });
        }
        producer.join().expect("a producer")
    });
    println!("{full} times full");
    assert!(log.records().is_empty());
    assert_eq!(log.records().owners().count(), 0, "its lane is free again");
}

#[test]
fn the_consumer_of_a_log_gives_words_back_when_it_has_taken_a_quarter_of_the_lane_or_all_that_there_is() {
    let log = Log::new(Geometry::with_lanes(1, 1, 16 * 8, 8).expect("it can be"));
    let left = || log.records().bytes() / 8;
    let push = |count| (0..count).for_each(|_| log.push(b"x", 0).expect("room"));
    // Three words each.
    push(3);
    let mut consumer = log.consumer(0).expect("nobody else consumes");
    assert_eq!((consumer.drain(1, |_, _| ()), left()), (1, 9), "less than a quarter, and there are more");
    assert_eq!((consumer.pop(|_, _| ()), left()), (Some(()), 3), "more than a quarter");
    assert_eq!((consumer.drain(1, |_, _| ()), left()), (1, 0), "there is no more");
    push(2);
    assert_eq!((consumer.drain(1, |_, _| ()), left()), (1, 6));
    drop(consumer);
    assert_eq!(left(), 3, "it is gone");
}

#[test]
fn words_of_a_producer_that_keeps_its_lane_come_out_as_its_bytes_do() {
    let log = Log::new(Geometry::with_lanes(1, 1, 1 << 16, 4096).expect("it can be"));
    let mut producer = log.producer(0).expect("nobody has the lane");
    let mut consumer = log.consumer(0).expect("nobody else consumes");
    for words in [0, 1, 3, 38, 512] {
        let data: Vec<u64> = (0..words).map(|word| word * 0x0101_0101).collect();
        producer.push_words(&data, words).expect("room");
        producer.push(bytemuck::cast_slice(&data), words).expect("room");
        let same = |record: &[u8], stamp| assert_eq!((record, stamp), (bytemuck::cast_slice(&data), words));
        assert_eq!(consumer.drain(9, same), 2);
    }
}

/// Somebody fills the first lane again whenever something of it was taken.
#[test]
fn no_lane_waits_for_ever_however_small_the_limit() {
    // None: one by one.
    for limit in [None, Some(1), Some(5), Some(64), Some(100)] {
        let log = Log::new(Geometry::with_lanes(1, 3, 1 << 14, 8).expect("it can be"));
        let [mut first, _, mut last] = [(); 3].map(|()| log.producer(0).expect("there are three lanes"));
        last.push(b"last", 1).expect("room");
        let mut consumer = log.consumer(0).expect("nobody else consumes");
        let (mut before, mut has_come) = (0, false);
        while !has_come {
            while first.push(b"first", 0).is_ok() {}
            let count = |_: &[u8], stamp| {
                has_come |= stamp == 1;
                before += u64::from(!has_come);
            };
            match limit {
                None => assert!(consumer.pop(count).is_some()),
                Some(limit) => assert!(consumer.drain(limit, count) > 0),
            }
            assert!(before < 200, "{before} of the first lane have come, and none of the last");
        }
    }
}

/// Each word of a small shard is overwritten by anything, between two operations.
fn damaged(words: &[u64], at: usize, value: u64) {
    let geometry = Geometry::new(1, 1 << 11, 64).expect("it can be");
    let mut memory = Memory::<Native>::new(geometry, 5);
    for word in words {
        let size = (word % 65) as usize;
        let _ = memory.records().push(&vec![*word as u8; size], *word);
    }
    {
        let control = memory.lanes.len() * size_of::<Lane<Native>>() / 8;
        let at = at % (control + memory.words.len());
        let word = if at < control {
            // SAFETY: a word of the lanes, and nobody else is here; any value is one of an atomic word.
            unsafe { memory.lanes.as_mut_ptr().cast::<u64>().add(at) }
        } else {
            // SAFETY: a word of the rings, and nobody else is here.
            unsafe { memory.words.as_mut_ptr().cast::<u64>().add(at - control) }
        };
        // SAFETY: as above.
        unsafe { word.write(value) };
    }
    let records = memory.records();
    let _ = records.verify();
    let _ = records.bytes();
    let _ = records.push(&[1; 64], 1);
    // SAFETY: nobody is alive.
    let mut consumer = match records.consumer(0) {
        Ok(consumer) => consumer,
        Err(ConsumerTaken { owner }) => {
            let owner = NonZero::new(owner).expect("somebody");
            // SAFETY: nobody is there.
            unsafe { records.consumer_after_death(0, owner) }.expect("the one that was said to be there")
        }
    };
    let _ = consumer.verify();
    let mut seen = 0;
    for _ in 0..3 {
        let drained = consumer.drain_in_place(1000, |record| {
            assert!(record.size() <= 64);
            seen += bytes(&record).len();
        });
        match drained {
            Ok(records) => assert!(records <= geometry.words()),
            Err(corruption) => {
                assert!(matches!(corruption, Corruption::Header { .. } | Corruption::Positions { .. }));
            }
        }
    }
    for _ in 0..geometry.words() {
        match consumer.pop_in_place(|record| record.read::<[u8; 64]>()) {
            Ok(Some(_)) => (),
            Ok(None) => return,
            Err(corruption) => {
                assert!(matches!(corruption, Corruption::Header { .. } | Corruption::Positions { .. }));
                return;
            }
        }
    }
    panic!("more records than there are words");
}

#[test]
fn a_damaged_lane_keeps_nothing_in_other_lanes_and_is_told_when_nothing_else_is_left() {
    let mut memory = Memory::<Native>::new(Geometry::with_lanes(1, 2, 1 << 10, 8).expect("it can be"), 0);
    let lanes = [(); 2].map(|()| memory.records().lane().expect("there are two"));
    for (lane, number) in lanes.into_iter().zip(0..) {
        lane.reserve(8).expect("room").commit(number);
    }
    memory.words[0] = Plain::new(7);
    let mut consumer = memory.records().consumer(0).expect("nobody else consumes");
    let mut pop = || consumer.pop_in_place(|record| record.stamp());
    assert_eq!(pop(), Ok(Some(1)));
    let damaged = Err(Corruption::Header { position: 0, header: 7 });
    assert_eq!((pop(), pop()), (damaged, damaged));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: times(3000, 5) as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_anywhere_a_consumer_stays_inside_and_ends(
        words in prop::collection::vec(any::<u64>(), 0..12),
        at in any::<usize>(),
        value in prop_oneof![
            any::<u64>(), 0..200u64, (u64::MAX - 200)..=u64::MAX,
            (1u64 << 32)..(1 << 32) + 80, Just(2u64 << 32),
        ],
    ) {
        damaged(&words, at, value);
    }

    #[test]
    fn records_of_any_sizes_popped_one_by_one_or_drained_are_a_queue(
        steps in prop::collection::vec((any::<bool>(), 0..=64usize, any::<bool>()), 1..times(200, 30) as usize),
        start in prop_oneof![any::<u64>(), (u64::MAX - 300)..=u64::MAX],
    ) {
        let geometry = Geometry::with_lanes(1, 1, 1 << 9, 64).expect("it can be");
        let log = Log::<Native>::new_on(geometry, start);
        let mut consumer = log.consumer(0).expect("nobody else consumes");
        let mut model = std::collections::VecDeque::new();
        for (number, (push, size, one_by_one)) in steps.into_iter().enumerate() {
            if push {
                let record = vec![number as u8; size];
                match log.push(&record, number as u64) {
                    Ok(()) => model.push_back((record, number as u64)),
                    Err(PushError::Full) => prop_assert!(!model.is_empty(), "an empty lane has room"),
                    Err(error) => panic!("{error}"),
                }
            } else {
                let length = (size as u64).min(model.len() as u64);
                let mut check = |bytes: &[u8], stamp| assert_eq!(model.pop_front(), Some((bytes.to_vec(), stamp)));
                let taken = if one_by_one {
                    (0..size).map_while(|_| consumer.pop(&mut check)).count() as u64
                } else {
                    consumer.drain(size as u64, check)
                };
                prop_assert_eq!(taken, length);
            }
        }
    }
}

#[test]
fn there_are_as_many_lanes_as_producers_can_interrupt_each_other() {
    assert_eq!(LANES, 4, "a task, an interrupt of each kind that the kernel nests, and an NMI");
}
