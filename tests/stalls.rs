//! What others see while a thread stands still in the middle of an operation, and what an operation says that
//! always loses.
//!
//! The crate's documentation says which promises end there; these are the witnesses.

mod support;

use arenaq::platform::{Native, Platform, Word};
use arenaq::pool::{self, AllocError, GrowError, Pool};
use arenaq::{Corruption, KeyValue, PopError, PushError, mpmc, mpsc};
use support::queues::{List, Ring, item};
use support::scripted::{Scripted, losing, on_processor, stalled};

fn drain(consumer: &mut mpsc::Consumer<'_, Scripted, KeyValue>) -> Vec<u64> {
    std::iter::from_fn(|| consumer.pop().ok()).map(|element| element.key).collect()
}

#[test]
fn mpsc_a_producer_between_swap_and_link_makes_the_queue_busy_and_nothing_is_lost() {
    let list = List::new(8);
    let (queue, pool) = (list.shared(), list.pool());
    let mut consumer = list.consumer();
    queue.push(item(1)).expect("room");

    let pushed = stalled(
        mpsc::site::PUSH_LINK.info(),
        || queue.push(item(2)),
        || {
            assert_eq!(queue.push(item(3)), Ok(()), "a stalled producer blocks no producer");
            assert_eq!(queue.push(item(4)), Ok(()));
            assert_eq!(consumer.len(), 1, "what is not linked is not seen");
            assert_eq!(consumer.search(|element| element.key == 3), None, "although its push has returned");
            assert_eq!(consumer.verify(), Ok(()));
            assert!(matches!(consumer.verify_quiesced(), Err(Corruption::Unlinked(_))));
            assert_eq!(consumer.pop(), Ok(item(1)), "what is linked comes out");
            for _ in 0..3 {
                assert_eq!(consumer.pop(), Err(PopError::Busy), "not empty: two pushes have returned");
            }
            assert!(consumer.is_empty());
            assert_eq!(queue.count(), 2, "the counter knows of the finished pushes");
        },
    );

    assert_eq!(pushed, Ok(()));
    assert_eq!(consumer.verify_quiesced(), Ok(()));
    assert_eq!(drain(&mut consumer), [2, 3, 4], "the order is that of the swaps");
    assert_eq!(consumer.pop(), Err(PopError::Empty));
    assert_eq!((queue.count(), pool.free_nodes()), (0, Ok(8)));
}

#[test]
fn mpsc_the_first_producer_stalled_makes_an_untouched_queue_busy() {
    let list = List::new(4);
    let queue = list.shared();
    let mut consumer = list.consumer();
    let pushed = stalled(
        mpsc::site::PUSH_LINK.info(),
        || queue.push(item(1)),
        || assert_eq!(consumer.pop(), Err(PopError::Busy)),
    );
    assert_eq!((pushed, consumer.pop()), (Ok(()), Ok(item(1))));
}

#[test]
fn mpsc_a_producer_before_its_swap_holds_up_nobody() {
    let list = List::new(4);
    let queue = list.shared();
    let mut consumer = list.consumer();
    let pushed = stalled(
        mpsc::site::PUSH_SWAP.info(),
        || queue.push(item(1)),
        || {
            assert_eq!(consumer.pop(), Err(PopError::Empty));
            queue.push(item(2)).expect("room");
            assert_eq!(consumer.pop(), Ok(item(2)));
            assert_eq!(consumer.verify_quiesced(), Ok(()));
        },
    );
    assert_eq!((pushed, consumer.pop()), (Ok(()), Ok(item(1))));
}

#[test]
fn mpsc_two_producers_stalled_between_swap_and_link_join_their_pieces_in_any_order() {
    let list = List::new(8);
    let queue = list.shared();
    let mut consumer = list.consumer();
    let outer = stalled(
        mpsc::site::PUSH_LINK.info(),
        || queue.push(item(1)),
        || {
            let inner = stalled(
                mpsc::site::PUSH_LINK.info(),
                || queue.push(item(2)),
                || {
                    queue.push(item(3)).expect("room");
                    assert_eq!(consumer.pop(), Err(PopError::Busy));
                },
            );
            assert_eq!(inner, Ok(()));
            assert_eq!(consumer.pop(), Err(PopError::Busy), "the first piece is still apart");
        },
    );
    assert_eq!(outer, Ok(()));
    assert_eq!(drain(&mut consumer), [1, 2, 3]);
    assert_eq!(consumer.verify_quiesced(), Ok(()));
}

