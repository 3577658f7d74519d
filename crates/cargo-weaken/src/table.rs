//! The verdicts in a terminal.

use comfy_table::{ContentArrangement, Table, presets};

use crate::judge::Verdict;
use crate::report::Report;

/// A row for each change.
pub(crate) fn table(report: &Report) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["access", "operation", "is", "tried", "verdict", "by"]);
    for mutation in &report.mutations {
        let (verdict, by) = match &mutation.verdict {
            Verdict::Killed(kill) => ("killed", format!("{}: {}", kill.test, kill.reason)),
            Verdict::Survived { .. } => ("SURVIVED", String::new()),
            Verdict::Unreached => ("unreached", String::new()),
            Verdict::Timeout { test } => ("TIMEOUT", test.clone()),
        };
        table.add_row([
            mutation.place.to_string(),
            mutation.operation.to_string(),
            mutation.from.to_string(),
            mutation.to.to_string(),
            verdict.to_owned(),
            by,
        ]);
    }
    table.trim_fmt()
}
