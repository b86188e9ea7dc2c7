/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_ARENA_H
#define RBTOOL_ARENA_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>

/*
 * For programs that use an arena. Compile them with clang 19 or newer, and load them with package
 * arena/loader.
 *
 * Declare a pointer to arena memory with __arena. Its value is the user address; the compiler
 * converts it at each access. Accesses need no checks and cannot fault: absent pages read as 0.
 */
#ifndef __BPF_FEATURE_ADDR_SPACE_CAST
#error "arena programs need clang 19 or newer"
#endif

#define __arena __attribute__((address_space(1)))

/* For functions of these headers. A program need not call all of them. */
#define __arena_fn __attribute__((noinline, unused))

/*
 * For functions that take only numbers. They can be global: the verifier checks the body of a global
 * function once, not at each call.
 */
#define __arena_global __attribute__((noinline, weak))

/* See kernel/bpf/arena.c. Before Linux 7.0, only sleepable programs may call these functions. */
extern void __arena *bpf_arena_alloc_pages(void *map, void __arena *addr, __u32 page_cnt, int node_id,
					   __u64 flags) __ksym __weak;
extern void bpf_arena_free_pages(void *map, void __arena *ptr, __u32 page_cnt) __ksym __weak;

/* The program's only arena. User space may load the program with an arena of any size and flags. */
struct arena_map {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
};

extern struct arena_map arena SEC(".maps");

/* The user address of the arena's first byte, set when the program is loaded. */
extern const volatile __u64 arena_base;

/* The kernel's page size in bytes, set when the program is loaded. Known to the verifier, not to the compiler. */
extern const volatile __u64 arena_page_size;

#define ARENA_PAGE_SIZE arena_page_size

/* 1 if the machine keeps loads in program order, set when the program is loaded. See arena_load_barrier. */
extern const volatile __u64 arena_ordered;

/* Defines arena and these constants. Use it once in each object, outside functions. */
#define ARENA_DEFINE()                                                                                                 \
	struct arena_map arena SEC(".maps");                                                                           \
	const volatile __u64 arena_base;                                                                               \
	const volatile __u64 arena_ordered;                                                                            \
	const volatile __u64 arena_page_size = 4096

/*
 * The verifier learns a program's arena from a reference to the map. The functions of these headers
 * contain such a reference. A program that accesses the arena without them calls arena_use.
 */
#define arena_use() asm volatile("" : : "r"(&arena))

/*
 * A reference is the lower 32 bits of an address. It is unique, since an arena does not cross a
 * multiple of 4 GiB, and leaves room for a tag in a 64-bit word.
 */
#define arena_ptr(ref) ((void __arena *)((arena_base & 0xffffffff00000000ULL) | (__u32)(ref)))
#define arena_ref(ptr) ((__u32)(__u64)(ptr))

#define ARENA_READ(x) (*(volatile typeof(x) *)&(x))
#define ARENA_WRITE(x, v) (*(volatile typeof(x) *)&(x) = (v))

/*
 * Makes all loads before it happen before all loads after it. BPF has no instruction for that alone, but an
 * atomic instruction that returns the old value is a full barrier: on arm64 LDADDAL, or LDXR, STLXR and
 * DMB ISH (arch/arm64/net/bpf_jit_comp.c). Where arena_ordered is 1, the verifier removes it.
 *
 * Use it before a load that is to prove earlier loads, as that of a bucket's word (litmus table-lookup).
 * Loads of what a pointer points to need no barrier after the load of the pointer, and neither do loads
 * before a successful compare-and-swap.
 */
static __always_inline void arena_load_barrier(void)
{
	__u64 word = 0, old = 0;

	if (!arena_ordered)
		asm volatile("%[old] = atomic_fetch_add((u64 *)(%[word] + 0), %[old])"
			     : [old] "+r"(old)
			     : [word] "r"(&word)
			     : "memory");
}

#endif
