//! A failure explains itself: the table and the diagram of a weakened ordering name the access that is to
//! blame.

use std::process::{Command, Output};

const PICTURE: &str = "docs/images/swap-release.svg";

/// Runs one model of this very test in a process of its own, with another ordering.
pub(crate) fn with_ordering(change: &str, model: &str) -> (Output, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("the folder for temporary files is writable");
    let output = Command::new(std::env::current_exe().expect("this test is a file"))
        .args(["--exact", model, "--nocapture"])
        .env(weaken::record::CHANGES, change)
        .env("ARENAQ_COUNTEREXAMPLES", folder.path())
        .output()
        .expect("it starts");
    (output, folder)
}

#[test]
fn a_swap_that_only_releases_loses_a_link_and_the_table_says_why() {
    let model = "mpsc::two_producers_link_each_other_s_nodes";
    let (output, folder) = with_ordering("mpsc.push.swap_head=Release", model);
    assert!(!output.status.success(), "the model fails");
    let text = String::from_utf8_lossy(&output.stderr);
    for part in [
        "failed after",
        "RACES with step",
        "(mpsc.push.init_next, thread",
        "(mpsc.push.link_node, thread",
        "and no longer synchronises with it: it is Release instead of AcqRel at mpsc.push.swap_head",
        "mpsc.push.swap_head is AcqRel in the source: release: this node's null next",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let mut files: Vec<_> =
        std::fs::read_dir(folder.path()).expect("the folder is there").flatten().collect();
    files.sort_by_key(std::fs::DirEntry::path);
    let read = |file: &std::fs::DirEntry| std::fs::read_to_string(file.path()).expect("a text");
    let [page, diagram]: [String; 2] =
        files.iter().map(read).collect::<Vec<_>>().try_into().expect("a page and a diagram");
    assert!(page.contains("in the source: release: this node") && page.contains("<svg"), "{page}");
    assert!(diagram.starts_with("<svg") && diagram.contains("A.next"), "{diagram}");

    // The picture of the README is what the code draws.
    if std::env::var_os("ARENAQ_UPDATE").is_some() {
        std::fs::write(PICTURE, &diagram).expect("the docs are writable");
    }
    let shown = std::fs::read_to_string(PICTURE).unwrap_or_default();
    assert!(
        shown == diagram,
        "{PICTURE} is old: ARENAQ_UPDATE=1 cargo test --features loom --test loom -- explained"
    );
}

/// loom finds a deadlock where nothing can unwind.
#[test]
fn a_consumer_that_sleeps_for_ever_is_shown_although_loom_ends_the_process() {
    let model = "records::a_consumer_that_sleeps_is_woken_by_a_record";
    let (output, folder) = with_ordering("records.sleep.load_owner=Relaxed", model);
    assert!(!output.status.success(), "the model fails");
    let text = String::from_utf8_lossy(&output.stderr);
    for part in [
        "deadlock",
        "(records.sleep.load_owner, thread",
        "it is Relaxed instead of Acquire at records.sleep.load_owner",
        "(records.consume.load_published, thread 2) reads an old value",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(text.matches("As a page").count(), 1, "it is told once: {text}");
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("the folder is there").count(),
        2,
        "a page and a diagram"
    );
}

/// With the capture of the test harness, as everybody runs tests.
#[test]
fn a_site_that_is_none_is_refused_with_the_names_near_it() {
    for (change, reasons) in [
        ("mpsc.push.swop_head=Release", &["no site mpsc.push.swop_head", "mpsc.push.swap_head"][..]),
        ("mpsc.push.swap_head=Weak", &["Weak\" is no ordering"]),
        ("mpsc.push.swap_head", &["NAME=ORDERING"]),
    ] {
        let output = Command::new(std::env::current_exe().expect("this test is a file"))
            .args(["--exact", "mpsc::two_producers_link_each_other_s_nodes"])
            .env(weaken::record::CHANGES, change)
            .output()
            .expect("it starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{change}: {text}");
        for reason in reasons {
            assert!(text.contains(weaken::record::CHANGES) && text.contains(reason), "{change}: {text}");
        }
    }
}

#[test]
fn an_ordering_as_declared_fails_nothing() {
    let (output, folder) =
        with_ordering("mpmc.push.publish_cell=Release", "mpmc::a_cell_is_not_overwritten_before_it_is_read");
    assert!(output.status.success(), "{output:?}");
    assert!(std::fs::read_dir(folder.path()).expect("the folder is there").next().is_none(), "no page");
}
