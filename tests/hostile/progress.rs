//! What a child that dies leaves of what it has done: a page that both processes have mapped.

use std::fs::File;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap};

/// How far a child has come.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The seed of the arena that it has at this time.
    pub(crate) seed: AtomicU64,
    /// How many arenas it has come through.
    pub(crate) arenas: AtomicU64,
    /// How many of them could be attached to.
    pub(crate) attached: AtomicU64,
    /// How many operations it has come through.
    pub(crate) operations: AtomicU64,
    /// How long one arena has taken at most, in nanoseconds of the processor.
    pub(crate) longest: AtomicU64,
}

impl Progress {
    /// The progress that is kept in a file, for as long as this process runs.
    pub(crate) fn kept_in(file: &File) -> &'static Progress {
        file.set_len(4096).expect("room for a page");
        let both = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping of a page of the file, which is never unmapped, holds numbers that change only as atomics.
        unsafe {
            let page = mmap(ptr::null_mut(), 4096, both, MapFlags::SHARED, file, 0).expect("a page");
            &*page.cast()
        }
    }
}

/// Adds to a number of the child's.
pub(crate) fn add(counter: &AtomicU64, value: u64) {
    counter.fetch_add(value, Ordering::Relaxed);
}
