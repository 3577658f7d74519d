//! One thread: every operation does exactly what a plain deque, or a plain set, does.

mod support;

use std::collections::VecDeque;
use std::num::NonZero;

use arenaq::arena::{Arena, ArenaError, CreateError};
use arenaq::count::{Counted, Uncounted};
use arenaq::mpmc::{Capacity, CapacityError};
use arenaq::platform::{Native, Platform, Word};
use arenaq::pool::{AllocError, GrowError, MAGAZINES, Pool, Start, nodes_for};
use arenaq::{KeyValue, PopError, PushError};
use proptest::prelude::*;
use support::queue::{Consumer, List, Producer, Queue, Ring, Side};
use support::queues;
use support::scripted::on_processor;
use support::{LIST, Memory, RING, offset, times};

/// Bursts, because single pushes and pops in random order seldom fill a queue or empty it.
#[derive(Clone, Debug)]
enum Op {
    Push(u8),
    Pop(u8),
    /// So many at once.
    PushMany(u8),
    Drain(u8),
    Grow(u64),
}

fn op(longest: u8) -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..=longest).prop_map(Op::Push),
        4 => (1..=longest).prop_map(Op::Pop),
        4 => (0..=longest).prop_map(Op::PushMany),
        4 => (0..=longest).prop_map(Op::Drain),
        1 => (0u64..6).prop_map(Op::Grow),
    ]
}

fn ops(longest: u8) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(longest), 1..40)
}

/// Operations one after another. Each side of the queue has the same end from the first to the last.
#[derive(Clone, Debug)]
struct Run {
    producer: Side,
    consumer: Side,
    ops: Vec<Op>,
}

impl Run {
    fn of_many(ops: Vec<Op>) -> [Run; 1] {
        [Run { producer: Side::Many, consumer: Side::Many, ops }]
    }
}

/// Single ends for one operation or for several, and between them ends for many.
fn runs(longest: u8) -> impl Strategy<Value = Vec<Run>> {
    let side = || prop_oneof![1 => Just(Side::Many), 2 => Just(Side::Single)];
    let run = (side(), side(), prop::collection::vec(op(longest), 1..6));
    prop::collection::vec(run.prop_map(|(producer, consumer, ops)| Run { producer, consumer, ops }), 1..12)
}

/// Positions at which something could overflow: the wrap-around, the sign bit, 32 bits.
fn start() -> impl Strategy<Value = u64> {
    prop_oneof![
        1 => Just(0),
        4 => (0u64..200).prop_map(|k| u64::MAX - k),
        1 => (0u64..200).prop_map(|k| (1 << 63) - k),
        1 => (0u64..200).prop_map(|k| (1 << 32) - k),
    ]
}

fn item(serial: u64) -> KeyValue {
    KeyValue { key: serial, value: !serial }
}

/// A queue for `elements`, which may grow by `room`.
fn is_a_bounded_deque<Q: Queue>(
    elements: u64,
    room: u64,
    start: u64,
    runs: &[Run],
) -> Result<(), TestCaseError> {
    let memory = Memory::new(16 * 1024);
    let mut arena: Arena<'_> = memory.format();
    arena.create(&Q::spec(elements, elements + room, start)).expect("it fits");

    let mut model = VecDeque::new();
    let mut capacity = elements;
    let mut serial = 0;
    for run in runs {
        // SAFETY: this thread is the only one, and both ends are gone before the next run has its own.
        let (mut producer, mut consumer) =
            unsafe { (Q::producer(&arena, run.producer), Q::consumer(&arena, run.consumer)) };
        for op in &run.ops {
            let times = match *op {
                Op::Push(times) | Op::Pop(times) => times,
                Op::PushMany(_) | Op::Drain(_) | Op::Grow(_) => 1,
            };
            for time in 0..times {
                match *op {
                    Op::Push(_) => {
                        let expected = if model.len() as u64 == capacity {
                            Err(Q::NO_ROOM)
                        } else {
                            model.push_back(item(serial));
                            Ok(())
                        };
                        prop_assert_eq!(producer.push(item(serial)), expected);
                        serial += 1;
                    }
                    Op::Pop(_) => {
                        let expected = model.pop_front().ok_or(PopError::Empty);
                        if time % 2 == 0 {
                            prop_assert_eq!(consumer.pop(), expected);
                        } else {
                            let handed_over = consumer.pop_with(|value| (value, time));
                            prop_assert_eq!(handed_over, expected.map(|value| (value, time)));
                        }
                    }
                    Op::PushMany(most) => {
                        let values: Vec<_> = (serial..).take(most.into()).map(item).collect();
                        let pushed = values.len().min(capacity as usize - model.len());
                        let expected = if most > 0 && pushed == 0 { Err(Q::NO_ROOM) } else { Ok(pushed) };
                        prop_assert_eq!(producer.push_many(&values), expected);
                        model.extend(&values[..pushed]);
                        serial += u64::from(most);
                    }
                    Op::Drain(most) => {
                        let mut drained = Vec::new();
                        let length = model.len().min(most.into());
                        let expected =
                            if most > 0 && length == 0 { Err(PopError::Empty) } else { Ok(length as u64) };
                        prop_assert_eq!(consumer.drain(most.into(), |value| drained.push(value)), expected);
                        prop_assert!(model.drain(..length).eq(drained));
                    }
                    Op::Grow(count) => {
                        let left = elements + room - capacity;
                        if let Some(grown) = Q::grow(&producer, count) {
                            let expected = if count == 0 || count > left {
                                Err(GrowError::Limit { asked: count, room: left })
                            } else {
                                capacity += count;
                                Ok(())
                            };
                            prop_assert_eq!(grown, expected);
                        }
                    }
                }
                is_as_the_deque(&consumer, &model, Q::COUNTED)?;
                Q::is_whole(&arena, model.len() as u64, capacity);
            }
        }
    }
    Ok(())
}

