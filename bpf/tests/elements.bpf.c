// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Queues of elements of many sizes: each byte of an element follows from the element's number, so that whoever
 * takes it out sees whether all of it came.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

/* Whoever makes the queues says how many pages there must be. */
struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16);
} arena SEC(".maps");

#define ARENAQ_NO_ALLOC
#include "arenaq.h"
#include "checks.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Whole words, and not; aligned to 8, 4 and 1. */
struct e8 { __u64 words[1]; };
struct e16 { __u64 words[2]; };
struct e24 { __u64 words[3]; };
struct e304 { __u64 words[38]; };
struct e1024 { __u64 words[128]; };
struct e4096 { __u64 words[512]; };
struct e12 { __u32 words[3]; };
struct e20 { __u32 words[5]; };
struct e13 { __u8 words[13]; };

/* Where a program builds an element that is too large for its stack. Each producer has its own. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct e4096);
} scratch SEC(".maps");

/* The results of pushes, or of pops. */
struct tally {
	__u64 success;
	__u64 nomem;
	__u64 busy;
	__u64 invalid;
	__u64 other;
	__u64 wrong; /* popped elements that were not what was expected */
};

/* The context of the programs. The kernel may end a loop early: `done` says how far it came. */
struct drive {
	__u64 producer;
	__u64 first; /* the number of the first element */
	__u64 count;
	__u64 done;
	__u64 cpu;
	struct tally tallies[3];
};

/* No `switch`: of one LLVM makes a table of offsets into the context, and the verifier wants constant ones. */
static __always_inline void count(struct tally *tally, int status)
{
	tally->success += status == DS_SUCCESS;
	tally->nomem += status == DS_ERROR_NOMEM;
	tally->busy += status == DS_ERROR_BUSY;
	tally->invalid += status == DS_ERROR_INVALID;
	tally->other += status == DS_ERROR_NOT_FOUND || status == DS_ERROR_CORRUPT;
}

/* What stands at a place of an element. The first 4 bytes are the element's number. */
#define WORD(element, number, i)                                                               \
	(sizeof((element)->words[0]) == 1 ? ((number) >> (8 * ((i) & 3))) ^ ((i) & ~3ULL)      \
					  : (number) + (i) * 0x9e3779b97f4a7c15ULL)
#define WORDS(element) (sizeof((element)->words) / sizeof((element)->words[0]))

/* Volatile, or LLVM would make calls of memset and memcmp of them. */
#define FILL(element, number)                                                                  \
	do {                                                                                   \
		for (__u64 __i = 0; __i < WORDS(element); __i++)                               \
			((volatile __typeof__((element)->words[0]) *)(element)->words)[__i] =  \
				WORD(element, number, __i);                                    \
	} while (0)

#define IS(element, number)                                                                            \
	({                                                                                             \
		int __same = 1;                                                                        \
		for (__u64 __i = 0; __i < WORDS(element); __i++)                                       \
			if (((volatile __typeof__((element)->words[0]) *)(element)->words)[__i] !=     \
			    (__typeof__((element)->words[0]))WORD(element, number, __i))               \
				__same = 0;                                                            \
		__same;                                                                                \
	})

#define PUSHES(queue, element)                                                                 \
	do {                                                                                   \
		__u64 number = args->first, times = args->count, done = 0;                     \
											       \
		TIMES(i, times) {                                                              \
			FILL(element, number + i);                                             \
			count(&args->tallies[0], arenaq_push(&queue, element));                \
			done++;                                                                \
		}                                                                              \
		args->done = done;                                                             \
	} while (0)

#define POPS(queue, element)                                                                   \
	do {                                                                                   \
		__u64 number = args->first, times = args->count, done = 0;                     \
											       \
		TIMES(i, times) {                                                              \
			int status = arenaq_pop(&queue, element);                              \
											       \
			count(&args->tallies[0], status);                                      \
			if (status == DS_SUCCESS && !IS(element, number + i))                  \
				args->tallies[0].wrong++;                                      \
			done++;                                                                \
		}                                                                              \
		args->done = done;                                                             \
	} while (0)

#define IN_MAP(type)                                               \
	__u32 key = args->producer;                                \
	type *element = bpf_map_lookup_elem(&scratch, &key);       \
								   \
	if (!element)                                              \
		return 0

