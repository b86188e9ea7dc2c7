/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_DRAIN_BATCH_H
#define RBTOOL_DRAIN_BATCH_H

/*
 * Moves samples from the user ring to the target in batches. It uses the maps and the state of
 * drain.bpf.c.
 *
 * A run takes a sample only if the target has room for it. The kernel releases a sample whatever
 * the callback returns (kernel/bpf/ringbuf.c, bpf_user_ringbuf_drain), so a run first reads the
 * samples ahead in the ring's memory. It reserves the record for the first sample and lets the
 * kernel take that sample. During the callback no other program can drain: the callback delivers
 * the samples that follow, up to the first without room, and lets the kernel take only those that
 * it has delivered.
 *
 * If the kernel takes a sample that the run did not see ahead, and the target is full, the sample
 * stays in the map slot. The next run delivers it before it drains.
 */
#define MAX_SAMPLES (128 * 1024) /* of a run: BPF_MAX_USER_RINGBUF_SAMPLES */

/* A batch is the samples of one bpf_user_ringbuf_drain. Its first record is committed last, and
 * holds up the consumer until then. A sample longer than LONG is a batch of its own, because
 * bpf_probe_read_kernel copies word by word. */
#define BATCH 1024		/* samples, */
#define BATCH_BYTES (64 << 10) /* headers included */

/* Mirrors struct bpf_dynptr_kern: programs cannot call bpf_dynptr_size before 6.5. */
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

/* Returns how many bytes of a sample of len bytes are in element i of slot. */
static __always_inline __u32 part(__u32 len, __u32 i)
{
	__u32 n = len - i * chunk;

	return n > chunk ? chunk : n;
}

/* Copies a sample that the kernel has taken into the slot. */
static __always_inline void keep(struct bpf_dynptr *sample, __u32 len)
{
	for (__u32 i = 0; i < chunks && i * chunk < len; i++) {
		__u32 key = i; /* a copy: passing its address makes the verifier forget its bounds */
		void *to = bpf_map_lookup_elem(&slot, &key);

		if (!to)
			break; /* for the verifier */
		bpf_dynptr_read(to, part(len, i), sample, i * chunk, 0);
	}
}

/* Copies the sample in the slot into a record. */
static __always_inline void fill(struct bpf_dynptr *rec, __u32 len)
{
	for (__u32 i = 0; i < chunks && i * chunk < len; i++) {
		__u32 key = i;
		void *from = bpf_map_lookup_elem(&slot, &key);

		if (!from)
			break; /* for the verifier */
		bpf_dynptr_write(rec, i * chunk, from, part(len, i), 0);
	}
}

/*
 * Returns the flags with which a record of len bytes is committed. A sleeping consumer has consumed
 * everything, so the first record of a batch wakes it by the kernel's default rule. The other
 * records do not; wake() does so at the end of the run. If wake() finds the ring too full for its
 * record, the record that made the ring half full has already woken the consumer.
 */
static __always_inline __u64 wakeup(__u32 len, bool first)
{
	__u64 before = avail_data(&target);
	__u64 after = before + span(len);

	if (after >= ring_bytes / 2 && (before < ring_bytes / 2 || !state.forced))
		return BPF_RB_FORCE_WAKEUP;
	return first ? 0 : BPF_RB_NO_WAKEUP;
}

/* Counts a record of len bytes that was committed with these flags. */
static __always_inline void written(__u32 len, __u64 flags)
{
	state.run.delivered++;
	state.run.delivered_bytes += len;
	if (flags == BPF_RB_FORCE_WAKEUP) {
		state.forced = true;
		state.silent = false;
	} else if (flags == BPF_RB_NO_WAKEUP) {
		state.silent = true;
	}
}

static __always_inline void counted(__u32 len)
{
	state.run.samples++;
	state.run.bytes += len;
	if (to_ring && len > max_sample)
		state.run.too_large++;
}

/* Delivers the sample kept aside. If the target is full, the sample stays aside. */
static __noinline bool deliver_aside(void)
{
	__u32 len = state.len;
	__u64 flags = wakeup(len, true);
	struct bpf_dynptr rec;

	if (bpf_ringbuf_reserve_dynptr(&target, len, 0, &rec)) {
		/* After a failed reservation the dynptr is null, but must be released too. */
		bpf_ringbuf_discard_dynptr(&rec, BPF_RB_NO_WAKEUP);
		state.run.full = 1;
		return false;
	}
	fill(&rec, len);
	bpf_ringbuf_submit_dynptr(&rec, flags);
	written(len, flags);
	state.aside = false;
	return true;
}

/* Delivers a sample of at most LONG bytes that the kernel has not taken yet. */
static __always_inline bool deliver_ahead(const struct drain_ahead *a, __u64 data)
{
	__u32 key = 0, len = a->len;
	__u64 flags = wakeup(len, false);
	void *copy = bpf_map_lookup_elem(&short_slot, &key);

	if (!copy || len > LONG)
		return false; /* for the verifier */
	read_ahead(&user, a, data, copy, len);
	if (bpf_ringbuf_output(&target, copy, len, flags)) {
		state.run.full = 1;
		return false;
	}
	written(len, flags);
	return true;
}

/* Delivers the next sample of the batch, which the kernel has not taken yet. */
static long deliver_next(__u32 i, void *data)
{
	struct drain_ahead *a = &state.ahead;

	if (state.run.samples == state.limit || a->pos - state.first >= BATCH_BYTES)
		return 1;
	if (look(&user, a, *(__u64 *)data))
		return 0;
	if (a->kind != AHEAD_SAMPLE)
		return 1;
	if (a->len <= max_sample && (a->len > LONG || !deliver_ahead(a, *(__u64 *)data)))
		return 1;
	counted(a->len);
	state.last = a->at;
	return 0;
}

