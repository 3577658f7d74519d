//! What the platform trait costs in userspace: instructions of each operation, counted by callgrind, against
//! a twin that was written by hand without the trait. They must be equal.
//!
//! Unconditional jumps are shown and not compared: which of the paths falls through to the common return, and
//! which jumps there, follows from the order in which rustc emits the blocks of a generic and of a plain
//! function, and what one path loses by it another wins.
//!
//! Records have no twin: what they cost is counted, and kept from growing.
//!
//! `cargo bench --package arenaq-cost` counts and compares. With `counts` as its argument the program counts arenaq
//! alone and prints TOML, which `cargo xtask instructions` compares with `instructions.toml` beside this file. With an
//! operation as its argument it only runs that operation, for callgrind.

mod twin;

use std::hint::black_box;
use std::process::{Command, ExitCode};

use arenaq::mpmc::{self, Capacity};
use arenaq::mpsc;
use arenaq::platform::{Native, Platform, Word};
use arenaq::pool::Pool;
use arenaq::records::{self, Geometry, Log, Records};
use arenaq::{KeyValue, PopError, PushError};

type Ring<'a> = mpmc::Ring<'a, Native, KeyValue>;
type List<'a> = mpsc::List<'a, Native, KeyValue>;
type Consumer<'a> = mpsc::Consumer<'a, Native, KeyValue>;

/// How often each operation runs under callgrind. A multiple of the capacity, so that every path is met
/// equally often by both.
const RUNS: u64 = 4096;
const CAPACITY: u64 = 512;

/// One exported function for each operation and side. The number, hidden from the optimiser, keeps it from
/// merging two functions whose bodies are equal; it costs both sides the same.
macro_rules! measured {
    ($($number:literal $name:ident($($argument:ident: $type:ty),*) -> $result:ty = $body:expr;)*) => {
        $(
            // SAFETY: no other function in this program has the name.
            #[unsafe(no_mangle)]
            #[inline(never)]
            fn $name($($argument: $type),*) -> $result {
                black_box($number);
                $body
            }
        )*
    };
}

