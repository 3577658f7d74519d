//! A spin lock: what is done under it is handed on from who releases to who acquires.
//!
//! ```sh
//! cargo run -p weaken --example spin_lock
//! cargo weaken -p weaken --features loom --no-cfg --example spin_lock
//! ```
//!
//! What becomes of each weaker ordering stands behind the access.

use weaken::cell::UnsafeCell;
use weaken::hint;
use weaken::sync::Arc;
use weaken::sync::atomic::AtomicBool;
use weaken::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use weaken::thread;

struct SpinLock {
    is_taken: AtomicBool,
    count: UnsafeCell<u32>,
}

// SAFETY: who has the lock is alone with the count.
unsafe impl Sync for SpinLock {}

impl SpinLock {
    fn new() -> SpinLock {
        SpinLock { is_taken: AtomicBool::new(false), count: UnsafeCell::new(0) }
    }

    /// Adds one, and returns how many there were.
    fn add(&self) -> u32 {
        loop {
            let taken = self.is_taken.compare_exchange_weak(false, true, Acquire, Relaxed); // Relaxed/Relaxed: killed
            if taken.is_ok() {
                break;
            }
            hint::spin_loop();
        }
        // SAFETY: this thread has the lock.
        let before = self.count.with_mut(|count| unsafe { std::mem::replace(&mut *count, *count + 1) });
        self.is_taken.store(false, Release); // Relaxed: killed
        before
    }
}

fn main() {
    let lock = Arc::new(SpinLock::new());
    let add = |lock: Arc<SpinLock>| move || (0..1000).for_each(|_| _ = lock.add());
    let threads: Vec<_> = (0..4).map(|_| thread::spawn(add(lock.clone()))).collect();
    for thread in threads {
        thread.join().expect("a thread");
    }
    println!("{} of 4000", lock.add());
}

#[cfg(feature = "loom")]
#[test]
fn two_add_two() {
    weaken::model(|| {
        let lock = Arc::new(SpinLock::new());
        weaken::name(&lock.is_taken, "lock");
        weaken::name(&lock.count, "count");
        let there = lock.clone();
        let other = thread::spawn(move || there.add());
        let first = lock.add();
        assert_eq!(first + other.join().expect("the other"), 1);
    });
}
