//! `opensnoop`: every file that this process opens, by each way from BPF to userspace.
//!
//! Here a program is attached: behind each system call of this process. Its link belongs to a file descriptor, so
//! nothing outlives the process.

mod watch;

use std::fs::File;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tempfile::NamedTempFile;

use crate::cpu;

pub use watch::{Waiting, Watch, Watcher};

/// What watching the opens has given, and taken.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    /// Events that came, or opens if nobody watches, for each second.
    pub per_second: f64,
    /// What the threads that open have had of a CPU, in nanoseconds for each open: with the call itself.
    pub producing: f64,
    /// The same for the thread that consumes.
    pub consuming: f64,
    /// Events that did not come, in percent of all.
    pub lost: f64,
}

/// So many threads open a file of their own again and again, `opens` times together, and `watch` tells of it.
///
/// # Errors
///
/// If the kernel refuses, or there is an open that neither came nor was counted as refused.
pub fn run(watch: Option<&Watch>, threads: usize, opens: u64) -> anyhow::Result<Watched> {
    let (front, back) = cpu::places(&cpu::allowed()?, threads, 1);
    let share = opens / threads as u64;
    let opens = share * threads as u64;
    let files = (0..threads)
        .map(|_| NamedTempFile::with_prefix("arenaq-bench-"))
        .collect::<Result<Vec<_>, _>>()
        .context("making a file to open")?;
    let names: usize = files.iter().map(|file| file.path().as_os_str().len()).sum();
    let expected = share * names as u64;
    let before = watch.map_or(Ok(0), Watch::refused)?;

    let start = Barrier::new(threads + 1 + usize::from(watch.is_some()));
    let producing = AtomicUsize::new(threads);
    let (start, producing) = (&start, &producing);
    let attached = watch.map(Watch::attach).transpose()?;
    let (produced, consumed) = thread::scope(|scope| {
        let producers: Vec<_> = front
            .into_iter()
            .zip(&files)
            .map(|(cpu, file)| scope.spawn(move || produce(file, cpu, share, start, producing)))
            .collect();
        let consumer = watch.map(|watch| scope.spawn(move || consume(watch, back[0], start, producing)));
        start.wait();
        let panicked = |_| anyhow::anyhow!("a thread panicked");
        let produced: Vec<_> = producers.into_iter().map(|thread| thread.join().map_err(panicked)?).collect();
        let consumed = consumer.map(|thread| thread.join().map_err(panicked)?).transpose();
        (produced, consumed)
    });
    drop(attached);

    let produced = produced.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let took = |used: Duration| used.as_nanos() as f64 / opens as f64;
    let producing = took(produced.iter().map(|done| done.used).sum());
    // As the threads say: this one may have been away from its CPU for longer than they took.
    let begun = produced.iter().map(|done| done.begun).min().context("no thread")?;
    let ended = produced.iter().map(|done| done.ended).max().context("no thread")?;
    let rate = |events: u64, ended: Instant| events as f64 / ended.duration_since(begun).as_secs_f64();
    let (Some(watch), Some(consumed)) = (watch, consumed?) else {
        return Ok(Watched { per_second: rate(opens, ended), producing, consuming: 0.0, lost: 0.0 });
    };
    let refused = watch.refused()? - before;
    let came = consumed.events;
    ensure!(came > 0, "no event came: is this process in a PID namespace of its own?");
    ensure!(came + refused == opens, "of {opens} opens {came} came, and {refused} were refused");
    // All names are equally long, and so each that came was whole.
    ensure!(
        consumed.letters * opens == expected * came,
        "{came} events had names of {} letters together, of {expected} in {opens}",
        consumed.letters
    );
    Ok(Watched {
        per_second: rate(came, consumed.ended),
        producing,
        consuming: took(consumed.used),
        lost: 100.0 * refused as f64 / opens as f64,
    })
}

struct Produced {
    used: Duration,
    begun: Instant,
    ended: Instant,
}

/// Counts a producer as gone however it goes.
struct Producing<'a>(&'a AtomicUsize);

impl Drop for Producing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

fn produce(
    file: &NamedTempFile,
    cpu: usize,
    opens: u64,
    start: &Barrier,
    producing: &AtomicUsize,
) -> anyhow::Result<Produced> {
    let _producing = Producing(producing);
    let pinned = cpu::pin(cpu);
    start.wait();
    pinned?;
    let (begun, before) = (Instant::now(), cpu::time());
    for _ in 0..opens {
        File::open(file.path()).with_context(|| format!("opening {}", file.path().display()))?;
    }
    Ok(Produced { used: cpu::time().saturating_sub(before), begun, ended: Instant::now() })
}

struct Consumed {
    events: u64,
    /// Of all names.
    letters: u64,
    used: Duration,
    ended: Instant,
}

fn consume(watch: &Watch, cpu: usize, start: &Barrier, producing: &AtomicUsize) -> anyhow::Result<Consumed> {
    let ready = cpu::pin(cpu).and_then(|()| watch.watcher());
    start.wait();
    let mut watcher = ready?;
    let before = cpu::time();
    let mut ended = Instant::now();
    loop {
        // Read before the events are taken: what came before the last producer went is found by a look after that.
        let is_over = producing.load(Ordering::Acquire) == 0;
        let seen = watcher.events();
        if watcher.take()? == 0 {
            if is_over {
                let used = cpu::time().saturating_sub(before);
                return Ok(Consumed { events: seen, letters: watcher.letters(), used, ended });
            }
            watcher.wait()?;
        }
        // Who waits for records may have been handed some.
        if watcher.events() > seen {
            ended = Instant::now();
        }
    }
}
