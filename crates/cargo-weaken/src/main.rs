#![doc = include_str!("../README.md")]

mod access;
mod arguments;
mod baseline;
mod child;
mod compile;
mod error;
mod interrupt;
mod json;
mod judge;
mod only;
mod page;
mod parallel;
mod plan;
mod question;
mod report;
mod suite;
mod table;
mod verdict;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Cargo};
use baseline::Baseline;
use error::{Error, Status};
use interrupt::Interrupt;
use only::Only;
use plan::{Mutation, Plan};
use question::Question;
use report::{Changed, Report};
use verdict::Verdict;

fn main() -> ExitCode {
    let Cargo::Weaken(arguments) = Cargo::parse();
    match run(&arguments) {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("error: {error}");
            error.status().into()
        }
    }
}

fn run(arguments: &Arguments) -> Result<Status, Error> {
    let interrupt = Interrupt::install()?;
    // What cannot be read is said before anything is compiled.
    let kept = match &arguments.baseline {
        Some(file) if !arguments.write_baseline => Some(Baseline::read(file)?),
        _ => None,
    };
    let only = Only::parse(&arguments.only)?;
    let crates = compile::compile(arguments, &interrupt)?;
    let file = arguments.html.clone().unwrap_or_else(|| crates.target.join("weaken/index.html"));
    let suite = suite::measure(arguments, &crates.programs, &interrupt);
    if let Err(Error::FailsUnchanged { failure: Some(failure), .. }) = &suite {
        page::write_unchanged(&file, failure)?;
        eprintln!("the page: {}", file.display());
    }
    let suite = suite?;
    let plan = Plan::new(arguments, &only, &suite)?;
    if arguments.list {
        return plan.list(arguments.json);
    }

    let is_last = |mutation: &Mutation, verdict: &Verdict| match verdict {
        _ if !arguments.fail_fast => false,
        Verdict::Killed(_) => kept.is_none(),
        Verdict::Survived { .. } => kept
            .as_ref()
            .is_some_and(|kept| !kept.knows(&Changed::new(&plan.sites, mutation.part), &crates.root)),
        Verdict::Unreached | Verdict::Timeout { .. } | Verdict::Skipped => false,
    };
    let judged = judge::judge(arguments, &suite, &plan, is_last, &interrupt)?;
    let report = Report::new(&suite, plan, judged);
    if arguments.json {
        report.print_json()?;
    } else {
        println!("{}", table::table(&report));
    }
    page::write(&file, &report, &crates.root)?;
    eprintln!("{}\nthe page: {}", report.summary(), file.display());

    if let (Some(file), true) = (&arguments.baseline, arguments.write_baseline) {
        Baseline::of(&report, &crates.root).write(file)?;
        eprintln!("wrote {}", file.display());
        return Ok(Status::Fine);
    }
    if let Some(kept) = kept {
        return Ok(kept.compare(&Baseline::of(&report, &crates.root), &report));
    }
    if report.question != Question::Weaken && report.has_kills() {
        return Ok(Status::Found);
    }
    Ok(Status::Fine)
}
