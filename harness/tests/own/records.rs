//! `arenaq load` of records of any size.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity};
use serde_json::{Value, json};

use super::load::{assert_adds_up, lines, load, opened, place, plant_tree, run, truth};
use super::place::OPENSNOOP;
use crate::support::bpffs::Bpffs;
use crate::support::{Outcome, kernel, number, skip};

/// Every file that a process opens, as a record that is as long as the name.
pub(super) const OPENS: &str = include_str!("../../../examples/opensnoop/src/records.bpf.c");

pub(super) const HEAD: &str = r#"
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
const volatile __u32 tgid = 0;
"#;

/// Records of several types, and of none, and a queue, for one exec.
const SEVERAL: &str = r#"
enum kind { OPEN = 10, CLOSE = 20, LOST = 5 };
struct tagged {
	enum kind kind;
	__u32 cpu;
	union {
		struct { __u64 fd; char file[]; } open;
		struct { __s32 result; } close;
	};
};
union either {
	struct { enum kind kind; __u32 pid; } first;
	struct { enum kind kind; __u64 size; char text[]; } second;
};
struct stack {
	__u32 pid, count;
	__u64 at[];
};
ARENAQ_RECORDS(tagged, 1 << 14, 128, struct tagged);
ARENAQ_RECORDS(either, 1 << 14, 64, union either);
ARENAQ_RECORDS(stacks, 1 << 14, 64, struct stack);
ARENAQ_RECORDS(plain, 1 << 14, 64);
ARENAQ_MPMC(numbers, __u32, 16);
const char path[] = "/etc/passwd", a[] = "a", b[] = "b\n";

static __always_inline void push_tagged(enum kind kind, __u64 size)
{
	struct tagged *e = arenaq_begin(&tagged);

	if (!e)
		return;
	e->kind = kind;
	e->cpu = 7;
	if (kind == OPEN) {
		e->open.fd = 3;
		size = arenaq_append_str(&tagged, e, size, bpf_probe_read_kernel_str, path);
	} else {
		e->close.result = -2;
	}
	arenaq_submit(&tagged, e, size);
}

static __always_inline void push_either(void)
{
	union either *e = arenaq_begin(&either);
	__u64 size = offsetof(union either, second.text);

	if (!e)
		return;
	e->first.kind = OPEN;
	e->first.pid = 5;
	arenaq_submit(&either, e, sizeof(e->first));
	e = arenaq_begin(&either);
	if (!e)
		return;
	e->second.kind = CLOSE;
	e->second.size = 9;
	size = arenaq_append_str(&either, e, size, bpf_probe_read_kernel_str, a);
	size = arenaq_append_str(&either, e, size, bpf_probe_read_kernel_str, b);
	arenaq_submit(&either, e, size);
}

SEC("raw_tp/sched_process_exec")
int on_exec(void *context)
{
	struct stack __arena *stack;
	__u8 __arena *bytes;
	__u32 number = 42;

	if (bpf_get_current_pid_tgid() >> 32 != tgid)
		return 0;
	push_tagged(OPEN, offsetof(struct tagged, open.file));
	push_tagged(CLOSE, offsetof(struct tagged, close.result) + 4);
	push_tagged(LOST, sizeof(struct tagged));
	push_tagged(CLOSE, 4);
	push_either();
	stack = arenaq_reserve(&stacks, sizeof(*stack) + 2 * sizeof(__u64));
	if (stack) {
		stack->pid = 1;
		stack->count = 2;
		stack->at[0] = 1;
		stack->at[1] = 2;
		arenaq_commit(&stacks, stack);
	}
	bytes = arenaq_reserve(&plain, 5);
	if (bytes) {
		bytes[0] = 0xa1;
		bytes[1] = 2;
		bytes[2] = 3;
		bytes[3] = 4;
		bytes[4] = 0xff;
		arenaq_commit(&plain, bytes);
	}
	arenaq_push(&numbers, &number);
	return 0;
}
"#;

