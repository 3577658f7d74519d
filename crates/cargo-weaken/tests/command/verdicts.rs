//! What becomes of every weaker ordering, and how it is shown.

use std::sync::LazyLock;

use serde_json::Value;

use crate::fixture::{Fixture, changes, told};

/// Everything, tried once for all tests here.
static FULL: LazyLock<(Fixture, Value)> = LazyLock::new(|| {
    let fixture = Fixture::new();
    let report = fixture.json(&[]);
    (fixture, report)
});

#[test]
fn every_weaker_ordering_has_its_verdict() {
    let (fixture, report) = &*FULL;
    let at = |file: &str, text: &str| fixture.line(&format!("src/{file}.rs"), text);
    let fence = |order: &str| at("fences", &format!("fence(Ordering::{order})"));
    let expected = [
        (fence("Release"), "fence Release -> Relaxed: killed"),
        (fence("Acquire"), "fence Acquire -> Relaxed: killed"),
        (at("lock", "compare_exchange"), "compare_exchange Acquire/Acquire -> Relaxed/Acquire: killed"),
        (at("lock", "compare_exchange"), "compare_exchange Acquire/Acquire -> Acquire/Relaxed: survived"),
        (at("lock", "store"), "store Release -> Relaxed: killed"),
        (at("message", "compare_exchange"), "compare_exchange Relaxed/Acquire -> Relaxed/Relaxed: unreached"),
        (at("message", "ready.store"), "store Release -> Relaxed: killed"),
        (at("message", "fetch_add"), "fetch_add AcqRel -> Acquire: survived"),
        (at("message", "fetch_add"), "fetch_add AcqRel -> Release: survived"),
        (at("message", "fetch_add"), "fetch_add AcqRel -> Relaxed: survived"),
        (at("message", "Ordering::Acquire).then"), "load Acquire -> Relaxed: killed"),
        (at("ring", "self.head.load"), "load Acquire -> Relaxed: killed"),
        (at("ring", "self.tail.store"), "store Release -> Relaxed: killed"),
        (at("ring", "self.tail.load"), "load Acquire -> Relaxed: killed"),
        (at("ring", "self.head.store"), "store Release -> Relaxed: killed"),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(place, what)| format!("{place} {what}")).collect();
    assert_eq!(changes(report), expected);
    let summary =
        serde_json::json!({ "killed": 10, "survived": 4, "unreached": 1, "timeout": 0, "skipped": 0 });
    assert_eq!((&report["summary"], &report["question"]), (&summary, &serde_json::json!("weaken")));
}

#[test]
fn tests_without_a_model_are_left_alone() {
    let (_, report) = &*FULL;
    let mut names: Vec<_> = report["tests"]
        .as_array()
        .expect("tests")
        .iter()
        .map(|test| test["name"].as_str().expect("a name"))
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "a_message_arrives_whole",
            "a_message_with_fences_arrives_whole",
            "the_ring_keeps_the_order",
            "two_never_hold_the_lock",
        ]
    );
}

#[test]
fn a_kill_has_the_execution_with_the_write_of_each_read() {
    let (fixture, report) = &*FULL;
    let store = fixture.line("src/ring.rs", "self.tail.store");
    let kill = report["mutations"].as_array().expect("changes").iter().find(|change| {
        format!("{}:{}", change["file"].as_str().unwrap_or_default(), change["line"]) == store
    });
    let kill = kill.expect("the store was tried");
    assert_eq!(
        (kill["test"].as_str(), kill["reason"].as_str()),
        (Some("the_ring_keeps_the_order"), Some("data race"))
    );
    assert!(kill["permutations"].as_u64() > Some(0), "{kill}");

    let steps = kill["execution"]["steps"].as_array().expect("steps");
    let word = |step: &Value| step["word"].as_str().unwrap_or_default().to_owned();
    let changed = steps.iter().position(|step| step["source"].is_string()).expect("the store is a step");
    assert_eq!((word(&steps[changed]).as_str(), steps[changed]["order"].as_str()), ("tail", Some("Relaxed")));
    assert_eq!(steps[changed]["source"], "Release");
    let load =
        steps.iter().find(|step| step["read"]["from"] == changed).expect("somebody reads what it wrote");
    assert_eq!((word(load).as_str(), load["order"].as_str()), ("tail", Some("Acquire")));
    assert_eq!(load["read"]["value"], steps[changed]["wrote"]);
    let last = steps.last().expect("a step");
    assert_eq!((word(last).as_str(), last["ending"].as_str()), ("place 0", Some("refused")));
    let first = kill["execution"]["unordered"].as_u64().expect("it races with a step") as usize;
    assert_eq!(
        (word(&steps[first]).as_str(), steps[first]["operation"].as_str()),
        ("place 0", Some("write"))
    );
}

