//! What the kernel's compiler makes of the accesses of the queues, in the processor's own instructions: read back from programs
//! that are loaded.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use arenaq_harness::Instructions;
use capstone::arch::{arm64, x86};
use capstone::prelude::*;
use libbpf_rs::query::{ProgInfoIter, ProgInfoQueryOptions, ProgramInfo};
use libbpf_rs::{Object, ObjectBuilder};
use serde_json::json;
use support::{kernel, kernel_objects, objects};

/// What an access that orders is in BPF, or one of several processors.
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

/// An access of a program, in BPF and in the processor's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Access {
    Ordered(Instruction),
    /// An ordinary load, and an ordinary store, from and to the arena.
    Load,
    Store,
}

/// An access of a machine's program, by the name of its instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    access: Access,
    mnemonic: String,
}

/// A program that is loaded.
struct Compiled {
    /// In BPF, as the verifier has left it.
    bpf: Vec<Access>,
    machine: Vec<Seen>,
    /// For who wants to see it.
    listing: String,
}

/// An ordinary load of a word, and an ordinary store.
const LOAD: u8 = 0x79;
const STORE: u8 = 0x7b;

/// `struct bpf_insn`, as far as it matters here.
fn bpf_access(instruction: &[u8]) -> Option<Access> {
    const ATOMIC: [u8; 2] = [0xdb, 0xfb];
    let stack = |register: u8| register == 10;
    let (to, from) = (instruction[1] & 0xf, instruction[1] >> 4);
    let kind = i32::from_le_bytes(instruction[4..8].try_into().expect("four bytes"));
    Some(match (instruction[0], kind) {
        (LOAD, _) if !stack(from) => Access::Load,
        (STORE, _) if !stack(to) => Access::Store,
        (code, kind) if ATOMIC.contains(&code) => Access::Ordered(match kind {
            0x00 => Instruction::Add,
            0x01 => Instruction::FetchAdd,
            0xe1 => Instruction::Exchange,
            0xf1 => Instruction::CompareExchange,
            0x100 => Instruction::LoadAcquire,
            0x110 => Instruction::StoreRelease,
            other => panic!("the sites have no operation {other:#x}"),
        }),
        _ => return None,
    })
}

/// The disassembler for the machine that this runs on.
fn disassembler() -> Capstone {
    let made = if cfg!(target_arch = "aarch64") {
        Capstone::new().arm64().mode(arm64::ArchMode::Arm).build()
    } else {
        Capstone::new().x86().mode(x86::ArchMode::Mode64).build()
    };
    made.expect("it knows this machine")
}

/// The register to which the kernel's compiler adds an address in an arena, on x86-64.
const ARENA: &str = "r12";

/// What an instruction of this machine does with memory, as far as queues go.
fn machine_access(mnemonic: &str, operands: &str) -> Option<Access> {
    use Instruction::{Add, CompareExchange, Exchange, FetchAdd, LoadAcquire, StoreRelease};
    if cfg!(target_arch = "aarch64") {
        // The endings say both acquire and release; an addition without a result has neither.
        return Some(Access::Ordered(match mnemonic {
            "ldar" => LoadAcquire,
            "stlr" => StoreRelease,
            "casal" => CompareExchange,
            "swpal" => Exchange,
            "ldaddal" => FetchAdd,
            "stadd" => Add,
            // Any other that is for more than one processor is none that a site claims.
            other
                if ["ldax", "ldx", "stlx", "stx", "cas", "swp", "ldadd", "ldap", "dmb"]
                    .iter()
                    .any(|it| other.starts_with(it)) =>
            {
                panic!("{mnemonic} {operands} is what no site claims")
            }
            _ => return None,
        }));
    }
    let (first, _) = operands.split_once(", ")?;
    let in_arena = |operand: &str| operand.contains('[') && operand.contains(ARENA);
    Some(match mnemonic {
        "lock cmpxchg" => Access::Ordered(CompareExchange),
        "lock xadd" => Access::Ordered(FetchAdd),
        "lock add" => Access::Ordered(Add),
        "xchg" | "lock xchg" if operands.contains('[') => Access::Ordered(Exchange),
        "mov" | "movabs" if in_arena(first) => Access::Store,
        "mov" | "movabs" if in_arena(operands) => Access::Load,
        other if other.starts_with("lock") || other.ends_with("fence") => {
            panic!("{mnemonic} {operands} is what no site claims")
        }
        _ => return None,
    })
}

