//! A ring for one producer and one consumer: each owns one position, and reads the other's.
//!
//! ```sh
//! cargo run -p weaken --example spsc_ring
//! cargo weaken -p weaken --features loom --no-cfg --example spsc_ring
//! ```
//!
//! What becomes of each weaker ordering stands behind the access. Each side keeps its own position
//! beside: it is the only one that changes it, and to load a word before it is stored would hide other orders from
//! loom (its issue 392).

use weaken::cell::UnsafeCell;
use weaken::sync::Arc;
use weaken::sync::atomic::{AtomicUsize, Ordering};
use weaken::thread;

struct Ring<const PLACES: usize> {
    /// How many elements were popped.
    head: AtomicUsize,
    /// How many were pushed.
    tail: AtomicUsize,
    places: [UnsafeCell<u32>; PLACES],
}

// SAFETY: a place is the producer's until `tail` has passed it, and the consumer's until `head` has.
unsafe impl<const PLACES: usize> Sync for Ring<PLACES> {}

/// The only one who pushes.
struct Producer<const PLACES: usize> {
    ring: Arc<Ring<PLACES>>,
    tail: usize,
}

/// The only one who pops.
struct Consumer<const PLACES: usize> {
    ring: Arc<Ring<PLACES>>,
    head: usize,
}

fn ring<const PLACES: usize>() -> (Producer<PLACES>, Consumer<PLACES>) {
    let (head, tail) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let ring = Arc::new(Ring { head, tail, places: std::array::from_fn(|_| UnsafeCell::new(0)) });
    (Producer { ring: ring.clone(), tail: 0 }, Consumer { ring, head: 0 })
}

impl<const PLACES: usize> Producer<PLACES> {
    fn push(&mut self, value: u32) -> bool {
        let head = self.ring.head.load(Ordering::Acquire); // Relaxed: killed
        if self.tail - head == PLACES {
            return false;
        }
        let place = &self.ring.places[self.tail % PLACES];
        // SAFETY: the consumer has passed the place, and will not come before `tail` says so.
        place.with_mut(|place| unsafe { *place = value });
        self.tail += 1;
        self.ring.tail.store(self.tail, Ordering::Release); // Relaxed: killed
        true
    }
}

impl<const PLACES: usize> Consumer<PLACES> {
    fn pop(&mut self) -> Option<u32> {
        let tail = self.ring.tail.load(Ordering::Acquire); // Relaxed: killed
        if tail == self.head {
            return None;
        }
        let place = &self.ring.places[self.head % PLACES];
        // SAFETY: the producer has passed the place, and will not come again before `head` says so.
        let value = place.with(|place| unsafe { *place });
        self.head += 1;
        self.ring.head.store(self.head, Ordering::Release); // Relaxed: killed
        Some(value)
    }
}

fn main() {
    let (mut producer, mut consumer) = ring::<8>();
    let thread = thread::spawn(move || {
        for value in 0..1000 {
            while !producer.push(value) {
                thread::yield_now();
            }
        }
    });
    let (mut count, mut sum) = (0, 0);
    while count < 1000 {
        match consumer.pop() {
            Some(value) => (count, sum) = (count + 1, sum + value),
            None => thread::yield_now(),
        }
    }
    thread.join().expect("the producer");
    println!("the sum is {sum} of {}", (0..1000).sum::<u32>());
}

#[cfg(feature = "loom")]
#[test]
fn what_is_pushed_is_popped_in_order() {
    weaken::model(|| {
        // The second push must wait for the first pop.
        let (mut producer, mut consumer) = ring::<1>();
        weaken::name(&consumer.ring.head, "head");
        weaken::name(&consumer.ring.tail, "tail");
        weaken::name(&consumer.ring.places[0], "place");
        let thread = thread::spawn(move || [1, 2].map(|value| producer.push(value)));
        let popped = [consumer.pop(), consumer.pop()];
        let pushed = thread.join().expect("the producer");
        let pushed = [1, 2].into_iter().zip(pushed).filter(|(_, is_pushed)| *is_pushed);
        for (popped, (pushed, _)) in popped.into_iter().flatten().zip(pushed) {
            assert_eq!(popped, pushed);
        }
    });
}
