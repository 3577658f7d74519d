//! `cargo xtask`: sets the machine up, shows the queues at work, and runs everything that CI runs.

mod api;
mod bench;
mod churn;
mod command;
mod cross;
mod demo;
mod deps;
mod dist;
mod faults;
mod hostile;
mod instructions;
mod kernels;
mod layouts;
mod links;
mod machine;
mod miri;
mod nightly;
mod orderings;
mod peers;
mod pipe;
mod sanitize;
mod servers;
mod setup;
mod step;
mod test;
mod tool;
mod vm;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use step::Step;
use test::Options;

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs what building and testing need beyond Rust and gcc, or says what is missing.
    Setup(setup::SetupArgs),
    /// Makes an archive for those who have no Rust: the command, headers, libraries for C, manual pages.
    Dist(dist::DistArgs),
    /// Shows both queues at work, with BPF programs as producers where the kernel allows it.
    Demo,
    /// Runs everything that CI runs, and says how long each step took, the slowest first.
    Test(TestArgs),
    /// Runs the steps that only look at the sources: formatting, clippy, documentation, links, package servers.
    Lint,
    /// Compares docs/layouts.md with the layouts of the compiled code, or writes it.
    Layouts(LayoutsArgs),
    /// Runs the command `arenaq` in a virtual machine, with any kernel.
    Vm(vm::VmArgs),
    /// Tries the oldest, the newest long-term and the newest kernel of each architecture in virtual machines, and writes
    /// docs/kernels.md.
    Kernels(kernels::KernelsArgs),
    /// Measures arenaq's queues against their peers, and writes docs/benchmarks.md.
    Bench(bench::BenchArgs),
    /// Compares the instructions of each operation with crates/bench/cost/instructions.toml, or writes it.
    Instructions(instructions::InstructionsArgs),
    /// Makes each system call of `arenaq` fail once, and looks at what is left.
    Faults(faults::FaultsArgs),
    /// Pushes and consumes records while those who do are killed, and demands every record: as a test does for a few seconds.
    Churn(churn::ChurnArgs),
    /// Damages arenas before the attach and while operations run: no process that uses one may crash, hang or panic.
    Hostile(hostile::HostileArgs),
    /// Runs the core's tests under Miri, which a nightly toolchain may have.
    Miri(miri::MiriArgs),
    /// Runs the core's tests with threads and with damaged memory under ThreadSanitizer and AddressSanitizer.
    Sanitize(sanitize::SanitizeArgs),
    /// Looks at what arenaq depends on: licences, duplicates, sources, advisories.
    Deps(deps::DepsArgs),
    /// Writes what each published crate shows to others: docs/api.
    Api(api::ApiArgs),
    /// Weakens every ordering and breaks the algorithms on purpose: the loom models must notice.
    Orderings(orderings::OrderingsArgs),
    /// Weakens the orderings of other people's crates, and compares the verdicts with docs/weaken-peers.md.
    Peers(peers::PeersArgs),
}

#[derive(Args)]
struct TestArgs {
    /// Runs only this step, and may be given several times.
    #[arg(long, value_enum, value_name = "STEP")]
    only: Vec<Step>,
    /// Lets tests that the kernel refuses fail instead of being skipped. CI=true in the environment implies it.
    #[arg(long)]
    require_kernel: bool,
    /// Lets the model checkers go further, for a night: loom without bounds, shuttle with many more schedules.
    #[arg(long)]
    deep: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct LayoutsArgs {
    /// Fails if the file is not what the code says.
    #[arg(long)]
    check: bool,
    /// Writes the file.
    #[arg(long)]
    write: bool,
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    match pipe::run(|| dispatch(command)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Setup(arguments) => setup::run(&arguments)?,
        Command::Dist(arguments) => dist::run(&arguments)?,
        Command::Demo => demo::demo()?,
        Command::Test(arguments) => {
            let steps = if arguments.only.is_empty() { Step::ALL } else { &arguments.only };
            let options = Options { require_kernel: arguments.require_kernel, deep: arguments.deep };
            return Ok(test::run(steps, options));
        }
        Command::Lint => return Ok(test::run(Step::LINT, Options::default())),
        Command::Layouts(arguments) if arguments.write => layouts::write()?,
        Command::Layouts(_) => layouts::check()?,
        Command::Vm(arguments) => return vm::run(&arguments),
        Command::Kernels(arguments) => return kernels::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments)?,
        Command::Instructions(arguments) => instructions::run(&arguments)?,
        Command::Faults(arguments) => return faults::run(&arguments),
        Command::Churn(arguments) => return churn::run(&arguments),
        Command::Hostile(arguments) => return hostile::run(&arguments),
        Command::Miri(arguments) => miri::run(&arguments)?,
        Command::Sanitize(arguments) => sanitize::run(&arguments)?,
        Command::Deps(arguments) => return deps::run(&arguments),
        Command::Api(arguments) => return api::run(&arguments),
        Command::Orderings(arguments) => return orderings::run(&arguments),
        Command::Peers(arguments) => return peers::run(&arguments),
    }
    Ok(ExitCode::SUCCESS)
}
