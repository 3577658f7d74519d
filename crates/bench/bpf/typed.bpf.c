// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Pushes in a loop to queues with names, of elements of any type, and to records, built in place and in scratch memory. Nothing is
 * attached: userspace runs the programs, one of an object, and makes only that one's queue large.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16); /* pages; userspace sets it before the load */
} arena SEC(".maps");

#define ARENAQ_NO_ALLOC
#include "arenaq.h"
#include "loop.h"

/* Where the next record of the limit is, on a line of its own. */
struct {
	__u64 word __attribute__((aligned(128)));
} __arena place __attribute__((aligned(128)));

#define TYPED(bytes, BUILT)                                                      \
	ARENAQ_MPMC(mpmc_##bytes, struct payload_##bytes, 2);                    \
	ARENAQ_MPSC(mpsc_##bytes, struct payload_##bytes, 2);                    \
                                                                                 \
	static __always_inline _Bool to_mpmc_##bytes(__u64 key, __u64 value)     \
	{                                                                        \
		BUILT(bytes);                                                    \
                                                                                 \
		fill_##bytes(payload, key, value);                               \
		return arenaq_push(&mpmc_##bytes, payload) != DS_SUCCESS;        \
	}                                                                        \
                                                                                 \
	static __always_inline _Bool to_mpsc_##bytes(__u64 key, __u64 value)     \
	{                                                                        \
		BUILT(bytes);                                                    \
                                                                                 \
		fill_##bytes(payload, key, value);                               \
		return arenaq_push(&mpsc_##bytes, payload) != DS_SUCCESS;        \
	}                                                                        \
                                                                                 \
	ARENAQ_RECORDS(records_##bytes, 1 << 16, bytes);                         \
                                                                                 \
	static __always_inline _Bool in_place_##bytes(__u64 key, __u64 value)    \
	{                                                                        \
		__u64 __arena *words = arenaq_reserve(&records_##bytes, bytes);  \
                                                                                 \
		if (!words)                                                      \
			return 1;                                                \
		words[0] = value;                                                \
		FILL_WORDS(words, 1, (bytes) / 8);                               \
		return arenaq_commit(&records_##bytes, words) != DS_SUCCESS;     \
	}                                                                        \
                                                                                 \
	static __always_inline _Bool in_scratch_##bytes(__u64 key, __u64 value)  \
	{                                                                        \
		struct payload_##bytes *payload = arenaq_begin(&records_##bytes); \
                                                                                 \
		if (!payload)                                                    \
			return 1;                                                \
		fill_##bytes(payload, key, value);                               \
		return arenaq_submit(&records_##bytes, payload, bytes) != DS_SUCCESS; \
	}                                                                        \
                                                                                 \
	/* As many words as a record has, one behind the other in the same ring. */                     \
	static __always_inline _Bool write_##bytes(__u64 key, __u64 value)       \
	{                                                                        \
		struct arenaq_lane __arena *lane = records_##bytes.queue.lanes;  \
		__u64 at = __sync_fetch_and_add(&place.word, 2 + (bytes) / 8);   \
		__u64 __arena *words = lane->words + (at & lane->mask);          \
                                                                                 \
		words[0] = words[1] = at;                                        \
		words[2] = value;                                                \
		FILL_WORDS(words, 3, 2 + (bytes) / 8);                           \
		return 0;                                                        \
	}                                                                        \
                                                                                 \
	/* The same, built elsewhere first and copied: volatile, or LLVM would write the words only once. */ \
	static __always_inline _Bool copy_##bytes(__u64 key, __u64 value)        \
	{                                                                        \
		struct arenaq_lane __arena *lane = records_##bytes.queue.lanes;  \
		__u64 at = __sync_fetch_and_add(&place.word, 2 + (bytes) / 8);   \
		__u64 __arena *words = lane->words + (at & lane->mask);          \
		BUILT(bytes);                                                    \
                                                                                 \
		fill_##bytes(payload, key, value);                               \
		words[0] = words[1] = at;                                        \
		_Pragma("unroll") for (int word = 0; word < (bytes) / 8; word++) \
			words[2 + word] = ((volatile __u64 *)payload->words)[word]; \
		return 0;                                                        \
	}                                                                        \
                                                                                 \
	PROGRAM(push_add_and_write_##bytes, write_##bytes(key, value))           \
	PROGRAM(push_add_and_copy_##bytes, copy_##bytes(key, value))             \
	PROGRAM(push_records_##bytes, in_place_##bytes(key, value))              \
	PROGRAM(push_scratch_##bytes, in_scratch_##bytes(key, value))            \
	PROGRAM(push_mpmc_##bytes, to_mpmc_##bytes(key, value))                  \
	PROGRAM(push_mpsc_##bytes, to_mpsc_##bytes(key, value))

TYPED(8, ON_STACK)
TYPED(16, ON_STACK)
TYPED(64, ON_STACK)
TYPED(256, ON_STACK)
TYPED(1024, IN_BUFFER)

/* Records are as long as they are used. */
ARENAQ_RECORDS(records_mixed, 1 << 16, 1024);

static __always_inline _Bool in_place_mixed(__u64 key, __u64 value)
{
	__u32 bytes = size_of_mix(key);
	__u64 __arena *words = arenaq_reserve(&records_mixed, bytes);

	if (!words)
		return 1;
	FILL_MIXED(words, bytes);
	return arenaq_commit(&records_mixed, words) != DS_SUCCESS;
}

static __always_inline _Bool in_scratch_mixed(__u64 key, __u64 value)
{
	__u64 *payload = arenaq_begin(&records_mixed);

	if (!payload)
		return 1;
	return arenaq_submit(&records_mixed, payload, fill_mixed(payload, key, value)) != DS_SUCCESS;
}

PROGRAM(push_records_mixed, in_place_mixed(key, value))
PROGRAM(push_scratch_mixed, in_scratch_mixed(key, value))
