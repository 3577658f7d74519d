//! Loads any object with queues, attaches its programs, and hands every element to a printer.

mod attach;
mod set;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arenaq::structures::{Consumers, Kind};
use arenaq_libbpf::{Declared, Instructions, Loaded, Queues, Refusal, log, require, select};
use libbpf_rs::{ObjectBuilder, OpenObject};

use self::attach::{attach, detach};
pub use self::set::Setting;
use crate::element::{self, Shape};
use crate::error::Error;
use crate::printer::{Printer, Stream};
use crate::taps::{Account, Supply, Tap, Taps};
use crate::tracee::{self, Outcome, Tracee};

/// What to load, and how long.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The object.
    pub object: PathBuf,
    /// Which of the objects in it.
    pub instructions: Option<Instructions>,
    /// The program's variables that get another value.
    pub settings: Vec<Setting>,
    /// The queues to print from; all of them if there is none.
    pub queues: Vec<String>,
    /// Queues with another capacity than the program says; of records, in bytes for each processor.
    pub capacities: Vec<(String, u64)>,
    /// Merge records by their stamps, and keep them back so long.
    pub lateness: Option<Duration>,
    /// End after so long.
    pub duration: Option<Duration>,
    /// End after so many elements.
    pub events: Option<u64>,
    /// What to run meanwhile.
    pub command: Vec<OsString>,
    /// Whether to wait for everything that the command has started.
    pub waits_for_all: bool,
    /// Whether standard output is somebody else's than the command's.
    pub command_to_stderr: bool,
}

/// What happened.
#[derive(Debug, serde::Serialize)]
pub struct Summary {
    /// The queues, each with what became of its elements.
    pub account: Vec<Account>,
    /// Which object was loaded, if the file says so.
    pub instructions: Option<&'static str>,
    /// As a shell reports it.
    pub command_status: Option<i32>,
    /// Whether the command was ended with the run.
    pub command_cut_short: bool,
}

/// Loads, attaches, and prints until the command has ended, a limit is reached, nobody reads any more, or `interrupted`
/// becomes true. Then nothing is attached any more, and what was left in the queues is printed.
///
/// # Errors
///
/// [`Error`] says what to do. Nothing is attached then, and the command has not begun.
pub fn load(options: &Options, interrupted: &AtomicBool, printer: &mut Printer) -> Result<Summary, Error> {
    if !options.command.is_empty() {
        tracee::find(&options.command)?;
    }
    let prepared = Prepared::new(options)?;
    let mut command = start_command(options)?;
    let (loaded, mut taps) = prepared.load(options, command.as_ref().map(Tracee::id))?;
    attach(&loaded)?;
    if let Some(command) = &command {
        command.go()?;
    }

    follow(options, interrupted, command.as_mut(), &mut taps, printer)?;
    let ended = command.as_mut().map(Tracee::finish).transpose()?;
    detach(&loaded);
    taps.finish(options.events, printer)?;
    Ok(Summary {
        account: taps.account(&loaded.arena()?),
        instructions: prepared.instructions.map(Instructions::name),
        command_status: ended.as_ref().and_then(Outcome::exit_code),
        command_cut_short: ended.is_some_and(|ended| {
            ended.cut_short || interrupted.load(Ordering::Relaxed) && ended.was_ended_by_a_signal()
        }),
    })
}

/// Loads, attaches and pins; the programs go on. Returns the names of the queues.
///
/// # Errors
///
/// As [`load`]; nothing is pinned then.
pub fn pin(options: &Options, folder: &Path) -> Result<Vec<String>, Error> {
    let prepared = Prepared::new(options)?;
    let (loaded, taps) = prepared.load(options, None)?;
    let names = taps.names();
    // Whoever consumes from here on has the lock on the folder.
    drop(taps);
    attach(&loaded)?;
    loaded.pin(folder, &[])?;
    Ok(names)
}

/// An object that was read and looked at.
struct Prepared {
    file: Vec<u8>,
    name: String,
    instructions: Option<Instructions>,
}

impl Prepared {
    fn new(options: &Options) -> Result<Prepared, Error> {
        let path = &options.object;
        let file = fs::read(path).map_err(|error| {
            Error::Usage(format!(
                "{}: {error}. Give the object that `arenaq build` has made, such as my.bpf.o",
                path.display()
            ))
        })?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.split('.').next().unwrap_or_default().to_owned();
        let mut prepared = Prepared { file, name, instructions: None };
        require::bpf()?;
        prepared.instructions = select(&prepared.file, options.instructions)?.instructions;
        // What the user can put right comes before the command is started.
        let open = prepared.open()?;
        let mut queues = Queues::of(&open)?;
        choose_capacities(&mut queues, &options.capacities)?;
        named(&queues, &options.queues)?;
        Ok(prepared)
    }

