/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What programs share that check the operations from inside the kernel. Their context is a `result`.
 */
#ifndef CHECKS_H
#define CHECKS_H

struct result {
	__u64 line;   /* of the first check that failed, 0 if none did */
	__s64 status; /* what came instead */
};

#define EXPECT(expected, call)                             \
	do {                                               \
		__s64 __got = (call);                      \
		if (__got != (expected)) {                 \
			result->line = __LINE__;           \
			result->status = __got;            \
			return 0;                          \
		}                                          \
	} while (0)

/*
 * A loop that the verifier does not walk pass by pass: some kernels would spend their million
 * instructions on it.
 */
#define TIMES(i, n) for (__u64 i = arenaq_zero(); i < (n) && arenaq_can_loop(); i++)

#endif /* CHECKS_H */
