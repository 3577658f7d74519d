//! What can be written on the command line. The help, the completions and the manual come from these definitions.

use std::env;
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use arenaq_harness::load::Setting;
use arenaq_harness::run::{Backend, Options, parse_tasks};
use arenaq_harness::signals::Inherited;
use arenaq_harness::tracee::TRAMPOLINE;
use arenaq_harness::workload::{WORKER, Work};
use arenaq_harness::{Hook, Instructions, QueueKind, UprobeTarget, build, load};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use syscalls::Sysno;

#[derive(Parser)]
#[command(name = "arenaq", version, about, long_about = None, after_help = exit_codes())]
/// Lock-free queues shared by BPF programs and userspace: runs them on real events and accounts for every
/// one.
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// What was written on the command line.
    pub(crate) fn given() -> Cli {
        Cli::parse_from(as_clap_reads_it(env::args_os().collect()))
    }
}

/// clap has no short options of two letters, and `-MD` is what compilers call it.
fn as_clap_reads_it(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments.get(1).is_some_and(|command| command == "build") {
        for argument in arguments.iter_mut().filter(|argument| *argument == "-MD") {
            *argument = "--dependencies".into();
        }
    }
    arguments
}

/// Each exit code and what it means, as the table in README.md has them.
pub(crate) const EXIT_CODES: [(&str, &str); 7] = [
    ("0", "every event is accounted for, and what was asked for was done"),
    (
        "1",
        "an event is not accounted for, or a worker of the built-in workload did not do its part; for `layout`, the sides do not agree; \
         for `build`, the program does not compile",
    ),
    ("2", "wrong usage"),
    (
        "3",
        "refused by the kernel, or for lack of privileges; for `doctor`, `run` cannot work here; for `build`, there is no clang or LLVM, or libbpf cannot read what they make",
    ),
    ("4", "the command cannot be started: no such program, no right to run it, no interpreter"),
    ("5", "the command failed by itself; its events are accounted for"),
    ("128 + N", "signal N came twice: the second one ends at once, without a summary"),
];

