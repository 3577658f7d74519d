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

#[inline(always)]
fn back_off(attempt: u64) {
    for _ in 0..1u64 << attempt.min(6) {
        std::hint::spin_loop();
    }
}

/// Field by field: a wide load would wait until both fields have left the store buffer.
///
/// # Safety
///
/// As for [`std::ptr::read`].
#[inline(always)]
unsafe fn read(from: *const KeyValue) -> KeyValue {
    // SAFETY: the caller's promise is the same.
    unsafe {
        KeyValue {
            key: (&raw const (*from).key).read_volatile(),
            value: (&raw const (*from).value).read_volatile(),
        }
    }
}

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

    pub(crate) fn ring(&self) -> Ring<'_> {
        // SAFETY: written before the queue was handed out, and never again.
        let (cells, mask) = unsafe { (*self.buffer.get(), *self.buffer_mask.get()) };
        Ring { head: self, cells, mask }
    }
}

/// The queue, with the geometry copied.
pub(crate) struct Ring<'a> {
    head: &'a Mpmc,
    cells: *mut Cell,
    mask: u64,
}

/// Why no position was claimed.
enum Blocked {
    NotOurTurn,
    Contended,
}

impl Ring<'_> {
    #[inline(always)]
    fn cell(&self, position: u64) -> &Cell {
        // SAFETY: the ring has mask + 1 cells.
        unsafe { &*self.cells.add((position & self.mask) as usize) }
    }

    /// Claims the next position whose cell's sequence is `turn` ahead of it.
    #[inline(always)]
    fn claim(&self, word: &AtomicU64, turn: u64) -> Result<u64, Blocked> {
        let mut position = word.load(Relaxed);
        for attempt in 0..RETRY_BUDGET {
            let sequence = self.cell(position).sequence.load(Acquire);
            let ahead = sequence.wrapping_sub(position.wrapping_add(turn)).cast_signed();
            if ahead == 0 {
                let next = position.wrapping_add(1);
                if word.compare_exchange(position, next, Relaxed, Relaxed).is_ok() {
                    return Ok(position);
                }
            } else if ahead < 0 {
                return Err(Blocked::NotOurTurn);
            }
            back_off(attempt);
            position = word.load(Relaxed);
        }
        Err(Blocked::Contended)
    }

    #[inline]
    pub(crate) fn push(&self, value: KeyValue) -> Result<(), PushError> {
        let position = self.claim(&self.head.enqueue_pos.0, 0).map_err(|blocked| match blocked {
            Blocked::NotOurTurn => PushError::Full,
            Blocked::Contended => PushError::Contended,
        })?;
        let cell = self.cell(position);
        // SAFETY: the claim makes the cell ours until we publish it.
        unsafe { cell.data.get().write(value) };
        cell.sequence.store(position.wrapping_add(1), Release);
        self.head.count.fetch_add(1, Relaxed);
        Ok(())
    }

    #[inline]
    pub(crate) fn pop(&self) -> Result<KeyValue, PopError> {
        let position = self.claim(&self.head.dequeue_pos.0, 1).map_err(|blocked| match blocked {
            Blocked::NotOurTurn => PopError::Empty,
            Blocked::Contended => PopError::Contended,
        })?;
        let cell = self.cell(position);
        // SAFETY: the claim makes the cell ours until we free it.
        let value = unsafe { read(cell.data.get()) };
        cell.sequence.store(position.wrapping_add(self.mask).wrapping_add(1), Release);
        self.head.count.fetch_add(1u64.wrapping_neg(), Relaxed);
        Ok(value)
    }
}

#[repr(C)]
pub(crate) struct Node {
    next: AtomicPtr<Node>,
    data: UnsafeCell<KeyValue>,
}

/// Marks a link that counts spent nodes.
const TAKEN: u64 = 1 << 62;
const NUMBER: u64 = u32::MAX as u64;

#[repr(C)]
pub(crate) struct Pool {
    top: Line<AtomicU64>,
    created: AtomicU64,
    limit: UnsafeCell<u64>,
    nodes: UnsafeCell<*mut Node>,
    links: UnsafeCell<*mut AtomicU64>,
    block_shift: UnsafeCell<u64>,
    magazines: [Line<AtomicU64>; 8],
}

