//! The right to consume from a queue that may be pinned: one for all ways to it.
//!
//! Of a pinned queue it is the lock on the folder, and nothing else. The arena's header says for an MPSC queue who
//! has it; while nobody has, it says that the lock has, so that nobody consumes without it.

use std::cell::RefCell;
use std::sync::{Mutex, MutexGuard, PoisonError};

use arenaq::arena::Arena;
use arenaq::mpmc::{SLOTS, TakenOver};
use arenaq::structures::Consumers;

use super::carried::{Carried, IsDead, Recovered};
use super::end::End;
use super::lock::{Hold, Lock, Wait};
use super::source::{has_unknown_consumer, reserve, unreserve};
use super::tally::{self, Table, Teller};
use crate::error::Error;
use crate::folder::Folder;
use crate::queue::Named;

/// Held by whoever consumes; given up when it is dropped, after the consumer.
#[derive(Debug)]
pub(crate) struct Right<'a>(Kind<'a>);

#[derive(Debug)]
enum Kind<'a> {
    /// Of a pinned queue.
    Locked { arena: Arena<'a>, queue: Named, lock: Lock },
    /// Of a queue that was not pinned yet.
    Early { arena: Arena<'a>, queue: Named, ends: &'a Ends, slot: Option<usize> },
}

impl Right<'_> {
    /// Whether no other consumer lives. If one does, the right is given up: this is for one who has ended to consume.
    pub(crate) fn is_alone(&self, folder: &Folder) -> Result<bool, Error> {
        match &self.0 {
            Kind::Locked { queue, lock, .. } if queue.consumers == Consumers::WithSlots => {
                lock.try_as(folder, Hold::Alone)
            }
            _ => Ok(true),
        }
    }

    /// Whether a consumer of an MPMC queue has died from whom nobody has taken over yet.
    pub(crate) fn has_dead<T: Carried + ?Sized>(&self, end: &T::End<'_>) -> bool {
        match &self.0 {
            Kind::Locked { lock, .. } => T::has_dead(end, |slot| lock.is_dead(slot)),
            Kind::Early { .. } => false,
        }
    }

    /// Takes over up to `limit` elements from the dead consumers of an MPMC queue, if it is pinned. Returns how many that were.
    pub(crate) fn take_over<T: Carried + ?Sized>(
        &self,
        end: &mut T::End<'_>,
        limit: u64,
        teller: &mut Teller<'_>,
        recovered: Recovered<'_, T>,
    ) -> u64 {
        match &self.0 {
            Kind::Locked { lock, .. } if self.has_dead::<T>(end) => {
                take_over::<T>(lock, end, limit, teller, recovered)
            }
            Kind::Locked { .. } | Kind::Early { .. } => 0,
        }
    }
}

impl Drop for Right<'_> {
    fn drop(&mut self) {
        match &self.0 {
            Kind::Locked { arena, queue, .. } if queue.consumers == Consumers::One => {
                // Who holds the lock takes over whatever the directory says.
                let _ = reserve(arena, queue);
            }
            Kind::Locked { .. } => {}
            Kind::Early { arena, queue, ends, slot } => ends.early_ended(arena, queue, *slot),
        }
    }
}

/// The right to consume from a pinned queue, and the end that it is the right to. Of what dead consumers of an MPMC queue have
/// left, up to `limit` elements go to `recovered`; the others stay.
pub(crate) fn acquire<'a, T: Carried + ?Sized>(
    folder: &Folder,
    arena: Arena<'a>,
    queue: &Named,
    table: &'a Table,
    wait: Wait<'_>,
    mut limit: u64,
    recovered: Recovered<'_, T>,
) -> Result<(T::End<'a>, Teller<'a>, Right<'a>), Error> {
    let (lock, hold) = Lock::to_consume(folder, queue.consumers, wait)?;
    let locked = |arena, lock| Right(Kind::Locked { arena, queue: *queue, lock });
    if queue.consumers == Consumers::One {
        let end = succeed::<T>(folder, &arena, queue)?;
        let mut teller = tally::teller(table)?;
        teller.find_dead(true);
        return Ok((end, teller, locked(arena, lock)));
    }
    let announce = |slot| lock.announce(folder, slot);
    let withdraw = |slot| lock.withdraw(slot);
    let with_slot = || T::with_slot(&arena, queue, announce, withdraw);
    let mut end = match with_slot() {
        Err(Error::Arena(_)) if hold == Hold::Alone => {
            limit -= make_room::<T>(&lock, &arena, queue, table, limit, &mut *recovered)?;
            with_slot()?
        }
        end => end?,
    };
    let mut teller = tally::teller_at(table, end.slot().unwrap_or(SLOTS))?;
    if limit > 0 {
        take_over::<T>(&lock, &mut end, limit, &mut teller, recovered);
    }
    if hold == Hold::Alone {
        lock.share(folder, wait)?;
    }
    Ok((end, teller, locked(arena, lock)))
}