/// Whether an access of the BPF can be told from ordinary ones in this machine's instructions. With total store order an acquire load
/// and a release store are ordinary ones.
fn is_told_apart(instruction: Instruction) -> bool {
    !cfg!(target_arch = "x86_64")
        || !matches!(instruction, Instruction::LoadAcquire | Instruction::StoreRelease)
}

/// The only program that this process has loaded.
fn compiled() -> Compiled {
    let ours: BTreeSet<u32> = kernel_objects(std::process::id())
        .into_iter()
        .filter_map(|(kind, id)| (kind == "prog_id").then_some(id))
        .collect();
    let options =
        ProgInfoQueryOptions::default().include_xlated_prog_insns(true).include_jited_prog_insns(true);
    let mut programs = ProgInfoIter::with_query_opts(options).filter(|program| ours.contains(&program.id));
    let program: ProgramInfo = programs.next().expect("it is loaded");
    assert!(programs.next().is_none(), "a second one");
    assert!(!program.jited_prog_insns.is_empty(), "the kernel shows root what it has compiled");
    let mut listing = String::new();
    let mut machine = Vec::new();
    let disassembler = disassembler();
    let decoded = disassembler.disasm_all(&program.jited_prog_insns, 0).expect("it is this machine's code");
    for instruction in decoded.iter() {
        let [mnemonic, operands] =
            [instruction.mnemonic(), instruction.op_str()].map(Option::unwrap_or_default);
        listing.push_str(&format!("{mnemonic} {operands}\n"));
        if let Some(access) = machine_access(mnemonic, operands) {
            machine.push(Seen { access, mnemonic: mnemonic.to_owned() });
        }
    }
    Compiled { bpf: accesses(&program.xlated_prog_insns), machine, listing }
}

fn accesses(code: &[u8]) -> Vec<Access> {
    code.chunks_exact(8).filter_map(bpf_access).collect()
}

/// What they order, one after another.
fn ordered(accesses: &[Access]) -> Vec<Instruction> {
    let of = |access: &Access| match access {
        Access::Ordered(instruction) => Some(*instruction),
        Access::Load | Access::Store => None,
    };
    accesses.iter().filter_map(of).collect()
}

/// The objects of bpf/tests with one operation in each program, and those programs.
const PROGRAMS: [(Source, &str); 5] = [
    (Source::Elements, "one_mpmc_push_16"),
    (Source::Elements, "one_mpmc_pop_16"),
    (Source::Elements, "one_mpsc_push_16"),
    (Source::Seeds, "check_pool_that_can_grow"),
    (Source::Records, "one_commit"),
];

#[derive(Clone, Copy, Debug)]
enum Source {
    Elements,
    Seeds,
    Records,
}

impl Source {
    fn object(self, instructions: Instructions) -> &'static [u8] {
        use Instructions::{AcquireRelease, FullBarrier, Tso};
        match (self, instructions) {
            (Source::Elements, AcquireRelease) => include_bytes!(env!("ARENAQ_ELEMENTS_ACQUIRE_RELEASE")),
            (Source::Elements, Tso) => include_bytes!(env!("ARENAQ_ELEMENTS_TSO")),
            (Source::Elements, FullBarrier) => include_bytes!(env!("ARENAQ_ELEMENTS_FULL_BARRIER")),
            (Source::Seeds, AcquireRelease) => include_bytes!(env!("ARENAQ_SEEDS_ACQUIRE_RELEASE")),
            (Source::Seeds, Tso) => include_bytes!(env!("ARENAQ_SEEDS_TSO")),
            (Source::Seeds, FullBarrier) => include_bytes!(env!("ARENAQ_SEEDS_FULL_BARRIER")),
            (Source::Records, AcquireRelease) => include_bytes!(env!("ARENAQ_RECORDS_ACQUIRE_RELEASE")),
            (Source::Records, Tso) => include_bytes!(env!("ARENAQ_RECORDS_TSO")),
            (Source::Records, FullBarrier) => include_bytes!(env!("ARENAQ_RECORDS_FULL_BARRIER")),
        }
    }
}

