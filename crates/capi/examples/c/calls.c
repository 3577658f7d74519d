// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Loads an object of calls.bpf.c, makes some calls of getppid(), and accounts for each. It is C11 and C++17. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arenaq_libbpf.h"
#include "calls.h"

#define CALLS 1000

static void must(int status, const char *what)
{
	if (status == DS_SUCCESS)
		return;
	fprintf(stderr, "%s: %s: %s\n", what, arenaq_strerror(status), arenaq_last_error());
	exit(1);
}

/* Calls, and pops after every so many: how many came, in their order. */
static unsigned run(unsigned every)
{
	unsigned popped = 0, made;
	struct call call;

	for (made = 1; made <= CALLS; made++) {
		syscall(SYS_getppid);
		while (made % every == 0 && arenaq_pop(&calls, &call) == DS_SUCCESS) {
			if (call.pid != (__u32)getpid() || strncmp(call.comm, "calls", 5)) {
				fprintf(stderr, "an event of process %u, %s\n", call.pid, call.comm);
				exit(1);
			}
			popped++;
		}
	}
	return popped;
}

/* Three calls, some time apart. */
static void *call_later(void *unused)
{
	int i;

	for (i = 0; i < 3; i++) {
		usleep(120000);
		syscall(SYS_getppid);
	}
	return unused;
}

int main(int count, char **arguments)
{
	struct bpf_object *object = bpf_object__open_file(arguments[count - 1], NULL);
	struct {
		__u32 tgid;
		long getppid_number;
	} constants = { (__u32)getpid(), SYS_getppid };
	struct arenaq_queues *queues;
	struct arenaq_arena *arena;
	struct arenaq_consumer *second;
	struct arenaq_stat stat;
	struct bpf_program *program;
	struct bpf_link *link;
	struct ring_buffer *doorbell;
	struct bpf_map *map;
	uintptr_t header;
	size_t size;
	void *base;
	pid_t child;
	int ended;
	unsigned popped, waits = 0;
	struct call call;
	pthread_t thread;

	if (!object)
		return 2;
	must(arenaq_libbpf_queues(object, &queues), "finding the queues");
	if (arenaq_queues_set_capacity(queues, "nobody", 8) != DS_ERROR_NOT_FOUND)
		return 3;
	must(arenaq_queues_set_capacity(queues, "calls", 300), "setting the capacity");
	must(arenaq_libbpf_prepare(queues, object), "making the object ready");
	bpf_map__set_initial_value(bpf_object__find_map_by_name(object, ".rodata"), &constants, sizeof(constants));
	if (bpf_object__load(object))
		return 4;
	must(arenaq_libbpf_create(queues, object, &arena), "making the queues");
	if (arenaq_libbpf_create(queues, object, &arena) != DS_ERROR_EXISTS)
		return 5;
	arenaq_queues_free(queues);
	must(arenaq_open_consumer(arena, "calls", &calls), "opening the queue");
	if (arenaq_consumer_open(arena, "calls", sizeof(struct call), &second) != DS_ERROR_BUSY)
		return 6;

	program = bpf_object__find_program_by_name(object, "on_call");
	link = bpf_program__attach(program);
	if (!link)
		return 7;
	popped = run(100);
	must(arenaq_arena_stat(arena, "calls", &stat), "the account");
	printf("%u popped, %lu dropped\n", popped, (unsigned long)stat.full);
	popped = run(500);
	must(arenaq_arena_stat(arena, "calls", &stat), "the account");
	printf("%u popped and dropped, some dropped: %d\n", popped + (unsigned)stat.full, stat.full > 0);

	doorbell = arenaq_libbpf_doorbell(object);
	if (!doorbell || pthread_create(&thread, NULL, call_later, NULL))
		return 8;
	for (popped = 0; popped < 3;) {
		must(arenaq_libbpf_wait(calls.ends.consumer, doorbell, -1), "waiting");
		waits++;
		while (arenaq_pop(&calls, &call) == DS_SUCCESS)
			popped++;
	}
	pthread_join(thread, NULL);
	ring_buffer__free(doorbell);
	printf("%u popped after a sleep: %d\n", popped, waits > 3);

	bpf_link__destroy(link);
	arenaq_close(&calls);

	/* Another process has no arena, and maps it. */
	map = arenaq_libbpf_map(object);
	base = bpf_map__initial_value(map, &size);
	header = arenaq_arena_header(arena);
	child = fork();
	if (child == 0) {
		must(arenaq_libbpf_attach(bpf_map__fd(map), base, bpf_map__max_entries(map) * (size_t)getpagesize(), header,
					  &arena),
		     "attaching");
		must(arenaq_open_consumer(arena, "calls", &calls), "opening the queue in a child");
		_exit(arenaq_pop(&calls, &call) == DS_ERROR_NOT_FOUND ? 0 : 9);
	}
	if (waitpid(child, &ended, 0) != child || ended)
		return 9;
	/* It died without closing its end. */
	if (arenaq_open_consumer(arena, "calls", &calls) != DS_ERROR_BUSY)
		return 10;
	must(arenaq_consumer_take_over(arena, "calls", sizeof(call), &calls.ends.consumer), "taking over");
	arenaq_close(&calls);
	must(arenaq_open_consumer(arena, "calls", &calls), "opening the queue again");
	arenaq_close(&calls);
	arenaq_arena_close(arena);
	bpf_object__close(object);
	return 0;
}
