//! Without loom: `core` and `std`, and nothing in between.

/// Plain memory, with the methods that loom's has.
pub mod cell {
    #[doc(no_inline)]
    pub use core::cell::Cell;

    /// `core`'s `UnsafeCell`, which is reached through a closure as loom's is.
    #[derive(Debug, Default)]
    #[repr(transparent)]
    pub struct UnsafeCell<T: ?Sized>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// A cell with this value.
        #[inline(always)]
        pub const fn new(value: T) -> UnsafeCell<T> {
            UnsafeCell(core::cell::UnsafeCell::new(value))
        }

        /// The value.
        #[inline(always)]
        pub fn into_inner(self) -> T {
            self.0.into_inner()
        }
    }

    impl<T: ?Sized> UnsafeCell<T> {
        /// Gives `read` a pointer to read through.
        #[inline(always)]
        pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        /// Gives `write` a pointer to write through.
        #[inline(always)]
        pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }

    impl<T> From<T> for UnsafeCell<T> {
        fn from(value: T) -> UnsafeCell<T> {
            UnsafeCell::new(value)
        }
    }
}

/// `core`'s hints.
pub mod hint {
    #[doc(no_inline)]
    pub use core::hint::{spin_loop, unreachable_unchecked};
}

/// Atomics; with `std` also locks and `Arc`.
pub mod sync {
    #[cfg(feature = "std")]
    #[doc(no_inline)]
    pub use std::sync::*;

    /// `core`'s atomics.
    pub mod atomic {
        #[doc(no_inline)]
        pub use core::sync::atomic::*;
    }
}

#[cfg(feature = "std")]
#[doc(no_inline)]
pub use std::{thread, thread_local};

/// Calls a piece of memory by a name in the failing executions of a model; without loom it does nothing.
#[inline(always)]
pub fn name<T: ?Sized>(_memory: &T, _name: &str) {}

/// Says how the failing executions of a model write the value of an atomic; without loom it does nothing.
#[inline(always)]
pub fn show<T: ?Sized, S: core::fmt::Display>(_memory: &T, _show: impl Fn(u64) -> S + 'static) {}
