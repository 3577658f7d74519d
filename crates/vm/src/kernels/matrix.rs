//! Every step on every kernel.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
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

impl Matrix<'_> {
    /// Takes each step on each kernel, and shows on the terminal how each ended. A step that fails is a result. What is
    /// known of a kernel is handed over at once.
    ///
    /// # Errors
    ///
    /// The user interrupts it, or `take` fails.
    pub fn examine(&self, mut take: impl FnMut(Examined) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let bar = bar(self.images.len() * self.steps.len());
        for (image, why) in self.images {
            take(self.kernel(image, why, &bar)?)?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn kernel(&self, image: &Image, why: &str, bar: &ProgressBar) -> anyhow::Result<Examined> {
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
        let examined = Mutex::new(Examined::new(Subject {
            release: image.release.clone(),
            arch: image.arch,
            why: why.to_owned(),
            circumstance: self.circumstance.map(|it| it.name.clone()),
            accelerator: self.accelerator.to_string(),
            cpus,
        }));
        let begin = Instant::now();
        let steps = Mutex::new(self.steps.iter());
        let next =
            || steps.lock().unwrap_or_else(PoisonError::into_inner).next().filter(|_| !is_interrupted());
        let work = || {
            while let Some(step) = next() {
                bar.set_message(format!("{}: {step}", image.release));
                let start = Instant::now();
                let mut attempt =
                    Attempt { step, machine: &machine, skips: &self.programs.skips, complaints: Vec::new() };
                let shown = attempt.take();
                let took = start.elapsed().as_secs_f64();
                let mut examined = examined.lock().unwrap_or_else(PoisonError::into_inner);
                let outcome = examined.keep(shown, attempt.complaints);
                bar.suspend(|| {
                    println!("{:<32} {:<16} {outcome}, {took:.1} s", image.release, step.to_string());
                });
                bar.inc(1);
            }
        };
        thread::scope(|scope| {
            for _ in 0..self.jobs.get() {
                scope.spawn(work);
            }
        });
        ensure!(!is_interrupted(), "interrupted");
        let mut examined = examined.into_inner().unwrap_or_else(PoisonError::into_inner);
        examined.sort(self.steps);
        examined.seconds = begin.elapsed().as_secs_f64();
        Ok(examined)
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
