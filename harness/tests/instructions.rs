//! The compiled functions have the instructions that their sites claim, each as often as there are sites.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use arenaq::ordering::{Access, Ordering, SiteInfo};
use arenaq::structures::sites;
use arenaq_bpf_build::Toolchain;
use libbpf_rs::{ObjectBuilder, OpenProgram};

/// What an access of some ordering is in BPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Instruction {
    LoadAcquire,
    StoreRelease,
    CompareExchange,
    Exchange,
    /// An addition without a result.
    Add,
    /// An addition with a result.
    FetchAdd,
}

fn of_site(site: &SiteInfo) -> Option<Instruction> {
    match (site.access, site.order) {
        (Access::Load, Ordering::Acquire) => Some(Instruction::LoadAcquire),
        (Access::Store, Ordering::Release) => Some(Instruction::StoreRelease),
        (Access::CompareExchange, _) => Some(Instruction::CompareExchange),
        (Access::Swap, _) => Some(Instruction::Exchange),
        (Access::Add, _) => Some(Instruction::Add),
        (Access::FetchAdd, _) => Some(Instruction::FetchAdd),
        // Ordinary loads and stores, which cannot be told from the plain ones.
        (Access::Load | Access::Store, Ordering::Relaxed) | (Access::Read | Access::Write, _) => None,
        // Read-modify-writes with a result are fully ordered, so the fence behind one is nothing.
        (Access::Fence, _) => None,
        (access, order) => panic!("{}: {access:?} with {order:?} has no instruction", site.name),
    }
}

fn of_line(line: &str) -> Option<Instruction> {
    [
        ("load_acquire(", Instruction::LoadAcquire),
        ("store_release(", Instruction::StoreRelease),
        ("cmpxchg_64(", Instruction::CompareExchange),
        ("= xchg_64(", Instruction::Exchange),
        ("lock *(u64 *)", Instruction::Add),
        ("= atomic_fetch_add(", Instruction::FetchAdd),
    ]
    .into_iter()
    .find_map(|(text, instruction)| line.contains(text).then_some(instruction))
}

type Counts = BTreeMap<Instruction, usize>;

fn count(instructions: impl Iterator<Item = Instruction>) -> Counts {
    let mut counts = Counts::new();
    for instruction in instructions {
        *counts.entry(instruction).or_default() += 1;
    }
    counts
}

/// The disassembly of one function. The backend's labels (`LBB`) are symbols too, and divide it.
fn disassemble(object: &str, function: &str) -> String {
    let tools = Toolchain::find().expect("the object was compiled with it");
    let output = Command::new(tools.llvm_objdump)
        .args(["--disassemble", "--no-show-raw-insn", object])
        .output()
        .expect("llvm-objdump runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().skip_while(|line| !line.ends_with(&format!("<{function}>:"))).skip(1);
    let is_next = |line: &&str| line.ends_with(">:") && !line.contains("<LBB");
    let code: Vec<&str> = lines.take_while(|line| !is_next(line)).collect();
    assert!(code.iter().any(|line| line.ends_with("exit")), "{function} is in {object}: {code:#?}");
    code.join("\n")
}

/// Each exported function, and the operations whose sites it runs through; a site that stands at several of its ends, as often.
const FUNCTIONS: [(&str, &[&str]); 13] = [
    ("arenaq_mpmc_push", &["mpmc.push."]),
    ("arenaq_mpmc_pop", &["mpmc.pop."]),
    ("arenaq_mpsc_push", &["pool.alloc.", "pool.steal.", "mpsc.push."]),
    ("arenaq_pool_grow", &["pool.grow.", "pool.free.push_chain"]),
    ("arenaq_pool_reserve", &["pool.grow."]),
    ("arenaq_event_count_must_notify", &["eventcount.notify."]),
    // One locked instruction for a record, one more for each lane that somebody has, and one for each record that is dropped.
    ("arenaq_records_claim", &[CLAIM, CLAIM, CLAIM, CLAIM, DROP]),
    // The lane is given up when the record is published, when it has no room, and when it is larger than the scratch memory.
    ("arenaq_records_submit", &[LOOK, PUBLISH, GIVE_UP, GIVE_UP, GIVE_UP, DROP, DROP]),
    ("arenaq_records_submit_known", &[LOOK, PUBLISH, GIVE_UP, GIVE_UP, DROP]),
    ("arenaq_records_give_up", &[GIVE_UP]),
    ("arenaq_records_reserve", &[CLAIM, CLAIM, CLAIM, CLAIM, LOOK, GIVE_UP, DROP]),
    ("arenaq_records_commit", &[PUBLISH, GIVE_UP, DROP]),
    ("arenaq_records_discard", &[GIVE_UP]),
];

/// Sites of records.
const CLAIM: &str = "records.reserve.claim_owner";
const LOOK: &str = "records.reserve.load_consumed";
const PUBLISH: &str = "records.commit.publish";
const GIVE_UP: &str = "records.reserve.release_owner";
/// What could not be pushed is counted.
const DROP: &str = "drops.push.increment";

fn claimed(operations: &[&str]) -> Counts {
    let of = |operation: &&str| {
        sites().filter(|site| site.name.starts_with(operation)).filter_map(of_site).collect()
    };
    count(operations.iter().flat_map(|operation| -> Vec<Instruction> { of(operation) }))
}

/// How many constants programs of an object store without a register between.
fn immediate_stores(object: &[u8]) -> usize {
    const CLASS: u8 = 7;
    const ST: u8 = 2;
    let open = ObjectBuilder::default().open_memory(object).expect("it was compiled");
    let of = |program: OpenProgram<'_>| {
        program.insns().iter().filter(|instruction| instruction.code & CLASS == ST).count()
    };
    open.progs().map(of).sum()
}

