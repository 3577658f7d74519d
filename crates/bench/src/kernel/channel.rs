//! A way from BPF to userspace, with both its ends.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use arenaq::KeyValue;
use arenaq::PopError;
use arenaq::arena::{Arena, Mpmc, MpscConsumer, Spec};
use arenaq::count::Uncounted;
use arenaq::eventcount::EventCount;
use arenaq::platform::Native;
use arenaq::pool::nodes_for;
use crossbeam_utils::Backoff;
use libbpf_rs::{Map, MapCore, MapFlags, PerfBuffer, PerfBufferBuilder, RingBuffer, RingBufferBuilder};

use super::object::{Loaded, MapSize, Mapped, Program, Run};
use super::seen::Seen;
use super::size::Size;
use super::typed::{COPIED, Drain, RECORDS, SCRATCH, Typed, WRITTEN};
use crate::results::Role;

/// How events travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// arenaq's bounded queue.
    Mpmc,
    /// arenaq's unbounded queue, with a pool that does not grow.
    Mpsc,
    /// The bounded queue without its counter.
    MpmcUncounted,
    /// The unbounded queue without its counter.
    MpscUncounted,
    /// The bounded queue with a name: `ARENAQ_MPMC` and `arenaq_push`.
    MpmcTyped,
    /// The unbounded queue with a name: `ARENAQ_MPSC` and `arenaq_push`.
    MpscTyped,
    /// Records with a name, built in place: `ARENAQ_RECORDS`, `arenaq_reserve` and `arenaq_commit`.
    Records,
    /// The same, built in scratch memory and copied: `arenaq_begin` and `arenaq_submit`.
    RecordsScratch,
    /// The bounded queue, whose consumer may sleep.
    MpmcNotify,
    /// The unbounded queue, whose consumer may sleep.
    MpscNotify,
    /// `bpf_ringbuf_reserve` and `bpf_ringbuf_submit`.
    RingbufReserve,
    /// `bpf_ringbuf_output`.
    RingbufOutput,
    /// `bpf_perf_event_output`.
    PerfOutput,
    /// `bpf_map_push_elem` of a queue map.
    QueueMap,
    /// Nowhere: the loop alone.
    EmptyLoop,
    /// Nowhere: one locked read-modify-write of a word in the arena.
    LockedRmw,
    /// Nowhere: the same, and the words of a record written to the place that it gives.
    AddAndWrite,
    /// Nowhere: the same, with words that are built elsewhere and copied there.
    AddAndCopy,
}

