//! Runs every variant of the code against the models.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, bail};
use arenaq::structures::sites;
use indicatif::{ProgressBar, ProgressStyle};

use crate::orderings::change::{Change, STRONGEST};
use crate::orderings::models::{Binary, Failure};
use crate::orderings::mutants::{Mutant, Nursery};
use crate::orderings::recorded::Recorded;

/// Every model is tried for so many permutations first. Almost every mistake shows in them, and then no model
/// has to run to its end; the number is fixed, so the result is the same on every machine.
const FIRST: u64 = 2_000;

/// What the models say about a variant.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Killed { model: String, failure: Failure, permutations: Option<u64> },
    Survived,
}

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Matrix {
    /// The names of the models.
    pub(crate) models: Vec<String>,
    pub(crate) weaker: Vec<(Change, Verdict)>,
    pub(crate) mutants: Vec<(Mutant, Verdict)>,
}

/// The same as the models are told it: a compare-exchange has two orderings, and the first change that fits is made.
pub(crate) const ALL_SEQ_CST: &str = "*#compare_exchange=SeqCst/SeqCst,*=SeqCst";

/// A change that changes nothing. While a model tries an ordering, it looks only at results, and not at the
/// path that led to them or at how much it saw: a mutant should fail for what it breaks.
const UNCHANGED: &str = "mpmc.inspect.load_count=Relaxed";

/// What a worker does. The numbers are places in the result.
enum Task {
    /// A model that fails anyway would say nothing about a change.
    AsItIs(String),
    Strongest(String),
    Weaker(usize, Change),
    Mutant(usize, Mutant, Binary),
    /// With the model that noticed it when it was recorded, and perhaps with no other.
    Recorded(usize, Mutant, Binary),
}

enum Done {
    Passed,
    Weaker(usize, Verdict),
    Mutant(usize, Verdict),
    /// It is no longer as it was recorded.
    Changed(usize),
}

/// Measures all variants, on so many processors. What is recorded of a variant is tried first, and if it is so, nothing
/// else is.
pub(crate) fn measure(
    nursery: &Nursery,
    binary: &Binary,
    mutants: &[Mutant],
    recorded: &Recorded,
    jobs: NonZeroUsize,
) -> anyhow::Result<Matrix> {
    let changes: Vec<_> = sites().flat_map(Change::weaker).collect();
    let mut models = binary.list()?;
    models.sort_unstable();
    let bar = bar(models.len() * 2 + changes.len() + mutants.len());

    let (tasks, queue) = mpsc::channel();
    for model in &models {
        tasks.send(Ok(Task::AsItIs(model.clone()))).context("the queue of tasks")?;
    }
    for (number, change) in changes.iter().enumerate() {
        tasks.send(Ok(Task::Weaker(number, *change))).context("the queue of tasks")?;
    }
    for model in &models {
        tasks.send(Ok(Task::Strongest(model.clone()))).context("the queue of tasks")?;
    }
    let results = thread::scope(|scope| {
        scope.spawn(move || {
            for task in compile(nursery, mutants, recorded) {
                // The workers are gone only after an error of their own.
                if tasks.send(task).is_err() {
                    break;
                }
            }
        });
        work(queue, jobs, |task| {
            let done = task.and_then(|task| perform(task, binary, &models, recorded, &bar));
            bar.inc(1);
            done
        })
    });
    let mut weaker = vec![Verdict::Survived; changes.len()];
    let mut broken = vec![Verdict::Survived; mutants.len()];
    for done in results? {
        match done {
            Done::Passed => {}
            Done::Weaker(number, verdict) => weaker[number] = verdict,
            Done::Mutant(number, verdict) => broken[number] = verdict,
            Done::Changed(number) => {
                let mutant = &mutants[number];
                bar.suspend(|| println!("{}: not as recorded; trying all models", mutant.name));
                let task = Task::Mutant(number, mutant.clone(), nursery.compile(mutant, None)?);
                if let Done::Mutant(_, verdict) = perform(task, binary, &models, recorded, &bar)? {
                    broken[number] = verdict;
                }
            }
        }
    }
    bar.finish_and_clear();
    Ok(Matrix {
        models,
        weaker: changes.into_iter().zip(weaker).collect(),
        mutants: mutants.iter().cloned().zip(broken).collect(),
    })
}

/// The mutants as tasks, compiled one after another.
fn compile(
    nursery: &Nursery,
    mutants: &[Mutant],
    recorded: &Recorded,
) -> impl Iterator<Item = anyhow::Result<Task>> {
    mutants.iter().enumerate().map(|(number, mutant)| {
        let module = recorded.of(&mutant.name).and_then(|(_, model)| model.split("::").next());
        let binary = nursery.compile(mutant, module)?;
        let task = if module.is_some() { Task::Recorded } else { Task::Mutant };
        Ok(task(number, mutant.clone(), binary))
    })
}

