//! Elements of any type, from the queues of an object that is pinned.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arenaq::structures::Kind;
use arenaq_libbpf::pinned::{Pinned, Wait};
use libbpf_rs::MapType;
use libbpf_rs::btf::Btf;
use serde::Serialize;

use crate::element::{self, Shape};
use crate::error::Error;
use crate::object::COUNTERS;
use crate::printer::{Printer, Stream};
use crate::taps::{Drops, Supply, Tap, Taps};
use crate::tell::tell;

/// How often it is looked whether the end has come.
const LOOK: Duration = Duration::from_millis(20);

/// What to consume, and how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the queues are pinned.
    pub folder: PathBuf,
    /// From which of them; all if there is none.
    pub queues: Vec<String>,
    /// Merge records by their stamps, and keep them back so long.
    pub lateness: Option<Duration>,
    /// End after so many elements.
    pub events: Option<u64>,
    /// End after so long.
    pub duration: Option<Duration>,
    /// End when nothing is there.
    pub until_empty: bool,
    /// Wait so long for the right to consume, if another process has it.
    pub wait: Duration,
}

/// What became of the elements of a pinned queue.
#[derive(Clone, Debug, Serialize)]
pub struct Account {
    /// The queue.
    pub queue: String,
    /// `MPMC`, `MPSC` or `records`.
    pub kind: &'static str,
    /// What this consumer was handed.
    pub consumed: u64,
    /// What all consumers were handed since the pin.
    pub consumed_by_all: u64,
    /// What is in the queue, unless it moves too fast; of records, in bytes.
    pub left: Option<u64>,
    /// What has found no room, by the reason.
    pub dropped: Drops,
    /// What came after something with a later stamp, if it was merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late: Option<u64>,
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Account { queue, kind, consumed, consumed_by_all, left, dropped, late } = self;
        let of_records = *kind == Kind::Records.name();
        let what = if of_records { "" } else { " queue" };
        write!(f, "{kind}{what} {queue}: {consumed} consumed, {consumed_by_all} by all, ")?;
        match left {
            Some(left) if of_records => write!(f, "{left} bytes left, ")?,
            Some(left) => write!(f, "{left} left, ")?,
            None => f.write_str("? left, ")?,
        }
        write!(f, "{} dropped", dropped.total())?;
        if dropped.total() > 0 {
            write!(f, " ({dropped})")?;
        }
        late.map_or(Ok(()), |late| write!(f, ", {late} late"))
    }
}

/// Whether what is pinned in a folder is the queue of the harness's own programs, which carries pairs and is counted.
///
/// # Errors
///
/// As [`Pinned::attach`].
pub fn carries_pairs(folder: &Path) -> Result<bool, Error> {
    let pinned = Pinned::attach(folder)?;
    let has_records = pinned.arena()?.queues().any(|queue| queue.kind == Kind::Records);
    Ok(!has_records && pinned.map(COUNTERS, MapType::PercpuArray).is_ok())
}

/// Prints elements until a limit is reached, nobody reads any more, or `interrupted` becomes true, or the queues are not
/// pinned any more and empty. Each leaves its queue when it is printed.
///
/// # Errors
///
/// [`Error`] if there is no such queue, or somebody else consumes from it.
pub fn consume(
    options: &Options,
    interrupted: &AtomicBool,
    printer: &mut Printer,
) -> Result<Vec<Account>, Error> {
    let pinned = Pinned::attach(&options.folder)?;
    let arena = pinned.arena()?;
    let btf = pinned.programs()?.first().and_then(|program| Btf::from_prog_id(*program).ok());
    let (mut taps, mut recovered) = (Vec::new(), 0);
    for info in arena.queues() {
        let name = info.name.as_str();
        if options.queues.is_empty() || options.queues.iter().any(|wanted| wanted == name) {
            let wait = Wait { longest: options.wait, interrupted };
            if info.kind == Kind::Records {
                let shape = btf.as_ref().map_or(Shape::Unknown, |btf| element::record(btf, name));
                let stream = Stream::of_records(name.to_owned(), shape);
                let supply = Supply::of_records(pinned.records_within(name, wait)?, options.lateness)?;
                taps.push(Tap::new(stream, info.capacity, supply, 0));
                continue;
            }
            let shape = btf.as_ref().and_then(|btf| element::element(btf, name));
            let mut stream = Stream::new(
                name.to_owned(),
                shape.unwrap_or(Shape::Opaque { size: info.element.size as usize }),
            );
            // One makes room, if those that died have all slots.
            let limit = options.events.map_or(1, |events| events.saturating_sub(recovered).min(1));
            let (before, mut printed) = (recovered, Ok(()));
            let receiver = pinned.receiver_taking_over::<[u8]>(name, wait, limit, |element| {
                recovered += 1;
                printed = printer.print(&mut stream, element);
            })?;
            printed?;
            taps.push(Tap::new(stream, info.capacity, receiver, recovered - before));
        }
    }
    for wanted in &options.queues {
        if !taps.iter().any(|tap| tap.name() == wanted) {
            let has: Vec<_> = arena.queues().map(|info| info.name.to_string()).collect();
            let has = has.join(", ");
            return Err(Error::Usage(format!("--queue {wanted}: there is no such queue. There is: {has}")));
        }
    }
    let mut taps = Taps::new(taps);
    taps.check_merged(options.lateness)?;
    follow(options, interrupted, &pinned, &mut taps, printer)?;
    let (consumed, late) = (taps.consumed_by_queue(), taps.late_by_queue());
    // No consumer of this process pops any more.
    drop(taps);
    consumed
        .into_iter()
        .map(|(queue, consumed)| {
            let info = arena
                .queues()
                .find(|info| info.name.as_str() == queue)
                .ok_or(arenaq_libbpf::Error::NoQueues)?;
            // SAFETY: see above.
            let left = unsafe { arena.look(&queue) }?.len;
            Ok(Account {
                kind: info.kind.name(),
                consumed,
                consumed_by_all: pinned.total(&queue)?.consumed,
                left,
                dropped: Drops::from(info.dropped.unwrap_or_default()),
                late: late.get(&queue).copied(),
                queue,
            })
        })
        .collect()
}

fn follow(
    options: &Options,
    interrupted: &AtomicBool,
    pinned: &Pinned,
    taps: &mut Taps,
    printer: &mut Printer,
) -> Result<(), Error> {
    let begin = Instant::now();
    let mut is_removed = false;
    loop {
        let found = taps.take(options.events, printer)?;
        let is_over = printer.is_gone()
            || taps.has_reached(options.events)
            || interrupted.load(Ordering::Relaxed)
            || options.duration.is_some_and(|duration| begin.elapsed() >= duration);
        if is_over {
            return Ok(());
        }
        if found {
            continue;
        }
        if (options.until_empty || is_removed) && !taps.are_kept_back() {
            return Ok(());
        }
        if !is_removed && pinned.is_removed() {
            is_removed = true;
            tell(format_args!("{} was removed: this consumes what is left", options.folder.display()));
            continue;
        }
        taps.sleep(LOOK)?;
    }
}
