//! What is in a pinned arena: each queue, how full it is, who consumes from it, and what stands still.

mod lanes;
mod process;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use arenaq::arena::Front;
use arenaq::structures::Kind;
use arenaq_libbpf::pinned::Pinned;
use libbpf_rs::btf::Btf;
use serde::Serialize;

pub use self::lanes::Lane;
use self::lanes::{Since, owned};
use self::process::Process;
use crate::element;
use crate::error::Error;
use crate::taps::Drops;
use crate::time::tenths;

/// A pinned arena that is looked at again and again.
#[derive(Debug)]
pub struct Watch {
    folder: PathBuf,
    pinned: Pinned,
    programs: usize,
    /// What each queue carries.
    types: BTreeMap<String, String>,
    before: BTreeMap<String, Before>,
}

/// What was seen of a queue the last time, and since when it has been so.
#[derive(Clone, Debug)]
struct Before {
    at: Instant,
    len: Option<u64>,
    consumed: u64,
    dropped: u64,
    standing: Option<(Front, Instant)>,
    owned: Since,
    /// Since when no consumer has taken anything.
    untaken: Instant,
    stopped: BTreeMap<u32, Instant>,
}

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The folder.
    pub folder: PathBuf,
    /// How many programs are attached.
    pub programs: usize,
    /// Whether it is not pinned any more.
    pub removed: bool,
    /// The queues.
    pub queues: Vec<Queue>,
}

/// What was seen of a queue.
#[derive(Clone, Debug, Serialize)]
pub struct Queue {
    /// Its name.
    pub queue: String,
    /// `MPMC`, `MPSC` or `records`.
    pub kind: &'static str,
    /// What it carries, if a program's BTF says so.
    #[serde(rename = "type")]
    pub carries: Option<String>,
    /// How many bytes an element has, rounded up to whole words; of records, the largest.
    pub element_size: u64,
    /// For how many elements it was made; of records, how many bytes all processors have together.
    pub capacity: u64,
    /// How many are in it, or on their way; an MPSC queue's are counted while they move. Of records, how many bytes.
    pub len: Option<u64>,
    /// Whether it has no room.
    pub full: bool,
    /// How many were consumed since it was pinned.
    pub consumed: u64,
    /// What came in since the last look, a second; of records, which count bytes, it is not known.
    pub in_per_second: Option<u64>,
    /// What was consumed since the last look, a second.
    pub out_per_second: Option<u64>,
    /// What found no room, by the reason.
    pub dropped: Drops,
    /// How much of it since the last look, a second.
    pub dropped_per_second: Option<u64>,
    /// The processes that consume, or wait for the right to.
    pub consumers: Vec<Consumer>,
    /// For how long, at least, elements have been there and nobody has taken one.
    pub untaken_seconds: Option<f64>,
    /// What stands in the middle of an operation, and holds up everything behind it.
    pub stuck: Option<Stuck>,
    /// The lanes of records that have an owner, which each may lose to producers.
    pub lanes: Vec<Lane>,
}

/// A process that consumes.
#[derive(Clone, Debug, Serialize)]
pub struct Consumer {
    /// Its id.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// For how long, at least, it has been stopped, as by SIGSTOP.
    pub stopped_seconds: Option<f64>,
}

/// An operation that does not end.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Stuck {
    /// Whether it is a producer's push or a consumer's pop.
    pub who: &'static str,
    /// For how long, at least.
    pub seconds: f64,
}

impl Watch {
    /// Opens what is pinned in a folder.
    ///
    /// # Errors
    ///
    /// As [`Pinned::attach`].
    pub fn new(folder: &Path) -> Result<Watch, Error> {
        let pinned = Pinned::attach(folder)?;
        let programs = pinned.programs()?;
        let mut types = BTreeMap::new();
        for queue in pinned.arena()?.queues() {
            // The programs of an object have one BTF, that of the object.
            let btf = programs.iter().find_map(|program| Btf::from_prog_id(*program).ok());
            let name = btf.and_then(|btf| element::name(&btf, queue.name.as_str()));
            types.extend(name.map(|name| (queue.name.to_string(), name)));
        }
        let programs = programs.len();
        Ok(Watch { folder: folder.to_owned(), pinned, programs, types, before: BTreeMap::new() })
    }

