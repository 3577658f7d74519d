/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * arenaq: lock-free queues in a BPF arena, for BPF programs in C.
 *
 * No algorithm is in this header: the functions are Rust, compiled to BPF and linked to your
 * program by arenaq-bpf-build. What is here are the layouts that both sides share, and the names by
 * which the seed documents call the operations.
 *
 * Before this header your program includes <vmlinux.h>, or <linux/bpf.h>, and <bpf/bpf_helpers.h>.
 * Your program defines the arena, called `arena`:
 *
 *	struct {
 *		__uint(type, BPF_MAP_TYPE_ARENA);
 *		__uint(map_flags, BPF_F_MMAPABLE);
 *		__uint(max_entries, 1024);		// pages
 *	} arena SEC(".maps");
 *
 * An `__arena` pointer is an address as userspace sees it; the compiler casts it before each
 * access. Functions return a DS_* code.
 *
 * The verifier must know which arena a program means: it has to refer to the map. It does if it
 * names a variable in the arena, such as the head of a queue. If it has nothing but an address from
 * elsewhere, write ARENAQ_USES(arena).
 *
 * In userspace the header has the same layouts, for C from C11 and C++ from C++11 on, and the same names for the queues:
 * see arenaq_user.h, which it includes. The functions there are those of libarenaq.
 */
