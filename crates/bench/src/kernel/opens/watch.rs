//! The ways by which a program tells of a file that was opened.

use std::cell::Cell;
use std::mem::offset_of;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use arenaq::PopError;
use arenaq_bpf_build::Instructions;
use arenaq_libbpf::{Queues, Receiver, RecordReceiver};
use bytemuck::{Pod, Zeroable, bytes_of};
use libbpf_rs::{Link, MapCore, MapFlags, Object, ObjectBuilder, OpenObject, RingBuffer, RingBufferBuilder};

use super::super::channel::succeeded;
use super::super::object::Loaded;
use super::super::size::Size;
use super::super::typed::shard_bytes;
use crate::results::Role;

/// How many events find room; rings of bytes are large enough for as many as are as long as they can be.
const CAPACITY: u64 = 16_384;
/// How long one sleeps who polls.
const NAP: Duration = Duration::from_millis(1);
/// How long one sleeps at most who is woken: until then it does not see that it is to end.
const EPOLL: Duration = Duration::from_millis(50);
/// How many events are taken before the consumer looks up.
const STEP: u64 = 1024;

/// `struct event` in bpf/opens.bpf.c.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct Event {
    time: u64,
    pid: u32,
    tid: u32,
    result: i64,
    flags: u32,
    mode: u32,
    comm: [u8; 16],
    file: [u8; 256],
}
arenaq::element!(Event { time, pid, tid, result, flags, mode, comm, file });

/// What a consumer does when there is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// It looks again after a millisecond, and programs wake nobody.
    Polled,
    /// It sleeps until a program wakes it: by the policy that is each way's own.
    Woken,
}

/// A loaded program, and where its events go.
#[derive(Debug)]
pub struct Watch {
    /// Where it sends them: a queue with a name, or `ringbuf_` and how.
    to: &'static str,
    queues: Queues,
    loaded: Loaded,
    waiting: Waiting,
}

impl Watch {
    /// Whose a way is.
    pub fn role(to: &str) -> Role {
        if to.starts_with("ringbuf") { Role::LockingPeer } else { Role::Ours }
    }

    /// Loads the program that sends its events there.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn load(to: &'static str, waiting: Waiting) -> anyhow::Result<Watch> {
        let mut queues = Queues::of(&open(Instructions::AcquireRelease, to, waiting)?)?;
        match to {
            "records" => queues.set_capacity(to, shard_bytes(Size::Bytes(size_of::<Event>()), CAPACITY))?,
            "mpmc" | "mpsc" => queues.set_capacity(to, CAPACITY)?,
            _ => {}
        }
        let loaded = Loaded::by(to, |instructions| Ok(queues.load(open(instructions, to, waiting)?)?))?;
        queues.create(loaded.object())?;
        Ok(Watch { to, queues, loaded, waiting })
    }

    /// Begins to tell.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn attach(&self) -> anyhow::Result<Link> {
        let name = program_to(self.to);
        let program = self.loaded.object().progs_mut().find(|program| program.name() == &*name);
        let program = program.with_context(|| format!("the object has no program {name}"))?;
        program.attach().with_context(|| format!("attaching {name}"))
    }

    /// How many events have found no room so far.
    ///
    /// # Errors
    ///
    /// If the kernel does not say.
    pub fn refused(&self) -> anyhow::Result<u64> {
        let count = self.loaded.map("refused")?.lookup(&0u32.to_ne_bytes(), MapFlags::ANY)?;
        let count = count.as_deref().and_then(<[u8]>::first_chunk).context("no count of what was refused")?;
        Ok(u64::from_ne_bytes(*count))
    }

    /// The consuming end, for this thread.
    ///
    /// # Errors
    ///
    /// If somebody else has it.
    pub fn watcher(&self) -> anyhow::Result<Watcher<'_>> {
        let (object, queue) = (self.loaded.object(), self.to);
        let seen = Rc::new(Seen::default());
        let end = match queue {
            "records" => End::Records(self.queues.records(object, queue, None)?),
            "mpmc" | "mpsc" => End::Queue(self.queues.receiver(object, queue)?),
            _ => End::Ring(ring(&self.loaded, Rc::clone(&seen))?),
        };
        Ok(Watcher { end, seen, waiting: self.waiting, copy: Vec::with_capacity(size_of::<Event>()) })
    }
}

fn program_to(to: &str) -> String {
    format!("to_{to}")
}

fn ring(loaded: &Loaded, seen: Rc<Seen>) -> anyhow::Result<RingBuffer<'static>> {
    let map = loaded.map("ringbuf")?;
    let mut builder = RingBufferBuilder::new();
    builder.add(&map, move |event| {
        seen.take(event);
        0
    })?;
    Ok(builder.build()?)
}

