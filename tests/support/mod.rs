//! What the integration tests share.

#![allow(dead_code, reason = "every test binary uses a part of this")]

pub(crate) mod queue;
pub(crate) mod queues;
pub(crate) mod scripted;

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use arenaq::arena::{Arena, Places, Region, Spec};
use arenaq::count::CountPolicy;
use arenaq::payload::Element;
use arenaq::structures::layouts;

/// How often, here or under Miri, which is some hundred times slower.
pub(crate) const fn times(natively: u64, under_miri: u64) -> u64 {
    if cfg!(miri) { under_miri } else { natively }
}

/// The name of a test's MPMC queue.
pub(crate) const RING: &str = "ring";
/// The name of its MPSC queue.
pub(crate) const LIST: &str = "list";

/// An MPMC queue of so many cells.
pub(crate) fn ring<T: Element, C: CountPolicy>(capacity: u64) -> Spec<'static> {
    with_policy::<C>(Spec::mpmc::<T>(RING, capacity))
}

/// An MPSC queue of so many elements, whose pool can grow to as many as `limit`.
pub(crate) fn list<T: Element, C: CountPolicy>(elements: u64, limit: u64) -> Spec<'static> {
    with_policy::<C>(Spec::mpsc::<T>(LIST, elements).limit(limit))
}

fn with_policy<C: CountPolicy>(spec: Spec<'static>) -> Spec<'static> {
    if C::COUNTED { spec.counted() } else { spec }
}

/// Zeroed memory with the alignment of a page, which a test can also damage.
pub(crate) struct Memory {
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory is the allocation's own; who touches it when is up to the queues in it, or to the one
// thread that damages it.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    pub(crate) fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes.max(1), 4096).expect("a size that can be allocated");
        // SAFETY: the size is not 0.
        let base = unsafe { std::alloc::alloc_zeroed(layout) };
        Memory { base: NonNull::new(base).expect("memory for a test"), layout }
    }

    pub(crate) fn base(&self) -> usize {
        self.base.addr().get()
    }

    pub(crate) fn len(&self) -> usize {
        self.layout.size()
    }

    pub(crate) fn region(&self) -> Region<'_> {
        self.part(0, self.len())
    }

    /// A region that is only a part of the memory.
    pub(crate) fn part(&self, offset: usize, length: usize) -> Region<'_> {
        assert!(offset + length <= self.len());
        // SAFETY: in bounds, checked above; the memory lives as long as the region, and what a test writes
        // past the queues it writes while no operation runs, to bytes that are words, plain cells or unused.
        unsafe { Region::new(self.base.as_ptr().add(offset), length) }.expect("a region in an allocation")
    }

    pub(crate) fn places(&self) -> Places {
        Places::in_plain_memory(&self.region()).expect("room for the control blocks")
    }

    /// A formatted arena without queues.
    pub(crate) fn format(&self) -> Arena<'_> {
        Arena::format(self.region(), self.places()).expect("a well placed header")
    }

    /// The address of a field of a queue's entry in the directory.
    pub(crate) fn entry(&self, queue: &str, field: &str) -> usize {
        let mut name = [0; 8];
        name[..queue.len()].copy_from_slice(queue.as_bytes());
        let header = self.places().header;
        let [first, entries] =
            ["directory", "queues"].map(|field| self.peek(header + offset("arenaq_header", field)) as usize);
        (0..entries)
            .map(|number| first + number * ENTRY)
            .find(|entry| self.peek(*entry) == u64::from_ne_bytes(name))
            .unwrap_or_else(|| panic!("the directory has no `{queue}`"))
            + offset("arenaq_entry", field)
    }

    /// The word at `address`.
    pub(crate) fn peek(&self, address: usize) -> u64 {
        // SAFETY: in bounds and aligned, checked by `word`. Atomic, for a test may look while operations run; and a pointer, for it
        // may be one, of which a test wants the address.
        unsafe { AtomicPtr::<u8>::from_ptr(self.word(address).cast()) }.load(Ordering::Relaxed).addr() as u64
    }

    /// Overwrites the word at `address`.
    pub(crate) fn poke(&self, address: usize, value: u64) {
        // SAFETY: as `peek`; everything in shared memory is valid whatever its bytes, and interior mutable.
        unsafe { AtomicU64::from_ptr(self.word(address)) }.store(value, Ordering::Relaxed);
    }

    /// Overwrites the byte at `offset`.
    pub(crate) fn poke_byte(&self, offset: usize, value: u8) {
        assert!(offset < self.len());
        // SAFETY: in bounds; else as `poke`.
        unsafe { self.base.add(offset).write(value) }
    }

    fn word(&self, address: usize) -> *mut u64 {
        let offset = address.checked_sub(self.base()).expect("an address in the memory");
        assert!(offset + 8 <= self.len() && offset % 8 == 0, "a word of the memory");
        // SAFETY: in bounds, checked above.
        unsafe { self.base.as_ptr().add(offset) }.cast()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { std::alloc::dealloc(self.base.as_ptr(), self.layout) }
    }
}

/// The size of an entry of the directory.
pub(crate) const ENTRY: usize = 128;

/// Where a field lies in its structure, by the names in C.
pub(crate) fn offset(structure: &str, field: &str) -> usize {
    layouts()
        .find(|s| s.name == structure)
        .and_then(|s| s.fields.iter().find(|(name, _)| *name == field))
        .unwrap_or_else(|| panic!("no field {structure}.{field}"))
        .1
}
