//! The execution in which a model failed: in sentences, as a picture and as a table.
//!
//! For a terminal [`text()`], for a browser [`page()`], or its parts [`html()`] and [`STYLE`] for a page of one's own, and for a
//! document [`svg()`].

mod cut;
mod draw;
mod edges;
mod explain;
mod layout;
#[cfg(test)]
mod steps;
mod table;
mod terminal;
mod text;
mod unchanged;

use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec::Vec;

use maud::{DOCTYPE, PreEscaped, html};

use crate::record::Execution;
use edges::Edge;

/// The style sheet of a page that has [`html()`] in it.
pub const STYLE: &str = include_str!("picture/style.css");

/// With which orderings a model failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orderings {
    /// As they are in the source.
    Source,
    /// With a change.
    Changed,
}

/// Why it fails, a sentence for each thing that a reader should know.
fn sentences(execution: &Execution, edges: &[Edge], orderings: Orderings) -> Vec<String> {
    match orderings {
        Orderings::Source => unchanged::explain(execution, edges),
        Orderings::Changed => explain::explain(execution, edges),
    }
}

/// A part of a page of HTML: sentences, the picture, and the table behind a click.
pub fn html(execution: &Execution, orderings: Orderings) -> String {
    let edges = edges::edges(execution);
    let shown = cut::shown(execution, &edges);
    let part = html! {
        @for sentence in sentences(execution, &edges, orderings) { p.why { (sentence) } }
        @if !shown.is_empty() {
            (draw::picture(&layout::layout(execution, &edges, &shown)))
            @if let Some(cut) = left_out(execution, &shown) { p.cut { (cut) } }
            details.table {
                summary { "The same as a table, with all " (execution.steps.len()) " steps" }
                (table::table(execution, &edges))
            }
        }
    };
    part.into_string()
}

/// A page of HTML that needs nothing beside it.
pub fn page(title: &str, message: &str, execution: &Execution, orderings: Orderings) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                pre { (message) }
                (PreEscaped(html(execution, orderings)))
            }
        }
    };
    page.into_string()
}

/// The picture alone, as a file: SVG, in the colours that the reader prefers.
pub fn svg(execution: &Execution) -> String {
    let edges = edges::edges(execution);
    let shown = cut::shown(execution, &edges);
    draw::alone(&layout::layout(execution, &edges, &shown), STYLE).into_string()
}

/// For a terminal: a table with a row for each step and a column for each thread, and below it the sentences.
pub fn text(execution: &Execution, orderings: Orderings) -> String {
    let edges = edges::edges(execution);
    let shown = cut::shown(execution, &edges);
    let mut text = terminal::table(execution, &edges, &shown);
    for line in left_out(execution, &shown).into_iter().chain(sentences(execution, &edges, orderings)) {
        text.push('\n');
        text += &line;
    }
    text
}

/// What the picture does not have.
fn left_out(execution: &Execution, shown: &[usize]) -> Option<String> {
    let mut threads: BTreeMap<u32, usize> = BTreeMap::new();
    for (index, step) in execution.steps.iter().enumerate() {
        if shown.binary_search(&index).is_err() {
            *threads.entry(step.thread).or_default() += 1;
        }
    }
    if threads.is_empty() {
        return None;
    }
    let of: Vec<_> = threads.iter().map(|(thread, count)| format!("{count} of thread {thread}")).collect();
    Some(format!(
        "The picture has {} of {} steps: what the failure is about, and the end. Left out are {}.",
        shown.len(),
        execution.steps.len(),
        of.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::steps::{execution, load, plain, store};
    use super::{Orderings, page, svg, text};
    use crate::operation::Operation;
    use crate::operation::Order::{Acquire, Relaxed, Release};
    use crate::record::Execution;

    /// A message that no longer synchronises, through sites that have names.
    fn message() -> Execution {
        let mut steps = vec![
            plain(1, Operation::Write, "data"),
            store(1, "ready", Relaxed),
            load(2, "ready", Acquire, Some(1)),
            plain(2, Operation::Read, "data"),
        ];
        steps[1].source = Some(Release);
        for (step, site) in steps.iter_mut().zip(["send.data", "send.ready", "take.ready", "take.data"]) {
            step.place = None;
            step.site = Some(site.into());
            step.scope = site.split_once('.').map(|(scope, _)| scope.into());
        }
        steps[1].why = Some("the data is <written> before".into());
        let mut execution = execution(steps);
        execution.unordered = Some(0);
        execution
    }

    #[test]
    fn the_text_names_the_sites_the_race_and_why_the_ordering_is_what_it_is() {
        let text = text(&message(), Orderings::Changed);
        for part in [
            "thread 1",
            "send:",
            "ready [Relaxed, not Release]",
            "✗ RACES with step 1",
            "from step 2: no longer synchronises",
            "step 2 (send.ready, thread 1)",
            "send.ready is Release in the source: the data is <written> before.",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_page_and_a_picture_stand_alone() {
        let page = page("a & b", "it <failed>", &message(), Orderings::Changed);
        assert!(page.contains("<title>a &amp; b</title>") && page.contains("it &lt;failed&gt;"), "{page}");
        assert!(page.contains("is Release in the source: the data is &lt;written&gt; before"), "{page}");
        let svg = svg(&message());
        assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>"), "{svg}");
        assert!(svg.contains("<style>") && svg.contains("send.ready"), "{svg}");
    }
}
