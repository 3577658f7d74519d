//! Userspace grows the pool for BPF programs that may not allocate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;
use std::time::Duration;

use arenaq::KeyValue;
use arenaq::arena::MpscProducer;
use arenaq::pool::GrowError;

use super::crew::Crew;
use crate::error::Error;

/// How many free nodes there are to be. At two million events a second they last for 65 ms: as long as this
/// thread may have to wait for a CPU where every CPU is busy.
const RESERVE: u64 = 1 << 17;
/// How many nodes are made at once. They are of use when the last of them is made, so not too many.
const BATCH: u64 = 1 << 12;
/// How long to sleep while there are enough.
const NAP: Duration = Duration::from_millis(1);

/// A thread that keeps nodes in reserve. It ends with this.
#[derive(Debug)]
pub(super) struct Refill<'scope, 'env>(Crew<'scope, 'env, u64>);

impl<'scope, 'env> Refill<'scope, 'env> {
    /// Fills the reserve, and starts the thread that keeps it.
    ///
    /// # Errors
    ///
    /// [`Error::Thread`] if the system gives no thread.
    pub(super) fn start(
        producer: MpscProducer<'env, KeyValue>,
        stop: &'env AtomicBool,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Result<Refill<'scope, 'env>, Error> {
        let mut made = fill(&producer);
        let mut crew = Crew::new("the thread that makes nodes", stop, scope);
        crew.spawn(move || {
            // A pool does not shrink: once there is no room, there is nothing left to do.
            while !stop.load(Ordering::Relaxed) && room(&producer) > 0 {
                std::thread::sleep(NAP);
                made += fill(&producer);
            }
            made
        })?;
        Ok(Refill(crew))
    }

    /// Ends the thread. Returns how many nodes it has made.
    pub(super) fn finish(self) -> u64 {
        self.0.stop();
        self.0.join().into_iter().sum()
    }
}

fn room(producer: &MpscProducer<'_, KeyValue>) -> u64 {
    producer.nodes().limit().saturating_sub(producer.nodes().created())
}

/// The nodes that no element has, and that are not the stub: approximately, for producers are running.
fn free(producer: &MpscProducer<'_, KeyValue>) -> u64 {
    producer.nodes().created().saturating_sub(producer.count() + 1)
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
