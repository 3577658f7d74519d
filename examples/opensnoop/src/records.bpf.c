// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Every file that a process opens, as a record: it is as long as the name, and built where a helper can write. */
#include "kernel.h" /* or your vmlinux.h */
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* pages: the loader makes them as many as the records need */
} arena SEC(".maps");

#define ARENAQ_NO_ALLOC
#include "arenaq.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct event {
	__u64 time;
	__u32 pid, tid;
	__s64 result;
	char comm[16];
	char file[]; /* to the end of the record */
};

ARENAQ_RECORDS(opens, 1 << 18, 512, struct event); /* bytes for each processor, and of the largest */
ARENAQ_DOORBELL;

const volatile __u32 tgid; /* whose files; 0: everybody's */

/* Where a task in a system call has the call's number and its second argument. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs { unsigned long unused[13], si, di, orig_ax; };
enum { OPENAT = 257 };
#define CALL orig_ax
#define FILE si
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs { unsigned long x0, x1, unused[6], x8; };
enum { OPENAT = 56 };
#define CALL x8
#define FILE x1
#endif

/* Behind the call, when the name has been read, and is in memory therefore. */
SEC("raw_tp/sys_exit")
int on_exit(struct bpf_raw_tracepoint_args *context)
{
	const struct pt_regs *regs = (void *)context->args[0];
	__u64 task = bpf_get_current_pid_tgid(), size;
	unsigned long call = 0, file = 0;
	struct event *e;

	bpf_probe_read_kernel(&call, sizeof(call), &regs->CALL);
	if (call != OPENAT || (tgid && tgid != task >> 32))
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), &regs->FILE);
	e = arenaq_begin(&opens); /* this program's alone until the end; one that finds no lane counts itself */
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->pid = task >> 32;
	e->tid = task;
	e->result = context->args[1];
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	size = arenaq_append_str(&opens, e, offsetof(struct event, file), bpf_probe_read_user_str, (void *)file);
	if (!arenaq_submit_at(&opens, e, size, e->time)) /* one that finds no room, too */
		arenaq_notify(&opens);
	return 0;
}
