//! The process that has to survive.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use arenaq::arena::Arena;
use fastrand::Rng;
use rustix::time::{ClockId, clock_gettime};

use super::damage::Damage;
use super::mould::Mould;
use super::operations::{Ends, ends_of, sleep};
use super::progress::{Progress, add};

/// When the arena is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Before the attach, and a little between the operations and in what they call.
    Before,
    /// By another thread, while the operations run.
    Meanwhile,
}

impl When {
    /// How many operations are tried in each arena.
    pub(crate) fn operations(self) -> u64 {
        match self {
            When::Before => 16,
            When::Meanwhile => 200,
        }
    }
}

/// No arena may take longer, of the processor's time.
const LONGEST: Duration = Duration::from_secs(1);

/// What a child is told to do: so many arenas, from this seed on.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) when: When,
    pub(crate) first: u64,
    pub(crate) arenas: u64,
}

/// Does it. A crash is a signal, and a panic ends the process too; where that was, the progress says.
pub(crate) fn run(task: &Task, progress: &File) {
    let (progress, moulds) = (Progress::kept_in(progress), Mould::all());
    for seed in task.first..task.first + task.arenas {
        progress.seed.store(seed, Ordering::Relaxed);
        let mould = &moulds[seed as usize % moulds.len()];
        let start = processor_time();
        mould.memory.restore(&mould.sound);
        match task.when {
            When::Before => before(mould, seed, progress),
            When::Meanwhile => meanwhile(mould, seed, progress),
        }
        let took = processor_time().saturating_sub(start);
        assert!(took < LONGEST, "an arena has taken {took:?}");
        progress.longest.fetch_max(took.as_nanos() as u64, Ordering::Relaxed);
        add(&progress.arenas, 1);
    }
}

fn before(mould: &Mould, seed: u64, progress: &Progress) {
    let (damage, mut random) = (Damage::before(mould, seed), Rng::with_seed(seed ^ 1 << 32));
    damage.strike_some(40);
    let Ok(arena) = Arena::attach(mould.memory.region(), mould.memory.base() as usize) else { return };
    add(&progress.attached, 1);
    sleep(&arena);
    let damage = Damage::meanwhile(mould, seed);
    operate(&mut ends_of(&arena, &mut random), When::Before, &mut random, &damage, progress);
}

fn meanwhile(mould: &Mould, seed: u64, progress: &Progress) {
    let mut random = Rng::with_seed(seed);
    let arena = Arena::attach(mould.memory.region(), mould.memory.base() as usize).expect("a sound arena");
    add(&progress.attached, 1);
    let mut ends = ends_of(&arena, &mut random);
    let (strikes, done) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let damage = Damage::meanwhile(mould, seed);
            while !done.load(Ordering::Relaxed) {
                damage.strike();
                strikes.store(true, Ordering::Relaxed);
            }
        });
        // If this thread panics, the other one ends, and with it the process.
        let _done = Done(&done);
        while !strikes.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        sleep(&arena);
        operate(&mut ends, When::Meanwhile, &mut random, &Damage::meanwhile(mould, !seed), progress);
    });
}

/// Ends the damage.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn operate(
    ends: &mut [Box<dyn Ends + '_>],
    when: When,
    random: &mut Rng,
    damage: &Damage<'_>,
    progress: &Progress,
) {
    if ends.is_empty() {
        return;
    }
    for _ in 0..when.operations() {
        ends[random.usize(..ends.len())].operate(random, damage);
        damage.strike_now_and_then(4);
    }
    add(&progress.operations, when.operations());
}

/// What this thread has had of the processor: others may have it for longer than any hang takes.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
