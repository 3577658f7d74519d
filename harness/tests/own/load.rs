//! `arenaq load`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use libbpf_rs::query::ProgInfoIter;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::place::{OPENSNOOP, Place};
use crate::support::{Outcome, kernel, number, skip};

/// A place with an object, which is made once for all tests.
pub(super) fn place(program: &str) -> Place {
    static MADE: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());
    let place = Place::with("my.bpf.c", program);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let object = made.entry(program.to_owned()).or_insert_with(|| {
        let built = place.run(&["build", "my.bpf.c"]);
        assert_eq!(built.code, Some(0), "{built:?}");
        fs::read(place.path("my.bpf.o")).expect("it was made")
    });
    fs::write(place.path("my.bpf.o"), object).expect("it can be written");
    place
}

pub(super) fn load(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.arenaq(&[&["load", "my.bpf.o"], arguments].concat());
    command.env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
    command
}

pub(super) fn run(place: &Place, arguments: &[&str]) -> Outcome {
    Outcome::within(Duration::from_secs(60), &mut load(place, arguments))
}

/// The elements, and the account behind them.
pub(super) fn lines(outcome: &Outcome) -> (Vec<Value>, Value) {
    let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let mut lines: Vec<Value> = outcome.stdout.lines().map(read).collect();
    let account = lines.pop().unwrap_or_else(|| panic!("no account: {outcome:?}"));
    assert!(account["account"].is_array(), "{account}");
    (lines, account)
}

/// That what was produced is somewhere.
pub(super) fn assert_adds_up(account: &Value) {
    let dropped: u64 =
        account["dropped"].as_object().expect("by the reason").values().filter_map(Value::as_u64).sum();
    let sum = number(account, "consumed") + number(account, "left") + dropped;
    assert_eq!(number(account, "produced"), sum, "{account}");
    assert_eq!(account["stuck"], false, "{account}");
    assert_eq!(account["inexact"], false, "{account}");
    // A ring counts what was pushed; the others have no such count.
    match account["pushed"].as_u64() {
        Some(pushed) => assert_eq!((pushed, &account["kind"]), (sum - dropped, &json!("MPMC")), "{account}"),
        None => assert_ne!(account["kind"], "MPMC", "{account}"),
    }
}

/// Folders with names that are hard to print, to be listed by `ls -R tree`.
pub(super) fn plant_tree(place: &Place, folders: usize) {
    for i in 0..folders {
        let name = match i % 4 {
            0 => format!("plain {i}"),
            1 => format!("quote\" and \\ {i}"),
            2 => format!("Köln\n{i}"),
            _ => format!("{i}{}", "x".repeat(120)),
        };
        fs::create_dir_all(place.path("tree").join(name)).expect("it can be made");
    }
}

/// What strace sees a command open, in order; `None`, loudly, where it is not there or may not.
pub(super) fn truth(place: &Place, command: &[&str], test: &str) -> Option<Vec<(String, i64)>> {
    let mut strace = place.program("/usr/bin/strace");
    strace.args(["-f", "-qq", "-xx", "-s", "300", "-e", "trace=openat", "-e", "signal=none", "-o", "truth"]);
    strace.args(command).env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
    match strace.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            skip(test, &String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Err(error) => {
            skip(test, &format!("strace: {error}"));
            return None;
        }
    }
    let text = fs::read_to_string(place.path("truth")).expect("strace wrote it");
    let opened = |line: &str| {
        let name = line.split('"').nth(1)?;
        let bytes = name.split("\\x").skip(1).map(|byte| u8::from_str_radix(byte, 16).expect("two digits"));
        let name = String::from_utf8(bytes.collect()).expect("names here are UTF-8");
        let result = line.rsplit_once(" = ")?.1;
        let result = if result.starts_with('-') { -1 } else { result.trim().parse().ok()? };
        Some((name, result))
    };
    Some(text.lines().filter_map(opened).collect())
}

/// File name and result, as the elements have them.
pub(super) fn opened(elements: &[Value]) -> Vec<(String, i64)> {
    let of = |line: &Value| {
        assert_eq!(line["queue"], "opens");
        let element = &line["element"];
        let result = element["result"].as_i64().expect("a number");
        (element["file"].as_str().expect("text").to_owned(), result.max(-1))
    };
    elements.iter().map(of).collect()
}

