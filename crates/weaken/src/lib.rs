#![doc = include_str!("../README.md")]
//!
//! # In this crate
//!
//! With the feature `loom`, every module is loom's, and what is weaken's own stands in its place:
//! [`sync::atomic`] and [`cell::UnsafeCell`] know where they are used and what happened, and [`model()`] runs
//! loom and writes down how it ended. Without it, they are `core`'s and `std`'s.

#![cfg_attr(not(feature = "std"), no_std)]

#[cfg(feature = "std")]
extern crate std;

#[cfg(feature = "record")]
pub mod change;
#[cfg(feature = "record")]
pub mod named;
#[cfg(feature = "record")]
pub mod operation;
#[cfg(feature = "record")]
mod out;
#[cfg(feature = "picture")]
pub mod picture;
#[cfg(feature = "record")]
pub mod record;
#[cfg(feature = "record")]
mod running;
#[cfg(feature = "record")]
pub mod trace;

#[cfg(feature = "loom")]
mod checked;
#[cfg(feature = "loom")]
pub use checked::{cell, expected, model, name, show, sync};
#[cfg(feature = "futures")]
#[doc(no_inline)]
pub use loom::future;
#[cfg(feature = "loom")]
#[doc(no_inline)]
pub use loom::{
    MAX_THREADS, alloc, explore, hint, lazy_static, skip_branch, stop_exploring, thread, thread_local,
};
#[cfg(feature = "loom")]
pub use model::model;

#[cfg(not(feature = "loom"))]
mod native;
#[cfg(not(feature = "loom"))]
pub use native::*;
