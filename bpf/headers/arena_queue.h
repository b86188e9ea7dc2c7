/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_ARENA_QUEUE_H
#define RBTOOL_ARENA_QUEUE_H

#include "arena_heap.h"

/*
 * A bounded queue of references for any number of producers and consumers. arena/container/queue.go is
 * the same in Go.
 */

#define ARENA_KIND_QUEUE 3

struct arena_queue {
	__u64 head; /* number of the next element to take */
	__u64 unused0[7];
	__u64 tail; /* number of the next element to put */
	__u64 unused1[7];
	__u32 bits; /* log2 of the number of slots */
	__u32 unused2;
	__u64 slots[]; /* reference of an element, or 0 if empty | lap << 32 */
};

/*
 * Adds a reference, which must not be 0, at the end. Returns 0, -ENOBUFS if the queue is full, or -EAGAIN. The
 * compare-and-swap of the slot publishes what was written into the element (litmus queue).
 */
static __arena_fn int arena_queue_put(struct arena_queue __arena *q, __u32 ref)
{
	__u64 tail, lap, slot;
	__u32 bits;

	arena_use();
	bits = q->bits & 31;
	do {
		tail = ARENA_READ(q->tail);
		lap = (__u32)(tail >> bits);
		__u64 __arena *at = &q->slots[tail & ((1ULL << bits) - 1)];
		slot = ARENA_READ(*at);
		if (slot == lap << 32) {
			if (arena_cas(*at, slot, slot | ref)) {
				arena_try(q->tail, tail, tail + 1);
				return 0;
			}
		} else if (slot >> 32 == (__u32)(lap - 1)) {
			if (ARENA_READ(q->tail) == tail)
				return -ENOBUFS; /* the slot still holds the element of the previous lap */
		} else {
			/* Another filled the slot and has not advanced the tail yet, or was killed before. */
			arena_try(q->tail, tail, tail + 1);
		}
	} while (arena_can_loop);
	return -EAGAIN;
}

/*
 * Removes the reference at the front. Returns 0, -ENODATA if the queue is empty, or -EAGAIN. The
 * compare-and-swap of the slot acquires the element (litmus queue).
 */
static __arena_fn int arena_queue_take(struct arena_queue __arena *q, __u64 *ref)
{
	__u64 head, lap, slot;
	__u32 bits;

	arena_use();
	bits = q->bits & 31;
	do {
		head = ARENA_READ(q->head);
		lap = (__u32)(head >> bits);
		__u64 __arena *at = &q->slots[head & ((1ULL << bits) - 1)];
		slot = ARENA_READ(*at);
		if (slot == lap << 32)
			return -ENODATA;
		if (slot >> 32 == lap) {
			if (arena_cas(*at, slot, (__u64)(__u32)(lap + 1) << 32)) {
				arena_try(q->head, head, head + 1);
				*ref = (__u32)slot;
				return 0;
			}
		} else {
			/* Another emptied the slot and has not advanced the head yet, or was killed before. */
			arena_try(q->head, head, head + 1);
		}
	} while (arena_can_loop);
	return -EAGAIN;
}

#endif
