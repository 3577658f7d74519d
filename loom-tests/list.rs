//! An MPSC queue with its pool for the models.

use std::num::NonZero;
use std::rc::Rc;

use arenaq::count::CountPolicy;
use arenaq::mpsc::{self, Consumer, Head, Node};
use arenaq::platform::{Platform, Word};
use arenaq::pool::{Nodes, Pool, Start};
use arenaq::{PopError, PushError};

use crate::model::{self, Loom, Outcomes, Turn, exactly_once};
use crate::pool::{give_quietly, take_all};

type Element<P> = Node<P, u64>;

/// An MPSC queue, its pool and the nodes to which they point.
pub(crate) struct List<C: CountPolicy, P: Platform = Loom> {
    pub(crate) head: Head<P, u64, C>,
    pool: Pool<P, Element<P>>,
    pub(crate) turn: Turn,
    _nodes: Vec<Element<P>>,
    _links: Vec<P::Word>,
}

impl<C: CountPolicy, P: Platform> List<C, P> {
    /// A list that holds `elements`, with nodes for `room` of them.
    pub(crate) fn with(elements: &[u64], room: usize) -> Rc<Self> {
        Self::that_grows(elements, room, room)
    }

    /// A list whose pool can grow until it has nodes for `limit` elements.
    pub(crate) fn that_grows(elements: &[u64], room: usize, limit: usize) -> Rc<Self> {
        Self::in_blocks(1, elements, room, limit)
    }

    /// A list whose pool has blocks of so many nodes.
    pub(crate) fn in_blocks(block: u32, elements: &[u64], room: usize, limit: usize) -> Rc<Self> {
        let limit = limit + 1;
        let mut nodes: Vec<_> = (0..limit).map(|_| Node::empty()).collect();
        let mut links: Vec<_> = (0..limit).map(|_| Word::new(0)).collect();
        let pool = Pool::empty();
        let head = Head::empty();
        let start = Start { tag: u32::MAX - 1, block: NonZero::new(block) };
        // SAFETY: room for `limit` of both, which live beside the pool and are its alone; the tag wraps
        // around with the first allocation after the stub's; nobody else is here yet.
        unsafe {
            pool.init_at(nodes.as_mut_ptr(), links.as_mut_ptr(), limit as u64, start);
            let nodes = pool.nodes().expect("a pool");
            let chain = nodes.grow(room as u64 + 1).expect("within the limit");
            nodes.free_chain(chain).expect("nobody else");
            head.init(nodes).expect("a stub");
        }
        let list = Rc::new(List { head, pool, turn: Turn::new(), _nodes: nodes, _links: links });
        for element in elements {
            list.list().expect("a queue").push(*element).expect("room");
        }
        list
    }

