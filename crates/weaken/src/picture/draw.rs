//! The picture, as SVG inside of the page: its text can be selected, and its colours are the page's.

use std::collections::BTreeSet;

use maud::{Markup, PreEscaped, html};

use super::layout::{Arrow, Layout, Meaning};

/// The width of the head of an arrow, and half its height.
const HEAD: (u32, u32) = (9, 4);

/// In a page.
pub(crate) fn picture(layout: &Layout) -> Markup {
    let Layout { width, height, .. } = layout;
    html! {
        div.picture {
            svg width=(width) height=(height) viewBox=(format!("0 0 {width} {height}")) { (inside(layout)) }
        }
        (legend(layout))
    }
}

/// As a file, with the style sheet in it.
pub(crate) fn alone(layout: &Layout, style: &str) -> Markup {
    let Layout { width, height, .. } = layout;
    html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(width) height=(height)
            viewBox=(format!("0 0 {width} {height}"))
        {
            style { (PreEscaped(style)) }
            rect.paper width=(width) height=(height) {}
            (inside(layout))
        }
    }
}

fn inside(layout: &Layout) -> Markup {
    html! {
                @let (top, bottom) = layout.rows;
                @for x in &layout.threads { line.thread x1=(x) x2=(x) y1=(top) y2=(bottom) {} }
                @for arrow in &layout.arrows { (draw(arrow)) }
                @for step in &layout.boxes {
                    g class=(step.classes) {
                        title { (step.title) }
                        rect x=(step.x) y=(step.y) width=(step.width) height=(step.height) rx="4" {}
                        @for (number, line) in step.lines.0.iter().enumerate() {
                            @let (x, y) = step.text(number);
                            text x=(x) y=(y) {
                                @for (number, span) in line.0.iter().enumerate() {
                                    @if number > 0 { " " }
                                    tspan class=(span.class) { (span.text) }
                                }
                            }
                        }
                    }
                }
                @for label in &layout.labels {
                    text class=(label.class) x=(label.x) y=(label.y) text-anchor="middle" { (label.text) }
                }
    }
}

fn class(meaning: Meaning) -> &'static str {
    match meaning {
        Meaning::Synchronises => "synchronises",
        Meaning::Missing => "missing",
        Meaning::Nothing => "nothing",
        Meaning::Race => "race",
    }
}

fn draw(arrow: &Arrow) -> Markup {
    let points: Vec<_> = arrow.points.iter().map(|(x, y)| format!("{x},{y}")).collect();
    let [.., (from, _), (x, y)] = arrow.points;
    let back = if from < x { x.saturating_sub(HEAD.0) } else { x + HEAD.0 };
    let head = format!("{x},{y} {back},{} {back},{}", y - HEAD.1, y + HEAD.1);
    html! {
        g.arrow.(class(arrow.meaning)) {
            polyline points=(points.join(" ")) {}
            polygon points=(head) {}
        }
    }
}

/// What the arrows mean that are there.
fn legend(layout: &Layout) -> Markup {
    let meanings: BTreeSet<_> = layout.arrows.iter().map(|arrow| arrow.meaning).collect();
    let text = |meaning| match meaning {
        Meaning::Synchronises => {
            "reads from it and synchronises: what was done before it, or before a fence, is seen"
        }
        Meaning::Missing => {
            "reads from it, and no longer sees all that was done before: the changed ordering"
        }
        Meaning::Nothing => "reads from it, which orders nothing in the source either",
        Meaning::Race => "nothing orders the one before the other",
    };
    html! {
        @if !meanings.is_empty() {
            ul.legend {
                @for meaning in meanings {
                    li {
                        svg width="40" height="12" {
                            g.arrow.(class(meaning)) {
                                polyline points="0,6 32,6" {}
                                polygon points="40,6 31,2 31,10" {}
                            }
                        }
                        " " (text(meaning))
                    }
                }
            }
        }
    }
}
