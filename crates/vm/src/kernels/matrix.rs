//! Every step on every kernel.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use indicatif::{ProgressBar, ProgressStyle};

use crate::accelerator::Accelerator;
use crate::boot::Boot;
use crate::files::CPUS;
use crate::image::Image;
use crate::interrupt::is_interrupted;
use crate::kernels::examine::{Attempt, Examined, Step, Subject};
use crate::kernels::list::Circumstance;
use crate::kernels::programs::Programs;
use crate::machine::Machine;

/// For one command in a guest, boot included.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// What is tried.
#[derive(Debug)]
pub struct Matrix<'a> {
    /// The kernels, and what each is there for.
    pub images: &'a [(Image, String)],
    /// What each guest is given.
    pub programs: &'a Programs,
    /// What is done on each kernel, in this order.
    pub steps: &'a [Step],
    /// How the guests' instructions are run.
    pub accelerator: Accelerator,
    /// How the guests are booted otherwise than usual.
    pub circumstance: Option<&'a Circumstance>,
    /// How many guests run at once: most of what each does, it does on one processor.
    pub jobs: NonZeroUsize,
}

/// A kernel that is being examined.
struct Row {
    machine: Machine,
    /// When its first guest was started.
    begin: OnceLock<Instant>,
    examined: Mutex<Examined>,
    /// How many of its guests have not ended.
    left: AtomicUsize,
}

impl Matrix<'_> {
    /// Takes each step on each kernel, and shows on the terminal how each ended. A step that fails is a result. What is
    /// known of a kernel is handed over when its last guest has ended; those of the next one run already by then.
    ///
    /// # Errors
    ///
    /// The user interrupts it, or `take` fails.
    pub fn examine(&self, mut take: impl FnMut(&Examined) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let bar = bar(self.images.len() * self.steps.len());
        let guests: Vec<&[Step]> = Step::guests(self.steps).collect();
        let rows: Vec<Row> =
            self.images.iter().map(|(image, why)| self.row(image, why, guests.len())).collect();
        let all = Mutex::new(rows.iter().flat_map(|row| guests.iter().map(move |steps| (row, *steps))));
        let is_over = AtomicBool::new(false);
        let goes_on = || !is_interrupted() && !is_over.load(Ordering::Relaxed);
        let next = || all.lock().unwrap_or_else(PoisonError::into_inner).next().filter(|_| goes_on());
        let (ended, rows_that_ended) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..self.jobs.get() {
                let (ended, next, goes_on, bar) = (ended.clone(), &next, &goes_on, &bar);
                scope.spawn(move || {
                    while let Some((row, steps)) = next() {
                        self.guest(row, steps, bar);
                        if row.left.fetch_sub(1, Ordering::AcqRel) == 1 && goes_on() {
                            // Nobody takes it any more if taking one has failed.
                            let _ = ended.send(row);
                        }
                    }
                });
            }
            drop(ended);
            let taken = rows_that_ended.iter().try_for_each(|row: &Row| {
                let mut examined = row.examined.lock().unwrap_or_else(PoisonError::into_inner);
                examined.sort(self.steps);
                examined.seconds = row.begin.get().map_or(0.0, |begin| begin.elapsed().as_secs_f64());
                bar.suspend(|| take(&examined))
            });
            is_over.store(true, Ordering::Relaxed);
            taken
        })?;
        ensure!(!is_interrupted(), "interrupted");
        bar.finish_and_clear();
        Ok(())
    }

    fn row(&self, image: &Image, why: &str, guests: usize) -> Row {
        let cpus = self.circumstance.and_then(|it| it.cpus).unwrap_or(CPUS);
        let machine = Machine {
            image: image.clone(),
            root: self.programs.root.clone(),
            accelerator: self.accelerator,
            cpus,
            boot: self.circumstance.map_or_else(Boot::default, Circumstance::boot),
            time_limit: self
                .circumstance
                .and_then(|it| it.minutes)
                .map_or(TIME_LIMIT, |minutes| Duration::from_secs(60 * minutes)),
        };
        let subject = Subject {
            release: image.release.clone(),
            arch: image.arch,
            why: why.to_owned(),
            circumstance: self.circumstance.map(|it| it.name.clone()),
            accelerator: self.accelerator.to_string(),
            cpus,
        };
        Row {
            machine,
            begin: OnceLock::new(),
            examined: Mutex::new(Examined::new(subject)),
            left: AtomicUsize::new(guests),
        }
    }

    /// Takes these steps in one guest.
    fn guest(&self, row: &Row, steps: &[Step], bar: &ProgressBar) {
        let release = &row.machine.image.release;
        let [first, ..] = steps else { return };
        bar.set_message(format!("{release}: {first}"));
        let start = Instant::now();
        row.begin.get_or_init(|| start);
        let mut attempt =
            Attempt { steps, machine: &row.machine, skips: &self.programs.skips, complaints: Vec::new() };
        let shown = attempt.take();
        let took = start.elapsed().as_secs_f64();
        let mut examined = row.examined.lock().unwrap_or_else(PoisonError::into_inner);
        examined.complaints.extend(attempt.complaints);
        for (step, shown) in steps.iter().zip(shown) {
            let outcome = examined.keep(shown);
            let together = if steps.len() > 1 { " together" } else { "" };
            bar.suspend(|| {
                println!("{release:<32} {:<16} {outcome}, {took:.1} s{together}", step.to_string());
            });
            bar.inc(1);
        }
    }
}

fn bar(length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    if let Ok(style) = ProgressStyle::with_template("[{elapsed}] {bar:30} {pos}/{len} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_secs(1));
    bar
}