#[test]
fn every_open_of_a_command_is_one_line_with_its_fields_by_name_and_the_account_is_exact() {
    let test = "every open of a command";
    let Some(_guard) = kernel(test) else { return };
    let place = place(OPENSNOOP);
    plant_tree(&place, 400);
    let Some(truth) = truth(&place, &["ls", "-R", "tree"], test) else { return };
    let outcome = run(&place, &["--json", "--set", "tgid={pid}", "--", "ls", "-R", "tree"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let (elements, account) = lines(&outcome);
    assert_eq!(opened(&elements), truth);
    assert!(truth.len() > 400, "{}", truth.len());
    let first = elements[0]["element"].as_object().expect("fields");
    let names: Vec<_> = first.keys().collect();
    assert_eq!(names.len(), 6, "{names:?}");
    assert!(elements.iter().all(|line| line["element"]["comm"] == "ls"));
    let times: Vec<_> = elements.iter().map(|line| number(line, "element.time")).collect();
    assert!(times.is_sorted(), "in their order");
    let opens = &account["account"][0];
    assert_adds_up(opens);
    assert_eq!(number(opens, "produced"), truth.len() as u64);
    assert_eq!(number(opens, "consumed"), truth.len() as u64);
    assert_eq!(number(opens, "capacity"), 16384);
    assert_eq!(account["command_status"], 0);
    assert!(outcome.stderr.contains("tree:\n"), "with --json the command's own output goes there");
}

#[test]
fn what_finds_no_room_is_said_by_queue_and_by_reason() {
    let test = "what finds no room";
    let Some(_guard) = kernel(test) else { return };
    let place = place(OPENSNOOP);
    plant_tree(&place, 400);
    let Some(truth) = truth(&place, &["ls", "-R", "tree"], test) else { return };
    let arguments = ["--json", "--set", "tgid={pid}", "--capacity", "opens=2", "--", "ls", "-R", "tree"];
    let outcome = run(&place, &arguments);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let (elements, account) = lines(&outcome);
    let opens = &account["account"][0];
    assert_adds_up(opens);
    assert_eq!((number(opens, "capacity"), opens["queue"].as_str()), (2, Some("opens")));
    assert_eq!(number(opens, "produced"), truth.len() as u64, "{account}");
    assert_eq!(number(opens, "consumed"), elements.len() as u64, "{account}");
    assert!(number(opens, "dropped.full") > 0, "{account}");

    let arguments = ["--set", "tgid={pid}", "--capacity", "opens=2", "--", "ls", "-R", "tree"];
    let outcome = run(&place, &arguments);
    let said = outcome.stderr.lines().last().expect("the account");
    assert!(said.starts_with("MPSC queue opens of 2: ") && said.contains(" dropped (full "), "{said}");
}

/// An event of every kind of type, for one exec.
pub(super) const EVERYTHING: &str = r#"
#include "kernel.h"
#include <bpf/bpf_helpers.h>
struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
} arena SEC(".maps");
#define ARENAQ_NO_ALLOC
#include "arenaq.h"
char LICENSE[] SEC("license") = "Dual BSD/GPL";
enum color { RED, GREEN = 5, NONE = -1 };
enum wide { WIDE = 0x100000000ULL };
typedef struct { __s32 x, y; } point;
struct everything {
	_Bool yes;
	char letter;
	signed char least;
	__u64 most;
	enum color color, other;
	enum wide wide;
	point points[2];
	struct { __u16 inner; union { __u32 whole; __u8 bytes[4]; }; };
	union { __u32 a; __s16 b; } either;
	unsigned int low : 3, middle : 7;
	int high : 5;
	void *pointer;
	char names[2][6];
	volatile char text[4];
	int (*function)(void);
	__u8 none[0];
};
ARENAQ_MPMC(all[2], struct everything, 16);
ARENAQ_MPSC(numbers, __u32, 16);
const volatile __u32 tgid = 0;
const volatile _Bool really = 0;
const volatile enum color paint = RED;
const volatile char word[4] = "";
volatile __u32 not_const = 1;
SEC("raw_tp/sched_process_exec")
int on_exec(void *context)
{
	struct everything event = {};
	__u32 number = 42;
	if (bpf_get_current_pid_tgid() >> 32 != tgid || !really || !not_const)
		return 0;
	event.yes = 1;
	event.letter = 'a';
	event.least = -128;
	event.most = -1;
	event.color = paint;
	event.other = 77;
	event.wide = WIDE;
	event.points[0].x = -1;
	event.points[1].y = 7;
	event.inner = 9;
	event.whole = 0x04030201;
	event.either.a = 0xffff;
	event.low = 5;
	event.middle = 100;
	event.high = -3;
	event.pointer = (void *)0xdead0000;
	__builtin_memcpy(event.names[0], "first", 6);
	__builtin_memcpy(event.names[1], "second", 6);
	event.text[0] = word[0];
	event.text[1] = word[1];
	event.text[2] = word[2];
	arenaq_push(&all[1], &event);
	arenaq_push(&numbers, &number);
	return 0;
}
"#;

const EVERYTHING_SET: [&str; 8] =
    ["--set", "tgid={pid}", "--set", "really=true", "--set", "paint=GREEN", "--set", "word=abc"];

#[test]
fn elements_of_any_type_are_shown_as_c_has_them() {
    let Some(_guard) = kernel("elements of any type") else { return };
    let place = place(EVERYTHING);
    let outcome = run(&place, &[&["--json"], &EVERYTHING_SET[..], &["--", "true"]].concat());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let (elements, account) = lines(&outcome);
    let find = |queue: &str| elements.iter().filter(|line| line["queue"] == queue).collect::<Vec<_>>();
    let all = find("all[1]");
    let expected = json!({
        "yes": true, "letter": 97, "least": -128, "most": u64::MAX, "color": "GREEN", "other": 77, "wide": "WIDE",
        "points": [{"x": -1, "y": 0}, {"x": 0, "y": 7}],
        "inner": 9, "whole": 0x0403_0201, "bytes": 0x0403_0201u32.to_ne_bytes(),
        "either": {"a": 0xffff, "b": if cfg!(target_endian = "little") { -1 } else { 0 }},
        "low": 5, "middle": 100, "high": -3, "pointer": "0xdead0000", "names": ["first", "second"], "text": "abc",
        "function": "0x0", "none": [],
    });
    assert_eq!(all.len(), 1, "{elements:?}");
    assert_eq!(all[0]["element"], expected);
    assert!(
        outcome.stdout.contains("\"element\":{\"yes\":true,\"letter\":97,"),
        "in the order of C: {outcome:?}"
    );
    assert_eq!(find("numbers"), [&json!({"queue": "numbers", "element": 42})]);
    let accounts = account["account"].as_array().expect("one for each queue");
    let mut names: Vec<_> =
        accounts.iter().map(|account| account["queue"].as_str().expect("a name")).collect();
    names.sort_unstable();
    assert_eq!(names, ["all[0]", "all[1]", "numbers"]);
    accounts.iter().for_each(assert_adds_up);

    // Of one queue only; what is in the others is counted.
    let outcome =
        run(&place, &[&["--json", "--queue", "numbers"], &EVERYTHING_SET[..], &["--", "true"]].concat());
    let (elements, account) = lines(&outcome);
    assert_eq!(elements, [json!({"queue": "numbers", "element": 42})]);
    let accounts = account["account"].as_array().expect("one for each queue");
    let all = accounts.iter().find(|account| account["queue"] == "all[1]").expect("it is there");
    assert_eq!((number(all, "produced"), number(all, "left")), (1, 1));
    let outcome =
        run(&place, &[&["--json", "--queue", "all"], &EVERYTHING_SET[..], &["--", "true"]].concat());
    assert_eq!(lines(&outcome).0.len(), 1, "an array by its name");
}

#[test]
fn people_get_a_table_on_their_terminal_and_the_command_its_own_output() {
    let Some(_guard) = kernel("a table") else { return };
    let place = place(EVERYTHING);
    let arguments = [&["--queue", "numbers"], &EVERYTHING_SET[..], &["--", "echo", "hello"]].concat();
    let outcome = run(&place, &arguments);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "hello\n"), "{outcome:?}");
    let lines: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!(lines[..3], ["numbers:", "value", "   42"], "{outcome:?}");
    assert!(
        lines.contains(&"MPSC queue numbers of 16: 1 produced = 1 consumed + 0 dropped + 0 left"),
        "{outcome:?}"
    );
}

