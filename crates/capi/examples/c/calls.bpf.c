// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Each getppid() of one process. */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* pages: the loader makes them as many as the queues need */
} arena SEC(".maps");

#define ARENAQ_NO_ALLOC
#include "arenaq.h"
#include "calls.h"

ARENAQ_DOORBELL;

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 tgid = 0;
const volatile long getppid_number = 0;
__u32 number = 0;

SEC("raw_tp/sys_enter")
int on_call(__u64 *context)
{
	struct call call = { .time = bpf_ktime_get_ns(), .pid = bpf_get_current_pid_tgid() >> 32 };

	if (call.pid != tgid || (long)context[1] != getppid_number)
		return 0;
	call.number = number++;
	bpf_get_current_comm(call.comm, sizeof(call.comm));
	if (arenaq_push(&calls, &call) == DS_SUCCESS) /* one that finds no room counts itself */
		arenaq_notify(&calls);
	return 0;
}
