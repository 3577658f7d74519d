//! BPF programs as producers: traced processes, a traced command, or threads that run the hook `drive`.

use arenaq::count::Counted;
use arenaq_libbpf::MPSC;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;

use arenaq::KeyValue;
use arenaq::arena::Arena;
use arenaq_libbpf::{Borrowed, QueueKind, Receiver, RecordReceiver, Source};

use super::crew::{Crew, require_addresses};
use super::ends::{Checked, End, shards_of};
use super::options::Options;
use super::producers::{Finished, Producers};
use super::refill::Refill;
use crate::error::Error;
use crate::event::RECORDS;
use crate::hook::Hook;
use crate::kernel::{Config, Kernel};
use crate::limits::require_memory;
use crate::object::Counters;
use crate::tracee::Tracee;
use crate::uprobe;
use crate::workload::{Work, Workload};

/// Who grows the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    Nobody,
    /// The program that finds no free node.
    Kernel,
    /// A thread of this process, for a program that may not allocate.
    Userspace,
}

/// By how many nodes a program grows the pool: `DS_POOL_STEP` in C.
const GROWTH_STEP: u64 = 512;

impl Growth {
    pub(super) fn of(options: &Options, hook: Hook) -> Growth {
        match options.grow_to {
            None => Growth::Nobody,
            Some(_) if hook.may_allocate().is_ok() => Growth::Kernel,
            Some(_) => Growth::Userspace,
        }
    }
}

/// What to load for a run.
pub(super) fn config(options: &Options, hook: Hook, growth: Growth) -> Config {
    Config {
        queue: options.queue,
        hook,
        capacity: options.capacity,
        limit: options.grow_to.unwrap_or(options.capacity),
        grow: if growth == Growth::Kernel { GROWTH_STEP } else { 0 },
        instructions: options.instructions,
        uprobe: options.uprobe.clone().unwrap_or_else(uprobe::own_function),
        syscall: options.syscall.unwrap_or(libc::SYS_openat),
        ..Config::default()
    }
}

/// The flags at which the threads of a run look; they outlive its scope.
#[derive(Debug, Default)]
pub(super) struct Stops {
    drivers: AtomicBool,
    refill: AtomicBool,
}

/// Whatever makes programs push, and the thread that grows their pool. Both end with this.
pub(super) struct Programs<'scope, 'env> {
    kernel: &'env Kernel,
    kind: Kind<'scope, 'env>,
    // Behind those who need it: it goes on until they have ended.
    refill: Option<Refill<'scope, 'env>>,
}

enum Kind<'scope, 'env> {
    Workload(Workload),
    Command(Tracee),
    Drive(Crew<'scope, 'env, Result<u64, Error>>),
}

