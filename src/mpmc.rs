//! The bounded queue: many producers, many consumers, a ring of cells.
//!
//! Dmitry Vyukov, [Bounded MPMC
//! queue](https://www.1024cores.net/home/lock-free-algorithms/queues/bounded-mpmc-queue); the seeds'
//! `ds_vyukhov`.
//!
//! # How it works
//!
//! The enqueue and the dequeue position only grow; a position's cell is `buffer[position & mask]`. Each cell
//! has a *sequence* that says whose turn it is:
//!
//! | sequence of the cell of position `p` | the cell | who moves next |
//! |---|---|---|
//! | `p` | free | the producer that claims enqueue position `p` |
//! | `p + 1` | published | the consumer that claims dequeue position `p` |
//! | `p + capacity` | free again, one lap later | the producer that claims `p + capacity` |
//!
//! A thread reads the sequence, and if it is its turn, claims the position with a compare-exchange, or with a
//! store if it is alone on its side ([`single`](crate::single)). From there to its store of the sequence the
//! cell is its own. The sequence alone carries the data from thread to thread: its stores release what was done
//! to the cell, its loads acquire it. The positions carry nothing but the claim, so all accesses to them are
//! relaxed.
//!
//! Positions, sequences and their differences wrap around at 2^64.
//!
//! # Batches
//!
//! [`Head::push_many`] and [`Head::drain`] claim a *run*: consecutive positions whose cells are all free, or all
//! published. They load the sequences from the position on until one is not what they need, and claim the
//! positions before it with one compare-exchange. What they saw is still so when the claim succeeds: a cell
//! that is free for the producer of position `p` changes only when `p` is claimed, and as the position has not
//! moved since it was read, nobody has claimed one behind it; the same holds for consumers. Each cell of the
//! run has been acquired by the load of its own sequence, and is released by the store of its own.
//!
//! A producer publishes the cells of its run from the last to the first. A consumer that waits for the first
//! leaves the cache lines behind it to the producer until all are written, and then finds them all.
//!
//! A run is no longer than the ring: the cell of `p + capacity` is that of `p`, whose sequence cannot be what
//! both positions need.
//!
//! From the claim to the last sequence nothing may end the loop over the run, or cells would stay claimed for
//! ever. The kernel may end the loops of BPF programs, so the kernel side has no batches here.
//!
//! # What a stalled thread does
//!
//! Between its claim and its store of the sequence a thread can be preempted, or die. Nothing breaks; but its
//! cell stays as it is, and consumers that arrive there report [`PopError::Empty`] although later cells hold
//! elements, or producers that arrive there [`PushError::Full`] although other cells are free.

use core::marker::PhantomData;
use thiserror::Error;

use crate::claim::{Claim, Many};
use crate::count::{CountPolicy, Counted};
use crate::layout::CacheLine;
use crate::ordering::{Load, Site};
use crate::payload::Payload;
use crate::platform::{Plain, Platform, Word};
use crate::status::{Corruption, PopError, PushError};

/// The sites of the queue.
pub mod site {
    use crate::ordering::Ordering::{Acquire, Relaxed, Release};
    use crate::ordering::{Field, Site, sites};

