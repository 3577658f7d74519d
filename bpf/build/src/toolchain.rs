//! Finds clang and the LLVM tools.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The Debian packages that bring everything but Rust.
pub const PACKAGES: &[&str] = &["clang-22", "llvm-22", "libelf-dev", "zlib1g-dev", "pkg-config", "make"];

/// The oldest LLVM whose BPF backend compiles atomics on arena pointers: clang 19 crashes on them.
const OLDEST: u32 = 22;
/// How far beyond it to look.
const NEWEST: u32 = OLDEST + 20;

/// Why the tools cannot be used.
#[derive(Debug, thiserror::Error)]
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
         \n    apt-get install {}\n\n(Debian bookworm and later have these packages; elsewhere take https://apt.llvm.org)",
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

/// The tools, all of one LLVM version.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// LLVM's major version.
    pub llvm: u32,
    /// The major version of rustc's LLVM.
    pub rustc_llvm: u32,
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
        let rustc_llvm = rustc_llvm()?;
        let needed = rustc_llvm.max(OLDEST);
        let mut missing = String::new();
        for llvm in needed..=NEWEST {
            match Toolchain::of_version(llvm, rustc_llvm) {
                Ok(tools) => return Ok(tools),
                // What a partial installation lacks says more than what nobody has installed at all.
                Err(lacks) if missing.is_empty() || lacks.len() < missing.len() => missing = lacks,
                Err(_) => {}
            }
        }
        Err(ToolchainError::Missing { missing, needed, rustc_llvm })
    }

    fn of_version(llvm: u32, rustc_llvm: u32) -> Result<Toolchain, String> {
        let mut missing = Vec::new();
        let mut tool = |name: &'static str| {
            find_tool(name, llvm).unwrap_or_else(|| {
                missing.push(name);
                PathBuf::new()
            })
        };
        let tools = Toolchain {
            llvm,
            rustc_llvm,
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

fn rustc_llvm() -> Result<u32, ToolchainError> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let fail = |reason: String| ToolchainError::Rustc { rustc: rustc.clone(), reason };
    let output = Command::new(&rustc).arg("-vV").output().map_err(|error| fail(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))
        .and_then(major)
        .ok_or_else(|| fail(format!("it printed\n{text}")))
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
    use super::{Toolchain, ToolchainError, major};

    #[test]
    fn a_version_is_its_first_number() {
        assert_eq!(major("22.1.8"), Some(22));
        assert_eq!(major("22.1.8-rust-1.95.0-stable"), Some(22));
        assert_eq!(major("git"), None);
    }

    #[test]
    fn a_version_that_nobody_has_lacks_every_tool() {
        let lacks = Toolchain::of_version(1, 1).expect_err("no LLVM 1 here");
        assert!(lacks.contains("clang") && lacks.contains("llc"), "{lacks}");
        let error = ToolchainError::Missing { missing: lacks, needed: 22, rustc_llvm: 22 };
        assert!(error.to_string().contains("apt-get install clang-22"), "{error}");
    }
}
