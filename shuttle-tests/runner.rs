//! Runs a model in many schedules, counts what it saw, and makes a failure repeatable.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
use weaken::picture::Orderings;
use weaken::trace::{self, Trace};

use crate::{counterexample, queues};

/// Schedules of a main model, per scheduler.
pub(crate) const MAIN: usize = 10_000;
/// How many priority changes PCT places: bugs that need no more than so many are found with a known
/// probability.
const PCT_DEPTH: usize = 3;

/// How schedules are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schedules {
    Random,
    /// Few preemptions, at random places.
    Pct,
}

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) schedules: Schedules,
    pub(crate) iterations: usize,
    pub(crate) seed: u64,
    /// One schedule instead, as [`Failure`] has it.
    pub(crate) replay: Option<String>,
}

impl Settings {
    /// What the environment says. `iterations` is by default.
    pub(crate) fn from_env(schedules: Schedules, iterations: usize) -> Settings {
        let number = |name| {
            let text = env::var(name).ok()?;
            Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} must be a number, not `{text}`")))
        };
        let main = number("ARENAQ_SHUTTLE_ITERATIONS").map_or(MAIN, |main| main as usize);
        Settings {
            schedules,
            iterations: (iterations * main).div_ceil(MAIN),
            seed: number("ARENAQ_SHUTTLE_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish()),
            replay: env::var("ARENAQ_SHUTTLE_REPLAY")
                .ok()
                .map(|replay| std::fs::read_to_string(&replay).unwrap_or(replay)),
        }
    }
}

/// What a model says about itself while it runs. It lives outside of shuttle, so writing to it changes no
/// schedule.
#[derive(Clone, Default)]
pub(crate) struct Run(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    outcomes: BTreeMap<&'static str, u64>,
    steps: u64,
    stopped: bool,
    schedule: (u64, Vec<usize>),
}

impl Run {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn saw(&self, outcome: &'static str) {
        *self.seen().outcomes.entry(outcome).or_default() += 1;
    }

    /// Ends the model after this schedule.
    pub(crate) fn stop(&self) {
        self.seen().stopped = true;
    }
}

/// What a model saw.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) schedules: usize,
    /// Points at which the scheduler chose.
    pub(crate) steps: u64,
    pub(crate) outcomes: BTreeMap<&'static str, u64>,
}

/// How a model failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    /// The seed and the tasks of the failing schedule: `seed:task,task*times,...`.
    pub(crate) schedule: String,
    /// What the queues did in it.
    pub(crate) trace: Box<Trace>,
}

/// Writes down what another scheduler chooses, and ends when the model wants to.
struct Recorded<S> {
    scheduler: S,
    run: Run,
}

impl<S: Scheduler> Scheduler for Recorded<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        let mut seen = self.run.seen();
        if seen.stopped {
            // A random scheduler that is dropped before its end reports its seed as that of a failure.
            while self.scheduler.new_execution().is_some() {}
        }
        let next = self.scheduler.new_execution()?;
        seen.schedule = (next.seed, Vec::new());
        Some(next)
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let next = self.scheduler.next_task(runnable, current, is_yielding)?;
        let mut seen = self.run.seen();
        seen.steps += 1;
        seen.schedule.1.push(next.into());
        Some(next)
    }

    fn next_u64(&mut self) -> u64 {
        panic!("no model asks shuttle for random numbers: a written schedule has none")
    }
}

fn encode((seed, tasks): &(u64, Vec<usize>)) -> String {
    let mut text = format!("{seed}:");
    for run in tasks.chunk_by(|a, b| a == b) {
        let separator = if text.ends_with(':') { "" } else { "," };
        let _ = match run.len() {
            1 => write!(text, "{separator}{}", run[0]),
            times => write!(text, "{separator}{}*{times}", run[0]),
        };
    }
    text
}

fn decode(text: &str) -> Option<Schedule> {
    let (seed, tasks) = text.trim().split_once(':')?;
    let mut steps = Vec::new();
    for run in tasks.split(',') {
        let (task, times) = run.split_once('*').unwrap_or((run, "1"));
        steps.extend(std::iter::repeat_n(task.parse::<usize>().ok()?, times.parse().ok()?));
    }
    Some(Schedule::new_from_task_ids(seed.parse().ok()?, steps))
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text").to_owned()
}