measured! {
    1u32 arenaq_mpmc_push(queue: &Ring<'_>, value: KeyValue) -> Result<(), PushError> = queue.push(value);
    2u32 twin_mpmc_push(queue: &twin::Ring<'_>, value: KeyValue) -> Result<(), PushError> = queue.push(value);
    3u32 arenaq_mpmc_pop(queue: &Ring<'_>) -> Result<KeyValue, PopError> = queue.pop();
    4u32 twin_mpmc_pop(queue: &twin::Ring<'_>) -> Result<KeyValue, PopError> = queue.pop();
    5u32 arenaq_mpsc_push(queue: &List<'_>, value: KeyValue) -> Result<(), PushError> = queue.push(value);
    6u32 twin_mpsc_push(queue: &twin::List<'_>, value: KeyValue) -> Result<(), PushError> = queue.push(value);
    7u32 arenaq_mpsc_pop(consumer: &mut Consumer<'_>) -> Result<KeyValue, PopError> = consumer.pop();
    8u32 twin_mpsc_pop(consumer: &mut twin::Consumer<'_>) -> Result<KeyValue, PopError> = consumer.pop();
    9u32 arenaq_records_push(records: &Records<'_, Native>, value: KeyValue) -> Result<(), PushError> =
        records.push_words(&[value.key, value.value], 0);
    10u32 arenaq_records_pop(consumer: &mut records::Consumer<'_, Native>) -> Result<KeyValue, PopError> =
        match consumer.pop_in_place(|record| record.read()) {
            Ok(Some(value)) => value.ok_or(PopError::Invalid),
            Ok(None) => Err(PopError::Empty),
            Err(_) => Err(PopError::Corrupt),
        };
}

/// What is measured: how the function is called in between what is not.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Case {
    /// Every call succeeds.
    Success,
    /// Every call is refused: the queue is full, exhausted or empty.
    Refusal,
}

/// Those that are compared with a twin, and those that are only counted.
const TWINS: [&str; 4] = ["mpmc_push", "mpmc_pop", "mpsc_push", "mpsc_pop"];
const ALONE: [&str; 2] = ["records_push", "records_pop"];

fn item(serial: u64) -> KeyValue {
    KeyValue { key: serial, value: !serial }
}

/// Calls `push` and `pop` so that every push, or every pop, has the outcome of the case.
fn drive(
    operation: &str,
    case: Case,
    mut push: impl FnMut(KeyValue) -> Result<(), PushError>,
    mut pop: impl FnMut() -> Result<KeyValue, PopError>,
) {
    match case {
        Case::Success => {
            for burst in 0..RUNS / CAPACITY {
                for serial in 0..CAPACITY {
                    push(item(burst * CAPACITY + serial)).expect("room");
                }
                for serial in 0..CAPACITY {
                    assert_eq!(pop(), Ok(item(burst * CAPACITY + serial)));
                }
            }
        }
        Case::Refusal if operation.ends_with("pop") => {
            for _ in 0..RUNS {
                assert_eq!(pop(), Err(PopError::Empty));
            }
        }
        // The pushes that succeed count as well; both sides have as many.
        Case::Refusal => {
            for serial in 0..RUNS {
                // A pool has a few nodes more than elements.
                let is_refused = push(item(serial)).is_err();
                assert!(is_refused == (serial >= CAPACITY) || serial < 2 * CAPACITY);
            }
        }
    }
}

/// The child's part.
fn run(side: &str, operation: &str, case: Case) {
    let (nodes, _) = arenaq::pool::nodes_for(CAPACITY);
    let (structure, _) = operation.split_once('_').expect("an operation of a structure");
    match (side, structure) {
        (_, "records") => {
            // Half of the words are the first lane's: as many as so many records take, of two words and their headers.
            let geometry = Geometry::new(1, 2 * 4 * 8 * CAPACITY, 16).expect("a power of two");
            let log = Log::new(geometry);
            let records = log.records();
            let mut consumer = records.consumer(0).expect("nobody else");
            drive(
                operation,
                case,
                |value| arenaq_records_push(&records, value),
                || arenaq_records_pop(&mut consumer),
            );
        }
        ("arenaq", "mpmc") => {
            let cells: Vec<mpmc::Cell<Native, KeyValue>> =
                (0..CAPACITY).map(|_| mpmc::Cell::empty()).collect();
            let head = mpmc::Head::empty();
            let capacity = Capacity::new(CAPACITY).expect("a capacity");
            // SAFETY: so many cells, never freed, and nobody else is here.
            unsafe { head.init(cells.leak().as_mut_ptr(), capacity) }.expect("nothing ends the loop");
            let ring = head.ring().expect("a queue");
            drive(operation, case, |value| arenaq_mpmc_push(&ring, value), || arenaq_mpmc_pop(&ring));
        }
        ("twin", "mpmc") => {
            let head = twin::Mpmc::new(CAPACITY);
            let ring = head.ring();
            drive(operation, case, |value| twin_mpmc_push(&ring, value), || twin_mpmc_pop(&ring));
        }
        ("arenaq", _) => {
            let memory: Vec<mpsc::Node<Native, KeyValue>> = (0..nodes).map(|_| mpsc::Node::empty()).collect();
            let links: Vec<_> = (0..nodes).map(|_| <Native as Platform>::Word::new(0)).collect();
            let (pool, head) = (Pool::empty(), mpsc::Head::empty());
            // SAFETY: so many of both, never freed, and nobody else is here.
            unsafe { pool.init(memory.leak().as_mut_ptr(), links.leak().as_mut_ptr(), nodes) };
            let pool = pool.nodes().expect("a pool");
            // SAFETY: as above.
            unsafe {
                let chain = pool.grow(nodes).expect("within the limit");
                pool.free_chain(chain).expect("nobody else");
                head.init(pool).expect("a stub");
            }
            let list = head.list(pool).expect("a queue");
            // SAFETY: the only consumer.
            let mut consumer = unsafe { Consumer::new(list) }.expect("a stub");
            drive(operation, case, |value| arenaq_mpsc_push(&list, value), || arenaq_mpsc_pop(&mut consumer));
        }
        _ => {
            let pool = twin::Pool::new(nodes);
            let head = twin::Mpsc::new(pool.nodes());
            let list = head.list(pool.nodes());
            let mut consumer = twin::Consumer::new(list);
            drive(operation, case, |value| twin_mpsc_push(&list, value), || twin_mpsc_pop(&mut consumer));
        }
    }
}

/// What callgrind saw between entry and exit of a function, over all runs.
#[derive(Clone, Copy)]
struct Count {
    instructions: u64,
    /// How many of them are unconditional jumps.
    jumps: u64,
}

impl Count {
    fn without_jumps(self) -> u64 {
        self.instructions - self.jumps
    }
}

/// Runs one operation of one side under callgrind.
fn count(side: &str, operation: &str, case: Case) -> Result<Count, String> {
    let myself = std::env::current_exe().map_err(|error| format!("where am I? {error}"))?;
    let symbol = format!("{side}_{operation}");
    let profile = std::env::temp_dir().join(format!("arenaq-{}-{symbol}-{case:?}", std::process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--dump-instr=yes", "--collect-jumps=yes"])
        .arg(format!("--toggle-collect={symbol}"))
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(myself)
        .args(["run", side, operation, &format!("{case:?}")])
        .output()
        .map_err(|error| {
            format!("valgrind does not start ({error}): install it, e.g. `apt-get install valgrind`")
        })?;
    let text = std::fs::read_to_string(&profile);
    let _ = std::fs::remove_file(&profile);
    if !output.status.success() {
        return Err(format!("valgrind: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    let text = text.map_err(|error| format!("no profile: {error}"))?;
    let number = |line: &str| line.split_whitespace().next()?.parse::<u64>().ok();
    let instructions = text
        .lines()
        .find_map(|line| number(line.strip_prefix("totals: ")?))
        .filter(|total| *total > 0)
        .ok_or_else(|| format!("callgrind saw no call of {symbol}: is it still exported and not inlined?"))?;
    // `jump=times target ...`
    let jumps = text.lines().filter_map(|line| number(line.strip_prefix("jump=")?)).sum();
    Ok(Count { instructions, jumps })
}

/// Counts and compares everything; false if anything differs.
fn compare() -> Result<bool, String> {
    println!("instructions of a call, over {RUNS} calls under callgrind; unconditional jumps apart\n");
    println!("| operation | outcome | arenaq | twin | jumps, arenaq | jumps, twin | |");
    println!("|---|---|---:|---:|---:|---:|---|");
    let mut equal = true;
    for case in [Case::Success, Case::Refusal] {
        for operation in TWINS {
            let (ours, theirs) = (count("arenaq", operation, case)?, count("twin", operation, case)?);
            let same = ours.without_jumps() == theirs.without_jumps();
            equal &= same;
            println!(
                "| {operation} | {case:?} | {:.3} | {:.3} | {:.3} | {:.3} | {} |",
                per_call(ours.without_jumps()),
                per_call(theirs.without_jumps()),
                per_call(ours.jumps),
                per_call(theirs.jumps),
                if same { "equal" } else { "DIFFERENT" }
            );
        }
    }
    Ok(equal)
}

/// Counts arenaq alone, for `cargo xtask instructions`.
fn print_counts() -> Result<(), String> {
    for operation in TWINS.into_iter().chain(ALONE) {
        println!("[{operation}]");
        for (name, case) in [("success", Case::Success), ("refusal", Case::Refusal)] {
            println!("{name} = {:.3}", per_call(count("arenaq", operation, case)?.without_jumps()));
        }
    }
    Ok(())
}

fn per_call(total: u64) -> f64 {
    total as f64 / RUNS as f64
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    if let ["run", side, operation, case] = arguments[..] {
        let case = if case == "Refusal" { Case::Refusal } else { Case::Success };
        run(side, operation, case);
        return ExitCode::SUCCESS;
    }
    // Cargo adds `--bench`.
    let compared = if arguments.first() == Some(&"counts") {
        match print_counts() {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => Err(error),
        }
    } else {
        compare()
    };
    match compared {
        Ok(true) => {
            println!("\nequal: the platform trait costs nothing");
            ExitCode::SUCCESS
        }
        Ok(false) => {
            eprintln!("\nerror: the platform trait costs instructions");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("\nerror: nothing was measured: {error}");
            ExitCode::FAILURE
        }
    }
}
