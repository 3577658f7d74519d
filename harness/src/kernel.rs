//! The kernel side at work: an object that is loaded, with queues in its arena and programs attached.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use arenaq::KeyValue;
use arenaq::arena::{Arena, Places, Region};
use arenaq::pool::{MAX_ELEMENTS, nodes_for};
use arenaq::status::Status;
use bytemuck::{Pod, bytes_of, bytes_of_mut, pod_read_unaligned};
use libbpf_rs::{Link, MapCore, MapFlags, Object, ObjectBuilder, OpenObject, ProgramInput};
use procfs::FromBufRead;
use procfs::process::MemoryMaps;

use crate::clock;
use crate::doorbell::Doorbell;
use crate::error::Error;
use crate::hook::{self, Hook, UprobeTarget};
use crate::instructions;
use crate::object::{self, Counters, Drive, Instructions, Nesting, Pop, Settings, Verify};
use crate::pinned::{Ends, Tally, require_same_process};
use crate::receiver::Receiver;
use crate::refusal;
use crate::require;
use crate::trace::trace;

/// Which of the two queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum QueueKind {
    /// A list of nodes from a pool: many producers, one consumer; it can grow.
    Mpsc,
    /// A ring: many producers, many consumers.
    Mpmc,
}

impl QueueKind {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            QueueKind::Mpsc => "mpsc",
            QueueKind::Mpmc => "mpmc",
        }
    }
}

/// What to load.
#[derive(Clone, Debug)]
pub struct Config {
    /// The queue that the programs push to.
    pub queue: QueueKind,
    /// Where the events come from.
    pub hook: Hook,
    /// How many elements the queue holds: for MPMC a power of two, for MPSC the nodes of the pool without the
    /// stub.
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
            queue: QueueKind::Mpsc,
            hook: Hook::Drive,
            capacity: 1 << 16,
            limit: 0,
            grow: 0,
            nest: false,
            instructions: None,
            uprobe: UprobeTarget::own_function(),
            syscall: libc::SYS_openat,
        }
    }
}

/// A loaded object. The kernel objects live as long as this.
#[derive(Debug)]
pub struct Kernel {
    // Dropped in this order: first nothing pushes any more, then the maps go.
    links: Mutex<Vec<Link>>,
    object: Object,
    /// The addresses of the mapping and of the header in it.
    pub(crate) base: usize,
    pub(crate) length: usize,
    pub(crate) header: usize,
    hook: Hook,
    pub(crate) queue: QueueKind,
    instructions: Instructions,
    uprobe: UprobeTarget,
    nest: bool,
    /// Who consumes, and what was consumed.
    pub(crate) ends: Ends,
    tally: OnceLock<Tally>,
    /// A fork has no arena.
    process: u32,
}

pub(crate) const PAGE: u64 = 4096;
/// The largest arena: pointers into it differ in their low 32 bits only.
const LARGEST_ARENA: u64 = 1 << 32;
/// The program that marks what a traced task starts.
const FOLLOW: &str = "follow_fork";

impl Kernel {
    /// Loads the programs of a configuration and makes its queue. Nothing is attached yet.
    ///
    /// # Errors
    ///
    /// [`Error`] says what is refused, and by whom.
    pub fn load(config: &Config) -> Result<Kernel, Error> {
        let pages = arena_pages(config)?;
        require::bpf()?;
        require::memory(u64::from(pages) * PAGE)?;
        let instructions = instructions::choose(config.instructions)?;

        let loaded = refusal::attempt(|| open(config, instructions, pages));
        let object = loaded.map_err(|refusal| {
            if refusal.is_forbidden() && config.hook != Hook::Drive {
                return Error::Hook { hook: config.hook.name(), reason: refusal.to_string() };
            }
            refusal.of(format!("loading the BPF programs for hook {} ({})", config.hook, instructions.name()))
        })?;

        let mut places = object::Places::default();
        run_program(&object, "locate", &mut places)?;
        let header = places.header as usize;
        let mapping = mapping_around(header)?;
        let kernel = Kernel {
            links: Mutex::new(Vec::new()),
            object,
            base: mapping.start,
            length: mapping.len(),
            header,
            hook: config.hook,
            queue: config.queue,
            instructions,
            uprobe: config.uprobe.clone(),
            process: std::process::id(),
            nest: config.nest,
            ends: Ends::default(),
            tally: OnceLock::new(),
        };
        kernel.make_queue(config, &places)?;
        Ok(kernel)
    }

