//! `docs/benchmarks.md`: how it is measured, what is promised, and where that holds.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::ceiling::Ceiling;
use crate::goals::{self, Bound, Goal, Seen};
use crate::plot::figure;
use crate::results::{Apart, Results};

const METHOD: &str = "\
## How it is measured

- Candidates take turns. In each round every candidate of a table runs once, in an order that changes from round
  to round. What disturbs the machine then disturbs all, and a ratio is the median of the rounds' ratios. Opening a
  file takes a hundred times as long as telling of it, and differs more from one moment to the next: *opens* has many short rounds.
- A number is the median over the rounds, with the distance between the quartiles in percent of it. A difference
  smaller than that says nothing.
- Threads are pinned: producers from the first CPU on, consumers from the last one back. Where there are more
  threads than CPUs they share them evenly.
- What one thread does alone is timed by the CPU time that it had, everything else by the clock. CPUs that push at once, and nothing
  else, do so for 10 µs: they spin until all are there, as a thread that has to be woken comes when the others have ended.
- The compiler puts the beginning of each loop, also of a peer's, at a cache line: else where the linker puts a short loop decides
  how fast it is, by a tenth for one thread, and by more where two threads hand over single elements.
- Each run of a queue of userspace is a process of its own, so one that hangs or crashes is ended and said to.
  Every element is accounted for: a queue that loses one has failed.
- In the kernel nothing is attached: programs run because userspace runs them, on the CPU of the thread that does. Only
  *opens* attaches one, behind the system calls of its own process.
- Of one size or mixed: 16 sizes from 16 to 1,024 bytes, 166 on average, come in the same order by each way. Records, the
  ring buffer's output and the perf buffer are told the size when it is known; a reservation in the ring buffer needs a
  constant, so its program has a case for each size. What does not fit on the stack is built in a buffer of the CPU.
- The records of a shard are in their order, those of two CPUs are not, and a lane of each CPU has as much memory as the
  ring buffer has for all.
- A result is also shown as a multiple of the *limit* that binds it, measured in the same rounds: on one CPU a
  locked read-modify-write, between two CPUs the transfer of a cache line.
- Peers are used through their own libraries; for those of the kernel that is libbpf, as libbpf-rs wraps it.
- From BPF, consumers of ours back off when they find less than 64 elements, for longer each time until they give the
  CPU away. The peers' look again at once, but for the one whose name says *backoff*.
";

const RUN: &str = "\
## To run it

```console
$ cargo xtask bench                  # everything; writes this file, and docs/benchmarks/ for this processor
$ cargo xtask bench --quick          # under 4 minutes; writes to target/bench
$ cargo xtask bench --only kernel    # one part of limits, user, kernel, opens, growth; writes to target/bench
$ cargo xtask bench --json           # every figure and every ratio, by name
$ cargo xtask bench --render         # nothing; makes this file and the pages of docs/benchmarks/*.json
$ cargo xtask instructions           # what noise hides: the instructions of each operation
```
";

/// The page, of the results of every processor that was measured.
///
/// # Errors
///
/// Never: text can always be written to a string.
pub fn document(all: &[Results]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    writeln!(text, "# Benchmarks\n")?;
    writeln!(
        text,
        "arenaq against its peers, and against what the machine allows. `cargo xtask bench` writes this file, and a \
         page with every table and picture for the processor that it runs on.\n"
    )?;
    machines(&mut text, all)?;
    without_records(&mut text, all)?;
    promises(&mut text, all)?;
    arithmetic(&mut text, all)?;
    text.push('\n');
    text.push_str(METHOD);
    text.push('\n');
    text.push_str(RUN);
    Ok(text)
}