/// Everything that can be seen of a queue on which no operation runs.
fn is_as_the_deque(
    consumer: &impl Consumer,
    model: &VecDeque<KeyValue>,
    counted: bool,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(consumer.len(), model.len() as u64);
    prop_assert_eq!(consumer.is_empty(), model.is_empty());
    prop_assert_eq!(consumer.count(), if counted { model.len() as u64 } else { 0 });
    prop_assert_eq!(consumer.verify(), Ok(()));
    prop_assert_eq!(consumer.verify_quiesced(), Ok(()));
    let mut seen = Vec::new();
    let all = consumer.search(|value| {
        seen.push(*value);
        false
    });
    prop_assert_eq!(all, None);
    prop_assert!(seen.iter().eq(model), "search sees {:?} and not {:?}", seen, model);
    if let Some(last) = model.back() {
        prop_assert_eq!(consumer.search(|value| value == last), Some(*last));
    }
    Ok(())
}

/// What a pool promises to one thread: a node that was handed out is not handed out again before its block is
/// whole again, and every other node that was made can be had.
struct Model {
    limit: u64,
    block: u64,
    created: u64,
    /// Of each node, whether it was handed out since its block was whole, and whether somebody has it.
    nodes: Vec<(bool, bool)>,
}

impl Model {
    fn new(limit: u64, block: u64) -> Self {
        Model { limit, block, created: 0, nodes: vec![(false, false); limit as usize] }
    }

    /// The number of nodes that so many become when they are made: whole blocks, or all that there is room for.
    fn grows_by(&self, count: u64) -> u64 {
        count.next_multiple_of(self.block).min(self.limit - self.created)
    }

    fn made(&self) -> &[(bool, bool)] {
        &self.nodes[..self.created as usize]
    }

    /// How many nodes can be had.
    fn available(&self) -> u64 {
        self.made().iter().filter(|(handed, _)| !handed).count() as u64
    }

    /// How many nodes somebody has.
    fn held(&self) -> u64 {
        self.made().iter().filter(|(_, held)| *held).count() as u64
    }

    fn hand_out(&mut self, slot: usize) -> Result<(), TestCaseError> {
        prop_assert!((slot as u64) < self.created, "node {} was never made", slot);
        let (handed, held) = &mut self.nodes[slot];
        prop_assert!(!*held, "node {} has two owners", slot);
        prop_assert!(!*handed, "node {} comes before its block is whole", slot);
        (*handed, *held) = (true, true);
        Ok(())
    }

    fn give_back(&mut self, slot: usize) {
        self.nodes[slot].1 = false;
        let first = slot / self.block as usize * self.block as usize;
        let end = (first + self.block as usize).min(self.nodes.len());
        let block = &mut self.nodes[first..end];
        if block.iter().all(|(handed, held)| *handed && !held) {
            block.fill((false, false));
        }
    }
}

#[derive(Clone, Debug)]
enum PoolOp {
    Alloc(u8),
    /// So many nodes at once.
    AllocRun(u8),
    /// Gives some of the nodes back.
    Free(Vec<prop::sample::Index>),
    /// Gives all nodes back but so many, the oldest first, as a queue does.
    FreeAllBut(u8),
    Grow(u64),
}

fn pool_ops(longest: u8) -> impl Strategy<Value = Vec<PoolOp>> {
    let some = prop::collection::vec(any::<prop::sample::Index>(), 1..8);
    let op = prop_oneof![
        3 => (1..=longest).prop_map(PoolOp::Alloc),
        3 => (0..=longest).prop_map(PoolOp::AllocRun),
        3 => some.prop_map(PoolOp::Free),
        2 => (0..=longest).prop_map(PoolOp::FreeAllBut),
        1 => (0..=u64::from(longest)).prop_map(PoolOp::Grow),
    ];
    prop::collection::vec(op, 1..60)
}

