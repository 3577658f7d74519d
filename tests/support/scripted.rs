//! A platform on which a test decides what happens at a site.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use arenaq::ordering::{
    Add, CompareExchange, Fence, FetchAdd, Load, Read, Site, SiteInfo, Store, Swap, Write,
};
use arenaq::platform::{Link, Native, Plain, Platform, SizeOf, Word};

/// `Native`, but a thread can be held just before an access, and lose its compare-exchanges.
pub(crate) enum Scripted {}

struct Stall {
    site: &'static str,
    reached: Sender<()>,
    go_on: Receiver<()>,
}

thread_local! {
    static STALL: RefCell<Option<Stall>> = const { RefCell::new(None) };
    static LOSES: Cell<Option<&'static str>> = const { Cell::new(None) };
    static LOST: Cell<u64> = const { Cell::new(0) };
    static LIFE: Cell<Option<u64>> = const { Cell::new(None) };
    static INTERRUPT: Cell<Option<u64>> = const { Cell::new(None) };
    static INTERRUPTION: Cell<Option<&'static dyn Fn()>> = const { Cell::new(None) };
    static PROCESSOR: Cell<usize> = const { Cell::new(0) };
}

/// What a thread that dies is unwound with.
struct Death;

/// Runs `operation` until it has made so many accesses and is about to make the next, and ends it there, as a
/// signal ends a process; `None` then. What it owns is forgotten if it is borrowed.
pub(crate) fn dying<R>(accesses: u64, operation: impl FnOnce() -> R) -> Option<R> {
    LIFE.set(Some(accesses));
    let result = panic::catch_unwind(AssertUnwindSafe(operation));
    LIFE.set(None);
    match result {
        Ok(result) => Some(result),
        Err(death) if death.is::<Death>() => None,
        Err(panic) => panic::resume_unwind(panic),
    }
}

/// Runs `operation` in a thread of its own until it is about to make the access `site`, then `meanwhile`,
/// then the rest of `operation`.
pub(crate) fn stalled<R: Send>(
    site: &SiteInfo,
    operation: impl FnOnce() -> R + Send,
    meanwhile: impl FnOnce(),
) -> R {
    let site = site.name;
    let (reached, is_reached) = channel();
    let (may_go_on, go_on) = channel();
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            STALL.set(Some(Stall { site, reached, go_on }));
            let result = operation();
            assert!(STALL.take().is_none(), "the operation never came to {site}");
            result
        });
        if is_reached.recv().is_ok() {
            meanwhile();
            // A thread that is gone has panicked, which the join reports.
            let _ = may_go_on.send(());
        }
        thread.join().expect("the stalled operation")
    })
}

