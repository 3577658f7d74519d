//! Crates outside of this workspace that make BPF objects: what a user's cargo can be told, and what a user meets.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[path = "support/outside.rs"]
mod outside;
mod support;

use outside::{Outside, root};

/// They share a target folder, and would only wait for each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_changed_header_makes_the_object_anew_and_an_unchanged_one_does_not() {
    let _alone = alone();
    let outside = Outside::new();
    let first = outside.object();
    let ran = |output: &std::process::Output| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said.contains("build-script-build`")
    };
    let again = outside.cargo(&["build", "--verbose"]);
    assert!(!ran(&again), "nothing changed, and the build script ran: {again:?}");

    outside.write("include/my.h", "#define MY_KEY 2\n");
    assert_ne!(outside.object(), first, "the program includes my.h");
}

#[test]
fn what_clang_says_is_shown_line_by_line() {
    let _alone = alone();
    let outside = Outside::new();
    outside.write("include/my.h", "#error the header says so\n");
    let output = outside.cargo(&["build"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    let is_shown = |line: &str| line.trim_end().ends_with("my.h:1:2: error: the header says so");
    assert!(said.lines().any(is_shown), "{said}");
}

#[test]
fn flags_for_the_users_own_code_do_not_reach_the_kernel_side() {
    let _alone = alone();
    let outside = Outside::new();
    let plain = outside.object();
    outside.write(
        ".cargo/config.toml",
        "[build]\nrustflags = [\"-Cinstrument-coverage\"]\n\n[profile.release]\ndebug = true\nopt-level = 0\n",
    );
    let object = outside.object();
    let text = String::from_utf8_lossy(&object);
    assert!(
        !text.contains("__llvm_prf"),
        "the object counts its own coverage, and the kernel loads no such section"
    );
    assert_eq!(object.len(), plain.len());
}

#[test]
fn vendored_sources_are_enough() {
    let _alone = alone();
    let mut outside = Outside::new();
    let configuration = outside.succeed(&["vendor"]);
    assert!(configuration.contains("vendored-sources"), "{configuration}");
    outside.write(".cargo/config.toml", &configuration);
    let home = outside.path("home");
    fs::create_dir(&home).expect("it can be made");
    outside.set("CARGO_HOME", home);
    outside.object();
}

#[test]
fn the_packages_as_they_are_published_are_enough() {
    let _alone = alone();
    let mut outside = Outside::new();
    let configuration = outside.succeed(&["vendor"]);
    outside.write(".cargo/config.toml", &configuration);
    // As `cargo vendor` puts what comes from a registry.
    let names = ["weaken", "arenaq", "arenaq-bpf", "arenaq-bpf-build"];
    for (name, package) in packages(&outside.path("packages"), &names) {
        let vendored = outside.path("vendor").join(name);
        fs::rename(package, &vendored).expect("it can be moved");
        fs::write(vendored.join(".cargo-checksum.json"), r#"{"files":{}}"#).expect("it can be written");
    }
    outside.depend("[build-dependencies]\narenaq-bpf-build = \"0.1.0\"\n");
    let home = outside.path("home");
    fs::create_dir(&home).expect("it can be made");
    outside.set("CARGO_HOME", home);
    outside.object();
}

/// Packs some of the workspace's packages as for a registry, and unpacks them: their names, and where they are.
fn packages<'n>(folder: &Path, names: &'n [&'n str]) -> Vec<(&'n str, PathBuf)> {
    let mut pack = outside::cargo();
    pack.args(["package", "--quiet", "--offline", "--allow-dirty", "--no-verify", "--target-dir"])
        .arg(folder);
    pack.args(names.iter().flat_map(|name| ["--package", name])).current_dir(root());
    let output = pack.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let unpack = |name: &'n &str| {
        let packed = format!("package/{name}-{}.crate", env!("CARGO_PKG_VERSION"));
        let tar = Command::new("tar").arg("-xzf").arg(folder.join(&packed)).arg("-C").arg(folder).status();
        assert!(tar.expect("tar runs").success(), "{packed} cannot be unpacked");
        (*name, folder.join(format!("{name}-{}", env!("CARGO_PKG_VERSION"))))
    };
    names.iter().map(unpack).collect()
}

#[test]
fn what_cargo_fetch_brings_is_enough() {
    let _alone = alone();
    let mut outside = Outside::new();
    // As `cargo fetch` leaves it, which would go to the network.
    outside.succeed(&["update", "--workspace", "--quiet"]);
    let home = outside.path("home");
    fetch_into(&home, &fs::read_to_string(outside.path("Cargo.lock")).expect("it is there"));
    outside.set("CARGO_HOME", home);
    outside.write(".cargo/config.toml", "[net]\noffline = true\n");
    outside.object();
}

/// Makes a home of cargo with the packages of a lock, out of the present one.
fn fetch_into(home: &Path, lock: &str) {
    let present = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cargo"),
        PathBuf::from,
    );
    let registry = home.join("registry");
    fs::create_dir_all(&registry).expect("it can be made");
    symlink(present.join("registry/index"), registry.join("index")).expect("it can be linked");
    for index in fs::read_dir(present.join("registry/cache")).expect("this workspace is fetched").flatten() {
        let cache = registry.join("cache").join(index.file_name());
        fs::create_dir_all(&cache).expect("it can be made");
        for package in fs::read_dir(index.path()).expect("it can be read").flatten() {
            let name = package.file_name();
            if is_locked(lock, &name) {
                fs::copy(package.path(), cache.join(name)).expect("it can be copied");
            }
        }
    }
}

/// Whether a lock has the package of a file such as `bytemuck-1.25.2.crate`.
fn is_locked(lock: &str, file: &OsStr) -> bool {
    let file = file.to_string_lossy();
    lock.split("[[package]]").any(|package| {
        let value = |key: &str| {
            package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'))
        };
        let (Some(name), Some(version)) = (value("name"), value("version")) else { return false };
        *file == format!("{name}-{version}.crate")
    })
}

/// The first block of README.md that begins like this and contains something.
fn readme(begins: &str, contains: &str) -> String {
    let readme = fs::read_to_string(root().join("README.md")).expect("it is there");
    let block = readme
        .split("```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.strip_prefix(begins))
        .find(|block| block.contains(contains));
    block.unwrap_or_else(|| panic!("README.md has no block {begins} with {contains}")).to_owned()
}

/// A crate of README.md's build script, and of a program and a `main` of it.
fn readmes_crate(program: &str, main: &str) -> Outside {
    let path = |folder: &str| root().join(folder).display().to_string();
    let outside = Outside::with_manifest(&format!(
        "[dependencies]\narenaq = {{ path = {:?} }}\narenaq-libbpf = {{ path = {:?} }}\nlibbpf-rs = \"0.27\"\n\
         bytemuck = {{ version = \"1.25\", features = [\"derive\"] }}\n\n\
         [build-dependencies]\narenaq-bpf-build = {{ path = {:?} }}\nlibbpf-sys = \"1.7\"\n",
        path("."),
        path("crates/libbpf"),
        path("bpf/build"),
    ));
    outside.write("my.bpf.c", &readme("c\n", program));
    outside.write("build.rs", &readme("rust,ignore\n", "Pipeline::new"));
    outside.write("src/main.rs", &readme("rust,ignore\n", main));
    outside.succeed(&["build"]);
    outside
}

#[test]
fn the_readmes_program_is_built_elsewhere_and_pops_what_the_kernel_pushed() {
    let _alone = alone();
    let kernel = support::kernel("the_readmes_program_is_built_elsewhere_and_pops_what_the_kernel_pushed");
    let outside = readmes_crate("ds_vyukhov_init", "test_run");
    if kernel.is_some() {
        let said = outside.succeed(&["run", "--quiet"]);
        assert!(
            said.lines().any(|line| line.starts_with("process ") && line.contains(" started a program")),
            "{said}"
        );
    }
}

#[test]
fn the_readmes_own_event_is_built_elsewhere_and_comes_by_the_name_of_its_queue() {
    let _alone = alone();
    let kernel = support::kernel("the_readmes_own_event_is_built_elsewhere");
    let outside = Outside::with_manifest(&format!(
        "[dependencies]\narenaq = {{ path = {:?} }}\narenaq-libbpf = {{ path = {:?} }}\nlibbpf-rs = \"0.27\"\n\
         bytemuck = {{ version = \"1.25\", features = [\"derive\"] }}\n",
        root().display().to_string(),
        root().join("crates/libbpf").display().to_string(),
    ));
    outside.write("execs.bpf.c", &readme("c\n", "ARENAQ_MPSC(execs"));
    outside.write("src/main.rs", &readme("rust,ignore\n", "Loaded::load"));
    let mut build = support::arenaq(&["build", "execs.bpf.c"]);
    let built = build.current_dir(outside.path("")).output().expect("it starts");
    assert!(built.status.success(), "{built:?}");
    outside.succeed(&["build"]);
    if kernel.is_some() {
        let said = outside.succeed(&["run", "--quiet"]);
        let is_event = |line: &str| line.starts_with("process ") && line.contains(" became true at ");
        assert!(said.lines().any(is_event), "{said}");
        assert!(
            said.contains("execs: Some(Dropped { full: 0, contended: 0, invalid: 0, corrupt: 0 })"),
            "{said}"
        );
    }
}
