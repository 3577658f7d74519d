//! Compiles arenaq's Rust, with a cargo that the outer one does not disturb.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;
use crate::run::{copy, make_folder, read, remove, run, write};
use crate::rustc::Rustc;
use crate::sources::Sources;

/// How the Rust is compiled before it becomes BPF: one unit, no unwinding. Each setting is named, for those of the user's
/// own configuration would take the place of a default.
const PROFILE: &str = "\
[profile.bpf]
inherits = \"release\"
opt-level = 3
panic = \"abort\"
codegen-units = 1
lto = \"off\"
debug = false
split-debuginfo = \"off\"
strip = false
overflow-checks = false
debug-assertions = false
incremental = false
rpath = false
";

/// Compiles `arenaq-bpf` for the host to LLVM IR, in the folder `out`, which is absolute.
///
/// It gets a workspace of its own: that of arenaq is locked to versions that the user need not have. The lock is the
/// user's instead, and nothing is fetched: what is needed, the outer cargo has fetched for this crate.
pub(crate) fn compile(rustc: &Rustc, sources: &Sources, out: &Path) -> Result<String, Error> {
    let workspace = out.join("workspace");
    make_folder(&workspace)?;
    write(&workspace.join("Cargo.toml"), &workspace_manifest(sources))?;
    for lock in locks() {
        // A lock that is not the user's has versions that are not here, and then the next may do.
        if copy(&lock, &workspace.join(LOCK)).and_then(|()| run_cargo(rustc, &workspace, out)).is_ok() {
            return read(&ir(out));
        }
    }
    // cargo takes the newest versions that are here.
    remove(&workspace.join(LOCK))?;
    run_cargo(rustc, &workspace, out)?;
    read(&ir(out))
}

fn ir(out: &Path) -> PathBuf {
    out.join("arenaq.ll")
}

fn run_cargo(rustc: &Rustc, workspace: &Path, out: &Path) -> Result<(), Error> {
    let mut cargo = cargo(rustc);
    cargo.args(["rustc", "--quiet", "--offline", "--lib", "--profile", "bpf"]);
    // The host's, whatever `build.target` says.
    cargo.args(["--target", &rustc.host]).arg("--manifest-path").arg(workspace.join("Cargo.toml"));
    // The outer cargo holds the lock of the other target folder.
    cargo.arg("--target-dir").arg(out.join("rust"));
    // The vectorisers would make types that BPF does not have.
    cargo.args(["--", "-C", "no-vectorize-slp", "-C", "no-vectorize-loops"]);
    // A table of constants is looked into without a comparison that the verifier could see, where the compiler knows that there
    // is no other case.
    cargo.args(["-C", "jump-tables=no"]);
    let mut emit = OsStr::new("--emit=llvm-ir=").to_owned();
    emit.push(ir(out));
    run(cargo.arg(emit)).map(drop)
}

/// The cargo that runs us, without what it says about its own compilation: flags, and wrappers such as clippy's.
///
/// It still reads the user's configuration, which says where vendored sources lie. What that says about compilers is
/// overruled: an empty list of flags in this variable is one, and comes before all others.
fn cargo(rustc: &Rustc) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let is_outer =
            ["CARGO_", "RUSTFLAGS", "RUSTC_", "RUSTDOC"].iter().any(|prefix| name.starts_with(prefix));
        if is_outer && name != "CARGO_HOME" && !name.starts_with("CARGO_REGISTRIES_") {
            cargo.env_remove(name.as_ref());
        }
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "").env("RUSTC_WRAPPER", "").env("RUSTC_WORKSPACE_WRAPPER", "");
    cargo.env("RUSTC", &rustc.path);
    cargo
}

/// `arenaq-bpf` as a workspace of its own.
fn workspace_manifest(sources: &Sources) -> String {
    let library = quote(&sources.bpf.join("src/lib.rs"));
    let core = quote(&sources.core);
    format!(
        "[package]\nname = \"arenaq-bpf\"\nedition = \"2024\"\n\n[lib]\npath = {library}\n\n\
         [features]\ndefault = [\"kernel\"]\nkernel = []\n\n\
         [dependencies]\narenaq = {{ path = {core} }}\n\n[workspace]\n\n{PROFILE}"
    )
}

/// A path as a string of TOML.
fn quote(path: &Path) -> String {
    let mut quoted = String::from("\"");
    for c in path.to_string_lossy().chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

const LOCK: &str = "Cargo.lock";

/// Where the lock of the user's workspace may be. The target folder is in the workspace unless the user wants it elsewhere;
/// the package whose build script this is can be a dependency with a lock of its own, which cargo did not obey.
fn locks() -> Vec<PathBuf> {
    let mut locks: Vec<PathBuf> = Vec::new();
    for variable in ["OUT_DIR", "CARGO_MANIFEST_DIR"] {
        let Some(folder) = env::var_os(variable) else { continue };
        let lock = Path::new(&folder).ancestors().map(|folder| folder.join(LOCK)).find(|lock| lock.is_file());
        locks.extend(lock.filter(|lock| !locks.contains(lock)));
    }
    locks
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::quote;

    #[test]
    fn a_path_is_quoted_as_toml_wants_it() {
        assert_eq!(quote(Path::new("/a b/\"c\"\\d\te")), "\"/a b/\\\"c\\\"\\\\d\\u0009e\"");
    }
}
