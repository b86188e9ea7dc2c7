//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Counts the results of bpf_user_ringbuf_drain (kernel/bpf/ringbuf.c) by user ring, whatever
 * program calls it.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define RINGS 4096 /* with counts */
#define OTHER 0	   /* the key of calls for rings beyond that: ids of maps begin at 1 */

#define EINVAL 22
#define E2BIG 7
#define EBUSY 16

struct bpf_map {
	__u32 id;
} __attribute__((preserve_access_index));

/* The results of all calls for one user ring on one CPU. */
struct drains {
	__u64 calls;
	__u64 samples;
	__u64 busy;    /* -EBUSY: another drain of the ring was going on */
	__u64 invalid; /* -EINVAL: a position or a length is wrong */
	__u64 too_big; /* -E2BIG: a sample is longer than the ring, or than a dynptr */
	__u64 failed;  /* other negative results */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, RINGS);
	__type(key, __u32); /* the map's id, or OTHER, which user space adds */
	__type(value, struct drains);
} rings SEC(".maps");

static __always_inline void count(struct drains *d, __s64 result)
{
	d->calls++;
	if (result >= 0)
		d->samples += result;
	else if (result == -EBUSY)
		d->busy++;
	else if (result == -EINVAL)
		d->invalid++;
	else if (result == -E2BIG)
		d->too_big++;
	else
		d->failed++;
}

/* BPF_CALL functions have five arguments of 64 bits in BTF, whatever they use; the result follows. */
SEC("fexit/bpf_user_ringbuf_drain")
int drained(__u64 *ctx)
{
	struct bpf_map *map = (void *)ctx[0];
	__s64 result = ctx[5];
	struct drains none = {}, *d;
	__u32 id = BPF_CORE_READ(map, id);

	d = bpf_map_lookup_elem(&rings, &id);
	if (!d) {
		bpf_map_update_elem(&rings, &id, &none, BPF_NOEXIST);
		d = bpf_map_lookup_elem(&rings, &id);
	}
	if (!d) {
		id = OTHER;
		d = bpf_map_lookup_elem(&rings, &id);
	}
	if (d)
		count(d, result);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
