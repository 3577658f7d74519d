//! The page of one processor, `docs/benchmarks/PROCESSOR.md`: every table and every picture.

mod opens;
mod why;

use std::collections::BTreeMap;
use std::fmt::Write;

use self::why::why;
use crate::ceiling::{self, Ceiling};
use crate::plot::{Plot, figure};
use crate::results::{Apart, Entry, Group, Results, Role, Unit};
use crate::statistics::Summary;

/// What the ends of our candidates' names say, for those that were measured.
const NAMES: [(&str, &str); 5] = [
    (
        "-uncounted",
        "a queue that does not maintain the seeds' counter, with `arenaq::count::Uncounted` in Rust and\n  \
         `ARENAQ_UNCOUNTED` in C.",
    ),
    (
        "-typed",
        "a queue with a name, `ARENAQ_MPMC` or `ARENAQ_MPSC`, of elements of any type, through `arenaq_push`. It has no\n  \
         counter: `Uncounted` is its default. The program builds each element on its stack.",
    ),
    (
        "-owned",
        "a queue in plain Rust, `mpmc::Queue` or `mpsc::queue`: without `unsafe`, of any `T: Send`. It has no counter\n  \
         either.",
    ),
    (
        "records",
        "records of any size, `ARENAQ_RECORDS`, with a shard for each CPU: from BPF built in place, by `arenaq_reserve` and
  \
         `arenaq_commit`. Each shard's come in their order.",
    ),
    (
        "-scratch",
        "the same, built in scratch memory that is the producer's alone, and copied: `arenaq_begin` and `arenaq_submit`.",
    ),
];

/// The whole page; its pictures are in the folder beside it that has its name.
///
/// # Errors
///
/// Never: text can always be written to a string.
pub fn document(results: &Results, plots: &[Plot]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    introduction(&mut text, results)?;
    names(&mut text, results)?;
    limits(&mut text, results)?;
    moved(&mut text, results)?;
    kernel(&mut text, results, plots)?;
    opens::section(&mut text, results)?;
    user(&mut text, results)?;
    growth(&mut text, results, plots)?;
    missing(&mut text, results)?;
    Ok(text)
}

fn introduction(text: &mut String, results: &Results) -> std::fmt::Result {
    let machine = &results.machine;
    writeln!(text, "# Benchmarks: {}\n", machine.processor)?;
    writeln!(
        text,
        "What [`cargo xtask bench`](../benchmarks.md) measured on this processor, and writes here. How it measures, \
         and what is promised, is said [there](../benchmarks.md).\n"
    )?;
    if results.quick {
        writeln!(
            text,
            "> A quick run: few short rounds. Its numbers say that everything works, and little more.\n"
        )?;
    }
    writeln!(text, "| | |\n|---|---|")?;
    writeln!(text, "| measured | {} |", machine.day())?;
    writeln!(text, "| processor | {} |", machine.processor)?;
    let below = if machine.virtualised { ", in a virtual machine" } else { "" };
    writeln!(text, "| CPUs | {}{below} |", machine.cpus)?;
    writeln!(text, "| kernel | Linux {}, {} |", machine.kernel, machine.architecture)?;
    writeln!(text, "| compiler | {} |", machine.rustc)?;
    writeln!(text, "| load before the run | {:.2} |", machine.load)?;
    let rounds = |opens: bool| {
        let groups = results.groups.iter().filter(|group| group.name.starts_with("opens.") == opens);
        groups.flat_map(|group| &group.entries).map(|entry| entry.rounds.len()).max()
    };
    let opens = rounds(true).map(|rounds| format!("{rounds} of *opens*"));
    let rounds: Vec<_> = rounds(false).map(|rounds| rounds.to_string()).into_iter().chain(opens).collect();
    writeln!(text, "| rounds | {} |\n", rounds.join(", "))
}

