//! A consumer dies before each of its accesses, and the next one goes on.

mod support;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::mem::ManuallyDrop;
use std::num::NonZero;

use arenaq::mpmc::{self, Slots};
use arenaq::platform::Native;
use arenaq::recovery::Repaired;
use arenaq::{Corruption, KeyValue, PopError, PushError, mpsc, pool};
use support::queue::{SIDES, Side};
use support::queues::{List, Ring, item};
use support::scripted::{Scripted, dying, losing, on_processor, stalled};

/// What consumers call themselves.
const OWNER: NonZero<u64> = NonZero::<u64>::MIN;

/// A ring of four, in its second lap, with the elements 1, 2 and 3.
fn ring() -> Ring {
    let ring = Ring::new(4);
    for _ in 0..4 {
        ring.queue().push(item(0)).expect("room");
        ring.queue().pop().expect("an element");
    }
    for serial in 1..=3 {
        ring.queue().push(item(serial)).expect("room");
    }
    ring
}

/// A list with the elements 1, 2 and 3 and one node to spare.
fn list() -> List {
    let list = List::new(4);
    for serial in 1..=3 {
        list.shared().push(item(serial)).expect("room");
    }
    list
}

/// A consumer, which is never dropped if its process is killed.
fn mortal(list: &List) -> ManuallyDrop<mpsc::Consumer<'_, Scripted, KeyValue>> {
    ManuallyDrop::new(list.consumer())
}

/// Pops one element after another until there is none, as one of many consumers or as the only one.
fn pop_all(ring: &Ring, consumer: Side, seen: &Seen) {
    match consumer {
        Side::Many => {
            let queue = ring.queue();
            while queue.pop_with(|element| seen.take(element)).is_ok() {}
        }
        Side::Single => {
            let mut consumer = ring.single_consumer();
            while consumer.pop_with(|element| seen.take(element)).is_ok() {}
        }
    }
}

/// Pops up to so many at once, likewise.
fn drain(ring: &Ring, consumer: Side, limit: u64, hand_over: impl FnMut(KeyValue)) -> Result<u64, PopError> {
    match consumer {
        Side::Many => ring.queue().drain(limit, hand_over),
        Side::Single => ring.single_consumer().drain(limit, hand_over),
    }
}

/// Everybody who consumes: first one that dies, and then one that goes on.
fn successions() -> impl Iterator<Item = (Side, Side)> {
    SIDES.into_iter().flat_map(|mortal| SIDES.map(|next| (mortal, next)))
}

/// What came out of a queue, in order, however often.
#[derive(Default)]
struct Seen(RefCell<Vec<u64>>);

impl Seen {
    fn take(&self, element: KeyValue) {
        assert_eq!(element, item(element.key), "an element in one piece");
        self.0.borrow_mut().push(element.key);
    }

    /// Everything came out, in order, and at most one element twice. Returns how often that was.
    fn check(&self, death: u64) -> usize {
        let mut seen = self.0.borrow().clone();
        let all = seen.len();
        assert!(seen.is_sorted(), "death before access {death}: {seen:?}");
        seen.dedup();
        assert_eq!(seen, [1, 2, 3], "death before access {death}");
        assert!(all <= 4, "death before access {death}: {all} elements came out of 3");
        all - seen.len()
    }
}

#[test]
fn mpsc_a_consumer_that_dies_anywhere_loses_nothing_and_at_most_one_element_is_seen_twice() {
    let (mut died, mut twice, mut nodes) = (0, 0, 0);
    for death in 0.. {
        let list = list();
        let seen = Seen::default();
        let mut first = mortal(&list);
        let ended = dying(death, || while first.pop_with(|element| seen.take(element)).is_ok() {});

        let mut second = mortal(&list);
        while second.pop_with(|element| seen.take(element)).is_ok() {}
        twice += seen.check(death);
        // SAFETY: no producer runs.
        let returned = unsafe { second.repair() }.expect("a sound queue");
        assert!(returned <= 1, "death before access {death}: {returned} nodes");
        nodes += returned;
        assert_eq!(second.verify_quiesced(), Ok(()), "death before access {death}");
        assert_eq!(list.pool().free_nodes(), Ok(4), "death before access {death}");
        for serial in 4..8 {
            list.shared().push(item(serial)).expect("every node is there again");
        }
        let rest: Vec<_> = std::iter::from_fn(|| second.pop().ok()).map(|element| element.key).collect();
        assert_eq!(rest, [4, 5, 6, 7]);
        if ended.is_some() {
            break;
        }
        died += 1;
    }
    // Three pops of six accesses and one that finds nothing.
    assert!(died >= 3 * 6 + 2, "{died}");
    // In each pop one death is between the handing over and the move of the tail.
    assert_eq!(twice, 3);
    assert!(nodes >= 3, "in each pop one at least is between the move of the tail and the free of the stub");
}