#[test]
fn mpsc_a_stalled_producer_holds_back_nodes_until_the_pool_is_exhausted() {
    let list = List::new(3);
    let (queue, pool) = (list.shared(), list.pool());
    let mut consumer = list.consumer();
    stalled(
        mpsc::site::PUSH_LINK.info(),
        || queue.push(item(1)),
        || {
            queue.push(item(2)).expect("room");
            queue.push(item(3)).expect("room");
            assert_eq!(queue.push(item(4)), Err(PushError::Exhausted));
            assert_eq!(consumer.pop(), Err(PopError::Busy));
        },
    )
    .expect("room");
    assert_eq!(drain(&mut consumer), [1, 2, 3]);
    assert_eq!(pool.free_nodes(), Ok(3));
}

#[test]
fn mpsc_a_counter_that_lags_behind_never_shows_a_huge_number() {
    let list = List::new(4);
    let queue = list.shared();
    let mut consumer = list.consumer();
    stalled(
        mpsc::site::PUSH_COUNT.info(),
        || queue.push(item(1)),
        || {
            assert_eq!(consumer.pop(), Ok(item(1)), "linked, and not yet counted");
            assert_eq!(queue.count(), 0);
            assert_eq!(consumer.verify_quiesced(), Err(Corruption::Count { count: -1, length: 0 }));
        },
    )
    .expect("room");
    assert_eq!((queue.count(), consumer.verify_quiesced()), (0, Ok(())));
}

#[test]
fn mpmc_a_producer_between_claim_and_publish_hides_later_elements_and_loses_none() {
    let ring = Ring::new(4);
    let queue = &ring.queue();
    let pushed = stalled(
        mpmc::site::PUSH.publish_cell.info(),
        || queue.push(item(1)),
        || {
            assert_eq!(queue.push(item(2)), Ok(()), "a stalled producer blocks no producer");
            assert_eq!(queue.pop(), Err(PopError::Empty), "although a push has returned");
            assert_eq!(queue.len(), 2, "the positions know better");
            assert!(!queue.is_empty());
            // SAFETY: nobody pops.
            let found = unsafe { queue.search(|_| true) };
            assert_eq!(found, Ok(Some(item(2))), "and so does a search");
            assert_eq!(queue.verify(), Ok(()));
            assert!(matches!(queue.verify_quiesced(), Err(Corruption::Sequence { .. })));
            queue.push(item(3)).expect("room");
            queue.push(item(4)).expect("room");
            assert_eq!(queue.push(item(5)), Err(PushError::Full));
        },
    );
    assert_eq!(pushed, Ok(()));
    assert_eq!(queue.verify_quiesced(), Ok(()));
    for serial in 1..=4 {
        assert_eq!(queue.pop(), Ok(item(serial)));
    }
    assert_eq!(queue.pop(), Err(PopError::Empty));
}

#[test]
fn mpmc_a_consumer_between_claim_and_free_makes_a_queue_full_that_has_free_cells() {
    let ring = Ring::new(4);
    let queue = &ring.queue();
    for serial in 1..=4 {
        queue.push(item(serial)).expect("room");
    }
    let popped = stalled(
        mpmc::site::POP.free_cell.info(),
        || queue.pop(),
        || {
            assert_eq!(queue.pop(), Ok(item(2)), "a stalled consumer blocks no consumer");
            assert_eq!(queue.push(item(5)), Err(PushError::Full), "although a pop has returned");
            assert_eq!(queue.len(), 2);
            assert_eq!(queue.verify(), Ok(()));
            assert_eq!(queue.pop(), Ok(item(3)));
            assert_eq!(queue.pop(), Ok(item(4)));
            assert_eq!((queue.push(item(5)), queue.pop()), (Err(PushError::Full), Err(PopError::Empty)));
        },
    );
    assert_eq!(popped, Ok(item(1)));
    assert_eq!(queue.verify_quiesced(), Ok(()));
    assert_eq!((queue.push(item(5)), queue.pop()), (Ok(()), Ok(item(5))));
}

#[test]
fn mpmc_a_thread_that_stalls_before_its_claim_loses_it_and_tries_again() {
    let ring = Ring::new(2);
    let queue = &ring.queue();
    let pushed = stalled(
        mpmc::site::PUSH.claiming.claim_position.info(),
        || queue.push(item(1)),
        || {
            // Several laps, so that the position it has read is long gone.
            for serial in 10..20 {
                queue.push(item(serial)).expect("room");
                queue.pop().expect("just pushed");
            }
        },
    );
    assert_eq!(pushed, Ok(()));
    let popped = stalled(
        mpmc::site::POP.claiming.claim_position.info(),
        || queue.pop(),
        || {
            assert_eq!(queue.pop(), Ok(item(1)));
            queue.push(item(2)).expect("room");
        },
    );
    assert_eq!((popped, queue.verify_quiesced()), (Ok(item(2)), Ok(())));
}

