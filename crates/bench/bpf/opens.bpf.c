// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Every file that this process opens, as opensnoop tells it: the same event by each way. One program is attached at a time.
 */
#include "kernel.h"
#include "peers.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16); /* pages; userspace sets it before the load */
} arena SEC(".maps");

#define ARENAQ_NO_ALLOC
#include "arenaq.h"

#define offset_of_file __builtin_offsetof(struct event, file)

/* Its Rust twin is in src/kernel/opens/watch.rs. */
struct event {
	__u64 time;
	__u32 pid, tid;
	__s64 result;
	__u32 flags, mode;
	char comm[16];
	char file[256];
};

/* Userspace makes the one large that it uses. */
ARENAQ_MPMC(mpmc, struct event, 2);
ARENAQ_MPSC(mpsc, struct event, 2);
ARENAQ_RECORDS(records, 1 << 16, sizeof(struct event));
ARENAQ_DOORBELL;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ringbuf SEC(".maps");

/* Where an event is built that is as long as its name: a buffer of the CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct event);
} buffer SEC(".maps");

/* How many events found no room. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} refused SEC(".maps");

/* Userspace sets both before the load: they are alone in the section. */
struct {
	__u32 tgid;
	/* Of the ring buffer: whether to wake the consumer. For ours, 1 if a consumer may sleep. */
	__u32 wakeup;
} const volatile chosen SEC(".rodata.chosen") = {};

/* Where a task in a system call has the call's number and its arguments, from the second on. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs { unsigned long r15_to_r11[7], r10, r9_to_cx[4], dx, si, di, orig_ax; };
enum { OPENAT = 257 };
#define CALL orig_ax
#define FILE si
#define FLAGS dx
#define MODE r10
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs { unsigned long x0, x1, x2, x3, x4_to_x7[4], x8; };
enum { OPENAT = 56 };
#define CALL x8
#define FILE x1
#define FLAGS x2
#define MODE x3
#endif

#define READ(from, field)                                                         \
	({                                                                        \
		unsigned long __value = 0;                                        \
                                                                                  \
		bpf_probe_read_kernel(&__value, sizeof(__value), &(from)->field); \
		__value;                                                          \
	})

static __always_inline _Bool is_open_of_ours(struct bpf_raw_tracepoint_args *context)
{
	const struct pt_regs *regs = (void *)context->args[0];

	return bpf_get_current_pid_tgid() >> 32 == chosen.tgid && READ(regs, CALL) == OPENAT;
}

/* Everything but the name, whose address is returned. */
static __always_inline const void *describe(struct event *event, struct bpf_raw_tracepoint_args *context)
{
	const struct pt_regs *regs = (void *)context->args[0];
	__u64 task = bpf_get_current_pid_tgid();

	event->time = bpf_ktime_get_ns();
	event->pid = task >> 32;
	event->tid = task;
	event->result = context->args[1];
	event->flags = READ(regs, FLAGS);
	event->mode = READ(regs, MODE);
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	return (const void *)READ(regs, FILE);
}

static __always_inline int refuse(void)
{
	__u32 key = 0;
	__u64 *count = bpf_map_lookup_elem(&refused, &key);

	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

/* Behind the call, when the name has been read, and is in memory therefore. */
#define WATCH(name)                                           \
	SEC("raw_tp/sys_exit")                                \
	int to_##name(struct bpf_raw_tracepoint_args *context) \
	{                                                     \
		if (!is_open_of_ours(context))                \
			return 0;                             \
		return by_##name(context);                    \
	}

#define BY_QUEUE(queue)                                                                        \
	static __always_inline int by_##queue(struct bpf_raw_tracepoint_args *context)         \
	{                                                                                      \
		struct event event = {};                                                       \
                                                                                               \
		bpf_probe_read_user_str(event.file, sizeof(event.file), describe(&event, context)); \
		if (arenaq_push(&queue, &event))                                               \
			return refuse();                                                       \
		if (chosen.wakeup)                                                             \
			arenaq_notify(&queue);                                                 \
		return 0;                                                                      \
	}                                                                                      \
                                                                                               \
	WATCH(queue)

BY_QUEUE(mpmc)
BY_QUEUE(mpsc)

static __always_inline int by_records(struct bpf_raw_tracepoint_args *context)
{
	struct event *event = arenaq_begin(&records);
	const void *file;
	__u64 size;

	if (!event)
		return refuse();
	file = describe(event, context);
	size = arenaq_append_str(&records, event, offset_of_file, bpf_probe_read_user_str, file);
	if (arenaq_submit(&records, event, size))
		return refuse();
	if (chosen.wakeup)
		arenaq_notify(&records);
	return 0;
}

WATCH(records)

static __always_inline int by_ringbuf_reserve(struct bpf_raw_tracepoint_args *context)
{
	struct event *event = bpf_ringbuf_reserve(&ringbuf, sizeof(*event), 0);

	if (!event)
		return refuse();
	bpf_probe_read_user_str(event->file, sizeof(event->file), describe(event, context));
	bpf_ringbuf_submit(event, chosen.wakeup);
	return 0;
}

WATCH(ringbuf_reserve)

static __always_inline int by_ringbuf_output(struct bpf_raw_tracepoint_args *context)
{
	__u32 key = 0;
	struct event *event = bpf_map_lookup_elem(&buffer, &key);
	long length;

	if (!event)
		return refuse();
	length = bpf_probe_read_user_str(event->file, sizeof(event->file), describe(event, context));
	if (length < 0 || length > (long)sizeof(event->file))
		length = 0;
	if (bpf_ringbuf_output(&ringbuf, event, offset_of_file + length, chosen.wakeup))
		return refuse();
	return 0;
}

WATCH(ringbuf_output)
