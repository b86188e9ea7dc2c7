//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Produces records for benchmarks. stamp produces a record with the time of its commit. refill
 * produces many records; a consumer runs it on its own CPU. Both run by BPF_PROG_TEST_RUN.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

#define MAX_RECORD 4096

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* replaced by the ring under test */
} ring SEC(".maps");

/* The record that stamp produces. */
struct stamped {
	__u64 time; /* CLOCK_MONOTONIC in ns, right before the commit */
	__u64 seq;
};

/* Keeps struct stamped in the BTF, from which the Go type is generated. */
const struct stamped *unused __attribute__((unused));

struct stamp_arg {
	__u64 seq;
};

/* Produces record arg->seq. Returns 1 if the ring is full, else 0. */
SEC("syscall")
int stamp(struct stamp_arg *arg)
{
	__u64 seq = arg->seq;
	struct stamped *rec = bpf_ringbuf_reserve(&ring, sizeof(*rec), 0);

	if (!rec)
		return 1;
	rec->seq = seq;
	rec->time = bpf_ktime_get_ns();
	bpf_ringbuf_submit(rec, 0);
	return 0;
}

/* Requests records seq to end - 1, of size bytes or, if max_size > size, of size to max_size. */
struct refill_arg {
	__u64 seq;
	__u64 end;
	__u32 size;
	__u32 max_size;
};

static __u8 scratch[MAX_RECORD] __attribute__((aligned(8)));

/* splitmix64, and the length derived from it, as in internal/bpftest/producer and its
 * Job.Len. */
static __always_inline __u64 mix(__u64 x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

static long refill_step(__u32 i, struct refill_arg *arg)
{
	__u64 seq = arg->seq + i, span;
	__u32 len = arg->size;

	if (arg->max_size > arg->size) {
		span = (__u64)arg->max_size - arg->size + 1;
		len += (__u32)(((mix(seq) >> 32) * span) >> 32);
	}
	if (len > MAX_RECORD)
		return 1;
	*(__u64 *)scratch = seq;
	return bpf_ringbuf_output(&ring, scratch, len, BPF_RB_NO_WAKEUP) != 0;
}

/* Produces the records of ctx. Returns the number of records that did not fit into the ring. */
SEC("syscall")
int refill(struct refill_arg *ctx)
{
	/* bpf_loop passes its callback a pointer to the stack, not to the context. */
	struct refill_arg arg = *ctx;
	__u32 n = arg.end - arg.seq;

	return n - bpf_loop(n, refill_step, &arg, 0);
}

/* "GPL" for both licenses of this file; see internal/bpftest/producer/producer.bpf.c. */
char LICENSE[] SEC("license") = "GPL";
