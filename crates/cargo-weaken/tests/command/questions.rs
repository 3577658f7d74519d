//! One access, some, or a list of all; and the other way.

use serde_json::Value;

use crate::fixture::{Fixture, changes, told};

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

#[test]
fn only_means_some_accesses_by_their_place_or_by_the_name_of_their_memory() {
    let fixture = Fixture::new();
    let store = fixture.line("src/lock.rs", "store");
    let places = |globs: &[&str]| {
        let list = fixture.json(&[&["--list"], globs].concat());
        let accesses = list["accesses"].as_array().expect("accesses");
        accesses
            .iter()
            .map(|access| format!("{}:{}", access["file"].as_str().expect("a file"), access["line"]))
            .collect::<Vec<_>>()
    };
    let tail = ["self.tail.store", "self.tail.load"].map(|text| fixture.line("src/ring.rs", text));
    assert_eq!(places(&["--only=tail"]), tail);
    assert_eq!(places(&["--only=ring.rs:*#store", "--only", &store]).len(), 3);
    assert_eq!(places(&["--only=lock.rs:1*"]), [fixture.line("src/lock.rs", "compare_exchange")]);

    let report = fixture.json(&["--only=lock.rs#store"]);
    assert_eq!(changes(&report), [format!("{store} store Release -> Relaxed: killed")]);

    for (glob, reason) in [("lack.rs", "no model makes such an access"), ("[", "write FILE:LINE")] {
        // Another that means something does not hide it.
        let output = fixture.run(&["--only", glob, "--only=*"]);
        assert_eq!(output.status.code(), Some(2), "{glob}: {}", told(&output));
        assert!(told(&output).contains(reason), "{glob}: {}", told(&output));
    }
}

/// A store that releases twice, and loads that acquire.
const TWICE: &str = r#"
    use weaken::cell::UnsafeCell;
    use weaken::sync::{Arc, atomic::{AtomicBool, Ordering, fence}};

    struct Shared { ready: AtomicBool, data: UnsafeCell<u32> }
    unsafe impl Sync for Shared {}

    #[test]
    fn model() {
        weaken::model(|| {
            let shared = Arc::new(Shared { ready: AtomicBool::new(false), data: UnsafeCell::new(0) });
            let there = shared.clone();
            let thread = weaken::thread::spawn(move || {
                there.data.with_mut(|data| unsafe { *data = 1 });
                fence(Ordering::Release);
                there.ready.store(true, Ordering::Release);
            });
            if shared.ready.load(Ordering::Acquire) {
                shared.data.with(|data| assert_eq!(unsafe { *data }, 1));
            }
            thread.join().unwrap();
        });
    }
"#;

#[test]
fn several_orderings_are_asked_about_alone_or_together() {
    let fixture = Fixture::with_models(TWICE);
    let fence = fixture.line("tests/loom.rs", "fence(Ordering::Release)") + "=Relaxed";
    let store = fixture.line("tests/loom.rs", "ready.store") + "=Relaxed";
    let verdicts = |arguments: &[&str]| {
        let report = fixture.json(&[&["--test=loom"], arguments].concat());
        let all = report["mutations"].as_array().expect("changes");
        let verdicts: Vec<_> =
            all.iter().map(|change| change["verdict"].as_str().expect("a verdict").to_owned()).collect();
        (verdicts, report)
    };
    assert_eq!(verdicts(&["--site", &fence, "--site", &store]).0, ["survived", "survived"]);
    let both = format!("{fence},{store}");
    let (verdict, report) = verdicts(&["--site", &both]);
    assert_eq!(verdict, ["killed"]);
    assert_eq!(report["mutations"][0]["with"][0]["operation"], "store", "{report}");
    assert!(fixture.read("page.html").contains("step changed"));

    let output = fixture.run(&["--test=loom", "--site", &both]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(table.lines().count(), 3, "a line for each access: {table}");

    for (sites, reason) in [
        (format!("{fence},tests/loom.rs:1=Relaxed"), "no model makes such an access"),
        (format!("{fence},{fence}"), "two of these change the same access"),
    ] {
        let output = fixture.run(&["--test=loom", "--site", &sites]);
        assert_eq!(output.status.code(), Some(2), "{sites}: {}", told(&output));
        assert!(told(&output).contains(reason), "{sites}: {}", told(&output));
    }
}

#[test]
fn no_model_fails_with_a_stronger_ordering() {
    let fixture = Fixture::new();
    let report = fixture.json(&["--strengthen", "two_never_hold"]);
    let place = fixture.line("src/lock.rs", "compare_exchange");
    let store = fixture.line("src/lock.rs", "store");
    assert_eq!(
        changes(&report),
        [
            format!("{place} compare_exchange Acquire/Acquire -> AcqRel/Acquire: survived"),
            format!("{place} compare_exchange Acquire/Acquire -> Acquire/SeqCst: survived"),
            format!("{store} store Release -> SeqCst: survived"),
        ]
    );
    let output = fixture.run(&["--strengthen", "two_never_hold"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(told(&output).contains("3 stronger orderings tried: 0 fail, 3 pass"), "{}", told(&output));
    assert!(!fixture.read("page.html").contains("survived</span>"));
}

/// A test that fails if no execution reads the old value: it needs that nothing orders the two words.
const NEEDS_WEAKNESS: &str = r#"
    use weaken::sync::{Arc, atomic::{AtomicU32, Ordering}};

    #[test]
    fn the_old_value_is_seen() {
        let seen = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let mark = seen.clone();
        weaken::model(move || {
            let words = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
            let there = words.clone();
            let thread = weaken::thread::spawn(move || {
                there[0].store(1, Ordering::Relaxed);
                there[1].store(1, Ordering::Release);
            });
            if words[1].load(Ordering::Relaxed) == 1 && words[0].load(Ordering::Relaxed) == 0 {
                mark.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            thread.join().unwrap();
        });
        assert!(seen.load(std::sync::atomic::Ordering::Relaxed), "the old value was never seen");
    }
"#;

#[test]
fn a_model_that_fails_with_a_stronger_ordering_is_told_and_can_end_the_run() {
    let fixture = Fixture::with_models(NEEDS_WEAKNESS);
    let arguments = ["--test=loom", "--strengthen"];
    let output = fixture.run(&arguments);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(told(&output).contains("4 stronger orderings tried: 1 fail, 3 pass"), "{}", told(&output));
    assert!(told(&output).contains("the_old_value_is_seen: panic"), "{}", told(&output));

    // The third of four fails.
    let output = fixture.run(&[&arguments[..], &["--fail-fast", "--jobs=1"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let verdict = "3 stronger orderings tried: 1 fail, 2 pass, 0 unreached, 0 timeout; 1 skipped";
    assert!(told(&output).contains(verdict), "{}", told(&output));
}
