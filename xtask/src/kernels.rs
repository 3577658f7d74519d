//! `cargo xtask kernels`: what works on which kernel, tried in virtual machines; writes docs/kernels.md, and what it is made from.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use arenaq_vm::accelerator::Accelerator;
use arenaq_vm::arch::Arch;
use arenaq_vm::image::{Flavour, Image};
use arenaq_vm::kernels::examine::Step;
use arenaq_vm::kernels::list::{Circumstance, Entry, List};
use arenaq_vm::kernels::matrix::Matrix;
use arenaq_vm::kernels::programs::Programs;
use arenaq_vm::kernels::report;
use arenaq_vm::kernels::store::Store;
use arenaq_vm::version::Version;
use clap::Args;
use duct::cmd;

use crate::command::{Compiled, build_harness, cargo, root};
use crate::cross::{Name, chosen, compiling};
use crate::machine;
use crate::vm::Wish;

/// Where the result is, in the workspace, and what it is made from.
const FILE: &str = "docs/kernels.md";
const KEPT: &str = "docs/kernels";
const LIST: &str = "crates/vm/kernels.toml";
/// What `arenaq load` is given.
const PROGRAM: &str = "examples/opensnoop/src/opensnoop.bpf.c";

#[derive(Args)]
pub(crate) struct KernelsArgs {
    /// Tries only this kernel, a version or a path; may be given several times.
    #[arg(long, value_name = "VERSION|PATH")]
    only: Vec<String>,
    /// Runs only this program of harness/tests, and writes no file; may be given several times.
    #[arg(long, value_name = "NAME")]
    test: Vec<String>,
    /// Runs only `arenaq load` on an object of its own, and writes no file.
    #[arg(long, conflicts_with = "test")]
    load: bool,
    /// The guests' architecture [default: each that this machine is set up for; with --only, this machine's].
    #[arg(long, value_enum)]
    arch: Option<Name>,
    /// Boots the guests as the list says under this name, and runs the tests that it has there [default: on the newest kernel].
    #[arg(long, value_name = "NAME", conflicts_with = "load")]
    under: Option<String>,
    /// Only writes docs/kernels.md anew, from what is kept in docs/kernels.
    #[arg(long, conflicts_with_all = ["only", "test", "load", "arch", "under"])]
    render: bool,
    /// How many guests run at once [default: 2, where there are as many processors].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// How the guests' instructions are run [default: KVM where it works].
    #[arg(long, value_enum)]
    accelerator: Option<Wish>,
}

pub(crate) fn run(arguments: &KernelsArgs) -> anyhow::Result<ExitCode> {
    let list = List::read(&root().join(LIST))?;
    if arguments.render {
        render(&list)?;
        return Ok(ExitCode::SUCCESS);
    }
    let start = Instant::now();
    let mut bad = Vec::new();
    for arch in architectures(arguments)? {
        bad.extend(examine(arguments, &list, arch)?);
    }
    println!("{:.0} s", start.elapsed().as_secs_f64());
    if bad.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("not everything works on {}", bad.join(", "))
}

/// Those of the guests. What is left out is told.
fn architectures(arguments: &KernelsArgs) -> anyhow::Result<Vec<Arch>> {
    if arguments.arch.is_some() || !arguments.only.is_empty() {
        return Ok(vec![chosen(arguments.arch)?]);
    }
    let is_there = |arch: &Arch| {
        let can_compile = compiling(cargo(["--version"]), *arch).map(drop);
        let there = can_compile.and_then(|()| Accelerator::choose(None, *arch).map(drop));
        if let Err(error) = &there {
            println!("NOT TRIED: {arch}: {error:#}");
        }
        there.is_ok()
    };
    Ok(Arch::ALL.into_iter().filter(is_there).collect())
}

