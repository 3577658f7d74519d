//! Every step on every kernel.

use std::time::{Duration, Instant};

use anyhow::ensure;
use indicatif::{ProgressBar, ProgressStyle};

use crate::accelerator::Accelerator;
use crate::boot::Boot;
use crate::files::CPUS;
use crate::image::Image;
use crate::interrupt::is_interrupted;
use crate::kernels::examine::{Examined, Step};
use crate::kernels::programs::Programs;
use crate::machine::Machine;

/// For one command in a guest, boot included.
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// What is tried.
#[derive(Debug)]
pub struct Matrix<'a> {
    /// The kernels.
    pub images: &'a [Image],
    /// What each guest is given.
    pub programs: &'a Programs,
    /// What is done on each kernel, in this order.
    pub steps: &'a [Step],
    /// How the guests' instructions are run.
    pub accelerator: Accelerator,
}

impl Matrix<'_> {
    /// Takes each step on each kernel, and shows on the terminal how each ended. A step that fails is a result.
    ///
    /// # Errors
    ///
    /// The user interrupts it.
    pub fn examine(&self) -> anyhow::Result<Vec<Examined>> {
        let bar = bar(self.images.len() * self.steps.len());
        let mut all = Vec::new();
        for image in self.images {
            all.push(self.kernel(image, &bar)?);
        }
        bar.finish_and_clear();
        Ok(all)
    }

    fn kernel(&self, image: &Image, bar: &ProgressBar) -> anyhow::Result<Examined> {
        let machine = Machine {
            image: image.clone(),
            root: self.programs.root.clone(),
            accelerator: self.accelerator,
            cpus: CPUS,
            boot: Boot::default(),
            time_limit: TIME_LIMIT,
        };
        let mut examined = Examined::new(image.release.clone());
        for step in self.steps {
            bar.set_message(format!("{}: {step}", image.release));
            let start = Instant::now();
            let outcome = examined.take(step, &machine, &self.programs.skips);
            ensure!(!is_interrupted(), "interrupted");
            let took = start.elapsed().as_secs_f64();
            bar.suspend(|| println!("{:<32} {:<16} {outcome}, {took:.1} s", image.release, step.to_string()));
            bar.inc(1);
        }
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