    sites! {
        /// Where the ring is; null in a queue that was never initialised.
        PUSH_BUFFER: Read = Site::read("mpmc.push.read_buffer")
            .of(Field::Ring)
            .why("written once, before the queue is handed out")
            .seed("insert m00 m03");
        /// The position that the push will try to claim.
        PUSH_POSITION: Load = Site::load(Relaxed, "mpmc.push.load_position")
            .of(Field::EnqueuePosition)
            .why("only a guess: the claim fails if it is old")
            .seed("insert m01, analysis 1 m0");
        /// The mask that turns a position into a cell.
        PUSH_MASK: Read = Site::read("mpmc.push.read_mask")
            .of(Field::Ring)
            .why("written once, before the queue is handed out")
            .seed("insert m02");
        /// Whose turn the cell is.
        PUSH_SEQUENCE: Load = Site::load(Acquire, "mpmc.push.load_sequence")
            .of(Field::Sequence)
            .pairs_with(&["mpmc.pop.free_cell", "mpmc.drain.free_cell", "mpmc.reclaim.free_cell"])
            .why("the last consumer's read of the data happens before this push overwrites it")
            .seed("insert m04, analysis 1 m1");
        /// The claim of the position.
        PUSH_CLAIM: CompareExchange = Site::compare_exchange(Relaxed, Relaxed, "mpmc.push.claim_position")
            .of(Field::EnqueuePosition)
            .why("decides who owns the cell and carries no data: the sequence does that")
            .seed("insert m05, analysis 1 m2");
        /// The element itself, in a cell that nobody else may touch.
        PUSH_DATA: Write = Site::write("mpmc.push.write_data")
            .of(Field::Data)
            .why("the cell is the claimer's until it publishes")
            .seed("insert m06 m07, analysis 1 m3");
        /// The cell becomes a consumer's.
        PUSH_PUBLISH: Store = Site::store(Release, "mpmc.push.publish_cell")
            .of(Field::Sequence)
            .pairs_with(&["mpmc.pop.load_sequence", "mpmc.drain.load_sequence", "mpmc.search.load_sequence"])
            .why("the data is written before whoever sees this sequence reads it")
            .seed("insert m08, analysis 1 m4");
        /// One element more.
        PUSH_COUNT: Add = Site::add(Relaxed, "mpmc.push.increment_count")
            .of(Field::Count)
            .why("a statistic: nothing is decided by it")
            .seed("insert m09");
        /// The position again, after somebody else was faster.
        PUSH_RELOAD: Load = Site::load(Relaxed, "mpmc.push.reload_position")
            .of(Field::EnqueuePosition)
            .why("only a guess, as the first")
            .seed("insert m10");

        /// Where the ring is.
        POP_BUFFER: Read = Site::read("mpmc.pop.read_buffer")
            .of(Field::Ring)
            .why("written once, before the queue is handed out");
        /// The position that the pop will try to claim.
        POP_POSITION: Load = Site::load(Relaxed, "mpmc.pop.load_position")
            .of(Field::DequeuePosition)
            .why("only a guess: the claim fails if it is old")
            .seed("analysis 2 m0");
        /// The mask that turns a position into a cell.
        POP_MASK: Read = Site::read("mpmc.pop.read_mask")
            .of(Field::Ring)
            .why("written once, before the queue is handed out");
        /// Whose turn the cell is.
        POP_SEQUENCE: Load = Site::load(Acquire, "mpmc.pop.load_sequence")
            .of(Field::Sequence)
            .pairs_with(&["mpmc.push.publish_cell", "mpmc.push_many.publish_cell"])
            .why("the producer's write of the data happens before this pop reads it")
            .seed("analysis 2 m1");
        /// The claim of the position.
        POP_CLAIM: CompareExchange = Site::compare_exchange(Relaxed, Relaxed, "mpmc.pop.claim_position")
            .of(Field::DequeuePosition)
            .why("decides who owns the cell and carries no data: the sequence does that")
            .seed("analysis 2 m2");
        /// The element itself, in a cell that nobody else may touch.
        POP_DATA: Read = Site::read("mpmc.pop.read_data")
            .of(Field::Data)
            .why("the cell is the claimer's until it frees it")
            .seed("analysis 2 m3");
        /// The cell becomes the next lap's producer's.
        POP_FREE: Store = Site::store(Release, "mpmc.pop.free_cell")
            .of(Field::Sequence)
            .pairs_with(&["mpmc.push.load_sequence", "mpmc.push_many.load_sequence"])
            .why("the data is read before the producer that sees this sequence overwrites it")
            .seed("analysis 2 m4");
        /// One element less.
        POP_COUNT: Add = Site::add(Relaxed, "mpmc.pop.decrement_count")
            .of(Field::Count)
            .why("a statistic: nothing is decided by it");
        /// The position again, after somebody else was faster.
        POP_RELOAD: Load = Site::load(Relaxed, "mpmc.pop.reload_position")
            .of(Field::DequeuePosition)
            .why("only a guess, as the first");

        /// Where the ring is.
        PUSH_MANY_BUFFER: Read = Site::read("mpmc.push_many.read_buffer")
            .of(Field::Ring)
            .why("written once, before the queue is handed out");
        /// The first position that the push will try to claim.
        PUSH_MANY_POSITION: Load = Site::load(Relaxed, "mpmc.push_many.load_position")
            .of(Field::EnqueuePosition)
            .why("only a guess: the claim fails if it is old");
        /// The mask that turns a position into a cell.
        PUSH_MANY_MASK: Read = Site::read("mpmc.push_many.read_mask")
            .of(Field::Ring)
            .why("written once, before the queue is handed out");
        /// Whose turn a cell of the run is.
        PUSH_MANY_SEQUENCE: Load = Site::load(Acquire, "mpmc.push_many.load_sequence")
            .of(Field::Sequence)
            .pairs_with(&["mpmc.pop.free_cell", "mpmc.drain.free_cell", "mpmc.reclaim.free_cell"])
            .why("the last consumer's read of the cell's data happens before this push overwrites it");
        /// The claim of the whole run.
        PUSH_MANY_CLAIM: CompareExchange = Site::compare_exchange(Relaxed, Relaxed, "mpmc.push_many.claim_positions")
            .of(Field::EnqueuePosition)
            .why("decides who owns the cells and carries no data: each sequence does that for its cell");
        /// An element, in a cell that nobody else may touch.
        PUSH_MANY_DATA: Write = Site::write("mpmc.push_many.write_data")
            .of(Field::Data)
            .why("the cell is the claimer's until it publishes");
        /// A cell becomes a consumer's.
        PUSH_MANY_PUBLISH: Store = Site::store(Release, "mpmc.push_many.publish_cell")
            .of(Field::Sequence)
            .pairs_with(&["mpmc.pop.load_sequence", "mpmc.drain.load_sequence", "mpmc.search.load_sequence"])
            .why("the data is written before whoever sees this sequence reads it");
        /// All elements of the batch more.
        PUSH_MANY_COUNT: Add = Site::add(Relaxed, "mpmc.push_many.increment_count")
            .of(Field::Count)
            .why("a statistic: nothing is decided by it");
        /// The position again, after somebody else was faster.
        PUSH_MANY_RELOAD: Load = Site::load(Relaxed, "mpmc.push_many.reload_position")
            .of(Field::EnqueuePosition)
            .why("only a guess, as the first");

        /// Where the ring is.
        DRAIN_BUFFER: Read = Site::read("mpmc.drain.read_buffer")
            .of(Field::Ring)
            .why("written once, before the queue is handed out");
        /// The first position that the drain will try to claim.
        DRAIN_POSITION: Load = Site::load(Relaxed, "mpmc.drain.load_position")
            .of(Field::DequeuePosition)
            .why("only a guess: the claim fails if it is old");
        /// The mask that turns a position into a cell.
        DRAIN_MASK: Read = Site::read("mpmc.drain.read_mask")
            .of(Field::Ring)
            .why("written once, before the queue is handed out");
        /// Whose turn a cell of the run is.
        DRAIN_SEQUENCE: Load = Site::load(Acquire, "mpmc.drain.load_sequence")
            .of(Field::Sequence)
            .pairs_with(&["mpmc.push.publish_cell", "mpmc.push_many.publish_cell"])
            .why("the producer's write of the cell's data happens before this drain reads it");
        /// The claim of the whole run.
        DRAIN_CLAIM: CompareExchange = Site::compare_exchange(Relaxed, Relaxed, "mpmc.drain.claim_positions")
            .of(Field::DequeuePosition)
            .why("decides who owns the cells and carries no data: each sequence does that for its cell");
        /// An element, in a cell that nobody else may touch.
        DRAIN_DATA: Read = Site::read("mpmc.drain.read_data")
            .of(Field::Data)
            .why("the cell is the claimer's until it frees it");
        /// A cell becomes the next lap's producer's.
        DRAIN_FREE: Store = Site::store(Release, "mpmc.drain.free_cell")
            .of(Field::Sequence)
            .pairs_with(&["mpmc.push.load_sequence", "mpmc.push_many.load_sequence"])
            .why("the data is read before the producer that sees this sequence overwrites it");
        /// All elements of the batch less.
        DRAIN_COUNT: Add = Site::add(Relaxed, "mpmc.drain.decrement_count")
            .of(Field::Count)
            .why("a statistic: nothing is decided by it");
        /// The position again, after somebody else was faster.
        DRAIN_RELOAD: Load = Site::load(Relaxed, "mpmc.drain.reload_position")
            .of(Field::DequeuePosition)
            .why("only a guess, as the first");

        /// Positions, as an observer reads them.
        INSPECT_POSITION: Load = Site::load(Relaxed, "mpmc.inspect.load_position")
            .of(Field::Position)
            .why("the result is old by the time that it is returned, whatever the ordering");
        /// A position again, as nobody else has changed it in between.
        CONFIRM_POSITION: FetchAdd = Site::fetch_add(Relaxed, "mpmc.verify.confirm_position")
            .of(Field::Position)
            .why("adds nothing: a read-modify-write finds the newest value, where a load may find one that is old");
        /// A cell's sequence, as an observer reads it.
        INSPECT_SEQUENCE: Load = Site::load(Relaxed, "mpmc.inspect.load_sequence")
            .of(Field::Sequence)
            .why("the sequence is judged by itself; no data is read behind it");
        /// The counter, as an observer reads it.
        INSPECT_COUNT: Load = Site::load(Relaxed, "mpmc.inspect.load_count")
            .of(Field::Count)
            .why("a statistic: nothing is decided by it");
        /// Mask and buffer, as an observer reads them.
        INSPECT_RING: Read = Site::read("mpmc.inspect.read_ring")
            .of(Field::Ring)
            .why("written once, before the queue is handed out");

        /// Whether a cell holds an element that may be looked at.
        SEARCH_SEQUENCE: Load = Site::load(Acquire, "mpmc.search.load_sequence")
            .of(Field::Sequence)
            .pairs_with(&["mpmc.push.publish_cell", "mpmc.push_many.publish_cell"])
            .why("the producer's write of the data happens before the search reads it");
        /// An element that stays in its cell.
        SEARCH_DATA: Read = Site::read("mpmc.search.read_data")
            .of(Field::Data)
            .why("no pop runs, so a published cell stays as it is");

        /// Everything that is written before the queue is handed out.
        INIT: Write = Site::write("mpmc.init.write")
            .of(Field::Several)
            .why("nobody else knows of the queue yet");
    }
}

