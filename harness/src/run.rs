//! One run: producers push, consumers drain, and at the end everything is added up.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use arenaq::arena::Arena;
use arenaq::{Corruption, KeyValue, Status};
use indicatif::{ProgressBar, ProgressStyle};

use crate::account::{Dropped, Latency, Nodes, Summary};
use crate::consume::{Control, Drain, Seen, Source, drain};
use crate::error::Error;
use crate::hook::{Hook, UprobeTarget};
use crate::kernel::{Config, Kernel, QueueKind};
use crate::launch::{Process, find_command};
use crate::object::{Counters, Instructions, checksum};
use crate::receiver::Receiver;
use crate::refill::Refill;
use crate::threads::{Memory, ThreadProducers};
use crate::workload::{Work, Workload};

/// How many events a consumer takes at once: enough that what a batch costs is shared by many, and few enough that
/// the nodes of a batch, which are free at its end, are not missed.
const BATCH: u64 = 64;

/// Who produces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// BPF programs in the kernel.
    Kernel,
    /// Threads of this process, for machines without privileges.
    Threads,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who produces.
    pub backend: Backend,
    /// The queue.
    pub queue: QueueKind,
    /// Where the events come from; `None` takes the first hook that works and sees files in `folder`.
    pub hook: Option<Hook>,
    /// How many elements the queue holds.
    pub capacity: u64,
    /// How many elements the MPSC queue may grow to; `None` if it is not to grow.
    pub grow_to: Option<u64>,
    /// How many threads pop.
    pub consumers: u32,
    /// End after so long.
    pub duration: Option<Duration>,
    /// End after so many events are consumed.
    pub events: Option<u64>,
    /// How many processes or threads the built-in workload has.
    pub processes: u32,
    /// How many operations it does in all; `None` for as many as it can.
    pub operations: Option<u64>,
    /// How long consumers wait before they begin.
    pub hold_back: Duration,
    /// Where the built-in workload creates its files.
    pub folder: PathBuf,
    /// Which object; `None` takes the one that this kernel can run.
    pub instructions: Option<Instructions>,
    /// The function of the hook `uprobe`.
    pub uprobe: Option<UprobeTarget>,
    /// The number of the system call of the hook `sys-enter`.
    pub syscall: i64,
    /// The command to trace; empty for the built-in workload.
    pub command: Vec<String>,
    /// Whether the command writes to our standard error instead of our standard output.
    pub command_to_stderr: bool,
}

impl Options {
    fn check(&self) -> Result<(), Error> {
        let usage = |text: &str| Err(Error::Usage(text.to_owned()));
        if self.consumers == 0 || self.processes == 0 {
            return usage("there must be at least one consumer and one process");
        }
        if self.queue == QueueKind::Mpsc && self.consumers > 1 {
            return usage(
                "the MPSC queue has one consumer by definition: leave --consumers at 1, or take --queue mpmc",
            );
        }
        if self.backend == Backend::Threads && (self.hook.is_some() || !self.command.is_empty()) {
            return usage("--backend threads has its own producers: it takes neither --hook nor a command");
        }
        if !self.command.is_empty() {
            if self.hook == Some(Hook::Drive) {
                return usage("--hook drive runs in this process: it sees no command");
            }
            if self.hook == Some(Hook::Uprobe) && self.uprobe.is_none() {
                return usage(
                    "--hook uprobe with a command needs --uprobe BINARY:FUNCTION, a function that the command calls",
                );
            }
        }
        self.check_growth()?;
        if !self.folder.is_dir() {
            return usage(&format!("--folder {}: there is no such folder", self.folder.display()));
        }
        Ok(())
    }

    fn check_growth(&self) -> Result<(), Error> {
        let usage = |text: String| Err(Error::Usage(text));
        match self.grow_to {
            Some(_) if self.queue == QueueKind::Mpmc => usage(
                "the MPMC queue is a ring, which cannot grow: take --queue mpsc, or a larger --capacity"
                    .to_owned(),
            ),
            Some(_) if self.backend == Backend::Threads => {
                usage("--grow-to is for --backend kernel: with threads take a larger --capacity".to_owned())
            }
            Some(limit) if limit < self.capacity => usage(format!(
                "--grow-to {limit} is less than the --capacity to begin with, {}: choose a larger or a smaller one",
                self.capacity
            )),
            _ => Ok(()),
        }
    }

    fn config(&self, hook: Hook, growth: Growth) -> Config {
        Config {
            queue: self.queue,
            hook,
            capacity: self.capacity,
            limit: self.grow_to.unwrap_or(self.capacity),
            grow: if growth == Growth::Kernel { GROWTH_STEP } else { 0 },
            instructions: self.instructions,
            uprobe: self.uprobe.clone().unwrap_or_else(UprobeTarget::own_function),
            syscall: self.syscall,
            ..Config::default()
        }
    }
}

