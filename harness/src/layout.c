// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What the host's C compiler makes of the public header: a table for `arenaq layout`. */
#include <stddef.h>
#include "arenaq.h"

struct row {
	const char *structure;
	const char *field;
	__u64 bytes;
};

#define FIELD(structure, field) { #structure, #field, offsetof(struct structure, field) }
#define SIZE(structure) { #structure, "(size)", sizeof(struct structure) }

const struct row arenaq_header_layout[] = {
	FIELD(ds_kv, key),
	FIELD(ds_kv, value),
	SIZE(ds_kv),
	FIELD(ds_vyukhov_cell, sequence),
	FIELD(ds_vyukhov_cell, data),
	SIZE(ds_vyukhov_cell),
	FIELD(ds_vyukhov_head, enqueue_pos),
	FIELD(ds_vyukhov_head, dequeue_pos),
	FIELD(ds_vyukhov_head, buffer_mask),
	FIELD(ds_vyukhov_head, buffer),
	FIELD(ds_vyukhov_head, count),
	SIZE(ds_vyukhov_head),
	FIELD(ds_mpsc_node, next),
	FIELD(ds_mpsc_node, key),
	SIZE(ds_mpsc_node),
	FIELD(ds_mpsc_head, head),
	FIELD(ds_mpsc_head, tail),
	FIELD(ds_mpsc_head, count),
	SIZE(ds_mpsc_head),
	FIELD(ds_pool, top),
	FIELD(ds_pool, created),
	FIELD(ds_pool, limit),
	FIELD(ds_pool, nodes),
	FIELD(ds_pool, links),
	FIELD(ds_pool, block_shift),
	FIELD(ds_pool, magazines),
	SIZE(ds_pool),
	FIELD(arenaq_event_count, state),
	SIZE(arenaq_event_count),
	FIELD(arenaq_header, magic),
	FIELD(arenaq_header, version),
	FIELD(arenaq_header, layout_hash),
	FIELD(arenaq_header, base),
	FIELD(arenaq_header, length),
	FIELD(arenaq_header, event_count),
	FIELD(arenaq_header, directory),
	FIELD(arenaq_header, queues),
	SIZE(arenaq_header),
	FIELD(arenaq_entry, name),
	FIELD(arenaq_entry, kind),
	FIELD(arenaq_entry, element_size),
	FIELD(arenaq_entry, element_hash),
	FIELD(arenaq_entry, counted),
	FIELD(arenaq_entry, head),
	FIELD(arenaq_entry, pool),
	FIELD(arenaq_entry, drops),
	FIELD(arenaq_entry, consumer),
	FIELD(arenaq_entry, reserved),
	SIZE(arenaq_entry),
	FIELD(arenaq_drops, full),
	FIELD(arenaq_drops, contended),
	FIELD(arenaq_drops, invalid),
	FIELD(arenaq_drops, corrupt),
	SIZE(arenaq_drops),
	FIELD(arenaq_mpmc, head),
	FIELD(arenaq_mpmc, drops),
	SIZE(arenaq_mpmc),
	FIELD(arenaq_mpsc, pool),
	FIELD(arenaq_mpsc, head),
	FIELD(arenaq_mpsc, drops),
	SIZE(arenaq_mpsc),
	{ NULL, NULL, 0 },
};