    fn region(&self) -> Result<Region<'_>, Error> {
        // SAFETY: libbpf has mapped the arena for as long as the object lives, which the region borrows. It
        // is written only by arenaq's algorithms: here, and in the programs that we have loaded.
        Ok(unsafe { Region::new(self.base as *mut u8, self.length) }?)
    }

    /// The queues are made here rather than in the kernel: a page that userspace touches is there for the
    /// programs too, and no limit on a program's loops limits the capacity.
    fn make_queue(&self, config: &Config, places: &object::Places) -> Result<(), Error> {
        let region = self.region()?;
        let globals = [places.header, places.mpmc, places.mpsc, places.pool, places.events];
        let lowest = globals.iter().min().copied().unwrap_or(0) & !(PAGE - 1);
        let highest = (globals.iter().max().copied().unwrap_or(0) + PAGE).next_multiple_of(PAGE);
        // The programs' variables lie at one end of the arena; which one differs between kernels.
        let all = region.addresses();
        let (before, after) = (all.start..lowest as usize, highest as usize..all.end);
        let free = if before.len() > after.len() { before } else { after };

        let places = Places {
            header: places.header as usize,
            mpmc: places.mpmc as usize,
            mpsc: places.mpsc as usize,
            pool: places.pool as usize,
            event_count: Some(places.events as usize),
            free,
        };
        let mut arena = Arena::<KeyValue>::format(region, places)?;
        match config.queue {
            QueueKind::Mpmc => arena.create_mpmc(config.capacity)?,
            QueueKind::Mpsc => arena.create_mpsc(config.capacity, config.limit)?,
        }
        arena.publish();
        Ok(())
    }

    /// The queues, for as long as the object is loaded.
    ///
    /// Consume from a queue that is pinned, or will be, with [`receiver`](Self::receiver): what a consumer pops that
    /// is made of this arena is missing in the account of `arenaq consume`. Of an MPSC queue that is pinned there is
    /// none; one of an MPMC queue is not known to those who take over from dead consumers.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a fork of the process that loaded, [`Error::Arena`] if the header is not what
    /// `load` has written.
    pub fn arena(&self) -> Result<Arena<'_, KeyValue>, Error> {
        require_same_process(self.process)?;
        Ok(Arena::attach(self.region()?, self.header)?)
    }

    /// The consuming end of the queue, for a consumer that sleeps while nothing comes.
    ///
    /// If the queue is pinned, or is pinned later, this holds the right to consume from it: the lock on the folder.
    ///
    /// # Errors
    ///
    /// As [`arena`](Self::arena), and [`Error::Arena`] or [`Error::Pinned`] if somebody else has the right: the MPSC
    /// queue has one consumer.
    pub fn receiver(&self) -> Result<Receiver<'_>, Error> {
        let arena = self.arena()?;
        let (events, doorbell) = (arena.event_count()?, self.doorbell()?);
        let (source, teller, right) = self.ends.acquire(arena, self.queue, self.tally()?)?;
        Ok(Receiver::new(source, events, doorbell).counted(teller, right))
    }

    /// What consumers that outlive this process, or take over from it, have counted.
    pub(crate) fn tally(&self) -> Result<&Tally, Error> {
        if let Some(tally) = self.tally.get() {
            return Ok(tally);
        }
        let new = Tally::new()?;
        Ok(self.tally.get_or_init(|| new))
    }

    pub(crate) fn doorbell(&self) -> Result<Doorbell, Error> {
        Doorbell::new(&self.map("doorbell")?)
    }

    /// Which object was loaded.
    pub fn instructions(&self) -> Instructions {
        self.instructions
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
        let mut links = self.links();
        // Before the first mark: what the process starts from then on gets one.
        if links.is_empty() && self.hook != Hook::Drive {
            links.push(self.attach_program(FOLLOW)?);
        }
        drop(links);
        trace(&self.map("traced")?, task)
    }

    /// Attaches the hook, and what follows traced processes to what they start.
    ///
    /// # Errors
    ///
    /// [`Error::Hook`] if the kernel refuses; the hook is not attached then.
    pub fn attach(&self) -> Result<(), Error> {
        let mut links = if self.nest { clock::attach(&self.object)? } else { Vec::new() };
        let programs = if self.hook == Hook::Drive { &[][..] } else { &[FOLLOW, self.hook.program()] };
        for program in programs {
            links.push(self.attach_program(program)?);
        }
        // A link that `trace` has made goes only now: it is never so that no fork is followed.
        *self.links() = links;
        Ok(())
    }

    fn attach_program(&self, program: &str) -> Result<Link, Error> {
        hook::attach(&self.object, program, &self.uprobe)
            .map_err(|reason| Error::Hook { hook: self.hook.name(), reason: format!("{program}: {reason}") })
    }

    /// The attached programs.
    pub(crate) fn links(&self) -> MutexGuard<'_, Vec<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Detaches everything, and waits until no program is in the middle of a push.
    ///
    /// # Errors
    ///
    /// [`Error`] if the counters cannot be read.
    pub fn detach(&self) -> Result<(), Error> {
        self.links().clear();
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
        counters(&self.map("counters")?)
    }

    /// How often the clock of [`Config::nest`] has met a program in the middle of a push, and pushed.
    ///
    /// # Errors
    ///
    /// [`Error`] if the map cannot be read.
    pub fn nested(&self) -> Result<u64, Error> {
        let cpus = per_cpu::<Nesting>(&self.map("nesting")?)?;
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
        run_program(&self.object, "drive", &mut arguments)?;
        Ok(arguments.done)
    }

    /// Pops one element of the MPMC queue in the kernel. `Err` is the status that the kernel's pop returned.
    ///
    /// # Errors
    ///
    /// [`Error`] if the program does not run.
    pub fn pop(&self) -> Result<Result<KeyValue, Status>, Error> {
        let mut result = Pop::default();
        run_program(&self.object, "pop", &mut result)?;
        match status(result.status)? {
            Status::Success => Ok(Ok(KeyValue { key: result.key, value: result.value })),
            error => Ok(Err(error)),
        }
    }

    /// What the kernel's own verification says of the queue, whose consumer rests.
    ///
    /// # Errors
    ///
    /// [`Error`] if the program does not run.
    pub fn verify(&self) -> Result<Status, Error> {
        let mut result = Verify::default();
        run_program(&self.object, "verify", &mut result)?;
        status(match self.queue {
            QueueKind::Mpmc => result.mpmc,
            QueueKind::Mpsc => result.mpsc,
        })
    }

    pub(crate) fn map(&self, name: &str) -> Result<libbpf_rs::Map<'_>, Error> {
        self.object
            .maps()
            .find(|map| map.name() == name)
            .ok_or_else(|| Error::Usage(format!("the BPF object has no map {name}")))
    }
}

