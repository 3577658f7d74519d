//! Under loom: loom's own types, and a record of what is done with them.

mod access;
pub mod atomic;
pub mod cell;
mod execution;
pub mod expected;
mod hook;
mod letters;
pub mod model;
mod panic;
mod report;
mod show;
mod site;
mod value;

use std::fmt::Display;

use show::Show;

/// loom's `sync`, with atomics that are weaken's.
pub mod sync {
    #[doc(no_inline)]
    pub use loom::sync::{
        Arc, Barrier, Condvar, LockResult, Mutex, MutexGuard, Notify, RwLock, RwLockReadGuard,
        RwLockWriteGuard, TryLockResult, WaitTimeoutResult, mpsc,
    };

    pub use super::atomic;
}

/// Calls a piece of memory by a name in the failing execution: `weaken::name(&queue.head, "head")`.
///
/// The name is for the address, and for this execution: call it in the model, once the memory lies where it
/// stays. What lies inside a larger piece that has a name is called by that and its distance, `queue+8`.
///
/// # Panics
///
/// Outside of [`model()`](crate::model()).
pub fn name<T: ?Sized>(memory: &T, name: &str) {
    let address = (&raw const *memory).cast::<()>().addr();
    execution::with(|execution| execution.name(address, size_of_val(memory), name));
}

/// Says how the failing execution writes the value of an atomic whose word has parts:
/// `weaken::show(&stack.top, |word| format!("tag {}, node {}", word >> 32, word as u32))`.
///
/// `show` is given the word as 64 bits, and is for the address and for this execution, as a
/// [`name()`](crate::name()).
///
/// # Panics
///
/// Outside of [`model()`](crate::model()).
pub fn show<T: ?Sized, S: Display>(memory: &T, show: impl Fn(u64) -> S + 'static) {
    let address = (&raw const *memory).cast::<()>().addr();
    execution::with(|execution| execution.show(address, Show::new(show)));
}