/// The instructions of a program of an object, which nobody has loaded.
fn code_of(object: &[u8], program: &str) -> Vec<u8> {
    let open = ObjectBuilder::default().open_memory(object).expect("it was compiled");
    let program = open.progs().find(|candidate| candidate.name() == program).expect("the object has it");
    let mut code = Vec::new();
    for instruction in program.insns() {
        code.extend([instruction.code, instruction.dst_reg() | instruction.src_reg() << 4]);
        code.extend(instruction.off.to_ne_bytes());
        code.extend(instruction.imm.to_ne_bytes());
    }
    code
}

/// What the accesses of a program have to be in an object: those of the object in which each can be told from the others, which
/// harness/tests/instructions.rs compares with the sites, in the words of this one.
fn claimed(source: Source, program: &str, instructions: Instructions) -> Vec<Instruction> {
    use Instruction::{Exchange, FetchAdd, LoadAcquire, StoreRelease};
    let told_apart = accesses(&code_of(source.object(Instructions::AcquireRelease), program));
    let of = |instruction: Instruction| match (instructions, instruction) {
        (Instructions::AcquireRelease, _) => Some(instruction),
        (Instructions::Tso, LoadAcquire | StoreRelease) => None,
        (Instructions::FullBarrier, LoadAcquire) => Some(FetchAdd),
        (Instructions::FullBarrier, StoreRelease) => Some(Exchange),
        (_, other) => Some(other),
    };
    ordered(&told_apart).into_iter().filter_map(of).collect()
}

