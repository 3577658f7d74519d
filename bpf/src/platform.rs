//! The platform of the kernel: every access is a call of the shim, which is inlined.
//!
//! A reference to arena memory is, in the kernel, the *user's* address of that memory: nothing is there for a
//! plain load. No code here or in the algorithms loads through one. They compute the addresses of fields,
//! which is arithmetic, and give them to the shim. All fields lie in an `UnsafeCell`, so the compiler is not
//! told either that it may load.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr;

use arenaq::ordering::{
    Add, CompareExchange, Fence, FetchAdd, Load, Ordering, Read, Site, Store, Swap, Write,
};
use arenaq::platform::{Bytes, Link, Plain, Platform, Word};

use crate::shim;

/// The kernel.
#[derive(Clone, Copy, Debug)]
pub enum Bpf {}

impl Platform for Bpf {
    type Word = BpfWord;
    type Link<T> = BpfLink<T>;
    type Plain<T> = BpfPlain<T>;
    type Stride = Bytes;
    type Steps = BpfSteps;

    const IS_CONFINED: bool = true;

    #[inline(always)]
    fn retry_budget() -> u64 {
        shim::arenaq_retry_budget()
    }

    #[inline(always)]
    fn steps(limit: u64) -> BpfSteps {
        BpfSteps { next: shim::arenaq_zero(), limit }
    }

    #[inline(always)]
    fn processor() -> usize {
        shim::arenaq_processor() as usize
    }

    /// Nothing: a BPF program cannot yield, and its retries are bounded.
    #[inline(always)]
    fn relax() {}

    /// Nothing: `xchg_64` and `cmpxchg_64` are fully ordered, like every read-modify-write of the kernel that
    /// returns a value, so no load behind one is executed before it. (An addition without a result is not;
    /// no algorithm fences behind one.) For the compiler they are sequentially consistent, and the loads are
    /// volatile.
    #[inline(always)]
    fn fence_after_rmw(_site: &'static Site<Fence>) {}
}

/// Counts the passes of a loop that ends when the kernel says so.
#[derive(Clone, Copy, Debug)]
pub struct BpfSteps {
    next: u64,
    limit: u64,
}

impl Iterator for BpfSteps {
    type Item = u64;

    #[inline(always)]
    fn next(&mut self) -> Option<u64> {
        if self.next >= self.limit || !shim::arenaq_can_loop() {
            return None;
        }
        let step = self.next;
        self.next += 1;
        Some(step)
    }
}

#[inline(always)]
fn load(address: u64, site: &'static Site<Load>) -> u64 {
    match site.order() {
        Ordering::Relaxed => shim::arenaq_load_relaxed(address),
        Ordering::Acquire => shim::arenaq_load_acquire(address),
        _ => shim::arenaq_no_such_ordering(),
    }
}

#[inline(always)]
fn store(address: u64, value: u64, site: &'static Site<Store>) {
    match site.order() {
        Ordering::Relaxed => shim::arenaq_store_relaxed(address, value),
        Ordering::Release => shim::arenaq_store_release(address, value),
        _ => {
            shim::arenaq_no_such_ordering();
        }
    }
}

/// An atomic word in the arena.
#[repr(transparent)]
#[derive(Debug)]
pub struct BpfWord(UnsafeCell<u64>);

impl BpfWord {
    #[inline(always)]
    fn address(&self) -> u64 {
        self.0.get().expose_provenance() as u64
    }
}

impl Word for BpfWord {
    #[inline(always)]
    fn new(value: u64) -> Self {
        BpfWord(UnsafeCell::new(value))
    }

    #[inline(always)]
    fn load(&self, site: &'static Site<Load>) -> u64 {
        load(self.address(), site)
    }

    #[inline(always)]
    fn store(&self, value: u64, site: &'static Site<Store>) {
        store(self.address(), value, site);
    }

    /// Fully ordered, whatever weaker ordering the site allows.
    #[inline(always)]
    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        _site: &'static Site<CompareExchange>,
    ) -> Result<u64, u64> {
        let found = shim::arenaq_compare_exchange(self.address(), current, new);
        if found == current { Ok(found) } else { Err(found) }
    }