    /// Looks at everything. What depends on time is known from the second look on.
    ///
    /// # Errors
    ///
    /// [`Error`] if the arena is damaged.
    pub fn look(&mut self) -> Result<Report, Error> {
        let arena = self.pinned.arena()?;
        let mut queues = Vec::new();
        for info in arena.queues() {
            let name = info.name.to_string();
            // SAFETY: this process has made no consumer.
            let look = unsafe { arena.look(&name) }?;
            let consumed = self.pinned.total(&name)?.consumed;
            let dropped = Drops::from(info.dropped.unwrap_or_default());
            let now = Instant::now();
            let processes =
                self.pinned.consumers(&name)?.into_iter().filter_map(Process::find).collect::<Vec<_>>();

            let before = self.before.get(&name);
            let since = |now: u64, then: u64| {
                rate(now.saturating_sub(then), before.map(|before| now_since(before.at)))
            };
            let (out, lost) = match before {
                Some(before) => (since(consumed, before.consumed), since(dropped.total(), before.dropped)),
                None => (None, None),
            };
            let came = before.filter(|_| info.kind != Kind::Records).and_then(|before| {
                let came = (look.len? + consumed).saturating_sub(before.len? + before.consumed);
                rate(came, Some(now_since(before.at)))
            });
            let since = before.map(|before| &before.owned);
            let (lanes, owned) = owned(&arena, (&name, info.kind), since, now)?;
            let standing = match look.front {
                Front::Pushing(_) | Front::Popping(_) => {
                    let known =
                        before.and_then(|before| before.standing).filter(|(front, _)| *front == look.front);
                    Some(known.unwrap_or((look.front, now)))
                }
                Front::Empty | Front::Ready => None,
            };
            let untaken = match before {
                Some(before) if before.consumed == consumed && look.len != Some(0) => before.untaken,
                _ => now,
            };
            let stopped_before = before.map(|before| before.stopped.clone()).unwrap_or_default();
            let stopped: BTreeMap<u32, Instant> = processes
                .iter()
                .filter(|process| process.is_stopped)
                .map(|process| (process.id, stopped_before.get(&process.id).copied().unwrap_or(now)))
                .collect();
            queues.push(Queue {
                kind: info.kind.name(),
                carries: self.types.get(&name).cloned(),
                element_size: info.element.size,
                capacity: look.capacity,
                len: look.len,
                full: look.len.is_some_and(|len| len >= look.capacity),
                consumed,
                in_per_second: came,
                out_per_second: out,
                dropped,
                dropped_per_second: lost,
                consumers: processes
                    .iter()
                    .map(|process| Consumer {
                        pid: process.id,
                        name: process.name.clone(),
                        stopped_seconds: stopped.get(&process.id).map(|since| tenths(*since, now)),
                    })
                    .collect(),
                untaken_seconds: (untaken < now).then(|| tenths(untaken, now)),
                stuck: standing.filter(|(_, since)| *since < now).map(|(front, since)| Stuck {
                    who: if matches!(front, Front::Popping(_)) { "consumer" } else { "producer" },
                    seconds: tenths(since, now),
                }),
                lanes,
                queue: name.clone(),
            });
            let seen = Before {
                at: now,
                len: look.len,
                consumed,
                dropped: dropped.total(),
                standing,
                owned,
                untaken,
                stopped,
            };
            self.before.insert(name, seen);
        }
        let removed = self.pinned.is_removed();
        Ok(Report { folder: self.folder.clone(), programs: self.programs, removed, queues })
    }
}

fn now_since(then: Instant) -> f64 {
    then.elapsed().as_secs_f64()
}

fn rate(count: u64, seconds: Option<f64>) -> Option<u64> {
    let seconds = seconds.filter(|seconds| *seconds > 0.0)?;
    Some((count as f64 / seconds).round() as u64)
}
