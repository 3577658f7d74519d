//! loom's cells. The accesses of an [`UnsafeCell`] are steps of the execution that a failure shows.

use std::fmt;
use std::panic::Location;

#[doc(no_inline)]
pub use loom::cell::{Cell, ConstPtr, MutPtr};

use crate::operation::{Operation, Order, Orders};

use super::access::{Access, Strength};
use super::value::Shape;

/// loom's `UnsafeCell`: it reports an access that no ordering protects.
pub struct UnsafeCell<T: ?Sized>(loom::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    /// A cell with this value.
    #[track_caller]
    pub fn new(value: T) -> UnsafeCell<T> {
        UnsafeCell(loom::cell::UnsafeCell::new(value))
    }

    /// The value.
    #[track_caller]
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> UnsafeCell<T> {
    /// Gives `read` a pointer to read through.
    #[track_caller]
    pub fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        let access = self.begin(Location::caller(), Operation::Read);
        access.enter(Strength::PLAIN, |has_passed| {
            self.0.with(|pointer| {
                has_passed.set(true);
                access.passed();
                read(pointer)
            })
        })
    }

    /// Gives `write` a pointer to write through.
    #[track_caller]
    pub fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        let access = self.begin(Location::caller(), Operation::Write);
        access.enter(Strength::PLAIN, |has_passed| {
            self.0.with_mut(|pointer| {
                has_passed.set(true);
                access.passed();
                write(pointer)
            })
        })
    }

    /// A pointer to read through, for as long as it lives.
    #[track_caller]
    pub fn get(&self) -> ConstPtr<T> {
        let access = self.begin(Location::caller(), Operation::Read);
        let pointer = access.run(Strength::PLAIN, || self.0.get());
        access.passed();
        pointer
    }

    /// A pointer to write through, for as long as it lives.
    #[track_caller]
    pub fn get_mut(&self) -> MutPtr<T> {
        let access = self.begin(Location::caller(), Operation::Write);
        let pointer = access.run(Strength::PLAIN, || self.0.get_mut());
        access.passed();
        pointer
    }

    fn begin(&self, location: &'static Location<'static>, operation: Operation) -> Access {
        let address = (&raw const self.0).cast::<()>().addr();
        // Plain memory has no ordering; this one is never shown.
        Access::line(location, operation, Orders::one(Order::Relaxed), Some(address), Shape::Unsigned)
    }
}

impl<T: Default> Default for UnsafeCell<T> {
    #[track_caller]
    fn default() -> UnsafeCell<T> {
        UnsafeCell::new(T::default())
    }
}

impl<T> From<T> for UnsafeCell<T> {
    #[track_caller]
    fn from(value: T) -> UnsafeCell<T> {
        UnsafeCell::new(value)
    }
}

impl<T: ?Sized> fmt::Debug for UnsafeCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnsafeCell").finish_non_exhaustive()
    }
}
