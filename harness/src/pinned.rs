//! The harness's programs in a folder of pinned objects: their counts, and the tasks that they trace.

use std::ops::Deref;
use std::path::Path;

use arenaq::KeyValue;
use arenaq_libbpf::QueueKind;
use libbpf_rs::{MapHandle, MapType};

pub use arenaq_libbpf::pinned::{Alone, Consumer, Contents, Count, Share, Unpinned, Wait, unpin};

use crate::error::Error;
use crate::object::{COUNTERS, Counters, TRACED, counters};
use crate::trace::trace;

/// A pinned arena, mapped by this process, with what the harness's programs have beside it.
#[derive(Debug)]
pub struct Pinned {
    pinned: arenaq_libbpf::pinned::Pinned,
    queue: QueueKind,
    counters: MapHandle,
    traced: MapHandle,
}

impl Pinned {
    /// Maps the arena that is pinned in `folder`.
    ///
    /// # Errors
    ///
    /// As [`arenaq_libbpf::pinned::Pinned::attach`], and if the counters are not there.
    pub fn attach(folder: &Path) -> Result<Pinned, Error> {
        let pinned = arenaq_libbpf::pinned::Pinned::attach(folder)?;
        let queue = pinned.arena()?.queues().next().and_then(|queue| QueueKind::of(queue.kind));
        let queue = queue.ok_or(arenaq_libbpf::Error::NoQueues)?;
        let counters = pinned.map(COUNTERS, MapType::PercpuArray)?;
        let traced = pinned.map(TRACED, MapType::TaskStorage)?;
        Ok(Pinned { pinned, queue, counters, traced })
    }

    /// The queue that was pinned.
    pub fn queue(&self) -> QueueKind {
        self.queue
    }

    /// What all consumers have been handed since the queue was made.
    ///
    /// # Errors
    ///
    /// As [`arenaq_libbpf::pinned::Pinned::total`].
    pub fn total(&self) -> Result<Count, Error> {
        Ok(self.pinned.total(self.queue.of_pairs())?)
    }

    /// The right to consume; see [`arenaq_libbpf::pinned::Pinned::wait_for_consumer`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn wait_for_consumer(
        &self,
        wait: Wait<'_>,
        recovered: impl FnMut(KeyValue),
    ) -> Result<Consumer<'_>, Error> {
        Ok(self.pinned.wait_for_consumer(self.queue.of_pairs(), wait, recovered)?)
    }

    /// The sum of all CPUs' counters.
    ///
    /// # Errors
    ///
    /// [`Error`] if the map cannot be read.
    pub fn counters(&self) -> Result<Counters, Error> {
        counters(&self.counters)
    }

    /// Marks a process as traced, with all its threads; see [`Kernel::trace`](crate::Kernel::trace).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn trace(&self, task: u32) -> Result<u32, Error> {
        trace(&self.traced, task)
    }
}

/// The queue and its consumers.
impl Deref for Pinned {
    type Target = arenaq_libbpf::pinned::Pinned;

    fn deref(&self) -> &Self::Target {
        &self.pinned
    }
}
