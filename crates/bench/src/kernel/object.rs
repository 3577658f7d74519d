//! BPF objects: one for each candidate, with the one program that it needs.

use std::ops::Range;
use std::time::Instant;

use anyhow::Context;
use arenaq::arena::{Arena, Placed, Places, Region, Spec};
use arenaq::structures::Kind;
use arenaq_bpf_build::Instructions;
use arenaq_libbpf::place_arena;
use bytemuck::{Pod, Zeroable, bytes_of_mut};
use libbpf_rs::{Map, MapCore, MapType, Object, ObjectBuilder, OpenObject, ProgramInput, ProgramMut};

const PAGE: usize = 4096;

/// A run of a program: `struct run` in C.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub struct Run {
    /// How many operations it is to do.
    pub count: u64,
    /// For ring buffers: whether to wake the consumer.
    pub flags: u64,
    /// 1 if it ends at the first refusal.
    pub is_paced: u64,
    /// 1 if elements carry the time.
    pub is_timed: u64,
    /// How many operations succeeded.
    pub done: u64,
    /// How many did not.
    pub refused: u64,
    /// How long they took.
    pub ns: u64,
}

impl Run {
    /// So many operations.
    pub fn of(count: u64) -> Run {
        Run { count, ..Run::default() }
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
struct Located {
    header: u64,
    mpmc: u64,
    mpsc: u64,
    pool: u64,
    events: u64,
}

/// The size of a map, which is set before the load.
#[derive(Clone, Copy, Debug)]
pub struct MapSize {
    /// Which map.
    pub name: &'static str,
    /// Its number of entries, or of bytes for a ring.
    pub entries: u32,
    /// The size of a value, where it differs.
    pub value: Option<u32>,
}

/// A loaded object.
#[derive(Debug)]
pub struct Loaded {
    object: Object,
}

impl Loaded {
    /// Loads these programs and makes these maps.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn load(programs: &[&str], maps: &[MapSize]) -> anyhow::Result<Loaded> {
        Loaded::by(&programs.join(", "), |instructions| Ok(open(instructions, programs, maps)?.load()?))
    }

    /// Loads the object that this kernel can run.
    pub(super) fn by(
        what: &str,
        load: impl Fn(Instructions) -> anyhow::Result<Object>,
    ) -> anyhow::Result<Loaded> {
        let mut instructions = Instructions::AcquireRelease;
        let mut loaded = load(instructions);
        if loaded.is_err() {
            // Before Linux 6.15.
            instructions = Instructions::before_acquire_release(std::env::consts::ARCH);
            loaded = load(instructions);
        }
        let object = loaded.with_context(|| format!("loading {what} ({})", instructions.name()))?;
        Ok(Loaded { object })
    }

    pub(super) fn object(&self) -> &Object {
        &self.object
    }

    /// A program, to be run.
    ///
    /// # Errors
    ///
    /// If there is none of this name.
    pub fn program(&self, name: &str) -> anyhow::Result<Program<'_>> {
        let program = self.object.progs_mut().find(|program| program.name() == name);
        Ok(Program(program.with_context(|| format!("the object has no program {name}"))?))
    }

    /// A map.
    ///
    /// # Errors
    ///
    /// If there is none of this name.
    pub fn map(&self, name: &str) -> anyhow::Result<Map<'_>> {
        let map = self.object.maps().find(|map| map.name() == name);
        map.with_context(|| format!("the object has no map {name}"))
    }

    /// Makes an arena of the object's, and a queue in it: here, because a page that userspace touches is there for the
    /// program too.
    ///
    /// # Errors
    ///
    /// If the arena cannot be found, or has no room for the queue.
    pub fn make_arena(&self, queue: Spec<'_>) -> anyhow::Result<Mapped> {
        let mut located = Located::default();
        self.program("locate")?.run_with(&mut located)?;
        let places = [located.header, located.mpmc, located.mpsc, located.pool, located.events];
        let places = places.map(|place| place as usize);
        let all = mapping_around(places[0])?;
        let mapped = Mapped { base: all.start, length: all.len(), header: places[0] };
        let places = Places {
            header: places[0],
            event_count: Some(places[4]),
            queues: 1,
            free: longest_without(&all, &places),
        };
        let placed = if queue.kind() == Kind::Mpmc {
            Placed { head: located.mpmc as usize, ..Placed::default() }
        } else {
            Placed { head: located.mpsc as usize, pool: located.pool as usize, ..Placed::default() }
        };
        // SAFETY: the object is borrowed for as long as the arena that is made here, and nobody else knows of
        // it: no program but `locate` has run.
        let mut arena = Arena::format(unsafe { mapped.region() }?, places)?;
        arena.create(&queue.at(placed))?;
        arena.publish();
        Ok(mapped)
    }
}

/// Where an object's arena is mapped.
#[derive(Clone, Copy, Debug)]
pub struct Mapped {
    base: usize,
    length: usize,
    header: usize,
}

impl Mapped {
    /// # Safety
    ///
    /// The object whose arena this is lives for all of `'a`. If the region is formatted, nobody uses the arena
    /// meanwhile.
    unsafe fn region<'a>(self) -> anyhow::Result<Region<'a>> {
        // SAFETY: libbpf has mapped the arena for as long as the object lives, which is the caller's promise, and
        // only arenaq's algorithms change it: here, and in our programs.
        Ok(unsafe { Region::new(self.base as *mut u8, self.length) }?)
    }

