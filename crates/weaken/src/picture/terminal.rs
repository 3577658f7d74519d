//! A table for a terminal: a row for each step, a column for each thread.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};

use crate::operation::Operation;
use crate::record::{Ending, Execution, Step};

use super::edges::{Edge, Kind};

pub(crate) fn table(execution: &Execution, edges: &[Edge], shown: &[usize]) -> String {
    let steps = &execution.steps;
    let threads: BTreeSet<u32> = shown.iter().map(|step| steps[*step].thread).collect();
    let threads: Vec<u32> = threads.into_iter().collect();
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    let headers = threads.iter().map(|thread| format!("thread {thread}"));
    table.set_header(["step".to_owned()].into_iter().chain(headers));
    let mut inside: BTreeMap<u32, &str> = BTreeMap::new();
    for index in shown {
        let step = &steps[*index];
        let mut lines = Vec::new();
        let scope = step.scope.as_deref().unwrap_or_default();
        if inside.insert(step.thread, scope) != Some(scope) && !scope.is_empty() {
            lines.push(format!("{scope}:"));
        }
        lines.push(format!("{}{}", access(step), ordering(step)));
        lines.extend(effect(step).map(|effect| format!("  {effect}")));
        let edge = edges.iter().find(|edge| edge.to == *index);
        lines.extend(source(step, edge).map(|source| format!("  {source}")));
        let last = steps.len() - 1;
        match execution.unordered {
            Some(first) if *index == first => lines.push(format!("  ✗ RACES with step {}", last + 1)),
            Some(first) if *index == last => lines.push(format!("  ✗ RACES with step {}", first + 1)),
            _ if step.ending == Ending::Refused => lines.push("  ✗ loom ends the execution here".into()),
            _ => {}
        }
        let cells = threads
            .iter()
            .map(|thread| if *thread == step.thread { lines.join("\n") } else { String::new() });
        table.add_row([(index + 1).to_string()].into_iter().chain(cells));
    }
    table.to_string()
}

/// The last part of the site's name, or the operation.
fn access(step: &Step) -> &str {
    let site = step.site.as_deref();
    site.map_or(step.operation.name(), |site| site.rsplit('.').next().unwrap_or(site))
}

fn ordering(step: &Step) -> String {
    match (step.order, step.source) {
        (Some(order), Some(source)) => format!(" [{order}, not {source}]"),
        (Some(order), None) => format!(" [{order}]"),
        (None, _) => " [plain]".into(),
    }
}

fn effect(step: &Step) -> Option<String> {
    let word = step.word.as_deref().unwrap_or("memory");
    Some(match (&step.read, &step.wrote) {
        (Some(read), Some(wrote)) => format!("{word}: {} ⇒ {wrote}", read.value),
        (Some(read), None) if step.ending == Ending::Failed => {
            format!("{word} is {}, not as expected", read.value)
        }
        (Some(read), None) => format!("{word} is {}", read.value),
        (None, Some(wrote)) => format!("{word} := {wrote}"),
        (None, None) if step.operation == Operation::Fence => return None,
        (None, None) if step.operation.writes() => format!("writes {word}"),
        (None, None) => format!("reads {word}"),
    })
}

fn source(step: &Step, edge: Option<&Edge>) -> Option<String> {
    let read = step.read.as_ref()?;
    let mut text = match read.from {
        Some(from) => format!("from step {}", from + 1),
        None => read.newest.map(|_| "as it was made".to_owned())?,
    };
    // Plain memory synchronises with nothing.
    text += match edge.filter(|_| step.order.is_some()).map(|edge| &edge.kind) {
        Some(Kind::Synchronises) => ": synchronises",
        Some(Kind::Missing { .. }) => ": no longer synchronises",
        Some(Kind::Nothing) => ": orders nothing",
        None => "",
    };
    if let Some(newest) = read.newest {
        text += &format!(", STALE: step {} is newer", newest + 1);
    }
    Some(text)
}