/// The number of cells: a power of two from 2 to 2^31.
///
/// With one cell, *published* (`p + 1`) and *free for the next lap* (`p + capacity`) would be the same
/// sequence, and a full queue would overwrite its element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capacity(u64);

impl Capacity {
    /// The smallest capacity.
    pub const MIN: Capacity = Capacity(2);
    /// The largest capacity.
    pub const MAX: Capacity = Capacity(1 << 31);

    /// Checks a number of cells.
    ///
    /// # Errors
    ///
    /// [`CapacityError`] says what is wrong with it, and which capacity would do.
    pub const fn new(cells: u64) -> Result<Capacity, CapacityError> {
        if cells < Self::MIN.0 {
            Err(CapacityError::TooSmall(cells))
        } else if cells > Self::MAX.0 {
            Err(CapacityError::TooLarge(cells))
        } else if !cells.is_power_of_two() {
            Err(CapacityError::NotPowerOfTwo { cells, next: cells.next_power_of_two() })
        } else {
            Ok(Capacity(cells))
        }
    }

    /// The number of cells.
    pub const fn get(self) -> u64 {
        self.0
    }

    const fn mask(self) -> u64 {
        self.0 - 1
    }
}

/// Why a number of cells is not a [`Capacity`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum CapacityError {
    /// Fewer than two cells.
    #[error(
        "a capacity of {0} is too small: it must be at least 2, or a full queue could not be told from one free for the next lap"
    )]
    TooSmall(u64),
    /// More than 2^31 cells.
    #[error("a capacity of {0} is too large: it can be at most 2147483648 (2^31)")]
    TooLarge(u64),
    /// Not a power of two.
    #[error("a capacity of {cells} is not a power of two: the next is {next}")]
    NotPowerOfTwo {
        /// The number asked for.
        cells: u64,
        /// The next power of two.
        next: u64,
    },
}

