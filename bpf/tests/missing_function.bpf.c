// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Calls a function that no kernel has, declared as arenaq.h declares those of arenas: for the test of
 * what is said then.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

int no_such_kernel_function(void) __attribute__((section(".ksyms"))) __attribute__((weak));

SEC("syscall")
int calls_it(void *context)
{
	return no_such_kernel_function();
}
