//! `unpin` takes away what `pin` has pinned, and nothing else.

mod support;

use arenaq::KeyValue;
use arenaq::count::Counted;
use arenaq_libbpf::MPSC;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use arenaq_harness::pinned::unpin;
use arenaq_harness::{Config, Kernel};
use libbpf_rs::{MapHandle, MapType};
use support::bpffs::{Bpffs, text};
use support::{Outcome, arenaq, kernel, kernel_with};

/// A queue that is pinned with an attached program.
fn pin(folder: &Path) {
    let pinned = Outcome::of(&mut arenaq(&["pin", text(folder), "--hook", "exec", "--capacity", "64"]));
    assert_eq!(pinned.code, Some(0), "{pinned:?}");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let name = |entry: Result<fs::DirEntry, _>| entry.expect("it can be read").file_name();
    let mut names: Vec<_> =
        entries.map(|entry| name(entry).into_string().expect("plain characters")).collect();
    names.sort();
    names
}

/// Asserts that `unpin` refuses a path, with a reason, and that a folder is as before.
#[track_caller]
fn assert_refused(path: &str, folder: &Path, reason: &str) {
    let before = names(folder);
    let outcome = Outcome::of(&mut arenaq(&["unpin", path]));
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(outcome.stderr.contains(reason), "{reason:?} in {outcome:?}");
    assert_eq!(names(folder), before, "something is gone");
}

/// A map like one of those that are pinned.
fn stranger(name: &str) -> MapHandle {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as _,
        ..Default::default()
    };
    MapHandle::create(MapType::Array, Some(name), 4, 8, 1, &options).expect("a map")
}

#[test]
fn files_of_our_names_on_another_file_system_stay() {
    let folder = tempfile::tempdir().expect("a folder for a moment");
    for name in ["link_notes.txt", "link_0", "arena", "record", "counters", "traced", "doorbell", "tally"] {
        fs::write(folder.path().join(name), "dear").expect("room for a file");
    }
    assert_refused(text(folder.path()), folder.path(), "it is not on a BPF file system");
    let links = tempfile::tempdir().expect("a folder for a moment");
    let link = links.path().join("link");
    symlink(folder.path(), &link).expect("room for a link");
    assert_refused(text(&link), folder.path(), "it is a symbolic link");
    assert_refused(&format!("{}/", text(&link)), folder.path(), "it is a symbolic link");
    assert_refused(&format!("{}/.", text(&link)), folder.path(), "it is a symbolic link");
    assert_refused(&format!("{}/..", text(&link)), folder.path(), "give the folder by its own name");
}

#[test]
fn objects_that_pin_has_not_pinned_stay_whatever_their_names() {
    let Some(_guard) = kernel_with(arenaq_harness::Hook::Exec, "unpin and strangers") else { return };
    let bpffs = Bpffs::mount();

    // Not a trace of a record.
    let folder = bpffs.path("theirs");
    fs::create_dir(&folder).expect("room for a folder");
    assert_refused(text(&folder), &folder, "`rmdir");
    for name in ["arena", "counters", "traced", "doorbell", "tally", "link_0"] {
        stranger(name).pin(folder.join(name)).expect("room for a map");
    }
    assert_refused(text(&folder), &folder, "there is no record");
    // A record of the right name that is none.
    stranger("arenaq_record").pin(folder.join("record")).expect("room for a map");
    assert_refused(text(&folder), &folder, "its record is not one of this version");
    fs::remove_file(folder.join("record")).expect("it is there");
    // The record of another folder, beside objects that it does not know.
    let ours = bpffs.path("ours");
    pin(&ours);
    let mut record = MapHandle::from_pinned_path(ours.join("record")).expect("a map");
    record.pin(folder.join("record")).expect("room for it");
    assert_refused(text(&folder), &folder, "not known to be ours: arena (another object");

    // Ours, and one thing more.
    let mut counters = MapHandle::from_pinned_path(ours.join("counters")).expect("a map");
    for (name, reason) in [("link_2", "another object"), ("notes", "another object")] {
        counters.pin(ours.join(name)).expect("room for it");
        assert_refused(text(&ours), &ours, &format!("{name} ({reason}"));
        fs::remove_file(ours.join(name)).expect("it is there");
    }
    fs::create_dir(ours.join("folder")).expect("room for a folder");
    assert_refused(text(&ours), &ours, "folder (a folder)");
    fs::remove_dir(ours.join("folder")).expect("it is there");
    symlink(ours.join("link_0"), ours.join("link_7")).expect("room for a link");
    assert_refused(text(&ours), &ours, "link_7 (a symbolic link)");
    fs::remove_file(ours.join("link_7")).expect("it is there");
    // One of ours that was replaced.
    fs::rename(ours.join("tally"), bpffs.path("tally")).expect("it is there");
    stranger("tally").pin(ours.join("tally")).expect("room for a map");
    assert_refused(text(&ours), &ours, "tally (another object");
    fs::remove_file(ours.join("tally")).expect("it is there");

    // Without one of ours: the rest goes.
    let removed = Outcome::of(&mut arenaq(&["unpin", text(&ours), "--json"]));
    assert_eq!(removed.code, Some(0), "{removed:?}");
    let expected = ["link_0", "link_1", "arena", "counters", "doorbell", "traced", "record"];
    assert_eq!(removed.json()["removed"], serde_json::json!(expected), "{removed:?}");
    assert!(!ours.exists());
}

