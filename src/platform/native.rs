//! Userspace: `core::sync::atomic`, inlined until nothing of the trait is left.

use super::{Heap, Link, Plain, Platform, Stride, Word};
use crate::ordering::{Add, CompareExchange, Fence, FetchAdd, Load, Read, Site, Store, Swap, Write};
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ops::Range;
use core::sync::atomic::{AtomicPtr, AtomicU64};

use bytemuck::Pod;

/// Userspace. A site's ordering is a constant, so each access compiles to the instruction that it would be
/// without the trait.
#[derive(Clone, Copy, Debug)]
pub enum Native {}

/// The seeds' retry bound, `DS_VYUKHOV_MAX_RETRIES`.
pub(crate) const RETRY_BUDGET: u64 = 100;

impl Platform for Native {
    type Word = NativeWord;
    type Link<T> = NativeLink<T>;
    type Plain<T> = NativePlain<T>;
    type Stride = SizeOf;
    type Steps = Range<u64>;

    #[inline(always)]
    fn retry_budget() -> u64 {
        RETRY_BUDGET
    }

    #[inline(always)]
    fn steps(limit: u64) -> Range<u64> {
        0..limit
    }

    /// A number for each thread: where its stack is. What asks the kernel or a register for the processor takes
    /// longer than a node does.
    #[inline(always)]
    fn processor() -> usize {
        let here = 0u8;
        // The odd number that is nearest to 2^64 divided by the golden ratio spreads the stacks, which lie at
        // even distances (D. E. Knuth, The Art of Computer Programming, volume 3, 6.4).
        let spread = ((&raw const here).addr() as u64 >> 16).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (spread >> 32) as usize
    }

    #[inline(always)]
    fn relax() {
        core::hint::spin_loop();
    }

    /// Twice as many pauses each time, up to 64. Who has the cache line then keeps it for several operations
    /// instead of one.
    #[inline(always)]
    fn back_off(attempt: u64) {
        for _ in 0..1u64 << attempt.min(6) {
            Self::relax();
        }
    }

    /// On x86 nothing but a barrier for the compiler: every read-modify-write is a locked instruction, with
    /// which neither loads nor stores are reordered (Intel SDM volume 3, 10.2.2). Elsewhere a fence: a relaxed
    /// read-modify-write of Arm or RISC-V orders nothing, and in Miri no processor stands below the language.
    #[inline(always)]
    fn fence_after_rmw(site: &'static Site<Fence>) {
        if cfg!(all(target_arch = "x86_64", not(miri))) {
            core::sync::atomic::compiler_fence(site.order());
        } else {
            core::sync::atomic::fence(site.order());
        }
    }
}

impl Heap for Native {
    type Shared<T> = alloc::sync::Arc<T>;

    fn share<T>(value: T) -> Self::Shared<T> {
        alloc::sync::Arc::new(value)
    }
}

/// A word in userspace: an [`AtomicU64`], with its layout.
#[repr(transparent)]
#[derive(Debug)]
pub struct NativeWord(AtomicU64);

impl Word for NativeWord {
    #[inline(always)]
    fn new(value: u64) -> Self {
        NativeWord(AtomicU64::new(value))
    }

    #[inline(always)]
    fn load(&self, site: &'static Site<Load>) -> u64 {
        self.0.load(site.order())
    }

    #[inline(always)]
    fn store(&self, value: u64, site: &'static Site<Store>) {
        self.0.store(value, site.order());
    }

    #[inline(always)]
    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        site: &'static Site<CompareExchange>,
    ) -> Result<u64, u64> {
        self.0.compare_exchange(current, new, site.order(), site.failure())
    }

    #[inline(always)]
    fn add(&self, value: u64, site: &'static Site<Add>) {
        self.0.fetch_add(value, site.order());
    }

    #[inline(always)]
    fn fetch_add(&self, value: u64, site: &'static Site<FetchAdd>) -> u64 {
        self.0.fetch_add(value, site.order())
    }

    #[inline(always)]
    unsafe fn init(&self, value: u64, _site: &'static Site<Write>) {
        // SAFETY: the pointer is valid and aligned because it comes from `self`, writes through it are
        // allowed because an atomic is interior mutable, and the caller promises that nobody else touches the
        // word.
        unsafe { self.0.as_ptr().write(value) }
    }
}

