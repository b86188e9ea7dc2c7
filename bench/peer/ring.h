/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RING_H
#define RING_H

#include <bpf/libbpf.h>
#include <stdint.h>

/* A ring that another process created, opened with libbpf. */
struct ring {
	int fd;
	struct ring_buffer *rb;
};

/* Returns 0 or, after fail(), -1. */
int ring_open(struct ring *r, uint64_t map_id, ring_buffer_sample_fn fn, void *ctx);
void ring_close(struct ring *r);

/*
 * Polls until *got, which the callback increments for each record, is want. Returns 0 or, after
 * fail(), -1.
 */
int ring_poll(struct ring *r, const uint64_t *got, uint64_t want);

#endif