/// The consumer dies before each of its accesses, one death after another. Then comes the reclaim, and then the
/// next consumer.
fn mpmc_goes_on_after_every_death(mortal: Side, next: Side) {
    let (mut died, mut twice, mut reclaimed) = (0, 0, 0);
    for death in 0.. {
        let ring = ring();
        let seen = Seen::default();
        let ended = dying(death, || pop_all(&ring, mortal, &seen));

        // SAFETY: the only consumer is dead.
        reclaimed += unsafe { ring.queue().reclaim(|element| seen.take(element)) };
        pop_all(&ring, next, &seen);
        twice += seen.check(death);
        // SAFETY: nothing runs.
        unsafe { ring.queue().recount() };
        assert_eq!(ring.queue().verify_quiesced(), Ok(()), "death before access {death}");
        for serial in 4..8 {
            ring.queue().push(item(serial)).expect("every cell is free again");
        }
        let rest = Seen::default();
        pop_all(&ring, next, &rest);
        assert_eq!(rest.0.into_inner(), [4, 5, 6, 7]);
        if ended.is_some() {
            break;
        }
        died += 1;
    }
    // Two reads of the geometry, three pops of six accesses and one that finds nothing.
    assert!(died >= 2 + 3 * 6 + 2, "{died}");
    // Between claim and free are two deaths: before the data is read, and after it was handed over.
    assert_eq!((twice, reclaimed), (3, 3 * 2));
}

#[test]
fn mpmc_a_consumer_that_dies_anywhere_loses_nothing_and_at_most_one_element_is_seen_twice() {
    mpmc_goes_on_after_every_death(Side::Many, Side::Many);
}

#[test]
fn mpmc_a_single_consumer_that_dies_anywhere_leaves_the_same_and_any_consumer_goes_on() {
    mpmc_goes_on_after_every_death(Side::Single, Side::Many);
    mpmc_goes_on_after_every_death(Side::Single, Side::Single);
}

#[test]
fn mpmc_a_single_consumer_goes_on_after_one_of_many_that_dies_anywhere() {
    mpmc_goes_on_after_every_death(Side::Many, Side::Single);
}

#[test]
fn mpmc_a_claimed_cell_fills_the_queue_until_it_is_reclaimed() {
    for (mortal, next) in successions() {
        let ring = ring();
        // Through all but the last two accesses of a pop: the store of the sequence, and the counter.
        assert_eq!(dying(6, || pop_all(&ring, mortal, &Seen::default())), None);
        ring.queue().push(item(4)).expect("the fourth cell");
        assert!(ring.queue().push(item(5)).is_err(), "the dead consumer's cell is not free");
        let others = Seen::default();
        pop_all(&ring, next, &others);
        assert_eq!(others.0.into_inner(), [2, 3, 4], "the others go round it");
        assert!(ring.queue().push(item(5)).is_err(), "still, although the queue is empty");
        assert_eq!(ring.queue().pop(), Err(PopError::Empty));

        let mut handed_over = Vec::new();
        // SAFETY: one consumer is dead, and the other has ended.
        assert_eq!(unsafe { ring.queue().reclaim(|element| handed_over.push(element)) }, 1);
        assert_eq!(handed_over, [item(1)]);
        // SAFETY: as above.
        assert_eq!(unsafe { ring.queue().reclaim(|_| ()) }, 0, "once");
        assert_eq!(ring.queue().push(item(5)), Ok(()));
    }
}

#[test]
fn mpsc_nothing_is_repaired_while_a_producer_is_between_swap_and_link() {
    let list = list();
    let mut consumer = mortal(&list);
    let queue = list.shared();
    stalled(
        mpsc::site::PUSH_LINK.info(),
        || queue.push(item(4)),
        // SAFETY: the producer stands still.
        || assert!(matches!(unsafe { consumer.repair() }, Err(Corruption::Unlinked(_)))),
    )
    .expect("a spare node");
    // SAFETY: no producer runs.
    assert_eq!(unsafe { consumer.repair() }, Ok(0));
    assert_eq!(consumer.len(), 4);
}

