//! Pictures of the results, as SVG.

use anyhow::anyhow;
use plotters::coord::ranged1d::{KeyPointHint, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::results::{Group, Results, Role, Unit};
use crate::statistics::Summary;

const WIDTH: u32 = 860;
/// The width of what stands beside a line plot.
const LEGEND: u32 = 250;
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(36, 41, 47);
const GRID: RGBColor = RGBColor(208, 215, 222);
const OURS: [RGBColor; 6] = [
    RGBColor(9, 105, 218),
    RGBColor(26, 127, 55),
    RGBColor(84, 174, 255),
    RGBColor(74, 194, 107),
    RGBColor(5, 80, 174),
    RGBColor(17, 99, 41),
];
const PEERS: [RGBColor; 8] = [
    RGBColor(188, 76, 0),
    RGBColor(130, 80, 223),
    RGBColor(191, 57, 137),
    RGBColor(27, 124, 131),
    RGBColor(207, 34, 46),
    RGBColor(87, 96, 106),
    RGBColor(154, 103, 0),
    RGBColor(140, 149, 159),
];

/// A picture and its file.
#[derive(Clone, Debug)]
pub struct Plot {
    /// The name of the file.
    pub file: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// The SVG.
    pub svg: String,
}

/// What a line plot is about.
struct Growth {
    file: &'static str,
    title: &'static str,
    /// Groups of this name with a number behind it, the value on the horizontal axis.
    groups: &'static str,
    horizontal: &'static str,
}

const GROWTH: [Growth; 3] = [
    Growth {
        file: "bench-producers.svg",
        title: "Userspace: time for an element, over producers, one consumer",
        groups: "growth.producers.",
        horizontal: "producing threads",
    },
    Growth {
        file: "bench-capacity.svg",
        title: "Userspace: time of a push and a pop, over capacity, filled and emptied",
        groups: "growth.capacity.",
        horizontal: "capacity",
    },
    Growth {
        file: "bench-bpf-producers.svg",
        title: "From BPF: events that arrive in a second, over producers, one consumer",
        groups: "growth.bpf-producers.",
        horizontal: "producing threads",
    },
];

/// What a bar plot is about.
struct Bars {
    file: &'static str,
    title: &'static str,
    group: &'static str,
    /// Who would make the others' bars invisible.
    without: &'static [&'static str],
}

const BARS: [Bars; 3] = [
    Bars {
        file: "bench-push.svg",
        title: "A push from BPF, 16 bytes, nothing reading",
        group: "kernel.push.16",
        without: &["ringbuf-reserve-wakeup", "perf-output"],
    },
    Bars {
        file: "bench-lossless.svg",
        title: "From BPF to userspace without losses, 1 producer, 1 consumer",
        group: "kernel.lossless.1-1.rate",
        without: &[],
    },
    Bars {
        file: "bench-lossless-2.svg",
        title: "From BPF to userspace without losses, 2 producers, 1 consumer",
        group: "kernel.lossless.2-1.rate",
        without: &[],
    },
];

/// All pictures for which there are results.
///
/// # Errors
///
/// If one cannot be drawn.
pub fn all(results: &Results) -> anyhow::Result<Vec<Plot>> {
    let mut plots = Vec::new();
    for bars in &BARS {
        if let Some(group) = results.group(bars.group) {
            let svg = draw_bars(bars.title, group, bars.without)?;
            plots.push(Plot { file: bars.file, title: bars.title, svg });
        }
    }
    for growth in &GROWTH {
        let series = series(results, growth.groups);
        if let Some(unit) = results.groups.iter().find(|group| group.name.starts_with(growth.groups)) {
            let svg = draw_lines(growth, unit.unit, &series)?;
            plots.push(Plot { file: growth.file, title: growth.title, svg });
        }
    }
    Ok(plots)
}

/// A candidate's values over the number in the groups' names.
struct Series {
    name: String,
    role: Role,
    points: Vec<(f64, Summary)>,
}

fn series(results: &Results, prefix: &str) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for group in &results.groups {
        let number = group.name.strip_prefix(prefix).and_then(|rest| rest.split('.').next()?.parse().ok());
        let Some(number) = number else { continue };
        for entry in group.entries.iter().filter(|entry| entry.role != Role::Limit) {
            let Some(summary) = entry.summary() else { continue };
            match all.iter_mut().find(|series| series.name == entry.candidate) {
                Some(series) => series.points.push((number, summary)),
                None => all.push(Series {
                    name: entry.candidate.clone(),
                    role: entry.role,
                    points: vec![(number, summary)],
                }),
            }
        }
    }
    all
}