    /// The object for this kernel.
    fn open(&self) -> Result<OpenObject, Error> {
        let object = select(&self.file, self.instructions)?.object;
        let (open, messages) =
            log::capture(|| ObjectBuilder::default().name(&self.name)?.open_memory(object));
        Ok(open.map_err(|error| Refusal::new(&error, messages).explain("reading the object"))?)
    }

    fn load(&self, options: &Options, command: Option<u32>) -> Result<(Loaded, Taps), Error> {
        let mut open = self.open()?;
        let mut queues = Queues::of(&open)?;
        choose_capacities(&mut queues, &options.capacities)?;
        set::apply(&mut open, &options.settings, command)?;
        let wanted = named(&queues, &options.queues)?;
        let shapes: Vec<_> = {
            let btf = element::btf(&open)?;
            let shape = |(queue, _): &(&Declared, bool)| match queue.kind.consumers() {
                Consumers::OfShards => Some(element::record(&btf, queue.name.as_str())),
                Consumers::One | Consumers::WithSlots => element::element(&btf, queue.name.as_str()),
            };
            wanted.iter().map(shape).collect()
        };
        let loaded = Loaded::new(queues.load(open)?, &queues)?;
        let mut taps = Vec::with_capacity(wanted.len());
        for ((queue, is_shown), shape) in wanted.into_iter().zip(shapes) {
            let name = queue.name.as_str();
            let tap = if queue.kind == Kind::Records {
                let stream = Stream::of_records(name.to_owned(), shape.unwrap_or(Shape::Unknown));
                let supply = Supply::of_records(loaded.records(name)?, options.lateness)?;
                Tap::new(stream, queue.capacity, supply, 0)
            } else {
                let receiver = loaded.receiver_bytes(name)?;
                let shape = shape.unwrap_or(Shape::Opaque { size: receiver.element_size() });
                Tap::new(Stream::new(name.to_owned(), shape), queue.capacity, receiver, 0)
            };
            taps.push(tap.shown_if(is_shown));
        }
        let taps = Taps::new(taps);
        taps.check_merged(options.lateness)?;
        Ok((loaded, taps))
    }
}

fn choose_capacities(queues: &mut Queues, capacities: &[(String, u64)]) -> Result<(), Error> {
    capacities.iter().try_for_each(|(name, capacity)| Ok(queues.set_capacity(name, *capacity)?))
}

/// All queues, and whether each is wanted. The name of an array means all its queues.
fn named<'q>(queues: &'q Queues, wanted: &[String]) -> Result<Vec<(&'q Declared, bool)>, Error> {
    let is_called = |queue: &Declared, wanted: &str| {
        let rest = queue.name.as_str().strip_prefix(wanted);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
    };
    for wanted in wanted {
        if !queues.iter().any(|queue| is_called(queue, wanted)) {
            let names: Vec<_> = queues.iter().map(|queue| queue.name.to_string()).collect();
            let names = names.join(", ");
            return Err(Error::Usage(format!(
                "--queue {wanted}: the object has no such queue. It has: {names}"
            )));
        }
    }
    let is_wanted =
        |queue: &Declared| wanted.is_empty() || wanted.iter().any(|wanted| is_called(queue, wanted));
    Ok(queues.iter().map(|queue| (queue, is_wanted(queue))).collect())
}

fn start_command(options: &Options) -> Result<Option<Tracee>, Error> {
    if options.command.is_empty() {
        return Ok(None);
    }
    let stdout = if options.command_to_stderr { Stdio::from(std::io::stderr()) } else { Stdio::inherit() };
    Tracee::start(&options.command, stdout, options.waits_for_all).map(Some)
}

/// How often it is looked whether the end has come.
const LOOK: Duration = Duration::from_millis(20);

fn follow(
    options: &Options,
    interrupted: &AtomicBool,
    mut command: Option<&mut Tracee>,
    taps: &mut Taps,
    printer: &mut Printer,
) -> Result<(), Error> {
    let begin = Instant::now();
    let mut looked = begin;
    loop {
        let found = taps.take(options.events, printer)?;
        if printer.is_gone() || taps.has_reached(options.events) {
            return Ok(());
        }
        if found && looked.elapsed() < LOOK {
            continue;
        }
        looked = Instant::now();
        let is_over = interrupted.load(Ordering::Relaxed)
            || options.duration.is_some_and(|duration| begin.elapsed() >= duration)
            || command.as_mut().is_some_and(|command| command.is_done());
        if is_over {
            return Ok(());
        }
        if !found {
            printer.flush()?;
            taps.sleep(LOOK)?;
        }
    }
}
