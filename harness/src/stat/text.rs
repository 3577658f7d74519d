//! The report as people read it, on a screen of any width.

use std::fmt;

use arenaq::structures::Kind;

use super::{Lane, Queue, Report};
use crate::screen::{GOOD, LIMITED, Screen};

/// A report, and where it is shown.
#[derive(Debug)]
pub struct Shown<'r> {
    report: &'r Report,
    screen: Screen,
}

impl Report {
    /// The report as text for a screen.
    pub fn on(&self, screen: Screen) -> Shown<'_> {
        Shown { report: self, screen }
    }
}

/// Under the name of a queue.
const MARGIN: usize = 2;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { folder, programs, removed, queues } = self.report;
        let plural = if *programs == 1 { "" } else { "s" };
        let head = format!("{}: {programs} program{plural} attached", folder.display());
        f.write_str(&self.screen.behind(0, &head))?;
        if *removed {
            write!(f, "\n{}", self.screen.alarm("REMOVED: nothing pushes any more"))?;
        }
        queues.iter().try_for_each(|queue| self.queue(f, queue))
    }
}

impl Shown<'_> {
    fn queue(&self, f: &mut fmt::Formatter<'_>, queue: &Queue) -> fmt::Result {
        let of_records = queue.kind == Kind::Records.name();
        let head = match (&queue.carries, of_records) {
            (Some(carries), true) => {
                format!("{} {} of {carries} ({} bytes at most)", queue.kind, queue.queue, queue.element_size)
            }
            (None, true) => format!("{} {} ({} bytes at most)", queue.kind, queue.queue, queue.element_size),
            (carries, false) => {
                let carries = carries.as_deref().unwrap_or("elements");
                format!("{} {} of {carries} ({} bytes)", queue.kind, queue.queue, queue.element_size)
            }
        };
        write!(f, "\n\n{}", self.screen.behind(MARGIN, &head))?;
        self.line(f, &self.fill(queue))?;
        let per_second = |rate: Option<u64>| rate.map_or_else(|| "?".to_owned(), |rate| rate.to_string());
        let (out, consumed) = (per_second(queue.out_per_second), queue.consumed);
        let flow = if of_records {
            format!("out {out}/s, {consumed} consumed")
        } else {
            format!("in {}/s, out {out}/s, {consumed} consumed", per_second(queue.in_per_second))
        };
        self.line(f, &flow)?;
        match queue.dropped.total() {
            0 => self.line(f, "nothing dropped")?,
            total => {
                let rate = per_second(queue.dropped_per_second);
                let text = format!("{total} dropped ({}), {rate}/s", queue.dropped);
                self.warn(f, &text, queue.dropped_per_second.is_some_and(|rate| rate > 0))?;
            }
        }
        if queue.consumers.is_empty() {
            self.warn(f, "nobody consumes", false)?;
        }
        for consumer in &queue.consumers {
            let who = format!("consumer {} ({})", consumer.pid, consumer.name);
            match consumer.stopped_seconds {
                Some(seconds) => self.warn(f, &format!("{who} is STOPPED, {seconds} s"), true)?,
                None => self.line(f, &who)?,
            }
        }
        for Lane { shard, lane, pid, seconds } in &queue.lanes {
            let who = pid.map_or_else(|| "a program".to_owned(), |pid| format!("process {pid}"));
            let text = format!(
                "{who} has had lane {lane} of processor {shard} at each look for {seconds} s: begun and not ended"
            );
            self.warn(f, &text, false)?;
        }
        if let Some(stuck) = queue.stuck {
            let text = match stuck.who {
                "producer" => {
                    format!(
                        "STUCK for {} s: a producer has not ended its push, and all behind it waits",
                        stuck.seconds
                    )
                }
                _ => format!(
                    "STUCK for {} s: a consumer has not ended its pop, and nobody can push",
                    stuck.seconds
                ),
            };
            self.warn(f, &text, true)?;
        } else if let Some(seconds) = queue.untaken_seconds.filter(|_| !queue.consumers.is_empty()) {
            self.warn(f, &format!("nothing taken for {seconds} s"), false)?;
        }
        Ok(())
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
        write!(f, "\n{:MARGIN$}{}", "", self.screen.behind(MARGIN, text))
    }

    /// A line that should be seen; at a glance, if it is bad.
    fn warn(&self, f: &mut fmt::Formatter<'_>, text: &str, is_bad: bool) -> fmt::Result {
        let wrapped = self.screen.behind(MARGIN, text);
        let painted = if is_bad { self.screen.alarm(&wrapped) } else { self.screen.paint(LIMITED, &wrapped) };
        write!(f, "\n{:MARGIN$}{painted}", "")
    }

    /// How full it is: as a bar, where there is room for one.
    fn fill(&self, queue: &Queue) -> String {
        let Queue { len, capacity, full, .. } = queue;
        let unit = if queue.kind == Kind::Records.name() { " bytes" } else { "" };
        let Some(len) = len else { return format!("? of {capacity}, too busy to be counted") };
        let share = len.saturating_mul(100).checked_div(*capacity).unwrap_or(0).min(100);
        let word = if *full { " FULL" } else { "" };
        let said = format!("{len} of {capacity}{unit} ({share} %){word}");
        let cells = self.screen.columns_or(80).saturating_sub(MARGIN + said.len() + 3).min(30);
        let said = if *full { self.screen.alarm(&said) } else { said };
        if cells < 5 {
            return said;
        }
        let filled = (cells as u64 * share).div_ceil(100) as usize;
        let bar = self.screen.paint(GOOD, &"#".repeat(filled));
        format!("[{bar}{}] {said}", ".".repeat(cells - filled))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Consumer, Lane, Queue, Report, Stuck};
    use crate::screen::{Screen, longest_line};
    use crate::taps::Drops;

    fn report() -> Report {
        let good = Queue {
            queue: "opens".to_owned(),
            kind: "MPSC",
            carries: Some("struct event".to_owned()),
            element_size: 304,
            capacity: 16384,
            len: Some(8000),
            full: false,
            consumed: 123_456,
            in_per_second: Some(40_000),
            out_per_second: Some(39_000),
            dropped: Drops::default(),
            dropped_per_second: Some(0),
            consumers: vec![Consumer { pid: 4_000_000, name: "arenaq".to_owned(), stopped_seconds: None }],
            untaken_seconds: None,
            stuck: None,
            lanes: vec![],
        };
        let bad = Queue {
            queue: "a_queue_with_a_name_of_forty_characters".to_owned(),
            len: Some(16384),
            full: true,
            dropped: Drops { full: 12345, ..Drops::default() },
            dropped_per_second: Some(77),
            consumers: vec![Consumer { pid: 77, name: "stopped".to_owned(), stopped_seconds: Some(12.3) }],
            stuck: Some(Stuck { who: "producer", seconds: 4.2 }),
            ..good.clone()
        };
        let log = Queue {
            queue: "log".to_owned(),
            kind: "records",
            in_per_second: None,
            lanes: vec![Lane { shard: 1, lane: 0, pid: None, seconds: 3.4 }],
            ..good.clone()
        };
        let left = Queue { consumers: vec![], len: None, in_per_second: None, ..good.clone() };
        Report {
            folder: "/sys/fs/bpf/opens".into(),
            programs: 1,
            removed: false,
            queues: vec![good, bad, log, left],
        }
    }

    #[test]
    fn a_report_fits_terminals_of_80_and_of_40_columns_and_files() {
        for columns in [80, 40] {
            let text = report().on(Screen::terminal(columns, false)).to_string();
            assert!(longest_line(&text) <= columns, "{columns}:\n{text}");
            for seen in ["FULL", "STOPPED", "STUCK for 4.2 s", "nobody consumes", "struct event", "(48 %)"] {
                assert!(text.contains(seen), "{seen}, {columns}:\n{text}");
            }
        }
        let text = report().on(Screen::NONE).to_string();
        assert!(text.contains("\nrecords log of struct event (304 bytes at most)\n"), "{text}");
        assert!(text.contains("8000 of 16384 bytes (48 %)"), "{text}");
        assert!(text.contains("a program has had lane 0 of processor 1 at each look for 3.4 s"), "{text}");
        assert!(text.contains("\n  consumer 77 (stopped) is STOPPED, 12.3 s\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn what_is_bad_is_red_and_nothing_else_is() {
        let text = report().on(Screen::terminal(80, true)).to_string();
        let red: Vec<_> = text.lines().filter(|line| line.contains("\u{1b}[31m")).collect();
        assert_eq!(red.len(), 4, "{red:?}");
        for (line, word) in red.iter().zip(["FULL", "dropped", "STOPPED", "STUCK"]) {
            assert!(line.contains(word), "{line}");
        }
    }
}
