// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Pushes in a loop: one program for each way from BPF to userspace, and back. Nothing is attached:
 * userspace runs them. Userspace loads one program at a time, with the maps that it uses,
 * so a kernel that refuses one of them still runs the others.
 */
#include "kernel.h"
#include "peers.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024); /* pages; userspace sets it before the load */
} arena SEC(".maps");

#define ARENAQ_NO_ALLOC
#include "arenaq.h"
#include "loop.h"

struct arenaq_header __arena arenaq_header;
struct ds_vyukhov_head __arena ds_vyukhov;
struct ds_mpsc_head __arena ds_mpsc;
struct arenaq_event_count __arena events;
/* What the limit adds to, on a line of its own. */
struct {
	__u64 word __attribute__((aligned(128)));
} __arena locked __attribute__((aligned(128)));

/* Their sizes are set before the load. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ringbuf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} perf SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(value_size, 16);
	__uint(max_entries, 1);
} queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096);
} user_ringbuf SEC(".maps");

/*
 * A program that can sleep, as `syscall` programs can, is refused the perf buffer. This one cannot,
 * and it cannot write to its context either: it returns how many operations succeeded.
 */
#define RAW_PROGRAM(name, operation)                                              \
	SEC("raw_tp")                                                             \
	int name(struct bpf_raw_tracepoint_args *context)                         \
	{                                                                         \
		__u64 count = context->args[0];                                   \
		__u64 is_paced = context->args[2], is_timed = context->args[3];   \
		__u64 refused = arenaq_zero(), key = arenaq_zero();               \
                                                                                  \
		LOOP(operation)                                                   \
		return key - refused;                                             \
	}

/* ---- Limits ---- */

static __always_inline _Bool nothing(__u64 key, __u64 value)
{
	asm volatile("" ::"r"(key), "r"(value));
	return 0;
}

static __always_inline _Bool add(__u64 value)
{
	/* With a result, as a claim has one. */
	__u64 old = __sync_fetch_and_add(&locked.word, value);

	asm volatile("" ::"r"(old));
	return 0;
}

PROGRAM(empty_loop, nothing(key, value))
PROGRAM(locked_rmw, (nothing(key, value), add(1)))

/* ---- Ours ---- */

PROGRAM(push_mpmc, ds_vyukhov_insert(&ds_vyukhov, key, value))
PROGRAM(push_mpsc, ds_mpsc_insert(&ds_mpsc, key, value))
/* What the two are in a program that defines ARENAQ_UNCOUNTED. */
PROGRAM(push_mpmc_uncounted, arenaq_mpmc_push_uncounted((__u64)&ds_vyukhov, key, value))
PROGRAM(push_mpsc_uncounted, arenaq_mpsc_push_uncounted((__u64)&ds_mpsc, (__u64)&ds_pool, key, value))

/* For a consumer that sleeps: the doorbell is a record in a ring buffer that it polls. */
static __always_inline _Bool refused_or_ring(int status)
{
	__u64 bell = 0;

	if (status != DS_SUCCESS)
		return 1;
	/* A ring that is full has woken the consumer already. */
	if (arenaq_must_notify(&events))
		bpf_ringbuf_output(&ringbuf, &bell, sizeof(bell), BPF_RB_FORCE_WAKEUP);
	return 0;
}

PROGRAM(push_mpmc_notify, refused_or_ring(ds_vyukhov_insert(&ds_vyukhov, key, value)))
PROGRAM(push_mpsc_notify, refused_or_ring(ds_mpsc_insert(&ds_mpsc, key, value)))

/* ---- Peers ---- */

#define RESERVES(bytes)                                                                              \
	static __always_inline _Bool reserve_submit_##bytes(__u64 key, __u64 value, __u64 flags)     \
	{                                                                                            \
		struct payload_##bytes *payload = bpf_ringbuf_reserve(&ringbuf, bytes, 0);           \
                                                                                                     \
		if (!payload)                                                                        \
			return 1;                                                                    \
		fill_##bytes(payload, key, value);                                                   \
		bpf_ringbuf_submit(payload, flags);                                                  \
		return 0;                                                                            \
	}

