//! The `arenaq` command.

// They panic if nobody can be told.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cli;
mod documents;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use arenaq::KeyValue;
use arenaq_harness::attached::elements;
use arenaq_harness::pinned::{Unpinned, unpin};
use arenaq_harness::printer::{Format, Printer};
use arenaq_harness::report::Report;
use arenaq_harness::run::run;
use arenaq_harness::stat::Watch;
use arenaq_harness::tracee::trampoline;
use arenaq_harness::workload::work;
use arenaq_harness::{
    Config, Error, Hook, Instructions, Kernel, QueueKind, Screen, attached, build, called, doctor, layout,
    load, signals, tell::tell, uprobe, verifier,
};
use serde::Serialize;

use crate::cli::{
    BuildArgs, Cli, Command, ConsumeArgs, Internal, LoadArgs, PinArgs, RunArgs, StatArgs, lateness,
};

/// Exit codes beyond those of `Error::exit_code`.
const NOT_ACCOUNTED: u8 = 1;
const COMMAND_FAILED: u8 = 5;
/// As a shell says it of a process that SIGINT has ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let done = signals::settle().context("setting up signals").and_then(|()| match Internal::given() {
        Some(internal) => internal_command(internal),
        None => dispatch(Cli::given().command),
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            let library = |error: anyhow::Error| error.downcast::<arenaq_libbpf::Error>().map(Error::from);
            match error.downcast::<Error>().or_else(library) {
                Ok(error) => {
                    // It says itself why.
                    tell(&error);
                    ExitCode::from(error.exit_code())
                }
                Err(error) => {
                    tell(format_args!("{error:#}"));
                    ExitCode::from(3)
                }
            }
        }
    }
}

/// Prints a result.
fn say(text: &dyn Display) -> anyhow::Result<()> {
    unless_nobody_reads(writeln!(io::stdout(), "{text}"))
}

/// Nobody who reads what is printed, as behind `| head`, is no error.
fn unless_nobody_reads(printed: io::Result<()>) -> anyhow::Result<()> {
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("writing the result to standard output"),
    }
}

