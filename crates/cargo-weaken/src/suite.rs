//! The tests: which there are, and what they do as the code is.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use weaken::record::{self, End, Line, Outcome};

use crate::arguments::Arguments;
use crate::child::{self, Ending};
use crate::compile::Program;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::parallel::in_parallel;
use crate::verdict::Kill;

/// How long an unchanged test may take if nothing else is said.
const UNCHANGED_LIMIT: Duration = Duration::from_secs(600);
/// What a changed test has beyond ten times what it takes unchanged.
const CHANGED_EXTRA: Duration = Duration::from_secs(30);

/// A test that runs a model.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    pub(crate) program: Program,
    pub(crate) name: String,
    /// Its models, as they are unchanged.
    pub(crate) models: Vec<End>,
    pub(crate) took: Duration,
}

/// Those tests.
#[derive(Debug)]
pub(crate) struct Suite {
    /// The quickest first.
    pub(crate) tests: Vec<Test>,
    /// What the user should know although nothing is wrong.
    pub(crate) warnings: Vec<String>,
    /// Options for every run.
    flags: Vec<String>,
    bound: Option<usize>,
    time_limit: Option<Duration>,
}

/// What became of one run of a test.
#[derive(Debug)]
pub(crate) struct Run {
    /// How it ended; a test that passes is a success.
    pub(crate) ending: Ending,
    pub(crate) lines: Vec<Line>,
    pub(crate) output: String,
    pub(crate) took: Duration,
}

impl Run {
    pub(crate) fn passed(&self) -> bool {
        matches!(self.ending, Ending::Exited(status) if status.success())
    }

    pub(crate) fn ends(&self) -> impl Iterator<Item = &End> {
        self.lines.iter().filter_map(|line| if let Line::End(end) = line { Some(end) } else { None })
    }

    /// The model that failed.
    pub(crate) fn failed(&self) -> Option<&End> {
        self.ends().filter(|end| end.outcome == Outcome::Failed).last()
    }

    fn has_model(&self) -> bool {
        self.lines.iter().any(|line| matches!(line, Line::Begin(_)))
    }

    /// Why it failed, in words.
    pub(crate) fn message(&self) -> String {
        match self.failed().and_then(|end| end.failure.as_ref()) {
            Some(failure) => failure.message.clone(),
            None => self.last_lines(),
        }
    }

    fn last_lines(&self) -> String {
        let lines: Vec<_> = self.output.trim_end().lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// How a test that does not pass fails.
    pub(crate) fn kill(&self, test: &str) -> Kill {
        let end = self.failed();
        let failure = end.and_then(|end| end.failure.as_ref());
        let reason = match (failure, self.ends().next()) {
            (Some(failure), _) => failure.reason.to_string(),
            // The models passed, and what the test says about them does not hold.
            (None, Some(_)) => "panic".to_owned(),
            (None, None) => "crash".to_owned(),
        };
        Kill {
            test: test.to_owned(),
            reason,
            message: self.message(),
            permutations: end.map(|end| end.permutations),
            seconds: self.took.as_secs_f64(),
            execution: failure.map(|failure| failure.execution.clone()),
        }
    }
}

/// The arguments behind `--`: what chooses tests, and what every run is given.
fn flags(rest: &[String]) -> Vec<String> {
    let mut flags = Vec::new();
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--skip" | "--test-threads" | "--format" | "--color" => {
                rest.next();
            }
            "--exact" | "--nocapture" | "--no-capture" | "--list" => {}
            flag if flag.starts_with("--skip=") || flag.starts_with("--test-threads=") => {}
            flag if flag.starts_with('-') => flags.push(flag.to_owned()),
            _ => {}
        }
    }
    flags
}

/// Runs every test once as the code is.
pub(crate) fn measure(
    arguments: &Arguments,
    programs: &[Program],
    interrupt: &Interrupt,
) -> Result<Suite, Error> {
    for variable in [record::CHANGES, record::FILE] {
        if std::env::var_os(variable).is_some() {
            return Err(Error::Environment { variable });
        }
    }
    let mut suite = Suite {
        tests: Vec::new(),
        warnings: Vec::new(),
        flags: flags(&arguments.rest),
        bound: arguments.bound,
        time_limit: arguments.time_limit.map(Duration::from_secs),
    };
    let mut names = Vec::new();
    for program in programs {
        for name in list(program, arguments, interrupt)? {
            names.push((program.clone(), name));
        }
    }
    if let (Some(filter), true) = (&arguments.filter, names.is_empty()) {
        return Err(Error::NoSuchTest { filter: filter.clone() });
    }

    let count = names.len();
    let runs = in_parallel(arguments.jobs, names, "unchanged", |(program, name), bar| {
        bar.set_message(name.clone());
        let limit = suite.time_limit.unwrap_or(UNCHANGED_LIMIT);
        let run = suite.run(&program, &name, None, limit, interrupt)?;
        bar.inc(1);
        Ok((program, name, run))
    })?;
    let mut others_failed = 0_usize;
    let mut fail_on_purpose = Vec::new();
    for (program, name, run) in runs {
        if matches!(run.ending, Ending::TimedOut) {
            let seconds = suite.time_limit.unwrap_or(UNCHANGED_LIMIT).as_secs();
            return Err(Error::TimeLimit { test: name, seconds });
        }
        if !run.has_model() {
            others_failed += usize::from(!run.passed());
            continue;
        }
        if !run.passed() {
            let failure = run.failed().map(|_| Box::new(run.kill(&name)));
            return Err(Error::FailsUnchanged { test: name, message: run.message(), failure });
        }
        if run.failed().is_some() {
            fail_on_purpose.push(name);
            continue;
        }
        let models: Vec<_> = run.ends().cloned().collect();
        suite.tests.push(Test { program, name, models, took: run.took });
    }
    if let (true, Some(test)) = (suite.tests.is_empty(), fail_on_purpose.first()) {
        let message = "a model in it fails, and the test passes all the same (#[should_panic])".into();
        return Err(Error::FailsUnchanged { test: test.clone(), message, failure: None });
    }
    if suite.tests.is_empty() {
        return Err(Error::NoModels { tests: count });
    }
    if others_failed > 0 {
        suite.warnings.push(format!(
            "{others_failed} tests fail without having begun a model of weaken: they are left out"
        ));
    }
    if !fail_on_purpose.is_empty() {
        suite.warnings.push(format!(
            "these tests pass although a model in them fails, so they say nothing about orderings and are left \
             out: {}",
            fail_on_purpose.join(", ")
        ));
    }
    suite.look_for_exploration()?;
    suite.tests.sort_by_key(|test| test.took);
    Ok(suite)
}

