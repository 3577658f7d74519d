//! `arenaq build`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use arenaq_bpf_build::Instructions;

use super::place::{OPENSNOOP, Place};
use crate::support::{Outcome, skip};

/// A program that needs a macro and a header.
fn with_header() -> String {
    OPENSNOOP
        .replace("#include \"arenaq.h\"", "#include \"arenaq.h\"\n#include \"my.h\"")
        .replace("char file[256]", "char file[MY_LENGTH]")
        .replace("16384", "MY_CAPACITY")
}

#[test]
fn a_program_is_built_where_no_rust_is_for_every_kernel_in_one_file() {
    let place = Place::with("opensnoop.bpf.c", OPENSNOOP);
    let built = place.run(&["build", "opensnoop.bpf.c", "--json"]);
    assert_eq!((built.code, built.stderr.as_str()), (Some(0), ""), "{built:?}");
    let said = built.json();
    assert_eq!(said["object"], "opensnoop.bpf.o");
    assert_eq!(said["instructions"], serde_json::json!(Instructions::ALL.map(Instructions::name)));
    let queue = serde_json::json!({"name": "opens", "kind": "MPSC", "capacity": 16384, "element_size": 296});
    assert_eq!(said["queues"], serde_json::json!([queue]));
    let file = place.path("opensnoop.bpf.o");
    let mode = file.metadata().expect("it was made").permissions().mode();
    assert_eq!(mode & 0o600, 0o600, "{mode:o}");
    assert!(mode & 0o111 == 0, "{mode:o}");

    let said = place.run(&["build", "opensnoop.bpf.c"]).stdout;
    assert_eq!(
        said,
        "opensnoop.bpf.o: acquire-release, tso, full-barrier\n  MPSC queue opens: 16384 elements of 296 bytes\n"
    );
    let all = fs::metadata(&file).expect("it is there").len();
    let one = place.run(&["build", "opensnoop.bpf.c", "--instructions", "full-barrier"]);
    assert!(one.stdout.starts_with("opensnoop.bpf.o: full-barrier\n"), "{one:?}");
    assert!(fs::metadata(&file).expect("it is there").len() < all / 2);
    assert_eq!(place.left(), 0, "files for the meantime");
}