#[test]
fn mpsc_a_consumer_that_dies_in_a_batch_loses_nothing() {
    let (mut died, mut nodes) = (0, 0);
    for death in 0.. {
        let list = list();
        let seen = Seen::default();
        let mut first = mortal(&list);
        let ended = dying(death, || first.drain(3, |element| seen.take(element)));
        let handed_over = seen.0.borrow().len();

        let again = Seen::default();
        let mut second = mortal(&list);
        let left = second.drain(3, |element| again.take(element)).unwrap_or(0) as usize;
        // All of the batch, or nothing: the tail is written once.
        assert!(left == 3 || left == 0 && handed_over == 3, "death before access {death}: {left} left");
        again.0.borrow_mut().splice(0..0, (1..=3 - left as u64).filter(|_| left == 0));
        again.check(death);
        // SAFETY: no producer runs.
        let returned = unsafe { second.repair() }.expect("a sound queue");
        assert!(returned == 0 || returned == 3 && left == 0, "death before access {death}: {returned} nodes");
        nodes += returned;
        assert_eq!(second.verify_quiesced(), Ok(()), "death before access {death}");
        assert_eq!(list.pool().free_nodes(), Ok(4), "death before access {death}");
        if ended.is_some() {
            break;
        }
        died += 1;
    }
    assert!(died >= 3 * 3 + 2, "{died}");
    assert!(nodes >= 3, "one death at least is between the move of the tail and the free of the nodes");
}

/// The same as [`mpmc_goes_on_after_every_death`], in a batch of three.
fn mpmc_goes_on_after_every_death_in_a_batch(mortal: Side, next: Side) {
    let (mut died, mut twice, mut reclaimed) = (0, 0, 0);
    for death in 0.. {
        let ring = ring();
        let seen = Seen::default();
        let ended = dying(death, || drain(&ring, mortal, 3, |element| seen.take(element)));

        // SAFETY: the only consumer is dead.
        reclaimed += unsafe { ring.queue().reclaim(|element| seen.take(element)) };
        while drain(&ring, next, 2, |element| seen.take(element)).is_ok() {}
        twice += seen.check(death);
        // SAFETY: nothing runs.
        unsafe { ring.queue().recount() };
        assert_eq!(ring.queue().verify_quiesced(), Ok(()), "death before access {death}");
        assert_eq!(ring.queue().push_many(&[4, 5, 6, 7].map(item)), Ok(4), "every cell is free again");
        let rest = Seen::default();
        assert_eq!(drain(&ring, next, 9, |element| rest.take(element)), Ok(4));
        assert_eq!(rest.0.into_inner(), [4, 5, 6, 7]);
        if ended.is_some() {
            break;
        }
        died += 1;
    }
    assert!(died >= 3 + 3 + 1 + 3 * 2, "{died}");
    // Of three elements each can be read, and handed over, by a consumer that dies then: 3 + 3 + 2 + 2 + 1 + 1.
    assert_eq!((twice, reclaimed), (3, 12));
}

#[test]
fn mpmc_a_consumer_that_dies_in_a_batch_loses_nothing_and_at_most_one_element_is_seen_twice() {
    mpmc_goes_on_after_every_death_in_a_batch(Side::Many, Side::Many);
}

#[test]
fn mpmc_a_single_consumer_that_dies_in_a_batch_leaves_the_same_and_any_consumer_goes_on() {
    mpmc_goes_on_after_every_death_in_a_batch(Side::Single, Side::Many);
    mpmc_goes_on_after_every_death_in_a_batch(Side::Single, Side::Single);
}

#[test]
fn mpmc_a_single_consumer_goes_on_after_one_of_many_that_dies_in_a_batch() {
    mpmc_goes_on_after_every_death_in_a_batch(Side::Many, Side::Single);
}

/// Blocks of several nodes: how many elements a list has room for beside its stub, and how many nodes a block
/// has. In some the last block is short.
const BLOCKS: [(u64, u32); 6] = [(5, 2), (6, 2), (8, 2), (7, 4), (11, 4), (13, 4)];

/// A list with the elements 1, 2 and 3, which has been used before: some blocks are partly spent. Two
/// processors have pushed, so that two have a magazine.
fn list_of_blocks(elements: u64, block: u32) -> List {
    let list = List::with_blocks(elements, block);
    let mut consumer = list.consumer();
    for serial in 0..3 {
        list.shared().push(item(serial)).expect("room");
        consumer.pop().expect("just pushed");
    }
    drop(consumer);
    for serial in 1..=3 {
        on_processor(serial as usize % 2, || list.shared().push(item(serial))).expect("room");
    }
    list
}

fn addresses(list: &List) -> Vec<usize> {
    let mut taken = Vec::new();
    while let Ok(node) = list.pool().alloc() {
        taken.push(node);
    }
    let addresses: Vec<_> = taken.iter().map(|node| node.addr()).collect();
    for node in taken {
        // SAFETY: just allocated, and not used.
        unsafe { list.pool().free(node) }.expect("nobody else");
    }
    addresses
}