#[test]
fn the_object_for_old_kernels_of_any_machine_has_no_immediate_store() {
    // Linux 6.12 on arm64 loses some; see `generate` in bpf/build/src/pipeline.rs.
    assert_eq!(immediate_stores(include_bytes!(env!("ARENAQ_ELEMENTS_FULL_BARRIER"))), 0);
    assert!(immediate_stores(include_bytes!(env!("ARENAQ_ELEMENTS_ACQUIRE_RELEASE"))) > 0);
}

#[test]
fn the_object_has_the_instructions_that_the_sites_claim() {
    for (function, operations) in FUNCTIONS {
        let code = disassemble(env!("ARENAQ_FUNCTIONS_ACQUIRE_RELEASE"), function);
        let found = count(code.lines().filter_map(of_line));
        assert_eq!(found, claimed(operations), "{function}:\n{code}");
        assert!(
            !code.contains("atomic_fetch_or"),
            "{function} needs no other operation with a result:\n{code}"
        );
    }
}

#[test]
fn without_the_counter_an_operation_has_one_locked_instruction_less_and_no_other_change() {
    for object in [
        env!("ARENAQ_FUNCTIONS_ACQUIRE_RELEASE"),
        env!("ARENAQ_FUNCTIONS_TSO"),
        env!("ARENAQ_FUNCTIONS_FULL_BARRIER"),
    ] {
        for function in ["arenaq_mpmc_push", "arenaq_mpmc_pop", "arenaq_mpsc_push"] {
            let mut expected = count(disassemble(object, function).lines().filter_map(of_line));
            let additions = expected.get_mut(&Instruction::Add).expect("the counter's");
            *additions -= 1;
            expected.retain(|_, times| *times > 0);
            let uncounted = disassemble(object, &format!("{function}_uncounted"));
            let found = count(uncounted.lines().filter_map(of_line));
            assert_eq!(found, expected, "{function}_uncounted:\n{uncounted}");
        }
    }
}

#[test]
fn the_sites_claim_every_kind_of_instruction_somewhere() {
    let mut all = Counts::new();
    for (_, operations) in FUNCTIONS {
        all.extend(claimed(operations));
    }
    // No push and no pop in the kernel wants the result of an addition: only who looks does.
    all.extend(claimed(&["mpmc.verify."]));
    let code = disassemble(env!("ARENAQ_FUNCTIONS_ACQUIRE_RELEASE"), "arenaq_mpmc_verify");
    // It adds nothing, of which LLVM must not make an `or`: verifiers of x86-64 refuse that one in an arena.
    assert!(code.contains("= atomic_fetch_add(") && !code.contains("atomic_fetch_or"), "{code}");
    assert_eq!(all.len(), 6, "{all:?}");
}

/// The ordinary loads and stores of a function, but for those of its stack.
fn ordinary(code: &str) -> (usize, usize) {
    let is_access = |line: &&str| line.contains("*(u64 *)(r") && !line.contains("(r10 ");
    let is_store = |line: &&str| line.contains("\t*(u64 *)(r");
    let is_atomic = |line: &&str| of_line(line).is_some();
    let accesses: Vec<&str> = code.lines().filter(is_access).filter(|line| !is_atomic(line)).collect();
    let stores = accesses.iter().copied().filter(is_store).count();
    (accesses.len() - stores, stores)
}

