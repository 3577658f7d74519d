//! `cargo weaken` as its users run it: on a crate that lies outside of this repository.

mod baseline;
mod errors;
mod fixture;
mod questions;
mod verdicts;