impl Via {
    /// Its name in results.
    pub const fn name(self) -> &'static str {
        match self {
            Via::Mpmc => "mpmc",
            Via::Mpsc => "mpsc",
            Via::MpmcUncounted => "mpmc-uncounted",
            Via::MpscUncounted => "mpsc-uncounted",
            Via::MpmcTyped => "mpmc-typed",
            Via::MpscTyped => "mpsc-typed",
            Via::Records => "records",
            Via::RecordsScratch => "records-scratch",
            Via::MpmcNotify => "mpmc-notify",
            Via::MpscNotify => "mpsc-notify",
            Via::RingbufReserve => "ringbuf-reserve",
            Via::RingbufOutput => "ringbuf-output",
            Via::PerfOutput => "perf-output",
            Via::QueueMap => "queue-map",
            Via::EmptyLoop => "empty-loop",
            Via::LockedRmw => "locked-rmw",
            Via::AddAndWrite => "add-and-write",
            Via::AddAndCopy => "add-and-copy",
        }
    }

    /// Ours, a peer or a limit.
    pub const fn role(self) -> Role {
        match self {
            Via::Mpmc
            | Via::Mpsc
            | Via::MpmcUncounted
            | Via::MpscUncounted
            | Via::MpmcTyped
            | Via::MpscTyped
            | Via::Records
            | Via::RecordsScratch
            | Via::MpmcNotify
            | Via::MpscNotify => Role::Ours,
            // Ring buffer and queue map take a spin lock; the perf buffer is the CPU's own.
            Via::RingbufReserve | Via::RingbufOutput | Via::QueueMap => Role::LockingPeer,
            Via::PerfOutput => Role::Peer,
            Via::EmptyLoop | Via::LockedRmw | Via::AddAndWrite | Via::AddAndCopy => Role::Limit,
        }
    }

    /// Whether it carries elements of this size. Those of the seeds have 16 bytes, and what is no ring of bytes has cells
    /// of one size.
    pub fn carries(self, size: Size) -> bool {
        match size.fixed() {
            Some(bytes) => bytes <= 16 || self.typed().is_some() || self.role() != Role::Ours,
            None => {
                let is_of_one_size = matches!(
                    self,
                    Via::MpmcTyped | Via::MpscTyped | Via::QueueMap | Via::AddAndWrite | Via::AddAndCopy
                );
                !is_of_one_size && self.carries(Size::Bytes(1024))
            }
        }
    }

    /// The kind of a queue with a name, as the object's names begin.
    const fn typed(self) -> Option<&'static str> {
        match self {
            Via::MpmcTyped => Some("mpmc"),
            Via::MpscTyped => Some("mpsc"),
            Via::Records => Some(RECORDS),
            Via::RecordsScratch => Some(SCRATCH),
            Via::AddAndWrite => Some(WRITTEN),
            Via::AddAndCopy => Some(COPIED),
            _ => None,
        }
    }

    fn program(self, size: Size) -> String {
        match self {
            Via::Mpmc => "push_mpmc".to_owned(),
            Via::Mpsc => "push_mpsc".to_owned(),
            Via::MpmcUncounted => "push_mpmc_uncounted".to_owned(),
            Via::MpscUncounted => "push_mpsc_uncounted".to_owned(),
            Via::MpmcTyped => Typed::program("mpmc", size),
            Via::MpscTyped => Typed::program("mpsc", size),
            Via::Records => Typed::program(RECORDS, size),
            Via::RecordsScratch => Typed::program(SCRATCH, size),
            Via::AddAndWrite => Typed::program(WRITTEN, size),
            Via::AddAndCopy => Typed::program(COPIED, size),
            Via::MpmcNotify => "push_mpmc_notify".to_owned(),
            Via::MpscNotify => "push_mpsc_notify".to_owned(),
            Via::EmptyLoop => "empty_loop".to_owned(),
            Via::LockedRmw => "locked_rmw".to_owned(),
            Via::RingbufReserve => format!("ringbuf_reserve_{size}"),
            Via::RingbufOutput => format!("ringbuf_output_{size}"),
            Via::PerfOutput => format!("perf_output_{size}"),
            Via::QueueMap => format!("queue_map_{size}"),
        }
    }

    fn maps(self, size: Size, capacity: u32) -> Vec<MapSize> {
        let map = |name, entries, value| vec![MapSize { name, entries, value }];
        let doorbell = MapSize { name: "ringbuf", entries: 4096, value: None };
        let ring = MapSize { name: "arena", entries: capacity * 24 / 4096 + 8, value: None };
        // A node and its link.
        let nodes = nodes_for(capacity.into()).0 as u32;
        let list = MapSize { name: "arena", entries: nodes * 32 / 4096 + 8, value: None };
        match self {
            Via::Mpmc | Via::MpmcUncounted => vec![ring],
            Via::Mpsc | Via::MpscUncounted => vec![list],
            Via::MpmcNotify => vec![ring, doorbell],
            Via::MpscNotify => vec![list, doorbell],
            Via::RingbufReserve | Via::RingbufOutput => map("ringbuf", ring_bytes(size, capacity), None),
            // The number of CPUs, which libbpf knows.
            Via::PerfOutput => map("perf", 0, None),
            Via::QueueMap => map("queue", capacity, size.fixed().map(|bytes| bytes as u32)),
            // The arena's size follows from the queues that it has.
            Via::MpmcTyped
            | Via::MpscTyped
            | Via::Records
            | Via::RecordsScratch
            | Via::AddAndWrite
            | Via::AddAndCopy
            | Via::EmptyLoop
            | Via::LockedRmw => Vec::new(),
        }
    }
}

/// The header of a record in a ring buffer.
const RECORD_HEADER: u64 = 8;

/// The size of a ring for so many records: a power of two, and at least a page.
fn ring_bytes(size: Size, capacity: u32) -> u32 {
    size.bytes_with(RECORD_HEADER, capacity.into()).next_power_of_two().max(4096) as u32
}

/// What a consumer does when there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// It looks again at once.
    Spin,
    /// It leaves the queue alone for a moment when it has found less than a batch, and longer each time: what
    /// was pushed meanwhile comes at once, and its lines are not taken from the producer one by one.
    BackOff,
    /// It sleeps: in epoll where the kernel wakes it, else for a while.
    Sleep,
}

