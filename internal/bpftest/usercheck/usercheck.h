/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_USERCHECK_H
#define RBTOOL_USERCHECK_H

/* The head of a sample. A shorter sample is counted, but not checked. */
struct usercheck_head {
	__u32 worker;
	__u32 seq; /* of the worker */
	__u64 sum; /* of size, worker, seq and the bytes after the head */
};

struct usercheck_counts {
	__u64 samples;
	__u64 bytes;	 /* of payload */
	__u64 bad;	 /* too long, with a wrong sum, or of an unknown worker */
	__u64 twice;	 /* seen before */
	__u64 small;	 /* too short to be checked */
	__u64 small_sum; /* of their sums */
	__u64 first_bad; /* size << 32 | seq of the first bad one */
};

#endif
