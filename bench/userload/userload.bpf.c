//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The draining that only benchmarks need: it does the least that proves that all
 * samples came. Run with BPF_PROG_TEST_RUN, by whoever wrote them.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096); /* always replaced by the ring under test */
} ring SEC(".maps");

/* Of all runs so far. */
struct tally {
	__u64 samples;
	__u64 sum; /* of the first 8 bytes of each */
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

/* Returns how many samples came. */
SEC("syscall")
int drain(void *ctx)
{
	return bpf_user_ringbuf_drain(&ring, on_sample, NULL, BPF_RB_NO_WAKEUP);
}

/* For the kernel, see internal/bpftest/producer. */
char LICENSE[] SEC("license") = "GPL";