fn exit_codes() -> String {
    let lines = EXIT_CODES.map(|(code, meaning)| format!("  {code:<8} {meaning}"));
    format!("Exit codes:\n{}", lines.join("\n"))
}

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
    /// Makes an object of a BPF program in C: with clang and LLVM, and without Rust.
    Build(BuildArgs),
    /// Loads an object, attaches its programs, and prints what they push, field by field.
    Load(LoadArgs),
    /// Shows what is in a pinned arena: queues, how full they are, who consumes, and what stands still.
    Stat(StatArgs),
    /// Detaches and frees what is pinned in a folder.
    Unpin {
        /// The folder.
        #[arg(value_hint = ValueHint::DirPath)]
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
    /// Prints the completions of commands and options for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Writes manual pages.
    Man {
        /// The folder, which is made if it is not there; below a `man1` in MANPATH, `man arenaq` finds them.
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
}

/// What this program starts itself as: no part of what is documented.
#[derive(Parser)]
pub(crate) enum Internal {
    #[command(name = WORKER)]
    Worker { report: RawFd, work: Work, folder: PathBuf, operations: Option<u64> },
    #[command(name = TRAMPOLINE)]
    Trampoline {
        report: RawFd,
        signals: Inherited,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

impl Internal {
    /// What this process was started as, if it was started by this program.
    pub(crate) fn given() -> Option<Internal> {
        let first = env::args_os().nth(1)?;
        (first == WORKER || first == TRAMPOLINE).then(Internal::parse)
    }
}

#[derive(Args)]
pub(crate) struct RunArgs {
    /// The queue.
    #[arg(long, value_enum, default_value = "mpsc")]
    pub(crate) queue: QueueArg,
    /// Who produces: BPF programs, or threads of this process.
    #[arg(long, value_enum, default_value = "kernel")]
    pub(crate) backend: Backend,
    /// Where the events come from [default: the first that this kernel allows].
    #[arg(long, value_enum)]
    pub(crate) hook: Option<Hook>,
    /// How many elements the queue holds, at first if it grows; for mpmc a power of two. Of records, how many bytes each
    /// processor has: a power of two [default: 262144; of records 1048576].
    #[arg(long, value_name = "N")]
    pub(crate) capacity: Option<u64>,
    /// How many elements the mpsc queue may grow to [default: it does not grow].
    #[arg(long, value_name = "N")]
    pub(crate) grow_to: Option<u64>,
    /// How many threads consume; the mpsc queue has one, and records have one for each processor at most.
    #[arg(long, default_value_t = 1, value_parser = parse_tasks, value_name = "N")]
    pub(crate) consumers: u32,
    /// Ends after so many seconds (or 500ms, 2m ...).
    #[arg(long, value_parser = seconds, conflicts_with = "events", value_name = "TIME")]
    pub(crate) duration: Option<Duration>,
    /// Ends after so many events are consumed.
    #[arg(long, value_name = "N")]
    pub(crate) events: Option<u64>,
    /// How many processes or threads the built-in workload has.
    #[arg(long, default_value_t = 4, value_parser = parse_tasks, value_name = "N")]
    pub(crate) processes: u32,
    /// How many operations the built-in workload does in all [default: 100000, or no limit with --duration or
    /// --events].
    #[arg(long, conflicts_with = "command", value_name = "N")]
    pub(crate) operations: Option<u64>,
    /// Lets consumers begin so much later than producers.
    #[arg(long, value_parser = seconds, default_value = "0", value_name = "TIME")]
    pub(crate) hold_back: Duration,
    /// Where the built-in workload creates its files [default: the folder for temporary files].
    #[arg(long, value_hint = ValueHint::DirPath)]
    pub(crate) folder: Option<PathBuf>,
    /// Which BPF object [default: the one that this kernel can run].
    #[arg(long, value_enum)]
    pub(crate) instructions: Option<InstructionsArg>,
    /// The function of the hooks uprobe and uprobe-sleepable [default: one of the built-in workload].
    #[arg(long, value_name = "BINARY:FUNCTION")]
    pub(crate) uprobe: Option<UprobeTarget>,
    /// The system call of the hook sys-enter, by its name or its number [default: openat].
    #[arg(long, value_parser = syscall, value_name = "CALL")]
    pub(crate) syscall: Option<i64>,
    /// Ends when the command does, and not when all has ended that it has started.
    #[arg(long, requires = "command")]
    pub(crate) no_wait: bool,
    /// Prints one JSON object at the end, and the command's output to standard error.
    #[arg(long)]
    pub(crate) json: bool,
    /// The command to trace, with its arguments.
    #[arg(last = true, value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args)]
pub(crate) struct PinArgs {
    /// The folder, which is made.
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) folder: PathBuf,
    /// The queue.
    #[arg(long, value_enum, default_value = "mpsc")]
    pub(crate) queue: QueueArg,
    /// Where the events come from [default: the first that this kernel allows].
    #[arg(long, value_enum)]
    pub(crate) hook: Option<Hook>,
    /// How many elements the queue holds; for mpmc a power of two. Of records, how many bytes each
    /// processor has: a power of two [default: 262144; of records 1048576].
    #[arg(long, value_name = "N")]
    pub(crate) capacity: Option<u64>,
    /// A process to trace, with all its threads and what it starts from now on; may be given several times.
    #[arg(long = "trace", value_name = "PID")]
    pub(crate) traced: Vec<u32>,
    /// For the hooks uprobe and uprobe-sleepable: which function of which program.
    #[arg(long, value_name = "BINARY:FUNCTION")]
    pub(crate) uprobe: Option<UprobeTarget>,
    /// For the hook sys-enter: the system call, by its name or its number [default: openat].
    #[arg(long, value_parser = syscall, value_name = "CALL")]
    pub(crate) syscall: Option<i64>,
    /// Prints one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct ConsumeArgs {
    /// The folder in which the queues are pinned: by `arenaq pin`, or by `arenaq load --pin`.
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) folder: PathBuf,
    /// Consumes from this queue only, of those that `arenaq load` has pinned; may be given several times.
    #[arg(long = "queue", value_name = "NAME")]
    pub(crate) queues: Vec<String>,
    /// Ends after so many events.
    #[arg(long, value_name = "N")]
    pub(crate) events: Option<u64>,
    /// Ends after so many seconds (or 500ms, 2m ...).
    #[arg(long, value_parser = seconds, value_name = "TIME")]
    pub(crate) duration: Option<Duration>,
    /// Ends when the queue is empty.
    #[arg(long)]
    pub(crate) until_empty: bool,
    /// Prints records in the order of their stamps, which are times of bpf_ktime_get_ns(), and not one processor's after another's.
    #[arg(long)]
    pub(crate) merged: bool,
    /// With --merged, how long records are kept back for those that come later with an earlier stamp; what comes later still is
    /// printed when it comes, and counted [default: 100ms].
    #[arg(long, value_name = "TIME", value_parser = seconds, requires = "merged")]
    pub(crate) lateness: Option<Duration>,
    /// Waits so long for the right to consume, if somebody else has it.
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "0")]
    pub(crate) wait: Duration,
    /// Writes each event of a queue of pairs, as `KEY VALUE`, before it leaves the queue. Elements of other types are always
    /// written, as `arenaq load` writes them.
    #[arg(long)]
    pub(crate) print: bool,
    /// Prints the summary as one JSON object, to standard error if --print is given.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct BuildArgs {
    /// The program, such as my.bpf.c. It includes arenaq.h and <bpf/bpf_helpers.h>, which need not be on this machine.
    #[arg(value_name = "PROGRAM", value_hint = ValueHint::FilePath)]
    pub(crate) program: PathBuf,
    /// Where the object goes [default: the program's name, with .o for .c, in the current folder].
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
    /// A folder in which clang looks for headers, such as your vmlinux.h; may be given several times.
    #[arg(short = 'I', long = "include", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) includes: Vec<PathBuf>,
    /// Defines a macro; may be given several times.
    #[arg(short = 'D', long = "define", value_name = "NAME[=VALUE]", value_parser = define)]
    pub(crate) defines: Vec<(String, Option<String>)>,
    /// Which object [default: all three in one file, for every kernel and machine].
    #[arg(long, value_enum)]
    pub(crate) instructions: Option<InstructionsArg>,
    /// Where the files go of which the object is made, as a rule for make. `-MD FILE` is the same.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) dependencies: Option<PathBuf>,
    /// Prints one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct LoadArgs {
    /// The object, such as my.bpf.o: `arenaq build` makes it.
    #[arg(value_name = "OBJECT", value_hint = ValueHint::FilePath)]
    pub(crate) object: PathBuf,
    /// Gives a `const volatile` variable of the program its value; {pid} stands for the command's process id. May be given
    /// several times.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    pub(crate) settings: Vec<Setting>,
    /// Prints from this queue only; may be given several times.
    #[arg(long = "queue", value_name = "NAME")]
    pub(crate) queues: Vec<String>,
    /// Makes a queue for so many elements, or records of so many bytes for each processor, whatever the program says; may be
    /// given several times.
    #[arg(long = "capacity", value_name = "NAME=N", value_parser = capacity)]
    pub(crate) capacities: Vec<(String, u64)>,
    /// Which of the objects in the file [default: the one that this kernel can run].
    #[arg(long, value_enum)]
    pub(crate) instructions: Option<InstructionsArg>,
    /// Ends after so many seconds (or 500ms, 2m ...).
    #[arg(long, value_parser = seconds, conflicts_with = "events", value_name = "TIME")]
    pub(crate) duration: Option<Duration>,
    /// Ends after so many elements.
    #[arg(long, value_name = "N")]
    pub(crate) events: Option<u64>,
    /// Pins queues and programs in a folder of a BPF file system, which is made, and ends; the programs go on.
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath,
          conflicts_with_all = ["duration", "events", "queues", "merged", "command"])]
    pub(crate) pin: Option<PathBuf>,
    /// Prints records in the order of their stamps, which are times of bpf_ktime_get_ns(), and not one processor's after another's.
    #[arg(long)]
    pub(crate) merged: bool,
    /// With --merged, how long records are kept back for those that come later with an earlier stamp; what comes later still is
    /// printed when it comes, and counted [default: 100ms].
    #[arg(long, value_name = "TIME", value_parser = seconds, requires = "merged")]
    pub(crate) lateness: Option<Duration>,
    /// Ends when the command does, and not when all has ended that it has started.
    #[arg(long, requires = "command")]
    pub(crate) no_wait: bool,
    /// Prints one JSON object for each element and one at the end, and the command's output to standard error.
    #[arg(long)]
    pub(crate) json: bool,
    /// What to run meanwhile, with its arguments: it starts when all is attached, and with its end this ends.
    #[arg(last = true, value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args)]