type Slot = [u64; 3];

fn pool_is_a_set(limit: u64, block: u32, tag: u32, ops: Vec<PoolOp>) -> Result<(), TestCaseError> {
    let mut nodes = vec![[0u64; 3]; limit as usize];
    let links: Vec<_> = (0..limit).map(|_| <Native as Platform>::Word::new(0)).collect();
    let range = nodes.as_mut_ptr_range();
    let pool = Pool::<Native, Slot>::empty();
    let start = Start { tag, block: NonZero::new(block) };
    // SAFETY: room for `limit` of both, the pool's alone and alive as long as it; links are interior mutable.
    unsafe { pool.init_at(range.start, links.as_ptr().cast_mut(), limit, start) };
    let pool = pool.nodes().expect("a pool");

    let slot_of = |node: *mut Slot| (node.addr() - range.start.addr()) / size_of::<Slot>();
    let mut model = Model::new(limit, block.into());
    let mut held: Vec<*mut Slot> = Vec::new();
    for op in ops {
        let mut freed = Vec::new();
        match op {
            PoolOp::Alloc(times) => {
                for _ in 0..times {
                    let node = pool.alloc();
                    if model.available() == 0 {
                        prop_assert_eq!(node, Err(AllocError::Exhausted));
                    } else {
                        let node = node.expect("a node is there");
                        prop_assert!(range.contains(&node) && pool.owns(node));
                        model.hand_out(slot_of(node))?;
                        held.push(node);
                    }
                }
            }
            PoolOp::AllocRun(most) => match pool.alloc_run(most.into()) {
                Ok(run) => {
                    prop_assert!((1..=most.into()).contains(&run.len()));
                    // SAFETY: of this pool.
                    let taken: Vec<_> = unsafe { pool.nodes_of_run(&run) }.collect();
                    prop_assert_eq!(taken.len() as u64, run.len());
                    let slots: Vec<_> = taken.iter().map(|node| slot_of(*node)).collect();
                    prop_assert!(slots.windows(2).all(|two| two[1] == two[0] + 1), "{:?}", slots);
                    let blocks = [slots[0], slots[slots.len() - 1]].map(|slot| slot / block as usize);
                    prop_assert_eq!(blocks[0], blocks[1], "a run is of one block");
                    for slot in slots {
                        model.hand_out(slot)?;
                    }
                    held.extend(taken);
                }
                Err(error) => {
                    prop_assert_eq!(error, AllocError::Exhausted);
                    prop_assert!(most == 0 || model.available() == 0);
                }
            },
            PoolOp::Free(which) => {
                for index in which.iter().take(held.len()) {
                    freed.push(held.swap_remove(index.index(held.len())));
                }
            }
            PoolOp::FreeAllBut(rest) => {
                freed.extend(held.drain(..held.len().saturating_sub(rest.into())));
            }
            PoolOp::Grow(count) => {
                let room = limit - model.created;
                // SAFETY: the memory up to the limit is there.
                match unsafe { pool.grow(count) } {
                    Ok(chain) => {
                        prop_assert!(count > 0 && count <= room);
                        model.created += model.grows_by(count);
                        // SAFETY: of this pool.
                        unsafe { pool.free_chain(chain) }.expect("nobody else");
                    }
                    Err(error) => {
                        prop_assert!(count == 0 || count > room);
                        prop_assert_eq!(error, GrowError::Limit { asked: count, room });
                    }
                }
            }
        }
        for node in freed {
            // SAFETY: allocated above and not used any more.
            unsafe { pool.free(node) }.expect("nobody else");
            model.give_back(slot_of(node));
        }
        prop_assert_eq!(model.held(), held.len() as u64);
        prop_assert_eq!(pool.created(), model.created);
        prop_assert!(pool.created() % u64::from(block) == 0 || pool.created() == limit);
        prop_assert_eq!(pool.free_nodes(), Ok(model.created - model.held()));
    }
    Ok(())
}

/// The numbers from 0 of the nodes of the list in `memory`, the stub's first.
fn slots_in_use(memory: &Memory) -> Vec<usize> {
    let [pool, head] = ["pool", "head"].map(|field| memory.peek(memory.entry(LIST, field)) as usize);
    let first = memory.peek(pool + offset("ds_pool", "nodes"));
    let mut node = memory.peek(head + offset("ds_mpsc_head", "tail"));
    let mut slots = Vec::new();
    while node != 0 {
        slots.push(((node - first) / 24) as usize);
        node = memory.peek(node as usize);
    }
    slots
}

