//! One access, or a list of all.

use serde_json::Value;

use crate::fixture::{Fixture, told};

#[test]
fn one_ordering_is_asked_about_and_the_exit_status_answers() {
    let fixture = Fixture::new();
    let place = fixture.line("src/lock.rs", "compare_exchange");
    for (change, status, what) in [
        ("Relaxed", 1, "1 killed"),
        ("_/Relaxed", 0, "1 survived"),
        // A stronger one is a question too.
        ("SeqCst/SeqCst", 0, "1 survived"),
    ] {
        let output = fixture.run(&["--site", &format!("{place}={change}")]);
        assert_eq!(output.status.code(), Some(status), "{change}: {}", told(&output));
        assert!(told(&output).contains(what), "{change}: {}", told(&output));
    }
    for (change, reason) in [
        ("src/lock.rs:17", "no `=`"),
        ("src/lock.rs:1=Relaxed", "src/lock.rs:"),
        ("src/lack.rs:17=Relaxed", "no model makes such an access"),
        (&format!("{place}=_/Release"), "cannot be Release"),
        (&format!("{place}=Acquire"), "is Acquire/Acquire already"),
        (&format!("{place}=Weak"), "no ordering"),
    ] {
        let output = fixture.run(&["--site", change]);
        assert_eq!(output.status.code(), Some(2), "{change}: {}", told(&output));
        assert!(told(&output).contains(reason), "{change}: {}", told(&output));
    }
}

#[test]
fn the_list_has_the_accesses_with_what_would_be_tried_and_tries_nothing() {
    let fixture = Fixture::new();
    let list = fixture.json(&["--list", "two_never_hold"]);
    let accesses = list["accesses"].as_array().expect("accesses");
    let weaker: Vec<_> = accesses.iter().map(|access| (&access["operation"], &access["weaker"])).collect();
    let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    assert_eq!(
        weaker,
        [
            (&json(r#""compare_exchange""#), &json(r#"["Relaxed/Acquire", "Acquire/Relaxed"]"#)),
            (&json(r#""store""#), &json(r#"["Relaxed"]"#)),
        ]
    );
    assert!(accesses[0]["failed"].as_u64() > Some(0), "{list}");
    assert!(!fixture.page().exists());

    let output = fixture.run(&["--list", "two_never_hold"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.ends_with("2 accesses, 3 weaker orderings\n"), "{text}");
}

#[test]
fn what_follows_the_two_dashes_is_for_the_test_program() {
    let fixture = Fixture::new();
    let list = fixture.json(&["--list", "--", "--skip", "message", "--skip", "ring"]);
    let accesses = list["accesses"].as_array().expect("accesses");
    assert!(accesses.iter().all(|access| access["file"] == "src/lock.rs"), "{list}");
    assert!(!accesses.is_empty());
}
