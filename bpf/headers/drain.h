/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_DRAIN_H
#define RBTOOL_DRAIN_H

/* Structs that drain.bpf.c shares with user space. The Go mirrors are generated from this file. */

/* The results of one run of the drain. */
struct drain_run {
	__s64 result; /* return value of bpf_user_ringbuf_drain; 0 if it was not called */
	__u64 samples;
	__u64 bytes; /* size of the samples */
	__u64 delivered;
	__u64 delivered_bytes;
	__u64 too_large;
	__u64 full; /* 1 if the run ended because the target had no room for a sample */
};

/* The results of all runs on one CPU. */
struct drain_counts {
	__u64 runs;
	__u64 samples;
	__u64 bytes;
	__u64 delivered;
	__u64 delivered_bytes;
	__u64 too_large;
	__u64 full;
	__u64 empty;	 /* runs that found no sample */
	__u64 contended; /* runs that did not start because another run held the lock */
	__u64 busy;	 /* runs that failed with -EBUSY: another program drained the user ring */
	__u64 invalid;	 /* runs that failed with -EINVAL */
	__u64 too_big;	 /* runs that failed with -E2BIG */
	__u64 failed;	 /* runs that failed with another error */
};

/* What bpf_user_ringbuf_drain finds next in the user ring. */
enum drain_kind {
	AHEAD_NOTHING,
	AHEAD_SAMPLE,	 /* a sample, possibly after discarded samples */
	AHEAD_DISCARDED, /* only discarded samples */
	AHEAD_MALFORMED,
};

struct drain_ahead {
	__u64 pos;	    /* position of the next header */
	__u64 producer_pos; /* the user ring's producer_pos when it was last loaded */
	__u64 at;	    /* position of the last header read */
	__u32 len;	    /* size of the sample at that position */
	__u32 kind;
	__u32 seen;	/* headers read in this run */
	bool discarded; /* a discarded sample lies before the next sample */
};

/* State between runs. The lock protects all but every and stopped. */
struct drain_state {
	struct drain_run run;
	struct drain_ahead ahead;
	__u64 limit; /* maximum number of samples of the run; 0: the kernel's own limit */
	__u64 flags; /* flags for the run's bpf_user_ringbuf_drain */
	__u64 first; /* position of the first sample of a batch */
	__u64 last;  /* position of the last sample of the batch that is in the target */
	__u64 every; /* period of the timer in ns; 0: the timer is stopped */
	__u32 lock;
	__u32 len;   /* size of the sample in the slot */
	__u32 max_sample; /* a constant of the programs, for user space that opens a pinned drain */
	bool taken;  /* the first sample of the batch has left the user ring */
	bool owed;   /* the producer has not been woken yet */
	bool aside;  /* the sample in the slot has not been delivered yet */
	bool forced; /* the run has woken the target's consumer unconditionally */
	bool silent; /* the last record did not wake the target's consumer */
	bool stopped; /* runs by timer and tracepoint do nothing */
};

/* The argument of drain_once. */
struct drain_arg {
	__u64 limit; /* maximum number of samples; 0: the kernel's own limit */
	__u64 flags; /* flags for bpf_user_ringbuf_drain */
	__u64 only_aside;
	struct drain_run run; /* the results, set by the program */
};

/* The argument of drain_start. */
struct drain_timer_arg {
	__u64 every; /* period in ns; 0: the timer is not started */
};

#endif
