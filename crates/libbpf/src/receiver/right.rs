//! The right to consume from a queue that may be pinned: one for all ways to it.
//!
//! Of a pinned queue it is the lock on the folder, and nothing else. The arena's header says for an MPSC queue who
//! has it; while nobody has, it says that the lock has, so that nobody consumes without it.

use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use arenaq::KeyValue;
use arenaq::arena::Arena;
use arenaq::mpmc::{SLOTS, TakenOver};

use super::lock::{Hold, Lock, Wait};
use super::source::{Source, has_unknown_consumer, reserve, slotted, unreserve};
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
    Early { arena: Arena<'a>, ends: &'a Ends, slot: Option<usize> },
}

impl Right<'_> {
    /// Whether no other consumer lives. If one does, the right is given up: this is for one who has ended to consume.
    pub(crate) fn is_alone(&self, folder: &Folder) -> Result<bool, Error> {
        match &self.0 {
            Kind::Locked { queue: QueueKind::Mpmc, lock, .. } => lock.try_as(folder, Hold::Alone),
            _ => Ok(true),
        }
    }

    /// Whether a consumer of an MPMC queue has died from whom nobody has taken over yet.
    pub(crate) fn has_dead(&self, source: &Source<'_>) -> bool {
        match &self.0 {
            Kind::Locked { lock, .. } => source.has_dead(|slot| lock.is_dead(slot)),
            Kind::Early { .. } => false,
        }
    }

    /// Takes over from the dead consumers of an MPMC queue, if it is pinned. Returns how many elements that were.
    pub(crate) fn take_over(
        &self,
        source: &mut Source<'_>,
        teller: &mut Teller<'_>,
        recovered: &mut dyn FnMut(KeyValue),
    ) -> u64 {
        match &self.0 {
            Kind::Locked { lock, .. } if self.has_dead(source) => take_over(lock, source, teller, recovered),
            Kind::Locked { .. } | Kind::Early { .. } => 0,
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
            Kind::Early { arena, ends, slot } => ends.early_ended(arena, *slot),
        }
    }
}

/// The right to consume from a pinned queue, and the end that it is the right to. What dead consumers of an MPMC queue have
/// left goes to `recovered`; without it, it stays.
pub(crate) fn acquire<'a>(
    folder: &Folder,
    arena: Arena<'a>,
    queue: QueueKind,
    tally: &'a Tally,
    wait: Wait<'_>,
    recovered: Option<&mut dyn FnMut(KeyValue)>,
) -> Result<(Source<'a>, Teller<'a>, Right<'a>), Error> {
    let (lock, hold) = Lock::to_consume(folder, queue, wait)?;
    if queue == QueueKind::Mpsc {
        let source = succeed(folder, &arena)?;
        let mut teller = tally.teller()?;
        teller.find_dead(queue);
        return Ok((source, teller, Right(Kind::Locked { arena, queue, lock })));
    }
    let announce = |slot| lock.announce(folder, slot);
    let withdraw = |slot| lock.withdraw(slot);
    let with_slot = || Source::with_slot(&arena, announce, withdraw);
    let (mut source, recovered) = match (with_slot(), recovered) {
        (Err(_), Some(recovered)) if hold == Hold::Alone => {
            make_room(&lock, &arena, tally, recovered)?;
            (with_slot()?, Some(recovered))
        }
        (source, recovered) => (source?, recovered),
    };
    let mut teller = tally.teller_at(source.slot().unwrap_or(SLOTS))?;
    if let Some(recovered) = recovered {
        take_over(&lock, &mut source, &mut teller, recovered);
    }
    if hold == Hold::Alone {
        lock.share(folder, wait)?;
    }
    Ok((source, teller, Right(Kind::Locked { arena, queue, lock })))
}

