/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * arenaq for userspace in C or C++ that loads its BPF object with libbpf, by itself or through a skeleton. libbpf is the
 * program's own, 1.5 or newer; libarenaq has none, so that there are never two.
 *
 *	struct arenaq_queues *queues;
 *	struct arenaq_arena *arena;
 *	struct bpf_object *object = bpf_object__open_file("my.bpf.o", NULL);
 *
 *	arenaq_libbpf_queues(object, &queues);		// those that the object declares
 *	arenaq_queues_set_capacity(queues, "events", 8192);
 *	arenaq_libbpf_prepare(queues, object);		// before the load
 *	bpf_object__load(object);
 *	arenaq_libbpf_create(queues, object, &arena);	// before programs are attached
 *
 * Each returns a DS_* code. The arena lives as long as the object: close it, and the ends of its queues, before.
 *
 * Of an object of `arenaq build`, which has a variant for older kernels, libbpf loads the one for Linux 6.15 and newer.
 */
#ifndef ARENAQ_LIBBPF_H
#define ARENAQ_LIBBPF_H

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "arenaq.h"

/* BPF_MAP_TYPE_ARENA, which kernel headers before Linux 6.9 do not have. */
#define ARENAQ_LIBBPF_ARENA ((enum bpf_map_type)33)

/* Types whose fields are more are told apart by their size alone. */
#define ARENAQ_LIBBPF_FIELDS 128

static inline const struct btf_type *arenaq_libbpf_type(const struct btf *btf, __u32 id)
{
	const struct btf_type *type = btf__type_by_id(btf, id);

	while (type && (btf_is_mod(type) || btf_is_typedef(type)))
		type = btf__type_by_id(btf, type->type);
	return type;
}

static inline __u64 arenaq_libbpf_hash(const struct btf *btf, __u32 id, size_t size)
{
	const struct btf_type *type = arenaq_libbpf_type(btf, id);
	struct arenaq_field fields[ARENAQ_LIBBPF_FIELDS];
	__u32 i, count = type && btf_is_struct(type) ? btf_vlen(type) : 0;

	if (count > ARENAQ_LIBBPF_FIELDS)
		return 0;
	for (i = 0; i < count; i++) {
		const struct btf_member *member = btf_members(type) + i;
		__s64 bytes = btf__resolve_size(btf, member->type);

		fields[i].name = btf__name_by_offset(btf, member->name_off);
		fields[i].offset = btf_member_bit_offset(type, i) / 8;
		fields[i].size = (size_t)bytes;
		/* Such a field has no like in Rust. */
		if (!fields[i].name || !*fields[i].name || bytes < 0 || btf_member_bitfield_size(type, i) ||
		    btf_member_bit_offset(type, i) % 8)
			return 0;
	}
	return arenaq_element_hash(size, fields, count);
}

/* The array that a member of this name is: its elements say what the queue carries, or how many. */
static inline const struct btf_array *arenaq_libbpf_member(const struct btf *btf, const struct btf_type *type,
							   const char *name)
{
	__u32 i;

	for (i = 0; i < btf_vlen(type); i++) {
		const struct btf_member *member = btf_members(type) + i;
		const struct btf_type *array = arenaq_libbpf_type(btf, member->type);

		if (!strcmp(btf__name_by_offset(btf, member->name_off), name) && array && btf_is_array(array))
			return btf_array(array);
	}
	return NULL;
}

/* Of which kind a structure is: that of the member with which it begins. 0 if it is no queue. */
static inline __u64 arenaq_libbpf_kind(const struct btf *btf, const struct btf_type *type)
{
	const struct btf_type *control;
	const char *name;

	if (!btf_is_struct(type) || !btf_vlen(type) ||
	    strcmp(btf__name_by_offset(btf, btf_members(type)->name_off), "queue"))
		return 0;
	control = arenaq_libbpf_type(btf, btf_members(type)->type);
	name = control ? btf__name_by_offset(btf, control->name_off) : "";
	return !strcmp(name, "arenaq_mpmc")    ? ARENAQ_KIND_MPMC :
	       !strcmp(name, "arenaq_mpsc")    ? ARENAQ_KIND_MPSC :
	       !strcmp(name, "arenaq_records") ? ARENAQ_KIND_RECORDS :
						 0;
}

