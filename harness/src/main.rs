//! The `arenaq` command.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use arenaq::KeyValue;
use arenaq_harness::run::{Backend, Options, run};
use arenaq_harness::workload::{WORKER, Work, work};
use arenaq_harness::{
    Config, Error, Hook, Instructions, Kernel, QueueKind, UprobeTarget, attached, doctor, launch, layout,
    pinned, verifier,
};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Exit codes beyond those of `Error::exit_code`.
const NOT_ACCOUNTED: u8 = 1;
const COMMAND_FAILED: u8 = 5;

#[derive(Parser)]
#[command(name = "arenaq", version, about, long_about = None, after_help = AFTER_HELP)]
/// Lock-free queues shared by BPF programs and userspace: runs them on real events and accounts for every
/// one.
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Exit codes: 0 all is accounted for; 1 something is not; 2 wrong usage; 3 refused by the kernel or for lack of \
                          privileges; 4 the command cannot be started; 5 the command failed.";

#[derive(Subcommand)]
enum Command {
    /// Says what this kernel allows, and what follows from it.
    Doctor {
        /// Prints one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Traces a command, or a built-in workload, through a queue.
    Run(RunArgs),
    /// Loads and attaches, pins everything in a folder of a BPF file system, and ends; the programs go on.
    Pin(PinArgs),
    /// Consumes from a pinned queue. A consumer that was killed is replaced by the next one, and no event is lost.
    Consume(ConsumeArgs),
    /// Detaches and frees what is pinned in a folder.
    Unpin {
        /// The folder.
        folder: PathBuf,
    },
    /// Shows the shared layouts as Rust, the C header and the BPF object see them.
    Layout {
        /// Prints one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Says what the kernel's verifier has to do for each program: loads them all, attaches none.
    Verifier {
        /// Which BPF object [default: the one that this kernel can run].
        #[arg(long, value_enum)]
        instructions: Option<InstructionsArg>,
        /// Prints one JSON array.
        #[arg(long)]
        json: bool,
    },
    #[command(name = WORKER, hide = true)]
    Worker { work: Work, folder: PathBuf, operations: Option<u64> },
    #[command(name = launch::TRAMPOLINE, hide = true)]
    Trampoline {
        program: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

#[derive(Args)]
struct RunArgs {
    /// The queue.
    #[arg(long, value_enum, default_value = "mpsc")]
    queue: QueueKind,
    /// Who produces: BPF programs, or threads of this process.
    #[arg(long, value_enum, default_value = "kernel")]
    backend: Backend,
    /// Where the events come from [default: the first that this kernel allows].
    #[arg(long, value_enum)]
    hook: Option<Hook>,
    /// How many elements the queue holds; for mpmc a power of two.
    #[arg(long, default_value_t = 1 << 18)]
    capacity: u64,
    /// How many elements the mpsc queue may grow to [default: it does not grow].
    #[arg(long, value_name = "N")]
    grow_to: Option<u64>,
    /// How many threads pop; the mpsc queue has one.
    #[arg(long, default_value_t = 1)]
    consumers: u32,
    /// Ends after so many seconds (or 500ms, 2m ...).
    #[arg(long, value_parser = seconds, conflicts_with = "events")]
    duration: Option<Duration>,
    /// Ends after so many events are consumed.
    #[arg(long)]
    events: Option<u64>,
    /// How many processes or threads the built-in workload has.
    #[arg(long, default_value_t = 4)]
    processes: u32,
    /// How many operations the built-in workload does in all [default: 100000, or no limit with --duration].
    #[arg(long)]
    operations: Option<u64>,
    /// Lets consumers begin so much later than producers.
    #[arg(long, value_parser = seconds, default_value = "0")]
    hold_back: Duration,
    /// Where the built-in workload creates its files [default: the folder for temporary files].
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Which BPF object [default: the one that this kernel can run].
    #[arg(long, value_enum)]
    instructions: Option<InstructionsArg>,
    /// The function of the hook uprobe, as BINARY:FUNCTION.
    #[arg(long)]
    uprobe: Option<UprobeTarget>,
    /// The number of the system call of the hook sys-enter [default: openat].
    #[arg(long, default_value_t = libc::SYS_openat, hide_default_value = true)]
    syscall: i64,
    /// Prints one JSON object at the end, and the command's output to standard error.
    #[arg(long)]
    json: bool,
    /// The command to trace, with its arguments.
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Args)]
struct PinArgs {
    /// The folder, which is made.
    folder: PathBuf,
    /// The queue.
    #[arg(long, value_enum, default_value = "mpsc")]
    queue: QueueKind,
    /// Where the events come from [default: the first that this kernel allows].
    #[arg(long, value_enum)]
    hook: Option<Hook>,
    /// How many elements the queue holds; for mpmc a power of two.
    #[arg(long, default_value_t = 1 << 18)]
    capacity: u64,
    /// A process to trace, with the children that it starts from now on; may be given several times.
    #[arg(long = "trace", value_name = "PID")]
    traced: Vec<u32>,
    /// For the hook uprobe: which function of which program.
    #[arg(long, value_name = "BINARY:FUNCTION")]
    uprobe: Option<UprobeTarget>,
    /// For the hook sys-enter: the number of the system call [default: that of openat].
    #[arg(long, default_value_t = libc::SYS_openat)]
    syscall: i64,
}

#[derive(Args)]
struct ConsumeArgs {
    /// The folder in which the queue is pinned.
    folder: PathBuf,
    /// Ends after so many events.
    #[arg(long)]
    events: Option<u64>,
    /// Ends after so many seconds (or 500ms, 2m ...).
    #[arg(long, value_parser = seconds)]
    duration: Option<Duration>,
    /// Ends when the queue is empty.
    #[arg(long)]
    until_empty: bool,
    /// Writes each event, as `KEY VALUE`, before it leaves the queue.
    #[arg(long)]
    print: bool,
    /// Prints the summary as one JSON object, to standard error if --print is given.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum InstructionsArg {
    /// load_acquire and store_release: Linux 6.15
    AcquireRelease,
    /// Ordinary loads and stores: only on x86-64 and s390x
    Tso,
    /// Fully ordered read-modify-writes: on every machine
    FullBarrier,
}

impl From<InstructionsArg> for Instructions {
    fn from(argument: InstructionsArg) -> Instructions {
        match argument {
            InstructionsArg::AcquireRelease => Instructions::AcquireRelease,
            InstructionsArg::Tso => Instructions::Tso,
            InstructionsArg::FullBarrier => Instructions::FullBarrier,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let plain = text.parse::<f64>().ok().map(Duration::try_from_secs_f64);
    match plain {
        Some(duration) => duration.map_err(|error| error.to_string()),
        None => humantime::parse_duration(text).map_err(|error| error.to_string()),
    }
}

impl RunArgs {
    fn options(self) -> Options {
        let unlimited = self.duration.is_some() || self.events.is_some();
        Options {
            backend: self.backend,
            queue: self.queue,
            hook: self.hook,
            capacity: self.capacity,
            grow_to: self.grow_to,
            consumers: self.consumers,
            duration: self.duration,
            events: self.events,
            processes: self.processes,
            operations: self.operations.or((!unlimited).then_some(100_000)),
            hold_back: self.hold_back,
            folder: self.folder.unwrap_or_else(std::env::temp_dir),
            instructions: self.instructions.map(Instructions::from),
            uprobe: self.uprobe,
            syscall: self.syscall,
            command: self.command,
            command_to_stderr: self.json,
        }
    }
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            let ours = error.downcast_ref::<Error>();
            match ours {
                // It says itself why.
                Some(error) => eprintln!("arenaq: {error}"),
                None => eprintln!("arenaq: {error:#}"),
            }
            ExitCode::from(ours.map_or(3, Error::exit_code))
        }
    }
}

/// Prints a result. Nobody who reads it, as behind `| head`, is no error.
fn say(text: &dyn Display) -> io::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Doctor { json } => {
            let report = doctor::examine();
            if json {
                say(&serde_json::to_string(&report)?)?;
            } else {
                say(&report)?;
            }
            Ok(if report.can_run { ExitCode::SUCCESS } else { ExitCode::from(3) })
        }
        Command::Run(arguments) => trace(arguments),
        Command::Pin(arguments) => pin(&arguments),
        Command::Consume(arguments) => consume(arguments),
        Command::Unpin { folder } => {
            pinned::unpin(&folder)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Layout { json } => {
            let rows = layout::table().map_err(anyhow::Error::msg)?;
            if json {
                say(&serde_json::to_string(&rows)?)?;
            } else {
                say(&layout::Table(&rows))?;
            }
            let agree = rows.iter().all(layout::Row::agrees);
            Ok(if agree { ExitCode::SUCCESS } else { ExitCode::from(NOT_ACCOUNTED) })
        }
        Command::Verifier { instructions, json } => {
            let costs = verifier::measure(instructions.map(Instructions::from))?;
            if json {
                say(&serde_json::to_string(&costs)?)?;
            } else {
                say(&verifier::Table(&costs))?;
            }
            let has_accepted = costs.iter().any(verifier::Cost::is_accepted);
            Ok(if has_accepted { ExitCode::SUCCESS } else { ExitCode::from(3) })
        }
        Command::Worker { work: kind, folder, operations } => {
            work(kind, &folder, operations).with_context(|| format!("worker in {}", folder.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Trampoline { program, command } => {
            let error = launch::trampoline(&program, &command);
            Err(Error::Command { command: program, reason: error.to_string() }.into())
        }
    }
}

fn pin(arguments: &PinArgs) -> anyhow::Result<ExitCode> {
    let hook = arguments.hook.map_or_else(|| Hook::default_for(&std::env::temp_dir()), Ok)?;
    let kernel = Kernel::load(&Config {
        queue: arguments.queue,
        hook,
        capacity: arguments.capacity,
        uprobe: arguments.uprobe.clone().unwrap_or_else(UprobeTarget::own_function),
        syscall: arguments.syscall,
        ..Config::default()
    })?;
    arguments.traced.iter().try_for_each(|&process| kernel.trace(process))?;
    kernel.attach()?;
    kernel.pin(&arguments.folder)?;
    Ok(ExitCode::SUCCESS)
}

fn consume(arguments: ConsumeArgs) -> anyhow::Result<ExitCode> {
    let interrupted = interruption()?;
    let ConsumeArgs { folder, events, duration, until_empty, print, json } = arguments;
    let options = attached::Options { folder, events, duration, until_empty };
    let hand_over = |event: KeyValue| {
        if print {
            emit(event);
        }
    };
    let consumed = attached::consume(&options, &interrupted, hand_over)?;
    let summary = if json { serde_json::to_string(&consumed)? } else { consumed.to_string() };
    if print {
        eprintln!("{summary}");
    } else {
        say(&summary)?;
    }
    Ok(if consumed.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NOT_ACCOUNTED) })
}

/// Writes an event that is still in the queue. If that fails the process ends here, as if it were killed: the
/// next consumer gets the event.
fn emit(event: KeyValue) {
    match writeln!(io::stdout(), "{} {}", event.key, event.value) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("arenaq: writing an event: {error}");
            std::process::exit(3);
        }
    }
}

/// Becomes true when somebody wants this process to end.
fn interruption() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second one does not wait for the summary.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&interrupted))?;
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}

fn trace(arguments: RunArgs) -> anyhow::Result<ExitCode> {
    let json = arguments.json;
    let interrupted = interruption()?;
    let options = arguments.options();
    let summary = run(&options, &interrupted)?;
    if json {
        say(&serde_json::to_string(&summary)?)?;
    } else {
        say(&summary)?;
    }
    if summary.produced == 0 {
        eprintln!("arenaq: the hook {} saw no event: does what ran pass there?", summary.hook);
    }
    if !summary.is_accounted() {
        return Ok(ExitCode::from(NOT_ACCOUNTED));
    }
    if let Some(status) = summary.command_status.filter(|&status| status != 0) {
        let command = options.command.join(" ");
        eprintln!("arenaq: the command `{command}` ended with status {status}; its events are accounted for");
        return Ok(ExitCode::from(COMMAND_FAILED));
    }
    Ok(ExitCode::SUCCESS)
}
