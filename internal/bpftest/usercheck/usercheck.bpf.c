//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Drains a user ring and checks that each sample is intact and arrives once. */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include "usercheck.h"

#define LARGEST 4096
#define WORD 8
#define PRIME 0x9e3779b97f4a7c15ULL

/* Set by user space before loading. */
const volatile __u32 workers = 1;
const volatile __u32 seqs = 64; /* sequence numbers of each worker */

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096); /* replaced by the ring under test */
} user SEC(".maps");

/* A bit for each sample that has arrived: first those of worker 0, then those of worker 1... */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* user space sets it before loading */
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

/* A copy of the current sample. It has room for every offset of up to 13 bits, since the verifier
 * knows no smaller bound. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, 2 * LARGEST);
} hand SEC(".maps");

/* The globals are not protected by a lock: the kernel permits one drain of a ring at a time. */
struct usercheck_counts counts;
__u64 drain_flags; /* flags of bpf_user_ringbuf_drain */
__u64 limit;	   /* maximum number of samples of a run; 0: all */
__u64 left;

/* Mirrors struct bpf_dynptr_kern: programs cannot call bpf_dynptr_size before 6.5. */
struct dynptr_kern {
	void *data;
	__u32 size; /* in the low 24 bits: DYNPTR_SIZE_MASK, kernel/bpf/helpers.c */
	__u32 offset;
};
#define DYNPTR_SIZE_MASK 0xffffff

static __always_inline __u32 size_of(struct bpf_dynptr *sample)
{
	struct dynptr_kern kern = {};

	bpf_probe_read_kernel(&kern, sizeof(kern), sample);
	return kern.size & DYNPTR_SIZE_MASK;
}

static __always_inline void complain(__u32 size, __u32 seq)
{
	if (!counts.bad++)
		counts.first_bad = (__u64)size << 32 | seq;
}

static __always_inline __u64 mix(__u64 sum, __u64 word)
{
	return ((sum << 7 | sum >> 57) ^ word) * PRIME;
}

struct sum {
	__u64 sum;
	__u32 first, size; /* index of the first word; size in bytes */
};

static long sum_word(__u32 i, void *ctx)
{
	struct sum *s = ctx;
	__u32 key = 0, word = s->first + i;
	__u64 *words = bpf_map_lookup_elem(&hand, &key);

	if (!words || word >= LARGEST / WORD || word * WORD >= s->size)
		return 1;
	s->sum = mix(s->sum, words[word]);
	return 0;
}

/*
 * Returns sum after mixing in the words from index first to the end of size bytes. It uses bpf_loop, whose
 * callback the verifier walks once; it would walk a loop 512 times.
 */
static __always_inline __u64 sum_up(__u32 size, __u64 sum, __u32 first)
{
	struct sum s = { .sum = sum, .first = first, .size = size };

	bpf_loop(LARGEST / WORD, sum_word, &s, 0);
	return s.sum;
}

static __noinline void mark(__u32 size, __u32 worker, __u32 seq)
{
	__u64 bit = (__u64)worker * seqs + seq;
	__u32 key = bit / 64;
	__u64 *word = bpf_map_lookup_elem(&seen, &key);

	if (worker >= workers || seq >= seqs || !word) {
		complain(size, seq);
		return;
	}
	bit = 1ULL << (bit & 63);
	if (*word & bit)
		counts.twice++;
	*word |= bit;
}

static long check(struct bpf_dynptr *sample, void *ctx)
{
	__u32 size = size_of(sample), key = 0;
	struct usercheck_head *head;
	char *buf = bpf_map_lookup_elem(&hand, &key);

	counts.samples++;
	counts.bytes += size;
	if (!buf)
		return 1; /* never happens; the verifier demands the check */
	if (size > LARGEST) {
		complain(size, 0);
		return limit && !--left;
	}
	*(__u64 *)(buf + (size & ~(WORD - 1))) = 0; /* pads the last word with zeros */
	if (bpf_dynptr_read(buf, size, sample, 0, 0)) {
		complain(size, 0);
	} else if (size < sizeof(*head)) {
		counts.small++;
		counts.small_sum += sum_up(size, size, 0);
	} else {
		head = (void *)buf;
		if (sum_up(size, mix(size, (__u64)head->worker << 32 | head->seq), sizeof(*head) / WORD) != head->sum)
			complain(size, head->seq);
		else
			mark(size, head->worker, head->seq);
	}
	return limit && !--left;
}

SEC("syscall")
int drain(void *ctx)
{
	left = limit;
	return bpf_user_ringbuf_drain(&user, check, NULL, drain_flags);
}

/* bpf_probe_read_kernel requires a GPL-compatible license (license_is_gpl_compatible). */
char LICENSE[] SEC("license") = "GPL";
