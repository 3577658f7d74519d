//! `cargo xtask dist`: C and C++ from the archive, where no Rust is.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Outcome, kernel};

/// The archive, unpacked: a folder that is not in the repository.
fn unpack(folder: &Path) {
    let mut dist = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO") && !["CARGO_HOME", "CARGO_TARGET_DIR"].contains(&&*name) {
            dist.env_remove(name.as_ref());
        }
    }
    dist.args(["run", "--quiet", "--offline", "--package=xtask", "--", "dist", "--for-tests", "--out"]);
    let made = Outcome::of(dist.arg(folder).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")));
    assert_eq!(made.code, Some(0), "{made:?}");
    let archive = made.stdout.trim();
    let sum = format!("{}.sha256", Path::new(archive).file_name().expect("a file").display());
    let checked = Outcome::of(Command::new("sha256sum").arg("--check").arg(sum).current_dir(folder));
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let place = folder.join("elsewhere");
    fs::create_dir(&place).expect("it can be made");
    let tar = ["-xz", "--strip-components=1", "-f", archive, "-C"];
    let unpacked = Outcome::of(Command::new("tar").args(tar).arg(&place));
    assert_eq!(unpacked.code, Some(0), "{unpacked:?}");
}

#[test]
fn the_archive_is_enough_for_programs_in_c_and_in_cpp_and_each_event_is_accounted_for() {
    let kernel = kernel("the_archive_is_enough_for_programs_in_c_and_in_cpp_and_each_event_is_accounted_for");
    let folder = tempfile::tempdir().expect("the folder for temporary files is writable");
    unpack(folder.path());
    let place = folder.path().join("elsewhere");
    // The program's own libbpf: here the one that the harness is linked with.
    let libbpf = Path::new(env!("ARENAQ_LIBBPF"));
    let pc = format!(
        "Name: libbpf\nDescription: libbpf\nVersion: 1.7.0\nLibs: {} -lelf -lz\nCflags: -isystem {}\n",
        libbpf.join("libbpf.a").display(),
        libbpf.join("include").display()
    );
    fs::create_dir(folder.path().join("pc")).expect("it can be made");
    fs::write(folder.path().join("pc/libbpf.pc"), pc).expect("it can be written");

    let program = |name: &str, arguments: &[&str]| {
        let mut program = Command::new(name);
        program.args(arguments).current_dir(&place).env_clear();
        program.env("PATH", format!("{}:/usr/bin:/bin", place.join("bin").display()));
        let packages =
            format!("{}:{}", place.join("lib/pkgconfig").display(), folder.path().join("pc").display());
        Outcome::of(program.env("PKG_CONFIG_PATH", packages))
    };
    assert_ne!(program("sh", &["-c", "command -v rustc || command -v cargo"]).code, Some(0), "Rust is there");
    let sums = program("sha256sum", &["--check", "--quiet", "SHA256SUMS"]);
    assert_eq!((sums.code, sums.stdout.as_str()), (Some(0), ""), "{sums:?}");

    let target = if kernel.is_some() { "run" } else { "all" };
    let made = program("make", &["-C", "share/doc/arenaq/c", target]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let times = |line: &str| made.stdout.lines().filter(|said| *said == line).count();
    if kernel.is_some() {
        assert_eq!(times("1000 popped, 0 dropped"), 2, "{made:?}");
        assert_eq!(times("1000 popped and dropped, some dropped: 1"), 2, "{made:?}");
        assert_eq!(times("5000050000"), 2, "{made:?}");
        assert_eq!(times("3 popped after a sleep: 1"), 2, "{made:?}");
    }

    // The types of the elements are checked in both languages.
    let wrong = fs::read_to_string(place.join("share/doc/arenaq/c/threads.c")).expect("it is there");
    let wrong = wrong
        .replace("struct job job;\n\n\tfor", "struct { __u32 other; } job;\n\n\tfor")
        .replace("job.number", "*(__u32 *)&job");
    for (compiler, file) in [("cc", "wrong.c"), ("g++", "wrong.cpp")] {
        fs::write(place.join(file), &wrong).expect("it can be written");
        let refused = program(compiler, &["-Iinclude", "-c", file, "-o", "/dev/null"]);
        assert!(refused.code != Some(0) && refused.stderr.contains("arenaq_push"), "{refused:?}");
    }
}
