//! `opensnoop`, by each way.

use std::fmt::Write;

use super::{matrix, table};
use crate::results::{Group, Results};

/// The tables of the opens, if they were measured.
pub(super) fn section(text: &mut String, results: &Results) -> std::fmt::Result {
    let threads: Vec<_> =
        ["1", "2"].into_iter().filter_map(|threads| Some((threads, tables(results, threads)?))).collect();
    if threads.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n## opensnoop: every file that is opened\n")?;
    writeln!(
        text,
        "Threads open a file of their own again and again, and each open is told by a program behind the system call (`raw_tp/sys_exit`, which is on every kernel): an \
         event of 304 bytes with the file's name. The queues and *ringbuf-reserve* send all of it, *records* and \
         *ringbuf-output* as much as the name is long. *polled*: nobody is woken, and the consumer looks again after a \
         millisecond. *woken*: the consumer sleeps, the ring buffer's by its default policy, ours with `arenaq_notify`. \
         *untold* is the opens alone. Each event is accounted for, as come or as refused, with its whole name.\n"
    )?;
    for (threads, tables) in threads {
        let s = if threads == "1" { "" } else { "s" };
        writeln!(text, "### {threads} thread{s}: events a second\n")?;
        table(text, tables.rate)?;
        writeln!(text, "\n### {threads} thread{s}: CPU for each event\n")?;
        writeln!(
            text,
            "Of the threads that open and of the one that consumes, with the calls themselves.\n"
        )?;
        table(text, tables.cpu)?;
        writeln!(text, "\nOf that, in nanoseconds, and what was lost in percent:\n")?;
        matrix(text, &tables.parts)?;
        text.push('\n');
    }
    Ok(())
}

struct Tables<'a> {
    rate: &'a Group,
    cpu: &'a Group,
    parts: Vec<(String, &'a Group)>,
}

fn tables<'a>(results: &'a Results, threads: &str) -> Option<Tables<'a>> {
    let group = |metric: &str| results.group(&format!("opens.{threads}.{metric}"));
    let parts = ["producing", "consuming", "lost"];
    Some(Tables {
        rate: group("rate")?,
        cpu: group("cpu")?,
        parts: parts.into_iter().filter_map(|part| Some((part.to_owned(), group(part)?))).collect(),
    })
}
