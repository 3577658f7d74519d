//! Memory that has to be there before a BPF program gets it: programs cannot fault pages in.

use std::ops::Range;
use std::ptr;

use rustix::mm::{Advice, madvise};

/// Sees to it that the arena has pages at these addresses, which this process has mapped. What lies there keeps
/// its contents. `false` if the kernel has no page for all of them; a write would be a `SIGSEGV` then. For
/// [`arenaq::mpsc::Consumer::repair_with`].
#[must_use]
pub fn populate(addresses: Range<usize>) -> bool {
    let page = rustix::param::page_size();
    let start = addresses.start / page * page;
    let length = addresses.end.next_multiple_of(page) - start;
    // SAFETY: populating changes no contents, and is refused where nothing is mapped.
    unsafe { madvise(ptr::with_exposed_provenance_mut(start), length, Advice::LinuxPopulateWrite) }.is_ok()
}
