//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Page operations that user space cannot do without a program. BPF_PROG_TEST_RUN runs these. */
#include "arena.h"

ARENA_DEFINE();

struct page_range {
	__u64 addr; /* user address of the first page, or 0 for any */
	__u64 count;
	__u64 result; /* set by alloc_pages: the user address of the first page, or 0 */
};

SEC("syscall")
int alloc_pages(struct page_range *r)
{
	r->result = (__u64)bpf_arena_alloc_pages(&arena, (void __arena *)r->addr, r->count, NUMA_NO_NODE, 0);
	return 0;
}

SEC("syscall")
int free_pages(struct page_range *r)
{
	bpf_arena_free_pages(&arena, (void __arena *)r->addr, r->count);
	return 0;
}

#define COPY_WORDS 512

struct copy {
	__u64 addr; /* user address, a multiple of 8 */
	__u64 data[COPY_WORDS];
};

/*
 * Copies arena memory without allocating absent pages, unlike an access in user space: absent pages read as 0.
 * The loop is unrolled, because the verifier accepts only constant offsets into the context.
 */
SEC("syscall")
int copy_out(struct copy *c)
{
	volatile __u64 __arena *from = (__u64 __arena *)c->addr;

	arena_use();
#pragma clang loop unroll(full)
	for (int i = 0; i < COPY_WORDS; i++)
		c->data[i] = from[i];
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
