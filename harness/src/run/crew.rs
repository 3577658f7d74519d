//! Threads that are started together and end together, whatever happens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use crate::error::Error;
use crate::limits::require_address_space;

/// The addresses that a thread takes: its stack, and what a consumer counts in.
const ADDRESSES_OF_A_THREAD: u64 = 3 << 20;
/// The addresses for the small things of a run.
const BESIDES: u64 = 1 << 20;

/// Whether so many threads, and so many bytes, still find room in the address space. A thread that is refused is an
/// error; memory that is refused to a thread ends the process.
///
/// # Errors
///
/// [`Error::AddressSpace`].
pub(super) fn require_addresses(threads: u32, bytes: u64) -> Result<(), Error> {
    require_address_space(bytes.saturating_add(u64::from(threads) * ADDRESSES_OF_A_THREAD + BESIDES))
}

/// Threads that do the same work until they have finished it, or until the flag at which they all look is set.
/// Dropping the crew sets that flag: the scope that waits for its threads does not wait for ever, on whichever
/// path it is left.
#[derive(Debug)]
pub(super) struct Crew<'scope, 'env, T> {
    /// What each of them is, for messages: "a consumer".
    member: &'static str,
    stop: &'scope AtomicBool,
    scope: &'scope Scope<'scope, 'env>,
    threads: Vec<ScopedJoinHandle<'scope, T>>,
}

impl<'scope, 'env, T: Send + 'scope> Crew<'scope, 'env, T> {
    /// Nobody yet. What the threads do must end soon after `stop` has become true.
    pub(super) fn new(
        member: &'static str,
        stop: &'scope AtomicBool,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Self {
        Crew { member, stop, scope, threads: Vec::new() }
    }

    /// Starts one more.
    ///
    /// # Errors
    ///
    /// [`Error::Thread`] if the system gives no thread.
    pub(super) fn spawn(&mut self, work: impl FnOnce() -> T + Send + 'scope) -> Result<(), Error> {
        let thread = Builder::new().spawn_scoped(self.scope, work).map_err(|source| Error::Thread {
            member: self.member,
            running: self.threads.len(),
            source,
        })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Whether all have ended.
    pub(super) fn has_ended(&self) -> bool {
        self.threads.iter().all(ScopedJoinHandle::is_finished)
    }

    /// Asks them to end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits until all have ended by themselves or because of [`stop`](Self::stop), and returns their results.
    ///
    /// # Panics
    ///
    /// If one of them has panicked, with its panic.
    pub(super) fn join(mut self) -> Vec<T> {
        let threads = std::mem::take(&mut self.threads);
        let results = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        results.collect()
    }
}

impl<T> Drop for Crew<'_, '_, T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
