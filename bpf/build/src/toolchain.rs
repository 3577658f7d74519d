//! Finds clang and the LLVM tools.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Debian packages that bring everything but Rust.
pub const PACKAGES: &[&str] = &["clang-22", "llvm-22", "libelf-dev", "zlib1g-dev", "pkg-config", "make"];

/// The oldest LLVM whose BPF backend compiles atomics on arena pointers: clang 19 crashes on them.
const OLDEST: u32 = 22;
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
        "no {missing} of LLVM {needed} or newer was found (rustc's LLVM is {rustc_llvm}, and the tools must not be older). Install it:\n\
         \n    apt-get install {}\n\n(Debian bookworm and later have these packages; elsewhere take those of the LLVM project for your system, \
         and add their folder to PATH)",
        PACKAGES.join(" ")
    )]
    Missing {
        /// The tools that are missing.
        missing: String,
        /// The version that is needed.
        needed: u32,
        /// rustc's LLVM.
        rustc_llvm: u32,
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
    /// The major version of rustc's LLVM.
    pub rustc_llvm: u32,
    /// The Rust compiler: the one that the outer cargo uses.
    pub rustc: PathBuf,
    /// The target triple of the machine that compiles.
    pub host: String,
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
        let rustc = Rustc::find()?;
        let needed = rustc.llvm.max(OLDEST);
        let mut missing = String::new();
        for llvm in needed..=NEWEST {
            match Toolchain::of_version(llvm, &rustc) {
                Ok(tools) => return Ok(tools),
                // What a partial installation lacks says more than what nobody has installed at all.
                Err(lacks) if missing.is_empty() || lacks.len() < missing.len() => missing = lacks,
                Err(_) => {}
            }
        }
        Err(ToolchainError::Missing { missing, needed, rustc_llvm: rustc.llvm })
    }

    fn of_version(llvm: u32, rustc: &Rustc) -> Result<Toolchain, String> {
        let mut missing = Vec::new();
        let mut tool = |name: &'static str| {
            find_tool(name, llvm).unwrap_or_else(|| {
                missing.push(name);
                PathBuf::new()
            })
        };
        let tools = Toolchain {
            llvm,
            rustc_llvm: rustc.llvm,
            rustc: rustc.path.clone(),
            host: rustc.host.clone(),
            clang: tool("clang"),
            llvm_link: tool("llvm-link"),
            opt: tool("opt"),
            llc: tool("llc"),
            llvm_nm: tool("llvm-nm"),
            llvm_strip: tool("llvm-strip"),
            llvm_objdump: tool("llvm-objdump"),
        };
        if missing.is_empty() { Ok(tools) } else { Err(missing.join(", ")) }
    }
}

/// The Rust compiler, and what it says about itself.
struct Rustc {
    path: PathBuf,
    llvm: u32,
    host: String,
}

impl Rustc {
    fn find() -> Result<Rustc, ToolchainError> {
        let path = PathBuf::from(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        let fail =
            |reason: String| ToolchainError::Rustc { rustc: path.to_string_lossy().into_owned(), reason };
        let output = Command::new(&path).arg("-vV").output().map_err(|error| fail(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        match (value("LLVM version:").and_then(major), value("host:")) {
            (Some(llvm), Some(host)) => Ok(Rustc { llvm, host: host.to_owned(), path: path.clone() }),
            _ => Err(fail(format!("it printed\n{text}{}", String::from_utf8_lossy(&output.stderr)))),
        }
    }
}

fn major(version: &str) -> Option<u32> {
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
    use super::{Rustc, Toolchain, ToolchainError, major};

    #[test]
    fn a_version_is_its_first_number() {
        assert_eq!(major("22.1.8"), Some(22));
        assert_eq!(major("22.1.8-rust-1.95.0-stable"), Some(22));
        assert_eq!(major("git"), None);
    }

    #[test]
    fn a_version_that_nobody_has_lacks_every_tool() {
        let rustc = Rustc::find().expect("it compiles this");
        let lacks = Toolchain::of_version(1, &rustc).expect_err("no LLVM 1 here");
        assert!(lacks.contains("clang") && lacks.contains("llc"), "{lacks}");
        let error = ToolchainError::Missing { missing: lacks, needed: 22, rustc_llvm: 22 };
        assert!(error.to_string().contains("apt-get install clang-22"), "{error}");
    }
}
