//! Makes BPF objects of BPF programs in C and arenaq's queues in Rust; for build scripts.
//!
//! ```no_run
//! use arenaq_bpf_build::{Instructions, Pipeline, Toolchain};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let out = std::env::var("OUT_DIR")?;
//!     let pipeline = Pipeline::new(Toolchain::find()?, out)?.include("include").define("MY_SIZE", "64");
//!     for (instructions, object) in pipeline.objects("my.bpf.c")? {
//!         println!("cargo::rustc-env=MY_OBJECT_{}={}", instructions.variable(), object.display());
//!     }
//!     Ok(())
//! }
//! ```
//!
//! In a build script the pipeline tells cargo what an object is made of (`cargo::rerun-if-changed`): the program, every
//! header that it includes, and arenaq.
//!
//! # How
//!
//! 1. A cargo of its own compiles the crate `arenaq-bpf` for the *host*, to LLVM IR: offline, with the versions of the
//!    user's `Cargo.lock`, and without the user's flags. There is no BPF target on stable
//!    Rust, and none is needed: the IR of these functions differs from BPF's only in what step 2 takes away.
//! 2. The host's triple, data layout and function attributes are replaced, and the functions marked
//!    `alwaysinline`.
//! 3. clang compiles the program and the shim to IR; `llvm-link`, `opt` and `llc` make one BPF object of the
//!    three, with the BTF of the C side. In between, offsets of fields move behind the casts to arena pointers, so that one cast
//!    does for all fields of a structure, and indices before them, as not every kernel adds a number to an arena pointer on both sides.
//!
//! Who has no Rust takes the IR of steps 1 from somebody who has ([`Pipeline::ir`], [`Prebuilt`]); `arenaq build` does.
//!
//! A symbol that is still unresolved after the link, such as a panic in the Rust code, is an error.

mod bundle;
mod cargo;
mod clang;
mod error;
mod indices;
mod instructions;
mod ir;
mod offsets;
mod pipeline;
mod prebuilt;
mod run;
mod rust;
mod rustc;
mod sources;
mod toolchain;

pub use error::Error;
pub use instructions::Instructions;
pub use pipeline::Pipeline;
pub use prebuilt::Prebuilt;
pub use sources::source_dir;
pub use toolchain::{PACKAGES, Toolchain, ToolchainError};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
