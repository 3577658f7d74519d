//! How threads use a queue, and what one run of it takes.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use crossbeam_utils::Backoff;

use super::queue::{Element, Ends, Pop, Push, Queue};
use crate::cpu;

/// How many elements a burst has.
pub const BURST: usize = 64;
/// How many operations lie between two looks at the clock.
const STRIDE: u64 = 1024;

/// How threads use a queue. A shape is written as its name on the command line and in results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One thread pushes and pops in turns.
    Uncontended,
    /// One thread pushes a burst, and pops it.
    Bursts,
    /// One thread fills the queue, and empties it.
    Fill,
    /// Producers and consumers at the same time, all in a burst at once or one by one.
    Transfer {
        /// Producing threads.
        producers: usize,
        /// Consuming threads.
        consumers: usize,
        /// Whether the queue's operations for many elements are used.
        bursts: bool,
    },
}

impl Shape {
    /// One element at a time.
    pub const fn transfer(producers: usize, consumers: usize) -> Shape {
        Shape::Transfer { producers, consumers, bursts: false }
    }

    /// Producing and consuming threads.
    pub fn threads(self) -> (usize, usize) {
        match self {
            Shape::Transfer { producers, consumers, .. } => (producers, consumers),
            _ => (1, 1),
        }
    }

    /// Whether elements go from one CPU to another.
    pub fn crosses(self) -> bool {
        matches!(self, Shape::Transfer { .. })
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Shape::Uncontended => f.write_str("uncontended"),
            Shape::Bursts => f.write_str("bursts"),
            Shape::Fill => f.write_str("fill"),
            Shape::Transfer { producers, consumers, bursts } => {
                write!(f, "{producers}-{consumers}{}", if *bursts { "-bursts" } else { "" })
            }
        }
    }
}

impl std::str::FromStr for Shape {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Shape> {
        match text {
            "uncontended" => Ok(Shape::Uncontended),
            "bursts" => Ok(Shape::Bursts),
            "fill" => Ok(Shape::Fill),
            _ => {
                let (threads, bursts) =
                    text.strip_suffix("-bursts").map_or((text, false), |threads| (threads, true));
                let (producers, consumers) =
                    threads.split_once('-').with_context(|| format!("no shape: {text}"))?;
                let number = |word: &str| word.parse().with_context(|| format!("no shape: {text}"));
                Ok(Shape::Transfer { producers: number(producers)?, consumers: number(consumers)?, bursts })
            }
        }
    }
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// How the queue is used.
    pub shape: Shape,
    /// How many elements it holds.
    pub capacity: usize,
    /// For how long.
    pub duration: Duration,
}

/// Runs once; the result is nanoseconds for each element that was pushed and popped.
///
/// # Errors
///
/// If the queue cannot be made, a thread cannot be pinned, or an element was lost or came twice.
pub fn run<T: Element, Q: Queue<T>>(work: Work) -> anyhow::Result<f64> {
    let (producers, consumers) = work.shape.threads();
    let ends = Ends { capacity: work.capacity, producers, consumers };
    let cpus = cpu::allowed()?;
    match work.shape {
        Shape::Transfer { bursts, .. } => {
            Q::with(ends, |pushes, pops| transfer(pushes, pops, &cpus, bursts, work))?
        }
        _ => cpu::on(cpus[0], || {
            Q::with(ends, |mut pushes, mut pops| alone(&mut pushes[0], &mut pops[0], work))?
        }),
    }
}

/// One thread has both ends.
fn alone<T: Element>(push: &mut impl Push<T>, pop: &mut impl Pop<T>, work: Work) -> anyhow::Result<f64> {
    warm_up(push, pop, work.capacity)?;
    let mut burst = Box::new([T::zeroed(); BURST]);
    let mut elements = 0;
    let (start, before) = (Instant::now(), cpu::time());
    while start.elapsed() < work.duration {
        elements += match work.shape {
            Shape::Fill => fill(push, pop, work.capacity)?,
            Shape::Bursts => bursts(push, pop, &mut burst)?,
            _ => turns(push, pop)?,
        };
    }
    Ok(cpu::time().saturating_sub(before).as_nanos() as f64 / elements as f64)
}

/// Fills the queue once and empties it, so that its memory is there.
fn warm_up<T: Element>(
    push: &mut impl Push<T>,
    pop: &mut impl Pop<T>,
    capacity: usize,
) -> anyhow::Result<()> {
    let pushed = (0..capacity as u64).take_while(|serial| push.push(T::of(*serial))).count();
    let mut popped = 0;
    while pop.pop().is_some() {
        popped += 1;
    }
    ensure!(pushed == popped, "{pushed} elements were pushed, and {popped} came out");
    Ok(())
}

