/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LOOP_H
#define LOOP_H

#include "peer.h"

/*
 * The floor of all readers: a loop over the mapping that does only the necessary work. It does not
 * check the ring's contents, and stores consumer_pos once at the end.
 */
struct loop {
	size_t size, page;
	uint64_t *consumer_pos;
	const uint64_t *producer_pos;
	const char *data;
};

/* Returns 0 or, after fail(), -1. */
int loop_open(struct loop *l, uint64_t map_id);
void loop_consume(struct loop *l, struct tally *t);
void loop_close(struct loop *l);

#endif
