// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Records of all sizes, built in scratch memory and in place: what harness/tests/records.rs drains.
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

struct small {
	__u64 number;
	char text[];
};

ARENAQ_RECORDS(log, 1 << 17, 4096);
ARENAQ_RECORDS(small, 1 << 12, 64, struct small);
ARENAQ_DOORBELL;

/* What is pushed, and what became of it. */
struct push {
	__u64 first;
	__u64 count;
	__u64 size; /* 0: each another one */
	__u64 pushed;
	__u64 nomem;
	__u64 busy;
	__u64 other;
};

/* The word of that index in the record of that number; harness/tests/records.rs computes the same. */
static __always_inline __u64 word_of(__u64 number, __u64 index)
{
	return number + index * 0x9e3779b97f4a7c15ULL;
}

static __always_inline __u64 size_of(__u64 number, __u64 size)
{
	return size ? size : number * 2654435761ULL % 4097;
}

static __always_inline void count(struct push *args, int status)
{
	if (status == DS_SUCCESS)
		args->pushed++;
	else if (status == DS_ERROR_NOMEM)
		args->nomem++;
	else if (status == DS_ERROR_BUSY)
		args->busy++;
	else
		args->other++;
}

/* Built in scratch memory and copied. */
SEC("syscall")
int submit(struct push *args)
{
	TIMES(i, args->count) {
		__u64 number = args->first + i, size = size_of(number, args->size);
		__u64 *e = arenaq_begin(&log);

		if (!e) {
			args->busy++;
			continue;
		}
		TIMES(at, (size + 7) / 8) {
			__u64 place = at;

			/* The verifier wants the comparison of the register that is added. */
			asm volatile("" : "+r"(place));
			if (place >= 512)
				break;
			e[place] = word_of(number, at);
		}
		count(args, arenaq_submit_at(&log, e, size, number));
	}
	return 0;
}

/* Built in place. */
SEC("syscall")
int commit(struct push *args)
{
	TIMES(i, args->count) {
		__u64 number = args->first + i, size = size_of(number, args->size);
		__u64 __arena *p = arenaq_reserve(&log, size);

		if (!p) {
			args->nomem++;
			continue;
		}
		TIMES(at, (size + 7) / 8)
			p[at] = word_of(number, at);
		count(args, arenaq_commit_at(&log, p, number));
	}
	return 0;
}

static __always_inline int early_return(__u64 number)
{
	ARENAQ_SCOPED(struct small, e, &small);

	if (!e)
		return DS_ERROR_BUSY;
	e->number = number;
	if (number % 2)
		return DS_ERROR_INVALID;
	return arenaq_submit(&small, e, sizeof(*e));
}

SEC("syscall")
int checks(struct result *result)
{
	struct small __arena *p;
	struct small *e;
	__u64 i;

	result->line = 0;
	/* All lanes of the processor: only this program runs here. */
	EXPECT(64, small.queue.lanes->largest);
	for (i = 0; i < 20; i++) {
		e = arenaq_begin(&small);
		EXPECT(1, !!e);
		e->number = i;
		arenaq_discard(&small, e);
		EXPECT(1, !e);
		p = arenaq_reserve(&small, sizeof(*p));
		EXPECT(1, !!p);
		p->number = i;
		arenaq_discard(&small, p);
		EXPECT(1, !p);
		EXPECT(i % 2 ? DS_ERROR_INVALID : DS_SUCCESS, early_return(i));
	}
	/* Larger than the largest, either way. */
	e = arenaq_begin(&small);
	EXPECT(1, !!e);
	EXPECT(DS_ERROR_INVALID, arenaq_submit(&small, e, 65));
	p = arenaq_reserve(&small, 65);
	EXPECT(1, !p);
	EXPECT(2, small.queue.drops.invalid);
	return 0;
}

