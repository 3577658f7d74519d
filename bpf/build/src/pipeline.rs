//! Runs the tools.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf, absolute};
use std::process::{Command, Stdio};

use crate::cargo::rerun_if_changed;
use crate::clang::{Machine, TARGET_ARCH, dependencies};
use crate::ir::{Target, retarget};
use crate::prebuilt::Files;
use crate::run::{make_folder, read, run, write};
use crate::rustc::Rustc;
use crate::sources::Sources;
use crate::{Error, Instructions, Prebuilt, Toolchain, indices, offsets, rust};

/// The kernel function with which the shim allocates arena pages.
const ALLOCATE: &str = "bpf_arena_alloc_pages";

/// Makes objects in one folder. arenaq's Rust is compiled once, when the pipeline is made.
#[derive(Clone, Debug)]
pub struct Pipeline {
    pub(crate) tools: Toolchain,
    files: Files,
    out: PathBuf,
    includes: Vec<PathBuf>,
    /// Where clang looks for a header that is nowhere else.
    last_includes: Vec<PathBuf>,
    /// Macros, with their values.
    defines: Vec<(String, Option<String>)>,
    rust: String,
    /// Which LLVM has made it.
    rust_llvm: u32,
    shows_diagnostics: bool,
    /// Whether cargo is told of what an object is made.
    has_sources: bool,
}

/// What becomes of clang's words about the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// A warning is an error, and errors are told with ours.
    Strict,
    /// Both go to standard error.
    Aloud,
    /// Warnings were told before.
    Silent,
}

impl Pipeline {
    /// Compiles arenaq's Rust to LLVM IR. Everything made goes into the folder `out`; a relative one is below the current
    /// folder, which is that of the package in a build script.
    ///
    /// # Errors
    ///
    /// [`Error`] if cargo fails or the folder cannot be written.
    pub fn new(tools: Toolchain, out: impl Into<PathBuf>) -> Result<Pipeline, Error> {
        let out = out.into();
        make_folder(&out)?;
        // Not every tool is run in this process's folder.
        let out = absolute(&out).map_err(|source| Error::File { path: out, source })?;
        let sources = Sources::find()?;
        rerun_if_changed(sources.inputs());
        let rustc = Rustc::find()?;
        let rust = rust::compile(&rustc, &sources, &out)?;
        let files = Files { include: sources.include(), shim: sources.shim() };
        Pipeline::of(tools, files, (rust, rustc.llvm), out, true)
    }

    /// A pipeline that needs no Rust, for arenaq's is compiled already. Everything made goes into the folder `out`, and so
    /// does what of arenaq clang needs to read.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the folder cannot be written.
    pub fn prebuilt(
        tools: Toolchain,
        prebuilt: &Prebuilt<'_>,
        out: impl Into<PathBuf>,
    ) -> Result<Pipeline, Error> {
        let out = out.into();
        make_folder(&out)?;
        let out = absolute(&out).map_err(|source| Error::File { path: out, source })?;
        let files = prebuilt.unpack(&out.join("arenaq"))?;
        Pipeline::of(tools, files, (prebuilt.ir.to_owned(), prebuilt.llvm), out, false)
    }

    fn of(
        tools: Toolchain,
        files: Files,
        (rust, rust_llvm): (String, u32),
        out: PathBuf,
        has_sources: bool,
    ) -> Result<Pipeline, Error> {
        let machine = Machine::find();
        let last_includes = machine.header_folders(&tools)?;
        let defines = machine.define().map(|name| (name, None)).into_iter().collect();
        let includes = vec![files.include.clone()];
        Ok(Pipeline {
            tools,
            files,
            out,
            includes,
            last_includes,
            defines,
            rust,
            rust_llvm,
            shows_diagnostics: false,
            has_sources,
        })
    }

    /// The LLVM IR of arenaq's functions, for [`Prebuilt`].
    pub fn ir(&self) -> &str {
        &self.rust
    }

    /// The major version of the LLVM that has made [`ir`](Self::ir).
    pub fn ir_llvm(&self) -> u32 {
        self.rust_llvm
    }

    /// What clang says about a program goes to standard error as it is, and a warning is no error. Otherwise it is one,
    /// and what clang says is a part of it.
    #[must_use]
    pub fn show_diagnostics(mut self) -> Pipeline {
        self.shows_diagnostics = true;
        self
    }

    pub(crate) fn voice(&self) -> Voice {
        if self.shows_diagnostics { Voice::Aloud } else { Voice::Strict }
    }

    /// Adds a folder in which clang looks for headers. arenaq's own is there already, and behind all others are those of the
    /// system.
    #[must_use]
    pub fn include(mut self, folder: impl Into<PathBuf>) -> Pipeline {
        self.includes.push(folder.into());
        self
    }

