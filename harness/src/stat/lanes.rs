//! Lanes of records that somebody has.

use std::collections::BTreeMap;
use std::time::Instant;

use arenaq::arena::{Arena, Owner};
use arenaq::records::PROGRAM;
use arenaq::structures::Kind;
use serde::Serialize;

use crate::error::Error;
use crate::time::tenths;

/// A lane that had an owner at each look: one that is stuck, or has died, or each time another one in passing.
#[derive(Clone, Debug, Serialize)]
pub struct Lane {
    /// The processor's shard that it belongs to.
    pub shard: usize,
    /// Its number in the shard.
    pub lane: usize,
    /// The process that has it; `null` for a BPF program.
    pub pid: Option<u64>,
    /// For how long, at least.
    pub seconds: f64,
}

/// Since when each has been owned.
pub(super) type Since = BTreeMap<(usize, usize), Instant>;

/// The lanes that have an owner, and what to compare with at the next look. Queues have none.
pub(super) fn owned(
    arena: &Arena<'_>,
    (name, kind): (&str, Kind),
    before: Option<&Since>,
    now: Instant,
) -> Result<(Vec<Lane>, Since), Error> {
    let (mut lanes, mut all) = (Vec::new(), Since::new());
    if kind == Kind::Records {
        let records = arena.records(name, Owner::ANONYMOUS).map_err(arenaq_libbpf::Error::from)?;
        for (shard, lane, owner) in records.owners() {
            let since = before.and_then(|before| before.get(&(shard, lane))).copied().unwrap_or(now);
            all.insert((shard, lane), since);
            if since < now {
                let pid = Some(owner.get()).filter(|_| owner != PROGRAM);
                lanes.push(Lane { shard, lane, pid, seconds: tenths(since, now) });
            }
        }
    }
    Ok((lanes, all))
}
