//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Produces records on demand: user space sets the global run, and runs one of these programs by
 * BPF_PROG_TEST_RUN until run.seq is run.end.
 *
 * For each way of producing there is a syscall program, and a raw_tp program with the same body for
 * kernels before 5.14.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

#define MAX_RECORD 65536
#define SHIFTS 4096 /* a power of two */

/*
 * Constants for the verifier: bpf_ringbuf_reserve takes only a constant size. User space sets
 * them before loading, and the verifier removes the branches that they decide, so that a loaded
 * program does one job only.
 */
const volatile __u32 steps;	    /* records of one run; the verifier walks each */
const volatile __u32 size;	    /* bytes, the smallest */
const volatile __u32 max_size;	    /* bytes, the largest */
const volatile bool fast;	    /* write the first 8 bytes only */
const volatile __u64 discard_every; /* 0: never */
const volatile __u64 wake_bytes;    /* 0: run.flags applies */

/* The parts of a job that are not constants, and the result so far. */
struct run_state {
	__u64 seq;   /* sequence number of the next record */
	__u64 end;   /* the first sequence number not to produce */
	__u64 flags; /* flags of commits; if not 0, wake_bytes is ignored */
	__u64 retry; /* whether a full ring ends the program run */
	__u64 submitted;
	__u64 discarded;
	__u64 failed;
	__u64 bytes; /* bytes of payload of submitted records */
};
struct run_state run;

/* The results of bpf_ringbuf_query. */
struct query_result {
	__u64 avail_data;
	__u64 ring_size;
	__u64 cons_pos;
	__u64 prod_pos;
	__u64 overwrite_pos;
};
struct query_result query;

/* Record seq is seq in the first 8 bytes, then pattern[seq % SHIFTS + i] at byte i. */
__u8 pattern[MAX_RECORD + SHIFTS];
/* The source of records for bpf_ringbuf_output. */
__u8 scratch[MAX_RECORD] __attribute__((aligned(8)));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* replaced by the ring under test */
} ring SEC(".maps");

