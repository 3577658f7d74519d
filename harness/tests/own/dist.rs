//! `cargo xtask dist`: C and C++ from the archive, where no Rust is.

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::support::bpffs::{Bpffs, text};
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

/// Consumers in C of a pinned object exclude those of `arenaq`, are counted with them, and take over from who was killed.
fn pinned(arenaq: &Path, examples: &Path) {
    let bpffs = Bpffs::mount();
    let place = bpffs.path("calls");
    let folder = text(&place);
    let arenaq = |arguments: &[&str]| Outcome::of(Command::new(arenaq).args(arguments).current_dir(examples));
    let example = |name: &str| {
        let mut example = Command::new(examples.join(name));
        example.arg(folder);
        example
    };
    let number = format!("getppid_number={}", libc::SYS_getppid);
    let us = format!("tgid={}", std::process::id());
    let load =
        ["load", "calls.bpf.o", "--pin", folder, "--capacity", "calls=64", "--set", &number, "--set", &us];
    let loaded = arenaq(&load);
    assert_eq!(loaded.code, Some(0), "{loaded:?}");
    let call = |times| {
        for _ in 0..times {
            let _ = std::os::unix::process::parent_id();
        }
    };

    let mut killed = example("pinned").stdout(Stdio::piped()).spawn().expect("it starts");
    let mut said = BufReader::new(killed.stdout.take().expect("it was piped")).lines();
    call(3);
    let line = said.next().expect("a line").expect("of text");
    assert!(line.ends_with(&format!("of process {}", std::process::id())), "{line}");
    let refused = Outcome::of(&mut example("pinned++"));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(&format!("process {} (pinned)", killed.id())), "{refused:?}");
    let excluded = arenaq(&["consume", folder, "--queue", "calls", "--events", "1"]);
    assert!(excluded.code != Some(0) && excluded.stderr.contains("consumes from it"), "{excluded:?}");
    said.by_ref().take(2).for_each(drop);
    killed.kill().expect("it can be killed");
    killed.wait().expect("it has ended");

    call(5);
    let next = Outcome::of(example("pinned++").arg("5"));
    assert_eq!((next.code, next.stdout.lines().count()), (Some(0), 5), "{next:?}");
    for name in ["takeover", "takeover++"] {
        let took = Outcome::of(&mut example(name));
        assert_eq!(
            (took.code, took.stdout.as_str()),
            (Some(0), "120 given, after 38 have died\n"),
            "{took:?}"
        );
    }
    let stat = arenaq(&["stat", "--json", folder]);
    let stat: serde_json::Value = serde_json::from_str(&stat.stdout).expect("JSON");
    let consumed = |queue: usize| stat["queues"][queue]["consumed"].as_u64();
    assert_eq!((consumed(0), consumed(1)), (Some(8), Some(240)), "{stat}");

    let nothing = Outcome::of(Command::new(examples.join("pinned")).arg(bpffs.path("nothing")));
    assert!(nothing.code == Some(1) && nothing.stderr.contains("there is no such folder"), "{nothing:?}");
    let other = Outcome::of(Command::new(examples.join("pinned")).arg(examples));
    assert!(other.code == Some(1) && other.stderr.contains("not on a BPF file system"), "{other:?}");
}