/// Who grows the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    Nobody,
    /// The program that finds no free node.
    Kernel,
    /// A thread of this process, for a program that may not allocate.
    Userspace,
}

/// By how many nodes a program grows the pool: `DS_POOL_STEP` in C.
const GROWTH_STEP: u64 = 512;

impl Growth {
    fn of(options: &Options, hook: Hook) -> Growth {
        match options.grow_to {
            None => Growth::Nobody,
            Some(_) if hook.may_allocate().is_ok() => Growth::Kernel,
            Some(_) => Growth::Userspace,
        }
    }
}

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
        find_command(&options.command)?;
    }
    crate::doctor::require_privileges()?;
    let hook = match options.hook {
        Some(hook) => hook,
        None => Hook::default_for(&options.folder)?,
    };
    let growth = Growth::of(options, hook);
    let kernel = Kernel::load(&options.config(hook, growth))?;
    let arena = kernel.arena()?;
    let stop = AtomicBool::new(false);
    let mut summary = thread::scope(|scope| {
        let refill = match growth {
            Growth::Userspace => Some(Refill::start(arena.mpsc_producer()?, scope)),
            Growth::Nobody | Growth::Kernel => None,
        };
        let mut producers = KernelProducers::start(options, hook, &kernel, scope, &stop)?;
        producers.refill = refill;
        observe(options, interrupted, &arena, producers, scope)
    })?;
    summary.backend = "kernel";
    summary.hook = hook.name();
    summary.instructions = Some(kernel.instructions().name());

    match kernel.verify()? {
        // The kernel may end the loop over a long queue.
        Status::Success | Status::Busy => {}
        status => summary.problems.push(format!("the kernel's own verify says {status:?}")),
    }
    let one_to_one = hook.sees_operations_only() && options.uprobe.is_none();
    if let Some(operations) =
        summary.operations.filter(|&operations| one_to_one && operations != summary.produced)
    {
        summary.problems.push(format!("{operations} operations made {} events", summary.produced));
    }
    Ok(summary)
}

fn run_threads(options: &Options, interrupted: &AtomicBool) -> Result<Summary, Error> {
    let memory = Memory::new(options.queue, options.capacity)?;
    let arena = memory.arena()?;
    let producers = ThreadProducers::new(options.processes, options.operations);
    let mut summary = thread::scope(|scope| {
        producers.start(&arena, options.queue, scope)?;
        observe(options, interrupted, &arena, &producers, scope)
    })?;
    summary.backend = "threads";
    summary.hook = "threads";
    if let Some(operations) = summary.operations.filter(|&operations| operations != summary.produced) {
        summary.problems.push(format!("{operations} operations made {} events", summary.produced));
    }
    Ok(summary)
}

/// Whatever pushes.
pub(crate) trait Producers {
    /// What drains their queue.
    type Consumer<'a>: Drain + Send
    where
        Self: 'a;
    /// A consumer of their queue, which waits as they let it.
    fn consumer<'a>(
        &self,
        arena: &Arena<'a, KeyValue>,
        source: Source<'a>,
    ) -> Result<Self::Consumer<'a>, Error>
    where
        Self: 'a;
    /// What they have counted so far.
    fn counters(&self) -> Result<Counters, Error>;
    /// Whether they have ended by themselves.
    fn is_done(&mut self) -> bool;
    /// Ends them. When this returns nothing pushes any more.
    fn finish(self) -> Result<Finished, Error>;
}

/// What is known when producers have ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) counters: Counters,
    pub(crate) operations: Option<u64>,
    pub(crate) command: Option<ExitStatus>,
    /// How many nodes userspace has made while producers ran.
    pub(crate) refilled: u64,
}

/// Traced processes, or threads that run the hook `drive`.
struct KernelProducers<'scope, 'env> {
    kernel: &'env Kernel,
    stop: &'env AtomicBool,
    kind: Kind<'scope>,
    refill: Option<Refill<'scope>>,
}

enum Kind<'scope> {
    Workload(Workload),
    Command(Process),
    Drive(Vec<ScopedJoinHandle<'scope, Result<u64, Error>>>),
}