struct Chain {
    first: u64,
    last: u64,
}

enum AllocError {
    Exhausted,
    Contended,
    Corrupt,
}

impl From<AllocError> for PushError {
    #[inline]
    fn from(error: AllocError) -> PushError {
        match error {
            AllocError::Exhausted => PushError::Exhausted,
            AllocError::Contended => PushError::Contended,
            AllocError::Corrupt => PushError::Corrupt,
        }
    }
}

impl Pool {
    pub(crate) fn new(limit: u64) -> Self {
        let nodes: Vec<_> = (0..limit)
            .map(|_| Node { next: AtomicPtr::new(null_mut()), data: UnsafeCell::default() })
            .collect();
        let block_shift = (limit / 128).checked_ilog2().unwrap_or(0).min(6);
        let blocks = limit.div_ceil(1 << block_shift);
        let links: Vec<_> =
            (0..blocks).map(|slot| AtomicU64::new(if slot + 1 == blocks { 0 } else { slot + 2 })).collect();
        Pool {
            top: Line(AtomicU64::new(1)),
            created: AtomicU64::new(limit),
            limit: UnsafeCell::new(limit),
            nodes: UnsafeCell::new(nodes.leak().as_mut_ptr()),
            links: UnsafeCell::new(links.leak().as_mut_ptr()),
            block_shift: UnsafeCell::new(block_shift.into()),
            magazines: std::array::from_fn(|_| Line(AtomicU64::new(0))),
        }
    }

    /// What never changes, copied.
    pub(crate) fn nodes(&self) -> Nodes<'_> {
        // SAFETY: written before the pool was handed out, and never again.
        unsafe {
            let blocks = Blocks { shift: *self.block_shift.get() as u32, limit: *self.limit.get() };
            Nodes { pool: self, nodes: *self.nodes.get(), links: *self.links.get(), blocks }
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Nodes<'a> {
    pool: &'a Pool,
    nodes: *mut Node,
    links: *mut AtomicU64,
    blocks: Blocks,
}

impl Nodes<'_> {
    #[inline(always)]
    fn alloc(&self) -> Result<*mut Node, AllocError> {
        let run = self.alloc_run(1)?;
        // SAFETY: the number has been checked.
        Ok(unsafe { self.nodes.add((run.first - 1) as usize) })
    }

    #[inline(always)]
    fn alloc_run(&self, most: u64) -> Result<Run, AllocError> {
        let blocks = self.blocks;
        let magazine = &self.pool.magazines[processor() % 8].0;
        if blocks.shift > 0 {
            let mut next = magazine.load(Relaxed);
            for _ in 0..RETRY_BUDGET {
                if next == 0 {
                    break;
                }
                let run = blocks.run(next, most).ok_or(AllocError::Corrupt)?;
                match magazine.compare_exchange(next, blocks.behind(&run), Acquire, Relaxed) {
                    Ok(_) => return Ok(run),
                    Err(now) => next = now,
                }
                std::hint::spin_loop();
            }
        }
        let block = match self.take_block() {
            Err(AllocError::Exhausted) if blocks.shift > 0 => return self.steal(most),
            taken => taken?,
        };
        let run = blocks.run(blocks.first(block), most).ok_or(AllocError::Corrupt)?;
        let rest = blocks.behind(&run);
        if blocks.shift > 0 {
            self.link(block).ok_or(AllocError::Corrupt)?.store(TAKEN, Relaxed);
        }
        if rest != 0
            && magazine.compare_exchange(0, rest, Release, Relaxed).is_err()
            && let Some(spent) = self.link(block)
        {
            spent.fetch_add(blocks.len(block) - run.count, Relaxed);
        }
        Ok(run)
    }

