//! The queues that are to be made, and making them.

use std::ffi::{c_char, c_int};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{ptr, slice};

use queues::Status;
use queues::arena::{Arena, ArenaError, MAX_QUEUES, Name, Placed, Places, Region, Spec};
use queues::payload::{ElementType, FieldLayout, UNKNOWN, hash};
use queues::records::LANES;
use queues::structures::Kind;

use crate::arena::{Attached, give};
use crate::error::{Failure, code};
use crate::memory::{Memory, exclusive, shared, text};

/// What a word among an object's variables says: it was made ready, and its queues were made. They are those of
/// `arenaq-libbpf`, so that an object's queues are made once whoever makes them.
const PREPARED: u64 = u64::from_le_bytes(*b"arenaq 0");
const MADE: u64 = u64::from_le_bytes(*b"arenaq 1");

/// Where a variable lies that is none.
const NOWHERE: usize = usize::MAX;

/// One queue.
#[derive(Clone, Debug)]
struct Declared {
    name: Name,
    kind: Kind,
    element: ElementType,
    capacity: u64,
    /// Of records.
    shards: u64,
    /// Where its variable begins in the section of an arena's variables.
    offset: Option<usize>,
}

impl Declared {
    fn spec(&self, data: usize) -> Spec<'_> {
        let spec = Spec::of(self.kind, self.name.as_str(), self.element, self.capacity).shards(self.shards);
        match self.offset {
            None => spec,
            Some(offset) => spec.at(Placed::of(self.kind, data + offset)),
        }
    }

    /// Where its variable ends.
    fn end(&self, offset: usize) -> usize {
        offset.saturating_add(self.kind.control_size())
    }

    fn is_called(&self, name: &str) -> bool {
        let own = self.name.as_str();
        own == name || own.strip_prefix(name).is_some_and(|rest| rest.starts_with('['))
    }
}

/// `struct arenaq_queues`.
#[derive(Debug, Default)]
pub struct Queues(Vec<Declared>);

impl Queues {
    /// How many bytes they need beside their variables.
    fn room(&self) -> Result<usize, Failure> {
        let mut room = Places::room(self.0.len()) as u64;
        for queue in &self.0 {
            room = room.saturating_add(queue.spec(0).room().map_err(Failure::from)?);
        }
        usize::try_from(room)
            .map_err(|_| Failure::new(Status::NoMemory, "the queues are larger than any memory"))
    }

    /// Where the word lies that says how far an object's queues are: the last one of the first queue's last line, of which
    /// only the first word is an event count.
    fn stage(&self, data: usize) -> Result<usize, Failure> {
        let placed = self.0.iter().filter_map(|queue| Some((queue.offset?, queue)));
        let first = placed.clone().min_by_key(|(offset, _)| *offset);
        let fits = placed
            .clone()
            .all(|(offset, queue)| queue.end(offset) <= data && offset % Kind::CONTROL_ALIGN == 0);
        match first {
            Some((offset, queue)) if fits => Ok(queue.end(offset) - size_of::<u64>()),
            _ => Err(Failure::invalid("these are not the variables of the object whose queues were added")),
        }
    }

    fn create(&self, region: Region<'static>, free: Range<usize>, data: usize) -> Result<Made, Failure> {
        let places = Places::in_free(free, self.0.len())?;
        let header = places.header;
        let mut arena = Arena::format(region, places)?;
        for queue in &self.0 {
            arena.create(&queue.spec(data))?;
        }
        arena.publish();
        Ok(Made { arena, header })
    }
}

/// An arena, and where its header lies.
struct Made {
    arena: Arena<'static>,
    header: usize,
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn arenaq_queues_new() -> *mut Queues {
    Box::into_raw(Box::default())
}

/// See the header.
///
/// # Safety
///
/// `queues` is null or from [`arenaq_queues_new`], and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_queues_free(queues: *mut Queues) {
    if !queues.is_null() {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(queues) });
    }
}

/// What an element is. `struct arenaq_declaration` in the header.
#[repr(C)]
#[derive(Debug)]
pub struct Declaration {
    name: *const c_char,
    kind: u64,
    element_size: u64,
    element_hash: u64,
    capacity: u64,
    offset: usize,
}