/// Runs `body` as `settings` say.
pub(crate) fn explore(
    settings: &Settings,
    body: impl Fn(&Run) + Send + Sync + 'static,
) -> Result<Report, Failure> {
    let run = Run::default();
    let model = {
        let run = run.clone();
        move || {
            queues::begin_execution();
            body(&run);
        }
    };
    let Settings { seed, iterations, .. } = *settings;
    let result = panic::catch_unwind(AssertUnwindSafe(|| match (&settings.replay, settings.schedules) {
        (Some(schedule), _) => {
            let schedule = decode(schedule).expect("a schedule or the name of a file that holds one");
            let mut scheduler = ReplayScheduler::new_from_schedule(schedule);
            scheduler.set_allow_incomplete();
            run_model(scheduler, &run, model)
        }
        (None, Schedules::Random) => run_model(RandomScheduler::new_from_seed(seed, iterations), &run, model),
        (None, Schedules::Pct) => {
            run_model(PctScheduler::new_from_seed(seed, PCT_DEPTH, iterations), &run, model)
        }
    }));
    let mut seen = run.seen();
    match result {
        Ok(schedules) => {
            Ok(Report { schedules, steps: seen.steps, outcomes: std::mem::take(&mut seen.outcomes) })
        }
        Err(payload) => Err(Failure {
            message: text_of(&*payload),
            schedule: encode(&seen.schedule),
            trace: Box::new(trace::current()),
        }),
    }
}

fn run_model(
    scheduler: impl Scheduler + 'static,
    run: &Run,
    model: impl Fn() + Send + Sync + 'static,
) -> usize {
    let mut config = Config::default();
    // `Recorded` has the schedule.
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(1_000_000);
    config.silence_warnings = true;
    Runner::new(Recorded { scheduler, run: run.clone() }, config).run(model)
}

/// Runs `body` as the environment says and checks that exactly the `expected` outcomes were seen.
///
/// # Panics
///
/// If they were not, or if `body` panics: then with the command that repeats the schedule.
pub(crate) fn check(
    test: &str,
    schedules: Schedules,
    iterations: usize,
    expected: &[&str],
    body: impl Fn(&Run) + Send + Sync + 'static,
) -> Report {
    let settings = Settings::from_env(schedules, iterations);
    let start = Instant::now();
    println!("{test}: {schedules:?}, seed {}", settings.seed);
    let report = explore(&settings, body).unwrap_or_else(|failure| panic!("{}", repeatable(test, &failure)));
    println!(
        "{test}: {} schedules, {} steps, {:.1} s: {:?}",
        report.schedules,
        report.steps,
        start.elapsed().as_secs_f32(),
        report.outcomes
    );
    if settings.replay.is_none() {
        let seen: BTreeSet<_> = report.outcomes.keys().copied().collect();
        let expected: BTreeSet<_> = expected.iter().copied().collect();
        let seed = settings.seed;
        assert_eq!(seen, expected, "the outcomes that were seen, and those that should be; seed {seed}");
    }
    report
}

/// What to print for a failure: what it was, the execution, and the command that repeats it.
fn repeatable(test: &str, failure: &Failure) -> String {
    let replay = match store(test, &failure.schedule) {
        Ok(path) => path.display().to_string(),
        // A schedule is digits and `:,*`; the quotes are for the star.
        Err(_) => format!("'{}'", failure.schedule),
    };
    let shown = counterexample::show(test, &failure.message, &failure.trace.execution(), Orderings::Source);
    format!(
        "{shown}\nrepeat this schedule:\nARENAQ_SHUTTLE_REPLAY={replay} \
         cargo test --features shuttle --test shuttle -- --include-ignored --exact {test}\n"
    )
}

fn store(test: &str, schedule: &str) -> std::io::Result<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schedules");
    std::fs::create_dir_all(&directory)?;
    let path = directory.join(test.replace("::", "-"));
    std::fs::write(&path, schedule)?;
    Ok(path)
}

/// The name of the test in which it stands, as the test harness knows it.
macro_rules! test_name {
    () => {{
        fn here() {}
        let name = std::any::type_name_of_val(&here).trim_end_matches("::here");
        name.split_once("::").map_or(name, |(_, test)| test)
    }};
}
pub(crate) use test_name;
