//! A loaded object, and the queues in its arena.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arenaq::arena::Arena;
use arenaq::payload::Element;
use libbpf_rs::{Link, Map, MapCore, MapHandle, Object, OpenObject};

use crate::arena::{Globals, Mapping};
use crate::error::Error;
use crate::folder::Folder;
use crate::pinned::pin::pin;
use crate::pinned::record::{ARENA, DOORBELL, TALLY};
use crate::program;
use crate::queue::{Named, QueueKind};
use crate::queues::Queues;
use crate::receiver::carried::Carried;
use crate::receiver::doorbell::Doorbell;
use crate::receiver::records::right::{NamedRecords, RecordEnds};
use crate::receiver::records::{self, RecordReceiver};
use crate::receiver::right::Ends;
use crate::receiver::source::this_process;
use crate::receiver::tally::Tally;
use crate::receiver::{Keeper, Parts, Receiver};

/// A loaded object with queues in its arena. The kernel objects live as long as this, its clones, and the receivers that it
/// has handed out.
///
/// ```no_run
/// use arenaq::bytemuck::{Pod, Zeroable};
/// use arenaq_libbpf::Loaded;
/// use libbpf_rs::ObjectBuilder;
///
/// #[repr(C)]
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// struct Event {
///     time: u64,
///     pid: u32,
///     tid: u32,
///     comm: [u8; 16],
/// }
/// arenaq::element!(Event { time, pid, tid, comm });
///
/// let loaded = Loaded::load(ObjectBuilder::default().open_file("my.bpf.o")?)?;
/// let mut events = loaded.receiver::<Event>("events")?;
/// loaded.attach()?;
/// let consumer = std::thread::spawn(move || {
///     for _ in 0..10 {
///         let event = events.recv()?;
///         println!("{} {}", event.time, event.pid);
///     }
///     Ok::<(), arenaq_libbpf::Error>(())
/// });
/// # consumer.join().expect("it does not panic")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Loaded(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    // Dropped in this order: first nothing pushes any more, then the maps go.
    links: Mutex<Vec<Link>>,
    object: Object,
    mapping: Mapping,
    queues: Vec<Named>,
    /// Who consumes from each queue, by its number in the arena.
    ends: Vec<Ends>,
    records: Vec<NamedRecords>,
    /// Who consumes them, by the same number.
    record_ends: Vec<RecordEnds>,
    /// What was consumed.
    tally: OnceLock<Tally>,
}

impl Loaded {
    /// Loads an object, and makes the queues that its programs declare. Nothing is attached yet.
    ///
    /// [`Queues`] does the same with other capacities.
    ///
    /// # Errors
    ///
    /// As [`Queues::of`], [`Queues::load`] and [`Queues::create`].
    pub fn load(object: OpenObject) -> Result<Loaded, Error> {
        let queues = Queues::of(&object)?;
        Loaded::new(queues.load(object)?, &queues)
    }

    /// Makes the queues that an object's programs declare in its arena. Nothing is attached yet.
    ///
    /// # Errors
    ///
    /// As [`Queues::create`].
    pub fn new(object: Object, queues: &Queues) -> Result<Loaded, Error> {
        let mapping = queues.create_mapped(&object)?;
        Loaded::over(object, mapping)
    }

    /// Makes a queue of pairs for `capacity` elements, which may be grown to `limit`, in the arena of an object that has the
    /// variables of one. Nothing is attached yet.
    ///
    /// # Errors
    ///
    /// [`Error::System`] if the arena is not found, [`Error::Create`] or [`Error::Arena`] if the queue does not fit.
    ///
    /// # Safety
    ///
    /// `globals` are the addresses of variables of these types in the arena of `object`, and no program has used them
    /// yet.
    pub unsafe fn create(
        object: Object,
        globals: &Globals,
        queue: QueueKind,
        capacity: u64,
        limit: u64,
    ) -> Result<Loaded, Error> {
        // SAFETY: libbpf has mapped the arena for as long as the object lives, which is kept beside the mapping.
        let mapping = unsafe { Mapping::around(globals.header) }?;
        mapping.create(globals, queue, capacity, limit)?;
        Loaded::over(object, mapping)
    }