#ifndef ARENAQ_H
#define ARENAQ_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#ifdef __cplusplus
#define ARENAQ_BOOL bool
#define ARENAQ_STATIC_ASSERT static_assert
extern "C" {
#else
#define ARENAQ_BOOL _Bool
#define ARENAQ_STATIC_ASSERT _Static_assert
#endif

/* Only BPF has the kernel's addresses beside those of userspace. */
#ifndef __arena
#ifdef __bpf__
#define __arena __attribute__((address_space(1)))
#else
#define __arena
#endif
#endif

/* Refers to a map of the kind BPF_MAP_TYPE_ARENA, and does nothing. */
#define ARENAQ_USES(map) asm volatile("" ::"r"(&(map)))

/*
 * The compiler casts arena pointers by itself; programs written for compilers that do not may say
 * so all the same.
 */
#ifndef cast_kern
#define cast_kern(ptr) ((void)(ptr))
#define cast_user(ptr) ((void)(ptr))
#endif

#define DS_SUCCESS 0
#define DS_ERROR_NOT_FOUND -1 /* empty, or no such key */
#define DS_ERROR_EXISTS -2
#define DS_ERROR_NOMEM -3   /* full, or no node or page is left */
#define DS_ERROR_INVALID -4 /* a null or wrong argument, or never initialised */
#define DS_ERROR_CORRUPT -5
#define DS_ERROR_BUSY -6 /* try again: the retries are spent, or a producer has not linked its node yet */

#define DS_VYUKHOV_MIN_CAPACITY 2ULL
#define DS_VYUKHOV_MAX_CAPACITY (1ULL << 31)

/* An element. */
struct ds_kv {
	__u64 key;
	__u64 value;
};

/* The bounded MPMC queue. */

struct ds_vyukhov_cell {
	__u64 sequence;
	struct ds_kv data;
};

struct ds_vyukhov_head {
	__u64 enqueue_pos __attribute__((aligned(64)));
	__u64 dequeue_pos __attribute__((aligned(64)));
	__u64 buffer_mask __attribute__((aligned(64)));
	struct ds_vyukhov_cell __arena *buffer;
	__u64 count; /* approximate, and below zero for a moment: read it with ds_vyukhov_count() */
};

/* The unbounded MPSC queue. */

struct ds_mpsc_node {
	struct ds_mpsc_node __arena *next;
	__u64 key;
	__u64 value;
};

struct ds_mpsc_head {
	struct ds_mpsc_node __arena *head; /* the back, where producers add */
	struct ds_mpsc_node __arena *tail; /* the front: the consumer's */
	__u64 count;			   /* approximate, as above */
};

#define DS_POOL_MAGAZINES 8

/* The node that a processor hands out next, or 0. */
struct ds_magazine {
	__u64 next __attribute__((aligned(64)));
};

/* The free nodes of MPSC queues. */
struct ds_pool {
	__u64 top __attribute__((aligned(64))); /* tag << 32 | number of the first free block, 0 for none */
	__u64 created __attribute__((aligned(64)));
	__u64 limit;
	struct ds_mpsc_node __arena *nodes;
	__u64 __arena *links;
	__u64 block_shift; /* a block has 1 << block_shift nodes */
	struct ds_magazine magazines[DS_POOL_MAGAZINES];
};

/* On which consumers say that they sleep. All zero: nobody does. */
struct arenaq_event_count {
	__u64 state __attribute__((aligned(64))); /* epoch << 32 | number of sleepers */
};

/* How many elements of a queue were dropped, by the reason. */
struct arenaq_drops {
	__u64 full __attribute__((aligned(64))); /* full, or no node left */
	__u64 contended;			 /* the retries were spent */
	__u64 invalid;				 /* not initialised */
	__u64 corrupt;				 /* damaged */
};

/* What a queue of elements of any type is made of, but for its cells or nodes; see ARENAQ_MPMC and ARENAQ_MPSC. */
struct arenaq_mpmc {
	struct ds_vyukhov_head head;
	struct arenaq_drops drops;
	struct arenaq_event_count events; /* on which its consumers sleep */
};

struct arenaq_mpsc {
	struct ds_pool pool;
	struct ds_mpsc_head head __attribute__((aligned(64)));
	struct arenaq_drops drops;
	struct arenaq_event_count events;
};

/*
 * A lane of records: a ring of words that one producer owns at a time, and the consumer's line. `consumer` is that of the whole
 * shard, in its first lane.
 */
struct arenaq_lane {
	__u64 owner __attribute__((aligned(64)));
	__u64 published; /* in words, since the beginning; so is the next one, and `consumed` */
	__u64 seen;
	__u64 reserved;
	__u64 __arena *words; /* where its ring is: `mask` + 1 of them */
	__u64 mask;
	__u64 largest; /* bytes */
	__u64 number;
	__u64 consumed __attribute__((aligned(64)));
	__u64 consumer;
};

/* Where records are, and how large: see ARENAQ_RECORDS. */
struct arenaq_records {
	struct arenaq_lane __arena *lanes __attribute__((aligned(64)));
	__u64 __arena *words;
	__u64 shards;
	__u64 shard_words;
	__u64 largest; /* bytes */
	struct arenaq_drops drops;
	struct arenaq_event_count events;
};

/* What userspace checks before it uses the queues of an arena. */
struct arenaq_header {
	__u64 magic;
	__u64 version;
	__u64 layout_hash;
	__u64 base;
	__u64 length;
	__u64 event_count;
	__u64 directory; /* of so many queues */
	__u64 queues;
};

/* One queue of the directory. */
struct arenaq_entry {
	char name[48] __attribute__((aligned(64)));
	__u64 kind; /* 1 MPMC, 2 MPSC, 3 records */
	__u64 element_size;
	__u64 element_hash;
	__u64 counted;
	__u64 head;
	__u64 pool;
	__u64 drops;
	__u64 consumer;
	__u64 slots;
	__u64 events;
};

/* What a consumer of an MPMC queue is about to claim. */
struct arenaq_slot {
	__u64 owner __attribute__((aligned(64)));
	__u64 first;
	__u64 length;
};

/* The consumers of an MPMC queue. */
struct arenaq_slots {
	__u64 recoverer __attribute__((aligned(64)));
	struct arenaq_slot slots[16];
};

ARENAQ_STATIC_ASSERT(sizeof(struct ds_kv) == 16, "ds_kv");
ARENAQ_STATIC_ASSERT(sizeof(struct ds_vyukhov_cell) == 24, "ds_vyukhov_cell");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct ds_vyukhov_head, enqueue_pos) == 0x00, "enqueue_pos");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct ds_vyukhov_head, dequeue_pos) == 0x40, "dequeue_pos");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct ds_vyukhov_head, buffer_mask) == 0x80, "buffer_mask");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct ds_vyukhov_head, buffer) == 0x88, "buffer");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct ds_vyukhov_head, count) == 0x90, "count");
ARENAQ_STATIC_ASSERT(sizeof(struct ds_vyukhov_head) == 192, "ds_vyukhov_head");
ARENAQ_STATIC_ASSERT(sizeof(struct ds_mpsc_node) == 24, "ds_mpsc_node");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct ds_mpsc_head, tail) == 8, "tail");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct ds_mpsc_head, count) == 16, "count");
ARENAQ_STATIC_ASSERT(sizeof(struct ds_mpsc_head) == 24, "ds_mpsc_head");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct ds_pool, created) == 0x40, "created");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct ds_pool, limit) == 0x48, "limit");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct ds_pool, nodes) == 0x50, "nodes");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct ds_pool, links) == 0x58, "links");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct ds_pool, block_shift) == 0x60, "block_shift");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct ds_pool, magazines) == 0x80, "magazines");
ARENAQ_STATIC_ASSERT(sizeof(struct ds_pool) == 640, "ds_pool");
ARENAQ_STATIC_ASSERT(sizeof(struct arenaq_event_count) == 64, "arenaq_event_count");
ARENAQ_STATIC_ASSERT(sizeof(struct arenaq_drops) == 64, "arenaq_drops");
ARENAQ_STATIC_ASSERT(sizeof(struct arenaq_mpmc) == 320, "arenaq_mpmc");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct arenaq_mpmc, drops) == 0xc0, "drops");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct arenaq_mpmc, events) == 0x100, "events");
ARENAQ_STATIC_ASSERT(sizeof(struct arenaq_mpsc) == 832, "arenaq_mpsc");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct arenaq_mpsc, head) == 0x280, "head");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct arenaq_mpsc, drops) == 0x2c0, "drops");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct arenaq_mpsc, events) == 0x300, "events");
ARENAQ_STATIC_ASSERT(sizeof(struct arenaq_lane) == 128, "arenaq_lane");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct arenaq_lane, number) == 0x38, "number");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct arenaq_lane, consumed) == 0x40, "consumed");
ARENAQ_STATIC_ASSERT(sizeof(struct arenaq_records) == 192, "arenaq_records");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct arenaq_records, largest) == 0x20, "largest");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct arenaq_records, drops) == 0x40, "drops");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct arenaq_records, events) == 0x80, "events");
ARENAQ_STATIC_ASSERT(sizeof(struct arenaq_header) == 64, "arenaq_header");
ARENAQ_STATIC_ASSERT(sizeof(struct arenaq_entry) == 128, "arenaq_entry");
ARENAQ_STATIC_ASSERT(sizeof(struct arenaq_slot) == 64, "arenaq_slot");
ARENAQ_STATIC_ASSERT(__builtin_offsetof(struct arenaq_slot, length) == 16, "length");
ARENAQ_STATIC_ASSERT(sizeof(struct arenaq_slots) == 1088, "arenaq_slots");

