//! `cargo xtask instructions --arch arm64`: the ordered instructions of each operation in userspace, against what its sites claim.
//!
//! `crates/bench/cost` has each operation as a function of its own; it is compiled for arm64 and disassembled. Nothing runs.
//! x86-64 has no such check: there ordinary loads and stores are acquire loads and release stores too.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use arenaq::ordering::{Access, Ordering, SiteInfo};
use arenaq::structures::sites;
use arenaq_bpf_build::Toolchain;
use arenaq_vm::arch::Arch;
use duct::cmd;

use crate::command::{Compiled, cargo};
use crate::cross::compiling_with;

/// Each function, and the operations whose sites it runs through.
const FUNCTIONS: [(&str, &[&str]); 6] = [
    ("arenaq_mpmc_push", &["mpmc.push."]),
    ("arenaq_mpmc_pop", &["mpmc.pop."]),
    ("arenaq_mpsc_push", &["pool.alloc.", "pool.steal.", "mpsc.push."]),
    ("arenaq_mpsc_pop", &["mpsc.pop.", "pool.free."]),
    (
        "arenaq_records_push",
        &[
            "records.reserve.claim_owner",
            "records.reserve.load_consumed",
            "records.commit.publish",
            "records.reserve.release_owner",
        ],
    ),
    ("arenaq_records_pop", &["records.consume."]),
];

/// How often each ordered instruction stands somewhere.
type Counts = BTreeMap<String, usize>;

/// Compiles for an architecture whose order is weak, and compares.
pub(crate) fn check(arch: Arch) -> anyhow::Result<()> {
    if arch != Arch::Arm64 {
        bail!("on {arch} ordinary loads and stores are acquire loads and release stores too: --arch arm64");
    }
    let words = "bench --locked --package arenaq-cost --bench native_cost --no-run --message-format=json-render-diagnostics";
    // With these instructions, or the compiler calls functions that look for them first; and small, or it repeats accesses in loops and
    // branches.
    let command = compiling_with(cargo(words.split(' ')), arch, "-C target-feature=+lse -C opt-level=s")?;
    let program = Compiled::from(&command, "arenaq-cost")?.executable("bench", "native_cost")?;
    let objdump = Toolchain::find()?.llvm_objdump;
    let mut is_good = true;
    for (function, operations) in FUNCTIONS {
        let code =
            cmd!(&objdump, "--no-show-raw-insn", format!("--disassemble-symbols={function}"), &program)
                .read()
                .context("llvm-objdump cannot disassemble what was compiled")?;
        let [found, claimed] = [found(&code), claimed(operations)];
        let same = found == claimed;
        println!(
            "{function}: {}",
            if same { show(&found) } else { format!("{}, CLAIMED {}", show(&found), show(&claimed)) }
        );
        is_good &= same;
    }
    if !is_good {
        bail!("the compiled functions do not have the instructions that their sites claim");
    }
    Ok(())
}

fn show(counts: &Counts) -> String {
    counts.iter().map(|(name, times)| format!("{name} ×{times}")).collect::<Vec<_>>().join(", ")
}

/// The ordered instructions of a function, and the atomic ones.
fn found(code: &str) -> Counts {
    const BEGINNINGS: [&str; 8] = ["ldar", "ldapr", "stlr", "cas", "swp", "ldadd", "stadd", "dmb"];
    let mut counts = Counts::new();
    for line in code.lines() {
        let Some(mnemonic) = line.split_once(':').and_then(|(_, text)| text.split_whitespace().next()) else {
            continue;
        };
        if BEGINNINGS.iter().any(|beginning| mnemonic.starts_with(beginning)) {
            *counts.entry(mnemonic.to_owned()).or_default() += 1;
        }
    }
    counts
}

fn claimed(operations: &[&str]) -> Counts {
    let mut counts = Counts::new();
    for operation in operations {
        for site in sites().filter(|site| site.name.starts_with(operation)) {
            if let Some(instruction) = instruction(site) {
                *counts.entry(instruction).or_default() += 1;
            }
        }
    }
    counts
}

/// What an access is; `None` for those that order nothing.
fn instruction(site: &SiteInfo) -> Option<String> {
    let name = match site.access {
        Access::Read | Access::Write => return None,
        Access::Load if site.order == Ordering::Acquire => return Some("ldar".to_owned()),
        Access::Store if site.order == Ordering::Release => return Some("stlr".to_owned()),
        Access::Load | Access::Store => return None,
        Access::Fence => return Some("dmb".to_owned()),
        Access::Swap => "swp",
        Access::CompareExchange => "cas",
        Access::Add | Access::FetchAdd => "ldadd",
    };
    // A compare-exchange has one ordering here, whether it succeeds or fails.
    let orders = [Some(site.order), site.failure];
    let has = |wanted: &[Ordering]| orders.iter().flatten().any(|order| wanted.contains(order));
    let acquire = if has(&[Ordering::Acquire, Ordering::AcqRel]) { "a" } else { "" };
    let release = if has(&[Ordering::Release, Ordering::AcqRel]) { "l" } else { "" };
    Some(format!("{name}{acquire}{release}"))
}

#[cfg(test)]
mod tests {
    use super::{claimed, found};

    #[test]
    fn a_release_store_that_is_an_ordinary_one_is_noticed() {
        let code = "       0:\tldr\tx8, [x0]\n       4:\tldar\tx9, [x8]\n       8:\tcas\tx9, x10, [x0]\n       c:\tstlr\tx9, [x8]\n";
        assert_eq!(
            found(code).into_iter().collect::<Vec<_>>(),
            [("cas".into(), 1), ("ldar".into(), 1), ("stlr".into(), 1)]
        );
        assert_ne!(found(code), found(&code.replace("stlr", "str")));
        assert!(claimed(&["mpmc.push."]).contains_key("stlr"));
    }
}
