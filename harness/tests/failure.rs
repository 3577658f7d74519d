//! Whatever the kernel refuses is told in one message: what was tried, what the kernel said, what to do.
//! `doctor` predicts it.

mod support;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use arenaq::structures::Kind;
use arenaq_harness::Hook;
use arenaq_libbpf::{Error, load_object};
use libbpf_rs::{Object, ObjectBuilder, OpenObject, ProgramInput};
use serde_json::Value;
use support::{Group, Outcome, arenaq, assert_accounted, kernel, kernel_with, skip};

const ARENAQ: &str = env!("CARGO_BIN_EXE_arenaq");

/// Opens an object of which one program is to be loaded.
fn only(object: &[u8], program: &str) -> libbpf_rs::Result<OpenObject> {
    let mut open = ObjectBuilder::default().open_memory(object)?;
    for mut candidate in open.progs_mut() {
        let is_wanted = candidate.name() == program;
        candidate.set_autoload(is_wanted);
    }
    Ok(open)
}

/// What is said of an object that cannot be loaded. Its log, if it has one, is removed.
fn refusal(loaded: Result<Object, Error>) -> String {
    let error = loaded.expect_err("no kernel takes it");
    if let Error::Load { log: Some(log), .. } = &error {
        fs::remove_file(log).expect("it is ours");
    }
    error.to_string()
}

const REFUSED: &[u8] = include_bytes!(env!("ARENAQ_REFUSED"));

#[test]
fn a_program_that_the_verifier_rejects_leaves_its_whole_log_in_a_file_and_shows_the_end() {
    let Some(_guard) = kernel("verifier rejection") else { return };
    let error = load_object("loading a bad program", || only(REFUSED, "reads_any_address"))
        .expect_err("no kernel takes it");
    let text = error.to_string();
    assert!(text.starts_with("loading a bad program: Permission denied"), "{text}");
    assert!(text.contains("The verifier rejects the program") && text.contains("report it"), "{text}");
    let Error::Load { reason, log: Some(log), .. } = &error else { panic!("{error:?}") };
    assert!(text.contains(&log.display().to_string()), "{text}");
    let whole = fs::read_to_string(log).expect("the file stays");
    fs::remove_file(log).expect("it is ours");
    assert!(whole.contains("BEGIN PROG LOAD LOG") && whole.contains("END PROG LOAD LOG"), "{whole}");
    let (_, shown) = reason.split_once('\n').expect("the end of the log has lines of its own");
    assert!(whole.contains(shown) && shown.contains("invalid mem access"), "{shown}\n---\n{whole}");
}

#[test]
fn a_function_or_a_place_that_the_kernel_does_not_have_is_named() {
    let Some(_guard) = kernel("missing kernel function") else { return };
    let missing: &[u8] = include_bytes!(env!("ARENAQ_MISSING_FUNCTION"));
    for (object, program, name, advice) in [
        (missing, "calls_it", "no_such_kernel_function", "a function that this kernel does not have"),
        (REFUSED, "attaches_to_what_is_not_there", "arenaq_no_such_tracepoint", "choose another hook"),
    ] {
        let error = refusal(load_object("loading", || only(object, program)));
        assert!(error.contains(name) && error.contains(advice), "{error}");
    }
}

#[test]
fn an_arena_that_is_too_small_is_an_error_before_anything_is_written_to_it() {
    let Some(_guard) = kernel("small arena") else { return };
    let declared = load_object("loading", || only(include_bytes!(env!("ARENAQ_SMALL_ARENA")), "uses_them"));
    // libbpf notices the first by itself, and would crash with the second.
    let shrunk = load_object("loading", || {
        let mut open = only(include_bytes!(env!("ARENAQ_SEEDS_FULL_BARRIER")), "check_vyukhov")?;
        for mut map in open.maps_mut().filter(|map| map.name() == "arena") {
            map.set_max_entries(0)?;
        }
        Ok(open)
    });
    for loaded in [declared, shrunk] {
        let error = refusal(loaded);
        assert!(error.contains("too small") && error.contains("max_entries"), "{error}");
    }
}

