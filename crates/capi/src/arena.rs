//! Arenas that were made or found.

use std::ffi::{c_char, c_int};
use std::sync::Arc;

use queues::Status;
use queues::arena::{Arena, QueueInfo, Region};

use crate::error::{Failure, code};
use crate::memory::{Memory, exclusive, path, shared, text};
use crate::pinned::{self, Pinned};

/// `struct arenaq_arena`.
#[derive(Debug)]
pub struct Attached {
    pub(crate) shared: Arc<Shared>,
    header: usize,
}

/// What an arena and all its ends keep.
#[derive(Debug)]
pub(crate) struct Shared {
    // Dropped in this order: the memory is freed last.
    pub(crate) arena: Arena<'static>,
    _memory: Option<Memory>,
    /// Where it is pinned, if it was attached by that.
    pub(crate) pinned: Option<Pinned>,
}

/// Hands an arena out.
pub(crate) fn give(place: &mut *mut Attached, arena: Arena<'static>, header: usize, memory: Option<Memory>) {
    hand_out(place, header, Shared { arena, _memory: memory, pinned: None });
}

fn hand_out(place: &mut *mut Attached, header: usize, shared: Shared) {
    *place = Box::into_raw(Box::new(Attached { shared: Arc::new(shared), header }));
}

/// See the header.
///
/// # Safety
///
/// `folder` is a string and `arena` leads to a pointer, or they are null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_arena_attach_pinned(
    folder: *const c_char,
    arena: *mut *mut Attached,
) -> c_int {
    code((|| {
        // SAFETY: the caller's promise.
        let (folder, place) = unsafe { (path("the folder", folder)?, exclusive("arena", arena)?) };
        // SAFETY: `Shared` drops the arena first, and all its ends keep that.
        let (arena, header, pinned) = unsafe { pinned::attach(folder) }?;
        hand_out(place, header, Shared { arena, _memory: None, pinned: Some(pinned) });
        Ok(())
    })())
}

/// See the header.
///
/// # Safety
///
/// The `length` bytes at `base` are mapped and writable until the arena and all its ends are closed, and in this process
/// nothing else touches them; `arena` leads to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_arena_attach(
    base: *mut u8,
    length: usize,
    header: usize,
    arena: *mut *mut Attached,
) -> c_int {
    code((|| {
        // SAFETY: the caller's promise.
        let arena = unsafe { exclusive("arena", arena) }?;
        // SAFETY: the caller's promise.
        let region = unsafe { Region::new(base, length) }?;
        give(arena, Arena::attach(region, header)?, header, None);
        Ok(())
    })())
}

/// See the header.
///
/// # Safety
///
/// `arena` is null or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_arena_header(arena: *const Attached) -> usize {
    // SAFETY: the caller's promise.
    unsafe { arena.as_ref() }.map_or(0, |arena| arena.header)
}

/// See the header.
///
/// # Safety
///
/// `arena` is null or open, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_arena_close(arena: *mut Attached) {
    if !arena.is_null() {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(arena) });
    }
}

/// `struct arenaq_stat` in the header.
#[repr(C)]
#[derive(Debug)]
pub struct Stat {
    name: [u8; 48],
    kind: u64,
    element_size: u64,
    element_hash: u64,
    capacity: u64,
    full: u64,
    contended: u64,
    invalid: u64,
    corrupt: u64,
}

impl From<QueueInfo> for Stat {
    fn from(info: QueueInfo) -> Stat {
        let mut name = [0; 48];
        let bytes = info.name.as_str().as_bytes();
        name[..bytes.len()].copy_from_slice(bytes);
        let dropped = info.dropped.unwrap_or_default();
        Stat {
            name,
            kind: info.kind.code(),
            element_size: info.element.size,
            element_hash: info.element.hash,
            capacity: info.capacity,
            full: dropped.full,
            contended: dropped.contended,
            invalid: dropped.invalid,
            corrupt: dropped.corrupt,
        }
    }
}

/// See the header.
///
/// # Safety
///
/// `arena` is open, `name` is a string, `stat` leads to such a structure; or they are null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_arena_stat(
    arena: *const Attached,
    name: *const c_char,
    stat: *mut Stat,
) -> c_int {
    code((|| {
        // SAFETY: the caller's promise.
        let (arena, stat) = unsafe { (shared("arena", arena)?, exclusive("stat", stat)?) };
        // SAFETY: the caller's promise.
        let name = unsafe { text("the name of the queue", name) }?;
        let info = arena.shared.arena.queues().find(|info| info.name.as_str() == name);
        *stat = info
            .ok_or_else(|| Failure::new(Status::NotFound, format_args!("there is no queue `{name}`")))?
            .into();
        Ok(())
    })())
}

/// See the header.
///
/// # Safety
///
/// As [`arenaq_arena_stat`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn arenaq_arena_stat_at(
    arena: *const Attached,
    number: usize,
    stat: *mut Stat,
) -> c_int {
    code((|| {
        // SAFETY: the caller's promise.
        let (arena, stat) = unsafe { (shared("arena", arena)?, exclusive("stat", stat)?) };
        let info = arena.shared.arena.queues().nth(number);
        *stat = info.ok_or_else(|| Failure::new(Status::NotFound, "the arena has no more queues"))?.into();
        Ok(())
    })())
}
