/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Counts one call of a helper, whichever engine has seen it. */
#ifndef RINGCALLS_COUNT_H
#define RINGCALLS_COUNT_H

#include "tables.h"
#include <bpf/bpf_core_read.h>

static __always_inline void add_tally(struct tally *t, __u64 failed, __u64 failed_bytes)
{
	__sync_fetch_and_add(&t->calls, 1);
	if (failed) {
		__sync_fetch_and_add(&t->failed, 1);
		__sync_fetch_and_add(&t->failed_bytes, failed_bytes);
	}
}

static __always_inline __u32 class_of(__u64 size)
{
	__u32 v = size, n = 0;

	if (size >> (CLASSES - 1))
		return CLASSES - 1;
#pragma unroll
	for (int step = 16; step; step >>= 1)
		if (v >> step) {
			v >>= step;
			n += step;
		}
	return (n + !!v) & (CLASSES - 1);
}

static __always_inline struct total *total(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&totals, &zero);
}

static __always_inline __u64 record_length(__u64 size)
{
	return (size + HEADER_SIZE + 7) & ~7ULL;
}

/* One call of a helper, as seen at its entry or return. */
struct seen {
	struct bpf_ringbuf *rb;
	__u64 mask;
	__u64 address; /* of the instruction after the call */
	__u64 size;
	__u64 length;  /* of the record, header and padding included */
	__u64 producer_pos, consumer_pos;
	__u64 limit;   /* see struct call */
	__u32 ring;
	bool overwrites;
	bool invalid;
	bool failed;
};

/* Whether the helper refuses flags or size, whatever is in the ring. */
static __always_inline bool is_invalid(enum helper helper, __u64 size, __u64 flags, __u64 mask)
{
	if (helper == OUTPUT ? flags & ~(BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP) : flags != 0)
		return true;
	if (helper == RESERVE_DYNPTR && size > MAX_DYNPTR_SIZE)
		return true;
	return size > MAX_RECORD_SIZE || record_length(size) > mask + 1;
}

/* These two are functions of their own, so that the compiler does not merge their tests with others: the verifier
 * must see that the load is dead code on a kernel without the member. */

static __noinline bool load_overwrite_mode(struct bpf_ringbuf *rb)
{
	if (!bpf_core_field_exists(rb->overwrite_mode))
		return false;
	return BPF_CORE_READ(rb, overwrite_mode);
}

static __noinline __u64 load_pending_pos(struct bpf_ringbuf *rb, __u64 absent)
{
	if (!bpf_core_field_exists(rb->pending_pos))
		return absent;
	return BPF_CORE_READ(rb, pending_pos);
}

/*
 * Whether another CPU holds the ring's lock or waits for it. The lock is one word (include/asm-generic/qspinlock_types.h,
 * struct qspinlock; include/asm-generic/rqspinlock.h, struct rqspinlock), and 0 if it is free. The tracepoint contention_begin
 * would tell less: it does not come for the first CPU that waits, nor for locks of guests (kernel/locking/qspinlock.c,
 * queued_spin_lock_slowpath).
 */
static __always_inline bool is_locked(struct bpf_ringbuf *rb)
{
	__u32 word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), (void *)rb + bpf_core_field_offset(struct bpf_ringbuf, spinlock));
	return word != 0;
}

/* Fills in what does not depend on the outcome. Returns false if the ring is not counted. */
static __always_inline bool look(struct seen *s, enum helper helper, __u64 map, __u64 size, __u64 flags)
{
	struct bpf_ringbuf_map *m = (void *)map;
	struct bpf_ringbuf *rb;

	s->ring = BPF_CORE_READ(m, map.id);
	if (now.only && s->ring != now.only)
		return false;
	if (!all_rings && !bpf_map_lookup_elem(&wanted, &s->ring))
		return false;
	rb = BPF_CORE_READ(m, rb);
	s->rb = rb;
	s->mask = BPF_CORE_READ(rb, mask);
	s->overwrites = load_overwrite_mode(rb);
	if (helper == RESERVE_DYNPTR)
		size = (__u32)size;
	s->size = size;
	s->invalid = is_invalid(helper, size, flags, s->mask);
	s->length = s->invalid ? 0 : record_length(size);
	/* The consumer first: the producer's position is never behind it. */
	s->consumer_pos = BPF_CORE_READ(rb, consumer_pos);
	s->producer_pos = BPF_CORE_READ(rb, producer_pos);
	return true;
}

