//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Programs of many kinds that reserve space in rings and count their own failures: the truth for package drops.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

#define MAX_RECORD 4096
#define RESERVE_SIZE 40
#define INNER_RINGS 512

/* Who counts; the index into results. */
enum reserver {
	RESERVE,
	OUTPUT,
	DYNPTR,
	TAIL_CALL,
	INNER_RING,
	KPROBE,
	TRACEPOINT,
	PERF_EVENT,
	SOFTIRQ,
	TIMER,
	INVALID,
	XDP,
	TC,
	RESERVERS,
};

struct result {
	__u64 calls;
	__u64 failed;
	__u64 failed_bytes; /* headers and padding included, without invalid calls */
	__u64 invalid;
};

struct result results[RESERVERS];

const volatile __u32 steps;    /* calls of one run */
const volatile __u32 max_size; /* of variable records; up to MAX_RECORD */

__u32 on;    /* programs of hooks and timers do something */
__u32 tgid;  /* of the process whose system calls count */
__u32 which; /* ring of outer */
__u64 seed;

static __u8 source[MAX_RECORD];

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} ring SEC(".maps");

struct inner_ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, INNER_RINGS);
	__type(key, __u32);
	__array(values, struct inner_ring);
} outer SEC(".maps") = {
	.values = {&inner},
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} tails SEC(".maps");

/* Without a branch: old verifiers walk all ways through a loop. ret is 0 or negative. */
static __always_inline void note(enum reserver who, __u64 size, __s64 ret)
{
	__u64 failed = (__u64)ret >> 63;

	asm volatile("" : "+r"(failed)); /* the compiler must not make a branch of it */
	__sync_fetch_and_add(&results[who].calls, 1);
	__sync_fetch_and_add(&results[who].failed, failed);
	__sync_fetch_and_add(&results[who].failed_bytes, ((size + 8 + 7) & ~7ULL) * failed);
}

/* Sizes need not be random, only many. */
static __always_inline __u32 next_size(void)
{
	__u64 x = seed * 6364136223846793005ULL + 1442695040888963407ULL;

	seed = x;
	return max_size ? ((x >> 33) % max_size) & (MAX_RECORD - 1) : 0;
}

static __always_inline void output(enum reserver who, void *to)
{
	__u32 size = next_size();

	note(who, size, bpf_ringbuf_output(to, source, size, BPF_RB_NO_WAKEUP));
}

/* A function of its own in the machine code, which is verified once. */
__noinline int reserve_once(void)
{
	void *rec = bpf_ringbuf_reserve(&ring, RESERVE_SIZE, 0);

	if (rec)
		bpf_ringbuf_submit(rec, BPF_RB_NO_WAKEUP);
	note(RESERVE, RESERVE_SIZE, rec ? 0 : -1);
	return 0;
}

SEC("raw_tp")
int reserve_many(void *ctx)
{
	for (__u32 i = 0; i < steps; i++)
		reserve_once();
	return 0;
}

SEC("raw_tp")
int output_many(void *ctx)
{
	for (__u32 i = 0; i < steps; i++)
		output(OUTPUT, &ring);
	return 0;
}

SEC("raw_tp")
int dynptr_many(void *ctx)
{
	struct bpf_dynptr rec;

	for (__u32 i = 0; i < steps; i++) {
		__u32 size = next_size();
		long err = bpf_ringbuf_reserve_dynptr(&ring, size, 0, &rec);

		bpf_ringbuf_submit_dynptr(&rec, BPF_RB_NO_WAKEUP);
		note(DYNPTR, size, err);
	}
	return 0;
}

SEC("raw_tp")
int tail(void *ctx)
{
	for (__u32 i = 0; i < steps; i++)
		output(TAIL_CALL, &ring);
	return 0;
}

SEC("raw_tp")
int calls_tail(void *ctx)
{
	bpf_tail_call(ctx, &tails, 0);
	return 1;
}

SEC("raw_tp")
int inner_many(void *ctx)
{
	__u32 key = which;
	void *to = bpf_map_lookup_elem(&outer, &key);

	if (!to)
		return 1;
	for (__u32 i = 0; i < steps; i++)
		output(INNER_RING, to);
	return 0;
}

/* Calls that fail on an empty ring too: flags that the helpers refuse, and a record larger than the ring. */
SEC("raw_tp")
int invalid_calls(void *ctx)
{
	void *rec = bpf_ringbuf_reserve(&ring, 8, 1);

	if (rec)
		bpf_ringbuf_discard(rec, 0);
	results[INVALID].invalid += !rec;
	results[INVALID].invalid += bpf_ringbuf_output(&ring, source, 8, 1ULL << 40) != 0;
	rec = bpf_ringbuf_reserve(&ring, 1 << 20, 0);
	if (rec)
		bpf_ringbuf_discard(rec, 0);
	results[INVALID].invalid += !rec;
	results[INVALID].calls += 3;
	return 0;
}

static __always_inline bool mine(void)
{
	return on && bpf_get_current_pid_tgid() >> 32 == tgid;
}

/* On functions that getpgid(2) calls. While a program of a kprobe, tracepoint or perf event runs, the kernel
 * runs no other of these kinds on the CPU (bpf_prog_active). */
SEC("kprobe")
int on_kprobe(void *ctx)
{
	if (mine())
		for (__u32 i = 0; i < 8; i++)
			output(KPROBE, &ring);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_getpgid")
int on_tracepoint(void *ctx)
{
	if (mine())
		for (__u32 i = 0; i < 8; i++)
			output(TRACEPOINT, &ring);
	return 0;
}

SEC("perf_event")
int on_perf_event(void *ctx)
{
	if (on)
		for (__u32 i = 0; i < 4; i++)
			output(PERF_EVENT, &ring);
	return 0;
}

SEC("raw_tp/softirq_entry")
int on_softirq(void *ctx)
{
	if (on)
		for (__u32 i = 0; i < 4; i++)
			output(SOFTIRQ, &ring);
	return 0;
}

/* For each packet. */
SEC("xdp")
int on_xdp(void *ctx)
{
	if (on)
		for (__u32 i = 0; i < 4; i++)
			output(XDP, &ring);
	return 2; /* XDP_PASS */
}

SEC("tc")
int on_tc(void *ctx)
{
	if (on)
		for (__u32 i = 0; i < 4; i++)
			output(TC, &ring);
	return -1; /* TC_ACT_UNSPEC */
}

/* Every period of 100 us. */
struct timer {
	struct bpf_timer timer;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timer);
} timers SEC(".maps");

static int on_timer(void *map, __u32 *key, struct timer *t)
{
	if (!on)
		return 0;
	for (__u32 i = 0; i < 4; i++)
		output(TIMER, &ring);
	bpf_timer_start(&t->timer, 100000, 0);
	return 0;
}

SEC("tc")
int start_timer(void *ctx)
{
	__u32 zero = 0;
	struct timer *t = bpf_map_lookup_elem(&timers, &zero);

	if (!t)
		return 1;
	bpf_timer_init(&t->timer, &timers, CLOCK_MONOTONIC);
	if (bpf_timer_set_callback(&t->timer, on_timer))
		return 2;
	return bpf_timer_start(&t->timer, 100000, 0) ? 3 : 0;
}

char LICENSE[] SEC("license") = "GPL";