/* The nodes that ds_mpsc_init() makes if ds_pool_init() was not called before. */
#ifndef DS_POOL_NODES
#define DS_POOL_NODES 4096ULL
#endif

/* By how many nodes ds_mpsc_insert_growing() grows the pool: 3 pages of nodes, and 1 of links. */
#ifndef DS_POOL_STEP
#define DS_POOL_STEP 512ULL
#endif

/* Numbers of new nodes, and where their memory has to be. */
struct arenaq_reservation {
	__u64 first;
	__u64 count;
	__u64 nodes;
	__u64 nodes_end;
	__u64 links;
	__u64 links_end;
};

/* The pool of all MPSC queues of the object. */
extern struct ds_pool __arena ds_pool;

/* The Rust functions behind the names below. Addresses are numbers, as userspace sees them. */
int arenaq_mpmc_check_capacity(__u64 capacity);
int arenaq_mpmc_init(__u64 head, __u64 buffer, __u64 capacity);
int arenaq_mpmc_push(__u64 head, __u64 key, __u64 value);
int arenaq_mpmc_push_uncounted(__u64 head, __u64 key, __u64 value);
int arenaq_mpmc_pop(__u64 head, struct ds_kv *out);
int arenaq_mpmc_pop_uncounted(__u64 head, struct ds_kv *out);
int arenaq_mpmc_search(__u64 head, __u64 key);
int arenaq_mpmc_push_element(__u64 queue, const void *element, __u64 size, __u64 align);
int arenaq_mpmc_pop_element(__u64 queue, void *element, __u64 size, __u64 align);
int arenaq_mpsc_push_element(__u64 queue, const void *element, __u64 size, __u64 align);
__u64 arenaq_records_claim(__u64 queue);
__u64 arenaq_records_lane(__u64 lane);
struct arenaq_scratch;
int arenaq_records_submit(const struct arenaq_scratch *of, __u64 size, __u64 most, __u64 stamp);
int arenaq_records_submit_known(const struct arenaq_scratch *of, __u64 size, __u64 stamp);
void arenaq_records_give_up(__u64 lane);
__u64 arenaq_records_reserve(__u64 queue, __u64 size);
int arenaq_records_commit(__u64 queue, __u64 address, __u64 stamp);
void arenaq_records_discard(__u64 address);
int arenaq_mpmc_verify(__u64 head);
int arenaq_pool_init(__u64 pool, __u64 nodes, __u64 links, __u64 limit);
int arenaq_pool_grow(__u64 pool, __u64 count);
int arenaq_pool_reserve(__u64 pool, __u64 count, struct arenaq_reservation *out);
int arenaq_pool_link(__u64 pool, const struct arenaq_reservation *reserved);
int arenaq_pool_cancel(__u64 pool, const struct arenaq_reservation *reserved);
int arenaq_pool_is_initialised(__u64 pool);
int arenaq_mpsc_init(__u64 head, __u64 pool);
int arenaq_mpsc_push(__u64 head, __u64 pool, __u64 key, __u64 value);
int arenaq_mpsc_push_uncounted(__u64 head, __u64 pool, __u64 key, __u64 value);
int arenaq_mpsc_pop(__u64 head, struct ds_kv *out);
int arenaq_mpsc_search(__u64 head, __u64 pool, __u64 key);
int arenaq_mpsc_verify(__u64 head, __u64 pool);
int arenaq_event_count_must_notify(__u64 events);

/*
 * The kernel's bpf_arena_alloc_pages(): the address of the new pages, or 0. `address` is where they have to be, or 0.
 */
__u64 arenaq_alloc_pages(void *map, __u64 address, __u32 count);

/* Whether the kernel lets a loop make one more pass, and a zero that the verifier cannot see. */
ARENAQ_BOOL arenaq_can_loop(void);
__u64 arenaq_zero(void);

/*
 * The counter of a queue is one more locked instruction in each operation, on a line that all sides
 * share. Define ARENAQ_UNCOUNTED before the include, in all programs that use the arena, if
 * userspace has made its queues `Uncounted`.
 */
#ifdef ARENAQ_UNCOUNTED
#define ARENAQ_COUNT_POLICY(function) function##_uncounted
#else
#define ARENAQ_COUNT_POLICY(function) function
#endif

/* ---- Operations: from any BPF program ---- */

/*
 * Enqueues. NOMEM if the queue is full, BUSY if the retries are spent, INVALID if it was never
 * initialised.
 */
