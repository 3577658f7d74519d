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
//! [`Ring::push_many`] and [`Ring::drain`] claim a *run*: consecutive positions whose cells are all free, or all
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
//! ever. The kernel may end the loops of BPF programs, so the kernel side has no batches here: it claims runs
//! of one, as [`Ring::push`] and [`Ring::pop`] do.
//!
//! # Whom it trusts
//!
//! The positions, the sequences and the elements are everybody's who can write to the memory. The geometry, that is
//! where the cells are and how many, is a [`Ring`]'s own: it was copied when the ring was made, and is not read
//! again. A position becomes a cell through the ring's own mask, and a sequence is compared and nothing else. So
//! whatever stands in the memory, an operation touches the ring's cells and no other memory, and it ends.
//!
//! # What a stalled thread does
//!
//! Between its claim and its store of the sequence a thread can be preempted, or die. Nothing breaks; but its
//! cell stays as it is, and consumers that arrive there report [`PopError::Empty`] although later cells hold
//! elements, or producers that arrive there [`PushError::Full`] although other cells are free. What a consumer
//! held that died, another one takes over, if both are [`Consumer`]s: see [`slots`].

mod capacity;
mod consumer;
mod inspection;
mod queue;
pub mod site;
pub mod slots;
mod takeover;

use core::marker::PhantomData;

pub use self::capacity::{Capacity, CapacityError};
pub use self::consumer::Consumer;
pub use self::queue::{Queue, TryIter};
use self::site::{Claiming, Dequeue, Enqueue};
pub use self::slots::{SLOTS, SlotError, Slots, Slotted};
pub use self::takeover::TakenOver;
use crate::claim::{Claim, Many};
use crate::count::{CountPolicy, Counted};
use crate::drops::Drops;
use crate::eventcount::EventCount;
use crate::layout::{CacheLine, layouts};
use crate::ordering::{Load, Read, Site, Write};
pub use crate::owned::Drain;
use crate::payload::{KeyValue, Payload};
use crate::platform::{Native, Plain, Platform, Stride, Word};
use crate::status::{Corruption, PopError, PushError};

/// One cell of the ring.
///
/// Layout for [`KeyValue`]: `sequence` 0, `key` 8, `value` 16; 24 bytes.
#[repr(C)]
#[derive(Debug)]
pub struct Cell<P: Platform, T> {
    pub(crate) sequence: P::Word,
    pub(crate) data: P::Plain<T>,
}

impl<P: Platform, T> Cell<P, T> {
    /// A cell that belongs to no queue yet.
    pub fn empty() -> Self {
        Cell { sequence: P::Word::new(0), data: P::Plain::uninit() }
    }
}

/// The shared control block of a queue.
///
/// Layout: `enqueue_pos` 0x00, `dequeue_pos` 0x40, `buffer_mask` 0x80, `buffer` 0x88, `count` 0x90; 192
/// bytes, in lines of 64. All zero is a queue that was never initialised: it has no [`Ring`].
///
/// Threads push and pop through a [`Ring`], any number of them.
#[repr(C)]
pub struct Head<P: Platform, T, C: CountPolicy = Counted> {
    pub(crate) enqueue_pos: CacheLine<P::Word>,
    pub(crate) dequeue_pos: CacheLine<P::Word>,
    pub(crate) buffer_mask: P::Plain<u64>,
    pub(crate) buffer: P::Plain<*mut Cell<P, T>>,
    pub(crate) count: P::Word,
    policy: PhantomData<C>,
}

// SAFETY: everything that changes after initialisation is an atomic word, except for the data in the cells. A
// cell's data is touched only between a claim and the store of the cell's sequence, by the one thread that
// claimed, and the sequence orders one owner after another (load_sequence of one, publish_cell or free_cell of
// the other). Elements change threads, so they must be `Send`.
unsafe impl<P: Platform, T: Send, C: CountPolicy> Sync for Head<P, T, C> {}
// SAFETY: as above; the raw pointer to the ring is not tied to a thread.
unsafe impl<P: Platform, T: Send, C: CountPolicy> Send for Head<P, T, C> {}

impl<P: Platform, T, C: CountPolicy> Head<P, T, C> {
    /// A head without a ring, as zeroed memory is one.
    pub fn empty() -> Self {
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
        // SAFETY: the caller's promise is the same.
        unsafe { self.init_with(buffer, capacity, start, P::Stride::of::<Cell<P, T>>()) }
    }

