// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Processes that consume from one MPMC queue are killed one after another, each in the middle of a pop, and others take over what
 * they have left. No BPF. With a folder, of an object that is pinned there, and has the queue `jobs`. It is C11 and C++17.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arenaq.h"
#include "calls.h"

#define CONSUMERS 40
#define PLACES 16
#define JOBS (3 * CONSUMERS)

static pid_t dead[CONSUMERS];
/* How often each was given out. */
static unsigned given[JOBS];

static void must(int status, const char *what)
{
	if (status == DS_SUCCESS)
		return;
	fprintf(stderr, "%s: %s: %s\n", what, arenaq_strerror(status), arenaq_last_error());
	exit(1);
}

static int has_ended(uint32_t process, void *context)
{
	int i;

	(void)context;
	for (i = 0; i < CONSUMERS; i++) {
		if ((uint32_t)dead[i] == process)
			return 1;
	}
	return 0;
}

/* A queue in memory that children share. */
static struct arenaq_arena *own_queue(void)
{
	struct arenaq_declaration declaration = { "jobs", ARENAQ_KIND_MPMC, sizeof(struct call), 0, 256, ARENAQ_NOWHERE };
	struct arenaq_queues *queues = arenaq_queues_new();
	struct arenaq_arena *arena;
	size_t room;
	void *base;

	must(arenaq_queues_add(queues, &declaration), "declaring");
	must(arenaq_queues_room(queues, &room), "its room");
	base = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(base == MAP_FAILED ? DS_ERROR_NOMEM : arenaq_queues_create(queues, base, room, &arena), "making it");
	arenaq_queues_free(queues);
	return arena;
}

/* A consumer dies in the middle of a pop: there is no memory where the element is to go. */
static int die(struct arenaq_arena *arena, const char *folder)
{
	if (folder) {
		must(arenaq_arena_attach_pinned(folder, &arena), "attaching");
	}
	if (arenaq_open_consumer(arena, "jobs", &jobs) == DS_ERROR_BUSY)
		return 7;
	signal(SIGSEGV, SIG_DFL);
	arenaq_consumer_pop(jobs.ends.consumer, mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
			    sizeof(struct call));
	return 8;
}

static unsigned drain(struct arenaq_arena *arena, const char *folder)
{
	unsigned popped = 0;
	struct call job;

	while (arenaq_consumer_recover(arena, "jobs", folder ? NULL : has_ended, NULL, &job, sizeof(job)) == DS_SUCCESS) {
		given[job.number]++;
		popped++;
	}
	return popped;
}

int main(int count, char **arguments)
{
	const char *folder = count > 1 ? arguments[1] : NULL;
	struct arenaq_arena *arena = NULL;
	unsigned i, recovered = 0, popped = 0, refused = 0;
	struct call job;
	pid_t child;
	int ended;

	memset(&job, 0, sizeof(job));
	if (!folder)
		arena = own_queue();
	else if ((child = fork()) == 0) {
		/* Who forks has no arena in its child: each attaches for itself. */
		must(arenaq_arena_attach_pinned(folder, &arena), "attaching");
		must(arenaq_open_producer(arena, "jobs", &jobs), "opening a producer");
		for (i = 0; i < JOBS; i++) {
			job.number = i;
			must(arenaq_push(&jobs, &job), "pushing");
		}
		_exit(0);
	} else if (waitpid(child, &ended, 0) != child || ended)
		return 2;
	if (!folder) {
		must(arenaq_open_producer(arena, "jobs", &jobs), "opening a producer");
		for (i = 0; i < JOBS; i++) {
			job.number = i;
			must(arenaq_push(&jobs, &job), "pushing");
		}
	}

	for (i = 0; i < CONSUMERS; i++) {
		child = fork();
		if (child == 0)
			_exit(die(arena, folder));
		if (child < 0 || waitpid(child, &ended, 0) != child)
			return 3;
		if (WIFSIGNALED(ended) && WTERMSIG(ended) == SIGSEGV) {
			dead[i] = child;
			continue;
		}
		/* All places are those of dead consumers. */
		if (!WIFEXITED(ended) || WEXITSTATUS(ended) != 7 || ++refused > 1 + i / PLACES)
			return 4;
		if (!folder) {
			recovered += drain(arena, folder);
			continue;
		}
		child = fork();
		if (child == 0) {
			must(arenaq_arena_attach_pinned(folder, &arena), "attaching");
			_exit((int)drain(arena, folder));
		}
		if (waitpid(child, &ended, 0) != child || !WIFEXITED(ended))
			return 5;
		recovered += (unsigned)WEXITSTATUS(ended);
	}

	if (folder)
		must(arenaq_arena_attach_pinned(folder, &arena), "attaching");
	else
		recovered += drain(arena, folder);
	must(arenaq_open_consumer(arena, "jobs", &jobs), "opening a consumer");
	/* Of a pinned queue with what the last ones have left. */
	while (arenaq_pop(&jobs, &job) == DS_SUCCESS) {
		given[job.number]++;
		popped++;
	}
	if (recovered + popped != JOBS || refused != 2)
		return 6;
	for (i = 0; !folder && i < JOBS; i++) {
		if (given[i] != 1)
			return 7;
	}
	arenaq_close(&jobs);
	arenaq_arena_close(arena);
	printf("%u given, after %u have died\n", JOBS, CONSUMERS - refused);
	return 0;
}
