//! The queues under loom: every interleaving of a few operations, with every reordering that loom knows.
//!
//! The main thread makes the structure, spawns and joins; only then does it look at what is left. loom runs
//! all threads of a model in one thread of the system, so an `Rc` can hold what they share, and adds no
//! accesses.

mod model;

use std::rc::Rc;

use arenaq::count::Uncounted;
use arenaq::mpmc::{self, Capacity};
use arenaq::mpsc;
use arenaq::ordering::{Read, Site, Write};
use arenaq::platform::{Loom, Plain, Platform, Word};
use arenaq::pool::{AllocError, Chain, Pool};
use arenaq::{PopError, PushError};
use loom::thread;
use model::{Model, Outcomes, Turn};

/// An MPMC queue and the cells to which it points.
///
/// Without the counter: two accesses more for each element, which decide nothing, and many times the
/// permutations.
struct Ring {
    head: mpmc::Head<Loom, u64, Uncounted>,
    turn: Turn,
    _cells: Vec<mpmc::Cell<Loom, u64>>,
}

impl Ring {
    /// A ring of the smallest capacity, with positions that wrap around after the first element.
    fn with(elements: &[u64]) -> Rc<Self> {
        let mut cells: Vec<_> = (0..2).map(|_| mpmc::Cell::empty()).collect();
        let head = mpmc::Head::empty();
        // SAFETY: two cells, which live beside the head and are its alone; nobody else is here yet.
        unsafe { head.init_at(cells.as_mut_ptr(), Capacity::MIN, u64::MAX) }.expect("two cells");
        for element in elements {
            head.push(*element).expect("room");
        }
        Rc::new(Ring { head, turn: Turn::new(), _cells: cells })
    }

