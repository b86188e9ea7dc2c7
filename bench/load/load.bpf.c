//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Produces records for benchmarks: records with the time of their commit, and a refill that a
 * consumer runs on its own CPU. Both programs are run with BPF_PROG_TEST_RUN.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

#define MAX_RECORD 4096

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* replaced by the ring under test */
} ring SEC(".maps");

/* A record of stamp. */
struct stamped {
	__u64 time; /* CLOCK_MONOTONIC, right before the commit */
	__u64 seq;
};

/* Keeps the type in the BTF, from which its Go mirror is generated. */
const struct stamped *unused __attribute__((unused));

struct stamp_arg {
	__u64 seq;
};

/* Returns 1 if the ring was full. */
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

/* The records seq to end - 1, of size bytes, or of size to max_size ones. */
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

/* Returns the number of records that were not produced. */
SEC("syscall")
int refill(struct refill_arg *ctx)
{
	/* On the stack, for the callback of bpf_loop. */
	struct refill_arg arg = *ctx;
	__u32 n = arg.end - arg.seq;

	return n - bpf_loop(n, refill_step, &arg, 0);
}

/* See internal/bpftest/producer. */
char LICENSE[] SEC("license") = "GPL";
