/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_ARENA_HEAP_H
#define RBTOOL_ARENA_HEAP_H

#include "arena.h"

/*
 * The heap of an arena, shared with user space. arena/container/heap.go documents the design;
 * internal/arenamem is the same heap in Go. No function waits for another program or process.
 */

#define ARENA_ROOTS 32

/*
 * The start of the arena. Offsets are in bytes from the arena's base. The page size determines where blocks
 * begin (heap_start) and which pages arena_grow allocates, nothing else.
 */
struct arena_super {
	__u64 magic;
	__u32 version;
	__u32 page_size; /* of the kernel on which the heap was made */
	__u64 base;
	__u64 size;
	__u64 heap_start;
	__u64 heap_limit;
	__u64 reserved; /* record of the pages with variables of programs; only user space reads it */
	__u64 unused0;

	__u64 brk; /* offset from which memory up to heap_limit was never allocated */
	__u64 unused1[7];

	__u64 present; /* offset below which all pages are allocated */
	__u64 touched; /* offset below which pages may be: user space raises it before it touches them */
	__u64 corrupt; /* number of corrupt free lists that were emptied */
	__u64 unused2[5];

	__u64 roots[ARENA_ROOTS]; /* references to struct arena_root */
};

/* The offset of the free lists, one for each block size. */
#define ARENA_CLASSES 4096

struct arena_class {
	__u64 head;   /* reference to the first free block | tag << 32 */
	__u64 used;   /* number of allocated blocks */
	__u64 carved; /* number of allocated and free blocks */
	__u64 unused[5];
};

/* A named object in the heap. */
struct arena_root {
	__u32 kind;
	__u32 ref;
	char name[32];
};

/*
 * The header before each block: reference of the next free block, or in a used block the requested size |
 * class << 32 | state << 40 | checksum of reference and class << 48.
 */
struct arena_block {
	__u64 header;
	__u64 data[];
};

#define ARENA_BLOCK_FREE 1
#define ARENA_BLOCK_USED 2

#define ARENA_SUPER ((struct arena_super __arena *)arena_base)
#define ARENA_CLASS(i) ((struct arena_class __arena *)(arena_base + ARENA_CLASSES) + (i))

#define ARENA_MAX_BLOCK (1ULL << 31)

/*
 * The condition of a loop. In each run of a program it is true 8 million times or, from Linux 6.15 on, for
 * a quarter of a second, and then false for the rest of the run.
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
 * Always 0: start the counters of such loops at it. The verifier follows a loop until the state of the
 * registers repeats. If a counter starts at a constant, the state never repeats. The verifier does not
 * know the value of a counter that comes from memory, so the state repeats at once.
 */
static volatile __u32 arena_zero;

#define arena_cas(word, old, new) (__sync_val_compare_and_swap(&(word), old, new) == (old))

/* arena_cas for callers that ignore the result. */
#define arena_try(word, old, new) ((void)__sync_val_compare_and_swap(&(word), old, new))

/* ref with the next tag after that of word. */
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

/*
 * Pops a block from the free list of a class. Returns its reference, or 0 if there is none.
 *
 * The compare-and-swap proves the load of the header: if others popped and reused the block before that
 * load, the list's tag has changed (litmus heap-pop).
 */
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
		} else if (arena_cas(c->head, head, arena_retag(head, 0))) {
			/* The block's header was overwritten: empty the list. Its blocks are lost. */
			__sync_fetch_and_add(&ARENA_SUPER->corrupt, 1);
			return 0;
		}
	} while (arena_can_loop);
	return 0;
}

/* Makes a block from memory that was never allocated. Returns its reference, or 0 without such memory. */
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

/* Allocates memory, and does not clear it. Returns NULL if present pages have no room: see arena_grow. */
static __always_inline void __arena *arena_alloc(__u64 bytes)
{
	return (void __arena *)arena_alloc_address(bytes);
}

#define ARENA_SURE_TRIES 16

/*
 * Attempts once to push a block to a free list. Returns whether it succeeded. The compare-and-swap publishes
 * the header (litmus heap-push).
 */
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
		return -EINVAL; /* another program or process has freed it */
	c = ARENA_CLASS(class & 63);
	__sync_fetch_and_add(&c->used, -1);
	/* A program that has used up arena_can_loop can still free blocks. */
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

#define ARENA_GROW_BYTES 65536

/*
 * Allocates pages, so that arena_alloc can allocate this many more bytes. Before Linux 7.0, only sleepable
 * programs may call it. Returns 0, -ENOMEM, -EAGAIN, or -EINVAL if the heap was made for pages of another size
 * than ARENA_PAGE_SIZE.
 */
__arena_global int arena_grow(__u64 bytes)
{
	struct arena_super __arena *s = ARENA_SUPER;
	__u64 page = ARENA_PAGE_SIZE;
	__u64 present, brk, end, target, pages;

	arena_use();
	if (ARENA_READ(s->page_size) != page)
		return -EINVAL;
	target = ARENA_READ(s->brk) + bytes + 2 * page - 1;
	do {
		target &= ~(page - 1);
		present = ARENA_READ(s->present);
		if (present >= target)
			return 0;
		pages = ARENA_GROW_BYTES / page;
		if (present + pages * page > ARENA_READ(s->heap_limit))
			pages = 1;
		if (present + pages * page > ARENA_READ(s->heap_limit))
			return -ENOMEM;
		if (!bpf_arena_alloc_pages(&arena, arena_ptr(arena_base + present), pages, NUMA_NO_NODE, 0)) {
			pages = 1;
			if (!bpf_arena_alloc_pages(&arena, arena_ptr(arena_base + present), 1, NUMA_NO_NODE, 0)) {
				if (ARENA_READ(s->present) != present)
					continue; /* another program or process has allocated the page */
				if (present >= ARENA_READ(s->touched))
					return -ENOMEM;
				/*
				 * Perhaps a process touched the page and was killed before it raised
				 * present. The program cannot find out: skip the page.
				 */
				brk = ARENA_READ(s->brk);
				if (brk < present + page) {
					if (!arena_cas(s->brk, brk, present + page))
						continue;
					target = present + page + bytes + page - 1;
				}
			}
		}
		end = present + pages * page;
		while (present < end && !arena_cas(s->present, present, end) && arena_can_loop)
			present = ARENA_READ(s->present);
	} while (arena_can_loop);
	return -EAGAIN;
}

/* Returns the object of root i, or NULL if there is no such root or it has another kind (litmus root-add). */
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
