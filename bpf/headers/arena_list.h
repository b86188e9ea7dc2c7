/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_ARENA_LIST_H
#define RBTOOL_ARENA_LIST_H

#include "arena_heap.h"

/* A singly linked list: a stack, without locks. list.go is the same in Go. */

#define ARENA_KIND_LIST 1

struct arena_list {
	__u64 head; /* reference to the first, number of pops << 32 */
};

/* The first member of what is in a list. */
struct arena_link {
	struct arena_link __arena *next;
};

/* Puts a node at the front. It must be in no list. */
static __arena_fn int arena_list_push(struct arena_list __arena *list, struct arena_link __arena *node)
{
	__u64 head;

	arena_use();
	do {
		head = ARENA_READ(list->head);
		ARENA_WRITE(node->next, (__u32)head ? arena_ptr(head) : NULL);
		/* Only pops count: who pops meanwhile must not take an old next for the new one. */
		if (arena_cas(list->head, head, (head >> 32) << 32 | arena_ref(node)))
			return 0;
	} while (arena_can_loop);
	return -EAGAIN;
}

/* Takes the first node away: NULL when there is none. */
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
