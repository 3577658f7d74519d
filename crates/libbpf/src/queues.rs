//! The queues that the programs of an object declare: found in its BTF, sized, and made.

mod data;
mod declared;
mod types;

use std::ops::Range;
use std::{ptr, slice};

use arenaq::arena::{Arena, ArenaError, MAX_QUEUES, Name, Placed, Places, Region, Spec};
use arenaq::payload::{Element, ElementType};
use arenaq::records::LANES;
use arenaq::structures::Kind;
use libbpf_rs::{MapType, Object, OpenObject};

use self::data::{Data, Stage};
use crate::address::place_arena;
use crate::arena::{LARGEST, Mapping};
use crate::error::Error;
use crate::queue::Named;
use crate::receiver::carried::Carried;
use crate::receiver::doorbell::Doorbell;
use crate::receiver::records::right::{consumers, shards_of};
use crate::receiver::records::{self, RecordReceiver};
use crate::receiver::source::this_process;
use crate::receiver::{Parts, Receiver};
use crate::refusal::load_object;

/// What stands behind the name of records in that of their scratch map.
const SCRATCH: &str = "_scratch";

/// A queue that a program declares with `ARENAQ_MPMC` or `ARENAQ_MPSC`, or records, with `ARENAQ_RECORDS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The name of the variable; of one of an array, with its index, as in `jobs[2]`.
    pub name: Name,
    /// Of which kind it is.
    pub kind: Kind,
    /// What it carries. The hash is that of the C type's members, or
    /// [`UNKNOWN`](arenaq::payload::UNKNOWN) if that is no structure, or has members without a name or of some bits.
    pub element: ElementType,
    /// How many elements it is made for; of records, how many bytes each shard has.
    pub capacity: u64,
    /// How many shards records have: one for each processor that there may be.
    pub shards: u64,
    /// Where its variable begins in the section of the arena's variables.
    offset: usize,
}

impl Declared {
    fn size(&self) -> usize {
        self.kind.control_size()
    }

    /// The variable's parts, if the section begins at `data`.
    fn placed(&self, data: usize) -> Placed {
        Placed::of(self.kind, data + self.offset)
    }

    fn spec(&self, at: Placed) -> Spec<'_> {
        Spec::of(self.kind, self.name.as_str(), self.element, self.capacity).shards(self.shards).at(at)
    }

    /// How many bytes its cells or nodes need.
    fn room(&self) -> Result<u64, Error> {
        self.spec(Placed::default())
            .room()
            .map_err(|source| Error::Capacity { queue: self.name.to_string(), source })
    }

    /// Whether it is what somebody calls `name`: the queue, or the array that it is one of.
    fn is_called(&self, name: &str) -> bool {
        let own = self.name.as_str();
        own == name || own.strip_prefix(name).is_some_and(|rest| rest.starts_with('['))
    }
}

/// The queues that the programs of an object declare.
///
/// A program in C declares them by name, element and capacity:
///
/// ```c
/// struct event { __u64 time; __u32 pid, tid; char comm[16]; };
///
/// ARENAQ_MPSC(events, struct event, 4096);
/// ARENAQ_MPMC(jobs[4], struct job, 1024);
/// ```
///
/// They are made from here once the object is loaded, before its programs are attached; nothing but the object is
/// needed for it. [`Loaded`](crate::Loaded) does it for who gives the object away; a skeleton keeps its own:
///
/// ```no_run
/// use std::time::Duration;
///
/// use arenaq::bytemuck::{Pod, Zeroable};
/// use arenaq_libbpf::Queues;
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
/// let mut open = ObjectBuilder::default().open_file("my.bpf.o")?;
/// let mut queues = Queues::of(&open)?;
/// queues.set_capacity("events", 8192)?;
/// queues.prepare(&mut open)?;
/// let object = open.load()?;
/// queues.create(&object)?;
/// let mut events = queues.receiver::<Event>(&object, "events")?;
/// let links = object.progs_mut().map(|program| program.attach()).collect::<Result<Vec<_>, _>>()?;
/// while let Some(event) = events.recv_timeout(Duration::from_secs(10))? {
///     println!("{} {}", event.time, event.pid);
/// }
/// # drop(links);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Queues {
    queues: Vec<Declared>,
    /// How long the section of the arena's variables is.
    data: usize,
}

