//! Threads as producers: the same queues and the same account, without the kernel.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::Scope;

use arenaq::arena::{Arena, CreateError, Places, Region};
use arenaq::mpmc::{Capacity, Cell};
use arenaq::mpsc::Node;
use arenaq::platform::Native;
use arenaq::pool::{MAX_ELEMENTS, nodes_for};
use arenaq::{KeyValue, PushError};
use crossbeam_utils::CachePadded;

use crate::consume::{Source, now};
use crate::error::Error;
use crate::kernel::QueueKind;
use crate::object::{Counters, checksum};
use crate::run::{Finished, Producers};

/// Ordinary memory in the place of an arena.
#[derive(Debug)]
pub struct Memory {
    words: Vec<u64>,
    base: *mut u8,
    header: usize,
}

impl Memory {
    /// Memory with one queue in it.
    ///
    /// # Errors
    ///
    /// [`Error`] if the capacity is not possible.
    pub fn new(queue: QueueKind, capacity: u64) -> Result<Memory, Error> {
        if queue == QueueKind::Mpmc {
            Capacity::new(capacity).map_err(CreateError::from)?;
        }
        let element =
            size_of::<Cell<Native, KeyValue>>().max(size_of::<Node<Native, KeyValue>>() + size_of::<u64>());
        let (nodes, _) = nodes_for(capacity.min(MAX_ELEMENTS));
        let needed = nodes.max(capacity).saturating_mul(element as u64).saturating_add(4096);
        // As an arena: what does not fit there is refused here too.
        if needed > 1 << 32 {
            return Err(Error::TooLarge { capacity, needed });
        }
        let mut words = vec![0u64; needed.div_ceil(8) as usize];
        let base = words.as_mut_ptr().cast::<u8>();
        let mut memory = Memory { words, base, header: 0 };
        let header = {
            let region = memory.region()?;
            let places = Places::in_plain_memory(&region)?;
            let header = places.header;
            let mut arena = Arena::<KeyValue>::format(region, places)?;
            match queue {
                QueueKind::Mpmc => arena.create_mpmc(capacity)?,
                QueueKind::Mpsc => arena.create_mpsc(capacity, capacity)?,
            }
            arena.publish();
            header
        };
        memory.header = header;
        Ok(memory)
    }

    fn region(&self) -> Result<Region<'_>, Error> {
        // SAFETY: the words live as long as `self`, which the region borrows, and are never touched but
        // through `base`, which has been taken from them as mutable.
        Ok(unsafe { Region::new(self.base, self.words.len() * 8) }?)
    }

    /// The queue.
    ///
    /// # Errors
    ///
    /// [`Error::Arena`] if the header is not what `new` has written.
    pub fn arena(&self) -> Result<Arena<'_, KeyValue>, Error> {
        Ok(Arena::attach(self.region()?, self.header)?)
    }
}

/// One producer's counts.
#[derive(Debug, Default)]
struct Counts {
    produced: AtomicU64,
    pushed: AtomicU64,
    nomem: AtomicU64,
    busy: AtomicU64,
    invalid: AtomicU64,
    checksum: AtomicU64,
}

/// Threads that push as fast as they can.
#[derive(Debug)]
pub struct ThreadProducers {
    counts: Vec<CachePadded<Counts>>,
    operations: Option<u64>,
    running: AtomicUsize,
    stop: AtomicBool,
}

impl ThreadProducers {
    /// `threads` threads that will do `operations` pushes in all; `None` for as many as they can.
    pub fn new(threads: u32, operations: Option<u64>) -> ThreadProducers {
        let counts = (0..threads).map(|_| CachePadded::default()).collect();
        let running = AtomicUsize::new(threads as usize);
        ThreadProducers { counts, operations, running, stop: AtomicBool::new(false) }
    }

    /// Starts them.
    ///
    /// # Errors
    ///
    /// [`Error::Arena`] if the arena has no such queue.
    pub fn start<'scope, 'env>(
        &'env self,
        arena: &Arena<'env, KeyValue>,
        queue: QueueKind,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Result<(), Error> {
        let threads = self.counts.len() as u64;
        for (thread, counts) in (0..).zip(&self.counts) {
            let share = self.operations.map(|all| all / threads + u64::from(thread < all % threads));
            match queue {
                QueueKind::Mpmc => {
                    let queue = arena.mpmc()?;
                    scope.spawn(move || self.produce(thread, share, counts, |event| queue.push(event)));
                }
                QueueKind::Mpsc => {
                    let queue = arena.mpsc_producer()?;
                    scope.spawn(move || self.produce(thread, share, counts, |event| queue.push(event)));
                }
            }
        }
        Ok(())
    }

    fn produce(
        &self,
        key: u64,
        share: Option<u64>,
        counts: &Counts,
        push: impl Fn(KeyValue) -> Result<(), PushError>,
    ) {
        // Only this thread writes its counts.
        let add = |counter: &AtomicU64, by: u64| {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
        };
        let mut done = 0;
        while share.is_none_or(|share| done < share) && !self.stop.load(Ordering::Relaxed) {
            add(&counts.produced, 1);
            let event = KeyValue { key, value: now() };
            match push(event) {
                Ok(()) => {
                    add(&counts.checksum, checksum(event.key, event.value));
                    add(&counts.pushed, 1);
                }
                Err(PushError::Full | PushError::Exhausted) => add(&counts.nomem, 1),
                Err(PushError::Contended) => add(&counts.busy, 1),
                Err(PushError::Invalid) => add(&counts.invalid, 1),
            }
            done += 1;
        }
        // What was counted is seen by whoever sees that we have ended.
        self.running.fetch_sub(1, Ordering::Release);
    }
}

impl Producers for &ThreadProducers {
    type Consumer<'a>
        = Source<'a>
    where
        Self: 'a;

    fn consumer<'a>(&self, _arena: &Arena<'a, KeyValue>, source: Source<'a>) -> Result<Source<'a>, Error>
    where
        Self: 'a,
    {
        Ok(source)
    }

    fn counters(&self) -> Result<Counters, Error> {
        let each = self.counts.iter().map(|counts| Counters {
            produced: counts.produced.load(Ordering::Relaxed),
            pushed: counts.pushed.load(Ordering::Relaxed),
            nomem: counts.nomem.load(Ordering::Relaxed),
            busy: counts.busy.load(Ordering::Relaxed),
            invalid: counts.invalid.load(Ordering::Relaxed),
            untraced: 0,
            checksum: counts.checksum.load(Ordering::Relaxed),
        });
        Ok(each.fold(Counters::default(), Counters::plus))
    }

    fn is_done(&mut self) -> bool {
        self.running.load(Ordering::Acquire) == 0
    }

    fn finish(mut self) -> Result<Finished, Error> {
        self.stop.store(true, Ordering::Relaxed);
        while !self.is_done() {
            std::thread::yield_now();
        }
        let counters = self.counters()?;
        Ok(Finished { counters, operations: Some(counters.produced), command: None, refilled: 0 })
    }
}
