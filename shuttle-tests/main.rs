//! The queues and the pool under shuttle: more threads and operations than loom can exhaust, in random
//! schedules. Its atomics are sequentially consistent, so this says nothing about orderings.
//!
//! | module | what it holds |
//! |---|---|
//! | [`accounting`] | large programs: nothing is lost or seen twice, and each producer's order is kept |
//! | [`batches`] | the same of batches beside single operations |
//! | [`owned`] | the queues in plain Rust: elements that own something |
//! | [`deaths`] | consumers that are killed anywhere, and those that take over from them |
//! | [`linearizability`] | small programs, whose histories are held against both specifications |
//! | [`records`] | lanes of records: the same, with what a lane promises |
//! | [`specification`] | the two specifications, and the checker |
//! | [`scenarios`] | generated programs that shrink |
//! | [`replay`] | a failing schedule comes back with one command |
//! | [`history`], [`queues`], [`runner`] | what the others are made of |
//!
//! | variable | |
//! |---|---|
//! | `ARENAQ_SHUTTLE_ITERATIONS` | schedules of a main model, 10000 by default; the others scale |
//! | `ARENAQ_SHUTTLE_SEED` | the seed of every model, fresh by default and printed |
//! | `ARENAQ_SHUTTLE_REPLAY` | one schedule, or the file that holds it: what a failure prints |

mod accounting;
mod batches;
#[path = "../tests/support/counterexample.rs"]
mod counterexample;
mod deaths;
mod history;
mod linearizability;
#[path = "../tests/support/mortal.rs"]
mod mortal;
mod owned;
mod queues;
mod records;
mod replay;
mod runner;
mod scenarios;
mod specification;
