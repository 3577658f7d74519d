//! One run of a scenario under strace, with one fault or with none.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::faults::fault::{Fault, injection};
use crate::faults::judgement::{self, Outcome};
use crate::faults::place::Own;
use crate::faults::scenarios::Scenario;
use crate::faults::traced::{Ended, Program, Who, plainly, run};

/// The command line of a scenario in its place.
fn arguments(scenario: &Scenario, own: &Own) -> Vec<String> {
    let fill = |word: &str| match word {
        "PIN" => own.pin.display().to_string(),
        "FOLDER" => own.temporary.display().to_string(),
        "PID" => std::process::id().to_string(),
        other => other.to_owned(),
    };
    scenario.arguments.split(' ').map(fill).collect()
}

/// Runs a scenario without a fault.
pub(crate) fn observe(program: &Program, scenario: &Scenario, who: Who) -> anyhow::Result<Outcome> {
    let options: Vec<String> = who.follow().iter().map(|&option| option.to_owned()).collect();
    perform(program, scenario, &options, None)
}

/// Runs a scenario with a fault.
pub(crate) fn attempt(program: &Program, scenario: &Scenario, fault: &Fault) -> anyhow::Result<Outcome> {
    let mut options = injection(fault);
    // Of the other calls nobody wants to know, and what is not written costs no time.
    options.extend(["-e".to_owned(), format!("trace={}", fault.call)]);
    perform(program, scenario, &options, Some(fault))
}

fn perform(
    program: &Program,
    scenario: &Scenario,
    options: &[String],
    fault: Option<&Fault>,
) -> anyhow::Result<Outcome> {
    let own = program.place.own()?;
    if let Some(pinned) = scenario.pinned {
        prepare(program, &own, pinned)?;
    }
    let ended = run(program, &own, &arguments(scenario, &own), options)?;
    let injected: Vec<String> =
        ended.trace.lines().filter(|line| line.ends_with("(INJECTED)")).map(str::to_owned).collect();
    let mut wrong = judgement::judge(fault, &ended, &injected, &own.temporary, &own.files());
    wrong.extend(judge_pin(program, scenario, &own, &ended));
    own.remove()?;
    Ok(Outcome { ended, injected, wrong })
}

/// Pins, with two events in the queue.
fn prepare(program: &Program, own: &Own, pinned: &str) -> anyhow::Result<()> {
    let mut shell = Command::new("sh")
        .args(["-c", "read go; /bin/true; /bin/true; exit"])
        .stdin(Stdio::piped())
        .spawn()
        .context("starting a shell")?;
    let (pin, traced) = (own.pin.display().to_string(), shell.id().to_string());
    let mut arguments = vec!["pin", &pin, "--trace", &traced];
    arguments.extend(pinned.split(' '));
    let pinned = plainly(program, own, &arguments)?;
    if let Some(mut stdin) = shell.stdin.take() {
        stdin.write_all(b"go\n")?;
    }
    shell.wait()?;
    if !pinned.status.success() {
        bail!("`arenaq {}` fails: {}", arguments.join(" "), String::from_utf8_lossy(&pinned.stderr));
    }
    Ok(())
}

/// Whether what is pinned is what the command says, and can be used and taken away. It is taken away then.
fn judge_pin(program: &Program, scenario: &Scenario, own: &Own, ended: &Ended) -> Vec<String> {
    let path = own.pin.display().to_string();
    let is_there = || own.pin.exists();
    // A result that could not be told changes nothing of what was taken away.
    let is_untold = ended.stderr.contains("writing the result");
    let lie = match (scenario.command(), ended.code == Some(0), is_there()) {
        ("pin", true, false) => Some("it says that it has pinned, and has not".to_owned()),
        ("pin", false, true) | ("unpin", true, true) => Some(format!("still pinned: {}", entries(&own.pin))),
        ("unpin", false, false) if !is_untold => {
            Some("it says that it failed, and nothing is left".to_owned())
        }
        _ => None,
    };
    let mut wrong: Vec<String> = lie.into_iter().collect();
    let mut next = |what: &str, arguments: &[&str]| match plainly(program, own, arguments) {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            wrong.push(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim_end()));
        }
        Err(error) => wrong.push(format!("{what}: {error:#}")),
    };
    if scenario.command() == "consume" {
        next("the next consumer fails", &["consume", &path, "--until-empty"]);
    }
    // An empty folder may be anybody's: `unpin` says that `rmdir` removes it.
    let is_emptied = scenario.command() == "unpin" && std::fs::remove_dir(&own.pin).is_ok();
    if !is_emptied && is_there() {
        next("it cannot be unpinned afterwards", &["unpin", &path]);
    }
    wrong
}

fn entries(folder: &Path) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    format!("{} with [{}]", folder.display(), names.join(" "))
}