/// One cell of the ring.
///
/// Layout for [`KeyValue`](crate::KeyValue): `sequence` 0, `key` 8, `value` 16; 24 bytes.
#[repr(C)]
#[derive(Debug)]
pub struct Cell<P: Platform, T: Payload> {
    pub(crate) sequence: P::Word,
    pub(crate) data: P::Plain<T>,
}

impl<P: Platform, T: Payload> Cell<P, T> {
    /// A cell that belongs to no queue yet.
    pub fn empty() -> Self {
        Cell { sequence: P::Word::new(0), data: P::Plain::new(T::zeroed()) }
    }
}

/// The shared control block of a queue.
///
/// Layout: `enqueue_pos` 0x00, `dequeue_pos` 0x40, `buffer_mask` 0x80, `buffer` 0x88, `count` 0x90; 192
/// bytes, in lines of 64. All zero is a queue that was never initialised: every operation on it reports
/// `Invalid`.
///
/// Whoever holds a reference can push and pop, from any number of threads.
#[repr(C)]
pub struct Head<P: Platform, T: Payload, C: CountPolicy = Counted> {
    pub(crate) enqueue_pos: CacheLine<P::Word>,
    pub(crate) dequeue_pos: CacheLine<P::Word>,
    pub(crate) buffer_mask: P::Plain<u64>,
    pub(crate) buffer: P::Plain<*mut Cell<P, T>>,
    pub(crate) count: P::Word,
    policy: PhantomData<C>,
}

// SAFETY: everything that changes after initialisation is an atomic word, except for the data in the cells. A
// cell's data is touched only between a claim and the store of the cell's sequence, by the one thread that
// claimed, and the sequence orders one owner after another (PUSH_SEQUENCE, POP_SEQUENCE). The payload is
// plain old data, so it may change threads.
unsafe impl<P: Platform, T: Payload, C: CountPolicy> Sync for Head<P, T, C> {}
// SAFETY: as above; the raw pointer to the ring is not tied to a thread.
unsafe impl<P: Platform, T: Payload, C: CountPolicy> Send for Head<P, T, C> {}

impl<P: Platform, T: Payload, C: CountPolicy> Head<P, T, C> {
    /// A head without a ring, as zeroed memory is one.
    pub fn empty() -> Self {
        const { T::IS_WORDS }
        Head {
            enqueue_pos: CacheLine(P::Word::new(0)),
            dequeue_pos: CacheLine(P::Word::new(0)),
            buffer_mask: P::Plain::new(0),
            buffer: P::Plain::new(core::ptr::null_mut()),
            count: P::Word::new(0),
            policy: PhantomData,
        }
    }

    /// Makes an empty queue over `capacity` cells at `buffer`.
    ///
    /// # Errors
    ///
    /// [`Corruption::Unfinished`] if the platform ended the loop over the cells; the queue is not initialised
    /// then.
    ///
    /// # Safety
    ///
    /// `buffer` leads to `capacity` cells that are this queue's alone for as long as it is used, and nobody
    /// uses the queue before this function has returned.
    #[inline]
    pub unsafe fn init(&self, buffer: *mut Cell<P, T>, capacity: Capacity) -> Result<(), Corruption> {
        // SAFETY: the caller's promise is the same.
        unsafe { self.init_at(buffer, capacity, 0) }
    }

