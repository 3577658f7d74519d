//! The free list: nodes that go from owner to owner, and nodes that are made.

use std::rc::Rc;

use arenaq::ordering::{Read, Site, Write};
use arenaq::platform::{Identify, Plain, Platform, Word};
use arenaq::pool::{AllocError, Chain, GrowError, Pool, Reservation};
use arenaq::trace;

use crate::model::{Loom, Model, Outcomes, Turn, join, spawn};

/// What an owner does to its node, so that loom reports two owners at once as a race.
const STAMP: Site<Write> = Site::write("model.owner.stamp").why("the node is the owner's alone");
const LOOK: Site<Read> = Site::read("model.owner.look").why("the node is the owner's alone");

type Stamp = <Loom as Platform>::Plain<u64>;

/// A pool by itself. A node's contents are the stamp of its last owner, or 0.
struct Nodes {
    pool: Pool<Loom, Stamp>,
    turn: Turn,
    nodes: Vec<Stamp>,
    _links: Vec<<Loom as Platform>::Word>,
}

struct Owned {
    node: *mut Stamp,
    owner: u64,
}

impl Nodes {
    /// A pool of `made` nodes that can grow to `limit`, with a tag that wraps around with the first
    /// allocation.
    fn new(made: u64, limit: usize) -> Rc<Self> {
        let mut nodes: Vec<_> = (0..limit).map(|_| Plain::new(0)).collect();
        let mut links: Vec<_> = (0..limit).map(|_| Word::new(0)).collect();
        let pool = Pool::empty();
        // SAFETY: room for `limit` of both, which live beside the pool and are its alone; nobody else is here
        // yet.
        unsafe {
            pool.init_at(nodes.as_mut_ptr(), links.as_mut_ptr(), limit as u64, u32::MAX);
            if made > 0 {
                let chain = pool.grow(made).expect("within the limit");
                pool.free_chain(chain).expect("nobody else");
            }
        }
        Rc::new(Nodes { pool, turn: Turn::new(), nodes, _links: links })
    }