/* Adds the queue that a variable is, or those of an array. */
static inline int arenaq_libbpf_add(struct arenaq_queues *queues, const struct btf *btf, const char *name, __u32 id,
				    size_t offset)
{
	const struct btf_type *type = arenaq_libbpf_type(btf, id);
	const struct btf_array *element, *capacity;
	struct arenaq_declaration declaration;
	const struct btf_type *most;
	int is_records, status;
	__s64 size;

	if (type && btf_is_array(type)) {
		const struct btf_array *array = btf_array(type);
		const struct btf_type *each = arenaq_libbpf_type(btf, array->type);
		__s64 stride = btf__resolve_size(btf, array->type);
		__u32 i;

		for (i = 0; each && (btf_is_array(each) || arenaq_libbpf_kind(btf, each)) && i < array->nelems; i++) {
			char own[64];

			if (snprintf(own, sizeof(own), "%s[%u]", name, i) >= (int)sizeof(own) || stride <= 0)
				return DS_ERROR_INVALID;
			status = arenaq_libbpf_add(queues, btf, own, array->type, offset + i * (size_t)stride);
			if (status != DS_SUCCESS)
				return status;
		}
		return DS_SUCCESS;
	}
	memset(&declaration, 0, sizeof(declaration));
	declaration.kind = type ? arenaq_libbpf_kind(btf, type) : 0;
	if (!declaration.kind)
		return DS_SUCCESS;
	is_records = declaration.kind == ARENAQ_KIND_RECORDS;
	/* Each is an array of no elements: of what a queue carries, or of an array that is as long as the largest record. */
	element = arenaq_libbpf_member(btf, type, is_records ? "largest" : "element");
	capacity = arenaq_libbpf_member(btf, type, "capacity");
	most = capacity ? arenaq_libbpf_type(btf, capacity->type) : NULL;
	size = element ? btf__resolve_size(btf, element->type) : -1;
	if (!most || !btf_is_array(most) || size <= 0)
		return DS_ERROR_INVALID;
	declaration.name = name;
	declaration.element_size = (__u64)size;
	declaration.element_hash = is_records ? 0 : arenaq_libbpf_hash(btf, element->type, (size_t)size);
	declaration.capacity = btf_array(most)->nelems;
	declaration.offset = offset;
	status = arenaq_queues_add(queues, &declaration);
	if (status != DS_SUCCESS || !is_records)
		return status;
	return libbpf_num_possible_cpus() < 1 ? DS_ERROR_INVALID :
						arenaq_queues_set_shards(queues, name, (uint64_t)libbpf_num_possible_cpus());
}

static inline struct bpf_map *arenaq_libbpf_map(const struct bpf_object *object)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object) {
		if (bpf_map__type(map) == ARENAQ_LIBBPF_ARENA)
			return map;
	}
	return NULL;
}

/*
 * The queues and records that an object declares with ARENAQ_MPMC, ARENAQ_MPSC and ARENAQ_RECORDS. NOT_FOUND if it has none, or no
 * BTF. Free them with arenaq_queues_free().
 */
static inline int arenaq_libbpf_queues(const struct bpf_object *object, struct arenaq_queues **queues)
{
	const struct btf *btf = object ? bpf_object__btf(object) : NULL;
	const struct btf_type *section;
	int status = DS_ERROR_NOT_FOUND;
	__s32 id;
	__u32 i;

	if (!object || !queues)
		return DS_ERROR_INVALID;
	*queues = NULL;
	id = btf ? btf__find_by_name_kind(btf, ".addr_space.1", BTF_KIND_DATASEC) : -1;
	section = id > 0 ? btf__type_by_id(btf, (__u32)id) : NULL;
	if (!section || !arenaq_libbpf_map(object))
		return DS_ERROR_NOT_FOUND;
	*queues = arenaq_queues_new();
	for (i = 0; i < btf_vlen(section); i++) {
		const struct btf_var_secinfo *place = btf_var_secinfos(section) + i;
		const struct btf_type *variable = btf__type_by_id(btf, place->type);

		/* libbpf does not say where a static variable lies. */
		if (!variable || !btf_is_var(variable) || btf_var(variable)->linkage == BTF_VAR_STATIC)
			continue;
		status = arenaq_libbpf_add(*queues, btf, btf__name_by_offset(btf, variable->name_off), variable->type,
					   place->offset);
		if (status != DS_SUCCESS)
			break;
	}
	if (status != DS_SUCCESS) {
		arenaq_queues_free(*queues);
		*queues = NULL;
	}
	return status;
}

