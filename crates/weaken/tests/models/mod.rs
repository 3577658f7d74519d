//! Models, each run in a process of its own by the tests. Those that fail do so only when they are asked.

use weaken::cell::UnsafeCell;
use weaken::record::FILE;
use weaken::sync::Arc;
use weaken::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use weaken::{model, thread};

/// A model that fails by itself says so only to the test that runs it.
fn is_asked() -> bool {
    std::env::var_os(FILE).is_some()
}

/// Plain data and a flag.
struct Shared {
    flag: AtomicUsize,
    data: UnsafeCell<u32>,
}

// SAFETY: loom reports accesses to the data that nothing orders.
unsafe impl Sync for Shared {}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared { flag: AtomicUsize::new(0), data: UnsafeCell::new(0) })
    }

    #[track_caller]
    fn write(&self) {
        // SAFETY: the pointer is valid, and loom looks after the rest.
        self.data.with_mut(|data| unsafe { *data += 1 });
    }

    #[track_caller]
    fn read(&self) -> u32 {
        // SAFETY: as in `write`.
        self.data.with(|data| unsafe { *data })
    }
}

#[test]
fn message() {
    struct Message {
        ready: AtomicBool,
        data: UnsafeCell<u32>,
    }
    // SAFETY: as for `Shared`.
    unsafe impl Sync for Message {}

    model(|| {
        let shared = Arc::new(Message { ready: AtomicBool::new(false), data: UnsafeCell::new(0) });
        weaken::name(&shared.ready, "ready");
        weaken::name(&shared.data, "data");
        let other = shared.clone();
        let writer = thread::spawn(move || {
            // SAFETY: as in `Shared::write`.
            other.data.with_mut(|data| unsafe { *data = 1 });
            other.ready.store(true, Ordering::Release); // message: store
        });
        if shared.ready.load(Ordering::Acquire) {
            // SAFETY: as in `Shared::write`.
            assert_eq!(shared.data.with(|data| unsafe { *data }), 1);
        }
        writer.join().expect("the writer");
    });
}

#[test]
fn same_values() {
    if !is_asked() {
        return;
    }
    model(|| {
        let word = Arc::new(AtomicUsize::new(0));
        let done = Arc::new(AtomicBool::new(false));
        let (word_there, done_there) = (word.clone(), done.clone());
        let writer = thread::spawn(move || {
            word_there.store(7, Ordering::Relaxed);
            word_there.store(7, Ordering::Relaxed);
            done_there.store(true, Ordering::Relaxed);
        });
        let is_done = done.load(Ordering::Relaxed);
        // Nothing orders the two loads, so the second may read any of three values. It fails for the two that
        // look alike, of which the first that loom tries is the older one.
        let value = word.load(Ordering::Relaxed);
        assert!(!is_done || value != 7, "a store was read");
        writer.join().expect("the writer");
    });
}

#[test]
fn lock() {
    model(|| {
        let shared = Shared::new();
        let other = shared.clone();
        let enter = |shared: &Shared| {
            let flag = &shared.flag;
            let taken = flag.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire); // lock: compare_exchange
            if taken.is_ok() {
                shared.write();
                shared.flag.store(0, Ordering::Release);
            }
        };
        let thread = thread::spawn(move || enter(&other));
        enter(&shared);
        thread.join().expect("the thread");
    });
}

#[test]
fn again() {
    model(|| {
        let shared = Shared::new();
        let was_first = Arc::new(AtomicBool::new(false));
        let (other, was_first_there) = (shared.clone(), was_first.clone());
        let thread = thread::spawn(move || {
            other.write();
            // Another write of the value that is there already.
            if other.flag.swap(0, Ordering::Release) == 0 {
                was_first_there.store(true, Ordering::Relaxed);
            }
        });
        let flag = &shared.flag;
        let found = flag.compare_exchange(0, 1, Ordering::Acquire, Ordering::Acquire); // again: compare_exchange
        assert_eq!(found, Ok(0), "there is no other value");
        if was_first.load(Ordering::Relaxed) {
            assert_eq!(shared.read(), 1);
        }
        thread.join().expect("the thread");
    });
}

#[test]
fn failure() {
    model(|| {
        let shared = Shared::new();
        let other = shared.clone();
        let thread = thread::spawn(move || {
            other.write();
            other.flag.store(1, Ordering::Release);
        });
        let flag = &shared.flag;
        let found = flag.compare_exchange(0, 2, Ordering::Relaxed, Ordering::Acquire); // failure: compare_exchange
        if found == Err(1) {
            assert_eq!(shared.read(), 1);
        }
        thread.join().expect("the thread");
    });
}

#[test]
fn fences() {
    model(|| {
        let shared = Shared::new();
        let other = shared.clone();
        let thread = thread::spawn(move || {
            other.write();
            fence(Ordering::Release); // fences: release
            other.flag.store(1, Ordering::Relaxed);
        });
        if shared.flag.load(Ordering::Relaxed) == 1 {
            fence(Ordering::Acquire); // fences: acquire
            assert_eq!(shared.read(), 1);
        }
        thread.join().expect("the thread");
    });
}

#[test]
fn wrong() {
    if !is_asked() {
        return;
    }
    model(|| {
        let word = Arc::new(AtomicUsize::new(0));
        let other = word.clone();
        let add = |word: &AtomicUsize| {
            let value = word.load(Ordering::SeqCst);
            word.store(value + 1, Ordering::SeqCst);
        };
        let thread = thread::spawn(move || add(&other));
        add(&word);
        thread.join().expect("the thread");
        assert_eq!(word.load(Ordering::SeqCst), 2, "a lost update");
    });
}

