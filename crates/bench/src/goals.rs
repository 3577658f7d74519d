//! The ratios that are promised, and whether a run has seen them.

use std::collections::BTreeMap;

use crate::results::{Results, Role};
use crate::statistics::Summary;

/// What a figure must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// The median is at least this.
    AtLeast(f64),
    /// The median is at most this.
    AtMost(f64),
    /// It is not below 1 by more than the noise: the upper quartile is at least 1.
    NotBehind,
}

/// A promise.
#[derive(Clone, Debug)]
pub struct Goal {
    /// In words.
    pub what: String,
    /// The name of the figure; see [`crate::results::Group::figures`].
    pub figure: String,
    /// What it must be.
    pub bound: Bound,
}

/// A promise, and what was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The promise.
    pub goal: Goal,
    /// The figure; `None` if it was not measured.
    pub value: Option<Summary>,
}

impl Bound {
    /// Whether a figure is so.
    pub fn holds(self, value: Summary) -> bool {
        match self {
            Bound::AtLeast(least) => value.median >= least,
            Bound::AtMost(most) => value.median <= most,
            Bound::NotBehind => value.high >= 1.0,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bound::AtLeast(least) => write!(f, "≥ {least}"),
            Bound::AtMost(most) => write!(f, "≤ {most}"),
            Bound::NotBehind => f.write_str("≥ 1, or within the noise"),
        }
    }
}

/// Those that are about one figure.
const FIXED: [(&str, &str, Bound); 14] = [
    (
        "push alone in BPF, MPMC against reserve and submit",
        "kernel.push.16.mpmc/ringbuf-reserve",
        Bound::AtLeast(4.0),
    ),
    (
        "push alone in BPF, MPSC against reserve and submit",
        "kernel.push.16.mpsc/ringbuf-reserve",
        Bound::AtLeast(2.5),
    ),
    (
        "MPMC push without its counter, with its loop, in locked instructions with theirs",
        "kernel.push.16.mpmc-uncounted*limit",
        Bound::AtMost(2.0),
    ),
    (
        "1 producer, 1 consumer, no losses: MPMC against the ring buffer without wakeups",
        "kernel.lossless.1-1.rate.mpmc/ringbuf-reserve-no-wakeup",
        Bound::AtLeast(2.0),
    ),
    ("the same, MPSC", "kernel.lossless.1-1.rate.mpsc/ringbuf-reserve-no-wakeup", Bound::AtLeast(2.0)),
    (
        "2 producers, 1 consumer, no losses: MPMC without its counter against the same",
        "kernel.lossless.2-1.rate.mpmc-uncounted/ringbuf-reserve-no-wakeup",
        Bound::AtLeast(3.0),
    ),
    (
        "the same, MPSC without its counter",
        "kernel.lossless.2-1.rate.mpsc-uncounted/ringbuf-reserve-no-wakeup",
        Bound::AtLeast(3.0),
    ),
    (
        "push in userspace for BPF, MPMC against the user ring buffer",
        "kernel.back.push.mpmc/user-ringbuf",
        Bound::AtLeast(1.0),
    ),
    ("CPU of an idle MPMC consumer, in percent", "kernel.idle.mpmc-notify-sleep", Bound::AtMost(1.0)),
    ("CPU of an idle MPSC consumer, in percent", "kernel.idle.mpsc-notify-sleep", Bound::AtMost(1.0)),
    (
        "latency to a sleeping MPMC consumer against epoll on the ring buffer, median",
        "kernel.latency.median.mpmc-notify-sleep/ringbuf-reserve-sleep",
        Bound::NotBehind,
    ),
    ("the same, 99.9 %", "kernel.latency.p99.9.mpmc-notify-sleep/ringbuf-reserve-sleep", Bound::NotBehind),
    (
        "latency to a sleeping MPSC consumer against epoll on the ring buffer, median",
        "kernel.latency.median.mpsc-notify-sleep/ringbuf-reserve-sleep",
        Bound::NotBehind,
    ),
    ("the same, 99.9 %", "kernel.latency.p99.9.mpsc-notify-sleep/ringbuf-reserve-sleep", Bound::NotBehind),
];