fn names(text: &mut String, results: &Results) -> std::fmt::Result {
    let measured = |end: &str| {
        let mut all = results.groups.iter().flat_map(|group| &group.entries);
        all.any(|entry| entry.role == Role::Ours && entry.candidate.ends_with(end))
    };
    let names: Vec<_> = NAMES.into_iter().filter(|(end, _)| measured(end)).collect();
    if !names.is_empty() {
        writeln!(text, "## What the names of ours end with\n")?;
    }
    for (end, meaning) in names {
        writeln!(text, "- *{}*: {meaning}", end.trim_start_matches('-'))?;
    }
    Ok(())
}

fn limits(text: &mut String, results: &Results) -> std::fmt::Result {
    let Some(group) = results.group("limits") else { return Ok(()) };
    writeln!(text, "\n## Limits\n")?;
    table(text, group)
}

/// What was measured while the CPUs were further apart than elsewhere in this run.
fn moved(text: &mut String, results: &Results) -> std::fmt::Result {
    let mut rows = results.groups.iter().filter_map(|group| Some((group, results.apart(group)?))).peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    writeln!(
        text,
        "\n## When the CPUs were apart\n\nThe host moves the CPUs of a virtual machine. In these rounds a cache line took more than \
         twice as long from the one to the other as it did in a quarter of all: whoever hands over the most lines lost the most.\n"
    )?;
    writeln!(text, "| table | rounds | a cache line |\n|---|---:|---:|")?;
    for (group, Apart { rounds, of, transfer }) in rows {
        writeln!(text, "| {} | {rounds} of {of} | {} ns |", group.name, figure(transfer))?;
    }
    Ok(())
}

/// A median and its noise.
fn cell(summary: Summary) -> String {
    format!("{} ±{:.0}%", figure(summary.median), 100.0 * summary.spread())
}

fn label(entry: &Entry) -> String {
    match entry.role {
        Role::Ours => format!("**{}**", entry.candidate),
        Role::LockingPeer => format!("{} (locks)", entry.candidate),
        Role::SpscPeer => format!("{} (one producer)", entry.candidate),
        Role::Limit => format!("*{}*", entry.candidate),
        Role::Peer => entry.candidate.clone(),
    }
}

/// One group: a row for each candidate.
fn table(text: &mut String, group: &Group) -> std::fmt::Result {
    // Of two percentages, one is often zero.
    let is_compared = |entry: &Entry| entry.role == Role::Ours && group.unit != Unit::Percent;
    let ours: Vec<_> =
        group.entries.iter().filter(|entry| is_compared(entry) && entry.summary().is_some()).collect();
    let has_limit = group.limit.as_deref().is_some_and(|limit| group.entry(limit).is_some());
    write!(text, "| | {} |", group.unit.symbol())?;
    if has_limit {
        write!(text, " × limit |")?;
    }
    for entry in &ours {
        write!(text, " {} is better by |", entry.candidate)?;
    }
    let columns = 1 + usize::from(has_limit) + ours.len();
    writeln!(text, "\n|---|{}", "---:|".repeat(columns))?;
    for entry in &group.entries {
        let Some(summary) = entry.summary() else {
            let why = entry.failure.as_deref().unwrap_or("not measured").replace('\n', " ");
            writeln!(text, "| {} | {why} |{}", label(entry), " |".repeat(columns - 1))?;
            continue;
        };
        write!(text, "| {} | {} |", label(entry), cell(summary))?;
        if has_limit {
            let multiple = group.multiple_of_limit(entry);
            write!(text, " {} |", multiple.map_or(String::new(), |multiple| figure(multiple.median)))?;
        }
        for ours in &ours {
            let advantage = entry.role.is_peer().then(|| group.advantage(ours, entry)).flatten();
            write!(
                text,
                " {} |",
                advantage.map_or(String::new(), |ratio| format!("{}×", figure(ratio.median)))
            )?;
        }
        text.push('\n');
    }
    Ok(())
}

