/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_ARENA_H
#define RBTOOL_ARENA_H

/*
 * Arena programs: include "kernel.h" and <bpf/bpf_helpers.h> before. Compile with
 * clang 19 or newer, load with arena.LoadCollection.
 *
 * A pointer to arena memory is declared with __arena. The compiler keeps it as the user
 * address that it is, and converts it where memory is accessed. Accesses through
 * it need no checks and cannot fault: what is not allocated reads as 0.
 */
#ifndef __BPF_FEATURE_ADDR_SPACE_CAST
#error "arena programs need clang 19 or newer"
#endif

#define __arena __attribute__((address_space(1)))

/* Functions of these headers, which a program may use or not. */
#define __arena_fn __attribute__((noinline, unused))

/*
 * Of one that is global and takes numbers only, the verifier looks at the body but
 * once, not at each call.
 */
#define __arena_global __attribute__((noinline, weak))

#define BPF_MAP_TYPE_ARENA 33
#define BPF_F_MMAPABLE (1U << 10)
#define NUMA_NO_NODE (-1)

#define ARENA_PAGE_SIZE 4096

/* kernel/bpf/arena.c; any context from Linux 7.0 on, before that sleepable programs only */
extern void __arena *bpf_arena_alloc_pages(void *map, void __arena *addr, __u32 page_cnt, int node_id,
					   __u64 flags) __ksym __weak;
extern void bpf_arena_free_pages(void *map, void __arena *ptr, __u32 page_cnt) __ksym __weak;

/*
 * The one arena of a program. Its size and flags are those of the arena that user
 * space loads it with.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
} arena SEC(".maps");

/* The user address of its first byte, set when the program is loaded. */
const volatile __u64 arena_base;

/*
 * A program must refer to its arena for the verifier to know it. Every function
 * here that a program starts with does so.
 */
#define arena_use() asm volatile("" : : "r"(&arena))

/*
 * A reference is the lower 32 bits of an address. It says all: an arena does not
 * cross a multiple of 4 GiB. It leaves room for a tag in a 64-bit word.
 */
#define arena_ptr(ref) ((void __arena *)((arena_base & 0xffffffff00000000ULL) | (__u32)(ref)))
#define arena_ref(ptr) ((__u32)(__u64)(ptr))

#define ARENA_READ(x) (*(volatile typeof(x) *)&(x))
#define ARENA_WRITE(x, v) (*(volatile typeof(x) *)&(x) = (v))

#endif