/// All that concern what was measured.
pub fn seen(results: &Results) -> Vec<Seen> {
    let figures = results.figures();
    let fixed = FIXED
        .into_iter()
        .filter(|(_, figure, _)| results.groups.iter().any(|group| figure.starts_with(&group.name)))
        .map(|(what, figure, bound)| Goal { what: what.to_owned(), figure: figure.to_owned(), bound });
    fixed.chain(in_userspace(results)).map(|goal| look(goal, &figures)).collect()
}

/// In each shape nobody without locks is ahead of the best of ours.
fn in_userspace(results: &Results) -> Vec<Goal> {
    let mut goals = Vec::new();
    for group in &results.groups {
        let Some(shape) = group.name.strip_prefix("user.") else { continue };
        let shape = format!("{} bytes", shape.replacen('.', ", ", 1));
        let mut add = |against: &str, peer: &str| {
            goals.push(Goal {
                what: format!("{shape}: the best of ours against {against}"),
                figure: format!("{}.best-ours/{peer}", group.name),
                bound: Bound::NotBehind,
            });
        };
        add("the best lock-free peer", "best-lock-free-peer");
        for entry in group.entries.iter().filter(|entry| entry.role == Role::SpscPeer) {
            let peer = &entry.candidate;
            add(&format!("{peer}, which has one producer and no locked instruction"), peer);
        }
    }
    goals
}

fn look(goal: Goal, figures: &BTreeMap<String, Summary>) -> Seen {
    let value = figures.get(&goal.figure).copied();
    Seen { goal, value }
}

impl Seen {
    /// For a table.
    pub fn verdict(&self) -> &'static str {
        match self.value {
            None => "not measured",
            Some(value) if self.goal.bound.holds(value) => "yes",
            Some(_) => "**NO**",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bound, FIXED, seen};
    use crate::results::tests::group;
    use crate::results::{Results, Unit};
    use crate::statistics::Summary;

    fn results(groups: Vec<crate::results::Group>) -> Results {
        Results { machine: Default::default(), quick: true, groups, skipped: Vec::new() }
    }

    #[test]
    fn noise_excuses_only_what_reaches_as_far_as_the_peer() {
        let almost = Summary { low: 0.9, median: 0.97, high: 1.01 };
        let behind = Summary { low: 0.9, median: 0.97, high: 0.99 };
        assert!(Bound::NotBehind.holds(almost));
        assert!(!Bound::NotBehind.holds(behind));
        assert!(!Bound::AtLeast(1.0).holds(almost));
        assert!(Bound::AtMost(1.0).holds(almost));
    }

    #[test]
    fn every_shape_of_userspace_has_its_goal() {
        let seen = seen(&results(vec![group(Unit::Nanoseconds)]));
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].goal.figure, "user.1-1.16.best-ours/best-lock-free-peer");
        assert_eq!(seen[0].goal.what, "1-1, 16 bytes: the best of ours against the best lock-free peer");
        assert_eq!(seen[0].verdict(), "yes");
    }

    #[test]
    fn a_goal_whose_figure_is_missing_is_not_met_in_silence() {
        let mut push = group(Unit::Nanoseconds);
        push.name = "kernel.push.16".to_owned();
        let seen = seen(&results(vec![push]));
        let verdicts: Vec<_> = seen.iter().map(|seen| (seen.goal.figure.as_str(), seen.verdict())).collect();
        assert_eq!(
            verdicts,
            [
                (FIXED[0].1, "not measured"),
                (FIXED[1].1, "not measured"),
                ("kernel.push.16.mpmc-uncounted*limit", "not measured"),
            ]
        );
    }
}
