//! The example on real events.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

#[test]
fn every_program_that_this_process_starts_is_printed_and_ctrl_c_ends_it() {
    if let Err(error) = arenaq_libbpf::choose(None) {
        assert!(std::env::var_os("ARENAQ_REQUIRE_KERNEL").is_none(), "must not be skipped here: {error}");
        eprintln!("SKIPPED: every_program_that_this_process_starts_is_printed_and_ctrl_c_ends_it: {error}");
        return;
    }
    let this = std::process::id().to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_execsnoop"))
        .arg(&this)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(said.any(|line| line == "ready"));

    let started: Vec<_> = (0..50)
        .map(|_| {
            let mut program = Command::new("true").spawn().expect("it starts");
            let id = program.id();
            assert!(program.wait().expect("it ends").success());
            id
        })
        .collect();
    // One line each, in any order: two tasks print them. It blocks until all are there.
    let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
    // It is kept open: what else is printed goes somewhere.
    let printed = reader.by_ref().lines().map_while(Result::ok);
    let mut printed: Vec<u32> = printed
        .take(started.len())
        .map(|line| line.rsplit(' ').next().and_then(|id| id.parse().ok()).expect("a process id"))
        .collect();
    printed.sort_unstable();
    let mut expected = started;
    expected.sort_unstable();
    assert_eq!(printed, expected);

    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
    assert!(child.wait().expect("it ends").success());
}