/// Several groups of one unit: a row for each candidate, a column for each group.
fn matrix(text: &mut String, columns: &[(String, &Group)]) -> std::fmt::Result {
    let mut rows: BTreeMap<usize, (&Entry, BTreeMap<usize, String>)> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    for (column, (_, group)) in columns.iter().enumerate() {
        for entry in &group.entries {
            let row = order.iter().position(|name| *name == entry.candidate).unwrap_or_else(|| {
                order.push(&entry.candidate);
                order.len() - 1
            });
            let shown = match entry.summary() {
                Some(summary) => cell(summary),
                None => entry.failure.as_deref().unwrap_or("–").split(':').next().unwrap_or("–").to_owned(),
            };
            rows.entry(row).or_insert_with(|| (entry, BTreeMap::new())).1.insert(column, shown);
        }
    }
    let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
    writeln!(text, "| | {} |\n|---|{}", names.join(" | "), "---:|".repeat(columns.len()))?;
    for (entry, cells) in rows.values() {
        let cells: Vec<_> =
            (0..columns.len()).map(|column| cells.get(&column).map_or("", String::as_str)).collect();
        writeln!(text, "| {} | {} |", label(entry), cells.join(" | "))?;
    }
    Ok(())
}

/// The groups of a prefix, with the rest of their names.
fn groups<'a>(results: &'a Results, prefix: &str) -> Vec<(String, &'a Group)> {
    let rest = |group: &'a Group| Some((group.name.strip_prefix(prefix)?.to_owned(), group));
    results.groups.iter().filter_map(rest).collect()
}

fn kernel(text: &mut String, results: &Results, plots: &[Plot]) -> std::fmt::Result {
    if groups(results, "kernel.").is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## From BPF to userspace\n")?;
    if let Some(group) = results.group("kernel.push.16") {
        writeln!(text, "### A push alone\n")?;
        writeln!(
            text,
            "A program pushes 4096 times in a loop, and nothing reads meanwhile. The loop is part of each number, and \
             of the limit.\n"
        )?;
        picture(text, results, plots, "bench-push.svg")?;
        table(text, group)?;
        without_loop(text, group)?;
        allowed(text, results)?;
    }
    by_size(
        text,
        results,
        "kernel.push.",
        "",
        "\nBy size, in nanoseconds. The seeds' elements have 16 bytes.\n",
    )?;
    for (name, title) in KERNEL {
        let Some(group) = results.group(name) else { continue };
        writeln!(text, "\n### {title}\n")?;
        match name {
            "kernel.lossless.1-1.rate" => picture(text, results, plots, "bench-lossless.svg")?,
            "kernel.lossless.2-1.rate" => picture(text, results, plots, "bench-lossless-2.svg")?,
            _ => {}
        }
        table(text, group)?;
        match name {
            "kernel.push-contended.16" => {
                by_size(text, results, "kernel.push-contended.", "", "\nBy size, in nanoseconds.\n")?;
            }
            _ => {
                // The table of 16 bytes has no size in its name.
                let (prefix, metric) = name.rsplit_once('.').unwrap_or((name, ""));
                by_size(text, results, &format!("{prefix}."), metric, "\nBy size:\n")?;
            }
        }
    }
    Ok(())
}

/// Groups of several sizes, that are named `PREFIX[SIZE][.METRIC]`; nothing if there are not several.
fn by_size(
    text: &mut String,
    results: &Results,
    prefix: &str,
    metric: &str,
    title: &str,
) -> std::fmt::Result {
    let column = |rest: &str| {
        let size = if metric.is_empty() { rest } else { rest.strip_suffix(metric)?.trim_end_matches('.') };
        match size {
            "" => Some("16 bytes".to_owned()),
            "mixed" => Some("16 to 1,024 bytes".to_owned()),
            bytes => bytes.parse::<usize>().ok().map(|bytes| format!("{bytes} bytes")),
        }
    };
    let sizes: Vec<_> = groups(results, prefix)
        .into_iter()
        .filter_map(|(rest, group)| Some((column(&rest)?, group)))
        .collect();
    if sizes.len() < 2 {
        return Ok(());
    }
    writeln!(text, "{title}")?;
    matrix(text, &sizes)?;
    against_ringbuf(text, &sizes)
}

