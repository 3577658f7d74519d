//! What the machine takes for the accesses of which a queue is made.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use crossbeam_utils::CachePadded;

use crate::cpu;

/// An access that binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Limit {
    /// One locked read-modify-write of a word that no other CPU touches.
    LockedRmw,
    /// A cache line, from the CPU that has written it to the one that waits for it.
    LineTransfer,
    /// One write of 16 bytes to memory that nobody reads.
    MemoryWrite,
}

/// How many accesses lie between two looks at the clock.
const STRIDE: u64 = 1024;

impl Limit {
    /// All.
    pub const ALL: [Limit; 3] = [Limit::LockedRmw, Limit::LineTransfer, Limit::MemoryWrite];

    /// Its name in results.
    pub const fn name(self) -> &'static str {
        match self {
            Limit::LockedRmw => "locked-rmw",
            Limit::LineTransfer => "line-transfer",
            Limit::MemoryWrite => "memory-write",
        }
    }

    /// Runs for so long; nanoseconds for each access.
    ///
    /// # Errors
    ///
    /// If a thread cannot be pinned, or two are needed and there is one CPU.
    pub fn run(self, duration: Duration) -> anyhow::Result<f64> {
        let cpus = cpu::allowed()?;
        match self {
            Limit::LockedRmw => cpu::on(cpus[0], || Ok(locked_rmw(duration))),
            Limit::MemoryWrite => cpu::on(cpus[0], || Ok(memory_write(duration))),
            Limit::LineTransfer => {
                ensure!(cpus.len() >= 2, "one CPU transfers nothing");
                line_transfer([cpus[0], cpus[cpus.len() - 1]], duration)
            }
        }
    }
}

/// Repeats a stride of accesses; nanoseconds for each.
fn repeat(duration: Duration, mut stride: impl FnMut()) -> f64 {
    let mut accesses = 0;
    let (start, before) = (Instant::now(), cpu::time());
    // At least once, however late this thread comes to run.
    loop {
        stride();
        accesses += STRIDE;
        if start.elapsed() >= duration {
            break;
        }
    }
    cpu::time().saturating_sub(before).as_nanos() as f64 / accesses as f64
}

fn locked_rmw(duration: Duration) -> f64 {
    let word = CachePadded::new(AtomicU64::new(0));
    repeat(duration, || {
        for _ in 0..STRIDE {
            black_box(word.fetch_add(1, Ordering::Relaxed));
        }
    })
}

fn memory_write(duration: Duration) -> f64 {
    let mut elements = vec![[0u64; 2]; STRIDE as usize];
    repeat(duration, || {
        for (serial, element) in elements.iter_mut().enumerate() {
            *element = [serial as u64; 2];
            black_box(element);
        }
    })
}

/// Two threads take turns in writing a word: half of a round trip.
fn line_transfer(cpus: [usize; 2], duration: Duration) -> anyhow::Result<f64> {
    let word = CachePadded::new(AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let start = Barrier::new(2);
    let (word, stop, start) = (&*word, &stop, &start);
    thread::scope(|scope| {
        let answering = scope.spawn(move || {
            let pinned = cpu::pin(cpus[1]);
            start.wait();
            match pinned {
                Ok(()) => answer(word, stop),
                Err(_) => stop.store(true, Ordering::Relaxed),
            }
            pinned
        });
        let asking = scope.spawn(move || {
            let pinned = cpu::pin(cpus[0]);
            start.wait();
            let time = pinned.map(|()| ask(word, stop, duration));
            stop.store(true, Ordering::Relaxed);
            time
        });
        // If one could not be pinned, the other must not wait for it.
        let answered = answering.join().ok().context("a thread panicked")?;
        let time = asking.join().ok().context("a thread panicked")?;
        answered.and(time)
    })
}

/// Writes odd numbers and waits for the even ones.
fn ask(word: &AtomicU64, stop: &AtomicBool, duration: Duration) -> f64 {
    let start = Instant::now();
    let mut trips = 0u64;
    // At least once, however late this thread comes to run.
    loop {
        for _ in 0..64 {
            let asked = 2 * trips + 1;
            word.store(asked, Ordering::Release);
            while word.load(Ordering::Acquire) == asked && !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            trips += 1;
        }
        if start.elapsed() >= duration {
            break;
        }
    }
    start.elapsed().as_nanos() as f64 / (2 * trips) as f64
}

fn answer(word: &AtomicU64, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let asked = word.load(Ordering::Acquire);
        if asked % 2 == 1 {
            word.store(asked + 1, Ordering::Release);
        } else {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Limit;

    #[test]
    fn every_limit_is_a_time() {
        let can_transfer = crate::cpu::allowed().expect("the kernel says").len() > 1;
        for limit in Limit::ALL {
            match limit.run(Duration::from_millis(2)) {
                Ok(time) => assert!(time.is_finite() && time > 0.0, "{limit:?}: {time}"),
                Err(error) => assert!(limit == Limit::LineTransfer && !can_transfer, "{limit:?}: {error}"),
            }
        }
    }
}
