//! The document of what works on which kernel: `docs/kernels.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::arch::Arch;
use crate::files::{QUEUES, Summary};
use crate::kernels::examine::{Check, Cost, Doctor, Examined, Tried};
use crate::kernels::list::List;
use crate::kernels::outcome::{MachineAccess, OperationCost, Outcome};
use crate::version::Version;

const INTRODUCTION: &str = "# Kernels

What works on which kernel. `cargo xtask kernels` boots each kernel in virtual machines, one for each test program and one for all else, and
writes this file from what it keeps in [`kernels/`](kernels). [`vm.md`](vm.md) says how. A row alone is made anew by

```console
$ cargo xtask kernels --arch arm64 --only 6.18
```
";

const LEGEND: &str = "
- *object*: the BPF object that this kernel is given.
- *hooks*: those on which a program can be attached.
- *mpsc*, *mpmc*, *records*: four processes create 100,000 files on four processors, at least 5,000 under emulation; each is
  one event of `lsm.s/inode_create`. *ok*: produced, consumed, dropped and left add up, no event is out of its task's order, and
  `verify` says `SUCCESS`.
- *load*: the objects of the example `opensnoop` that `arenaq load` ran: the one that it chose, and the one that it was asked for. Each
  of 1,000 files that a command opens is one line with the file's name, and the account is exact.
- *tests*: passed, failed and skipped tests of `harness/tests`. Those of `elements.rs` push and pop elements of 8 to 4,096 bytes through
  typed queues of both kinds, from C in the kernel and from Rust outside it, with every object that the kernel can run; those of
  `records.rs` push records of every size up to that. Under emulation `pinned.rs` kills 8 consumers in place of 30 and more.
- *took*: how long the row took from its first guest to the end of its last, beside which those of the next row run already, and how the
  guest's instructions were run.
";

const KERNELS: &str = "
## Why these

The kernels follow from the rule in [`crates/vm/kernels.toml`](../crates/vm/kernels.toml). What differs between them:

- from 6.15 on there are `load_acquire` and `store_release`: before, no kernel runs the object `acquire-release`
- from 7.0 on any program allocates arena pages, and the globals lie at the arena's end
";

const CIRCUMSTANCES: &str = "
## Many processors, preemption

The tests of the named programs, in guests that are booted otherwise than those above. A row alone is made anew by
`cargo xtask kernels --arch ARCH --under NAME`.

| kernel | architecture | name | what it is | tests of | passed / failed / skipped | took | seen on |
|---|---|---|---|---|---|---|---|
";

const MACHINE: &str = "
## The processor's instructions

What the kernel's compiler made of each access of a site, read from the loaded programs (`harness/tests/machine.rs`): in each function,
one instruction for each that the BPF has, of that kind and in that order.
";

const COST: &str = "
## Verifier cost

The instructions that the kernel's verifier followed, and the states that it kept, for each program alone. A number that grows from one
change to the next comes nearer to the limit, which is a million instructions.
";

const ELEMENTS: &str = "
## Verifier cost of elements of any size

As above, for a program that looks an element up in a map and pushes it to a typed queue, or pops it from there, and does nothing else.
The verifier follows the copy word by word, a load and a store each; more than 512 bytes are copied in a loop. Of records,
a program that takes one of that size and gives it away.
";