#[test]
fn mpmc_a_counter_that_lags_behind_never_shows_a_huge_number() {
    let ring = Ring::new(2);
    let queue = &ring.queue();
    stalled(
        mpmc::site::PUSH.increment_count.info(),
        || queue.push(item(1)),
        || {
            assert_eq!(queue.pop(), Ok(item(1)), "published, and not yet counted");
            assert_eq!(queue.count(), 0);
        },
    )
    .expect("room");
    assert_eq!((queue.count(), queue.verify_quiesced()), (0, Ok(())));
}

#[test]
fn pool_a_thread_that_slept_while_a_node_left_and_came_back_does_not_take_the_list_for_the_same() {
    let list = List::new(3);
    let pool = list.pool();
    let mut held = Vec::new();
    // Addresses: a raw pointer cannot cross to the thread of the operation.
    let late = stalled(
        arenaq::pool::site::ALLOC_CLAIM.info(),
        || pool.alloc().expect("a node is free").addr(),
        || {
            let first = pool.alloc().expect("a node is free");
            let second = pool.alloc().expect("a node is free");
            // SAFETY: just allocated and not used any more.
            unsafe { pool.free(first) }.expect("nobody else");
            held.push(second.addr());
        },
    );
    assert!(!held.contains(&late), "the second node is somebody's");
    held.push(late);
    held.push(pool.alloc().expect("the third node").addr());
    held.sort_unstable();
    held.dedup();
    assert_eq!(held.len(), 3);
    assert_eq!(pool.alloc(), Err(AllocError::Exhausted));
}

#[test]
fn an_operation_that_loses_every_claim_says_contended_when_its_budget_is_spent() {
    let budget = Native::retry_budget();
    let ring = Ring::new(2);
    let list = List::new(2);
    let (queue, pool) = (list.shared(), list.pool());
    ring.queue().push(item(1)).expect("room");
    queue.push(item(1)).expect("room");

    let push = losing(mpmc::site::PUSH.claiming.claim_position.info(), || ring.queue().push(item(2)));
    assert_eq!(push, (Err(PushError::Contended), budget));
    let pop = losing(mpmc::site::POP.claiming.claim_position.info(), || ring.queue().pop());
    assert_eq!(pop, (Err(PopError::Contended), budget));
    assert_eq!((ring.queue().len(), ring.queue().verify_quiesced()), (1, Ok(())));
    assert_eq!(ring.queue().pop(), Ok(item(1)));

    let push = losing(arenaq::pool::site::ALLOC_CLAIM.info(), || queue.push(item(2)));
    assert_eq!(push, (Err(PushError::Contended), budget));
    // SAFETY: the memory up to the limit is there.
    let (grow, lost) = losing(arenaq::pool::site::GROW_CLAIM.info(), || unsafe { pool.grow(1) });
    assert!(matches!(grow, Err(GrowError::Limit { room: 0, .. })), "{grow:?}");
    assert_eq!(lost, 0, "no room is no contention");
    assert_eq!(pool.free_nodes(), Ok(1), "a push that did not happen keeps no node");
    assert_eq!(list.consumer().verify_quiesced(), Ok(()));
}

/// As if somebody wrote over the top of the free list all the time.
#[test]
#[cfg_attr(miri, ignore = "a million attempts")]
fn a_growth_whose_nodes_the_list_never_takes_ends() {
    let list = List::growing(2, 1, 4);
    // SAFETY: the memory up to the limit is there.
    let (grown, lost) =
        losing(arenaq::pool::site::FREE_PUSH.info(), || unsafe { list.pool().grow_zeroed(1) });
    assert_eq!(grown, Ok(()));
    assert!(lost % Native::retry_budget() == 0 && lost > 1_000_000, "{lost}");
    assert_eq!((list.pool().created(), list.pool().free_nodes()), (4, Ok(2)), "its node is lost");
}

