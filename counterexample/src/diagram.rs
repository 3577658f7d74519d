//! A counterexample as a picture: a line for each thread, time going down, an arrow for each read that
//! crosses.

use std::collections::BTreeSet;

use svg::Document;
use svg::node::element::{Definitions, Line, Marker, Path, Rectangle, Text};

use crate::analysis::{Analysis, Source, Step, is_plain};
use crate::names::Names;

const LANE: f64 = 330.0;
const ROW: f64 = 46.0;
const TOP: f64 = 96.0;
const BOX: f64 = 270.0;
const HEIGHT: f64 = 36.0;
/// The width of a letter of the explanation.
const LETTER: f64 = 7.5;

const INK: &str = "#24292f";
const SYNC: &str = "#1a7f37";
const WEAK: &str = "#9a6700";
const RACE: &str = "#cf222e";

fn text(x: f64, y: f64, size: u32, colour: &str, content: impl Into<String>) -> Text {
    Text::new(content)
        .set("x", x)
        .set("y", y)
        .set("font-family", "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace")
        .set("font-size", size)
        .set("fill", colour)
}

fn arrow_head(id: &str, colour: &str) -> Marker {
    Marker::new()
        .set("id", id)
        .set("viewBox", "0 0 8 8")
        .set("refX", 8)
        .set("refY", 4)
        .set("markerWidth", 9)
        .set("markerHeight", 9)
        .set("orient", "auto-start-reverse")
        .add(Path::new().set("d", "M 0 0 L 8 4 L 0 8 z").set("fill", colour))
}

/// An arrow between two boxes: across the gap between the lanes, or around the side within one.
fn arrow(from: (f64, f64), to: (f64, f64), colour: &str, head: &str, dashes: &str) -> Path {
    let half = BOX / 2.0;
    let (start, end) =
        if from.0 < to.0 { (from.0 + half, to.0 - half) } else { (from.0 - half, to.0 + half) };
    let bend = (end - start) / 2.0;
    let path =
        format!("M {start} {} C {} {} {} {} {end} {}", from.1, start + bend, from.1, end - bend, to.1, to.1);
    Path::new()
        .set("d", path)
        .set("fill", "none")
        .set("stroke", colour)
        .set("stroke-width", 2)
        .set("stroke-dasharray", dashes)
        .set("marker-end", format!("url(#{head})"))
}

pub(crate) fn draw(title: &str, analysis: &Analysis, shown: &[usize]) -> String {
    let names = Names::of(analysis, shown);
    let threads: Vec<usize> = shown
        .iter()
        .map(|step| analysis.steps[*step].event.thread)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let race = analysis.race();
    let lane = |step: &Step| threads.iter().position(|thread| *thread == step.event.thread).unwrap_or(0);
    let x_of = |lane: usize| 40.0 + BOX / 2.0 + lane as f64 * LANE;
    let row = |index: usize| shown.iter().position(|step| *step == index);
    let place = |index: usize| {
        row(index).map(|row| (x_of(lane(&analysis.steps[index])), TOP + 20.0 + row as f64 * ROW))
    };

    let width = 80.0 + threads.len().saturating_sub(1) as f64 * LANE + BOX;
    let explanation: Vec<String> = race
        .map(|race| names.explain(analysis, &race))
        .unwrap_or_else(|| "Nothing races: the result is wrong for another reason.".to_owned())
        .lines()
        .flat_map(|line| wrap(line, ((width - 40.0) / LETTER) as usize))
        .collect();
    let bottom = TOP + 20.0 + shown.len() as f64 * ROW;
    let height = bottom + 90.0 + explanation.len() as f64 * 18.0;

    let mut document = Document::new()
        .set("viewBox", (0.0, 0.0, width, height))
        .set("width", width)
        .set("height", height)
        .add(
            Definitions::new()
                .add(arrow_head("sync", SYNC))
                .add(arrow_head("weak", WEAK))
                .add(arrow_head("race", RACE)),
        )
        .add(Rectangle::new().set("width", width).set("height", height).set("fill", "#ffffff"))
        .add(text(20.0, 28.0, 15, INK, title).set("font-weight", "bold"));
    for (lane, thread) in threads.iter().enumerate() {
        let x = x_of(lane);
        document = document
            .add(
                text(x, 66.0, 14, INK, format!("thread {thread}"))
                    .set("text-anchor", "middle")
                    .set("font-weight", "bold"),
            )
            .add(
                Line::new()
                    .set("x1", x)
                    .set("y1", 76)
                    .set("x2", x)
                    .set("y2", bottom)
                    .set("stroke", "#d0d7de")
                    .set("stroke-width", 2),
            );
    }

    for (index, step) in shown.iter().map(|index| (*index, &analysis.steps[*index])) {
        let Some((x, y)) = place(index) else { continue };
        let races = race.is_some_and(|race| index == race.first || index == race.second);
        let (fill, stroke) = match (races, step.is_stale) {
            (true, _) => ("#ffebe9", RACE),
            (false, true) => ("#fff8c5", WEAK),
            (false, false) if is_plain(&step.event) => ("#ffffff", "#8c959f"),
            (false, false) => ("#ddf4ff", "#54aeff"),
        };
        let site = step.event.site.name;
        let stale = if step.is_stale { ", stale" } else { "" };
        document = document
            .add(
                Rectangle::new()
                    .set("x", x - BOX / 2.0)
                    .set("y", y - HEIGHT / 2.0)
                    .set("width", BOX)
                    .set("height", HEIGHT)
                    .set("rx", 5)
                    .set("fill", fill)
                    .set("stroke", stroke)
                    .set("stroke-width", if races { 2.5 } else { 1.2 }),
            )
            .add(text(
                x - BOX / 2.0 + 8.0,
                y - 3.0,
                12,
                INK,
                format!("{}  {}", names.number(index).unwrap_or(0), names.action(step)),
            ))
            .add(text(
                x - BOX / 2.0 + 8.0,
                y + 12.0,
                10,
                "#57606a",
                format!("{site} [{}]{stale}", Names::order(step)),
            ));
    }

    for index in shown.iter().copied() {
        let step = &analysis.steps[index];
        let Source::Step(write) = step.source else { continue };
        let (Some(from), Some(to)) = (place(write), place(index)) else { continue };
        if (from.0 - to.0).abs() < 1.0 {
            continue;
        }
        document = document.add(if step.synchronises {
            arrow(from, to, SYNC, "sync", "none")
        } else {
            arrow(from, to, WEAK, "weak", "6 4")
        });
    }
    if let Some((from, to)) = race.and_then(|race| place(race.first).zip(place(race.second))) {
        document = document.add(arrow(from, to, RACE, "race", "2 4"));
    }

    let legend = [
        (SYNC, "none", "reads from, and synchronises: all before it is seen"),
        (WEAK, "6 4", "reads from, and orders nothing"),
        (RACE, "2 4", "missing: these two are not ordered"),
    ];
    for (row, (colour, dashes, words)) in legend.into_iter().enumerate() {
        let y = bottom + 14.0 + row as f64 * 16.0;
        let line = Line::new().set("x1", 20).set("y1", y).set("x2", 50).set("y2", y);
        document = document
            .add(line.set("stroke", colour).set("stroke-width", 2).set("stroke-dasharray", dashes))
            .add(text(56.0, y + 4.0, 11, INK, words));
    }
    for (line, words) in explanation.iter().enumerate() {
        document = document.add(text(20.0, bottom + 80.0 + line as f64 * 18.0, 12, INK, words.as_str()));
    }
    document.to_string()
}

/// Lines of at most so many characters.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is one line at least");
        if !last.is_empty() && last.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}
