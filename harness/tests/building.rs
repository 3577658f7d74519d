//! What programs in C can be made into objects, and where these lie.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use arenaq::payload::{ElementType, FieldLayout, UNKNOWN, hash};
use arenaq_bpf_build::{Instructions, Pipeline, Toolchain};
use arenaq_libbpf::Queues;
use libbpf_rs::ObjectBuilder;
use tempfile::TempDir;

#[path = "support/outside.rs"]
#[allow(dead_code, reason = "crates of their own are made elsewhere")]
mod outside;
mod support;

use outside::{PROGRAM, write_bpf_headers};

/// One for all: it compiles arenaq.
static PIPELINE: LazyLock<(TempDir, Pipeline)> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is writable");
    write_bpf_headers(&folder.path().join("include"));
    fs::write(folder.path().join("include/my.h"), "").expect("it can be written");
    // From the folder in which cargo runs tests.
    let relative = Path::new("../")
        .join(folder.path().strip_prefix(outside::root()).expect("the target folder is in the workspace"));
    let pipeline = Pipeline::new(Toolchain::find().expect("it compiled the harness"), relative.join("out"))
        .expect("arenaq compiles")
        .include(relative.join("include"));
    (folder, pipeline)
});

/// Writes a program and makes an object of it.
fn object(pipeline: &Pipeline, name: &str, program: &str) -> Result<PathBuf, arenaq_bpf_build::Error> {
    let path = PIPELINE.0.path().join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
    fs::write(&path, program).expect("it can be written");
    pipeline.object(path, Instructions::AcquireRelease)
}

fn read(object: &Path) -> Vec<u8> {
    fs::read(object).expect("the object is there")
}

#[test]
fn a_relative_folder_is_that_of_the_build_script() {
    let pipeline = PIPELINE.1.clone().define("MY_KEY", "1");
    let object = object(&pipeline, "relative.bpf.c", PROGRAM).expect("it compiles");
    assert!(object.is_absolute(), "{object:?}");
    let object = object.canonicalize().expect("it is there");
    assert!(object.starts_with(PIPELINE.0.path().canonicalize().expect("it is there")), "{object:?}");
}

#[test]
fn programs_of_one_name_and_macros_of_one_program_have_objects_of_their_own() {
    let pipeline = PIPELINE.1.clone().define("MY_KEY", "1");
    let first = object(&pipeline, "a/my.bpf.c", PROGRAM).expect("it compiles");
    let kept = read(&first);
    let second = object(&pipeline, "b/my.bpf.c", &PROGRAM.replace("MY_KEY", "77777")).expect("it compiles");
    let third = object(&pipeline, "a/my.c", &PROGRAM.replace("MY_KEY", "88888")).expect("it compiles");
    let fourth = object(&pipeline.define("MY_KEY", "99999"), "a/my.bpf.c", PROGRAM).expect("it compiles");
    let all = [&first, &second, &third, &fourth].map(|object| read(object));
    assert_eq!(all[0], kept, "the first was overwritten");
    for (number, object) in all.iter().enumerate() {
        assert!(!all[number + 1..].contains(object), "{number} is there twice");
    }
    assert_eq!(first.file_name(), fourth.file_name());
    assert_eq!(first.file_name().expect("a file"), "my.acquire-release.bpf.o");
}

#[test]
fn all_three_objects_of_a_program_are_made_at_once() {
    let path = PIPELINE.0.path().join("three.bpf.c");
    fs::write(&path, PROGRAM).expect("it can be written");
    let objects = PIPELINE.1.clone().define("MY_KEY", "1").objects(&path).expect("it compiles");
    assert_eq!(objects.each_ref().map(|(instructions, _)| *instructions), Instructions::ALL);
    let contents = objects.each_ref().map(|(_, object)| read(object));
    assert!(contents[0] != contents[1] && contents[1] != contents[2] && contents[0] != contents[2]);
}