impl<'scope, 'env> KernelProducers<'scope, 'env> {
    fn start(
        options: &Options,
        hook: Hook,
        kernel: &'env Kernel,
        scope: &'scope Scope<'scope, 'env>,
        stop: &'env AtomicBool,
    ) -> Result<Self, Error> {
        let kind = if hook == Hook::Drive {
            let all = options.operations;
            let threads = u64::from(options.processes);
            let drivers = (0..threads).map(|thread| {
                let share = all.map(|all| all / threads + u64::from(thread < all % threads));
                scope.spawn(move || drive(kernel, thread, share, stop))
            });
            Kind::Drive(drivers.collect())
        } else if options.command.is_empty() {
            let work = Work::for_hook(hook);
            let workload = Workload::start(work, options.processes, options.operations, &options.folder)?;
            workload.ids().try_for_each(|id| kernel.trace(id))?;
            kernel.attach()?;
            workload.go()?;
            Kind::Workload(workload)
        } else {
            let stdout =
                if options.command_to_stderr { Stdio::from(std::io::stderr()) } else { Stdio::inherit() };
            let command = Process::start_command(&options.command, stdout)?;
            kernel.trace(command.id())?;
            kernel.attach()?;
            command.go()?;
            Kind::Command(command)
        };
        Ok(KernelProducers { kernel, stop, kind, refill: None })
    }
}

/// One driver: runs the program until its share is done.
fn drive(kernel: &Kernel, thread: u64, share: Option<u64>, stop: &AtomicBool) -> Result<u64, Error> {
    /// Short enough for an interruption to be noticed soon.
    const AT_ONCE: u64 = 4096;
    let mut done = 0;
    while share.is_none_or(|share| done < share) && !stop.load(Ordering::Relaxed) {
        let rest = share.map_or(AT_ONCE, |share| share - done);
        done += kernel.drive(thread, rest.min(AT_ONCE))?;
    }
    Ok(done)
}

impl Producers for KernelProducers<'_, '_> {
    type Consumer<'a>
        = Receiver<'a>
    where
        Self: 'a;

    fn consumer<'a>(&self, arena: &Arena<'a, KeyValue>, source: Source<'a>) -> Result<Receiver<'a>, Error>
    where
        Self: 'a,
    {
        Ok(Receiver::new(source, arena.event_count()?, self.kernel.doorbell()?))
    }

    fn counters(&self) -> Result<Counters, Error> {
        self.kernel.counters()
    }

    fn is_done(&mut self) -> bool {
        match &mut self.kind {
            Kind::Workload(workload) => workload.is_done(),
            Kind::Command(process) => process.poll().is_some(),
            Kind::Drive(threads) => threads.iter().all(ScopedJoinHandle::is_finished),
        }
    }

    fn finish(self) -> Result<Finished, Error> {
        self.stop.store(true, Ordering::Relaxed);
        let mut operations = None;
        let mut command = None;
        match self.kind {
            Kind::Workload(workload) => operations = workload.finish(),
            Kind::Command(mut process) => command = process.end(Duration::from_secs(5)),
            Kind::Drive(threads) => {
                let mut done = 0;
                for thread in threads {
                    let result = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                    done += result?;
                }
                operations = Some(done);
            }
        }
        self.kernel.detach()?;
        let refilled = self.refill.map_or(0, Refill::finish);
        Ok(Finished { counters: self.kernel.counters()?, operations, command, refilled })
    }
}

/// Ends consumers that would otherwise wait for ever when a run ends early.
struct EndConsumers<'a>(&'a Control);

impl Drop for EndConsumers<'_> {
    fn drop(&mut self) {
        self.0.abandon.store(true, Ordering::Relaxed);
    }
}

fn observe<'scope, 'env, P: Producers>(
    options: &Options,
    interrupted: &AtomicBool,
    arena: &Arena<'env, KeyValue>,
    mut producers: P,
    _scope: &'scope Scope<'scope, 'env>,
) -> Result<Summary, Error> {
    let control = Control::new(options.events);
    let begin = Instant::now();
    let (finished, seconds, seen) = thread::scope(|consumers| -> Result<_, Error> {
        let _end = EndConsumers(&control);
        let mut threads = Vec::new();
        for _ in 0..options.consumers {
            let consumer = producers.consumer(arena, Source::of(arena, options.queue)?)?;
            let control = &control;
            let start = begin + options.hold_back;
            threads.push(consumers.spawn(move || drain(consumer, control, start, BATCH, |_| ())));
        }

        let progress = Progress::new(options);
        let is_over = |producers: &mut P| {
            producers.is_done()
                || interrupted.load(Ordering::Relaxed)
                || options.duration.is_some_and(|duration| begin.elapsed() >= duration)
                || control.is_limit_reached()
        };
        while !is_over(&mut producers) {
            progress.show(&producers.counters()?, control.consumed());
            thread::sleep(Duration::from_millis(20));
        }
        let finished = producers.finish()?;
        let seconds = begin.elapsed().as_secs_f64();
        progress.end();

        control.no_more.store(true, Ordering::Release);
        let mut seen = Seen::nothing();
        for thread in threads {
            let part = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            seen = seen.merge(&part?);
        }
        Ok((finished, seconds, seen))
    })?;
    summarise(options, arena, &finished, seconds, &seen)
}

/// What is in the resting queue.
struct Rest {
    length: u64,
    checksum: u64,
    verify: Result<(), Corruption>,
}

