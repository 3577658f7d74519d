//! A counterexample as text: a row for each step, a column for each thread.

use std::collections::BTreeSet;
use std::fmt;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};

use crate::Counterexample;
use crate::analysis::Source;
use crate::names::Names;

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Names::of(&self.analysis, &self.shown);
        let threads: Vec<usize> = self
            .shown
            .iter()
            .map(|step| self.analysis.steps[*step].event.thread)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let race = self.analysis.race();

        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
        let mut header = vec!["step".to_owned()];
        header.extend(threads.iter().map(|thread| format!("thread {thread}")));
        table.set_header(header);
        let mut last_operation = vec![None; threads.len()];
        for &index in &self.shown {
            let step = &self.analysis.steps[index];
            let column = threads.iter().position(|thread| *thread == step.event.thread).unwrap_or(0);
            let mut lines = Vec::new();
            if step.event.operation.is_some() && last_operation[column] != step.event.operation {
                let operation =
                    step.event.operation.map(|operation| &self.analysis.trace.operations[operation]);
                lines.extend(operation.map(|operation| format!("{}:", operation.name)));
                last_operation[column] = step.event.operation;
            }
            let site = step.event.site.name.rsplit('.').next().unwrap_or(step.event.site.name);
            lines.push(format!("{site} [{}]", Names::order(step)));
            lines.push(format!("  {}", names.action(step)));
            match step.source {
                Source::Step(write) => {
                    let stale = if step.is_stale { ", STALE: a newer write is there" } else { "" };
                    let edge = if step.synchronises { "synchronises" } else { "orders nothing" };
                    let edge = if crate::analysis::is_plain(&step.event) { "" } else { edge };
                    let edge = if edge.is_empty() { String::new() } else { format!(": {edge}") };
                    let from =
                        names.number(write).map_or_else(|| "before".to_owned(), |n| format!("step {n}"));
                    lines.push(format!("  from {from}{edge}{stale}"));
                }
                Source::Initial if step.is_stale => lines.push("  STALE: from the beginning".to_owned()),
                Source::Initial | Source::None => {}
            }
            if let Some(race) = race.filter(|race| index == race.first || index == race.second) {
                let other = if index == race.first { race.second } else { race.first };
                lines.push(format!("  ✗ RACES with step {}", names.number(other).unwrap_or(0)));
            }
            let mut row = vec![String::new(); threads.len() + 1];
            row[0] = names.number(index).unwrap_or(0).to_string();
            row[column + 1] = lines.join("\n");
            table.add_row(row);
        }
        writeln!(f, "{}: the execution that fails", self.title)?;
        writeln!(f, "{table}")?;
        match self.explanation() {
            Some(explanation) => write!(f, "{explanation}"),
            None => write!(f, "Nothing races: the orderings hold, and the result is wrong all the same."),
        }
    }
}
