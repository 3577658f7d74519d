//! The queues and the records at work.

use std::path::Path;

use anyhow::bail;
use duct::{Expression, cmd};

use crate::command::{Ended, build_harness, run};
use crate::setup::{has_sudo, is_root, setup};

/// The exit code of `arenaq` for what the kernel refuses.
const REFUSED: i32 = 3;

const QUEUES: [&str; 3] = ["mpsc", "mpmc", "records"];

pub(crate) fn demo() -> anyhow::Result<()> {
    setup()?;
    let binary = build_harness(true)?;
    let sudo = !is_root() && has_sudo();

    let doctor = show(&arenaq(&binary, sudo, &["doctor"]), "arenaq doctor")?;
    let seen = match doctor.code {
        Some(0) => in_kernel(&binary, sudo)?,
        Some(REFUSED) => Err(reasons(&doctor.lines)),
        code => bail!("arenaq doctor ended with {code:?}"),
    };
    let (producers, seen) = match seen {
        Ok(seen) => ("BPF programs in the kernel", seen),
        Err(reason) => {
            println!("\nThis machine does not let BPF programs push: {reason}.");
            println!("The same with threads as producers:");
            ("threads, because this machine refuses BPF programs", with_threads(&binary)?)
        }
    };
    println!("\nProducers were {producers}; the consumer was in userspace. What was seen:");
    for line in seen {
        println!("  {line}");
    }
    Ok(())
}

/// What was seen of each, or why the kernel refuses.
fn in_kernel(binary: &Path, sudo: bool) -> anyhow::Result<Result<Vec<String>, String>> {
    let mut seen = Vec::new();
    for queue in QUEUES {
        let arguments = ["run", "--queue", queue];
        let ended = show(&arenaq(binary, sudo, &arguments), &format!("arenaq {}", arguments.join(" ")))?;
        match ended.code {
            Some(0) => seen.push(statement(&ended.lines)),
            Some(REFUSED) => {
                let last = ended.lines.iter().rev().find_map(|line| line.strip_prefix("arenaq: "));
                return Ok(Err(last.unwrap_or("the message is above").to_owned()));
            }
            code => bail!("arenaq {} ended with {code:?}", arguments.join(" ")),
        }
    }
    Ok(Ok(seen))
}

fn with_threads(binary: &Path) -> anyhow::Result<Vec<String>> {
    let mut seen = Vec::new();
    for queue in QUEUES {
        let arguments = ["run", "--backend", "threads", "--queue", queue];
        let command = format!("arenaq {}", arguments.join(" "));
        let ended = show(&arenaq(binary, false, &arguments), &command)?;
        if ended.code != Some(0) {
            bail!("{command} ended with {:?}", ended.code);
        }
        seen.push(statement(&ended.lines));
    }
    Ok(seen)
}

fn arenaq(binary: &Path, sudo: bool, arguments: &[&str]) -> Expression {
    if sudo {
        let words = ["-n".as_ref(), binary.as_os_str()];
        cmd("sudo", words.into_iter().chain(arguments.iter().map(AsRef::as_ref)))
    } else {
        cmd(binary, arguments)
    }
}

fn show(command: &Expression, name: &str) -> anyhow::Result<Ended> {
    println!("\n$ {name}\n");
    run(command)
}

/// What doctor marks as what `run` cannot do without.
fn reasons(report: &[String]) -> String {
    let bad: Vec<String> = report
        .iter()
        .filter_map(|line| line.strip_prefix("NO "))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    bad.join("; ")
}

/// One line on one summary of `arenaq run`: its first line, and what became of the events.
fn statement(summary: &[String]) -> String {
    let is_first = |line: &&String| line.contains(" queue of ") || line.starts_with("records of ");
    let first = summary.iter().find(is_first);
    let produced =
        summary.iter().find_map(|line| line.trim().strip_prefix("produced ")?.split_whitespace().next());
    match (first, produced) {
        (Some(first), Some(produced)) => format!("{first}: {produced} events, every one accounted for"),
        _ => "a run whose summary has another form than this program knows".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{reasons, statement};

    #[test]
    fn the_reasons_are_what_doctor_marks() {
        let report =
            ["ok  kernel            Linux", "NO  privileges        CAP_BPF missing", "    -> run as root"];
        assert_eq!(reasons(&report.map(str::to_owned)), "privileges CAP_BPF missing");
    }

    #[test]
    fn a_statement_has_the_queue_and_the_number_of_events() {
        let summary = [
            "MPSC queue of 8, hook drive",
            "  operations            9   done by the workload",
            "  produced              9   in 0.01 s, 900 a second",
            "  produced = consumed + dropped + left: every event is accounted for",
        ];
        let summary = summary.map(str::to_owned);
        assert_eq!(statement(&summary), "MPSC queue of 8, hook drive: 9 events, every one accounted for");
        let records = ["records of 64 bytes a processor, hook drive", "  produced  9   in 0.01 s"];
        assert_eq!(
            statement(&records.map(str::to_owned)),
            "records of 64 bytes a processor, hook drive: 9 events, every one accounted for"
        );
    }
}