/// Prints a result where standard output is somebody else's.
fn say_aside(text: &dyn Display) -> anyhow::Result<()> {
    writeln!(io::stderr(), "{text}").context("writing the result to standard error")
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    let screen = Screen::of(&io::stdout());
    match command {
        Command::Doctor { json } => {
            let report = doctor::examine();
            if json {
                say(&serde_json::to_string(&report)?)?;
            } else {
                say(&report.on(screen))?;
            }
            Ok(if report.can_run { ExitCode::SUCCESS } else { ExitCode::from(3) })
        }
        Command::Run(arguments) => trace(arguments),
        Command::Pin(arguments) => pin(&arguments),
        Command::Consume(arguments) => consume(arguments),
        Command::Stat(arguments) => stat(&arguments),
        Command::Build(arguments) => make(arguments),
        Command::Load(arguments) => load_object(arguments),
        Command::Unpin { folder, json } => {
            let unpinned = unpin(&folder)?;
            if json {
                say(&serde_json::to_string(&Removal::from(&unpinned))?)?;
            } else {
                say(&unpinned)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Layout { json } => {
            let rows = layout::table().map_err(anyhow::Error::msg)?;
            if json {
                say(&serde_json::to_string(&rows)?)?;
            } else {
                say(&layout::text(&rows, screen))?;
            }
            let agree = rows.iter().all(layout::Row::agrees);
            Ok(if agree { ExitCode::SUCCESS } else { ExitCode::from(NOT_ACCOUNTED) })
        }
        Command::Verifier { instructions, json } => {
            let costs = verifier::measure(instructions.map(Instructions::from))?;
            if json {
                say(&serde_json::to_string(&costs)?)?;
            } else {
                say(&verifier::table(&costs, screen))?;
            }
            let has_accepted = costs.iter().any(verifier::Cost::is_accepted);
            Ok(if has_accepted { ExitCode::SUCCESS } else { ExitCode::from(3) })
        }
        Command::Completions { shell } => {
            unless_nobody_reads(documents::completions(shell, &mut io::stdout()))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man { folder } => {
            documents::manual(&folder)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn internal_command(internal: Internal) -> anyhow::Result<ExitCode> {
    match internal {
        Internal::Worker { report, work: kind, folder, operations } => {
            let is_done = work(Report::inherited(report)?, kind, &folder, operations);
            Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Internal::Trampoline { report, signals, program, command } => {
            trampoline(Report::inherited(report)?, signals, &program, &command);
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What `unpin` has taken away, as JSON.
#[derive(Serialize)]
struct Removal<'a> {
    folder: &'a Path,
    removed: &'a [String],
}

impl<'a> From<&'a Unpinned> for Removal<'a> {
    fn from(unpinned: &'a Unpinned) -> Removal<'a> {
        Removal { folder: &unpinned.folder, removed: &unpinned.removed }
    }
}

/// What would make a queue into which nothing ever comes.
fn check_pin(arguments: &PinArgs) -> Result<(), Error> {
    Hook::check_target(arguments.hook, arguments.uprobe.as_ref(), arguments.syscall)?;
    let reason = match arguments.hook {
        Some(Hook::Drive) => {
            "--hook drive pushes only while the process that loaded it asks for it: choose another hook"
        }
        Some(Hook::Uprobe | Hook::UprobeSleepable) if arguments.uprobe.is_none() => {
            "a pinned uprobe needs --uprobe BINARY:FUNCTION, a function that the traced processes call"
        }
        _ => return Ok(()),
    };
    Err(Error::Usage(reason.to_owned()))
}

fn pin(arguments: &PinArgs) -> anyhow::Result<ExitCode> {
    check_pin(arguments)?;
    let hook = arguments.hook.map_or_else(|| Hook::default_for(&std::env::temp_dir()), Ok)?;
    let kernel = Kernel::load(&Config {
        queue: arguments.queue.into(),
        hook,
        capacity: arguments.queue.capacity(arguments.capacity),
        uprobe: arguments.uprobe.clone().unwrap_or_else(uprobe::own_function),
        syscall: arguments.syscall.unwrap_or(libc::SYS_openat),
        ..Config::default()
    })?;
    for &task in &arguments.traced {
        let process = kernel.trace(task)?;
        if process != task {
            tell(format_args!("{task} is a thread of process {process}: the whole process is traced"));
        }
    }
    kernel.attach()?;
    kernel.pin(&arguments.folder)?;
    let PinArgs { folder, traced, json, .. } = arguments;
    let capacity = arguments.queue.capacity(arguments.capacity);
    let (shown, queue, hook) = (folder.display().to_string(), kernel.queue(), hook.name());
    let said = if *json {
        let instructions = kernel.instructions().name();
        say(&serde_json::json!({
            "folder": shown, "queue": called(queue), "hook": hook, "capacity": capacity, "traced": traced,
            "instructions": instructions,
        }))
    } else {
        let what = if queue == QueueKind::Records {
            format!("records of {capacity} bytes a processor")
        } else {
            format!("{queue} queue of {capacity}")
        };
        say(&format_args!("{shown}: {what}, hook {hook}"))
    };
    if let Err(error) = said {
        // Who hears of a failure expects that nothing is pinned.
        unpin(folder)?;
        return Err(error);
    }
    Ok(ExitCode::SUCCESS)
}

fn make(arguments: BuildArgs) -> anyhow::Result<ExitCode> {
    let json = arguments.json;
    // clang gets the signal too, and what is half made is removed.
    let interrupted = interruption()?;
    let built = match build::build(&arguments.options()) {
        Err(_) if interrupted.load(Ordering::Relaxed) => return Ok(ExitCode::from(INTERRUPTED)),
        built => built?,
    };
    if let Some(warning) = &built.warning {
        tell(format_args!("{}: {warning}", built.object.display()));
    }
    if json {
        say(&serde_json::to_string(&built)?)?;
    } else {
        say(&built)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn load_object(mut arguments: LoadArgs) -> anyhow::Result<ExitCode> {
    let (json, pin) = (arguments.json, arguments.pin.take());
    let options = arguments.options();
    if let Some(folder) = pin {
        return pin_object(&options, &folder, json);
    }
    let interrupted = interruption()?;
    let mut printer = match (json, options.command.is_empty()) {
        (true, _) => Printer::new(Format::Json, io::stdout()),
        (false, true) => Printer::new(Format::Table(Screen::of(&io::stdout())), io::stdout()),
        // Standard output is the command's.
        (false, false) => Printer::new(Format::Table(Screen::of(&io::stderr())), io::stderr()),
    };
    let summary = load::load(&options, &interrupted, &mut printer)?;
    if json {
        printer.say(&serde_json::to_string(&summary)?)?;
    } else {
        summary.account.iter().try_for_each(|account| printer.say(account))?;
    }
    if summary.account.iter().any(|account| account.inexact) {
        return Ok(ExitCode::from(NOT_ACCOUNTED));
    }
    let status = summary.command_status.filter(|&status| status != 0 && !summary.command_cut_short);
    Ok(status.map_or(ExitCode::SUCCESS, |status| command_failed(&options.command, status)))
}

fn pin_object(options: &load::Options, folder: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let queues = load::pin(options, folder)?;
    let shown = folder.display().to_string();
    let said = if json {
        say(&serde_json::json!({ "folder": shown, "queues": queues }))
    } else {
        say(&format_args!("{shown}: {}", queues.join(", ")))
    };
    if let Err(error) = said {
        // Who hears of a failure expects that nothing is pinned.
        unpin(folder)?;
        return Err(error);
    }
    Ok(ExitCode::SUCCESS)
}

/// Says that a command has failed by itself.
fn command_failed(command: &[OsString], status: i32) -> ExitCode {
    let command: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    let command = command.join(" ");
    tell(format_args!("the command `{command}` ended with status {status}; its events are accounted for"));
    ExitCode::from(COMMAND_FAILED)
}

fn stat(arguments: &StatArgs) -> anyhow::Result<ExitCode> {
    let interrupted = interruption()?;
    let screen = Screen::of(&io::stdout());
    let screen = arguments.width.map_or(screen, |columns| screen.with_columns(columns));
    let mut watch = Watch::new(&arguments.folder)?;
    let mut report = watch.look()?;
    let is_live = io::stdout().is_terminal() && !arguments.once && !arguments.json;
    loop {
        if is_live {
            // From the first place of a terminal that is empty.
            say(&format_args!("\x1b[H\x1b[J{}", report.on(screen)))?;
        }
        signals::sleep_unless(&interrupted, arguments.interval);
        if interrupted.load(Ordering::Relaxed) || report.removed && is_live {
            return Ok(ExitCode::SUCCESS);
        }
        report = watch.look()?;
        if !is_live {
            break;
        }
    }
    if arguments.json {
        say(&serde_json::to_string(&report)?)?;
    } else {
        say(&report.on(screen))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn consume(arguments: ConsumeArgs) -> anyhow::Result<ExitCode> {
    let interrupted = interruption()?;
    if !elements::carries_pairs(&arguments.folder)? {
        return consume_elements(arguments, &interrupted);
    }
    let ConsumeArgs { folder, events, duration, until_empty, wait, print, json, queues, merged, .. } =
        arguments;
    if merged {
        return Err(Error::Usage(
            "--merged: there are no records here, only a queue, which has one order".to_owned(),
        )
        .into());
    }
    if let Some(queue) = queues.first() {
        let reason = format!("--queue {queue}: `arenaq pin` has pinned one queue only, so leave it out");
        return Err(Error::Usage(reason).into());
    }
    let options = attached::Options { folder, events, duration, until_empty, wait };
    let hand_over = |event: KeyValue| {
        if print {
            emit(event);
        }
    };
    let consumed = attached::consume(&options, &interrupted, hand_over)?;
    let summary = if json { serde_json::to_string(&consumed)? } else { consumed.to_string() };
    if print {
        say_aside(&summary)?;
    } else {
        say(&summary)?;
    }
    Ok(if consumed.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NOT_ACCOUNTED) })
}

/// The last line of JSON.
#[derive(Serialize)]
struct Accounts<'a> {
    account: &'a [elements::Account],
}

/// The same for elements of any type.
fn consume_elements(arguments: ConsumeArgs, interrupted: &AtomicBool) -> anyhow::Result<ExitCode> {
    let lateness = lateness(arguments.merged, arguments.lateness);
    let ConsumeArgs { folder, events, duration, until_empty, wait, json, queues, .. } = arguments;
    let options = elements::Options { folder, queues, lateness, events, duration, until_empty, wait };
    let format = if json { Format::Json } else { Format::Table(Screen::of(&io::stdout())) };
    let mut printer = Printer::new(format, io::stdout()).or_end(cannot_emit);
    let account = elements::consume(&options, interrupted, &mut printer)?;
    if json {
        printer.say(&serde_json::to_string(&Accounts { account: &account })?)?;
    } else {
        account.iter().try_for_each(|account| printer.say(account))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes an event that is still in the queue. If that fails the process ends here, as if it were killed: the
/// next consumer gets the event.
fn emit(event: KeyValue) {
    if let Err(error) = writeln!(io::stdout(), "{} {}", event.key, event.value) {
        cannot_emit(&error);
    }
}

/// Ends the process.
fn cannot_emit(error: &io::Error) -> ! {
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    tell(format_args!("writing an event: {error}"));
    std::process::exit(3);
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
    } else if options.command.is_empty() {
        say(&summary.on(Screen::of(&io::stdout())))?;
    } else {
        // Standard output is the command's.
        say_aside(&summary.on(Screen::of(&io::stderr())))?;
    }
    if !summary.is_accounted() {
        return Ok(ExitCode::from(NOT_ACCOUNTED));
    }
    if summary.produced == 0 {
        tell(format_args!("the hook {} saw no event: does what ran pass there?", summary.hook));
    }
    if let Some(status) = summary.command_status.filter(|&status| status != 0 && !summary.command_cut_short) {
        return Ok(command_failed(&options.command, status));
    }
    Ok(ExitCode::SUCCESS)
}