    /// [`init`](Self::init) with the positions at `start` instead of 0, as if so many elements had come and
    /// gone. Positions wrap around at 2^64, which nobody waits for; a start just below it shows what happens
    /// there.
    ///
    /// # Errors
    ///
    /// As [`init`](Self::init).
    ///
    /// # Safety
    ///
    /// As [`init`](Self::init).
    #[inline]
    pub unsafe fn init_at(
        &self,
        buffer: *mut Cell<P, T>,
        capacity: Capacity,
        start: u64,
    ) -> Result<(), Corruption> {
        const { T::IS_WORDS }
        let mut done = 0;
        for step in P::steps(capacity.get()) {
            let position = start.wrapping_add(step);
            // SAFETY: `position & mask` is below the capacity, and the caller gives that many cells, to us
            // alone.
            unsafe { (*buffer.add(index(position, capacity.mask()))).sequence.init(position, &site::INIT) };
            done = step + 1;
        }
        if done < capacity.get() {
            return Err(Corruption::Unfinished);
        }
        // SAFETY: nobody uses the queue before we return.
        unsafe {
            self.enqueue_pos.0.init(start, &site::INIT);
            self.dequeue_pos.0.init(start, &site::INIT);
            self.count.init(0, &site::INIT);
            self.buffer_mask.write(capacity.mask(), &site::INIT);
            self.buffer.write(buffer, &site::INIT);
        }
        Ok(())
    }

    /// Enqueues `value`.
    ///
    /// Lock-free: an attempt fails only because another push succeeded.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] if the cell of the enqueue position still holds the element of the last lap,
    /// [`PushError::Contended`] if the retry budget is spent, [`PushError::Invalid`] if there is no ring.
    #[inline(always)]
    pub fn push(&self, value: T) -> Result<(), PushError> {
        self.push_as::<Many>(value)
    }

    #[inline(always)]
    pub(crate) fn push_as<K: Claim>(&self, value: T) -> Result<(), PushError> {
        // SAFETY: written before the queue was handed out, and never again.
        let buffer = unsafe { self.buffer.read(&site::PUSH_BUFFER) };
        if buffer.is_null() {
            return Err(PushError::Invalid);
        }
        let mut position = self.enqueue_pos.0.load(&site::PUSH_POSITION);
        // SAFETY: as the buffer.
        let mask = unsafe { self.buffer_mask.read(&site::PUSH_MASK) };

        for attempt in P::steps(P::retry_budget()) {
            // SAFETY: an initialised ring has mask + 1 cells.
            let cell = unsafe { &*buffer.add(index(position, mask)) };
            let sequence = cell.sequence.load(&site::PUSH_SEQUENCE);
            let turn = distance(sequence, position);

            if turn == 0 {
                let next = position.wrapping_add(1);
                if K::claim(&self.enqueue_pos.0, position, next, &site::PUSH_CLAIM) {
                    // SAFETY: the sequence said that the cell is free in this lap, and the claim that it is
                    // ours: no other producer has this position, and no consumer reads the cell before its
                    // sequence is position + 1.
                    unsafe { cell.data.write(value, &site::PUSH_DATA) };
                    cell.sequence.store(next, &site::PUSH_PUBLISH);
                    C::increment(&self.count, 1, &site::PUSH_COUNT);
                    return Ok(());
                }
            } else if turn < 0 {
                return Err(PushError::Full);
            }
            P::back_off(attempt);
            position = self.enqueue_pos.0.load(&site::PUSH_RELOAD);
        }
        Err(PushError::Contended)
    }

    /// Dequeues the oldest element.
    ///
    /// Lock-free: an attempt fails only because another pop succeeded.
    ///
    /// # Errors
    ///
    /// [`PopError::Empty`] if the cell of the dequeue position is not published, [`PopError::Contended`] if
    /// the retry budget is spent, [`PopError::Invalid`] if there is no ring.
    // Always: a call in between would copy the element once more.
    #[inline(always)]
    pub fn pop(&self) -> Result<T, PopError> {
        self.pop_with(|value| value)
    }

    /// [`pop`](Self::pop) by a consumer that may be killed: the cell is freed after `hand_over` has returned.
    /// See [`recovery`](crate::recovery).
    ///
    /// # Errors
    ///
    /// As [`pop`](Self::pop).
    ///
    /// # Panics
    ///
    /// If `hand_over` does. The cell stays claimed then, as if the thread had died.
    #[inline(always)]
    pub fn pop_with<R>(&self, hand_over: impl FnOnce(T) -> R) -> Result<R, PopError> {
        self.pop_with_as::<Many, R>(hand_over)
    }

    #[inline(always)]
    pub(crate) fn pop_with_as<K: Claim, R>(&self, hand_over: impl FnOnce(T) -> R) -> Result<R, PopError> {
        // SAFETY: written before the queue was handed out, and never again.
        let buffer = unsafe { self.buffer.read(&site::POP_BUFFER) };
        if buffer.is_null() {
            return Err(PopError::Invalid);
        }
        let mut position = self.dequeue_pos.0.load(&site::POP_POSITION);
        // SAFETY: as the buffer.
        let mask = unsafe { self.buffer_mask.read(&site::POP_MASK) };

        for attempt in P::steps(P::retry_budget()) {
            // SAFETY: an initialised ring has mask + 1 cells.
            let cell = unsafe { &*buffer.add(index(position, mask)) };
            let sequence = cell.sequence.load(&site::POP_SEQUENCE);
            let next = position.wrapping_add(1);
            let turn = distance(sequence, next);

            if turn == 0 {
                if K::claim(&self.dequeue_pos.0, position, next, &site::POP_CLAIM) {
                    // SAFETY: the sequence said that the cell is published, and the claim that it is ours: no
                    // other consumer has this position, and no producer writes the cell before its sequence
                    // is a lap further.
                    let result = hand_over(unsafe { cell.data.read(&site::POP_DATA) });
                    cell.sequence.store(next.wrapping_add(mask), &site::POP_FREE);
                    C::decrement(&self.count, 1, &site::POP_COUNT);
                    return Ok(result);
                }
            } else if turn < 0 {
                return Err(PopError::Empty);
            }
            P::back_off(attempt);
            position = self.dequeue_pos.0.load(&site::POP_RELOAD);
        }
        Err(PopError::Contended)
    }

