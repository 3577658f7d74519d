// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Pushes in a loop to queues with names, of elements of any type, and to records, built in place and in scratch memory. Nothing is attached: userspace runs the programs, one of
 * an object, and makes only that one's queue large.
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

#define TYPED(bytes)                                                             \
	PAYLOAD(bytes)                                                           \
                                                                                 \
	ARENAQ_MPMC(mpmc_##bytes, struct payload_##bytes, 2);                    \
	ARENAQ_MPSC(mpsc_##bytes, struct payload_##bytes, 2);                    \
                                                                                 \
	static __always_inline _Bool to_mpmc_##bytes(__u64 key, __u64 value)     \
	{                                                                        \
		struct payload_##bytes payload;                                  \
                                                                                 \
		fill_##bytes(&payload, key, value);                              \
		return arenaq_push(&mpmc_##bytes, &payload) != DS_SUCCESS;       \
	}                                                                        \
                                                                                 \
	static __always_inline _Bool to_mpsc_##bytes(__u64 key, __u64 value)     \
	{                                                                        \
		struct payload_##bytes payload;                                  \
                                                                                 \
		fill_##bytes(&payload, key, value);                              \
		return arenaq_push(&mpsc_##bytes, &payload) != DS_SUCCESS;       \
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
		_Pragma("unroll") for (int word = 1; word < (bytes) / 8; word++) \
			words[word] = key;                                       \
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
	PROGRAM(push_records_##bytes, in_place_##bytes(key, value))              \
	PROGRAM(push_scratch_##bytes, in_scratch_##bytes(key, value))            \
	PROGRAM(push_mpmc_##bytes, to_mpmc_##bytes(key, value))                  \
	PROGRAM(push_mpsc_##bytes, to_mpsc_##bytes(key, value))

TYPED(8)
TYPED(16)
TYPED(64)
TYPED(256)
