// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Every program that is started, with its whole command line: a record is as long as that. */
#include "kernel.h" /* or your vmlinux.h */
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* pages: the loader makes them as many as the records need */
} arena SEC(".maps");

#define ARENAQ_NO_ALLOC
#include "arenaq.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct mm_struct {
	unsigned long arg_start, arg_end;
} __attribute__((preserve_access_index));

struct task_struct {
	struct task_struct *real_parent;
	struct mm_struct *mm;
	int tgid;
} __attribute__((preserve_access_index));

struct event {
	__u64 time;
	__u32 pid, parent;
	char args[]; /* one behind the other, each with a zero */
};

ARENAQ_RECORDS(execs, 1 << 20, 4096, struct event);
ARENAQ_DOORBELL;

const volatile __u32 parent; /* whose programs; 0: everybody's */

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task)
{
	unsigned long from = task->mm->arg_start, end = task->mm->arg_end;
	__u64 size = offsetof(struct event, args), before;
	struct event *e;

	if (parent && parent != task->real_parent->tgid)
		return 0;
	e = arenaq_begin(&execs); /* this program's alone until the end; one that finds no lane counts itself */
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->pid = task->tgid;
	e->parent = task->real_parent->tgid;
	while (from < end && arenaq_can_loop()) {
		before = size;
		size = arenaq_append_str(&execs, e, size, bpf_probe_read_user_str, (void *)from);
		if (size == before) /* no room, or it cannot be read */
			break;
		from += size - before;
	}
	if (!arenaq_submit_at(&execs, e, size, e->time))
		arenaq_notify(&execs);
	return 0;
}
