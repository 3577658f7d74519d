//! `cargo xtask kernels`: what works on which kernel, tried in virtual machines; writes docs/kernels.md.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use arenaq_vm::accelerator::Accelerator;
use arenaq_vm::arch::Arch;
use arenaq_vm::image::Image;
use arenaq_vm::kernels::examine::Step;
use arenaq_vm::kernels::list::{Entry, List};
use arenaq_vm::kernels::matrix::Matrix;
use arenaq_vm::kernels::programs::Programs;
use arenaq_vm::kernels::report;
use clap::Args;
use duct::cmd;

use crate::command::{Compiled, cargo, root};
use crate::cross::{Name, chosen, compiling};
use crate::vm::Wish;

/// Where the result is, in the workspace.
const FILE: &str = "docs/kernels.md";
const LIST: &str = "crates/vm/kernels.toml";
/// What `arenaq load` is given.
const PROGRAM: &str = "examples/opensnoop/src/opensnoop.bpf.c";

#[derive(Args)]
pub(crate) struct KernelsArgs {
    /// Tries only this kernel, a version or a path, and writes no file; may be given several times.
    #[arg(long, value_name = "VERSION|PATH")]
    only: Vec<String>,
    /// Runs only this program of harness/tests, and writes no file; may be given several times.
    #[arg(long, value_name = "NAME")]
    test: Vec<String>,
    /// Runs only `arenaq load` on an object of its own, and writes no file.
    #[arg(long, conflicts_with = "test")]
    load: bool,
    /// The guests' architecture; with it, writes no file [default: this machine's].
    #[arg(long, value_enum)]
    arch: Option<Name>,
    /// How the guests' instructions are run [default: KVM where it works].
    #[arg(long, value_enum)]
    accelerator: Option<Wish>,
}

pub(crate) fn run(arguments: &KernelsArgs) -> anyhow::Result<ExitCode> {
    let arch = chosen(arguments.arch)?;
    let mut list = List::read(&root().join(LIST))?;
    let kernels = if arguments.only.is_empty() {
        list.kernels(&Image::newest(arch)?)
    } else {
        let entry = |version: &String| Entry { version: version.clone(), why: String::new() };
        arguments.only.iter().map(entry).collect()
    };
    if arguments.load || !arguments.test.is_empty() {
        list.tests.clone_from(&arguments.test);
    }
    let is_part = arguments.load || !arguments.test.is_empty();
    let is_whole = arguments.only.is_empty() && !is_part && arguments.arch.is_none();
    let accelerator = Accelerator::choose(arguments.accelerator.map(Wish::into), arch)?;
    let images: Vec<_> =
        kernels.iter().map(|entry| Image::find(&entry.version, arch)).collect::<Result<_, _>>()?;
    println!("compiling the harness and its tests");
    let (arenaq, tests) = compile(&list.tests, arch)?;
    let object = object(&arenaq, arch)?;
    let programs = Programs::new(&arenaq, &tests, object.as_deref(), &list.skips, arch)?;

    let start = Instant::now();
    let steps = match (arguments.load, arguments.test.is_empty()) {
        (true, _) => Step::loads(&programs),
        (false, true) => Step::all(&programs),
        (false, false) => Step::tests(&programs),
    };
    ensure!(
        !steps.is_empty(),
        "an object is compiled for this machine's architecture only: leave --arch out"
    );
    let matrix = Matrix { images: &images, programs: &programs, steps: &steps, accelerator };
    let examined = matrix.examine()?;
    println!("{} kernels, {accelerator}: {:.0} s", examined.len(), start.elapsed().as_secs_f64());
    for kernel in &examined {
        print!("{}", report::notes(kernel));
    }
    if is_whole {
        let why: Vec<_> = kernels.iter().map(|entry| entry.why.as_str()).collect();
        std::fs::write(root().join(FILE), report::generate(&examined, &why, &list.skips))
            .with_context(|| format!("cannot write {FILE}"))?;
        println!("wrote {FILE}");
    }
    let bad: Vec<_> =
        examined.iter().filter(|kernel| kernel.failed(&steps)).map(|kernel| &*kernel.release).collect();
    if bad.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("not everything works on {}", bad.join(", "))
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

/// An object of somebody's own, as `arenaq build` makes it: for this machine's architecture, and no other, since it is this machine
/// that runs the command.
fn object(arenaq: &Path, arch: Arch) -> anyhow::Result<Option<PathBuf>> {
    if !arch.is_host() {
        return Ok(None);
    }
    let object = arenaq.with_file_name("opensnoop.bpf.o");
    cmd!(arenaq, "build", root().join(PROGRAM), "-o", &object)
        .stdout_to_stderr()
        .run()
        .with_context(|| format!("`arenaq build` does not compile {PROGRAM}"))?;
    Ok(Some(object))
}