static inline __attribute__((always_inline)) int
ds_vyukhov_insert(struct ds_vyukhov_head __arena *head, __u64 key, __u64 value)
{
	return ARENAQ_COUNT_POLICY(arenaq_mpmc_push)((__u64)head, key, value);
}

/*
 * Dequeues into `output`, which is on the stack. NOT_FOUND if the queue is empty, BUSY if the
 * retries are spent.
 */
static inline __attribute__((always_inline)) int
ds_vyukhov_pop(struct ds_vyukhov_head __arena *head, struct ds_kv *output)
{
	return ARENAQ_COUNT_POLICY(arenaq_mpmc_pop)((__u64)head, output);
}

/* The other name of ds_vyukhov_pop(). */
static inline __attribute__((always_inline)) int
ds_vyukhov_delete(struct ds_vyukhov_head __arena *head, struct ds_kv *output)
{
	return ds_vyukhov_pop(head, output);
}

/*
 * SUCCESS if an element has this key, NOT_FOUND if none has. INVALID if the queue was never
 * initialised, CORRUPT if its positions cannot be, BUSY if the kernel ended the loop before the end.
 * No pop may run at the same time.
 */
static inline __attribute__((always_inline)) int
ds_vyukhov_search(struct ds_vyukhov_head __arena *head, __u64 key)
{
	return arenaq_mpmc_search((__u64)head, key);
}

/*
 * CORRUPT if the structure cannot be right at any moment, also while other operations run. BUSY if
 * the kernel ended the loop before the end.
 */
static inline __attribute__((always_inline)) int ds_vyukhov_verify(struct ds_vyukhov_head __arena *head)
{
	return arenaq_mpmc_verify((__u64)head);
}

/* The approximate number of elements, never below zero; 0 in a queue without a counter. */
static inline __attribute__((always_inline)) __u64 ds_vyukhov_count(struct ds_vyukhov_head __arena *head)
{
	__s64 count = head ? (__s64)head->count : 0;

	return count < 0 ? 0 : count;
}

/*
 * Enqueues. NOMEM if no node is free, BUSY if the allocation spent its retries, INVALID if never
 * initialised.
 */
static inline __attribute__((always_inline)) int
ds_mpsc_insert(struct ds_mpsc_head __arena *ctx, __u64 key, __u64 value)
{
	return ARENAQ_COUNT_POLICY(arenaq_mpsc_push)((__u64)ctx, (__u64)&ds_pool, key, value);
}

/* INVALID: the one consumer is in userspace. */
static inline __attribute__((always_inline)) int
ds_mpsc_delete(struct ds_mpsc_head __arena *ctx, struct ds_kv *output)
{
	return arenaq_mpsc_pop((__u64)ctx, output);
}

/*
 * SUCCESS if an element has this key, NOT_FOUND if none has. INVALID if the queue was never
 * initialised, CORRUPT if the list leads out of the pool or in a circle, BUSY if the kernel ended the
 * loop before the end. The consumer must rest.
 */
static inline __attribute__((always_inline)) int ds_mpsc_search(struct ds_mpsc_head __arena *ctx, __u64 key)
{
	return arenaq_mpsc_search((__u64)ctx, (__u64)&ds_pool, key);
}

/*
 * CORRUPT if a link leads out of the pool or in a circle; a producer that has not linked its node
 * yet is no corruption. The consumer must rest.
 */
static inline __attribute__((always_inline)) int ds_mpsc_verify(struct ds_mpsc_head __arena *ctx)
{
	return arenaq_mpsc_verify((__u64)ctx, (__u64)&ds_pool);
}

/* The approximate number of elements, never below zero; 0 in a queue without a counter. */
static inline __attribute__((always_inline)) __u64 ds_mpsc_count(struct ds_mpsc_head __arena *ctx)
{
	__s64 count = ctx ? (__s64)ctx->count : 0;

	return count < 0 ? 0 : count;
}

/*
 * ---- Queues of your own elements, by name ----
 *
 *	struct event { __u64 time; __u32 pid, tid; char comm[16]; char file[256]; };
 *
 *	ARENAQ_MPSC(events, struct event, 4096);	// name, element, capacity
 *	ARENAQ_MPMC(jobs[4], struct job, 1024);		// four of them
 *
 * An element is any type of up to 4096 bytes. Userspace makes the queues when the object is loaded: it finds them, their
 * element and their capacity in the object's BTF. Until then a push is DS_ERROR_INVALID.
 *
 *	ARENAQ_DOORBELL;				// once, if consumers are to be woken
 *
 *	if (arenaq_push(&events, &event) == DS_SUCCESS)
 *		arenaq_notify(&events);
 */
#ifdef __bpf__

#define ARENAQ_MAX_ELEMENT 4096

/*
 * Two members have no size and are never accessed: they say in BTF what the queue carries, and how many. An array of
 * the type is used, for of a type that is only pointed to BTF has nothing but the name.
 */
#define ARENAQ_QUEUE(kind, name, type, most)                                                      \
	__arena struct {                                                                               \
		struct kind queue;                                                                \
		type element[0];                                                                  \
		char capacity[0][most];                                                           \
		_Static_assert(sizeof(type) > 0 && sizeof(type) <= ARENAQ_MAX_ELEMENT,            \
			       "an element has from 1 to 4096 bytes");                            \
	} name

