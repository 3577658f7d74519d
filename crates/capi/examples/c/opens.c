// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Records of any size: every file that a process opens. With a BPF object it loads that, opens files of its own, and accounts for
 * each; with a folder it prints what the object says that is pinned there, so many records. It is C11 and C++17.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arenaq_libbpf.h"
#include "opens.h"

#define FILES 1000
#define LONGEST 200
#define SHARDS 1024

static void must(int status, const char *what)
{
	if (status == DS_SUCCESS)
		return;
	fprintf(stderr, "%s: %s: %s\n", what, arenaq_strerror(status), arenaq_last_error());
	exit(1);
}

/* What has come until now: the records of a processor nearly always in their order, for only who interrupts another differs. */
struct seen {
	unsigned long records, wrong;
	uint64_t last[SHARDS];
};

static const char *file_of(const struct arenaq_record *record)
{
	return (const char *)record->data + offsetof(struct opened, file);
}

/* The name of the n-th file, each of another length. No such file is there. */
static void name_of(unsigned long n, char *name)
{
	memset(name, 'x', 1 + n % LONGEST);
	name[1 + n % LONGEST] = '\0';
}

static void check(const struct arenaq_record *record, void *context)
{
	struct seen *seen = (struct seen *)context;
	const struct opened *opened = (const struct opened *)record->data;
	size_t length = record->size - offsetof(struct opened, file);
	uint64_t *last = &seen->last[record->shard % SHARDS];

	/* A name ends with a zero byte, and the stamp is the time. */
	if (record->size < offsetof(struct opened, file) + 2 || strlen(file_of(record)) + 1 != length ||
	    strspn(file_of(record), "x") + 1 != length || record->stamp != opened->time || record->stamp < *last)
		seen->wrong++;
	*last = record->stamp;
	seen->records++;
}

static void print(const struct arenaq_record *record, void *context)
{
	(void)context;
	printf("%.*s\n", (int)(record->size - offsetof(struct opened, file)), file_of(record));
	fflush(stdout);
}

static void open_files(unsigned long first, unsigned long count)
{
	char name[LONGEST + 1];
	unsigned long n;

	for (n = first; n < first + count; n++) {
		name_of(n, name);
		if (open(name, O_RDONLY) >= 0)
			exit(3);
	}
}

/* Three files, some time apart. */
static void *open_later(void *unused)
{
	unsigned long n;

	for (n = 0; n < 3; n++) {
		usleep(120000);
		open_files(n, 1);
	}
	return unused;
}

static int load(const char *file)
{
	struct bpf_object *object = bpf_object__open_file(file, NULL);
	struct arenaq_records_consumer *second;
	struct arenaq_records_producer *producer;
	__u32 tgid = (__u32)getpid();
	struct seen seen;
	struct arenaq_queues *queues;
	struct ring_buffer *doorbell;
	struct arenaq_arena *arena;
	struct arenaq_stat stat;
	unsigned long n, waits = 0;
	struct bpf_link *link;
	pthread_t thread;
	uint64_t drained;

	if (!object)
		return 2;
	memset(&seen, 0, sizeof(seen));
	must(arenaq_libbpf_queues(object, &queues), "finding the records");
	must(arenaq_libbpf_prepare(queues, object), "making the object ready");
	bpf_map__set_initial_value(bpf_object__find_map_by_name(object, ".rodata"), &tgid, sizeof(tgid));
	if (bpf_object__load(object))
		return 4;
	must(arenaq_libbpf_create(queues, object, &arena), "making the records");
	arenaq_queues_free(queues);
	must(arenaq_records_consumer_open(arena, "opens", &opens), "opening the records");
	if (arenaq_records_consumer_open_shards(arena, "opens", 0, 1, &second) != DS_ERROR_BUSY)
		return 5;
	if (arenaq_records_consumer_drain(opens, UINT64_MAX, check, &seen, &drained) != DS_ERROR_NOT_FOUND || drained)
		return 6;
	link = bpf_program__attach(bpf_object__find_program_by_name(object, "on_exit"));
	doorbell = arenaq_libbpf_doorbell(object);
	if (!link || !doorbell)
		return 7;

	/* Each record of a few at a time comes; of many some find no room, and are counted. */
	for (n = 0; n < FILES; n += 10) {
		open_files(n, 10);
		must(arenaq_records_consumer_drain(opens, UINT64_MAX, check, &seen, &drained), "draining");
	}
	must(arenaq_arena_stat(arena, "opens", &stat), "the account");
	printf("%lu records, %lu dropped, kind %lu\n", seen.records, (unsigned long)stat.full, (unsigned long)stat.kind);
	open_files(0, FILES);
	while (arenaq_records_consumer_drain(opens, 7, check, &seen, NULL) == DS_SUCCESS)
		;
	must(arenaq_arena_stat(arena, "opens", &stat), "the account");
	printf("%lu records and dropped, some dropped: %d, for another reason: %lu\n", seen.records + (unsigned long)stat.full,
	       stat.full > 0, (unsigned long)(stat.contended + stat.invalid + stat.corrupt));

	/* From userspace, and one that is too large. */
	must(arenaq_records_producer_open(arena, "opens", &producer), "opening for a producer");
	if (arenaq_records_producer_push(producer, &stat, 289, 0) != DS_ERROR_INVALID)
		return 8;
	must(arenaq_records_producer_push(producer, "\0\0\0\0\0\0\0\0\0\0\0\0xyz", 16, 0), "pushing");
	arenaq_records_producer_close(producer);
	must(arenaq_records_consumer_drain(opens, 1, print, NULL, NULL), "draining");

	seen.records = 0;
	if (pthread_create(&thread, NULL, open_later, NULL))
		return 9;
	while (seen.records < 3) {
		must(arenaq_libbpf_wait_records(opens, doorbell, -1), "waiting");
		waits++;
		arenaq_records_consumer_drain(opens, UINT64_MAX, check, &seen, NULL);
	}
	pthread_join(thread, NULL);
	printf("%lu records after a sleep: %d, wrong: %lu\n", seen.records, waits > 3, seen.wrong);
	bpf_link__destroy(link);
	arenaq_records_consumer_close(opens);
	ring_buffer__free(doorbell);
	arenaq_arena_close(arena);
	bpf_object__close(object);
	return 0;
}

static int attach(const char *folder, unsigned long most)
{
	struct ring_buffer *doorbell;
	struct arenaq_arena *arena;
	unsigned long records = 0;
	uint64_t drained;

	if (arenaq_arena_attach_pinned(folder, &arena) || arenaq_records_consumer_open(arena, "opens", &opens)) {
		fprintf(stderr, "opens: %s\n", arenaq_last_error());
		return 1;
	}
	doorbell = arenaq_libbpf_pinned_doorbell(folder);
	while (!most || records < most) {
		int status = arenaq_records_consumer_drain(opens, most ? most - records : UINT64_MAX, print, NULL, &drained);

		records += drained;
		if (status == DS_ERROR_NOT_FOUND)
			status = arenaq_libbpf_wait_records(opens, doorbell, -1);
		must(status, "opens");
	}
	arenaq_records_consumer_close(opens);
	arenaq_arena_close(arena);
	ring_buffer__free(doorbell);
	return 0;
}

int main(int count, char **arguments)
{
	struct stat status;

	if (count < 2) {
		fprintf(stderr, "usage: opens OBJECT, or opens FOLDER [RECORDS]\n");
		return 2;
	}
	if (!stat(arguments[1], &status) && S_ISREG(status.st_mode))
		return load(arguments[1]);
	return attach(arguments[1], count > 2 ? strtoul(arguments[2], NULL, 10) : 0);
}
