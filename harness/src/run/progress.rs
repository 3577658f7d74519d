//! The live display: one line on a terminal, nothing elsewhere.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::options::Options;
use crate::object::Counters;

/// With a bar where it is known how many events there will be. What does not fit is cut off at the right, so the
/// message begins with what matters most.
const WITH_TOTAL: &str = "{bar:10.cyan} {wide_msg}";
const WITHOUT_TOTAL: &str = "{spinner:.cyan} {wide_msg}";

/// The display of a run.
pub(super) struct Progress {
    bar: ProgressBar,
    /// What is counted towards the total.
    goal: Goal,
    /// When the run ends at the latest, if that is known.
    end: Option<Instant>,
    last_drop: Cell<u64>,
}

/// What a run works towards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Consumed,
    Produced,
}

impl Progress {
    /// For a run that begins now.
    pub(super) fn new(options: &Options) -> Progress {
        let operations = options.operations.filter(|_| options.command.is_empty());
        let (goal, total) = match (options.events, operations) {
            (None, Some(operations)) => (Goal::Produced, Some(operations)),
            (events, _) => (Goal::Consumed, events),
        };
        // A dumb terminal cannot take a line back.
        let is_dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        let target = if is_dumb { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(total, target).with_style(style(if total.is_some() {
            WITH_TOTAL
        } else {
            WITHOUT_TOTAL
        }));
        let end = options.duration.and_then(|duration| Instant::now().checked_add(duration));
        Progress { bar, goal, end, last_drop: Cell::new(0) }
    }

    /// Draws it.
    pub(super) fn show(&self, counters: &Counters, consumed: u64) {
        self.bar.set_position(match self.goal {
            Goal::Consumed => consumed,
            Goal::Produced => counters.produced,
        });
        let dropped = counters.nomem + counters.busy;
        let is_rising = self.last_drop.replace(dropped) < dropped;
        self.bar.set_message(message(&Figures {
            consumed,
            rate: self.bar.per_sec(),
            left: self.left(),
            dropped,
            is_rising,
            produced: counters.produced,
        }));
        self.bar.tick();
    }

    /// How long it will last: what the limit leaves, or what the rest takes at the present rate.
    fn left(&self) -> Option<Duration> {
        let limit = self.end.map(|end| end.saturating_duration_since(Instant::now()));
        // At first there is no rate.
        let rest = self.bar.length().map(|_| self.bar.eta()).filter(|eta| !eta.is_zero());
        limit.into_iter().chain(rest).min()
    }

    /// Takes it away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the line says.
struct Figures {
    consumed: u64,
    rate: f64,
    left: Option<Duration>,
    dropped: u64,
    is_rising: bool,
    produced: u64,
}

/// The most important first: 29 columns are left beside a bar on a terminal of 40.
fn message(figures: &Figures) -> String {
    let &Figures { consumed, rate, left, dropped, is_rising, produced } = figures;
    let mut line = format!("{} at {}/s", HumanCount(consumed), short(rate));
    if let Some(left) = left {
        line += &format!(", {:#} left", HumanDuration(left));
    }
    if dropped > 0 {
        line += &format!("  dropped {}{}", HumanCount(dropped), if is_rising { " and rising" } else { "" });
    }
    line + &format!("  produced {}", HumanCount(produced))
}

/// A number in at most five characters.
fn short(number: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    match UNITS.into_iter().find(|(size, _)| number >= *size) {
        Some((size, unit)) if number / size < 9.95 => format!("{:.1}{unit}", number / size),
        Some((size, unit)) => format!("{:.0}{unit}", number / size),
        None => format!("{number:.0}"),
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is one of the two above")
}
