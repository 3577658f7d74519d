//! What one run has measured. This is the JSON from which the report and the plots are made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limits::Limit;
use crate::machine::Machine;
use crate::statistics::{Summary, ratios};

/// Everything that one run has measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// Where.
    pub machine: Machine,
    /// Whether it was a short run, whose numbers say little.
    pub quick: bool,
    /// What was measured.
    pub groups: Vec<Group>,
    /// What was not, and why.
    pub skipped: Vec<Skipped>,
}

/// A part that could not be measured at all.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Skipped {
    /// Which.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What the numbers of a group are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Time of one operation or one element.
    Nanoseconds,
    /// Time of one delivery.
    Microseconds,
    /// Events that arrive in a second.
    EventsPerSecond,
    /// A part of the whole, in percent.
    Percent,
}

impl Unit {
    /// Whether more is better.
    pub fn more_is_better(self) -> bool {
        self == Unit::EventsPerSecond
    }

    /// For tables and axes.
    pub fn symbol(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::Microseconds => "µs",
            Unit::EventsPerSecond => "events/s",
            Unit::Percent => "%",
        }
    }
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// One of arenaq's queues.
    Ours,
    /// What does the same, without locks.
    Peer,
    /// What does the same behind a lock.
    LockingPeer,
    /// What does it for one producer and one consumer only, who need no locked instruction.
    SpscPeer,
    /// What does less: an access of which the queues are made, or the loop around them.
    Limit,
}

impl Role {
    /// Whether it is somebody else's.
    pub fn is_peer(self) -> bool {
        matches!(self, Role::Peer | Role::LockingPeer | Role::SpscPeer)
    }
}

/// Candidates that were measured in turns, in the same rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    /// Of words with dots between them, the part first: `user.1-1.16`.
    pub name: String,
    /// What the numbers are.
    pub unit: Unit,
    /// The limit that binds here: a candidate's name.
    pub limit: Option<String>,
    /// Who was measured.
    pub entries: Vec<Entry>,
    /// What a cache line took from CPU to CPU when each round began, in nanoseconds, where no candidate says that. Empty where one CPU
    /// is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transfers: Vec<f64>,
}

/// Rounds in which the host had the CPUs of the virtual machine further apart than in others of the same run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Apart {
    /// How many rounds.
    pub rounds: usize,
    /// Of so many.
    pub of: usize,
    /// What a cache line took from CPU to CPU in them, in nanoseconds: the median.
    pub transfer: f64,
}

/// One candidate in a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Who.
    pub candidate: String,
    /// In which role.
    pub role: Role,
    /// One value for each round.
    pub rounds: Vec<f64>,
    /// Why there are none: it hung, it crashed, the kernel refused.
    pub failure: Option<String>,
}

impl Entry {
    /// Median and quartiles, if it was measured.
    pub fn summary(&self) -> Option<Summary> {
        if self.failure.is_some() { None } else { Summary::of(&self.rounds) }
    }
}

