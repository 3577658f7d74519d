//! Every step on every kernel.

use std::time::{Duration, Instant};

use anyhow::ensure;
use indicatif::{ProgressBar, ProgressStyle};

use crate::accelerator::Accelerator;
use crate::boot::Boot;
use crate::files::CPUS;
use crate::image::Image;
use crate::interrupt::is_interrupted;
use crate::kernels::examine::{Examined, Step, Subject};
use crate::kernels::list::Circumstance;
use crate::kernels::programs::Programs;
use crate::machine::Machine;

/// For one command in a guest, boot included.
const TIME_LIMIT: Duration = Duration::from_secs(420);

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
            time_limit: TIME_LIMIT,
        };
        let mut examined = Examined::new(Subject {
            release: image.release.clone(),
            arch: image.arch,
            why: why.to_owned(),
            circumstance: self.circumstance.map(|it| it.name.clone()),
            accelerator: self.accelerator.to_string(),
            cpus,
        });
        let begin = Instant::now();
        for step in self.steps {
            bar.set_message(format!("{}: {step}", image.release));
            let start = Instant::now();
            let outcome = examined.take(step, &machine, &self.programs.skips);
            ensure!(!is_interrupted(), "interrupted");
            let took = start.elapsed().as_secs_f64();
            bar.suspend(|| println!("{:<32} {:<16} {outcome}, {took:.1} s", image.release, step.to_string()));
            bar.inc(1);
        }
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