/// The tests of a program that were asked for.
fn list(program: &Program, arguments: &Arguments, interrupt: &Interrupt) -> Result<Vec<String>, Error> {
    let output = tempfile::NamedTempFile::new().map_err(Error::system("cannot make a temporary file"))?;
    let mut command = Command::new(&program.path);
    command.args(["--list", "--format=terse"]).args(&arguments.filter).args(&arguments.rest);
    command.current_dir(&program.folder).stdin(Stdio::null()).stderr(Stdio::null());
    command.stdout(output.reopen().map_err(Error::system("cannot use a temporary file"))?);
    let ending = child::run(command, Some(UNCHANGED_LIMIT), interrupt)?;
    let text = std::fs::read_to_string(output.path()).map_err(Error::file(output.path()))?;
    if !matches!(ending, Ending::Exited(status) if status.success()) {
        let what = program.path.display();
        return Err(Error::Usage(format!(
            "{what} does not list its tests: is it a test program of the standard harness, and are the \
             arguments after `--` for it?"
        )));
    }
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

impl Suite {
    /// How long a test may take with another ordering.
    pub(crate) fn changed_limit(&self, test: &Test) -> Duration {
        self.time_limit.unwrap_or_else(|| test.took * 10 + CHANGED_EXTRA)
    }

    /// Runs one test in a process of its own.
    pub(crate) fn run(
        &self,
        program: &Program,
        name: &str,
        change: Option<&str>,
        limit: Duration,
        interrupt: &Interrupt,
    ) -> Result<Run, Error> {
        let folder = tempfile::tempdir().map_err(Error::system("cannot make a temporary folder"))?;
        let (record, output) = (folder.path().join("record"), folder.path().join("output"));
        let file = std::fs::File::create(&output).map_err(Error::file(&output))?;
        let clone = file.try_clone().map_err(Error::file(&output))?;

        let mut command = Command::new(&program.path);
        command.args(["--exact", name, "--nocapture", "--test-threads=1"]).args(&self.flags);
        command.current_dir(&program.folder).env("CARGO_MANIFEST_DIR", &program.folder);
        command.env(record::FILE, &record).env("RUST_BACKTRACE", "0");
        if let Some(change) = change {
            command.env(record::CHANGES, change);
        }
        if let Some(bound) = self.bound {
            command.env("LOOM_MAX_PREEMPTIONS", bound.to_string());
        }
        command.stdin(Stdio::null()).stdout(file).stderr(clone);
        let start = Instant::now();
        let ending = child::run(command, Some(limit), interrupt)?;
        let took = start.elapsed();
        let output = std::fs::read(&output).map_err(Error::file(&output))?;
        let output = String::from_utf8_lossy(&output).into_owned();
        Ok(Run { ending, lines: read(&record, name, ending)?, output, took })
    }

    /// A model that explores one execution says nothing.
    fn look_for_exploration(&mut self) -> Result<(), Error> {
        let single: Vec<_> = self
            .tests
            .iter()
            .flat_map(|test| test.models.iter().map(move |model| (&test.name, model)))
            .filter(|(_, model)| model.permutations <= 1)
            .map(|(test, model)| format!("{test} ({}:{})", model.model.file, model.model.line))
            .collect();
        let models: usize = self.tests.iter().map(|test| test.models.len()).sum();
        if single.is_empty() {
            return Ok(());
        }
        let names = single.join(", ");
        if single.len() == models {
            return Err(Error::OneExecution { models: names });
        }
        self.warnings.push(format!(
            "these models explore one execution only and say nothing (loom #392 is one reason): {names}"
        ));
        Ok(())
    }
}

/// What a run wrote down.
fn read(record: &Path, test: &str, ending: Ending) -> Result<Vec<Line>, Error> {
    let text = match std::fs::read_to_string(record) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file(record)(error)),
    };
    let broken = |reason: String| Error::Record { test: test.to_owned(), reason };
    let mut lines = Vec::new();
    for line in text.lines() {
        match serde_json::from_str(line) {
            Ok(Line::Begin(begin)) if begin.version != record::VERSION => {
                return Err(broken(format!("version {} instead of {}", begin.version, record::VERSION)));
            }
            Ok(Line::Refused { reason }) => return Err(Error::Usage(reason)),
            Ok(line) => lines.push(line),
            // It was ended while it wrote.
            Err(_) if matches!(ending, Ending::TimedOut) => {}
            Err(error) => return Err(broken(error.to_string())),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::flags;

    #[test]
    fn what_chooses_tests_is_not_given_to_their_runs() {
        let rest = ["queue", "--skip", "slow", "--ignored", "--exact", "--test-threads", "4", "--skip=x"];
        assert_eq!(flags(&rest.map(str::to_owned)), ["--ignored"]);
    }
}
