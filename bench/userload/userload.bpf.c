//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Drains a user ring for benchmarks, and only counts the samples and sums their first words, which
 * proves that all have arrived. The writer of the samples runs it by BPF_PROG_TEST_RUN.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096); /* replaced by the ring under test */
} ring SEC(".maps");

/* Counts the samples of all runs since user space last reset it. */
struct tally {
	__u64 samples;
	__u64 sum; /* of the first 8 bytes of each sample */
};

struct tally tally;

static long on_sample(struct bpf_dynptr *sample, void *ctx)
{
	__u64 first;

	if (!bpf_dynptr_read(&first, sizeof(first), sample, 0, 0)) {
		tally.samples++;
		tally.sum += first;
	}
	return 0;
}

/* Returns the number of samples drained, or a negative errno. */
SEC("syscall")
int drain(void *ctx)
{
	return bpf_user_ringbuf_drain(&ring, on_sample, NULL, BPF_RB_NO_WAKEUP);
}

/* "GPL" for both licenses of this file; see internal/bpftest/producer/producer.bpf.c. */
char LICENSE[] SEC("license") = "GPL";