/// A deque whose bound is what the pool's blocks leave: the queue gives its nodes back in order, and those of a
/// block can be had again when all are back.
fn mpsc_is_a_deque_bounded_by_blocks(
    elements: u64,
    room: u64,
    tag: u32,
    runs: &[Run],
) -> Result<(), TestCaseError> {
    let memory = Memory::new(64 * 1024);
    let mut arena: Arena<'_> = memory.format();
    arena
        .create(&support::list::<KeyValue, Counted>(elements, elements + room).start(tag.into()))
        .expect("it fits");
    arena.publish();
    let producer = arena.mpsc_producer::<KeyValue, Counted>(LIST).expect("it is there");
    let (limit, block) = nodes_for(elements + room);
    prop_assert_eq!((producer.nodes().limit(), producer.nodes().block()), (limit, block.into()));
    prop_assert!(block > 1);

    let mut model = Model::new(limit, block.into());
    model.created = model.grows_by(limit - room);
    let mut in_use = slots_in_use(&memory);
    model.hand_out(in_use[0])?;
    let mut deque = VecDeque::new();
    let mut serial = 0;
    for run in runs {
        let mut consumer = arena.mpsc_consumer::<KeyValue, Counted>(LIST).expect("the last one is gone");
        for op in &run.ops {
            match *op {
                Op::Push(times) => {
                    let left = model.available();
                    for time in 0..times.into() {
                        let expected = if time < left { Ok(()) } else { Err(PushError::Exhausted) };
                        prop_assert_eq!((*producer).push(item(serial)), expected);
                        deque.extend((time < left).then_some(item(serial)));
                        serial += 1;
                    }
                }
                Op::PushMany(most) => {
                    let values: Vec<_> = (serial..).take(most.into()).map(item).collect();
                    let pushed = values.len().min(model.available() as usize);
                    let expected =
                        if most > 0 && pushed == 0 { Err(PushError::Exhausted) } else { Ok(pushed) };
                    prop_assert_eq!((*producer).push_many(&values), expected);
                    deque.extend(&values[..pushed]);
                    serial += u64::from(most);
                }
                Op::Pop(times) => {
                    for _ in 0..times {
                        prop_assert_eq!(consumer.pop(), deque.pop_front().ok_or(PopError::Empty));
                    }
                }
                Op::Drain(most) => {
                    let mut drained = Vec::new();
                    let length = deque.len().min(most.into());
                    let expected =
                        if most > 0 && length == 0 { Err(PopError::Empty) } else { Ok(length as u64) };
                    prop_assert_eq!(consumer.drain(most.into(), |value| drained.push(value)), expected);
                    prop_assert!(deque.drain(..length).eq(drained));
                }
                Op::Grow(count) => {
                    let left = limit - model.created;
                    let expected = if count == 0 || count > left {
                        Err(GrowError::Limit { asked: count, room: left })
                    } else {
                        model.created += model.grows_by(count);
                        Ok(())
                    };
                    prop_assert_eq!(producer.grow(count), expected);
                }
            }
            // Which node an element is in is the pool's business: it is seen in the list.
            let now = slots_in_use(&memory);
            prop_assert_eq!(now.len(), deque.len() + 1);
            let gone = in_use.iter().position(|slot| *slot == now[0]).unwrap_or(in_use.len());
            for slot in &in_use[..gone] {
                model.give_back(*slot);
            }
            for slot in &now[in_use.len() - gone..] {
                model.hand_out(*slot)?;
            }
            in_use = now;
            let room = elements.saturating_sub(deque.len() as u64);
            prop_assert!(model.available() >= room, "{} elements of {}: no room", deque.len(), elements);
            prop_assert_eq!(consumer.len(), deque.len() as u64);
            prop_assert_eq!(producer.count(), deque.len() as u64);
            prop_assert_eq!(consumer.verify_quiesced(), Ok(()));
            prop_assert_eq!(producer.nodes().created(), model.created);
            prop_assert_eq!(producer.nodes().free_nodes(), Ok(model.created - in_use.len() as u64));
        }
    }
    Ok(())
}

