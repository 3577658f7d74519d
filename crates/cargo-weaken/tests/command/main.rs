//! `cargo weaken` as its users run it: on a crate that lies outside of this repository.

mod baseline;
mod book;
mod errors;
mod fixture;
mod questions;
mod verdicts;