#[test]
fn the_page_stands_alone_and_shows_source_verdicts_and_executions() {
    let (fixture, _) = &*FULL;
    let page = fixture.read("page.html");
    for outside in ["http:", "https:", "<link", "<script", " src=", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    for shown in [
        // Source, as text and not as HTML.
        "-&gt; Option&lt;u32&gt;",
        "Relaxed/Acquire killed",
        "No model needs",
        "no load buffering",
        "10 killed",
        "4 survived",
        "No model uses this ordering",
        "<th>thread 1</th>",
        "place 0",
        "loom ends the execution here",
    ] {
        assert!(page.contains(shown), "{shown}");
    }
}

#[test]
fn every_kill_has_a_picture_and_says_which_changed_ordering_it_is_about() {
    let (fixture, report) = &*FULL;
    let page = fixture.read("page.html");
    let parts: Vec<_> = page.split("<details id=\"change-").skip(1).collect();
    let changes = report["mutations"].as_array().expect("changes");
    assert_eq!(parts.len(), changes.len());
    for (part, change) in parts.iter().zip(changes) {
        let is_killed = change["verdict"] == "killed";
        assert_eq!(part.matches("<div class=\"picture\">").count(), usize::from(is_killed), "{change}");
        if is_killed {
            let file = change["file"].as_str().expect("a file").trim_start_matches("src/");
            let source =
                change["from"].as_str().and_then(|from| from.split('/').next()).expect("an ordering");
            let is = format!("is Relaxed instead of {source} at {file}:{}.", change["line"]);
            assert!(part.contains(&is), "{is}: {part}");
            assert!(part.contains("Nothing orders step"), "{part}");
            for class in ["step changed", "arrow missing", "arrow race"] {
                assert!(part.contains(&format!("class=\"{class}\"")), "{class}: {part}");
            }
        }
    }
}

#[test]
fn who_never_ends_or_crashes_is_told_from_who_fails() {
    let what_is_wrong = |body: &str| {
        let models = format!(
            r#"
            use weaken::sync::{{Arc, atomic::{{AtomicU32, Ordering}}}};
            #[test]
            fn model() {{
                weaken::model(|| {{
                    let words = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
                    let there = words.clone();
                    let thread = weaken::thread::spawn(move || {{
                        there[0].store(1, Ordering::Relaxed);
                        there[1].store(1, Ordering::Release);
                    }});
                    if words[1].load(Ordering::Acquire) == 1 && words[0].load(Ordering::Relaxed) == 0 {{
                        {body}
                    }}
                    thread.join().unwrap();
                }});
            }}
            "#
        );
        Fixture::with_models(&models)
    };
    let endless = what_is_wrong("loop { std::thread::sleep(std::time::Duration::from_secs(1)) }");
    let report = endless.json(&["--test=loom", "--time-limit=5"]);
    let verdicts = |report: &Value| {
        let all = report["mutations"].as_array().expect("changes");
        all.iter().map(|change| change["verdict"].as_str().expect("a verdict").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(&report), ["timeout", "timeout"]);

    let crash = what_is_wrong("std::process::abort()");
    let report = crash.json(&["--test=loom"]);
    assert_eq!(verdicts(&report), ["killed", "killed"]);
    assert_eq!(report["mutations"][0]["reason"], "crash");
}

#[test]
fn a_crate_that_has_loom_models_changes_its_cargo_toml_alone() {
    let fixture = Fixture::with_models(
        r#"
        use loom::sync::{Arc, atomic::{AtomicBool, Ordering}};
        use loom::{cell::UnsafeCell, thread};

        struct Shared { ready: AtomicBool, data: UnsafeCell<u32> }
        unsafe impl Sync for Shared {}

        #[test]
        fn model() {
            let mut builder = loom::model::Builder::new();
            builder.preemption_bound = Some(2);
            builder.check(|| {
                let shared = Arc::new(Shared { ready: AtomicBool::new(false), data: UnsafeCell::new(0) });
                let there = shared.clone();
                let thread = thread::spawn(move || {
                    there.data.with_mut(|data| unsafe { *data = 1 });
                    there.ready.swap(true, Ordering::AcqRel);
                });
                if shared.ready.load(Ordering::Acquire) {
                    shared.data.with(|data| assert_eq!(unsafe { *data }, 1));
                }
                thread.join().unwrap();
            });
        }
        "#,
    );
    fixture.edit("Cargo.toml", "weaken = {", "loom = { package = \"weaken\",");
    std::fs::write(fixture.path().join("src/lib.rs"), "").expect("an empty library");
    let report = fixture.json(&["--test=loom"]);
    let verdicts: Vec<_> =
        changes(&report).iter().map(|change| change.split_once(' ').expect("a place").1.to_owned()).collect();
    assert_eq!(
        verdicts,
        [
            "swap AcqRel -> Acquire: killed",
            "swap AcqRel -> Release: survived",
            "swap AcqRel -> Relaxed: killed",
            "load Acquire -> Relaxed: killed",
        ]
    );
    assert_eq!(report["mutations"][1]["bounds"], serde_json::json!(["model: at most 2 preemptions"]));
}

#[test]
fn kills_are_told_as_they_come_and_the_table_has_every_change() {
    let fixture = Fixture::new();
    let output = fixture.run(&["two_never_hold"]);
    assert!(output.status.success(), "{}", told(&output));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(table.lines().count(), 4, "{table}");
    assert_eq!(table.matches("killed").count(), 2, "{table}");
    assert_eq!(table.matches("SURVIVED").count(), 1, "{table}");
    let told = told(&output);
    assert_eq!(told.matches("killed  src/lock.rs:").count(), 2, "{told}");
    assert!(
        told.contains("3 weaker orderings tried: 2 killed, 1 survived, 0 unreached, 0 timeout"),
        "{told}"
    );
}
