//! One thread: every operation does exactly what a plain deque, or a plain set, does.

mod support;

use std::collections::{HashSet, VecDeque};

use arenaq::arena::{Arena, ArenaError, CreateError};
use arenaq::count::{CountPolicy, Counted, Uncounted};
use arenaq::mpmc::{Capacity, CapacityError};
use arenaq::platform::{Native, Platform, Word};
use arenaq::pool::{AllocError, GrowError, Pool};
use arenaq::{KeyValue, PopError, PushError};
use proptest::prelude::*;
use support::Memory;

/// Bursts, because single pushes and pops in random order seldom fill a queue or empty it.
#[derive(Clone, Debug)]
enum Op {
    Push(u8),
    Pop(u8),
    /// So many at once.
    PushMany(u8),
    Drain(u8),
    Grow(u64),
    NextConsumer,
}

fn ops(longest: u8) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (1..=longest).prop_map(Op::Push),
        4 => (1..=longest).prop_map(Op::Pop),
        4 => (0..=longest).prop_map(Op::PushMany),
        4 => (0..=longest).prop_map(Op::Drain),
        1 => (0u64..6).prop_map(Op::Grow),
        1 => Just(Op::NextConsumer),
    ];
    prop::collection::vec(op, 1..40)
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

fn counted<C: CountPolicy>(length: usize) -> u64 {
    if C::COUNTED { length as u64 } else { 0 }
}

fn mpmc_is_a_bounded_deque<C: CountPolicy>(
    capacity: u64,
    start: u64,
    ops: &[Op],
) -> Result<(), TestCaseError> {
    let memory = Memory::new(16 * 1024);
    let mut arena: Arena<'_, KeyValue, C> = memory.format();
    arena.create_mpmc_at(capacity, start).expect("it fits");
    let queue = arena.mpmc().expect("it is there");
    prop_assert_eq!(queue.capacity(), capacity);

    let mut model = VecDeque::new();
    let mut serial = 0;
    let check = |model: &VecDeque<KeyValue>| -> Result<(), TestCaseError> {
        prop_assert_eq!(queue.len(), model.len() as u64);
        prop_assert_eq!(queue.is_empty(), model.is_empty());
        prop_assert_eq!(queue.count(), counted::<C>(model.len()));
        prop_assert_eq!(queue.verify(), Ok(()));
        prop_assert_eq!(queue.verify_quiesced(), Ok(()));
        let mut seen = Vec::new();
        // SAFETY: this thread is the only one.
        let all = unsafe {
            queue.search(|value| {
                seen.push(*value);
                false
            })
        };
        prop_assert_eq!(all, None);
        prop_assert!(seen.iter().eq(model), "search sees {:?} and not {:?}", seen, model);
        if let Some(last) = model.back() {
            // SAFETY: as above.
            prop_assert_eq!(unsafe { queue.search(|value| value == last) }, Some(*last));
        }
        Ok(())
    };
    for op in ops {
        match *op {
            Op::Push(times) => {
                for _ in 0..times {
                    let expected = if model.len() as u64 == capacity {
                        Err(PushError::Full)
                    } else {
                        model.push_back(item(serial));
                        Ok(())
                    };
                    prop_assert_eq!(queue.push(item(serial)), expected);
                    serial += 1;
                    check(&model)?;
                }
            }
            Op::Pop(times) => {
                for _ in 0..times {
                    prop_assert_eq!(queue.pop(), model.pop_front().ok_or(PopError::Empty));
                    check(&model)?;
                }
            }
            Op::PushMany(most) => {
                let values: Vec<_> = (serial..).take(most.into()).map(item).collect();
                let pushed = values.len().min(capacity as usize - model.len());
                let expected = if most > 0 && pushed == 0 { Err(PushError::Full) } else { Ok(pushed) };
                prop_assert_eq!(queue.push_many(&values), expected);
                model.extend(&values[..pushed]);
                serial += u64::from(most);
                check(&model)?;
            }
            Op::Drain(most) => {
                let mut drained = Vec::new();
                let length = model.len().min(most.into());
                let expected = if most > 0 && length == 0 { Err(PopError::Empty) } else { Ok(length as u64) };
                prop_assert_eq!(queue.drain(most.into(), |value| drained.push(value)), expected);
                prop_assert!(model.drain(..length).eq(drained));
                check(&model)?;
            }
            Op::Grow(_) | Op::NextConsumer => {}
        }
    }
    Ok(())
}