#[test]
fn growing_says_contended_when_its_budget_is_spent() {
    let mut nodes = [0u64; 4];
    let mut links: Vec<_> = (0..4).map(|_| <Scripted as Platform>::Word::new(0)).collect();
    let pool = Pool::<Scripted, u64>::empty();
    // SAFETY: room for four of both, the pool's alone and alive as long as it.
    unsafe { pool.init(nodes.as_mut_ptr(), links.as_mut_ptr(), 4) };
    let pool = pool.nodes().expect("a pool");
    // SAFETY: the memory is there.
    let (grow, lost) = losing(arenaq::pool::site::GROW_CLAIM.info(), || unsafe { pool.grow(4) });
    assert_eq!((grow.err(), lost), (Some(GrowError::Contended), Native::retry_budget()));
    assert_eq!((pool.created(), pool.free_nodes()), (0, Ok(0)));
}

#[test]
fn nodes_that_the_pool_did_not_take_back_are_given_back_with_the_next() {
    let list = List::new(4);
    let (queue, pool) = (list.shared(), list.pool());
    let mut consumer = list.consumer();
    for serial in 1..=4 {
        queue.push(item(serial)).expect("room");
    }
    assert_eq!(pool.free_nodes(), Ok(0));
    let give_back = arenaq::pool::site::FREE_PUSH.info();
    for serial in 1..=2 {
        let (popped, lost) = losing(give_back, || consumer.pop());
        assert_eq!(popped, Ok(item(serial)), "the element is the caller's, whatever becomes of the node");
        assert_eq!(lost, Native::retry_budget());
        assert_eq!(pool.free_nodes(), Ok(0));
        assert_eq!(consumer.verify_quiesced(), Ok(()));
    }
    assert_eq!(consumer.pop(), Ok(item(3)));
    assert_eq!(pool.free_nodes(), Ok(3), "all three at once");

    let (popped, _) = losing(give_back, || consumer.pop());
    assert_eq!((popped, pool.free_nodes()), (Ok(item(4)), Ok(3)));
    drop(consumer);
    assert_eq!(pool.free_nodes(), Ok(4), "a consumer that leaves keeps nothing");
}

/// Pushes elements from `first` on until there is no node. Returns how many.
fn fill(queue: mpsc::List<'_, Scripted, KeyValue>, first: u64) -> u64 {
    let refused = (first..).find_map(|serial| queue.push(item(serial)).err().map(|error| (serial, error)));
    let (serial, error) = refused.expect("a pool has an end");
    assert_eq!(error, PushError::Exhausted);
    serial - first
}