/* Takes as many lanes as there are, one inside the other. */
SEC("syscall")
int nest(struct result *result)
{
	struct small __arena *p;
	struct small __arena *q;
	struct small *e, *f, *g;

	result->line = 0;
	e = arenaq_begin(&small);
	EXPECT(1, !!e);
	f = arenaq_begin(&small);
	EXPECT(1, !!f);
	p = arenaq_reserve(&small, 8);
	EXPECT(1, !!p);
	q = arenaq_reserve(&small, 8);
	EXPECT(1, !!q);
	g = arenaq_begin(&small);
	EXPECT(1, !g);
	EXPECT(1, small.queue.drops.contended);
	e->number = 1;
	f->number = 2;
	p->number = 3;
	q->number = 4;
	EXPECT(DS_SUCCESS, arenaq_submit(&small, e, 8));
	EXPECT(DS_SUCCESS, arenaq_submit(&small, f, 8));
	EXPECT(DS_SUCCESS, arenaq_commit(&small, q));
	EXPECT(DS_SUCCESS, arenaq_commit(&small, p));
	return 0;
}

/* Strings of userspace, one behind the other; what does not fit is cut. */
struct strings {
	__u64 from; /* an address */
	__u64 times;
	__u64 size;
};

SEC("syscall")
int strings(struct strings *args)
{
	struct small *e = arenaq_begin(&small);
	__u64 size = sizeof(*e);

	if (!e)
		return 0;
	e->number = args->times;
	TIMES(i, args->times)
		size = arenaq_append_str(&small, e, size, bpf_probe_read_user_str, (void *)args->from);
	args->size = size;
	arenaq_submit(&small, e, size);
	arenaq_notify(&small);
	return 0;
}

/* What one record costs the verifier: built in scratch memory with a string, and in place. */
SEC("raw_tp/sys_enter")
int one_submit(void *context)
{
	struct small *e = arenaq_begin(&small);
	__u64 size;

	if (!e)
		return 0;
	e->number = bpf_ktime_get_ns();
	size = arenaq_append_str(&small, e, sizeof(*e), bpf_probe_read_kernel_str, context);
	arenaq_submit(&small, e, size);
	return 0;
}

SEC("raw_tp/sys_enter")
int one_large_submit(void *context)
{
	__u64 *e = arenaq_begin(&log);
	__u64 size;

	if (!e)
		return 0;
	*e = bpf_ktime_get_ns();
	size = arenaq_append_str(&log, e, sizeof(*e), bpf_probe_read_kernel_str, context);
	arenaq_submit(&log, e, size);
	return 0;
}

SEC("raw_tp/sys_enter")
int one_commit(void *context)
{
	__u64 __arena *p = arenaq_reserve(&log, 64);

	if (!p)
		return 0;
	p[0] = bpf_ktime_get_ns();
	p[7] = 0;
	arenaq_commit(&log, p);
	return 0;
}

/*
 * ---- Interrupted and stopped producers: harness/tests/nested.rs ----
 *
 * A producer calls itself by a number. Its records are numbered, and begin with both, so that whoever drains knows which of whose
 * is missing or has other bytes than were written.
 */
struct owned {
	__u64 producer;
	__u64 number;
	__u64 words[];
};

#define MOST_WORDS 30

ARENAQ_RECORDS(nested, 1 << 18, 256, struct owned);

/* One CPU's records and the program on_clock, which interrupts them. */
struct interrupts {
	__u64 task;	   /* the task that is in the middle of a record, or 0 */
	__u64 has_lane;	   /* it has a lane: nothing but a record of another lane may come in between */
	__u64 interrupted; /* how often on_clock has met it there */
	__u64 has_had_lane;
	__u64 number; /* of the records of on_clock */
	struct push account;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct interrupts);
} interrupts SEC(".maps");

/* The producer of what on_clock pushes, with the number of the CPU. */
#define CLOCK (1ULL << 63)

static __always_inline struct interrupts *interrupts_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&interrupts, &zero);
}