pub(crate) struct StatArgs {
    /// The folder in which the queues are pinned.
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) folder: PathBuf,
    /// Looks twice, shows what was seen, and ends; so it is where standard output is no terminal.
    #[arg(long)]
    pub(crate) once: bool,
    /// The time between two looks.
    #[arg(long, value_parser = seconds, default_value = "1", value_name = "TIME")]
    pub(crate) interval: Duration,
    /// Breaks lines after so many columns [default: as wide as the terminal is].
    #[arg(long, value_name = "COLUMNS")]
    pub(crate) width: Option<usize>,
    /// Prints one JSON object, and ends.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum QueueArg {
    /// A list of nodes from a pool: many producers, one consumer; it can grow
    Mpsc,
    /// A ring: many producers, many consumers
    Mpmc,
    /// Records of any size: rings for each processor, and a consumer for each at most
    Records,
}

impl QueueArg {
    /// What was asked for, or enough for a while.
    pub(crate) fn capacity(self, given: Option<u64>) -> u64 {
        given.unwrap_or(match self {
            QueueArg::Mpsc | QueueArg::Mpmc => 1 << 18,
            QueueArg::Records => 1 << 20,
        })
    }
}

impl From<QueueArg> for QueueKind {
    fn from(argument: QueueArg) -> QueueKind {
        match argument {
            QueueArg::Mpsc => QueueKind::Mpsc,
            QueueArg::Mpmc => QueueKind::Mpmc,
            QueueArg::Records => QueueKind::Records,
        }
    }
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

/// `NAME` or `NAME=VALUE`, as clang takes it.
fn define(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_name { Ok((name.to_owned(), value)) } else { Err("write it as NAME or NAME=VALUE".to_owned()) }
}

/// `NAME=VALUE`.
fn setting(text: &str) -> Result<Setting, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(Setting { name: name.to_owned(), value: value.to_owned() })
        }
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