/// A link in userspace: an [`AtomicPtr`], with its layout.
#[repr(transparent)]
#[derive(Debug)]
pub struct NativeLink<T>(AtomicPtr<T>);

impl<T> NativeLink<T> {
    #[inline(always)]
    pub(super) fn atomic(&self) -> &AtomicPtr<T> {
        &self.0
    }
}

impl<T> Link<T> for NativeLink<T> {
    #[inline(always)]
    fn new(target: *mut T) -> Self {
        NativeLink(AtomicPtr::new(target))
    }

    #[inline(always)]
    fn load(&self, site: &'static Site<Load>) -> *mut T {
        self.0.load(site.order())
    }

    #[inline(always)]
    fn store(&self, target: *mut T, site: &'static Site<Store>) {
        self.0.store(target, site.order());
    }

    #[inline(always)]
    fn swap(&self, target: *mut T, site: &'static Site<Swap>) -> *mut T {
        self.0.swap(target, site.order())
    }

    #[inline(always)]
    unsafe fn init(&self, target: *mut T, _site: &'static Site<Write>) {
        // SAFETY: as for a word's `init`: valid, interior mutable, and nobody else's by the caller's promise.
        unsafe { self.0.as_ptr().write(target) }
    }
}

/// The stride of userspace: the size of the type.
#[derive(Clone, Copy, Debug)]
pub struct SizeOf;

impl Stride for SizeOf {
    #[inline(always)]
    fn of<S>() -> Self {
        SizeOf
    }

    #[inline(always)]
    fn bytes<S>(self) -> usize {
        size_of::<S>()
    }

    #[inline(always)]
    unsafe fn element<S>(self, first: *mut S, index: usize) -> *mut S {
        // SAFETY: the caller promises that the value is in the array.
        unsafe { first.add(index) }
    }
}

/// Plain memory in userspace: an [`UnsafeCell`], with the layout of `T`.
#[repr(transparent)]
#[derive(Debug)]
pub struct NativePlain<T>(UnsafeCell<MaybeUninit<T>>);

impl<T> Plain<T> for NativePlain<T> {
    #[inline(always)]
    fn new(value: T) -> Self {
        NativePlain(UnsafeCell::new(MaybeUninit::new(value)))
    }

    #[inline(always)]
    fn uninit() -> Self {
        NativePlain(UnsafeCell::new(MaybeUninit::uninit()))
    }

    #[inline(always)]
    unsafe fn read(&self, _site: &'static Site<Read>) -> T {
        if const { is_few_words::<T>() } {
            // SAFETY: as below, and a `T` is a whole number of words at the address of one, which may be anything.
            unsafe { read_by_parts::<T, MaybeUninit<u64>>(self.0.get().cast::<T>()) }
        } else if const { is_few_pairs::<T>() } {
            // SAFETY: as below, and a `T` is a whole number of pairs at the address of one, which may be anything.
            unsafe { read_by_parts::<T, Pair>(self.0.get().cast::<T>()) }
        } else {
            // SAFETY: valid and aligned because the pointer comes from `self`; the caller promises that no
            // write runs at the same time, so this read races with nothing, and that a `T` is there.
            unsafe { self.0.get().cast::<T>().read() }
        }
    }

    #[inline(always)]
    unsafe fn read_of_many(&self, _site: &'static Site<Read>) -> T {
        // SAFETY: as in `read`, which has more loads for the sake of what was written just now.
        unsafe { self.0.get().cast::<T>().read() }
    }

    #[inline(always)]
    unsafe fn write(&self, value: T, _site: &'static Site<Write>) {
        // SAFETY: valid and aligned because the pointer comes from `self`; the caller promises that no other
        // access runs at the same time.
        unsafe { self.0.get().cast::<T>().write(value) }
    }

