//! Loads BPF programs that push events into arenaq's queues, drains them in userspace, and accounts for every
//! event.
//!
//! ```no_run
//! use arenaq::KeyValue;
//! use arenaq::count::Counted;
//! use arenaq_harness::{Config, Hook, Kernel, QueueKind};
//! use arenaq_libbpf::MPSC;
//!
//! let config = Config { queue: QueueKind::Mpsc, hook: Hook::ExtCreate, ..Config::default() };
//! let kernel = Kernel::load(&config)?;
//! kernel.trace(std::process::id())?;
//! kernel.attach()?;
//! let mut consumer = kernel.arena()?.mpsc_consumer::<KeyValue, Counted>(MPSC)?;
//! std::fs::write("/var/tmp/traced", "")?;
//! while let Ok(event) = consumer.pop() {
//!     println!("process {} created a file at {} ns", event.key >> 32, event.value);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Dropping a [`Kernel`] detaches its programs and frees everything that it had in the kernel; nothing is
//! pinned unless you ask for it ([`pinned`]), so the kernel does the same for a process that is killed.

// They panic if nobody can be told.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod account;
pub mod attached;
pub mod build;
pub mod clock;
pub mod doctor;
pub mod element;
mod error;
mod event;
mod hook;
mod kernel;
pub mod launch;
pub mod layout;
mod limits;
pub mod load;
mod object;
pub mod pinned;
pub mod printer;
mod probe;
mod queue;
pub mod report;
pub mod run;
mod screen;
pub mod signals;
pub mod stat;
pub mod taps;
pub mod tell;
mod trace;
pub mod tracee;
pub mod uprobe;
pub mod verifier;
pub mod workload;

mod consume;
mod descendants;
mod time;

pub use arenaq::structures::Kind as QueueKind;
pub use arenaq_libbpf::program::UprobeTarget;
pub use arenaq_libbpf::{Instructions, Loaded};
pub use error::Error;
pub use hook::Hook;
pub use kernel::{Config, Kernel};
pub use object::{CLOCK_KEY, Counters};
pub use queue::called;
pub use screen::Screen;