#[test]
fn names() {
    if !is_asked() {
        return;
    }
    model(|| {
        let nodes = [AtomicUsize::new(0), AtomicUsize::new(1), AtomicUsize::new((3 << 32) + 1)];
        for node in &nodes {
            weaken::name(node, "node");
        }
        weaken::show(&nodes[1], |word| -> u64 { panic!("no value {word}") });
        weaken::show(&nodes[2], |word| format!("tag {}, first {}", word >> 32, word & 0xffff_ffff));
        nodes[2].fetch_add(1, Ordering::Relaxed);
        nodes[0].load(Ordering::Relaxed);
        nodes[1].load(Ordering::Relaxed);
        AtomicUsize::new(5).load(Ordering::Relaxed);
        panic!("to see how they are called");
    });
}

#[test]
fn destructor() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("the second");
        }
    }
    if !is_asked() {
        return;
    }
    model(|| {
        let _panics = Panics;
        assert_eq!(AtomicUsize::new(1).load(Ordering::Relaxed), 2, "the first");
    });
}

#[test]
fn leak() {
    if is_asked() {
        model(|| std::mem::forget(Arc::new(AtomicBool::new(false))));
    }
}

#[test]
fn deadlock() {
    if is_asked() {
        model(thread::park);
    }
}

#[test]
fn endless() {
    if !is_asked() {
        return;
    }
    model(|| {
        let flag = AtomicBool::new(false);
        while !flag.load(Ordering::Acquire) {
            thread::yield_now();
        }
    });
}

#[test]
fn operations() {
    use core::sync::atomic as native;
    use weaken::sync::atomic as checked;

    /// The same calls on `core`'s atomic and on weaken's: what they return is equal.
    macro_rules! integer {
        ($name:ident, $start:expr, $value:expr) => {{
            const O: Ordering = Ordering::SeqCst;
            let (mut mine, mut theirs) = (checked::$name::new($start), native::$name::new($start));
            let value = $value;
            assert_eq!(mine.swap(value, O), theirs.swap(value, O));
            assert_eq!(mine.fetch_add(value, O), theirs.fetch_add(value, O));
            assert_eq!(mine.fetch_sub($start, O), theirs.fetch_sub($start, O));
            assert_eq!(mine.fetch_and(value, O), theirs.fetch_and(value, O));
            assert_eq!(mine.fetch_nand(value, O), theirs.fetch_nand(value, O));
            assert_eq!(mine.fetch_or($start, O), theirs.fetch_or($start, O));
            assert_eq!(mine.fetch_xor(value, O), theirs.fetch_xor(value, O));
            assert_eq!(mine.fetch_max(value, O), theirs.fetch_max(value, O));
            assert_eq!(mine.fetch_min($start, O), theirs.fetch_min($start, O));
            let found = theirs.load(O);
            assert_eq!(
                mine.compare_exchange(found, value, O, O),
                theirs.compare_exchange(found, value, O, O)
            );
            assert_eq!(mine.compare_exchange_weak($start, 1, O, O), theirs.compare_exchange($start, 1, O, O));
            assert_eq!(mine.compare_and_swap(value, 3, O), theirs.swap(3, O));
            let up = |found| if found == 3 { Some(5) } else { None };
            assert_eq!(mine.fetch_update(O, O, up), theirs.fetch_update(O, O, up));
            assert_eq!(mine.fetch_update(O, O, up), theirs.fetch_update(O, O, up));
            mine.store(value, O);
            theirs.store(value, O);
            mine.with_mut(|value| *value -= 1);
            *theirs.get_mut() -= 1;
            // SAFETY: nobody else is here.
            assert_eq!(unsafe { mine.unsync_load() }, theirs.load(O));
            assert_eq!(mine.load(O), theirs.load(O));
            assert_eq!(mine.into_inner(), theirs.into_inner());
        }};
    }
    model(|| {
        integer!(AtomicU8, 250, 9);
        integer!(AtomicU16, 65_000, 1000);
        integer!(AtomicU32, 1, u32::MAX);
        integer!(AtomicU64, 1 << 40, u64::MAX);
        integer!(AtomicUsize, 17, 4);
        integer!(AtomicI8, -128, 127);
        integer!(AtomicI16, -2, 30_000);
        integer!(AtomicI32, i32::MIN, -1);
        integer!(AtomicI64, i64::MIN, -5);
        integer!(AtomicIsize, -7, isize::MAX);
    });
    model(|| {
        const O: Ordering = Ordering::SeqCst;
        for (start, value) in [(false, false), (false, true), (true, false), (true, true)] {
            let (mine, theirs) = (checked::AtomicBool::new(start), native::AtomicBool::new(start));
            assert_eq!(mine.fetch_and(value, O), theirs.fetch_and(value, O));
            assert_eq!(mine.fetch_nand(value, O), theirs.fetch_nand(value, O));
            assert_eq!(mine.fetch_or(value, O), theirs.fetch_or(value, O));
            assert_eq!(mine.fetch_xor(value, O), theirs.fetch_xor(value, O));
            assert_eq!(
                mine.compare_exchange(start, value, O, O),
                theirs.compare_exchange(start, value, O, O)
            );
            assert_eq!(mine.load(O), theirs.load(O));
        }
        let (mut one, mut two) = (1, 2);
        let pointer = checked::AtomicPtr::new(&raw mut one);
        assert_eq!(pointer.swap(&raw mut two, O), &raw mut one);
        assert_eq!(pointer.compare_exchange(&raw mut one, &raw mut one, O, O), Err(&raw mut two));
        assert_eq!(pointer.compare_exchange(&raw mut two, &raw mut one, O, O), Ok(&raw mut two));
        assert_eq!(pointer.load(O), &raw mut one);
        assert!(checked::AtomicPtr::<u8>::default().load(O).is_null());
        fence(O);
    });
}