/*
 * The callback of bpf_user_ringbuf_drain. During the callback no other program can drain, so the
 * samples ahead stay in the ring: the first call delivers the whole batch.
 */
static long on_sample(struct bpf_dynptr *sample, void *data)
{
	__u64 pos = consumer_pos(&user);
	__u32 len;

	if (state.taken && pos <= state.last)
		return pos == state.last;
	len = sample_len(sample);
	counted(len);
	if (len <= max_sample)
		keep(sample, len);
	if (pos == state.first && len == state.ahead.len) {
		state.taken = true;
		if (len <= LONG)
			bpf_loop(BATCH, deliver_next, data, 0);
		return pos == state.last;
	}
	state.aside = len <= max_sample;
	state.len = len;
	return 1;
}

static long count_sample(struct bpf_dynptr *sample, void *ctx)
{
	counted(sample_len(sample));
	return state.run.samples == state.limit;
}

static __always_inline bool room(__u64 bytes)
{
	return overwrites || avail_data(&target) + bytes < ring_bytes;
}

/* Reports whether another batch is likely to follow the one that begins with a sample of len
 * bytes. */
static __always_inline bool more(__u32 len)
{
	__u64 bytes = len > LONG ? 2 * span(len) : BATCH_BYTES;

	return state.ahead.producer_pos - state.first >= bytes && room(bytes) &&
	       (!state.limit || state.limit - state.run.samples > BATCH);
}

/* Drains until on_sample stops it. Only the last drain of a run wakes the producer, since a
 * wakeup may take microseconds. A wakeup that was skipped is owed until then. */
static __always_inline void drain_user(__u64 *data, bool more)
{
	state.run.result = bpf_user_ringbuf_drain(&user, on_sample, data, more ? BPF_RB_NO_WAKEUP : state.flags);
	if (state.run.result != -EBUSY)
		state.owed = more && !(state.flags & BPF_RB_NO_WAKEUP);
}

/* Drains a batch, beginning with the sample ahead, into a record that is reserved before it
 * is taken. Returns false if the target is full. */
static __always_inline bool drain_batch(__u64 *data)
{
	__u32 len = state.ahead.len;
	__u64 flags = wakeup(len, true);
	struct bpf_dynptr rec;

	if (bpf_ringbuf_reserve_dynptr(&target, len, 0, &rec)) {
		bpf_ringbuf_discard_dynptr(&rec, BPF_RB_NO_WAKEUP);
		state.run.full = 1;
		return false;
	}
	drain_user(data, more(len));
	if (state.taken) {
		fill(&rec, len);
		bpf_ringbuf_submit_dynptr(&rec, flags);
		written(len, flags);
	} else {
		bpf_ringbuf_discard_dynptr(&rec, BPF_RB_FORCE_WAKEUP);
	}
	return true;
}

/*
 * Drains although no sample is seen ahead: to release discarded samples, to get the error of
 * a malformed ring, or to wake the producer. It takes a sample that is committed
 * meanwhile, so there must be room for the largest.
 */
static __always_inline void drain_unseen(__u64 *data, bool first)
{
	if (state.ahead.kind == AHEAD_NOTHING && !state.owed && !(first && (state.flags & BPF_RB_FORCE_WAKEUP)))
		return;
	if (state.ahead.kind != AHEAD_MALFORMED && !room(span(max_sample)))
		return;
	state.first = ~0ULL; /* no sample has been seen ahead */
	drain_user(data, false);
	if (state.aside)
		deliver_aside();
}

static long look_on(__u32 i, void *data)
{
	return !look(&user, &state.ahead, *(__u64 *)data);
}

/* Drains the next batch. Returns 1 if the run ends, which stops bpf_loop. */
static long next_batch(__u32 i, void *data)
{
	struct drain_ahead *a = &state.ahead;
	__u64 start = consumer_pos(&user);

	a->pos = start;
	a->producer_pos = producer_pos(&user); /* read again: a repair of the ring moves it back */
	a->discarded = false;
	if (look(&user, a, *(__u64 *)data))
		bpf_loop(MAX_SAMPLES - 1 - BATCH, look_on, data, 0);
	if (!undrained(&user, a, start))
		return 0; /* another program has drained: the bytes read may not be headers */
	state.taken = false;
	state.first = state.last = a->at;
	if (a->kind == AHEAD_SAMPLE && a->len <= max_sample) {
		if (!drain_batch(data))
			return 1;
	} else if (a->kind == AHEAD_SAMPLE) {
		drain_user(data, more(0));
	} else {
		drain_unseen(data, i == 0);
		return 1;
	}
	if (state.aside && !deliver_aside())
		return 1;
	return state.run.result < 0 || state.run.samples == state.limit || a->seen >= MAX_SAMPLES;
}

/* Wakes the consumer if records were committed with BPF_RB_NO_WAKEUP. */
static __always_inline void wake(void)
{
	void *rec;

	if (!state.silent)
		return;
	if (bpf_ringbuf_query(&target, BPF_RB_AVAIL_DATA)) {
		rec = bpf_ringbuf_reserve(&target, 0, 0);
		if (!rec)
			return; /* the ring is full: the next run may find room */
		bpf_ringbuf_discard(rec, BPF_RB_FORCE_WAKEUP);
	}
	state.silent = false;
}

/* Delivers the sample kept aside, then those of the user ring. */
static __always_inline void deliver_all(bool drain)
{
	__u64 data = data_of(&user);

	state.ahead.seen = 0;
	if ((!state.aside || deliver_aside()) && drain)
		bpf_loop(MAX_SAMPLES, next_batch, &data, 0);
	wake();
}

#endif
