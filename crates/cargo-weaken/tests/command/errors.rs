//! What goes wrong ends with one message and a status of its own.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::fixture::{Fixture, told};

/// Far more than anything takes.
const LONG: Duration = Duration::from_secs(300);

/// Runs, and expects this status and one message with this in it.
fn refused(fixture: &Fixture, arguments: &[&str], status: i32, reason: &str) {
    let output = fixture.run(arguments);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(status), "{told}");
    let messages: Vec<_> = told.split("error: ").skip(1).collect();
    let message = messages.last().copied().unwrap_or_default();
    assert!(message.contains(reason), "{told}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn tests_that_do_not_compile() {
    refused(&Fixture::with_models("fn nothing("), &[], 3, "the tests do not compile");
}

#[test]
fn no_test_that_runs_a_model() {
    let fixture = Fixture::with_models("#[test] fn none() {}");
    refused(&fixture, &[], 4, "none of the 1 tests runs a model of weaken");
    refused(&fixture, &["other"], 2, "no test is called \"other\"");
}

#[test]
fn a_test_that_fails_unchanged() {
    let models = "#[test] fn wrong() { weaken::model(|| assert_eq!(1 + 1, 3, \"arithmetic\")); }";
    refused(&Fixture::with_models(models), &[], 5, "wrong fails although no ordering was changed");
}

#[test]
fn a_model_that_fails_unchanged_has_a_page_with_what_is_missing() {
    let fixture = Fixture::new();
    fixture.edit("src/lock.rs", "Ordering::Release", "Ordering::Relaxed");
    refused(&fixture, &["two_never_hold_the_lock"], 5, "fails although no ordering was changed");
    let page = fixture.read("page.html");
    for text in
        ["A model fails with the orderings as they are", "hands nothing on, which Release would", "<svg"]
    {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[test]
fn a_test_that_passes_because_its_model_fails() {
    let models = "#[test] #[should_panic] fn wrong() { weaken::model(|| panic!(\"on purpose\")); }";
    refused(&Fixture::with_models(models), &[], 5, "wrong fails although no ordering was changed");
    // Beside others it is left out, with a warning: see the examples.
}

#[test]
fn models_that_explore_one_execution_only() {
    // Each thread loads the word before it stores to it, which hides the other's load from loom.
    let models = r#"
        use weaken::sync::{Arc, atomic::{AtomicU32, Ordering}};
        #[test]
        fn single() {
            weaken::model(|| {
                let word = AtomicU32::new(0);
                word.store(1, Ordering::Release);
                assert_eq!(Arc::new(word).load(Ordering::Acquire), 1);
            });
        }
    "#;
    refused(&Fixture::with_models(models), &[], 6, "explores one execution only");
}

#[test]
fn a_test_that_does_not_end() {
    let models =
        "#[test] fn endless() { weaken::model(|| std::thread::sleep(std::time::Duration::from_secs(600))); }";
    refused(&Fixture::with_models(models), &["--time-limit=1"], 7, "endless does not end within 1 s");
}

#[test]
fn options_that_contradict_each_other() {
    let fixture = Fixture::new();
    for arguments in [
        &["--write-baseline"][..],
        &["--list", "--site=a.rs:1=Relaxed"],
        &["--jobs=0"],
        &["--time-limit=0"],
        &["--nonsense"],
        // Nothing would end it.
        &["--fail-fast"],
        &["--fail-fast", "--baseline=weaken.json", "--write-baseline"],
        // It would forget the survivors that it does not look at.
        &["--only=*", "--baseline=weaken.json"],
        &["--only=*", "--site=a.rs:1=Relaxed"],
        &["--strengthen", "--site=a.rs:1=SeqCst"],
        &["--strengthen", "--baseline=weaken.json"],
    ] {
        assert_eq!(fixture.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn an_environment_that_would_change_the_run() {
    let fixture = Fixture::new();
    let output = fixture.command(&[]).env("WEAKEN", "*=Relaxed").output().expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(told(&output).contains("unset it"), "{}", told(&output));
}

#[test]
fn an_interrupt_leaves_no_process() {
    let models = r#"
        #[test]
        fn endless() {
            weaken::model(|| {
                std::fs::write("running", std::process::id().to_string()).unwrap();
                std::fs::rename("running", "pid").unwrap();
                std::thread::sleep(std::time::Duration::from_secs(600));
            });
        }
    "#;
    let fixture = Fixture::with_models(models);
    let mut command = fixture.command(&[]);
    let mut weaken = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let start = Instant::now();
    let pid = loop {
        if let Ok(text) = fs::read_to_string(fixture.path().join("pid")) {
            break text.parse().ok().and_then(Pid::from_raw).expect("a number");
        }
        assert!(start.elapsed() < LONG, "the model never began");
        thread::sleep(Duration::from_millis(20));
    };
    assert!(test_kill_process(pid).is_ok(), "the model runs");
    let mine = i32::try_from(weaken.id()).ok().and_then(Pid::from_raw).expect("a number");
    kill_process(mine, Signal::INT).expect("it can be interrupted");
    assert_eq!(weaken.wait().expect("it ends").code(), Some(130));
    assert!(test_kill_process(pid).is_err(), "the model still runs");
}