#[test]
fn a_limit_a_signal_and_a_reader_that_goes_away_end_it_with_the_account() {
    let Some(_guard) = kernel("ends") else { return };
    let place = place(OPENSNOOP);
    plant_tree(&place, 50);
    let outcome = run(&place, &["--json", "--set", "tgid={pid}", "--events", "5", "--", "ls", "-R", "tree"]);
    let (elements, account) = lines(&outcome);
    assert_eq!((outcome.code, elements.len()), (Some(0), 5), "{outcome:?}");
    assert_eq!(number(&account["account"][0], "consumed"), 5);
    assert_adds_up(&account["account"][0]);

    let outcome = run(&place, &["--json", "--set", "tgid=4294967295", "--duration", "200ms"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_adds_up(&lines(&outcome).1["account"][0]);

    // A shell that opens a file in each round, without end.
    let endless = ["--json", "--set", "tgid={pid}", "--", "sh", "-c", "while :; do : </dev/null; done"];
    let mut command = load(&place, &endless);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
    assert!(reader.read_line(&mut String::new()).expect("text") > 0, "an element");
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    let rest: Vec<String> = reader.lines().map(|line| line.expect("text")).collect();
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let account: Value = serde_json::from_str(rest.last().expect("the account")).expect("JSON");
    assert_adds_up(&account["account"][0]);
    assert_eq!(account["command_cut_short"], true, "{account}");

    let script = format!(
        "'{}' load my.bpf.o --json --set tgid={{pid}} -- ls -R tree 2>&1 >/dev/full",
        env!("CARGO_BIN_EXE_arenaq")
    );
    let mut shell = place.program("/bin/sh");
    let full = Outcome::of(shell.env("PATH", "/usr/bin:/bin").args(["-c", &script]));
    assert_eq!(full.code, Some(3), "{full:?}");
    assert!(full.stdout.contains("writing an element: No space left on device"), "{full:?}");
    let script = format!(
        "'{}' load my.bpf.o --json --set tgid={{pid}} -- ls -R tree 2>/dev/null | head -n 1",
        env!("CARGO_BIN_EXE_arenaq")
    );
    let mut shell = place.program("/bin/sh");
    let shell = shell.env("PATH", "/usr/bin:/bin").args(["-c", &script]);
    assert_eq!(Outcome::within(Duration::from_secs(60), shell).stdout.lines().count(), 1);
}

#[test]
fn a_command_that_fails_by_itself_is_told_and_one_that_is_not_there_never_begins() {
    let Some(_guard) = kernel("commands") else { return };
    let place = place(OPENSNOOP);
    let failed = run(&place, &["--json", "--set", "tgid={pid}", "--", "sh", "-c", "exit 7"]);
    assert_eq!(failed.code, Some(5), "{failed:?}");
    assert_eq!(lines(&failed).1["command_status"], 7);
    let missing = run(&place, &["--json", "--", "no-such-program"]);
    assert_eq!((missing.code, missing.stdout.as_str()), (Some(4), ""), "{missing:?}");
    assert!(missing.stderr.contains("no such program was found"), "{missing:?}");
}

/// Whether the kernel has a program of that name.
fn is_in_the_kernel(name: &str) -> bool {
    ProgInfoIter::default().any(|program| program.name.to_string_lossy() == name)
}

#[test]
fn what_cannot_be_loaded_is_refused_with_what_to_do_and_leaves_nothing_attached() {
    let Some(_guard) = kernel("refusals") else { return };
    let program = EVERYTHING.replace("on_exec", "own_refusals");
    let place = place(&program);
    let touch = ["--", "touch", "begun"];
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--set", "tigd=1"], 2, "no such `const volatile` variable. It has: "),
        (&["--set", "tgid=4294967296"], 2, "it is a number from 0 to 4294967295"),
        (&["--set", "tgid=many"], 2, "it is a number"),
        (&["--set", "really=maybe"], 2, "it is a bool: true or false"),
        (&["--set", "paint=BLUE"], 2, "it is an enum: RED, GREEN, NONE"),
        (&["--set", "word=four"], 2, "it has room for 3 bytes"),
        (&["--set", "not_const=1"], 2, "declare it `const volatile`"),
        (&["--set", "tgid"], 2, "write it as NAME=VALUE"),
        (&["--queue", "none"], 2, "no such queue. It has: "),
        (&["--capacity", "none=8"], 2, "none"),
        (&["--capacity", "all=7"], 2, "power of two"),
        (&["--capacity", "numbers=many"], 2, "no number of elements"),
    ];
    for (arguments, code, says) in cases {
        let outcome = run(&place, &[arguments, &touch[..]].concat());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(*code), ""), "{arguments:?}: {outcome:?}");
        assert!(outcome.stderr.contains(says), "{arguments:?}: {}", outcome.stderr);
    }
    let outcome = run(&place, &["--set", "tgid={pid}"]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(
        outcome.stderr.contains("{pid} is the process id of the command: give one, behind `--`"),
        "{outcome:?}"
    );

    // Other programs and other files.
    place.write("text.o", "no object");
    fs::copy(env!("CARGO_BIN_EXE_arenaq"), place.path("other.o")).expect("it can be copied");
    for (object, code, says) in [
        ("none.o", 2, "Give the object that `arenaq build` has made"),
        ("text.o", 2, "no BPF object"),
        ("other.o", 2, "no BPF object: it is made for"),
    ] {
        let outcome = Outcome::of(&mut place.arenaq(&["load", object]));
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(code), ""), "{object}: {outcome:?}");
        assert!(outcome.stderr.contains(says), "{object}: {}", outcome.stderr);
    }
    for (change, arguments, code, says) in [
        (
            ("SEC(\"raw_tp/sched_process_exec\")", "SEC(\"syscall\")"),
            &[][..],
            2,
            "its section `syscall` does not say where",
        ),
        (
            ("SEC(\"raw_tp/sched_process_exec\")", "SEC(\"?syscall\")"),
            &[][..],
            2,
            "no program that could be attached",
        ),
        (
            ("number = 42;", "number = *(__u32 *)(unsigned long)not_const;"),
            &[][..],
            3,
            "The verifier rejects the program",
        ),
        (("sched_process_exec", "sched_process_none"), &[][..], 3, "own_refusals"),
    ] {
        let changed = program.replace(change.0, change.1);
        assert_ne!(changed, program, "{change:?}");
        place.write("my.bpf.c", &changed);
        let built = place.run(&["build", "my.bpf.c"]);
        assert_eq!(built.code, Some(0), "{built:?}");
        let outcome = run(&place, &[arguments, &touch[..]].concat());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(code), ""), "{change:?}: {outcome:?}");
        assert!(outcome.stderr.contains(says), "{change:?}: {}", outcome.stderr);
    }
    place.write("my.bpf.c", "#include \"kernel.h\"\n#include <bpf/bpf_helpers.h>\nSEC(\"raw_tp/sys_exit\") int own_refusals(void *c) { return 0; }\n");
    assert_eq!(place.run(&["build", "my.bpf.c"]).code, Some(0));
    let outcome = run(&place, &touch);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("the object has no map of the type BPF_MAP_TYPE_ARENA"), "{outcome:?}");

    // An object that was made for some kernels only.
    place.write("my.bpf.c", &program);
    assert_eq!(place.run(&["build", "my.bpf.c", "--instructions", "full-barrier"]).code, Some(0));
    let outcome = run(&place, &[&["--instructions", "acquire-release"], &touch[..]].concat());
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(
        outcome.stderr.contains("the object has no acquire-release, only full-barrier: build it again"),
        "{outcome:?}"
    );
    assert!(!place.has("begun"), "a command has begun");
    assert!(!is_in_the_kernel("own_refusals"));
    assert_eq!(run(&place, &touch).code, Some(0), "the slow object is right everywhere");
    assert!(place.has("begun"));
    let logs = place.left();
    assert!(logs <= 1, "the verifier's whole log, and nothing else: {logs}");
}