#[test]
fn an_arena_without_pages_for_a_queue_says_so_to_the_program_that_allocates() {
    const DS_ERROR_NOMEM: i64 = -3;
    let Some(_guard) = kernel("arena without pages") else { return };
    let loaded = load_object("loading the seeds' checks", || {
        let mut open = only(include_bytes!(env!("ARENAQ_SEEDS_FULL_BARRIER")), "check_vyukhov")?;
        for mut map in open.maps_mut().filter(|map| map.name() == "arena") {
            map.set_max_entries(1)?;
        }
        Ok(open)
    });
    let loaded = loaded.expect("its variables fit");
    let check = loaded.progs_mut().find(|program| program.name() == "check_vyukhov").expect("it is there");
    let mut result = [0u8; 16];
    let input = ProgramInput { context_in: Some(&mut result), ..ProgramInput::default() };
    check.test_run(input).expect("the program runs");
    let status = i64::from_ne_bytes(result[8..].try_into().expect("eight bytes"));
    assert_eq!(status, DS_ERROR_NOMEM, "there is no page for the cells");
}

/// Asserts that the command has told of a refusal, once, and with these words.
fn assert_refused(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(outcome.stdout.is_empty(), "{outcome:?}");
    assert_eq!(outcome.stderr.matches("arenaq: ").count(), 1, "{outcome:?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "{word} in {outcome:?}");
    }
}

/// What `doctor --json` says of one thing.
fn check(report: &Value, name: &str) -> (String, String) {
    let checks = report["checks"].as_array().expect("checks");
    let check =
        checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name} in {report}"));
    let text = |key: &str| check[key].as_str().expect("it is text").to_owned();
    (text("verdict"), text("found"))
}

/// Runs `arenaq` behind a program that changes what it may do, or `None` if that program itself may not.
fn behind(test: &str, wrapper: &[&str], arguments: &[&str]) -> Option<Outcome> {
    let run = |command: &[&str]| Outcome::of(Command::new(wrapper[0]).args(&wrapper[1..]).args(command));
    let trial = run(&["true"]);
    if trial.code != Some(0) {
        skip(test, &format!("{}: {}", wrapper[0], trial.stderr));
        return None;
    }
    Some(run(&[&[ARENAQ], arguments].concat()))
}

#[test]
fn root_of_a_user_namespace_is_told_that_its_capabilities_do_not_count() {
    let wrapper = ["unshare", "--user", "--map-root-user"];
    let Some(run) = behind("user namespace", &wrapper, &["run", "--hook", "drive"]) else { return };
    assert_refused(&run, &["user namespace", "outside of the namespace", "--backend threads"]);
    let Some(doctor) = behind("user namespace", &wrapper, &["doctor", "--json"]) else { return };
    let (verdict, found) = check(&doctor.json(), "privileges");
    assert_eq!(verdict, "bad");
    assert!(found.contains("user namespace"), "{found}");
    let (_, found) = check(&doctor.json(), "queues");
    assert!(found.contains("not tried"), "what can only fail is not tried: {found}");
}

#[test]
fn each_missing_capability_is_named() {
    if !rustix::process::geteuid().is_root() {
        return skip("capabilities", "only root can give them up");
    }
    for (dropped, name) in [("perfmon", "CAP_PERFMON"), ("bpf", "CAP_BPF")] {
        let bounding = format!("--bounding-set=-sys_admin,-{dropped}");
        let wrapper = ["setpriv", &bounding];
        let Some(run) = behind("capabilities", &wrapper, &["run", "--hook", "drive"]) else { return };
        assert_refused(&run, &[&format!("{name} missing"), "This process is root", "--cap-add"]);
        let Some(doctor) = behind("capabilities", &wrapper, &["doctor", "--json"]) else { return };
        let (verdict, found) = check(&doctor.json(), "privileges");
        assert_eq!(verdict, "bad");
        assert!(found.contains(name) && found.contains("unprivileged_bpf_disabled"), "{found}");
    }
}

