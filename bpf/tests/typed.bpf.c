// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Three queues of different elements, whose consumers sleep: what harness/tests/receivers.rs pushes.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
} arena SEC(".maps");

#define ARENAQ_NO_ALLOC
#include "arenaq.h"
#include "checks.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct event {
	__u64 number;
	__u32 pid, tid;
	char comm[16];
};
struct open {
	__u64 number;
	char file[296];
};
struct job {
	__u64 number;
};

ARENAQ_MPSC(events, struct event, 4096);
ARENAQ_MPSC(opens, struct open, 256);
ARENAQ_MPMC(jobs, struct job, 64);
ARENAQ_DOORBELL;

struct push {
	__u64 queue; /* which: 0 events, 1 opens, 2 jobs */
	__u64 first; /* the number of the first element */
	__u64 count;
	__u64 pushed;
};

static __always_inline int push_event(__u64 number)
{
	struct event event = { .number = number };
	__u64 id = bpf_get_current_pid_tgid();

	event.pid = id >> 32;
	event.tid = id;
	bpf_get_current_comm(event.comm, sizeof(event.comm));
	return arenaq_push(&events, &event);
}

SEC("syscall")
int push(struct push *args)
{
	__u64 number = args->first, times = args->count, queue = args->queue, pushed = 0;
	struct open open = {};
	struct job job;

	TIMES(i, times) {
		int status;

		if (queue == 0) {
			status = push_event(number + i);
			if (status == DS_SUCCESS)
				arenaq_notify(&events);
		} else if (queue == 1) {
			open.number = number + i;
			open.file[0] = 'a' + ((number + i) & 15);
			open.file[295] = 'z';
			status = arenaq_push(&opens, &open);
			if (status == DS_SUCCESS)
				arenaq_notify(&opens);
		} else {
			job.number = number + i;
			status = arenaq_push(&jobs, &job);
			if (status == DS_SUCCESS)
				arenaq_notify(&jobs);
		}
		if (status != DS_SUCCESS)
			break;
		pushed++;
	}
	args->pushed = pushed;
	return 0;
}

/* Rings for every eighth only. */
SEC("syscall")
int push_eight(struct push *args)
{
	__u64 number = args->first, times = args->count, pushed = 0;

	TIMES(i, times) {
		if (push_event(number + i) != DS_SUCCESS)
			break;
		arenaq_notify_every(&events, 8);
		pushed++;
	}
	args->pushed = pushed;
	return 0;
}

const volatile __u64 tgid;
const volatile __u64 traced_syscall;

/* Attached by its section: an event for each system call of one kind and one process. */
SEC("raw_tracepoint/sys_enter")
int on_syscall(struct bpf_raw_tracepoint_args *args)
{
	if (bpf_get_current_pid_tgid() >> 32 == tgid && args->args[1] == traced_syscall && push_event(traced_syscall) == DS_SUCCESS)
		arenaq_notify(&events);
	return 0;
}
