//! `cargo xtask orderings`: shows that the loom models notice every ordering that is too weak and every
//! mistake that somebody could make, and writes docs/orderings.md from what it found.

mod change;
mod claims;
pub(crate) mod edges;
mod matrix;
mod models;
mod mutants;
mod recorded;
mod report;
mod survivors;

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Instant;

use anyhow::{Context, bail};
use arenaq::structures::sites;
use clap::Args;
use serde::de::DeserializeOwned;

use crate::command::root;
use change::STRONGEST;
use change::{Change, is_atomic, source};
use models::{Binary, Run};
use mutants::Nursery;
use recorded::Recorded;

/// Where the result is, in the workspace.
const FILE: &str = "docs/orderings.md";

#[derive(Args)]
pub(crate) struct OrderingsArgs {
    /// Fails if docs/orderings.md is not what the models say, instead of writing it.
    #[arg(long, conflicts_with_all = ["site", "mutant", "model", "list"])]
    check: bool,
    /// Writes what docs/orderings.md says without a model: the sites, the paths and the seeds' claims. What was measured stays as
    /// it is.
    #[arg(long, conflicts_with_all = ["check", "afresh", "site", "mutant", "model", "list"])]
    render: bool,
    /// Tries all models on all variants. Otherwise the model that docs/orderings.md names for a variant is tried first, and
    /// if that still notices as is written there, it is enough.
    #[arg(long, conflicts_with_all = ["site", "mutant", "model", "list"])]
    afresh: bool,
    /// Tries one other ordering against every model that uses the site's structure, such as mpsc.push.swap_head=Release; for a
    /// compare-exchange SITE=SUCCESS/FAILURE; '*=SeqCst' for all sites.
    #[arg(long, value_name = "SITE=ORDERING", conflicts_with_all = ["mutant", "list"])]
    site: Option<String>,
    /// Tries one mutant of loom-tests/mutants.toml against every model that uses its structure.
    #[arg(long, value_name = "NAME", conflicts_with = "list")]
    mutant: Option<String>,
    /// Runs only this model; a part of its name is enough.
    #[arg(long, value_name = "NAME", conflicts_with = "list")]
    model: Option<String>,
    /// Lists the sites, the mutants and the models.
    #[arg(long)]
    list: bool,
    /// How many models run at once; all processors if not given.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
}

pub(crate) fn run(arguments: &OrderingsArgs) -> anyhow::Result<ExitCode> {
    let jobs = match arguments.jobs {
        Some(jobs) => jobs,
        None => std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
    };
    if arguments.render {
        return render();
    }
    let mutants = mutants::read()?;
    let trial = match (&arguments.site, &arguments.mutant) {
        (Some(site), _) if site == STRONGEST => Some(Trial::Strongest),
        (Some(site), _) => Some(Trial::Site(site.parse()?)),
        (None, Some(name)) => {
            let mutant = mutants.iter().find(|mutant| mutant.name == *name);
            Some(Trial::Mutant(
                mutant.with_context(|| format!("{}: there is no mutant {name}", mutants::FILE))?,
            ))
        }
        (None, None) => arguments.model.is_some().then_some(Trial::AsItIs),
    };

    println!("compiling the models");
    let trial = match trial {
        None if !arguments.list => {
            full(&mutants, jobs, arguments.check, arguments.afresh)?;
            return Ok(ExitCode::SUCCESS);
        }
        trial => trial,
    };
    let binary = Binary::build()?;
    let models = binary.list()?;
    let Some(trial) = trial else {
        list(&mutants, &models);
        return Ok(ExitCode::SUCCESS);
    };
    let mut models = choose(models, arguments.model.as_deref())?;
    if let (Some(structure), None) = (trial.structure(), &arguments.model) {
        models.retain(|model| matrix::uses(model, structure));
    }
    attempt(&trial, &binary, models, jobs)
}

/// Writes what needs no model.
fn render() -> anyhow::Result<ExitCode> {
    let file = root().join(FILE);
    let is = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let should = report::render(&is, &claims::read()?).context(FILE)?;
    std::fs::write(&file, should).with_context(|| format!("cannot write {FILE}"))?;
    println!("wrote what {FILE} says without a model");
    Ok(ExitCode::SUCCESS)
}

/// Fails if docs/orderings.md is not what the models say.
pub(crate) fn check() -> anyhow::Result<()> {
    let jobs = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    full(&mutants::read()?, jobs, true, false)
}

/// What is tried.
enum Trial<'a> {
    AsItIs,
    Strongest,
    Site(Change),
    Mutant(&'a mutants::Mutant),
}

impl Trial<'_> {
    /// The structure that it changes, if it is one.
    fn structure(&self) -> Option<&str> {
        match self {
            Trial::AsItIs | Trial::Strongest => None,
            Trial::Site(change) => Some(change.structure()),
            Trial::Mutant(mutant) => Some(mutant.structure()),
        }
    }
}