#[test]
fn uprobes_say_that_they_want_an_administrator_where_perfmon_is_not_enough() {
    let Some(_guard) = kernel_with(Hook::Uprobe, "uprobes without CAP_SYS_ADMIN") else { return };
    let wrapper = ["setpriv", "--bounding-set=-sys_admin"];
    for hook in ["uprobe", "uprobe-sleepable"] {
        let arguments = ["run", "--hook", hook, "--operations", "1"];
        let Some(run) = behind("uprobes without CAP_SYS_ADMIN", &wrapper, &arguments) else { return };
        if run.code == Some(0) {
            return skip("uprobes without CAP_SYS_ADMIN", "this kernel lets CAP_PERFMON attach uprobes");
        }
        assert_refused(&run, &[hook, "CAP_SYS_ADMIN", "run as root"]);
        let doctor = behind("uprobes without CAP_SYS_ADMIN", &wrapper, &["doctor", "--json"]);
        let doctor = doctor.expect("it ran a moment ago").json();
        let (verdict, found) = check(&doctor, &format!("hook {hook}"));
        assert_eq!(verdict, "limited");
        assert!(found.contains("CAP_SYS_ADMIN"), "{found}");
        assert_eq!(doctor["can_run"], true, "the other hooks work: {doctor}");
    }
}

#[test]
fn who_cannot_gain_privileges_is_not_told_to_give_them_to_the_binary() {
    let Some(_guard) = kernel("no_new_privs") else { return };
    let wrapper = ["setpriv", "--no-new-privs", "--reuid=65534", "--clear-groups"];
    let folder = tempfile::tempdir().expect("the folder for temporary files is writable");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let binary = folder.path().join("arenaq");
    fs::copy(ARENAQ, &binary).expect("it can be copied");
    let run =
        Outcome::of(Command::new(wrapper[0]).args(&wrapper[1..]).arg(&binary).arg("run").current_dir("/"));
    assert_refused(&run, &["CAP_PERFMON and CAP_BPF missing", "no_new_privs", "--backend threads"]);
    assert!(!run.stderr.contains("setcap"), "{run:?}");
}

