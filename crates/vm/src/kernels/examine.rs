//! One kernel, step by step. What does not work is a result, not an error.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::accelerator::Accelerator;
use crate::arch::Arch;
use crate::console::complaints;
use crate::crash;
use crate::files::{self, Summary};
use crate::guest;
use crate::kernels::load::{self, Loaded};
use crate::kernels::outcome::Outcome;
use crate::kernels::programs::{Programs, place};
use crate::kernels::several;
use crate::machine::{Ended, Machine};

/// What is done on every kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `arenaq doctor`.
    Doctor,
    /// `arenaq verifier`.
    Verifier,
    /// Files that are created, through this queue.
    Files(&'static str),
    /// `arenaq load`, with this object of those in the file, or the one that it chooses.
    Load(Option<&'static str>),
    /// The test program of this name.
    Test(String),
}

impl Step {
    /// All that there are with these programs.
    pub fn all(programs: &Programs) -> Vec<Step> {
        let mut all = vec![Step::Doctor, Step::Verifier];
        all.extend(files::QUEUES.map(Step::Files));
        all.extend(Step::loads(programs));
        all.extend(Step::tests(programs));
        all
    }

    /// Only `arenaq load`, if there is an object for it.
    pub fn loads(programs: &Programs) -> Vec<Step> {
        if programs.has_object { load::OBJECTS.map(Step::Load).to_vec() } else { Vec::new() }
    }

    /// Those that a guest takes one after the other: what is done quickly together, for a boot takes longer than most of it, and each
    /// test program alone.
    pub(crate) fn guests(steps: &[Step]) -> impl Iterator<Item = &[Step]> {
        steps.chunk_by(|one, other| ![one, other].iter().any(|step| matches!(step, Step::Test(_))))
    }

    /// Only the test programs.
    pub fn tests(programs: &Programs) -> Vec<Step> {
        programs.tests.iter().cloned().map(Step::Test).collect()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Doctor => f.write_str("doctor"),
            Step::Verifier => f.write_str("verifier"),
            Step::Files(queue) => write!(f, "files, {queue}"),
            Step::Load(None) => f.write_str("load"),
            Step::Load(Some(object)) => write!(f, "load, {object}"),
            Step::Test(name) => write!(f, "tests/{name}"),
        }
    }
}

/// What `arenaq doctor --json` prints.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Doctor {
    pub(crate) can_run: bool,
    pub(crate) checks: Vec<Check>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) verdict: String,
    pub(crate) found: String,
}

impl Check {
    pub(crate) fn is_good(&self) -> bool {
        self.verdict == "good"
    }
}

/// A row of `arenaq verifier --json`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Cost {
    pub(crate) program: String,
    pub(crate) hook: String,
    pub(crate) queue: String,
    pub(crate) instructions: String,
    pub(crate) verified_instructions: Option<u64>,
    pub(crate) states: Option<u64>,
    pub(crate) error: Option<String>,
}

/// Of a step that nobody asked for.
const NOT_TRIED: &str = "not tried";

/// A result, or why there is none.
pub(crate) type Tried<T> = Result<T, String>;

/// What an examination was made of, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Subject {
    /// The kernel, as [`Image`](crate::image::Image) has it.
    pub release: String,
    /// The guest's architecture.
    pub arch: Arch,
    /// What the kernel is there for.
    pub why: String,
    /// Under which circumstances, by their name in the list; `None` are the ordinary ones.
    pub circumstance: Option<String>,
    /// How the guest's instructions were run.
    pub accelerator: String,
    /// How many processors it had.
    pub cpus: u32,
}

/// What a step has shown.
pub(crate) enum Shown {
    Doctor(Tried<Doctor>),
    Verifier(Tried<Vec<Cost>>),
    Files(&'static str, Tried<Summary>),
    Load(Option<&'static str>, Tried<Loaded>),
    Test(String, Tried<Outcome>),
}

/// Steps that are being taken, in one guest.
pub(crate) struct Attempt<'a> {
    pub(crate) steps: &'a [Step],
    pub(crate) machine: &'a Machine,
    /// The tests that are left out.
    pub(crate) skips: &'a [String],
    /// What the kernel complained of.
    pub(crate) complaints: Vec<String>,
}

impl Attempt<'_> {
    /// Does it. If the guest does not get to the end, each step has a guest of its own.
    pub(crate) fn take(&mut self) -> Vec<Shown> {
        match self.guest() {
            Ok(ended) => {
                self.steps.iter().zip(ended).map(|(step, ended)| self.shown(step, Ok(ended))).collect()
            }
            Err(error) if let [step] = self.steps => vec![self.shown(step, Err(error))],
            Err(error) => {
                let line = error.lines().next().unwrap_or_default();
                self.complaints.push(format!("{}: {line}; each was tried alone", self.steps_together()));
                let mut shown = Vec::new();
                for step in self.steps.chunks(1) {
                    let mut alone = Attempt { steps: step, complaints: Vec::new(), ..*self };
                    shown.extend(alone.take());
                    self.complaints.extend(alone.complaints);
                }
                shown
            }
        }
    }