/// Lets an empty queue take every node there is, one time or another: none is lost, and none comes twice.
fn every_node_can_be_had(list: &List, consumer: &mut mpsc::Consumer<'_, Scripted, KeyValue>, elements: u64) {
    let mut seen = BTreeSet::new();
    for serial in 100..102 + elements {
        assert_eq!(list.pool().free_nodes(), Ok(elements));
        let taken = addresses(list);
        assert!(taken.len() as u64 <= elements, "the stub is somebody's");
        let different: BTreeSet<_> = taken.iter().copied().collect();
        assert_eq!(different.len(), taken.len(), "a node has two owners");
        seen.extend(different);
        // So that another node is the stub, and its block can become whole.
        list.shared().push(item(serial)).expect("nobody has a node");
        assert_eq!(consumer.pop(), Ok(item(serial)), "the element is not overwritten");
    }
    assert_eq!(seen.len() as u64, elements + 1, "a node is lost");
}

#[test]
fn mpsc_with_blocks_a_consumer_that_dies_anywhere_loses_no_node() {
    for (elements, block) in BLOCKS {
        let (mut died, mut nodes) = (0, 0);
        for death in 0.. {
            let list = list_of_blocks(elements, block);
            let seen = Seen::default();
            let mut first = mortal(&list);
            let ended = dying(death, || while first.pop_with(|element| seen.take(element)).is_ok() {});

            let mut second = mortal(&list);
            while second.pop_with(|element| seen.take(element)).is_ok() {}
            seen.check(death);
            // SAFETY: no producer runs.
            let returned = unsafe { second.repair() }.expect("a sound queue");
            assert!(returned <= u64::from(block), "death before access {death}: {returned} nodes");
            nodes += returned;
            assert_eq!(second.verify_quiesced(), Ok(()), "death before access {death}");
            every_node_can_be_had(&list, &mut second, elements);
            if ended.is_some() {
                break;
            }
            died += 1;
        }
        assert!(died >= 3 * 6 + 2, "{died}");
        assert!(
            nodes >= 3,
            "in each pop one at least is between the move of the tail and the count of the stub"
        );
    }
}

#[test]
fn mpsc_with_blocks_a_consumer_that_dies_in_a_batch_loses_no_node() {
    for (elements, block) in BLOCKS {
        let (mut died, mut nodes) = (0, 0);
        for death in 0.. {
            let list = list_of_blocks(elements, block);
            let mut first = mortal(&list);
            let ended = dying(death, || first.drain(3, |_| ()));

            let mut second = mortal(&list);
            let left = second.drain(3, |_| ()).unwrap_or(0);
            assert!(left == 0 || left == 3, "death before access {death}: {left} left");
            // SAFETY: no producer runs.
            nodes += unsafe { second.repair() }.expect("a sound queue");
            assert_eq!(second.verify_quiesced(), Ok(()), "death before access {death}");
            every_node_can_be_had(&list, &mut second, elements);
            if ended.is_some() {
                break;
            }
            died += 1;
        }
        assert!(died >= 3 * 3 + 2, "{died}");
        assert!(nodes >= 3, "one death at least is between the move of the tail and the count of the nodes");
    }
}

#[test]
fn mpsc_a_repair_knows_that_every_node_of_the_largest_block_is_in_use() {
    const NODES: u64 = 3 * 64;
    let list = List::with_blocks(NODES - 1, 64);
    let mut pushed = 0;
    while list.shared().push(item(pushed)).is_ok() {
        pushed += 1;
    }
    assert_eq!(pushed, NODES - 1, "all nodes but the stub");
    let mut consumer = list.consumer();
    // SAFETY: nobody else is here.
    assert_eq!(unsafe { consumer.repair() }, Ok(0), "nothing is lost");
    for serial in 0..pushed {
        assert_eq!(consumer.pop(), Ok(item(serial)));
    }
    every_node_can_be_had(&list, &mut consumer, NODES - 1);
}

#[test]
fn mpsc_what_the_pool_did_not_take_back_is_given_back_once_and_not_by_a_repair_as_well() {
    for (elements, block) in BLOCKS.into_iter().chain([(4, 1)]) {
        let list = list_of_blocks(elements, block);
        let mut consumer = list.consumer();
        let mut seen = Vec::new();
        let (drained, lost) =
            losing(pool::site::FREE_PUSH.info(), || consumer.drain(3, |element| seen.push(element)));
        assert_eq!((drained, seen), (Ok(3), vec![item(1), item(2), item(3)]));
        if block == 1 {
            assert!(lost > 0, "three blocks were to be given back");
        }
        // SAFETY: nobody else is here.
        assert_eq!(unsafe { consumer.repair() }, Ok(0), "nothing is lost: {elements} in blocks of {block}");
        every_node_can_be_had(&list, &mut consumer, elements);
    }
}

