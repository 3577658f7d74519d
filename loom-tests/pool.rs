//! The free list and the magazines: nodes that go from owner to owner, and nodes that are made.

use std::num::NonZero;
use std::rc::Rc;

use arenaq::ordering::{Field, Read, Site, Write};
use arenaq::platform::{Identify, Plain, Platform, Word};
use arenaq::pool::{self, AllocError, Chain, GrowError, Pool, Reservation, Start};
use loom::thread::JoinHandle;
use weaken::trace;

use crate::model::{Loom, Model, Outcomes, Turn, join, processors, spawn};

/// What an owner does to its node, so that loom reports two owners at once as a race.
const STAMP: Site<Write> =
    Site::write("model.owner.stamp").of(Field::Data).why("the node is the owner's alone");
const LOOK: Site<Read> = Site::read("model.owner.look").of(Field::Data).why("the node is the owner's alone");

type Stamp = <Loom as Platform>::Plain<u64>;

/// The stamp of who makes a node.
const WRITTEN: u64 = u64::MAX;

/// A pool by itself. A node's contents are the stamp of its last owner, or 0.
struct Nodes {
    pool: Pool<Loom, Stamp>,
    turn: Turn,
    nodes: Vec<Stamp>,
    _links: Vec<<Loom as Platform>::Word>,
}

#[derive(Clone, Copy)]
struct Owned {
    node: *mut Stamp,
    owner: u64,
}

impl Nodes {
    /// A pool of `made` nodes that can grow to `limit`, with a tag that wraps around with the first
    /// allocation. Its blocks have one node, so it has no magazines.
    fn new(made: u64, limit: usize) -> Rc<Self> {
        Self::in_blocks(1, made, limit)
    }

    /// A pool whose blocks have so many nodes.
    fn in_blocks(block: u32, made: u64, limit: usize) -> Rc<Self> {
        let mut nodes: Vec<_> = (0..limit).map(|_| Plain::new(0)).collect();
        let mut links: Vec<_> = (0..limit).map(|_| Word::new(0)).collect();
        let pool = Pool::empty();
        let start = Start { tag: u32::MAX, block: NonZero::new(block) };
        // SAFETY: room for `limit` of both, which live beside the pool and are its alone; nobody else is here
        // yet.
        unsafe {
            pool.init_at(nodes.as_mut_ptr(), links.as_mut_ptr(), limit as u64, start);
            if made > 0 {
                let nodes = pool.nodes().expect("a pool");
                let chain = nodes.grow(made).expect("within the limit");
                nodes.free_chain(chain).expect("nobody else");
            }
        }
        Rc::new(Nodes { pool, turn: Turn::new(), nodes, _links: links })
    }

