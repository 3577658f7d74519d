//! A crate outside of the workspace that makes BPF objects, as a user has one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the harness is in the workspace").to_owned()
}

/// Writes `<bpf/bpf_helpers.h>` and its like below a folder.
pub(crate) fn write_bpf_headers(folder: &Path) {
    fs::create_dir_all(folder.join("bpf")).expect("it can be made");
    for (name, text) in libbpf_sys::API_HEADERS {
        fs::write(folder.join("bpf").join(name), text).expect("it can be written");
    }
}

/// A program that pushes.
pub(crate) const PROGRAM: &str = r#"
#include "kernel.h"
#include <bpf/bpf_helpers.h>
struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16);
} arena SEC(".maps");
#include "arenaq.h"
#include "my.h"
char LICENSE[] SEC("license") = "Dual BSD/GPL";
struct ds_vyukhov_head __arena queue;
SEC("syscall")
int push(void *ctx)
{
	return ds_vyukhov_insert(&queue, MY_KEY, 1);
}
"#;

/// Where the object lies says this line of the build script's output.
const BUILD: &str = r#"
use arenaq_bpf_build::{Instructions, Pipeline, Toolchain};
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = std::env::var("OUT_DIR")?;
    let pipeline = Pipeline::new(Toolchain::find()?, out)?.include("include");
    let object = pipeline.object("my.bpf.c", Instructions::AcquireRelease)?;
    println!("cargo::rustc-env=MY_OBJECT={}", object.display());
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}
"#;

/// The cargo that runs this test, without what it says about its own compilation.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO") && name != "CARGO_HOME" {
            cargo.env_remove(name.as_ref());
        }
    }
    cargo
}

/// The crate, which is removed with the value.
pub(crate) struct Outside {
    folder: TempDir,
    target: PathBuf,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Outside {
    /// A crate that depends on arenaq by path and on nothing else, with the versions that the workspace has. `main` prints
    /// the object's path.
    pub(crate) fn new() -> Outside {
        let build = root().join("bpf/build");
        let outside = Outside::with_manifest(&format!(
            "[build-dependencies]\narenaq-bpf-build = {{ path = {:?} }}\n",
            build.display().to_string()
        ));
        outside.write("build.rs", BUILD);
        outside.write("my.bpf.c", PROGRAM);
        outside.write("include/my.h", "#define MY_KEY 1\n");
        outside.write("src/main.rs", "fn main() { println!(\"{}\", env!(\"MY_OBJECT\")); }\n");
        write_bpf_headers(&outside.path("include"));
        outside
    }

    /// A crate with these dependencies, and no file but its manifest and the workspace's lock.
    pub(crate) fn with_manifest(dependencies: &str) -> Outside {
        let folder = tempfile::tempdir().expect("the folder for temporary files is writable");
        // One for all such crates, so that what they have in common is compiled once.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside");
        let outside = Outside { folder, target, environment: Vec::new() };
        outside.depend(dependencies);
        fs::copy(root().join("Cargo.lock"), outside.path("Cargo.lock")).expect("it can be copied");
        outside
    }

    /// Writes the manifest, with these dependencies.
    pub(crate) fn depend(&self, dependencies: &str) {
        self.write(
            "Cargo.toml",
            &format!(
                "[package]\nname = \"outside\"\nedition = \"2024\"\n\n[workspace]\n\n[profile.dev]\ndebug = false\n\n{dependencies}"
            ),
        );
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
        fs::write(path, text).expect("it can be written");
    }

    /// Lets each cargo that is run here see a variable.
    pub(crate) fn set(&mut self, variable: &'static str, value: PathBuf) {
        self.environment.push((variable, value));
    }

    /// cargo in the crate's folder, without network, and without what the cargo of this test says.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Output {
        let mut cargo = cargo();
        cargo.args(arguments).arg("--offline").current_dir(self.folder.path());
        cargo.env("CARGO_TARGET_DIR", &self.target).env_remove("RUSTFLAGS");
        // What is built with -Cinstrument-coverage writes a profile where it runs, which is the sources' folder.
        cargo.env("LLVM_PROFILE_FILE", self.target.join("%p.profraw"));
        cargo.envs(self.environment.iter().map(|(name, value)| (name, value)));
        cargo.output().expect("cargo runs")
    }

    /// As [`cargo`](Self::cargo); what it wrote to its standard output.
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.cargo(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo {arguments:?}: {}\n{stderr}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Builds the crate and returns its object.
    pub(crate) fn object(&self) -> Vec<u8> {
        let path = self.succeed(&["run", "--quiet"]);
        fs::read(path.trim()).expect("the object is where the build script said")
    }
}
