//! A platform that is as strong as the trait says, and no stronger; and one that, as the kernel is, may believe what stands in
//! shared memory.
//!
//! loom's fence orders everything before it with everything behind it. [`Platform::fence_after_rmw`] promises that for
//! read-modify-writes only, and on x86 it is no instruction: there a store before it may become visible after a load behind it.
//! Here the fence is part of each read-modify-write, and where the algorithm has it there is nothing: whoever relies on its stores
//! being seen is found out.

use std::sync::atomic::Ordering;

use arenaq::ordering::{Add, CompareExchange, Fence, FetchAdd, Load, Site, Store, Write};
use arenaq::platform::{Platform, Word};
use loom::sync::atomic::fence;

use crate::model::Loom;

pub(crate) enum Least {}

impl Platform for Least {
    type Word = LeastWord;
    type Link<T> = <Loom as Platform>::Link<T>;
    type Plain<T> = <Loom as Platform>::Plain<T>;
    type Stride = <Loom as Platform>::Stride;
    type Steps = <Loom as Platform>::Steps;

    /// Nobody damages the memory of a model.
    const IS_CONFINED: bool = true;

    fn retry_budget() -> u64 {
        Loom::retry_budget()
    }

    fn steps(limit: u64) -> Self::Steps {
        Loom::steps(limit)
    }

    fn processor() -> usize {
        Loom::processor()
    }

    fn relax() {
        Loom::relax();
    }

    fn fence_after_rmw(_site: &'static Site<Fence>) {}
}

pub(crate) struct LeastWord(<Loom as Platform>::Word);

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

    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        site: &'static Site<CompareExchange>,
    ) -> Result<u64, u64> {
        let result = self.0.compare_exchange(current, new, site);
        fence(Ordering::SeqCst);
        result
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