#[test]
fn a_macro_without_a_value_is_defined_and_one_that_is_defined_again_has_its_last_value() {
    let program = "#ifndef EMPTY\n#error EMPTY\n#endif\n#if VALUE != 2\n#error VALUE\n#endif\n\
                   #include \"kernel.h\"\n#include <bpf/bpf_helpers.h>\nSEC(\"syscall\") int f(void *c) { return 0; }\n";
    let pipeline = PIPELINE.1.clone().define("EMPTY", None).define("VALUE", "1").define("VALUE", "2");
    object(&pipeline, "macros.bpf.c", program).expect("it compiles");
    object(&PIPELINE.1, "macros.bpf.c", program).expect_err("nobody defined them");
}

#[test]
fn the_kernels_own_headers_are_found() {
    let program = PROGRAM
        .replace("#include \"kernel.h\"", "#include <linux/bpf.h>\n#include <linux/ptrace.h>")
        // The system's headers may be older than arenas.
        .replace("BPF_MAP_TYPE_ARENA", "33")
        .replace("BPF_F_MMAPABLE", "1024");
    assert!(program.contains("<linux/bpf.h>"));
    object(&PIPELINE.1.clone().define("MY_KEY", "1"), "linux.bpf.c", &program).expect("it compiles");
}

/// How bpftool declares the kernel's function: from 7.5 on, with address spaces from 7.6 on, not at all before or with
/// `BPF_NO_KFUNC_PROTOTYPES`.
#[test]
fn a_vmlinux_header_may_declare_the_kernels_functions_or_not() {
    for (name, declaration) in [
        ("none", ""),
        (
            "plain",
            "extern void *bpf_arena_alloc_pages(void *p__map, void *addr__ign, __u32 page_cnt, int node_id, __u64 flags) \
             __attribute__((weak)) __attribute__((section(\".ksyms\")));\n",
        ),
        (
            "arena",
            "extern void __attribute__((address_space(1))) *bpf_arena_alloc_pages(void *p__map, void \
             __attribute__((address_space(1))) *addr__ign, __u32 page_cnt, int node_id, __u64 flags) \
             __attribute__((weak)) __attribute__((section(\".ksyms\")));\n",
        ),
    ] {
        let program = PROGRAM
            .replace("#include <bpf/bpf_helpers.h>", &format!("{declaration}#include <bpf/bpf_helpers.h>"))
            .replace("return ds_vyukhov_insert(&queue, MY_KEY, 1);", "return ds_vyukhov_init(&queue, 16);");
        let object = object(&PIPELINE.1, &format!("{name}.bpf.c"), &program).expect(name);
        load(&object, name);
    }
}

/// The argument is taken from the register that the architecture has for it.
const KPROBE: &str = r#"
#include "kernel.h"
struct pt_regs { unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di; };
#define __VMLINUX_H__
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16);
} arena SEC(".maps");
#include "arenaq.h"
char LICENSE[] SEC("license") = "Dual BSD/GPL";
struct ds_vyukhov_head __arena queue;
SEC("kprobe/do_exit")
int BPF_KPROBE(on_exit, long code)
{
	ds_vyukhov_insert(&queue, code, bpf_ktime_get_ns());
	return 0;
}
"#;

#[test]
#[cfg(target_arch = "x86_64")]
fn a_kprobe_program_takes_its_arguments_by_name() {
    let object = object(&PIPELINE.1, "kprobe.bpf.c", KPROBE).expect("it compiles");
    load(&object, "a_kprobe_program_takes_its_arguments_by_name");
}

/// It has an address and names no variable of the arena.
const BY_ADDRESS: &str = r#"
#include "kernel.h"
#include <bpf/bpf_helpers.h>
struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16);
} events SEC(".maps");
#define ARENAQ_NO_ALLOC
#include "arenaq.h"
char LICENSE[] SEC("license") = "Dual BSD/GPL";
SEC("syscall")
int push(__u64 *queue)
{
	ARENAQ_USES(events);
	return ds_vyukhov_insert((struct ds_vyukhov_head __arena *)*queue, 1, 2);
}
"#;

#[test]
fn a_program_that_has_only_an_address_refers_to_its_map() {
    let test = "a_program_that_has_only_an_address_refers_to_its_map";
    load(&object(&PIPELINE.1, "by_address.bpf.c", BY_ADDRESS).expect("it compiles"), test);

    let without = BY_ADDRESS.replace("ARENAQ_USES(events);", "");
    let without = object(&PIPELINE.1, "without_reference.bpf.c", &without).expect("it compiles");
    let Some(_kernel) = support::kernel(test) else { return };
    let object = ObjectBuilder::default().open_file(without).expect("libbpf reads it");
    assert!(object.load().is_err(), "then ARENAQ_USES is not needed");
}

