// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A program whose queues have no counter. */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024);
} arena SEC(".maps");

#define ARENAQ_UNCOUNTED
#define DS_POOL_NODES 8ULL
#include "arenaq.h"
#include "checks.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct ds_vyukhov_head __arena mpmc;
struct ds_mpsc_head __arena mpsc;

SEC("syscall")
int check_uncounted(struct result *result)
{
	struct ds_kv output = {};

	EXPECT(DS_SUCCESS, ds_vyukhov_init(&mpmc, 4));
	TIMES(i, 4)
		EXPECT(DS_SUCCESS, ds_vyukhov_insert(&mpmc, i, 2 * i));
	EXPECT(DS_ERROR_NOMEM, ds_vyukhov_insert(&mpmc, 4, 0));
	EXPECT(0, ds_vyukhov_count(&mpmc));
	TIMES(i, 4) {
		EXPECT(DS_SUCCESS, ds_vyukhov_pop(&mpmc, &output));
		EXPECT(i, output.key);
		EXPECT(2 * i, output.value);
	}
	EXPECT(DS_ERROR_NOT_FOUND, ds_vyukhov_pop(&mpmc, &output));
	EXPECT(0, mpmc.count);
	EXPECT(DS_SUCCESS, ds_vyukhov_verify(&mpmc));

	EXPECT(DS_SUCCESS, ds_mpsc_init(&mpsc));
	TIMES(i, 7)
		EXPECT(DS_SUCCESS, ds_mpsc_insert(&mpsc, i, 2 * i));
	EXPECT(DS_ERROR_NOMEM, ds_mpsc_insert(&mpsc, 7, 0));
	EXPECT(0, mpsc.count);
	EXPECT(DS_SUCCESS, ds_mpsc_search(&mpsc, 6));
	EXPECT(DS_SUCCESS, ds_mpsc_verify(&mpsc));
	return 0;
}
