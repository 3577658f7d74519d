//! The verdicts in a terminal.

use comfy_table::{ContentArrangement, Table, presets};

use crate::report::{Changed, Report};
use crate::verdict::Verdict;

/// A row for each change.
pub(crate) fn table(report: &Report) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["access", "operation", "is", "tried", "verdict", "by"]);
    for mutation in &report.mutations {
        let by = match &mutation.verdict {
            Verdict::Killed(kill) => format!("{}: {}", kill.test, kill.reason),
            Verdict::Timeout { test } => test.clone(),
            Verdict::Survived { .. } | Verdict::Unreached | Verdict::Skipped => String::new(),
        };
        let word = report.question.word(&mutation.verdict);
        // What somebody should look at.
        let word = match word {
            "survived" | "timeout" | "fails" => word.to_uppercase(),
            word => word.to_owned(),
        };
        // A line for each access that changed.
        let column = |text: fn(&Changed) -> String| mutation.all().map(text).collect::<Vec<_>>().join("\n");
        table.add_row([
            column(|changed| changed.place.to_string()),
            column(|changed| changed.operation.to_string()),
            column(|changed| changed.from.to_string()),
            column(|changed| changed.to.to_string()),
            word,
            by,
        ]);
    }
    table.trim_fmt()
}
