// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Records of uprobes, whose programs the kernel may take the processor from at any instruction: what
 * harness/tests/preempted.rs drains.
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

#define WORDS 30

struct owned {
	__u64 producer;
	__u64 number;
	__u64 words[WORDS];
};

ARENAQ_RECORDS(owned, 1 << 18, sizeof(struct owned), struct owned);

/* One of the two tasks that push, by the number that it gives itself. */
struct producer {
	__u64 count;
	__u64 pushed;
	__u64 nomem;
	__u64 busy;
	__u64 other;
	__u64 inside; /* how often it came while the other one was in the middle of a record */
};

struct shared {
	__u64 owner; /* who is in the middle of a record, or 0: both run on one processor */
	struct producer producers[2];
	__u64 from; /* an address in the memory of the first, or 0 */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct shared);
} shared SEC(".maps");

/* Where a uprobe has its function's first argument. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs { unsigned long unused[14], di; };
#define FIRST di
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs { unsigned long x0; };
#define FIRST x0
#endif

/*
 * From 6.13 on Linux gives a uprobe's program, if it needs 64 bytes of stack or more, a stack for each
 * CPU, which two tasks would share here. A program with a tail call keeps an ordinary one. This call
 * is never reached, and the verifier drops it.
 */
const volatile __u64 never;

static __always_inline int push(struct pt_regs *regs, int sleeps)
{
	__u64 me = regs->FIRST & 1, number, before;
	__u32 zero = 0;
	struct shared *here = bpf_map_lookup_elem(&shared, &zero);
	struct producer *producer;
	struct owned *e;
	int status;

	if (never)
		bpf_tail_call(regs, 0, 0);
	if (!here)
		return 0;
	producer = &here->producers[me];
	number = producer->count++;
	before = *(volatile __u64 *)&here->owner;
	if (before && before != me + 1)
		producer->inside++;
	e = arenaq_begin(&owned);
	if (!e) {
		producer->busy++;
		return 0;
	}
	*(volatile __u64 *)&here->owner = me + 1;
	e->producer = me;
	e->number = number;
	/* Each word several times, so that most of the time passes in here. */
	TIMES(at, 40 * WORDS) {
		__u64 place = at % WORDS;

		asm volatile("" : "+r"(place));
		if (place >= WORDS)
			break;
		e->words[place] = number + place * 0x9e3779b97f4a7c15ULL;
	}
	if (sleeps && !me && here->from)
		bpf_copy_from_user(&e->words[0], sizeof(e->words[0]), (void *)here->from);
	*(volatile __u64 *)&here->owner = before;
	status = arenaq_submit_at(&owned, e, sizeof(*e), number);
	if (status == DS_SUCCESS)
		producer->pushed++;
	else if (status == DS_ERROR_NOMEM)
		producer->nomem++;
	else
		producer->other++;
	return 0;
}

SEC("uprobe")
int on_call(struct pt_regs *regs)
{
	return push(regs, 0);
}

SEC("uprobe.s")
int on_call_sleepable(struct pt_regs *regs)
{
	return push(regs, 1);
}
