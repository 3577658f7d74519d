//! What can be written on the command line. The help, the completions and the manual come from these definitions.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use arenaq_harness::run::{Backend, Options, parse_tasks};
use arenaq_harness::signals::Inherited;
use arenaq_harness::tracee::TRAMPOLINE;
use arenaq_harness::workload::{WORKER, Work};
use arenaq_harness::{Hook, Instructions, QueueKind, UprobeTarget};
use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(name = "arenaq", version, about, long_about = None, after_help = AFTER_HELP)]
/// Lock-free queues shared by BPF programs and userspace: runs them on real events and accounts for every
/// one.
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "Exit codes: 0 all is accounted for; 1 something is not; 2 wrong usage; 3 refused by the kernel or for lack of \
                          privileges; 4 the command cannot be started; 5 the command failed.";

#[derive(Subcommand)]
pub(crate) enum Command {
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
        /// Prints one JSON object.
        #[arg(long)]
        json: bool,
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
    Worker { report: RawFd, work: Work, folder: PathBuf, operations: Option<u64> },
    #[command(name = TRAMPOLINE, hide = true)]
    Trampoline {
        report: RawFd,
        signals: Inherited,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

#[derive(Args)]
pub(crate) struct RunArgs {
    /// The queue.
    #[arg(long, value_enum, default_value = "mpsc")]
    pub(crate) queue: QueueKind,
    /// Who produces: BPF programs, or threads of this process.
    #[arg(long, value_enum, default_value = "kernel")]
    pub(crate) backend: Backend,
    /// Where the events come from [default: the first that this kernel allows].
    #[arg(long, value_enum)]
    pub(crate) hook: Option<Hook>,
    /// How many elements the queue holds; for mpmc a power of two.
    #[arg(long, default_value_t = 1 << 18)]
    pub(crate) capacity: u64,
    /// How many elements the mpsc queue may grow to [default: it does not grow].
    #[arg(long, value_name = "N")]
    pub(crate) grow_to: Option<u64>,
    /// How many threads pop; the mpsc queue has one.
    #[arg(long, default_value_t = 1, value_parser = parse_tasks)]
    pub(crate) consumers: u32,
    /// Ends after so many seconds (or 500ms, 2m ...).
    #[arg(long, value_parser = seconds, conflicts_with = "events")]
    pub(crate) duration: Option<Duration>,
    /// Ends after so many events are consumed.
    #[arg(long)]
    pub(crate) events: Option<u64>,
    /// How many processes or threads the built-in workload has.
    #[arg(long, default_value_t = 4, value_parser = parse_tasks)]
    pub(crate) processes: u32,
    /// How many operations the built-in workload does in all [default: 100000, or no limit with --duration].
    #[arg(long, conflicts_with = "command")]
    pub(crate) operations: Option<u64>,
    /// Lets consumers begin so much later than producers.
    #[arg(long, value_parser = seconds, default_value = "0")]
    pub(crate) hold_back: Duration,
    /// Where the built-in workload creates its files [default: the folder for temporary files].
    #[arg(long)]
    pub(crate) folder: Option<PathBuf>,
    /// Which BPF object [default: the one that this kernel can run].
    #[arg(long, value_enum)]
    pub(crate) instructions: Option<InstructionsArg>,
    /// The function of the hook uprobe, as BINARY:FUNCTION.
    #[arg(long)]
    pub(crate) uprobe: Option<UprobeTarget>,
    /// The number of the system call of the hook sys-enter [default: openat].
    #[arg(long, default_value_t = libc::SYS_openat, hide_default_value = true)]
    pub(crate) syscall: i64,
    /// Ends when the command does, and not when all has ended that it has started.
    #[arg(long, requires = "command")]
    pub(crate) no_wait: bool,
    /// Prints one JSON object at the end, and the command's output to standard error.
    #[arg(long)]
    pub(crate) json: bool,
    /// The command to trace, with its arguments.
    #[arg(last = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args)]
pub(crate) struct PinArgs {
    /// The folder, which is made.
    pub(crate) folder: PathBuf,
    /// The queue.
    #[arg(long, value_enum, default_value = "mpsc")]
    pub(crate) queue: QueueKind,
    /// Where the events come from [default: the first that this kernel allows].
    #[arg(long, value_enum)]
    pub(crate) hook: Option<Hook>,
    /// How many elements the queue holds; for mpmc a power of two.
    #[arg(long, default_value_t = 1 << 18)]
    pub(crate) capacity: u64,
    /// A process to trace, with all its threads and what it starts from now on; may be given several times.
    #[arg(long = "trace", value_name = "PID")]
    pub(crate) traced: Vec<u32>,
    /// For the hook uprobe: which function of which program.
    #[arg(long, value_name = "BINARY:FUNCTION")]
    pub(crate) uprobe: Option<UprobeTarget>,
    /// For the hook sys-enter: the number of the system call [default: that of openat].
    #[arg(long, default_value_t = libc::SYS_openat)]
    pub(crate) syscall: i64,
    /// Prints one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct ConsumeArgs {
    /// The folder in which the queue is pinned.
    pub(crate) folder: PathBuf,
    /// Ends after so many events.
    #[arg(long)]
    pub(crate) events: Option<u64>,
    /// Ends after so many seconds (or 500ms, 2m ...).
    #[arg(long, value_parser = seconds)]
    pub(crate) duration: Option<Duration>,
    /// Ends when the queue is empty.
    #[arg(long)]
    pub(crate) until_empty: bool,
    /// Waits so long for the right to consume, if somebody else has it.
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "0")]
    pub(crate) wait: Duration,
    /// Writes each event, as `KEY VALUE`, before it leaves the queue.
    #[arg(long)]
    pub(crate) print: bool,
    /// Prints the summary as one JSON object, to standard error if --print is given.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum InstructionsArg {
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
    pub(crate) fn options(self) -> Options {
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
            folder: self.folder,
            instructions: self.instructions.map(Instructions::from),
            uprobe: self.uprobe,
            syscall: self.syscall,
            command: self.command,
            waits_for_all: !self.no_wait,
            command_to_stderr: self.json,
        }
    }
}
