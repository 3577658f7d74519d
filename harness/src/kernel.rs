//! The kernel side at work: an object that is loaded, with queues in its arena and programs attached.

use std::ops::Deref;
use std::path::Path;

use arenaq::KeyValue;
use arenaq::status::Status;
use arenaq::structures::Kind;
use arenaq_libbpf::program::{self, UprobeTarget};
use arenaq_libbpf::{
    Cause, Globals, Instructions, Loaded, PAGE, QueueKind, Queues, Receiver, Refusal, choose, log, memory,
    pages_for, place_arena, require, try_load,
};
use bytemuck::bytes_of;
use libbpf_rs::{Link, ObjectBuilder, OpenObject};

use crate::clock::{self, Interrupt};
use crate::error::Error;
use crate::event::{PATTERN, RECORDS};
use crate::hook::Hook;
use crate::limits::require_memory;
use crate::object::{
    self, COUNTERS, Counters, Drive, Nesting, Pop, Settings, TRACED, Verify, counters, per_cpu,
};
use crate::queue::variable;
use crate::trace::trace;
use crate::uprobe;

/// What to load.
#[derive(Clone, Debug)]
pub struct Config {
    /// The queue that the programs push to.
    pub queue: Kind,
    /// Where the events come from.
    pub hook: Hook,
    /// How many elements the queue holds: for MPMC a power of two, for MPSC the nodes of the pool without the
    /// stub; of records, how many bytes each processor has.
    pub capacity: u64,
    /// How many elements the MPSC pool may be grown to later; at least `capacity`.
    pub limit: u64,
    /// By how many nodes a BPF program grows the MPSC pool if it finds none free; 0 for never. The hook's
    /// program must be one that may allocate ([`Hook::may_allocate`]).
    pub grow: u64,
    /// For tests: whether a clock interrupts the programs in the middle of their pushes, to push elements of
    /// its own. Their keys have [`CLOCK_KEY`](crate::CLOCK_KEY).
    pub nest: bool,
    /// Which object; `None` takes the one that this kernel can run.
    pub instructions: Option<Instructions>,
    /// The function of the hook `uprobe`.
    pub uprobe: UprobeTarget,
    /// The number of the system call of the hook `sys-enter`.
    pub syscall: i64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            queue: Kind::Mpsc,
            hook: Hook::Drive,
            capacity: 1 << 16,
            limit: 0,
            grow: 0,
            nest: false,
            instructions: None,
            uprobe: uprobe::own_function(),
            syscall: libc::SYS_openat,
        }
    }
}

/// The loaded programs of the harness, and their queue. The kernel objects live as long as this.
#[derive(Debug)]
pub struct Kernel {
    loaded: Loaded,
    queue: Kind,
    hook: Hook,
    instructions: Instructions,
    uprobe: UprobeTarget,
    nest: bool,
}

/// The program that marks what a traced task starts.
const FOLLOW: &str = "follow_fork";

impl Kernel {
    /// Loads the programs of a configuration and makes its queue. Nothing is attached yet.
    ///
    /// # Errors
    ///
    /// [`Error`] says what is refused, and by whom.
    pub fn load(config: &Config) -> Result<Kernel, Error> {
        require::bpf()?;
        let instructions = choose(config.instructions)?;
        let loaded = match QueueKind::of(config.queue) {
            Some(queue) => load_queue(config, queue, instructions),
            None => load_records(config, instructions),
        }?;
        Ok(Kernel {
            loaded,
            queue: config.queue,
            hook: config.hook,
            instructions,
            uprobe: config.uprobe.clone(),
            nest: config.nest,
        })
    }

    /// Which object was loaded.
    pub fn instructions(&self) -> Instructions {
        self.instructions
    }

    /// Which queue it has.
    pub fn queue(&self) -> Kind {
        self.queue
    }

