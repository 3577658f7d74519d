// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Consumes from the queue `calls` of an object that is pinned in a folder, as by `arenaq load calls.bpf.o --pin FOLDER`: so many
 * calls, or without a number until it is ended. It is C11 and C++17.
 */
#include <stdio.h>
#include <stdlib.h>

#include "arenaq_libbpf.h"
#include "calls.h"

int main(int count, char **arguments)
{
	unsigned long popped = 0, most = count > 2 ? strtoul(arguments[2], NULL, 10) : 0;
	struct ring_buffer *doorbell;
	struct arenaq_arena *arena;
	struct call call;

	if (count < 2) {
		fprintf(stderr, "usage: pinned FOLDER [CALLS]\n");
		return 2;
	}
	if (arenaq_arena_attach_pinned(arguments[1], &arena) || arenaq_open_consumer(arena, "calls", &calls)) {
		fprintf(stderr, "pinned: %s\n", arenaq_last_error());
		return 1;
	}
	doorbell = arenaq_libbpf_pinned_doorbell(arguments[1]);
	while (!most || popped < most) {
		int status = arenaq_pop(&calls, &call);

		if (status == DS_SUCCESS) {
			printf("call %u of process %u\n", call.number, call.pid);
			fflush(stdout);
			popped++;
		} else if (status == DS_ERROR_CORRUPT || arenaq_libbpf_wait(calls.ends.consumer, doorbell, -1)) {
			fprintf(stderr, "pinned: %s\n", arenaq_strerror(status));
			return 1;
		}
	}
	arenaq_close(&calls);
	arenaq_arena_close(arena);
	ring_buffer__free(doorbell);
	return 0;
}