fn examine(queue: QueueKind, arena: &Arena<'_, KeyValue>) -> Result<Rest, Error> {
    let mut sum = 0u64;
    let mut length = 0;
    let count = |event: &KeyValue| {
        sum = sum.wrapping_add(checksum(event.key, event.value));
        length += 1;
        false
    };
    let verify = match queue {
        QueueKind::Mpmc => {
            let queue = arena.mpmc()?;
            let verify = queue.verify_quiesced();
            // SAFETY: the consumers have ended, so no pop runs.
            unsafe { queue.search(count) };
            verify
        }
        QueueKind::Mpsc => {
            let consumer = arena.mpsc_consumer()?;
            let verify = consumer.verify_quiesced();
            consumer.search(count);
            verify
        }
    };
    Ok(Rest { length, checksum: sum, verify })
}

fn summarise(
    options: &Options,
    arena: &Arena<'_, KeyValue>,
    finished: &Finished,
    seconds: f64,
    seen: &Seen,
) -> Result<Summary, Error> {
    let rest = examine(options.queue, arena)?;
    let counters = finished.counters;
    let dropped = match options.queue {
        QueueKind::Mpmc => Dropped { full: counters.nomem, nomem: 0, busy: counters.busy },
        QueueKind::Mpsc => Dropped { full: 0, nomem: counters.nomem, busy: counters.busy },
    };
    let mut problems = Vec::new();
    let mut expect = |holds: bool, problem: String| {
        if !holds {
            problems.push(problem);
        }
    };
    let (produced, consumed, left) = (counters.produced, seen.consumed, rest.length);
    expect(
        produced == consumed + dropped.total() + left,
        format!("produced {produced} is not consumed {consumed} + dropped {} + left {left}", dropped.total()),
    );
    expect(counters.pushed == consumed + left, format!("pushed {} is not consumed + left", counters.pushed));
    expect(
        counters.checksum == seen.checksum.wrapping_add(rest.checksum),
        "the elements that came out are not those that went in".to_owned(),
    );
    expect(seen.fifo_violations == 0, format!("{} events out of order", seen.fifo_violations));
    expect(counters.invalid == 0, format!("{} pushes found no queue", counters.invalid));
    expect(counters.untraced == 0, format!("{} child processes were not traced", counters.untraced));
    if let Some(error) = seen.stuck {
        problems.push(format!("the consumer could not go on: {error}"));
    }
    let verify = match rest.verify {
        Ok(()) => "SUCCESS".to_owned(),
        Err(corruption) => {
            problems.push(format!("verify: {corruption}"));
            corruption.to_string()
        }
    };
    let pool = match options.queue {
        QueueKind::Mpmc => None,
        QueueKind::Mpsc => {
            let pool = arena.mpsc_producer()?.pool();
            let at_first =
                (options.capacity + 1 + pool.spare()).next_multiple_of(pool.block()).min(pool.limit());
            let grown = pool.created().saturating_sub(at_first);
            Some(Nodes {
                // All but the stub.
                nodes: pool.created() - 1,
                by_userspace: finished.refilled,
                by_programs: grown.saturating_sub(finished.refilled),
            })
        }
    };
    Ok(Summary {
        queue: options.queue.name(),
        backend: "",
        hook: "",
        instructions: None,
        capacity: options.capacity,
        pool,
        consumers: options.consumers,
        produced,
        consumed,
        dropped,
        left,
        busy_seen: seen.busy,
        longest_stall_ms: seen.longest_stall_ms(),
        fifo_violations: seen.fifo_violations,
        verify,
        latency_ns: Latency::from(&seen.latency),
        seconds,
        operations: finished.operations,
        command_status: finished.command.map(exit_code),
        problems,
    })
}

/// As a shell reports it.
fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// The live display; nothing where standard error is no terminal.
struct Progress {
    bar: ProgressBar,
    last_drop: AtomicU64,
}

impl Progress {
    fn new(options: &Options) -> Progress {
        let total = options.events.or(options.operations).filter(|_| options.command.is_empty());
        let bar = match total {
            Some(total) => ProgressBar::new(total).with_style(style("{bar:30} {pos}/{len} consumed  {msg}")),
            None => ProgressBar::new_spinner().with_style(style("{spinner} {pos} consumed  {msg}")),
        };
        Progress { bar, last_drop: AtomicU64::new(0) }
    }

    fn show(&self, counters: &Counters, consumed: u64) {
        let dropped = counters.nomem + counters.busy;
        let falling =
            if self.last_drop.swap(dropped, Ordering::Relaxed) < dropped { " and rising" } else { "" };
        self.bar.set_message(format!("produced {}  dropped {dropped}{falling}", counters.produced));
        self.bar.set_position(consumed);
        self.bar.tick();
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is one of the two above")
}
