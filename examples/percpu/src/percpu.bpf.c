// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A queue of system calls for each CPU, and one queue of another type for the processes that end. */
#include "kernel.h" /* or your vmlinux.h */
#include <bpf/bpf_helpers.h>

#define CPUS 8 /* a power of two; CPUs beyond it share */

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* pages: the loader makes them as many as the queues need */
} arena SEC(".maps");

#define ARENAQ_NO_ALLOC
#include "arenaq.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct call {
	__u64 time;
	__u32 cpu, number;
};

struct end {
	__u32 pid, cpu;
	char comm[16];
};

ARENAQ_MPMC(calls[CPUS], struct call, 16384);
ARENAQ_MPSC(ends, struct end, 256);
ARENAQ_DOORBELL;

const volatile __u32 tgid;

static __always_inline int is_traced(void)
{
	return (bpf_get_current_pid_tgid() >> 32) == tgid;
}

SEC("raw_tp/sys_enter")
int on_call(__u64 *context)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct call call = { .time = bpf_ktime_get_ns(), .cpu = cpu, .number = context[1] };

	if (!is_traced())
		return 0;
	if (!arenaq_push(&calls[cpu % CPUS], &call))
		arenaq_notify(&calls[cpu % CPUS]);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int on_exit(void *context)
{
	struct end end = { .pid = bpf_get_current_pid_tgid() >> 32, .cpu = bpf_get_smp_processor_id() };

	if (!is_traced())
		return 0;
	bpf_get_current_comm(end.comm, sizeof(end.comm));
	if (!arenaq_push(&ends, &end))
		arenaq_notify(&ends);
	return 0;
}