    /// What is done with the pool.
    pub(crate) fn pool(&self) -> Nodes<'_, P, Element<P>> {
        self.pool.nodes().expect("a pool")
    }

    /// The queue, as the kernel has it: it looks for it before each push.
    fn list(&self) -> Result<mpsc::List<'_, P, u64, C>, PushError> {
        self.head.list(self.pool()).ok_or(PushError::Invalid)
    }

    /// The queue, as a process has it that has attached.
    pub(crate) fn queue(&self) -> mpsc::List<'_, P, u64, C> {
        self.list().expect("an initialised queue")
    }

    pub(crate) fn push(&self, value: u64, outcomes: &Outcomes) -> Option<u64> {
        self.turn.take();
        match model::push("mpsc.push", || self.list()?.push(value)) {
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

    /// Pushes values at once. Returns those that there were nodes for.
    pub(crate) fn push_many(&self, values: &[u64], outcomes: &Outcomes) -> Vec<u64> {
        self.turn.take();
        match model::push_many("mpsc.push_many", || self.list()?.push_many(values)) {
            Ok(elements) => {
                model::saw_pushed(elements, outcomes);
                values[..elements].to_vec()
            }
            Err(PushError::Exhausted) => {
                outcomes.saw("exhausted");
                Vec::new()
            }
            Err(PushError::Contended) => {
                outcomes.saw("push contended");
                Vec::new()
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The consumer, of which every model has one at a time.
    pub(crate) fn consumer(&self) -> Consumer<'_, P, u64, C> {
        // SAFETY: every model has one consumer at a time.
        unsafe { self.head.consumer(self.pool()) }.expect("a stub")
    }

    /// What one consumer gets with so many pops.
    pub(crate) fn consume(&self, pops: usize, outcomes: &Outcomes) -> Vec<u64> {
        let mut consumer = self.consumer();
        let pop = |()| {
            self.turn.take();
            pop(&mut consumer, outcomes)
        };
        std::iter::repeat_n((), pops).filter_map(pop).collect()
    }

    /// What one consumer gets with one pop that does not take its turn: it is for a model in which nobody
    /// loads and then changes what this pop loads first.
    pub(crate) fn consume_out_of_turn(&self, outcomes: &Outcomes) -> Option<u64> {
        pop(&mut self.consumer(), outcomes)
    }

    /// What one consumer gets with drains of so many elements.
    pub(crate) fn consume_batches<const N: usize>(&self, limits: [u64; N], outcomes: &Outcomes) -> Vec<u64> {
        let mut consumer = self.consumer();
        let mut drained = Vec::new();
        for limit in limits {
            self.turn.take();
            let before = drained.len();
            match model::drain("mpsc.drain", || consumer.drain(limit, |value| drained.push(value))) {
                Ok(elements) => {
                    assert_eq!(elements, (drained.len() - before) as u64);
                    model::saw_drained(drained.len() - before, outcomes);
                }
                Err(PopError::Empty) => outcomes.saw("empty"),
                Err(PopError::Busy) => outcomes.saw("busy"),
                Err(error) => panic!("{error}"),
            }
        }
        drained
    }

    /// What is left when nobody else is here any more, in the order of the queue. No node is lost.
    pub(crate) fn drain(&self) -> Vec<u64> {
        let mut consumer = self.consumer();
        consumer.verify_quiesced().expect("a sound list");
        let left = std::iter::from_fn(|| model::pop("mpsc.pop", || consumer.pop()).ok()).collect();
        consumer.verify_quiesced().expect("a sound empty list");
        let pool = self.pool();
        assert_eq!(pool.free_nodes(), Ok(pool.created() - 1), "a node is lost");
        if pool.block() > 1 {
            // A block that is spent and not on the list counts as free. So all nodes are taken once and given
            // back: then all blocks must be there, except the stub's.
            take_all(pool).into_iter().for_each(|node| give_quietly(pool, node));
            let nodes = take_all(pool);
            assert!(nodes.len() as u64 >= pool.created() - pool.block(), "a block is lost");
            nodes.into_iter().for_each(|node| give_quietly(pool, node));
        }
        left
    }

    /// Everything that was pushed was popped or is still there, once.
    pub(crate) fn account(
        &self,
        pushed: impl IntoIterator<Item = u64>,
        popped: impl IntoIterator<Item = u64>,
    ) {
        exactly_once(pushed, popped.into_iter().chain(self.drain()));
    }
}

fn pop<P: Platform, C: CountPolicy>(
    consumer: &mut Consumer<'_, P, u64, C>,
    outcomes: &Outcomes,
) -> Option<u64> {
    popped(outcomes, || consumer.pop())
}

/// What a pop gets.
pub(crate) fn popped(outcomes: &Outcomes, pop: impl FnOnce() -> Result<u64, PopError>) -> Option<u64> {
    match model::pop("mpsc.pop", pop) {
        Ok(value) => {
            outcomes.saw("popped");
            Some(value)
        }
        Err(PopError::Empty) => {
            outcomes.saw("empty");
            None
        }
        Err(PopError::Busy) => {
            outcomes.saw("busy");
            None
        }
        Err(error) => panic!("{error}"),
    }
}