    /// [`init_at`](Self::init_at) with cells that lie `stride` apart.
    ///
    /// # Errors
    ///
    /// As [`init`](Self::init).
    ///
    /// # Safety
    ///
    /// As [`init`](Self::init).
    #[inline]
    pub unsafe fn init_with(
        &self,
        buffer: *mut Cell<P, T>,
        capacity: Capacity,
        start: u64,
        stride: P::Stride,
    ) -> Result<(), Corruption> {
        // SAFETY: the cells are this queue's by the caller's promise.
        let ring = unsafe { Ring::new(self, buffer, capacity, stride) };
        let mut done = 0;
        for step in P::steps(capacity.get()) {
            let position = start.wrapping_add(step);
            // SAFETY: nobody uses the queue before we return.
            unsafe { ring.cell(position).sequence.init(position, &site::INIT) };
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

    /// The queue, ready for use. `None` if it was never initialised.
    ///
    /// It believes what the head says of the cells, so the head must be one that only this crate's algorithms write,
    /// as [`init`](Self::init) has it. Whoever shares memory with others has the geometry checked first: that is
    /// what [`Arena`](crate::arena::Arena) does.
    #[inline(always)]
    pub fn ring(&self) -> Option<Ring<'_, P, T, C>> {
        self.ring_with(P::Stride::of::<Cell<P, T>>())
    }

    /// [`ring`](Self::ring) over cells that lie `stride` apart.
    #[inline(always)]
    pub fn ring_with(&self, stride: P::Stride) -> Option<Ring<'_, P, T, C>> {
        let (buffer, mask) = self.geometry();
        (!buffer.is_null()).then_some(Ring { head: self, buffer, mask, stride })
    }

    /// Where the cells are, and the mask: what the head says.
    #[inline(always)]
    pub(crate) fn geometry(&self) -> (*mut Cell<P, T>, u64) {
        // SAFETY: written before the queue was handed out, and never again.
        unsafe { (self.buffer.read(&site::RING), self.buffer_mask.read(&site::RING)) }
    }
}

/// What is shared of a queue but for its cells: what a variable of a BPF program is made of, `struct arenaq_mpmc`.
///
/// Layout: `head` 0x000, `drops` 0x0c0, `events` 0x100; 320 bytes. All zero is a queue that was never initialised, and on
/// which nobody sleeps.
#[repr(C)]
pub struct Control<P: Platform, T, C: CountPolicy> {
    /// The head.
    pub head: Head<P, T, C>,
    /// What was dropped.
    pub drops: Drops<P>,
    /// What its consumers sleep on.
    pub events: EventCount<P>,
}

impl<P: Platform, T, C: CountPolicy> core::fmt::Debug for Control<P, T, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Control")
            .field("head", &self.head)
            .field("drops", &self.drops)
            .finish_non_exhaustive()
    }
}

/// The queue, as one process or program uses it: the shared head, and the geometry, which is its own.
///
/// Any number of copies; each can push and pop, from any thread.
pub struct Ring<'a, P: Platform, T, C: CountPolicy = Counted> {
    pub(crate) head: &'a Head<P, T, C>,
    buffer: *mut Cell<P, T>,
    mask: u64,
    stride: P::Stride,
}

impl<P: Platform, T, C: CountPolicy> Clone for Ring<'_, P, T, C> {
    #[inline]
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform, T, C: CountPolicy> Copy for Ring<'_, P, T, C> {}

// SAFETY: it is a shared reference to the head and numbers; who touches a cell when is the queue's promise, as for
// the head.
unsafe impl<P: Platform, T: Send, C: CountPolicy> Send for Ring<'_, P, T, C> {}
// SAFETY: as above.
unsafe impl<P: Platform, T: Send, C: CountPolicy> Sync for Ring<'_, P, T, C> {}

/// Positions that one thread has claimed: their cells are its own.
struct Run {
    first: u64,
    length: u64,
}

/// Why no position was claimed.
enum Blocked {
    /// The cell is still that of the other side: the queue is full for producers, empty for consumers.
    NotOurTurn,
    /// The retry budget is spent.
    Contended,
}

impl From<Blocked> for PushError {
    #[inline(always)]
    fn from(blocked: Blocked) -> PushError {
        match blocked {
            Blocked::NotOurTurn => PushError::Full,
            Blocked::Contended => PushError::Contended,
        }
    }
}

impl From<Blocked> for PopError {
    #[inline(always)]
    fn from(blocked: Blocked) -> PopError {
        match blocked {
            Blocked::NotOurTurn => PopError::Empty,
            Blocked::Contended => PopError::Contended,
        }
    }
}

/// How far the sequence of a free cell is ahead of its position.
const FREE: u64 = 0;
/// How far that of a published cell is.
const PUBLISHED: u64 = 1;

