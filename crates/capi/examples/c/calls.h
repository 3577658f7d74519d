// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What both sides know: included by the program of the kernel and by that of userspace. */
#ifndef CALLS_H
#define CALLS_H

struct call {
	__u64 time;
	__u32 pid, number;
	char comm[20];
};

ARENAQ_MPSC(calls, struct call, 16);
/* From this one processes consume together: takeover.c. */
ARENAQ_MPMC(jobs, struct call, 256);

#endif
