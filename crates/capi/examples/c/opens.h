// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Records of any size. What both sides know: included by the program of the kernel and by that of userspace. */
#ifndef OPENS_H
#define OPENS_H

struct opened {
	__u64 time;
	__u32 tid;
	__extension__ char file[]; /* as long as the name is; by its standard C++ has no such thing */
};

/* Bytes for each processor, the largest record, and what is in them. */
ARENAQ_RECORDS(opens, 1 << 13, 288, struct opened);

#endif
