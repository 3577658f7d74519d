//! Userspace grows the pool for BPF programs that may not allocate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use arenaq::KeyValue;
use arenaq::arena::MpscProducer;
use arenaq::pool::GrowError;

/// How many free nodes there are to be. At two million events a second they last for 65 ms: as long as this
/// thread may have to wait for a CPU where every CPU is busy.
const RESERVE: u64 = 1 << 17;
/// How many nodes are made at once. They are of use when the last of them is made, so not too many.
const BATCH: u64 = 1 << 12;
/// How long to sleep while there are enough.
const NAP: Duration = Duration::from_millis(1);

/// A thread that keeps nodes in reserve. It ends with this.
#[derive(Debug)]
pub(crate) struct Refill<'scope> {
    stop: Arc<AtomicBool>,
    thread: Option<ScopedJoinHandle<'scope, u64>>,
}

impl<'scope> Refill<'scope> {
    /// Fills the reserve, and starts the thread that keeps it.
    pub(crate) fn start<'env>(
        producer: MpscProducer<'env, KeyValue>,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Refill<'scope> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut made = fill(&producer);
        let ended = Arc::clone(&stop);
        let thread = scope.spawn(move || {
            // A pool does not shrink: once there is no room, there is nothing left to do.
            while !ended.load(Ordering::Relaxed) && room(&producer) > 0 {
                std::thread::sleep(NAP);
                made += fill(&producer);
            }
            made
        });
        Refill { stop, thread: Some(thread) }
    }

    /// Ends the thread. Returns how many nodes it has made.
    pub(crate) fn finish(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().map(ScopedJoinHandle::join);
        thread.map_or(0, |made| made.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}

impl Drop for Refill<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn room(producer: &MpscProducer<'_, KeyValue>) -> u64 {
    producer.pool().limit().saturating_sub(producer.pool().created())
}

/// The nodes that no element has, and that are not the stub: approximately, for producers are running.
fn free(producer: &MpscProducer<'_, KeyValue>) -> u64 {
    producer.pool().created().saturating_sub(producer.count() + 1)
}

/// Makes nodes until the reserve is full, or there is no room. Returns how many.
fn fill(producer: &MpscProducer<'_, KeyValue>) -> u64 {
    let mut made = 0;
    while free(producer) < RESERVE {
        let batch = room(producer).min(BATCH);
        match producer.grow(batch) {
            Ok(()) => made += batch,
            // Others have grown the pool meanwhile.
            Err(GrowError::Contended) => {}
            Err(GrowError::Limit { room, .. }) if room > 0 => {}
            Err(GrowError::Limit { .. } | GrowError::Invalid) => break,
        }
    }
    made
}
