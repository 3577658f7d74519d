//! A platform that is as strong as the trait says, and no stronger; and one that, as the kernel is, may believe what stands in
//! shared memory.
//!
//! loom's fence orders everything before it with everything behind it. [`Platform::fence_after_rmw`] promises that for
//! read-modify-writes only, and on x86 it is no instruction: there a store before it may become visible after a load behind it.
//! Here the fence is part of each read-modify-write, and where the algorithm has it there is nothing: whoever relies on its stores
//! being seen is found out.
//!
//! It is for those models in which somebody sleeps: nothing else has such fences, and to all others this platform is stronger than
//! loom, as each of their read-modify-writes is a fence.

use std::sync::atomic::Ordering;

use arenaq::ordering::{Add, CompareExchange, Fence, FetchAdd, Load, Site, Store, Swap, Write};
use arenaq::platform::{self, Identify, Link, Platform, Word};
use arenaq::weakened;
use loom::sync::atomic::fence;
use weaken::named;
use weaken::trace::{Access, Effect};

/// The platform. What its trace shows of a fence is where the algorithm has one.
pub(crate) enum Least {}

impl Platform for Least {
    type Word = LeastWord;
    type Link<T> = LeastLink<T>;
    type Plain<T> = <platform::Loom as Platform>::Plain<T>;
    type Stride = <platform::Loom as Platform>::Stride;
    type Steps = <platform::Loom as Platform>::Steps;

    /// Nobody damages the memory of a model.
    const IS_CONFINED: bool = true;

    fn retry_budget() -> u64 {
        platform::Loom::retry_budget()
    }

    fn steps(limit: u64) -> Self::Steps {
        platform::Loom::steps(limit)
    }

    fn processor() -> usize {
        platform::Loom::processor()
    }

    fn relax() {
        platform::Loom::relax();
    }

    fn fence_after_rmw(site: &'static Site<Fence>) {
        let order = named::orders(weakened::site(site.info())).success;
        Access::begin(Self::identity(), site.info(), 0).done(order, Effect::Fenced);
    }
}

impl Identify for Least {
    fn identity() -> u64 {
        platform::Loom::identity()
    }
}

pub(crate) struct LeastWord(<platform::Loom as Platform>::Word);

impl Word for LeastWord {
    fn new(value: u64) -> Self {
        LeastWord(Word::new(value))
    }

    fn load(&self, site: &'static Site<Load>) -> u64 {
        self.0.load(site)
    }

    fn store(&self, value: u64, site: &'static Site<Store>) {
        self.0.store(value, site);
    }

    /// One that fails has changed nothing that others would have to see.
    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        site: &'static Site<CompareExchange>,
    ) -> Result<u64, u64> {
        self.0.compare_exchange(current, new, site).inspect(|_| fence(Ordering::SeqCst))
    }

    fn add(&self, value: u64, site: &'static Site<Add>) {
        self.0.add(value, site);
        fence(Ordering::SeqCst);
    }

    fn fetch_add(&self, value: u64, site: &'static Site<FetchAdd>) -> u64 {
        let found = self.0.fetch_add(value, site);
        fence(Ordering::SeqCst);
        found
    }

    unsafe fn init(&self, value: u64, site: &'static Site<Write>) {
        // SAFETY: passed on to the caller.
        unsafe { self.0.init(value, site) }
    }
}

pub(crate) struct LeastLink<T>(<platform::Loom as Platform>::Link<T>);

impl<T> Link<T> for LeastLink<T> {
    fn new(target: *mut T) -> Self {
        LeastLink(Link::new(target))
    }

    fn load(&self, site: &'static Site<Load>) -> *mut T {
        self.0.load(site)
    }

    fn store(&self, target: *mut T, site: &'static Site<Store>) {
        self.0.store(target, site);
    }

    fn swap(&self, target: *mut T, site: &'static Site<Swap>) -> *mut T {
        let found = self.0.swap(target, site);
        fence(Ordering::SeqCst);
        found
    }

    unsafe fn init(&self, target: *mut T, site: &'static Site<Write>) {
        // SAFETY: passed on to the caller.
        unsafe { self.0.init(target, site) }
    }
}