/// What a reader must know of each machine, a column for each.
fn machines(text: &mut String, all: &[Results]) -> std::fmt::Result {
    header(text, "processor", all.iter().map(|results| results.machine.processor.as_str()))?;
    let mut row = |name: &str, of: &dyn Fn(&Results) -> String| {
        let cells: Vec<_> = all.iter().map(of).collect();
        writeln!(text, "| {name} | {} |", cells.join(" | "))
    };
    row("details", &|results| {
        format!("[every table and picture](benchmarks/{}.md)", results.machine.file_name())
    })?;
    row("measured", &|results| {
        results.machine.day() + if results.quick { ", a quick run, which says little" } else { "" }
    })?;
    row("CPUs", &|results| {
        let below = if results.machine.virtualised { ", in a virtual machine" } else { "" };
        format!("{}{below}", results.machine.cpus)
    })?;
    row("kernel", &|results| format!("Linux {}, {}", results.machine.kernel, results.machine.architecture))?;
    row("load before the run", &|results| format!("{:.2}", results.machine.load))?;
    row("a locked instruction", &|results| limit(results, "locked-rmw"))?;
    row("a cache line from CPU to CPU", &|results| limit(results, "line-transfer"))?;
    row("reserve and submit of the ring buffer", &|results| {
        time(results, "kernel.push.16", "ringbuf-reserve")
    })?;
    writeln!(
        text,
        "\nWhat a queue takes alone is the number of its locked instructions, so it differs between processors as \
         they do; the ring buffer's time is more than its locked instructions, and differs less. A promise against \
         it may therefore hold on one processor and not on another.\n"
    )
}

/// The first row of a table with a column for each processor, and the line under it.
fn header<'a>(text: &mut String, first: &str, names: impl Iterator<Item = &'a str>) -> std::fmt::Result {
    let names: Vec<_> = names.collect();
    writeln!(text, "| {first} | {} |", names.join(" | "))?;
    writeln!(text, "|---|{}", "---|".repeat(names.len()))
}

fn limit(results: &Results, candidate: &str) -> String {
    time(results, "limits", candidate)
}

fn time(results: &Results, group: &str, candidate: &str) -> String {
    let summary =
        results.group(group).and_then(|group| Some((group.unit, group.entry(candidate)?.summary()?)));
    summary.map_or("not measured".to_owned(), |(unit, summary)| {
        format!("{} {}", figure(summary.median), unit.symbol())
    })
}

/// Each promise once, in the order in which the processors name them: also those that none has measured.
fn promised(all: &[Results]) -> Vec<(Goal, BTreeMap<usize, Seen>)> {
    let mut promised: Vec<_> = goals::fixed().map(|goal| (goal, BTreeMap::new())).collect();
    for (column, results) in all.iter().enumerate() {
        for seen in goals::seen(results) {
            match promised.iter_mut().find(|(goal, _)| goal.figure == seen.goal.figure) {
                Some((_, columns)) => _ = columns.insert(column, seen),
                None => promised.push((seen.goal.clone(), BTreeMap::from([(column, seen)]))),
            }
        }
    }
    promised
}

fn promises(text: &mut String, all: &[Results]) -> std::fmt::Result {
    let promised = promised(all);
    writeln!(text, "## What is promised, and what was seen\n")?;
    writeln!(
        text,
        "A ratio says how many times as good as the peer ours is. Each cell is the median of the rounds, the quartiles, \
         and whether the promise is kept on that processor. *Apart* says that in those rounds, or in all, the host had the CPUs \
         of the virtual machine further apart than in others of the run: a cache line took more than twice as long from the one \
         to the other as it did in a quarter of the rounds.\n"
    )?;
    let names = ["must be"].into_iter().chain(all.iter().map(|results| results.machine.processor.as_str()));
    header(text, "promise", names.chain(["kept"]))?;
    for (goal, columns) in &promised {
        let cells: Vec<_> = (0..all.len()).map(|column| cell(columns.get(&column))).collect();
        let kept = kept(all, columns);
        writeln!(text, "| {} | {} | {} | {kept} |", goal.what, goal.bound, cells.join(" | "))?;
    }
    Ok(())
}

