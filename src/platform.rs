//! The platform: everything that an algorithm may do to memory that somebody else can see.
//!
//! The algorithms of this crate are generic over [`Platform`] and name no other way to touch shared memory.
//! What an access becomes is the platform's business: an instruction ([`Native`]), a step of a model checker
//! (`Loom`, `Shuttle`) or an arena access in the kernel (the `Bpf` platform of the crate `arenaq-bpf`). So
//! the function that is model-checked is the function that runs.
//!
//! Layout is a property of `Native` and `Bpf` only, whose words and links are 8 bytes; the model checkers'
//! are not.

mod c11;
#[cfg(feature = "loom")]
mod loom;
mod native;
#[cfg(feature = "shuttle")]
mod shuttle;
#[cfg(feature = "trace")]
mod traced;
mod untyped;

pub use self::c11::C11;
#[cfg(feature = "loom")]
pub use self::loom::Loom;
pub use self::native::{Native, SizeOf};
#[cfg(feature = "shuttle")]
pub use self::shuttle::Shuttle;
#[cfg(feature = "trace")]
pub use self::traced::{Identify, Traced};
pub use self::untyped::{Opaque, Untyped};

use bytemuck::Pod;

use crate::ordering::{Add, CompareExchange, Fence, FetchAdd, Load, Read, Site, Store, Swap, Write};

/// A place where the algorithms run.
pub trait Platform: Sized + 'static {
    /// An atomic 64-bit word.
    type Word: Word;
    /// An atomic pointer to a `T` in shared memory.
    type Link<T>: Link<T>;
    /// Memory that is not atomic: elements, and what is written once before anybody else can look.
    type Plain<T>: Plain<T>;
    /// How far apart the cells of a ring, or the nodes of a pool, lie.
    type Stride: Stride;
    /// Counts the passes of a loop; see [`steps`](Self::steps).
    type Steps: Iterator<Item = u64>;

    /// Whether no address at all leads out of the shared memory, as in the kernel, where an access to an arena cannot leave
    /// it. Then an address that is only written through needs no check.
    const IS_CONFINED: bool = false;

    /// How often an operation tries again before it reports contention.
    fn retry_budget() -> u64;

    /// Yields `0, 1, 2, …` and ends at `limit`, or earlier if the platform will not let a loop run that long:
    /// the kernel ends loops that take too many passes or too much time. A caller to whom the difference
    /// matters counts.
    fn steps(limit: u64) -> Self::Steps;

    /// A number that those who run at the same time mostly do not share: the processor's, where it is cheap to
    /// know. It may change from one call to the next; nothing but speed depends on it.
    fn processor() -> usize;

    /// Lets others go on before the next attempt.
    fn relax();

    /// Lets others go on for longer the more attempts have failed. For an attempt that begins with a load: what
    /// was loaded before would be old by then.
    fn back_off(attempt: u64) {
        let _ = attempt;
        Self::relax();
    }

    /// Orders this thread's read-modify-writes before it with its loads behind it. With `SeqCst`, all such
    /// fences of all threads have one order, and a load behind the second of two fences sees what the first
    /// thread changed before the first.
    ///
    /// It may do nothing where a read-modify-write orders everything behind it anyway, whatever the ordering
    /// of its site. So it says nothing about *stores* before it.
    fn fence_after_rmw(site: &'static Site<Fence>);
}

/// A platform with threads that share memory of the heap, which the kernel is not.
pub trait Heap: Platform {
    /// Shared ownership: what [`alloc::sync::Arc`] is. A model checker has its own, for who drops the value last has
    /// seen what the others did to it.
    type Shared<T>: Clone + core::ops::Deref<Target = T>;

    /// Shares a value.
    fn share<T>(value: T) -> Self::Shared<T>;
}

/// An atomic 64-bit word in shared memory.
///
/// All methods take `&self`, and none panics: a shared word never refuses an access.
pub trait Word {
    /// A word that holds `value`.
    fn new(value: u64) -> Self;