impl Group {
    /// The candidate of a name, if it was measured.
    pub fn entry(&self, candidate: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.candidate == candidate && entry.summary().is_some())
    }

    /// How many times as good as the other one is, round by round; above 1 is better.
    pub fn advantage(&self, one: &Entry, other: &Entry) -> Option<Summary> {
        let values = if self.unit.more_is_better() {
            ratios(&one.rounds, &other.rounds)
        } else {
            ratios(&other.rounds, &one.rounds)
        };
        Summary::of(&values)
    }

    /// What a cache line took from CPU to CPU, round by round; of one CPU there is nothing.
    fn transfers(&self) -> &[f64] {
        match self.entry(Limit::LineTransfer.name()) {
            Some(entry) if self.limit.as_ref() == Some(&entry.candidate) => &entry.rounds,
            _ => &self.transfers,
        }
    }

    /// The best of those with a role that `takes_part`.
    pub fn best(&self, takes_part: impl Fn(Role) -> bool) -> Option<&Entry> {
        let median = |entry: &&Entry| entry.summary().map_or(f64::NAN, |summary| summary.median);
        let measured =
            self.entries.iter().filter(|entry| takes_part(entry.role) && entry.summary().is_some());
        if self.unit.more_is_better() {
            measured.max_by(|a, b| median(a).total_cmp(&median(b)))
        } else {
            measured.min_by(|a, b| median(a).total_cmp(&median(b)))
        }
    }

    /// What a candidate takes, as a multiple of the limit that binds.
    pub fn multiple_of_limit(&self, entry: &Entry) -> Option<Summary> {
        let limit = self.entry(self.limit.as_deref()?)?;
        Summary::of(&ratios(&entry.rounds, &limit.rounds))
    }

    /// Every figure of the group and every ratio, by name.
    ///
    /// | name | what |
    /// |---|---|
    /// | `GROUP.CANDIDATE` | the figure, in the group's unit |
    /// | `GROUP.OURS/PEER` | how many times as good as the peer ours is |
    /// | `GROUP.OURS/best-peer` | the same for the best peer; `best-lock-free-peer` leaves out those with locks, and those for one producer |
    /// | `GROUP.best-ours/PEER` | the same for the best of ours |
    /// | `GROUP.CANDIDATE*limit` | the figure as a multiple of the limit that binds |
    pub fn figures(&self) -> BTreeMap<String, Summary> {
        let mut figures = BTreeMap::new();
        for entry in &self.entries {
            let name = format!("{}.{}", self.name, entry.candidate);
            let Some(summary) = entry.summary() else { continue };
            figures.insert(name.clone(), summary);
            if let Some(multiple) = self.multiple_of_limit(entry) {
                figures.insert(format!("{name}*limit"), multiple);
            }
            if entry.role == Role::Ours {
                for (peer, advantage) in self.advantages(entry) {
                    figures.insert(format!("{name}/{peer}"), advantage);
                }
            }
        }
        if let Some(best) = self.best(|role| role == Role::Ours) {
            for (peer, advantage) in self.advantages(best) {
                figures.insert(format!("{}.best-ours/{peer}", self.name), advantage);
            }
        }
        figures
    }

    /// How ours compares with each peer, and with the best.
    fn advantages(&self, ours: &Entry) -> Vec<(String, Summary)> {
        let is_peer = Role::is_peer;
        let mut others: Vec<(&str, &Entry)> = self
            .entries
            .iter()
            .filter(|entry| is_peer(entry.role) && entry.summary().is_some())
            .map(|entry| (entry.candidate.as_str(), entry))
            .collect();
        others.extend(self.best(is_peer).map(|entry| ("best-peer", entry)));
        others.extend(self.best(|role| role == Role::Peer).map(|entry| ("best-lock-free-peer", entry)));
        others
            .into_iter()
            .filter_map(|(name, other)| Some((name.to_owned(), self.advantage(ours, other)?)))
            .collect()
    }
}

impl Results {
    /// Every figure and every ratio of all groups, by name; see [`Group::figures`].
    pub fn figures(&self) -> BTreeMap<String, Summary> {
        self.groups.iter().flat_map(Group::figures).collect()
    }

    /// The rounds of a group in which a cache line took more than twice as long from CPU to CPU as in a quarter of all rounds.
    pub fn apart(&self, group: &Group) -> Option<Apart> {
        let all: Vec<_> = self.groups.iter().flat_map(Group::transfers).copied().collect();
        let near = Summary::of(&all)?.low;
        let transfers = group.transfers();
        let far: Vec<_> = transfers.iter().copied().filter(|transfer| *transfer > 2.0 * near).collect();
        let transfer = Summary::of(&far)?.median;
        Some(Apart { rounds: far.len(), of: transfers.len(), transfer })
    }

    /// The group of a name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Apart, Entry, Group, Results, Role, Unit};

    pub(crate) fn entry(candidate: &str, role: Role, rounds: &[f64]) -> Entry {
        Entry { candidate: candidate.to_owned(), role, rounds: rounds.to_vec(), failure: None }
    }