    /// Unordered; a site that wants more does not link.
    #[inline(always)]
    fn add(&self, value: u64, site: &'static Site<Add>) {
        if site.order() != Ordering::Relaxed {
            shim::arenaq_no_such_ordering();
        }
        shim::arenaq_add(self.address(), value);
    }

    /// Fully ordered, whatever weaker ordering the site allows.
    #[inline(always)]
    fn fetch_add(&self, value: u64, _site: &'static Site<FetchAdd>) -> u64 {
        shim::arenaq_fetch_add(self.address(), value)
    }

    #[inline(always)]
    unsafe fn init(&self, value: u64, _site: &'static Site<Write>) {
        shim::arenaq_write(self.address(), value);
    }
}

/// An atomic pointer in the arena. What it holds is the address that userspace uses.
#[repr(transparent)]
#[derive(Debug)]
pub struct BpfLink<T>(UnsafeCell<*mut T>);

impl<T> BpfLink<T> {
    #[inline(always)]
    fn address(&self) -> u64 {
        self.0.get().expose_provenance() as u64
    }
}

/// The pointer that is stored as `word`.
#[inline(always)]
fn pointer<T>(word: u64) -> *mut T {
    ptr::with_exposed_provenance_mut(word as usize)
}

#[inline(always)]
fn word<T>(pointer: *mut T) -> u64 {
    pointer.expose_provenance() as u64
}

impl<T> Link<T> for BpfLink<T> {
    #[inline(always)]
    fn new(target: *mut T) -> Self {
        BpfLink(UnsafeCell::new(target))
    }

    #[inline(always)]
    fn load(&self, site: &'static Site<Load>) -> *mut T {
        pointer(load(self.address(), site))
    }

    #[inline(always)]
    fn store(&self, target: *mut T, site: &'static Site<Store>) {
        store(self.address(), word(target), site);
    }

    /// Fully ordered, whatever weaker ordering the site allows.
    #[inline(always)]
    fn swap(&self, target: *mut T, _site: &'static Site<Swap>) -> *mut T {
        pointer(shim::arenaq_swap(self.address(), word(target)))
    }

    #[inline(always)]
    unsafe fn init(&self, target: *mut T, _site: &'static Site<Write>) {
        shim::arenaq_write(self.address(), word(target));
    }
}

/// Plain memory in the arena, copied word by word.
#[repr(transparent)]
#[derive(Debug)]
pub struct BpfPlain<T>(UnsafeCell<MaybeUninit<T>>);

impl<T> BpfPlain<T> {
    const WORDS: usize = {
        assert!(size_of::<T>() % 8 == 0 && align_of::<T>() <= 8, "plain memory is whole words");
        size_of::<T>() / 8
    };

    /// Where it begins.
    #[inline(always)]
    pub(crate) fn address(&self) -> u64 {
        self.0.get().expose_provenance() as u64
    }

    #[inline(always)]
    fn address_of_word(&self, word: usize) -> u64 {
        self.address() + 8 * word as u64
    }
}

impl<T> Plain<T> for BpfPlain<T> {
    #[inline(always)]
    fn new(value: T) -> Self {
        BpfPlain(UnsafeCell::new(MaybeUninit::new(value)))
    }

    #[inline(always)]
    fn uninit() -> Self {
        BpfPlain(UnsafeCell::new(MaybeUninit::uninit()))
    }

    #[inline(always)]
    unsafe fn read(&self, _site: &'static Site<Read>) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        for word in 0..Self::WORDS {
            let bits = shim::arenaq_read(self.address_of_word(word));
            // SAFETY: `value` has WORDS words, and is on the stack; it may be aligned to less than 8, as T is.
            unsafe { value.as_mut_ptr().cast::<u64>().add(word).write_unaligned(bits) };
        }
        // SAFETY: every word has been written, with those of a valid `T` by the caller's promise.
        unsafe { value.assume_init() }
    }

    #[inline(always)]
    unsafe fn write(&self, value: T, _site: &'static Site<Write>) {
        for word in 0..Self::WORDS {
            // SAFETY: `value` has WORDS words, all initialised: payloads have no padding, and pointers and
            // numbers neither.
            let bits = unsafe { (&raw const value).cast::<u64>().add(word).read_unaligned() };
            shim::arenaq_write(self.address_of_word(word), bits);
        }
    }
}
