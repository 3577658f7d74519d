// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Two threads, and no BPF. */
#include <pthread.h>
#include <stdio.h>

#include "arenaq.h"

#define JOBS 100000

struct job {
	__u32 number;
};

static ARENAQ_MPMC(jobs, struct job, 0);

static void *produce(void *unused)
{
	struct job job;

	for (job.number = 1; job.number <= JOBS; job.number++) {
		while (arenaq_push(&jobs, &job) == DS_ERROR_NOMEM)
			;
	}
	return unused;
}

int main(void)
{
	struct arenaq_declaration declaration = { "jobs", ARENAQ_KIND_MPMC, sizeof(struct job), 0, 64, ARENAQ_NOWHERE };
	struct arenaq_queues *queues = arenaq_queues_new();
	struct arenaq_arena *arena;
	unsigned long long sum = 0;
	struct job job;
	pthread_t thread;
	int done;

	if (arenaq_push(&jobs, &job) != DS_ERROR_INVALID || arenaq_pop(&jobs, &job) != DS_ERROR_INVALID)
		return 1;
	declaration.capacity = 63;
	if (arenaq_queues_add(queues, &declaration) != DS_ERROR_INVALID)
		return 2;
	puts(arenaq_last_error());
	declaration.capacity = 64;
	if (arenaq_queues_add(queues, &declaration) || arenaq_queues_create_private(queues, &arena))
		return 3;
	arenaq_queues_free(queues);
	if (arenaq_producer_open(arena, "jobs", 12, &jobs.ends.producer) != DS_ERROR_INVALID)
		return 4;
	puts(arenaq_last_error());
	if (arenaq_open_producer(arena, "jobs", &jobs) || arenaq_open_consumer(arena, "jobs", &jobs))
		return 5;
	arenaq_arena_close(arena); /* the ends keep it */
	if (pthread_create(&thread, NULL, produce, NULL))
		return 6;
	for (done = 0; done < JOBS;) {
		if (arenaq_pop(&jobs, &job) == DS_SUCCESS) {
			sum += job.number;
			done++;
		}
	}
	pthread_join(thread, NULL);
	arenaq_close(&jobs);
	printf("%llu\n", sum);
	return 0;
}
