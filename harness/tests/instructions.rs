//! The compiled functions have the instructions that their sites claim, each as often as there are sites.

use std::collections::BTreeMap;
use std::process::Command;

use arenaq::ordering::{Access, Ordering, SiteInfo, all_sites};
use arenaq_bpf_build::Toolchain;

/// What an access of some ordering is in BPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Instruction {
    LoadAcquire,
    StoreRelease,
    CompareExchange,
    Exchange,
    /// An addition without a result.
    Add,
}

fn of_site(site: &SiteInfo) -> Option<Instruction> {
    match (site.access, site.order) {
        (Access::Load, Ordering::Acquire) => Some(Instruction::LoadAcquire),
        (Access::Store, Ordering::Release) => Some(Instruction::StoreRelease),
        (Access::CompareExchange, _) => Some(Instruction::CompareExchange),
        (Access::Swap, _) => Some(Instruction::Exchange),
        (Access::Add, _) => Some(Instruction::Add),
        // Ordinary loads and stores, which cannot be told from the plain ones.
        (Access::Load | Access::Store, Ordering::Relaxed) | (Access::Read | Access::Write, _) => None,
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

/// Each exported function, and the operations whose sites it runs through.
const FUNCTIONS: [(&str, &[&str]); 4] = [
    ("arenaq_mpmc_push", &["mpmc.push."]),
    ("arenaq_mpmc_pop", &["mpmc.pop."]),
    // A push on a queue that was never initialised gives its node back.
    ("arenaq_mpsc_push", &["pool.alloc.", "mpsc.push.", "pool.free."]),
    ("arenaq_pool_grow", &["pool.grow.", "pool.free."]),
];

fn claimed(operations: &[&str]) -> Counts {
    let sites =
        all_sites().filter(|site| operations.iter().any(|operation| site.name.starts_with(operation)));
    count(sites.filter_map(of_site))
}

#[test]
fn the_object_has_the_instructions_that_the_sites_claim() {
    for (function, operations) in FUNCTIONS {
        let code = disassemble(env!("ARENAQ_FUNCTIONS_ACQUIRE_RELEASE"), function);
        let found = count(code.lines().filter_map(of_line));
        assert_eq!(found, claimed(operations), "{function}:\n{code}");
        assert!(!code.contains("atomic_fetch"), "{function} needs no addition with a result:\n{code}");
    }
}

#[test]
fn the_sites_claim_every_kind_of_instruction_somewhere() {
    let mut all = Counts::new();
    for (_, operations) in FUNCTIONS {
        all.extend(claimed(operations));
    }
    assert_eq!(all.len(), 5, "{all:?}");
}

#[test]
fn the_fallback_has_no_instruction_that_old_kernels_refuse() {
    for (function, operations) in FUNCTIONS {
        let code = disassemble(env!("ARENAQ_FUNCTIONS_FALLBACK"), function);
        let mut expected = claimed(operations);
        expected.remove(&Instruction::LoadAcquire);
        expected.remove(&Instruction::StoreRelease);
        assert_eq!(count(code.lines().filter_map(of_line)), expected, "{function}:\n{code}");
    }
}

#[test]
fn every_access_to_the_arena_is_through_a_cast_pointer() {
    // Without one the verifier would refuse the program; here it is seen that none was optimised into
    // something else.
    for (function, _) in FUNCTIONS {
        let code = disassemble(env!("ARENAQ_FUNCTIONS_ACQUIRE_RELEASE"), function);
        assert!(code.matches("addr_space_cast(").count() >= 4, "{function}:\n{code}");
    }
}