fn mpsc_is_a_deque_with_a_growing_bound<C: CountPolicy>(
    elements: u64,
    room: u64,
    tag: u32,
    ops: &[Op],
) -> Result<(), TestCaseError> {
    let memory = Memory::new(16 * 1024);
    let mut arena: Arena<'_, KeyValue, C> = memory.format();
    arena.create_mpsc_at(elements, elements + room, tag).expect("it fits");
    let producer = arena.mpsc_producer().expect("it is there");
    let mut consumer = arena.mpsc_consumer().expect("nobody has it");

    let mut model = VecDeque::new();
    let mut nodes = elements;
    let mut serial = 0;
    for op in ops {
        let times = match *op {
            Op::Push(times) | Op::Pop(times) => times,
            Op::PushMany(_) | Op::Drain(_) | Op::Grow(_) | Op::NextConsumer => 1,
        };
        for _ in 0..times {
            match *op {
                Op::Push(_) => {
                    let expected = if model.len() as u64 == nodes {
                        Err(PushError::Exhausted)
                    } else {
                        model.push_back(item(serial));
                        Ok(())
                    };
                    prop_assert_eq!(producer.push(item(serial)), expected);
                    serial += 1;
                }
                Op::PushMany(most) => {
                    let values: Vec<_> = (serial..).take(most.into()).map(item).collect();
                    let pushed = values.len().min(nodes as usize - model.len());
                    let expected =
                        if most > 0 && pushed == 0 { Err(PushError::Exhausted) } else { Ok(pushed) };
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
                Op::Pop(_) => prop_assert_eq!(consumer.pop(), model.pop_front().ok_or(PopError::Empty)),
                Op::Grow(count) => {
                    let left = elements + room - nodes;
                    let expected = if count == 0 || count > left {
                        Err(GrowError::Limit { asked: count, room: left })
                    } else {
                        nodes += count;
                        Ok(())
                    };
                    prop_assert_eq!(producer.grow(count), expected);
                }
                Op::NextConsumer => {
                    drop(consumer);
                    consumer = arena.mpsc_consumer().expect("the last one is gone");
                }
            }
            prop_assert_eq!(consumer.len(), model.len() as u64);
            prop_assert_eq!(consumer.is_empty(), model.is_empty());
            prop_assert_eq!(producer.count(), counted::<C>(model.len()));
            prop_assert_eq!(consumer.verify(), Ok(()));
            prop_assert_eq!(consumer.verify_quiesced(), Ok(()));
            prop_assert_eq!(producer.pool().created(), nodes + 1);
            prop_assert_eq!(producer.pool().free_nodes(), Ok(nodes - model.len() as u64));
            let mut seen = Vec::new();
            let all = consumer.search(|value| {
                seen.push(*value);
                false
            });
            prop_assert_eq!(all, None);
            prop_assert!(seen.iter().eq(&model), "search sees {:?} and not {:?}", seen, model);
            if let Some(last) = model.back() {
                prop_assert_eq!(consumer.search(|value| value == last), Some(*last));
            }
        }
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum PoolOp {
    Alloc(u8),
    /// Gives some of the nodes back one by one.
    Free(Vec<prop::sample::Index>),
    /// Gives some of the nodes back as one chain.
    FreeChain(Vec<prop::sample::Index>),
    Grow(u64),
}

fn pool_ops() -> impl Strategy<Value = Vec<PoolOp>> {
    let some = || prop::collection::vec(any::<prop::sample::Index>(), 1..8);
    let op = prop_oneof![
        4 => (1u8..8).prop_map(PoolOp::Alloc),
        2 => some().prop_map(PoolOp::Free),
        2 => some().prop_map(PoolOp::FreeChain),
        1 => (0u64..8).prop_map(PoolOp::Grow),
    ];
    prop::collection::vec(op, 1..60)
}

type Slot = [u64; 3];

fn pool_is_a_set(limit: u64, tag: u32, ops: Vec<PoolOp>) -> Result<(), TestCaseError> {
    let mut nodes = vec![[0u64; 3]; limit as usize];
    let links: Vec<_> = (0..limit).map(|_| <Native as Platform>::Word::new(0)).collect();
    let range = nodes.as_mut_ptr_range();
    let pool = Pool::<Native, Slot>::empty();
    // SAFETY: room for `limit` of both, the pool's alone and alive as long as it; links are interior mutable.
    unsafe { pool.init_at(range.start, links.as_ptr().cast_mut(), limit, tag) };

    let mut created = 0;
    let mut held: Vec<*mut Slot> = Vec::new();
    for op in ops {
        match op {
            PoolOp::Alloc(times) => {
                for _ in 0..times {
                    let node = pool.alloc();
                    if held.len() as u64 == created {
                        prop_assert_eq!(node, Err(AllocError::Exhausted));
                    } else {
                        let node = node.expect("a node is free");
                        prop_assert!(range.contains(&node) && pool.owns(node));
                        held.push(node);
                    }
                }
            }
            PoolOp::Free(which) => {
                for index in which.iter().take(held.len()) {
                    let node = held.swap_remove(index.index(held.len()));
                    // SAFETY: allocated above and not used any more.
                    unsafe { pool.free(node) }.expect("nobody else");
                }
            }
            PoolOp::FreeChain(which) => {
                let mut chain = None;
                for index in which.iter().take(held.len()) {
                    let node = held.swap_remove(index.index(held.len()));
                    // SAFETY: allocated above and not used any more.
                    let one = unsafe { pool.chain(node) };
                    chain = Some(match chain {
                        Some(more) => pool.join(one, more),
                        None => one,
                    });
                }
                if let Some(chain) = chain {
                    pool.free_chain(chain).expect("nobody else");
                }
            }
            PoolOp::Grow(count) => {
                let room = limit - created;
                // SAFETY: the memory up to the limit is there.
                match unsafe { pool.grow(count) } {
                    Ok(chain) => {
                        prop_assert!(count > 0 && count <= room);
                        created += count;
                        pool.free_chain(chain).expect("nobody else");
                    }
                    Err(error) => {
                        prop_assert!(count == 0 || count > room);
                        prop_assert_eq!(error, GrowError::Limit { asked: count, room });
                    }
                }
            }
        }
        let owners: HashSet<_> = held.iter().copied().collect();
        prop_assert_eq!(owners.len(), held.len(), "a node has two owners");
        prop_assert_eq!(pool.created(), created);
        prop_assert_eq!(pool.free_nodes(), Ok(created - held.len() as u64));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mpmc_does_what_a_bounded_deque_does(exponent in 1u32..=6, start in start(), ops in ops(80)) {
        mpmc_is_a_bounded_deque::<Counted>(1 << exponent, start, &ops)?;
    }

    #[test]
    fn mpmc_without_a_counter_does_the_same(exponent in 1u32..=6, start in start(), ops in ops(80)) {
        mpmc_is_a_bounded_deque::<Uncounted>(1 << exponent, start, &ops)?;
    }

    #[test]
    fn mpsc_does_what_a_deque_with_a_growing_bound_does(
        elements in prop::sample::select(vec![1u64, 2, 3, 7, 13, 31]),
        room in 0u64..20,
        tag in prop_oneof![Just(0), (0u32..200).prop_map(|k| u32::MAX - k)],
        ops in ops(40),
    ) {
        mpsc_is_a_deque_with_a_growing_bound::<Counted>(elements, room, tag, &ops)?;
    }

    #[test]
    fn mpsc_without_a_counter_does_the_same(
        elements in prop::sample::select(vec![1u64, 3, 7, 13]),
        room in 0u64..20,
        tag in (0u32..200).prop_map(|k| u32::MAX - k),
        ops in ops(40),
    ) {
        mpsc_is_a_deque_with_a_growing_bound::<Uncounted>(elements, room, tag, &ops)?;
    }

    #[test]
    fn the_pool_hands_every_node_to_one_owner_at_a_time(
        limit in prop::sample::select(vec![1u64, 2, 3, 7, 13, 40]),
        tag in prop_oneof![Just(0), (0u32..200).prop_map(|k| u32::MAX - k)],
        ops in pool_ops(),
    ) {
        pool_is_a_set(limit, tag, ops)?;
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
    let mut arena: Arena<'_, KeyValue> = memory.format();
    for (cells, text) in refusals {
        let error = arena.create_mpmc(cells).expect_err("no capacity");
        assert!(matches!(error, CreateError::Capacity(_)), "{error:?}");
        assert!(error.to_string().starts_with(text), "{error}");
        assert!(matches!(arena.mpmc(), Err(ArenaError::Absent("MPMC"))), "a refusal makes nothing");
    }
    arena.create_mpmc(2).expect("the smallest capacity");
    assert_eq!(Capacity::MIN.get(), 2);
    assert_eq!(Capacity::new(1 << 31), Ok(Capacity::MAX));
}

#[test]
fn every_small_capacity_that_is_no_power_of_two_is_refused() {
    for cells in 0..4096u64 {
        assert_eq!(Capacity::new(cells).is_ok(), cells >= 2 && cells.count_ones() == 1, "{cells}");
    }
}

/// A head and its pool are made one after the other, so a program can meet one without the other.
mod never_initialised {
    use super::*;
    use arenaq::{Corruption, mpmc, mpsc};

    type Node = mpsc::Node<Native, KeyValue>;

    #[test]
    fn an_mpmc_queue_says_so_to_everybody() {
        let queue = mpmc::Head::<Native, KeyValue>::empty();
        assert_eq!(queue.push(item(1)), Err(PushError::Invalid));
        assert_eq!(queue.pop(), Err(PopError::Invalid));
        assert_eq!((queue.len(), queue.is_empty(), queue.count()), (0, true, 0));
        assert_eq!(queue.verify(), Err(Corruption::NotInitialised));
        assert_eq!(queue.verify_quiesced(), Err(Corruption::NotInitialised));
        // SAFETY: this thread is the only one.
        assert_eq!(unsafe { queue.search(|_| true) }, None);
    }

    #[test]
    fn an_mpsc_queue_says_so_to_everybody() {
        let pool = Pool::<Native, Node>::empty();
        let queue = mpsc::Head::<Native, KeyValue>::empty();
        assert_eq!(queue.push(&pool, item(1)), Err(PushError::Invalid));
        // SAFETY: nobody uses the queue, so there is no other consumer.
        let consumer = unsafe { mpsc::Consumer::new(&queue, &pool) };
        assert_eq!(consumer.err(), Some(Corruption::NotInitialised));
        // SAFETY: nobody uses the queue, so the consumer rests.
        unsafe {
            assert_eq!(mpsc::verify(&queue, &pool), Err(Corruption::NotInitialised));
            assert_eq!(mpsc::search(&queue, &pool, |_| true), None);
        }
    }

    #[test]
    fn an_mpsc_queue_with_a_sound_pool_says_so_again_and_again_and_keeps_no_node() {
        let memory = Memory::new(16 * 1024);
        let mut arena: Arena<'_, KeyValue> = memory.format();
        arena.create_mpsc(4, 4).expect("it fits");
        let producer = arena.mpsc_producer().expect("it was made");
        let queue = mpsc::Head::<Native, KeyValue>::empty();
        for _ in 0..10 {
            assert_eq!(queue.push(producer.pool(), item(1)), Err(PushError::Invalid));
            assert_eq!(producer.pool().free_nodes(), Ok(4));
        }
    }

    #[test]
    fn a_pool_says_so_to_everybody() {
        let pool = Pool::<Native, Slot>::empty();
        assert_eq!(pool.alloc(), Err(AllocError::Invalid));
        // SAFETY: no memory is touched: there is none.
        assert_eq!(unsafe { pool.grow(1) }.err(), Some(GrowError::Invalid));
        assert_eq!(pool.free_nodes(), Err(Corruption::NotInitialised));
        assert_eq!((pool.created(), pool.limit()), (0, 0));
    }
}
