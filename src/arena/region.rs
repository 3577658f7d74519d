//! Memory that is mapped, and checked addresses in it.

use core::marker::PhantomData;
use core::ops::Range;
use core::ptr::NonNull;

use super::error::ArenaError;

/// Shared memory that this process has mapped, for one [`Arena`](super::Arena) to be made of or found in.
///
/// It is neither `Clone` nor `Copy`: memory with live handles cannot be formatted again.
#[derive(Debug)]
pub struct Region<'m>(pub(super) Span<'m>);

impl<'m> Region<'m> {
    /// The `length` bytes at `base`.
    ///
    /// # Errors
    ///
    /// [`ArenaError`] if `base` is null or `length` is more than any mapping can have.
    ///
    /// # Safety
    ///
    /// For all of `'m` the memory is mapped, readable and writable, and in this process nothing in it is touched but
    /// through this crate's handles. What other processes and BPF programs write there is not promised: an
    /// [`Arena`](super::Arena) trusts none of it.
    pub const unsafe fn new(base: *mut u8, length: usize) -> Result<Self, ArenaError> {
        match NonNull::new(base) {
            Some(base) if length <= isize::MAX as usize => {
                Ok(Region(Span { base, length, memory: PhantomData }))
            }
            _ => Err(ArenaError::OutOfBounds { what: "the region", address: 0, size: length, region: 0..0 }),
        }
    }

    /// The addresses of the region.
    pub fn addresses(&self) -> Range<usize> {
        self.0.addresses()
    }
}

/// A region, as all handles to one arena share it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'m> {
    base: NonNull<u8>,
    length: usize,
    memory: PhantomData<&'m ()>,
}

// SAFETY: a span is an address and a length. What may be done with the memory from which thread is up to the
// types that are made from it.
unsafe impl Send for Span<'_> {}
// SAFETY: as above.
unsafe impl Sync for Span<'_> {}

impl<'m> Span<'m> {
    pub(super) fn addresses(&self) -> Range<usize> {
        let start = self.base.addr().get();
        start..start + self.length
    }

    /// `count` values of type `S` at `address`, if they lie in the region.
    pub(super) fn place<S>(
        &self,
        what: &'static str,
        address: usize,
        count: usize,
    ) -> Result<NonNull<S>, ArenaError> {
        self.place_bytes(what, address, size_of::<S>().saturating_mul(count))
    }

    /// Values of type `S` at `address`, so many bytes of them, if they lie in the region.
    pub(super) fn place_bytes<S>(
        &self,
        what: &'static str,
        address: usize,
        size: usize,
    ) -> Result<NonNull<S>, ArenaError> {
        let region = self.addresses();
        let end = address.saturating_add(size);
        if address < region.start || end > region.end {
            return Err(ArenaError::OutOfBounds { what, address, size, region });
        }
        if address % align_of::<S>() != 0 {
            return Err(ArenaError::Misaligned { what, address, align: align_of::<S>() });
        }
        // SAFETY: the address lies in the region, so the offset is within the mapping.
        Ok(unsafe { self.base.add(address - region.start) }.cast())
    }

    /// [`place`](Self::place), as a shared reference.
    ///
    /// # Safety
    ///
    /// An `S` has been made there, or is valid as the zeroed memory that is there, and changes only through
    /// shared references.
    pub(super) unsafe fn reference<S>(
        &self,
        what: &'static str,
        address: usize,
    ) -> Result<&'m S, ArenaError> {
        let place = self.place::<S>(what, address, 1)?;
        // SAFETY: in bounds and aligned by `place`, mapped for 'm by the promise of `new`, and an `S` by the
        // caller's.
        Ok(unsafe { place.as_ref() })
    }
}

/// The unit in which an arena is populated.
pub(super) const PAGE: usize = 4096;

/// What everything that is shared begins on.
pub(super) const CACHE_LINE: usize = 64;

/// Addresses that nothing lies at yet.
#[derive(Clone, Debug)]
pub(super) struct Space(pub(super) Range<usize>);

impl Space {
    /// Takes room for `count` values of type `S`, on cache lines of their own.
    pub(super) fn take<S>(&mut self, what: &'static str, count: usize) -> Result<usize, ArenaError> {
        self.take_bytes(what, size_of::<S>(), count)
    }

    /// Takes room for `count` values of so many bytes, on cache lines of their own.
    pub(super) fn take_bytes(
        &mut self,
        what: &'static str,
        bytes: usize,
        count: usize,
    ) -> Result<usize, ArenaError> {
        let start = self.0.start.next_multiple_of(CACHE_LINE);
        let needed = bytes.saturating_mul(count);
        let left = self.0.end.saturating_sub(start);
        if needed > left {
            return Err(ArenaError::NoSpace { what, needed, left });
        }
        self.0.start = start + needed;
        Ok(start)
    }

    /// Leaves the rest of a page that has been begun. If that is all that is left, nothing is left.
    pub(super) fn begin_page(&mut self) {
        self.0.start = self.0.start.next_multiple_of(PAGE).min(self.0.end);
    }
}
