//! The example on real events.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn every_command_line_that_this_process_starts_is_printed_as_a_whole_and_ctrl_c_ends_it() {
    if let Err(error) = arenaq_libbpf::choose(None) {
        assert!(std::env::var_os("ARENAQ_REQUIRE_KERNEL").is_none(), "must not be skipped here: {error}");
        eprintln!(
            "SKIPPED: every_command_line_that_this_process_starts_is_printed_as_a_whole_and_ctrl_c_ends_it: {error}"
        );
        return;
    }
    let this = std::process::id().to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_cmdlines"))
        .arg(&this)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(said.by_ref().any(|line| line == "ready"));

    // From no argument to more than a record has room for: that one is cut.
    let counts = (0..50).map(|i| i * i).chain([3000]);
    let mut expected: Vec<String> = counts
        .map(|count| {
            let args: Vec<_> = (0..count).map(|i| i.to_string()).collect();
            let mut program = Command::new("true").args(&args).spawn().expect("it starts");
            let line = format!("{this} started {}: true {}", program.id(), args.join(" "));
            assert!(program.wait().expect("it ends").success());
            line.trim_end().to_owned()
        })
        .collect();
    // It blocks until all are there.
    let mut out = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let mut printed: Vec<_> = out.by_ref().take(expected.len()).collect();
    // Each processor's come in their order.
    printed.sort_unstable();
    expected.sort_unstable();
    for (printed, expected) in printed.iter().zip(&expected) {
        let most = 4096 - 16 - 1;
        let head = expected.find(": ").expect("it is there") + 2;
        let cut = &expected[..expected.len().min(head + most)];
        assert_eq!(printed, cut.trim_end());
    }

    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
    assert!(said.any(|line| line.contains("full: 0, contended: 0, invalid: 0, corrupt: 0")));
    assert!(child.wait().expect("it ends").success());
}
