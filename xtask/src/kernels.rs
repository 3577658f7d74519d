//! `cargo xtask kernels`: what works on which kernel, tried in virtual machines; writes docs/kernels.md.

mod examine;
mod programs;
mod report;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;

use crate::command::root;
use crate::vm::accelerator::{Accelerator, Wish};
use crate::vm::image::Image;
use crate::vm::machine::Machine;
use crate::vm::skeleton::CPUS;
use examine::{Examined, Step};
use programs::Programs;

/// Where the result is, in the workspace.
const FILE: &str = "docs/kernels.md";
const LIST: &str = "xtask/kernels.toml";
/// For one command in a guest, boot included.
const TIME_LIMIT: Duration = Duration::from_secs(300);

#[derive(Args)]
pub(crate) struct KernelsArgs {
    /// Tries only this kernel, a version or a path, and writes no file; may be given several times.
    #[arg(long, value_name = "VERSION|PATH")]
    only: Vec<String>,
    /// Runs only this program of harness/tests, and writes no file; may be given several times.
    #[arg(long, value_name = "NAME")]
    test: Vec<String>,
    /// How the guests' instructions are run [default: KVM where it works].
    #[arg(long, value_enum)]
    accelerator: Option<Wish>,
}

/// xtask/kernels.toml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    tests: Vec<String>,
    #[serde(rename = "skip")]
    skips: Vec<Skip>,
    #[serde(rename = "kernel")]
    kernels: Vec<Entry>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    version: String,
    why: String,
}

/// A test that no guest runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    test: String,
    why: String,
}

/// The newest kernel of the list.
pub(crate) fn newest() -> anyhow::Result<String> {
    let last = read()?.kernels.pop().with_context(|| format!("{LIST} has no kernel"))?;
    Ok(last.version)
}

fn read() -> anyhow::Result<List> {
    let text = std::fs::read_to_string(root().join(LIST)).with_context(|| format!("cannot read {LIST}"))?;
    toml::from_str(&text).context(LIST)
}

pub(crate) fn run(arguments: &KernelsArgs) -> anyhow::Result<ExitCode> {
    let mut list = read()?;
    if !arguments.only.is_empty() {
        let entry = |version: &String| Entry { version: version.clone(), why: String::new() };
        list.kernels = arguments.only.iter().map(entry).collect();
    }
    if !arguments.test.is_empty() {
        list.tests.clone_from(&arguments.test);
    }
    let is_whole = arguments.only.is_empty() && arguments.test.is_empty();
    let accelerator = Accelerator::choose(arguments.accelerator)?;
    let images: Vec<_> =
        list.kernels.iter().map(|entry| Image::find(&entry.version)).collect::<Result<_, _>>()?;
    println!("compiling the harness and its tests");
    let programs = Programs::build(&list)?;

    let start = Instant::now();
    let mut steps = Step::all(&programs);
    if !arguments.test.is_empty() {
        steps.retain(|step| matches!(step, Step::Test(_)));
    }
    let examined = examine_all(&images, &programs, &steps, accelerator)?;
    println!("{} kernels, {accelerator}: {:.0} s", examined.len(), start.elapsed().as_secs_f64());
    for kernel in &examined {
        print!("{}", report::notes(kernel));
    }
    if is_whole {
        let why: Vec<_> = list.kernels.iter().map(|entry| entry.why.as_str()).collect();
        std::fs::write(root().join(FILE), report::generate(&examined, &why, &list.skips))
            .with_context(|| format!("cannot write {FILE}"))?;
        println!("wrote {FILE}");
    }
    let bad: Vec<_> =
        examined.iter().filter(|kernel| kernel.failed(&steps)).map(|kernel| &*kernel.release).collect();
    if bad.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("not everything works on {}", bad.join(", "))
}

fn examine_all(
    images: &[Image],
    programs: &Programs,
    steps: &[Step],
    accelerator: Accelerator,
) -> anyhow::Result<Vec<Examined>> {
    let bar = bar(images.len() * steps.len());
    let mut all = Vec::new();
    for image in images {
        let machine = Machine {
            image: image.clone(),
            root: programs.root.clone(),
            accelerator,
            cpus: CPUS,
            time_limit: TIME_LIMIT,
        };
        let mut examined = Examined::new(image.release.clone());
        for step in steps {
            bar.set_message(format!("{}: {step}", image.release));
            let start = Instant::now();
            let outcome = examined.take(step, &machine, &programs.skips);
            ensure!(!crate::vm::machine::is_interrupted(), "interrupted");
            let took = start.elapsed().as_secs_f64();
            bar.suspend(|| println!("{:<32} {:<16} {outcome}, {took:.1} s", image.release, step.to_string()));
            bar.inc(1);
        }
        all.push(examined);
    }
    bar.finish_and_clear();
    Ok(all)
}

fn bar(length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    if let Ok(style) = ProgressStyle::with_template("[{elapsed}] {bar:30} {pos}/{len} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_secs(1));
    bar
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn the_list_can_be_read_and_is_sorted() {
        let list = read().expect("it can be read");
        assert!(list.kernels.len() >= 3);
        let numbers = |version: &str| -> Vec<u32> {
            version.split('.').map(|number| number.parse().expect("a number")).collect()
        };
        assert!(list.kernels.is_sorted_by_key(|entry| numbers(&entry.version)), "the newest is the last");
    }
}
