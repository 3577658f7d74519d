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
pub mod attached;
mod clock;
pub mod doctor;
mod error;
mod hook;
mod instructions;
mod kernel;
pub mod launch;
pub mod layout;
mod memory;
mod object;
pub mod pinned;
mod populate;
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
pub mod verifier;
pub mod workload;

mod consume;
mod descendants;
mod doorbell;
mod log;
mod time;

pub use error::Error;
pub use hook::{Hook, UprobeTarget};
pub use instructions::choose;
pub use kernel::{Config, Kernel, QueueKind};
pub use object::{CLOCK_KEY, Counters, Instructions, checksum};
pub use populate::populate;
pub use receiver::Receiver;
pub use refusal::load_object;
pub use screen::Screen;
