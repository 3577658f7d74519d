/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What all programs here have in common: the loop around an operation, and the elements.
 */
#ifndef LOOP_H
#define LOOP_H

/* A run of a program; its Rust twin is in src/kernel/object.rs. */
struct run {
	__u64 count;	 /* how many operations */
	__u64 flags;	 /* for ring buffers: whether to wake the consumer */
	__u64 is_paced;	 /* ends at the first refusal */
	__u64 is_timed;	 /* elements carry the time */
	__u64 done;	 /* how many succeeded */
	__u64 refused;	 /* how many did not */
	__u64 ns;	 /* how long the loop took */
};

/*
 * The loop around an operation, which is an expression that is true if it was refused. The loop is
 * the same for all, so that `empty_loop` is what it costs. `key` is the number of the pass.
 */
#define LOOP(operation)                                                  \
	for (; key < count && arenaq_can_loop(); key++) {                \
		__u64 value = is_timed ? bpf_ktime_get_ns() : key;       \
                                                                         \
		(void)value;                                             \
		if (operation) {                                         \
			refused++;                                       \
			if (is_paced) {                                  \
				key++;                                   \
				break;                                   \
			}                                                \
		}                                                        \
	}

#define PROGRAM(name, operation)                                         \
	SEC("syscall")                                                   \
	int name(struct run *run)                                        \
	{                                                                \
		__u64 count = run->count, flags = run->flags;            \
		__u64 is_paced = run->is_paced, is_timed = run->is_timed; \
		__u64 refused = arenaq_zero(), key = arenaq_zero();      \
		__u64 start = bpf_ktime_get_ns();                        \
                                                                         \
		(void)flags;                                             \
		LOOP(operation)                                          \
		run->ns = bpf_ktime_get_ns() - start;                    \
		run->done = key - refused;                               \
		run->refused = refused;                                  \
		return 0;                                                \
	}

/* An element of `bytes` bytes: the time, and the number of the pass in all other words. */
#define PAYLOAD(bytes)                                                                               \
	struct payload_##bytes {                                                                     \
		__u64 words[(bytes) / 8];                                                            \
	};                                                                                           \
                                                                                                     \
	static __always_inline void fill_##bytes(struct payload_##bytes *payload, __u64 key, __u64 value) \
	{                                                                                            \
		payload->words[0] = value;                                                           \
		_Pragma("unroll") for (int word = 1; word < (bytes) / 8; word++)                     \
			payload->words[word] = key;                                                  \
	}

#endif /* LOOP_H */