    /// The consuming end of its queue; see [`Loaded::receiver`], and [`Loaded::records`] for that of records.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn receiver(&self) -> Result<Receiver<KeyValue>, arenaq_libbpf::Error> {
        self.loaded.receiver(variable(self.queue))
    }

    /// Marks a process as traced: all its threads, and every thread and process that they start from now on.
    /// The events of kernel threads that work for it, as those of io_uring do, are its events. For the id of a
    /// thread its process is traced. Returns the id of that process.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if there is no such process or /proc does not show it, [`Error::Hook`] or [`Error::Bpf`]
    /// if the kernel refuses.
    pub fn trace(&self, task: u32) -> Result<u32, Error> {
        let mut links = self.loaded.links();
        // Before the first mark: what the process starts from then on gets one.
        if links.is_empty() && self.hook != Hook::Drive {
            links.push(self.attach_program(FOLLOW)?);
        }
        drop(links);
        trace(&self.loaded.map(TRACED)?, task)
    }

    /// Attaches the hook, and what follows traced processes to what they start.
    ///
    /// # Errors
    ///
    /// [`Error::Hook`] if the kernel refuses; the hook is not attached then.
    pub fn attach(&self) -> Result<(), Error> {
        let mut links =
            if self.nest { clock::attach(self.loaded.object(), Interrupt::Timer)? } else { Vec::new() };
        let programs = if self.hook == Hook::Drive { &[][..] } else { &[FOLLOW, self.hook.program()] };
        for program in programs {
            links.push(self.attach_program(program)?);
        }
        // A link that `trace` has made goes only now: it is never so that no fork is followed.
        *self.loaded.links() = links;
        Ok(())
    }

    /// Pins the arena, the attached programs and what they count in `folder`; see [`Loaded::pin`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn pin(&self, folder: &Path) -> Result<(), Error> {
        Ok(self.loaded.pin(folder, &[COUNTERS, TRACED])?)
    }

    fn attach_program(&self, program: &str) -> Result<Link, Error> {
        program::attach(self.loaded.object(), program, &self.uprobe)
            .map_err(|reason| Error::Hook { hook: self.hook.name(), reason: format!("{program}: {reason}") })
    }

    /// Detaches everything, and waits until no program is in the middle of a push.
    ///
    /// # Errors
    ///
    /// [`Error`] if the counters cannot be read.
    pub fn detach(&self) -> Result<(), Error> {
        self.loaded.links().clear();
        // Programs that are not sleepable run in RCU read sections, and this waits for those. Where the
        // kernel does not know it, the wait below has to do.
        let _ = rustix::thread::membarrier(rustix::thread::MembarrierCommand::Global);
        let backoff = crossbeam_utils::Backoff::new();
        for _ in 0..1000 {
            if self.counters()?.in_flight() == 0 {
                return Ok(());
            }
            if backoff.is_completed() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            } else {
                backoff.snooze();
            }
        }
        Ok(())
    }

    /// The sum of all CPUs' counters.
    ///
    /// # Errors
    ///
    /// [`Error`] if the map cannot be read.
    pub fn counters(&self) -> Result<Counters, Error> {
        counters(&self.loaded.map(COUNTERS)?)
    }

    /// How often the clock of [`Config::nest`] has met a program in the middle of a push, and pushed.
    ///
    /// # Errors
    ///
    /// [`Error`] if the map cannot be read.
    pub fn nested(&self) -> Result<u64, Error> {
        let cpus = per_cpu::<Nesting>(&self.loaded.map("nesting")?)?;
        Ok(cpus.iter().map(|cpu| cpu.nested).sum())
    }

    /// Runs the hook `drive`: pushes up to `count` events with one key from the kernel, on this thread's CPU.
    /// Returns how many were pushed or dropped before the kernel ended the loop.
    ///
    /// # Errors
    ///
    /// [`Error`] if the program does not run.
    pub fn drive(&self, key: u64, count: u64) -> Result<u64, Error> {
        let mut arguments = Drive { key, count, done: 0 };
        program::run(self.loaded.object(), "drive", &mut arguments)?;
        Ok(arguments.done)
    }

    /// Pops one element of the MPMC queue in the kernel. `Err` is the status that the kernel's pop returned.
    ///
    /// # Errors
    ///
    /// [`Error`] if the program does not run.
    pub fn pop(&self) -> Result<Result<KeyValue, Status>, Error> {
        let mut result = Pop::default();
        program::run(self.loaded.object(), "pop", &mut result)?;
        match status(result.status)? {
            Status::Success => Ok(Ok(KeyValue { key: result.key, value: result.value })),
            error => Ok(Err(error)),
        }
    }

    /// What the kernel's own verification says of the queue, whose consumer rests.
    ///
    /// # Errors
    ///
    /// [`Error`] if the program does not run, and for records, of which the kernel has no verification.
    pub fn verify(&self) -> Result<Status, Error> {
        let mut result = Verify::default();
        program::run(self.loaded.object(), "verify", &mut result)?;
        status(if self.queue == Kind::Mpmc { result.mpmc } else { result.mpsc })
    }
}

