// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* An arena that has not enough pages for the variables in it: for the test of what is said then. */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#define ARENAQ_NO_ALLOC
#include "arenaq.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* pages */
} arena SEC(".maps");

__u64 __arena two_pages[1024];

SEC("syscall")
int uses_them(void *context)
{
	two_pages[1000] = 1;
	return 0;
}
