//! Runs the tools.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ir::{Target, retarget};
use crate::{Error, Toolchain};

/// What an acquire load and a release store become. Everything else is the same in all objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// `load_acquire` and `store_release`, which Linux has from 6.15 on.
    AcquireRelease,
    /// Ordinary loads and stores, with barriers for the compiler only. For older kernels, and right only
    /// where the hardware keeps total store order.
    Tso,
    /// Read-modify-writes with a result, which BPF orders fully: an addition of zero, and an exchange. For
    /// older kernels, and right on every machine.
    FullBarrier,
}

impl Instructions {
    /// All.
    pub const ALL: [Instructions; 3] =
        [Instructions::AcquireRelease, Instructions::Tso, Instructions::FullBarrier];

    /// A short name, for files and output.
    pub const fn name(self) -> &'static str {
        match self {
            Instructions::AcquireRelease => "acquire-release",
            Instructions::Tso => "tso",
            Instructions::FullBarrier => "full-barrier",
        }
    }

    /// Those to take on an architecture, named as in [`std::env::consts::ARCH`], whose kernel has neither
    /// `load_acquire` nor `store_release`.
    pub fn before_acquire_release(architecture: &str) -> Instructions {
        if Instructions::Tso.is_right_on(architecture) {
            Instructions::Tso
        } else {
            Instructions::FullBarrier
        }
    }

    /// Whether these instructions order what the algorithms need on an architecture, named as in
    /// [`std::env::consts::ARCH`]. Whether the kernel has them is another question.
    pub fn is_right_on(self, architecture: &str) -> bool {
        match self {
            Instructions::AcquireRelease | Instructions::FullBarrier => true,
            Instructions::Tso => matches!(architecture, "x86_64" | "s390x"),
        }
    }

    /// What the shim must be told.
    const fn define(self) -> Option<&'static str> {
        match self {
            Instructions::AcquireRelease => None,
            Instructions::Tso => Some("-DARENAQ_TSO"),
            Instructions::FullBarrier => Some("-DARENAQ_FULL_BARRIER"),
        }
    }
}

/// Where the kernel side's sources lie: the shim, the header in `include`, the Rust crate.
pub fn source_dir() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Makes objects in one folder. arenaq's Rust is compiled once, when the pipeline is made.
#[derive(Clone, Debug)]
pub struct Pipeline {
    tools: Toolchain,
    out: PathBuf,
    includes: Vec<PathBuf>,
    rust: String,
}

impl Pipeline {
    /// Compiles arenaq's Rust to LLVM IR. Everything made goes into the folder `out`.
    ///
    /// # Errors
    ///
    /// [`Error`] if cargo fails or the folder cannot be written.
    pub fn new(tools: Toolchain, out: impl Into<PathBuf>) -> Result<Pipeline, Error> {
        let out = out.into();
        fs::create_dir_all(&out).map_err(|source| Error::File { path: out.clone(), source })?;
        let rust = compile_rust(&out)?;
        Ok(Pipeline { tools, out, includes: vec![source_dir().join("include")], rust })
    }

    /// Adds a folder in which clang looks for headers; arenaq's own is there already.
    #[must_use]
    pub fn include(mut self, folder: impl Into<PathBuf>) -> Pipeline {
        self.includes.push(folder.into());
        self
    }

    /// Makes a BPF object of a program in C, the shim, and the functions of arenaq that it uses. Its name is
    /// that of the program and of the instructions: `my.acquire-release.bpf.o` of `my.bpf.c`.
    ///
    /// # Errors
    ///
    /// [`Error`] if a tool fails or a symbol stays unresolved.
    pub fn object(&self, program: impl AsRef<Path>, instructions: Instructions) -> Result<PathBuf, Error> {
        let program = program.as_ref();
        let name = format!("{}.{}", stem(program), instructions.name());
        let program_ir = self.compile_c(program, instructions, &format!("{name}.program.ll"))?;
        let linked = self.link(&program_ir, instructions, &name, true)?;
        self.check_resolved(&program_ir, &linked)?;
        self.generate(&linked, &name)
    }

    /// Makes an object that has each of arenaq's functions once, as a function of its own: not to be loaded,
    /// but to be looked at.
    ///
    /// # Errors
    ///
    /// As [`object`](Self::object).
    pub fn functions(&self, instructions: Instructions) -> Result<PathBuf, Error> {
        let name = format!("functions.{}", instructions.name());
        let shim =
            self.compile_c(&source_dir().join("shim.bpf.c"), instructions, &format!("{name}.shim.ll"))?;
        let linked = self.link(&shim, instructions, &name, false)?;
        self.generate(&linked, &name)
    }