#[test]
fn a_tracepoint_where_tracefs_is_not_mounted_is_refused_with_how_to_mount_it() {
    let Some(_guard) = kernel("tracefs") else { return };
    let place =
        place(&EVERYTHING.replace("raw_tp/sched_process_exec", "tracepoint/sched/sched_process_exec"));
    // In mounts of its own: those of others stay.
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "umount -a -t tracefs,debugfs; exec \"$@\"", "sh"]);
    command.args([env!("CARGO_BIN_EXE_arenaq"), "load"]).arg(place.path("my.bpf.o"));
    let outcome = Outcome::of(command.args(["--duration", "1s"]));
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(3), ""), "{outcome:?}");
    assert!(outcome.stderr.contains("`mount -t tracefs tracefs /sys/kernel/tracing`"), "{outcome:?}");
}

#[test]
fn each_object_of_the_file_can_be_loaded_alone() {
    let Some(_guard) = kernel("each object") else { return };
    let place = place(EVERYTHING);
    for instructions in crate::support::objects() {
        let name = instructions.name();
        let arguments = [&["--json", "--instructions", name], &EVERYTHING_SET[..], &["--", "true"]].concat();
        let outcome = run(&place, &arguments);
        assert_eq!(outcome.code, Some(0), "{name}: {outcome:?}");
        let (elements, account) = lines(&outcome);
        assert_eq!((elements.len(), account["instructions"].as_str()), (2, Some(name)));
    }
}

