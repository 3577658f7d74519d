//! Where the arena's variables lie once the object is loaded.
//!
//! libbpf puts them at one end of the arena: at the beginning up to its version 1.6, and on kernels that cannot address the
//! other end; behind everything else since. It does not tell which. So a word among them is marked before the load, and
//! whoever finds the mark knows where they are, and that the object was made ready for its queues.

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use libbpf_rs::{AsRawLibbpf, MapCore, MapType, Object};

use crate::error::Error;

/// How far the queues of an object are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The object was made ready, and loaded.
    Prepared,
    /// Somebody makes the queues, or has made them.
    Made,
}

impl Stage {
    pub(super) const fn word(self) -> u64 {
        u64::from_le_bytes(match self {
            Stage::Prepared => *b"arenaq 0",
            Stage::Made => *b"arenaq 1",
        })
    }

    fn of(word: u64) -> Option<Stage> {
        [Stage::Prepared, Stage::Made].into_iter().find(|stage| stage.word() == word)
    }
}

/// The variables of a loaded object's arena.
pub(super) struct Data<'o> {
    arena: Range<usize>,
    /// The pages of the variables.
    pages: Range<usize>,
    stage: &'o AtomicU64,
    object: PhantomData<&'o Object>,
}

impl<'o> Data<'o> {
    /// Finds them: `size` bytes, with the stage at `stage_offset`.
    pub(super) fn find(object: &'o Object, size: usize, stage_offset: usize) -> Result<Data<'o>, Error> {
        let map = object.maps().find(|map| map.map_type() == MapType::Arena).ok_or(Error::NoArena)?;
        let mut found = 0;
        // SAFETY: the map is one of the object's. Of an arena that is loaded libbpf returns where it has mapped it.
        let start =
            unsafe { libbpf_sys::bpf_map__initial_value(map.as_libbpf_object().as_ptr(), &raw mut found) };
        if start.is_null() || found as usize != size {
            return Err(Error::OtherObject);
        }
        let page = rustix::param::page_size();
        let arena = start.expose_provenance()..start.addr() + map.max_entries() as usize * page;
        let length = size.next_multiple_of(page);
        let ends = [arena.end.saturating_sub(length).max(arena.start), arena.start];
        for start in ends {
            if (start + stage_offset) % align_of::<AtomicU64>() != 0 || start + length > arena.end {
                continue;
            }
            let place = ptr::with_exposed_provenance::<AtomicU64>(start + stage_offset);
            // SAFETY: aligned, and in the arena, which libbpf keeps mapped for as long as the object lives. A word of it is
            // changed only as an atomic.
            let stage = unsafe { &*place };
            if Stage::of(stage.load(Ordering::Relaxed)).is_some() {
                return Ok(Data { arena, pages: start..start + length, stage, object: PhantomData });
            }
        }
        Err(Error::NotPrepared)
    }

    /// The address of the first variable.
    pub(super) fn start(&self) -> usize {
        self.pages.start
    }

    /// The whole arena.
    pub(super) fn all(&self) -> Range<usize> {
        self.arena.clone()
    }

    /// What the variables leave.
    pub(super) fn free(&self) -> Range<usize> {
        if self.pages.start == self.arena.start {
            self.pages.end..self.arena.end
        } else {
            self.arena.start..self.pages.start
        }
    }

    pub(super) fn stage(&self) -> Stage {
        // A program of the object may write there too: that is no stage then.
        Stage::of(self.stage.load(Ordering::Acquire)).unwrap_or(Stage::Prepared)
    }

    /// Goes on from one stage to the next, which one caller can.
    pub(super) fn advance(&self, from: Stage, to: Stage) -> Result<(), Error> {
        let advanced =
            self.stage.compare_exchange(from.word(), to.word(), Ordering::AcqRel, Ordering::Relaxed);
        advanced.map(drop).map_err(|_| Error::Made)
    }
}