/// The name of the queue in the arena.
pub(super) const QUEUE: &str = "queue";
/// How long a consumer sleeps that nobody can wake.
const NAP: Duration = Duration::from_micros(100);
/// How long epoll waits: until then a consumer that is to end does not see it.
const EPOLL: Duration = Duration::from_millis(50);
/// What a consumer that backs off takes for a batch.
const BATCH: u64 = 64;
/// How many elements are taken before the consumer looks up.
const STEP: u64 = 1024;

/// A loaded way.
#[derive(Debug)]
pub struct Channel {
    /// Which.
    pub via: Via,
    size: Size,
    capacity: u32,
    flags: u64,
    loaded: Loaded,
    memory: Memory,
}

/// Where the queue is.
#[derive(Debug)]
enum Memory {
    /// In the kernel, or nowhere.
    Kernel,
    /// In an arena that was made here.
    Made(Mapped),
    /// Where the object declares it.
    Declared(Typed),
}

impl Channel {
    /// Loads what is needed for elements of this size, of which at least `capacity` find room.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn load(via: Via, size: Size, capacity: u32) -> anyhow::Result<Channel> {
        let elements = u64::from(capacity);
        if let Some(kind) = via.typed() {
            let (loaded, typed) = Typed::load(kind, size, elements)?;
            return Ok(Channel { via, size, capacity, flags: 0, loaded, memory: Memory::Declared(typed) });
        }
        let program = via.program(size);
        let loaded = Loaded::load(&[&program], &via.maps(size, capacity))?;
        let made = |spec| loaded.make_arena(spec).map(Memory::Made);
        let memory = match via {
            Via::Mpmc | Via::MpmcNotify => made(Spec::mpmc::<KeyValue>(QUEUE, elements).counted())?,
            Via::MpmcUncounted => made(Spec::mpmc::<KeyValue>(QUEUE, elements))?,
            Via::Mpsc | Via::MpscNotify => made(Spec::mpsc::<KeyValue>(QUEUE, elements).counted())?,
            Via::MpscUncounted => made(Spec::mpsc::<KeyValue>(QUEUE, elements))?,
            _ => Memory::Kernel,
        };
        Ok(Channel { via, size, capacity, flags: 0, loaded, memory })
    }

    /// The flags of every push: `BPF_RB_NO_WAKEUP` and its like.
    #[must_use]
    pub fn with_flags(self, flags: u32) -> Channel {
        Channel { flags: flags.into(), ..self }
    }

    /// The pushing end, for this thread.
    ///
    /// # Errors
    ///
    /// Never, for a channel that was loaded.
    pub fn producer(&self) -> anyhow::Result<Producer<'_>> {
        Ok(Producer { program: self.loaded.program(&self.via.program(self.size))?, flags: self.flags })
    }

    /// The consuming end, for this thread. With `timed`, elements carry the time at which they were pushed.
    ///
    /// # Errors
    ///
    /// If userspace cannot consume here.
    pub fn consumer(&self, waiting: Waiting, timed: bool) -> anyhow::Result<Consumer<'_>> {
        let seen = Rc::new(Seen::new(timed));
        let source = match self.via {
            Via::Mpmc | Via::MpmcNotify => Source::Mpmc(self.arena()?.mpmc(QUEUE)?),
            Via::Mpsc | Via::MpscNotify => Source::Mpsc(self.arena()?.mpsc_consumer(QUEUE)?),
            Via::MpmcUncounted => Source::MpmcUncounted(self.arena()?.mpmc(QUEUE)?),
            Via::MpscUncounted => Source::MpscUncounted(self.arena()?.mpsc_consumer(QUEUE)?),
            Via::MpmcTyped | Via::MpscTyped | Via::Records | Via::RecordsScratch => {
                Source::Typed(self.typed()?.consumer(&self.loaded)?)
            }
            Via::RingbufReserve | Via::RingbufOutput => Source::Ring(self.ring(Rc::clone(&seen))?),
            Via::PerfOutput => Source::Perf(self.perf(Rc::clone(&seen))?),
            Via::QueueMap => Source::Map(self.loaded.map("queue")?),
            Via::EmptyLoop | Via::LockedRmw | Via::AddAndWrite | Via::AddAndCopy => {
                bail!("{} delivers nothing", self.via.name())
            }
        };
        let doorbell = match self.via {
            Via::MpmcNotify | Via::MpscNotify => Some(self.doorbell()?),
            _ => None,
        };
        Ok(Consumer { source, doorbell, waiting, backoff: Backoff::new(), seen })
    }

    fn doorbell(&self) -> anyhow::Result<Doorbell<'_>> {
        let map = self.loaded.map("ringbuf")?;
        let mut builder = RingBufferBuilder::new();
        builder.add(&map, |_| 0)?;
        Ok(Doorbell { events: self.arena()?.event_count()?, ring: builder.build()? })
    }

    fn arena(&self) -> anyhow::Result<Arena<'_>> {
        let Memory::Made(mapped) = self.memory else { bail!("{} has no arena of its own", self.via.name()) };
        // SAFETY: `load` has made the arena in this object.
        unsafe { mapped.attach(&self.loaded) }
    }

    fn typed(&self) -> anyhow::Result<&Typed> {
        let Memory::Declared(typed) = &self.memory else { bail!("{} has no name", self.via.name()) };
        Ok(typed)
    }

    fn ring(&self, seen: Rc<Seen>) -> anyhow::Result<RingBuffer<'static>> {
        let map = self.loaded.map("ringbuf")?;
        let mut builder = RingBufferBuilder::new();
        builder.add(&map, move |record| {
            seen.take(first_word(record));
            0
        })?;
        Ok(builder.build()?)
    }

    /// Each CPU has a ring of its own, with room for all.
    fn perf(&self, seen: Rc<Seen>) -> anyhow::Result<PerfBuffer<'static>> {
        // A record has a header and a size, and is a multiple of 8 bytes.
        let bytes = self.size.bytes_with(24, self.capacity.into());
        let pages = bytes.div_ceil(4096).next_power_of_two() as usize;
        let map = self.loaded.map("perf")?;
        let builder = PerfBufferBuilder::new(&map).pages(pages);
        Ok(builder.sample_cb(move |_, record: &[u8]| seen.take(first_word(record))).build()?)
    }
}

