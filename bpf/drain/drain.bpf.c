//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Drains a user ring, into a ring or to be counted. One body, run by whoever
 * asks (drain_once), by a timer in the kernel (on_timer) or by a tracepoint
 * (drain_event).
 *
 * Nothing that fits is lost. The kernel releases a sample whatever the callback
 * returns (kernel/bpf/ringbuf.c, bpf_user_ringbuf_drain), so each sample is
 * first copied into a slot. One that finds the target full stays there, the
 * callback stops, and the next run delivers it before it drains. A run holds a
 * lock from first to last, because two that overlap would deliver out of order: one
 * leaves a sample in the slot, and the other, which looked there before, drains
 * the next.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include "drain.h"

/* Of user space, before it loads: constants to the verifier. */
const volatile bool to_ring;	  /* else samples are only counted */
const volatile __u32 max_sample;  /* bytes; a longer one never fits into the target */
const volatile __u32 chunk = 64;  /* bytes of an element of slot */
const volatile __u32 chunks = 1;  /* elements of slot */
const volatile __u64 ring_bytes;  /* of the target */
const volatile __u64 kernel_limit; /* samples of a run by timer or tracepoint; 0: all */
const volatile __u64 kernel_flags; /* and its flags of bpf_user_ringbuf_drain */

/* The two rings are always replaced by the caller's. */
struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096);
} user SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} target SEC(".maps");

/* The sample in hand. One element holds most samples whole; a longer one takes
 * several, because the verifier wants a bound on each copy that some kernels
 * would not give a single element (array_map_alloc_check: 4 MiB before 6.10). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* chunks, by user space */
	__uint(key_size, sizeof(__u32));
	__uint(value_size, 64); /* chunk, by user space */
} slot SEC(".maps");

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

/* Apart from state: a tracepoint's program may not use a map with a timer
 * (kernel/bpf/verifier.c, check_map_prog_compatibility). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct timer_elem);
} timer SEC(".maps");

/* struct bpf_dynptr as the kernel sees it, up to 6.4 without a function to ask. */
struct dynptr_kern {
	void *data;
	__u32 size; /* in the low 24 bits: DYNPTR_SIZE_MASK, kernel/bpf/helpers.c */
	__u32 offset;
};
#define DYNPTR_SIZE_MASK 0xffffff

extern __u32 bpf_dynptr_size(const struct bpf_dynptr *p) __ksym __weak; /* 6.5 */

static __always_inline __u32 sample_len(struct bpf_dynptr *sample)
{
	struct dynptr_kern kern = {};

	if (bpf_dynptr_size)
		return bpf_dynptr_size(sample);
	bpf_probe_read_kernel(&kern, sizeof(kern), sample);
	return kern.size & DYNPTR_SIZE_MASK;
}

/* The part of a sample of len bytes that belongs to element i of slot. */
static __always_inline __u32 part(__u32 len, __u32 i)
{
	__u32 n = len - i * chunk;

	return n > chunk ? chunk : n;
}

static __always_inline void keep(struct bpf_dynptr *sample, __u32 len)
{
	for (__u32 i = 0; i < chunks && i * chunk < len; i++) {
		__u32 key = i; /* the verifier forgets what it knows of a variable whose address is passed */
		void *to = bpf_map_lookup_elem(&slot, &key);

		if (!to)
			break; /* for the verifier */
		bpf_dynptr_read(to, part(len, i), sample, i * chunk, 0);
	}
	state.len = len;
}

/*
 * The flags to write a record of len bytes with. A consumer that sleeps has
 * consumed all, so the first record of a run wakes it, if the kernel finds that it
 * is so; the end of the run wakes it for the others. Should the ring be too full
 * then for the record that does it, a record that made it half full has.
 */
static __always_inline __u64 wakeup(__u32 len)
{
	__u64 before = bpf_ringbuf_query(&target, BPF_RB_AVAIL_DATA);
	__u64 after = before + ((len + 8 + 7) & ~7ULL);

	if (after >= ring_bytes / 2 && (before < ring_bytes / 2 || !state.forced))
		return BPF_RB_FORCE_WAKEUP;
	return state.run.delivered ? BPF_RB_NO_WAKEUP : 0;
}

/* A record was written with these flags. */
static __always_inline void written(__u64 flags)
{
	state.run.delivered++;
	state.run.delivered_bytes += state.len;
	if (flags == BPF_RB_FORCE_WAKEUP) {
		state.forced = true;
		state.silent = false;
	} else if (flags == BPF_RB_NO_WAKEUP) {
		state.silent = true;
	}
}

