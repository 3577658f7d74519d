//! A line that CI holds.

use crate::fixture::{Fixture, told};

#[test]
fn a_new_survivor_fails_and_code_that_moves_does_not() {
    let fixture = Fixture::new();
    let check = |more: &[&str]| {
        let arguments = [&["--baseline=weaken.json", "two_never_hold"], more].concat();
        let output = fixture.run(&arguments);
        (output.status.code(), told(&output))
    };
    let (status, told) = check(&[]);
    assert_eq!(status, Some(8), "there is none yet: {told}");
    assert_eq!(check(&["--write-baseline"]).0, Some(0));
    assert_eq!(check(&[]).0, Some(0));

    fixture.edit("src/lock.rs", "use weaken::cell", "// One line more.\nuse weaken::cell");
    assert_eq!(check(&[]).0, Some(0));

    fixture.edit("src/lock.rs", "Ordering::Release", "Ordering::SeqCst");
    let (status, told) = check(&[]);
    assert_eq!(status, Some(1), "{told}");
    let place = fixture.line("src/lock.rs", "Ordering::SeqCst");
    assert!(told.contains(&format!("new survivor: {place}")), "{told}");
    assert!(told.contains("store SeqCst -> Release"), "{told}");
    assert!(told.contains("1 new survivors"), "{told}");

    fixture.edit("weaken.json", "{", "[");
    let (status, told) = check(&[]);
    assert_eq!(status, Some(2), "{told}");
    assert!(told.contains("it is no baseline"), "{told}");
}

#[test]
fn with_fail_fast_the_first_new_survivor_ends_the_run_and_what_is_skipped_is_not_gone() {
    let fixture = Fixture::new();
    let run = |more: &[&str]| {
        fixture.run(&[&["--baseline=weaken.json", "--jobs=1", "message_arrives"], more].concat())
    };
    assert_eq!(run(&["--write-baseline"]).status.code(), Some(0));
    let output = run(&["--fail-fast"]);
    assert_eq!(output.status.code(), Some(0), "known survivors end nothing: {}", told(&output));
    assert!(!told(&output).contains("skipped"), "{}", told(&output));

    // Of three survivors at one place, the first is no longer known.
    let kept = fixture.read("weaken.json");
    let forgotten = kept.replacen("\"to\": \"Acquire\"", "\"to\": \"other\"", 1);
    assert_ne!(kept, forgotten);
    std::fs::write(fixture.path().join("weaken.json"), forgotten).expect("weaken.json");
    let output = run(&["--fail-fast"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let told = told(&output);
    assert!(told.contains("fetch_add AcqRel -> Acquire") && told.contains("1 new survivors"), "{told}");
    assert!(told.contains("3 skipped") && !told.contains("are gone"), "{told}");
}
