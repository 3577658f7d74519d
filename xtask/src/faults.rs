//! `cargo xtask faults`: makes each system call of `arenaq` fail once, and looks at what is left.
//!
//! `strace` lists the calls of a scenario, and then makes one of them fail in each run. Whatever failed, the command must end, with
//! a documented exit code, one message that says why, and nothing left behind.

mod calls;
mod fault;
mod judgement;
mod place;
mod profile;
mod scenarios;
mod traced;
mod trial;

use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;

use crate::command::build_harness;
use crate::setup::is_root;
use fault::Fault;
use judgement::Outcome;
use place::Place;
use profile::{Profile, StartUp};
use scenarios::{SCENARIOS, Scenario};
use traced::Program;

#[derive(Args)]
pub(crate) struct FaultsArgs {
    /// Injects one error into the first of the calls with one name, and another one into the last: what CI does.
    #[arg(long)]
    quick: bool,
    /// Takes only this scenario, and may be given several times; --list names them.
    #[arg(long, value_name = "NAME", conflicts_with = "list")]
    only: Vec<String>,
    /// Injects only into this system call.
    #[arg(long, value_name = "SYSCALL", conflicts_with = "list")]
    call: Option<String>,
    /// Tries this `arenaq` instead of the one that is built here.
    #[arg(long, value_name = "FILE")]
    arenaq: Option<PathBuf>,
    /// Lists the scenarios, and which errors are injected into which calls.
    #[arg(long)]
    list: bool,
    /// How many commands run at once; as many as there are processors if not given.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
}

pub(crate) fn run(arguments: &FaultsArgs) -> anyhow::Result<ExitCode> {
    if arguments.list {
        list();
        return Ok(ExitCode::SUCCESS);
    }
    let scenarios = choose(&arguments.only)?;
    let arenaq = match &arguments.arenaq {
        Some(file) => file.canonicalize().with_context(|| file.display().to_string())?,
        None => build_harness(false)?,
    };
    let selection = Selection { quick: arguments.quick, call: arguments.call.as_deref() };
    let jobs = arguments.jobs.or(thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN);
    let survey = survey(&scenarios, arenaq, selection, jobs)?;
    print!("\n{survey}");
    Ok(if survey.is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The part that CI runs. Returns the lines on scenarios that were skipped.
pub(crate) fn check() -> anyhow::Result<Vec<String>> {
    let jobs = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let selection = Selection { quick: true, call: None };
    let survey = survey(&SCENARIOS.iter().collect::<Vec<_>>(), build_harness(false)?, selection, jobs)?;
    print!("\n{survey}");
    if survey.is_right() {
        return Ok(survey.skipped);
    }
    bail!("arenaq does not stand every fault: `cargo xtask faults --only SCENARIO --call SYSCALL` repeats it")
}

fn list() {
    println!("scenarios:");
    for scenario in SCENARIOS {
        println!("  {:<16} arenaq {}", scenario.name, scenario.arguments);
    }
    println!("calls that are made to fail:");
    for call in calls::FAILING {
        let errors: Vec<_> = call.errors.iter().map(|error| error.name()).collect();
        println!("  {:<18} {:<26} {}", call.name, errors.join(" "), call.why);
    }
    println!("calls that are left alone:");
    for (name, why) in calls::LEFT_ALONE {
        println!("  {name:<18} {why}");
    }
}

fn choose(names: &[String]) -> anyhow::Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(SCENARIOS.iter().collect());
    }
    let find = |name: &String| {
        let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
        found.with_context(|| {
            format!("no scenario is called {name}: `cargo xtask faults --list` names them all")
        })
    };
    names.iter().map(find).collect()
}

/// Which of the faults that a profile allows.
#[derive(Clone, Copy)]
struct Selection<'a> {
    quick: bool,
    call: Option<&'a str>,
}

impl Selection<'_> {
    fn of(self, profile: &Profile) -> Vec<Fault> {
        let wanted = |fault: &&Fault| self.call.is_none_or(|call| fault.call == call);
        let faults: Vec<Fault> = profile.faults.iter().filter(wanted).cloned().collect();
        if !self.quick {
            return faults;
        }
        // They are in order: by who, by call, by occurrence, and by error.
        let calls = faults.chunk_by(|a, b| (a.who, &a.call) == (b.who, &b.call));
        let ends = |of_one: &[Fault]| [of_one.first().cloned(), of_one.last().cloned()];
        let mut chosen: Vec<Fault> = calls.flat_map(ends).flatten().collect();
        chosen.dedup();
        chosen
    }
}