fn load(object: &[u8], program: &str) -> Object {
    let mut open = ObjectBuilder::default().open_memory(object).expect("it was compiled");
    for mut candidate in open.progs_mut() {
        let is_wanted = candidate.name() == program;
        candidate.set_autoload(is_wanted);
    }
    open.load().unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// What an access is in BPF, and in the processor's instructions, and how often it is that.
type Tally = BTreeMap<(Instruction, String), u64>;

/// Loads a program, and says what of it is not as it has to be.
fn check(object: &[u8], program: &str, claimed: &[Instruction], tally: &mut Tally) -> Result<(), String> {
    let loaded = load(object, program);
    let Compiled { bpf, machine, listing } = compiled();
    drop(loaded);
    let found = ordered(&bpf);
    if found != claimed {
        return Err(format!("{program}: {found:?} in BPF, and not {claimed:?}"));
    }
    let expected: Vec<_> = found.iter().copied().filter(|instruction| is_told_apart(*instruction)).collect();
    let told_apart: Vec<_> = machine
        .iter()
        .filter_map(|seen| match seen.access {
            Access::Ordered(instruction) => Some((instruction, seen.mnemonic.clone())),
            Access::Load | Access::Store => None,
        })
        .collect();
    if !told_apart.iter().map(|(instruction, _)| instruction).eq(&expected) {
        return Err(format!("{program}: the processor's {told_apart:?} are not {expected:?}:\n{listing}"));
    }
    for (instruction, mnemonic) in told_apart {
        *tally.entry((instruction, mnemonic)).or_default() += 1;
    }
    for (instruction, access) in
        [(Instruction::LoadAcquire, Access::Load), (Instruction::StoreRelease, Access::Store)]
    {
        let claimed = found.iter().filter(|it| **it == instruction && !is_told_apart(**it)).count();
        let ordinary = machine.iter().filter(|seen| seen.access == access).collect::<Vec<_>>();
        if ordinary.len() < claimed {
            return Err(format!("{program}: {claimed} {instruction:?} and {ordinary:?}:\n{listing}"));
        }
        if let (1.., Some(seen)) = (claimed, ordinary.first()) {
            *tally.entry((instruction, seen.mnemonic.clone())).or_default() += claimed as u64;
        }
    }
    Ok(())
}

/// For a reader: as a site would be called, and as the object has it.
fn names(instructions: Instructions, instruction: Instruction) -> (&'static str, &'static str) {
    let full = instructions == Instructions::FullBarrier;
    match instruction {
        Instruction::LoadAcquire => ("acquire load", "load_acquire"),
        Instruction::StoreRelease => ("release store", "store_release"),
        Instruction::CompareExchange => ("compare-exchange", "cmpxchg"),
        Instruction::Exchange if full => ("release store, swap", "xchg"),
        Instruction::Exchange => ("swap", "xchg"),
        Instruction::Add => ("addition without a result", "add"),
        Instruction::FetchAdd if full => ("acquire load, addition", "fetch_add"),
        Instruction::FetchAdd => ("addition", "fetch_add"),
    }
}

#[test]
fn the_kernels_compiler_keeps_each_instruction_that_the_sites_claim() {
    let Some(_guard) = kernel("the processor's instructions") else { return };
    for instructions in objects() {
        let mut tally = Tally::new();
        for (source, program) in PROGRAMS {
            let claimed = claimed(source, program, instructions);
            assert!(!claimed.is_empty(), "{program} has orderings");
            check(source.object(instructions), program, &claimed, &mut tally)
                .unwrap_or_else(|broken| panic!("{}: {broken}", instructions.name()));
        }
        for ((instruction, machine), times) in tally {
            let (name, bpf) = names(instructions, instruction);
            let line = json!({
                "instructions": instructions.name(), "access": name, "bpf": bpf, "machine": machine, "times": times,
            });
            println!("MACHINE {line}");
        }
    }
}

/// Each of a program's exchanges and additions with a result as an ordinary access, in an object that is otherwise the same.
fn broken(object: &[u8], program: &str) -> Vec<Vec<u8>> {
    let code = code_of(object, program);
    let starts: Vec<_> = object.windows(code.len()).enumerate().filter(|(_, it)| *it == code).collect();
    let [(start, _)] = *starts else { panic!("{program} is {} times in its object", starts.len()) };
    let mut all = Vec::new();
    for (place, instruction) in (start..).step_by(8).zip(code.chunks_exact(8)) {
        let Some(Access::Ordered(kind)) = bpf_access(instruction) else { continue };
        let [ordinary, registers] = match kind {
            Instruction::Exchange => [STORE, instruction[1]],
            // What held the zero gets the value.
            Instruction::FetchAdd => [LOAD, instruction[1].rotate_left(4)],
            _ => continue,
        };
        let mut object = object.to_vec();
        object[place] = ordinary;
        object[place + 1] = registers;
        object[place + 4..place + 8].fill(0);
        all.push(object);
    }
    all
}

#[test]
fn an_ordering_of_the_object_with_full_barriers_that_is_broken_on_purpose_is_noticed() {
    let Some(_guard) = kernel("broken orderings") else { return };
    let mut tried = 0;
    for (source, program) in PROGRAMS {
        let instructions = Instructions::FullBarrier;
        let claimed = claimed(source, program, instructions);
        check(source.object(instructions), program, &claimed, &mut Tally::new())
            .expect("nothing is broken yet");
        for object in broken(source.object(instructions), program) {
            let noticed = check(&object, program, &claimed, &mut Tally::new());
            assert!(noticed.is_err(), "{program}: an ordinary access goes unnoticed");
            tried += 1;
        }
    }
    println!("{tried} orderings were broken, and each was noticed");
    // One acquire load and one release store of each program, and more.
    assert!(tried >= 2 * PROGRAMS.len(), "{tried}");
}
