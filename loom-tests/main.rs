//! The queues under loom: every interleaving of a few operations, with every reordering that loom knows.
//!
//! The main thread makes the structure, spawns and joins; only then does it look at what is left. loom runs
//! all threads of a model in one thread of the system, so an `Rc` can hold what they share, and adds no
//! accesses.
//!
//! | module | what its models are about |
//! |---|---|
//! | `mpmc` | the ring: producers, consumers, laps, every small capacity |
//! | `claim` | the ring with an only producer or an only consumer, who claims with a store |
//! | `mpsc` | the list: producers and the consumer, with the pool roomy enough |
//! | `pool` | the free list: owners that follow each other, growth |
//! | `composition` | list and pool together: nodes freed, reused and made while producers allocate |
//! | `records` | lanes of records: owners and consumers that follow each other, laps, deaths; the ring of two threads |
//! | `order` | who comes first: operations that follow each other in time |
//! | `inspection` | search, verify and len while others go on |
//! | `count` | the counter |
//! | `eventcount` | consumers that sleep, and those who wake them |
//! | `owned` | the queues in plain Rust: elements that own something |
//! | `own` | structures that are not this crate's, over its platform |
//! | `arena` | the header and the directory: publication; the right to be the one consumer |
//! | `deaths` | the ring's consumers with slots: killed anywhere, and taken over from |
//!
//! Every execution of every model is traced: `paths` checks the path of each operation, `edges` that what
//! synchronises is what the sites say, and a failure is shown as a table and a diagram (`explained`).
//!
//! Models in which somebody sleeps run a second time on `least`, a platform that is no stronger than the trait.
//!
//! `WEAKEN_DEEP=1` lifts the preemption bounds: for a night, not for a commit.

mod arena;
mod claim;
mod composition;
mod count;
#[path = "../tests/support/counterexample.rs"]
mod counterexample;
mod deaths;
mod edges;
mod eventcount;
mod explained;
mod inspection;
mod least;
mod list;
mod model;
#[path = "../tests/support/mortal.rs"]
mod mortal;
mod mpmc;
mod mpsc;
mod order;
mod own;
mod owned;
mod paths;
mod pool;
mod records;
mod ring;