/// Each burst: the first processor, how far it is to the next, how many pushes, how many pops.
fn elements_have_room(
    elements: u64,
    block: u32,
    bursts: &[(usize, usize, u64, u64)],
) -> Result<(), TestCaseError> {
    let spare = (MAGAZINES as u64 + 1) * u64::from(block - 1);
    let list = queues::List::with_blocks(elements + spare, block);
    prop_assert_eq!(list.pool().spare(), spare);
    let mut consumer = list.consumer();
    let mut length = 0;
    for &(processor, stride, pushes, pops) in bursts {
        for push in 0..pushes {
            let processor = (processor + push as usize * stride) % MAGAZINES;
            match on_processor(processor, || list.shared().push(item(0))) {
                Ok(()) => length += 1,
                Err(error) => {
                    prop_assert_eq!(error, PushError::Exhausted);
                    prop_assert!(length >= elements, "no room beside {} elements of {}", length, elements);
                }
            }
        }
        for _ in 0..pops.min(length) {
            prop_assert!(consumer.pop().is_ok());
            length -= 1;
        }
    }
    prop_assert_eq!(list.pool().free_nodes(), Ok(elements + spare - length));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: times(128, 3) as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mpmc_does_what_a_bounded_deque_does(exponent in 1u32..=6, start in start(), ops in ops(80)) {
        is_a_bounded_deque::<Ring<Counted>>(1 << exponent, 0, start, &Run::of_many(ops))?;
    }

    #[test]
    fn mpmc_without_a_counter_does_the_same(exponent in 1u32..=6, start in start(), ops in ops(80)) {
        is_a_bounded_deque::<Ring<Uncounted>>(1 << exponent, 0, start, &Run::of_many(ops))?;
    }

    #[test]
    fn mpmc_with_single_ends_between_others_does_what_a_bounded_deque_does(
        exponent in 1u32..=6,
        start in start(),
        runs in runs(80),
    ) {
        is_a_bounded_deque::<Ring<Counted>>(1 << exponent, 0, start, &runs)?;
    }

    #[test]
    fn mpmc_with_single_ends_and_without_a_counter_does_the_same(
        exponent in 1u32..=6,
        start in start(),
        runs in runs(80),
    ) {
        is_a_bounded_deque::<Ring<Uncounted>>(1 << exponent, 0, start, &runs)?;
    }

    #[test]
    fn mpsc_does_what_a_deque_with_a_growing_bound_does(
        elements in prop::sample::select(vec![1u64, 2, 3, 7, 13, 31]),
        room in 0u64..20,
        tag in prop_oneof![Just(0), (0u32..200).prop_map(|k| u32::MAX - k)],
        runs in runs(40),
    ) {
        is_a_bounded_deque::<List<Counted>>(elements, room, tag.into(), &runs)?;
    }

    #[test]
    fn mpsc_without_a_counter_does_the_same(
        elements in prop::sample::select(vec![1u64, 3, 7, 13]),
        room in 0u64..20,
        tag in (0u32..200).prop_map(|k| u32::MAX - k),
        runs in runs(40),
    ) {
        is_a_bounded_deque::<List<Uncounted>>(elements, room, tag.into(), &runs)?;
    }

    #[test]
    fn mpsc_with_blocks_does_what_a_deque_does_that_is_bounded_by_them(
        elements in 256u64..700,
        room in prop::sample::select(vec![0u64, 1, 3, 20, 100]),
        tag in prop_oneof![Just(0), (0u32..200).prop_map(|k| u32::MAX - k)],
        runs in runs(160),
    ) {
        mpsc_is_a_deque_bounded_by_blocks(elements, room, tag, &runs)?;
    }

    #[test]
    fn a_queue_with_nodes_to_spare_has_room_for_its_elements_on_whatever_processors_they_are_pushed(
        elements in 1u64..60,
        block in prop::sample::select(vec![2u32, 4, 8, 64]),
        bursts in prop::collection::vec((0usize..MAGAZINES, 0usize..MAGAZINES, 0u64..60, 0u64..60), 1..60),
    ) {
        elements_have_room(elements, block, &bursts)?;
    }

    #[test]
    fn the_pool_hands_every_node_to_one_owner_at_a_time(
        limit in prop::sample::select(vec![1u64, 2, 3, 7, 13, 40]),
        tag in prop_oneof![Just(0), (0u32..200).prop_map(|k| u32::MAX - k)],
        ops in pool_ops(8),
    ) {
        pool_is_a_set(limit, 1, tag, ops)?;
    }

    #[test]
    fn the_pool_hands_every_node_of_a_block_to_one_owner_and_again_when_the_block_is_whole(
        limit in prop::sample::select(vec![1u64, 2, 3, 7, 13, 16, 40]),
        block in prop::sample::select(vec![2u32, 4, 8]),
        tag in prop_oneof![Just(0), (0u32..200).prop_map(|k| u32::MAX - k)],
        ops in pool_ops(8),
    ) {
        pool_is_a_set(limit, block, tag, ops)?;
    }

    #[test]
    fn the_pool_does_the_same_with_the_largest_blocks(
        limit in prop::sample::select(vec![5u64, 63, 64, 65, 130, 200, 256]),
        tag in prop_oneof![Just(0), (0u32..200).prop_map(|k| u32::MAX - k)],
        ops in pool_ops(70),
    ) {
        pool_is_a_set(limit, 64, tag, ops)?;
    }

    #[test]
    fn no_number_but_a_power_of_two_from_2_to_2_to_the_31_is_a_capacity(cells in any::<u64>(), shift in 0u32..64) {
        let cells = cells >> shift;
        let capacity = Capacity::new(cells);
        prop_assert_eq!(capacity.is_ok(), cells.is_power_of_two() && (2..=1 << 31).contains(&cells));
        if let Err(CapacityError::NotPowerOfTwo { next, .. }) = capacity {
            prop_assert!(next > cells && next.is_power_of_two() && next / 2 < cells);
            prop_assert!(Capacity::new(next).is_ok());
        }
    }
}