    /// Reads the word.
    fn load(&self, site: &'static Site<Load>) -> u64;

    /// Writes the word.
    fn store(&self, value: u64, site: &'static Site<Store>);

    /// Replaces `current` by `new`, or returns what the word holds instead. It does not fail spuriously.
    ///
    /// # Errors
    ///
    /// The value found, if it is not `current`.
    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        site: &'static Site<CompareExchange>,
    ) -> Result<u64, u64>;

    /// Adds `value` and wraps around; subtraction is the addition of [`u64::wrapping_neg`].
    fn add(&self, value: u64, site: &'static Site<Add>);

    /// Adds `value`, wraps around, and returns what the word held before.
    fn fetch_add(&self, value: u64, site: &'static Site<FetchAdd>) -> u64;

    /// Writes the word with a plain, non-atomic write.
    ///
    /// # Safety
    ///
    /// Nobody else can reach the word: it has not been published, or its owner has it back.
    unsafe fn init(&self, value: u64, site: &'static Site<Write>);
}

/// An atomic pointer in shared memory.
pub trait Link<T> {
    /// A link to `target`.
    fn new(target: *mut T) -> Self;

    /// Reads the link.
    fn load(&self, site: &'static Site<Load>) -> *mut T;

    /// Writes the link.
    fn store(&self, target: *mut T, site: &'static Site<Store>);

    /// Writes the link and returns what it held.
    fn swap(&self, target: *mut T, site: &'static Site<Swap>) -> *mut T;

    /// Writes the link with a plain, non-atomic write.
    ///
    /// # Safety
    ///
    /// Nobody else can reach the link.
    unsafe fn init(&self, target: *mut T, site: &'static Site<Write>);
}

/// Memory that is not atomic. Who may touch it when is the algorithm's promise, and a model checker reports
/// it when it is broken: that is why it is not a relaxed atomic, with which the same mistake would be
/// invisible.
///
/// The value is moved in and out as a whole instead of being lent out: BPF reaches arena memory through
/// address-space casts that a Rust reference does not make. The memory never drops what it holds.
///
/// A `T` that is aligned as a word, and needs no drop, has no padding: the model checkers' platforms show its words.
pub trait Plain<T> {
    /// Memory that holds `value`.
    fn new(value: T) -> Self;

    /// Memory that holds nothing yet.
    fn uninit() -> Self;

    /// Moves the value out, as [`core::ptr::read`] does: of a `T` that is not `Copy` the memory holds nothing
    /// from then on.
    ///
    /// # Safety
    ///
    /// Every write to this memory happens before or after this read; none runs at the same time. The memory
    /// holds a valid `T`.
    unsafe fn read(&self, site: &'static Site<Read>) -> T;

    /// [`read`](Self::read) of one of many values in a row, of which most were written a while ago, in memory that nobody damages:
    /// with as few loads as there can be.
    ///
    /// # Safety
    ///
    /// As there.
    #[inline(always)]
    unsafe fn read_of_many(&self, site: &'static Site<Read>) -> T {
        // SAFETY: passed on to the caller.
        unsafe { self.read(site) }
    }

    /// Moves `value` in. What was there is not dropped.
    ///
    /// # Safety
    ///
    /// Every other access to this memory happens before or after this write; none runs at the same time. `T` is as the trait says.
    unsafe fn write(&self, value: T, site: &'static Site<Write>);

    /// [`write`](Self::write) for memory that lies in a row: `values` has as many.
    ///
    /// # Safety
    ///
    /// As there, for all of it.
    #[inline(always)]
    unsafe fn write_row(row: &[Self], values: &[T], site: &'static Site<Write>)
    where
        Self: Sized,
        T: Copy,
    {
        for (memory, value) in row.iter().zip(values) {
            // SAFETY: passed on to the caller.
            unsafe { memory.write(*value, site) };
        }
    }

    /// [`read`](Self::read) of memory that lies in a row. Words are read once, whoever writes there meanwhile.
    ///
    /// # Safety
    ///
    /// As there, for all of it; and `to` can be written so often, where nothing of the row lies. It need not be aligned.
    #[inline(always)]
    unsafe fn read_row(row: &[Self], to: *mut T, site: &'static Site<Read>)
    where
        Self: Sized,
        T: Pod,
    {
        for (index, memory) in row.iter().enumerate() {
            // SAFETY: passed on to the caller.
            unsafe { to.add(index).write_unaligned(memory.read(site)) };
        }
    }
}

/// How far apart two values of an array in shared memory lie.
///
/// In userspace that is the size of their type. In the kernel it is a number: a C program has elements of its
/// own type, and Rust functions that were compiled before that type was written.
pub trait Stride: Copy + core::fmt::Debug + 'static {
    /// The stride of an array of `S`.
    fn of<S>() -> Self;

    /// The stride in bytes. For `S`, if it is that of a type.
    fn bytes<S>(self) -> usize;

    /// The value with this index in the array at `first`.
    ///
    /// # Safety
    ///
    /// The array has more values than `index`.
    unsafe fn element<S>(self, first: *mut S, index: usize) -> *mut S;
}

/// The stride of a platform that is told how large an element is.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(u64);

impl Bytes {
    /// Values of so many bytes, side by side.
    ///
    /// That such values lie there is for those to promise who make a queue with this stride.
    #[inline(always)]
    pub const fn new(bytes: u64) -> Bytes {
        Bytes(bytes)
    }
}

impl Stride for Bytes {
    #[inline(always)]
    fn of<S>() -> Self {
        Bytes(size_of::<S>() as u64)
    }

    #[inline(always)]
    fn bytes<S>(self) -> usize {
        self.0 as usize
    }

    #[inline(always)]
    unsafe fn element<S>(self, first: *mut S, index: usize) -> *mut S {
        // SAFETY: the caller promises that the value is in the array, so the offset is within its memory.
        unsafe { first.byte_add(index * self.bytes::<S>()) }
    }
}