/* Returns what is shared of the ring, and creates it at the ring's first call. */
static __always_inline struct ring *shared(struct seen *s)
{
	struct ring *r = bpf_map_lookup_elem(&rings, &s->ring);
	struct ring new = {};

	if (r)
		return r;
	new.start = s->producer_pos;
	new.size = s->mask + 1;
	new.overwrite = s->overwrites;
	bpf_map_update_elem(&rings, &s->ring, &new, BPF_NOEXIST);
	return bpf_map_lookup_elem(&rings, &s->ring);
}

static __always_inline struct counts *counts(__u32 ring)
{
	struct counts *c = bpf_map_lookup_elem(&counted, &ring);

	if (c)
		return c;
	bpf_map_update_elem(&counted, &ring, &no_counts, BPF_NOEXIST);
	return bpf_map_lookup_elem(&counted, &ring);
}

/* Stores the name of the function that has this address while it certainly exists. */
static __always_inline void store_name(__u64 address)
{
	char name[NAME_LEN] = {};

	if (!resolve_names)
		return;
	bpf_snprintf(name, sizeof(name), name_format, &address, sizeof(address));
	bpf_map_update_elem(&names, &address, name, BPF_ANY);
}

static __always_inline struct caller *caller(__u32 ring, __u64 address)
{
	struct caller_key key = {.ring = ring, .address = address};
	struct caller *c = bpf_map_lookup_elem(&callers, &key);
	struct caller new = {};

	if (c)
		return c;
	if (bpf_map_update_elem(&callers, &key, &new, BPF_NOEXIST) == 0)
		store_name(address);
	return bpf_map_lookup_elem(&callers, &key);
}

/* Nothing but an interrupt of this very code writes to the same place meanwhile. */
static __always_inline void note_size(__u64 *min, __u64 *max, __u64 size)
{
	if (!*min || size + 1 < *min)
		*min = size + 1;
	if (size > *max)
		*max = size;
}

static __always_inline void note_second(struct seen *s, __u64 now)
{
	struct second_key key = {.ring = s->ring, .second = now / 1000000000};
	struct second *t = bpf_map_lookup_elem(&seconds, &key);
	struct second new = {};
	struct total *all;

	if (!t) {
		bpf_map_update_elem(&seconds, &key, &new, BPF_NOEXIST);
		t = bpf_map_lookup_elem(&seconds, &key);
	}
	if (t) {
		__sync_fetch_and_add(&t->failed, 1);
		__sync_fetch_and_add(&t->failed_bytes, s->length);
	} else if ((all = total())) {
		__sync_fetch_and_add(&all->without_second, 1);
	}
}

static __always_inline void note_failure(struct seen *s, struct ring *r, struct counts *c)
{
	__u64 now = bpf_ktime_get_ns(), needed;

	if (!c->first_failure)
		c->first_failure = now;
	c->last_failure = now;
	if (s->invalid) {
		__sync_fetch_and_add(&c->invalid, 1);
	} else {
		__sync_fetch_and_add(&r->refused, s->length);
		needed = r->refused + s->producer_pos - s->consumer_pos;
		if (needed > c->needed)
			c->needed = needed;
	}
	note_second(s, now);
}

static __always_inline void count(struct seen *s, struct ring *r, struct counts *c)
{
	struct caller *by;
	struct total *all;

	/* Nothing waits in the ring: the burst is over. */
	if (s->producer_pos == s->consumer_pos && r->refused)
		r->refused = 0;
	if (s->failed)
		note_failure(s, r, c);
	add_tally(&c->all, s->failed, s->length);
	add_tally(&c->classes[class_of(s->size)], s->failed, s->length);
	__sync_fetch_and_add(&c->bytes, s->length);
	if (!s->invalid)
		note_size(&c->min_size, &c->max_size, s->size);
	by = caller(s->ring, s->address);
	if (by) {
		add_tally(&by->all, s->failed, s->length);
		note_size(&by->min_size, &by->max_size, s->size);
	} else if ((all = total())) {
		__sync_fetch_and_add(&all->without_caller, 1);
	}
}

static __always_inline void unattributed(void)
{
	struct total *all = total();

	if (all)
		__sync_fetch_and_add(&all->unattributed, 1);
}

#endif