#[test]
fn what_clang_says_is_shown_as_it_is_and_a_program_with_a_mistake_leaves_the_old_object() {
    let wrong = OPENSNOOP.replace("int on_exit", "itn on_exit");
    let place = Place::with("my.bpf.c", &wrong);
    place.write("my.bpf.o", "old");
    let outcome = place.run(&["build", "my.bpf.c"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{outcome:?}");
    let line = 1 + wrong.lines().position(|line| line.starts_with("itn")).expect("it is there");
    let said = outcome.stderr;
    assert!(said.starts_with(&format!("my.bpf.c:{line}:1: error: unknown type name 'itn'\n")), "{said}");
    assert!(said.ends_with("arenaq: my.bpf.c does not compile: see what clang says above\n"), "{said}");
    assert_eq!(fs::read_to_string(place.path("my.bpf.o")).expect("it is there"), "old");

    // Of the names that the program may not call either.
    place.write("my.bpf.c", &OPENSNOOP.replace("arenaq_push(&opens", "arenaq_nothing(); arenaq_push(&opens"));
    let outcome = place.run(&["build", "my.bpf.c"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert_eq!(place.left(), 0, "files for the meantime");
}

#[test]
fn a_warning_is_shown_once_and_is_no_error() {
    let place = Place::with("my.bpf.c", &OPENSNOOP.replace("__u64 task =", "int unused;\n\t__u64 task ="));
    let outcome = place.run(&["build", "my.bpf.c"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(outcome.stderr.matches("warning: unused variable 'unused'").count(), 1, "{}", outcome.stderr);
    assert!(place.has("my.bpf.o"));
}

#[test]
fn folders_and_macros_reach_clang_and_the_object_goes_where_it_is_told() {
    let place = Place::with("src/my.bpf.c", &with_header());
    place.write("some headers/my.h", "#define MY_LENGTH 24\n");
    let arguments =
        ["build", "src/my.bpf.c", "-I", "some headers", "-DMY_CAPACITY=512", "-o", "src/other.o", "--json"];
    let outcome = place.run(&arguments);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(outcome.json()["queues"][0]["capacity"], 512);
    assert_eq!(outcome.json()["queues"][0]["element_size"], 64);
    assert!(place.has("src/other.o") && !place.has("my.bpf.o"));
    // The user's own headers come before those that the command carries, and arenaq.h does not.
    place.write("some headers/bpf/bpf_helpers.h", "#error mine\n");
    place.write("some headers/arenaq.h", "#error not mine\n");
    let outcome = place.run(&arguments);
    assert!(outcome.stderr.contains("error: mine") && !outcome.stderr.contains("not mine"), "{outcome:?}");
}

#[test]
fn make_builds_again_what_a_header_has_changed() {
    let place = Place::with("my.bpf.c", &with_header());
    place.write("some headers/my.h", "#define MY_LENGTH 24\n#define MY_CAPACITY 64\n");
    let arenaq = env!("CARGO_BIN_EXE_arenaq");
    place.write(
        "Makefile",
        &format!("my.bpf.o:\n\t'{arenaq}' build my.bpf.c -I 'some headers' -MD my.d\n-include my.d\n"),
    );
    let make = || {
        let mut make = place.program("/usr/bin/make");
        Outcome::of(make.env("PATH", "/usr/bin:/bin"))
    };
    let first = make();
    assert_eq!(first.code, Some(0), "{first:?}");
    let rule = fs::read_to_string(place.path("my.d")).expect("it was written");
    assert!(
        rule.starts_with("my.bpf.o: \\\n  my.bpf.c \\\n") && rule.contains("some\\ headers/my.h"),
        "{rule}"
    );
    assert!(
        !rule.contains("arenaq.h") && !rule.contains("bpf_helpers.h"),
        "what is gone when make looks: {rule}"
    );
    assert!(make().stdout.contains("up to date"), "nothing has changed");

    // File systems keep times in steps.
    std::thread::sleep(std::time::Duration::from_millis(50));
    place.write("some headers/my.h", "#define MY_LENGTH 32\n#define MY_CAPACITY 64\n");
    assert!(make().stdout.contains("64 elements of 72 bytes"), "a header has changed");

    fs::remove_file(place.path("some headers/my.h")).expect("it is there");
    place.write("my.bpf.c", OPENSNOOP);
    let without = make();
    assert!(without.stdout.contains("16384 elements"), "a header that nobody includes any more: {without:?}");
}

#[test]
fn a_machine_without_clang_or_with_an_old_one_is_told_what_to_install() {
    let place = Place::with("my.bpf.c", OPENSNOOP);
    place.write("empty/README", "no tool is here\n");
    place.write("old/clang", "#!/bin/sh\necho Debian clang version 19.1.7\n");
    fs::set_permissions(place.path("old/clang"), fs::Permissions::from_mode(0o755)).expect("it is ours");
    // For this process there is nothing where Debian puts LLVM, and PATH is as it is told.
    let script = r#"
        for folder in /usr/lib/llvm-*; do
            [ ! -d "$folder" ] || mount -t tmpfs none "$folder" || exit 99
        done
        PATH=$1; export PATH; shift
        exec "$@"
    "#;
    for (path, says) in [("empty", "was found (arenaq's"), ("old", "was found, only clang 19 (")] {
        let mut command = place.program("/usr/bin/unshare");
        command.env("PATH", "/usr/bin:/bin").args(["--mount", "sh", "-c", script, "sh"]);
        command.arg(place.path(path)).args([env!("CARGO_BIN_EXE_arenaq"), "build", "my.bpf.c"]);
        let outcome = Outcome::of(&mut command);
        if outcome.code == Some(99) || outcome.stderr.starts_with("unshare:") {
            return skip("a machine without clang", &outcome.stderr);
        }
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(3), ""), "{outcome:?}");
        let said = outcome.stderr;
        assert!(said.contains(says) && said.contains("no clang, llvm-link, opt, llc"), "{said}");
        assert!(
            said.contains("\n    apt-get install clang-22 llvm-22\n") && !said.contains("rustc"),
            "{said}"
        );
    }
    assert!(!place.has("my.bpf.o"));
    assert_eq!(place.left(), 0, "files for the meantime");
}

#[test]
fn what_cannot_be_built_is_refused_with_what_to_do() {
    let place = Place::with("my.bpf.c", OPENSNOOP);
    place.write("my.bpf.cc", OPENSNOOP);
    fs::create_dir(place.path("folder.c")).expect("it can be made");
    for (arguments, says) in [
        (
            &["nothing.bpf.c"][..],
            "No such file or directory (os error 2). Give the file of a BPF program in C",
        ),
        (&["folder.c"], "it is a folder"),
        (&["my.bpf.cc"], "its name does not end in `.c`"),
        (&["my.bpf.c", "-o", "my.bpf.c"], "it is the program itself"),
        (&["my.bpf.c", "-o", "./folder.c/../my.bpf.c"], "it is the program itself"),
        (&["my.bpf.c", "-o", "folder.c"], "it is a folder"),
        (&["my.bpf.c", "-o", "none/my.o"], "there is no such folder"),
        (&["my.bpf.c", "-MD", "my.bpf.c"], "it is the program itself"),
        (&["my.bpf.c", "-MD", "none/my.d"], "there is no such folder"),
        (&["my.bpf.c", "-D", "1=2"], "write it as NAME or NAME=VALUE"),
        (&[], "PROGRAM"),
    ] {
        let outcome = place.run(&[&["build"], arguments].concat());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome:?}");
        assert!(outcome.stderr.contains(says), "{arguments:?}: {}", outcome.stderr);
    }
    assert_eq!(fs::read_to_string(place.path("my.bpf.c")).expect("it is there"), OPENSNOOP);
    assert!(!place.has("my.bpf.o"));
}

#[test]
fn a_queue_that_no_loader_can_find_is_told_when_it_is_built() {
    let place = Place::with("my.bpf.c", &OPENSNOOP.replace("ARENAQ_MPSC(", "static ARENAQ_MPSC("));
    let outcome = place.run(&["build", "my.bpf.c"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(
        outcome.stderr.contains("`opens` is no queue") && outcome.stderr.contains("make it global"),
        "{outcome:?}"
    );
}
