//! The ratios that are promised, and whether a run has seen them.

use crate::results::{Apart, Group, Results, Role};
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
    /// In which rounds of it the CPUs were apart.
    pub apart: Option<Apart>,
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
const FIXED: [(&str, &str, Bound); 36] = [
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
    (
        "records pushed alone in BPF, 16 bytes in place, against reserve and submit",
        "kernel.push.16.records/ringbuf-reserve",
        Bound::AtLeast(3.5),
    ),
    ("the same, 64 bytes", "kernel.push.64.records/ringbuf-reserve", Bound::AtLeast(3.5)),
    ("the same, 256 bytes", "kernel.push.256.records/ringbuf-reserve", Bound::AtLeast(2.5)),
    (
        "a record of 16 bytes in place, with its loop, in locked instructions with theirs",
        "kernel.push.16.records*limit",
        Bound::AtMost(1.5),
    ),
    (
        "records built in scratch and submitted, 16 bytes, against reserve and submit",
        "kernel.push.16.records-scratch/ringbuf-reserve",
        Bound::AtLeast(2.5),
    ),
    ("the same, 64 bytes", "kernel.push.64.records-scratch/ringbuf-reserve", Bound::AtLeast(2.5)),
    ("the same, 256 bytes", "kernel.push.256.records-scratch/ringbuf-reserve", Bound::AtLeast(2.5)),
    (
        "records built in scratch and submitted, 16 bytes, against the ring buffer's output, which copies too",
        "kernel.push.16.records-scratch/ringbuf-output",
        Bound::AtLeast(4.0),
    ),
    ("the same, 64 bytes", "kernel.push.64.records-scratch/ringbuf-output", Bound::AtLeast(4.0)),
    ("the same, 256 bytes", "kernel.push.256.records-scratch/ringbuf-output", Bound::AtLeast(4.0)),
    (
        "records pushed from all CPUs at once, 16 bytes, against reserve and submit",
        "kernel.push-contended.16.records/ringbuf-reserve",
        Bound::AtLeast(20.0),
    ),
    (
        "1 producer, 1 consumer, no losses, 64 bytes: records against the ring buffer without wakeups",
        "kernel.lossless.1-1.64.rate.records/ringbuf-reserve-no-wakeup",
        Bound::AtLeast(3.0),
    ),
    (
        "the same, against the ring buffer without wakeups whose consumer backs off",
        "kernel.lossless.1-1.64.rate.records/ringbuf-reserve-no-wakeup-backoff",
        Bound::AtLeast(1.0),
    ),
    (
        "2 producers, 1 consumer, no losses, 64 bytes: records against the ring buffer without wakeups",
        "kernel.lossless.2-1.64.rate.records/ringbuf-reserve-no-wakeup",
        Bound::AtLeast(4.0),
    ),
    (
        "files opened by 1 thread, told by records against the ring buffer, both polled: events a second",
        "opens.1.rate.records-polled/ringbuf-reserve-polled",
        Bound::AtLeast(1.0),
    ),
    (
        "the same, CPU for each event",
        "opens.1.cpu.records-polled/ringbuf-reserve-polled",
        Bound::AtLeast(1.0),
    ),
    ("the same, what records lose, in percent", "opens.1.lost.records-polled", Bound::AtMost(0.0)),
    (
        "the same by 1 thread, a typed queue against the ring buffer with its default wakeups: events a second",
        "opens.1.rate.mpsc-polled/ringbuf-reserve-woken",
        Bound::AtLeast(1.0),
    ),
    (
        "files opened by 2 threads, told by records against the ring buffer, both polled: events a second",
        "opens.2.rate.records-polled/ringbuf-reserve-polled",
        Bound::AtLeast(1.0),
    ),
    (
        "the same, CPU for each event",
        "opens.2.cpu.records-polled/ringbuf-reserve-polled",
        Bound::AtLeast(1.0),
    ),
    ("the same, what records lose, in percent", "opens.2.lost.records-polled", Bound::AtMost(0.0)),
    (
        "the same by 2 threads, a typed queue against the ring buffer with its default wakeups: events a second",
        "opens.2.rate.mpsc-polled/ringbuf-reserve-woken",
        Bound::AtLeast(1.0),
    ),
];