    /// Enqueues `values` from the first on, as many as there are free cells in a row. Returns how many; the
    /// others are still the caller's. Nothing comes between the elements of one batch, and nothing changes
    /// their order.
    ///
    /// One compare-exchange claims all cells, and the counter is incremented once. A consumer that finds the
    /// first element finds them all. Lock-free, as [`push`](Self::push).
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push), if there is no room for even one element.
    #[inline]
    pub fn push_many(&self, values: &[T]) -> Result<usize, PushError> {
        self.push_many_as::<Many>(values)
    }

    #[inline(always)]
    pub(crate) fn push_many_as<K: Claim>(&self, values: &[T]) -> Result<usize, PushError> {
        // SAFETY: written before the queue was handed out, and never again.
        let buffer = unsafe { self.buffer.read(&site::PUSH_MANY_BUFFER) };
        if buffer.is_null() {
            return Err(PushError::Invalid);
        }
        if values.is_empty() {
            return Ok(0);
        }
        let mut first = self.enqueue_pos.0.load(&site::PUSH_MANY_POSITION);
        // SAFETY: as the buffer.
        let mask = unsafe { self.buffer_mask.read(&site::PUSH_MANY_MASK) };

        for attempt in P::steps(P::retry_budget()) {
            // SAFETY: an initialised ring has mask + 1 cells.
            let free = unsafe { run(buffer, mask, first, 0, values.len() as u64, &site::PUSH_MANY_SEQUENCE) };
            match free {
                Ok(run) => {
                    let end = first.wrapping_add(run);
                    if K::claim(&self.enqueue_pos.0, first, end, &site::PUSH_MANY_CLAIM) {
                        for (step, value) in values[..run as usize].iter().enumerate().rev() {
                            let position = first.wrapping_add(step as u64);
                            // SAFETY: as above.
                            let cell = unsafe { &*buffer.add(index(position, mask)) };
                            // SAFETY: the sequence said that the cell is free in this lap, and the claim that
                            // it is ours, as in a push.
                            unsafe { cell.data.write(*value, &site::PUSH_MANY_DATA) };
                            cell.sequence.store(position.wrapping_add(1), &site::PUSH_MANY_PUBLISH);
                        }
                        C::increment(&self.count, run, &site::PUSH_MANY_COUNT);
                        return Ok(run as usize);
                    }
                }
                Err(turn) if turn < 0 => return Err(PushError::Full),
                // Another producer has claimed the cell since we read the position.
                Err(_) => {}
            }
            P::back_off(attempt);
            first = self.enqueue_pos.0.load(&site::PUSH_MANY_RELOAD);
        }
        Err(PushError::Contended)
    }

    /// Dequeues up to `limit` of the oldest elements, as many as are published in a row, and hands them over
    /// in their order. Returns how many there were: at least one, unless the limit is 0.
    ///
    /// One compare-exchange claims all elements, and the counter is decremented once. Each cell is freed when
    /// its element has been handed over: a slow `hand_over` holds back the producers that need the cells
    /// behind it, and the elements are no other consumer's any more. Lock-free, as [`pop`](Self::pop).
    ///
    /// # Errors
    ///
    /// As [`pop`](Self::pop), if there is not one element.
    ///
    /// # Panics
    ///
    /// If `hand_over` does. The cells of that element and of those after it in the batch stay claimed then, as
    /// if the thread had died; see [`recovery`](crate::recovery).
    #[inline]
    pub fn drain(&self, limit: u64, hand_over: impl FnMut(T)) -> Result<u64, PopError> {
        self.drain_as::<Many>(limit, hand_over)
    }

    #[inline(always)]
    pub(crate) fn drain_as<K: Claim>(
        &self,
        limit: u64,
        mut hand_over: impl FnMut(T),
    ) -> Result<u64, PopError> {
        // SAFETY: written before the queue was handed out, and never again.
        let buffer = unsafe { self.buffer.read(&site::DRAIN_BUFFER) };
        if buffer.is_null() {
            return Err(PopError::Invalid);
        }
        if limit == 0 {
            return Ok(0);
        }
        let mut first = self.dequeue_pos.0.load(&site::DRAIN_POSITION);
        // SAFETY: as the buffer.
        let mask = unsafe { self.buffer_mask.read(&site::DRAIN_MASK) };

        for attempt in P::steps(P::retry_budget()) {
            // SAFETY: an initialised ring has mask + 1 cells.
            let published = unsafe { run(buffer, mask, first, 1, limit, &site::DRAIN_SEQUENCE) };
            match published {
                Ok(run) => {
                    let end = first.wrapping_add(run);
                    if K::claim(&self.dequeue_pos.0, first, end, &site::DRAIN_CLAIM) {
                        for step in 0..run {
                            let position = first.wrapping_add(step);
                            // SAFETY: as above.
                            let cell = unsafe { &*buffer.add(index(position, mask)) };
                            // SAFETY: the sequence said that the cell is published, and the claim that it is
                            // ours, as in a pop.
                            hand_over(unsafe { cell.data.read(&site::DRAIN_DATA) });
                            let next_lap = position.wrapping_add(mask).wrapping_add(1);
                            cell.sequence.store(next_lap, &site::DRAIN_FREE);
                        }
                        C::decrement(&self.count, run, &site::DRAIN_COUNT);
                        return Ok(run);
                    }
                }
                Err(turn) if turn < 0 => return Err(PopError::Empty),
                // Another consumer has claimed the cell since we read the position.
                Err(_) => {}
            }
            P::back_off(attempt);
            first = self.dequeue_pos.0.load(&site::DRAIN_RELOAD);
        }
        Err(PopError::Contended)
    }

    /// How many positions are claimed by producers and not by consumers: the number of elements if nobody is
    /// in the middle of an operation. Between 0 and the capacity, however the positions move while they are
    /// read.
    #[inline]
    pub fn len(&self) -> u64 {
        let dequeue = self.dequeue_pos.0.load(&site::INSPECT_POSITION);
        let enqueue = self.enqueue_pos.0.load(&site::INSPECT_POSITION);
        // SAFETY: written before the queue was handed out, and never again.
        let mask = unsafe { self.buffer_mask.read(&site::INSPECT_RING) };
        u64::try_from(distance(enqueue, dequeue)).unwrap_or(0).min(mask.wrapping_add(1))
    }

    /// Whether [`len`](Self::len) is 0.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The seeds' counter, approximate while operations run. Always 0 under
    /// [`Uncounted`](crate::count::Uncounted).
    #[inline]
    pub fn count(&self) -> u64 {
        crate::count::clamp(self.count.load(&site::INSPECT_COUNT))
    }

    /// The first published element, in queue order, for which `found` is true. It stays in the queue.
    /// An element whose push has not ended is passed over, so while pushes run a later one may be seen first.
    ///
    /// # Errors
    ///
    /// [`Corruption`] if there is no ring, or its positions cannot be; [`Corruption::Unfinished`] if the platform
    /// ended the loop and nothing was found until there.
    ///
    /// # Safety
    ///
    /// No pop runs at the same time: an element that is popped while it is looked at may be overwritten by
    /// the next lap. Pushes may run.
    #[inline]
    pub unsafe fn search(&self, mut found: impl FnMut(&T) -> bool) -> Result<Option<T>, Corruption> {
        let (buffer, mask) = self.ring()?;
        let dequeue = self.dequeue_pos.0.load(&site::INSPECT_POSITION);
        let enqueue = self.enqueue_pos.0.load(&site::INSPECT_POSITION);
        let length = enqueue.wrapping_sub(dequeue);
        // The dequeue position rests, and the enqueue position is never behind it nor further ahead.
        if length > mask + 1 {
            return Err(Corruption::Positions { enqueue, dequeue });
        }
        let mut done = 0;
        for step in P::steps(length) {
            let position = dequeue.wrapping_add(step);
            // SAFETY: an initialised ring has mask + 1 cells.
            let cell = unsafe { &*buffer.add(index(position, mask)) };
            if cell.sequence.load(&site::SEARCH_SEQUENCE) == position.wrapping_add(1) {
                // SAFETY: the cell is published, which happened before the load above, and stays so: only a
                // pop ends it, and none runs.
                let value = unsafe { cell.data.read(&site::SEARCH_DATA) };
                if found(&value) {
                    return Ok(Some(value));
                }
            }
            done = step + 1;
        }
        if done == length { Ok(None) } else { Err(Corruption::Unfinished) }
    }

    /// Checks what holds at every moment, also while pushes and pops run: there is a ring, its mask is that
    /// of a capacity, the enqueue position is ahead of the dequeue position by no more than that, and each cell's
    /// sequence is one of the two that some lap gives it.
    ///
    /// # Errors
    ///
    /// What is wrong.
    #[inline]
    pub fn verify(&self) -> Result<(), Corruption> {
        let (buffer, mask) = self.ring()?;
        self.check_positions(mask + 1)?;
        let mut done = 0;
        for cell in P::steps(mask + 1) {
            // SAFETY: an initialised ring has mask + 1 cells.
            let sequence = unsafe { &*buffer.add(index(cell, mask)) }.sequence.load(&site::INSPECT_SEQUENCE);
            let state = sequence.wrapping_sub(cell) & mask;
            if state > 1 {
                return Err(Corruption::Sequence { cell, sequence });
            }
            done = cell + 1;
        }
        if done == mask + 1 { Ok(()) } else { Err(Corruption::Unfinished) }
    }

    /// Whether the positions can be those of a ring of so many cells, while they move.
    #[inline]
    fn check_positions(&self, capacity: u64) -> Result<(), Corruption> {
        let dequeue = self.dequeue_pos.0.load(&site::INSPECT_POSITION);
        let enqueue = self.enqueue_pos.0.load(&site::INSPECT_POSITION);
        if enqueue.wrapping_sub(dequeue) <= capacity {
            return Ok(());
        }
        // Either they cannot be, or they have moved between the two loads, or a load has found an old value.
        let mut wrong = Corruption::Unfinished;
        for _ in P::steps(P::retry_budget()) {
            let [first, enqueue, last] = [&self.dequeue_pos, &self.enqueue_pos, &self.dequeue_pos]
                .map(|position| position.0.fetch_add(0, &site::CONFIRM_POSITION));
            // When the enqueue position was read, the dequeue position was between the first and the last.
            if distance(enqueue, first) >= 0 && distance(enqueue, last) <= capacity.cast_signed() {
                return Ok(());
            }
            wrong = Corruption::Positions { enqueue, dequeue: last };
            P::relax();
        }
        Err(wrong)
    }

    /// Checks a queue on which no operation runs: every cell is exactly as the positions say, and so is the
    /// counter. An operation that runs, or died, in the middle is reported as corruption.
    ///
    /// # Errors
    ///
    /// What is wrong.
    #[inline]
    pub fn verify_quiesced(&self) -> Result<(), Corruption> {
        let (buffer, mask) = self.ring()?;
        let capacity = mask + 1;
        let dequeue = self.dequeue_pos.0.load(&site::INSPECT_POSITION);
        let enqueue = self.enqueue_pos.0.load(&site::INSPECT_POSITION);
        let length = enqueue.wrapping_sub(dequeue);
        if length > capacity {
            return Err(Corruption::Positions { enqueue, dequeue });
        }
        let mut done = 0;
        for step in P::steps(capacity) {
            let position = dequeue.wrapping_add(step);
            let cell = position & mask;
            // SAFETY: an initialised ring has mask + 1 cells.
            let sequence =
                unsafe { &*buffer.add(index(position, mask)) }.sequence.load(&site::INSPECT_SEQUENCE);
            let published = step < length;
            if sequence != position.wrapping_add(u64::from(published)) {
                return Err(Corruption::Sequence { cell, sequence });
            }
            done = step + 1;
        }
        if done < capacity {
            return Err(Corruption::Unfinished);
        }
        let count = self.count.load(&site::INSPECT_COUNT).cast_signed();
        if C::COUNTED && count != length.cast_signed() {
            return Err(Corruption::Count { count, length });
        }
        Ok(())
    }

    /// The ring, if the head says that there is a possible one.
    #[inline]
    pub(crate) fn ring(&self) -> Result<(*mut Cell<P, T>, u64), Corruption> {
        // SAFETY: written before the queue was handed out, and never again.
        let (buffer, mask) =
            unsafe { (self.buffer.read(&site::INSPECT_RING), self.buffer_mask.read(&site::INSPECT_RING)) };
        if buffer.is_null() {
            return Err(Corruption::NotInitialised);
        }
        match Capacity::new(mask.wrapping_add(1)) {
            Ok(_) => Ok((buffer, mask)),
            Err(_) => Err(Corruption::Mask(mask)),
        }
    }
}

