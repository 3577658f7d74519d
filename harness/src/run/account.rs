//! Adds up: what was pushed, what came out, and what lies in the queue still.

use arenaq::arena::Arena;
use arenaq::arena::Owner;
use arenaq::count::Counted;
use arenaq::platform::Native;
use arenaq::records::Record;
use arenaq::structures::Kind;
use arenaq::{Corruption, KeyValue, Status};
use arenaq_libbpf::MPSC;
use arenaq_libbpf::{QueueKind, Source, checksum};

use super::observe::Observed;
use super::options::Options;
use crate::account::{Dropped, Nodes, Summary};
use crate::error::Error;
use crate::event::{RECORDS, Reader};
use crate::queue::called;

/// What is in the resting queue.
struct Rest {
    length: u64,
    checksum: u64,
    verify: Result<(), Corruption>,
    /// Records that are not as they were pushed.
    damaged: u64,
}

fn examine(queue: Kind, arena: &Arena<'_>) -> Result<Rest, Error> {
    let mut sum = 0u64;
    let mut length = 0;
    let mut count = |event: &KeyValue| {
        sum = sum.wrapping_add(checksum(event.key, event.value));
        length += 1;
    };
    let Some(queue) = QueueKind::of(queue) else {
        let mut reader = Reader::default();
        let verify = take_records(arena, |record| count(&reader.read(&record)))?;
        return Ok(Rest { length, checksum: sum, verify, damaged: reader.damaged });
    };
    // SAFETY: the consumers have ended, so no pop runs.
    let verify = unsafe { Source::of(arena, queue)?.inspect(count) };
    Ok(Rest { length, checksum: sum, verify, damaged: 0 })
}

/// Takes out what is there, which nobody will miss: nothing consumes any more.
fn take_records(
    arena: &Arena<'_>,
    mut hand_over: impl FnMut(Record<'_, Native>),
) -> Result<Result<(), Corruption>, Error> {
    let records = arena.records(RECORDS, Owner::ANONYMOUS)?;
    let mut verify = records.verify();
    for shard in 0..records.geometry().shards() {
        let taken = |source| arenaq_libbpf::Error::ShardTaken { records: RECORDS.to_owned(), shard, source };
        let mut consumer = records.consumer(shard).map_err(taken)?;
        verify = verify.and_then(|()| consumer.verify());
        verify = consumer.drain_in_place(u64::MAX, &mut hand_over).and(verify);
    }
    Ok(verify)
}

/// What ran.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) backend: &'static str,
    pub(super) hook: &'static str,
    /// Which object, if one ran in the kernel.
    pub(super) instructions: Option<&'static str>,
    /// What the kernel's own verification says, if there is a kernel side.
    pub(super) kernel_says: Option<Status>,
    /// Whether each operation is one event, and nothing else is any.
    pub(super) one_to_one: bool,
}

/// Adds up a run that has ended: nothing pushes any more, and nothing pops.
///
/// # Errors
///
/// [`Error::Library`] if the arena has no such queue.
pub(super) fn add_up(
    options: &Options,
    subject: &Subject,
    arena: &Arena<'_>,
    observed: &Observed,
) -> Result<Summary, Error> {
    let Observed { finished, seconds, seen } = observed;
    let rest = examine(options.queue, arena)?;
    let counters = finished.counters;
    // Only a list has nodes that can be used up.
    let (full, nomem) = if options.queue == Kind::Mpsc { (0, counters.nomem) } else { (counters.nomem, 0) };
    let dropped = Dropped { full, nomem, busy: counters.busy };
    let mut problems = finished.problems.clone();
    if let Some(kept) = finished.command.map(|command| command.kept).filter(|&kept| kept > 0) {
        problems
            .push(format!("{kept} process(es) of the command cannot be ended, and are not traced any more"));
    }
    if finished.command.is_some_and(|command| command.exit_code().is_none()) {
        problems.push("it cannot be seen how the command has ended".to_owned());
    }
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
    let damaged = seen.damaged + rest.damaged;
    expect(damaged == 0, format!("{damaged} records do not have the bytes that were pushed"));
    expect(seen.fifo_violations == 0, format!("{} events out of order", seen.fifo_violations));
    expect(counters.invalid == 0, format!("{} pushes found no queue", counters.invalid));
    expect(counters.untraced == 0, format!("{} child processes were not traced", counters.untraced));
    // An operation that has failed may have made its event all the same.
    let comparable = subject.one_to_one && finished.problems.is_empty();
    if let Some(operations) = finished.operations.filter(|_| comparable) {
        expect(operations == produced, format!("{operations} operations made {produced} events"));
    }
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
    match subject.kernel_says {
        // The kernel may end the loop over a long queue.
        None | Some(Status::Success | Status::Busy) => {}
        Some(status) => problems.push(format!("the kernel's own verify says {status:?}")),
    }
    Ok(Summary {
        queue: called(options.queue),
        backend: subject.backend,
        hook: subject.hook,
        instructions: subject.instructions,
        capacity: options.capacity,
        pool: nodes(options, arena, finished.refilled)?,
        consumers: options.consumers,
        produced,
        consumed,
        dropped,
        left,
        busy_seen: seen.busy,
        longest_stall_ms: seen.longest_stall_ms(),
        fifo_violations: seen.fifo_violations,
        verify,
        fifo_forgotten: seen.forgotten,
        latency_ns: seen.latency(),
        seconds: *seconds,
        operations: finished.operations,
        command_status: finished.command.and_then(|command| command.exit_code()),
        command_cut_short: finished.command.is_some_and(|command| command.cut_short),
        alive: finished.command.map_or(0, |command| command.alive as u64),
        problems,
    })
}

/// The nodes of the MPSC queue, and who has made them.
fn nodes(options: &Options, arena: &Arena<'_>, refilled: u64) -> Result<Option<Nodes>, Error> {
    if options.queue != Kind::Mpsc {
        return Ok(None);
    }
    let pool = arena.mpsc_producer::<KeyValue, Counted>(MPSC)?.nodes();
    let at_first = (options.capacity + 1 + pool.spare()).next_multiple_of(pool.block()).min(pool.limit());
    let grown = pool.created().saturating_sub(at_first);
    Ok(Some(Nodes {
        // All but the stub.
        nodes: pool.created() - 1,
        by_userspace: refilled,
        by_programs: grown.saturating_sub(refilled),
    }))
}
