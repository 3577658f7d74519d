/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the programs and their userspace say to each other; the Rust twins are in
 * harness/src/object.rs.
 */
#ifndef ARENAQ_PROGRAMS_H
#define ARENAQ_PROGRAMS_H

enum {
	ARENAQ_QUEUE_MPSC = 0,
	ARENAQ_QUEUE_MPMC = 1,
};

struct arenaq_settings {
	__u64 queue;   /* ARENAQ_QUEUE_* */
	__u64 syscall; /* the number for which the hook sys_enter pushes */
};

/* One CPU's counts. produced = pushed + nomem + busy + invalid, when no program is running. */
struct arenaq_counters {
	__u64 produced;
	__u64 pushed;
	__u64 nomem;	/* full, or no node left */
	__u64 busy;	/* the retries were spent */
	__u64 invalid;	/* the queue was not initialised */
	__u64 untraced; /* children that could not be marked as traced */
	__u64 checksum; /* of what was pushed: the sum of ARENAQ_CHECKSUM() */
};

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
};

_Bool arenaq_can_loop(void);

#endif /* ARENAQ_PROGRAMS_H */
