/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_ARENA_HEAP_H
#define RBTOOL_ARENA_HEAP_H

#include "arena.h"

/*
 * The heap of an arena, shared with user space: package arena has the same in
 * Go, and says how it works and why (heap.go). Nothing here waits for anybody:
 * what fails, fails at once.
 */

#define ARENA_ROOTS 32

/* Page 0. Offsets are in bytes from the base. */
struct arena_super {
	__u64 magic;
	__u32 version;
	__u32 page_size;
	__u64 base;
	__u64 size;
	__u64 heap_start;
	__u64 heap_limit;
	__u64 reserved; /* pages at the end that hold variables of programs; user space only */
	__u64 unused0;

	__u64 brk; /* blocks below it were allocated once */
	__u64 unused1[7];

	__u64 present; /* pages below it are allocated */
	__u64 touched; /* pages below it may be: user space was about to touch them */
	__u64 corrupt; /* free lists that were given up because they were broken */
	__u64 unused2[5];

	__u64 roots[ARENA_ROOTS]; /* references to struct arena_root */
};

/* Page 1: a free list for each size of blocks. */
struct arena_class {
	__u64 head;   /* reference, tag << 32 */
	__u64 used;   /* blocks in use */
	__u64 carved; /* blocks that there are */
	__u64 unused[5];
};

/* What is known by a name. */
struct arena_root {
	__u32 kind;
	__u32 ref;
	char name[32];
};

/*
 * Before each block: reference to the next free one or the size asked for, the
 * class << 32, the state << 40, a checksum of its place << 48.
 */
struct arena_block {
	__u64 header;
	__u64 data[];
};

#define ARENA_BLOCK_FREE 1
#define ARENA_BLOCK_USED 2

#define ARENA_SUPER ((struct arena_super __arena *)arena_base)
#define ARENA_CLASS(i) ((struct arena_class __arena *)(arena_base + ARENA_PAGE_SIZE) + (i))

#define ARENA_MAX_BLOCK (1ULL << 31)

/*
 * May be used 8 million times in a run of a program, or for a quarter of a second
 * (Linux 6.15): then it is false for the rest of the run.
 */
#define arena_can_loop                                                                                                 \
	({                                                                                                             \
		__label__ stop, go_on;                                                                                 \
		bool more = true;                                                                                      \
		asm volatile goto("may_goto %l[stop]" : : : : stop);                                                   \
		goto go_on;                                                                                            \
	stop:                                                                                                          \
		more = false;                                                                                          \
	go_on:;                                                                                                        \
		more;                                                                                                  \
	})

/*
 * What a counter of such a loop begins with. The verifier follows a loop until its
 * registers say nothing new: from a constant on they would for ever, from memory their
 * values are unknown at once.
 */
static volatile __u32 arena_zero;

#define arena_cas(word, old, new) (__sync_val_compare_and_swap(&(word), old, new) == (old))

/* As arena_cas, where it does not matter who is first. */
#define arena_try(word, old, new) ((void)__sync_val_compare_and_swap(&(word), old, new))

/* The word that follows one with a tag. */
#define arena_retag(word, ref) ((((word) >> 32) + 1) << 32 | (__u32)(ref))

static __always_inline __u32 arena_class_of(__u64 bytes)
{
	__u32 b;

	if (bytes <= 16)
		return 0;
	b = 63 - __builtin_clzll(bytes - 1);
	return 2 * (b - 4) + (bytes - 1 >= 3ULL << (b - 1) ? 2 : 1);
}

static __always_inline __u64 arena_class_size(__u32 class)
{
	return (class & 1 ? 24ULL : 16ULL) << (class / 2);
}

static __always_inline __u64 arena_header(__u32 ref, __u32 class, __u32 state)
{
	__u64 check = (((ref >> 3) * 0x9e3779b1U) >> 16) ^ (class * 0x101) ^ 0x5a5a;

	return (check & 0xffff) << 48 | (__u64)state << 40 | (__u64)class << 32;
}

/* Takes a block from the free list of its class: its reference, or 0. */
__arena_global __u32 arena_pop(__u32 class)
{
	struct arena_class __arena *c = ARENA_CLASS(class & 63);
	__u64 head, header;
	__u32 ref;

	do {
		head = ARENA_READ(c->head);
		ref = head;
		if (!ref)
			return 0;
		header = ARENA_READ(((struct arena_block __arena *)arena_ptr(ref))->header);
		if (header >> 32 == arena_header(ref, class, ARENA_BLOCK_FREE) >> 32) {
			if (arena_cas(c->head, head, arena_retag(head, header)))
				return ref;
		} else if (ARENA_READ(c->head) == head) {
			/* Somebody wrote there. What is behind it is lost. */
			if (arena_cas(c->head, head, arena_retag(head, 0)))
				__sync_fetch_and_add(&ARENA_SUPER->corrupt, 1);
			return 0;
		}
	} while (arena_can_loop);
	return 0;
}

/* Takes memory that was never allocated: its reference, or 0. */
__arena_global __u32 arena_carve(__u64 bytes)
{
	struct arena_super __arena *s = ARENA_SUPER;
	__u64 brk;

	do {
		brk = ARENA_READ(s->brk);
		if (brk + bytes > ARENA_READ(s->present) || brk + bytes > ARENA_READ(s->heap_limit))
			return 0;
		if (arena_cas(s->brk, brk, brk + bytes))
			return arena_base + brk;
	} while (arena_can_loop);
	return 0;
}