#[test]
fn a_refused_capacity_says_which_would_do() {
    let refusals = [
        (0, "a capacity of 0 is too small: it must be at least 2"),
        (1, "a capacity of 1 is too small: it must be at least 2"),
        (3, "a capacity of 3 is not a power of two: the next is 4"),
        (5, "a capacity of 5 is not a power of two: the next is 8"),
        (1000, "a capacity of 1000 is not a power of two: the next is 1024"),
        ((1 << 31) - 1, "a capacity of 2147483647 is not a power of two: the next is 2147483648"),
        ((1 << 31) + 1, "a capacity of 2147483649 is too large: it can be at most 2147483648 (2^31)"),
        (1 << 32, "a capacity of 4294967296 is too large: it can be at most 2147483648 (2^31)"),
        (u64::MAX, "a capacity of 18446744073709551615 is too large: it can be at most 2147483648 (2^31)"),
    ];
    let memory = Memory::new(16 * 1024);
    let mut arena: Arena<'_> = memory.format();
    for (cells, text) in refusals {
        let error = arena.create(&support::ring::<KeyValue, Counted>(cells)).expect_err("no capacity");
        assert!(matches!(error, CreateError::Capacity(_)), "{error:?}");
        assert!(error.to_string().starts_with(text), "{error}");
        assert!(
            matches!(arena.mpmc::<KeyValue, Counted>(RING), Err(ArenaError::Absent { .. })),
            "a refusal makes nothing"
        );
    }
    arena.create(&support::ring::<KeyValue, Counted>(2)).expect("the smallest capacity");
    assert_eq!(Capacity::MIN.get(), 2);
    assert_eq!(Capacity::new(1 << 31), Ok(Capacity::MAX));
}

#[test]
fn every_small_capacity_that_is_no_power_of_two_is_refused() {
    for cells in 0..4096u64 {
        assert_eq!(Capacity::new(cells).is_ok(), cells >= 2 && cells.count_ones() == 1, "{cells}");
    }
}

/// The number of nodes that lie side by side in a new pool: those of a block.
fn longest_run(limit: u64, block: Option<NonZero<u32>>) -> u64 {
    let mut nodes = vec![[0u64; 3]; limit as usize];
    let mut links: Vec<_> = (0..limit).map(|_| <Native as Platform>::Word::new(0)).collect();
    let pool = Pool::<Native, Slot>::empty();
    // SAFETY: room for `limit` of both, the pool's alone and alive as long as it.
    unsafe { pool.init_at(nodes.as_mut_ptr(), links.as_mut_ptr(), limit, Start { tag: 0, block }) };
    let pool = pool.nodes().expect("a pool");
    // SAFETY: as above.
    unsafe {
        let chain = pool.grow(limit).expect("room");
        pool.free_chain(chain).expect("nobody else");
    }
    pool.alloc_run(u64::MAX).expect("a node").len()
}

#[test]
fn a_pool_has_at_least_128_blocks_if_it_is_not_said_otherwise_and_none_of_more_than_64_nodes() {
    for (limit, block) in [
        (1, 1),
        (127, 1),
        (255, 1),
        (256, 2),
        (511, 2),
        (512, 4),
        (1000, 4),
        (1024, 8),
        (8191, 32),
        (8192, 64),
        (100_000, 64),
    ] {
        assert_eq!(longest_run(limit, None), block, "{limit}");
    }
}

#[test]
fn a_block_is_cut_to_a_power_of_two_and_to_64_nodes_and_the_last_one_to_the_limit() {
    for (asked, block) in [(1, 1), (2, 2), (3, 2), (4, 4), (63, 32), (64, 64), (65, 64), (u32::MAX, 64)] {
        assert_eq!(longest_run(1000, NonZero::new(asked)), block, "{asked}");
    }
    assert_eq!(longest_run(5, NonZero::new(8)), 5);
}

/// A pool that can grow begins with few of its blocks, and the stub is in one of them.
#[test]
fn an_empty_queue_takes_an_element_whatever_went_through_it_before() {
    for (elements, limit) in [(1, 1), (1, 501), (3, 501), (1, 5000), (10, 5000), (200, 200)] {
        let memory = Memory::new(256 * 1024);
        let mut arena: Arena<'_> = memory.format();
        arena.create(&support::list::<KeyValue, Counted>(elements, limit)).expect("it fits");
        let producer = arena.mpsc_producer::<KeyValue, Counted>(LIST).expect("it is there");
        let mut consumer = arena.mpsc_consumer::<KeyValue, Counted>(LIST).expect("nobody has it");
        for serial in 0..1000 {
            let pushed = (*producer).push(item(serial));
            assert_eq!(pushed, Ok(()), "element {serial} of an empty queue of {elements} to {limit}");
            assert_eq!(consumer.pop(), Ok(item(serial)));
        }
    }
}

