//! The right to consume from a queue that may be pinned: one for all ways to it.
//!
//! Of a pinned queue it is the lock on the folder, and nothing else. The arena's header says for an MPSC queue who
//! has it; while nobody has, it says that the lock has, so that nobody consumes without it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use arenaq::arena::Arena;

use super::lock::{Hold, Lock, Wait};
use super::source::{Source, has_unknown_consumer, reserve, unreserve};
use super::tally::{Tally, Teller};
use crate::error::Error;
use crate::folder::Folder;
use crate::queue::QueueKind;

/// Held by whoever consumes; given up when it is dropped, after the consumer.
#[derive(Debug)]
pub(crate) struct Right<'a>(Kind<'a>);

#[derive(Debug)]
enum Kind<'a> {
    /// Of a pinned queue.
    Locked { arena: Arena<'a>, queue: QueueKind, lock: Lock },
    /// Of a queue that was not pinned yet.
    Early { arena: Arena<'a>, ends: &'a Ends },
}

impl Right<'_> {
    /// Whether no other consumer lives. If one does, the right is given up: this is for one who has ended to consume.
    pub(crate) fn is_alone(&self, folder: &Folder) -> Result<bool, Error> {
        match &self.0 {
            Kind::Locked { queue: QueueKind::Mpmc, lock, .. } => lock.try_as(folder, Hold::Alone),
            _ => Ok(true),
        }
    }
}

impl Drop for Right<'_> {
    fn drop(&mut self) {
        match &self.0 {
            Kind::Locked { arena, queue: QueueKind::Mpsc, .. } => {
                // Who holds the lock takes over whatever the header says.
                let _ = reserve(arena);
            }
            Kind::Locked { .. } => {}
            Kind::Early { arena, ends } => ends.early_ended(arena),
        }
    }
}

/// The right to consume from a pinned queue, and the end that it is the right to. `begin` is called before others can
/// share it, and told whether all that had it before are dead.
pub(crate) fn acquire<'a, T>(
    folder: &Folder,
    arena: Arena<'a>,
    queue: QueueKind,
    wait: Wait<'_>,
    begin: impl FnOnce(&Source<'a>, Hold) -> Result<T, Error>,
) -> Result<(Source<'a>, T, Right<'a>), Error> {
    let (lock, hold) = Lock::to_consume(folder, queue, wait)?;
    let source = succeed(folder, &arena, queue)?;
    let begun = begin(&source, hold)?;
    if queue == QueueKind::Mpmc && hold == Hold::Alone {
        lock.share(folder, wait)?;
    }
    Ok((source, begun, Right(Kind::Locked { arena, queue, lock })))
}

/// The consuming end, for the process that has locked the folder.
fn succeed<'a>(folder: &Folder, arena: &Arena<'a>, queue: QueueKind) -> Result<Source<'a>, Error> {
    if queue == QueueKind::Mpsc && has_unknown_consumer(arena) {
        return Err(folder.refusal(
            "somebody consumes from it without a lock on the folder, and nobody knows whether that process lives: \
             `arenaq unpin`, and pin it anew",
        ));
    }
    // SAFETY: every consumer of the MPSC queue that names its process, and the reservation, belong to the lock on the
    // folder, which we hold alone then, so whoever had it has ended; the kernel orders its end before the lock.
    unsafe { Source::after_death(arena, queue) }
}

/// What the process that has loaded the programs knows about consumers.
#[derive(Debug, Default)]
pub(crate) struct Ends(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Where the queue is pinned.
    folder: Option<Folder>,
    /// How many consumers there are from before.
    early: usize,
    /// Their lock since.
    lock: Option<Lock>,
}

impl Ends {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to consume, and the end that it is the right to.
    pub(crate) fn acquire<'a>(
        &'a self,
        arena: Arena<'a>,
        queue: QueueKind,
        tally: &'a Tally,
    ) -> Result<(Source<'a>, Teller<'a>, Right<'a>), Error> {
        let mut state = self.state();
        if let Some(folder) = &state.folder {
            return acquire(folder, arena, queue, Wait::none(), |_, _| {
                let mut teller = tally.teller()?;
                // What dead consumers of an MPMC queue have left is for those who say where it is to go.
                if queue == QueueKind::Mpsc {
                    teller.find_dead(queue);
                }
                Ok(teller)
            });
        }
        let source = Source::of_this_process(&arena, queue)?;
        state.early += 1;
        Ok((source, tally.teller()?, Right(Kind::Early { arena, ends: self })))
    }

    fn early_ended(&self, arena: &Arena<'_>) {
        let mut state = self.state();
        state.early -= 1;
        if state.early == 0 && state.lock.is_some() {
            let _ = reserve(arena);
            state.lock = None;
        }
    }

    /// Pins: `pin` is given the folder, which is locked meanwhile, and afterwards for as long as a consumer from
    /// before lives.
    pub(crate) fn pin(
        &self,
        folder: Folder,
        arena: &Arena<'_>,
        queue: QueueKind,
        pin: impl FnOnce(&Folder) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut state = self.state();
        let pinned = state.pin(&folder, arena, queue, pin);
        state.lock = pinned.inspect_err(|_| {
            // What was in it is gone again.
            let _ = folder.remove_itself();
        })?;
        state.folder = Some(folder);
        Ok(())
    }
}

impl State {
    fn pin(
        &self,
        folder: &Folder,
        arena: &Arena<'_>,
        queue: QueueKind,
        pin: impl FnOnce(&Folder) -> Result<(), Error>,
    ) -> Result<Option<Lock>, Error> {
        if let Some(before) = self.folder.as_ref().filter(|before| !before.is_gone()) {
            return Err(folder.refusal(format!(
                "the queue is pinned in {} already, and the right to consume is the lock on one folder",
                before.path().display()
            )));
        }
        let has_consumers = self.early > 0;
        // A lock that was held alone would be given up for a moment when it becomes shared.
        let shared = queue == QueueKind::Mpmc && has_consumers;
        let lock = Lock::try_new(folder, if shared { Hold::Shared } else { Hold::Alone })?
            .ok_or_else(|| folder.refusal("another process has locked it"))?;
        let is_free = queue == QueueKind::Mpsc && !has_consumers;
        if is_free {
            reserve(arena).map_err(|error| {
                folder.refusal(format!(
                    "{error}. End that consumer before the queue is pinned, or consume with `Loaded::receiver`, which \
                     holds the lock"
                ))
            })?;
        }
        pin(folder).inspect_err(|_| {
            if is_free {
                // SAFETY: the reservation is ours, and nobody uses its consumer.
                unsafe { unreserve(arena) };
            }
        })?;
        Ok(has_consumers.then_some(lock))
    }
}