/// How many times as good as the ring buffer records are, in each of the columns.
fn against_ringbuf(text: &mut String, columns: &[(String, &Group)]) -> std::fmt::Result {
    let mut peers: Vec<&str> = Vec::new();
    for entry in columns.iter().flat_map(|(_, group)| &group.entries) {
        if entry.role.is_peer()
            && entry.candidate.starts_with("ringbuf")
            && !peers.contains(&&*entry.candidate)
        {
            peers.push(&entry.candidate);
        }
    }
    let is_records = |group: &Group| group.entry("records").is_some() && group.unit != Unit::Percent;
    if peers.is_empty() || !columns.iter().any(|(_, group)| is_records(group)) {
        return Ok(());
    }
    writeln!(text, "\nOf those, records against the ring buffer: how many times as good.\n")?;
    let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
    writeln!(text, "| | {} |\n|---|{}", names.join(" | "), "---:|".repeat(columns.len()))?;
    for ours in ["records", "records-scratch"] {
        for peer in &peers {
            let cells = columns.iter().map(|(_, group)| {
                let advantage = group.advantage(group.entry(ours)?, group.entry(peer)?)?;
                Some(format!("{}×", figure(advantage.median)))
            });
            let cells: Vec<_> = cells.map(Option::unwrap_or_default).collect();
            writeln!(text, "| **{ours}** against {peer} | {} |", cells.join(" | "))?;
        }
    }
    Ok(())
}

const KERNEL: [(&str, &str); 10] = [
    ("kernel.push-contended.16", "A push alone, from all CPUs at once"),
    ("kernel.lossless.1-1.rate", "1 producer, 1 consumer: producers wait for room"),
    ("kernel.lossless.2-1.rate", "2 producers, 1 consumer: producers wait for room"),
    ("kernel.flood.1-1.rate", "1 producer, 1 consumer: what finds no room is lost"),
    ("kernel.flood.1-1.lost", "The same: how much is lost"),
    ("kernel.latency.median", "Latency at one event a millisecond, median"),
    ("kernel.latency.p99.9", "Latency at one event a millisecond, 99.9 %"),
    ("kernel.idle", "CPU of a consumer to which nothing comes"),
    ("kernel.back.push", "The way back: push in userspace"),
    ("kernel.back.pop", "The way back: pop in BPF"),
];

/// What is left of a push when the loop around it is taken off.
fn without_loop(text: &mut String, group: &Group) -> std::fmt::Result {
    let Some(empty) = group.entry("empty-loop") else { return Ok(()) };
    let less = |entry: &Entry| {
        let rounds: Vec<f64> =
            entry.rounds.iter().zip(&empty.rounds).map(|(all, empty)| all - empty).collect();
        Summary::of(&rounds)
    };
    writeln!(
        text,
        "\nThe same without the loop. The processor does most of the loop while it waits for a locked instruction, so \
         for *locked-rmw* the difference is less than what the instruction takes by itself.\n\n| | ns |\n|---|---:|"
    )?;
    for entry in
        group.entries.iter().filter(|entry| entry.summary().is_some() && entry.candidate != "empty-loop")
    {
        if let Some(rest) = less(entry) {
            writeln!(text, "| {} | {} |", label(entry), cell(rest))?;
        }
    }
    Ok(())
}

