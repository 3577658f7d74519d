// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Pushes in a loop to queues with names, of elements of any type. Nothing is attached: userspace runs the programs, one of
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
	PROGRAM(push_mpmc_##bytes, to_mpmc_##bytes(key, value))                  \
	PROGRAM(push_mpsc_##bytes, to_mpsc_##bytes(key, value))

TYPED(8)
TYPED(16)
TYPED(64)
TYPED(256)