/// Ours in the same colours in all pictures: blue for the MPMC queue, green for the MPSC queue, light for
/// variants, dark for those with names.
/// Peers in the others, one after another.
#[derive(Default)]
struct Colours {
    peers: usize,
}

impl Colours {
    fn next(&mut self, role: Role, name: &str) -> RGBColor {
        match role {
            Role::Limit => GRID,
            Role::Ours => {
                let shade = if name.ends_with("-typed") { 2 } else { usize::from(name.contains('-')) };
                OURS[usize::from(name.starts_with("mpsc")) + 2 * shade]
            }
            _ => {
                self.peers += 1;
                PEERS[(self.peers - 1) % PEERS.len()]
            }
        }
    }
}

/// Plotters' errors hold a reference to what could not be drawn on.
fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("drawing: {error}")
}

fn text(size: u32, colour: RGBColor, horizontal: HPos) -> TextStyle<'static> {
    (FONT, size).into_font().color(&colour).pos(Pos::new(horizontal, VPos::Center))
}

fn draw_bars(title: &str, group: &Group, without: &[&str]) -> anyhow::Result<String> {
    const LEFT: i32 = 200;
    const RIGHT: i32 = 110;
    const TOP: i32 = 48;
    const ROW: i32 = 26;
    let rows: Vec<_> = group
        .entries
        .iter()
        .filter(|entry| !without.contains(&entry.candidate.as_str()))
        .filter_map(|entry| Some((entry, entry.summary()?)))
        .collect();
    let most = rows.iter().map(|(_, summary)| summary.high).fold(0.0, f64::max);
    let height = TOP + ROW * rows.len() as i32 + 12;
    let place = |value: f64| LEFT + (value / most * f64::from(WIDTH as i32 - LEFT - RIGHT)) as i32;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height as u32)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        area.draw(&Text::new(title.to_owned(), (12, 22), text(16, INK, HPos::Left))).map_err(failed)?;
        let mut colours = Colours::default();
        for (row, (entry, summary)) in rows.iter().enumerate() {
            let colour = colours.next(entry.role, &entry.candidate);
            let middle = TOP + ROW * row as i32 + ROW / 2;
            let label = Text::new(entry.candidate.clone(), (LEFT - 10, middle), text(13, INK, HPos::Right));
            area.draw(&label).map_err(failed)?;
            let bar = [(LEFT, middle - 8), (place(summary.median), middle + 8)];
            area.draw(&Rectangle::new(bar, colour.filled())).map_err(failed)?;
            // From quartile to quartile.
            let whisker = vec![(place(summary.low), middle), (place(summary.high), middle)];
            area.draw(&PathElement::new(whisker, INK)).map_err(failed)?;
            let value = format!("{} {}", figure(summary.median), group.unit.symbol());
            let end = (place(summary.high) + 8, middle);
            area.draw(&Text::new(value, end, text(13, INK, HPos::Left))).map_err(failed)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// Marks at powers of two from the first to the last value, at equal distances.
struct Doubling {
    from: f64,
    to: f64,
    /// A mark for each so many doublings.
    step: usize,
}

impl Ranged for Doubling {
    type FormatOption = plotters::coord::ranged1d::NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let part = (value / self.from).log2() / (self.to / self.from).log2();
        limit.0 + (part * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        let first = self.from.log2().ceil() as i32;
        let last = self.to.log2().floor() as i32;
        (first..=last).step_by(self.step).map(|power| f64::from(power).exp2()).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.from..self.to
    }
}

impl ValueFormatter<f64> for Doubling {
    fn format(value: &f64) -> String {
        figure(*value)
    }
}

fn draw_lines(growth: &Growth, unit: Unit, series: &[Series]) -> anyhow::Result<String> {
    let horizontal = || series.iter().flat_map(|series| series.points.iter().map(|point| point.0));
    let vertical = || series.iter().flat_map(|series| series.points.iter().map(|point| point.1));
    let from = horizontal().fold(f64::INFINITY, f64::min);
    let to = horizontal().fold(0.0, f64::max);
    let low = vertical().map(|summary| summary.low).filter(|low| *low > 0.0).fold(f64::INFINITY, f64::min);
    let high = vertical().map(|summary| summary.high).fold(0.0, f64::max);
    let doublings = (to / from).log2();
    let step = if doublings > 8.0 { 2 } else { 1 };
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, 430)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        area.draw(&Text::new(growth.title, (12, 22), text(16, INK, HPos::Left))).map_err(failed)?;
        let (_, area) = area.split_vertically(38);
        let mut chart = ChartBuilder::on(&area)
            .margin_left(8)
            .margin_right(LEGEND + 8)
            .margin_bottom(4)
            .x_label_area_size(44)
            .y_label_area_size(72)
            .build_cartesian_2d(
                Doubling { from: from / 1.08, to: to * 1.08, step },
                Doubling { from: low / 1.15, to: high * 1.15, step: 1 },
            )
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .label_style((FONT, 13).into_font().color(&INK))
            .axis_desc_style((FONT, 13).into_font().color(&INK))
            .x_desc(growth.horizontal)
            .y_desc(unit.symbol())
            .draw()
            .map_err(failed)?;
        let mut colours = Colours::default();
        for (row, series) in series.iter().enumerate() {
            let colour = colours.next(series.role, &series.name);
            let width = if series.role == Role::Ours { 3 } else { 1 };
            let medians = series.points.iter().map(|(at, summary)| (*at, summary.median));
            let line = LineSeries::new(medians.clone(), colour.stroke_width(width));
            chart.draw_series(line).map_err(failed)?;
            // Beside the chart, where it hides no line; as wide for all, or the colour of a thin one is a guess.
            let (left, middle) = (WIDTH as i32 - LEGEND as i32, 14 + 22 * row as i32);
            let line = vec![(left, middle), (left + 18, middle)];
            area.draw(&PathElement::new(line, colour.stroke_width(4))).map_err(failed)?;
            let label = Text::new(series.name.clone(), (left + 26, middle), text(13, INK, HPos::Left));
            area.draw(&label).map_err(failed)?;
            let whiskers =
                series.points.iter().filter(|(_, summary)| summary.low > 0.0).map(|(at, summary)| {
                    PathElement::new(vec![(*at, summary.low), (*at, summary.high)], colour)
                });
            chart.draw_series(whiskers).map_err(failed)?;
            let dots = medians.map(|point| Circle::new(point, 2 + width as i32 / 2, colour.filled()));
            chart.draw_series(dots).map_err(failed)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// A number with as many digits as say something.
pub(crate) fn figure(value: f64) -> String {
    let size = value.abs();
    if size >= 1e6 {
        format!("{:.2} M", value / 1e6)
    } else if size >= 1e4 {
        format!("{:.0} k", value / 1e3)
    } else if size >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::{Doubling, all, figure};
    use crate::results::tests::group;
    use crate::results::{Results, Unit};
    use plotters::coord::ranged1d::Ranged;

    #[test]
    fn a_figure_has_the_digits_that_say_something() {
        let shown = [0.066, 4.0, 5.126, 26.94, 887.7, 12_345.0, 7_921_766.0].map(figure);
        assert_eq!(shown, ["0.07", "4", "5.13", "26.9", "888", "12 k", "7.92 M"]);
    }

    #[test]
    fn equal_distances_are_doublings() {
        let axis = Doubling { from: 1.0, to: 16.0, step: 1 };
        assert_eq!([1.0, 2.0, 4.0, 16.0].map(|value| axis.map(&value, (0, 400))), [0, 100, 200, 400]);
    }

    #[test]
    fn a_picture_names_everybody_who_was_measured_and_nobody_who_failed() {
        let mut groups = vec![group(Unit::Nanoseconds), group(Unit::Nanoseconds), group(Unit::Nanoseconds)];
        groups[0].name = "growth.producers.1".to_owned();
        groups[1].name = "growth.producers.4".to_owned();
        groups[2].name = "kernel.push.16".to_owned();
        let results = Results { machine: Default::default(), quick: true, groups, skipped: Vec::new() };
        let plots = all(&results).expect("they can be drawn");
        assert_eq!(plots.len(), 2);
        for plot in plots {
            assert!(plot.svg.contains("\nmpmc\n") && plot.svg.contains("\nlocked\n"), "{}", plot.svg);
            assert!(!plot.svg.contains("heapless"), "{}", plot.svg);
        }
    }
}
