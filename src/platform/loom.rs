//! loom: every interleaving and every reordering that the C11 model allows and loom implements.
//!
//! The atomics are those of [`weaken`]: one run can change the ordering of a site, and each access is in the
//! [trace](weaken::trace) of its execution, with the write that it read from.

extern crate std;

use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::mem::MaybeUninit;
use core::num::NonZero;
use core::ops::Range;

use weaken::operation::Order;
use weaken::sync::atomic::{AtomicPtr, AtomicU64, fence_at};
use weaken::trace::{Access, Effect};

use super::traced::words;
use super::{C11, Heap, Identify, Link, Plain, Platform, SizeOf, Word};
use crate::ordering::{Add, CompareExchange, Fence, FetchAdd, Load, Read, Site, Store, Swap, Write};
use crate::weakened::declared;

/// The model checker loom, in models that begin with `weaken::model` or `weaken::model::Builder`. Its plain memory is loom's
/// `UnsafeCell`, so an access that the orderings do not protect is reported as a race.
#[derive(Clone, Copy, Debug)]
pub enum Loom {}

/// More than loom has threads, so that each is on its own.
const PROCESSORS: u64 = 64;

std::thread_local! {
    /// How many processors the models of this thread have. It is the same in every permutation of a model, so
    /// it is nothing that loom has to know.
    static PROCESSORS_HERE: Cell<u64> = const { Cell::new(PROCESSORS) };
}

impl Loom {
    /// From now on loom's thread `n` is on processor `n % count`, in this thread of the system; the main
    /// thread of a model is 0, and the others are 1, 2, … as they are spawned. `None` is one for each thread.
    pub fn set_processors(count: Option<NonZero<u64>>) {
        PROCESSORS_HERE.set(count.map_or(PROCESSORS, NonZero::get));
    }
}

impl Platform for Loom {
    type Word = LoomWord;
    type Link<T> = LoomLink<T>;
    type Plain<T> = LoomPlain<T>;
    type Stride = SizeOf;
    type Steps = Range<u64>;

    /// Small enough that a model reaches the end of it.
    fn retry_budget() -> u64 {
        2
    }

    fn steps(limit: u64) -> Range<u64> {
        0..limit
    }

    fn processor() -> usize {
        (Self::identity() % PROCESSORS_HERE.get()) as usize
    }

    fn relax() {
        loom::thread::yield_now();
    }

    /// A fence proper, which also orders stores: loom has nothing weaker. A relaxed one is none.
    fn fence_after_rmw(site: &'static Site<Fence>) {
        fence_at(declared(site));
    }
}

impl C11 for Loom {
    fn fence(site: &'static Site<Fence>) {
        fence_at(declared(site));
    }

    fn compare_exchange<T>(
        link: &LoomLink<T>,
        current: *mut T,
        new: *mut T,
        site: &'static Site<CompareExchange>,
    ) -> Result<*mut T, *mut T> {
        link.atomic().compare_exchange_at(current, new, declared(site))
    }
}

impl Heap for Loom {
    type Shared<T> = loom::sync::Arc<T>;

    fn share<T>(value: T) -> Self::Shared<T> {
        loom::sync::Arc::new(value)
    }
}

impl Identify for Loom {
    fn identity() -> u64 {
        weaken::model::thread().into()
    }
}

/// An atomic word. The outer cell is what lets `init` through a shared reference reach loom's check of
/// unsynchronised writes, which wants `&mut`.
pub struct LoomWord(UnsafeCell<AtomicU64>);

impl LoomWord {
    fn atomic(&self) -> &AtomicU64 {
        // SAFETY: a `&mut` to the atomic exists only inside `init`, whose caller promises that nobody else is
        // here, and loom runs one thread at a time and never switches inside it.
        unsafe { &*self.0.get() }
    }
}

impl Word for LoomWord {
    fn new(value: u64) -> Self {
        LoomWord(UnsafeCell::new(AtomicU64::new(value)))
    }

    fn load(&self, site: &'static Site<Load>) -> u64 {
        self.atomic().load_at(declared(site))
    }

    fn store(&self, value: u64, site: &'static Site<Store>) {
        self.atomic().store_at(value, declared(site));
    }

    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        site: &'static Site<CompareExchange>,
    ) -> Result<u64, u64> {
        self.atomic().compare_exchange_at(current, new, declared(site))
    }

    fn add(&self, value: u64, site: &'static Site<Add>) {
        self.atomic().fetch_add_at(value, declared(site));
    }

    fn fetch_add(&self, value: u64, site: &'static Site<FetchAdd>) -> u64 {
        self.atomic().fetch_add_at(value, declared(site))
    }

    unsafe fn init(&self, value: u64, site: &'static Site<Write>) {
        // SAFETY: the caller promises that nobody else reaches the word, and loom reports it if that is not so.
        unsafe { (*self.0.get()).write_at(value, declared(site)) }
    }
}

/// An atomic pointer.
pub struct LoomLink<T>(UnsafeCell<AtomicPtr<T>>);

impl<T> LoomLink<T> {
    fn atomic(&self) -> &AtomicPtr<T> {
        // SAFETY: as for `LoomWord::atomic`.
        unsafe { &*self.0.get() }
    }
}

impl<T> Link<T> for LoomLink<T> {
    fn new(target: *mut T) -> Self {
        LoomLink(UnsafeCell::new(AtomicPtr::new(target)))
    }

    fn load(&self, site: &'static Site<Load>) -> *mut T {
        self.atomic().load_at(declared(site))
    }

    fn store(&self, target: *mut T, site: &'static Site<Store>) {
        self.atomic().store_at(target, declared(site));
    }

    fn swap(&self, target: *mut T, site: &'static Site<Swap>) -> *mut T {
        self.atomic().swap_at(target, declared(site))
    }

    unsafe fn init(&self, target: *mut T, site: &'static Site<Write>) {
        // SAFETY: as for `LoomWord::init`.
        unsafe { (*self.0.get()).write_at(target, declared(site)) }
    }
}

/// loom's checked cell.
#[derive(Debug)]
pub struct LoomPlain<T>(loom::cell::UnsafeCell<MaybeUninit<T>>);

impl<T> LoomPlain<T> {
    fn begin<K>(&self, site: &'static Site<K>) -> Access {
        Access::begin(Loom::identity(), declared(site), (&raw const self.0).addr())
    }
}

impl<T> Plain<T> for LoomPlain<T> {
    fn new(value: T) -> Self {
        LoomPlain(loom::cell::UnsafeCell::new(MaybeUninit::new(value)))
    }

    fn uninit() -> Self {
        LoomPlain(loom::cell::UnsafeCell::new(MaybeUninit::uninit()))
    }

    unsafe fn read(&self, site: &'static Site<Read>) -> T {
        let access = self.begin(site);
        // SAFETY: the pointer is valid inside `with`, and leads to a `T` by the caller's promise; loom reports a
        // write that is not ordered with this read.
        let value = self.0.with(|value| unsafe { value.cast::<T>().read() });
        access.done(Order::Relaxed, Effect::Got(words(&value)));
        value
    }

    unsafe fn write(&self, value: T, site: &'static Site<Write>) {
        let access = self.begin(site);
        let words = words(&value);
        // SAFETY: the pointer is valid inside `with_mut`; loom reports an access that is not ordered with
        // this write.
        self.0.with_mut(|place| unsafe { place.cast::<T>().write(value) });
        access.done(Order::Relaxed, Effect::Put(words));
    }
}

impl fmt::Debug for LoomWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoomWord").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for LoomLink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoomLink").finish_non_exhaustive()
    }
}