#[test]
fn a_folder_that_is_mounted_over_or_reached_by_a_link_stays() {
    let Some(_guard) = kernel_with(arenaq_harness::Hook::Exec, "unpin and mounts") else { return };
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("queue");
    pin(&folder);
    let link = bpffs.path("link");
    symlink(&folder, &link).expect("room for a link");
    assert_refused(text(&link), &folder, "it is a symbolic link");
    // To consume through it is no danger.
    let consumed = Outcome::of(&mut arenaq(&["consume", text(&link), "--until-empty"]));
    assert_eq!(consumed.code, Some(0), "{consumed:?}");
    let pinned = Outcome::of(&mut arenaq(&["pin", text(&link), "--hook", "exec"]));
    assert!(pinned.stderr.contains("it exists already"), "{pinned:?}");
    let nowhere = bpffs.path("nowhere");
    symlink(bpffs.path("nothing"), &nowhere).expect("room for a link");
    let pinned = Outcome::of(&mut arenaq(&["pin", text(&nowhere), "--hook", "exec"]));
    assert_eq!(pinned.code, Some(3), "{pinned:?}");
    assert!(!bpffs.path("nothing").exists());

    let over = bpffs.bind(&folder.join("counters"), &folder.join("tally"));
    assert_refused(text(&folder), &folder, "tally (something is mounted there)");
    drop(over);
    let trailing = Outcome::of(&mut arenaq(&["unpin", &format!("{}//", text(&folder))]));
    assert_eq!(trailing.code, Some(0), "{trailing:?}");
    assert!(!folder.exists());
}

#[test]
fn what_a_killed_pin_has_left_can_be_removed() {
    let Some(_guard) = kernel_with(arenaq_harness::Hook::Exec, "half a pin") else { return };
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("queue");
    // Every end of a `pin` that died: it pins the record first, and whatever it has not come to is missing.
    let order = ["link_1", "link_0", "tally", "doorbell", "traced", "counters", "arena"];
    for missing in 1..=order.len() {
        pin(&folder);
        for name in &order[..missing] {
            fs::remove_file(folder.join(name)).expect("it is there");
        }
        let again = Outcome::of(&mut arenaq(&["pin", text(&folder), "--hook", "exec"]));
        assert!(again.stderr.contains("it exists already; `arenaq unpin"), "{again:?}");
        let removed = unpin(&folder).expect("what is left is ours");
        assert_eq!(removed.removed.len(), order.len() + 1 - missing, "{removed}");
        assert!(!folder.exists());
    }
}

#[test]
fn a_pin_that_fails_leaves_nothing() {
    let Some(_guard) = kernel("a pin that fails") else { return };
    let bpffs = Bpffs::mount();
    let loaded = Kernel::load(&Config::default()).expect("the kernel can run it");
    let consumer = loaded.arena().expect("ours").mpsc_consumer::<KeyValue, Counted>(MPSC).expect("free");
    let refused =
        loaded.pin(&bpffs.path("queue")).expect_err("somebody consumes without the lock").to_string();
    assert!(refused.contains("`Loaded::receiver`, which holds the lock"), "{refused}");
    assert!(!bpffs.path("queue").exists());
    drop(consumer);
    loaded.pin(&bpffs.path("queue")).expect("it is free now");
    let twice = loaded.pin(&bpffs.path("other")).expect_err("it is pinned").to_string();
    assert!(twice.contains("is pinned in") && twice.contains("already"), "{twice}");
    assert!(!bpffs.path("other").exists());
    unpin(&bpffs.path("queue")).expect("it is pinned");
    loaded.pin(&bpffs.path("other")).expect("it is not pinned any more");
    unpin(&bpffs.path("other")).expect("it is pinned");
}

#[test]
fn a_pinned_folder_is_its_owners_alone_and_its_name_has_no_dot() {
    let Some(_guard) = kernel_with(arenaq_harness::Hook::Exec, "names and modes") else { return };
    let bpffs = Bpffs::mount();
    let loaded = Kernel::load(&Config::default()).expect("the kernel can run it");
    loaded.pin(&bpffs.path("queue")).expect("the folder is new");
    let mode = fs::metadata(bpffs.path("queue")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    for command in ["pin", "consume", "unpin"] {
        for name in ["my.queue", "my.folder/queue"] {
            let mut arenaq = arenaq(&[command, text(&bpffs.path(name))]);
            let outcome =
                Outcome::of(if command == "pin" { arenaq.args(["--hook", "exec"]) } else { &mut arenaq });
            assert_eq!(outcome.code, Some(3), "{outcome:?}");
            assert!(outcome.stderr.contains("has no names with a dot, as in my."), "{outcome:?}");
        }
    }
    let pinned = Outcome::of(&mut arenaq(&["pin", text(&bpffs.path("json")), "--hook", "exec", "--json"]));
    assert_eq!(pinned.code, Some(0), "{pinned:?}");
    assert_eq!(pinned.json()["queue"], "mpsc");
    assert_eq!(pinned.json()["folder"], text(&bpffs.path("json")));
}