fn turns<T: Element>(push: &mut impl Push<T>, pop: &mut impl Pop<T>) -> anyhow::Result<u64> {
    for serial in 0..STRIDE {
        let pushed = push.push(T::of(black_box(serial)));
        let popped = pop.pop().map(black_box).is_some();
        ensure!(pushed && popped, "an empty queue had no room, or one with an element had none");
    }
    Ok(STRIDE)
}

/// The elements of the next numbers, in place: an array that is made and moved would be copied.
#[inline]
fn fill_burst<T: Element>(burst: &mut [T; BURST], first: u64) {
    for (place, element) in burst.iter_mut().enumerate() {
        *element = T::of(first + place as u64);
    }
}

fn bursts<T: Element>(
    push: &mut impl Push<T>,
    pop: &mut impl Pop<T>,
    burst: &mut [T; BURST],
) -> anyhow::Result<u64> {
    let mut elements = 0;
    while elements < STRIDE {
        fill_burst(burst, black_box(elements));
        let pushed = push.push_many(burst);
        let popped = pop.pop_many(BURST, |value| {
            black_box(value);
        });
        ensure!(
            pushed == BURST && popped == BURST,
            "of {BURST} elements {pushed} went in, {popped} came out"
        );
        elements += BURST as u64;
    }
    Ok(elements)
}

fn fill<T: Element>(push: &mut impl Push<T>, pop: &mut impl Pop<T>, capacity: usize) -> anyhow::Result<u64> {
    for serial in 0..capacity as u64 {
        ensure!(push.push(T::of(black_box(serial))), "full after {serial} elements");
    }
    for serial in 0..capacity as u64 {
        ensure!(black_box(pop.pop()).is_some(), "empty after {serial} elements");
    }
    Ok(capacity as u64)
}

/// What one thread has done.
#[derive(Clone, Copy, Debug)]
struct Done {
    from: Instant,
    to: Instant,
    elements: u64,
    /// The sum of the elements' numbers: what was lost or came twice shows.
    sum: u64,
}

/// What threads of one run say to each other.
struct Together {
    start: Barrier,
    stop: AtomicBool,
    producing: AtomicUsize,
}

/// Every end has a thread, pinned to its place.
fn transfer<T: Element>(
    mut pushes: Vec<impl Push<T>>,
    mut pops: Vec<impl Pop<T>>,
    cpus: &[usize],
    in_bursts: bool,
    work: Work,
) -> anyhow::Result<f64> {
    warm_up(&mut pushes[0], &mut pops[0], work.capacity)?;
    let (front, back) = cpu::places(cpus, pushes.len(), pops.len());
    let together = Together {
        start: Barrier::new(pushes.len() + pops.len() + 1),
        stop: AtomicBool::new(false),
        producing: AtomicUsize::new(pushes.len()),
    };
    let together = &together;
    let (produced, consumed) = thread::scope(|scope| {
        let producers: Vec<_> = pushes
            .into_iter()
            .zip(front)
            .map(|(push, cpu)| scope.spawn(move || produce(push, cpu, in_bursts, together)))
            .collect();
        let consumers: Vec<_> = pops
            .into_iter()
            .zip(back)
            .map(|(pop, cpu)| scope.spawn(move || consume(pop, cpu, in_bursts, together)))
            .collect();
        together.start.wait();
        thread::sleep(work.duration);
        together.stop.store(true, Ordering::Relaxed);
        (join(producers), join(consumers))
    });
    account(&produced?, &consumed?)
}

fn join(threads: Vec<thread::ScopedJoinHandle<'_, anyhow::Result<Done>>>) -> anyhow::Result<Vec<Done>> {
    let panicked = |_| anyhow::anyhow!("a thread panicked");
    threads.into_iter().map(|thread| thread.join().map_err(panicked)?).collect()
}

