/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the programs and their userspace say to each other; the Rust twins are in
 * harness/src/object.rs.
 */
#ifndef ARENAQ_PROGRAMS_H
#define ARENAQ_PROGRAMS_H

/* The kinds, by their numbers in an arena's directory. */
enum {
	ARENAQ_QUEUE_MPMC = 1,
	ARENAQ_QUEUE_MPSC = 2,
	ARENAQ_QUEUE_RECORDS = 3,
};

/* How many bytes of the pattern a record has at most. */
#define ARENAQ_EVENT_REST 512

struct arenaq_settings {
	__u64 queue;   /* ARENAQ_QUEUE_* */
	__u64 syscall; /* the number for which the hook sys_enter pushes */
	__u64 grow;    /* by how many nodes a program grows the pool if none is free; 0 for never */
	__u64 nest;    /* whether the program on_clock interrupts pushes: 0 or 1 */
	__u64 never;   /* 0 */
};

/* What records are filled from. */
struct arenaq_pattern {
	__u8 bytes[2 * ARENAQ_EVENT_REST];
};

/*
 * An event as a record. Behind it come bytes of the pattern, as many as its number says, from the place on that the task and the
 * number say: so a consumer knows every byte.
 */
struct arenaq_event {
	__u64 lane; /* the events of a lane come in the order of their times */
	__u64 time;
	__u64 task;
	__u64 number; /* which of its CPU's events it is */
	__u8 rest[];
};

#define ARENAQ_EVENT_SIZE(number) (((number) * 2654435761ULL >> 16) % ARENAQ_EVENT_REST + 1)
/* Nine bits, on which all of both have influence. */
#define ARENAQ_EVENT_FROM(task, number) ((((task) ^ (number) * 2654435761ULL) * 0x9e3779b97f4a7c15ULL) >> 55)
_Static_assert(ARENAQ_EVENT_REST == 1 << 9, "as many places as it can say");

/* One CPU's counts. produced = pushed + nomem + busy + invalid, when no program is running. */
struct arenaq_counters {
	__u64 produced;
	__u64 pushed;
	__u64 nomem;	/* full, or no node left */
	__u64 busy;	/* the retries were spent, or all lanes of the processor taken */
	__u64 invalid;	/* the queue was not initialised */
	__u64 untraced; /* children that could not be marked as traced */
	__u64 checksum; /* of what was pushed: the sum of ARENAQ_CHECKSUM() */
};

/* One CPU's pushes and the program on_clock, which interrupts them. */
struct arenaq_nesting {
	__u64 pushing; /* the task that is in the middle of a push, as bpf_get_current_pid_tgid(); or 0 */
	__u64 nested;  /* how often on_clock has met it there, and pushed */
};

/* The key of what on_clock pushes, with the number of the CPU: no task's, and no driver's. */
#define ARENAQ_CLOCK_KEY (1ULL << 63)

/*
 * Sums of this are equal only if the same elements were counted on both sides, as good as surely.
 */
#define ARENAQ_CHECKSUM(key, value) (((key) * 0x9e3779b97f4a7c15ULL) ^ (value))

struct arenaq_drive {
	__u64 key;
	__u64 count;
	__u64 done;
};

struct arenaq_pop {
	__s64 status;
	__u64 key;
	__u64 value;
};

struct arenaq_verify {
	__s64 mpmc;
	__s64 mpsc;
};

struct arenaq_places {
	__u64 header;
	__u64 mpmc;
	__u64 mpsc;
	__u64 pool;
	__u64 events;
};

#endif /* ARENAQ_PROGRAMS_H */