/// Takes over up to `limit` elements from the dead consumers of an MPMC queue. Returns how many that were.
fn take_over<T: Carried + ?Sized>(
    lock: &Lock,
    end: &mut T::End<'_>,
    limit: u64,
    teller: &mut Teller<'_>,
    recovered: Recovered<'_, T>,
) -> u64 {
    let taken = counted::<T>(lock, teller, recovered, |is_dead, hand_over| {
        // SAFETY: every consumer of a pinned queue has a slot, and says with a lock that it lives, from before it takes the
        // slot until it is gone; the kernel orders its end before that of the lock. Who takes a slot says so first, so a
        // dead owner's is nobody else's.
        Ok(unsafe { T::take_over(end, limit, is_dead, hand_over) })
    });
    taken.unwrap_or(0)
}

/// Takes over up to `limit` elements from the dead when they have all slots, and returns how many that were. The lock is held
/// alone, so nobody lives who could.
fn make_room<T: Carried + ?Sized>(
    lock: &Lock,
    arena: &Arena<'_>,
    queue: &Named,
    table: &Table,
    limit: u64,
    recovered: Recovered<'_, T>,
) -> Result<u64, Error> {
    // Beyond those of consumers that have a slot.
    let mut teller = tally::teller_at(table, SLOTS)?;
    let Some(slot) = (0..SLOTS).find(|slot| lock.is_dead(*slot)) else { return Ok(0) };
    counted::<T>(lock, &mut teller, recovered, |is_dead, hand_over| {
        // SAFETY: as in `take_over`; and nobody else takes over in the name of a dead consumer's slot, for that is done only
        // by who holds the lock on the folder alone.
        unsafe { T::take_over_as(arena, queue, slot, limit, is_dead, hand_over) }
    })
}

/// Counts what somebody takes over, and the deaths.
fn counted<T: Carried + ?Sized>(
    lock: &Lock,
    teller: &mut Teller<'_>,
    recovered: Recovered<'_, T>,
    take_over: impl FnOnce(IsDead<'_>, Recovered<'_, T>) -> Result<Option<TakenOver>, Error>,
) -> Result<u64, Error> {
    let shared = RefCell::new(&mut *teller);
    let mut is_dead = |slot| {
        let is_dead = lock.is_dead(slot);
        if is_dead {
            shared.borrow_mut().has_died(slot);
        }
        is_dead
    };
    let mut hand_over = |element: T::Handed<'_>| {
        let known_by = T::End::<'static>::fingerprint(&element);
        recovered(element);
        shared.borrow_mut().count(known_by);
    };
    let taken = take_over(&mut is_dead, &mut hand_over)?;
    match taken {
        Some(TakenOver { undecided: 0, .. }) => teller.bury(),
        // The next time.
        _ => teller.forget_dead(),
    }
    Ok(taken.map_or(0, |taken| taken.elements))
}

