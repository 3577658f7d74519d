//! arenaq's queues in any libbpf-rs object, from the userspace side.
//!
//! What is here for whom:
//!
//! | you want to | take |
//! |---|---|
//! | load the object that this kernel can run | [`choose`] |
//! | load an object, and tell people why the kernel refuses it | [`load_object`], [`Refusal`] |
//! | know beforehand what this process may not do | [`require`] |
//! | have the queues that an object's programs declare, of any element, by their names | [`Queues`] |
//! | make a queue in the arena of a loaded object, and consume from it | [`Loaded`] |
//! | sleep while nothing comes | [`Receiver`] |
//! | let queue and programs outlive this process | [`Loaded::pin`], [`pinned`] |
//!
//! A program of the object tells where its variables in the arena are; the queue is made from here:
//!
//! ```no_run
//! use arenaq_libbpf::{Globals, Instructions, Loaded, QueueKind, choose, load_object, pages_for, program};
//! use libbpf_rs::{MapCore, ObjectBuilder};
//!
//! let bytes: &[u8] = match choose(None)? {
//!     Instructions::AcquireRelease => b"the contents of my.acquire-release.bpf.o",
//!     Instructions::Tso => b"my.tso.bpf.o",
//!     Instructions::FullBarrier => b"my.full-barrier.bpf.o",
//! };
//! let (queue, capacity) = (QueueKind::Mpsc, 4096);
//! let pages = pages_for(queue, capacity, capacity)?;
//! let object = load_object("loading my programs", || {
//!     let mut open = ObjectBuilder::default().open_memory(bytes)?;
//!     for mut map in open.maps_mut().filter(|map| map.name() == "arena") {
//!         map.set_max_entries(pages)?;
//!     }
//!     Ok(open)
//! })?;
//! let mut globals = Globals::default();
//! program::run(&object, "locate", &mut globals)?;
//! // SAFETY: `locate` writes the addresses of the arena's variables, and nothing else ran.
//! let loaded = unsafe { Loaded::create(object, &globals, queue, capacity, capacity) }?;
//! let link = loaded.object().progs_mut().find(|program| program.name() == "on_exec").map(|program| program.attach());
//! loaded.links().extend(link.transpose()?);
//! let mut receiver = loaded.receiver()?;
//! println!("{:?}", receiver.recv()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`arenaq-bpf-build`](arenaq_bpf_build) makes such objects, and the repository's README shows a whole program.

// They panic if nobody can be told.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(test, allow(clippy::print_stderr, reason = "a test says so if it is skipped"))]

mod arena;
mod checksum;
mod error;
mod folder;
mod instructions;
mod loaded;
pub mod log;
pub mod memory;
pub mod pinned;
mod populate;
mod probe;
pub mod program;
mod queue;
mod queues;
mod receiver;
mod refusal;
pub mod require;

pub use arena::{Globals, PAGE, pages_for};
pub use checksum::checksum;
pub use error::Error;
pub use instructions::{Instructions, acquire_release, choose};
pub use loaded::Loaded;
pub use populate::populate;
pub use queue::{MPMC, MPSC, QueueKind};
pub use queues::{Declared, Queues};
pub use receiver::Receiver;
pub use receiver::doorbell::Doorbell;
pub use receiver::source::Source;
pub use refusal::{Cause, Refusal, load_object, try_load};
