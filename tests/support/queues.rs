//! The two queues on the [`Scripted`] platform, each with its memory.

use std::num::NonZero;

use arenaq::KeyValue;
use arenaq::count::Counted;
use arenaq::mpmc::{self, Capacity};
use arenaq::mpsc;
use arenaq::platform::{Platform, Word};
use arenaq::pool::{Nodes, Pool, Start};
use arenaq::single::SingleConsumer;

use super::scripted::Scripted;

/// An element that shows whether it came out in one piece.
pub(crate) fn item(serial: u64) -> KeyValue {
    KeyValue { key: serial, value: !serial }
}

/// An MPMC queue whose positions pass the end of the number space with the first element.
pub(crate) struct Ring {
    head: mpmc::Head<Scripted, KeyValue, Counted>,
    _cells: Vec<mpmc::Cell<Scripted, KeyValue>>,
}

impl Ring {
    pub(crate) fn new(capacity: u64) -> Self {
        let mut cells: Vec<_> = (0..capacity).map(|_| mpmc::Cell::empty()).collect();
        let head = mpmc::Head::empty();
        let capacity = Capacity::new(capacity).expect("a capacity");
        // SAFETY: so many cells, which live beside the head and are its alone; nobody else is here yet.
        unsafe { head.init_at(cells.as_mut_ptr(), capacity, u64::MAX) }.expect("nothing ends the loop");
        Ring { head, _cells: cells }
    }

    /// The queue, its geometry read anew.
    pub(crate) fn queue(&self) -> mpmc::Ring<'_, Scripted, KeyValue, Counted> {
        self.head.ring().expect("an initialised queue")
    }

    pub(crate) fn single_consumer(&self) -> SingleConsumer<'_, Scripted, KeyValue, Counted> {
        // SAFETY: who asks for it has no other consumer at the time; one that died does not come back.
        unsafe { self.queue().single_consumer() }
    }
}

type Node = mpsc::Node<Scripted, KeyValue>;

/// An MPSC queue with a pool whose ABA tag is about to wrap.
pub(crate) struct List {
    pub(crate) head: mpsc::Head<Scripted, KeyValue, Counted>,
    pool: Pool<Scripted, Node>,
    _nodes: Vec<Node>,
    _links: Vec<<Scripted as Platform>::Word>,
}

impl List {
    /// A queue that has room for so many elements, besides its stub; every node is a block of its own.
    pub(crate) fn new(elements: u64) -> Self {
        List::with_blocks(elements, 1)
    }

    /// The same, with so many nodes in each block.
    pub(crate) fn with_blocks(elements: u64, block: u32) -> Self {
        List::growing(elements, block, elements + 1)
    }

    /// The same, whose pool can grow to so many nodes.
    pub(crate) fn growing(elements: u64, block: u32, limit: u64) -> Self {
        let mut nodes: Vec<_> = (0..limit).map(|_| mpsc::Node::empty()).collect();
        let mut links: Vec<_> = (0..limit).map(|_| Word::new(0)).collect();
        let start = Start { tag: u32::MAX, block: NonZero::new(block) };
        let pool = Pool::empty();
        let head = mpsc::Head::empty();
        // SAFETY: room for `limit` of both, which live beside the pool and are its alone; nobody else is here
        // yet.
        unsafe {
            pool.init_at(nodes.as_mut_ptr(), links.as_mut_ptr(), limit, start);
            let nodes = pool.nodes().expect("a pool");
            let chain = nodes.grow(elements + 1).expect("within the limit");
            nodes.free_chain(chain).expect("nobody else");
            head.init(nodes).expect("a stub");
        }
        List { head, pool, _nodes: nodes, _links: links }
    }

    /// The operations that may run in any thread, without the vectors, which are not `Sync`.
    pub(crate) fn shared(&self) -> mpsc::List<'_, Scripted, KeyValue> {
        self.head.list(self.pool()).expect("a queue")
    }

    pub(crate) fn pool(&self) -> Nodes<'_, Scripted, Node> {
        self.pool.nodes().expect("a pool")
    }

    pub(crate) fn consumer(&self) -> mpsc::Consumer<'_, Scripted, KeyValue> {
        // SAFETY: every test has one consumer at a time; one that died does not come back.
        unsafe { mpsc::Consumer::new(self.shared()) }.expect("a stub")
    }
}