#[test]
fn mpsc_a_repair_that_dies_anywhere_is_repeated_by_the_next() {
    for (elements, block) in BLOCKS.into_iter().chain([(5, 1)]) {
        for death in 0.. {
            let mut ended = None;
            for second_death in 0.. {
                let list = list_of_blocks(elements, block);
                let mut first = mortal(&list);
                ended = dying(death, || first.drain(2, |_| ()));

                let mut second = mortal(&list);
                // SAFETY: no producer runs.
                let repaired = dying(second_death, || unsafe { second.repair() }.expect("a sound queue"));
                let mut third = mortal(&list);
                // SAFETY: as above.
                unsafe { third.repair() }.expect("still a sound queue");
                assert_eq!(third.verify_quiesced(), Ok(()), "deaths {death} and {second_death}");
                assert_eq!(list.pool().free_nodes(), Ok(elements - third.len()));
                // SAFETY: as above.
                assert_eq!(unsafe { third.repair() }, Ok(0), "deaths {death} and {second_death}: once");
                while third.pop().is_ok() {}
                every_node_can_be_had(&list, &mut third, elements);
                if repaired.is_some() {
                    break;
                }
            }
            if ended.is_some() {
                break;
            }
        }
    }
}

/// Nobody knows that a repair has died, so the queue may go on for a while before somebody dies again.
#[test]
fn mpsc_a_repair_that_died_hides_no_node_from_a_later_one() {
    for (elements, block) in BLOCKS.into_iter().chain([(5, 1)]) {
        for repair_death in 0.. {
            let mut repaired = None;
            for death in 0.. {
                let list = list_of_blocks(elements, block);
                let mut first = mortal(&list);
                // SAFETY: no producer runs.
                repaired = dying(repair_death, || unsafe { first.repair() }.expect("a sound queue"));
                let mut second = mortal(&list);
                assert_eq!(second.drain(3, |_| ()), Ok(3));
                // Every node that can be had, also those that the dead one has looked at.
                let pushed = (4..).take_while(|serial| list.shared().push(item(*serial)).is_ok()).count();
                let expected = if block == 1 { elements } else { 1 };
                assert!(pushed as u64 >= expected, "the pool still works");
                let ended = dying(death, || while second.pop().is_ok() {});

                let mut third = mortal(&list);
                while third.pop().is_ok() {}
                // SAFETY: as above.
                unsafe { third.repair() }.expect("a sound queue");
                let free = list.pool().free_nodes();
                assert_eq!(free, Ok(elements), "blocks of {block}, deaths {repair_death} and {death}");
                every_node_can_be_had(&list, &mut third, elements);
                if ended.is_some() {
                    break;
                }
            }
            if repaired.is_some() {
                break;
            }
        }
    }
}

/// A producer that is killed has nodes that are in no list and in no magazine.
#[test]
fn mpsc_with_blocks_what_a_producer_has_that_dies_before_its_swap_comes_back() {
    let values = [4, 5, 6].map(item);
    // So many that a block is free.
    for (elements, block) in [(9, 1), (9, 2), (15, 4), (17, 4)] {
        for pushes in [1, values.len()] {
            let (mut unlinked, mut most) = (0, 0);
            for death in 0.. {
                let list = list_of_blocks(elements, block);
                // A processor whose magazine is empty, so that it takes a block.
                let ended = on_processor(3, || {
                    dying(death, || match pushes {
                        1 => list.shared().push(values[0]).map(|()| 1),
                        _ => list.shared().push_many(&values),
                    })
                });
                let mut consumer = mortal(&list);
                // SAFETY: the producer is dead, and no other runs.
                match unsafe { consumer.repair() } {
                    Ok(returned) => {
                        most = most.max(returned);
                        let length = consumer.len();
                        assert!(length == 3 || (4..=6).contains(&length), "{length} elements");
                        assert_eq!(list.pool().free_nodes(), Ok(elements - length), "death {death}");
                        let rest: Vec<_> =
                            std::iter::from_fn(|| consumer.pop().ok()).map(|e| e.key).collect();
                        assert!(rest.into_iter().eq(1..=length), "death {death}");
                        every_node_can_be_had(&list, &mut consumer, elements);
                    }
                    // Between swap and link nothing can be done.
                    Err(error) => {
                        assert!(matches!(error, Corruption::Unlinked(_)), "{error}");
                        unlinked += 1;
                    }
                }
                if ended.is_some() {
                    break;
                }
            }
            assert_eq!(unlinked, 1, "one access is between swap and link");
            // Between the claim of a block and the filling of the magazine all of it is nobody else's.
            assert!(most >= u64::from(block), "blocks of {block}: {most} nodes");
        }
    }
}