/// Results of before there were records.
fn without_records(text: &mut String, all: &[Results]) -> std::fmt::Result {
    let has = |results: &&Results| {
        results
            .groups
            .iter()
            .any(|group| group.name.starts_with("kernel.") && group.entry("records").is_some())
    };
    for results in all.iter().filter(|results| !has(results)) {
        writeln!(
            text,
            "**{}**: its run was before there were records, or could not measure them from BPF: it has no row of theirs, and \
             their promises are *not measured*.\n",
            results.machine.processor
        )?;
    }
    Ok(())
}

/// Of pushes alone that do not keep their promise: what their locked instructions allow.
fn arithmetic(text: &mut String, all: &[Results]) -> std::fmt::Result {
    let mut lines = String::new();
    for results in all {
        for seen in goals::seen(results) {
            let (Bound::AtLeast(least), Some(value)) = (seen.goal.bound, seen.value) else { continue };
            let Some(ceiling) = Ceiling::of(results, &seen.goal.figure) else { continue };
            if seen.goal.bound.holds(value) {
                continue;
            }
            let verdict = if ceiling.at_most() < least {
                "less than is promised, so it cannot be kept on this processor"
            } else {
                "more than is promised, so it is the rest of the push that takes too long"
            };
            let (locked, s) = (ceiling.locked, if ceiling.locked == 1 { "" } else { "s" });
            let written = ceiling.written.map_or_else(String::new, |written| {
                format!(
                    " (with the words of a record {}, and nothing else, {} ns)",
                    written.how,
                    figure(written.takes)
                )
            });
            writeln!(
                lines,
                "- {}, `{}`: {locked} locked instruction{s} of {} ns{written}, with the loop, of the {} ns that the ring \
                 buffer takes, allow at most {}: {verdict}.",
                results.machine.processor,
                seen.goal.figure,
                figure(ceiling.each),
                figure(ceiling.peer),
                figure(ceiling.at_most()),
            )?;
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "\nWhere a push alone does not keep its promise, this is what its locked instructions take:\n\n{}",
        lines.trim_end()
    )
}

fn cell(seen: Option<&Seen>) -> String {
    let Some(seen) = seen else { return "not measured".to_owned() };
    seen.value.map_or("not measured".to_owned(), |value| {
        let quartiles = format!("{} to {}", figure(value.low), figure(value.high));
        let apart = match seen.apart {
            None => String::new(),
            Some(Apart { rounds, of, .. }) if rounds == of => ", *apart*".to_owned(),
            Some(Apart { rounds, of, .. }) => format!(", *apart* in {rounds} of {of}"),
        };
        format!("{} ({quartiles}): {}{apart}", figure(value.median), seen.verdict())
    })
}

/// Where a promise is kept. One that was measured nowhere is not kept.
fn kept(all: &[Results], columns: &BTreeMap<usize, Seen>) -> String {
    let holds =
        |column: &usize| columns.get(column).and_then(|seen| Some(seen.goal.bound.holds(seen.value?)));
    let on: Vec<_> = (0..all.len()).filter(|column| holds(column) == Some(true)).collect();
    let measured = (0..all.len()).filter(|column| holds(column).is_some()).count();
    match (measured, on.len()) {
        (0, _) => "not measured".to_owned(),
        (_, 0) => "**NO**".to_owned(),
        (_, kept) if kept == all.len() => "yes".to_owned(),
        _ => {
            let names: Vec<_> = on.iter().map(|column| all[*column].machine.processor.as_str()).collect();
            format!("**only on {}**", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::document;
    use crate::machine::Machine;
    use crate::results::tests::{entry, group};
    use crate::results::{Group, Results, Role, Unit};

    /// A processor on which the ring buffer takes `ringbuf` times as long as a push.
    fn results(processor: &str, ringbuf: f64) -> Results {
        let machine = Machine { processor: processor.to_owned(), ..Machine::default() };
        let limits = Group {
            name: "limits".to_owned(),
            limit: None,
            entries: vec![entry("locked-rmw", Role::Limit, &[2.0])],
            ..group(Unit::Nanoseconds)
        };
        let push = Group {
            name: "kernel.push.16".to_owned(),
            limit: None,
            entries: vec![
                entry("mpmc", Role::Ours, &[1.0]),
                entry("ringbuf-reserve", Role::Peer, &[ringbuf]),
            ],
            ..group(Unit::Nanoseconds)
        };
        Results { machine, quick: false, groups: vec![limits, push], skipped: Vec::new() }
    }

    const PROMISE: &str = "| push alone in BPF, MPMC against reserve and submit | ≥ 4 |";

    #[test]
    fn a_promise_that_one_processor_keeps_names_it() {
        let text = document(&[results("A", 5.0), results("B", 2.0)]).expect("text");
        let row = format!("{PROMISE} 5 (5 to 5): yes | 2 (2 to 2): **NO** | **only on A** |\n");
        assert!(text.contains(&row), "{text}");
    }

    #[test]
    fn a_promise_that_both_or_none_keep_says_so() {
        let text = document(&[results("A", 5.0), results("B", 8.0)]).expect("text");
        assert!(text.contains(&format!("{PROMISE} 5 (5 to 5): yes | 8 (8 to 8): yes | yes |\n")), "{text}");
        let text = document(&[results("A", 2.0), results("B", 2.0)]).expect("text");
        assert!(text.contains("2 (2 to 2): **NO** | 2 (2 to 2): **NO** | **NO** |\n"), "{text}");
    }

    #[test]
    fn a_promise_that_one_processor_has_not_measured_is_not_kept_everywhere() {
        let without = Results { groups: Vec::new(), ..results("B", 2.0) };
        let text = document(&[results("A", 5.0), without]).expect("text");
        assert!(text.contains("5 (5 to 5): yes | not measured | **only on A** |\n"), "{text}");
    }

    #[test]
    fn a_promise_that_locked_instructions_forbid_has_its_arithmetic() {
        let mut slow = results("B", 5.0);
        slow.groups[1].limit = Some("locked-rmw".to_owned());
        slow.groups[1].entries[0] = entry("mpmc", Role::Ours, &[4.0]);
        slow.groups[1].entries.push(entry("locked-rmw", Role::Limit, &[2.0]));
        let text = document(&[results("A", 5.0), slow]).expect("text");
        let line = "- B, `kernel.push.16.mpmc/ringbuf-reserve`: 2 locked instructions of 2 ns, with the loop, of the 5 ns that \
                    the ring buffer takes, allow at most 1.25: less than is promised, so it cannot be kept on this processor.\n";
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("- A, `kernel.push"), "{text}");
    }

    #[test]
    fn a_processor_that_has_no_records_yet_is_named() {
        let mut with = results("A", 5.0);
        with.groups[1].entries.push(entry("records", Role::Ours, &[1.0]));
        let text = document(&[with, results("B", 5.0)]).expect("text");
        assert!(text.contains("**B**: its run was before there were records"), "{text}");
        assert!(!text.contains("**A**: its run"), "{text}");
    }

    #[test]
    fn a_promise_that_nobody_has_measured_is_told() {
        let text = document(&[results("A", 5.0)]).expect("text");
        let row = "| the same, what records lose, in percent | ≤ 0 | not measured | not measured |\n";
        assert!(text.contains(row), "{text}");
    }

    #[test]
    fn each_processor_has_its_page_and_its_locked_instruction() {
        let text = document(&[results("A", 5.0), results("B", 2.0)]).expect("text");
        assert!(text.starts_with("# Benchmarks\n"), "{text}");
        assert!(text.contains("| processor | A | B |\n|---|---|---|\n"), "{text}");
        assert!(
            text.contains("(benchmarks/a.md) | [every table and picture](benchmarks/b.md) |\n"),
            "{text}"
        );
        assert!(text.contains("| a locked instruction | 2 ns | 2 ns |\n"), "{text}");
    }
}
