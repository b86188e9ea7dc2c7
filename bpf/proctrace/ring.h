/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_PROCTRACE_RING_H
#define RBTOOL_PROCTRACE_RING_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include "proctrace.h"

/* The ring that all programs write their records into, and the counts of how the records fared. */

/* User space sets its size. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} proctrace SEC(".maps");

/* Set by user space; in each copy constants for the verifier. */
const volatile __u32 copy;
const volatile __u32 copies = 1;

/* Indexed by copy * EVENT_TYPES + type: each program has an element of its own. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENT_TYPES); /* times copies, by user space */
	__type(key, __u32);
	__type(value, struct event_counts);
} counters SEC(".maps");

static __always_inline struct event_counts *counts_of(enum event_type type)
{
	__u32 key = copy * EVENT_TYPES + type;

	return bpf_map_lookup_elem(&counters, &key);
}

static __always_inline void count(enum event_type type, bool ok)
{
	struct event_counts *counts = counts_of(type);

	if (!counts)
		return; /* for the verifier */
	if (ok)
		counts->written++;
	else
		counts->failed++;
}

#endif