    /// The queues, for as long as the object is borrowed.
    ///
    /// # Errors
    ///
    /// If what is there is no arena.
    ///
    /// # Safety
    ///
    /// The arena is this object's.
    pub unsafe fn attach(self, _object: &Loaded) -> anyhow::Result<Arena<'_>> {
        // SAFETY: the object is borrowed for as long as the arena is used, and is this arena's by the caller's
        // promise.
        Ok(Arena::attach(unsafe { self.region() }?, self.header)?)
    }
}

/// The programs' variables lie at one end of the arena, at which one differs between kernels: the longer part
/// of it without their pages.
fn longest_without(all: &Range<usize>, places: &[usize]) -> Range<usize> {
    let lowest = places.iter().min().map_or(all.start, |lowest| lowest & !(PAGE - 1));
    let highest = places.iter().max().map_or(all.start, |highest| (highest + PAGE).next_multiple_of(PAGE));
    let (before, after) = (all.start..lowest, highest..all.end);
    if before.len() > after.len() { before } else { after }
}

/// The mapping of this process in which an address lies.
fn mapping_around(address: usize) -> anyhow::Result<Range<usize>> {
    let maps = procfs::process::Process::myself().and_then(|me| me.maps()).context("/proc/self/maps")?;
    maps.iter()
        .map(|map| map.address.0 as usize..map.address.1 as usize)
        .find(|range| range.contains(&address))
        .with_context(|| format!("nothing is mapped at {address:#x}"))
}

/// A program of a loaded object.
#[derive(Debug)]
pub struct Program<'a>(ProgramMut<'a>);

impl Program<'_> {
    /// Runs it on this CPU.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn run(&self, mut run: Run) -> anyhow::Result<Run> {
        if self.0.section() == "raw_tp" {
            return self.run_raw(run);
        }
        self.run_with(&mut run)?;
        Ok(run)
    }

    /// A program that cannot write to its context returns how many operations succeeded. It is timed from
    /// outside: the system call around it takes less than a microsecond.
    fn run_raw(&self, mut run: Run) -> anyhow::Result<Run> {
        let start = Instant::now();
        let done = u64::from(self.run_with(&mut run)?);
        run.ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let missing = run.count.saturating_sub(done);
        run.refused = if run.is_paced == 0 { missing } else { missing.min(1) };
        run.done = done;
        Ok(run)
    }

    fn run_with<A: Pod>(&self, arguments: &mut A) -> anyhow::Result<u32> {
        let input = ProgramInput { context_in: Some(bytes_of_mut(arguments)), ..ProgramInput::default() };
        let name = || format!("running {}", self.0.name().to_string_lossy());
        Ok(self.0.test_run(input).with_context(name)?.return_value)
    }
}

fn open(instructions: Instructions, programs: &[&str], maps: &[MapSize]) -> anyhow::Result<OpenObject> {
    let object: &[u8] = match instructions {
        Instructions::AcquireRelease => include_bytes!(env!("ARENAQ_QUEUES_ACQUIRE_RELEASE")),
        Instructions::Tso => include_bytes!(env!("ARENAQ_QUEUES_TSO")),
        Instructions::FullBarrier => include_bytes!(env!("ARENAQ_QUEUES_FULL_BARRIER")),
    };
    let mut open = ObjectBuilder::default().name("arenaq_bench")?.open_memory(object)?;
    for mut program in open.progs_mut() {
        let load = program.name() == "locate" || programs.iter().any(|name| program.name() == *name);
        program.set_autoload(load);
    }
    for mut map in open.maps_mut() {
        let name = map.name().to_string_lossy().into_owned();
        match maps.iter().find(|size| size.name == name) {
            Some(size) => {
                map.set_max_entries(size.entries)?;
                if map.map_type() == MapType::Arena {
                    place_arena(&mut map)?;
                }
                if let Some(value) = size.value {
                    map.set_value_size(value)?;
                }
            }
            // The queues and rings that nobody uses; what a compiler makes has a dot in its name, and the buffers of the
            // CPUs are small.
            None if !matches!(&*name, "arena" | "buffer") && !name.contains('.') => {
                map.set_autocreate(false)?;
            }
            None => {}
        }
    }
    Ok(open)
}

/// Whether BPF programs can be loaded here, and if not, why.
pub fn probe() -> anyhow::Result<()> {
    // What libbpf says is in the errors that it returns, and its own lines would disturb the progress.
    libbpf_rs::set_print(None);
    Loaded::load(&["empty_loop"], &[])?.program("empty_loop")?.run(Run::of(1)).map(|_| ())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{longest_without, probe};

    /// Whether tests of the kernel run here. Those that must not be left out set `ARENAQ_REQUIRE_KERNEL`.
    pub(crate) fn is_there() -> bool {
        let Err(why) = probe() else { return true };
        assert!(std::env::var_os("ARENAQ_REQUIRE_KERNEL").is_none(), "no BPF here: {why:#}");
        eprintln!("!! SKIPPED: no BPF here: {why:#}");
        false
    }

    #[test]
    fn what_is_free_is_the_longer_part_without_the_variables() {
        let all = 0x10_0000..0x20_0000;
        assert_eq!(longest_without(&all, &[0x10_0010, 0x10_0100]), 0x10_2000..0x20_0000);
        assert_eq!(longest_without(&all, &[0x1f_f010, 0x1f_f100]), 0x10_0000..0x1f_f000);
    }
}