    /// The object and what it has mapped.
    fn over(object: Object, mapping: Mapping) -> Result<Loaded, Error> {
        let arena = mapping.arena()?;
        let queues = Named::all(&arena);
        let records = NamedRecords::all(&arena);
        let all = queues.len() + records.len();
        let ends = (0..all).map(|_| Ends::default()).collect();
        let record_ends = (0..all).map(|_| RecordEnds::default()).collect();
        let (links, tally) = (Mutex::default(), OnceLock::new());
        drop(arena);
        Ok(Loaded(Arc::new(Shared { links, object, mapping, queues, ends, records, record_ends, tally })))
    }

    /// The object.
    pub fn object(&self) -> &Object {
        &self.0.object
    }

    /// The queues, for as long as the object is loaded.
    ///
    /// Consume from a queue that is pinned, or will be, with [`receiver`](Self::receiver): what a consumer pops that
    /// is made of this arena is missing in the tally of what was consumed. Of an MPSC queue that is pinned there is
    /// none; one of an MPMC queue is not known to those who take over from dead consumers.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a fork of the process that loaded, [`Error::Arena`] if the header is not what it should
    /// be.
    pub fn arena(&self) -> Result<Arena<'_>, Error> {
        self.0.mapping.arena()
    }

    /// The consuming end of the queue of that name, if it carries elements of type `T`. It keeps the object loaded, so it
    /// may go to any thread or task. Of an MPSC queue there is one at a time.
    ///
    /// If the queue is pinned, or is pinned later, this holds the right to consume from it: the lock on the folder.
    ///
    /// # Errors
    ///
    /// As [`arena`](Self::arena), and [`Error::Arena`] if there is no such queue, it carries something else, or somebody
    /// else consumes from it; [`Error::Held`] if that is another process.
    pub fn receiver<T: Element>(&self, name: &str) -> Result<Receiver<T>, Error> {
        self.receive(name)
    }

    /// The same for whoever does not know the type of the elements: the receiver hands their bytes over.
    ///
    /// # Errors
    ///
    /// As [`receiver`](Self::receiver).
    pub fn receiver_bytes(&self, name: &str) -> Result<Receiver<[u8]>, Error> {
        self.receive(name)
    }

    fn receive<T: Carried + ?Sized>(&self, name: &str) -> Result<Receiver<T>, Error> {
        let kept = Arc::clone(&self.0);
        // SAFETY: it lies there until the last clone of the `Arc` is gone. The receiver keeps one, drops it behind all that
        // is made of this, and gives nothing of it away.
        let shared: &'static Shared = unsafe { &*Arc::as_ptr(&kept) };
        let arena = shared.mapping.arena()?;
        let queue = Named::find_in(&arena, &shared.queues, name)?;
        let (ends, tally) = (&shared.ends[queue.number], shared.tally()?.of(queue.number)?);
        let (events, doorbell) = (arena.event_count_of(name).ok(), Doorbell::of(&shared.object)?);
        let (end, teller, right) = ends.acquire::<T>(arena, queue, tally)?;
        let parts = Parts { end, events, doorbell, known: Some((teller, right)) };
        Ok(Receiver::of(parts, Keeper::new(kept)))
    }

    /// The consuming end of the records of that name: of all their shards. It keeps the object loaded, so it may go to any
    /// thread.
    ///
    /// # Errors
    ///
    /// As [`arena`](Self::arena); [`Error::Arena`] if there are no such records, [`Error::ShardTaken`] if another one consumes
    /// a shard.
    pub fn records(&self, name: &str) -> Result<RecordReceiver, Error> {
        self.receive_records(name, None)
    }

    /// The same for some shards only: several receivers share them between them, unless the records are pinned, which have one
    /// receiver at a time.
    ///
    /// # Errors
    ///
    /// As [`records`](Self::records), and [`Error::Usage`] if there are no such shards.
    pub fn records_of_shards(&self, name: &str, shards: Range<usize>) -> Result<RecordReceiver, Error> {
        self.receive_records(name, Some(shards))
    }

    fn receive_records(&self, name: &str, shards: Option<Range<usize>>) -> Result<RecordReceiver, Error> {
        let kept = Arc::clone(&self.0);
        // SAFETY: as in `receive`.
        let shared: &'static Shared = unsafe { &*Arc::as_ptr(&kept) };
        let arena = shared.mapping.arena()?;
        let records = arena.records(name, this_process())?;
        let named = NamedRecords::find(&shared.records, name)?;
        let ends = &shared.record_ends[named.number];
        let tally = shared.tally()?.of(named.number)?;
        let (events, doorbell) = (arena.event_count_of(name).ok(), Doorbell::of(&shared.object)?);
        let (consumers, teller, right) = ends.acquire(records, name, shards, tally)?;
        let parts = records::Parts { records, consumers, events, doorbell, known: Some((teller, right)) };
        Ok(RecordReceiver::of(parts, Keeper::new(kept)))
    }

    /// What wakes consumers: the map `doorbell`, a ring buffer.
    ///
    /// # Errors
    ///
    /// [`Error`] if there is no such map, or it cannot be mapped.
    pub fn doorbell(&self) -> Result<Doorbell, Error> {
        Doorbell::new(&self.map(DOORBELL)?)
    }

    /// Attaches every program of the object that was loaded, to where its section says. Those that only userspace runs, or
    /// that say not where they belong, are left out.
    ///
    /// # Errors
    ///
    /// [`Error::Load`] says which program the kernel does not attach, and why. What was attached stays so.
    pub fn attach(&self) -> Result<(), Error> {
        let mut links = self.links();
        for program in self.object().progs_mut() {
            links.extend(program::attach_by_section(&program)?);
        }
        Ok(())
    }

    /// The attached programs: what is put here stays attached until it is taken out, or the object is gone.
    pub fn links(&self) -> MutexGuard<'_, Vec<Link>> {
        self.0.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A map of the object.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if it has none of this name.
    pub fn map(&self, name: &str) -> Result<Map<'_>, Error> {
        self.0.find(name).ok_or_else(|| Error::Usage(format!("the BPF object has no map {name}")))
    }

    /// Pins the arena and the attached programs ([`links`](Self::links)) in `folder`, which is made, for its owner only.
    /// They go on when this process has ended, until [`unpin`](crate::pinned::unpin()), and are attached until both.
    /// `further` are names of other maps of the object that are pinned with them, and found again with
    /// [`Pinned::map`](crate::pinned::Pinned::map).
    ///
    /// From now on the right to consume is the lock on the folder: a [`Receiver`] that exists gets it, and
    /// `arena().mpsc_consumer::<KeyValue, Counted>(MPSC)` is refused.
    ///
    /// # Errors
    ///
    /// [`Error::Pinned`] if `folder` exists or is not on a BPF file system, if the queue is pinned already or has a
    /// consumer that is no [`Receiver`]; [`Error::Usage`] if the object has no such map; [`Error::Bpf`] or [`Error::System`] if the kernel refuses. Nothing stays
    /// pinned then.
    pub fn pin(&self, folder: &Path, further: &[&str]) -> Result<(), Error> {
        let arena = self.arena()?;
        let shared = &*self.0;
        let mut maps = Vec::new();
        let doorbell = shared.find(DOORBELL).map(|_| DOORBELL);
        for name in [ARENA].into_iter().chain(further.iter().copied()).chain(doorbell) {
            maps.push((name, MapHandle::try_from(&self.map(name)?).map_err(using(name))?));
        }
        maps.push((TALLY, MapHandle::try_from(shared.tally()?.handle()).map_err(using(TALLY))?));
        let folder = Folder::make(folder)?;
        let locks = shared.locks();
        Ends::pin(&shared.ends, &shared.queues, &folder, &arena, |folder| {
            RecordEnds::pin(&shared.record_ends, &shared.records, folder, &arena, |folder| {
                pin(folder, &shared.mapping, locks, &maps, &mut self.links())
            })
        })
    }
}

impl Shared {
    fn find(&self, name: &str) -> Option<Map<'_>> {
        self.object.maps().find(|map| map.name() == name)
    }

    /// How many queues and records there are: each has a lock and a part of the tally.
    fn locks(&self) -> usize {
        self.queues.len() + self.records.len()
    }

    /// What consumers that outlive this process, or take over from it, have counted.
    fn tally(&self) -> Result<&Tally, Error> {
        if let Some(tally) = self.tally.get() {
            return Ok(tally);
        }
        let new = Tally::new(self.locks())?;
        Ok(self.tally.get_or_init(|| new))
    }
}

fn using(map: &str) -> impl FnOnce(libbpf_rs::Error) -> Error {
    Error::bpf(format!("using the map {map}"))
}