fn first_word(record: &[u8]) -> u64 {
    record.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// The pushing end.
#[derive(Debug)]
pub struct Producer<'a> {
    program: Program<'a>,
    flags: u64,
}

impl Producer<'_> {
    /// Pushes on this CPU.
    ///
    /// # Errors
    ///
    /// If the kernel refuses to run the program.
    pub fn push(&self, run: Run) -> anyhow::Result<Run> {
        self.program.run(Run { flags: self.flags, ..run })
    }
}

enum Source<'a> {
    Mpmc(Mpmc<'a, KeyValue>),
    Mpsc(MpscConsumer<'a, KeyValue>),
    MpmcUncounted(Mpmc<'a, KeyValue, Uncounted>),
    MpscUncounted(MpscConsumer<'a, KeyValue, Uncounted>),
    Typed(Box<dyn Drain + 'a>),
    Ring(RingBuffer<'static>),
    Perf(PerfBuffer<'static>),
    Map(Map<'a>),
}

/// What a consumer of ours sleeps on.
struct Doorbell<'a> {
    events: &'a EventCount<Native>,
    ring: RingBuffer<'static>,
}

impl Doorbell<'_> {
    /// Sleeps until a producer rings, but not for ever: the caller may have to end. `is_empty` is asked once
    /// the sleep is announced.
    fn sleep_if(&self, is_empty: impl FnOnce() -> bool) -> anyhow::Result<()> {
        let Some(ticket) = self.events.prepare() else { return Ok(()) };
        if is_empty() && !self.events.is_notified(&ticket) {
            succeeded(self.ring.poll_raw(EPOLL))?;
        }
        // Does nothing if a producer has rung.
        self.events.cancel(ticket);
        Ok(())
    }
}

/// The consuming end.
pub struct Consumer<'a> {
    source: Source<'a>,
    doorbell: Option<Doorbell<'a>>,
    waiting: Waiting,
    backoff: Backoff,
    seen: Rc<Seen>,
}

impl std::fmt::Debug for Consumer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("waiting", &self.waiting)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

impl Consumer<'_> {
    /// How many events it has seen.
    pub fn seen(&self) -> u64 {
        self.seen.events.get()
    }

    /// From the push to here: the latency below which so many percent of the events were, in nanoseconds.
    pub fn latency(&self, percent: f64) -> Option<u64> {
        self.seen.latency.as_ref().map(|latency| latency.borrow().value_at_percentile(percent))
    }

    /// Takes what is there, up to a limit, and does not wait.
    ///
    /// # Errors
    ///
    /// If the source does not work.
    pub fn take(&mut self) -> anyhow::Result<()> {
        let take = |element: KeyValue| self.seen.take(element.value);
        match &mut self.source {
            Source::Mpmc(queue) => ours(queue.drain(STEP, take)),
            Source::Mpsc(queue) => ours(queue.drain(STEP, take)),
            Source::MpmcUncounted(queue) => ours(queue.drain(STEP, take)),
            Source::MpscUncounted(queue) => ours(queue.drain(STEP, take)),
            Source::Typed(queue) => ours(queue.drain(STEP, &self.seen)),
            Source::Ring(ring) => succeeded(ring.consume_raw_n(STEP as usize)),
            Source::Perf(perf) => Ok(perf.consume()?),
            Source::Map(map) => take_from_map(map, &self.seen),
        }
    }

    /// Takes what is there. If that is nothing, waits as it was told to.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    pub fn take_or_wait(&mut self) -> anyhow::Result<()> {
        let before = self.seen();
        self.take()?;
        let taken = self.seen() - before;
        match self.waiting {
            Waiting::BackOff if taken < BATCH => self.backoff.snooze(),
            Waiting::BackOff => self.backoff.reset(),
            _ if taken > 0 => {}
            Waiting::Spin => std::hint::spin_loop(),
            Waiting::Sleep => self.sleep()?,
        }
        Ok(())
    }

    fn sleep(&mut self) -> anyhow::Result<()> {
        let seen = &self.seen;
        match (&mut self.source, &self.doorbell) {
            (Source::Mpmc(queue), Some(doorbell)) => doorbell.sleep_if(|| queue.is_empty()),
            (Source::Mpsc(queue), Some(doorbell)) => doorbell
                .sleep_if(|| queue.drain(STEP, |element| seen.take(element.value)) == Err(PopError::Empty)),
            (Source::Ring(ring), _) => succeeded(ring.poll_raw(EPOLL)),
            (Source::Perf(perf), _) => Ok(perf.poll(EPOLL)?),
            _ => {
                std::thread::sleep(NAP);
                Ok(())
            }
        }
    }
}

fn ours(drained: Result<u64, PopError>) -> anyhow::Result<()> {
    match drained {
        Ok(_) | Err(PopError::Empty | PopError::Busy | PopError::Contended) => Ok(()),
        Err(error) => bail!("drain: {error}"),
    }
}

fn take_from_map(map: &Map<'_>, seen: &Seen) -> anyhow::Result<()> {
    for _ in 0..STEP {
        match map.lookup_and_delete(&[]) {
            Ok(Some(element)) => seen.take(first_word(&element)),
            Ok(None) => break,
            Err(error) => return Err(error).context("popping from the queue map"),
        }
    }
    Ok(())
}

/// What libbpf's functions on ring buffers return: a number, or an error below zero.
pub(super) fn succeeded(code: i32) -> anyhow::Result<()> {
    // A signal, or epoll's end, is no error.
    if code >= 0 || code == -rustix::io::Errno::INTR.raw_os_error() {
        return Ok(());
    }
    Err(std::io::Error::from_raw_os_error(-code)).context("consuming from the ring buffer")
}

/// What userspace puts into a queue map.
pub(super) fn push_to_map(map: &Map<'_>, element: KeyValue) -> anyhow::Result<()> {
    map.update(&[], bytemuck::bytes_of(&element), MapFlags::ANY).context("pushing to the queue map")
}

#[cfg(test)]
mod tests {
    use super::{Size, Via, ring_bytes};

    #[test]
    fn a_ring_has_room_for_its_records_with_their_headers() {
        let ring_bytes = |bytes, records| ring_bytes(Size::Bytes(bytes), records);
        assert_eq!(ring_bytes(8, 4), 4096);
        assert_eq!(ring_bytes(16, 8192), 262_144);
        assert_eq!(ring_bytes(256, 8192), 4_194_304);
    }

    #[test]
    fn only_rings_of_bytes_carry_the_mix() {
        assert!(Via::Records.carries(Size::Mixed) && Via::RingbufReserve.carries(Size::Mixed));
        assert!(!Via::MpmcTyped.carries(Size::Mixed) && !Via::QueueMap.carries(Size::Mixed));
        assert!(!Via::Mpmc.carries(Size::Bytes(64)) && Via::MpmcTyped.carries(Size::Bytes(1024)));
    }
}