/// So many records in a row, of all sizes, for one exec.
const BURST: &str = r#"
struct numbered { __u64 number; char text[]; };
ARENAQ_RECORDS(burst, 1 << 17, 128, struct numbered);
SEC("raw_tp/sched_process_exec")
int on_exec(void *context)
{
	if (bpf_get_current_pid_tgid() >> 32 != tgid)
		return 0;
	for (__u64 i = arenaq_zero(); i < 3000 && arenaq_can_loop(); i++) {
		struct numbered *e = arenaq_begin(&burst);

		if (!e)
			continue;
		e->number = i;
		e->text[i % 64] = 0;
		arenaq_submit(&burst, e, sizeof(*e) + i % 121);
	}
	return 0;
}
"#;

#[test]
fn every_open_is_a_record_as_long_as_its_name_and_the_account_is_exact() {
    let test = "every open as a record";
    let Some(_guard) = kernel(test) else { return };
    let place = place(OPENS);
    plant_tree(&place, 400);
    let Some(truth) = truth(&place, &["ls", "-R", "tree"], test) else { return };
    let outcome = run(&place, &["--json", "--set", "tgid={pid}", "--", "ls", "-R", "tree"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let (elements, account) = lines(&outcome);
    let sorted = |mut all: Vec<(String, i64)>| {
        all.sort_unstable();
        all
    };
    // Each processor's in their order, and the command may move from one to another.
    assert_eq!(sorted(opened(&elements)), sorted(truth.clone()));
    assert!(truth.len() > 400, "{}", truth.len());
    let names: Vec<_> = elements[0]["element"].as_object().expect("fields").keys().collect();
    assert_eq!(names.len(), 6, "{names:?}");
    assert!(elements.iter().all(|line| line["element"]["comm"] == "ls"));
    let opens = &account["account"][0];
    assert_adds_up(opens);
    assert_eq!((opens["kind"].as_str(), number(opens, "capacity")), (Some("records"), 1 << 18));
    assert_eq!(number(opens, "produced"), truth.len() as u64);
    assert_eq!(number(opens, "consumed"), truth.len() as u64);
}

#[test]
fn a_tag_chooses_what_is_shown_and_a_record_has_no_more_fields_than_bytes() {
    let Some(_guard) = kernel("tagged records") else { return };
    let place = place(&[HEAD, SEVERAL].concat());
    let outcome = run(&place, &["--json", "--set", "tgid={pid}", "--", "true"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let (elements, account) = lines(&outcome);
    let find = |queue: &str| {
        let found = elements.iter().filter(|line| line["queue"] == queue);
        Value::Array(found.map(|line| line["element"].clone()).collect())
    };
    let tagged = json!([
        {"kind": "OPEN", "cpu": 7, "open": {"fd": 3, "file": "/etc/passwd"}},
        {"kind": "CLOSE", "cpu": 7, "close": {"result": -2}},
        {"kind": "LOST", "cpu": 7},
        {"kind": "CLOSE"},
    ]);
    assert_eq!(find("tagged"), tagged);
    let either = json!([{"kind": "OPEN", "pid": 5}, {"kind": "CLOSE", "size": 9, "text": "a b\n"}]);
    assert_eq!(find("either"), either);
    assert_eq!(find("stacks"), json!([{"pid": 1, "count": 2, "at": [1, 2]}]));
    assert_eq!(find("plain"), json!([{"size": 5, "bytes": "a1020304ff"}]));
    assert_eq!(find("numbers"), json!([42]));
    let accounts = account["account"].as_array().expect("one for each");
    assert_eq!(accounts.len(), 5);
    accounts.iter().for_each(assert_adds_up);

    let outcome = run(&place, &["--json", "--queue", "plain", "--set", "tgid={pid}", "--", "true"]);
    let (elements, account) = lines(&outcome);
    assert_eq!(elements.len(), 1, "{outcome:?}");
    let accounts = account["account"].as_array().expect("one for each");
    let tagged = accounts.iter().find(|account| account["queue"] == "tagged").expect("it is there");
    assert_eq!((number(tagged, "produced"), number(tagged, "left")), (4, 4), "counted, if not shown");

    let outcome = run(&place, &["--set", "tgid={pid}", "--", "true"]);
    let said: Vec<_> = outcome.stderr.lines().map(str::trim_end).collect();
    for line in [
        "kind  cpu  open.fd  open.file    close.result",
        "OPEN    7        3  /etc/passwd",
        "CLOSE    7                                  -2",
        "LOST     7",
        "kind  pid  size  text",
        "CLOSE          9  a b\\n",
        "size  bytes",
        "   5  a1020304ff",
        "records plain of 16384 bytes a processor: 1 produced = 1 consumed + 0 dropped + 0 left",
    ] {
        assert!(said.contains(&line), "{line}\n{outcome:?}");
    }
}

#[test]
fn records_that_find_no_room_are_counted_as_the_program_has_counted_them() {
    let Some(_guard) = kernel("a burst of records") else { return };
    let place = place(&[HEAD, BURST].concat());
    let built = place.run(&["build", "my.bpf.c", "--instructions", "tso", "-o", "other.o"]);
    let says = "other.o: tso\n  records burst: 131072 bytes a processor, up to 128 a record\n";
    assert_eq!(built.stdout, says, "{built:?}");
    for bytes in ["131072", "8192", "4096"] {
        let capacity = format!("burst={bytes}");
        let arguments = ["--json", "--set", "tgid={pid}", "--capacity", &capacity, "--", "true"];
        let outcome = run(&place, &arguments);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let (elements, account) = lines(&outcome);
        let burst = &account["account"][0];
        assert_adds_up(burst);
        assert_eq!((number(burst, "produced"), number(burst, "consumed")), (3000, elements.len() as u64));
        assert_eq!(burst["capacity"].to_string(), bytes);
        assert!(number(burst, "dropped.full") > 0, "{account}");
        let numbers: Vec<_> = elements.iter().map(|line| number(line, "element.number")).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "one processor's, in their order");
    }
    let refused = run(&place, &["--capacity", "burst=100", "--duration", "1s"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("4096 at least"), "{refused:?}");
}

#[test]
fn a_limit_and_a_signal_end_it_with_the_account_of_the_records() {
    let Some(_guard) = kernel("ends of records") else { return };
    let place = place(OPENS);
    plant_tree(&place, 50);
    let outcome = run(&place, &["--json", "--set", "tgid={pid}", "--events", "5", "--", "ls", "-R", "tree"]);
    let (elements, account) = lines(&outcome);
    assert_eq!((outcome.code, elements.len()), (Some(0), 5), "{outcome:?}");
    assert_eq!(number(&account["account"][0], "consumed"), 5);
    assert_adds_up(&account["account"][0]);

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
    assert_eq!(number(&account["account"][0], "consumed"), rest.len() as u64);
}

/// A record for each system call of programs called `caller`, with its time, or every second one with one of long ago.
const CALLS: &str = r#"
struct call {
	__u64 stamp;
	__u32 cpu;
	__u32 tid;
};
ARENAQ_RECORDS(calls, 1 << 20, 64, struct call);
const volatile __u32 backwards = 0; /* by how many seconds */
const char caller[8] = "caller";
__u64 number = 0;

SEC("raw_tp/sys_enter")
int on_call(struct bpf_raw_tracepoint_args *context)
{
	union { char text[16]; __u64 word; } name = {};
	struct call *e;

	bpf_get_current_comm(name.text, sizeof(name.text));
	if (name.word != *(const __u64 *)caller)
		return 0;
	e = arenaq_begin(&calls);
	if (!e)
		return 0;
	/* Behind the beginning: the lane is ours, and its times rise. */
	e->stamp = bpf_ktime_get_ns();
	if (__sync_fetch_and_add(&number, 1) % 2)
		e->stamp -= backwards * 1000000000ull;
	e->cpu = bpf_get_smp_processor_id();
	e->tid = bpf_get_current_pid_tgid();
	arenaq_submit_at(&calls, e, sizeof(*e), e->stamp);
	return 0;
}
"#;

/// The records, each with its stamp and its CPU, and the account.
fn stamps(outcome: &Outcome) -> (Vec<(u64, u64)>, Value) {
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let (elements, account) = lines(outcome);
    let stamp = |line: &Value| (number(&line["element"], "stamp"), number(&line["element"], "cpu"));
    (elements.iter().map(stamp).collect(), account["account"][0].clone())
}

/// How many came after one with a later stamp.
fn late(stamps: &[(u64, u64)]) -> u64 {
    let mut last = 0;
    let is_late = |&&(stamp, _): &&(u64, u64)| {
        let is_late = stamp < last;
        last = last.max(stamp);
        is_late
    };
    stamps.iter().filter(is_late).count() as u64
}

#[test]
fn records_of_two_cpus_are_merged_by_their_stamps_and_the_late_are_counted() {
    let Some(_guard) = kernel("merged records") else { return };
    let cpus: Vec<_> = {
        let mine = sched_getaffinity(None).expect("it is known");
        (0..CpuSet::MAX_CPU).filter(|cpu| mine.is_set(*cpu)).take(2).map(|cpu| cpu.to_string()).collect()
    };
    let [first, second] = cpus.as_slice() else { return skip("merged records", "there is one CPU") };
    let place = place(&format!("{HEAD}{CALLS}"));
    std::os::unix::fs::symlink("/bin/sh", place.path("caller")).expect("it can be made");
    let both = format!(
        "for cpu in {first} {second}; do taskset -c $cpu ./caller -c \
         'i=0; while [ $i -lt 500 ]; do kill -0 $$; i=$((i + 1)); done' & done; wait"
    );
    let run = |more: &[&str]| run(&place, &[&["--json"], more, &["--", "sh", "-c", &both]].concat());

    // So long everything is kept back until the command has ended.
    let (sorted, account) = stamps(&run(&["--merged", "--lateness", "1h"]));
    assert_adds_up(&account);
    assert!(sorted.len() >= 1000 && sorted.is_sorted_by_key(|(stamp, _)| *stamp), "{account}");
    assert_eq!(number(&account, "late"), 0, "{account}");
    let changes = sorted.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
    assert!(changes > 0, "both processors have some");

    // What is said to be late is what came so, whether that is little or much.
    for more in [&["--merged"][..], &["--merged", "--lateness", "0", "--set", "backwards=1"]] {
        let (printed, account) = stamps(&run(more));
        assert_adds_up(&account);
        assert_eq!(number(&account, "late"), late(&printed), "{more:?} {account}");
        assert!(more.len() == 1 || late(&printed) > printed.len() as u64 / 4, "{account}");
    }
    let (_, account) = stamps(&run(&[]));
    assert!(account["late"].is_null(), "{account}");

    // The same of a folder: what is kept back there is not left.
    let bpffs = Bpffs::mount();
    let folder = bpffs.path("calls");
    let folder = folder.to_str().expect("it is text");
    let pinned = Outcome::of(&mut load(&place, &["--pin", folder]));
    assert_eq!(pinned.code, Some(0), "{pinned:?}");
    let made = place.program("/bin/sh").args(["-c", &both]).env("PATH", "/usr/bin:/bin").status();
    assert!(made.expect("there is a shell").success());
    let consume = ["consume", folder, "--merged", "--lateness", "300ms", "--until-empty", "--json"];
    let outcome = Outcome::within(Duration::from_secs(60), &mut place.arenaq(&consume));
    let (printed, account) = stamps(&outcome);
    assert!(printed.len() >= 1000, "{account}");
    assert_eq!((number(&account, "late"), number(&account, "left")), (late(&printed), 0), "{account}");
    assert_eq!(number(&account, "consumed") as usize, printed.len(), "{account}");
}

#[test]
fn what_has_no_records_is_not_merged() {
    let Some(_guard) = kernel("nothing to merge") else { return };
    let refused = run(&place(OPENSNOOP), &["--merged", "--", "true"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("there are no records here"), "{refused:?}");
}
