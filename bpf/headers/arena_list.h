/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_ARENA_LIST_H
#define RBTOOL_ARENA_LIST_H

#include "arena_heap.h"

/* A singly linked list, used as a stack, without locks. arena/container/list.go is the same in Go. */

#define ARENA_KIND_LIST 1

struct arena_list {
	__u64 head; /* reference to the first node | number of pops << 32 */
};

/* The first member of a node. */
struct arena_link {
	struct arena_link __arena *next;
};

/*
 * Adds a node, which must not be in a list already, at the front. Returns 0 or -EAGAIN. The compare-and-swap
 * publishes node->next (litmus list-push).
 */
static __arena_fn int arena_list_push(struct arena_list __arena *list, struct arena_link __arena *node)
{
	__u64 head;

	arena_use();
	do {
		head = ARENA_READ(list->head);
		ARENA_WRITE(node->next, (__u32)head ? arena_ptr(head) : NULL);
		/* A push need not change the tag. A pop must: the next that another pop has read may be stale. */
		if (arena_cas(list->head, head, (head >> 32) << 32 | arena_ref(node)))
			return 0;
	} while (arena_can_loop);
	return -EAGAIN;
}

/*
 * Removes the first node and returns it, or NULL if the list is empty. The compare-and-swap fails if others
 * popped and reused the node before its next was loaded (litmus list-pop).
 */
static __arena_fn struct arena_link __arena *arena_list_pop(struct arena_list __arena *list)
{
	struct arena_link __arena *node;
	__u64 head;

	arena_use();
	do {
		head = ARENA_READ(list->head);
		if (!(__u32)head)
			return NULL;
		node = arena_ptr(head);
		if (arena_cas(list->head, head, arena_retag(head, arena_ref(ARENA_READ(node->next)))))
			return node;
	} while (arena_can_loop);
	return NULL;
}

#endif