/// What the locked instructions of ours leave of the ring buffer's time.
fn allowed(text: &mut String, results: &Results) -> std::fmt::Result {
    const RESERVE: &str = "ringbuf-reserve";
    let rows: Vec<_> = ceiling::names()
        .filter_map(|ours| {
            let ceiling = Ceiling::of(results, &format!("kernel.push.16.{ours}/{RESERVE}"))?;
            let group = results.group("kernel.push.16")?;
            Some((ours, ceiling, group.advantage(group.entry(ours)?, group.entry(RESERVE)?)?))
        })
        .collect();
    let Some((_, first, _)) = rows.first() else { return Ok(()) };
    writeln!(
        text,
        "\nA locked instruction takes {} ns here, with its loop, and *{RESERVE}* {} ns. If a push were nothing but its locked \
         instructions, it could be at most so many times as fast, and a promise of more cannot be kept on this \
         processor:\n\n| | locked instructions | ns | at most | seen |\n|---|---:|---:|---:|---:|",
        figure(first.each),
        figure(first.peer)
    )?;
    for (ours, ceiling, seen) in rows {
        let (all, most, seen) = (figure(ceiling.least()), figure(ceiling.at_most()), figure(seen.median));
        writeln!(text, "| **{ours}** | {} | {all} | {most}× | {seen}× |", ceiling.locked)?;
    }
    Ok(())
}

fn user(text: &mut String, results: &Results) -> std::fmt::Result {
    let all = groups(results, "user.");
    if all.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## Userspace\n")?;
    writeln!(
        text,
        "Nanoseconds for each element that was pushed and popped, through queues of 1024. *n-m* is n producing and m \
         consuming threads. In bursts of 64, a queue that has operations for many elements uses them.\n\n\
         *mpmc-single-uncounted* is the MPMC queue whose one producer and one consumer know that they are alone \
         (`arenaq::single`): it has no locked instruction, like rtrb, which has no other kind of end. Where rtrb is \
         still ahead, it is so by the sequence of each cell. Both \
         sides load and store it for every element, where rtrb stores one position for a burst, and with it a cell \
         for 16 bytes has 24: half as many lines again go from one CPU to the other.\n"
    )?;
    if all.iter().flat_map(|(_, group)| &group.entries).any(|entry| entry.candidate == "spsc-owned") {
        writeln!(
            text,
            "*spsc-owned* (`arenaq::spsc`) is what rtrb is: two positions, each stored once for a burst, and nothing in \
             a cell but the element.\n"
        )?;
    }
    if all.iter().flat_map(|(_, group)| &group.entries).any(|entry| entry.candidate == "spsc-fan-in") {
        writeln!(
            text,
            "*spsc-fan-in* (`arenaq::spsc::fan_in`) is such a ring for each producer, and a consumer that goes round.\n"
        )?;
    }
    if all.iter().flat_map(|(_, group)| &group.entries).any(|entry| entry.candidate == "records-kept") {
        writeln!(
            text,
            "*records* takes a lane for each record, as programs in the kernel do: a compare-exchange, which waits until the \
             consumer's CPU has given back the line with the producer's position. A producer of *records-kept* \
             (`Log::producer`) keeps its lane.\n"
        )?;
    }
    for payload in ["16", "64"] {
        let columns: Vec<_> = all
            .iter()
            .filter_map(|(name, group)| Some((name.strip_suffix(&format!(".{payload}"))?.to_owned(), *group)))
            .collect();
        if !columns.is_empty() {
            writeln!(text, "### {payload} bytes\n")?;
            matrix(text, &columns)?;
            text.push('\n');
        }
    }
    Ok(())
}

fn growth(text: &mut String, results: &Results, plots: &[Plot]) -> std::fmt::Result {
    let wanted = ["bench-producers.svg", "bench-capacity.svg", "bench-bpf-producers.svg"];
    if !plots.iter().any(|plot| wanted.contains(&plot.file)) {
        return Ok(());
    }
    writeln!(text, "## How cost grows\n")?;
    for file in wanted {
        picture(text, results, plots, file)?;
    }
    Ok(())
}

