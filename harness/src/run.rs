//! One run: producers push, consumers drain, and at the end everything is added up.

mod account;
mod crew;
mod ends;
mod observe;
mod options;
mod plain_memory;
mod producers;
mod programs;
mod progress;
mod refill;
mod threads;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

pub use options::{Backend, MOST_TASKS, Options, parse_tasks};

use arenaq::structures::Kind;
use arenaq_libbpf::require;

use self::account::{Subject, add_up};
use self::ends::check_shards;
use self::observe::observe;
use self::plain_memory::PlainMemory;
use self::programs::{Growth, Programs, Stops, config};
use self::threads::{Shared, Threads};
use crate::account::Summary;
use crate::error::Error;
use crate::hook::Hook;
use crate::kernel::Kernel;
use crate::tracee;

/// Runs until the producers have ended, or a limit is reached, or `interrupted` becomes true.
///
/// # Errors
///
/// [`Error`] if the run could not take place. Whatever it had in the kernel is gone then, and so is whatever
/// it had started.
pub fn run(options: &Options, interrupted: &AtomicBool) -> Result<Summary, Error> {
    options.check()?;
    match options.backend {
        Backend::Kernel => run_kernel(options, interrupted),
        Backend::Threads => run_threads(options, interrupted),
    }
}

fn run_kernel(options: &Options, interrupted: &AtomicBool) -> Result<Summary, Error> {
    if !options.command.is_empty() {
        tracee::find(&options.command)?;
    }
    require::bpf()?;
    let hook = match options.hook {
        Some(hook) => hook,
        None => Hook::default_for(&options.folder())?,
    };
    let growth = Growth::of(options, hook);
    let kernel = Kernel::load(&config(options, hook, growth))?;
    let arena = kernel.arena()?;
    check_shards(options, &arena)?;
    let stops = Stops::default();
    let mut observed = thread::scope(|scope| {
        let producers = Programs::start(options, hook, growth, &kernel, &stops, interrupted, scope)?;
        observe(options, interrupted, &arena, producers)
    })?;
    if let Some(command) = &mut observed.finished.command {
        // The signal that has ended the run may have gone to the command as well, as that of Ctrl-C does.
        command.cut_short |= interrupted.load(Ordering::Relaxed) && command.was_ended_by_a_signal();
    }
    let subject = Subject {
        backend: "kernel",
        hook: hook.name(),
        instructions: Some(kernel.instructions().name()),
        kernel_says: (options.queue != Kind::Records).then(|| kernel.verify()).transpose()?,
        one_to_one: hook.sees_operations_only() && options.uprobe.is_none(),
    };
    add_up(options, &subject, &arena, &observed)
}

fn run_threads(options: &Options, interrupted: &AtomicBool) -> Result<Summary, Error> {
    let memory = PlainMemory::new(options)?;
    let arena = memory.arena()?;
    check_shards(options, &arena)?;
    let shared = Shared::new(options);
    let observed = thread::scope(|scope| {
        let producers = Threads::start(options, &arena, &shared, scope)?;
        observe(options, interrupted, &arena, producers)
    })?;
    let subject = Subject {
        backend: "threads",
        hook: "threads",
        instructions: None,
        kernel_says: None,
        one_to_one: true,
    };
    add_up(options, &subject, &arena, &observed)
}
