// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A program as somebody writes it who has only the seed documents: their names, their signatures,
 * their status codes. It checks what each operation returns, in the kernel, and says on which line
 * something else came.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1024);
} arena SEC(".maps");

#define DS_POOL_NODES 8ULL
#include "arenaq.h"
#include "checks.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct ds_vyukhov_head __arena mpmc;
struct ds_mpsc_head __arena mpsc;

SEC("syscall")
int check_vyukhov(struct result *result)
{
	struct ds_vyukhov_head __arena *head = &mpmc;
	struct ds_kv output = {};

	cast_kern(head);
	EXPECT(DS_ERROR_INVALID, ds_vyukhov_insert(0, 1, 1));
	EXPECT(DS_ERROR_INVALID, ds_vyukhov_insert(head, 1, 1));
	EXPECT(DS_ERROR_INVALID, ds_vyukhov_pop(head, &output));
	EXPECT(DS_ERROR_INVALID, ds_vyukhov_verify(head));
	EXPECT(DS_ERROR_INVALID, ds_vyukhov_search(head, 1));
	EXPECT(DS_ERROR_INVALID, ds_vyukhov_init(0, 4));
	EXPECT(DS_ERROR_INVALID, ds_vyukhov_init(head, 0));
	EXPECT(DS_ERROR_INVALID, ds_vyukhov_init(head, 1));
	EXPECT(DS_ERROR_INVALID, ds_vyukhov_init(head, 3));
	EXPECT(DS_ERROR_INVALID, ds_vyukhov_init(head, 1ULL << 32));
	EXPECT(DS_ERROR_NOMEM, ds_vyukhov_init(head, 1ULL << 20));
	EXPECT(DS_SUCCESS, ds_vyukhov_init(head, 4));

	EXPECT(DS_ERROR_NOT_FOUND, ds_vyukhov_pop(head, &output));
	/* Three laps, full each time. */
	TIMES(lap, 3) {
		TIMES(i, 4)
			EXPECT(DS_SUCCESS, ds_vyukhov_insert(head, 10 * lap + i, i));
		EXPECT(DS_ERROR_NOMEM, ds_vyukhov_insert(head, 99, 0));
		EXPECT(4, ds_vyukhov_count(head));
		EXPECT(DS_SUCCESS, ds_vyukhov_search(head, 10 * lap + 2));
		EXPECT(DS_ERROR_NOT_FOUND, ds_vyukhov_search(head, 99));
		EXPECT(DS_SUCCESS, ds_vyukhov_verify(head));
		TIMES(i, 4) {
			EXPECT(DS_SUCCESS, ds_vyukhov_pop(head, &output));
			EXPECT(10 * lap + i, output.key);
			EXPECT(i, output.value);
		}
		EXPECT(DS_ERROR_NOT_FOUND, ds_vyukhov_delete(head, &output));
	}
	EXPECT(0, ds_vyukhov_count(head));

	/* Damage: positions that cannot be. */
	head->dequeue_pos += 1;
	EXPECT(DS_ERROR_CORRUPT, ds_vyukhov_verify(head));
	EXPECT(DS_ERROR_CORRUPT, ds_vyukhov_search(head, 1));
	head->dequeue_pos -= 6;
	EXPECT(DS_ERROR_CORRUPT, ds_vyukhov_verify(head));
	EXPECT(DS_ERROR_CORRUPT, ds_vyukhov_search(head, 1));
	head->dequeue_pos += 5;
	EXPECT(DS_SUCCESS, ds_vyukhov_verify(head));

	/* Damage: a sequence that no lap gives. */
	head->buffer[1].sequence += 2;
	EXPECT(DS_ERROR_CORRUPT, ds_vyukhov_verify(head));
	return 0;
}