#[test]
fn mpsc_what_is_in_magazines_stays_there_when_somebody_repairs() {
    let list = List::with_blocks(15, 4);
    let mut first = mortal(&list);
    // The stub was the first node of a block that is in the magazine of processor 0.
    for serial in 1..=4 {
        on_processor(serial as usize - 1, || list.shared().push(item(serial))).expect("room");
    }
    // Past the move of the tail, before the node is counted as spent.
    let moved = (0..).find(|accesses| {
        let list = List::with_blocks(15, 4);
        list.shared().push(item(1)).expect("room");
        let mut first = mortal(&list);
        assert_eq!(dying(*accesses, || first.pop()), None);
        list.consumer().pop().is_err()
    });
    assert_eq!(dying(moved.expect("a pop moves the tail"), || first.pop()), None);
    let mut second = mortal(&list);
    assert_eq!(list.pool().free_nodes(), Ok(11), "the first stub is lost");
    // SAFETY: no producer runs.
    assert_eq!(unsafe { second.repair() }, Ok(1));
    assert_eq!((list.pool().free_nodes(), second.len()), (Ok(12), 3));

    let mut held = BTreeSet::new();
    while let Ok(node) = list.pool().alloc() {
        // SAFETY: just allocated: it is ours to write.
        unsafe { node.write(mpsc::Node::empty()) };
        assert!(held.insert(node.addr()), "a node has two owners");
    }
    assert_eq!(held.len(), 2 + 3 * 3, "all of the magazines; one node is spent, and four are in the queue");
    let rest: Vec<_> = std::iter::from_fn(|| second.pop().ok()).map(|element| element.key).collect();
    assert_eq!(rest, [2, 3, 4], "nobody has written to a node of the queue");
}

/// How many nodes a pool has at first beside the stub, how many a block has, and how many there is room for.
/// In the last one the last block is short.
const GROWING: [(u64, u32, u64); 3] = [(3, 1, 12), (7, 4, 16), (7, 4, 18)];

#[test]
fn mpsc_nodes_of_a_growth_that_died_come_back_once_their_memory_is_there() {
    for (elements, block, limit) in GROWING {
        let list = List::growing(elements, block, limit);
        let reservation = list.pool().reserve(1, limit).expect("room");
        let (claimed, addresses) = (reservation.len(), list.pool().node_addresses(&reservation));
        assert_eq!(claimed, limit - elements - 1);
        list.shared().push(item(1)).expect("a node");
        let mut consumer = mortal(&list);
        let mut asked = Vec::new();
        let populate = |range: std::ops::Range<usize>| {
            asked.push(range);
            true
        };
        // SAFETY: no producer runs.
        let repaired = unsafe { consumer.repair_with(populate) }.expect("a sound queue");
        assert_eq!(repaired, Repaired { returned: claimed, missing: 0 });
        for address in addresses.step_by(size_of::<mpsc::Node<Native, KeyValue>>()) {
            assert!(asked.iter().any(|range| range.contains(&address)), "nobody has asked for {address:#x}");
        }
        assert_eq!(list.pool().free_nodes(), Ok(limit - 2));
        assert_eq!(consumer.pop(), Ok(item(1)));
        every_node_can_be_had(&list, &mut consumer, limit - 1);
    }
}

#[test]
fn mpsc_nodes_without_memory_are_missing_until_there_is_some() {
    for (elements, block, limit) in GROWING {
        let list = List::growing(elements, block, limit);
        let reservation = list.pool().reserve(1, limit).expect("room");
        let claimed = reservation.len();
        let blocks = claimed.div_ceil(block.into());
        let new = list.pool().node_addresses(&reservation);
        let mut consumer = mortal(&list);
        for there in 0..blocks {
            let mut left = there;
            let populate = |range: std::ops::Range<usize>| {
                let is_new = new.contains(&range.start);
                let is_there = !is_new || left > 0;
                left -= u64::from(is_new && is_there);
                is_there
            };
            // So many blocks more than the last time.
            // SAFETY: no producer runs.
            let repaired = unsafe { consumer.repair_with(populate) }.expect("a sound queue");
            assert_eq!(consumer.verify_quiesced(), Ok(()));
            let total = list.pool().free_nodes().expect("a sound pool") - elements;
            assert_eq!(total + repaired.missing, claimed, "{there} blocks more: {repaired:?}");
            if there == 0 {
                assert_eq!(repaired, Repaired { returned: 0, missing: claimed });
                every_node_can_be_had(&list, &mut consumer, elements);
            }
        }
        // SAFETY: as above.
        unsafe { consumer.repair() }.expect("a sound queue");
        every_node_can_be_had(&list, &mut consumer, limit - 1);
    }
}

