//! arenaq's queues in any libbpf-rs object, from the userspace side.
//!
//! A program in C declares a queue of its own events, and pushes:
//!
//! ```c
//! struct event { __u64 time; __u32 pid, tid; char comm[16]; };
//!
//! ARENAQ_MPSC(events, struct event, 4096);
//! ARENAQ_DOORBELL;
//!
//! if (arenaq_push(&events, &event) == DS_SUCCESS)
//!     arenaq_notify(&events);
//! ```
//!
//! This crate loads it, makes the queue, and hands out its consuming end, which can go to any thread or task:
//!
//! ```no_run
//! use arenaq::bytemuck::{Pod, Zeroable};
//! use arenaq_libbpf::Loaded;
//! use libbpf_rs::ObjectBuilder;
//!
//! #[repr(C)]
//! #[derive(Clone, Copy, Pod, Zeroable)]
//! struct Event {
//!     time: u64,
//!     pid: u32,
//!     tid: u32,
//!     comm: [u8; 16],
//! }
//! arenaq::element!(Event { time, pid, tid, comm });
//!
//! let loaded = Loaded::load(ObjectBuilder::default().open_file("my.bpf.o")?)?;
//! let mut events = loaded.receiver::<Event>("events")?;
//! loaded.attach()?;
//! loop {
//!     let event = events.recv()?;
//!     println!("{} {}", event.time, event.pid);
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is here for whom:
//!
//! | you want to | take |
//! |---|---|
//! | load the object that this kernel can run | [`choose`]; of a file that has several, [`select()`] |
//! | load an object with its queues, attach it, and consume | [`Loaded`] |
//! | set capacities before the load, or keep the object yourself, as in a skeleton | [`Queues`] |
//! | wait for elements, in threads, tasks and event loops | [`Receiver`] |
//! | say what wakes a consumer | [`Wake`] |
//! | consume elements whose type you do not know | [`Loaded::receiver_bytes`] |
//! | let queues and programs outlive this process | [`Loaded::pin`], [`pinned`] |
//! | load an object, and tell people why the kernel refuses it | [`load_object`], [`Refusal`] |
//! | know beforehand what this process may not do | [`require`] |
//! | have a queue of the seeds' pairs | [`Loaded::create`] |
//!
//! # The object for this kernel
//!
//! [`arenaq-bpf-build`](arenaq_bpf_build) makes three objects of a program, which differ in how they order memory. Linux has
//! the instructions of the first from 6.15 on; on 6.10 to 6.14 it is one of the others:
//!
//! ```no_run
//! use arenaq_libbpf::{Instructions, choose};
//!
//! let object: &[u8] = match choose(None)? {
//!     Instructions::AcquireRelease => b"the contents of my.acquire-release.bpf.o",
//!     Instructions::Tso => b"my.tso.bpf.o",
//!     Instructions::FullBarrier => b"my.full-barrier.bpf.o",
//! };
//! # Ok::<(), arenaq_libbpf::Error>(())
//! ```

// They panic if nobody can be told.
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(test, allow(clippy::print_stderr, reason = "a test says so if it is skipped"))]

mod address;
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
mod select;

pub use address::place_arena;
pub use arena::{Globals, PAGE, pages_for};
pub use checksum::checksum;
pub use error::Error;
pub use instructions::{Instructions, acquire_release, choose};
pub use loaded::Loaded;
pub use populate::populate;
pub use queue::{MPMC, MPSC, QueueKind};
pub use queues::{Declared, Queues};
pub use receiver::carried::Carried;
pub use receiver::doorbell::Doorbell;
pub use receiver::records::RecordReceiver;
pub use receiver::sleeper::Wake;
pub use receiver::source::Source;
pub use receiver::{Borrowed, Keeper, Receiver};
pub use refusal::{Cause, Refusal, load_object, try_load};
pub use select::{Selected, select};