/// What is claimed of a function once acquire loads and release stores are something else: the other
/// instructions, the acquire loads, the release stores.
fn without_acquire_release(operations: &[&str]) -> (Counts, usize, usize) {
    let mut counts = claimed(operations);
    let acquires = counts.remove(&Instruction::LoadAcquire).unwrap_or(0);
    let releases = counts.remove(&Instruction::StoreRelease).unwrap_or(0);
    (counts, acquires, releases)
}

#[test]
fn with_total_store_order_acquire_loads_and_release_stores_are_ordinary() {
    for (function, operations) in FUNCTIONS {
        let code = disassemble(env!("ARENAQ_FUNCTIONS_TSO"), function);
        let (others, acquires, releases) = without_acquire_release(operations);
        assert_eq!(count(code.lines().filter_map(of_line)), others, "{function}:\n{code}");
        let (loads, stores) = ordinary(&disassemble(env!("ARENAQ_FUNCTIONS_ACQUIRE_RELEASE"), function));
        assert_eq!(ordinary(&code), (loads + acquires, stores + releases), "{function}:\n{code}");
    }
}

/// Says what of a function of the object with full barriers is not as its sites claim.
fn check_full_barriers(function: &str, operations: &[&str], code: &str) -> Result<(), String> {
    let (mut expected, acquires, releases) = without_acquire_release(operations);
    for (instruction, more) in [(Instruction::FetchAdd, acquires), (Instruction::Exchange, releases)] {
        if more > 0 {
            *expected.entry(instruction).or_default() += more;
        }
    }
    let found = count(code.lines().filter_map(of_line));
    if found != expected {
        return Err(format!("{found:?}, and not {expected:?}"));
    }
    // No acquire load and no release store is an ordinary one: there are as many of these as in the
    // object in which the others can be told from them.
    let told_apart = disassemble(env!("ARENAQ_FUNCTIONS_ACQUIRE_RELEASE"), function);
    let (found, expected) = (ordinary(code), ordinary(&told_apart));
    if found != expected {
        return Err(format!("{found:?} ordinary loads and stores, and not {expected:?}"));
    }
    // An acquire load is an addition of zero; the others change something.
    let program = Program::of(code);
    let mut loads = 0;
    for (address, line) in &program.lines {
        if of_line(line) == Some(Instruction::FetchAdd) {
            let result = line.split_whitespace().next().expect("an instruction has words");
            if !program.uses(*address, result) {
                return Err(format!("nobody reads the result of {line}"));
            }
            loads += usize::from(program.is_zero(*address, result));
        }
    }
    if loads != acquires {
        return Err(format!("{loads} additions of zero, and not {acquires}"));
    }
    // LLVM's `or` for an addition of zero, which x86 does not have for arenas.
    if code.contains("atomic_fetch_or") {
        return Err("an `or`".to_owned());
    }
    Ok(())
}

#[test]
fn with_full_barriers_every_acquire_load_is_an_addition_whose_result_is_used_and_every_release_store_an_exchange()
 {
    for (function, operations) in FUNCTIONS {
        let code = disassemble(env!("ARENAQ_FUNCTIONS_FULL_BARRIER"), function);
        check_full_barriers(function, operations, &code)
            .unwrap_or_else(|error| panic!("{function}: {error}\n{code}"));
    }
}

/// The line with an ordinary access in the place of the one that orders.
fn without_order(line: &str) -> Option<String> {
    let (number, text) = line.split_once(":\t")?;
    let (result, call) = text.split_once(" = ")?;
    // `atomic_fetch_add((u64 *)(r1 + 0x0), r2)`, `xchg_64(r1 + 0x0, r2)`.
    let (_, place) = call.split_once('(')?;
    let place = place.rsplit_once(',')?.0.trim_start_matches("(u64 *)(").trim_end_matches(')');
    let ordinary = match of_line(line)? {
        Instruction::FetchAdd => format!("{result} = *(u64 *)({place})"),
        Instruction::Exchange => format!("*(u64 *)({place}) = {result}"),
        _ => return None,
    };
    Some(format!("{number}:\t{ordinary}"))
}

#[test]
fn an_ordering_of_the_object_with_full_barriers_that_is_broken_on_purpose_is_noticed() {
    let mut broken = 0;
    for (function, operations) in FUNCTIONS {
        let code = disassemble(env!("ARENAQ_FUNCTIONS_FULL_BARRIER"), function);
        for line in code.lines() {
            let Some(ordinary) = without_order(line) else { continue };
            let noticed = check_full_barriers(function, operations, &code.replacen(line, &ordinary, 1));
            assert!(noticed.is_err(), "{function}: `{ordinary}` for `{line}` goes unnoticed");
            broken += 1;
        }
    }
    // Each acquire load, each release store and each swap.
    assert!(broken >= FUNCTIONS.len(), "{broken}");
}

