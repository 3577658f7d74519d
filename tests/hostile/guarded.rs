//! Memory between pages that nobody may touch.

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use arenaq::arena::Region;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// What lies on both sides of the memory: more than an index of 32 bits reaches with small cells.
const GUARD: usize = 64 << 30;

/// Memory for an arena. It is always at the same address, so that a seed means the same damage again; and whoever leaves it is
/// ended by a signal.
pub(crate) struct Guarded {
    mapping: NonNull<c_void>,
    length: usize,
}

impl Guarded {
    /// `pages` pages, the `number`th such memory of this process.
    pub(crate) fn new(number: usize, pages: usize) -> Guarded {
        let (length, size) = (pages * 4096, pages * 4096 + 2 * GUARD);
        // Below are the sanitizers' shadows.
        let address = (1 << 45) + number * (1 << 38);
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
        // SAFETY: nothing is there, or the kernel refuses.
        let mapping =
            unsafe { mmap_anonymous(ptr::without_provenance_mut(address), size, ProtFlags::empty(), flags) }
                .expect("addresses that nobody uses");
        // SAFETY: within the mapping, in which there is nothing yet.
        unsafe { mprotect(mapping.byte_add(GUARD), length, MprotectFlags::READ | MprotectFlags::WRITE) }
            .expect("memory for an arena");
        Guarded { mapping: NonNull::new(mapping).expect("not at null"), length }
    }

    fn first(&self) -> *mut u64 {
        // SAFETY: within the mapping.
        unsafe { self.mapping.as_ptr().byte_add(GUARD) }.cast()
    }

    /// The address of the memory.
    pub(crate) fn base(&self) -> u64 {
        self.first().addr() as u64
    }

    /// How many words it has.
    pub(crate) fn words(&self) -> usize {
        self.length / 8
    }

    /// The region for an arena. There may be several, for several processes are what this is about.
    pub(crate) fn region(&self) -> Region<'_> {
        // SAFETY: mapped as long as `self` is there. Everything else that touches it does so as another process would.
        unsafe { Region::new(self.first().cast(), self.length) }.expect("a region")
    }

    /// A word.
    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.words());
        // SAFETY: in bounds and aligned, and mapped as long as `self` is there.
        unsafe { AtomicU64::from_ptr(self.first().add(index)) }
    }

    /// The word at an address of the memory.
    pub(crate) fn at(&self, address: u64) -> u64 {
        self.word((address - self.base()) as usize / 8).load(Ordering::Relaxed)
    }

    /// All words.
    pub(crate) fn copy(&self) -> Vec<u64> {
        (0..self.words()).map(|index| self.word(index).load(Ordering::Relaxed)).collect()
    }

    /// Writes all words, which nobody else uses at this time.
    pub(crate) fn restore(&self, words: &[u64]) {
        assert_eq!(words.len(), self.words());
        // SAFETY: so many words are there, and nobody uses them.
        unsafe { self.first().copy_from_nonoverlapping(words.as_ptr(), words.len()) };
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping that was made in `new`, to which nothing leads any more.
        unsafe { munmap(self.mapping.as_ptr(), self.length + 2 * GUARD) }.expect("a mapping");
    }
}

// SAFETY: an address; all accesses are atomic, or those of the queues.
unsafe impl Send for Guarded {}
// SAFETY: as above.
unsafe impl Sync for Guarded {}