#define PEERS(bytes, BUILT)                                                                          \
	static __always_inline _Bool output_##bytes(__u64 key, __u64 value, __u64 flags)             \
	{                                                                                            \
		BUILT(bytes);                                                                        \
                                                                                                     \
		fill_##bytes(payload, key, value);                                                   \
		return bpf_ringbuf_output(&ringbuf, payload, bytes, flags) != 0;                     \
	}                                                                                            \
                                                                                                     \
	static __always_inline _Bool perf_event_##bytes(void *context, __u64 key, __u64 value)       \
	{                                                                                            \
		BUILT(bytes);                                                                        \
                                                                                                     \
		fill_##bytes(payload, key, value);                                                   \
		return bpf_perf_event_output(context, &perf, BPF_F_CURRENT_CPU, payload, bytes) != 0; \
	}                                                                                            \
                                                                                                     \
	static __always_inline _Bool push_queue_##bytes(__u64 key, __u64 value)                      \
	{                                                                                            \
		BUILT(bytes);                                                                        \
                                                                                                     \
		fill_##bytes(payload, key, value);                                                   \
		return bpf_map_push_elem(&queue, payload, 0) != 0;                                   \
	}                                                                                            \
                                                                                                     \
	PROGRAM(ringbuf_reserve_##bytes, reserve_submit_##bytes(key, value, flags))                  \
	PROGRAM(ringbuf_output_##bytes, output_##bytes(key, value, flags))                           \
	RAW_PROGRAM(perf_output_##bytes, perf_event_##bytes(context, key, value))                    \
	PROGRAM(queue_map_##bytes, push_queue_##bytes(key, value))

RESERVES(8)
RESERVES(16)
RESERVES(32)
RESERVES(64)
RESERVES(128)
RESERVES(256)
RESERVES(512)
RESERVES(1024)

PEERS(8, ON_STACK)
PEERS(16, ON_STACK)
PEERS(64, ON_STACK)
PEERS(256, ON_STACK)
PEERS(1024, IN_BUFFER)

/* The verifier must know the size that is reserved: a constant for each case. */
static __always_inline _Bool reserve_submit_mixed(__u64 key, __u64 value, __u64 flags)
{
	__u32 bytes = size_of_mix(key);
	_Bool refused = 0;

#define RESERVE(size) refused = reserve_submit_##size(key, value, flags)
	BY_SIZE(bytes, RESERVE)
#undef RESERVE
	return refused;
}

static __always_inline _Bool output_mixed(__u64 key, __u64 value, __u64 flags)
{
	IN_BUFFER(1024);
	return bpf_ringbuf_output(&ringbuf, payload, fill_mixed(payload->words, key, value), flags) != 0;
}

static __always_inline _Bool perf_event_mixed(void *context, __u64 key, __u64 value)
{
	IN_BUFFER(1024);
	return bpf_perf_event_output(context, &perf, BPF_F_CURRENT_CPU, payload, fill_mixed(payload->words, key, value)) != 0;
}

PROGRAM(ringbuf_reserve_mixed, reserve_submit_mixed(key, value, flags))
PROGRAM(ringbuf_output_mixed, output_mixed(key, value, flags))
RAW_PROGRAM(perf_output_mixed, perf_event_mixed(context, key, value))

/* ---- The way back: userspace pushes, these pop ---- */

static __always_inline _Bool pop_ours(void)
{
	struct ds_kv element;

	return ds_vyukhov_pop(&ds_vyukhov, &element) != DS_SUCCESS;
}

static __always_inline _Bool pop_queue(void)
{
	struct payload_16 payload;

	return bpf_map_pop_elem(&queue, &payload) != 0;
}

PROGRAM(pop_mpmc, pop_ours())
PROGRAM(pop_queue_map, pop_queue())

struct drained {
	__u64 samples;
	__u64 sum;
};

static long take(struct bpf_dynptr *sample, void *context)
{
	struct drained *drained = context;
	struct payload_16 payload;

	if (bpf_dynptr_read(&payload, sizeof(payload), sample, 0, 0))
		return 1;
	drained->samples++;
	drained->sum += payload.words[0];
	return 0;
}

/* It has a loop of its own, in the kernel, and calls for each sample. */
SEC("syscall")
int drain_user_ringbuf(struct run *run)
{
	struct drained drained = {};
	__u64 start = bpf_ktime_get_ns();

	bpf_user_ringbuf_drain(&user_ringbuf, take, &drained, run->flags);
	run->ns = bpf_ktime_get_ns() - start;
	run->done = drained.samples;
	run->refused = run->count - drained.samples;
	return 0;
}

/* ---- Where our control blocks are ---- */

struct places {
	__u64 header;
	__u64 mpmc;
	__u64 mpsc;
	__u64 pool;
	__u64 events;
};

SEC("syscall")
int locate(struct places *places)
{
	places->header = (__u64)&arenaq_header;
	places->mpmc = (__u64)&ds_vyukhov;
	places->mpsc = (__u64)&ds_mpsc;
	places->pool = (__u64)&ds_pool;
	places->events = (__u64)&events;
	return 0;
}