/// The values of a map of one value for each CPU.
pub(crate) fn per_cpu<V: Pod>(map: &impl MapCore) -> Result<Vec<V>, Error> {
    let values = map
        .lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)
        .map_err(Error::bpf("reading the counters"))?
        .unwrap_or_default();
    Ok(values.iter().map(|value| pod_read_unaligned(&value[..size_of::<V>()])).collect())
}

/// The sum of all CPUs' counters.
pub(crate) fn counters(map: &impl MapCore) -> Result<Counters, Error> {
    let cpus = per_cpu::<Counters>(map)?;
    Ok(cpus.into_iter().fold(Counters::default(), Counters::plus))
}

fn status(code: i64) -> Result<Status, Error> {
    let status = i32::try_from(code).ok().and_then(Status::from_code);
    status.ok_or_else(|| Error::Usage(format!("the kernel side returned {code}, which is no status")))
}

/// How many pages the arena needs: for the queue, and for the variables of the programs.
fn arena_pages(config: &Config) -> Result<u32, Error> {
    let element = match config.queue {
        QueueKind::Mpmc => size_of::<arenaq::mpmc::Cell<arenaq::platform::Native, KeyValue>>(),
        // A node, and its link in the pool.
        QueueKind::Mpsc => {
            size_of::<arenaq::mpsc::Node<arenaq::platform::Native, KeyValue>>() + size_of::<u64>()
        }
    } as u64;
    if config.queue == QueueKind::Mpmc {
        arenaq::mpmc::Capacity::new(config.capacity).map_err(arenaq::arena::CreateError::from)?;
    }
    let elements = config.capacity.max(config.limit);
    let elements = match config.queue {
        QueueKind::Mpmc => elements,
        QueueKind::Mpsc => nodes_for(elements.min(MAX_ELEMENTS)).0,
    };
    let needed = elements.saturating_mul(element).saturating_add(4 * PAGE);
    if needed > LARGEST_ARENA {
        return Err(Error::TooLarge { capacity: config.capacity, needed });
    }
    Ok(needed.div_ceil(PAGE) as u32)
}