/// A program with these declarations, which does this.
fn declaring(declarations: &str, does: &str) -> String {
    format!(
        r#"
#include "kernel.h"
#include <bpf/bpf_helpers.h>
struct {{
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16);
}} arena SEC(".maps");
#define ARENAQ_NO_ALLOC
#include "arenaq.h"
char LICENSE[] SEC("license") = "Dual BSD/GPL";
struct event {{ __u64 time; __u32 pid, tid; }};
struct other {{ __u64 time; __u32 pid, tid; }};
{declarations}
SEC("syscall")
int program(void *context)
{{
	struct event event = {{}};
	struct other other = {{}};
	{does}
	return 0;
}}
"#
    )
}

#[test]
fn an_element_of_another_type_an_element_too_large_and_a_pop_that_there_is_not_do_not_compile() {
    let queues = "ARENAQ_MPSC(events, struct event, 64);\nARENAQ_MPMC(jobs[2], struct event, 64);";
    let right = "arenaq_push(&events, &event); arenaq_push(&jobs[1], &event); arenaq_pop(&jobs[0], &event); (void)other;";
    object(&PIPELINE.1, "right.bpf.c", &declaring(queues, right)).expect("it compiles");
    for (declarations, does, says) in [
        (queues, "arenaq_push(&events, &other);", "the queue carries elements of another type"),
        (queues, "arenaq_pop(&jobs[0], &other);", "the queue carries elements of another type"),
        (queues, "arenaq_push(&events, &event.time);", "the queue carries elements of another type"),
        (queues, "arenaq_pop(&events, &event);", "_Generic"),
        (
            "struct large { char bytes[4097]; };\nARENAQ_MPSC(events, struct large, 64);",
            "",
            "from 1 to 4096 bytes",
        ),
        ("struct none {};\nARENAQ_MPSC(events, struct none, 64);", "", "from 1 to 4096 bytes"),
    ] {
        let program = declaring(declarations, &format!("{does} (void)event; (void)other;"));
        let error = object(&PIPELINE.1, "wrong.bpf.c", &program).expect_err(does).to_string();
        assert!(error.contains(says), "{does}: {error}");
    }
}

#[test]
fn records_that_were_begun_are_not_committed_and_those_that_were_reserved_are_not_submitted() {
    let records = "ARENAQ_RECORDS(log, 1 << 16, 64);";
    let begun = "struct event *e = arenaq_begin(&log); if (!e) return 0; e->time = 1;";
    let reserved =
        "struct event __arena *e = arenaq_reserve(&log, sizeof(*e)); if (!e) return 0; e->time = 1;";
    let program = |does: String| declaring(records, &format!("{does} (void)event; (void)other;"));
    for (taken, right, wrong) in [
        (begun, "arenaq_submit(&log, e, 8);", "arenaq_commit(&log, e);"),
        (reserved, "arenaq_commit(&log, e);", "arenaq_submit(&log, e, 8);"),
    ] {
        object(&PIPELINE.1, "right.bpf.c", &program(format!("{taken} {right}"))).expect("it compiles");
        let error =
            object(&PIPELINE.1, "wrong.bpf.c", &program(format!("{taken} {wrong}"))).expect_err(wrong);
        assert!(error.to_string().contains("address space"), "{wrong}: {error}");
    }
}

