//! What the kernel's verifier has to do for each program.

use std::fmt;

use libbpf_rs::OpenProgram;
use serde::Serialize;

use crate::error::Error;
use crate::hook::Hook;
use crate::instructions;
use crate::kernel::{self, Config, QueueKind};
use crate::log;
use crate::object::Instructions;
use crate::refusal::Refusal;
use crate::require;

/// The log level at which the kernel writes nothing but its statistics: `BPF_LOG_STATS`.
const STATISTICS: u32 = 4;
/// Enough for the programs' variables: nothing runs.
const PAGES: u32 = 16;
/// The hook of a program that serves all of them.
const ANY: &str = "any";

/// One program, loaded by itself for one queue.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// The program.
    pub program: String,
    /// The hook to which it belongs, or `any`.
    pub hook: &'static str,
    /// The queue for which it was loaded.
    pub queue: &'static str,
    /// The object of which it is.
    pub instructions: &'static str,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What the kernel made of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// It is loaded.
    Accepted {
        /// How many instructions the verifier followed, each as often as it came by.
        verified_instructions: u64,
        /// How many states of registers and stack it kept.
        states: u64,
    },
    /// It is not.
    Refused {
        /// What the kernel said, in one line.
        error: String,
    },
}

impl Cost {
    /// Whether the kernel has loaded the program.
    pub fn is_accepted(&self) -> bool {
        matches!(self.outcome, Outcome::Accepted { .. })
    }
}

/// Loads every program of an object for both queues, each by itself, and takes it away again. Nothing is
/// attached or run. Without `wanted` the object is the one that this kernel can run.
///
/// # Errors
///
/// [`Error`] if the process may not load anything, or the object is none for this machine. A program that the
/// kernel refuses is an [`Outcome`].
pub fn measure(wanted: Option<Instructions>) -> Result<Vec<Cost>, Error> {
    require::bpf()?;
    let instructions = instructions::choose(wanted)?;
    let mut costs: Vec<Cost> = Vec::new();
    for queue in [QueueKind::Mpsc, QueueKind::Mpmc] {
        for hook in Hook::ALL {
            let config = Config { queue, hook, ..Config::default() };
            for program in programs(&config, instructions)? {
                let name = if program == hook.program() { hook.name() } else { ANY };
                let is_known = |cost: &Cost| cost.program == program && cost.queue == queue.name();
                if !costs.iter().any(is_known) {
                    let outcome = load(&config, instructions, &program);
                    costs.push(Cost {
                        program,
                        hook: name,
                        queue: queue.name(),
                        instructions: instructions.name(),
                        outcome,
                    });
                }
            }
        }
    }
    Ok(costs)
}

/// The programs that a configuration needs.
fn programs(config: &Config, instructions: Instructions) -> Result<Vec<String>, Error> {
    let (open, _) = log::capture(|| kernel::open(config, instructions, PAGES));
    let open = open.map_err(Error::bpf("opening the BPF object"))?;
    let needed = open.progs().filter(OpenProgram::autoload);
    Ok(needed.map(|program| program.name().to_string_lossy().into_owned()).collect())
}

fn load(config: &Config, instructions: Instructions, program: &str) -> Outcome {
    let (loaded, messages) = log::capture(|| {
        let mut open = kernel::open(config, instructions, PAGES)?;
        for mut candidate in open.progs_mut() {
            let is_wanted = candidate.name() == program;
            candidate.set_autoload(is_wanted);
            candidate.set_log_level(STATISTICS);
        }
        open.load()
    });
    match (loaded, statistics(&messages)) {
        (Ok(_), Some((verified_instructions, states))) => Outcome::Accepted { verified_instructions, states },
        (Ok(_), None) => {
            Outcome::Refused { error: "it is loaded, but the verifier told no statistics".to_owned() }
        }
        (Err(error), _) => Outcome::Refused { error: Refusal::new(&error, messages).to_string() },
    }
}

/// The two numbers of the line `processed N insns (limit ...) max_states_per_insn ... total_states N ...`.
fn statistics(log: &str) -> Option<(u64, u64)> {
    let line = log.lines().find(|line| line.starts_with("processed "))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let after = |name: &str| {
        let place = words.iter().position(|&word| word == name)?;
        words.get(place + 1)?.parse().ok()
    };
    Some((after("processed")?, after("total_states")?))
}

/// The costs, for people.
#[derive(Debug)]
pub struct Table<'a>(pub &'a [Cost]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<20} {:<17} {:<5} {:<15} {:>12} {:>8}",
            "program", "hook", "queue", "object", "instructions", "states"
        )?;
        for Cost { program, hook, queue, instructions, outcome } in self.0 {
            write!(f, "\n{program:<20} {hook:<17} {queue:<5} {instructions:<15} ")?;
            match outcome {
                Outcome::Accepted { verified_instructions, states } => {
                    write!(f, "{verified_instructions:>12} {states:>8}")?;
                }
                Outcome::Refused { error } => write!(f, "refused: {error}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::statistics;

    #[test]
    fn the_statistics_are_found_in_the_kernels_line() {
        let log = "libbpf: prog 'drive': -- BEGIN PROG LOAD LOG --\nverification time 512 usec\nstack depth 80\n\
                   processed 1482 insns (limit 1000000) max_states_per_insn 4 total_states 96 peak_states 95 \
                   mark_read 30\n\
                   -- END PROG LOAD LOG --\n";
        assert_eq!(statistics(log), Some((1482, 96)));
        assert_eq!(statistics("no log"), None);
    }
}