    /// Runs the commands, [once more](crash::twice) if the guest's kernel crashed, and remembers what it complained of.
    fn guest(&mut self) -> Tried<Vec<Ended>> {
        let commands: Vec<_> = self.steps.iter().map(|step| self.command(step)).collect();
        let (ended, crash) = crash::twice(|| several::run(self.machine, &commands));
        let console = ended.iter().flatten().next().map_or("", |ended| &ended.console);
        let steps = self.steps_together();
        let complaints = crash.into_iter().chain(complaints(console));
        self.complaints.extend(complaints.map(|line| format!("{steps}: {line}")));
        ended.map_err(|error| format!("{error:#}"))
    }

    fn steps_together(&self) -> String {
        self.steps.iter().map(Step::to_string).collect::<Vec<_>>().join(", ")
    }

    fn command(&self, step: &Step) -> Vec<String> {
        match step {
            Step::Doctor => guest::command(["doctor", "--json"]),
            Step::Verifier => guest::command(["verifier", "--json"]),
            Step::Files(queue) => files::command(queue, self.machine.accelerator),
            Step::Load(object) => load::command(*object),
            Step::Test(name) => {
                // One test after the other: most spin on several processors, and guests run side by side already.
                let test = [&*place(name), "--nocapture", "--test-threads=1"];
                let fewer = fewer(self.machine.accelerator);
                let mut command: Vec<_> = fewer.iter().chain(&test).map(|&word| word.to_owned()).collect();
                command.extend(self.skips.iter().flat_map(|test| ["--skip".to_owned(), test.clone()]));
                command
            }
        }
    }

    fn shown(&self, step: &Step, ended: Tried<Ended>) -> Shown {
        fn tried<T>(ended: Tried<Ended>, read: impl FnOnce(&Ended) -> anyhow::Result<T>) -> Tried<T> {
            read(&ended?).map_err(|error| format!("{error:#}"))
        }
        let accelerator = self.machine.accelerator;
        match step {
            Step::Doctor => Shown::Doctor(tried(ended, json)),
            Step::Verifier => Shown::Verifier(tried(ended, json)),
            Step::Files(queue) => Shown::Files(queue, tried(ended, |ended| files::read(ended, accelerator))),
            Step::Load(object) => Shown::Load(*object, tried(ended, |ended| load::read(ended, *object))),
            Step::Test(name) => Shown::Test(name.clone(), tried(ended, Outcome::read)),
        }
    }
}

fn json<T: DeserializeOwned>(ended: &Ended) -> anyhow::Result<T> {
    serde_json::from_str(&ended.stdout)
        .with_context(|| format!("exit code {}, {}{}", ended.code, ended.stderr, ended.stdout))
}

/// What goes before a test's command: where a process takes a second to start, fewer consumers are killed.
fn fewer(accelerator: Accelerator) -> &'static [&'static str] {
    match accelerator {
        Accelerator::Kvm => &[],
        Accelerator::Emulation { .. } => &["/bin/busybox", "env", "ARENAQ_KILLS=8"],
    }
}

/// Everything on one kernel.
#[derive(Debug, Serialize, Deserialize)]
pub struct Examined {
    /// What this is about.
    pub subject: Subject,
    /// When it began, in seconds since 1970.
    pub(crate) time: u64,
    /// How long all steps took together, boots included.
    pub(crate) seconds: f64,
    pub(crate) doctor: Tried<Doctor>,
    pub(crate) verifier: Tried<Vec<Cost>>,
    pub(crate) files: BTreeMap<String, Tried<Summary>>,
    /// By the object that was asked for.
    pub(crate) loads: Vec<(Option<String>, Tried<Loaded>)>,
    pub(crate) tests: Vec<(String, Tried<Outcome>)>,
    /// What the kernel itself complained of, with the step in which it did.
    pub(crate) complaints: Vec<String>,
}

impl Examined {
    pub(crate) fn new(subject: Subject) -> Examined {
        let not_tried = || NOT_TRIED.to_owned();
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Examined {
            subject,
            time,
            seconds: 0.0,
            doctor: Err(not_tried()),
            verifier: Err(not_tried()),
            files: BTreeMap::new(),
            loads: Vec::new(),
            tests: Vec::new(),
            complaints: Vec::new(),
        }
    }