/// The document, of all that is kept.
pub fn generate(all: &[Examined], list: &List) -> String {
    let (special, kernels): (Vec<_>, Vec<_>) =
        all.iter().partition(|examined| examined.subject.circumstance.is_some());
    let mut text = INTRODUCTION.to_owned();
    for arch in Arch::ALL {
        let rows: Vec<_> = kernels.iter().filter(|examined| examined.subject.arch == arch).collect();
        if rows.is_empty() {
            continue;
        }
        let _ = writeln!(
            text,
            "\n## {arch}\n\n| kernel | arena | object | hooks | {} | load | tests | took | seen on | verdict |\n|{}",
            QUEUES.join(" | "),
            "---|".repeat(9 + QUEUES.len())
        );
        for kernel in rows {
            let _ = writeln!(text, "| {} |", row(kernel).join(" | "));
        }
    }
    text.push_str(LEGEND);
    text.push_str(KERNELS);
    text.push_str("\n| kernel | why |\n|---|---|\n");
    for kernel in &kernels {
        let _ = writeln!(text, "| {} | {} |", kernel.subject.release, kernel.subject.why);
    }
    if !special.is_empty() {
        text.push_str(CIRCUMSTANCES);
        for examined in &special {
            let _ = writeln!(text, "| {} |", circumstance(examined, list).join(" | "));
        }
    }
    text.push_str("\n## What is missing\n");
    if !list.skips.is_empty() {
        text.push_str("\nOn no kernel:\n\n");
        text.extend(list.skips.iter().map(|skip| item(&format!("{}: {}", skip.test, skip.why))));
    }
    for kernel in kernels.iter().chain(&special) {
        text.push_str(&notes(kernel));
    }
    machine(&mut text, &kernels);
    costs(&mut text, &kernels);
    element_costs(&mut text, &kernels);
    text
}

fn row(kernel: &Examined) -> Vec<String> {
    let mut row = vec![kernel.subject.release.clone()];
    match &kernel.doctor {
        Ok(doctor) => row.extend([arena(doctor), object(kernel), hooks(doctor)]),
        Err(_) => row.extend(["?", "?", "?"].map(str::to_owned)),
    }
    row.extend(QUEUES.map(|queue| word(kernel.files.get(queue).is_some_and(Result::is_ok))));
    row.push(loads(kernel));
    row.push(tests(&kernel.tests));
    row.push(took(kernel));
    row.push(kernel.day());
    row.push(if kernel.works() { "works".to_owned() } else { "**does not work**".to_owned() });
    row
}

fn circumstance(examined: &Examined, list: &List) -> Vec<String> {
    let subject = &examined.subject;
    let name = subject.circumstance.as_deref().unwrap_or_default();
    let what = list.circumstance(name).map_or_else(|_| "?".to_owned(), |it| it.what.clone());
    let programs: Vec<_> = examined.tests.iter().map(|(name, _)| format!("`{name}`")).collect();
    vec![
        subject.release.clone(),
        subject.arch.to_string(),
        name.to_owned(),
        what,
        programs.join(", "),
        tests(&examined.tests),
        took(examined),
        examined.day(),
    ]
}

fn took(examined: &Examined) -> String {
    let seconds = examined.seconds.round();
    let minutes = (seconds / 60.0).floor();
    format!("{minutes:.0} min {:.0} s, {}", seconds - 60.0 * minutes, examined.subject.accelerator)
}