impl Queues {
    /// The queues that an object declares.
    ///
    /// # Errors
    ///
    /// [`Error::NoTypes`], [`Error::NoArena`] or [`Error::NoQueues`] if the object has no BTF, no arena, or no queue in
    /// it; [`Error::Declaration`] if a variable is only almost a queue; [`Error::Arena`] if a name is too long, or there are
    /// more queues than an arena can have.
    pub fn of(object: &OpenObject) -> Result<Queues, Error> {
        let arena = object.maps().find(|map| map.map_type() == MapType::Arena).ok_or(Error::NoArena)?;
        let data = arena.initial_value().map_or(0, <[u8]>::len);
        let queues = declared::queues(object)?;
        if queues.is_empty() {
            return Err(Error::NoQueues);
        }
        if queues.len() > MAX_QUEUES {
            return Err(ArenaError::Queues(queues.len() as u64).into());
        }
        for queue in &queues {
            let fits = queue.offset.checked_add(queue.size()).is_some_and(|end| end <= data);
            if !fits || queue.offset % Kind::CONTROL_ALIGN != 0 {
                return Err(Error::Declaration {
                    variable: queue.name.to_string(),
                    reason: format!("it lies at {:#x} in a section of {data:#x} bytes", queue.offset),
                });
            }
        }
        Ok(Queues { queues, data })
    }

