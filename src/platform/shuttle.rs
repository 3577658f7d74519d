//! shuttle: large programs under random schedules. Its atomics are sequentially consistent whatever the site
//! says, so it checks interleavings, never orderings.

use super::{
    C11, Heap, Identify, Link, Plain, Platform, SizeOf, Word, native::NativePlain, native::RETRY_BUDGET,
};
use crate::ordering::{
    Add, CompareExchange, Fence, FetchAdd, Load, Ordering, Read, Site, Store, Swap, Write,
};
use core::ops::Range;
use shuttle::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64};

/// The randomised scheduler shuttle.
#[derive(Clone, Copy, Debug)]
pub enum Shuttle {}

impl Platform for Shuttle {
    type Word = ShuttleWord;
    type Link<T> = ShuttleLink<T>;
    type Plain<T> = ShuttlePlain<T>;
    type Stride = SizeOf;
    type Steps = Range<u64>;

    fn retry_budget() -> u64 {
        RETRY_BUDGET
    }

    fn steps(limit: u64) -> Range<u64> {
        0..limit
    }

    fn processor() -> usize {
        shuttle::current::me().into()
    }

    fn relax() {
        shuttle::thread::yield_now();
    }

    /// Nothing: everything has one order.
    fn fence_after_rmw(_site: &'static Site<Fence>) {}
}

impl C11 for Shuttle {
    /// Nothing: everything has one order.
    fn fence(_site: &'static Site<Fence>) {}

    fn compare_exchange<T>(
        link: &ShuttleLink<T>,
        current: *mut T,
        new: *mut T,
        site: &'static Site<CompareExchange>,
    ) -> Result<*mut T, *mut T> {
        link.0.compare_exchange(current, new, site.order(), site.failure())
    }
}

impl Heap for Shuttle {
    type Shared<T> = shuttle::sync::Arc<T>;

    fn share<T>(value: T) -> Self::Shared<T> {
        shuttle::sync::Arc::new(value)
    }
}

impl Identify for Shuttle {
    fn identity() -> u64 {
        usize::from(shuttle::current::me()) as u64
    }
}

/// shuttle's atomic word.
#[derive(Debug)]
pub struct ShuttleWord(AtomicU64);

impl Word for ShuttleWord {
    fn new(value: u64) -> Self {
        ShuttleWord(AtomicU64::new(value))
    }

    fn load(&self, site: &'static Site<Load>) -> u64 {
        self.0.load(site.order())
    }

    fn store(&self, value: u64, site: &'static Site<Store>) {
        self.0.store(value, site.order());
    }

    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        site: &'static Site<CompareExchange>,
    ) -> Result<u64, u64> {
        self.0.compare_exchange(current, new, site.order(), site.failure())
    }

    fn add(&self, value: u64, site: &'static Site<Add>) {
        self.0.fetch_add(value, site.order());
    }

    fn fetch_add(&self, value: u64, site: &'static Site<FetchAdd>) -> u64 {
        self.0.fetch_add(value, site.order())
    }

    /// A store: shuttle has no plain accesses, and a point where it may switch threads costs nothing here.
    unsafe fn init(&self, value: u64, _site: &'static Site<Write>) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// shuttle's atomic pointer.
#[derive(Debug)]
pub struct ShuttleLink<T>(AtomicPtr<T>);

impl<T> Link<T> for ShuttleLink<T> {
    fn new(target: *mut T) -> Self {
        ShuttleLink(AtomicPtr::new(target))
    }

    fn load(&self, site: &'static Site<Load>) -> *mut T {
        self.0.load(site.order())
    }

    fn store(&self, target: *mut T, site: &'static Site<Store>) {
        self.0.store(target, site.order());
    }

    fn swap(&self, target: *mut T, site: &'static Site<Swap>) -> *mut T {
        self.0.swap(target, site.order())
    }

    unsafe fn init(&self, target: *mut T, _site: &'static Site<Write>) {
        self.0.store(target, Ordering::Relaxed);
    }
}

/// Plain memory under shuttle: ordinary memory, with a point before each access where the scheduler may
/// switch, so that a consumer can see a payload too early if the algorithm lets it.
#[derive(Debug)]
pub struct ShuttlePlain<T> {
    value: NativePlain<T>,
    /// Loaded for the switch alone. A yield would be one too, but the PCT scheduler takes a thread's priority
    /// away for it.
    switch: AtomicBool,
}

impl<T> ShuttlePlain<T> {
    fn switch(&self) {
        self.switch.load(Ordering::Relaxed);
    }
}

impl<T> Plain<T> for ShuttlePlain<T> {
    fn new(value: T) -> Self {
        ShuttlePlain { value: NativePlain::new(value), switch: AtomicBool::new(false) }
    }

    fn uninit() -> Self {
        ShuttlePlain { value: NativePlain::uninit(), switch: AtomicBool::new(false) }
    }

    unsafe fn read(&self, site: &'static Site<Read>) -> T {
        self.switch();
        // SAFETY: passed on to the caller.
        unsafe { self.value.read(site) }
    }

    unsafe fn write(&self, value: T, site: &'static Site<Write>) {
        self.switch();
        // SAFETY: passed on to the caller.
        unsafe { self.value.write(value, site) }
    }
}