/// The kernel as the head of a column: `6.18.15, arm64`.
fn column(kernel: &Examined) -> String {
    let version = Version::of_any_release(&kernel.subject.release).map(|version| version.point().to_string());
    format!("{}, {}", version.as_deref().unwrap_or(&kernel.subject.release), kernel.subject.arch)
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
    let ran = kernel.loads.iter().map(|(_, loaded)| match loaded {
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
    let is_special = kernel.subject.circumstance.is_some();
    match &kernel.doctor {
        Ok(doctor) => {
            let missing = doctor.checks.iter().filter(|check| !check.is_good());
            // A guest has no compiler.
            let missing = missing.filter(|check| check.name != "toolchain");
            lines.extend(missing.map(|check| format!("{}: {}", check.name, check.found)));
        }
        Err(error) => lines.extend((!is_special).then(|| format!("doctor: {error}"))),
    }
    let verifier = kernel.verifier.as_ref().err().filter(|_| !is_special);
    lines.extend(verifier.map(|error| format!("verifier: {error}")));
    for (queue, summary) in &kernel.files {
        lines.extend(summary.as_ref().err().map(|error| format!("{queue}: {error}")));
    }
    for (object, loaded) in &kernel.loads {
        let what = object.as_ref().map_or_else(|| "load".to_owned(), |object| format!("load, {object}"));
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
    let circumstance = kernel.subject.circumstance.iter().map(|name| format!(", {name}")).collect::<String>();
    format!("\n### Linux {}{circumstance}\n\n{lines}", kernel.subject.release)
}

/// An item of a list that keeps its lines together.
fn item(text: &str) -> String {
    let escaped = text.trim().replace('<', "&lt;").replace('_', "\\_").replace('*', "\\*");
    format!("- {}\n", escaped.lines().collect::<Vec<_>>().join("\n  "))
}

/// What the accesses of each object are on each kernel.
fn machine(text: &mut String, kernels: &[&Examined]) {
    let mut rows: BTreeMap<_, BTreeMap<usize, Vec<String>>> = BTreeMap::new();
    for (number, kernel) in kernels.iter().enumerate() {
        for seen in kernel.tests.iter().flat_map(|(_, outcome)| outcome).flat_map(|outcome| &outcome.machine)
        {
            let MachineAccess { instructions, access, bpf, machine, times } = seen;
            let cells = rows.entry((instructions, access, bpf)).or_default();
            cells.entry(number).or_default().push(format!("`{machine}` ×{times}"));
        }
    }
    if rows.is_empty() {
        return;
    }
    text.push_str(MACHINE);
    let columns: BTreeSet<_> = rows.values().flat_map(BTreeMap::keys).copied().collect();
    let heads: Vec<_> = columns.iter().map(|&number| column(kernels[number])).collect();
    let _ = writeln!(
        text,
        "\n| object | access | in BPF | {} |\n|{}",
        heads.join(" | "),
        "---|".repeat(3 + heads.len())
    );
    for ((object, access, bpf), cells) in rows {
        let cells: Vec<_> = columns
            .iter()
            .map(|number| cells.get(number).map_or_else(String::new, |it| it.join(", ")))
            .collect();
        let _ = writeln!(text, "| {object} | {access} | `{bpf}` | {} |", cells.join(" | "));
    }
}

fn costs(text: &mut String, kernels: &[&Examined]) {
    text.push_str(COST);
    let releases: Vec<_> = kernels.iter().map(|kernel| column(kernel)).collect();
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
                let line = format!("{}, {}, {}: {error}", column(kernel), cost.program, cost.queue);
                let _ = write!(text, "\n{}", item(&line));
            }
        }
    }
}

