//! From BPF to a consumer in userspace: throughput, losses, latency, and what waiting takes.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::channel::{Channel, Consumer, Producer, Waiting};
use super::object::Run;
use crate::cpu;

/// How many elements a producer pushes in one system call.
const BURST: u64 = 1024;
/// How long a consumer waits for what was pushed and does not come.
const PATIENCE: Duration = Duration::from_secs(1);

/// What producers do when there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The event is lost, and they go on.
    Lose,
    /// They let others run, and try the same event again.
    Wait,
}

/// What was delivered.
#[derive(Clone, Copy, Debug)]
pub struct Delivered {
    /// Events that arrived, for each second.
    pub per_second: f64,
    /// Events that did not, in percent of all.
    pub lost: f64,
}

struct Together {
    start: Barrier,
    stop: AtomicBool,
    producing: AtomicUsize,
}

/// Counts a producer as gone however it goes.
struct Producing<'a>(&'a AtomicUsize);

impl Drop for Producing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Produced {
    pushed: u64,
    lost: u64,
}

/// Producers push as fast as they can for a while, and one consumer takes what comes, on another CPU if there
/// are enough.
///
/// # Errors
///
/// If the kernel refuses, or an event that was pushed does not arrive.
pub fn throughput(
    channel: &Channel,
    producers: usize,
    waiting: Waiting,
    refused: Refused,
    duration: Duration,
) -> anyhow::Result<Delivered> {
    let (front, back) = cpu::places(&cpu::allowed()?, producers, 1);
    let together = Together {
        start: Barrier::new(producers + 2),
        stop: AtomicBool::new(false),
        producing: AtomicUsize::new(producers),
    };
    let together = &together;
    let (produced, consumed) = thread::scope(|scope| {
        let producers: Vec<_> = front
            .into_iter()
            .map(|cpu| scope.spawn(move || produce(channel, cpu, refused, together)))
            .collect();
        let consumer = scope.spawn(move || consume(channel, back[0], waiting, together));
        together.start.wait();
        thread::sleep(duration);
        together.stop.store(true, Ordering::Relaxed);
        let panicked = |_| anyhow::anyhow!("a thread panicked");
        let produced: Vec<_> = producers.into_iter().map(|thread| thread.join().map_err(panicked)?).collect();
        (produced, consumer.join().map_err(panicked))
    });
    let (seen, took) = consumed??;
    let mut all = Produced::default();
    for produced in produced {
        let produced = produced?;
        all.pushed += produced.pushed;
        all.lost += produced.lost;
    }
    ensure!(seen == all.pushed, "{} events were pushed, and {seen} arrived", all.pushed);
    ensure!(seen > 0, "nothing arrived");
    Ok(Delivered {
        per_second: seen as f64 / took.as_secs_f64(),
        lost: 100.0 * all.lost as f64 / (all.lost + all.pushed) as f64,
    })
}

fn produce(channel: &Channel, cpu: usize, refused: Refused, together: &Together) -> anyhow::Result<Produced> {
    let _producing = Producing(&together.producing);
    let ready = cpu::pin(cpu).and_then(|()| channel.producer());
    together.start.wait();
    let producer = ready?;
    let request = Run { is_paced: (refused == Refused::Wait).into(), ..Run::of(BURST) };
    let mut all = Produced::default();
    while !together.stop.load(Ordering::Relaxed) {
        let run = producer.push(request)?;
        all.pushed += run.done;
        match refused {
            Refused::Lose => all.lost += run.refused,
            Refused::Wait if run.refused > 0 => thread::yield_now(),
            Refused::Wait => {}
        }
    }
    Ok(all)
}

/// How many events came, and how long that took.
fn consume(
    channel: &Channel,
    cpu: usize,
    waiting: Waiting,
    together: &Together,
) -> anyhow::Result<(u64, Duration)> {
    let ready = cpu::pin(cpu).and_then(|()| channel.consumer(waiting, false));
    together.start.wait();
    let mut consumer = ready?;
    let start = Instant::now();
    while together.producing.load(Ordering::Acquire) > 0 {
        consumer.take_or_wait()?;
    }
    // What was pushed before the last producer went is there now.
    let mut last = Instant::now();
    loop {
        let before = consumer.seen();
        consumer.take()?;
        if consumer.seen() == before {
            return Ok((consumer.seen(), last.duration_since(start)));
        }
        last = Instant::now();
    }
}

/// From push to consumer, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// Half of the events took no longer.
    pub median: f64,
    /// All but one of a thousand took no longer.
    pub p999: f64,
}

/// One event every millisecond.
///
/// # Errors
///
/// If the kernel refuses, or an event does not arrive.
pub fn latency(channel: &Channel, waiting: Waiting, duration: Duration) -> anyhow::Result<Latency> {
    let (front, back) = cpu::places(&cpu::allowed()?, 1, 1);
    let events = duration.as_millis() as u64;
    let ready = Barrier::new(2);
    let stop = AtomicBool::new(false);
    let (ready, stop) = (&ready, &stop);
    thread::scope(|scope| {
        let consumer = scope.spawn(move || {
            let consumer = cpu::pin(back[0]).and_then(|()| channel.consumer(waiting, true));
            ready.wait();
            take_until(consumer?, events, stop)
        });
        let producer = scope.spawn(move || {
            let producer = cpu::pin(front[0]).and_then(|()| channel.producer());
            ready.wait();
            push_every_millisecond(&producer?, events)
        });
        let panicked = |_| anyhow::anyhow!("a thread panicked");
        let pushed = producer.join().map_err(panicked);
        stop.store(true, Ordering::Release);
        let latency = consumer.join().map_err(panicked)?;
        pushed??;
        latency
    })
}

fn push_every_millisecond(producer: &Producer<'_>, events: u64) -> anyhow::Result<()> {
    let mut next = Instant::now();
    for _ in 0..events {
        next += Duration::from_millis(1);
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let run = producer.push(Run { is_timed: 1, ..Run::of(1) })?;
        ensure!(run.done == 1, "a push was refused at one event a millisecond");
    }
    Ok(())
}

/// Consumes until so many events have come, or nothing comes any more.
fn take_until(mut consumer: Consumer<'_>, events: u64, stop: &AtomicBool) -> anyhow::Result<Latency> {
    let mut over = None;
    while consumer.seen() < events {
        consumer.take_or_wait()?;
        if stop.load(Ordering::Acquire) {
            let since = over.get_or_insert_with(Instant::now);
            ensure!(since.elapsed() < PATIENCE, "{} of {events} events arrived", consumer.seen());
        }
    }
    let microseconds = |percent| consumer.latency(percent).map(|ns| ns as f64 / 1000.0);
    Ok(Latency { median: microseconds(50.0).context("times")?, p999: microseconds(99.9).context("times")? })
}

/// What a consumer takes of its CPU while nothing comes, in percent.
///
/// # Errors
///
/// If the source does not work.
pub fn idle(channel: &Channel, waiting: Waiting, duration: Duration) -> anyhow::Result<f64> {
    let (_, back) = cpu::places(&cpu::allowed()?, 1, 1);
    thread::scope(|scope| {
        let consumer = scope.spawn(move || {
            cpu::pin(back[0])?;
            let mut consumer = channel.consumer(waiting, false)?;
            let (start, before) = (Instant::now(), cpu::time());
            while start.elapsed() < duration {
                consumer.take_or_wait()?;
            }
            let used = cpu::time().saturating_sub(before);
            Ok(100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64())
        });
        consumer.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
    })
}