/* A ring of `capacity` cells, a power of two: many producers, many consumers. */
#define ARENAQ_MPMC(name, type, capacity) ARENAQ_QUEUE(arenaq_mpmc, name, type, capacity)
/* A list with a pool of nodes for `capacity` elements: many producers, one consumer, in userspace. */
#define ARENAQ_MPSC(name, type, capacity) ARENAQ_QUEUE(arenaq_mpsc, name, type, capacity)

/* Fails to compile if `element` leads to another type than the queue carries. */
#define ARENAQ_CHECK_ELEMENT(of, pointer)                                                                \
	_Static_assert(__builtin_types_compatible_p(__typeof__(*(__typeof__((of)->element[0]) *)0),      \
						    __typeof__(*(pointer)) __arena),                     \
		       "the queue carries elements of another type")

/*
 * Enqueues *event, which is on the stack or in a map's value. NOMEM if the queue is full, BUSY if the retries are
 * spent, INVALID if userspace has not made the queue. A push that fails counts itself, by the reason.
 */
#define arenaq_push(to, event)                                                                           \
	({                                                                                               \
		ARENAQ_CHECK_ELEMENT(to, event);                                                         \
		_Generic(&(to)->queue,                                                                   \
			struct arenaq_mpmc __arena *: arenaq_mpmc_push_element,                          \
			struct arenaq_mpsc __arena *: arenaq_mpsc_push_element)(                         \
			(__u64)&(to)->queue, (event), sizeof(*(event)), _Alignof(__typeof__(*(event)))); \
	})

/*
 * Dequeues the oldest element of an MPMC queue into *event. NOT_FOUND if the queue is empty, BUSY if the retries are
 * spent. The one consumer of an MPSC queue is in userspace.
 */
#define arenaq_pop(from, event)                                                                          \
	({                                                                                               \
		ARENAQ_CHECK_ELEMENT(from, event);                                                       \
		_Generic(&(from)->queue, struct arenaq_mpmc __arena *: arenaq_mpmc_pop_element)(         \
			(__u64)&(from)->queue, (event), sizeof(*(event)),                                \
			_Alignof(__typeof__(*(event))));                                                 \
	})

/*
 * ---- Records of any size, for each processor ----
 *
 *	struct event { __u64 time; __u32 pid; char file[]; };
 *
 *	ARENAQ_RECORDS(log, 1 << 20, 4096);		// name, bytes for each processor, largest record
 *	ARENAQ_RECORDS(opens, 1 << 18, 512, struct event);	// and what is in them, for who prints them
 *
 * A record is built in scratch memory, which is the program's alone until the end, whoever interrupts it, and which helpers can
 * write; it is copied when it is submitted:
 *
 *	struct event *e = arenaq_begin(&log);
 *
 *	if (!e)						// busy, and counted
 *		return 0;
 *	e->time = bpf_ktime_get_ns();
 *	// offsetof, for sizeof counts the padding in front of the text too
 *	__u64 size = arenaq_append_str(&log, e, offsetof(struct event, file), bpf_probe_read_user_str, path);
 *	arenaq_submit(&log, e, size);			// as many bytes as were used
 *
 * or in place, for fields that need no helper:
 *
 *	struct event __arena *p = arenaq_reserve(&log, sizeof(*p));
 *
 *	if (p) {
 *		p->time = 1;
 *		arenaq_commit(&log, p);
 *	}
 *
 * Each record that was begun or reserved must be ended, by arenaq_submit(), arenaq_commit() or arenaq_discard(), or its lane, one of
 * four that a processor has, is lost; ARENAQ_SCOPED() does it at the end of the block. What ends a record makes the variable NULL.
 *
 * Two names are made beside the queue's: NAME_scratch, a map, and a type. So there are no arrays of records; each one has a
 * shard for each processor.
 */
#define ARENAQ_LANES 4

/* What stands before a record in scratch memory: whose it is, and the address of the lane. */
struct arenaq_scratch {
	__u64 queue;
	__u64 lane;
};

/*
 * The scratch memory is twice as long as a record, for the verifier: whatever place in it is within the largest record, a helper
 * may write as much there as the largest record has.
 */