#[test]
fn queues_of_any_declaration_are_found_with_what_their_type_says() {
    let declarations = "
        typedef struct event event_t;
        struct bits { __u64 a : 4, b : 60; };
        struct nested { struct { __u32 x, y; }; __u64 z; };
        union either { __u64 a; __u32 b; };
        struct parts { const event_t event; enum { ONE } kind; void *pointers[3]; char name[5]; };
        ARENAQ_MPSC(by_typedef, event_t, 64);
        ARENAQ_MPMC(numbers, __u32, 8);
        ARENAQ_MPMC(bits, struct bits, 8);
        ARENAQ_MPMC(nested, struct nested, 8);
        ARENAQ_MPMC(either, union either, 8);
        ARENAQ_MPMC(parts, struct parts, 8);
        ARENAQ_MPMC(grid[2][3], struct event, 16);
        __u64 __arena no_queues[1024];
        struct { struct { int x; } queue; } __arena no_queue;";
    let uses = "arenaq_push(&by_typedef, &event); arenaq_push(&grid[1][2], &event); (void)other;
        no_queues[0] = 1; no_queue.queue.x = 1;
        { __u32 number = 0; arenaq_push(&numbers, &number); }
        { struct bits e = {}; arenaq_push(&bits, &e); }
        { struct nested e = {}; arenaq_push(&nested, &e); }
        { union either e = {}; arenaq_push(&either, &e); }
        { struct parts e = {}; arenaq_push(&parts, &e); }";
    let object = object(&PIPELINE.1, "shapes.bpf.c", &declaring(declarations, uses)).expect("it compiles");
    let open = ObjectBuilder::default().open_file(object).expect("libbpf reads it");
    let queues = Queues::of(&open).expect("it has queues");
    let names: Vec<_> = queues.iter().map(|queue| queue.name.as_str().to_owned()).collect();
    let grid = (0..6).map(|i| format!("grid[{}][{}]", i / 3, i % 3));
    let mut expected: Vec<_> =
        ["by_typedef", "numbers", "bits", "nested", "either", "parts"].map(str::to_owned).into();
    expected.extend(grid);
    for name in &expected {
        assert!(names.contains(name), "{name} of {names:?}");
    }
    assert_eq!(names.len(), expected.len(), "{names:?}");

    let element = |name: &str| {
        let queue = queues.iter().find(|queue| queue.name.as_str() == name).expect("it was found");
        queue.element
    };
    let field = |name, offset, size| FieldLayout { name, offset, size };
    let event = hash(16, &[field("time", 0, 8), field("pid", 8, 4), field("tid", 12, 4)]);
    assert_eq!(element("by_typedef"), ElementType { size: 16, hash: event });
    assert_eq!(element("grid[1][2]"), ElementType { size: 16, hash: event });
    // What has no like in Rust fits every type of its size.
    assert_eq!(element("numbers"), ElementType { size: 8, hash: UNKNOWN });
    assert_eq!(element("bits"), ElementType { size: 8, hash: UNKNOWN });
    assert_eq!(element("nested"), ElementType { size: 16, hash: UNKNOWN });
    assert_eq!(element("either"), ElementType { size: 8, hash: UNKNOWN });
    let parts =
        [field("event", 0, 16), field("kind", 16, 4), field("pointers", 24, 24), field("name", 48, 5)];
    assert_eq!(element("parts"), ElementType { size: 56, hash: hash(56, &parts) });
}

#[test]
fn a_queue_that_cannot_be_found_or_named_is_refused_with_what_to_do() {
    let long = "x".repeat(48);
    let cases = [
        ("static ARENAQ_MPSC(events, struct event, 64);".to_owned(), "events".to_owned(), "make it global"),
        (format!("ARENAQ_MPSC({long}, struct event, 64);"), long.clone(), "from 1 to 47 bytes"),
        (
            "__arena struct { struct arenaq_mpsc queue; struct event element[0]; } events;".to_owned(),
            "events".to_owned(),
            "declare it with ARENAQ_MPMC, ARENAQ_MPSC or ARENAQ_RECORDS",
        ),
    ];
    for (number, (declaration, name, says)) in cases.into_iter().enumerate() {
        let program = declaring(&declaration, &format!("arenaq_push(&{name}, &event); (void)other;"));
        let object = object(&PIPELINE.1, &format!("refused{number}.bpf.c"), &program).expect("it compiles");
        let open = ObjectBuilder::default().open_file(object).expect("libbpf reads it");
        let error = Queues::of(&open).expect_err(&declaration).to_string();
        assert!(error.contains(&name) && error.contains(says), "{error}");
    }
}

/// The kernel takes it, if this machine lets us ask.
fn load(object: &Path, test: &str) {
    let Some(_kernel) = support::kernel(test) else { return };
    let object = ObjectBuilder::default().open_file(object).expect("libbpf reads it");
    object.load().expect("the kernel takes it");
}
