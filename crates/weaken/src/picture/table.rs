//! A row for each step, a column for each thread.

use std::collections::BTreeSet;

use crate::record::{Ending, Execution, Step};
use maud::{Markup, html};

use super::edges::{Edge, Kind, is_changed};
use super::explain::whole_place;

pub(crate) fn table(execution: &Execution, edges: &[Edge]) -> Markup {
    let threads: BTreeSet<u32> = execution.steps.iter().map(|step| step.thread).collect();
    html! {
        table.execution {
            tr {
                th { "step" }
                @for thread in &threads { th { "thread " (thread) } }
            }
            @for (number, step) in execution.steps.iter().enumerate() {
                @let edge = edges.iter().find(|edge| edge.to == number);
                tr.changed[is_changed(step)].refused[step.ending == Ending::Refused] {
                    td.number { (number + 1) }
                    @for thread in &threads {
                        td { @if *thread == step.thread { (cell(step, edge)) } }
                    }
                }
            }
        }
    }
}

fn cell(step: &Step, edge: Option<&Edge>) -> Markup {
    html! {
        code title=(whole_place(step)) {
            (step.operation) @if let Some(word) = &step.word { " " b { (word) } }
            @if let Some(order) = step.order { " " span.order { (order) } }
        }
        @if let Some(source) = step.source { " " span.changed { "instead of " (source) } }
        div.what {
            @if let Some(read) = &step.read {
                "reads " (read.value)
                @match read.from {
                    Some(from) => {
                        " from step " (from + 1)
                        @if let Some(edge) = edge { (orders(edge)) }
                    },
                    None => ", the value from the beginning",
                }
                @if let Some(newest) = read.newest { ", " b { "although step " (newest + 1) " wrote later" } }
            }
            @if let Some(value) = &step.wrote {
                @if step.read.is_some() { "; " } "writes " (value)
            }
            @match step.ending {
                Ending::Done => {},
                Ending::Failed => " (not what it expected)",
                Ending::Refused => b { "loom ends the execution here" },
            }
        }
        div.place { (whole_place(step)) }
    }
}

fn orders(edge: &Edge) -> &'static str {
    match edge.kind {
        Kind::Synchronises => " and synchronises with it",
        Kind::Missing { .. } => " and no longer synchronises with it",
        Kind::Nothing => " and does not synchronise with it",
    }
}
