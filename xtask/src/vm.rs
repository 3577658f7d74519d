//! `cargo xtask vm`: the command `arenaq` in a virtual machine, with any kernel.
//!
//! virtme-ng and vmtest do much more, and cannot do this: both share the host's file system with the guest, over
//! 9p, which Debian's kernels for virtual machines do not have, or over a virtiofsd, which Debian bookworm does not
//! have for its newer QEMU.

pub(crate) mod accelerator;
mod apt;
pub(crate) mod console;
pub(crate) mod image;
pub(crate) mod initramfs;
pub(crate) mod machine;
pub(crate) mod skeleton;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use crate::command::build_harness;
use accelerator::{Accelerator, Wish};
use image::Image;
use initramfs::Root;
use machine::{Machine, Output};

/// Where the guest has the harness.
pub(crate) const ARENAQ: &str = "/bin/arenaq";

#[derive(Args)]
pub(crate) struct VmArgs {
    /// The kernel: a version such as 6.18 or 6.18.15, of which Debian's package is fetched once, or the path of an image.
    #[arg(long, value_name = "VERSION|PATH")]
    kernel: String,
    /// How many processors the guest has.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// After so many seconds the guest is killed.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    time_limit: u64,
    /// How the guest's instructions are run [default: KVM where it works].
    #[arg(long, value_enum)]
    accelerator: Option<Wish>,
    /// Shows what the guest's kernel wrote on its console.
    #[arg(long)]
    console: bool,
    /// The arguments of `arenaq` [default: doctor].
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// Runs `arenaq` in a guest, and ends as it does.
pub(crate) fn run(arguments: &VmArgs) -> anyhow::Result<ExitCode> {
    let accelerator = Accelerator::choose(arguments.accelerator)?;
    let image = Image::find(&arguments.kernel)?;
    let mut root = Root::new()?;
    root.program(&build_harness(true)?, ARENAQ)?;
    let time_limit = Duration::from_secs(arguments.time_limit);
    let machine = Machine { image, root, accelerator, cpus: arguments.cpus, time_limit };

    eprintln!("vm: Linux {}, {} processors, {accelerator}", machine.image.release, machine.cpus);
    let start = Instant::now();
    let ended = machine.run(&arenaq(&arguments.arguments), Output::Shown)?;
    if arguments.console {
        eprint!("{}", ended.console);
    }
    for line in console::complaints(&ended.console) {
        eprintln!("vm: the guest's kernel complains: {line}");
    }
    eprintln!("vm: exit code {} after {:.1} s", ended.code, start.elapsed().as_secs_f64());
    Ok(ExitCode::from(ended.code))
}

fn arenaq(arguments: &[String]) -> Vec<String> {
    let default = || vec!["doctor".to_owned()];
    let arguments = if arguments.is_empty() { default() } else { arguments.to_vec() };
    std::iter::once(ARENAQ.to_owned()).chain(arguments).collect()
}

/// Fails if a hundred thousand files, created in a guest with this kernel, are not all accounted for.
pub(crate) fn check(kernel: &str) -> anyhow::Result<()> {
    let mut root = Root::new()?;
    root.program(&build_harness(false)?, ARENAQ)?;
    let machine = Machine {
        image: Image::find(kernel)?,
        root,
        accelerator: Accelerator::choose(None)?,
        cpus: skeleton::CPUS,
        time_limit: skeleton::TIME_LIMIT,
    };
    println!("Linux {}, {} processors, {}", machine.image.release, machine.cpus, machine.accelerator);
    for queue in skeleton::QUEUES {
        let start = Instant::now();
        let summary = skeleton::run(&machine, queue).with_context(|| format!("the queue {queue}"))?;
        println!("{queue}: {summary} ({:.1} s with the boot)", start.elapsed().as_secs_f64());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::arenaq;

    #[test]
    fn doctor_is_what_runs_if_nothing_else_is_asked_for() {
        assert_eq!(arenaq(&[]), ["/bin/arenaq", "doctor"]);
        assert_eq!(arenaq(&["layout".to_owned()]), ["/bin/arenaq", "layout"]);
    }
}
