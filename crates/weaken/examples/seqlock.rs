//! A sequence lock: readers never write; one who sees the same even number before and after has read a whole.
//!
//! ```sh
//! cargo run -p weaken --example seqlock
//! cargo weaken -p weaken --features loom --no-cfg --example seqlock
//! ```
//!
//! What becomes of each weaker ordering stands behind the access. The words of the data are atomics, as they
//! are read while they are written. The two fences order what an acquire load and a release store cannot: the
//! second look at the number *after* the data, and the data *after* the number becomes odd.

use weaken::sync::Arc;
use weaken::sync::atomic::{AtomicU32, Ordering, fence};
use weaken::thread;

struct SeqLock {
    /// Odd while somebody writes.
    sequence: AtomicU32,
    words: [AtomicU32; 2],
}

/// The only one who writes. It has the number beside: to load it before it is stored would hide other orders
/// from loom (its issue 392).
struct Writer {
    lock: Arc<SeqLock>,
    sequence: u32,
}

impl Writer {
    fn write(&mut self, values: [u32; 2]) {
        let lock = &*self.lock;
        lock.sequence.store(self.sequence + 1, Ordering::Relaxed);
        fence(Ordering::Release); // Relaxed: killed
        lock.words[0].store(values[0], Ordering::Relaxed);
        lock.words[1].store(values[1], Ordering::Relaxed);
        self.sequence += 2;
        lock.sequence.store(self.sequence, Ordering::Release); // Relaxed: killed
    }
}

impl SeqLock {
    fn new() -> (Writer, Arc<SeqLock>) {
        let words = [AtomicU32::new(0), AtomicU32::new(0)];
        let lock = Arc::new(SeqLock { sequence: AtomicU32::new(0), words });
        (Writer { lock: lock.clone(), sequence: 0 }, lock)
    }

    /// None if somebody writes.
    fn read(&self) -> Option<[u32; 2]> {
        let before = self.sequence.load(Ordering::Acquire); // Relaxed: killed
        let values = [self.words[0].load(Ordering::Relaxed), self.words[1].load(Ordering::Relaxed)];
        fence(Ordering::Acquire); // Relaxed: killed
        let after = self.sequence.load(Ordering::Relaxed);
        (before == after && before % 2 == 0).then_some(values)
    }
}

fn main() {
    let (mut writer, lock) = SeqLock::new();
    let thread = thread::spawn(move || (1..=1000).for_each(|value| writer.write([value, value])));
    let (mut reads, mut last) = (0, 0);
    while last < 1000 {
        if let Some([a, b]) = lock.read() {
            assert_eq!(a, b);
            (reads, last) = (reads + 1, a);
        }
    }
    thread.join().expect("the writer");
    println!("reads that were whole: {reads}");
}

#[cfg(feature = "loom")]
#[test]
fn a_read_is_whole() {
    weaken::model(|| {
        let (mut writer, lock) = SeqLock::new();
        weaken::name(&lock.sequence, "sequence");
        weaken::name(&lock.words[0], "word 0");
        weaken::name(&lock.words[1], "word 1");
        let thread = thread::spawn(move || writer.write([1, 1]));
        if let Some([a, b]) = lock.read() {
            assert_eq!(a, b);
        }
        thread.join().expect("the writer");
    });
}