fn picture(text: &mut String, results: &Results, plots: &[Plot], file: &str) -> std::fmt::Result {
    let Some(plot) = plots.iter().find(|plot| plot.file == file) else { return Ok(()) };
    writeln!(text, "![{}]({}/{file})\n", plot.title, results.machine.file_name())?;
    match why(results, file) {
        Some(why) => writeln!(text, "{why}\n"),
        None => Ok(()),
    }
}

fn missing(text: &mut String, results: &Results) -> std::fmt::Result {
    let failed: Vec<_> = results
        .groups
        .iter()
        .flat_map(|group| group.entries.iter().map(move |entry| (group, entry)))
        .filter_map(|(group, entry)| {
            Some((format!("{}.{}", group.name, entry.candidate), entry.failure.clone()?))
        })
        .chain(results.skipped.iter().map(|skipped| (skipped.what.clone(), skipped.why.clone())))
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## SKIPPED or failed\n\n| what | why |\n|---|---|")?;
    for (what, why) in failed {
        writeln!(text, "| {what} | {} |", why.replace('\n', " "))?;
    }
    Ok(())
}

/// Every figure and every ratio by name, as JSON.
///
/// # Errors
///
/// Never: it is plain data.
pub fn json(results: &Results) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&results.figures())
}

#[cfg(test)]
mod tests {
    use super::document;
    use crate::results::tests::group;
    use crate::results::{Results, Role, Skipped, Unit};

    fn results() -> Results {
        let mut push = group(Unit::Nanoseconds);
        push.name = "kernel.push.16".to_owned();
        let groups = vec![group(Unit::Nanoseconds), push];
        let skipped = vec![Skipped { what: "kernel.idle.x".to_owned(), why: "not permitted".to_owned() }];
        Results { machine: Default::default(), quick: true, groups, skipped }
    }

    #[test]
    fn a_table_has_the_figure_its_noise_its_limit_and_its_ratio() {
        let text = document(&results(), &[]).expect("text");
        assert!(text.contains("| | ns | × limit | mpmc is better by |\n|---|---:|---:|---:|\n"), "{text}");
        assert!(text.contains("| **mpmc** | 20 ±50% | 5 |  |\n"), "{text}");
        assert!(text.contains("| slow | 80 ±50% | 20 | 4× |\n"), "{text}");
        assert!(text.contains("| locked (locks) | 10 ±50% | 2.50 | 0.50× |\n"), "{text}");
    }

    #[test]
    fn what_hung_and_what_was_skipped_is_told() {
        let text = document(&results(), &[]).expect("text");
        assert!(text.contains("| heapless | hung | | |\n"), "{text}");
        assert!(text.contains("| user.1-1.16.heapless | hung |\n"), "{text}");
        assert!(text.contains("| kernel.idle.x | not permitted |\n"), "{text}");
    }

    #[test]
    fn a_quick_run_says_that_it_was_one() {
        assert!(document(&results(), &[]).expect("text").contains("> A quick run"));
        let full = Results { quick: false, ..results() };
        assert!(!document(&full, &[]).expect("text").contains("> A quick run"));
    }

    #[test]
    fn a_name_is_explained_where_it_stands() {
        let mut results = results();
        assert!(!document(&results, &[]).expect("text").contains("- *typed*"));
        results.groups[1].entries[1].candidate = "mpmc-typed".to_owned();
        results.groups[1].entries[1].role = Role::Ours;
        let text = document(&results, &[]).expect("text");
        assert!(
            text.contains("- *typed*: a queue with a name, `ARENAQ_MPMC`") && !text.contains("- *owned*"),
            "{text}"
        );
    }

    #[test]
    fn shapes_are_columns() {
        let text = document(&results(), &[]).expect("text");
        assert!(text.contains("### 16 bytes\n\n| | 1-1 |\n|---|---:|\n| **mpmc** | 20 ±50% |\n"), "{text}");
    }
}
