// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Programs that do as little as they can, one for each thing that a kernel may refuse. They are
 * loaded, one by one, never attached for longer than it takes to see that they can be, and record
 * nothing.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Made only for the programs that allocate. */
struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* page */
} arena SEC(".maps");

#include "arenaq.h"

SEC("syscall")
int probe_syscall(void *ctx)
{
	return 0;
}

SEC("lsm.s/inode_create")
int probe_inode_create(void *ctx)
{
	return 0;
}

SEC("tp_btf/ext4_allocate_inode")
int probe_ext4_create(void *ctx)
{
	return 0;
}

SEC("raw_tp/sys_enter")
int probe_sys_enter(void *ctx)
{
	return 0;
}

SEC("raw_tp/sched_process_exec")
int probe_exec(void *ctx)
{
	return 0;
}

SEC("tp_btf/sched_process_fork")
int probe_fork(void *ctx)
{
	return 0;
}

SEC("uprobe")
int probe_uprobe(void *ctx)
{
	return 0;
}

SEC("uprobe.s")
int probe_uprobe_sleepable(void *ctx)
{
	return 0;
}

/* Pages, in a program that can sleep: Linux 6.9. */
SEC("syscall")
int probe_allocate_sleepable(void *ctx)
{
	return !ARENAQ_ALLOC(1);
}

/* Pages, in a program that cannot: Linux 7.0. */
SEC("raw_tp/sys_enter")
int probe_allocate(void *ctx)
{
	return !ARENAQ_ALLOC(1);
}
