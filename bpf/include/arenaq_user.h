/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * arenaq in userspace, for C from C11 and C++ from C++11 on: libarenaq. arenaq.h includes this header where a program is not
 * compiled for BPF.
 *
 * A program of the kernel and one of userspace can include the same declarations:
 *
 *	struct event { __u64 time; __u32 pid, tid; char comm[16]; };
 *	ARENAQ_MPSC(events, struct event, 4096);
 *
 * In BPF this is the queue; in userspace it is a handle of that name, all zero until it is opened. It knows the type, so that
 * another one does not compile:
 *
 *	arenaq_open_consumer(arena, "events", &events);
 *	while (arenaq_pop(&events, &event) == DS_SUCCESS)
 *		...
 *
 * An arena comes from a loaded BPF object (arenaq_libbpf.h), from one that is pinned (arenaq_arena_attach_pinned()), from memory
 * that others have mapped as well (arenaq_arena_attach(), arenaq_queues_create()), or is this process's alone
 * (arenaq_queues_create_private()).
 *
 * Functions that return int return a DS_* code. What a null pointer or a wrong argument leads to is DS_ERROR_INVALID.
 * arenaq_strerror() says what a code means; arenaq_last_error() says more, of the calling thread's last failure, but
 * for push and pop, which only return their code.
 */