/// Examines an architecture's kernels, and keeps what is a whole row. Returns the kernels on which something failed.
fn examine(arguments: &KernelsArgs, list: &List, arch: Arch) -> anyhow::Result<Vec<String>> {
    let circumstance = arguments.under.as_ref().map(|name| list.circumstance(name)).transpose()?;
    let is_real_time = circumstance.is_some_and(|it| it.real_time);
    let flavour = if is_real_time { Flavour::RealTime } else { Flavour::Cloud };
    let kernels = kernels(arguments, list, circumstance, arch, flavour)?;
    let is_part = arguments.load || !arguments.test.is_empty();
    let tests = match circumstance {
        _ if is_part => &*arguments.test,
        Some(circumstance) => &circumstance.tests,
        None => &list.tests,
    };
    let accelerator = Accelerator::choose(arguments.accelerator.map(Wish::into), arch)?;
    let images: Vec<_> = kernels
        .into_iter()
        .map(|entry| Ok((Image::find(&entry.version, arch, flavour)?, entry.why)))
        .collect::<anyhow::Result<_>>()?;
    if arch == Arch::Arm64 && !is_part && circumstance.is_none() {
        machine::check(arch)?;
    }
    println!("compiling the harness and its tests for {arch}");
    let (arenaq, tests) = compile(tests, arch)?;
    let object = if circumstance.is_none() { Some(object(&arenaq, arch)?) } else { None };
    let programs = Programs::new(&arenaq, &tests, object.as_deref(), &list.skips, arch)?;
    let steps = match (arguments.load, is_part || circumstance.is_some()) {
        (true, _) => Step::loads(&programs),
        (false, false) => Step::all(&programs),
        (false, true) => Step::tests(&programs),
    };

    let store = Store::new(root().join(KEPT));
    let mut bad = Vec::new();
    let matrix = Matrix {
        images: &images,
        programs: &programs,
        steps: &steps,
        accelerator,
        circumstance,
        jobs: arguments.jobs.unwrap_or_else(jobs),
    };
    matrix.examine(|kernel| {
        print!("{}", report::notes(kernel));
        if kernel.failed(&steps) {
            bad.push(kernel.subject.release.clone());
        }
        if is_part {
            return Ok(());
        }
        if Version::of_any_release(&kernel.subject.release).is_none() {
            println!("nothing is kept of {}, which is none of Debian's kernels", kernel.subject.release);
            return Ok(());
        }
        println!("wrote {}", store.keep(kernel)?.display());
        render(list)
    })?;
    if !is_part && arguments.only.is_empty() && circumstance.is_none() {
        let series = |image: &Image| Version::of_any_release(&image.release).map(|version| version.series());
        let chosen: Vec<_> = images.iter().filter_map(|(image, _)| series(image)).collect();
        store.keep_only(arch, &chosen)?;
        render(list)?;
    }
    Ok(bad)
}

/// A guest waits for one processor most of the time, and has memory of its own.
fn jobs() -> NonZeroUsize {
    let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    processors.min(NonZeroUsize::MIN.saturating_add(1))
}

/// The kernels that are tried: those that the user names, else by the rule; under a circumstance, the newest.
fn kernels(
    arguments: &KernelsArgs,
    list: &List,
    circumstance: Option<&Circumstance>,
    arch: Arch,
    flavour: Flavour,
) -> anyhow::Result<Vec<Entry>> {
    let ruled = || -> anyhow::Result<Vec<Entry>> { Ok(list.kernels(&Image::newest(arch, flavour)?)) };
    if arguments.only.is_empty() {
        let mut kernels = ruled()?;
        if circumstance.is_some() {
            kernels.drain(..kernels.len() - 1);
        }
        return Ok(kernels);
    }
    // What a kernel is there for is said also where it is tried alone.
    let ruled = ruled()?;
    let entry = |version: &String| {
        let why = ruled.iter().find(|entry| entry.version == *version).map(|entry| entry.why.clone());
        Entry { version: version.clone(), why: why.unwrap_or_else(|| "somebody has named it".to_owned()) }
    };
    Ok(arguments.only.iter().map(entry).collect())
}

fn render(list: &List) -> anyhow::Result<()> {
    let kept = Store::new(root().join(KEPT)).all()?;
    std::fs::write(root().join(FILE), report::generate(&kept, list))
        .with_context(|| format!("cannot write {FILE}"))?;
    println!("wrote {FILE}");
    Ok(())
}

/// The command `arenaq`, and these test programs of the harness.
fn compile(tests: &[String], arch: Arch) -> anyhow::Result<(PathBuf, Vec<(String, PathBuf)>)> {
    let verb: &[&str] = if tests.is_empty() { &["build", "--bins"] } else { &["test", "--no-run"] };
    let package = ["--locked", "--package=arenaq-harness", "--message-format=json-render-diagnostics"];
    // Only these: each of them is linked for seconds. The command comes with any of them.
    let tested = tests.iter().map(|name| format!("--test={name}"));
    let arguments: Vec<_> = verb.iter().copied().chain(package).map(str::to_owned).chain(tested).collect();
    let command = compiling(cargo(&arguments), arch)?;
    let compiled = Compiled::from(&command, "arenaq-harness").context(
        "the harness does not compile; if the reason above is a missing tool, run `cargo xtask setup`",
    )?;
    let arenaq = compiled.executable("bin", "arenaq")?;
    let test = |name: &String| Ok((name.clone(), compiled.executable("test", name)?));
    Ok((arenaq, tests.iter().map(test).collect::<anyhow::Result<_>>()?))
}

/// An object of somebody's own, as `arenaq build` makes it. This machine's command makes it for another architecture if a
/// build script would: cargo tells those for which one they compile.
fn object(arenaq: &Path, arch: Arch) -> anyhow::Result<PathBuf> {
    let object = arenaq.with_file_name("opensnoop.bpf.o");
    let command = if arch.is_host() { arenaq.to_owned() } else { build_harness(false)? };
    cmd!(command, "build", root().join(PROGRAM), "-o", &object)
        .env("CARGO_CFG_TARGET_ARCH", arch.rust())
        .env("TARGET", arch.target())
        .stdout_to_stderr()
        .run()
        .with_context(|| format!("`arenaq build` does not compile {PROGRAM} for {arch}"))?;
    Ok(object)
}
