//! The document of what works on which kernel: `docs/kernels.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::files::{QUEUES, Summary};
use crate::kernels::examine::{Check, Cost, Doctor, Examined, Tried};
use crate::kernels::list::Skip;
use crate::kernels::outcome::{OperationCost, Outcome};

const INTRODUCTION: &str = "# Kernels

What works on which kernel. `cargo xtask kernels` boots each kernel in a virtual machine, once for each result, and writes this file.
[`vm.md`](vm.md) says how.
";

const LEGEND: &str = "
- *object*: the BPF object that this kernel is given.
- *hooks*: those on which a program can be attached.
- *mpsc*, *mpmc*: four processes create 100000 files on four processors; each is one event of `lsm.s/inode_create`. *ok*: produced,
  consumed, dropped and left add up, no event is out of its task's order, and `verify` says `SUCCESS`.
- *load*: the objects of the example `opensnoop` that `arenaq load` ran: the one that it chose, and the one that it was asked for. Each
  of 1,000 files that a command opens is one line with the file's name, and the account is exact.
- *tests*: passed, failed and skipped tests of `harness/tests`. Those of `elements.rs` push and pop elements of 8 to 4,096 bytes through
  typed queues of both kinds, from C in the kernel and from Rust outside it, with every object that the kernel can run.
";

const KERNELS: &str = "
## Why these

The kernels follow from the rule in [`crates/vm/kernels.toml`](../crates/vm/kernels.toml). What differs between them:

- from 6.15 on there are `load_acquire` and `store_release`: before, no kernel runs the object `acquire-release`
- from 7.0 on any program allocates arena pages, and the globals lie at the arena's end
";

const COST: &str = "
## Verifier cost

The instructions that the kernel's verifier followed, and the states that it kept, for each program alone. A number that grows from one
change to the next comes nearer to the limit, which is a million instructions.
";

const ELEMENTS: &str = "
## Verifier cost of elements of any size

As above, for a program that looks an element up in a map and pushes it to a typed queue, or pops it from there, and does nothing else.
The verifier follows the copy word by word, on each path that leads to it: there are three ways to a node of an MPSC queue.
";

/// The document. `why` says for each kernel what it is there for.
pub fn generate(kernels: &[Examined], why: &[&str], skips: &[Skip]) -> String {
    let mut text = INTRODUCTION.to_owned();
    text.push_str("\n| kernel | arena | object | hooks | mpsc | mpmc | load | tests | verdict |\n|---|---|---|---|---|---|---|---|---|\n");
    for kernel in kernels {
        let _ = writeln!(text, "| {} |", row(kernel).join(" | "));
    }
    text.push_str(LEGEND);
    text.push_str(KERNELS);
    text.push_str("\n| kernel | why |\n|---|---|\n");
    for (kernel, why) in kernels.iter().zip(why) {
        let _ = writeln!(text, "| {} | {why} |", kernel.release);
    }
    text.push_str("\n## What is missing\n");
    if !skips.is_empty() {
        text.push_str("\nOn no kernel:\n\n");
        text.extend(skips.iter().map(|skip| item(&format!("{}: {}", skip.test, skip.why))));
    }
    for kernel in kernels {
        text.push_str(&notes(kernel));
    }
    costs(&mut text, kernels);
    element_costs(&mut text, kernels);
    text
}

fn row(kernel: &Examined) -> Vec<String> {
    let mut row = vec![kernel.release.clone()];
    match &kernel.doctor {
        Ok(doctor) => row.extend([arena(doctor), object(kernel), hooks(doctor)]),
        Err(_) => row.extend(["?", "?", "?"].map(str::to_owned)),
    }
    row.extend(QUEUES.map(|queue| word(kernel.files.get(queue).is_some_and(Result::is_ok))));
    row.push(loads(kernel));
    row.push(tests(&kernel.tests));
    row.push(if kernel.works() { "works".to_owned() } else { "**does not work**".to_owned() });
    row
}

fn word(good: bool) -> String {
    if good { "ok" } else { "**failed**" }.to_owned()
}

fn arena(doctor: &Doctor) -> String {
    let check = doctor.checks.iter().find(|check| check.name == "arena");
    if check.is_some_and(Check::is_good) { "yes" } else { "**no**" }.to_owned()
}