/// The consuming end, for the process that has locked the folder.
fn succeed<'a, T: Carried + ?Sized>(
    folder: &Folder,
    arena: &Arena<'a>,
    queue: &Named,
) -> Result<T::End<'a>, Error> {
    if has_unknown_consumer(arena, queue) {
        return Err(folder.refusal(
            "somebody consumes from it without a lock on the folder, and nobody knows whether that process lives: \
             `arenaq unpin`, and pin it anew",
        ));
    }
    // SAFETY: every consumer of the MPSC queue that names its process, and the reservation, belong to the lock on the
    // folder, which we hold alone then, so whoever had it has ended; the kernel orders its end before the lock.
    unsafe { T::after_death(arena, queue) }
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
    pub(crate) fn acquire<'a, T: Carried + ?Sized>(
        &'a self,
        arena: Arena<'a>,
        queue: &Named,
        table: &'a Table,
    ) -> Result<(T::End<'a>, Teller<'a>, Right<'a>), Error> {
        let mut state = self.state();
        if let Some(folder) = &state.folder {
            // What dead consumers of an MPMC queue have left is for those who say where it is to go.
            return acquire::<T>(folder, arena, queue, table, Wait::none(), 0, &mut |_| ());
        }
        let end = T::of_this_process(&arena, queue)?;
        let slot = end.slot();
        let teller = slot.map_or_else(|| tally::teller(table), |slot| tally::teller_at(table, slot))?;
        state.early += 1;
        state.slots.extend(slot);
        Ok((end, teller, Right(Kind::Early { arena, queue: *queue, ends: self, slot })))
    }

    fn early_ended(&self, arena: &Arena<'_>, queue: &Named, slot: Option<usize>) {
        let mut state = self.state();
        state.early -= 1;
        state.slots.retain(|early| Some(*early) != slot);
        if let (Some(lock), Some(slot)) = (&state.lock, slot) {
            lock.withdraw(slot);
        }
        if state.early == 0 && state.lock.is_some() {
            if queue.consumers == Consumers::One {
                let _ = reserve(arena, queue);
            }
            state.lock = None;
        }
    }

    /// Pins all queues: `pin` is given the folder. Each queue has a lock, which is held meanwhile, and afterwards for as long
    /// as a consumer from before lives.
    pub(crate) fn pin(
        all: &[Ends],
        queues: &[Named],
        folder: &Folder,
        arena: &Arena<'_>,
        pin: impl FnOnce(&Folder) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut states: Vec<_> = queues.iter().map(|queue| all[queue.number].state()).collect();
        let mut locked = Vec::with_capacity(queues.len());
        let pinned = states.iter().zip(queues).try_for_each(|(state, queue)| {
            locked.push(Locking::begin(state, folder, arena, queue)?);
            Ok(())
        });
        // What `pin` pins is the rest of what is in the folder.
        if let Err(error) = pinned.and_then(|()| pin(folder)) {
            locked.into_iter().rev().for_each(Locking::undo);
            let _ = folder.remove_itself();
            return Err(error);
        }
        for (state, locking) in states.iter_mut().zip(locked) {
            (state.folder, state.lock) = locking.keep();
        }
        Ok(())
    }
}

/// A queue that is about to be pinned.
struct Locking<'p, 'a> {
    whole: &'p Folder,
    arena: &'p Arena<'a>,
    queue: &'p Named,
    /// Where its lock is.
    folder: Folder,
    lock: Lock,
    /// Whether somebody has consumed from it before.
    has_consumers: bool,
    /// Whether it is kept from those who do not hold the lock.
    is_reserved: bool,
}

impl<'p, 'a> Locking<'p, 'a> {
    fn begin(
        state: &State,
        whole: &'p Folder,
        arena: &'p Arena<'a>,
        queue: &'p Named,
    ) -> Result<Self, Error> {
        if let Some(before) = state.folder.as_ref().filter(|before| !before.is_gone()) {
            return Err(whole.refusal(format!(
                "the queue is pinned in {} already, and the right to consume is the lock on one folder",
                before.path().display()
            )));
        }
        let has_consumers = state.early > 0;
        // A lock that was held alone would be given up for a moment when it becomes shared.
        let shared = queue.consumers == Consumers::WithSlots && has_consumers;
        let hold = if shared { Hold::Shared } else { Hold::Alone };
        let folder = whole.make_lock(queue.number)?;
        let locked = Lock::try_new(&folder, hold).and_then(|lock| {
            let lock = lock.ok_or_else(|| whole.refusal("another process has locked it"))?;
            state.slots.iter().try_for_each(|slot| lock.announce(&folder, *slot))?;
            Ok(lock)
        });
        let lock = locked.inspect_err(|_| whole.remove_lock(queue.number))?;
        let mut locking = Locking { whole, arena, queue, folder, lock, has_consumers, is_reserved: false };
        if queue.consumers == Consumers::One && !has_consumers {
            if let Err(error) = reserve(arena, queue) {
                locking.undo();
                return Err(whole.refusal(format!(
                    "{error}. End that consumer before the queue is pinned, or consume with `Loaded::receiver`, which \
                     holds the lock"
                )));
            }
            locking.is_reserved = true;
        }
        Ok(locking)
    }

    fn undo(self) {
        if self.is_reserved {
            // SAFETY: the reservation is ours, and nobody uses its consumer.
            unsafe { unreserve(self.arena, self.queue) };
        }
        self.whole.remove_lock(self.queue.number);
    }

    /// Where the queue is pinned, and the lock of those who have consumed from it before.
    fn keep(self) -> (Option<Folder>, Option<Lock>) {
        (Some(self.folder), self.has_consumers.then_some(self.lock))
    }
}
