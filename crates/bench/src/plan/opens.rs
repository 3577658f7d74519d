//! What it takes to tell of every file that is opened.

use super::Session;
use crate::kernel::object;
use crate::kernel::opens::{self, Waiting, Watch};
use crate::results::{Role, Unit};
use crate::rounds::{Candidate, Metric};

/// The threads that open files.
pub(super) const THREADS: [usize; 2] = [1, 2];

/// Who tells of it, where the program sends its events, and how their consumer waits.
const WAYS: [(&str, &str, Waiting); 8] = [
    ("mpmc-polled", "mpmc", Waiting::Polled),
    ("mpsc-polled", "mpsc", Waiting::Polled),
    ("mpsc-woken", "mpsc", Waiting::Woken),
    ("records-polled", "records", Waiting::Polled),
    ("records-woken", "records", Waiting::Woken),
    ("ringbuf-reserve-polled", "ringbuf_reserve", Waiting::Polled),
    ("ringbuf-reserve-woken", "ringbuf_reserve", Waiting::Woken),
    ("ringbuf-output-polled", "ringbuf_output", Waiting::Polled),
];

impl Session {
    pub(super) fn opens(&mut self) {
        if let Err(why) = object::probe() {
            self.skip("the opens of files", &why, THREADS.len());
            return;
        }
        let mut ways = Vec::new();
        for (name, to, waiting) in WAYS {
            match Watch::load(to, waiting) {
                Ok(watch) => ways.push((name, Watch::role(to), watch)),
                Err(why) => self.skip(&format!("opens.{name}"), &why, 0),
            }
        }
        for threads in THREADS {
            let opens = self.effort.opens;
            let measured = |watch| {
                let watched = opens::run(watch, threads, opens)?;
                let cpu = watched.producing + watched.consuming;
                Ok(vec![watched.per_second, cpu, watched.producing, watched.consuming, watched.lost])
            };
            let mut candidates = vec![Candidate::new("untold", Role::Limit, move || measured(None))];
            for (name, role, watch) in &ways {
                candidates.push(Candidate::new(*name, *role, move || measured(Some(watch))));
            }
            let metrics = [
                Metric { suffix: Some("rate"), unit: Unit::EventsPerSecond },
                Metric { suffix: Some("cpu"), unit: Unit::Nanoseconds },
                Metric { suffix: Some("producing"), unit: Unit::Nanoseconds },
                Metric { suffix: Some("consuming"), unit: Unit::Nanoseconds },
                Metric { suffix: Some("lost"), unit: Unit::Percent },
            ];
            self.measure_across(&format!("opens.{threads}"), None, &metrics, candidates);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{THREADS, WAYS, Watch, opens};
    use crate::kernel::object::tests::is_there;

    const ALONE: &str = "ARENAQ_BENCH_ALONE";

    #[test]
    fn every_open_is_told_once_with_its_whole_name() {
        if !is_there() {
            return;
        }
        // What other tests open is told too: this one has a process of its own.
        if std::env::var_os(ALONE).is_none() {
            let name = "plan::opens::tests::every_open_is_told_once_with_its_whole_name";
            let this = std::env::current_exe().expect("where am I?");
            let status =
                Command::new(this).args(["--exact", name]).env(ALONE, "1").status().expect("it starts");
            assert!(status.success(), "{status}");
            return;
        }
        for (name, to, waiting) in WAYS {
            let watch = Watch::load(to, waiting).expect(name);
            for threads in THREADS {
                // It checks the account itself. There is room for all.
                let watched = opens::run(Some(&watch), threads, 2000).expect(name);
                assert_eq!(watched.lost, 0.0, "{name}");
            }
        }
    }
}
