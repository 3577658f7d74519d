//! Loads BPF programs that push events into arenaq's queues, drains them in userspace, and accounts for every
//! event.
//!
//! ```no_run
//! use arenaq_harness::{Config, Hook, Kernel, QueueKind};
//!
//! let config = Config { queue: QueueKind::Mpsc, hook: Hook::ExtCreate, ..Config::default() };
//! let kernel = Kernel::load(&config)?;
//! kernel.trace(std::process::id())?;
//! kernel.attach()?;
//! let mut consumer = kernel.arena()?.mpsc_consumer()?;
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
mod arena;
pub mod attached;
mod checksum;
mod clock;
pub mod doctor;
mod error;
mod folder;
mod hook;
mod instructions;
mod kernel;
pub mod launch;
pub mod layout;
mod loaded;
mod memory;
mod object;
pub mod pinned;
mod populate;
mod probe;
mod program;
mod queue;
mod receiver;
mod refusal;
pub mod report;
mod require;
pub mod run;
mod screen;
pub mod signals;
pub mod tell;
mod trace;
pub mod tracee;
pub mod uprobe;
pub mod verifier;
pub mod workload;

mod consume;
mod descendants;
mod log;
mod time;

pub use arena::{Globals, PAGE, pages_for};
pub use checksum::checksum;
pub use error::Error;
pub use hook::Hook;
pub use instructions::choose;
pub use kernel::{Config, Kernel};
pub use loaded::Loaded;
pub use object::{CLOCK_KEY, Counters, Instructions};
pub use populate::populate;
pub use program::UprobeTarget;
pub use queue::QueueKind;
pub use receiver::Receiver;
pub use receiver::source::Source;
pub use refusal::load_object;
pub use screen::Screen;