#define QUEUES(size)                                                   \
	ARENAQ_MPMC(mpmc_##size, struct e##size, 64);                  \
	ARENAQ_MPSC(mpsc_##size, struct e##size, 64);                  \
								       \
	SEC("syscall")                                                 \
	int mpmc_##size##_from_map(struct drive *args)                 \
	{                                                              \
		IN_MAP(struct e##size);                                \
		PUSHES(mpmc_##size, element);                          \
		return 0;                                              \
	}                                                              \
								       \
	SEC("syscall")                                                 \
	int mpsc_##size##_from_map(struct drive *args)                 \
	{                                                              \
		IN_MAP(struct e##size);                                \
		PUSHES(mpsc_##size, element);                          \
		return 0;                                              \
	}                                                              \
								       \
	SEC("syscall")                                                 \
	int mpmc_##size##_to_map(struct drive *args)                   \
	{                                                              \
		IN_MAP(struct e##size);                                \
		POPS(mpmc_##size, element);                            \
		return 0;                                              \
	}

/* A program's stack has 512 bytes. */
#define ON_STACK(size)                                                 \
	SEC("syscall")                                                 \
	int mpmc_##size##_from_stack(struct drive *args)               \
	{                                                              \
		struct e##size element;                                \
								       \
		PUSHES(mpmc_##size, &element);                         \
		return 0;                                              \
	}                                                              \
								       \
	SEC("syscall")                                                 \
	int mpsc_##size##_from_stack(struct drive *args)               \
	{                                                              \
		struct e##size element;                                \
								       \
		PUSHES(mpsc_##size, &element);                         \
		return 0;                                              \
	}                                                              \
								       \
	SEC("syscall")                                                 \
	int mpmc_##size##_to_stack(struct drive *args)                 \
	{                                                              \
		struct e##size element = {};                           \
								       \
		POPS(mpmc_##size, &element);                           \
		return 0;                                              \
	}

QUEUES(8)
QUEUES(16)
QUEUES(24)
QUEUES(304)
QUEUES(1024)
QUEUES(4096)
QUEUES(12)
QUEUES(20)
QUEUES(13)
ON_STACK(8)
ON_STACK(16)
ON_STACK(24)
ON_STACK(304)
ON_STACK(12)
ON_STACK(20)
ON_STACK(13)

/* Three queues of different types and capacities, all of them filled at the same time. */
ARENAQ_MPSC(small, struct e12, 60);
ARENAQ_MPMC(middle, struct e304, 32);
ARENAQ_MPSC(large, struct e4096, 10);

/* A function of its own, which the verifier follows once: in the loop it would for each state that the loop is in. */
__noinline int push_large(struct e4096 *element, __u64 number)
{
	if (!element)
		return DS_ERROR_INVALID;
	FILL(element, number);
	return arenaq_push(&large, element);
}

SEC("syscall")
int overload(struct drive *args)
{
	__u64 number = args->first, times = args->count, done = 0;
	__u32 key = args->producer;
	struct e4096 *big = bpf_map_lookup_elem(&scratch, &key);
	struct e304 medium;
	struct e12 little;

	if (!big)
		return 0;
	TIMES(i, times) {
		FILL(&little, number + i);
		count(&args->tallies[0], arenaq_push(&small, &little));
		FILL(&medium, number + i);
		count(&args->tallies[1], arenaq_push(&middle, &medium));
		count(&args->tallies[2], push_large(big, number + i));
		done++;
	}
	args->done = done;
	return 0;
}

/* A queue for each CPU. */
ARENAQ_MPSC(per_cpu[8], struct e16, 100);

SEC("syscall")
int push_here(struct drive *args)
{
	__u64 cpu = bpf_get_smp_processor_id() & 7;
	struct e16 element;

	FILL(&element, args->first);
	args->cpu = cpu;
	count(&args->tallies[0], arenaq_push(&per_cpu[cpu], &element));
	return 0;
}

/* What pushes have counted, as the programs see it. */
SEC("syscall")
int dropped(struct drive *args)
{
	args->tallies[0].invalid = mpmc_16.queue.drops.invalid;
	args->tallies[1].invalid = mpsc_16.queue.drops.invalid;
	args->tallies[0].nomem = mpmc_16.queue.drops.full;
	args->tallies[1].nomem = mpsc_16.queue.drops.full;
	return 0;
}

/* One operation and nothing else: what it costs the verifier. */
#define ONE(size)                                                      \
	SEC("syscall")                                                 \
	int one_mpmc_push_##size(struct drive *args)                   \
	{                                                              \
		IN_MAP(struct e##size);                                \
		return arenaq_push(&mpmc_##size, element);             \
	}                                                              \
								       \
	SEC("syscall")                                                 \
	int one_mpmc_pop_##size(struct drive *args)                    \
	{                                                              \
		IN_MAP(struct e##size);                                \
		return arenaq_pop(&mpmc_##size, element);              \
	}                                                              \
								       \
	SEC("syscall")                                                 \
	int one_mpsc_push_##size(struct drive *args)                   \
	{                                                              \
		IN_MAP(struct e##size);                                \
		return arenaq_push(&mpsc_##size, element);             \
	}

ONE(8)
ONE(16)
ONE(24)
ONE(304)
ONE(1024)
ONE(4096)