/// The model with this name, or the one of whose name this is a part; all if there is no name.
fn choose(models: Vec<String>, name: Option<&str>) -> anyhow::Result<Vec<String>> {
    let Some(name) = name else {
        return Ok(models);
    };
    let candidates: Vec<_> = models.iter().filter(|model| model.contains(name)).cloned().collect();
    match candidates.as_slice() {
        _ if models.iter().any(|model| model == name) => Ok(vec![name.to_owned()]),
        [] => bail!("no model is called {name}; they are\n  {}", models.join("\n  ")),
        [_] => Ok(candidates),
        _ => bail!("{name} is part of several names:\n  {}", candidates.join("\n  ")),
    }
}

fn list(mutants: &[mutants::Mutant], models: &[String]) {
    println!("sites:");
    for site in sites() {
        let order = if is_atomic(site) { source(site) } else { "plain".to_owned() };
        println!("  {:<30} {:<16} {order}", site.name, format!("{:?}", site.access));
    }
    println!("mutants:");
    for mutant in mutants {
        println!("  {:<30} {}", mutant.name, mutant.does);
    }
    println!("models:");
    for model in models {
        println!("  {model}");
    }
}

/// Tries one change against models, and says what they say.
fn attempt(
    trial: &Trial<'_>,
    binary: &Binary,
    models: Vec<String>,
    jobs: NonZeroUsize,
) -> anyhow::Result<ExitCode> {
    let (binary, site) = match trial {
        Trial::AsItIs => (binary.clone(), None),
        Trial::Strongest => {
            println!("every site is SeqCst");
            (binary.clone(), Some(matrix::ALL_SEQ_CST.to_owned()))
        }
        Trial::Site(change) => {
            let is = source(change.site);
            println!("{} is {is}; trying {}", change.site.name, change.orderings());
            println!("why {is}: {}", change.site.why);
            (binary.clone(), Some(change.to_string()))
        }
        Trial::Mutant(mutant) => {
            println!("the mutant: {}", mutant.does);
            (Nursery::new()?.compile(mutant, None)?, None)
        }
    };
    let (sender, queue) = mpsc::channel();
    for model in models {
        sender.send(model).context("the queue of models")?;
    }
    drop(sender);
    let mut runs = matrix::work(queue, jobs, |model| {
        let run = binary.run(&model, site.as_deref(), None)?;
        println!("{}", outcome(&model, &run));
        Ok((model, run))
    })?;
    runs.sort_by(|(a, _), (b, _)| a.cmp(b));

    let failed: Vec<_> = runs.iter().filter_map(|(model, run)| Some((model, run, run.failure?))).collect();
    println!();
    for (model, run, failure) in &failed {
        println!("{model}: {failure}: {}.", failure.meaning());
        println!("  {}\n", run.message.replace('\n', "\n  "));
    }
    println!("{} of {} models pass, {} fail", runs.len() - failed.len(), runs.len(), failed.len());
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn outcome(model: &str, run: &Run) -> String {
    let result = run.failure.map_or_else(|| "passes".to_owned(), |failure| format!("FAILS: {failure}"));
    let permutations = run.permutations.map_or_else(String::new, |n| format!(", {n} permutations"));
    format!("{model:<76} {result}{permutations}, {:.1} s", run.took.as_secs_f64())
}

/// Measures everything and writes, or checks, the file.
fn full(mutants: &[mutants::Mutant], jobs: NonZeroUsize, check: bool, afresh: bool) -> anyhow::Result<()> {
    let survivors = survivors::read()?;
    let claims = claims::read()?;
    let nursery = Nursery::new()?;
    let binary = Nursery::original()?;
    claims::check(&claims, mutants, &binary.list()?)?;

    let file = root().join(FILE);
    let is = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let recorded = if afresh { Recorded::default() } else { Recorded::read(&is) };

    let start = Instant::now();
    let matrix = matrix::measure(&nursery, &binary, mutants, &recorded, jobs)?;
    println!(
        "{} models, {} weaker orderings, {} mutants: {:.0} s",
        matrix.models.len(),
        matrix.weaker.len(),
        matrix.mutants.len(),
        start.elapsed().as_secs_f64()
    );
    survivors::judge(&matrix, &survivors)?;

    let should = report::generate(&matrix, &survivors, &claims);
    if !check {
        std::fs::write(&file, should).with_context(|| format!("cannot write {FILE}"))?;
        println!("wrote {FILE}");
        return Ok(());
    }
    if let Some(difference) = report::difference(&is, &should) {
        bail!("{FILE} is not what the models say: run `cargo xtask orderings`; {difference}");
    }
    println!("{FILE} is what the models say");
    Ok(())
}

/// A table of the workspace.
fn read_toml<T: DeserializeOwned>(file: &str) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(root().join(file)).with_context(|| format!("cannot read {file}"))?;
    toml::from_str(&text).with_context(|| file.to_owned())
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn a_part_of_a_models_name_is_enough_if_it_is_the_only_one() {
        let models = || ["pool_a", "pool_ab", "mpsc_c"].map(str::to_owned).to_vec();
        assert_eq!(choose(models(), None).expect("all").len(), 3);
        assert_eq!(choose(models(), Some("pool_a")).expect("the exact name"), ["pool_a"]);
        assert_eq!(choose(models(), Some("_c")).expect("one"), ["mpsc_c"]);
        for (name, reason) in [("pool", "several"), ("none", "no model")] {
            let error = choose(models(), Some(name)).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
