//! The execution in which a model fails: in sentences, as a picture and as a table.

mod cut;
mod edges;
mod explain;
mod layout;
mod picture;
#[cfg(test)]
mod steps;
mod table;
mod text;
mod unchanged;

use std::collections::BTreeMap;

use maud::{Markup, html};
use weaken::record::Execution;

/// With which orderings a model failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orderings {
    /// As they are in the source.
    Source,
    /// With a change.
    Changed,
}

/// What the page says of it.
pub(crate) fn show(execution: &Execution, orderings: Orderings) -> Markup {
    let edges = edges::edges(execution);
    let sentences = match orderings {
        Orderings::Source => unchanged::explain(execution, &edges),
        Orderings::Changed => explain::explain(execution, &edges),
    };
    let shown = cut::shown(execution, &edges);
    html! {
        @for sentence in sentences { p.why { (sentence) } }
        @if !shown.is_empty() {
            (picture::picture(&layout::layout(execution, &edges, &shown)))
            @if let Some(cut) = left_out(execution, &shown) { p.cut { (cut) } }
            details.table {
                summary { "The same as a table, with all " (execution.steps.len()) " steps" }
                (table::table(execution, &edges))
            }
        }
    }
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