fn perform(
    task: Task,
    binary: &Binary,
    models: &[String],
    recorded: &Recorded,
    bar: &ProgressBar,
) -> anyhow::Result<Done> {
    match task {
        Task::AsItIs(model) => {
            bar.set_message(model.clone());
            sound(binary, &model, Some(FIRST)).map(|()| Done::Passed)
        }
        Task::Strongest(model) => {
            bar.set_message(format!("{STRONGEST}: {model}"));
            let run = binary.run(&model, Some(ALL_SEQ_CST), None)?;
            match run.failure {
                Some(failure) => {
                    bail!("the model {model} fails with {STRONGEST} ({failure}): {}", run.message)
                }
                None => Ok(Done::Passed),
            }
        }
        Task::Weaker(number, change) => {
            let text = change.to_string();
            bar.set_message(text.clone());
            let stages = [(Some(text.as_str()), Some(FIRST)), (Some(&text), None)];
            let verdict = match as_recorded(recorded, &text, &stages, binary, binary, models)? {
                Some(verdict) => verdict,
                None => first_kill(&stages, binary, binary, &in_order(models, change.structure()))?,
            };
            say(bar, &text, &verdict);
            Ok(Done::Weaker(number, verdict))
        }
        Task::Mutant(number, mutant, broken) => {
            bar.set_message(mutant.name.clone());
            let models = in_order(models, mutant.structure());
            let verdict = first_kill(stages_of(&mutant), &broken, binary, &models)?;
            broken.discard();
            say(bar, &mutant.name, &verdict);
            Ok(Done::Mutant(number, verdict))
        }
        Task::Recorded(number, mutant, broken) => {
            bar.set_message(mutant.name.clone());
            let verdict = as_recorded(recorded, &mutant.name, stages_of(&mutant), &broken, binary, models)?;
            broken.discard();
            let Some(verdict) = verdict else {
                return Ok(Done::Changed(number));
            };
            say(bar, &mutant.name, &verdict);
            Ok(Done::Mutant(number, verdict))
        }
    }
}

/// How a mutant is tried.
fn stages_of(mutant: &Mutant) -> &'static [Stage<'static>] {
    let all: &[Stage<'_>] = &[(Some(UNCHANGED), Some(FIRST)), (Some(UNCHANGED), None), (None, None)];
    if mutant.harmless.is_none() { all } else { &all[..2] }
}

/// The verdict on a variant, if the model that is recorded for it fails as is recorded.
fn as_recorded(
    recorded: &Recorded,
    variant: &str,
    stages: &[Stage<'_>],
    binary: &Binary,
    original: &Binary,
    models: &[String],
) -> anyhow::Result<Option<Verdict>> {
    let Some((failure, model)) = recorded.of(variant) else {
        return Ok(None);
    };
    let Some(model) = models.iter().find(|known| *known == model) else {
        return Ok(None);
    };
    let verdict = first_kill(stages, binary, original, &[model])?;
    let is_so = matches!(&verdict, Verdict::Killed { failure: now, .. } if now.to_string() == failure);
    Ok(is_so.then_some(verdict))
}

/// A model passes with the code as it is.
fn sound(binary: &Binary, model: &str, limit: Option<u64>) -> anyhow::Result<()> {
    let run = binary.run(model, None, limit)?;
    // What it expects it need not see in the first permutations.
    match run.failure.filter(|failure| limit.is_none() || *failure != Failure::Outcomes) {
        Some(failure) => bail!("the model {model} fails with the code as it is ({failure}): {}", run.message),
        None => Ok(()),
    }
}

/// The change of an ordering and the number of permutations with which all models are tried.
type Stage<'a> = (Option<&'a str>, Option<u64>);

/// Tries the models until one fails.
fn first_kill(
    stages: &[Stage<'_>],
    binary: &Binary,
    original: &Binary,
    models: &[&String],
) -> anyhow::Result<Verdict> {
    for &(site, limit) in stages {
        for &model in models {
            let run = binary.run(model, site, limit)?;
            let Some(failure) = run.failure else {
                continue;
            };
            // What fails beyond the first permutations could fail there anyway.
            if limit.is_none() {
                sound(original, model, None)?;
            }
            return Ok(Verdict::Killed { model: model.clone(), failure, permutations: run.permutations });
        }
    }
    Ok(Verdict::Survived)
}

/// The models that can notice a change of a structure: those of the structure itself first.
fn in_order<'a>(models: &'a [String], structure: &str) -> Vec<&'a String> {
    let mut models: Vec<_> = models.iter().filter(|model| uses(model, structure)).collect();
    let elsewhere = |model: &str| model.split("::").next() != Some(structure);
    models.sort_by_key(|model| (elsewhere(model), !has_word(model, structure), model.as_str()));
    models
}

