//! Double-checked initialisation: a lock for those who come first, one load for all who come later.
//!
//! ```sh
//! cargo run -p weaken --example double_checked
//! cargo weaken -p weaken --features loom --no-cfg --example double_checked
//! ```
//!
//! What becomes of each weaker ordering stands behind the access. The second look is an acquire as so often
//! seen, and it survives: whoever has the lock has been ordered by the lock already. This is what a survivor
//! should make you think about.

use weaken::cell::UnsafeCell;
use weaken::sync::atomic::{AtomicBool, Ordering};
use weaken::sync::{Arc, Mutex};
use weaken::thread;

struct Once {
    is_ready: AtomicBool,
    lock: Mutex<()>,
    value: UnsafeCell<u32>,
}

// SAFETY: the value is written once, under the lock, before `is_ready` is set, and read only after.
unsafe impl Sync for Once {}

impl Once {
    fn new() -> Once {
        let (is_ready, lock) = (AtomicBool::new(false), Mutex::new(()));
        Once { is_ready, lock, value: UnsafeCell::new(0) }
    }

    fn get(&self, make: impl FnOnce() -> u32) -> u32 {
        let is_ready = self.is_ready.load(Ordering::Acquire); // Relaxed: killed
        if !is_ready {
            let _guard = self.lock.lock().expect("nobody panics under the lock");
            let is_ready = self.is_ready.load(Ordering::Acquire); // Relaxed: survived
            if !is_ready {
                // SAFETY: nobody reads before `is_ready`, and this thread has the lock.
                self.value.with_mut(|value| unsafe { *value = make() });
                self.is_ready.store(true, Ordering::Release); // Relaxed: killed
            }
        }
        // SAFETY: it is ready.
        self.value.with(|value| unsafe { *value })
    }
}

fn main() {
    let once = Arc::new(Once::new());
    let there = once.clone();
    let other = thread::spawn(move || there.get(|| 1));
    let mine = once.get(|| 2);
    assert_eq!(mine, other.join().expect("the other"));
    println!("both have {mine}");
}

#[cfg(feature = "loom")]
#[test]
fn all_get_the_same() {
    weaken::model(|| {
        let once = Arc::new(Once::new());
        weaken::name(&once.is_ready, "is ready");
        weaken::name(&once.value, "value");
        let there = once.clone();
        let other = thread::spawn(move || there.get(|| 1));
        let mine = once.get(|| 2);
        assert_eq!(mine, other.join().expect("the other"));
    });
}