/* splitmix64. mix of job.go is the same function. */
static __always_inline __u64 mix(__u64 x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

/* Returns the length of record seq. Job.Len is the same function. */
static __always_inline __u64 record_len(__u64 seq)
{
	__u64 min = size, max = max_size, len;

	if (max <= min)
		return min;
	len = min + (((mix(seq) >> 32) * (max - min + 1)) >> 32);
	/* len is never above MAX_RECORD, but the verifier of 5.10 does not know the bounds of the product. */
	return len > MAX_RECORD ? MAX_RECORD : len;
}

/* Reports whether record seq is discarded. Job.Discarded is the same function. */
static __always_inline bool is_discarded(__u64 seq)
{
	return discard_every && (seq + 1) % discard_every == 0;
}

/* Returns the flags for the commit of the next record. */
static __always_inline __u64 wakeup(void)
{
	if (!wake_bytes || run.flags)
		return run.flags;
	if (bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) >= wake_bytes)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

static __always_inline const void *payload(__u64 seq)
{
	return pattern + (seq & (SHIFTS - 1));
}

/* Fills record seq of size reserved bytes. */
static __always_inline void fill(void *rec, __u64 seq)
{
	if (!fast && size > 8)
		bpf_probe_read_kernel(rec, size, payload(seq));
	if (size >= 8)
		*(__u64 *)rec = seq;
	else if (size)
		bpf_probe_read_kernel(rec, size, &seq);
}

/* Handles a failed reservation. Returns whether the program continues with the next record. */
static __always_inline bool failed(__u64 seq)
{
	run.failed++;
	if (run.retry)
		return false;
	run.seq = seq + 1;
	return true;
}

static __always_inline bool committed(__u64 seq, __u64 len, bool discarded)
{
	if (discarded) {
		run.discarded++;
	} else {
		run.submitted++;
		run.bytes += len;
	}
	run.seq = seq + 1;
	return true;
}

static __always_inline bool reserve_step(void)
{
	__u64 seq = run.seq;
	void *rec;

	if (seq == run.end)
		return false;
	rec = bpf_ringbuf_reserve(&ring, size, 0);
	if (!rec)
		return failed(seq);
	fill(rec, seq);
	if (is_discarded(seq)) {
		bpf_ringbuf_discard(rec, wakeup());
		return committed(seq, size, true);
	}
	bpf_ringbuf_submit(rec, wakeup());
	return committed(seq, size, false);
}

static __always_inline bool output_step(void)
{
	__u64 seq = run.seq;
	__u64 len = record_len(seq);

	if (seq == run.end)
		return false;
	if (!fast)
		bpf_probe_read_kernel(scratch, len, payload(seq));
	*(__u64 *)scratch = seq;
	if (bpf_ringbuf_output(&ring, scratch, len, wakeup()))
		return failed(seq);
	return committed(seq, len, false);
}

static __always_inline bool dynptr_step(void)
{
	__u64 seq = run.seq;
	__u64 len = record_len(seq);
	struct bpf_dynptr rec;

	if (seq == run.end)
		return false;
	/* A failed reservation leaves a null dynptr, which must be released. */
	if (bpf_ringbuf_reserve_dynptr(&ring, len, 0, &rec)) {
		bpf_ringbuf_discard_dynptr(&rec, BPF_RB_NO_WAKEUP);
		return failed(seq);
	}
	if (!fast)
		bpf_dynptr_write(&rec, 0, (void *)payload(seq), len, 0);
	bpf_dynptr_write(&rec, 0, &seq, len < 8 ? len : 8, 0);
	if (is_discarded(seq)) {
		bpf_ringbuf_discard_dynptr(&rec, wakeup());
		return committed(seq, len, true);
	}
	bpf_ringbuf_submit_dynptr(&rec, wakeup());
	return committed(seq, len, false);
}

/* Defines a program. It returns whether it stopped because the ring was full. */
#define PROGRAM(type, op)                                                      \
	SEC(#type) int op##_##type(void *ctx)                                  \
	{                                                                      \
		for (__u32 i = 0; i < steps; i++)                              \
			if (!op##_step())                                      \
				break;                                         \
		return run.failed != 0;                                        \
	}

PROGRAM(syscall, reserve)
PROGRAM(raw_tp, reserve)
PROGRAM(syscall, output)
PROGRAM(raw_tp, output)
PROGRAM(syscall, dynptr) /* kernels with dynptrs (5.19) have syscall programs */

SEC("raw_tp")
int query_ring(void *ctx)
{
	query.avail_data = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA);
	query.ring_size = bpf_ringbuf_query(&ring, BPF_RB_RING_SIZE);
	query.cons_pos = bpf_ringbuf_query(&ring, BPF_RB_CONS_POS);
	query.prod_pos = bpf_ringbuf_query(&ring, BPF_RB_PROD_POS);
	query.overwrite_pos = bpf_ringbuf_query(&ring, BPF_RB_OVERWRITE_POS);
	return 0;
}

/* The argument of hold_record: the address of the verdict, and the record's number. */
struct hold_arg {
	__u64 verdict_addr;
	__u64 seq;
};

/*
 * Reserves a record, waits for user space's verdict, and commits or discards the record. The
 * verdict is in a page that is missing until user space provides it by a userfaultfd:
 * bpf_copy_from_user sleeps until then. Returns 1 if the ring is full.
 */
SEC("syscall")
int hold_record(struct hold_arg *ctx)
{
	__u64 seq = ctx->seq, commit = 0;
	void *rec;

	rec = bpf_ringbuf_reserve(&ring, size, 0);
	if (!rec)
		return 1;
	fill(rec, seq);
	/* On failure commit stays 0, and the record is discarded. */
	bpf_copy_from_user(&commit, sizeof(commit), (void *)ctx->verdict_addr);
	if (commit)
		bpf_ringbuf_submit(rec, 0);
	else
		bpf_ringbuf_discard(rec, 0);
	return 0;
}

/*
 * The kernel has no string for the two licenses of this file (license_is_gpl_compatible). The
 * string "GPL" permits the program to call GPL-only helpers such as bpf_ringbuf_query.
 */
char LICENSE[] SEC("license") = "GPL";