impl<'scope, 'env> Programs<'scope, 'env> {
    /// Starts them.
    ///
    /// # Errors
    ///
    /// [`Error`] if something cannot be started; what was started before ends.
    pub(super) fn start(
        options: &Options,
        hook: Hook,
        growth: Growth,
        kernel: &'env Kernel,
        stops: &'env Stops,
        interrupted: &AtomicBool,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Result<Self, Error> {
        let drivers = if hook == Hook::Drive { options.processes } else { 0 };
        let refill = u32::from(growth == Growth::Userspace);
        require_addresses(options.consumers + drivers + refill, 0)?;
        let refill = match growth {
            Growth::Userspace => {
                let producer = kernel.arena()?.mpsc_producer::<KeyValue, Counted>(MPSC)?;
                Some(Refill::start(producer, &stops.refill, scope)?)
            }
            Growth::Nobody | Growth::Kernel => None,
        };
        let kind = if hook == Hook::Drive {
            Kind::Drive(start_drivers(options, kernel, &stops.drivers, scope)?)
        } else if options.command.is_empty() {
            Kind::Workload(start_workload(options, hook, kernel, interrupted)?)
        } else {
            Kind::Command(start_command(options, kernel)?)
        };
        Ok(Programs { kernel, kind, refill })
    }
}

fn start_drivers<'scope, 'env>(
    options: &Options,
    kernel: &'env Kernel,
    stop: &'env AtomicBool,
    scope: &'scope Scope<'scope, 'env>,
) -> Result<Crew<'scope, 'env, Result<u64, Error>>, Error> {
    let mut crew = Crew::new("a thread that runs the BPF program", stop, scope);
    for (key, share) in (0..).zip(options.shares()) {
        crew.spawn(move || {
            let driven = drive(kernel, key, share, stop);
            if driven.is_err() {
                // The others would go on for as long as they may, with an account that cannot add up.
                stop.store(true, Ordering::Relaxed);
            }
            driven
        })?;
    }
    Ok(crew)
}

/// What a worker takes of the control group's memory. Measured: 0.6 MB.
const OF_A_WORKER: u64 = 1 << 20;

fn start_workload(
    options: &Options,
    hook: Hook,
    kernel: &Kernel,
    interrupted: &AtomicBool,
) -> Result<Workload, Error> {
    require_memory(u64::from(options.processes) * OF_A_WORKER)?;
    let work = Work::for_hook(hook);
    let workload =
        Workload::start(work, options.processes, options.operations, &options.folder(), interrupted)?;
    workload.ids().try_for_each(|id| kernel.trace(id).map(drop))?;
    kernel.attach()?;
    workload.go()?;
    Ok(workload)
}

fn start_command(options: &Options, kernel: &Kernel) -> Result<Tracee, Error> {
    let stdout = if options.command_to_stderr { Stdio::from(std::io::stderr()) } else { Stdio::inherit() };
    let command = Tracee::start(&options.command, stdout, options.waits_for_all)?;
    kernel.trace(command.id())?;
    kernel.attach()?;
    command.go()?;
    Ok(command)
}

/// One driver: runs the program until its share is done.
fn drive(kernel: &Kernel, key: u64, share: Option<u64>, stop: &AtomicBool) -> Result<u64, Error> {
    /// Short enough for an interruption to be noticed soon.
    const AT_ONCE: u64 = 4096;
    let mut done = 0;
    while share.is_none_or(|share| done < share) && !stop.load(Ordering::Relaxed) {
        let rest = share.map_or(AT_ONCE, |share| share - done);
        done += kernel.drive(key, rest.min(AT_ONCE))?;
    }
    Ok(done)
}

impl Producers for Programs<'_, '_> {
    type Consumer<'a>
        = End<Receiver<KeyValue, Borrowed<'a>>, RecordReceiver>
    where
        Self: 'a;

    fn consumer<'a>(
        &self,
        options: &Options,
        arena: &Arena<'a>,
        number: u32,
    ) -> Result<Self::Consumer<'a>, Error>
    where
        Self: 'a,
    {
        let Some(queue) = QueueKind::of(options.queue) else {
            let shards = shards_of(options, arena, number)?;
            return Ok(End::Records(Checked::new(self.kernel.records_of_shards(RECORDS, shards)?)));
        };
        let source = Source::of(arena, queue)?;
        Ok(End::Queue(Receiver::new(source, arena.event_count()?, self.kernel.doorbell()?)))
    }

    fn counters(&self) -> Result<Counters, Error> {
        self.kernel.counters()
    }

    fn is_done(&mut self) -> bool {
        match &mut self.kind {
            Kind::Workload(workload) => workload.is_done(),
            Kind::Command(command) => command.is_done(),
            Kind::Drive(crew) => crew.has_ended(),
        }
    }

    fn finish(self) -> Result<Finished, Error> {
        let mut operations = None;
        let mut command = None;
        let mut problems = Vec::new();
        match self.kind {
            Kind::Workload(workload) => {
                let done = workload.finish();
                (operations, problems) = (done.operations, done.problems);
            }
            Kind::Command(mut tracee) => command = Some(tracee.finish()?),
            Kind::Drive(crew) => {
                crew.stop();
                operations = Some(crew.join().into_iter().sum::<Result<u64, Error>>()?);
            }
        }
        self.kernel.detach()?;
        let refilled = self.refill.map_or(0, Refill::finish);
        Ok(Finished { counters: self.kernel.counters()?, operations, command, refilled, problems })
    }
}
