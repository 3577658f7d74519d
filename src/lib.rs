//! Lock-free queues that live in a BPF arena and are shared, without a copy or a system call, by BPF programs
//! in the kernel and by Rust in userspace.
//!
//! # Which crate is for whom
//!
//! | you want | take |
//! |---|---|
//! | a queue between threads, without BPF and without `unsafe` | this crate: [`mpmc::Queue`], [`mpsc::queue()`](mpsc::queue()), [`spsc::ring()`](spsc::ring()); of records that differ in size, [`records::Log`] |
//! | a queue between processes, in memory that both map | this crate: [`arena`] |
//! | a queue from BPF programs in C to userspace in Rust | [`arenaq-libbpf`](https://docs.rs/arenaq-libbpf) in the program, [`arenaq-bpf-build`](https://docs.rs/arenaq-bpf-build) in its `build.rs` |
//! | to see which memory orderings your own loom models need | [`weaken`](https://docs.rs/weaken) and [`cargo-weaken`](https://docs.rs/cargo-weaken), which know nothing of queues |
//!
//! [`arenaq-bpf`](https://docs.rs/arenaq-bpf) is what `arenaq-bpf-build` compiles; nobody else depends on it.
//!
//! # What is here
//!
//! | module | what it holds |
//! |---|---|
//! | [`mpmc`] | Vyukov's bounded queue: many producers, many consumers, a ring of cells |
//! | [`mpsc`] | Vyukov's unbounded intrusive queue: many producers, one consumer, a list of nodes |
//! | [`pool`] | the nodes of the second: blocks of them on a free list with an ABA tag, and a magazine for each processor |
//! | [`records`] | records of any size, without a lock: what the BPF ring buffer is used for |
//! | [`spsc`] | the two positions of a lane: a ring of one producer and one consumer |
//! | [`eventcount`] | how a consumer sleeps until there is something, and a producer knows that it must wake it |
//! | [`arena`] | queues by their names, in memory that is shared with others whom nobody trusts |
//! | [`drops`] | what found no room, counted by its reason |
//! | [`recovery`] | what a consumer that is killed leaves, and how the next one goes on |
//! | [`platform`] | the one trait through which all of them touch memory |
//! | [`ordering`] | the name, the ordering and the reason of every such access |
//! | [`structures`] | the list of everything that is shared: sites, layouts, kinds |
//! | [`layout`] | what the layout of a structure is |
//!
//! The algorithms are written once, over [`platform::Platform`]. The same functions run in userspace
//! ([`platform::Native`]), in the kernel (the crate `arenaq-bpf`), under loom (feature `loom`) and under
//! shuttle (feature `shuttle`).
//!
//! # Example
//!
//! Any memory that all sides map can hold the queues; a BPF arena is the memory for which they were made.
//!
//! ```
//! use arenaq::{KeyValue, arena::{Arena, Places, Region, Spec}};
//!
//! let mut memory = vec![0u64; 4096];
//! // SAFETY: the vector is writable, outlives every handle below, and is touched only through them.
//! let region = unsafe { Region::new(memory.as_mut_ptr().cast(), memory.len() * 8) }?;
//! let places = Places::in_plain_memory(&region)?;
//! let mut arena = Arena::format(region, places)?;
//! arena.create(&Spec::mpmc::<KeyValue>("jobs", 64))?;
//!
//! let queue = arena.queue::<KeyValue>("jobs")?;
//! queue.push(KeyValue { key: 1, value: 2 })?;
//! assert_eq!(arena.consumer::<KeyValue>("jobs")?.pop()?, KeyValue { key: 1, value: 2 });
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # What the queues do not promise
//!
//! Neither queue is a linearizable FIFO queue while somebody stalls in the middle of an operation. A producer
//! that has claimed a place and not published it hides every later element, so a consumer may report *empty*
//! (MPMC) or *busy* (MPSC) although a later push has returned; a consumer that has claimed a cell of a full
//! ring and not freed it makes a producer report *full* although a later pop has returned; and a producer
//! that has a node, or has taken a block and not yet put it into its magazine, makes another report *exhausted*
//! although fewer elements than nodes are in the queue.
//!
//! What they do promise: elements of one producer come out in its order, none is lost, none is seen twice, and
//! the MPSC queue's *empty* is exact: the elements of all pushes that happened before it are popped. What
//! becomes of that when a process is killed says [`recovery`].

#![no_std]

extern crate alloc;

pub mod arena;
pub mod claim;
pub mod count;
pub mod drops;
pub mod eventcount;
pub mod layout;
pub mod mpmc;
pub mod mpsc;
pub mod ordering;
mod owned;
#[cfg(feature = "trace")]
pub mod paths;
pub mod payload;
pub mod platform;
pub mod pool;
pub mod records;
pub mod recovery;
pub mod single;
pub mod spsc;
pub mod status;
pub mod structures;
#[cfg(feature = "trace")]
pub mod weakened;

pub use crate::payload::KeyValue;
pub use crate::status::{Corruption, PopError, PushError, Status};
pub use bytemuck;

/// The folder of this package, for `arenaq-bpf-build`, which compiles it a second time.
#[doc(hidden)]
pub const SOURCE: &str = env!("CARGO_MANIFEST_DIR");

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
