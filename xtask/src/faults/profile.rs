//! Which calls a scenario makes, and so which faults can be injected.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, bail};

use crate::faults::calls::{self, Error};
use crate::faults::fault::Fault;
use crate::faults::scenarios::Scenario;
use crate::faults::traced::{self, Ended, Program, Who};
use crate::faults::trial;

/// A call that comes more often is made to fail so often at most: it is in a loop, and the next turn is like the last one.
const fn most(who: Who) -> usize {
    match who {
        Who::Main => 80,
        Who::Others => 12,
    }
}

/// The calls before the first line of ours: the loader, libc, Rust's runtime and the reading of the arguments. They are what
/// `arenaq --version` has in common with every other command.
pub(crate) struct StartUp(Vec<String>);

impl StartUp {
    pub(crate) fn of(program: &Program) -> anyhow::Result<StartUp> {
        let own = program.place.own()?;
        let ended = traced::run(program, &own, &["--version".to_owned()], &[])?;
        own.remove()?;
        if ended.code != Some(0) {
            bail!("strace does not run `arenaq --version`: {}", ended.stderr);
        }
        Ok(StartUp(ended.trace.lines().filter_map(Line::parse).map(|line| line.name.to_owned()).collect()))
    }

    /// How many of a program's calls, which are its first ones, are its start-up.
    fn length(&self, calls: &[Line<'_>]) -> usize {
        calls.iter().zip(&self.0).take_while(|(call, start)| call.name == start.as_str()).count()
    }
}

/// A call as strace writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line<'a> {
    /// Nothing if only one process is traced.
    process: Option<u32>,
    name: &'a str,
    /// Its arguments, and what it returned if nobody else came in between.
    rest: &'a str,
}

impl<'a> Line<'a> {
    /// `None` for signals, exits, and the second halves of calls.
    fn parse(line: &'a str) -> Option<Line<'a>> {
        let (process, call) = match line.split_once(' ') {
            Some((number, rest))
                if number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty() =>
            {
                (number.parse().ok(), rest.trim_start())
            }
            _ => (None, line),
        };
        let (name, rest) = call.split_at(call.find('(')?);
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        (!name.is_empty() && name.bytes().all(is_name)).then_some(Line { process, name, rest })
    }

    /// Whether it starts another program, in this process.
    fn executes(&self) -> bool {
        self.name == "execve" && (self.rest.contains("= 0") || self.rest.contains("<unfinished"))
    }
}

/// The faults of a scenario.
pub(crate) struct Profile {
    pub(crate) faults: Vec<Fault>,
}

impl Profile {
    /// Runs the scenario twice without a fault. The inner error says why this machine does not run it.
    pub(crate) fn of(
        program: &Program,
        scenario: &Scenario,
        start_up: &StartUp,
    ) -> anyhow::Result<Result<Profile, String>> {
        let mut faults = BTreeSet::new();
        for who in [Who::Main, Who::Others] {
            let outcome = trial::observe(program, scenario, who)?;
            if outcome.ended.code == Some(3) {
                return Ok(Err(outcome.ended.stderr.lines().next().unwrap_or_default().to_owned()));
            }
            if outcome.ended.code != Some(0) || !outcome.wrong.is_empty() {
                let Ended { code, stdout, stderr, .. } = outcome.ended;
                bail!(
                    "{}: wrong without any fault: {code:?} {:?}\n{stdout}{stderr}",
                    scenario.name,
                    outcome.wrong
                );
            }
            let calls = match who {
                Who::Main => of_main(&outcome.ended.trace, start_up),
                Who::Others => of_others(&outcome.ended.trace, start_up),
            };
            let mut taken: HashMap<&str, usize> = HashMap::new();
            for (name, occurrence, rest) in calls {
                let errors = calls::errors(name, rest).with_context(|| scenario.name.to_owned())?;
                let so_far = taken.entry(name).or_insert(0);
                if !errors.is_empty() && *so_far < most(who) {
                    *so_far += 1;
                    let fault =
                        |error: &Error| Fault { who, call: name.to_owned(), occurrence, error: *error };
                    faults.extend(errors.iter().map(fault));
                }
            }
        }
        Ok(Ok(Profile { faults: faults.into_iter().collect() }))
    }
}

/// Numbers the calls of one process, by their names.
fn number<'a>(calls: &[Line<'a>]) -> Vec<(&'a str, u32, &'a str)> {
    let mut counts: HashMap<&str, u32> = HashMap::new();
    let number = |line: &Line<'a>| {
        let count = counts.entry(line.name).or_insert(0);
        *count += 1;
        (line.name, *count, line.rest)
    };
    calls.iter().map(number).collect()
}

