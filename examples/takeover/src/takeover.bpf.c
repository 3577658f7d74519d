// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Numbers, one for each run of the program. */
#include "kernel.h" /* or your vmlinux.h */
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* pages: the loader makes them as many as the queues need */
} arena SEC(".maps");

#define ARENAQ_NO_ALLOC
#include "arenaq.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct number {
	__u64 number;
};

ARENAQ_MPMC(numbers, struct number, 64);
ARENAQ_DOORBELL;

__u64 next;

/* Userspace runs it, once for each number. */
SEC("syscall")
int produce(void *context)
{
	struct number number = { next };
	int status = arenaq_push(&numbers, &number);

	if (!status) {
		next++;
		arenaq_notify(&numbers);
	}
	return status;
}
