//! The queues once more, by hand and for userspace only: no trait, no sites, no type parameters. What
//! `Native` is measured against.

use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{
    AtomicPtr, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use arenaq::{KeyValue, PopError, PushError};

const RETRY_BUDGET: u64 = 100;

#[repr(C, align(64))]
struct Line<T>(T);

#[repr(C)]
pub(crate) struct Cell {
    sequence: AtomicU64,
    data: UnsafeCell<KeyValue>,
}

#[repr(C)]
pub(crate) struct Mpmc {
    enqueue_pos: Line<AtomicU64>,
    dequeue_pos: Line<AtomicU64>,
    buffer_mask: UnsafeCell<u64>,
    buffer: UnsafeCell<*mut Cell>,
    count: AtomicU64,
}

impl Mpmc {
    pub(crate) fn new(capacity: u64) -> Self {
        let cells: Vec<_> = (0..capacity)
            .map(|position| Cell { sequence: AtomicU64::new(position), data: UnsafeCell::default() })
            .collect();
        Mpmc {
            enqueue_pos: Line(AtomicU64::new(0)),
            dequeue_pos: Line(AtomicU64::new(0)),
            buffer_mask: UnsafeCell::new(capacity - 1),
            buffer: UnsafeCell::new(cells.leak().as_mut_ptr()),
            count: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(crate) fn push(&self, value: KeyValue) -> Result<(), PushError> {
        // SAFETY: written before the queue was handed out, and never again.
        let buffer = unsafe { *self.buffer.get() };
        if buffer.is_null() {
            return Err(PushError::Invalid);
        }
        let mut position = self.enqueue_pos.0.load(Relaxed);
        // SAFETY: as the buffer.
        let mask = unsafe { *self.buffer_mask.get() };
        for _ in 0..RETRY_BUDGET {
            // SAFETY: the ring has mask + 1 cells.
            let cell = unsafe { &*buffer.add((position & mask) as usize) };
            let sequence = cell.sequence.load(Acquire);
            let turn = sequence.wrapping_sub(position).cast_signed();
            if turn == 0 {
                let next = position.wrapping_add(1);
                if self.enqueue_pos.0.compare_exchange(position, next, Relaxed, Relaxed).is_ok() {
                    // SAFETY: the claim makes the cell ours until we publish it.
                    unsafe { cell.data.get().write(value) };
                    cell.sequence.store(next, Release);
                    self.count.fetch_add(1, Relaxed);
                    return Ok(());
                }
            } else if turn < 0 {
                return Err(PushError::Full);
            }
            std::hint::spin_loop();
            position = self.enqueue_pos.0.load(Relaxed);
        }
        Err(PushError::Contended)
    }

    #[inline]
    pub(crate) fn pop(&self) -> Result<KeyValue, PopError> {
        // SAFETY: written before the queue was handed out, and never again.
        let buffer = unsafe { *self.buffer.get() };
        if buffer.is_null() {
            return Err(PopError::Invalid);
        }
        let mut position = self.dequeue_pos.0.load(Relaxed);
        // SAFETY: as the buffer.
        let mask = unsafe { *self.buffer_mask.get() };
        for _ in 0..RETRY_BUDGET {
            // SAFETY: the ring has mask + 1 cells.
            let cell = unsafe { &*buffer.add((position & mask) as usize) };
            let sequence = cell.sequence.load(Acquire);
            let next = position.wrapping_add(1);
            let turn = sequence.wrapping_sub(next).cast_signed();
            if turn == 0 {
                if self.dequeue_pos.0.compare_exchange(position, next, Relaxed, Relaxed).is_ok() {
                    // SAFETY: the claim makes the cell ours until we free it.
                    let value = unsafe { cell.data.get().read() };
                    cell.sequence.store(next.wrapping_add(mask), Release);
                    self.count.fetch_add(1u64.wrapping_neg(), Relaxed);
                    return Ok(value);
                }
            } else if turn < 0 {
                return Err(PopError::Empty);
            }
            std::hint::spin_loop();
            position = self.dequeue_pos.0.load(Relaxed);
        }
        Err(PopError::Contended)
    }
}

#[repr(C)]
pub(crate) struct Node {
    next: AtomicPtr<Node>,
    data: UnsafeCell<KeyValue>,
}

#[repr(C)]
pub(crate) struct Pool {
    top: Line<AtomicU64>,
    created: AtomicU64,
    limit: UnsafeCell<u64>,
    nodes: UnsafeCell<*mut Node>,
    links: UnsafeCell<*mut AtomicU64>,
}

struct Chain {
    first: u64,
    last: u64,
}

impl Pool {
    pub(crate) fn new(limit: u64) -> Self {
        let nodes: Vec<_> = (0..limit)
            .map(|_| Node { next: AtomicPtr::new(null_mut()), data: UnsafeCell::default() })
            .collect();
        let links: Vec<_> =
            (0..limit).map(|slot| AtomicU64::new(if slot + 1 == limit { 0 } else { slot + 2 })).collect();
        Pool {
            top: Line(AtomicU64::new(1)),
            created: AtomicU64::new(limit),
            limit: UnsafeCell::new(limit),
            nodes: UnsafeCell::new(nodes.leak().as_mut_ptr()),
            links: UnsafeCell::new(links.leak().as_mut_ptr()),
        }
    }

    #[inline]
    fn alloc(&self) -> Result<*mut Node, PushError> {
        let nodes = self.nodes();
        if nodes.is_null() {
            return Err(PushError::Invalid);
        }
        let mut seen = self.top.0.load(Acquire);
        for _ in 0..RETRY_BUDGET {
            let (tag, first) = ((seen >> 32) as u32, seen & u64::from(u32::MAX));
            if first == 0 {
                return Err(PushError::Exhausted);
            }
            let second = self.link(first).ok_or(PushError::Invalid)?.load(Relaxed);
            let below = u64::from(tag.wrapping_add(1)) << 32 | second & u64::from(u32::MAX);
            match self.top.0.compare_exchange(seen, below, Relaxed, Acquire) {
                // SAFETY: `link` has checked the number.
                Ok(_) => return Ok(unsafe { nodes.add((first - 1) as usize) }),
                Err(now) => seen = now,
            }
            std::hint::spin_loop();
        }
        Err(PushError::Contended)
    }

    #[inline]
    fn chain(&self, node: *mut Node) -> Chain {
        let number = self.number(node).unwrap_or(0);
        Chain { first: number, last: number }
    }

    #[inline]
    fn join(&self, front: &Chain, back: &Chain) -> Chain {
        self.set_link(front.last, back.first);
        Chain { first: front.first, last: back.last }
    }

    #[inline]
    fn free_chain(&self, chain: Chain) -> Result<(), Chain> {
        let mut seen = self.top.0.load(Relaxed);
        for _ in 0..RETRY_BUDGET {
            let (tag, first) = ((seen >> 32) as u32, seen & u64::from(u32::MAX));
            self.set_link(chain.last, first);
            let above = u64::from(tag) << 32 | chain.first & u64::from(u32::MAX);
            match self.top.0.compare_exchange(seen, above, Release, Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => seen = now,
            }
            std::hint::spin_loop();
        }
        Err(chain)
    }

    #[inline(always)]
    fn nodes(&self) -> *mut Node {
        // SAFETY: written before the pool was handed out, and never again.
        unsafe { *self.nodes.get() }
    }

    #[inline]
    fn limit(&self) -> u64 {
        // SAFETY: written before the pool was handed out, and never again.
        unsafe { *self.limit.get() }
    }

    #[inline(always)]
    fn number(&self, node: *mut Node) -> Option<u64> {
        let offset = node.addr().wrapping_sub(self.nodes().addr()) as u64;
        // The inverse of 3, and 2^3: nodes have 24 bytes.
        let slot = offset.wrapping_mul(0xaaaa_aaaa_aaaa_aaab).rotate_right(3);
        (slot < self.limit()).then_some(slot + 1)
    }

    #[inline(always)]
    fn link(&self, number: u64) -> Option<&AtomicU64> {
        if number.wrapping_sub(1) >= self.limit() {
            return None;
        }
        // SAFETY: the number is from 1 to the limit, and there is a link for each.
        Some(unsafe { &*(*self.links.get()).add((number - 1) as usize) })
    }

    #[inline(always)]
    fn set_link(&self, number: u64, next: u64) {
        if let Some(link) = self.link(number) {
            link.store(next, Relaxed);
        }
    }
}

#[repr(C)]
pub(crate) struct Mpsc {
    head: AtomicPtr<Node>,
    tail: UnsafeCell<*mut Node>,
    count: AtomicU64,
}

impl Mpsc {
    pub(crate) fn new(pool: &Pool) -> Self {
        let stub = pool.alloc().expect("a stub");
        Mpsc { head: AtomicPtr::new(stub), tail: UnsafeCell::new(stub), count: AtomicU64::new(0) }
    }

    #[inline]
    pub(crate) fn push(&self, pool: &Pool, value: KeyValue) -> Result<(), PushError> {
        let node = pool.alloc()?;
        // SAFETY: the node is ours from `alloc` to the swap.
        unsafe {
            (*node).next.as_ptr().write(null_mut());
            (*node).data.get().write(value);
        }
        let previous = self.head.swap(node, AcqRel);
        if previous.is_null() {
            self.head.store(null_mut(), Relaxed);
            drop(pool.free_chain(pool.chain(node)));
            return Err(PushError::Invalid);
        }
        // SAFETY: the node was the head until our swap, so it is not freed before we link it.
        unsafe { &*previous }.next.store(node, Release);
        self.count.fetch_add(1, Relaxed);
        Ok(())
    }
}

pub(crate) struct Consumer<'a> {
    head: &'a Mpsc,
    pool: &'a Pool,
    stub: u64,
    unreturned: Option<Chain>,
}

impl<'a> Consumer<'a> {
    pub(crate) fn new(head: &'a Mpsc, pool: &'a Pool) -> Self {
        // SAFETY: we are the consumer.
        let tail = unsafe { *head.tail.get() };
        Consumer { head, pool, stub: pool.number(tail).expect("a stub of the pool"), unreturned: None }
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Result<KeyValue, PopError> {
        // SAFETY: we are the consumer.
        let tail = unsafe { *self.head.tail.get() };
        // SAFETY: the tail is a node of the pool.
        let next = unsafe { &*tail }.next.load(Acquire);
        if next.is_null() {
            let is_last = self.head.head.load(Relaxed) == tail;
            return Err(if is_last { PopError::Empty } else { PopError::Busy });
        }
        let number = self.pool.number(next).ok_or(PopError::Corrupt)?;
        // SAFETY: a linked node is only read.
        let value = unsafe { (*next).data.get().read() };
        let mut spent = Chain { first: self.stub, last: self.stub };
        // SAFETY: we are the consumer.
        unsafe { *self.head.tail.get() = next };
        self.stub = number;
        if let Some(older) = self.unreturned.take() {
            spent = self.pool.join(&spent, &older);
        }
        self.unreturned = self.pool.free_chain(spent).err();
        self.head.count.fetch_add(1u64.wrapping_neg(), Relaxed);
        Ok(value)
    }
}
