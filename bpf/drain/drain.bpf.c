//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Drains a user ring into a ring, or only counts the samples. User space (drain_once), a timer in
 * the kernel (on_timer) or a tracepoint (drain_event) starts a run.
 *
 * A run holds a lock, because two overlapping runs would deliver samples out of order. It takes a
 * sample only if the target has room for it: see batch.h.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include "drain.h"
#include "ahead.h"

#define LONG 2048 /* bytes; a longer sample is a batch of its own */

/* Set by user space before loading: constants for the verifier. */
const volatile bool to_ring;	  /* false: samples are only counted */
const volatile __u32 max_sample;  /* bytes; a longer sample never fits into the target */
const volatile __u32 chunk = 64;  /* bytes of an element of slot */
const volatile __u32 chunks = 1;  /* elements of slot */
const volatile __u64 ring_bytes;  /* of the target */
const volatile bool overwrites;	  /* the target has BPF_F_RB_OVERWRITE, so it always has room */
const volatile __u64 kernel_limit; /* most samples of a run by timer or tracepoint; 0: no limit */
const volatile __u64 kernel_flags; /* flags of bpf_user_ringbuf_drain in such a run */

/* User space replaces the two rings by the rings to be drained and filled. */
struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096);
} user SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} target SEC(".maps");

/* The sample taken. A long one is split into several elements: the verifier demands a bound on
 * each copy, and the size of an element is limited (array_map_alloc_check: 4 MiB before 6.10). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* chunks, by user space */
	__uint(key_size, sizeof(__u32));
	__uint(value_size, 64); /* chunk, by user space */
} slot SEC(".maps");

/* A copy of a short sample that is still in the user ring. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, LONG);
} short_slot SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct drain_counts);
} counts SEC(".maps");

struct drain_state state;

struct timer_elem {
	struct bpf_timer timer;
};

/* Not in state: a program of a tracepoint may not use a map with a timer
 * (kernel/bpf/verifier.c, check_map_prog_compatibility). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timer_elem);
} timer SEC(".maps");

#include "batch.h"

static __always_inline void tally(struct drain_counts *c, const struct drain_run *r)
{
	c->runs++;
	c->samples += r->samples;
	c->bytes += r->bytes;
	c->delivered += r->delivered;
	c->delivered_bytes += r->delivered_bytes;
	c->too_large += r->too_large;
	c->full += r->full;
	if (r->result == -EBUSY)
		c->busy++;
	else if (r->result == -EINVAL)
		c->invalid++;
	else if (r->result == -E2BIG)
		c->too_big++;
	else if (r->result < 0)
		c->failed++;
	else if (r->result == 0 && !r->full)
		c->empty++;
}

/* What starts a run. */
enum origin {
	CALLER,
	CALLER_ASIDE, /* user space, to deliver only the sample kept aside */
	KERNEL,	      /* the timer or the tracepoint */
};

/* Does one run: delivers the sample kept aside, then up to limit samples of the user ring (0: up
 * to the kernel's own limit). The exchange at its end releases the state to that at the beginning
 * of the next run (litmus lock-release). */
static __always_inline long drain(enum origin origin, __u64 limit, __u64 flags, struct drain_run *out)
{
	struct drain_run none = {};
	struct drain_counts *c;
	__u32 key = 0;

	c = bpf_map_lookup_elem(&counts, &key);
	if (!c)
		return -ENOENT; /* for the verifier */
	if (__sync_lock_test_and_set(&state.lock, 1)) {
		/* atomic: a run may interrupt another one here */
		__sync_fetch_and_add(&c->contended, 1);
		return -EALREADY;
	}
	if (origin == KERNEL && state.stopped)
		goto unlock;
	state.run = none;
	state.limit = limit;
	state.forced = false;
	state.flags = flags;
	if (to_ring)
		deliver_all(origin != CALLER_ASIDE);
	else if (origin != CALLER_ASIDE)
		state.run.result = bpf_user_ringbuf_drain(&user, count_sample, NULL, flags);
	tally(c, &state.run);
	if (out)
		*out = state.run;
unlock:
	__sync_lock_test_and_set(&state.lock, 0);
	return 0;
}

SEC("syscall")
int drain_once(struct drain_arg *ctx)
{
	struct drain_run r = {};
	long err = drain(ctx->only_aside ? CALLER_ASIDE : CALLER, ctx->limit, ctx->flags, &r);

	ctx->run = r;
	return err;
}

SEC("raw_tp")
int drain_event(void *ctx)
{
	drain(KERNEL, kernel_limit, kernel_flags, NULL);
	return 0;
}

static int on_timer(void *map, __u32 *key, struct timer_elem *elem)
{
	__u64 every;

	drain(KERNEL, kernel_limit, kernel_flags, NULL);
	every = state.every;
	if (every)
		bpf_timer_start(&elem->timer, every, 0);
	return 0;
}

SEC("syscall")
int drain_start(struct drain_timer_arg *ctx)
{
	__u32 key = 0;
	struct timer_elem *elem = bpf_map_lookup_elem(&timer, &key);
	long err;

	if (!elem)
		return -ENOENT; /* for the verifier */
	state.stopped = false;
	if (!ctx->every)
		return 0;
	err = bpf_timer_init(&elem->timer, &timer, CLOCK_MONOTONIC);
	if (err && err != -EBUSY) /* -EBUSY: the timer was initialised before */
		return err;
	err = bpf_timer_set_callback(&elem->timer, on_timer);
	if (err)
		return err;
	state.every = ctx->every;
	return bpf_timer_start(&elem->timer, 0, 0);
}

/* Forbids runs by timer and tracepoint: none starts after this program returns. A run that the
 * tracepoint started before may still be going on; it holds the lock. */
SEC("syscall")
int drain_stop(void *ctx)
{
	__u32 key = 0;
	struct timer_elem *elem = bpf_map_lookup_elem(&timer, &key);
	long err;

	if (!elem)
		return -ENOENT; /* for the verifier */
	state.stopped = true;
	state.every = 0;
	err = bpf_timer_cancel(&elem->timer);
	return err == -EINVAL ? 0 : err; /* -EINVAL: the timer was never started */
}

/* bpf_probe_read_kernel and bpf_ringbuf_query require a GPL-compatible license. */
char LICENSE[] SEC("license") = "GPL";