/// Runs `operation`, and in the middle of it, before the access with that number, `interruption`, in the same thread, as an
/// interrupt comes. Returns whether the operation has made so many accesses. Interruptions can be interrupted.
pub(crate) fn interrupted(access: u64, operation: impl FnOnce(), interruption: impl FnOnce()) -> bool {
    let outer = INTERRUPT.replace(Some(access));
    let interruption = Cell::new(Some(interruption));
    let act = || {
        if let Some(interruption) = interruption.take() {
            interruption();
        }
    };
    let act: &dyn Fn() = &act;
    // SAFETY: only the lifetime changes, and whoever is interrupted while it is there is `operation`, below.
    let act = unsafe { std::mem::transmute::<&dyn Fn(), &'static dyn Fn()>(act) };
    let outer_act = INTERRUPTION.replace(Some(act));
    operation();
    let came = INTERRUPT.replace(outer).is_none();
    INTERRUPTION.set(outer_act);
    came
}

/// Runs `operation` while every compare-exchange at `site` fails. Returns how many there were.
pub(crate) fn losing<R>(site: &SiteInfo, operation: impl FnOnce() -> R) -> (R, u64) {
    LOSES.set(Some(site.name));
    LOST.set(0);
    let result = operation();
    LOSES.set(None);
    (result, LOST.get())
}

/// Runs `operation` as if on another processor; everything else runs on processor 0.
pub(crate) fn on_processor<R>(processor: usize, operation: impl FnOnce() -> R) -> R {
    let before = PROCESSOR.replace(processor);
    let result = operation();
    PROCESSOR.set(before);
    result
}

fn come_to(site: &SiteInfo) {
    match LIFE.get() {
        // Past the panic hook, which would print.
        Some(0) => panic::resume_unwind(Box::new(Death)),
        Some(left) => LIFE.set(Some(left - 1)),
        None => {}
    }
    match INTERRUPT.get() {
        Some(0) => {
            INTERRUPT.set(None);
            if let Some(interruption) = INTERRUPTION.get() {
                interruption();
            }
        }
        Some(left) => INTERRUPT.set(Some(left - 1)),
        None => {}
    }
    let stall = STALL.with_borrow_mut(|stall| stall.take_if(|stall| stall.site == site.name));
    if let Some(stall) = stall {
        // The test has panicked if nobody listens or answers; then going on ends this thread soonest.
        let _ = stall.reached.send(());
        let _ = stall.go_on.recv();
    }
}

impl Platform for Scripted {
    type Word = ScriptedWord;
    type Link<T> = ScriptedLink<T>;
    type Plain<T> = ScriptedPlain<T>;
    type Stride = SizeOf;
    type Steps = Range<u64>;

    fn retry_budget() -> u64 {
        Native::retry_budget()
    }

    fn steps(limit: u64) -> Range<u64> {
        0..limit
    }

    fn processor() -> usize {
        PROCESSOR.get()
    }

    fn relax() {
        Native::relax();
    }

    fn fence_after_rmw(site: &'static Site<Fence>) {
        Native::fence_after_rmw(site);
    }
}

pub(crate) struct ScriptedWord(<Native as Platform>::Word);

impl Word for ScriptedWord {
    fn new(value: u64) -> Self {
        ScriptedWord(Word::new(value))
    }

    fn load(&self, site: &'static Site<Load>) -> u64 {
        come_to(site.info());
        self.0.load(site)
    }

    fn store(&self, value: u64, site: &'static Site<Store>) {
        // Destructors run when a thread is unwound, and do not when it is killed: they reach nothing.
        if LIFE.get() == Some(0) && thread::panicking() {
            return;
        }
        come_to(site.info());
        self.0.store(value, site);
    }

    fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        site: &'static Site<CompareExchange>,
    ) -> Result<u64, u64> {
        come_to(site.info());
        if LOSES.get() == Some(site.info().name) {
            LOST.set(LOST.get() + 1);
            return Err(current);
        }
        self.0.compare_exchange(current, new, site)
    }

    fn add(&self, value: u64, site: &'static Site<Add>) {
        come_to(site.info());
        self.0.add(value, site);
    }

    fn fetch_add(&self, value: u64, site: &'static Site<FetchAdd>) -> u64 {
        come_to(site.info());
        self.0.fetch_add(value, site)
    }

    unsafe fn init(&self, value: u64, site: &'static Site<Write>) {
        // SAFETY: passed on to the caller.
        unsafe { self.0.init(value, site) }
    }
}

pub(crate) struct ScriptedLink<T>(<Native as Platform>::Link<T>);

impl<T> Link<T> for ScriptedLink<T> {
    fn new(target: *mut T) -> Self {
        ScriptedLink(Link::new(target))
    }

    fn load(&self, site: &'static Site<Load>) -> *mut T {
        come_to(site.info());
        self.0.load(site)
    }

    fn store(&self, target: *mut T, site: &'static Site<Store>) {
        come_to(site.info());
        self.0.store(target, site);
    }

    fn swap(&self, target: *mut T, site: &'static Site<Swap>) -> *mut T {
        come_to(site.info());
        self.0.swap(target, site)
    }

    unsafe fn init(&self, target: *mut T, site: &'static Site<Write>) {
        // SAFETY: passed on to the caller.
        unsafe { self.0.init(target, site) }
    }
}

pub(crate) struct ScriptedPlain<T>(<Native as Platform>::Plain<T>);

impl<T> Plain<T> for ScriptedPlain<T> {
    fn new(value: T) -> Self {
        ScriptedPlain(Plain::new(value))
    }

    fn uninit() -> Self {
        ScriptedPlain(Plain::uninit())
    }

    unsafe fn read(&self, site: &'static Site<Read>) -> T {
        come_to(site.info());
        // SAFETY: passed on to the caller.
        unsafe { self.0.read(site) }
    }

    unsafe fn write(&self, value: T, site: &'static Site<Write>) {
        come_to(site.info());
        // SAFETY: passed on to the caller.
        unsafe { self.0.write(value, site) }
    }
}
