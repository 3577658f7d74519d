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
 * An arena comes from a loaded BPF object (arenaq_libbpf.h), from memory that others have mapped as well
 * (arenaq_arena_attach(), arenaq_queues_create()), or is this process's alone (arenaq_queues_create_private()).
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
	uint64_t element_size;	/* in bytes, at most 4096 */
	uint64_t element_hash;	/* arenaq_element_hash(), or 0: any type of the size fits */
	uint64_t capacity;	/* elements; of an MPMC queue a power of two */
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
uintptr_t arenaq_arena_header(const struct arenaq_arena *arena);
/* Ends of its queues stay open. */
void arenaq_arena_close(struct arenaq_arena *arena);

/* A queue, and what was dropped for want of room, by the reason. */
struct arenaq_stat {
	char name[48];
	uint64_t kind; /* ARENAQ_KIND_* */
	uint64_t element_size;
	uint64_t capacity;
	uint64_t full;	    /* the queue was full, or no node was left */
	uint64_t contended; /* the retries were spent */
	uint64_t invalid;   /* the queue was not made yet */
	uint64_t corrupt;   /* the queue was damaged */
};

/* NOT_FOUND if there is no queue of the name, or there are no more. */
int arenaq_arena_stat(const struct arenaq_arena *arena, const char *name, struct arenaq_stat *stat);
int arenaq_arena_stat_at(const struct arenaq_arena *arena, size_t number, struct arenaq_stat *stat);

/* ---- The ends of a queue, of elements of any type ---- */

struct arenaq_producer;
struct arenaq_consumer;

/* NOT_FOUND if there is no such queue, INVALID if its elements have another size. Any thread may use it. */
int arenaq_producer_open(const struct arenaq_arena *arena, const char *name, size_t size,
			 struct arenaq_producer **producer);
/* NOMEM if the queue is full, BUSY if the retries are spent: such an element is counted as dropped. */
int arenaq_producer_push(const struct arenaq_producer *producer, const void *element, size_t size);
void arenaq_producer_close(struct arenaq_producer *producer);

/*
 * As arenaq_producer_open(), and BUSY if it is an MPSC queue and somebody consumes from it. One thread uses it at a time:
 * threads that consume from an MPMC queue open one each, 16 at most. One that dies without arenaq_consumer_close() keeps its
 * place, and what it was taking, until a consumer in Rust takes over from it: nothing here does.
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

/* ---- The same, of elements of one type ---- */

/* A handle: opened as a producer, as a consumer, or as both. */
struct arenaq_queue {
	struct arenaq_producer *producer;
	struct arenaq_consumer *consumer;
};

/* `element` is never set: it is there for its type. */
#define ARENAQ_HANDLE(name, type)         \
	struct {                          \
		struct arenaq_queue ends; \
		type *element;            \
	} name

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
