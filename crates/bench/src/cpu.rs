//! Threads on chosen CPUs.

use std::time::Duration;

use anyhow::Context;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// The CPUs on which this process may run.
///
/// # Errors
///
/// If the kernel does not say.
pub fn allowed() -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(None).context("asking for the CPUs of this process")?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Keeps this thread on one CPU from now on.
///
/// # Errors
///
/// If the kernel refuses.
pub fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("pinning a thread to CPU {cpu}"))
}

/// Does something on one CPU, in a thread of its own: what this thread does later, and the processes that it
/// starts, may run on all CPUs as before.
///
/// # Errors
///
/// If the kernel refuses, the thread panics, or what it does fails.
pub fn on<R: Send>(cpu: usize, work: impl FnOnce() -> anyhow::Result<R> + Send) -> anyhow::Result<R> {
    std::thread::scope(|scope| {
        let pinned = scope.spawn(|| pin(cpu).and_then(|()| work()));
        pinned.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
    })
}

/// What this thread has had of a CPU. Of what one thread does alone, this is the time to take: what others take
/// from the machine is not in it.
pub fn time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The CPUs of producers and consumers: producers from the first CPU on, consumers from the last one back. So
/// one of each are alone on two CPUs, and more than there are CPUs share them evenly.
pub fn places(cpus: &[usize], producers: usize, consumers: usize) -> (Vec<usize>, Vec<usize>) {
    let forward = cpus.iter().copied().cycle().take(producers).collect();
    let backward = cpus.iter().rev().copied().cycle().take(consumers).collect();
    (forward, backward)
}

#[cfg(test)]
mod tests {
    use super::{allowed, on, places};

    #[test]
    fn producers_and_consumers_begin_at_opposite_ends() {
        assert_eq!(places(&[0, 1], 1, 1), (vec![0], vec![1]));
        assert_eq!(places(&[0, 1], 4, 1), (vec![0, 1, 0, 1], vec![1]));
        assert_eq!(places(&[2, 3, 5], 2, 2), (vec![2, 3], vec![5, 3]));
    }

    #[test]
    fn what_is_pinned_is_pinned_and_what_comes_after_it_is_not() {
        let before = allowed().expect("the kernel says");
        let last = *before.last().expect("we run");
        assert_eq!(on(last, allowed).expect("one of ours"), [last]);
        assert_eq!(allowed().expect("the kernel says"), before);
    }
}
