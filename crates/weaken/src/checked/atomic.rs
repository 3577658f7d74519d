//! loom's atomics, which know from which write a read reads.
//!
//! loom's atomic holds the *number* of a write, and the value stands in a table beside it. loom says which
//! number a read finds, so which write it reads from is exact, and never guessed from equal values.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;

use crate::operation::{Operation, Order, Orders};
use crate::trace::Site;

use super::access::{Access, Strength};
use super::execution::{self, Execution, NOTHING, Number, Word};
use super::value::{Shape, Value};

#[doc(no_inline)]
pub use core::sync::atomic::Ordering;

/// An atomic of any type.
struct Atomic<T> {
    number: loom::sync::atomic::AtomicUsize,
    word: Word,
    holds: PhantomData<fn() -> T>,
}

impl<T: Value> Atomic<T> {
    fn new(value: T) -> Atomic<T> {
        let (word, number) = execution::with(|execution| execution.new_word(value.into_word()));
        Atomic { number: loom::sync::atomic::AtomicUsize::new(number), word, holds: PhantomData }
    }

    /// An access in a line of the source.
    fn line(&self, location: &'static Location<'static>, operation: Operation, orders: Orders) -> Access {
        Access::line(location, operation, orders, Some((&raw const *self).addr()), T::SHAPE)
    }

    /// One at a site that has a name.
    fn named(&self, site: &'static dyn Site) -> Access {
        Access::named(site, Some((&raw const *self).addr()), T::SHAPE)
    }

    /// The value of a write that was read.
    fn value(&self, number: Number) -> T {
        match execution::with(|execution| execution.value(number)) {
            Some(word) => T::from_word(word),
            None => panic!(
                "there is no atomic here: its memory was freed, was never initialised, or belongs to an \
                 earlier execution"
            ),
        }
    }

    fn reserve(value: T) -> Number {
        execution::with(|execution| execution.new_write(value.into_word()))
    }

    fn load(&self, access: Access) -> T {
        let strength = access.success();
        let number = access.run(strength, || self.number.load(strength.now.into()));
        let value = self.value(number);
        access.done(self.word, strength, Some(number), None);
        value
    }

    fn store(&self, access: Access, value: T) {
        let strength = access.success();
        let number = Self::reserve(value);
        access.run(strength, || self.number.store(number, strength.now.into()));
        access.done(self.word, strength, None, Some(number));
    }

    /// Every read-modify-write is a swap of numbers: loom switches to no other thread between it and the line
    /// that says what the new number stands for.
    fn change(&self, access: Access, change: impl FnOnce(T) -> T) -> T {
        let strength = access.success();
        let number = execution::with(|execution| execution.new_write(0));
        let found = access.run(strength, || self.number.swap(number, strength.now.into()));
        let before = self.value(found);
        let after = change(before).into_word();
        execution::with(|execution| execution.set_value(number, after));
        access.done(self.word, strength, Some(found), Some(number));
        before
    }

    /// A compare-exchange compares values, and loom's atomic has numbers: it is told the number that it should
    /// find. loom may switch to another thread just before the access, and another number may be there, with
    /// the value that is expected: then it tries again, with that number.
    fn exchange(&self, access: &Access, current: T, new: T) -> Result<T, T> {
        let (strength, failure) = (access.success(), access.failure().now);
        let success = strength.now;
        let current = current.into_word();
        let number = Self::reserve(new);
        let newest = |execution: &mut Execution| {
            let newest = execution.newest(self.word)?;
            (execution.value(newest) == Some(current)).then_some(newest)
        };
        let mut expected = execution::with(newest).unwrap_or(NOTHING);
        // What is tried again must not have acquired what it would not, had it succeeded at once: else a
        // success that is too weak would pass.
        let is_stronger = failure.acquires() && !success.acquires();
        let mut surely = !is_stronger;
        loop {
            let on_failure = if surely { failure } else { Order::Relaxed };
            let result = access.run(strength, || {
                self.number.compare_exchange(expected, number, success.into(), on_failure.into())
            });
            match result {
                Ok(found) => {
                    let value = self.value(found);
                    access.done(self.word, strength, Some(found), Some(number));
                    return Ok(value);
                }
                Err(found) => {
                    let value = self.value(found);
                    if value.into_word() == current {
                        (expected, surely) = (found, !is_stronger);
                    } else if surely {
                        access.failed(self.word, current, found);
                        return Err(value);
                    } else {
                        // It fails: once more, with the ordering that a failure has.
                        (expected, surely) = (NOTHING, true);
                    }
                }
            }
        }
    }