static __always_inline void fill(struct owned *e, __u64 producer, __u64 number, __u64 words)
{
	e->producer = producer;
	e->number = number;
	TIMES(at, words) {
		__u64 place = at;

		asm volatile("" : "+r"(place));
		if (place >= MOST_WORDS)
			break;
		e->words[place] = word_of(producer + number, at);
	}
}

/* One record, in scratch memory or in place. */
static __always_inline int push_owned(__u64 producer, __u64 number, struct interrupts *here)
{
	__u64 words = number % (MOST_WORDS + 1), size = sizeof(struct owned) + 8 * words;
	int status;

	if (number & 1) {
		struct owned *e = arenaq_begin(&nested);

		if (!e)
			return DS_ERROR_BUSY;
		if (here)
			*(volatile __u64 *)&here->has_lane = 1;
		fill(e, producer, number, words);
		if (here)
			*(volatile __u64 *)&here->has_lane = 0;
		return arenaq_submit_at(&nested, e, size, number);
	}
	struct owned __arena *p = arenaq_reserve(&nested, size);

	if (!p)
		return DS_ERROR_NOMEM; /* or busy: the drops say which */
	if (here)
		*(volatile __u64 *)&here->has_lane = 1;
	p->producer = producer;
	p->number = number;
	TIMES(at, words)
		p->words[at] = word_of(producer + number, at);
	if (here)
		*(volatile __u64 *)&here->has_lane = 0;
	status = arenaq_commit_at(&nested, p, number);
	return status;
}

/* `first` is the producer, `size` the number of its first record. */
SEC("syscall")
int interrupted(struct push *args)
{
	__u64 task = bpf_get_current_pid_tgid();
	struct interrupts *here = interrupts_here();

	if (!here)
		return 0;
	TIMES(i, args->count) {
		/* If another task's program takes the place, on_clock misses a record of this one, and no more. */
		*(volatile __u64 *)&here->task = task;
		count(args, push_owned(args->first, args->size + i, here));
		*(volatile __u64 *)&here->task = 0;
	}
	return 0;
}

/* A clock's interrupt, or an NMI, in the middle of whatever the CPU does. It pushes only into records of the interrupted task. */
SEC("perf_event")
int on_clock(void *context)
{
	struct interrupts *here = interrupts_here();
	__u64 task = bpf_get_current_pid_tgid();

	(void)context;
	if (!here || !task || *(volatile __u64 *)&here->task != task)
		return 0;
	here->interrupted++;
	here->has_had_lane += *(volatile __u64 *)&here->has_lane;
	here->account.count++;
	count(&here->account, push_owned(CLOCK | bpf_get_smp_processor_id(), here->number++, 0));
	return 0;
}

/* Stops between begin and submit, or reserve and commit, until userspace gives the memory that it wants to read. */
struct stop {
	__u64 producer;
	__u64 from; /* an address */
	__u64 in_place;
	__s64 status;
	__u64 processor;
};

SEC("syscall")
int stopped(struct stop *args)
{
	__u64 word = 0;

	args->processor = bpf_get_smp_processor_id();
	if (args->in_place) {
		struct owned __arena *p = arenaq_reserve(&nested, sizeof(*p) + 8);

		args->status = DS_ERROR_BUSY;
		if (!p)
			return 0;
		p->producer = args->producer;
		p->number = 1;
		bpf_copy_from_user(&word, sizeof(word), (void *)args->from);
		p->words[0] = word;
		args->status = arenaq_commit_at(&nested, p, 1);
		return 0;
	}
	struct owned *e = arenaq_begin(&nested);

	args->status = DS_ERROR_BUSY;
	if (!e)
		return 0;
	e->producer = args->producer;
	e->number = 1;
	bpf_copy_from_user(e->words, sizeof(word), (void *)args->from);
	args->status = arenaq_submit_at(&nested, e, sizeof(*e) + 8, 1);
	return 0;
}
