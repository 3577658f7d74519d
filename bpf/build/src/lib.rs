//! Makes BPF objects of BPF programs in C and arenaq's queues in Rust; for build scripts.
//!
//! ```no_run
//! use arenaq_bpf_build::{Instructions, Pipeline, Toolchain};
//!
//! let pipeline = Pipeline::new(Toolchain::find()?, "target/my-programs")?.include("include");
//! let object = pipeline.object("my.bpf.c", Instructions::AcquireRelease)?;
//! println!("load {} with libbpf", object.display());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How
//!
//! 1. rustc compiles the crate `arenaq-bpf` for the *host*, to LLVM IR. There is no BPF target on stable
//!    Rust, and none is needed: the IR of these functions differs from BPF's only in what step 2 takes away.
//! 2. The host's triple, data layout and function attributes are replaced, and the functions marked
//!    `alwaysinline`.
//! 3. clang compiles the program and the shim to IR; `llvm-link`, `opt` and `llc` make one BPF object of the
//!    three, with the BTF of the C side.
//!
//! A symbol that is still unresolved after the link, such as a panic in the Rust code, is an error.

mod ir;
mod pipeline;
mod toolchain;

pub use pipeline::{Instructions, Pipeline, source_dir};
pub use toolchain::{PACKAGES, Toolchain, ToolchainError};

use std::path::PathBuf;

/// Why there is no object.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tools are missing or too old.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// A tool could not be started.
    #[error("cannot run {tool}: {source}")]
    Start {
        /// The tool.
        tool: String,
        /// Why.
        source: std::io::Error,
    },
    /// A tool failed.
    #[error("{tool} failed ({status}):\n{stderr}")]
    Failed {
        /// The tool.
        tool: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it said.
        stderr: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something that the code calls is neither in the program, nor in the shim, nor in arenaq.
    #[error(
        "unresolved after the link: {}\n(a function of core::panicking here means that arenaq's code can panic in the kernel)",
        symbols.join(", ")
    )]
    Unresolved {
        /// The symbols.
        symbols: Vec<String>,
    },
}