    /// Defines a macro for the programs, as `-D` does; `None` stands for no value. One of the same name takes the place of an
    /// earlier one.
    ///
    /// `__TARGET_ARCH_x86`, or what it is called for the machine that cargo compiles for, is defined already, for
    /// `<bpf/bpf_tracing.h>`; another `__TARGET_ARCH_...` takes its place.
    #[must_use]
    pub fn define<'a>(mut self, name: &str, value: impl Into<Option<&'a str>>) -> Pipeline {
        let is_same =
            |other: &str| other == name || (other.starts_with(TARGET_ARCH) && name.starts_with(TARGET_ARCH));
        self.defines.retain(|(other, _)| !is_same(other));
        self.defines.push((name.to_owned(), value.into().map(str::to_owned)));
        self
    }

    /// Makes a BPF object of a program in C, the shim, and the functions of arenaq that it uses, and returns its path. The
    /// file is called `my.acquire-release.bpf.o`, for `my.bpf.c`, and lies in a folder that no other program has, nor the
    /// same one with other macros.
    ///
    /// In a build script it tells cargo of what the object is made.
    ///
    /// # Errors
    ///
    /// [`Error`] if a tool fails or a symbol stays unresolved.
    pub fn object(&self, program: impl AsRef<Path>, instructions: Instructions) -> Result<PathBuf, Error> {
        self.make(program.as_ref(), instructions, self.voice())
    }

    pub(crate) fn make(
        &self,
        program: &Path,
        instructions: Instructions,
        voice: Voice,
    ) -> Result<PathBuf, Error> {
        self.tell_cargo([program]);
        let base = self.base(program, instructions)?;
        let program_ir = self.compile_program(program, instructions, &base, voice)?;
        let linked = self.link(&program_ir, instructions, &base, true)?;
        self.check_resolved(&program_ir, &linked)?;
        self.generate(&linked, instructions, &base)
    }

    /// Makes all three [`object`](Self::object)s of a program: which one a machine can run and needs is known when it is
    /// loaded.
    ///
    /// # Errors
    ///
    /// As [`object`](Self::object).
    pub fn objects(&self, program: impl AsRef<Path>) -> Result<[(Instructions, PathBuf); 3], Error> {
        let program = program.as_ref();
        let [first, second, third] = Instructions::ALL;
        let again = if self.shows_diagnostics { Voice::Silent } else { Voice::Strict };
        Ok([
            (first, self.object(program, first)?),
            (second, self.make(program, second, again)?),
            (third, self.make(program, third, again)?),
        ])
    }

    /// The files of which a program's objects are made, in the order in which clang names them, once an object is there.
    /// What lies in this pipeline's folder is not among them.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if no object of the program was made.
    pub fn dependencies(
        &self,
        program: impl AsRef<Path>,
        instructions: Instructions,
    ) -> Result<Vec<PathBuf>, Error> {
        let base = self.base(program.as_ref(), instructions)?;
        let mut files = dependencies(&extended(&base, "d"))?;
        files.retain(|file| !file.starts_with(&self.out));
        Ok(files)
    }

    /// Makes an object that has each of arenaq's functions once, as a function of its own: not to be loaded,
    /// but to be looked at.
    ///
    /// # Errors
    ///
    /// As [`object`](Self::object).
    pub fn functions(&self, instructions: Instructions) -> Result<PathBuf, Error> {
        let base = self.out.join(format!("functions.{}", instructions.name()));
        let shim = self.compile_shim(instructions, &base)?;
        let linked = self.link(&shim, instructions, &base, false)?;
        self.generate(&linked, instructions, &base)
    }

    /// What the files of an object begin with.
    fn base(&self, program: &Path, instructions: Instructions) -> Result<PathBuf, Error> {
        Ok(self.folder_of(program)?.join(format!("{}.{}", stem(program), instructions.name())))
    }

    fn tell_cargo<P: AsRef<Path>>(&self, inputs: impl IntoIterator<Item = P>) {
        if self.has_sources {
            rerun_if_changed(inputs);
        }
    }

    /// Where the objects of a program lie: those of two programs of one name, or of one with other macros or headers, are
    /// not the same.
    fn folder_of(&self, program: &Path) -> Result<PathBuf, Error> {
        let place = absolute(program).map_err(|source| Error::File { path: program.to_owned(), source })?;
        let mut hasher = DefaultHasher::new();
        (place, &self.includes, &self.defines).hash(&mut hasher);
        let folder = self.out.join(format!("{}-{:016x}", stem(program), hasher.finish()));
        make_folder(&folder)?;
        Ok(folder)
    }

    fn compile_program(
        &self,
        program: &Path,
        instructions: Instructions,
        base: &Path,
        voice: Voice,
    ) -> Result<PathBuf, Error> {
        let output = extended(base, "program.ll");
        let rule = extended(base, "d");
        let mut clang = self.clang(instructions);
        // A program has no logarithm, and `log` is what people call where their records go.
        clang.arg("-fno-builtin-log");
        match voice {
            Voice::Strict => clang.arg("-Werror"),
            Voice::Aloud => clang.stderr(Stdio::inherit()),
            Voice::Silent => clang.arg("-w"),
        };
        for folder in &self.includes {
            clang.arg("-I").arg(folder);
        }
        for (name, value) in &self.defines {
            let value = value.as_ref().map(|value| format!("={value}"));
            clang.arg(format!("-D{name}{}", value.unwrap_or_default()));
        }
        for folder in &self.last_includes {
            clang.arg("-idirafter").arg(folder);
        }
        clang.arg("-MD").arg("-MF").arg(&rule);
        run(clang.args(["-x", "c"]).arg(program).arg("-o").arg(&output)).map_err(|error| match error {
            Error::Failed { stderr, .. } => Error::Program { program: program.to_owned(), stderr },
            error => error,
        })?;
        self.tell_cargo(dependencies(&rule)?);
        Ok(output)
    }

    /// The shim has no use for what the program is told.
    fn compile_shim(&self, instructions: Instructions, base: &Path) -> Result<PathBuf, Error> {
        let output = extended(base, "shim.ll");
        let mut clang = self.clang(instructions);
        clang.arg("-Werror").arg("-I").arg(&self.files.include);
        run(clang.arg(&self.files.shim).arg("-o").arg(&output))?;
        Ok(output)
    }

    fn clang(&self, instructions: Instructions) -> Command {
        let mut clang = Command::new(&self.tools.clang);
        clang.args(["-g", "-O2", "-Wall", "-target", "bpf", "-mcpu=v4", "-emit-llvm", "-S"]);
        // Kernels refuse the tables that -mcpu=v4 has for a `switch`.
        clang.arg("-fno-jump-tables");
        clang.args(instructions.define());
        clang
    }

    /// Links `first` with arenaq, and with the shim unless it is that. Of the latter two only what is needed
    /// is taken, and nothing outside will see it, so that it disappears once it is inlined.
    fn link(
        &self,
        first: &Path,
        instructions: Instructions,
        base: &Path,
        is_program: bool,
    ) -> Result<PathBuf, Error> {
        let first_ir = read(first)?;
        let target = Target::of(&first_ir)
            .ok_or_else(|| Error::Unresolved { symbols: vec!["target triple".into()] })?;
        let rust = extended(base, "rust.ll");
        write(&rust, &retarget(&self.rust, &target))?;

        let output = extended(base, "linked.bc");
        let mut link = Command::new(&self.tools.llvm_link);
        link.arg(first);
        if is_program {
            let shim = self.compile_shim(instructions, base)?;
            link.args(["--internalize", "--only-needed"]).arg(&rust).arg(shim);
        } else {
            link.arg(&rust);
        }
        run(link.arg("-o").arg(&output))?;
        Ok(output)
    }

    /// The program may leave kernel functions to libbpf, and the shim the one that it calls; arenaq may leave nothing.
    fn check_resolved(&self, program: &Path, linked: &Path) -> Result<(), Error> {
        let kernel = self.undefined(program)?;
        let symbols: Vec<String> = self
            .undefined(linked)?
            .into_iter()
            .filter(|symbol| symbol != ALLOCATE)
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

    fn optimise(&self, passes: &str, from: &Path, to: &Path) -> Result<(), Error> {
        let passes = format!("-passes={passes}");
        run(Command::new(&self.tools.opt).args([&passes, "-S"]).arg(from).arg("-o").arg(to)).map(drop)
    }

    fn generate(&self, linked: &Path, instructions: Instructions, base: &Path) -> Result<PathBuf, Error> {
        let inlined = extended(base, "inlined.ll");
        self.optimise("default<O2>", linked, &inlined)?;
        write(&inlined, &offsets::behind_casts(&read(&inlined)?))?;
        let optimised = extended(base, "opt.ll");
        self.optimise("early-cse,gvn", &inlined, &optimised)?;
        write(&optimised, &indices::before_casts(&read(&optimised)?))?;
        let object = extended(base, "bpf.o");
        let mut llc = Command::new(&self.tools.llc);
        llc.args(["-march=bpf", "-mcpu=v4", "-filetype=obj"]);
        if instructions == Instructions::FullBarrier {
            // Linux 6.12 on arm64 loses an immediate store to the arena at a negative offset: see docs/kernel-side.md.
            llc.arg("--disable-storeimm");
        }
        run(llc.arg(&optimised).arg("-o").arg(&object))?;
        // BTF stays; DWARF is of no use to the kernel.
        run(Command::new(&self.tools.llvm_strip).arg("--strip-debug").arg(&object))?;
        Ok(object)
    }
}

/// `my.tso` becomes `my.tso.bpf.o`.
pub(crate) fn extended(base: &Path, extension: &str) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}

fn stem(program: &Path) -> String {
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    let name = name.strip_suffix(".c").unwrap_or(&name);
    name.strip_suffix(".bpf").unwrap_or(name).to_owned()
}