/// clang makes a table of addresses of a `switch` like this, which the kernel refuses, if nobody forbids it.
#[test]
fn a_switch_of_many_cases_is_loaded() {
    let Some(_guard) = kernel("a switch") else { return };
    let cases: String = (0..40)
        .map(|case| format!("case {case}: number = bpf_ktime_get_ns() + {case}; seen += {case}; break;\n"))
        .collect();
    let program = format!(
        r#"#include "kernel.h"
#include <bpf/bpf_helpers.h>
struct {{
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
}} arena SEC(".maps");
#define ARENAQ_NO_ALLOC
#include "arenaq.h"
char LICENSE[] SEC("license") = "Dual BSD/GPL";
ARENAQ_MPSC(numbers, __u64, 64);
const volatile __u32 tgid;
__u64 seen;
SEC("raw_tp/sys_exit")
int on_exit(struct bpf_raw_tracepoint_args *context)
{{
	__u64 number;
	if (bpf_get_current_pid_tgid() >> 32 != tgid)
		return 0;
	switch (context->args[1]) {{
	{cases}
	default:
		return 0;
	}}
	arenaq_push(&numbers, &number);
	return 0;
}}
"#
    );
    let place = Place::with("my.bpf.c", &program);
    let built = place.run(&["build", "my.bpf.c"]);
    assert_eq!(built.code, Some(0), "{built:?}");
    let outcome = run(&place, &["--json", "--set", "tgid={pid}", "--", "true"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(!lines(&outcome).0.is_empty(), "{outcome:?}");
}

/// A program with one thing wrong, and what it is told.
#[test]
fn what_is_wrong_with_a_program_is_said_and_what_to_do() {
    let Some(_guard) = kernel("programs with something wrong") else { return };
    let program = |arena: &str, licence: &str, body: &str| {
        format!(
            r#"#include "kernel.h"
#include <bpf/bpf_helpers.h>
{arena}
#define ARENAQ_NO_ALLOC
#include "arenaq.h"
char LICENSE[] SEC("license") = "{licence}";
struct event {{ __u64 time; }};
ARENAQ_RECORDS(log, 1 << 14, 64, struct event);
SEC("raw_tp/sys_exit")
int on_exit(void *context)
{{
	struct event *event = arenaq_begin(&log);
	{body}
	return 0;
}}
"#
        )
    };
    let arena = |flags: &str| {
        format!(
            "struct {{ __uint(type, BPF_MAP_TYPE_ARENA); __uint(max_entries, 1); {flags} }} arena SEC(\".maps\");"
        )
    };
    let (mappable, right) = (arena("__uint(map_flags, BPF_F_MMAPABLE);"), "if (!event) return 0;");
    let ends = "event->time = 1; arenaq_submit(&log, event, 8);";

    let place = Place::with("my.bpf.c", &program("", "GPL", &format!("{right} {ends}")));
    let built = place.run(&["build", "my.bpf.c"]);
    assert_eq!(built.code, Some(3), "{built:?}");
    assert!(built.stderr.contains("declare the map `arena`"), "{built:?}");
    assert!(!place.path("my.bpf.o").exists(), "{built:?}");

    let reserved = program(&mappable, "GPL", "if (event) { event->time = 1; arenaq_commit(&log, event); }")
        .replace(
            "struct event *event = arenaq_begin(&log)",
            "struct event __arena *event = arenaq_reserve(&log, 8)",
        );
    let built = Place::with("my.bpf.c", &reserved).run(&["build", "my.bpf.c"]);
    assert_eq!((built.code, &*built.stderr), (Some(0), ""), "nothing is wrong with that one");

    for (arena, licence, body, says) in [
        (arena(""), "GPL", format!("{right} {ends}"), "BPF_F_MMAPABLE"),
        (mappable.clone(), "GPL", ends.to_owned(), "`arenaq_begin` returns NULL"),
        (mappable, "Proprietary", format!("{right} bpf_trace_printk(\"\", 1); {ends}"), "under the GPL"),
    ] {
        let place = Place::with("my.bpf.c", &program(&arena, licence, &body));
        let built = place.run(&["build", "my.bpf.c"]);
        assert_eq!((built.code, &*built.stderr), (Some(0), ""), "{says}");
        let outcome = run(&place, &["--", "true"]);
        assert_eq!(outcome.code, Some(3), "{outcome:?}");
        assert!(outcome.stderr.contains(says), "{says}: {outcome:?}");
        if let Some((_, log)) = outcome.stderr.split_once("The whole log is in ") {
            let log = log.lines().next().expect("a path").trim_end_matches('.');
            std::fs::remove_file(log).expect("it is ours");
        }
    }
}