#[test]
fn a_binary_made_as_the_message_says_runs_for_its_group_and_for_nobody_else() {
    const GROUP: u32 = 65_533;
    const NOBODY: u32 = 65_534;
    let Some(_guard) = kernel("capabilities of the binary") else { return };
    let folder = tempfile::tempdir().expect("the folder for temporary files is writable");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let binary = folder.path().join("arenaq");
    fs::copy(ARENAQ, &binary).expect("it can be copied");
    let as_nobody = |group: u32| {
        let mut command = Command::new(&binary);
        command.args(["run", "--hook", "drive", "--operations", "100", "--json"]).current_dir("/");
        command.uid(NOBODY).gid(group).output()
    };

    let refused = as_nobody(GROUP).expect("everybody may still run it");
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    let steps: Vec<&str> = message.lines().filter_map(|line| line.trim().strip_prefix("sudo ")).collect();
    assert_eq!(steps.len(), 3, "{message}");
    for step in steps {
        let step = step.replace("GROUP", &GROUP.to_string());
        let done = Outcome::of(Command::new("sh").args(["-c", &step]));
        if step.starts_with("setcap") && done.code != Some(0) {
            return skip("capabilities of the binary", &format!("{step}: {}", done.stderr));
        }
        assert_eq!(done.code, Some(0), "{step}: {done:?}");
    }
    let member = as_nobody(GROUP).expect("its group may run it");
    assert_eq!(member.status.code(), Some(0), "{member:?}");
    let error = as_nobody(NOBODY).expect_err("nobody else may run it");
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn what_is_not_mounted_is_said_to_be_not_mounted() {
    let Some(_guard) = kernel("not mounted") else { return };
    for (place, file_system, name) in [("/proc", "proc", "/proc"), ("/sys", "sysfs", "BTF")] {
        let script = format!("umount --lazy {place} && exec \"$@\"");
        let wrapper = ["unshare", "--mount", "sh", "-c", &script, "sh"];
        for arguments in [
            &["run"][..],
            &["run", "--hook", "drive"],
            &["run", "--hook", "exec", "--", "true"],
            &["pin", "/sys/fs/bpf/arenaq-test-not-mounted"],
            &["verifier"],
        ] {
            let Some(outcome) = behind("not mounted", &wrapper, arguments) else { return };
            let mount = format!("mount -t {file_system} {file_system} {place}");
            assert_refused(&outcome, &[&format!("{place} is not mounted"), &mount]);
            assert!(!outcome.stderr.contains("CAP_") && !outcome.stderr.contains("CONFIG_"), "{outcome:?}");
        }
        let doctor =
            behind("not mounted", &wrapper, &["doctor", "--json"]).expect("it ran a moment ago").json();
        let (verdict, found) = check(&doctor, name);
        assert_eq!(verdict, "bad");
        assert!(found.contains("not mounted"), "{found}");
        assert_eq!(check(&doctor, "privileges").0, "good", "{doctor}");
        assert_eq!(check(&doctor, "arena"), ("bad".to_owned(), "not tried".to_owned()));
        let threads =
            behind("not mounted", &wrapper, &["run", "--backend", "threads", "--operations", "100"]);
        assert_eq!(threads.expect("it ran a moment ago").code, Some(0));
    }
}

#[test]
fn a_program_whose_name_is_not_utf_8_works_like_any_other() {
    let Some(_guard) = kernel_with(Hook::Exec, "a name that is not UTF-8") else { return };
    let folder = tempfile::tempdir().expect("the folder for temporary files is writable");
    let inner = folder.path().join(OsStr::from_bytes(b"fold\xffer"));
    fs::create_dir(&inner).expect("it is ours");
    let binary = inner.join(OsStr::from_bytes(b"aren\xffaq"));
    fs::copy(ARENAQ, &binary).expect("it can be copied");
    for hook in ["drive", "exec"] {
        let arguments = ["run", "--hook", hook, "--operations", "10", "--json"];
        let outcome = Outcome::of(Command::new(&binary).args(arguments));
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert_accounted(&outcome.json());
    }
}

/// Runs `arenaq` with another value of `TMPDIR`.
fn with_tmpdir(tmpdir: &str, arguments: &[&str]) -> Outcome {
    Outcome::of(arenaq(arguments).env("TMPDIR", tmpdir))
}

#[test]
fn a_place_for_temporary_files_that_is_none_is_not_blamed_on_an_option_that_nobody_gave() {
    let Some(_guard) = kernel_with(Hook::Exec, "temporary files") else { return };
    let missing = with_tmpdir("/no/such/folder", &["run"]);
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert!(missing.stderr.contains("TMPDIR is /no/such/folder"), "{missing:?}");
    // Not even root can make a folder here.
    let refused = with_tmpdir("/proc", &["run", "--hook", "sys-enter"]);
    assert_refused(&refused, &["no folder can be made in /proc", "--folder", "TMPDIR"]);
    for arguments in
        [&["run", "--hook", "drive", "--operations", "10"][..], &["run", "--hook", "exec", "--", "true"]]
    {
        let outcome = with_tmpdir("/no/such/folder", arguments);
        assert_eq!(outcome.code, Some(0), "without files there is no need of a folder: {outcome:?}");
    }
    let report = with_tmpdir("/no/such/folder", &["doctor", "--json"]).json();
    assert_eq!(check(&report, "temporary files").0, "limited");
}

#[test]
fn doctor_predicts_which_hooks_are_refused() {
    let Some(_guard) = kernel("refused hooks") else { return };
    let report = Outcome::of(&mut arenaq(&["doctor", "--json"])).json();
    let mut refused = 0;
    for hook in Hook::ALL {
        let predicted = report["checks"]
            .as_array()
            .expect("checks")
            .iter()
            .any(|check| check["consequence"] == format!("`run --hook {hook}` does not work here"));
        assert_eq!(hook.allowed().is_err(), predicted, "{hook}");
        if predicted {
            refused += 1;
            let outcome = Outcome::of(&mut arenaq(&["run", "--hook", hook.name()]));
            assert_refused(&outcome, &[hook.name(), "arenaq doctor"]);
        }
    }
    if refused == 0 {
        skip("a refused hook", "this kernel allows them all");
    }
}

/// A file, mounted over another in a mount namespace of its own, in which `doctor` is run. With `inside`, the
/// file is put under that name into an empty file system that is mounted over `place`.
fn doctor_with(test: &str, text: &str, place: &str, inside: Option<&str>) -> Option<Outcome> {
    let file = tempfile::NamedTempFile::new().expect("the folder for temporary files is writable");
    fs::write(&file, text).expect("it is ours");
    let path = file.path().display();
    let mount = match inside {
        Some(name) => format!("mount -t tmpfs none {place} && cp {path} {place}/{name}"),
        None => format!("mount --bind {path} {place}"),
    };
    let script = format!("{mount} && exec \"$@\"");
    behind(test, &["unshare", "--mount", "sh", "-c", &script, "sh"], &["doctor", "--json"])
}

#[test]
fn doctor_reads_how_far_the_kernel_is_locked_down() {
    for (text, verdict, level) in [
        ("[none] integrity confidentiality\n", "good", "none"),
        ("none [integrity] confidentiality\n", "good", "integrity"),
        ("none integrity [confidentiality]\n", "limited", "confidentiality"),
    ] {
        let place = "/sys/kernel/security";
        let Some(doctor) = doctor_with("lockdown", text, place, Some("lockdown")) else { return };
        assert_eq!(check(&doctor.json(), "lockdown"), (verdict.to_owned(), level.to_owned()));
    }
}

#[test]
fn doctor_predicts_that_nothing_works_without_the_jit() {
    let place = "/proc/sys/net/core/bpf_jit_enable";
    let Some(doctor) = doctor_with("JIT", "0\n", place, None) else { return };
    let (verdict, found) = check(&doctor.json(), "JIT");
    assert_eq!((verdict.as_str(), found.as_str()), ("bad", "net.core.bpf_jit_enable = 0"));
    assert_eq!(doctor.json()["can_run"], false);
}

#[test]
fn doctor_predicts_that_nothing_works_without_btf() {
    let place = "/sys/kernel/btf";
    let Some(doctor) = doctor_with("BTF", "", place, Some("nothing")) else { return };
    assert_eq!(check(&doctor.json(), "BTF").0, "bad");
    assert_eq!(doctor.json()["can_run"], false);
}

#[test]
fn a_queue_beyond_the_memory_limit_is_refused_instead_of_the_process_killed() {
    let Some(_guard) = kernel("memory limit") else { return };
    let group = match Group::with_limit(12 << 20) {
        Ok(group) => group,
        Err(error) => return skip("memory limit", &format!("no control group can be made: {error}")),
    };
    let run = |capacity: &str| {
        group.run(&["run", "--hook", "drive", "--operations", "100", "--capacity", capacity])
    };
    assert_refused(&run("1000000"), &["memory limit", "smaller --capacity"]);
    let small = run("1000");
    assert_eq!(small.code, Some(0), "{small:?}");
    let (verdict, found) = check(&group.run(&["doctor", "--json"]).json(), "memory");
    assert_eq!(verdict, "good");
    assert!(found.contains("leaves"), "{found}");
}

#[test]
fn an_arena_beyond_the_limit_of_address_space_is_refused() {
    let Some(_guard) = kernel("address space") else { return };
    let arguments = ["run", "--hook", "drive", "--capacity", "8000000"];
    let wrapper = ["sh", "-c", "ulimit -v 150000 && exec \"$@\"", "sh"];
    let Some(run) = behind("address space", &wrapper, &arguments) else { return };
    assert_refused(&run, &["Cannot allocate memory", "'arena'", "smaller --capacity", "ulimit -v"]);
}

#[test]
fn the_verifiers_cost_is_told_for_every_program_and_a_refusal_with_its_reason() {
    let Some(_guard) = kernel("verifier cost") else { return };
    for object in ["acquire-release", "full-barrier"] {
        let outcome = Outcome::of(&mut arenaq(&["verifier", "--json", "--instructions", object]));
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let report = outcome.json();
        let costs = report.as_array().expect("an array");
        for hook in Hook::ALL {
            let of_hook: Vec<&Value> = costs.iter().filter(|cost| cost["hook"] == hook.name()).collect();
            assert_eq!(of_hook.len(), Kind::ALL.len(), "one for each queue: {report}");
            for cost in of_hook {
                assert_eq!(cost["instructions"], object);
                let is_measured = cost["verified_instructions"].as_u64().is_some_and(|count| count > 50)
                    && cost["states"].as_u64().is_some_and(|count| count > 0);
                let is_refused =
                    cost["error"].as_str().is_some_and(|error| error.contains("BPF program load failed"));
                assert!(is_measured != is_refused, "{cost}");
                assert_eq!(is_refused, hook.allowed().is_err(), "{cost}");
            }
        }
    }
}

#[test]
fn a_message_that_nobody_can_be_told_does_not_change_how_a_command_ends() {
    let full = fs::File::options().write(true).open("/dev/full").expect("every system has it");
    let ended = arenaq(&["run", "--folder", "/no/such/folder"]).stderr(full).status().expect("it starts");
    assert_eq!(ended.code(), Some(2));
}
