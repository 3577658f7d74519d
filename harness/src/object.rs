//! The compiled BPF objects, and the Rust twins of the structures in `bpf/programs/programs.h`.

use arenaq_libbpf::Instructions;
use bytemuck::{Pod, Zeroable, pod_read_unaligned};
use libbpf_rs::{MapCore, MapFlags};

use crate::error::Error;

/// The harness's programs.
pub(crate) fn programs(instructions: Instructions) -> &'static [u8] {
    match instructions {
        Instructions::AcquireRelease => include_bytes!(env!("ARENAQ_OBJECT_ACQUIRE_RELEASE")),
        Instructions::Tso => include_bytes!(env!("ARENAQ_OBJECT_TSO")),
        Instructions::FullBarrier => include_bytes!(env!("ARENAQ_OBJECT_FULL_BARRIER")),
    }
}

/// The programs that only see what the kernel allows.
pub(crate) const PROBE: &[u8] = include_bytes!(env!("ARENAQ_PROBE"));

/// The names of the maps that are pinned with the queue.
pub(crate) const COUNTERS: &str = "counters";
pub(crate) const TRACED: &str = "traced";

/// One CPU's counts, or the sum over all CPUs. When no program runs, `produced` is the sum of the four after
/// it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Counters {
    /// Events that a program wanted to push.
    pub produced: u64,
    /// Events that are, or were, in the queue.
    pub pushed: u64,
    /// Events dropped because the queue, or a record's lane, was full or no node was left.
    pub nomem: u64,
    /// Events dropped because the retries were spent, or all lanes of the processor taken.
    pub busy: u64,
    /// Events dropped because the queue was not initialised.
    pub invalid: u64,
    /// Child processes that could not be marked as traced.
    pub untraced: u64,
    /// The sum of the pushed elements' [`checksum`](arenaq_libbpf::checksum())s.
    pub checksum: u64,
}

impl Counters {
    /// Adds another CPU's counts.
    #[must_use]
    pub fn plus(self, other: Counters) -> Counters {
        Counters {
            produced: self.produced + other.produced,
            pushed: self.pushed + other.pushed,
            nomem: self.nomem + other.nomem,
            busy: self.busy + other.busy,
            invalid: self.invalid + other.invalid,
            untraced: self.untraced + other.untraced,
            checksum: self.checksum.wrapping_add(other.checksum),
        }
    }

    /// Events for which it is not decided yet whether they are pushed or dropped.
    pub fn in_flight(&self) -> u64 {
        self.produced.saturating_sub(self.pushed + self.nomem + self.busy + self.invalid)
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

/// What is set before the load: the contents of `.rodata.settings`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Settings {
    pub(crate) queue: u64,
    pub(crate) syscall: u64,
    pub(crate) grow: u64,
    pub(crate) nest: u64,
    pub(crate) never: u64,
}

/// One CPU's pushes and the program that interrupts them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub(crate) struct Nesting {
    pub(crate) pushing: u64,
    pub(crate) nested: u64,
}

/// The bit that the key of every event of the program `on_clock` has, and no other's: `ARENAQ_CLOCK_KEY` in C.
pub const CLOCK_KEY: u64 = 1 << 63;

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub(crate) struct Drive {
    pub(crate) key: u64,
    pub(crate) count: u64,
    pub(crate) done: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub(crate) struct Pop {
    pub(crate) status: i64,
    pub(crate) key: u64,
    pub(crate) value: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub(crate) struct Verify {
    pub(crate) mpmc: i64,
    pub(crate) mpsc: i64,
}
