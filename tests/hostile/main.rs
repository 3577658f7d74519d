//! Nobody is trusted: whatever somebody writes into an arena, an operation of a process that uses it returns an error or wrong
//! elements, and never touches anything outside, hangs or panics. See docs/trust.md.
//!
//! The arenas lie between pages that nobody may touch, and are used in a child process, so that a crash is counted. Each arena has
//! a seed; `ARENAQ_HOSTILE_SEED` repeats one of them. How many there are say `ARENAQ_HOSTILE_ARENAS` and
//! `ARENAQ_HOSTILE_OPERATIONS`: `cargo xtask hostile` sets them, and tries all optimisations.

#[path = "../support/mod.rs"]
mod support;

mod child;
mod damage;
mod guarded;
mod mould;
mod operations;
mod parent;
mod progress;

use std::env;
use std::process::ExitCode;

use child::When;
use libtest_mimic::{Arguments, Trial};

/// How many there are if nobody says it: a few seconds of them.
const ARENAS: u64 = 50_000;
const OPERATIONS: u64 = 100_000;

fn main() -> ExitCode {
    if let Some((task, progress)) = parent::task() {
        child::run(&task, &progress);
        return ExitCode::SUCCESS;
    }
    let told = |variable, default| match env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
        Err(_) => default,
    };
    let arenas: u64 = told("ARENAQ_HOSTILE_ARENAS", ARENAS);
    let operations: u64 = told("ARENAQ_HOSTILE_OPERATIONS", OPERATIONS);
    let meanwhile = operations.div_ceil(When::Meanwhile.operations());
    let tests = vec![
        Trial::test("Before_who_attaches_to_a_damaged_arena_survives_whatever_it_does_there", move || {
            parent::survive(When::Before, arenas)
        }),
        Trial::test("Meanwhile_who_uses_an_arena_survives_whatever_others_write_there", move || {
            parent::survive(When::Meanwhile, meanwhile)
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}
