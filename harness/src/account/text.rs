//! The account as text, on a terminal of any width.

use std::fmt;

use arenaq::structures::Kind;

use super::{Dropped, Nodes, Summary};
use crate::queue::called;
use crate::screen::{GOOD, Screen};

/// One number of the account, or one word.
struct Row {
    name: &'static str,
    value: String,
    /// What it is.
    remark: String,
}

impl Row {
    fn new(name: &'static str, value: &impl ToString, remark: impl Into<String>) -> Row {
        Row { name, value: value.to_string(), remark: remark.into() }
    }

    fn on(&self, screen: Screen) -> String {
        const NAME: usize = "  operations ".len();
        const VALUE: usize = 12;
        const GAP: usize = 3;
        let Row { name, value, remark } = self;
        let name = format!("  {name}");
        // Beside the numbers there would be too little room.
        let line = if screen.is_narrower_than(60) {
            format!("{name:<NAME$}{value:>VALUE$}\n    {}", screen.behind(4, remark))
        } else {
            let remark = screen.behind(NAME + VALUE + GAP, remark);
            format!("{name:<NAME$}{value:>VALUE$}{:GAP$}{remark}", "")
        };
        line.trim_end().to_owned()
    }
}

impl Summary {
    /// The account as text.
    pub fn on(&self, screen: Screen) -> String {
        let title = [screen.behind(2, &self.title())];
        let rows = self.rows().into_iter().map(|row| row.on(screen));
        let all: Vec<String> = title.into_iter().chain(rows).chain([self.verdict(screen)]).collect();
        all.join("\n")
    }

    fn is_of_records(&self) -> bool {
        self.queue == called(Kind::Records)
    }

    fn title(&self) -> String {
        let object = self.instructions.map_or_else(String::new, |name| format!(", object {name}"));
        let what = if self.is_of_records() {
            format!("records of {} bytes a processor", self.capacity)
        } else {
            format!("{} queue of {}", self.queue.to_uppercase(), self.capacity)
        };
        format!("{what}, hook {}{object}", self.hook)
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        if let Some(operations) = self.operations {
            rows.push(Row::new("operations", &operations, "done by the workload"));
        }
        let rate = if self.seconds > 0.0 { self.produced as f64 / self.seconds } else { 0.0 };
        let speed = format!("in {:.2} s, {rate:.0} a second", self.seconds);
        rows.push(Row::new("produced", &self.produced, speed));
        rows.push(Row::new("consumed", &self.consumed, format!("by {} consumer(s)", self.consumers)));
        let Dropped { full, nomem, busy } = self.dropped;
        let reasons = if self.is_of_records() {
            format!("lane full {full}, all lanes taken {busy}")
        } else {
            format!("queue full {full}, no node {nomem}, retries spent {busy}")
        };
        rows.push(Row::new("dropped", &self.dropped.total(), reasons));
        rows.push(Row::new("left", &self.left, "in the queue"));
        if self.alive > 0 {
            rows.push(Row::new("alive", &self.alive, "process(es) that the command had started"));
        }
        if let Some(Nodes { nodes, by_programs, by_userspace }) = self.pool.filter(Nodes::have_grown) {
            let makers = format!("elements: {by_programs} more by programs, {by_userspace} by userspace");
            rows.push(Row::new("grown to", &nodes, makers));
        }
        let stalls = format!("pops that met a push in progress, for {} ms at most", self.longest_stall_ms);
        rows.push(Row::new("busy seen", &self.busy_seen, stalls));
        rows.push(Row::new(
            "FIFO",
            &self.fifo_violations,
            if self.is_of_records() {
                "events out of their lane's order"
            } else {
                "events out of their task's order"
            },
        ));
        // What is wrong is said below.
        let verify = if self.verify == "SUCCESS" { "SUCCESS" } else { "DAMAGED" };
        rows.push(Row::new("verify", &verify, ""));
        rows.push(match self.latency_ns {
            Some(latency) => Row::new("latency", &latency.median(), latency.beside_the_median()),
            None => Row::new("latency", &"unknown", ""),
        });
        rows
    }

    fn verdict(&self, screen: Screen) -> String {
        if self.is_accounted() {
            let text = "produced = consumed + dropped + left: every event is accounted for";
            return format!("  {}", screen.paint(GOOD, &screen.behind(2, text)));
        }
        let problems = self.problems.iter().map(|problem| format!("\n    {}", screen.behind(4, problem)));
        format!("  {}{}", screen.alarm("NOT AS IT SHOULD BE:"), problems.collect::<String>())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.on(Screen::NONE))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Dropped, Latency, Nodes, Summary};
    use crate::screen::{Screen, longest_line};

    fn summary(problems: &[&str]) -> Summary {
        Summary {
            queue: "mpsc",
            backend: "kernel",
            hook: "uprobe-sleepable",
            instructions: Some("acquire-release"),
            capacity: 1 << 31,
            pool: Some(Nodes { nodes: 123_456_789, by_programs: 12_345_678, by_userspace: 1_234_567 }),
            consumers: 1024,
            produced: 999_999_999_999,
            consumed: 123_456_789_012,
            dropped: Dropped { full: 0, nomem: 98_765_432_100, busy: 1_234_567 },
            left: 123_456,
            busy_seen: 1_234_567,
            longest_stall_ms: 12_345,
            fifo_violations: 0,
            verify: "SUCCESS".to_owned(),
            fifo_forgotten: 0,
            latency_ns: Some(Latency {
                p50: 18_448_400,
                p99: 60_915_700,
                p999: 63_799_300,
                max: 3_600_000_000_000,
            }),
            seconds: 1234.5,
            operations: Some(999_999_999_999),
            command_status: None,
            command_cut_short: false,
            alive: 12,
            problems: problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn every_word_fits_a_terminal_of_40_columns_and_one_of_80() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for problems in [&[][..], &["a problem that takes many words to say, more than a narrow line has"; 2]]
        {
            let summary = summary(problems);
            let plain = summary.to_string();
            assert!(plain.contains("\n  produced   999999999999   in 1234.50 s, "), "{plain}");
            for columns in [40, 60, 80, 200] {
                let text = summary.on(Screen::terminal(columns, false));
                assert!(longest_line(&text) <= columns, "{columns}:\n{text}");
                assert_eq!(words(&text), words(&plain), "{columns}:\n{text}");
            }
        }
    }

    #[test]
    fn a_terminal_shows_in_colour_whether_all_is_well() {
        for (problems, colour) in [(&[][..], "\u{1b}[32m"), (&["one"], "\u{1b}[31m")] {
            let summary = summary(problems);
            assert!(summary.on(Screen::terminal(80, true)).contains(colour), "{summary}");
            assert!(!summary.on(Screen::terminal(80, false)).contains('\u{1b}'), "{summary}");
        }
    }
}