/// The costs by program, then by the number of the kernel.
fn by_program<'a>(
    kernels: &[&'a Examined],
) -> BTreeMap<(&'a str, &'a str, &'a str), BTreeMap<usize, &'a Cost>> {
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
fn element_costs(text: &mut String, kernels: &[&Examined]) {
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
        let releases: Vec<_> = columns.iter().map(|&number| column(kernels[number])).collect();
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
    use crate::arch::Arch;
    use crate::kernels::examine::Examined;
    use crate::kernels::examine::tests::subject;
    use crate::kernels::list::List;
    use crate::kernels::outcome::{MachineAccess, OperationCost, Outcome};

    const LIST: &str = "long-term = [\"6.12\"]\ntests = [\"growth\"]\n[[skip]]\ntest = \"a_million\"\nwhy = \"slow\"\n\
        [[circumstance]]\nname = \"crowd\"\nwhat = \"many processors\"\ntests = []\ncpus = 72\n";

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
        let mut examined = Examined::new(subject(release));
        examined.time = 1_795_275_679;
        examined.seconds = 185.2;
        examined.doctor = Ok(serde_json::from_value(doctor).expect("a report"));
        examined.verifier = Ok(serde_json::from_value(verifier).expect("costs"));
        let loaded = json!({"instructions": "full-barrier", "account": [], "command_status": 0});
        let asked = Some("full-barrier".to_owned());
        examined.loads.push((None, Err("refused".to_owned())));
        examined.loads.push((asked, Ok(serde_json::from_value(loaded).expect("an account"))));
        let cost = |bytes| OperationCost {
            instructions: "tso".to_owned(),
            queue: "mpmc".to_owned(),
            operation: "push".to_owned(),
            bytes,
            verified_instructions: 100 + bytes,
            states: 9,
        };
        let costs = vec![cost(1024), cost(16)];
        let machine = MachineAccess {
            instructions: "tso".to_owned(),
            access: "swap".to_owned(),
            bpf: "xchg".to_owned(),
            machine: "xchg".to_owned(),
            times: 3,
        };
        let failed = vec!["odd".into()];
        let outcome = Outcome { passed: 7, failed, costs, machine: vec![machine], ..Outcome::default() };
        examined.tests.push(("kernel".to_owned(), Ok(outcome)));
        examined.tests.push(("growth".to_owned(), Err("the guest hangs".to_owned())));
        examined
    }

    #[test]
    fn every_result_is_in_the_report() {
        let list: List = toml::from_str(LIST).expect("a list");
        let mut arm = examined("7.2.1+deb13-cloud-arm64");
        arm.subject.arch = Arch::Arm64;
        let mut special = Examined::new(subject("7.2.1+deb13-cloud-amd64"));
        special.subject.circumstance = Some("crowd".to_owned());
        special.tests.push(("kernel".to_owned(), Ok(Outcome { passed: 13, ..Outcome::default() })));
        special.time = 1_795_275_679;
        let text = generate(&[examined("6.12.1+deb13-cloud-amd64"), arm, special], &list);
        for line in [
            "## arm64",
            "| 6.12.1+deb13-cloud-amd64 | yes | ? | inode-create; not drive | **failed** | **failed** | **failed** | \
             **failed**, full-barrier | 7 / 1 / 0, **1 without a result** | 3 min 5 s, emulation | 2026-11-21 | \
             **does not work** |",
            "| 7.2.1+deb13-cloud-arm64 | the newest |",
            "| 7.2.1+deb13-cloud-amd64 | x86-64 | crowd | many processors | `kernel` | 13 / 0 / 0 | 0 min 0 s, emulation | \
             2026-11-21 |",
            "### Linux 7.2.1+deb13-cloud-amd64, crowd",
            "- a\\_million: slow",
            "- hook drive: a\\_b refused",
            "- load: refused",
            "- tests/kernel: odd failed",
            "- tests/growth: the guest hangs",
            "| object | access | in BPF | 6.12.1, x86-64 | 7.2.1, arm64 |",
            "| tso | swap | `xchg` | `xchg` ×3 | `xchg` ×3 |",
            "| `drive` | drive | mpsc | 900 / 30 | 900 / 30 |",
            "| `pop` | any | mpsc | refused (tso) | refused (tso) |",
            "- 7.2.1, arm64, pop, mpsc: too complex",
        ] {
            assert!(text.lines().any(|is| is == line), "`{line}` is missing in\n{text}");
        }
        let table = "The object `tso`:\n\n| queue | operation | bytes | 6.12.1, x86-64 | 7.2.1, arm64 |\n|---|---|---:|---:|---:|\n\
                     | mpmc | push | 16 | 116 / 9 | 116 / 9 |\n| mpmc | push | 1024 | 1124 / 9 | 1124 / 9 |\n";
        assert!(text.ends_with(table), "{text}");
        assert!(!text.contains("no rustc"), "a guest has no compiler");
        assert!(text.contains("crowd\n\n- nothing\n"), "what was not to be tried is not missing:\n{text}");
    }

    #[test]
    fn a_minute_has_less_than_sixty_seconds() {
        let mut examined = Examined::new(subject("7.3.4"));
        for (seconds, text) in [(239.7, "4 min 0 s"), (239.4, "3 min 59 s"), (59.9, "1 min 0 s")] {
            examined.seconds = seconds;
            assert_eq!(super::took(&examined), format!("{text}, emulation"));
        }
    }
}