impl<'a, P: Platform, T, C: CountPolicy> Ring<'a, P, T, C> {
    /// The queue over cells that the caller knows.
    ///
    /// # Safety
    ///
    /// `buffer` leads to `capacity` cells, `stride` apart, which are this queue's alone for all of `'a`.
    #[inline(always)]
    pub(crate) unsafe fn new(
        head: &'a Head<P, T, C>,
        buffer: *mut Cell<P, T>,
        capacity: Capacity,
        stride: P::Stride,
    ) -> Self {
        Ring { head, buffer, mask: capacity.mask(), stride }
    }

    /// The same queue, for a process that knows more, or less, of its elements.
    ///
    /// # Safety
    ///
    /// The heads and the cells of both have the same layout: platforms of the same words, and elements of as many bytes
    /// as the stride says, for which any bytes are valid that are in the queue.
    pub(crate) unsafe fn cast<Q: Platform, U, D: CountPolicy>(self, stride: Q::Stride) -> Ring<'a, Q, U, D> {
        // SAFETY: the caller's promise.
        let head = unsafe { &*(&raw const *self.head).cast::<Head<Q, U, D>>() };
        Ring { head, buffer: self.buffer.cast(), mask: self.mask, stride }
    }

    /// Where the cells are.
    pub(crate) fn cells(&self) -> *mut Cell<P, T> {
        self.buffer
    }

    /// The cell of a position.
    #[inline(always)]
    pub(crate) fn cell(&self, position: u64) -> &'a Cell<P, T> {
        // The index is below 2^31, so the conversion loses nothing on 64-bit machines, the only ones with arenas.
        let index = (position & self.mask) as usize;
        // SAFETY: a ring has mask + 1 cells for all of 'a. They change through shared references only, as words and
        // plain memory.
        unsafe { &*self.stride.element(self.buffer, index) }
    }

    /// Claims positions on one side of the ring: the next one, and up to `limit` in a row, whose cells' sequences are
    /// `turn` ahead of them.
    ///
    /// Lock-free: an attempt fails only because another thread has claimed.
    #[inline(always)]
    fn claim_run(
        &self,
        claim: &impl Claim,
        position: &P::Word,
        turn: u64,
        limit: u64,
        sites: &'static Claiming,
    ) -> Result<Run, Blocked> {
        let mut first = position.load(&sites.load_position);
        for attempt in P::steps(P::retry_budget()) {
            let ahead = self.ahead(first, turn, &sites.load_sequence);
            if ahead == 0 {
                let length = 1 + self.followers(first, turn, limit, &sites.load_sequence);
                let end = first.wrapping_add(length);
                if claim.claim(position, first, end, &sites.claim_position) {
                    return Ok(Run { first, length });
                }
            } else if ahead < 0 {
                return Err(Blocked::NotOurTurn);
            }
            // Another thread has claimed the position since we read it.
            P::back_off(attempt);
            first = position.load(&sites.reload_position);
        }
        Err(Blocked::Contended)
    }

    /// How far the sequence of a position's cell is ahead of what it is when it is our turn.
    #[inline(always)]
    fn ahead(&self, position: u64, turn: u64, load_sequence: &'static Site<Load>) -> i64 {
        let sequence = self.cell(position).sequence.load(load_sequence);
        distance(sequence, position.wrapping_add(turn))
    }

    /// For how many positions behind `first`, of a run of up to `limit`, it is our turn too.
    #[inline(always)]
    fn followers(&self, first: u64, turn: u64, limit: u64, load_sequence: &'static Site<Load>) -> u64 {
        let mut followers = 0;
        // A run of one has no loop, which the kernel might end.
        if limit > 1 {
            // No longer than the ring, whatever others write into the cells meanwhile.
            let most = limit.min(self.mask + 1) - 1;
            for step in P::steps(most) {
                if self.ahead(first.wrapping_add(step + 1), turn, load_sequence) != 0 {
                    break;
                }
                followers = step + 1;
            }
        }
        followers
    }

    /// Puts an element into a claimed cell, and publishes it.
    #[inline(always)]
    fn publish(
        &self,
        position: u64,
        sites: &'static Enqueue,
        write: impl FnOnce(&P::Plain<T>, &'static Site<Write>),
    ) {
        let cell = self.cell(position);
        write(&cell.data, &sites.write_data);
        cell.sequence.store(position.wrapping_add(PUBLISHED), &sites.publish_cell);
    }

    /// Takes the element out of a claimed cell, and frees that for the next lap.
    #[inline(always)]
    fn take<R>(
        &self,
        position: u64,
        sites: &'static Dequeue,
        read: impl FnOnce(&P::Plain<T>, &'static Site<Read>) -> R,
    ) -> R {
        let cell = self.cell(position);
        let result = read(&cell.data, &sites.read_data);
        let next_lap = position.wrapping_add(self.mask).wrapping_add(1);
        cell.sequence.store(next_lap, &sites.free_cell);
        result
    }

    /// Enqueues the element that `write` puts into its cell: what [`push`](Self::push) does, for elements of which
    /// the caller knows more than their type says.
    ///
    /// `write` is not called if there is an error.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    ///
    /// # Safety
    ///
    /// `write` gives the cell a valid `T`, with that site, and returns.
    #[inline(always)]
    pub unsafe fn push_in_place(
        &self,
        write: impl FnOnce(&P::Plain<T>, &'static Site<Write>),
    ) -> Result<(), PushError> {
        // SAFETY: passed on to the caller.
        unsafe { self.push_in_place_as::<Many>(write) }
    }

    /// # Safety
    ///
    /// As [`push_in_place`](Self::push_in_place).
    #[inline(always)]
    pub(crate) unsafe fn push_in_place_as<K: Claim + Default>(
        &self,
        write: impl FnOnce(&P::Plain<T>, &'static Site<Write>),
    ) -> Result<(), PushError> {
        let run = self.claim_run(&K::default(), &self.head.enqueue_pos.0, FREE, 1, &site::PUSH.claiming)?;
        self.publish(run.first, &site::PUSH, write);
        C::increment(&self.head.count, 1, &site::PUSH.increment_count);
        Ok(())
    }

    /// Dequeues the oldest element, which `read` takes out of its cell: what [`pop_with`](Self::pop_with) does, for
    /// elements of which the caller knows more than their type says.
    ///
    /// `read` is not called if there is an error.
    ///
    /// # Errors
    ///
    /// As [`pop`](Self::pop).
    ///
    /// # Panics
    ///
    /// If `read` does. The cell stays claimed then.
    ///
    /// # Safety
    ///
    /// `read` moves the element out of the cell, with that site, at most once.
    #[inline(always)]
    pub unsafe fn pop_in_place<R>(
        &self,
        read: impl FnOnce(&P::Plain<T>, &'static Site<Read>) -> R,
    ) -> Result<R, PopError> {
        // SAFETY: passed on to the caller.
        unsafe { self.pop_in_place_as::<Many, R>(read) }
    }

    /// # Safety
    ///
    /// As [`pop_in_place`](Self::pop_in_place).
    #[inline(always)]
    pub(crate) unsafe fn pop_in_place_as<K: Claim + Default, R>(
        &self,
        read: impl FnOnce(&P::Plain<T>, &'static Site<Read>) -> R,
    ) -> Result<R, PopError> {
        let run =
            self.claim_run(&K::default(), &self.head.dequeue_pos.0, PUBLISHED, 1, &site::POP.claiming)?;
        let result = self.take(run.first, &site::POP, read);
        C::decrement(&self.head.count, 1, &site::POP.decrement_count);
        Ok(result)
    }

    /// Enqueues up to `limit` elements, which `write` puts into their cells: [`push_many`](Self::push_many) for
    /// elements of which the caller knows more than their type says. `write` also gets the number of the element in
    /// the batch, and is called from the last to the first.
    ///
    /// # Errors
    ///
    /// As [`push_many`](Self::push_many).
    ///
    /// # Safety
    ///
    /// As [`push_in_place`](Self::push_in_place), for each element.
    #[inline(always)]
    pub(crate) unsafe fn push_many_in_place_as<K: Claim + Default>(
        &self,
        limit: u64,
        mut write: impl FnMut(u64, &P::Plain<T>, &'static Site<Write>),
    ) -> Result<u64, PushError> {
        if limit == 0 {
            return Ok(0);
        }
        let run =
            self.claim_run(&K::default(), &self.head.enqueue_pos.0, FREE, limit, &site::PUSH_MANY.claiming)?;
        for step in (0..run.length).rev() {
            let position = run.first.wrapping_add(step);
            self.publish(position, &site::PUSH_MANY, |data, site| write(step, data, site));
        }
        C::increment(&self.head.count, run.length, &site::PUSH_MANY.increment_count);
        Ok(run.length)
    }

    /// Dequeues up to `limit` elements, which `read` takes out of their cells: [`drain`](Self::drain) for elements of
    /// which the caller knows more than their type says.
    ///
    /// # Errors
    ///
    /// As [`drain`](Self::drain).
    ///
    /// # Safety
    ///
    /// As [`pop_in_place`](Self::pop_in_place), for each element.
    #[inline(always)]
    pub(crate) unsafe fn drain_in_place_as<K: Claim + Default>(
        &self,
        limit: u64,
        mut read: impl FnMut(&P::Plain<T>, &'static Site<Read>),
    ) -> Result<u64, PopError> {
        if limit == 0 {
            return Ok(0);
        }
        let run =
            self.claim_run(&K::default(), &self.head.dequeue_pos.0, PUBLISHED, limit, &site::DRAIN.claiming)?;
        for step in 0..run.length {
            self.take(run.first.wrapping_add(step), &site::DRAIN, &mut read);
        }
        C::decrement(&self.head.count, run.length, &site::DRAIN.decrement_count);
        Ok(run.length)
    }
}

impl<P: Platform, T: Payload, C: CountPolicy> Ring<'_, P, T, C> {
    /// Enqueues `value`.
    ///
    /// Lock-free: an attempt fails only because another push succeeded.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] if the cell of the enqueue position still holds the element of the last lap,
    /// [`PushError::Contended`] if the retry budget is spent.
    #[inline(always)]
    pub fn push(&self, value: T) -> Result<(), PushError> {
        self.push_as::<Many>(value)
    }

    #[inline(always)]
    pub(crate) fn push_as<K: Claim + Default>(&self, value: T) -> Result<(), PushError> {
        // SAFETY: the cell's data is written whole. No access races with this one: the sequence said that the cell is
        // free in this lap, and the claim that it is ours; no other producer has this position, and no consumer reads
        // the cell before its sequence is position + 1.
        unsafe { self.push_in_place_as::<K>(|data, site| data.write(value, site)) }
    }

    /// Dequeues the oldest element.
    ///
    /// Lock-free: an attempt fails only because another pop succeeded.
    ///
    /// # Errors
    ///
    /// [`PopError::Empty`] if the cell of the dequeue position is not published, [`PopError::Contended`] if
    /// the retry budget is spent.
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
    pub(crate) fn pop_with_as<K: Claim + Default, R>(
        &self,
        hand_over: impl FnOnce(T) -> R,
    ) -> Result<R, PopError> {
        // SAFETY: the sequence said that the cell is published, so a `T` is there, and the claim that it is ours: no
        // other consumer has this position, and no producer writes the cell before its sequence is a lap further.
        unsafe { self.pop_in_place_as::<K, R>(|data, site| hand_over(data.read(site))) }
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
    pub(crate) fn push_many_as<K: Claim + Default>(&self, values: &[T]) -> Result<usize, PushError> {
        // SAFETY: as in a push. A run is no longer than the limit.
        let pushed = unsafe {
            self.push_many_in_place_as::<K>(values.len() as u64, |step, data, site| {
                data.write(values[step as usize], site);
            })
        };
        pushed.map(|pushed| pushed as usize)
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
    pub(crate) fn drain_as<K: Claim + Default>(
        &self,
        limit: u64,
        mut hand_over: impl FnMut(T),
    ) -> Result<u64, PopError> {
        // SAFETY: as in a pop.
        unsafe { self.drain_in_place_as::<K>(limit, |data, site| hand_over(data.read(site))) }
    }
}

/// How far `a` is ahead of `b`, across the wrap-around: positions and sequences that meet are never 2^63
/// apart.
#[inline(always)]
fn distance(a: u64, b: u64) -> i64 {
    a.wrapping_sub(b) as i64
}

layouts! {
    // The payload is one field in Rust and two in C: `data` begins where `key` does.
    "ds_vyukhov_cell", Cell<Native, KeyValue>, { "sequence": sequence, "data": data }
    "ds_vyukhov_head", Head<Native, KeyValue>, {
        "enqueue_pos": enqueue_pos,
        "dequeue_pos": dequeue_pos,
        "buffer_mask": buffer_mask,
        "buffer": buffer,
        "count": count,
    }
    "arenaq_mpmc", Control<Native, KeyValue, Counted>, {
        "head": head,
        "drops": drops,
        "events": events,
    }
    "arenaq_slot", slots::Slot<Native>, { "owner": owner, "first": first, "length": length }
    "arenaq_slots", Slots<Native>, { "recoverer": recoverer, "slots": slots }
}

impl<P: Platform, T, C: CountPolicy> core::fmt::Debug for Head<P, T, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("mpmc::Head").finish_non_exhaustive()
    }
}

impl<P: Platform, T, C: CountPolicy> core::fmt::Debug for Ring<'_, P, T, C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("mpmc::Ring")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}