/// Loads the object and makes a queue of pairs, whose variables the program `locate` finds.
fn load_queue(config: &Config, queue: QueueKind, instructions: Instructions) -> Result<Loaded, Error> {
    let pages = pages_for(queue, config.capacity, config.limit)?;
    require_memory(u64::from(pages) * PAGE)?;
    let object = try_load(|| open(config, instructions, pages))
        .map_err(|refusal| refused(refusal, config.hook, instructions))?;
    let mut globals = Globals::default();
    program::run(&object, "locate", &mut globals)?;
    // SAFETY: `locate` tells the addresses of these variables of its object, and it is the first program that ran.
    Ok(unsafe { Loaded::create(object, &globals, queue, config.capacity, config.limit) }?)
}

/// Loads the object and makes its records, which are declared as anybody's are.
fn load_records(config: &Config, instructions: Instructions) -> Result<Loaded, Error> {
    let (open, _) = log::capture(|| open(config, instructions, 1));
    let mut open = open.map_err(Error::bpf("opening the BPF object"))?;
    let mut queues = Queues::of(&open)?;
    queues.set_capacity(RECORDS, config.capacity)?;
    require_memory(u64::from(queues.pages()?) * PAGE)?;
    queues.prepare(&mut open)?;
    let object = try_load(|| Ok(open)).map_err(|refusal| refused(refusal, config.hook, instructions))?;
    Ok(Loaded::new(object, &queues)?)
}

fn refused(refusal: Refusal, hook: Hook, instructions: Instructions) -> Error {
    if refusal.cause() == Cause::Forbidden && hook != Hook::Drive {
        return Error::Hook { hook: hook.name(), reason: refusal.to_string() };
    }
    explain(refusal, hook, instructions)
}

/// What to do about a refusal of the harness's own programs: some of it can be done with the command's options.
fn explain(refusal: Refusal, hook: Hook, instructions: Instructions) -> Error {
    let advice = match refusal.cause() {
        Cause::Rejected => {
            "The verifier rejects the program. If it is one of arenaq's, try another object (`--instructions`), and \
             report it with the whole log."
                .to_owned()
        }
        Cause::NoMemory => {
            let left = memory::left().map_or_else(String::new, |left| format!(", which leaves {left} bytes"));
            format!(
                "Choose a smaller --capacity, or raise the limit: of the process's address space (`ulimit -v`), or of \
                 its control group's memory{left}."
            )
        }
        cause => cause.advice(),
    };
    let what = format!("loading the BPF programs for hook {hook} ({})", instructions.name());
    refusal.explain_with(what, advice).into()
}

/// The queue, its consumers, and where it can be pinned.
impl Deref for Kernel {
    type Target = Loaded;

    fn deref(&self) -> &Loaded {
        &self.loaded
    }
}

fn status(code: i64) -> Result<Status, Error> {
    let status = i32::try_from(code).ok().and_then(Status::from_code);
    status.ok_or_else(|| Error::Usage(format!("the kernel side returned {code}, which is no status")))
}

/// Opens the object, with the programs that a configuration needs chosen to be loaded.
pub(crate) fn open(config: &Config, instructions: Instructions, pages: u32) -> libbpf_rs::Result<OpenObject> {
    let mut open = ObjectBuilder::default().name("arenaq")?.open_memory(object::programs(instructions))?;
    let mut wanted = vec![config.hook.program()];
    if config.queue != Kind::Records {
        wanted.extend(["locate", "verify"]);
    }
    match (config.hook, config.queue) {
        (Hook::Drive, Kind::Mpmc) => wanted.push("pop"),
        (Hook::Drive, _) => {}
        _ => wanted.push(FOLLOW),
    }
    if config.nest {
        wanted.push("on_clock");
    }
    for mut program in open.progs_mut() {
        let load = wanted.iter().any(|name| program.name() == *name);
        program.set_autoload(load);
    }
    for mut map in open.maps_mut() {
        if map.name() == "arena" {
            map.set_max_entries(pages)?;
            place_arena(&mut map)?;
        } else if map.name().to_string_lossy().ends_with(".rodata.settings") {
            let settings = Settings {
                queue: config.queue.code(),
                syscall: config.syscall as u64,
                grow: config.grow,
                nest: config.nest.into(),
                never: 0,
            };
            map.set_initial_value(bytes_of(&settings))?;
        } else if map.name().to_string_lossy().ends_with(".data.pattern") {
            map.set_initial_value(bytes_of(&PATTERN))?;
        }
    }
    Ok(open)
}
