//! The kernel side: arenaq's queues on the [`Bpf`] platform, and the functions that BPF programs call.
//!
//! This crate is compiled for the host, to LLVM IR; `arenaq-bpf-build` makes BPF of it. What it calls and
//! does not define are the functions of the shim, `shim.bpf.c`: if anything else is left unresolved, such as
//! a panic, the build fails.
//!
//! C programs use the functions through the public header, `include/arenaq.h`, which gives them the seeds'
//! names.

#![no_std]

mod elements;
mod exports;
mod platform;
mod shim;

pub use elements::*;
pub use exports::*;
pub use platform::{Bpf, BpfLink, BpfPlain, BpfSteps, BpfWord};
