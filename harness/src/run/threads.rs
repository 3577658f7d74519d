//! Threads as producers: the same queues and the same account, without the kernel.

use arenaq::count::Counted;
use arenaq_libbpf::{MPMC, MPSC};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Scope;

use arenaq::arena::Arena;
use arenaq::{KeyValue, PushError};
use arenaq_libbpf::{QueueKind, Source, checksum};
use crossbeam_utils::CachePadded;

use super::crew::Crew;
use super::options::Options;
use super::producers::{Finished, Producers};
use crate::error::Error;
use crate::object::Counters;
use crate::time::now;

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

/// What the threads of a run share; it outlives its scope.
#[derive(Debug)]
pub(super) struct Shared {
    counts: Vec<CachePadded<Counts>>,
    stop: AtomicBool,
}

impl Shared {
    /// For the threads of a run.
    pub(super) fn new(options: &Options) -> Shared {
        let counts = options.shares().map(|_| CachePadded::default()).collect();
        Shared { counts, stop: AtomicBool::new(false) }
    }

    /// The sum of all threads' counts.
    fn counters(&self) -> Counters {
        let each = self.counts.iter().map(|counts| Counters {
            produced: counts.produced.load(Ordering::Relaxed),
            pushed: counts.pushed.load(Ordering::Relaxed),
            nomem: counts.nomem.load(Ordering::Relaxed),
            busy: counts.busy.load(Ordering::Relaxed),
            invalid: counts.invalid.load(Ordering::Relaxed),
            untraced: 0,
            checksum: counts.checksum.load(Ordering::Relaxed),
        });
        each.fold(Counters::default(), Counters::plus)
    }
}

/// Threads that push as fast as they can. They end with this.
#[derive(Debug)]
pub(super) struct Threads<'scope, 'env> {
    shared: &'env Shared,
    crew: Crew<'scope, 'env, ()>,
}

impl<'scope, 'env> Threads<'scope, 'env> {
    /// Starts them.
    ///
    /// # Errors
    ///
    /// [`Error::Library`] if the arena has no such queue, [`Error::Thread`] if the system gives no thread.
    pub(super) fn start(
        options: &Options,
        arena: &Arena<'env>,
        shared: &'env Shared,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Result<Self, Error> {
        let stop = &shared.stop;
        let mut crew = Crew::new("a producer", stop, scope);
        for ((key, share), counts) in (0..).zip(options.shares()).zip(&shared.counts) {
            match options.queue {
                QueueKind::Mpmc => {
                    let queue = arena.mpmc::<KeyValue, Counted>(MPMC)?;
                    crew.spawn(move || produce(key, share, counts, stop, |event| queue.push(event)))?;
                }
                QueueKind::Mpsc => {
                    let queue = arena.mpsc_producer::<KeyValue, Counted>(MPSC)?;
                    crew.spawn(move || produce(key, share, counts, stop, |event| queue.push(event)))?;
                }
            }
        }
        Ok(Threads { shared, crew })
    }
}

/// One producer: pushes until its share is done.
fn produce(
    key: u64,
    share: Option<u64>,
    counts: &Counts,
    stop: &AtomicBool,
    push: impl Fn(KeyValue) -> Result<(), PushError>,
) {
    // Only this thread writes its counts.
    let add = |counter: &AtomicU64, by: u64| {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    };
    let mut done = 0;
    while share.is_none_or(|share| done < share) && !stop.load(Ordering::Relaxed) {
        add(&counts.produced, 1);
        let event = KeyValue { key, value: now() };
        match push(event) {
            Ok(()) => {
                add(&counts.checksum, checksum(event.key, event.value));
                add(&counts.pushed, 1);
            }
            Err(PushError::Full | PushError::Exhausted) => add(&counts.nomem, 1),
            Err(PushError::Contended) => add(&counts.busy, 1),
            Err(PushError::Invalid | PushError::Corrupt) => add(&counts.invalid, 1),
        }
        done += 1;
    }
}

impl Producers for Threads<'_, '_> {
    type Consumer<'a>
        = Source<'a>
    where
        Self: 'a;

    fn consumer<'a>(&self, _arena: &Arena<'a>, source: Source<'a>) -> Result<Source<'a>, Error>
    where
        Self: 'a,
    {
        Ok(source)
    }

    fn counters(&self) -> Result<Counters, Error> {
        Ok(self.shared.counters())
    }

    fn is_done(&mut self) -> bool {
        self.crew.has_ended()
    }

    fn finish(self) -> Result<Finished, Error> {
        self.crew.stop();
        let Threads { shared, crew } = self;
        crew.join();
        let counters = shared.counters();
        Ok(Finished {
            counters,
            operations: Some(counters.produced),
            command: None,
            refilled: 0,
            problems: Vec::new(),
        })
    }
}
