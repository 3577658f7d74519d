//! `cargo xtask vm`: the command `arenaq` in a virtual machine, with any kernel.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use arenaq_vm::accelerator::{self, Accelerator};
use arenaq_vm::boot::Boot;
use arenaq_vm::image::{Flavour, Image};
use arenaq_vm::machine::{Machine, Output};
use arenaq_vm::preempt::Preempt;
use arenaq_vm::{console, files, guest};
use clap::{Args, ValueEnum};

use crate::command::build_harness_for;
use crate::cross::{Name, chosen};

#[derive(Args)]
pub(crate) struct VmArgs {
    /// The kernel: a version such as 6.18 or 6.18.15, of which Debian's package is fetched once, or the path of an image.
    #[arg(long, value_name = "VERSION|PATH")]
    kernel: String,
    /// How many processors the guest has.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=255))]
    cpus: u32,
    /// So many of them, the last ones, come online while the command runs.
    #[arg(long, value_name = "N", default_value_t = 0)]
    late_cpus: u32,
    /// The guest's architecture [default: this machine's].
    #[arg(long, value_enum)]
    arch: Option<Name>,
    /// When the guest's kernel takes the processor away [default: as it was built].
    #[arg(long, value_enum, value_name = "MODE")]
    preempt: Option<Model>,
    /// A word more of the kernel's command line, such as lockdown=confidentiality; may be given several times.
    #[arg(long, value_name = "WORD")]
    parameter: Vec<String>,
    /// A line of the shell that prepares the guest before the command; may be given several times.
    #[arg(long, value_name = "LINE")]
    prepare: Vec<String>,
    /// Takes Debian's real-time kernel of that version, not the one for virtual machines.
    #[arg(long)]
    real_time: bool,
    /// After so many seconds the guest is killed.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    time_limit: u64,
    /// How the guest's instructions are run [default: KVM where it works].
    #[arg(long, value_enum)]
    accelerator: Option<Wish>,
    /// Shows what the guest's kernel wrote on its console.
    #[arg(long)]
    console: bool,
    /// A file of one's own, such as an object for `arenaq load`: it lies in the guest's root folder, by its name; may be given
    /// several times.
    #[arg(long, value_name = "PATH")]
    file: Vec<PathBuf>,
    /// The command that runs in the guest, as an archive of `cargo xtask dist` has it [default: it is compiled].
    #[arg(long, value_name = "PROGRAM")]
    arenaq: Option<PathBuf>,
    /// The arguments of `arenaq`.
    #[arg(last = true, value_name = "ARGUMENTS", default_value = "doctor")]
    arguments: Vec<String>,
}

/// How a guest's instructions are run, as a user asks for it.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Wish {
    /// The processor's virtualisation.
    Kvm,
    /// Emulation, which works everywhere.
    Tcg,
}

impl From<Wish> for accelerator::Wish {
    fn from(wish: Wish) -> accelerator::Wish {
        match wish {
            Wish::Kvm => accelerator::Wish::Kvm,
            Wish::Tcg => accelerator::Wish::Tcg,
        }
    }
}

/// A model of preemption, as a user asks for it.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Model {
    /// Only where the kernel gives the processor up, or goes back to userspace.
    None,
    /// Also where the kernel offers to.
    Voluntary,
    /// Anywhere outside critical sections, at once.
    Full,
    /// Anywhere, and of ordinary tasks only at the next tick.
    Lazy,
}

impl From<Model> for Preempt {
    fn from(model: Model) -> Preempt {
        match model {
            Model::None => Preempt::None,
            Model::Voluntary => Preempt::Voluntary,
            Model::Full => Preempt::Full,
            Model::Lazy => Preempt::Lazy,
        }
    }
}

/// Runs `arenaq` in a guest, and ends as it does.
pub(crate) fn run(arguments: &VmArgs) -> anyhow::Result<ExitCode> {
    let arch = chosen(arguments.arch)?;
    let VmArgs { cpus, late_cpus, .. } = *arguments;
    let flavour = if arguments.real_time { Flavour::RealTime } else { Flavour::Cloud };
    ensure!(
        late_cpus < cpus,
        "a guest of {cpus} processors boots on one of them at least: --late-cpus is at most {}",
        cpus - 1
    );
    for file in &arguments.file {
        ensure!(file.is_file(), "{} is no file: the guest cannot have it", file.display());
    }
    let arenaq = match &arguments.arenaq {
        Some(arenaq) => arenaq.clone(),
        None => build_harness_for(arch, true)?,
    };
    let mut root = guest::root(&arenaq, arch)?;
    for file in &arguments.file {
        let name = file.file_name().context("a file has a name")?;
        root.file(file.clone(), format!("/{}", name.display()));
    }
    let machine = Machine {
        accelerator: Accelerator::choose(arguments.accelerator.map(Wish::into), arch)?,
        image: Image::find(&arguments.kernel, arch, flavour)?,
        root,
        cpus,
        boot: Boot {
            preempt: arguments.preempt.map(Model::into),
            late_cpus,
            parameters: arguments.parameter.clone(),
            prepare: arguments.prepare.clone(),
            name: None,
        },
        time_limit: Duration::from_secs(arguments.time_limit),
    };
    let command = guest::command(arguments.arguments.iter().map(String::as_str));

    eprintln!(
        "vm: Linux {}, {arch}, {} processors, {}",
        machine.image.release, machine.cpus, machine.accelerator
    );
    let start = Instant::now();
    let ended = machine.run(&command, Output::Shown)?;
    if arguments.console {
        eprint!("{}", ended.console);
    }
    for line in console::complaints(&ended.console) {
        eprintln!("vm: the guest's kernel complains: {line}");
    }
    eprintln!("vm: exit code {} after {:.1} s", ended.code, start.elapsed().as_secs_f64());
    Ok(ExitCode::from(ended.code))
}

/// Fails if the files that are created in a guest with the newest kernel are not all accounted for.
pub(crate) fn check() -> anyhow::Result<()> {
    let arch = chosen(None)?;
    files::check(&Image::newest(arch, Flavour::Cloud)?.to_string(), arch, &build_harness_for(arch, false)?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::VmArgs;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        arguments: VmArgs,
    }

    fn arguments(words: &[&str]) -> Vec<String> {
        Cli::try_parse_from([&["vm", "--kernel", "7.2"], words].concat())
            .expect("it parses")
            .arguments
            .arguments
    }

    #[test]
    fn more_late_processors_than_the_guest_can_have_are_refused() {
        let arguments = Cli::try_parse_from(["vm", "--kernel", "7.2", "--cpus", "2", "--late-cpus", "2"])
            .expect("it parses")
            .arguments;
        let error = super::run(&arguments).expect_err("refused").to_string();
        assert!(error.contains("--late-cpus is at most 1"), "{error}");
    }

    #[test]
    fn doctor_is_what_runs_if_nothing_else_is_asked_for() {
        assert_eq!(arguments(&[]), ["doctor"]);
        assert_eq!(arguments(&["--", "layout", "--json"]), ["layout", "--json"]);
    }
}
