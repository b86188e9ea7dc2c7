//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Drains a user ring and checks each sample: it must be unchanged, and arrive once. */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include "usercheck.h"

#define LARGEST 4096
#define WORD 8
#define PRIME 0x9e3779b97f4a7c15ULL

/* Set by user space before loading. */
const volatile __u32 workers = 1;
const volatile __u32 seqs = 64; /* of each worker */

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096); /* replaced by the ring under test */
} user SEC(".maps");

/* A bit for each sample, worker after worker. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* by user space */
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

/* The current sample. The verifier assumes offsets of up to 13 bits. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, 2 * LARGEST);
} hand SEC(".maps");

/* For one run at a time: the kernel admits only one drain. */
struct usercheck_counts counts;
__u64 drain_flags; /* of bpf_user_ringbuf_drain */
__u64 limit;	   /* samples of a run; 0: all */
__u64 left;

/* struct bpf_dynptr_kern; up to 6.4 there is no function for the size. */
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
	__u32 first, size; /* a word; the size in bytes */
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
 * The sum of the words from first to the end of size bytes. A callback of bpf_loop, because the
 * verifier walks it once; a loop it would walk 512 times.
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
		return 1; /* for the verifier */
	if (size > LARGEST) {
		complain(size, 0);
		return limit && !--left;
	}
	*(__u64 *)(buf + (size & ~(WORD - 1))) = 0; /* padding */
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