/// The calls of the main thread after its start-up.
fn of_main<'a>(trace: &'a str, start_up: &StartUp) -> Vec<(&'a str, u32, &'a str)> {
    let calls: Vec<_> = trace.lines().filter_map(Line::parse).collect();
    number(&calls).split_off(start_up.length(&calls))
}

/// What starts a thread or a process.
const STARTING: [&str; 4] = ["clone", "clone3", "fork", "vfork"];

/// The calls of all other threads and processes, as long as the program is arenaq.
///
/// strace counts in each of them by itself, and makes the n-th call fail in all. What the main thread has done so often before there
/// is another is left out, for it fails there.
fn of_others<'a>(trace: &'a str, start_up: &StartUp) -> Vec<(&'a str, u32, &'a str)> {
    let mut threads: BTreeMap<Option<u32>, Vec<Line<'a>>> = BTreeMap::new();
    let mut main = None;
    for line in trace.lines().filter_map(Line::parse) {
        main = main.or(line.process);
        threads.entry(line.process).or_default().push(line);
    }
    let main = threads.remove(&main).unwrap_or_default();
    let mut before: HashMap<&str, u32> = HashMap::new();
    for line in main.iter().take_while(|line| !STARTING.contains(&line.name)) {
        *before.entry(line.name).or_insert(0) += 1;
    }
    let mut found: BTreeMap<(&str, u32), &str> = BTreeMap::new();
    for calls in threads.into_values() {
        let numbered = number(&calls);
        let mut rest = &calls[..];
        while let Some(position) = rest.iter().position(Line::executes) {
            // Before the program, and the call that starts it.
            let begin = calls.len() - rest.len();
            found.extend(keyed(&numbered[begin..=begin + position]));
            let is_ours = rest[position].rest.contains("/proc/self/exe");
            rest = &rest[position..];
            let start = if is_ours { start_up.length(rest) } else { rest.len() };
            rest = &rest[start..];
        }
        found.extend(keyed(&numbered[calls.len() - rest.len()..]));
    }
    let reaches_us =
        |((name, count), _): &((&str, u32), &str)| *count > before.get(name).copied().unwrap_or(0);
    found.into_iter().filter(reaches_us).map(|((name, count), rest)| (name, count, rest)).collect()
}

fn keyed<'a>(calls: &[(&'a str, u32, &'a str)]) -> impl Iterator<Item = ((&'a str, u32), &'a str)> + use<'a> {
    calls.iter().map(|&(name, count, rest)| ((name, count), rest)).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::{Line, StartUp, of_main, of_others};

    fn start_up() -> StartUp {
        StartUp(["execve", "brk", "read", "write"].map(str::to_owned).to_vec())
    }

    #[test]
    fn signals_exits_and_second_halves_are_no_calls() {
        let line = Line::parse("17  read(3, \"a b\", 2) = 2").expect("a call");
        assert_eq!((line.process, line.name, line.rest), (Some(17), "read", "(3, \"a b\", 2) = 2"));
        assert_eq!(Line::parse("close(3) = 0").expect("a call").process, None);
        for other in ["--- SIGCHLD {} ---", "17 +++ exited with 0 +++", "17 <... read resumed>) = 0", ""] {
            assert_eq!(Line::parse(other), None, "{other}");
        }
    }

    #[test]
    fn what_the_start_up_has_made_is_counted_and_not_injected() {
        let trace = "execve(\"arenaq\") = 0\nbrk(0) = 1\nread(3) = 1\nbpf(1) = 3\nread(4) = 1\n";
        let calls: Vec<_> =
            of_main(trace, &start_up()).into_iter().map(|(name, count, _)| (name, count)).collect();
        assert_eq!(calls, [("bpf", 1), ("read", 2)]);
    }

    #[test]
    fn of_the_others_only_what_is_arenaq_and_does_not_fail_in_the_main_thread_before() {
        let trace = "\
1 execve(\"arenaq\") = 0
1 brk(0) = 1
1 read(3) = 1
1 clone3() = 2
1 read(4) = 1
2 read(5) = 1
2 execve(\"/proc/self/exe\") = 0
2 brk(0) = 1
2 read(3) = 1
2 kill(2, SIGSTOP) = 0
2 read(6) = 1
2 execve(\"/bin/true\") = 0
2 brk(0) = 1
3 read(3) = 1
3 poll() = 0
";
        let calls: Vec<_> =
            of_others(trace, &start_up()).into_iter().map(|(name, count, _)| (name, count)).collect();
        assert_eq!(calls, [("execve", 2), ("kill", 1), ("poll", 1), ("read", 3)]);
    }
}