/// See the header.
///
/// # Safety
///
/// `queues` is from [`arenaq_queues_new`] and used by nobody else; `declaration` and its name live as long as this runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_queues_add(queues: *mut Queues, declaration: *const Declaration) -> c_int {
    code((|| {
        // SAFETY: the caller's promise.
        let (queues, declaration) =
            unsafe { (exclusive("queues", queues)?, shared("declaration", declaration)?) };
        // SAFETY: the caller's promise.
        let name = unsafe { text("the name of the queue", declaration.name) }?;
        let name = Name::new(name).ok_or_else(|| ArenaError::Name(name.into()))?;
        let kind = Kind::from_code(declaration.kind).ok_or_else(|| {
            Failure::invalid("a queue is ARENAQ_KIND_MPMC, ARENAQ_KIND_MPSC or ARENAQ_KIND_RECORDS")
        })?;
        if queues.0.iter().any(|queue| queue.name == name) {
            return Err(Failure::new(Status::Exists, format_args!("there is a queue `{name}` already")));
        }
        if queues.0.len() == MAX_QUEUES {
            return Err(Failure::new(
                Status::NoMemory,
                format_args!("an arena has at most {MAX_QUEUES} queues"),
            ));
        }
        let Declaration { element_size, element_hash, capacity, offset, .. } = *declaration;
        let size = element_size.checked_next_multiple_of(8).unwrap_or(element_size);
        let offset = Some(offset).filter(|offset| *offset != NOWHERE);
        let element = ElementType { size, hash: element_hash };
        let shards = if kind == Kind::Records { processors() } else { 1 };
        let queue = Declared { name, kind, element, capacity, shards, offset };
        queue.spec(0).room()?;
        queues.0.push(queue);
        Ok(())
    })())
}

/// See the header.
///
/// # Safety
///
/// As [`arenaq_queues_add`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_queues_set_capacity(
    queues: *mut Queues,
    name: *const c_char,
    capacity: u64,
) -> c_int {
    code((|| {
        // SAFETY: the caller's promise.
        let (queues, name) = unsafe { (exclusive("queues", queues)?, text("the name of the queue", name)?) };
        let mut named = queues.0.iter().filter(|queue| queue.is_called(name)).peekable();
        if named.peek().is_none() {
            return Err(Failure::new(Status::NotFound, format_args!("there is no queue `{name}`")));
        }
        for queue in named {
            Declared { capacity, ..queue.clone() }.spec(0).room()?;
        }
        queues.0.iter_mut().filter(|queue| queue.is_called(name)).for_each(|queue| queue.capacity = capacity);
        Ok(())
    })())
}

/// How many processors this machine may have.
fn processors() -> u64 {
    // SAFETY: it has no preconditions.
    let processors = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
    u64::try_from(processors).unwrap_or(1).max(1)
}

/// See the header.
///
/// # Safety
///
/// As [`arenaq_queues_add`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_queues_set_shards(
    queues: *mut Queues,
    name: *const c_char,
    shards: u64,
) -> c_int {
    code((|| {
        // SAFETY: the caller's promise.
        let (queues, name) =
            unsafe { (exclusive("queues", queues)?, text("the name of the records", name)?) };
        let records = queues.0.iter_mut().find(|queue| queue.name.as_str() == name);
        let records = records
            .ok_or_else(|| Failure::new(Status::NotFound, format_args!("there are no records `{name}`")))?;
        if records.kind != Kind::Records {
            return Err(Failure::invalid(format_args!("`{name}` is a queue: only records have shards")));
        }
        let other = Declared { shards, ..records.clone() };
        other.spec(0).room()?;
        *records = other;
        Ok(())
    })())
}

/// See the header.
///
/// # Safety
///
/// `queues` is null or from [`arenaq_queues_new`], and nobody changes it meanwhile; `name` is a string or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_queues_lanes(queues: *const Queues, name: *const c_char) -> u32 {
    // SAFETY: the caller's promise.
    let (Some(queues), Ok(name)) = (unsafe { (queues.as_ref(), text("the name of the records", name)) })
    else {
        return 0;
    };
    let mut records = queues.0.iter().filter(|queue| queue.kind == Kind::Records);
    let found = records.find(|records| records.name.as_str() == name);
    // Few enough, as `room` has found when they were declared.
    found.map_or(0, |records| (records.shards * LANES as u64) as u32)
}

/// See the header.
///
/// # Safety
///
/// `queues` is from [`arenaq_queues_new`], and nobody changes it meanwhile; `room` leads to a number or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_queues_room(queues: *const Queues, room: *mut usize) -> c_int {
    code((|| {
        // SAFETY: the caller's promise.
        let (queues, room) = unsafe { (shared("queues", queues)?, exclusive("room", room)?) };
        *room = queues.room()?;
        Ok(())
    })())
}

/// See the header.
///
/// # Safety
///
/// As [`arenaq_queues_room`]; `data` leads to `size` bytes that nobody else uses meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_queues_mark(queues: *const Queues, data: *mut u8, size: usize) -> c_int {
    code((|| {
        // SAFETY: the caller's promise.
        let queues = unsafe { shared("queues", queues) }?;
        if data.is_null() {
            return Err(Failure::null("data"));
        }
        let stage = queues.stage(size)?;
        // SAFETY: the word lies in the bytes.
        unsafe { data.add(stage).cast::<u64>().write_unaligned(PREPARED) };
        Ok(())
    })())
}

