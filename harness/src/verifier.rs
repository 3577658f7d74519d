//! What the kernel's verifier has to do for each program.

use arenaq::structures::Kind;
use arenaq_libbpf::{Instructions, Refusal, choose, log, require};
use libbpf_rs::{OpenObject, OpenProgram};
use serde::Serialize;

use crate::error::Error;
use crate::hook::Hook;
use crate::kernel::{self, Config};
use crate::queue::called;
use crate::screen::{BAD, Screen};

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

/// Loads every program of an object for each kind of queue, by itself, and takes it away again. Nothing is
/// attached or run. Without `wanted` the object is the one that this kernel can run.
///
/// # Errors
///
/// [`Error`] if the process may not load anything, or the object is none for this machine. A program that the
/// kernel refuses is an [`Outcome`].
pub fn measure(wanted: Option<Instructions>) -> Result<Vec<Cost>, Error> {
    require::bpf()?;
    let instructions = choose(wanted)?;
    let mut costs: Vec<Cost> = Vec::new();
    for queue in [Kind::Mpsc, Kind::Mpmc, Kind::Records] {
        for hook in Hook::ALL {
            let config = Config { queue, hook, ..Config::default() };
            for program in programs(&config, instructions)? {
                let name = if program == hook.program() { hook.name() } else { ANY };
                let is_known = |cost: &Cost| cost.program == program && cost.queue == called(queue);
                if !costs.iter().any(is_known) {
                    let outcome = load_alone(|| kernel::open(&config, instructions, PAGES), &program);
                    costs.push(Cost {
                        program,
                        hook: name,
                        queue: called(queue),
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

/// Loads one program of an object that was opened, and nothing else of it, and takes it away again.
pub fn load_alone(open: impl FnOnce() -> libbpf_rs::Result<OpenObject>, program: &str) -> Outcome {
    let (loaded, messages) = log::capture(|| {
        let mut open = open()?;
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

/// The costs as a table, and below it what the kernel said of the programs that it refuses.
pub fn table(costs: &[Cost], screen: Screen) -> String {
    let mut lines = match costs.first() {
        Some(cost) => vec![format!("object {}", cost.instructions)],
        None => Vec::new(),
    };
    let is_narrow = screen.is_narrower_than(70);
    let row = |program: &str, hook: &str, queue: &str, instructions: &str, states: &str| {
        if is_narrow {
            format!("{program:<19} {instructions:>12} {states:>6}")
        } else {
            format!("{program:<20} {hook:<17} {queue:<7} {instructions:>12} {states:>8}")
        }
    };
    let mut queue = "";
    for cost in costs {
        // Where there is no room for a column, each queue has a heading.
        if queue.is_empty() || (is_narrow && queue != cost.queue) {
            lines.push(if is_narrow { format!("\n{}", cost.queue) } else { String::new() });
            lines.push(row("program", "hook", "queue", "instructions", "states"));
        }
        queue = cost.queue;
        let (instructions, states) = match &cost.outcome {
            Outcome::Accepted { verified_instructions, states } => {
                (verified_instructions.to_string(), states.to_string())
            }
            Outcome::Refused { .. } => ("refused".to_owned(), "-".to_owned()),
        };
        let row = row(&cost.program, cost.hook, cost.queue, &instructions, &states);
        lines.push(if cost.is_accepted() { row } else { screen.paint(BAD, &row) });
    }
    let mut told = Vec::new();
    for cost in costs {
        if let Outcome::Refused { error } = &cost.outcome
            && !told.contains(&error)
        {
            lines.push(screen.behind(2, &format!("\n{} is refused: {error}", cost.program)));
            told.push(error);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Cost, Outcome, statistics, table};
    use crate::screen::{Screen, longest_line};

    fn cost(program: &str, hook: &'static str, queue: &'static str, outcome: Outcome) -> Cost {
        Cost { program: program.to_owned(), hook, queue, instructions: "acquire-release", outcome }
    }

    #[test]
    fn the_table_fits_the_terminal_and_tells_each_refusal_once() {
        let accepted = Outcome::Accepted { verified_instructions: 999_999, states: 99_999 };
        let refused =
            Outcome::Refused { error: "Operation not permitted (prog 'on_inode_create')".to_owned() };
        let costs = ["mpsc", "mpmc", "records"].map(|queue| {
            [
                cost("on_uprobe_sleepable", "uprobe-sleepable", queue, accepted.clone()),
                cost("on_inode_create", "inode-create", queue, refused.clone()),
            ]
        });
        let costs = costs.concat();
        for columns in [40, 69, 70, 80] {
            let text = table(&costs, Screen::terminal(columns, false));
            assert!(longest_line(&text) <= columns, "{columns}:\n{text}");
            assert_eq!(text.matches("999999").count(), 3, "{text}");
            assert_eq!(text.matches("not permitted").count(), 1, "{text}");
            assert!(["mpsc", "mpmc", "records"].iter().all(|queue| text.contains(queue)), "{text}");
        }
    }

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