    /// The queues, in the order in which they lie in the arena.
    pub fn iter(&self) -> slice::Iter<'_, Declared> {
        self.queues.iter()
    }

    /// The queue is made for `capacity` elements, whatever the program says. The name of an array means all its queues.
    ///
    /// # Errors
    ///
    /// [`Error::Arena`] names the queues that there are, if `name` is none; [`Error::Capacity`] says which capacity would
    /// do. Nothing has changed then.
    pub fn set_capacity(&mut self, name: &str, capacity: u64) -> Result<(), Error> {
        let mut named = self.queues.iter().filter(|queue| queue.is_called(name)).peekable();
        if named.peek().is_none() {
            let has = self.queues.iter().map(|queue| queue.name).collect();
            return Err(ArenaError::Absent { name: name.into(), has }.into());
        }
        for queue in named {
            Declared { capacity, ..queue.clone() }.room()?;
        }
        for queue in self.queues.iter_mut().filter(|queue| queue.is_called(name)) {
            queue.capacity = capacity;
        }
        Ok(())
    }

    /// How many pages the arena needs.
    ///
    /// # Errors
    ///
    /// [`Error::Capacity`] if a queue cannot have its capacity, [`Error::ArenaTooLarge`] if no arena has room for all.
    pub fn pages(&self) -> Result<u32, Error> {
        let page = rustix::param::page_size() as u64;
        let mut needed = (self.data as u64).next_multiple_of(page) + Places::room(self.queues.len()) as u64;
        for queue in &self.queues {
            needed = needed.saturating_add(queue.room()?);
        }
        if needed > LARGEST {
            return Err(Error::ArenaTooLarge { needed });
        }
        Ok(needed.div_ceil(page) as u32)
    }

    /// Makes the object ready to be loaded: its arena gets as many pages as the queues need, and more if the program
    /// declares more; and an address at which other processes have nothing; see [`place_arena`].
    /// [`load`](Self::load) does it; who loads the object otherwise, such as by a skeleton, calls this.
    ///
    /// # Errors
    ///
    /// As [`pages`](Self::pages), and [`Error::Bpf`] if libbpf refuses.
    pub fn prepare(&self, object: &mut OpenObject) -> Result<(), Error> {
        let pages = self.pages()?;
        let arena = object.maps_mut().find(|map| map.map_type() == MapType::Arena);
        let mut arena = arena.ok_or(Error::NoArena)?;
        let pages = pages.max(arena.max_entries());
        arena.set_max_entries(pages).map_err(Error::bpf("setting the size of the arena"))?;
        place_arena(&mut arena).map_err(Error::bpf("setting the address of the arena"))?;
        match arena.initial_value_mut() {
            Some(value) if value.len() == self.data => self.mark(value),
            _ => return Err(Error::OtherObject),
        }
        self.size_scratch(object)
    }

    /// Records have a value of scratch memory for each of their lanes.
    fn size_scratch(&self, object: &mut OpenObject) -> Result<(), Error> {
        for records in self.queues.iter().filter(|queue| queue.kind == Kind::Records) {
            let name = format!("{}{SCRATCH}", records.name);
            let missing = || Error::Declaration {
                variable: records.name.to_string(),
                reason: format!("the object has no map {name}: declare it with ARENAQ_RECORDS"),
            };
            let mut scratch = object.maps_mut().find(|map| map.name() == &*name).ok_or_else(missing)?;
            // There are few processors, and no more than four lanes.
            let lanes = (records.shards * LANES as u64) as u32;
            scratch.set_max_entries(lanes).map_err(Error::bpf(format!("setting the size of {name}")))?;
        }
        Ok(())
    }

    /// Loads the object, with an arena that has room for the queues; see [`load_object`].
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare), and [`Error::Load`].
    pub fn load(&self, mut object: OpenObject) -> Result<Object, Error> {
        self.prepare(&mut object)?;
        load_object("loading the BPF programs", || Ok(object))
    }

    /// Makes the queues in the arena of the loaded object. Attach the programs after it: until then a push fails with
    /// `DS_ERROR_INVALID`, and what it has counted as dropped is forgotten here.
    ///
    /// # Errors
    ///
    /// [`Error::NotPrepared`] if the object was loaded without [`prepare`](Self::prepare), [`Error::Made`] if its queues
    /// were made already; [`Error::Create`] or [`Error::Arena`] if a queue does not fit, because other queues were
    /// asked for before the load.
    pub fn create<'o>(&self, object: &'o Object) -> Result<Arena<'o>, Error> {
        let data = self.data_of(object)?;
        data.advance(Stage::Prepared, Stage::Made)?;
        let region = Self::region(&data)?;
        let places = Places::in_free(data.free(), self.queues.len())?;
        let mut arena = Arena::format(region, places)?;
        for queue in &self.queues {
            arena.create(&queue.spec(queue.placed(data.start())))?;
        }
        arena.publish();
        Ok(arena)
    }

    /// Makes the queues, and says where the arena is.
    pub(crate) fn create_mapped(&self, object: &Object) -> Result<Mapping, Error> {
        self.create(object)?;
        let data = self.data_of(object)?;
        // SAFETY: libbpf has mapped the arena for as long as the object lives, which the caller keeps beside the mapping.
        Ok(unsafe { Mapping::of(data.all(), self.header(&data)?) })
    }

    /// The arena of an object whose queues were made: for who has dropped it, and for other threads.
    ///
    /// # Errors
    ///
    /// [`Error::NotMade`] if they were not, [`Error::Arena`] if the arena is damaged.
    pub fn attach<'o>(&self, object: &'o Object) -> Result<Arena<'o>, Error> {
        let data = self.data_of(object)?;
        if data.stage() != Stage::Made {
            return Err(Error::NotMade);
        }
        Ok(Arena::attach(Self::region(&data)?, self.header(&data)?)?)
    }

    /// The consuming end of a queue of an object that somebody else keeps, such as a skeleton: the receiver borrows it.
    /// [`Loaded::receiver`](crate::Loaded::receiver) is for who gives the object away.
    ///
    /// # Errors
    ///
    /// As [`attach`](Self::attach), and [`Error::Arena`] if there is no such queue, it carries something else, or has its
    /// consumer.
    pub fn receiver<'o, T: Element>(
        &self,
        object: &'o Object,
        name: &str,
    ) -> Result<Receiver<T, &'o Object>, Error> {
        self.receive(object, name)
    }

    /// The same for whoever does not know the type of the elements: the receiver hands their bytes over.
    ///
    /// # Errors
    ///
    /// As [`receiver`](Self::receiver).
    pub fn receiver_bytes<'o>(
        &self,
        object: &'o Object,
        name: &str,
    ) -> Result<Receiver<[u8], &'o Object>, Error> {
        self.receive(object, name)
    }

    fn receive<'o, T: Carried + ?Sized>(
        &self,
        object: &'o Object,
        name: &str,
    ) -> Result<Receiver<T, &'o Object>, Error> {
        // SAFETY: the receiver borrows the object for longer than it has what is made of this, and gives nothing of it away.
        let kept: &'static Object = unsafe { &*ptr::from_ref(object) };
        let arena = self.attach(kept)?;
        let queues = Named::all(&arena);
        let queue = Named::find_in(&arena, &queues, name)?;
        let (events, doorbell) = (arena.event_count_of(name).ok(), Doorbell::of(object)?);
        let end = T::of_this_process(&arena, queue)?;
        Ok(Receiver::of(Parts { end, events, doorbell, known: None }, object))
    }

    /// The consuming end of records of an object that somebody else keeps: the receiver borrows it. `shards` are those that it
    /// consumes; all of them, if none are said.
    ///
    /// # Errors
    ///
    /// As [`Loaded::records_of_shards`](crate::Loaded::records_of_shards), and as [`attach`](Self::attach).
    pub fn records<'o>(
        &self,
        object: &'o Object,
        name: &str,
        shards: Option<Range<usize>>,
    ) -> Result<RecordReceiver<&'o Object>, Error> {
        // SAFETY: as in `receive`.
        let kept: &'static Object = unsafe { &*ptr::from_ref(object) };
        let arena = self.attach(kept)?;
        let records = arena.records(name, this_process())?;
        let shards = shards_of(&records, name, shards)?;
        let consumers = consumers(&records, name, shards)?;
        let (events, doorbell) = (arena.event_count_of(name).ok(), Doorbell::of(object)?);
        let parts = records::Parts { records, consumers, events, doorbell, known: None };
        Ok(RecordReceiver::of(parts, object))
    }

    fn header(&self, data: &Data<'_>) -> Result<usize, Error> {
        Ok(Places::in_free(data.free(), self.queues.len())?.header)
    }

    fn region<'o>(data: &Data<'o>) -> Result<Region<'o>, Error> {
        let all = data.all();
        // SAFETY: libbpf has mapped it for as long as the object lives, which is borrowed. In this process it is written
        // only by arenaq's algorithms, and by the one that advanced the stage to make the queues.
        Ok(unsafe { Region::new(ptr::with_exposed_provenance_mut(all.start), all.len()) }?)
    }

    /// Where in the section the word lies that says how far the queues are: the last one of the first queue's last
    /// line, of which only the first word is an event count.
    fn stage_offset(&self) -> usize {
        let first = &self.queues[0];
        first.offset + first.size() - size_of::<u64>()
    }

    fn mark(&self, value: &mut [u8]) {
        let offset = self.stage_offset();
        value[offset..][..size_of::<u64>()].copy_from_slice(&Stage::Prepared.word().to_ne_bytes());
    }

    fn data_of<'o>(&self, object: &'o Object) -> Result<Data<'o>, Error> {
        Data::find(object, self.data, self.stage_offset())
    }
}

impl<'q> IntoIterator for &'q Queues {
    type Item = &'q Declared;
    type IntoIter = slice::Iter<'q, Declared>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