/// See the header.
///
/// # Safety
///
/// As [`arenaq_queues_room`]; the `length` bytes at `base` are mapped and writable until the arena and all its ends are
/// closed, and in this process nothing else touches them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_queues_create(
    queues: *const Queues,
    base: *mut u8,
    length: usize,
    arena: *mut *mut Attached,
) -> c_int {
    code((|| {
        // SAFETY: the caller's promise.
        let (queues, arena) = unsafe { (shared("queues", queues)?, exclusive("arena", arena)?) };
        if queues.0.iter().any(|queue| queue.offset.is_some()) {
            return Err(Failure::invalid(
                "the queues are variables of an object: call arenaq_queues_create_loaded",
            ));
        }
        // SAFETY: the caller's promise.
        let region = unsafe { Region::new(base, length) }?;
        let free = region.addresses();
        let Made { arena: made, header } = queues.create(region, free, 0)?;
        give(arena, made, header, None);
        Ok(())
    })())
}

/// See the header.
///
/// # Safety
///
/// As [`arenaq_queues_room`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_queues_create_private(
    queues: *const Queues,
    arena: *mut *mut Attached,
) -> c_int {
    code((|| {
        // SAFETY: the caller's promise.
        let (queues, arena) = unsafe { (shared("queues", queues)?, exclusive("arena", arena)?) };
        if queues.0.iter().any(|queue| queue.offset.is_some()) {
            return Err(Failure::invalid(
                "the queues are variables of an object: call arenaq_queues_create_loaded",
            ));
        }
        let room = queues.room()?;
        let memory = Memory::new(room).ok_or_else(|| {
            Failure::new(Status::NoMemory, format_args!("there are no {room} bytes of memory"))
        })?;
        // SAFETY: the memory is kept until the arena and all its ends are gone, and only they know of it.
        let region = unsafe { Region::new(memory.start(), memory.length()) }?;
        let free = region.addresses();
        let Made { arena: made, header } = queues.create(region, free, 0)?;
        give(arena, made, header, Some(memory));
        Ok(())
    })())
}

/// See the header.
///
/// # Safety
///
/// As [`arenaq_queues_create`]; programs of the object may run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_queues_create_loaded(
    queues: *const Queues,
    base: *mut u8,
    length: usize,
    size: usize,
    arena: *mut *mut Attached,
) -> c_int {
    code((|| {
        // SAFETY: the caller's promise.
        let (queues, arena) = unsafe { (shared("queues", queues)?, exclusive("arena", arena)?) };
        let stage = queues.stage(size)?;
        // SAFETY: the caller's promise.
        let region = unsafe { Region::new(base, length) }?;
        let Range { start, end } = region.addresses();
        let page = rustix::param::page_size();
        if !start.is_multiple_of(page) || !length.is_multiple_of(page) || size > length {
            return Err(Failure::invalid(
                "an arena begins with a page, has whole pages, and room for its variables",
            ));
        }
        // libbpf puts the variables at one end of the arena, and does not tell which: the mark does.
        let pages = size.next_multiple_of(page);
        let place = [end - pages, start].into_iter().find_map(|data| {
            // SAFETY: in the region and aligned, for variables are; a word of it is changed only as an atomic.
            let word = unsafe {
                &*ptr::with_exposed_provenance::<AtomicU64>(base.expose_provenance() - start + data + stage)
            };
            [PREPARED, MADE].contains(&word.load(Ordering::Relaxed)).then_some((data, word))
        });
        let (data, word) = place.ok_or_else(|| {
            Failure::invalid(
                "the object was loaded without its mark: call arenaq_libbpf_prepare before the load",
            )
        })?;
        if word.compare_exchange(PREPARED, MADE, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return Err(Failure::new(Status::Exists, "the queues of the object were made already"));
        }
        let free = if data == start { data + pages..end } else { start..data };
        let Made { arena: made, header } = queues.create(region, free, data)?;
        give(arena, made, header, None);
        Ok(())
    })())
}

/// A field of an element. `struct arenaq_field` in the header.
#[repr(C)]
#[derive(Debug)]
pub struct Field {
    name: *const c_char,
    offset: usize,
    size: usize,
}

/// See the header.
///
/// # Safety
///
/// `fields` leads to so many fields, whose names live as long as this runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_element_hash(size: usize, fields: *const Field, count: usize) -> u64 {
    if fields.is_null() || count == 0 {
        return UNKNOWN;
    }
    // SAFETY: the caller's promise.
    let fields = unsafe { slice::from_raw_parts(fields, count) };
    let layout = |field: &Field| {
        // SAFETY: the caller's promise.
        let name = unsafe { text("the name of a field", field.name) }.ok()?;
        Some(FieldLayout { name, offset: field.offset, size: field.size })
    };
    let layouts: Option<Vec<FieldLayout<'_>>> = fields.iter().map(layout).collect();
    layouts.map_or(UNKNOWN, |layouts| hash(size, &layouts))
}