    #[inline(always)]
    fn take_block(&self) -> Result<u64, AllocError> {
        let mut seen = self.pool.top.0.load(Acquire);
        for _ in 0..RETRY_BUDGET {
            let (tag, first) = ((seen >> 32) as u32, seen & NUMBER);
            if first == 0 {
                return Err(AllocError::Exhausted);
            }
            let second = self.link(first).ok_or(AllocError::Corrupt)?.load(Relaxed);
            let below = u64::from(tag.wrapping_add(1)) << 32 | second & NUMBER;
            match self.pool.top.0.compare_exchange(seen, below, Relaxed, Acquire) {
                Ok(_) => return Ok(first),
                Err(now) => seen = now,
            }
            std::hint::spin_loop();
        }
        Err(AllocError::Contended)
    }

    #[inline(always)]
    fn steal(&self, most: u64) -> Result<Run, AllocError> {
        let blocks = self.blocks;
        let mut empty = 0;
        for step in 0..8 + RETRY_BUDGET {
            let magazine = &self.pool.magazines[step as usize % 8].0;
            let next = magazine.load(Relaxed);
            if next != 0 {
                let run = blocks.run(next, most).ok_or(AllocError::Corrupt)?;
                if magazine.compare_exchange(next, blocks.behind(&run), Acquire, Relaxed).is_ok() {
                    return Ok(run);
                }
                empty = 0;
            } else if empty + 1 == 8 {
                return Err(AllocError::Exhausted);
            } else {
                empty += 1;
            }
        }
        Err(AllocError::Contended)
    }

    #[inline(always)]
    fn spend(&self, block: u64, nodes: u64, chain: Option<Chain>) -> Option<Chain> {
        let all = self.blocks.len(block);
        let is_spent = nodes == all
            || self.link(block).is_some_and(|link| (link.fetch_add(nodes, AcqRel) & NUMBER) + nodes == all);
        if !is_spent {
            return chain;
        }
        match chain {
            None => Some(Chain { first: block, last: block }),
            Some(chain) => {
                self.set_link(chain.last, block);
                Some(Chain { first: chain.first, last: block })
            }
        }
    }

    #[inline]
    fn free_chain(&self, chain: Chain) -> Result<(), Chain> {
        let mut seen = self.pool.top.0.load(Relaxed);
        for _ in 0..RETRY_BUDGET {
            let (tag, first) = ((seen >> 32) as u32, seen & u64::from(u32::MAX));
            self.set_link(chain.last, first);
            let above = u64::from(tag) << 32 | chain.first & u64::from(u32::MAX);
            match self.pool.top.0.compare_exchange(seen, above, Release, Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => seen = now,
            }
            std::hint::spin_loop();
        }
        Err(chain)
    }

    #[inline(always)]
    fn number(&self, node: *mut Node) -> Option<u64> {
        let offset = node.addr().wrapping_sub(self.nodes.addr()) as u64;
        // The inverse of 3, and 2^3: nodes have 24 bytes.
        let slot = offset.wrapping_mul(0xaaaa_aaaa_aaaa_aaab).rotate_right(3);
        (slot < self.blocks.limit).then_some(slot + 1)
    }

    #[inline(always)]
    fn own(&self, node: *mut Node) -> *mut Node {
        self.nodes.with_addr(node.addr())
    }

    #[inline(always)]
    fn link(&self, block: u64) -> Option<&AtomicU64> {
        if block.wrapping_sub(1) >= self.blocks.count() {
            return None;
        }
        // SAFETY: the number is that of a block, and there is a link for each.
        Some(unsafe { &*self.links.add((block - 1) as usize) })
    }

    #[inline(always)]
    fn set_link(&self, block: u64, next: u64) {
        // SAFETY: a block of a chain, and there is a link for each.
        unsafe { &*self.links.add((block - 1) as usize) }.store(next, Relaxed);
    }
}

struct Run {
    first: u64,
    count: u64,
}

#[inline(always)]
fn processor() -> usize {
    let here = 0u8;
    let spread = ((&raw const here).addr() as u64 >> 16).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (spread >> 32) as usize
}

#[derive(Clone, Copy)]
struct Blocks {
    shift: u32,
    limit: u64,
}

impl Blocks {
    #[inline(always)]
    fn of(self, number: u64) -> u64 {
        ((number - 1) >> self.shift) + 1
    }

