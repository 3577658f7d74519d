//! What a push alone takes: nothing reads meanwhile, and what was pushed is taken between the runs.

use std::hint;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::channel::{Channel, Consumer, Via, Waiting};
use super::object::Run;
use crate::cpu;
use crate::statistics::Summary;

/// After so long no further batch begins: what interrupts a CPU for each event takes a thousand times as long as
/// the others.
const BUDGET: Duration = Duration::from_millis(250);
/// How many elements are pushed in one go; there is room for twice as many.
pub const BATCH: u32 = 4096;

/// Nanoseconds for each push, and for the loop around it: the median of so many batches.
///
/// # Errors
///
/// If the kernel refuses, or a push was refused.
pub fn alone(channel: &Channel, batches: usize) -> anyhow::Result<f64> {
    cpu::on(cpu::allowed()?[0], || alone_here(channel, batches))
}

fn alone_here(channel: &Channel, batches: usize) -> anyhow::Result<f64> {
    let producer = channel.producer()?;
    let mut consumer = resting(channel)?;
    let mut times = Vec::with_capacity(batches);
    // The first batch finds cold caches.
    let began = Instant::now();
    for batch in 0..=batches {
        if batch > 1 && began.elapsed() > BUDGET {
            break;
        }
        let run = producer.push(Run::of(BATCH.into()))?;
        ensure!(run.done == u64::from(BATCH), "{} of {BATCH} pushes succeeded", run.done);
        if batch > 0 {
            times.push(run.ns as f64 / run.done as f64);
        }
        empty(&mut consumer)?;
    }
    Ok(Summary::of(&times).context("no batch")?.median)
}

/// The consumer, which is there from the start: without one, a perf event output has nowhere to go.
fn resting(channel: &Channel) -> anyhow::Result<Option<Consumer<'_>>> {
    match channel.via {
        Via::EmptyLoop | Via::LockedRmw | Via::AddAndWrite | Via::AddAndCopy => Ok(None),
        _ => channel.consumer(Waiting::Spin, false).map(Some),
    }
}

/// Takes everything that was pushed.
fn empty(consumer: &mut Option<Consumer<'_>>) -> anyhow::Result<()> {
    let Some(consumer) = consumer else { return Ok(()) };
    loop {
        let before = consumer.seen();
        consumer.take()?;
        if consumer.seen() == before {
            return Ok(());
        }
    }
}

/// Nanoseconds for each push when all CPUs push to the same queue at once: the time until all have ended,
/// divided by all pushes.
///
/// # Errors
///
/// As [`alone`].
pub fn contended(channel: &Channel, batches: usize) -> anyhow::Result<f64> {
    let cpus = cpu::allowed()?;
    let share = u64::from(BATCH) / cpus.len() as u64;
    let mut consumer = resting(channel)?;
    let mut times = Vec::with_capacity(batches);
    for batch in 0..=batches {
        let start = Start::of(cpus.len());
        let runs = thread::scope(|scope| {
            let threads: Vec<_> = cpus
                .iter()
                .map(|&cpu| {
                    scope.spawn({
                        let start = &start;
                        move || push_share(channel, cpu, share, start)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
                .collect::<anyhow::Result<Vec<_>>>()
        })?;
        let from = runs.iter().map(|run| run.0).min().context("no CPU")?;
        let to = runs.iter().map(|run| run.1).max().context("no CPU")?;
        if batch > 0 {
            times.push(to.duration_since(from).as_nanos() as f64 / (share * cpus.len() as u64) as f64);
        }
        empty(&mut consumer)?;
    }
    Ok(Summary::of(&times).context("no batch")?.median)
}

/// All CPUs begin together. A thread that sleeps at a barrier takes longer to wake than it then takes to push its share, and the
/// CPUs would push one after another: here the last that comes finds the others running.
struct Start {
    ready: Barrier,
    running: AtomicUsize,
    cpus: usize,
}

impl Start {
    fn of(cpus: usize) -> Start {
        Start { ready: Barrier::new(cpus), running: AtomicUsize::new(0), cpus }
    }

    fn wait(&self) {
        self.ready.wait();
        self.running.fetch_add(1, Ordering::AcqRel);
        while self.running.load(Ordering::Acquire) < self.cpus {
            hint::spin_loop();
        }
    }
}

/// One CPU's part; when it began and when it ended.
fn push_share(
    channel: &Channel,
    cpu: usize,
    share: u64,
    start: &Start,
) -> anyhow::Result<(Instant, Instant)> {
    let ready = cpu::pin(cpu).and_then(|()| channel.producer());
    start.wait();
    let producer = ready?;
    let from = Instant::now();
    let run = producer.push(Run::of(share))?;
    let to = Instant::now();
    // Others may spend a push's retries; all pushes count.
    ensure!(
        run.done + run.refused == share,
        "the kernel ended the loop after {} pushes",
        run.done + run.refused
    );
    Ok((from, to))
}
