//! Where an arena is mapped: where other processes have nothing.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::ptr;

use libbpf_rs::{AsRawLibbpf, OpenMapMut};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix::param::page_size;

/// Addresses that Linux gives nobody who does not ask for them: it places what a process maps downwards from the end of its address
/// space, and programs, with their heaps, at the lowest addresses or in the upper third, on x86-64 as on arm64.
///
/// An arena has one address for all processes. Where the kernel chooses it, it lies beside the first one's libraries, and another
/// process, whose libraries the kernel has moved, may have them there: on arm64, where they move within a gibibyte, often.
const QUIET: Range<u64> = 0x1100_0000_0000..0x5000_0000_0000;
/// No arena crosses a multiple of this; the kernel refuses one that does.
const SLOT: u64 = 1 << 32;
/// What addresses are multiples of: what one page table maps.
const STEP: u64 = 1 << 21;
const ATTEMPTS: u32 = 16;

/// Gives an arena of an object that is not loaded an address at which other processes have nothing, unless it has one already
/// (`map_extra`) where it can lie: the program's, or one for as large an arena. [`Queues::prepare`](crate::Queues::prepare) does it;
/// who does without calls this when the arena has its size.
///
/// # Errors
///
/// What libbpf says.
pub fn place_arena(arena: &mut OpenMapMut<'_>) -> libbpf_rs::Result<()> {
    // SAFETY: the object has the map for as long as it lives.
    let given = unsafe { libbpf_sys::bpf_map__map_extra(arena.as_libbpf_object().as_ptr()) };
    let length = u64::from(arena.max_entries()) * page_size() as u64;
    match quiet(length).filter(|_| given == 0 || crosses(given, length)) {
        Some(address) => arena.set_map_extra(address),
        None => Ok(()),
    }
}

/// An address for an arena of so many bytes, at random, so that those of several objects and processes lie apart. `None` where the
/// kernel has to choose: in a smaller address space, under a limit of it, or for no arena that there can be.
fn quiet(length: u64) -> Option<u64> {
    (0..ATTEMPTS).map(|_| candidate(length)).find(|address| address.is_none_or(|it| is_free(it, length)))?
}

/// Whether so many bytes at an address are more than the kernel takes.
fn crosses(address: u64, length: u64) -> bool {
    address / SLOT != address.saturating_add(length.saturating_sub(1)) / SLOT
}

/// One of the addresses, whoever has it.
fn candidate(length: u64) -> Option<u64> {
    let places = SLOT.checked_sub(length)? / STEP + 1;
    let slots = (QUIET.end - QUIET.start) / SLOT;
    let random = RandomState::new().hash_one(length);
    Some(QUIET.start + random % slots * SLOT + random / slots % places * STEP)
}

/// Whether this process can map so many bytes there. What it maps later without asking for an address lies elsewhere.
fn is_free(address: u64, length: u64) -> bool {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED_NOREPLACE;
    let at = ptr::without_provenance_mut(address as usize);
    // SAFETY: nothing that is mapped is replaced.
    let Ok(mapped) = (unsafe { mmap_anonymous(at, length as usize, ProtFlags::empty(), flags) }) else {
        return false;
    };
    // SAFETY: it was mapped just now, and nobody else knows of it.
    let unmapped = unsafe { munmap(mapped, length as usize) };
    unmapped.is_ok() && mapped == at
}

#[cfg(test)]
mod tests {
    use super::{QUIET, SLOT, crosses, is_free, page_size, quiet};

    #[test]
    fn an_arena_of_any_size_is_given_addresses_that_nobody_has() {
        let mut addresses = Vec::new();
        for length in [1 << 12, 3 << 12, 1 << 20, (1 << 21) + (1 << 12), 1 << 30, SLOT - (1 << 12), SLOT] {
            let address = quiet(length).expect("there is much room");
            let end = address + length - 1;
            assert!(QUIET.contains(&address) && QUIET.contains(&end), "{length:#x}: {address:#x}");
            assert!(!crosses(address, length), "{length:#x}: {address:#x} crosses a multiple of 4 GiB");
            assert_eq!(address % (1 << 21), 0, "{length:#x}: {address:#x}");
            addresses.push(address / SLOT);
        }
        addresses.sort_unstable();
        addresses.dedup();
        assert!(addresses.len() > 3, "they are random: {addresses:x?}");
    }

    #[test]
    fn an_arena_that_has_grown_where_it_was_to_lie_gets_another_address() {
        let page = page_size() as u64;
        assert!(!crosses(3 * SLOT - page, page));
        assert!(crosses(3 * SLOT - page, 2 * page));
        assert!(crosses(3 * SLOT, SLOT + page) && !crosses(3 * SLOT, SLOT));
    }

    #[test]
    fn what_cannot_be_an_arena_and_what_somebody_has_is_not_given() {
        assert_eq!(quiet(SLOT + 1), None);
        let page = page_size() as u64;
        let here = 0u8;
        assert!(!is_free((&raw const here).addr() as u64 / page * page, page), "the stack lies there");
    }
}