    fn update(&self, access: Access, mut update: impl FnMut(T) -> Option<T>) -> Result<T, T> {
        let fetch = access.failure();
        let number = access.run(fetch, || self.number.load(fetch.now.into()));
        let mut current = self.value(number);
        access.looked(self.word, number);
        while let Some(new) = update(current) {
            match self.exchange(&access, current, new) {
                Ok(value) => return Ok(value),
                Err(value) => current = value,
            }
        }
        Err(current)
    }

    /// # Safety
    ///
    /// As loom's: no other thread writes.
    unsafe fn unsync_load(&self, access: Access) -> T {
        // SAFETY: passed on to the caller.
        let number = access.run(Strength::PLAIN, || unsafe { self.number.unsync_load() });
        let value = self.value(number);
        access.done(self.word, Strength::PLAIN, Some(number), None);
        value
    }

    fn with_mut<R>(&mut self, access: Access, body: impl FnOnce(&mut T) -> R) -> R {
        let word = self.word;
        access.enter(Strength::PLAIN, |has_passed| {
            self.number.with_mut(|number| {
                has_passed.set(true);
                let found = *number;
                let read = execution::with(|execution| execution.value(found));
                let mut value = T::from_word(read.unwrap_or_default());
                let result = body(&mut value);
                *number = Self::reserve(value);
                access.done(word, Strength::PLAIN, Some(found), Some(*number));
                result
            })
        })
    }
}

impl<T> fmt::Debug for Atomic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // To read the value would be an access.
        write!(f, "atomic {}", self.word)
    }
}

/// An atomic fence.
///
/// # Panics
///
/// With [`Ordering::Relaxed`], as loom's and `core`'s; a fence that is *made* relaxed in a run is none.
#[track_caller]
pub fn fence(order: Ordering) {
    assert!(order != Ordering::Relaxed, "there is no such thing as a relaxed fence");
    let orders = Orders::one(order.into());
    fence_in(Access::line(Location::caller(), Operation::Fence, orders, None, Shape::Unsigned));
}

/// The same at a site that has a name, which says the ordering.
pub fn fence_at(site: &'static dyn Site) {
    fence_in(Access::named(site, None, Shape::Unsigned));
}

fn fence_in(access: Access) {
    let strength = access.success();
    if strength.now != Order::Relaxed {
        access.run(strength, || loom::sync::atomic::fence(strength.now.into()));
    }
    access.passed();
}

/// Tells loom that another thread must run.
#[doc(no_inline)]
pub use loom::sync::atomic::spin_loop_hint;

/// The ordering of the failure of `compare_and_swap`.
fn failure_of(order: Ordering) -> Ordering {
    match order {
        Ordering::Relaxed | Ordering::Release => Ordering::Relaxed,
        Ordering::Acquire | Ordering::AcqRel => Ordering::Acquire,
        _ => Ordering::SeqCst,
    }
}