#ifndef ARENAQ_USER_H
#define ARENAQ_USER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#include <type_traits>
extern "C" {
#endif

#define ARENAQ_KIND_MPMC 1
#define ARENAQ_KIND_MPSC 2
#define ARENAQ_KIND_RECORDS 3

const char *arenaq_strerror(int code);
/* Valid until the thread's next failure. */
const char *arenaq_last_error(void);

/* ---- Which queues there are to be ---- */

struct arenaq_queues;
struct arenaq_arena;

/* `offset` of a queue that is no variable of a BPF object. */
#define ARENAQ_NOWHERE SIZE_MAX

struct arenaq_declaration {
	const char *name;	/* at most 47 bytes */
	uint64_t kind;		/* ARENAQ_KIND_* */
	uint64_t element_size;	/* in bytes, at most 4096; of records, the largest */
	uint64_t element_hash;	/* arenaq_element_hash(), or 0: any type of the size fits */
	uint64_t capacity;	/* elements; of an MPMC queue a power of two; of records the bytes of each shard, too */
	size_t offset;		/* in the section of an object's arena variables, or ARENAQ_NOWHERE */
};

struct arenaq_field {
	const char *name;
	size_t offset;
	size_t size;
};

/* None yet. Free them with arenaq_queues_free(), which may be as soon as the arena is made. */
struct arenaq_queues *arenaq_queues_new(void);
void arenaq_queues_free(struct arenaq_queues *queues);
/* EXISTS if there is one of the name, INVALID if there can be no such queue. */
int arenaq_queues_add(struct arenaq_queues *queues, const struct arenaq_declaration *declaration);
/* Another capacity; the name of an array means all its queues. NOT_FOUND if there is no queue of the name. */
int arenaq_queues_set_capacity(struct arenaq_queues *queues, const char *name, uint64_t capacity);
/*
 * Records have a shard for each processor that this machine may have, unless something else is said: before their room is asked for.
 * Programs push to the shard of the processor that they are on, so that two processors do not meet, and each thread of userspace to
 * one that is its own as good as always.
 */
int arenaq_queues_set_shards(struct arenaq_queues *queues, const char *name, uint64_t shards);
/* How many lanes the records of that name have in all their shards; 0 if there are no such records. */
uint32_t arenaq_queues_lanes(const struct arenaq_queues *queues, const char *name);
/* How many bytes of memory they need, beside their variables. */
int arenaq_queues_room(const struct arenaq_queues *queues, size_t *room);
/* What tells types of one size apart: of names, places and sizes of the fields. A Rust program checks it. */
uint64_t arenaq_element_hash(size_t size, const struct arenaq_field *fields, size_t count);

/* ---- Arenas ---- */

/* Makes the queues in memory of this process: for its threads. NOMEM if there is none. */
int arenaq_queues_create_private(const struct arenaq_queues *queues, struct arenaq_arena **arena);
/*
 * Makes the queues in `length` bytes at `base`, which are zero, stay mapped until the arena and all its ends are closed, and
 * which nothing else in this process touches. Other processes map them at the same address, and attach.
 */
int arenaq_queues_create(const struct arenaq_queues *queues, void *base, size_t length, struct arenaq_arena **arena);
/* For arenaq_libbpf.h: before the load, with the initial value of the arena's variables; and after it. */
int arenaq_queues_mark(const struct arenaq_queues *queues, void *data, size_t size);
int arenaq_queues_create_loaded(const struct arenaq_queues *queues, void *base, size_t length, size_t size,
				struct arenaq_arena **arena);
/*
 * The queues that another process has made in memory that is mapped here at the same address: an arena's map, or memory that
 * is shared otherwise. `header` is what arenaq_arena_header() says there. Everything in the memory is checked before it is
 * believed.
 */
int arenaq_arena_attach(void *base, size_t length, uintptr_t header, struct arenaq_arena **arena);
/*
 * The queues of an object that is pinned in a folder of a BPF file system: by `arenaq pin`, `arenaq load --pin`, or in Rust. It
 * needs no libbpf. A consumer that is opened then holds the lock that is the right to consume there, so that C, Rust and `arenaq
 * consume` exclude each other, and is counted with them: `arenaq stat` shows it. From who has died one takes over by opening and
 * popping; only if all 16 of an MPMC queue have died in the middle of a pop, arenaq_consumer_recover() has to come first.
 *
 * NOT_FOUND if nothing is pinned there, INVALID if it is not whole, of another version, somebody else's, or attached already.
 */
int arenaq_arena_attach_pinned(const char *folder, struct arenaq_arena **arena);
uintptr_t arenaq_arena_header(const struct arenaq_arena *arena);
/* Ends of its queues stay open. */
void arenaq_arena_close(struct arenaq_arena *arena);

/* A queue, and what was dropped for want of room, by the reason. */
struct arenaq_stat {
	char name[48];
	uint64_t kind;	       /* ARENAQ_KIND_* */
	uint64_t element_size; /* of records, the largest */
	uint64_t element_hash; /* see arenaq_element_hash(); 0 if nobody knows */
	uint64_t capacity;     /* of records, the bytes of all shards */
	uint64_t full;	       /* the queue or the lane was full, or no node was left */
	uint64_t contended;    /* the retries were spent, or all lanes of a shard were taken */
	uint64_t invalid;      /* the queue was not made yet, or a record was larger than the largest */
	uint64_t corrupt;      /* the queue was damaged */
};

/* NOT_FOUND if there is no queue of the name, or there are no more. */
int arenaq_arena_stat(const struct arenaq_arena *arena, const char *name, struct arenaq_stat *stat);
int arenaq_arena_stat_at(const struct arenaq_arena *arena, size_t number, struct arenaq_stat *stat);

/* ---- The ends of a queue, of elements of any type ---- */

struct arenaq_producer;
struct arenaq_consumer;

/*
 * C has no list of a structure's fields, so opening an end checks the name of the queue and the size of the element, and the
 * compiler that one handle is used with one type. Two types of one size under one name are taken for each other, unless the header
 * that declares the queue is included by both sides. A program that gets the declaration elsewhere compares `element_hash` of
 * arenaq_arena_stat() with arenaq_element_hash(sizeof(t), fields, n), where a field is { "pid", offsetof(t, pid), sizeof(...) }.
 */

/* NOT_FOUND if there is no such queue, INVALID if its elements have another size. Any thread may use it. */
int arenaq_producer_open(const struct arenaq_arena *arena, const char *name, size_t size,
			 struct arenaq_producer **producer);
/* NOMEM if the queue is full, BUSY if the retries are spent: such an element is counted as dropped. */
int arenaq_producer_push(const struct arenaq_producer *producer, const void *element, size_t size);
void arenaq_producer_close(struct arenaq_producer *producer);

/*
 * As arenaq_producer_open(), and BUSY if it is an MPSC queue and somebody consumes from it, or an MPMC queue that has 16 consumers.
 * One thread uses it at a time: threads that consume from an MPMC queue open one each. One that dies without
 * arenaq_consumer_close() keeps its place, and the element that it was taking, until somebody takes over.
 */
int arenaq_consumer_open(const struct arenaq_arena *arena, const char *name, size_t size,
			 struct arenaq_consumer **consumer);
/*
 * The same in the place of a process that consumed from an MPSC queue and is known to have died: its process id is in the text
 * of the BUSY. Nothing is lost; nodes that it held stay lost to the queue.
 */
int arenaq_consumer_take_over(const struct arenaq_arena *arena, const char *name, size_t size,
			      struct arenaq_consumer **consumer);
/*
 * Takes over from consumers of an MPMC queue that died: `element` is one that such a one was taking and was not given. Call it
 * until it is NOT_FOUND: then nothing is left, and the places of the dead are free. BUSY if a consumer that lives is in the middle
 * of a pop; try again. `is_dead` says whether the process of this id, which consumed, is known to have ended: as waitpid() says,
 * or a pidfd; a number alone may be another process's meanwhile. One process at a time calls this, and meanwhile no consumer in
 * Rust takes over.
 *
 * Of a pinned queue `is_dead` may be NULL: locks say it. There it is BUSY while a consumer lives, for that takes over as it pops.
 */
int arenaq_consumer_recover(const struct arenaq_arena *arena, const char *name,
			    int (*is_dead)(uint32_t process, void *context), void *context, void *element, size_t size);
/*
 * NOT_FOUND if the queue is empty, BUSY if somebody is in the middle of an operation, INVALID if another thread pops from
 * this end.
 */
int arenaq_consumer_pop(const struct arenaq_consumer *consumer, void *element, size_t size);
/*
 * Says that the caller is about to sleep until a program calls arenaq_notify(). BUSY if an element is there or on its way, and
 * then nothing was said. arenaq_libbpf_wait() is all of it.
 */
int arenaq_consumer_sleep(const struct arenaq_consumer *consumer);
/* After the sleep, whatever ended it. */
void arenaq_consumer_wake(const struct arenaq_consumer *consumer);
void arenaq_consumer_close(struct arenaq_consumer *consumer);

/* ---- Records of any size ---- */

struct arenaq_records_producer;
struct arenaq_records_consumer;

/*
 * What `ARENAQ_RECORDS(opens, 1 << 18, 512, struct event)` is in userspace: a consumer, null until it is opened.
 *
 *	arenaq_records_consumer_open(arena, "opens", &opens);
 *	arenaq_records_consumer_drain(opens, UINT64_MAX, print, NULL, NULL);
 */
#define ARENAQ_RECORDS(name, ...) struct arenaq_records_consumer *name __attribute__((unused))

/*
 * A record in place. Its bytes, and this, are the caller's until the function returns to which it is handed. Whoever may write to
 * the arena can still change them meanwhile: who does not trust such a process copies what it checks, and then checks the copy.
 */
struct arenaq_record {
	const void *data; /* aligned as a 64-bit word is */
	size_t size;	  /* how many bytes it has */
	uint64_t stamp;	  /* of arenaq_submit_at() and its like, or 0 */
	size_t shard;	  /* a program's: the number of its processor, if there are as many; a thread's: always the same */
};

/* NOT_FOUND if there is nothing of the name, INVALID if it is a queue. Any thread may use it. */
int arenaq_records_producer_open(const struct arenaq_arena *arena, const char *name,
				 struct arenaq_records_producer **producer);
/*
 * NOMEM if the lane is full, BUSY if all lanes of the shard are taken, INVALID if it is larger than the largest record: such a
 * record is counted as dropped.
 */
int arenaq_records_producer_push(const struct arenaq_records_producer *producer, const void *data, size_t size,
				 uint64_t stamp);
void arenaq_records_producer_close(struct arenaq_records_producer *producer);

/*
 * As arenaq_records_producer_open(), and BUSY if somebody consumes a shard of it. One thread uses it at a time. Of pinned records one
 * process at a time consumes, and the next one begins with what a dead one has left: the record that it was handed may come again.
 */
int arenaq_records_consumer_open(const struct arenaq_arena *arena, const char *name,
				 struct arenaq_records_consumer **consumer);
/* The same of `count` shards only, from `first` on: so several threads share the shards between them. INVALID if there are no such. */
int arenaq_records_consumer_open_shards(const struct arenaq_arena *arena, const char *name, size_t first, size_t count,
					struct arenaq_records_consumer **consumer);
/*
 * The same of all shards, in the place of processes that consumed and are known to have died: their ids are in the texts of the
 * BUSY. Pinned records do not need it.
 */
int arenaq_records_consumer_take_over(const struct arenaq_arena *arena, const char *name,
				      struct arenaq_records_consumer **consumer);
/*
 * Hands over up to `limit` records, those of a lane in their order, and frees them: `drained`, unless it is null, says how many.
 * Several lanes are put in order by the stamp, by whoever needs it. The function may not use this consumer, and returns, in C++
 * without an exception. NOT_FOUND if there was none, CORRUPT if a lane is
 * damaged, from which nothing more comes, INVALID if another thread uses this consumer.
 */
int arenaq_records_consumer_drain(const struct arenaq_records_consumer *consumer, uint64_t limit,
				  void (*hand_over)(const struct arenaq_record *record, void *context), void *context,
				  uint64_t *drained);
/*
 * As arenaq_consumer_sleep(). Who is at work on a record may not have seen that somebody sleeps: while
 * arenaq_records_consumer_is_quiet() is 0, a sleep is to be short. arenaq_libbpf_wait_records() is all of it.
 */
int arenaq_records_consumer_sleep(const struct arenaq_records_consumer *consumer);
int arenaq_records_consumer_is_quiet(const struct arenaq_records_consumer *consumer);
void arenaq_records_consumer_wake(const struct arenaq_records_consumer *consumer);
void arenaq_records_consumer_close(struct arenaq_records_consumer *consumer);

/* ---- Queues again, of elements of one type ---- */

/* A handle: opened as a producer, as a consumer, or as both. */
struct arenaq_queue {
	struct arenaq_producer *producer;
	struct arenaq_consumer *consumer;
};

/* `element` is never set: it is there for its type. A program need not use each queue that a header of both sides declares. */
#define ARENAQ_HANDLE(name, type)         \
	struct {                          \
		struct arenaq_queue ends; \
		type *element;            \
	} name __attribute__((unused))

#define ARENAQ_MPMC(name, type, capacity) ARENAQ_HANDLE(name, type)
#define ARENAQ_MPSC(name, type, capacity) ARENAQ_HANDLE(name, type)

#define arenaq_open_producer(arena, name, handle) \
	arenaq_producer_open((arena), (name), sizeof(*(handle)->element), &(handle)->ends.producer)
#define arenaq_open_consumer(arena, name, handle) \
	arenaq_consumer_open((arena), (name), sizeof(*(handle)->element), &(handle)->ends.consumer)

/* Closes both ends; an MPSC queue may have another consumer then. */
static inline void arenaq_close_ends(struct arenaq_queue *ends)
{
	arenaq_producer_close(ends->producer);
	arenaq_consumer_close(ends->consumer);
	ends->producer = NULL;
	ends->consumer = NULL;
}
#define arenaq_close(handle) arenaq_close_ends(&(handle)->ends)

#ifdef __cplusplus
}

template <class Handle, class Element> inline int arenaq_push(const Handle *to, const Element *element)
{
	static_assert(std::is_same<decltype(Handle::element), Element *>::value,
		      "the queue carries elements of another type");
	return arenaq_producer_push(to->ends.producer, element, sizeof(*element));
}

template <class Handle, class Element> inline int arenaq_pop(const Handle *from, Element *element)
{
	static_assert(std::is_same<decltype(Handle::element), Element *>::value,
		      "the queue carries elements of another type");
	return arenaq_consumer_pop(from->ends.consumer, element, sizeof(*element));
}
#else

/* No association fits a pointer to another type than the queue carries. */
#define arenaq_push(to, event)                                                                                  \
	arenaq_producer_push((to)->ends.producer,                                                               \
			     _Generic((event),                                                                  \
				     __typeof__((to)->element): (event),                                        \
				     const __typeof__(*(to)->element) *: (event)),                              \
			     sizeof(*(to)->element))
#define arenaq_pop(from, event)                                                                                 \
	arenaq_consumer_pop((from)->ends.consumer, _Generic((event), __typeof__((from)->element): (event)),     \
			    sizeof(*(from)->element))
#endif

#endif /* ARENAQ_USER_H */
