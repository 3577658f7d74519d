//! Treiber's stack: whoever pushes hands a node on to whoever finds it on top.
//!
//! ```sh
//! cargo run -p weaken --example treiber_stack
//! cargo weaken -p weaken --features loom --no-cfg --example treiber_stack
//! ```
//!
//! What becomes of each weaker ordering stands behind the access. A node is pushed once and lives as long as the
//! stack, so no node comes back while somebody still looks at it (the ABA problem); a pop that succeeds may then
//! be relaxed, as it has acquired the node before, and continues the release of the push below.

use weaken::cell::UnsafeCell;
use weaken::sync::Arc;
use weaken::sync::atomic::AtomicUsize;
use weaken::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use weaken::thread;

/// No node.
const NONE: usize = usize::MAX;

struct Node {
    value: u32,
    next: UnsafeCell<usize>,
}

struct Stack {
    top: AtomicUsize,
    nodes: Vec<Node>,
}

// SAFETY: `next` is written before the node is pushed, and only read after.
unsafe impl Sync for Stack {}
// SAFETY: as above.
unsafe impl Send for Stack {}

impl Stack {
    fn new(values: impl IntoIterator<Item = u32>) -> Stack {
        let node = |value| Node { value, next: UnsafeCell::new(NONE) };
        Stack { top: AtomicUsize::new(NONE), nodes: values.into_iter().map(node).collect() }
    }

    /// # Safety
    ///
    /// Each node once.
    unsafe fn push(&self, node: usize) {
        // A guess, which the first exchange puts right. A load would do, but one that is followed by a change
        // of the same word hides other orders from loom (its issue 392).
        let mut top = NONE;
        loop {
            // SAFETY: nobody else has the node yet.
            self.nodes[node].next.with_mut(|next| unsafe { *next = top });
            let pushed = self.top.compare_exchange_weak(top, node, Release, Relaxed); // Relaxed/Relaxed: killed
            match pushed {
                Ok(_) => return,
                Err(found) => top = found,
            }
        }
    }

    fn pop(&self) -> Option<u32> {
        let mut top = self.top.load(Acquire); // Relaxed: killed
        while top != NONE {
            // SAFETY: the node was pushed, so nobody writes to it any more.
            let next = self.nodes[top].next.with(|next| unsafe { *next });
            let popped = self.top.compare_exchange_weak(top, next, Relaxed, Acquire); // Relaxed/Relaxed: killed
            match popped {
                Ok(_) => return Some(self.nodes[top].value),
                Err(found) => top = found,
            }
        }
        None
    }
}

fn main() {
    let stack = Arc::new(Stack::new(0..1000));
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let stack = stack.clone();
            thread::spawn(move || {
                (thread..1000).step_by(4).for_each(|node| {
                    // SAFETY: every thread has nodes of its own.
                    unsafe { stack.push(node) };
                });
                (0..250).filter_map(|_| stack.pop()).sum::<u32>()
            })
        })
        .collect();
    let sum: u32 = threads.into_iter().map(|thread| thread.join().expect("a thread")).sum();
    println!("the sum is {sum} of {}", (0..1000).sum::<u32>());
}

#[cfg(feature = "loom")]
#[test]
fn a_pop_finds_what_was_pushed_last() {
    weaken::model(|| {
        let stack = Arc::new(Stack::new([10, 11]));
        weaken::name(&stack.top, "top");
        weaken::name(&stack.nodes[0].next, "next of 0");
        weaken::name(&stack.nodes[1].next, "next of 1");
        // SAFETY: each node is pushed once.
        unsafe { stack.push(0) };
        let there = stack.clone();
        // SAFETY: as above.
        let other = thread::spawn(move || unsafe { there.push(1) });
        let first = stack.pop();
        other.join().expect("the other");
        let second = stack.pop();
        assert!(first.is_some() && second.is_some() && first != second, "{first:?}, {second:?}");
    });
}