    fn push(&self, value: u64, outcomes: &Outcomes) -> Option<u64> {
        self.turn.take();
        match self.head.push(value) {
            Ok(()) => {
                outcomes.saw("pushed");
                Some(value)
            }
            Err(PushError::Full) => {
                outcomes.saw("full");
                None
            }
            Err(PushError::Contended) => {
                outcomes.saw("push contended");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn pop(&self, outcomes: &Outcomes) -> Option<u64> {
        self.turn.take();
        match self.head.pop() {
            Ok(value) => {
                outcomes.saw("popped");
                Some(value)
            }
            Err(PopError::Empty) => {
                outcomes.saw("empty");
                None
            }
            Err(PopError::Contended) => {
                outcomes.saw("pop contended");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Everything that was pushed was popped or is still there, once.
    fn account(&self, pushed: impl IntoIterator<Item = u64>, popped: impl IntoIterator<Item = u64>) {
        self.head.verify_quiesced().expect("a sound ring");
        let mut popped: Vec<_> = popped.into_iter().collect();
        while let Ok(value) = self.head.pop() {
            popped.push(value);
        }
        exactly_once(pushed, popped);
    }
}

fn exactly_once(pushed: impl IntoIterator<Item = u64>, mut popped: Vec<u64>) {
    let mut pushed: Vec<_> = pushed.into_iter().collect();
    pushed.sort_unstable();
    popped.sort_unstable();
    assert_eq!(pushed, popped, "lost, or seen twice");
}

#[test]
fn mpmc_two_producers_and_a_consumer_lose_nothing() {
    Model {
        name: "mpmc, 2 producers x 1, 1 consumer x 2, capacity 2",
        preemption_bound: Some(3),
        at_least: 5_000,
        outcomes: &["pushed", "popped", "empty"],
    }
    .check(|outcomes| {
        let ring = Ring::with(&[]);
        let producers = [1, 2].map(|value| {
            let (ring, outcomes) = (ring.clone(), outcomes.clone());
            thread::spawn(move || ring.push(value, &outcomes))
        });
        let consumer = {
            let (ring, outcomes) = (ring.clone(), outcomes.clone());
            thread::spawn(move || [ring.pop(&outcomes), ring.pop(&outcomes)])
        };
        let pushed = producers.map(|thread| thread.join().expect("a producer"));
        let popped = consumer.join().expect("the consumer");
        ring.account(pushed.into_iter().flatten(), popped.into_iter().flatten());
    });
}

#[test]
fn mpmc_a_cell_is_not_overwritten_before_it_is_read() {
    Model {
        name: "mpmc, full: 1 producer x 2, 1 consumer x 2, capacity 2",
        preemption_bound: None,
        at_least: 100,
        outcomes: &["pushed", "full", "popped"],
    }
    .check(|outcomes| {
        let ring = Ring::with(&[1, 2]);
        let producer = {
            let (ring, outcomes) = (ring.clone(), outcomes.clone());
            thread::spawn(move || [ring.push(3, &outcomes), ring.push(4, &outcomes)])
        };
        let consumer = {
            let (ring, outcomes) = (ring.clone(), outcomes.clone());
            thread::spawn(move || [ring.pop(&outcomes), ring.pop(&outcomes)])
        };
        let pushed = producer.join().expect("the producer");
        let popped = consumer.join().expect("the consumer");
        assert_eq!(popped, [Some(1), Some(2)], "first in, first out");
        ring.account([1, 2].into_iter().chain(pushed.into_iter().flatten()), popped.into_iter().flatten());
    });
}

#[test]
fn mpmc_two_consumers_never_get_the_same_element() {
    Model {
        name: "mpmc, 1 left: 1 producer x 1, 2 consumers x 1, capacity 2",
        preemption_bound: None,
        at_least: 500,
        outcomes: &["pushed", "popped", "empty"],
    }
    .check(|outcomes| {
        let ring = Ring::with(&[1]);
        let consumers = [(); 2].map(|()| {
            let (ring, outcomes) = (ring.clone(), outcomes.clone());
            thread::spawn(move || ring.pop(&outcomes))
        });
        let producer = {
            let (ring, outcomes) = (ring.clone(), outcomes.clone());
            thread::spawn(move || ring.push(2, &outcomes))
        };
        let popped = consumers.map(|thread| thread.join().expect("a consumer"));
        let pushed = producer.join().expect("the producer");
        ring.account([1].into_iter().chain(pushed), popped.into_iter().flatten());
    });
}

type Node = mpsc::Node<Loom, u64>;

/// An MPSC queue, its pool and the nodes to which they point.
struct List {
    head: mpsc::Head<Loom, u64, Uncounted>,
    pool: Pool<Loom, Node>,
    turn: Turn,
    _nodes: Vec<Node>,
    _links: Vec<<Loom as Platform>::Word>,
}

impl List {
    fn with(elements: &[u64], room: usize) -> Rc<Self> {
        let limit = room + 1;
        let mut nodes: Vec<_> = (0..limit).map(|_| mpsc::Node::empty()).collect();
        let mut links: Vec<_> = (0..limit).map(|_| Word::new(0)).collect();
        let pool = Pool::empty();
        let head = mpsc::Head::empty();
        // SAFETY: room for `limit` of both, which live beside the pool and are its alone; the tag wraps
        // around with the first allocation after the stub's; nobody else is here yet.
        unsafe {
            pool.init_at(nodes.as_mut_ptr(), links.as_mut_ptr(), limit as u64, u32::MAX - 1);
            let chain = pool.grow(limit as u64).expect("within the limit");
            pool.free_chain(chain).expect("nobody else");
            head.init(&pool).expect("a stub");
        }
        for element in elements {
            head.push(&pool, *element).expect("room");
        }
        Rc::new(List { head, pool, turn: Turn::new(), _nodes: nodes, _links: links })
    }

    fn push(&self, value: u64, outcomes: &Outcomes) -> Option<u64> {
        self.turn.take();
        match self.head.push(&self.pool, value) {
            Ok(()) => {
                outcomes.saw("pushed");
                Some(value)
            }
            Err(PushError::Exhausted) => {
                outcomes.saw("exhausted");
                None
            }
            Err(PushError::Contended) => {
                outcomes.saw("push contended");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// What one consumer gets with so many pops.
    fn consume(&self, pops: usize, outcomes: &Outcomes) -> Vec<u64> {
        // SAFETY: every model has one consumer at a time.
        let mut consumer = unsafe { mpsc::Consumer::new(&self.head, &self.pool) }.expect("a stub");
        let mut popped = Vec::new();
        for _ in 0..pops {
            self.turn.take();
            match consumer.pop() {
                Ok(value) => {
                    outcomes.saw("popped");
                    popped.push(value);
                }
                Err(PopError::Empty) => outcomes.saw("empty"),
                Err(PopError::Busy) => outcomes.saw("busy"),
                Err(error) => panic!("{error}"),
            }
        }
        popped
    }

    fn account(&self, pushed: impl IntoIterator<Item = u64>, mut popped: Vec<u64>) {
        // SAFETY: the consumer of the model is gone.
        let mut consumer = unsafe { mpsc::Consumer::new(&self.head, &self.pool) }.expect("a stub");
        consumer.verify_quiesced().expect("a sound list");
        while let Ok(value) = consumer.pop() {
            popped.push(value);
        }
        assert_eq!(self.pool.free_nodes(), Ok(self.pool.limit() - 1), "a node is lost");
        exactly_once(pushed, popped);
    }
}

#[test]
fn mpsc_two_producers_and_a_consumer_lose_nothing() {
    Model {
        name: "mpsc, 2 producers x 1, 1 consumer x 2, room for 2",
        preemption_bound: Some(3),
        at_least: 50_000,
        outcomes: &["pushed", "push contended", "popped", "empty", "busy"],
    }
    .check(|outcomes| {
        let list = List::with(&[], 2);
        let producers = [1, 2].map(|value| {
            let (list, outcomes) = (list.clone(), outcomes.clone());
            thread::spawn(move || list.push(value, &outcomes))
        });
        let consumer = {
            let (list, outcomes) = (list.clone(), outcomes.clone());
            thread::spawn(move || list.consume(2, &outcomes))
        };
        let pushed = producers.map(|thread| thread.join().expect("a producer"));
        let popped = consumer.join().expect("the consumer");
        list.account(pushed.into_iter().flatten(), popped);
    });
}

#[test]
fn mpsc_a_node_that_the_consumer_frees_is_the_next_push_s_alone() {
    Model {
        name: "mpsc, 1 producer x 2, 1 consumer x 2, room for 1",
        preemption_bound: None,
        at_least: 1_000,
        outcomes: &["pushed", "exhausted", "popped", "empty", "busy"],
    }
    .check(|outcomes| {
        let list = List::with(&[], 1);
        let producer = {
            let (list, outcomes) = (list.clone(), outcomes.clone());
            thread::spawn(move || [list.push(1, &outcomes), list.push(2, &outcomes)])
        };
        let consumer = {
            let (list, outcomes) = (list.clone(), outcomes.clone());
            thread::spawn(move || list.consume(2, &outcomes))
        };
        let pushed = producer.join().expect("the producer");
        let popped = consumer.join().expect("the consumer");
        assert!(popped.is_sorted(), "first in, first out");
        list.account(pushed.into_iter().flatten(), popped);
    });
}

#[test]
fn mpsc_two_producers_race_for_the_node_that_the_consumer_frees() {
    Model {
        name: "mpsc, 1 left: 2 producers x 1, 1 consumer x 2, room for 1",
        preemption_bound: Some(3),
        at_least: 1_000,
        outcomes: &["pushed", "exhausted", "popped", "empty", "busy"],
    }
    .check(|outcomes| {
        let list = List::with(&[1], 1);
        let producers = [2, 3].map(|value| {
            let (list, outcomes) = (list.clone(), outcomes.clone());
            thread::spawn(move || list.push(value, &outcomes))
        });
        let consumer = {
            let (list, outcomes) = (list.clone(), outcomes.clone());
            thread::spawn(move || list.consume(2, &outcomes))
        };
        let pushed = producers.map(|thread| thread.join().expect("a producer"));
        let popped = consumer.join().expect("the consumer");
        list.account([1].into_iter().chain(pushed.into_iter().flatten()), popped);
    });
}

/// What an owner does to its node, so that loom reports two owners at once as a race.
const STAMP: Site<Write> = Site::write("model.owner.stamp").why("the node is the owner's alone");
const LOOK: Site<Read> = Site::read("model.owner.look").why("the node is the owner's alone");

type Stamp = <Loom as Platform>::Plain<u64>;

/// A pool by itself. A node's contents are the stamp of its last owner, or 0.
struct Nodes {
    pool: Pool<Loom, Stamp>,
    turn: Turn,
    _nodes: Vec<Stamp>,
    _links: Vec<<Loom as Platform>::Word>,
}

impl Nodes {
    fn new(limit: usize) -> Rc<Self> {
        let mut nodes: Vec<_> = (0..limit).map(|_| Plain::new(0)).collect();
        let mut links: Vec<_> = (0..limit).map(|_| Word::new(0)).collect();
        let pool = Pool::empty();
        // SAFETY: room for `limit` of both, which live beside the pool and are its alone; nobody else is here
        // yet.
        unsafe {
            pool.init_at(nodes.as_mut_ptr(), links.as_mut_ptr(), limit as u64, u32::MAX);
            let chain = pool.grow(limit as u64).expect("within the limit");
            pool.free_chain(chain).expect("nobody else");
        }
        Rc::new(Nodes { pool, turn: Turn::new(), _nodes: nodes, _links: links })
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

    /// Gives a node back, or what is left to give back.
    fn give(&self, owned: &Owned, outcomes: &Outcomes) -> Option<Chain> {
        self.turn.take();
        // SAFETY: allocated in `take` and ours until now.
        let stamp = unsafe { (*owned.node).read(&LOOK) };
        assert_eq!(stamp, owned.owner, "somebody else owns the node too");
        // SAFETY: as above, and not used any more.
        let result = unsafe { self.pool.free(owned.node) };
        outcomes.saw(if result.is_ok() { "freed" } else { "free contended" });
        result.err()
    }
}

struct Owned {
    node: *mut Stamp,
    owner: u64,
}

#[test]
fn pool_a_freed_node_comes_with_everything_that_its_last_owner_did() {
    Model {
        name: "pool, 1 node: 2 threads x (alloc, free), then alloc",
        preemption_bound: None,
        at_least: 100,
        outcomes: &["new node", "own node again", "node of another", "exhausted", "alloc contended", "freed"],
    }
    .check(|outcomes| {
        let nodes = Nodes::new(1);
        let threads = [1, 2].map(|owner| {
            let (nodes, outcomes) = (nodes.clone(), outcomes.clone());
            thread::spawn(move || {
                let left = nodes.take(owner, &outcomes).and_then(|node| nodes.give(&node, &outcomes));
                (left, nodes.take(owner, &outcomes))
            })
        });
        let held = threads
            .map(|thread| thread.join().expect("a thread"))
            .into_iter()
            .map(|(left, node)| u64::from(left.is_some()) + u64::from(node.is_some()))
            .sum::<u64>();
        assert_eq!(nodes.pool.free_nodes(), Ok(1 - held));
    });
}

#[test]
fn pool_a_node_that_left_and_came_back_is_not_mistaken_for_the_same_list() {
    Model {
        name: "pool, 2 nodes: alloc, alloc; against alloc, alloc, free",
        preemption_bound: None,
        at_least: 100,
        outcomes: &["new node", "node of another", "exhausted", "alloc contended", "freed"],
    }
    .check(|outcomes| {
        let nodes = Nodes::new(2);
        let one = {
            let (nodes, outcomes) = (nodes.clone(), outcomes.clone());
            thread::spawn(move || {
                let held = [nodes.take(1, &outcomes), nodes.take(1, &outcomes)];
                (held, None)
            })
        };
        let other = {
            let (nodes, outcomes) = (nodes.clone(), outcomes.clone());
            thread::spawn(move || {
                let first = nodes.take(2, &outcomes);
                let second = nodes.take(2, &outcomes);
                let left = first.and_then(|node| nodes.give(&node, &outcomes));
                ([second, None], left)
            })
        };
        let mut owners = Vec::new();
        let mut held = 0;
        for (nodes, left) in [one, other].map(|thread| thread.join().expect("a thread")) {
            held += u64::from(left.is_some());
            owners.extend(nodes.into_iter().flatten());
        }
        held += owners.len() as u64;
        for owned in &owners {
            // SAFETY: the owner's thread is gone and has left the node to us.
            let stamp = unsafe { (*owned.node).read(&LOOK) };
            assert_eq!(stamp, owned.owner, "the node has two owners");
        }
        assert_eq!(nodes.pool.free_nodes(), Ok(2 - held));
    });
}