/* Records have scratch memory for each of their lanes: the map NAME_scratch. */
static inline int arenaq_libbpf_size_scratch(const struct arenaq_queues *queues, struct bpf_object *object)
{
	static const char suffix[] = "_scratch";
	struct bpf_map *map;

	bpf_object__for_each_map(map, object) {
		char name[64];
		size_t length = strlen(bpf_map__name(map));
		__u32 lanes;

		if (length <= strlen(suffix) || length >= sizeof(name))
			continue;
		length -= strlen(suffix);
		if (strcmp(bpf_map__name(map) + length, suffix))
			continue;
		memcpy(name, bpf_map__name(map), length);
		name[length] = '\0';
		lanes = arenaq_queues_lanes(queues, name);
		if (lanes && bpf_map__set_max_entries(map, lanes))
			return DS_ERROR_INVALID;
	}
	return DS_SUCCESS;
}

/*
 * An address for an arena of so many bytes at which other processes have nothing, or 0 where the kernel has to choose. Where it does,
 * the arena lies beside this process's libraries, and those of another process, which lie elsewhere, may be in its way.
 */
static inline __u64 arenaq_libbpf_address(__u64 length)
{
	/* Linux gives these to nobody who does not ask. No arena crosses a multiple of a slot. */
	const __u64 first = 0x110000000000ULL, end = 0x500000000000ULL, slot = 1ULL << 32, step = 1ULL << 21;
	int attempt;

	for (attempt = 0; attempt < 16 && length <= slot; attempt++) {
		__u64 random, address;
		void *at, *mapped;

		if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
			return 0;
		address = first + random % ((end - first) / slot) * slot;
		address += (random >> 32) % ((slot - length) / step + 1) * step;
		at = (void *)(uintptr_t)address;
		mapped = mmap(at, length, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
		if (mapped == MAP_FAILED)
			continue;
		munmap(mapped, length);
		if (mapped == at)
			return address;
	}
	return 0;
}

/*
 * Makes the object ready to be loaded: its arena gets the pages that the queues need, and an address at which other processes have
 * nothing, unless it has one (map_extra) where it can lie.
 */
static inline int arenaq_libbpf_prepare(const struct arenaq_queues *queues, struct bpf_object *object)
{
	struct bpf_map *map = object ? arenaq_libbpf_map(object) : NULL;
	size_t room, size = 0, pages, page = (size_t)sysconf(_SC_PAGESIZE);
	void *data = map ? bpf_map__initial_value(map, &size) : NULL;
	int status = arenaq_queues_room(queues, &room);
	__u64 address, length;

	if (status != DS_SUCCESS)
		return status;
	if (!data)
		return DS_ERROR_INVALID;
	pages = (size + page - 1) / page + (room + page - 1) / page;
	/* The kernel has no larger arena. */
	if (pages > (1ULL << 32) / page)
		return DS_ERROR_NOMEM;
	if (pages > bpf_map__max_entries(map) && bpf_map__set_max_entries(map, (__u32)pages))
		return DS_ERROR_INVALID;
	length = (__u64)bpf_map__max_entries(map) * page;
	address = bpf_map__map_extra(map);
	/* It has none, or has grown beyond what the kernel takes there. */
	if (!address || address >> 32 != (address + length - 1) >> 32) {
		address = arenaq_libbpf_address(length);
		if (address && bpf_map__set_map_extra(map, address))
			return DS_ERROR_INVALID;
	}
	status = arenaq_libbpf_size_scratch(queues, object);
	return status == DS_SUCCESS ? arenaq_queues_mark(queues, data, size) : status;
}

/*
 * Makes the queues in the arena of the loaded object. Attach its programs after it: until then a push is DS_ERROR_INVALID.
 * EXISTS if they were made already.
 */
static inline int arenaq_libbpf_create(const struct arenaq_queues *queues, const struct bpf_object *object,
				       struct arenaq_arena **arena)
{
	struct bpf_map *map = object ? arenaq_libbpf_map(object) : NULL;
	size_t size = 0, page = (size_t)sysconf(_SC_PAGESIZE);
	void *base = map && bpf_map__fd(map) >= 0 ? bpf_map__initial_value(map, &size) : NULL;

	if (!base)
		return DS_ERROR_INVALID;
	return arenaq_queues_create_loaded(queues, base, bpf_map__max_entries(map) * page, size, arena);
}

/*
 * The queues that another process has made in a BPF arena, of which this one has the map: inherited, or pinned and opened with
 * bpf_obj_get(). That process has to tell where the arena lies (bpf_map__initial_value()), its pages (bpf_map__max_entries()),
 * and arenaq_arena_header(). INVALID if something else is mapped there.
 */
static inline int arenaq_libbpf_attach(int map, void *base, size_t length, uintptr_t header, struct arenaq_arena **arena)
{
	void *mapped = mmap(base, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, map, 0);
	int status;

	if (mapped == MAP_FAILED)
		return DS_ERROR_INVALID;
	status = mapped == base ? arenaq_arena_attach(base, length, header, arena) : DS_ERROR_INVALID;
	if (status != DS_SUCCESS)
		munmap(mapped, length);
	return status;
}

static inline int arenaq_libbpf_ring(void *context, void *data, size_t size)
{
	(void)context;
	(void)data;
	(void)size;
	return 0;
}

/*
 * What the programs of a loaded object ring that has an ARENAQ_DOORBELL; free it with ring_buffer__free(). NULL if the object
 * has none. For an event loop, ring_buffer__epoll_fd() is a file descriptor: between arenaq_consumer_sleep() and
 * arenaq_consumer_wake() it becomes readable when an element comes; let ring_buffer__consume() empty it before.
 */
static inline struct ring_buffer *arenaq_libbpf_doorbell(const struct bpf_object *object)
{
	struct bpf_map *map = object ? bpf_object__find_map_by_name(object, "doorbell") : NULL;

	return map ? ring_buffer__new(bpf_map__fd(map), arenaq_libbpf_ring, NULL, NULL) : NULL;
}

/* The same of an object that is pinned: of arenaq_arena_attach_pinned() with this folder. NULL if it has none. */
static inline struct ring_buffer *arenaq_libbpf_pinned_doorbell(const char *folder)
{
	struct ring_buffer *doorbell;
	char path[4096];
	int map;

	if (snprintf(path, sizeof(path), "%s/doorbell", folder) >= (int)sizeof(path))
		return NULL;
	map = bpf_obj_get(path);
	if (map < 0)
		return NULL;
	doorbell = ring_buffer__new(map, arenaq_libbpf_ring, NULL, NULL);
	/* Its mappings keep the file open. */
	close(map);
	return doorbell;
}

/* For so many milliseconds a consumer sleeps at most: a ring may have been another one's. */
#define ARENAQ_LIBBPF_SLICE 50

/*
 * Sleeps until an element comes, `milliseconds` are over, or the slice is; or not at all, if an element is there. Pop after it,
 * and wait again if there was none. INVALID if the consumer is not open.
 */
static inline int arenaq_libbpf_wait(const struct arenaq_consumer *consumer, struct ring_buffer *doorbell,
				     int milliseconds)
{
	int slice = milliseconds < 0 || milliseconds > ARENAQ_LIBBPF_SLICE ? ARENAQ_LIBBPF_SLICE : milliseconds;
	int status;

	if (!doorbell)
		return DS_ERROR_INVALID;
	/* What rings from now on counts. */
	ring_buffer__consume(doorbell);
	status = arenaq_consumer_sleep(consumer);
	if (status == DS_ERROR_BUSY)
		return DS_SUCCESS;
	if (status != DS_SUCCESS)
		return status;
	ring_buffer__poll(doorbell, slice);
	arenaq_consumer_wake(consumer);
	return DS_SUCCESS;
}

/* The same for records. */
static inline int arenaq_libbpf_wait_records(const struct arenaq_records_consumer *consumer,
					     struct ring_buffer *doorbell, int milliseconds)
{
	int slice = milliseconds < 0 || milliseconds > ARENAQ_LIBBPF_SLICE ? ARENAQ_LIBBPF_SLICE : milliseconds;
	int status;

	if (!doorbell)
		return DS_ERROR_INVALID;
	ring_buffer__consume(doorbell);
	status = arenaq_records_consumer_sleep(consumer);
	if (status == DS_ERROR_BUSY)
		return DS_SUCCESS;
	if (status != DS_SUCCESS)
		return status;
	/* A program that is at work on a record has perhaps not seen that somebody sleeps. */
	if (slice > 1 && !arenaq_records_consumer_is_quiet(consumer))
		slice = 1;
	ring_buffer__poll(doorbell, slice);
	arenaq_records_consumer_wake(consumer);
	return DS_SUCCESS;
}

#endif /* ARENAQ_LIBBPF_H */
