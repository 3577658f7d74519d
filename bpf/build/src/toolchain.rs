//! Finds clang and the LLVM tools.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::rustc::Rustc;

/// The Debian packages that bring everything but Rust.
pub const PACKAGES: &[&str] = &["clang-22", "llvm-22", "libelf-dev", "zlib1g-dev", "pkg-config", "make"];

/// The oldest LLVM whose BPF backend compiles atomics on arena pointers: clang 19 crashes on them.
const OLDEST: u32 = 22;
/// Of older ones it is said that they are too old.
const OLDEST_LOOKED_AT: u32 = 10;
/// How far beyond it to look.
const NEWEST: u32 = OLDEST + 20;

/// Why the tools cannot be used.
///
/// `Debug` is the text of `Display`: it is what a build script shows whose `main` returns the error, and the text has
/// several lines.
#[derive(thiserror::Error)]
pub enum ToolchainError {
    /// rustc cannot be asked for its version.
    #[error("cannot ask `{rustc} -vV` for its LLVM version: {reason}")]
    Rustc {
        /// The compiler.
        rustc: String,
        /// Why.
        reason: String,
    },
    /// A tool is not there in a version that will do.
    #[error(
        "no {missing} of LLVM {needed} or newer was found{} ({why}). Install it:\n\
         \n    apt-get install {packages}\n\n(Debian bookworm and later have these packages; elsewhere take those of the LLVM project for your system, \
         and add their folder to PATH)",
        .older.as_ref().map_or(String::new(), |older| format!(", only {older}"))
    )]
    Missing {
        /// The tools that are missing.
        missing: String,
        /// The version that is needed.
        needed: u32,
        /// Why not an older one.
        why: String,
        /// What there is instead: a clang that is too old.
        older: Option<String>,
        /// The packages that bring the tools.
        packages: String,
    },
}

impl fmt::Debug for ToolchainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The tools, all of one LLVM version.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// LLVM's major version.
    pub llvm: u32,
    /// The C compiler.
    pub clang: PathBuf,
    /// The IR linker.
    pub llvm_link: PathBuf,
    /// The optimiser.
    pub opt: PathBuf,
    /// The code generator.
    pub llc: PathBuf,
    /// Lists symbols.
    pub llvm_nm: PathBuf,
    /// Removes DWARF.
    pub llvm_strip: PathBuf,
    /// Adds sections.
    pub llvm_objcopy: PathBuf,
    /// Disassembles.
    pub llvm_objdump: PathBuf,
}

impl Toolchain {
    /// Looks for the oldest complete set of tools that is not older than rustc's LLVM: as `clang-22`, in
    /// `/usr/lib/llvm-22/bin`, or as plain `clang`.
    ///
    /// # Errors
    ///
    /// [`ToolchainError`], which says what to install.
    pub fn find() -> Result<Toolchain, ToolchainError> {
        let llvm = Rustc::find()?.llvm;
        let why = format!("rustc's LLVM is {llvm}, and the tools must not be older");
        Toolchain::search(llvm, why, PACKAGES.join(" "))
    }

    /// The same for who has arenaq's Rust compiled already ([`Prebuilt`](crate::Prebuilt)), by an LLVM of this major
    /// version: without Rust.
    ///
    /// # Errors
    ///
    /// [`ToolchainError::Missing`].
    pub fn at_least(llvm: u32) -> Result<Toolchain, ToolchainError> {
        let needed = llvm.max(OLDEST);
        let why = format!("arenaq's functions were compiled by LLVM {llvm}, and the tools must not be older");
        Toolchain::search(llvm, why, format!("clang-{needed} llvm-{needed}"))
    }

    fn search(llvm: u32, why: String, packages: String) -> Result<Toolchain, ToolchainError> {
        let needed = llvm.max(OLDEST);
        let mut missing = String::new();
        for llvm in needed..=NEWEST {
            match Toolchain::of_version(llvm) {
                Ok(tools) => return Ok(tools),
                // What a partial installation lacks says more than what nobody has installed at all.
                Err(lacks) if missing.is_empty() || lacks.len() < missing.len() => missing = lacks,
                Err(_) => {}
            }
        }
        Err(ToolchainError::Missing { missing, needed, why, older: older(needed), packages })
    }

    fn of_version(llvm: u32) -> Result<Toolchain, String> {
        let mut missing = Vec::new();
        let mut tool = |name: &'static str| {
            find_tool(name, llvm).unwrap_or_else(|| {
                missing.push(name);
                PathBuf::new()
            })
        };
        let tools = Toolchain {
            llvm,
            clang: tool("clang"),
            llvm_link: tool("llvm-link"),
            opt: tool("opt"),
            llc: tool("llc"),
            llvm_nm: tool("llvm-nm"),
            llvm_strip: tool("llvm-strip"),
            llvm_objcopy: tool("llvm-objcopy"),
            llvm_objdump: tool("llvm-objdump"),
        };
        if missing.is_empty() { Ok(tools) } else { Err(missing.join(", ")) }
    }
}

/// The newest clang that is older than what is needed, and where it is.
fn older(needed: u32) -> Option<String> {
    let plain = in_path("clang").and_then(|clang| Some((version_of(&clang)?, clang)));
    let numbered = (OLDEST_LOOKED_AT..needed)
        .filter_map(|llvm| Some((llvm, find_tool("clang", llvm)?)))
        .chain(plain.filter(|(llvm, _)| *llvm < needed))
        .max_by_key(|(llvm, _)| *llvm);
    numbered.map(|(llvm, clang)| format!("clang {llvm} ({})", clang.display()))
}

pub(crate) fn major(version: &str) -> Option<u32> {
    version.trim().split('.').next()?.parse().ok()
}

fn find_tool(name: &str, llvm: u32) -> Option<PathBuf> {
    let own_folder = Path::new("/usr/lib").join(format!("llvm-{llvm}/bin")).join(name);
    if own_folder.is_file() {
        return Some(own_folder);
    }
    let numbered = in_path(&format!("{name}-{llvm}"));
    numbered.or_else(|| in_path(name).filter(|tool| version_of(tool) == Some(llvm)))
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|tool| tool.is_file())
}

/// All the tools print a line with `version 22.1.8`.
fn version_of(tool: &Path) -> Option<u32> {
    let output = Command::new(tool).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.split("version ").nth(1).and_then(major)
}

#[cfg(test)]
mod tests {
    use super::{Toolchain, ToolchainError, major, older};

    #[test]
    fn a_version_is_its_first_number() {
        assert_eq!(major("22.1.8"), Some(22));
        assert_eq!(major("22.1.8-rust-1.95.0-stable"), Some(22));
        assert_eq!(major("git"), None);
    }

    #[test]
    fn a_version_that_nobody_has_lacks_every_tool() {
        let lacks = Toolchain::of_version(1).expect_err("no LLVM 1 here");
        assert!(lacks.contains("clang") && lacks.contains("llc"), "{lacks}");
    }

    #[test]
    fn who_has_no_tools_is_told_which_and_what_there_is_that_will_not_do() {
        let Err(error) = Toolchain::at_least(1000) else { panic!("no LLVM 1000 here") };
        let ToolchainError::Missing { needed: 1000, .. } = &error else { panic!("{error}") };
        let text = error.to_string();
        assert!(
            text.contains("compiled by LLVM 1000") && text.contains("apt-get install clang-1000"),
            "{text}"
        );

        let tools = Toolchain::find().expect("they compile arenaq's objects");
        let older = older(tools.llvm + 1).expect("the one that was found");
        assert_eq!(older, format!("clang {} ({})", tools.llvm, tools.clang.display()));
    }
}