SEC("syscall")
int check_mpsc(struct result *result)
{
	struct ds_mpsc_head __arena *ctx = &mpsc;
	struct ds_mpsc_node __arena *stub;
	struct ds_kv output = {};

	cast_kern(ctx);
	EXPECT(DS_ERROR_INVALID, ds_mpsc_insert(0, 1, 1));
	EXPECT(DS_ERROR_INVALID, ds_mpsc_insert(ctx, 1, 1));
	EXPECT(DS_ERROR_INVALID, ds_mpsc_search(ctx, 1));
	EXPECT(DS_ERROR_INVALID, ds_mpsc_verify(ctx));
	EXPECT(DS_ERROR_INVALID, ds_mpsc_init(0));
	EXPECT(DS_SUCCESS, ds_mpsc_init(ctx));

	/* The kernel never consumes. */
	EXPECT(DS_ERROR_INVALID, ds_mpsc_delete(ctx, &output));
	EXPECT(DS_SUCCESS, ds_mpsc_verify(ctx));
	EXPECT(DS_ERROR_NOT_FOUND, ds_mpsc_search(ctx, 1));
	/* One of the nodes is the stub. */
	TIMES(i, DS_POOL_NODES - 1)
		EXPECT(DS_SUCCESS, ds_mpsc_insert(ctx, i + 1, i));
	EXPECT(DS_ERROR_NOMEM, ds_mpsc_insert(ctx, 99, 0));
	EXPECT(DS_POOL_NODES - 1, ds_mpsc_count(ctx));
	EXPECT(DS_SUCCESS, ds_mpsc_search(ctx, 7));
	EXPECT(DS_ERROR_NOT_FOUND, ds_mpsc_search(ctx, 99));
	EXPECT(DS_ERROR_NOT_FOUND, ds_mpsc_search(ctx, 0));
	EXPECT(DS_SUCCESS, ds_mpsc_verify(ctx));

	/* Damage: a circle, then a link to nowhere. */
	stub = ctx->tail;
	stub->next->next = stub;
	EXPECT(DS_ERROR_CORRUPT, ds_mpsc_verify(ctx));
	EXPECT(DS_ERROR_CORRUPT, ds_mpsc_search(ctx, 99));
	stub->next->next = (struct ds_mpsc_node __arena *)0x10;
	EXPECT(DS_ERROR_CORRUPT, ds_mpsc_verify(ctx));
	EXPECT(DS_ERROR_CORRUPT, ds_mpsc_search(ctx, 99));
	return 0;
}

void bpf_arena_free_pages(void *map, void __arena *pages, __u32 count) __attribute__((section(".ksyms")));

/* Growth, in four programs that run one after another: together they are too much for some verifiers. */

SEC("syscall")
int check_growth_that_cannot_be(struct result *result)
{
	void __arena *nodes = ARENAQ_ALLOC(ARENAQ_PAGE);

	EXPECT(1, nodes != 0);
	EXPECT(DS_ERROR_INVALID, ds_pool_grow(1));
	/* Outside of the arena there are no pages, and the numbers of the nodes are given back. */
	EXPECT(DS_ERROR_NOMEM, ds_pool_init_at(nodes + (1ULL << 30), nodes, 4, 1000));
	EXPECT(0, ds_pool.created);
	return 0;
}

/*
 * A pool that grows, at addresses at which nothing is: there were pages, so they lie in the arena. Six are for
 * nodes, two for links.
 */
SEC("syscall")
int check_pool_that_can_grow(struct result *result)
{
	struct ds_mpsc_head __arena *ctx = &mpsc;
	void __arena *nodes = ARENAQ_ALLOC(8 * ARENAQ_PAGE);

	cast_kern(ctx);
	EXPECT(1, nodes != 0);
	bpf_arena_free_pages(&arena, nodes, 8);
	EXPECT(DS_SUCCESS, ds_pool_init_at(nodes, nodes + 6 * ARENAQ_PAGE, 4, 1000));
	EXPECT(DS_SUCCESS, ds_mpsc_init(ctx));
	/* One of the nodes is the stub. */
	TIMES(i, 3)
		EXPECT(DS_SUCCESS, ds_mpsc_insert(ctx, i, i));
	EXPECT(DS_ERROR_NOMEM, ds_mpsc_insert(ctx, 3, 3));
	EXPECT(DS_SUCCESS, ds_pool_grow(1));
	return 0;
}

SEC("syscall")
int check_inserts_that_grow(struct result *result)
{
	struct ds_mpsc_head __arena *ctx = &mpsc;

	cast_kern(ctx);
	TIMES(i, 996)
		EXPECT(DS_SUCCESS, ds_mpsc_insert_growing(ctx, 3 + i, 3 + i));
	return 0;
}

SEC("syscall")
int check_growth_to_the_end(struct result *result)
{
	struct ds_mpsc_head __arena *ctx = &mpsc;

	cast_kern(ctx);
	EXPECT(DS_ERROR_NOMEM, ds_mpsc_insert_growing(ctx, 999, 999));
	EXPECT(DS_ERROR_NOMEM, ds_pool_grow(1));
	EXPECT(999, ds_mpsc_count(ctx));
	EXPECT(DS_SUCCESS, ds_mpsc_search(ctx, 998));
	EXPECT(DS_SUCCESS, ds_mpsc_verify(ctx));
	return 0;
}