/// What ran, not what could run.
fn object(kernel: &Examined) -> String {
    let summaries = kernel.files.values().flatten();
    let names: BTreeSet<_> =
        summaries.filter_map(|summary: &Summary| summary.instructions.as_deref()).collect();
    if names.is_empty() { "?".to_owned() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
}

fn loads(kernel: &Examined) -> String {
    let ran = kernel.loads.values().map(|loaded| match loaded {
        Ok(loaded) => loaded.instructions.as_str(),
        Err(_) => "**failed**",
    });
    if kernel.loads.is_empty() { "?".to_owned() } else { ran.collect::<Vec<_>>().join(", ") }
}

fn hooks(doctor: &Doctor) -> String {
    let hooks = doctor.checks.iter().filter_map(|check| Some((check, check.name.strip_prefix("hook ")?)));
    let (good, bad): (Vec<_>, Vec<_>) = hooks.partition(|(check, _)| check.is_good());
    let names =
        |checks: Vec<(&Check, &str)>| checks.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
    match (good.is_empty(), bad.is_empty()) {
        (false, true) => format!("all {}", good.len()),
        (false, false) => format!("{}; not {}", names(good), names(bad)),
        (true, _) => "none".to_owned(),
    }
}

fn tests(tests: &[(String, Tried<Outcome>)]) -> String {
    let outcomes = || tests.iter().filter_map(|(_, outcome)| outcome.as_ref().ok());
    let passed: u64 = outcomes().map(|outcome| outcome.passed).sum();
    let failed: usize = outcomes().map(|outcome| outcome.failed.len()).sum();
    let skipped: usize = outcomes().map(|outcome| outcome.skipped.len()).sum();
    let broken = tests.iter().filter(|(_, outcome)| outcome.is_err()).count();
    let broken = if broken == 0 { String::new() } else { format!(", **{broken} without a result**") };
    format!("{passed} / {failed} / {skipped}{broken}")
}

/// What failed, was skipped or was complained of on one kernel, as a section of the document.
pub fn notes(kernel: &Examined) -> String {
    let mut lines = Vec::new();
    match &kernel.doctor {
        Ok(doctor) => {
            let missing = doctor.checks.iter().filter(|check| !check.is_good());
            // A guest has no compiler.
            let missing = missing.filter(|check| check.name != "toolchain");
            lines.extend(missing.map(|check| format!("{}: {}", check.name, check.found)));
        }
        Err(error) => lines.push(format!("doctor: {error}")),
    }
    lines.extend(kernel.verifier.as_ref().err().map(|error| format!("verifier: {error}")));
    for (queue, summary) in &kernel.files {
        lines.extend(summary.as_ref().err().map(|error| format!("{queue}: {error}")));
    }
    for (object, loaded) in &kernel.loads {
        let what = object.map_or_else(|| "load".to_owned(), |object| format!("load, {object}"));
        lines.extend(loaded.as_ref().err().map(|error| format!("{what}: {error}")));
    }
    for (name, outcome) in &kernel.tests {
        match outcome {
            Ok(outcome) => {
                lines.extend(outcome.failed.iter().map(|test| format!("tests/{name}: {test} failed")));
                lines.extend(outcome.panics.iter().map(|panic| format!("tests/{name}: {panic}")));
                lines.extend(outcome.skipped.iter().map(|line| format!("tests/{name}: {line}")));
            }
            Err(error) => lines.push(format!("tests/{name}: {error}")),
        }
    }
    lines.extend(kernel.complaints.iter().map(|line| format!("the kernel complains: {line}")));
    let lines: String = if lines.is_empty() {
        "- nothing\n".to_owned()
    } else {
        lines.iter().map(|line| item(line)).collect()
    };
    format!("\n### Linux {}\n\n{lines}", kernel.release)
}

/// An item of a list that keeps its lines together.
fn item(text: &str) -> String {
    let escaped = text.trim().replace('<', "&lt;").replace('_', "\\_").replace('*', "\\*");
    format!("- {}\n", escaped.lines().collect::<Vec<_>>().join("\n  "))
}

fn costs(text: &mut String, kernels: &[Examined]) {
    text.push_str(COST);
    let releases: Vec<_> = kernels.iter().map(|kernel| kernel.release.as_str()).collect();
    let rule = "---|".repeat(3) + &"---:|".repeat(kernels.len());
    let _ = writeln!(text, "\n| program | hook | queue | {} |\n|{rule}", releases.join(" | "));
    for ((queue, hook, program), cells) in by_program(kernels) {
        let cells: Vec<_> =
            (0..kernels.len()).map(|kernel| cells.get(&kernel).map_or_else(String::new, cell)).collect();
        let _ = writeln!(text, "| `{program}` | {hook} | {queue} | {} |", cells.join(" | "));
    }
    for kernel in kernels {
        for cost in kernel.verifier.iter().flatten() {
            if let Some(error) = &cost.error {
                let line = format!("{}, {}, {}: {error}", kernel.release, cost.program, cost.queue);
                let _ = write!(text, "\n{}", item(&line));
            }
        }
    }
}

/// The costs by program, then by the number of the kernel.
fn by_program(kernels: &[Examined]) -> BTreeMap<(&str, &str, &str), BTreeMap<usize, &Cost>> {
    let mut rows: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for (number, kernel) in kernels.iter().enumerate() {
        for cost in kernel.verifier.iter().flatten() {
            let program = (cost.queue.as_str(), cost.hook.as_str(), cost.program.as_str());
            rows.entry(program).or_default().insert(number, cost);
        }
    }
    rows
}

/// A table for each object.
fn element_costs(text: &mut String, kernels: &[Examined]) {
    // By object, then by queue, operation and size, then by the number of the kernel.
    let mut tables: BTreeMap<_, BTreeMap<_, BTreeMap<_, _>>> = BTreeMap::new();
    for (number, kernel) in kernels.iter().enumerate() {
        for cost in kernel.tests.iter().flat_map(|(_, outcome)| outcome).flat_map(|outcome| &outcome.costs) {
            let OperationCost { instructions, queue, operation, bytes, verified_instructions, states } = cost;
            let table = tables.entry(instructions).or_default();
            let row = table.entry((queue, operation, bytes)).or_default();
            row.insert(number, format!("{verified_instructions} / {states}"));
        }
    }
    if tables.is_empty() {
        return;
    }
    text.push_str(ELEMENTS);
    for (object, rows) in tables {
        let columns: BTreeSet<_> = rows.values().flat_map(BTreeMap::keys).copied().collect();
        let releases: Vec<_> = columns.iter().map(|&number| kernels[number].release.as_str()).collect();
        let rule = "---|".repeat(2) + &"---:|".repeat(1 + columns.len());
        let _ = writeln!(
            text,
            "\nThe object `{object}`:\n\n| queue | operation | bytes | {} |\n|{rule}",
            releases.join(" | ")
        );
        for ((queue, operation, bytes), cells) in rows {
            let cells: Vec<_> =
                columns.iter().map(|number| cells.get(number).map_or("", String::as_str)).collect();
            let _ = writeln!(text, "| {queue} | {operation} | {bytes} | {} |", cells.join(" | "));
        }
    }
}

fn cell(cost: &&Cost) -> String {
    match (cost.verified_instructions, cost.states) {
        (Some(instructions), Some(states)) => format!("{instructions} / {states}"),
        _ => format!("refused ({})", cost.instructions),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::generate;
    use crate::kernels::examine::Examined;
    use crate::kernels::list::Skip;
    use crate::kernels::outcome::{OperationCost, Outcome};

    fn examined(release: &str) -> Examined {
        let doctor = json!({"can_run": true, "checks": [
            {"name": "arena", "verdict": "good", "found": "", "consequence": ""},
            {"name": "hook inode-create", "verdict": "good", "found": ""},
            {"name": "hook drive", "verdict": "limited", "found": "a_b refused"},
            {"name": "toolchain", "verdict": "limited", "found": "no rustc"},
        ]});
        let verifier = json!([
            {"program": "drive", "hook": "drive", "queue": "mpsc", "instructions": "tso",
             "verified_instructions": 900, "states": 30},
            {"program": "pop", "hook": "any", "queue": "mpsc", "instructions": "tso", "error": "too complex"},
        ]);
        let mut examined = Examined::new(release.to_owned());
        examined.doctor = Ok(serde_json::from_value(doctor).expect("a report"));
        examined.verifier = Ok(serde_json::from_value(verifier).expect("costs"));
        let loaded = json!({"instructions": "full-barrier", "account": [], "command_status": 0});
        examined.loads.insert(None, Err("refused".to_owned()));
        examined.loads.insert(Some("full-barrier"), Ok(serde_json::from_value(loaded).expect("an account")));
        let cost = |bytes| OperationCost {
            instructions: "tso".to_owned(),
            queue: "mpmc".to_owned(),
            operation: "push".to_owned(),
            bytes,
            verified_instructions: 100 + bytes,
            states: 9,
        };
        let costs = vec![cost(1024), cost(16)];
        let outcome = Outcome { passed: 7, failed: vec!["odd".into()], costs, ..Outcome::default() };
        examined.tests.push(("kernel".to_owned(), Ok(outcome)));
        examined.tests.push(("growth".to_owned(), Err("the guest hangs".to_owned())));
        examined
    }

    #[test]
    fn every_result_is_in_the_report() {
        let skips = [Skip { test: "a_million".to_owned(), why: "slow".to_owned() }];
        let text = generate(&[examined("6.12.1"), examined("7.2.1")], &["old", "new"], &skips);
        for line in [
            "| 6.12.1 | yes | ? | inode-create; not drive | **failed** | **failed** | **failed**, full-barrier | \
             7 / 1 / 0, **1 without a result** | **does not work** |",
            "| 7.2.1 | new |",
            "- a\\_million: slow",
            "- hook drive: a\\_b refused",
            "- load: refused",
            "- tests/kernel: odd failed",
            "- tests/growth: the guest hangs",
            "| `drive` | drive | mpsc | 900 / 30 | 900 / 30 |",
            "| `pop` | any | mpsc | refused (tso) | refused (tso) |",
            "- 7.2.1, pop, mpsc: too complex",
        ] {
            assert!(text.lines().any(|is| is == line), "`{line}` is missing in\n{text}");
        }
        let table = "The object `tso`:\n\n| queue | operation | bytes | 6.12.1 | 7.2.1 |\n|---|---|---:|---:|---:|\n\
                     | mpmc | push | 16 | 116 / 9 | 116 / 9 |\n| mpmc | push | 1024 | 1124 / 9 | 1124 / 9 |\n";
        assert!(text.ends_with(table), "{text}");
        assert!(!text.contains("no rustc"), "a guest has no compiler");
    }
}