/// Links come by the page too: what is not there has never been written.
#[test]
fn mpsc_blocks_whose_links_have_no_memory_are_not_looked_at() {
    const ELEMENTS: u64 = 2000;
    const LIMIT: u64 = 4096;
    let list = List::growing(ELEMENTS, 1, LIMIT);
    let reservation = list.pool().reserve(1, LIMIT).expect("room");
    let end = list.pool().link_addresses(&reservation).end;
    let mut consumer = mortal(&list);
    // The last page of links is not there, whatever part of it is the pool's.
    let last_page = (end - 1) & !4095;
    let link = size_of::<u64>();
    let hidden = (end - last_page.max(list.pool().link_addresses(&reservation).start)) / link;
    let populate = |range: std::ops::Range<usize>| range.end <= last_page || range.start >= end;
    // SAFETY: no producer runs.
    let repaired = unsafe { consumer.repair_with(populate) }.expect("a sound queue");
    let claimed = LIMIT - ELEMENTS - 1;
    let hidden = hidden as u64;
    assert_eq!(repaired, Repaired { returned: claimed - hidden, missing: hidden });
    assert_eq!(list.pool().free_nodes(), Ok(LIMIT - 1 - hidden));
    // SAFETY: as above.
    assert_eq!(unsafe { consumer.repair() }, Ok(hidden));
    assert_eq!(list.pool().free_nodes(), Ok(LIMIT - 1));
}

#[test]
fn a_panic_in_a_batch_leaves_what_a_death_leaves() {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    fn panics(times: &mut u64, element: KeyValue) {
        *times += 1;
        if element == item(2) {
            // Past the panic hook, which would print.
            resume_unwind(Box::new("the closure"));
        }
    }

    let list = list();
    let mut consumer = mortal(&list);
    let mut times = 0;
    let caught = catch_unwind(AssertUnwindSafe(|| consumer.drain(3, |element| panics(&mut times, element))));
    assert!(caught.is_err() && times == 2);
    let rest: Vec<_> = std::iter::from_fn(|| consumer.pop().ok()).map(|element| element.key).collect();
    assert_eq!(rest, [1, 2, 3], "the batch is there as a whole");
    assert_eq!(list.pool().free_nodes(), Ok(4));

    for (mortal, next) in successions() {
        let ring = ring();
        let caught =
            catch_unwind(AssertUnwindSafe(|| drain(&ring, mortal, 3, |element| panics(&mut times, element))));
        assert!(caught.is_err());
        assert_eq!(drain(&ring, next, 1, |_| ()), Err(PopError::Empty), "the batch is claimed as a whole");
        let mut left = Vec::new();
        // SAFETY: the consumer that panicked will not go on, and the other has ended.
        assert_eq!(unsafe { ring.queue().reclaim(|element| left.push(element.key)) }, 2);
        assert_eq!(left, [2, 3], "the first was handed over and freed");
    }
}

/// The handle is there after the panic, and may be used again once the cell is reclaimed.
#[test]
fn a_single_consumer_whose_pop_panics_goes_on_when_its_element_is_reclaimed() {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    let ring = ring();
    let mut consumer = ring.single_consumer();
    let caught =
        catch_unwind(AssertUnwindSafe(|| consumer.pop_with(|_| resume_unwind(Box::new("the closure")))));
    assert!(caught.is_err());
    assert_eq!(consumer.pop(), Ok(item(2)), "the element after it");
    let mut left = Vec::new();
    // SAFETY: who reclaims is the only consumer itself.
    assert_eq!(unsafe { consumer.queue().reclaim(|element| left.push(element)) }, 1);
    assert_eq!(left, [item(1)]);
    assert_eq!((consumer.pop(), consumer.pop()), (Ok(item(3)), Err(PopError::Empty)));
    assert_eq!(ring.queue().verify_quiesced(), Ok(()));
}

#[test]
fn mpmc_from_a_consumer_with_a_slot_that_dies_anywhere_one_that_lives_takes_over() {
    for batch in 1..=3 {
        let (mut died, mut twice, mut taken_over) = (0, 0, 0);
        for death in 0.. {
            let (ring, slots, seen) = (ring(), Slots::<Scripted>::new(), Seen::default());
            let queue = ring.queue().with_slots(&slots);
            let mut living = queue.consumer(OWNER).expect("a slot");
            let mut mortal = ManuallyDrop::new(queue.consumer(OWNER).expect("another slot"));
            let ended = dying(death, || while mortal.drain(batch, |element| seen.take(element)).is_ok() {});

            // SAFETY: the other one is dead, and both have slots.
            let found = unsafe { living.take_over(|_, _| true, |element| seen.take(element)) };
            let found = found.expect("nobody else takes over");
            assert_eq!((found.consumers, found.undecided), (1, 0), "death before access {death}");
            taken_over += found.elements;
            while living.pop_with(|element| seen.take(element)).is_ok() {}
            twice += seen.check(death);
            assert_eq!(queue.owners().filter(Option::is_some).count(), 1, "its slot is free");
            // SAFETY: nothing runs.
            unsafe { ring.queue().recount() };
            assert_eq!(ring.queue().verify_quiesced(), Ok(()), "death before access {death}");
            for serial in 4..8 {
                assert_eq!(ring.queue().push(item(serial)), Ok(()), "every cell is free");
            }
            if ended.is_some() {
                break;
            }
            died += 1;
        }
        // The read and the free of each, and the announcement and the claim of each batch.
        assert!(died >= 3 * 2 + 3_u64.div_ceil(batch) * 6, "{died}");
        // In each pop one death is between the handing over and the free of the cell.
        assert_eq!(twice, 3);
        assert!(taken_over >= 3 * 2, "{taken_over}");
    }
}

