//! `cargo xtask sanitize`: the core's tests with threads and with damaged memory, and libarenaq under programs in C, with the
//! compilers' sanitizers.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::bail;
use clap::{Args, ValueEnum};
use duct::{Expression, cmd};

use crate::command::{check, root};
use crate::nightly::{cargo, passed, require};

#[derive(Args)]
pub(crate) struct SanitizeArgs {
    /// Runs only this sanitizer.
    #[arg(long, value_enum)]
    only: Option<Sanitizer>,
    /// How many damaged arenas a process attaches to, and how many operations it makes while somebody damages them.
    #[arg(long, default_value_t = 20_000)]
    hostile: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sanitizer {
    /// Two accesses of which one writes, and nothing orders them.
    Thread,
    /// Accesses to memory that is not there, or not there any more; memory that nobody frees.
    Address,
}

impl Sanitizer {
    fn name(self) -> &'static str {
        match self {
            Sanitizer::Thread => "thread",
            Sanitizer::Address => "address",
        }
    }

    /// The test programs. Those who damage an arena write where others read: between processes, which the tests play, that is
    /// allowed and checked for; in one process it is a race, and nothing to ask ThreadSanitizer about.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Sanitizer::Thread => &["stress", "owned", "records", "recovery", "corruption"],
            Sanitizer::Address => {
                &["stress", "owned", "records", "recovery", "corruption", "attach", "hostile"]
            }
        }
    }

    /// A test that is left out, for the reason above.
    fn skip(self) -> &'static [&'static str] {
        match self {
            Sanitizer::Thread => &["--skip", "whatever_another_process_writes_meanwhile"],
            Sanitizer::Address => &[],
        }
    }

    /// The examples in C that need no BPF, of libarenaq. gcc's ThreadSanitizer lacks what LLVM's has for `memcpy`.
    fn c_programs(self) -> &'static [&'static str] {
        match self {
            Sanitizer::Thread => &[],
            Sanitizer::Address => &["threads", "takeover"],
        }
    }

    fn target(self) -> PathBuf {
        root().join("target/sanitize").join(self.name())
    }

    fn host() -> String {
        format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
    }

    /// Cargo, for what is to be sanitized.
    fn cargo(self, verb: &str, arguments: &[&str]) -> Expression {
        let host = Sanitizer::host();
        let mut words = vec![verb, "--locked", "--target", &host];
        // ThreadSanitizer knows the accesses and the locks that it has compiled, so it compiles the standard library too.
        if self == Sanitizer::Thread {
            words.push("-Zbuild-std");
        }
        words.extend(arguments);
        cargo(words)
            .env("RUSTFLAGS", format!("-Zsanitizer={}", self.name()))
            .env("CARGO_TARGET_DIR", self.target())
    }

    /// Compiles libarenaq, and an example in C with it. The AddressSanitizers of gcc and of LLVM are the same one.
    fn compile(self, program: &str) -> anyhow::Result<PathBuf> {
        check(&self.cargo("rustc", &["--package", "arenaq-capi", "--lib", "--crate-type", "staticlib"]))?;
        let target = self.target();
        let binary = target.join(program);
        let source = root().join("crates/capi/examples/c").join(program).with_extension("c");
        let library = target.join(Sanitizer::host()).join("debug/libarenaq.a");
        let flags = ["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-pthread"];
        let gcc = cmd(
            "gcc",
            flags.map(OsString::from).into_iter().chain([
                format!("-fsanitize={}", self.name()).into(),
                "-I".into(),
                root().join("bpf/include").into(),
                source.into(),
                library.into(),
                "-lm".into(),
                "-o".into(),
                binary.clone().into(),
            ]),
        );
        check(&gcc)?;
        Ok(binary)
    }
}

pub(crate) fn run(arguments: &SanitizeArgs) -> anyhow::Result<()> {
    require("rust-src")?;
    let mut table = Vec::new();
    for sanitizer in [Sanitizer::Thread, Sanitizer::Address] {
        if arguments.only.is_some_and(|only| only != sanitizer) {
            continue;
        }
        let name = sanitizer.name();
        for &program in sanitizer.programs() {
            println!("== {program}, -Zsanitizer={name}");
            let mut words = vec!["--package", "arenaq", "--test", program];
            if !sanitizer.skip().is_empty() && program == "corruption" {
                words.push("--");
                words.extend(sanitizer.skip());
            }
            let command = sanitizer
                .cargo("test", &words)
                .env("ARENAQ_HOSTILE_ARENAS", arguments.hostile.to_string())
                .env("ARENAQ_HOSTILE_OPERATIONS", arguments.hostile.to_string());
            let begin = Instant::now();
            let said = unreported(program, &command)?;
            let seconds = begin.elapsed().as_secs_f64();
            table.push(format!("{name:<10} {program:<12} {:>6} {seconds:>8.0}", passed(&said)));
        }
        for program in sanitizer.c_programs() {
            println!("== {program}.c, -fsanitize={name}");
            let binary = sanitizer.compile(program)?;
            let begin = Instant::now();
            unreported(program, &cmd!(binary))?;
            let seconds = begin.elapsed().as_secs_f64();
            table.push(format!("{name:<10} {:<12} {:>6} {seconds:>8.0}", format!("{program}.c"), 1));
        }
    }
    println!("\n{:<10} {:<12} {:>6} {:>8}", "sanitizer", "program", "passed", "seconds");
    table.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// Runs it, and fails if a sanitizer has something to report: of a thread that has gone on, that does not fail what it is in.
fn unreported(program: &str, command: &Expression) -> anyhow::Result<Vec<String>> {
    let said = check(command)?;
    if let Some(report) = said.iter().find(|line| line.contains("Sanitizer: ") && line.contains("SUMMARY")) {
        bail!("{program}: {report}");
    }
    Ok(said)
}