/// The instructions of a function by their number.
struct Program<'a> {
    lines: BTreeMap<i64, &'a str>,
}

impl<'a> Program<'a> {
    fn of(code: &'a str) -> Program<'a> {
        let instruction = |line: &'a str| {
            let (address, text) = line.split_once(":\t")?;
            Some((address.trim().parse().ok()?, text.trim()))
        };
        Program { lines: code.lines().filter_map(instruction).collect() }
    }

    /// The instructions that may come next.
    fn next(&self, address: i64) -> Vec<i64> {
        let line = self.lines[&address];
        let following = self.lines.range(address + 1..).next().map(|(&next, _)| next);
        let target = line.split_once("goto ").and_then(|(_, distance)| {
            let distance = distance.split_whitespace().next()?;
            let (sign, digits) = distance.split_at(1);
            let distance = i64::from_str_radix(digits.trim_start_matches("0x"), 16).ok()?;
            Some(address + 1 + if sign == "-" { -distance } else { distance })
        });
        match (line, target) {
            ("exit", _) => Vec::new(),
            (line, Some(target)) if line.starts_with("goto") => vec![target],
            (_, target) => following.into_iter().chain(target).collect(),
        }
    }

    /// Whether a register that an instruction writes is read by one of those that may follow.
    fn uses(&self, address: i64, register: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut ahead = self.next(address);
        while let Some(address) = ahead.pop() {
            let line = self.lines[&address];
            if reads(line, register) {
                return true;
            }
            if seen.insert(address) && !writes(line, register) {
                ahead.extend(self.next(address));
            }
        }
        false
    }

    /// Whether the last instruction before that writes a register sets it to zero.
    fn is_zero(&self, address: i64, register: &str) -> bool {
        let last = self.lines.range(..address).rev().find(|(_, line)| writes(line, register));
        last.is_some_and(|(_, line)| *line == format!("{register} = 0x0"))
    }
}

fn writes(line: &str, register: &str) -> bool {
    // The name of the lower half.
    let half = register.replacen('r', "w", 1);
    [register, &half].iter().any(|name| line.starts_with(&format!("{name} ")))
}

fn reads(line: &str, register: &str) -> bool {
    let half = register.replacen('r', "w", 1);
    // What an assignment sets is not read, unless it adds to it.
    let read = match line.split_once(" = ") {
        Some((left, right)) if !left.contains('(') => right,
        _ => line,
    };
    let names = read.split(|c: char| !c.is_ascii_alphanumeric());
    let is_named = names.into_iter().any(|name| name == register || name == half);
    is_named || (line == "exit" && register == "r0")
}

#[test]
fn a_result_that_nobody_reads_is_noticed() {
    let code = |last: &str| {
        format!(
            "       7:\tr2 = 0x0\n       8:\tr2 = atomic_fetch_add((u64 *)(r1 + 0x0), r2)\n\
             \x20      9:\tif r1 != 0x0 goto +0x1 <f+0x58>\n      10:\tr2 = r1\n      11:\t{last}\n      12:\texit"
        )
    };
    for last in ["r0 = r2", "*(u64 *)(r1 + 0x0) = r2", "w2 += 0x1"] {
        assert!(Program::of(&code(last)).uses(8, "r2"), "{last}");
    }
    for last in ["r2 = 0x1", "r0 = r1", "w2 = w1"] {
        assert!(!Program::of(&code(last)).uses(8, "r2"), "{last}");
    }
    assert!(Program::of(&code("r0 = r2")).is_zero(8, "r2"));
}

#[test]
fn only_an_allocation_relies_on_a_compare_exchange_that_fails() {
    // For which `docs/kernel-side.md` gives the reason why that is right: BPF orders only those that succeed.
    let relying = sites().filter(|site| !matches!(site.failure, None | Some(Ordering::Relaxed)));
    assert_eq!(relying.map(|site| site.name).collect::<Vec<_>>(), ["pool.alloc.claim_block"]);
}

#[test]
fn every_access_to_the_arena_is_through_a_cast_pointer() {
    // Without one the verifier would refuse the program; here it is seen that none was optimised into
    // something else.
    for object in [
        env!("ARENAQ_FUNCTIONS_ACQUIRE_RELEASE"),
        env!("ARENAQ_FUNCTIONS_TSO"),
        env!("ARENAQ_FUNCTIONS_FULL_BARRIER"),
    ] {
        for (function, _) in FUNCTIONS {
            let code = disassemble(object, function);
            assert!(code.contains("addr_space_cast("), "{function} of {object}:\n{code}");
        }
    }
}