/// Whether a model can reach the code of a structure. Its name says what it is about; one that does not say
/// so may be about everything.
pub(crate) fn uses(model: &str, structure: &str) -> bool {
    let has = |word| has_word(model, word);
    // Only the ring has positions that are claimed.
    let has_ring = has("mpmc") || has("claim");
    // A lane of the records is the ring of two threads as well, and shares nothing with the queues.
    let has_lane = has("records") || has("spsc");
    match structure {
        "records" | "spsc" => has_lane,
        "mpmc" | "claim" | "mpsc" | "pool" if has_lane => false,
        "mpmc" | "claim" => !has("mpsc") && !has("pool") && !has("composition") || has_ring,
        "mpsc" => !has_ring && !has("pool") || has("mpsc"),
        // The list takes its nodes from the pool.
        "pool" => !has_ring || has("mpsc") || has("pool"),
        _ => true,
    }
}

fn has_word(name: &str, word: &str) -> bool {
    name.split(|c: char| !c.is_alphanumeric()).any(|part| part == word)
}

/// One line for each variant, as soon as it is known.
fn say(bar: &ProgressBar, variant: &str, verdict: &Verdict) {
    let text = match verdict {
        Verdict::Survived => "SURVIVED".to_owned(),
        Verdict::Killed { model, failure, permutations } => {
            let after = permutations.map_or_else(String::new, |n| format!(", permutation {n}"));
            format!("{failure} in {model}{after}")
        }
    };
    bar.suspend(|| println!("{variant:<44} {text}"));
}

fn bar(length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    if let Ok(style) = ProgressStyle::with_template("[{elapsed}] {bar:30} {pos}/{len} {wide_msg}") {
        bar.set_style(style);
    }
    bar
}

/// Lets so many threads take from a queue until it is empty and closed. After an error they finish what they
/// have begun.
pub(crate) fn work<T: Send, R: Send>(
    queue: mpsc::Receiver<T>,
    jobs: NonZeroUsize,
    task: impl Fn(T) -> anyhow::Result<R> + Sync,
) -> anyhow::Result<Vec<R>> {
    let queue = Mutex::new(Some(queue));
    let results = Mutex::new(Ok(Vec::new()));
    let lock = "no thread panics while it holds a lock";
    thread::scope(|scope| {
        for _ in 0..jobs.get() {
            scope.spawn(|| {
                // A statement of its own: the lock is not held while the task runs.
                let next = || queue.lock().expect(lock).as_ref().and_then(|queue| queue.recv().ok());
                while let Some(item) = next() {
                    let result = task(item);
                    let mut results = results.lock().expect(lock);
                    match (result, results.as_mut()) {
                        (Ok(result), Ok(done)) => done.push(result),
                        (Err(error), Ok(_)) => {
                            *results = Err(error);
                            drop(results);
                            // Whoever fills the queue learns that nobody takes from it any more.
                            *queue.lock().expect(lock) = None;
                        }
                        (_, Err(_)) => {}
                    }
                }
            });
        }
    });
    results.into_inner().expect(lock)
}

#[cfg(test)]
mod tests {
    use super::{in_order, work};
    use std::num::NonZeroUsize;
    use std::sync::mpsc;

    #[test]
    fn the_models_most_likely_to_notice_come_first() {
        let models =
            ["pool::b", "mpmc::a", "count::an_mpsc_a", "pool::a", "composition::a"].map(str::to_owned);
        let names = |structure| in_order(&models, structure);
        assert_eq!(names("pool"), ["pool::a", "pool::b", "composition::a", "count::an_mpsc_a"]);
        assert_eq!(names("mpsc"), ["count::an_mpsc_a", "composition::a"]);
        assert_eq!(names("mpmc"), ["mpmc::a"]);
        assert_eq!(names("arena").len(), models.len());
    }

    #[test]
    fn work_ends_with_the_queue_or_with_the_first_error() {
        let two = NonZeroUsize::new(2).expect("two");
        let queue = |items: std::ops::Range<u32>| {
            let (sender, receiver) = mpsc::channel();
            items.for_each(|item| sender.send(item).expect("a receiver"));
            receiver
        };
        let mut doubled = work(queue(0..10), two, |item| Ok(item * 2)).expect("no error");
        doubled.sort_unstable();
        assert_eq!(doubled, (0..10).map(|item| item * 2).collect::<Vec<_>>());
        let failed =
            work(queue(0..10), two, |item| if item == 3 { anyhow::bail!("three") } else { Ok(item) });
        assert_eq!(failed.expect_err("an error").to_string(), "three");
    }
}