    /// Takes a node and stamps it.
    fn take(&self, owner: u64, outcomes: &Outcomes) -> Option<Owned> {
        self.turn.take();
        match self.pool.alloc() {
            Ok(node) => {
                // SAFETY: the pool has given the node to us.
                let last = unsafe { (*node).read(&LOOK) };
                // SAFETY: as above.
                unsafe { (*node).write(owner, &STAMP) };
                outcomes.saw(if last == 0 {
                    "new node"
                } else if last == owner {
                    "own node again"
                } else {
                    "node of another"
                });
                Some(Owned { node, owner })
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

    /// Takes two nodes at once, and stamps them.
    fn take_two(&self, owner: u64, outcomes: &Outcomes) -> Vec<Owned> {
        self.turn.take();
        match self.pool.alloc_chain(2) {
            Ok((chain, length)) => {
                outcomes.saw(if length == 2 { "two nodes" } else { "one node" });
                let nodes: Vec<_> = self.pool.nodes_of(&chain).map(|node| Owned { node, owner }).collect();
                assert_eq!(nodes.len() as u64, length);
                for owned in &nodes {
                    // SAFETY: the pool has given the node to us.
                    unsafe { (*owned.node).write(owner, &STAMP) };
                }
                nodes
            }
            Err(AllocError::Exhausted) => {
                outcomes.saw("exhausted");
                Vec::new()
            }
            Err(AllocError::Contended) => {
                outcomes.saw("chain contended");
                Vec::new()
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Gives a node back, or what is left to give back.
    fn give(&self, owned: &Owned, outcomes: &Outcomes) -> Option<Chain> {
        self.turn.take();
        owned.check();
        // SAFETY: allocated in `take`, ours until now, and not used any more.
        let result = unsafe { self.pool.free(owned.node) };
        outcomes.saw(if result.is_ok() { "freed" } else { "free contended" });
        result.err()
    }

    /// Makes so many nodes.
    fn grow(&self, count: u64, outcomes: &Outcomes) -> Option<Chain> {
        self.turn.take();
        // SAFETY: the memory of all nodes is there from the start.
        match unsafe { self.pool.grow(count) } {
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
        let body = || self.pool.reserve(1, 2);
        let outcome = |result: &Result<Reservation, GrowError>| match result {
            Ok(_) => "reserved",
            Err(GrowError::Limit { .. }) => "no room",
            Err(GrowError::Contended) => "contended",
            Err(GrowError::Invalid) => "invalid",
        };
        match trace::operation(identity(), "pool.reserve", body, outcome) {
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
        let body = || self.pool.cancel(reservation);
        let outcome = |result: &Result<(), Reservation>| if result.is_ok() { "cancelled" } else { "lost" };
        match trace::operation(identity(), "pool.cancel", body, outcome) {
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
        let addresses = self.pool.node_addresses(reservation);
        let slot = |address: usize| (address - self.nodes.as_ptr().addr()) / size_of::<Stamp>();
        &self.nodes[slot(addresses.start)..slot(addresses.end)]
    }

    /// Gives a chain back, however often others are faster.
    fn give_all(&self, mut chain: Chain) {
        self.turn.take();
        while let Err(same) = self.pool.free_chain(chain) {
            chain = same;
        }
    }
}

fn identity() -> u64 {
    <arenaq::platform::Loom as Identify>::identity()
}

impl Owned {
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
        assert_eq!(nodes.pool.free_nodes(), Ok(1 - held));
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
        assert_eq!(nodes.pool.free_nodes(), Ok(2 - held));
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
        assert_eq!(nodes.pool.free_nodes(), Ok(2), "a node is lost");
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
        assert_eq!(nodes.pool.created(), 3);
        assert_eq!(nodes.pool.free_nodes(), Ok(3 - held));
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
        assert_eq!(nodes.pool.created(), 2);
        assert_eq!(nodes.pool.free_nodes(), Ok(2), "a node is lost");
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
            match nodes.pool.free_nodes().expect("a list that ends") {
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
        assert_eq!(nodes.pool.created(), kept + lost, "numbers that nobody has, or that two have");
    });
}

#[test]
fn the_links_of_a_chain_that_is_taken_are_those_of_one_moment() {
    Model {
        name: "pool, 3 nodes: alloc of 2 at once; against alloc, alloc, free",
        preemption_bound: None,
        at_least: 480,
        outcomes: &["exhausted", "one node", "two nodes", "new node", "chain contended", "freed"],
    }
    .check(|outcomes| {
        let nodes = Nodes::new(3, 3);
        let chain = spawn(&nodes, outcomes, |nodes, outcomes| (nodes.take_two(1, outcomes), None));
        let other = spawn(&nodes, outcomes, |nodes, outcomes| {
            let first = nodes.take(2, outcomes);
            let second = nodes.take(2, outcomes);
            let left = first.and_then(|node| nodes.give(&node, outcomes));
            (second.into_iter().collect(), left)
        });
        let mut held = 0;
        for (owned, left) in join([chain, other]) {
            held += u64::from(left.is_some());
            for owned in owned {
                owned.check();
                held += 1;
            }
        }
        assert_eq!(nodes.pool.free_nodes(), Ok(3 - held));
    });
}

#[test]
fn two_chains_have_no_node_in_common() {
    Model {
        name: "pool, 3 nodes: 2 threads x alloc of 2 at once",
        preemption_bound: None,
        at_least: 21,
        outcomes: &["one node", "two nodes"],
    }
    .check(|outcomes| {
        let nodes = Nodes::new(3, 3);
        let threads = [1, 2]
            .map(|owner| spawn(&nodes, outcomes, move |nodes, outcomes| nodes.take_two(owner, outcomes)));
        let owned = join(threads);
        owned.iter().flatten().for_each(Owned::check);
        assert_eq!(owned.iter().flatten().count(), 3, "two and one");
        assert_eq!(nodes.pool.free_nodes(), Ok(0));
    });
}

#[test]
fn a_node_of_a_chain_that_came_back_is_not_mistaken_for_the_same_list() {
    Model {
        name: "pool, 3 nodes: alloc, alloc; against alloc of 2 at once, free of 1",
        preemption_bound: None,
        at_least: 990,
        outcomes: &[
            "one node",
            "two nodes",
            "new node",
            "node of another",
            "exhausted",
            "alloc contended",
            "chain contended",
            "freed",
        ],
    }
    .check(|outcomes| {
        let nodes = Nodes::new(3, 3);
        let single = spawn(&nodes, outcomes, |nodes, outcomes| {
            let held = [nodes.take(1, outcomes), nodes.take(1, outcomes)];
            (held.into_iter().flatten().collect::<Vec<_>>(), None)
        });
        let chain = spawn(&nodes, outcomes, |nodes, outcomes| {
            let mut held = nodes.take_two(2, outcomes);
            let first = (!held.is_empty()).then(|| held.remove(0));
            let left = first.and_then(|node| nodes.give(&node, outcomes));
            (held, left)
        });
        let mut held = 0;
        for (owned, left) in join([single, chain]) {
            held += u64::from(left.is_some());
            for owned in owned {
                owned.check();
                held += 1;
            }
        }
        assert_eq!(nodes.pool.free_nodes(), Ok(3 - held));
    });
}