/* See arena_alloc. */
__arena_global __u64 arena_alloc_address(__u64 bytes)
{
	struct arena_block __arena *block;
	struct arena_class __arena *c;
	__u32 class, ref;

	arena_use();
	if (bytes > ARENA_MAX_BLOCK - sizeof(*block))
		return 0;
	class = arena_class_of(bytes + sizeof(*block));
	c = ARENA_CLASS(class & 63);
	ref = arena_pop(class);
	if (!ref) {
		ref = arena_carve(arena_class_size(class));
		if (!ref)
			return 0;
		__sync_fetch_and_add(&c->carved, 1);
	}
	block = arena_ptr(ref);
	ARENA_WRITE(block->header, arena_header(ref, class, ARENA_BLOCK_USED) | bytes);
	__sync_fetch_and_add(&c->used, 1);
	return (__u64)block->data;
}

/*
 * Allocates memory, which is not cleared: NULL when there is none, or none in pages that
 * are there already; see arena_grow.
 */
static __always_inline void __arena *arena_alloc(__u64 bytes)
{
	return (void __arena *)arena_alloc_address(bytes);
}

#define ARENA_SURE_TRIES 16

/* Tries once to put a block on a free list. */
static __always_inline bool arena_push(struct arena_class __arena *c, struct arena_block __arena *block, __u64 free)
{
	__u64 head = ARENA_READ(c->head);

	ARENA_WRITE(block->header, free | (__u32)head);
	return arena_cas(c->head, head, arena_retag(head, arena_ref(block)));
}

/* See arena_free. */
__arena_global int arena_free_ref(__u32 data)
{
	struct arena_block __arena *block;
	struct arena_class __arena *c;
	__u64 header, free;
	__u32 ref, class;

	arena_use();
	ref = data - sizeof(*block);
	block = arena_ptr(ref);
	header = ARENA_READ(block->header);
	class = header >> 32 & 0xff;
	if (ref & 7 || header >> 32 != arena_header(ref, class, ARENA_BLOCK_USED) >> 32)
		return -EINVAL;
	free = arena_header(ref, class, ARENA_BLOCK_FREE);
	if (!arena_cas(block->header, header, free))
		return -EINVAL; /* somebody else freed it just now */
	c = ARENA_CLASS(class & 63);
	__sync_fetch_and_add(&c->used, -1);
	/* Also a program that has used up its loops gives back what it has. */
	for (int i = 0; i < ARENA_SURE_TRIES; i++)
		if (arena_push(c, block, free))
			return 0;
	while (arena_can_loop)
		if (arena_push(c, block, free))
			return 0;
	return -EAGAIN; /* after millions of tries: the block is lost */
}

/* Gives memory back: -EINVAL when it is not allocated. */
static __always_inline int arena_free(void __arena *p)
{
	return arena_free_ref(arena_ref(p));
}

#define ARENA_GROW_PAGES 16

/*
 * Makes pages for the next bytes of allocations, where the kernel lets the program:
 * sleepable ones everywhere, all from Linux 7.0 on.
 */
__arena_global int arena_grow(__u64 bytes)
{
	struct arena_super __arena *s = ARENA_SUPER;
	__u64 present, brk, end, target, pages;

	arena_use();
	target = ARENA_READ(s->brk) + bytes + 2 * ARENA_PAGE_SIZE - 1;
	do {
		target &= ~(ARENA_PAGE_SIZE - 1ULL);
		present = ARENA_READ(s->present);
		if (present >= target)
			return 0;
		pages = ARENA_GROW_PAGES;
		if (present + pages * ARENA_PAGE_SIZE > ARENA_READ(s->heap_limit))
			pages = 1;
		if (present + pages * ARENA_PAGE_SIZE > ARENA_READ(s->heap_limit))
			return -ENOMEM;
		if (!bpf_arena_alloc_pages(&arena, arena_ptr(arena_base + present), pages, NUMA_NO_NODE, 0)) {
			pages = 1;
			if (!bpf_arena_alloc_pages(&arena, arena_ptr(arena_base + present), 1, NUMA_NO_NODE, 0)) {
				if (ARENA_READ(s->present) != present)
					continue; /* another one was faster */
				if (present >= ARENA_READ(s->touched))
					return -ENOMEM;
				/*
				 * A process that touched the page may have been killed before it said
				 * so. Nobody can tell, so the page is left out.
				 */
				brk = ARENA_READ(s->brk);
				if (brk < present + ARENA_PAGE_SIZE) {
					if (!arena_cas(s->brk, brk, present + ARENA_PAGE_SIZE))
						continue;
					target = present + ARENA_PAGE_SIZE + bytes + ARENA_PAGE_SIZE - 1;
				}
			}
		}
		end = present + pages * ARENA_PAGE_SIZE;
		while (present < end && !arena_cas(s->present, present, end) && arena_can_loop)
			present = ARENA_READ(s->present);
	} while (arena_can_loop);
	return -EAGAIN;
}

/* The root of a number, when it is of this kind: a pointer to what it names, else 0. */
static __always_inline void __arena *arena_root_at(__u32 i, __u32 kind)
{
	struct arena_root __arena *root;
	__u64 ref;

	arena_use();
	if (i >= ARENA_ROOTS)
		return NULL;
	ref = ARENA_READ(ARENA_SUPER->roots[i]);
	if (!ref)
		return NULL;
	root = arena_ptr(ref);
	if (root->kind != kind)
		return NULL;
	return arena_ptr(root->ref);
}

#endif