/// Those that are about one figure, whether it was measured or not.
pub fn fixed() -> impl Iterator<Item = Goal> {
    FIXED.into_iter().map(|(what, figure, bound)| Goal {
        what: what.to_owned(),
        figure: figure.to_owned(),
        bound,
    })
}

/// All that concern what was measured.
pub fn seen(results: &Results) -> Vec<Seen> {
    let figures = results.figures();
    let fixed =
        fixed().filter(|goal| results.groups.iter().any(|group| goal.figure.starts_with(&group.name)));
    let look = |goal: Goal| {
        let value = figures.get(&goal.figure).copied();
        let is_its =
            |group: &&Group| goal.figure.strip_prefix(&group.name).is_some_and(|rest| rest.starts_with('.'));
        let apart = results.groups.iter().find(is_its).and_then(|group| results.apart(group));
        Seen { goal, value, apart }
    };
    fixed.chain(in_userspace(results)).map(look).collect()
}

/// In each shape nobody without locks is ahead of the best of ours; nobody is ahead of the single lane where there is one
/// producer and one consumer, and of lanes where there are several producers, each with one of its own, and one consumer.
fn in_userspace(results: &Results) -> Vec<Goal> {
    let mut goals = Vec::new();
    for group in &results.groups {
        let Some(shape) = group.name.strip_prefix("user.") else { continue };
        let named = format!("{} bytes", shape.replacen('.', ", ", 1));
        let mut add = |ours: &str, peer: &str, what: &str| {
            goals.push(Goal {
                what: format!("{named}: {what}"),
                figure: format!("{}.{ours}/{peer}", group.name),
                bound: Bound::NotBehind,
            });
        };
        add("best-ours", "best-lock-free-peer", "the best of ours against the best lock-free peer");
        for entry in group.entries.iter().filter(|entry| entry.role == Role::SpscPeer) {
            let peer = &entry.candidate;
            let one = "which has one producer and no locked instruction";
            add("best-ours", peer, &format!("the best of ours against {peer}, {one}"));
        }
        if group.entry("spsc-owned").is_some() {
            add("spsc-owned", "rtrb", "the single lane against rtrb");
        }
        let has_lanes = shape.starts_with("2-1.") || shape.starts_with("4-1.");
        for (ours, lane) in [("records-kept", "a lane of records"), ("spsc-fan-in", "a ring of elements")] {
            if has_lanes && group.entry(ours).is_some() {
                let what = format!("{lane} for each producer against the best peer, with locks or without");
                add(ours, "best-peer", &what);
            }
        }
    }
    goals
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
    fn lanes_have_goals_where_they_were_measured() {
        let mut lanes = group(Unit::Nanoseconds);
        lanes.name = "user.2-1.64".to_owned();
        let goals = |group: &crate::results::Group| -> Vec<String> {
            seen(&results(vec![group.clone()])).into_iter().map(|seen| seen.goal.figure).collect()
        };
        assert_eq!(goals(&lanes), ["user.2-1.64.best-ours/best-lock-free-peer"]);
        lanes.entries[0].candidate = "records-kept".to_owned();
        assert_eq!(goals(&lanes)[1..], ["user.2-1.64.records-kept/best-peer"]);
        lanes.entries[0].candidate = "spsc-fan-in".to_owned();
        assert_eq!(goals(&lanes)[1..], ["user.2-1.64.spsc-fan-in/best-peer"]);
        lanes.name = "user.1-1.64".to_owned();
        lanes.entries[0].candidate = "spsc-owned".to_owned();
        assert_eq!(goals(&lanes)[1..], ["user.1-1.64.spsc-owned/rtrb"]);
    }

    #[test]
    fn a_goal_whose_figure_is_missing_is_not_met_in_silence() {
        let mut push = group(Unit::Nanoseconds);
        push.name = "kernel.push.16".to_owned();
        let seen = seen(&results(vec![push]));
        let verdicts: Vec<_> = seen.iter().map(|seen| (seen.goal.figure.as_str(), seen.verdict())).collect();
        let promised =
            FIXED.iter().map(|(_, figure, _)| *figure).filter(|figure| figure.starts_with("kernel.push.16."));
        let promised: Vec<_> = promised.map(|figure| (figure, "not measured")).collect();
        assert_eq!(verdicts, promised);
        assert!(verdicts.contains(&("kernel.push.16.mpmc-uncounted*limit", "not measured")), "{verdicts:?}");
    }
}
