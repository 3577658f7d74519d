//! Threads as producers: the same queues and the same account, without the kernel.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Scope;

use arenaq::arena::{Arena, ArenaRecords, Owner};
use arenaq::platform::Native;
use arenaq::records::Consumer;
use arenaq::structures::Kind;
use arenaq::{KeyValue, PushError};
use arenaq_libbpf::{QueueKind, Source, checksum};
use crossbeam_utils::CachePadded;

use super::crew::Crew;
use super::ends::{Checked, End, shards_of};
use super::options::Options;
use super::producers::{Finished, Producers};
use crate::error::Error;
use crate::event::{Event, RECORDS};
use crate::object::Counters;
use crate::queue::variable;
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
            let name = variable(options.queue);
            if options.queue == Kind::Records {
                let records = arena.records(name, Owner::ANONYMOUS)?;
                let mut bytes = Vec::new();
                let push = move |number| push_record(&records, key, number, &mut bytes);
                crew.spawn(move || produce(share, counts, stop, push))?;
            } else {
                let queue = arena.queue::<KeyValue>(name)?;
                let push = move |_| push_pair(key, |event| queue.push(event));
                crew.spawn(move || produce(share, counts, stop, push))?;
            }
        }
        Ok(Threads { shared, crew })
    }
}

fn push_pair(key: u64, push: impl FnOnce(KeyValue) -> Result<(), PushError>) -> Result<KeyValue, PushError> {
    let event = KeyValue { key, value: now() };
    push(event).map(|()| event)
}

/// Builds a record in the lane that it has, as programs do.
fn push_record(
    records: &ArenaRecords<'_>,
    task: u64,
    number: u64,
    bytes: &mut Vec<u8>,
) -> Result<KeyValue, PushError> {
    let lane = records.lane()?;
    // The lane is ours: its times rise.
    let event = Event { lane: lane.number(), time: now(), task, number };
    event.write_to(bytes);
    let mut record = lane.reserve(bytes.len() as u64)?;
    bytes.resize(bytes.len().next_multiple_of(size_of::<u64>()), 0);
    for (index, word) in bytes.as_chunks::<{ size_of::<u64>() }>().0.iter().enumerate() {
        record.write(index, u64::from_ne_bytes(*word));
    }
    record.commit(event.time);
    Ok(event.pair())
}

/// One producer: pushes until its share is done. `push` is told how many events there were before.
fn produce(
    share: Option<u64>,
    counts: &Counts,
    stop: &AtomicBool,
    mut push: impl FnMut(u64) -> Result<KeyValue, PushError>,
) {
    // Only this thread writes its counts.
    let add = |counter: &AtomicU64, by: u64| {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    };
    let mut done = 0;
    while share.is_none_or(|share| done < share) && !stop.load(Ordering::Relaxed) {
        add(&counts.produced, 1);
        match push(done) {
            Ok(event) => {
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
        = End<Source<'a>, Vec<Consumer<'a, Native>>>
    where
        Self: 'a;

    fn consumer<'a>(
        &self,
        options: &Options,
        arena: &Arena<'a>,
        number: u32,
    ) -> Result<Self::Consumer<'a>, Error>
    where
        Self: 'a,
    {
        if let Some(queue) = QueueKind::of(options.queue) {
            return Ok(End::Queue(Source::of(arena, queue)?));
        }
        let records = arena.records(RECORDS, Owner::ANONYMOUS)?;
        let consumers = shards_of(options, arena, number)?.map(|shard| {
            let taken =
                |source| arenaq_libbpf::Error::ShardTaken { records: RECORDS.to_owned(), shard, source };
            records.consumer(shard).map_err(taken)
        });
        Ok(End::Records(Checked::new(consumers.collect::<Result<_, _>>()?)))
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