fn open(instructions: Instructions, to: &str, waiting: Waiting) -> anyhow::Result<OpenObject> {
    let object: &[u8] = match instructions {
        Instructions::AcquireRelease => include_bytes!(env!("ARENAQ_OPENS_ACQUIRE_RELEASE")),
        Instructions::Tso => include_bytes!(env!("ARENAQ_OPENS_TSO")),
        Instructions::FullBarrier => include_bytes!(env!("ARENAQ_OPENS_FULL_BARRIER")),
    };
    let is_ring = to.starts_with("ringbuf");
    let wakeup = match (is_ring, waiting) {
        (true, Waiting::Polled) => libbpf_sys::BPF_RB_NO_WAKEUP,
        // The ring buffer's own policy: if its consumer has seen all that was there before.
        (true, Waiting::Woken) | (false, Waiting::Polled) => 0,
        (false, Waiting::Woken) => 1,
    };
    let mut open = ObjectBuilder::default().name("arenaq_opens")?.open_memory(object)?;
    for mut program in open.progs_mut() {
        let load = program.name() == &*program_to(to);
        program.set_autoload(load);
    }
    for mut map in open.maps_mut() {
        if map.name() == "ringbuf" && is_ring {
            const HEADER: u64 = 8;
            let bytes = CAPACITY * (size_of::<Event>() as u64 + HEADER);
            map.set_max_entries(bytes.next_power_of_two() as u32)?;
        }
        if map.name().to_string_lossy().ends_with(".chosen") {
            let chosen = [std::process::id(), wakeup];
            let value = map.initial_value_mut().context("no constants")?;
            value.get_mut(..8).context("no constants")?.copy_from_slice(bytes_of(&chosen));
        }
    }
    Ok(open)
}

/// What has come.
#[derive(Debug, Default)]
struct Seen {
    events: Cell<u64>,
    letters: Cell<u64>,
}

impl Seen {
    /// An event that is there as far as its name.
    fn take(&self, event: &[u8]) {
        let name = event.get(offset_of!(Event, file)..).unwrap_or_default();
        let letters = name.iter().position(|letter| *letter == 0).unwrap_or(0);
        self.events.set(self.events.get() + 1);
        self.letters.set(self.letters.get() + letters as u64);
    }
}

enum End<'a> {
    Queue(Receiver<Event, &'a Object>),
    Records(RecordReceiver<&'a Object>),
    Ring(RingBuffer<'static>),
}

/// The consuming end.
pub struct Watcher<'a> {
    end: End<'a>,
    seen: Rc<Seen>,
    waiting: Waiting,
    /// A record, which must have been read when it is handed back.
    copy: Vec<u8>,
}

impl std::fmt::Debug for Watcher<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher")
            .field("seen", &self.seen)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl Watcher<'_> {
    /// How many events have come.
    pub fn events(&self) -> u64 {
        self.seen.events.get()
    }

    /// How many letters their names have together.
    pub fn letters(&self) -> u64 {
        self.seen.letters.get()
    }

    /// Takes what is there, up to a limit, and does not wait. Returns how many events there were.
    ///
    /// # Errors
    ///
    /// If the source does not work.
    pub fn take(&mut self) -> anyhow::Result<u64> {
        let Watcher { end, seen, copy, .. } = self;
        let before = seen.events.get();
        match end {
            End::Queue(queue) => match queue.drain(STEP, |event| seen.take(bytes_of(&event))) {
                Ok(_) | Err(PopError::Empty | PopError::Busy | PopError::Contended) => {}
                Err(error) => bail!("drain: {error}"),
            },
            End::Records(records) => {
                records.drain(STEP, |record| {
                    copy.clear();
                    record.copy_to(copy);
                    seen.take(copy);
                })?;
            }
            End::Ring(ring) => succeeded(ring.consume_raw_n(STEP as usize))?,
        }
        Ok(self.events() - before)
    }

    /// Waits where nothing was.
    ///
    /// # Errors
    ///
    /// If the kernel does not let this thread wait.
    pub fn wait(&mut self) -> anyhow::Result<()> {
        let Watcher { end, seen, waiting, copy } = self;
        if *waiting == Waiting::Polled {
            thread::sleep(NAP);
            return Ok(());
        }
        match end {
            End::Queue(queue) => queue.sleep(EPOLL)?,
            End::Records(records) => {
                records.wait(EPOLL, |record| {
                    copy.clear();
                    record.copy_to(copy);
                    seen.take(copy);
                })?;
            }
            End::Ring(ring) => succeeded(ring.poll_raw(EPOLL))?,
        }
        Ok(())
    }
}