/// What every atomic has.
macro_rules! common {
    ($name:ident, $value:ty $(, $parameter:ident)?) => {
        impl$(<$parameter>)? $name$(<$parameter>)? {
            /// An atomic with this value.
            #[track_caller]
            pub fn new(value: $value) -> Self {
                $name(Atomic::new(value))
            }

            /// Reads without synchronisation.
            ///
            /// # Safety
            ///
            /// No other thread writes at the same time; loom reports it if one does.
            #[track_caller]
            pub unsafe fn unsync_load(&self) -> $value {
                let access = self.0.line(Location::caller(), Operation::UnsyncLoad, Orders::one(Order::Relaxed));
                // SAFETY: passed on to the caller.
                unsafe { self.0.unsync_load(access) }
            }

            /// Gives `body` the value to change.
            #[track_caller]
            pub fn with_mut<R>(&mut self, body: impl FnOnce(&mut $value) -> R) -> R {
                let access = self.0.line(Location::caller(), Operation::WithMut, Orders::one(Order::Relaxed));
                self.0.with_mut(access, body)
            }

            /// Writes, not atomically, at a site that has a name.
            pub fn write_at(&mut self, value: $value, site: &'static dyn Site) {
                let access = self.0.named(site);
                self.0.with_mut(access, |place| *place = value);
            }

            /// The value.
            #[track_caller]
            pub fn into_inner(self) -> $value {
                let access = self.0.line(Location::caller(), Operation::UnsyncLoad, Orders::one(Order::Relaxed));
                // SAFETY: who owns it is alone.
                unsafe { self.0.unsync_load(access) }
            }

            /// Reads.
            #[track_caller]
            pub fn load(&self, order: Ordering) -> $value {
                self.0.load(self.0.line(Location::caller(), Operation::Load, Orders::one(order.into())))
            }

            /// Reads at a site that has a name, which says the ordering.
            pub fn load_at(&self, site: &'static dyn Site) -> $value {
                self.0.load(self.0.named(site))
            }

            /// Writes.
            #[track_caller]
            pub fn store(&self, value: $value, order: Ordering) {
                self.0.store(self.0.line(Location::caller(), Operation::Store, Orders::one(order.into())), value);
            }

            /// Writes at a site that has a name.
            pub fn store_at(&self, value: $value, site: &'static dyn Site) {
                self.0.store(self.0.named(site), value);
            }

            /// Writes, and returns what was there.
            #[track_caller]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                let access = self.0.line(Location::caller(), Operation::Swap, Orders::one(order.into()));
                self.0.change(access, |_| value)
            }

            /// The same at a site that has a name.
            pub fn swap_at(&self, value: $value, site: &'static dyn Site) -> $value {
                self.0.change(self.0.named(site), |_| value)
            }

            /// Writes if `current` is there, and returns what was there.
            #[track_caller]
            pub fn compare_and_swap(&self, current: $value, new: $value, order: Ordering) -> $value {
                let orders = Orders::two(order.into(), failure_of(order).into());
                let access = self.0.line(Location::caller(), Operation::CompareAndSwap, orders);
                match self.0.exchange(&access, current, new) {
                    Ok(found) | Err(found) => found,
                }
            }

            /// Writes if `current` is there.
            ///
            /// # Errors
            ///
            /// What is there instead.
            #[track_caller]
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                let orders = Orders::two(success.into(), failure.into());
                let access = self.0.line(Location::caller(), Operation::CompareExchange, orders);
                self.0.exchange(&access, current, new)
            }

            /// The same at a site that has a name.
            ///
            /// # Errors
            ///
            /// What is there instead.
            pub fn compare_exchange_at(
                &self,
                current: $value,
                new: $value,
                site: &'static dyn Site,
            ) -> Result<$value, $value> {
                self.0.exchange(&self.0.named(site), current, new)
            }

            /// The same: as in loom it never fails without a reason.
            ///
            /// # Errors
            ///
            /// What is there instead.
            #[track_caller]
            pub fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                let orders = Orders::two(success.into(), failure.into());
                let access = self.0.line(Location::caller(), Operation::CompareExchangeWeak, orders);
                self.0.exchange(&access, current, new)
            }

            /// A load, and compare-exchanges until one succeeds or `update` gives up.
            ///
            /// # Errors
            ///
            /// The value with which it gave up.
            #[track_caller]
            pub fn fetch_update(
                &self,
                set_order: Ordering,
                fetch_order: Ordering,
                update: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let orders = Orders::two(set_order.into(), fetch_order.into());
                self.0.update(self.0.line(Location::caller(), Operation::FetchUpdate, orders), update)
            }
        }

        impl$(<$parameter>)? From<$value> for $name$(<$parameter>)? {
            #[track_caller]
            fn from(value: $value) -> Self {
                $name::new(value)
            }
        }

        impl$(<$parameter>)? fmt::Debug for $name$(<$parameter>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

/// The read-modify-writes of one type: `fetch_add FetchAdd "Adds" |v, w| v.wrapping_add(w)`.
macro_rules! changes {
    ($name:ident, $value:ty: $($method:ident $operation:ident $doc:literal $change:expr;)*) => {
        impl $name {
            $(
                #[doc = concat!($doc, ", and returns what was there.")]
                #[track_caller]
                pub fn $method(&self, value: $value, order: Ordering) -> $value {
                    let change: fn($value, $value) -> $value = $change;
                    let access =
                        self.0.line(Location::caller(), Operation::$operation, Orders::one(order.into()));
                    self.0.change(access, |found| change(found, value))
                }
            )*
        }
    };
}

macro_rules! integers {
    ($($name:ident $value:ty),* $(,)?) => {
        $(
            #[doc = concat!("`", stringify!($value), "` in a model.")]
            #[derive(Default)]
            pub struct $name(Atomic<$value>);

            common!($name, $value);

            changes! { $name, $value:
                fetch_add FetchAdd "Adds" |found, value| found.wrapping_add(value);
                fetch_sub FetchSub "Subtracts" |found, value| found.wrapping_sub(value);
                fetch_and FetchAnd "Bitwise and" |found, value| found & value;
                fetch_nand FetchNand "Bitwise nand" |found, value| !(found & value);
                fetch_or FetchOr "Bitwise or" |found, value| found | value;
                fetch_xor FetchXor "Bitwise exclusive or" |found, value| found ^ value;
                fetch_max FetchMax "The larger of both" |found, value| found.max(value);
                fetch_min FetchMin "The smaller of both" |found, value| found.min(value);
            }

            impl $name {
                /// Adds at a site that has a name, and returns what was there.
                pub fn fetch_add_at(&self, value: $value, site: &'static dyn Site) -> $value {
                    self.0.change(self.0.named(site), |found| found.wrapping_add(value))
                }
            }
        )*
    };
}

integers! {
    AtomicU8 u8, AtomicU16 u16, AtomicU32 u32, AtomicU64 u64, AtomicUsize usize,
    AtomicI8 i8, AtomicI16 i16, AtomicI32 i32, AtomicI64 i64, AtomicIsize isize,
}

/// `bool` in a model.
#[derive(Default)]
pub struct AtomicBool(Atomic<bool>);

common!(AtomicBool, bool);

changes! { AtomicBool, bool:
    fetch_and FetchAnd "Logical and" |found, value| found & value;
    fetch_nand FetchNand "Logical nand" |found, value| !(found & value);
    fetch_or FetchOr "Logical or" |found, value| found | value;
    fetch_xor FetchXor "Logical exclusive or" |found, value| found ^ value;
}

/// A pointer in a model.
pub struct AtomicPtr<T>(Atomic<*mut T>);

common!(AtomicPtr, *mut T, T);

impl<T> Default for AtomicPtr<T> {
    #[track_caller]
    fn default() -> AtomicPtr<T> {
        AtomicPtr::new(core::ptr::null_mut())
    }
}

impl<T: Value + Default> Default for Atomic<T> {
    fn default() -> Atomic<T> {
        Atomic::new(T::default())
    }
}