/// How many positions from `first` on have cells whose sequence is the position plus `turn`, 0 for free and 1
/// for published; no more than `limit`. If not even the first has, how far its sequence is ahead of that.
///
/// # Safety
///
/// `buffer` leads to an initialised ring of `mask + 1` cells.
#[inline(always)]
unsafe fn run<P: Platform, T: Payload>(
    buffer: *mut Cell<P, T>,
    mask: u64,
    first: u64,
    turn: u64,
    limit: u64,
    site: &'static Site<Load>,
) -> Result<u64, i64> {
    let mut length = 0;
    for step in P::steps(limit) {
        let position = first.wrapping_add(step);
        // SAFETY: the index is below the number of cells.
        let cell = unsafe { &*buffer.add(index(position, mask)) };
        match distance(cell.sequence.load(site), position.wrapping_add(turn)) {
            0 => length = step + 1,
            ahead if length == 0 => return Err(ahead),
            _ => break,
        }
    }
    Ok(length)
}

/// The cell of a position. The result is below 2^31, so the conversion loses nothing on 64-bit machines, the
/// only ones with arenas.
#[inline(always)]
fn index(position: u64, mask: u64) -> usize {
    (position & mask) as usize
}

/// How far `a` is ahead of `b`, across the wrap-around: positions and sequences that meet are never 2^63
/// apart.
#[inline(always)]
fn distance(a: u64, b: u64) -> i64 {
    a.wrapping_sub(b).cast_signed()
}

impl<P: Platform, T: Payload, C: CountPolicy> core::fmt::Debug for Head<P, T, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("mpmc::Head").field("len", &self.len()).finish_non_exhaustive()
    }
}