/// How long records are kept back, if they are merged.
pub(crate) fn lateness(merged: bool, given: Option<Duration>) -> Option<Duration> {
    const USUAL: Duration = Duration::from_millis(100);
    merged.then(|| given.unwrap_or(USUAL))
}

/// `NAME=N`.
fn capacity(text: &str) -> Result<(String, u64), String> {
    let Setting { name, value } = setting(text).map_err(|_| "write it as NAME=N".to_owned())?;
    value
        .parse()
        .map(|capacity| (name, capacity))
        .map_err(|_| format!("{value} is no number of elements, or of bytes"))
}

/// The number of a system call of this machine.
fn syscall(text: &str) -> Result<i64, String> {
    if let Ok(known) = text.parse::<Sysno>() {
        return Ok(known.id().into());
    }
    text.parse::<u32>().map(i64::from).map_err(|_| {
        format!(
            "{} has no system call of this name: write it as its manual page does, or its number",
            env::consts::ARCH
        )
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let plain = text.parse::<f64>().ok().map(Duration::try_from_secs_f64);
    match plain {
        Some(duration) => duration.map_err(|error| error.to_string()),
        None => humantime::parse_duration(text).map_err(|error| error.to_string()),
    }
}

impl BuildArgs {
    pub(crate) fn options(self) -> build::Options {
        build::Options {
            program: self.program,
            output: self.output,
            includes: self.includes,
            defines: self.defines,
            instructions: self.instructions.map(Instructions::from),
            dependencies: self.dependencies,
        }
    }
}

impl LoadArgs {
    pub(crate) fn options(self) -> load::Options {
        load::Options {
            object: self.object,
            instructions: self.instructions.map(Instructions::from),
            settings: self.settings,
            queues: self.queues,
            lateness: lateness(self.merged, self.lateness),
            capacities: self.capacities,
            duration: self.duration,
            events: self.events,
            command: self.command,
            waits_for_all: !self.no_wait,
            command_to_stderr: self.json,
        }
    }
}

impl RunArgs {
    pub(crate) fn options(self) -> Options {
        let unlimited = self.duration.is_some() || self.events.is_some();
        Options {
            backend: self.backend,
            queue: self.queue.into(),
            hook: self.hook,
            capacity: self.queue.capacity(self.capacity),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arenaq_harness::Hook;
    use clap::builder::PossibleValue;
    use clap::{Arg, Command, CommandFactory};

    use super::{Cli, EXIT_CODES, as_clap_reads_it, define, syscall};

    const README: &str = include_str!("../../README.md");

    /// The cells of the rows of README's tables whose first cell begins so. A bar within a cell is escaped there.
    fn rows(begin: &str) -> Vec<Vec<String>> {
        let rows = README.lines().filter(|line| line.starts_with(&format!("| {begin}")));
        rows.map(|row| {
            let row = row.replace("\\|", "\u{0}");
            row.trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
        })
        .collect()
    }

    /// What stands between backticks.
    fn code(cell: &str) -> Vec<&str> {
        cell.split('`').skip(1).step_by(2).collect()
    }

    fn own_options(command: &Command) -> impl Iterator<Item = &Arg> {
        command.get_arguments().filter(|argument| !argument.is_positional() && argument.get_id() != "help")
    }

    /// An option as README writes it: `--queue mpsc|mpmc`, `--capacity N`, `--json`.
    fn written(option: &Arg) -> String {
        let name = format!("--{}", option.get_long().expect("every option has a name"));
        if !option.get_action().takes_values() {
            return name;
        }
        let values: Vec<String> =
            option.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        let value = match (values.len(), option.get_value_names()) {
            (1..=3, _) => values.join("|"),
            (_, Some(names)) => names[0].to_string(),
            (_, None) => String::new(),
        };
        format!("{name} {value}")
    }

    fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
        items.into_iter().collect()
    }

    #[test]
    fn readme_has_every_command() {
        let in_readme = rows("`arenaq ");
        let in_readme = in_readme.iter().filter_map(|row| code(&row[0])[0].split(' ').nth(1));
        let command = Cli::command();
        assert_eq!(sorted(in_readme), sorted(command.get_subcommands().map(Command::get_name)));
    }

    #[test]
    fn readme_has_every_option_of_every_command_with_its_values_and_its_default() {
        let command = Cli::command();
        let rows = rows("`--");
        let defined: Vec<(&str, &Arg)> = command
            .get_subcommands()
            .flat_map(|command| own_options(command).map(|option| (command.get_name(), option)))
            .collect();
        for (command, option) in defined.iter().filter(|(_, option)| option.get_id() != "json") {
            let written = written(option);
            let row = rows.iter().find(|row| code(&row[0]).contains(&written.as_str()));
            let row =
                row.unwrap_or_else(|| panic!("{command} takes {written}, and README has no row for it"));
            assert!(
                code(&row[1]).contains(command),
                "README does not say that {command} takes {written}: {row:?}"
            );
            let defaults: Vec<_> =
                option.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
            if option.get_action().takes_values() && !defaults.is_empty() {
                assert_eq!(code(&row[3]), defaults, "{command} {written}");
            }
        }
        for row in &rows {
            for option in code(&row[0]).into_iter().filter(|option| *option != "--json") {
                let takers = defined.iter().filter(|(_, argument)| written(argument) == option);
                assert_eq!(sorted(code(&row[1])), sorted(takers.map(|(command, _)| *command)), "{option}");
            }
        }
    }

    #[test]
    fn every_command_but_those_that_readme_names_takes_json() {
        let exceptions =
            README.lines().find_map(|line| line.strip_suffix(" take `--json`.")?.strip_prefix("All but "));
        let exceptions = sorted(code(exceptions.expect("README says which commands take --json")));
        for command in Cli::command().get_subcommands() {
            let takes_json = own_options(command).any(|option| option.get_id() == "json");
            assert_eq!(takes_json, !exceptions.contains(command.get_name()), "{}", command.get_name());
        }
    }

    #[test]
    fn readme_has_every_hook() {
        let hooks = sorted(Hook::ALL.map(Hook::name));
        let begin = README.find("| hook |").expect("README has a table of hooks");
        let table = README[begin..].lines().skip(2).take_while(|line| line.starts_with('|'));
        assert_eq!(sorted(table.map(|row| code(row)[0])), hooks);
        let command = Cli::command();
        for name in ["run", "pin"] {
            let command = command.find_subcommand(name).expect("it is a command");
            let option =
                own_options(command).find(|option| option.get_id() == "hook").expect("it takes a hook");
            let values = option.get_possible_values();
            assert_eq!(sorted(values.iter().map(PossibleValue::get_name)), hooks, "{name}");
        }
    }

    #[test]
    fn readme_has_every_exit_code() {
        let begin = README.find("| exit code |").expect("README has a table of exit codes");
        let table = README[begin..].lines().skip(2).take_while(|line| line.starts_with('|'));
        let table: Vec<(&str, &str)> = table
            .map(|row| row.trim_matches(['|', ' ']).split_once(" | ").expect("it has two columns"))
            .collect();
        assert_eq!(table, EXIT_CODES);
    }

    #[test]
    fn a_macro_is_a_name_with_or_without_a_value() {
        assert_eq!(define("A"), Ok(("A".to_owned(), None)));
        assert_eq!(define("A_1=b=c"), Ok(("A_1".to_owned(), Some("b=c".to_owned()))));
        assert_eq!(define("A="), Ok(("A".to_owned(), Some(String::new()))));
        for wrong in ["", "=1", "1A", "A B=1", "-A"] {
            assert!(define(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn dependencies_can_be_asked_for_as_compilers_are_asked() {
        let read = |words: &[&str]| as_clap_reads_it(words.iter().map(Into::into).collect());
        assert_eq!(read(&["arenaq", "build", "a.c", "-MD", "b"])[3], "--dependencies");
        let other = ["arenaq", "run", "--", "gcc", "-MD"];
        assert_eq!(read(&other), other, "that is somebody else's");
    }

    #[test]
    fn a_system_call_has_a_name_or_a_number() {
        assert_eq!(syscall("openat"), Ok(libc::SYS_openat));
        assert_eq!(syscall("pidfd_open"), Ok(libc::SYS_pidfd_open));
        assert_eq!(syscall("257"), Ok(257));
        for wrong in ["", "opnat", "-1", "99999999999", "OPENAT"] {
            assert!(syscall(wrong).is_err_and(|error| error.contains("its number")), "{wrong}");
        }
    }
}