/// Nanoseconds for each element, if each that was pushed was popped once.
fn account(produced: &[Done], consumed: &[Done]) -> anyhow::Result<f64> {
    let count = |side: &[Done]| side.iter().map(|done| done.elements).sum::<u64>();
    let sum = |side: &[Done]| side.iter().fold(0u64, |sum, done| sum.wrapping_add(done.sum));
    let (pushed, popped) = (count(produced), count(consumed));
    ensure!(
        pushed == popped && sum(produced) == sum(consumed),
        "{pushed} elements were pushed and {popped} popped, or they were not the same"
    );
    ensure!(popped > 0, "nothing was popped");
    let all = || produced.iter().chain(consumed);
    let (Some(from), Some(to)) = (all().map(|done| done.from).min(), all().map(|done| done.to).max()) else {
        bail!("there was no thread");
    };
    Ok(to.duration_since(from).as_nanos() as f64 / popped as f64)
}

/// Counts a producer as gone however it goes, so that consumers end.
struct Producing<'a>(&'a AtomicUsize);

impl Drop for Producing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

fn produce<T: Element>(
    mut push: impl Push<T>,
    cpu: usize,
    in_bursts: bool,
    together: &Together,
) -> anyhow::Result<Done> {
    let _producing = Producing(&together.producing);
    let pinned = cpu::pin(cpu);
    together.start.wait();
    pinned?;
    let size = if in_bursts { BURST } else { 1 };
    let from = Instant::now();
    let (mut elements, mut sum) = (0u64, 0u64);
    let backoff = Backoff::new();
    let mut burst = Box::new([T::zeroed(); BURST]);
    // At least once, however late this thread is.
    loop {
        let pushed = if in_bursts {
            fill_burst(&mut burst, elements);
            push.push_many(&burst[..])
        } else {
            usize::from(push.push(T::of(elements)))
        };
        for serial in elements..elements + pushed as u64 {
            sum = sum.wrapping_add(serial);
        }
        elements += pushed as u64;
        if together.stop.load(Ordering::Relaxed) {
            return Ok(Done { from, to: Instant::now(), elements, sum });
        }
        if pushed == size {
            backoff.reset();
        } else {
            backoff.snooze();
        }
    }
}

fn consume<T: Element>(
    mut pop: impl Pop<T>,
    cpu: usize,
    in_bursts: bool,
    together: &Together,
) -> anyhow::Result<Done> {
    let pinned = cpu::pin(cpu);
    together.start.wait();
    pinned?;
    let limit = if in_bursts { BURST } else { 1 };
    let from = Instant::now();
    let (mut elements, mut sum) = (0u64, 0u64);
    let backoff = Backoff::new();
    loop {
        // Read before the pop: what was pushed before the last producer went is found by a pop after that.
        let is_over = together.producing.load(Ordering::Acquire) == 0;
        let mut take = |value: T| sum = sum.wrapping_add(black_box(value).serial());
        let popped = if in_bursts {
            pop.pop_many(limit, take)
        } else {
            pop.pop().map_or(0, |value| {
                take(value);
                1
            })
        };
        elements += popped as u64;
        if popped > 0 {
            backoff.reset();
        } else if is_over {
            return Ok(Done { from, to: Instant::now(), elements, sum });
        } else {
            backoff.snooze();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Done, Shape, account};

    #[test]
    fn a_shape_is_read_as_it_is_written() {
        for name in ["uncontended", "bursts", "fill", "1-1", "4-4", "16-1", "2-1-bursts"] {
            assert_eq!(name.parse::<Shape>().expect(name).to_string(), name);
        }
        for name in ["", "1", "1-", "one-two", "1-1-burst"] {
            assert!(name.parse::<Shape>().is_err(), "{name}");
        }
    }

    fn done(elements: u64, sum: u64, nanoseconds: u64) -> Done {
        let from = Instant::now();
        Done { from, to: from + Duration::from_nanos(nanoseconds), elements, sum }
    }

    #[test]
    fn what_is_lost_or_comes_twice_or_changes_is_an_error() {
        let fine = account(&[done(10, 45, 0)], &[done(4, 6, 0), done(6, 39, 0)]);
        assert!(fine.is_ok());
        assert!(account(&[done(10, 45, 0)], &[done(9, 45, 0)]).is_err(), "lost");
        assert!(account(&[done(10, 45, 0)], &[done(10, 46, 0)]).is_err(), "another");
        assert!(account(&[done(0, 0, 0)], &[done(0, 0, 0)]).is_err(), "nothing");
    }

    #[test]
    fn time_runs_from_the_first_start_to_the_last_end() {
        let first = done(10, 45, 1_000);
        let last = Done {
            from: first.from + Duration::from_nanos(500),
            to: first.from + Duration::from_nanos(2_000),
            ..first
        };
        assert_eq!(account(&[first], &[last]).expect("the same elements"), 200.0);
    }
}
