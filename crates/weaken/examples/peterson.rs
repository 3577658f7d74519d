//! Peterson's mutual exclusion needs sequential consistency, and shows what loom cannot tell.
//!
//! ```sh
//! cargo run -p weaken --example peterson
//! cargo weaken -p weaken --features loom --no-cfg --example peterson
//! ```
//!
//! Each raises its flag, gives way, and enters unless the other's flag is up and the other has given way first.
//! The textbook makes every access `SeqCst`, which is right, and loom says that it is wrong: it takes `SeqCst`
//! loads and stores for acquire and release, and lets both enter. So a model of it fails although nothing was
//! changed, and cargo weaken has nothing to say. `SeqCst` *fences* are what loom knows: with them the model
//! passes, and every weaker fence is noticed. What becomes of each weaker ordering stands behind the access.

use weaken::cell::UnsafeCell;
use weaken::sync::Arc;
use weaken::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use weaken::thread;

struct Peterson {
    wants: [AtomicBool; 2],
    /// Who goes first if both want.
    first: AtomicUsize,
    count: UnsafeCell<u32>,
}

// SAFETY: whoever has entered is alone with the count.
unsafe impl Sync for Peterson {}

impl Peterson {
    fn new() -> Peterson {
        let wants = [AtomicBool::new(false), AtomicBool::new(false)];
        Peterson { wants, first: AtomicUsize::new(0), count: UnsafeCell::new(0) }
    }

    /// Adds one if the other is not inside; `me` is 0 or 1, and each is one thread.
    fn try_add(&self, me: usize) -> bool {
        let other = 1 - me;
        self.wants[me].store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst); // AcqRel: killed, Acquire: killed, Release: killed, Relaxed: killed
        self.first.store(other, Ordering::Relaxed);
        fence(Ordering::SeqCst); // AcqRel: killed, Acquire: killed, Release: killed, Relaxed: killed
        let may_enter = !self.wants[other].load(Ordering::Acquire) // Relaxed: killed
            || self.first.load(Ordering::Relaxed) == me;
        if may_enter {
            // SAFETY: the other is not inside.
            self.count.with_mut(|count| unsafe { *count += 1 });
        }
        self.wants[me].store(false, Ordering::Release); // Relaxed: killed
        may_enter
    }

    /// As in the textbook.
    #[cfg(all(test, feature = "loom"))]
    fn try_add_as_in_the_textbook(&self, me: usize) {
        let other = 1 - me;
        self.wants[me].store(true, Ordering::SeqCst);
        self.first.store(other, Ordering::SeqCst);
        if !self.wants[other].load(Ordering::SeqCst) || self.first.load(Ordering::SeqCst) == me {
            // SAFETY: the other is not inside, whatever loom says.
            self.count.with_mut(|count| unsafe { *count += 1 });
        }
        self.wants[me].store(false, Ordering::SeqCst);
    }
}

fn main() {
    let peterson = Arc::new(Peterson::new());
    let there = peterson.clone();
    let add = |peterson: &Peterson, me| (0..1000).filter(|_| peterson.try_add(me)).count();
    let other = thread::spawn(move || add(&there, 1));
    let mine = add(&peterson, 0);
    let all = mine + other.join().expect("the other");
    // SAFETY: nobody else is here any more.
    println!("{} of {all}", peterson.count.with(|count| unsafe { *count }));
}

#[cfg(all(test, feature = "loom"))]
fn two(enter: fn(&Peterson, usize)) {
    weaken::model(move || {
        let peterson = Arc::new(Peterson::new());
        weaken::name(&peterson.wants[0], "0 wants");
        weaken::name(&peterson.wants[1], "1 wants");
        weaken::name(&peterson.first, "first");
        weaken::name(&peterson.count, "count");
        let there = peterson.clone();
        let other = thread::spawn(move || enter(&there, 1));
        enter(&peterson, 0);
        other.join().expect("the other");
    });
}

#[cfg(feature = "loom")]
#[test]
fn two_are_never_inside() {
    two(|peterson, me| {
        peterson.try_add(me);
    });
}

#[cfg(feature = "loom")]
#[test]
#[should_panic = "Causality violation"]
fn loom_does_not_know_sequentially_consistent_accesses() {
    two(Peterson::try_add_as_in_the_textbook);
}