/// What all scenarios came to.
#[derive(Default)]
struct Survey {
    rows: Vec<Row>,
    /// What this machine does not run.
    skipped: Vec<String>,
    slowest: (Duration, String),
}

/// What one scenario came to.
struct Row {
    scenario: &'static Scenario,
    injected: u32,
    /// The call did not come so often this time: how often a loop turns depends on the clock.
    not_reached: u32,
    wrong: u32,
}

impl Survey {
    fn is_right(&self) -> bool {
        self.rows.iter().all(|row| row.wrong == 0)
    }
}

impl std::fmt::Display for Survey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:<16} {:>9} {:>12} {:>6}", "scenario", "injected", "not reached", "wrong")?;
        let mut commands: Vec<(&str, u32, u32)> = Vec::new();
        for row in &self.rows {
            let Row { scenario, injected, not_reached, wrong } = row;
            writeln!(f, "{:<16} {injected:>9} {not_reached:>12} {wrong:>6}", scenario.name)?;
            match commands.iter_mut().find(|(command, ..)| *command == scenario.command()) {
                Some((_, all, failed)) => {
                    *all += injected;
                    *failed += wrong;
                }
                None => commands.push((scenario.command(), *injected, *wrong)),
            }
        }
        writeln!(f)?;
        for (command, injected, wrong) in commands {
            writeln!(f, "arenaq {command:<8} {injected:>5} faults injected, {wrong} wrong")?;
        }
        let (took, command) = &self.slowest;
        writeln!(f, "the slowest ended after {:.1} s: {command}", took.as_secs_f64())?;
        self.skipped.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn survey(
    scenarios: &[&'static Scenario],
    arenaq: PathBuf,
    selection: Selection<'_>,
    jobs: NonZero<usize>,
) -> anyhow::Result<Survey> {
    which::which("strace").context("strace is missing: `cargo xtask setup` installs it")?;
    if !is_root() {
        bail!("the BPF file system on which pins are tried is mounted by root: run this as root");
    }
    let place = Place::new(&arenaq)?;
    let program = Program { arenaq, place };
    let start_up = StartUp::of(&program)?;
    let mut survey = Survey::default();
    for scenario in scenarios {
        let start = Instant::now();
        let profile = match Profile::of(&program, scenario, &start_up)? {
            Ok(profile) => profile,
            Err(reason) => {
                let line = format!("SKIPPED faults {}: {reason}", scenario.name);
                println!("{line}");
                survey.skipped.push(line);
                continue;
            }
        };
        let faults = selection.of(&profile);
        let outcomes = try_all(&program, scenario, &faults, jobs)?;
        let mut row = Row { scenario, injected: 0, not_reached: 0, wrong: 0 };
        for (fault, outcome) in faults.iter().zip(outcomes) {
            if outcome.ended.took > survey.slowest.0 {
                survey.slowest = (outcome.ended.took, judgement::command(scenario, fault));
            }
            if outcome.injected.is_empty() {
                row.not_reached += 1;
                continue;
            }
            row.injected += 1;
            if !outcome.wrong.is_empty() {
                row.wrong += 1;
                println!("{}", judgement::describe(scenario, fault, &outcome));
            }
        }
        println!(
            "{}: {} faults injected, {} wrong, {:.0} s",
            scenario.name,
            row.injected,
            row.wrong,
            start.elapsed().as_secs_f64()
        );
        survey.rows.push(row);
    }
    Ok(survey)
}

/// One outcome for each fault, in their order.
fn try_all(
    program: &Program,
    scenario: &Scenario,
    faults: &[Fault],
    jobs: NonZero<usize>,
) -> anyhow::Result<Vec<Outcome>> {
    let next = Mutex::new(faults.iter().enumerate());
    let work = || -> anyhow::Result<Vec<(usize, Outcome)>> {
        let mut done = Vec::new();
        loop {
            let task = next.lock().ok().and_then(|mut next| next.next());
            let Some((number, fault)) = task else { return Ok(done) };
            done.push((number, trial::attempt(program, scenario, fault)?));
        }
    };
    let mut outcomes = thread::scope(|scope| -> anyhow::Result<Vec<(usize, Outcome)>> {
        let workers: Vec<_> = (0..jobs.get()).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })?;
    outcomes.sort_by_key(|(number, _)| *number);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}
