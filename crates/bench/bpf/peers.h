/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the programs here need of the kernel's ABI beyond kernel.h.
 */
#ifndef PEERS_H
#define PEERS_H

enum {
	BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
	BPF_MAP_TYPE_QUEUE = 22,
	BPF_MAP_TYPE_USER_RINGBUF = 31,
};

#define BPF_F_CURRENT_CPU 0xffffffffULL

#endif /* PEERS_H */
