//! The kernel side: arenaq's queues on the [`Bpf`] platform, and the functions that BPF programs call.
//!
//! This crate is compiled for the host, to LLVM IR; `arenaq-bpf-build` makes BPF of it. What it calls and
//! does not define are the functions of the shim, `shim.bpf.c`: if anything else is left unresolved, such as
//! a panic, the build fails.
//!
//! C programs use the functions through the public header, `include/arenaq.h`, which gives them the seeds'
//! names.
//!
//! On its own the crate is no more than the place of its sources: the functions call what only the shim has, and are there
//! with the feature `kernel`, with which `arenaq-bpf-build` compiles them.

#![no_std]

#[cfg(feature = "kernel")]
mod elements;
#[cfg(feature = "kernel")]
mod exports;
#[cfg(feature = "kernel")]
mod platform;
#[cfg(feature = "kernel")]
mod records;
#[cfg(feature = "kernel")]
mod shim;

#[cfg(feature = "kernel")]
pub use elements::*;
#[cfg(feature = "kernel")]
pub use exports::*;
#[cfg(feature = "kernel")]
pub use platform::{Bpf, BpfLink, BpfPlain, BpfSteps, BpfWord};
#[cfg(feature = "kernel")]
pub use records::*;

/// The folder of this package: the Rust, `shim.bpf.c`, and `include` with the headers.
pub const SOURCE: &str = env!("CARGO_MANIFEST_DIR");
