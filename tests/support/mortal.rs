//! A platform on which a thread of a model checker can be killed before any of its accesses.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use arenaq::ordering::{Add, CompareExchange, Fence, FetchAdd, Load, Read, Site, Store, Write};
use arenaq::platform::{Identify, Plain, Platform, Word};

/// The platform `P` with threads that can be killed. Links are not for them: what kills a thread is an access to
/// a word, or to plain memory.
pub(crate) struct Mortal<P>(PhantomData<P>);

/// How long a thread lives.
#[derive(Clone, Copy)]
enum Life {
    /// For so many accesses more.
    Left(u64),
    /// It was killed, and is unwound: destructors run, which they do not when a process is killed, and reach nothing.
    Over,
}

thread_local! {
    /// The threads of one execution, which a checker runs in one thread of the system.
    static LIVES: RefCell<BTreeMap<u64, Life>> = const { RefCell::new(BTreeMap::new()) };
}

/// What a thread that is killed is unwound with.
struct Death;

/// Runs `operation` until it has made so many accesses and is about to make the next, and ends it there, as a signal ends
/// a process; `None` then.
pub(crate) fn dying<P: Identify, R>(accesses: u64, operation: impl FnOnce() -> R) -> Option<R> {
    let thread = P::identity();
    LIVES.with_borrow_mut(|lives| lives.insert(thread, Life::Left(accesses)));
    let result = catch_unwind(AssertUnwindSafe(operation));
    LIVES.with_borrow_mut(|lives| lives.remove(&thread));
    match result {
        Ok(result) => Some(result),
        Err(death) if death.is::<Death>() => None,
        Err(panic) => resume_unwind(panic),
    }
}

/// Whether this thread makes its next access. If it is its last moment, it does not return.
fn lives<P: Identify>() -> bool {
    let thread = P::identity();
    let killed = LIVES.with_borrow_mut(|lives| match lives.get_mut(&thread) {
        None => Ok(true),
        Some(Life::Over) => Ok(false),
        Some(Life::Left(left)) if *left > 0 => {
            *left -= 1;
            Ok(true)
        }
        Some(life) => {
            *life = Life::Over;
            Err(Death)
        }
    });
    match killed {
        Ok(lives) => lives,
        // Past the panic hook, which would print.
        Err(death) => resume_unwind(Box::new(death)),
    }
}

impl<P: Identify> Platform for Mortal<P> {
    type Word = MortalWord<P>;
    type Link<T> = P::Link<T>;
    type Plain<T> = MortalPlain<P, T>;
    type Stride = P::Stride;
    type Steps = P::Steps;

    fn retry_budget() -> u64 {
        P::retry_budget()
    }

    fn steps(limit: u64) -> P::Steps {
        P::steps(limit)
    }

    fn processor() -> usize {
        P::processor()
    }

    fn relax() {
        P::relax();
    }

    fn fence_after_rmw(site: &'static Site<Fence>) {
        P::fence_after_rmw(site);
    }
}

pub(crate) struct MortalWord<P: Identify>(P::Word);

impl<P: Identify> Word for MortalWord<P> {
    fn new(value: u64) -> Self {
        MortalWord(Word::new(value))
    }

    fn load(&self, site: &'static Site<Load>) -> u64 {
        if lives::<P>() { self.0.load(site) } else { 0 }
    }

    fn store(&self, value: u64, site: &'static Site<Store>) {
        if lives::<P>() {
            self.0.store(value, site);
        }
    }

    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        site: &'static Site<CompareExchange>,
    ) -> Result<u64, u64> {
        if lives::<P>() { self.0.compare_exchange(current, new, site) } else { Err(current) }
    }

    fn add(&self, value: u64, site: &'static Site<Add>) {
        if lives::<P>() {
            self.0.add(value, site);
        }
    }

    fn fetch_add(&self, value: u64, site: &'static Site<FetchAdd>) -> u64 {
        if lives::<P>() { self.0.fetch_add(value, site) } else { 0 }
    }

    unsafe fn init(&self, value: u64, site: &'static Site<Write>) {
        // SAFETY: passed on to the caller.
        unsafe { self.0.init(value, site) }
    }
}

pub(crate) struct MortalPlain<P: Identify, T>(P::Plain<T>);

impl<P: Identify, T> Plain<T> for MortalPlain<P, T> {
    fn new(value: T) -> Self {
        MortalPlain(Plain::new(value))
    }

    fn uninit() -> Self {
        MortalPlain(Plain::uninit())
    }

    unsafe fn read(&self, site: &'static Site<Read>) -> T {
        assert!(lives::<P>(), "no destructor reads an element");
        // SAFETY: passed on to the caller.
        unsafe { self.0.read(site) }
    }

    unsafe fn write(&self, value: T, site: &'static Site<Write>) {
        assert!(lives::<P>(), "no destructor writes an element");
        // SAFETY: passed on to the caller.
        unsafe { self.0.write(value, site) }
    }
}
