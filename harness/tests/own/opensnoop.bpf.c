// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Every file that a process opens: as somebody would write it who knows arenaq from README. */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* pages: the loader makes them as many as the queues need */
} arena SEC(".maps");

#define ARENAQ_NO_ALLOC
#include "arenaq.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct event {
	__u64 time;
	__u32 pid, tid;
	__s64 result;
	char comm[16];
	char file[256];
};

ARENAQ_MPSC(opens, struct event, 16384);

const volatile __u32 tgid = 0; /* 0: everybody */

/* long do_sys_openat2(int dfd, const char *filename, struct open_how *how) */
SEC("fexit/do_sys_openat2")
int on_open(__u64 *context)
{
	__u64 task = bpf_get_current_pid_tgid();
	struct event event = { .time = bpf_ktime_get_ns(), .pid = task >> 32, .tid = task };

	if (tgid && tgid != event.pid)
		return 0;
	event.result = context[3];
	bpf_get_current_comm(event.comm, sizeof(event.comm));
	bpf_probe_read_user_str(event.file, sizeof(event.file), (void *)context[1]);
	arenaq_push(&opens, &event); /* one that finds no room counts itself */
	return 0;
}
