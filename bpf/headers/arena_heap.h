/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_ARENA_HEAP_H
#define RBTOOL_ARENA_HEAP_H

#include "arena.h"

/*
 * The heap of an arena, shared with user space. arena/container/heap.go documents the design;
 * internal/arenamem is the same heap in Go. No function waits for another program or process.
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
	__u64 reserved; /* pages at the end, with variables of programs; only user space reads it */
	__u64 unused0;

	__u64 brk; /* everything from here to heap_limit was never allocated */
	__u64 unused1[7];

	__u64 present; /* pages below are allocated */
	__u64 touched; /* pages below may be: user space was about to touch them */
	__u64 corrupt; /* corrupt free lists that were given up */
	__u64 unused2[5];

	__u64 roots[ARENA_ROOTS]; /* references to struct arena_root */
};

/* Page 1: a free list for each block size. */
struct arena_class {
	__u64 head;   /* reference, tag << 32 */
	__u64 used;   /* blocks in use */
	__u64 carved; /* blocks in use or free */
	__u64 unused[5];
};

/* A named object in the heap. */
struct arena_root {
	__u32 kind;
	__u32 ref;
	char name[32];
};

/*
 * The header before each block: the next free block's reference or the requested size, the class << 32,
 * the state << 40, a checksum of the reference << 48.
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
 * The condition of a loop. It is true 8 million times in a run of a program or, from Linux 6.15 on, for
 * a quarter of a second, and false for the rest of the run.
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
 * Zero, for the counters of such loops. The verifier follows a loop until the registers repeat a known
 * state. A counter that starts at a constant never does; one from memory is unknown at once.
 */
static volatile __u32 arena_zero;

#define arena_cas(word, old, new) (__sync_val_compare_and_swap(&(word), old, new) == (old))

/* arena_cas, where the result does not matter. */
#define arena_try(word, old, new) ((void)__sync_val_compare_and_swap(&(word), old, new))

/* A reference with the tag that follows a word's. */
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

/* Pops a block from the free list of its class. Returns its reference, or 0. */
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
			/* The block was overwritten: give up the list behind it. */
			if (arena_cas(c->head, head, arena_retag(head, 0)))
				__sync_fetch_and_add(&ARENA_SUPER->corrupt, 1);
			return 0;
		}
	} while (arena_can_loop);
	return 0;
}

/* Takes memory that was never allocated. Returns its reference, or 0. */
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

/* Allocates memory, not cleared. Returns NULL without free memory in present pages: see arena_grow. */
static __always_inline void __arena *arena_alloc(__u64 bytes)
{
	return (void __arena *)arena_alloc_address(bytes);
}

#define ARENA_SURE_TRIES 16

/* Tries once to push a block to a free list. */
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
		return -EINVAL; /* freed meanwhile */
	c = ARENA_CLASS(class & 63);
	__sync_fetch_and_add(&c->used, -1);
	/* A program without loop iterations left frees its blocks too. */
	for (int i = 0; i < ARENA_SURE_TRIES; i++)
		if (arena_push(c, block, free))
			return 0;
	while (arena_can_loop)
		if (arena_push(c, block, free))
			return 0;
	return -EAGAIN; /* the block is lost */
}

/* Frees memory. Returns -EINVAL if it is not allocated. */
static __always_inline int arena_free(void __arena *p)
{
	return arena_free_ref(arena_ref(p));
}

#define ARENA_GROW_PAGES 16

/*
 * Allocates pages for the next bytes of allocations. Before Linux 7.0, the kernel lets only sleepable
 * programs do that.
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
					continue; /* another program or process allocated it */
				if (present >= ARENA_READ(s->touched))
					return -ENOMEM;
				/*
				 * A process may have touched the page and been killed before it
				 * raised present. That cannot be told: skip the page.
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

/* Returns the object of root i, or NULL if that is not of the kind. */
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