#[test]
fn mpsc_a_spent_node_is_not_free_before_its_block_is() {
    let list = List::with_blocks(7, 4);
    let (queue, pool) = (list.shared(), list.pool());
    let mut consumer = list.consumer();
    assert_eq!(fill(list.shared(), 1), 7);
    for spent in 1..4 {
        assert_eq!(consumer.pop(), Ok(item(spent)));
        assert_eq!(pool.free_nodes(), Ok(spent), "nobody has them");
        assert_eq!(queue.push(item(8)), Err(PushError::Exhausted), "but they cannot be had");
    }
    assert_eq!(consumer.pop(), Ok(item(4)));
    assert_eq!(fill(list.shared(), 8), 4, "the whole block at once");
    assert_eq!(drain(&mut consumer), [5, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn mpsc_a_producer_that_stalls_with_a_new_block_costs_the_others_that_block_and_nothing_else() {
    for site in [pool::site::ALLOC_RESET.info(), pool::site::ALLOC_FILL.info()] {
        let list = List::with_blocks(15, 4);
        let (queue, pool) = (list.shared(), list.pool());
        let mut consumer = list.consumer();
        let pushed = stalled(
            site,
            || on_processor(1, || queue.push(item(100))),
            || {
                assert_eq!(fill(list.shared(), 0), 15 - 4, "all but the block");
                assert!(drain(&mut consumer).into_iter().eq(0..11));
                // Again and again: what the others have among them goes round.
                for round in 0..10 {
                    let pushed = fill(list.shared(), round * 20);
                    assert!((15 - 2 * 4..=15 - 4).contains(&pushed), "{pushed} without the stub's block");
                    assert!(drain(&mut consumer).into_iter().eq(round * 20..round * 20 + pushed));
                }
                assert_eq!(consumer.verify_quiesced(), Ok(()));
            },
        );
        assert_eq!((pushed, consumer.pop()), (Ok(()), Ok(item(100))));
        assert_eq!(pool.free_nodes(), Ok(15));
        let pushed = fill(list.shared(), 0);
        assert!(pushed > 15 - 2 * 4, "the rest of the block is in a magazine, and can be had: {pushed}");
    }
}

#[test]
fn mpsc_two_that_fill_one_magazine_lose_no_node() {
    let list = List::with_blocks(11, 4);
    let (queue, pool) = (list.shared(), list.pool());
    let mut consumer = list.consumer();
    for serial in 1..=3 {
        queue.push(item(serial)).expect("the rest of the stub's block");
    }
    let pushed = stalled(
        pool::site::ALLOC_FILL.info(),
        || queue.push(item(5)),
        || queue.push(item(4)).expect("another block, whose rest is in the magazine now"),
    );
    assert_eq!(pushed, Ok(()));
    assert_eq!(pool.free_nodes(), Ok(11 - 5));
    assert_eq!(fill(list.shared(), 6), 3, "the rest of the later block is spent, and the other is there");
    assert_eq!(pool.free_nodes(), Ok(3));
    assert!(drain(&mut consumer).into_iter().eq(1..=8));
    assert_eq!((pool.free_nodes(), consumer.verify_quiesced()), (Ok(11), Ok(())));
    assert_eq!(fill(list.shared(), 1), 11 - 3, "all but what is spent of the stub's block");
}

#[test]
fn pool_a_thread_that_slept_while_a_block_left_and_came_back_takes_a_node_that_nobody_has() {
    let list = List::with_blocks(7, 2);
    let (queue, pool) = (list.shared(), list.pool());
    let mut consumer = list.consumer();
    let mut held = Vec::new();
    // The second node is in the magazine: the stub is the first.
    let late = stalled(
        pool::site::ALLOC_TAKE.info(),
        || pool.alloc().expect("a node is free").addr(),
        || {
            // Until the stub is in the second block, and the first is whole.
            for serial in 1..=2 {
                queue.push(item(serial)).expect("room");
                assert_eq!(consumer.pop(), Ok(item(serial)));
            }
            let rest = pool.alloc().expect("the rest of the stub's block");
            let first = pool.alloc().expect("the first node, again");
            assert!(first < rest, "and the second is in the magazine, again");
            held.extend([rest.addr(), first.addr()]);
        },
    );
    assert!(!held.contains(&late), "a node has two owners");
    assert!(late < held[0], "the sleeper has got the node that it wanted");
    held.push(late);
    while let Ok(node) = pool.alloc() {
        assert!(!held.contains(&node.addr()), "a node has two owners");
        held.push(node.addr());
    }
    assert_eq!(held.len(), 8 - 1, "all but the stub");
}

#[test]
fn a_producer_that_loses_its_magazine_takes_a_block_and_one_that_can_only_steal_says_contended() {
    let list = List::with_blocks(7, 4);
    let (queue, pool) = (list.shared(), list.pool());
    let push = losing(pool::site::ALLOC_TAKE.info(), || queue.push(item(1)));
    assert_eq!(push, (Ok(()), Native::retry_budget()));
    assert_eq!(pool.free_nodes(), Ok(6), "the rest of that block is spent");

    let steal = || on_processor(1, || queue.push(item(2)));
    let (push, lost) = losing(pool::site::STEAL_TAKE.info(), steal);
    assert_eq!(push, Err(PushError::Contended), "there are nodes");
    assert!(lost > 1, "{lost}");
    assert_eq!(steal(), Ok(()));
    assert_eq!(fill(list.shared(), 3), 2, "what was left of the stub's block");
    assert_eq!(drain(&mut list.consumer()), [1, 2, 3, 4]);
    assert_eq!(pool.free_nodes(), Ok(7));
}

#[test]
fn blocks_that_the_pool_did_not_take_back_are_given_back_with_the_next() {
    let list = List::with_blocks(7, 2);
    let pool = list.pool();
    let mut consumer = list.consumer();
    assert_eq!(fill(list.shared(), 1), 7);
    let give_back = pool::site::FREE_PUSH.info();
    let (popped, lost) = losing(give_back, || consumer.drain(5, |_| ()));
    assert_eq!((popped, lost), (Ok(5), Native::retry_budget()));
    assert_eq!(fill(list.shared(), 8), 0, "two blocks are whole, and the consumer has them still");
    assert_eq!(consumer.pop(), Ok(item(6)));
    assert_eq!(fill(list.shared(), 8), 6, "these and the third");

    let (popped, _) = losing(give_back, || consumer.drain(2, |_| ()));
    assert_eq!(popped, Ok(2));
    drop(consumer);
    assert_eq!(pool.free_nodes(), Ok(2), "a consumer that leaves keeps nothing");
    assert_eq!(fill(list.shared(), 14), 2);
}