    /// One copy of all bytes.
    #[inline(always)]
    unsafe fn write_row(row: &[Self], values: &[T], _site: &'static Site<Write>)
    where
        T: Copy,
    {
        let length = row.len().min(values.len());
        // SAFETY: as for one, for so many; and nobody writes to `values`, which are borrowed, so they lie elsewhere. What is written
        // is all in cells.
        unsafe { values.as_ptr().copy_to_nonoverlapping(row.as_ptr().cast_mut().cast::<T>(), length) }
    }

    /// Two words with a load.
    #[inline(always)]
    unsafe fn read_row(row: &[Self], to: *mut T, site: &'static Site<Read>)
    where
        T: Pod,
    {
        let is_half =
            const { 2 * size_of::<T>() == size_of::<Pair>() && align_of::<T>() == align_of::<Pair>() };
        let pairs = if is_half { row.len() / 2 } else { 0 };
        for pair in 0..pairs {
            // SAFETY: the row has so many pairs, aligned as pairs, which race with nothing by the caller's promise, and `to` has room
            // for them. Volatile: the compiler reads none of them again.
            unsafe {
                let two = row.as_ptr().cast::<Pair>().add(pair).read_volatile();
                to.cast::<Pair>().add(pair).write_unaligned(two);
            }
        }
        for (index, memory) in row.iter().enumerate().skip(2 * pairs) {
            // SAFETY: passed on to the caller.
            unsafe { to.add(index).write_unaligned(memory.read(site)) };
        }
    }
}

/// Two words that are loaded, and stored, at once, whatever they are. Who has the copy may read it with loads of any width: a processor
/// forwards what lies in its store buffer to a load if one store has all that the load wants.
#[repr(C, packed(8))]
#[derive(Clone, Copy)]
struct Pair(
    #[cfg(target_arch = "x86_64")] MaybeUninit<core::arch::x86_64::__m128i>,
    #[cfg(target_arch = "aarch64")] MaybeUninit<core::arch::aarch64::uint64x2_t>,
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))] MaybeUninit<[u64; 2]>,
);

/// Whether a `T` is 1 to 4 words, each at the address of a word.
const fn is_few_words<T>() -> bool {
    matches!(size_of::<T>(), 8 | 16 | 24 | 32) && align_of::<T>() == align_of::<u64>()
}

/// Whether a `T` is 3 to 8 pairs of words, each at the address of a word: no more than there are registers for.
const fn is_few_pairs<T>() -> bool {
    matches!(size_of::<T>(), 48 | 64 | 80 | 96 | 112 | 128) && align_of::<T>() >= align_of::<Pair>()
}

/// Reads a `T` with a load for each of its parts: [few words](is_few_words) each for itself, and [more](is_few_pairs) in pairs.
///
/// A processor forwards what lies in its store buffer to a load only if one store has all that the load
/// wants. Small payloads are written field by field. The compiler would read two fields with one wide load,
/// which then waits until both stores have left the buffer: that is most of what a push and a pop by one
/// thread take.
///
/// Larger payloads are mostly copied into the queue as a whole. In pairs they stay in registers until they are where they belong. What is
/// read as a whole is copied to the stack first, for between the read and that stands the store that frees the memory.
///
/// And the compiler reads no part a second time: what has been checked is what is used, whoever writes there meanwhile.
///
/// # Safety
///
/// As for [`core::ptr::read`]; a `T` is a whole number of `Part`s, and aligned as they are; and any bytes are a `Part`, also
/// uninitialized ones.
#[inline(always)]
unsafe fn read_by_parts<T, Part>(from: *const T) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    let to: *mut Part = value.as_mut_ptr().cast();
    let from: *const Part = from.cast();
    for part in 0..size_of::<T>() / size_of::<Part>() {
        // SAFETY: both have so many parts, aligned as parts, and the caller promises that `from` may be read.
        // A part may be anything, and keeps what it is, also a part of a pointer. Volatile: the compiler does not
        // merge volatile loads.
        unsafe { to.add(part).write(from.add(part).read_volatile()) };
    }
    // SAFETY: every part was copied from a valid `T`.
    unsafe { value.assume_init() }
}