    /// Keeps what a step has shown, and says it in a few words.
    pub(crate) fn keep(&mut self, shown: Shown) -> String {
        match shown {
            Shown::Doctor(doctor) => {
                self.doctor = doctor;
                words(
                    &self.doctor,
                    |doctor| {
                        if doctor.can_run { "works".to_owned() } else { "CANNOT RUN".to_owned() }
                    },
                )
            }
            Shown::Verifier(costs) => {
                self.verifier = costs;
                words(&self.verifier, |costs| format!("{} programs", costs.len()))
            }
            Shown::Files(queue, summary) => {
                let said = words(&summary, Summary::to_string);
                self.files.insert(queue.to_owned(), summary);
                said
            }
            Shown::Load(object, loaded) => {
                let said = words(&loaded, Loaded::to_string);
                self.loads.push((object.map(str::to_owned), loaded));
                said
            }
            Shown::Test(name, outcome) => {
                let said = words(&outcome, |outcome| {
                    let [failed, skipped] = [outcome.failed.len(), outcome.skipped.len()];
                    format!("{} passed, {failed} failed, {skipped} SKIPPED", outcome.passed)
                });
                self.tests.push((name, outcome));
                said
            }
        }
    }

    /// Several guests run at once, and end in any order: what they have shown is kept in that of the steps.
    pub(crate) fn sort(&mut self, steps: &[Step]) {
        let place = |step: Step| steps.iter().position(|known| *known == step);
        self.tests.sort_by_key(|(name, _)| place(Step::Test(name.clone())));
        self.loads.sort_by_key(|(object, _)| {
            steps.iter().position(|step| matches!(step, Step::Load(of) if *of == object.as_deref()))
        });
        self.complaints.sort();
    }

    /// Whether one of these steps failed.
    pub fn failed(&self, steps: &[Step]) -> bool {
        steps.iter().any(|step| match step {
            Step::Doctor => !self.doctor.as_ref().is_ok_and(|doctor| doctor.can_run),
            Step::Verifier => self.verifier.is_err(),
            Step::Files(queue) => self.files.get(*queue).is_none_or(Result::is_err),
            Step::Load(object) => {
                let loaded = self.loads.iter().find(|(asked, _)| asked.as_deref() == *object);
                loaded.is_none_or(|(_, loaded)| loaded.is_err())
            }
            Step::Test(name) => {
                let outcome = self.tests.iter().find(|(is, _)| is == name);
                !outcome.is_some_and(|(_, outcome)| outcome.as_ref().is_ok_and(|it| it.failed.is_empty()))
            }
        })
    }

    /// The day on which it was made, such as 2026-11-27.
    pub(crate) fn day(&self) -> String {
        let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(self.time)).to_string();
        time.split('T').next().unwrap_or_default().to_owned()
    }

    /// Whether nothing failed of what was tried. What a kernel cannot do, and says so, is no failure.
    pub(crate) fn works(&self) -> bool {
        fn is_good<T>(tried: &Tried<T>, good: impl FnOnce(&T) -> bool) -> bool {
            match tried {
                Ok(result) => good(result),
                Err(error) => error == NOT_TRIED,
            }
        }
        is_good(&self.doctor, |doctor| doctor.can_run)
            && is_good(&self.verifier, |_| true)
            && self.files.values().all(Result::is_ok)
            && self.loads.iter().all(|(_, loaded)| loaded.is_ok())
            && self.tests.iter().all(|(_, outcome)| outcome.as_ref().is_ok_and(|o| o.failed.is_empty()))
    }
}

fn words<T>(tried: &Tried<T>, say: impl FnOnce(&T) -> String) -> String {
    match tried {
        Ok(result) => say(result),
        Err(error) => format!("FAILED: {}", error.lines().next().unwrap_or_default()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Examined, Shown, Step, Subject};
    use crate::arch::Arch;

    /// A kernel of x86-64, under the ordinary circumstances.
    pub(crate) fn subject(release: &str) -> Subject {
        Subject {
            release: release.to_owned(),
            arch: Arch::X86_64,
            why: "the newest".to_owned(),
            circumstance: None,
            accelerator: "emulation".to_owned(),
            cpus: 4,
        }
    }

    #[test]
    fn what_guests_have_shown_is_in_the_order_of_the_steps_whichever_ended_first() {
        let steps = ["b", "a", "c"].map(|name| Step::Test(name.to_owned()));
        let mut examined = Examined::new(subject("7.3.4"));
        for name in ["c", "a", "b"] {
            examined.keep(Shown::Test(name.to_owned(), Err(String::new())));
        }
        for object in [Some("tso"), None] {
            examined.keep(Shown::Load(object, Err(String::new())));
        }
        examined.sort(&[&steps[..], &[Step::Load(None), Step::Load(Some("tso"))]].concat());
        let tests: Vec<_> = examined.tests.iter().map(|(name, _)| &**name).collect();
        let loads: Vec<_> = examined.loads.iter().map(|(object, _)| object.as_deref()).collect();
        assert_eq!((tests, loads), (vec!["b", "a", "c"], vec![None, Some("tso")]));
    }
}