/// Every byte of a payload, whatever its size: native reads copy 16, 24 and 32 bytes that are aligned as words in
/// another way than the rest.
mod payloads {
    use super::*;
    use arenaq::payload::Element;
    use bytemuck::{Pod, Zeroable, bytes_of, pod_read_unaligned};

    /// Of no two bytes of one, and of no byte in the same place of two, are the values the same.
    fn different<T: Element>() -> Vec<T> {
        let byte = |number: u8, place: u8| number.wrapping_mul(83).wrapping_add(place.wrapping_mul(7));
        let bytes = |number| (0..size_of::<T>() as u8).map(|place| byte(number, place)).collect::<Vec<_>>();
        (0..12).map(|number| pod_read_unaligned(&bytes(number))).collect()
    }

    fn are_equal<T: Element>(one: &T, other: &T) -> bool {
        bytes_of(one) == bytes_of(other)
    }

    /// Sends them through a queue, several laps of a small one, up to four at a time. `push` takes all that it
    /// is given; `pop` hands over as many as there are.
    fn come_through<T: Element>(how: &str, push: impl Fn(&[T]), mut pop: impl FnMut(u64, &mut Vec<T>)) {
        let payloads = different::<T>();
        let mut left = &payloads[..];
        let mut popped = Vec::new();
        for size in [1, 4, 3, 4] {
            let (some, others) = left.split_at(size);
            push(some);
            pop(size as u64, &mut popped);
            left = others;
        }
        let pairs = || payloads.iter().zip(&popped).enumerate();
        assert!(left.is_empty() && popped.len() == payloads.len(), "{how}: {} came out", popped.len());
        if let Some((number, (went_in, came_out))) = pairs().find(|(_, (a, b))| !are_equal(*a, *b)) {
            panic!("{how}, element {number}: {:x?} and not {:x?}", bytes_of(came_out), bytes_of(went_in));
        }
    }

    fn come_through_the_queues<T: Element>() {
        let memory = Memory::new(16 * 1024);
        let mut arena: Arena<'_> = memory.format();
        arena.create(&support::ring::<T, Counted>(4)).expect("it fits");
        arena.create(&support::list::<T, Counted>(4, 4)).expect("it fits");
        let ring = arena.mpmc::<T, Counted>(RING).expect("made");
        let list = arena.mpsc_producer::<T, Counted>(LIST).expect("made");
        let mut consumer = arena.mpsc_consumer::<T, Counted>(LIST).expect("nobody has it");

        // SAFETY: this thread is the only one, and what pushes next comes after this end is gone.
        let only_producer = || unsafe { ring.single_producer() };
        // SAFETY: likewise for what pops next.
        let only_consumer = || unsafe { ring.single_consumer() };
        let each = |values: &[T], push: &dyn Fn(T) -> Result<(), PushError>| {
            values.iter().for_each(|value| assert_eq!(push(*value), Ok(())));
        };
        come_through(
            "one by one",
            |values| each(values, &|value| ring.push(value)),
            |count, popped| popped.extend((0..count).map(|_| ring.pop().expect("pushed"))),
        );
        come_through(
            "in batches",
            |values| assert_eq!(ring.push_many(values), Ok(values.len())),
            |count, popped| assert_eq!(ring.drain(count, |value| popped.push(value)), Ok(count)),
        );
        come_through(
            "searched",
            |values| assert_eq!(ring.push_many(values), Ok(values.len())),
            |count, popped| {
                // SAFETY: this thread is the only one.
                let found = unsafe {
                    ring.search(|value| {
                        popped.push(*value);
                        false
                    })
                };
                assert!(matches!(found, Ok(None)));
                assert_eq!(ring.drain(count, |_| ()), Ok(count));
            },
        );
        come_through(
            "between single ends one by one",
            |values| each(values, &|value| only_producer().push(value)),
            |count, popped| popped.extend((0..count).map(|_| only_consumer().pop().expect("pushed"))),
        );
        come_through(
            "between single ends in batches",
            |values| assert_eq!(only_producer().push_many(values), Ok(values.len())),
            |count, popped| assert_eq!(only_consumer().drain(count, |value| popped.push(value)), Ok(count)),
        );
        come_through(
            "one by one through nodes",
            |values| each(values, &|value| list.push(value)),
            |count, popped| popped.extend((0..count).map(|_| consumer.pop().expect("pushed"))),
        );
        come_through(
            "in batches through nodes",
            |values| assert_eq!(list.push_many(values), Ok(values.len())),
            |count, popped| assert_eq!(consumer.drain(count, |value| popped.push(value)), Ok(count)),
        );
    }