/* Writes the sample in the slot, of more than one element. */
static __noinline bool write_long(__u64 flags)
{
	__u32 len = state.len;
	struct bpf_dynptr rec;

	if (bpf_ringbuf_reserve_dynptr(&target, len, 0, &rec)) {
		/* A failed reservation leaves a null dynptr that must be released too. */
		bpf_ringbuf_discard_dynptr(&rec, BPF_RB_NO_WAKEUP);
		return false;
	}
	for (__u32 i = 0; i < chunks && i * chunk < len; i++) {
		__u32 key = i;
		void *from = bpf_map_lookup_elem(&slot, &key);

		if (!from)
			break; /* for the verifier */
		bpf_dynptr_write(&rec, i * chunk, from, part(len, i), 0);
	}
	bpf_ringbuf_submit_dynptr(&rec, flags);
	return true;
}

static __always_inline bool write_short(__u32 len, __u64 flags)
{
	__u32 key = 0;
	void *from = bpf_map_lookup_elem(&slot, &key);

	return from && !bpf_ringbuf_output(&target, from, len, flags);
}

/* Writes the sample in the slot to the target, or leaves it there when that is full. */
static __noinline bool deliver(void)
{
	__u32 len = state.len;
	__u64 flags = wakeup(len);

	if (len > chunk)
		state.aside = chunks == 1 || !write_long(flags);
	else
		state.aside = !write_short(len, flags);
	if (state.aside)
		state.run.full++;
	else
		written(flags);
	return !state.aside;
}

static long on_sample(struct bpf_dynptr *sample, void *ctx)
{
	__u32 len = sample_len(sample);

	state.run.samples++;
	state.run.bytes += len;
	if (to_ring && len > max_sample) {
		state.run.too_large++;
	} else if (to_ring) {
		keep(sample, len);
		if (!deliver())
			return 1;
	}
	return state.run.samples == state.limit;
}

/* Wakes the consumer for the records that did not. */
static __always_inline void wake(void)
{
	void *rec;

	if (!state.silent)
		return;
	if (bpf_ringbuf_query(&target, BPF_RB_AVAIL_DATA)) {
		rec = bpf_ringbuf_reserve(&target, 0, 0);
		if (!rec)
			return; /* the next run may find room */
		bpf_ringbuf_discard(rec, BPF_RB_FORCE_WAKEUP);
	}
	state.silent = false;
}

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

/* Who runs. */
enum origin {
	CALLER,
	CALLER_ASIDE, /* and wants no more than what is kept aside */
	KERNEL,	      /* the timer or the tracepoint */
};

/*
 * One run: what was kept aside, then what the user ring has, up to limit samples
 * (0: up to the kernel's own limit).
 */
static __always_inline long drain(enum origin origin, __u64 limit, __u64 flags, struct drain_run *out)
{
	struct drain_run none = {};
	struct drain_counts *c;
	__u32 key = 0;

	c = bpf_map_lookup_elem(&counts, &key);
	if (!c)
		return -ENOENT; /* for the verifier */
	if (__sync_lock_test_and_set(&state.lock, 1)) {
		/* A run may interrupt another one just here. */
		__sync_fetch_and_add(&c->contended, 1);
		return -EALREADY;
	}
	if (origin == KERNEL && state.stopped)
		goto unlock;
	state.run = none;
	state.limit = limit;
	state.forced = false;
	if ((!to_ring || !state.aside || deliver()) && origin != CALLER_ASIDE)
		state.run.result = bpf_user_ringbuf_drain(&user, on_sample, NULL, flags);
	if (to_ring)
		wake();
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
	if (err && err != -EBUSY) /* it was initialised before */
		return err;
	err = bpf_timer_set_callback(&elem->timer, on_timer);
	if (err)
		return err;
	state.every = ctx->every;
	return bpf_timer_start(&elem->timer, 0, 0);
}

/* When this has returned, no run by timer or tracepoint begins any more. One that the
 * tracepoint began may be under way, and holds the lock. */
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
	return err == -EINVAL ? 0 : err; /* it was never started */
}

/* bpf_probe_read_kernel and bpf_ringbuf_query are for GPL-compatible programs only. */
char _license[] SEC("license") = "GPL";
