/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_DRAIN_H
#define RBTOOL_DRAIN_H

/* Structs that drain.bpf.c shares with user space. The Go mirrors are generated from this file. */

/* What one run did. */
struct drain_run {
	__s64 result; /* of bpf_user_ringbuf_drain; 0 if it was not called */
	__u64 samples;
	__u64 bytes; /* of the samples */
	__u64 delivered;
	__u64 delivered_bytes;
	__u64 too_large;
	__u64 full; /* 1: the run ended at a sample without room in the target */
};

/* What all runs on one CPU did. */
struct drain_counts {
	__u64 runs;
	__u64 samples;
	__u64 bytes;
	__u64 delivered;
	__u64 delivered_bytes;
	__u64 too_large;
	__u64 full;
	__u64 empty;	 /* runs that found nothing */
	__u64 contended; /* runs that did not start: another one held the lock */
	__u64 busy;	 /* -EBUSY: another program drained the user ring */
	__u64 invalid;	 /* -EINVAL */
	__u64 too_big;	 /* -E2BIG */
	__u64 failed;	 /* any other error */
};

/* What bpf_user_ringbuf_drain finds next in the user ring. */
enum drain_kind {
	AHEAD_NOTHING,
	AHEAD_SAMPLE,	 /* possibly after discarded ones */
	AHEAD_DISCARDED, /* only discarded samples */
	AHEAD_MALFORMED,
};

struct drain_ahead {
	__u64 pos;	    /* of the next header */
	__u64 producer_pos; /* as last loaded */
	__u64 at;	    /* position of the last header read */
	__u32 len;	    /* of the sample there */
	__u32 kind;
	__u32 seen;	/* headers read in this run */
	bool discarded; /* a discarded sample lies before it */
};

/* State between runs. The lock protects all but every and stopped. */
struct drain_state {
	struct drain_run run;
	struct drain_ahead ahead;
	__u64 limit; /* samples of the run; 0: up to the kernel's own limit */
	__u64 flags; /* of the run's bpf_user_ringbuf_drain */
	__u64 first; /* position of the first sample of a batch */
	__u64 last;  /* position of its last sample that is in the target */
	__u64 every; /* ns, of the timer; 0: it is stopped */
	__u32 lock;
	__u32 len;   /* of the sample in the slot */
	__u32 max_sample; /* constant of the programs, for user space that opens a pinned drain */
	bool taken;  /* the first sample of the batch is out of the user ring */
	bool owed;   /* a wakeup of the producer */
	bool aside;  /* the sample in the slot is not delivered yet */
	bool forced; /* the run has woken the consumer of the target unconditionally */
	bool silent; /* the last record did not wake it */
	bool stopped; /* runs by timer and tracepoint do nothing */
};

/* The argument of drain_once. */
struct drain_arg {
	__u64 limit; /* samples; 0: up to the kernel's own limit */
	__u64 flags; /* of bpf_user_ringbuf_drain */
	__u64 only_aside;
	struct drain_run run; /* the answer */
};

/* The argument of drain_start. */
struct drain_timer_arg {
	__u64 every; /* ns; 0: the timer is not started */
};

#endif
