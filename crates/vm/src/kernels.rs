//! What works on which kernel, tried in virtual machines: `docs/kernels.md`.
//!
//! A [list](list::List) says which kernels and which test programs; [`Programs`](programs::Programs) go into the guests;
//! a [`Matrix`](matrix::Matrix) takes each [`Step`](examine::Step) on each kernel; and [`report`] makes a document of
//! what is kept in a [`Store`](store::Store).

pub mod examine;
pub mod list;
mod load;
pub mod matrix;
mod outcome;
pub mod programs;
pub mod report;
mod several;
pub mod store;
