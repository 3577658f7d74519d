//! Another platform, with a trace of every access.

use core::marker::PhantomData;

use super::{C11, Heap, Link, Plain, Platform, Word};
use crate::ordering::{Add, CompareExchange, Fence, FetchAdd, Load, Read, Site, Store, Swap, Write};
use weaken::operation::Order;
use weaken::trace::{Access, Effect, Value};

/// A platform whose accesses can be traced: it knows which thread makes one.
pub trait Identify: Platform {
    /// The thread's identity: equal in one thread of an execution, different between two.
    fn identity() -> u64;
}

/// The platform `P`, whose accesses go to [`weaken::trace`].
#[derive(Clone, Copy, Debug)]
pub struct Traced<P>(PhantomData<P>);

impl<P: Identify> Platform for Traced<P> {
    type Word = TracedWord<P>;
    type Link<T> = TracedLink<P, T>;
    type Plain<T> = TracedPlain<P, T>;
    type Stride = P::Stride;
    type Steps = P::Steps;

    const IS_CONFINED: bool = P::IS_CONFINED;

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
        // A fence accesses nothing, so it has no address.
        let access = Access::begin(P::identity(), site.info(), 0);
        P::fence_after_rmw(site);
        access.done(site.order().into(), Effect::Fenced);
    }
}

impl<P: Identify + C11> C11 for Traced<P> {
    fn fence(site: &'static Site<Fence>) {
        let access = Access::begin(P::identity(), site.info(), 0);
        P::fence(site);
        access.done(site.order().into(), Effect::Fenced);
    }

    fn compare_exchange<T>(
        link: &TracedLink<P, T>,
        current: *mut T,
        new: *mut T,
        site: &'static Site<CompareExchange>,
    ) -> Result<*mut T, *mut T> {
        let access = link.begin(site);
        let result = P::compare_exchange(&link.0, current, new, site);
        match result {
            Ok(from) => {
                access.done(site.order().into(), Effect::Changed { from: word(from), to: word(new) });
            }
            Err(found) => {
                let effect = Effect::Refused { expected: word(current), found: word(found) };
                access.done(site.failure().into(), effect);
            }
        }
        result
    }
}

impl<P: Identify> Identify for Traced<P> {
    fn identity() -> u64 {
        P::identity()
    }
}

impl<P: Identify + Heap> Heap for Traced<P> {
    type Shared<T> = P::Shared<T>;

    fn share<T>(value: T) -> Self::Shared<T> {
        P::share(value)
    }
}

/// A traced word.
#[derive(Debug)]
pub struct TracedWord<P: Identify>(P::Word);

impl<P: Identify> TracedWord<P> {
    fn begin<K>(&self, site: &'static Site<K>) -> Access {
        Access::begin(P::identity(), site.info(), (&raw const self.0).addr())
    }
}

impl<P: Identify> Word for TracedWord<P> {
    fn new(value: u64) -> Self {
        TracedWord(P::Word::new(value))
    }

    fn load(&self, site: &'static Site<Load>) -> u64 {
        let access = self.begin(site);
        let value = self.0.load(site);
        access.done(site.order().into(), Effect::Got(Value::of([value])));
        value
    }

    fn store(&self, value: u64, site: &'static Site<Store>) {
        let access = self.begin(site);
        self.0.store(value, site);
        access.done(site.order().into(), Effect::Put(Value::of([value])));
    }

    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        site: &'static Site<CompareExchange>,
    ) -> Result<u64, u64> {
        let access = self.begin(site);
        let result = self.0.compare_exchange(current, new, site);
        match result {
            Ok(from) => access.done(site.order().into(), Effect::Changed { from, to: new }),
            Err(found) => access.done(site.failure().into(), Effect::Refused { expected: current, found }),
        }
        result
    }

    fn add(&self, value: u64, site: &'static Site<Add>) {
        let access = self.begin(site);
        self.0.add(value, site);
        access.done(site.order().into(), Effect::Added(value));
    }

    fn fetch_add(&self, value: u64, site: &'static Site<FetchAdd>) -> u64 {
        let access = self.begin(site);
        let from = self.0.fetch_add(value, site);
        access.done(site.order().into(), Effect::Changed { from, to: from.wrapping_add(value) });
        from
    }

    unsafe fn init(&self, value: u64, site: &'static Site<Write>) {
        let access = self.begin(site);
        // SAFETY: passed on to the caller.
        unsafe { self.0.init(value, site) };
        access.done(Order::Relaxed, Effect::Put(Value::of([value])));
    }
}