#define ARENAQ_RECORDS(name, bytes, most, ...)                                                           \
	struct arenaq_scratch_##name {                                                                   \
		struct arenaq_scratch of;                                                                \
		__u64 record[2 * (((most) + 7) / 8)];                                                    \
	};                                                                                               \
	struct {                                                                                         \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                        \
		__uint(max_entries, ARENAQ_LANES); /* for each processor: set before the load */         \
		__type(key, __u32);                                                                      \
		__type(value, struct arenaq_scratch_##name);                                             \
	} name##_scratch SEC(".maps");                                                                   \
	struct arenaq_records_##name {                                                                   \
		struct arenaq_records queue;                                                             \
		__VA_OPT__(__VA_ARGS__ element[0];)                                                      \
		char capacity[0][bytes];                                                                 \
		char largest[0][most];                                                                   \
		_Static_assert((most) > 0 && (most) <= ARENAQ_MAX_ELEMENT,                               \
			       "a record has from 1 to 4096 bytes");                                     \
	};                                                                                               \
	static inline __attribute__((always_inline, overloadable, unused)) void *arenaq_scratch_of(      \
		struct arenaq_records_##name __arena *of)                                                \
	{                                                                                                \
		(void)of;                                                                                \
		return &name##_scratch;                                                                  \
	}                                                                                                \
	__arena struct arenaq_records_##name name

/* The helper by its number, which is kernel ABI: this header may come before the one that names it. */
static void *(*const arenaq_lookup_elem)(void *map, const void *key) = (void *)1;

#define ARENAQ_LARGEST(log) sizeof((log)->largest[0])

static inline __attribute__((always_inline)) void *arenaq_begin_in(void *scratch, __u64 queue)
{
	__u64 lane = arenaq_records_claim(queue);
	struct arenaq_scratch *found;
	__u32 key;

	if (!lane)
		return 0;
	key = arenaq_records_lane(lane);
	found = arenaq_lookup_elem(scratch, &key);
	if (!found) {
		arenaq_records_give_up(lane);
		return 0;
	}
	found->queue = queue;
	found->lane = lane;
	return found + 1;
}

static inline __attribute__((always_inline)) int arenaq_submit_from(void *record, __u64 size, __u64 most, __u64 stamp)
{
	const struct arenaq_scratch *of = (struct arenaq_scratch *)record - 1;

	/* A copy without a loop, unless it is long. */
	if (__builtin_constant_p(size) && size <= most && size <= 512)
		return arenaq_records_submit_known(of, size, stamp);
	return arenaq_records_submit(of, size, most, stamp);
}

static inline __attribute__((always_inline)) void arenaq_give_up_scratch(void *record)
{
	arenaq_records_give_up(((struct arenaq_scratch *)record - 1)->lane);
}

/*
 * Takes a lane, and returns its scratch memory: as many bytes as the largest record has, which hold anything. NULL, and counted, if
 * all lanes of the processor are taken (BUSY), or userspace has not made the records (INVALID).
 */
#define arenaq_begin(log) arenaq_begin_in(arenaq_scratch_of(log), (__u64)&(log)->queue)

/*
 * Publishes the first `size` bytes of what arenaq_begin() has given, and gives the lane up. NOMEM if the lane is full, INVALID if
 * the size is more than the largest record's; both are counted.
 */
#define arenaq_submit(log, e, size) arenaq_submit_at(log, e, size, 0)

/* The same with a stamp, by which userspace can put the records of all processors in order: bpf_ktime_get_ns(), mostly. */
#define arenaq_submit_at(log, e, size, stamp)                                                    \
	({                                                                                       \
		int __status = arenaq_submit_from((e), (size), ARENAQ_LARGEST(log), (stamp));    \
                                                                                                 \
		(e) = 0;                                                                         \
		__status;                                                                        \
	})

/* Gives up what arenaq_begin() or arenaq_reserve() has given: nothing of it was seen. */
#define arenaq_discard(log, e)                                                             \
	({                                                                                 \
		(void)(log);                                                               \
		arenaq_discard_one(e);                                                     \
		(e) = 0;                                                                   \
	})

static inline __attribute__((always_inline, overloadable)) void arenaq_discard_one(void *record)
{
	arenaq_give_up_scratch(record);
}

static inline __attribute__((always_inline, overloadable)) void arenaq_discard_one(void __arena *record)
{
	arenaq_records_discard((__u64)record);
}

/*
 * Room for a record of `size` bytes in place, which hold anything. NULL, and counted, as arenaq_begin(), if the lane is full, and
 * if the size is more than the largest record's.
 */
#define arenaq_reserve(log, size) ((void __arena *)arenaq_records_reserve((__u64)&(log)->queue, (size)))

/* The record is a pointer into the arena. What arenaq_begin() gives is not, and does not compile. */
static inline __attribute__((always_inline)) int arenaq_commit_reserved(__u64 queue, void __arena *record, __u64 stamp)
{
	return arenaq_records_commit(queue, (__u64)record, stamp);
}

/* Publishes what arenaq_reserve() has given. CORRUPT, and counted, if somebody has written before it. */
#define arenaq_commit(log, p) arenaq_commit_at(log, p, 0)

#define arenaq_commit_at(log, p, stamp)                                                                 \
	({                                                                                              \
		int __status = arenaq_commit_reserved((__u64)&(log)->queue, (p), (stamp));              \
                                                                                                        \
		(p) = 0;                                                                                \
		__status;                                                                               \
	})

static inline __attribute__((always_inline)) void arenaq_end_scope(void *variable)
{
	void *record = *(void **)variable;

	if (record)
		arenaq_give_up_scratch(record);
}

/*
 * Declares `type *e`, begun; if it is not submitted where the block ends, by whatever way, it is discarded.
 *
 *	ARENAQ_SCOPED(struct event, e, &log);
 *	if (!e || !is_interesting())
 *		return 0;
 */
#define ARENAQ_SCOPED(type, e, log) \
	type *e __attribute__((cleanup(arenaq_end_scope))) = arenaq_begin(log)

/*
 * Appends a string to a record in scratch memory that has `used` bytes: `read` is bpf_probe_read_user_str() or one like it, and what
 * does not fit is cut. Returns how many bytes the record has then, as many as before if the string cannot be read.
 */
#define arenaq_append_str(log, e, used, read, from)                                               \
	({                                                                                        \
		__u64 __used = (used);                                                            \
		long __more = 0;                                                                  \
                                                                                                  \
		asm volatile("" : "+r"(__used));                                                  \
		if (__used < ARENAQ_LARGEST(log))                                                 \
			__more = read((char *)(e) + __used, ARENAQ_LARGEST(log) - __used, (from)); \
		__more > 0 ? __used + __more : __used;                                            \
	})

/*
 * The doorbell: a map that wakes consumers who sleep. A program that calls arenaq_notify() writes
 *
 *	ARENAQ_DOORBELL;
 *
 * once, beside the arena. All queues of the object share it.
 */
#define ARENAQ_DOORBELL                                \
	struct {                                       \
		__uint(type, BPF_MAP_TYPE_RINGBUF);    \
		__uint(max_entries, 4096);             \
	} doorbell SEC(".maps")

/*
 * Wakes the consumers of a queue that sleep. Call it after each arenaq_push() that succeeded: it costs one load if nobody
 * sleeps. Without it a consumer looks for itself, every 10 ms.
 */
#define arenaq_notify(to)                                                                                \
	({                                                                                               \
		__u64 __record = 0;                                                                      \
                                                                                                         \
		if (arenaq_must_notify(&(to)->queue.events))                                             \
			bpf_ringbuf_output(&doorbell, &__record, sizeof(__record), BPF_RB_FORCE_WAKEUP); \
	})

/*
 * The same for every n-th push only: `every` is a constant, and the pushes that are counted are those of this call while
 * somebody sleeps. For those that are fewer a consumer looks by itself, within 50 ms unless it says otherwise (`Wake` in
 * Rust).
 */
#define arenaq_notify_every(to, every)                                                                \
	({                                                                                            \
		static __u64 __unrung;                                                                \
                                                                                                      \
		/* The low half is the number of those who sleep. */                                  \
		if ((__u32) * (volatile __u64 __arena *)&(to)->queue.events.state &&                  \
		    __sync_fetch_and_add(&__unrung, 1) % (every) == (every) - 1)                      \
			arenaq_notify(to);                                                            \
	})

#endif /* __bpf__ */

/*
 * Call it after an insert that succeeded. If it is true, consumers sleep and this program must wake
 * them all, such as with a record in a ring buffer that they poll; of several programs at the same
 * time one must. Costs one load if nobody sleeps.
 */
static inline __attribute__((always_inline)) ARENAQ_BOOL
arenaq_must_notify(struct arenaq_event_count __arena *events)
{
	return arenaq_event_count_must_notify((__u64)events);
}

/*
 * ---- Initialisation and growth ----
 *
 * They allocate arena pages, which only BPF programs can, and before Linux 7.0 only a sleepable one.
 *
 * The macros want the map to be called `arena`. Define ARENAQ_NO_ALLOC before the include to leave all
 * of them out. A program that uses a queue must refer to its map all the same: see the beginning.
 */
#if defined(__bpf__) && !defined(ARENAQ_NO_ALLOC)

#define ARENAQ_PAGE 4096ULL
#define ARENAQ_ALLOC(bytes) \
	((void __arena *)arenaq_alloc_pages(&arena, 0, ((bytes) + ARENAQ_PAGE - 1) / ARENAQ_PAGE))

/*
 * Sees to it that the memory from `start` to `end`, which is the caller's alone and begins with a
 * word, has its pages. The kernel refuses a page that is there already, because userspace has
 * touched it, or somebody else has memory of his in it. So its answer decides nothing: a page is
 * there if it keeps what is written to it.
 */
static inline __attribute__((always_inline)) ARENAQ_BOOL arenaq_populate(void *map, __u64 start, __u64 end)
{
	__u64 page;

	for (page = start & ~(ARENAQ_PAGE - 1); page < end && arenaq_can_loop(); page += ARENAQ_PAGE) {
		volatile __u64 __arena *word = (volatile __u64 __arena *)(page < start ? start : page);

		arenaq_alloc_pages(map, page, 1);
		*word = 1;
		if (*word != 1)
			return 0;
	}
	return page >= end;
}

/* Makes `count` more nodes, and those that fill the last block, or as many as there is room for. */
static inline __attribute__((always_inline)) int arenaq_grow(void *map, __u64 count)
{
	struct arenaq_reservation reserved = {};
	int status = arenaq_pool_reserve((__u64)&ds_pool, count, &reserved);

	if (status != DS_SUCCESS)
		return status;
	/*
	 * The numbers are ours, so nobody else makes these nodes; and they are on no list before their
	 * pages are there.
	 */
	if (!arenaq_populate(map, reserved.nodes, reserved.nodes_end) ||
	    !arenaq_populate(map, reserved.links, reserved.links_end)) {
		arenaq_pool_cancel((__u64)&ds_pool, &reserved);
		return DS_ERROR_NOMEM;
	}
	return arenaq_pool_link((__u64)&ds_pool, &reserved);
}

/* How often an insert grows the pool: others may be faster and take all that was made. */
#define ARENAQ_GROW_TRIES 8ULL

static inline __attribute__((always_inline)) int
arenaq_insert_growing(void *map, struct ds_mpsc_head __arena *ctx, __u64 key, __u64 value, __u64 step)
{
	int status = DS_ERROR_BUSY;
	__u64 attempt;

	for (attempt = arenaq_zero(); attempt < ARENAQ_GROW_TRIES && arenaq_can_loop(); attempt++) {
		status = ds_mpsc_insert(ctx, key, value);
		if (status != DS_ERROR_NOMEM || arenaq_grow(map, step) != DS_SUCCESS)
			break;
	}
	return status;
}

/*
 * Grows the pool of all MPSC queues by `count` nodes, or by as many as there is room for. NOMEM if
 * there is none, or the kernel has no page; BUSY if the retries are spent; INVALID if there is no
 * pool. Programs and userspace may grow it at the same time.
 *
 * A pool has room to grow if userspace made it so (`Arena::create_mpsc`), or ds_pool_init_at() did.
 */
#define ds_pool_grow(count) arenaq_grow(&arena, (count))

/*
 * ds_mpsc_insert(), which grows the pool by DS_POOL_STEP nodes if none is free. NOMEM if there is no
 * room for more, or the kernel has no page. Loops within loops: one call in a program is cheap, but
 * several, with ds_pool_grow() beside them, are too much for the verifiers of some kernels.
 */
#define ds_mpsc_insert_growing(ctx, key, value) \
	arenaq_insert_growing(&arena, (ctx), (key), (value), DS_POOL_STEP)

/*
 * An empty queue of `capacity` cells. INVALID unless that is a power of two from 2 to 2^31, NOMEM
 * if there are not so many pages.
 */
#define ds_vyukhov_init(head, capacity)                                                                     \
	({                                                                                                  \
		struct ds_vyukhov_head __arena *__head = (head);                                            \
		__u64 __cells = (capacity);                                                                 \
		int __status = __head ? arenaq_mpmc_check_capacity(__cells) : DS_ERROR_INVALID;             \
                                                                                                            \
		if (__status == DS_SUCCESS) {                                                               \
			void __arena *__buffer = ARENAQ_ALLOC(__cells * sizeof(struct ds_vyukhov_cell));    \
			__status = __buffer ? arenaq_mpmc_init((__u64)__head, (__u64)__buffer, __cells)     \
					    : DS_ERROR_NOMEM;                                               \
		}                                                                                           \
		__status;                                                                                   \
	})

/*
 * The pool of all MPSC queues, with `count` nodes: one for each element, and one for each queue's
 * stub. From 256 nodes on they are taken and given back in blocks, at most 64 of them and a 128th of
 * the pool: up to one block for each of the 8 magazines may be neither in a queue nor free.
 */
#define ds_pool_init(count)                                                                                 \
	({                                                                                                  \
		__u64 __nodes = (count);                                                                    \
		void __arena *__memory = ARENAQ_ALLOC(__nodes * sizeof(struct ds_mpsc_node));               \
		void __arena *__links = __memory ? ARENAQ_ALLOC(__nodes * sizeof(__u64)) : (void __arena *)0; \
		int __status = DS_ERROR_NOMEM;                                                              \
                                                                                                            \
		if (__links) {                                                                              \
			__status = arenaq_pool_init((__u64)&ds_pool, (__u64)__memory, (__u64)__links, __nodes); \
			if (__status == DS_SUCCESS)                                                         \
				__status = arenaq_pool_grow((__u64)&ds_pool, __nodes);                      \
		}                                                                                           \
		__status;                                                                                   \
	})

/*
 * As ds_pool_init(), with room to grow to `limit` nodes: from `nodes` and `links`, addresses in the
 * arena, on pages that are used for nothing else, at `limit` nodes and `limit` words.
 */
#define ds_pool_init_at(nodes, links, count, limit)                                                         \
	({                                                                                                  \
		int __status = arenaq_pool_init((__u64)&ds_pool, (__u64)(nodes), (__u64)(links), (limit));  \
                                                                                                            \
		__status == DS_SUCCESS ? ds_pool_grow(count) : __status;                                    \
	})

/*
 * An empty queue, whose stub is a node of the pool. Makes the pool, with DS_POOL_NODES nodes, if
 * there is none.
 */
#define ds_mpsc_init(ctx)                                                                                   \
	({                                                                                                  \
		struct ds_mpsc_head __arena *__ctx = (ctx);                                                 \
		int __ready = __ctx ? DS_SUCCESS : DS_ERROR_INVALID;                                        \
                                                                                                            \
		if (__ready == DS_SUCCESS && !arenaq_pool_is_initialised((__u64)&ds_pool))                  \
			__ready = ds_pool_init(DS_POOL_NODES);                                              \
		if (__ready == DS_SUCCESS)                                                                  \
			__ready = arenaq_mpsc_init((__u64)__ctx, (__u64)&ds_pool);                          \
		__ready;                                                                                    \
	})

#endif /* __bpf__, ARENAQ_NO_ALLOC */

#ifdef __cplusplus
}
#endif

/* The queues in userspace, by the same names. */
#if !defined(__bpf__) && !defined(__KERNEL__)
#include "arenaq_user.h"
#endif

#endif /* ARENAQ_H */
