/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_PROCTRACE_COUNT_H
#define RBTOOL_PROCTRACE_COUNT_H

/* Counts written, lost and ignored events, in the map counters of proctrace.bpf.c. */

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