    fn compile_c(&self, source: &Path, instructions: Instructions, name: &str) -> Result<PathBuf, Error> {
        let output = self.out.join(name);
        let mut clang = Command::new(&self.tools.clang);
        clang.args(["-g", "-O2", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v4", "-emit-llvm", "-S"]);
        clang.args(instructions.define());
        for folder in &self.includes {
            clang.arg("-I").arg(folder);
        }
        run(clang.arg(source).arg("-o").arg(&output))?;
        Ok(output)
    }

    /// Links `first` with arenaq, and with the shim unless it is that. Of the latter two only what is needed
    /// is taken, and nothing outside will see it, so that it disappears once it is inlined.
    fn link(
        &self,
        first: &Path,
        instructions: Instructions,
        name: &str,
        is_program: bool,
    ) -> Result<PathBuf, Error> {
        let first_ir = read(first)?;
        let target = Target::of(&first_ir)
            .ok_or_else(|| Error::Unresolved { symbols: vec!["target triple".into()] })?;
        let rust = self.out.join(format!("{name}.rust.ll"));
        write(&rust, &retarget(&self.rust, &target))?;

        let output = self.out.join(format!("{name}.linked.bc"));
        let mut link = Command::new(&self.tools.llvm_link);
        link.arg(first);
        if is_program {
            let shim =
                self.compile_c(&source_dir().join("shim.bpf.c"), instructions, &format!("{name}.shim.ll"))?;
            link.args(["--internalize", "--only-needed"]).arg(&rust).arg(shim);
        } else {
            link.arg(&rust);
        }
        run(link.arg("-o").arg(&output))?;
        Ok(output)
    }

    /// The program may leave kernel functions to libbpf; arenaq and the shim may leave nothing.
    fn check_resolved(&self, program: &Path, linked: &Path) -> Result<(), Error> {
        let kernel = self.undefined(program)?;
        let symbols: Vec<String> = self
            .undefined(linked)?
            .into_iter()
            .filter(|symbol| !kernel.contains(symbol) || symbol.starts_with("arenaq_"))
            .collect();
        if symbols.is_empty() { Ok(()) } else { Err(Error::Unresolved { symbols }) }
    }

    fn undefined(&self, module: &Path) -> Result<BTreeSet<String>, Error> {
        // llvm-nm reads bitcode, not text.
        let bitcode = module.with_extension("nm.bc");
        run(Command::new(&self.tools.llvm_link).arg(module).arg("-o").arg(&bitcode))?;
        let listing = run(Command::new(&self.tools.llvm_nm)
            .args(["--undefined-only", "--just-symbol-name"])
            .arg(&bitcode))?;
        Ok(listing.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect())
    }

    fn generate(&self, linked: &Path, name: &str) -> Result<PathBuf, Error> {
        let optimised = self.out.join(format!("{name}.opt.bc"));
        run(Command::new(&self.tools.opt).arg("-passes=default<O2>").arg(linked).arg("-o").arg(&optimised))?;
        let object = self.out.join(format!("{name}.bpf.o"));
        run(Command::new(&self.tools.llc)
            .args(["-march=bpf", "-mcpu=v4", "-filetype=obj"])
            .arg(&optimised)
            .arg("-o")
            .arg(&object))?;
        // BTF stays; DWARF is of no use to the kernel.
        run(Command::new(&self.tools.llvm_strip).arg("--strip-debug").arg(&object))?;
        Ok(object)
    }
}

/// Compiles `arenaq-bpf` with the cargo that runs us, in a target folder of its own: the outer cargo holds
/// the lock of the other.
fn compile_rust(out: &Path) -> Result<String, Error> {
    let ir = out.join("arenaq.ll");
    let manifest = source_dir().join("Cargo.toml");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What the outer cargo says about its own compilation (flags, wrappers such as clippy's) is not meant for
    // this one.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let is_outer =
            ["CARGO_", "RUSTFLAGS", "RUSTC_", "RUSTDOC"].iter().any(|prefix| name.starts_with(prefix));
        if is_outer && name != "CARGO_HOME" {
            cargo.env_remove(name.as_ref());
        }
    }
    cargo.args(["rustc", "--quiet", "--lib", "--profile", "bpf", "--manifest-path"]).arg(&manifest);
    cargo.arg("--target-dir").arg(out.join("rust"));
    // The vectorisers would make types that BPF does not have.
    cargo.args(["--", "-C", "no-vectorize-slp", "-C", "no-vectorize-loops"]);
    let mut emit = OsStr::new("--emit=llvm-ir=").to_owned();
    emit.push(&ir);
    run(cargo.arg(emit))?;
    read(&ir)
}

fn stem(program: &Path) -> String {
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    name.trim_end_matches(".c").trim_end_matches(".bpf").to_owned()
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn run(command: &mut Command) -> Result<String, Error> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|source| Error::Start { tool: tool.clone(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::Failed { tool, status: output.status, stderr })
}

#[cfg(test)]
mod tests {
    use super::Instructions;

    #[test]
    fn without_load_acquire_ordinary_loads_do_only_where_the_hardware_keeps_total_store_order() {
        for (architecture, expected) in [
            ("x86_64", Instructions::Tso),
            ("s390x", Instructions::Tso),
            ("aarch64", Instructions::FullBarrier),
            ("riscv64", Instructions::FullBarrier),
            ("powerpc64", Instructions::FullBarrier),
            ("one that nobody has thought of", Instructions::FullBarrier),
        ] {
            assert_eq!(Instructions::before_acquire_release(architecture), expected, "{architecture}");
            assert!(expected.is_right_on(architecture));
        }
    }
}
