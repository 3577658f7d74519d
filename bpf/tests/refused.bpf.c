// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Programs that every kernel refuses, each for another reason: for the tests of what is said then.
 * They are loaded one by one.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Through a number that somebody has given it. */
SEC("syscall")
int reads_any_address(__u64 *context)
{
	return *(volatile __u64 *)context[0];
}

SEC("tp_btf/arenaq_no_such_tracepoint")
int attaches_to_what_is_not_there(void *context)
{
	return 0;
}