/// A traced pointer.
#[derive(Debug)]
pub struct TracedLink<P: Identify, T>(P::Link<T>);

impl<P: Identify, T> TracedLink<P, T> {
    fn begin<K>(&self, site: &'static Site<K>) -> Access {
        Access::begin(P::identity(), site.info(), (&raw const self.0).addr())
    }
}

fn word<T>(pointer: *mut T) -> u64 {
    pointer.addr() as u64
}

impl<P: Identify, T> Link<T> for TracedLink<P, T> {
    fn new(target: *mut T) -> Self {
        TracedLink(P::Link::new(target))
    }

    fn load(&self, site: &'static Site<Load>) -> *mut T {
        let access = self.begin(site);
        let target = self.0.load(site);
        access.done(site.order().into(), Effect::Got(Value::of([word(target)])));
        target
    }

    fn store(&self, target: *mut T, site: &'static Site<Store>) {
        let access = self.begin(site);
        self.0.store(target, site);
        access.done(site.order().into(), Effect::Put(Value::of([word(target)])));
    }

    fn swap(&self, target: *mut T, site: &'static Site<Swap>) -> *mut T {
        let access = self.begin(site);
        let from = self.0.swap(target, site);
        access.done(site.order().into(), Effect::Changed { from: word(from), to: word(target) });
        from
    }

    unsafe fn init(&self, target: *mut T, site: &'static Site<Write>) {
        let access = self.begin(site);
        // SAFETY: passed on to the caller.
        unsafe { self.0.init(target, site) };
        access.done(Order::Relaxed, Effect::Put(Value::of([word(target)])));
    }
}

/// Traced plain memory.
#[derive(Debug)]
pub struct TracedPlain<P: Identify, T>(P::Plain<T>);

impl<P: Identify, T> TracedPlain<P, T> {
    fn begin<K>(&self, site: &'static Site<K>) -> Access {
        Access::begin(P::identity(), site.info(), (&raw const self.0).addr())
    }
}

/// The words of a value; none of one that owns something, of which nothing is known.
pub(super) fn words<T>(value: &T) -> Value {
    let is_words = align_of::<T>() >= align_of::<u64>() && !core::mem::needs_drop::<T>();
    let count = if is_words { size_of::<T>() / size_of::<u64>() } else { 0 };
    let first = (&raw const *value).cast::<u64>();
    // SAFETY: a value has so many aligned words. They are initialised: what the queues of this platform keep
    // in plain memory is numbers, pointers and payloads, and none of these has padding.
    Value::of((0..count).map(|word| unsafe { first.add(word).read() }))
}

impl<P: Identify, T> Plain<T> for TracedPlain<P, T> {
    fn new(value: T) -> Self {
        TracedPlain(P::Plain::new(value))
    }

    fn uninit() -> Self {
        TracedPlain(P::Plain::uninit())
    }

    unsafe fn read(&self, site: &'static Site<Read>) -> T {
        let access = self.begin(site);
        // SAFETY: passed on to the caller.
        let value = unsafe { self.0.read(site) };
        access.done(Order::Relaxed, Effect::Got(words(&value)));
        value
    }

    unsafe fn write(&self, value: T, site: &'static Site<Write>) {
        let access = self.begin(site);
        let words = words(&value);
        // SAFETY: passed on to the caller.
        unsafe { self.0.write(value, site) };
        access.done(Order::Relaxed, Effect::Put(words));
    }
}