    /// What is done with the pool.
    fn pool(&self) -> pool::Nodes<'_, Loom, Stamp> {
        self.pool.nodes().expect("a pool")
    }

    /// Takes a node and stamps it.
    fn take(&self, owner: u64, outcomes: &Outcomes) -> Option<Owned> {
        self.turn.take();
        match alloc(|| self.pool().alloc()) {
            Ok(node) => {
                let owned = Owned { node, owner };
                outcomes.saw(match owned.stamp() {
                    0 => "new node",
                    WRITTEN => "written node",
                    last if last == owner => "own node again",
                    _ => "node of another",
                });
                Some(owned)
            }
            Err(AllocError::Exhausted) => {
                outcomes.saw("exhausted");
                None
            }
            Err(AllocError::Contended) => {
                outcomes.saw("alloc contended");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Takes two nodes at once, if they are of one block, and stamps them.
    fn take_two(&self, owner: u64, outcomes: &Outcomes) -> Vec<Owned> {
        self.turn.take();
        match alloc(|| self.pool().alloc_run(2)) {
            Ok(run) => {
                outcomes.saw(if run.len() == 2 { "two nodes" } else { "one node" });
                // SAFETY: of this pool.
                let nodes = unsafe { self.pool().nodes_of_run(&run) };
                let nodes: Vec<_> = nodes.map(|node| Owned { node, owner }).collect();
                assert_eq!(nodes.len() as u64, run.len());
                for owned in &nodes {
                    owned.stamp();
                }
                nodes
            }
            Err(AllocError::Exhausted) => {
                outcomes.saw("exhausted");
                Vec::new()
            }
            Err(AllocError::Contended) => {
                outcomes.saw("run contended");
                Vec::new()
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Takes nodes before the others begin.
    fn prepare<const N: usize>(&self) -> [Owned; N] {
        std::array::from_fn(|_| Owned { node: self.pool().alloc().expect("a node"), owner: 0 })
    }

    /// Gives a node back, or what is left to give back.
    fn give(&self, owned: &Owned, outcomes: &Outcomes) -> Option<Chain> {
        self.turn.take();
        owned.check();
        // SAFETY: allocated in `take`, ours until now, and not used any more.
        let body = || unsafe { self.pool().free(owned.node) };
        let outcome = |result: &Result<(), Chain>| if result.is_ok() { "freed" } else { "contended" };
        let result = trace::scope(identity(), "pool.free", body, outcome);
        outcomes.saw(if result.is_ok() { "freed" } else { "free contended" });
        result.err()
    }

    /// What has become of the nodes, when nobody else is here any more: those that are `held` are their
    /// owners' alone, and all others are free, once `left` is given back.
    fn account(&self, held: impl IntoIterator<Item = Owned>, left: impl IntoIterator<Item = Chain>) {
        let held: Vec<_> = held.into_iter().inspect(Owned::check).collect();
        left.into_iter().for_each(|chain| self.give_all(chain));
        let free = self.pool().created() - held.len() as u64;
        assert_eq!(self.pool().free_nodes(), Ok(free), "a node is lost, or there twice");
        // A block that is spent and not on the list counts as free. So all nodes are taken once and given back:
        // then all blocks must be there.
        let rest = take_all(self.pool());
        held.iter().map(|owned| owned.node).chain(rest).for_each(|node| give_quietly(self.pool(), node));
        assert_eq!(take_all(self.pool()).len() as u64, self.pool().created(), "a block is lost");
    }

    /// Makes so many nodes.
    fn grow(&self, count: u64, outcomes: &Outcomes) -> Option<Chain> {
        self.turn.take();
        // SAFETY: the memory of all nodes is there from the start.
        match unsafe { self.pool().grow(count) } {
            Ok(chain) => {
                outcomes.saw("grown");
                Some(chain)
            }
            Err(GrowError::Limit { .. }) => {
                outcomes.saw("no room");
                None
            }
            Err(GrowError::Contended) => {
                outcomes.saw("grow contended");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Claims the numbers of one or two nodes, and stamps their memory.
    fn reserve(&self, owner: u64, outcomes: &Outcomes) -> Option<Reservation> {
        self.turn.take();
        let body = || self.pool().reserve(1, 2);
        let outcome = |result: &Result<Reservation, GrowError>| match result {
            Ok(_) => "reserved",
            Err(GrowError::Limit { .. }) => "no room",
            Err(GrowError::Contended) => "contended",
            Err(GrowError::Invalid) => "invalid",
        };
        match trace::scope(identity(), "pool.reserve", body, outcome) {
            Ok(reservation) => {
                outcomes.saw(if reservation.len() == 2 { "two reserved" } else { "one reserved" });
                for node in self.memory(&reservation) {
                    // SAFETY: the memory of a reservation is its owner's.
                    unsafe { node.write(owner, &STAMP) };
                }
                Some(reservation)
            }
            Err(GrowError::Limit { .. }) => {
                outcomes.saw("no room");
                None
            }
            Err(GrowError::Contended) => {
                outcomes.saw("reserve contended");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Gives numbers back, if nobody has claimed others after them. Returns how many are lost if somebody
    /// has.
    fn cancel(&self, reservation: Reservation, outcomes: &Outcomes) -> u64 {
        self.turn.take();
        // SAFETY: of this pool.
        let body = || unsafe { self.pool().cancel(reservation) };
        let outcome = |result: &Result<(), Reservation>| if result.is_ok() { "cancelled" } else { "lost" };
        match trace::scope(identity(), "pool.cancel", body, outcome) {
            Ok(()) => {
                outcomes.saw("cancelled");
                0
            }
            Err(lost) => {
                outcomes.saw("lost");
                lost.len()
            }
        }
    }

    /// The nodes of a reservation.
    fn memory(&self, reservation: &Reservation) -> &[Stamp] {
        let addresses = self.pool().node_addresses(reservation);
        let slot = |address: usize| (address - self.nodes.as_ptr().addr()) / size_of::<Stamp>();
        &self.nodes[slot(addresses.start)..slot(addresses.end)]
    }

    /// Gives a chain back, however often others are faster.
    fn give_all(&self, mut chain: Chain) {
        self.turn.take();
        // SAFETY: of this pool.
        while let Err(same) = unsafe { self.pool().free_chain(chain) } {
            chain = same;
        }
    }
}

fn identity() -> u64 {
    <arenaq::platform::Loom as Identify>::identity()
}

/// Takes all nodes that there are, when nobody else is here any more.
pub(crate) fn take_all<P: Platform, N>(pool: pool::Nodes<'_, P, N>) -> Vec<*mut N> {
    std::iter::from_fn(|| pool.alloc().ok()).collect()
}

/// Gives back a node that [`take_all`] has taken, or an owner that has ended.
pub(crate) fn give_quietly<P: Platform, N>(pool: pool::Nodes<'_, P, N>, node: *mut N) {
    // SAFETY: it was allocated, and nobody else is here any more.
    unsafe { pool.free(node) }.expect("nobody else");
}

/// An allocation whose accesses are known as its own.
fn alloc<R>(body: impl FnOnce() -> Result<R, AllocError>) -> Result<R, AllocError> {
    trace::scope(identity(), "pool.alloc", body, |result| match result {
        Ok(_) => "allocated",
        Err(AllocError::Exhausted) => "exhausted",
        Err(AllocError::Contended) => "contended",
        Err(AllocError::Corrupt) => "corrupt",
    })
}

impl Owned {
    /// Stamps the node. Returns the stamp of its last owner.
    fn stamp(&self) -> u64 {
        // SAFETY: the pool has given the node to this owner, who has not given it back.
        let last = unsafe { (*self.node).read(&LOOK) };
        // SAFETY: as above.
        unsafe { (*self.node).write(self.owner, &STAMP) };
        last
    }

    /// A node that somebody else has taken becomes this owner's.
    fn handed_to(self, owner: u64) -> Owned {
        let owned = Owned { owner, ..self };
        owned.stamp();
        owned
    }

    /// The node is ours still.
    fn check(&self) {
        // SAFETY: the pool gave the node to this owner, who has not given it back.
        let stamp = unsafe { (*self.node).read(&LOOK) };
        assert_eq!(stamp, self.owner, "somebody else owns the node too");
    }
}

#[test]
fn a_freed_node_comes_with_everything_that_its_last_owner_did() {
    Model {
        name: "pool, 1 node: 2 threads x (alloc, free), then alloc",
        preemption_bound: None,
        at_least: 21_000,
        outcomes: &["new node", "own node again", "node of another", "exhausted", "alloc contended", "freed"],
    }
    .check(|outcomes| {
        let nodes = Nodes::new(1, 1);
        let threads = [1, 2].map(|owner| {
            spawn(&nodes, outcomes, move |nodes, outcomes| {
                let left = nodes.take(owner, outcomes).and_then(|node| nodes.give(&node, outcomes));
                (left, nodes.take(owner, outcomes))
            })
        });
        let held = join(threads)
            .into_iter()
            .map(|(left, node)| u64::from(left.is_some()) + u64::from(node.is_some()))
            .sum::<u64>();
        assert_eq!(nodes.pool().free_nodes(), Ok(1 - held));
    });
}

#[test]
fn a_node_that_left_and_came_back_is_not_mistaken_for_the_same_list() {
    Model {
        name: "pool, 2 nodes: alloc, alloc; against alloc, alloc, free",
        preemption_bound: None,
        at_least: 2_600,
        outcomes: &["new node", "node of another", "exhausted", "alloc contended", "freed"],
    }
    .check(|outcomes| {
        let nodes = Nodes::new(2, 2);
        let one = spawn(&nodes, outcomes, |nodes, outcomes| {
            let held = [nodes.take(1, outcomes), nodes.take(1, outcomes)];
            (held, None)
        });
        let other = spawn(&nodes, outcomes, |nodes, outcomes| {
            let first = nodes.take(2, outcomes);
            let second = nodes.take(2, outcomes);
            let left = first.and_then(|node| nodes.give(&node, outcomes));
            ([second, None], left)
        });
        let mut held = 0;
        for (owned, left) in join([one, other]) {
            held += u64::from(left.is_some());
            for owned in owned.into_iter().flatten() {
                owned.check();
                held += 1;
            }
        }
        assert_eq!(nodes.pool().free_nodes(), Ok(2 - held));
    });
}

#[test]
fn a_free_that_loses_every_race_returns_the_node_to_its_owner() {
    Model {
        name: "pool, 2 nodes: 2 threads x (alloc, free)",
        preemption_bound: None,
        at_least: 1_250,
        outcomes: &["new node", "node of another", "alloc contended", "freed", "free contended"],
    }
    .check(|outcomes| {
        let nodes = Nodes::new(2, 2);
        let threads = [1, 2].map(|owner| {
            spawn(&nodes, outcomes, move |nodes, outcomes| {
                nodes.take(owner, outcomes).and_then(|node| nodes.give(&node, outcomes))
            })
        });
        for chain in join(threads).into_iter().flatten() {
            nodes.give_all(chain);
        }
        assert_eq!(nodes.pool().free_nodes(), Ok(2), "a node is lost");
    });
}

#[test]
fn new_nodes_come_to_those_who_allocate_while_the_pool_grows() {
    Model {
        name: "pool, 1 node of 3: grow by 2; against alloc, free, alloc, alloc",
        preemption_bound: None,
        at_least: 2_200,
        outcomes: &["new node", "own node again", "exhausted", "freed", "grown"],
    }
    .check(|outcomes| {
        let nodes = Nodes::new(1, 3);
        let grower = spawn(&nodes, outcomes, |nodes, outcomes| {
            let chain = nodes.grow(2, outcomes).expect("room, and no other grower");
            nodes.give_all(chain);
            (None, None, None)
        });
        let owner = spawn(&nodes, outcomes, |nodes, outcomes| {
            let left = nodes.take(1, outcomes).and_then(|node| nodes.give(&node, outcomes));
            (left, nodes.take(1, outcomes), nodes.take(1, outcomes))
        });
        let mut held = 0;
        for (left, one, two) in join([grower, owner]) {
            if let (Some(one), Some(two)) = (&one, &two) {
                assert_ne!(one.node, two.node, "one node, given twice");
            }
            held += u64::from(left.is_some()) + u64::from(one.is_some()) + u64::from(two.is_some());
        }
        assert_eq!(nodes.pool().created(), 3);
        assert_eq!(nodes.pool().free_nodes(), Ok(3 - held));
    });
}

#[test]
fn new_nodes_are_written_before_somebody_gets_them() {
    Model {
        name: "pool, 0 nodes of 2: grow by 2, written; 2 threads x alloc",
        preemption_bound: None,
        at_least: 5_700,
        outcomes: &["written node", "exhausted"],
    }
    .check(|outcomes| {
        let nodes = Nodes::new(0, 2);
        let grower = spawn(&nodes, outcomes, |nodes, _| {
            nodes.turn.take();
            // SAFETY: the memory of all nodes is there from the start, and the new ones are this thread's.
            let grown = unsafe { nodes.pool().grow_with(2, |node| (*node).write(WRITTEN, &STAMP)) };
            grown.expect("room, and no other grower");
        });
        let owners =
            [1, 2].map(|owner| spawn(&nodes, outcomes, move |nodes, outcomes| nodes.take(owner, outcomes)));
        join([grower]);
        nodes.account(join(owners).into_iter().flatten(), []);
    });
}

#[test]
fn growers_never_make_the_same_node() {
    Model {
        name: "pool, 0 nodes of 2: grow by 1; against grow by 1, grow by 1",
        preemption_bound: None,
        at_least: 800,
        outcomes: &["grown", "no room", "grow contended"],
    }
    .check(|outcomes| {
        let nodes = Nodes::new(0, 2);
        let threads = [1, 2].map(|times| {
            spawn(&nodes, outcomes, move |nodes, outcomes| {
                let mut made = 0;
                for _ in 0..times {
                    if let Some(chain) = nodes.grow(1, outcomes) {
                        nodes.give_all(chain);
                        made += 1;
                    }
                }
                made
            })
        });
        let made = join(threads).iter().sum::<u64>();
        assert_eq!(made, 2, "three try, and there is room for two");
        assert_eq!(nodes.pool().created(), 2);
        assert_eq!(nodes.pool().free_nodes(), Ok(2), "a node is lost");
    });
}

#[test]
fn a_chain_arrives_whole() {
    Model {
        name: "pool, 0 nodes of 3: grow by 3; against an observer",
        preemption_bound: None,
        at_least: 27,
        outcomes: &["grown", "none", "all"],
    }
    .check(|outcomes| {
        let nodes = Nodes::new(0, 3);
        let grower = spawn(&nodes, outcomes, |nodes, outcomes| {
            let chain = nodes.grow(3, outcomes).expect("room, and no other grower");
            nodes.give_all(chain);
        });
        let observer = spawn(&nodes, outcomes, |nodes, outcomes| {
            nodes.turn.take();
            match nodes.pool().free_nodes().expect("a list that ends") {
                0 => outcomes.saw("none"),
                3 => outcomes.saw("all"),
                some => panic!("{some} of 3 nodes: one push, which is there or not"),
            }
        });
        join([grower, observer]);
    });
}

#[test]
fn numbers_that_are_given_back_come_with_everything_that_was_done_to_their_memory() {
    Model {
        name: "pool, 0 nodes of 3: reserve, cancel; against reserve, reserve",
        preemption_bound: None,
        at_least: 390,
        outcomes: &["one reserved", "two reserved", "no room", "reserve contended", "cancelled", "lost"],
    }
    .check(|outcomes| {
        const KEEPER: u64 = 2;
        let nodes = Nodes::new(0, 3);
        let changing = spawn(&nodes, outcomes, |nodes, outcomes| {
            let reservation = nodes.reserve(1, outcomes);
            (Vec::new(), reservation.map_or(0, |reservation| nodes.cancel(reservation, outcomes)))
        });
        let keeping = spawn(&nodes, outcomes, |nodes, outcomes| {
            let kept = [nodes.reserve(KEEPER, outcomes), nodes.reserve(KEEPER, outcomes)];
            (kept.into_iter().flatten().collect(), 0)
        });
        let [(_, lost), (kept, _)] = join([changing, keeping]);
        for node in kept.iter().flat_map(|reservation| nodes.memory(reservation)) {
            // SAFETY: the threads have ended.
            assert_eq!(unsafe { node.read(&LOOK) }, KEEPER, "somebody else has the number too");
        }
        let kept: u64 = kept.iter().map(Reservation::len).sum();
        assert_eq!(nodes.pool().created(), kept + lost, "numbers that nobody has, or that two have");
    });
}

/// A thread that only takes a node.
fn take_one(nodes: &Nodes, outcomes: &Outcomes) -> (Vec<Owned>, Vec<Chain>) {
    (nodes.take(1, outcomes).into_iter().collect(), Vec::new())
}

/// A thread that takes the other node of the block of `held`, gives both back, and takes one again: the same
/// number may be in its magazine then as before.
fn turn_over(nodes: &Nodes, held: Owned, outcomes: &Outcomes) -> (Vec<Owned>, Vec<Chain>) {
    let held = held.handed_to(2);
    let taken = nodes.take(2, outcomes);
    let left = [taken, Some(held)].into_iter().flatten().filter_map(|node| nodes.give(&node, outcomes));
    let left = left.collect();
    (nodes.take(2, outcomes).into_iter().collect(), left)
}

/// Lets threads end, and looks at what they have left, beside the nodes that the main thread has `kept`.
fn settle<const N: usize>(
    nodes: &Nodes,
    kept: impl IntoIterator<Item = Owned>,
    threads: [JoinHandle<(Vec<Owned>, Vec<Chain>)>; N],
) {
    let (held, left): (Vec<_>, Vec<_>) = join(threads).into_iter().unzip();
    nodes.account(kept.into_iter().chain(held.into_iter().flatten()), left.into_iter().flatten());
}

#[test]
fn a_block_comes_with_everything_that_the_last_owners_of_its_nodes_did() {
    Model {
        name: "pool, a block of 2: 2 threads x (free, alloc)",
        preemption_bound: None,
        at_least: 3_400,
        outcomes: &["own node again", "node of another", "exhausted", "freed"],
    }
    .check(|outcomes| {
        let nodes = Nodes::in_blocks(2, 2, 2);
        let [one, two] = nodes.prepare();
        let threads = [(1, one), (2, two)].map(|(owner, node)| {
            spawn(&nodes, outcomes, move |nodes, outcomes| {
                let left = nodes.give(&node.handed_to(owner), outcomes);
                (nodes.take(owner, outcomes).into_iter().collect(), left.into_iter().collect())
            })
        });
        settle(&nodes, [], threads);
    });
}

#[test]
fn two_threads_of_a_processor_take_different_nodes_of_its_magazine() {
    Model {
        name: "pool, 3 left of a block of 4, 1 processor: 2 threads x alloc",
        preemption_bound: None,
        at_least: 21,
        outcomes: &["new node"],
    }
    .check(|outcomes| {
        processors(1);
        let nodes = Nodes::in_blocks(4, 4, 4);
        let [first] = nodes.prepare();
        let threads = [1, 2].map(|owner| {
            spawn(&nodes, outcomes, move |nodes, outcomes| {
                (nodes.take(owner, outcomes).into_iter().collect(), Vec::new())
            })
        });
        settle(&nodes, [first], threads);
    });
}

#[test]
fn two_threads_without_a_block_take_different_nodes_of_somebody_else_s_magazine() {
    Model {
        name: "pool, 2 left of a block of 3: 2 threads x alloc",
        preemption_bound: None,
        at_least: 27,
        outcomes: &["new node"],
    }
    .check(|outcomes| {
        let nodes = Nodes::in_blocks(4, 3, 3);
        let [first] = nodes.prepare();
        let threads = [1, 2].map(|owner| {
            spawn(&nodes, outcomes, move |nodes, outcomes| {
                (nodes.take(owner, outcomes).into_iter().collect(), Vec::new())
            })
        });
        settle(&nodes, [first], threads);
    });
}

#[test]
fn a_node_that_came_back_to_the_magazine_comes_with_everything_that_its_last_owner_did() {
    Model {
        name: "pool, 1 left of a block of 2, 1 processor: alloc; against alloc, free, free, alloc",
        preemption_bound: None,
        at_least: 3_800,
        outcomes: &["new node", "own node again", "node of another", "exhausted", "freed"],
    }
    .check(|outcomes| {
        processors(1);
        let nodes = Nodes::in_blocks(2, 2, 2);
        let [held] = nodes.prepare();
        let one = spawn(&nodes, outcomes, take_one);
        let other = spawn(&nodes, outcomes, move |nodes, outcomes| turn_over(nodes, held, outcomes));
        settle(&nodes, [], [one, other]);
    });
}

#[test]
fn a_node_that_is_stolen_comes_with_everything_that_its_last_owner_did() {
    Model {
        name: "pool, 1 left of a block of 2, 2 processors: alloc; against alloc, free, free, alloc",
        preemption_bound: None,
        at_least: 550,
        outcomes: &["new node", "own node again", "node of another", "exhausted", "freed"],
    }
    .check(|outcomes| {
        // The magazine is the main thread's and the second one's; the first one steals.
        processors(2);
        let nodes = Nodes::in_blocks(2, 2, 2);
        let [held] = nodes.prepare();
        let one = spawn(&nodes, outcomes, take_one);
        let other = spawn(&nodes, outcomes, move |nodes, outcomes| turn_over(nodes, held, outcomes));
        settle(&nodes, [], [one, other]);
    });
}

#[test]
fn whoever_loses_a_node_of_the_magazine_goes_on_with_the_next_block_in_it() {
    Model {
        name: "pool, 1 left of a block of 2, 1 processor: alloc; against free, free, alloc, alloc",
        preemption_bound: None,
        at_least: 1_600,
        outcomes: &["new node", "own node again", "node of another", "exhausted", "freed"],
    }
    .check(|outcomes| {
        processors(1);
        let nodes = Nodes::in_blocks(2, 4, 4);
        let [one, two, three] = nodes.prepare();
        let loser = spawn(&nodes, outcomes, take_one);
        let other = spawn(&nodes, outcomes, move |nodes, outcomes| {
            let left = [one, two].into_iter().filter_map(|node| nodes.give(&node.handed_to(2), outcomes));
            let left = left.collect();
            ([nodes.take(2, outcomes), nodes.take(2, outcomes)].into_iter().flatten().collect(), left)
        });
        settle(&nodes, [three], [loser, other]);
    });
}

#[test]
fn the_rest_of_a_block_is_spent_if_somebody_else_has_filled_the_magazine() {
    Model {
        name: "pool, 2 blocks of 2, 1 processor: 2 threads x (alloc, free), then alloc",
        preemption_bound: Some(3),
        at_least: 3_000,
        outcomes: &[
            "new node",
            "node of another",
            "own node again",
            "freed",
            "rest spent",
            "exhausted",
            "alloc contended",
        ],
    }
    .check(|outcomes| {
        processors(1);
        let nodes = Nodes::in_blocks(2, 4, 4);
        let threads = [1, 2].map(|owner| {
            spawn(&nodes, outcomes, move |nodes, outcomes| {
                let node = nodes.take(owner, outcomes);
                let left = node.and_then(|node| nodes.give(&node, outcomes));
                (nodes.take(owner, outcomes).into_iter().collect(), left.into_iter().collect())
            })
        });
        settle(&nodes, [], threads);
        if trace::inspect(|trace| {
            trace.events.iter().any(|event| event.site.named().name == "pool.alloc.spend_rest")
        }) {
            outcomes.saw("rest spent");
        }
    });
}

#[test]
fn two_runs_have_no_node_in_common() {
    Model {
        name: "pool, 3 nodes in blocks of 2: 2 threads x alloc of 2 at once",
        preemption_bound: None,
        at_least: 67,
        outcomes: &["one node", "two nodes"],
    }
    .check(|outcomes| {
        let nodes = Nodes::in_blocks(2, 3, 3);
        let threads = [1, 2].map(|owner| {
            spawn(&nodes, outcomes, move |nodes, outcomes| (nodes.take_two(owner, outcomes), Vec::new()))
        });
        settle(&nodes, [], threads);
    });
}

#[test]
fn a_block_that_left_and_came_back_is_not_mistaken_for_the_same_list() {
    Model {
        name: "pool, 2 blocks of 2: alloc of 2, alloc; against alloc of 2, alloc, free, free",
        preemption_bound: Some(3),
        at_least: 3_100,
        outcomes: &[
            "one node",
            "two nodes",
            "new node",
            "node of another",
            "exhausted",
            "run contended",
            "freed",
        ],
    }
    .check(|outcomes| {
        let nodes = Nodes::in_blocks(2, 4, 4);
        let one = spawn(&nodes, outcomes, |nodes, outcomes| {
            let mut held = nodes.take_two(1, outcomes);
            held.extend(nodes.take(1, outcomes));
            (held, Vec::new())
        });
        let other = spawn(&nodes, outcomes, |nodes, outcomes| {
            let given = nodes.take_two(2, outcomes);
            let held = nodes.take(2, outcomes).into_iter().collect();
            (held, given.iter().filter_map(|node| nodes.give(node, outcomes)).collect())
        });
        settle(&nodes, [], [one, other]);
    });
}
