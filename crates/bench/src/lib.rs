//! Measures arenaq's queues against their peers and against what the machine allows.
//!
//! | module | what it holds |
//! |---|---|
//! | [`rounds`] | candidates that are measured in turns, so that what disturbs one disturbs all |
//! | [`statistics`] | medians, quartiles, ratios |
//! | [`results`] | what one run has measured: the JSON that is kept |
//! | [`user`] | the queues of userspace, and the shapes in which threads use them |
//! | [`kernel`] | the ways from a BPF program to userspace, and back |
//! | [`limits`] | what the machine takes for the accesses of which a queue is made |
//! | [`cpu`], [`machine`] | where a thread runs, and on what |
//! | [`child`] | measurements in a process of their own, which can be ended |
//! | [`plan`] | what is measured, and for how long |
//! | [`goals`] | the ratios that are promised |
//! | [`ceiling`] | what locked instructions allow of them |
//! | [`overview`] | `docs/benchmarks.md`, of all processors that were measured |
//! | [`report`], [`plot`] | the page of one processor, and its pictures |
//!
//! # Why neither criterion nor divan
//!
//! Both run one benchmark after another. On a machine that others use too, the second candidate then runs on
//! another machine than the first. Here every candidate runs once in each round, in an order that changes
//! from round to round, and a ratio is the median of the rounds' ratios.

pub mod ceiling;
pub mod child;
pub mod cpu;
pub mod goals;
pub mod kernel;
pub mod limits;
pub mod machine;
pub mod overview;
pub mod plan;
pub mod plot;
pub mod report;
pub mod results;
pub mod rounds;
pub mod statistics;
pub mod user;