    #[inline(always)]
    fn first(self, block: u64) -> u64 {
        ((block - 1) << self.shift) + 1
    }

    #[inline(always)]
    fn last(self, block: u64) -> u64 {
        (block << self.shift).min(self.limit)
    }

    #[inline(always)]
    fn len(self, block: u64) -> u64 {
        self.last(block).wrapping_sub(self.first(block)).wrapping_add(1)
    }

    #[inline(always)]
    fn count(self) -> u64 {
        self.limit.wrapping_add((1 << self.shift) - 1) >> self.shift
    }

    #[inline(always)]
    fn run(self, first: u64, most: u64) -> Option<Run> {
        if first.wrapping_sub(1) >= self.limit {
            return None;
        }
        let more = self.last(self.of(first)).wrapping_sub(first);
        Some(Run { first, count: 1 + more.min(most - 1) })
    }

    #[inline(always)]
    fn behind(self, run: &Run) -> u64 {
        let next = run.first + run.count;
        if next > self.last(self.of(run.first)) { 0 } else { next }
    }
}

#[repr(C)]
pub(crate) struct Mpsc {
    head: AtomicPtr<Node>,
    tail: UnsafeCell<*mut Node>,
    count: AtomicU64,
}

impl Mpsc {
    pub(crate) fn new(nodes: Nodes<'_>) -> Self {
        let stub = nodes.alloc().map_err(PushError::from).expect("a stub");
        Mpsc { head: AtomicPtr::new(stub), tail: UnsafeCell::new(stub), count: AtomicU64::new(0) }
    }

    pub(crate) fn list<'a>(&'a self, nodes: Nodes<'a>) -> List<'a> {
        List { head: self, nodes }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct List<'a> {
    head: &'a Mpsc,
    nodes: Nodes<'a>,
}

impl List<'_> {
    #[inline(always)]
    pub(crate) fn push(&self, value: KeyValue) -> Result<(), PushError> {
        let node = self.nodes.alloc()?;
        // SAFETY: the node is ours from `alloc` to the swap.
        unsafe {
            (*node).next.as_ptr().write(null_mut());
            (*node).data.get().write(value);
        }
        let previous = self.head.head.swap(node, AcqRel);
        if self.nodes.number(previous).is_none() {
            return Err(PushError::Corrupt);
        }
        // SAFETY: the node was the head until our swap, so it is not freed before we link it.
        unsafe { &*self.nodes.own(previous) }.next.store(node, Release);
        self.head.count.fetch_add(1, Relaxed);
        Ok(())
    }
}

pub(crate) struct Consumer<'a> {
    list: List<'a>,
    stub: (*mut Node, u64),
    unreturned: Option<Chain>,
}

impl<'a> Consumer<'a> {
    pub(crate) fn new(list: List<'a>) -> Self {
        // SAFETY: we are the consumer.
        let tail = unsafe { *list.head.tail.get() };
        Consumer {
            list,
            stub: (tail, list.nodes.number(tail).expect("a stub of the pool")),
            unreturned: None,
        }
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Result<KeyValue, PopError> {
        let tail = self.stub.0;
        // SAFETY: the tail is a node of the pool.
        let next = unsafe { &*tail }.next.load(Acquire);
        if next.is_null() {
            let is_last = self.list.head.head.load(Relaxed) == tail;
            return Err(if is_last { PopError::Empty } else { PopError::Busy });
        }
        let next = (next, self.list.nodes.number(next).ok_or(PopError::Corrupt)?);
        // SAFETY: a linked node is only read.
        let value = unsafe { read((*next.0).data.get()) };
        // SAFETY: we are the consumer.
        unsafe { *self.list.head.tail.get() = next.0 };
        let number = std::mem::replace(&mut self.stub, next).1;
        let nodes = self.list.nodes;
        let chain = self.unreturned.take();
        let chain = nodes.spend(nodes.blocks.of(number), 1, chain);
        self.unreturned = chain.and_then(|chain| nodes.free_chain(chain).err());
        self.list.head.count.fetch_add(1u64.wrapping_neg(), Relaxed);
        Ok(value)
    }
}