/// Opens the object, with the programs that a configuration needs chosen to be loaded.
pub(crate) fn open(config: &Config, instructions: Instructions, pages: u32) -> libbpf_rs::Result<OpenObject> {
    let mut open = ObjectBuilder::default().name("arenaq")?.open_memory(object::programs(instructions))?;
    let mut wanted = vec!["locate", "verify", config.hook.program()];
    match (config.hook, config.queue) {
        (Hook::Drive, QueueKind::Mpmc) => wanted.push("pop"),
        (Hook::Drive, QueueKind::Mpsc) => {}
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
        } else if map.name().to_string_lossy().ends_with(".rodata.settings") {
            let settings = Settings {
                queue: match config.queue {
                    QueueKind::Mpsc => 0,
                    QueueKind::Mpmc => 1,
                },
                syscall: config.syscall as u64,
                grow: config.grow,
                nest: config.nest.into(),
                never: 0,
            };
            map.set_initial_value(bytes_of(&settings))?;
        }
    }
    Ok(open)
}

/// Runs a `syscall` program with `arguments`, which it may change.
fn run_program<A: Pod>(object: &Object, name: &str, arguments: &mut A) -> Result<(), Error> {
    let program = object
        .progs_mut()
        .find(|program| program.name() == name)
        .ok_or_else(|| Error::Usage(format!("the BPF object has no program {name}")))?;
    debug_assert!(!bytes_of(arguments).is_empty(), "a program has a context");
    let input = ProgramInput { context_in: Some(bytes_of_mut(arguments)), ..ProgramInput::default() };
    program.test_run(input).map_err(Error::bpf(format!("running the BPF program {name}")))?;
    Ok(())
}

/// The mapping of this process in which an address lies.
fn mapping_around(address: usize) -> Result<std::ops::Range<usize>, Error> {
    let fail = |reason: String| Error::System {
        what: "finding the arena in /proc/self/maps".to_owned(),
        source: std::io::Error::other(reason),
    };
    // The names of the mapped files need not be UTF-8.
    let text = std::fs::read("/proc/self/maps").map_err(|error| fail(error.to_string()))?;
    let text = String::from_utf8_lossy(&text);
    let maps = MemoryMaps::from_buf_read(text.as_bytes()).map_err(|error| fail(error.to_string()))?;
    maps.iter()
        .map(|map| map.address.0 as usize..map.address.1 as usize)
        .find(|range| range.contains(&address))
        .ok_or_else(|| fail(format!("nothing is mapped at {address:#x}")))
}