#[test]
fn mpmc_who_takes_over_leaves_what_a_living_consumer_may_hold_until_that_has_ended() {
    let (ring, slots) = (ring(), Slots::<Scripted>::new());
    let queue = ring.queue().with_slots(&slots);
    let [mut heir, mut living, mortal] = [(); 3].map(|()| queue.consumer(OWNER).expect("a slot"));
    let mut mortal = ManuallyDrop::new(mortal);
    let dead = mortal.number();
    // Announced, and not claimed.
    assert_eq!(dying(4, || mortal.pop()), None);
    let mut taken = Vec::new();
    let mut take_over = |heir: &mut mpmc::Consumer<'_, _, _>| {
        // SAFETY: that one is dead, and all have slots.
        unsafe { heir.take_over(|slot, _| slot == dead, |element| taken.push(element)) }
    };
    let popped = living.pop_with(|element| {
        let found = take_over(&mut heir).expect("nobody else takes over");
        assert_eq!((found.elements, found.consumers, found.undecided), (0, 0, 1), "the living one has it");
        element
    });
    assert_eq!(popped, Ok(item(1)));
    let found = take_over(&mut heir).expect("nobody else takes over");
    assert_eq!((found.elements, found.consumers, found.undecided), (0, 1, 0), "nothing was claimed");
    assert_eq!(taken, []);
    assert_eq!((living.pop(), heir.pop()), (Ok(item(2)), Ok(item(3))));
}

#[test]
fn mpmc_after_a_panic_a_consumer_with_a_slot_hands_over_what_it_held() {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    let (ring, slots) = (ring(), Slots::<Scripted>::new());
    let queue = ring.queue().with_slots(&slots);
    let panics_at = |consumer: &mut mpmc::Consumer<'_, _, _>, serial| {
        let hand_over = |element| {
            if element == item(serial) {
                // Past the panic hook, which would print.
                resume_unwind(Box::new("the closure"));
            }
        };
        catch_unwind(AssertUnwindSafe(|| consumer.drain(3, hand_over))).expect_err("the closure panics");
    };
    let mut consumer = queue.consumer(OWNER).expect("a slot");
    panics_at(&mut consumer, 2);
    assert_eq!(consumer.pop(), Ok(item(2)), "the first was handed over and freed");
    // To others one that is dropped in the middle has died.
    panics_at(&mut consumer, 3);
    drop(consumer);
    let mut heir = queue.consumer(OWNER).expect("another slot");
    let mut taken = Vec::new();
    // SAFETY: it was dropped.
    let found = unsafe { heir.take_over(|_, _| true, |element| taken.push(element)) };
    assert_eq!(found.map(|found| found.consumers), Some(1));
    assert_eq!(taken, [item(3)]);
    assert_eq!((heir.pop(), ring.queue().len()), (Err(PopError::Empty), 0));
}

#[test]
fn mpmc_a_ring_that_the_dead_keep_from_producers_says_so() {
    let (ring, slots) = (ring(), Slots::<Scripted>::new());
    let queue = ring.queue().with_slots(&slots);
    let mut living = queue.consumer(OWNER).expect("a slot");
    let mut mortal = ManuallyDrop::new(queue.consumer(OWNER).expect("another slot"));
    assert_eq!(dying(5, || mortal.pop()), None, "it has claimed the first");
    let mut pushed = 4;
    while ring.queue().push(item(pushed)).is_ok() {
        pushed += 1;
    }
    assert!(!ring.queue().is_held_up(), "there are elements");
    while living.pop().is_ok() {}
    assert!(ring.queue().is_empty() && ring.queue().is_held_up());
    assert_eq!(ring.queue().push(item(9)), Err(PushError::Full));
    // SAFETY: the other one is dead, and both have slots.
    unsafe { living.take_over(|_, _| true, |element| assert_eq!(element, item(1))) };
    assert!(!ring.queue().is_held_up());
    assert_eq!(ring.queue().push(item(9)), Ok(()));
}