/// Takes over from the dead consumers of an MPMC queue. Returns how many elements that were.
fn take_over(
    lock: &Lock,
    source: &mut Source<'_>,
    teller: &mut Teller<'_>,
    recovered: &mut dyn FnMut(KeyValue),
) -> u64 {
    counted(lock, teller, recovered, |is_dead, hand_over| {
        // SAFETY: every consumer of a pinned queue has a slot, and says with a lock that it lives, from before it takes the
        // slot until it is gone; the kernel orders its end before that of the lock. Who takes a slot says so first, so a
        // dead owner's is nobody else's.
        unsafe { source.take_over(is_dead, hand_over) }
    })
}

/// Takes over from the dead when they have all slots. The lock is held alone, so nobody lives who could.
fn make_room(
    lock: &Lock,
    arena: &Arena<'_>,
    tally: &Tally,
    recovered: &mut dyn FnMut(KeyValue),
) -> Result<(), Error> {
    let queue = slotted(arena)?;
    // Beyond those of consumers that have a slot.
    let mut teller = tally.teller_at(SLOTS)?;
    let Some(slot) = (0..SLOTS).find(|slot| lock.is_dead(*slot)) else { return Ok(()) };
    counted(lock, &mut teller, recovered, |is_dead, hand_over| {
        // SAFETY: as in `take_over`; and nobody else takes over in the name of a dead consumer's slot, for that is done only
        // by who holds the lock on the folder alone.
        unsafe { queue.take_over(slot, |slot, _| is_dead(slot), hand_over) }
    });
    Ok(())
}

/// Counts what somebody takes over, and the deaths.
fn counted(
    lock: &Lock,
    teller: &mut Teller<'_>,
    recovered: &mut dyn FnMut(KeyValue),
    take_over: impl FnOnce(&mut dyn FnMut(usize) -> bool, &mut dyn FnMut(KeyValue)) -> Option<TakenOver>,
) -> u64 {
    let shared = RefCell::new(&mut *teller);
    let mut is_dead = |slot| {
        let is_dead = lock.is_dead(slot);
        if is_dead {
            shared.borrow_mut().has_died(slot);
        }
        is_dead
    };
    let mut hand_over = |event| {
        recovered(event);
        shared.borrow_mut().count(event);
    };
    let taken = take_over(&mut is_dead, &mut hand_over);
    match taken {
        Some(TakenOver { undecided: 0, .. }) => teller.bury(),
        // The next time.
        _ => teller.forget_dead(),
    }
    taken.map_or(0, |taken| taken.elements)
}

/// The consuming end, for the process that has locked the folder.
fn succeed<'a>(folder: &Folder, arena: &Arena<'a>) -> Result<Source<'a>, Error> {
    if has_unknown_consumer(arena) {
        return Err(folder.refusal(
            "somebody consumes from it without a lock on the folder, and nobody knows whether that process lives: \
             `arenaq unpin`, and pin it anew",
        ));
    }
    // SAFETY: every consumer of the MPSC queue that names its process, and the reservation, belong to the lock on the
    // folder, which we hold alone then, so whoever had it has ended; the kernel orders its end before the lock.
    unsafe { Source::after_death(arena) }
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
    /// The slots of those of an MPMC queue.
    slots: Vec<usize>,
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
            // What dead consumers of an MPMC queue have left is for those who say where it is to go.
            return acquire(folder, arena, queue, tally, Wait::none(), None);
        }
        let source = Source::of_this_process(&arena, queue)?;
        let slot = source.slot();
        let teller = slot.map_or_else(|| tally.teller(), |slot| tally.teller_at(slot))?;
        state.early += 1;
        state.slots.extend(slot);
        Ok((source, teller, Right(Kind::Early { arena, ends: self, slot })))
    }

    fn early_ended(&self, arena: &Arena<'_>, slot: Option<usize>) {
        let mut state = self.state();
        state.early -= 1;
        state.slots.retain(|early| Some(*early) != slot);
        if let (Some(lock), Some(slot)) = (&state.lock, slot) {
            lock.withdraw(slot);
        }
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
        for slot in &self.slots {
            lock.announce(folder, *slot)?;
        }
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