/// A shell that opens files of these names when it is told to, and nothing else: none of them is there.
struct Opener {
    shell: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Opener {
    fn new() -> Opener {
        let mut shell = Command::new("sh");
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = shell.spawn().expect("it starts");
        let said = BufReader::new(shell.stdout.take().expect("it was piped")).lines();
        let mut opener = Opener { shell, said };
        // It has read its libraries when it answers.
        opener.open(&[]);
        opener
    }

    fn open(&mut self, names: &[&str]) {
        let commands: String = names.iter().map(|name| format!("true < {name}\n")).collect();
        let stdin = self.shell.stdin.as_mut().expect("it was piped");
        stdin.write_all((commands + "echo opened\n").as_bytes()).expect("it listens");
        assert_eq!(self.said.next().expect("a line").expect("of text"), "opened");
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// The same as [`pinned`] with records.
fn pinned_records(arenaq: &Path, examples: &Path) {
    let bpffs = Bpffs::mount();
    let place = bpffs.path("opens");
    let folder = text(&place);
    let arenaq = |arguments: &[&str]| Outcome::of(Command::new(arenaq).args(arguments).current_dir(examples));
    let mut opener = Opener::new();
    let loaded =
        arenaq(&["load", "opens.bpf.o", "--pin", folder, "--set", &format!("tgid={}", opener.shell.id())]);
    assert_eq!(loaded.code, Some(0), "{loaded:?}");

    let mut killed = Command::new(examples.join("opens"));
    let mut killed = killed.arg(folder).stdout(Stdio::piped()).spawn().expect("it starts");
    let said = BufReader::new(killed.stdout.take().expect("it was piped")).lines();
    opener.open(&["a", "a-longer-name"]);
    let first: Vec<String> = said.take(2).map(|line| line.expect("of text")).collect();
    assert_eq!(first, ["a", "a-longer-name"]);
    let refused = Outcome::of(Command::new(examples.join("opens++")).arg(folder));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains(&format!("process {} (opens)", killed.id())), "{refused:?}");
    let excluded = arenaq(&["consume", folder, "--queue", "opens", "--events", "1"]);
    assert!(
        excluded.code != Some(0) && excluded.stderr.contains("pinned records have one consumer"),
        "{excluded:?}"
    );
    killed.kill().expect("it can be killed");
    killed.wait().expect("it has ended");

    opener.open(&["b", "c"]);
    let next = Outcome::of(Command::new(examples.join("opens++")).args([folder, "1"]));
    assert_eq!((next.code, next.stdout.as_str()), (Some(0), "b\n"), "{next:?}");
    let last = arenaq(&["consume", folder, "--queue", "opens", "--events", "1"]);
    assert!(last.code == Some(0) && last.stdout.contains('c'), "{last:?}");
    let stat = arenaq(&["stat", "--json", folder]);
    let stat: serde_json::Value = serde_json::from_str(&stat.stdout).expect("JSON");
    assert_eq!(stat["queues"][0]["consumed"].as_u64(), Some(4), "{stat}");
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

    // A machine without libbpf: pkg-config knows the archive alone.
    let alone = format!("PKG_CONFIG_PATH={}", place.join("lib/pkgconfig").display());
    let made = program("env", &[&alone, "make", "-C", "share/doc/arenaq/c", "threads", "takeover++"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let target = if kernel.is_some() { "run" } else { "all" };
    let made = program("make", &["-C", "share/doc/arenaq/c", target]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let times = |line: &str| made.stdout.lines().filter(|said| *said == line).count();
    if kernel.is_some() {
        assert_eq!(times("1000 popped, 0 dropped"), 2, "{made:?}");
        assert_eq!(times("1000 popped and dropped, some dropped: 1"), 2, "{made:?}");
        assert_eq!(times("5000050000"), 2, "{made:?}");
        assert_eq!(times("3 popped after a sleep: 1"), 2, "{made:?}");
        assert_eq!(times("120 given, after 38 have died"), 2, "{made:?}");
        assert_eq!(times("1000 records, 0 dropped, kind 3"), 2, "{made:?}");
        assert_eq!(times("2000 records and dropped, some dropped: 1, for another reason: 0"), 2, "{made:?}");
        assert_eq!(times("xyz"), 2, "{made:?}");
        assert_eq!(times("3 records after a sleep: 1, wrong: 0"), 2, "{made:?}");
        let examples = place.join("share/doc/arenaq/c");
        pinned(&place.join("bin/arenaq"), &examples);
        pinned_records(&place.join("bin/arenaq"), &examples);
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
