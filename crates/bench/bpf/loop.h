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

PAYLOAD(8)
PAYLOAD(16)
PAYLOAD(32)
PAYLOAD(64)
PAYLOAD(128)
PAYLOAD(256)
PAYLOAD(512)
PAYLOAD(1024)

/*
 * Where an element is built before it is copied: on the stack; or, as that has 512 bytes, in a buffer of the CPU, which is what
 * people take. Nobody else runs these programs on the CPU, so nobody overwrites it.
 */
#define ON_STACK(bytes)                \
	struct payload_##bytes on_stack; \
	struct payload_##bytes *payload = &on_stack

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct payload_1024);
} buffer SEC(".maps");

static __always_inline struct payload_1024 *buffer_of_cpu(void)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&buffer, &key);
}

#define IN_BUFFER(bytes)                                   \
	struct payload_##bytes *payload = buffer_of_cpu(); \
                                                           \
	if (!payload)                                      \
		return 1

/* The mix: 16 sizes from 16 to 1,024 bytes, 166 on average, in the same order for all. Its Rust twin is `Size::MIX`. */
static const __u16 mix[16] = { 16, 32, 64, 16, 128, 64, 16, 256, 32, 512, 64, 16, 256, 32, 128, 1024 };

static __always_inline __u32 size_of_mix(__u64 key)
{
	return mix[key % 16];
}

/*
 * What is done with each size of the mix, and a constant. No switch: the compiler makes a jump table of it, which kernels
 * before 6.19 refuse.
 */
#define BY_SIZE(size, use)        \
	if ((size) <= 16) {       \
		use(16);          \
	} else if ((size) <= 32) { \
		use(32);          \
	} else if ((size) <= 64) { \
		use(64);          \
	} else if ((size) <= 128) { \
		use(128);         \
	} else if ((size) <= 256) { \
		use(256);         \
	} else if ((size) <= 512) { \
		use(512);         \
	} else {                  \
		use(1024);        \
	}

#define FILL_WORDS(words, from, to)                                  \
	_Pragma("unroll") for (int word = (from); word < (to); word++) \
		(words)[word] = key

/*
 * Fills what is as long as one of the mix, in the arena or elsewhere. What is longer writes more: if all sizes were cases, the
 * compiler would keep the addresses of all words, for which the stack is too small.
 */
#define FILL_MIXED(words, bytes)                   \
	do {                                       \
		if ((bytes) > 512)                 \
			FILL_WORDS(words, 64, 128); \
		if ((bytes) > 256)                 \
			FILL_WORDS(words, 32, 64); \
		if ((bytes) > 128)                 \
			FILL_WORDS(words, 16, 32); \
		if ((bytes) > 64)                  \
			FILL_WORDS(words, 8, 16);  \
		if ((bytes) > 32)                  \
			FILL_WORDS(words, 4, 8);   \
		if ((bytes) > 16)                  \
			FILL_WORDS(words, 2, 4);   \
		(words)[1] = key;                  \
		(words)[0] = value;                \
	} while (0)

/* Returns the size, of which the verifier then knows that it is 1,024 at most. */
static __always_inline __u32 fill_mixed(__u64 *words, __u64 key, __u64 value)
{
	__u32 bytes = size_of_mix(key);

	FILL_MIXED(words, bytes);
	asm volatile("" : "+r"(bytes));
	return bytes > 1024 ? 1024 : bytes;
}

#endif /* LOOP_H */