    pub(crate) fn group(unit: Unit) -> Group {
        let hung = Entry { failure: Some("hung".to_owned()), ..entry("heapless", Role::Peer, &[0.1, 0.1]) };
        Group {
            name: "user.1-1.16".to_owned(),
            unit,
            limit: Some("rmw".to_owned()),
            entries: vec![
                entry("mpmc", Role::Ours, &[10.0, 20.0, 30.0]),
                entry("slow", Role::Peer, &[40.0, 80.0, 120.0]),
                entry("locked", Role::LockingPeer, &[5.0, 10.0, 15.0]),
                hung,
                entry("rmw", Role::Limit, &[2.0, 4.0, 6.0]),
            ],
            transfers: Vec::new(),
        }
    }

    #[test]
    fn every_figure_and_every_ratio_has_a_name() {
        let figures = group(Unit::Nanoseconds).figures();
        let median = |name: &str| figures.get(name).map(|summary| summary.median);
        assert_eq!(median("user.1-1.16.mpmc"), Some(20.0));
        assert_eq!(median("user.1-1.16.mpmc/slow"), Some(4.0));
        assert_eq!(median("user.1-1.16.mpmc/locked"), Some(0.5));
        assert_eq!(median("user.1-1.16.mpmc/best-peer"), Some(0.5));
        assert_eq!(median("user.1-1.16.mpmc/best-lock-free-peer"), Some(4.0));
        assert_eq!(median("user.1-1.16.best-ours/best-lock-free-peer"), Some(4.0));
        assert_eq!(median("user.1-1.16.best-ours/slow"), Some(4.0));
        assert_eq!(median("user.1-1.16.mpmc*limit"), Some(5.0));
        assert_eq!(median("user.1-1.16.slow*limit"), Some(20.0));
        assert_eq!(median("user.1-1.16.slow/mpmc"), None, "only ours is compared");
    }

    #[test]
    fn rounds_whose_cpus_the_host_has_moved_apart_are_told_from_others() {
        let near = Group { transfers: vec![30.0, 32.0, 59.0], ..group(Unit::EventsPerSecond) };
        let moved = Group { transfers: vec![31.0, 170.0, 180.0], ..near.clone() };
        let mut by_candidate =
            Group { transfers: Vec::new(), limit: Some("line-transfer".to_owned()), ..near.clone() };
        by_candidate.entries.push(entry("line-transfer", Role::Limit, &[100.0, 90.0, 80.0]));
        let alone = Group { transfers: Vec::new(), ..near.clone() };
        let groups = vec![near, moved, by_candidate, alone];
        let results = Results { machine: Default::default(), quick: false, groups, skipped: Vec::new() };
        let apart: Vec<_> = results.groups.iter().map(|group| results.apart(group)).collect();
        let moved = Apart { rounds: 2, of: 3, transfer: 175.0 };
        let by_candidate = Apart { rounds: 3, of: 3, transfer: 90.0 };
        assert_eq!(apart, [None, Some(moved), Some(by_candidate), None]);
    }

    #[test]
    fn who_failed_has_no_figure_and_is_no_best_peer() {
        let figures = group(Unit::Nanoseconds).figures();
        assert!(!figures.keys().any(|name| name.contains("heapless")), "{figures:?}");
    }

    #[test]
    fn where_more_is_better_the_best_has_most_and_the_ratio_turns_round() {
        let group = group(Unit::EventsPerSecond);
        let figures = group.figures();
        assert_eq!(figures["user.1-1.16.mpmc/best-peer"].median, 0.25);
        assert_eq!(figures["user.1-1.16.mpmc/locked"].median, 2.0);
    }

    #[test]
    fn results_survive_the_way_through_json() {
        let group = group(Unit::Percent);
        let text = serde_json::to_string(&group).expect("it is plain data");
        let again: Group = serde_json::from_str(&text).expect("what was just written");
        assert_eq!(again.figures(), group.figures());
        assert_eq!(again.entries.len(), group.entries.len());
    }
}