    /// 16 bytes in fields of two sizes.
    #[repr(C)]
    #[derive(Clone, Copy, Pod, Zeroable)]
    struct Three(u32, u32, u64);

    /// 24 bytes, in the middle word fields of three sizes.
    #[repr(C)]
    #[derive(Clone, Copy, Pod, Zeroable)]
    struct Seven(u64, u8, u8, u16, u32, f32, i32);

    /// 32 bytes, with an array.
    #[repr(C)]
    #[derive(Clone, Copy, Pod, Zeroable)]
    struct Four([u8; 16], f64, u32, [i16; 2]);

    /// 16 bytes that are aligned to less than a word.
    #[repr(C)]
    #[derive(Clone, Copy, Pod, Zeroable)]
    struct Halves(u32, [u16; 2], u32, u32);

    impl Element for Three {}
    impl Element for Seven {}
    impl Element for Four {}
    impl Element for Halves {}

    /// What is no element by itself.
    #[repr(transparent)]
    #[derive(Clone, Copy, Pod, Zeroable)]
    struct Of<T>(T);

    impl<T: Pod> Element for Of<T> {}

    #[test]
    fn every_byte_of_a_payload_of_16_24_or_32_bytes_comes_out_as_it_went_in() {
        come_through_the_queues::<[u64; 2]>();
        come_through_the_queues::<[u64; 3]>();
        come_through_the_queues::<[u64; 4]>();
        come_through_the_queues::<KeyValue>();
        come_through_the_queues::<Three>();
        come_through_the_queues::<Seven>();
        come_through_the_queues::<Four>();
    }

    #[test]
    fn every_byte_of_a_payload_of_8_or_40_or_64_bytes_comes_out_as_it_went_in() {
        come_through_the_queues::<u64>();
        come_through_the_queues::<Of<[u32; 2]>>();
        come_through_the_queues::<[u64; 5]>();
        come_through_the_queues::<[u64; 8]>();
    }

    #[test]
    fn every_byte_of_a_payload_that_is_not_aligned_as_a_word_comes_out_as_it_went_in() {
        come_through_the_queues::<Halves>();
        come_through_the_queues::<[u8; 24]>();
        come_through_the_queues::<Of<[u16; 16]>>();
    }
}

/// A head and its pool are made one after the other, so a program can meet one without the other.
mod never_initialised {
    use super::*;
    use arenaq::{Corruption, mpmc, mpsc};

    #[test]
    fn an_mpmc_queue_says_so_to_everybody() {
        let queue = mpmc::Head::<Native, KeyValue>::empty();
        assert!(queue.ring().is_none(), "there is nothing to push into, to pop from or to look at");

        let memory = Memory::new(16 * 1024);
        let mut arena: Arena<'_> = memory.format();
        arena.create(&support::ring::<KeyValue, Counted>(4)).expect("it fits");
        arena.publish();
        let head = memory.peek(memory.entry(RING, "head")) as usize;
        memory.poke(head + offset("ds_vyukhov_head", "buffer"), 0);
        let refused = Arena::attach(memory.region(), memory.places().header);
        assert_eq!(refused.err(), Some(Corruption::NotInitialised.into()));
    }

    #[test]
    fn an_mpsc_queue_says_so_to_everybody() {
        let (memory, queue) = (Memory::new(16 * 1024), mpsc::Head::<Native, KeyValue>::empty());
        let mut arena: Arena<'_> = memory.format();
        arena.create(&support::list::<KeyValue, Counted>(4, 4)).expect("it fits");
        arena.publish();
        let pool = arena.mpsc_producer::<KeyValue, Counted>(LIST).expect("it was made").nodes();
        assert!(queue.list(pool).is_none(), "there is nothing to push into, to pop from or to look at");
        assert_eq!((queue.count(), pool.free_nodes()), (0, Ok(4)));
        let head = memory.peek(memory.entry(LIST, "head")) as usize;
        memory.poke(head + offset("ds_mpsc_head", "head"), 0);
        assert_eq!(
            arena.mpsc_producer::<KeyValue, Counted>(LIST).err(),
            Some(Corruption::NotInitialised.into())
        );
        assert_eq!(
            arena.mpsc_consumer::<KeyValue, Counted>(LIST).err(),
            Some(Corruption::NotInitialised.into())
        );
    }

    #[test]
    fn a_pool_says_so_to_everybody() {
        let pool = Pool::<Native, Slot>::empty();
        assert!(pool.nodes().is_none(), "there is nothing to take and nothing to grow");
    }
}
