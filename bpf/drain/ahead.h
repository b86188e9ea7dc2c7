/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_DRAIN_AHEAD_H
#define RBTOOL_DRAIN_AHEAD_H

/*
 * Reads the samples of a user ring without consuming them. The ring is kernel memory, so a program
 * may read it. bpf_user_ringbuf_drain will find the same samples, unless another program drains in
 * the meantime or the producer changes samples that it has committed.
 */
#include <bpf/bpf_core_read.h>

#define RINGBUF_BUSY_BIT (1U << 31)
#define RINGBUF_DISCARD_BIT (1U << 30)
#define RINGBUF_HDR_SZ 8
#define DYNPTR_MAX_SIZE 0xffffff /* kernel/bpf/helpers.c */

/* Types of kernel/bpf/ringbuf.c, with only the members that are used here. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct bpf_ringbuf {
	__u64 mask;
	unsigned long consumer_pos;
	unsigned long producer_pos;
	char data[];
};

struct bpf_ringbuf_map {
	struct bpf_ringbuf *rb;
};

struct bpf_ringbuf_hdr {
	__u32 len;
};

#pragma clang attribute pop

extern void *bpf_rdonly_cast(const void *address, __u32 type) __ksym __weak; /* 6.2 */

static __always_inline struct bpf_ringbuf *ring_of(void *map)
{
	return ((struct bpf_ringbuf_map *)map)->rb;
}

/* The address of a member. Its offset depends on the page size and exceeds the 16 bits
 * of a load instruction with 16 KiB pages: barrier_var keeps the compiler from folding it
 * into the load. */
#define RING_MEMBER(rb, member)                                                                \
	({                                                                                     \
		void *address = (void *)(rb) + bpf_core_field_offset(struct bpf_ringbuf, member); \
		barrier_var(address);                                                          \
		address;                                                                       \
	})

/*
 * Returns 0, computed from v. If it is added to the address of a load, every CPU does that load
 * after the load of v (tools/memory-model/Documentation: address dependency). BPF has no
 * load-acquire before Linux 6.15.
 */
static __always_inline __u64 after(__u64 v)
{
	asm volatile("%0 &= 0" : "+r"(v));
	return v;
}

static __always_inline __u64 consumer_pos(void *map)
{
	return *(volatile __u64 *)RING_MEMBER(ring_of(map), consumer_pos);
}

static __always_inline __u64 producer_pos(void *map)
{
	return *(volatile __u64 *)RING_MEMBER(ring_of(map), producer_pos);
}

/* Returns the same as bpf_ringbuf_query with BPF_RB_AVAIL_DATA, without a call. Loaded first,
 * producer_pos could be behind consumer_pos (litmus drain-avail). */
static __always_inline __u64 avail_data(void *map)
{
	__u64 pos = consumer_pos(map);

	return *(volatile __u64 *)(RING_MEMBER(ring_of(map), producer_pos) + after(pos)) - pos;
}

/*
 * Reports whether consumer_pos is still pos, after a look. If so, the words that were read from pos on
 * are headers: the producer has not written over them. The load depends on
 * the last of them, and the address of each on the one before (litmus drain-look).
 */
static __always_inline bool undrained(void *map, const struct drain_ahead *a, __u64 pos)
{
	return *(volatile __u64 *)(RING_MEMBER(ring_of(map), consumer_pos) + after(a->len)) == pos;
}

/* Returns the address of the data as a number: the verifier does not permit adding an unbounded
 * position to a pointer. */
static __always_inline __u64 data_of(void *map)
{
	void *data = RING_MEMBER(ring_of(map), data);
	__u64 address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &data);
	return address;
}

/* Returns the number of bytes that a sample or record of len bytes takes in a ring. */
static __always_inline __u64 span(__u32 len)
{
	return ((__u64)len + RINGBUF_HDR_SZ + 7) & ~7ULL;
}

/* Returns the address of position pos; data is data_of(map). */
static __always_inline __u64 address(void *map, __u64 data, __u64 pos)
{
	return data + (pos & ring_of(map)->mask);
}

/* Returns the header at address at. Kernels before 6.2 can only copy from such an address. */
static __always_inline __u32 load_header(__u64 at)
{
	__u32 header = 0;

	if (bpf_rdonly_cast)
		return *(volatile __u32 *)bpf_rdonly_cast((void *)at, bpf_core_type_id_kernel(struct bpf_ringbuf_hdr));
	bpf_probe_read_kernel(&header, sizeof(header), (void *)at);
	return header;
}

/*
 * Reads the header at a->pos as __bpf_user_ringbuf_peek does (kernel/bpf/ringbuf.c), and moves
 * a->pos past the sample. Returns true if the sample is discarded: the caller must look at the next
 * one. data is data_of(map).
 */
static __always_inline bool look(void *map, struct drain_ahead *a, __u64 data)
{
	__u32 header;

	if (a->pos >= a->producer_pos)
		a->producer_pos = producer_pos(map);
	a->kind = a->discarded ? AHEAD_DISCARDED : AHEAD_NOTHING;
	if (a->pos >= a->producer_pos)
		return false;
	/* Partner: the producer's store-release of its position (litmus drain-ahead). */
	header = load_header(address(map, data, a->pos) + after(a->producer_pos));
	a->seen++;
	a->at = a->pos;
	a->len = header & ~(RINGBUF_BUSY_BIT | RINGBUF_DISCARD_BIT);
	if (a->producer_pos % 8 || a->len > DYNPTR_MAX_SIZE || span(a->len) > a->producer_pos - a->pos ||
	    span(a->len) > ring_of(map)->mask + 1)
		a->kind = AHEAD_MALFORMED;
	else if (header & RINGBUF_DISCARD_BIT)
		a->discarded = true;
	else if (header & RINGBUF_BUSY_BIT)
		return false;
	else
		a->kind = AHEAD_SAMPLE;
	if (a->kind == AHEAD_MALFORMED)
		return false;
	a->pos += span(a->len);
	return a->kind != AHEAD_SAMPLE;
}

/*
 * Copies the bytes of the sample that a look has found. Partner: the producer's store-release of the header
 * that commits them (litmus drain-ahead).
 */
static __always_inline void read_ahead(void *map, const struct drain_ahead *a, __u64 data, void *to, __u32 len)
{
	bpf_probe_read_kernel(to, len, (void *)(address(map, data, a->at + RINGBUF_HDR_SZ) + after(a->len)));
}

#endif
