// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Every program that is started. */
#include "kernel.h" /* or your vmlinux.h */
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* pages: the loader makes them as many as the queues need */
} arena SEC(".maps");

#define ARENAQ_NO_ALLOC
#include "arenaq.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct linux_binprm {
	const char *filename;
} __attribute__((preserve_access_index));

struct task_struct {
	struct task_struct *real_parent;
	int tgid;
} __attribute__((preserve_access_index));

struct event {
	__u64 time;
	__u32 pid, parent;
	char file[128];
};

ARENAQ_MPMC(execs, struct event, 1024);
ARENAQ_DOORBELL;

const volatile __u32 parent; /* whose programs; 0: everybody's */

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *program)
{
	struct event event = { .time = bpf_ktime_get_ns(), .pid = task->tgid, .parent = task->real_parent->tgid };

	if (parent && parent != event.parent)
		return 0;
	bpf_probe_read_kernel_str(event.file, sizeof(event.file), program->filename);
	if (!arenaq_push(&execs, &event))
		arenaq_notify(&execs);
	return 0;
}
