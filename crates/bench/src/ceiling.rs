//! What its locked instructions, and the writing of its bytes, allow a push to be: a promise against a peer cannot hold on
//! a processor on which they alone take too long.

use crate::results::Results;

/// How many locked instructions a push has that meets nobody.
const LOCKED: [(&str, u32); 8] = [
    ("mpmc", 2),
    ("mpsc", 3),
    ("mpmc-uncounted", 1),
    ("mpsc-uncounted", 2),
    ("mpmc-typed", 1),
    ("mpsc-typed", 2),
    ("records", 1),
    ("records-scratch", 1),
];

/// Pushes, and a limit that does with as many words what they do, in words for the reader. The first one that was measured counts.
const WRITTEN: [(&str, &str, &str); 3] = [
    ("records", "add-and-write", "written"),
    ("records-scratch", "add-and-copy", "built and copied"),
    ("records-scratch", "add-and-write", "written"),
];

/// What the words of a record take, with one locked instruction and nothing else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Written {
    /// What is done with them.
    pub how: &'static str,
    /// In nanoseconds.
    pub takes: f64,
}

/// A push of ours beside that of a peer, on one processor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceiling {
    /// How many locked instructions ours has.
    pub locked: u32,
    /// What one takes, in nanoseconds.
    pub each: f64,
    /// What one of them and a record's words take together, if ours is a record and it was measured.
    pub written: Option<Written>,
    /// What the peer's push takes.
    pub peer: f64,
}

impl Ceiling {
    /// What is said by the ratio of this name; `None` if it is not one of pushes alone, or was not measured.
    pub fn of(results: &Results, figure: &str) -> Option<Ceiling> {
        let (group, rest) = results
            .groups
            .iter()
            .filter(|group| group.name.starts_with("kernel.push."))
            .find_map(|group| Some((group, figure.strip_prefix(&group.name)?.strip_prefix('.')?)))?;
        let (ours, peer) = rest.split_once('/')?;
        let locked = LOCKED.iter().find(|(name, _)| *name == ours)?.1;
        group.entry(ours)?;
        let median = |name: &str| Some(group.entry(name)?.summary()?.median);
        let written = WRITTEN
            .iter()
            .filter(|(name, ..)| *name == ours)
            .find_map(|(_, limit, how)| Some(Written { how, takes: median(limit)? }));
        Some(Ceiling { locked, each: median(group.limit.as_deref()?)?, written, peer: median(peer)? })
    }

    /// What ours takes at least: its locked instructions, and the writing where that was measured.
    pub fn least(self) -> f64 {
        let locked = f64::from(self.locked) * self.each;
        self.written.map_or(locked, |written| written.takes.max(locked))
    }

    /// How many times as fast as the peer's ours could be at most, if it were nothing else.
    pub fn at_most(self) -> f64 {
        self.peer / self.least()
    }
}

/// Ours, by name.
pub fn names() -> impl Iterator<Item = &'static str> {
    LOCKED.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::{Ceiling, Written};
    use crate::results::tests::group;
    use crate::results::{Results, Unit};

    #[test]
    fn a_push_is_no_faster_than_its_locked_instructions() {
        let mut push = group(Unit::Nanoseconds);
        push.name = "kernel.push.16".to_owned();
        let results =
            Results { machine: Default::default(), quick: true, groups: vec![push], skipped: Vec::new() };
        let ceiling = Ceiling::of(&results, "kernel.push.16.mpmc/slow").expect("all were measured");
        assert_eq!(ceiling, Ceiling { locked: 2, each: 4.0, written: None, peer: 80.0 });
        assert_eq!(ceiling.at_most(), 10.0);
        let writing = |takes| Ceiling { written: Some(Written { how: "written", takes }), ..ceiling };
        assert_eq!(writing(20.0).at_most(), 4.0, "what is slower counts");
        assert_eq!(writing(5.0).at_most(), 10.0);
        assert_eq!(Ceiling::of(&results, "kernel.push.16.records/slow"), None, "it was not measured");
        assert_eq!(Ceiling::of(&results, "kernel.push.16.mpmc*limit"), None, "it is no ratio");
        assert_eq!(
            Ceiling::of(&results, "user.1-1.16.mpmc/slow"),
            None,
            "somebody else's accesses count there"
        );
    }
}
